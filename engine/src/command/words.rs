//! Owns: which files a shell line names. Reads the line as a shell does, as far as names go: quotes, escapes,
//! comments, redirections. It expands only `$PWD`, which is the project's root, and the user's home; a name that holds
//! another variable or a wildcard is not seen, unless quotes or a backslash make it literal.
//!
//! It may find too much: if a word happens to be the name of a file, the command only runs again when that file
//! changes.

use super::quotes::HereDocument;
use std::{
    borrow::Cow,
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
    /// Words with wildcards, each outside quotes and in the folder in which the line begins.
    patterns: BTreeSet<String>,
    /// Whether the words are those of a `case`, whose patterns match no files.
    is_case: bool,
    /// Depth of quotes within quotes.
    depth: usize,
    /// The user's home, if it is known.
    home: Option<String>,
}

impl Words {
    fn of(line: &str) -> Self {
        let home = std::env::var(HOME).ok().filter(|home| home.starts_with('/'));
        let mut words = Self { home, ..Self::default() };
        lex(line, &mut words);
        words
    }

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
            "esac" => self.is_case = false,
            word if SKIPPING.contains(&word) => {
                self.may_be_skipped = true;
                self.at.is_uncertain = true;
                self.is_case |= word == "case";
            }
            _ => {}
        }
        self.found.push((text, used, self.at));
    }

    fn push_pattern(&mut self, text: &str, used: Use) {
        let is_here = self.depth == 0 && self.at.folders == 0 && !self.is_case;
        if is_here && used == Use::Reads && may_be_a_path(text) {
            self.patterns.insert(plain(text).into_owned());
        }
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
    let words = Words::of(line);
    let mut uses: BTreeMap<Cow<'_, str>, Vec<(Use, At)>> = BTreeMap::new();
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
        // `os.path.expanduser("~/words.txt")`
        if let (Some(rest), Some(home)) = (piece.strip_prefix("~/"), &words.home) {
            let name = Cow::Owned(plain(&format!("{home}/{rest}")).into_owned());
            uses.entry(name).or_insert_with(|| vec![(Use::Reads, At::default())]);
        }
    }
    let inputs = uses.into_iter().filter(|(_, uses)| is_input(uses)).map(|(name, _)| name);
    inputs.filter(|name| may_be_a_path(name)).map(Cow::into_owned).collect()
}

/// The words of a line with wildcards that may match inputs, as written, without a leading `./`.
pub(super) fn patterns(line: &str) -> BTreeSet<String> {
    Words::of(line).patterns
}

/// The variable with the user's home.
const HOME: &str = "HOME";

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
    // Kernel interfaces are not files. An option such as `-n` may be one: `cat -- -n`.
    const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
    let is_made_up =
        |name: &Path| KERNEL.iter().any(|folder| name.starts_with(folder)) && !name.starts_with("/dev/shm");
    !name.is_empty() && name.len() <= WORD_BYTES_MAX && !name.contains('\0') && !is_made_up(Path::new(name))
}

/// The names of a line, each also within every folder that the line names: `cd data; sort words.txt` and
/// `make -C src all` read files there. `is_folder` looks at a name of the line.
pub(super) fn named_within(line: &str, is_folder: impl Fn(&str) -> bool) -> BTreeSet<String> {
    const FOLDERS_MAX: usize = 16;
    let mut names = named(line);
    let mut folders: Vec<String> =
        names.iter().filter(|name| is_folder(name)).take(FOLDERS_MAX).cloned().collect();
    let relative: Vec<String> = names.iter().filter(|name| !name.starts_with('/')).cloned().collect();
    let mut done = 0;
    while let Some(folder) = folders.get(done).map(|folder| folder.trim_end_matches('/').to_owned()) {
        let within = relative.iter().map(|name| format!("{folder}/{name}"));
        for name in within.filter(|name| name.len() <= WORD_BYTES_MAX) {
            // `cd data; cd raw; sort words.txt`
            if folders.len() < FOLDERS_MAX && is_folder(&name) && !folders.contains(&name) {
                folders.push(name.clone());
            }
            names.insert(name);
        }
        done += 1;
    }
    names
}

/// A name without what changes nothing: `.//a/./b` is `a/b`.
fn plain(name: &str) -> Cow<'_, str> {
    if !name.contains("//") && !name.contains("./") {
        return Cow::Borrowed(name);
    }
    let root = if name.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let end = if name.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    Cow::Owned(format!("{root}{}{end}", parts.join("/")))
}

/// A word being read.
#[derive(Default)]
struct Word {
    text: String,
    begun: bool,
    /// Whether it holds a variable or a command.
    expands: bool,
    /// Whether it holds a wildcard.
    is_pattern: bool,
}

/// The user's home, if a `~` outside quotes is expanded to it here.
fn home_of_tilde<'a>(word: &Word, letters: &mut Peekable<Chars<'_>>, words: &'a Words) -> Option<&'a str> {
    let begins = word.text.is_empty() || word.text.ends_with(['=', ':']);
    let ends = letters.peek().is_none_or(|next| next.is_whitespace() || "/:;&|<>()`".contains(*next));
    words.home.as_deref().filter(|_| begins && ends)
}

fn lex(line: &str, words: &mut Words) {
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
                inner(&quoted, words);
                word.push(&quoted);
            }
            '"' => {
                let (quoted, expands) = double_quoted(&mut letters, words.home.as_deref());
                inner(&quoted, words);
                word.push(&quoted);
                word.expands |= expands;
            }
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter) => word.push(letter.encode_utf8(&mut [0; 4])),
            },
            '$' => match value(&variable(&mut letters), words.home.as_deref()) {
                Some(value) => word.push(value),
                None => {
                    word.begun = true;
                    word.expands = true;
                }
            },
            '~' => word.push(home_of_tilde(&word, &mut letters, words).unwrap_or("~")),
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
                word.is_pattern = true;
            }
            '#' if !word.begun => while letters.next_if(|letter| *letter != '\n').is_some() {},
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
                            inner(&document.text(&mut letters), words);
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

/// The value of a variable that is known before a line runs.
fn value<'a>(name: &str, home: Option<&'a str>) -> Option<&'a str> {
    match name {
        "PWD" => Some("."),
        HOME => home,
        _ => None,
    }
}

/// A quoted text may be a line of its own: `sh -c 'sort words.txt'`.
fn inner(quoted: &str, words: &mut Words) {
    if words.depth < DEPTH_MAX
        && quoted.contains(|letter: char| letter.is_whitespace() || "'\"`();|&<>".contains(letter))
    {
        let (before, may_be_skipped) = (words.at, words.may_be_skipped);
        // It may as well be something to print.
        (words.at.list, words.may_be_skipped) = (before.list + 1, true);
        words.at.is_uncertain = true;
        words.depth += 1;
        lex(quoted, words);
        words.depth -= 1;
        let list = words.at.list + 1;
        // A `cd` within it changes the folder only there.
        (words.at, words.may_be_skipped) = (At { list, ..before }, may_be_skipped);
    }
}

/// What stands up to the closing quote, and whether something in it is expanded.
fn double_quoted(letters: &mut Peekable<Chars<'_>>, home: Option<&str>) -> (String, bool) {
    let (mut text, mut expands) = (String::new(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter) if "$`\"\\".contains(letter) => text.push(letter),
                Some(letter) => text.extend(['\\', letter]),
            },
            '$' => {
                let name = variable(letters);
                if let Some(value) = value(&name, home) {
                    text.push_str(value);
                } else {
                    expands = true;
                    text.push('$');
                    text.push_str(&name);
                }
            }
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
        let Self { text, begun, expands, is_pattern } = std::mem::take(self);
        match (begun && !expands, is_pattern) {
            (true, false) => words.push(text, used),
            (true, true) => words.push_pattern(&text, used),
            (false, _) => {}
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
            ("cat > log <<E # E\nraw > d.txt\nE\ncat d.txt", "d.txt"),
            ("cat > log <<E\nraw > d.txt\nE\ncat d.txt", "d.txt"),
            ("cat > log <<-'E'; cat d.txt\nraw > d.txt\n\tE\n", "d.txt"),
            ("test 1 -gt 2 && date > d.txt || true; cat d.txt", "d.txt"),
            ("if test \"$a\"; then date > d.txt; fi; cat d.txt", "d.txt"),
            ("for i in $list; do date > d.txt; done; cat d.txt", "d.txt"),
            ("f() { date > d.txt; }; cat d.txt", "d.txt"),
            ("exit; date > d.txt; cat d.txt", "d.txt"),
            ("date > d.txt; cd sub; cat d.txt", "d.txt"),
            ("sh -c 'cd sub; date > d.txt'; cat d.txt", "d.txt"),
            ("cat ./-d", "-d"),
            ("cat -- -d.txt", "-d.txt"),
            ("cat '$v' x", "$v"),
            ("cat \\$v", "$v"),
            ("cat \"\\$v.txt\"", "$v.txt"),
            ("cat '~t'", "~t"),
            ("cat \\~/d.txt", "~/d.txt"),
            ("cat '~'/d.txt", "~/d.txt"),
            ("cat a~", "a~"),
            ("cat $'d.txt'", "d.txt"),
            ("cat 'a\nb'", "a\nb"),
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
            ("cat $v/d.txt", "v/d.txt"),
            ("mkdir -p x && date > d.txt && cat d.txt", "d.txt"),
            ("sh -c 'date > d.txt && cat d.txt'", "d.txt"),
            ("date > d.txt &> log; cat d.txt log", "log"),
            ("cat <<E > d.txt\ntext\nE\ncat d.txt", "d.txt"),
            ("cat < /dev/null", "/dev/null"),
            ("cat \"$HOME\"/etc/passwd", "/etc/passwd"),
        ] {
            assert!(!names(line, name), "{line}: {:?}", named(line));
        }
    }

    #[test]
    fn names_in_the_home_of_the_user_are_whole_paths() {
        let home = std::env::var("HOME").unwrap();
        for line in [
            "cat ~/d.txt",
            "cat \"$HOME/d.txt\"",
            "cat ${HOME}/d.txt",
            "t --in=~/d.txt",
            "PATH=a:~/d.txt t",
            "python3 -c 'open(os.path.expanduser(\"~/d.txt\"))'",
        ] {
            assert!(names(line, &format!("{home}/d.txt")), "{line}: {:?}", named(line));
        }
        for line in ["cat ~user/d.txt", "cat a~/d.txt", "cat '~'/d.txt"] {
            assert!(!names(line, &format!("{home}/d.txt")), "{line}");
        }
    }

    #[test]
    fn wildcards_are_seen_where_they_match_files_of_the_project() {
        let seen = |line: &str| patterns(line).into_iter().collect::<Vec<_>>().join(" ");
        for (line, expected) in [
            ("cat ./data/*.txt \"my data\"/?.csv > *.out", "data/*.txt my data/?.csv"),
            ("for f in data/[ab].txt; do cat $f; done", "data/[ab].txt"),
            ("cat $PIPE_INPUT_a/*.txt '*.txt' \"*.md\" \\*.rs /dev/sd*", ""),
            ("case $x in *.txt) cat *.md;; esac; cat *.rs", "*.rs"),
            ("cat *.md; cd data; cat *.txt", "*.md"),
            ("grep 'a* b' *.txt", "*.txt"),
        ] {
            assert_eq!(seen(line), expected, "{line}");
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
