//! Personal data and credentials in texts: found by their form, and masked.
//!
//! What has a checksum must have the right one, so that other numbers stay. Names and addresses are not found: they have
//! no form. The names of the masks are those of Microsoft's Presidio.

mod numbers;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Kinds of personal data and credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pii {
    /// E-mail addresses.
    Email,
    /// Public IP addresses, of both versions; private and reserved ones stay.
    Ip,
    /// Phone numbers with a country code (E.164), of North America with its punctuation, and mobile numbers of China.
    Phone,
    /// Bank accounts (ISO 13616), with the length of their country and the right check digits.
    Iban,
    /// Payment cards of the large networks, with the right check digit (ISO 7812).
    Card,
    /// Social security numbers of the United States, with their hyphens.
    UsSsn,
    /// Identity numbers of China (GB 11643), with a date and the right check digit.
    CnId,
    /// Keys and tokens with the prefixes of large providers, JSON Web Tokens, private keys in PEM.
    ApiKey,
}

impl Pii {
    /// All kinds. Where matches overlap, the longest counts, then the earlier kind.
    pub(super) const ALL: [Self; 8] =
        [Self::ApiKey, Self::Email, Self::Iban, Self::CnId, Self::Card, Self::UsSsn, Self::Phone, Self::Ip];

    /// Its name in configs and metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::UsSsn => "us_ssn",
            Self::CnId => "cn_id",
            Self::ApiKey => "api_key",
        }
    }

    const fn mask(self) -> &'static str {
        match self {
            Self::Email => "<EMAIL_ADDRESS>",
            Self::Ip => "<IP_ADDRESS>",
            Self::Phone => "<PHONE_NUMBER>",
            Self::Iban => "<IBAN_CODE>",
            Self::Card => "<CREDIT_CARD>",
            Self::UsSsn => "<US_SSN>",
            Self::CnId => "<CN_ID>",
            Self::ApiKey => "<API_KEY>",
        }
    }

    /// All matches of this kind, which may overlap.
    fn find(self, text: &str, found: &mut Vec<(Range<usize>, Self)>) {
        let mut add = |range: Range<usize>| found.push((range, self));
        match self {
            Self::Email => emails(text, &mut add),
            Self::Ip => addresses(text, &mut add),
            Self::ApiKey => keys(text, &mut add),
            Self::Iban => numbers::ibans(text, &mut add),
            Self::Phone => numbers::of_digits(text, numbers::phone, &mut add),
            Self::Card => numbers::of_digits(text, numbers::card, &mut add),
            Self::UsSsn => numbers::of_digits(text, numbers::us_ssn, &mut add),
            Self::CnId => numbers::of_digits(text, numbers::cn_id, &mut add),
        }
    }
}

/// Masks these kinds in a text, and counts what was masked. Takes time in proportion to the text.
pub(super) fn mask<'t>(text: &'t str, kinds: &[Pii], mut count: impl FnMut(Pii)) -> Cow<'t, str> {
    let mut found = Vec::new();
    for kind in Pii::ALL.into_iter().filter(|kind| kinds.contains(kind)) {
        kind.find(text, &mut found);
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    // The sort is stable: of equal ranges, the earlier kind comes first.
    found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
    for (range, kind) in found {
        if range.start < at {
            continue;
        }
        masked.push_str(&text[at..range.start]);
        masked.push_str(kind.mask());
        count(kind);
        at = range.end;
    }
    masked.push_str(&text[at..]);
    Cow::Owned(masked)
}

/// Length of the run at the beginning of bytes.
fn run(bytes: &[u8], of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| of(**byte)).count()
}

/// Length of the run at the end of bytes, at most `max`.
fn run_back(bytes: &[u8], max: usize, of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().rev().take(max).take_while(|byte| of(**byte)).count()
}

/// `name@host.tld` (RFC 5321), in the form of nearly all addresses: without quotes, in ASCII, with a domain.
fn emails(text: &str, add: &mut impl FnMut(Range<usize>)) {
    const LOCAL_MAX: usize = 64;
    const DOMAIN_MAX: usize = 255;
    let bytes = text.as_bytes();
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-'!#$&*/=?^`{|}~".contains(&byte);
    for at in memchr::memchr_iter(b'@', bytes) {
        let mut local = run_back(&bytes[..at], LOCAL_MAX + 1, is_local);
        if local > LOCAL_MAX {
            continue;
        }
        // Quotes, brackets and addresses of the web often stand before it: `mailto:`, `'a@b.org'`, `?to=a@b.org`.
        let marks = run(&bytes[at - local..at], |byte| !byte.is_ascii_alphanumeric() && byte != b'_');
        local -= marks;
        if let Some(cut) = bytes[at - local..at].iter().rposition(|byte| b"/=?&'`|{}".contains(byte)) {
            local -= cut + 1;
        }
        let local = &bytes[at - local..at];
        let after = &bytes[at + 1..];
        let mut domain = run(&after[..after.len().min(DOMAIN_MAX)], |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
        });
        while domain > 0 && !after[domain - 1].is_ascii_alphanumeric() {
            domain -= 1;
        }
        let labels: Vec<&[u8]> = after[..domain].split(|byte| *byte == b'.').collect();
        let is_label = |label: &&[u8]| (1..=63).contains(&label.len()) && !label.starts_with(b"-");
        let is_top = |label: &[u8]| label.len() >= 2 && label.iter().any(u8::is_ascii_alphabetic);
        let is_domain = labels.len() >= 2 && labels.iter().all(is_label) && is_top(labels[labels.len() - 1]);
        if !local.is_empty() && !local.ends_with(b".") && is_domain {
            add(at - local.len()..at + 1 + domain);
        }
    }
}

/// IP addresses that are reachable from everywhere.
fn addresses(text: &str, add: &mut impl FnMut(Range<usize>)) {
    const LENGTH_MAX: usize = 39;
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'.' || byte == b':';
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut at = 0;
    while at < bytes.len() {
        if !is_part(bytes[at]) {
            at += 1;
            continue;
        }
        let length = run(&bytes[at..], is_part);
        let (mut start, mut end) = (at, at + length);
        at = end;
        if bytes.get(end).is_some_and(|next| is_word(*next)) || start > 0 && is_word(bytes[start - 1]) {
            continue;
        }
        // The marks of a sentence; `::` may begin an address of version 6.
        while end > start
            && (bytes[end - 1] == b'.' || bytes[..end].ends_with(b":") && !bytes[..end].ends_with(b"::"))
        {
            end -= 1;
        }
        while start < end
            && (bytes[start] == b'.' || bytes[start] == b':' && bytes.get(start + 1) != Some(&b':'))
        {
            start += 1;
        }
        // With a port.
        let whole = &text[start..end];
        let host = match whole.split_once(':') {
            Some((host, port)) if host.contains('.') && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                host
            }
            _ => whole,
        };
        if host.len() <= LENGTH_MAX && host.parse().is_ok_and(is_public) {
            add(start..start + host.len());
        }
    }
}

/// Whether an address is none of those that are reserved, for private networks, documentation and others (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_reserved = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xC0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xFE == 18);
    // Numbers of versions and sections have small parts.
    !is_reserved && address.octets().iter().any(|part| *part > 20)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Of the global unicast addresses, all but those for protocols and documentation.
    let is_reserved = match first {
        0x2001 => second < 0x0200 || second == 0x0DB8,
        0x3FFF => second < 0x1000,
        _ => false,
    };
    first & 0xE000 == 0x2000 && !is_reserved
}

/// What a key begins with, which characters follow, and how many at least and at most.
type Prefix = (&'static str, fn(u8) -> bool, usize, usize);

const fn is_letter_or_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const fn is_upper_or_digit(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// As the providers document them, or secret scanners such as gitleaks list them.
const PREFIXES: [Prefix; 24] = [
    ("AKIA", is_upper_or_digit, 16, 16),
    ("ASIA", is_upper_or_digit, 16, 16),
    ("AIza", is_url_safe, 35, 35),
    ("ghp_", is_letter_or_digit, 36, 36),
    ("gho_", is_letter_or_digit, 36, 36),
    ("ghu_", is_letter_or_digit, 36, 36),
    ("ghs_", is_letter_or_digit, 36, 36),
    ("ghr_", is_letter_or_digit, 36, 76),
    ("github_pat_", is_url_safe, 82, 82),
    ("glpat-", is_url_safe, 20, 64),
    ("hf_", is_letter_or_digit, 34, 40),
    ("npm_", is_letter_or_digit, 36, 36),
    ("pypi-AgEI", is_url_safe, 50, 1000),
    ("sk-ant-", is_url_safe, 80, 120),
    ("sk-proj-", is_url_safe, 40, 200),
    ("sk-", is_letter_or_digit, 40, 64),
    ("sk_live_", is_letter_or_digit, 16, 247),
    ("rk_live_", is_letter_or_digit, 16, 247),
    ("xoxb-", is_url_safe, 20, 255),
    ("xoxp-", is_url_safe, 20, 255),
    ("xoxa-", is_url_safe, 20, 255),
    ("xapp-", is_url_safe, 20, 255),
    ("SG.", is_key_part, 60, 80),
    ("dop_v1_", is_letter_or_digit, 64, 64),
];

const fn is_key_part(byte: u8) -> bool {
    is_url_safe(byte) || byte == b'.'
}

/// Keys of providers, JSON Web Tokens, and private keys.
fn keys(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    for (prefix, is_part, min, max) in PREFIXES {
        for at in memchr::memmem::find_iter(bytes, prefix) {
            let length = run(&bytes[at + prefix.len()..], is_part);
            let is_start = at == 0 || !is_url_safe(bytes[at - 1]);
            if is_start && (min..=max).contains(&length) {
                add(at..at + prefix.len() + length);
            }
        }
    }
    tokens(bytes, add);
    private_keys(bytes, add);
}

/// JSON Web Tokens (RFC 7519): three parts in Base64, of which the first two begin with `{"`.
fn tokens(bytes: &[u8], add: &mut impl FnMut(Range<usize>)) {
    const PART_MIN: usize = 10;
    for at in memchr::memmem::find_iter(bytes, b"eyJ") {
        if at > 0 && is_key_part(bytes[at - 1]) {
            continue;
        }
        let length = run(&bytes[at..], is_key_part);
        let mut parts = bytes[at..at + length].split(|byte| *byte == b'.');
        let parts: [&[u8]; 3] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        if parts[1].starts_with(b"eyJ") && parts.iter().all(|part| part.len() >= PART_MIN) {
            let end = at + parts.iter().map(|part| part.len()).sum::<usize>() + 2;
            add(at..end);
        }
    }
}

/// Private keys in PEM (RFC 7468), from the first to the last line.
fn private_keys(bytes: &[u8], add: &mut impl FnMut(Range<usize>)) {
    const LENGTH_MAX: usize = 64 << 10;
    const END: &[u8] = b"PRIVATE KEY-----";
    let mut at = 0;
    while let Some(begin) = memchr::memmem::find(&bytes[at..], b"-----BEGIN ").map(|found| at + found) {
        at = begin + 1;
        let line = run(&bytes[begin..bytes.len().min(begin + 80)], |byte| byte != b'\n');
        if !bytes[begin..begin + line].trim_ascii_end().ends_with(END) {
            continue;
        }
        let rest = &bytes[begin + line..bytes.len().min(begin + LENGTH_MAX)];
        let Some(end) = memchr::memmem::find(rest, b"-----END ") else { continue };
        let Some(last) = memchr::memmem::find(&rest[end..], END).filter(|last| *last < 80) else { continue };
        let end = begin + line + end + last + END.len();
        add(begin..end);
        at = end;
    }
}

#[cfg(test)]
mod tests;
