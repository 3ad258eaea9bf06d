//! Models built of values that somebody gives by name and shape: fresh ones, or those of a file.
//!
//! | parameter | fresh values |
//! |---|---|
//! | matrices, embeddings, heads | normal, deviation 0.02 |
//! | `o_proj`, `down_proj`, which write to the residual stream | normal, deviation `0.02 / sqrt(2 layers)` |
//! | gains of norms | 1 |
//! | biases | 0 |

use super::architecture::{Architecture, Form, Placement};
use super::model::{Block, Body, CausalLm, Classifier, FeedForward, Geometry, Matrix, Norm, SelfAttention};
use crate::kernels::attention::Heads;
use crate::kernels::rope::Rope;
use crate::random::{Purpose, Random, hash, seed};
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::TensorData;
use std::convert::Infallible;

/// How a parameter's fresh values are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// Normal with mean 0 and this deviation.
    Normal(f64),
    Ones,
    Zeros,
}

/// Deviation of fresh weights that do not write to the residual stream.
const DEVIATION: f64 = 0.02;

/// Fresh values of the parameter `name`: a function of the seed and the name, on the host, so that every backend
/// starts with the same, in whatever order parameters are made.
pub(crate) fn fresh(initial_seed: u64, name: &str, shape: &[usize], start: Start) -> Vec<f32> {
    let n = shape.iter().product();
    match start {
        Start::Ones => vec![1.0; n],
        Start::Zeros => vec![0.0; n],
        Start::Normal(deviation) => {
            let mut random = Random::new(seed(initial_seed, Purpose::Initialisation, hash(name)));
            (0..n).map(|_| (random.normal() * deviation) as f32).collect()
        }
    }
}

impl Architecture {
    /// A language model with fresh weights.
    pub fn init(&self, seed: u64, device: &Device) -> CausalLm {
        let fresh = |name: &str, shape: &[usize], start| Ok::<_, Infallible>(fresh(seed, name, shape, start));
        let Ok(model) = self.build(device, fresh);
        model
    }

    /// A classifier with `classes` labels and fresh weights.
    #[cfg(test)]
    pub(crate) fn init_classifier(&self, classes: usize, seed: u64, device: &Device) -> Classifier {
        let fresh = |name: &str, shape: &[usize], start| Ok::<_, Infallible>(fresh(seed, name, shape, start));
        let Ok(model) = self.build_classifier(classes, device, fresh);
        model
    }

    /// A language model of the values that `source` gives for each name, shape and start; its first error ends
    /// it. No memory is taken for a parameter before its values are there.
    pub(crate) fn build<E>(
        &self,
        device: &Device,
        source: impl FnMut(&str, &[usize], Start) -> Result<Vec<f32>, E>,
    ) -> Result<CausalLm, E> {
        let mut builder = Builder { source, form: self.form, device };
        let model = self.build_body(&mut builder)?;
        let head = |builder: &mut Builder<'_, _>| {
            builder.bare_matrix("lm_head", self.vocabulary, self.features, DEVIATION)
        };
        let lm_head = (!self.tied).then(|| head(&mut builder)).transpose()?;
        Ok(CausalLm { model, lm_head })
    }

    /// As `build`, of a classifier.
    pub(crate) fn build_classifier<E>(
        &self,
        classes: usize,
        device: &Device,
        source: impl FnMut(&str, &[usize], Start) -> Result<Vec<f32>, E>,
    ) -> Result<Classifier, E> {
        let mut builder = Builder { source, form: self.form, device };
        let model = self.build_body(&mut builder)?;
        Ok(Classifier { model, score: builder.bare_matrix("score", classes, self.features, DEVIATION)? })
    }

    fn build_body<E, S>(&self, builder: &mut Builder<'_, S>) -> Result<Body, E>
    where
        S: FnMut(&str, &[usize], Start) -> Result<Vec<f32>, E>,
    {
        let (d, q) = (self.features, self.heads * self.head_dim);
        let qkv = q + 2 * self.kv_heads * self.head_dim;
        let residual = DEVIATION / (2.0 * self.layers as f64).sqrt();
        let is_llama = self.form == Form::Llama;
        let embed_tokens = builder.bare_matrix("model.embed_tokens", self.vocabulary, d, DEVIATION)?;
        let embed_positions = match self.form {
            Form::Llama => None,
            Form::Gpt2 => Some(builder.bare_matrix("model.embed_positions", self.context, d, DEVIATION)?),
        };
        let mut layers = Vec::with_capacity(self.layers);
        for layer in 0..self.layers {
            let at = |module: &str| format!("model.layers.{layer}.{module}");
            let mut matrix = |module: &str, out, features, deviation| {
                builder.matrix(&at(module), out, features, deviation)
            };
            let self_attn = SelfAttention {
                qkv_proj: matrix("self_attn.qkv_proj", qkv, d, DEVIATION)?,
                o_proj: matrix("self_attn.o_proj", d, q, residual)?,
            };
            let (gate_up_proj, up_proj) = if is_llama {
                (Some(matrix("mlp.gate_up_proj", 2 * self.feed_forward, d, DEVIATION)?), None)
            } else {
                (None, Some(matrix("mlp.up_proj", self.feed_forward, d, DEVIATION)?))
            };
            let down_proj = matrix("mlp.down_proj", d, self.feed_forward, residual)?;
            layers.push(Block {
                input_layernorm: builder.norm(&at("input_layernorm"), d)?,
                self_attn,
                post_attention_layernorm: builder.norm(&at("post_attention_layernorm"), d)?,
                mlp: FeedForward { gate_up_proj, up_proj, down_proj },
            });
        }
        let norm = match self.norm {
            Placement::Pre => Some(builder.norm("model.norm", d)?),
            Placement::Post => None,
        };
        let geometry = Geometry {
            heads: Heads { q: self.heads, kv: self.kv_heads, dim: self.head_dim },
            rope: is_llama.then(|| Rope::new(self.context, self.head_dim, self.rope_theta)),
            embedding_factor: self.embedding_factor(),
            epsilon: self.norm_epsilon as f32,
        };
        Ok(Body { embed_tokens, embed_positions, layers, norm, geometry })
    }
}

/// Makes parameters of a source's values.
struct Builder<'a, S> {
    source: S,
    form: Form,
    device: &'a Device,
}

impl<E, S: FnMut(&str, &[usize], Start) -> Result<Vec<f32>, E>> Builder<'_, S> {
    /// A projection, with a bias where the form has them.
    fn matrix(&mut self, name: &str, out: usize, features: usize, deviation: f64) -> Result<Matrix, E> {
        let matrix = self.bare_matrix(name, out, features, deviation)?;
        Ok(Matrix { bias: self.bias(name, out)?, ..matrix })
    }

    fn bare_matrix(&mut self, name: &str, out: usize, features: usize, deviation: f64) -> Result<Matrix, E> {
        let weight = self.parameter(&format!("{name}.weight"), [out, features], Start::Normal(deviation))?;
        Ok(Matrix { weight, bias: None })
    }

    fn norm(&mut self, name: &str, features: usize) -> Result<Norm, E> {
        let weight = self.parameter(&format!("{name}.weight"), [features], Start::Ones)?;
        Ok(Norm { weight, bias: self.bias(name, features)? })
    }

    fn bias(&mut self, name: &str, features: usize) -> Result<Option<Param<Tensor<1>>>, E> {
        match self.form {
            Form::Llama => Ok(None),
            Form::Gpt2 => self.parameter(&format!("{name}.bias"), [features], Start::Zeros).map(Some),
        }
    }

    fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        start: Start,
    ) -> Result<Param<Tensor<D>>, E> {
        let values = (self.source)(name, &shape, start)?;
        Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device)))
    }
}

#[cfg(test)]
mod tests {
    use crate::transformer::variants;
    use burn::module::Module;
    use burn::prelude::Device;

    #[test]
    fn parameters_are_counted() {
        for architecture in variants() {
            assert_eq!(architecture.check(), Ok(()));
            assert_eq!(architecture.init(1, &Device::flex()).num_params(), architecture.parameters());
        }
    }
}
