//! Changes of a text before it is split into pieces. Nothing here depends on tokens or files.
//!
//! Each step does what the part of Hugging Face's library of the same name does, with the same tables, which are those of an
//! older Unicode version that models were trained with.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::is_combining_mark;
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// How a tokenizer that is trained changes texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NormalizerName {
    /// Not at all.
    None,
    /// Composes characters (Unicode normalization form C), as models of Qwen do.
    Nfc,
    /// Composes characters and replaces compatibility characters, such as full-width letters (form KC).
    Nfkc,
    /// As BERT's uncased models: small letters without accents, no control characters, a space around each Chinese
    /// character.
    BertUncased,
    /// As BERT's cased models: no control characters, a space around each Chinese character.
    BertCased,
}

impl NormalizerName {
    pub(crate) fn normalizer(self) -> Normalizer {
        let bert = |lowercase| Step::Bert {
            clean_text: true,
            handle_chinese_chars: true,
            strip_accents: lowercase,
            lowercase,
        };
        Normalizer(match self {
            Self::None => Vec::new(),
            Self::Nfc => vec![Step::Nfc],
            Self::Nfkc => vec![Step::Nfkc],
            Self::BertUncased => vec![bert(true)],
            Self::BertCased => vec![bert(false)],
        })
    }
}

/// Normalization of a text before it is split into pieces: steps in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Normalizer(pub(crate) Vec<Step>);

/// A step of a normalization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    StripAccents,
    Bert {
        clean_text: bool,
        handle_chinese_chars: bool,
        strip_accents: bool,
        lowercase: bool,
    },
    /// Puts text before each text that is not empty.
    Prepend(String),
    /// Replaces a text, which is not empty.
    Replace(String, String),
    /// Removes white space from the ends.
    Strip {
        left: bool,
        right: bool,
    },
}

impl Normalizer {
    pub(crate) fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.iter().fold(text.into(), |text, step| match text {
            Cow::Borrowed(text) => step.apply(text),
            Cow::Owned(text) => Cow::Owned(step.apply(&text).into_owned()),
        })
    }

    /// Whether no text is changed.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Step {
    /// How many times as long a text may become by replacing.
    pub(crate) fn growth(&self) -> usize {
        match self {
            Self::Replace(from, to) => to.len().div_ceil(from.len()).max(1),
            _ => 1,
        }
    }
}

impl Step {
    fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let composing = matches!(self, Self::Nfc | Self::Nfd | Self::Nfkc | Self::Nfkd | Self::StripAccents);
        if composing && text.is_ascii() {
            return text.into();
        }
        match self {
            Self::Nfc => match is_nfc_quick(text.chars()) {
                IsNormalized::Yes => text.into(),
                _ => text.nfc().map(|(character, _)| character).collect(),
            },
            Self::Nfd => text.nfd().map(|(character, _)| character).collect(),
            Self::Nfkc => text.nfkc().map(|(character, _)| character).collect(),
            Self::Nfkd => text.nfkd().map(|(character, _)| character).collect(),
            // One character at a time: not as `str::to_lowercase`, which knows the final sigma.
            Self::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
            Self::StripAccents => text.chars().filter(|c| !is_combining_mark(*c)).collect(),
            Self::Bert { clean_text, handle_chinese_chars, strip_accents, lowercase } => {
                let mut text: String = match clean_text {
                    true => text.chars().filter_map(cleaned).collect(),
                    false => text.to_owned(),
                };
                if *handle_chinese_chars && !text.is_ascii() {
                    text = apart(&text);
                }
                if *strip_accents && !text.is_ascii() {
                    let characters = text.nfd().map(|(character, _)| character);
                    text = characters.filter(|c| !c.is_mark_nonspacing()).collect();
                }
                match lowercase {
                    true => text.chars().flat_map(char::to_lowercase).collect(),
                    false => text.into(),
                }
            }
            Self::Prepend(_) if text.is_empty() => text.into(),
            Self::Prepend(before) => Cow::Owned(format!("{before}{text}")),
            Self::Replace(from, to) if text.contains(from.as_str()) => text.replace(from, to).into(),
            Self::Replace(..) => text.into(),
            Self::Strip { left, right } => {
                let text = if *left { text.trim_start() } else { text };
                (if *right { text.trim_end() } else { text }).into()
            }
        }
    }
}

/// BERT's cleaning: white space as spaces, and no control characters.
fn cleaned(character: char) -> Option<char> {
    match character {
        '\t' | '\n' | '\r' => Some(' '),
        '\0' | '\u{fffd}' => None,
        c if c.is_other() => None,
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}

/// Spaces around each character of the blocks of Chinese characters.
fn apart(text: &str) -> String {
    let mut apart = String::with_capacity(text.len() * 3 / 2);
    for character in text.chars() {
        let is_chinese = matches!(
            u32::from(character),
            0x4e00..=0x9fff
                | 0x3400..=0x4dbf
                | 0x20000..=0x2a6df
                | 0x2a700..=0x2b73f
                | 0x2b740..=0x2b81f
                | 0x2b920..=0x2ceaf
                | 0xf900..=0xfaff
                | 0x2f800..=0x2fa1f
        );
        match is_chinese {
            true => apart.extend([' ', character, ' ']),
            false => apart.push(character),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::normalizers::unicode::{NFC, NFD, NFKC, NFKD};
    use tokenizers::normalizers::{BertNormalizer, Lowercase, Prepend, Strip, StripAccents};
    use tokenizers::{NormalizedString, Normalizer as _};

    fn assert_alike(text: &str) {
        let bert = |strip_accents, lowercase| Step::Bert {
            clean_text: true,
            handle_chinese_chars: true,
            strip_accents,
            lowercase,
        };
        let oracle = |normalizer: &dyn Fn(&mut NormalizedString)| {
            let mut normalized = NormalizedString::from(text);
            normalizer(&mut normalized);
            normalized.get().to_owned()
        };
        let pairs = [
            (Step::Nfc, oracle(&|text| NFC.normalize(text).unwrap())),
            (Step::Nfd, oracle(&|text| NFD.normalize(text).unwrap())),
            (Step::Nfkc, oracle(&|text| NFKC.normalize(text).unwrap())),
            (Step::Nfkd, oracle(&|text| NFKD.normalize(text).unwrap())),
            (Step::Lowercase, oracle(&|text| Lowercase.normalize(text).unwrap())),
            (Step::StripAccents, oracle(&|text| StripAccents.normalize(text).unwrap())),
            (Step::Prepend("▁".into()), oracle(&|text| Prepend::new("▁".into()).normalize(text).unwrap())),
            (
                Step::Strip { left: true, right: true },
                oracle(&|text| Strip::new(true, true).normalize(text).unwrap()),
            ),
            (bert(true, true), oracle(&|text| BertNormalizer::default().normalize(text).unwrap())),
            (
                bert(false, false),
                oracle(&|text| BertNormalizer::new(true, true, None, false).normalize(text).unwrap()),
            ),
        ];
        for (step, expected) in pairs {
            assert_eq!(step.apply(text), expected, "{step:?}: {text:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_changed_as_by_hugging_face(text: String) {
            assert_alike(&text);
        }
    }

    #[test]
    fn every_character_is_changed_as_by_hugging_face() {
        for codes in (0..0x11_0000_u32).collect::<Vec<_>>().chunks(500) {
            let text: String = codes
                .iter()
                .filter_map(|&code| char::from_u32(code))
                .flat_map(|character| ['a', character, '\u{301}', ' ', character])
                .collect();
            assert_alike(&text);
        }
    }

    #[test]
    fn steps_follow_each_other() {
        let steps = vec![Step::Prepend("▁".into()), Step::Replace(" ".into(), "▁".into()), Step::Lowercase];
        assert_eq!(Normalizer(steps).apply("A b"), "▁a▁b");
        assert_eq!(NormalizerName::BertUncased.normalizer().apply("É数x\u{0}"), "e 数 x");
    }
}
