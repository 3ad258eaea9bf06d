//! Owns: names of stages, alone and as `needs` and the command line write them.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Name of a stage: letters, digits, `_` and `-`; of one of a matrix with its values, `base[lr=1e-3,seed=1]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageName(Arc<str>);

impl StageName {
    pub(super) fn new(name: String) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StageName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stage, or some of a matrix, as they are named: `base`, `base[seed=1]`, `base[lr=1e-3,seed=1].history`.
pub(crate) struct Name<'a> {
    /// The entry of the manifest.
    pub(crate) base: &'a str,
    /// Values by axis.
    pub(crate) picks: Vec<(&'a str, &'a str)>,
    /// What follows the point.
    pub(crate) output: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// Reads a name; `None` if its brackets mean nothing.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (stage, output) = split_output(text);
        let Some((base, rest)) = stage.split_once('[') else {
            return Some(Self { base: stage, picks: vec![], output });
        };
        let pairs = rest.strip_suffix(']')?.split(',').map(|pair| pair.split_once('='));
        Some(Self { base, picks: pairs.collect::<Option<_>>()?, output })
    }
}

/// The entry and the values by axis that the name of a stage tells; `None` if it is not one of a matrix.
pub fn picked_by(stage: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let Name { base, picks, .. } = Name::parse(stage)?;
    (!picks.is_empty()).then_some((base, picks))
}

/// Splits `base[lr=0.5].history` where the name of an output begins.
pub fn split_output(text: &str) -> (&str, Option<&str>) {
    let suffix = text.rfind(']').unwrap_or(0);
    match text[suffix..].split_once('.') {
        Some((before, output)) => (&text[..suffix + before.len()], Some(output)),
        None => (text, None),
    }
}

/// Whether a text is a name: letters, digits and these marks.
pub(super) fn is_name(name: &str, marks: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
    !name.is_empty() && name.len() <= 128 && name.chars().all(fits)
}
