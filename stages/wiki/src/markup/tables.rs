//! Lines of tables: what they begin, and the cells on them.

use super::tags::attribute;

/// What a line of a table begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'l> {
    Row,
    Caption(&'l str),
    /// Cells, each of a header or of data.
    Cells(Vec<Cell<'l>>),
    /// The table ends, and text follows.
    End(&'l str),
    /// Text of the open cell.
    Text,
}

/// A cell with what it spans.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell<'l> {
    pub(super) is_head: bool,
    pub(super) spans: String,
    pub(super) text: &'l str,
}

/// Reads a line within a table.
pub(super) fn line(line: &str) -> Line<'_> {
    let line = line.trim_start();
    let (is_head, rest) = match (line.strip_prefix('|'), line.strip_prefix('!')) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Line::Text,
    };
    if !is_head {
        if let Some(rest) = rest.strip_prefix('}') {
            return Line::End(rest);
        }
        if rest.starts_with('-') {
            return Line::Row;
        }
        if let Some(caption) = rest.strip_prefix('+') {
            return Line::Caption(content(caption).1);
        }
    }
    Line::Cells(cells(rest, is_head))
}

/// Whether a line begins a table.
pub(super) fn begins(line: &str) -> bool {
    line.trim_start_matches([' ', ':', '\t', '*', '#']).starts_with("{|")
}

fn cells(mut rest: &str, is_head: bool) -> Vec<Cell<'_>> {
    let mut cells = Vec::new();
    loop {
        // In a line of headers, both separate headers.
        let is_border = |pair: &[u8]| pair == b"||" || (is_head && pair == b"!!");
        let end = rest.as_bytes().windows(2).position(is_border);
        let (attributes, text) = content(&rest[..end.unwrap_or(rest.len())]);
        cells.push(Cell { is_head, spans: spans(attributes), text });
        let Some(end) = end else { return cells };
        rest = &rest[end + 2..];
    }
}

/// The attributes of a cell, and its text.
fn content(cell: &str) -> (&str, &str) {
    match cell.split_once('|') {
        Some((attributes, text)) if !attributes.contains(['[', '{']) => (attributes, text),
        _ => ("", cell),
    }
}

fn spans(attributes: &str) -> String {
    let span = |name: &str| {
        let value = attribute(attributes, name);
        let is_number =
            !value.is_empty() && value.len() <= 5 && value.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { format!(" {name}=\"{value}\"") } else { String::new() }
    };
    span("colspan") + &span("rowspan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let cell = |is_head, spans: &str, text| Cell { is_head, spans: spans.to_owned(), text };
        assert_eq!(line("|-style=x"), Line::Row);
        assert_eq!(line("|+ class=x | Towns"), Line::Caption(" Towns"));
        assert_eq!(line(" |} after"), Line::End(" after"));
        assert_eq!(line("text | more"), Line::Text);
        assert_eq!(line("|a||b"), Line::Cells(vec![cell(false, "", "a"), cell(false, "", "b")]));
        assert_eq!(
            line("! colspan='2' style=\"x\" | A !! B || C"),
            Line::Cells(vec![
                cell(true, " colspan=\"2\"", " A "),
                cell(true, "", " B "),
                cell(true, "", " C")
            ])
        );
    }
}
