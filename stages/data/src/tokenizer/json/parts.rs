//! The meaning of the parts of tokenizer.json: normalizers, pre-tokenizers, decoders. Nothing here depends on models.

use serde_json::Value;

use super::file::Part;
use super::{TokenizerError, unsupported};
use crate::tokenizer::encode::Start;
use crate::tokenizer::normalizer::Step;
use crate::tokenizer::pattern::Pattern;
use crate::tokenizer::spelling::unspell;
use crate::tokenizer::splitter::{Numbers, Pieces, Prepend, SPACE, Splitter};

/// The steps of a normalizer.
pub(super) fn normalizer(part: &Value) -> Result<Vec<Step>, TokenizerError> {
    let set = |field: &str| part[field].as_bool();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = part["type"].as_str().unwrap_or_default();
    Ok(match kind {
        "NFC" => vec![Step::Nfc],
        "NFD" => vec![Step::Nfd],
        "NFKC" => vec![Step::Nfkc],
        "NFKD" => vec![Step::Nfkd],
        "Lowercase" => vec![Step::Lowercase],
        "StripAccents" => vec![Step::StripAccents],
        "Strip" => {
            let [left, right] = ["strip_left", "strip_right"].map(|side| set(side).unwrap_or(true));
            vec![Step::Strip { left, right }]
        }
        "BertNormalizer" => {
            let lowercase = set("lowercase").unwrap_or(true);
            vec![Step::Bert {
                clean_text: set("clean_text").unwrap_or(true),
                handle_chinese_chars: set("handle_chinese_chars").unwrap_or(true),
                strip_accents: set("strip_accents").unwrap_or(lowercase),
                lowercase,
            }]
        }
        "Prepend" => vec![Step::Prepend(text(&part["prepend"]).unwrap_or_default())],
        "Replace" => {
            let from = text(&part["pattern"]["String"]).filter(|from| !from.is_empty());
            let from = from.ok_or_else(|| {
                let regex = part["pattern"]["Regex"].as_str().unwrap_or_default();
                unsupported(format!("a normalizer that replaces the expression `{regex}`"))
            })?;
            vec![Step::Replace(from, text(&part["content"]).unwrap_or_default())]
        }
        "Sequence" => {
            let parts = part["normalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().map(normalizer).collect::<Result<Vec<_>, _>>()?.concat()
        }
        _ => return Err(unsupported(format!("a normalizer of type `{kind}`"))),
    })
}

/// The parts of a sequence, or the part itself.
fn flat(part: &Part) -> Vec<&Part> {
    match &part.pretokenizers {
        Some(parts) if part.kind == "Sequence" => parts.iter().collect(),
        _ => vec![part],
    }
}

/// The pre-tokenizer of a byte-level model.
pub(super) fn of_bytes(part: Option<&Part>) -> Result<Splitter, TokenizerError> {
    let part = part.ok_or_else(|| unsupported("no pre-tokenizer".into()))?;
    let parts = flat(part);
    let refused = || unsupported(format!("a pre-tokenizer of type `{}`", part.kind));
    let [before @ .., last] = &parts[..] else { return Err(refused()) };
    if last.kind != "ByteLevel" {
        return Err(refused());
    }
    if last.add_prefix_space != Some(false) {
        return Err(unsupported("a space put before each text (`add_prefix_space`)".into()));
    }
    let (before, pattern) = match (last.use_regex.unwrap_or(true), before) {
        (true, _) => (before, Pattern::Gpt2),
        (false, [before @ .., split]) => {
            let regex = regex(split).unwrap_or_default();
            let known = Pattern::from_regex(regex).filter(|_| is_isolated(split));
            (before, known.ok_or_else(|| unsupported(format!("the split pattern `{regex}`")))?)
        }
        (false, []) => return Err(refused()),
    };
    let numbers = match before {
        [] => Numbers::Within,
        [only] => numbers(only).ok_or_else(refused)?,
        _ => return Err(refused()),
    };
    Ok(Splitter { numbers, ..Splitter::of(pattern) })
}

fn regex(part: &Part) -> Option<&str> {
    part.pattern.as_ref()?.regex.as_deref()
}

fn is_isolated(part: &Part) -> bool {
    part.kind == "Split" && part.behavior.as_deref() == Some("Isolated") && part.invert != Some(true)
}

/// How a part takes numbers out of a text.
fn numbers(part: &Part) -> Option<Numbers> {
    match (part.kind.as_str(), regex(part)) {
        ("Digits", _) if part.individual_digits == Some(true) => Some(Numbers::Numeric),
        ("Split", Some(r"\p{N}")) if is_isolated(part) => Some(Numbers::Apart(1)),
        ("Split", Some(r"\p{N}{1,3}")) if is_isolated(part) => Some(Numbers::Apart(3)),
        _ => None,
    }
}

/// The pre-tokenizer of a model of characters.
pub(super) fn of_text(part: Option<&Part>) -> Result<Splitter, TokenizerError> {
    let whole = Splitter { numbers: Numbers::Within, pieces: Pieces::Whole };
    let Some(part) = part else { return Ok(whole) };
    let parts = flat(part);
    let refused = || unsupported(format!("a pre-tokenizer of type `{}`", part.kind));
    let (numbers, last) = match &parts[..] {
        [last] => (Numbers::Within, last),
        [first, last] => (numbers(first).ok_or_else(refused)?, last),
        _ => return Err(refused()),
    };
    let pieces = match last.kind.as_str() {
        "BertPreTokenizer" => Pieces::Pattern(Pattern::Bert),
        "Whitespace" => Pieces::Pattern(Pattern::Whitespace),
        "Metaspace" => {
            if last.replacement.as_deref().is_some_and(|replacement| !replacement.chars().eq([SPACE])) {
                return Err(unsupported("a pre-tokenizer that replaces spaces by other than `▁`".into()));
            }
            let prepend = match (last.prepend_scheme.as_deref(), last.add_prefix_space) {
                (Some("never"), _) | (None, Some(false)) => Prepend::Never,
                (Some("first"), _) => Prepend::First,
                (Some("always") | None, _) => Prepend::Always,
                (Some(scheme), _) => return Err(unsupported(format!("the prepend scheme `{scheme}`"))),
            };
            if numbers != Numbers::Within {
                return Err(refused());
            }
            Pieces::Metaspace { prepend, split: last.split.unwrap_or(true) }
        }
        _ => return Err(refused()),
    };
    Ok(Splitter { numbers, pieces })
}

/// From the name of a token to its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoding {
    ByteLevel,
    /// Names are texts.
    Verbatim,
    /// A space before each token without this prefix.
    WordPiece {
        prefix: String,
        cleans: bool,
    },
    /// `▁` is a space; `<0x0A>` is a byte.
    Metaspace {
        start: Start,
    },
}

/// How a decoder decodes.
pub(super) fn decoding(part: Option<&Part>) -> Result<Decoding, TokenizerError> {
    let Some(part) = part else { return Ok(Decoding::Verbatim) };
    let parts: Vec<&Part> = match &part.decoders {
        Some(parts) if part.kind == "Sequence" => parts.iter().collect(),
        _ => vec![part],
    };
    let mut decoding = Decoding::Verbatim;
    for part in parts {
        decoding = match (part.kind.as_str(), decoding) {
            ("ByteLevel", Decoding::Verbatim) => Decoding::ByteLevel,
            ("WordPiece", Decoding::Verbatim) => Decoding::WordPiece {
                prefix: part.prefix.clone().unwrap_or_else(|| "##".into()),
                cleans: part.cleanup.unwrap_or(true),
            },
            ("Metaspace", Decoding::Verbatim) => {
                let never = part.prepend_scheme.as_deref() == Some("never")
                    || part.prepend_scheme.is_none() && part.add_prefix_space == Some(false);
                Decoding::Metaspace { start: if never { Start::Verbatim } else { Start::WithoutSpace } }
            }
            ("Replace", Decoding::Verbatim) => Decoding::Metaspace { start: Start::Verbatim },
            ("Strip", Decoding::Metaspace { .. }) if part.start == Some(1) && part.stop.unwrap_or(0) == 0 => {
                Decoding::Metaspace { start: Start::WithoutSpace }
            }
            ("ByteFallback" | "Fuse", decoding) => decoding,
            (kind, _) => return Err(unsupported(format!("a decoder of type `{kind}`"))),
        };
    }
    Ok(decoding)
}

impl Decoding {
    pub(super) fn start(&self) -> Start {
        match self {
            Self::ByteLevel | Self::Verbatim => Start::Verbatim,
            Self::WordPiece { .. } => Start::WithoutSpace,
            Self::Metaspace { start } => *start,
        }
    }

    /// The bytes of a token in a text.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => unspell(name).unwrap_or_else(|| name.as_bytes().to_vec()),
            Self::Verbatim => name.as_bytes().to_vec(),
            Self::WordPiece { prefix, cleans } => match name.strip_prefix(prefix.as_str()) {
                Some(rest) => rest.as_bytes().to_vec(),
                // Signs that stand behind a word.
                None if *cleans && [".", "?", "!", ","].contains(&name) => name.as_bytes().to_vec(),
                None => format!(" {name}").into_bytes(),
            },
            Self::Metaspace { .. } => match byte_of(name) {
                Some(byte) => vec![byte],
                None => name.replace(SPACE, " ").into_bytes(),
            },
        }
    }
}

/// The byte of a name such as `<0x0A>`.
fn byte_of(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}
