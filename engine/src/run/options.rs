//! Owns: how a run is asked for, how it ended, and why it could not go on.

use super::event::{Row, RowOutcome};
use crate::{
    plan::PlanError,
    record::{JournalError, Record},
};
use pipe_stage::{Digest, Error};
use std::collections::BTreeMap;

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

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// By stage, in running order.
    pub rows: Vec<Row>,
    /// Keys and records of the stages that are up to date, by position in the manifest.
    pub done: BTreeMap<usize, (Digest, Record)>,
    /// Whether it was asked to stop.
    pub interrupted: bool,
    /// What broke the run, if anything did: an error of the engine's own files.
    pub broken: Option<RunError>,
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
    /// The journal of a stage cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
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

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Cache(error) => Self::Cache(error),
            PlanError::Journal(error) => Self::Journal(error),
        }
    }
}
