//! The training loop, for any task: accumulation, clipping, AdamW, validation, early stopping, samples.
//!
//! Owns: what a step does and what a checkpoint holds. Knows nothing of files: a [`Watcher`] stores
//! checkpoints. A run that was interrupted anywhere ends in the same bytes as one that was not, because the
//! state is whole and every random number follows from (seed, purpose, step).

use super::schedule::LearningRate;
use crate::kernels::adamw::AdamWStep;
use crate::kernels::{instruction_set, matrix_peak};
use crate::random::{Purpose, seed};
use crate::safetensors::{Tensors, decode, encode};
use crate::transformer::{
    Moments, Named, Noise, Weights, accumulate, global_norm, load, take_fitting, take_gradients, update,
    weights,
};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::TensorData;
use pipe_stage::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// What is trained on what.
pub(crate) trait Objective {
    type Model: Module;

    /// Loss of micro-batch number `batch`.
    fn loss(&self, model: &Self::Model, batch: u64, noise: Noise) -> Result<Tensor<1>>;

    /// Figures on the held-out set, `loss_validation` among them; `model` is without autodiff.
    fn validate(&self, model: &Self::Model) -> Result<BTreeMap<String, f32>>;

    /// Texts that show what the model can do at `step`; `model` is without autodiff.
    fn samples(&self, _model: &Self::Model, _step: u64) -> Result<Vec<Sample>> {
        Ok(Vec::new())
    }

    /// Tokens of a micro-batch, for rates.
    fn tokens(&self) -> u64;

    /// Floating-point operations of training on one token.
    fn flops_per_token(&self) -> f64;
}

/// All numbers of a run that decide its result, apart from the task's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recipe {
    pub(crate) learning_rate: LearningRate,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    /// Largest global gradient norm; 0 for no clipping.
    pub(crate) clip: f64,
    /// Micro-batches of a step.
    pub(crate) accumulation: u64,
    pub(crate) dropout: f64,
    pub(crate) seed: u64,
    /// Steps from one validation to the next; 0 for never.
    pub(crate) validate_steps: u64,
    /// Validations without a new best loss after which training ends with the best weights; 0 for never.
    pub(crate) patience: u64,
}

/// One line of a run's history. Nothing here comes from a clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Steps taken.
    pub(crate) step: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) loss: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) lr: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) gradient_norm: Option<f32>,
    /// Figures on the held-out set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) validation: BTreeMap<String, f32>,
}

/// A text that a model wrote during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) step: u64,
    pub(crate) prompt: String,
    pub(crate) text: String,
}

/// Figures of a step that a clock made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) tokens_per_second: f64,
    /// Share of the machine's measured matrix peak.
    pub(crate) utilisation: f64,
}

/// Whoever follows a run: reports its points, and stores its checkpoints.
pub(crate) trait Watcher<M: Module> {
    fn step(&mut self, point: &Point, speed: Speed);

    /// Called after each step; may store the state, may end the run with an error.
    fn after(&mut self, state: &State<M>) -> Result<()>;
}

/// Everything that a run carries from step to step.
#[derive(Debug)]
pub(crate) struct State<M: Module> {
    pub(crate) model: M,
    moments: Moments,
    pub(crate) progress: Progress,
    best: BTreeMap<String, Weights>,
}

/// The part of the state that is not tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps taken.
    pub(crate) step: u64,
    pub(crate) history: Vec<Point>,
    pub(crate) samples: Vec<Sample>,
    /// Least validation loss so far.
    pub(crate) loss_best: Option<f32>,
    /// Validations since then.
    pub(crate) validations_since_best: u64,
    /// Early stopping has ended the run.
    pub(crate) is_over: bool,
    /// Instruction sets that took part in these steps.
    pub(crate) instruction_sets: Vec<String>,
}

impl Progress {
    /// Validation loss of the weights that the run gives.
    pub(crate) fn final_validation(&self, is_best: bool) -> Option<f32> {
        let last =
            || self.history.iter().rev().find_map(|point| point.validation.get("loss_validation").copied());
        if is_best { self.loss_best } else { last() }
    }

    /// Mean training loss of the last `n` steps.
    pub(crate) fn mean_loss(&self, n: usize) -> Option<f64> {
        let losses: Vec<f32> = self.history.iter().rev().take(n).filter_map(|point| point.loss).collect();
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        (!losses.is_empty()).then(|| sum / losses.len() as f64)
    }
}

/// Takes steps until `until` of them are taken, or early stopping ends the run.
pub(crate) fn train<T: Objective>(
    task: &T,
    recipe: &Recipe,
    mut state: State<T::Model>,
    until: u64,
    watcher: &mut dyn Watcher<T::Model>,
) -> Result<State<T::Model>> {
    if !state.progress.instruction_sets.iter().any(|set| set == instruction_set()) {
        state.progress.instruction_sets.push(instruction_set().to_owned());
    }
    while state.progress.step < until && !state.progress.is_over {
        let began = Instant::now();
        let point;
        (state, point) = step(task, recipe, state)?;
        let seconds = began.elapsed().as_secs_f64().max(1e-9);
        let tokens_per_second = (task.tokens() * recipe.accumulation) as f64 / seconds;
        let utilisation = tokens_per_second * task.flops_per_token() / matrix_peak();
        watcher.step(&point, Speed { tokens_per_second, utilisation });
        let is_last = state.progress.step == recipe.learning_rate.steps;
        if recipe.validate_steps > 0 && (state.progress.step % recipe.validate_steps == 0 || is_last) {
            validate(task, recipe, &mut state)?;
        }
        watcher.after(&state)?;
    }
    Ok(state)
}

/// Takes one step and notes it in the history.
///
/// The state goes in and out by value: with a second handle to the model, the optimizer would have to copy
/// every tensor.
fn step<T: Objective>(task: &T, recipe: &Recipe, state: State<T::Model>) -> Result<(State<T::Model>, Point)> {
    let State { model, mut moments, mut progress, best } = state;
    let taken = progress.step;
    let (mut loss, mut gradients) = (0.0_f64, Named::new());
    for batch in taken * recipe.accumulation..(taken + 1) * recipe.accumulation {
        let noise = Noise { rate: recipe.dropout as f32, seed: seed(recipe.seed, Purpose::Dropout, batch) };
        let batch_loss = task.loss(&model, batch, noise)?;
        let value = batch_loss.clone().inner().into_data().iter::<f32>().next().unwrap_or(f32::NAN);
        finite(f64::from(value), "loss", taken)?;
        loss += f64::from(value) / recipe.accumulation as f64;
        accumulate(&mut gradients, take_gradients(&model, batch_loss.backward()));
    }
    let mean = 1.0 / recipe.accumulation as f64;
    let norm = finite(global_norm(&gradients) * mean, "gradient norm", taken)?;
    let clip = if recipe.clip > 0.0 { (recipe.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
    let lr = recipe.learning_rate.lr(taken);
    let adamw = AdamWStep {
        lr: lr as f32,
        beta1: recipe.beta1 as f32,
        beta2: recipe.beta2 as f32,
        epsilon: recipe.epsilon as f32,
        weight_decay: recipe.weight_decay as f32,
        gradient_scale: (mean * clip) as f32,
        time: taken + 1,
    };
    let model = update(model, gradients, &mut moments, adamw);
    progress.step += 1;
    let point = Point {
        step: progress.step,
        loss: Some(loss as f32),
        lr: Some(lr as f32),
        gradient_norm: Some(norm as f32),
        validation: BTreeMap::new(),
    };
    progress.history.push(point.clone());
    Ok((State { model, moments, progress, best }, point))
}

fn finite(value: f64, what: &str, step: u64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    let message = format!("the {what} is {value} at step {step}");
    Err(Error::input(message).help("lower `optimizer.lr` or raise `warmup_steps`; the last checkpoint stays"))
}

fn validate<T: Objective>(task: &T, recipe: &Recipe, state: &mut State<T::Model>) -> Result<()> {
    let model = state.model.valid();
    let progress = &mut state.progress;
    let validation = task.validate(&model)?;
    let loss = validation.get("loss_validation").copied().unwrap_or(f32::NAN);
    finite(f64::from(loss), "validation loss", progress.step)?;
    progress.samples.extend(task.samples(&model, progress.step)?);
    if let Some(point) = progress.history.last_mut() {
        point.validation = validation;
    }
    if progress.loss_best.is_none_or(|best| loss < best) {
        (progress.loss_best, progress.validations_since_best) = (Some(loss), 0);
        if recipe.patience > 0 {
            state.best = weights(&model);
        }
    } else {
        progress.validations_since_best += 1;
        progress.is_over = recipe.patience > 0 && progress.validations_since_best >= recipe.patience;
    }
    Ok(())
}

impl<M: Module> State<M> {
    /// A run that has taken no step.
    pub(crate) fn new(model: M) -> Self {
        Self { model, moments: Moments::default(), progress: Progress::default(), best: BTreeMap::new() }
    }

    /// The weights that the run gives: with early stopping the best, else the last.
    pub(crate) fn result(&self) -> BTreeMap<String, Weights> {
        if self.best.is_empty() { weights(&self.model) } else { self.best.clone() }
    }

    /// A safetensors file: `weights.*`, `first.*` and `second.*` (moments), `best.*`; the progress as JSON in
    /// its metadata.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = Tensors::new();
        let mut put = |kind: &str, more: BTreeMap<String, Weights>| {
            tensors.extend(more.into_iter().map(|(name, weights)| (format!("{kind}.{name}"), weights)));
        };
        put("weights", weights(&self.model));
        put("first", flat(&self.moments.first));
        put("second", flat(&self.moments.second));
        put("best", self.best.clone());
        let progress = serde_json::to_string(&self.progress).expect("invariant: progress is plain data");
        encode(&tensors, [("progress".to_owned(), progress)].into())
    }

    /// Reads what `to_bytes` wrote into a model of the same architecture.
    pub(crate) fn from_bytes(bytes: &[u8], model: M, device: &Device) -> Result<Self> {
        let broken = |what: String| Error::input(format!("a checkpoint cannot be used: {what}"));
        let (tensors, metadata) = decode(bytes).map_err(|error| broken(error.to_string()))?;
        let progress = metadata.get("progress").ok_or_else(|| broken("it has no progress".into()))?;
        let progress = serde_json::from_str(progress).map_err(|error| broken(error.to_string()))?;
        let mut kinds: BTreeMap<&str, BTreeMap<String, Weights>> = BTreeMap::new();
        for (name, weights) in tensors {
            for kind in ["weights", "first", "second", "best"] {
                if let Some(name) = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) {
                    kinds.entry(kind).or_default().insert(name.to_owned(), weights.clone());
                }
            }
        }
        let mut of = |kind| kinds.remove(kind).unwrap_or_default();
        let mut weights = of("weights");
        let model = load(model, |name, shape| take_fitting(&mut weights, name, shape).map_err(broken))?;
        let moments =
            Moments { first: tensors_of(of("first"), device), second: tensors_of(of("second"), device) };
        Ok(Self { model, moments, progress, best: of("best") })
    }
}

fn flat(named: &Named) -> BTreeMap<String, Weights> {
    let weights = named.iter().map(|(name, tensor)| {
        let values: Vec<f32> = tensor.to_data().iter::<f32>().collect();
        (name.clone(), Weights { shape: vec![values.len()], values })
    });
    weights.collect()
}

fn tensors_of(weights: BTreeMap<String, Weights>, device: &Device) -> Named {
    let device = device.clone().inner();
    let tensors = weights.into_iter().map(|(name, weights)| {
        let n = weights.values.len();
        (name, Tensor::from_data(TensorData::new(weights.values, [n]), &device))
    });
    tensors.collect()
}
