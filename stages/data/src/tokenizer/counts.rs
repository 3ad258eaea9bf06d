//! Counts pieces of text: counting, the counts file of a shard, and the sum of several. Nothing here depends on
//! tokens or stages.
//!
//! ```text
//! shard            numbers little-endian
//! ├── "pipe cnt"   with version u32 and pieces u64
//! └── for each piece, ascending by bytes: length u32, bytes, count u64
//! ```

use std::io::{self, Read, Write};

use rustc_hash::FxHashMap;

use crate::tokenizer::pattern::Pattern;

const MAGIC: &[u8; 8] = b"pipe cnt";
const VERSION: u32 = 1;

/// Counts of pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PieceCounts {
    counts: FxHashMap<Box<[u8]>, u64>,
}

impl PieceCounts {
    /// Counts the pieces of a text.
    pub fn add_text(&mut self, pattern: Pattern, text: &str) {
        for piece in pattern.pieces(text) {
            self.add(piece.as_bytes(), 1);
        }
    }

    fn add(&mut self, piece: &[u8], count: u64) {
        match self.counts.get_mut(piece) {
            Some(sum) => *sum = sum.saturating_add(count),
            None => drop(self.counts.insert(piece.into(), count)),
        }
    }

    /// Number of distinct pieces.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are no pieces.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Pieces and counts, ascending by bytes.
    pub fn sorted(self) -> Vec<(Box<[u8]>, u64)> {
        let mut sorted: Vec<_> = self.counts.into_iter().collect();
        sorted.sort_unstable();
        sorted
    }

    /// Writes the counts; equal counts give equal bytes.
    pub fn write(self, mut file: impl Write) -> io::Result<()> {
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        file.write_all(&(self.len() as u64).to_le_bytes())?;
        for (piece, count) in self.sorted() {
            file.write_all(&(piece.len() as u32).to_le_bytes())?;
            file.write_all(&piece)?;
            file.write_all(&count.to_le_bytes())?;
        }
        Ok(())
    }

    /// Adds the counts from a file.
    pub fn add_file(&mut self, mut file: impl Read) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "is not a counts file of this version");
        let mut magic = [0; 8];
        file.read_exact(&mut magic)?;
        if magic != *MAGIC || u32::from_le_bytes(read(&mut file)?) != VERSION {
            return Err(damaged());
        }
        let mut piece = Vec::new();
        for _ in 0..u64::from_le_bytes(read(&mut file)?) {
            let length = u64::from(u32::from_le_bytes(read(&mut file)?));
            piece.clear();
            // Uses no more memory than the file has bytes, whatever the length says.
            file.by_ref().take(length).read_to_end(&mut piece)?;
            if piece.len() as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.add(&piece, u64::from_le_bytes(read(&mut file)?));
        }
        Ok(())
    }
}

fn read<const BYTES: usize>(mut file: impl Read) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(text: &str) -> PieceCounts {
        let mut counts = PieceCounts::default();
        counts.add_text(Pattern::Llama3, text);
        counts
    }

    fn bytes_of(counts: PieceCounts) -> Vec<u8> {
        let mut bytes = Vec::new();
        counts.write(&mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn shards_sum_up_to_the_whole(one in "[a-c ]{0,40}", two in "[a-c ]{0,40}") {
            let mut summed = PieceCounts::default();
            summed.add_file(&*bytes_of(counted(&one))).unwrap();
            summed.add_file(&*bytes_of(counted(&two))).unwrap();
            let mut whole = counted(&one);
            whole.add_text(Pattern::Llama3, &two);
            prop_assert_eq!(bytes_of(summed), bytes_of(whole));
        }

        #[test]
        fn damaged_files_give_errors_and_never_panics(at: prop::sample::Index, byte: u8) {
            let mut bytes = bytes_of(counted("one two three two one"));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = PieceCounts::default().add_file(&*bytes);
        }
    }

    #[test]
    fn long_pieces_count_as_others() {
        let mut counts = counted(&format!("a {}", "x".repeat(100_000)));
        assert_eq!(counts.len(), 2);
        counts.add_file(&*bytes_of(counts.clone())).unwrap();
        assert_eq!(counts.sorted()[0].1, 2);
    }
}
