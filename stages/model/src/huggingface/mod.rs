//! The Hugging Face layout of a model, written and read:
//!
//! ```text
//! config.json             class and shape: LlamaForCausalLM, GPT2LMHeadModel or OpenAIGPTLMHeadModel, or
//!                         the same family's ForSequenceClassification
//! generation_config.json  language models only
//! model.safetensors       f32, names and layout of transformers; metadata format: pt
//! tokenizer.json
//! tokenizer_config.json   model_max_length is the context
//! ```
//!
//! Llama's config.json says the rotary base twice: `rope_theta` for transformers 4, `rope_parameters` for 5.
//! That of OpenAIGPT says `n_inner`, which the stock class does not read: `Config::stock_class` tells whether it
//! would compute the same.

mod config;
mod layout;

pub(crate) use config::{Config, Purpose, no_stock_class};
pub(crate) use layout::{from_stock, to_stock};

use crate::safetensors::{Tensors, decode, encode};
use crate::transformer::{CausalLm, Classifier, Form, Start, Weights, fresh};
use burn::prelude::*;
use pipe_data::Tokenizer;
use pipe_data::tokenizer::json::TOKENIZER_BYTES_MAX;
use pipe_stage::{Error, LocalEntry, Result, files};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The files of a model's folder.
#[derive(Debug, Clone)]
pub(crate) struct ModelFiles {
    pub(crate) config: Config,
    /// By the names that the module has.
    pub(crate) weights: Tensors,
    pub(crate) tokenizer: TokenizerFiles,
}

/// The files of a tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenizerFiles {
    pub(crate) tokenizer: Vec<u8>,
    pub(crate) config: Vec<u8>,
}

impl TokenizerFiles {
    pub(crate) fn from_entries(entries: &[LocalEntry]) -> Result<Self> {
        Ok(Self {
            tokenizer: required(entries, "tokenizer.json", TOKENIZER_BYTES_MAX)?,
            config: required(entries, "tokenizer_config.json", CONFIG_BYTES_MAX)?,
        })
    }

    pub(crate) fn open(&self) -> Result<Tokenizer> {
        let read = Tokenizer::from_files(&self.tokenizer, &self.config);
        read.map_err(|error| Error::input(format!("cannot read the tokenizer: {error}")))
    }

    /// tokenizer_config.json with `model_max_length` set to the model's context.
    fn config_for(&self, context: usize) -> Result<Vec<u8>> {
        let fault = |error: serde_json::Error| Error::input(format!("tokenizer_config.json: {error}"));
        let mut config: Map<String, Value> = serde_json::from_slice(&self.config).map_err(fault)?;
        config.insert("model_max_length".into(), json!(context));
        Ok(pretty(&config.into()))
    }
}

/// Maximum size of config.json and the like, far above what they need.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

fn required(entries: &[LocalEntry], name: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let entry = entries.iter().find(|entry| entry.name() == name);
    let entry = entry.ok_or_else(|| Error::input(format!("the input has no `{name}`")))?;
    if entry.size() > bytes_max {
        let message = format!("`{name}` has {} bytes, but such a file may have {bytes_max}", entry.size());
        return Err(Error::input(message).help("see whether the input is a model in the Hugging Face layout"));
    }
    entry.bytes()
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("invariant: JSON values are plain data");
    text.push(b'\n');
    text
}

impl ModelFiles {
    /// Reads a model from an artifact.
    pub(crate) fn from_entries(entries: &[LocalEntry]) -> Result<Self> {
        Self::read(|name, bytes_max| required(entries, name, bytes_max))
    }

    /// Reads a model from a folder.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self> {
        Self::read(|name, bytes_max| {
            let path = folder.join(name);
            files::read(&path, bytes_max).map_err(|error| Error::io("read", &path, &error))
        })
    }

    /// Reads the files with `file`, which refuses those above a number of bytes.
    fn read(file: impl Fn(&str, u64) -> Result<Vec<u8>>) -> Result<Self> {
        // For the header, and for tensors that the model does not use, such as masks.
        const BESIDE_WEIGHTS: f64 = (1_u64 << 30) as f64;
        let config = Config::from_json(&file("config.json", CONFIG_BYTES_MAX)?)?;
        let weights_max = 2.0 * config.architecture.weight_bytes() + BESIDE_WEIGHTS;
        let (tensors, _) = decode(&file("model.safetensors", weights_max as u64)?)?;
        let weights = from_stock(&config.architecture, tensors)?;
        refuse_unknown(&config, &weights)?;
        let tokenizer = TokenizerFiles {
            tokenizer: file("tokenizer.json", TOKENIZER_BYTES_MAX)?,
            config: file("tokenizer_config.json", CONFIG_BYTES_MAX)?,
        };
        Ok(Self { config, weights, tokenizer })
    }

    /// All files of the folder, in name order.
    pub(crate) fn files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let context = self.config.architecture.context;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let stock = to_stock(&self.config.architecture, self.weights.clone());
        let mut files = BTreeMap::from([
            ("config.json", pretty(&self.config.to_json())),
            ("model.safetensors", encode(&stock, metadata)?),
            ("tokenizer.json", self.tokenizer.tokenizer.clone()),
            ("tokenizer_config.json", self.tokenizer.config_for(context)?),
        ]);
        if self.config.purpose == Purpose::Language {
            let (bos, eos) = (self.config.bos, self.config.eos_json());
            let generation =
                json!({ "bos_token_id": bos, "eos_token_id": eos, "transformers_version": "4.57.0" });
            files.insert("generation_config.json", pretty(&generation));
        }
        Ok(files)
    }

    /// The language model, without autodiff unless `device` has it.
    pub(crate) fn language_model(&self, device: &Device) -> Result<CausalLm> {
        if self.config.purpose != Purpose::Language {
            return Err(Error::input("the model is a classifier; give a language model"));
        }
        self.config.architecture.build(device, |name, shape, _| self.find(name, shape))
    }

    /// The classifier.
    pub(crate) fn classifier(&self, device: &Device) -> Result<Classifier> {
        let Purpose::Classification(labels) = &self.config.purpose else {
            return Err(Error::input("the model is a language model; give a classifier"));
        };
        let shape = &self.config.architecture;
        shape.build_classifier(labels.len(), device, |name, shape, _| self.find(name, shape))
    }

    /// A value of a new classifier on this model's body, whose positions may be fewer; its scores start fresh.
    pub(crate) fn classifier_value(
        &self,
        seed: u64,
        name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>> {
        match name {
            "score.weight" => Ok(fresh(seed, name, shape, start)),
            "model.embed_positions.weight" => self.first_rows(name, shape),
            _ => self.find(name, shape),
        }
    }

    /// Tokens that end a text: config.json's, else the tokenizer's.
    pub(crate) fn ends(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let own = &self.config.eos;
        if own.is_empty() { tokenizer.eos().into_iter().collect() } else { own.clone() }
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.weights.get(name) {
            Some(Weights { shape: found, values }) if found == shape => Ok(values.clone()),
            Some(Weights { shape: found, .. }) => {
                Err(Error::input(format!("model.safetensors: `{name}` has shape {found:?}, not {shape:?}")))
            }
            None => Err(Error::input(format!("model.safetensors has no `{name}`"))),
        }
    }

    /// As `find`, for a matrix that may have more rows than are wanted.
    fn first_rows(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.weights.get(name) {
            Some(Weights { shape: found, values })
                if found[..].get(1..) == shape.get(1..) && found.first() >= shape.first() =>
            {
                Ok(values[..shape.iter().product()].to_vec())
            }
            _ => self.find(name, shape),
        }
    }

    /// The tokenizer, if all its ids are known to the model.
    pub(crate) fn open_tokenizer(&self) -> Result<Tokenizer> {
        let tokenizer = self.tokenizer.open()?;
        fits(&tokenizer, self.config.architecture.vocabulary)?;
        Ok(tokenizer)
    }
}

/// Refuses a file with parameters that the model would leave out, such as biases that config.json does not
/// mention. Masks and frequencies, which are computed here, and a head that is tied may be there.
fn refuse_unknown(config: &Config, weights: &Tensors) -> Result<()> {
    const COMPUTED: [&str; 4] = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", "position_ids"];
    let shape = &config.architecture;
    let last = |text: &str| text.rsplit_once('.').map_or(String::new(), |(_, part)| part.to_owned());
    let is_known = |name: &str| {
        let in_layers = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        match in_layers {
            Some((layer, _)) => {
                let has_part = shape.form == Form::Gpt2 || last(name) == "weight";
                layer.parse::<usize>().is_ok_and(|layer| layer < shape.layers) && has_part
            }
            None => [
                "model.embed_tokens.weight",
                "model.embed_positions.weight",
                "model.norm.weight",
                "model.norm.bias",
                "lm_head.weight",
                "score.weight",
            ]
            .contains(&name),
        }
    };
    let is_computed = |name: &str| COMPUTED.iter().any(|computed| name.ends_with(computed));
    match weights.keys().find(|name| !is_known(name) && !is_computed(name)) {
        Some(name) => Err(Error::input(format!(
            "model.safetensors has `{name}`, which the model of config.json does not have"
        ))
        .help("give config.json and model.safetensors of the same model")),
        None => Ok(()),
    }
}

/// Refuses a tokenizer whose ids a model of this vocabulary does not know.
pub(crate) fn fits(tokenizer: &Tokenizer, vocabulary: usize) -> Result<()> {
    let size = tokenizer.vocabulary_size() as usize;
    if size <= vocabulary {
        return Ok(());
    }
    Err(Error::input(format!("the tokenizer has {size} tokens, the model knows {vocabulary}"))
        .help("give the tokenizer that the model was trained with"))
}
