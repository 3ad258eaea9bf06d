//! Owns: what the engine stores about a stage that ran, under its key. It does not depend on how stages run.
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

/// The result of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Revision of this format: 1.
    pub version: u32,
    /// Stage type.
    pub uses: String,
    /// Its revision.
    pub revision: u32,
    /// Digest of the program that contained the type, if it is part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Digest>,
    /// The config without defaults, as in the key.
    pub config: Value,
    /// The artifacts that were read, by port.
    pub inputs: BTreeMap<String, Vec<RecordedInput>>,
    /// The source files that were read: lines of digest, source and name, separated by tabs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Blob>,
    /// The artifacts produced, by port.
    pub outputs: BTreeMap<String, Digest>,
    /// Its metrics.
    pub metrics: Vec<Metric>,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Seconds of CPU time of the stage's process and the processes that it waited for.
    pub cpu_seconds: f64,
    /// Peak memory in bytes.
    pub memory_peak: u64,
    /// Size of its outputs in bytes.
    pub output_bytes: u64,
    /// Its output on stdout and stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Blob>,
    /// The machine that it ran on.
    pub machine: Machine,
    /// The resources that it was granted; unknown in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// Instruction sets that the kernels used.
    pub instruction_sets: Vec<String>,
    /// Version of `pipe`.
    pub code: String,
    /// The folder that the outputs were taken from, where nothing ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<String>,
    /// When it ended, in RFC 3339.
    pub finished: String,
}

/// An artifact at an input port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInput {
    /// Its key in the map under `needs`; otherwise empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The artifact.
    pub digest: Digest,
}

/// Properties of a machine that explain metrics and times.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// `linux x86_64`.
    pub system: String,
    /// Number of cores that the engine may use.
    pub cpus: usize,
    /// Bytes of memory that the engine may use.
    pub memory: u64,
}

/// The resources that a stage was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// Number of cores.
    pub cpus: usize,
    /// Bytes of memory; 0 if it did not request any.
    pub memory: u64,
    /// Number of GPUs.
    pub gpus: usize,
}

impl Record {
    /// Revision of the format: 1 is the first.
    pub(crate) const VERSION: u32 = 1;

    /// Reads the record of a key; a record of another format counts as absent.
    ///
    /// # Errors
    /// If a newer program wrote it: treated as absent it would be computed again, and retired.
    pub fn read(store: &Store, key: &Digest) -> Result<Option<Self>, pipe_cache::Error> {
        let Some(bytes) = store.record(key)? else { return Ok(None) };
        Self::parse(&bytes).map_err(|found| pipe_cache::Error::Newer {
            path: store.record_path(key),
            found,
            known: Self::VERSION,
        })
    }

    /// Parses the body of a stage's record; records of shares and steps give `None`. The error is the version of a
    /// newer record.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, u32> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
            /// Missing in records of shares and steps.
            #[serde(rename = "uses")]
            _uses: String,
        }
        match serde_json::from_slice::<Head>(body) {
            Ok(head) if head.version > Self::VERSION => Err(head.version),
            Ok(_) => Ok(serde_json::from_slice(body).ok()),
            Err(_) => Ok(None),
        }
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: a record is plain data")
    }

    /// Reads an artifact of this record; `None` if it is missing or damaged.
    pub fn output(&self, store: &Store, port: &str) -> Option<Artifact> {
        read_artifact(store, self.outputs.get(port)?)
    }

    /// Whether all outputs exist, by size and time stamp.
    pub fn is_held(&self, store: &Store) -> bool {
        let held = |digest| {
            read_artifact(store, digest)
                .is_some_and(|artifact| artifact.blobs().all(|blob| store.holds(blob)))
        };
        self.outputs.values().all(held)
    }

    /// The main metric of the stage: the first that does not depend on a clock.
    pub fn main_metric(&self) -> Option<&Metric> {
        self.metrics.iter().find(|metric| !metric.clock)
    }
}

/// Reads an artifact by its digest.
pub fn read_artifact(store: &Store, digest: &Digest) -> Option<Artifact> {
    store.artifact(digest).ok().and_then(|bytes| Artifact::from_bytes(&bytes))
}

/// One run of a stage of a pipeline, for comparisons and estimates of later plans.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Visit {
    /// Revision of this format: [`Visit::VERSION`].
    pub version: u32,
    /// Key of the stage.
    pub key: Digest,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Peak memory in bytes.
    pub memory_peak: u64,
    /// Size of its outputs in bytes.
    pub output_bytes: u64,
    /// Tasks that were done, of those that there were.
    pub tasks: (u64, u64),
    /// Whether the result was taken from a folder, so that nothing ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
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

impl Visit {
    /// Revision of the format.
    ///
    /// - 1, which no line says: the first.
    /// - 2: `tasks`, where it was `shares`.
    pub const VERSION: u32 = 2;
}

/// Why the journal of a stage cannot be used. It is never taken for empty.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system failed.
    #[error("cannot {action} the journal `{}`: {source}", path.display())]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was written by a newer program.
    #[error(
        "the journal `{}` has lines of version {found}, and this program reads versions up to {}",
        path.display(),
        Visit::VERSION
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version.
        found: u64,
    },
    /// Nothing in it is a line of a journal.
    #[error("the journal `{}` is damaged: none of its lines can be read: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with the last one.
        message: String,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => "make it readable and writable for this user",
            Self::Newer { .. } => "use a newer pipe, or another cache",
            Self::Damaged { .. } => "delete the file: only estimates of later plans are lost with it",
        }
    }
}

/// Number of bytes to read from the end of a journal.
const TAIL_BYTES: u64 = 32 << 10;

/// Removes the part of a stage's journal that is never read; returns the number of bytes removed.
///
/// A line that another process adds at the same time may be lost, which affects only estimates.
pub(crate) fn shorten(journal: &Path) -> io::Result<u64> {
    let length = fs::metadata(journal)?.len();
    if length <= 2 * TAIL_BYTES {
        return Ok(0);
    }
    let mut file = fs::File::open(journal)?;
    // One byte more, so that a line that begins at the boundary counts as complete.
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
    /// The journal of a pipeline; does not create it.
    pub fn new(cache: &Path, pipeline: &str) -> Self {
        Self { folder: cache.join("journal").join(pipeline) }
    }

    /// Whether nothing has run.
    pub fn is_empty(&self) -> bool {
        // What is there and cannot be read is not empty.
        fs::symlink_metadata(&self.folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Reads the last visits of a stage. Lines of an older version are passed over, and lines that do not parse, such as
    /// one cut by a crash, as long as there is one that does.
    pub fn visits(&self, stage: &str) -> Result<Vec<Visit>, JournalError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            version: u64,
        }
        let path = self.path(stage);
        let unreadable = |source| JournalError::Io { action: "read", path: path.clone(), source };
        let mut file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(unreadable)?,
        };
        let mut read = || -> io::Result<(bool, Vec<u8>)> {
            let cut = file.metadata()?.len().saturating_sub(TAIL_BYTES);
            file.seek(SeekFrom::Start(cut))?;
            let mut bytes = Vec::new();
            Read::take(&mut file, TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok((cut > 0, bytes))
        };
        let (is_cut, bytes) = read().map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes);
        let (mut visits, mut understood, mut damage) = (Vec::new(), false, None);
        for line in text.lines().skip(usize::from(is_cut)) {
            match serde_json::from_str::<Head>(line) {
                Ok(head) if head.version > u64::from(Visit::VERSION) => {
                    return Err(JournalError::Newer { path, found: head.version });
                }
                Ok(head) if head.version < u64::from(Visit::VERSION) => understood = true,
                _ => match serde_json::from_str(line) {
                    Ok(visit) => visits.push(visit),
                    Err(error) => damage = Some(error.to_string()),
                },
            }
        }
        match damage {
            Some(message) if visits.is_empty() && !understood => Err(JournalError::Damaged { path, message }),
            _ => Ok(visits),
        }
    }

    /// Adds a visit.
    pub fn add(&self, stage: &str, visit: &Visit) -> Result<(), JournalError> {
        let path = self.path(stage);
        let line = serde_json::to_string(visit).expect("invariant: a visit is plain data");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())
        };
        write().map_err(|source| JournalError::Io { action: "write", path: path.clone(), source })
    }

    fn path(&self, stage: &str) -> PathBuf {
        self.folder.join(format!("{}.jsonl", stage.replace('/', "%2F")))
    }
}
