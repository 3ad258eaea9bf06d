//! Lines that are short because of what they are, not because they are no text: headings, rows of tables, terms and their
//! definitions. Sources of rules about lines saw plain text without them.

use crate::clean::fences::{each_line, is_delimiter_row, is_heading};

/// What of a text is structure; asked from its first line to its last.
#[derive(Default)]
pub(super) struct Structure {
    /// The end of the lines that are examined, and whether a definition follows them.
    until: usize,
    is_defined: bool,
}

impl Structure {
    /// Whether a line of prose, which begins at this place of a text, is part of a structure.
    pub(super) fn has(&mut self, text: &str, at: usize, line: &str) -> bool {
        let line = line.trim();
        is_heading(line) || is_row(line) || is_definition(line) || self.is_term(text, at)
    }

    /// Whether a definition follows, at most after other terms.
    fn is_term(&mut self, text: &str, at: usize) -> bool {
        if at >= self.until {
            let ends = |line: &str| line.is_empty() || is_definition(line);
            let end =
                each_line(&text[at..]).map(|(from, line)| (from, line.trim())).find(|(_, line)| ends(line));
            self.until = end.map_or(text.len(), |(from, _)| at + from);
            self.is_defined = end.is_some_and(|(_, line)| is_definition(line));
        }
        self.is_defined
    }
}

fn is_definition(line: &str) -> bool {
    line.starts_with(": ")
}

fn is_row(line: &str) -> bool {
    line.len() > 1 && line.starts_with('|') && line.ends_with('|') || is_delimiter_row(line)
}
