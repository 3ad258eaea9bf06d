//! Publishes commits in groups: callers that arrive while a group is being synced form the next group.
//!
//! A pair of fsyncs takes about 2 ms, and a thousand shares that finish together should not need a thousand pairs.
//! One caller leads: it takes everything in the queue, syncs the files in parallel, renames them, syncs each folder
//! once, and only then links the records. So when a record is visible, everything that it refers to is on the disk.

use crate::object::{ARTIFACTS, OBJECTS, Staged};
use crate::record::{self, RECORDS};
use crate::{Blob, Digest, Error, Result, Store, files};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Enough for the file system to merge the syncs, few enough not to disturb others.
const SYNC_THREADS_MAX: usize = 8;

/// Content that becomes visible together: all of it, or, if the commit fails, no record.
#[derive(Debug, Default)]
pub struct Commit {
    /// New objects; an existing object is kept.
    pub objects: Vec<Staged>,
    /// New artifacts.
    pub artifacts: Vec<Vec<u8>>,
    /// Keys and record bodies.
    pub records: Vec<(Digest, Vec<u8>)>,
}

/// The outcome of publishing a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is now the record of its key.
    First,
    /// Another record came first; this is its body, which is the valid one.
    Lost(Vec<u8>),
}

/// Where callers wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<Job>,
    led: bool,
}

#[derive(Debug)]
struct Job {
    prepared: Prepared,
    outcome: Arc<Mutex<Option<Result<Vec<Published>>>>>,
}

/// A commit whose bytes are all in files.
#[derive(Debug, Default)]
struct Prepared {
    objects: Vec<Staged>,
    artifacts: Vec<Staged>,
    records: Vec<(Digest, Staged)>,
}

impl Store {
    /// Publishes objects and artifacts and, after them, records; returns the outcome for each record.
    ///
    /// When this returns, everything is on the disk. Calls from several threads share the cost.
    pub fn commit(&self, commit: Commit) -> Result<Vec<Published>> {
        let prepared = self.prepare(commit)?;
        if prepared.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = Arc::new(Mutex::new(None));
        let queue = &self.0.queue;
        let mut state = queue.state.lock().expect("invariant: no panic under this lock");
        state.waiting.push(Job { prepared, outcome: Arc::clone(&outcome) });
        loop {
            if let Some(outcome) = outcome.lock().expect("invariant: no panic under this lock").take() {
                return outcome;
            }
            if state.led {
                state = queue.turn.wait(state).expect("invariant: no panic under this lock");
                continue;
            }
            state.led = true;
            let batch = Batch { queue, jobs: std::mem::take(&mut state.waiting) };
            drop(state);
            batch.publish(self);
            state = queue.state.lock().expect("invariant: no panic under this lock");
        }
    }

    /// Writes what is still in memory to files; each caller does this before it joins the queue.
    fn prepare(&self, commit: Commit) -> Result<Prepared> {
        let artifacts = commit.artifacts.iter().map(|bytes| self.stage(bytes)).collect::<Result<_>>()?;
        let record = |(key, body): &(Digest, Vec<u8>)| Ok((*key, self.stage(&record::seal(key, body))?));
        let records = commit.records.iter().map(record).collect::<Result<_>>()?;
        Ok(Prepared { objects: commit.objects, artifacts, records })
    }
}

impl Prepared {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.artifacts.is_empty() && self.records.is_empty()
    }

    fn files(&self) -> impl Iterator<Item = &Staged> {
        self.objects.iter().chain(&self.artifacts).chain(self.records.iter().map(|(_, record)| record))
    }
}

/// The jobs of one group. When it is dropped, even by a panic, every job is answered and the next caller can lead.
struct Batch<'a> {
    queue: &'a Queue,
    jobs: Vec<Job>,
}

impl Batch<'_> {
    fn publish(mut self, store: &Store) {
        let prepared: Vec<_> = self.jobs.iter_mut().map(|job| std::mem::take(&mut job.prepared)).collect();
        for (job, outcome) in self.jobs.iter().zip(publish(store, prepared)) {
            *job.outcome.lock().expect("invariant: no panic under this lock") = Some(outcome);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for job in &self.jobs {
            let mut outcome = job.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            outcome.get_or_insert_with(|| {
                Err(Error::io("commit to", "the cache")(io::Error::other("the committing thread panicked")))
            });
        }
        self.queue.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).led = false;
        self.queue.turn.notify_all();
    }
}

/// Publishes commits together; if one fails, the others are not affected.
fn publish(store: &Store, commits: Vec<Prepared>) -> Vec<Result<Vec<Published>>> {
    let mut outcomes: Vec<Result<Vec<Published>>> = commits.iter().map(|_| Ok(Vec::new())).collect();
    let fail = |outcome: &mut Result<Vec<Published>>, error: Error| {
        if outcome.is_ok() {
            *outcome = Err(error);
        }
    };

    let files: Vec<(usize, &Staged)> = commits
        .iter()
        .enumerate()
        .flat_map(|(index, commit)| commit.files().map(move |file| (index, file)))
        .collect();
    for (index, error) in settle(&files) {
        fail(&mut outcomes[index], error);
    }

    let mut folders = Folders::new(store);
    let mut records = Vec::new();
    for (index, commit) in commits.into_iter().enumerate() {
        records.push(commit.records);
        if outcomes[index].is_ok()
            && let Err(error) = name(store, &mut folders, index, commit.objects, commit.artifacts)
        {
            fail(&mut outcomes[index], error);
        }
    }
    for (index, error) in folders.sync() {
        fail(&mut outcomes[index], error);
    }

    for (index, records) in records.into_iter().enumerate() {
        for (key, record) in records {
            let Ok(published) = &mut outcomes[index] else { break };
            match folders.enter(index, RECORDS, &key).and_then(|_| store.publish(&key, &record)) {
                Ok(outcome) => published.push(outcome),
                Err(error) => fail(&mut outcomes[index], error),
            }
        }
    }
    for (index, error) in folders.sync() {
        fail(&mut outcomes[index], error);
    }
    outcomes
}

/// Syncs files in parallel, and returns the errors with the numbers of their commits.
fn settle(files: &[(usize, &Staged)]) -> Vec<(usize, Error)> {
    let settle = |(index, file): &(usize, &Staged)| file.settle().err().map(|error| (*index, error));
    let threads = files.len().min(SYNC_THREADS_MAX);
    if threads <= 1 {
        return files.iter().filter_map(settle).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mine = std::iter::from_fn(|| files.get(next.fetch_add(1, Ordering::Relaxed)));
        mine.filter_map(settle).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        // Where no more threads can be started, those that there are do all.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let workers: Vec<_> = (1..threads).filter_map(start).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().expect("invariant: syncing files does not panic")
        };
        let mut errors = work();
        errors.extend(workers.into_iter().flat_map(join));
        errors
    })
}

/// Renames objects and artifacts to their final names.
fn name(
    store: &Store,
    folders: &mut Folders<'_>,
    index: usize,
    objects: Vec<Staged>,
    artifacts: Vec<Staged>,
) -> Result<()> {
    for object in objects {
        let blob: Blob = object.blob();
        // Synced even if the object exists: the process that renamed it may not have synced the folder yet.
        let path = folders.enter(index, OBJECTS, &blob.digest)?;
        if !store.reuse(&blob) {
            object.rename(&path)?;
        }
    }
    for artifact in artifacts {
        // An existing one is replaced by an equal one, which is complete and recent for the garbage collector.
        let path = folders.enter(index, ARTIFACTS, &artifact.blob().digest)?;
        artifact.rename(&path)?;
    }
    Ok(())
}

/// The folders with names created since the last sync, and the commits that created them.
struct Folders<'a> {
    store: &'a Store,
    touched: BTreeSet<(PathBuf, usize)>,
}

impl<'a> Folders<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, touched: BTreeSet::new() }
    }

    /// Creates the folder for a digest and returns the path.
    fn enter(&mut self, index: usize, tree: &str, digest: &Digest) -> Result<PathBuf> {
        let path = self.store.sharded(tree, digest);
        let folder = path.parent().expect("invariant: a sharded path has a folder").to_owned();
        let mut anchored = self.store.0.anchored.lock().expect("invariant: no panic under this lock");
        if !anchored.contains(&folder) {
            files::create_dir(&folder)?;
            // Whichever process created the folder, it may not have synced its name yet.
            self.touched.insert((self.store.root().join(tree), index));
            anchored.insert(folder.clone());
        }
        self.touched.insert((folder, index));
        Ok(path)
    }

    /// Syncs each folder once, and returns the errors for each commit.
    fn sync(&mut self) -> Vec<(usize, Error)> {
        let mut failures = Vec::new();
        let mut last: Option<(PathBuf, Result<()>)> = None;
        for (folder, index) in std::mem::take(&mut self.touched) {
            if last.as_ref().is_none_or(|(path, _)| *path != folder) {
                let result = files::sync(&folder);
                if result.is_err() {
                    self.store.0.anchored.lock().expect("invariant: no panic under this lock").clear();
                }
                last = Some((folder, result));
            }
            if let Some((_, Err(error))) = &last {
                failures.push((index, error.again()));
            }
        }
        failures
    }
}
