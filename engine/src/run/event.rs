//! Owns: the events of a run, and the rows of its final table.

use crate::{plan::Reason, warning::Warning};
use pipe_stage::{Digest, Error, Event, Metric};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An event of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// At least one stage has to run.
    Began {
        /// The run's folder.
        folder: PathBuf,
    },
    /// A stage is cached.
    Cached {
        /// Name of the stage.
        stage: String,
        /// Its key.
        key: Digest,
        /// Whether another run produced it while this one waited.
        waited: bool,
        /// Whether it is frozen, so that it keeps its result whatever the manifest says.
        #[serde(default)]
        frozen: bool,
    },
    /// A stage starts.
    Started {
        /// Name of the stage.
        stage: String,
        /// Its key.
        key: Digest,
        /// Why it runs.
        reasons: Vec<Reason>,
        /// Cores it was granted.
        cpus: usize,
    },
    /// An event of a stage.
    Told {
        /// Name of the stage.
        stage: String,
        /// The event.
        told: Event,
    },
    /// Another run works on the same key, or keeps checkpoints of the same work.
    Waiting {
        /// Name of the stage.
        stage: String,
        /// The process that is working on it.
        holder: String,
    },
    /// A stage failed and is retried.
    Again {
        /// Name of the stage.
        stage: String,
        /// The reason.
        message: String,
        /// Delay in seconds.
        #[serde(default)]
        pause: f64,
    },
    /// A stage succeeded.
    Finished {
        /// Name of the stage.
        stage: String,
        /// Its row in the table.
        row: Row,
    },
    /// A stage failed.
    Failed {
        /// Name of the stage.
        stage: String,
        /// The reason.
        error: Error,
        /// Its log file.
        log: Option<PathBuf>,
        /// The end of its log.
        tail: String,
    },
    /// A stop was requested.
    Stopping,
    /// Something is wrong that ends no stage.
    Warning(Warning),
}

/// A row of the final table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Name of the stage.
    pub stage: String,
    /// Its outcome.
    pub outcome: RowOutcome,
    /// Seconds of wall time; for a cached stage, of the run that produced it.
    pub seconds: f64,
    /// Peak memory in bytes.
    pub memory_peak: u64,
    /// Size of its outputs in bytes.
    pub output_bytes: u64,
    /// Its main metric.
    pub metric: Option<Metric>,
}

/// The outcome of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOutcome {
    /// Its result was in the cache.
    Cached,
    /// It is frozen: it kept the result in the lock file.
    Frozen,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It was stopped.
    Interrupted,
    /// A dependency failed, or the run was stopped before it started.
    Skipped,
}

impl RowOutcome {
    /// Whether the stage is up to date.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Cached | Self::Frozen | Self::Ran)
    }

    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Frozen => "frozen",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}
