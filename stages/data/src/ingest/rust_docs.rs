//! Finds the documentation of the pinned Rust toolchain. It looks at paths and settings, and starts no process.
//!
//! Every toolchain of rustup's default profile has the same 48,625 pages, so they are realistic input on every
//! machine. The variable `RUST_DOCS` names the folder if it is elsewhere.

use pipe_stage::{Places, files};
use std::path::{Path, PathBuf};

/// The documentation of a toolchain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RustDocs {
    /// Folder of the books.
    pub(super) folder: PathBuf,
    /// Name of the toolchain, such as `1.95.0-x86_64-unknown-linux-gnu`; `None` for a folder given by hand.
    pub(super) toolchain: Option<String>,
}

/// What to do if it is missing.
pub(super) const HELP: &str = "install it by `rustup component add rust-docs`, or name its folder in the \
    environment variable RUST_DOCS";

/// Files of the books that are not pages: the whole book as one page, tables of contents, lists of all names, error
/// pages. `hello/print.html` of Rust by Example is a page.
pub(super) const EXCLUDED: &[&str] = &[
    "print.html",
    "*-edition/print.html",
    "{es,ja,ko,zh}/print.html",
    "toc.html",
    "**/toc.html",
    "404.html",
    "**/404.html",
    "all.html",
    "search.html",
    "searchindex.html",
];

/// Finds the documentation of the toolchain that rustup would use in the project: the one in `RUSTUP_TOOLCHAIN`, in
/// the nearest `rust-toolchain.toml`, or the default.
pub(super) fn find(places: &Places) -> Option<RustDocs> {
    let variable = |name: &str| (places.variable)(name).filter(|value| !value.is_empty());
    if let Some(folder) = variable("RUST_DOCS") {
        let folder = PathBuf::from(folder);
        return folder.is_dir().then_some(RustDocs { folder, toolchain: None });
    }
    let rustup = variable("RUSTUP_HOME").map(PathBuf::from).or_else(|| {
        variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| PathBuf::from(home).join(".rustup"))
    })?;
    let wanted = variable("RUSTUP_TOOLCHAIN")
        .or_else(|| places.project.ancestors().find_map(pinned))
        .or_else(|| value_in(&rustup.join("settings.toml"), "default_toolchain"));
    let toolchain = installed(&rustup.join("toolchains"), &wanted?)?;
    let folder = rustup.join("toolchains").join(&toolchain).join("share/doc/rust/html");
    folder.is_dir().then_some(RustDocs { folder, toolchain: Some(toolchain) })
}

/// The channel that a folder pins.
fn pinned(folder: &Path) -> Option<String> {
    value_in(&folder.join("rust-toolchain.toml"), "channel").or_else(|| {
        let text = text_of(&folder.join("rust-toolchain"))?;
        let old_form = text.trim();
        let plain = !old_form.is_empty() && !old_form.contains(['\n', '=', '[']);
        if plain { Some(old_form.to_owned()) } else { value_in(&folder.join("rust-toolchain"), "channel") }
    })
}

/// The text of a small file.
fn text_of(path: &Path) -> Option<String> {
    const BYTES_MAX: u64 = 64 << 10;
    String::from_utf8(files::read(path, BYTES_MAX).ok()?).ok()
}

/// The value of `key = "value"` in a TOML file; sufficient for rustup's own files.
fn value_in(path: &Path, key: &str) -> Option<String> {
    let text = text_of(path)?;
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
        Some(value.split('#').next()?.trim().trim_matches(['"', '\'']).to_owned())
    })
}

/// The folder of a toolchain: its full name, or a channel followed by this machine's target.
fn installed(toolchains: &Path, wanted: &str) -> Option<String> {
    if toolchains.join(wanted).is_dir() {
        return Some(wanted.to_owned());
    }
    let names =
        std::fs::read_dir(toolchains).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let target = |name: &str| name.strip_prefix(wanted)?.strip_prefix('-').map(str::to_owned);
    let mut found: Vec<String> = names
        .filter(|name| target(name).is_some_and(|target| target.starts_with(std::env::consts::ARCH)))
        .collect();
    found.sort();
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(home: &Path, name: &str) -> PathBuf {
        let folder = home.join(".rustup/toolchains").join(name).join("share/doc/rust/html");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn finds_the_toolchain_that_the_project_pins() {
        let home = tempfile::tempdir().unwrap();
        let name = format!("1.95.0-{}-unknown-linux-gnu", std::env::consts::ARCH);
        toolchain(home.path(), "stable-other");
        let folder = toolchain(home.path(), &name);
        let project = home.path().join("project/deep");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::write(
            home.path().join("project/rust-toolchain.toml"),
            "[toolchain]\nchannel = \"1.95.0\" # pinned\n",
        )
        .unwrap();
        let home = home.path().display().to_string();
        let variable = |name: &str| (name == "HOME").then(|| home.clone());
        let found = find(&Places { project, variable: &variable });
        assert_eq!(found, Some(RustDocs { folder, toolchain: Some(name) }));
    }

    #[test]
    fn a_folder_given_by_hand_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let variable = |name: &str| (name == "RUST_DOCS").then(|| path.clone());
        let found = find(&Places { project: folder.path().to_owned(), variable: &variable }).unwrap();
        assert_eq!(found, RustDocs { folder: folder.path().to_owned(), toolchain: None });
    }

    #[test]
    fn a_toolchain_without_documentation_is_none() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".rustup/toolchains/stable")).unwrap();
        let path = home.path().display().to_string();
        let variable = |name: &str| match name {
            "HOME" => Some(path.clone()),
            "RUSTUP_TOOLCHAIN" => Some("stable".to_owned()),
            _ => None,
        };
        assert_eq!(find(&Places { project: home.path().to_owned(), variable: &variable }), None);
    }
}
