//! The shape of a model: what there is to choose, what fits together, and how large it is.
//! Knows nothing of how the parts compute; that is `model`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Architecture of a model: how the parts of a block are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// RMSNorm, rotary positions, SwiGLU, no biases (Touvron et al., 2023).
    #[default]
    Llama,
    /// LayerNorm, learned positions, GELU, biases (Radford et al., 2019).
    Gpt2,
}

/// Position of the norms in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Before attention and feed-forward, and once after the last block (GPT-2, Llama).
    #[default]
    Pre,
    /// After each residual sum (Vaswani et al., 2017; GPT).
    Post,
}

/// Factor that token embeddings are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingScale {
    /// None.
    #[default]
    None,
    /// The square root of `hidden_size` (Vaswani et al., 2017).
    RootWidth,
}

/// The shape of a model. `check` has to find no fault before a model is built.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// The family of choices.
    pub form: Form,
    /// Where normalisation stands.
    pub norm: Placement,
    /// What token embeddings are multiplied by.
    pub embedding_scale: EmbeddingScale,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub features: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features per head; must be an even number with rotary positions.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Base of the rotary frequencies; plays no part in the form `gpt2`.
    pub rope_theta: f64,
    /// Added to the mean square, or the variance, in normalisation.
    pub norm_epsilon: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
}

/// Context times head dimension, at most: cosines and sines take 4 bytes for each.
const ROTARY_ELEMENTS_MAX: usize = 1 << 28;

/// Parameters of a model, at most: 256 GiB of f32.
const PARAMETERS_MAX: usize = 1 << 36;

impl Architecture {
    /// Says what is wrong with the shape, if anything.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("the vocabulary size", self.vocabulary, 1 << 24),
            ("the hidden size", self.features, 1 << 16),
            ("the number of layers", self.layers, 1 << 10),
            ("the number of heads", self.heads, 1 << 12),
            ("the number of key and value heads", self.kv_heads, 1 << 12),
            ("the head dimension", self.head_dim, 1 << 12),
            ("the intermediate size", self.feed_forward, 1 << 18),
            ("the context length", self.context, 1 << 22),
        ];
        if let Some((name, size, most)) =
            sizes.into_iter().find(|(_, size, most)| !(1..=*most).contains(size))
        {
            return Err(format!("{name} is {size}, not from 1 to {most}"));
        }
        // No product below overflows: each size is bounded above.
        if self.context * self.head_dim > ROTARY_ELEMENTS_MAX && self.form == Form::Llama {
            let Self { context, head_dim, .. } = self;
            return Err(format!(
                "a context length of {context} with a head dimension of {head_dim} needs rotary tables of more than 1 GiB"
            ));
        }
        if self.parameters() > PARAMETERS_MAX {
            return Err(format!(
                "the model has {} parameters, more than the {PARAMETERS_MAX} that are supported",
                self.parameters()
            ));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "the number of key and value heads, {}, does not divide the number of heads, {}",
                self.kv_heads, self.heads
            ));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            return Err(format!("the epsilon of norms is {}, not a number from 0", self.norm_epsilon));
        }
        match self.form {
            Form::Llama => self.check_llama(),
            Form::Gpt2 => self.check_gpt2(),
        }
    }

    fn check_llama(&self) -> Result<(), String> {
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!(
                "the head dimension is {}; it must be an even number with rotary positions",
                self.head_dim
            ));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(format!(
                "the base of the rotary frequencies is {}, not a number above 0",
                self.rope_theta
            ));
        }
        if self.norm == Placement::Post {
            return Err("`norm: post` needs the architecture `gpt2`, and this is `llama`".into());
        }
        Ok(())
    }

    fn check_gpt2(&self) -> Result<(), String> {
        if self.kv_heads != self.heads {
            let Self { heads, kv_heads, .. } = self;
            return Err(format!(
                "the architecture `gpt2` needs as many key and value heads as heads, not {kv_heads} and {heads}"
            ));
        }
        if self.heads * self.head_dim != self.features {
            let Self { features, heads, head_dim, .. } = self;
            return Err(format!(
                "the architecture `gpt2` needs heads that share the hidden size: {heads} of {head_dim} features make {}, not {features}",
                heads * head_dim
            ));
        }
        Ok(())
    }

    /// The shape once the embedding is multiplied by its scale for good, which leaves the function the same to
    /// the bit. A tied head comes apart by that.
    pub(crate) fn folded(self) -> Self {
        let is_plain = self.embedding_scale == EmbeddingScale::None;
        Self { embedding_scale: EmbeddingScale::None, tied: self.tied && is_plain, ..self }
    }

    /// What token embeddings are multiplied by.
    pub(crate) fn embedding_factor(&self) -> Option<f32> {
        match self.embedding_scale {
            EmbeddingScale::None => None,
            EmbeddingScale::RootWidth => Some((self.features as f32).sqrt()),
        }
    }

    /// Number of parameters, a tied head counted once.
    pub fn parameters(&self) -> usize {
        let tables = if self.tied { 1 } else { 2 } * self.vocabulary * self.features;
        let norms = 2 * self.layers + usize::from(self.norm == Placement::Pre);
        let rest = match self.form {
            Form::Llama => norms * self.features,
            Form::Gpt2 => {
                let block = self.feed_forward + 2 * self.features + self.qkv_width();
                (2 * norms + self.context) * self.features + self.layers * block
            }
        };
        tables + rest + self.layers * self.block_matrices()
    }

    fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn block_matrices(&self) -> usize {
        let attention = (2 * self.heads + 2 * self.kv_heads) * self.head_dim * self.features;
        let feed_forward = match self.form {
            Form::Llama => 3,
            Form::Gpt2 => 2,
        };
        attention + feed_forward * self.features * self.feed_forward
    }

    /// Floating-point operations of training on one token: 6 per matrix parameter, and attention counted as
    /// if it were not causal (the convention of the PaLM paper's appendix B).
    pub fn flops_per_token(&self) -> f64 {
        self.flops_per_token_of_blocks() + 6.0 * (self.vocabulary * self.features) as f64
    }

    /// The same without the product with the head.
    pub(crate) fn flops_per_token_of_blocks(&self) -> f64 {
        let attention = self.layers * self.heads * self.head_dim * self.context;
        6.0 * (self.layers * self.block_matrices()) as f64 + 12.0 * attention as f64
    }
}

/// Bytes of a process besides models and batches.
const BASE_BYTES: f64 = (32 << 20) as f64;

impl Architecture {
    /// Bytes of the weights as f32.
    pub(crate) fn weight_bytes(&self) -> f64 {
        4.0 * self.parameters() as f64
    }

    /// Estimates the memory of training on micro-batches of so many tokens: weights, gradients and two moments, and
    /// what each layer keeps for the backward pass.
    pub(crate) fn training_bytes(&self, tokens: usize) -> f64 {
        BASE_BYTES + 4.0 * self.weight_bytes() + (self.layers * tokens) as f64 * self.layer_bytes()
    }

    /// Estimates the memory of computing with batches of so many tokens: weights, as read and as used, and one layer.
    pub(crate) fn inference_bytes(&self, tokens: usize) -> f64 {
        BASE_BYTES + 2.0 * self.weight_bytes() + tokens as f64 * self.layer_bytes()
    }

    /// Bytes that a layer keeps of a token: normed inputs, projections, sums and the feed-forward layer.
    fn layer_bytes(&self) -> f64 {
        let floats = match self.form {
            Form::Llama => 8 * self.features + 3 * self.feed_forward,
            Form::Gpt2 => 8 * self.features + 2 * self.feed_forward,
        };
        4.0 * floats as f64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A very small shape of each form.
    pub(crate) fn tiny(form: Form, tied: bool) -> Architecture {
        Architecture {
            form,
            norm: Placement::Pre,
            embedding_scale: EmbeddingScale::None,
            vocabulary: 50,
            features: 24,
            layers: 2,
            heads: 4,
            kv_heads: if form == Form::Llama { 2 } else { 4 },
            head_dim: 6,
            feed_forward: 40,
            context: 32,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
            tied,
        }
    }

    /// Both forms, and the form `gpt2` with its other choices.
    pub(crate) fn variants() -> Vec<Architecture> {
        let mut variants = Vec::new();
        for tied in [true, false] {
            variants.extend([Form::Llama, Form::Gpt2].map(|form| tiny(form, tied)));
            let scaled =
                Architecture { embedding_scale: EmbeddingScale::RootWidth, ..tiny(Form::Gpt2, tied) };
            variants.extend([scaled, Architecture { norm: Placement::Post, feed_forward: 96, ..scaled }]);
        }
        variants
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let fault = |architecture: Architecture| architecture.check().expect_err("a fault");
        let (llama, gpt2) = (tiny(Form::Llama, true), tiny(Form::Gpt2, true));
        assert!(fault(Architecture { norm: Placement::Post, ..llama }).contains("`norm: post`"));
        assert!(fault(Architecture { kv_heads: 2, ..gpt2 }).contains("key and value heads"));
        assert!(fault(Architecture { head_dim: 7, ..gpt2 }).contains("make 28, not 24"));
        assert_eq!(Architecture { heads: 8, kv_heads: 8, head_dim: 3, ..gpt2 }.check(), Ok(()));
    }

    #[test]
    fn sizes_whose_product_no_machine_holds_are_refused() {
        let fault = |architecture: Architecture| architecture.check().expect_err("a fault");
        let llama = tiny(Form::Llama, true);
        let large = Architecture { vocabulary: 1 << 24, features: 1 << 16, layers: 1 << 10, ..llama };
        assert!(fault(large).contains("parameters"));
        assert!(
            fault(Architecture { context: 1 << 22, head_dim: 1 << 12, ..llama }).contains("rotary tables")
        );
    }
}
