//! Owns: which files a shell command names. It parses the line as a shell does, as far as names are concerned:
//! quotes, escapes, comments, redirections. It expands nothing, so names with variables or wildcards are not found.
//!
//! It may find too much: if a word happens to be the name of a file, the command only runs again when that file
//! changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Maximum number of words.
const WORDS_MAX: usize = 10_000;
/// Maximum length of a path.
const WORD_BYTES_MAX: usize = 4096;
/// Maximum depth of quotes within quotes.
const DEPTH_MAX: usize = 3;

/// How a line uses a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Reads it, or unknown.
    Reads,
    /// `> NAME`
    Replaces,
    /// `>> NAME`
    Appends,
}

/// The names in a line that may be inputs, as written, without a leading `./`.
pub(super) fn named(line: &str) -> BTreeSet<String> {
    let mut words = Vec::new();
    lex(line, 0, &mut words);
    let mut uses: BTreeMap<&str, Vec<Use>> = BTreeMap::new();
    for (word, used) in words.iter().take(WORDS_MAX) {
        // `--config=conf.yaml`, `@data.json`
        let value = word.split_once('=').map(|(_, value)| value);
        for name in [Some(word.as_str()), value, word.strip_prefix('@')].into_iter().flatten() {
            uses.entry(plain(name)).or_default().push(*used);
        }
    }
    // Names within code in another language, such as `open("words.txt")`.
    let pieces = line.split(|letter: char| letter.is_whitespace() || "'\"`();|&<>=,:[]{}".contains(letter));
    for piece in pieces.take(WORDS_MAX).filter(|piece| !piece.starts_with('/')) {
        uses.entry(plain(piece)).or_insert_with(|| vec![Use::Reads]);
    }
    uses.into_iter()
        .filter(|(name, uses)| may_be_a_path(name) && is_input(uses))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether the result of these uses, in this order, depends on the previous content of the file.
fn is_input(uses: &[Use]) -> bool {
    uses.first() != Some(&Use::Replaces) && uses.contains(&Use::Reads)
}

fn may_be_a_path(name: &str) -> bool {
    // Kernel interfaces are not files; `-` begins an option, `$` and `~` something that is not expanded here.
    const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
    !name.is_empty()
        && name.len() <= WORD_BYTES_MAX
        && !name.starts_with(['$', '-', '~'])
        && !name.contains(['\0', '\n', '\t'])
        && !KERNEL.iter().any(|folder| Path::new(name).starts_with(folder))
}

fn plain(name: &str) -> &str {
    name.trim_start_matches("./")
}

/// The glob that matches only this name.
pub(super) fn escape(name: &str) -> String {
    name.chars()
        .flat_map(|letter| "*?[]{}\\".contains(letter).then_some('\\').into_iter().chain([letter]))
        .collect()
}

/// A word being read.
#[derive(Default)]
struct Word {
    text: String,
    begun: bool,
    expands: bool,
}

fn lex(line: &str, depth: usize, words: &mut Vec<(String, Use)>) {
    let (mut word, mut used) = (Word::default(), Use::Reads);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if words.len() > WORDS_MAX {
            return;
        }
        match letter {
            '\'' => {
                let quoted: String = letters.by_ref().take_while(|letter| *letter != '\'').collect();
                inner(&quoted, depth, words);
                word.push(&quoted);
            }
            '"' => {
                let (quoted, expands) = double_quoted(&mut letters);
                inner(&quoted, depth, words);
                word.push(&quoted);
                word.expands |= expands;
            }
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter) => word.push(letter.encode_utf8(&mut [0; 4])),
            },
            '$' => {
                word.begun = true;
                word.expands = true;
                if letters.peek() == Some(&'{') {
                    letters.by_ref().take_while(|letter| *letter != '}').for_each(drop);
                }
            }
            '*' | '?' | '[' => {
                word.push(letter.encode_utf8(&mut [0; 4]));
                word.expands = true;
            }
            '#' if !word.begun => letters.by_ref().take_while(|letter| *letter != '\n').for_each(drop),
            '>' => {
                // `2> log`: the number is not a word.
                if word.text.bytes().all(|byte| byte.is_ascii_digit()) {
                    word = Word::default();
                }
                word.end(used, words);
                used = if letters.next_if_eq(&'>').is_some() { Use::Appends } else { Use::Replaces };
                letters.next_if(|letter| "|&".contains(*letter));
            }
            _ if letter.is_whitespace() || "`();|&<".contains(letter) => {
                let ended = word.end(used, words);
                // The target may be separated from its `>`.
                if ended || !matches!(letter, ' ' | '\t') {
                    used = Use::Reads;
                }
            }
            _ => word.push(letter.encode_utf8(&mut [0; 4])),
        }
    }
    word.end(used, words);
}

/// A quoted text may be a command line itself: `sh -c 'sort words.txt'`.
fn inner(quoted: &str, depth: usize, words: &mut Vec<(String, Use)>) {
    if depth < DEPTH_MAX
        && quoted.contains(|letter: char| letter.is_whitespace() || "'\"`();|&<>".contains(letter))
    {
        lex(quoted, depth + 1, words);
    }
}

/// The text up to the closing quote, and whether it contains an expansion.
fn double_quoted(letters: &mut impl Iterator<Item = char>) -> (String, bool) {
    let (mut text, mut expands) = (String::new(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter) if "$`\"\\".contains(letter) => text.push(letter),
                Some(letter) => text.extend(['\\', letter]),
            },
            _ => {
                expands |= matches!(letter, '$' | '`');
                text.push(letter);
            }
        }
    }
    (text, expands)
}

impl Word {
    fn push(&mut self, text: &str) {
        self.begun = true;
        self.text.push_str(text);
    }

    /// Ends the word; returns whether there was one.
    fn end(&mut self, used: Use, words: &mut Vec<(String, Use)>) -> bool {
        let Self { text, begun, expands } = std::mem::take(self);
        if begun && !expands {
            words.push((text, used));
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str, wanted: &str) -> bool {
        named(line).contains(wanted)
    }

    #[test]
    fn names_are_seen_however_they_are_quoted() {
        for (line, name) in [
            ("cat \"my data.txt\" > $PIPE_OUTPUT_o/a", "my data.txt"),
            ("cat 'my data.txt'", "my data.txt"),
            ("cat my\\ data.txt", "my data.txt"),
            ("cat my' 'data.txt", "my data.txt"),
            ("cat v1..v2.txt", "v1..v2.txt"),
            ("cat sub/../d.txt", "sub/../d.txt"),
            ("cat ../d.txt", "../d.txt"),
            ("echo `cat d.txt`", "d.txt"),
            ("echo $(cat d.txt)", "d.txt"),
            ("echo \"`cat d.txt` and $(cat e.txt)\"", "e.txt"),
            ("cat /srv/d.txt", "/srv/d.txt"),
            ("cat \"./d.txt\"", "d.txt"),
            ("a=d.txt;cat<e.txt|sort", "e.txt"),
            ("train --config=conf/a.yaml", "conf/a.yaml"),
            ("curl -d @body.json x", "body.json"),
            ("python3 -c 'print(open(\"/srv/w.txt\").read())'", "/srv/w.txt"),
            ("python3 -c \"print(open('w.txt').read())\"", "w.txt"),
            ("sh -c 'sort \"two words.txt\"'", "two words.txt"),
            ("tee -a train.log > $PIPE_OUTPUT_o/a", "train.log"),
            ("cat d.txt > out.txt; cat e.txt", "d.txt"),
            ("sort b > a; cat a > b", "b"),
            ("date >> log; wc log", "log"),
            ("cat x 2>&1 d.txt", "d.txt"),
            ("cat a\\\n d.txt", "d.txt"),
            ("cat \u{e4}\u{f6}.txt", "\u{e4}\u{f6}.txt"),
            ("cat 'a\"b'", "a\"b"),
        ] {
            assert!(names(line, name), "{line}: {:?}", named(line));
        }
    }

    #[test]
    fn what_a_line_only_writes_is_no_input() {
        for (line, name) in [
            ("date > result.txt; cp result.txt $PIPE_OUTPUT_o/", "result.txt"),
            ("date >result.txt", "result.txt"),
            ("date >> log.txt", "log.txt"),
            ("make 2> log.txt", "log.txt"),
            ("make &> log.txt", "log.txt"),
            ("make >| log.txt", "log.txt"),
            ("make > \"log 1.txt\"", "log 1.txt"),
            ("sh -c 'make > log.txt'", "log.txt"),
            ("cat a > b", "b"),
            ("sort a > b; sort b > a", "b"),
            ("cat < /dev/null", "/dev/null"),
            ("cat \"$HOME\"/etc/passwd", "/etc/passwd"),
            ("cat -n", "-n"),
        ] {
            assert!(!names(line, name), "{line}: {:?}", named(line));
        }
    }

    #[test]
    fn odd_lines_are_read_to_their_end() {
        for line in
            ["", "'", "\"", "\\", "`", "$", "${", "${x", ">", ">>", "<", "#", "a'b\"c", "\"\\", "> >", "\0"]
        {
            named(line);
        }
        let line = "'\"".repeat(100_000);
        named(&line);
        named(&"x > ".repeat(100_000));
    }
}
