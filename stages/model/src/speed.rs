//! A run without the stage around it, for the benchmark and for comparisons of losses with other programs.

use crate::huggingface::{from_stock, to_stock};
use crate::safetensors::{decode, encode};
use crate::training::{
    LanguageModelling, LearningRate, LrSchedule, Order, Point, Recipe, Speed, State, TokenWriter, Watcher,
    Windows, train,
};
use crate::transformer::{Architecture, CausalLm, take_fitting, weights};
use burn::prelude::*;
use pipe_stage::{Error, Result};
use std::path::Path;

/// What to run: `tokens` in sequential order, no dropout, cosine schedule, clipping at 1, no validation.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Shape of the model.
    pub architecture: Architecture,
    /// The stream of token ids.
    pub tokens: Vec<u32>,
    /// Steps to take.
    pub steps: u64,
    /// Rows of a batch.
    pub rows: usize,
    /// Batches of a step.
    pub gradient_accumulation_steps: u64,
    /// Peak learning rate; the least is a tenth of it.
    pub lr: f64,
    /// Steps of warmup.
    pub warmup_steps: u64,
    /// Safetensors bytes of the initial weights, named as in transformers; else fresh ones.
    pub initial: Option<Vec<u8>>,
}

/// Figures of one step.
#[derive(Debug, Clone, Copy)]
pub struct StepFigures {
    /// Mean cross entropy in nats.
    pub loss: f32,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f32,
    /// Rate of this step.
    pub tokens_per_second: f64,
    /// Fraction of the measured matrix peak.
    pub utilisation: f64,
}

/// Runs a trial on the CPU, with `folder` for the flat token file; calls `each` after every step, and gives
/// the final weights as safetensors bytes.
pub fn run(trial: &Trial, folder: &Path, each: impl FnMut(u64, StepFigures)) -> Result<Vec<u8>> {
    trial.architecture.check().map_err(Error::input)?;
    let device = Device::flex().autodiff();
    let model = match &trial.initial {
        None => trial.architecture.init(0, &device),
        Some(bytes) => {
            let (tensors, _) = decode(bytes)?;
            let mut tensors = from_stock(&trial.architecture, tensors)?;
            trial.architecture.build(&device, |name, shape, _| {
                take_fitting(&mut tensors, name, shape)
                    .map_err(|fault| Error::input(format!("initial weights: {fault}")))
            })?
        }
    };
    let stream = |name: &str| {
        let path = folder.join(name);
        let write = || {
            let mut writer = TokenWriter::create(&path, trial.architecture.vocabulary)?;
            writer.push(&trial.tokens)?;
            writer.finish()
        };
        write().map_err(|error| Error::io("write", &path, &error))
    };
    let windows = Windows {
        order: Order::Sequential,
        seed: 0,
        tokens: trial.tokens.len() as u64,
        rows: trial.rows,
        context: trial.architecture.context,
    };
    let task = LanguageModelling {
        architecture: trial.architecture,
        train: stream("train")?,
        windows,
        validation: stream("validation")?,
        validation_batches: 1,
        is_on_cpu: true,
        sampler: None,
    };
    let recipe = Recipe {
        learning_rate: LearningRate {
            schedule: LrSchedule::Cosine,
            lr: trial.lr,
            lr_min: trial.lr / 10.0,
            warmup_steps: trial.warmup_steps,
            steps: trial.steps,
            decay_fraction: 0.0,
        },
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        max_grad_norm: 1.0,
        gradient_accumulation_steps: trial.gradient_accumulation_steps,
        dropout: 0.0,
        seed: 0,
        validate_steps: 0,
        patience: 0,
    };
    let state = train(&task, &recipe, State::new(model), trial.steps, &mut Each(each))?;
    encode(
        &to_stock(&trial.architecture, weights(&state.model)),
        [("format".to_owned(), "pt".to_owned())].into(),
    )
}

/// The weights that `pretrain` starts from with this seed, as safetensors bytes.
pub fn initial_weights(architecture: &Architecture, seed: u64) -> Result<Vec<u8>> {
    architecture.check().map_err(Error::input)?;
    let model = architecture.init(seed, &Device::flex());
    encode(&to_stock(architecture, weights(&model)), [("format".to_owned(), "pt".to_owned())].into())
}

struct Each<F>(F);

impl<F: FnMut(u64, StepFigures)> Watcher<CausalLm> for Each<F> {
    fn step(&mut self, point: &Point, speed: Speed) {
        let taken = StepFigures {
            loss: point.loss.unwrap_or(f32::NAN),
            gradient_norm: point.gradient_norm.unwrap_or(f32::NAN),
            tokens_per_second: speed.tokens_per_second,
            utilisation: speed.utilisation.unwrap_or(f64::NAN),
        };
        self.0(point.step, taken);
    }

    fn after(&mut self, _: &State<CausalLm>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{Preset, Weights};

    /// Weights by a formula that any program can repeat: element `i` of the tensor that is number `n` in the order
    /// of transformers' names is `(7919 i + 104729 n) mod 2003`, brought to -0.1 to 0.1; gains are 1 more.
    fn by_formula(architecture: &Architecture) -> Vec<u8> {
        let module = architecture.init(0, &Device::flex());
        let names = to_stock(architecture, weights(&module));
        let tensors = names.into_iter().enumerate().map(|(n, (name, Weights { shape, values }))| {
            let gain = if name.contains(".ln_") && name.ends_with("weight") { 1.0 } else { 0.0 };
            let value = |i: usize| {
                let step = ((i * 7919 + n * 104_729) % 2003) as f64 - 1001.0;
                (step / 1001.0 * 0.1) as f32 + gain
            };
            let values = (0..values.len()).map(value).collect();
            (name, Weights { shape, values })
        });
        encode(&tensors.collect(), [("format".to_owned(), "pt".to_owned())].into()).expect("encoded")
    }

    #[test]
    fn losses_of_the_gpt2_form_are_pytorchs() {
        // PyTorch 2.15: nn.LayerNorm, nn.Linear, scaled_dot_product_attention, gelu by tanh, the head tied, AdamW
        // with betas 0.9 and 0.95 and decay 0.1 on matrices, the norm clipped at 1.
        const LOSSES: [f32; 10] = [
            4.220_035, 4.155_577, 4.188_241, 4.152_412, 4.283_779, 4.383_476, 4.324_694, 4.193_137,
            4.188_787, 4.156_28,
        ];
        const NORMS: [f32; 10] = [
            3.927_94, 1.776_747, 1.266_608, 0.788_224, 0.898_622, 0.992_998, 0.910_431, 0.788_184, 0.778_750,
            0.792_004,
        ];
        let architecture = Architecture {
            features: 32,
            heads: 4,
            kv_heads: 4,
            head_dim: 8,
            feed_forward: 128,
            context: 16,
            ..Preset::Gpt2Tiny.shape(61)
        };
        let trial = Trial {
            architecture,
            tokens: (0..4000_u64).map(|i| ((i * i * 7 % 4093 + i % 3) % 61) as u32).collect(),
            steps: 10,
            rows: 4,
            gradient_accumulation_steps: 1,
            lr: 1e-2,
            warmup_steps: 2,
            initial: Some(by_formula(&architecture)),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let mut taken = Vec::new();
        run(&trial, folder.path(), |_, step| taken.push(step)).expect("the run ends well");
        for (step, taken) in taken.iter().enumerate() {
            let (loss, norm) = (taken.loss - LOSSES[step], taken.gradient_norm - NORMS[step]);
            assert!(loss.abs() < 1e-4 && norm.abs() < 2e-3 * NORMS[step], "step {step}: {loss} {norm}");
        }
        assert_eq!(taken.len(), 10);
    }
}
