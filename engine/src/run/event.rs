//! Owns: what a run reports while it goes on, and the rows of its closing table.

use crate::{plan::Reason, warning::Warning};
use pipe_stage::{Digest, Error, Event, Metric};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Another run works on the same key, or keeps checkpoints of the same work.
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
        /// Seconds until then.
        #[serde(default)]
        pause: f64,
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
    /// Something is wrong that ends no stage.
    Warning(Warning),
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
