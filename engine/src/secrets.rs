//! Owns: removing secrets from everything that a stage writes and reports, before anything else sees it.
//!
//! A secret is searched for as a whole, without surrounding white space, and line by line; as plain text,
//! percent-encoded, escaped as in JSON, and within Base64. Each match, including partial overlaps, becomes `***`.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{self, Write},
    sync::Arc,
};

/// Shorter lines of a secret, such as a bracket or a comma, are not searched for.
const LINE_BYTES_MIN: usize = 3;
/// With fewer letters of Base64, ordinary words would match.
const BASE64_LETTERS_MIN: usize = 4;
const MASK: &[u8] = b"***";

/// The values to search for.
#[derive(Debug, Default)]
pub struct Secrets {
    patterns: Vec<Pattern>,
    /// Bytes that a match can begin with.
    first: Vec<bool>,
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
        let mut names = BTreeSet::new();
        collect(config, &mut names);
        Self::of_variables(names.iter().map(String::as_str))
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
        let may_begin =
            |byte: u8| patterns.iter().any(|pattern| pattern.find(&[byte], End::Open) != Found::Nothing);
        let first = (0..=u8::MAX).map(may_begin).collect();
        Self { patterns, first }
    }

    /// Whether there is nothing to search for.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    fn may_begin(&self, byte: u8) -> bool {
        self.first.get(usize::from(byte)).is_some_and(|first| *first)
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
        // `%25` may stand for `%` or for itself.
        let is_ambiguous = self.bytes.iter().any(|byte| matches!(byte, b'%' | b'\\'));
        let raw = if is_ambiguous { self.follow(text, end, Reading::Raw) } else { Found::Nothing };
        match (decoded, raw) {
            (Found::Beginning, _) | (_, Found::Beginning) => Found::Beginning,
            (Found::Whole(decoded), Found::Whole(raw)) => Found::Whole(decoded.max(raw)),
            (Found::Whole(bytes), _) | (_, Found::Whole(bytes)) => Found::Whole(bytes),
            _ => Found::Nothing,
        }
    }

    fn follow(&self, text: &[u8], end: End, reading: Reading) -> Found {
        let mut at = 0;
        for (position, wanted) in self.bytes.iter().enumerate() {
            if self.form == Form::Base64 && position > 0 {
                // At most one line break, so that no more text is held back than the secret is long.
                at += usize::from(text.get(at) == Some(&b'\r'));
                at += usize::from(text.get(at) == Some(&b'\n'));
            }
            match self.step(*wanted, &text[at..], end, reading) {
                Found::Whole(bytes) => at += bytes,
                other => return other,
            }
        }
        Found::Whole(at)
    }

    /// Whether a text begins with a byte, in any of its possible spellings.
    fn step(&self, wanted: u8, text: &[u8], end: End, reading: Reading) -> Found {
        let open = if end == End::Open { Found::Beginning } else { Found::Nothing };
        let Some(first) = text.first() else { return open };
        let same = |byte: u8| match self.form {
            Form::Text => byte == wanted,
            Form::Base64 => byte == wanted || matches!((wanted, byte), (b'+', b'-') | (b'/', b'_')),
        };
        let plain = if same(*first) { Found::Whole(1) } else { Found::Nothing };
        let cut = if end == End::Open { Found::Beginning } else { plain };
        match (reading, *first, self.form) {
            (Reading::Decoded, b'%', _) => match hexadecimal(&text[1..], 2) {
                Some(Some(byte)) if same(byte as u8) => Found::Whole(3),
                Some(_) => plain,
                None => cut,
            },
            (Reading::Decoded, b'+', Form::Text) if wanted == b' ' => Found::Whole(1),
            (Reading::Decoded, b'\\', Form::Text) => match text.get(1) {
                None => cut,
                Some(b'u') => match hexadecimal(&text[2..], 4) {
                    Some(Some(letter)) if letter == u32::from(wanted) => Found::Whole(6),
                    Some(_) => plain,
                    None => cut,
                },
                Some(escape) if escaped(*escape) == Some(wanted) => Found::Whole(2),
                Some(_) => plain,
            },
            _ => plain,
        }
    }
}

/// What an escape represents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Decoded,
    Raw,
}

/// Reads this many hexadecimal digits; `None` if the text ends before, `Some(None)` if it contains something else.
fn hexadecimal(text: &[u8], digits: usize) -> Option<Option<u32>> {
    let mut value = 0;
    for position in 0..digits {
        match (*text.get(position)? as char).to_digit(16) {
            Some(digit) => value = value * 16 + digit,
            None => return Some(None),
        }
    }
    Some(Some(value))
}

/// Escapes of a byte after a backslash, in JSON and in shells.
fn escaped(escape: u8) -> Option<u8> {
    match escape {
        b'n' => Some(b'\n'),
        b't' => Some(b'\t'),
        b'r' => Some(b'\r'),
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
            for pattern in secrets.patterns.iter().filter(|_| secrets.may_begin(rest[0])) {
                match pattern.find(rest, end) {
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
