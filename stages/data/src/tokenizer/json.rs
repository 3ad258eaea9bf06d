//! Reads and writes Hugging Face's tokenizer files, tokenizer.json and tokenizer_config.json. Nothing here depends on
//! training or stages.
//!
//! Byte-level BPE models like those of GPT-2, Llama 3 and Qwen 2 are supported. Anything else that would change ids
//! is refused by name, never ignored.

mod file;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::Value;

use crate::tokenizer::bpe::Vocabulary;
use crate::tokenizer::encode::{AddedToken, AddedTokens, Merges, Normalizer, Tokenizer};
use crate::tokenizer::pattern::Pattern;
use crate::tokenizer::spelling::{spell, unspell};
use file::{Added, File, Merge, Model, Part, PatternJson, Vocab};
use pipe_stage::{InputItem, Kind, LocalEntry};

/// A tokenizer in the format of Hugging Face's libraries.
pub static TOKENIZER: Kind = Kind {
    name: "tokenizer",
    about: "Files of a tokenizer: tokenizer.json, tokenizer_config.json.",
    materialize: LocalEntry::copy_to,
    look,
    check,
};

/// File names of a tokenizer.
pub const TOKENIZER_JSON: &str = "tokenizer.json";
/// Maximum size of these files; those of the largest vocabularies have a tenth of it.
pub const TOKENIZER_BYTES_MAX: u64 = 256 << 20;
/// See [`TOKENIZER_JSON`].
pub const TOKENIZER_CONFIG_JSON: &str = "tokenizer_config.json";

/// Why a tokenizer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The bytes are not JSON, or not a tokenizer.
    #[error("tokenizer.json cannot be read")]
    Json(#[from] serde_json::Error),
    /// The tokenizer needs an unsupported feature.
    #[error(
        "tokenizer.json has {found}; supported are byte-level BPE models with the split pattern of GPT-2, \
         Llama 3 or Qwen 2, with the normalizer NFC or none"
    )]
    Unsupported {
        /// The feature: `a model of type `Unigram``.
        found: String,
    },
    /// The tokenizer is inconsistent.
    #[error("tokenizer.json is damaged: {reason}")]
    Damaged {
        /// In which way.
        reason: String,
    },
}

/// Maximum number of ids of a tokenizer; a hostile id would otherwise request any amount of memory.
const IDS_MAX: u32 = 1 << 24;

/// Usual names of the end-of-document and padding tokens, for files without a config.
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

    /// Reads a tokenizer.json, and the tokenizer_config.json next to it, which names the end-of-document and padding
    /// tokens.
    pub fn from_files(tokenizer: &[u8], config: &[u8]) -> Result<Self, TokenizerError> {
        let mut tokenizer = Self::from_json(tokenizer)?;
        let config: Value = serde_json::from_slice(config)?;
        for (field, place) in [("eos_token", &mut tokenizer.eos), ("pad_token", &mut tokenizer.pad)] {
            // Older files store the token as an object.
            let name = config[field].as_str().or_else(|| config[field]["content"].as_str());
            if let Some(name) = name {
                let id = tokenizer.names.get(name).copied();
                let reason = || format!("its config names `{name}` as {field}, but it has no such token");
                *place = Some(id.ok_or_else(|| TokenizerError::Damaged { reason: reason() })?);
            }
        }
        Ok(tokenizer)
    }
}

impl Tokenizer {
    /// Reads the tokenizer in an item of a tokenizer or model artifact.
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

/// The tokenizer of a folder, if it has one.
fn read(entries: &[LocalEntry]) -> pipe_stage::Result<Option<Tokenizer>> {
    let find = |name: &str| entries.iter().find(|entry| entry.name() == name);
    let Some(json) = find(TOKENIZER_JSON) else { return Ok(None) };
    Tokenizer::of_entries(json, find(TOKENIZER_CONFIG_JSON)).map(Some)
}

fn check(entries: &[LocalEntry]) -> pipe_stage::Result<()> {
    match read(entries)? {
        Some(_) => Ok(()),
        None => Err(pipe_stage::Error::input(format!("it has no file `{TOKENIZER_JSON}`"))
            .help("write the tokenizer as Hugging Face's libraries do, such as with `save_pretrained`")),
    }
}

/// Shows the size, the special tokens, and the first merged tokens.
fn look(entries: &[LocalEntry], lines_max: usize) -> pipe_stage::Result<String> {
    let Some(tokenizer) = read(entries)? else { return Ok(format!("no {TOKENIZER_JSON}\n")) };
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

/// tokenizer_config.json for a trained tokenizer, as `PreTrainedTokenizerFast` reads it.
///
/// The export of a model adds `model_max_length`, its context length in tokens.
pub fn tokenizer_config(eos: &str, pad: Option<&str>) -> Vec<u8> {
    let mut config = BTreeMap::from([
        // Off, since the clean-up removes spaces before punctuation when decoding.
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

/// A trained vocabulary, to be written.
#[derive(Debug, Clone, Copy)]
pub struct TrainedTokenizer<'a> {
    /// The split pattern used for training.
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

    /// A token's name: special tokens as they are, others in the spelling of their bytes.
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

impl File {
    fn tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        let pattern = self.pattern()?;
        self.check_parts()?;
        let normalizer = self.normalizer.as_ref().map_or(Ok(Normalizer::None), normalizer)?;
        let Model { vocab, merges, ignore_merges, .. } = self.model;
        let tokens_max =
            vocab.0.iter().map(|(_, id)| *id).chain(self.added_tokens.iter().map(|token| token.id));
        let last = tokens_max.max().ok_or_else(|| damaged("it has no tokens"))?;
        if last >= IDS_MAX {
            return Err(damaged(format!("token id {last} is above {IDS_MAX}")));
        }
        let mut tokens = vec![Box::<[u8]>::default(); last as usize + 1];
        let mut names = FxHashMap::default();
        // Not all names of a vocabulary are spelled bytes: special tokens need not be.
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
        let added = self.added_tokens.into_iter().map(|token| AddedToken {
            content: token.content,
            id: token.id,
            special: token.special,
            normalized: token.normalized,
        });
        let added = AddedTokens::new(normalizer, added.collect())
            .map_err(|error| unsupported(format!("too many added tokens ({error})")))?;
        Ok(Tokenizer {
            pattern,
            merges: Merges::new(byte_ids, pairs, ignore_merges.then_some(spelled)),
            tokens,
            names,
            added,
            eos: None,
            pad: None,
            digest: String::new(),
        })
    }

    /// Refuses whatever would change ids or decoded bytes.
    fn check_parts(&self) -> Result<(), TokenizerError> {
        let model = &self.model;
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let faults = [
            (model.kind.as_deref().is_some_and(|kind| kind != "BPE"), {
                format!("a model of type `{}`", model.kind.as_deref().unwrap_or_default())
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

    /// The split pattern of the pre-tokenizer.
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

/// The normalizer of a part.
fn normalizer(part: &Value) -> Result<Normalizer, TokenizerError> {
    match part["type"].as_str().unwrap_or_default() {
        "NFC" => Ok(Normalizer::Nfc),
        "Sequence" => {
            let parts = part["normalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().try_fold(Normalizer::None, |known, part| match normalizer(part)? {
                Normalizer::None => Ok(known),
                Normalizer::Nfc => Ok(Normalizer::Nfc),
            })
        }
        kind => Err(unsupported(format!("a normalizer of type `{kind}`"))),
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
            "tokenizer.json is damaged: its config names `</s>` as eos_token, but it has no such token"
        );
    }

    #[test]
    fn what_would_change_ids_is_refused_by_name() {
        let refused = |change: fn(&mut Value)| changed(change).unwrap_err().to_string();
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 9] = [
            (
                |json| json["model"] = json!({"type": "Unigram", "vocab": [["a", 0.1]]}),
                "a model of type `Unigram`",
            ),
            (|json| json["normalizer"] = json!({"type": "NFKC"}), "a normalizer of type `NFKC`"),
            (
                |json| {
                    json["normalizer"] =
                        json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]})
                },
                "a normalizer of type `Lowercase`",
            ),
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

    /// Texts that are not composed, some of them next to added tokens.
    const NOT_COMPOSED: &[&str] = &[
        "e\u{301}te\u{301}",
        "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}",
        "\u{212a} \u{2126} \u{fb1d} \u{f900}",
        "a\u{327}\u{30a}\u{301} a\u{30a}\u{327}",
        "<|endoftext|>\u{338} x <|pad|\u{338}>",
        "ta\u{301}g t\u{e1}g <ta\u{301}g>",
    ];

    #[test]
    fn text_is_composed_as_by_hugging_face() {
        for normalizer in [
            json!({"type": "NFC"}),
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]}),
            json!({"type": "Sequence", "normalizers": []}),
        ] {
            let mut value: Value = serde_json::from_slice(&file()).unwrap();
            value["normalizer"] = normalizer;
            let added = |content: &str, id: u32, normalized: bool, special: bool| {
                json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": normalized, "special": special})
            };
            let tokens = value["added_tokens"].as_array_mut().unwrap();
            let next = vocabulary().tokens.len() as u32;
            tokens.push(added("ta\u{301}g", next, true, false));
            tokens.push(added("t\u{e1}gs", next + 1, false, false));
            let json = serde_json::to_vec(&value).unwrap();
            let ours = Tokenizer::from_json(&json).unwrap();
            let oracle = tokenizers::Tokenizer::from_bytes(&json).unwrap();
            let mut ordinary = oracle.clone();
            ordinary.set_encode_special_tokens(true);
            for text in NOT_COMPOSED {
                assert_eq!(ours.encode(text), oracle.encode(*text, false).unwrap().get_ids(), "{text:?}");
                let ids = ours.encode_ordinary(text);
                assert_eq!(ids, ordinary.encode(*text, false).unwrap().get_ids(), "{text:?}");
            }
            for text in &NOT_COMPOSED[..5] {
                let ids = ours.encode_ordinary(text);
                assert!(ours.decodes_to(&ids, ours.normalized(text).as_bytes()), "{text:?}");
            }
        }
    }

    #[test]
    fn every_character_composes_as_by_hugging_face() {
        let composed = changed(|json| json["normalizer"] = json!({"type": "NFC"})).unwrap();
        let oracle = tokenizers::normalizers::unicode::NFC;
        let differs = |text: &str| {
            let mut normalized = tokenizers::NormalizedString::from(text);
            tokenizers::Normalizer::normalize(&oracle, &mut normalized).unwrap();
            composed.normalized(text) != normalized.get()
        };
        let codes = (0..0x11_0000_u32).filter_map(char::from_u32);
        let different: Vec<String> = codes
            .filter(|&code| differs(&format!("a{code}")) || differs(&format!("{code}\u{301}\u{327}")))
            .map(|code| format!("{:x}", code as u32))
            .collect();
        assert_eq!(different, [""; 0]);
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
