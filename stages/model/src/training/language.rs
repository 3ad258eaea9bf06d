//! Language modelling: predicting each next token of a stream.

use crate::training::{Objective, Order, Sample, TokenFile, Windows};
use crate::transformer::{Architecture, CausalLm, Ids, Noise};
use burn::prelude::*;
use pipe_stage::{Error, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Writes texts with a model; given the step, so that each step's texts have their own seed.
pub(crate) type Sampler<'a> = Box<dyn Fn(&CausalLm, u64) -> Result<Vec<Sample>> + 'a>;

/// Training on windows of one stream, validating on another.
pub(crate) struct LanguageModelling<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) train: TokenFile,
    pub(crate) windows: Windows,
    pub(crate) validation: TokenFile,
    /// Batches of a validation, at most; they lie evenly over the stream.
    pub(crate) validation_batches: u64,
    pub(crate) sampler: Option<Sampler<'a>>,
}

impl Objective for LanguageModelling<'_> {
    type Model = CausalLm;

    fn loss(&self, model: &CausalLm, batch: u64, noise: Noise) -> Result<Tensor<1>> {
        let batch = self.windows.batch(&self.train, batch).map_err(|error| unreadable(&error))?;
        Ok(model.loss(&Ids::new(batch.ids, self.windows.rows), &batch.targets, noise))
    }

    fn validate(&self, model: &CausalLm) -> Result<BTreeMap<String, f32>> {
        let windows = Windows { order: Order::Sequential, tokens: self.validation.len(), ..self.windows };
        let whole = (windows.tokens - 1) / (windows.rows * windows.context) as u64;
        let batches = whole.clamp(1, self.validation_batches.max(1));
        let mut total = 0.0;
        for batch in 0..batches {
            // Not the head alone: a few long documents are no sample of all.
            let batch = windows
                .batch(&self.validation, batch * whole.max(1) / batches)
                .map_err(|error| unreadable(&error))?;
            let loss = model.loss(&Ids::new(batch.ids, windows.rows), &batch.targets, Noise::NONE);
            total += loss.into_data().iter::<f64>().sum::<f64>();
        }
        Ok([("loss_validation".to_owned(), (total / batches as f64) as f32)].into())
    }

    fn samples(&self, model: &CausalLm, step: u64) -> Result<Vec<Sample>> {
        self.sampler.as_ref().map_or_else(|| Ok(Vec::new()), |write| write(model, step))
    }

    fn tokens(&self) -> u64 {
        (self.windows.rows * self.windows.context) as u64
    }

    fn flops_per_token(&self) -> f64 {
        self.architecture.flops_per_token()
    }
}

fn unreadable(error: &io::Error) -> Error {
    Error::io("read", Path::new("the flat token file"), error)
}
