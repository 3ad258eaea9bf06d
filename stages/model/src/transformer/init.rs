//! Initial weights: a model of a shape, each parameter drawn from a stream of its own.

use super::architecture::{Architecture, Form, Placement};
use super::model::{Block, Body, CausalLm, Classifier, FeedForward, Geometry, Matrix, Norm, SelfAttention};
use crate::kernels::attention::Heads;
use crate::kernels::rope::Rope;
use crate::random::{Purpose, Random, seed};
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::TensorData;

impl Architecture {
    /// A language model with fresh weights.
    pub fn init(&self, initial_seed: u64, device: &Device) -> CausalLm {
        let mut init = self.initialiser(initial_seed, device);
        let model = self.init_body(&mut init);
        let lm_head = (!self.tied).then(|| init.bare_matrix(self.vocabulary, self.features, DEVIATION));
        CausalLm { model, lm_head }
    }

    /// A classifier with `classes` labels and fresh weights.
    pub fn init_classifier(&self, classes: usize, initial_seed: u64, device: &Device) -> Classifier {
        let mut init = self.initialiser(initial_seed, device);
        let model = self.init_body(&mut init);
        Classifier { model, score: init.bare_matrix(classes, self.features, DEVIATION) }
    }

    fn initialiser<'a>(&self, seed: u64, device: &'a Device) -> Initialiser<'a> {
        Initialiser { seed, parameter: 0, form: self.form, device }
    }

    fn init_body(&self, init: &mut Initialiser<'_>) -> Body {
        let (d, q, kv) = (self.features, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let residual = DEVIATION / (2.0 * self.layers as f64).sqrt();
        let embed_tokens = init.bare_matrix(self.vocabulary, d, DEVIATION);
        let embed_positions = (self.form == Form::Gpt2).then(|| init.bare_matrix(self.context, d, DEVIATION));
        let layers = (0..self.layers).map(|_| Block {
            input_layernorm: init.norm(d),
            self_attn: SelfAttention {
                q_proj: init.matrix(q, d, DEVIATION),
                k_proj: init.matrix(kv, d, DEVIATION),
                v_proj: init.matrix(kv, d, DEVIATION),
                o_proj: init.matrix(d, q, residual),
            },
            post_attention_layernorm: init.norm(d),
            mlp: FeedForward {
                gate_proj: (self.form == Form::Llama).then(|| init.matrix(self.feed_forward, d, DEVIATION)),
                up_proj: init.matrix(self.feed_forward, d, DEVIATION),
                down_proj: init.matrix(d, self.feed_forward, residual),
            },
        });
        let layers = layers.collect();
        let rope = || Rope::new(self.context, self.head_dim, self.rope_theta);
        let geometry = Geometry {
            heads: Heads { q: self.heads, kv: self.kv_heads, dim: self.head_dim },
            rope: (self.form == Form::Llama).then(rope),
            placement: self.norm,
            embedding_factor: self.embedding_factor(),
            epsilon: self.norm_epsilon as f32,
        };
        let norm = (self.norm == Placement::Pre).then(|| init.norm(d));
        Body { embed_tokens, embed_positions, layers, norm, geometry }
    }
}

/// Deviation of initial weights that do not write to the residual stream.
const DEVIATION: f64 = 0.02;

/// Draws each parameter from a stream of its own, on the host: the same weights on every backend.
struct Initialiser<'a> {
    seed: u64,
    parameter: u64,
    form: Form,
    device: &'a Device,
}

impl Initialiser<'_> {
    /// A projection, with a bias where the form has them.
    fn matrix(&mut self, out: usize, features: usize, deviation: f64) -> Matrix {
        Matrix { bias: self.bias(out), ..self.bare_matrix(out, features, deviation) }
    }

    fn bare_matrix(&mut self, out: usize, features: usize, deviation: f64) -> Matrix {
        self.parameter += 1;
        let mut random = Random::new(seed(self.seed, Purpose::Initialisation, self.parameter));
        let values: Vec<f32> = (0..out * features).map(|_| (random.normal() * deviation) as f32).collect();
        let weight = Tensor::from_data(TensorData::new(values, [out, features]), self.device);
        Matrix { weight: Param::from_tensor(weight), bias: None }
    }

    fn norm(&self, features: usize) -> Norm {
        let weight = Param::from_tensor(Tensor::ones([features], self.device));
        Norm { weight, bias: self.bias(features) }
    }

    fn bias(&self, features: usize) -> Option<Param<Tensor<1>>> {
        let zeros = || Param::from_tensor(Tensor::zeros([features], self.device));
        (self.form == Form::Gpt2).then(zeros)
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
