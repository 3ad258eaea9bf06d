//! Owns: files outside the cache, as a stage asks for them and as it gets them.

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a stage may look for its sources.
pub struct Places<'a> {
    /// The folder that relative paths in the manifest start from.
    pub project: PathBuf,
    /// Reads an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A folder and what of it a stage reads. The engine lists, watches and hashes the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRequest {
    /// Label that the stage sees; it stands in keys.
    pub source: String,
    /// Folder that names are relative to, or a single file.
    pub root: PathBuf,
    /// Globs of names to take, relative to the root; everything if empty.
    pub include: Vec<String>,
    /// Globs of names to leave out.
    pub exclude: Vec<String>,
    /// What becomes of a file that links lead to under a second name.
    pub links: Links,
    /// Field path that is blamed when nothing is found.
    pub field: String,
    /// What to do when nothing is found.
    pub help: Option<String>,
    /// A revision to hold on to in the lock file.
    pub pin: Option<Pin>,
}

/// What becomes of a file that symbolic links, to it or to a folder above it, lead to under a second name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// It is listed under every name that matches: for programs that see the names.
    #[default]
    EveryName,
    /// It is listed once, under the name without links; where links are the only way to it, under the first by name.
    Once,
}

impl SourceRequest {
    /// Says that nothing matches.
    pub fn nothing(&self) -> String {
        let folder = self.root.display();
        match &self.include[..] {
            [] => format!("no such file or folder: `{folder}`"),
            [glob] if self.root.is_dir() => format!("no file matches `{glob}` in `{folder}`"),
            globs if self.root.is_dir() => {
                format!("no file matches any of `{}` in `{folder}`", globs.join("`, `"))
            }
            _ => format!("no such folder: `{folder}`"),
        }
    }
}

/// The revision of a source that can change under the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// `rust-docs`.
    pub name: String,
    /// `1.95.0 x86_64-unknown-linux-gnu`.
    pub revision: String,
}

/// A source file as listed and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The request's label.
    pub source: String,
    /// Path relative to the root, with `/`.
    pub name: String,
    /// BLAKE3 of its bytes, checked again when they are read.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Where it is on this machine; in no key.
    pub path: PathBuf,
}
