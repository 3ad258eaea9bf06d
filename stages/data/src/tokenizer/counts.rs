//! Counts pieces of text in bounded memory, and selects the most frequent ones. Nothing here depends on patterns, tokens or
//! stages.
//!
//! ```text
//! part            pieces ascending by bytes; numbers as LEB128
//! └── for each    bytes shared with the piece before, further bytes and their number, count
//! ```

mod frequencies;
mod table;

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::parts::part_of;
pub(crate) use frequencies::{Frequencies, Limit};
use table::Table;
pub(crate) use table::hash;

/// Memory of the pieces that are counted at a time.
const TABLE_BYTES_MAX: usize = if cfg!(test) { 4 << 10 } else { 96 << 20 };
/// Bytes that are written or read at a time.
const BUFFER: usize = 128 << 10;

/// Counts pieces. If they need too much memory, it writes them to files in a folder, sorted.
pub(crate) struct Counter {
    table: Table,
    folder: PathBuf,
    runs: Vec<PathBuf>,
}

impl Counter {
    /// A counter that may use a folder for temporary files.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { table: Table::default(), folder: folder.to_owned(), runs: Vec::new() }
    }

    /// Adds occurrences of a piece.
    #[inline]
    pub(crate) fn add(&mut self, piece: &[u8], count: u64) -> io::Result<()> {
        self.table.add(piece, count);
        match self.table.bytes() > TABLE_BYTES_MAX {
            true => self.spill(),
            false => Ok(()),
        }
    }

    /// Adds what [`CountsWriter`] wrote.
    pub(crate) fn add_all(&mut self, file: impl Read) -> io::Result<()> {
        let mut reader = CountsReader::new(file);
        while reader.advance()? {
            self.add(&reader.piece, reader.count)?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let path = self.folder.join(format!("{}.counts", self.runs.len()));
        let mut writer = CountsWriter::new(BufWriter::with_capacity(BUFFER, File::create_new(&path)?));
        for (piece, count) in self.table.sorted() {
            writer.push(piece, count)?;
        }
        writer.file.flush()?;
        self.runs.push(path);
        self.table = Table::default();
        Ok(())
    }

    /// Ends counting.
    pub(crate) fn finish(mut self) -> io::Result<Counts> {
        if !self.runs.is_empty() {
            self.spill()?;
        }
        Ok(Counts(self))
    }
}

/// Pieces and their counts.
pub(crate) struct Counts(Counter);

impl Counts {
    /// Yields pieces and their counts, ascending by part and bytes. May be called more than once.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
        let Counter { table, runs, .. } = &self.0;
        if runs.is_empty() {
            return table.sorted().into_iter().try_for_each(|(piece, count)| take(piece, count));
        }
        let mut heads = Vec::with_capacity(runs.len());
        for run in runs {
            let mut reader = CountsReader::new(BufReader::with_capacity(BUFFER, File::open(run)?));
            if reader.advance()? {
                heads.push(reader);
            }
        }
        // The reader with the smallest piece is last.
        heads.sort_by(|a, b| b.order(a));
        let mut piece = Vec::new();
        while let Some(first) = heads.pop() {
            piece.clone_from(&first.piece);
            let mut count = first.count;
            put_back(&mut heads, first)?;
            while let Some(same) = heads.pop_if(|reader| reader.piece == piece) {
                count = count.saturating_add(same.count);
                put_back(&mut heads, same)?;
            }
            take(&piece, count)?;
        }
        Ok(())
    }
}

/// Moves a reader on and back to its place, unless it is at its end.
fn put_back<R: Read>(heads: &mut Vec<CountsReader<R>>, mut reader: CountsReader<R>) -> io::Result<()> {
    if reader.advance()? {
        let at = heads.partition_point(|other| other.order(&reader) == Ordering::Greater);
        heads.insert(at, reader);
    }
    Ok(())
}

/// Writes pieces and their counts.
pub(crate) struct CountsWriter<W> {
    pub(crate) file: W,
    last: Vec<u8>,
    buffer: Vec<u8>,
}

impl<W: Write> CountsWriter<W> {
    pub(crate) fn new(file: W) -> Self {
        Self { file, last: Vec::new(), buffer: Vec::new() }
    }

    /// Writes a piece; fewer bytes if the one before it begins alike.
    pub(crate) fn push(&mut self, piece: &[u8], count: u64) -> io::Result<()> {
        let shared = self.last.iter().zip(piece).take_while(|(a, b)| a == b).count();
        self.buffer.clear();
        number(shared as u64, &mut self.buffer);
        number((piece.len() - shared) as u64, &mut self.buffer);
        self.buffer.extend_from_slice(&piece[shared..]);
        number(count, &mut self.buffer);
        self.last.truncate(shared);
        self.last.extend_from_slice(&piece[shared..]);
        self.file.write_all(&self.buffer)
    }
}

fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads pieces and their counts.
pub(crate) struct CountsReader<R> {
    file: R,
    pub(crate) piece: Vec<u8>,
    pub(crate) count: u64,
}

impl<R: Read> CountsReader<R> {
    /// A reader before the first piece. `file` should have a buffer.
    pub(crate) fn new(file: R) -> Self {
        Self { file, piece: Vec::new(), count: 0 }
    }

    /// Reads the next piece; returns false at the end.
    pub(crate) fn advance(&mut self) -> io::Result<bool> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "counts of pieces are damaged");
        let Some(shared) = self.number()? else { return Ok(false) };
        let rest = self.number()?.ok_or_else(damaged)?;
        if shared > self.piece.len() as u64 {
            return Err(damaged());
        }
        self.piece.truncate(shared as usize);
        // Uses no more memory than the file has bytes, whatever the length says.
        if self.file.by_ref().take(rest).read_to_end(&mut self.piece)? as u64 != rest {
            return Err(damaged());
        }
        self.count = self.number()?.ok_or_else(damaged)?;
        Ok(true)
    }

    fn number(&mut self) -> io::Result<Option<u64>> {
        let (mut number, mut shift, mut byte) = (0, 0, [0]);
        loop {
            if self.file.read(&mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            number |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte[0] & 0x80 == 0 {
                return Ok(Some(number));
            }
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let part = |reader: &Self| part_of(hash(&reader.piece));
        part(self).cmp(&part(other)).then_with(|| self.piece.cmp(&other.piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sums(counts: &Counts) -> Vec<(Vec<u8>, u64)> {
        let mut sums = Vec::new();
        let taken = counts.each(|piece, count| {
            sums.push((piece.to_vec(), count));
            Ok(())
        });
        taken.unwrap();
        sums
    }

    fn written(pieces: &[(Vec<u8>, u64)]) -> Vec<u8> {
        let mut writer = CountsWriter::new(Vec::new());
        pieces.iter().for_each(|(piece, count)| writer.push(piece, *count).unwrap());
        writer.file
    }

    proptest! {
        #[test]
        fn sums_are_exact_whether_they_fit_in_memory_or_not(
            pieces in prop::collection::vec(("[a-c]{0,12}", 1_u64..1_000_000), 0..600),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut counter = Counter::new(folder.path());
            let mut expected = BTreeMap::new();
            for (piece, count) in &pieces {
                counter.add(piece.as_bytes(), *count).unwrap();
                let piece = piece.clone().into_bytes();
                *expected.entry((part_of(hash(&piece)), piece)).or_insert(0) += count;
            }
            let expected: Vec<_> = expected.into_iter().map(|((_, piece), sum)| (piece, sum)).collect();
            prop_assert_eq!(&sums(&counter.finish().unwrap()), &expected);

            // Written and read, they are the same.
            let mut again = Counter::new(&folder.path().join("none"));
            for few in expected.chunks(50) {
                again.table = Table::default();
                again.add_all(&*written(few)).unwrap();
                prop_assert_eq!(again.table.sorted().len(), few.len());
            }
        }

        #[test]
        fn damaged_files_give_errors_and_never_panics(at: prop::sample::Index, byte: u8) {
            let mut bytes = written(&[(b"one".to_vec(), 1), (b"once".to_vec(), 300), (b"two".to_vec(), 9)]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let folder = tempfile::tempdir().unwrap();
            let _ = Counter::new(folder.path()).add_all(&*bytes);
        }
    }

    #[test]
    fn what_does_not_fit_in_memory_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut counter = Counter::new(folder.path());
        for n in 0..2_000_u64 {
            counter.add(format!("piece {}", n % 500).as_bytes(), n).unwrap();
        }
        let counts = counter.finish().unwrap();
        assert!(counts.0.runs.len() > 3);
        let sums = sums(&counts);
        assert_eq!(sums.len(), 500);
        assert_eq!(sums.iter().map(|(_, count)| count).sum::<u64>(), 1999 * 1000);
    }

    #[test]
    fn long_pieces_count_as_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut counter = Counter::new(folder.path());
        let long = [b'x'; 100_000];
        for piece in [&long[..], b"a", &long] {
            counter.add(piece, 1).unwrap();
        }
        let mut sums = sums(&counter.finish().unwrap());
        sums.sort();
        assert_eq!(sums, [(b"a".to_vec(), 1), (long.to_vec(), 2)]);
    }
}
