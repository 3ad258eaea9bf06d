//! Owns: comparing a text with a secret, in all forms in which it may be written.

use super::escape::{Cut, End, Reading, SPECIAL, Symbol, may_begin, readings};
use std::{collections::HashMap, rc::Rc};

/// With fewer letters of Base64, ordinary words would match.
const BASE64_LETTERS_MIN: usize = 4;

/// A secret to search for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern {
    pub(super) bytes: Vec<u8>,
    pub(super) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Text,
    /// In either alphabet; with line breaks in any position.
    Base64,
}

/// The result of comparing a text with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// No match.
    Nothing,
    /// The first bytes of the text, this many, are the pattern.
    Whole(usize),
    /// The whole text is the beginning of the pattern; the greatest, since more text decides.
    Beginning,
}

/// The text that is searched, with the escapes in it that were decoded before.
pub(super) struct Text<'t> {
    pub(super) bytes: &'t [u8],
    end: End,
    /// Decoded escapes, by position.
    known: HashMap<usize, Result<Rc<[Reading]>, Cut>>,
}

impl<'t> Text<'t> {
    pub(super) fn new(bytes: &'t [u8], end: End) -> Self {
        Self { bytes, end, known: HashMap::new() }
    }

    /// What begins at a position, with a byte that may begin an escape.
    pub(super) fn readings(&mut self, at: usize) -> Result<Rc<[Reading]>, Cut> {
        let (bytes, end) = (self.bytes, self.end);
        self.known.entry(at).or_insert_with(|| readings(&bytes[at..], end).map(Into::into)).clone()
    }

    /// The number of bytes in which a letter is written at a position; 0 if there is another letter.
    fn letter(&mut self, at: usize, wanted: u8) -> Result<usize, Cut> {
        match self.bytes.get(at) {
            Some(byte) if may_begin(*byte) => {
                let all = self.readings(at)?;
                let found = all.iter().find(|(symbol, _)| *symbol == Symbol::Byte(wanted));
                Ok(found.map_or(0, |(_, bytes)| *bytes))
            }
            Some(byte) if *byte == wanted => Ok(1),
            _ => Ok(0),
        }
    }
}

/// A comparison: positions in the pattern and in the text, and the number of bytes in which each letter is written that
/// may begin an escape; 0 if it did not occur yet. What escapes a text writes a letter in the same way throughout.
#[derive(Debug, Clone, Copy)]
struct Way {
    position: usize,
    at: usize,
    written: [usize; SPECIAL.len()],
}

impl Way {
    /// Goes on; `None` if the letter was written in another way before.
    fn after(mut self, letter: u8, wanted: usize, bytes: usize) -> Option<Self> {
        if let Some(special) = SPECIAL.iter().position(|special| *special == letter) {
            let written = &mut self.written[special];
            if *written != 0 && *written != bytes {
                return None;
            }
            *written = bytes;
        }
        Some(Self { position: self.position + wanted, at: self.at + bytes, ..self })
    }
}

impl Pattern {
    /// Compares a text, from a position on, with the pattern.
    pub(super) fn find(&self, text: &mut Text<'_>, from: usize) -> Found {
        match self.follow(text, Way { position: 0, at: from, written: [0; SPECIAL.len()] }) {
            Found::Whole(end) => Found::Whole(end - from),
            found => found,
        }
    }

    /// Goes on with a comparison; [`Found::Whole`] has the position of the end.
    fn follow(&self, text: &mut Text<'_>, mut way: Way) -> Found {
        while way.position < self.bytes.len() {
            if self.form == Form::Base64 && way.position > 0 {
                // At most one line break, so that no more text is held back than the secret is long.
                for byte in *b"\r\n" {
                    match text.letter(way.at, byte) {
                        Ok(bytes) => way.at += bytes,
                        Err(Cut) => return Found::Beginning,
                    }
                }
            }
            let letter = self.bytes[way.position];
            let next = match text.bytes.get(way.at) {
                None if text.end == End::Open => return Found::Beginning,
                None => None,
                Some(byte) if may_begin(*byte) => {
                    let Ok(all) = text.readings(way.at) else { return Found::Beginning };
                    let after = |(symbol, bytes): &Reading| {
                        way.after(letter, self.step(way.position, *symbol)?, *bytes)
                    };
                    let mut ways: Vec<Way> = all.iter().filter_map(after).collect();
                    ways.sort_unstable_by_key(|way| (way.position, way.at));
                    ways.dedup_by_key(|way| (way.position, way.at));
                    let last = ways.pop();
                    let mut longest = Found::Nothing;
                    for way in ways {
                        match self.follow(text, way) {
                            Found::Beginning => return Found::Beginning,
                            found => longest = longest.max(found),
                        }
                    }
                    match (last, longest) {
                        (Some(last), Found::Nothing) => Some(last),
                        (Some(last), _) => return longest.max(self.follow(text, last)),
                        (None, _) => None,
                    }
                }
                Some(byte) => self
                    .step(way.position, Symbol::Byte(*byte))
                    .and_then(|wanted| way.after(letter, wanted, 1)),
            };
            match next {
                Some(next) => way = next,
                None => return Found::Nothing,
            }
        }
        Found::Whole(way.at)
    }

    /// Whether a text that begins with this byte may be the pattern, as it is.
    pub(super) fn may_begin(&self, byte: u8) -> bool {
        self.step(0, Symbol::Byte(byte)).is_some()
    }

    /// The number of bytes of the pattern that a symbol of the text is.
    fn step(&self, position: usize, symbol: Symbol) -> Option<usize> {
        let wanted = &self.bytes[position..];
        let is = |letter: char| {
            let is_same = wanted.starts_with(letter.encode_utf8(&mut [0; 4]).as_bytes());
            is_same.then(|| letter.len_utf8())
        };
        match symbol {
            Symbol::Byte(byte) if byte == wanted[0] => Some(1),
            Symbol::Byte(b'-') if self.form == Form::Base64 && wanted[0] == b'+' => Some(1),
            Symbol::Byte(b'_') if self.form == Form::Base64 && wanted[0] == b'/' => Some(1),
            // Python writes a letter up to U+00FF like a byte.
            Symbol::Byte(byte) => is(char::from(byte)),
            Symbol::Letter(letter) => is(letter),
        }
    }
}

/// A text in Base64, for each of the three offsets at which it may begin within a longer one: the letters that depend
/// on it alone, and those up to the end of the whole.
pub(super) fn base64_forms(text: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut whole = vec![0; before];
        whole.extend_from_slice(text);
        let letters = base64(&whole);
        let from = (before * 8).div_ceil(6);
        let decided = whole.len() * 8 / 6;
        let unpadded = letters.len() - letters.iter().rev().take_while(|letter| **letter == b'=').count();
        let ends = [decided, unpadded, letters.len()];
        forms.extend(ends.into_iter().filter_map(|end| letters.get(from..end)).map(<[u8]>::to_owned));
    }
    forms.retain(|form| form.len() >= BASE64_LETTERS_MIN);
    forms
}

pub(super) fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .enumerate()
            .fold(0, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { b'=' } else { letter });
        }
    }
    text
}
