//! Long runs in durable folders: the latest checkpoint is found, a run goes on from it, and new ones are
//! stored as it goes.
//!
//! ```text
//! DURABLE/FENCE/
//! └── step-000000400/        one per stored step; see `state` for its files
//!     ├── state.safetensors
//!     ├── history.jsonl
//!     └── samples.jsonl
//! ```
//!
//! Runs of different lengths may share a folder. A checkpoint goes when a later one is stored, but never one of a
//! later step, which a longer run has left, and never one that is pinned.

use super::run::{Objective, Recipe, Speed, Watcher, train};
use super::state::{Build, Files, Point, State};
use crate::jsonl;
use crate::reported::Reported;
use burn::module::Module;
use burn::prelude::*;
use pipe_cache::{CheckpointRef, Content, Durable};
use pipe_stage::{Error, Result, Share, instruction_set};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STATE: &str = "state.safetensors";
const HISTORY: &str = "history.jsonl";
const SAMPLES: &str = "samples.jsonl";

/// A run in one durable folder.
pub(crate) struct Folder<'a, 'b> {
    pub(crate) share: &'a Share<'b>,
    pub(crate) durable: Durable,
    /// Steps from one checkpoint to the next.
    pub(crate) every: u64,
    /// Time after which a checkpoint is stored in any case.
    pub(crate) interval: Duration,
    /// Steps of the whole run, for progress.
    pub(crate) total: u64,
}

/// What becomes of the last state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is stored like any other.
    Stored,
    /// It stays for longer runs, which start from it.
    Pinned,
}

/// Rates of the steps taken in this process.
#[derive(Debug, Default)]
pub(crate) struct Rates(Vec<Speed>);

/// What is reported of them; only where the device's peak is known, the second.
pub(crate) const RATES: [Reported; 2] = [
    Reported::new("tokens_per_second", "token/s").higher_is_better().by_clock(),
    Reported::new("utilisation", "").higher_is_better().by_clock(),
];

impl Rates {
    /// Reports the medians of what a clock made of this process's steps.
    pub(crate) fn report(&self, share: &mut Share) {
        let median = |values: &mut dyn Iterator<Item = f64>| {
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let medians = [
            median(&mut self.0.iter().map(|speed| speed.tokens_per_second)),
            median(&mut self.0.iter().filter_map(|speed| speed.utilisation)),
        ];
        for (rate, median) in RATES.iter().zip(medians) {
            median.into_iter().for_each(|median| share.metric(rate.metric(median)));
        }
    }
}

fn step_of(meta: &Value) -> u64 {
    meta["step"].as_u64().unwrap_or(u64::MAX)
}

impl Folder<'_, '_> {
    /// The state of the latest checkpoint at step `until` or earlier that can be read; one made by this
    /// instruction set wins over a later one made by another.
    pub(crate) fn latest<M: Module>(
        &self,
        until: u64,
        build: &Build<'_, M>,
        device: &Device,
    ) -> Result<Option<State<M>>> {
        let mut checkpoints = self.durable.checkpoints()?;
        checkpoints.retain(|checkpoint| step_of(&checkpoint.meta) <= until);
        let own = |meta: &Value| meta["instruction_set"] == instruction_set();
        checkpoints.sort_by_key(|checkpoint| (own(&checkpoint.meta), step_of(&checkpoint.meta)));
        while let Some(checkpoint) = checkpoints.pop() {
            match read(&checkpoint, build, device) {
                Ok(state) => {
                    if !own(&checkpoint.meta) {
                        let (other, here) = (&checkpoint.meta["instruction_set"], instruction_set());
                        self.share
                            .note(format!("resuming from a checkpoint made with {other}; this is {here}"));
                    }
                    return Ok(Some(state));
                }
                Err(error) => {
                    let name = &checkpoint.name;
                    self.share
                        .note(format!("checkpoint {name} is ignored: {error}; trying the one before it"));
                }
            }
        }
        Ok(None)
    }

    /// Trains until `until` steps are taken, storing checkpoints on the way and one at the end.
    pub(crate) fn train<T: Objective>(
        &self,
        task: &T,
        recipe: &Recipe,
        state: State<T::Model>,
        until: u64,
        ending: Ending,
        rates: &mut Rates,
    ) -> Result<State<T::Model>> {
        let began = state.progress.step;
        if began > 0 && began < until {
            self.share.note(format!("resuming from step {began} of {until}"));
        }
        let mut following = Following { folder: self, until, rates, stored: began, last: Instant::now() };
        let state = train(task, recipe, state, until, &mut following)?;
        // Without a step taken, the state is that of a checkpoint that was read.
        let is_stored = state.progress.step == began
            && (ending == Ending::Stored || self.is_pinned(state.progress.step)?);
        if !is_stored {
            self.store(&state, ending)?;
        }
        Ok(state)
    }

    fn is_pinned(&self, step: u64) -> Result<bool> {
        let is_it = |meta: &Value| step_of(meta) == step && meta["pinned"] == true;
        Ok(self.durable.checkpoints()?.iter().any(|checkpoint| is_it(&checkpoint.meta)))
    }

    /// Stores a checkpoint, and deletes those that it replaces.
    fn store<M: Module>(&self, state: &State<M>, ending: Ending) -> Result<()> {
        let step = state.progress.step;
        let name = format!("step-{step:012}");
        let mut meta = json!({ "step": step, "instruction_set": instruction_set() });
        let checkpoints = self.durable.checkpoints()?;
        if ending == Ending::Pinned || self.is_pinned(step)? {
            meta["pinned"] = json!(true);
        }
        let scratch = self.share.scratch()?;
        let path = scratch.path().join(STATE);
        state.write(&path)?;
        let history = jsonl::to_bytes(&state.progress.history);
        let samples = jsonl::to_bytes(&state.progress.samples);
        let files = [
            (STATE, Content::File(&path)),
            (HISTORY, Content::Bytes(&history)),
            (SAMPLES, Content::Bytes(&samples)),
        ];
        self.durable.checkpoint(&name, &files, &meta)?;
        let is_kept = |meta: &Value| step_of(meta) > step || meta["pinned"] == true;
        let kept = checkpoints.iter().filter(|c| is_kept(&c.meta)).map(|c| c.name.as_str());
        let kept: Vec<&str> = kept.chain([name.as_str()]).collect();
        Ok(self.durable.keep(&kept)?)
    }
}

fn read<M: Module>(checkpoint: &CheckpointRef, build: &Build<'_, M>, device: &Device) -> Result<State<M>> {
    let file = |name: &str| {
        let path = checkpoint.path(name).ok_or_else(|| Error::input(format!("it has no `{name}`")))?;
        std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))
    };
    let files = Files { state: file(STATE)?, history: file(HISTORY)?, samples: file(SAMPLES)? };
    let state = State::from_files(&files, build, device)?;
    let noted = step_of(&checkpoint.meta);
    if state.progress.step != noted {
        let step = state.progress.step;
        return Err(Error::input(format!("it is of step {step}, its manifest says {noted}")));
    }
    Ok(state)
}

struct Following<'a, 'b, 'c> {
    folder: &'a Folder<'b, 'c>,
    until: u64,
    rates: &'a mut Rates,
    /// Step of the last checkpoint.
    stored: u64,
    /// When it was stored.
    last: Instant,
}

impl Following<'_, '_, '_> {
    fn store<M: Module>(&mut self, state: &State<M>) -> Result<()> {
        if state.progress.step > self.stored {
            self.folder.store(state, Ending::Stored)?;
            self.stored = state.progress.step;
        }
        self.last = Instant::now();
        Ok(())
    }
}

impl<M: Module> Watcher<M> for Following<'_, '_, '_> {
    fn step(&mut self, point: &Point, speed: Speed) {
        let share = self.folder.share;
        let figures = [("loss", point.loss), ("lr", point.lr), ("gradient_norm", point.gradient_norm)];
        for (name, value) in figures {
            value.inspect(|&value| share.point(name, point.step, f64::from(value)));
        }
        share.point("tokens_per_second", point.step, speed.tokens_per_second);
        speed.utilisation.inspect(|&value| share.point("utilisation", point.step, value));
        share.progress("steps", point.step, self.folder.total);
        self.rates.0.push(speed);
    }

    fn after(&mut self, state: &State<M>) -> Result<()> {
        let (share, step) = (self.folder.share, state.progress.step);
        if let Some(point) = state.progress.history.last() {
            point.validation.iter().for_each(|(name, &value)| share.point(name, step, f64::from(value)));
        }
        if share.is_stopping() {
            self.store(state)?;
            return Err(Error::Interrupted);
        }
        let is_due = step % self.folder.every == 0 || self.last.elapsed() >= self.folder.interval;
        if is_due && step < self.until {
            self.store(state)?;
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.folder.share.is_stopping()
    }

    fn interrupted(&mut self, before: &State<M>) -> Error {
        self.store(before).err().unwrap_or(Error::Interrupted)
    }
}
