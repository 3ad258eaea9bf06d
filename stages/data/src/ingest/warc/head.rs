//! The head of a record: its kind, its headers, and the length of its block.

use super::members::{MARK_BYTES, Members};
use crate::ingest::http::Headers;
use std::borrow::Cow;

/// Maximum size of a head.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A response, with its HTTP head if the address is one of HTTP.
    Response,
    /// Content without a protocol.
    Resource,
    /// The text of a page (WET).
    Conversion,
    /// A response that equals an earlier one, without its content.
    Revisit,
    /// A part of a record that continues in another file.
    Segment,
    /// Not what a server sent: `warcinfo`, `request`, `metadata`.
    Other,
    /// Of another type, or of none.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) headers: Headers,
    /// Length of the block in bytes.
    pub(super) length: u64,
    /// Number of line ends behind the block.
    pub(super) lines_behind: usize,
}

/// Whether a text begins with the head of a WARC or ARC record.
pub(super) fn begins_record(text: &[u8]) -> bool {
    is_version(text) || arc(text.split(|byte| *byte == b'\n').next().unwrap_or_default()).is_some()
}

/// Whether a text begins with the version of a WARC record: `WARC/1.1`.
fn is_version(text: &[u8]) -> bool {
    text.strip_prefix(b"WARC/").is_some_and(|version| version.first().is_some_and(u8::is_ascii_digit))
}

impl Head {
    /// Reads a head.
    pub(super) fn read(members: &mut Members) -> Result<Self, String> {
        let mut first = Vec::new();
        let mut left = HEAD_BYTES_MAX;
        line(members, &mut first, &mut left)?;
        if !is_version(&first) {
            let what = match first.starts_with(b"\x1F\x8B") || first.starts_with(b"\x28\xB5\x2F\xFD") {
                true => "it is compressed, and its name does not end in `.gz` or `.zst`",
                false => "no record begins here",
            };
            return arc(&first).ok_or_else(|| what.to_owned());
        }
        let (mut headers, mut text) = (Headers::default(), Vec::new());
        loop {
            line(members, &mut text, &mut left)?;
            if text.is_empty() {
                break;
            }
            if is_version(&text) || !headers.line(&text) {
                return Err("a line of its head is no header".to_owned());
            }
        }
        let length = headers.get("content-length").ok_or("it has no length")?;
        let length = length.parse().map_err(|_| format!("its length is `{}`", length.escape_debug()))?;
        let kind = match headers.get("warc-type").unwrap_or_default().to_ascii_lowercase().as_str() {
            _ if headers.get("warc-segment-number").is_some() => Kind::Segment,
            "response" => Kind::Response,
            "resource" => Kind::Resource,
            "conversion" => Kind::Conversion,
            "revisit" => Kind::Revisit,
            "continuation" => Kind::Segment,
            "warcinfo" | "request" | "metadata" => Kind::Other,
            _ => Kind::Unknown,
        };
        Ok(Self { kind, headers, length, lines_behind: 2 })
    }

    /// The type of the record.
    pub(super) fn type_of(&self) -> String {
        self.headers.get("warc-type").unwrap_or_default().to_owned()
    }

    /// The scheme of the address, in lower case.
    pub(super) fn scheme(&self) -> String {
        let address = self.headers.get(super::URL).unwrap_or_default().trim_start_matches('<');
        address.split(':').next().unwrap_or_default().to_ascii_lowercase()
    }

    /// The media type of the block.
    pub(super) fn media_type(&self) -> Option<&str> {
        self.headers.get("content-type")
    }
}

/// Reads a line without its end.
fn line(members: &mut Members, line: &mut Vec<u8>, left: &mut usize) -> Result<(), String> {
    line.clear();
    loop {
        if !members.fill().map_err(|error| error.to_string())? {
            return Err("it ends within its head".to_owned());
        }
        let bytes = members.bytes();
        let end = memchr::memchr(b'\n', bytes);
        let count = end.map_or(bytes.len(), |end| end + 1);
        if count > *left {
            return Err(format!("its head has more than {HEAD_BYTES_MAX} bytes"));
        }
        *left -= count;
        line.extend_from_slice(&bytes[..count]);
        members.consume(count);
        if end.is_some() {
            line.pop();
            line.pop_if(|last| *last == b'\r');
            return Ok(());
        }
    }
}

/// Reads the line that begins an ARC record (Burner and Kahle, 1996), of version 1 or 2: address, IP address, 14 digits
/// of time, media type, and length as the last. Addresses may hold spaces.
fn arc(line: &[u8]) -> Option<Head> {
    let line = line.get(..MARK_BYTES).unwrap_or(line);
    // Before UTF-8, addresses were in Latin-1.
    let line = match std::str::from_utf8(line) {
        Ok(line) => Cow::Borrowed(line),
        Err(_) => encoding_rs::mem::decode_latin1(line),
    };
    let line = line.trim_end_matches('\r');
    let fields: Vec<&str> = line.split(' ').collect();
    let is_time = |field: &&str| field.len() == 14 && field.bytes().all(|byte| byte.is_ascii_digit());
    let at = fields.iter().rposition(is_time).filter(|at| *at >= 2)?;
    let (media_type, length) = (fields.get(at + 1)?, fields.last()?.parse().ok()?);
    let (address, ip) = (fields[..at - 1].join(" "), fields[at - 1]);
    let is_version = address.starts_with("filedesc:");
    if fields.len() < at + 3 || !(is_version || address.contains(':')) {
        return None;
    }
    let time = fields[at];
    let date = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &time[..4],
        &time[4..6],
        &time[6..8],
        &time[8..10],
        &time[10..12],
        &time[12..14]
    );
    let mut headers = Headers::default();
    for (name, value) in [
        (super::URL, address.as_str()),
        (super::DATE, &date),
        ("WARC-IP-Address", ip),
        ("Content-Type", media_type),
    ] {
        headers.push(name, value);
    }
    Some(Head {
        kind: if is_version { Kind::Other } else { Kind::Response },
        headers,
        length,
        lines_behind: 1,
    })
}
