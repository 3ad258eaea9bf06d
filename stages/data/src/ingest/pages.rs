//! Files that hold one document each: HTML as found, plain text, Markdown, source code, books.

use super::PAGES;
use super::encoding::{self, decode};
use super::format::{Compression, Format};
use super::inflate::{Broken, inflate};
use super::license::license_of;
use super::rejected::Rejections;
use super::source::{format_of, name_of};
use super::{epub, gutenberg};
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
    let (mut bytes, mut unframed) = (0, 0);
    for file in share.track("pages", item.entries()) {
        let file = file?;
        rejections.tally.files += 1;
        let format = format_of(file.source().unwrap_or_default());
        let read = match format {
            Format::Html => page(file, limits)?.map(|html| (html.len(), of_page(html))),
            Format::Epub => book(file, limits, &mut rejections)?,
            format => text(file, encoding, limits)?.map(|text| (text.len(), of_text(text, format))),
        };
        match read {
            Ok((length, content)) => {
                bytes += length as u64;
                unframed += u64::from(
                    content.metadata.get(gutenberg::FRAMED).is_some_and(|framed| framed == "false"),
                );
                writer.push(&document(reading, file, content))?;
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
    if unframed > 0 {
        share.count("unframed", unframed);
    }
    share.value(&tally);
    Ok(())
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
    let stream = file.stream()?;
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

fn of_text(text: String, format: Format) -> Document {
    if format == Format::Gutenberg {
        return gutenberg::document(&text);
    }
    if format != Format::Markdown {
        // `clean` does not change source code.
        let code = (format == Format::Code).then(|| ("format".to_owned(), format.name().to_owned()));
        let license = code.as_ref().and_then(|_| license_of(&text)).unwrap_or_default();
        return Document { text, license, metadata: code.into_iter().collect(), ..Document::default() };
    }
    let body = without_front_matter(&text);
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

fn document(reading: &Reading, file: &LocalEntry, content: Document) -> Document {
    Document {
        id: id(file),
        url: if reading.url.is_empty() { String::new() } else { format!("{}/{}", reading.url, file.name()) },
        source: name_of(file.source().unwrap_or_default()).to_owned(),
        license: if content.license.is_empty() { reading.license.clone() } else { content.license },
        ..content
    }
}
