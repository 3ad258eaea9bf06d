//! Owns: which content of a cache is needed, and in which order the rest is deleted. It knows no manifests and no
//! runs; the caller passes the keys and artifacts to keep.
//!
//! Everything that the keys to keep, or recent records, refer to is needed. The rest is deleted cheapest first: the
//! cost of an object is that of the most expensive record that refers to it, in seconds per byte; objects without a
//! record cost nothing. Records of stages are kept: they are small, and a stage remains cached although its objects
//! are gone; the next run recomputes what it has to read.
//!
//! Safe during runs: recent entries are kept, and a commit makes everything that it relies on recent. Entries to
//! delete are first moved away; then the records are read again, and entries that are needed by then are put back.

use crate::{
    record::{Record, read_artifact},
    warning::Warning,
};
use pipe_cache::{Acquire, EntryKind, Trash};
use pipe_stage::{Artifact, Blob, Digest, ShareRecord, Store};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    time::{Duration, SystemTime},
};

/// What to keep whatever its size.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Keys of stages: of pinned, recent and current runs, and of lock files.
    pub keys: BTreeSet<Digest>,
    /// Artifacts that current runs read.
    pub artifacts: BTreeSet<Digest>,
    /// Folders of checkpoints that pinned, live and recent runs use.
    pub folders: BTreeSet<Digest>,
    /// Everything added since then belongs to a current run.
    pub since: Option<SystemTime>,
    /// What could not be looked at.
    pub warnings: Vec<Warning>,
}

/// Options of a collection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum size in bytes.
    pub bytes_max: u64,
    /// Records younger than this keep what they refer to.
    pub recent: Duration,
    /// Entries used by a commit more recently than this are kept: the record that relies on them may not be written
    /// yet.
    pub young: Duration,
    /// Whether to delete anything.
    pub mode: Collect,
}

/// Whether to delete anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// Delete.
    Now,
    /// Only report.
    Rehearse,
}

/// The result of a collection.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Collected {
    /// Size of objects, artifacts and records before, in bytes.
    pub bytes_before: u64,
    /// Size afterwards.
    pub bytes_after: u64,
    /// Size of what is needed: no limit can go below it.
    pub bytes_needed: u64,
    /// Deleted content by the stage type that made it, largest first.
    pub gone: Vec<Gone>,
    /// What could not be deleted or looked at.
    pub warnings: Vec<Warning>,
}

/// Deleted content of one stage type.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Gone {
    /// `ingest`; `tasks` if only records of tasks refer to it, `nothing` if no record does.
    pub made_by: String,
    /// Number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Approximate seconds to recompute them.
    pub seconds: f64,
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
    /// Another process is collecting.
    #[error("{0} is already collecting garbage in this cache")]
    Busy(String),
    /// The roots cannot be determined.
    #[error("cannot determine what is needed: {0}")]
    Roots(BoxedError),
}

/// The error from finding the roots.
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Collects garbage. `roots` is called again before anything is deleted.
pub fn collect(
    store: &Store,
    limits: Limits,
    roots: &dyn Fn() -> Result<Roots, BoxedError>,
) -> Result<Collected, GarbageError> {
    let lease = match store.acquire(&Digest::derive("pipe garbage v1", b""))? {
        Acquire::Held(lease) => lease,
        Acquire::Busy(holder) => return Err(GarbageError::Busy(holder.to_string())),
    };
    let swept = store.sweep()?;
    let found = roots().map_err(GarbageError::Roots)?;
    let survey = Survey::new(store, &found, limits)?;
    let chosen = survey.choose(limits.bytes_max);
    let mut collected = survey.told(&chosen);
    collected.warnings = Warning::of_leftovers(&swept.failed);
    collected.warnings.extend(found.warnings);
    if limits.mode == Collect::Now && !chosen.is_empty() {
        let (bytes, folders) = sweep_out(store, &survey, &chosen, limits, roots)?;
        collected.bytes_after = collected.bytes_before.saturating_sub(bytes);
        for tree in folders {
            if let Err(error) = fs::remove_dir_all(&tree) {
                let message = format!("cannot delete `{}`: {error}", tree.display());
                let help = "delete it as a user who may: its links point to nothing now".to_owned();
                collected.warnings.push(Warning { message, help });
            }
        }
    }
    drop(lease);
    Ok(collected)
}

/// Moves entries away, checks again, puts entries back, deletes the rest. Returns the number of bytes deleted, and
/// folders whose links are broken now.
fn sweep_out(
    store: &Store,
    survey: &Survey,
    chosen: &[Thing],
    limits: Limits,
    roots: &dyn Fn() -> Result<Roots, BoxedError>,
) -> Result<(u64, Vec<std::path::PathBuf>), GarbageError> {
    let mut trash = store.trash()?;
    for thing in chosen {
        trash.take(thing.kind, &thing.digest, survey.young)?;
    }
    // Records of shares whose objects are gone would otherwise be retired one by one.
    let gone: HashSet<Digest> = trash.taken().map(|(_, digest)| digest).collect();
    for (key, blobs) in &survey.shares {
        if blobs.iter().any(|digest| gone.contains(digest)) {
            trash.take(EntryKind::Record, key, survey.young)?;
        }
    }
    let again = Survey::new(store, &roots().map_err(GarbageError::Roots)?, limits)?;
    put_back(&mut trash, &again, survey)?;
    let gone: HashSet<Digest> = trash.taken().map(|(_, digest)| digest).collect();
    let trees = survey
        .artifacts
        .iter()
        .filter(|(digest, artifact)| {
            gone.contains(*digest) || artifact.blobs().any(|blob| gone.contains(&blob.digest))
        })
        .map(|(digest, _)| store.root().join("trees").join(digest.to_string()));
    let trees = trees.filter(|tree| tree.is_dir()).collect();
    Ok((trash.empty().bytes, trees))
}

/// Puts back what is needed by now, and the records of shares whose objects all exist.
fn put_back(trash: &mut Trash, again: &Survey, before: &Survey) -> Result<(), GarbageError> {
    let taken: Vec<(EntryKind, Digest)> = trash.taken().collect();
    for (kind, digest) in &taken {
        let is_needed = match kind {
            EntryKind::Object => again.needed.contains(digest),
            EntryKind::Artifact => again.needed_artifacts.contains(digest),
            EntryKind::Record => false,
        };
        if is_needed {
            trash.put_back(*kind, digest)?;
        }
    }
    let gone: HashSet<Digest> = trash.taken().map(|(_, digest)| digest).collect();
    for (key, blobs) in &before.shares {
        if !blobs.iter().any(|digest| gone.contains(digest)) {
            trash.put_back(EntryKind::Record, key)?;
        }
    }
    Ok(())
}

/// An entry that may be deleted.
#[derive(Debug, Clone)]
struct Thing {
    kind: EntryKind,
    digest: Digest,
    bytes: u64,
    placed: SystemTime,
    cost: Cost,
}

/// The cost of recomputing a byte, and the stage type that does it.
#[derive(Debug, Clone, Default)]
struct Cost {
    seconds_per_byte: f64,
    made_by: String,
}

/// The state of a cache.
struct Survey {
    /// Older entries may be deleted.
    young: SystemTime,
    bytes: u64,
    objects: Vec<(Digest, u64, SystemTime)>,
    orphans: Vec<(Digest, u64, SystemTime)>,
    artifacts: HashMap<Digest, Artifact>,
    /// Number of objects.
    needed: HashSet<Digest>,
    needed_artifacts: HashSet<Digest>,
    costs: HashMap<Digest, Cost>,
    /// Records of shares and steps that are not needed, with the objects that they refer to.
    shares: Vec<(Digest, Vec<Digest>)>,
}

/// The version that a record says it has.
fn version(body: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    serde_json::from_slice::<Head>(body).ok().map(|head| head.version)
}

/// A record of a newer program: what it needs is unknown, so nothing may go.
fn newer(store: &Store, key: &Digest, found: u32, known: u32) -> pipe_cache::Error {
    pipe_cache::Error::Newer { path: store.record_path(key), found, known }
}

/// Content of the record of a finished step; written by `pipe-stage`.
#[derive(Deserialize)]
struct StepRecord {
    shares: Vec<ShareRecord>,
}

impl Survey {
    fn new(store: &Store, roots: &Roots, limits: Limits) -> Result<Self, GarbageError> {
        let now = SystemTime::now();
        let before = |age: Duration| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let young = before(limits.young);
        let young = roots.since.map_or(young, |since| since.min(young));
        let mut survey = Self {
            young,
            bytes: 0,
            objects: Vec::new(),
            orphans: Vec::new(),
            artifacts: HashMap::new(),
            needed: HashSet::new(),
            needed_artifacts: HashSet::new(),
            costs: HashMap::new(),
            shares: Vec::new(),
        };
        let recent = young.min(before(limits.recent));
        let mut named = HashSet::new();
        for entry in store.entries(EntryKind::Record) {
            let entry = entry?;
            survey.bytes += entry.size;
            let Some(body) = store.record(&entry.digest)? else { continue };
            let is_root = entry.placed >= recent || roots.keys.contains(&entry.digest);
            survey.see_record(store, entry.digest, &body, is_root, &mut named)?;
        }
        for digest in &roots.artifacts {
            survey.see_artifact(store, digest);
            survey.need_artifact(digest);
        }
        for entry in store.entries(EntryKind::Artifact) {
            let entry = entry?;
            survey.bytes += entry.size;
            if !named.contains(&entry.digest) && !survey.needed_artifacts.contains(&entry.digest) {
                survey.orphans.push((entry.digest, entry.size, entry.placed));
            }
        }
        for entry in store.entries(EntryKind::Object) {
            let entry = entry?;
            survey.bytes += entry.size;
            survey.objects.push((entry.digest, entry.size, entry.placed));
        }
        Ok(survey)
    }

    fn see_record(
        &mut self,
        store: &Store,
        key: Digest,
        body: &[u8],
        is_root: bool,
        named: &mut HashSet<Digest>,
    ) -> Result<(), pipe_cache::Error> {
        if let Some(record) =
            Record::parse(body).map_err(|found| newer(store, &key, found, Record::VERSION))?
        {
            let mut blobs: Vec<Blob> = Vec::new();
            for digest in record.outputs.values() {
                named.insert(*digest);
                self.see_artifact(store, digest);
                blobs.extend(self.artifacts.get(digest).into_iter().flat_map(Artifact::blobs));
                if is_root {
                    self.need_artifact(digest);
                }
            }
            blobs.extend(record.log.iter().chain(&record.sources));
            self.see_blobs(&blobs, record.seconds, &record.uses, is_root);
            return Ok(());
        }
        let of = |record: &ShareRecord| {
            record.made.iter().flat_map(|made| made.content.blobs()).copied().collect()
        };
        let shares = match serde_json::from_slice::<StepRecord>(body) {
            Ok(step) => step.shares,
            Err(_) => serde_json::from_slice::<ShareRecord>(body).into_iter().collect(),
        };
        if shares.is_empty()
            && let Some(found) = version(body).filter(|found| *found > ShareRecord::VERSION)
        {
            return Err(newer(store, &key, found, ShareRecord::VERSION));
        }
        let mut all = Vec::new();
        for share in &shares {
            let blobs: Vec<Blob> = of(share);
            self.see_blobs(&blobs, share.seconds, "tasks", is_root);
            all.extend(blobs.iter().map(|blob| blob.digest));
        }
        if !is_root {
            self.shares.push((key, all));
        }
        Ok(())
    }

    fn see_artifact(&mut self, store: &Store, digest: &Digest) {
        if !self.artifacts.contains_key(digest)
            && let Some(artifact) = read_artifact(store, digest)
        {
            self.artifacts.insert(*digest, artifact);
        }
    }

    fn need_artifact(&mut self, digest: &Digest) {
        self.needed_artifacts.insert(*digest);
        let blobs = self.artifacts.get(digest).into_iter().flat_map(Artifact::blobs);
        self.needed.extend(blobs.map(|blob| blob.digest));
    }

    /// Adds what a record says about its objects; if several refer to an object, the most expensive counts.
    fn see_blobs(&mut self, blobs: &[Blob], seconds: f64, made_by: &str, is_root: bool) {
        let bytes: u64 = blobs.iter().map(|blob| blob.size).sum();
        let seconds_per_byte = seconds / bytes.max(1) as f64;
        for blob in blobs {
            if is_root {
                self.needed.insert(blob.digest);
            }
            let cost = self.costs.entry(blob.digest).or_default();
            // The name of a stage type is more useful than `tasks`, which refers to the same objects.
            let is_named = !cost.made_by.is_empty() && cost.made_by != "tasks";
            if !is_named || (made_by != "tasks" && seconds_per_byte > cost.seconds_per_byte) {
                made_by.clone_into(&mut cost.made_by);
            }
            cost.seconds_per_byte = cost.seconds_per_byte.max(seconds_per_byte);
        }
    }

    /// Selects entries to delete until the size is below this: cheapest to recompute first, then oldest.
    fn choose(&self, bytes_max: u64) -> Vec<Thing> {
        let orphan = |(digest, bytes, placed): &(Digest, u64, SystemTime)| Thing {
            kind: EntryKind::Artifact,
            digest: *digest,
            bytes: *bytes,
            placed: *placed,
            cost: Cost::default(),
        };
        let object = |(digest, bytes, placed): &(Digest, u64, SystemTime)| Thing {
            kind: EntryKind::Object,
            digest: *digest,
            bytes: *bytes,
            placed: *placed,
            cost: self.costs.get(digest).cloned().unwrap_or_default(),
        };
        let objects = self.objects.iter().filter(|(digest, ..)| !self.needed.contains(digest)).map(object);
        let mut things: Vec<Thing> = self.orphans.iter().map(orphan).chain(objects).collect();
        things.retain(|thing| thing.placed < self.young);
        let order = |a: &Thing, b: &Thing| -> Ordering {
            let cost = a.cost.seconds_per_byte.total_cmp(&b.cost.seconds_per_byte);
            cost.then(a.placed.cmp(&b.placed)).then(a.digest.cmp(&b.digest))
        };
        things.sort_by(order);
        let mut left = self.bytes;
        things
            .into_iter()
            .take_while(|thing| {
                let goes_on = left > bytes_max;
                left = left.saturating_sub(thing.bytes);
                goes_on
            })
            .collect()
    }

    fn told(&self, chosen: &[Thing]) -> Collected {
        let mut gone: Vec<Gone> = Vec::new();
        for thing in chosen {
            let made_by = if thing.cost.made_by.is_empty() { "nothing" } else { &thing.cost.made_by };
            let position = gone.iter().position(|gone| gone.made_by == made_by).unwrap_or_else(|| {
                gone.push(Gone { made_by: made_by.to_owned(), ..Gone::default() });
                gone.len() - 1
            });
            let entry = &mut gone[position];
            entry.objects += 1;
            entry.bytes += thing.bytes;
            entry.seconds += thing.cost.seconds_per_byte * thing.bytes as f64;
        }
        gone.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.made_by.cmp(&b.made_by)));
        let bytes: u64 = chosen.iter().map(|thing| thing.bytes).sum();
        let stays = |(digest, _, placed): &&(Digest, u64, SystemTime)| {
            self.needed.contains(digest) || *placed >= self.young
        };
        Collected {
            bytes_before: self.bytes,
            bytes_after: self.bytes - bytes,
            bytes_needed: self.objects.iter().filter(stays).map(|(_, bytes, _)| bytes).sum(),
            gone,
            warnings: Vec::new(),
        }
    }
}
