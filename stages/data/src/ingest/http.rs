//! A captured HTTP response: its status, its headers, and its body as a browser would get it.
//!
//! Archives keep what the server sent, so the transfer coding (RFC 9112) and the content codings (RFC 9110) are undone
//! here. Crawlers differ in what they have undone already: a coding that the body does not have is passed over.

use super::faults::Fault;
use std::{
    borrow::Cow,
    io::{self, Read},
};

/// A response as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response<'a> {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The body as it was sent.
    pub(super) body: &'a [u8],
}

/// Headers in their order. Names are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Headers(Vec<(String, String)>);

/// Maximum number of headers; more are passed over.
const HEADERS_MAX: usize = 1000;

impl Headers {
    /// The first value of a header.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn push(&mut self, name: &str, value: &str) {
        if self.0.len() < HEADERS_MAX {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Adds a line of a head: `name: value`, or the continuation of the line before; returns false if it is neither. Bytes
    /// that are not UTF-8 are taken for Latin-1, as HTTP once said.
    pub(super) fn line(&mut self, line: &[u8]) -> bool {
        let text = match std::str::from_utf8(line) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => encoding_rs::mem::decode_latin1(line),
        };
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = self.0.last_mut() {
                value.push(' ');
                value.push_str(text.trim());
            }
            return true;
        }
        let named = text.split_once(':');
        if let Some((name, value)) = named {
            self.push(name.trim(), value.trim());
        }
        named.is_some()
    }
}

impl<'a> Response<'a> {
    /// Reads a response; `None` if it does not begin with a status line. Interim responses (1xx) before it are passed over.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        const INTERIM_MAX: usize = 8;
        let mut response = Self::first(bytes)?;
        for _ in 0..INTERIM_MAX {
            if !(100..200).contains(&response.status) {
                break;
            }
            response = Self::first(response.body)?;
        }
        Some(response)
    }

    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (line, mut rest) = line(bytes);
        let status = line.strip_prefix(b"HTTP/").or_else(|| line.strip_prefix(b"ICY"))?;
        let status = status.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).nth(
            // `ICY 200 OK` has no version.
            usize::from(line.starts_with(b"HTTP/")),
        )?;
        let status = std::str::from_utf8(status).ok()?.parse().ok()?;
        let mut headers = Headers::default();
        while !rest.is_empty() {
            let (line, after) = self::line(rest);
            rest = after;
            if line.is_empty() {
                break;
            }
            headers.line(line);
        }
        Some(Self { status, headers, body: rest })
    }

    /// The body without its codings; at most `bytes_max` bytes.
    ///
    /// # Errors
    /// If it has a coding that is unknown, is damaged, or is larger.
    pub(super) fn content(&self, bytes_max: usize) -> Result<Cow<'a, [u8]>, Fault> {
        let codings = |name: &str| -> Vec<String> {
            let all = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let all = all.flat_map(|(_, value)| value.split(',')).map(str::trim);
            let named = all.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
            named.take(CODINGS_MAX + 1).map(str::to_ascii_lowercase).collect()
        };
        let (transfer, content) = (codings("transfer-encoding"), codings("content-encoding"));
        if transfer.len() + content.len() > CODINGS_MAX {
            let why = format!("there are more than {CODINGS_MAX}");
            return Err(Fault::Coding { coding: content.join(", "), why });
        }
        let mut body = Cow::Borrowed(self.body);
        if transfer.iter().any(|coding| coding == "chunked")
            && let Some(joined) = without_chunks(self.body)
        {
            body = Cow::Owned(joined);
        }
        // The last coding was applied last.
        for coding in transfer.iter().rev().chain(content.iter().rev()) {
            body = match coding.as_str() {
                "gzip" | "x-gzip" if body.starts_with(b"\x1F\x8B") => gunzip(&body, coding, bytes_max)?,
                "deflate" if is_zlib(&body) && !is_text(&body) => {
                    decoded(flate2::bufread::ZlibDecoder::new(&body[..]), coding, bytes_max)?
                }
                // Raw, as some servers send it, without a mark.
                "deflate" if !is_text(&body) => {
                    match decoded(flate2::bufread::DeflateDecoder::new(&body[..]), coding, bytes_max) {
                        Err(Fault::Coding { .. }) => body,
                        decoded => decoded?,
                    }
                }
                "zstd" if body.starts_with(b"\x28\xB5\x2F\xFD") => {
                    let damaged =
                        |error: io::Error| Fault::Coding { coding: coding.clone(), why: error.to_string() };
                    decoded(zstd::stream::read::Decoder::new(&body[..]).map_err(damaged)?, coding, bytes_max)?
                }
                // It has no mark either.
                "br" if !is_text(&body) => {
                    decoded(brotli_decompressor::Decompressor::new(&body[..], 4096), coding, bytes_max)?
                }
                "compress" | "x-compress" if body.starts_with(b"\x1F\x9D") => {
                    let why = "this coding is not supported".to_owned();
                    return Err(Fault::Coding { coding: coding.clone(), why });
                }
                "chunked" | "gzip" | "x-gzip" | "deflate" | "zstd" | "br" | "compress" | "x-compress" => body,
                _ if is_text(&body) => body,
                _ => {
                    let why = "it is unknown".to_owned();
                    return Err(Fault::Coding { coding: coding.clone(), why });
                }
            };
        }
        Ok(body)
    }
}

/// Decompresses the members of gzip at the beginning of a body. What servers append is passed over.
fn gunzip<'b>(body: &[u8], coding: &str, bytes_max: usize) -> Result<Cow<'b, [u8]>, Fault> {
    let (mut rest, mut all) = (body, Vec::new());
    while rest.starts_with(b"\x1F\x8B") {
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        match decoded(&mut decoder, coding, bytes_max - all.len()) {
            Ok(more) => all.extend_from_slice(&more),
            Err(_) if !all.is_empty() => break,
            Err(fault) => return Err(fault),
        }
        rest = decoder.into_inner();
    }
    Ok(Cow::Owned(all))
}

/// More codings of one body are not undone.
const CODINGS_MAX: usize = 4;

fn decoded<'b>(decoder: impl Read, coding: &str, bytes_max: usize) -> Result<Cow<'b, [u8]>, Fault> {
    let mut bytes = Vec::new();
    let read = decoder.take(bytes_max as u64 + 1).read_to_end(&mut bytes);
    if bytes.len() > bytes_max {
        return Err(Fault::TooLong(bytes_max as u64));
    }
    match read {
        Ok(_) => Ok(Cow::Owned(bytes)),
        // What was cut by the crawler's limit is kept up to there.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !bytes.is_empty() => {
            Ok(Cow::Owned(bytes))
        }
        Err(error) => Err(Fault::Coding { coding: coding.to_owned(), why: error.to_string() }),
    }
}

/// Whether a body is text, and so has no coding any more: compressed data hardly ever is without control characters, nor
/// short data UTF-8 besides.
fn is_text(body: &[u8]) -> bool {
    const LENGTH_MIN: usize = 100;
    let is_control = |byte: &u8| (*byte < 0x20 && !b"\t\n\r\x0C\x1B".contains(byte)) || *byte == 0x7F;
    (body.len() >= LENGTH_MIN || std::str::from_utf8(body).is_ok()) && !body.iter().any(is_control)
}

/// Whether bytes begin with a zlib header (RFC 1950).
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [first, second, ..]
        if first & 0x0F == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31))
}

/// Joins the chunks of a body, which a crawler may have cut. `None` if it does not consist of chunks: then they have been
/// joined already.
fn without_chunks(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut joined) = (bytes, Vec::new());
    while !rest.is_empty() {
        let end = memchr::memmem::find(&rest[..rest.len().min(CHUNK_HEAD_MAX)], b"\r\n");
        let Some(end) = end else {
            // Cut within the head of a chunk.
            return (rest.len() < CHUNK_HEAD_MAX && !joined.is_empty()).then_some(joined);
        };
        let digits = rest[..end].split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let after = &rest[end + 2..];
        if size == 0 {
            // Headers may follow, and nothing else.
            let is_last = after
                .split(|byte| *byte == b'\n')
                .all(|line| line.trim_ascii().is_empty() || line.contains(&b':'));
            return is_last.then_some(joined);
        }
        let size = size.min(after.len());
        joined.extend_from_slice(&after[..size]);
        rest = &after[size..];
        // Cut within the line end.
        rest = if rest == b"\r" { b"" } else { rest };
        rest = if rest.is_empty() { rest } else { rest.strip_prefix(b"\r\n")? };
    }
    Some(joined)
}

/// Longer heads of chunks are none.
const CHUNK_HEAD_MAX: usize = 1024;

/// The first line without its line end, and what follows.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr::memchr(b'\n', bytes) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Html,
    Text,
    /// The media type of something else.
    Other(String),
}

/// Determines what a body is: by the media type that the server declares if that says anything, then by the one that
/// the crawler identified, then by its beginning.
pub(super) fn body_of(declared: Option<&str>, identified: Option<&str>, bytes: &[u8]) -> Body {
    let looks_like_html = || looks_like_html(bytes);
    if let Some(essence) = [declared, identified].into_iter().flatten().find_map(essence) {
        return match essence.as_str() {
            "text/html" | "application/xhtml+xml" | "application/vnd.wap.xhtml+xml" => Body::Html,
            "text/plain" if looks_like_html() => Body::Html,
            "text/plain" | "text/markdown" => Body::Text,
            _ => Body::Other(essence),
        };
    }
    let is_marked = encoding_rs::Encoding::for_bom(bytes).is_some();
    match looks_like_html() {
        true => Body::Html,
        false if is_marked || is_text(bytes) => Body::Text,
        false => Body::Other(String::new()),
    }
}

/// The media type in a header, without its parameters; `None` if it says nothing.
fn essence(media_type: &str) -> Option<String> {
    let essence = media_type.split([';', ',', ' ']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let says_nothing =
        ["application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown", "*/*"];
    Some(essence).filter(|essence| essence.contains('/') && !says_nothing.contains(&essence.as_str()))
}

/// The media type that a server declares, if it is of something else than pages.
pub(super) fn other_than_pages(declared: Option<&str>) -> Option<String> {
    match body_of(declared, None, b"") {
        Body::Other(essence) if !essence.is_empty() => Some(essence),
        _ => None,
    }
}

/// Whether a record of this media type holds an HTTP message.
pub(super) fn is_http_message(media_type: &str) -> bool {
    essence(media_type).as_deref() == Some("application/http")
}

/// Whether a text begins like a page, as browsers look at it (WHATWG MIME Sniffing, 7.1).
fn looks_like_html(bytes: &[u8]) -> bool {
    const TAGS: [&[u8]; 16] = [
        b"<!doctype html",
        b"<html",
        b"<head",
        b"<script",
        b"<iframe",
        b"<h1",
        b"<div",
        b"<font",
        b"<table",
        b"<a",
        b"<style",
        b"<title",
        b"<b",
        b"<body",
        b"<br",
        b"<p",
    ];
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    text.starts_with(b"<!--")
        || TAGS.iter().any(|tag| {
            text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag))
                && text.get(tag.len()).is_some_and(|next| b" >\t\r\n".contains(next))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MAX: usize = 1 << 20;

    fn content(head: &str, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let bytes = [format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), body].concat();
        Response::of(&bytes).unwrap().content(MAX).map(Cow::into_owned)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        crate::ingest::inflate::tests::gzip(bytes)
    }

    #[test]
    fn heads_are_read_as_servers_send_them() {
        let response = Response::of(
            b"HTTP/1.0 404\nContent-Type: text/html;\r\n charset=gbk\nX: \xE9\r\n\r\nbody\r\n\r\n",
        )
        .unwrap();
        assert_eq!((response.status, response.body), (404, b"body\r\n\r\n".as_slice()));
        assert_eq!(response.headers.get("content-type"), Some("text/html; charset=gbk"));
        assert_eq!(response.headers.get("x"), Some("\u{e9}"));
        assert_eq!(Response::of(b"HTTP/1.1 200 OK").map(|response| response.body.len()), Some(0));
        assert_eq!(Response::of(b"ICY 200 OK\r\n\r\n").map(|response| response.status), Some(200));
        for odd in [b"".as_slice(), b"<html>", b"HTTP/1.1", b"HTTP/1.1 OK", b"HTTP/1.1 99999 OK\r\n\r\n"] {
            assert_eq!(Response::of(odd), None);
        }
    }

    #[test]
    fn codings_are_undone_where_they_are() {
        let chunks = b"4\r\nsome\r\n5;x=y\r\n text\r\n0\r\n\r\n";
        assert_eq!(content("Transfer-Encoding: chunked\r\n", chunks).unwrap(), b"some text");
        // The crawler has joined them, or its limit has cut them.
        assert_eq!(content("Transfer-Encoding: chunked\r\n", b"some text").unwrap(), b"some text");
        assert_eq!(content("Transfer-Encoding: chunked\r\n", &chunks[..20]).unwrap(), b"some tex");
        for name in ["gzip", "x-gzip", "GZIP", "gzip, gzip"] {
            let once = gzip(b"some text");
            let body = if name.contains(',') { gzip(&once) } else { once };
            assert_eq!(content(&format!("Content-Encoding: {name}\r\n"), &body).unwrap(), b"some text");
        }
        assert_eq!(content("Content-Encoding: gzip\r\n", b"some text").unwrap(), b"some text");
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"some text").unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(b"some text").unwrap();
        for body in [zlib.finish().unwrap(), raw.finish().unwrap(), b"some text".to_vec()] {
            assert_eq!(content("Content-Encoding: deflate\r\n", &body).unwrap(), b"some text");
        }
        let zstd = zstd::encode_all(&b"some text"[..], 1).unwrap();
        assert_eq!(content("Content-Encoding: zstd\r\n", &zstd).unwrap(), b"some text");
        // `printf hello | brotli`, an uncompressed block.
        let brotli = b"\x0b\x02\x80hello\x03";
        assert_eq!(content("Content-Encoding: br\r\n", brotli).unwrap(), b"hello");
        // Short texts that the decoders take for the beginning of their data.
        for text in ["some text", "x is a letter", "by", "Summary", "[1, 2]", "2024", "=", "3"] {
            for name in ["br", "deflate", "gzip", "zstd", "unknown"] {
                let found = content(&format!("Content-Encoding: {name}\r\n"), text.as_bytes());
                assert_eq!(found.unwrap(), text.as_bytes(), "{name}");
            }
        }
        for text in [
            "1\r\n00:00:01,000 --> 00:00:04,000\r\nA",
            "0\r\n1\r\n1\r\n2\r\n",
            "1234\nrest",
            "10\r\nA text of more than sixteen bytes",
            "5\r\nabc",
        ] {
            let found = content("Transfer-Encoding: chunked\r\n", text.as_bytes()).unwrap();
            assert_eq!(found, if text.starts_with('5') { &b"abc"[..] } else { text.as_bytes() });
        }
    }

    #[test]
    fn bodies_that_grow_without_end_are_refused() {
        let behind = [gzip(b"some text"), b"<!-- cached -->".to_vec()].concat();
        assert_eq!(content("Content-Encoding: gzip\r\n", &behind).unwrap(), b"some text");
        let gbk = encoding_rs::GBK.encode(&"所有权是程序管理内存的一组规则。".repeat(8)).0.into_owned();
        assert_eq!(content("Content-Encoding: br\r\n", &gbk).unwrap(), gbk);
        let commas = format!("Content-Encoding: {}\r\n", ",".repeat(1 << 20));
        assert_eq!(content(&commas, b"some text").unwrap(), b"some text");
        assert!(matches!(content("Content-Encoding: lzma\r\n", b"\0\x01"), Err(Fault::Coding { .. })));
        let bomb = gzip(&vec![b'x'; MAX + 1]);
        assert_eq!(content("Content-Encoding: gzip\r\n", &bomb), Err(Fault::TooLong(MAX as u64)));
        let cut = gzip(b"some text that is long enough");
        assert!(content("Content-Encoding: gzip\r\n", &cut[..cut.len() - 9]).unwrap().starts_with(b"some"));
        let broken = [b"\x1F\x8B\x08\0\0\0\0\0\0\0".as_slice(), &[0xFF; 20]].concat();
        assert!(matches!(content("Content-Encoding: gzip\r\n", &broken), Err(Fault::Coding { .. })));
    }

    #[test]
    fn a_body_is_what_its_server_says_unless_that_says_nothing() {
        let of = |declared, identified, bytes: &str| body_of(declared, identified, bytes.as_bytes());
        assert_eq!(of(Some("Text/HTML; charset=x"), Some("application/pdf"), "a,b"), Body::Html);
        assert_eq!(of(Some("text/plain"), None, " <!DOCTYPE html>\n"), Body::Html);
        assert_eq!(of(Some("text/plain"), None, "<bold claim"), Body::Text);
        assert_eq!(of(Some("application/octet-stream"), Some("application/xhtml+xml"), ""), Body::Html);
        assert_eq!(of(None, None, "a,b\n1,2\n"), Body::Text);
        assert_eq!(of(None, None, "\u{feff}<html lang=en>"), Body::Html);
        assert_eq!(of(None, None, "\0\0"), Body::Other(String::new()));
        assert_eq!(of(Some("image/png"), None, "<html>"), Body::Other("image/png".into()));
    }
}
