//! Owns: a dependency of a stage, as written and as resolved.

use crate::manifest::source::Span;

/// An output that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Key in a map of stages; visible to the stage.
    pub label: Option<String>,
    /// Position in the manifest's stages.
    pub stage: usize,
    /// Name of the output.
    pub output: String,
    /// Its place in the text.
    pub place: Span,
}

/// A dependency as written, before a matrix expands it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its stage is the position of an entry.
    pub(crate) need: Need,
    pub(crate) form: Form,
    /// Positions of axes and of values on them, if it selects some stages of a matrix.
    pub(crate) picks: Vec<(usize, usize)>,
}

/// Whether an input takes one stage or many, and how many are labelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Takes one stage.
    One,
    /// Takes many, and is given as one name.
    Bare,
    /// Takes many, and is given as a list with this item.
    Listed(String),
    /// Takes many, and is given as a map.
    Labelled,
}
