//! The apostrophes of bold and italic text, read as MediaWiki does, line by line.

/// The line without its marks of bold and italic text; apostrophes that belong to words are kept.
pub(super) fn without_quotes(line: &str) -> String {
    if !line.contains("''") {
        return line.to_owned();
    }
    // The pieces between runs of two and more, and the lengths of these.
    let (mut pieces, mut runs) = (vec![String::new()], Vec::new());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let piece = pieces.last_mut().expect("invariant: there is a first piece");
        if c != '\'' {
            piece.push(c);
            continue;
        }
        let mut length = 1;
        while chars.next_if_eq(&'\'').is_some() {
            length += 1;
        }
        let (kept, mark) = match length {
            1 => (1, 0),
            2 | 3 | 5 => (0, length),
            4 => (1, 3),
            more => (more - 5, 5),
        };
        piece.extend(std::iter::repeat_n('\'', kept));
        if mark > 0 {
            runs.push(mark);
            pieces.push(String::new());
        }
    }
    let bold = runs.iter().filter(|run| **run != 2).count();
    let italic = runs.iter().filter(|run| **run != 3).count();
    if bold % 2 == 1 && italic % 2 == 1 {
        // One of the runs of three is an apostrophe before italic text.
        let is_after = |at: &usize, want: fn(&[char]) -> bool| {
            let last: Vec<char> = pieces[*at].chars().rev().take(2).collect();
            want(&last)
        };
        let threes: Vec<usize> = (0..runs.len()).filter(|at| runs[*at] == 3).collect();
        let single = |last: &[char]| matches!(last, [letter] | [letter, ' '] if *letter != ' ');
        let letter = |last: &[char]| matches!(last, [letter, before] if *letter != ' ' && *before != ' ');
        let found = threes.iter().find(|at| is_after(at, single));
        let found = found.or_else(|| threes.iter().find(|at| is_after(at, letter))).or(threes.first());
        if let Some(at) = found {
            pieces[*at].push('\'');
        }
    }
    pieces.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_removed_and_apostrophes_stay() {
        for (line, expected) in [
            ("''a'' '''b''' '''''c'''''", "a b c"),
            ("it's l'''art'' now", "it's l'art now"),
            ("''''x''''", "'x'"),
            ("l'''Orient'' est", "l'Orient est"),
            ("''l'''Orient'' '''", "lOrient "),
            ("plain", "plain"),
            ("''''''''x", "'''x"),
        ] {
            assert_eq!(without_quotes(line), expected, "{line}");
        }
    }
}
