//! The token shard: a Parquet file of documents as lists of token ids. Nothing here depends on text, tokenizers or
//! models.
//!
//! ```text
//! shard.parquet                     zstd level 3, created by `pipe tokens 1`
//! ├── id    string                  the document's id
//! ├── ids   list<u16 | u32>         its token ids; u16 where the vocabulary has at most 65,536 tokens
//! └── file metadata
//!     ├── pipe.format               `tokens 1`
//!     ├── pipe.vocabulary_size      decimal; every id is smaller
//!     ├── pipe.tokenizer            hex BLAKE3 digest of the tokenizer.json that made the ids
//!     ├── pipe.documents            decimal
//!     └── pipe.tokens               decimal
//! ```
//!
//! Equal input gives equal bytes: row groups end at a fixed number of tokens, not at a memory estimate.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, PrimitiveArray, RecordBatch, StringArray, StringBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Schema, UInt16Type, UInt32Type};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use pipe_stage::{Kind, LocalEntry};
use roaring::RoaringBitmap;

use crate::{counted::counted, parquet::guarded};

/// Documents as lists of token ids, one Parquet file per shard.
pub static TOKENS: Kind = Kind {
    name: "tokens",
    about: "Parquet shards of documents as lists of token ids: id, ids.",
    materialize,
    look,
    check,
};

/// Names of the numbers of tokens and documents that stages report of a set.
pub(crate) fn metrics_of_set(set: &str) -> [String; 2] {
    ["tokens", "documents"].map(|what| format!("{what}_{set}"))
}

/// Revision of the format. History: 1: initial version.
const FORMAT: &str = "tokens 1";

/// A row group is closed once it has this many tokens or documents, so a reader's memory is bounded by the larger of
/// this and the longest document.
const ROW_GROUP_TOKENS: usize = 1 << 20;
const ROW_GROUP_DOCUMENTS: usize = 1 << 16;

/// Documents decoded at a time; few, since a document may be a book.
const BATCH_DOCUMENTS: usize = 64;

/// Why a token shard cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be opened.
    #[error("cannot open token shard `{path}`")]
    Open {
        /// The shard.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is Parquet, but not a token shard of a known revision.
    #[error("`{path}` is not a token shard: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A token id is outside the vocabulary.
    #[error("document `{document}` contains token {token}, but the vocabulary has {vocabulary_size} tokens")]
    OutOfVocabulary {
        /// The document's id.
        document: String,
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocabulary_size: u32,
    },
    /// The selection contains rows that the shard does not have.
    #[error("row {row} is selected of token shard `{path}`, which has {documents} documents")]
    Selection {
        /// The shard.
        path: PathBuf,
        /// The largest selected row.
        row: u32,
        /// The number of rows.
        documents: u64,
    },
    /// The shard cannot be written.
    #[error("cannot write token shard")]
    Write(#[source] ParquetError),
}

/// Metadata of a token shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensMetadata {
    /// Every id is smaller than this.
    pub vocabulary_size: u32,
    /// Hex BLAKE3 digest of the `tokenizer.json` that made the ids.
    pub tokenizer_digest: String,
    /// Number of documents in the whole shard, also of a view.
    pub documents: u64,
    /// Number of tokens in the whole shard, also of a view.
    pub tokens: u64,
}

/// Writes documents as lists of token ids; the format is described at the module.
pub struct TokensWriter<W: Write + Send> {
    parquet: ArrowWriter<W>,
    schema: Arc<Schema>,
    vocabulary_size: u32,
    documents: u64,
    tokens: u64,
    batch: Batch,
}

/// The rows of the next row group.
#[derive(Default)]
struct Batch {
    documents: StringBuilder,
    ids: Vec<u32>,
    ends: Vec<i32>,
}

impl<W: Write + Send> TokensWriter<W> {
    /// Creates a shard for ids below `vocabulary_size`, made by the tokenizer with this digest.
    pub fn new(file: W, vocabulary_size: u32, tokenizer_digest: &str) -> Result<Self, TokensError> {
        let element = if vocabulary_size <= 1 << 16 { DataType::UInt16 } else { DataType::UInt32 };
        let list = DataType::List(Arc::new(Field::new("item", element, false)));
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("ids", list, false),
        ]));
        let properties = WriterProperties::builder()
            .set_created_by(format!("pipe {FORMAT}"))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(None)
            .set_key_value_metadata(Some(vec![
                KeyValue::new("pipe.format".into(), FORMAT.to_owned()),
                KeyValue::new("pipe.vocabulary_size".into(), vocabulary_size.to_string()),
                KeyValue::new("pipe.tokenizer".into(), tokenizer_digest.to_owned()),
            ]))
            .build();
        let parquet =
            ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(TokensError::Write)?;
        Ok(Self { parquet, schema, vocabulary_size, documents: 0, tokens: 0, batch: Batch::default() })
    }

    /// Appends a document. Fails without effect if an id is outside the vocabulary.
    pub fn push(&mut self, document: &str, ids: &[u32]) -> Result<(), TokensError> {
        check_ids(document, ids, self.vocabulary_size)?;
        // Offsets within a row group are i32; a document that would overflow them starts a new group.
        if self.batch.ids.len() + ids.len() > i32::MAX as usize {
            self.flush()?;
        }
        self.batch.documents.append_value(document);
        self.batch.ids.extend_from_slice(ids);
        let end = i32::try_from(self.batch.ids.len()).map_err(|_| {
            TokensError::Write(ParquetError::General(format!("document `{document}` has over 2^31 tokens")))
        })?;
        self.batch.ends.push(end);
        self.documents += 1;
        self.tokens += ids.len() as u64;
        if self.batch.ids.len() >= ROW_GROUP_TOKENS || self.batch.ends.len() >= ROW_GROUP_DOCUMENTS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes pending rows and the footer, and returns the file.
    pub fn finish(mut self) -> Result<W, TokensError> {
        self.flush()?;
        for (name, value) in [("pipe.documents", self.documents), ("pipe.tokens", self.tokens)] {
            self.parquet.append_key_value_metadata(KeyValue::new(name.into(), value.to_string()));
        }
        self.parquet.into_inner().map_err(TokensError::Write)
    }

    fn flush(&mut self) -> Result<(), TokensError> {
        let Batch { mut documents, ids, ends } = std::mem::take(&mut self.batch);
        if ends.is_empty() {
            return Ok(());
        }
        let ids: ArrayRef = match self.schema.field(1).data_type() {
            DataType::List(element) if element.data_type() == &DataType::UInt16 => {
                let narrow = ids.into_iter().map(|id| id as u16).collect::<Vec<_>>();
                list::<UInt16Type>(Arc::clone(element), narrow, ends)
            }
            DataType::List(element) => list::<UInt32Type>(Arc::clone(element), ids, ends),
            other => unreachable!("invariant: the column of ids is a list, not {other}"),
        };
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(documents.finish()), ids])
            .map_err(|error| TokensError::Write(error.into()))?;
        self.parquet.write(&rows).and_then(|()| self.parquet.flush()).map_err(TokensError::Write)
    }
}

fn list<T: ArrowPrimitiveType>(element: Arc<Field>, ids: Vec<T::Native>, ends: Vec<i32>) -> ArrayRef {
    let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
    let values = PrimitiveArray::<T>::new(ScalarBuffer::from(ids), None);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Arc::new(GenericListArray::<i32>::new(element, offsets, Arc::new(values), None))
}

/// Reads a token shard, or its selected rows, one document at a time.
///
/// An iterator of (document id, token ids); it ends after an error. Every id is below `metadata().vocabulary_size`.
pub struct TokensReader {
    path: PathBuf,
    metadata: TokensMetadata,
    rows: ParquetRecordBatchReader,
    /// The current batch and its next row.
    batch: Option<(RecordBatch, usize)>,
    failed: bool,
}

impl TokensReader {
    /// Opens a shard; `selection` contains the rows to read, `None` means all.
    pub fn open(path: &Path, selection: Option<&RoaringBitmap>) -> Result<Self, TokensError> {
        let file = File::open(path).map_err(|source| TokensError::Open { path: path.to_owned(), source })?;
        let unreadable = |reason| TokensError::Format { path: path.to_owned(), reason };
        let (footer, _) = crate::parquet::open(&file).map_err(unreadable)?;
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer).with_batch_size(BATCH_DOCUMENTS);
        let metadata = metadata(&builder).map_err(unreadable)?;
        if let Some(selection) = selection {
            if let Some(row) = selection.max().filter(|&row| u64::from(row) >= metadata.documents) {
                let documents = metadata.documents;
                return Err(TokensError::Selection { path: path.to_owned(), row, documents });
            }
            let rows = selection.iter().map(|row| row as usize..row as usize + 1);
            let total = metadata.documents as usize;
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(rows, total));
        }
        let rows = guarded(|| builder.build()).map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), metadata, rows, batch: None, failed: false })
    }

    /// Metadata of the shard.
    pub fn metadata(&self) -> &TokensMetadata {
        &self.metadata
    }

    /// Opens an entry of an artifact without reading the whole file to verify it; of a view, only the selected rows. For
    /// commands that look something up in many shards.
    pub fn of_unverified(entry: &LocalEntry) -> pipe_stage::Result<Self> {
        Ok(Self::open(&entry.unverified_path(), entry.selection()?.as_ref())?)
    }

    fn next_document(&mut self) -> Result<Option<(String, Vec<u32>)>, TokensError> {
        loop {
            if let Some((batch, row)) = &mut self.batch
                && *row < batch.num_rows()
            {
                let document = batch.column(0).as_string::<i32>().value(*row).to_owned();
                let ids = batch.column(1).as_list::<i32>().value(*row);
                let ids: Vec<u32> = match ids.data_type() {
                    DataType::UInt16 => {
                        ids.as_primitive::<UInt16Type>().values().iter().map(|&id| u32::from(id)).collect()
                    }
                    _ => ids.as_primitive::<UInt32Type>().values().to_vec(),
                };
                *row += 1;
                check_ids(&document, &ids, self.metadata.vocabulary_size)?;
                return Ok(Some((document, ids)));
            }
            let rows = &mut self.rows;
            let unreadable = |reason| TokensError::Format { path: self.path.clone(), reason };
            let next = guarded(|| rows.next().transpose()).map_err(unreadable)?;
            let Some(batch) = next else { return Ok(None) };
            check_columns(&batch).map_err(unreadable)?;
            self.batch = Some((batch, 0));
        }
    }
}

impl Iterator for TokensReader {
    type Item = Result<(String, Vec<u32>), TokensError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let document = self.next_document();
        self.failed = document.is_err();
        document.transpose()
    }
}

impl TokensReader {
    /// Opens an entry of an artifact; of a view, only the selected rows.
    pub fn of_entry(entry: &LocalEntry) -> pipe_stage::Result<Self> {
        Ok(Self::open(&entry.path()?, entry.selection()?.as_ref())?)
    }
}

/// Calls `visit` with the row and the id of each document of a shard, or of the selected ones; token ids are not decoded.
///
/// # Errors
/// If the file cannot be read, or is no token shard.
pub fn each_id(
    path: &Path,
    selection: Option<&RoaringBitmap>,
    mut visit: impl FnMut(u32, &str),
) -> Result<(), TokensError> {
    const ROWS_AT_ONCE: usize = 4096;
    let file = File::open(path).map_err(|source| TokensError::Open { path: path.to_owned(), source })?;
    let unreadable = |reason| TokensError::Format { path: path.to_owned(), reason };
    let (footer, _) = crate::parquet::open(&file).map_err(unreadable)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer);
    metadata(&builder).map_err(unreadable)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    let builder = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE);
    let mut rows = guarded(|| builder.build()).map_err(unreadable)?;
    let mut row = 0_u32;
    while let Some(batch) = guarded(|| rows.next().transpose()).map_err(unreadable)? {
        let ids = batch.column_by_name("id").and_then(|ids| ids.as_string_opt::<i32>());
        let ids = ids.ok_or_else(|| unreadable("its column `id` is no text".to_owned()))?;
        for at in 0..ids.len() {
            if ids.is_valid(at) && selection.is_none_or(|selection| selection.contains(row)) {
                visit(row, ids.value(at));
            }
            row = row.saturating_add(1);
        }
    }
    Ok(())
}

/// Writes the selected documents as a separate token shard.
fn materialize(entry: &LocalEntry, path: &Path) -> pipe_stage::Result<()> {
    if !entry.is_view() {
        return entry.copy_to(path);
    }
    let tokens = TokensReader::of_entry(entry)?;
    let file = File::create(path).map_err(|error| pipe_stage::Error::io("write", path, &error))?;
    let TokensMetadata { vocabulary_size, tokenizer_digest, .. } = tokens.metadata().clone();
    let mut writer = TokensWriter::new(file, vocabulary_size, &tokenizer_digest)?;
    for document in tokens {
        let (document, ids) = document?;
        writer.push(&document, &ids)?;
    }
    writer.finish()?;
    Ok(())
}

/// Counts documents and tokens, and shows the beginning of the first documents.
fn look(entries: &[LocalEntry], lines_max: usize) -> pipe_stage::Result<String> {
    const IDS_SHOWN: usize = 16;
    let (mut documents, mut tokens, mut shown) = (0, 0, String::new());
    let mut left = lines_max.saturating_sub(1);
    let mut vocabulary_size = 0;
    for entry in entries {
        let mut shard = TokensReader::of_entry(entry)?;
        let of_shard = shard.metadata().clone();
        vocabulary_size = of_shard.vocabulary_size;
        // Only the selected documents of a view count, and only reading them tells how many tokens they have.
        let (is_view, mut of_view) = (entry.is_view(), 0);
        documents += match entry.selection()? {
            Some(selection) => selection.len(),
            None => of_shard.documents,
        };
        tokens += if is_view { 0 } else { of_shard.tokens };
        while is_view || left > 0 {
            let Some(document) = shard.next() else { break };
            let (document, ids) = document?;
            of_view += ids.len() as u64;
            if left == 0 {
                continue;
            }
            let first: Vec<String> = ids.iter().take(IDS_SHOWN).map(u32::to_string).collect();
            let more = if ids.len() > IDS_SHOWN { " …" } else { "" };
            shown += &format!("{document}  {} tokens: {}{more}\n", ids.len(), first.join(" "));
            left -= 1;
        }
        tokens += if is_view { of_view } else { 0 };
    }
    let (tokens, documents) = (counted(tokens, "token"), counted(documents, "document"));
    let shards = counted(entries.len() as u64, "shard");
    Ok(format!("{tokens} of a vocabulary of {vocabulary_size}, {documents} in {shards}\n{shown}"))
}

/// Reads every shard to its end.
fn check(entries: &[LocalEntry]) -> pipe_stage::Result<()> {
    for entry in entries {
        TokensReader::of_entry(entry)?.try_for_each(|document| document.map(drop))?;
    }
    Ok(())
}

impl From<TokensError> for pipe_stage::Error {
    fn from(error: TokensError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            // A full or failing disk is an error of the machine, not of the data.
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return Self::io("write or read", Path::new("a token shard"), error);
            }
            cause = error.source();
        }
        match std::error::Error::source(&error) {
            Some(source) => Self::input(format!("{error}: {source}")),
            None => Self::input(error.to_string()),
        }
    }
}

fn check_ids(document: &str, ids: &[u32], vocabulary_size: u32) -> Result<(), TokensError> {
    match ids.iter().max() {
        Some(&token) if token >= vocabulary_size => {
            Err(TokensError::OutOfVocabulary { document: document.to_owned(), token, vocabulary_size })
        }
        _ => Ok(()),
    }
}

/// Checks the file's schema and reads its metadata.
fn metadata(builder: &ParquetRecordBatchReaderBuilder<File>) -> Result<TokensMetadata, String> {
    let file = builder.metadata().file_metadata();
    let value = |name: &str| {
        let values = file.key_value_metadata().into_iter().flatten();
        let mut named = values.filter(|entry| entry.key == name).filter_map(|entry| entry.value.clone());
        named.next().ok_or_else(|| format!("its metadata lacks `{name}`"))
    };
    let number = |name: &str| {
        let text = value(name)?;
        text.parse::<u64>().map_err(|_| format!("`{name}` is `{text}`, not a number"))
    };
    let format = value("pipe.format")?;
    if format != FORMAT {
        return Err(format!("its format is `{format}`; this version reads `{FORMAT}`"));
    }
    let vocabulary_size = number("pipe.vocabulary_size")?;
    let metadata = TokensMetadata {
        vocabulary_size: u32::try_from(vocabulary_size)
            .map_err(|_| format!("a vocabulary of {vocabulary_size} tokens is too large"))?,
        tokenizer_digest: value("pipe.tokenizer")?,
        documents: number("pipe.documents")?,
        tokens: number("pipe.tokens")?,
    };
    let rows = u64::try_from(file.num_rows()).map_err(|_| "its number of rows is negative".to_owned())?;
    if rows != metadata.documents {
        return Err(format!("it has {rows} rows, but claims {} documents", metadata.documents));
    }
    let schema = builder.schema();
    let well_formed = schema.fields().len() == 2
        && schema.field(0).data_type() == &DataType::Utf8
        && matches!(schema.field(1).data_type(), DataType::List(element)
            if matches!(element.data_type(), DataType::UInt16 | DataType::UInt32));
    if !well_formed {
        return Err("its columns are not `id: string, ids: list<u16 | u32>`".to_owned());
    }
    Ok(metadata)
}

/// Parquet allows nulls; this format does not.
fn check_columns(batch: &RecordBatch) -> Result<(), String> {
    let documents: &StringArray = batch.column(0).as_string();
    let ids = batch.column(1).as_list::<i32>();
    if documents.null_count() + ids.null_count() + ids.values().null_count() > 0 {
        return Err("a document or a token is null".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Documents = Vec<(String, Vec<u32>)>;

    fn write(vocabulary_size: u32, documents: &[(String, Vec<u32>)]) -> Vec<u8> {
        let mut writer = TokensWriter::new(Vec::new(), vocabulary_size, "digest").unwrap();
        for (document, ids) in documents {
            writer.push(document, ids).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8], selection: Option<&RoaringBitmap>) -> Result<Documents, TokensError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        TokensReader::open(file.path(), selection)?.collect()
    }

    fn many(documents: u32) -> Documents {
        (0..documents)
            .map(|n| (format!("document-{n}"), (0..n % 700).map(|i| i * n % 4096).collect()))
            .collect()
    }

    proptest! {
        #[test]
        fn reads_back_the_selected_documents(
            documents: Vec<(String, Vec<u16>)>,
            wide: bool,
            kept: Vec<prop::sample::Index>,
        ) {
            let documents: Documents = documents
                .into_iter()
                .map(|(id, ids)| (id, ids.into_iter().map(u32::from).collect()))
                .collect();
            let bytes = write(if wide { 70_000 } else { 65_536 }, &documents);
            prop_assert_eq!(&read(&bytes, None).unwrap(), &documents);
            if !documents.is_empty() {
                let rows: RoaringBitmap = kept.iter().map(|row| row.index(documents.len()) as u32).collect();
                let expected: Documents = rows.iter().map(|row| documents[row as usize].clone()).collect();
                prop_assert_eq!(read(&bytes, Some(&rows)).unwrap(), expected);
            }
        }

        #[test]
        fn a_damaged_shard_is_an_error_not_a_panic(position: prop::sample::Index, flip in 1_u8..) {
            let mut bytes = write(4096, &many(50));
            let position = position.index(bytes.len());
            bytes[position] ^= flip;
            let _ = read(&bytes, None);
        }
    }

    #[test]
    fn selections_reach_across_row_groups() {
        let documents = many(6000);
        let bytes = write(4096, &documents);
        let rows: RoaringBitmap = (0..6000).filter(|row| row % 97 == 3).collect();
        let expected: Documents = rows.iter().map(|row| documents[row as usize].clone()).collect();
        assert!(documents.iter().map(|(_, ids)| ids.len()).sum::<usize>() > ROW_GROUP_TOKENS);
        assert_eq!(read(&bytes, Some(&rows)).unwrap(), expected);
    }

    #[test]
    fn bytes_are_stable() {
        let digest = |vocabulary_size| blake3::hash(&write(vocabulary_size, &many(300))).to_hex().to_string();
        assert_eq!(digest(4096), "231c96ee5898cd0739a8375d657a4f5e20851b1c446c6446e83cdd96dc91cc02");
        assert_eq!(digest(100_000), "ff68e23059d07c4f7eac62de27fcfa123417ba67820dbdd31f312e74d3834ef9");
    }

    #[test]
    fn metadata_tells_vocabulary_tokenizer_and_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), write(4096, &many(10))).unwrap();
        let expected = TokensMetadata {
            vocabulary_size: 4096,
            tokenizer_digest: "digest".into(),
            documents: 10,
            tokens: 45,
        };
        assert_eq!(TokensReader::open(file.path(), None).unwrap().metadata(), &expected);
    }

    #[test]
    fn ids_outside_the_vocabulary_are_refused() {
        let mut writer = TokensWriter::new(Vec::new(), 10, "digest").unwrap();
        let error = writer.push("a", &[3, 10]).unwrap_err();
        assert_eq!(error.to_string(), "document `a` contains token 10, but the vocabulary has 10 tokens");
        writer.push("b", &[9]).unwrap();
        assert_eq!(read(&writer.finish().unwrap(), None).unwrap(), [("b".to_owned(), vec![9])]);
    }

    #[test]
    fn rows_outside_the_shard_are_refused() {
        let error = read(&write(10, &[("a".into(), vec![1])]), Some(&RoaringBitmap::from([1]))).unwrap_err();
        assert!(error.to_string().starts_with("row 1 is selected of token shard"), "{error}");
    }

    #[test]
    fn other_parquet_files_are_refused() {
        let bytes = {
            let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false)]));
            ArrowWriter::try_new(Vec::new(), schema, None).unwrap().into_inner().unwrap()
        };
        let error = read(&bytes, None).unwrap_err();
        assert!(
            error.to_string().ends_with("is not a token shard: its metadata lacks `pipe.format`"),
            "{error}"
        );
    }
}
