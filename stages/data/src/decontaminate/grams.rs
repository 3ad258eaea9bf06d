//! Sequences of words of examples, and where they occur in texts. Nothing here depends on documents or stages.
//!
//! ```text
//! grams           all numbers little-endian; of one shard of examples
//! ├── examples    count u32, then a hash of the words of each: u64
//! └── grams       hash u64, example u32, words u32
//!
//! index           of all sets
//! ├── widths      count u32, then each: u32
//! └── grams       hash u64, example u32 (numbered over all sets), set u32; ascending
//! ```

use crate::dedup::minhash::{hash_of_units, hashed_units};
use pipe_stage::{Error, Result, RoaringBitmap};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

/// A sequence of words of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gram {
    hash: u64,
    example: u32,
    /// Number of words.
    width: u32,
}

/// The sequences of an example: all of `ngram` words, or the whole if it has fewer, but at least `words_min`; and a hash
/// of all its words.
pub(super) fn grams_of(text: &str, ngram: usize, words_min: usize, example: u32) -> (Vec<Gram>, u64) {
    let units: Vec<u64> = hashed_units(text).map(|(hash, _)| hash).collect();
    let all = hash_of_units(&units);
    let width = units.len().min(ngram);
    if width < words_min.min(ngram) {
        return (Vec::new(), all);
    }
    let gram = |units: &[u64]| Gram { hash: hash_of_units(units), example, width: width as u32 };
    let mut grams: Vec<Gram> = units.windows(width).map(gram).collect();
    grams.sort_unstable();
    grams.dedup();
    (grams, all)
}

pub(super) fn write(mut file: impl Write, examples: &[u64], grams: &[Gram]) -> io::Result<()> {
    file.write_all(&(examples.len() as u32).to_le_bytes())?;
    for example in examples {
        file.write_all(&example.to_le_bytes())?;
    }
    for gram in grams {
        file.write_all(&gram.hash.to_le_bytes())?;
        file.write_all(&gram.example.to_le_bytes())?;
        file.write_all(&gram.width.to_le_bytes())?;
    }
    Ok(())
}

/// The examples, each as a hash of its words, and their sequences.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<u64>, Vec<Gram>)> {
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let examples = (u32::from_le_bytes(*count) as usize).checked_mul(8);
    let (examples, grams) = examples.and_then(|bytes| rest.split_at_checked(bytes)).ok_or_else(damaged)?;
    let examples = examples.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let (grams, rest) = grams.as_chunks::<16>();
    let gram = |bytes: &[u8; 16]| {
        let (hash, example, width) = numbers(bytes);
        Gram { hash, example, width }
    };
    if rest.is_empty() { Ok((examples, grams.iter().map(gram).collect())) } else { Err(damaged()) }
}

fn numbers(bytes: &[u8; 16]) -> (u64, u32, u32) {
    let number = u128::from_le_bytes(*bytes);
    (number as u64, (number >> 64) as u32, (number >> 96) as u32)
}

fn damaged() -> Error {
    let error = io::Error::new(io::ErrorKind::InvalidData, "is damaged");
    Error::io("read", std::path::Path::new("sequences of words"), &error)
}

/// The sequences of all sets.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Their numbers of words, ascending.
    widths: BTreeSet<u32>,
    /// Hash, example and set; by hash, then by set.
    grams: Vec<(u64, u32, u32)>,
    /// A hash of the words of each example, while the index is made.
    examples: Vec<u64>,
    filter: Filter,
}

/// A bit for the first bits of each hash: nearly all sequences of a text are found to be absent by reading one word of
/// memory.
#[derive(Debug, Default)]
struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    fn of(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        const WORDS_MAX: usize = 1 << 26;
        let words = (hashes.len() / 4).next_power_of_two().min(WORDS_MAX);
        let mut filter = Self { bits: vec![0; words] };
        for hash in hashes {
            let (word, bit) = filter.place(hash);
            filter.bits[word] |= bit;
        }
        filter
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        ((hash >> 6) as usize & (self.bits.len() - 1), 1 << (hash & 63))
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits[word] & bit != 0
    }
}

/// What a text and a set have in common.
#[derive(Debug)]
pub(super) struct Found {
    /// Hashes of the sequences.
    pub(super) grams: BTreeSet<u64>,
    /// Examples that contain one of them, numbered over all sets.
    pub(super) examples: RoaringBitmap,
    /// Where the first one is in the text, in bytes.
    pub(super) place: Range<usize>,
}

impl Index {
    /// Adds the examples of a shard of a set.
    pub(super) fn extend(&mut self, set: u32, examples: &[u64], grams: &[Gram]) -> Result<()> {
        let too_many = |_| Error::input("the evaluation sets have over four billion examples");
        let first = u32::try_from(self.examples.len()).map_err(too_many)?;
        for gram in grams {
            self.widths.insert(gram.width);
            let example =
                first.checked_add(gram.example).filter(|_| (gram.example as usize) < examples.len());
            self.grams.push((gram.hash, example.ok_or_else(damaged)?, set));
        }
        self.examples.extend(examples);
        Ok(())
    }

    /// Ends the collection. Sequences of more than `examples_max` different examples of a set are left out; returns their
    /// number.
    pub(super) fn seal(&mut self, examples_max: u32) -> u64 {
        self.grams.sort_unstable_by_key(|&(hash, example, set)| (hash, set, example));
        self.grams.dedup();
        let mut templates = 0;
        let mut kept = Vec::with_capacity(self.grams.len());
        let mut different = BTreeSet::new();
        for same in self.grams.chunk_by(|a, b| (a.0, a.2) == (b.0, b.2)) {
            different.clear();
            // An example that is listed twice is one.
            different.extend(same.iter().map(|(_, example, _)| self.examples[*example as usize]));
            if different.len() > examples_max as usize {
                templates += 1;
            } else {
                kept.extend_from_slice(same);
            }
        }
        self.grams = kept;
        templates
    }

    /// The examples that are looked for, by number.
    pub(super) fn looked_for(&self) -> RoaringBitmap {
        self.grams.iter().map(|(_, example, _)| *example).collect()
    }

    pub(super) fn write(&self, mut file: impl Write) -> io::Result<()> {
        file.write_all(&(self.widths.len() as u32).to_le_bytes())?;
        for width in &self.widths {
            file.write_all(&width.to_le_bytes())?;
        }
        for (hash, example, set) in &self.grams {
            file.write_all(&hash.to_le_bytes())?;
            file.write_all(&example.to_le_bytes())?;
            file.write_all(&set.to_le_bytes())?;
        }
        Ok(())
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let widths = (u32::from_le_bytes(*count) as usize).checked_mul(4);
        let (widths, grams) = widths.and_then(|bytes| rest.split_at_checked(bytes)).ok_or_else(damaged)?;
        let widths = widths.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let grams: Vec<_> = grams.as_chunks::<16>().0.iter().map(numbers).collect();
        let filter = Filter::of(grams.iter().map(|gram| gram.0));
        Ok(Self { widths, grams, examples: Vec::new(), filter })
    }

    /// What a text has in common with each set. Time is proportional to the text and to the sequences in common.
    pub(super) fn matches(&self, text: &str) -> BTreeMap<u32, Found> {
        let mut found: BTreeMap<u32, Found> = BTreeMap::new();
        if self.grams.is_empty() {
            return found;
        }
        // A sequence that a text repeats is looked up once.
        let mut seen = BTreeSet::new();
        let (hashes, places): (Vec<u64>, Vec<Range<usize>>) = hashed_units(text).unzip();
        for width in &self.widths {
            for (window, places) in hashes.windows(*width as usize).zip(places.windows(*width as usize)) {
                let hash = hash_of_units(window);
                if !self.filter.may_have(hash) || !seen.insert(hash) {
                    continue;
                }
                let first = self.grams.partition_point(|gram| gram.0 < hash);
                let same = self.grams[first..].iter().take_while(|gram| gram.0 == hash);
                for &(_, example, set) in same {
                    let place = places[0].start..places[places.len() - 1].end;
                    let of_set = found.entry(set).or_insert_with(|| Found {
                        grams: BTreeSet::new(),
                        examples: RoaringBitmap::new(),
                        place: place.clone(),
                    });
                    if place.start < of_set.place.start {
                        of_set.place = place;
                    }
                    of_set.grams.insert(hash);
                    of_set.examples.insert(example);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(examples: &[&str], examples_max: u32) -> (Index, u64) {
        let mut index = Index::default();
        for text in examples {
            let (grams, words) = grams_of(text, 4, 2, 0);
            let mut bytes = Vec::new();
            write(&mut bytes, &[words], &grams).unwrap();
            let (examples, grams) = read(&bytes).unwrap();
            index.extend(0, &examples, &grams).unwrap();
        }
        let templates = index.seal(examples_max);
        let mut bytes = Vec::new();
        index.write(&mut bytes).unwrap();
        (Index::read(&bytes).unwrap(), templates)
    }

    fn matched(index: &Index, text: &str) -> Vec<u32> {
        index.matches(text).into_values().flat_map(|found| found.examples).collect()
    }

    #[test]
    fn sequences_and_short_examples_are_found_where_they_are() {
        let (index, _) = index(&["one two three four five", "six seven", "eight", "你好世界再见"], 10);
        let found = index.matches("It is TWO (three) four, five.");
        assert_eq!((found[&0].place.clone(), found[&0].grams.len()), (6..28, 1));
        assert_eq!(matched(&index, "one two three five"), [0; 0]);
        assert_eq!(matched(&index, "five six seven eight"), [1]);
        assert_eq!(matched(&index, "eight"), [0; 0], "one word is too short to be looked for");
        assert_eq!(matched(&index, "我说世界再见了"), [3]);
        assert_eq!(matched(&Index::read(&[0; 4]).unwrap(), "one two three four"), [0; 0]);
    }

    #[test]
    fn templates_are_left_out() {
        let examples: Vec<String> = (0..5).map(|n| format!("which of these is right {n} a b {n}")).collect();
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        let (of_questions, templates) = index(&examples, 4);
        assert_eq!(templates, 2);
        assert_eq!(matched(&of_questions, "which of these is right"), [0; 0]);
        assert_eq!(matched(&of_questions, "is right 3 a"), [3]);
        // Copies of one example make no template.
        let (of_copies, templates) = index(&["one two three four"; 9], 4);
        assert_eq!((templates, matched(&of_copies, "one two three four").len()), (0, 9));
    }

    #[test]
    fn a_repeated_sequence_is_looked_up_once() {
        let examples: Vec<String> = (0..2000).map(|n| format!("a b c d e{n}")).collect();
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        let (index, _) = index(&examples, 5000);
        // Would be four hundred million lookups.
        assert_eq!(matched(&index, &"a b c d ".repeat(200_000)).len(), 2000);
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
            if let Ok(index) = Index::read(&bytes) {
                index.matches("one two three four");
            }
        }

        #[test]
        fn whatever_two_texts_have_in_common_is_found(a in "[a-c ]{0,40}", b in "[a-c ]{0,40}") {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let (x, y) = (words(&a), words(&b));
            let width = x.len().min(4);
            let expected = width >= 2 && x.windows(width).any(|gram| y.windows(width).any(|other| other == gram));
            let (index, _) = index(&[&a], 10);
            prop_assert_eq!(!index.matches(&b).is_empty(), expected);
        }
    }
}
