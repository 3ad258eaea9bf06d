//! What an EPUB says about its book: the container, the package document, and encryption.

use quick_xml::Reader;
use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::events::{BytesStart, Event};
use std::collections::{BTreeMap, BTreeSet};

/// A book, as its package document describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) title: String,
    pub(super) creators: Vec<String>,
    pub(super) language: String,
    pub(super) date: String,
    pub(super) rights: String,
    pub(super) identifier: String,
    /// Names of the chapters in the archive, in reading order, each once.
    pub(super) spine: Vec<String>,
}

/// The name of the package document.
pub(super) fn container(xml: &str) -> Result<String, String> {
    let mut root = None;
    for_each(xml, |name, tag, _| {
        if name == "rootfile" && root.is_none() {
            root = Some(attribute(tag, "full-path"));
        }
    })?;
    root.filter(|root| !root.is_empty()).ok_or_else(|| "its container names no package document".to_owned())
}

/// Reads the package document with a name in the archive.
pub(super) fn package(xml: &str, name: &str) -> Result<Package, String> {
    const CREATORS_MAX: usize = 20;
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut book = Package::default();
    let mut items: BTreeMap<String, (String, bool)> = BTreeMap::new();
    let mut order = Vec::new();
    for_each(xml, |name, tag, text| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = |field: &mut String| {
            if field.is_empty() {
                field.clone_from(&text);
            }
        };
        match name {
            "title" => first(&mut book.title),
            "language" => first(&mut book.language),
            "date" => first(&mut book.date),
            "rights" => first(&mut book.rights),
            "identifier" => first(&mut book.identifier),
            "creator" if book.creators.len() < CREATORS_MAX && !text.is_empty() => book.creators.push(text),
            "item" => {
                let media_type = attribute(tag, "media-type");
                let is_nav =
                    attribute(tag, "properties").split_whitespace().any(|property| property == "nav");
                let is_chapter = ["application/xhtml+xml", "text/html", "application/x-dtbook+xml"]
                    .contains(&media_type.as_str());
                items.insert(attribute(tag, "id"), (attribute(tag, "href"), is_chapter && !is_nav));
            }
            "itemref" => order.push(attribute(tag, "idref")),
            _ => {}
        }
    })?;
    let mut seen = BTreeSet::new();
    for id in order {
        let Some((href, true)) = items.get(&id) else { continue };
        let name = resolved(folder, href);
        if seen.insert(name.clone()) {
            book.spine.push(name);
        }
    }
    if book.spine.is_empty() { Err("its package document lists no chapters".to_owned()) } else { Ok(book) }
}

/// Whether files other than fonts are encrypted. Fonts are often obfuscated, also in free books.
pub(super) fn is_encrypted(xml: &str) -> bool {
    const OF_FONTS: [&str; 2] = ["http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"];
    let mut is_encrypted = false;
    let read = for_each(xml, |name, tag, _| {
        let algorithm = attribute(tag, "Algorithm");
        is_encrypted |= name == "EncryptionMethod" && !OF_FONTS.contains(&algorithm.as_str());
    });
    is_encrypted || read.is_err()
}

/// The name in the archive of an address that is relative to a folder.
fn resolved(folder: &str, href: &str) -> String {
    let path = href.split(['#', '?']).next().unwrap_or_default();
    let mut parts: Vec<String> =
        folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(percent_decoded(part)),
        }
    }
    parts.join("/")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| byte == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Passes on each element at its end, by its name without a prefix, with the text directly in it.
fn for_each(xml: &str, mut each: impl FnMut(&str, &BytesStart, String)) -> Result<(), String> {
    const DEPTH_MAX: usize = 64;
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<(BytesStart, String)> = Vec::new();
    let mut pass = |tag: &BytesStart, text: String| each(tag.local_name().as_ref(), tag, text);
    loop {
        match reader.read_event().map_err(|error| format!("its XML is damaged: {error}"))? {
            Event::Start(_) if open.len() == DEPTH_MAX => {
                return Err("its XML is nested too deeply".to_owned());
            }
            Event::Start(tag) => open.push((tag, String::new())),
            Event::Empty(tag) => pass(&tag, String::new()),
            Event::End(_) => {
                if let Some((tag, text)) = open.pop() {
                    pass(&tag, text);
                }
            }
            Event::Text(text) => push(&mut open, &text.xml_content(Implicit1_0)),
            Event::CData(text) => push(&mut open, &text.xml_content(Implicit1_0)),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(c)) => push(&mut open, c.encode_utf8(&mut [0; 4])),
                _ => push(&mut open, quick_xml::escape::resolve_xml_entity(&reference).unwrap_or(" ")),
            },
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn push(open: &mut [(BytesStart, String)], text: &str) {
    if let Some((_, content)) = open.last_mut() {
        content.push_str(text);
    }
}

fn attribute(tag: &BytesStart, name: &str) -> String {
    let value = tag.try_get_attribute(name).ok().flatten();
    let value =
        value.and_then(|value| value.normalized_value(Implicit1_0).ok().map(std::borrow::Cow::into_owned));
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved() {
        assert_eq!(resolved("OEBPS", "text/a%20b.xhtml#c"), "OEBPS/text/a b.xhtml");
        assert_eq!(resolved("a/b", "../c.html"), "a/c.html");
        assert_eq!(resolved("", "../../c%zz.html"), "c%zz.html");
    }

    #[test]
    fn obfuscated_fonts_are_no_encryption() {
        let xml = |algorithm: &str| {
            format!(
                "<encryption><e:EncryptedData><e:EncryptionMethod Algorithm=\"{algorithm}\"/></e:EncryptedData></encryption>"
            )
        };
        assert!(!is_encrypted(&xml("http://www.idpf.org/2008/embedding")));
        assert!(is_encrypted(&xml("http://www.w3.org/2001/04/xmlenc#aes128-cbc")));
        assert!(is_encrypted("<encryption"));
    }
}
