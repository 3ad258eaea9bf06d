//! Temporary folders, and what dead processes left.

use crate::files;
use crate::owner::{Liveness, Owner};
use crate::{Error, Result, Store, durable, lease};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What an owner that cannot be seen from here has not touched for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A temporary folder on the cache's file system, removed with all in it when dropped.
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
        // What cannot be removed now is swept up later.
        files::remove_dir(&self.path).ok();
    }
}

impl Store {
    /// Makes a temporary folder.
    pub fn scratch(&self) -> Result<Scratch> {
        Ok(Scratch { path: self.temp_dir()? })
    }

    /// Removes what this machine's dead processes left: temporary files, leases, and durable folders that
    /// have a successor.
    ///
    /// What a process left that cannot be seen from here goes when it was not touched for a week. Cheap
    /// when there is nothing; puts nothing on the disk by force. What cannot be removed, such as another
    /// user's, is told and stays.
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

/// What came of [`Store::sweep`].
#[derive(Debug)]
#[must_use = "says what could not be removed"]
pub struct Swept {
    /// Why leftovers of dead processes are still there; no reason not to work with the cache.
    pub failed: Vec<Error>,
}

/// Says whether nothing at `path` was touched for long.
fn is_forgotten(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let young = |time: SystemTime| time.elapsed().is_ok_and(|age| age < FORGOTTEN_AFTER);
    // A time that is not known, or in the future, says nothing.
    let touched = metadata.modified().map_or(true, |time| young(time) || time > SystemTime::now());
    if touched {
        return false;
    }
    let entries = if metadata.is_dir() { files::list(path).unwrap_or_default() } else { Vec::new() };
    entries.iter().all(|(_, path)| is_forgotten(path))
}
