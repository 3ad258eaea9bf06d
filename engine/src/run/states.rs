//! Owns: where each stage of a run stands, and which of them are worth a look, so that what happens to one costs
//! nothing for the others: there may be ten thousand. Decides nothing.

use super::{executor::JobId, grants::Grant};
use crate::{manifest::Time, plan::Resolved, record::Record};
use pipe_cache::{Lease, Watch};
use pipe_stage::{Digest, Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Where a stage stands.
pub(super) enum StageState {
    /// Something that it needs is not done, or it was not looked at yet. If forced, it runs though recorded.
    Waiting { forced: bool },
    /// It failed, and is tried again when it is time.
    Pausing { forced: bool, until: Instant },
    /// It has to run.
    Ready { resolved: Resolved, forced: bool },
    /// Another process has it in hand. It holds nothing meanwhile.
    Blocked { resolved: Resolved, forced: bool, watch: Box<Watch>, on: BlockedOn },
    /// It runs.
    Running(Box<Running>),
    /// It is done.
    Done { key: Digest, record: Box<Record>, ran: bool },
    /// It failed.
    Failed { interrupted: bool },
    /// Something that it needs failed.
    Skipped,
}

/// What a blocked stage waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockedOn {
    /// Its own lease: whoever holds it makes the same result.
    Stage,
    /// A folder of checkpoints that it shares with other stages.
    Folder,
}

pub(super) struct Running {
    pub(super) resolved: Resolved,
    pub(super) job: JobId,
    pub(super) lease: Lease,
    pub(super) grant: Grant,
    pub(super) forced: bool,
    /// The event that says how it ended.
    pub(super) last_event: Option<Event>,
    /// Tasks that were to be done, and all.
    pub(super) tasks: (u64, u64),
    pub(super) stopping: Option<Stopping>,
}

/// A stage that was asked to stop.
pub(super) struct Stopping {
    pub(super) cause: Cause,
    pub(super) stop_requested_at: Instant,
    pub(super) is_killed: bool,
}

/// Why a stage is stopped.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    Timeout(Time),
    Interrupt,
    LostLease,
}

/// All stages of a run, by their number in the manifest. Sets hold positions in running order.
pub(super) struct States {
    stages: Vec<usize>,
    positions: BTreeMap<usize, usize>,
    states: Vec<StageState>,
    /// Waiting, and something may have changed for them.
    unsettled: BTreeSet<usize>,
    /// Ready or blocked.
    startable: BTreeSet<usize>,
    running: BTreeSet<usize>,
    pausing: BTreeSet<usize>,
    waiting: usize,
    failed: usize,
}

impl States {
    /// All wait; `stages` are in running order.
    pub(super) fn new(stages: &[usize]) -> Self {
        Self {
            stages: stages.to_vec(),
            positions: stages.iter().enumerate().map(|(position, stage)| (*stage, position)).collect(),
            states: stages.iter().map(|_| StageState::Waiting { forced: false }).collect(),
            unsettled: (0..stages.len()).collect(),
            startable: BTreeSet::new(),
            running: BTreeSet::new(),
            pausing: BTreeSet::new(),
            waiting: stages.len(),
            failed: 0,
        }
    }

    /// Where a stage stands; `None` if it takes no part.
    pub(super) fn find(&self, stage: usize) -> Option<&StageState> {
        self.positions.get(&stage).map(|position| &self.states[*position])
    }

    /// Where a stage of this run stands.
    pub(super) fn get(&self, stage: usize) -> &StageState {
        self.find(stage).expect("invariant: a stage comes with all that it needs")
    }

    /// The same of one that runs.
    pub(super) fn running_mut(&mut self, stage: usize) -> Option<&mut Running> {
        match &mut self.states[*self.positions.get(&stage)?] {
            StageState::Running(running) => Some(running),
            _ => None,
        }
    }

    /// All that run, with their numbers.
    pub(super) fn all_running(&mut self) -> impl Iterator<Item = (usize, &mut Running)> {
        let Self { stages, states, running, .. } = self;
        // Positions rise, so the rest of the list is cut off behind each.
        let mut rest = &mut states[..];
        let mut cut = 0;
        running.iter().filter_map(move |&position| {
            let (one, behind) = std::mem::take(&mut rest)[position - cut..].split_first_mut()?;
            (rest, cut) = (behind, position + 1);
            match one {
                StageState::Running(running) => Some((stages[position], &mut **running)),
                _ => None,
            }
        })
    }

    /// Puts a stage elsewhere.
    ///
    /// # Panics
    /// If it runs: only [`States::take`] ends that, so that nobody drops a running job by accident.
    pub(super) fn set(&mut self, stage: usize, state: StageState) {
        assert!(
            !matches!(self.get(stage), StageState::Running(_)),
            "invariant: a job that runs is taken first"
        );
        self.exchange(stage, state);
    }

    fn exchange(&mut self, stage: usize, state: StageState) -> StageState {
        let position = self.positions[&stage];
        match &self.states[position] {
            StageState::Waiting { .. } => {
                self.waiting -= 1;
                self.unsettled.remove(&position);
            }
            StageState::Ready { .. } | StageState::Blocked { .. } => drop(self.startable.remove(&position)),
            StageState::Pausing { .. } => drop(self.pausing.remove(&position)),
            StageState::Running(_) => drop(self.running.remove(&position)),
            StageState::Failed { .. } => self.failed -= 1,
            StageState::Done { .. } | StageState::Skipped => {}
        }
        match &state {
            StageState::Waiting { .. } => {
                self.waiting += 1;
                self.unsettled.insert(position);
            }
            StageState::Ready { .. } | StageState::Blocked { .. } => drop(self.startable.insert(position)),
            StageState::Pausing { .. } => drop(self.pausing.insert(position)),
            StageState::Running(_) => drop(self.running.insert(position)),
            StageState::Failed { .. } => self.failed += 1,
            StageState::Done { .. } | StageState::Skipped => {}
        }
        std::mem::replace(&mut self.states[position], state)
    }

    /// Takes a stage out, to be put elsewhere; till then it waits.
    #[must_use]
    pub(super) fn take(&mut self, stage: usize) -> StageState {
        self.exchange(stage, StageState::Waiting { forced: false })
    }

    /// Something that a stage needs has changed.
    pub(super) fn look_again(&mut self, stage: usize) {
        if let Some(&position) = self.positions.get(&stage)
            && let StageState::Waiting { .. } = self.states[position]
        {
            self.unsettled.insert(position);
        }
    }

    /// The first stage that waits and is to be looked at, once; and whether it is forced.
    pub(super) fn next_unsettled(&mut self) -> Option<(usize, bool)> {
        let position = self.unsettled.pop_first()?;
        match self.states[position] {
            StageState::Waiting { forced } => Some((self.stages[position], forced)),
            _ => unreachable!("invariant: what is unsettled waits"),
        }
    }

    /// The first stage in running order, from this position on, that could start; and the position behind it.
    pub(super) fn next_startable(&self, from: usize) -> Option<(usize, usize)> {
        let position = *self.startable.range(from..).next()?;
        Some((self.stages[position], position + 1))
    }

    /// Lets stages wait to be looked at whose pause is over.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        let due = |position: &usize| match self.states[*position] {
            StageState::Pausing { forced, until } if until <= now => Some((self.stages[*position], forced)),
            _ => None,
        };
        let due: Vec<_> = self.pausing.iter().filter_map(due).collect();
        for (stage, forced) in due {
            self.set(stage, StageState::Waiting { forced });
        }
    }

    /// Keys and records of the stages that are done.
    pub(super) fn into_done(self) -> BTreeMap<usize, (Digest, Record)> {
        let done = self.stages.into_iter().zip(self.states).filter_map(|(stage, state)| match state {
            StageState::Done { key, record, .. } => Some((stage, (key, *record))),
            _ => None,
        });
        done.collect()
    }

    /// Whether a stage has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Whether nothing runs, and nothing waits to.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && self.startable.is_empty() && self.pausing.is_empty() && self.waiting == 0
    }

    /// Whether nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}
