//! Patterns over the bytes of an address: `*` matches anything, a final `$` is the end, and the rest must be equal from the
//! start on. These are the patterns of robots.txt (RFC 9309, section 2.2.3); `include` and `exclude` use the same.
//!
//! It does not know addresses or where patterns come from. Matching takes time proportional to text and pattern: each
//! part between two `*` is found at its first place, and no place is tried twice.

use memchr::memmem;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What stands between the `*`; at least one part.
    parts: Vec<Box<[u8]>>,
    /// Whether the pattern ends in `$`.
    to_end: bool,
    /// Length of the pattern as it was written.
    length: usize,
}

impl Pattern {
    /// Reads a pattern.
    pub(crate) fn new(text: &[u8]) -> Self {
        let (body, to_end) = text.strip_suffix(b"$").map_or((text, false), |body| (body, true));
        let mut parts: Vec<Box<[u8]>> = Vec::new();
        for part in body.split(|byte| *byte == b'*') {
            // Several `*` in a row match no more than one.
            if !part.is_empty() || parts.is_empty() {
                parts.push(part.into());
            }
        }
        if body.ends_with(b"*") {
            parts.push(Box::default());
        }
        Self { parts, to_end, length: text.len() }
    }

    /// Length in bytes, by which the most specific rule is chosen.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Whether it contains a `*`.
    pub(crate) fn is_wild(&self) -> bool {
        self.parts.len() > 1
    }

    /// Whether the text matches from its start on.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some((first, parts)) = self.parts.split_first() else { return true };
        let Some(mut rest) = text.strip_prefix(&first[..]) else { return false };
        let Some((last, middle)) = parts.split_last() else { return !self.to_end || rest.is_empty() };
        for part in middle {
            match memmem::find(rest, part) {
                Some(place) => rest = &rest[place + part.len()..],
                None => return false,
            }
        }
        if self.to_end { rest.ends_with(last) } else { memmem::find(rest, last).is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_anything_and_dollar_the_end() {
        let cases = [
            ("/a", "/abc", true),
            ("/a$", "/a", true),
            ("/a$", "/ab", false),
            ("/*.gif$", "/x/y.gif", true),
            ("/*.gif$", "/x/y.gif?a", false),
            ("/a*b*c", "/a12b3c4", true),
            ("/a*b*c", "/acb", false),
            ("*", "", true),
            ("/a**$", "/ab", true),
            ("", "/any", true),
            ("$", "", true),
            ("$", "/", false),
            ("/a*a$", "/a", false),
            ("/a*a$", "/aa", true),
            ("/*b*", "/ab", true),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(
                Pattern::new(pattern.as_bytes()).matches(text.as_bytes()),
                matches,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_pattern_of_stars_only_is_short() {
        let pattern = Pattern::new(&b"*".repeat(100_000));
        assert!(pattern.parts.len() <= 2 && pattern.matches(b"/x"));
    }
}
