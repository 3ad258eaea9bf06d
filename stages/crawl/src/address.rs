//! Canonical addresses: the same page has one address, as far as that can be seen without fetching it.
//!
//! Addresses are parsed as browsers do (the URL Standard). Then the fragment, credentials, an empty query and named
//! parameters are removed, and percent-escapes are written in one way (RFC 3986, section 6.2.2). Nothing is sorted, and
//! no letters of a path change, since servers may tell such addresses apart. It does not know what may be crawled.

use crate::pattern::Pattern;
use std::fmt::Write as _;
use url::Url;

/// How addresses are made canonical.
#[derive(Debug, Clone, Default)]
pub(crate) struct Canonical {
    dropped: Vec<Pattern>,
}

impl Canonical {
    /// `drop_query` has the names of query parameters to remove; `*` in one matches anything.
    pub(crate) fn new(drop_query: &[String]) -> Self {
        let pattern = |name: &String| Pattern::new(format!("{name}$").as_bytes());
        Self { dropped: drop_query.iter().map(pattern).collect() }
    }

    /// Makes an address canonical; `None` if it is not one of HTTP.
    pub(crate) fn of(&self, url: &Url) -> Option<Url> {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return None;
        }
        let mut url = url.clone();
        url.set_fragment(None);
        // These cannot fail for an address with a host.
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        if let Some(host) = url.host_str().filter(|host| host.ends_with('.')) {
            // An absolute name, which is the same as that without its dot.
            let host = host.trim_end_matches('.').to_owned();
            url.set_host(Some(&host).filter(|host| !host.is_empty()).map(String::as_str)).ok()?;
        }
        let path = one_spelling(url.path().as_bytes());
        if path != url.path() {
            url.set_path(&path);
        }
        if let Some(query) = url.query() {
            let kept = |part: &&str| {
                let name = part.split('=').next().unwrap_or_default();
                !part.is_empty() && !self.dropped.iter().any(|dropped| dropped.matches(name.as_bytes()))
            };
            let parts: Vec<&str> = query.split('&').filter(kept).collect();
            let query = one_spelling(parts.join("&").as_bytes());
            url.set_query(Some(&query).filter(|query| !query.is_empty()).map(String::as_str));
        }
        Some(url)
    }

    /// Resolves a reference against the address of its page; `None` if it leads to nothing that HTTP can fetch.
    pub(crate) fn join(&self, base: &Url, reference: &str) -> Option<Url> {
        self.of(&base.join(reference.trim()).ok()?)
    }

    /// Parses an absolute address.
    pub(crate) fn parse(&self, text: &str) -> Option<Url> {
        self.of(&Url::parse(text.trim()).ok()?)
    }
}

/// The part of an address that names the server for robots.txt: scheme, host and port.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Writes percent-escapes in one way: those of unreserved characters are undone, others get capital letters, and bytes
/// that need an escape get one.
pub(crate) fn one_spelling(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut position = 0;
    while let Some(&byte) = text.get(position) {
        position += 1;
        match (byte, text.get(position..position + 2).and_then(hex)) {
            (b'%', Some(value)) => {
                position += 2;
                push(&mut out, value, value.is_ascii_alphanumeric() || b"-._~".contains(&value));
            }
            _ => push(&mut out, byte, byte.is_ascii_graphic()),
        }
    }
    out
}

fn push(out: &mut String, byte: u8, plain: bool) {
    if plain {
        out.push(char::from(byte));
    } else {
        write!(out, "%{byte:02X}").expect("invariant: a string takes everything");
    }
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*digits.first()?)?, digit(*digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_has_one_address() {
        let canonical = Canonical::new(&["utm_*".to_owned(), "sid".to_owned()]);
        let cases = [
            ("HTTP://Example.ORG:80", "http://example.org/"),
            ("https://example.org:443/a/../b#c", "https://example.org/b"),
            ("http://example.org./", "http://example.org/"),
            ("http://example.org../", "http://example.org/"),
            ("http://u:p@example.org/", "http://example.org/"),
            ("http://example.org/%7euser/%2f?", "http://example.org/~user/%2F"),
            ("http://example.org/ä?ö", "http://example.org/%C3%A4?%C3%B6"),
            ("http://example.org/?b=1&utm_source=x&a=2&sid=3&sidx=4", "http://example.org/?b=1&a=2&sidx=4"),
            ("http://example.org/?utm_source=x", "http://example.org/"),
            ("http://example.org/100%", "http://example.org/100%"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
        ];
        for (text, expected) in cases {
            let url = canonical.parse(text).unwrap();
            assert_eq!(url.as_str(), expected);
            assert_eq!(canonical.of(&url).unwrap(), url, "canonical already");
        }
        for text in ["mailto:a@example.org", "javascript:x", "ftp://example.org/", "http://", "a/b", ""] {
            assert_eq!(canonical.parse(text), None, "{text}");
        }
    }

    #[test]
    fn escapes_that_make_dots_do_not_change_the_path_twice() {
        let canonical = Canonical::default();
        let once = canonical.parse("http://example.org/a/%2e%2E/b/%252e").unwrap();
        assert_eq!(once.as_str(), "http://example.org/b/%252e");
        assert_eq!(canonical.of(&once), Some(once));
    }
}
