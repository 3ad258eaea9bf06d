//! config.json, written and read: which class of transformers a model is, and its shape.

use crate::transformer::{Architecture, EmbeddingScale, Form, Placement};
use pipe_stage::{Error, Result};
use serde_json::{Map, Value, json};

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
    /// The token that begins a text.
    pub(crate) bos: Option<u32>,
    /// The tokens that end a text, any of them.
    pub(crate) eos: Vec<u32>,
    pub(crate) pad: Option<u32>,
}

/// A family of stock classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    Gpt2,
    /// The first GPT, whose norms stand after the residual sums.
    Gpt,
}

impl Family {
    const ALL: [Self; 3] = [Self::Llama, Self::Gpt2, Self::Gpt];

    fn of(shape: &Architecture) -> Self {
        match (shape.form, shape.norm) {
            (Form::Llama, _) => Self::Llama,
            (Form::Gpt2, Placement::Pre) => Self::Gpt2,
            (Form::Gpt2, Placement::Post) => Self::Gpt,
        }
    }

    fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gpt2 => "gpt2",
            Self::Gpt => "openai-gpt",
        }
    }

    /// The classes of language models and of classifiers.
    fn classes(self) -> [&'static str; 2] {
        match self {
            Self::Llama => ["LlamaForCausalLM", "LlamaForSequenceClassification"],
            Self::Gpt2 => ["GPT2LMHeadModel", "GPT2ForSequenceClassification"],
            Self::Gpt => ["OpenAIGPTLMHeadModel", "OpenAIGPTForSequenceClassification"],
        }
    }
}

impl Config {
    /// The stock class of transformers that computes this model; an error where none does.
    pub(crate) fn stock_class(&self) -> Result<&'static str> {
        match no_stock_class(&self.architecture) {
            Some((message, help)) => Err(Error::input(message).help(help)),
            None => Ok(self.class()),
        }
    }

    fn class(&self) -> &'static str {
        let [language, classification] = Family::of(&self.architecture).classes();
        match self.purpose {
            Purpose::Language => language,
            Purpose::Classification(_) => classification,
        }
    }

    /// `eos_token_id` as transformers writes it: nothing, a number, or a list.
    pub(crate) fn eos_json(&self) -> Value {
        match self.eos[..] {
            [] => Value::Null,
            [one] => json!(one),
            _ => json!(self.eos),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        // Files hold embeddings that are multiplied by their scale.
        let shape = &self.architecture.folded();
        let mut config = match Family::of(shape) {
            Family::Llama => Self::llama(shape),
            Family::Gpt2 => Self::gpt2(shape, ("activation_function", "gelu_new")),
            Family::Gpt => Self::gpt2(shape, ("afn", "gelu")),
        };
        for (field, value) in [
            ("architectures", json!([self.class()])),
            ("vocab_size", json!(shape.vocabulary)),
            ("tie_word_embeddings", json!(shape.tied)),
            ("initializer_range", json!(0.02)),
            ("bos_token_id", json!(self.bos)),
            ("eos_token_id", self.eos_json()),
            ("pad_token_id", json!(self.pad)),
            ("torch_dtype", json!("float32")),
            ("dtype", json!("float32")),
            ("transformers_version", json!("4.57.0")),
        ] {
            config[field] = value;
        }
        if let Purpose::Classification(labels) = &self.purpose {
            let by_id: Map<_, _> =
                labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
            let by_label: Map<_, _> = labels.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect();
            config["id2label"] = by_id.into();
            config["label2id"] = by_label.into();
        }
        config
    }

    fn llama(shape: &Architecture) -> Value {
        json!({
            "model_type": "llama",
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
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "use_cache": true,
        })
    }

    /// GPT-2 and the first GPT, which differ in the name of the activation.
    fn gpt2(shape: &Architecture, (activation, function): (&str, &str)) -> Value {
        let mut config = json!({
            "model_type": Family::of(shape).model_type(),
            "n_embd": shape.features,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_inner": shape.feed_forward,
            "n_positions": shape.context,
            "n_ctx": shape.context,
            "layer_norm_epsilon": shape.norm_epsilon,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "use_cache": Family::of(shape) != Family::Gpt,
        });
        config[activation] = json!(function);
        config
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self> {
        let fault = |message: String| Error::input(format!("config.json: {message}"));
        let config: Value = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        let family = Family::ALL.into_iter().find(|family| config["model_type"] == family.model_type());
        let Some(family) = family else {
            let message = format!("the model type is {}", config["model_type"]);
            return Err(fault(message).help("`llama`, `gpt2` and `openai-gpt` can be read"));
        };
        let architecture = match family {
            Family::Llama => read_llama(&config),
            Family::Gpt2 | Family::Gpt => read_gpt2(&config, family),
        };
        let architecture = architecture.map_err(fault)?;
        architecture.check().map_err(fault)?;
        let [language, classification] = family.classes();
        let purpose = match config["architectures"][0].as_str() {
            Some(class) if class == language => Purpose::Language,
            Some(class) if class == classification => Purpose::Classification(labels(&config["id2label"])?),
            other => return Err(fault(format!("the architecture is {other:?}"))),
        };
        only(&config, "quantization_config", &[Value::Null]).map_err(fault)?;
        only(&config, "problem_type", &[json!("single_label_classification")]).map_err(fault)?;
        let token = |field: &str| token(&config[field], field, architecture.vocabulary).map_err(fault);
        let eos = match &config["eos_token_id"] {
            Value::Array(_) => tokens(&config["eos_token_id"], architecture.vocabulary).map_err(fault)?,
            _ => token("eos_token_id")?.into_iter().collect(),
        };
        let (bos, pad) = (token("bos_token_id")?, token("pad_token_id")?);
        Ok(Self { architecture, purpose, bos, eos, pad })
    }
}

/// Why no stock class of transformers computes a model of this shape, and what to do; none where one does.
pub(crate) fn no_stock_class(shape: &Architecture) -> Option<(String, String)> {
    let (found, wanted) = (shape.feed_forward, 4 * shape.features);
    (Family::of(shape) == Family::Gpt && found != wanted).then(|| {
        let message = format!(
            "no class of transformers computes this model: with `norm: post` it would be OpenAIGPTLMHeadModel, whose \
             `intermediate_size` is 4 times `hidden_size`, {wanted} and not {found}"
        );
        (message, format!("train with `intermediate_size: {wanted}`, or with `norm: pre`, which takes any"))
    })
}

/// A token id of the vocabulary; none where the field is missing, null or -1, which older files say for none.
fn token(value: &Value, field: &str, vocabulary: usize) -> Result<Option<u32>, String> {
    if value.is_null() || value.as_i64() == Some(-1) {
        return Ok(None);
    }
    let id = value.as_u64().filter(|&id| id < vocabulary as u64);
    match id {
        Some(id) => Ok(Some(id as u32)),
        None => Err(format!("`{field}` is {value}, which is no id below `vocab_size`, {vocabulary}")),
    }
}

fn tokens(value: &Value, vocabulary: usize) -> Result<Vec<u32>, String> {
    let ids = value.as_array().into_iter().flatten();
    let ids = ids.map(|id| token(id, "eos_token_id", vocabulary));
    Ok(ids.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Refuses a field that is there and says something else than what is computed here.
fn only(config: &Value, field: &str, allowed: &[Value]) -> Result<(), String> {
    match &config[field] {
        Value::Null => Ok(()),
        found if allowed.contains(found) => Ok(()),
        found => Err(format!("`{field}` is {found}, only {} can be read", allowed[0])),
    }
}

/// A size; none where the field is missing or null.
fn number(config: &Value, field: &str) -> Result<Option<usize>, String> {
    match &config[field] {
        Value::Null => Ok(None),
        value => match value.as_u64() {
            Some(n) => Ok(Some(n as usize)),
            None => Err(format!("`{field}` is {value}, not a whole number")),
        },
    }
}

fn size(config: &Value, field: &str) -> Result<usize, String> {
    number(config, field)?.ok_or_else(|| format!("`{field}` is missing"))
}

fn real(config: &Value, field: &str, otherwise: f64) -> Result<f64, String> {
    match &config[field] {
        Value::Null => Ok(otherwise),
        value => value.as_f64().ok_or_else(|| format!("`{field}` is {value}, not a number")),
    }
}

fn flag(config: &Value, field: &str, otherwise: bool) -> Result<bool, String> {
    match &config[field] {
        Value::Null => Ok(otherwise),
        value => value.as_bool().ok_or_else(|| format!("`{field}` is {value}, not true or false")),
    }
}

/// The base of the rotary frequencies; an error where positions are not rotated as they are here: all features of
/// a head, by frequencies that nothing scales.
fn rotary_base(config: &Value) -> Result<f64, String> {
    let whole = [json!(1.0), json!(1)];
    only(config, "partial_rotary_factor", &whole)?;
    let mut base = match &config["rope_theta"] {
        Value::Null => None,
        _ => Some(real(config, "rope_theta", 0.0)?),
    };
    for field in ["rope_parameters", "rope_scaling"] {
        let rotary = &config[field];
        if rotary.is_null() {
            continue;
        }
        if !rotary.is_object() {
            return Err(format!("`{field}` is {rotary}, not an object"));
        }
        for (name, value) in rotary.as_object().into_iter().flatten() {
            let is_computed = match name.as_str() {
                // `type` is the older name.
                "rope_type" | "type" => *value == json!("default"),
                "partial_rotary_factor" => whole.contains(value),
                "rope_theta" => match (value.as_f64(), base) {
                    (Some(found), Some(base)) => found == base,
                    (Some(found), None) => {
                        base = Some(found);
                        true
                    }
                    (None, _) => false,
                },
                _ => value.is_null(),
            };
            if !is_computed {
                return Err(format!(
                    "`{field}.{name}` is {value}, which cannot be computed here: only the rope type \"default\" can, \
                     with one base for all features of a head"
                ));
            }
        }
    }
    Ok(base.unwrap_or(10_000.0))
}

fn read_llama(config: &Value) -> Result<Architecture, String> {
    only(config, "hidden_act", &[json!("silu")])?;
    only(config, "attention_bias", &[json!(false)])?;
    only(config, "mlp_bias", &[json!(false)])?;
    let (features, heads) = (size(config, "hidden_size")?, size(config, "num_attention_heads")?);
    let theta = rotary_base(config)?;
    if let Some(kinds) = config["layer_types"].as_array()
        && let Some(kind) = kinds.iter().find(|kind| **kind != json!("full_attention"))
    {
        return Err(format!("`layer_types` has {kind}, only \"full_attention\" can be read"));
    }
    for field in ["sliding_window", "attn_logit_softcapping", "final_logit_softcapping"] {
        only(config, field, &[Value::Null])?;
    }
    Ok(Architecture {
        form: Form::Llama,
        norm: Placement::Pre,
        embedding_scale: EmbeddingScale::None,
        vocabulary: size(config, "vocab_size")?,
        features,
        layers: size(config, "num_hidden_layers")?,
        heads,
        kv_heads: number(config, "num_key_value_heads")?.unwrap_or(heads),
        head_dim: number(config, "head_dim")?.unwrap_or(features / heads.max(1)),
        feed_forward: size(config, "intermediate_size")?,
        context: size(config, "max_position_embeddings")?,
        rope_theta: theta,
        norm_epsilon: real(config, "rms_norm_eps", 1e-6)?,
        tied: flag(config, "tie_word_embeddings", false)?,
    })
}

fn read_gpt2(config: &Value, family: Family) -> Result<Architecture, String> {
    let by_tanh = [json!("gelu_new"), json!("gelu_pytorch_tanh")];
    match family {
        Family::Gpt => only(config, "afn", &[json!("gelu")])?,
        _ => only(config, "activation_function", &by_tanh)?,
    }
    only(config, "scale_attn_weights", &[json!(true)])?;
    only(config, "scale_attn_by_inverse_layer_idx", &[json!(false)])?;
    only(config, "add_cross_attention", &[json!(false)])?;
    let (features, heads) = (size(config, "n_embd")?, size(config, "n_head")?);
    Ok(Architecture {
        form: Form::Gpt2,
        norm: if family == Family::Gpt { Placement::Post } else { Placement::Pre },
        embedding_scale: EmbeddingScale::None,
        vocabulary: size(config, "vocab_size")?,
        features,
        layers: size(config, "n_layer")?,
        heads,
        kv_heads: heads,
        head_dim: features / heads.max(1),
        feed_forward: number(config, "n_inner")?.unwrap_or(features.saturating_mul(4)),
        context: size(config, "n_positions").or_else(|_| size(config, "n_ctx"))?,
        rope_theta: 10_000.0,
        norm_epsilon: real(config, "layer_norm_epsilon", 1e-5)?,
        tied: flag(config, "tie_word_embeddings", true)?,
    })
}

fn labels(by_id: &Value) -> Result<Vec<String>> {
    let fault = || Error::input("config.json: `id2label` does not number its labels from 0");
    let by_id = by_id.as_object().ok_or_else(fault)?;
    let label = |id: usize| by_id.get(&id.to_string()).and_then(Value::as_str).map(str::to_owned);
    (0..by_id.len()).map(|id| label(id).ok_or_else(fault)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::{tiny, variants};

    fn config(architecture: Architecture, purpose: Purpose) -> Config {
        Config { architecture, purpose, bos: Some(2), eos: vec![0], pad: Some(1) }
    }

    fn read(json: &Value) -> Result<Config> {
        Config::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn config_is_read_as_written() {
        for architecture in variants() {
            let architecture = Architecture { rope_theta: 10_000.0, ..architecture };
            for purpose in [Purpose::Language, Purpose::Classification(vec!["a".into(), "b".into()])] {
                let config = config(architecture, purpose);
                let folded = Config { architecture: architecture.folded(), ..config.clone() };
                assert_eq!(read(&config.to_json()).expect("read"), folded);
            }
        }
    }

    #[test]
    fn classes_follow_the_form() {
        let class = |architecture| config(architecture, Purpose::Language).stock_class();
        let (llama, gpt2) = (tiny(Form::Llama, true), tiny(Form::Gpt2, true));
        assert_eq!(class(llama).expect("a class"), "LlamaForCausalLM");
        assert_eq!(class(gpt2).expect("a class"), "GPT2LMHeadModel");
        let post = Architecture { norm: Placement::Post, ..gpt2 };
        let error = class(post).expect_err("no class").to_string();
        assert!(error.contains("`norm: post`") && error.contains("96 and not 40"), "{error}");
        let post = Architecture { feed_forward: 96, ..post };
        assert_eq!(class(post).expect("a class"), "OpenAIGPTLMHeadModel");
    }

    #[test]
    fn published_gpt2_is_read() {
        let published = json!({
            "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
            "bos_token_id": 50256, "eos_token_id": 50256, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
            "n_layer": 12, "n_positions": 1024, "vocab_size": 50257
        });
        let config = read(&published).expect("read");
        assert_eq!(config.architecture, crate::transformer::Preset::Gpt2.shape(50_257));
    }

    #[test]
    fn other_models_are_refused_by_name() {
        let llama = config(tiny(Form::Llama, true), Purpose::Language).to_json();
        let gpt2 = config(tiny(Form::Gpt2, true), Purpose::Language).to_json();
        let refused = |json: &Value, field: &str, value: Value| {
            let mut json = json.clone();
            json[field] = value;
            read(&json).expect_err("refused").to_string()
        };
        assert!(refused(&llama, "model_type", json!("bert")).contains("bert"));
        assert!(refused(&llama, "num_key_value_heads", json!(3)).contains("divide"));
        assert!(refused(&gpt2, "activation_function", json!("relu")).contains("`activation_function`"));
        assert!(refused(&gpt2, "n_head", json!(5)).contains("share the hidden size"));
        assert!(Config::from_json(b"{").is_err());
        for field in ["num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "pad_token_id"] {
            assert!(refused(&llama, field, json!("x")).contains(field));
        }
        let many = json!({ "quant_method": "gptq" });
        assert!(refused(&llama, "quantization_config", many).contains("`quantization_config`"));
        assert!(refused(&llama, "hidden_size", json!(1_u64 << 40)).contains("the hidden size"));
    }

    #[test]
    fn rotary_positions_that_are_not_computed_here_are_refused_by_name() {
        let llama = config(tiny(Form::Llama, true), Purpose::Language).to_json();
        let with = |field: &str, value: Value| {
            let mut json = llama.clone();
            json[field] = value;
            read(&json)
        };
        let llama3 = json!({
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"
        });
        for (field, value, named) in [
            ("rope_scaling", llama3.clone(), "`rope_scaling."),
            ("rope_scaling", json!({ "type": "linear", "factor": 2.0 }), "`rope_scaling."),
            ("rope_parameters", llama3, "`rope_parameters."),
            ("rope_parameters", json!({ "rope_type": "yarn" }), "`rope_parameters.rope_type`"),
            ("rope_parameters", json!({ "rope_theta": 1.0 }), "`rope_parameters.rope_theta`"),
            ("rope_parameters", json!("default"), "`rope_parameters`"),
            ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor`"),
            ("layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types`"),
            ("sliding_window", json!(512), "`sliding_window`"),
        ] {
            let fault = with(field, value).expect_err(named).to_string();
            assert!(fault.contains(named), "{fault}");
        }
        let plain = json!({ "rope_type": "default", "partial_rotary_factor": 1.0, "factor": null });
        assert!(with("rope_scaling", plain).is_ok());
        assert!(with("rope_scaling", Value::Null).is_ok());
    }

    #[test]
    fn all_tokens_that_end_a_text_are_kept() {
        let mut json = config(tiny(Form::Llama, true), Purpose::Language).to_json();
        json["eos_token_id"] = json!([3, 7]);
        let config = read(&json).expect("read");
        assert_eq!((&config.eos[..], config.bos), (&[3, 7][..], Some(2)));
        assert_eq!(config.to_json()["eos_token_id"], json!([3, 7]));
        json["eos_token_id"] = json!([3, 50]);
        assert!(read(&json).expect_err("no such id").to_string().contains("`eos_token_id`"));
        json["eos_token_id"] = json!(null);
        json["pad_token_id"] = json!(-1);
        let config = read(&json).expect("read");
        assert_eq!((config.eos, config.pad), (vec![], None));
    }
}
