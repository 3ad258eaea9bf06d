//! Owns the tokens that are taken out of a text before it is split into pieces, and the text's normal form.
//! Knows nothing of pieces, merges or files.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Whether special tokens in a text count as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Specials {
    Parsed,
    Ordinary,
}

/// What is done to a text before it is split into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalizer {
    /// Nothing.
    None,
    /// Composes characters (Unicode's normalization form C), by the tables that Hugging Face's library has:
    /// those of an older Unicode, which a model has learned from.
    Nfc,
}

impl Normalizer {
    pub(crate) fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Normalizer::None => text.into(),
            Normalizer::Nfc if text.is_ascii() => text.into(),
            Normalizer::Nfc => match is_nfc_quick(text.chars()) {
                IsNormalized::Yes => text.into(),
                _ => text.nfc().map(|(character, _)| character).collect(),
            },
        }
    }
}

/// Tokens that are taken out of the text, and what is done to the rest of it.
#[derive(Debug, Clone)]
pub(crate) struct AddedTokens {
    /// Matched in the text as it is.
    verbatim: AddedSet,
    normalizer: Normalizer,
    /// Matched in what the others leave, once it is normalized.
    normalized: AddedSet,
}

/// A token that is added to those of the merges.
#[derive(Debug, Clone)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
    pub(crate) id: u32,
    pub(crate) special: bool,
    /// Whether it is matched in the normalized text.
    pub(crate) normalized: bool,
}

/// A part of a text.
pub(super) enum Part<'a> {
    /// Normalized text.
    Text(&'a str),
    /// The id of an added token.
    Added(u32),
}

impl AddedTokens {
    pub(crate) fn new(normalizer: Normalizer, tokens: Vec<AddedToken>) -> Result<Self, BuildError> {
        let (normalized, verbatim): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| token.normalized);
        let normal = |token: AddedToken| {
            let content = normalizer.apply(&token.content).into_owned();
            AddedToken { content, ..token }
        };
        Ok(Self {
            verbatim: AddedSet::new(verbatim)?,
            normalizer,
            normalized: AddedSet::new(normalized.into_iter().map(normal).collect())?,
        })
    }

    /// Takes added tokens out, first those that are matched before normalization, then the others.
    pub(super) fn split(&self, text: &str, specials: Specials, take: &mut dyn FnMut(Part<'_>)) {
        self.verbatim.split(text, specials, &mut |part| match part {
            Part::Added(id) => take(Part::Added(id)),
            Part::Text(text) => self.normalized.split(&self.normalizer.apply(text), specials, take),
        });
    }

    /// Whether nothing is done to texts but to take tokens out.
    pub(super) fn keeps_text(&self) -> bool {
        self.normalizer == Normalizer::None
    }
}

/// A set of added tokens, found leftmost first, the longest where several start.
#[derive(Debug, Clone, Default)]
struct AddedSet {
    tokens: Vec<AddedToken>,
    /// None where there are no tokens.
    finder: Option<AhoCorasick>,
}

impl AddedSet {
    fn new(mut tokens: Vec<AddedToken>) -> Result<Self, BuildError> {
        tokens.retain(|token| !token.content.is_empty());
        let finder = match tokens.is_empty() {
            true => None,
            false => {
                let mut builder = AhoCorasick::builder();
                let contents = tokens.iter().map(|token| token.content.as_bytes());
                Some(builder.match_kind(MatchKind::LeftmostLongest).build(contents)?)
            }
        };
        Ok(Self { tokens, finder })
    }

    fn split(&self, text: &str, specials: Specials, take: &mut dyn FnMut(Part<'_>)) {
        let mut taken = 0;
        for found in self.finder.iter().flat_map(|finder| finder.find_iter(text)) {
            let token = &self.tokens[found.pattern().as_usize()];
            // A special token that is not parsed stays text, and hides tokens that start within it.
            if token.special && specials == Specials::Ordinary {
                continue;
            }
            if taken < found.start() {
                take(Part::Text(&text[taken..found.start()]));
            }
            take(Part::Added(token.id));
            taken = found.end();
        }
        if taken < text.len() {
            take(Part::Text(&text[taken..]));
        }
    }
}
