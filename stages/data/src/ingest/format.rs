//! What a file holds, by its name: its format, and what it is compressed with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the files of a source hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A page a file.
    #[default]
    Html,
    /// A document a file, UTF-8.
    Text,
    /// A document a file, UTF-8; a title is taken from its first heading, front matter is left out.
    Markdown,
    /// A document a line, as a JSON object.
    Jsonl,
    /// A document a row, under a row of column names.
    Csv,
    /// A document a row.
    Parquet,
}

impl Format {
    /// Endings of file names, without the dot.
    const ENDINGS: [(&str, Format); 12] = [
        ("html", Format::Html),
        ("htm", Format::Html),
        ("xhtml", Format::Html),
        ("txt", Format::Text),
        ("md", Format::Markdown),
        ("markdown", Format::Markdown),
        ("jsonl", Format::Jsonl),
        ("ndjson", Format::Jsonl),
        ("csv", Format::Csv),
        ("tsv", Format::Csv),
        ("parquet", Format::Parquet),
        ("pq", Format::Parquet),
    ];

    /// As in configs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The format of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ENDINGS.into_iter().map(|(_, format)| format).find(|format| format.name() == name)
    }

    /// Whether a file holds many documents.
    pub(super) const fn has_records(self) -> bool {
        matches!(self, Self::Jsonl | Self::Csv | Self::Parquet)
    }

    /// Formats that the last part of a glob names: `*.jsonl.gz`, `*.{csv,tsv}`. None for `*`.
    pub(super) fn of_glob(glob: &str) -> Vec<Self> {
        let last = glob.rsplit('/').next().unwrap_or_default();
        let mut formats = Vec::new();
        for alternative in last.split(['{', '}', ',']) {
            let plain = Compression::strip(alternative.trim_end_matches('*')).trim_end_matches(['*', '.']);
            let ending = plain.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
            let format = Self::ENDINGS.into_iter().find(|(known, _)| *known == ending);
            formats.extend(format.map(|(_, format)| format).filter(|format| !formats.contains(format)));
        }
        formats
    }
}

/// What a file is compressed with, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
}

impl Compression {
    const ENDINGS: [(&str, Compression); 4] =
        [(".gz", Self::Gzip), (".zst", Self::Zstd), (".zstd", Self::Zstd), (".bz2", Self::Bzip2)];

    pub(super) fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let ending = Self::ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending));
        ending.map_or(Self::Plain, |(_, compression)| compression)
    }

    /// The name without its ending.
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
        let one = |glob: &str| match Format::of_glob(glob)[..] {
            [format] => Some(format),
            _ => None,
        };
        assert_eq!(one("data/*.jsonl"), Some(Format::Jsonl));
        assert_eq!(one("data/part-*.jsonl.gz"), Some(Format::Jsonl));
        assert_eq!(one("data/*.jsonl*"), Some(Format::Jsonl));
        assert_eq!(one("data/*.jsonl{,.gz,.zst}"), Some(Format::Jsonl));
        assert_eq!(one("data/**/*.{csv,tsv}.bz2"), Some(Format::Csv));
        assert_eq!(one("data/x.PARQUET"), Some(Format::Parquet));
        assert_eq!(one("docs/**/*.md"), Some(Format::Markdown));
        assert_eq!(one("docs/**/*"), None);
        assert_eq!(Format::of_glob("docs/*.{md,txt}"), [Format::Markdown, Format::Text]);
    }

    #[test]
    fn names_tell_their_compression() {
        assert_eq!(Compression::of_name("a.jsonl.GZ"), Compression::Gzip);
        assert_eq!(Compression::of_name("a.zst"), Compression::Zstd);
        assert_eq!(Compression::of_name("a.bz2"), Compression::Bzip2);
        assert_eq!(Compression::of_name("a.gz.txt"), Compression::Plain);
        assert_eq!(Compression::strip("é.gz"), "é");
    }
}
