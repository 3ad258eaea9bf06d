//! Owns: what goes with time: folders of runs with their logs, checkpoints, and the beginnings of journals. Nothing
//! leads to these as records lead to objects, so their age decides, and whether a pinned, live or recent run needs
//! them.

use crate::{
    garbage::Collect,
    record,
    run::folder::{RunFolder, RunFolderError, RunState},
};
use pipe_stage::{Digest, Store};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Maximum ages.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// For runs, since they ended. Pinned runs and the last run of each pipeline are kept.
    pub runs: Duration,
    /// Checkpoints in whose folder nothing was written for longer go, unless somebody works there or a run that is
    /// pinned, live or recent needs them.
    pub checkpoints: Duration,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Number of run folders.
    pub runs: u64,
    /// Number of checkpoint folders.
    pub checkpoints: u64,
    /// Their total size.
    pub bytes: u64,
}

/// Why nothing, or not everything, was removed.
#[derive(Debug, thiserror::Error)]
pub enum ExpiryError {
    /// A run's folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// A folder or file of ours cannot be read or replaced.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `list`, `shorten`.
        action: &'static str,
        /// The event.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
}

/// Removes what is too old, but no checkpoints in `needed`, which are keys of durable folders.
pub fn expire(
    store: &Store,
    ages: Ages,
    needed: &BTreeSet<Digest>,
    mode: Collect,
) -> Result<Expired, ExpiryError> {
    let now = SystemTime::now();
    let is_older = |time: SystemTime, age: Duration| now.duration_since(time).is_ok_and(|old| old > age);
    let mut expired = Expired::default();

    let runs = RunFolder::all(store.root())?;
    let last: BTreeMap<&str, &str> =
        runs.iter().map(|run| (run.head.pipeline.as_str(), run.id.as_str())).collect();
    for run in &runs {
        let is_last = last.get(run.head.pipeline.as_str()) == Some(&run.id.as_str());
        if is_last || run.is_pinned() || run.state(store)? == RunState::Running {
            continue;
        }
        if run.touched().is_some_and(|time| is_older(time, ages.runs)) {
            expired.runs += 1;
            expired.bytes += bytes_below(&run.path)?;
            if mode == Collect::Now {
                remove_run(store, run)?;
            }
        }
    }

    for folder in store.durables()? {
        let is_old = folder.holder.is_none() && is_older(folder.touched, ages.checkpoints);
        let may_go = is_old && !needed.contains(&folder.key);
        if may_go && (mode == Collect::Rehearse || store.remove_durable(&folder.key)?) {
            expired.checkpoints += 1;
            expired.bytes += folder.amount.bytes;
        }
    }

    // Plans only read the end of a journal.
    if mode == Collect::Now {
        for journal in journals(&store.root().join("journal"))? {
            let shortened = record::shorten(&journal);
            expired.bytes +=
                shortened.map_err(|source| ExpiryError::Io { action: "shorten", path: journal, source })?;
        }
    }
    Ok(expired)
}

/// Removes the folder of a run: its manifest, events and logs. Its results stay in the cache.
pub fn remove_run(store: &Store, run: &RunFolder) -> Result<(), pipe_cache::Error> {
    // Move it away in one step.
    let aside = store.scratch()?;
    let place = aside.path().join("run");
    match fs::rename(&run.path, &place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => {
            moved.map_err(|source| pipe_cache::Error::Io { action: "remove", path: run.path.clone(), source })
        }
    }
}

fn bytes_below(folder: &Path) -> Result<u64, ExpiryError> {
    let mut bytes = 0;
    for path in list(folder)? {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_below(&path)?,
            Ok(metadata) => bytes += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ExpiryError::Io { action: "examine", path, source }),
        }
    }
    Ok(bytes)
}

fn journals(folder: &Path) -> Result<Vec<PathBuf>, ExpiryError> {
    let mut journals = Vec::new();
    for pipeline in list(folder)? {
        if pipeline.is_dir() {
            let files = list(&pipeline)?;
            journals
                .extend(files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "jsonl")));
        }
    }
    Ok(journals)
}

/// Lists a folder; one that is not there is empty.
fn list(folder: &Path) -> Result<Vec<PathBuf>, ExpiryError> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => {
            listed.map_err(|source| ExpiryError::Io { action: "list", path: folder.to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_cache::AcquireDurable;

    fn run(store: &Store, id: &str, age: Duration) {
        let folder = store.root().join("runs").join(id);
        fs::create_dir_all(&folder).unwrap();
        let head = format!(
            r#"{{"version":1,"pipeline":"p","manifest":"/p.yaml","lock":"/p.lock","root":"/","owner":"","host":"",
               "pid":0,"code":"","began":"{id}","stages":[]}}"#
        );
        fs::write(folder.join("run.json"), head).unwrap();
        let file = fs::File::options().write(true).open(folder.join("run.json")).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn old_runs_go_but_pinned_ones_and_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        for (id, days) in [("1", 9), ("2", 8), ("3", 1), ("4", 7)] {
            run(&store, id, DAY * days);
        }
        fs::write(store.root().join("runs/1/pinned"), "").unwrap();
        let ages = Ages { runs: DAY * 5, checkpoints: DAY };
        let told = expire(&store, ages, &BTreeSet::new(), Collect::Rehearse).unwrap();
        assert_eq!(RunFolder::all(store.root()).unwrap().len(), 4);
        assert_eq!(expire(&store, ages, &BTreeSet::new(), Collect::Now).unwrap(), told);
        let left: Vec<_> = RunFolder::all(store.root()).unwrap().into_iter().map(|run| run.id).collect();
        assert_eq!(left, ["1", "3", "4"]);
        assert_eq!(told.runs, 1);
    }

    #[test]
    fn checkpoints_go_that_nobody_touched_for_long_holds_or_needs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        let held = |name: &[u8]| match store.durable(&Digest::of(name)).unwrap() {
            AcquireDurable::Held(durable) => durable,
            AcquireDurable::Busy(holder) => panic!("{holder}"),
        };
        for name in [b"old", b"new"] {
            fs::write(held(name).workspace().unwrap().join("state"), "7").unwrap();
        }
        let busy = held(b"busy");
        let ages = Ages { runs: DAY, checkpoints: DAY };
        assert_eq!(expire(&store, ages, &BTreeSet::new(), Collect::Now).unwrap().checkpoints, 0);
        let ages = Ages { runs: DAY, checkpoints: Duration::ZERO };
        std::thread::sleep(Duration::from_millis(20));
        let needed = BTreeSet::from([Digest::of(b"old")]);
        assert_eq!(expire(&store, ages, &needed, Collect::Now).unwrap().checkpoints, 1);
        assert_eq!(expire(&store, ages, &BTreeSet::new(), Collect::Now).unwrap().checkpoints, 1);
        assert_eq!(store.durables().unwrap().len(), 1);
        drop(busy);
    }

    #[test]
    fn journals_keep_what_plans_read_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        let journal = record::Journal::new(store.root(), "p");
        let visit = |seconds: f64| record::Visit {
            version: record::Visit::VERSION,
            key: Digest::of(b"key"),
            seconds,
            memory_peak: 0,
            output_bytes: 0,
            tasks: (1, 1),
            adopted: false,
            amounts: record::Amounts::default(),
        };
        (0..2_000).for_each(|number| journal.add("a", &visit(f64::from(number))).unwrap());
        let seconds = || journal.visits("a").unwrap().iter().map(|visit| visit.seconds).collect::<Vec<_>>();
        let before = seconds();
        let ages = Ages { runs: DAY, checkpoints: DAY };
        assert!(expire(&store, ages, &BTreeSet::new(), Collect::Now).unwrap().bytes > 0);
        assert_eq!(seconds(), before);
        journal.add("a", &visit(9.5)).unwrap();
        assert_eq!(seconds().last(), Some(&9.5));
    }
}
