//! Errors of the cache and its file system.

use crate::Digest;
use std::io;
use std::path::{Path, PathBuf};

/// Why a cache operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file exists, but its content does not match its digest. See [`Store::discard`](crate::Store::discard).
    #[error("`{}` is damaged: its content no longer has the digest {}", path.display(), digest.short())]
    Damaged {
        /// The expected digest.
        digest: Digest,
        /// Its path.
        path: PathBuf,
    },

    /// Nothing is stored under this digest; it may have been collected, or never stored.
    #[error("{digest} is not in the cache")]
    Missing {
        /// The requested digest.
        digest: Digest,
    },

    /// The file system is full, or the user's quota is used up.
    #[error("no space left to write `{}`", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// The system's error message.
        source: io::Error,
    },

    /// Another owner has taken over because this one appeared dead; nothing more may be written.
    #[error("the lease on {} was lost to another process", key.short())]
    Lost {
        /// The key of the lease.
        key: Digest,
    },

    /// The folder was written by a newer version of this program.
    #[error("the cache `{}` has format {found}, but this program supports formats up to {known}", path.display())]
    Newer {
        /// The cache.
        path: PathBuf,
        /// The format in its `version` file.
        found: u32,
        /// The newest known format.
        known: u32,
    },

    /// The folder contains other files, so it is not used as a cache.
    #[error("`{}` is not a cache, and not empty", path.display())]
    NotACache {
        /// The folder.
        path: PathBuf,
    },

    /// A file is where the cache needs a folder.
    #[error("`{}` is a file, but the cache needs a folder there; move it away", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },

    /// The name of a checkpoint, or of one of its files, is not a plain file name.
    #[error("`{name}` cannot be the name of a checkpoint or of its file: use A-Z, a-z, 0-9, `_`, `-`, `.`")]
    BadName {
        /// The name.
        name: String,
    },

    /// Any other error of the file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The attempted operation: `read`, `create`, ...
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's error message.
        source: io::Error,
    },
}

impl Error {
    /// What to do about an error that another call can avoid.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Newer { .. } => {
                Some("use a newer pipe, or another cache with `--cache`; this one is left as it is")
            }
            Self::NotACache { .. } => {
                Some("name an empty folder or one that does not exist; it becomes the cache")
            }
            _ => None,
        }
    }

    /// Returns a function that converts the system's error about `path`.
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

    /// Returns the same error again, for another caller that waits for the same operation.
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

/// Finds a file on a path where a folder should be.
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
