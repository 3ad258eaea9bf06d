//! Parts of configs that training stages share.

use super::run::Recipe;
use super::schedule::{LearningRate, LrSchedule};
use pipe_stage::Misfit;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// The optimizer AdamW (Loshchilov and Hutter, 2019), with gradients clipped by their global norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Learning rate at the end of the warmup, above 0 and up to 1.
    pub lr: f64,
    /// Learning rate at the end of the schedule, from 0 to `lr`; a tenth of `lr` by default.
    pub lr_min: Option<f64>,
    /// Decay rate of the running mean of gradients, from 0 to below 1.
    pub beta1: f64,
    /// Decay rate of the running mean of squared gradients, from 0 to below 1.
    pub beta2: f64,
    /// Added to the denominator of an update for numerical stability, above 0 and below 1.
    pub epsilon: f64,
    /// Decoupled weight decay, from 0 to 10; applied to matrices, not to biases and the weights of norms.
    pub weight_decay: f64,
    /// Maximum norm of the gradient over all parameters; a larger gradient is scaled down to it. 0 turns clipping off.
    pub max_grad_norm: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            lr_min: None,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
        }
    }
}

impl AdamW {
    pub(crate) fn lr_min(&self) -> f64 {
        self.lr_min.unwrap_or(self.lr / 10.0)
    }

    /// Errors by field path, for a config that holds this as `optimizer`.
    pub(crate) fn check(&self) -> impl Iterator<Item = Misfit> {
        let share = 0.0..1.0;
        let lr_min = self.lr_min();
        let faults = [
            Misfit::unless(self.lr > 0.0 && self.lr <= 1.0, "optimizer.lr", "must be above 0 and at most 1"),
            Misfit::unless((0.0..=self.lr).contains(&lr_min), "optimizer.lr_min", "must be from 0 to `lr`"),
            Misfit::unless(share.contains(&self.beta1), "optimizer.beta1", "must be from 0 to below 1"),
            Misfit::unless(share.contains(&self.beta2), "optimizer.beta2", "must be from 0 to below 1"),
            Misfit::unless(
                self.epsilon > 0.0 && self.epsilon < 1.0,
                "optimizer.epsilon",
                "must be above 0 and below 1",
            ),
            Misfit::unless(
                (0.0..=10.0).contains(&self.weight_decay),
                "optimizer.weight_decay",
                "must be from 0 to 10",
            ),
            Misfit::unless(self.max_grad_norm >= 0.0, "optimizer.max_grad_norm", "must be 0 or above"),
        ];
        faults.into_iter().flatten()
    }
}

/// Validation during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Steps between validations; the last step is always followed by one. 0 turns validation off.
    pub eval_interval: u64,
    /// Maximum number of batches per validation; they are spread evenly over the held-out set.
    pub eval_batches: u64,
    /// Early stopping: number of validations in a row without a lower loss after which training ends. The stage then
    /// returns the weights with the lowest validation loss. 0 turns it off: the stage returns the last weights.
    pub patience: u64,
}

impl Default for Validation {
    fn default() -> Self {
        Self { eval_interval: 100, eval_batches: 32, patience: 0 }
    }
}

impl Validation {
    /// Validations of a run with so many steps that does not end early.
    pub(crate) fn times(&self, steps: u64) -> u64 {
        match self.eval_interval {
            0 => 0,
            interval => steps.div_ceil(interval),
        }
    }
}

/// A time in hours, minutes and seconds, such as `90s`, `10m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub Duration);

impl Interval {
    const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];

    fn parse(text: &str) -> Option<Self> {
        let (mut seconds, mut digits) = (0_u64, String::new());
        for letter in text.chars() {
            if letter.is_ascii_digit() {
                digits.push(letter);
                continue;
            }
            let (_, unit) = Self::UNITS.into_iter().find(|(name, _)| *name == letter)?;
            let number: u64 = std::mem::take(&mut digits).parse().ok()?;
            seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        }
        (digits.is_empty() && seconds > 0).then_some(Self(Duration::from_secs(seconds)))
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut left = self.0.as_secs();
        for (name, unit) in Self::UNITS {
            if left >= unit {
                write!(f, "{}{name}", left / unit)?;
                left %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not a time such as `90s`, `10m` or `1h30m`"))
        })
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+[hms])+$" })
    }
}

/// The settings that every training stage has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loop<'a> {
    pub(crate) steps: u64,
    pub(crate) batch_size: usize,
    pub(crate) gradient_accumulation_steps: u64,
    pub(crate) optimizer: &'a AdamW,
    pub(crate) schedule: LrSchedule,
    pub(crate) warmup_steps: u64,
    /// Fraction of the steps over which `warmup-stable-decay` falls.
    pub(crate) decay_fraction: f64,
    pub(crate) dropout: f64,
    pub(crate) validation: &'a Validation,
    pub(crate) seed: u64,
    pub(crate) checkpoint_steps: u64,
}

impl Loop<'_> {
    /// Errors by field path, for a config that has these fields under their own names.
    pub(crate) fn check(&self) -> impl Iterator<Item = Misfit> {
        let rows = 1..=65_536;
        let faults = [
            Misfit::unless(self.steps > 0, "steps", "must be above 0"),
            Misfit::unless(rows.contains(&self.batch_size), "batch_size", "must be from 1 to 65536"),
            Misfit::unless(
                (1..=65_536).contains(&self.gradient_accumulation_steps),
                "gradient_accumulation_steps",
                "must be from 1 to 65536",
            ),
            Misfit::unless(
                (0.0..=1.0).contains(&self.decay_fraction),
                "decay_fraction",
                "must be from 0 to 1",
            ),
            Misfit::unless((0.0..1.0).contains(&self.dropout), "dropout", "must be from 0 to below 1"),
            Misfit::unless(self.checkpoint_steps > 0, "checkpoint_steps", "must be above 0"),
            self.long_warmup(),
        ];
        faults.into_iter().flatten().chain(self.optimizer.check())
    }

    fn long_warmup(&self) -> Option<Misfit> {
        let (warmup, end) = (self.warmup_steps, self.warmup_end());
        let what = if end == self.steps { "`steps`" } else { "the steps before the learning rate falls" };
        let fault =
            Misfit::unless(warmup <= end, "warmup_steps", format!("is {warmup}, more than {what}: {end}"))?;
        Some(fault.help(format!("set `warmup_steps` to {} or less, or raise `steps`", end / 10)))
    }

    /// The last step at which warmup may end.
    fn warmup_end(&self) -> u64 {
        match self.schedule {
            LrSchedule::Cosine => self.steps,
            _ => self.learning_rate().decay_start(),
        }
    }

    fn learning_rate(&self) -> LearningRate {
        LearningRate {
            schedule: self.schedule,
            lr: self.optimizer.lr,
            lr_min: self.optimizer.lr_min(),
            warmup_steps: self.warmup_steps,
            steps: self.steps,
            decay_fraction: self.decay_fraction,
        }
    }

    /// The numbers that decide the result.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            learning_rate: self.learning_rate(),
            beta1: self.optimizer.beta1,
            beta2: self.optimizer.beta2,
            epsilon: self.optimizer.epsilon,
            weight_decay: self.optimizer.weight_decay,
            max_grad_norm: self.optimizer.max_grad_norm,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            dropout: self.dropout,
            seed: self.seed,
            validate_steps: self.validation.eval_interval,
            patience: self.validation.patience,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_written() {
        for text in ["90s", "10m", "1h30m", "2h5s"] {
            let interval = Interval::parse(text).expect("a time");
            assert_eq!(Interval::parse(&interval.to_string()), Some(interval));
        }
        assert_eq!(Interval::parse("90s").expect("a time").to_string(), "1m30s");
        for text in ["", "10", "m", "0s", "1d", "-1s", "1.5h", "99999999999999999999s", "10 m"] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
    }
}
