//! A classifier: the mean of the rows of a text, and a linear layer of labels. Nothing here knows files or training.

use crate::dictionary::Dictionary;
use crate::math::{exp, softmax};
use crate::matrix::Matrix;
use crate::tree::Tree;

/// How scores become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Every text has one of the labels; probabilities sum to 1.
    Softmax,
    /// As `Softmax`, along a binary tree of labels; only read.
    HierarchicalSoftmax,
    /// A text may have any number of labels, each with a probability of its own.
    OneVsAll,
    /// As `OneVsAll`, trained with some of the other labels only; only read.
    NegativeSampling,
}

/// A linear classifier of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(crate) dictionary: Dictionary,
    pub(crate) loss: Loss,
    /// [words and buckets, dimension].
    pub(crate) input: Matrix,
    /// [labels, dimension]; of a hierarchical softmax [nodes of the tree, …].
    pub(crate) output: Matrix,
    pub(crate) tree: Option<Tree>,
}

/// Memory that predictions use again.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    pub(crate) hashes: Vec<i32>,
    pub(crate) rows: Vec<u32>,
    pub(crate) hidden: Vec<f32>,
    pub(crate) scores: Vec<f32>,
}

impl Model {
    /// The names of the labels, in the order of probabilities.
    pub fn labels(&self) -> &[String] {
        self.dictionary.label_names()
    }

    /// The words of the model.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// How scores become probabilities.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Length of the vectors of words and labels.
    pub fn dimension(&self) -> usize {
        self.input.columns()
    }

    /// The probability of each label, in the order of [`labels`](Self::labels); `None` for a text without any feature
    /// of the model.
    ///
    /// They differ from those that fastText prints by about 0.00001, which fastText adds to all of them.
    pub fn probabilities<'s>(&self, text: &str, scratch: &'s mut Scratch) -> Option<&'s [f32]> {
        if !self.hidden(text, scratch) {
            return None;
        }
        let Scratch { hidden, scores, .. } = scratch;
        match (self.loss, &self.tree) {
            (Loss::Softmax, _) => {
                self.scores(hidden, scores);
                softmax(scores);
            }
            (Loss::HierarchicalSoftmax, Some(tree)) => {
                scores.clear();
                scores.resize(self.labels().len(), 0.0);
                tree.probabilities(|node| self.output.dot(node, hidden), scores);
            }
            _ => {
                self.scores(hidden, scores);
                scores.iter_mut().for_each(|score| *score = stepped_sigmoid(*score));
            }
        }
        Some(scores)
    }

    /// The score of each label before the softmax; `None` for a text without any feature. Meaningless for a
    /// hierarchical softmax.
    pub(crate) fn logits<'s>(&self, text: &str, scratch: &'s mut Scratch) -> Option<&'s [f32]> {
        if !self.hidden(text, scratch) {
            return None;
        }
        self.scores(&scratch.hidden, &mut scratch.scores);
        Some(&scratch.scores)
    }

    fn scores(&self, hidden: &[f32], scores: &mut Vec<f32>) {
        scores.clear();
        scores.extend((0..self.labels().len()).map(|label| self.output.dot(label, hidden)));
    }

    /// Computes the mean of a text's rows. Returns whether there are any.
    fn hidden(&self, text: &str, scratch: &mut Scratch) -> bool {
        let Scratch { hashes, rows, hidden, .. } = scratch;
        self.dictionary.rows_of(text, hashes, rows);
        mean(&self.input, rows, hidden);
        !rows.is_empty()
    }
}

/// The mean of some rows; zeros without any.
pub(crate) fn mean(input: &Matrix, rows: &[u32], hidden: &mut Vec<f32>) {
    hidden.clear();
    hidden.resize(input.columns(), 0.0);
    rows.iter().for_each(|row| input.add_to(*row as usize, hidden));
    let factor = 1.0 / rows.len().max(1) as f32;
    hidden.iter_mut().for_each(|sum| *sum *= factor);
}

/// fastText's sigmoid: in 512 steps from -8 to 8.
fn stepped_sigmoid(x: f32) -> f32 {
    const STEPS: f32 = 512.0;
    const LIMIT: f32 = 8.0;
    if x < -LIMIT {
        0.0
    } else if x > LIMIT {
        1.0
    } else {
        let step = ((x + LIMIT) * STEPS / LIMIT / 2.0).floor();
        let x = f64::from(step * 2.0 * LIMIT / STEPS - LIMIT);
        (1.0 / (1.0 + exp(-x))) as f32
    }
}
