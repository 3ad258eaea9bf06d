//! Several records with one id, in any files of a source: the first is kept.
//!
//! ```text
//! part            of the ids of a share's documents: those whose hash begins with the part's number
//! └── ids         hash 2 × u64, document u32, bytes u32; little-endian, in the order of the documents
//!
//! duplicates      documents of a share to leave out
//! └── documents   u32, ascending
//! ```

use super::PAGES;
use super::rejected::{Rejections, Tally};
use super::slices::Spool;
use crate::documents::{Column, DocumentReader};
use crate::parts::{PARTS, part_of};
use pipe_stage::{Error, Inputs, Result, RoaringBitmap, Scratch, Share};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The id of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    /// 128 bits of its BLAKE3: ids are compared by them, so an id column with a single value costs no more than others.
    pub(super) hash: [u64; 2],
    /// Number of the document in its share.
    pub(super) document: u32,
    /// Bytes of its text and page.
    pub(super) bytes: u32,
}

const ID_BYTES: usize = 24;
/// Maximum ids that are compared in one share (64 MiB in memory), if there are enough parts.
pub(super) const IDS_MAX: u64 = 2 << 20;
/// Bytes of a part that are kept in memory; the rest is written to a temporary file.
const MEMORY_MAX: usize = 256 << 10;

impl Id {
    fn to_bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        bytes[..8].copy_from_slice(&self.hash[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&self.hash[1].to_le_bytes());
        bytes[16..20].copy_from_slice(&self.document.to_le_bytes());
        bytes[20..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; ID_BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self { hash: [word(0), word(8)], document: word(16) as u32, bytes: (word(16) >> 32) as u32 }
    }
}

/// Collects the ids of a share by part, in bounded memory.
pub(super) struct IdsWriter {
    parts: Vec<(Spool, usize)>,
    scratch: Scratch,
}

impl IdsWriter {
    pub(super) fn new(share: &Share) -> Result<Self> {
        let parts = (0..PARTS).map(|_| (Spool::new(MEMORY_MAX), 0)).collect();
        Ok(Self { parts, scratch: share.scratch()? })
    }

    pub(super) fn push(&mut self, id: Id) -> Result<()> {
        let part = part_of(id.hash[0]);
        let path = self.scratch.path().join(part.to_string());
        let (spool, bytes) = &mut self.parts[part as usize];
        *bytes += ID_BYTES;
        spool.push(&id.to_bytes(), &path).map(drop).map_err(failed)
    }

    pub(super) fn keep(self, share: &mut Share) -> Result<()> {
        const AT_ONCE: usize = 1 << 20;
        let mut file = share.parts("ids")?;
        let mut buffer = Vec::new();
        for (number, (spool, bytes)) in (0..).zip(&self.parts) {
            for at in (0..*bytes).step_by(AT_ONCE) {
                spool.read(at as u64, AT_ONCE.min(bytes - at), &mut buffer).map_err(failed)?;
                file.part(number, &buffer).map_err(failed)?;
            }
        }
        share.keep_parts(file)
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("read or write", Path::new("the ids of records"), &error)
}

/// What a part contains more than once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Repeated {
    pub(super) documents: u64,
    /// Bytes of their texts and pages.
    pub(super) bytes: u64,
}

/// Finds the documents of a part whose ids occur earlier, in the order of files and rows. The items are the parts of all
/// shares; leaves each share its duplicates.
pub(super) fn find_duplicates(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut ids: Vec<([u64; 2], u32, u32, u32)> = Vec::new();
    for (number, item) in (0..).zip(inputs.items()) {
        for part in item.entries() {
            let bytes = part.bytes()?;
            let read = bytes.as_chunks().0.iter().map(Id::of_bytes);
            ids.extend(read.map(|Id { hash, document, bytes }| (hash, number, document, bytes)));
        }
        share.check_stop()?;
    }
    ids.sort_unstable();
    let mut repeated = Repeated::default();
    let mut by_share: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for equal in ids.chunk_by(|a, b| a.0 == b.0) {
        for (_, number, document, bytes) in &equal[1..] {
            repeated.documents += 1;
            repeated.bytes += u64::from(*bytes);
            by_share.entry(*number).or_default().push(*document);
        }
    }
    let mut parts = share.parts("duplicates")?;
    for (number, mut documents) in by_share {
        documents.sort_unstable();
        let bytes: Vec<u8> = documents.into_iter().flat_map(u32::to_le_bytes).collect();
        parts.part(number, &bytes).map_err(failed)?;
    }
    share.keep_parts(parts)?;
    share.value(&repeated);
    Ok(())
}

/// Makes views of a share's shards without duplicates. The items are its shards, and its duplicates.
pub(super) fn leave_out(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [shards, duplicates] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut left_out = RoaringBitmap::new();
    for part in duplicates.entries() {
        let bytes = part.bytes()?;
        left_out.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
    }
    let mut rejections = Rejections::default();
    rejections.begin(shards.name().to_owned());
    let mut start = 0_u32;
    for shard in shards.entries() {
        let reader = DocumentReader::of_entry(shard)?.columns(&[Column::Id]);
        let rows = reader.rows_total() as u32;
        let mut selected = RoaringBitmap::new();
        selected.insert_range(0..rows);
        selected -= left_out
            .iter()
            .filter_map(|row| row.checked_sub(start))
            .filter(|row| *row < rows)
            .collect::<RoaringBitmap>();
        if selected.len() < u64::from(rows) {
            for row in share.track("documents", reader.rows()?) {
                let row = row??;
                if !selected.contains(row.index) {
                    rejections.duplicate(&row.document.id);
                }
            }
        }
        share.view(PAGES.name(), shard, rows, selected, None)?;
        start += rows;
    }
    let tally: Tally = rejections.keep(share, "duplicates.jsonl")?;
    share.value(&tally);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_are_read_as_they_were_written(hash: [u64; 2], document: u32, bytes: u32) {
            let id = Id { hash, document, bytes };
            prop_assert_eq!(Id::of_bytes(&id.to_bytes()), id);
        }
    }
}
