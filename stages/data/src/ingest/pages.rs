//! Files that hold one document each: HTML as found, plain text, Markdown, source code, books.

use super::PAGES;
use super::encoding::{self, decode};
use super::epub;
use super::format::{Compression, Format};
use super::gutenberg::{self, Framing};
use super::inflate::{Broken, inflate};
use super::license::{License, license_of};
use super::rejected::Rejections;
use super::source::{format_of, name_of};
use crate::clean::html::{Limits, Refusal, inspect};
use crate::documents::{Document, DocumentWriter};
use encoding_rs::Encoding;
use pipe_stage::{Inputs, LocalEntry, Metric, Result, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// The settings that determine how the files of a source are read. Their format is part of their label, and so of the
/// key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct Reading {
    pub(super) url: String,
    pub(super) license: String,
    pub(super) page_mib_max: u32,
    pub(super) elements_max: u32,
    /// Name of the text encoding; UTF-8 if empty.
    pub(super) encoding: String,
}

pub(super) fn read_pages(reading: &Reading, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let limits =
        Limits { bytes_max: (reading.page_mib_max as usize) << 20, nodes_max: reading.elements_max as usize };
    let item = inputs.item();
    let encoding = encoding::named(&reading.encoding);
    let mut writer = DocumentWriter::new(share.file(PAGES.name())?)?;
    let mut rejections = Rejections::default();
    rejections.begin(item.name().to_owned());
    let mut bytes = 0;
    let mut noted = [Note::Unframed, Note::FramedPartly, Note::FramedSeveral, Note::LicenseUnclear]
        .map(|note| (note, 0_u64));
    for file in share.track("pages", item.entries()) {
        let file = file?;
        rejections.tally.files += 1;
        let format = format_of(file.source().unwrap_or_default());
        let read = match format {
            Format::Html => page(file, limits)?.map(|html| (html.len(), of_page(html), None)),
            Format::Epub => book(file, limits, &mut rejections)?.map(|(length, book)| (length, book, None)),
            format => text(file, encoding, limits)?.and_then(|text| of_text(text, format)),
        };
        match read {
            Ok((length, content, note)) => {
                bytes += length as u64;
                let counted = noted.iter_mut().filter(|(counted, _)| Some(*counted) == note);
                counted.for_each(|(_, count)| *count += 1);
                writer.push(&document(reading, file, content, note))?;
            }
            Err(unread) => {
                let (id, explanation) = (id(file), unread.explanation(format));
                rejections.document(&id, unread.code(), &explanation, file.size());
                match unread {
                    Unread::Refused(Refusal::Redirect(_)) => rejections.tally.redirect(id, explanation),
                    _ => rejections.tally.error(id, explanation),
                }
            }
        }
    }
    let documents = writer.rows();
    if documents > 0 {
        share.keep(writer.finish()?)?;
    }
    let tally = rejections.keep(share, "jsonl")?;
    share.count("documents", documents);
    share.metric(Metric::new("bytes", bytes as f64, "bytes"));
    share.count("redirects", tally.redirects.count);
    share.metric(Metric::count("rejected", tally.rejected()).lower_is_better());
    for (note, count) in noted.into_iter().filter(|(_, count)| *count > 0) {
        share.count(note.metric(), count);
    }
    share.value(&tally);
    Ok(())
}

/// What is worth counting about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    /// A text without the frame of Project Gutenberg.
    Unframed,
    /// One whose frame has no start or no end.
    FramedPartly,
    /// One with frames within its frame.
    FramedSeveral,
    /// A source file that names a licence, but not which exactly. It does not get that of its source.
    LicenseUnclear,
}

impl Note {
    /// The metric that counts it.
    const fn metric(self) -> &'static str {
        match self {
            Self::Unframed => "unframed",
            Self::FramedPartly => "framed_partly",
            Self::FramedSeveral => "framed_several",
            Self::LicenseUnclear => "license_unclear",
        }
    }
}

/// Why a file is rejected.
#[derive(Debug)]
enum Unread {
    /// For its content.
    Refused(Refusal),
    /// More bytes when decompressed than a document may have.
    Grown { max: usize },
    /// Its compressed data cannot be read.
    Broken(Broken),
    /// It is no book, or a protected one.
    Book(epub::Refused),
    /// It consists of a frame or front matter.
    Bodiless,
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Unread {
    /// Stable name in reports.
    const fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Grown { max } => Refusal::TooLarge { bytes: *max, max: *max }.code(),
            Self::Broken(broken) => broken.code(),
            Self::Book(refused) => refused.code(),
            Self::Bodiless => Refusal::Empty.code(),
        }
    }

    /// What is wrong, and the setting that changes it.
    fn explanation(&self, format: Format) -> String {
        match self {
            Self::Refused(Refusal::Undecodable) if format.is_text() => {
                "it is not UTF-8; if the file has another encoding, set `encoding`".to_owned()
            }
            Self::Refused(refusal @ Refusal::TooLarge { .. }) => {
                format!("{refusal}, the limit `page_mib_max`")
            }
            Self::Refused(refusal @ Refusal::TooManyNodes(_)) => {
                format!("{refusal}, the limit `elements_max`")
            }
            Self::Refused(refusal) => refusal.to_string(),
            Self::Grown { max } => {
                format!("it has more than {max} bytes when decompressed, the limit `page_mib_max`")
            }
            Self::Broken(broken) => broken.to_string(),
            Self::Book(refused) => refused.to_string(),
            Self::Bodiless => "it has no text apart from its frame or front matter".to_owned(),
        }
    }
}

/// The bytes of a page, or why it is rejected. Files that are too large are not read.
fn page(file: &LocalEntry, limits: Limits) -> Result<Result<Vec<u8>, Unread>> {
    if file.size() > limits.bytes_max as u64 {
        return Ok(Err(too_large(file, limits).into()));
    }
    let html = file.bytes()?;
    Ok(inspect(&html, limits).map(|()| html).map_err(Unread::from))
}

/// A book with the length of its page, or why it is rejected. Chapters that cannot be read are rejected on their own.
fn book(
    file: &LocalEntry,
    limits: Limits,
    rejections: &mut Rejections,
) -> Result<Result<(usize, Document), Unread>> {
    let mut stream = file.stream()?;
    let read = epub::read(stream.seekable()?, file.size(), limits.bytes_max);
    stream.finish()?;
    let book = match read {
        Ok(book) => book,
        Err(refused) => return Ok(Err(Unread::Book(refused))),
    };
    for (chapter, why) in book.lost {
        let (id, explanation) =
            (format!("{}#{chapter}", id(file)), format!("the chapter cannot be read: {why}"));
        rejections.document(&id, "chapter", &explanation, file.size());
        rejections.tally.error(id, explanation);
    }
    let html = book.document.html.as_deref().unwrap_or_default();
    let limits = Limits { bytes_max: usize::MAX, ..limits };
    let length = html.len();
    Ok(inspect(html, limits).map(|()| (length, book.document)).map_err(Unread::from))
}

fn too_large(file: &LocalEntry, limits: Limits) -> Refusal {
    Refusal::TooLarge { bytes: file.size() as usize, max: limits.bytes_max }
}

/// The text of a file, or why it is rejected. It reads at most the maximum size of a page.
fn text(
    file: &LocalEntry,
    encoding: Option<&'static Encoding>,
    limits: Limits,
) -> Result<Result<String, Unread>> {
    let compression = Compression::of_name(file.name());
    if compression == Compression::Plain && file.size() > limits.bytes_max as u64 {
        return Ok(Err(too_large(file, limits).into()));
    }
    let mut stream = file.stream()?;
    let mut bytes = Vec::new();
    let read = inflate(&mut stream, compression, file.size())
        .and_then(|input| decode(input, encoding))
        .and_then(|input| input.take(limits.bytes_max as u64 + 1).read_to_end(&mut bytes));
    stream.finish()?;
    Ok(match read {
        // The stream itself is complete, so the compressed data is damaged.
        Err(error) => Err(Unread::Broken(Broken::of(&error, compression))),
        Ok(_) if bytes.len() > limits.bytes_max => Err(Unread::Grown { max: limits.bytes_max }),
        Ok(_) => decoded(bytes).map_err(Unread::from),
    })
}

fn decoded(bytes: Vec<u8>) -> Result<String, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refusal::Empty);
    }
    if bytes.contains(&0) {
        return Err(Refusal::Binary);
    }
    let text = String::from_utf8(bytes).map_err(|_| Refusal::Undecodable)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn of_page(html: Vec<u8>) -> Document {
    Document { html: Some(html), ..Document::default() }
}

/// The length of a text, its document, and what is worth counting.
fn of_text(text: String, format: Format) -> Result<(usize, Document, Option<Note>), Unread> {
    let length = text.len();
    let (document, note) = match format {
        Format::Gutenberg => {
            let (document, framing) = gutenberg::document(&text);
            let note = match framing {
                Framing::Whole => None,
                Framing::None => Some(Note::Unframed),
                Framing::Partly => Some(Note::FramedPartly),
                Framing::Several => Some(Note::FramedSeveral),
            };
            (document, note)
        }
        Format::Code => of_code(text),
        Format::Markdown => (of_markdown(&text), None),
        _ => (Document { text, ..Document::default() }, None),
    };
    if document.text.trim().is_empty() { Err(Unread::Bodiless) } else { Ok((length, document, note)) }
}

fn of_code(text: String) -> (Document, Option<Note>) {
    let (license, note) = match license_of(&text) {
        License::Expression(expression) => (expression, None),
        License::Unnamed => (String::new(), None),
        License::Unclear => (String::new(), Some(Note::LicenseUnclear)),
    };
    // `clean` does not change source code.
    let metadata = [("format".to_owned(), Format::Code.name().to_owned())].into();
    (Document { text, license, metadata, ..Document::default() }, note)
}

fn of_markdown(text: &str) -> Document {
    let body = without_front_matter(text);
    let title = body.lines().find_map(|line| line.strip_prefix("# "));
    let title = title.map(|title| title.trim().trim_end_matches('#').trim_end().to_owned());
    let metadata = title.filter(|title| !title.is_empty()).map(|title| ("title".to_owned(), title));
    Document { text: body.to_owned(), metadata: metadata.into_iter().collect(), ..Document::default() }
}

/// Removes front matter at the beginning of a file: YAML between lines of `---`, or TOML between lines of `+++`.
/// Other text between horizontal rules is kept.
fn without_front_matter(text: &str) -> &str {
    let mut lines = text.split_inclusive('\n');
    let fence = lines.next().map(str::trim_end).unwrap_or_default();
    let is_field: fn(&str) -> bool = match fence {
        "---" => is_yaml,
        "+++" => is_toml,
        _ => return text,
    };
    let mut at = text.find('\n').map_or(text.len(), |end| end + 1);
    let mut has_fields = false;
    for line in lines {
        at += line.len();
        let line = line.trim_end();
        if line == fence || (fence == "---" && line == "...") {
            return if has_fields { text[at..].trim_start_matches(['\r', '\n']) } else { text };
        }
        let is_part =
            line.is_empty() || line.starts_with([' ', '\t', '#']) || (has_fields && is_continued(line));
        let is_field = is_field(line);
        if !is_field && !is_part {
            return text;
        }
        has_fields |= is_field;
    }
    text
}

/// `key: value`.
fn is_yaml(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(key, value)| is_key(key) && (value.is_empty() || value.starts_with(' ')))
}

/// `key = value` or `[table]`.
fn is_toml(line: &str) -> bool {
    let is_table = line.starts_with('[') && line.ends_with(']');
    is_table || line.split_once('=').is_some_and(|(key, _)| is_key(key.trim_end()))
}

fn is_key(key: &str) -> bool {
    let key = key.trim_matches(['"', '\'']);
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
}

/// An element or the end of a list that spans several lines.
fn is_continued(line: &str) -> bool {
    line.starts_with("- ") || line.starts_with([']', '}']) || line.starts_with("\"\"\"")
}

fn id(file: &LocalEntry) -> String {
    format!("{}/{}", name_of(file.source().unwrap_or_default()), file.name())
}

fn document(reading: &Reading, file: &LocalEntry, content: Document, note: Option<Note>) -> Document {
    let is_default = content.license.is_empty() && note != Some(Note::LicenseUnclear);
    Document {
        id: id(file),
        url: if reading.url.is_empty() { String::new() } else { format!("{}/{}", reading.url, file.name()) },
        source: name_of(file.source().unwrap_or_default()).to_owned(),
        license: if is_default { reading.license.clone() } else { content.license },
        ..content
    }
}
