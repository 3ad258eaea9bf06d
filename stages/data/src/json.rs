//! JSON with exact numbers: digits are kept, whatever the size and precision.
//!
//! Most libraries parse numbers into 64 bits, which changes ids above 2^64 and the last digits of some fractions.
//! Here a number is its text. Depth is bounded, and time is linear.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Maximum depth of lists and objects.
pub(crate) const DEPTH_MAX: u32 = 128;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// Kept as written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// What is wrong, and where.
    #[error("{0}")]
    Syntax(String),
    /// An object with two values for a name. Parsers differ in which of them they take.
    #[error("an object has the key `{0}` twice")]
    TwoKeys(String),
}

impl Json {
    /// Writes the value in canonical form: no white space, keys sorted by bytes.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => write_text(text, out),
            Self::List(values) => {
                out.push('[');
                for (position, value) in values.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (position, (name, value)) in fields.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("invariant: a text is JSON"));
}

/// Parses one value from a text.
pub(crate) struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: u32,
}

impl<'t> Parser<'t> {
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Parses an object and passes each name to `field`, which must consume its value from the parser.
    ///
    /// # Errors
    /// If the text is not an object, or `field` fails.
    pub(crate) fn object<E: From<Refused>>(
        &mut self,
        mut field: impl FnMut(&mut Self, Cow<'t, str>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.peek() != Some(b'{') {
            return Err(self.error("expected an object").into());
        }
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a name").into());
            }
            let name = self.string()?;
            self.expect(b':')?;
            field(self, name)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.error("expected `,` or `}`").into()),
            }
        }
    }

    fn list(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Refused>) -> Result<(), Refused> {
        self.enter()?;
        if self.peek() == Some(b']') {
            self.leave();
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.error("expected `,` or `]`")),
            }
        }
    }

    /// Parses any value.
    pub(crate) fn value(&mut self) -> Result<Json, Refused> {
        Ok(match self.peek() {
            Some(b'{') => {
                let mut fields = BTreeMap::new();
                self.object(|parser, name| {
                    if fields.contains_key(name.as_ref()) {
                        return Err(Refused::TwoKeys(name.into_owned()));
                    }
                    let value = parser.value()?;
                    fields.insert(name.into_owned(), value);
                    Ok(())
                })?;
                Json::Object(fields)
            }
            Some(b'[') => {
                let mut values = Vec::new();
                self.list(|parser| {
                    values.push(parser.value()?);
                    Ok(())
                })?;
                Json::List(values)
            }
            Some(b'"') => Json::Text(self.string()?.into_owned()),
            _ => self.scalar()?.map_or(Json::Null, |text| match text {
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                number => Json::Number(number.to_owned()),
            }),
        })
    }

    /// Skips a value, which must be valid, except that its objects may have a name twice.
    pub(crate) fn skip(&mut self) -> Result<(), Refused> {
        match self.peek() {
            Some(b'{') => self.object(|parser, _| parser.skip()),
            Some(b'[') => self.list(Self::skip),
            Some(b'"') => self.string().map(drop),
            _ => self.scalar().map(drop),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), Refused> {
        if self.peek().is_some() { Err(self.error("expected nothing more")) } else { Ok(()) }
    }

    /// A literal or a number; none for null.
    fn scalar(&mut self) -> Result<Option<&'t str>, Refused> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte)));
        let text = &self.text[self.at..self.at + length.unwrap_or(rest.len())];
        let found = match text {
            "null" => None,
            "true" | "false" => Some(text),
            number if is_number(number.as_bytes()) => Some(text),
            _ => return Err(self.error("expected a value")),
        };
        self.at += text.len();
        Ok(found)
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Refused> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut is_escaped = false;
        loop {
            let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else {
                return Err(self.error("a string without end"));
            };
            at += found;
            if bytes[at] == b'"' {
                break;
            }
            is_escaped = true;
            at += 2;
            if at > bytes.len() {
                return Err(self.error("a string without end"));
            }
        }
        self.at = at + 1;
        let inner = &self.text[start + 1..at];
        if !is_escaped && !inner.bytes().any(|byte| byte < 0x20) {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(&self.text[start..=at]).map(Cow::Owned).map_err(|error| {
            self.at = start + error.column().saturating_sub(1);
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or_default();
            self.error(what)
        })
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refused> {
        if self.peek() != Some(byte) {
            return Err(self.error(&format!("expected `{}`", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(&format!("more than {DEPTH_MAX} levels")));
        }
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn error(&self, what: &str) -> Refused {
        let mut message = what.to_owned();
        let _ = match self.at < self.text.len() {
            true => write!(message, " at column {}", self.at + 1),
            false => write!(message, " at its end"),
        };
        Refused::Syntax(message)
    }
}

/// Whether a text is a number in the grammar of JSON.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent =
            exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let length = digits(exponent);
        if length == 0 {
            return false;
        }
        rest = &exponent[length..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Json, Refused> {
        let mut parser = Parser::new(text);
        let value = parser.value()?;
        parser.end().map(|()| value)
    }

    fn written(text: &str) -> String {
        let mut out = String::new();
        parse(text).unwrap().write(&mut out);
        out
    }

    #[test]
    fn json_is_written_one_way_and_numbers_as_they_were() {
        let text = r#" {"b": [1, 2.50, null, -1E+5, 123456789012345678901], "a": {"é": "\u0001\ud83d\ude80"}, "b2": true} "#;
        let expected = r#"{"a":{"é":"\u0001🚀"},"b":[1,2.50,null,-1E+5,123456789012345678901],"b2":true}"#;
        assert_eq!(written(text), expected);
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused_at_any_depth() {
        for text in [r#"{"a": 1, "a": {}}"#, r#"[{"b": {"a": null, "x": 2, "\u0061": 1}}]"#] {
            assert_eq!(parse(text), Err(Refused::TwoKeys("a".to_owned())), "{text}");
        }
        assert!(parse(r#"[{"a": {"a": 1}}, {"a": 1}]"#).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\" 1}",
            "01",
            "1.",
            ".5",
            "+1",
            "NaN",
            "tru",
            "\"a",
            "\"\\",
            "\"\n\"",
            "\"\\ud800\"",
            "{} 1",
            "{1: 2}",
            "'a'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("[1, x]").unwrap_err().to_string(), "expected a value at column 5");
        assert_eq!(parse("[1").unwrap_err().to_string(), "expected `,` or `]` at its end");
        let deep = format!("{}1{}", "[".repeat(129), "]".repeat(129));
        assert!(parse(&deep).unwrap_err().to_string().starts_with("more than 128 levels"));
        assert!(parse(&deep[1..deep.len() - 1]).is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_serde_on_what_is_json(text in r#"[\[\]{},:"\\ a0-9.eE+\-tnu]{0,24}"#) {
            prop_assume!(!matches!(parse(&text), Err(Refused::TwoKeys(_))));
            let other = serde_json::from_str::<serde_json::Value>(&text);
            // Serde refuses numbers beyond the largest 64-bit float.
            if other.as_ref().err().is_none_or(|error| !error.to_string().contains("out of range")) {
                prop_assert_eq!(parse(&text).is_ok(), other.is_ok(), "{:?}", other);
            }
            let mut parser = Parser::new(&text);
            prop_assert_eq!(parser.skip().and_then(|()| parser.end()).is_ok(), parse(&text).is_ok());
        }
    }
}
