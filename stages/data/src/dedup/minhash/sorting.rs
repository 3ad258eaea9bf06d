//! Sorts hashes. Nothing here depends on what is hashed.

/// Sorts hashes and removes duplicates.
///
/// Hashes are spread evenly, so their highest bits say about where each belongs: one pass puts them there, and only a few
/// neighbours remain to be compared. Equal ones, which a repetitive text has many of, meet in one place, where an
/// ordinary sort takes them in linear time.
pub(super) fn sort_distinct(hashes: &mut Vec<u64>, scratch: &mut Vec<u64>) {
    /// Below this number an ordinary sort is faster.
    const FEW: usize = 64;
    /// The most places, so that their beginnings stay in the processor's first cache.
    const PLACES_MAX: u32 = 11;
    if hashes.len() > FEW && u32::try_from(hashes.len()).is_ok() {
        let bits = (hashes.len().ilog2() - 1).min(PLACES_MAX);
        let place = |hash: u64| (hash >> (64 - bits)) as usize;
        let mut ends = [0_u32; 1 << PLACES_MAX];
        hashes.iter().for_each(|hash| ends[place(*hash)] += 1);
        let mut sum = 0;
        for end in &mut ends[..1 << bits] {
            // First where each place begins; the pass moves it to its end.
            sum += std::mem::replace(end, sum);
        }
        scratch.clear();
        scratch.resize(hashes.len(), 0);
        for hash in &*hashes {
            let end = &mut ends[place(*hash)];
            scratch[*end as usize] = *hash;
            *end += 1;
        }
        let mut start = 0;
        for end in &ends[..1 << bits] {
            scratch[start..*end as usize].sort_unstable();
            start = *end as usize;
        }
        std::mem::swap(hashes, scratch);
    } else {
        hashes.sort_unstable();
    }
    hashes.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_an_ordinary_sort(mut hashes in prop::collection::vec(any::<u64>(), 0..5000), repeated: u8) {
            for _ in 0..repeated {
                hashes.extend(hashes.first().copied());
                hashes.push(u64::from(repeated));
            }
            let mut expected = hashes.clone();
            expected.sort_unstable();
            expected.dedup();
            sort_distinct(&mut hashes, &mut vec![1, 2]);
            prop_assert_eq!(hashes, expected);
        }
    }
}
