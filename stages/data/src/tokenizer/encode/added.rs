//! Tokens that are extracted from a text before it is split into pieces, and the text's normalization. Nothing here
//! depends on pieces, merges or files.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use crate::tokenizer::normalizer::Normalizer;

/// Whether special tokens in a text are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Specials {
    Parsed,
    Ordinary,
}

/// Tokens that are extracted from the text, and the normalization of the rest.
#[derive(Debug, Clone)]
pub(crate) struct AddedTokens {
    /// Matched in the unchanged text.
    verbatim: AddedSet,
    normalizer: Normalizer,
    /// Matched in the normalized rest.
    normalized: AddedSet,
}

/// A token in addition to the merged ones.
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
        let normalized = AddedSet::new(normalized.into_iter().map(normal).collect())?;
        Ok(Self { verbatim: AddedSet::new(verbatim)?, normalizer, normalized })
    }

    /// Extracts added tokens, first those that are matched before normalization, then the others.
    pub(super) fn split(&self, text: &str, specials: Specials, take: &mut dyn FnMut(Part<'_>)) {
        self.verbatim.split(text, specials, &mut |part| match part {
            Part::Added(id) => take(Part::Added(id)),
            Part::Text(text) => self.normalized.split(&self.normalizer.apply(text), specials, take),
        });
    }

    /// Whether texts are not changed except for extracted tokens.
    pub(super) fn keeps_text(&self) -> bool {
        self.normalizer.is_none()
    }
}

/// A set of added tokens; the leftmost match wins, and among matches at one position the longest.
#[derive(Debug, Clone, Default)]
struct AddedSet {
    tokens: Vec<AddedToken>,
    /// None if there are no tokens.
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
            // A special token that is not parsed remains text, and hides tokens that start within it.
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
