//! Temporary folders, and what dead processes left behind.

use crate::files;
use crate::owner::{Liveness, Owner};
use crate::{Error, Result, Store, durable, lease};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Age after which leftovers of an owner that cannot be seen from here are removed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A temporary folder on the cache's file system; dropping it removes it and its content.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later sweep.
        files::remove_dir(&self.path).ok();
    }
}

impl Store {
    /// Creates a temporary folder.
    pub fn scratch(&self) -> Result<Scratch> {
        Ok(Scratch { path: self.temp_dir()? })
    }

    /// Removes what dead processes of this machine left: temporary files, leases, and durable folders with a
    /// successor.
    ///
    /// Leftovers of a process that cannot be seen from here are removed if they were not touched for a week. Cheap if
    /// there is nothing to do; it does not sync. What cannot be removed, such as files of another user, is reported
    /// and kept.
    pub fn sweep(&self) -> Result<Swept> {
        let mut failed = Vec::new();
        for (name, path) in files::list(&self.root().join("work/tmp"))? {
            let dead = match name.parse::<Owner>().map_or(Liveness::Unknown, |owner| owner.liveness()) {
                Liveness::Gone => true,
                Liveness::Alive => false,
                Liveness::Unknown => is_forgotten(&path),
            };
            if dead {
                failed.extend(files::remove_dir(&path).err());
            }
        }
        lease::sweep(self, is_forgotten, &mut failed)?;
        durable::sweep(self, &mut failed)?;
        Ok(Swept { failed })
    }
}

/// The result of [`Store::sweep`].
#[derive(Debug)]
#[must_use = "says what could not be removed"]
pub struct Swept {
    /// Why leftovers of dead processes could not be removed. The cache can be used nevertheless.
    pub failed: Vec<Error>,
}

/// Whether nothing at `path` was touched for a long time.
fn is_forgotten(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let young = |time: SystemTime| time.elapsed().is_ok_and(|age| age < FORGOTTEN_AFTER);
    // Unknown or future times are no evidence.
    let touched = metadata.modified().map_or(true, |time| young(time) || time > SystemTime::now());
    if touched {
        return false;
    }
    let entries = if metadata.is_dir() { files::list(path).unwrap_or_default() } else { Vec::new() };
    entries.iter().all(|(_, path)| is_forgotten(path))
}
