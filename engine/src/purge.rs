//! Owns: deleting everything that was made of some documents from a cache. It knows no documents: the caller says which
//! objects have them.
//!
//! An object goes if it has a document, or if it was made of one and nothing proves that it has none:
//!
//! - outputs of stages, if the stage read an artifact of which something goes, unless the caller knows that they have none
//!   of the documents, or they consist of metrics, or a stage that read nothing of the kind made the same bytes;
//! - what only tasks refer to, and what nothing refers to: nothing says what it was made of;
//! - checkpoints of stages that read such artifacts, and those that no run tells the stage of.
//!
//! Records of stages stay, so stages whose outputs went are still up to date; the next run makes again what it has to read.
//! What goes is listed in a file before anything is deleted, so that a purge that was interrupted can be completed.
//!
//! ```text
//! work/purge.json     {"version": 1, "objects": […], "records": […], "checkpoints": […]}
//! ```

use crate::{
    record::{Record, read_artifact},
    run::{
        folder::{RunFolder, RunFolderError, RunState},
        seen::{EventsError, Seen},
    },
};
use pipe_cache::{Acquire, EntryKind, Lease};
use pipe_stage::{Artifact, Blob, Digest, Entry, ShareRecord, Store};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What the caller knows about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It has one of the documents.
    Has,
    /// It has none of them.
    HasNot,
    /// It is of another kind: only what it was made of tells.
    Unknown,
}

/// What a purge deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    version: u32,
    /// Objects.
    pub objects: BTreeSet<Digest>,
    /// Records of tasks that refer to them.
    pub records: BTreeSet<Digest>,
    /// Keys of folders with checkpoints.
    pub checkpoints: BTreeSet<Digest>,
}

/// A purge before it is carried out.
#[derive(Debug, Default)]
pub struct Survey {
    /// What it deletes.
    pub purge: Purge,
    /// Size of the objects in bytes.
    pub bytes: u64,
    /// Objects that have a document.
    pub with_documents: u64,
    /// Objects that go because only tasks, or nothing, refers to them.
    pub of_tasks: u64,
    /// Stages of which outputs go.
    pub stages: Vec<Affected>,
    /// Stages whose models stay, although they were made of documents that are missing from the cache: nothing says whether
    /// the documents were among them.
    pub unknown: Vec<Affected>,
}

/// A stage of which outputs go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// Key of the stage.
    pub key: Digest,
    /// Stage type.
    pub uses: String,
    /// When it ended, in RFC 3339.
    pub finished: String,
    /// Outputs of which something goes, with their kind.
    pub outputs: BTreeMap<String, String>,
    /// Names that runs gave it, with the pipeline: `gpt-small/base`.
    pub names: BTreeSet<String>,
}

/// Why nothing, or not all, was purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
    /// A run's folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// The events of a run cannot be read.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// An object cannot be examined.
    #[error(transparent)]
    Object(#[from] pipe_stage::Error),
    /// A run is active: it may make copies of the documents.
    #[error("the run {0} is active in this cache")]
    Running(String),
    /// Another process is deleting.
    #[error("{0} is already deleting from this cache")]
    Busy(String),
    /// The list of what goes cannot be used.
    #[error("cannot {action} `{}`: {message}", path.display())]
    List {
        /// `read`, `write`, `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Says what an object is.
pub type Look<'l> = &'l dyn Fn(&Digest, &Path) -> Result<Content, pipe_stage::Error>;

/// The records of a cache.
#[derive(Default)]
struct Records {
    stages: Vec<(Digest, Record)>,
    /// Records of tasks and steps, with their objects.
    tasks: Vec<(Digest, Vec<Digest>)>,
    /// Logs and lists of sources.
    other: HashSet<Digest>,
    artifacts: HashMap<Digest, Artifact>,
}

impl Records {
    fn read(store: &Store) -> Result<Self, PurgeError> {
        #[derive(Deserialize)]
        struct StepRecord {
            shares: Vec<ShareRecord>,
        }
        let mut records = Self::default();
        for entry in store.entries(EntryKind::Record) {
            let key = entry?.digest;
            let Some(body) = store.record(&key)? else { continue };
            if let Some(record) = Record::read(store, &key)? {
                records.other.extend(record.log.iter().chain(&record.sources).map(|blob| blob.digest));
                let inputs = record.inputs.values().flatten().map(|input| &input.digest);
                for digest in inputs.chain(record.outputs.values()) {
                    if !records.artifacts.contains_key(digest)
                        && let Some(artifact) = read_artifact(store, digest)
                    {
                        records.artifacts.insert(*digest, artifact);
                    }
                }
                records.stages.push((key, record));
                continue;
            }
            let shares = match serde_json::from_slice::<StepRecord>(&body) {
                Ok(step) => step.shares,
                Err(_) => serde_json::from_slice::<ShareRecord>(&body).into_iter().collect(),
            };
            let made = shares.iter().flat_map(|share| &share.made);
            records
                .tasks
                .push((key, made.flat_map(|made| made.content.blobs()).map(|blob| blob.digest).collect()));
        }
        // Earlier stages first, so that few passes are needed.
        records.stages.sort_by(|a, b| (&a.1.finished, a.0).cmp(&(&b.1.finished, b.0)));
        Ok(records)
    }
}

/// What goes because of some objects.
struct Spread {
    gone: HashSet<Digest>,
    /// Artifacts of which something goes.
    tainted: HashSet<Digest>,
}

/// Whether an artifact has one of these objects, apart from those of its views.
fn has_any(artifact: &Artifact, objects: &HashSet<Digest>) -> bool {
    artifact.entries.iter().any(|entry| objects.contains(&entry.content.blob.digest))
}

impl Records {
    /// What goes with some objects, and with artifacts: what stages made that read them, and so on. An object that another
    /// stage made without them stays: it has the same bytes, so it says nothing about them. The tokenizer after a takedown
    /// has other merges than the one before, for example, and the same settings. Such a stage must have read none of the
    /// `doubtful` artifacts; if they are not known yet, none of those that are found here.
    fn spread(
        &self,
        Spread { mut gone, mut tainted }: Spread,
        contents: &HashMap<Digest, Content>,
        doubtful: Option<&HashSet<Digest>>,
    ) -> Spread {
        let reads = |record: &Record, artifacts: &HashSet<Digest>| {
            record.inputs.values().flatten().any(|input| artifacts.contains(&input.digest))
        };
        let records = || self.stages.iter().map(|(_, record)| record);
        let made = |record| self.unknown_outputs(record, contents);
        loop {
            let before = (gone.len(), tainted.len());
            let new = self.artifacts.iter().filter(|(_, artifact)| has_any(artifact, &gone));
            tainted.extend(new.map(|(digest, _)| *digest));
            let is_clean = |record: &&Record| !reads(record, doubtful.unwrap_or(&tainted));
            let clean: HashSet<Digest> = records().filter(is_clean).flat_map(made).collect();
            let dirty = records().filter(|record| reads(record, &tainted)).flat_map(made);
            gone.extend(dirty.filter(|digest| !clean.contains(digest)));
            if (gone.len(), tainted.len()) == before {
                return Spread { gone, tainted };
            }
        }
    }

    /// Objects in the outputs of a stage that only what it read tells something about.
    fn unknown_outputs<'r>(
        &'r self,
        record: &'r Record,
        contents: &'r HashMap<Digest, Content>,
    ) -> impl Iterator<Item = Digest> + use<'r> {
        let artifacts = record.outputs.values().filter_map(|digest| self.artifacts.get(digest));
        let objects = artifacts
            .filter(|artifact| artifact.kind != METRICS)
            .flat_map(|artifact| artifact.entries.iter().map(|entry| entry.content.blob.digest));
        objects.filter(|digest| contents.get(digest) == Some(&Content::Unknown))
    }

    /// What may have been made of the documents: all that read shards or lists that are missing from the cache, too.
    fn doubtful(&self, mut gone: HashSet<Digest>, contents: &HashMap<Digest, Content>) -> Spread {
        let documents =
            self.artifacts.values().filter(|artifact| DOCUMENTS.contains(&artifact.kind.as_str()));
        let objects = documents.flat_map(|artifact| &artifact.entries).map(|entry| entry.content.blob.digest);
        gone.extend(objects.filter(|digest| !contents.contains_key(digest)));
        let inputs = self.stages.iter().flat_map(|(_, record)| record.inputs.values().flatten());
        let missing = inputs.map(|input| input.digest).filter(|digest| !self.artifacts.contains_key(digest));
        self.spread(Spread { gone, tainted: missing.collect() }, contents, None)
    }

    /// The stages with such outputs.
    fn affected(&self, is_meant: impl Fn(&Artifact) -> bool) -> Vec<Affected> {
        let mut affected = Vec::new();
        for (key, record) in &self.stages {
            let mut outputs = BTreeMap::new();
            for (port, digest) in &record.outputs {
                if let Some(artifact) = self.artifacts.get(digest).filter(|artifact| is_meant(artifact)) {
                    outputs.insert(port.clone(), artifact.kind.clone());
                }
            }
            if !outputs.is_empty() {
                let (uses, finished) = (record.uses.clone(), record.finished.clone());
                affected.push(Affected { key: *key, uses, finished, outputs, names: BTreeSet::new() });
            }
        }
        affected
    }
}

/// Finds everything that was made of the documents. Nothing is changed.
///
/// # Errors
/// If a run is active, or something cannot be read.
pub fn survey(store: &Store, look: Look<'_>) -> Result<Survey, PurgeError> {
    check_idle(store)?;
    let records = Records::read(store)?;
    let (mut survey, mut contents, mut sizes) = (Survey::default(), HashMap::new(), HashMap::new());
    for entry in store.entries(EntryKind::Object) {
        let entry = entry?;
        sizes.insert(entry.digest, entry.size);
        contents.insert(entry.digest, look(&entry.digest, &store.object_path(&entry.digest))?);
    }
    let has: HashSet<Digest> =
        contents.iter().filter(|(_, content)| **content == Content::Has).map(|(digest, _)| *digest).collect();
    survey.with_documents = has.len() as u64;
    let doubtful = records.doubtful(has.clone(), &contents);
    let start = Spread { gone: has, tainted: HashSet::new() };
    let Spread { mut gone, tainted } = records.spread(start, &contents, Some(&doubtful.tainted));
    survey.unknown = records.affected(|artifact| {
        let mut objects = artifact.entries.iter().map(|entry| entry.content.blob.digest);
        artifact.kind == MODEL
            && objects.any(|digest| contents.contains_key(&digest) && doubtful.gone.contains(&digest))
            && !has_any(artifact, &gone)
    });
    // What a view says about the rows of a file goes with the file, unless it says the same about one that stays.
    let entries = || records.artifacts.values().flat_map(|artifact| &artifact.entries);
    let is_gone = |entry: &&Entry| gone.contains(&entry.content.blob.digest);
    let views = |entry: &Entry| entry.content.blobs().skip(1).map(|blob| blob.digest).collect::<Vec<_>>();
    let kept: HashSet<Digest> = entries().filter(|entry| !is_gone(entry)).flat_map(views).collect();
    let of_gone: Vec<Digest> = entries().filter(is_gone).flat_map(views).collect();
    gone.extend(of_gone.into_iter().filter(|view| !kept.contains(view)));
    // What no output of a stage has, tells nothing about what it was made of.
    let named: HashSet<Digest> =
        records.artifacts.values().flat_map(Artifact::blobs).map(|blob: &Blob| blob.digest).collect();
    let of_tasks: Vec<Digest> = contents
        .iter()
        .filter(|(digest, content)| {
            **content == Content::Unknown && !named.contains(*digest) && !records.other.contains(*digest)
        })
        .map(|(digest, _)| *digest)
        .collect();
    survey.of_tasks = of_tasks.len() as u64;
    gone.extend(of_tasks);
    gone.retain(|digest| sizes.contains_key(digest));
    survey.bytes = gone.iter().filter_map(|digest| sizes.get(digest)).sum();
    let names = names_of_stages(store, &tainted, &mut survey.purge.checkpoints)?;
    survey.stages = records.affected(|artifact| has_any(artifact, &gone));
    for stage in survey.stages.iter_mut().chain(&mut survey.unknown) {
        stage.names = names.get(&stage.key).cloned().unwrap_or_default();
    }
    let of_gone = |(_, objects): &&(Digest, Vec<Digest>)| objects.iter().any(|digest| gone.contains(digest));
    survey.purge.records = records.tasks.iter().filter(of_gone).map(|(key, _)| *key).collect();
    survey.purge.objects = gone.into_iter().collect();
    survey.purge.version = VERSION;
    Ok(survey)
}

/// Kind of artifacts that have figures only.
const METRICS: &str = "metrics";
/// Kinds of artifacts with documents.
const DOCUMENTS: [&str; 2] = ["documents", "tokens"];
/// Kind of trained models.
const MODEL: &str = "model";

/// A run could make copies of what is deleted.
fn check_idle(store: &Store) -> Result<(), PurgeError> {
    for run in RunFolder::all(store.root())? {
        if run.state(store)? == RunState::Running {
            return Err(PurgeError::Running(run.id));
        }
    }
    Ok(())
}

/// Names of stages by key, from the folders of runs; adds the checkpoints of stages that read what goes, and those that
/// no run knows.
fn names_of_stages(
    store: &Store,
    tainted: &HashSet<Digest>,
    checkpoints: &mut BTreeSet<Digest>,
) -> Result<BTreeMap<Digest, BTreeSet<String>>, PurgeError> {
    let mut names: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    let mut clean: HashSet<Digest> = HashSet::new();
    for run in RunFolder::all(store.root())? {
        let seen = Seen::read(&run.events())?;
        for stage in &run.head.stages {
            let spec = run.spec(&stage.name)?;
            let key = spec.as_ref().map(|spec| spec.key);
            let key = key.or_else(|| seen.stages.get(&stage.name).and_then(|seen| seen.key));
            if let Some(key) = key {
                names.entry(key).or_default().insert(format!("{}/{}", run.head.pipeline, stage.name));
            }
            let inputs = spec.iter().flat_map(|spec| spec.inputs.values().flatten());
            let is_clean =
                spec.is_some() && !inputs.map(|input| input.digest).any(|input| tainted.contains(&input));
            if is_clean && let Some(seen) = seen.stages.get(&stage.name) {
                clean.extend(seen.folders.iter().copied());
            }
        }
    }
    checkpoints
        .extend(store.durables()?.into_iter().map(|folder| folder.key).filter(|key| !clean.contains(key)));
    Ok(names)
}

/// Revision of the list.
///
/// - 1: initial version.
const VERSION: u32 = 1;

fn list_path(store: &Store) -> PathBuf {
    store.root().join("work/purge.json")
}

/// Reads what an interrupted purge has not finished.
///
/// # Errors
/// If the list cannot be read, or is of a newer program.
pub fn unfinished(store: &Store) -> Result<Option<Purge>, PurgeError> {
    let path = list_path(store);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| fault("read", &path, &error))?,
    };
    let purge: Purge = serde_json::from_slice(&bytes).map_err(|error| fault("read", &path, &error))?;
    match purge.version {
        VERSION => Ok(Some(purge)),
        version => {
            Err(fault("read", &path, &format!("it has version {version}, and this program reads {VERSION}")))
        }
    }
}

fn fault(action: &'static str, path: &Path, message: &dyn std::fmt::Display) -> PurgeError {
    PurgeError::List { action, path: path.to_owned(), message: message.to_string() }
}

/// The right to delete from a cache: one process has it at a time, a purge or `pipe cache gc`.
#[derive(Debug)]
pub struct Deleting<'s> {
    store: &'s Store,
    _lease: Lease,
}

impl<'s> Deleting<'s> {
    /// Takes it.
    ///
    /// # Errors
    /// If another process has it, or nothing can be written to the cache.
    pub fn begin(store: &'s Store) -> Result<Self, PurgeError> {
        match store.acquire(&Digest::derive("pipe garbage v1", b""))? {
            Acquire::Held(lease) => Ok(Self { store, _lease: lease }),
            Acquire::Busy(holder) => Err(PurgeError::Busy(holder.to_string())),
        }
    }
}

/// What a purge deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Objects that were there.
    pub objects: u64,
    /// Folders of checkpoints that were there.
    pub folders: u64,
    /// A run that began meanwhile: it may have made copies again.
    pub began: Option<String>,
    /// What an interrupted process left, and could not be removed.
    pub failed: Vec<String>,
}

impl Purge {
    /// Deletes everything.
    ///
    /// # Errors
    /// If a run is active or something cannot be deleted. What is left then is deleted by the next call with this list, or
    /// the one that [`unfinished`] reads.
    pub fn carry_out(&self, deleting: &Deleting<'_>) -> Result<Deleted, PurgeError> {
        let store = deleting.store;
        check_idle(store)?;
        self.note(store)?;
        // What an earlier purge had moved away is still there if it was killed.
        let failed = store.sweep()?.failed.iter().map(ToString::to_string).collect();
        let ever = SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
        let mut trash = store.trash()?;
        let mut objects = 0;
        for digest in &self.objects {
            objects += u64::from(trash.take(EntryKind::Object, digest, ever)?);
        }
        for key in &self.records {
            trash.take(EntryKind::Record, key, ever)?;
        }
        let mut folders = 0;
        for key in &self.checkpoints {
            folders += u64::from(store.remove_durable(key)?);
        }
        self.remove_trees(store);
        trash.empty();
        let path = list_path(store);
        fs::remove_file(&path).map_err(|error| fault("remove", &path, &error))?;
        let began = match check_idle(store) {
            Err(PurgeError::Running(run)) => Some(run),
            idle => idle.map(|()| None)?,
        };
        Ok(Deleted { objects, folders, began, failed })
    }

    /// Writes the list, so that the next purge can finish this one.
    fn note(&self, store: &Store) -> Result<(), PurgeError> {
        let path = list_path(store);
        let mut all = unfinished(store)?.unwrap_or_default();
        all.version = VERSION;
        all.objects.extend(&self.objects);
        all.records.extend(&self.records);
        all.checkpoints.extend(&self.checkpoints);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(store.root().join("work"))?;
            serde_json::to_writer(&mut file, &all)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| fault("write", &path, &error))
    }

    /// Removes folders of links of which some point to nothing now. They are a convenience.
    fn remove_trees(&self, store: &Store) {
        let trees = fs::read_dir(store.root().join("trees")).into_iter().flatten().flatten();
        for tree in trees.map(|entry| entry.path()) {
            let digest =
                tree.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Digest>().ok());
            let artifact = digest.and_then(|digest| read_artifact(store, &digest));
            if artifact
                .is_some_and(|artifact| artifact.blobs().any(|blob| self.objects.contains(&blob.digest)))
            {
                fs::remove_dir_all(&tree).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_that_was_cut_off_can_be_completed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        let blobs = [b"one", b"two"].map(|bytes| store.put(bytes).unwrap());
        let kept = store.put(b"kept").unwrap();
        let objects = blobs.iter().map(|blob| blob.digest).collect();
        let purge = Purge { version: VERSION, objects, ..Purge::default() };
        purge.note(&store).unwrap();
        let again = unfinished(&store).unwrap().unwrap();
        assert_eq!(again, purge);
        let deleting = Deleting::begin(&store).unwrap();
        assert!(matches!(Deleting::begin(&store), Err(PurgeError::Busy(_))), "one at a time");
        assert_eq!(again.carry_out(&deleting).unwrap(), Deleted { objects: 2, ..Deleted::default() });
        assert!(!blobs.iter().any(|blob| store.holds(blob)) && store.holds(&kept));
        assert_eq!(unfinished(&store).unwrap(), None);
        assert_eq!(again.carry_out(&deleting).unwrap(), Deleted::default(), "it may be run again");
    }

    #[test]
    fn objects_that_nothing_names_go_unless_they_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        let [has, not, unknown] = [b"has", b"not", b"unk"].map(|bytes| store.put(bytes).unwrap());
        let look = |_: &Digest, path: &Path| {
            Ok(match fs::read(path).unwrap().as_slice() {
                b"has" => Content::Has,
                b"not" => Content::HasNot,
                _ => Content::Unknown,
            })
        };
        let survey = survey(&store, &look).unwrap();
        assert_eq!(survey.purge.objects, BTreeSet::from([has.digest, unknown.digest]));
        assert_eq!((survey.with_documents, survey.of_tasks, survey.bytes), (1, 1, 6));
        assert!(!survey.purge.objects.contains(&not.digest));
    }
}
