//! Texts as lists of rows of the input matrix: words, n-grams of words, and n-grams of characters, hashed as fastText
//! hashes them (`src/dictionary.cc`, version 0.9.2). Nothing here knows weights.
//!
//! ```text
//! rows of the input matrix
//! ├── words       one for each word of the dictionary, the most frequent first
//! └── buckets     n-grams of words and of characters, by their hash
//! ```
//!
//! Two deviations from fastText: all white space of fastText separates words, line breaks too, since a document has
//! many lines; and `</s>` within a text is not its end, so that no text can hide its rest.

use std::collections::HashMap;

/// What labels begin with in fastText's files.
pub const LABEL_PREFIX: &str = "__label__";
/// The word that fastText appends to each text.
const END: &[u8] = b"</s>";
/// Longer words are not put into a new dictionary; their n-grams are used nevertheless.
const WORD_BYTES_MAX: usize = 256;
/// Maximum number of different words while counting: about 1 GiB.
const WORDS_MAX: usize = 8 << 20;

/// Which n-grams are features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ngrams {
    /// Longest n-gram of words; 1 uses single words only.
    pub words: u32,
    /// Shortest n-gram of characters.
    pub characters_min: u32,
    /// Longest n-gram of characters; 0 uses none.
    pub characters_max: u32,
    /// Number of rows that n-grams share.
    pub buckets: u32,
}

/// The words and labels of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    pub(crate) ngrams: Ngrams,
    pub(crate) words: Vec<(Box<[u8]>, u64)>,
    pub(crate) labels: Vec<(Box<[u8]>, u64)>,
    pub(crate) tokens: u64,
    /// For pruned models: the rows of the buckets that are left.
    pub(crate) pruned: Option<HashMap<u32, u32>>,
    by_word: HashMap<Box<[u8]>, u32>,
    names: Vec<String>,
}

impl Dictionary {
    pub(crate) fn new(
        ngrams: Ngrams,
        words: Vec<(Box<[u8]>, u64)>,
        labels: Vec<(Box<[u8]>, u64)>,
        tokens: u64,
        pruned: Option<HashMap<u32, u32>>,
    ) -> Self {
        let by_word = (0..).zip(&words).map(|(row, (word, _))| (word.clone(), row)).collect();
        let name = |label: &[u8]| {
            let label = String::from_utf8_lossy(label);
            label.strip_prefix(LABEL_PREFIX).unwrap_or(&label).to_owned()
        };
        let names = labels.iter().map(|(label, _)| name(label)).collect();
        Self { ngrams, words, labels, tokens, pruned, by_word, names }
    }

    /// The names of the labels, without fastText's prefix.
    pub fn label_names(&self) -> &[String] {
        &self.names
    }

    /// Number of words.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// Which n-grams are features.
    pub fn ngrams(&self) -> Ngrams {
        self.ngrams
    }

    /// Number of rows that the input matrix must have at least.
    pub(crate) fn rows(&self) -> u64 {
        let buckets = match &self.pruned {
            Some(pruned) => pruned.values().max().map_or(0, |row| u64::from(*row) + 1),
            None => u64::from(self.ngrams.buckets),
        };
        self.words.len() as u64 + buckets
    }

    /// Collects the rows of a text into `rows`, in fastText's order. Returns the number of words.
    ///
    /// The number of rows is at most (`words` + `characters_max`) × the bytes of the text.
    pub(crate) fn rows_of(&self, text: &str, hashes: &mut Vec<i32>, rows: &mut Vec<u32>) -> usize {
        hashes.clear();
        rows.clear();
        for word in words(text) {
            match self.by_word.get(word) {
                Some(&row) => {
                    rows.push(row);
                    self.characters(word, rows);
                }
                None if word.starts_with(LABEL_PREFIX.as_bytes()) => continue,
                None => self.characters(word, rows),
            }
            hashes.push(hash(word) as i32);
        }
        let count = hashes.len();
        rows.extend(self.by_word.get(END));
        hashes.push(hash(END) as i32);
        self.word_ngrams(hashes, rows);
        count
    }

    /// Adds the n-grams of a word's characters, between marks of its beginning and end.
    fn characters(&self, word: &[u8], rows: &mut Vec<u32>) {
        let Ngrams { characters_min: min, characters_max: max, buckets, .. } = self.ngrams;
        if max == 0 || buckets == 0 {
            return;
        }
        let length = word.len() + 2;
        let at = |place: usize| match place {
            0 => b'<',
            place if place == length - 1 => b'>',
            place => word[place - 1],
        };
        let continues = |place: usize| place < length && at(place) & 0xC0 == 0x80;
        for start in (0..length).filter(|&start| !continues(start)) {
            let (mut end, mut hash) = (start, OFFSET);
            for n in 1..=max {
                if end == length {
                    break;
                }
                hash = step(hash, at(end));
                end += 1;
                while continues(end) {
                    hash = step(hash, at(end));
                    end += 1;
                }
                let is_mark = n == 1 && (start == 0 || end == length);
                if n >= min && !is_mark {
                    self.push_bucket(hash % buckets, rows);
                }
            }
        }
    }

    fn word_ngrams(&self, hashes: &[i32], rows: &mut Vec<u32>) {
        const FACTOR: u64 = 116_049_371;
        let Ngrams { words, buckets, .. } = self.ngrams;
        if words < 2 || buckets == 0 {
            return;
        }
        // fastText keeps hashes as signed numbers, and extends their sign.
        let wide = |hash: &i32| i64::from(*hash) as u64;
        for (start, first) in hashes.iter().enumerate() {
            let mut hash = wide(first);
            for next in hashes.iter().skip(start + 1).take(words as usize - 1) {
                hash = hash.wrapping_mul(FACTOR).wrapping_add(wide(next));
                self.push_bucket((hash % u64::from(buckets)) as u32, rows);
            }
        }
    }

    fn push_bucket(&self, bucket: u32, rows: &mut Vec<u32>) {
        let row = match &self.pruned {
            Some(pruned) => pruned.get(&bucket).copied(),
            None => Some(bucket),
        };
        rows.extend(row.map(|row| self.words.len() as u32 + row));
    }
}

/// The words of a text, without `</s>`.
fn words(text: &str) -> impl Iterator<Item = &[u8]> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0B | 0x0C | 0);
    text.as_bytes().split(is_space).filter(|word| !word.is_empty() && *word != END)
}

const OFFSET: u32 = 2_166_136_261;

/// A step of FNV-1a with fastText's sign extension of the byte.
fn step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte.cast_signed() as u32).wrapping_mul(16_777_619)
}

fn hash(word: &[u8]) -> u32 {
    word.iter().fold(OFFSET, |hash, byte| step(hash, *byte))
}

/// Counts the words of training texts.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    counts: HashMap<Box<[u8]>, u64>,
    texts: u64,
    tokens: u64,
    /// Words that occurred no more often than this were removed to save memory.
    removed_up_to: u64,
}

impl Vocabulary {
    /// Adds the words of a text. Returns their number.
    pub fn add(&mut self, text: &str) -> u64 {
        let mut count = 0;
        for word in words(text) {
            count += 1;
            if word.len() > WORD_BYTES_MAX || word.starts_with(LABEL_PREFIX.as_bytes()) {
                continue;
            }
            match self.counts.get_mut(word) {
                Some(seen) => *seen += 1,
                None => drop(self.counts.insert(word.into(), 1)),
            }
        }
        self.texts += 1;
        self.tokens += count + 1;
        while self.counts.len() > WORDS_MAX {
            self.removed_up_to += 1;
            let least = self.removed_up_to;
            self.counts.retain(|_, seen| *seen > least);
        }
        count
    }

    /// Number of texts.
    pub fn texts(&self) -> u64 {
        self.texts
    }

    /// Makes a dictionary of the words that occur at least `count_min` times, and of labels with their numbers of
    /// texts. Words are sorted by frequency, then by their bytes; labels by frequency, then by name.
    pub fn dictionary(self, ngrams: Ngrams, count_min: u64, labels: &[(String, u64)]) -> Dictionary {
        let kept = self.counts.into_iter().filter(|(_, seen)| *seen >= count_min);
        let mut words: Vec<_> = kept.chain([(END.into(), self.texts)]).collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut labels: Vec<(Box<[u8]>, u64)> = labels
            .iter()
            .map(|(label, count)| (format!("{LABEL_PREFIX}{label}").into_bytes().into(), *count))
            .collect();
        labels.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let unused = ngrams.words < 2 && ngrams.characters_max == 0;
        let ngrams = Ngrams { buckets: if unused { 0 } else { ngrams.buckets }, ..ngrams };
        Dictionary::new(ngrams, words, labels, self.tokens, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NGRAMS: Ngrams = Ngrams { words: 2, characters_min: 2, characters_max: 3, buckets: 1000 };

    fn rows(text: &str, ngrams: Ngrams) -> Vec<u32> {
        let mut vocabulary = Vocabulary::default();
        vocabulary.add("a b");
        let dictionary = vocabulary.dictionary(ngrams, 1, &[("x".into(), 1)]);
        let mut rows = Vec::new();
        dictionary.rows_of(text, &mut Vec::new(), &mut rows);
        rows
    }

    #[test]
    fn no_text_can_hide_its_rest() {
        assert_eq!(rows("a </s> b", NGRAMS), rows("a b", NGRAMS));
        assert_eq!(rows("a\nb", NGRAMS), rows("a b", NGRAMS));
        assert_ne!(rows("a b", NGRAMS), rows("a", NGRAMS));
    }

    #[test]
    fn n_grams_are_of_characters_and_not_of_bytes() {
        let only = Ngrams { words: 1, characters_min: 1, characters_max: 1, ..NGRAMS };
        // Four characters, and the end of the text.
        assert_eq!(rows("日本語x", only).len(), 5);
    }

    #[test]
    fn rows_grow_with_the_text() {
        let of = |length: usize| rows(&"x".repeat(length), NGRAMS).len();
        assert!(of(20_000) < 2 * of(10_000) + 10);
        let of = |length: usize| rows(&"x ".repeat(length), NGRAMS).len();
        assert!(of(20_000) < 2 * of(10_000) + 10);
    }

    #[test]
    fn words_are_sorted_by_frequency() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.add("b a c b");
        vocabulary.add("c b");
        let dictionary = vocabulary.dictionary(NGRAMS, 2, &[("x".into(), 1), ("y".into(), 2)]);
        let words: Vec<&[u8]> = dictionary.words.iter().map(|(word, _)| &**word).collect();
        assert_eq!(words, [&b"b"[..], b"</s>", b"c"]);
        assert_eq!(dictionary.label_names(), ["y", "x"]);
    }
}
