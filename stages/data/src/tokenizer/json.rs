//! Owns Hugging Face's files of a tokenizer: tokenizer.json and tokenizer_config.json.
//! Knows nothing of training and of stages.
//!
//! Read is what byte-level BPE models of the GPT-2, Llama 3 and Qwen 2 kind hold; anything else that would
//! change ids is refused by name, never ignored.

use std::collections::BTreeMap;
use std::fmt;

use rustc_hash::FxHashMap;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::tokenizer::bpe::Vocabulary;
use crate::tokenizer::encode::{AddedSet, AddedToken, AddedTokens, Merges, Tokenizer};
use crate::tokenizer::pattern::Pattern;
use crate::tokenizer::spelling::{spell, unspell};
use pipe_stage::{InputItem, Kind, LocalEntry};

/// A tokenizer as Hugging Face's libraries read it.
pub static TOKENIZER: Kind = Kind {
    name: "tokenizer",
    about: "Files of a tokenizer: tokenizer.json, tokenizer_config.json.",
    materialize: LocalEntry::copy_to,
    look,
};

/// File names of a tokenizer.
pub const TOKENIZER_JSON: &str = "tokenizer.json";
/// See [`TOKENIZER_JSON`].
pub const TOKENIZER_CONFIG_JSON: &str = "tokenizer_config.json";

/// Why a tokenizer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The bytes are not JSON, or not that of a tokenizer.
    #[error("tokenizer.json cannot be read")]
    Json(#[from] serde_json::Error),
    /// The tokenizer needs something that is not built in.
    #[error(
        "tokenizer.json has {found}; supported are byte-level BPE models with the split pattern of GPT-2, \
         Llama 3 or Qwen 2, without normalizer"
    )]
    Unsupported {
        /// What it has: `a model of type `Unigram``.
        found: String,
    },
    /// The tokenizer contradicts itself.
    #[error("tokenizer.json is damaged: {reason}")]
    Damaged {
        /// How.
        reason: String,
    },
}

/// Most ids that a tokenizer may have; a hostile id would otherwise ask for any amount of memory.
const IDS_MAX: u32 = 1 << 24;

/// Names under which an end-of-document and a padding token are known, where no config names them.
const EOS_NAMES: &[&str] = &["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "<|im_end|>"];
const PAD_NAMES: &[&str] = &["<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>"];

impl Tokenizer {
    /// Reads a tokenizer.json. The end-of-document and padding tokens are found by their usual names;
    /// [`Tokenizer::from_files`] reads them from tokenizer_config.json.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let file: File = serde_json::from_slice(json)?;
        let mut tokenizer = file.tokenizer()?;
        tokenizer.digest = blake3::hash(json).to_hex().to_string();
        let named = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_id(name));
        (tokenizer.eos, tokenizer.pad) = (named(EOS_NAMES), named(PAD_NAMES));
        Ok(tokenizer)
    }

    /// Reads a tokenizer.json and the tokenizer_config.json beside it, which names the end-of-document and
    /// padding tokens.
    pub fn from_files(tokenizer: &[u8], config: &[u8]) -> Result<Self, TokenizerError> {
        let mut tokenizer = Self::from_json(tokenizer)?;
        let config: Value = serde_json::from_slice(config)?;
        for (field, place) in [("eos_token", &mut tokenizer.eos), ("pad_token", &mut tokenizer.pad)] {
            // Older files hold the token as an object.
            let name = config[field].as_str().or_else(|| config[field]["content"].as_str());
            if let Some(name) = name {
                let id = tokenizer.names.get(name).copied();
                let reason = || format!("its config names `{name}` as {field}, which it does not have");
                *place = Some(id.ok_or_else(|| TokenizerError::Damaged { reason: reason() })?);
            }
        }
        Ok(tokenizer)
    }
}

impl Tokenizer {
    /// Reads the tokenizer that an item of a tokenizer artifact, or of a model, holds.
    pub fn of_item(item: &InputItem) -> pipe_stage::Result<Self> {
        let tokenizer = item.entry(TOKENIZER_JSON).ok_or_else(|| {
            pipe_stage::Error::input(format!("the tokenizer has no file `{TOKENIZER_JSON}`"))
        })?;
        Self::of_entries(tokenizer, item.entry(TOKENIZER_CONFIG_JSON))
    }

    fn of_entries(json: &LocalEntry, config: Option<&LocalEntry>) -> pipe_stage::Result<Self> {
        Ok(match config {
            Some(config) => Self::from_files(&json.bytes()?, &config.bytes()?)?,
            None => Self::from_json(&json.bytes()?)?,
        })
    }
}

/// Shows the size, the special tokens, and the first tokens that came of merges.
fn look(entries: &[LocalEntry], lines_max: usize) -> pipe_stage::Result<String> {
    let find = |name: &str| entries.iter().find(|entry| entry.name() == name);
    let Some(json) = find(TOKENIZER_JSON) else { return Ok(format!("no {TOKENIZER_JSON}\n")) };
    let tokenizer = Tokenizer::of_entries(json, find(TOKENIZER_CONFIG_JSON))?;
    let mut text = format!("{} tokens, split as {:?}\n", tokenizer.vocabulary_size(), tokenizer.pattern());
    for (role, id) in [("end of document", tokenizer.eos()), ("padding", tokenizer.pad())] {
        if let Some(id) = id {
            text += &format!("{role}: {id} {}\n", tokenizer.decode(&[id]));
        }
    }
    let merged = (0..tokenizer.vocabulary_size()).filter(|id| tokenizer.token_bytes(*id).len() > 1);
    for id in merged.take(lines_max.saturating_sub(text.lines().count())) {
        text += &format!("{id} {:?}\n", tokenizer.decode(&[id]));
    }
    Ok(text)
}

impl From<TokenizerError> for pipe_stage::Error {
    fn from(error: TokenizerError) -> Self {
        match std::error::Error::source(&error) {
            Some(source) => Self::input(format!("{error}: {source}")),
            None => Self::input(error.to_string()),
        }
    }
}

/// tokenizer_config.json for a tokenizer from training, as `PreTrainedTokenizerFast` reads it.
///
/// Whoever exports a model adds `model_max_length`, its context in tokens.
pub fn tokenizer_config(eos: &str, pad: Option<&str>) -> Vec<u8> {
    let mut config = BTreeMap::from([
        // Off, since the clean-up eats spaces before punctuation when it decodes.
        ("clean_up_tokenization_spaces", Value::from(false)),
        ("add_prefix_space", Value::from(false)),
        ("bos_token", Value::from(eos)),
        ("eos_token", Value::from(eos)),
        ("tokenizer_class", Value::from("PreTrainedTokenizerFast")),
    ]);
    if let Some(pad) = pad {
        config.insert("pad_token", Value::from(pad));
    }
    json(&config)
}

/// A vocabulary from training, to be written.
#[derive(Debug, Clone, Copy)]
pub struct TrainedTokenizer<'a> {
    /// The split that the vocabulary was trained on.
    pub pattern: Pattern,
    /// The tokens and merges.
    pub vocabulary: &'a Vocabulary,
}

impl TrainedTokenizer<'_> {
    /// Writes tokenizer.json: equal vocabularies give equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let byte_level = |use_regex| Part {
            kind: "ByteLevel".into(),
            add_prefix_space: Some(false),
            trim_offsets: Some(false),
            use_regex: Some(use_regex),
            ..Part::default()
        };
        let split = Part {
            kind: "Split".into(),
            pattern: Some(PatternJson { regex: Some(self.pattern.regex().into()), string: None }),
            behavior: Some("Isolated".into()),
            invert: Some(false),
            ..Part::default()
        };
        let sequence = Part {
            kind: "Sequence".into(),
            pretokenizers: Some(vec![split, byte_level(false)]),
            ..Part::default()
        };
        let name = |id: u32| self.name(id as usize);
        let special_tokens = 0..self.vocabulary.special_tokens as u32;
        let special = |id: u32| Added {
            id,
            content: name(id),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        };
        json(&File {
            version: "1.0".into(),
            truncation: None,
            padding: None,
            added_tokens: special_tokens.map(special).collect(),
            normalizer: None,
            pre_tokenizer: Some(sequence),
            post_processor: Some(serde_json::to_value(byte_level(false)).expect("invariant: plain data")),
            decoder: Some(byte_level(false)),
            model: Model {
                kind: Some("BPE".into()),
                vocab: Vocab((0..self.vocabulary.tokens.len() as u32).map(|id| (name(id), id)).collect()),
                merges: self
                    .vocabulary
                    .merges
                    .iter()
                    .map(|&(left, right)| Merge(name(left), name(right)))
                    .collect(),
                ..Model::default()
            },
        })
    }

    /// A token's name: special tokens as they read, others as their bytes are spelled.
    fn name(&self, id: usize) -> String {
        let bytes = &self.vocabulary.tokens[id];
        if id < self.vocabulary.special_tokens {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            spell(bytes)
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("invariant: plain data");
    bytes.push(b'\n');
    bytes
}

/// tokenizer.json, in the order of its fields.
#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default)]
    version: String,
    #[serde(default)]
    truncation: Option<Value>,
    #[serde(default)]
    padding: Option<Value>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Option<Value>,
    #[serde(default)]
    pre_tokenizer: Option<Part>,
    #[serde(default)]
    post_processor: Option<Value>,
    #[serde(default)]
    decoder: Option<Part>,
    model: Model,
}

#[derive(Serialize, Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

/// A pre-tokenizer or decoder; which fields are there depends on its type.
#[derive(Default, Serialize, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pretokenizers: Option<Vec<Part>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<PatternJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behavior: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invert: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    add_prefix_space: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trim_offsets: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    use_regex: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct PatternJson {
    #[serde(rename = "Regex", default, skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
    #[serde(rename = "String", default, skip_serializing_if = "Option::is_none")]
    string: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Model {
    /// Old files leave it out.
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f64>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    vocab: Vocab,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Tokens by name, written in the order of their ids.
#[derive(Default)]
struct Vocab(Vec<(String, u32)>);

impl Serialize for Vocab {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, id) in &self.0 {
            map.serialize_entry(name, id)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tokens to ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = map.next_entry()? {
            tokens.push(token);
        }
        Ok(Vocab(tokens))
    }

    /// Other models hold a list here; they are refused by their type's name.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocab, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Vocab::default())
    }
}

/// A merge, as files spell it since 2024 (`["a", "b"]`), or before (`"a b"`).
struct Merge(String, String);

impl Serialize for Merge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, &self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of tokens")
    }

    fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Merge, E> {
        let pair = line.split_once(' ').ok_or_else(|| E::custom("a merge is no pair of tokens"))?;
        Ok(Merge(pair.0.to_owned(), pair.1.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
        match (pair.next_element()?, pair.next_element()?, pair.next_element::<IgnoredAny>()?) {
            (Some(left), Some(right), None) => Ok(Merge(left, right)),
            _ => Err(serde::de::Error::custom("a merge is no pair of tokens")),
        }
    }
}

impl File {
    fn tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        let pattern = self.pattern()?;
        self.check_parts()?;
        let Model { vocab, merges, ignore_merges, .. } = self.model;
        let tokens_max =
            vocab.0.iter().map(|(_, id)| *id).chain(self.added_tokens.iter().map(|token| token.id));
        let last = tokens_max.max().ok_or_else(|| damaged("it has no tokens"))?;
        if last >= IDS_MAX {
            return Err(damaged(format!("token id {last} is above {IDS_MAX}")));
        }
        let mut tokens = vec![Box::<[u8]>::default(); last as usize + 1];
        let mut names = FxHashMap::default();
        // Not all names of a vocabulary spell bytes: special tokens need not.
        let mut spelled = FxHashMap::<Box<[u8]>, u32>::default();
        for (name, id) in vocab.0 {
            let bytes = unspell(&name);
            if let Some(bytes) = &bytes {
                spelled.insert(bytes.as_slice().into(), id);
            }
            tokens[id as usize] = bytes.unwrap_or_else(|| name.as_bytes().to_vec()).into();
            names.insert(name, id);
        }
        let pairs = merges.iter().map(|Merge(left, right)| {
            let id = |name: &str| {
                let reason = || format!("a merge names `{name}`, which the vocabulary lacks");
                names.get(name).copied().ok_or_else(|| damaged(reason()))
            };
            Ok((id(left)?, id(right)?, id(&format!("{left}{right}"))?))
        });
        let pairs = pairs.collect::<Result<Vec<_>, TokenizerError>>()?;
        let mut byte_ids = [0; 256];
        for (byte, id) in (0..=255_u8).zip(&mut byte_ids) {
            let unknown = || unsupported(format!("no token for byte {byte:#04x}"));
            *id = spelled.get(&[byte][..]).copied().ok_or_else(unknown)?;
        }
        for token in &self.added_tokens {
            tokens[token.id as usize] = token.content.as_bytes().into();
            names.insert(token.content.clone(), token.id);
        }
        let set = |normalized| {
            let tokens = self.added_tokens.iter().filter(|token| token.normalized == normalized);
            AddedSet::new(tokens.map(|token| AddedToken {
                content: token.content.clone(),
                id: token.id,
                special: token.special,
            }))
        };
        Ok(Tokenizer {
            pattern,
            merges: Merges::new(byte_ids, pairs, ignore_merges.then_some(spelled)),
            tokens,
            names,
            added: AddedTokens { verbatim: set(false), normalized: set(true) },
            eos: None,
            pad: None,
            digest: String::new(),
        })
    }

    /// Refuses what would change ids or the bytes that they decode to.
    fn check_parts(&self) -> Result<(), TokenizerError> {
        let model = &self.model;
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let faults = [
            (model.kind.as_deref().is_some_and(|kind| kind != "BPE"), {
                format!("a model of type `{}`", model.kind.as_deref().unwrap_or_default())
            }),
            (self.normalizer.is_some(), {
                let kind = self.normalizer.as_ref().map(|normalizer| normalizer["type"].to_string());
                format!("a normalizer of type {}", kind.unwrap_or_default().replace('"', "`"))
            }),
            (model.dropout.is_some_and(|dropout| dropout != 0.0), "dropout".into()),
            (set(&model.continuing_subword_prefix), "a prefix of continuing subwords".into()),
            (set(&model.end_of_word_suffix), "a suffix at the ends of words".into()),
            (model.byte_fallback, "byte fallback".into()),
            (self.decoder.as_ref().is_none_or(|decoder| decoder.kind != "ByteLevel"), {
                "a decoder other than `ByteLevel`".into()
            }),
        ];
        if let Some((_, found)) = faults.into_iter().find(|(fault, _)| *fault) {
            return Err(unsupported(found));
        }
        let stripping =
            self.added_tokens.iter().find(|token| token.lstrip || token.rstrip || token.single_word);
        match stripping {
            Some(token) => {
                Err(unsupported(format!("token `{}`, which takes in the space around it", token.content)))
            }
            None => Ok(()),
        }
    }

    /// The split pattern that the pre-tokenizer stands for.
    fn pattern(&self) -> Result<Pattern, TokenizerError> {
        if self.model.kind.as_deref().is_some_and(|kind| kind != "BPE") {
            self.check_parts()?;
        }
        let none = || unsupported("no pre-tokenizer".into());
        let part = self.pre_tokenizer.as_ref().ok_or_else(none)?;
        let byte_level = |part: &Part, use_regex: bool| {
            part.kind == "ByteLevel"
                && part.add_prefix_space == Some(false)
                && part.use_regex.unwrap_or(true) == use_regex
        };
        if byte_level(part, true) {
            return Ok(Pattern::Gpt2);
        }
        if part.kind == "ByteLevel" && part.add_prefix_space != Some(false) {
            return Err(unsupported("a space put before each text (`add_prefix_space`)".into()));
        }
        if let Some([split, last]) = part.pretokenizers.as_deref()
            && split.kind == "Split"
            && byte_level(last, false)
        {
            let regex =
                split.pattern.as_ref().and_then(|pattern| pattern.regex.as_deref()).unwrap_or_default();
            let plain = split.behavior.as_deref() == Some("Isolated") && split.invert != Some(true);
            return match Pattern::from_regex(regex) {
                Some(pattern) if plain => Ok(pattern),
                _ => Err(unsupported(format!("the split pattern `{regex}`"))),
            };
        }
        Err(unsupported(format!("a pre-tokenizer of type `{}`", part.kind)))
    }
}

fn unsupported(found: String) -> TokenizerError {
    TokenizerError::Unsupported { found }
}

fn damaged(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Damaged { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::{Training, train};
    use proptest::prelude::*;
    use serde_json::json;

    fn vocabulary() -> Vocabulary {
        let pieces = [(b" the".as_slice(), 9), (b"then", 7), (b"\n\n", 5), ("数据".as_bytes(), 4)];
        let special_tokens = ["<|endoftext|>".to_owned(), "<|pad|>".to_owned()];
        train(
            pieces,
            Training { vocabulary_size: 280, frequency_min: 0, special_tokens: &special_tokens },
            |_| true,
        )
    }

    fn file() -> Vec<u8> {
        TrainedTokenizer { pattern: Pattern::Llama3, vocabulary: &vocabulary() }.to_json()
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<Tokenizer, TokenizerError> {
        let mut value = serde_json::from_slice(&file()).unwrap();
        change(&mut value);
        Tokenizer::from_json(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn bytes_are_stable() {
        assert_eq!(
            blake3::hash(&file()).to_hex().as_str(),
            "d677c31ad10760af2506e45f91fe1043a16093568406468679d8a609f58d40b7"
        );
    }

    #[test]
    fn hugging_face_reads_it_and_means_the_same() {
        let (ours, oracle) =
            (Tokenizer::from_json(&file()).unwrap(), tokenizers::Tokenizer::from_bytes(file()).unwrap());
        assert_eq!(ours.vocabulary_size() as usize, oracle.get_vocab_size(true));
        for (name, id) in oracle.get_vocab(true) {
            assert_eq!(ours.token_id(&name), Some(id), "{name}");
        }
        let text = " the then\n\n数据 <|endoftext|> é\u{0}";
        let ids = ours.encode(text);
        assert_eq!(oracle.encode(text, true).unwrap().get_ids(), ids);
        assert_eq!(oracle.decode(&ids, false).unwrap(), text);
    }

    #[test]
    fn a_file_rewritten_by_hugging_face_reads_the_same() {
        let oracle = tokenizers::Tokenizer::from_bytes(file()).unwrap();
        let rewritten = Tokenizer::from_json(oracle.to_string(false).unwrap().as_bytes()).unwrap();
        let text = " the then\n\n数据 <|endoftext|>";
        assert_eq!(rewritten.encode(text), Tokenizer::from_json(&file()).unwrap().encode(text));
    }

    #[test]
    fn merges_of_older_files_are_lines() {
        let old = changed(|json| {
            let merges = json["model"]["merges"].as_array_mut().unwrap();
            for merge in merges {
                *merge = format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()).into();
            }
        });
        assert_eq!(
            old.unwrap().encode(" the then"),
            Tokenizer::from_json(&file()).unwrap().encode(" the then")
        );
    }

    #[test]
    fn special_tokens_come_from_the_config() {
        let config = tokenizer_config("<|pad|>", Some("<|endoftext|>"));
        let tokenizer = Tokenizer::from_files(&file(), &config).unwrap();
        assert_eq!((tokenizer.eos(), tokenizer.pad()), (Some(1), Some(0)));
        let error = Tokenizer::from_files(&file(), br#"{"eos_token": {"content": "</s>"}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tokenizer.json is damaged: its config names `</s>` as eos_token, which it does not have"
        );
    }

    #[test]
    fn what_would_change_ids_is_refused_by_name() {
        let refused = |change: fn(&mut Value)| changed(change).unwrap_err().to_string();
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 8] = [
            (
                |json| json["model"] = json!({"type": "Unigram", "vocab": [["a", 0.1]]}),
                "a model of type `Unigram`",
            ),
            (|json| json["normalizer"] = json!({"type": "NFC"}), "a normalizer of type `NFC`"),
            (
                |json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("\\d"),
                "the split pattern `\\d`",
            ),
            (
                |json| json["pre_tokenizer"] = json!({"type": "Metaspace"}),
                "a pre-tokenizer of type `Metaspace`",
            ),
            (
                |json| json["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": true}),
                "a space put before",
            ),
            (|json| json["model"]["dropout"] = json!(0.1), "dropout"),
            (|json| json["added_tokens"][0]["lstrip"] = json!(true), "token `<|endoftext|>`, which takes in"),
            (
                |json| drop(json["model"]["vocab"].as_object_mut().unwrap().remove("ÿ")),
                "no token for byte 0xff",
            ),
        ];
        for (change, found) in cases {
            let message = refused(change);
            assert!(message.contains(&format!("has {found}")), "{message}");
        }
    }

    #[test]
    fn a_huge_id_is_refused() {
        let error = changed(|json| json["added_tokens"][0]["id"] = json!(u32::MAX)).unwrap_err();
        assert_eq!(error.to_string(), "tokenizer.json is damaged: token id 4294967295 is above 16777216");
    }

    proptest! {
        #[test]
        fn damaged_files_give_errors_and_never_panics(at: prop::sample::Index, byte: u8) {
            let mut json = file();
            let at = at.index(json.len());
            json[at] = byte;
            if let Ok(tokenizer) = Tokenizer::from_json(&json) {
                let _ = tokenizer.decode(&tokenizer.encode(" the then 数据"));
            }
        }
    }
}
