//! Owns: a run's folder, as the run writes it and as others read it, later or from another process: what it is a run
//! of, whether it still goes on, how it ended. Knows not how stages run.
//!
//! ```text
//! runs/ID/                 ID is the time of its beginning and a random number
//!   run.json               what it is a run of, and which process it is    (`Head`, version 1)
//!   manifest/NAME          the texts as they were run
//!   STAGE.spec.json        what its worker was told
//!   STAGE.log              what it wrote
//!   events.jsonl           what happened, a line an event                  (see `seen`)
//!   summary.json           the closing table
//!   stages.json            how it ended, stage by stage; absent until then (`Closed`, version 1)
//!   pinned                 the garbage collector keeps what this run made and used
//! ```
//!
//! While a run goes on its engine holds the lease of a key that is made of the run's ID. So whoever looks on, from
//! wherever, judges by the rule of leases whether the engine is alive.

use super::{
    event::{Row, RowOutcome},
    spec::Spec,
};
use crate::{machine, plan::Session};
use pipe_cache::{Acquire, Lease, Owner};
use pipe_stage::{Digest, Error, Metric, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What a run is of. Written when it begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// Revision of this format: 1.
    pub version: u32,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The manifest, as an absolute path.
    pub manifest: PathBuf,
    /// The lock file beside it.
    pub lock: PathBuf,
    /// The project's root.
    pub root: PathBuf,
    /// The engine's process, as [`Owner`] writes it.
    pub owner: String,
    /// The machine's name.
    pub host: String,
    /// The engine's process number there.
    pub pid: u32,
    /// Version of `pipe`.
    pub code: String,
    /// When it began, RFC 3339 with milliseconds.
    pub began: String,
    /// The stages that it may run, in running order.
    pub stages: Vec<HeadStage>,
}

/// A stage of the run's DAG.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadStage {
    /// Its name.
    pub name: String,
    /// Its type.
    pub uses: String,
    /// What flows into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<HeadNeed>,
}

/// One artifact that flows into a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadNeed {
    /// Of which stage.
    pub stage: String,
    /// Which of its outputs.
    pub output: String,
    /// Into which input.
    pub input: String,
}

/// How a run ended. A run without this goes on, or was broken off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Closed {
    /// Revision of this format: 1.
    pub version: u32,
    /// When, RFC 3339 with milliseconds.
    pub ended: String,
    /// Whether somebody stopped it.
    pub interrupted: bool,
    /// By stage name.
    pub stages: BTreeMap<String, ClosedStage>,
}

/// What became of a stage, with all that is worth comparing: this outlives its record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClosedStage {
    /// What became of it.
    pub outcome: RowOutcome,
    /// The rest, for a stage that is done.
    #[serde(flatten)]
    pub made: Option<StageResult>,
}

/// What a stage came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageResult {
    /// Its key.
    pub key: Digest,
    /// Stage type.
    pub uses: String,
    /// The config without defaults.
    pub config: Value,
    /// Artifacts by output port.
    pub outputs: BTreeMap<String, Digest>,
    /// The listing of its source files, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Digest>,
    /// Figures.
    pub metrics: Vec<Metric>,
    /// Seconds of wall time, when it was made.
    pub seconds: f64,
    /// Bytes of memory at its peak, when it was made.
    pub memory_peak: u64,
    /// Bytes of what it made.
    pub output_bytes: u64,
    /// What the kernels ran on.
    pub instruction_sets: Vec<String>,
}

impl StageResult {
    /// Keeps of a record what is worth comparing.
    pub fn new(key: Digest, record: &crate::record::Record) -> Self {
        Self {
            key,
            uses: record.uses.clone(),
            config: record.config.clone(),
            outputs: record.outputs.clone(),
            sources: record.sources.as_ref().map(|blob| blob.digest),
            metrics: record.metrics.clone(),
            seconds: record.seconds,
            memory_peak: record.memory_peak,
            output_bytes: record.output_bytes,
            instruction_sets: record.instruction_sets.clone(),
        }
    }

    /// The figures that say how good it is; where none does, the first that no clock made.
    pub fn main_metrics(&self) -> Vec<&Metric> {
        let lasting = || self.metrics.iter().filter(|metric| !metric.clock);
        let judging: Vec<_> =
            lasting().filter(|metric| metric.better != pipe_stage::Better::Neutral).collect();
        if judging.is_empty() { lasting().take(1).collect() } else { judging }
    }
}

/// The folder of a run that goes on.
pub(super) struct RunWriter {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// Tells others that the run goes on.
    _lease: Lease,
}

/// What the lease of a run is on.
fn run_key(id: &str) -> Digest {
    Digest::derive("pipe run v1", id.as_bytes())
}

/// Makes a folder that nobody else has, on whatever host or in whatever container, in the same second.
fn create_unique(runs: &Path) -> io::Result<(String, PathBuf)> {
    const TRIES: u32 = 16;
    fs::create_dir_all(runs)?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut tries = 0;
    loop {
        let id = format!("{now}-{:08x}", pipe_cache::unique() as u32);
        let folder = runs.join(&id);
        tries += 1;
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
            made => return made.map(|()| (id, folder)),
        }
    }
}

impl RunWriter {
    /// Makes the folder and puts the manifest there, and what it is a run of.
    pub(super) fn new(session: &Session, stages: &[usize]) -> Result<Self, Error> {
        let runs = session.store.root().join("runs");
        let (id, folder) =
            create_unique(&runs).map_err(|error| Error::io("create a folder in", &runs, &error))?;
        let Acquire::Held(lease) = session.store.acquire(&run_key(&id))? else {
            let message = "another run has its name".to_owned();
            return Err(Error::Machine { action: format!("begin the run {id}"), message });
        };
        let texts = folder.join("manifest");
        let write = || -> io::Result<()> {
            fs::create_dir(&texts)?;
            for (position, (name, text)) in session.manifest.texts().enumerate() {
                let name = Path::new(name).file_name().map_or("text".into(), |name| name.to_string_lossy());
                fs::write(texts.join(format!("{position}-{name}")), text)?;
            }
            // Last, and whole: with it the folder is a run for those who look on.
            write_whole(&folder.join("run.json"), &head(session, stages))
        };
        write().map_err(|error| Error::io("write", &folder, &error))?;
        Ok(Self { folder, _lease: lease })
    }

    /// Writes a stage's spec; returns where it is, and where its log goes.
    pub(super) fn spec(&self, stage: &str, spec: &Spec) -> Result<(PathBuf, PathBuf), Error> {
        let path = spec_path(&self.folder, stage);
        write_whole(&path, spec).map_err(|error| Error::io("write", &path, &error))?;
        Ok((path, self.log(stage)))
    }

    /// Where a stage's log goes.
    pub(super) fn log(&self, stage: &str) -> PathBuf {
        self.folder.join(format!("{stage}.log"))
    }

    /// Writes the closing table, and what became of each stage; a full disk must not turn a good run into a
    /// bad one.
    pub(super) fn close(&self, rows: &[Row], closed: &Closed) {
        let text = serde_json::to_vec_pretty(rows).expect("invariant: a table is plain data");
        let _ = fs::write(self.folder.join("summary.json"), text);
        let _ = write_whole(&self.folder.join("stages.json"), closed);
    }
}

fn spec_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("{stage}.spec.json"))
}

/// What a run of these stages, which come in running order, is a run of.
fn head(session: &Session, stages: &[usize]) -> Head {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let stage = |&stage: &usize| {
        let needs = session.manifest.stages[stage].needs.iter().flat_map(|(input, needs)| {
            needs.iter().map(|need| HeadNeed {
                stage: session.name(need.stage).to_owned(),
                output: need.output.clone(),
                input: input.clone(),
            })
        });
        HeadStage {
            name: session.name(stage).to_owned(),
            uses: session.kind(stage).name.to_owned(),
            needs: needs.collect(),
        }
    };
    Head {
        version: 1,
        pipeline: session.manifest.pipeline.clone(),
        manifest: absolute(&session.project.manifest),
        lock: absolute(&session.project.lock()),
        root: session.project.root.clone(),
        owner: Owner::current().to_string(),
        host: machine::describe().host,
        pid: std::process::id(),
        code: env!("CARGO_PKG_VERSION").to_owned(),
        began: now(),
        stages: stages.iter().map(stage).collect(),
    }
}

/// Writes a file that others may read at any moment: they see all of it, or none.
fn write_whole(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).expect("invariant: what is written is plain data");
    let half = path.with_extension("half");
    fs::write(&half, text)?;
    fs::rename(&half, path)
}

/// Whether a run goes on, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its engine is at work.
    Running,
    /// Every stage is up to date.
    Done,
    /// A stage failed.
    Failed,
    /// Somebody stopped it.
    Interrupted,
    /// Its engine is gone, and left no word.
    BrokenOff,
}

impl RunState {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::BrokenOff => "killed",
        }
    }
}

/// The folder of a run that was, or is.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// Name of the folder.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is a run of.
    pub head: Head,
}

/// Texts of a run's folder are small; one that is larger is none.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Why a run's folder cannot be read. It is never taken for none: the garbage collector would take what it needs.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// The file system failed.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A newer program wrote it.
    #[error("`{}` has version {found}, and this program reads version 1", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// It is not what its name says.
    #[error("`{}` is damaged: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
    /// The leases cannot be read.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
}

impl RunFolderError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "use a newer pipe, or another cache",
            Self::Unreadable { .. } => "make it readable for this user",
            Self::Damaged { .. } => {
                "remove the folder that holds it: a run's folder is a log, and no result is lost with it"
            }
            Self::Cache(_) => "make the cache readable for this user",
        }
    }
}

impl RunFolder {
    /// Lists the runs in a cache, oldest first.
    pub fn all(cache: &Path) -> Result<Vec<Self>, RunFolderError> {
        let runs = cache.join("runs");
        let unreadable = |source| RunFolderError::Unreadable { path: runs.clone(), source };
        let entries = match fs::read_dir(&runs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unreadable)?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            // What is no folder (`.DS_Store`) is not ours.
            let Ok(id) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                // Removed since, perhaps.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RunFolderError::Unreadable { path, source: error });
                }
                _ => continue,
            }
            // One that is being made has no head yet.
            let head = read_json::<Head>(&path.join("run.json"))?;
            runs.extend(head.map(|head| Self { id, path, head }));
        }
        runs.sort_by(|a, b| (&a.head.began, &a.id).cmp(&(&b.head.began, &b.id)));
        Ok(runs)
    }

    /// How it ended, stage by stage; nothing for a run that goes on or was broken off.
    pub fn closed(&self) -> Result<Option<Closed>, RunFolderError> {
        read_json::<Closed>(&self.path.join("stages.json"))
    }

    /// Whether it goes on, or how it ended. Its engine is at work as long as the run's lease is held.
    pub fn state(&self, store: &Store) -> Result<RunState, RunFolderError> {
        let ended = |closed: Closed| {
            let failed = closed.stages.values().any(|stage| stage.outcome == RowOutcome::Failed);
            match (failed, closed.interrupted) {
                (true, _) => RunState::Failed,
                (false, true) => RunState::Interrupted,
                (false, false) => RunState::Done,
            }
        };
        if let Some(closed) = self.closed()? {
            return Ok(ended(closed));
        }
        if store.holder(&run_key(&self.id))?.is_some() {
            return Ok(RunState::Running);
        }
        // It may have closed between the two looks.
        Ok(self.closed()?.map_or(RunState::BrokenOff, ended))
    }

    /// When it ended or, where it was broken off, began.
    pub fn touched(&self) -> Option<std::time::SystemTime> {
        let written =
            |name: &str| fs::metadata(self.path.join(name)).and_then(|metadata| metadata.modified());
        written("stages.json").or_else(|_| written("run.json")).ok()
    }

    /// Where its events are.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// Where a stage's log is, whether it is there or not.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.path.join(format!("{stage}.log"))
    }

    /// What a stage's worker was told; nothing if the stage was not started.
    pub fn spec(&self, stage: &str) -> Result<Option<Spec>, RunFolderError> {
        read_json(&spec_path(&self.path, stage))
    }

    /// Whether a stage was started at all.
    pub fn has_started(&self, stage: &str) -> Result<bool, RunFolderError> {
        let path = spec_path(&self.path, stage);
        path.try_exists().map_err(|source| RunFolderError::Unreadable { path, source })
    }

    /// Whether the garbage collector keeps what it made and used. A pin that cannot be looked at counts.
    pub fn is_pinned(&self) -> bool {
        self.path.join("pinned").try_exists().unwrap_or(true)
    }

    /// Pins it, or takes the pin away; says whether that changed anything.
    pub fn pin(&self, pinned: Pinned) -> io::Result<bool> {
        let before = self.is_pinned();
        let path = self.path.join("pinned");
        match (before, pinned) {
            (false, Pinned::Yes) => fs::write(&path, "")?,
            (true, Pinned::No) => fs::remove_file(&path)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Whether a run is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Reads a file of version 1; `None` if there is none.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, RunFolderError> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let unreadable = |source| RunFolderError::Unreadable { path: path.to_owned(), source };
    let damaged = |message: String| RunFolderError::Damaged { path: path.to_owned(), message };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(unreadable)?,
    };
    if !metadata.is_file() || metadata.len() > TEXT_BYTES_MAX {
        return Err(damaged("it is no file, or a larger one than is ever written".to_owned()));
    }
    let text = match fs::read(path) {
        // Removed since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(unreadable)?,
    };
    match serde_json::from_slice::<Version>(&text).map_err(|error| damaged(error.to_string()))?.version {
        1 => serde_json::from_slice(&text).map(Some).map_err(|error| damaged(error.to_string())),
        found => Err(RunFolderError::Newer { path: path.to_owned(), found }),
    }
}

/// The time of now as heads and ends have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Seconds from one such time to another; 0 where either is none.
pub fn seconds_between(from: &str, to: &str) -> f64 {
    match (from.parse::<jiff::Timestamp>(), to.parse::<jiff::Timestamp>()) {
        (Ok(from), Ok(to)) => (to.as_millisecond() - from.as_millisecond()) as f64 / 1e3,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(store: &Store) -> RunFolder {
        let (id, path) = create_unique(&store.root().join("runs")).unwrap();
        let head = Head {
            version: 1,
            pipeline: "p".into(),
            manifest: "/p.yaml".into(),
            lock: "/p.lock".into(),
            root: "/".into(),
            owner: String::new(),
            host: String::new(),
            pid: 0,
            code: String::new(),
            began: now(),
            stages: Vec::new(),
        };
        write_whole(&path.join("run.json"), &head).unwrap();
        RunFolder { id, path, head }
    }

    #[test]
    fn names_of_runs_are_unique_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let ids: std::collections::BTreeSet<_> =
            (0..1000).map(|_| create_unique(folder.path()).unwrap().0).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn a_run_goes_on_as_long_as_its_lease_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        let run = run(&store);
        assert_eq!(run.state(&store).unwrap(), RunState::BrokenOff);
        let Acquire::Held(lease) = store.acquire(&run_key(&run.id)).unwrap() else { panic!("busy") };
        assert_eq!(run.state(&store).unwrap(), RunState::Running);
        drop(lease);
        let closed = Closed { version: 1, ended: now(), interrupted: true, stages: BTreeMap::new() };
        write_whole(&run.path.join("stages.json"), &closed).unwrap();
        assert_eq!(run.state(&store).unwrap(), RunState::Interrupted);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        let run = run(&store);
        let path = run.path.join("run.json");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(store.root().join("runs/.DS_Store"), "").unwrap();
        fs::create_dir(store.root().join("runs/being-made")).unwrap();
        assert_eq!(RunFolder::all(store.root()).unwrap().len(), 1);
        for (text, told) in
            [(whole.replacen(":1,", ":7,", 1), "version 7"), (whole[..9].to_owned(), "damaged")]
        {
            fs::write(&path, text).unwrap();
            let error = RunFolder::all(store.root()).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}
