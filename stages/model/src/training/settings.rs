//! Parts of configs that training stages share.

use super::run::Recipe;
use super::schedule::{LearningRate, LrSchedule};
use pipe_stage::Misfit;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// AdamW (Loshchilov and Hutter, 2019) with clipping by the global gradient norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Highest learning rate.
    pub lr: f64,
    /// Learning rate at the end; a tenth of `lr` where it is left out.
    pub lr_min: Option<f64>,
    /// Exponential decay rate of the first moment.
    pub beta1: f64,
    /// Exponential decay rate of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; applied to matrices, never to norms.
    pub weight_decay: f64,
    /// Largest norm of the gradient over all parameters; 0 for no clipping.
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

    /// Faults by field path, for a config that holds this as `optimizer`.
    pub(crate) fn check(&self) -> impl Iterator<Item = Misfit> {
        let share = 0.0..1.0;
        let lr_min = self.lr_min();
        let faults = [
            Misfit::unless(self.lr > 0.0 && self.lr <= 1.0, "optimizer.lr", "must lie above 0 and up to 1"),
            Misfit::unless((0.0..=self.lr).contains(&lr_min), "optimizer.lr_min", "must be from 0 to `lr`"),
            Misfit::unless(share.contains(&self.beta1), "optimizer.beta1", "must be from 0 to below 1"),
            Misfit::unless(share.contains(&self.beta2), "optimizer.beta2", "must be from 0 to below 1"),
            Misfit::unless(
                self.epsilon > 0.0 && self.epsilon < 1.0,
                "optimizer.epsilon",
                "must lie between 0 and 1",
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

/// Figures on the held-out set during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Steps from one validation to the next, one after the last step besides; 0 for none at all.
    pub eval_interval: u64,
    /// Batches of a validation, at most; they lie evenly over the held-out set.
    pub eval_batches: u64,
    /// Validations without a new least loss after which training ends and gives the best weights; 0 never
    /// ends early and gives the last.
    pub patience: u64,
}

impl Default for Validation {
    fn default() -> Self {
        Self { eval_interval: 100, eval_batches: 32, patience: 0 }
    }
}

/// A span of time in whole units, such as `90s`, `10m` or `1h30m`.
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
    /// Faults by field path, for a config that has these fields under their own names.
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
            Misfit::unless(
                self.warmup_steps <= self.warmup_end(),
                "warmup_steps",
                "must be no more than the steps before the decay",
            ),
        ];
        faults.into_iter().flatten().chain(self.optimizer.check())
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
