//! Lists the content of the cache, measures it, and checks it for damage.

use crate::object::{ARTIFACTS, OBJECTS, placed_at};
use crate::record::RECORDS;
use crate::{Digest, Error, Result, Store, files};
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

/// The kinds of content that a cache stores under a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Bytes, under their digest.
    Object,
    /// Canonical JSON, under its digest.
    Artifact,
    /// The result of a key, under that key.
    Record,
}

impl EntryKind {
    pub(crate) fn tree(self) -> &'static str {
        match self {
            Self::Object => OBJECTS,
            Self::Artifact => ARTIFACTS,
            Self::Record => RECORDS,
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Artifact => "artifact",
            Self::Record => "record",
        })
    }
}

/// An entry of the cache, as listed in its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its digest; for a record, its key.
    pub digest: Digest,
    /// The size of its file in bytes.
    pub size: u64,
    /// When it was added, or last reused by a commit, in whole seconds.
    pub placed: SystemTime,
}

/// A number of files and their total size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Number of files.
    pub files: u64,
    /// Total size; blocks that several files share are counted for each.
    pub bytes: u64,
}

/// The size of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In `objects/`.
    pub objects: Amount,
    /// In `artifacts/`.
    pub artifacts: Amount,
    /// In `records/`.
    pub records: Amount,
    /// In `runs/`.
    pub runs: Amount,
    /// In `work/durable/`: checkpoints.
    pub checkpoints: Amount,
    /// In the rest of `work/`: leases and unfinished files.
    pub work: Amount,
    /// Everything else: what the engine stores there.
    pub other: Amount,
}

/// A damaged entry of the cache.
#[derive(Debug)]
pub struct Damage {
    /// Its kind.
    pub kind: EntryKind,
    /// Its digest; for a record, its key.
    pub digest: Digest,
    /// Its path, before a repair.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: DamageCause,
    /// Whether it was removed, so that the next run computes it again.
    pub repaired: bool,
}

/// What is wrong with a damaged entry.
#[derive(Debug)]
pub enum DamageCause {
    /// Its bytes differ from those that were stored.
    Content,
    /// It cannot be read.
    Unreadable(Error),
}

impl fmt::Display for DamageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => f.write_str("its content has changed"),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}

/// What [`Store::verify`] does with damaged entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Reports them.
    Report,
    /// Removes them.
    Discard,
}

/// Progress of [`Store::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Read so far.
    pub done: Amount,
    /// To be read in total.
    pub total: Amount,
}

impl Store {
    /// Lists the objects, sorted by digest; only a few folders are in memory at a time.
    pub fn objects(&self) -> impl Iterator<Item = Result<Entry>> + use<> {
        self.entries(EntryKind::Object)
    }

    /// Lists the entries of a kind, sorted by digest.
    pub fn entries(&self, kind: EntryKind) -> impl Iterator<Item = Result<Entry>> + use<> {
        let tree = self.root().join(kind.tree());
        let (folders, error) = match files::list(&tree) {
            // Ignore files of other programs (`.DS_Store`).
            Ok(folders) => (folders.into_iter().filter(|(name, _)| is_shard(name)).collect(), None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        error.into_iter().chain(folders.into_iter().flat_map(|(shard, folder)| entries_of(&shard, &folder)))
    }

    /// Measures the cache.
    pub fn usage(&self) -> Result<Usage> {
        let count = |kind| {
            self.entries(kind).try_fold(Amount::default(), |mut amount, entry| {
                amount.add(entry?.size);
                Ok::<_, Error>(amount)
            })
        };
        Ok(Usage {
            objects: count(EntryKind::Object)?,
            artifacts: count(EntryKind::Artifact)?,
            records: count(EntryKind::Record)?,
            runs: count_tree(&self.root().join("runs"))?,
            checkpoints: count_tree(&self.durables_dir())?,
            work: self.count_but(&self.root().join("work"), &["durable"])?,
            other: self.count_but(self.root(), &[OBJECTS, ARTIFACTS, RECORDS, "runs", "work"])?,
        })
    }

    /// Measures a folder, except for these entries.
    fn count_but(&self, folder: &std::path::Path, left_out: &[&str]) -> Result<Amount> {
        let mut amount = Amount::default();
        for (name, path) in files::list(folder)? {
            if !left_out.contains(&name.as_str()) {
                let more = count_tree(&path)?;
                amount.files += more.files;
                amount.bytes += more.bytes;
            }
        }
        Ok(amount)
    }

    /// Reads everything, using all cores, and returns the damaged entries, sorted by kind and digest.
    ///
    /// `progress` is called occasionally, from several threads.
    pub fn verify(&self, repair: Repair, progress: impl Fn(Progress) + Sync) -> Result<Vec<Damage>> {
        let mut all = Vec::new();
        for kind in [EntryKind::Object, EntryKind::Artifact, EntryKind::Record] {
            for entry in self.entries(kind) {
                all.push((kind, entry?));
            }
        }
        let mut total = Amount::default();
        all.iter().for_each(|(_, entry)| total.add(entry.size));

        let next = AtomicUsize::new(0);
        let state = Mutex::new((Amount::default(), Vec::new()));
        let work = || {
            while let Some((kind, entry)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                let damage = self.examine(*kind, entry, repair);
                let mut state = state.lock().expect("invariant: no panic under this lock");
                state.0.add(entry.size);
                state.1.extend(damage);
                let done = state.0;
                drop(state);
                progress(Progress { done, total });
            }
        };
        let threads = thread::available_parallelism().map_or(1, |threads| threads.get()).min(all.len());
        thread::scope(|scope| {
            for _ in 1..threads {
                // Where no more threads can be started, those that there are do all.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let (_, mut damages) = state.into_inner().expect("invariant: no panic under this lock");
        damages.sort_by_key(|damage| (damage.kind, damage.digest));
        Ok(damages)
    }

    fn examine(&self, kind: EntryKind, entry: &Entry, repair: Repair) -> Option<Damage> {
        let digest = entry.digest;
        let path = self.sharded(kind.tree(), &digest);
        let cause = match self.check_entry(kind, &digest) {
            Ok(None) => return None,
            Ok(Some(cause)) => cause,
            Err(error) if is_missing(&error) => return None, // collected or retired in the meantime
            Err(error) => DamageCause::Unreadable(error),
        };
        let repaired = repair == Repair::Discard
            && match kind {
                EntryKind::Object => self.discard(&digest).unwrap_or(false),
                EntryKind::Artifact => self.discard_artifact(&digest).unwrap_or(false),
                EntryKind::Record => self.discard_record(&digest).unwrap_or(false),
            };
        Some(Damage { kind, digest, path, cause, repaired })
    }

    fn check_entry(&self, kind: EntryKind, digest: &Digest) -> Result<Option<DamageCause>> {
        let path = self.sharded(kind.tree(), digest);
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("examine", &path))?;
        if !metadata.is_file() {
            return Ok(Some(DamageCause::Content));
        }
        let right = match kind {
            EntryKind::Object | EntryKind::Artifact => files::hash(&path)?.digest == *digest,
            EntryKind::Record => self.record(digest)?.is_some() || !path.exists(),
        };
        if right && kind == EntryKind::Object && !files::is_sealed(&metadata) {
            // A copy made without times is whole. The file of another user cannot be stamped; it is read each time.
            let _ = files::seal(&path);
        }
        Ok((!right).then_some(DamageCause::Content))
    }
}

impl Amount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

fn is_missing(error: &Error) -> bool {
    match error {
        Error::Missing { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Whether this is the name of a folder for digests with that prefix.
fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Lists one folder of a tree. Names that are not digests, or belong to another folder, are ignored.
fn entries_of(shard: &str, folder: &std::path::Path) -> Vec<Result<Entry>> {
    let entry = |(name, path): (String, PathBuf)| {
        let digest = name.parse().ok().filter(|_| name.starts_with(shard))?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Some(Ok(Entry::of(digest, &metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(Error::io("examine", &path)(error))),
        }
    };
    match files::list(folder) {
        Ok(names) => names.into_iter().filter_map(entry).collect(),
        Err(error) => vec![Err(error)],
    }
}

impl Entry {
    fn of(digest: Digest, metadata: &Metadata) -> Self {
        Self { digest, size: metadata.len(), placed: placed_at(metadata) }
    }
}

fn count_tree(folder: &std::path::Path) -> Result<Amount> {
    let mut amount = Amount::default();
    files::walk(folder, &mut |metadata| {
        if !metadata.is_dir() {
            amount.add(metadata.len());
        }
    })?;
    Ok(amount)
}
