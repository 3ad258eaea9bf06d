//! The signature file: the data about a shard's documents for near-duplicate search and the containment check.
//! Nothing here depends on stages or on how shingles are made.
//!
//! ```text
//! shard                           all numbers little-endian
//! ├── "pipe sig" , version u32, zero u32, documents u64
//! ├── rows      u32 × documents   row in the shard
//! ├── clusters  u64 × documents   near-duplicate cluster, or a stand-in of its own
//! ├── ranks     u64 × documents   which of a cluster is kept: the highest
//! ├── texts     16 B × documents  BLAKE3 of the text, its first half
//! ├── id ends, shingle ends       u64 × documents each
//! ├── ids       UTF-8, end to end
//! └── shingles  u64, ascending within a document, end to end
//! ```
//!
//! Nothing of a file is held in memory: what is said of one document is read when it is asked for.

use std::io::{self, Write};

use crate::dedup::pool::PooledFile;

const MAGIC: &[u8; 8] = b"pipe sig";
/// Revision of the format. 1: bands of all documents were part of it. 2: without bands.
const VERSION: u32 = 2;
const HEADER: u64 = 24;
/// Bytes of a document apart from its id and shingles.
const FIXED: u64 = 52;

/// The signature of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// Row in the shard.
    pub row: u32,
    /// Near-duplicate cluster, or a value of its own.
    pub cluster: u64,
    /// Rank within the cluster; the highest is kept.
    pub rank: u64,
    /// First half of the text's BLAKE3 digest.
    pub text: [u8; 16],
    /// The document's id.
    pub id: String,
    /// Hashes of its distinct shingles, ascending.
    pub shingles: Vec<u64>,
}

/// Writes the signatures of a shard.
pub fn write(mut file: impl Write, signatures: &[Signature]) -> io::Result<()> {
    file.write_all(MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&0_u32.to_le_bytes())?;
    file.write_all(&(signatures.len() as u64).to_le_bytes())?;
    for signature in signatures {
        file.write_all(&signature.row.to_le_bytes())?;
    }
    for signature in signatures {
        file.write_all(&signature.cluster.to_le_bytes())?;
    }
    for signature in signatures {
        file.write_all(&signature.rank.to_le_bytes())?;
    }
    for signature in signatures {
        file.write_all(&signature.text)?;
    }
    write_ends(&mut file, signatures.iter().map(|signature| signature.id.len()))?;
    write_ends(&mut file, signatures.iter().map(|signature| signature.shingles.len()))?;
    for signature in signatures {
        file.write_all(signature.id.as_bytes())?;
    }
    for signature in signatures {
        let bytes: Vec<u8> = signature.shingles.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn write_ends(mut file: impl Write, lengths: impl Iterator<Item = usize>) -> io::Result<()> {
    let mut end = 0;
    for length in lengths {
        end += length as u64;
        file.write_all(&end.to_le_bytes())?;
    }
    Ok(())
}

/// The signatures of a shard. Documents are numbered from 0.
#[derive(Debug)]
pub struct Signatures {
    file: PooledFile,
    documents: u64,
    size: u64,
    /// Where the shingles begin.
    shingles_at: u64,
}

impl Signatures {
    /// Opens a file. Damage is an error here or when it is read.
    pub fn open(file: PooledFile) -> io::Result<Self> {
        let size = file.size()?;
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0)?;
        let number =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("invariant: 4 bytes"));
        if header[..8] != *MAGIC || number(8) != VERSION {
            return Err(damaged("is not a signature file of this version"));
        }
        let documents = u64::from_le_bytes(header[16..].try_into().expect("invariant: 8 bytes"));
        let mut signatures = Self { file, documents, size, shingles_at: 0 };
        // Checked before memory is allocated for the header's numbers.
        let fixed = documents.checked_mul(FIXED).and_then(|fixed| fixed.checked_add(HEADER));
        let Some(ids_at) = fixed.filter(|fixed| *fixed <= size) else {
            return Err(damaged("is shorter than its header claims"));
        };
        let last = |at: u64| match documents.checked_sub(1) {
            Some(last) => signatures.number(at + 8 * last),
            None => Ok(0),
        };
        let (ids, shingles) = (last(signatures.id_ends_at())?, last(signatures.shingle_ends_at())?);
        let shingles_at = ids_at.checked_add(ids);
        let end = shingles.checked_mul(8).and_then(|bytes| shingles_at?.checked_add(bytes));
        let Some(shingles_at) = shingles_at.filter(|_| end == Some(size)) else {
            return Err(damaged("has lengths that contradict each other"));
        };
        signatures.shingles_at = shingles_at;
        Ok(signatures)
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.documents as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// The cluster of each document.
    pub fn clusters(&self) -> io::Result<Vec<u64>> {
        self.numbers(HEADER + 4 * self.documents, self.documents)
    }

    /// The row of a document.
    pub fn row(&self, document: usize) -> io::Result<u32> {
        let bytes = self.bytes(HEADER + 4 * self.known(document)?, 4)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    /// The rank of a document.
    pub fn rank(&self, document: usize) -> io::Result<u64> {
        self.number(HEADER + 12 * self.documents + 8 * self.known(document)?)
    }

    /// The digest of a document's text.
    pub fn text(&self, document: usize) -> io::Result<[u8; 16]> {
        let bytes = self.bytes(HEADER + 20 * self.documents + 16 * self.known(document)?, 16)?;
        bytes.first_chunk().copied().ok_or_else(|| damaged("ends early"))
    }

    /// The id of a document.
    pub fn id(&self, document: usize) -> io::Result<String> {
        let (start, end) = self.range(self.id_ends_at(), document)?;
        let bytes = self.bytes(HEADER + FIXED * self.documents + start, end - start)?;
        String::from_utf8(bytes).map_err(|_| damaged("has an id that is not UTF-8"))
    }

    /// The shingles of a document, ascending.
    pub fn shingles(&self, document: usize) -> io::Result<Vec<u64>> {
        let (start, end) = self.range(self.shingle_ends_at(), document)?;
        self.numbers(self.shingles_at.saturating_add(start.saturating_mul(8)), end - start)
    }

    fn id_ends_at(&self) -> u64 {
        HEADER + 36 * self.documents
    }

    fn shingle_ends_at(&self) -> u64 {
        HEADER + 44 * self.documents
    }

    fn known(&self, document: usize) -> io::Result<u64> {
        let document = document as u64;
        if document < self.documents { Ok(document) } else { Err(damaged("has fewer documents")) }
    }

    /// Where a document's id or shingles begin and end; the end is within the file.
    fn range(&self, ends_at: u64, document: usize) -> io::Result<(u64, u64)> {
        let document = self.known(document)?;
        let first = document.saturating_sub(1);
        let ends = self.numbers(ends_at + 8 * first, document - first + 1)?;
        let (start, end) = match ends[..] {
            [start, end] => (start, end),
            _ => (0, ends.first().copied().unwrap_or(0)),
        };
        if start > end || end > self.size {
            return Err(damaged("has lengths that contradict each other"));
        }
        Ok((start, end))
    }

    fn number(&self, at: u64) -> io::Result<u64> {
        Ok(self.numbers(at, 1)?.first().copied().unwrap_or(0))
    }

    fn numbers(&self, at: u64, count: u64) -> io::Result<Vec<u64>> {
        let bytes = self.bytes(at, count.saturating_mul(8))?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    fn bytes(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        if at.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(damaged("is shorter than its lengths claim"));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::pool::FilePool;
    use proptest::prelude::*;

    fn some() -> Vec<Signature> {
        let signature = |row: u32| Signature {
            row,
            cluster: u64::from(row) << 40,
            rank: 7,
            text: [row as u8; 16],
            id: format!("doc-{row}"),
            shingles: (0..u64::from(row) % 5).collect(),
        };
        [0, 2, 4, 9].map(signature).into()
    }

    fn opened(bytes: &[u8]) -> io::Result<Signatures> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), bytes)?;
        Signatures::open(FilePool::default().file(file.path().to_owned()))
    }

    fn bytes_of(signatures: &[Signature]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, signatures).unwrap();
        bytes
    }

    #[test]
    fn reads_back_column_by_column() {
        let signatures = opened(&bytes_of(&some())).unwrap();
        assert_eq!(signatures.len(), 4);
        assert_eq!(signatures.clusters().unwrap(), [0, 2 << 40, 4 << 40, 9 << 40]);
        assert_eq!((0..4).map(|n| signatures.row(n).unwrap()).collect::<Vec<_>>(), [0, 2, 4, 9]);
        assert_eq!(signatures.rank(3).unwrap(), 7);
        assert_eq!(signatures.text(2).unwrap(), [4; 16]);
        assert_eq!([signatures.id(0).unwrap(), signatures.id(3).unwrap()], ["doc-0", "doc-9"]);
        assert_eq!([0, 1, 2, 3].map(|n| signatures.shingles(n).unwrap().len()), [0, 2, 4, 4]);
        assert_eq!(signatures.shingles(1).unwrap(), [0, 1]);
        assert!(signatures.id(4).is_err() && signatures.rank(4).is_err());
    }

    proptest! {
        #[test]
        fn damaged_files_give_errors_and_never_panics(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = bytes_of(&some());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() * 4 + 1));
            if let Ok(signatures) = opened(&bytes) {
                for document in 0..signatures.len() {
                    let _ = (signatures.id(document), signatures.shingles(document));
                }
            }
        }
    }
}
