//! Owns: what one stage takes from another, as it is written and as it is meant.

use crate::manifest::source::Span;

/// An output that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Key of a `many` input given as a map; the stage sees it.
    pub label: Option<String>,
    /// Position in the manifest's stages.
    pub stage: usize,
    /// Which of its outputs.
    pub output: String,
    /// Where it is written.
    pub place: Span,
}

/// A need as it is written, before a matrix makes several of it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its stage is a position among the entries.
    pub(crate) need: Need,
    pub(crate) form: Form,
    /// Positions of axes and of values on them, where it names some stages of a matrix.
    pub(crate) picks: Vec<(usize, usize)>,
}

/// Whether an input takes one stage or many, and what many are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Takes one.
    One,
    /// Takes many, and is given as one name.
    Bare,
    /// Takes many, and is given as a list, with this in it.
    Listed(String),
    /// Takes many, and is given as a map.
    Labelled,
}
