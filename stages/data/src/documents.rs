//! The documents format: `ingest` writes it, `clean` rewrites it, and everything up to `tokenize` reads it.
//!
//! Owns the schema, its Parquet encoding and the reading of views (a shard, a selection of its rows, added columns).
//! Nothing here depends on where files are, on stages or on caches.
//!
//! ```text
//! documents.parquet          zstd level 3, `created_by` fixed, no statistics, no Arrow schema
//! ├── key-value metadata     pipe.format = "documents", pipe.version = "1", or "2" with media types
//! └── row groups             at most 4,096 rows and about 32 MiB of values each
//!     ├── id        utf8     never empty; unique in an artifact: `<source>/<path relative to it>`
//!     ├── text      utf8     empty until `clean` has run; always for records read with `text: null`
//!     ├── html      binary?  the page as it was found; null once `clean` has run
//!     ├── media_type utf8    of the page, with its charset, as a server sent it; absent in version 1
//!     ├── url       utf8
//!     ├── source    utf8
//!     ├── language  utf8     ISO 639-1
//!     ├── license   utf8     SPDX
//!     ├── date      utf8     ISO 8601
//!     └── metadata  map<utf8, utf8>, keys in byte order
//!
//! added.parquet              the same settings; pipe.format = "added", pipe.version = "1", or "2" with f32
//! └── any columns            u64, u32, f32 or utf8, none null, as many rows as the shard they belong to
//! ```
//!
//! Equal documents give equal bytes: nothing in a file depends on a clock, the machine or the number of threads.

mod added;
mod facts;
mod kind;
mod known;
mod reader;
mod writer;

pub use added::{AddedColumn, AddedColumns, CLUSTER, CLUSTER_SIZE};
pub use facts::Fact;
pub(crate) use facts::{columns_of_facts, is_field};
pub use kind::DOCUMENTS;
pub(crate) use known::{
    METADATA_HELP, PAGES_OF_HTML, WITHOUT_TEXT, WithoutText, facts_of_metadata, facts_passed_on, has_no_text,
    lacks_anything, missing_metadata,
};
pub use known::{METADATA_NAMES, lacks_text, never_has};
pub use reader::{DocumentReader, Row};
pub use writer::DocumentWriter;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A document. All fields except `id` may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Unique name within an artifact: `<source>/<path relative to it>`.
    pub id: String,
    /// Plain text; empty until `clean` has run.
    pub text: String,
    /// The page as found, in its own encoding.
    pub html: Option<Vec<u8>>,
    /// Media type of the page with its parameters, as its server sent it: `text/html; charset=gbk`.
    pub media_type: String,
    /// Address of the page on the web.
    pub url: String,
    /// Name of its source.
    pub source: String,
    /// ISO 639-1 code, such as `en` or `zh`.
    pub language: String,
    /// SPDX expression.
    pub license: String,
    /// Column with the date in ISO 8601.
    pub date: String,
    /// Everything else that is known: title, scores, why it was dropped.
    pub metadata: BTreeMap<String, String>,
}

impl Document {
    /// Size of all values in bytes, which limits row groups and shards.
    pub fn bytes(&self) -> usize {
        let metadata: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        let html = self.html.as_ref().map_or(0, Vec::len);
        let names = self.id.len() + self.url.len() + self.source.len() + self.media_type.len();
        names + self.text.len() + html + self.language.len() + self.license.len() + self.date.len() + metadata
    }
}

/// The first 16 bytes of the digest of a text.
pub(crate) fn text_digest(text: &str) -> [u8; 16] {
    let digest = blake3::hash(text.as_bytes());
    std::array::from_fn(|at| digest.as_bytes()[at])
}

/// The near-duplicate cluster of a document, as `dedup` adds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Prefix of the digest that names the cluster; documents with the same value are duplicates of one text.
    pub id: u64,
    /// Number of documents in the cluster.
    pub size: u32,
}

/// A column of the documents format, for reading only what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the field of `Document` of the same name")]
pub enum Column {
    Id,
    Text,
    Html,
    MediaType,
    Url,
    Source,
    Language,
    License,
    Date,
    Metadata,
}

impl Column {
    /// All columns, in the order of the file.
    pub const ALL: [Column; 10] = [
        Column::Id,
        Column::Text,
        Column::Html,
        Column::MediaType,
        Column::Url,
        Column::Source,
        Column::Language,
        Column::License,
        Column::Date,
        Column::Metadata,
    ];

    /// The column's name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Id => "id",
            Column::Text => "text",
            Column::Html => "html",
            Column::MediaType => "media_type",
            Column::Url => "url",
            Column::Source => "source",
            Column::Language => "language",
            Column::License => "license",
            Column::Date => "date",
            Column::Metadata => "metadata",
        }
    }
}

/// Why documents cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum DocumentsError {
    #[error("cannot open `{path}`")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not a readable documents file: {reason}")]
    Read { path: PathBuf, reason: String },
    #[error("`{path}` has version {found} of the {format} format, which this program cannot read")]
    Version { path: PathBuf, format: &'static str, found: String },
    #[error("column `{column}` of `{path}` is {found}, not {expected}")]
    Column { path: PathBuf, column: String, expected: &'static str, found: String },
    #[error("`{path}` has no column `{column}`")]
    Missing { path: PathBuf, column: String },
    #[error("row {row} is selected, but `{path}` has {rows} rows")]
    Selection { path: PathBuf, row: u32, rows: u64 },
    #[error("`{path}` has {found} rows, but its shard has {expected}")]
    RowsDiffer { path: PathBuf, found: u64, expected: u64 },
    #[error("cannot write documents")]
    Write { source: std::io::Error },
    #[error("cannot encode documents: {0}")]
    Encode(String),
    #[error("document `{id}` has {bytes} bytes, more than the {max} that the format allows")]
    TooLarge { id: String, bytes: usize, max: usize },
    #[error("a document has no id")]
    NoId,
    #[error("{document} is an HTML page whose text has not been extracted")]
    NotCleaned { document: String },
    #[error("column `{column}` has {found} values, but other columns have {expected}")]
    Unaligned { column: String, found: usize, expected: usize },
}

impl DocumentsError {
    /// The error for what the Parquet library could not write. Errors of the output come wrapped in its own.
    fn of_writing(error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(source) => Self::Write { source: *source },
                Err(other) => Self::Encode(other.to_string()),
            },
            other => Self::Encode(other.to_string()),
        }
    }
}

/// Maximum size of a document in this format, in bytes of all its values.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 20;

const FORMAT_KEY: &str = "pipe.format";
const VERSION_KEY: &str = "pipe.version";
/// The version of documents without media types, and of added columns.
const VERSION: &str = "1";
/// The version of documents with media types.
const VERSION_2: &str = "2";
const CREATED_BY: &str = "pipe documents 1";
const ZSTD_LEVEL: i32 = 3;

/// Properties that fix the bytes of both formats. Statistics are omitted: no reader prunes by them, and the
/// truncation rules of the Parquet library would become part of the format.
fn properties(format: &str, version: &str) -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("invariant: a level that zstd has");
    let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(CREATED_BY.to_owned())
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(vec![pair(FORMAT_KEY, format), pair(VERSION_KEY, version)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use roaring::RoaringBitmap;
    use std::path::Path;

    fn bytes_of(documents: &[Document]) -> Vec<u8> {
        let mut writer = DocumentWriter::new(Vec::new()).unwrap();
        documents.iter().for_each(|document| writer.push(document).unwrap());
        writer.finish().unwrap()
    }

    fn file_of(folder: &Path, documents: &[Document]) -> PathBuf {
        let path = folder.join("shard.parquet");
        std::fs::write(&path, bytes_of(documents)).unwrap();
        path
    }

    fn numbered(count: usize) -> Vec<Document> {
        let document = |number: usize| Document {
            id: format!("book/{number}.html"),
            text: format!("Page {number}: 你好\n"),
            html: number.is_multiple_of(2).then(|| vec![b'<', number as u8]),
            metadata: BTreeMap::from([("title".into(), format!("Page {number}")), ("a".into(), "b".into())]),
            ..Document::default()
        };
        (0..count).map(document).collect()
    }

    fn read(reader: DocumentReader) -> Vec<(u32, Document)> {
        reader.rows().unwrap().map(|row| row.map(|row| (row.index, row.document)).unwrap()).collect()
    }

    #[test]
    fn gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let documents = numbered(1000);
        let path = file_of(folder.path(), &documents);
        let found: Vec<Document> =
            read(DocumentReader::open(path).unwrap()).into_iter().map(|(_, document)| document).collect();
        assert_eq!(found, documents);
    }

    #[test]
    fn equal_documents_give_equal_bytes() {
        let digest = blake3::hash(&bytes_of(&numbered(700))).to_hex();
        assert_eq!(&digest[..16], "d8dc87c814a50166");
    }

    #[test]
    fn a_file_without_documents_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(DocumentReader::open(file_of(folder.path(), &[])).unwrap()), []);
    }

    #[test]
    fn a_view_gives_its_rows_with_their_places_and_clusters() {
        let folder = tempfile::tempdir().unwrap();
        let path = file_of(folder.path(), &numbered(600));
        let clusters: Vec<Cluster> = (0..600).map(|row| Cluster { id: row << 40, size: 2 }).collect();
        let added = folder.path().join("added.parquet");
        std::fs::write(&added, AddedColumns::of_clusters(&clusters).write(Vec::new()).unwrap()).unwrap();
        let selection = RoaringBitmap::from_iter([0, 1, 130, 599]);
        let reader = DocumentReader::open(path).unwrap().select(Some(selection)).unwrap();
        let rows: Vec<Row> = reader
            .with_added(Some(&added))
            .unwrap()
            .columns(&[Column::Id])
            .rows()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 1, 130, 599]);
        assert_eq!(rows[2].document, Document { id: "book/130.html".into(), ..Document::default() });
        assert_eq!(rows[3].cluster, Some(Cluster { id: 599 << 40, size: 2 }));
    }

    #[test]
    fn a_selection_beyond_the_rows_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let reader = DocumentReader::open(file_of(folder.path(), &numbered(3))).unwrap();
        let error = reader.select(Some(RoaringBitmap::from_iter([3]))).unwrap_err();
        assert!(matches!(error, DocumentsError::Selection { row: 3, rows: 3, .. }));
    }

    #[test]
    fn added_columns_of_another_shard_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = file_of(folder.path(), &numbered(3));
        let added = folder.path().join("added.parquet");
        let clusters = [Cluster { id: 1, size: 1 }; 2];
        std::fs::write(&added, AddedColumns::of_clusters(&clusters).write(Vec::new()).unwrap()).unwrap();
        let error = DocumentReader::open(path).unwrap().with_added(Some(&added)).unwrap_err();
        assert!(matches!(error, DocumentsError::RowsDiffer { found: 2, expected: 3, .. }));
    }

    #[test]
    fn a_page_without_text_is_refused_by_readers_of_text() {
        let folder = tempfile::tempdir().unwrap();
        let mut documents = numbered(600);
        documents[5].text.clear();
        let read = |path: &Path, columns: &[Column]| -> Result<Vec<Row>, DocumentsError> {
            DocumentReader::open(path).unwrap().columns(columns).rows().unwrap().collect()
        };
        // An empty text without a page is a valid empty document.
        assert!(read(&file_of(folder.path(), &documents), &[Column::Id, Column::Text]).is_ok());
        documents[598].text.clear();
        let path = file_of(folder.path(), &documents);
        let error = read(&path, &[Column::Id, Column::Text]).unwrap_err();
        assert!(
            matches!(&error, DocumentsError::NotCleaned { document } if document.contains("book/598.html"))
        );
        assert!(pipe_stage::Error::from(error).to_string().contains("book/598.html"));
        assert!(read(&path, &[Column::Id]).is_ok());
        assert!(read(&path, &Column::ALL).is_ok());
        let reader = DocumentReader::open(path).unwrap().columns(&[Column::Text]);
        let selected = reader.select(Some(RoaringBitmap::from_iter([5, 599]))).unwrap();
        assert_eq!(selected.rows().unwrap().filter(Result::is_ok).count(), 2);
    }

    #[test]
    fn row_groups_are_read_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut documents = numbered(9000);
        documents[4500].text = "x".repeat(40 << 20);
        let path = file_of(folder.path(), &documents);
        assert_eq!(read(DocumentReader::open(&path).unwrap()).len(), 9000);
        let selection = RoaringBitmap::from_iter([0, 4095, 4096, 4499, 4500, 4501, 8999]);
        let reader = DocumentReader::open(path).unwrap().select(Some(selection.clone())).unwrap();
        let found = read(reader);
        assert_eq!(found.iter().map(|(index, _)| *index).collect::<RoaringBitmap>(), selection);
        assert!(found.iter().all(|(index, document)| *document == documents[*index as usize]));
    }

    #[test]
    fn large_documents_start_new_row_groups() {
        let large =
            |number| Document { id: format!("{number}"), text: "x".repeat(20 << 20), ..Document::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = file_of(folder.path(), &[large(1), large(2), large(3)]);
        let reader = parquet::file::reader::SerializedFileReader::try_from(path.as_path()).unwrap();
        assert_eq!(parquet::file::reader::FileReader::num_row_groups(&reader), 3);
    }

    /// An output on a full disk.
    struct Full {
        left: usize,
    }

    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.left = self.left.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_reported_as_such() {
        for left in [0, 4, 100] {
            let written = DocumentWriter::new(Full { left }).and_then(|mut writer| {
                numbered(10).iter().try_for_each(|document| writer.push(document))?;
                writer.finish().map(|_| ())
            });
            let error = written.unwrap_err();
            assert!(matches!(error, DocumentsError::Write { .. }), "{error:?}");
            assert_eq!(error.to_string(), "cannot write documents");
            let error = pipe_stage::Error::from(error);
            assert!(matches!(error, pipe_stage::Error::DiskFull { .. }), "{error:?}");
        }
        let source = std::io::Error::other("no luck");
        let error = pipe_stage::Error::from(DocumentsError::Write { source });
        assert_eq!(error.to_string(), "cannot write `a file of the cache`: no luck");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damaged_files_give_errors_or_documents_and_never_panics(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<Option<prop::sample::Index>>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = bytes_of(&numbered(40));
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let path = folder.path().join("damaged.parquet");
            std::fs::write(&path, bytes).unwrap();
            if let Ok(rows) = DocumentReader::open(path).and_then(DocumentReader::rows) {
                rows.for_each(drop);
            }
        }
    }
}
