//! Which files of records are read together.
//!
//! A large file is read on its own. Small ones are read in groups, so that ten thousand of them do not make ten thousand
//! shards. Where a group ends depends on the files next to the border only (content-defined chunking, as in LBFS,
//! Muthitacharoen et al. 2001): a new file changes one group, or splits it in two.

use super::borders::Place;
use super::format::{Compression, Format};
use pipe_stage::{Item, SourceFile};

/// Bytes of a file that is read on its own, and the mean size of a group.
const GROUP_BYTES: u64 = 4 << 20;
/// A group also ends when it has this many times its mean size.
const GROUPS_MAX: u64 = 4;

/// Estimated size of a file's records in bytes.
pub(super) fn estimated_bytes(file: &SourceFile, format: Format) -> u64 {
    match (format, Compression::of_name(&file.name)) {
        (Format::Parquet | Format::Arrow, _) => file.size.saturating_mul(3),
        (_, Compression::Plain) => file.size,
        _ => file.size.saturating_mul(4),
    }
}

/// The groups of a source's files, as items named `<source>/<hash of the first file's name>.rows`. Files keep their order.
pub(super) fn items(source: &str, files: &[SourceFile], format: Format) -> Vec<Item> {
    let mut groups: Vec<Vec<SourceFile>> = Vec::new();
    let (mut bytes, mut is_alone) = (0_u64, true);
    for file in files {
        let size = estimated_bytes(file, format);
        let is_large = size >= GROUP_BYTES;
        if is_alone || is_large || bytes >= GROUPS_MAX * GROUP_BYTES || is_first(file, size) {
            groups.push(Vec::new());
            bytes = 0;
        }
        if let Some(group) = groups.last_mut() {
            group.push(file.clone());
        }
        bytes = bytes.saturating_add(size);
        is_alone = is_large;
    }
    let item = |files: Vec<SourceFile>| {
        let position = files.first().map_or(0, |file| Place::of(&file.name).position);
        Item::of_sources(&format!("{source}/{position:016x}.rows"), files)
    };
    groups.into_iter().map(item).collect()
}

/// Whether a group begins with a file: with a probability that is proportional to its size.
fn is_first(file: &SourceFile, size: u64) -> bool {
    const STEPS: u64 = 1 << 16;
    Place::of(&file.name).sample % STEPS < size.saturating_mul(STEPS) / GROUP_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::{Digest, Location};
    use proptest::prelude::*;

    fn file(name: String, size: u64) -> SourceFile {
        let (digest, at) = (Digest::of(name.as_bytes()), Location::Path("x".into()));
        SourceFile { source: "s".into(), digest, name, size, at }
    }

    fn groups(files: &[SourceFile]) -> Vec<(String, Vec<String>)> {
        let items = items("s", files, Format::Jsonl);
        let names = |item: &Item| item.inputs.iter().map(|input| input.name().to_owned()).collect();
        items.iter().map(|item| (item.name.clone(), names(item))).collect()
    }

    #[test]
    fn small_files_share_a_group_and_large_ones_do_not() {
        let small: Vec<_> = (0..1000).map(|n| file(format!("{n:04}"), 10 << 10)).collect();
        let count = groups(&small).len();
        assert!((2..=6).contains(&count), "{count}");
        let large: Vec<_> = (0..10).map(|n| file(format!("{n:04}"), 5 << 20)).collect();
        assert_eq!(groups(&large).len(), 10);
        assert_eq!(groups(&[]), []);
    }

    proptest! {
        #[test]
        fn a_new_file_changes_a_group_or_splits_it(
            sizes in prop::collection::vec(1_u64..(6 << 20), 1..200), new in 0_usize..200, size in 1_u64..(6 << 20),
        ) {
            let mut files: Vec<_> = (0..).zip(&sizes).map(|(n, size): (usize, _)| file(format!("{n:04}"), *size)).collect();
            let before = groups(&files);
            let at = new % files.len();
            files.insert(at, file(format!("{at:04}-new"), size));
            let after = groups(&files);
            let all: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
            let grouped: Vec<String> = after.iter().flat_map(|(_, files)| files.clone()).collect();
            prop_assert_eq!(grouped, all);
            // A group that ends for its size may move the next borders, up to the next one that a name determines.
            let changed = after.iter().filter(|group| !before.contains(group)).count();
            prop_assert!(changed <= 8, "{}", changed);
        }
    }
}
