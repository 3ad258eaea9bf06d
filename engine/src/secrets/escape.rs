//! Owns: the ways in which a letter may be written: percent-encoded, or escaped as in JSON, JavaScript, Python, C, shells,
//! HTML and XML, also one within another, such as JSON in a URL.

use std::borrow::Cow;

/// How many of them may be nested. Backslashes may be nested deeper, see [`readings`].
const LEVELS_MAX: usize = 4;
/// An escape, with all that is nested in it, is not longer than this.
const BYTES_MAX: usize = 256;

/// Whether more text may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Reached,
}

/// The decoded value of an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Byte(u8),
    Letter(char),
}

/// The text ends before it is known what it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

/// Why a text does not begin with an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Not {
    Other,
    Cut,
}

/// A symbol, and the number of bytes in which it is written.
pub(super) type Reading = (Symbol, usize);

/// The bytes that may begin an escape.
pub(super) const SPECIAL: [u8; 6] = *b"%+\\'\"&";

/// Whether a byte may begin an escape.
pub(super) fn may_begin(byte: u8) -> bool {
    SPECIAL.contains(&byte)
}

/// What a text may begin with, and the number of bytes that it is written in.
///
/// It is not known how a text was escaped: `%2525` may be what it says, `%25` or `%`.
pub(super) fn readings(text: &[u8], end: End) -> Result<Vec<Reading>, Cut> {
    const BACKSLASHES_MAX: usize = 64;
    let (text, end) = match text.get(..BYTES_MAX) {
        Some(part) => (part, End::Reached),
        None => (text, end),
    };
    let mut all = vec![(Symbol::Byte(text[0]), 1)];
    for level in 1..=LEVELS_MAX {
        let (symbol, bytes) = all[all.len() - 1];
        match nested(text, symbol, bytes, level, end) {
            Ok(deeper) => all.push(deeper),
            Err(Not::Other) => {}
            Err(Not::Cut) => return Err(Cut),
        }
    }
    // Each level of JSON within JSON doubles the backslashes and adds one.
    let run = text.iter().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    if run > 1 {
        let powers = (1..=6).map(|power| 1 << power).take_while(|bytes| *bytes <= run);
        all.extend(powers.map(|bytes| (Symbol::Byte(b'\\'), bytes)));
        match nested(&text[run - 1..], Symbol::Byte(b'\\'), 1, 1, end) {
            Ok((symbol, bytes)) => all.push((symbol, bytes + run - 1)),
            Err(Not::Other) => {}
            Err(Not::Cut) => return Err(Cut),
        }
    }
    Ok(all)
}

/// The first symbol of a text in which escapes are nested up to this level.
fn symbol(text: &[u8], level: usize, end: End) -> Result<(Symbol, usize), Not> {
    let Some(first) = text.first() else {
        return Err(if end == End::Open { Not::Cut } else { Not::Other });
    };
    let (mut found, mut bytes) = (Symbol::Byte(*first), 1);
    for level in 1..=level {
        match nested(text, found, bytes, level, end) {
            Ok(deeper) => (found, bytes) = deeper,
            Err(Not::Other) => {}
            Err(Not::Cut) => return Err(Not::Cut),
        }
    }
    Ok((found, bytes))
}

/// The escape that begins with this symbol of the level below, which the first `bytes` of the text are.
fn nested(text: &[u8], first: Symbol, bytes: usize, level: usize, end: End) -> Result<(Symbol, usize), Not> {
    let mut rest = Cursor { text, at: bytes, level: level - 1, end };
    let symbol = match first.ascii() {
        Some(b'%') => Symbol::Byte(rest.number(2, 16)? as u8),
        Some(b'+') => Symbol::Byte(b' '),
        Some(b'\\') => backslash(&mut rest)?,
        Some(b'\'') => quote(&mut rest)?,
        // A quote within quotes, as CSV, SQL and YAML write it.
        Some(b'"') => rest.expect(b"\"").map(|()| Symbol::Byte(b'"'))?,
        Some(b'&') => entity(&mut rest)?,
        _ => return Err(Not::Other),
    };
    Ok((symbol, rest.at))
}

impl Symbol {
    /// The first bytes of the text that it may encode.
    pub(super) fn first_bytes(self) -> impl Iterator<Item = u8> {
        let (byte, letter) = match self {
            Self::Byte(byte) => (Some(byte), char::from(byte)),
            Self::Letter(letter) => (None, letter),
        };
        let mut encoded = [0; 4];
        letter.encode_utf8(&mut encoded);
        byte.into_iter().chain([encoded[0]])
    }

    fn ascii(self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(byte).filter(u8::is_ascii),
            Self::Letter(letter) => u8::try_from(letter).ok().filter(u8::is_ascii),
        }
    }
}

/// A position in a text that is read symbol by symbol.
struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
    level: usize,
    end: End,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<Symbol, Not> {
        let (symbol, bytes) = symbol(&self.text[self.at..], self.level, self.end)?;
        self.at += bytes;
        Ok(symbol)
    }

    fn ascii(&mut self) -> Result<u8, Not> {
        self.next()?.ascii().ok_or(Not::Other)
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), Not> {
        text.iter().try_for_each(|byte| if self.ascii()? == *byte { Ok(()) } else { Err(Not::Other) })
    }

    /// A number of so many digits.
    fn number(&mut self, digits: usize, base: u32) -> Result<u32, Not> {
        let mut value = 0_u32;
        for _ in 0..digits {
            value = add_digit(value, self.ascii()?, base)?;
        }
        Ok(value)
    }

    /// A letter by its number, up to this byte.
    fn letter(&mut self, mut first: u8, base: u32, end: u8) -> Result<Symbol, Not> {
        const DIGITS_MAX: usize = 8;
        let mut value = 0;
        for _ in 0..DIGITS_MAX {
            value = add_digit(value, first, base)?;
            first = self.ascii()?;
            if first == end {
                return letter(value);
            }
        }
        Err(Not::Other)
    }
}

fn add_digit(value: u32, digit: u8, base: u32) -> Result<u32, Not> {
    let digit = char::from(digit).to_digit(base);
    digit.and_then(|digit| value.checked_mul(base)?.checked_add(digit)).ok_or(Not::Other)
}

fn letter(value: u32) -> Result<Symbol, Not> {
    char::from_u32(value).map(Symbol::Letter).ok_or(Not::Other)
}

/// The rest of an escape of JSON, JavaScript, Python, Rust, C or a shell.
fn backslash(rest: &mut Cursor<'_>) -> Result<Symbol, Not> {
    let first = match rest.next()? {
        // Shells escape any letter that they do not know.
        symbol if symbol.ascii().is_none_or(|byte| byte < b' ') => return Ok(symbol),
        symbol => symbol.ascii().ok_or(Not::Other)?,
    };
    match first {
        b'x' => Ok(Symbol::Byte(rest.number(2, 16)? as u8)),
        digit @ b'0'..=b'3' => Ok(Symbol::Byte((u32::from(digit - b'0') * 64 + rest.number(2, 8)?) as u8)),
        b'U' => letter(rest.number(8, 16)?),
        b'u' => {
            let first = rest.ascii()?;
            if first == b'{' {
                let digit = rest.ascii()?;
                return rest.letter(digit, 16, b'}');
            }
            let high = add_digit(0, first, 16)? << 12 | rest.number(3, 16)?;
            if !(0xd800..=0xdbff).contains(&high) {
                return letter(high);
            }
            // Half of a letter beyond U+FFFF; the other half follows.
            rest.expect(b"\\u")?;
            match rest.number(4, 16)? {
                low @ 0xdc00..=0xdfff => letter(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
                _ => Err(Not::Other),
            }
        }
        b'n' => Ok(Symbol::Byte(b'\n')),
        b't' => Ok(Symbol::Byte(b'\t')),
        b'r' => Ok(Symbol::Byte(b'\r')),
        b'b' => Ok(Symbol::Byte(0x08)),
        b'f' => Ok(Symbol::Byte(0x0c)),
        b'a' => Ok(Symbol::Byte(0x07)),
        b'v' => Ok(Symbol::Byte(0x0b)),
        b'e' => Ok(Symbol::Byte(0x1b)),
        byte if byte.is_ascii_punctuation() || byte == b' ' => Ok(Symbol::Byte(byte)),
        _ => Err(Not::Other),
    }
}

/// The rest of a single quote within single quotes: `'\''` or `'"'"'` in shells, `''` in SQL and YAML.
fn quote(rest: &mut Cursor<'_>) -> Result<Symbol, Not> {
    match rest.ascii()? {
        b'\\' => rest.expect(b"''")?,
        b'"' => rest.expect(br#"'"'"#)?,
        b'\'' => {}
        _ => return Err(Not::Other),
    }
    Ok(Symbol::Byte(b'\''))
}

/// The rest of a character reference of HTML or XML.
fn entity(rest: &mut Cursor<'_>) -> Result<Symbol, Not> {
    const NAME_BYTES_MAX: usize = 32;
    let mut next = rest.ascii()?;
    if next == b'#' {
        let digit = rest.ascii()?;
        if digit.eq_ignore_ascii_case(&b'x') {
            let digit = rest.ascii()?;
            return rest.letter(digit, 16, b';');
        }
        return rest.letter(digit, 10, b';');
    }
    let mut name = "&".to_owned();
    while next.is_ascii_alphanumeric() && name.len() <= NAME_BYTES_MAX {
        name.push(char::from(next));
        next = rest.ascii()?;
    }
    if next != b';' {
        return Err(Not::Other);
    }
    name.push(';');
    match html_escape::decode_html_entities(&name) {
        Cow::Owned(text) if text.chars().count() == 1 => {
            text.chars().next().map(Symbol::Letter).ok_or(Not::Other)
        }
        _ => Err(Not::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_is_read_at_each_level() {
        let read = |text: &str| readings(text.as_bytes(), End::Reached).unwrap();
        assert_eq!(read("+"), [(Symbol::Byte(b'+'), 1), (Symbol::Byte(b' '), 1)]);
        let percent = [(Symbol::Byte(b'%'), 1), (Symbol::Byte(b'%'), 3), (Symbol::Byte(b'A'), 5)];
        assert_eq!(read("%2541"), percent);
        assert!(read(r"%5C%5C%5C%22").contains(&(Symbol::Byte(b'"'), 12)));
        assert!(read(r"\u0026quot;").contains(&(Symbol::Letter('"'), 11)));
        assert!(read("&amp;auml;").contains(&(Symbol::Letter('ä'), 10)));
        assert!(read(r"'\\''").contains(&(Symbol::Byte(b'\''), 5)));
        assert_eq!(read("&nothing;"), [(Symbol::Byte(b'&'), 1)]);
        assert_eq!(read(r"\u{110000}"), [(Symbol::Byte(b'\\'), 1)]);
    }

    #[test]
    fn escapes_that_are_cut_are_told_from_others() {
        for text in ["%", "%2", "%25", r"\", r"\u00e", r"\ud83d", r"\ud83d\u", "&", "&aum", "&#x", r"'\'"] {
            assert_eq!(readings(text.as_bytes(), End::Open), Err(Cut), "{text}");
            assert!(readings(text.as_bytes(), End::Reached).is_ok(), "{text}");
        }
        for text in ["%x", r"\u{x", "& ", "'x", "&#z", "&a "] {
            assert_eq!(readings(text.as_bytes(), End::Open).unwrap().len(), 1, "{text}");
        }
    }

    #[test]
    fn what_looks_nested_for_ever_is_read_in_bounded_time() {
        for part in ["%25", r"\u005c", "&amp;", r"\\", "'", "%5C", "&#38;#38;"] {
            let text = part.repeat(1000);
            assert!(readings(text.as_bytes(), End::Open).is_ok_and(|all| all.len() < 16), "{part}");
        }
    }
}
