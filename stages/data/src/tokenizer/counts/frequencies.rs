//! Which pieces are frequent enough for a budget of memory. Nothing here depends on files.
//!
//! Pieces are divided into classes by their count. All classes above a limit are selected, and of the class at the limit as
//! many pieces as fit, by hash. So a selection depends on nothing but the pieces and their counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a piece costs besides its bytes.
const PIECE_BYTES: u64 = 32;
/// Counts below this are a class of their own; each power of two above is divided into half as many classes.
const EXACT: u64 = 256;

/// Number, cost and occurrences of pieces, by class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frequencies(BTreeMap<u32, Class>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Class(u64, u64, u64);

/// The least frequent pieces of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Limit {
    class: u32,
    /// Pieces of the class with smaller hashes are selected.
    hash_below: u64,
}

impl Frequencies {
    pub(crate) fn add(&mut self, piece: &[u8], count: u64) {
        let Class(pieces, cost, occurrences) = self.0.entry(class(count)).or_default();
        *pieces += 1;
        *cost += piece.len() as u64 + PIECE_BYTES;
        *occurrences = occurrences.saturating_add(count);
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (class, more) in &other.0 {
            let sum = self.0.entry(*class).or_default();
            *sum = Class(sum.0 + more.0, sum.1 + more.1, sum.2.saturating_add(more.2));
        }
    }

    /// Number of pieces.
    pub(crate) fn pieces(&self) -> u64 {
        self.0.values().map(|class| class.0).sum()
    }

    /// Occurrences of all pieces.
    pub(crate) fn occurrences(&self) -> u64 {
        self.0.values().fold(0, |sum, class| sum.saturating_add(class.2))
    }

    /// The limit that selects the most frequent pieces of at most about this cost in bytes; none if all fit.
    pub(crate) fn limit(&self, cost_max: u64) -> Option<Limit> {
        let mut room = cost_max;
        for (class, Class(_, cost, _)) in self.0.iter().rev() {
            match room.checked_sub(*cost) {
                Some(rest) => room = rest,
                None => {
                    let hash_below = (u128::from(room) << 32) / u128::from(*cost);
                    return Some(Limit { class: *class, hash_below: hash_below as u64 });
                }
            }
        }
        None
    }
}

impl Limit {
    /// Whether a piece with this hash is selected.
    pub(crate) fn selects(self, hash: u64, count: u64) -> bool {
        // The part of a piece is taken from its first bits, so its last bits are compared.
        let class = class(count);
        class > self.class || class == self.class && hash & 0xffff_ffff < self.hash_below
    }
}

fn class(count: u64) -> u32 {
    if count < EXACT {
        return count as u32;
    }
    // The number of bits, and the first eight of them.
    let shift = count.ilog2() + 1 - EXACT.ilog2();
    shift * (EXACT / 2) as u32 + (count >> shift) as u32
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_ascend() {
        let counts: Vec<u64> = (0..5_000).chain((13..63).map(|bits| 1 << bits)).chain([u64::MAX]).collect();
        assert!(counts.windows(2).all(|pair| class(pair[0]) <= class(pair[1])));
        assert_eq!([class(255), class(256), class(257), class(258)], [255, 256, 256, 257]);
    }

    proptest! {
        #[test]
        fn the_most_frequent_pieces_are_selected(
            counts in prop::collection::vec(1_u64..40, 1..300), cost_max in 0_u64..20_000,
        ) {
            let pieces: Vec<(Vec<u8>, u64)> =
                counts.iter().enumerate().map(|(n, count)| (format!("{n:04}").into_bytes(), *count)).collect();
            let mut frequencies = Frequencies::default();
            pieces.iter().for_each(|(piece, count)| frequencies.add(piece, *count));
            let cost = pieces.len() as u64 * 36;
            let Some(limit) = frequencies.limit(cost_max) else {
                prop_assert!(cost <= cost_max);
                return Ok(());
            };
            prop_assert!(cost > cost_max);
            let selects = |(piece, count): &&(Vec<u8>, u64)| limit.selects(hash(piece), *count);
            let least = pieces.iter().filter(selects).map(|(_, count)| *count).min().unwrap_or(u64::MAX);
            let most = pieces.iter().filter(|piece| !selects(piece)).map(|(_, count)| *count).max().unwrap_or(0);
            prop_assert!(most <= least);
            // A limit of a part selects all that a limit of the whole selects.
            let mut part = Frequencies::default();
            pieces.iter().step_by(2).for_each(|(piece, count)| part.add(piece, *count));
            for (piece, count) in pieces.iter().step_by(2) {
                let of_part = part.limit(cost_max).is_none_or(|limit| limit.selects(hash(piece), *count));
                prop_assert!(of_part || !limit.selects(hash(piece), *count));
            }
        }
    }

    #[test]
    fn a_budget_is_nearly_used() {
        let mut frequencies = Frequencies::default();
        let pieces: Vec<String> = (0..20_000).map(|n| format!("{n:05}")).collect();
        pieces.iter().for_each(|piece| frequencies.add(piece.as_bytes(), 1));
        let limit = frequencies.limit(370_000).unwrap();
        let selected = pieces.iter().filter(|piece| limit.selects(hash(piece.as_bytes()), 1)).count();
        assert!((9_700..10_300).contains(&selected), "{selected}");
    }
}
