//! Merges the bytes or characters of a piece into token ids: the pair with the highest priority, repeatedly. Nothing here depends
//! on text, boundaries of pieces, or files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

/// Which pairs of tokens merge, in which order, into which token.
#[derive(Debug, Clone)]
pub(crate) struct Merges {
    alphabet: Alphabet,
    merges: Pairs,
    /// If whole pieces are looked up before merging (`ignore_merges`): ids by bytes.
    whole: Option<FxHashMap<Box<[u8]>, u32>>,
}

/// The symbols that are merged.
#[derive(Debug, Clone)]
pub(crate) enum Alphabet {
    /// Each byte is a token.
    Bytes(Box<[u32; 256]>),
    /// Characters are.
    Characters {
        ids: FxHashMap<char, u32>,
        /// Tokens of the bytes of other characters.
        bytes: Option<Box<[u32; 256]>>,
        /// The token for a character without bytes; none if it is left out.
        unknown: Option<u32>,
        /// Whether neighbours of these are one token.
        fuses_unknown: bool,
    },
}

impl Alphabet {
    fn symbols(&self, piece: &[u8], symbols: &mut Vec<u32>) {
        match self {
            Self::Bytes(ids) => symbols.extend(piece.iter().map(|byte| ids[*byte as usize])),
            Self::Characters { ids, bytes, unknown, fuses_unknown } => {
                let mut after_unknown = false;
                for character in std::str::from_utf8(piece).unwrap_or_default().chars() {
                    let is_unknown = match (ids.get(&character), bytes, unknown) {
                        (Some(id), ..) => {
                            symbols.push(*id);
                            false
                        }
                        (None, Some(ids), _) => {
                            let mut bytes = [0; 4];
                            let bytes = character.encode_utf8(&mut bytes).bytes();
                            symbols.extend(bytes.map(|byte| ids[byte as usize]));
                            false
                        }
                        (None, None, Some(unknown)) => {
                            if !(*fuses_unknown && after_unknown) {
                                symbols.push(*unknown);
                            }
                            true
                        }
                        (None, None, None) => after_unknown,
                    };
                    after_unknown = is_unknown;
                }
            }
        }
    }
}

/// No merge applies; larger than any rank.
const NONE: u64 = u64::MAX;

/// In the place of a symbol that was merged with the one before it; larger than any id.
const MERGED: u32 = u32::MAX;

/// Below this number of symbols, a scan for the best pair is faster than a queue.
const SCANNED_MAX: usize = 48;

/// Memory that is reused for each piece.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    symbols: Vec<u32>,
    ranks: Vec<u64>,
    links: Vec<(u32, u32)>,
    queue: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Merges {
    /// `pairs` are (left, right, merged), by priority.
    pub(crate) fn new(
        alphabet: Alphabet,
        pairs: impl IntoIterator<Item = (u32, u32, u32)>,
        whole: Option<FxHashMap<Box<[u8]>, u32>>,
    ) -> Self {
        let merges = (0..).zip(pairs).map(|(rank, (left, right, merged)): (u64, _)| {
            (pair(left, right), rank << 32 | u64::from(merged))
        });
        let merges = Pairs::new(&merges.collect::<Vec<_>>());
        Self { alphabet, merges, whole }
    }

    pub(super) fn is_of_bytes(&self) -> bool {
        matches!(self.alphabet, Alphabet::Bytes(_))
    }

    pub(super) fn unknown(&self) -> Option<u32> {
        match &self.alphabet {
            Alphabet::Characters { bytes: None, unknown, .. } => *unknown,
            _ => None,
        }
    }

    /// Appends the ids of one piece: its symbols, merged by priority, leftmost first, until no merge applies.
    pub(super) fn encode(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        if let Some(id) = self.whole.as_ref().and_then(|whole| whole.get(piece)) {
            return ids.push(*id);
        }
        scratch.symbols.clear();
        self.alphabet.symbols(piece, &mut scratch.symbols);
        let symbols = &scratch.symbols;
        scratch.ranks.clear();
        scratch.ranks.extend(symbols.windows(2).map(|symbols| self.merge(symbols[0], symbols[1])));
        if symbols.len() <= SCANNED_MAX { self.scan(scratch, ids) } else { self.drain(scratch, ids) }
    }

    /// Quadratic in the length of the piece; fast for short pieces.
    fn scan(&self, Scratch { symbols, ranks, .. }: &mut Scratch, ids: &mut Vec<u32>) {
        // A symbol stays where it is; neighbours are linked.
        let mut after: [u8; SCANNED_MAX] = std::array::from_fn(|at| at as u8 + 1);
        let mut before: [u8; SCANNED_MAX + 1] = std::array::from_fn(|at| at.saturating_sub(1) as u8);
        let length = symbols.len();
        ranks.push(NONE);
        loop {
            let (mut at, mut best) = (0, NONE);
            for (place, rank) in ranks.iter().enumerate() {
                if *rank < best {
                    (at, best) = (place, *rank);
                }
            }
            if best == NONE {
                break;
            }
            let right = usize::from(after[at]);
            let next = usize::from(after[right]);
            symbols[at] = best as u32;
            symbols[right] = MERGED;
            ranks[right] = NONE;
            after[at] = next as u8;
            before[next] = at as u8;
            if at > 0 {
                let left = usize::from(before[at]);
                ranks[left] = self.merge(symbols[left], symbols[at]);
            }
            ranks[at] = if next < length { self.merge(symbols[at], symbols[next]) } else { NONE };
        }
        ids.extend(symbols.iter().filter(|symbol| **symbol != MERGED));
    }

    /// Takes n log n time, so that a hostile line of a million letters does no harm.
    fn drain(&self, Scratch { symbols, ranks, links, queue }: &mut Scratch, ids: &mut Vec<u32>) {
        const END: u32 = u32::MAX;
        let length = symbols.len() as u32;
        links.clear();
        links.extend(
            (0..length)
                .map(|at| (at.checked_sub(1).unwrap_or(END), if at + 1 < length { at + 1 } else { END })),
        );
        ranks.push(NONE);
        queue.clear();
        queue.extend(
            (0..).zip(&*ranks).filter(|(_, rank)| **rank != NONE).map(|(at, rank)| Reverse((*rank, at))),
        );
        while let Some(Reverse((rank, at))) = queue.pop() {
            // Outdated entries stay in the queue; `ranks` has the current rank.
            if ranks[at as usize] != rank {
                continue;
            }
            let (before, right) = links[at as usize];
            let after = links[right as usize].1;
            symbols[at as usize] = rank as u32;
            ranks[right as usize] = NONE;
            symbols[right as usize] = MERGED;
            links[at as usize].1 = after;
            if after != END {
                links[after as usize].0 = at;
            }
            for (left, right) in [(before, at), (at, after)] {
                if left == END {
                    continue;
                }
                let rank = match right {
                    END => NONE,
                    right => self.merge(symbols[left as usize], symbols[right as usize]),
                };
                ranks[left as usize] = rank;
                if rank != NONE {
                    queue.push(Reverse((rank, left)));
                }
            }
        }
        ids.extend(symbols.iter().filter(|symbol| **symbol != MERGED));
    }

    #[inline(always)]
    fn merge(&self, left: u32, right: u32) -> u64 {
        self.merges.get(pair(left, right))
    }
}

/// Merges by pair (left id in the upper half): rank in the upper half, merged id in the lower. A table with open addressing, at
/// most half full, so that most look-ups read one line of memory.
#[derive(Debug, Clone)]
struct Pairs {
    slots: Vec<(u64, u64)>,
    /// Bits that a hash is shifted by to be a place.
    shift: u32,
}

impl Pairs {
    /// The key of a free slot; larger than any pair.
    const FREE: u64 = u64::MAX;

    /// If a pair occurs more than once, its last merge counts.
    fn new(merges: &[(u64, u64)]) -> Self {
        let bits = (2 * merges.len()).next_power_of_two().ilog2().max(1);
        let mut pairs = Self { slots: vec![(Self::FREE, NONE); 1 << bits], shift: 64 - bits };
        for (pair, merge) in merges {
            let place = pairs.place(*pair);
            pairs.slots[place] = (*pair, *merge);
        }
        pairs
    }

    #[inline(always)]
    fn get(&self, pair: u64) -> u64 {
        self.slots[self.place(pair)].1
    }

    /// Where a pair is, or the free slot where it would be.
    #[inline(always)]
    fn place(&self, pair: u64) -> usize {
        let mut place = (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        loop {
            let found = self.slots[place].0;
            if found == pair || found == Self::FREE {
                return place;
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes as ids, and merges of the first letters, some of them of merged tokens.
    fn merges() -> Merges {
        let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
        let letters = ids("abcde \n=");
        let mut pairs = Vec::new();
        for (at, left) in letters.iter().enumerate() {
            for right in &letters[at / 2..] {
                pairs.push((*left, *right, 256 + pairs.len() as u32));
            }
        }
        for at in 0..pairs.len() as u32 {
            pairs.push((256 + at, 256 + at * 7 % 20, 256 + pairs.len() as u32));
        }
        Merges::new(Alphabet::Bytes(Box::new(std::array::from_fn(|byte| byte as u32))), pairs, None)
    }

    proptest! {
        #[test]
        fn queue_and_scan_agree(piece in "[a-e \n=]{0,48}") {
            let merges = merges();
            let (mut scanned, mut drained) = (Vec::new(), Vec::new());
            let scratch = || {
                let mut scratch = Scratch::default();
                merges.alphabet.symbols(piece.as_bytes(), &mut scratch.symbols);
                scratch.ranks = scratch.symbols.windows(2).map(|pair| merges.merge(pair[0], pair[1])).collect();
                scratch
            };
            merges.scan(&mut scratch(), &mut scanned);
            merges.drain(&mut scratch(), &mut drained);
            prop_assert!(scanned.len() <= piece.len());
            prop_assert_eq!(scanned, drained);
        }
    }
}
