//! Owns: the state of each stage of a run, and which of them need to be examined, so that an event of one stage costs
//! nothing for the others: there may be ten thousand. It decides nothing.

use super::{executor::JobId, grants::Grant};
use crate::{manifest::Time, plan::Resolved, record::Record};
use pipe_cache::{Lease, Watch};
use pipe_stage::{Digest, Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// The state of a stage.
pub(super) enum StageState {
    /// A dependency is not done, or it has not been examined. If forced, it runs even if it is recorded.
    Waiting { forced: bool },
    /// It failed, and is retried at this time.
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
    /// A dependency failed.
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
    /// The event that reported its end.
    pub(super) last_event: Option<Event>,
    /// Tasks to do, and all tasks.
    pub(super) tasks: (u64, u64),
    pub(super) stopping: Option<Stopping>,
}

/// A request to stop a stage.
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

/// All stages of a run, by their position in the manifest. The sets contain positions in running order.
pub(super) struct States {
    stages: Vec<usize>,
    positions: BTreeMap<usize, usize>,
    states: Vec<StageState>,
    /// Waiting, and may have changed.
    unsettled: BTreeSet<usize>,
    /// Ready or blocked.
    startable: BTreeSet<usize>,
    running: BTreeSet<usize>,
    pausing: BTreeSet<usize>,
    waiting: usize,
    failed: usize,
}

impl States {
    /// All are waiting; `stages` is in running order.
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

    /// The state of a stage; `None` if it is not part of the run.
    pub(super) fn find(&self, stage: usize) -> Option<&StageState> {
        self.positions.get(&stage).map(|position| &self.states[*position])
    }

    /// The state of a stage of this run.
    pub(super) fn get(&self, stage: usize) -> &StageState {
        self.find(stage).expect("invariant: a stage comes with all that it needs")
    }

    /// The state of a running stage.
    pub(super) fn running_mut(&mut self, stage: usize) -> Option<&mut Running> {
        match &mut self.states[*self.positions.get(&stage)?] {
            StageState::Running(running) => Some(running),
            _ => None,
        }
    }

    /// All running stages, with their positions.
    pub(super) fn all_running(&mut self) -> impl Iterator<Item = (usize, &mut Running)> {
        let Self { stages, states, running, .. } = self;
        // Positions ascend, so the rest of the slice is split off after each.
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

    /// Changes the state of a stage.
    ///
    /// # Panics
    /// If it is running: only [`States::take`] ends that state, so that a running job is not dropped by accident.
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

    /// Takes the state of a stage; it is waiting until a new state is set.
    #[must_use]
    pub(super) fn take(&mut self, stage: usize) -> StageState {
        self.exchange(stage, StageState::Waiting { forced: false })
    }

    /// A dependency of the stage has changed.
    pub(super) fn look_again(&mut self, stage: usize) {
        if let Some(&position) = self.positions.get(&stage)
            && let StageState::Waiting { .. } = self.states[position]
        {
            self.unsettled.insert(position);
        }
    }

    /// The first waiting stage to examine, and whether it is forced; each is returned once.
    pub(super) fn next_unsettled(&mut self) -> Option<(usize, bool)> {
        let position = self.unsettled.pop_first()?;
        match self.states[position] {
            StageState::Waiting { forced } => Some((self.stages[position], forced)),
            _ => unreachable!("invariant: what is unsettled waits"),
        }
    }

    /// The first stage in running order, from this position, that could start, and the position after it.
    pub(super) fn next_startable(&self, from: usize) -> Option<(usize, usize)> {
        let position = *self.startable.range(from..).next()?;
        Some((self.stages[position], position + 1))
    }

    /// Lets stages whose delay is over be examined again.
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

    /// Whether no stage is running or waiting.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && self.startable.is_empty() && self.pausing.is_empty() && self.waiting == 0
    }

    /// Whether no stage is running.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}
