//! The signature file: the data about a shard's documents for near-duplicate search and the containment check.
//! Nothing here depends on stages or on how shingles are made.
//!
//! ```text
//! shard                           all numbers little-endian
//! ├── "pipe sig" , version u32, bands u32, documents u64
//! ├── rows      u32 × documents   row in the shard
//! ├── clusters  u64 × documents   near-duplicate cluster, or a stand-in of its own
//! ├── ranks     u64 × documents   which of a cluster is kept: the highest
//! ├── texts     16 B × documents  BLAKE3 of the text, its first half
//! ├── bands     u64 × bands × documents, band by band; zeros for a document without shingles
//! ├── id ends, shingle ends       u64 × documents each
//! ├── ids       UTF-8, end to end
//! └── shingles  u64, ascending within a document, end to end
//! ```
//!
//! Columns are stored separately so that a reader can hold one band of all shards; ids and shingles, which are most
//! of the data, are read on demand.

use std::io::{self, Write};

use crate::dedup::pool::PooledFile;

const MAGIC: &[u8; 8] = b"pipe sig";
const VERSION: u32 = 1;
const HEADER: u64 = 24;

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
    /// Hash of each band; empty for a document without shingles.
    pub bands: Vec<u64>,
    /// The document's id.
    pub id: String,
    /// Hashes of its distinct shingles, ascending.
    pub shingles: Vec<u64>,
}

/// Writes the signatures of a shard. All have `bands` bands, or none.
pub fn write(mut file: impl Write, bands: usize, signatures: &[Signature]) -> io::Result<()> {
    file.write_all(MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&(bands as u32).to_le_bytes())?;
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
    for band in 0..bands {
        for signature in signatures {
            file.write_all(&signature.bands.get(band).unwrap_or(&0).to_le_bytes())?;
        }
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

/// The signatures of a shard; columns are read on demand. Documents are numbered from 0.
#[derive(Debug)]
pub struct Signatures {
    file: PooledFile,
    bands: u64,
    documents: u64,
    id_ends: Vec<u64>,
    shingle_ends: Vec<u64>,
}

impl Signatures {
    /// Opens a file. Damage is an error here or when a column is read.
    pub fn open(file: PooledFile) -> io::Result<Self> {
        let size = file.size()?;
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0)?;
        let number =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("invariant: 4 bytes"));
        if header[..8] != *MAGIC || number(8) != VERSION {
            return Err(damaged("is not a signature file of this version"));
        }
        let bands = u64::from(number(12));
        let documents = u64::from_le_bytes(header[16..].try_into().expect("invariant: 8 bytes"));
        let mut signatures = Self { file, bands, documents, id_ends: Vec::new(), shingle_ends: Vec::new() };
        // Checked before memory is allocated for the header's numbers.
        let fixed = documents.checked_mul(52 + 8 * bands);
        if fixed.is_none_or(|fixed| HEADER + fixed > size) {
            return Err(damaged("is shorter than its header claims"));
        }
        signatures.id_ends = signatures.numbers(signatures.ends_at(), documents)?;
        signatures.shingle_ends = signatures.numbers(signatures.ends_at() + 8 * documents, documents)?;
        let ascend = |ends: &[u64]| ends.is_sorted();
        let shingles = signatures.shingle_ends.last().copied().unwrap_or(0);
        let end = shingles.checked_mul(8).and_then(|bytes| signatures.shingles_at().checked_add(bytes));
        if !ascend(&signatures.id_ends) || !ascend(&signatures.shingle_ends) || end != Some(size) {
            return Err(damaged("has lengths that contradict each other"));
        }
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

    /// The row of each document.
    pub fn rows(&self) -> io::Result<Vec<u32>> {
        let bytes = self.bytes(HEADER, 4 * self.documents)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    /// The cluster of each document.
    pub fn clusters(&self) -> io::Result<Vec<u64>> {
        self.numbers(HEADER + 4 * self.documents, self.documents)
    }

    /// The rank of each document.
    pub fn ranks(&self) -> io::Result<Vec<u64>> {
        self.numbers(HEADER + 12 * self.documents, self.documents)
    }

    /// The digest of each document's text.
    pub fn texts(&self) -> io::Result<Vec<[u8; 16]>> {
        let bytes = self.bytes(HEADER + 20 * self.documents, 16 * self.documents)?;
        Ok(bytes.as_chunks::<16>().0.to_vec())
    }

    /// One band of each document.
    pub fn band(&self, band: usize) -> io::Result<Vec<u64>> {
        if band as u64 >= self.bands {
            return Err(damaged("has fewer bands than were asked for"));
        }
        self.numbers(HEADER + (36 + 8 * band as u64) * self.documents, self.documents)
    }

    /// The id of a document.
    pub fn id(&self, document: usize) -> io::Result<String> {
        let (start, end) = range(&self.id_ends, document);
        let bytes = self.bytes(self.ids_at() + start, end - start)?;
        String::from_utf8(bytes).map_err(|_| damaged("has an id that is not UTF-8"))
    }

    /// Number of shingles of a document.
    pub fn shingle_count(&self, document: usize) -> usize {
        let (start, end) = range(&self.shingle_ends, document);
        (end - start) as usize
    }

    /// The shingles of a document, ascending.
    pub fn shingles(&self, document: usize) -> io::Result<Vec<u64>> {
        let (start, end) = range(&self.shingle_ends, document);
        self.numbers(self.shingles_at() + 8 * start, end - start)
    }

    fn ends_at(&self) -> u64 {
        HEADER + (36 + 8 * self.bands) * self.documents
    }

    fn ids_at(&self) -> u64 {
        self.ends_at() + 16 * self.documents
    }

    fn shingles_at(&self) -> u64 {
        self.ids_at().saturating_add(self.id_ends.last().copied().unwrap_or(0))
    }

    fn numbers(&self, at: u64, count: u64) -> io::Result<Vec<u64>> {
        let bytes = self.bytes(at, 8 * count)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    fn bytes(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn range(ends: &[u64], document: usize) -> (u64, u64) {
    (document.checked_sub(1).map_or(0, |before| ends[before]), ends[document])
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
            bands: if row == 2 { Vec::new() } else { vec![u64::from(row), 5, 6] },
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
        write(&mut bytes, 3, signatures).unwrap();
        bytes
    }

    #[test]
    fn reads_back_column_by_column() {
        let signatures = opened(&bytes_of(&some())).unwrap();
        assert_eq!(signatures.len(), 4);
        assert_eq!(signatures.rows().unwrap(), [0, 2, 4, 9]);
        assert_eq!(signatures.clusters().unwrap(), [0, 2 << 40, 4 << 40, 9 << 40]);
        assert_eq!(signatures.ranks().unwrap(), [7; 4]);
        assert_eq!(signatures.texts().unwrap(), [[0; 16], [2; 16], [4; 16], [9; 16]]);
        assert_eq!(signatures.band(0).unwrap(), [0, 0, 4, 9]);
        assert_eq!(signatures.band(2).unwrap(), [6, 0, 6, 6]);
        assert_eq!(signatures.id(3).unwrap(), "doc-9");
        assert_eq!((0..4).map(|n| signatures.shingle_count(n)).collect::<Vec<_>>(), [0, 2, 4, 4]);
        assert_eq!(signatures.shingles(1).unwrap(), [0, 1]);
        assert!(signatures.band(3).is_err());
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
