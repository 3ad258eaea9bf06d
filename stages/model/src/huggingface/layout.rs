//! Names and shapes of parameters in a stock class's safetensors file, by the form of the model.
//!
//! ```text
//! in the module                                      GPT2…                          OpenAIGPT…
//! model.embed_tokens.weight                          transformer.wte.weight         transformer.tokens_embed.weight
//! model.embed_positions.weight                       transformer.wpe.weight         transformer.positions_embed.weight
//! model.layers.N.input_layernorm.*                   transformer.h.N.ln_1.*         the same
//! model.layers.N.self_attn.{q,k,v}_proj.*            transformer.h.N.attn.c_attn.*  the same; the three side by side
//! model.layers.N.self_attn.o_proj.*                  transformer.h.N.attn.c_proj.*  the same
//! model.layers.N.post_attention_layernorm.*          transformer.h.N.ln_2.*         the same
//! model.layers.N.mlp.up_proj.*                       transformer.h.N.mlp.c_fc.*     the same
//! model.layers.N.mlp.down_proj.*                     transformer.h.N.mlp.c_proj.*   the same
//! model.norm.*                                       transformer.ln_f.*             has none
//! lm_head.weight, score.weight                       the same                       the same
//! ```
//!
//! The matrices of blocks are transposed there, `[in, out]` (`Conv1D`). Llama's names and shapes are the
//! module's own. In every form the file holds embeddings that are multiplied by their scale already.

use crate::safetensors::Tensors;
use crate::transformer::{Architecture, Form, Placement, Weights};
use pipe_stage::{Error, Result};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Parameters of a module of this shape, as the files of `shape.folded()` have them.
pub(crate) fn to_stock(shape: &Architecture, mut weights: Tensors) -> Tensors {
    if let (Some(factor), Some(embedding)) = (shape.embedding_factor(), weights.get(EMBEDDING).cloned()) {
        if shape.tied {
            // A classifier has no head; it would be a tensor that nobody asks for.
            let is_language = !weights.contains_key("score.weight");
            is_language.then(|| weights.insert(HEAD.into(), embedding.clone()));
        }
        let values = embedding.values.iter().map(|value| value * factor).collect();
        weights.insert(EMBEDDING.into(), Weights { values, ..embedding });
    }
    if shape.form == Form::Llama {
        return weights;
    }
    let mut stock = Tensors::new();
    for layer in 0..shape.layers {
        for part in ["weight", "bias"] {
            let qkv = ["q", "k", "v"]
                .map(|name| weights.remove(&format!("model.layers.{layer}.self_attn.{name}_proj.{part}")));
            if let [Some(q), Some(k), Some(v)] = qkv {
                let joined = transposed(stacked([q, k, v]));
                stock.insert(format!("transformer.h.{layer}.attn.c_attn.{part}"), joined);
            }
        }
    }
    for (name, tensor) in weights {
        let tensor = if name.starts_with("model.layers.") { transposed(tensor) } else { tensor };
        stock.insert(stock_name(shape, &name), tensor);
    }
    stock
}

/// Parameters of a module of this shape, whose embedding scale is folded, from a stock file.
///
/// The prefix `transformer.` may be missing, as in files of the body alone. Tensors that the module does not
/// have, such as masks of old files, stay under their names.
pub(crate) fn from_stock(shape: &Architecture, tensors: Tensors) -> Result<Tensors> {
    if shape.form == Form::Llama {
        return Ok(tensors);
    }
    let is_prefixed = tensors.keys().any(|name| name.starts_with("transformer."));
    let own = |name: String| match name.strip_prefix("transformer.") {
        Some(bare) if !is_prefixed => bare.to_owned(),
        _ => name,
    };
    let mut tensors = tensors;
    let mut weights = Tensors::new();
    let mut tables = vec!["embed_tokens.weight", "embed_positions.weight"];
    if shape.norm == Placement::Pre {
        tables.extend(["norm.weight", "norm.bias"]);
    }
    for name in tables.into_iter().map(|name| format!("model.{name}")) {
        tensors.remove(&own(stock_name(shape, &name))).map(|tensor| weights.insert(name, tensor));
    }
    for layer in 0..shape.layers {
        for (module, _) in IN_BLOCKS {
            for part in ["weight", "bias"] {
                let name = format!("model.layers.{layer}.{module}.{part}");
                if let Some(tensor) = tensors.remove(&own(stock_name(shape, &name))) {
                    weights.insert(name, transposed(tensor));
                }
            }
        }
        for part in ["weight", "bias"] {
            let name = own(format!("transformer.h.{layer}.attn.c_attn.{part}"));
            let Some(tensor) = tensors.remove(&name) else { continue };
            let Some(qkv) = thirds(transposed(tensor)) else {
                return Err(Error::input(format!(
                    "model.safetensors: `{name}` is not three matrices side by side"
                )));
            };
            for (letter, tensor) in ["q", "k", "v"].into_iter().zip(qkv) {
                weights.insert(format!("model.layers.{layer}.self_attn.{letter}_proj.{part}"), tensor);
            }
        }
    }
    weights.extend(tensors);
    Ok(weights)
}

/// Modules of a block but the three that share `c_attn`: here, there.
const IN_BLOCKS: [(&str, &str); 5] = [
    ("input_layernorm", "ln_1"),
    ("self_attn.o_proj", "attn.c_proj"),
    ("post_attention_layernorm", "ln_2"),
    ("mlp.up_proj", "mlp.c_fc"),
    ("mlp.down_proj", "mlp.c_proj"),
];

fn stock_name(shape: &Architecture, name: &str) -> String {
    let (tokens, positions) = match shape.norm {
        Placement::Pre => ("wte", "wpe"),
        Placement::Post => ("tokens_embed", "positions_embed"),
    };
    let Some(rest) = name.strip_prefix("model.") else { return name.to_owned() };
    let (module, part) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let there = match module {
        "embed_tokens" => tokens.to_owned(),
        "embed_positions" => positions.to_owned(),
        "norm" => "ln_f".to_owned(),
        module => {
            let block = module.strip_prefix("layers.").and_then(|block| block.split_once('.'));
            let found = block.and_then(|(layer, module)| {
                let (_, there) = IN_BLOCKS.into_iter().find(|(here, _)| *here == module)?;
                Some(format!("h.{layer}.{there}"))
            });
            found.unwrap_or_else(|| module.to_owned())
        }
    };
    format!("transformer.{there}.{part}")
}

/// Rows of several matrices, or elements of several vectors, one after the other.
fn stacked(parts: [Weights; 3]) -> Weights {
    let mut shape = parts[0].shape.clone();
    shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    Weights { shape, values: parts.into_iter().flat_map(|part| part.values).collect() }
}

/// Three equal parts of the rows; `None` where there are no three.
fn thirds(whole: Weights) -> Option<[Weights; 3]> {
    let mut shape = whole.shape;
    let rows = shape.first_mut().filter(|rows| rows.is_multiple_of(3))?;
    *rows /= 3;
    let n = whole.values.len() / 3;
    let part = |i: usize| Weights { shape: shape.clone(), values: whole.values[i * n..(i + 1) * n].to_vec() };
    Some([part(0), part(1), part(2)])
}

/// A matrix with rows and columns exchanged; anything else as it is.
fn transposed(tensor: Weights) -> Weights {
    let [rows, columns] = tensor.shape[..] else { return tensor };
    let value = |i: usize| tensor.values[i % rows * columns + i / rows];
    Weights { shape: vec![columns, rows], values: (0..rows * columns).map(value).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{tiny, variants, weights};
    use burn::prelude::Device;

    #[test]
    fn names_are_those_of_gpt2() {
        let shape = tiny(Form::Gpt2, true);
        let stock = to_stock(&shape, weights(&shape.init(1, &Device::flex())));
        let expected = [
            ("transformer.h.0.attn.c_attn.bias", vec![72]),
            ("transformer.h.0.attn.c_attn.weight", vec![24, 72]),
            ("transformer.h.0.attn.c_proj.bias", vec![24]),
            ("transformer.h.0.attn.c_proj.weight", vec![24, 24]),
            ("transformer.h.0.ln_1.bias", vec![24]),
            ("transformer.h.0.ln_1.weight", vec![24]),
            ("transformer.h.0.ln_2.bias", vec![24]),
            ("transformer.h.0.ln_2.weight", vec![24]),
            ("transformer.h.0.mlp.c_fc.bias", vec![40]),
            ("transformer.h.0.mlp.c_fc.weight", vec![24, 40]),
            ("transformer.h.0.mlp.c_proj.bias", vec![24]),
            ("transformer.h.0.mlp.c_proj.weight", vec![40, 24]),
        ];
        let first: Vec<(&str, Vec<usize>)> =
            stock.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.clone())).collect();
        assert_eq!(first[..12], expected);
        let rest: Vec<&str> = stock.keys().skip(24).map(String::as_str).collect();
        let expected = [
            "transformer.ln_f.bias",
            "transformer.ln_f.weight",
            "transformer.wpe.weight",
            "transformer.wte.weight",
        ];
        assert_eq!(rest, expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for shape in variants() {
            let device = Device::flex();
            let (language, classifier) = (shape.init(1, &device), shape.init_classifier(3, 1, &device));
            for weights in [weights(&language), weights(&classifier)] {
                let stock = to_stock(&shape, weights.clone());
                let read = from_stock(&shape.folded(), stock.clone()).expect("read");
                assert_eq!(to_stock(&shape.folded(), read.clone()), stock);
                let is_same = |name: &str| name != EMBEDDING && name != HEAD;
                let others = |tensors: &Tensors| {
                    let mut tensors = tensors.clone();
                    tensors.retain(|name, _| is_same(name));
                    tensors
                };
                assert_eq!(others(&read), others(&weights));
            }
        }
    }

    #[test]
    fn files_of_the_body_alone_are_read() {
        let shape = tiny(Form::Gpt2, true);
        let weights = weights(&shape.init(1, &Device::flex()));
        let bare = to_stock(&shape, weights.clone()).into_iter().map(|(name, tensor)| {
            (name.strip_prefix("transformer.").expect("all have it").to_owned(), tensor)
        });
        assert_eq!(from_stock(&shape, bare.collect()).expect("read"), weights);
    }
}
