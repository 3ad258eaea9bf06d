//! Owns: stage names, also as written in `needs` and on the command line.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Name of a stage: letters, digits, `_` and `-`; in a matrix, with its values: `base[lr=1e-3,seed=1]`.
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

/// A stage, or some stages of a matrix: `base`, `base[seed=1]`, `base[lr=1e-3,seed=1].history`.
pub(crate) struct Name<'a> {
    /// Name of the entry in the manifest.
    pub(crate) base: &'a str,
    /// Values by axis.
    pub(crate) picks: Vec<(&'a str, &'a str)>,
    /// The part after the dot.
    pub(crate) output: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// Parses a name; `None` if its brackets are not valid.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (stage, output) = split_output(text);
        let Some((base, rest)) = stage.split_once('[') else {
            return Some(Self { base: stage, picks: vec![], output });
        };
        let pairs = rest.strip_suffix(']')?.split(',').map(|pair| pair.split_once('='));
        Some(Self { base, picks: pairs.collect::<Option<_>>()?, output })
    }
}

/// The entry and the values by axis in the name of a stage; `None` if it does not belong to a matrix.
pub fn picked_by(stage: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let Name { base, picks, .. } = Name::parse(stage)?;
    (!picks.is_empty()).then_some((base, picks))
}

/// Splits `base[lr=0.5].history` before the name of an output.
pub fn split_output(text: &str) -> (&str, Option<&str>) {
    let suffix = text.rfind(']').unwrap_or(0);
    match text[suffix..].split_once('.') {
        Some((before, output)) => (&text[..suffix + before.len()], Some(output)),
        None => (text, None),
    }
}

/// Whether `base`, `base[seed=1]` or `base[lr=1e-3,seed=1]` selects a stage: itself, or one of a matrix with these
/// values.
pub fn selects(selector: &str, stage: &str) -> bool {
    let (Some(wanted), Some(name)) = (Name::parse(selector), Name::parse(stage)) else { return false };
    selector == stage
        || (wanted.base == name.base && wanted.picks.iter().all(|pick| name.picks.contains(pick)))
}

/// Splits a list of names at its commas, but not within brackets: `a,base[lr=1e-3,seed=1]`.
pub fn split_names(list: &str) -> impl Iterator<Item = &str> {
    let mut is_within = false;
    let names = list.split(move |letter| {
        match letter {
            '[' => is_within = true,
            ']' => is_within = false,
            _ => {}
        }
        letter == ',' && !is_within
    });
    names.map(str::trim).filter(|name| !name.is_empty())
}

/// Whether a text is a name: letters, digits and these characters.
pub(super) fn is_name(name: &str, marks: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
    // A name that begins with `.` or `-` would be a hidden folder or an option.
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with(['.', '-'])
        && name.chars().all(fits)
}

/// Names become parts of file names, together with the values of a matrix.
const NAME_BYTES_MAX: usize = 64;

/// Describes what is wrong with a name.
pub(super) fn name_help(name: &str, marks: &str) -> String {
    match name {
        name if name.len() > NAME_BYTES_MAX => {
            format!("names have at most {NAME_BYTES_MAX} characters; this one has {}", name.len())
        }
        name if name.starts_with(['.', '-']) => "names begin with a letter, a digit or `_`".to_owned(),
        _ => format!("names consist of letters, digits, {marks}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_split_outside_brackets() {
        let split = |list| split_names(list).collect::<Vec<_>>();
        assert_eq!(split("a, b[x=1,y=2].loss,,c"), ["a", "b[x=1,y=2].loss", "c"]);
        assert_eq!(split("b[x=1,y"), ["b[x=1,y"]);
        assert_eq!(split(""), Vec::<&str>::new());
    }

    #[test]
    fn a_selector_is_a_stage_or_some_of_its_values() {
        let stage = "base[lr=1e-3,seed=2]";
        for selector in ["base", "base[seed=2]", "base[seed=2,lr=1e-3]", stage] {
            assert!(selects(selector, stage), "{selector}");
        }
        for selector in ["bas", "base[seed=1]", "base[seed=2", "base[width=2]"] {
            assert!(!selects(selector, stage), "{selector}");
        }
    }
}
