//! Files that are a document each: HTML as it was found, plain text, Markdown.

use super::format::{Compression, Format};
use super::inflate::inflate;
use super::rejected::Tally;
use super::source::{format_of, name_of};
use super::{PAGES, REJECTED};
use crate::clean::html::{Limits, Refusal, inspect};
use crate::documents::{Document, DocumentWriter};
use pipe_stage::{Error, Inputs, LocalEntry, Metric, Result, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::PathBuf;

/// What decides how the files of a source are read. Their format stands in their label, and so in the key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct Reading {
    pub(super) url: String,
    pub(super) license: String,
    pub(super) page_mib_max: u32,
    pub(super) elements_max: u32,
}

/// One line of `rejected`.
#[derive(Serialize)]
struct Rejection {
    id: String,
    reason: &'static str,
    explanation: String,
    bytes: u64,
}

pub(super) fn read_pages(reading: &Reading, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let limits =
        Limits { bytes_max: (reading.page_mib_max as usize) << 20, nodes_max: reading.elements_max as usize };
    let item = inputs.item();
    let place = PathBuf::from(item.name());
    let mut writer = DocumentWriter::new(share.file(PAGES.name())?)?;
    let mut rejections = Vec::new();
    let (mut tally, mut redirects, mut bytes) = (Tally::default(), 0, 0);
    for file in share.track("pages", item.entries()) {
        let file = file?;
        tally.files += 1;
        let read = match format_of(file.source().unwrap_or_default()) {
            Format::Html => page(file, limits)?.map(|html| (html.len(), of_page(html))),
            format => text(file, limits)?.map(|text| (text.len(), of_text(text, format))),
        };
        match read {
            Ok((length, content)) => {
                bytes += length as u64;
                writer.push(&document(reading, file, content))?;
            }
            Err(Refusal::Redirect(_)) => redirects += 1,
            Err(refusal) => {
                let rejection = Rejection {
                    id: id(file),
                    reason: refusal.code(),
                    explanation: refusal.to_string(),
                    bytes: file.size(),
                };
                serde_json::to_writer(&mut rejections, &rejection).expect("invariant: plain data");
                rejections.push(b'\n');
                tally.reject(rejection.id, rejection.explanation);
            }
        }
    }
    let documents = writer.rows();
    if documents > 0 {
        share.keep(writer.finish()?)?;
    }
    if !rejections.is_empty() {
        let mut file = share.file_with(REJECTED.name(), "jsonl")?;
        file.write_all(&rejections).map_err(|error| Error::io("write", &place, &error))?;
        share.keep(file)?;
    }
    share.count("documents", documents);
    share.metric(Metric::new("bytes", bytes as f64, "bytes"));
    share.count("redirects", redirects);
    share.metric(Metric::count("rejected", tally.rejected).lower_is_better());
    share.value(&tally);
    Ok(())
}

/// The bytes of a page, or why it is none. What is too large is not read.
fn page(file: &LocalEntry, limits: Limits) -> Result<Result<Vec<u8>, Refusal>> {
    if file.size() > limits.bytes_max as u64 {
        return Ok(Err(Refusal::TooLarge(file.size() as usize)));
    }
    let html = file.bytes()?;
    Ok(inspect(&html, limits).map(|()| html))
}

/// The text of a file, or why it has none. No more is read than a page may have.
fn text(file: &LocalEntry, limits: Limits) -> Result<Result<String, Refusal>> {
    let compression = Compression::of_name(file.name());
    if compression == Compression::Plain && file.size() > limits.bytes_max as u64 {
        return Ok(Err(Refusal::TooLarge(file.size() as usize)));
    }
    let mut stream = file.stream()?;
    let mut bytes = Vec::new();
    let read = inflate(&mut stream, compression, file.size())
        .and_then(|input| input.take(limits.bytes_max as u64 + 1).read_to_end(&mut bytes));
    stream.finish()?;
    Ok(match read {
        // The stream was whole, so what fails is the compressed data.
        Err(_) => Err(Refusal::Undecodable),
        Ok(_) if bytes.len() > limits.bytes_max => Err(Refusal::TooLarge(bytes.len())),
        Ok(_) => decoded(bytes),
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
    if format != Format::Markdown {
        return Document { text, ..Document::default() };
    }
    let body = without_front_matter(&text);
    let title = body.lines().find_map(|line| line.strip_prefix("# "));
    let title = title.map(|title| title.trim().trim_end_matches('#').trim_end().to_owned());
    let metadata = title.filter(|title| !title.is_empty()).map(|title| ("title".to_owned(), title));
    Document { text: body.to_owned(), metadata: metadata.into_iter().collect(), ..Document::default() }
}

/// Leaves out what stands between two lines of `---` at the head of a file.
fn without_front_matter(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else { return text };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        at += line.len();
        if line.trim_end() == "---" {
            return rest[at..].trim_start_matches(['\r', '\n']);
        }
    }
    text
}

fn id(file: &LocalEntry) -> String {
    format!("{}/{}", name_of(file.source().unwrap_or_default()), file.name())
}

fn document(reading: &Reading, file: &LocalEntry, content: Document) -> Document {
    Document {
        id: id(file),
        url: if reading.url.is_empty() { String::new() } else { format!("{}/{}", reading.url, file.name()) },
        source: name_of(file.source().unwrap_or_default()).to_owned(),
        license: reading.license.clone(),
        ..content
    }
}
