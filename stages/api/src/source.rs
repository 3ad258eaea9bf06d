//! Files outside the cache: how a stage requests them and how it receives them.

use crate::Remote;
use pipe_cache::Digest;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a stage may look for its sources.
pub struct Places<'a> {
    /// The folder that relative paths in the manifest are relative to.
    pub project: PathBuf,
    /// Reads an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A folder, and which of its files a stage reads. The engine lists, watches and hashes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRequest {
    /// Label of the source, visible to the stage; part of keys.
    pub source: String,
    /// Folder that names are relative to, or a single file.
    pub root: PathBuf,
    /// Globs of names to include, relative to the root; if empty, all files.
    pub include: Vec<String>,
    /// Globs of names to exclude.
    pub exclude: Vec<String>,
    /// What becomes of a file that links lead to under a second name.
    pub links: Links,
    /// Field path that an error about missing files points at.
    pub field: String,
    /// Help text if no file is found.
    pub help: Option<String>,
    /// A revision to pin in the lock file.
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
    /// The message that nothing matches.
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

/// The revision of a source whose content can change under the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// `rust-docs`.
    pub name: String,
    /// `1.95.0 x86_64-unknown-linux-gnu`.
    pub revision: String,
}

/// A source file, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Label of the request.
    pub source: String,
    /// Path relative to the root, with `/`.
    pub name: String,
    /// Identifies its content: BLAKE3 of the bytes of a local file, which is checked again when they are read; of a remote
    /// file, [`Remote::identity`].
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Where it is; not part of any key.
    pub at: Location,
}

/// Where a source file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// Its path on this machine.
    Path(PathBuf),
    /// On a server.
    Remote(Remote),
}

impl SourceFile {
    /// Its path on this machine; `None` if it is on a server.
    pub fn path(&self) -> Option<&Path> {
        match &self.at {
            Location::Path(path) => Some(path),
            Location::Remote(_) => None,
        }
    }

    /// Where it is on a server; `None` if it is on this machine.
    pub const fn remote(&self) -> Option<&Remote> {
        match &self.at {
            Location::Path(_) => None,
            Location::Remote(remote) => Some(remote),
        }
    }
}
