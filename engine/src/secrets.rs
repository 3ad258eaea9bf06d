//! Owns: removing secrets from everything that a stage writes and reports, before anything else sees it.
//!
//! A secret is looked for as a whole, without the white space around it, and line by line; as it is, with letters
//! percent-encoded or escaped as in JSON, JavaScript, Python, C, shells, HTML and XML, and within Base64. Whatever matches, in part or overlapping,
//! becomes `***`.

mod suspect;

use memchr::memmem::Finder;
use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{self, Read, Write},
    sync::Arc,
};
pub(crate) use suspect::looks_secret;

/// Shorter lines of a secret, such as a bracket or a comma, are not searched for.
const LINE_BYTES_MIN: usize = 3;
/// With fewer letters of Base64, ordinary words would match.
const BASE64_LETTERS_MIN: usize = 4;
const MASK: &[u8] = b"***";

/// The values to search for.
#[derive(Debug, Default)]
pub struct Secrets {
    patterns: Vec<Pattern>,
    /// By byte, the patterns that may begin with it: a secret of many lines has hundreds of patterns.
    first: Vec<Vec<u32>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    bytes: Vec<u8>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Text,
    /// In either alphabet; with line breaks in any position.
    Base64,
}

/// The result of comparing a text with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No match.
    Nothing,
    /// The first bytes of the text, this many, are the pattern.
    Whole(usize),
    /// The whole text is the beginning of the pattern.
    Beginning,
}

impl Secrets {
    /// The secrets that these settings name, with their values in the environment.
    pub(crate) fn named_in(config: &serde_json::Value) -> Self {
        Self::of_variables(names_in(config).iter().map(String::as_str))
    }

    /// The values of these environment variables.
    pub fn of_variables<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        use std::os::unix::ffi::OsStringExt;
        Self::new(names.into_iter().filter_map(std::env::var_os).map(OsStringExt::into_vec))
    }

    /// These values.
    pub(crate) fn new(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut patterns = BTreeSet::new();
        for value in values {
            let lines = value.split(|byte| matches!(byte, b'\n' | b'\r'));
            let lines = lines.map(<[u8]>::trim_ascii).filter(|line| line.len() >= LINE_BYTES_MIN);
            for text in lines.chain([value.trim_ascii(), &value]).filter(|text| !text.is_empty()) {
                let base64 =
                    base64_forms(text).into_iter().map(|bytes| Pattern { bytes, form: Form::Base64 });
                patterns.extend(base64);
                patterns.insert(Pattern { bytes: text.to_owned(), form: Form::Text });
            }
        }
        let patterns: Vec<Pattern> = patterns.into_iter().collect();
        let beginning_with = |byte: u8| {
            let may_begin = |pattern: &Pattern| pattern.find(&[byte], End::Open) != Found::Nothing;
            (0..).zip(&patterns).filter(|(_, pattern)| may_begin(pattern)).map(|(index, _)| index).collect()
        };
        let first = (0..=u8::MAX).map(beginning_with).collect();
        Self { patterns, first }
    }

    /// Whether a text holds a secret as it is. In large files, short ones would be found by chance, and so would
    /// other forms: they are not looked for.
    pub(crate) fn are_in(&self, mut text: impl Read) -> io::Result<bool> {
        const CHUNK_BYTES: usize = 1 << 20;
        const SECRET_BYTES_MIN: usize = 8;
        let is_whole =
            |pattern: &&Pattern| pattern.form == Form::Text && pattern.bytes.len() >= SECRET_BYTES_MIN;
        let wanted: Vec<Finder<'_>> =
            self.patterns.iter().filter(is_whole).map(|pattern| Finder::new(&pattern.bytes)).collect();
        let Some(longest) = wanted.iter().map(|finder| finder.needle().len()).max() else { return Ok(false) };
        let mut held = Vec::with_capacity(CHUNK_BYTES + longest);
        loop {
            let read = text.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut held)?;
            if wanted.iter().any(|finder| finder.find(&held).is_some()) {
                return Ok(true);
            }
            if read == 0 {
                return Ok(false);
            }
            // What may be the beginning of one.
            held.drain(..held.len().saturating_sub(longest - 1));
        }
    }

    /// Whether there is nothing to search for.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    fn may_begin(&self, byte: u8) -> bool {
        !self.beginning_with(byte).is_empty()
    }

    fn beginning_with(&self, byte: u8) -> &[u32] {
        self.first.get(usize::from(byte)).map_or(&[], Vec::as_slice)
    }

    /// A text without the secrets.
    pub(crate) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.bytes().any(|byte| self.may_begin(byte)) {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut mask = Mask::default();
        mask.pass(self, text.as_bytes(), End::Reached, &mut masked);
        Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
    }
}

/// Finds the names in `${secret.NAME}` and `${secret.NAME:-default}`.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("${secret.")
        .skip(1)
        .filter_map(|rest| rest.split(['}', ':']).next())
        .filter(|name| !name.is_empty())
}

/// The same, in all texts of these settings.
pub(crate) fn names_in(config: &serde_json::Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(config, &mut names);
    names
}

fn collect(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => into.extend(names(text).map(str::to_owned)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            into.extend(names(name).map(str::to_owned));
            collect(field, into);
        }),
        _ => {}
    }
}

impl Pattern {
    fn find(&self, text: &[u8], end: End) -> Found {
        let decoded = self.follow(text, end, Reading::Decoded);
        // `%25` may be a `%`, or what it is.
        let is_ambiguous = self.bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b'&' | b'+' | b'\''));
        let raw = if is_ambiguous { self.follow(text, end, Reading::Raw) } else { Found::Nothing };
        match (decoded, raw) {
            (Found::Beginning, _) | (_, Found::Beginning) => Found::Beginning,
            (Found::Whole(decoded), Found::Whole(raw)) => Found::Whole(decoded.max(raw)),
            (Found::Whole(bytes), _) | (_, Found::Whole(bytes)) => Found::Whole(bytes),
            _ => Found::Nothing,
        }
    }

    fn follow(&self, text: &[u8], end: End, reading: Reading) -> Found {
        let (mut at, mut position) = (0, 0);
        while position < self.bytes.len() {
            if self.form == Form::Base64 && position > 0 {
                // At most one line break, so that no more text is held back than the secret is long.
                at += usize::from(text.get(at) == Some(&b'\r'));
                at += usize::from(text.get(at) == Some(&b'\n'));
            }
            match self.step(&self.bytes[position..], &text[at..], end, reading) {
                Step::Same { text, wanted } => (at, position) = (at + text, position + wanted),
                Step::Cut => return Found::Beginning,
                Step::Other => return Found::Nothing,
            }
        }
        Found::Whole(at)
    }

    /// Whether a text begins with the first letter of `wanted`, in any of the ways in which it may be written.
    fn step(&self, wanted: &[u8], text: &[u8], end: End, reading: Reading) -> Step {
        let open = if end == End::Open { Step::Cut } else { Step::Other };
        let Some(first) = text.first() else { return open };
        let same = |byte: u8| match self.form {
            Form::Text => byte == wanted[0],
            Form::Base64 => byte == wanted[0] || matches!((wanted[0], byte), (b'+', b'-') | (b'/', b'_')),
        };
        let plain = if same(*first) { Step::Same { text: 1, wanted: 1 } } else { Step::Other };
        let escape = match (reading, *first, self.form) {
            (Reading::Decoded, b'%', _) => percent(text, wanted[0]),
            (Reading::Decoded, b'+', Form::Text) => Escape::Letter { bytes: 1, letter: ' ' },
            (Reading::Decoded, b'\\', Form::Text) => backslashes(text, wanted[0]),
            (Reading::Decoded, b'\'', Form::Text) => quote(text),
            (Reading::Decoded, b'&', Form::Text) => entity(text),
            _ => Escape::None,
        };
        let is_letter = |letter: char| wanted.starts_with(letter.encode_utf8(&mut [0; 4]).as_bytes());
        match escape {
            Escape::Byte { bytes, byte } if same(byte) => Step::Same { text: bytes, wanted: 1 },
            // Python writes a letter up to U+00FF like a byte.
            Escape::Byte { bytes, byte } if is_letter(char::from(byte)) => {
                Step::Same { text: bytes, wanted: char::from(byte).len_utf8() }
            }
            Escape::Letter { bytes, letter } if is_letter(letter) => {
                Step::Same { text: bytes, wanted: letter.len_utf8() }
            }
            Escape::Cut if end == End::Open => Step::Cut,
            _ => plain,
        }
    }
}

/// One step through a pattern and a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// So many bytes of the text are so many of the pattern.
    Same {
        text: usize,
        wanted: usize,
    },
    Other,
    /// The text ends before this is known.
    Cut,
}

/// An escape at the beginning of a text, and how many bytes of the text it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// The text ends within it.
    Cut,
    Byte {
        bytes: usize,
        byte: u8,
    },
    Letter {
        bytes: usize,
        letter: char,
    },
}

/// A byte that is percent-encoded, once or more often: `%26`, `%2526`.
fn percent(text: &[u8], wanted: u8) -> Escape {
    const LEVELS_MAX: usize = 8;
    let levels =
        text[1..].chunks(2).take(LEVELS_MAX).take_while(|level| wanted != b'%' && *level == b"25").count();
    let before = 1 + 2 * levels;
    match hexadecimal(&text[before..], 2) {
        Digits::All(byte) => Escape::Byte { bytes: before + 2, byte: byte as u8 },
        Digits::Other => Escape::None,
        Digits::Cut => Escape::Cut,
    }
}

/// An escape with as many backslashes as levels, such as JSON within JSON has them: `\"`, `\\\"`.
fn backslashes(text: &[u8], wanted: u8) -> Escape {
    const LEVELS_MAX: usize = 64;
    let all = text.iter().take(LEVELS_MAX).take_while(|byte| **byte == b'\\').count();
    let more = if wanted == b'\\' { 0 } else { all - 1 };
    match backslash(&text[more..]) {
        Escape::Byte { bytes, byte } => Escape::Byte { bytes: bytes + more, byte },
        Escape::Letter { bytes, letter } => Escape::Letter { bytes: bytes + more, letter },
        other => other,
    }
}

/// A single quote within single quotes, as shells write it.
fn quote(text: &[u8]) -> Escape {
    const FORMS: [&[u8]; 2] = [br"'\''", br#"'"'"'"#];
    match FORMS.iter().find(|form| text.starts_with(form)) {
        Some(form) => Escape::Byte { bytes: form.len(), byte: b'\'' },
        None if FORMS.iter().any(|form| form.starts_with(text)) => Escape::Cut,
        None => Escape::None,
    }
}

/// An escape of JSON, JavaScript, Python, Rust, C or a shell.
fn backslash(text: &[u8]) -> Escape {
    let letter =
        |bytes, value| char::from_u32(value).map_or(Escape::None, |letter| Escape::Letter { bytes, letter });
    match text.get(1) {
        None => Escape::Cut,
        Some(b'x') => match hexadecimal(&text[2..], 2) {
            Digits::All(byte) => Escape::Byte { bytes: 4, byte: byte as u8 },
            Digits::Other => Escape::None,
            Digits::Cut => Escape::Cut,
        },
        Some(b'0'..=b'3') => match digits(&text[1..], 3, 8) {
            Digits::All(byte) => Escape::Byte { bytes: 4, byte: byte as u8 },
            Digits::Other => Escape::None,
            Digits::Cut => Escape::Cut,
        },
        Some(b'U') => match hexadecimal(&text[2..], 8) {
            Digits::All(value) => letter(10, value),
            Digits::Other => Escape::None,
            Digits::Cut => Escape::Cut,
        },
        Some(b'u') if text.get(2) == Some(&b'{') => braced(&text[3..], 16, b'}', 3),
        Some(b'u') => match hexadecimal(&text[2..], 4) {
            // Half of a letter beyond U+FFFF; the other half follows.
            Digits::All(high @ 0xd800..=0xdbff) => match (text.get(6), text.get(7)) {
                (Some(b'\\'), Some(b'u')) => match hexadecimal(&text[8..], 4) {
                    Digits::All(low @ 0xdc00..=0xdfff) => {
                        letter(12, 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    }
                    Digits::Cut => Escape::Cut,
                    _ => Escape::None,
                },
                (None, _) | (Some(b'\\'), None) => Escape::Cut,
                _ => Escape::None,
            },
            Digits::All(value) => letter(6, value),
            Digits::Other => Escape::None,
            Digits::Cut => Escape::Cut,
        },
        Some(escape) => escaped(*escape).map_or(Escape::None, |byte| Escape::Byte { bytes: 2, byte }),
    }
}

/// A character reference of HTML or XML.
fn entity(text: &[u8]) -> Escape {
    const NAMED: [(&[u8], char); 5] =
        [(b"&amp;", '&'), (b"&lt;", '<'), (b"&gt;", '>'), (b"&quot;", '"'), (b"&apos;", '\'')];
    match (text.get(1), text.get(2)) {
        (None, _) | (Some(b'#'), None) => Escape::Cut,
        (Some(b'#'), Some(b'x' | b'X')) => braced(&text[3..], 16, b';', 3),
        (Some(b'#'), _) => braced(&text[2..], 10, b';', 2),
        _ => match NAMED.iter().find(|(name, _)| text.starts_with(name)) {
            Some((name, letter)) => Escape::Letter { bytes: name.len(), letter: *letter },
            None if NAMED.iter().any(|(name, _)| name.starts_with(text)) => Escape::Cut,
            None => Escape::None,
        },
    }
}

/// Reads the digits of a letter up to what ends them; `before` bytes of the escape precede `text`.
fn braced(text: &[u8], base: u32, end: u8, before: usize) -> Escape {
    const DIGITS_MAX: usize = 8;
    match text.iter().take(DIGITS_MAX + 1).position(|byte| *byte == end) {
        Some(count) => match digits(text, count, base) {
            Digits::All(value) if count > 0 => char::from_u32(value)
                .map_or(Escape::None, |letter| Escape::Letter { bytes: before + count + 1, letter }),
            _ => Escape::None,
        },
        None if text.len() <= DIGITS_MAX && text.iter().all(|byte| char::from(*byte).is_digit(base)) => {
            Escape::Cut
        }
        None => Escape::None,
    }
}

/// What an escape stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Decoded,
    Raw,
}

/// A number of so many digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    All(u32),
    Other,
    /// The text ends before.
    Cut,
}

fn hexadecimal(text: &[u8], count: usize) -> Digits {
    digits(text, count, 16)
}

fn digits(text: &[u8], count: usize, base: u32) -> Digits {
    let mut value: u32 = 0;
    for position in 0..count {
        let Some(byte) = text.get(position) else { return Digits::Cut };
        match char::from(*byte).to_digit(base).and_then(|digit| value.checked_mul(base)?.checked_add(digit)) {
            Some(next) => value = next,
            None => return Digits::Other,
        }
    }
    Digits::All(value)
}

/// Escapes of a byte after a backslash, in JSON and in shells.
fn escaped(escape: u8) -> Option<u8> {
    match escape {
        b'n' => Some(b'\n'),
        b't' => Some(b'\t'),
        b'r' => Some(b'\r'),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        b'a' => Some(0x07),
        b'v' => Some(0x0b),
        b'e' => Some(0x1b),
        byte if byte.is_ascii_punctuation() || byte == b' ' => Some(byte),
        _ => None,
    }
}

/// A text in Base64, for each of the three offsets at which it may begin within a longer one: the letters that depend
/// on it alone, and those up to the end of the whole.
fn base64_forms(text: &[u8]) -> Vec<Vec<u8>> {
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

fn base64(bytes: &[u8]) -> Vec<u8> {
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

/// Whether more text may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Reached,
}

/// A text being masked.
#[derive(Debug, Default)]
struct Mask {
    /// The possible beginning of a secret.
    held: Vec<u8>,
    /// Number of bytes of it that are part of a match.
    covered: usize,
    /// Whether the last byte that was passed on belonged to a match.
    inside: bool,
}

impl Mask {
    fn pass(&mut self, secrets: &Secrets, text: &[u8], end: End, out: &mut Vec<u8>) {
        self.held.extend_from_slice(text);
        let mut at = 0;
        'bytes: while at < self.held.len() {
            let rest = &self.held[at..];
            // Bytes that cannot begin a secret are passed on at once.
            if at >= self.covered && !secrets.may_begin(rest[0]) {
                let plain = rest.iter().take_while(|byte| !secrets.may_begin(**byte)).count();
                out.extend_from_slice(&rest[..plain]);
                self.inside = false;
                at += plain;
                continue;
            }
            for &index in secrets.beginning_with(rest[0]) {
                match secrets.patterns[index as usize].find(rest, end) {
                    Found::Whole(bytes) => self.covered = self.covered.max(at + bytes),
                    Found::Beginning => break 'bytes,
                    Found::Nothing => {}
                }
            }
            let covered = at < self.covered;
            match (covered, self.inside) {
                (false, _) => out.push(rest[0]),
                (true, false) => out.extend_from_slice(MASK),
                (true, true) => {}
            }
            self.inside = covered;
            at += 1;
        }
        self.held.drain(..at);
        self.covered = self.covered.saturating_sub(at);
    }
}

/// A log without secrets: text is passed on to the file, except for a possible beginning of a secret, which is held
/// back.
pub struct MaskedWriter<W: Write> {
    secrets: Arc<Secrets>,
    mask: Mask,
    out: Vec<u8>,
    to: W,
}

impl<W: Write> MaskedWriter<W> {
    /// Passes on to `to` what has no secret in it.
    pub fn new(secrets: Arc<Secrets>, to: W) -> Self {
        Self { secrets, mask: Mask::default(), out: Vec::new(), to }
    }

    /// Writes what was held back.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn end(mut self) -> io::Result<()> {
        self.pass(&[], End::Reached)
    }

    fn pass(&mut self, bytes: &[u8], end: End) -> io::Result<()> {
        self.out.clear();
        self.mask.pass(&self.secrets, bytes, end, &mut self.out);
        self.to.write_all(&self.out)
    }
}

impl<W: Write> Write for MaskedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass(bytes, End::Open)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[&str]) -> Secrets {
        Secrets::new(values.iter().map(|value| value.as_bytes().to_owned()))
    }

    fn written(secrets: &Arc<Secrets>, parts: &[&[u8]]) -> String {
        let mut log = Vec::new();
        let mut writer = MaskedWriter::new(secrets.clone(), &mut log);
        parts.iter().for_each(|part| writer.write_all(part).unwrap());
        writer.end().unwrap();
        String::from_utf8(log).unwrap()
    }

    #[test]
    fn a_secret_is_found_in_all_its_forms() {
        let secrets = of(&["hunter2 secret/word?"]);
        for text in [
            "hunter2 secret/word?",
            "hunter2%20secret%2Fword%3F",
            "hunter2%20secret%2fword%3f",
            "hunter2+secret/word%3F",
            "%68unter2 secret/word?",
            r"hunter2 secret\/word?",
            r"hunter2\u0020secret/word?",
            r"hunter2\ secret/word\?",
            "aHVudGVyMiBzZWNyZXQvd29yZD8=",
            "aHVudGVyMiBzZWNyZXQvd29yZD8",
            "aHVudGVyMiBz\nZWNyZXQvd29yZD8=",
            "aHVudGVyMiBzZWNyZXQvd29yZD8%3D",
        ] {
            let masked = secrets.mask(text);
            assert!(masked.starts_with("***") && masked.len() <= 6, "{text}: {masked}");
            assert_eq!(
                secrets.mask(&format!("a {text}; b")).replace("***=", "***").replace("***%3D", "***"),
                "a ***; b"
            );
        }
    }

    #[test]
    fn letters_beyond_ascii_are_found_however_they_are_escaped() {
        let secrets = Arc::new(of(&["pä-\u{1f600}<&hunter2"]));
        for text in [
            "pä-\u{1f600}<&hunter2",
            r"p\u00e4-\ud83d\ude00<&hunter2",
            r"p\u00E4-\uD83D\uDE00<&hunter2",
            r"p\xe4-\U0001f600<&hunter2",
            r"p\xc3\xa4-\xf0\x9f\x98\x80<&hunter2",
            r"p\303\244-\360\237\230\200<&hunter2",
            r"p\u{e4}-\u{1f600}<\u0026hunter2",
            "p%C3%A4-%F0%9F%98%80%3C%26hunter2",
            "p&#228;-&#x1F600;&lt;&amp;hunter2",
        ] {
            assert_eq!(secrets.mask(&format!("a {text} b")), "a *** b", "{text}");
            for cut in 1..text.len() {
                let (before, after) = text.as_bytes().split_at(cut);
                assert_eq!(written(&secrets, &[before, after]), "***", "{text} cut at {cut}");
            }
        }
        assert_eq!(
            secrets.mask(r"p\u00e4-\ud83d and \u{zz} and &# and \"),
            r"p\u00e4-\ud83d and \u{zz} and &# and \"
        );
    }

    #[test]
    fn a_secret_is_found_within_nested_escapes() {
        let secrets = Arc::new(of(&["hun'ter\"2&%x"]));
        for text in [
            r#"hun'ter"2&%x"#,
            r#"hun'\''ter"2&%x"#,
            r#"hun'"'"'ter"2&%x"#,
            r#"hun'ter\"2&%x"#,
            r#"hun'ter\\\"2&%x"#,
            r#"hun'ter\\\\\\\"2&%x"#,
            "hun%27ter%222%26%25x",
            "hun%2527ter%25222%2526%25x",
        ] {
            assert_eq!(secrets.mask(&format!("a {text} b")), "a *** b", "{text}");
            for cut in 1..text.len() {
                let (before, after) = text.as_bytes().split_at(cut);
                assert_eq!(written(&secrets, &[before, after]), "***", "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_secret_of_many_lines_is_found_line_by_line() {
        let lines: Vec<String> = (0..50_u64)
            .map(|line| base64(&[line.to_le_bytes().repeat(6), vec![7; 3]].concat()))
            .map(|line| String::from_utf8(line).unwrap())
            .collect();
        let secrets = of(&[&lines.join("\n")]);
        assert!(
            secrets.first.iter().map(Vec::len).max().unwrap() >= secrets.patterns.len(),
            "escapes begin all"
        );
        let text: String = lines.iter().map(|line| format!("x {line}\n")).collect();
        assert_eq!(secrets.mask(&text), "x ***\n".repeat(50));
    }

    #[test]
    fn a_secret_is_found_within_longer_base64() {
        let secrets = of(&["hunter2-secret"]);
        for (before, after) in [("", "x"), ("u:", ""), ("user:", "\n"), ("use:", ", and more")] {
            let text =
                String::from_utf8(base64(format!("{before}hunter2-secret{after}").as_bytes())).unwrap();
            let masked = secrets.mask(&text).into_owned();
            assert!(masked.contains("***"), "{text}");
            assert!(masked.len() < text.len() - 14, "{text}: {masked}");
        }
        // Characters that differ in the URL alphabet.
        let secrets = of(&["??>>??>>??"]);
        assert_eq!(secrets.mask("Pz8-Pj8_Pj4_Pw==").as_ref(), "***");
    }

    #[test]
    fn lines_trimmed_values_and_overlaps_are_found() {
        assert_eq!(of(&["first-line\nsecond-line\n}"]).mask("> second-line }"), "> *** }");
        assert_eq!(of(&["hunter2\n"]).mask("Bearer [hunter2]"), "Bearer [***]");
        assert_eq!(of(&["abc", "abcdef"]).mask("abcdef abc"), "*** ***");
        assert_eq!(of(&["abcd", "cdef"]).mask("abcdef"), "***");
        assert_eq!(of(&["aab"]).mask("aaab"), "a***");
        assert_eq!(of(&[""]).mask("as it is"), "as it is");
        assert!(of(&[""]).is_empty());
    }

    #[test]
    fn values_that_are_no_text_are_found() {
        let secrets = Arc::new(Secrets::new([vec![0xff, 0xfe, b'x', b'y']]));
        assert_eq!(written(&secrets, &[b"a\xff", b"\xfexy b"]), "a*** b");
    }

    #[test]
    fn files_that_hold_a_secret_are_found() {
        let secrets = of(&["hunter2-secret", "abc"]);
        let text = |at: usize| [&vec![b'x'; at][..], b"hunter2-secret", &vec![b'y'; 3 << 20]].concat();
        for at in [0, 1, (1 << 20) - 7, 1 << 20, (2 << 20) - 13] {
            assert!(secrets.are_in(&text(at)[..]).unwrap(), "{at}");
        }
        assert!(!secrets.are_in(&b"abc hunter2-secre"[..]).unwrap());
        assert!(!of(&[]).are_in(&b"anything"[..]).unwrap());
    }

    #[test]
    fn settings_name_secrets() {
        let config =
            serde_json::json!({ "a": ["x ${secret.ONE} ${secret.TWO:-d}"], "b": { "c": "${secret.}" } });
        let mut found = BTreeSet::new();
        collect(&config, &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["ONE", "TWO"]);
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_held_back() {
        let secrets = Arc::new(of(&["hunter2"]));
        let mut log = Vec::new();
        let mut writer = MaskedWriter::new(secrets, &mut log);
        writer.write_all(b"step 1\nhun").unwrap();
        assert_eq!(writer.to.as_slice(), b"step 1\n");
    }

    proptest! {
        #[test]
        fn no_secret_survives_however_it_is_cut(
            value in "[ab%]{1,6}",
            around in proptest::collection::vec("[ab%2561]{0,8}", 1..4),
            cut in 1..5usize,
        ) {
            let secrets = Arc::new(of(&[&value]));
            let text = around.join(&value);
            let parts: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let log = written(&secrets, &parts);
            prop_assert!(!log.contains(&value), "{} in {}", value, log);
            prop_assert_eq!(log, secrets.mask(&text).into_owned());
        }
    }
}
