//! Training by stochastic gradient descent, as fastText does it, in an order that the seed determines: the same texts
//! give the same bytes on every machine. Nothing here knows documents or threads.
//!
//! A text's words and n-grams are hashed again in every epoch, since lists of rows would need ten times the memory of
//! the text.

use crate::calibration::Calibration;
use crate::dictionary::{Dictionary, Ngrams};
use crate::evaluation::{Evaluation, Report};
use crate::math::{Random, add, dot, sigmoid, softmax};
use crate::matrix::{Dense, Matrix};
use crate::model::{Loss, Model, Scratch, mean};

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Length of the vectors of words and labels.
    pub dimension: usize,
    /// Number of times that each text is used.
    pub epochs: u32,
    /// Learning rate at the beginning; it falls linearly to 0.
    pub learning_rate: f32,
    /// [`Loss::Softmax`] or [`Loss::OneVsAll`].
    pub loss: Loss,
    /// Determines the weights at the beginning and the order of texts.
    pub seed: u64,
}

/// Texts to train on.
#[derive(Debug, Clone)]
pub struct Trainer {
    settings: Settings,
    dictionary: Dictionary,
    texts: String,
    labels: Vec<u32>,
    /// Ends of the texts, and of their labels.
    ends: Vec<(usize, usize)>,
}

/// What random numbers are used for.
const WEIGHTS: u64 = 1;
const ORDER: u64 = 2;

impl Trainer {
    /// Starts without texts. The dictionary has the labels.
    pub fn new(settings: Settings, dictionary: Dictionary) -> Self {
        Self { settings, dictionary, texts: String::new(), labels: Vec::new(), ends: Vec::new() }
    }

    /// Adds a text with the positions of its labels, in the order of the dictionary's. Other positions are ignored.
    pub fn add(&mut self, text: &str, labels: &[u32]) {
        self.texts.push_str(text);
        let known = labels.iter().filter(|label| (**label as usize) < self.dictionary.labels.len());
        self.labels.extend(known);
        self.ends.push((self.texts.len(), self.labels.len()));
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.ends.len()
    }

    fn example(&self, number: usize) -> (&str, &[u32]) {
        let (text_start, label_start) = number.checked_sub(1).map_or((0, 0), |before| self.ends[before]);
        let (text_end, label_end) = self.ends[number];
        (&self.texts[text_start..text_end], &self.labels[label_start..label_end])
    }

    /// Trains a model. `progress` receives the number of texts used, of all epochs, from time to time, and whether to
    /// go on is what it returns; without, there is no model.
    pub fn train(&self, mut progress: impl FnMut(u64) -> bool) -> Option<Model> {
        const ASKED_EVERY: u64 = 256;
        let Settings { dimension, epochs, learning_rate, loss, seed } = self.settings;
        let mut weights = Weights::new(&self.dictionary, dimension, seed);
        let mut order: Vec<usize> = (0..self.ends.len()).collect();
        let total = u64::from(epochs) * order.len() as u64;
        let mut scratch = Scratch::default();
        let mut done = 0_u64;
        for epoch in 0..epochs {
            let mut random = Random::new(seed, ORDER, u64::from(epoch));
            for place in (1..order.len()).rev() {
                order.swap(place, random.below(place + 1));
            }
            for &number in &order {
                if done.is_multiple_of(ASKED_EVERY) && !progress(done) {
                    return None;
                }
                let rate = learning_rate * (1.0 - done as f64 / total as f64) as f32;
                let (text, labels) = self.example(number);
                self.dictionary.rows_of(text, &mut scratch.hashes, &mut scratch.rows);
                weights.learn(&mut scratch, labels, loss, rate);
                done += 1;
            }
        }
        progress(done).then(|| weights.model(self.dictionary.clone(), loss))
    }
}

impl Model {
    /// Makes the probabilities of held-out texts true, by one factor for all scores. Returns the factor: below 1 the
    /// model was too sure.
    ///
    /// `texts` have the positions of their labels. At most 16 million scores are used.
    pub fn calibrate<'t>(&mut self, texts: impl IntoIterator<Item = (&'t str, &'t [u32])>) -> f64 {
        let mut calibration = Calibration::new(self);
        let mut scratch = Scratch::default();
        texts.into_iter().for_each(|(text, labels)| calibration.add(self, text, labels, &mut scratch));
        let factor = calibration.sharpness();
        self.sharpen(factor);
        factor
    }

    /// Whether every text has one label.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.loss(), Loss::Softmax | Loss::HierarchicalSoftmax)
    }

    /// Compares predictions with the labels of texts. Texts without any feature count as errors.
    pub fn evaluate<'t>(&self, texts: impl IntoIterator<Item = (&'t str, &'t [u32])>) -> Report {
        let mut evaluation = Evaluation::new(self.labels(), self.is_exclusive());
        let mut scratch = Scratch::default();
        for (text, labels) in texts {
            let none = vec![0.0; self.labels().len()];
            evaluation.add(labels, self.probabilities(text, &mut scratch).unwrap_or(&none));
        }
        evaluation.report()
    }
}

struct Weights {
    input: Matrix,
    output: Dense,
    gradient: Vec<f32>,
}

impl Weights {
    /// Random vectors of words and n-grams, and zeros for labels.
    fn new(dictionary: &Dictionary, dimension: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, WEIGHTS, 0);
        let scale = 1.0 / dimension as f32;
        let count = dictionary.rows() as usize * dimension;
        let values = (0..count).map(|_| random.symmetric() * scale).collect();
        let input = Matrix::Dense(Dense { columns: dimension, values });
        let output = Dense { columns: dimension, values: vec![0.0; dictionary.labels.len() * dimension] };
        Self { input, output, gradient: vec![0.0; dimension] }
    }

    /// One step: the rows of a text and its labels.
    fn learn(&mut self, scratch: &mut Scratch, labels: &[u32], loss: Loss, rate: f32) {
        let Scratch { rows, hidden, scores, .. } = scratch;
        if rows.is_empty() || (labels.is_empty() && loss == Loss::Softmax) {
            return;
        }
        mean(&self.input, rows, hidden);
        self.gradient.fill(0.0);
        let count = self.output.values.len() / self.output.columns;
        scores.clear();
        scores.extend((0..count).map(|label| dot(self.output.row(label), hidden)));
        let share = match loss {
            Loss::Softmax => {
                softmax(scores);
                1.0 / labels.len() as f32
            }
            _ => {
                scores.iter_mut().for_each(|score| *score = sigmoid(f64::from(*score)) as f32);
                1.0
            }
        };
        for (label, probability) in (0..).zip(scores.iter()) {
            let target = if labels.contains(&label) { share } else { 0.0 };
            let step = rate * (target - probability);
            let row = self.output.row_mut(label as usize);
            add(&mut self.gradient, row, step);
            add(row, hidden, step);
        }
        let factor = 1.0 / rows.len() as f32;
        if let Matrix::Dense(input) = &mut self.input {
            rows.iter().for_each(|row| add(input.row_mut(*row as usize), &self.gradient, factor));
        }
    }

    fn model(self, dictionary: Dictionary, loss: Loss) -> Model {
        Model { dictionary, loss, input: self.input, output: Matrix::Dense(self.output), tree: None }
    }
}

/// Suits texts of any kind and language: words, pairs of words.
impl Default for Ngrams {
    fn default() -> Self {
        Self { words: 2, characters_min: 0, characters_max: 0, buckets: 1 << 18 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::Vocabulary;

    const NGRAMS: Ngrams = Ngrams { words: 2, characters_min: 2, characters_max: 3, buckets: 2000 };

    /// Texts whose words tell their label, most of the time.
    fn texts(count: u32) -> Vec<(String, u32)> {
        let mut random = Random::new(1, 9, 9);
        let text = |n: u32| {
            let label = n % 3;
            let mut word = || match random.below(4) {
                0 => format!("any{}", random.below(20)),
                _ => format!("w{label}x{}", random.below(10)),
            };
            ((0..8).map(|_| word()).collect::<Vec<_>>().join(" "), label)
        };
        (0..count).map(text).collect()
    }

    fn trainer(settings: Settings, texts: &[(String, u32)]) -> Trainer {
        let mut vocabulary = Vocabulary::default();
        for (text, _) in texts {
            vocabulary.add(text);
        }
        let count = |label| texts.iter().filter(|(_, own)| *own == label).count() as u64;
        let labels = [0, 1, 2].map(|label| (format!("l{label}"), count(label)));
        let mut trainer = Trainer::new(settings, vocabulary.dictionary(NGRAMS, 1, &labels));
        texts.iter().for_each(|(text, label)| trainer.add(text, &[*label]));
        trainer
    }

    const SETTINGS: Settings =
        Settings { dimension: 10, epochs: 5, learning_rate: 0.5, loss: Loss::Softmax, seed: 3 };

    #[test]
    fn a_model_learns_what_words_tell() {
        let (train, held_out) = (texts(600), texts(900).split_off(600));
        for loss in [Loss::Softmax, Loss::OneVsAll] {
            let mut model = trainer(Settings { loss, ..SETTINGS }, &train).train(|_| true).unwrap();
            let held_out: Vec<(&str, [u32; 1])> =
                held_out.iter().map(|(text, label)| (text.as_str(), [*label])).collect();
            let held_out = || held_out.iter().map(|(text, label)| (*text, &label[..]));
            let before = model.evaluate(held_out());
            assert!(before.accuracy > 0.95, "{before:?}");
            model.calibrate(held_out());
            let after = model.evaluate(held_out());
            assert!(after.calibration_error <= before.calibration_error + 1e-3, "{before:?} {after:?}");
        }
    }

    #[test]
    fn the_seed_determines_the_bytes() {
        let bytes = |seed| {
            let model = trainer(Settings { seed, ..SETTINGS }, &texts(60)).train(|_| true).unwrap();
            model.write(Vec::new()).unwrap()
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn a_written_model_is_read_as_it_was() {
        let model = trainer(SETTINGS, &texts(60)).train(|_| true).unwrap();
        let bytes = model.write(Vec::new()).unwrap();
        assert_eq!(Model::read(&bytes[..], bytes.len() as u64).unwrap(), model);
    }

    #[test]
    fn training_can_be_stopped() {
        assert_eq!(trainer(SETTINGS, &texts(600)).train(|done| done < 256), None);
    }
}
