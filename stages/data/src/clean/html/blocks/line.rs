//! The text of a line: white space, and signs that begin and end.

use crate::segment::is_cjk;

/// Ends the inline code whose mark is at `opened`, or removes the mark if it is empty.
///
/// The marks are longer than any run of backticks in the code, and a space separates them from a backtick at either end
/// (CommonMark 0.31, section 6.1). White space at either end of the code is moved out of the marks.
pub(super) fn close_inline_code(line: &mut String, opened: usize) {
    let Some(code) = line.get(opened..).and_then(|code| code.strip_prefix('`')) else { return };
    let kept = code.trim_matches(is_html_space).to_owned();
    let [spaced_before, spaced_after] = [code.starts_with(is_html_space), code.ends_with(is_html_space)];
    line.truncate(opened);
    if spaced_before {
        end_word(line);
    }
    if !kept.is_empty() {
        let mark = "`".repeat(longest_run(&kept, '`') + 1);
        let pad = if kept.starts_with('`') || kept.ends_with('`') { " " } else { "" };
        line.extend([&*mark, pad, &*kept, pad, &*mark]);
    }
    if spaced_after {
        end_word(line);
    }
}

/// Appends a space, unless the line is empty or has one.
pub(super) fn end_word(line: &mut String) {
    if !line.is_empty() && !line.ends_with(' ') {
        line.push(' ');
    }
}

/// Ends what began with a mark, or removes the mark if it is empty.
pub(super) fn end_pair(line: &mut String, start: &str, end: &str) {
    if line.ends_with(start) {
        line.truncate(line.len() - start.len());
    } else {
        line.push_str(end);
    }
}

/// Appends text with each run of white space as one space. A line break between two Han characters is dropped:
/// Chinese and Japanese sources break lines anywhere. Soft hyphens are removed.
pub(super) fn collapse(text: &str, line: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_space(c) {
            if c != '\u{ad}' {
                line.push(c);
            }
            continue;
        }
        let mut broken = c == '\n';
        while let Some(next) = chars.next_if(|&next| is_space(next)) {
            broken |= next == '\n';
        }
        let joined = broken
            && line.chars().next_back().is_some_and(is_cjk)
            && chars.peek().copied().is_some_and(is_cjk);
        if !joined {
            end_word(line);
        }
    }
}

/// Appends the text of inline code. Only a line break, with the indentation around it, is replaced by a space; spaces and
/// tabs within a line are kept, as are all other characters.
pub(super) fn extend_code(text: &str, line: &mut String) {
    let mut rest = text;
    while let Some(start) = rest.find(is_html_space) {
        let (before, space) = rest.split_at(start);
        let length = space.find(|c| !is_html_space(c)).unwrap_or(space.len());
        let (space, behind) = space.split_at(length);
        line.push_str(before);
        line.push_str(if space.contains(['\n', '\r']) { " " } else { space });
        rest = behind;
    }
    line.push_str(rest);
}

/// White space of the HTML standard.
fn is_html_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{c}' | '\r')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\t' | '\r' | '\u{b}' | '\u{c}' | '\u{a0}' | '\u{2028}' | '\u{2029}')
}

pub(super) fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}
