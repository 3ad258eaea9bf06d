//! Bytes to text: which encoding a page is in.
//!
//! In the order of the HTML standard: byte order mark, `<meta>` within the first 1,024 bytes, then what fits.
//! Legacy Chinese and Japanese encodings are decoded by encoding_rs.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252,
};
use std::borrow::Cow;

/// Bytes in which a `<meta>` with the encoding has to stand.
const META_WITHIN: usize = 1024;
/// Of the characters of a page, at most one in this many may be undecodable.
const DAMAGED_AT_MOST_ONE_IN: usize = 100;

/// Decodes a page; `None` if more than one character in a hundred does not decode.
pub(super) fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        return tolerable(encoding.decode_without_bom_handling(&bytes[length..]).0);
    }
    let declared = declared(&bytes[..bytes.len().min(META_WITHIN)]);
    let utf8 = std::str::from_utf8(bytes);
    match (declared, utf8) {
        // Pages that call themselves Latin-1 and hold valid UTF-8 are UTF-8: real Latin-1 hardly ever is.
        (None, Ok(text)) => Some(Cow::Borrowed(text)),
        (Some(encoding), Ok(text)) if encoding == UTF_8 || encoding == WINDOWS_1252 => {
            Some(Cow::Borrowed(text))
        }
        (Some(encoding), _) => {
            let (text, _) = encoding.decode_without_bom_handling(bytes);
            tolerable(text).or_else(|| utf8.ok().map(Cow::Borrowed))
        }
        (None, Err(_)) => guessed(bytes),
    }
}

/// The encoding that an XML declaration, `<meta charset>` or `<meta http-equiv>` names. UTF-16 cannot be told by
/// ASCII text, so such a claim means UTF-8, as in browsers.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.to_ascii_lowercase();
    let xml = head.starts_with(b"<?xml").then(|| label_after(&head, b"encoding")).flatten();
    let encoding = xml.or_else(|| label_after(&head, b"charset"))?;
    if encoding == UTF_16LE || encoding == UTF_16BE { Some(UTF_8) } else { Some(encoding) }
}

/// The first known label in `name=label`, quoted or not.
fn label_after(head: &[u8], name: &[u8]) -> Option<&'static Encoding> {
    let ends =
        |byte: &u8| matches!(byte, b'"' | b'\'' | b' ' | b';' | b'>' | b'/' | b'\n' | b'\r' | b'\t' | b'?');
    memchr::memmem::find_iter(head, name).find_map(|at| {
        let value = head[at + name.len()..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
        let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
        Encoding::for_label(&value[..value.iter().position(ends).unwrap_or(value.len())])
    })
}

/// The first of the usual encodings in which nothing is damaged, else slightly damaged UTF-8, else
/// Windows-1252 if that gives a Western text. The page's `lang` says which East Asian encodings to try.
fn guessed(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let head = bytes[..bytes.len().min(META_WITHIN)].to_ascii_lowercase();
    let says = |lang: &str| memchr::memmem::find(&head, lang.as_bytes()).is_some();
    let candidates: &[&'static Encoding] = if says("lang=\"zh-tw") || says("lang=\"zh-hk") {
        &[BIG5, GB18030]
    } else if says("lang=\"zh") {
        &[GB18030, BIG5]
    } else if says("lang=\"ja") {
        &[SHIFT_JIS, EUC_JP]
    } else if says("lang=\"ko") {
        &[EUC_KR]
    } else {
        &[]
    };
    for encoding in candidates {
        let (text, damaged) = encoding.decode_without_bom_handling(bytes);
        if !damaged {
            return Some(text);
        }
    }
    // Every sequence of bytes is Windows-1252, but in Western texts most letters are ASCII.
    let western = || bytes.iter().filter(|byte| !byte.is_ascii()).count() * 4 <= bytes.len();
    tolerable(String::from_utf8_lossy(bytes))
        .or_else(|| western().then(|| WINDOWS_1252.decode_without_bom_handling(bytes).0))
}

fn tolerable(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let damaged = memchr::memmem::find_iter(text.as_bytes(), "\u{FFFD}").count();
    (damaged * DAMAGED_AT_MOST_ONE_IN <= text.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(meta: &str, encoding: &'static Encoding, body: &str) -> Vec<u8> {
        let mut bytes = format!("<html><head>{meta}</head><body>").into_bytes();
        bytes.extend_from_slice(&encoding.encode(body).0);
        bytes
    }

    #[test]
    fn decodes_what_the_page_declares() {
        let body = "中文网页的正文，用旧编码写成。";
        for (meta, encoding) in [
            (r#"<meta charset="gbk">"#, encoding_rs::GBK),
            (r#"<meta charset=gb18030>"#, GB18030),
            (r#"<meta http-equiv="Content-Type" content="text/html; charset=gb2312">"#, encoding_rs::GBK),
        ] {
            let bytes = page(meta, encoding, body);
            assert!(decode(&bytes).unwrap().ends_with(body), "{meta}");
        }
        let bytes =
            [b"<?xml version='1.0' encoding='GB2312'?>".as_slice(), &page("", GB18030, body)].concat();
        assert!(decode(&bytes).unwrap().ends_with(body));
        let bytes = page("<meta charset='big5'>", BIG5, "繁體中文網頁");
        assert!(decode(&bytes).unwrap().ends_with("繁體中文網頁"));
        let bytes = page("<meta charset=shift_jis>", SHIFT_JIS, "日本語のページ");
        assert!(decode(&bytes).unwrap().ends_with("日本語のページ"));
    }

    #[test]
    fn utf8_that_calls_itself_latin1_is_utf8() {
        let bytes = page("<meta charset=iso-8859-1>", UTF_8, "Tür");
        assert!(decode(&bytes).unwrap().ends_with("Tür"));
    }

    #[test]
    fn undeclared_chinese_is_told_by_its_lang() {
        let mut bytes = br#"<html lang="zh-CN"><body>"#.to_vec();
        bytes.extend_from_slice(&GB18030.encode("没有声明编码").0);
        assert!(decode(&bytes).unwrap().ends_with("没有声明编码"));
    }

    #[test]
    fn a_byte_order_mark_wins() {
        let mut bytes = vec![0xFF, 0xFE];
        bytes.extend("<p>Tür".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(decode(&bytes).unwrap(), "<p>Tür");
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        let bytes =
            page("<meta charset=gbk>", UTF_8, "x").into_iter().chain([0xFF; 500]).collect::<Vec<u8>>();
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(&[0xC3; 100]), None);
        assert_eq!(decode(b"Gr\xFC\xDFe aus K\xF6ln").unwrap(), "Grüße aus Köln");
    }
}
