//! What is in the cache, how much it is, and whether it is whole.

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

/// The kinds of things that a cache holds under a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Bytes, by their digest.
    Object,
    /// Canonical JSON, by its digest.
    Artifact,
    /// What a key led to, by the key.
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

/// One thing in the cache, as its folder shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its digest or, of a record, its key.
    pub digest: Digest,
    /// The size of its file in bytes.
    pub size: u64,
    /// When it came, or was last used again by a commit, in whole seconds.
    pub placed: SystemTime,
}

/// A number of files and of the bytes in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// The sum of their sizes; blocks that files share count each time.
    pub bytes: u64,
}

/// How much a cache holds.
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
    /// In the rest of `work/`: leases, and what is on its way.
    pub work: Amount,
    /// All else: what the engine keeps beside.
    pub other: Amount,
}

/// Something in the cache that is not what its name says.
#[derive(Debug)]
pub struct Damage {
    /// What it is.
    pub kind: EntryKind,
    /// Its digest or, of a record, its key.
    pub digest: Digest,
    /// Where it stands, or stood.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: DamageCause,
    /// It was put right, or taken out of the way so that the next run makes it again.
    pub repaired: bool,
}

/// What is wrong with a damaged thing.
#[derive(Debug)]
pub enum DamageCause {
    /// Its bytes are not those that were stored.
    Content,
    /// Its bytes are right, but somebody touched the file: plans would take it for absent.
    Stamp,
    /// It cannot be read.
    Unreadable(Error),
}

impl fmt::Display for DamageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => f.write_str("its content has changed"),
            Self::Stamp => f.write_str("its content is right, its time stamp is not"),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}

/// What [`Store::verify`] does about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Names it.
    Report,
    /// Puts stamps right, and takes all else out of the way.
    Discard,
}

/// How far [`Store::verify`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What has been read.
    pub done: Amount,
    /// What there is to read.
    pub total: Amount,
}

impl Store {
    /// Lists the objects, in the order of digests; a few folders' worth is in memory at a time.
    pub fn objects(&self) -> impl Iterator<Item = Result<Entry>> + use<> {
        self.entries(EntryKind::Object)
    }

    /// Lists the things of one kind, in the order of digests.
    pub fn entries(&self, kind: EntryKind) -> impl Iterator<Item = Result<Entry>> + use<> {
        let tree = self.root().join(kind.tree());
        let (folders, error) = match files::list(&tree) {
            // What others leave here (`.DS_Store`) is none of our business.
            Ok(folders) => (folders.into_iter().filter(|(name, _)| is_shard(name)).collect(), None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        error.into_iter().chain(folders.into_iter().flat_map(|(shard, folder)| entries_of(&shard, &folder)))
    }

    /// Counts what there is.
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

    /// Counts what is in a folder, but for these entries of it.
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

    /// Reads everything with all cores, and names what is damaged, in the order of kinds and digests.
    ///
    /// `progress` is called now and then, from several threads.
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
            for _ in 0..threads {
                scope.spawn(work);
            }
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
            Err(error) if is_missing(&error) => return None, // collected or retired meanwhile
            Err(error) => DamageCause::Unreadable(error),
        };
        let repaired = repair == Repair::Discard
            && match (&cause, kind) {
                (DamageCause::Stamp, _) => files::seal(&path).is_ok(),
                (_, EntryKind::Object) => self.discard(&digest).unwrap_or(false),
                (_, EntryKind::Artifact) => self.discard_artifact(&digest).unwrap_or(false),
                (_, EntryKind::Record) => self.discard_record(&digest).unwrap_or(false),
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
        Ok(match (right, kind) {
            (false, _) => Some(DamageCause::Content),
            (true, EntryKind::Object) if !files::is_sealed(&metadata) => Some(DamageCause::Stamp),
            (true, _) => None,
        })
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

/// Whether this is the name of a folder for digests that begin so.
fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Lists one folder of a tree. Names that are no digests, or of another folder, are nobody's.
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
