//! Owns: what a plan says of a stage.

use crate::{
    plan::{estimate::Estimate, session::Resolved, why::Reason},
    record::Record,
};
use pipe_stage::Digest;

/// What a plan says of a stage.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing to do.
    Cached(Box<Record>),
    /// It runs.
    Run(Work),
    /// A stage that it needs runs; whether it does too, nobody knows before.
    DependsOn(Vec<usize>),
}

/// What is to do in a stage.
#[derive(Debug)]
pub struct Work {
    /// Why.
    pub reasons: Vec<Reason>,
    /// The first step with something to do: its name, shares to do, all shares.
    pub missing: Option<(String, u64, u64)>,
}

/// A stage in a plan.
#[derive(Debug)]
pub struct Planned {
    /// Position in the manifest.
    pub stage: usize,
    /// What was asked for.
    pub recipe: Digest,
    /// Known unless the stage depends on one that runs.
    pub resolved: Option<Resolved>,
    /// What to do.
    pub verdict: Verdict,
    /// Of a frozen stage that keeps what it has, though it would run otherwise: why it would.
    pub stale: Option<Stale>,
    /// What it will take, from earlier runs; nothing for a cached stage.
    pub estimate: Option<Estimate>,
}

/// Why a frozen stage would run if it were not frozen.
#[derive(Debug)]
pub struct Stale {
    /// What changed, as far as its inputs are known.
    pub reasons: Vec<Reason>,
    /// Stages that it needs and that run: whether it would too, nobody knows before.
    pub upstream: Vec<usize>,
}
