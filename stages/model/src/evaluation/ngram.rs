//! A 3-gram model with interpolated, modified Kneser-Ney smoothing (Chen and Goodman, 1998): the baseline that
//! a language model of the same tokens has to beat.
//!
//! Owns: counting a stream of tokens, and probabilities from the counts. Knows nothing of models or texts.
//!
//! The highest order has counts of the stream; each lower order counts in how many different left contexts an
//! n-gram occurs; below the unigrams stands the uniform distribution over the vocabulary. Discounts for counts
//! of 1, 2, and 3 or more follow from how many n-grams have counts of 1 to 4, order by order.
//!
//! Only what the wanted probabilities depend on is kept: totals of every single-token context, and counts of
//! those 3-grams, 2-grams and contexts that are asked for. The stream is read in as many passes as keep the
//! table of a pass in its bounds; all sums are of integers, so the number of passes changes no bit.

use crate::random::mix;
use crate::training::TokenFile;
use pipe_stage::{Error, Result};
use rayon::prelude::*;
use std::path::Path;

/// A token and the two before it. The first prediction of a text has [`NO_TOKEN`] as its `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trigram {
    pub(crate) before: u32,
    pub(crate) last: u32,
    pub(crate) next: u32,
}

/// Stands where a context has no token; occurs in no stream, so that a shorter context takes over.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// 3-grams of the table of a pass: 16 bytes each, 256 MiB. A pass whose 3-grams are more than half as many
/// different ones gets twice as much.
pub(crate) const TABLE_TRIGRAMS: usize = 1 << 24;

/// The predictions of a text: every token but the first, each with what stands before it.
pub(crate) fn predictions(ids: &[u32]) -> Vec<Trigram> {
    let before = |i: usize| if i == 0 { NO_TOKEN } else { ids[i - 1] };
    let pairs = ids.windows(2).enumerate();
    pairs.map(|(i, pair)| Trigram { before: before(i), last: pair[0], next: pair[1] }).collect()
}

/// Learns from a stream, and gives the probability of each of `wanted`.
pub(crate) struct Counting<'a> {
    /// The stream.
    pub(crate) stream: &'a TokenFile,
    /// Tokens of it that count, from the first on.
    pub(crate) tokens: u64,
    /// All ids of stream and wanted 3-grams are below.
    pub(crate) vocabulary: usize,
    /// 3-grams of the table of a pass.
    pub(crate) table: usize,
}

impl Counting<'_> {
    /// Probabilities in the order of `wanted`. `tick` is called now and then, and may end it with an error.
    pub(crate) fn probabilities(
        &self,
        wanted: &[Trigram],
        mut tick: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f64>> {
        let mut counts = Counts::new(wanted, self.vocabulary);
        let passes = self.tokens.div_ceil(self.table.max(1) as u64).max(1);
        for pass in 0..passes {
            let table = self.table_of(pass, passes, &mut tick)?;
            counts.add(&table);
        }
        let model = counts.finished();
        Ok(wanted.par_iter().map(|&trigram| model.probability(trigram)).collect())
    }

    /// All 3-grams of the stream whose last two tokens fall to this pass, with their counts, in order.
    fn table_of(
        &self,
        pass: u64,
        passes: u64,
        tick: &mut impl FnMut() -> Result<()>,
    ) -> Result<Vec<Counted>> {
        const CHUNK: u64 = 1 << 20;
        let (mut table, mut limit) = (Vec::new(), self.table.max(1));
        let mut window: Vec<u32> = Vec::new();
        for start in (0..self.tokens).step_by(CHUNK as usize) {
            tick()?;
            window.drain(..window.len().saturating_sub(2));
            let n = CHUNK.min(self.tokens - start) as usize;
            let tokens = self.stream.read(start, n);
            let unreadable = |error| Error::io("read", Path::new("the flat token file"), &error);
            window.extend(tokens.map_err(unreadable)?);
            if let Some(id) = window.iter().find(|&&id| id as usize >= self.vocabulary) {
                let message =
                    format!("the training tokens hold id {id}, the vocabulary has {}", self.vocabulary);
                return Err(Error::input(message));
            }
            for trigram in window.windows(3) {
                let [before, last, next] = [trigram[0], trigram[1], trigram[2]];
                if passes > 1 && mix(pair(last, next)) % passes != pass {
                    continue;
                }
                if table.len() == limit {
                    compact(&mut table);
                    limit = limit.max(2 * table.len());
                }
                table.push(Counted::new(before, last, next));
            }
        }
        compact(&mut table);
        Ok(table)
    }
}

/// A 3-gram and its count in one number, which sorts by its last two tokens first: `last`, `next`, `before`,
/// count, 32 bits each. A count stays at 2^32 - 1 once it is there; no discount tells it from 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counted(u128);

impl Counted {
    fn new(before: u32, last: u32, next: u32) -> Self {
        Self(u128::from(pair(last, next)) << 64 | u128::from(before) << 32 | 1)
    }

    /// The last two tokens.
    fn ending(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn before(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn count(self) -> u32 {
        self.0 as u32
    }
}

fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) << 32 | u64::from(second)
}

/// Sorts, and makes one of equal 3-grams.
fn compact(table: &mut Vec<Counted>) {
    table.par_sort_unstable();
    table.dedup_by(|later, earlier| {
        let is_same = later.0 >> 32 == earlier.0 >> 32;
        if is_same {
            let count = earlier.count().saturating_add(later.count());
            earlier.0 = earlier.0 >> 32 << 32 | u128::from(count);
        }
        is_same
    });
}

/// What follows a context: the sum of the counts, and how many different tokens have a count of 1, of 2, and of
/// 3 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Followers {
    total: u64,
    kinds: [u64; 3],
}

impl Followers {
    fn add(&mut self, count: u64) {
        self.total += count;
        self.kinds[count.clamp(1, 3) as usize - 1] += 1;
    }
}

/// How many n-grams have a count of 1, 2, 3 and 4.
#[derive(Debug, Clone, Copy, Default)]
struct CountsOfCounts([u64; 4]);

impl CountsOfCounts {
    fn add(&mut self, count: u64) {
        if let Some(n) = self.0.get_mut((count as usize).wrapping_sub(1)) {
            *n += 1;
        }
    }

    /// What is taken from counts of 1, of 2, and of 3 or more (Chen and Goodman, equation 26); 1/2, 1 and 3/2
    /// where too few n-grams are there to tell.
    fn discounts(self) -> [f64; 3] {
        let [n1, n2, n3, n4] = self.0.map(|n| n as f64);
        let y = n1 / (n1 + 2.0 * n2);
        let found = [1.0 - 2.0 * y * n2 / n1, 2.0 - 3.0 * y * n3 / n2, 3.0 - 4.0 * y * n4 / n3];
        let is_sound = found.iter().zip([1.0, 2.0, 3.0]).all(|(&d, count)| d > 0.0 && d <= count);
        if is_sound { found } else { [0.5, 1.0, 1.5] }
    }
}

/// Counts of what is asked for, as far as the stream has been read. Lists are sorted by their keys.
struct Counts {
    trigrams: Vec<((u64, u32), u64)>,
    contexts: Vec<(u64, Followers)>,
    bigrams: Vec<(u64, u64)>,
    /// By token.
    followers: Vec<Followers>,
    /// By token: in how many left contexts it occurs.
    unigrams: Vec<u64>,
    of_trigrams: CountsOfCounts,
    of_bigrams: CountsOfCounts,
}

impl Counts {
    fn new(wanted: &[Trigram], vocabulary: usize) -> Self {
        fn keys<K: Ord, V: Default>(keys: impl Iterator<Item = K>) -> Vec<(K, V)> {
            let mut keys: Vec<K> = keys.collect();
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter().map(|key| (key, V::default())).collect()
        }
        Self {
            trigrams: keys(wanted.iter().map(|t| (pair(t.last, t.next), t.before))),
            contexts: keys(wanted.iter().map(|t| pair(t.before, t.last))),
            bigrams: keys(wanted.iter().map(|t| pair(t.last, t.next))),
            followers: vec![Followers::default(); vocabulary],
            unigrams: vec![0; vocabulary],
            of_trigrams: CountsOfCounts::default(),
            of_bigrams: CountsOfCounts::default(),
        }
    }

    /// Adds a table that holds all 3-grams of the stream with certain last two tokens.
    fn add(&mut self, table: &[Counted]) {
        for group in table.chunk_by(|a, b| a.ending() == b.ending()) {
            let ending = group[0].ending();
            let (last, next) = ((ending >> 32) as u32, ending as u32);
            for trigram in group {
                let count = u64::from(trigram.count());
                self.of_trigrams.add(count);
                if let Some(wanted) = find(&mut self.trigrams, &(ending, trigram.before())) {
                    *wanted = count;
                }
                if let Some(context) = find(&mut self.contexts, &pair(trigram.before(), last)) {
                    context.add(count);
                }
            }
            let contexts = group.len() as u64;
            self.of_bigrams.add(contexts);
            if let Some(wanted) = find(&mut self.bigrams, &ending) {
                *wanted = contexts;
            }
            self.followers[last as usize].add(contexts);
            self.unigrams[next as usize] += 1;
        }
    }

    fn finished(self) -> Model {
        let (mut all, mut of_unigrams) = (Followers::default(), CountsOfCounts::default());
        for &contexts in self.unigrams.iter().filter(|&&contexts| contexts > 0) {
            all.add(contexts);
            of_unigrams.add(contexts);
        }
        let discounts = [of_unigrams, self.of_bigrams, self.of_trigrams].map(CountsOfCounts::discounts);
        Model { all, discounts, counts: self }
    }
}

fn find<'a, K: Ord, V>(list: &'a mut [(K, V)], key: &K) -> Option<&'a mut V> {
    let at = list.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
    Some(&mut list[at].1)
}

fn get<K: Ord, V: Copy + Default>(list: &[(K, V)], key: &K) -> V {
    list.binary_search_by(|(other, _)| other.cmp(key)).map(|at| list[at].1).unwrap_or_default()
}

/// The finished counts, and what is taken from each of them.
struct Model {
    /// All tokens, as followers of nothing.
    all: Followers,
    /// Of unigrams, bigrams, trigrams.
    discounts: [[f64; 3]; 3],
    counts: Counts,
}

impl Model {
    fn probability(&self, Trigram { before, last, next }: Trigram) -> f64 {
        let counts = &self.counts;
        let uniform = 1.0 / counts.unigrams.len() as f64;
        let [first, second, third] = &self.discounts;
        let unigram = interpolated(counts.unigrams[next as usize], self.all, first, uniform);
        let bigram = get(&counts.bigrams, &pair(last, next));
        let bigram = interpolated(bigram, counts.followers[last as usize], second, unigram);
        let trigram = get(&counts.trigrams, &(pair(last, next), before));
        interpolated(trigram, get(&counts.contexts, &pair(before, last)), third, bigram)
    }
}

/// The discounted share of a follower, and its part of what was taken from all of them, dealt out by the
/// `shorter` context's probability.
fn interpolated(count: u64, followers: Followers, discounts: &[f64; 3], shorter: f64) -> f64 {
    if followers.total == 0 {
        return shorter;
    }
    let total = followers.total as f64;
    let taken: f64 = followers.kinds.iter().zip(discounts).map(|(&n, discount)| n as f64 * discount).sum();
    let own = match count {
        0 => 0.0,
        count => count as f64 - discounts[count.min(3) as usize - 1],
    };
    (own + taken * shorter) / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::TokenWriter;
    use std::collections::{BTreeMap, BTreeSet};

    /// Probabilities of `wanted` after counting `ids` with tables of `table` 3-grams.
    fn learned(ids: &[u32], vocabulary: usize, table: usize, wanted: &[Trigram]) -> Vec<f64> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = TokenWriter::create(&folder.path().join("tokens"), 1 << 20).expect("a file");
        writer.push(ids).expect("written");
        let stream = writer.finish().expect("finished");
        let counting = Counting { stream: &stream, tokens: ids.len() as u64, vocabulary, table };
        counting.probabilities(wanted, || Ok(())).expect("counted")
    }

    fn trigram(before: u32, last: u32, next: u32) -> Trigram {
        Trigram { before, last, next }
    }

    /// A stream with frequent and rare tokens; the ids from 20 on do not occur.
    fn stream(n: usize) -> Vec<u32> {
        let mut state = 7_u64;
        let mut draw = || {
            state = mix(state);
            let x = state % 400;
            ((x * x) / 8000) as u32
        };
        (0..n).map(|_| draw()).collect()
    }

    #[test]
    fn probabilities_sum_to_one_over_the_vocabulary() {
        let ids = stream(3000);
        let seen = (ids[10], ids[11]);
        for (before, last) in [seen, (NO_TOKEN, ids[5]), (21, ids[5]), (0, 22), (23, 24), (0, 0)] {
            let wanted: Vec<Trigram> = (0..25).map(|next| trigram(before, last, next)).collect();
            let probabilities = learned(&ids, 25, TABLE_TRIGRAMS, &wanted);
            assert!(probabilities.iter().all(|&p| p > 0.0));
            let sum: f64 = probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "after {before} {last}: {sum}");
        }
    }

    #[test]
    fn small_case_agrees_with_the_calculation_by_hand() {
        // 0 1 2 0 1 2 0 1 3: the 3-grams 012 twice, 120 twice, 201 twice, 013 once. Too few for discounts of
        // their own: 1/2, 1 and 3/2.
        let ids = [0, 1, 2, 0, 1, 2, 0, 1, 3];
        let wanted = [trigram(0, 1, 2), trigram(0, 1, 3), trigram(0, 1, 0), trigram(NO_TOKEN, 1, 2)];
        let found = learned(&ids, 4, TABLE_TRIGRAMS, &wanted);
        // Unigrams: left contexts of 0, 1, 2, 3 are 2, 0, 1, 1: one each, 4 in all; half of each is taken.
        let unigram = 0.5 / 4.0 + 4.0 * 0.5 / 4.0 / 4.0;
        // After 1: 2 (after 0) and 3 (after 0), one left context each.
        let bigram = |count: f64| (count + 2.0 * 0.5 * unigram) / 2.0;
        let (seen, unseen) = (bigram(0.5), bigram(0.0));
        // After 0 1: 2 twice, of which 1 is taken, 3 once, of which 1/2 is taken.
        let taken = 1.0 + 0.5;
        let expected = [(1.0 + taken * seen) / 3.0, (0.5 + taken * seen) / 3.0, taken * unseen / 3.0, seen];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// The same model, written straight from the paper's formulas over maps of all n-grams.
    struct Straight {
        trigrams: BTreeMap<[u32; 3], u64>,
        bigrams: BTreeMap<[u32; 2], u64>,
        unigrams: BTreeMap<u32, u64>,
        vocabulary: f64,
    }

    impl Straight {
        fn new(ids: &[u32], vocabulary: usize) -> Self {
            let mut trigrams = BTreeMap::new();
            for t in ids.windows(3) {
                *trigrams.entry([t[0], t[1], t[2]]).or_insert(0) += 1;
            }
            let (mut bigrams, mut unigrams) = (BTreeMap::new(), BTreeMap::new());
            let types: BTreeSet<[u32; 3]> = trigrams.keys().copied().collect();
            for [_, v, w] in &types {
                *bigrams.entry([*v, *w]).or_insert(0) += 1;
            }
            for [_, w] in bigrams.keys() {
                *unigrams.entry(*w).or_insert(0) += 1;
            }
            Self { trigrams, bigrams, unigrams, vocabulary: vocabulary as f64 }
        }

        fn discount(all: &[u64], count: u64) -> f64 {
            let n = |c: u64| all.iter().filter(|&&count| count == c).count() as f64;
            let y = n(1) / (n(1) + 2.0 * n(2));
            let by = |c: u64| c as f64 - (c as f64 + 1.0) * y * n(c + 1) / n(c);
            if ![1, 2, 3].into_iter().all(|c| by(c) > 0.0) {
                return [0.0, 0.5, 1.0, 1.5][count.min(3) as usize];
            }
            match count {
                0 => 0.0,
                1 | 2 => by(count),
                _ => by(3),
            }
        }

        /// `counts` of the followers of one context, all counts of the order, and the shorter probability.
        fn share(followers: &BTreeMap<u32, u64>, all: &[u64], next: u32, shorter: f64) -> f64 {
            let total: u64 = followers.values().sum();
            if total == 0 {
                return shorter;
            }
            let count = followers.get(&next).copied().unwrap_or(0);
            let taken: f64 = followers.values().map(|&count| Self::discount(all, count)).sum();
            (count as f64 - Self::discount(all, count) + taken * shorter) / total as f64
        }

        fn probability(&self, Trigram { before, last, next }: Trigram) -> f64 {
            let all = |counts: &mut dyn Iterator<Item = &u64>| counts.copied().collect::<Vec<u64>>();
            let one = all(&mut self.unigrams.values());
            let unigram = Self::share(&self.unigrams, &one, next, 1.0 / self.vocabulary);
            let two = all(&mut self.bigrams.values());
            let followers = self.bigrams.iter().filter(|(key, _)| key[0] == last);
            let bigram = Self::share(&followers.map(|(key, &n)| (key[1], n)).collect(), &two, next, unigram);
            let three = all(&mut self.trigrams.values());
            let followers = self.trigrams.iter().filter(|(key, _)| key[..2] == [before, last]);
            Self::share(&followers.map(|(key, &n)| (key[2], n)).collect(), &three, next, bigram)
        }
    }

    #[test]
    fn agrees_with_the_formulas_written_straight() {
        let ids = stream(4000);
        let straight = Straight::new(&ids, 25);
        let mut wanted = predictions(&stream(4300)[4000..]);
        wanted.extend([trigram(0, 0, 24), trigram(24, 24, 0), trigram(NO_TOKEN, 3, 4)]);
        let found = learned(&ids, 25, TABLE_TRIGRAMS, &wanted);
        for (found, &trigram) in found.iter().zip(&wanted) {
            let expected = straight.probability(trigram);
            assert!((found - expected).abs() < 1e-12, "{trigram:?}: {found} {expected}");
        }
    }

    #[test]
    fn several_passes_give_the_same_bits() {
        let ids = stream(5000);
        let wanted = predictions(&ids[..600]);
        let bits = |table| learned(&ids, 25, table, &wanted).iter().map(|p| p.to_bits()).collect::<Vec<_>>();
        let one = bits(TABLE_TRIGRAMS);
        for table in [1, 700, 2500, 4999] {
            assert_eq!(bits(table), one, "tables of {table}");
        }
    }

    #[test]
    fn streams_too_short_for_a_trigram_are_uniform() {
        for n in 0..3 {
            let found = learned(&stream(n), 25, TABLE_TRIGRAMS, &[trigram(1, 2, 3)]);
            assert_eq!(found, [1.0 / 25.0]);
        }
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = TokenWriter::create(&folder.path().join("tokens"), 1 << 20).expect("a file");
        writer.push(&[1, 2, 99]).expect("written");
        let stream = writer.finish().expect("finished");
        let counting = Counting { stream: &stream, tokens: 3, vocabulary: 10, table: 8 };
        let error = counting.probabilities(&[trigram(1, 2, 3)], || Ok(())).expect_err("refused");
        assert!(error.to_string().contains("id 99"), "{error}");
    }

    #[test]
    fn predictions_begin_with_a_short_context() {
        let expected = [trigram(NO_TOKEN, 4, 5), trigram(4, 5, 6)];
        assert_eq!(predictions(&[4, 5, 6]), expected);
    }
}
