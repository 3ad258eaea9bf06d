//! The arrows of ARCHITECTURE.md: between packages by their manifests, within the engine by its `use` lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Packages in an order in which each uses only those before it.
const PACKAGES: [(&str, &str, &[&str]); 11] = [
    ("pipe-cache", "cache", &[]),
    ("pipe-stage", "stages/api", &["pipe-cache"]),
    ("pipe-crawl", "stages/crawl", &["pipe-stage"]),
    ("pipe-remote", "stages/remote", &["pipe-stage"]),
    ("pipe-wiki", "stages/wiki", &[]),
    ("pipe-linear", "stages/linear", &[]),
    ("pipe-data", "stages/data", &["pipe-cache", "pipe-stage", "pipe-wiki", "pipe-linear"]),
    ("pipe-model", "stages/model", &["pipe-cache", "pipe-stage", "pipe-data"]),
    ("pipe-serve", "serve", &["pipe-cache", "pipe-stage", "pipe-data", "pipe-model"]),
    ("pipe-engine", "engine", &["pipe-cache", "pipe-stage"]),
    (
        "pipe",
        ".",
        &[
            "pipe-cache",
            "pipe-stage",
            "pipe-crawl",
            "pipe-remote",
            "pipe-data",
            "pipe-model",
            "pipe-serve",
            "pipe-engine",
        ],
    ),
];

/// Crates that draw on terminals or read command lines.
const TERMINAL: [&str; 6] = ["clap", "clap_complete", "comfy-table", "indicatif", "plotters", "console"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names below `[dependencies]` of a package.
fn dependencies(folder: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a package has a manifest");
    let lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(name).collect()
}

#[test]
fn packages_use_only_those_that_the_architecture_lets_them() {
    for (package, folder, allowed) in PACKAGES {
        let own = dependencies(folder);
        for used in own.iter().filter(|name| PACKAGES.iter().any(|(known, ..)| known == name)) {
            assert!(allowed.contains(&used.as_str()), "{package} must not use {used}");
        }
        assert!(!own.is_empty(), "{package} depends on something");
    }
    let engine = dependencies("engine");
    assert!(!TERMINAL.iter().any(|name| engine.iter().any(|used| used == name)), "{engine:?}");
}

/// A module with the paths that it uses, from the root of its crate.
struct Module {
    path: Vec<String>,
    children: Vec<String>,
    uses: BTreeSet<Vec<String>>,
}

/// Reads a file's module and those below it.
fn read(file: &Path, path: Vec<String>, folder: &Path, all: &mut Vec<Module>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // Tests may use what they test.
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let tokens = tokens(text);
    let mut children = Vec::new();
    for window in tokens.windows(3) {
        if let [keyword, name, end] = window
            && keyword == "mod"
            && end == ";"
        {
            children.push(name.clone());
        }
    }
    for child in &children {
        let (plain, nested) = (folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs"));
        let below = [&path[..], std::slice::from_ref(child)].concat();
        read(if plain.exists() { &plain } else { &nested }, below, &folder.join(child), all);
    }
    // What a module in braces takes from `super` is the file's own.
    let has_inner = tokens.windows(3).any(|window| window[0] == "mod" && window[2] == "{");
    let is_own = |used: &Vec<String>| has_inner && used.len() == 2 && used[0] == "super";
    let uses = paths(&tokens).into_iter().filter(|used| !is_own(used));
    let uses = uses.filter_map(|used| absolute(&path, &used)).collect();
    all.push(Module { path, children, uses });
}

/// Names and marks of a Rust text, without comments and what stands in quotes.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut letters) = (Vec::new(), text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '/' if letters.peek() == Some(&'/') => {
                letters.by_ref().find(|letter| *letter == '\n');
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
            letter if letter.is_alphanumeric() || letter == '_' => {
                let mut word = String::from(letter);
                while let Some(next) = letters.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    word.push(next);
                }
                tokens.push(word);
            }
            ':' if letters.next_if_eq(&':').is_some() => tokens.push("::".to_owned()),
            letter if letter.is_whitespace() => {}
            letter => tokens.push(letter.to_string()),
        }
    }
    tokens
}

/// All paths that begin with `crate` or `super`, those of `use` trees one by one.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        let begins = tokens[position] == "crate" || tokens[position] == "super";
        if begins && tokens.get(position + 1).is_some_and(|next| next == "::") {
            position = tree(tokens, position, &[], &mut found);
        } else {
            position += 1;
        }
    }
    found
}

/// Reads a path or tree of paths; returns the position behind it.
fn tree(tokens: &[String], mut position: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(position).map(String::as_str) {
            Some("{") => {
                position += 1;
                while tokens.get(position).is_some_and(|token| token != "}") {
                    position = match tokens[position].as_str() {
                        "," => position + 1,
                        _ => tree(tokens, position, &path, found),
                    };
                }
                return position + 1;
            }
            Some(name) => path.push(name.to_owned()),
            None => return position,
        }
        position += 1;
        match tokens.get(position).map(String::as_str) {
            Some("::") => position += 1,
            Some("as") => {
                found.push(path);
                return position + 2;
            }
            _ => {
                found.push(path);
                return position;
            }
        }
    }
}

/// The path from the crate's root.
fn absolute(own: &[String], used: &[String]) -> Option<Vec<String>> {
    let ups = used.iter().take_while(|segment| *segment == "super").count();
    let (base, rest) = match used.first().map(String::as_str) {
        Some("crate") => (&own[..0], &used[1..]),
        _ => (own.get(..own.len().checked_sub(ups)?)?, &used[ups..]),
    };
    let rest = rest.iter().filter(|segment| *segment != "self");
    Some(base.iter().chain(rest).cloned().collect())
}

/// A module uses only those that stand before it in the list of their parent, and nothing of the parent's own: so there
/// are no circles, and the lists are reading orders.
#[test]
fn modules_of_the_engine_use_only_those_above_them() {
    let mut all = Vec::new();
    let folder = root().join("engine/src");
    read(&folder.join("lib.rs"), Vec::new(), &folder, &mut all);
    assert!(all.len() > 40, "{} modules", all.len());
    let children: BTreeMap<&[String], &[String]> =
        all.iter().map(|module| (&module.path[..], &module.children[..])).collect();
    let mut wrong = Vec::new();
    for module in &all {
        for used in &module.uses {
            let common = module.path.iter().zip(used).take_while(|(own, theirs)| own == theirs).count();
            let (Some(own), Some(theirs)) = (module.path.get(common), used.get(common)) else { continue };
            let siblings = children[&module.path[..common]];
            let place = |name: &String| siblings.iter().position(|sibling| sibling == name);
            if place(theirs).is_none_or(|theirs| Some(theirs) > place(own)) {
                wrong.push(format!("{} uses {}", module.path.join("::"), used.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order of the `mod` lines:\n{}", wrong.join("\n"));
}

/// The order of the engine's modules, as ARCHITECTURE.md has it.
#[test]
fn the_architecture_lists_the_modules_of_the_engine_in_their_order() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let (_, after) = text.split_once("<!-- modules of the engine: begin -->").expect("it has a list");
    let (list, _) = after.split_once("<!-- modules of the engine: end -->").expect("the list ends");
    let listed: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    let library = fs::read_to_string(root().join("engine/src/lib.rs")).expect("the engine is there");
    let declared: Vec<&str> = library
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod ")
        })
        .filter_map(|line| line.strip_suffix(';'))
        .collect();
    assert_eq!(listed, declared);
}
