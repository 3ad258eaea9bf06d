//! Documents from Parquet: a shard, or a view of one, row by row in bounded memory.

use super::{AddedColumns, Cluster, Column, Document, DocumentsError, FORMAT_KEY, VERSION, VERSION_KEY};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection,
};
use parquet::file::metadata::ParquetMetaData;
use roaring::RoaringBitmap;
use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Rows decoded at a time, which bounds memory: pages are read as they are needed, never a whole file.
const BATCH_ROWS: usize = 128;

/// A document with its place in the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Position among all rows of the shard, selected or not.
    pub index: u32,
    /// The document, with the columns that were asked for; the others are empty.
    pub document: Document,
    /// Its near-duplicate cluster, where `dedup` has added one.
    pub cluster: Option<Cluster>,
}

/// Reads the documents of a shard, or of a view of one, in the order of their rows.
///
/// ```no_run
/// # use pipe_data::documents::{Column, DocumentReader};
/// for row in DocumentReader::open("shard.parquet")?.columns(&[Column::Text]).rows()? {
///     println!("{} characters", row?.document.text.chars().count());
/// }
/// # Ok::<_, pipe_data::documents::DocumentsError>(())
/// ```
#[derive(Debug)]
pub struct DocumentReader {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    rows: u64,
    selection: Option<RoaringBitmap>,
    added: Option<AddedColumns>,
    columns: Vec<Column>,
}

impl DocumentReader {
    /// Opens a file and checks what can be checked without reading its documents.
    ///
    /// # Errors
    /// For files that cannot be opened, are no Parquet, are damaged, or have columns of other types.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DocumentsError> {
        let path = path.as_ref().to_owned();
        let (file, metadata) = open_parquet(&path, "documents")?;
        let rows = check_layout(&path, &file, metadata.metadata())?;
        check_columns(&path, &metadata)?;
        let columns = Column::ALL.to_vec();
        Ok(Self { path, file, metadata, rows, selection: None, added: None, columns })
    }

    /// Narrows to the rows of a selection.
    ///
    /// # Errors
    /// Where it names a row that the file does not have.
    pub fn select(mut self, selection: Option<RoaringBitmap>) -> Result<Self, DocumentsError> {
        if let Some(row) = selection.as_ref().and_then(RoaringBitmap::max)
            && u64::from(row) >= self.rows
        {
            return Err(DocumentsError::Selection { path: self.path, row, rows: self.rows });
        }
        self.selection = selection;
        Ok(self)
    }

    /// Adds the columns of another file, aligned to all rows of the shard.
    ///
    /// # Errors
    /// Where it cannot be read or has another number of rows.
    pub fn with_added(mut self, path: Option<&Path>) -> Result<Self, DocumentsError> {
        self.added = path.map(|path| AddedColumns::read_aligned(path, self.rows)).transpose()?;
        Ok(self)
    }

    /// Reads these columns only; fields of the others stay empty.
    #[must_use]
    pub fn columns(mut self, columns: &[Column]) -> Self {
        self.columns = columns.to_vec();
        self
    }

    /// Rows of the whole shard.
    pub fn rows_total(&self) -> u64 {
        self.rows
    }

    /// Rows that will be read.
    pub fn rows_selected(&self) -> u64 {
        self.selection.as_ref().map_or(self.rows, RoaringBitmap::len)
    }

    /// The added columns, for those that need others than the cluster.
    pub fn added(&self) -> Option<&AddedColumns> {
        self.added.as_ref()
    }

    /// Starts reading.
    ///
    /// # Errors
    /// Where the file turns out to be damaged; so does each row.
    pub fn rows(self) -> Result<impl Iterator<Item = Result<Row, DocumentsError>>, DocumentsError> {
        let Self { path, file, metadata, rows, selection, added, columns } = self;
        let indices = selection.unwrap_or_else(|| {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..rows as u32); // `check_layout` has seen that rows fit
            all
        });
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        let batches = guarded(&path, || {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let mask = ProjectionMask::columns(builder.parquet_schema(), names);
            let mut builder = builder.with_batch_size(BATCH_ROWS).with_projection(mask);
            if indices.len() < rows {
                let ranges = runs(&indices);
                builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(
                    ranges.into_iter(),
                    rows as usize,
                ));
            }
            builder.build().map_err(|error| error.to_string())
        })?;
        Ok(Rows { path, batches, batch: None, indices: indices.into_iter(), added, failed: false })
    }
}

/// Rows that a documents file has, from its footer alone.
///
/// # Errors
/// As [`DocumentReader::open`].
pub fn rows_in(path: impl AsRef<Path>) -> Result<u64, DocumentsError> {
    DocumentReader::open(path).map(|reader| reader.rows)
}

struct Rows {
    path: PathBuf,
    batches: ParquetRecordBatchReader,
    batch: Option<(RecordBatch, usize)>,
    indices: roaring::bitmap::IntoIter,
    added: Option<AddedColumns>,
    failed: bool,
}

impl Iterator for Rows {
    type Item = Result<Row, DocumentsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.advance();
        self.failed = row.is_err();
        row.transpose()
    }
}

impl Rows {
    fn advance(&mut self) -> Result<Option<Row>, DocumentsError> {
        let Some(index) = self.indices.next() else { return Ok(None) };
        let (batch, at) = match self.batch.take() {
            Some((batch, at)) if at < batch.num_rows() => (batch, at),
            _ => (self.next_batch()?, 0),
        };
        let document = document(&batch, at);
        self.batch = Some((batch, at + 1));
        let cluster = self.added.as_ref().and_then(|added| added.cluster(index));
        Ok(Some(Row { index, document, cluster }))
    }

    fn next_batch(&mut self) -> Result<RecordBatch, DocumentsError> {
        let batch = guarded(&self.path, || match self.batches.next() {
            Some(batch) => batch.map_err(|error| error.to_string()),
            None => Err("it has fewer rows than its footer says".to_owned()),
        })?;
        if batch.num_rows() == 0 {
            return Err(damaged(&self.path, "an empty batch"));
        }
        Ok(batch)
    }
}

fn document(batch: &RecordBatch, row: usize) -> Document {
    let text = |column: Column| {
        let array = batch.column_by_name(column.name()).and_then(|array| array.as_string_opt::<i32>());
        array.map_or_else(String::new, |array| string_at(array, row))
    };
    let html = batch.column_by_name(Column::Html.name()).and_then(|array| array.as_binary_opt::<i32>());
    let metadata = batch.column_by_name(Column::Metadata.name()).and_then(|array| array.as_map_opt());
    Document {
        id: text(Column::Id),
        text: text(Column::Text),
        html: html.filter(|array| array.is_valid(row)).map(|array| array.value(row).to_vec()),
        url: text(Column::Url),
        source: text(Column::Source),
        language: text(Column::Language),
        license: text(Column::License),
        date: text(Column::Date),
        metadata: metadata.map_or_else(Default::default, |maps| {
            let pairs = if maps.is_valid(row) {
                maps.value_offsets()[row]..maps.value_offsets()[row + 1]
            } else {
                0..0
            };
            let (keys, values) = (maps.keys().as_string::<i32>(), maps.values().as_string::<i32>());
            pairs.map(|at| (string_at(keys, at as usize), string_at(values, at as usize))).collect()
        }),
    }
}

fn string_at(array: &StringArray, row: usize) -> String {
    if array.is_valid(row) { array.value(row).to_owned() } else { String::new() }
}

/// Stretches of consecutive rows.
fn runs(rows: &RoaringBitmap) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows.iter().map(|row| row as usize) {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

/// Opens a Parquet file of ours, or one without our marks: then its columns decide.
pub(super) fn open_parquet(
    path: &Path,
    format: &'static str,
) -> Result<(File, ArrowReaderMetadata), DocumentsError> {
    let file = File::open(path).map_err(|source| DocumentsError::Open { path: path.to_owned(), source })?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata =
        guarded(path, || ArrowReaderMetadata::load(&file, options).map_err(|error| error.to_string()))?;
    let marks = metadata.metadata().file_metadata().key_value_metadata();
    let mark = |key: &str| marks?.iter().find(|pair| pair.key == key)?.value.clone();
    match (mark(FORMAT_KEY), mark(VERSION_KEY)) {
        (Some(found), _) if found != format => {
            Err(damaged(path, &format!("it is a file of {found}, not of {format}")))
        }
        (Some(_), Some(found)) if found != VERSION => {
            Err(DocumentsError::Version { path: path.to_owned(), format, found })
        }
        _ => Ok((file, metadata)),
    }
}

/// Refuses footers that promise what the file cannot hold, before anything is allocated by them.
pub(crate) fn check_layout(
    path: &Path,
    file: &File,
    metadata: &ParquetMetaData,
) -> Result<u64, DocumentsError> {
    let size =
        file.metadata().map_err(|source| DocumentsError::Open { path: path.to_owned(), source })?.len();
    let mut rows = 0u64;
    for group in metadata.row_groups() {
        let group_rows =
            u64::try_from(group.num_rows()).map_err(|_| damaged(path, "a negative row count"))?;
        rows = rows.saturating_add(group_rows);
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let fits = start >= 0
                && column.data_page_offset() >= 0
                && column.compressed_size() >= 0
                && end.and_then(|end| u64::try_from(end).ok()).is_some_and(|end| end <= size);
            if !fits {
                return Err(damaged(path, "a column reaches beyond the end of the file"));
            }
        }
    }
    let promised = u64::try_from(metadata.file_metadata().num_rows()).ok();
    if promised != Some(rows) || rows > u64::from(u32::MAX) {
        return Err(damaged(path, "its row counts disagree"));
    }
    Ok(rows)
}

fn check_columns(path: &Path, metadata: &ArrowReaderMetadata) -> Result<(), DocumentsError> {
    for column in Column::ALL {
        let Ok(field) = metadata.schema().field_with_name(column.name()) else {
            if column == Column::Id {
                return Err(DocumentsError::Missing { path: path.to_owned(), column: "id".into() });
            }
            continue;
        };
        let (expected, matches) = match column {
            Column::Html => ("binary", field.data_type() == &DataType::Binary),
            Column::Metadata => ("a map of utf8 to utf8", is_map_of_text(field.data_type())),
            _ => ("utf8", field.data_type() == &DataType::Utf8),
        };
        if !matches {
            let found = field.data_type().to_string();
            return Err(DocumentsError::Column {
                path: path.to_owned(),
                column: column.name().into(),
                expected,
                found,
            });
        }
    }
    Ok(())
}

fn is_map_of_text(found: &DataType) -> bool {
    let DataType::Map(entries, _) = found else { return false };
    let DataType::Struct(fields) = entries.data_type() else { return false };
    fields.len() == 2 && fields.iter().all(|field| field.data_type() == &DataType::Utf8)
}

pub(super) fn damaged(path: &Path, reason: &str) -> DocumentsError {
    DocumentsError::Read { path: path.to_owned(), reason: reason.to_owned() }
}

/// Runs a call into the Parquet library, which panics on some damaged files where it should fail.
pub(crate) fn guarded<T>(path: &Path, call: impl FnOnce() -> Result<T, String>) -> Result<T, DocumentsError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("the file is damaged".to_owned()))
        .map_err(|reason| damaged(path, &reason))
}
