//! Owns: the result of planning a stage.

use crate::{
    plan::{estimate::Estimate, session::Resolved, why::Reason},
    record::Record,
};
use pipe_stage::Digest;

/// The decision about a stage.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing to do.
    Cached(Box<Record>),
    /// It runs.
    Run(Work),
    /// It depends on stages that will run; whether it runs is known only after them.
    DependsOn(Vec<usize>),
    /// It is frozen, and the result to keep is neither in the cache nor what a run would produce: a run fails.
    Gone,
}

impl Verdict {
    /// That of a frozen stage whose result is missing from the cache; it depends on these stages, which will run. It
    /// may run only if they give it the inputs that it had.
    pub(super) fn gone(upstream: Vec<usize>) -> Self {
        if upstream.is_empty() { Self::Gone } else { Self::DependsOn(upstream) }
    }

    /// Whether the stage may run.
    pub fn may_run(&self) -> bool {
        matches!(self, Self::Run(_) | Self::DependsOn(_))
    }
}

/// The work of a stage.
#[derive(Debug)]
pub struct Work {
    /// The reason.
    pub reasons: Vec<Reason>,
    /// The first step with missing tasks: its name, missing tasks, all tasks.
    pub missing: Option<(String, u64, u64)>,
}

/// A stage in a plan.
#[derive(Debug)]
pub struct Planned {
    /// Position in the manifest.
    pub stage: usize,
    /// What was requested: digest of the stage's settings and the recipes of its inputs.
    pub recipe: Digest,
    /// Known unless the stage depends on one that will run.
    pub resolved: Option<Resolved>,
    /// What to do.
    pub verdict: Verdict,
    /// For a frozen stage that would otherwise run: why it would.
    pub stale: Option<Stale>,
    /// Estimate from earlier runs; none for a cached stage.
    pub estimate: Option<Estimate>,
}

/// Why a frozen stage would run if it were not frozen.
#[derive(Debug)]
pub struct Stale {
    /// Known changes.
    pub reasons: Vec<Reason>,
    /// Stages that it depends on and that will run: whether it would run too is known only after them.
    pub upstream: Vec<usize>,
}
