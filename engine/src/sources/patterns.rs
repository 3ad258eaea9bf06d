//! Owns: globs: which names they match literally, and which folders need not be entered.

use globset::{GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use std::path::Path;

/// The name that a glob without wildcards matches.
pub(super) fn literal(glob: &str) -> Option<String> {
    let (mut name, mut letters) = (String::with_capacity(glob.len()), glob.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => name.push(letters.next()?),
            '*' | '?' | '[' | '{' => return None,
            _ => name.push(letter),
        }
    }
    Some(name)
}

/// The glob that matches only this name.
pub(crate) fn escape(name: &str) -> String {
    name.chars()
        .flat_map(|letter| "*?[]{}\\".contains(letter).then_some('\\').into_iter().chain([letter]))
        .collect()
}

/// A glob, split by folders.
pub(super) struct Pattern(Vec<Part>);

enum Part {
    /// A folder or file whose name matches.
    One(GlobMatcher),
    /// Any number of folders.
    Any,
}

impl Pattern {
    pub(super) fn everything() -> Self {
        Self(vec![Part::Any])
    }

    /// Splits a glob at its slashes; after a slash within braces, anything may match.
    pub(super) fn new(glob: &str) -> Self {
        let (mut parts, mut depth, mut from) = (Vec::new(), 0u32, 0);
        let mut letters = glob.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => drop(letters.next()),
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                '/' if depth == 0 => {
                    parts.push(Part::new(&glob[from..at]));
                    from = at + 1;
                }
                '/' => {
                    parts.push(Part::Any);
                    return Self(parts);
                }
                _ => {}
            }
        }
        parts.push(Part::new(&glob[from..]));
        Self(parts)
    }

    /// Whether anything below this folder may match.
    pub(super) fn may_match_below(&self, folder: &Path) -> bool {
        let mut parts = self.0.iter();
        for name in folder {
            match parts.next() {
                None => return false,
                Some(Part::Any) => return true,
                Some(Part::One(glob)) if glob.is_match(name) => {}
                Some(Part::One(_)) => return false,
            }
        }
        parts.next().is_some()
    }
}

impl Part {
    fn new(glob: &str) -> Self {
        if glob == "**" {
            return Self::Any;
        }
        // A part that is not a valid glob matches everything: the whole glob decides.
        GlobBuilder::new(glob)
            .literal_separator(true)
            .empty_alternates(true)
            .build()
            .map_or(Self::Any, |glob| Self::One(glob.compile_matcher()))
    }
}

/// Folders that are excluded with everything in them.
pub(super) struct Pruned(GlobSet);

impl Pruned {
    pub(super) fn new(exclude: &[String]) -> Self {
        let mut set = GlobSetBuilder::new();
        let folders = exclude.iter().filter_map(|glob| glob.strip_suffix("/**"));
        for glob in folders.filter_map(|glob| {
            GlobBuilder::new(glob).literal_separator(true).empty_alternates(true).build().ok()
        }) {
            set.add(glob);
        }
        Self(set.build().unwrap_or_default())
    }

    pub(super) fn holds(&self, folder: &Path) -> bool {
        self.0.is_match(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_may_hold_a_match_are_listed() {
        for (glob, folder, wanted) in [
            ("data/**", "data", true),
            ("data/**", "data/deep/er", true),
            ("data/**", "other", false),
            ("a/*.txt", "a", true),
            ("a/*.txt", "a/b", false),
            ("*/x/*.c", "q/x", true),
            ("*/x/*.c", "q/y", false),
            ("**/x", "any/where", true),
            ("{a/x,b}/*.c", "z", true),
            ("{a,b}/*.c", "b", true),
            ("{a,b}/*.c", "c", false),
            ("a\\[1\\]/*", "a[1]", true),
            ("*.c", "a", false),
        ] {
            assert_eq!(Pattern::new(glob).may_match_below(Path::new(folder)), wanted, "{glob} in {folder}");
        }
        assert!(Pattern::everything().may_match_below(Path::new("a")));
    }
}
