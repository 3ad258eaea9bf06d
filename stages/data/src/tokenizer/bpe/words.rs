//! The pieces as lists of symbols, which become shorter as pairs are merged. Nothing here depends on how often pairs
//! occur.
//!
//! A long piece is cut into chunks, which are neighbours and not separate pieces: a pair may span two chunks. So the
//! work for a pair depends only on the chunks that contain it: a genome in one piece takes no longer than the same
//! letters in words.

/// Maximum number of symbols in a new chunk. Tests cut everything longer than a few letters.
pub(super) const CHUNK: usize = if cfg!(test) { 4 } else { 128 };

/// The chunks of all pieces.
#[derive(Debug)]
pub(super) struct Words {
    symbols: Vec<u32>,
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    start: usize,
    length: u32,
    /// Whether it continues the piece of the previous chunk.
    continues: bool,
    /// Count of the piece.
    count: i64,
}

/// A symbol, its position, and its chunk.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    chunk: usize,
    at: usize,
    symbol: u32,
}

impl Words {
    /// Takes pieces and their counts; `symbols_of` appends the symbols of a piece.
    pub(super) fn new<P: AsRef<[u8]>>(
        pieces: impl IntoIterator<Item = (P, u64)>,
        mut symbols_of: impl FnMut(&[u8], &mut Vec<u32>),
    ) -> Self {
        let mut words = Self { symbols: Vec::new(), chunks: Vec::new() };
        for (piece, count) in pieces {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let first = words.symbols.len();
            symbols_of(piece.as_ref(), &mut words.symbols);
            for start in (first..words.symbols.len()).step_by(CHUNK) {
                let length = CHUNK.min(words.symbols.len() - start) as u32;
                words.chunks.push(Chunk { start, length, continues: start > first, count });
            }
        }
        words.symbols.shrink_to_fit();
        words
    }

    /// Yields each pair of neighbours: the number of the chunk of its left symbol, the pair, and the count of its
    /// piece. Numbers ascend.
    pub(super) fn pairs(&self, mut take: impl FnMut(u32, (u32, u32), i64)) {
        for (number, chunk) in self.chunks.iter().enumerate() {
            let symbols = &self.symbols[chunk.start..chunk.start + chunk.length as usize];
            for pair in symbols.windows(2) {
                take(number as u32, (pair[0], pair[1]), chunk.count);
            }
            if let (Some(&last), Some(next)) = (symbols.last(), self.first_after(number)) {
                take(number as u32, (last, next.symbol), chunk.count);
            }
        }
    }

    /// The numbers of all chunks of the pieces that these chunks belong to. Both ascend.
    pub(super) fn whole(&self, chunks: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut whole: Vec<u32> = Vec::new();
        for number in chunks {
            if whole.last().is_some_and(|last| *last >= number) {
                continue;
            }
            let number = number as usize;
            let first = (0..=number).rev().find(|at| !self.chunks[*at].continues).unwrap_or(0);
            let end = (number + 1..self.chunks.len()).find(|at| !self.chunks[*at].continues);
            whole.extend(first as u32..end.unwrap_or(self.chunks.len()) as u32);
        }
        whole
    }

    /// Merges `pair` into `id` in one chunk, from left to right, and reports each change of a pair's count with the
    /// number of the chunk of its left symbol. Chunks that contain the pair must be processed in order.
    pub(super) fn merge(
        &mut self,
        number: u32,
        (left, right): (u32, u32),
        id: u32,
        mut change: impl FnMut(u32, (u32, u32), i64),
    ) {
        let number = number as usize;
        let Chunk { start, length, count, .. } = self.chunks[number];
        let end = start + length as usize;
        let mut before = self.last_before(number).map(|before| (before.chunk as u32, before.symbol));
        let (mut read, mut write) = (start, start);
        while read < end {
            let mut symbol = self.symbols[read];
            let next = if symbol == left { self.after(number, read, end) } else { None };
            if let Some(next) = next.filter(|next| next.symbol == right) {
                if let Some((chunk, before)) = before {
                    change(chunk, (before, left), -count);
                    change(chunk, (before, id), count);
                }
                let next_end = if next.chunk == number { end } else { self.end(next.chunk) };
                if let Some(after) = self.after(next.chunk, next.at, next_end) {
                    change(number as u32, (right, after.symbol), -count);
                    change(number as u32, (id, after.symbol), count);
                }
                symbol = id;
                if next.chunk == number {
                    read += 1;
                } else {
                    let chunk = &mut self.chunks[next.chunk];
                    (chunk.start, chunk.length) = (chunk.start + 1, chunk.length - 1);
                }
            }
            self.symbols[write] = symbol;
            before = Some((number as u32, symbol));
            (read, write) = (read + 1, write + 1);
        }
        self.chunks[number].length = (write - start) as u32;
    }

    fn end(&self, chunk: usize) -> usize {
        self.chunks[chunk].start + self.chunks[chunk].length as usize
    }

    /// The symbol after the one at `at` in a chunk that ends at `end`.
    fn after(&self, chunk: usize, at: usize, end: usize) -> Option<Symbol> {
        match at + 1 < end {
            true => Some(Symbol { chunk, at: at + 1, symbol: self.symbols[at + 1] }),
            false => self.first_after(chunk),
        }
    }

    /// The first symbol of the piece after a chunk.
    fn first_after(&self, chunk: usize) -> Option<Symbol> {
        let rest = self.chunks.get(chunk + 1..)?;
        let rest = rest.iter().zip(chunk + 1..).take_while(|(chunk, _)| chunk.continues);
        let (Chunk { start, .. }, chunk) = rest.into_iter().find(|(chunk, _)| chunk.length > 0)?;
        Some(Symbol { chunk, at: *start, symbol: self.symbols[*start] })
    }

    /// The last symbol of the piece before a chunk.
    fn last_before(&self, mut chunk: usize) -> Option<Symbol> {
        while self.chunks[chunk].continues {
            chunk -= 1;
            if self.chunks[chunk].length > 0 {
                let at = self.end(chunk) - 1;
                return Some(Symbol { chunk, at, symbol: self.symbols[at] });
            }
        }
        None
    }
}
