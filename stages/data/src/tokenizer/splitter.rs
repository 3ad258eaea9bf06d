//! From a text to the pieces that are encoded on their own. Nothing here depends on tokens or files.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tokenizer::pattern::Pattern;

/// What stands for a space in the tokens of SentencePiece.
pub(crate) const SPACE: char = '▁';

/// How numbers are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Digits {
    /// As `pattern` does.
    #[default]
    ByPattern,
    /// Each digit on its own.
    Single,
    /// Groups of up to three digits, from the left.
    GroupsOfThree,
}

/// How numbers are taken out of a text before it is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Not at all.
    Within,
    /// Up to this many characters of Unicode's category N, as the expression `\p{N}{1,n}`.
    Apart(usize),
    /// Each character that Rust's standard library calls numeric, as Hugging Face's part `Digits`.
    Numeric,
}

/// Whether a text begins with [`SPACE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepend {
    Never,
    /// Only what stands at the beginning, and not behind an added token.
    First,
    Always,
}

/// What becomes a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pieces {
    Pattern(Pattern),
    /// Spaces become [`SPACE`]; pieces begin with it if `split`.
    Metaspace {
        prepend: Prepend,
        split: bool,
    },
    /// The whole text.
    Whole,
}

/// Splits texts into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Splitter {
    pub(crate) numbers: Numbers,
    pub(crate) pieces: Pieces,
}

impl Splitter {
    /// A pattern alone.
    pub(crate) fn of(pattern: Pattern) -> Self {
        Self { numbers: Numbers::Within, pieces: Pieces::Pattern(pattern) }
    }

    /// Takes the pieces of a text in order. `is_first` says whether it is at the beginning of what is encoded.
    pub(crate) fn split(&self, text: &str, is_first: bool, take: &mut dyn FnMut(&str)) {
        let mut rest = text;
        while !rest.is_empty() {
            let (start, end) = self.number_in(rest).unwrap_or((rest.len(), rest.len()));
            for part in [&rest[..start], &rest[start..end]].into_iter().filter(|part| !part.is_empty()) {
                self.take_pieces(part, is_first, take);
            }
            rest = &rest[end..];
        }
    }

    /// The next number that is a part of its own, as a range of bytes.
    fn number_in(&self, text: &str) -> Option<(usize, usize)> {
        match self.numbers {
            Numbers::Within => None,
            Numbers::Apart(digits) => Pattern::number_in(text, digits),
            Numbers::Numeric => {
                let (at, digit) = text.char_indices().find(|(_, character)| character.is_numeric())?;
                Some((at, at + digit.len_utf8()))
            }
        }
    }

    fn take_pieces(&self, text: &str, is_first: bool, take: &mut dyn FnMut(&str)) {
        match self.pieces {
            Pieces::Pattern(pattern) => pattern.pieces(text).for_each(take),
            Pieces::Whole => take(text),
            Pieces::Metaspace { prepend, split } => {
                let mut text: Cow<'_, str> = match text.contains(' ') {
                    true => text.replace(' ', SPACE.encode_utf8(&mut [0; 4])).into(),
                    false => text.into(),
                };
                let prepends = prepend == Prepend::Always || prepend == Prepend::First && is_first;
                if prepends && !text.starts_with(SPACE) {
                    text.to_mut().insert(0, SPACE);
                }
                if !split {
                    return take(&text);
                }
                let mut rest = &*text;
                while let Some(first) = rest.chars().next() {
                    let behind = first.len_utf8();
                    let end = rest[behind..].find(SPACE).map_or(rest.len(), |at| behind + at);
                    take(&rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::digits::Digits as OfOracle;
    use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    fn ours(splitter: Splitter, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        splitter.split(text, true, &mut |piece| pieces.push(piece.to_owned()));
        pieces
    }

    fn oracle(parts: &[&dyn PreTokenizer], text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        parts.iter().for_each(|part| part.pre_tokenize(&mut pieces).unwrap());
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(piece, ..)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect()
    }

    fn assert_alike(text: &str) {
        let regex = |regex: &str| Split::new(SplitPattern::Regex(regex.into()), Isolated, false).unwrap();
        for pattern in Pattern::ALL {
            let of_pattern = regex(pattern.regex().unwrap());
            let numbers: [(Numbers, Box<dyn PreTokenizer>); 3] = [
                (Numbers::Apart(1), Box::new(regex(r"\p{N}"))),
                (Numbers::Apart(3), Box::new(regex(r"\p{N}{1,3}"))),
                (Numbers::Numeric, Box::new(OfOracle::new(true))),
            ];
            for (numbers, of_numbers) in numbers {
                let splitter = Splitter { numbers, ..Splitter::of(pattern) };
                assert_eq!(
                    ours(splitter, text),
                    oracle(&[&*of_numbers, &of_pattern], text),
                    "{splitter:?} on {text:?}"
                );
            }
        }
        for split in [true, false] {
            let schemes = [
                (Prepend::Never, PrependScheme::Never),
                (Prepend::First, PrependScheme::First),
                (Prepend::Always, PrependScheme::Always),
            ];
            for (prepend, scheme) in schemes {
                let pieces = Pieces::Metaspace { prepend, split };
                let splitter = Splitter { numbers: Numbers::Within, pieces };
                let expected = oracle(&[&Metaspace::new(SPACE, scheme, split)], text);
                // Of no text, the oracle makes a space.
                if !text.is_empty() {
                    assert_eq!(ours(splitter, text), expected, "{splitter:?} on {text:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn pieces_are_those_of_hugging_face(text in "[a1२ ½'▁!世\n\u{301}]{0,30}") {
            assert_alike(&text);
        }

        #[test]
        fn pieces_of_any_text_are_those_of_hugging_face(text: String) {
            assert_alike(&text);
        }
    }

    #[test]
    fn a_long_text_of_numbers_takes_linear_time() {
        for numbers in [Numbers::Apart(1), Numbers::Apart(3), Numbers::Numeric] {
            let splitter = Splitter { numbers, ..Splitter::of(Pattern::Llama3) };
            for text in ["1 a23 ".repeat(1 << 18), "1".repeat(1 << 20)] {
                let mut bytes = 0;
                splitter.split(&text, true, &mut |piece| bytes += piece.len());
                assert_eq!(bytes, text.len());
            }
        }
    }
}
