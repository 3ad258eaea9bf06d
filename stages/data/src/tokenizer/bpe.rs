//! Trains a BPE vocabulary from counted pieces, of bytes or of characters. Nothing here depends on text, patterns, files, or
//! Hugging Face's spelling of bytes.
//!
//! Sennrich et al. 2016, on bytes as in GPT-2: the most frequent pair of neighbours is merged, repeatedly. Vocabulary
//! and merges equal those of Hugging Face's `BpeTrainer` on the same counts, so its rule for ties is used (the higher
//! count first, then the smaller pair of ids). Counts have 64 bits; its 32-bit sums overflow silently on large
//! corpora (tokenizers#2058).

mod characters;
mod occurrences;
mod words;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;

use rustc_hash::{FxHashMap, FxHashSet};

pub(crate) use characters::{CONTINUATION, Characters, byte_token, train_characters};
use occurrences::{Builder, Occurrences};
use words::Words;

/// Input of a training.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// Number of tokens, including special tokens and the 256 bytes; fewer if no pair is left to merge.
    pub vocabulary_size: usize,
    /// Rarer pairs are never merged.
    pub frequency_min: u64,
    /// They get the first ids and are never the result of a merge.
    pub special_tokens: &'a [String],
}

/// A trained vocabulary: special tokens, the 256 bytes or the characters, then one token per merge that made a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Number of special tokens, which come first.
    pub special_tokens: usize,
    /// The bytes of each token, by id.
    pub tokens: Vec<Vec<u8>>,
    /// The pairs of ids to merge, by priority.
    pub merges: Vec<(u32, u32)>,
}

/// Trains on pieces and their counts; the result does not depend on their order.
///
/// Pieces must be distinct. `merged` receives the size of the vocabulary after each merge, and stops the training by
/// returning false.
pub fn train<P: AsRef<[u8]>>(
    pieces: impl IntoIterator<Item = (P, u64)>,
    training: Training<'_>,
    merged: impl FnMut(usize) -> bool,
) -> Vocabulary {
    let mut tokens: Vec<Vec<u8>> =
        training.special_tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
    let mut byte_ids = [0; 256];
    for byte in bytes_in_order() {
        byte_ids[byte as usize] = tokens.len() as u32;
        tokens.push(vec![byte]);
    }
    let symbols = |piece: &[u8], symbols: &mut Vec<u32>| {
        symbols.extend(piece.iter().map(|byte| byte_ids[*byte as usize]));
    };
    let words = Words::new(pieces, symbols);
    let reserved = training.special_tokens.len();
    merge_pairs(words, tokens, reserved, training, |left, right| [left, right].concat(), merged)
}

/// Merges the most frequent pairs. `tokens` are the special tokens and the alphabet; `join` makes the token of a pair. The first
/// `reserved` tokens are never the result of a merge.
fn merge_pairs(
    mut words: Words,
    mut tokens: Vec<Vec<u8>>,
    reserved: usize,
    training: Training<'_>,
    join: impl Fn(&[u8], &[u8]) -> Vec<u8>,
    mut merged: impl FnMut(usize) -> bool,
) -> Vocabulary {
    let mut ids: FxHashMap<Vec<u8>, u32> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
    let mut pairs = Pairs::count(&words, training.frequency_min);
    let mut merges = Vec::new();
    while tokens.len() < training.vocabulary_size {
        let Some(Candidate { pair, chunks, .. }) = pairs.pop() else { break };
        let token = join(&tokens[pair.0 as usize], &tokens[pair.1 as usize]);
        if ids.get(&token).is_some_and(|id| (*id as usize) < reserved) {
            continue;
        }
        let id = *ids.entry(token).or_insert_with_key(|token| {
            tokens.push(token.clone());
            (tokens.len() - 1) as u32
        });
        merges.push(pair);
        let chunks = match pairs.again.contains(&pair) {
            true => words.whole(chunks.iter()),
            false => chunks.iter().collect(),
        };
        for chunk in chunks {
            words.merge(chunk, pair, id, |chunk, pair, change| pairs.change(chunk, pair, change));
        }
        pairs.queue_new(&words);
        if !merged(tokens.len()) {
            break;
        }
    }
    Vocabulary { special_tokens: training.special_tokens.len(), tokens, merges: last_of_each(merges) }
}

/// The 256 bytes in the order of their ids: printable ones first, as Hugging Face sorts their spellings.
pub fn bytes_in_order() -> impl Iterator<Item = u8> {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    (0..=255).filter(prints).chain((0..=255).filter(move |byte| !prints(byte)))
}

/// Keeps only the last occurrence of each pair.
///
/// A pair occurs twice if a text can be merged in two ways, as runs of spaces can: later merges can create a pair
/// that was already merged. Hugging Face's models keep the last rank, and so does this code.
fn last_of_each(merges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let last: FxHashMap<(u32, u32), usize> = merges.iter().copied().zip(0..).collect();
    let kept = merges.into_iter().enumerate().filter(|(rank, pair)| last[pair] == *rank);
    kept.map(|(_, pair)| pair).collect()
}

type Pair = (u32, u32);

/// How often each pair of neighbours occurs, and a queue of the pairs to merge.
struct Pairs {
    frequency_min: i64,
    counts: FxHashMap<Pair, i64>,
    queue: BinaryHeap<Candidate>,
    /// Pairs that the current merge created, each with the chunks that contain it.
    new: FxHashMap<Pair, Builder>,
    /// Pairs that were created by several merges, since one text can be merged in two ways. Each of these merges
    /// queues the pair again, and as in Hugging Face's trainer a candidate merges whole pieces, even those that
    /// another candidate of its pair was queued for.
    again: FxHashSet<Pair>,
    /// Pairs in `new` that occurred before but were too rare to be queued.
    unlisted: FxHashSet<Pair>,
}

/// A pair, its count when it was queued, and the chunks that may contain it.
#[derive(PartialEq, Eq)]
struct Candidate {
    count: i64,
    pair: Pair,
    chunks: Occurrences,
}

impl Pairs {
    fn count(words: &Words, frequency_min: u64) -> Self {
        let mut pairs = Self {
            frequency_min: i64::try_from(frequency_min).unwrap_or(i64::MAX).max(1),
            counts: FxHashMap::default(),
            queue: BinaryHeap::new(),
            new: FxHashMap::default(),
            again: FxHashSet::default(),
            unlisted: FxHashSet::default(),
        };
        words.pairs(|chunk, pair, count| {
            let sum = pairs.counts.entry(pair).or_insert(0);
            *sum = sum.saturating_add(count);
            pairs
                .new
                .entry(pair)
                .and_modify(|chunks| chunks.push(chunk))
                .or_insert_with(|| Builder::new(chunk));
        });
        pairs.queue_new(words);
        pairs
    }

    fn change(&mut self, chunk: u32, pair: Pair, change: i64) {
        let known = match self.counts.entry(pair) {
            Entry::Occupied(mut count) => {
                let known = *count.get();
                *count.get_mut() = known.saturating_add(change);
                Some(known)
            }
            Entry::Vacant(place) => {
                place.insert(change);
                None
            }
        };
        if change > 0 {
            match self.new.entry(pair) {
                Entry::Occupied(mut chunks) => chunks.get_mut().push(chunk),
                Entry::Vacant(place) => {
                    place.insert(Builder::new(chunk));
                    if let Some(known) = known {
                        self.again.insert(pair);
                        if known < self.frequency_min {
                            self.unlisted.insert(pair);
                        }
                    }
                }
            }
        }
    }

    /// Queues the pairs that the last merge created, unless they are too rare to merge. Most pairs are; storing their
    /// positions would take most of the memory for a text with many characters.
    fn queue_new(&mut self, words: &Words) {
        let Self { frequency_min, counts, queue, new, unlisted, .. } = self;
        unlisted.retain(|pair| counts[pair] >= *frequency_min);
        if !unlisted.is_empty() {
            unlisted.iter().for_each(|pair| drop(new.remove(pair)));
            words.pairs(|chunk, pair, _| {
                if unlisted.contains(&pair) {
                    new.entry(pair)
                        .and_modify(|chunks| chunks.push(chunk))
                        .or_insert_with(|| Builder::new(chunk));
                }
            });
            unlisted.clear();
        }
        for (pair, chunks) in new.drain() {
            let count = counts[&pair];
            if count >= *frequency_min {
                queue.push(Candidate { count, pair, chunks: chunks.finish() });
            }
        }
    }

    /// The best pair that is frequent enough. A pair whose count has changed since it was queued goes back with its
    /// new count.
    fn pop(&mut self) -> Option<Candidate> {
        loop {
            let mut top = self.queue.pop()?;
            let count = self.counts[&top.pair];
            if count == top.count {
                return (count >= self.frequency_min).then_some(top);
            }
            if count < self.frequency_min {
                // If the pair occurs again, it is in `unlisted`.
                top.chunks.forget();
            }
            self.queue.push(Candidate { count, ..top });
        }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // The chunks are compared only to distinguish candidates of one pair, so that the order is total.
        (self.count.cmp(&other.count))
            .then_with(|| other.pair.cmp(&self.pair))
            .then_with(|| other.chunks.cmp(&self.chunks))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::pattern::Pattern;
    use crate::tokenizer::spelling::{spell, unspell};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tokenizers::models::bpe::{BPE, BpeTrainer};
    use tokenizers::{AddedToken, Trainer};

    type Pieces = BTreeMap<Vec<u8>, u64>;

    fn counted(text: &str) -> Pieces {
        let mut pieces = Pieces::new();
        for piece in Pattern::Llama3.pieces(text) {
            *pieces.entry(piece.as_bytes().to_vec()).or_default() += 1;
        }
        pieces
    }

    fn trained(pieces: &Pieces, vocabulary_size: usize, special_tokens: &[String]) -> Vocabulary {
        let training = Training { vocabulary_size, frequency_min: 0, special_tokens };
        train(pieces.iter().map(|(piece, count)| (piece.as_slice(), *count)), training, |_| true)
    }

    /// The vocabulary that Hugging Face's trainer makes from the same pieces.
    fn trained_by_oracle(pieces: &Pieces, vocabulary_size: usize, special_tokens: &[String]) -> Vocabulary {
        trained_by_oracle_from(0, pieces, vocabulary_size, special_tokens)
    }

    fn trained_by_oracle_from(
        frequency_min: u64,
        pieces: &Pieces,
        vocabulary_size: usize,
        special_tokens: &[String],
    ) -> Vocabulary {
        let mut trainer = BpeTrainer::builder()
            .min_frequency(frequency_min)
            .show_progress(false)
            .vocab_size(vocabulary_size)
            .special_tokens(
                special_tokens.iter().map(|token| AddedToken::from(token.as_str(), true)).collect(),
            )
            .initial_alphabet((0..=255).map(|byte| spell(&[byte]).chars().next().unwrap()).collect())
            .build();
        let spelled = pieces.iter().map(|(piece, count)| (spell(piece), *count));
        let sequences = spelled.flat_map(|(piece, count)| (0..count).map(move |_| piece.clone()));
        trainer.feed(sequences, |piece| Ok(vec![piece.to_owned()])).unwrap();
        let mut model = BPE::default();
        trainer.train(&mut model).unwrap();
        let json = serde_json::to_value(&model).unwrap();
        let vocabulary: BTreeMap<u64, Vec<u8>> = json["vocab"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(token, id)| {
                let special = special_tokens.contains(token);
                (
                    id.as_u64().unwrap(),
                    if special { token.clone().into_bytes() } else { unspell(token).unwrap() },
                )
            })
            .collect();
        let id = |token: &serde_json::Value| json["vocab"][token.as_str().unwrap()].as_u64().unwrap() as u32;
        Vocabulary {
            special_tokens: special_tokens.len(),
            tokens: vocabulary.into_values().collect(),
            merges: json["merges"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (id(&pair[0]), id(&pair[1])))
                .collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn merges_as_the_oracle_does(text in "[ab ]{0,80}|[a-e\n ]{0,300}|(the |then|he | {1,9}|==|é){0,80}") {
            let pieces = counted(&text);
            let special_tokens = ["<|endoftext|>".to_owned(), "<|pad|>".to_owned()];
            prop_assert_eq!(
                trained(&pieces, 300, &special_tokens),
                trained_by_oracle(&pieces, 300, &special_tokens)
            );
        }

        #[test]
        fn rare_pairs_that_become_frequent_merge_as_the_oracle_does(
            text in "[ab ]{0,80}|[a-c]{0,200}|(aab|aba|baa|ab|a| {1,9}|==|=){0,80}",
            frequency_min in 2_u64..6,
        ) {
            let pieces = counted(&text);
            let training = Training { vocabulary_size: 400, frequency_min, special_tokens: &[] };
            let ours = train(pieces.iter().map(|(piece, count)| (piece, *count)), training, |_| true);
            prop_assert_eq!(ours, trained_by_oracle_from(frequency_min, &pieces, 400, &[]));
        }

        #[test]
        fn the_order_of_pieces_does_not_matter(text in "[a-c ]{0,200}", seed: u64) {
            let pieces = counted(&text);
            let mut shuffled: Vec<_> = pieces.iter().map(|(piece, count)| (piece.as_slice(), *count)).collect();
            shuffled.sort_by_key(|(piece, _)| blake3::keyed_hash(blake3::hash(&seed.to_le_bytes()).as_bytes(), piece).to_hex());
            let training = Training { vocabulary_size: 300, frequency_min: 0, special_tokens: &[] };
            prop_assert_eq!(train(shuffled, training, |_| true), trained(&pieces, 300, &[]));
        }
    }

    /// Prose, code, runs of spaces and several scripts, so that pairs tie, overlap and occur twice.
    fn corpus() -> String {
        let mut text = String::new();
        for n in 0..3000_u32 {
            text += &format!(
                "fn item_{n}() -> u{} {{\n{}return {n};\n}}\n",
                n % 128,
                " ".repeat(n as usize % 40)
            );
            text += ["the quick brown fox ", "=====", "Größe ", "数据和模型", "данные ", "\t\t\tx\n"]
                [n as usize % 6];
        }
        text
    }

    #[test]
    fn merges_as_the_oracle_does_on_a_corpus() {
        let pieces = counted(&corpus());
        let special_tokens = ["<|endoftext|>".to_owned()];
        let vocabulary = trained(&pieces, 2000, &special_tokens);
        assert!(vocabulary.merges.len() > 1000, "{} merges", vocabulary.merges.len());
        assert_eq!(vocabulary, trained_by_oracle(&pieces, 2000, &special_tokens));
    }

    /// Pseudo-random letters from `alphabet`.
    fn letters(alphabet: &[u8], count: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            alphabet[(state >> 33) as usize % alphabet.len()]
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn long_pieces_merge_as_the_oracle_does() {
        let pieces: Pieces = (1..9).map(|seed| (letters(b"ACGT", 5000, seed), 1)).collect();
        let vocabulary = trained(&pieces, 1000, &[]);
        assert!(vocabulary.merges.len() > 700, "{} merges", vocabulary.merges.len());
        assert_eq!(vocabulary, trained_by_oracle(&pieces, 1000, &[]));
    }

    #[test]
    fn a_piece_of_many_letters_takes_as_long_as_words_of_these() {
        // If each merge read the whole piece, this would take minutes.
        let piece = letters(b"abcdefghijklmnopqrstuvwxyz", 500_000, 1);
        assert_eq!(trained(&Pieces::from([(piece, 1)]), 8000, &[]).tokens.len(), 8000);
    }

    #[test]
    fn counts_beyond_32_bits_do_not_overflow() {
        let pieces = Pieces::from([(b"ab".to_vec(), 3 << 32), (b"bc".to_vec(), 5)]);
        assert_eq!(trained(&pieces, 257, &[]).tokens[256], b"ab");
    }

    #[test]
    fn rare_pairs_are_left_apart() {
        let training = Training { vocabulary_size: 1000, frequency_min: 3, special_tokens: &[] };
        let pieces = [(b"ab".as_slice(), 3), (b"cd".as_slice(), 2)];
        assert_eq!(train(pieces, training, |_| true).tokens[256..], [b"ab"]);
    }
}
