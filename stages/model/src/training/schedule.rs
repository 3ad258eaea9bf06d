//! The learning rate as a pure function of the step: nothing to save, nothing to resume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate decreases after the warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// Half a cosine from `lr` to `lr_min` (Loshchilov and Hutter, 2017).
    #[default]
    Cosine,
    /// Constant, then linear to `lr_min` over the last `decay_fraction` of the steps (Hu et al., 2024). A later run with
    /// more steps continues from the step at which the decay began.
    WarmupStableDecay,
    /// Constant. A later run with more steps continues from the last step.
    Constant,
}

/// The learning rate of every step: a schedule with all its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LearningRate {
    pub(crate) schedule: LrSchedule,
    pub(crate) lr: f64,
    pub(crate) lr_min: f64,
    pub(crate) warmup_steps: u64,
    pub(crate) steps: u64,
    /// Fraction of `steps` over which warmup-stable-decay falls.
    pub(crate) decay_fraction: f64,
}

impl LearningRate {
    /// Learning rate of `step`, counted from 0.
    pub(crate) fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.lr - self.lr_min;
        match self.schedule {
            LrSchedule::Constant => self.lr,
            LrSchedule::Cosine => {
                let all = self.steps.saturating_sub(self.warmup_steps).max(1);
                let done = ((step - self.warmup_steps) as f64 / all as f64).min(1.0);
                self.lr_min + 0.5 * span * (1.0 + (std::f64::consts::PI * done).cos())
            }
            LrSchedule::WarmupStableDecay if step < self.decay_start() => self.lr,
            LrSchedule::WarmupStableDecay => {
                let left = self.steps.saturating_sub(step) as f64;
                self.lr_min + span * left / (self.steps - self.decay_start()) as f64
            }
        }
    }

    /// First step whose rate depends on `steps`; steps before it are the same in a longer run.
    pub(crate) fn decay_start(&self) -> u64 {
        match self.schedule {
            LrSchedule::Cosine => 0,
            LrSchedule::WarmupStableDecay => self.steps - (self.decay_fraction * self.steps as f64) as u64,
            LrSchedule::Constant => self.steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learning_rate(schedule: LrSchedule) -> LearningRate {
        LearningRate { schedule, lr: 1e-3, lr_min: 1e-4, warmup_steps: 10, steps: 100, decay_fraction: 0.2 }
    }

    #[test]
    fn warmup_rises_to_the_peak() {
        for schedule in [LrSchedule::Cosine, LrSchedule::WarmupStableDecay, LrSchedule::Constant] {
            assert!((learning_rate(schedule).lr(0) - 1e-4).abs() < 1e-12);
            assert_eq!(learning_rate(schedule).lr(9), 1e-3);
            assert_eq!(learning_rate(schedule).lr(10), 1e-3);
        }
    }

    #[test]
    fn cosine_passes_the_middle_and_never_rises_again() {
        let cosine = learning_rate(LrSchedule::Cosine);
        assert!((cosine.lr(55) - 5.5e-4).abs() < 1e-12);
        assert_eq!(cosine.lr(100), 1e-4);
        assert_eq!(cosine.lr(150), 1e-4);
    }

    #[test]
    fn stable_part_is_free_of_the_number_of_steps() {
        let short = learning_rate(LrSchedule::WarmupStableDecay);
        let long = LearningRate { steps: 200, ..short };
        assert_eq!(short.decay_start(), 80);
        assert!((0..80).all(|step| short.lr(step) == long.lr(step)));
        assert_eq!(short.lr(80), 1e-3);
        assert!((short.lr(90) - 5.5e-4).abs() < 1e-12);
        assert_eq!(short.lr(100), 1e-4);
    }
}
