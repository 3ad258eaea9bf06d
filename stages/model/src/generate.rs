//! Writing text with a language model, token by token.

use crate::huggingface::ModelFiles;
use crate::random::{Purpose, Random, seed};
use crate::transformer::CausalLm;
use burn::prelude::*;
use pipe_data::Tokenizer;
use pipe_stage::{Error, Result};
use std::path::Path;

/// How the next token is drawn, and when to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Tokens to write, at most.
    pub tokens_max: usize,
    /// Divides the logits; 0 takes the likeliest token always.
    pub temperature: f64,
    /// Draws from this many likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Draws from the likeliest tokens that together reach this probability; 1 for all.
    pub top_p: f64,
    /// The same seed writes the same text.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { tokens_max: 100, temperature: 0.8, top_k: 0, top_p: 0.95, seed: 0 }
    }
}

impl Options {
    /// Says what is wrong, if anything.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::input(format!(
                "the temperature is {}, below 0 or no number",
                self.temperature
            )));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::input(format!("top_p is {}, not above 0 and up to 1", self.top_p)));
        }
        Ok(())
    }
}

/// A language model with its tokenizer, ready to write.
#[derive(Debug)]
pub struct Generator {
    model: CausalLm,
    tokenizer: Tokenizer,
    context: usize,
    ends: Vec<u32>,
}

impl Generator {
    /// Loads a folder of the Hugging Face layout onto the CPU.
    pub fn load(folder: &Path) -> Result<Self> {
        let files = ModelFiles::from_folder(folder)?;
        let model = files.language_model(&Device::flex())?;
        let tokenizer = files.open_tokenizer()?;
        let ends = files.ends(&tokenizer);
        Ok(Self { model, tokenizer, context: files.config.architecture.context, ends })
    }

    /// Continues `prompt`; gives the new text alone. A prompt longer than the context is cut at its front.
    /// Ends early with what there is when `is_wanted`, asked before each token, says no.
    pub fn generate(&self, prompt: &str, options: &Options, is_wanted: impl Fn() -> bool) -> Result<String> {
        options.check()?;
        let ids = self.tokenizer.encode(prompt);
        let new = continuation(&self.model, &ids, &self.ends, self.context, options, is_wanted)?;
        Ok(self.tokenizer.decode(&new))
    }
}

/// Memory that keys, values and scores of one text may take while it is read.
const READING_BYTES_MAX: u64 = 4 << 30;

/// Ids that follow `prompt`, up to the end of a document, `tokens_max` or the context.
pub(crate) fn continuation(
    model: &CausalLm,
    prompt: &[u32],
    ends: &[u32],
    context: usize,
    options: &Options,
    is_wanted: impl Fn() -> bool,
) -> Result<Vec<u32>> {
    let start = &ends[..ends.len().min(1)];
    let prompt = if prompt.is_empty() { start } else { prompt };
    if prompt.is_empty() {
        return Err(Error::input("the prompt is empty, and the model has no token to begin with"));
    }
    // Leave room to write: at least a quarter of the context, or all that was asked for.
    let room = options.tokens_max.min(context / 4).max(1);
    let kept = &prompt[prompt.len().saturating_sub(context.saturating_sub(room).max(1))..];
    let (mut cache, mut new) = (model.cache(), Vec::new());
    let bytes = model.bytes_to_read(kept.len().saturating_add(room));
    if bytes > READING_BYTES_MAX {
        let message = format!(
            "the prompt has {} tokens; reading them takes {} MiB, more than {} MiB",
            kept.len(),
            bytes >> 20,
            READING_BYTES_MAX >> 20
        );
        return Err(Error::input(message).help("give a shorter prompt"));
    }
    let mut logits = Vec::new();
    for part in kept.chunks(model.rows_at_once(kept.len())) {
        if !is_wanted() {
            return Ok(new);
        }
        logits = model.next(part, &mut cache);
    }
    while new.len() < options.tokens_max && is_wanted() {
        let position = new.len() as u64;
        let mut random = Random::new(seed(options.seed, Purpose::Sampling, position));
        let id = draw(&logits, options, random.uniform())
            .ok_or_else(|| Error::input("the model's output is not a number: its weights are broken"))?;
        if ends.contains(&id) {
            break;
        }
        new.push(id);
        if kept.len() + new.len() >= context {
            break;
        }
        logits = model.next(&[id], &mut cache);
    }
    Ok(new)
}

/// The token at `point` in [0, 1) of the distribution that the options leave; `None` for NaN.
fn draw(logits: &[f32], options: &Options, point: f64) -> Option<u32> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    // Ties fall to the smaller id.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_unstable_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let first = *order.first()?;
    if options.temperature == 0.0 {
        return Some(first as u32);
    }
    if options.top_k > 0 {
        order.truncate(options.top_k);
    }
    let weight = |&id: &usize| (f64::from(logits[id] - logits[first]) / options.temperature).exp();
    let mut weights: Vec<f64> = order.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    let mut reached = 0.0;
    let kept = weights.iter().position(|weight| {
        reached += weight / total;
        reached >= options.top_p
    });
    weights.truncate(kept.map_or(weights.len(), |last| last + 1));
    let mut left = point * weights.iter().sum::<f64>();
    for (id, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return Some(*id as u32);
        }
    }
    Some(order[weights.len() - 1] as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{Architecture, Form, tiny};

    const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, -1.0];

    fn options(temperature: f64, top_k: usize, top_p: f64) -> Options {
        Options { temperature, top_k, top_p, ..Options::default() }
    }

    #[test]
    fn temperature_zero_takes_the_likeliest() {
        assert!([0.0, 0.5, 0.999].iter().all(|&p| draw(&LOGITS, &options(0.0, 0, 1.0), p) == Some(1)));
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        assert_eq!(draw(&LOGITS, &options(1.0, 2, 1.0), 0.999), Some(2));
        assert_eq!(draw(&LOGITS, &options(1.0, 0, 0.5), 0.999), Some(1));
        assert_eq!(draw(&LOGITS, &options(1.0, 0, 1.0), 0.999_999), Some(3));
    }

    #[test]
    fn points_fall_by_probability() {
        let total: f64 = LOGITS.iter().map(|&l| f64::from(l).exp()).sum();
        let n = 10_000;
        let ones = (0..n).filter(|&i| draw(&LOGITS, &options(1.0, 0, 1.0), i as f64 / n as f64) == Some(1));
        assert!((ones.count() as f64 / n as f64 - 3_f64.exp() / total).abs() < 1e-3);
    }

    #[test]
    fn a_prompt_that_memory_may_not_hold_is_refused() {
        let shape = Architecture {
            heads: 256,
            kv_heads: 1,
            head_dim: 2,
            context: 1 << 20,
            ..tiny(Form::Llama, true)
        };
        let model = shape.init(1, &Device::flex());
        let prompt = vec![1; 1 << 20];
        let read = |prompt: &[u32]| {
            let options = Options { tokens_max: 1, ..Options::default() };
            continuation(&model, prompt, &[0], shape.context, &options, || true)
        };
        let error = read(&prompt).expect_err("refused").to_string();
        assert!(error.contains("1048575 tokens") && error.contains("MiB"), "{error}");
        assert!(read(&prompt[..1000]).is_ok());
    }

    #[test]
    fn nan_is_no_token() {
        assert_eq!(draw(&[0.0, f32::NAN], &options(1.0, 0, 1.0), 0.5), None);
    }
}
