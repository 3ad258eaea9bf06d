//! Winnowing: which sequences of words stand for a text, such that two texts with a long sequence in common have one of these
//! in common (Schleimer, Wilkerson and Aiken 2003). It takes slices and returns values.

use crate::dedup::minhash::hash_of_units;
use std::ops::Range;

/// The sequences that guarantee to find common ones of `words` words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winnow {
    /// Words of a fingerprint.
    width: usize,
    /// Consecutive fingerprints of which one is chosen.
    window: usize,
}

impl Winnow {
    /// Fingerprints of half as many words: about one in `words / 4` is chosen.
    pub(super) fn new(words: usize) -> Self {
        let width = words.div_ceil(2);
        Self { width, window: words - width + 1 }
    }

    /// The chosen fingerprints of a text: hashes and positions of their first words. In each window it is the smallest hash, and
    /// of equal ones the last. ("Robust winnowing", which keeps the one before as long as it can, would choose one fingerprint for
    /// two sequences that overlap and are equal, so that their repetition is not seen.)
    pub(super) fn fingerprints(self, units: &[u64]) -> Vec<(u64, usize)> {
        let hashes: Vec<u64> = units.windows(self.width).map(hash_of_units).collect();
        let mut chosen: Vec<(u64, usize)> = Vec::new();
        // Positions whose hashes ascend: candidates for this window and later ones.
        let mut queue = std::collections::VecDeque::new();
        for (at, hash) in hashes.iter().enumerate() {
            while queue.back().is_some_and(|&last: &usize| hashes[last] >= *hash) {
                queue.pop_back();
            }
            queue.push_back(at);
            if at + 1 < self.window {
                continue;
            }
            let start = at + 1 - self.window;
            while queue.front().is_some_and(|&first| first < start) {
                queue.pop_front();
            }
            let least = (hashes[queue[0]], queue[0]);
            if chosen.last() != Some(&least) {
                chosen.push(least);
            }
        }
        chosen
    }

    /// Positions at which sequences of `words` words may begin that contain a fingerprint at one of these positions: ranges,
    /// in a text of `length` words. Positions ascend.
    pub(super) fn starts(self, at: impl Iterator<Item = usize>, length: usize) -> Vec<Range<usize>> {
        let words = self.width + self.window - 1;
        let mut starts: Vec<Range<usize>> = Vec::new();
        for at in at {
            let start = (at + self.width).saturating_sub(words);
            let end = (at + 1).min((length + 1).saturating_sub(words));
            match starts.last_mut() {
                Some(last) if last.end >= start => last.end = last.end.max(end),
                _ if start < end => starts.push(start..end),
                _ => {}
            }
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn common_sequences_have_a_fingerprint_in_common(
            texts in prop::collection::vec(prop::collection::vec(0_u64..3, 0..60), 1..4),
            words in 2_usize..12,
        ) {
            let winnow = Winnow::new(words);
            let mut by_hash: BTreeMap<u64, Vec<(usize, usize)>> = BTreeMap::new();
            for (text, units) in texts.iter().enumerate() {
                for (hash, at) in winnow.fingerprints(units) {
                    by_hash.entry(hash).or_default().push((text, at));
                }
            }
            let mut sequences: BTreeMap<&[u64], Vec<(usize, usize)>> = BTreeMap::new();
            for (text, units) in texts.iter().enumerate() {
                units.windows(words).enumerate().for_each(|(at, own)| sequences.entry(own).or_default().push((text, at)));
            }
            let mut repeated: BTreeSet<(usize, usize)> = BTreeSet::new();
            for places in by_hash.values().filter(|places| places.len() > 1) {
                repeated.extend(places);
            }
            for (text, units) in texts.iter().enumerate() {
                let own = repeated.iter().filter(|(own, _)| *own == text).map(|(_, at)| *at);
                let starts: BTreeSet<usize> = winnow.starts(own, units.len()).into_iter().flatten().collect();
                for places in sequences.values().filter(|places| places.len() > 1) {
                    for (_, at) in places.iter().filter(|(own, _)| *own == text) {
                        prop_assert!(starts.contains(at), "{} of {:?}", at, units);
                    }
                }
            }
        }
    }

    #[test]
    fn few_fingerprints_are_chosen() {
        let units: Vec<u64> = (0..100_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let chosen = Winnow::new(50).fingerprints(&units).len();
        assert!((6_900..7_900).contains(&chosen), "2 in 27: {chosen}");
        assert_eq!(Winnow::new(50).fingerprints(&[7; 49]), []);
    }
}
