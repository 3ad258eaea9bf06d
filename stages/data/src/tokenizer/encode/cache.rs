//! The ids of cached pieces. The content of the cache affects only speed. Nothing here depends on how ids are
//! computed.

use std::hash::{BuildHasher, Hasher};

use rustc_hash::{FxBuildHasher, FxHashMap};

/// A short piece: its bytes, zeros, and its length in the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key(u128);

impl Key {
    /// Bytes of the longest short piece.
    pub(super) const BYTES_MAX: usize = 15;

    #[inline(always)]
    pub(super) fn new(text: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        Self(sixteen(text, start, length) & first_bytes(length) | (length as u128) << 120)
    }

    #[inline(always)]
    fn line(self) -> usize {
        let mixed = (self.0 as u64 ^ ((self.0 >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> (64 - Cache::LINES.trailing_zeros())) as usize
    }
}

/// A piece that is too long for [`Key`], as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct LongKey([u128; 2]);

impl LongKey {
    const BYTES_MAX: usize = 31;

    fn new(piece: &[u8]) -> Self {
        let rest = piece.len() - 16;
        let last = sixteen(piece, 16, rest) & first_bytes(rest) | (piece.len() as u128) << 120;
        Self([sixteen(piece, 0, 16), last])
    }

    fn slot(self) -> usize {
        let mut hasher = FxBuildHasher.build_hasher();
        self.0.iter().for_each(|half| hasher.write_u128(*half));
        (hasher.finish() >> 32) as usize % Cache::LONG
    }
}

/// 16 bytes of a text, or `length` and zeros at its end.
#[inline(always)]
fn sixteen(text: &[u8], start: usize, length: usize) -> u128 {
    match text[start..].first_chunk() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&text[start..start + length]);
            u128::from_le_bytes(bytes)
        }
    }
}

/// Selects this many of the first 15 bytes.
#[inline(always)]
fn first_bytes(length: usize) -> u128 {
    (1_u128 << (8 * length)) - 1
}

/// The ids of cached pieces.
#[derive(Debug)]
pub(super) struct Cache {
    short: Vec<Line>,
    /// Ids of short pieces that have more than fit a slot.
    more: Vec<u32>,
    long: Vec<Slot<LongKey, 8>>,
    longest: FxHashMap<Box<[u8]>, Box<[u32]>>,
    /// Marks of the longest pieces that occurred once. Most never occur again and would only displace others.
    seen: Vec<u32>,
}

/// Two short pieces whose hashes agree. A new one takes the second place, and the first when it occurs again, so what
/// occurs once displaces nothing that occurs often.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line([Slot<Key, 4>; 2]);

/// A piece and its ids, followed by their number. If there are more than fit, the first is where they begin in [`Cache::more`].
#[derive(Debug, Clone, Copy)]
struct Slot<K, const N: usize> {
    key: K,
    ids: [u32; N],
}

/// What is cached of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    /// This many of the first numbers.
    Few([u32; 4], usize),
    Many(&'a [u32]),
}

impl<K: Default, const N: usize> Default for Slot<K, N> {
    fn default() -> Self {
        Self { key: K::default(), ids: [0; N] }
    }
}

impl<K: Default, const N: usize> Slot<K, N> {
    const MAX: usize = N - 1;

    #[inline(always)]
    fn length(&self) -> usize {
        self.ids[Self::MAX] as usize
    }

    fn ids<'a>(&'a self, more: &'a [u32]) -> &'a [u32] {
        match self.length() {
            length if length <= Self::MAX => &self.ids[..length],
            length => &more[self.ids[0] as usize..][..length],
        }
    }

    fn new(key: K, ids: &[u32], more: &mut Vec<u32>) -> Self {
        let mut held = [0; N];
        held[Self::MAX] = ids.len() as u32;
        if ids.len() <= Self::MAX {
            held[..ids.len()].copy_from_slice(ids);
        } else {
            held[0] = more.len() as u32;
            more.extend_from_slice(ids);
        }
        Self { key, ids: held }
    }

    fn forget_more(&mut self) {
        if self.length() > Self::MAX {
            *self = Self::default();
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            short: vec![Line::default(); Self::LINES],
            more: Vec::new(),
            long: vec![Slot::default(); Self::LONG],
            longest: FxHashMap::default(),
            seen: vec![0; Self::SEEN],
        }
    }
}

impl Cache {
    const LINES: usize = 1 << 14;
    const MORE: usize = 1 << 17;
    const LONG: usize = 1 << 13;
    const SEEN: usize = 1 << 15;
    const LONGEST: usize = 1 << 13;
    const LONGEST_BYTES_MAX: usize = 100;

    #[inline(always)]
    pub(super) fn get(&mut self, key: Key) -> Option<Known<'_>> {
        let line = &mut self.short[key.line()].0;
        if line[0].key != key {
            if line[1].key != key {
                return None;
            }
            line.swap(0, 1);
        }
        let slot = &line[0];
        Some(match slot.length() {
            length @ ..=3 => Known::Few(slot.ids, length),
            _ => Known::Many(slot.ids(&self.more)),
        })
    }

    pub(super) fn insert(&mut self, key: Key, ids: &[u32]) {
        self.make_room(ids);
        self.short[key.line()].0[1] = Slot::new(key, ids, &mut self.more);
    }

    /// The ids of a piece that is too long for a [`Key`].
    pub(super) fn get_long(&self, piece: &[u8]) -> Option<&[u32]> {
        if piece.len() > LongKey::BYTES_MAX {
            let may_be_known = piece.len() <= Self::LONGEST_BYTES_MAX;
            return may_be_known.then(|| self.longest.get(piece)).flatten().map(|ids| &**ids);
        }
        let key = LongKey::new(piece);
        let slot = &self.long[key.slot()];
        (slot.key == key).then(|| slot.ids(&self.more))
    }

    /// Stores the ids of a piece that is too long for a [`Key`]; those of one of the longest when it occurs for the second time.
    pub(super) fn insert_long(&mut self, piece: &[u8], ids: &[u32]) {
        if piece.len() <= LongKey::BYTES_MAX {
            self.make_room(ids);
            let key = LongKey::new(piece);
            self.long[key.slot()] = Slot::new(key, ids, &mut self.more);
            return;
        }
        if piece.len() > Self::LONGEST_BYTES_MAX || !self.is_second_sight(piece) {
            return;
        }
        if self.longest.len() >= Self::LONGEST {
            self.longest.clear();
        }
        self.longest.insert(piece.into(), ids.into());
    }

    fn make_room(&mut self, ids: &[u32]) {
        if self.more.len() + ids.len() > Self::MORE {
            self.more.clear();
            self.short.iter_mut().flat_map(|line| &mut line.0).for_each(Slot::forget_more);
            self.long.iter_mut().for_each(Slot::forget_more);
        }
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
    fn the_longest_pieces_are_held_from_the_second_time_on() {
        let mut cache = Cache::default();
        let piece = "a piece of more than thirty-one bytes".as_bytes();
        cache.insert_long(piece, &[1, 2]);
        assert_eq!(cache.get_long(piece), None);
        cache.insert_long(piece, &[1, 2]);
        assert_eq!(cache.get_long(piece), Some(&[1, 2][..]));
        let endless = [b'x'; Cache::LONGEST_BYTES_MAX + 1];
        cache.insert_long(&endless, &[3]);
        cache.insert_long(&endless, &[3]);
        assert_eq!(cache.get_long(&endless), None);
    }

    #[test]
    fn pieces_of_one_slot_are_told_apart() {
        let mut cache = Cache::default();
        // Ids beyond those that fit a slot fill their own memory several times.
        let ids = |n: u32| vec![n; n as usize % 11];
        for n in 0..200_000_u32 {
            let piece = n.to_string();
            let key = Key::new(piece.as_bytes(), 0, piece.len());
            assert_eq!(cache.get(key), None, "{piece}");
            cache.insert(key, &ids(n));
            let long = format!("a longer piece {n}");
            assert_eq!(cache.get_long(long.as_bytes()), None, "{long}");
            cache.insert_long(long.as_bytes(), &ids(n));
            assert_eq!(cache.get_long(long.as_bytes()), Some(&*ids(n)));
            match cache.get(key) {
                Some(Known::Few(found, length)) => assert_eq!(found[..length], ids(n)),
                Some(Known::Many(found)) => assert_eq!(found, ids(n)),
                // What follows in `more` may have displaced it.
                None => assert!(ids(n).len() > 3),
            }
        }
    }

    #[test]
    fn what_occurs_once_displaces_nothing_that_occurs_often() {
        let mut cache = Cache::default();
        let key = |piece: &str| Key::new(piece.as_bytes(), 0, piece.len());
        cache.insert(key("often"), &[7]);
        for n in 0..1_000_000_u32 {
            assert_eq!(cache.get(key("often")), Some(Known::Few([7, 0, 0, 1], 1)));
            cache.insert(key(&n.to_string()), &[n]);
        }
    }
}
