//! The pattern of GPT-4o, which tells capital letters from small ones. Nothing here depends on tokens.

use std::sync::LazyLock;

use super::{Case, Class, LineEnd, LineEnds, Number, Scan, Space, Symbol, unicode};

/// How the pattern sees letters and marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cased {
    /// Lu, Lt.
    Upper,
    /// Ll.
    Lower,
    /// Lm, Lo and marks: both of the pattern's classes of letters contain them.
    Both,
    /// Everything else.
    Other,
}

impl Scan<'_> {
    /// End of the piece of [`super::O200K`] that starts at `start`.
    pub(super) fn o200k(&self, start: usize) -> usize {
        let Some((first, next)) = self.class(start) else { return start };
        // `[^\r\n\p{L}\p{N}]?` takes a character if it can, and is tried without it if no word follows.
        let prefixed = matches!(first, Space | Symbol).then_some(next);
        let places = || prefixed.into_iter().chain([start]);
        let word =
            places().find_map(|at| self.word(at)).or_else(|| places().find_map(|at| self.capitals(at)));
        if let Some(end) = word {
            return self.contraction(end, Case::Insensitive).unwrap_or(end);
        }
        let second = self.class(next);
        let symbols = match (first, second) {
            (Number, _) => return self.number(next, 2),
            (Symbol, _) => Some(next),
            (Space, Some((Symbol, after))) if self.text.as_bytes()[start] == b' ' => Some(after),
            _ => None,
        };
        let Some(next) = symbols else { return self.white_space(start, LineEnds::Apart) };
        let mut end = self.run(next, |class| class == Symbol);
        while let Some(b'\r' | b'\n' | b'/') = self.text.as_bytes().get(end) {
            end += 1;
        }
        end
    }

    /// End of `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`. The first part takes as many characters as
    /// leave one for the second.
    fn word(&self, start: usize) -> Option<usize> {
        let (mut at, mut both) = (start, None);
        while let Some((class @ (Cased::Upper | Cased::Both), next)) = self.cased(at) {
            if class == Cased::Both {
                both = Some(next);
            }
            at = next;
        }
        match self.cased(at) {
            Some((Cased::Lower, next)) => {
                let mut end = next;
                while let Some((Cased::Lower | Cased::Both, next)) = self.cased(end) {
                    end = next;
                }
                Some(end)
            }
            _ => both,
        }
    }

    /// End of `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+` where no [`Self::word`] begins.
    fn capitals(&self, start: usize) -> Option<usize> {
        let mut end = start;
        while let Some((Cased::Upper, next)) = self.cased(end) {
            end = next;
        }
        (end > start).then_some(end)
    }

    fn cased(&self, at: usize) -> Option<(Cased, usize)> {
        let (class, next) = self.class(at)?;
        let byte = self.text.as_bytes()[at];
        let cased = match class {
            Class::Letter if byte.is_ascii_lowercase() => Cased::Lower,
            Class::Letter if byte.is_ascii_uppercase() => Cased::Upper,
            Class::Letter => {
                let character = self.text[at..next].chars().next().map_or(0, u32::from);
                if contains(unicode::LOWER, character) {
                    Cased::Lower
                } else if contains(unicode::UPPER, character) {
                    Cased::Upper
                } else {
                    Cased::Both
                }
            }
            Symbol if byte >= 0x80 => {
                let character = self.text[at..next].chars().next().map_or(0, u32::from);
                if MARKS.contains(character) { Cased::Both } else { Cased::Other }
            }
            Symbol | Number | Space | LineEnd => Cased::Other,
        };
        Some((cased, next))
    }
}

fn contains(ranges: &[(u32, u32)], code: u32) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= code);
    after > 0 && code <= ranges[after - 1].1
}

/// Marks, as one bit for each code point: symbols are frequent.
struct Bits(Vec<u64>);

static MARKS: LazyLock<Bits> = LazyLock::new(|| {
    let mut bits = vec![0; 0x11_0000 / 64];
    for &(first, last) in unicode::MARKS {
        (first..=last).for_each(|code| bits[code as usize / 64] |= 1 << (code % 64));
    }
    Bits(bits)
});

impl Bits {
    fn contains(&self, code: u32) -> bool {
        self.0[code as usize / 64] >> (code % 64) & 1 == 1
    }
}
