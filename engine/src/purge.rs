//! Owns: deleting everything that was made of some documents from a cache. It knows no documents: the caller says which
//! objects have them.
//!
//! An object goes if it has a document, or if it was made of one and nothing proves that it has none:
//!
//! - outputs of stages, if the stage read an artifact of which something goes, unless the caller knows that they have none
//!   of the documents, or they consist of metrics;
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
use pipe_cache::{Acquire, EntryKind};
use pipe_stage::{Artifact, Blob, Digest, ShareRecord, Store};
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
    let content = |digest: &Digest| contents.get(digest).copied().unwrap_or(Content::HasNot);
    let mut gone: HashSet<Digest> =
        contents.iter().filter(|(_, content)| **content == Content::Has).map(|(digest, _)| *digest).collect();
    survey.with_documents = gone.len() as u64;
    // Artifacts of which something goes: those with such objects, and what was made of them.
    let mut tainted: HashSet<Digest> = HashSet::new();
    let taints = |artifact: &Artifact, gone: &HashSet<Digest>| {
        artifact.blobs().any(|blob| gone.contains(&blob.digest))
    };
    loop {
        let before = (gone.len(), tainted.len());
        for (digest, artifact) in &records.artifacts {
            if taints(artifact, &gone) {
                tainted.insert(*digest);
            }
            // What a view says about the rows of a file goes with the file.
            for entry in &artifact.entries {
                if gone.contains(&entry.content.blob.digest) {
                    gone.extend(entry.content.blobs().map(|blob| blob.digest));
                }
            }
        }
        for (_, record) in &records.stages {
            if !record.inputs.values().flatten().any(|input| tainted.contains(&input.digest)) {
                continue;
            }
            for artifact in record.outputs.values().filter_map(|digest| records.artifacts.get(digest)) {
                if artifact.kind == METRICS {
                    continue;
                }
                let unknown = artifact.entries.iter().map(|entry| &entry.content.blob.digest);
                gone.extend(unknown.filter(|digest| content(digest) == Content::Unknown));
            }
        }
        if (gone.len(), tainted.len()) == before {
            break;
        }
    }
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
    for (key, record) in &records.stages {
        let goes = |(_, digest): &(&String, &Digest)| {
            records.artifacts.get(*digest).is_some_and(|artifact| taints(artifact, &gone))
        };
        let outputs = record.outputs.iter().filter(goes);
        let outputs: BTreeMap<String, String> =
            outputs.map(|(port, digest)| (port.clone(), records.artifacts[digest].kind.clone())).collect();
        if !outputs.is_empty() {
            let (uses, finished) = (record.uses.clone(), record.finished.clone());
            let names = names.get(key).cloned().unwrap_or_default();
            survey.stages.push(Affected { key: *key, uses, finished, outputs, names });
        }
    }
    let of_gone = |(_, objects): &&(Digest, Vec<Digest>)| objects.iter().any(|digest| gone.contains(digest));
    survey.purge.records = records.tasks.iter().filter(of_gone).map(|(key, _)| *key).collect();
    survey.purge.objects = gone.into_iter().collect();
    survey.purge.version = VERSION;
    Ok(survey)
}

/// Kind of artifacts that have figures only.
const METRICS: &str = "metrics";

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

impl Purge {
    /// Deletes everything; returns the number of objects and checkpoint folders that were there.
    ///
    /// # Errors
    /// If a run is active or another process deletes. What is left then is deleted by the next call with this list, or
    /// the one that [`unfinished`] reads.
    pub fn carry_out(&self, store: &Store) -> Result<(u64, u64), PurgeError> {
        let lease = match store.acquire(&Digest::derive("pipe garbage v1", b""))? {
            Acquire::Held(lease) => lease,
            Acquire::Busy(holder) => return Err(PurgeError::Busy(holder.to_string())),
        };
        check_idle(store)?;
        // What an earlier purge had moved away is still there if it was killed.
        drop(store.sweep()?);
        self.note(store)?;
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
        drop(lease);
        Ok((objects, folders))
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
        assert_eq!(again.carry_out(&store).unwrap(), (2, 0));
        assert!(!blobs.iter().any(|blob| store.holds(blob)) && store.holds(&kept));
        assert_eq!(unfinished(&store).unwrap(), None);
        assert_eq!(again.carry_out(&store).unwrap(), (0, 0), "it may be run again");
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
