//! Parquet -> rows, in batches that follow from how large its rows are.
//!
//! Types are those of Parquet itself: what a writer noted of Arrow's or pandas' is passed over, so that the same
//! rows give the same values whoever wrote them.

use super::columns::{Fault, Row, Value, Wanted, float, write_json};
use super::records::Unreadable;
use crate::documents::{check_layout, guarded};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use serde_json::{Number, Value as Json};
use std::fs::File;
use std::path::Path;

/// Bytes of values that a batch should have, by the mean of the file; memory follows from it.
const BATCH_BYTES: u64 = 16 << 20;
const BATCH_ROWS_MAX: u64 = 1024;
/// Levels of lists and objects in a value.
const DEPTH_MAX: u32 = 128;

/// Reads all rows of a file, with their number from 1. `name` stands for the file in messages.
///
/// # Errors
/// Where `each` fails.
pub(super) fn read<E>(
    file: File,
    name: &str,
    wanted: &Wanted,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let path = Path::new(name);
    // The message without the file's name, which stands beside it.
    let reason = |error: crate::documents::DocumentsError| match error {
        crate::documents::DocumentsError::Read { reason, .. } => reason,
        other => other.to_string(),
    };
    let opened = (|| {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let footer =
            guarded(path, || ArrowReaderMetadata::load(&file, options).map_err(|error| error.to_string()))
                .map_err(|error| Unreadable::NotParquet(reason(error)))?;
        let rows = check_layout(path, &file, footer.metadata())
            .map_err(|error| Unreadable::NotParquet(reason(error)))?;
        let places = Places::of(wanted, footer.schema())?;
        let bytes: u64 =
            footer.metadata().row_groups().iter().map(|g| g.total_byte_size().max(0) as u64).sum();
        let batch = (BATCH_BYTES / (bytes / rows.max(1)).max(1)).clamp(1, BATCH_ROWS_MAX);
        let batches = guarded(path, || {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer);
            let mask = ProjectionMask::roots(builder.parquet_schema(), places.roots.iter().copied());
            let builder = builder.with_batch_size(batch as usize).with_projection(mask);
            builder.build().map_err(|error| error.to_string())
        });
        Ok((batches.map_err(|error| Unreadable::NotParquet(reason(error)))?, places))
    })();
    let (mut batches, places) = match opened {
        Ok(opened) => opened,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let mut number = 0;
    loop {
        let next = guarded(path, || batches.next().transpose().map_err(|error| error.to_string()));
        let batch = match next {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(Unreadable::After { row: number, reason: reason(error) })),
        };
        let Some(columns) = places.columns(&batch) else {
            let reason = "a column is lost".to_owned();
            return Ok(Err(Unreadable::After { row: number, reason }));
        };
        for row in 0..batch.num_rows() {
            number += 1;
            each(number, Ok(columns.row(row, wanted)))?;
        }
    }
}

/// Where the wanted columns are: for each slot the names from the root down.
struct Places {
    slots: Vec<Vec<String>>,
    rest: Vec<String>,
    roots: Vec<usize>,
}

impl Places {
    fn of(wanted: &Wanted, schema: &Schema) -> Result<Self, Unreadable> {
        let find = |name: &str| {
            let missing = || {
                let found = schema.fields().iter().take(20).map(|field| field.name().clone()).collect();
                Unreadable::NoColumn { missing: name.to_owned(), found }
            };
            if schema.field_with_name(name).is_ok() {
                return Ok(vec![name.to_owned()]);
            }
            let parts: Vec<String> = name.split('.').map(str::to_owned).collect();
            let mut field = schema.field_with_name(&parts[0]).map_err(|_| missing())?;
            for part in &parts[1..] {
                let DataType::Struct(fields) = field.data_type() else { return Err(missing()) };
                field = fields.find(part).ok_or_else(missing)?.1;
            }
            Ok(parts)
        };
        let slots = wanted.names().map(find).collect::<Result<Vec<_>, _>>()?;
        let is_taken = |name: &str| slots.iter().any(|slot| slot[0] == name);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let rest: Vec<String> =
            names.filter(|name| wanted.all() && !is_taken(name)).map(str::to_owned).collect();
        let is_read = |name: &str| is_taken(name) || rest.iter().any(|own| own == name);
        let fields = schema.fields().iter().enumerate();
        let roots = fields.filter(|(_, field)| is_read(field.name())).map(|(at, _)| at).collect();
        Ok(Self { slots, rest, roots })
    }

    fn columns(&self, batch: &RecordBatch) -> Option<Batch> {
        let chain = |names: &Vec<String>| {
            let mut chain = vec![batch.column_by_name(&names[0])?.clone()];
            for name in &names[1..] {
                let inner = chain.last()?.as_struct_opt()?.column_by_name(name)?.clone();
                chain.push(inner);
            }
            Some(chain)
        };
        let rest = self.rest.iter().map(|name| Some((name.clone(), batch.column_by_name(name)?.clone())));
        Some(Batch {
            slots: self.slots.iter().map(chain).collect::<Option<_>>()?,
            rest: rest.collect::<Option<_>>()?,
        })
    }
}

/// The columns of a batch: for each slot the arrays from the root down.
struct Batch {
    slots: Vec<Vec<ArrayRef>>,
    rest: Vec<(String, ArrayRef)>,
}

impl Batch {
    fn row(&self, at: usize, wanted: &Wanted) -> Row {
        let mut row = wanted.row();
        for (slot, chain) in row.slots.iter_mut().zip(&self.slots) {
            let is_there = chain.iter().all(|array| array.is_valid(at));
            *slot = chain.last().filter(|_| is_there).map(|array| value(array, at));
        }
        let rest = self.rest.iter().filter(|(_, array)| array.is_valid(at));
        row.rest = rest.map(|(name, array)| (name.clone(), value(array, at))).collect();
        row
    }
}

/// A value that is not null.
fn value(array: &ArrayRef, at: usize) -> Value {
    match array.data_type() {
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(at).to_owned()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(at).to_vec()),
        DataType::FixedSizeBinary(_) => Value::Bytes(array.as_fixed_size_binary().value(at).to_vec()),
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => {
            let mut out = String::new();
            write_json(&json(array, at, 0), &mut out);
            Value::Nested(out)
        }
        _ => match json(array, at, 0) {
            Json::String(text) => Value::Text(text),
            Json::Number(number) if number.is_f64() => {
                Value::Text(float(number.as_f64().unwrap_or_default()))
            }
            other => Value::Text(other.to_string()),
        },
    }
}

fn json(array: &ArrayRef, at: usize, depth: u32) -> Json {
    if array.is_null(at) || depth == DEPTH_MAX {
        return Json::Null;
    }
    let list = |values: ArrayRef| (0..values.len()).map(|at| json(&values, at, depth + 1)).collect();
    match array.data_type() {
        DataType::Boolean => Json::Bool(array.as_boolean().value(at)),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(at).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(at).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(at).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(at).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(at).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(at).into(),
        DataType::Float64 => number(array.as_primitive::<Float64Type>().value(at)),
        // Through its own shortest text: 0.1 as f32 is no 0.10000000149.
        DataType::Float32 => {
            let text = array.as_primitive::<Float32Type>().value(at).to_string();
            number(text.parse().unwrap_or(f64::NAN))
        }
        DataType::Utf8 => array.as_string::<i32>().value(at).into(),
        DataType::Binary => String::from_utf8_lossy(array.as_binary::<i32>().value(at)).into(),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            Json::Object(columns.map(|(field, c)| (field.name().clone(), json(c, at, depth + 1))).collect())
        }
        DataType::List(_) => Json::Array(list(array.as_list::<i32>().value(at))),
        DataType::Map(..) => {
            let entries: ArrayRef = std::sync::Arc::new(array.as_map().value(at));
            Json::Array(list(entries))
        }
        _ => shown(array, at),
    }
}

/// Not a number, and beyond all of them, JSON has no word for.
fn number(value: f64) -> Json {
    Number::from_f64(value).map_or_else(|| Json::String(float(value)), Json::Number)
}

/// Dates, times, decimals and all others, as Arrow shows them: ISO 8601 where it applies.
fn shown(array: &ArrayRef, at: usize) -> Json {
    let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default());
    let text = formatter.ok().and_then(|formatter| formatter.value(at).try_to_string().ok());
    text.map_or(Json::Null, Json::String)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ingest::columns::Columns;
    use arrow::array::{
        Date32Array, Float32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::Field;
    use parquet::arrow::ArrowWriter;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A file of text columns.
    pub(in super::super) fn file(columns: &[(&str, Vec<Option<&str>>)]) -> Vec<u8> {
        let arrays = columns
            .iter()
            .map(|(name, texts)| (*name, Arc::new(StringArray::from(texts.clone())) as ArrayRef, true));
        written(&RecordBatch::try_from_iter_with_nullable(arrays).unwrap())
    }

    fn written(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn rows(columns: &Columns, bytes: &[u8]) -> Result<Vec<Row>, Unreadable> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let mut rows = Vec::new();
        let ended = read(file, "x.parquet", &columns.wanted(), |_, row| {
            rows.push(row.unwrap());
            Ok::<_, std::convert::Infallible>(())
        });
        ended.unwrap().map(|()| rows)
    }

    fn nested() -> RecordBatch {
        let body: ArrayRef = Arc::new(StringArray::from(vec![Some("B"), None]));
        let data = StructArray::from(vec![(Arc::new(Field::new("body", DataType::Utf8, true)), body)]);
        let mut tags = arrow::array::ListBuilder::new(arrow::array::Int64Builder::new());
        tags.append_value([Some(1), None]);
        tags.append_null();
        let tags: ListArray = tags.finish();
        let columns: [(&str, ArrayRef, bool); 6] = [
            ("n", Arc::new(Int64Array::from(vec![7, 8])), true),
            ("f", Arc::new(Float32Array::from(vec![0.1, 2.0])), true),
            ("data", Arc::new(data), true),
            ("tags", Arc::new(tags), true),
            ("day", Arc::new(Date32Array::from(vec![0, 1])), true),
            ("time", Arc::new(TimestampMillisecondArray::from(vec![0, 1])), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    #[test]
    fn takes_columns_of_any_type() {
        let columns = Columns {
            id: "n".into(),
            text: "data.body".into(),
            date: "day".into(),
            metadata: vec!["f".into(), "*".into()],
            ..Columns::default()
        };
        let found = rows(&columns, &written(&nested())).unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let slots = |texts: [Option<&str>; 4]| texts.map(|value| value.map(text)).to_vec();
        assert_eq!(found[0].slots, slots([Some("7"), Some("B"), Some("1970-01-01"), Some("0.1")]));
        let rest = [("tags", Value::Nested("[1,null]".into())), ("time", text("1970-01-01T00:00:00"))];
        assert_eq!(found[0].rest, rest.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(found[1].slots, slots([Some("8"), None, Some("1970-01-02"), Some("2.0")]));
    }

    #[test]
    fn a_missing_column_and_a_file_of_something_else_are_told() {
        let error = rows(&Columns::default(), &file(&[("body", vec![Some("B")])])).unwrap_err();
        assert_eq!(error.to_string(), "it has no column `text`; it has body");
        assert!(matches!(rows(&Columns::default(), b"no Parquet"), Err(Unreadable::NotParquet(_))));
        let whole = file(&[("text", vec![Some("B")])]);
        assert!(matches!(
            rows(&Columns::default(), &whole[..whole.len() / 2]),
            Err(Unreadable::NotParquet(_))
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damaged_files_give_rows_or_a_reason(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = written(&nested());
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let columns = Columns { text: "data.body".into(), metadata: vec!["*".into()], ..Columns::default() };
            let _ = rows(&columns, &bytes);
        }
    }
}
