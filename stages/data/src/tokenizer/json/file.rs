//! The structure of Hugging Face's tokenizer.json, without the meaning of its parts.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// tokenizer.json, in the order of its fields.
#[derive(Serialize, Deserialize)]
pub(super) struct File<M = Model> {
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) truncation: Option<Value>,
    #[serde(default)]
    pub(super) padding: Option<Value>,
    #[serde(default)]
    pub(super) added_tokens: Vec<Added>,
    #[serde(default)]
    pub(super) normalizer: Option<Value>,
    #[serde(default)]
    pub(super) pre_tokenizer: Option<Part>,
    #[serde(default)]
    pub(super) post_processor: Option<Value>,
    #[serde(default)]
    pub(super) decoder: Option<Part>,
    pub(super) model: M,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default)]
    pub(super) special: bool,
}

/// A pre-tokenizer or decoder; its fields depend on its type.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pretokenizers: Option<Vec<Part>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<PatternJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) behavior: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) invert: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) add_prefix_space: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trim_offsets: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) use_regex: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replacement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prepend_scheme: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) split: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) individual_digits: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decoders: Option<Vec<Part>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cleanup: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stop: Option<usize>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PatternJson {
    #[serde(rename = "Regex", default, skip_serializing_if = "Option::is_none")]
    pub(super) regex: Option<String>,
    #[serde(rename = "String", default, skip_serializing_if = "Option::is_none")]
    pub(super) string: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Model {
    /// Missing in old files.
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) dropout: Option<f64>,
    #[serde(default)]
    pub(super) unk_token: Option<String>,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    #[serde(default)]
    pub(super) vocab: Vocab,
    #[serde(default)]
    pub(super) merges: Vec<Merge>,
    /// Of Unigram.
    #[serde(default, skip_serializing)]
    pub(super) unk_id: Option<u32>,
    /// Of WordPiece.
    #[serde(default, skip_serializing)]
    pub(super) max_input_chars_per_word: Option<usize>,
}

/// A model of WordPiece, to be written.
#[derive(Serialize)]
pub(super) struct WordPieceJson {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) unk_token: String,
    pub(super) continuing_subword_prefix: &'static str,
    pub(super) max_input_chars_per_word: usize,
    pub(super) vocab: Vocab,
}

/// A model of Unigram, to be written.
#[derive(Serialize)]
pub(super) struct UnigramJson<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) unk_id: u32,
    pub(super) vocab: &'a [(String, f64)],
    pub(super) byte_fallback: bool,
}

/// Tokens by name, written in the order of their ids.
#[derive(Default)]
pub(super) struct Vocab(pub(super) Vec<(String, u32)>, pub(super) Vec<f64>);

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
        Ok(Vocab(tokens, Vec::new()))
    }

    /// Tokens with scores, by id.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocab, A::Error> {
        let (mut tokens, mut scores) = (Vec::new(), Vec::new());
        while let Some((token, score)) = list.next_element::<(String, f64)>()? {
            tokens.push((token, tokens.len() as u32));
            scores.push(score);
        }
        Ok(Vocab(tokens, scores))
    }
}

/// A merge, as written since 2024 (`["a", "b"]`), or before (`"a b"`).
pub(super) struct Merge(pub(super) String, pub(super) String);

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
        let pair = line.split_once(' ').ok_or_else(|| E::custom("a merge is not a pair of tokens"))?;
        Ok(Merge(pair.0.to_owned(), pair.1.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
        match (pair.next_element()?, pair.next_element()?, pair.next_element::<IgnoredAny>()?) {
            (Some(left), Some(right), None) => Ok(Merge(left, right)),
            _ => Err(serde::de::Error::custom("a merge is not a pair of tokens")),
        }
    }
}
