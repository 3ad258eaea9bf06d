//! Writes documents to Parquet, in bounded memory.

use super::{Column, DOCUMENT_BYTES_MAX, Document, DocumentsError, VERSION, VERSION_2, properties};
use arrow::array::{ArrayRef, BinaryBuilder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::schema::types::ColumnPath;
use std::io::Write;
use std::sync::Arc;

const GROUP_ROWS_MAX: usize = 4096;
const GROUP_BYTES_MAX: usize = 32 << 20;
const BATCH_ROWS_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Writes a file of documents. It holds at most one row group, compressed, and one batch of 8 MiB.
///
/// If the writer is dropped without [`finish`](Self::finish), the file cannot be read.
pub struct DocumentWriter<W: Write + Send> {
    parquet: ArrowWriter<W>,
    schema: SchemaRef,
    batch: Batch,
    rows: u64,
    group: Filled,
}

impl<W: Write + Send> DocumentWriter<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// If `output` refuses the first bytes.
    pub fn new(output: W) -> Result<Self, DocumentsError> {
        Self::of_version(output, VERSION)
    }

    /// Starts a file whose documents may have a media type.
    ///
    /// # Errors
    /// If `output` refuses the first bytes.
    pub fn with_media_types(output: W) -> Result<Self, DocumentsError> {
        Self::of_version(output, VERSION_2)
    }

    fn of_version(output: W, version: &str) -> Result<Self, DocumentsError> {
        // Values that hardly ever repeat: a dictionary would be built and then discarded.
        let unique = [Column::Id, Column::Text, Column::Html, Column::Url];
        let properties = unique.into_iter().fold(properties("documents", version), |properties, column| {
            properties.set_column_dictionary_enabled(ColumnPath::from(column.name()), false)
        });
        let schema = schema(version);
        let options = ArrowWriterOptions::new()
            .with_properties(properties.set_max_row_group_row_count(None).build())
            .with_skip_arrow_metadata(true);
        let parquet = ArrowWriter::try_new_with_options(output, schema.clone(), options)
            .map_err(DocumentsError::of_writing)?;
        Ok(Self { parquet, schema, batch: Batch::default(), rows: 0, group: Filled::default() })
    }

    /// Adds a document.
    ///
    /// # Errors
    /// If the document has no id or is larger than [`DOCUMENT_BYTES_MAX`], or if the output fails.
    pub fn push(&mut self, document: &Document) -> Result<(), DocumentsError> {
        let bytes = document.bytes();
        if document.id.is_empty() {
            return Err(DocumentsError::NoId);
        }
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(DocumentsError::TooLarge { id: document.id.clone(), bytes, max: DOCUMENT_BYTES_MAX });
        }
        if !self.batch.filled.takes(bytes, BATCH_ROWS_MAX, BATCH_BYTES_MAX) {
            self.write_batch()?;
        }
        if !self.group.takes(bytes, GROUP_ROWS_MAX, GROUP_BYTES_MAX) {
            self.write_batch()?;
            self.parquet.flush().map_err(DocumentsError::of_writing)?;
            self.group = Filled::default();
        }
        self.batch.append(document, bytes);
        self.group.add(bytes);
        self.rows += 1;
        Ok(())
    }

    /// Documents written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Finishes the file and returns the output. A file without documents is valid.
    ///
    /// # Errors
    /// If the output fails.
    pub fn finish(mut self) -> Result<W, DocumentsError> {
        self.write_batch()?;
        // `into_inner` writes too, but loses the kind of an error of the output.
        self.parquet.flush().map_err(DocumentsError::of_writing)?;
        self.parquet.sync().map_err(|source| DocumentsError::Write { source })?;
        self.parquet.into_inner().map_err(DocumentsError::of_writing)
    }

    fn write_batch(&mut self) -> Result<(), DocumentsError> {
        if self.batch.filled.rows > 0 {
            let columns =
                std::mem::take(&mut self.batch).finish(self.schema.fields().len() == Column::ALL.len());
            let batch = RecordBatch::try_new(self.schema.clone(), columns)
                .map_err(|error| DocumentsError::Encode(error.to_string()))?;
            self.parquet.write(&batch).map_err(DocumentsError::of_writing)?;
        }
        Ok(())
    }
}

#[derive(Default, Clone, Copy)]
struct Filled {
    rows: usize,
    bytes: usize,
}

impl Filled {
    /// A single document always fits, whatever its size.
    fn takes(self, bytes: usize, rows_max: usize, bytes_max: usize) -> bool {
        self.rows == 0 || (self.rows < rows_max && self.bytes + bytes <= bytes_max)
    }

    fn add(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }
}

type Metadata = MapBuilder<StringBuilder, StringBuilder>;

struct Batch {
    /// The columns of type utf8 that all versions have, in the order of [`Column::ALL`].
    texts: [StringBuilder; 7],
    html: BinaryBuilder,
    media_types: StringBuilder,
    metadata: Metadata,
    filled: Filled,
}

impl Default for Batch {
    fn default() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self {
            texts: Default::default(),
            html: BinaryBuilder::new(),
            media_types: StringBuilder::new(),
            metadata: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
                .with_values_field(Field::new("value", DataType::Utf8, false)),
            filled: Filled::default(),
        }
    }
}

impl Batch {
    fn append(&mut self, document: &Document, bytes: usize) {
        let Document { id, text, html, media_type, url, source, language, license, date, metadata } =
            document;
        for (column, value) in self.texts.iter_mut().zip([id, text, url, source, language, license, date]) {
            column.append_value(value);
        }
        self.html.append_option(html.as_deref());
        self.media_types.append_value(media_type);
        for (key, value) in metadata {
            self.metadata.keys().append_value(key);
            self.metadata.values().append_value(value);
        }
        self.metadata.append(true).expect("invariant: as many keys as values");
        self.filled.add(bytes);
    }

    fn finish(mut self, has_media_types: bool) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> =
            self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        columns.insert(2, Arc::new(self.html.finish()));
        if has_media_types {
            columns.insert(3, Arc::new(self.media_types.finish()));
        }
        columns.push(Arc::new(self.metadata.finish()));
        columns
    }
}

fn schema(version: &str) -> SchemaRef {
    let pair = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)];
    let pairs = Field::new("key_value", DataType::Struct(pair.into()), false);
    let field = |column: Column| match column {
        Column::Html => Field::new(column.name(), DataType::Binary, true),
        Column::Metadata => Field::new(column.name(), DataType::Map(Arc::new(pairs.clone()), false), false),
        _ => Field::new(column.name(), DataType::Utf8, false),
    };
    let columns = Column::ALL.into_iter().filter(|column| version != VERSION || *column != Column::MediaType);
    Arc::new(Schema::new(columns.map(field).collect::<Vec<_>>()))
}
