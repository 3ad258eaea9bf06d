//! Untrusted Parquet files: opened, checked and read without relying on their own metadata.
//!
//! Owns: the guard around a library that panics on some damaged files, the checks before memory is allocated, and how
//! text columns are read. It knows no schema.

mod footer;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::ParquetMetaData;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Target size of a batch in bytes of values, which bounds the memory.
const BATCH_BYTES: u64 = 16 << 20;

/// Calls the Parquet library, which panics on some damaged files instead of returning an error.
pub(crate) fn guarded<T, E: ToString>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the file is damaged".to_owned()),
    }
}

/// Reads and checks the footer of a file, and returns the number of rows too. Arrow types that a writer stored are
/// ignored, so that the same rows give the same values whatever program wrote them.
pub(crate) fn open(file: &File) -> Result<(ArrowReaderMetadata, u64), String> {
    footer::check(file)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let footer = guarded(|| ArrowReaderMetadata::load(file, options))?;
    let rows = check_layout(file, footer.metadata())?;
    Ok((footer, rows))
}

/// Refuses footers that claim more than the file can contain, before memory is allocated for them.
fn check_layout(file: &File, metadata: &ParquetMetaData) -> Result<u64, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let mut rows = 0u64;
    for group in metadata.row_groups() {
        let group_rows = u64::try_from(group.num_rows()).map_err(|_| "a negative row count")?;
        rows = rows.saturating_add(group_rows);
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let fits = start >= 0
                && column.data_page_offset() >= 0
                && column.compressed_size() >= 0
                && end.and_then(|end| u64::try_from(end).ok()).is_some_and(|end| end <= size);
            if !fits {
                return Err("a column reaches beyond the end of the file".to_owned());
            }
        }
    }
    let promised = u64::try_from(metadata.file_metadata().num_rows()).ok();
    if promised != Some(rows) || rows > u64::from(u32::MAX) {
        return Err("its row counts disagree".to_owned());
    }
    Ok(rows)
}

/// The same footer, with text and bytes read as views: values that a dictionary repeats are held once, however many
/// rows refer to them. Timestamps of type INT96 are read in microseconds, since nanoseconds end in the year 2262.
pub(crate) fn with_views(footer: ArrowReaderMetadata) -> Result<ArrowReaderMetadata, String> {
    let leaves = footer.metadata().file_metadata().schema_descr();
    let mut leaf = 0;
    let mut is_int96 = || {
        leaf += 1;
        leaf <= leaves.num_columns() && leaves.column(leaf - 1).physical_type() == PhysicalType::INT96
    };
    let fields =
        footer.schema().fields().iter().map(|field| viewed(field, &mut is_int96)).collect::<Fields>();
    let schema = Schema::new_with_metadata(fields, footer.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    guarded(|| ArrowReaderMetadata::try_new(Arc::clone(footer.metadata()), options))
}

/// The field with its leaves read as other types; `is_int96` is called once per leaf.
fn viewed(field: &FieldRef, is_int96: &mut impl FnMut() -> bool) -> FieldRef {
    let as_type = |data_type| Arc::new(Field::clone(field).with_data_type(data_type));
    match field.data_type() {
        DataType::Struct(inner) => {
            as_type(DataType::Struct(inner.iter().map(|field| viewed(field, is_int96)).collect()))
        }
        DataType::List(inner) => as_type(DataType::List(viewed(inner, is_int96))),
        DataType::Map(inner, sorted) => as_type(DataType::Map(viewed(inner, is_int96), *sorted)),
        leaf => {
            let is_int96 = is_int96();
            match leaf {
                DataType::Utf8 => as_type(DataType::Utf8View),
                DataType::Binary => as_type(DataType::BinaryView),
                _ if is_int96 => as_type(DataType::Timestamp(TimeUnit::Microsecond, None)),
                _ => Arc::clone(field),
            }
        }
    }
}

/// Rows of a group to decode at a time, from the mean size of its rows; 1 to `rows_max`.
pub(crate) fn batch_rows(bytes: i64, rows: i64, rows_max: u64) -> usize {
    let mean = (bytes.max(0) as u64) / (rows.max(1) as u64);
    (BATCH_BYTES / mean.max(1)).clamp(1, rows_max) as usize
}
