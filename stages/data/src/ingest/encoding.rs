//! Converts text in other encodings to a stream of UTF-8.

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use std::io::{self, BufRead, BufReader, Read};

/// Replaces bytes that are invalid in their encoding. It is not valid UTF-8, so the row or file is refused.
const DAMAGED: u8 = 0xFF;

/// An encoding by its name on the web, such as `windows-1251` or `shift_jis`.
pub(super) fn named(label: &str) -> Option<&'static Encoding> {
    Encoding::for_label(label.as_bytes())
}

/// Reads `input` as UTF-8. Without `encoding`, it must be UTF-8, or UTF-16 with a byte order mark.
pub(super) fn decode<'r>(
    input: impl Read + 'r,
    encoding: Option<&'static Encoding>,
) -> io::Result<Box<dyn Read + 'r>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let marked = Encoding::for_bom(input.fill_buf()?).map(|(encoding, _)| encoding);
    let encoding = marked.or(encoding).unwrap_or(UTF_8);
    if encoding == UTF_8 {
        return Ok(Box::new(input));
    }
    let decoder = encoding.new_decoder();
    Ok(Box::new(Decoded { input, decoder, output: Vec::new(), at: 0, is_last: false }))
}

struct Decoded<R> {
    input: BufReader<R>,
    decoder: Decoder,
    output: Vec<u8>,
    /// Start of the bytes that have not been returned yet.
    at: usize,
    is_last: bool,
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.output.len() {
            if self.is_last || buffer.is_empty() {
                return Ok(0);
            }
            self.more()?;
        }
        let length = buffer.len().min(self.output.len() - self.at);
        buffer[..length].copy_from_slice(&self.output[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

impl<R: Read> Decoded<R> {
    fn more(&mut self) -> io::Result<()> {
        const OUTPUT_BYTES: usize = 64 << 10;
        let input = self.input.fill_buf()?;
        let is_last = input.is_empty();
        self.output.resize(OUTPUT_BYTES, 0);
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.output, is_last);
        self.output.truncate(written);
        self.input.consume(read);
        self.at = 0;
        match result {
            DecoderResult::InputEmpty => self.is_last = is_last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => self.output.push(DAMAGED),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], encoding: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        let input = BufReader::with_capacity(7, bytes);
        decode(input, encoding.map(|label| named(label).unwrap())).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn text_of_any_length_is_decoded() {
        let text = "Привет, мир! ".repeat(20_000);
        let (bytes, ..) = encoding_rs::WINDOWS_1251.encode(&text);
        assert_eq!(read(&bytes, Some("cp1251")), text.as_bytes());
        let japanese = "日本語のテキスト".repeat(9000);
        let (bytes, ..) = encoding_rs::SHIFT_JIS.encode(&japanese);
        assert_eq!(read(&bytes, Some("Shift_JIS")), japanese.as_bytes());
        assert_eq!(read("ä".as_bytes(), None), "ä".as_bytes());
    }

    #[test]
    fn a_byte_order_mark_says_utf16() {
        let mut bytes = vec![0xFF, 0xFE];
        bytes.extend("a,ä\n".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(read(&bytes, None), "a,ä\n".as_bytes());
        assert_eq!(read(&bytes, Some("latin1")), "a,ä\n".as_bytes());
    }

    #[test]
    fn what_means_nothing_is_no_utf8() {
        let damaged = read(b"\x81\n\x88\xa5\x93\n\x81", Some("shift_jis"));
        assert_eq!(damaged.iter().filter(|byte| **byte == DAMAGED).count(), 3);
        assert!(std::str::from_utf8(&damaged).is_err());
    }
}
