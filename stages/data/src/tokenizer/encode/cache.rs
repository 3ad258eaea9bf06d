//! The ids of cached pieces. The content of the cache affects only speed. Nothing here depends on how ids are
//! computed.

use std::hash::{BuildHasher, Hasher};

use rustc_hash::{FxBuildHasher, FxHashMap};

/// A short piece: its bytes, zeros, and its length in the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u128);

impl Key {
    /// Bytes of the longest short piece.
    pub(super) const BYTES_MAX: usize = 15;

    #[inline(always)]
    pub(super) fn new(text: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        let bytes = match text.get(start..start + 16) {
            Some(bytes) => u128::from_le_bytes(bytes.try_into().expect("invariant: 16 bytes")),
            None => {
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(&text[start..end]);
                u128::from_le_bytes(bytes)
            }
        };
        let mask = (1_u128 << (8 * length)) - 1;
        Self(bytes & mask | (length as u128) << 120)
    }

    #[inline(always)]
    fn slot(self) -> usize {
        let mixed = (self.0 as u64 ^ ((self.0 >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> (64 - Cache::SLOTS.trailing_zeros())) as usize
    }
}

/// The ids of cached pieces.
#[derive(Debug)]
pub(super) struct Cache {
    short: Vec<Slot>,
    long: FxHashMap<Box<[u8]>, Box<[u32]>>,
    /// Marks of long pieces that occurred once. Most never occur again and would only displace others.
    seen: Vec<u32>,
}

/// A short piece and its ids.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Key,
    length: u32,
    ids: [u32; 7],
}

impl Default for Cache {
    fn default() -> Self {
        let empty = Slot { key: Key(0), length: 0, ids: [0; 7] };
        let (short, seen) = (vec![empty; Self::SLOTS], vec![0; Self::SEEN]);
        Self { short, long: FxHashMap::default(), seen }
    }
}

impl Cache {
    const SLOTS: usize = 1 << 15;
    const SEEN: usize = 1 << 15;
    const LONG_MAX: usize = 1 << 13;
    const LONG_BYTES_MAX: usize = 100;

    #[inline(always)]
    pub(super) fn get(&self, key: &Key) -> Option<&[u32]> {
        let slot = &self.short[key.slot()];
        (slot.key == *key).then(|| &slot.ids[..slot.length as usize])
    }

    pub(super) fn insert(&mut self, key: Key, ids: &[u32]) {
        let slot = &mut self.short[key.slot()];
        if ids.len() <= slot.ids.len() {
            slot.key = key;
            slot.length = ids.len() as u32;
            slot.ids[..ids.len()].copy_from_slice(ids);
        }
    }

    pub(super) fn get_long(&self, piece: &[u8]) -> Option<&[u32]> {
        match piece.len() <= Self::LONG_BYTES_MAX {
            true => self.long.get(piece).map(|ids| &**ids),
            false => None,
        }
    }

    /// Stores the ids of a long piece when it occurs for the second time.
    pub(super) fn insert_long(&mut self, piece: &[u8], ids: &[u32]) {
        if piece.len() > Self::LONG_BYTES_MAX || !self.is_second_sight(piece) {
            return;
        }
        if self.long.len() >= Self::LONG_MAX {
            self.long.clear();
        }
        self.long.insert(piece.into(), ids.into());
    }

    fn is_second_sight(&mut self, piece: &[u8]) -> bool {
        let mut hasher = FxBuildHasher.build_hasher();
        hasher.write(piece);
        let hash = hasher.finish();
        // Never zero, which means none.
        let mark = (hash >> 32) as u32 | 1;
        let slot = &mut self.seen[hash as usize % Self::SEEN];
        std::mem::replace(slot, mark) == mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pieces_are_held_from_the_second_time_on() {
        let mut cache = Cache::default();
        let piece = "a piece of more than fifteen bytes".as_bytes();
        cache.insert_long(piece, &[1, 2]);
        assert_eq!(cache.get_long(piece), None);
        cache.insert_long(piece, &[1, 2]);
        assert_eq!(cache.get_long(piece), Some(&[1, 2][..]));
        let endless = [b'x'; Cache::LONG_BYTES_MAX + 1];
        cache.insert_long(&endless, &[3]);
        cache.insert_long(&endless, &[3]);
        assert_eq!(cache.get_long(&endless), None);
    }

    #[test]
    fn pieces_of_one_slot_are_told_apart() {
        let mut cache = Cache::default();
        for n in 0..100_000_u32 {
            let piece = n.to_string();
            let key = Key::new(piece.as_bytes(), 0, piece.len());
            assert_eq!(cache.get(&key), None, "{piece}");
            cache.insert(key, &[n]);
            assert_eq!(cache.get(&key), Some(&[n][..]));
        }
    }
}
