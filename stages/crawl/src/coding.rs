//! Undoes the content codings of a body (RFC 9110, section 8.4.1) up to a size, so that a small body that decompresses to
//! gigabytes costs no more than that. It does not know what the body is.

use std::{
    borrow::Cow,
    io::{self, Read},
};

/// Why a body has no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CodingError {
    /// It decompresses to more than the limit.
    TooLarge,
    /// It is damaged, or its coding is unknown.
    Damaged(String),
}

/// More codings of one body are not undone.
const CODINGS_MAX: usize = 4;

/// Maximum window of zstd: 8 MiB, as RFC 9659 demands for HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Decodes a body with this `Content-Encoding`; the result has at most `bytes_max` bytes.
pub(crate) fn decode<'b>(
    body: &'b [u8],
    codings: &str,
    bytes_max: usize,
) -> Result<Cow<'b, [u8]>, CodingError> {
    let codings: Vec<String> = codings
        .split(',')
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .take(CODINGS_MAX + 1)
        .collect();
    if codings.len() > CODINGS_MAX {
        return Err(CodingError::Damaged(format!("it has more than {CODINGS_MAX} codings")));
    }
    let mut content = Cow::Borrowed(body);
    // The last coding was applied last. No content needs no coding.
    for coding in codings.iter().rev().filter(|_| !body.is_empty()) {
        content = match coding.as_str() {
            "gzip" | "x-gzip" => gunzip(&content, bytes_max)?,
            // In zlib's format; some servers send it raw.
            "deflate" => match read(flate2::read::ZlibDecoder::new(&content[..]), bytes_max) {
                Err(CodingError::Damaged(_)) => {
                    read(flate2::read::DeflateDecoder::new(&content[..]), bytes_max)?
                }
                content => content?,
            },
            "br" => read(brotli_decompressor::Decompressor::new(&content[..], 4096), bytes_max)?,
            "zstd" => {
                let mut decoder = zstd::stream::read::Decoder::new(&content[..]).map_err(damaged)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
                read(decoder, bytes_max)?
            }
            unknown => {
                let unknown: String = unknown.chars().take(40).collect();
                return Err(CodingError::Damaged(format!("its coding `{unknown}` is unknown")));
            }
        };
    }
    if content.len() > bytes_max { Err(CodingError::TooLarge) } else { Ok(content) }
}

fn damaged(error: io::Error) -> CodingError {
    CodingError::Damaged(error.to_string())
}

/// Decompresses the members of gzip at the beginning of a body. What some servers append is passed over.
fn gunzip<'b>(body: &[u8], bytes_max: usize) -> Result<Cow<'b, [u8]>, CodingError> {
    let (mut rest, mut content) = (body, Vec::new());
    loop {
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        match read(&mut decoder, bytes_max - content.len()) {
            Ok(more) => content.extend_from_slice(&more),
            Err(CodingError::Damaged(_)) if rest.len() < body.len() => break,
            Err(error) => return Err(error),
        }
        rest = decoder.into_inner();
        if !rest.starts_with(b"\x1F\x8B") {
            break;
        }
    }
    Ok(Cow::Owned(content))
}

fn read<'b>(decoder: impl Read, bytes_max: usize) -> Result<Cow<'b, [u8]>, CodingError> {
    let mut content = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut content).map_err(damaged)?;
    if content.len() > bytes_max { Err(CodingError::TooLarge) } else { Ok(Cow::Owned(content)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write};
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn codings_are_undone_in_turn() {
        let text = b"some text, some text";
        let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut raw = write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text).unwrap();
        for (codings, body) in [
            ("", text.to_vec()),
            ("identity", text.to_vec()),
            ("gzip", gzip(text)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("zstd", zstd::encode_all(&text[..], 3).unwrap()),
            ("gzip, x-gzip", gzip(&gzip(text))),
            ("gzip", [gzip(&text[..4]), gzip(&text[4..])].concat()),
            ("gzip", [gzip(text), b"\r\n<!-- cached -->\0".to_vec()].concat()),
            ("gzip", [gzip(text), b"\x1F\x8Bno member".to_vec()].concat()),
        ] {
            assert_eq!(decode(&body, codings, 100).as_deref(), Ok(&text[..]), "{codings}");
        }
        // An uncompressed metablock of Brotli.
        let brotli = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        assert_eq!(decode(&brotli, "br", 100).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(decode(b"", "gzip", 100).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn a_bomb_is_not_decompressed_beyond_the_limit() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(decode(&bomb, "gzip", 1 << 20), Err(CodingError::TooLarge));
        assert_eq!(decode(&gzip(&bomb), "gzip, gzip", 1 << 20), Err(CodingError::TooLarge));
        let members = gzip(&[0; 100]).repeat(11);
        assert_eq!(decode(&members, "gzip", 1000), Err(CodingError::TooLarge));
        assert_eq!(decode(b"12345", "", 4), Err(CodingError::TooLarge));
    }

    #[test]
    fn damage_is_an_error() {
        for (codings, body) in [
            ("gzip", &b"text"[..]),
            ("gzip", &gzip(b"some text, cut off")[..25]),
            ("br", b"\xFF\xFF"),
            ("zstd", b"text"),
            ("lzma", b"x"),
            ("a,b,c,d,e", b"x"),
        ] {
            assert!(matches!(decode(body, codings, 100), Err(CodingError::Damaged(_))), "{codings}");
        }
    }
}
