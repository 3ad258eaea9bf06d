//! Owns: comparing a text with a secret, in all forms in which it may be written.

use super::escape::{Cut, End, Symbol, may_begin, readings};
use std::collections::BTreeSet;

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
    /// The whole text is the beginning of the pattern.
    Beginning,
}

impl Pattern {
    /// Compares the beginning of a text, which is not empty, with the pattern; `first` are the readings of its first
    /// letter.
    pub(super) fn find(&self, text: &[u8], first: &[(Symbol, usize)], end: End) -> Found {
        // Further ways to read the text, as positions in the pattern and in the text.
        let (mut others, mut seen) = (Vec::new(), BTreeSet::new());
        let mut longest = None;
        for &(symbol, bytes) in first {
            others.extend(self.step(0, symbol).map(|wanted| (wanted, bytes)));
        }
        while let Some((mut position, mut at)) = others.pop() {
            while position < self.bytes.len() {
                if self.form == Form::Base64 {
                    // At most one line break, so that no more text is held back than the secret is long.
                    for byte in *b"\r\n" {
                        match letter(&text[at..], byte, end) {
                            Ok(bytes) => at += bytes,
                            Err(Cut) => return Found::Beginning,
                        }
                    }
                }
                let rest = &text[at..];
                match rest.first() {
                    None if end == End::Open => return Found::Beginning,
                    None => break,
                    Some(byte) if may_begin(*byte) => {
                        let Ok(all) = readings(rest, end) else { return Found::Beginning };
                        let next =
                            |(symbol, bytes)| Some((position + self.step(position, symbol)?, at + bytes));
                        others.extend(all.into_iter().filter_map(next).filter(|next| seen.insert(*next)));
                        break;
                    }
                    Some(byte) => match self.step(position, Symbol::Byte(*byte)) {
                        Some(wanted) => (position, at) = (position + wanted, at + 1),
                        None => break,
                    },
                }
            }
            if position == self.bytes.len() {
                longest = longest.max(Some(at));
            }
        }
        longest.map_or(Found::Nothing, Found::Whole)
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

/// The number of bytes in which a text begins with this letter; none if it does not.
fn letter(text: &[u8], wanted: u8, end: End) -> Result<usize, Cut> {
    match text.first() {
        Some(byte) if may_begin(*byte) => {
            let all = readings(text, end)?;
            let is_wanted = |(symbol, _): &&(Symbol, usize)| *symbol == Symbol::Byte(wanted);
            Ok(all.iter().find(is_wanted).map_or(0, |(_, bytes)| *bytes))
        }
        Some(byte) if *byte == wanted => Ok(1),
        _ => Ok(0),
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
