//! Owns the way from text to token ids and back: pieces, merges, a cache of pieces.
//! Knows nothing of files; [`crate::tokenizer::json`] reads and writes Hugging Face's.
//!
//! Ids equal those of Hugging Face's `tokenizers`, text for text. Any text can be encoded: each of the 256
//! bytes is a token, so there is no unknown token and decoding gives the very bytes back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rustc_hash::FxHashMap;

use crate::tokenizer::pattern::Pattern;

/// A byte-level BPE tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(crate) pattern: Pattern,
    pub(crate) merges: Merges,
    /// The bytes of each token; empty for an id that stands for none.
    pub(crate) tokens: Vec<Box<[u8]>>,
    /// Ids by the names in tokenizer.json: special tokens as they read, others as their bytes are spelled.
    pub(crate) names: FxHashMap<String, u32>,
    pub(crate) added: AddedTokens,
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
    /// Hex BLAKE3 digest of tokenizer.json.
    pub(crate) digest: String,
}

impl Tokenizer {
    /// Encodes text in which special tokens stand for themselves, as Hugging Face's `encode` does without
    /// `add_special_tokens`. For text that others wrote use [`Tokenizer::encode_ordinary`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encoder().encode(text, &mut ids);
        ids
    }

    /// Encodes text as text: a special token that it happens to spell becomes ordinary tokens.
    pub fn encode_ordinary(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encoder().encode_ordinary(text, &mut ids);
        ids
    }

    /// An encoder for many texts, which remembers the pieces that it has seen.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tokenizer: self, cache: Cache::default(), scratch: Scratch::default() }
    }

    /// The text of these ids, special tokens included; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// The bytes of these ids. An id outside the vocabulary stands for nothing.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            bytes.extend_from_slice(self.token_bytes(*id));
        }
        bytes
    }

    /// The bytes of one token.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], |bytes| bytes)
    }

    /// One more than the largest id, special tokens included.
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

    /// The token that fills up batches.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// How text is split before byte pairs merge.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// Hex BLAKE3 digest of tokenizer.json, which names the tokenizer in token shards.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Encodes one text after another with a tokenizer.
///
/// Its memory is bounded (a few MiB); results do not depend on what was encoded before.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    cache: Cache,
    scratch: Scratch,
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

    /// Takes added tokens out, first those that are matched before normalization, then the others.
    fn split(&mut self, text: &str, specials: Specials, ids: &mut Vec<u32>) {
        let tokenizer = self.tokenizer;
        tokenizer.added.verbatim.split(text, specials, &mut |part| match part {
            Part::Added(id) => ids.push(id),
            Part::Text(text) => tokenizer.added.normalized.split(text, specials, &mut |part| match part {
                Part::Added(id) => ids.push(id),
                Part::Text(text) => self.encode_text(text, ids),
            }),
        });
    }

    fn encode_text(&mut self, text: &str, ids: &mut Vec<u32>) {
        let mut pieces = self.tokenizer.pattern.pieces(text);
        while let Some((start, end)) = pieces.next_range() {
            if end - start <= Key::BYTES_MAX {
                let key = Key::new(text.as_bytes(), start, end);
                if let Some(known) = self.cache.get(&key) {
                    ids.extend_from_slice(known);
                    continue;
                }
                let first = ids.len();
                self.tokenizer.merges.encode(&text.as_bytes()[start..end], &mut self.scratch, ids);
                self.cache.insert(key, &ids[first..]);
            } else {
                self.encode_long(&text.as_bytes()[start..end], ids);
            }
        }
    }

    fn encode_long(&mut self, piece: &[u8], ids: &mut Vec<u32>) {
        if let Some(known) = self.cache.long.get(piece) {
            ids.extend_from_slice(known);
            return;
        }
        let first = ids.len();
        self.tokenizer.merges.encode(piece, &mut self.scratch, ids);
        self.cache.insert_long(piece, &ids[first..]);
    }
}

/// Whether special tokens in a text count as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Specials {
    Parsed,
    Ordinary,
}

/// Tokens that are taken out of the text before it is split into pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddedTokens {
    /// Matched in the text as it is.
    pub(crate) verbatim: AddedSet,
    /// Matched in what the others leave (where a normalizer would have run).
    pub(crate) normalized: AddedSet,
}

/// A set of added tokens, found leftmost first, the longest where several start.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddedSet {
    /// By first byte, longest first.
    tokens: BTreeMap<u8, Vec<AddedToken>>,
}

#[derive(Debug, Clone)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
    pub(crate) id: u32,
    pub(crate) special: bool,
}

enum Part<'a> {
    Text(&'a str),
    Added(u32),
}

impl AddedSet {
    pub(crate) fn new(tokens: impl IntoIterator<Item = AddedToken>) -> Self {
        let mut set = Self::default();
        for token in tokens {
            if let Some(first) = token.content.bytes().next() {
                set.tokens.entry(first).or_default().push(token);
            }
        }
        for tokens in set.tokens.values_mut() {
            tokens.sort_by(|a, b| b.content.len().cmp(&a.content.len()).then(a.content.cmp(&b.content)));
        }
        set
    }

    fn split<'a>(&self, text: &'a str, specials: Specials, take: &mut dyn FnMut(Part<'a>)) {
        let (mut at, mut taken) = (0, 0);
        while let Some((start, token)) = self.find(text, at) {
            at = start + token.content.len();
            // A special token that is not parsed stays text, and hides tokens that start within it.
            if token.special && specials == Specials::Ordinary {
                continue;
            }
            if taken < start {
                take(Part::Text(&text[taken..start]));
            }
            take(Part::Added(token.id));
            taken = at;
        }
        if taken < text.len() {
            take(Part::Text(&text[taken..]));
        }
    }

    fn find(&self, text: &str, from: usize) -> Option<(usize, &AddedToken)> {
        if self.tokens.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let match_at = |at: usize| {
            let tokens = self.tokens.get(&bytes[at])?;
            tokens.iter().find(|token| bytes[at..].starts_with(token.content.as_bytes()))
        };
        // Most tokenizers' added tokens start alike, with `<`.
        if self.tokens.len() == 1 {
            let first = *self.tokens.keys().next()?;
            let starts = memchr::memchr_iter(first, &bytes[from..]).map(|at| from + at);
            return starts.filter_map(|at| Some((at, match_at(at)?))).next();
        }
        (from..bytes.len()).find_map(|at| Some((at, match_at(at)?)))
    }
}

/// Which pairs of tokens merge, in which order, into what.
#[derive(Debug, Clone)]
pub(crate) struct Merges {
    byte_ids: [u32; 256],
    /// By pair (left id in the high half): rank in the high half, merged id in the low.
    merges: FxHashMap<u64, u64>,
    /// Where whole pieces are looked up before merging (`ignore_merges`): ids by bytes.
    whole: Option<FxHashMap<Box<[u8]>, u32>>,
}

/// Where no merge applies; larger than any rank.
const NONE: u64 = u64::MAX;

/// Below this many symbols a scan for the best pair is faster than a queue.
const SCANNED_MAX: usize = 48;

#[derive(Debug, Default)]
struct Scratch {
    symbols: Vec<u32>,
    ranks: Vec<u64>,
    links: Vec<(u32, u32)>,
    queue: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Merges {
    /// `pairs` are (left, right, merged), the strongest first.
    pub(crate) fn new(
        byte_ids: [u32; 256],
        pairs: impl IntoIterator<Item = (u32, u32, u32)>,
        whole: Option<FxHashMap<Box<[u8]>, u32>>,
    ) -> Self {
        let merges = (0..)
            .zip(pairs)
            .map(|(rank, (left, right, merged)): (u64, _)| {
                (pair(left, right), rank << 32 | u64::from(merged))
            })
            .collect();
        Self { byte_ids, merges, whole }
    }

    /// Appends the ids of one piece: its bytes, merged by the strongest pair, the leftmost of equals, until
    /// none is left.
    fn encode(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        if let Some(id) = self.whole.as_ref().and_then(|whole| whole.get(piece)) {
            return ids.push(*id);
        }
        scratch.symbols.clear();
        scratch.symbols.extend(piece.iter().map(|byte| self.byte_ids[*byte as usize]));
        let symbols = &scratch.symbols;
        scratch.ranks.clear();
        scratch.ranks.extend(symbols.windows(2).map(|symbols| self.merge(symbols[0], symbols[1])));
        if symbols.len() <= SCANNED_MAX { self.scan(scratch, ids) } else { self.drain(scratch, ids) }
    }

    /// Quadratic in the piece's length, and fast where that is small.
    fn scan(&self, Scratch { symbols, ranks, .. }: &mut Scratch, ids: &mut Vec<u32>) {
        while let Some((at, &best)) = ranks.iter().enumerate().min_by_key(|(_, rank)| **rank)
            && best != NONE
        {
            symbols[at] = best as u32;
            symbols.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.merge(symbols[at - 1], symbols[at]);
            }
            if let Some(&next) = symbols.get(at + 1) {
                ranks[at] = self.merge(symbols[at], next);
            }
        }
        ids.extend_from_slice(symbols);
    }

    /// Takes n log n time, so that a hostile line of a million letters does no harm.
    fn drain(&self, Scratch { symbols, ranks, links, queue }: &mut Scratch, ids: &mut Vec<u32>) {
        const END: u32 = u32::MAX;
        let length = symbols.len() as u32;
        links.clear();
        links.extend(
            (0..length)
                .map(|at| (at.checked_sub(1).unwrap_or(END), if at + 1 < length { at + 1 } else { END })),
        );
        ranks.push(NONE);
        queue.clear();
        queue.extend(
            (0..).zip(&*ranks).filter(|(_, rank)| **rank != NONE).map(|(at, rank)| Reverse((*rank, at))),
        );
        while let Some(Reverse((rank, at))) = queue.pop() {
            // Entries of pairs that are gone stay in the queue; `ranks` knows the pair that is there now.
            if ranks[at as usize] != rank {
                continue;
            }
            let (before, right) = links[at as usize];
            let after = links[right as usize].1;
            symbols[at as usize] = rank as u32;
            ranks[right as usize] = NONE;
            symbols[right as usize] = END;
            links[at as usize].1 = after;
            if after != END {
                links[after as usize].0 = at;
            }
            for (left, right) in [(before, at), (at, after)] {
                if left == END {
                    continue;
                }
                let rank = match right {
                    END => NONE,
                    right => self.merge(symbols[left as usize], symbols[right as usize]),
                };
                ranks[left as usize] = rank;
                if rank != NONE {
                    queue.push(Reverse((rank, left)));
                }
            }
        }
        ids.extend(symbols.iter().filter(|symbol| **symbol != END));
    }

    fn merge(&self, left: u32, right: u32) -> u64 {
        self.merges.get(&pair(left, right)).copied().unwrap_or(NONE)
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// A short piece: its bytes, zeros, and its length in the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(u128);

impl Key {
    const BYTES_MAX: usize = 15;

    #[inline(always)]
    fn new(text: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        let bytes = match text.get(start..start + 16) {
            Some(bytes) => u128::from_le_bytes(bytes.try_into().expect("invariant: 16 bytes")),
            None => {
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(&text[start..end]);
                u128::from_le_bytes(bytes)
            }
        };
        let mask = (1_u128 << (8 * length)) - 1;
        Self(bytes & mask | (length as u128) << 120)
    }

    #[inline(always)]
    fn slot(self) -> usize {
        let mixed = (self.0 as u64 ^ ((self.0 >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> (64 - Cache::SLOTS.trailing_zeros())) as usize
    }
}

/// The ids of pieces seen before. Which pieces it holds decides the speed and nothing else.
#[derive(Debug)]
struct Cache {
    short: Vec<Slot>,
    long: FxHashMap<Box<[u8]>, Box<[u32]>>,
}

/// A short piece and its ids.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Key,
    length: u32,
    ids: [u32; 7],
}

impl Default for Cache {
    fn default() -> Self {
        let empty = Slot { key: Key(0), length: 0, ids: [0; 7] };
        Self { short: vec![empty; Self::SLOTS], long: FxHashMap::default() }
    }
}

impl Cache {
    const SLOTS: usize = 1 << 15;
    const LONG_MAX: usize = 1 << 13;
    const LONG_BYTES_MAX: usize = 100;

    #[inline(always)]
    fn get(&self, key: &Key) -> Option<&[u32]> {
        let slot = &self.short[key.slot()];
        (slot.key == *key).then(|| &slot.ids[..slot.length as usize])
    }

    fn insert(&mut self, key: Key, ids: &[u32]) {
        let slot = &mut self.short[key.slot()];
        if ids.len() <= slot.ids.len() {
            slot.key = key;
            slot.length = ids.len() as u32;
            slot.ids[..ids.len()].copy_from_slice(ids);
        }
    }

    fn insert_long(&mut self, piece: &[u8], ids: &[u32]) {
        if piece.len() <= Self::LONG_BYTES_MAX {
            if self.long.len() >= Self::LONG_MAX {
                self.long.clear();
            }
            self.long.insert(piece.into(), ids.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::{Training, train};
    use crate::tokenizer::json::TrainedTokenizer;
    use proptest::prelude::*;
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
            assert_eq!(ids, oracle.encode(text, false).unwrap().get_ids(), "{:?}: {text:?}", ours.pattern);
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

        #[test]
        fn queue_and_scan_agree(piece in "[a-e \n=]{0,300}") {
            let merges = &BOTH[1].0.merges;
            let (mut scanned, mut drained) = (Vec::new(), Vec::new());
            let scratch = || {
                let mut scratch = Scratch::default();
                scratch.symbols = piece.bytes().map(|byte| merges.byte_ids[byte as usize]).collect();
                scratch.ranks = scratch.symbols.windows(2).map(|pair| merges.merge(pair[0], pair[1])).collect();
                scratch
            };
            merges.scan(&mut scratch(), &mut scanned);
            merges.drain(&mut scratch(), &mut drained);
            prop_assert_eq!(scanned, drained);
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
