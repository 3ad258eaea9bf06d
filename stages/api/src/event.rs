//! Owns: what a running stage tells. One JSON object a line on the channel that `PIPE_EVENTS` names.

use crate::{Error, Metric};
use pipe_cache::Digest;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Something that happened in a stage. Readers ignore events and fields that they do not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step begins: how many tasks it has, and how many of them are to be done.
    Step {
        /// Its name.
        step: String,
        /// All tasks.
        tasks: u64,
        /// Those that are not recorded yet.
        missing: u64,
    },
    /// A task ended.
    Task {
        /// The step's name.
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
    /// Work within a step went on.
    Progress {
        /// What is counted: `documents`, `tokens`, `steps`.
        unit: String,
        /// So many by now.
        done: u64,
        /// Out of so many, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A figure at a point of a series.
    Metric {
        /// `loss`.
        name: String,
        /// Position in the series: the optimizer's step.
        step: u64,
        /// Its value.
        #[serde(with = "crate::metric::number")]
        value: f64,
    },
    /// Something worth telling a person.
    Note {
        /// One line.
        message: String,
    },
    /// The last event of a stage that did its work.
    Done {
        /// Key of the stage, as its worker was told: what is recorded under another key is another stage's.
        #[serde(default)]
        key: Option<Digest>,
        /// Artifact digests by output port.
        outputs: BTreeMap<String, Digest>,
        /// Merged over all steps.
        metrics: Vec<Metric>,
        /// Those of all shares.
        instruction_sets: Vec<String>,
    },
    /// The last event of a stage that did not.
    Failed {
        /// Why.
        error: Error,
    },
    /// After the last: the worker has put everything away, and would take another stage.
    Rests {
        /// Seconds of processor time that this stage took.
        cpu_seconds: f64,
        /// Bytes of memory at its peak.
        memory_peak: u64,
    },
}

/// Takes events; called from many threads.
pub trait Sink: Send + Sync {
    /// Takes one.
    fn emit(&self, event: Event);
}

/// A shared sink.
pub type Events = Arc<dyn Sink>;

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}
