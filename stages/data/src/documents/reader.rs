//! Reads documents from Parquet: a shard, or a view of one, row by row in bounded memory.

use super::{
    AddedColumns, Cluster, Column, Document, DocumentsError, FORMAT_KEY, VERSION, VERSION_2, VERSION_KEY,
};
use crate::parquet::{batch_rows, guarded, with_views};
use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use roaring::RoaringBitmap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum rows decoded at a time; fewer if documents are large.
const BATCH_ROWS_MAX: u64 = 128;

/// A document with its position in the shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Position among all rows of the shard, selected or not.
    pub index: u32,
    /// The document, with the requested columns; the others are empty.
    pub document: Document,
    /// Its near-duplicate cluster, if `dedup` has added one.
    pub cluster: Option<Cluster>,
    /// All added columns of the shard; see [`Row::fact`].
    pub added: Option<Arc<AddedColumns>>,
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
    added: Option<Arc<AddedColumns>>,
    columns: Vec<Column>,
}

impl DocumentReader {
    /// Opens a file and checks everything that can be checked without reading documents.
    ///
    /// # Errors
    /// If the file cannot be opened, is not Parquet, is damaged, or has columns of other types.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DocumentsError> {
        let path = path.as_ref().to_owned();
        let (file, metadata, rows) = open_parquet(&path, "documents", &[VERSION, VERSION_2])?;
        let metadata = with_views(metadata).map_err(|reason| damaged(&path, reason))?;
        check_columns(&path, &metadata)?;
        let columns = Column::ALL.to_vec();
        Ok(Self { path, file, metadata, rows, selection: None, added: None, columns })
    }

    /// Restricts the rows to a selection.
    ///
    /// # Errors
    /// If the selection contains a row that the file does not have.
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
    /// If it cannot be read or has a different number of rows.
    pub fn with_added(mut self, path: Option<&Path>) -> Result<Self, DocumentsError> {
        self.added = path.map(|path| AddedColumns::read_aligned(path, self.rows)).transpose()?.map(Arc::new);
        Ok(self)
    }

    /// Reads only these columns; other fields are empty.
    #[must_use]
    pub fn columns(mut self, columns: &[Column]) -> Self {
        self.columns = columns.to_vec();
        self
    }

    /// Number of rows of the whole shard.
    pub fn rows_total(&self) -> u64 {
        self.rows
    }

    /// Number of rows that will be read.
    pub fn rows_selected(&self) -> u64 {
        self.selection.as_ref().map_or(self.rows, RoaringBitmap::len)
    }

    /// Whether the documents may have media types.
    pub fn has_media_types(&self) -> bool {
        self.metadata.schema().field_with_name(Column::MediaType.name()).is_ok()
    }

    /// The added columns, for callers that need others than the cluster.
    pub fn added(&self) -> Option<&AddedColumns> {
        self.added.as_deref()
    }

    /// Starts reading.
    ///
    /// # Errors
    /// If the file turns out to be damaged; so can each row. If the text is requested without the page, a page
    /// without text is an error: `clean` must run first.
    pub fn rows(self) -> Result<impl Iterator<Item = Result<Row, DocumentsError>>, DocumentsError> {
        let Self { path, file, metadata, rows, selection, added, columns } = self;
        let mut groups = Vec::new();
        let mut first = 0;
        for group in metadata.metadata().row_groups() {
            let end = first + group.num_rows().max(0) as u64;
            groups.push(Group {
                rows: first..end,
                batch_rows: batch_rows(group.total_byte_size(), group.num_rows(), BATCH_ROWS_MAX),
            });
            first = end;
        }
        let indices = selection.unwrap_or_else(|| {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..rows as u32); // `parquet::open` has checked that rows fit
            all
        });
        let reads_text = columns.contains(&Column::Text) && !columns.contains(&Column::Html);
        let source = Source { path, file, metadata, groups, columns };
        let next = indices.clone().into_iter();
        Ok(Rows {
            source,
            indices,
            next,
            group: None,
            added,
            is_page: IsPage::unless(!reads_text),
            failed: false,
        })
    }
}

/// A row group: its rows, and how many are decoded at a time.
struct Group {
    rows: Range<u64>,
    batch_rows: usize,
}

/// The source of the rows.
struct Source {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    groups: Vec<Group>,
    columns: Vec<Column>,
}

impl Source {
    /// Starts reading the selected rows of a group.
    fn batches(
        &self,
        group: usize,
        indices: &RoaringBitmap,
        columns: &[Column],
    ) -> Result<ParquetRecordBatchReader, DocumentsError> {
        let Group { rows, batch_rows } = &self.groups[group];
        let unreadable = |reason| damaged(&self.path, reason);
        let file = self.file.try_clone().map_err(|error| unreadable(error.to_string()))?;
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(*batch_rows);
        builder = {
            let mask = ProjectionMask::columns(builder.parquet_schema(), names);
            builder.with_projection(mask)
        };
        let selected = indices.range(rows.start as u32..rows.end as u32);
        let runs = runs(selected.map(|index| (u64::from(index) - rows.start) as usize));
        let all = (rows.end - rows.start) as usize;
        let is_whole = runs.len() == 1 && runs[0] == (0..all);
        if !is_whole {
            builder =
                builder.with_row_selection(RowSelection::from_consecutive_ranges(runs.into_iter(), all));
        }
        guarded(|| builder.build()).map_err(unreadable)
    }

    fn next_batch(&self, batches: &mut ParquetRecordBatchReader) -> Result<RecordBatch, DocumentsError> {
        let batch = guarded(|| match batches.next() {
            Some(batch) => batch.map_err(|error| error.to_string()),
            None => Err("it has fewer rows than its footer says".to_owned()),
        });
        match batch {
            Ok(batch) if batch.num_rows() == 0 => Err(damaged(&self.path, "an empty batch")),
            batch => batch.map_err(|reason| damaged(&self.path, reason)),
        }
    }
}

/// Whether rows without text are pages; read for a whole group when the first such row occurs.
enum IsPage {
    NotAsked,
    Unread,
    Of { group: usize, pages: RoaringBitmap },
}

impl IsPage {
    fn unless(is_not_asked: bool) -> Self {
        if is_not_asked { Self::NotAsked } else { Self::Unread }
    }
}

/// The batches of a group, and the current batch with its next row.
struct Reading {
    group: usize,
    batches: ParquetRecordBatchReader,
    batch: Option<(RecordBatch, usize)>,
}

struct Rows {
    source: Source,
    indices: RoaringBitmap,
    /// Selected rows that have not been read yet.
    next: roaring::bitmap::IntoIter,
    group: Option<Reading>,
    added: Option<Arc<AddedColumns>>,
    is_page: IsPage,
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
        let Some(index) = self.next.next() else { return Ok(None) };
        let reading = match self.group.take() {
            Some(reading) if self.source.groups[reading.group].rows.contains(&u64::from(index)) => reading,
            _ => {
                let group = self.source.groups.partition_point(|group| group.rows.end <= u64::from(index));
                let batches = self.source.batches(group, &self.indices, &self.source.columns)?;
                Reading { group, batches, batch: None }
            }
        };
        let reading = self.group.insert(reading);
        let (batch, at) = match reading.batch.take() {
            Some((batch, at)) if at < batch.num_rows() => (batch, at),
            _ => (self.source.next_batch(&mut reading.batches)?, 0),
        };
        let document = document(&batch, at);
        reading.batch = Some((batch, at + 1));
        if document.text.is_empty() && self.is_page(index)? {
            let document = match document.id.as_str() {
                "" => format!("the document in row {index} of `{}`", self.source.path.display()),
                id => format!("document `{id}`"),
            };
            return Err(DocumentsError::NotCleaned { document });
        }
        let cluster = self.added.as_ref().and_then(|added| added.cluster(index));
        Ok(Some(Row { index, document, cluster, added: self.added.clone() }))
    }

    /// Whether a row of the current group holds a page.
    fn is_page(&mut self, index: u32) -> Result<bool, DocumentsError> {
        let group = self.group.as_ref().map_or(0, |reading| reading.group);
        match &self.is_page {
            IsPage::NotAsked => return Ok(false),
            IsPage::Of { group: own, pages } if *own == group => return Ok(pages.contains(index)),
            _ => {}
        }
        let mut pages = RoaringBitmap::new();
        if self.source.metadata.schema().field_with_name(Column::Html.name()).is_ok() {
            let rows = &self.source.groups[group].rows;
            let mut selected = self.indices.range(rows.start as u32..rows.end as u32).peekable();
            let mut batches = self.source.batches(group, &self.indices, &[Column::Html])?;
            while selected.peek().is_some() {
                let batch = self.source.next_batch(&mut batches)?;
                let html = batch.column(0);
                for (at, index) in (0..batch.num_rows()).zip(selected.by_ref()) {
                    if html.is_valid(at) {
                        pages.insert(index);
                    }
                }
            }
        }
        let is_page = pages.contains(index);
        self.is_page = IsPage::Of { group, pages };
        Ok(is_page)
    }
}

fn document(batch: &RecordBatch, row: usize) -> Document {
    let text = |column: Column| {
        let array = batch.column_by_name(column.name()).and_then(|array| array.as_string_view_opt());
        array.map_or_else(String::new, |array| string_at(array, row))
    };
    let html = batch.column_by_name(Column::Html.name()).and_then(|array| array.as_binary_view_opt());
    let metadata = batch.column_by_name(Column::Metadata.name()).and_then(|array| array.as_map_opt());
    Document {
        id: text(Column::Id),
        text: text(Column::Text),
        html: html.filter(|array| array.is_valid(row)).map(|array| array.value(row).to_vec()),
        media_type: text(Column::MediaType),
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
            let (keys, values) = (maps.keys().as_string_view(), maps.values().as_string_view());
            pairs.map(|at| (string_at(keys, at as usize), string_at(values, at as usize))).collect()
        }),
    }
}

fn string_at(array: &StringViewArray, row: usize) -> String {
    if array.is_valid(row) { array.value(row).to_owned() } else { String::new() }
}

/// Ranges of consecutive rows.
fn runs(rows: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

/// Opens a Parquet file of this format, or one without its metadata if the columns match.
pub(super) fn open_parquet(
    path: &Path,
    format: &'static str,
    versions: &[&str],
) -> Result<(File, ArrowReaderMetadata, u64), DocumentsError> {
    let file = File::open(path).map_err(|source| DocumentsError::Open { path: path.to_owned(), source })?;
    let (metadata, rows) = crate::parquet::open(&file).map_err(|reason| damaged(path, reason))?;
    let marks = metadata.metadata().file_metadata().key_value_metadata();
    let mark = |key: &str| marks?.iter().find(|pair| pair.key == key)?.value.clone();
    match (mark(FORMAT_KEY), mark(VERSION_KEY)) {
        (Some(found), _) if found != format => {
            Err(damaged(path, format!("it is a file of {found}, not of {format}")))
        }
        (Some(_), Some(found)) if !versions.contains(&found.as_str()) => {
            Err(DocumentsError::Version { path: path.to_owned(), format, found })
        }
        _ => Ok((file, metadata, rows)),
    }
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
            Column::Html => ("binary", field.data_type() == &DataType::BinaryView),
            Column::Metadata => ("a map of utf8 to utf8", is_map_of_text(field.data_type())),
            _ => ("utf8", field.data_type() == &DataType::Utf8View),
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
    fields.len() == 2 && fields.iter().all(|field| field.data_type() == &DataType::Utf8View)
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> DocumentsError {
    DocumentsError::Read { path: path.to_owned(), reason: reason.into() }
}
