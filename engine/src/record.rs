//! Owns: what the engine keeps of a stage that ran, by its key. Knows not how it ran.
//!
//! ```text
//! records/KEY      this, as JSON         journal/PIPELINE/STAGE.jsonl    one `Visit` a line, newest last
//! ```

use pipe_stage::{Artifact, Blob, Digest, Metric, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// What a key led to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Revision of this format: 1.
    pub version: u32,
    /// Stage type.
    pub uses: String,
    /// Its revision.
    pub revision: u32,
    /// Digest of the program that held the type, where the key has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Digest>,
    /// The config without its defaults: what is in the key.
    pub config: Value,
    /// Artifacts that were read, by port.
    pub inputs: BTreeMap<String, Vec<RecordedInput>>,
    /// Source files that were read: lines of digest, source and name, apart by tabs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Blob>,
    /// Artifacts that were made, by port.
    pub outputs: BTreeMap<String, Digest>,
    /// Figures.
    pub metrics: Vec<Metric>,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Seconds of processor time, of the stage's process and those that it waited for.
    pub cpu_seconds: f64,
    /// Bytes of memory at its peak.
    pub memory_peak: u64,
    /// Bytes of what it made.
    pub output_bytes: u64,
    /// What it wrote to stdout and stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Blob>,
    /// Where it ran.
    pub machine: Machine,
    /// What it was granted of that machine; unknown in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// What the kernels of its shares ran on.
    pub instruction_sets: Vec<String>,
    /// Version of `pipe`.
    pub code: String,
    /// When it ended, RFC 3339.
    pub finished: String,
}

/// An artifact at an input port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInput {
    /// Key of a map in `needs`; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The artifact.
    pub digest: Digest,
}

/// A machine, as far as it explains figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// `linux x86_64`.
    pub system: String,
    /// Cores that the engine may use.
    pub cpus: usize,
    /// Bytes of memory that the engine may use.
    pub memory: u64,
}

/// What a stage was granted while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// Cores.
    pub cpus: usize,
    /// Bytes of memory; 0 if it asked for none.
    pub memory: u64,
    /// GPUs.
    pub gpus: usize,
}

impl Record {
    /// Reads the record of a key; one of another format counts as none.
    ///
    /// # Errors
    /// Where a newer program wrote it: taken for none it would be made again, and retired.
    pub fn read(store: &Store, key: &Digest) -> Result<Option<Self>, pipe_cache::Error> {
        let Some(bytes) = store.record(key)? else { return Ok(None) };
        Self::parse(&bytes).map_err(|found| pipe_cache::Error::Newer {
            path: store.record_path(key),
            found,
            known: 1,
        })
    }

    /// Reads the body of a stage's record; that of a share or step is none. The error is the version of a newer one.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, u32> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
            /// What records of shares and steps lack.
            #[serde(rename = "uses")]
            _uses: String,
        }
        match serde_json::from_slice::<Head>(body) {
            Ok(head) if head.version > 1 => Err(head.version),
            Ok(_) => Ok(serde_json::from_slice(body).ok()),
            Err(_) => Ok(None),
        }
    }

    /// The bytes that are stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: a record is plain data")
    }

    /// Reads an artifact that this record names; `None` if it is gone or damaged.
    pub fn output(&self, store: &Store, port: &str) -> Option<Artifact> {
        read_artifact(store, self.outputs.get(port)?)
    }

    /// Whether everything that was made is there, by size and stamp.
    pub fn is_held(&self, store: &Store) -> bool {
        let held = |digest| {
            read_artifact(store, digest)
                .is_some_and(|artifact| artifact.blobs().all(|blob| store.holds(blob)))
        };
        self.outputs.values().all(held)
    }

    /// The figure that stands for the stage: the first that no clock made.
    pub fn main_metric(&self) -> Option<&Metric> {
        self.metrics.iter().find(|metric| !metric.clock)
    }
}

/// Reads an artifact by its digest.
pub fn read_artifact(store: &Store, digest: &Digest) -> Option<Artifact> {
    store.artifact(digest).ok().and_then(|bytes| Artifact::from_bytes(&bytes))
}

/// One run of a stage of a pipeline: what later plans compare with and estimate from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Visit {
    /// What ran.
    pub key: Digest,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Bytes of memory at its peak.
    pub memory_peak: u64,
    /// Bytes of what it made.
    pub output_bytes: u64,
    /// Shares that were done, of those that there were.
    pub shares: (u64, u64),
    /// What time, size and memory were proportional to.
    #[serde(default)]
    pub amounts: Amounts,
}

/// What a stage's time, size and memory are proportional to, each in a measure of the stage's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Amounts {
    /// See `Stage::work`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<f64>,
    /// See `Stage::output_amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    /// See `Stage::memory_amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

/// What is read of the end of a journal.
const TAIL_BYTES: u64 = 32 << 10;

/// Cuts off the beginning of a stage's journal that nobody reads; returns the bytes that went.
///
/// A line that another process adds meanwhile may get lost, which costs estimates only.
pub(crate) fn shorten(journal: &Path) -> io::Result<u64> {
    let length = fs::metadata(journal)?.len();
    if length <= 2 * TAIL_BYTES {
        return Ok(0);
    }
    let mut file = fs::File::open(journal)?;
    // One byte more, so that a line that begins at the border counts as whole.
    file.seek(SeekFrom::Start(length - TAIL_BYTES - 1))?;
    let mut tail = Vec::new();
    file.take(2 * TAIL_BYTES).read_to_end(&mut tail)?;
    let begin = tail.iter().position(|byte| *byte == b'\n').map_or(0, |line| line + 1);
    let folder = journal.parent().unwrap_or(Path::new("."));
    let mut fresh =
        tempfile::Builder::new().permissions(fs::metadata(journal)?.permissions()).tempfile_in(folder)?;
    fresh.write_all(&tail[begin..])?;
    fresh.persist(journal)?;
    Ok(length - (tail.len() - begin) as u64)
}

/// The runs of each stage, oldest first.
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// The journal of a pipeline; makes nothing.
    pub fn new(cache: &Path, pipeline: &str) -> Self {
        Self { folder: cache.join("journal").join(pipeline) }
    }

    /// Whether nothing has run.
    pub fn is_empty(&self) -> bool {
        !self.folder.is_dir()
    }

    /// Reads the last visits of a stage. Lines that do not parse, such as one cut by a crash, are passed over.
    pub fn visits(&self, stage: &str) -> Vec<Visit> {
        let read = || -> io::Result<String> {
            let mut file = fs::File::open(self.path(stage))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Adds a visit; a journal that cannot be written costs estimates only.
    pub fn add(&self, stage: &str, visit: &Visit) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let line = serde_json::to_string(visit).expect("invariant: a visit is plain data");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(stage))?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    fn path(&self, stage: &str) -> PathBuf {
        self.folder.join(format!("{}.jsonl", stage.replace('/', "%2F")))
    }
}
