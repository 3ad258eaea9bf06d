//! The text of a line: white space, and signs that begin and end.

use crate::segment::is_cjk;

/// Ends inline code, or removes its opening mark if it is empty.
pub(super) fn close_inline_code(line: &mut String) {
    if line.ends_with('`') {
        line.pop();
        return;
    }
    let kept = line.trim_end().len();
    let space = kept < line.len();
    line.truncate(kept);
    line.push('`');
    if space {
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
        if !joined && !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\t' | '\r' | '\u{b}' | '\u{c}' | '\u{a0}' | '\u{2028}' | '\u{2029}')
}

pub(super) fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}
