//! The events of a running stage: one JSON object per line, on the channel that `PIPE_EVENTS` names.

use crate::{Error, Metric};
use pipe_cache::Digest;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// An event of a stage. Readers ignore events and fields that they do not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step begins: how many tasks it has, and how many of them are to be done.
    Step {
        /// Its name.
        step: String,
        /// Number of all tasks.
        tasks: u64,
        /// Number of tasks that are not recorded yet.
        missing: u64,
    },
    /// A task finished.
    Task {
        /// Name of the step.
        step: String,
        /// Tasks recorded by now.
        done: u64,
        /// All tasks.
        of: u64,
    },
    /// The stage keeps checkpoints in a folder that outlives it; the garbage collector leaves it to runs that need it.
    Checkpoints {
        /// Key of the folder.
        folder: Digest,
    },
    /// Progress within a step.
    Progress {
        /// What is counted: `documents`, `tokens`, `steps`.
        unit: String,
        /// Number done so far.
        done: u64,
        /// Total number, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A point of a series of values.
    Metric {
        /// `loss`.
        name: String,
        /// Position in the series, such as the optimizer step.
        step: u64,
        /// Its value.
        #[serde(with = "crate::metric::number")]
        value: f64,
    },
    /// A message for people.
    Note {
        /// One line of text.
        message: String,
    },
    /// The last event of a stage that succeeded.
    Done {
        /// Key of the stage, as given to its worker. The record under another key belongs to another stage.
        #[serde(default)]
        key: Option<Digest>,
        /// Artifact digests by output port.
        outputs: BTreeMap<String, Digest>,
        /// Merged over all steps.
        metrics: Vec<Metric>,
        /// Instruction sets of all shares.
        instruction_sets: Vec<String>,
    },
    /// The last event of a stage that failed.
    Failed {
        /// The error.
        error: Error,
    },
    /// Follows the last event of a stage: the worker has cleaned up and can take another stage.
    Rests {
        /// Seconds of CPU time that this stage used.
        cpu_seconds: f64,
        /// Peak memory in bytes.
        memory_peak: u64,
    },
}

/// Receives events; called from many threads.
pub trait Sink: Send + Sync {
    /// Receives one event.
    fn emit(&self, event: Event);
}

/// A shared sink.
pub type Events = Arc<dyn Sink>;

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}
