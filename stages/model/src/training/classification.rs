//! Classification of texts: examples on disk, padded batches, scores.

use super::{LOSS, Loss};
use crate::kernels::loss::Targets;
use crate::scores::{Confusion, likeliest};
use crate::training::{Objective, TokenFile, TokenWriter};
use crate::transformer::{Architecture, Classifier, Ids, Noise};
use pipe_data::{Tokenizer, windows::Texts};
use pipe_stage::{Error, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Labelled texts: their tokens in a file, their places in memory.
#[derive(Debug)]
pub(crate) struct Examples {
    tokens: TokenFile,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    start: u64,
    length: u32,
    label: u32,
}

/// Writes [`Examples`].
pub(crate) struct ExamplesWriter {
    tokens: TokenWriter,
    at: u64,
    places: Vec<Place>,
}

impl ExamplesWriter {
    /// Texts of a tokenizer with so many ids.
    pub(crate) fn create(path: &Path, vocabulary: usize) -> io::Result<Self> {
        Ok(Self { tokens: TokenWriter::create(path, vocabulary)?, at: 0, places: Vec::new() })
    }

    /// Adds a text that has at least one token.
    fn push(&mut self, ids: &[u32], label: usize) -> io::Result<()> {
        self.places.push(Place { start: self.at, length: ids.len() as u32, label: label as u32 });
        self.at += ids.len() as u64;
        self.tokens.push(ids)
    }

    /// Adds the first `max_length` tokens of a text; a text without tokens is left out.
    pub(crate) fn push_text(
        &mut self,
        tokenizer: &Tokenizer,
        text: &str,
        max_length: usize,
        label: usize,
    ) -> io::Result<()> {
        let mut ids = tokenizer.encode_ordinary(text);
        ids.truncate(max_length);
        if ids.is_empty() { Ok(()) } else { self.push(&ids, label) }
    }

    pub(crate) fn finish(self) -> io::Result<Examples> {
        Ok(Examples { tokens: self.tokens.finish()?, places: self.places })
    }
}

/// Texts of a batch, filled up at the right with `pad`.
struct Padded {
    ids: Ids,
    last: Vec<usize>,
    labels: Vec<u32>,
}

impl Examples {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Texts per label.
    pub(crate) fn counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        self.places.iter().for_each(|place| counts[place.label as usize] += 1);
        counts
    }

    fn padded(&self, texts: impl Iterator<Item = usize>, pad: u32) -> Result<Padded> {
        let places: Vec<Place> = texts.map(|text| self.places[text]).collect();
        let width = places.iter().map(|place| place.length).max().unwrap_or(1) as usize;
        let mut ids = Vec::with_capacity(places.len() * width);
        for (row, place) in places.iter().enumerate() {
            let text = self.tokens.read(place.start, place.length as usize);
            ids.extend(text.map_err(|error| Error::io("read", Path::new("the flat example file"), &error))?);
            ids.resize((row + 1) * width, pad);
        }
        Ok(Padded {
            last: places.iter().map(|place| place.length as usize - 1).collect(),
            labels: places.iter().map(|place| place.label).collect(),
            ids: Ids::new(ids, places.len()),
        })
    }

    /// Mean cross entropy in nats, and who was taken for whom.
    pub(crate) fn score(
        &self,
        model: &Classifier,
        classes: usize,
        rows: usize,
        pad: u32,
    ) -> Result<(f64, Confusion)> {
        let (mut nats, mut confusion) = (0.0, Confusion::new(classes));
        for first in (0..self.len()).step_by(rows) {
            let batch = self.padded(first..self.len().min(first + rows), pad)?;
            let scores = model.scores(&batch.ids, &batch.last);
            for (scores, &label) in scores.chunks(classes).zip(&batch.labels) {
                confusion.add(label as usize, likeliest(scores));
                nats += cross_entropy(scores, label as usize);
            }
        }
        Ok((nats / self.len().max(1) as f64, confusion))
    }
}

/// `ln sum e^s - s[label]`.
fn cross_entropy(scores: &[f32], label: usize) -> f64 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = scores.iter().map(|&score| f64::from(score - largest).exp()).sum();
    total.ln() + f64::from(largest) - f64::from(scores[label])
}

/// Training a classifier on labelled texts, in an order that follows from the seed.
pub(crate) struct Classification {
    pub(crate) architecture: Architecture,
    pub(crate) classes: usize,
    pub(crate) train: Examples,
    pub(crate) validation: Examples,
    pub(crate) rows: usize,
    pub(crate) is_on_cpu: bool,
    pub(crate) pad: u32,
    pub(crate) seed: u64,
}

impl Objective for Classification {
    type Model = Classifier;

    fn loss(&self, model: &Classifier, batch: u64, noise: Noise) -> Result<Loss> {
        let order = Texts { seed: self.seed, texts: self.train.len() as u64, rows: self.rows };
        let texts = (0..self.rows).map(|row| order.text(batch, row) as usize);
        let batch = self.train.padded(texts, self.pad)?;
        let tokens = batch.last.iter().map(|&last| last as u64 + 1).sum();
        let labels = Targets::mean(batch.labels);
        Ok(Loss { value: model.loss(&batch.ids, &batch.last, &labels, noise), tokens })
    }

    fn validate(&self, model: &Classifier) -> Result<BTreeMap<String, f32>> {
        let (loss, confusion) = self.validation.score(model, self.classes, self.rows, self.pad)?;
        let figures = [(LOSS, loss), ("accuracy", confusion.accuracy()), ("macro_f1", confusion.macro_f1())];
        Ok(figures.map(|(name, value)| (name.to_owned(), value as f32)).into())
    }

    fn flops_per_token(&self) -> f64 {
        self.architecture.flops_per_token_of_blocks()
    }

    fn is_on_cpu(&self) -> bool {
        self.is_on_cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{Form, fresh, tiny};
    use burn::prelude::*;

    #[test]
    fn padding_is_not_counted_as_tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        let examples = |name: &str| {
            let mut writer = ExamplesWriter::create(&folder.path().join(name), 50).expect("a file");
            writer.push(&[1, 2], 0).expect("written");
            writer.push(&[1, 2, 3, 4, 5], 1).expect("written");
            writer.finish().expect("finished")
        };
        let architecture = tiny(Form::Llama, true);
        let device = Device::flex().autodiff();
        let source = |name: &str, shape: &[usize], start| Ok::<_, Error>(fresh(1, name, shape, start));
        let model = architecture.build_classifier(2, &device, source).expect("a classifier");
        let task = Classification {
            architecture,
            classes: 2,
            train: examples("train"),
            validation: examples("validation"),
            rows: 2,
            is_on_cpu: true,
            pad: 0,
            seed: 1,
        };
        // Two rows as wide as the longer text.
        assert_eq!(task.loss(&model, 0, Noise::NONE).expect("a loss").tokens, 7);
    }
}
