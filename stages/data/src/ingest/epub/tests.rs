use super::*;
use std::io::{Cursor, Write};

/// A zip archive; names that begin with `-` are stored, others are deflated.
pub(in super::super) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let offset = out.len() as u32;
        let (name, method) = name.strip_prefix('-').map_or((*name, 8_u16), |name| (name, 0));
        let packed = if method == 0 {
            content.to_vec()
        } else {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        };
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 12]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let offset = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend([0, 0]);
    out
}

const CONTAINER: &[u8] =
    b"<container><rootfiles><rootfile full-path=\"OEBPS/book.opf\"/></rootfiles></container>";

const PACKAGE: &[u8] = b"<package xmlns:dc=\"x\"><metadata><dc:title>The &amp; Book</dc:title><dc:creator>A. Author</dc:creator>\
    <dc:language>en-GB</dc:language><dc:date>2001-02-03</dc:date><dc:identifier>urn:1</dc:identifier>\
    <dc:rights>https://creativecommons.org/licenses/by/4.0/</dc:rights></metadata><manifest>\
    <item id=\"n\" href=\"nav.xhtml\" media-type=\"application/xhtml+xml\" properties=\"nav\"/>\
    <item id=\"b\" href=\"b.xhtml\" media-type=\"application/xhtml+xml\"/><item id=\"a\" href=\"text/a%20a.xhtml\" \
    media-type=\"application/xhtml+xml\"/><item id=\"i\" href=\"i.png\" media-type=\"image/png\"/></manifest>\
    <spine><itemref idref=\"n\"/><itemref idref=\"a\"/><itemref idref=\"b\"/><itemref idref=\"i\"/></spine></package>";

/// A book of two chapters.
pub(in super::super) fn book(first: &[u8], second: &[u8]) -> Vec<u8> {
    zip(&[
        ("-mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", CONTAINER),
        ("OEBPS/book.opf", PACKAGE),
        ("OEBPS/b.xhtml", second),
        ("OEBPS/text/a a.xhtml", first),
    ])
}

fn read_bytes(bytes: &[u8], max: usize) -> Result<Book, Refused> {
    read(Cursor::new(bytes), bytes.len() as u64, max)
}

#[test]
fn chapters_are_in_the_order_of_the_spine() {
    let bytes = book(b"<html><body><p>One</p></body></html>", b"<html><body><p>Two</p></body></html>");
    let Book { document, lost } = read_bytes(&bytes, 1 << 20).unwrap();
    assert_eq!(lost, []);
    let html = String::from_utf8(document.html.unwrap()).unwrap();
    assert_eq!(html, "<!DOCTYPE html><meta charset=utf-8><body><main>\n<p>One</p>\n<p>Two</p>\n</main>");
    assert_eq!((document.language.as_str(), document.license.as_str()), ("en", "CC-BY-4.0"));
    assert_eq!((document.metadata["title"].as_str(), document.date.as_str()), ("The & Book", "2001-02-03"));
}

#[test]
fn a_damaged_chapter_is_named_and_the_others_are_kept() {
    let mut bytes = book(b"<body>One</body>", b"<body>Two</body>");
    let at = bytes.windows(13).position(|window| window == b"OEBPS/b.xhtml").unwrap();
    bytes[at + 14] ^= 0xFF;
    let Book { document, lost } = read_bytes(&bytes, 1 << 20).unwrap();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].0, "OEBPS/b.xhtml");
    assert!(String::from_utf8(document.html.unwrap()).unwrap().contains("One"));
}

#[test]
fn bombs_and_protected_books_are_refused() {
    let bomb = book(&vec![b' '; 64 << 20], b"<body>Two</body>");
    assert!(bomb.len() < 1 << 20);
    assert_eq!(read_bytes(&bomb, 1 << 20).unwrap_err(), Refused::TooLarge(1 << 20));
    let encryption = b"<encryption><EncryptionMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#aes256-cbc\"/></encryption>";
    let files: [(&str, &[u8]); 3] = [
        ("META-INF/container.xml", CONTAINER),
        ("OEBPS/book.opf", PACKAGE),
        ("META-INF/encryption.xml", encryption),
    ];
    assert_eq!(read_bytes(&zip(&files), 1 << 20).unwrap_err(), Refused::Encrypted);
}

#[test]
fn any_damage_is_an_error_and_no_panic() {
    let bytes = book(b"<body>One</body>", b"<body>Two</body>");
    for at in 0..bytes.len() {
        drop(read_bytes(&bytes[..at], 1 << 16));
        let mut changed = bytes.clone();
        changed[at] ^= 0xFF;
        drop(read_bytes(&changed, 1 << 16));
    }
    for other in [&b""[..], b"PK\x05\x06", b"text", b"PK\x03\x04"] {
        assert_eq!(read_bytes(other, 100).unwrap_err().code(), "not_epub");
    }
}
