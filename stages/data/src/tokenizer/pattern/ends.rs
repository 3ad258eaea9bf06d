//! The ends of the pieces in 64 bytes at a time, by operations on sets of bits instead of a walk over the characters, whose
//! branches no processor predicts. The walk in the parent module is the definition; both give the same pieces.
//!
//! Cameron et al. 2014 (bitwise data parallelism in regular expression matching) for runs by addition.
//!
//! A window begins where a piece does, and a piece depends on nothing before it, so nothing is carried from one window
//! to the next. Ends that depend on what follows the window are left out; the next window begins at the last end found.

use super::bits::{Bits, WIDTH, first};
use super::{Case, Scan};

/// How the pattern of GPT-2 and that of Llama 3 differ.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grammar {
    Gpt2,
    /// With numbers of up to this many characters, which is 1 or 3.
    Llama3(usize),
}

impl Scan<'_> {
    /// The ends of pieces within 64 bytes of `at`, where a piece begins, as distances from `at`. There may be none.
    #[inline(always)]
    pub(super) fn ends(&self, at: usize, grammar: Grammar) -> u64 {
        let mut bits = Bits::of(self, at);
        if let Grammar::Llama3(_) = grammar {
            // Digits of several bytes are not counted here.
            let wide = bits.numbers & bits.high;
            if wide != 0 {
                bits.length = bits.length.min(wide.trailing_zeros() as usize);
            }
        }
        if bits.length == 0 {
            return 0;
        }
        let is_last = at + bits.length == self.text.len() && bits.length < WIDTH;
        let starts = match grammar {
            Grammar::Gpt2 => self.starts_of_gpt2(at, bits),
            Grammar::Llama3(digits) => self.starts_of_llama3(at, bits, digits, is_last),
        };
        // A piece begins at the first byte, and the last one ends with the text.
        starts & !1 | u64::from(is_last) << (bits.length % WIDTH)
    }

    #[inline(always)]
    fn starts_of_llama3(&self, at: usize, bits: Bits, digits: usize, is_last: bool) -> u64 {
        let Sets { inside, lead, letters, numbers, spaces, line_ends, symbols } = Sets::of(&bits);

        // ` ?[^\s\p{L}\p{N}]+[\r\n]*`: the line ends behind belong to it.
        let of_symbols = symbols & lead & !(symbols << 1) & !(bits.blanks << 1);
        let absorbed = runs(symbols << 1 & line_ends, line_ends);
        let line_ends = line_ends & !absorbed;
        let white = spaces | line_ends;

        // `[^\r\n\p{L}\p{N}]?\p{L}+`: the white space before a word begins it, and so does the single symbol before it.
        let single = to_last(of_symbols, bits.inner);
        let of_letters = letters & lead & !(letters << 1) & !(spaces << 1) & !(single << 1);

        let of_numbers = match digits {
            1 => numbers,
            _ => {
                let behind_three = numbers & numbers << 1 & numbers << 2;
                let mut groups = numbers & !(numbers << 1);
                let mut group = groups << 3 & behind_three;
                while group != 0 {
                    groups |= group;
                    group = group << 3 & behind_three;
                }
                groups
            }
        };

        // `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last line end, then all but the last character, then that one.
        let mut of_white = white & lead & !(white << 1);
        of_white |= to_first(spaces & !(white >> 1) & inside >> 1, bits.inner);
        let mut behind = line_ends << 1 & spaces;
        while behind != 0 {
            let place = behind.trailing_zeros();
            behind &= behind - 1;
            let rest = spaces >> place;
            let run = (!rest).trailing_zeros();
            // The first space after the last line end; a later line end would follow the spaces.
            if place + run >= WIDTH as u32 || line_ends >> (place + run) & 1 == 0 {
                of_white |= 1 << place;
            }
        }
        if !is_last {
            // A line end behind the window could join what white space at its end seems to be.
            let run = (!(white << (WIDTH - bits.length))).leading_zeros() as usize;
            if run > 0 {
                of_white &= first(bits.length - run + 1);
            }
        }

        let mut starts = of_symbols | of_letters | of_numbers | of_white;
        self.each_contraction(at, bits.apostrophes & of_symbols, Case::Insensitive, |_, end| {
            if end < bits.length {
                starts |= 1 << end;
            }
        });
        starts
    }

    #[inline(always)]
    fn starts_of_gpt2(&self, at: usize, bits: Bits) -> u64 {
        let Sets { inside, lead, letters, numbers, spaces, line_ends, symbols } = Sets::of(&bits);
        let white = spaces | line_ends;
        let words = [letters, numbers, symbols].map(|class| class & !(class << 1) & !(bits.blanks << 1));
        let of_white = white & !(white << 1) | to_first(white & !(white >> 1) & inside >> 1, bits.inner);
        let mut starts = (words[0] | words[1] | words[2] | of_white) & lead;
        self.each_contraction(at, bits.apostrophes & starts, Case::Sensitive, |place, end| {
            starts &= !(first(end) & !first(place + 1));
            if end < bits.length {
                starts |= 1 << end;
            }
        });
        starts
    }

    /// Takes the contractions that begin with these apostrophes.
    #[inline(always)]
    fn each_contraction(&self, at: usize, apostrophes: u64, case: Case, mut take: impl FnMut(usize, usize)) {
        let mut rest = apostrophes;
        while rest != 0 {
            let place = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(end) = self.contraction(at + place, case) {
                take(place, end - at);
            }
        }
    }
}

/// The classes of the known bytes of a window.
struct Sets {
    inside: u64,
    /// First bytes of characters.
    lead: u64,
    letters: u64,
    numbers: u64,
    spaces: u64,
    line_ends: u64,
    symbols: u64,
}

impl Sets {
    #[inline(always)]
    fn of(bits: &Bits) -> Self {
        let inside = first(bits.length);
        let [letters, numbers, spaces, line_ends] =
            [bits.letters, bits.numbers, bits.spaces, bits.line_ends].map(|set| set & inside);
        let symbols = inside & !(letters | numbers | spaces | line_ends);
        Self { inside, lead: inside & !bits.inner, letters, numbers, spaces, line_ends, symbols }
    }
}

/// From each marker to the end of the run of `class` that it begins.
#[inline(always)]
fn runs(markers: u64, class: u64) -> u64 {
    (markers.wrapping_add(class) & !class).wrapping_sub(markers)
}

/// Moves first bytes of characters to their last bytes.
#[inline(always)]
fn to_last(mut set: u64, inner: u64) -> u64 {
    let mut more = set << 1 & inner;
    while more != 0 {
        set |= more;
        more = more << 1 & inner & !set;
    }
    set
}

/// Moves bytes of characters to their first bytes.
#[inline(always)]
fn to_first(mut set: u64, inner: u64) -> u64 {
    while set & inner != 0 {
        set = set & !inner | (set & inner) >> 1;
    }
    set
}
