//! The documentation tells the truth: what its pages show is run.
//!
//! A fenced block opened by ```` ```console run ```` holds commands, each behind `$ `, and what they print. The blocks of
//! a page run in order, in one shell and one folder of their own, with `pipe` on the PATH. A block opened by
//! ```` ```yaml file=NAME ```` (or any other language) is first written to that file. In expected output, `…` stands for
//! any text within a line and, alone on a line, for any lines; a command without expected output may print what it
//! likes. `[exit code: N]` behind a command says how it ends, if not with 0.

#![cfg(all(feature = "data", feature = "model", feature = "serve"))]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Between the output of one command and that of the next.
const MARK: char = '\u{1}';

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        const PAGES: &[&str] = &[$($path),*];
        $(#[test]
        fn $name() {
            run($path);
        })*
    };
}

pages! {
    readme: "README.md",
    manifest: "docs/manifest.md",
    data: "docs/data.md",
    classifier: "docs/classifier.md",
    training: "docs/training.md",
    evaluation: "docs/evaluation.md",
    cache: "docs/cache.md",
    stages: "docs/stages.md",
    commands: "docs/commands.md",
}

#[test]
fn every_page_with_commands_is_run() {
    let docs = fs::read_dir(root().join("docs")).expect("there are docs");
    let names = docs.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().display()));
    for page in names.filter(|name| name.ends_with(".md")) {
        let has_commands = !shown_commands(&read(&page)).is_empty();
        assert!(!has_commands || PAGES.contains(&page.as_str()), "{page} is not in the list of pages");
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/formats.md",
        "docs/coverage.md",
        "docs/crawl.md",
    ];
    for page in PAGES.iter().chain(&pages) {
        let text = read(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (target, fragment) = link.split_once('#').unwrap_or((link, ""));
            if target.contains("://") {
                continue;
            }
            let folder = root().join(page).parent().expect("a page is in a folder").to_owned();
            let path = if target.is_empty() { root().join(page) } else { folder.join(target) };
            assert!(path.exists(), "{page} links to {link}");
            if !fragment.is_empty() && path.extension().is_some_and(|extension| extension == "md") {
                let other = fs::read_to_string(&path).expect("a page can be read");
                let mut headings = other.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|heading| heading == fragment), "{page} links to {link}");
            }
        }
    }
}

/// What a heading's link is called, as GitHub does it.
fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// A fenced block: the line that opens it, without the fence, and its text.
struct Block {
    info: String,
    text: String,
    line: usize,
}

/// A command of a page, with the output that the page shows.
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
    code: i32,
}

fn run(page: &str) {
    let text = read(page);
    let folder = tempfile::Builder::new().prefix("pipe-docs-").tempdir().expect("a folder");
    // A project of its own, so that no folder above counts as one.
    fs::create_dir(folder.path().join(".pipe")).expect("a cache");
    for block in blocks(&text) {
        if let Some(name) = block.info.split_whitespace().find_map(|word| word.strip_prefix("file=")) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("its folder");
            fs::write(path, &block.text).expect("it can be written");
        }
    }
    let shown = shown_commands(&text);
    let script: String = shown
        .iter()
        .map(|shown| format!("{{ {}\n}} 2>&1; printf '{MARK}%s{MARK}' $?\n", shown.command))
        .collect();
    let printed = shell(folder.path(), &script);
    let mut parts = printed.split(MARK);
    for Shown { line, command, output, code } in &shown {
        let printed = parts.next().unwrap_or_default();
        let ended = parts.next().unwrap_or("never");
        assert_eq!(
            ended,
            code.to_string(),
            "{page}:{line}: `{command}` ended otherwise and printed\n{printed}"
        );
        let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let printed: Vec<&str> = printed.into_iter().filter(|line| !line.is_empty()).collect();
        let output: Vec<&str> =
            output.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect();
        let is_as_shown = output.is_empty() || matches(&output, &printed);
        assert!(is_as_shown, "{page}:{line}: `{command}` printed\n{}", printed.join("\n"));
    }
}

fn shell(folder: &Path, script: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_pipe")).parent().expect("it is in a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new("sh")
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env_remove("PIPE_CACHE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut stdin = child.stdin.take().expect("it is piped");
    let script = script.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let _ = writer.join();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The commands of a page's blocks that are marked to be run.
fn shown_commands(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for block in blocks(text) {
        let mut words = block.info.split_whitespace();
        if (words.next(), words.next()) != (Some("console"), Some("run")) {
            continue;
        }
        for (offset, line) in block.text.lines().enumerate() {
            if let Some(command) = line.strip_prefix("$ ") {
                let line = block.line + offset + 1;
                all.push(Shown { line, command: command.to_owned(), output: Vec::new(), code: 0 });
                continue;
            }
            let shown = all.last_mut().expect("a block begins with a command");
            if let Some(more) = line.strip_prefix("> ") {
                shown.command = format!("{}\n{more}", shown.command);
            } else if let Some(code) =
                line.strip_prefix("[exit code: ").and_then(|rest| rest.strip_suffix(']'))
            {
                shown.code = code.parse().expect("an exit code is a number");
            } else {
                shown.output.push(line.to_owned());
            }
        }
    }
    all
}

fn blocks(text: &str) -> Vec<Block> {
    let mut all = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { info: info.to_owned(), text: String::new(), line: number + 1 });
            }
            (Some(_), Some("")) => all.extend(open.take()),
            (Some(block), _) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    all
}

/// Whether the printed lines are those that are shown; a `…` alone stands for any lines.
fn matches(shown: &[&str], printed: &[&str]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        (["…", rest @ ..], _) => (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..])),
        ([first, rest @ ..], [line, lines @ ..]) => is_line(first, line) && matches(rest, lines),
        _ => false,
    }
}

/// Whether a printed line is the one that is shown; a `…` in it stands for any text, runs of spaces are equal.
fn is_line(shown: &str, printed: &str) -> bool {
    let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut pieces = shown.split('…');
    let Some(mut rest) = pieces.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut last = None;
    for piece in pieces {
        let piece = piece.trim();
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
        last = Some(piece);
    }
    match last {
        None => rest.is_empty(),
        // The last piece has to reach the end, wherever it is found first.
        Some(piece) => piece.is_empty() || rest.is_empty() || rest.ends_with(piece),
    }
}

#[test]
fn shown_lines_match_as_documented() {
    assert!(is_line("text  ran  … MiB", "text  ran 0.2 s 37 MiB"));
    assert!(is_line("done in …", "done in 3 s"));
    assert!(!is_line("done in …", "cached"));
    assert!(!is_line("a … b", "a 1 b c"));
    assert!(matches(&["a", "…", "c"], &["a", "b", "b", "c"]));
    assert!(!matches(&["a", "c"], &["a", "b", "c"]));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let promises = read("docs/promises.md");
    let named = promises
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_test = |name: &&str| {
        name.contains('_')
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    };
    let named: Vec<&str> = named.filter(is_test).collect();
    assert!(named.len() > 40, "the page lists {} tests", named.len());
    let mut sources = String::new();
    for folder in ["tests", "cache", "stages", "engine", "src"] {
        append_sources(&root().join(folder), &mut sources);
    }
    for name in named {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "docs/promises.md names `{name}`, and there is no such test"
        );
    }
}

fn append_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            append_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).expect("it can be read"));
        }
    }
}
