//! Format and compression of a file, from its name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Formats of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One HTML page per file.
    #[default]
    Html,
    /// One document per file.
    Text,
    /// One document per file: source code, whose white space is kept.
    Code,
    /// One document per file. Its first heading is the title, and front matter is removed.
    Markdown,
    /// One JSON object per line.
    Jsonl,
    /// JSON objects: a list, or a sequence.
    Json,
    /// One document per row, below a header.
    Csv,
    /// One document per row.
    Parquet,
    /// One document per row of an Arrow file or stream (Feather, `save_to_disk`).
    Arrow,
    /// One document per page of a web archive: WARC, WET or ARC.
    Warc,
    /// One document per page of an export of MediaWiki, such as a dump of Wikipedia.
    Mediawiki,
    /// One document per article of a dump of Wikimedia Enterprise, which has HTML.
    #[serde(rename = "wikipedia_html")]
    WikipediaHtml,
    /// One document per file: a text of Project Gutenberg, without its frame.
    Gutenberg,
    /// One document per book.
    Epub,
}

impl Format {
    /// File extensions, without the dot.
    const ENDINGS: [(&str, Format); 20] = [
        ("html", Format::Html),
        ("htm", Format::Html),
        ("xhtml", Format::Html),
        ("txt", Format::Text),
        ("md", Format::Markdown),
        ("markdown", Format::Markdown),
        ("jsonl", Format::Jsonl),
        ("ndjson", Format::Jsonl),
        ("json", Format::Json),
        ("csv", Format::Csv),
        ("tsv", Format::Csv),
        ("parquet", Format::Parquet),
        ("pq", Format::Parquet),
        ("arrow", Format::Arrow),
        ("feather", Format::Arrow),
        ("ipc", Format::Arrow),
        ("warc", Format::Warc),
        ("wet", Format::Warc),
        ("arc", Format::Warc),
        ("epub", Format::Epub),
    ];

    /// Formats without an extension of their own.
    const OTHERS: [Format; 4] = [Format::Code, Format::Mediawiki, Format::WikipediaHtml, Format::Gutenberg];

    /// Extensions of source code, without the dot.
    const CODE: [&str; 62] = [
        "asm", "awk", "bash", "bat", "c", "cc", "clj", "cmake", "cpp", "cs", "css", "cu", "cxx", "d", "dart",
        "el", "erl", "ex", "exs", "f90", "fs", "go", "gradle", "groovy", "h", "hpp", "hs", "hxx", "java",
        "jl", "js", "jsx", "kt", "lisp", "lua", "m", "mjs", "ml", "mm", "nim", "php", "pl", "pm", "proto",
        "ps1", "py", "pyi", "r", "rb", "rs", "scala", "scm", "sh", "sql", "swift", "tcl", "toml", "ts",
        "tsx", "vim", "vue", "zig",
    ];

    /// The format of an extension.
    fn of_ending(ending: &str) -> Option<Self> {
        let known = Self::ENDINGS.into_iter().find(|(known, _)| *known == ending);
        let code = || Self::CODE.contains(&ending).then_some(Self::Code);
        known.map(|(_, format)| format).or_else(code)
    }

    /// The format of a file with a name of Wikimedia's: `enwiki-20240101-pages-articles1.xml-p1p41242.bz2`,
    /// `enwiki-NS0-20240101-ENTERPRISE-HTML.json.tar.gz`.
    fn of_dump(name: &str) -> Option<Self> {
        let is_export = ["pages-articles", "pages-meta"].iter().any(|part| name.contains(part));
        match () {
            () if is_export && name.contains(".xml") && !name.ends_with(".7z") => Some(Self::Mediawiki),
            () if name.contains("ENTERPRISE-HTML") && name.contains(".tar") => Some(Self::WikipediaHtml),
            () => None,
        }
    }

    /// Its name in configs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Text => "text",
            Self::Code => "code",
            Self::Markdown => "markdown",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Warc => "warc",
            Self::Mediawiki => "mediawiki",
            Self::WikipediaHtml => "wikipedia_html",
            Self::Gutenberg => "gutenberg",
            Self::Epub => "epub",
        }
    }

    /// The format with that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let known = Self::ENDINGS.into_iter().map(|(_, format)| format).chain(Self::OTHERS);
        known.into_iter().find(|format| format.name() == name)
    }

    /// Whether its files are text in some encoding.
    pub(super) const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Text | Self::Code | Self::Markdown | Self::Jsonl | Self::Json | Self::Csv | Self::Gutenberg
        )
    }

    /// Whether a file may hold several documents.
    pub(super) const fn has_records(self) -> bool {
        !matches!(self, Self::Html | Self::Text | Self::Code | Self::Markdown | Self::Gutenberg | Self::Epub)
    }

    /// Whether a file holds much besides documents: requests and redirects, pages about other pages.
    pub(super) const fn has_other_records(self) -> bool {
        matches!(self, Self::Warc | Self::Mediawiki | Self::WikipediaHtml)
    }

    /// Formats of the last part of a glob, such as `*.jsonl.gz` or `*.{csv,tsv}`, and its unknown extensions.
    pub(super) fn of_glob(glob: &str) -> (Vec<Self>, Vec<String>) {
        let last = glob.rsplit('/').next().unwrap_or_default();
        let (mut formats, mut unknown) = (Vec::new(), Vec::new());
        for name in alternatives(last) {
            let plain = Compression::strip(name.trim_end_matches('*')).trim_end_matches(['*', '.']);
            let ending = plain.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
            match Self::of_ending(&ending).or_else(|| Self::of_dump(&name)) {
                Some(format) if !formats.contains(&format) => formats.push(format),
                Some(_) => {}
                None => unknown.push(ending),
            }
        }
        (formats, unknown)
    }
}

/// The names that the braces of a glob expand to; at most a few hundred.
fn alternatives(glob: &str) -> Vec<String> {
    const MAX: usize = 256;
    let (mut open, mut plain) = (vec![glob.to_owned()], Vec::new());
    while let Some(glob) = open.pop() {
        let inner = glob.find('{').and_then(|start| {
            let mut depth = 0_u32;
            let mut borders = vec![start];
            for (at, c) in glob[start..].char_indices().map(|(at, c)| (start + at, c)) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => borders.push(at),
                    _ => {}
                }
                if depth == 0 {
                    borders.push(at);
                    return Some(borders);
                }
            }
            None
        });
        match inner {
            Some(borders) if open.len() + plain.len() < MAX => {
                let (start, end) = (borders[0], borders[borders.len() - 1]);
                let parts = borders.windows(2).rev().map(|pair| &glob[pair[0] + 1..pair[1]]);
                open.extend(parts.map(|part| format!("{}{part}{}", &glob[..start], &glob[end + 1..])));
            }
            _ => plain.push(glob),
        }
    }
    plain
}

/// The compression of a file, from its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    const ENDINGS: [(&str, Compression); 5] = [
        (".gz", Self::Gzip),
        (".zst", Self::Zstd),
        (".zstd", Self::Zstd),
        (".bz2", Self::Bzip2),
        (".xz", Self::Xz),
    ];

    /// Its name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    pub(super) fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let ending = Self::ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending));
        ending.map_or(Self::Plain, |(_, compression)| compression)
    }

    /// The name without its extension.
    pub(super) fn strip(name: &str) -> &str {
        let stripped = Self::ENDINGS.into_iter().find_map(|(ending, _)| {
            let at = name.len().checked_sub(ending.len()).filter(|at| name.is_char_boundary(*at))?;
            name[at..].eq_ignore_ascii_case(ending).then(|| &name[..at])
        });
        stripped.unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_tell_their_format() {
        let one = |glob: &str| match Format::of_glob(glob) {
            (formats, unknown) if formats.len() == 1 && unknown.is_empty() => Some(formats[0]),
            _ => None,
        };
        assert_eq!(one("data/*.jsonl"), Some(Format::Jsonl));
        assert_eq!(one("data/part-*.jsonl.gz"), Some(Format::Jsonl));
        assert_eq!(one("data/*.jsonl*"), Some(Format::Jsonl));
        assert_eq!(one("data/*.jsonl{,.gz,.zst}"), Some(Format::Jsonl));
        assert_eq!(one("data/**/*.{csv,tsv}.bz2"), Some(Format::Csv));
        assert_eq!(one("data/**/*.{csv,tsv}.{gz,bz2}"), Some(Format::Csv));
        assert_eq!(one("data/x.PARQUET"), Some(Format::Parquet));
        assert_eq!(one("docs/**/*.md"), Some(Format::Markdown));
        assert_eq!(one("src/**/*.{rs,toml}"), Some(Format::Code));
        assert_eq!(one("data/state.json"), Some(Format::Json));
        assert_eq!(one("crawl/*.warc.gz"), Some(Format::Warc));
        assert_eq!(one("crawl/*.{warc.wet.gz,arc.zst}"), Some(Format::Warc));
        assert_eq!(one("wiki/enwiki-*-pages-articles*.xml*.bz2"), Some(Format::Mediawiki));
        assert_eq!(one("dewiki-20240101-pages-articles1.xml-p1p297012.bz2"), Some(Format::Mediawiki));
        assert_eq!(one("wiki/*-NS0-*-ENTERPRISE-HTML.json.tar.gz"), Some(Format::WikipediaHtml));
        assert_eq!(one("books/*.epub"), Some(Format::Epub));
        assert_eq!(one("data/*.xml"), None);
        assert_eq!(one("enwiki-pages-meta-history1.xml-p1p844.7z"), None);
        assert_eq!(one("docs/**/*"), None);
        assert_eq!(one("docs/*.{html,rst}"), None);
        assert_eq!(one("docs/README"), None);
        assert_eq!(Format::of_glob("docs/*.{md,txt}"), (vec![Format::Markdown, Format::Text], vec![]));
        assert_eq!(Format::of_glob("docs/*.{md,pdf}"), (vec![Format::Markdown], vec!["pdf".to_owned()]));
    }

    #[test]
    fn formats_have_one_name() {
        for format in Format::ENDINGS.into_iter().map(|(_, format)| format).chain(Format::OTHERS) {
            assert_eq!(Format::named(format.name()), Some(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }

    #[test]
    fn names_tell_their_compression() {
        assert_eq!(Compression::of_name("a.jsonl.GZ"), Compression::Gzip);
        assert_eq!(Compression::of_name("a.zst"), Compression::Zstd);
        assert_eq!(Compression::of_name("a.bz2"), Compression::Bzip2);
        assert_eq!(Compression::of_name("a.csv.xz"), Compression::Xz);
        assert_eq!(Compression::of_name("a.gz.txt"), Compression::Plain);
        assert_eq!(Compression::strip("é.gz"), "é");
    }
}
