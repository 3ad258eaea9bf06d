//! A source in the config: its settings, and the files that it requests.

use super::columns::{ALL, Columns};
use super::encoding;
use super::enterprise;
use super::epub;
use super::format::{Compression, Format};
use super::gutenberg;
use super::mediawiki::{self, Sections, Selection};
use super::remote::{self, HuggingFace, Paths};
use super::rust_docs;
use super::warc;
use crate::documents::WithoutText;
use pipe_stage::{Links, Misfit, Pin, Places, RemoteRequest, RemoteRoot, SourceFile, SourceRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A source: `glob`, `paths`, `hf` or `rust-docs`, with settings for its files.
///
/// All files of a source have one format. The file extension in the glob determines it: `.html`, `.txt`, `.md`,
/// `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`, `.arrow`, `.warc`, `.wet`, `.arc`, `.epub`, those of source code (`.py`, `.rs`, `.c`, and
/// others), and the names of Wikimedia's dumps (`*pages-articles*.xml*.bz2`, `*ENTERPRISE-HTML*.tar.gz`). Text, source code, JSON, CSV and web archives may be compressed, as `.gz`, `.zst`, `.bz2` or `.xz`.
///
/// Pages of web archives have the columns `html` or `text`, `media_type`, the headers of their record by name
/// (`WARC-Target-URI`), those of the response (`http.last-modified`), `http.status` and `offset`. Text, page, media type,
/// address and date are mapped if `columns` does not map them. Pages of a MediaWiki export have the columns `id`, `title`,
/// `text`, `url`, `date`, `language`, `license`, `namespace`, `revision` and `site`; articles of Wikimedia Enterprise those
/// of its JSON. All that a document can have is mapped if `columns` does not map it, and the title is metadata.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// Books of the pinned Rust toolchain's documentation: `book`, `reference`, `rust-by-example`, `std`, `cargo`,
    /// `nomicon`, `error_codes` and others. Each becomes a source with its own name.
    #[serde(rename = "rust-docs")]
    pub rust_docs: Vec<String>,
    /// Glob of the files, relative to the project, such as `pages/**/*.html` or `data/*.jsonl.gz`; or the URL of a file
    /// (`https://example.org/a.jsonl.zst`) or of objects, with wildcards (`s3://bucket/data/**/*.parquet`, `gs://`, `az://`).
    pub glob: String,
    /// Files that a list names, such as web archives of Common Crawl. Their default format is `warc`.
    pub paths: Option<Box<Paths>>,
    /// A data set of Hugging Face's hub. Its licence is that of its documents, unless `license` or `columns.license` says
    /// something else.
    pub hf: Option<Box<HuggingFace>>,
    /// Format of the files, if the file extension does not determine it: `html`, `text`, `code`, `markdown`, `jsonl`,
    /// `json`, `csv`, `parquet`, `arrow`, `warc`, `mediawiki`, `wikipedia_html`, `gutenberg`, `epub`.
    pub format: Option<Format>,
    /// Which column of a record goes to which field, for `jsonl`, `json`, `csv`, `parquet`, `arrow`, `warc`,
    /// `mediawiki` and `wikipedia_html`.
    pub columns: Columns,
    /// Numbers of the namespaces of a MediaWiki export or a dump of Wikimedia Enterprise whose pages are documents. The
    /// default is `[0]`, the articles.
    pub namespaces: Vec<i32>,
    /// Sections of the pages of a MediaWiki export: `all`, or `prose` for all but those with references, external links
    /// and lists of related pages.
    pub sections: Sections,
    /// Field separator of CSV, one ASCII character. The default is a tab for `.tsv` files and a comma for others.
    pub delimiter: String,
    /// Quote character of CSV, one ASCII character; `""` if no field is quoted. The default is `"`.
    pub quote: Option<String>,
    /// Escape character of CSV, such as the `\\` of Spark and MySQL. By default there is none, and a quote within a
    /// quoted field is doubled.
    pub escape: String,
    /// Encoding of text, source code, JSON and CSV, by its name on the web, such as `windows-1251`, `shift_jis` or
    /// `utf-16le`. The default is UTF-8, or UTF-16 for files with its byte order mark. HTML pages declare their
    /// encoding themselves.
    pub encoding: String,
    /// Fraction of the documents to take, above 0 and up to 1. The choice depends on the hash of a document's id (or
    /// path, for single-document files), so a smaller sample is part of a larger one. The default takes all.
    pub fraction: Option<f64>,
    /// Maximum number of documents to take, chosen by the same hash. Files of records are then read twice. The
    /// default takes all.
    pub limit: Option<u64>,
    /// Name of the source, the first part of its documents' ids. The default is the last folder before the first
    /// wildcard of the glob (`data` for `data/*.csv`), or the name of a single file, for records without its extension.
    /// Set it to keep ids when files move.
    pub name: String,
    /// URL prefix for the paths of the files, such as `https://example.org`. Records have a column for their address.
    pub url: String,
    /// Licence of the documents, as an SPDX expression. It applies to records whose own licence is empty, and to source
    /// files that name none at their head.
    pub license: String,
}

impl Source {
    pub(super) fn check(&self, path: &str) -> Vec<Misfit> {
        let is_docs = !self.rust_docs.is_empty();
        let mut misfits = Vec::new();
        let kinds = [is_docs, !self.glob.is_empty(), self.paths.is_some(), self.hf.is_some()];
        if kinds.iter().filter(|is_set| **is_set).count() != 1 {
            misfits.push(Misfit::new(path, "needs one of `glob`, `paths`, `hf` and `rust-docs`"));
        }
        misfits.extend(remote::check_url(&format!("{path}.glob"), &self.glob));
        misfits.extend(self.paths.iter().flat_map(|paths| paths.check(&format!("{path}.paths"))));
        misfits.extend(self.hf.iter().flat_map(|hf| hf.check(&format!("{path}.hf"))));
        if is_docs && !(self.name.is_empty() && self.url.is_empty() && self.license.is_empty()) {
            let message = "has `name`, `url` or `license` with `rust-docs`, whose books have their own";
            misfits.push(Misfit::new(path, message));
        }
        for (position, name) in self.rust_docs.iter().enumerate() {
            if !is_name(name) {
                misfits
                    .push(Misfit::new(format!("{path}.rust-docs[{position}]"), "is not the name of a book"));
            }
        }
        if !self.name.is_empty() && !is_name(&self.name) {
            misfits.push(Misfit::new(format!("{path}.name"), "must be of letters, digits, `.`, `_` and `-`"));
        }
        misfits.extend(self.check_format(path));
        let fraction = self.fraction.unwrap_or(1.0);
        if !(fraction > 0.0 && fraction <= 1.0) {
            misfits.push(Misfit::new(format!("{path}.fraction"), "must be above 0 and at most 1"));
        }
        if self.limit.is_some_and(|take| !(1..=TAKE_MAX).contains(&take)) {
            misfits.push(Misfit::new(format!("{path}.limit"), format!("must be from 1 to {TAKE_MAX}")));
        }
        misfits
    }

    fn check_format(&self, path: &str) -> Vec<Misfit> {
        let (formats, unknown) = Format::of_glob(remote::pattern(&self.glob));
        let names = || formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(" and ");
        let (has_records, is_docs) = (self.format().has_records(), !self.rust_docs.is_empty());
        let has_columns = self.columns != Columns::default();
        let is_csv = self.format() == Format::Csv;
        let field = |name: &str| format!("{path}.{name}");
        let several = || format!("matches files of several formats: {}", names());
        let is_known = self.format.is_some() || self.glob.is_empty() || unknown.is_empty();
        let endings = unknown.iter().map(|ending| format!("`.{ending}`")).collect::<Vec<_>>().join(", ");
        let message = match unknown.iter().all(String::is_empty) {
            true => "has no file extension, so the format of its files is unknown".to_owned(),
            false => format!("matches files of an unknown format: {endings}"),
        };
        let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
        let character = "must be one ASCII character other than a line break";
        [
            Misfit::unless(is_known, &field("glob"), message).map(|misfit| match unknown[..] {
                ["xml"] => misfit.help(XML_HELP),
                _ => misfit.help(FORMAT_HELP),
            }),
            Misfit::unless(self.format.is_some() || formats.len() < 2, &field("glob"), several())
                .map(|misfit| misfit.help("make a source for each, or set one `format` for all")),
            Misfit::unless(
                !(is_docs && self.format.is_some()),
                &field("format"),
                "cannot be combined with `rust-docs`",
            ),
            Misfit::unless(has_records || !has_columns, &field("columns"), "is for files of records")
                .map(|misfit| misfit.help("if the file extension does not determine it, set `format`")),
            Misfit::unless(
                self.namespaces.is_empty()
                    || matches!(self.format(), Format::Mediawiki | Format::WikipediaHtml),
                &field("namespaces"),
                "is for exports of MediaWiki and dumps of Wikimedia Enterprise",
            ),
            Misfit::unless(
                self.sections == Sections::All || self.format() == Format::Mediawiki,
                &field("sections"),
                "is for exports of MediaWiki",
            ),
            Misfit::unless(self.delimiter.is_empty() || is_csv, &field("delimiter"), "is for CSV"),
            Misfit::unless(
                self.delimiter.is_empty() || self.delimiter_byte().is_some(),
                &field("delimiter"),
                "must be one ASCII character other than a quote or line break",
            ),
            Misfit::unless(self.quote.is_none() || is_csv, &field("quote"), "is for CSV"),
            Misfit::unless(
                self.quote.as_deref().is_none_or(is_empty_or_character),
                &field("quote"),
                character,
            ),
            Misfit::unless(self.escape.is_empty() || is_csv, &field("escape"), "is for CSV"),
            Misfit::unless(is_empty_or_character(&self.escape), &field("escape"), character),
            Misfit::unless(
                self.encoding.is_empty() || (self.format().is_text() && !is_docs),
                &field("encoding"),
                "is for text, source code, JSON and CSV",
            ),
            Misfit::unless(
                self.encoding.is_empty() || encoding::named(&self.encoding).is_some(),
                &field("encoding"),
                format!("is an unknown encoding: `{}`", self.encoding),
            )
            .map(|misfit| {
                misfit.help("use a name such as `windows-1251`, `iso-8859-2`, `shift_jis`, `gb18030`")
            }),
            Misfit::unless(
                !has_records || self.url.is_empty(),
                &field("url"),
                "is for files with one document each",
            )
            .map(|misfit| misfit.help("name the column with `columns.url`")),
            Misfit::unless(
                self.columns.metadata.iter().all(|(name, column)| !name.is_empty() && !column.is_empty()),
                &field("columns.metadata"),
                format!("has an empty name; `{ALL}` takes all columns"),
            ),
            Misfit::unless(
                !self.columns.are_without_text() || self.columns.metadata.iter().next().is_some(),
                &field("columns.metadata"),
                "is empty, but records without text (`text: null`) consist of metadata",
            )
            .map(|misfit| misfit.help("name the columns to read, such as `metadata: [messages]`")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The format of its files.
    pub(super) fn format(&self) -> Format {
        let of_kind = match (&self.paths, &self.hf) {
            (Some(_), _) => Some(Format::Warc),
            // Whichever its files have: they are records.
            (_, Some(_)) => Some(Format::Parquet),
            _ => Format::of_glob(remote::pattern(&self.glob)).0.first().copied(),
        };
        self.format.or(of_kind).unwrap_or_default()
    }

    /// The names that the metadata of its documents may have; `None` if its files determine them.
    pub(super) fn metadata_names(&self) -> Option<Vec<String>> {
        let of_format: &[&str] = match self.format() {
            _ if !self.rust_docs.is_empty() => &[],
            Format::Markdown => &["title"],
            Format::Code => &["format"],
            Format::Gutenberg => &gutenberg::METADATA,
            Format::Epub => &epub::METADATA,
            _ => &[],
        };
        let of_format = of_format.iter().map(|name| (*name).to_owned());
        let columns = self.columns_of_format();
        let is_known = columns.metadata.iter().all(|(_, column)| column != ALL);
        let of_columns = columns.metadata.iter().map(|(name, _)| name.to_owned());
        is_known.then(|| of_format.chain(of_columns).collect())
    }

    /// Whether it says where files are.
    fn has_files(&self) -> bool {
        !self.glob.is_empty() || self.paths.is_some() || self.hf.is_some()
    }

    /// Whether it leaves open where its files are.
    pub(super) fn is_of_input(&self) -> bool {
        !self.has_files() && self.rust_docs.is_empty()
    }

    /// Number of documents to take from the beginning of its files.
    pub(super) fn take(&self) -> Option<u64> {
        self.hf.as_ref().and_then(|hf| hf.take)
    }

    /// Which of its documents have no text.
    pub(super) fn without_text(&self) -> Option<WithoutText> {
        self.columns.are_without_text().then_some(WithoutText::All)
    }

    /// Which of its documents are pages whose text is yet to be extracted.
    pub(super) fn pages_of_html(&self) -> Option<WithoutText> {
        // The files of Common Crawl with the text of pages are `*.warc.wet.gz`.
        let is_text = || {
            let is_wet = self.paths.as_ref().is_some_and(|paths| paths.is_wet());
            is_wet || Compression::strip(remote::pattern(&self.glob)).ends_with(".wet")
        };
        match self.format() {
            Format::Html | Format::Epub | Format::WikipediaHtml => Some(WithoutText::All),
            Format::Warc if !is_text() => Some(WithoutText::Some),
            _ => None,
        }
    }

    /// Which columns are read: also those that all documents of the format have.
    pub(super) fn columns_of_format(&self) -> Columns {
        let mut columns = self.columns.clone();
        let Columns { id, text, html, url, license, date, language, media_type, metadata } = &mut columns;
        let defaults: Vec<(&mut String, &str)> = match self.format() {
            Format::Warc => vec![
                (text.get_or_insert_default(), warc::TEXT),
                (html, warc::HTML),
                (media_type, warc::MEDIA_TYPE),
                (url, warc::URL),
                (date, warc::DATE),
            ],
            Format::Mediawiki => {
                metadata.default_to([("title", mediawiki::TITLE)]);
                // A licence in the config is that of all pages.
                let license = self.license.is_empty().then_some((license, mediawiki::LICENSE));
                let others = [
                    (id, mediawiki::ID),
                    (text.get_or_insert_default(), mediawiki::TEXT),
                    (url, mediawiki::URL),
                    (date, mediawiki::DATE),
                    (language, mediawiki::LANGUAGE),
                ];
                others.into_iter().chain(license).collect()
            }
            Format::WikipediaHtml => {
                metadata.default_to([("title", enterprise::TITLE)]);
                vec![
                    (id, enterprise::ID),
                    (html, enterprise::HTML),
                    (url, enterprise::URL),
                    (license, enterprise::LICENSE),
                    (date, enterprise::DATE),
                    (language, enterprise::LANGUAGE),
                ]
            }
            _ => Vec::new(),
        };
        for (column, default) in defaults {
            if column.is_empty() {
                default.clone_into(column);
            }
        }
        columns
    }

    /// Which pages of a wiki are taken.
    pub(super) fn selection(&self) -> Selection {
        let mut namespaces = self.namespaces.clone();
        namespaces.sort_unstable();
        namespaces.dedup();
        Selection { namespaces, sections: self.sections }
    }

    /// The delimiter, if one is set.
    pub(super) fn delimiter_byte(&self) -> Option<u8> {
        match self.delimiter.as_bytes() {
            [byte] if byte.is_ascii() && !b"\"\r\n\0".contains(byte) => Some(*byte),
            _ => None,
        }
    }

    /// The largest sample hash that `fraction` takes; none if it takes all.
    pub(super) fn fraction_max(&self) -> Option<u64> {
        self.fraction.and_then(remote::hash_max)
    }

    /// Names of the sources that this entry expands to.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let of_files = self.has_files().then(|| self.files_name());
        self.rust_docs.iter().cloned().chain(of_files)
    }

    /// The label of its files.
    pub(super) fn label(&self) -> String {
        if self.hf.is_some() && self.format.is_none() {
            return format!("{}:{ANY}", self.files_name());
        }
        label(&self.files_name(), self.format())
    }

    /// The given name, or that of the list or data set, or the last folder of the glob without a pattern.
    fn files_name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        if let Some(name) = self.paths.as_ref().map(|paths| paths.name()) {
            return name;
        }
        if let Some(name) = self.hf.as_ref().map(|hf| hf.name()) {
            return name;
        }
        let (root, pattern) = split_glob(remote::pattern(&self.glob));
        let mut last = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if self.format().has_records() && pattern.is_empty() {
            // The name of a file of records without its extension, so that ids survive a change of format.
            last =
                Compression::strip(&last).rsplit_once('.').map_or(last.as_str(), |(stem, _)| stem).to_owned();
        }
        if is_name(&last) { last } else { "files".to_owned() }
    }

    /// Address and licence.
    pub(super) fn facts(&self, name: &str) -> (String, String) {
        if self.rust_docs.is_empty() {
            return (self.url.trim_end_matches('/').to_owned(), self.license.clone());
        }
        (format!("https://doc.rust-lang.org/{name}"), "MIT OR Apache-2.0".to_owned())
    }

    pub(super) fn requests(&self, path: &str, places: &Places) -> Result<Vec<SourceRequest>, Vec<Misfit>> {
        if self.rust_docs.is_empty() {
            let is_local = !self.glob.is_empty() && !remote::is_url(&self.glob);
            return Ok(is_local.then(|| self.glob_request(path, places)).into_iter().collect());
        }
        let docs = rust_docs::find(places).ok_or_else(|| {
            let message = "needs the documentation of the Rust toolchain, which is not installed";
            vec![Misfit::new(format!("{path}.rust-docs"), message).help(rust_docs::HELP)]
        })?;
        let request = |(position, book): (usize, &String)| {
            let field = format!("{path}.rust-docs[{position}]");
            let root = docs.folder.join(book);
            if !root.is_dir() {
                let message =
                    format!("the documentation in `{}` has no book `{book}`", docs.folder.display());
                return Err(Misfit::new(field, message).help(rust_docs::HELP));
            }
            Ok(SourceRequest {
                source: book.clone(),
                root,
                include: vec!["**/*.html".to_owned()],
                exclude: rust_docs::EXCLUDED.iter().map(|glob| (*glob).to_owned()).collect(),
                links: Links::Once,
                field,
                help: Some(rust_docs::HELP.to_owned()),
                pin: docs.toolchain.clone().map(|revision| Pin { name: "rust-docs".to_owned(), revision }),
            })
        };
        let (found, missing): (Vec<_>, Vec<_>) =
            self.rust_docs.iter().enumerate().map(request).partition(Result::is_ok);
        let missing: Vec<Misfit> = missing.into_iter().filter_map(Result::err).collect();
        if missing.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(missing) }
    }

    /// The files on servers.
    pub(super) fn remote_request(&self, path: &str, places: &Places) -> Option<RemoteRequest> {
        if let Some(paths) = &self.paths {
            return Some(paths.request(self.label(), path, places));
        }
        if let Some(hf) = &self.hf {
            return Some(hf.request(self.label(), path));
        }
        let root = RemoteRoot::Url { url: self.glob.clone() };
        let field = format!("{path}.glob");
        remote::is_url(&self.glob).then(|| RemoteRequest { source: self.label(), root, field })
    }

    fn glob_request(&self, path: &str, places: &Places) -> SourceRequest {
        let (root, pattern) = split_glob(remote::local(&self.glob));
        SourceRequest {
            source: self.label(),
            root: places.project.join(root),
            include: if pattern.is_empty() { Vec::new() } else { vec![pattern] },
            exclude: Vec::new(),
            links: Links::Once,
            field: format!("{path}.glob"),
            help: Some("the pattern is relative to the project, `**` matches any folders".to_owned()),
            pin: None,
        }
    }
}

const XML_HELP: &str = "if they are exports of a MediaWiki such as Wikipedia, set `format: mediawiki`; convert other XML first, \
    for example to JSON Lines";

const FORMAT_HELP: &str = "set `format` to one of `html`, `text`, `code`, `markdown`, `jsonl`, `json`, `csv`, \
    `parquet`, `arrow`, `warc`, `mediawiki`, `wikipedia_html`, `gutenberg`, `epub`; other archives, `.7z` files and office \
    documents have to be unpacked or converted first";

fn is_empty_or_character(text: &str) -> bool {
    match text.as_bytes() {
        [] => true,
        [byte] => byte.is_ascii() && !b"\r\n\0".contains(byte),
        _ => false,
    }
}

/// Maximum of `limit`: their hashes are held in memory.
const TAKE_MAX: u64 = 100_000_000;

/// The label of a source's files. It is part of keys, so it includes the format; HTML pages have no suffix, since
/// they came before other formats.
fn label(name: &str, format: Format) -> String {
    match format {
        Format::Html => name.to_owned(),
        format => format!("{name}:{}", format.name()),
    }
}

/// The format in the label of files that have any format of records.
const ANY: &str = "any";

/// The label of a file: where that of its source leaves the format open, with the format of the file's name.
pub(super) fn label_of(file: &SourceFile) -> String {
    match file.source.split_once(':') {
        Some((name, ANY)) => {
            let (formats, _) = Format::of_glob(&file.name);
            label(name, formats.first().copied().unwrap_or(Format::Jsonl))
        }
        _ => file.source.clone(),
    }
}

/// The name of the source with a label.
pub(super) fn name_of(label: &str) -> &str {
    label.split_once(':').map_or(label, |(name, _)| name)
}

/// The format of a label.
pub(super) fn format_of(label: &str) -> Format {
    label.split_once(':').and_then(|(_, format)| Format::named(format)).unwrap_or_default()
}

pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Splits a glob into the folders before its first pattern, and the pattern.
pub(crate) fn split_glob(glob: &str) -> (PathBuf, String) {
    let is_pattern = |part: &str| part.contains(['*', '?', '[', '{']);
    let parts: Vec<&str> = glob.split('/').collect();
    let at = parts.iter().position(|part| is_pattern(part)).unwrap_or(parts.len());
    let root = parts[..at].join("/");
    let root = if root.is_empty() && glob.starts_with('/') { "/".to_owned() } else { root };
    (PathBuf::from(root), parts[at..].join("/"))
}
