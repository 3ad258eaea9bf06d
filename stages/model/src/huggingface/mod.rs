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

pub(crate) use config::{Config, Purpose};
pub(crate) use layout::{from_stock, to_stock};

use crate::safetensors::{Tensors, decode, encode};
use crate::transformer::{Architecture, CausalLm, Classifier, Weights, load};
use burn::module::Module;
use burn::prelude::*;
use pipe_data::Tokenizer;
use pipe_stage::{Error, LocalEntry, Result};
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
            tokenizer: required(entries, "tokenizer.json")?,
            config: required(entries, "tokenizer_config.json")?,
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

fn required(entries: &[LocalEntry], name: &str) -> Result<Vec<u8>> {
    let entry = entries.iter().find(|entry| entry.name() == name);
    entry.ok_or_else(|| Error::input(format!("the input has no `{name}`")))?.bytes()
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("invariant: JSON values are plain data");
    text.push(b'\n');
    text
}

impl ModelFiles {
    /// Reads a model from an artifact.
    pub(crate) fn from_entries(entries: &[LocalEntry]) -> Result<Self> {
        Self::read(|name| required(entries, name))
    }

    /// Reads a model from a folder.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self> {
        Self::read(|name| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| Error::io("read", &path, &error))
        })
    }

    fn read(file: impl Fn(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let config = Config::from_json(&file("config.json")?)?;
        let (tensors, _) = decode(&file("model.safetensors")?)?;
        let weights = from_stock(&config.architecture, tensors)?;
        let tokenizer =
            TokenizerFiles { tokenizer: file("tokenizer.json")?, config: file("tokenizer_config.json")? };
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
            let (bos, eos) = (self.config.eos, self.config.eos);
            let generation =
                json!({ "bos_token_id": bos, "eos_token_id": eos, "transformers_version": "4.57.0" });
            files.insert("generation_config.json", pretty(&generation));
        }
        Ok(files)
    }

    /// The language model, without autodiff unless `device` has it.
    pub(crate) fn language_model(&self, device: &Device) -> Result<CausalLm> {
        if self.config.purpose != Purpose::Language {
            return Err(Error::input("the model is a classifier, a language model is wanted"));
        }
        self.fill(self.config.architecture.init(0, device))
    }

    /// The classifier.
    pub(crate) fn classifier(&self, device: &Device) -> Result<Classifier> {
        let Purpose::Classification(labels) = &self.config.purpose else {
            return Err(Error::input("the model is a language model, a classifier is wanted"));
        };
        self.fill(self.config.architecture.init_classifier(labels.len(), 0, device))
    }

    /// A classifier over `labels` on this model's body, for texts of up to `context` tokens; its scores start
    /// fresh.
    pub(crate) fn new_classifier(
        &self,
        labels: usize,
        context: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Classifier> {
        let fresh =
            Architecture { context, ..self.config.architecture }.init_classifier(labels, seed, device);
        let scores = crate::transformer::weights(&fresh).remove("score.weight");
        load(fresh, |name, shape| match (name, &scores) {
            ("score.weight", Some(scores)) => Ok(scores.values.clone()),
            ("model.embed_positions.weight", _) => self.first_rows(name, shape),
            _ => self.find(name, shape),
        })
    }

    fn fill<M: Module>(&self, fresh: M) -> Result<M> {
        load(fresh, |name, shape| self.find(name, shape))
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

/// Refuses a tokenizer whose ids a model of this vocabulary does not know.
pub(crate) fn fits(tokenizer: &Tokenizer, vocabulary: usize) -> Result<()> {
    let size = tokenizer.vocabulary_size() as usize;
    if size <= vocabulary {
        return Ok(());
    }
    Err(Error::input(format!("the tokenizer has {size} tokens, the model knows {vocabulary}"))
        .help("give the tokenizer that the model was trained with"))
}
