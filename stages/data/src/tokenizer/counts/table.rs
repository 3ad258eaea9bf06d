//! A table of pieces and their counts, compact in memory. Nothing here depends on files.

use crate::parts::part_of;

/// Pieces one after the other in one buffer, found by open addressing.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Numbers of entries plus one; 0 is free. The length is a power of two.
    slots: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    length: u32,
    /// Bits of the hash beyond those that are equal in a slot: most other pieces are told apart without their bytes.
    mark: u32,
    count: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), slots: vec![0; Self::SLOTS_MIN] }
    }
}

impl Table {
    const SLOTS_MIN: usize = 1 << 6;

    /// Adds occurrences of a piece.
    #[inline]
    pub(super) fn add(&mut self, piece: &[u8], count: u64) {
        let hash = hash(piece);
        let (mask, mark) = (self.slots.len() - 1, (hash >> 32) as u32);
        let mut at = hash as usize & mask;
        while let Some(number) = self.slots[at].checked_sub(1) {
            let entry = &mut self.entries[number as usize];
            if entry.mark == mark
                && entry.length as usize == piece.len()
                && self.bytes[entry.start..entry.start + piece.len()] == *piece
            {
                entry.count = entry.count.saturating_add(count);
                return;
            }
            at = (at + 1) & mask;
        }
        self.entries.push(Entry { start: self.bytes.len(), length: piece.len() as u32, mark, count });
        self.bytes.extend_from_slice(piece);
        self.slots[at] = self.entries.len() as u32;
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots = vec![0; mask + 1];
        for (number, entry) in (1..).zip(&self.entries) {
            let mut at = hash(&self.bytes[entry.start..entry.start + entry.length as usize]) as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = number;
        }
    }

    /// Bytes in use.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>() + self.slots.len() * size_of::<u32>()
    }

    /// Pieces and their counts, ascending by part and bytes.
    pub(super) fn sorted(&self) -> Vec<(&[u8], u64)> {
        let piece = |entry: &Entry| &self.bytes[entry.start..entry.start + entry.length as usize];
        let mut sorted: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (part_of(u64::from(entry.mark) << 32), piece(entry), entry.count))
            .collect();
        sorted.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        sorted.into_iter().map(|(_, piece, count)| (piece, count)).collect()
    }
}

/// A hash of a piece, the same on every machine: products of 128 bits, folded, as in wyhash (Wang Yi 2019). Its first bits
/// are the piece's part.
#[inline]
pub(crate) fn hash(piece: &[u8]) -> u64 {
    const KEYS: [u64; 3] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3];
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, rest) = piece.as_chunks::<8>();
    let mut hash = KEYS[0] ^ piece.len() as u64;
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), KEYS[1]);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash = fold(hash ^ u64::from_le_bytes(last), KEYS[1]);
    fold(hash ^ KEYS[2], KEYS[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::PARTS;

    #[test]
    fn hashes_are_the_same_everywhere_and_spread() {
        assert_eq!(
            [hash(b""), hash(b" the"), hash("数据和模型".as_bytes())],
            [11_119_800_622_019_502_016, 1_946_268_037_929_997_261, 2_791_641_585_597_453_464]
        );
        let mut parts = vec![0_u32; PARTS as usize];
        (0..64_000_u32).for_each(|n| parts[part_of(hash(n.to_string().as_bytes())) as usize] += 1);
        assert!(parts.iter().all(|count| (800..1200).contains(count)), "{parts:?}");
    }
}
