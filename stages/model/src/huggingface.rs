//! The Hugging Face layout of a model, written and read:
//!
//! ```text
//! config.json             LlamaForCausalLM or LlamaForSequenceClassification
//! generation_config.json  language models only
//! model.safetensors       f32, names and [out, in] layout of transformers; metadata format: pt
//! tokenizer.json
//! tokenizer_config.json   model_max_length is the context
//! ```
//!
//! config.json says the rotary base twice: `rope_theta` for transformers 4, `rope_parameters` for 5.

use crate::parameters::{Weights, load};
use crate::safetensors::{Tensors, decode, encode};
use crate::transformer::{Architecture, CausalLm, Classifier};
use burn::module::Module;
use burn::prelude::*;
use pipe_data::Tokenizer;
use pipe_stage::{Error, LocalEntry, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What a model is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Purpose {
    Language,
    /// Labels by class number.
    Classification(Vec<String>),
}

/// What config.json says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) architecture: Architecture,
    pub(crate) purpose: Purpose,
    /// The token that ends a document, which is also the one that begins a text.
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
}

impl Config {
    pub(crate) fn to_json(&self) -> Value {
        let shape = &self.architecture;
        let class = match self.purpose {
            Purpose::Language => "LlamaForCausalLM",
            Purpose::Classification(_) => "LlamaForSequenceClassification",
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": "llama",
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.features,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": shape.context,
            "rms_norm_eps": shape.norm_epsilon,
            "rope_theta": shape.rope_theta,
            "rope_parameters": { "rope_type": "default", "rope_theta": shape.rope_theta },
            "tie_word_embeddings": shape.tied,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "initializer_range": 0.02,
            "bos_token_id": self.eos,
            "eos_token_id": self.eos,
            "pad_token_id": self.pad,
            "torch_dtype": "float32",
            "dtype": "float32",
            "use_cache": true,
            "transformers_version": "4.57.0",
        });
        if let Purpose::Classification(labels) = &self.purpose {
            let by_id: Map<_, _> =
                labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
            let by_label: Map<_, _> = labels.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect();
            config["id2label"] = by_id.into();
            config["label2id"] = by_label.into();
        }
        config
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self> {
        let fault = |message: String| Error::input(format!("config.json: {message}"));
        let config: Value = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if config["model_type"] != "llama" {
            let message = format!("the model type is {}, not \"llama\"", config["model_type"]);
            return Err(fault(message).help("models of Llama form can be read"));
        }
        let refused =
            [("hidden_act", json!("silu")), ("attention_bias", json!(false)), ("mlp_bias", json!(false))];
        for (field, only) in refused {
            if !matches!(&config[field], Value::Null) && config[field] != only {
                return Err(fault(format!("`{field}` is {}, only {only} can be read", config[field])));
            }
        }
        let number = |field: &str| config[field].as_u64().map(|n| n as usize);
        let size =
            |field: &str| number(field).ok_or_else(|| fault(format!("`{field}` is missing or no number")));
        let (features, heads) = (size("hidden_size")?, size("num_attention_heads")?);
        let theta = config["rope_theta"].as_f64().or(config["rope_parameters"]["rope_theta"].as_f64());
        let architecture = Architecture {
            vocabulary: size("vocab_size")?,
            features,
            layers: size("num_hidden_layers")?,
            heads,
            kv_heads: number("num_key_value_heads").unwrap_or(heads),
            head_dim: number("head_dim").unwrap_or(features / heads.max(1)),
            feed_forward: size("intermediate_size")?,
            context: size("max_position_embeddings")?,
            rope_theta: theta.unwrap_or(10_000.0),
            norm_epsilon: config["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            tied: config["tie_word_embeddings"].as_bool().unwrap_or(false),
        };
        architecture.check().map_err(fault)?;
        let purpose = match config["architectures"][0].as_str() {
            Some("LlamaForCausalLM") => Purpose::Language,
            Some("LlamaForSequenceClassification") => Purpose::Classification(labels(&config["id2label"])?),
            other => return Err(fault(format!("the architecture is {other:?}"))),
        };
        let token = |field: &str| {
            let id = config[field].as_u64().or(config[field][0].as_u64());
            id.filter(|&id| id < architecture.vocabulary as u64).map(|id| id as u32)
        };
        Ok(Self { architecture, purpose, eos: token("eos_token_id"), pad: token("pad_token_id") })
    }
}

fn labels(by_id: &Value) -> Result<Vec<String>> {
    let fault = || Error::input("config.json: `id2label` does not number its labels from 0");
    let by_id = by_id.as_object().ok_or_else(fault)?;
    let label = |id: usize| by_id.get(&id.to_string()).and_then(Value::as_str).map(str::to_owned);
    (0..by_id.len()).map(|id| label(id).ok_or_else(fault)).collect()
}

/// The files of a model's folder.
#[derive(Debug, Clone)]
pub(crate) struct ModelFiles {
    pub(crate) config: Config,
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
        let (weights, _) = decode(&file("model.safetensors")?)?;
        let tokenizer =
            TokenizerFiles { tokenizer: file("tokenizer.json")?, config: file("tokenizer_config.json")? };
        Ok(Self { config, weights, tokenizer })
    }

    /// All files of the folder, in name order.
    pub(crate) fn files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let context = self.config.architecture.context;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let mut files = BTreeMap::from([
            ("config.json", pretty(&self.config.to_json())),
            ("model.safetensors", encode(&self.weights, metadata)?),
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

    /// A classifier over `labels` on this model's body; its scores start fresh.
    pub(crate) fn new_classifier(&self, labels: usize, seed: u64, device: &Device) -> Result<Classifier> {
        let fresh = self.config.architecture.init_classifier(labels, seed, device);
        let scores = crate::parameters::weights(&fresh).remove("score.weight");
        load(fresh, |name, shape| match (name, &scores) {
            ("score.weight", Some(scores)) => Ok(scores.values.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(purpose: Purpose) -> Config {
        let architecture = Architecture {
            vocabulary: 300,
            features: 24,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            feed_forward: 40,
            context: 32,
            rope_theta: 500_000.0,
            norm_epsilon: 1e-5,
            tied: true,
        };
        Config { architecture, purpose, eos: Some(0), pad: Some(1) }
    }

    #[test]
    fn config_is_read_as_written() {
        for purpose in [Purpose::Language, Purpose::Classification(vec!["a".into(), "b".into()])] {
            let config = config(purpose);
            assert_eq!(Config::from_json(&pretty(&config.to_json())).expect("read"), config);
        }
    }

    #[test]
    fn other_models_are_refused_by_name() {
        let mut json = config(Purpose::Language).to_json();
        json["model_type"] = json!("gpt2");
        assert!(Config::from_json(&pretty(&json)).expect_err("refused").to_string().contains("gpt2"));
        let mut json = config(Purpose::Language).to_json();
        json["num_key_value_heads"] = json!(3);
        assert!(Config::from_json(&pretty(&json)).expect_err("refused").to_string().contains("divide"));
        assert!(Config::from_json(b"{").is_err());
    }
}
