//! How many documents are held out: as fractions of the clusters, or as numbers of documents. Nothing here depends on
//! texts.

use crate::dedup::pool::FilePool;
use crate::dedup::{open_signatures, unreadable};
use pipe_stage::{Error, Inputs, Result, Share};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The place of a cluster in the unit interval, in units of 2^-53: all of them are exactly representable as a float.
pub(super) fn position_of(cluster: u64, seed: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("pipe split v1");
    hasher.update(&seed.to_le_bytes()).update(&cluster.to_le_bytes());
    let hash = hasher.finalize();
    let first: [u8; 8] = std::array::from_fn(|at| hash.as_bytes()[at]);
    u64::from_le_bytes(first) >> 11
}

/// The place as a fraction of the interval; exact.
pub(super) fn fraction_of(position: u64) -> f64 {
    position as f64 / (1_u64 << 53) as f64
}

/// Whether a size is a number of documents and not a fraction.
pub(super) fn is_number(size: f64) -> bool {
    size >= 1.0
}

/// The settings that determine sizes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sizes {
    pub(super) validation: f64,
    pub(super) test: f64,
    pub(super) seed: u64,
}

/// Finds the fractions that hold out the wanted numbers of documents, and leaves them as the value of the share.
///
/// Memory: a few dozen bytes for each cluster that is held out.
pub(super) fn find_fractions(sizes: &Sizes, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let pool = FilePool::default();
    let (validation, test) = (Wanted::of(sizes.validation), Wanted::of(sizes.test));
    let mut first = Smallest::new(0, validation.documents());
    let mut documents = 0_u64;
    let mut positions = |take: &mut dyn FnMut(u64)| -> Result<()> {
        documents = 0;
        for item in share.track("shards", inputs.items()) {
            let signatures = open_signatures(&pool, &item?.entries()[0])?;
            for cluster in signatures.clusters().map_err(unreadable)? {
                documents += 1;
                take(position_of(cluster, sizes.seed));
            }
        }
        Ok(())
    };
    let validation_end = match validation {
        Wanted::Fraction(fraction) => fraction,
        Wanted::Documents(_) => {
            positions(&mut |position| first.add(position))?;
            first.end()
        }
    };
    let test_end = match test {
        Wanted::Fraction(fraction) => validation_end + fraction,
        Wanted::Documents(wanted) => {
            let from = (validation_end * (1_u64 << 53) as f64).ceil() as u64;
            let mut second = Smallest::new(from, wanted);
            positions(&mut |position| second.add(position))?;
            if second.documents < wanted { 1.0 } else { second.end() }
        }
    };
    let wanted = validation.documents() + test.documents();
    if wanted >= documents && documents > 0 {
        let message = format!(
            "`validation` and `test` hold out {wanted} documents, but there are only {documents}, which leaves none for \
             training"
        );
        return Err(Error::input(message).help("make `validation` and `test` smaller"));
    }
    share.value(&[validation_end, test_end - validation_end]);
    Ok(())
}

#[derive(Clone, Copy)]
enum Wanted {
    Fraction(f64),
    Documents(u64),
}

impl Wanted {
    fn of(size: f64) -> Self {
        if is_number(size) { Self::Documents(size as u64) } else { Self::Fraction(size) }
    }

    fn documents(self) -> u64 {
        match self {
            Self::Fraction(_) => 0,
            Self::Documents(documents) => documents,
        }
    }
}

/// The clusters with the smallest positions that have the wanted number of documents together.
struct Smallest {
    from: u64,
    wanted: u64,
    /// Documents by position.
    clusters: BTreeMap<u64, u64>,
    documents: u64,
}

impl Smallest {
    fn new(from: u64, wanted: u64) -> Self {
        Self { from, wanted, clusters: BTreeMap::new(), documents: 0 }
    }

    /// Adds a document.
    fn add(&mut self, position: u64) {
        let is_full = self.documents >= self.wanted;
        let last = self.clusters.last_key_value().map_or(0, |(last, _)| *last);
        if position < self.from || self.wanted == 0 || (is_full && position > last) {
            return;
        }
        *self.clusters.entry(position).or_default() += 1;
        self.documents += 1;
        // The last cluster goes once there are enough documents without it.
        while let Some(last) = self.clusters.last_entry()
            && self.documents - last.get() >= self.wanted
        {
            self.documents -= last.remove();
        }
    }

    /// The end of the interval with these clusters.
    fn end(&self) -> f64 {
        self.clusters
            .last_key_value()
            .map_or_else(|| fraction_of(self.from), |(last, _)| fraction_of(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_smallest_are_those_of_a_sorted_list(
            positions in prop::collection::vec(0_u64..50, 0..200), from in 0_u64..20, wanted in 0_u64..100,
        ) {
            let mut smallest = Smallest::new(from, wanted);
            positions.iter().for_each(|position| smallest.add(*position));
            let mut sorted: Vec<u64> = positions.into_iter().filter(|position| *position >= from).collect();
            sorted.sort_unstable();
            let expected = match wanted.checked_sub(1).map(|last| (sorted.get(last as usize), sorted.last())) {
                Some((Some(last), _)) | Some((None, Some(last))) => last + 1,
                _ => from,
            };
            prop_assert_eq!(smallest.end(), fraction_of(expected));
        }
    }
}
