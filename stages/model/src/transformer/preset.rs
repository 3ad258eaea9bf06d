//! Named shapes, and overrides of them.

use super::architecture::{Architecture, EmbeddingScale, Form, Placement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named model shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Llama architecture, 2 layers, `hidden_size` 64, `context_length` 64: for tests.
    GptTiny,
    /// Llama architecture, 6 layers, `hidden_size` 256, `context_length` 256: 6.9M parameters at a vocabulary of 4,096.
    #[default]
    GptSmall,
    /// GPT-2 architecture, 2 layers, `hidden_size` 64, `context_length` 64: for tests.
    #[serde(rename = "gpt2-tiny")]
    Gpt2Tiny,
    /// GPT-2 as published: 12 layers, `hidden_size` 768, `context_length` 1,024: 124M parameters at a vocabulary of
    /// 50,257.
    Gpt2,
    /// After Vaswani et al. (2017), decoder only: GPT-2 architecture with `norm: post`, scaled embeddings and a separate
    /// output head; 4 layers, `hidden_size` 512, `context_length` 512: 23M parameters at a vocabulary of 10,000.
    Classic,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 5] = [Self::GptTiny, Self::GptSmall, Self::Gpt2Tiny, Self::Gpt2, Self::Classic];

    /// The preset's shape over a vocabulary.
    pub fn shape(self, vocabulary: usize) -> Architecture {
        let small = Architecture {
            form: Form::Llama,
            norm: Placement::Pre,
            embedding_scale: EmbeddingScale::None,
            vocabulary,
            features: 256,
            layers: 6,
            heads: 4,
            kv_heads: 4,
            head_dim: 64,
            feed_forward: 704,
            context: 256,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
            tied: false,
        };
        let gpt2 = Architecture {
            form: Form::Gpt2,
            features: 768,
            layers: 12,
            heads: 12,
            kv_heads: 12,
            feed_forward: 3072,
            context: 1024,
            tied: true,
            ..small
        };
        let tiny = Architecture { features: 64, layers: 2, heads: 4, head_dim: 16, context: 64, ..small };
        match self {
            Self::GptTiny => Architecture { kv_heads: 2, feed_forward: 192, ..tiny },
            Self::GptSmall => small,
            Self::Gpt2Tiny => Architecture { form: Form::Gpt2, feed_forward: 256, tied: true, ..tiny },
            Self::Gpt2 => gpt2,
            Self::Classic => Architecture {
                norm: Placement::Post,
                embedding_scale: EmbeddingScale::RootWidth,
                features: 512,
                layers: 4,
                heads: 8,
                kv_heads: 8,
                feed_forward: 2048,
                context: 512,
                tied: false,
                ..gpt2
            },
        }
    }
}

/// Fields of a model shape; a field that is left out has the value of the preset.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArchitectureOverrides {
    /// How the parts of a block are built.
    pub architecture: Option<Form>,
    /// Position of the norms; `post` needs the architecture `gpt2`.
    pub norm: Option<Placement>,
    /// Factor that token embeddings are multiplied by before positions are added. Exported embeddings are already
    /// multiplied, so that stock libraries compute the same; a tied output head is then exported as a matrix of its own.
    pub embedding_scale: Option<EmbeddingScale>,
    /// Number of blocks, from 1 to 1,024.
    pub num_layers: Option<usize>,
    /// Width of the residual stream, from 1 to 65,536.
    pub hidden_size: Option<usize>,
    /// Number of query heads, from 1 to 4,096.
    pub num_heads: Option<usize>,
    /// Number of key and value heads (grouped-query attention). It must divide `num_heads`, and equal it in the
    /// architecture `gpt2`.
    pub num_kv_heads: Option<usize>,
    /// Features per head, up to 4,096; must be an even number in the architecture `llama`. If it is left out and
    /// `hidden_size` or `num_heads` is given, it is `hidden_size / num_heads`.
    pub head_dim: Option<usize>,
    /// Width of the feed-forward layer, from 1 to 262,144.
    pub intermediate_size: Option<usize>,
    /// Length of a training sequence in tokens, from 1 to 4,194,304, and the longest text that the model can read.
    pub context_length: Option<usize>,
    /// Base of the rotary frequencies, above 0; the architecture `gpt2` ignores it.
    pub rope_theta: Option<f64>,
    /// Added to the variance in norms for numerical stability, from 0.
    pub norm_epsilon: Option<f64>,
    /// Whether token embeddings and output head share their weights.
    pub tied: Option<bool>,
}

impl ArchitectureOverrides {
    pub(crate) fn over(&self, preset: Architecture) -> Architecture {
        let form = self.architecture.unwrap_or(preset.form);
        let heads = self.num_heads.unwrap_or(preset.heads);
        let features = self.hidden_size.unwrap_or(preset.features);
        let is_resized = self.num_heads.is_some() || self.hidden_size.is_some();
        let head_dim = if is_resized { features / heads.max(1) } else { preset.head_dim };
        let is_regrouped = self.num_heads.is_some() || form != preset.form;
        Architecture {
            form,
            norm: self.norm.unwrap_or(preset.norm),
            embedding_scale: self.embedding_scale.unwrap_or(preset.embedding_scale),
            vocabulary: preset.vocabulary,
            features,
            layers: self.num_layers.unwrap_or(preset.layers),
            heads,
            kv_heads: self.num_kv_heads.unwrap_or(if is_regrouped { heads } else { preset.kv_heads }),
            head_dim: self.head_dim.unwrap_or(head_dim),
            feed_forward: self.intermediate_size.unwrap_or(preset.feed_forward),
            context: self.context_length.unwrap_or(preset.context),
            rope_theta: self.rope_theta.unwrap_or(preset.rope_theta),
            norm_epsilon: self.norm_epsilon.unwrap_or(preset.norm_epsilon),
            tied: self.tied.unwrap_or(preset.tied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_has_its_published_size() {
        assert_eq!(Preset::GptSmall.shape(4096).parameters(), 6_917_376);
    }

    #[test]
    fn gpt2_has_its_published_size() {
        assert_eq!(Preset::Gpt2.shape(50_257).parameters(), 124_439_808);
    }

    #[test]
    fn presets_are_sound() {
        for preset in Preset::ALL {
            assert_eq!(preset.shape(100).check(), Ok(()));
            assert_eq!(ArchitectureOverrides::default().over(preset.shape(9)), preset.shape(9));
        }
    }

    #[test]
    fn another_form_regroups_the_heads() {
        let other = ArchitectureOverrides { architecture: Some(Form::Gpt2), ..Default::default() };
        assert_eq!(other.over(Preset::GptTiny.shape(9)).check(), Ok(()));
    }

    #[test]
    fn head_dimension_follows_the_width() {
        let wide = ArchitectureOverrides { hidden_size: Some(512), ..Default::default() };
        assert_eq!(wide.over(Preset::GptSmall.shape(9)).head_dim, 128);
    }
}
