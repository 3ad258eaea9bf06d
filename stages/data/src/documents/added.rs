//! Columns added to a shard's rows: what a later stage found out about each document, without a copy of the text.

use super::reader::{damaged, open_parquet};
use super::{Cluster, DocumentsError, VERSION, VERSION_2, properties};
use crate::parquet::guarded;
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt32Type, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Name of the column with the near-duplicate cluster: u64, the prefix of a digest.
pub const CLUSTER: &str = "cluster";
/// Name of the column with the size of that cluster: u32.
pub const CLUSTER_SIZE: &str = "cluster_size";

/// The values of a column, one per row of the shard.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is named after its type")]
pub enum AddedColumn {
    U64(Vec<u64>),
    U32(Vec<u32>),
    F32(Vec<f32>),
    Utf8(Vec<String>),
}

impl AddedColumn {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::U64(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::Utf8(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Named columns aligned to all rows of one shard, selected or not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AddedColumns {
    columns: BTreeMap<String, AddedColumn>,
}

impl AddedColumns {
    /// Columns of the near-duplicate clusters, with one value per row.
    pub fn of_clusters(clusters: &[Cluster]) -> Self {
        let id = AddedColumn::U64(clusters.iter().map(|cluster| cluster.id).collect());
        let size = AddedColumn::U32(clusters.iter().map(|cluster| cluster.size).collect());
        Self { columns: BTreeMap::from([(CLUSTER.to_owned(), id), (CLUSTER_SIZE.to_owned(), size)]) }
    }

    /// Adds a column, or replaces the one with that name.
    ///
    /// # Errors
    /// If its number of rows differs from that of the other columns.
    pub fn insert(&mut self, name: &str, column: AddedColumn) -> Result<(), DocumentsError> {
        let others = self.columns.iter().find(|(other, _)| *other != name).map(|(_, column)| column.len());
        if let Some(expected) = others.filter(|&expected| expected != column.len()) {
            return Err(DocumentsError::Unaligned { column: name.to_owned(), found: column.len(), expected });
        }
        self.columns.insert(name.to_owned(), column);
        Ok(())
    }

    /// The column with that name.
    pub fn get(&self, name: &str) -> Option<&AddedColumn> {
        self.columns.get(name)
    }

    /// Names and columns, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AddedColumn)> {
        self.columns.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// Number of rows of each column; none without columns.
    pub fn rows(&self) -> usize {
        self.columns.values().next().map_or(0, AddedColumn::len)
    }

    /// The columns of some rows, in ascending order: those of a file with only these.
    pub fn of_rows(&self, rows: &RoaringBitmap) -> Self {
        fn chosen<T: Clone>(values: &[T], rows: &RoaringBitmap) -> Vec<T> {
            rows.iter().filter_map(|row| values.get(row as usize).cloned()).collect()
        }
        let column = |column: &AddedColumn| match column {
            AddedColumn::U64(values) => AddedColumn::U64(chosen(values, rows)),
            AddedColumn::U32(values) => AddedColumn::U32(chosen(values, rows)),
            AddedColumn::F32(values) => AddedColumn::F32(chosen(values, rows)),
            AddedColumn::Utf8(values) => AddedColumn::Utf8(chosen(values, rows)),
        };
        let columns = self.columns.iter().map(|(name, values)| (name.clone(), column(values))).collect();
        Self { columns }
    }

    /// The cluster of a row, if `dedup` has added both columns.
    pub fn cluster(&self, row: u32) -> Option<Cluster> {
        let (AddedColumn::U64(ids), AddedColumn::U32(sizes)) = (self.get(CLUSTER)?, self.get(CLUSTER_SIZE)?)
        else {
            return None;
        };
        Some(Cluster { id: *ids.get(row as usize)?, size: *sizes.get(row as usize)? })
    }

    /// Writes the columns, sorted by name.
    ///
    /// # Errors
    /// If `output` fails.
    pub fn write<W: Write + Send>(&self, output: W) -> Result<W, DocumentsError> {
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = self
            .columns
            .iter()
            .map(|(name, column)| {
                let array: ArrayRef = match column {
                    AddedColumn::U64(values) => Arc::new(UInt64Array::from(values.clone())),
                    AddedColumn::U32(values) => Arc::new(UInt32Array::from(values.clone())),
                    AddedColumn::F32(values) => Arc::new(Float32Array::from(values.clone())),
                    AddedColumn::Utf8(values) => Arc::new(StringArray::from_iter_values(values)),
                };
                (Field::new(name, array.data_type().clone(), false), array)
            })
            .unzip();
        // Programs that know no scores must refuse a file with scores, and can read all others.
        let has_scores = self.columns.values().any(|column| matches!(column, AddedColumn::F32(_)));
        let version = if has_scores { VERSION_2 } else { VERSION };
        let schema = Arc::new(Schema::new(fields));
        let options = ArrowWriterOptions::new()
            .with_properties(properties("added", version).build())
            .with_skip_arrow_metadata(true);
        let mut parquet = ArrowWriter::try_new_with_options(output, schema.clone(), options)
            .map_err(DocumentsError::of_writing)?;
        if self.rows() > 0 {
            let batch = RecordBatch::try_new(schema, arrays)
                .map_err(|error| DocumentsError::Encode(error.to_string()))?;
            parquet.write(&batch).map_err(DocumentsError::of_writing)?;
        }
        // `into_inner` writes too, but loses the kind of an error of the output.
        parquet.flush().map_err(DocumentsError::of_writing)?;
        parquet.sync().map_err(|source| DocumentsError::Write { source })?;
        parquet.into_inner().map_err(DocumentsError::of_writing)
    }

    /// Reads the columns of a file.
    ///
    /// # Errors
    /// If the file cannot be opened, is damaged, or has columns of other types or with nulls.
    pub fn read(path: &Path) -> Result<Self, DocumentsError> {
        let (file, metadata, _) = open_parquet(path, "added", &[VERSION, VERSION_2])?;
        let mut columns: BTreeMap<String, AddedColumn> = BTreeMap::new();
        for field in metadata.schema().fields() {
            let column = match field.data_type() {
                DataType::UInt64 => AddedColumn::U64(Vec::new()),
                DataType::UInt32 => AddedColumn::U32(Vec::new()),
                DataType::Float32 => AddedColumn::F32(Vec::new()),
                DataType::Utf8 => AddedColumn::Utf8(Vec::new()),
                other => {
                    return Err(DocumentsError::Column {
                        path: path.to_owned(),
                        column: field.name().clone(),
                        expected: "u64, u32, f32 or utf8",
                        found: other.to_string(),
                    });
                }
            };
            columns.insert(field.name().clone(), column);
        }
        let unreadable = |reason| damaged(path, reason);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let mut batches = guarded(|| builder.build()).map_err(unreadable)?;
        while let Some(batch) = guarded(|| batches.next().transpose()).map_err(unreadable)? {
            for (name, column) in &mut columns {
                let array = batch.column_by_name(name).ok_or_else(|| damaged(path, "a column is lost"))?;
                append(column, array).map_err(|reason| damaged(path, format!("column `{name}` {reason}")))?;
            }
        }
        Ok(Self { columns })
    }

    /// Reads the columns of a file that belongs to a shard of `rows` rows.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if the number of rows differs.
    pub fn read_aligned(path: &Path, rows: u64) -> Result<Self, DocumentsError> {
        let added = Self::read(path)?;
        let found = added.rows() as u64;
        if found != rows {
            return Err(DocumentsError::RowsDiffer { path: path.to_owned(), found, expected: rows });
        }
        Ok(added)
    }
}

fn append(column: &mut AddedColumn, array: &ArrayRef) -> Result<(), &'static str> {
    const CHANGED: &str = "changes its type";
    if array.null_count() > 0 {
        return Err("has nulls");
    }
    match column {
        AddedColumn::U64(values) => {
            values.extend_from_slice(array.as_primitive_opt::<UInt64Type>().ok_or(CHANGED)?.values());
        }
        AddedColumn::U32(values) => {
            values.extend_from_slice(array.as_primitive_opt::<UInt32Type>().ok_or(CHANGED)?.values());
        }
        AddedColumn::F32(values) => {
            values.extend_from_slice(array.as_primitive_opt::<Float32Type>().ok_or(CHANGED)?.values());
        }
        AddedColumn::Utf8(values) => {
            let array = array.as_string_opt::<i32>().ok_or(CHANGED)?;
            values.extend((0..array.len()).map(|row| array.value(row).to_owned()));
        }
    }
    Ok(())
}
