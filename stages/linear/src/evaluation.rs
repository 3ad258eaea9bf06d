//! What a classifier is worth: precision, recall and calibration on held-out texts. Nothing here knows text or models.

use serde::{Deserialize, Serialize};

/// Number of bins of confidence.
const BINS: usize = 10;

/// Counts predictions; memory does not grow with their number.
#[derive(Debug, Clone)]
pub struct Evaluation {
    labels: Vec<String>,
    /// Whether exactly one label is predicted for each text.
    is_exclusive: bool,
    documents: u64,
    right: u64,
    /// By label: how often it is true, is predicted, and both.
    counts: Vec<[u64; 3]>,
    bins: [Totals; BINS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    count: u64,
    right: u64,
    confidence: f64,
}

/// The figures of a classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of texts.
    pub documents: u64,
    /// Share of texts for which exactly the true labels are predicted.
    pub accuracy: f64,
    /// Mean of the labels' F1, of labels that occur.
    pub macro_f1: f64,
    /// Mean distance of confidence and accuracy of the bins, weighted by their predictions.
    pub calibration_error: f64,
    /// By label, in the order of the model.
    pub labels: Vec<LabelReport>,
    /// By confidence, from 0 to 1.
    pub bins: Vec<Bin>,
}

/// The figures of a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelReport {
    /// Its name.
    pub label: String,
    /// Texts that have it.
    pub support: u64,
    /// Texts for which it is predicted.
    pub predicted: u64,
    /// Share of the predictions that are right; 0 without predictions.
    pub precision: f64,
    /// Share of the texts with the label that are found; 0 without texts.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

/// Predictions of about the same confidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lowest confidence.
    pub from: f64,
    /// Number of predictions.
    pub predictions: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them that is right.
    pub accuracy: f64,
}

impl Evaluation {
    /// Starts with no texts. `is_exclusive` says that every text has one label: the most probable is predicted;
    /// otherwise, each label with a probability of at least 0.5 is.
    pub fn new(labels: &[String], is_exclusive: bool) -> Self {
        let counts = vec![[0; 3]; labels.len()];
        let bins = [Totals::default(); BINS];
        Self { labels: labels.to_vec(), is_exclusive, documents: 0, right: 0, counts, bins }
    }

    /// Adds a text with the positions of its labels and the probabilities of all labels.
    pub fn add(&mut self, truth: &[u32], probabilities: &[f32]) {
        self.documents += 1;
        let best = best(probabilities);
        let mut all_right = true;
        for (label, &probability) in (0..).zip(probabilities) {
            let is_true = truth.contains(&label);
            let is_predicted = if self.is_exclusive { Some(label) == best } else { probability >= 0.5 };
            let counts = &mut self.counts[label as usize];
            let facts = [is_true, is_predicted, is_true && is_predicted];
            counts.iter_mut().zip(facts).for_each(|(count, fact)| *count += u64::from(fact));
            all_right &= is_true == is_predicted;
            // Of exclusive labels, the confidence is that of the predicted one.
            if is_predicted || !self.is_exclusive {
                let bin = ((probability * BINS as f32) as usize).min(BINS - 1);
                let bin = &mut self.bins[bin];
                bin.count += 1;
                bin.right += u64::from(is_true);
                bin.confidence += f64::from(probability);
            }
        }
        // A text with several labels is right if one of them is predicted, where only one can be.
        let is_right = match best {
            Some(best) if self.is_exclusive => truth.contains(&best),
            _ => all_right,
        };
        self.right += u64::from(is_right);
    }

    /// The figures of all texts so far.
    pub fn report(&self) -> Report {
        let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        let label = |(label, [support, predicted, both]): (&String, &[u64; 3])| LabelReport {
            label: label.clone(),
            support: *support,
            predicted: *predicted,
            precision: share(*both, *predicted),
            recall: share(*both, *support),
            f1: share(2 * both, support + predicted),
        };
        let labels: Vec<LabelReport> = self.labels.iter().zip(&self.counts).map(label).collect();
        let occurring: Vec<f64> =
            labels.iter().filter(|label| label.support > 0).map(|label| label.f1).collect();
        let bin = |(number, totals): (usize, &Totals)| Bin {
            from: number as f64 / BINS as f64,
            predictions: totals.count,
            confidence: if totals.count == 0 { 0.0 } else { totals.confidence / totals.count as f64 },
            accuracy: share(totals.right, totals.count),
        };
        let bins: Vec<Bin> = self.bins.iter().enumerate().map(bin).collect();
        let predictions: u64 = bins.iter().map(|bin| bin.predictions).sum();
        let distances: f64 =
            bins.iter().map(|bin| (bin.confidence - bin.accuracy).abs() * bin.predictions as f64).sum();
        Report {
            documents: self.documents,
            accuracy: share(self.right, self.documents),
            macro_f1: occurring.iter().sum::<f64>() / occurring.len().max(1) as f64,
            calibration_error: distances / predictions.max(1) as f64,
            labels,
            bins,
        }
    }
}

/// The most probable label; of equals the first.
pub(crate) fn best(probabilities: &[f32]) -> Option<u32> {
    let pairs = (0..).zip(probabilities);
    pairs.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["a", "b"].map(str::to_owned).to_vec()
    }

    #[test]
    fn figures_are_those_of_the_definitions() {
        let mut evaluation = Evaluation::new(&labels(), true);
        evaluation.add(&[0], &[0.9, 0.1]);
        evaluation.add(&[0], &[0.9, 0.1]);
        evaluation.add(&[1], &[0.9, 0.1]);
        evaluation.add(&[1], &[0.25, 0.75]);
        let report = evaluation.report();
        assert_eq!((report.documents, report.accuracy), (4, 0.75));
        let a = &report.labels[0];
        assert_eq!((a.support, a.predicted, a.precision, a.recall), (2, 3, 2.0 / 3.0, 1.0));
        assert_eq!((a.f1, report.labels[1].f1), (0.8, 2.0 / 3.0));
        // Three predictions of 0.9 of which two are right, and one of 0.75 that is.
        let expected = (3.0 * (0.9 - 2.0 / 3.0) + 0.25) / 4.0;
        assert!((report.calibration_error - expected).abs() < 1e-7, "{}", report.calibration_error);
        assert_eq!(report.bins[9].predictions, 3);
    }

    #[test]
    fn labels_that_exclude_none_are_judged_one_by_one() {
        let mut evaluation = Evaluation::new(&labels(), false);
        evaluation.add(&[0, 1], &[0.9, 0.8]);
        evaluation.add(&[], &[0.1, 0.6]);
        let report = evaluation.report();
        assert_eq!(report.accuracy, 0.5);
        assert_eq!((report.labels[0].precision, report.labels[1].precision), (1.0, 0.5));
        assert_eq!(report.bins.iter().map(|bin| bin.predictions).sum::<u64>(), 4);
    }

    #[test]
    fn nothing_gives_zeros() {
        let report = Evaluation::new(&labels(), true).report();
        assert_eq!((report.accuracy, report.macro_f1, report.calibration_error), (0.0, 0.0, 0.0));
    }
}
