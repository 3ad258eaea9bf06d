//! The training loop, for any objective: accumulation, clipping, AdamW, validation, early stopping, samples.
//!
//! Owns: what a step does. Knows nothing of files: a [`Watcher`] stores checkpoints. A run that was interrupted
//! anywhere ends in the same bytes as one that was not, because the state is whole and every random number
//! follows from (seed, purpose, step).

use super::reduce::reduce;
use super::schedule::LearningRate;
use super::state::{Point, Sample, State};
use crate::kernels::adamw::AdamWStep;
use crate::kernels::matrix_peak;
use crate::random::{Purpose, seed};
use crate::transformer::{Named, Noise, global_norm, sum, take_gradients, update, weights};
use burn::module::Module;
use burn::prelude::*;
use pipe_stage::{Error, Result, instruction_set};
use std::collections::BTreeMap;
use std::time::Instant;

/// What is trained on what.
pub(crate) trait Objective {
    type Model: Module;

    /// Loss of micro-batch number `batch`.
    fn loss(&self, model: &Self::Model, batch: u64, noise: Noise) -> Result<Loss>;

    /// Figures on the held-out set, `val_loss` among them; `model` is without autodiff.
    fn validate(&self, model: &Self::Model) -> Result<BTreeMap<String, f32>>;

    /// Texts that show what the model can do at `step`; `model` is without autodiff.
    fn samples(&self, _model: &Self::Model, _step: u64) -> Result<Vec<Sample>> {
        Ok(Vec::new())
    }

    /// Floating-point operations of training on one token.
    fn flops_per_token(&self) -> f64;

    /// Whether the model is on the CPU.
    fn is_on_cpu(&self) -> bool;
}

/// The loss of a micro-batch, on the tape.
pub(crate) struct Loss {
    pub(crate) value: Tensor<1>,
    /// Tokens of the micro-batch, without padding.
    pub(crate) tokens: u64,
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
    pub(crate) max_grad_norm: f64,
    /// Micro-batches of a step.
    pub(crate) gradient_accumulation_steps: u64,
    pub(crate) dropout: f64,
    pub(crate) seed: u64,
    /// Steps from one validation to the next; 0 for never.
    pub(crate) validate_steps: u64,
    /// Validations without a new best loss after which training ends with the best weights; 0 for never.
    pub(crate) patience: u64,
}

/// Figures of a step that a clock made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) tokens_per_second: f64,
    /// Fraction of the device's peak of matrix products, at most 1; none where the peak is not known.
    pub(crate) utilisation: Option<f64>,
}

/// Whoever follows a run: reports its points, stores its checkpoints, and may end it.
pub(crate) trait Watcher<M: Module> {
    fn step(&mut self, point: &Point, speed: Speed);

    /// Called after each step; may store the state, may end the run with an error.
    fn after(&mut self, state: &State<M>) -> Result<()>;

    /// Asked between the micro-batches of a step: whether to drop what is done of it.
    fn is_stopping(&self) -> bool {
        false
    }

    /// Called with the state before a step that was dropped; gives the error that ends the run.
    fn interrupted(&mut self, _before: &State<M>) -> Error {
        Error::Interrupted
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
        let (tokens, point);
        (state, tokens, point) = match step(task, recipe, state, &|| watcher.is_stopping())? {
            Taken::Whole { state, tokens, point } => (state, tokens, point),
            Taken::Dropped { before } => return Err(watcher.interrupted(&before)),
        };
        let seconds = began.elapsed().as_secs_f64().max(1e-9);
        watcher.step(&point, speed(task, tokens, seconds));
        let is_last = state.progress.step == recipe.learning_rate.steps;
        if recipe.validate_steps > 0 && (state.progress.step % recipe.validate_steps == 0 || is_last) {
            validate(task, recipe, &mut state)?;
        }
        watcher.after(&state)?;
    }
    Ok(state)
}

fn speed<T: Objective>(task: &T, tokens: u64, seconds: f64) -> Speed {
    let tokens_per_second = tokens as f64 / seconds;
    // Only the CPU's peak is measured. A step that is faster than the measured peak has raised it.
    let flops = tokens_per_second * task.flops_per_token();
    let utilisation = task.is_on_cpu().then(|| flops / matrix_peak().max(flops));
    Speed { tokens_per_second, utilisation }
}

/// What came of a step.
enum Taken<M: Module> {
    Whole {
        state: State<M>,
        tokens: u64,
        point: Point,
    },
    /// The run is to stop: nothing has changed.
    Dropped {
        before: State<M>,
    },
}

/// Takes one step and notes it in the history, unless `is_stopping` says yes between its micro-batches.
///
/// The state goes in and out by value: with a second handle to the model, the optimizer would have to copy
/// every tensor. Micro-batches are summed in a fixed binary tree, so that 1, 2, 4, … processes that share them
/// can come to the same bits.
fn step<T: Objective>(
    task: &T,
    recipe: &Recipe,
    state: State<T::Model>,
    is_stopping: &dyn Fn() -> bool,
) -> Result<Taken<T::Model>> {
    let taken = state.progress.step;
    let first = taken * recipe.gradient_accumulation_steps;
    let micro_batch = |batch: u64| {
        if batch > first && is_stopping() {
            return Err(Stopped::Asked);
        }
        let noise = Noise { rate: recipe.dropout as f32, seed: seed(recipe.seed, Purpose::Dropout, batch) };
        let loss = task.loss(&state.model, batch, noise)?;
        let value = loss.value.clone().inner().into_data().iter::<f32>().next().unwrap_or(f32::NAN);
        let value = finite(f64::from(value), "loss", taken)?;
        Ok((value, loss.tokens, take_gradients(&state.model, loss.value.backward())))
    };
    let join = |a: (f64, u64, Named), b: (f64, u64, Named)| (a.0 + b.0, a.1 + b.1, sum(a.2, b.2));
    let (loss, tokens, gradients) =
        match reduce(first..first + recipe.gradient_accumulation_steps, micro_batch, join) {
            Ok(sums) => sums,
            Err(Stopped::Asked) => return Ok(Taken::Dropped { before: state }),
            Err(Stopped::Failed(error)) => return Err(error),
        };
    let State { model, mut moments, mut progress, best } = state;
    let mean = 1.0 / recipe.gradient_accumulation_steps as f64;
    let norm = finite(global_norm(&gradients) * mean, "gradient norm", taken)?;
    let clip = if recipe.max_grad_norm > 0.0 { (recipe.max_grad_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
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
        loss: Some((loss * mean) as f32),
        lr: Some(lr as f32),
        gradient_norm: Some(norm as f32),
        validation: BTreeMap::new(),
    };
    progress.history.push(point.clone());
    Ok(Taken::Whole { state: State { model, moments, progress, best }, tokens, point })
}

/// Why a step was not taken.
enum Stopped {
    Asked,
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn finite(value: f64, what: &str, step: u64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    let message = format!("the {what} is {value} at step {step}");
    Err(Error::input(message)
        .help("lower `optimizer.lr` or raise `warmup_steps`; the last checkpoint is kept"))
}

fn validate<T: Objective>(task: &T, recipe: &Recipe, state: &mut State<T::Model>) -> Result<()> {
    let model = state.model.valid();
    let progress = &mut state.progress;
    let validation = task.validate(&model)?;
    let loss = validation.get("val_loss").copied().unwrap_or(f32::NAN);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::loss::Targets;
    use crate::training::LrSchedule;
    use crate::transformer::{CausalLm, Form, Ids, tiny};
    use std::cell::Cell;

    struct Toy;

    impl Objective for Toy {
        type Model = CausalLm;

        fn loss(&self, model: &CausalLm, batch: u64, noise: Noise) -> Result<Loss> {
            let id = |i: u64| ((batch * 5 + i * 7) % 50) as u32;
            let targets = Targets::mean((1..9).map(id).collect());
            Ok(Loss { value: model.loss(&Ids::new((0..8).map(id).collect(), 1), &targets, noise), tokens: 8 })
        }

        fn validate(&self, _: &CausalLm) -> Result<BTreeMap<String, f32>> {
            Ok([("val_loss".to_owned(), 1.0)].into())
        }

        fn flops_per_token(&self) -> f64 {
            1e12
        }

        fn is_on_cpu(&self) -> bool {
            true
        }
    }

    /// Asks a run to stop when it has been asked this often.
    struct Impatient {
        asked: Cell<u64>,
        stops_at: u64,
        steps: u64,
        utilisation: Option<f64>,
    }

    impl Watcher<CausalLm> for Impatient {
        fn step(&mut self, _: &Point, speed: Speed) {
            self.steps += 1;
            self.utilisation = speed.utilisation;
        }

        fn after(&mut self, _: &State<CausalLm>) -> Result<()> {
            Ok(())
        }

        fn is_stopping(&self) -> bool {
            self.asked.set(self.asked.get() + 1);
            self.asked.get() >= self.stops_at
        }
    }

    fn recipe(gradient_accumulation_steps: u64) -> Recipe {
        let learning_rate = LearningRate {
            schedule: LrSchedule::Constant,
            lr: 1e-2,
            lr_min: 1e-3,
            warmup_steps: 0,
            steps: 3,
            decay_fraction: 0.0,
        };
        Recipe {
            learning_rate,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            gradient_accumulation_steps,
            dropout: 0.1,
            seed: 3,
            validate_steps: 0,
            patience: 0,
        }
    }

    fn run(gradient_accumulation_steps: u64, stops_at: u64) -> (Result<State<CausalLm>>, Impatient) {
        let model = tiny(Form::Llama, true).init(1, &Device::flex().autodiff());
        let mut watcher = Impatient { asked: Cell::new(0), stops_at, steps: 0, utilisation: None };
        let state = train(&Toy, &recipe(gradient_accumulation_steps), State::new(model), 3, &mut watcher);
        (state, watcher)
    }

    #[test]
    fn a_stop_between_micro_batches_drops_the_step() {
        // Four micro-batches a step: asked before the last three of each.
        for (stops_at, steps) in [(1, 0), (3, 0), (4, 1), (9, 2)] {
            let (state, watcher) = run(4, stops_at);
            assert!(matches!(state, Err(Error::Interrupted)));
            assert_eq!((watcher.asked.get(), watcher.steps), (stops_at, steps));
        }
        assert_eq!(run(4, u64::MAX).1.steps, 3);
    }

    #[test]
    fn utilisation_is_never_above_one() {
        assert_eq!(run(1, u64::MAX).1.utilisation, Some(1.0));
    }
}
