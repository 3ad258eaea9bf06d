//! What a run carries from step to step, and its files.
//!
//! ```text
//! state.safetensors   weights.*, first.* and second.* (moments), best.*; in its metadata the format's version and
//!                     the progress as JSON, without history and samples
//! history.jsonl       a line per step
//! samples.jsonl       a line per text
//! ```

use crate::jsonl;
use crate::safetensors::{self, Stored, decode};
use crate::transformer::{Moments, Named, Start, Weights, take_fitting, tensors, weights};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::TensorData;
use pipe_stage::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of a checkpoint's files. History: 1, history and samples in the metadata, no version. 2, in files of
/// their own; queries, keys and values in one matrix, gate and up in one.
const VERSION: &str = "2";

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

/// Everything that a run carries from step to step.
#[derive(Debug)]
pub(crate) struct State<M: Module> {
    pub(crate) model: M,
    pub(super) moments: Moments,
    pub(crate) progress: Progress,
    pub(super) best: BTreeMap<String, Weights>,
}

/// The part of the state that is not tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps taken.
    pub(crate) step: u64,
    #[serde(skip)]
    pub(crate) history: Vec<Point>,
    #[serde(skip)]
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
    /// Figures on the held-out set of the weights that the run gives: the best of all validations with early
    /// stopping (`is_best`), else the last.
    pub(crate) fn final_validation(&self, is_best: bool) -> Option<&BTreeMap<String, f32>> {
        let mut validations = self.history.iter().map(|point| &point.validation).filter(|v| !v.is_empty());
        if is_best {
            validations.find(|validation| validation.get(LOSS).copied() == self.loss_best)
        } else {
            validations.next_back()
        }
    }

    /// Mean training loss of the last `n` steps.
    pub(crate) fn mean_loss(&self, n: usize) -> Option<f64> {
        let losses: Vec<f32> = self.history.iter().rev().take(n).filter_map(|point| point.loss).collect();
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        (!losses.is_empty()).then(|| sum / losses.len() as f64)
    }
}

/// Bytes of a line of the history, about.
pub(crate) const HISTORY_BYTES_PER_STEP: f64 = 90.0;

/// The figure that validations are compared by.
pub(crate) const LOSS: &str = "val_loss";

/// The bytes of a state's files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) state: Vec<u8>,
    pub(super) history: Vec<u8>,
    pub(super) samples: Vec<u8>,
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

    /// Writes `state.safetensors` to `path`, tensor by tensor.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut all = BTreeMap::new();
        for (name, (shape, tensor)) in tensors(&self.model) {
            all.insert(format!("weights.{name}"), Stored::Tensor(shape, tensor));
        }
        for (kind, moments) in [("first", &self.moments.first), ("second", &self.moments.second)] {
            for (name, tensor) in moments {
                all.insert(format!("{kind}.{name}"), Stored::Tensor(tensor.dims().to_vec(), tensor.clone()));
            }
        }
        for (name, weights) in &self.best {
            all.insert(format!("best.{name}"), Stored::Weights(weights));
        }
        let progress = serde_json::to_string(&self.progress).expect("invariant: progress is plain data");
        let metadata = [("version", VERSION.to_owned()), ("progress", progress)];
        safetensors::write(path, all, metadata.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Reads the three files; `build` makes the model of the values that it is given.
    pub(super) fn from_files(files: &Files, build: &Build<'_, M>, device: &Device) -> Result<Self> {
        let broken = |what: String| Error::input(format!("a checkpoint cannot be used: {what}"));
        let (tensors, metadata) = decode(&files.state)?;
        match metadata.get("version").map(String::as_str) {
            Some(VERSION) => {}
            other => {
                let other = other.unwrap_or("1");
                return Err(broken(format!("its format has version {other}, this program reads {VERSION}")));
            }
        }
        let progress = metadata.get("progress").ok_or_else(|| broken("it has no progress".into()))?;
        let mut progress: Progress =
            serde_json::from_str(progress).map_err(|error| broken(error.to_string()))?;
        progress.history =
            jsonl::from_bytes(&files.history).map_err(|error| broken(format!("history.jsonl: {error}")))?;
        progress.samples =
            jsonl::from_bytes(&files.samples).map_err(|error| broken(format!("samples.jsonl: {error}")))?;
        if progress.history.last().is_none_or(|last| last.step != progress.step) {
            return Err(broken("its history does not end at its step".into()));
        }
        let mut kinds: BTreeMap<&str, BTreeMap<String, Weights>> = BTreeMap::new();
        for (name, weights) in tensors {
            for kind in ["weights", "first", "second", "best"] {
                if let Some(name) = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) {
                    kinds.entry(kind).or_default().insert(name.to_owned(), weights);
                    break;
                }
            }
        }
        let mut of = |kind| kinds.remove(kind).unwrap_or_default();
        let mut weights = of("weights");
        let model = build(&mut |name, shape, _| take_fitting(&mut weights, name, shape).map_err(broken))?;
        let moments =
            Moments { first: tensors_of(of("first"), device), second: tensors_of(of("second"), device) };
        Ok(Self { model, moments, progress, best: of("best") })
    }
}

/// Makes a model of the values that a source gives by name, shape and start.
pub(crate) type Build<'a, M> = dyn Fn(&mut Source<'_>) -> Result<M> + 'a;

/// Gives the values of a parameter.
pub(crate) type Source<'a> = dyn FnMut(&str, &[usize], Start) -> Result<Vec<f32>> + 'a;

fn tensors_of(weights: BTreeMap<String, Weights>, device: &Device) -> Named {
    let device = device.clone().inner();
    let tensors = weights.into_iter().map(|(name, weights)| {
        let n = weights.values.len();
        (name, Tensor::from_data(TensorData::new(weights.values, [n]), &device))
    });
    tensors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::{Tensors, encode};
    use crate::transformer::{CausalLm, Form, tiny};

    fn state() -> State<CausalLm> {
        let mut state = State::new(tiny(Form::Gpt2, true).init(1, &Device::flex().autodiff()));
        state.progress.step = 2;
        state.progress.history =
            vec![Point { step: 1, ..Point::default() }, Point { step: 2, ..Point::default() }];
        state
    }

    fn files(state: &State<CausalLm>) -> Files {
        let file = tempfile::NamedTempFile::new().expect("a file");
        state.write(file.path()).expect("written");
        Files {
            state: std::fs::read(file.path()).expect("read"),
            history: jsonl::to_bytes(&state.progress.history),
            samples: jsonl::to_bytes(&state.progress.samples),
        }
    }

    fn read(files: &Files) -> Result<State<CausalLm>> {
        let device = Device::flex().autodiff();
        State::from_files(files, &|source| tiny(Form::Gpt2, true).build(&device, source), &device)
    }

    #[test]
    fn states_are_read_as_written() {
        let state = state();
        let read = read(&files(&state)).expect("read");
        assert_eq!(read.progress, state.progress);
        assert_eq!(weights(&read.model), weights(&state.model));
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let files = files(&state());
        let fault = |files: &Files| read(files).expect_err("refused").to_string();
        assert!(fault(&Files { history: Vec::new(), ..files.clone() }).contains("history"));
        assert!(fault(&Files { history: b"{\n".to_vec(), ..files.clone() }).contains("history.jsonl"));
        let old =
            encode(&Tensors::new(), [("progress".to_owned(), "{}".to_owned())].into()).expect("encoded");
        assert!(fault(&Files { state: old, ..files }).contains("version 1"));
    }

    #[test]
    fn figures_are_those_of_the_weights_that_the_run_gives() {
        let point = |step, loss: f32, accuracy: f32| Point {
            step,
            validation: [(LOSS.to_owned(), loss), ("accuracy".to_owned(), accuracy)].into(),
            ..Point::default()
        };
        let progress = Progress {
            history: vec![point(1, 2.0, 0.5), point(2, 1.0, 0.9), Point::default(), point(4, 3.0, 0.1)],
            loss_best: Some(1.0),
            ..Progress::default()
        };
        assert_eq!(progress.final_validation(true).expect("a validation")["accuracy"], 0.9);
        assert_eq!(progress.final_validation(false).expect("a validation")["accuracy"], 0.1);
    }
}
