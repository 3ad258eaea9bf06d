//! Addresses in one spelling, so that copies of a page are recognised. Nothing here depends on documents.

use url::Url;

/// Query parameters that identify visitors and campaigns and do not change the page. `*` at the end matches anything.
pub(crate) const TRACKING: [&str; 20] = [
    "utm_*",
    "gclid",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "yclid",
    "twclid",
    "ttclid",
    "igshid",
    "mc_cid",
    "mc_eid",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "vero_id",
    "oly_anon_id",
];

/// The canonical form of an address: scheme and host in lower case (`url` also writes non-ASCII hosts in Punycode), without
/// credentials, default port, fragment, the dot at the end of a host, an empty query, query parameters of these names
/// (`*` at the end of one matches anything), and the slashes at the end of the path. `http` counts as `https`. Percent
/// escapes of unreserved characters are undone, others get capital letters (RFC 3986, section 6.2.2). Text that is no
/// address, or one of another scheme, only loses white space around it.
pub(crate) fn canonical(text: &str, dropped: &[String]) -> String {
    let text = text.trim();
    let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return text.to_owned();
    };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    if host.is_empty() {
        return text.to_owned();
    }
    let mut out = format!("https://{host}");
    if let Some(port) = url.port() {
        out += &format!(":{port}");
    }
    out += unescaped(url.path()).trim_end_matches('/');
    let kept = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        !part.is_empty() && !dropped.iter().any(|pattern| matches(pattern, name))
    };
    let query: Vec<&str> = url.query().unwrap_or_default().split('&').filter(kept).collect();
    if !query.is_empty() {
        out.push('?');
        out += &unescaped(&query.join("&"));
    }
    out
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// Percent escapes in one spelling.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        let digits =
            rest.get(at + 1..at + 3).filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => out.push(c),
            Some(_) => out += &rest[at..at + 3].to_ascii_uppercase(),
            None => {
                out.push('%');
                rest = &rest[at + 1..];
                continue;
            }
        }
        rest = &rest[at + 3..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn short(text: &str) -> String {
        canonical(text, &TRACKING.map(str::to_owned))
    }

    #[test]
    fn one_page_has_one_address() {
        for (text, expected) in [
            ("HTTP://Example.ORG:80", "https://example.org"),
            ("https://example.org:443/a/../b/#c", "https://example.org/b"),
            ("http://example.org.:8080/", "https://example.org:8080"),
            ("http://u:p@example.org//", "https://example.org"),
            ("http://example.org/%7euser/%2f?", "https://example.org/~user/%2F"),
            ("http://example.org/ä?ö", "https://example.org/%C3%A4?%C3%B6"),
            (
                "http://example.org/?b=1&utm_source=x&a=2&fbclid=3&gclidx=4",
                "https://example.org?b=1&a=2&gclidx=4",
            ),
            ("http://example.org/?utm_source=x&utm_medium", "https://example.org"),
            ("http://example.org/100%", "https://example.org/100%"),
            ("https://bücher.example/A", "https://xn--bcher-kva.example/A"),
            (" ftp://Example.org/ ", "ftp://Example.org/"),
            ("no address", "no address"),
            ("http://./a", "http://./a"),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(text in "(https?://[a-z.]{1,8}(:[0-9]{1,4})?)?[/%a-c0-9?&=#é_ ]{0,20}") {
            let once = short(&text);
            prop_assert_eq!(short(&once), once);
        }
    }
}
