//! Owns: decisions about stages whose inputs are known: cached, kept, to run, or skipped.

use super::Scheduler;
use crate::{
    plan::{FROZEN_HELP, Kept, cost::Disk},
    record::Record,
    run::{event::RunEvent, options::RunError, states::StageState},
};
use pipe_stage::{Digest, Error};

impl Scheduler<'_> {
    /// Refuses to start if estimates from earlier runs do not fit on the disk.
    pub(super) fn check_disk(&self) -> Result<(), RunError> {
        if self.ignore_disk || self.session.journal.is_empty() {
            return Ok(());
        }
        match Disk::of(self.session, &self.session.plan(self.stages, self.targets)?) {
            disk @ Disk { needed, free: Some(free), .. } if disk.is_too_small() => {
                Err(RunError::NoSpace { needed, free })
            }
            _ => Ok(()),
        }
    }

    /// Decides about every stage whose inputs are known: cached, to run, or skipped.
    pub(super) fn look(&mut self) -> Result<(), RunError> {
        while let Some((stage, forced)) = self.states.next_unsettled() {
            if self.look_at_frozen(stage, forced)? {
                continue;
            }
            let upstream = self.session.graph.upstream(stage);
            let is = |wanted: fn(&StageState) -> bool| {
                upstream.iter().any(|stage| wanted(self.states.get(*stage)))
            };
            if is(|state| matches!(state, StageState::Failed { .. } | StageState::Skipped)) {
                self.settle(stage, StageState::Skipped);
                continue;
            }
            if is(|state| !matches!(state, StageState::Done { .. })) {
                continue;
            }
            let made = |stage: usize| match self.states.get(stage) {
                StageState::Done { record, .. } => Some(&record.outputs),
                _ => None,
            };
            let resolved = self.session.resolve(stage, made).expect("invariant: all that it needs is done");
            let is_forced = forced || self.afresh.contains(&stage);
            let record = Record::read(&self.session.store, &resolved.key)?.filter(|_| !is_forced);
            let record =
                record.filter(|record| !self.is_target(stage) || record.is_held(&self.session.store));
            match record {
                Some(record) => self.cached(stage, resolved.key, record, false),
                None => self.states.set(stage, StageState::Ready { resolved, forced }),
            }
        }
        Ok(())
    }

    /// Decides about a frozen stage that keeps its result; returns whether it did.
    fn look_at_frozen(&mut self, stage: usize, forced: bool) -> Result<bool, RunError> {
        let key = match self.session.kept(stage)? {
            Kept::Nothing => return Ok(false),
            Kept::Here(key, record)
                if !forced && (!self.is_target(stage) || record.is_held(&self.session.store)) =>
            {
                self.cached(stage, key, *record, false);
                return Ok(true);
            }
            Kept::Here(key, _) | Kept::Gone(key) => key,
        };
        // It may be computed again as long as the result would be the same.
        let made = |stage: usize| match self.states.find(stage) {
            Some(StageState::Done { record, .. }) => Some(&record.outputs),
            _ => None,
        };
        let upstream = self.session.graph.upstream(stage);
        let is_open = |stage: &usize| {
            matches!(
                self.states.find(*stage),
                Some(
                    StageState::Waiting { .. }
                        | StageState::Ready { .. }
                        | StageState::Blocked { .. }
                        | StageState::Running(_)
                )
            )
        };
        let resolved = self.session.resolve(stage, made);
        let is_whole = upstream.iter().all(|stage| self.states.find(*stage).is_some());
        let may_make_it =
            || upstream.iter().any(is_open) || resolved.is_some_and(|resolved| resolved.key == key);
        if is_whole && may_make_it() {
            return Ok(false);
        }
        let message = "it is frozen, but its result is not in this cache";
        self.failed(stage, &Error::input(message).help(FROZEN_HELP));
        Ok(true)
    }

    /// Whether the outputs of a stage are wanted even if no other stage reads them.
    pub(super) fn is_target(&self, stage: usize) -> bool {
        match self.targets {
            [] => self.session.graph.downstream(stage).is_empty(),
            targets => targets.contains(&stage),
        }
    }

    pub(super) fn is_frozen(&self, stage: usize) -> bool {
        self.session.frozen_at(stage).is_some()
    }

    pub(super) fn cached(&mut self, stage: usize, key: Digest, record: Record, waited: bool) {
        let (name, frozen) = (self.session.name(stage).to_owned(), self.is_frozen(stage));
        (self.tell)(&RunEvent::Cached { stage: name, key, waited, frozen });
        self.settle(stage, StageState::Done { key, record: Box::new(record), ran: false });
    }

    /// Sets the final state of a stage, so that its dependents are examined again.
    pub(super) fn settle(&mut self, stage: usize, state: StageState) {
        self.states.set(stage, state);
        self.session.graph.downstream(stage).into_iter().for_each(|below| self.states.look_again(below));
    }
}
