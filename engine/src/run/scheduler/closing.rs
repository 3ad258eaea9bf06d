//! Owns: how a run ends: the row of each stage, what its folder says, the links.

use super::Scheduler;
use crate::{
    figures::Figures,
    record::Record,
    run::{
        event::{Row, RowOutcome, RunEvent},
        folder::{self, Closed, ClosedStage, RunWriter, StageResult},
        links::link,
        options::{Options, Summary},
        states::{StageState, States},
    },
};
use pipe_stage::Digest;

impl Scheduler<'_> {
    /// Closes the run: writes how it ended to its folder, and updates the links.
    pub(super) fn close(mut self, options: &Options) -> Summary {
        let mut rows = Vec::new();
        for &stage in self.stages {
            let name = self.session.name(stage);
            rows.push(match self.states.get(stage) {
                StageState::Done { record, ran: true, .. } => row(name, RowOutcome::Ran, Some(record)),
                StageState::Done { record, .. } if self.is_frozen(stage) => {
                    row(name, RowOutcome::Frozen, Some(record))
                }
                StageState::Done { record, .. } => row(name, RowOutcome::Cached, Some(record)),
                StageState::Failed { interrupted: true } => row(name, RowOutcome::Interrupted, None),
                StageState::Failed { .. } => row(name, RowOutcome::Failed, None),
                StageState::Pausing { .. } if self.stop_requests > 0 => {
                    row(name, RowOutcome::Interrupted, None)
                }
                StageState::Pausing { .. } => row(name, RowOutcome::Failed, None),
                _ => row(name, RowOutcome::Skipped, None),
            });
        }
        let mut closed = self.closed(&rows);
        let done = std::mem::replace(&mut self.states, States::new(&[])).into_done();
        closed.unmet = Figures::of(&self.session.manifest, &done).complaints();
        if self.run.is_none() && !closed.unmet.is_empty() && !closed.interrupted {
            // Nothing had to run, and yet the call fails: whoever looks on later finds out why.
            self.run = RunWriter::new(self.session, self.stages).ok();
            if let Some(run) = &self.run {
                (self.tell)(&RunEvent::Began { folder: run.folder.clone() });
            }
        }
        if let Some(run) = &self.run {
            run.close(&rows, &closed);
            // Removes what killed workers left. The next run would do so too, but the disk space may be needed
            // before.
            self.sweep();
        }
        let broken = self.broken.take();
        let interrupted = self.stop_requests > 0;
        let is_whole = !interrupted && broken.is_none() && rows.iter().all(|row| row.outcome.is_done());
        let differs = |(stage, (key, record)): (&usize, &(Digest, Record))| {
            let name = self.session.name(*stage);
            let locked = self.session.lock.stages.get(name).filter(|_| options.is_locked)?;
            locked.is_broken_by(key, record).then(|| name.to_owned())
        };
        let differing: Vec<String> = done.iter().filter_map(differs).collect();
        let notes = match options.is_full && is_whole && closed.unmet.is_empty() && differing.is_empty() {
            true => link(self.session, done.iter().map(|(&stage, (_, record))| (stage, &record.outputs))),
            false => Vec::new(),
        };
        Summary { rows, done, interrupted, broken, differing, notes }
    }

    /// The outcome of each stage, for later commands.
    fn closed(&self, rows: &[Row]) -> Closed {
        let stages = self.stages.iter().zip(rows).map(|(stage, row)| {
            let made = match self.states.get(*stage) {
                StageState::Done { key, record, .. } => Some(StageResult::new(*key, record)),
                _ => None,
            };
            (row.stage.clone(), ClosedStage { outcome: row.outcome, made })
        });
        let (ended, interrupted) = (folder::now(), self.is_stopping());
        Closed { version: 1, ended, interrupted, stages: stages.collect(), unmet: Vec::new() }
    }
}

/// The row of a stage.
pub(super) fn row(stage: &str, outcome: RowOutcome, record: Option<&Record>) -> Row {
    Row {
        stage: stage.to_owned(),
        outcome,
        seconds: record.map_or(0.0, |record| record.seconds),
        memory_peak: record.map_or(0, |record| record.memory_peak),
        output_bytes: record.map_or(0, |record| record.output_bytes),
        metric: record.and_then(|record| record.main_metric().cloned()),
    }
}
