//! The lexical part of HTML: where tags, attributes, comments and raw text begin and end, as in the tokenizer of the
//! HTML standard.

/// Maximum number of attributes to read in one tag.
pub(super) const ATTRIBUTES_MAX: usize = 64;
/// Maximum length of an attribute value to keep.
pub(super) const VALUE_BYTES_MAX: usize = 512;

/// A start or end tag.
pub(super) struct Tag<'p> {
    pub(super) name: &'p str,
    pub(super) attributes: Vec<(&'p str, &'p str)>,
    /// Whether it ends in `/>`, which is significant only in SVG and MathML.
    pub(super) self_closing: bool,
    /// What follows it.
    pub(super) rest: &'p str,
}

impl<'p> Tag<'p> {
    /// Reads a tag, starting at its name; an unclosed tag extends to the end of the page, as in browsers.
    pub(super) fn read(page: &'p str) -> Self {
        let bytes = page.as_bytes();
        let mut at = bytes.iter().position(|&byte| ends_name(byte)).unwrap_or(bytes.len());
        let name = &page[..at];
        let mut attributes = Vec::new();
        let mut self_closing = false;
        loop {
            while let Some(&byte) = bytes.get(at).filter(|byte| byte.is_ascii_whitespace() || **byte == b'/')
            {
                self_closing = byte == b'/';
                at += 1;
            }
            match bytes.get(at) {
                None => return Self { name, attributes, self_closing: false, rest: "" },
                Some(b'>') => return Self { name, attributes, self_closing, rest: &page[at + 1..] },
                Some(_) => self_closing = false,
            }
            let (attribute, next) = attribute(page, at);
            if attributes.len() < ATTRIBUTES_MAX {
                attributes.push(attribute);
            }
            at = next;
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    pub(super) fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    /// The value of an attribute in the page, with unresolved references.
    pub(super) fn value(&self, attribute: &str) -> Option<&'p str> {
        self.attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute)).map(|(_, value)| *value)
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &'p str> {
        self.value("class").unwrap_or_default().split_ascii_whitespace().take(ATTRIBUTES_MAX)
    }
}

pub(super) fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'>' || byte == b'/'
}

/// Reads `name`, `name=value` or `name="value"` at a position; returns the position after it.
fn attribute(page: &str, start: usize) -> ((&str, &str), usize) {
    let bytes = page.as_bytes();
    let find = |from: usize, ends: &dyn Fn(u8) -> bool| {
        bytes[from..].iter().position(|&byte| ends(byte)).map_or(bytes.len(), |length| from + length)
    };
    // A name may begin with `=`, so the first byte always belongs to it.
    let first = page[start..].chars().next().map_or(1, char::len_utf8);
    let name_end = find(start + first, &|byte| ends_name(byte) || byte == b'=');
    let name = &page[start..name_end];
    let mut at = find(name_end, &|byte| !byte.is_ascii_whitespace());
    if bytes.get(at) != Some(&b'=') {
        return ((name, ""), name_end);
    }
    at = find(at + 1, &|byte| !byte.is_ascii_whitespace());
    match bytes.get(at) {
        Some(&quote @ (b'"' | b'\'')) => {
            let end = find(at + 1, &|byte| byte == quote);
            ((name, &page[at + 1..end]), (end + 1).min(bytes.len()))
        }
        _ => {
            let end = find(at, &|byte| byte.is_ascii_whitespace() || byte == b'>');
            ((name, &page[at..end]), end)
        }
    }
}

/// What follows a comment, doctype, processing instruction or `</` without a name.
pub(super) fn after_comment(page: &str) -> &str {
    const START: &str = "<!--";
    let bytes = page.as_bytes();
    let end = if page.starts_with(START) {
        // `-->` and `--!>` end a comment, and so do `<!-->` and `<!--->`.
        memchr::memchr_iter(b'>', bytes).find(|&at| {
            let inner = bytes.get(START.len()..at).unwrap_or_default();
            matches!((at, inner), (4, _) | (5, b"-")) || inner.ends_with(b"--") || inner.ends_with(b"--!")
        })
    } else {
        memchr::memchr(b'>', bytes)
    };
    end.map_or("", |end| &page[end + 1..])
}

/// The content of `<![CDATA[`, and what follows it.
pub(super) fn cdata(page: &str) -> Option<(&str, &str)> {
    let inner = page.strip_prefix("<![CDATA[")?;
    Some(inner.split_once("]]>").unwrap_or((inner, "")))
}

/// Start of the end tag of an element that contains no markup.
pub(super) fn end_of_raw(page: &str, name: &str) -> usize {
    if name == "script" { end_of_script(page) } else { end_tag(page.as_bytes(), name).unwrap_or(page.len()) }
}

fn end_tag(bytes: &[u8], name: &str) -> Option<usize> {
    memchr::memmem::find_iter(bytes, b"</").find(|at| is_named(&bytes[at + 2..], name))
}

fn is_named(bytes: &[u8], name: &str) -> bool {
    bytes.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        && bytes.get(name.len()).is_none_or(|&byte| ends_name(byte))
}

/// The `</script>` that ends a script: not one after `<!--` and `<script` without `-->`.
fn end_of_script(page: &str) -> usize {
    enum State {
        Plain,
        Escaped,
        DoubleEscaped,
    }
    const NAME: &str = "script";
    let bytes = page.as_bytes();
    let mut state = State::Plain;
    let mut at = 0;
    while let Some(further) = memchr::memchr2(b'<', b'>', &bytes[at..]) {
        at += further;
        let rest = &bytes[at..];
        state = match state {
            State::Plain if rest.starts_with(b"<!--") => {
                at += 2; // so that the dashes of `<!-->` count
                State::Escaped
            }
            State::Escaped | State::DoubleEscaped if rest[0] == b'>' && bytes[..at].ends_with(b"--") => {
                State::Plain
            }
            State::Escaped if rest.starts_with(b"<") && is_named(&rest[1..], NAME) => State::DoubleEscaped,
            State::DoubleEscaped if rest.starts_with(b"</") && is_named(&rest[2..], NAME) => State::Escaped,
            State::Plain | State::Escaped if rest.starts_with(b"</") && is_named(&rest[2..], NAME) => {
                return at;
            }
            state => state,
        };
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_in_a_value_closes_nothing() {
        assert!(Tag::read("svg/>").self_closing && Tag::read("path d=\"x\" />").self_closing);
        assert!(!Tag::read("a href=x/>").self_closing && !Tag::read("a / b>").self_closing);
    }

    #[test]
    fn comments_end_where_the_standard_says() {
        for comment in [
            "<!---->",
            "<!-->",
            "<!--->",
            "<!-- x -->",
            "<!-- x --!>",
            "<!----!>",
            "<!-- > -->",
            "<!doctype html>",
            "<?php ?>",
            "</ x>",
        ] {
            assert_eq!(after_comment(&format!("{comment}rest")), "rest", "{comment}");
        }
        assert_eq!(after_comment("<!---!>x-->rest"), "rest");
        assert_eq!(after_comment("<!-- x"), "");
    }

    #[test]
    fn scripts_go_on_behind_what_they_write() {
        let end = |script: &str| end_of_raw(script, "script");
        assert_eq!(end("a</b></script>"), 5);
        assert_eq!(end("<!-- a</script>b"), 6);
        let script = "<!-- write(\"<script>x</script>\"); y -->";
        assert_eq!(end(&format!("{script}</script >")), script.len());
        assert_eq!(end("<!--></script>"), 5);
        assert_eq!(end("<!-- <scripts> </script>"), 15);
        assert_eq!(end("<!-- <script> </script> x"), 25);
        assert_eq!(end_of_raw("a</STYLE>b", "style"), 1);
    }
}
