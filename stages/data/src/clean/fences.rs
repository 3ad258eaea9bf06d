//! Which lines of a document's text are code: fenced blocks as in CommonMark, with backticks or tildes, also indented
//! and within lists and quotations.
//!
//! An unclosed fence counts as prose, since it must not hide the rest of a text from repair, language detection and
//! rules.

use rustc_hash::FxHashMap;

/// What a line of a document's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Prose.
    Prose,
    /// Within a fenced block.
    Code,
    /// A fence: the first or last line of a fenced block.
    Fence,
}

/// Lines with their line ends, each with its kind.
pub fn lines(text: &str) -> impl Iterator<Item = (Line, &str)> {
    let mut blocks = blocks(text).into_iter().peekable();
    each_line(text).map(move |(at, line)| {
        while blocks.next_if(|block| block.close < at).is_some() {}
        let kind = match blocks.peek() {
            Some(block) if at == block.open || at == block.close => Line::Fence,
            Some(block) if at > block.open => Line::Code,
            _ => Line::Prose,
        };
        (kind, line)
    })
}

/// Lines with their line ends, each with the place where it begins.
pub fn each_line(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut breaks = memchr::memchr_iter(b'\n', text.as_bytes());
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from;
        from = breaks.next().map_or(text.len(), |at| at + 1);
        (at < text.len()).then(|| (at, &text[at..from]))
    })
}

/// Text without code: fenced blocks, backticks and heading marks are removed.
///
/// Language and quality are scored on prose, not on code. Rows that only separate the head of a table are no prose either.
pub fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (kind, line) in lines(text) {
        if kind == Line::Prose && !is_delimiter_row(line) {
            let mut rest = without_heading(line);
            while let Some(at) = memchr::memchr(b'`', rest.as_bytes()) {
                out.push_str(&rest[..at]);
                rest = &rest[at + 1..];
            }
            out.push_str(rest);
        }
    }
    out
}

/// A piece of a line of prose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Prose, and backticks that enclose no code.
    Prose(&'t str),
    /// Inline code with its marks.
    Code(&'t str),
}

/// The pieces of a line of prose. Inline code is enclosed in two runs of backticks of the same length, as in CommonMark, but
/// does not extend over lines.
pub fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in memchr::memchr_iter(b'`', line.as_bytes()) {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    // For each run, the next one of its length.
    let mut closing = vec![None; runs.len()];
    let mut seen: FxHashMap<usize, usize> = FxHashMap::default();
    for (run, (_, length)) in runs.iter().enumerate().rev() {
        closing[run] = seen.insert(*length, run);
    }
    let (mut pieces, mut from, mut run) = (Vec::new(), 0, 0);
    while let Some(&(start, _)) = runs.get(run) {
        if let Some(close) = closing[run] {
            let (at, length) = runs[close];
            pieces.push(Piece::Prose(&line[from..start]));
            pieces.push(Piece::Code(&line[start..at + length]));
            (from, run) = (at + length, close);
        }
        run += 1;
    }
    pieces.push(Piece::Prose(&line[from..]));
    pieces
}

/// A line without its heading mark, if it is a heading.
fn without_heading(line: &str) -> &str {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    if (1..=6).contains(&level) && rest.starts_with([' ', '\t', '\n']) { rest } else { line }
}

/// Whether a line begins with the mark of a heading.
pub fn is_heading(line: &str) -> bool {
    without_heading(line).len() < line.len()
}

/// Whether a line is the row between the head and the body of a table: `| --- | :-: |`.
pub fn is_delimiter_row(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('|')
        && line.contains("---")
        && line.bytes().all(|byte| matches!(byte, b'|' | b'-' | b':' | b' ' | b'\t'))
}

/// A line of prose without the marks before its text: of items, definitions and headings.
pub fn without_marks(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(mark) = item_mark(rest.as_bytes()).or_else(|| rest.starts_with(": ").then_some(1)) {
        rest = rest[mark..].trim_start();
    }
    without_heading(rest)
}

/// Where the lines of a block's fences begin.
struct Block {
    open: usize,
    close: usize,
}

/// A line that may open or close a block.
struct Mark {
    /// Where it begins.
    line: usize,
    sign: u8,
    length: usize,
    indent: usize,
    opens: bool,
    closes: bool,
}

/// Failed searches after which all further fences count as prose; each search reads the rest of the text.
const UNCLOSED_MAX: usize = 64;
/// How much further than its opening fence a closing fence may be indented.
const INDENT_MAX: usize = 3;

fn blocks(text: &str) -> Vec<Block> {
    let has = |fence: &str| memchr::memmem::find(text.as_bytes(), fence.as_bytes()).is_some();
    if !has("```") && !has("~~~") {
        return Vec::new();
    }
    let marks: Vec<Mark> = each_line(text).filter_map(|(at, line)| mark(at, line)).collect();
    let mut blocks = Vec::new();
    let mut unclosed: Vec<&Mark> = Vec::new();
    let mut at = 0;
    while let Some(open) = marks.get(at) {
        at += 1;
        let hopeless = unclosed.len() == UNCLOSED_MAX
            || unclosed.iter().any(|other| {
                other.sign == open.sign && other.length <= open.length && other.indent >= open.indent
            });
        if !open.opens || hopeless {
            continue;
        }
        let closes = |mark: &Mark| {
            mark.closes
                && mark.sign == open.sign
                && mark.length >= open.length
                && mark.indent <= open.indent + INDENT_MAX
        };
        match marks[at..].iter().position(closes) {
            Some(further) => {
                at += further;
                blocks.push(Block { open: open.line, close: marks[at].line });
                at += 1;
            }
            None => unclosed.push(open),
        }
    }
    blocks
}

/// Parses a line that starts with three or more backticks or tildes, after indentation and the marks of quotations
/// and list items.
fn mark(line_at: usize, line: &str) -> Option<Mark> {
    let bytes = line.as_bytes();
    let mut at = 0;
    let mut in_item = false;
    loop {
        at += bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'>')).count();
        let Some(item) = item_mark(&bytes[at..]) else { break };
        in_item = true;
        at += item;
    }
    let sign = *bytes.get(at).filter(|sign| matches!(sign, b'`' | b'~'))?;
    let length = bytes[at..].iter().take_while(|&&byte| byte == sign).count();
    let info = line[at + length..].trim();
    let opens = length >= 3 && !(sign == b'`' && info.contains('`'));
    let closes = length >= 3 && info.is_empty() && !in_item;
    (opens || closes).then_some(Mark { line: line_at, sign, length, indent: at, opens, closes })
}

/// Length of `- `, `* `, `+ `, `1. ` or `1) ` at the start.
fn item_mark(bytes: &[u8]) -> Option<usize> {
    const DIGITS_MAX: usize = 9;
    let digits = bytes.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let mark = match (digits, bytes.get(digits)?) {
        (0, b'-' | b'*' | b'+') => 1,
        (1..=DIGITS_MAX, b'.' | b')') => digits + 1,
        _ => return None,
    };
    matches!(bytes.get(mark), Some(b' ' | b'\t')).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One letter per line: p(rose), c(ode), f(ence).
    fn kinds(text: &str) -> String {
        let letter = |(kind, _)| match kind {
            Line::Prose => 'p',
            Line::Code => 'c',
            Line::Fence => 'f',
        };
        lines(text).map(letter).collect()
    }

    #[test]
    fn blocks_are_of_backticks_or_tildes() {
        assert_eq!(kinds("a\n```rust\nx\n```\nb\n"), "pfcfp");
        assert_eq!(kinds("~~~ `sh` ~\n```\nx\n~~~~\nb"), "fccfp");
        assert_eq!(kinds("````\n```\nx\n````\ny"), "fccfp");
        assert_eq!(kinds("``\nx\n``\n```a`\n"), "pppp");
    }

    #[test]
    fn marks_are_no_text() {
        for (line, text) in [
            ("- a - b\n", "a - b\n"),
            ("  12. a", "a"),
            (": - a: b", "a: b"),
            ("- ### a", " a"),
            ("-a", "-a"),
            (":a", ":a"),
            ("1.5 a", "1.5 a"),
        ] {
            assert_eq!(without_marks(line), text);
        }
        assert_eq!(prose("| a | b |\n| --- | :-: |\n| 1 | - |\n"), "| a | b |\n| 1 | - |\n");
        assert!(!is_delimiter_row("---") && !is_delimiter_row("| | |") && !is_delimiter_row("| a - b |"));
    }

    #[test]
    fn blocks_may_be_indented_quoted_and_in_items() {
        assert_eq!(kinds("1. Do:\n\n   ```python\n   x\n   ```\n"), "ppfcf");
        assert_eq!(kinds("- ```\n  x\n  ```\n"), "fcf");
        assert_eq!(kinds("> ```\n> x\n> ```\n"), "fcf");
        assert_eq!(kinds("\t~~~\n\tx\n\t~~~\n"), "fcf");
        // Shown within a block; it does not close it.
        assert_eq!(kinds("```\n    ```\n```\n"), "fcf");
    }

    #[test]
    fn a_fence_that_is_never_closed_is_prose() {
        assert_eq!(kinds("```\nBuy pills.\nBuy pills.\n"), "ppp");
        assert_eq!(kinds("~~~\na\n```\nx\n```\nb\n"), "ppfcfp");
        assert_eq!(kinds("````\na\n```\nx\n```\n"), "ppfcf");
    }

    #[test]
    fn unclosed_fences_take_time_in_proportion() {
        // Each opens no block, and is followed by a hundred thousand fences that are too short to close it.
        let openers: String = (0..1000).map(|n| format!("{}\n", "`".repeat(2000 - n))).collect();
        let text = openers + &"```x\n~~~\n".repeat(100_000);
        assert_eq!(lines(&text).count(), 201_000);
    }

    #[test]
    fn prose_leaves_code_out() {
        assert_eq!(prose("# Use `x`\n```rust\nlet x;\n````\nend\n"), " Use x\nend\n");
        assert_eq!(prose("````\n```\nx\n````\ny"), "y");
        assert_eq!(prose("#harbour\n####### seven\n##\n"), "#harbour\n####### seven\n\n");
    }

    #[test]
    fn inline_code_ends_at_a_run_of_the_same_length() {
        let code = |line: &'static str| -> Vec<&str> {
            let code = |piece| if let Piece::Code(code) = piece { Some(code) } else { None };
            pieces(line).into_iter().filter_map(code).collect()
        };
        assert_eq!(code("a `b` c `d` e"), ["`b`", "`d`"]);
        assert_eq!(code("a `` b`c `` d"), ["`` b`c ``"]);
        assert_eq!(code("a `` b` c ``` d`e"), ["` c ``` d`"]);
        assert_eq!(code("a ` b `` c"), [""; 0]);
        let long: String = (1..2000).map(|length| format!("{} ", "`".repeat(length))).collect();
        assert_eq!(pieces(&long), [Piece::Prose(&long)]);
    }

    proptest! {
        #[test]
        fn every_piece_is_there(line in "[ a`]{0,40}") {
            let text = |piece| match piece { Piece::Prose(text) | Piece::Code(text) => text };
            prop_assert_eq!(pieces(&line).into_iter().map(text).collect::<String>(), line);
        }

        #[test]
        fn every_line_is_there(text in "([ \t>a`~\n-]|```|~~~|1\\. ){0,40}") {
            prop_assert_eq!(lines(&text).map(|(_, line)| line).collect::<String>(), text);
        }
    }
}
