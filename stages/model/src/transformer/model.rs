//! A decoder-only transformer. Its choices, by the form that the architecture names:
//!
//! | | `llama` (Touvron et al., 2023) | `gpt2` (Radford et al., 2019) |
//! |---|---|---|
//! | normalisation | root mean square, no bias | mean and variance, with bias |
//! | where | before attention and feed-forward, and once at the end | so, or after each residual sum |
//! | positions | rotary, halves rotated together as Hugging Face does | learned |
//! | attention | grouped-query: `kv_heads` divides `heads` | as many key heads as heads |
//! | feed-forward | SwiGLU | GELU by tanh |
//! | biases of projections | none | all |
//!
//! In both:
//!
//! - the head is a matrix of its own without bias, or the embedding itself (`tied`)
//! - token embeddings may be multiplied by the root of the width before positions are added (Vaswani et al.,
//!   2017); a model's files have them multiplied already
//! - dropout on the embedding's and on each residual branch's output; attention weights are not dropped
//! - initialisation as in GPT-2: normal with deviation 0.02, divided by `sqrt(2 layers)` for the two
//!   projections that write to the residual stream; norms start at 1, biases at 0
//!
//! Weights are stored `[out, in]`. Fields are named as in `LlamaForCausalLM`, but for the projections that share
//! an input: `qkv_proj` is queries, keys and values one below the other, `gate_up_proj` gate and up, so that each
//! is one product. `huggingface::layout` has the names of stock files.

use crate::kernels::attention::{Heads, causal_attention, merge, split};
use crate::kernels::dropout::{Dropout, dropout};
use crate::kernels::embedding::embedding;
use crate::kernels::gelu::gelu;
use crate::kernels::linear::linear;
use crate::kernels::loss::{Targets, head_loss, head_losses};
use crate::kernels::norm::{Gains, sum_and_norm, sum_norm};
use crate::kernels::rope::Rope;
use crate::kernels::swiglu::swiglu;
use crate::random::mix;
use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use std::sync::Arc;

/// A language model: the body, and a head unless it is tied to the embedding.
#[derive(Module, Debug)]
pub struct CausalLm {
    pub(crate) model: Body,
    pub(crate) lm_head: Option<Matrix>,
}

/// A classifier of whole texts: the body, and a score per label at the last token of each text.
#[derive(Module, Debug)]
pub struct Classifier {
    pub(crate) model: Body,
    pub(crate) score: Matrix,
}

/// Embeddings, blocks, and a norm at the end where norms stand before.
#[derive(Module, Debug)]
pub(crate) struct Body {
    pub(crate) embed_tokens: Matrix,
    /// `[context, features]`; where positions are rotary there is none.
    pub(crate) embed_positions: Option<Matrix>,
    pub(crate) layers: Vec<Block>,
    pub(crate) norm: Option<Norm>,
    #[module(skip)]
    pub(crate) geometry: Geometry,
}

/// Norms are named as in Llama, where they stand before: `input_layernorm` is attention's,
/// `post_attention_layernorm` the feed-forward layer's, in either place.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) input_layernorm: Norm,
    pub(crate) self_attn: SelfAttention,
    pub(crate) post_attention_layernorm: Norm,
    pub(crate) mlp: FeedForward,
}

#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    /// Queries, keys and values, one below the other.
    pub(crate) qkv_proj: Matrix,
    pub(crate) o_proj: Matrix,
}

/// Either `gate_up_proj` (gate and up, one below the other) for SwiGLU, or `up_proj` for GELU.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate_up_proj: Option<Matrix>,
    pub(crate) up_proj: Option<Matrix>,
    pub(crate) down_proj: Matrix,
}

/// Weights `[out, in]`, and a bias `[out]` where the form has them.
#[derive(Module, Debug)]
pub(crate) struct Matrix {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

/// Gains `[features]`; with a bias `[features]` it is LayerNorm, without one RMSNorm.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

/// What is fixed about a body besides its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    pub(crate) heads: Heads,
    pub(crate) rope: Option<Rope>,
    pub(crate) embedding_factor: Option<f32>,
    pub(crate) epsilon: f32,
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

    fn at(self, site: usize) -> Dropout {
        Dropout { rate: self.rate, seed: mix(self.seed.wrapping_add(site as u64)) }
    }
}

fn project(x: Tensor<3>, matrix: &Matrix) -> Tensor<3> {
    linear(x, matrix.weight.val(), matrix.bias.as_ref().map(Param::val))
}

impl Body {
    /// `[batch, time]` ids to `[batch, time, features]`, normalised.
    fn forward(&self, ids: &Ids, noise: Noise) -> Tensor<3> {
        self.through(self.embedded(ids, 0), noise, |_, block, x| block.attend(x, &self.geometry))
    }

    /// As `forward`, for `ids` that follow what `cache` holds (one row).
    fn continued(&self, ids: &Ids, cache: &mut Cache) -> Tensor<3> {
        let offset = cache.position;
        cache.position += ids.ids.len();
        self.through(self.embedded(ids, offset), Noise::NONE, |layer, block, x| {
            block.attend_cached(x, &self.geometry, &mut cache.layers[layer], offset)
        })
    }

    /// Takes embeddings through all blocks; `attend` is a block's attention.
    ///
    /// Each residual sum, the dropout before it and the norm after it are one operation.
    fn through(
        &self,
        embedded: Tensor<3>,
        noise: Noise,
        mut attend: impl FnMut(usize, &Block, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let gains = |norm: &Norm| Gains {
            weight: norm.weight.val(),
            bias: norm.bias.as_ref().map(Param::val),
            epsilon: self.geometry.epsilon,
        };
        let first = self.layers.first().expect("invariant: a model has layers");
        let Some(last_norm) = &self.norm else {
            let mut x = dropout(embedded, noise.at(0));
            for (layer, block) in self.layers.iter().enumerate() {
                let attended = attend(layer, block, x.clone());
                x = sum_norm(Some(x), attended, noise.at(2 * layer + 1), gains(&block.input_layernorm));
                let fed = block.mlp.forward(x.clone());
                x = sum_norm(Some(x), fed, noise.at(2 * layer + 2), gains(&block.post_attention_layernorm));
            }
            return x;
        };
        let (mut x, mut normed) = sum_and_norm(None, embedded, noise.at(0), gains(&first.input_layernorm));
        for (layer, block) in self.layers.iter().enumerate() {
            let attended = attend(layer, block, normed);
            let norm = gains(&block.post_attention_layernorm);
            (x, normed) = sum_and_norm(Some(x), attended, noise.at(2 * layer + 1), norm);
            let (fed, noise) = (block.mlp.forward(normed), noise.at(2 * layer + 2));
            match self.layers.get(layer + 1) {
                Some(next) => {
                    (x, normed) = sum_and_norm(Some(x), fed, noise, gains(&next.input_layernorm));
                }
                None => return sum_norm(Some(x), fed, noise, gains(last_norm)),
            }
        }
        unreachable!("invariant: the last layer returns")
    }

    /// Embeddings of ids whose first position is `offset`.
    fn embedded(&self, ids: &Ids, offset: usize) -> Tensor<3> {
        let [rows, time] = ids.shape();
        let mut x = embedding(self.embed_tokens.weight.val(), &ids.ids, [rows, time]);
        if let Some(factor) = self.geometry.embedding_factor {
            x = x.mul_scalar(factor);
        }
        let Some(table) = &self.embed_positions else { return x };
        let positions = (0..rows).flat_map(|_| offset as u32..(offset + time) as u32);
        x + embedding(table.weight.val(), &Arc::new(positions.collect()), [rows, time])
    }
}

impl Block {
    fn attend(&self, x: Tensor<3>, geometry: &Geometry) -> Tensor<3> {
        let qkv = project(x, &self.self_attn.qkv_proj);
        let attended = causal_attention(qkv, geometry.heads, geometry.rope.as_ref());
        project(attended, &self.self_attn.o_proj)
    }

    fn attend_cached(
        &self,
        x: Tensor<3>,
        geometry: &Geometry,
        past: &mut Option<(Tensor<4>, Tensor<4>)>,
        offset: usize,
    ) -> Tensor<3> {
        let time = x.dims()[1];
        let qkv = project(x, &self.self_attn.qkv_proj);
        let (q, k, v) = split(qkv, geometry.heads, geometry.rope.as_ref(), offset);
        let (k, v) = match past.take() {
            Some((keys, values)) => (Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2)),
            None => (k, v),
        };
        *past = Some((k.clone(), v.clone()));
        let scores = q.matmul(k.swap_dims(2, 3)).div_scalar((geometry.heads.dim as f32).sqrt());
        let future = Tensor::<2, Bool>::tril_mask([time, offset + time], offset as i64, &scores.device())
            .unsqueeze::<4>();
        let p = softmax(scores.mask_fill(future, f32::NEG_INFINITY), 3);
        project(merge(p.matmul(v)), &self.self_attn.o_proj)
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let active = match (&self.gate_up_proj, &self.up_proj) {
            (Some(gate_up), _) => swiglu(project(x, gate_up)),
            (None, Some(up)) => gelu(project(x, up)),
            (None, None) => unreachable!("invariant: `init` makes one of them"),
        };
        project(active, &self.down_proj)
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

    /// Cross entropy in nats, each target by its weight.
    pub(crate) fn loss(&self, ids: &Ids, targets: &Targets, noise: Noise) -> Tensor<1> {
        head_loss(self.model.forward(ids, noise), self.head(), targets)
    }

    /// Cross entropy of each position in nats, 0 where the target is ignored.
    pub(crate) fn losses(&self, ids: &Ids, targets: &[u32]) -> Vec<f32> {
        head_losses(self.model.forward(ids, Noise::NONE), self.head(), targets)
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache { layers: vec![None; self.model.layers.len()], position: 0 }
    }

    /// Rows of scores against `positions` keys that are formed at once: up to 64 MiB of them over all heads.
    pub(crate) fn rows_at_once(&self, positions: usize) -> usize {
        let row = 4 * self.model.geometry.heads.q * positions.max(1);
        ((64 << 20) / row).clamp(1, 512)
    }

    /// Bytes that reading so many positions takes at its peak, besides the weights: keys and values of all layers
    /// (and a copy of one layer's), and four passes over a block of scores.
    pub(crate) fn bytes_to_read(&self, positions: usize) -> u64 {
        let heads = self.model.geometry.heads;
        let row = 4 * (heads.q as u64) * positions as u64;
        let kept = 2 * row * heads.dim as u64 * (self.model.layers.len() as u64 + 1);
        kept + 4 * row * self.rows_at_once(positions) as u64
    }

    /// Logits `[vocabulary]` after `ids`, which follow what `cache` has seen.
    pub(crate) fn next(&self, ids: &[u32], cache: &mut Cache) -> Vec<f32> {
        let hidden = self.model.continued(&Ids::new(ids.to_vec(), 1), cache);
        let last = hidden.narrow(1, ids.len() - 1, 1);
        linear(last, self.head(), None).into_data().iter::<f32>().collect()
    }
}

impl Classifier {
    /// The hidden state at `last[row]`, the last position of each row that is not padding.
    /// Gives `[1, rows, features]`, ready for a head.
    fn pooled(&self, ids: &Ids, last: &[usize], noise: Noise) -> Tensor<3> {
        let hidden = self.model.forward(ids, noise);
        let [rows, time, features] = hidden.dims();
        let positions = last.iter().enumerate().map(|(row, &at)| (row * time + at) as u32);
        // Rows of a matrix by number: one pass, where a slice per row would leave as many whole gradients.
        embedding(hidden.reshape([rows * time, features]), &Arc::new(positions.collect()), [1, rows])
    }

    /// Cross entropy in nats of the texts' labels, each by its weight.
    pub(crate) fn loss(&self, ids: &Ids, last: &[usize], labels: &Targets, noise: Noise) -> Tensor<1> {
        head_loss(self.pooled(ids, last, noise), self.score.weight.val(), labels)
    }

    /// Scores `[rows, classes]`, row by row.
    pub(crate) fn scores(&self, ids: &Ids, last: &[usize]) -> Vec<f32> {
        let scores = project(self.pooled(ids, last, Noise::NONE), &self.score);
        scores.into_data().iter::<f32>().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{Form, tiny, variants};

    fn ids(n: usize) -> Vec<u32> {
        (0..n as u32).map(|i| (i * 17 + i * i) % 50).collect()
    }

    #[test]
    fn fresh_model_is_about_uniform() {
        for form in [Form::Llama, Form::Gpt2] {
            let model = tiny(form, false).init(1, &Device::flex());
            let losses = model.losses(&Ids::new(ids(32), 2), &ids(32));
            let mean = losses.iter().sum::<f32>() / 32.0;
            assert!((mean - 50.0_f32.ln()).abs() < 0.05, "{mean}");
        }
    }

    #[test]
    fn decoding_step_by_step_equals_the_whole_pass() {
        for architecture in variants() {
            let model = architecture.init(3, &Device::flex());
            let ids = ids(20);
            let mut cache = model.cache();
            let mut steps = vec![model.next(&ids[..7], &mut cache)];
            steps.extend(ids[7..].iter().map(|&id| model.next(&[id], &mut cache)));
            for (i, logits) in steps.iter().enumerate() {
                let target = (i as u32 * 7) % 50;
                let whole = model.losses(&Ids::new(ids[..7 + i].to_vec(), 1), &vec![target; 7 + i])[6 + i];
                let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
                let stepwise = total.ln() - f64::from(logits[target as usize]);
                assert!((stepwise - f64::from(whole)).abs() < 2e-5, "{i}: {stepwise} {whole}");
            }
        }
    }

    #[test]
    fn padding_does_not_change_scores() {
        for architecture in variants() {
            let model = architecture.init_classifier(3, 4, &Device::flex());
            let alone = model.scores(&Ids::new(ids(5), 1), &[4]);
            let padded = [ids(5), vec![0; 4], ids(9)].concat();
            let both = model.scores(&Ids::new(padded, 2), &[4, 8]);
            for (a, b) in alone.iter().zip(&both) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn dropout_depends_on_its_seed_alone() {
        let model = tiny(Form::Gpt2, true).init(5, &Device::flex());
        let loss = |seed| {
            let noise = Noise { rate: 0.2, seed };
            let loss = model.loss(&Ids::new(ids(16), 1), &Targets::mean(ids(16)), noise);
            loss.into_scalar::<f32>()
        };
        assert_eq!(loss(1), loss(1));
        assert_ne!(loss(1), loss(2));
    }
}
