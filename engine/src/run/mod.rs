//! Owns: plan to events. The scheduler decides what starts when; workers do it; whoever listens draws it.
//! Nothing here writes to a terminal.

mod scheduler;

mod states;

mod finish;

mod local;

pub mod usage;

pub mod folder;

pub mod seen;

pub mod watcher;

pub mod machine;

pub mod spec;

pub mod worker;

use crate::{plan::Reason, record::Record};
use pipe_stage::{Digest, Error, Event, Metric};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

pub use scheduler::run;

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Stages that may run at once; as many as fit if `None`.
    pub jobs: Option<usize>,
    /// Cores to hand out; all of the machine's if `None`.
    pub cpus: Option<usize>,
    /// Whether this run may update the lock file and the links: it is of the whole manifest as written.
    pub is_full: bool,
    /// What becomes of the others when a stage fails.
    pub on_failure: OnFailure,
    /// Whether it starts though the disk is too small for what stages wrote before.
    pub ignore_disk: bool,
}

/// What becomes of the others when a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Those that run are finished, and no other starts.
    #[default]
    Stop,
    /// All go on that do not need it.
    KeepGoing,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// Something has to run.
    Began {
        /// The run's folder.
        folder: PathBuf,
    },
    /// A stage's result is there already.
    Cached {
        /// Which stage.
        stage: String,
        /// Its key.
        key: Digest,
        /// Whether another run made it while this one waited.
        waited: bool,
    },
    /// A stage starts.
    Started {
        /// Which stage.
        stage: String,
        /// Its key.
        key: Digest,
        /// Why it runs.
        reasons: Vec<Reason>,
        /// Cores that it got.
        cpus: usize,
    },
    /// A stage tells something.
    Told {
        /// Which stage.
        stage: String,
        /// What.
        told: Event,
    },
    /// Another run works on the same key.
    Waiting {
        /// Which stage.
        stage: String,
        /// Who has it in hand.
        holder: String,
    },
    /// A stage failed and is tried again.
    Again {
        /// Which stage.
        stage: String,
        /// Why.
        message: String,
    },
    /// A stage did its work.
    Finished {
        /// Which stage.
        stage: String,
        /// How it went.
        row: Row,
    },
    /// A stage failed.
    Failed {
        /// Which stage.
        stage: String,
        /// Why.
        error: Error,
        /// Its log.
        log: Option<PathBuf>,
        /// The end of its log.
        tail: String,
    },
    /// Asked to stop.
    Stopping,
}

/// A line of the closing table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Which stage.
    pub stage: String,
    /// What became of it.
    pub outcome: RowOutcome,
    /// Seconds of wall time; of a cached stage, when it was made.
    pub seconds: f64,
    /// Bytes of memory at its peak.
    pub memory_peak: u64,
    /// Bytes of what it made.
    pub output_bytes: u64,
    /// The figure that stands for it.
    pub metric: Option<Metric>,
}

/// What became of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// Its result was there.
    Cached,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It was stopped.
    Interrupted,
    /// A stage that it needs failed, or the run was stopped before.
    Skipped,
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// By stage, in running order.
    pub rows: Vec<Row>,
    /// Keys and records of the stages that are up to date, by position in the manifest.
    pub done: BTreeMap<usize, (Digest, Record)>,
    /// Whether it was asked to stop.
    pub interrupted: bool,
}

impl RowOutcome {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}

impl Summary {
    /// Whether a stage failed.
    pub fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| row.outcome == RowOutcome::Failed)
    }
}

/// Why a run could not go on at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
    /// The engine's own files failed.
    #[error("{0}")]
    Machine(Error),
    /// The disk is too small.
    #[error(
        "about {} MiB would be written, by what the stages wrote before, and {} MiB of disk are free",
        .needed.div_ceil(1 << 20),
        .free >> 20
    )]
    NoSpace {
        /// Bytes that would be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A stage asks for more than there is.
    #[error("stage `{stage}` asks for {asked}, and the machine has {has}")]
    TooSmall {
        /// Which stage.
        stage: String,
        /// `cpus: 64`.
        asked: String,
        /// `2`.
        has: String,
    },
}
