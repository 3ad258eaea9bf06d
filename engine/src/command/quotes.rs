//! Owns: in which parts of a shell line variables are expanded. It knows quotes, escapes, comments and here-documents.

use std::{iter::Peekable, str::Chars};

/// The parts of a line, by what the shell does with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Where it expands variables; without escaped letters.
    pub(super) expanded: String,
    /// What it takes as it is: within single quotes outside double ones, and in here-documents whose end is quoted.
    pub(super) literal: String,
    /// Of these, the parts that another shell expands later: behind `-c`, `eval` and `trap`.
    pub(super) code: String,
}

impl Parts {
    pub(super) fn of(line: &str) -> Self {
        let mut parts = Self::default();
        let mut documents: Vec<HereDocument> = Vec::new();
        let (mut letters, mut is_word) = (line.chars().peekable(), false);
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => drop(letters.next()),
                '\'' => {
                    let quoted: String = letters.by_ref().take_while(|letter| *letter != '\'').collect();
                    if parts.is_before_code() {
                        parts.code.extend([&quoted, "\n"]);
                    }
                    parts.literal.extend([&quoted, "\n"]);
                }
                '"' => parts.expanded.push_str(&unescaped(&mut letters, Some('"'))),
                '#' if !is_word => while letters.next_if(|letter| *letter != '\n').is_some() {},
                '<' if letters.next_if_eq(&'<').is_some() => {
                    documents.extend(HereDocument::begin(&mut letters));
                }
                '\n' => {
                    parts.expanded.push(letter);
                    for document in documents.drain(..) {
                        let text = document.text(&mut letters);
                        if document.is_quoted {
                            parts.literal.push_str(&text);
                        } else {
                            parts.expanded.push_str(&unescaped(&mut text.chars().peekable(), None));
                        }
                    }
                }
                _ => parts.expanded.push(letter),
            }
            is_word = !letter.is_whitespace() && !";|&()`".contains(letter);
        }
        parts
    }

    /// Whether a quoted text that follows is a line of another shell.
    fn is_before_code(&self) -> bool {
        let before = self.expanded.trim_end_matches([' ', '\t']);
        let word = before.rsplit(|letter: char| letter.is_whitespace() || ";|&(".contains(letter)).next();
        word.is_some_and(|word| {
            matches!(word, "eval" | "trap")
                || word
                    .strip_prefix('-')
                    .is_some_and(|option| !option.starts_with('-') && option.ends_with('c'))
        })
    }
}

/// Takes a text up to its end, without escaped letters.
fn unescaped(letters: &mut Peekable<Chars<'_>>, end: Option<char>) -> String {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            _ if Some(letter) == end => break,
            _ => text.push(letter),
        }
    }
    text
}

/// A here-document whose end is known.
pub(super) struct HereDocument {
    end: String,
    is_quoted: bool,
    /// `<<-`: tabs before its lines do not count.
    strips: bool,
}

impl HereDocument {
    /// Reads the word behind `<<`; none behind `<<<`, which is followed by the text itself.
    pub(super) fn begin(letters: &mut Peekable<Chars<'_>>) -> Option<Self> {
        if letters.next_if_eq(&'<').is_some() {
            return None;
        }
        let strips = letters.next_if_eq(&'-').is_some();
        while letters.next_if(|letter| matches!(letter, ' ' | '\t')).is_some() {}
        let mut end = String::new();
        let is_end = |letter: &char| !letter.is_whitespace() && !";|&<>()".contains(*letter);
        while let Some(letter) = letters.next_if(is_end) {
            end.push(letter);
        }
        let is_quoted = end.contains(['\'', '"', '\\']);
        Some(Self { end: end.replace(['\'', '"', '\\'], ""), is_quoted, strips })
    }

    /// Reads its lines, and its end.
    pub(super) fn text(&self, letters: &mut Peekable<Chars<'_>>) -> String {
        let mut text = String::new();
        while letters.peek().is_some() {
            let line: String = letters.by_ref().take_while(|letter| *letter != '\n').collect();
            let own = if self.strips { line.trim_start_matches('\t') } else { &line };
            if own == self.end {
                break;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shell_takes_as_it_is() {
        for (line, literal) in [
            ("curl -H 'a $S b' \"c 'd'\" \\' e", "a $S b\n"),
            ("cat <<'END' > f\none $S\ntwo\nEND\necho 'x'", "one $S\ntwo\nx\n"),
            ("cat <<END\none 'two'\nEND\n", ""),
            ("cat <<-\\END\n\tone\n\tEND\necho", "\tone\n"),
            ("cat <<<'here'", "here\n"),
            ("echo a # don't\necho b", ""),
            ("'", "\n"),
            ("cat <<'", ""),
        ] {
            assert_eq!(Parts::of(line).literal, literal, "{line}");
        }
    }

    #[test]
    fn what_a_shell_expands() {
        for (line, expanded, code) in [
            ("echo $A \"$B '$C'\" \\$D # $E\necho ${#F}", "echo $A $B '$C' D \necho ${#F}", ""),
            ("cat <<E\n$A \\$B\nE\ncat $C", "cat \n$A B\ncat $C", ""),
            ("sh -c 'cat $A'; eval '$B'; awk '{ $C }'", "sh -c ; eval ; awk ", "cat $A\n$B\n"),
            ("bash -euc '$A' --etc '$B'", "bash -euc  --etc ", "$A\n"),
        ] {
            let parts = Parts::of(line);
            assert_eq!((parts.expanded.as_str(), parts.code.as_str()), (expanded, code), "{line}");
        }
    }
}
