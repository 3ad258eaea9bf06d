//! What settings say of a model before it is trained.

use crate::transformer::{Architecture, Preset};
use pipe_stage::{Facts, In, KnownInputs};
use serde::{Deserialize, Serialize};

/// Name of the fact.
const MODEL: &str = "model";

/// The vocabulary size that is assumed where settings do not say it, because an existing tokenizer decides it.
const VOCABULARY: usize = 16_384;

/// A model before it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownModel {
    /// Its shape. The vocabulary is the size that is asked for: a tokenizer may end up with fewer tokens.
    pub(crate) architecture: Architecture,
    pub(crate) is_classifier: bool,
}

impl KnownModel {
    /// What is known of a model that flows into `port`, if it comes from a stage that says so.
    pub(crate) fn of(inputs: &KnownInputs, port: In) -> Option<Self> {
        inputs.fact(port, MODEL)
    }

    /// The same for a port that takes many, in the order of `needs`.
    pub(crate) fn all(inputs: &KnownInputs, port: In) -> Vec<Option<Self>> {
        inputs.of(port).iter().map(|input| input.facts.get(MODEL)).collect()
    }

    pub(crate) fn facts(self) -> Facts {
        Facts::default().with(MODEL, self)
    }

    /// The model whose amount of work stands for that of an unknown one.
    pub(crate) fn typical() -> Self {
        Self { architecture: Preset::GptSmall.shape(VOCABULARY), is_classifier: false }
    }
}

/// The vocabulary size that a tokenizer is asked for, else a common one.
pub(crate) fn vocabulary(inputs: &KnownInputs, tokenizer: In) -> usize {
    inputs.fact(tokenizer, pipe_data::VOCABULARY_SIZE).unwrap_or(VOCABULARY)
}
