//! Text to token ids and back: pieces, merges, a cache of pieces. [`crate::tokenizer::json`] reads and writes Hugging
//! Face's files.
//!
//! Ids equal those of Hugging Face's `tokenizers` for every text. With a byte-level model any text can be encoded: each of
//! the 256 bytes is a token, so there is no unknown token, and decoding returns the bytes of the normalized text.

mod added;
mod cache;
mod merges;
mod unigram;
mod word_piece;

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::tokenizer::splitter::{Numbers, Pieces, Splitter};
pub(crate) use added::{AddedToken, AddedTokens};
use added::{Part, Specials};
use cache::{Cache, Key, Known};
use merges::Scratch;
pub(crate) use merges::{Alphabet, Merges};
pub(crate) use unigram::{Trie, Unigram};
pub(crate) use word_piece::WordPiece;

/// A tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(crate) splitter: Splitter,
    pub(crate) model: Model,
    /// How the beginning of a decoded text differs from its first token.
    pub(crate) start: Start,
    /// The bytes of each token; empty for an unused id.
    pub(crate) tokens: Vec<Box<[u8]>>,
    /// Ids by the names in tokenizer.json: special tokens as they are, others in the spelling of their bytes.
    pub(crate) names: FxHashMap<String, u32>,
    pub(crate) added: AddedTokens,
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
    /// Hex BLAKE3 digest of tokenizer.json.
    pub(crate) digest: String,
}

/// From a piece to its ids.
#[derive(Debug, Clone)]
pub(crate) enum Model {
    Merges(Merges),
    WordPiece(WordPiece),
    Unigram(Unigram),
}

/// The space before the first word of a decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// It is kept.
    Verbatim,
    /// The first token begins with one, which its text lacks.
    WithoutSpace,
}

impl Tokenizer {
    /// Encodes text in which special tokens are recognised, as Hugging Face's `encode` does without
    /// `add_special_tokens`. For untrusted text use [`Tokenizer::encode_ordinary`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encoder().encode(text, &mut ids);
        ids
    }

    /// Encodes text as plain text: a special-token string in it becomes ordinary tokens.
    pub fn encode_ordinary(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encoder().encode_ordinary(text, &mut ids);
        ids
    }

    /// An encoder for many texts, which caches pieces.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tokenizer: self, cache: Cache::default(), scratch: Scratch::default(), new_ids: Vec::new() }
    }

    /// The text of these ids, including special tokens; bytes that are not valid UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// The bytes of these ids. Ids outside the vocabulary are ignored.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            bytes.extend_from_slice(self.token_bytes(*id));
        }
        if self.start == Start::WithoutSpace && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        bytes
    }

    /// Whether these ids decode to `bytes`.
    pub fn decodes_to(&self, ids: &[u32], bytes: &[u8]) -> bool {
        if self.start != Start::Verbatim {
            return self.decode_bytes(ids) == bytes;
        }
        let rest = ids.iter().try_fold(bytes, |rest, id| rest.strip_prefix(self.token_bytes(*id)));
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// Whether each text decodes to itself, as the normalizer leaves it: so it is for byte-level models, for others only
    /// without what they cannot tell apart.
    pub fn is_exact(&self) -> bool {
        matches!(&self.model, Model::Merges(merges) if merges.is_of_bytes())
    }

    /// The token for what has none.
    pub fn unknown(&self) -> Option<u32> {
        match &self.model {
            Model::Merges(merges) => merges.unknown(),
            Model::WordPiece(model) => Some(model.unknown()),
            Model::Unigram(model) => model.unknown(),
        }
    }

    /// The text that the ids of [`Tokenizer::encode_ordinary`] decode to: `text` itself, unless the normalizer
    /// changes it.
    pub fn normalized<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.added.keeps_text() {
            return text.into();
        }
        let mut normalized = Vec::with_capacity(text.len());
        self.added.split(text, Specials::Ordinary, &mut |part| match part {
            Part::Text(text) => normalized.extend_from_slice(text.as_bytes()),
            Part::Added(id) => normalized.extend_from_slice(self.token_bytes(id)),
        });
        match normalized == text.as_bytes() {
            true => text.into(),
            false => String::from_utf8_lossy(&normalized).into_owned().into(),
        }
    }

    /// The bytes of one token.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], |bytes| bytes)
    }

    /// The largest id plus one, including special tokens.
    pub fn vocabulary_size(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// The id of a token by its name in tokenizer.json: `<|endoftext|>`, `Ġthe`.
    pub fn token_id(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The token that ends a document.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that pads batches.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Hex BLAKE3 digest of tokenizer.json, which identifies the tokenizer in token shards.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Encodes texts one after the other.
///
/// Its memory is bounded (a few MiB); results do not depend on earlier texts.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    cache: Cache,
    scratch: Scratch,
    new_ids: Vec<u32>,
}

impl Encoder<'_> {
    /// Appends the ids of `text`; see [`Tokenizer::encode`].
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) {
        self.split(text, Specials::Parsed, ids);
    }

    /// Appends the ids of `text`; see [`Tokenizer::encode_ordinary`].
    pub fn encode_ordinary(&mut self, text: &str, ids: &mut Vec<u32>) {
        self.split(text, Specials::Ordinary, ids);
    }

    fn split(&mut self, text: &str, specials: Specials, ids: &mut Vec<u32>) {
        let tokenizer = self.tokenizer;
        let first = ids.len();
        tokenizer.added.split(text, specials, &mut |part| match part {
            Part::Added(id) => ids.push(id),
            Part::Text(text) => {
                let is_first = ids.len() == first;
                self.encode_text(text, is_first, ids);
            }
        });
    }

    fn encode_text(&mut self, text: &str, is_first: bool, ids: &mut Vec<u32>) {
        let splitter = self.tokenizer.splitter;
        let mut output = Output::new(ids);
        let Splitter { numbers: Numbers::Within, pieces: Pieces::Pattern(pattern) } = splitter else {
            splitter.split(text, is_first, &mut |piece| {
                self.encode_piece(piece.as_bytes(), 0, piece.len(), &mut output);
            });
            return output.finish();
        };
        let mut pieces = pattern.pieces(text);
        while let Some((start, end)) = pieces.next_range() {
            self.encode_piece(text.as_bytes(), start, end, &mut output);
        }
        output.finish();
    }

    /// Appends the ids of a piece of a text.
    #[inline(always)]
    fn encode_piece(&mut self, text: &[u8], start: usize, end: usize, output: &mut Output<'_>) {
        if end - start > Key::BYTES_MAX {
            return self.encode_long(&text[start..end], output);
        }
        let key = Key::new(text, start, end);
        match self.cache.get(key) {
            Some(Known::Few(ids, length)) => output.push(ids, length),
            Some(Known::Many(ids)) => output.extend(ids),
            None => self.encode_new(key, &text[start..end], output),
        }
    }

    #[inline(never)]
    fn encode_new(&mut self, key: Key, piece: &[u8], output: &mut Output<'_>) {
        self.new_ids.clear();
        self.tokenizer.model.encode(piece, &mut self.scratch, &mut self.new_ids);
        self.cache.insert(key, &self.new_ids);
        output.extend(&self.new_ids);
    }

    #[inline(never)]
    fn encode_long(&mut self, piece: &[u8], output: &mut Output<'_>) {
        if let Some(known) = self.cache.get_long(piece) {
            return output.extend(known);
        }
        self.new_ids.clear();
        self.tokenizer.model.encode(piece, &mut self.scratch, &mut self.new_ids);
        self.cache.insert_long(piece, &self.new_ids);
        output.extend(&self.new_ids);
    }
}

/// Ids that are appended to a list. Behind them the list has room for the next ones, so that a few are stored at once, without
/// regard to how many count.
struct Output<'a> {
    ids: &'a mut Vec<u32>,
    length: usize,
}

impl<'a> Output<'a> {
    fn new(ids: &'a mut Vec<u32>) -> Self {
        Self { length: ids.len(), ids }
    }

    /// Appends the first `length` of these.
    #[inline(always)]
    fn push(&mut self, ids: [u32; 4], length: usize) {
        if self.ids.len() < self.length + ids.len() {
            self.grow(ids.len());
        }
        self.ids[self.length..self.length + ids.len()].copy_from_slice(&ids);
        self.length += length;
    }

    fn extend(&mut self, ids: &[u32]) {
        if self.ids.len() < self.length + ids.len() {
            self.grow(ids.len());
        }
        self.ids[self.length..self.length + ids.len()].copy_from_slice(ids);
        self.length += ids.len();
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        self.ids.resize(self.length * 2 + more + 64, 0);
    }

    fn finish(self) {
        self.ids.truncate(self.length);
    }
}

impl Model {
    /// Appends the ids of a piece, which is UTF-8.
    fn encode(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        match self {
            Self::Merges(model) => model.encode(piece, scratch, ids),
            Self::WordPiece(model) => model.encode(piece, ids),
            Self::Unigram(model) => model.encode(piece, ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::{Training, train};
    use crate::tokenizer::json::TrainedTokenizer;
    use crate::tokenizer::pattern::Pattern;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    fn train_on(text: &str, pattern: Pattern, vocabulary_size: usize) -> (Tokenizer, tokenizers::Tokenizer) {
        let mut counts = BTreeMap::<&[u8], u64>::new();
        pattern.pieces(text).for_each(|piece| *counts.entry(piece.as_bytes()).or_default() += 1);
        let special_tokens = ["<|endoftext|>".to_owned(), "<|pad|>".to_owned(), "<|end|>".to_owned()];
        let training = Training { vocabulary_size, frequency_min: 0, special_tokens: &special_tokens };
        let vocabulary = train(counts, training, |_| true);
        let json = TrainedTokenizer { pattern, vocabulary: &vocabulary }.to_json();
        (Tokenizer::from_json(&json).unwrap(), tokenizers::Tokenizer::from_bytes(&json).unwrap())
    }

    const CORPUS: &str = concat!(
        include_str!("encode.rs"),
        include_str!("pattern.rs"),
        "Das größte Übel; données à vélo; 数据和模型,数据集在模型里。これはテキストです。",
        "данные и модели; 한국어 텍스트; بيانات ونماذج; 🚀👩‍👩‍👧‍👦🏳️‍🌈🚀👩‍👩‍👧",
    );

    static BOTH: LazyLock<Vec<(Tokenizer, tokenizers::Tokenizer)>> =
        LazyLock::new(|| Pattern::ALL.map(|pattern| train_on(CORPUS, pattern, 1500)).into());

    fn assert_encodes_alike(text: &str) {
        for (ours, oracle) in BOTH.iter() {
            let ids = ours.encode(text);
            assert_eq!(ids, oracle.encode(text, false).unwrap().get_ids(), "{:?}: {text:?}", ours.splitter);
            assert_eq!(ours.decode(&ids), text);
            let mut ordinary_oracle = oracle.clone();
            ordinary_oracle.set_encode_special_tokens(true);
            let ordinary = ours.encode_ordinary(text);
            assert_eq!(ordinary, ordinary_oracle.encode(text, false).unwrap().get_ids());
            assert_eq!(ours.decode_bytes(&ordinary), text.as_bytes());
        }
    }

    const PARTS: &[&str] = &[
        "the",
        " model",
        "    ",
        "\n\n",
        "\r\n",
        "\t",
        "数据",
        "モデル",
        "größte",
        "ſ",
        "'ve",
        "'S",
        "12345",
        "==",
        "<|endoftext|>",
        "<|end",
        "<|pad|>",
        "<|",
        "|>",
        "🚀",
        "👩‍👩‍👧‍👦",
        "e\u{301}",
        "\u{0}",
        "\u{7f}",
        "\u{a0}",
        "\u{2028}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn ids_equal_the_oracle_s(parts in prop::collection::vec(prop::sample::select(PARTS), 0..30)) {
            assert_encodes_alike(&parts.concat());
        }

        #[test]
        fn ids_of_any_text_equal_the_oracle_s(text: String) {
            assert_encodes_alike(&text);
        }

    }

    #[test]
    fn every_character_equals_the_oracle_s() {
        for codes in (0..0x11_0000_u32).collect::<Vec<_>>().chunks(20_000) {
            assert_encodes_alike(&codes.iter().filter_map(|&code| char::from_u32(code)).collect::<String>());
        }
    }

    #[test]
    fn documents_cannot_smuggle_special_tokens_in() {
        let (tokenizer, _) = &BOTH[1];
        let eos = tokenizer.eos().unwrap();
        assert_eq!(tokenizer.encode("<|endoftext|>"), [eos]);
        assert!(!tokenizer.encode_ordinary("a<|endoftext|>b").contains(&eos));
    }

    #[test]
    fn what_was_encoded_before_does_not_matter() {
        let (tokenizer, _) = &BOTH[1];
        let mut warm = tokenizer.encoder();
        for line in CORPUS.lines().cycle().take(5000) {
            let mut ids = Vec::new();
            warm.encode_ordinary(line, &mut ids);
            assert_eq!(ids, tokenizer.encode_ordinary(line));
        }
    }

    #[test]
    fn a_million_letters_encode_in_a_moment() {
        let (tokenizer, _) = &BOTH[1];
        let text = "abcdefgh".repeat(1 << 17);
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }

    #[test]
    fn ids_outside_the_vocabulary_stand_for_nothing() {
        let (tokenizer, _) = &BOTH[1];
        assert_eq!(tokenizer.decode(&[u32::MAX, tokenizer.vocabulary_size()]), "");
    }
}
