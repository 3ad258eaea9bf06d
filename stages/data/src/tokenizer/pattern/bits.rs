//! The classes of 64 bytes at a time, as sets of bits. Nothing here depends on patterns.
//!
//! Bit n stands for byte n. All bytes of a character are in the set of its class, so the class of the character before is
//! a shift away, whatever its length.

use super::{Class, LineEnd, Number, Scan, Space};

/// Bytes of a window.
pub(super) const WIDTH: usize = 64;

/// The classes of the bytes of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bits {
    /// Number of bytes that are known, without the beginning of a character that is cut off.
    pub(super) length: usize,
    pub(super) letters: u64,
    pub(super) numbers: u64,
    /// White space other than line ends.
    pub(super) spaces: u64,
    pub(super) line_ends: u64,
    /// Spaces (U+0020).
    pub(super) blanks: u64,
    pub(super) apostrophes: u64,
    /// Bytes of characters beyond ASCII.
    pub(super) high: u64,
    /// All bytes of characters but the first ones.
    pub(super) inner: u64,
}

/// The first `length` bits.
pub(super) fn first(length: usize) -> u64 {
    if length >= WIDTH { u64::MAX } else { (1 << length) - 1 }
}

impl Bits {
    /// The classes of up to 64 bytes from `at` on, which is a character boundary.
    #[inline(always)]
    pub(super) fn of(scan: &Scan<'_>, at: usize) -> Self {
        let text = scan.text.as_bytes();
        let mut bits = match text[at..].first_chunk::<WIDTH>() {
            Some(window) => Self::of_ascii(window),
            None => {
                // Zeros are symbols, which no set here has.
                let mut window = [0; WIDTH];
                let rest = &text[at..];
                window[..rest.len()].copy_from_slice(rest);
                Self { length: rest.len(), ..Self::of_ascii(&window) }
            }
        };
        if bits.high != 0 {
            bits.add_characters(scan, at);
        }
        bits
    }

    /// Adds the classes of the characters beyond ASCII.
    fn add_characters(&mut self, scan: &Scan<'_>, at: usize) {
        let mut sets = [0_u64; Class::COUNT];
        let mut leads = self.high & !self.inner;
        while leads != 0 {
            let place = leads.trailing_zeros() as usize;
            leads &= leads - 1;
            let Some((class, next)) = scan.class(at + place) else { break };
            if next - at > self.length {
                self.length = place;
                break;
            }
            sets[class as usize] |= first(next - at - place) << place;
        }
        self.letters |= sets[Class::Letter as usize];
        self.numbers |= sets[Number as usize];
        self.spaces |= sets[Space as usize];
        self.line_ends |= sets[LineEnd as usize];
    }

    /// The classes of the bytes that are ASCII.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn of_ascii(window: &[u8; WIDTH]) -> Self {
        // SAFETY: SSE2 belongs to x86-64.
        unsafe { Self::of_ascii_sse2(window) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_ascii(window: &[u8; WIDTH]) -> Self {
        Self::of_ascii_portable(window)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "sse2")]
    #[inline]
    fn of_ascii_sse2(window: &[u8; WIDTH]) -> Self {
        use std::arch::x86_64::{
            __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128,
            _mm_set_epi64x, _mm_set1_epi8,
        };
        let mut bits = Self { length: WIDTH, ..Self::default() };
        for (part, bytes) in (0..).zip(window.as_chunks::<16>().0) {
            let [low, high] =
                [0, 8].map(|at| i64::from_le_bytes(*bytes[at..].first_chunk().expect("invariant: 16 bytes")));
            let bytes = _mm_set_epi64x(high, low);
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            // Comparisons are of signed bytes, so the first of a range becomes the least one.
            let within = |bytes: __m128i, first: u8, last: u8| {
                let moved = _mm_add_epi8(bytes, _mm_set1_epi8(0x80_u8.wrapping_sub(first).cast_signed()));
                _mm_cmplt_epi8(moved, _mm_set1_epi8((0x81 + last - first).cast_signed()))
            };
            let set = |bytes: __m128i| u64::from(_mm_movemask_epi8(bytes).cast_unsigned()) << (16 * part);
            let lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let line_ends = _mm_or_si128(is(b'\r'), is(b'\n'));
            bits.letters |= set(within(lower, b'a', b'z'));
            bits.numbers |= set(within(bytes, b'0', b'9'));
            bits.spaces |= set(_mm_or_si128(within(bytes, b'\t', b'\r'), is(b' ')));
            bits.line_ends |= set(line_ends);
            bits.blanks |= set(is(b' '));
            bits.apostrophes |= set(is(b'\''));
            bits.high |= set(bytes);
            bits.inner |= set(_mm_cmplt_epi8(bytes, _mm_set1_epi8(-64)));
        }
        bits.spaces &= !bits.line_ends;
        bits
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn of_ascii_portable(window: &[u8; WIDTH]) -> Self {
        const LETTER: u8 = 1;
        const NUMBER: u8 = 2;
        const SPACE: u8 = 4;
        const LINE_END: u8 = 8;
        const BLANK: u8 = 16;
        const APOSTROPHE: u8 = 32;
        const HIGH: u8 = 64;
        const INNER: u8 = 128;
        const FLAGS: [u8; 256] = {
            let mut flags = [0; 256];
            let mut byte = 0;
            while byte < 256 {
                flags[byte] = match byte as u8 {
                    b'a'..=b'z' | b'A'..=b'Z' => LETTER,
                    b'0'..=b'9' => NUMBER,
                    b'\r' | b'\n' => LINE_END,
                    b' ' => SPACE | BLANK,
                    b'\t' | 0x0b | 0x0c => SPACE,
                    b'\'' => APOSTROPHE,
                    0x80..0xc0 => HIGH | INNER,
                    0xc0.. => HIGH,
                    _ => 0,
                };
                byte += 1;
            }
            flags
        };
        let mut sets = [0_u64; 8];
        for (part, bytes) in (0..).zip(window.as_chunks::<8>().0) {
            let flags = u64::from_le_bytes(bytes.map(|byte| FLAGS[byte as usize]));
            for (flag, set) in (0..).zip(&mut sets) {
                // Moves the lowest bits of 8 bytes into the highest byte.
                let bits = (flags >> flag & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                *set |= bits << (8 * part);
            }
        }
        let [letters, numbers, spaces, line_ends, blanks, apostrophes, high, inner] = sets;
        Self { length: WIDTH, letters, numbers, spaces, line_ends, blanks, apostrophes, high, inner }
    }
}

impl Class {
    const COUNT: usize = Class::Symbol as usize + 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_ways_see_the_same_classes() {
        for start in 0..=255_u8 {
            let window = std::array::from_fn(|at| start.wrapping_add((at as u8).wrapping_mul(7)));
            assert_eq!(Bits::of_ascii(&window), Bits::of_ascii_portable(&window));
        }
    }
}
