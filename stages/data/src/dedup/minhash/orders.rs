//! Signatures: the first shingles of a text in many random orders, and the hashes of bands of these. Nothing here depends on
//! texts.

use super::{Bands, combine, mix};

/// Random orders of shingles, one for each value of a signature. They are constant, so signatures of any two runs can be
/// compared.
#[derive(Debug, Clone)]
pub struct Orders {
    rows: usize,
    factors: Vec<u64>,
    summands: Vec<u64>,
}

impl Orders {
    /// The orders of all bands.
    pub fn new(bands: Bands) -> Self {
        let mut state = 0x5eed;
        let mut next = || {
            state += 1;
            mix(state)
        };
        let (factors, summands) = (0..bands.bands * bands.rows).map(|_| (next() | 1, next())).unzip();
        Self { rows: bands.rows.max(1), factors, summands }
    }

    /// The hash of each band of a text's MinHash signature; empty for a text without shingles.
    pub fn band_hashes(&self, shingles: &[u64]) -> Vec<u64> {
        match shingles.is_empty() {
            true => Vec::new(),
            false => self.signature(shingles).chunks(self.rows).map(combine).collect(),
        }
    }

    /// The place of the first shingle in each order.
    pub(super) fn signature(&self, shingles: &[u64]) -> Vec<u64> {
        let mut least = vec![u64::MAX; self.factors.len()];
        lower(&mut least, &self.factors, &self.summands, shingles);
        least
    }
}

/// Lowers values to the places of these shingles, with the instructions of this processor; all of them give the same values.
fn lower(least: &mut [u64], factors: &[u64], summands: &[u64], shingles: &[u64]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2")]
        fn avx512(least: &mut [u64], factors: &[u64], summands: &[u64], shingles: &[u64]) {
            lower_portable(least, factors, summands, shingles);
        }
        #[target_feature(enable = "avx2")]
        fn avx2(least: &mut [u64], factors: &[u64], summands: &[u64], shingles: &[u64]) {
            lower_portable(least, factors, summands, shingles);
        }
        match pipe_stage::instruction_set() {
            // SAFETY: `instruction_set` has found every feature that the function enables.
            "avx512" => return unsafe { avx512(least, factors, summands, shingles) },
            // SAFETY: as above.
            "avx2" => return unsafe { avx2(least, factors, summands, shingles) },
            _ => {}
        }
    }
    lower_portable(least, factors, summands, shingles);
}

#[inline(always)]
fn lower_portable(least: &mut [u64], factors: &[u64], summands: &[u64], shingles: &[u64]) {
    /// Shingles whose places are computed for each order that is read.
    const TOGETHER: usize = 8;
    let (groups, rest) = shingles.as_chunks::<TOGETHER>();
    for group in groups {
        for ((least, factor), summand) in least.iter_mut().zip(factors).zip(summands) {
            for shingle in group {
                *least = (*least).min(shingle.wrapping_mul(*factor).wrapping_add(*summand));
            }
        }
    }
    for shingle in rest {
        for ((least, factor), summand) in least.iter_mut().zip(factors).zip(summands) {
            *least = (*least).min(shingle.wrapping_mul(*factor).wrapping_add(*summand));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_processors_sign_alike(shingles in prop::collection::vec(any::<u64>(), 1..100), bands in 1..20_usize) {
            let orders = Orders::new(Bands { bands, rows: 7 });
            let mut least = vec![u64::MAX; orders.factors.len()];
            lower_portable(&mut least, &orders.factors, &orders.summands, &shingles);
            prop_assert_eq!(&orders.signature(&shingles), &least);
            let first = shingles.iter().map(|shingle| {
                shingle.wrapping_mul(orders.factors[0]).wrapping_add(orders.summands[0])
            });
            prop_assert_eq!(Some(least[0]), first.min());
        }
    }

    #[test]
    fn values_differ_between_orders() {
        let signature = Orders::new(Bands { bands: 14, rows: 8 }).signature(&[1, 2, 3]);
        let distinct: std::collections::BTreeSet<u64> = signature.into_iter().collect();
        assert_eq!(distinct.len(), 112);
    }
}
