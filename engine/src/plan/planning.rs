//! Owns: planning: each stage is looked up in the cache; if it is missing, it is compared with earlier runs.

use crate::{
    manifest::{Faults, Need, Report},
    plan::{
        estimate::{Ahead, Estimate},
        planned::{Planned, Verdict, Work},
        session::{Resolved, Session},
        why::{self, Reason},
    },
    record::{JournalError, Record, Visit, read_artifact},
};
use pipe_stage::{Context, Digest, Error, Event, Halt, InputArtifact, Mode, Setup, Stop, guarded};
use std::{collections::BTreeMap, sync::Arc};

impl Session {
    /// Refuses to run stages that need devices or secrets that are missing, unless they are up to date.
    pub fn refuse_unsettled(&self, stages: &[usize]) -> Result<(), UnsettledError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let mut faults = Faults::default();
        for planned in self.plan(stages, &[])? {
            if let Some((code, misfit)) = self.unsettled.get(&planned.stage)
                && planned.verdict.may_run()
            {
                faults.push(self.manifest.misfit(planned.stage, misfit).coded(*code));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(UnsettledError::Refused(self.manifest.report(faults))) }
    }

    /// Plans stages, which are given in running order with all their dependencies.
    pub fn plan(&self, stages: &[usize], targets: &[usize]) -> Result<Vec<Planned>, PlanError> {
        let recipes = self.recipes(stages);
        let mut planned: BTreeMap<usize, Planned> = BTreeMap::new();
        for &stage in stages {
            let made = |upstream: usize| match &planned.get(&upstream)?.verdict {
                Verdict::Cached(record) => Some(&record.outputs),
                _ => None,
            };
            let resolved = self.resolve(stage, made);
            if let Some(kept) = self.plan_frozen(stage, recipes[&stage], &resolved, &planned)? {
                planned.insert(stage, kept);
                continue;
            }
            let verdict = match &resolved {
                None => {
                    let runs = |upstream: &usize| !matches!(planned[upstream].verdict, Verdict::Cached(_));
                    Verdict::DependsOn(self.graph.upstream(stage).into_iter().filter(runs).collect())
                }
                Some(resolved) => match Record::read(&self.store, &resolved.key)? {
                    Some(record) if !self.forced.contains(&stage) => Verdict::Cached(Box::new(record)),
                    _ => Verdict::Run(self.work(stage, resolved)?),
                },
            };
            let (recipe, stale, estimate) = (recipes[&stage], None, None);
            planned.insert(stage, Planned { stage, recipe, resolved, verdict, stale, estimate });
        }
        self.want_objects(&mut planned, stages, targets);
        let mut of_family = BTreeMap::new();
        for stage in stages {
            let own = &planned[stage];
            if own.verdict.may_run() {
                let visits = self.visits(*stage, &mut of_family)?;
                let ahead = self.ahead(own, visits.last(), &planned);
                let estimate = Estimate::of(&visits, ahead, |visit| self.written(visit));
                planned.get_mut(stage).expect("invariant: every stage of the list is planned").estimate =
                    estimate;
            }
        }
        Ok(stages.iter().filter_map(|stage| planned.remove(stage)).collect())
    }

    /// What there is to do in a stage; those that it needs have their estimates.
    fn ahead(&self, own: &Planned, last: Option<&Visit>, planned: &BTreeMap<usize, Planned>) -> Ahead {
        let part = part(&own.verdict);
        let growth = |need: &Need, bytes: u64| match &planned.get(&need.stage)?.verdict {
            Verdict::Cached(record) => Some(
                read_artifact(&self.store, record.outputs.get(&need.output)?)?.size() as f64 / bytes as f64,
            ),
            _ => planned[&need.stage].estimate.as_ref()?.scale.output,
        };
        let expected = || match (&own.resolved, last) {
            (None, Some(last)) => self.amounts_expected(own.stage, last, growth),
            _ => None,
        };
        match expected() {
            Some(amounts) => Ahead { part, amounts, inputs_expected: true },
            None => {
                let amounts = self.amounts(own.stage, own.resolved.as_ref());
                Ahead { part, amounts, inputs_expected: false }
            }
        }
    }

    /// Reruns cached stages whose objects are missing but needed: by a stage that will run, or as targets.
    fn want_objects(&self, planned: &mut BTreeMap<usize, Planned>, stages: &[usize], targets: &[usize]) {
        for &stage in stages.iter().rev() {
            let runs = |stage: &usize| {
                planned.get(stage).is_some_and(|planned| !matches!(planned.verdict, Verdict::Cached(_)))
            };
            let downstream = self.graph.downstream(stage);
            let is_wanted = downstream.iter().any(runs)
                || targets.contains(&stage)
                || (targets.is_empty() && downstream.is_empty());
            let planned = planned.get_mut(&stage).expect("invariant: every stage of the list is planned");
            if let (true, Verdict::Cached(record)) = (is_wanted, &planned.verdict)
                && !record.is_held(&self.store)
            {
                planned.verdict = match planned.stale.take() {
                    Some(stale) => Verdict::gone(stale.upstream),
                    None => Verdict::Run(Work { reasons: vec![Reason::ObjectsGone], missing: None }),
                };
            }
        }
    }

    /// Finds out why a stage with this key runs, and how much of it is missing.
    fn work(&self, stage: usize, resolved: &Resolved) -> Result<Work, PlanError> {
        let reasons = self.reasons(stage, resolved)?;
        let missing = if self.forced.contains(&stage) { None } else { self.count(stage, resolved) };
        Ok(Work { reasons, missing })
    }

    /// Finds out why a stage with this key runs.
    pub(crate) fn reasons(&self, stage: usize, resolved: &Resolved) -> Result<Vec<Reason>, PlanError> {
        if let Some((_, folder)) = self.adopted.as_ref().filter(|(adopted, _)| *adopted == stage) {
            return Ok(vec![Reason::Adopted { folder: folder.display().to_string() }]);
        }
        if self.forced.contains(&stage) {
            return Ok(vec![Reason::Forced]);
        }
        Ok(match self.before(stage)? {
            Some(record) => why::reasons(self, stage, resolved, &record),
            None if self.is_damaged(stage, &resolved.key)? => vec![Reason::RecordDamaged],
            None => vec![Reason::First],
        })
    }

    /// The keys of records to compare with: that of the last complete run, from the lock file, and that of the last run.
    fn keys_before(&self, stage: usize) -> Result<impl Iterator<Item = Digest>, PlanError> {
        let name = self.name(stage);
        let locked = self.lock.stages.get(name).map(|locked| locked.key);
        let visited = self.journal.visits(name)?.last().map(|visit| visit.key);
        Ok(locked.into_iter().chain(visited))
    }

    /// Whether the record of this key, or the one to compare with, is damaged.
    fn is_damaged(&self, stage: usize, key: &Digest) -> Result<bool, PlanError> {
        let is_damaged = |key: &Digest| self.store.has_damaged_record(key);
        Ok(is_damaged(key) || self.keys_before(stage)?.any(|key| is_damaged(&key)))
    }

    /// The record to compare with.
    fn before(&self, stage: usize) -> Result<Option<Record>, PlanError> {
        for key in self.keys_before(stage)? {
            if let Some(record) = Record::read(&self.store, &key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Earlier runs of a stage, or of other stages of its matrix if it has none.
    fn visits(
        &self,
        stage: usize,
        of_family: &mut BTreeMap<usize, Vec<Visit>>,
    ) -> Result<Vec<Visit>, JournalError> {
        let own = self.journal.visits(self.name(stage))?;
        let Some(family) = self.manifest.family(stage).filter(|_| own.is_empty()) else { return Ok(own) };
        if let Some(known) = of_family.get(&family.stages.start) {
            return Ok(known.clone());
        }
        let names = family.stages.clone().map(|other| self.name(other)).chain([family.name.as_str()]);
        let mut visits = Vec::new();
        for name in names {
            visits = self.journal.visits(name)?;
            if !visits.is_empty() {
                break;
            }
        }
        of_family.insert(family.stages.start, visits.clone());
        Ok(visits)
    }

    /// Bytes that a run wrote: outputs that are not among its inputs.
    fn written(&self, visit: &Visit) -> u64 {
        let read = || {
            let record = Record::read(&self.store, &visit.key).ok()??;
            let blobs = |digests: &mut dyn Iterator<Item = &Digest>| {
                let artifacts = digests.map(|digest| read_artifact(&self.store, digest));
                let artifacts = artifacts.collect::<Option<Vec<_>>>()?;
                let blobs = artifacts.iter().flat_map(|artifact| artifact.blobs());
                Some(blobs.map(|blob| (blob.digest, blob.size)).collect::<BTreeMap<_, _>>())
            };
            let given = blobs(&mut record.inputs.values().flatten().map(|input| &input.digest))?;
            let mut made = blobs(&mut record.outputs.values())?;
            made.retain(|digest, _| !given.contains_key(digest));
            Some(made.values().sum())
        };
        read().unwrap_or(visit.output_bytes)
    }

    /// Enters the stage in counting mode. Its answer is an estimate, and never an error.
    fn count(&self, stage: usize, resolved: &Resolved) -> Option<(String, u64, u64)> {
        let mut inputs = BTreeMap::new();
        for (port, artifacts) in &resolved.inputs {
            let open = |(label, digest): &(String, Digest)| {
                let artifact = read_artifact(&self.store, digest)?;
                Some(InputArtifact { label: label.clone(), digest: *digest, artifact })
            };
            inputs.insert(port.clone(), artifacts.iter().map(open).collect::<Option<Vec<_>>>()?);
        }
        let setup = Setup {
            store: self.store.clone(),
            identity: self.identity(stage),
            mode: Mode::Count,
            inputs,
            sources: resolved.sources.to_vec(),
            remotes: None,
            threads: 1,
            events: Arc::new(|_: Event| {}),
            stop: Stop::default(),
            lease: None,
        };
        let config = &self.manifest.stages[stage].config.stage;
        match guarded(|| Context::new(setup).enter(&**config)) {
            Err(Error::Halt(Halt::Missing { step, shares, of })) => Some((step, shares.len() as u64, of)),
            _ => None,
        }
    }
}

/// The fraction of a stage that is to do, as far as it is known before it runs.
fn part(verdict: &Verdict) -> f64 {
    match verdict {
        Verdict::Run(Work { missing: Some((_, shares, of)), .. }) => *shares as f64 / *of as f64,
        _ => 1.0,
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum UnsettledError {
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The manifest needs something that is missing here.
    #[error("{0}")]
    Refused(Box<Report>),
}
