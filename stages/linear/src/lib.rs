//! Linear classifiers of text on hashed word and character n-grams, by the method of fastText ("Bag of Tricks for
//! Efficient Text Classification", Joulin et al. 2016): training, prediction, evaluation, and fastText's files.
//!
//! This crate knows bytes and numbers. It does not know documents, stages, caches, paths, threads or clocks. Everything
//! that it computes has the same bits on every machine.

mod math;

mod dictionary;
mod matrix;
mod tree;

mod model;

mod fasttext;

mod calibration;
mod evaluation;
mod training;

pub use dictionary::{Dictionary, LABEL_PREFIX, Ngrams, Vocabulary};
pub use evaluation::{Bin, Evaluation, LabelReport, Report};
pub use fasttext::{ModelError, NGRAM_MAX};
pub use model::{Loss, Model, Scratch};
pub use training::{Settings, Trainer};
