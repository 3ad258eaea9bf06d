//! The learning rate as a pure function of the step: nothing to save, nothing to resume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Half a cosine from `lr` to `lr_min` (Loshchilov and Hutter, 2017).
    #[default]
    Cosine,
    /// Constant, then a line to `lr_min` over the last `decay` of the steps (Hu et al., 2024). More steps
    /// later continue from where the decay began.
    WarmupStableDecay,
    /// Constant after warmup.
    Constant,
}

/// A schedule with all its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) shape: Shape,
    pub(crate) lr: f64,
    pub(crate) lr_min: f64,
    pub(crate) warmup_steps: u64,
    pub(crate) steps: u64,
    /// Share of `steps` over which warmup-stable-decay falls.
    pub(crate) decay: f64,
}

impl Schedule {
    /// Learning rate of `step`, counted from 0.
    pub(crate) fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.lr - self.lr_min;
        match self.shape {
            Shape::Constant => self.lr,
            Shape::Cosine => {
                let all = self.steps.saturating_sub(self.warmup_steps).max(1);
                let done = ((step - self.warmup_steps) as f64 / all as f64).min(1.0);
                self.lr_min + 0.5 * span * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Shape::WarmupStableDecay if step < self.decay_start() => self.lr,
            Shape::WarmupStableDecay => {
                let left = self.steps.saturating_sub(step) as f64;
                self.lr_min + span * left / (self.steps - self.decay_start()) as f64
            }
        }
    }

    /// First step whose rate depends on `steps`; steps before it are the same in a longer run.
    pub(crate) fn decay_start(&self) -> u64 {
        match self.shape {
            Shape::Cosine => 0,
            Shape::WarmupStableDecay => self.steps - (self.decay * self.steps as f64) as u64,
            Shape::Constant => self.steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape) -> Schedule {
        Schedule { shape, lr: 1e-3, lr_min: 1e-4, warmup_steps: 10, steps: 100, decay: 0.2 }
    }

    #[test]
    fn warmup_rises_to_the_peak() {
        for shape in [Shape::Cosine, Shape::WarmupStableDecay, Shape::Constant] {
            assert!((schedule(shape).lr(0) - 1e-4).abs() < 1e-12);
            assert_eq!(schedule(shape).lr(9), 1e-3);
            assert_eq!(schedule(shape).lr(10), 1e-3);
        }
    }

    #[test]
    fn cosine_passes_the_middle_and_never_rises_again() {
        let cosine = schedule(Shape::Cosine);
        assert!((cosine.lr(55) - 5.5e-4).abs() < 1e-12);
        assert_eq!(cosine.lr(100), 1e-4);
        assert_eq!(cosine.lr(150), 1e-4);
    }

    #[test]
    fn stable_part_is_free_of_the_number_of_steps() {
        let short = schedule(Shape::WarmupStableDecay);
        let long = Schedule { steps: 200, ..short };
        assert_eq!(short.decay_start(), 80);
        assert!((0..80).all(|step| short.lr(step) == long.lr(step)));
        assert_eq!(short.lr(80), 1e-3);
        assert!((short.lr(90) - 5.5e-4).abs() < 1e-12);
        assert_eq!(short.lr(100), 1e-4);
    }
}
