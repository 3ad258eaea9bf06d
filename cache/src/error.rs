//! What can go wrong between the cache and the disk.

use crate::Digest;
use std::io;
use std::path::{Path, PathBuf};

/// Why the cache could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is there, but its bytes are not those of its name. See [`Store::discard`](crate::Store::discard).
    #[error("`{}` is damaged: its content no longer has the digest {}", path.display(), digest.short())]
    Damaged {
        /// What the content should be.
        digest: Digest,
        /// Where it stands.
        path: PathBuf,
    },

    /// Nothing is stored under this digest here; it may have been collected, or never have come.
    #[error("{digest} is not in the cache")]
    Missing {
        /// What was asked for.
        digest: Digest,
    },

    /// The file system has no space, or the user no quota, left.
    #[error("no space left to write `{}`", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Another owner has taken over, because this one seemed dead; nothing more may be written.
    #[error("the lease on {} was lost to another process", key.short())]
    Lost {
        /// The key of the lease.
        key: Digest,
    },

    /// The folder was written by a newer version of this program.
    #[error("the cache `{}` has format {found}, and this program knows formats up to {known}", path.display())]
    Newer {
        /// The cache.
        path: PathBuf,
        /// The format that its `version` file names.
        found: u32,
        /// The newest format that is known here.
        known: u32,
    },

    /// The folder holds something else; making a cache of it would litter it.
    #[error("`{}` is not a cache, and not empty", path.display())]
    NotACache {
        /// The folder.
        path: PathBuf,
    },

    /// A file stands where the cache needs a folder.
    #[error("`{}` is a file, but the cache needs a folder there; move it away", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },

    /// A checkpoint, or a file of one, has a name that is no plain file name.
    #[error("`{name}` cannot be the name of a checkpoint or of its file: use A-Z, a-z, 0-9, `_`, `-`, `.`")]
    BadName {
        /// The name.
        name: String,
    },

    /// Any other failure of the file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: `read`, `create`, ...
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Returns what turns the system's error about `path` into ours.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.as_ref().to_owned();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
                    if let Some(file) = file_in(&path) =>
                {
                    Self::NotAFolder { path: file }
                }
                _ => Self::Io { action, path, source },
            }
        }
    }

    /// Returns the same error once more, for another who waits for the same failed call.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Damaged { digest, path } => Self::Damaged { digest: *digest, path: path.clone() },
            Self::Missing { digest } => Self::Missing { digest: *digest },
            Self::Full { path, source } => Self::Full { path: path.clone(), source: again(source) },
            Self::Lost { key } => Self::Lost { key: *key },
            Self::Newer { path, found, known } => {
                Self::Newer { path: path.clone(), found: *found, known: *known }
            }
            Self::NotACache { path } => Self::NotACache { path: path.clone() },
            Self::NotAFolder { path } => Self::NotAFolder { path: path.clone() },
            Self::BadName { name } => Self::BadName { name: name.clone() },
            Self::Io { action, path, source } => {
                Self::Io { action, path: path.clone(), source: again(source) }
            }
        }
    }
}

/// Finds the file on the way to a path, where a folder should be.
fn file_in(path: &Path) -> Option<PathBuf> {
    let found = path.ancestors().find_map(|above| Some((above, std::fs::metadata(above).ok()?)));
    found.filter(|(_, metadata)| !metadata.is_dir()).map(|(above, _)| above.to_owned())
}

fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_disk_is_told_apart() {
        let Ok(mut full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
        let source = full.write_all(b"x").unwrap_err();
        let error = Error::io("write", "/dev/full")(source);
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        assert!(matches!(error.again(), Error::Full { .. }));
    }
}
