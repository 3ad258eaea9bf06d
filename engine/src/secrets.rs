//! Owns: removing secrets from everything that a stage writes and reports, before anything else sees it.
//!
//! A secret is looked for as a whole, without the white space around it, and line by line; as it is, with letters
//! percent-encoded or escaped, also several times, and within Base64. Whatever matches, in part or overlapping, becomes
//! `***`.

mod escape;
mod pattern;
mod suspect;

use escape::{End, Symbol};
use memchr::memmem::Finder;
use pattern::{Form, Found, Pattern, Text, base64_forms};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{self, Read, Write},
    sync::Arc,
};
pub(crate) use suspect::looks_secret;

/// Shorter lines of a secret, such as a bracket or a comma, are not searched for.
const LINE_BYTES_MIN: usize = 3;
const MASK: &[u8] = b"***";

/// The values to search for.
#[derive(Debug, Default)]
pub struct Secrets {
    patterns: Vec<Pattern>,
    /// By byte, the patterns that may begin with it as it is: a secret of many lines has hundreds of patterns.
    first: Vec<Vec<u32>>,
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
            (0..).zip(&patterns).filter(move |(_, pattern)| pattern.may_begin(byte)).map(|(index, _)| index)
        };
        let first = (0..=u8::MAX).map(|byte| beginning_with(byte).collect()).collect();
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
        !self.is_empty() && (escape::may_begin(byte) || !self.beginning_with(byte).is_empty())
    }

    fn beginning_with(&self, byte: u8) -> &[u32] {
        self.first.get(usize::from(byte)).map_or(&[], Vec::as_slice)
    }

    /// Compares a text, from a position on, with all secrets.
    fn find(&self, text: &mut Text<'_>, at: usize) -> Found {
        let first = text.bytes[at];
        let mut bytes: Vec<u8> = Symbol::Byte(first).first_bytes().collect();
        if escape::may_begin(first) {
            let Ok(all) = text.readings(at) else { return Found::Beginning };
            bytes = all.iter().flat_map(|(symbol, _)| symbol.first_bytes()).collect();
        }
        bytes.sort_unstable();
        bytes.dedup();
        let mut longest = Found::Nothing;
        for index in bytes.into_iter().flat_map(|byte| self.beginning_with(byte)) {
            match self.patterns[*index as usize].find(text, at) {
                Found::Beginning => return Found::Beginning,
                found => longest = longest.max(found),
            }
        }
        longest
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

/// Finds the names in `${secret.NAME}`, which must be set, and not those in `${secret.NAME:-}`.
fn needed(text: &str) -> impl Iterator<Item = &str> {
    let expressions = text.split("${secret.").skip(1).filter_map(|rest| rest.split('}').next());
    expressions.filter(|expression| !expression.is_empty() && !expression.contains(':'))
}

/// The secrets that these settings need and that are missing or empty in the environment. Services in CI set an empty
/// one where it is not defined.
pub(crate) fn missing_in(config: &serde_json::Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(config, &mut |text| names.extend(needed(text).map(str::to_owned)));
    names.retain(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()));
    names
}

/// The names of the secrets in all texts of these settings.
pub(crate) fn names_in(config: &serde_json::Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(config, &mut |text| found.extend(names(text).map(str::to_owned)));
    found
}

/// Passes on all texts of these settings, the names of fields included.
fn collect(value: &serde_json::Value, see: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::String(text) => see(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, see)),
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            see(name);
            collect(field, see);
        }),
        _ => {}
    }
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
        let mut text = Text::new(&self.held, end);
        let mut at = 0;
        while at < text.bytes.len() {
            let rest = &text.bytes[at..];
            // Bytes that cannot begin a secret are passed on at once.
            if at >= self.covered && !secrets.may_begin(rest[0]) {
                let plain = rest.iter().take_while(|byte| !secrets.may_begin(**byte)).count();
                out.extend_from_slice(&rest[..plain]);
                self.inside = false;
                at += plain;
                continue;
            }
            match secrets.find(&mut text, at) {
                Found::Whole(bytes) => self.covered = self.covered.max(at + bytes),
                Found::Beginning => break,
                Found::Nothing => {}
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
    use super::{pattern::base64, *};
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
            "p&auml;-&#x1F600;&lt;&amp;hunter2",
            r"p\u00e4-\ud83d\ude00<&hunter2",
            r"p%5Cu00e4-%5Cud83d%5Cude00%3C%26hunter2",
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
            r"hun%27ter%5C%222%26%25x",
            r"hun%27ter%5C%5C%5C%222%26%25x",
            r#"hun'ter\u00222&%x"#,
            r"hun&apos;ter&quot;2&amp;%x",
            r"hun&amp;apos;ter&#38;quot;2&amp;amp;%x",
            r#"hun'\''ter"2&%x"#,
        ] {
            assert_eq!(secrets.mask(&format!("a {text} b")), "a *** b", "{text}");
            for cut in 1..text.len() {
                let (before, after) = text.as_bytes().split_at(cut);
                assert_eq!(written(&secrets, &[before, after]), "***", "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn backslashes_of_a_secret_are_found_however_often_they_are_escaped() {
        let secret = r#"a\b"c\\d\"#;
        let secrets = of(&[secret]);
        let mut text = secret.to_owned();
        for _ in 0..4 {
            assert_eq!(secrets.mask(&format!("x {text} y")), "x *** y", "{text}");
            text = text.replace('\\', r"\\").replace('"', r#"\""#);
        }
        let percent = secret.replace('\\', "%5C").replace('"', "%22");
        assert_eq!(secrets.mask(&percent), "***");
    }

    #[test]
    fn secrets_of_escapes_are_looked_for_in_bounded_time() {
        for (secret, text) in
            [("\\".repeat(16) + "x", "\\".repeat(20_000)), ("%25".repeat(500), "%25".repeat(5_000))]
        {
            let secrets = Arc::new(of(&[&secret]));
            let log = written(&secrets, &[text.as_bytes(), secret.as_bytes(), b" end"]);
            assert!(log.ends_with(" end") && !log.contains(&secret), "{}", log.len());
        }
    }

    #[test]
    fn letters_that_a_shell_escapes_are_found() {
        let secrets = of(&["tab\there \u{e4}"]);
        assert_eq!(secrets.mask("x tab\\\there\\ \\\u{e4} y"), "x *** y");
    }

    #[test]
    fn base64_is_found_within_json() {
        let secrets = of(&["??>>??>>??>>secret"]);
        let text = "Pz8+Pj8/Pj4/Pz4+c2VjcmV0";
        for text in [text.replace('/', r"\/"), text.replace('+', r"\u002b"), text.replace("Pj4", r"Pj\r\n4")]
        {
            assert_eq!(secrets.mask(&text), "***", "{text}");
        }
    }

    #[test]
    fn a_secret_of_many_lines_is_found_line_by_line() {
        let lines: Vec<String> = (0..50_u64)
            .map(|line| base64(&[line.to_le_bytes().repeat(6), vec![7; 3]].concat()))
            .map(|line| String::from_utf8(line).unwrap())
            .collect();
        let secrets = of(&[&lines.join("\n")]);
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
            serde_json::json!({ "a": ["x ${secret.ONE} ${secret.TWO:-}"], "b": { "c": "${secret.}" } });
        assert_eq!(names_in(&config).into_iter().collect::<Vec<_>>(), ["ONE", "TWO"]);
        assert_eq!(missing_in(&config).into_iter().collect::<Vec<_>>(), ["ONE"]);
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
            value in r"[ab%\\&]{1,6}",
            around in proptest::collection::vec(r"[ab%2561\\&;#u0]{0,8}", 1..4),
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
