//! Long runs in durable folders: the latest checkpoint is found, a run goes on from it, and new ones are
//! stored as it goes.
//!
//! ```text
//! DURABLE/FENCE/
//! └── step-000000400/        one per stored step
//!     └── state.safetensors  see `train::State::to_bytes`
//! ```

use crate::kernels::instruction_set;
use crate::training::{Objective, Point, Recipe, Speed, State, Watcher, train};
use burn::module::Module;
use burn::prelude::*;
use pipe_cache::{Content, Durable};
use pipe_stage::{Error, Metric, Result, Share};
use serde_json::json;

const FILE: &str = "state.safetensors";

/// A run in one durable folder.
pub(crate) struct Folder<'a, 'b> {
    pub(crate) share: &'a Share<'b>,
    pub(crate) durable: Durable,
    /// Steps from one checkpoint to the next.
    pub(crate) every: u64,
    /// Steps of the whole run, for progress.
    pub(crate) total: u64,
}

/// Rates of the steps taken in this process.
#[derive(Debug, Default)]
pub(crate) struct Rates(Vec<Speed>);

impl Rates {
    /// Median tokens per second and utilisation; `None` if no step was taken.
    fn median(&self) -> Option<Speed> {
        let middle = |values: &mut dyn Iterator<Item = f64>| {
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Speed {
            tokens_per_second: middle(&mut self.0.iter().map(|speed| speed.tokens_per_second))?,
            utilisation: middle(&mut self.0.iter().map(|speed| speed.utilisation))?,
        })
    }
}

impl Rates {
    /// Reports what a clock made of this process's steps.
    pub(crate) fn report(&self, share: &mut Share) {
        if let Some(speed) = self.median() {
            let rate = Metric::new("tokens_per_second", speed.tokens_per_second, "token/s");
            share.metric(rate.higher_is_better().by_clock());
            share.metric(Metric::new("utilisation", speed.utilisation, "").higher_is_better().by_clock());
        }
    }
}

impl Folder<'_, '_> {
    /// The state of the latest checkpoint, at most `until` steps old; one made by this instruction set wins
    /// over a later one made by another.
    pub(crate) fn latest<M: Module>(
        &self,
        until: u64,
        fresh: &M,
        device: &Device,
    ) -> Result<Option<State<M>>> {
        let step = |meta: &serde_json::Value| meta["step"].as_u64().unwrap_or(u64::MAX);
        let mut checkpoints = self.durable.checkpoints()?;
        checkpoints.retain(|checkpoint| step(&checkpoint.meta) <= until);
        let own = |meta: &serde_json::Value| meta["instruction_set"] == instruction_set();
        checkpoints.sort_by_key(|checkpoint| (own(&checkpoint.meta), step(&checkpoint.meta)));
        let Some(checkpoint) = checkpoints.pop() else { return Ok(None) };
        let Some(path) = checkpoint.path(FILE) else { return Ok(None) };
        if !own(&checkpoint.meta) {
            let other = &checkpoint.meta["instruction_set"];
            self.share
                .note(format!("going on from a checkpoint made with {other}, here is {}", instruction_set()));
        }
        let bytes = std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
        State::from_bytes(&bytes, fresh.clone(), device).map(Some)
    }

    /// Trains until `until` steps are taken, storing checkpoints on the way and one at the end.
    pub(crate) fn train<T: Objective>(
        &self,
        task: &T,
        recipe: &Recipe,
        state: State<T::Model>,
        until: u64,
        rates: &mut Rates,
    ) -> Result<State<T::Model>> {
        let began = state.progress.step;
        let state = train(task, recipe, state, until, &mut Following { folder: self, until, rates })?;
        if state.progress.step == began {
            return Ok(state); // nothing was left to do
        }
        self.store(&state)?;
        Ok(state)
    }

    /// Stores a checkpoint that goes when a later one is there.
    fn store<M: Module>(&self, state: &State<M>) -> Result<()> {
        self.write(state, json!({}))
    }

    /// Stores a state that later runs with more steps will start from.
    pub(crate) fn pin<M: Module>(&self, state: &State<M>) -> Result<()> {
        self.write(state, json!({ "pinned": true }))
    }

    fn write<M: Module>(&self, state: &State<M>, mut meta: serde_json::Value) -> Result<()> {
        let step = state.progress.step;
        meta["step"] = json!(step);
        meta["instruction_set"] = json!(instruction_set());
        let bytes = state.to_bytes()?;
        Ok(self.durable.checkpoint(&format!("step-{step:012}"), &[(FILE, Content::Bytes(&bytes))], &meta)?)
    }

    /// Deletes all checkpoints but the latest, and those at `pinned` steps.
    fn prune(&self, latest: u64) -> Result<()> {
        let checkpoints = self.durable.checkpoints()?;
        let is_kept =
            |meta: &serde_json::Value| meta["step"].as_u64() == Some(latest) || meta["pinned"] == true;
        let kept: Vec<&str> =
            checkpoints.iter().filter(|c| is_kept(&c.meta)).map(|c| c.name.as_str()).collect();
        Ok(self.durable.keep(&kept)?)
    }
}

struct Following<'a, 'b, 'c> {
    folder: &'a Folder<'b, 'c>,
    until: u64,
    rates: &'a mut Rates,
}

impl<M: Module> Watcher<M> for Following<'_, '_, '_> {
    fn step(&mut self, point: &Point, speed: Speed) {
        let share = self.folder.share;
        let figures = [("loss", point.loss), ("lr", point.lr), ("gradient_norm", point.gradient_norm)];
        for (name, value) in figures {
            value.inspect(|&value| share.point(name, point.step, f64::from(value)));
        }
        share.point("tokens_per_second", point.step, speed.tokens_per_second);
        share.point("utilisation", point.step, speed.utilisation);
        share.progress("steps", point.step, self.folder.total);
        self.rates.0.push(speed);
    }

    fn after(&mut self, state: &State<M>) -> Result<()> {
        let (share, step) = (self.folder.share, state.progress.step);
        if let Some(point) = state.progress.history.last() {
            point.validation.iter().for_each(|(name, &value)| share.point(name, step, f64::from(value)));
        }
        if share.is_stopping() {
            self.folder.store(state)?;
            return Err(Error::Interrupted);
        }
        if step % self.folder.every == 0 && step < self.until {
            self.folder.store(state)?;
            self.folder.prune(step)?;
        }
        Ok(())
    }
}
