//! Owns: the options of a run, how it ended, and why it could not continue.

use super::event::{Row, RowOutcome};
use crate::{
    plan::PlanError,
    record::{JournalError, Record},
};
use pipe_stage::{Digest, Error};
use std::collections::BTreeMap;

/// Options of a run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Maximum number of stages that run at once; `None` for as many as fit.
    pub jobs: Option<usize>,
    /// Number of cores to use; `None` for all cores of the machine.
    pub cpus: Option<usize>,
    /// Whether this run may update the lock file and the links: it covers the whole manifest as written.
    pub is_full: bool,
    /// Whether results must be those in the lock file; the links do not change if they are not.
    pub is_locked: bool,
    /// What happens to other stages when a stage fails.
    pub on_failure: OnFailure,
    /// Whether it starts although the disk is too small for what stages wrote before.
    pub ignore_disk: bool,
}

/// What happens to other stages when a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Running stages are finished, and no other stage starts.
    #[default]
    Stop,
    /// All stages that do not depend on it continue.
    KeepGoing,
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// In running order.
    pub rows: Vec<Row>,
    /// Keys and records of the stages that are up to date, by position in the manifest.
    pub done: BTreeMap<usize, (Digest, Record)>,
    /// Whether a stop was requested.
    pub interrupted: bool,
    /// What ended the run early, if anything: an error of the engine's own files.
    pub broken: Option<RunError>,
    /// In a locked run, the stages with other results than in the lock file, for equal keys and instruction sets.
    pub differing: Vec<String>,
    /// What could not be done beside the run, such as a link under `out/`.
    pub notes: Vec<String>,
}

impl Summary {
    /// Whether a stage failed.
    pub fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| row.outcome == RowOutcome::Failed)
    }
}

/// Why a run could not continue.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
    /// The journal of a stage cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine's own files failed.
    #[error("{0}")]
    Machine(Error),
    /// The disk is too small.
    #[error(
        "the stages would write about {} MiB, as in earlier runs, but only {} MiB of disk space are free",
        .needed.div_ceil(1 << 20),
        .free >> 20
    )]
    NoSpace {
        /// Bytes that would be written.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// A stage requests more than there is.
    #[error("stage `{stage}` requests {asked}, but the machine has {has}")]
    TooSmall {
        /// Name of the stage.
        stage: String,
        /// `cpus: 64`.
        asked: String,
        /// `2`.
        has: String,
    },
}

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Cache(error) => Self::Cache(error),
            PlanError::Journal(error) => Self::Journal(error),
        }
    }
}
