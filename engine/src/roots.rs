//! Owns: the roots of garbage collection: what pinned, current and recent runs, and lock files, refer to.

use crate::{
    garbage::Roots,
    lock::{Lock, LockError},
    run::{
        folder::{RunFolder, RunFolderError, RunState},
        seen::{EventsError, Seen},
    },
    warning::Warning,
};
use pipe_stage::Store;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Why the roots cannot be determined; nothing may be deleted then.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A run's folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// A lock file cannot be read.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The events of a run cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
}

/// Finds everything that pinned, current and recent runs, and lock files, refer to.
pub fn find(store: &Store, root: &Path, recent: Duration) -> Result<Roots, RootsError> {
    let mut roots = Roots::default();
    let mut locks = BTreeSet::new();
    locks_below(root, 4, &mut locks, &mut roots.warnings);
    let now = SystemTime::now();
    for run in RunFolder::all(store.root())? {
        locks.insert(run.head.lock.clone());
        let closed = run.closed()?;
        let age = |name: &str| {
            let touched = std::fs::metadata(run.path.join(name)).and_then(|metadata| metadata.modified());
            touched.ok().map(|touched| now.duration_since(touched).unwrap_or_default())
        };
        let is_younger = |name: &str, limit: Duration| age(name).is_some_and(|age| age < limit);
        let is_live = run.state(store)? == RunState::Running;
        let is_recent = is_younger("run.json", recent) || is_younger("stages.json", recent);
        if !(is_live || is_recent || run.is_pinned()) {
            continue;
        }
        let seen = Seen::read(&run.events())?;
        roots.folders.extend(seen.stages.values().flat_map(|stage| &stage.folders));
        match closed {
            Some(closed) => {
                let made = closed.stages.values().filter_map(|stage| stage.made.as_ref());
                roots.keys.extend(made.map(|made| made.key));
            }
            None => roots.keys.extend(seen.stages.values().filter_map(|stage| stage.key)),
        }
        if is_live {
            let began = now.checked_sub(age("run.json").unwrap_or_default() + Duration::from_secs(60));
            let began = began.unwrap_or(SystemTime::UNIX_EPOCH);
            roots.since = Some(roots.since.map_or(began, |since| since.min(began)));
            for stage in &run.head.stages {
                if let Some(spec) = run.spec(&stage.name)? {
                    roots.artifacts.extend(spec.inputs.values().flatten().map(|input| input.digest));
                }
            }
        }
    }
    for path in &locks {
        match Lock::read(path) {
            Ok(lock) => {
                let stages = lock.iter().flat_map(|lock| lock.stages.values());
                roots.keys.extend(stages.map(|stage| stage.key));
            }
            // Other programs use this extension too; our lock files have a manifest next to them.
            Err(_) if !has_manifest(path) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(roots)
}

fn has_manifest(lock: &Path) -> bool {
    ["yaml", "yml", "json"].iter().any(|extension| lock.with_extension(extension).is_file())
}

/// Finds lock files, in folders that projects keep them in. Warns of folders that cannot be listed: the locks of a
/// pipeline that somebody runs here are not in them.
fn locks_below(folder: &Path, depth: u32, locks: &mut BTreeSet<PathBuf>, warnings: &mut Vec<Warning>) {
    let listed = std::fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = listed.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            warnings.push(Warning {
                message: format!("cannot look for lock files in `{}`: {error}", folder.display()),
                help: "make it readable for this user, or what its lock files need may be deleted".to_owned(),
            });
        }
        Vec::new()
    });
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let is_plain = !name.to_string_lossy().starts_with('.');
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_plain && depth > 0 => {
                locks_below(&path, depth - 1, locks, warnings)
            }
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "lock") => {
                locks.insert(path);
            }
            _ => {}
        }
    }
}
