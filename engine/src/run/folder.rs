//! Owns: a run's folder, as the run writes it and as others read it, later or from another process: what it is a run
//! of, whether it still goes on, how it ended. Knows not how stages run.
//!
//! ```text
//! runs/ID/                 ID is the time of its beginning and the engine's process id
//!   run.json               what it is a run of, and which process it is    (`Head`, version 1)
//!   manifest/NAME          the texts as they were run
//!   STAGE.spec.json        what its worker was told
//!   STAGE.log              what it wrote
//!   events.jsonl           what happened, a line an event                  (see `seen`)
//!   summary.json           the closing table
//!   stages.json            how it ended, stage by stage; absent until then (`Closed`, version 1)
//!   pinned                 the garbage collector keeps what this run made and used
//! ```

use super::{
    event::{Row, RowOutcome},
    spec::Spec,
};
use crate::{machine, plan::Session};
use pipe_cache::{Fate, Owner};
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

/// The folder of a run.
pub(super) struct Run {
    /// Where it is.
    pub(super) folder: PathBuf,
}

impl Run {
    /// Makes the folder and puts the manifest there, and what it is a run of.
    pub(super) fn new(session: &Session, stages: &[usize]) -> Result<Self, Error> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let folder = session.store.root().join("runs").join(format!("{now}-{}", std::process::id()));
        let texts = folder.join("manifest");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&texts)?;
            for (position, (name, text)) in session.manifest.texts().enumerate() {
                let name = Path::new(name).file_name().map_or("text".into(), |name| name.to_string_lossy());
                fs::write(texts.join(format!("{position}-{name}")), text)?;
            }
            // Last, and whole: with it the folder is a run for those who look on.
            write_whole(&folder.join("run.json"), &head(session, stages))
        };
        write().map_err(|error| Error::io("write", &folder, &error))?;
        Ok(Self { folder })
    }

    /// Writes a stage's spec; returns where it is, and where its log goes.
    pub(super) fn spec(&self, stage: &str, spec: &Spec) -> Result<(PathBuf, PathBuf), Error> {
        let path = self.folder.join(format!("{stage}.spec.json"));
        let text = serde_json::to_vec(spec).expect("invariant: a spec is plain data");
        fs::write(&path, text).map_err(|error| Error::io("write", &path, &error))?;
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
            Self::BrokenOff => "broken off",
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

impl RunFolder {
    /// Lists the runs in a cache, oldest first; folders of another format are passed over.
    pub fn all(cache: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(cache.join("runs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let id = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let head = read_json::<Head>(&path.join("run.json")).filter(|head| head.version == 1);
            runs.extend(head.map(|head| Self { id, path, head }));
        }
        runs.sort_by(|a, b| (&a.head.began, &a.id).cmp(&(&b.head.began, &b.id)));
        Ok(runs)
    }

    /// How it ended, stage by stage; nothing for a run that goes on or was broken off.
    pub fn closed(&self) -> Option<Closed> {
        read_json::<Closed>(&self.path.join("stages.json")).filter(|closed| closed.version == 1)
    }

    /// Whether it goes on, or how it ended.
    ///
    /// The engine's process is looked for. Of one that cannot be seen from here, on another machine or in a
    /// container, the leases tell, since a run holds one for each stage that it has at work.
    pub fn state(&self, store: &Store) -> RunState {
        if let Some(closed) = self.closed() {
            let failed = closed.stages.values().any(|stage| stage.outcome == RowOutcome::Failed);
            return match (failed, closed.interrupted) {
                (true, _) => RunState::Failed,
                (false, true) => RunState::Interrupted,
                (false, false) => RunState::Done,
            };
        }
        let holds = || {
            let leases = store.leases().unwrap_or_default();
            leases.iter().any(|(_, holder)| holder.pid == self.head.pid && holder.host == self.head.host)
        };
        let alive = match self.fate() {
            Fate::Alive => true,
            Fate::Gone => false,
            Fate::Unknown => holds(),
        };
        // It may have closed between the two looks.
        match (alive, alive || self.closed().is_none()) {
            (true, _) => RunState::Running,
            (false, true) => RunState::BrokenOff,
            (false, false) => self.state(store),
        }
    }

    /// Whether its engine's process is there.
    pub fn fate(&self) -> Fate {
        self.head.owner.parse::<Owner>().map_or(Fate::Unknown, |owner| owner.fate())
    }

    /// Where its events are.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// Where a stage's log is, whether it is there or not.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.path.join(format!("{stage}.log"))
    }

    /// Whether the garbage collector keeps what it made and used.
    pub fn is_pinned(&self) -> bool {
        self.path.join("pinned").exists()
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

/// Reads a file that is small and plain; anything else counts as absent.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > TEXT_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
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
