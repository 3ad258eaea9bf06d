//! Reads and writes Hugging Face's tokenizer files, tokenizer.json and tokenizer_config.json. Nothing here depends on
//! training or stages.
//!
//! Byte-level BPE models like those of GPT-2, Llama 3 and Qwen 2 are supported, BPE of characters like that of Llama 2,
//! WordPiece and Unigram. Anything else that would change ids is refused by name, never ignored; `truncation` and `padding`
//! are settings of a call, which transformers replaces with those of its own calls, and do not apply here.

mod file;
mod parts;
mod written;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::Value;

use crate::tokenizer::bpe::byte_token;
use crate::tokenizer::encode::{
    AddedToken, AddedTokens, Alphabet, Merges, Model as Encoding, Tokenizer, Unigram, WordPiece,
};
use crate::tokenizer::normalizer::Normalizer;
use crate::tokenizer::spelling::unspell;
use crate::tokenizer::splitter::Pieces;
use file::{File, Merge, Model, Vocab};
use parts::{Decoding, decoding, normalizer, of_bytes, of_text};
use pipe_stage::{InputItem, Kind, LocalEntry};
pub use written::TrainedTokenizer;
pub(crate) use written::{Design, Trained};

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
        "tokenizer.json has {found}; supported are byte-level BPE models with the split pattern of GPT-2, GPT-4, GPT-4o, \
         Llama 3 or Qwen 2, and BPE models of characters, WordPiece and Unigram with common parts"
    )]
    Unsupported {
        /// The feature: `a model of type `WordLevel``.
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
/// Most times as long that normalizers may make a text.
const GROWTH_MAX: usize = 1 << 10;

/// The types of models that are supported.
const MODELS: [&str; 3] = ["BPE", "WordPiece", "Unigram"];

/// Usual names of the end-of-document and padding tokens, for files without a config.
const EOS_NAMES: &[&str] =
    &["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "<|im_end|>", "[SEP]"];
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
    let mut text = format!("{} tokens, {}\n", tokenizer.vocabulary_size(), described(&tokenizer));
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

fn described(tokenizer: &Tokenizer) -> String {
    let model = match &tokenizer.model {
        Encoding::Merges(_) if tokenizer.is_exact() => "BPE of bytes",
        Encoding::Merges(_) => "BPE of characters",
        Encoding::WordPiece(_) => "WordPiece",
        Encoding::Unigram(_) => "Unigram",
    };
    match tokenizer.splitter.pieces {
        Pieces::Pattern(pattern) => format!("{model}, split as {pattern:?}"),
        Pieces::Metaspace { split: true, .. } => format!("{model}, split at spaces"),
        Pieces::Metaspace { split: false, .. } | Pieces::Whole => format!("{model}, not split"),
    }
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
    let roles = [("bos_token", eos), ("eos_token", eos)];
    tokenizer_config_of(roles.into_iter().chain(pad.map(|pad| ("pad_token", pad))))
}

/// As [`tokenizer_config`], with the fields of its special tokens.
pub(crate) fn tokenizer_config_of<'a>(roles: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut config = BTreeMap::from([
        // Off, since the clean-up removes spaces before punctuation when decoding.
        ("clean_up_tokenization_spaces", Value::from(false)),
        ("add_prefix_space", Value::from(false)),
        ("tokenizer_class", Value::from("PreTrainedTokenizerFast")),
    ]);
    config.extend(roles.into_iter().map(|(role, token)| (role, Value::from(token))));
    json(&config)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("invariant: plain data");
    bytes.push(b'\n');
    bytes
}

impl File {
    fn tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        self.check_parts()?;
        let kind = self.model.kind.as_deref().unwrap_or("BPE");
        let decoding = decoding(self.decoder.as_ref())?;
        let of_byte_level = kind == "BPE" && !self.model.byte_fallback && decoding == Decoding::ByteLevel;
        let splitter = match of_byte_level {
            true => of_bytes(self.pre_tokenizer.as_ref())?,
            false => of_text(self.pre_tokenizer.as_ref())?,
        };
        let normalizer = self.normalizer.as_ref().map_or(Ok(Vec::new()), normalizer)?;
        let growth = normalizer.iter().try_fold(1_usize, |product, step| product.checked_mul(step.growth()));
        if growth.is_none_or(|growth| growth > GROWTH_MAX) {
            return Err(unsupported(format!("a normalizer that may make texts {GROWTH_MAX} times as long")));
        }
        let names = names(&self.model.vocab, &self.added_tokens);
        let ids = self.model.vocab.0.iter().map(|(_, id)| *id);
        let ids = ids.chain(self.added_tokens.iter().map(|token| token.id));
        let last = ids.max().ok_or_else(|| damaged("it has no tokens"))?;
        if last >= IDS_MAX {
            return Err(damaged(format!("token id {last} is above {IDS_MAX}")));
        }
        self.check_ids()?;
        let mut tokens = vec![Box::<[u8]>::default(); last as usize + 1];
        for (name, id) in &self.model.vocab.0 {
            tokens[*id as usize] = decoding.bytes(name).into();
        }
        for token in &self.added_tokens {
            tokens[token.id as usize] = token.content.as_bytes().into();
        }
        let (start, kind) = (decoding.start(), kind.to_owned());
        let model = match kind.as_str() {
            "BPE" => Encoding::Merges(self.model.merges(of_byte_level, &names)?),
            "WordPiece" => Encoding::WordPiece(self.model.word_piece(&names)?),
            _ => Encoding::Unigram(self.model.unigram()?),
        };
        let added = self.added_tokens.into_iter().map(|token| AddedToken {
            content: token.content,
            id: token.id,
            special: token.special,
            normalized: token.normalized,
        });
        let added = AddedTokens::new(Normalizer(normalizer), added.collect())
            .map_err(|error| unsupported(format!("too many added tokens ({error})")))?;
        let digest = String::new();
        Ok(Tokenizer { splitter, model, start, tokens, names, added, eos: None, pad: None, digest })
    }

    /// Refuses added tokens that contradict the vocabulary or each other: other programs choose one of the two ids.
    fn check_ids(&self) -> Result<(), TokenizerError> {
        let vocabulary = || self.model.vocab.0.iter();
        let mut ids: FxHashMap<&str, u32> = vocabulary().map(|(token, id)| (token.as_str(), *id)).collect();
        let mut tokens: FxHashMap<u32, &str> =
            vocabulary().map(|(token, id)| (*id, token.as_str())).collect();
        for file::Added { content, id, .. } in &self.added_tokens {
            if let Some(other) = ids.insert(content, *id).filter(|other| other != id) {
                return Err(damaged(format!("the token `{content}` has two ids, {other} and {id}")));
            }
            if let Some(other) = tokens.insert(*id, content).filter(|other| other != content) {
                return Err(damaged(format!("the id {id} is that of two tokens, `{other}` and `{content}`")));
            }
        }
        Ok(())
    }

    /// Refuses whatever would change ids or decoded bytes.
    fn check_parts(&self) -> Result<(), TokenizerError> {
        let model = &self.model;
        let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let is_bpe = model.kind.as_deref().is_none_or(|kind| kind == "BPE");
        if let Some(kind) = model.kind.as_deref().filter(|kind| !MODELS.contains(kind)) {
            return Err(unsupported(format!("a model of type `{kind}`")));
        }
        let faults = [
            (model.dropout.is_some_and(|dropout| dropout != 0.0), "dropout"),
            (is_bpe && set(&model.continuing_subword_prefix), "a prefix of continuing subwords"),
            (is_bpe && set(&model.end_of_word_suffix), "a suffix at the ends of words"),
        ];
        if let Some((_, found)) = faults.into_iter().find(|(fault, _)| *fault) {
            return Err(unsupported(found.into()));
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
}

type Names = FxHashMap<String, u32>;

/// Ids by the names of all tokens.
fn names(vocab: &Vocab, added: &[file::Added]) -> Names {
    let mut names: Names = vocab.0.iter().cloned().collect();
    names.extend(added.iter().map(|token| (token.content.clone(), token.id)));
    names
}

impl Model {
    fn merges(self, of_byte_level: bool, names: &Names) -> Result<Merges, TokenizerError> {
        // Not all names of a byte-level vocabulary are spelled bytes: special tokens need not be.
        let bytes = |name: &str| if of_byte_level { unspell(name) } else { Some(name.as_bytes().to_vec()) };
        let spelled: FxHashMap<Box<[u8]>, u32> =
            self.vocab.0.iter().filter_map(|(name, id)| Some((bytes(name)?.into(), *id))).collect();
        let ids: FxHashMap<&str, u32> = self.vocab.0.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        let pairs = self.merges.iter().map(|Merge(left, right)| {
            let id = |name: &str| {
                let reason = || format!("a merge names `{name}`, which the vocabulary lacks");
                ids.get(name).copied().ok_or_else(|| damaged(reason()))
            };
            Ok((id(left)?, id(right)?, id(&format!("{left}{right}"))?))
        });
        let pairs = pairs.collect::<Result<Vec<_>, TokenizerError>>()?;
        let byte_ids = |find: &dyn Fn(u8) -> Option<u32>| {
            let mut byte_ids = [0; 256];
            for (byte, id) in (0..=255_u8).zip(&mut byte_ids) {
                *id = find(byte).ok_or_else(|| unsupported(format!("no token for byte {byte:#04x}")))?;
            }
            Ok::<_, TokenizerError>(byte_ids)
        };
        let alphabet = if of_byte_level {
            Alphabet::Bytes(Box::new(byte_ids(&|byte| spelled.get(&[byte][..]).copied())?))
        } else {
            let of_byte = |byte: u8| ids.get(byte_token(byte).as_str()).copied();
            let unknown = self.unk_token.as_ref().map(|name| {
                let reason = || format!("its unknown token `{name}` is not in the vocabulary");
                names.get(name).copied().ok_or_else(|| damaged(reason()))
            });
            let single = |(name, id): &(String, u32)| {
                let mut characters = name.chars();
                characters.next().filter(|_| characters.next().is_none()).map(|only| (only, *id))
            };
            Alphabet::Characters {
                ids: self.vocab.0.iter().filter_map(single).collect(),
                bytes: self.byte_fallback.then(|| byte_ids(&of_byte).map(Box::new)).transpose()?,
                unknown: unknown.transpose()?,
                fuses_unknown: self.fuse_unk,
            }
        };
        Ok(Merges::new(alphabet, pairs, self.ignore_merges.then_some(spelled)))
    }

    fn word_piece(self, names: &Names) -> Result<WordPiece, TokenizerError> {
        const CHARACTERS_MAX: usize = 100;
        let unknown = self.unk_token.as_deref().unwrap_or("[UNK]");
        let reason = || format!("its unknown token `{unknown}` is not in the vocabulary");
        let unknown = names.get(unknown).copied().ok_or_else(|| damaged(reason()))?;
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or("##");
        let tokens = self.vocab.0.iter().map(|(name, id)| (name.as_str(), *id));
        let characters_max = self.max_input_chars_per_word.unwrap_or(CHARACTERS_MAX);
        Ok(WordPiece::new(tokens, prefix, unknown, characters_max))
    }

    fn unigram(self) -> Result<Unigram, TokenizerError> {
        let Vocab(tokens, scores) = self.vocab;
        if scores.len() != tokens.len() {
            return Err(damaged("its Unigram model has no list of tokens and scores"));
        }
        if self.unk_id.is_some_and(|id| id as usize >= tokens.len()) {
            return Err(damaged("its unknown token is not in the vocabulary"));
        }
        if self.unk_id.is_none() && !self.byte_fallback {
            return Err(damaged("its Unigram model has no unknown token and no tokens of bytes"));
        }
        let tokens: Vec<(String, f64)> =
            tokens.into_iter().zip(scores).map(|((token, _), score)| (token, score)).collect();
        Ok(Unigram::new(&tokens, self.unk_id, self.byte_fallback))
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
    use crate::tokenizer::bpe::{Training, Vocabulary, train};
    use crate::tokenizer::pattern::Pattern;
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
                |json| json["model"] = json!({"type": "WordLevel", "vocab": {"a": 0}}),
                "a model of type `WordLevel`",
            ),
            (
                |json| json["normalizer"] = json!({"type": "Precompiled"}),
                "a normalizer of type `Precompiled`",
            ),
            (
                |json| {
                    json["normalizer"] =
                        json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})
                },
                "a normalizer of type `Nmt`",
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
    fn ids_that_contradict_and_texts_that_explode_are_refused() {
        let refused = |change: fn(&mut Value)| changed(change).unwrap_err().to_string();
        let error = refused(|json| json["added_tokens"][0]["id"] = json!(1 << 20));
        assert!(error.contains("has two ids"), "{error}");
        let error = refused(|json| json["added_tokens"][0]["content"] = json!("of another name"));
        assert!(error.contains("is that of two tokens"), "{error}");
        let error = changed(|json| {
            let growing = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![growing; 40]});
        });
        assert!(error.unwrap_err().to_string().contains("1024 times as long"));
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
