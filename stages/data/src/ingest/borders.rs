//! Where one shard ends and the next begins.
//!
//! The files of a source hang in a binary trie over the first 64 bits of the BLAKE3 of their names; a shard
//! is a leaf. A leaf that grows beyond the caps splits by its next bit. So a changed page changes one shard,
//! a new one at most one more, and nothing else moves, whatever the order in which files came.

use pipe_stage::{Digest, SourceFile};

/// What a shard may hold at most. A single file may be larger than that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) documents: usize,
    pub(super) bytes: u64,
}

/// A leaf: its lower border, and its files by the hash of their names.
#[derive(Debug, PartialEq)]
pub(super) struct Shard {
    pub(super) border: u64,
    pub(super) files: Vec<SourceFile>,
}

/// Cuts the files of one source into shards, in the order of their borders; none is empty.
pub(super) fn shards(files: &[SourceFile], caps: Caps) -> Vec<Shard> {
    let mut hashed: Vec<(u64, &SourceFile)> = files.iter().map(|file| (position(&file.name), file)).collect();
    hashed.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    let mut shards = Vec::new();
    cut(&hashed, 0, 0, caps, &mut shards);
    shards
}

/// Where a name hangs in the trie. The text plays no part: a page stays where it is when it changes.
fn position(name: &str) -> u64 {
    let hash = Digest::of(name.as_bytes());
    let hexadecimal = hash.to_string();
    u64::from_str_radix(&hexadecimal[..16], 16).expect("invariant: a digest is written in hexadecimal")
}

/// The depth of recursion is that of the trie, 64 at most.
fn cut(files: &[(u64, &SourceFile)], border: u64, depth: u32, caps: Caps, shards: &mut Vec<Shard>) {
    let bytes: u64 = files.iter().map(|(_, file)| file.size).sum();
    let fits = files.len() <= caps.documents && bytes <= caps.bytes;
    if files.is_empty() {
        return;
    }
    if fits || files.len() == 1 || depth == u64::BITS {
        let files = files.iter().map(|(_, file)| (*file).clone()).collect();
        return shards.push(Shard { border, files });
    }
    let upper = border | 1 << (u64::BITS - 1 - depth);
    let middle = files.partition_point(|(position, _)| *position < upper);
    cut(&files[..middle], border, depth + 1, caps, shards);
    cut(&files[middle..], upper, depth + 1, caps, shards);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn file(number: usize) -> SourceFile {
        let name = format!("page-{number}.html");
        SourceFile {
            source: "site".into(),
            digest: Digest::of(name.as_bytes()),
            name,
            size: 10,
            path: "x".into(),
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
            // A split gives two; where all files share the next bits, just one of them is new.
            prop_assert!(after.difference(&before).count() <= 2);
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
