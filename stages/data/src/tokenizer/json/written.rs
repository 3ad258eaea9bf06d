//! Writes tokenizer.json for trained vocabularies. Nothing here depends on training or stages.

use serde_json::{Value, json};

use super::file::{Added, File, Merge, Model, Part, PatternJson, UnigramJson, Vocab, WordPieceJson};
use super::json;
use crate::tokenizer::bpe::{CONTINUATION, Vocabulary};
use crate::tokenizer::normalizer::NormalizerName;
use crate::tokenizer::pattern::Pattern;
use crate::tokenizer::spelling::spell;
use crate::tokenizer::splitter::{Numbers, Pieces, SPACE, Splitter};

/// A trained vocabulary of a byte-level BPE model, to be written.
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
        let trained = Trained::Bytes(self.vocabulary);
        Design { normalizer: NormalizerName::None, splitter: Splitter::of(self.pattern), trained }.to_json()
    }
}

/// A trained tokenizer, to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Design<'a> {
    pub(crate) normalizer: NormalizerName,
    pub(crate) splitter: Splitter,
    pub(crate) trained: Trained<'a>,
}

/// What was trained.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trained<'a> {
    Bytes(&'a Vocabulary),
    /// The first special token is the unknown one.
    Characters(&'a Vocabulary),
    /// The special tokens begin with padding, unknown, begin and end.
    WordPiece(&'a Vocabulary),
    /// Tokens and scores, by id. The first is the unknown one.
    Unigram {
        tokens: &'a [(String, f64)],
        special_tokens: usize,
    },
}

impl Design<'_> {
    /// Writes tokenizer.json: equal designs give equal bytes.
    pub(crate) fn to_json(self) -> Vec<u8> {
        let post_processor = match self.trained {
            Trained::Bytes(_) => {
                Some(serde_json::to_value(byte_level(false)).expect("invariant: plain data"))
            }
            Trained::Characters(_) | Trained::Unigram { .. } => None,
            Trained::WordPiece(_) => {
                let [cls, sep] = [2, 3].map(|id| json!([self.name(id), id]));
                Some(json!({"type": "BertProcessing", "sep": sep, "cls": cls}))
            }
        };
        let head = File {
            version: "1.0".into(),
            truncation: None,
            padding: None,
            added_tokens: (0..self.special_tokens() as u32).map(|id| self.special(id)).collect(),
            normalizer: self.normalizer(),
            pre_tokenizer: Some(self.pre_tokenizer()),
            post_processor,
            decoder: Some(self.decoder()),
            model: (),
        };
        match self.trained {
            Trained::Bytes(vocabulary) | Trained::Characters(vocabulary) => {
                let of_bytes = matches!(self.trained, Trained::Bytes(_));
                json(
                    &head.with(Model {
                        kind: Some("BPE".into()),
                        unk_token: (!of_bytes).then(|| self.name(0)),
                        fuse_unk: !of_bytes,
                        byte_fallback: !of_bytes,
                        vocab: self.vocab(vocabulary),
                        merges: vocabulary
                            .merges
                            .iter()
                            .map(|&(left, right)| Merge(self.name(left), self.name(right)))
                            .collect(),
                        ..Model::default()
                    }),
                )
            }
            Trained::WordPiece(vocabulary) => json(&head.with(WordPieceJson {
                kind: "WordPiece",
                unk_token: self.name(1),
                continuing_subword_prefix: CONTINUATION,
                max_input_chars_per_word: 100,
                vocab: self.vocab(vocabulary),
            })),
            Trained::Unigram { tokens, .. } => json(&head.with(UnigramJson {
                kind: "Unigram",
                unk_id: 0,
                vocab: tokens,
                byte_fallback: true,
            })),
        }
    }

    fn special_tokens(&self) -> usize {
        match self.trained {
            Trained::Bytes(vocabulary) | Trained::Characters(vocabulary) | Trained::WordPiece(vocabulary) => {
                vocabulary.special_tokens
            }
            Trained::Unigram { special_tokens, .. } => special_tokens,
        }
    }

    fn special(&self, id: u32) -> Added {
        Added {
            id,
            content: self.name(id),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    fn vocab(&self, vocabulary: &Vocabulary) -> Vocab {
        Vocab((0..vocabulary.tokens.len() as u32).map(|id| (self.name(id), id)).collect(), Vec::new())
    }

    /// A token's name: special tokens and characters as they are, others in the spelling of their bytes.
    fn name(&self, id: u32) -> String {
        match self.trained {
            Trained::Bytes(vocabulary) if id as usize >= vocabulary.special_tokens => {
                spell(&vocabulary.tokens[id as usize])
            }
            Trained::Bytes(vocabulary) | Trained::Characters(vocabulary) | Trained::WordPiece(vocabulary) => {
                String::from_utf8_lossy(&vocabulary.tokens[id as usize]).into_owned()
            }
            Trained::Unigram { tokens, .. } => tokens[id as usize].0.clone(),
        }
    }

    fn normalizer(&self) -> Option<Value> {
        let bert = |lowercase: bool| {
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": lowercase})
        };
        match self.normalizer {
            NormalizerName::None => None,
            NormalizerName::Nfc => Some(json!({"type": "NFC"})),
            NormalizerName::Nfkc => Some(json!({"type": "NFKC"})),
            NormalizerName::BertUncased => Some(bert(true)),
            NormalizerName::BertCased => Some(bert(false)),
        }
    }

    fn pre_tokenizer(&self) -> Part {
        let numbers = match self.splitter.numbers {
            Numbers::Within => None,
            Numbers::Apart(1) => Some(split(r"\p{N}".into())),
            Numbers::Apart(digits) => Some(split(format!(r"\p{{N}}{{1,{digits}}}"))),
            Numbers::Numeric => {
                Some(Part { kind: "Digits".into(), individual_digits: Some(true), ..Part::default() })
            }
        };
        let of_pieces = match self.splitter.pieces {
            Pieces::Pattern(Pattern::Whitespace) => vec![Part::of("Whitespace")],
            Pieces::Pattern(Pattern::Bert) => vec![Part::of("BertPreTokenizer")],
            Pieces::Pattern(pattern) => {
                vec![split(pattern.regex().unwrap_or_default().into()), byte_level(false)]
            }
            Pieces::Metaspace { .. } | Pieces::Whole => vec![Part {
                replacement: Some(SPACE.into()),
                prepend_scheme: Some("never".into()),
                split: Some(true),
                ..Part::of("Metaspace")
            }],
        };
        let mut parts: Vec<Part> = numbers.into_iter().chain(of_pieces).collect();
        match parts.len() {
            1 => parts.remove(0),
            _ => Part { pretokenizers: Some(parts), ..Part::of("Sequence") },
        }
    }

    fn decoder(&self) -> Part {
        match self.trained {
            Trained::Bytes(_) => byte_level(false),
            Trained::WordPiece(_) => {
                Part { prefix: Some(CONTINUATION.into()), cleanup: Some(false), ..Part::of("WordPiece") }
            }
            Trained::Characters(_) | Trained::Unigram { .. } => {
                let space = Part {
                    pattern: Some(PatternJson { regex: None, string: Some(SPACE.into()) }),
                    content: Some(" ".into()),
                    ..Part::of("Replace")
                };
                let decoders = Some(vec![space, Part::of("ByteFallback"), Part::of("Fuse")]);
                Part { decoders, ..Part::of("Sequence") }
            }
        }
    }
}

impl File<()> {
    fn with<M>(self, model: M) -> File<M> {
        let Self {
            version,
            truncation,
            padding,
            added_tokens,
            normalizer,
            pre_tokenizer,
            post_processor,
            decoder,
            ..
        } = self;
        File {
            version,
            truncation,
            padding,
            added_tokens,
            normalizer,
            pre_tokenizer,
            post_processor,
            decoder,
            model,
        }
    }
}

impl Part {
    fn of(kind: &str) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }
}

fn byte_level(use_regex: bool) -> Part {
    Part {
        add_prefix_space: Some(false),
        trim_offsets: Some(false),
        use_regex: Some(use_regex),
        ..Part::of("ByteLevel")
    }
}

fn split(regex: String) -> Part {
    Part {
        pattern: Some(PatternJson { regex: Some(regex), string: None }),
        behavior: Some("Isolated".into()),
        invert: Some(false),
        ..Part::of("Split")
    }
}
