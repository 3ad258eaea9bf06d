//! Which tokenizers can be trained: models, the splitters that fit them, and special tokens. Nothing here depends on text or
//! files.

use pipe_stage::Misfit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::normalizer::NormalizerName;
use super::pattern::Pattern;
use super::splitter::{Digits, Numbers, Pieces, Prepend, Splitter};

/// How pieces of text become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Byte-pair encoding of bytes, as GPT-2, Llama 3 and Qwen have it. Any text can be encoded and is decoded exactly.
    #[default]
    Bpe,
    /// Byte-pair encoding of characters, as Llama 2 and Gemma have it (SentencePiece). Spaces become `▁`; characters that
    /// are not in the vocabulary become bytes.
    BpeCharacters,
    /// WordPiece, as BERT has it: words and parts of words, and an unknown token. White space is lost.
    WordPiece,
    /// Unigram, as T5 and XLM-RoBERTa have it (SentencePiece): the most probable division into tokens. Spaces become `▁`;
    /// characters that are not in the vocabulary become bytes.
    Unigram,
}

/// Special tokens of a chat format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Chat {
    /// `<|im_start|>`, `<|im_end|>`, as Qwen has them.
    Chatml,
    /// `<|begin_of_text|>`, `<|end_of_text|>`, `<|start_header_id|>`, `<|end_header_id|>`, `<|eom_id|>`, `<|eot_id|>`,
    /// `<|python_tag|>`.
    Llama3,
}

impl Chat {
    fn tokens(self) -> &'static [&'static str] {
        match self {
            Self::Chatml => &["<|im_start|>", "<|im_end|>"],
            Self::Llama3 => &[
                "<|begin_of_text|>",
                "<|end_of_text|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eom_id|>",
                "<|eot_id|>",
                "<|python_tag|>",
            ],
        }
    }
}

/// The settings that determine counts, resolved.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Counting {
    pub(super) model: Model,
    pub(super) pattern: Option<Pattern>,
    pub(super) digits: Digits,
    pub(super) normalizer: NormalizerName,
}

/// The settings that determine the vocabulary.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Wanted {
    pub(super) counting: Counting,
    pub(super) vocabulary_size: u32,
    pub(super) special_tokens: Vec<String>,
    pub(super) chat: Option<Chat>,
    pub(super) min_frequency: u64,
    /// Bytes of the pieces to train on.
    pub(super) pieces_bytes_max: u64,
}

impl Model {
    /// Special tokens that the model needs; they come first.
    pub(super) fn special_tokens(self) -> &'static [&'static str] {
        match self {
            Self::Bpe => &[],
            Self::BpeCharacters | Self::Unigram => &["<unk>", "<s>", "</s>", "<pad>"],
            Self::WordPiece => &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        }
    }

    /// The special tokens of tokenizer_config.json by their roles; none for the model whose tokens the user names.
    pub(super) fn roles(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Bpe => &[],
            Self::BpeCharacters | Self::Unigram => {
                &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")]
            }
            Self::WordPiece => &[
                ("unk_token", "[UNK]"),
                ("cls_token", "[CLS]"),
                ("sep_token", "[SEP]"),
                ("eos_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("mask_token", "[MASK]"),
            ],
        }
    }

    /// Tokens that every vocabulary has besides special ones: bytes, and characters.
    pub(super) fn least(self) -> u32 {
        match self {
            Self::Bpe => 256,
            Self::BpeCharacters => 256 + 2,
            Self::WordPiece => 2,
            // Twice the printable characters of ASCII.
            Self::Unigram => 256 + 188,
        }
    }

    /// The pattern without a setting.
    pub(super) fn pattern(self) -> Option<Pattern> {
        match self {
            Self::Bpe => Some(Pattern::Llama3),
            Self::WordPiece => Some(Pattern::Bert),
            Self::BpeCharacters | Self::Unigram => None,
        }
    }

    /// The normalizer without a setting.
    pub(super) fn normalizer(self) -> NormalizerName {
        if self == Self::WordPiece { NormalizerName::BertUncased } else { NormalizerName::None }
    }

    /// Why a pattern does not fit the model.
    pub(super) fn check_pattern(self, pattern: Pattern) -> Option<Misfit> {
        let covers = pattern.regex().is_some();
        let help = match self {
            Self::Bpe if covers => return None,
            Self::WordPiece if !covers => return None,
            Self::Bpe => "use `gpt2`, `llama3`, `qwen2`, `cl100k` or `o200k`, or `model: word-piece`",
            Self::WordPiece => "use `bert` or `whitespace`, or `model: bpe`",
            Self::BpeCharacters | Self::Unigram => "remove `pattern`: this model splits text at spaces",
        };
        Some(Misfit::new("pattern", format!("does not fit this model: {}", self.about())).help(help))
    }

    fn about(self) -> &'static str {
        match self {
            Self::Bpe => "BPE of bytes needs pieces that cover the text",
            Self::BpeCharacters => "BPE of characters has no pattern",
            Self::WordPiece => "WordPiece has words without spaces",
            Self::Unigram => "Unigram has no pattern",
        }
    }
}

impl Counting {
    pub(super) fn splitter(&self) -> Splitter {
        let numbers = match self.digits {
            Digits::ByPattern => Numbers::Within,
            Digits::Single => Numbers::Apart(1),
            Digits::GroupsOfThree => Numbers::Apart(3),
        };
        match self.pattern {
            Some(pattern) => Splitter { numbers, pieces: Pieces::Pattern(pattern) },
            None => {
                let pieces = Pieces::Metaspace { prepend: Prepend::Never, split: true };
                Splitter { numbers: Numbers::Within, pieces }
            }
        }
    }
}

impl Wanted {
    /// All special tokens in the order of their ids: of the model, of the settings, of the chat format.
    pub(super) fn all_special_tokens(&self) -> Vec<String> {
        all_special_tokens(self.counting.model, &self.special_tokens, self.chat)
    }
}

/// Each once, in the order of their ids.
pub(super) fn all_special_tokens(model: Model, own: &[String], chat: Option<Chat>) -> Vec<String> {
    let of_model = model.special_tokens().iter().map(|token| (*token).to_owned());
    let of_chat = chat.into_iter().flat_map(Chat::tokens).map(|token| (*token).to_owned());
    let mut all: Vec<String> = Vec::new();
    for token in of_model.chain(own.iter().cloned()).chain(of_chat) {
        if !all.contains(&token) {
            all.push(token);
        }
    }
    all
}
