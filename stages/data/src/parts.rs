//! How hashes are divided into parts (see [`pipe_stage::Share::parts`]). Nothing here depends on what is hashed.

use std::ops::Range;

/// Parts into which a share divides what it leaves, by the first bits of hashes.
pub(crate) const PARTS: u32 = 64;

/// The part of a hash.
pub(crate) const fn part_of(hash: u64) -> u32 {
    (hash >> (u64::BITS - PARTS.ilog2())) as u32
}

/// The parts that are read together, so that each share reads at most `entries_max` of these entries, if there are enough
/// parts.
pub(crate) fn ranges(entries: u64, entries_max: u64) -> Vec<Range<u32>> {
    let mut groups = 1;
    while groups < PARTS && entries / u64::from(groups) > entries_max {
        groups *= 2;
    }
    let width = PARTS / groups;
    (0..groups).map(|group| group * width..(group + 1) * width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_each_part_once() {
        for entries in [0, 1, 100, 101, 1_000, 6_400, 1 << 40] {
            let ranges = ranges(entries, 100);
            let parts: Vec<u32> = ranges.iter().cloned().flatten().collect();
            assert_eq!(parts, (0..PARTS).collect::<Vec<_>>());
            assert!(ranges.len() == 64 || entries / ranges.len() as u64 <= 100, "{entries}");
        }
        assert_eq!(ranges(100, 100).len(), 1);
        assert_eq!(part_of(u64::MAX), PARTS - 1);
        assert_eq!((part_of(0), part_of(1 << 58)), (0, 1));
    }
}
