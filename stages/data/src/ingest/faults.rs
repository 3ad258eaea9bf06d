//! Why a record, or the rest of a file, cannot be read. All readers use these errors; nothing here depends on a
//! reader.

use super::inflate::Broken;

/// Maximum size of the metadata of a document, from columns.
pub(super) const METADATA_BYTES_MAX: usize = 1 << 20;
/// Maximum size of an id in bytes.
pub(super) const ID_BYTES_MAX: usize = 1024;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is not a JSON object: {0}")]
    Json(String),
    #[error("it has the key `{0}` twice in one object")]
    TwoKeys(String),
    #[error("it is longer than {0} bytes, four times the limit `page_mib_max`")]
    TooLong(u64),
    #[error("it is not UTF-8; if the file has another encoding, set `encoding`")]
    NotUtf8,
    #[error("its column `{column}` is {what}")]
    Unshown { column: String, what: String },
    #[error(
        "text follows a closing quote (lines {from} to {to}); if quotes are escaped by a character, set `escape`"
    )]
    AfterQuote { from: u64, to: u64 },
    #[error("it has {found} fields under {expected} columns")]
    Ragged { found: usize, expected: usize },
    #[error("it has no value in `{0}`, the column of the id")]
    NoId(String),
    #[error("its id is longer than {ID_BYTES_MAX} bytes or contains control characters")]
    BadId,
    #[error("it has no text in the column `{0}`")]
    NoText(String),
    #[error("it has no value in any column that `metadata` names")]
    NoMetadata,
    #[error("its column `{0}` is a list or an object, not text")]
    NotText(String),
    #[error("it has {bytes} bytes of text and metadata, more than {max}, the limit `page_mib_max`")]
    TooLarge { bytes: usize, max: usize },
    #[error(
        "its metadata has more than {METADATA_BYTES_MAX} bytes; the largest column is `{largest}` with {bytes} bytes"
    )]
    Metadata { largest: String, bytes: usize },
    #[error("an earlier record has the same id")]
    Duplicate,
    #[error("the record at byte {offset} is damaged: {damage}; reading goes on {}", behind(*offset, *next))]
    Damaged { offset: u64, next: u64, damage: String },
    #[error("its type is `{0}`, which is unknown")]
    RecordType(String),
    #[error("it is no HTTP response")]
    NoHttp,
    #[error("its content coding `{coding}` cannot be undone: {why}")]
    Coding { coding: String, why: String },
    #[error("it is damaged, or not text in a known encoding")]
    Undecodable,
    #[error("it is part of a record that spans several files")]
    Segment,
    #[error("its HTTP status is {0}")]
    Status(u16),
    #[error("its address begins with `{0}:`, which is no page")]
    Scheme(String),
    #[error("it is {}, neither HTML nor text", if .0.is_empty() { "binary data" } else { .0 })]
    MediaType(String),
    #[error("it has no content")]
    NoContent,
    #[error("it says that its content is that of an earlier capture")]
    Revisit,
    #[error("it is in the namespace {0}, which `namespaces` does not list")]
    Namespace(i32),
    #[error("it redirects to another page")]
    Moved,
    #[error("its content model is `{0}`, not wikitext")]
    ContentModel(String),
}

impl Fault {
    /// Number of rows that are lost, estimated from lines.
    pub(super) const fn lost(&self) -> u64 {
        match self {
            Self::AfterQuote { from, to } => *to - *from + 1,
            _ => 1,
        }
    }

    /// Stable name in reports.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::TwoKeys(_) => "duplicate_key",
            Self::TooLong(_) => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::Unshown { .. } => "not_text",
            Self::AfterQuote { .. } => "quote",
            Self::Ragged { .. } => "ragged",
            Self::NoId(_) => "no_id",
            Self::BadId => "bad_id",
            Self::NoText(_) => "no_text",
            Self::NoMetadata => "no_metadata",
            Self::NotText(_) => "not_text",
            Self::TooLarge { .. } => "too_large",
            Self::Metadata { .. } => "metadata_too_large",
            Self::Duplicate => "duplicate_id",
            Self::Damaged { .. } => "damaged",
            Self::RecordType(_) => "record_type",
            Self::NoHttp => "http",
            Self::Coding { .. } => "coding",
            Self::Undecodable => "undecodable",
            Self::Segment => "segment",
            Self::Status(_) => "status",
            Self::Scheme(_) => "address",
            Self::MediaType(_) => "media_type",
            Self::NoContent => "no_content",
            Self::Revisit => "revisit",
            Self::Namespace(_) => "namespace",
            Self::Moved => "redirect",
            Self::ContentModel(_) => "content_model",
        }
    }

    /// Whether the record can be read, and holds no page.
    pub(super) const fn is_no_page(&self) -> bool {
        matches!(
            self,
            Self::Status(_)
                | Self::Scheme(_)
                | Self::MediaType(_)
                | Self::NoContent
                | Self::Revisit
                | Self::Namespace(_)
                | Self::Moved
                | Self::ContentModel(_)
        )
    }
}

/// Why the rest of a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it has no row of column names")]
    NoHeader,
    #[error("its row of column names is not UTF-8, or too long")]
    BadHeader,
    #[error("it has no column `{missing}`; it has {}{}", found.join(", "), delimiter_hint(*delimiter))]
    NoColumn {
        missing: String,
        found: Vec<String>,
        /// The likely delimiter of the header.
        delimiter: Option<char>,
    },
    #[error("it has two columns `{0}`; rename one of them")]
    TwoColumns(String),
    #[error(
        "the rest of the file after row {row} is lost: the quote that opens in line {line} is never closed"
    )]
    Unclosed { row: u64, line: u64 },
    #[error("no WARC or ARC record begins in it: {0}")]
    NotWarc(String),
    #[error("it is not a MediaWiki export: it has no `<mediawiki>` element")]
    NotMediawiki,
    #[error("it is not a readable tar archive: {0}")]
    NotTar(String),
    #[error("it is not a readable Parquet file: {0}")]
    NotParquet(String),
    #[error("it is not a readable file or stream of Arrow: {0}")]
    NotArrow(String),
    #[error("the rest of the file after row {row} is not a list of JSON objects: {reason}")]
    NotJson { row: u64, reason: String },
    #[error("the rest of the file after row {row} cannot be read: {reason}")]
    After { row: u64, reason: String },
    #[error("the rest of the file after row {row} is lost: {broken}")]
    Inflating { row: u64, broken: Broken },
}

impl Unreadable {
    /// Stable name in reports.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::NoHeader | Self::BadHeader => "no_header",
            Self::NoColumn { .. } => "no_column",
            Self::TwoColumns(_) => "two_columns",
            Self::Unclosed { .. } => "unclosed_quote",
            Self::NotWarc(_) => "not_warc",
            Self::NotMediawiki => "not_mediawiki",
            Self::NotTar(_) => "not_tar",
            Self::NotParquet(_) => "not_parquet",
            Self::NotArrow(_) => "not_arrow",
            Self::NotJson { .. } => "json",
            Self::After { .. } => "damaged",
            Self::Inflating { broken, .. } => broken.code(),
        }
    }

    /// The last row that was read.
    pub(super) const fn row(&self) -> Option<u64> {
        match self {
            Self::After { row, .. }
            | Self::Inflating { row, .. }
            | Self::Unclosed { row, .. }
            | Self::NotJson { row, .. } => Some(*row),
            _ => None,
        }
    }
}

fn behind(offset: u64, next: u64) -> String {
    if next > offset { format!("at byte {next}") } else { "within its member".to_owned() }
}

fn delimiter_hint(delimiter: Option<char>) -> String {
    delimiter.map_or_else(String::new, |delimiter| format!("; set `delimiter: {:?}`", delimiter.to_string()))
}
