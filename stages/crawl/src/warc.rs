//! Records of web archives (WARC 1.1, ISO 28500): each is one member of gzip, so that each can be read on its own.
//!
//! ```text
//! crawl-00000.warc.gz
//! ├── warcinfo     the crawler and its settings
//! ├── response     a page: the HTTP response, its body without transfer coding and with its content coding
//! └── revisit      a page whose body is that of an earlier record: only the head of the HTTP response
//! ```
//!
//! It does not know where records are kept. Names of headers are in lower case, since the HTTP library has them so; a
//! `transfer-encoding` is kept under another name, because the body no longer has it.

use data_encoding::BASE32;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use sha1::{Digest as _, Sha1};
use std::{
    io::{self, Read, Write as _},
    net::IpAddr,
};

/// The head of an HTTP response, ready for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Status line and headers with the empty line at the end.
    pub(crate) bytes: Vec<u8>,
    /// Headers with names in lower case and values as text.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Writes the head of a response.
    pub(crate) fn new<'a>(
        version: &str,
        status: u16,
        reason: &str,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let mut bytes = format!("{version} {status} {reason}\r\n").into_bytes();
        let mut headers = Vec::new();
        for (name, value) in fields {
            let name = name.to_ascii_lowercase();
            let stored = if name == "transfer-encoding" { "x-crawler-transfer-encoding" } else { &name };
            bytes.extend([stored.as_bytes(), b": ", value, b"\r\n"].concat());
            headers.push((name, String::from_utf8_lossy(value).into_owned()));
        }
        bytes.extend(b"\r\n");
        Self { bytes, headers }
    }

    /// Reads the head of a stored response; the rest is the body.
    fn parse(block: &[u8]) -> Option<(Self, &[u8])> {
        let end = memchr::memmem::find(block, b"\r\n\r\n")? + 4;
        let (head, body) = block.split_at(end);
        let text = String::from_utf8_lossy(head);
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = text.lines().skip(1).filter_map(field).collect();
        Some((Self { bytes: head.to_vec(), headers }, body))
    }

    /// The first header of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All headers of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The content codings, in the order in which they were applied.
    pub(crate) fn codings(&self) -> String {
        self.all("content-encoding").collect::<Vec<_>>().join(",")
    }

    /// The media type in lower case, without parameters.
    pub(crate) fn media_type(&self) -> Option<String> {
        let kind = self.get("content-type")?.split(';').next()?.trim();
        (!kind.is_empty()).then(|| kind.to_ascii_lowercase())
    }

    /// The parameter `charset` of the media type.
    pub(crate) fn charset(&self) -> Option<&str> {
        let mut parameters =
            self.get("content-type")?.split(';').skip(1).filter_map(|part| part.split_once('='));
        let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        Some(value.trim().trim_matches('"'))
    }
}

/// SHA-1 in base 32, as archives write digests.
pub(crate) fn sha1(bytes: &[u8]) -> String {
    BASE32.encode(&Sha1::digest(bytes))
}

/// A page for the archives.
pub(crate) struct Capture<'a> {
    pub(crate) url: &'a str,
    /// When it was fetched, as `2026-01-31T12:00:00Z`.
    pub(crate) date: &'a str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) head: &'a Head,
    pub(crate) body: &'a [u8],
    /// [`sha1`] of the body.
    pub(crate) digest: &'a str,
}

/// An earlier record with the same body.
pub(crate) struct Original<'a> {
    pub(crate) url: &'a str,
    pub(crate) date: &'a str,
}

impl Capture<'_> {
    /// Writes a `response`.
    pub(crate) fn response(&self) -> Vec<u8> {
        let block = [&self.head.bytes, self.body].concat();
        let fields = [("WARC-Block-Digest", format!("sha1:{}", sha1(&block)))];
        self.record("response", &fields, &block)
    }

    /// Writes a `revisit` that refers to an earlier record.
    pub(crate) fn revisit(&self, original: &Original<'_>) -> Vec<u8> {
        let fields = [
            ("WARC-Profile", "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest".to_owned()),
            ("WARC-Refers-To", record_id(original.url, original.date)),
            ("WARC-Refers-To-Target-URI", original.url.to_owned()),
            ("WARC-Refers-To-Date", original.date.to_owned()),
            ("WARC-Truncated", "length".to_owned()),
        ];
        self.record("revisit", &fields, &self.head.bytes)
    }

    fn record(&self, kind: &str, fields: &[(&str, String)], block: &[u8]) -> Vec<u8> {
        let mut all = vec![
            ("WARC-Type", kind.to_owned()),
            ("WARC-Record-ID", record_id(self.url, self.date)),
            ("WARC-Target-URI", self.url.to_owned()),
            ("WARC-Date", self.date.to_owned()),
        ];
        all.extend(self.address.map(|address| ("WARC-IP-Address", address.to_string())));
        all.push(("WARC-Payload-Digest", format!("sha1:{}", self.digest)));
        all.extend(fields.iter().cloned());
        all.push(("Content-Type", "application/http;msgtype=response".to_owned()));
        member(&all, block)
    }
}

/// Writes the `warcinfo` at the start of an archive.
pub(crate) fn info(name: &str, date: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let block: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = [
        ("WARC-Type", "warcinfo".to_owned()),
        ("WARC-Record-ID", record_id(name, date)),
        ("WARC-Filename", name.to_owned()),
        ("WARC-Date", date.to_owned()),
        ("Content-Type", "application/warc-fields".to_owned()),
    ];
    member(&head, block.as_bytes())
}

fn member(fields: &[(&str, String)], block: &[u8]) -> Vec<u8> {
    let mut head = String::from("WARC/1.1\r\n");
    fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    head += &format!("Content-Length: {}\r\n\r\n", block.len());
    let mut encoder = GzEncoder::new(Vec::with_capacity(block.len() / 3), Compression::default());
    let written = [head.as_bytes(), block, b"\r\n\r\n"].iter().try_for_each(|part| encoder.write_all(part));
    written.and_then(|()| encoder.finish()).expect("invariant: memory takes everything")
}

/// An id made of what identifies a record: a UUID of version 8 (RFC 9562).
fn record_id(url: &str, date: &str) -> String {
    let digest = blake3::hash(format!("{date} {url}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = (bytes[6] & 0x0F) | 0x80;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<urn:uuid:{}-{}-{}-{}-{}>", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    fields: Vec<(String, String)>,
    block: Vec<u8>,
}

impl Record {
    /// Reads the member of gzip at the start of the input and the record in it. Returns nothing at the end of the input.
    ///
    /// # Errors
    /// If the input cannot be read, is not one record per member, or a record is longer than the limit.
    pub(crate) fn read(mut input: impl io::BufRead, bytes_max: u64) -> io::Result<Option<Self>> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(&mut input).take(bytes_max.saturating_add(1));
        decoder.read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::other("a record is longer than the limit, or not compressed on its own"));
        }
        Self::parse(&bytes).map(Some)
    }

    /// Reads the record at the start of these bytes of an archive.
    pub(crate) fn of_member(member: impl Read, bytes_max: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        GzDecoder::new(member).take(bytes_max).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let bad = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message.to_owned());
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")
            .ok_or_else(|| bad("a record without an end of its head"))?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| bad("a head that is not UTF-8"))?;
        let mut lines = head.lines();
        if !lines.next().is_some_and(|line| line.starts_with("WARC/1.")) {
            return Err(bad("not a WARC record"));
        }
        let field =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let record = Self { fields: lines.filter_map(field).collect(), block: Vec::new() };
        let length = record.get("Content-Length").and_then(|text| text.parse::<usize>().ok());
        let block = bytes.get(end + 4..).unwrap_or_default();
        match length {
            Some(length) if block.len() == length.saturating_add(4) => {
                Ok(Self { block: block[..length].to_vec(), ..record })
            }
            _ => Err(bad("a record that is not alone in its member, or has a wrong length")),
        }
    }

    /// A field of its head.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let named = self.fields.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The HTTP response in it: head and body.
    pub(crate) fn http(&self) -> Option<(Head, &[u8])> {
        Head::parse(&self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let fields =
            [("Content-Type", &b"Text/HTML; charset=\"utf-8\""[..]), ("Transfer-Encoding", b"chunked")];
        Head::new("HTTP/1.1", 200, "OK", fields.into_iter())
    }

    fn capture<'a>(head: &'a Head, digest: &'a str) -> Capture<'a> {
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        Capture { url: "http://h/a", date: "2026-01-31T12:00:00Z", address, head, body: b"<p>text", digest }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let (head, digest) = (head(), sha1(b"<p>text"));
        let archive = [
            info("crawl-00000.warc.gz", "2026-01-31T12:00:00Z", &[("software", "x")]),
            capture(&head, &digest).response(),
        ]
        .concat();
        let mut input = &archive[..];
        let first = Record::read(&mut input, 1000).unwrap().unwrap();
        assert_eq!(first.get("warc-type"), Some("warcinfo"));
        let second = Record::read(&mut input, 1000).unwrap().unwrap();
        assert_eq!(second.get("WARC-Target-URI"), Some("http://h/a"));
        let (stored, body) = second.http().unwrap();
        assert_eq!(body, b"<p>text");
        assert_eq!(stored.bytes, head.bytes);
        assert_eq!(stored.media_type().as_deref(), Some("text/html"));
        assert_eq!(stored.charset(), Some("utf-8"));
        assert_eq!(stored.get("transfer-encoding"), None);
        assert_eq!(Record::read(&mut input, 1000).unwrap(), None);
        assert!(Record::read(&archive[..], 10).is_err(), "longer than the limit");
        assert!(Record::read(&b"text"[..], 1000).is_err());
    }

    /// Revision 1 of the stage. Other bytes need another revision.
    #[test]
    fn the_bytes_of_records_are_pinned() {
        let (head, digest) = (head(), sha1(b"<p>text"));
        let original = Original { url: "http://h/b", date: "2026-01-30T12:00:00Z" };
        let capture = capture(&head, &digest);
        let mut bytes = Vec::new();
        for member in [capture.response(), capture.revisit(&original)] {
            GzDecoder::new(&member[..]).read_to_end(&mut bytes).unwrap();
        }
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, include_str!("../tests/records.warc").replace('\n', "\r\n"));
    }
}
