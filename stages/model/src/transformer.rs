//! A decoder-only transformer of Llama form (Touvron et al., 2023). Its choices:
//!
//! - root mean square normalisation before attention and feed-forward, and once at the end; no biases
//! - rotary positions, halves rotated together as Hugging Face does; no learned positions
//! - grouped-query attention: `kv_heads` divides `heads`
//! - SwiGLU feed-forward
//! - the head is a matrix of its own, or the embedding itself (`tied`)
//! - dropout on the embedding's and on each residual branch's output; attention weights are not dropped
//! - initialisation as in GPT-2: normal with deviation 0.02, divided by `sqrt(2 layers)` for the two
//!   projections that write to the residual stream; norms start at 1
//!
//! Weights are stored `[out, in]`, and fields are named as in `LlamaForCausalLM`, so that a parameter's path
//! is its name in a safetensors file.

use crate::kernels::attention::{Heads, causal_attention, merge, split};
use crate::kernels::dropout::dropout;
use crate::kernels::embedding::embedding;
use crate::kernels::linear::linear;
use crate::kernels::loss::{head_loss, head_losses};
use crate::kernels::norm::rms_norm;
use crate::kernels::rope::Rope;
use crate::kernels::swiglu::swiglu;
use crate::random::{Purpose, Random, mix, seed};
use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::TensorData;
use burn::tensor::activation::softmax;
use std::sync::Arc;

/// The shape of a model. `check` has to find no fault before `init` is called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Architecture {
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
    /// Features of a head; even.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in normalisation.
    pub norm_epsilon: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
}

impl Architecture {
    /// Says what is wrong with the shape, if anything.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("the vocabulary", self.vocabulary, 1 << 24),
            ("the width", self.features, 1 << 16),
            ("the number of layers", self.layers, 1 << 10),
            ("the number of heads", self.heads, 1 << 12),
            ("the number of key heads", self.kv_heads, 1 << 12),
            ("the head dimension", self.head_dim, 1 << 12),
            ("the feed-forward width", self.feed_forward, 1 << 18),
            ("the context", self.context, 1 << 22),
        ];
        if let Some((name, size, most)) =
            sizes.into_iter().find(|(_, size, most)| !(1..=*most).contains(size))
        {
            return Err(format!("{name} is {size}, not from 1 to {most}"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} key heads do not divide {} heads", self.kv_heads, self.heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("the head dimension is {}, an odd number", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(format!("the rotary base is {}", self.rope_theta));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            return Err(format!("the norm's epsilon is {}", self.norm_epsilon));
        }
        Ok(())
    }

    /// Number of parameters, a tied head counted once.
    pub fn parameters(&self) -> usize {
        let embeddings = if self.tied { 1 } else { 2 } * self.vocabulary * self.features;
        let norms = (2 * self.layers + 1) * self.features;
        embeddings + norms + self.layers * self.block_matrices()
    }

    fn block_matrices(&self) -> usize {
        let attention = (2 * self.heads + 2 * self.kv_heads) * self.head_dim * self.features;
        attention + 3 * self.features * self.feed_forward
    }

    /// Floating-point operations of training on one token: 6 per matrix parameter, and attention counted as
    /// if it were not causal (the convention of the PaLM paper's appendix B).
    pub fn flops_per_token(&self) -> f64 {
        let matrices = self.layers * self.block_matrices() + self.vocabulary * self.features;
        6.0 * matrices as f64 + 12.0 * (self.layers * self.heads * self.head_dim * self.context) as f64
    }

    /// A language model with fresh weights.
    pub fn init(&self, initial_seed: u64, device: &Device) -> CausalLm {
        let mut init = Initialiser { seed: initial_seed, parameter: 0, device };
        let model = self.init_body(&mut init);
        let lm_head = (!self.tied).then(|| init.matrix(self.vocabulary, self.features, 0.02));
        CausalLm { model, lm_head }
    }

    /// A classifier with `classes` labels and fresh weights.
    pub fn init_classifier(&self, classes: usize, initial_seed: u64, device: &Device) -> Classifier {
        let mut init = Initialiser { seed: initial_seed, parameter: 0, device };
        let model = self.init_body(&mut init);
        Classifier { model, score: init.matrix(classes, self.features, 0.02) }
    }

    fn init_body(&self, init: &mut Initialiser<'_>) -> Llama {
        let (d, q, kv) = (self.features, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let residual = 0.02 / (2.0 * self.layers as f64).sqrt();
        let embed_tokens = init.matrix(self.vocabulary, d, 0.02);
        let layers = (0..self.layers).map(|_| Block {
            input_layernorm: init.norm(d),
            self_attn: SelfAttention {
                q_proj: init.matrix(q, d, 0.02),
                k_proj: init.matrix(kv, d, 0.02),
                v_proj: init.matrix(kv, d, 0.02),
                o_proj: init.matrix(d, q, residual),
            },
            post_attention_layernorm: init.norm(d),
            mlp: FeedForward {
                gate_proj: init.matrix(self.feed_forward, d, 0.02),
                up_proj: init.matrix(self.feed_forward, d, 0.02),
                down_proj: init.matrix(d, self.feed_forward, residual),
            },
        });
        let layers = layers.collect();
        let geometry = Geometry {
            heads: Heads { q: self.heads, kv: self.kv_heads, dim: self.head_dim },
            rope: Rope::new(self.context, self.head_dim, self.rope_theta),
            epsilon: self.norm_epsilon as f32,
        };
        Llama { embed_tokens, layers, norm: init.norm(d), geometry }
    }
}

/// Draws each parameter from a stream of its own, on the host: the same weights on every backend.
struct Initialiser<'a> {
    seed: u64,
    parameter: u64,
    device: &'a Device,
}

impl Initialiser<'_> {
    fn matrix(&mut self, out: usize, features: usize, deviation: f64) -> Matrix {
        self.parameter += 1;
        let mut random = Random::new(seed(self.seed, Purpose::Initialisation, self.parameter));
        let values: Vec<f32> = (0..out * features).map(|_| (random.normal() * deviation) as f32).collect();
        let weight = Tensor::from_data(TensorData::new(values, [out, features]), self.device);
        Matrix { weight: Param::from_tensor(weight) }
    }

    fn norm(&mut self, features: usize) -> Norm {
        Norm { weight: Param::from_tensor(Tensor::ones([features], self.device)) }
    }
}

/// A language model: the body, and a head unless it is tied to the embedding.
#[derive(Module, Debug)]
pub struct CausalLm {
    model: Llama,
    lm_head: Option<Matrix>,
}

/// A classifier of whole texts: the body, and a score per label at the last token of each text.
#[derive(Module, Debug)]
pub struct Classifier {
    model: Llama,
    score: Matrix,
}

#[derive(Module, Debug)]
struct Llama {
    embed_tokens: Matrix,
    layers: Vec<Block>,
    norm: Norm,
    #[module(skip)]
    geometry: Geometry,
}

#[derive(Module, Debug)]
struct Block {
    input_layernorm: Norm,
    self_attn: SelfAttention,
    post_attention_layernorm: Norm,
    mlp: FeedForward,
}

#[derive(Module, Debug)]
struct SelfAttention {
    q_proj: Matrix,
    k_proj: Matrix,
    v_proj: Matrix,
    o_proj: Matrix,
}

#[derive(Module, Debug)]
struct FeedForward {
    gate_proj: Matrix,
    up_proj: Matrix,
    down_proj: Matrix,
}

/// Weights `[out, in]`.
#[derive(Module, Debug)]
struct Matrix {
    weight: Param<Tensor<2>>,
}

/// Gains `[features]`.
#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
}

#[derive(Debug, Clone)]
struct Geometry {
    heads: Heads,
    rope: Rope,
    epsilon: f32,
}

/// Token ids of a batch, row by row; all below the vocabulary, no row longer than the context.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    ids: Arc<Vec<u32>>,
    rows: usize,
}

impl Ids {
    pub(crate) fn new(ids: Vec<u32>, rows: usize) -> Self {
        assert!(rows > 0 && !ids.is_empty() && ids.len().is_multiple_of(rows));
        Self { ids: Arc::new(ids), rows }
    }

    fn shape(&self) -> [usize; 2] {
        [self.rows, self.ids.len() / self.rows]
    }
}

/// Dropout of one forward pass: its rate, and the seed of all its masks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noise {
    pub(crate) rate: f32,
    pub(crate) seed: u64,
}

impl Noise {
    /// Nothing is dropped.
    pub(crate) const NONE: Self = Self { rate: 0.0, seed: 0 };

    fn apply(self, x: Tensor<3>, site: usize) -> Tensor<3> {
        dropout(x, self.rate, mix(self.seed.wrapping_add(site as u64)))
    }
}

impl Matrix {
    fn project(&self, x: Tensor<3>) -> Tensor<3> {
        linear(x, [self.weight.val()])
    }
}

impl Llama {
    /// `[batch, time]` ids to normalised `[batch, time, features]`.
    fn forward(&self, ids: &Ids, noise: Noise) -> Tensor<3> {
        let embedded = embedding(self.embed_tokens.weight.val(), &ids.ids, ids.shape());
        let mut x = noise.apply(embedded, 0);
        for (layer, block) in self.layers.iter().enumerate() {
            let attended = block.attend(self.normalised(x.clone(), &block.input_layernorm), &self.geometry);
            x = x + noise.apply(attended, 2 * layer + 1);
            let fed = block.mlp.forward(self.normalised(x.clone(), &block.post_attention_layernorm));
            x = x + noise.apply(fed, 2 * layer + 2);
        }
        self.normalised(x, &self.norm)
    }

    fn normalised(&self, x: Tensor<3>, norm: &Norm) -> Tensor<3> {
        rms_norm(x, norm.weight.val(), self.geometry.epsilon)
    }

    /// As `forward`, for `ids` that follow what `cache` holds (one row).
    fn continued(&self, ids: &Ids, cache: &mut Cache) -> Tensor<3> {
        let mut x = embedding(self.embed_tokens.weight.val(), &ids.ids, ids.shape());
        for (block, past) in self.layers.iter().zip(&mut cache.layers) {
            let normalised = self.normalised(x.clone(), &block.input_layernorm);
            x = x + block.attend_cached(normalised, &self.geometry, past, cache.position);
            x = x.clone() + block.mlp.forward(self.normalised(x, &block.post_attention_layernorm));
        }
        cache.position += ids.ids.len();
        self.normalised(x, &self.norm)
    }
}

impl Block {
    fn queries_keys_values(&self, x: Tensor<3>) -> Tensor<3> {
        let attention = &self.self_attn;
        linear(
            x,
            [attention.q_proj.weight.val(), attention.k_proj.weight.val(), attention.v_proj.weight.val()],
        )
    }

    fn attend(&self, x: Tensor<3>, geometry: &Geometry) -> Tensor<3> {
        let qkv = self.queries_keys_values(x);
        self.self_attn.o_proj.project(causal_attention(qkv, geometry.heads, &geometry.rope))
    }

    fn attend_cached(
        &self,
        x: Tensor<3>,
        geometry: &Geometry,
        past: &mut Option<(Tensor<4>, Tensor<4>)>,
        offset: usize,
    ) -> Tensor<3> {
        let time = x.dims()[1];
        let (q, k, v) = split(self.queries_keys_values(x), geometry.heads, &geometry.rope, offset);
        let (k, v) = match past.take() {
            Some((keys, values)) => (Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2)),
            None => (k, v),
        };
        *past = Some((k.clone(), v.clone()));
        let scores = q.matmul(k.swap_dims(2, 3)).div_scalar((geometry.heads.dim as f32).sqrt());
        let future = Tensor::<2, Bool>::tril_mask([time, offset + time], offset as i64, &scores.device())
            .unsqueeze::<4>();
        let p = softmax(scores.mask_fill(future, f32::NEG_INFINITY), 3);
        self.self_attn.o_proj.project(merge(p.matmul(v)))
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gated = swiglu(linear(x, [self.gate_proj.weight.val(), self.up_proj.weight.val()]));
        self.down_proj.project(gated)
    }
}

/// Keys and values of the positions that a decoder has seen.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    position: usize,
}

impl CausalLm {
    fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().map_or_else(|| self.model.embed_tokens.weight.val(), |head| head.weight.val())
    }

    /// Mean cross entropy in nats over the targets that count.
    pub(crate) fn loss(&self, ids: &Ids, targets: &Arc<Vec<u32>>, noise: Noise) -> Tensor<1> {
        head_loss(self.model.forward(ids, noise), self.head(), targets)
    }

    /// Cross entropy of each position in nats, 0 where the target is ignored.
    pub(crate) fn losses(&self, ids: &Ids, targets: &[u32]) -> Vec<f32> {
        head_losses(self.model.forward(ids, Noise::NONE), self.head(), targets)
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache { layers: vec![None; self.model.layers.len()], position: 0 }
    }

    /// Logits `[vocabulary]` after `ids`, which follow what `cache` has seen.
    pub(crate) fn next(&self, ids: &[u32], cache: &mut Cache) -> Vec<f32> {
        let hidden = self.model.continued(&Ids::new(ids.to_vec(), 1), cache);
        let last = hidden.narrow(1, ids.len() - 1, 1);
        linear(last, [self.head()]).into_data().iter::<f32>().collect()
    }
}

impl Classifier {
    /// `score.weight` times the hidden state at `last[row]`, the last position that is not padding.
    /// Gives `[1, rows, features]`, ready for a head.
    fn pooled(&self, ids: &Ids, last: &[usize], noise: Noise) -> Tensor<3> {
        let hidden = self.model.forward(ids, noise);
        let rows =
            last.iter().enumerate().map(|(row, &at)| hidden.clone().narrow(0, row, 1).narrow(1, at, 1));
        Tensor::cat(rows.collect(), 1)
    }

    /// Mean cross entropy in nats of the texts' labels.
    pub(crate) fn loss(&self, ids: &Ids, last: &[usize], labels: &Arc<Vec<u32>>, noise: Noise) -> Tensor<1> {
        head_loss(self.pooled(ids, last, noise), self.score.weight.val(), labels)
    }

    /// Scores `[rows, classes]`, row by row.
    pub(crate) fn scores(&self, ids: &Ids, last: &[usize]) -> Vec<f32> {
        let scores = linear(self.pooled(ids, last, Noise::NONE), [self.score.weight.val()]);
        scores.into_data().iter::<f32>().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn tiny(tied: bool) -> Architecture {
        Architecture {
            vocabulary: 50,
            features: 24,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            feed_forward: 40,
            context: 32,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
            tied,
        }
    }

    fn ids(n: usize) -> Vec<u32> {
        (0..n as u32).map(|i| (i * 17 + i * i) % 50).collect()
    }

    #[test]
    fn parameters_are_counted() {
        for tied in [true, false] {
            let architecture = tiny(tied);
            assert_eq!(architecture.init(1, &Device::flex()).num_params(), architecture.parameters());
        }
    }

    #[test]
    fn fresh_model_is_about_uniform() {
        let model = tiny(false).init(1, &Device::flex());
        let losses = model.losses(&Ids::new(ids(32), 2), &ids(32));
        let mean = losses.iter().sum::<f32>() / 32.0;
        assert!((mean - 50.0_f32.ln()).abs() < 0.05, "{mean}");
    }

    #[test]
    fn decoding_step_by_step_equals_the_whole_pass() {
        let model = tiny(true).init(3, &Device::flex());
        let ids = ids(20);
        let mut cache = model.cache();
        let mut steps = vec![model.next(&ids[..7], &mut cache)];
        steps.extend(ids[7..].iter().map(|&id| model.next(&[id], &mut cache)));
        for (i, logits) in steps.iter().enumerate() {
            let target = (i as u32 * 7) % 50;
            let whole = model.losses(&Ids::new(ids[..7 + i].to_vec(), 1), &vec![target; 7 + i])[6 + i];
            let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
            let stepwise = total.ln() - f64::from(logits[target as usize]);
            assert!((stepwise - f64::from(whole)).abs() < 1e-5, "{i}: {stepwise} {whole}");
        }
    }

    #[test]
    fn padding_does_not_change_scores() {
        let model = tiny(true).init_classifier(3, 4, &Device::flex());
        let alone = model.scores(&Ids::new(ids(5), 1), &[4]);
        let padded = [ids(5), vec![0; 4], ids(9)].concat();
        let both = model.scores(&Ids::new(padded, 2), &[4, 8]);
        for (a, b) in alone.iter().zip(&both) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn dropout_depends_on_its_seed_alone() {
        let model = tiny(true).init(5, &Device::flex());
        let loss = |seed| {
            let noise = Noise { rate: 0.2, seed };
            let loss = model.loss(&Ids::new(ids(16), 1), &Arc::new(ids(16)), noise);
            loss.into_scalar::<f32>()
        };
        assert_eq!(loss(1), loss(1));
        assert_ne!(loss(1), loss(2));
    }
}
