//! Owns: which files a shell line names. Reads the line as a shell does, as far as names go: quotes, escapes,
//! comments, redirections. It expands only `$PWD`, which is the project's root; a name that holds another variable or
//! a wildcard is not seen.
//!
//! It may find too much: if a word happens to be the name of a file, the command only runs again when that file
//! changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    path::Path,
    str::Chars,
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

/// Where in a line a name is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct At {
    /// Commands that are joined by `&&`, `||` or `|` have one number: the later ones run after the earlier.
    list: usize,
    /// Number of changes of the folder so far: behind one, a name is another file.
    folders: usize,
    /// Whether a command there runs only under a condition, or may be no command: within quotes or a here-document.
    is_uncertain: bool,
}

/// The words of a line.
#[derive(Default)]
struct Words {
    found: Vec<(String, Use, At)>,
    at: At,
    /// Whether what follows may be skipped: behind `if`, in a loop or function, after `exit`.
    may_be_skipped: bool,
}

impl Words {
    fn is_full(&self) -> bool {
        self.found.len() > WORDS_MAX
    }

    fn push(&mut self, text: String, used: Use) {
        const SKIPPING: [&str; 14] = [
            "if", "then", "else", "elif", "case", "for", "while", "until", "do", "select", "function", "{",
            "exit", "return",
        ];
        match text.as_str() {
            "cd" | "pushd" | "popd" => self.at.folders += 1,
            word if SKIPPING.contains(&word) => {
                self.may_be_skipped = true;
                self.at.is_uncertain = true;
            }
            _ => {}
        }
        self.found.push((text, used, self.at));
    }

    /// Ends a list of commands.
    fn end_list(&mut self) {
        self.at.list += 1;
        self.at.is_uncertain = self.may_be_skipped;
    }

    /// What follows in this list depends on how the command before ended.
    fn join(&mut self) {
        self.at.is_uncertain = true;
    }
}

/// The names in a line that may be inputs, as written, without a leading `./`.
pub(super) fn named(line: &str) -> BTreeSet<String> {
    let mut words = Words::default();
    lex(line, 0, &mut words);
    let mut uses: BTreeMap<&str, Vec<(Use, At)>> = BTreeMap::new();
    for (word, used, at) in words.found.iter().take(WORDS_MAX) {
        // `--config=conf.yaml`, `@data.json`, `-fprogram.awk`
        let value = word.split_once('=').map(|(_, value)| value);
        let attached = word.strip_prefix('-').and_then(|option| {
            let mut letters = option.chars();
            letters.next().filter(|letter| letter.is_ascii_alphabetic()).map(|_| letters.as_str())
        });
        for name in [Some(word.as_str()), value, word.strip_prefix('@'), attached].into_iter().flatten() {
            uses.entry(plain(name)).or_default().push((*used, *at));
        }
        // `/srv/a.txt,/srv/b.txt`
        for name in word.split([',', ':']).filter(|name| name.len() < word.len()) {
            uses.entry(plain(name)).or_insert_with(|| vec![(Use::Reads, At::default())]);
        }
    }
    // Names within code in another language, such as `open("words.txt")`.
    let pieces = line.split(|letter: char| letter.is_whitespace() || "'\"`();|&<>=,:[]{}".contains(letter));
    for piece in pieces.take(WORDS_MAX).filter(|piece| !piece.starts_with('/')) {
        uses.entry(plain(piece)).or_insert_with(|| vec![(Use::Reads, At::default())]);
    }
    uses.into_iter()
        .filter(|(name, uses)| may_be_a_path(name) && is_input(uses))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The parts of a line that the shell takes as they are: within single quotes outside double ones, and in
/// here-documents whose end is quoted.
pub(super) fn in_single_quotes(line: &str) -> String {
    let mut literal = String::new();
    let mut documents: Vec<HereDocument> = Vec::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '\'' => {
                literal.extend(letters.by_ref().take_while(|letter| *letter != '\''));
                literal.push('\n');
            }
            '"' => {
                while let Some(letter) = letters.next() {
                    match letter {
                        '\\' => drop(letters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '<' if letters.next_if_eq(&'<').is_some() => documents.extend(HereDocument::begin(&mut letters)),
            '\n' => {
                for document in documents.drain(..) {
                    let text = document.text(&mut letters);
                    literal.push_str(if document.is_quoted { &text } else { "" });
                }
            }
            _ => {}
        }
    }
    literal
}

/// Whether what a line does with a name, in this order, may depend on what the file held before: it does not if the
/// file was replaced for certain, or by a command without which the reader does not run.
fn is_input(uses: &[(Use, At)]) -> bool {
    let (mut for_certain, mut last) = (BTreeSet::new(), None);
    uses.iter().any(|(used, at)| match used {
        Use::Replaces => {
            if !at.is_uncertain {
                for_certain.insert(at.folders);
            }
            last = Some((at.list, at.folders));
            false
        }
        Use::Appends => false,
        Use::Reads => !for_certain.contains(&at.folders) && last != Some((at.list, at.folders)),
    })
}

fn may_be_a_path(name: &str) -> bool {
    // Kernel interfaces are not files; `-` begins an option, `$` and `~` something that is not expanded here.
    const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
    let is_made_up =
        |name: &Path| KERNEL.iter().any(|folder| name.starts_with(folder)) && !name.starts_with("/dev/shm");
    !name.is_empty()
        && name.len() <= WORD_BYTES_MAX
        && !name.starts_with(['$', '-', '~'])
        && !name.contains(['\0', '\n', '\t'])
        && !is_made_up(Path::new(name))
}

/// The names of a line, each also within every folder that the line names: `cd data; sort words.txt` and
/// `make -C src all` read files there. `is_folder` looks at a name of the line.
pub(super) fn named_within(line: &str, is_folder: impl Fn(&str) -> bool) -> BTreeSet<String> {
    const FOLDERS_MAX: usize = 16;
    let mut names = named(line);
    let folders: Vec<String> =
        names.iter().filter(|name| is_folder(name)).take(FOLDERS_MAX).cloned().collect();
    let relative: Vec<String> = names.iter().filter(|name| !name.starts_with('/')).cloned().collect();
    for folder in folders.iter().map(|folder| folder.trim_end_matches('/')) {
        let within = relative.iter().map(|name| format!("{folder}/{name}"));
        names.extend(within.filter(|name| name.len() <= WORD_BYTES_MAX));
    }
    names
}

fn plain(name: &str) -> &str {
    name.trim_start_matches("./")
}

/// A word being read.
#[derive(Default)]
struct Word {
    text: String,
    begun: bool,
    expands: bool,
}

fn lex(line: &str, depth: usize, words: &mut Words) {
    let (mut word, mut used) = (Word::default(), Use::Reads);
    // Here-documents whose text follows the line.
    let mut documents = Vec::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if words.is_full() {
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
            '$' => match variable(&mut letters).as_str() {
                "PWD" => word.push("."),
                _ => {
                    word.begun = true;
                    word.expands = true;
                }
            },
            // Opens it to read and write, and keeps what it held.
            '<' if letters.next_if_eq(&'>').is_some() => {
                word.end(used, words);
                used = Use::Reads;
            }
            '<' if letters.next_if_eq(&'<').is_some() => {
                word.end(used, words);
                used = Use::Reads;
                documents.extend(HereDocument::begin(&mut letters));
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
                match letter {
                    '&' if letters.peek() == Some(&'>') => {}
                    '&' | '|' if letters.next_if_eq(&letter).is_some() => words.join(),
                    '\n' => {
                        for document in documents.drain(..) {
                            inner(&document.text(&mut letters), depth, words);
                        }
                        words.end_list();
                    }
                    ';' | '&' => words.end_list(),
                    _ => {}
                }
            }
            _ => word.push(letter.encode_utf8(&mut [0; 4])),
        }
    }
    word.end(used, words);
}

/// A here-document whose end is known.
struct HereDocument {
    end: String,
    is_quoted: bool,
    /// `<<-`: tabs before its lines do not count.
    strips: bool,
}

impl HereDocument {
    /// Reads the word behind `<<`; none behind `<<<`, which is followed by the text itself.
    fn begin(letters: &mut Peekable<Chars<'_>>) -> Option<Self> {
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
    fn text(&self, letters: &mut Peekable<Chars<'_>>) -> String {
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

/// Takes a variable's name behind its `$`; empty where there is something else, such as a command.
fn variable(letters: &mut Peekable<Chars<'_>>) -> String {
    if letters.next_if_eq(&'{').is_some() {
        return letters.by_ref().take_while(|letter| *letter != '}').collect();
    }
    let mut name = String::new();
    while let Some(letter) = letters.next_if(|letter| letter.is_ascii_alphanumeric() || *letter == '_') {
        name.push(letter);
    }
    name
}

/// A quoted text may be a line of its own: `sh -c 'sort words.txt'`.
fn inner(quoted: &str, depth: usize, words: &mut Words) {
    if depth < DEPTH_MAX
        && quoted.contains(|letter: char| letter.is_whitespace() || "'\"`();|&<>".contains(letter))
    {
        let (before, may_be_skipped) = (words.at, words.may_be_skipped);
        // It may as well be something to print.
        (words.at.list, words.may_be_skipped) = (before.list + 1, true);
        words.at.is_uncertain = true;
        lex(quoted, depth + 1, words);
        let list = words.at.list + 1;
        // A `cd` within it changes the folder only there.
        (words.at, words.may_be_skipped) = (At { list, ..before }, may_be_skipped);
    }
}

/// What stands up to the closing quote, and whether something in it is expanded.
fn double_quoted(letters: &mut Peekable<Chars<'_>>) -> (String, bool) {
    let (mut text, mut expands) = (String::new(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter) if "$`\"\\".contains(letter) => text.push(letter),
                Some(letter) => text.extend(['\\', letter]),
            },
            '$' => match variable(letters) {
                name if name == "PWD" => text.push('.'),
                name => {
                    expands = true;
                    text.push('$');
                    text.push_str(&name);
                }
            },
            _ => {
                expands |= letter == '`';
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
    fn end(&mut self, used: Use, words: &mut Words) -> bool {
        let Self { text, begun, expands } = std::mem::take(self);
        if begun && !expands {
            words.push(text, used);
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
            ("awk -fprogram.awk d.txt", "program.awk"),
            ("echo /srv/1.txt,/srv/2.txt | tr , ' ' | xargs cat", "/srv/2.txt"),
            ("exec 3<>d.txt; cat <&3", "d.txt"),
            ("cat $PWD/data/d.txt", "data/d.txt"),
            ("cat \"${PWD}/data/d.txt\"", "data/d.txt"),
            ("cat /dev/shm/d.txt", "/dev/shm/d.txt"),
            ("cat out/d.txt .git/HEAD", ".git/HEAD"),
            ("echo \"sorting -> d.txt\"; cat d.txt", "d.txt"),
            ("printf '<a>d.txt</a>'; cat d.txt", "d.txt"),
            ("cat > log <<E\nraw > d.txt\nE\ncat d.txt", "d.txt"),
            ("cat > log <<-'E'; cat d.txt\nraw > d.txt\n\tE\n", "d.txt"),
            ("test 1 -gt 2 && date > d.txt || true; cat d.txt", "d.txt"),
            ("if test \"$a\"; then date > d.txt; fi; cat d.txt", "d.txt"),
            ("for i in $list; do date > d.txt; done; cat d.txt", "d.txt"),
            ("f() { date > d.txt; }; cat d.txt", "d.txt"),
            ("exit; date > d.txt; cat d.txt", "d.txt"),
            ("date > d.txt; cd sub; cat d.txt", "d.txt"),
            ("sh -c 'cd sub; date > d.txt'; cat d.txt", "d.txt"),
        ] {
            assert!(names(line, name), "{line}: {:?}", named(line));
        }
    }

    #[test]
    fn names_are_looked_for_in_the_folders_of_a_line_too() {
        let is_folder = |name: &str| matches!(name, "data" | "src/");
        for (line, name) in [
            ("cd data; cat d.txt", "data/d.txt"),
            ("cd ./data && sort sub/d.txt", "data/sub/d.txt"),
            ("make -C src/ Makefile", "src/Makefile"),
            ("cd data; cat d.txt", "d.txt"),
        ] {
            assert!(
                named_within(line, is_folder).contains(name),
                "{line}: {:?}",
                named_within(line, is_folder)
            );
        }
        assert!(!named_within("cd data; cat /srv/d.txt", is_folder).contains("data//srv/d.txt"));
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
            ("cd sub; date > d.txt; cat d.txt", "d.txt"),
            ("mkdir -p x && date > d.txt && cat d.txt", "d.txt"),
            ("sh -c 'date > d.txt && cat d.txt'", "d.txt"),
            ("date > d.txt &> log; cat d.txt log", "log"),
            ("cat <<E > d.txt\ntext\nE\ncat d.txt", "d.txt"),
            ("cat < /dev/null", "/dev/null"),
            ("cat \"$HOME\"/etc/passwd", "/etc/passwd"),
            ("cat -n", "-n"),
        ] {
            assert!(!names(line, name), "{line}: {:?}", named(line));
        }
    }

    #[test]
    fn what_the_shell_takes_as_it_is() {
        for (line, literal) in [
            ("curl -H 'a $S b' \"c 'd'\" \\' e", "a $S b\n"),
            ("cat <<'END' > f\none $S\ntwo\nEND\necho 'x'", "one $S\ntwo\nx\n"),
            ("cat <<END\none 'two'\nEND\n", ""),
            ("cat <<-\\END\n\tone\n\tEND\necho", "\tone\n"),
            ("cat <<<'here'", "here\n"),
            ("'", "\n"),
            ("cat <<'", ""),
        ] {
            assert_eq!(in_single_quotes(line), literal, "{line}");
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
