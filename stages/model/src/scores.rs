//! Figures of classifiers and language models, from counts and sums alone.

/// How often each label was given to texts of each label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Confusion {
    classes: usize,
    /// `[truth, given]`.
    counts: Vec<u64>,
}

impl Confusion {
    pub(crate) fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    pub(crate) fn add(&mut self, truth: usize, given: usize) {
        self.counts[truth * self.classes + given] += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn right(&self, class: usize) -> u64 {
        self.counts[class * self.classes + class]
    }

    /// Texts of a label.
    pub(crate) fn support(&self, class: usize) -> u64 {
        self.counts[class * self.classes..][..self.classes].iter().sum()
    }

    /// Share of texts that got their own label; 0 without texts.
    pub(crate) fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|class| self.right(class)).sum();
        right as f64 / self.total().max(1) as f64
    }

    /// Harmonic mean of precision and recall of a label; 0 where neither is defined.
    pub(crate) fn f1(&self, class: usize) -> f64 {
        let given: u64 = (0..self.classes).map(|truth| self.counts[truth * self.classes + class]).sum();
        2.0 * self.right(class) as f64 / (given + self.support(class)).max(1) as f64
    }

    /// Mean of F1 over the labels that occur among the truths.
    pub(crate) fn macro_f1(&self) -> f64 {
        let present: Vec<usize> = (0..self.classes).filter(|&class| self.support(class) > 0).collect();
        present.iter().map(|&class| self.f1(class)).sum::<f64>() / present.len().max(1) as f64
    }

    /// Accuracy of always giving `class`.
    pub(crate) fn accuracy_of_always(&self, class: usize) -> f64 {
        self.support(class) as f64 / self.total().max(1) as f64
    }
}

/// The class with the most members, the first among equals.
pub(crate) fn majority(counts: &[u64]) -> usize {
    (0..counts.len()).rev().max_by_key(|&class| counts[class]).unwrap_or(0)
}

/// The largest score's class, the first among equals.
pub(crate) fn likeliest(scores: &[f32]) -> usize {
    (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
}

/// Surprise of a text: nats over `tokens` predictions, which stand for so many bytes and characters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Surprise {
    pub(crate) nats: f64,
    pub(crate) tokens: u64,
    pub(crate) bytes: u64,
    pub(crate) characters: u64,
}

impl Surprise {
    pub(crate) fn loss(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    pub(crate) fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Bits per byte, bits per character, perplexity.
    pub(crate) fn rates(&self) -> [f64; 3] {
        [self.bits_per_byte(), self.bits_per_character(), self.perplexity()]
    }

    pub(crate) fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes.max(1) as f64
    }

    pub(crate) fn bits_per_character(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.characters.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_small_confusion() {
        let mut confusion = Confusion::new(3);
        for (truth, given) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)] {
            confusion.add(truth, given);
        }
        assert_eq!(confusion.accuracy(), 0.6);
        assert!((confusion.f1(0) - 2.0 / 3.0).abs() < 1e-12);
        assert!((confusion.f1(1) - 0.5).abs() < 1e-12);
        assert!((confusion.macro_f1() - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
        assert_eq!(confusion.accuracy_of_always(0), 0.6);
    }

    #[test]
    fn ties_fall_to_the_first() {
        assert_eq!(majority(&[2, 5, 5]), 1);
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn one_bit_a_byte() {
        let surprise = Surprise { nats: 8.0 * std::f64::consts::LN_2, tokens: 2, bytes: 8, characters: 4 };
        assert!((surprise.bits_per_byte() - 1.0).abs() < 1e-12);
        assert!((surprise.bits_per_character() - 2.0).abs() < 1e-12);
        assert!((surprise.perplexity() - 16.0).abs() < 1e-9);
    }
}
