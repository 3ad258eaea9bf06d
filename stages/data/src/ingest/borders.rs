//! Where one shard ends and the next begins.
//!
//! The contents of a source, files or records, are arranged in a binary trie by the first 64 bits of the BLAKE3 of
//! their names; a shard is a leaf. A leaf that exceeds the caps is split by the next bit. So a changed page changes
//! one shard, a new page changes at most two, and nothing else moves, whatever the order of arrival.

use pipe_stage::SourceFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Maximum content of a shard. A single document may be larger.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(super) struct Caps {
    pub(super) documents: u64,
    /// Of large sets of documents; see [`Self::bytes_at`].
    pub(super) bytes: u64,
}

impl Caps {
    /// Maximum bytes of a shard at this depth of the trie, or of this position in a file. The deeper a trie, the more
    /// it contains: small sets are cut finely, so that all cores have work, and large ones coarsely, since each shard
    /// has costs of its own. The maximum doubles with every second level, and the content of a trie with every level.
    pub(super) fn bytes_at(self, depth: u32) -> u64 {
        // At most 2^53 bytes, more than `shard_mib` allows.
        (SHARD_BYTES_MIN << (depth / 2).min(u32::BITS)).min(self.bytes)
    }
}

/// Maximum size of the first shards.
const SHARD_BYTES_MIN: u64 = 2 << 20;

/// The content below a branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) documents: u64,
    pub(super) bytes: u64,
}

impl Weight {
    fn sum(weights: impl Iterator<Item = Weight>) -> Self {
        let add = |a: Weight, b: Weight| Weight {
            documents: a.documents.saturating_add(b.documents),
            bytes: a.bytes.saturating_add(b.bytes),
        };
        weights.fold(Weight::default(), add)
    }

    /// Whether the branch is a leaf: it cannot or need not be split.
    fn is_leaf(self, depth: u32, caps: Caps) -> bool {
        let fits = self.documents <= caps.documents && self.bytes <= caps.bytes_at(depth);
        fits || self.documents == 1 || depth == u64::BITS
    }
}

/// The positions that follow from the hash of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Position in the trie. It does not depend on the text: a page keeps its position when it changes.
    pub(super) position: u64,
    /// Position in the order of sampling, independent of the position in the trie.
    pub(super) sample: u64,
}

impl Place {
    pub(super) fn of(name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        let (position, rest) = hash.as_bytes().split_first_chunk().expect("invariant: a hash has 32 bytes");
        let sample = rest.first_chunk().expect("invariant: a hash has 32 bytes");
        Self { position: u64::from_be_bytes(*position), sample: u64::from_be_bytes(*sample) }
    }
}

/// A leaf: its lower border, and its files sorted by the hash of their names.
#[derive(Debug, PartialEq)]
pub(super) struct Shard {
    pub(super) border: u64,
    pub(super) files: Vec<SourceFile>,
}

/// Cuts the files of a source into shards, sorted by border; none is empty.
pub(super) fn shards(files: &[SourceFile], caps: Caps) -> Vec<Shard> {
    let mut hashed: Vec<(u64, &SourceFile)> =
        files.iter().map(|file| (Place::of(&file.name).position, file)).collect();
    hashed.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    let leaves = leaves(&hashed, |(position, file)| (*position, file.size), 0, caps);
    let shard = |leaf: Leaf| {
        let files = hashed[leaf.range].iter().map(|(_, file)| (*file).clone()).collect();
        Shard { border: leaf.border, files }
    };
    leaves.into_iter().map(shard).collect()
}

/// A leaf as a range of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) border: u64,
    pub(super) range: Range<usize>,
}

/// Cuts the content of a branch at `depth`, sorted by position, into leaves; none is empty.
///
/// `measure` returns position and bytes of each.
pub(super) fn leaves<T>(
    items: &[T],
    measure: impl Fn(&T) -> (u64, u64),
    depth: u32,
    caps: Caps,
) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    if let Some(first) = items.first() {
        let border = if depth == 0 { 0 } else { measure(first).0 & (u64::MAX << (u64::BITS - depth)) };
        cut(items, &measure, 0..items.len(), border, depth, caps, &mut leaves);
    }
    leaves
}

/// Recursion is at most as deep as the trie: 64.
fn cut<T>(
    items: &[T],
    measure: &impl Fn(&T) -> (u64, u64),
    range: Range<usize>,
    border: u64,
    depth: u32,
    caps: Caps,
    leaves: &mut Vec<Leaf>,
) {
    let weight = |item: &T| Weight { documents: 1, bytes: measure(item).1 };
    if range.is_empty() {
        return;
    }
    if Weight::sum(items[range.clone()].iter().map(weight)).is_leaf(depth, caps) {
        return leaves.push(Leaf { border, range });
    }
    let upper = border | 1 << (u64::BITS - 1 - depth);
    let middle = range.start + items[range.clone()].partition_point(|item| measure(item).0 < upper);
    cut(items, measure, range.start..middle, border, depth + 1, caps, leaves);
    cut(items, measure, middle..range.end, upper, depth + 1, caps, leaves);
}

/// A branch of the trie that can be cut independently: its position, and its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) depth: u32,
    pub(super) parts: Range<usize>,
}

/// Divides a trie of `parts` (the branches at one depth) into leaves above that depth and parts that have to be cut
/// further. Each can be cut independently of the others.
pub(super) fn branches(parts: &[Weight], caps: Caps) -> Vec<Branch> {
    let mut branches = Vec::new();
    branch(parts, 0..parts.len(), 0, caps, &mut branches);
    branches
}

fn branch(parts: &[Weight], range: Range<usize>, depth: u32, caps: Caps, branches: &mut Vec<Branch>) {
    let weight = Weight::sum(parts[range.clone()].iter().copied());
    if weight.documents == 0 {
        return;
    }
    if range.len() == 1 || weight.is_leaf(depth, caps) {
        return branches.push(Branch { depth, parts: range });
    }
    let middle = range.start + range.len() / 2;
    branch(parts, range.start..middle, depth + 1, caps, branches);
    branch(parts, middle..range.end, depth + 1, caps, branches);
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::Digest;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn file(number: usize) -> SourceFile {
        let name = format!("page-{number}.html");
        SourceFile {
            source: "site".into(),
            digest: Digest::of(name.as_bytes()),
            name,
            size: 10,
            at: pipe_stage::Location::Path("x".into()),
        }
    }

    fn named(shards: &[Shard]) -> BTreeSet<(u64, Vec<String>)> {
        let names = |shard: &Shard| shard.files.iter().map(|file| file.name.clone()).collect();
        shards.iter().map(|shard| (shard.border, names(shard))).collect()
    }

    const CAPS: Caps = Caps { documents: 8, bytes: 1 << 20 };

    proptest! {
        #[test]
        fn a_new_page_touches_two_shards_at_most(count in 0usize..300) {
            let files: Vec<_> = (0..=count).map(file).collect();
            let (before, after) = (shards(&files[..count], CAPS), shards(&files, CAPS));
            let (before, after) = (named(&before), named(&after));
            prop_assert!(before.difference(&after).count() <= 1);
            // A split replaces one shard by two; if all files share the next bits, only one of them is new.
            prop_assert!(after.difference(&before).count() <= 2);
        }

        #[test]
        fn branches_cut_by_themselves_give_the_same_leaves(
            sizes in prop::collection::vec(0u64..30, 0..300), log2 in 0u32..6, documents in 1u64..20,
        ) {
            let caps = Caps { documents, bytes: 100 };
            let mut rows: Vec<(u64, u64)> =
                (0..).zip(&sizes).map(|(n, size)| (Place::of(&format!("{n}")).position, *size)).collect();
            rows.sort_unstable();
            let whole: Vec<(u64, usize)> =
                leaves(&rows, |row| *row, 0, caps).into_iter().map(|l| (l.border, l.range.len())).collect();
            let part = |row: &(u64, u64)| row.0.checked_shr(64 - log2).unwrap_or(0) as usize;
            let mut parts = vec![Weight::default(); 1 << log2];
            for row in &rows {
                parts[part(row)].documents += 1;
                parts[part(row)].bytes += row.1;
            }
            let mut apart = Vec::new();
            for branch in branches(&parts, caps) {
                let own: Vec<_> = rows.iter().filter(|row| branch.parts.contains(&part(row))).copied().collect();
                let leaves = leaves(&own, |row| *row, branch.depth, caps);
                apart.extend(leaves.into_iter().map(|leaf| (leaf.border, leaf.range.len())));
            }
            prop_assert_eq!(whole, apart);
        }

        #[test]
        fn order_of_listing_does_not_matter(count in 0usize..100, seed in 0usize..1000) {
            let files: Vec<_> = (0..count).map(file).collect();
            let mut other = files.clone();
            other.rotate_left(if count == 0 { 0 } else { seed % count });
            prop_assert_eq!(shards(&files, CAPS), shards(&other, CAPS));
        }
    }

    #[test]
    fn every_file_is_in_one_shard_within_the_caps() {
        let files: Vec<_> = (0..1000).map(file).collect();
        let shards = shards(&files, Caps { documents: 100, bytes: 500 });
        assert_eq!(shards.iter().map(|shard| shard.files.len()).sum::<usize>(), 1000);
        assert!(shards.iter().all(|shard| shard.files.len() <= 50));
    }
}
