//! Owns: from which checkpoints the stages of a plan go on, by what earlier runs with the same key told.

use super::{Failure, runs::seen};
use crate::{
    plan::{Planned, Session, Verdict},
    run::folder::RunFolder,
};
use pipe_stage::Digest;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// By position in the manifest, where stages that would run go on.
pub(super) struct Resumes(BTreeMap<usize, Resume>);

/// Where a stage goes on.
#[derive(Serialize)]
pub(super) struct Resume {
    /// The step of its last checkpoint.
    step: u64,
    /// Steps of the whole stage.
    of: Option<u64>,
}

impl Resumes {
    pub(super) fn of(session: &Session, planned: &[Planned]) -> Result<Self, Failure> {
        let open = planned.iter().filter_map(|planned| match (&planned.verdict, &planned.resolved) {
            (Verdict::Run(_), Some(resolved)) => Some((planned.stage, resolved.key)),
            _ => None,
        });
        // A forced stage removes its checkpoints; what a command leaves in `$PIPE_DURABLE` is known only to itself.
        let open =
            open.filter(|(stage, _)| !session.forced.contains(stage) && !session.kind(*stage).has_own_ports);
        let open: Vec<(usize, Digest)> = open.collect();
        let mut found = BTreeMap::new();
        let runs = if open.is_empty() { Vec::new() } else { RunFolder::all(session.store.root())? };
        for (stage, key) in open {
            for run in runs.iter().rev() {
                if let Some(resume) = Resume::of(session, run, session.name(stage), key)? {
                    found.insert(stage, resume);
                    break;
                }
            }
        }
        Ok(Self(found))
    }

    pub(super) fn find(&self, stage: usize) -> Option<&Resume> {
        self.0.get(&stage)
    }
}

impl Resume {
    /// The last checkpoint of a stage that a run started with this key.
    fn of(session: &Session, run: &RunFolder, name: &str, key: Digest) -> Result<Option<Self>, Failure> {
        if run.spec(name)?.is_none_or(|spec| spec.key != key) {
            return Ok(None);
        }
        let seen = seen(run)?;
        let Some(stage) = seen.stages.get(name) else { return Ok(None) };
        let mut steps = Vec::new();
        for folder in &stage.folders {
            let checkpoints = session.store.peek_durable(folder)?;
            steps.extend(checkpoints.iter().filter_map(|checkpoint| checkpoint.meta["step"].as_u64()));
        }
        let total = stage.progress.as_ref().and_then(|(_, _, total)| *total);
        let step = steps.into_iter().filter(|step| total.is_none_or(|total| *step <= total)).max();
        Ok(step.map(|step| Self { step, of: total }))
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resumes at step {}", self.step)?;
        self.of.map_or(Ok(()), |total| write!(f, " of {total}"))
    }
}
