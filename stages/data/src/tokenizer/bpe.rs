//! Owns the training of a byte-level BPE vocabulary from counted pieces.
//! Knows nothing of text, patterns, files or Hugging Face's spelling of bytes.
//!
//! Sennrich et al. 2016, on bytes as GPT-2: merge the most frequent pair of neighbours, again and again.
//! Vocabulary and merges equal those of Hugging Face's `BpeTrainer` on the same counts, so its tie rules are
//! kept (the higher count first, then the smaller pair of ids); counts are 64 bits here, where its 32-bit
//! sums overflow silently on large corpora (tokenizers#2058).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

/// What to train.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// Tokens wanted, special tokens and the 256 bytes included; fewer where no pair is left to merge.
    pub vocabulary_size: usize,
    /// A pair rarer than this is never merged.
    pub frequency_min: u64,
    /// They take the first ids and never come out of merges.
    pub special_tokens: &'a [String],
}

/// A trained vocabulary: special tokens, the 256 bytes, then one token for each merge that made a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// How many of the first tokens are special.
    pub special_tokens: usize,
    /// The bytes of each token, by id.
    pub tokens: Vec<Vec<u8>>,
    /// The pairs of ids that merge, the earlier the stronger.
    pub merges: Vec<(u32, u32)>,
}

/// Trains on pieces and how often each occurs; the result does not depend on their order.
///
/// Each piece should come once. `merged` is told the size of the vocabulary after each merge, and stops the
/// training by giving false.
pub fn train<'a>(
    pieces: impl IntoIterator<Item = (&'a [u8], u64)>,
    training: Training<'_>,
    mut merged: impl FnMut(usize) -> bool,
) -> Vocabulary {
    let mut tokens: Vec<Vec<u8>> =
        training.special_tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
    let special_tokens = tokens.len();
    let mut byte_ids = [0; 256];
    for byte in bytes_in_order() {
        byte_ids[byte as usize] = tokens.len() as u32;
        tokens.push(vec![byte]);
    }
    let mut ids: FxHashMap<Vec<u8>, u32> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();

    let mut words = Words::new(pieces, &byte_ids);
    let mut pairs = Pairs::count(&words);
    let mut merges = Vec::new();
    while tokens.len() < training.vocabulary_size {
        let Some(top) = pairs.pop() else { break };
        if top.count < 1 || (top.count as u64) < training.frequency_min {
            break;
        }
        let (left, right) = top.pair;
        let token = [tokens[left as usize].as_slice(), &tokens[right as usize]].concat();
        let id = *ids.entry(token).or_insert_with_key(|token| {
            tokens.push(token.clone());
            (tokens.len() - 1) as u32
        });
        merges.push(top.pair);
        for word in top.words {
            words.merge(word, top.pair, id, |pair, change| pairs.change(word, pair, change));
        }
        pairs.queue_new();
        if !merged(tokens.len()) {
            break;
        }
    }
    Vocabulary { special_tokens, tokens, merges: last_of_each(merges) }
}

/// The 256 bytes in the order of their ids: those that print first, as Hugging Face sorts their spellings.
pub fn bytes_in_order() -> impl Iterator<Item = u8> {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    (0..=255).filter(prints).chain((0..=255).filter(move |byte| !prints(byte)))
}

/// Drops all but the last occurrence of each pair.
///
/// A pair comes twice where one text has two ways to merge, as runs of blanks have: later merges can make
/// neighbours of a pair that was done with. Hugging Face's models keep the last rank, and so it is here.
fn last_of_each(merges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let last: FxHashMap<(u32, u32), usize> = merges.iter().copied().zip(0..).collect();
    let kept = merges.into_iter().enumerate().filter(|(rank, pair)| last[pair] == *rank);
    kept.map(|(_, pair)| pair).collect()
}

/// The pieces as lists of symbols, which shrink as pairs merge.
struct Words {
    symbols: Vec<u32>,
    words: Vec<Word>,
}

struct Word {
    start: usize,
    length: usize,
    count: i64,
}

impl Words {
    fn new<'a>(pieces: impl IntoIterator<Item = (&'a [u8], u64)>, byte_ids: &[u32; 256]) -> Self {
        let (mut symbols, mut words) = (Vec::new(), Vec::new());
        for (piece, count) in pieces {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            words.push(Word { start: symbols.len(), length: piece.len(), count });
            symbols.extend(piece.iter().map(|byte| byte_ids[*byte as usize]));
        }
        Self { symbols, words }
    }

    /// Merges `pair` into `id` in one word, from left to right, and reports each change of a pair's count.
    fn merge(
        &mut self,
        word: u32,
        (left, right): (u32, u32),
        id: u32,
        mut change: impl FnMut((u32, u32), i64),
    ) {
        let Word { start, length, count } = &mut self.words[word as usize];
        let symbols = &mut self.symbols[*start..*start + *length];
        let (mut read, mut write) = (0, 0);
        while read < symbols.len() {
            if symbols[read] == left && symbols.get(read + 1) == Some(&right) {
                if write > 0 {
                    change((symbols[write - 1], left), -*count);
                    change((symbols[write - 1], id), *count);
                }
                if let Some(&next) = symbols.get(read + 2) {
                    change((right, next), -*count);
                    change((id, next), *count);
                }
                symbols[write] = id;
                read += 2;
            } else {
                symbols[write] = symbols[read];
                read += 1;
            }
            write += 1;
        }
        *length = write;
    }
}

/// How often each pair of neighbours occurs, and a queue of those yet to merge.
struct Pairs {
    counts: FxHashMap<(u32, u32), i64>,
    queue: BinaryHeap<Candidate>,
    /// Pairs that the merge in progress made, each with the words where it did.
    new: FxHashMap<(u32, u32), Vec<u32>>,
}

/// A pair, its count when it was queued, and words that may hold it. `words` ascend.
struct Candidate {
    count: i64,
    pair: (u32, u32),
    words: Vec<u32>,
}

impl Pairs {
    fn count(words: &Words) -> Self {
        let mut pairs =
            Self { counts: FxHashMap::default(), queue: BinaryHeap::new(), new: FxHashMap::default() };
        for (number, word) in (0..).zip(&words.words) {
            let symbols = &words.symbols[word.start..word.start + word.length];
            for pair in symbols.windows(2) {
                pairs.change(number, (pair[0], pair[1]), word.count);
            }
        }
        pairs.queue_new();
        pairs
    }

    fn change(&mut self, word: u32, pair: (u32, u32), change: i64) {
        let count = self.counts.entry(pair).or_insert(0);
        *count = count.saturating_add(change);
        if change > 0 {
            let words = self.new.entry(pair).or_default();
            if words.last() != Some(&word) {
                words.push(word);
            }
        }
    }

    fn queue_new(&mut self) {
        for (pair, words) in self.new.drain() {
            let count = self.counts[&pair];
            if count > 0 {
                self.queue.push(Candidate { count, pair, words });
            }
        }
    }

    /// The best pair; one whose count has changed since it was queued goes back with its new count.
    fn pop(&mut self) -> Option<Candidate> {
        loop {
            let top = self.queue.pop()?;
            let count = self.counts[&top.pair];
            if count == top.count {
                return Some(top);
            }
            self.queue.push(Candidate { count, ..top });
        }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // The words only tell apart candidates of one pair, so that their order is a total one.
        (self.count.cmp(&other.count))
            .then_with(|| other.pair.cmp(&self.pair))
            .then_with(|| other.words.cmp(&self.words))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

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

    /// The vocabulary that Hugging Face's trainer makes of the same pieces.
    fn trained_by_oracle(pieces: &Pieces, vocabulary_size: usize, special_tokens: &[String]) -> Vocabulary {
        let mut trainer = BpeTrainer::builder()
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
        fn the_order_of_pieces_does_not_matter(text in "[a-c ]{0,200}", seed: u64) {
            let pieces = counted(&text);
            let mut shuffled: Vec<_> = pieces.iter().map(|(piece, count)| (piece.as_slice(), *count)).collect();
            shuffled.sort_by_key(|(piece, _)| blake3::keyed_hash(blake3::hash(&seed.to_le_bytes()).as_bytes(), piece).to_hex());
            let training = Training { vocabulary_size: 300, frequency_min: 0, special_tokens: &[] };
            prop_assert_eq!(train(shuffled, training, |_| true), trained(&pieces, 300, &[]));
        }
    }

    /// Prose, code, runs of blanks and several scripts, so that pairs tie, overlap and come twice.
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
