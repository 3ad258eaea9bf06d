//! WordPiece: the longest token that a word begins with, then of the rest (Schuster and Nakajima 2012, as in BERT). Nothing
//! here depends on text, boundaries of words, or files.

use rustc_hash::FxHashMap;

/// Tokens of words, and of the continuations of words.
#[derive(Debug, Clone)]
pub(crate) struct WordPiece {
    first: FxHashMap<Box<[u8]>, u32>,
    /// Without their mark.
    continuing: FxHashMap<Box<[u8]>, u32>,
    unknown: u32,
    characters_max: usize,
    /// Bytes of the longest token.
    bytes_max: usize,
}

impl WordPiece {
    /// `prefix` marks continuations; words of more characters than `characters_max` are unknown.
    pub(crate) fn new<'a>(
        tokens: impl IntoIterator<Item = (&'a str, u32)>,
        prefix: &str,
        unknown: u32,
        characters_max: usize,
    ) -> Self {
        let (mut first, mut continuing, mut bytes_max) = (FxHashMap::default(), FxHashMap::default(), 0);
        for (token, id) in tokens {
            bytes_max = bytes_max.max(token.len());
            first.insert(token.as_bytes().into(), id);
            if let Some(rest) = token.strip_prefix(prefix) {
                continuing.insert(rest.as_bytes().into(), id);
            }
        }
        Self { first, continuing, unknown, characters_max, bytes_max }
    }

    pub(super) fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Appends the ids of a word: the unknown token if a part of it has none.
    pub(super) fn encode(&self, word: &[u8], ids: &mut Vec<u32>) {
        let begins = |at: usize| word.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
        let characters = (0..word.len()).filter(|at| begins(*at)).count();
        if characters > self.characters_max {
            return ids.push(self.unknown);
        }
        let (before, mut start) = (ids.len(), 0);
        while start < word.len() {
            let known = if start == 0 { &self.first } else { &self.continuing };
            let ends = (start + 1..=word.len().min(start + self.bytes_max)).rev().filter(|end| begins(*end));
            let found = ends.into_iter().find_map(|end| Some((end, *known.get(&word[start..end])?)));
            let Some((end, id)) = found else {
                ids.truncate(before);
                return ids.push(self.unknown);
            };
            ids.push(id);
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_tokens_are_taken_or_none() {
        let tokens =
            [("[UNK]", 0), ("un", 1), ("##aff", 2), ("##able", 3), ("a", 4), ("##数", 5), ("##a", 6)];
        let model = WordPiece::new(tokens, "##", 0, 7);
        let encode = |word: &str| {
            let mut ids = vec![9];
            model.encode(word.as_bytes(), &mut ids);
            ids.split_off(1)
        };
        assert_eq!(encode("unaff"), [1, 2]);
        assert_eq!(encode("una"), [1, 6]);
        assert_eq!(encode("a数数a"), [4, 5, 5, 6]);
        assert_eq!(encode("unable"), [1, 3]);
        assert_eq!(encode("unaffx"), [0]);
        assert_eq!(encode("unaaaaaa"), [0], "too long");
        assert_eq!(encode("##a"), [6]);
    }
}
