//! Owns: stages with `freeze: true`: the results they keep, and why they would run otherwise. The results are in the
//! lock file; a frozen stage without an entry there runs like any other, and is pinned by the first complete run.

use crate::{
    plan::{
        planned::{Planned, Stale, Verdict},
        session::{Resolved, Session},
        why,
    },
    record::{Record, RecordedInput},
};
use pipe_stage::Digest;
use std::{collections::BTreeMap, sync::Arc};

/// What to do about a frozen stage whose result is missing from the cache.
pub const FROZEN_HELP: &str = "copy the cache that has it, or remove `freeze` to run it again";

/// The result that a frozen stage keeps.
pub(crate) enum Kept {
    /// It is not frozen, or was never pinned.
    Nothing,
    /// It is in the cache.
    Here(Digest, Box<Record>),
    /// It is pinned, but missing from the cache.
    Gone(Digest),
}

impl Session {
    /// Finds the result that a frozen stage keeps.
    pub(crate) fn kept(&self, stage: usize) -> Result<Kept, pipe_cache::Error> {
        let Some(pin) = self.frozen_at(stage) else { return Ok(Kept::Nothing) };
        let record = Record::read(&self.store, &pin.key)?;
        Ok(match record.filter(|record| record.outputs == pin.outputs) {
            Some(record) => Kept::Here(pin.key, Box::new(record)),
            None => Kept::Gone(pin.key),
        })
    }

    /// Plans a stage that keeps its result; `None` if it is not frozen, or would produce the same result.
    pub(super) fn plan_frozen(
        &self,
        stage: usize,
        recipe: Digest,
        resolved: &Option<Resolved>,
        planned: &BTreeMap<usize, Planned>,
    ) -> Result<Option<Planned>, pipe_cache::Error> {
        let runs = |upstream: &usize| {
            let planned = planned.get(upstream);
            planned.is_some_and(|planned| !matches!(planned.verdict, Verdict::Cached(_)))
        };
        let upstream = || self.graph.upstream(stage).into_iter().filter(runs).collect();
        let makes = |key| resolved.as_ref().is_some_and(|resolved| resolved.key == key);
        let (resolved, verdict, stale) = match self.kept(stage)? {
            Kept::Nothing => return Ok(None),
            Kept::Here(key, _) | Kept::Gone(key) if makes(key) => return Ok(None),
            Kept::Gone(_) => (None, Verdict::gone(upstream()), None),
            Kept::Here(key, record) => {
                let reasons = match resolved {
                    Some(resolved) => why::reasons(self, stage, resolved, &record),
                    None => Vec::new(),
                };
                let labelled = |input: &RecordedInput| (input.label.clone(), input.digest);
                let inputs = record.inputs.iter();
                let inputs = inputs.map(|(port, all)| (port.clone(), all.iter().map(labelled).collect()));
                let kept = Resolved { key, inputs: inputs.collect(), sources: Arc::default() };
                (Some(kept), Verdict::Cached(record), Some(Stale { reasons, upstream: upstream() }))
            }
        };
        Ok(Some(Planned { stage, recipe, resolved, verdict, stale, estimate: None }))
    }
}
