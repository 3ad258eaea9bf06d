//! Language modelling: predicting each next token of a stream.

use super::{Batch, LOSS, Loss, Objective, Sample, TokenFile, Windows};
use crate::kernels::loss::Targets;
use crate::transformer::{Architecture, CausalLm, Ids, Noise};
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
    pub(crate) is_on_cpu: bool,
    pub(crate) sampler: Option<Sampler<'a>>,
}

impl Objective for LanguageModelling<'_> {
    type Model = CausalLm;

    fn loss(&self, model: &CausalLm, batch: u64, noise: Noise) -> Result<Loss> {
        let batch = Batch::read(&self.windows, &self.train, batch).map_err(|error| unreadable(&error))?;
        let tokens = batch.ids.len() as u64;
        let ids = Ids::new(batch.ids, self.windows.rows);
        Ok(Loss { value: model.loss(&ids, &Targets::mean(batch.targets), noise), tokens })
    }

    fn validate(&self, model: &CausalLm) -> Result<BTreeMap<String, f32>> {
        let windows = self.windows.over(self.validation.len());
        let whole = windows.whole_batches();
        let batches = whole.min(self.validation_batches.max(1));
        let mut total = 0.0;
        for batch in 0..batches {
            // Not the head alone: a few long documents are no sample of all.
            let batch = Batch::read(&windows, &self.validation, batch * whole / batches)
                .map_err(|error| unreadable(&error))?;
            let ids = Ids::new(batch.ids, windows.rows);
            let loss = model.loss(&ids, &Targets::mean(batch.targets), Noise::NONE);
            total += loss.into_data().iter::<f64>().sum::<f64>();
        }
        Ok([(LOSS.to_owned(), (total / batches as f64) as f32)].into())
    }

    fn samples(&self, model: &CausalLm, step: u64) -> Result<Vec<Sample>> {
        self.sampler.as_ref().map_or_else(|| Ok(Vec::new()), |write| write(model, step))
    }

    fn flops_per_token(&self) -> f64 {
        self.architecture.flops_per_token()
    }

    fn is_on_cpu(&self) -> bool {
        self.is_on_cpu
    }
}

fn unreadable(error: &io::Error) -> Error {
    Error::io("read", Path::new("the flat token file"), error)
}
