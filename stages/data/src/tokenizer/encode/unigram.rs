//! Unigram: of all ways to divide a piece into tokens, the one with the highest sum of scores (Kudo 2018, as in SentencePiece).
//! Nothing here depends on text, boundaries of pieces, or files.

use rustc_hash::FxHashMap;

use crate::tokenizer::bpe::byte_token;

/// How much less than the rarest token a character without one counts.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Tokens and their scores.
#[derive(Debug, Clone)]
pub(crate) struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    unknown: Option<u32>,
    score_unknown: f64,
    /// Tokens of the bytes of what has none.
    bytes: Option<Box<[u32; 256]>>,
}

/// The best way to a position.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    start: usize,
    /// None if nothing ends here.
    id: Option<u32>,
    is_unknown: bool,
}

impl Unigram {
    /// A model of tokens and scores by id. If a token occurs twice, it has the last id.
    pub(crate) fn new(tokens: &[(String, f64)], unknown: Option<u32>, byte_fallback: bool) -> Self {
        let mut trie = Trie::default();
        (0..).zip(tokens).for_each(|(id, (token, _))| trie.insert(token.as_bytes(), id));
        let score_min = tokens.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
        let bytes: Option<Vec<u32>> = (0..=255).map(|byte| trie.find(byte_token(byte).as_bytes())).collect();
        Self {
            trie,
            scores: tokens.iter().map(|(_, score)| *score).collect(),
            unknown,
            score_unknown: score_min - UNKNOWN_PENALTY,
            bytes: bytes.filter(|_| byte_fallback).and_then(|bytes| Some(Box::new(bytes.try_into().ok()?))),
        }
    }

    /// The unknown token, unless bytes take its place.
    pub(super) fn unknown(&self) -> Option<u32> {
        self.unknown.filter(|_| self.bytes.is_none())
    }

    /// Appends the ids of a piece. Neighbours without tokens are one unknown token.
    pub(super) fn encode(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let none = Best { score: 0.0, start: 0, id: None, is_unknown: false };
        let mut best = vec![none; piece.len() + 1];
        let mut start = 0;
        while start < piece.len() {
            let score_here = best[start].score;
            let character = piece[start + 1..].iter().position(|byte| byte & 0xc0 != 0x80);
            let length = character.map_or(piece.len() - start, |at| at + 1);
            let mut improve = |end: usize, score: f64, id: Option<u32>, is_unknown: bool| {
                let known = &mut best[end];
                if known.id.is_none() && !known.is_unknown || score > known.score {
                    *known = Best { score, start, id, is_unknown };
                }
            };
            let mut has_own = false;
            self.trie.prefixes(&piece[start..], |token_length, id| {
                improve(start + token_length, self.scores[id as usize] + score_here, Some(id), false);
                has_own |= token_length == length;
            });
            if !has_own {
                improve(start + length, self.score_unknown + score_here, self.unknown, true);
            }
            start += length;
        }
        let first = ids.len();
        let mut end = piece.len();
        while end > 0 {
            let Best { start, id, .. } = best[end];
            let is_unknown = |best: &Best| best.is_unknown || best.id.is_some() && best.id == self.unknown;
            if !is_unknown(&best[end]) {
                ids.extend(id);
                end = start;
                continue;
            }
            let last = end;
            while end > 0 && is_unknown(&best[end]) {
                end = best[end].start;
            }
            // What is unknown as single characters may be a token all the same.
            match (self.trie.find(&piece[end..last]), &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, Some(tokens)) => {
                    ids.extend(piece[end..last].iter().rev().map(|byte| tokens[*byte as usize]));
                }
                (None, None) => ids.extend(self.unknown),
            }
        }
        ids[first..].reverse();
    }
}

/// Tokens by their bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    /// Node and byte to the next node; the root is 0.
    next: FxHashMap<u64, u32>,
    /// The token that ends at each node after the root.
    ends: Vec<Option<u32>>,
}

impl Trie {
    pub(crate) fn insert(&mut self, token: &[u8], id: u32) {
        let mut node = 0;
        for byte in token {
            let new = self.ends.len() as u32 + 1;
            node = *self.next.entry(Self::edge(node, *byte)).or_insert(new);
            if node == new {
                self.ends.push(None);
            }
        }
        if let Some(end) = self.ends.get_mut((node as usize).wrapping_sub(1)) {
            *end = Some(id);
        }
    }

    fn edge(node: u32, byte: u8) -> u64 {
        u64::from(node) << 8 | u64::from(byte)
    }

    /// Yields the length and id of each token that `bytes` begins with, the shortest first.
    pub(crate) fn prefixes(&self, bytes: &[u8], mut take: impl FnMut(usize, u32)) {
        let mut node = 0;
        for (length, byte) in (1..).zip(bytes) {
            let Some(next) = self.next.get(&Self::edge(node, *byte)) else { return };
            node = *next;
            if let Some(id) = self.ends[node as usize - 1] {
                take(length, id);
            }
        }
    }

    fn find(&self, token: &[u8]) -> Option<u32> {
        let mut node = 0;
        for byte in token {
            node = *self.next.get(&Self::edge(node, *byte))?;
        }
        self.ends.get((node as usize).wrapping_sub(1)).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::Model;

    fn assert_alike(tokens: &[(String, f64)], byte_fallback: bool, text: &str) {
        let oracle =
            tokenizers::models::unigram::Unigram::from(tokens.to_vec(), Some(0), byte_fallback).unwrap();
        let expected: Vec<u32> = oracle.tokenize(text).unwrap().into_iter().map(|token| token.id).collect();
        let mut ids = Vec::new();
        Unigram::new(tokens, Some(0), byte_fallback).encode(text.as_bytes(), &mut ids);
        assert_eq!(ids, expected, "{text:?} by {tokens:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn ids_are_those_of_hugging_face(
            tokens in prop::collection::btree_map("[abé数]{1,4}", -9_i32..0, 1..12),
            text in "[abcé数世<unk>]{0,30}",
            byte_fallback: bool,
        ) {
            let bytes = (0..=255).map(|byte| (byte_token(byte), -100.0));
            let tokens: Vec<(String, f64)> = [("<unk>".to_owned(), 0.0)]
                .into_iter()
                .chain(tokens.into_iter().map(|(token, score)| (token, f64::from(score))))
                .chain(bytes.filter(|_| byte_fallback))
                .collect();
            assert_alike(&tokens, byte_fallback, &text);
        }
    }

    #[test]
    fn unknown_characters_may_form_a_token() {
        let tokens = [("<unk>".to_owned(), 0.0), ("a".to_owned(), -1.0), ("☃☃".to_owned(), -90.0)];
        for text in ["a☃☃a☃", "☃", "<unk>☃a", "<unk>"] {
            assert_alike(&tokens, false, text);
        }
    }
}
