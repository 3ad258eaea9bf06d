//! Owns: a run's folder, as the run writes it and as others read it, later or from another process: what the run
//! consists of, whether it is still running, how it ended. It does not depend on how stages run.
//!
//! ```text
//! runs/ID/                 ID is the time of its beginning and a random number
//!   run.json               what the run consists of, and its process          (`Head`, version 1)
//!   manifest/NAME          the texts of the manifest as they were run
//!   STAGE.spec.json        the spec of its worker
//!   STAGE.log              its log, with a line between two attempts
//!   events.jsonl           events, one per line                              (see `seen`)
//!   summary.json           the final table
//!   stages.json            how it ended, stage by stage; absent until then   (`Closed`, version 1)
//!   pinned                 the garbage collector keeps the results and inputs of this run
//! ```
//!
//! While a run is active, its engine holds the lease of a key that is made from the run's ID. So the rule of leases
//! shows from anywhere whether the engine is alive.

use super::{
    event::{Row, RowOutcome},
    log::Logs,
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

/// Describes a run. Written when it begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// Revision of this format: 1.
    pub version: u32,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The manifest, as an absolute path.
    pub manifest: PathBuf,
    /// The lock file next to it.
    pub lock: PathBuf,
    /// The project root.
    pub root: PathBuf,
    /// The engine's process, in the text form of [`Owner`].
    pub owner: String,
    /// The host name.
    pub host: String,
    /// The engine's process id.
    pub pid: u32,
    /// Version of `pipe`.
    pub code: String,
    /// When it began, in RFC 3339 with milliseconds.
    pub began: String,
    /// The stages that it may run, in running order.
    pub stages: Vec<HeadStage>,
}

/// A stage in the DAG of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadStage {
    /// Its name.
    pub name: String,
    /// Its type.
    pub uses: String,
    /// Its dependencies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<HeadNeed>,
}

/// An artifact that a stage depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadNeed {
    /// The stage that produces it.
    pub stage: String,
    /// Name of the output.
    pub output: String,
    /// The input that takes it.
    pub input: String,
}

/// How a run ended. A run without this is running, or was killed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Closed {
    /// Revision of this format: 1.
    pub version: u32,
    /// When it ended, in RFC 3339 with milliseconds.
    pub ended: String,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// By stage name.
    pub stages: BTreeMap<String, ClosedStage>,
    /// What the manifest expects of metrics and does not hold, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
}

/// The outcome of a stage, with everything worth comparing; it is kept longer than its record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClosedStage {
    /// Its outcome.
    pub outcome: RowOutcome,
    /// The result, if the stage is done.
    #[serde(flatten)]
    pub made: Option<StageResult>,
}

/// The result of a stage.
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
    /// Its metrics.
    pub metrics: Vec<Metric>,
    /// Seconds of wall time when it was computed.
    pub seconds: f64,
    /// Peak memory in bytes when it was computed.
    pub memory_peak: u64,
    /// Size of its outputs in bytes.
    pub output_bytes: u64,
    /// Instruction sets that its kernels used.
    pub instruction_sets: Vec<String>,
}

impl StageResult {
    /// Takes what is worth comparing from a record.
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

    /// The metrics for which higher or lower is better; if there are none, the first that does not depend on a clock.
    pub fn main_metrics(&self) -> Vec<&Metric> {
        let lasting = || self.metrics.iter().filter(|metric| !metric.clock);
        let judging: Vec<_> =
            lasting().filter(|metric| metric.better != pipe_stage::Better::Neutral).collect();
        if judging.is_empty() { lasting().take(1).collect() } else { judging }
    }
}

/// The folder of the current run.
pub(super) struct RunWriter {
    /// Its path.
    pub(super) folder: PathBuf,
    /// Logs of its stages.
    pub(super) logs: Logs,
    /// Shows others that the run is active.
    _lease: Lease,
}

/// The key of a run's lease.
fn run_key(id: &str) -> Digest {
    Digest::derive("pipe run v1", id.as_bytes())
}

/// Creates a folder with a unique name, across hosts and containers.
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
    /// Creates the folder, and writes the manifest and the head.
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
            // Written last and in one step: it makes the folder a run for other processes.
            write_whole(&folder.join("run.json"), &head(session, stages))
        };
        write().map_err(|error| Error::io("write", &folder, &error))?;
        Ok(Self { folder, logs: Logs::default(), _lease: lease })
    }

    /// Writes a stage's spec, and begins an attempt in its log; returns the paths of both.
    pub(super) fn spec(
        &mut self,
        stage: &str,
        spec: &Spec,
        heading: &str,
    ) -> Result<(PathBuf, PathBuf), Error> {
        let (path, log) = (spec_path(&self.folder, stage), self.log(stage));
        write_whole(&path, spec).map_err(|error| Error::io("write", &path, &error))?;
        self.logs.begin(&log, heading)?;
        Ok((path, log))
    }

    /// Path of a stage's log.
    pub(super) fn log(&self, stage: &str) -> PathBuf {
        self.folder.join(format!("{stage}.log"))
    }

    /// Writes the final table and the outcome of each stage. Errors are ignored: a full disk must not make a
    /// successful run fail.
    pub(super) fn close(&self, rows: &[Row], closed: &Closed) {
        let text = serde_json::to_vec_pretty(rows).expect("invariant: a table is plain data");
        let _ = fs::write(self.folder.join("summary.json"), text);
        let _ = write_whole(&self.folder.join("stages.json"), closed);
    }
}

fn spec_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("{stage}.spec.json"))
}

/// The head of a run of these stages, which are given in running order.
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

/// Writes a file that others may read at any time: they see all of it, or nothing.
fn write_whole(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).expect("invariant: what is written is plain data");
    let half = path.with_extension("half");
    fs::write(&half, text)?;
    fs::rename(&half, path)
}

/// Whether a run is active, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its engine is running.
    Running,
    /// Every stage is up to date.
    Done,
    /// A stage failed.
    Failed,
    /// Every stage is up to date, and a metric is not as the manifest expects.
    OutOfBounds,
    /// It was interrupted.
    Interrupted,
    /// Its engine is gone without closing the run.
    BrokenOff,
}

impl RunState {
    /// Text for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::OutOfBounds => "out of bounds",
            Self::Interrupted => "interrupted",
            Self::BrokenOff => "killed",
        }
    }
}

/// The folder of a run, past or current.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// Name of the folder.
    pub id: String,
    /// Its path.
    pub path: PathBuf,
    /// Describes the run.
    pub head: Head,
}

/// Maximum size of a text in a run's folder; a larger file is refused.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Why a run's folder cannot be read. This is never treated as a missing run: the garbage collector would delete what
/// it needs.
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
    /// It was written by a newer program.
    #[error("`{}` has version {found}, but this program reads version 1", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// Its content does not match its name.
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
            Self::Damaged { .. } => "remove its folder: a run's folder is only a log, so no result is lost",
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
            // Files other than folders (`.DS_Store`) are ignored.
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
            // A folder that is being created has no head yet.
            let head = read_json::<Head>(&path.join("run.json"))?;
            runs.extend(head.map(|head| Self { id, path, head }));
        }
        runs.sort_by(|a, b| (&a.head.began, &a.id).cmp(&(&b.head.began, &b.id)));
        Ok(runs)
    }

    /// How it ended, stage by stage; none for a run that is active or was killed.
    pub fn closed(&self) -> Result<Option<Closed>, RunFolderError> {
        read_json::<Closed>(&self.path.join("stages.json"))
    }

    /// Whether it is active, or how it ended. Its engine is running as long as the run's lease is held.
    pub fn state(&self, store: &Store) -> Result<RunState, RunFolderError> {
        let ended = |closed: Closed| {
            let failed = closed.stages.values().any(|stage| stage.outcome == RowOutcome::Failed);
            match (failed, closed.interrupted) {
                (true, _) => RunState::Failed,
                (false, true) => RunState::Interrupted,
                (false, false) if !closed.unmet.is_empty() => RunState::OutOfBounds,
                (false, false) => RunState::Done,
            }
        };
        if let Some(closed) = self.closed()? {
            return Ok(ended(closed));
        }
        if store.holder(&run_key(&self.id))?.is_some() {
            return Ok(RunState::Running);
        }
        // It may have been closed between the two checks.
        Ok(self.closed()?.map_or(RunState::BrokenOff, ended))
    }

    /// When it ended; if it was killed, when it began.
    pub fn touched(&self) -> Option<std::time::SystemTime> {
        let written =
            |name: &str| fs::metadata(self.path.join(name)).and_then(|metadata| metadata.modified());
        written("stages.json").or_else(|_| written("run.json")).ok()
    }

    /// Path of its events.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// Path of a stage's log, whether or not it exists.
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

    /// Pins or unpins it; returns whether that changed anything.
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
    /// Pinned.
    Yes,
    /// Not pinned.
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
        return Err(damaged("it is not a regular file, or it is too large".to_owned()));
    }
    let text = match fs::read(path) {
        // Removed in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(unreadable)?,
    };
    match serde_json::from_slice::<Version>(&text).map_err(|error| damaged(error.to_string()))?.version {
        1 => serde_json::from_slice(&text).map(Some).map_err(|error| damaged(error.to_string())),
        found => Err(RunFolderError::Newer { path: path.to_owned(), found }),
    }
}

/// The current time in the format of heads and ends.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Seconds from one such time to another; 0 if either is invalid.
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
        let closed = Closed {
            version: 1,
            ended: now(),
            interrupted: true,
            stages: BTreeMap::new(),
            unmet: Vec::new(),
        };
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
