//! Temperature scaling ("On Calibration of Modern Neural Networks", Guo et al. 2017): one number that makes the
//! probabilities of held-out texts true. Nothing here knows text.
//!
//! A share of 1 / (texts + 2) of each text counts as any label, as in Platt's method (2000): some texts that are all right do
//! not make a model that is never wrong.
//!
//! The number is multiplied into the output matrix, so a calibrated model is an ordinary model, for fastText too.

use crate::math::{exp, sigmoid};
use crate::matrix::Matrix;
use crate::model::{Loss, Model, Scratch};

/// Memory for scores: 64 MiB.
const SCORES_MAX: usize = 16 << 20;
/// The sharpness is from 1 / this to this.
const SHARPNESS_MAX: f64 = 16.0;
/// Halvings of the interval of sharpness; the rest of it is below 1e-8.
const HALVINGS: usize = 32;

/// Scores of held-out texts and their labels.
#[derive(Debug, Clone)]
pub(crate) struct Calibration {
    loss: Loss,
    labels: usize,
    /// [texts, labels].
    scores: Vec<f32>,
    truth: Vec<bool>,
}

impl Calibration {
    pub(crate) fn new(model: &Model) -> Self {
        Self { loss: model.loss(), labels: model.labels().len(), scores: Vec::new(), truth: Vec::new() }
    }

    /// Adds a text; once there are enough, further texts are ignored.
    pub(crate) fn add(&mut self, model: &Model, text: &str, truth: &[u32], scratch: &mut Scratch) {
        if self.scores.len() + self.labels > SCORES_MAX {
            return;
        }
        if let Some(scores) = model.logits(text, scratch) {
            self.scores.extend_from_slice(scores);
            self.truth.extend((0..self.labels as u32).map(|label| truth.contains(&label)));
        }
    }

    /// The factor of scores with the lowest cross-entropy; 1 without texts.
    pub(crate) fn sharpness(&self) -> f64 {
        if self.scores.is_empty() {
            return 1.0;
        }
        // The cross-entropy is convex in the factor: its slope has one zero. The interval is halved in powers of two.
        let (mut low, mut high) = (1.0 / SHARPNESS_MAX, SHARPNESS_MAX);
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            if self.slope(middle) > 0.0 { high = middle } else { low = middle }
        }
        (low * high).sqrt()
    }

    /// The derivative of the cross-entropy by the factor.
    fn slope(&self, sharpness: f64) -> f64 {
        let texts = self.scores.len() / self.labels;
        let any = 1.0 / (texts + 2) as f64;
        let mut slope = 0.0;
        for (scores, truth) in self.scores.chunks(self.labels).zip(self.truth.chunks(self.labels)) {
            let wanted = || scores.iter().zip(truth).filter(|(_, is_true)| **is_true);
            let true_sum: f64 = wanted().map(|(score, _)| f64::from(*score)).sum();
            if self.loss == Loss::Softmax {
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let (mut sum, mut mean) = (0.0, 0.0);
                for score in scores {
                    let power = exp(f64::from(score - max) * sharpness);
                    sum += power;
                    mean += power * f64::from(*score);
                }
                let count = wanted().count().max(1) as f64;
                let score_mean =
                    scores.iter().map(|score| f64::from(*score)).sum::<f64>() / self.labels as f64;
                slope += mean / sum - (1.0 - any) * true_sum / count - any * score_mean;
            } else {
                let expected: f64 =
                    scores.iter().map(|&score| f64::from(score)).map(|s| s * sigmoid(s * sharpness)).sum();
                let half: f64 = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / 2.0;
                slope += expected - (1.0 - any) * true_sum - any * half;
            }
        }
        slope
    }
}

impl Model {
    /// Multiplies all scores by a factor.
    pub(crate) fn sharpen(&mut self, factor: f64) {
        if let Matrix::Dense(output) = &mut self.output {
            output.values.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(loss: Loss) -> Calibration {
        // Of ten texts with these scores, seven have the first label.
        let truth = (0..10).flat_map(|n| [n < 7, n >= 7]).collect();
        Calibration { loss, labels: 2, scores: [4.0, 0.0].repeat(10), truth }
    }

    #[test]
    fn probabilities_become_true() {
        for count in [1, 100] {
            let mut many = calibration(Loss::Softmax);
            (many.scores, many.truth) = (many.scores.repeat(count), many.truth.repeat(count));
            let probability = sigmoid(4.0 * many.sharpness());
            let any = 1.0 / (10 * count + 2) as f64;
            assert!((probability - (0.7 * (1.0 - any) + 0.5 * any)).abs() < 1e-6, "{probability}");
        }
    }

    #[test]
    fn texts_that_are_all_right_make_no_certainty() {
        let mut all = calibration(Loss::Softmax);
        all.truth = [true, false].repeat(10);
        let probability = sigmoid(4.0 * all.sharpness());
        assert!((probability - 11.5 / 12.0).abs() < 1e-6, "{probability}");
        all.truth = [false, true].repeat(10);
        assert!((all.sharpness() - 1.0 / SHARPNESS_MAX).abs() < 1e-3);
    }
}
