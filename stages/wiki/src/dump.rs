//! The XML of exports, schema 0.3 to 0.11, as a stream of pages.
//!
//! The file is split at the tags of its pages and revisions before anything is parsed, which is safe because texts are
//! escaped. So a damaged place costs one page, and of a page with its whole history only the newest revision is held.

use crate::site::Site;
use quick_xml::Reader;
use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::events::{BytesStart, Event};
use std::io::{self, BufRead};

/// A page with its newest revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Position of its `<page>` in the export, in bytes.
    pub offset: u64,
    /// Number of the page in its wiki.
    pub id: Option<u64>,
    /// Number of its namespace; 0 holds articles.
    pub namespace: i32,
    /// Title, with the name of its namespace.
    pub title: String,
    /// Whether it is a redirect.
    pub is_redirect: bool,
    /// Its newest revision. Exports of titles have none.
    pub revision: Option<Revision>,
}

/// A revision of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// Number of the revision.
    pub id: Option<u64>,
    /// Time of the revision in ISO 8601.
    pub timestamp: String,
    /// Content model, such as `wikitext` or `css`; empty in old exports.
    pub model: String,
    /// The text; `None` if it was deleted.
    pub text: Option<String>,
}

/// The next piece of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A page.
    Page(Page),
    /// A page that cannot be read.
    Damaged(Damage),
}

/// Why a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Position where the page begins, in bytes.
    pub offset: u64,
    /// Position where reading goes on; `None` at the end of the export.
    pub next: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

/// A reader of an export.
pub struct Export<R> {
    input: R,
    offset: u64,
    bytes_max: u64,
    site: Site,
    /// Whether the end tag of the export was read since the last start tag.
    ended: bool,
    /// Position of the `<page>` that was read last, if its page is still to be read.
    opened: Option<u64>,
}

/// Maximum size of what is not a revision: the description of the wiki, the head of a page.
const HEAD_BYTES_MAX: u64 = 1 << 20;
/// Maximum depth of elements. Exports have eight levels.
const DEPTH_MAX: usize = 32;

/// What a chunk ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    Start(String),
    End(String),
    /// Something else, or the chunk is longer than allowed.
    Other,
    Eof,
}

impl<R: BufRead> Export<R> {
    /// Reads up to the start tag of the export; `None` if there is none in the first 64 KiB. Revisions longer than
    /// `bytes_max`, as they are escaped in the file, are damage.
    ///
    /// # Errors
    /// If `input` fails.
    pub fn open(input: R, bytes_max: u64) -> io::Result<Option<Self>> {
        const PROLOGUE_BYTES_MAX: u64 = 64 << 10;
        let site = Site::default();
        let mut export = Self { input, offset: 0, bytes_max, site, ended: true, opened: None };
        while export.offset < PROLOGUE_BYTES_MAX {
            let mut chunk = Vec::new();
            match export.chunk(&mut chunk, PROLOGUE_BYTES_MAX)? {
                Tag::Start(name) if name == "mediawiki" => {
                    export.begin(&chunk);
                    return Ok(Some(export));
                }
                Tag::Eof => break,
                _ => {}
            }
        }
        Ok(None)
    }

    /// What the export has said about its wiki so far; it says it before its first page.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// Reads the next page; `None` at the end.
    ///
    /// # Errors
    /// If the input fails.
    pub fn piece(&mut self) -> io::Result<Option<Piece>> {
        loop {
            // The last page, or the description of the wiki, ended with it.
            if let Some(offset) = self.opened.take() {
                return self.page(offset).map(Some);
            }
            let mut chunk = Vec::new();
            let tag = self.chunk(&mut chunk, HEAD_BYTES_MAX)?;
            match tag {
                Tag::Start(name) if name == "page" => {
                    let offset = self.start_of_tag(&chunk);
                    return self.page(offset).map(Some);
                }
                Tag::Start(name) if name == "siteinfo" => self.siteinfo()?,
                // Several exports in one file.
                Tag::Start(name) if name == "mediawiki" => self.begin(&chunk),
                Tag::End(name) if name == "mediawiki" => self.ended = true,
                Tag::Eof if self.ended => return Ok(None),
                Tag::Eof => {
                    self.ended = true;
                    return Ok(Some(self.damaged(self.offset, true, "the export ends without its end tag")));
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, chunk: &[u8]) {
        self.ended = false;
        let start = memchr::memrchr(b'<', chunk).unwrap_or(0);
        let text = String::from_utf8_lossy(&chunk[start..]);
        let mut reader = Reader::from_str(&text);
        if let Ok(Event::Start(tag)) = reader.read_event() {
            self.site = Site { language: attribute(&tag, "xml:lang"), ..Site::default() };
        }
    }

    /// Appends the input up to and including the next `>`, but at most `bytes_max` bytes; the rest of a longer chunk
    /// is passed over.
    fn chunk(&mut self, chunk: &mut Vec<u8>, bytes_max: u64) -> io::Result<Tag> {
        let start = chunk.len();
        let room = bytes_max.saturating_sub(start as u64).saturating_add(1);
        let mut read = 0_u64;
        let mut is_cut = false;
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                self.offset += read;
                return Ok(Tag::Eof);
            }
            let end = memchr::memchr(b'>', bytes);
            let count = end.map_or(bytes.len(), |at| at + 1);
            let kept = count.min(usize::try_from(room.saturating_sub(read)).unwrap_or(usize::MAX));
            chunk.extend_from_slice(&bytes[..kept]);
            is_cut |= kept < count;
            self.input.consume(count);
            read += count as u64;
            if end.is_some() {
                break;
            }
        }
        self.offset += read;
        if is_cut {
            return Ok(Tag::Other);
        }
        let tag = memchr::memrchr(b'<', &chunk[start..]).map_or(&[][..], |at| &chunk[start + at + 1..]);
        let name = |tag: &[u8]| {
            let length = tag.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            String::from_utf8_lossy(&tag[..length]).into_owned()
        };
        Ok(match tag {
            [b'/', rest @ ..] => Tag::End(name(rest)),
            [.., b'/', b'>'] => Tag::Other,
            tag => Tag::Start(name(tag)),
        })
    }

    /// The position of the tag that ends a chunk, which was read last.
    fn start_of_tag(&self, chunk: &[u8]) -> u64 {
        let length = chunk.len() - memchr::memrchr(b'<', chunk).unwrap_or(0);
        self.offset.saturating_sub(length as u64)
    }

    fn damaged(&self, offset: u64, is_end: bool, reason: &str) -> Piece {
        let next = (!is_end).then_some(self.opened.unwrap_or(self.offset));
        Piece::Damaged(Damage { offset, next, reason: reason.to_owned() })
    }

    fn siteinfo(&mut self) -> io::Result<()> {
        let mut text = b"<siteinfo>".to_vec();
        loop {
            match self.chunk(&mut text, HEAD_BYTES_MAX)? {
                Tag::End(name) if name == "siteinfo" => break,
                Tag::Start(name) if name == "page" => {
                    self.opened = Some(self.start_of_tag(&text));
                    return Ok(());
                }
                Tag::Eof => return Ok(()),
                _ => {}
            }
        }
        // A damaged description leaves the canonical names, and pages without addresses.
        let site = std::str::from_utf8(&text).ok().and_then(|text| site_of(text).ok()).unwrap_or_default();
        self.site = Site { language: std::mem::take(&mut self.site.language), ..site };
        Ok(())
    }

    /// Reads the page whose start tag is at `offset`.
    fn page(&mut self, offset: u64) -> io::Result<Piece> {
        let mut head = b"<page>".to_vec();
        let mut newest: Option<Result<Revision, String>> = None;
        loop {
            let before = head.len();
            let tag = self.chunk(&mut head, HEAD_BYTES_MAX)?;
            match tag {
                Tag::Start(name) if name == "revision" => {
                    truncate_tag(&mut head, before);
                    let found = match self.revision()? {
                        Ok(found) => found,
                        Err(damage) => return Ok(self.damaged(offset, damage.1, &damage.0)),
                    };
                    let time = |revision: &Result<Revision, String>| {
                        revision
                            .as_ref()
                            .map_or_else(|_| String::new(), |revision| revision.timestamp.clone())
                    };
                    if newest.as_ref().is_none_or(|newest| found.is_err() || time(&found) >= time(newest)) {
                        newest = Some(found);
                    }
                }
                Tag::Start(name) if name == "page" => {
                    self.opened = Some(self.start_of_tag(&head[before..]));
                    return Ok(self.damaged(offset, false, "another page begins within it"));
                }
                Tag::End(name) if name == "page" => break,
                Tag::End(name) if name == "mediawiki" => {
                    self.ended = true;
                    return Ok(self.damaged(offset, true, "the export ends within it"));
                }
                Tag::Eof => {
                    self.ended = true;
                    return Ok(self.damaged(offset, true, "the file ends within it"));
                }
                // Of the other elements, only small ones are of interest.
                _ if head.len() as u64 > HEAD_BYTES_MAX => head.truncate(before),
                _ => {}
            }
        }
        let page = match std::str::from_utf8(&head) {
            Ok(head) => self.page_of(head),
            Err(_) => Err("it is not UTF-8".to_owned()),
        };
        Ok(match (page, newest.transpose()) {
            (Ok(page), Ok(revision)) => {
                let text =
                    revision.as_ref().and_then(|revision| revision.text.as_deref()).unwrap_or_default();
                let is_redirect = page.is_redirect || is_redirect(text);
                Piece::Page(Page { offset, revision, is_redirect, ..page })
            }
            (Err(reason), _) | (_, Err(reason)) => self.damaged(offset, false, &reason),
        })
    }

    /// Reads a revision behind its start tag. The outer error is a reason to give up the page, and whether the export
    /// ends there.
    fn revision(&mut self) -> io::Result<Result<Result<Revision, String>, (String, bool)>> {
        let mut text = b"<revision>".to_vec();
        let mut is_cut = false;
        loop {
            let before = text.len();
            let tag = self.chunk(&mut text, self.bytes_max)?;
            match tag {
                Tag::End(name) if name == "revision" => break,
                Tag::Start(name) if name == "page" => {
                    self.opened = Some(self.start_of_tag(&text[before..]));
                    return Ok(Err(("another page begins within its revision".to_owned(), false)));
                }
                Tag::End(name) if name == "page" => {
                    return Ok(Err(("its revision has no end".to_owned(), false)));
                }
                Tag::End(name) if name == "mediawiki" => {
                    self.ended = true;
                    return Ok(Err(("the export ends within it".to_owned(), true)));
                }
                Tag::Eof => {
                    self.ended = true;
                    return Ok(Err(("the file ends within it".to_owned(), true)));
                }
                _ => {}
            }
            if text.len() as u64 > self.bytes_max {
                is_cut = true;
                text.truncate(before.min(64));
            }
        }
        if is_cut {
            return Ok(Ok(Err(format!("its revision has more than {} bytes", self.bytes_max))));
        }
        Ok(Ok(match std::str::from_utf8(&text) {
            Ok(text) => revision_of(text),
            Err(_) => Err("its text is not UTF-8".to_owned()),
        }))
    }

    fn page_of(&self, head: &str) -> Result<Page, String> {
        let mut page = Page::default();
        let mut namespace = None;
        for_each_child(head, |tag, text| match tag.name().as_ref() {
            "id" => page.id = text.trim().parse().ok(),
            "title" => page.title = text.trim().to_owned(),
            "ns" => namespace = text.trim().parse().ok(),
            "redirect" => page.is_redirect = true,
            _ => {}
        })?;
        if page.title.is_empty() {
            return Err("it has no title".to_owned());
        }
        page.namespace = namespace.or_else(|| self.site.namespace_of(&page.title)).unwrap_or(0);
        Ok(page)
    }
}

/// Removes the tag at the end of a text of which the part from `before` on was read last.
fn truncate_tag(text: &mut Vec<u8>, before: usize) {
    let at = memchr::memrchr(b'<', &text[before..]).map_or(text.len(), |at| before + at);
    text.truncate(at);
}

fn site_of(text: &str) -> Result<Site, String> {
    const NAMESPACES_MAX: usize = 1000;
    let mut site = Site::default();
    for_each(text, DEPTH_MAX, |depth, tag, text| match (depth, tag.name().as_ref()) {
        (2, "sitename") => site.name = text,
        (2, "base") => site.base = text.trim().to_owned(),
        (3, "namespace") if site.namespaces.len() < NAMESPACES_MAX => {
            if let Ok(number) = attribute(tag, "key").parse() {
                site.namespaces.insert(number, text);
            }
        }
        _ => {}
    })?;
    Ok(site)
}

fn revision_of(text: &str) -> Result<Revision, String> {
    let mut revision = Revision::default();
    for_each_child(text, |tag, text| match tag.name().as_ref() {
        "id" => revision.id = text.trim().parse().ok(),
        "timestamp" => revision.timestamp = text.trim().to_owned(),
        "model" => revision.model = text.trim().to_owned(),
        "text" => revision.text = attribute(tag, "deleted").is_empty().then_some(text),
        _ => {}
    })?;
    Ok(revision)
}

/// Passes on each child of the outermost element with its text.
fn for_each_child(xml: &str, mut each: impl FnMut(&BytesStart, String)) -> Result<(), String> {
    for_each(xml, DEPTH_MAX, |depth, tag, text| {
        if depth == 2 {
            each(tag, text);
        }
    })
}

/// Passes on each element at its end, with its depth and the text directly in it.
fn for_each(
    xml: &str,
    depth_max: usize,
    mut each: impl FnMut(usize, &BytesStart, String),
) -> Result<(), String> {
    // Elements that hold nothing but text. Markup in it that is not escaped would be cut out of it.
    const PLAIN: [&str; 9] =
        ["title", "ns", "id", "timestamp", "model", "text", "sitename", "base", "namespace"];
    let unescaped = |open: &[(BytesStart, String)], what: &str| match open.last() {
        Some((tag, _)) if PLAIN.contains(&tag.name().as_ref()) => {
            Err(format!("its `{}` contains {what} that is not escaped", shortened(tag.name().as_ref())))
        }
        _ => Ok(()),
    };
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<(BytesStart, String)> = Vec::new();
    let told = |error: quick_xml::Error| format!("its XML is damaged: {error}");
    loop {
        let event = reader.read_event().map_err(told)?;
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                unescaped(&open, &format!("the tag `{}`", shortened(tag.name().as_ref())))?;
            }
            Event::Comment(_) => unescaped(&open, "a comment")?,
            Event::PI(_) => unescaped(&open, "a processing instruction")?,
            _ => {}
        }
        match event {
            Event::Start(_) if open.len() == depth_max => {
                return Err("its XML is nested too deeply".to_owned());
            }
            Event::Start(tag) => open.push((tag, String::new())),
            Event::Empty(tag) => each(open.len() + 1, &tag, String::new()),
            Event::End(_) => {
                if let Some((tag, text)) = open.pop() {
                    each(open.len() + 1, &tag, text);
                }
            }
            Event::Text(text) => push(&mut open, &text.xml_content(Implicit1_0)),
            Event::CData(text) => push(&mut open, &text.xml_content(Implicit1_0)),
            Event::GeneralRef(reference) => {
                let named = || quick_xml::escape::resolve_xml_entity(&reference);
                match reference.resolve_char_ref().map_err(told)? {
                    Some(c) => push(&mut open, c.encode_utf8(&mut [0; 4])),
                    None => match named() {
                        Some(text) => push(&mut open, text),
                        None => return Err(format!("it has the unknown entity `{}`", shortened(&reference))),
                    },
                }
            }
            Event::DocType(_) => return Err("it has a document type within it".to_owned()),
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => return Err("its XML has elements without an end".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn push(open: &mut [(BytesStart, String)], text: &str) {
    if let Some((_, content)) = open.last_mut() {
        content.push_str(text);
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn attribute(tag: &BytesStart, name: &str) -> String {
    let value = tag.try_get_attribute(name).ok().flatten();
    let value =
        value.and_then(|value| value.normalized_value(Implicit1_0).ok().map(std::borrow::Cow::into_owned));
    value.unwrap_or_default()
}

/// Whether a text redirects, in the words of the larger wikis: exports before schema 0.4 do not say it otherwise.
fn is_redirect(text: &str) -> bool {
    const WORDS: [&str; 34] = [
        "redirect",
        "weiterleitung",
        "redirection",
        "redirección",
        "redireccion",
        "redirecionamento",
        "rinvia",
        "rinvio",
        "doorverwijzing",
        "patrz",
        "przekieruj",
        "tam",
        "перенаправление",
        "перенапр",
        "перенаправлення",
        "omdirigering",
        "omdiriger",
        "ohjaus",
        "uudelleenohjaus",
        "átirányítás",
        "alih",
        "đổi",
        "yönlendirme",
        "přesměruj",
        "presmeruj",
        "преусмери",
        "ανακατευθυνση",
        "تحويل",
        "تغییر_مسیر",
        "הפניה",
        "重定向",
        "転送",
        "リダイレクト",
        "넘겨주기",
    ];
    let Some(rest) = text.trim_start().strip_prefix('#') else { return false };
    let mut head: String = rest.chars().take(64).collect();
    let Some(at) = head.find("[[") else { return false };
    head.truncate(at);
    let word = head.trim().trim_end_matches(':').trim().to_lowercase();
    WORDS.contains(&word.as_str())
}

#[cfg(test)]
mod tests;
