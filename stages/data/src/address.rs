//! Addresses in one spelling, so that copies of a page are recognised and entries of lists find their pages. Nothing here
//! depends on documents.

use std::borrow::Cow;
use url::{Host, Url};

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

/// An address as entries of lists are compared with it: the canonical form without scheme and `www.`, so that lists and
/// documents may leave these out.
pub fn plain(url: &str) -> String {
    let canonical = canonical(&with_scheme(url.trim()), &[]);
    let rest = canonical.strip_prefix("https://").unwrap_or(&canonical);
    rest.strip_prefix("www.").unwrap_or(rest).to_owned()
}

/// The host of an address, in lower case, in ASCII and without `www.`; empty if it has none.
pub fn host(url: &str) -> String {
    let parsed = Url::parse(&with_scheme(url.trim())).ok();
    let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default().to_lowercase();
    without_www(&host).to_owned()
}

/// Longest host in bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// The hosts that a host belongs to: itself, and those that it is a part of, up to its top-level domain.
pub fn hosts_above(host: &str) -> impl Iterator<Item = &str> {
    let starts = std::iter::once(0).chain(memchr::memchr_iter(b'.', host.as_bytes()).map(|at| at + 1));
    let first = host.len().saturating_sub(HOST_BYTES_MAX);
    starts.skip_while(move |at| *at < first).map(|at| &host[at..]).filter(|above| !above.is_empty())
}

/// The host that an entry of a list names: `example.org`, `*.example.org`, `https://example.org/`, and `||example.org^`, as
/// lists for browsers write it.
///
/// # Errors
/// What is wrong with it.
pub fn host_of_entry(entry: &str) -> Result<String, &'static str> {
    let entry = entry.trim();
    let entry = entry.strip_prefix("||").map_or(entry, |domain| domain.strip_suffix('^').unwrap_or(domain));
    let entry = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    let entry = entry.strip_prefix("*.").unwrap_or(entry).trim_end_matches('/').trim_matches('.');
    if entry.contains(':') && !entry.starts_with('[') {
        return Err("has a port; a domain includes all of its ports");
    }
    let wrong = "is not a domain; addresses of pages belong in `urls`";
    let host = Host::parse(entry).map_err(|_| wrong)?.to_string();
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    if host.chars().all(is_of_host) { Ok(without_www(&host).to_owned()) } else { Err(wrong) }
}

fn without_www(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_prefix("www.").unwrap_or(host)
}

/// An address with the scheme that it leaves out: `example.org/page` and `//example.org/page`. A name without a dot before
/// the first `/`, or with other characters than those of hosts, is a path.
fn with_scheme(text: &str) -> Cow<'_, str> {
    let rest = text.strip_prefix("//").unwrap_or(text);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_host = name.trim_matches('.').contains('.')
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '%'))
        && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_host { format!("https://{rest}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_one_page_are_equal() {
        let same = [
            "https://e.org/a",
            "http://www.E.org:80/a/",
            "https://u:p@e.org:443/a#x",
            " https://e.org/a ",
            "WWW.e.org/a",
            "//e.org/%61",
            "https://%65.org/b/../a",
        ];
        assert!(same.iter().all(|url| plain(url) == "e.org/a"), "{:?}", same.map(plain));
        let others = [
            "https://e.org/A",
            "https://e.org/a?b",
            "https://e.org:8080/a",
            "https://x.e.org/a",
            "https://e.org:80/a",
        ];
        assert!(others.iter().all(|url| plain(url) != "e.org/a"));
        assert_eq!(plain("https://bücher.example/ä"), plain("xn--bcher-kva.example/%C3%A4"));
        assert_eq!((plain(""), plain("https://"), plain("a/b")), ("".into(), "".into(), "a/b".into()));
    }

    #[test]
    fn hosts_have_no_port_and_belong_to_their_domains() {
        for (url, expected) in [
            ("https://a@www.Docs.example.org:80/x", "docs.example.org"),
            ("https://docs.example.org./", "docs.example.org"),
            ("https://WWW.e.org:8080/a", "e.org"),
            ("https://BÜCHER.example", "xn--bcher-kva.example"),
            ("https://%62locked.org/", "blocked.org"),
            ("blocked.org/n", "blocked.org"),
            ("//Blocked.org:80", "blocked.org"),
            ("https://[::1]:80/", "[::1]"),
            ("https://localhost/x", "localhost"),
            ("s3://Bucket/x", "bucket"),
            ("data:text/html,x", ""),
            ("mailto:a@e.org", ""),
            ("notes/a.txt", ""),
            ("", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
        let above: Vec<&str> = hosts_above("a.b.example.org").collect();
        assert_eq!(above, ["a.b.example.org", "b.example.org", "example.org", "org"]);
        assert_eq!(hosts_above("localhost").collect::<Vec<_>>(), ["localhost"]);
        assert_eq!(hosts_above("").count(), 0);
        // No list names longer hosts.
        let long = "a.".repeat(100_000) + "org";
        assert!(
            hosts_above(&long).all(|above| above.len() <= HOST_BYTES_MAX)
                && hosts_above(&long).count() == 126
        );
    }

    #[test]
    fn entries_of_lists_name_hosts() {
        for entry in [
            "example.org",
            "WWW.Example.org",
            "*.example.org",
            "*.www.example.org",
            ".example.org.",
            "https://WWW.example.org/",
            "||example.org^",
            "%65xample.org",
        ] {
            assert_eq!(host_of_entry(entry).as_deref(), Ok("example.org"), "{entry}");
        }
        assert_eq!(host_of_entry("Bücher.example").as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(host_of_entry("[::1]").as_deref(), Ok("[::1]"));
        for entry in
            ["", "*.", "/path", "example.org/page", "two words", "a@e.org", "e.org:80", "e.org^x", "a*.e.org"]
        {
            assert!(host_of_entry(entry).is_err(), "{entry}");
        }
    }

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
