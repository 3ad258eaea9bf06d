//! Owns: paths: the project root, its cache, a manifest's lock file, links to outputs.

use std::{
    io,
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
        let own = whole.parent().unwrap_or(Path::new("/")).to_owned();
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
        Ok(Self { root, cache, manifest: manifest.to_owned() })
    }

    /// The lock file next to the manifest.
    pub fn lock(&self) -> PathBuf {
        self.manifest.with_extension("lock")
    }

    /// The folder with links to outputs.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }
}
