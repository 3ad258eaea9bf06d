//! Entries by hash: what the shares of one step leave in parts, and shares of the next one read together with the equal
//! hashes of all shards. Nothing here depends on what is hashed.
//!
//! ```text
//! part            all numbers little-endian; entries ascend
//! └── entries     hash u64, then as many bytes as the kind of entry has
//! ```

use crate::parts::{part_of, ranges};
use pipe_stage::{Error, InputItem, Item, Result, Share, Step};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Maximum number of entries that a share of the next step reads, if there are enough parts; and the maximum that it holds,
/// unless one hash has more.
const ENTRIES_MAX: u64 = 1 << 20;

/// An entry of a shard: a hash, and what belongs to it, in an order that is that of the bytes.
pub(crate) type Hashed<const N: usize> = (u64, [u8; N]);

/// Writes the entries of a share by part.
pub(crate) fn write<const N: usize>(
    share: &mut Share,
    slot: &str,
    mut entries: Vec<Hashed<N>>,
) -> Result<()> {
    entries.sort_unstable();
    entries.dedup();
    let mut parts = share.parts(slot)?;
    let mut bytes = Vec::new();
    for part in entries.chunk_by(|a, b| part_of(a.0) == part_of(b.0)) {
        bytes.clear();
        for (hash, rest) in part {
            bytes.extend(hash.to_le_bytes());
            bytes.extend(rest);
        }
        parts.part(part_of(part[0].0), &bytes).map_err(unwritable)?;
    }
    share.keep_parts(parts)
}

/// The parts of a slot for the shares of the next step, if there are this many entries.
pub(crate) fn parts(step: &Step, slot: &str, entries: u64) -> Vec<Vec<Item>> {
    step.parts(slot, &ranges(entries, ENTRIES_MAX))
}

/// An entry and the position of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found<const N: usize> {
    pub(crate) hash: u64,
    pub(crate) shard: u32,
    pub(crate) rest: [u8; N],
}

/// Calls `take` with the entries of each hash, in the order of shards. The items are the same parts of all shards.
///
/// Memory: as many entries as [`ENTRIES_MAX`]. If there are more, the parts are read several times, each time for other
/// hashes.
pub(crate) fn for_each_group<const N: usize>(
    share: &Share,
    items: &[InputItem],
    take: impl FnMut(&[Found<N>]) -> Result<()>,
) -> Result<()> {
    read_groups(share, items, ENTRIES_MAX, take)
}

fn read_groups<const N: usize>(
    share: &Share,
    items: &[InputItem],
    entries_max: u64,
    mut take: impl FnMut(&[Found<N>]) -> Result<()>,
) -> Result<()> {
    let bytes: u64 = items.iter().flat_map(InputItem::entries).map(|part| part.size()).sum();
    let passes = (bytes / (8 + N as u64)).div_ceil(entries_max).clamp(1, 1 << 16);
    let mut found: Vec<Found<N>> = Vec::new();
    for pass in 0..passes {
        found.clear();
        for (shard, item) in (0..).zip(items) {
            share.check_stop()?;
            for part in item.entries() {
                let bytes = part.bytes()?;
                let entries = bytes.chunks_exact(8 + N);
                if !entries.remainder().is_empty() {
                    return Err(damaged());
                }
                let entry = |bytes: &[u8]| Found {
                    hash: u64::from_le_bytes(std::array::from_fn(|at| bytes[at])),
                    shard,
                    rest: std::array::from_fn(|at| bytes[8 + at]),
                };
                found.extend(entries.map(entry).filter(|found| pass_of(found.hash, passes) == pass));
            }
        }
        found.sort_unstable();
        for group in found.chunk_by(|a, b| a.hash == b.hash) {
            take(group)?;
        }
    }
    Ok(())
}

/// The pass of a hash: by bits that the number of its part does not depend on.
fn pass_of(hash: u64, passes: u64) -> u64 {
    ((hash >> 16 & 0xffff_ffff) * passes) >> 32
}

/// What a share leaves for each shard of an earlier step, by the shard's position; [`Step::by_item`] hands it out.
#[derive(Debug, Default)]
pub(crate) struct ByShard(BTreeMap<u32, Vec<u8>>);

impl ByShard {
    /// The bytes for a shard so far.
    pub(crate) fn of(&mut self, shard: u32) -> &mut Vec<u8> {
        self.0.entry(shard).or_default()
    }

    /// Writes the bytes of all shards.
    pub(crate) fn write(self, share: &mut Share, slot: &str) -> Result<()> {
        let mut parts = share.parts(slot)?;
        for (shard, bytes) in self.0 {
            parts.part(shard, &bytes).map_err(unwritable)?;
        }
        share.keep_parts(parts)
    }
}

/// The 32-bit number at a position of an entry's bytes.
pub(crate) fn number_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

/// The records of fixed size that [`ByShard`] left for a shard, of all its parts.
pub(crate) fn read_records<const N: usize>(files: &[pipe_stage::LocalEntry]) -> Result<Vec<[u8; N]>> {
    let mut records = Vec::new();
    for file in files {
        let bytes = file.bytes()?;
        let (own, rest) = bytes.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        records.extend_from_slice(own);
    }
    Ok(records)
}

fn damaged() -> Error {
    let error = io::Error::new(io::ErrorKind::InvalidData, "has an incomplete entry");
    Error::io("read", Path::new("a part of an earlier step"), &error)
}

fn unwritable(error: io::Error) -> Error {
    Error::io("write", Path::new("a file of the cache"), &error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::testing::Bench;
    use pipe_stage::{Code, Context, FILES, In, Inputs, Out, Port, Stage};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    /// Leaves the hashes that several bytes of its files have in common, with the numbers of their shards.
    #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
    struct Common {
        entries_max: u64,
    }

    const INPUT: In = In::new("files", &FILES, "Bytes.");
    const OUTPUT: Out = Out::main("common", &FILES, "Shards of each byte that several have.");

    impl Stage for Common {
        const NAME: &'static str = "common";
        const REVISION: u32 = 1;
        const CODE: Code = Code::Revision;
        const PORTS: &'static [Port] = &[INPUT.port(), OUTPUT.port()];

        fn run(&self, ctx: &Context) -> Result<()> {
            let files = ctx.input(INPUT).shards();
            let shards = files.len();
            let hashed = ctx.each("hashed", &(), files, |(), inputs: &Inputs, share: &mut Share| {
                let bytes = inputs.item().entries()[0].bytes()?;
                let hash = |byte: &u8| u64::from(*byte).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                write(share, "bytes", bytes.iter().map(|byte| (hash(byte), [*byte])).collect())
            })?;
            let parts = parts(&hashed, "bytes", 0);
            let grouped =
                ctx.each_of("grouped", &self.entries_max, parts, |entries_max, inputs, share| {
                    let mut by_shard = ByShard::default();
                    read_groups::<1>(share, inputs.items(), *entries_max, |group| {
                        for found in group.iter().filter(|_| group.len() > 1) {
                            by_shard.of(found.shard).push(found.rest[0]);
                        }
                        Ok(())
                    })?;
                    by_shard.write(share, "grouped")
                })?;
            let common =
                ctx.each("common", &(), grouped.by_item("grouped", shards), |(), inputs, share| {
                    let mut bytes = read_records::<1>(inputs.item().entries())?.concat();
                    bytes.sort_unstable();
                    share.write("common", "shard", &bytes)?;
                    share.value(&bytes);
                    Ok(())
                })?;
            let values = common.values::<Vec<u8>>()?;
            ctx.metric(pipe_stage::Metric::count("total", values.iter().map(Vec::len).sum::<usize>() as u64));
            ctx.output(OUTPUT, common.entries("common").into_iter().take(1))
        }
    }

    #[test]
    fn each_shard_gets_what_others_have_too_whatever_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let first: Vec<u8> = (0..200).collect();
        let (second, third): (Vec<u8>, Vec<u8>) = ((150..255).collect(), vec![7, 7, 160]);
        let files = [("a", &first[..]), ("b", &second[..]), ("c", &third[..])];
        let files = bench.artifact("files", &files).unwrap();
        let outputs = [1 << 20, 50, 3].map(|entries_max| {
            let outcome = bench.run(&Common { entries_max }, &[("files", &files)]).unwrap();
            assert_eq!(outcome.metrics[0].value, 51.0 + 50.0 + 2.0);
            outcome.outputs["common"]
        });
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
