//! Owns: paths: the project root, its cache, a manifest's lock file, links to outputs.

use pipe_stage::files;
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The paths that belong to a manifest.
#[derive(Debug, Clone)]
pub struct Project {
    /// Relative paths in the manifest start here, and commands run here.
    pub root: PathBuf,
    /// The cache folder.
    pub cache: PathBuf,
    /// The manifest, as given.
    pub manifest: PathBuf,
}

impl Project {
    /// Finds the root: the nearest folder above the manifest with a `.pipe` or `.git`, otherwise the manifest's
    /// folder.
    pub fn of(manifest: &Path, cache: Option<&Path>) -> io::Result<Self> {
        let whole = std::path::absolute(manifest)?;
        let around = Self::around(whole.parent().unwrap_or(Path::new("/")), cache)?;
        let project = Self { manifest: manifest.to_owned(), ..around };
        match project.other_manifest() {
            None => Ok(project),
            Some(other) => {
                let (own, other, lock) = (manifest.display(), other.display(), project.lock());
                let lock = lock.display();
                let message =
                    format!("`{own}` and `{other}` would share the lock file `{lock}`; rename one of them");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }

    /// The project that a folder is in, without a manifest.
    pub fn around(folder: &Path, cache: Option<&Path>) -> io::Result<Self> {
        let own = std::path::absolute(folder)?;
        let is_root = |folder: &&Path| folder.join(".pipe").is_dir() || folder.join(".git").exists();
        let root = own.ancestors().find(is_root).map_or(own.clone(), Path::to_owned);
        let cache = match cache {
            Some(cache) => std::path::absolute(cache)?,
            None => root.join(".pipe"),
        };
        // Run folders, specs and events are JSON, which cannot represent such paths.
        for path in [&root, &cache] {
            if path.to_str().is_none() {
                let message = format!("the path `{}` is not UTF-8; rename the folder", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        Ok(Self { root, cache, manifest: PathBuf::new() })
    }

    /// Another manifest that has the same lock file: one whose name differs in its extension only.
    fn other_manifest(&self) -> Option<PathBuf> {
        let others = ["yaml", "yml", "json", ""].map(|extension| self.manifest.with_extension(extension));
        let is_manifest = |path: &PathBuf| {
            const LOOKED_BYTES: u64 = 64 << 10;
            let mut start = Vec::new();
            let read = files::open(path).and_then(|file| file.take(LOOKED_BYTES).read_to_end(&mut start));
            read.is_ok()
                && String::from_utf8_lossy(&start)
                    .lines()
                    .any(|line| line.trim_start_matches(['"', '{', ' ']).starts_with("pipeline"))
        };
        others.into_iter().find(|other| *other != self.manifest && is_manifest(other))
    }

    /// The lock file next to the manifest.
    pub fn lock(&self) -> PathBuf {
        self.manifest.with_extension("lock")
    }

    /// The folders that pipe itself writes, and Git's.
    pub(crate) fn own_folders(&self) -> [PathBuf; 4] {
        [self.cache.clone(), self.root.join(".pipe"), self.out(), self.root.join(".git")]
    }

    /// The folder with links to outputs.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }
}
