//! The units of shingles and their hashes. Nothing here depends on how many make a shingle.

use super::{A, B, fold, mix};
use crate::segment::{Segmenter, is_unspaced};

/// Takes the units of a text, each as its hash and its place in the text, in bytes.
///
/// Words between spaces, in lower case and without surrounding punctuation. Words with characters of a script without
/// spaces are split as [`Segmenter::Characters`] does.
pub(super) struct HashedUnits<'t> {
    text: &'t str,
    at: usize,
    /// The rest of a word that is split into characters.
    characters: Option<crate::segment::Units<'t>>,
    lower: String,
}

impl<'t> HashedUnits<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, at: 0, characters: None, lower: String::new() }
    }

    /// The end of the ASCII word from `start` on. None if it is not ASCII.
    fn ascii_word(&self, start: usize) -> Option<usize> {
        let bytes = &self.text.as_bytes()[start..];
        let end = bytes.iter().position(|byte| BYTES[*byte as usize] & (SPACE | HIGH) != 0);
        let end = end.unwrap_or(bytes.len());
        let is_ascii = bytes.get(end).is_none_or(u8::is_ascii);
        is_ascii.then_some(start + end)
    }

    /// The next word that has a letter or digit, without the punctuation around it; whether it is ASCII.
    fn word(&mut self) -> Option<(usize, usize, bool)> {
        let bytes = self.text.as_bytes();
        loop {
            while bytes.get(self.at).is_some_and(|byte| BYTES[*byte as usize] & SPACE != 0) {
                self.at += 1;
            }
            let start = self.at;
            if start == bytes.len() {
                return None;
            }
            let Some(end) = self.ascii_word(start) else {
                let rest = &self.text[start..];
                // White space beyond ASCII.
                let rest = rest.trim_start();
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                self.at = self.text.len() - rest.len() + end;
                let word = rest[..end].trim_matches(|c: char| !c.is_alphanumeric());
                if word.is_empty() {
                    continue;
                }
                let start = word.as_ptr().addr() - self.text.as_ptr().addr();
                return Some((start, start + word.len(), word.is_ascii()));
            };
            self.at = end;
            let is_inside = |byte: &u8| BYTES[*byte as usize] & ALPHANUMERIC != 0;
            let word = &bytes[start..end];
            if let Some(first) = word.iter().position(is_inside) {
                let last = word.iter().rposition(is_inside).unwrap_or(first);
                return Some((start + first, start + last + 1, true));
            }
        }
    }

    fn hash_lower(&mut self, start: usize, end: usize) -> u64 {
        self.lower.clear();
        self.lower.extend(self.text[start..end].chars().flat_map(char::to_lowercase));
        hash_ascii_lower(self.lower.as_bytes(), 0, self.lower.len(), false)
    }
}

impl Iterator for HashedUnits<'_> {
    type Item = (u64, std::ops::Range<usize>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(characters) = &mut self.characters {
                if let Some(unit) = characters.next() {
                    let start = unit.as_ptr().addr() - self.text.as_ptr().addr();
                    let end = start + unit.len();
                    return Some((self.hash_lower(start, end), start..end));
                }
                self.characters = None;
            }
            let (start, end, is_ascii) = self.word()?;
            if is_ascii {
                return Some((hash_ascii_lower(self.text.as_bytes(), start, end, true), start..end));
            }
            let word = &self.text[start..end];
            if !word.contains(is_unspaced) {
                return Some((self.hash_lower(start, end), start..end));
            }
            self.characters = Some(Segmenter::Characters.units(word));
        }
    }
}

const SPACE: u8 = 1;
const HIGH: u8 = 2;
const ALPHANUMERIC: u8 = 4;

/// White space as `char::is_whitespace` has it, and letters and digits.
const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = match byte as u8 {
            b'\t'..=b'\r' | b' ' => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => ALPHANUMERIC,
            0x80.. => HIGH,
            _ => 0,
        };
        byte += 1;
    }
    bytes
};

/// A 64-bit hash of bytes: 8 at a time, multiplied to 128 bits and folded, as wyhash does. With `lowers`, capital letters, of
/// ASCII, are hashed as small ones.
#[inline(always)]
pub(super) fn hash_ascii_lower(text: &[u8], start: usize, end: usize, lowers: bool) -> u64 {
    let length = end - start;
    let (mut state, mut at) = (length as u64, start);
    let add = |state: u64, word: u64| fold(state ^ A, if lowers { lower(word) } else { word } ^ B);
    while at + 8 <= end {
        let word = text[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        state = add(state, word);
        at += 8;
    }
    let rest = end - at;
    let last = match text[at..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes) & ((1 << (8 * rest)) - 1),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest].copy_from_slice(&text[at..end]);
            u64::from_le_bytes(bytes)
        }
    };
    mix(add(state, last))
}

/// Lowers the capital letters of 8 bytes of ASCII.
#[inline(always)]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // The highest bit of each byte says whether it is at least `A`, and above `Z`; no sum carries into the next byte.
    let from_a = word + EACH * (0x80 - b'A' as u64);
    let above_z = word + EACH * (0x7f - b'Z' as u64);
    word | ((from_a & !above_z & (EACH * 0x80)) >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition.
    fn units(text: &str) -> Vec<(u64, std::ops::Range<usize>)> {
        let units = Segmenter::Words.units(text).flat_map(|word| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            match word.contains(is_unspaced) {
                true => Segmenter::Characters.units(word),
                false => Segmenter::Words.units(word),
            }
        });
        let hash = |unit: &str| {
            let lower: String = unit.chars().flat_map(char::to_lowercase).collect();
            let (words, rest) = lower.as_bytes().as_chunks::<8>();
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            let words = words.iter().chain(std::iter::once(&last)).map(|word| u64::from_le_bytes(*word));
            mix(words.fold(lower.len() as u64, |state, word| fold(state ^ A, word ^ B)))
        };
        let place = |unit: &str| unit.as_ptr().addr() - text.as_ptr().addr();
        units.map(|unit| (hash(unit), place(unit)..place(unit) + unit.len())).collect()
    }

    const PARTS: &[&str] = &[
        "word",
        "Word",
        "WORDS",
        "größte",
        "ÜBER",
        "İ",
        "数据",
        "ข้อมูล",
        "한국어",
        "１２",
        "it's",
        "(x)",
        "'",
        "—",
        "“",
        "12,5",
        "@[`{",
        " ",
        "\n",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "\u{85}",
        "\u{1f}",
        "e\u{301}",
        "🚀",
        "\u{0}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn units_equal_their_definition(parts in prop::collection::vec(prop::sample::select(PARTS), 0..20)) {
            let text = parts.concat();
            prop_assert_eq!(HashedUnits::of(&text).collect::<Vec<_>>(), units(&text), "{:?}", text);
        }

        #[test]
        fn units_of_any_text_equal_their_definition(text: String) {
            prop_assert_eq!(HashedUnits::of(&text).collect::<Vec<_>>(), units(&text));
        }
    }
}
