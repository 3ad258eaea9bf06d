//! Names and shapes of parameters in a stock class's safetensors file, by the form of the model.
//!
//! ```text
//! in the module                              Llama…                           GPT2…                          OpenAIGPT…
//! model.embed_tokens.weight                  the same                         transformer.wte.weight         transformer.tokens_embed.weight
//! model.embed_positions.weight               has none                         transformer.wpe.weight         transformer.positions_embed.weight
//! model.layers.N.input_layernorm.*           the same                         transformer.h.N.ln_1.*         as GPT2
//! model.layers.N.self_attn.qkv_proj.*        …self_attn.{q,k,v}_proj.weight   transformer.h.N.attn.c_attn.*  as GPT2
//! model.layers.N.self_attn.o_proj.*          the same                         transformer.h.N.attn.c_proj.*  as GPT2
//! model.layers.N.post_attention_layernorm.*  the same                         transformer.h.N.ln_2.*         as GPT2
//! model.layers.N.mlp.gate_up_proj.*          …mlp.{gate,up}_proj.weight       has none                       has none
//! model.layers.N.mlp.up_proj.*               see above                        transformer.h.N.mlp.c_fc.*     as GPT2
//! model.layers.N.mlp.down_proj.*             the same                         transformer.h.N.mlp.c_proj.*   as GPT2
//! model.norm.*                               the same                         transformer.ln_f.*             has none
//! lm_head.weight, score.weight               the same                         the same                       the same
//! ```
//!
//! The matrices of blocks are transposed in GPT2 and OpenAIGPT, `[in, out]` (`Conv1D`). In every form the file
//! holds embeddings that are multiplied by their scale already.

use crate::safetensors::Tensors;
use crate::transformer::{Architecture, Form, Placement, Weights, take_fitting};
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
        for (merged, parts) in merged_in_llama(shape) {
            if let Some(tensor) = weights.remove(&merged) {
                weights.extend(split(tensor, &parts));
            }
        }
        return weights;
    }
    let mut stock = Tensors::new();
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
        return merge_llama(shape, tensors);
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
    }
    weights.extend(tensors);
    Ok(weights)
}

/// Matrices of the module that are several in files of Llama: the name here, and those there with their rows.
fn merged_in_llama(shape: &Architecture) -> Vec<(String, Vec<(String, usize)>)> {
    let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let of_layer = |layer: usize| {
        let at = |module: &str| format!("model.layers.{layer}.{module}.weight");
        let part = |module: &str, rows| (at(module), rows);
        [
            (
                at("self_attn.qkv_proj"),
                vec![part("self_attn.q_proj", q), part("self_attn.k_proj", kv), part("self_attn.v_proj", kv)],
            ),
            (
                at("mlp.gate_up_proj"),
                vec![part("mlp.gate_proj", shape.feed_forward), part("mlp.up_proj", shape.feed_forward)],
            ),
        ]
    };
    (0..shape.layers).flat_map(of_layer).collect()
}

/// Parts of a matrix by their rows.
fn split(whole: Weights, parts: &[(String, usize)]) -> Vec<(String, Weights)> {
    let width: usize = whole.shape[1..].iter().product();
    let mut rest = &whole.values[..];
    let part = |(name, rows): &(String, usize)| {
        let (values, after) = rest.split_at(rows * width);
        rest = after;
        let mut shape = whole.shape.clone();
        shape[0] = *rows;
        (name.clone(), Weights { shape, values: values.to_vec() })
    };
    parts.iter().map(part).collect()
}

/// Puts the parts of Llama's matrices together.
fn merge_llama(shape: &Architecture, mut tensors: Tensors) -> Result<Tensors> {
    let fault = |message: String| Error::input(format!("model.safetensors: {message}"));
    for (merged, parts) in merged_in_llama(shape) {
        let mut values = Vec::new();
        let mut rows_of_all = 0;
        for (name, rows) in parts {
            values.extend(take_fitting(&mut tensors, &name, &[rows, shape.features]).map_err(fault)?);
            rows_of_all += rows;
        }
        tensors.insert(merged, Weights { shape: vec![rows_of_all, shape.features], values });
    }
    Ok(tensors)
}

/// Modules of a block: here, there.
const IN_BLOCKS: [(&str, &str); 6] = [
    ("input_layernorm", "ln_1"),
    ("self_attn.qkv_proj", "attn.c_attn"),
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
    fn names_are_those_of_llama() {
        let shape = tiny(Form::Llama, false);
        let stock = to_stock(&shape, weights(&shape.init(1, &Device::flex())));
        let first: Vec<(&str, Vec<usize>)> =
            stock.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.clone())).collect();
        let expected = [
            ("lm_head.weight", vec![50, 24]),
            ("model.embed_tokens.weight", vec![50, 24]),
            ("model.layers.0.input_layernorm.weight", vec![24]),
            ("model.layers.0.mlp.down_proj.weight", vec![24, 40]),
            ("model.layers.0.mlp.gate_proj.weight", vec![40, 24]),
            ("model.layers.0.mlp.up_proj.weight", vec![40, 24]),
            ("model.layers.0.post_attention_layernorm.weight", vec![24]),
            ("model.layers.0.self_attn.k_proj.weight", vec![shape.kv_heads * shape.head_dim, 24]),
            ("model.layers.0.self_attn.o_proj.weight", vec![24, shape.heads * shape.head_dim]),
            ("model.layers.0.self_attn.q_proj.weight", vec![shape.heads * shape.head_dim, 24]),
            ("model.layers.0.self_attn.v_proj.weight", vec![shape.kv_heads * shape.head_dim, 24]),
        ];
        assert_eq!(first[..11], expected);
        assert_eq!(stock.len(), 2 * 9 + 3);
    }

    #[test]
    fn a_missing_or_misshapen_part_is_named() {
        let shape = tiny(Form::Llama, false);
        let mut stock = to_stock(&shape, weights(&shape.init(1, &Device::flex())));
        let name = "model.layers.1.self_attn.k_proj.weight";
        let part = stock.remove(name).expect("it is there");
        let fault = from_stock(&shape, stock.clone()).expect_err("refused").to_string();
        assert!(fault.contains(name), "{fault}");
        stock.insert(name.into(), Weights { shape: vec![part.values.len()], ..part });
        let fault = from_stock(&shape, stock).expect_err("refused").to_string();
        assert!(fault.contains(name) && fault.contains("shape"), "{fault}");
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
