//! Megatron-LM's token files: sequences of ids, and an index of their boundaries.
//!
//! ```text
//! name.idx                little-endian
//! ├── magic               `MMIDIDX\0\0`
//! ├── version: u64        1
//! ├── element: u8         1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 8 u16; floats are refused
//! ├── sequences: u64
//! ├── borders: u64        one more than there are documents
//! ├── lengths             i32 for each sequence, in ids
//! ├── pointers            i64 for each sequence, in bytes of name.bin
//! ├── borders             i64 each: the sequence that a document begins with; the last is the number of sequences
//! └── modes               i8 for each sequence, in files of several modes; passed over
//!
//! name.bin                the ids of all sequences, one after the other
//! ```
//!
//! Written by `megatron/core/datasets/indexed_dataset.py` of github.com/NVIDIA/Megatron-LM.

use super::Shards;
use pipe_stage::{Error, LocalEntry, Result};
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &[u8] = b"MMIDIDX\0\0";

/// The type of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Element {
    bytes: u64,
    is_signed: bool,
}

/// Lengths of all documents in ids; the data file contains them consecutively.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    element: Element,
    documents: Vec<u64>,
}

pub(super) fn read(data: &LocalEntry, index: &LocalEntry, shards: &mut Shards) -> Result<()> {
    /// Bytes read at a time.
    const CHUNK_BYTES: u64 = 1 << 20;
    let Index { element, documents } =
        Index::of_files(index.name(), &index.bytes()?, data.name(), data.size())?;
    let failed = |error: io::Error| Error::io("read", Path::new(data.name()), &error);
    let mut stream = data.stream()?;
    let (mut chunk, mut token) = (Vec::new(), 0);
    for mut left in documents {
        while left > 0 {
            let ids = left.min(CHUNK_BYTES / element.bytes);
            chunk.clear();
            (&mut stream).take(ids * element.bytes).read_to_end(&mut chunk).map_err(failed)?;
            if chunk.len() as u64 != ids * element.bytes {
                // The file had that many when it was listed.
                return stream.finish();
            }
            for bytes in chunk.chunks_exact(element.bytes as usize) {
                shards.push(element.id(bytes), token, token * element.bytes)?;
                token += 1;
            }
            shards.advance(ids)?;
            left -= ids;
        }
        shards.end_document()?;
    }
    stream.finish()
}

impl Element {
    fn of_code(code: u8) -> Option<Self> {
        let (bytes, is_signed) = match code {
            1 => (1, false),
            2 => (1, true),
            3 => (2, true),
            4 => (4, true),
            5 => (8, true),
            8 => (2, false),
            _ => return None,
        };
        Some(Self { bytes, is_signed })
    }

    /// A negative id becomes one that is in no vocabulary.
    fn id(self, bytes: &[u8]) -> u64 {
        let id = bytes.iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte));
        let is_negative = self.is_signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        if is_negative { u64::MAX } else { id }
    }
}

/// Refuses an index that does not fit its data file of so many bytes.
pub(super) fn preview(index: &str, bytes: &[u8], data: &str, size: u64) -> Result<()> {
    Index::of_files(index, bytes, data, size).map(drop)
}

impl Index {
    fn of_files(index: &str, bytes: &[u8], data: &str, size: u64) -> Result<Self> {
        let read = Self::parse(bytes)
            .map_err(|reason| Error::input(format!("`{index}` is not a Megatron index: {reason}")))?;
        let promised = read.documents.iter().sum::<u64>().saturating_mul(read.element.bytes);
        if promised != size {
            return Err(Error::input(format!(
                "`{data}` has {size} bytes, but its index describes {promised}"
            )));
        }
        Ok(read)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let ended = || "it is truncated".to_owned();
        let mut rest = bytes.strip_prefix(MAGIC).ok_or("it has the wrong magic number")?;
        let mut take = |length: u64| {
            let length = usize::try_from(length).map_err(|_| ended())?;
            let (taken, left) = rest.split_at_checked(length).ok_or_else(ended)?;
            rest = left;
            Ok::<_, String>(taken)
        };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let version = number(take(8)?);
        if version != 1 {
            return Err(format!("its version is {version}, not 1"));
        }
        let code = take(1)?[0];
        let element = Element::of_code(code).ok_or_else(|| format!("its ids are of type {code}"))?;
        let (sequences, borders) = (number(take(8)?), number(take(8)?));
        let size = |count: u64, bytes: u64| count.checked_mul(bytes).ok_or_else(ended);
        let lengths = take(size(sequences, 4)?)?.as_chunks::<4>().0;
        let pointers = take(size(sequences, 8)?)?.as_chunks::<8>().0;
        let borders = take(size(borders, 8)?)?.as_chunks::<8>().0;

        // End of each sequence, in ids.
        let mut ends = Vec::with_capacity(lengths.len() + 1);
        ends.push(0);
        let mut end = 0_u64;
        for (sequence, (length, pointer)) in lengths.iter().zip(pointers).enumerate() {
            let length = u64::try_from(i32::from_le_bytes(*length))
                .map_err(|_| format!("the length of sequence {sequence} is negative"))?;
            if Some(u64::from_le_bytes(*pointer)) != end.checked_mul(element.bytes) {
                return Err(format!("sequence {sequence} does not follow the one before it"));
            }
            end += length;
            ends.push(end);
        }
        let mut documents = Vec::with_capacity(borders.len());
        let mut last: Option<usize> = None;
        for (document, border) in borders.iter().enumerate() {
            let border =
                usize::try_from(u64::from_le_bytes(*border)).ok().filter(|border| *border < ends.len());
            let border = border.filter(|border| last.map_or(*border == 0, |last| *border >= last));
            let border =
                border.ok_or_else(|| format!("document {document} begins at an invalid position"))?;
            documents.extend(last.map(|last| ends[border] - ends[last]));
            last = Some(border);
        }
        if last.unwrap_or(0) != lengths.len() {
            return Err("its documents do not contain all sequences".to_owned());
        }
        Ok(Self { element, documents })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An index with sequences of these lengths, and documents that begin at these sequences.
    pub(in super::super) fn index(code: u8, lengths: &[i32], borders: &[i64]) -> Vec<u8> {
        let element = Element::of_code(code).map_or(4, |element| element.bytes as i64);
        let mut bytes = [MAGIC, &1_u64.to_le_bytes(), &[code]].concat();
        bytes.extend((lengths.len() as u64).to_le_bytes());
        bytes.extend((borders.len() as u64).to_le_bytes());
        bytes.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        let mut pointer = 0;
        for length in lengths {
            bytes.extend(i64::to_le_bytes(pointer));
            pointer += i64::from(*length) * element;
        }
        bytes.extend(borders.iter().flat_map(|border| border.to_le_bytes()));
        bytes
    }

    #[test]
    fn documents_are_sequences_between_borders() {
        let parsed = Index::parse(&index(8, &[3, 0, 2, 4], &[0, 2, 2, 4])).unwrap();
        let element = Element { bytes: 2, is_signed: false };
        assert_eq!(parsed, Index { element, documents: vec![3, 0, 6] });
    }

    #[test]
    fn what_is_wrong_with_an_index_is_told() {
        let error = |bytes: &[u8]| Index::parse(bytes).unwrap_err();
        assert_eq!(error(b"MMIDIDX"), "it has the wrong magic number");
        assert_eq!(error(&index(6, &[1], &[0, 1])), "its ids are of type 6");
        assert_eq!(error(&index(8, &[1, 1], &[0, 1])), "its documents do not contain all sequences");
        assert_eq!(error(&index(8, &[1, 1], &[0, 3])), "document 1 begins at an invalid position");
        assert_eq!(error(&index(8, &[1, -1], &[0, 2])), "the length of sequence 1 is negative");
        let whole = index(8, &[1, 1], &[0, 2]);
        assert_eq!(error(&whole[..whole.len() - 1]), "it is truncated");
        let mut gap = whole.clone();
        gap[9 + 8 + 1 + 16 + 8 + 8] = 9;
        assert_eq!(error(&gap), "sequence 1 does not follow the one before it");
        let mut huge = whole;
        huge[18..26].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(error(&huge), "it is truncated");
    }

    proptest! {
        #[test]
        fn damaged_indexes_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = index(4, &[3, 1, 2], &[0, 1, 3]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Index::parse(&bytes);
        }
    }
}
