//! Parquet and Arrow files → rows, in batches sized by the rows.
//!
//! Parquet types are those of Parquet itself. Metadata that writers add for Arrow or pandas is ignored, so that the
//! same rows give the same values whatever program wrote them.

mod messages;

use super::cells::{Shape, value};
use super::columns::{Row, Wanted};
use super::faults::{Fault, Unreadable};
use crate::parquet::{batch_rows, guarded, open, with_views};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow_ipc::reader::{FileReader, StreamReader};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::basic::LogicalType;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

const BATCH_ROWS_MAX: u64 = 1024;
/// Magic bytes of Arrow files with a footer; streams have none.
const ARROW_MAGIC: &[u8] = b"ARROW1";

/// Reads all rows of a Parquet file, numbered from 1. `present` receives which columns the file has.
///
/// # Errors
/// If `each` fails.
pub(super) fn read_parquet<E>(
    file: File,
    wanted: &Wanted,
    present: &mut Option<Vec<bool>>,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let opened = (|| {
        let (footer, _) = open(&file).map_err(Unreadable::NotParquet)?;
        let footer = with_views(footer).map_err(Unreadable::NotParquet)?;
        let places = Places::of(wanted, footer.schema(), &uuids(&footer), present)?;
        Ok((footer, places))
    })();
    let (footer, places) = match opened {
        Ok(opened) => opened,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let mut number = 0;
    let groups: Vec<usize> = footer
        .metadata()
        .row_groups()
        .iter()
        .map(|group| batch_rows(group.total_byte_size(), group.num_rows(), BATCH_ROWS_MAX))
        .collect();
    for (group, batch_rows) in groups.into_iter().enumerate() {
        let batches = guarded(|| {
            let file = file.try_clone().map_err(|error| error.to_string())?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), places.roots.iter().copied());
            let builder = builder.with_row_groups(vec![group]).with_batch_size(batch_rows);
            builder.with_projection(mask).build().map_err(|error| error.to_string())
        });
        let mut batches = match batches {
            Ok(batches) => batches,
            Err(reason) => return Ok(Err(Unreadable::After { row: number, reason })),
        };
        if let Err(unreadable) =
            places.rows(|| guarded(|| batches.next().transpose()), wanted, &mut number, &mut each)?
        {
            return Ok(Err(unreadable));
        }
    }
    Ok(Ok(()))
}

/// Reads all rows of an Arrow file or stream, as [`read_parquet`] does.
///
/// # Errors
/// If `each` fails.
pub(super) fn read_arrow<E>(
    mut file: File,
    wanted: &Wanted,
    present: &mut Option<Vec<bool>>,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    type Batches = Box<dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>>;
    let opened = (|| {
        let opened = guarded(|| -> Result<(Batches, arrow::datatypes::SchemaRef), String> {
            let failed = |error: &dyn std::fmt::Display| error.to_string();
            messages::check(&file)?;
            let mut magic = Vec::new();
            (&mut file).take(ARROW_MAGIC.len() as u64).read_to_end(&mut magic).map_err(|e| failed(&e))?;
            file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
            let file = BufReader::with_capacity(256 << 10, file);
            Ok(if magic == ARROW_MAGIC {
                let reader = FileReader::try_new(file, None).map_err(|error| failed(&error))?;
                let schema = reader.schema();
                (Box::new(reader), schema)
            } else {
                let reader = StreamReader::try_new(file, None).map_err(|error| failed(&error))?;
                let schema = reader.schema();
                (Box::new(reader), schema)
            })
        });
        let (batches, schema) = opened.map_err(Unreadable::NotArrow)?;
        let is_uuid = |field: &arrow::datatypes::Field| {
            field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.uuid")
        };
        let shapes: Vec<Shape> =
            schema.fields().iter().map(|field| Shape::of(field, &mut { is_uuid })).collect();
        Ok((batches, Places::of(wanted, &schema, &shapes, present)?))
    })();
    let (mut batches, places) = match opened {
        Ok(opened) => opened,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let mut number = 0;
    places.rows(|| guarded(|| batches.next().transpose()), wanted, &mut number, &mut each)
}

/// The shapes of a Parquet file's columns: which of their leaves are UUIDs.
fn uuids(footer: &ArrowReaderMetadata) -> Vec<Shape> {
    let leaves = footer.metadata().file_metadata().schema_descr();
    let mut leaf = 0;
    let mut is_uuid = |_: &arrow::datatypes::Field| {
        leaf += 1;
        let is_there = leaf <= leaves.num_columns();
        is_there && leaves.column(leaf - 1).logical_type_ref() == Some(&LogicalType::Uuid)
    };
    footer.schema().fields().iter().map(|field| Shape::of(field, &mut is_uuid)).collect()
}

/// Positions of the wanted columns.
struct Places {
    /// For each slot the path of names, and the shape; none if the file lacks an optional column.
    slots: Vec<Option<Place>>,
    rest: Vec<Place>,
    roots: Vec<usize>,
}

struct Place {
    path: Vec<String>,
    shape: Shape,
}

impl Places {
    fn of(
        wanted: &Wanted,
        schema: &Schema,
        shapes: &[Shape],
        present: &mut Option<Vec<bool>>,
    ) -> Result<Self, Unreadable> {
        let root = |name: &str| {
            let (at, field) = schema.column_with_name(name)?;
            Some((field, shapes.get(at)?))
        };
        let find = |name: &str| {
            if let Some((_, shape)) = root(name) {
                return Some(Place { path: vec![name.to_owned()], shape: shape.clone() });
            }
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            let (mut field, mut shape) = root(&path[0])?;
            for part in &path[1..] {
                let DataType::Struct(fields) = field.data_type() else { return None };
                let (at, inner) = fields.find(part)?;
                (field, shape) = (inner, shape.child(at));
            }
            Some(Place { shape: shape.clone(), path })
        };
        let slots: Vec<Option<Place>> = wanted.names().map(find).collect();
        let found: Vec<bool> = slots.iter().map(Option::is_some).collect();
        wanted.check_columns(&found, schema.fields().iter().map(|field| field.name().as_str()))?;
        *present = Some(found);
        let is_taken = |name: &str| slots.iter().flatten().any(|place| place.path[0] == name);
        let mut seen = std::collections::BTreeSet::new();
        for name in schema.fields().iter().map(|field| field.name().as_str()) {
            if !seen.insert(name) && (wanted.all() || is_taken(name)) {
                return Err(Unreadable::TwoColumns(name.to_owned()));
            }
        }
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let others = names.filter(|name| wanted.all() && !is_taken(name));
        let rest: Vec<Place> = others.filter_map(find).collect();
        let is_read = |name: &str| is_taken(name) || rest.iter().any(|place| place.path[0] == name);
        let fields = schema.fields().iter().enumerate();
        let roots = fields.filter(|(_, field)| is_read(field.name())).map(|(at, _)| at).collect();
        Ok(Self { slots, rest, roots })
    }

    /// Passes on the rows of all batches.
    fn rows<E>(
        &self,
        mut next: impl FnMut() -> Result<Option<RecordBatch>, String>,
        wanted: &Wanted,
        number: &mut u64,
        each: &mut impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
    ) -> Result<Result<(), Unreadable>, E> {
        loop {
            let batch = match next() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(Ok(())),
                Err(reason) => return Ok(Err(Unreadable::After { row: *number, reason })),
            };
            let Some(columns) = self.columns(&batch) else {
                let reason = "a column is lost".to_owned();
                return Ok(Err(Unreadable::After { row: *number, reason }));
            };
            for row in 0..batch.num_rows() {
                *number += 1;
                each(*number, columns.row(row, wanted))?;
            }
        }
    }

    fn columns(&self, batch: &RecordBatch) -> Option<Batch<'_>> {
        let chain = |place: &Place| {
            let mut chain = vec![batch.column_by_name(&place.path[0])?.clone()];
            for name in &place.path[1..] {
                let inner = chain.last()?.as_struct_opt()?.column_by_name(name)?.clone();
                chain.push(inner);
            }
            Some(chain)
        };
        let column = |place| Some(Column { chain: chain(place)?, place });
        let mut slots = Vec::with_capacity(self.slots.len());
        for place in &self.slots {
            slots.push(match place {
                Some(place) => Some(column(place)?),
                None => None,
            });
        }
        Some(Batch { slots, rest: self.rest.iter().map(column).collect::<Option<_>>()? })
    }
}

/// A column of a batch: its arrays from the root down.
struct Column<'p> {
    place: &'p Place,
    chain: Vec<ArrayRef>,
}

impl Column<'_> {
    fn value(&self, at: usize) -> Result<Option<super::columns::Value>, Fault> {
        match self.chain.last() {
            Some(array) if self.chain.iter().all(|array| array.is_valid(at)) => {
                value(array, at, &self.place.shape)
                    .map_err(|what| Fault::Unshown { column: self.place.path.join("."), what })
            }
            _ => Ok(None),
        }
    }
}

struct Batch<'p> {
    slots: Vec<Option<Column<'p>>>,
    rest: Vec<Column<'p>>,
}

impl Batch<'_> {
    fn row(&self, at: usize, wanted: &Wanted) -> Result<Row, Fault> {
        let mut row = wanted.row();
        for (slot, column) in row.slots.iter_mut().zip(&self.slots) {
            *slot = column.as_ref().map_or(Ok(None), |column| column.value(at))?;
        }
        for column in &self.rest {
            row.add(column.place.path[0].clone(), column.value(at)?)?;
        }
        Ok(row)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ingest::columns::{Columns, Value};
    use arrow::array::{
        Date32Array, Float32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::Field;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{LogicalType, Repetition, Type as Physical};
    use parquet::data_type::{
        ByteArray, ByteArrayType, DataType as Stored, FixedLenByteArray, FixedLenByteArrayType, Int96,
        Int96Type,
    };
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::types::{PrimitiveTypeBuilder, Type};
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

    /// Rows that are documents.
    fn rows(columns: &Columns, bytes: &[u8]) -> Result<Vec<Row>, Unreadable> {
        Ok(read(columns, bytes)?.into_iter().filter_map(Result::ok).collect())
    }

    fn read(columns: &Columns, bytes: &[u8]) -> Result<Vec<Result<Row, Fault>>, Unreadable> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let mut rows = Vec::new();
        let ended = read_parquet(file, &columns.wanted(), &mut None, |_, row| {
            rows.push(row);
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
            text: Some("data.body".into()),
            date: "day".into(),
            metadata: ["f", "*"].into(),
            ..Columns::default()
        };
        let found = rows(&columns, &written(&nested())).unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let slots = |texts: [Option<&str>; 4]| texts.map(|value| value.map(text)).to_vec();
        assert_eq!(found[0].slots, slots([Some("7"), Some("B"), Some("1970-01-01"), Some("0.1")]));
        let rest = [("tags", Value::Nested("[1,null]".into())), ("time", text("1970-01-01T00:00:00"))];
        assert_eq!(found[0].rest, rest.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(found[1].slots, slots([Some("8"), None, Some("1970-01-02"), Some("2.0")]));
    }

    /// The `value` column of a file's rows, next to a text column.
    fn values(array: ArrayRef) -> Vec<Result<Option<Value>, Fault>> {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["T"; array.len()]));
        let batch = RecordBatch::try_from_iter_with_nullable([("text", text, false), ("value", array, true)])
            .unwrap();
        faults(&written(&batch))
            .into_iter()
            .map(|row| row.map(|row| row.rest.get("value").cloned()))
            .collect()
    }

    fn faults(bytes: &[u8]) -> Vec<Result<Row, Fault>> {
        read(&Columns { metadata: ["*"].into(), ..Columns::default() }, bytes).unwrap()
    }

    fn text(text: &str) -> Result<Option<Value>, Fault> {
        Ok(Some(Value::Text(text.to_owned())))
    }

    #[test]
    fn instants_are_written_in_utc() {
        let millis = vec![Some(1_714_521_600_000), Some(-1), None];
        let zoned = |zone: &str| TimestampMillisecondArray::from(millis.clone()).with_timezone(zone);
        for zone in ["UTC", "Europe/Berlin", "+02:00"] {
            let expected = [text("2024-05-01T00:00:00Z"), text("1969-12-31T23:59:59.999Z"), Ok(None)];
            assert_eq!(values(Arc::new(zoned(zone))), expected, "{zone}");
        }
        let local = TimestampMillisecondArray::from(vec![1_714_521_600_000]);
        assert_eq!(values(Arc::new(local)), [text("2024-05-01T00:00:00")]);
        let beyond = TimestampMillisecondArray::from(vec![i64::MAX]).with_timezone("UTC");
        assert!(
            matches!(&values(Arc::new(beyond))[0], Err(Fault::Unshown { column, .. }) if column == "value")
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_by_the_name_of_their_column() {
        let bytes = arrow::array::BinaryArray::from_vec(vec![b"text", b"\x89PNG\xFF"]);
        let found = values(Arc::new(bytes));
        assert_eq!(found[0], Ok(Some(Value::Bytes(b"text".to_vec()))));
        let columns = Columns { metadata: ["*"].into(), ..Columns::default() };
        let mut row = columns.wanted().row();
        row.slots[0] = Some(Value::Text("T".into()));
        row.add("thumb".into(), found[1].clone().unwrap()).unwrap();
        let fault = columns.wanted().document(row, String::new, 1000).unwrap_err();
        assert_eq!(fault.to_string(), "its column `thumb` is binary data, which is not text");
        let inner: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![b"\x89PNG\xFF"]));
        let image = StructArray::from(vec![(Arc::new(Field::new("bytes", DataType::Binary, true)), inner)]);
        assert!(
            matches!(&values(Arc::new(image))[0], Err(Fault::Unshown { column, .. }) if column == "value")
        );
    }

    #[test]
    fn a_column_of_nothing_is_null() {
        assert_eq!(values(Arc::new(arrow::array::NullArray::new(2))), [Ok(None), Ok(None)]);
    }

    /// The `value` of the only row of a file, whose column of this type holds what no array stands for.
    fn value_of<T: Stored>(value: Type, written: T::T) -> Value {
        let text = primitive("text", Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::String));
        let fields = vec![Arc::new(text.build().unwrap()), Arc::new(value)];
        let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build().unwrap());
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("T")], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<T>().write_batch(&[written], None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        faults(&bytes).remove(0).unwrap().rest["value"].clone()
    }

    fn primitive(name: &str, physical: Physical) -> PrimitiveTypeBuilder<'_> {
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED)
    }

    #[test]
    fn uuids_are_written_as_such() {
        let uuid = primitive("value", Physical::FIXED_LEN_BYTE_ARRAY)
            .with_length(16)
            .with_logical_type(Some(LogicalType::Uuid))
            .build()
            .unwrap();
        let written = FixedLenByteArray::from((0x80_u8..0x90).collect::<Vec<u8>>());
        let expected = Value::Text("80818283-8485-8687-8889-8a8b8c8d8e8f".into());
        assert_eq!(value_of::<FixedLenByteArrayType>(uuid, written), expected);
    }

    #[test]
    fn times_of_96_bits_reach_beyond_the_year_2262() {
        let time = primitive("value", Physical::INT96).build().unwrap();
        // The last day of the year 9999, one second after midnight: day 5,373,484 of the Julian calendar.
        let mut written = Int96::new();
        let nanos = 1_000_000_000_u64;
        written.set_data(nanos as u32, (nanos >> 32) as u32, 5_373_484);
        assert_eq!(value_of::<Int96Type>(time, written), Value::Text("9999-12-31T00:00:01".into()));
    }

    #[test]
    fn values_that_a_dictionary_repeats_are_held_once() {
        let large = "x".repeat(1 << 20);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![large.as_str(); 60]));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        let properties = parquet::file::properties::WriterProperties::builder();
        let properties = properties.set_dictionary_page_size_limit(4 << 20).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert!(bytes.len() < 4 << 20, "{}", bytes.len());
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let footer = with_views(open(&file).unwrap().0).unwrap();
        assert_eq!(footer.schema().field(0).data_type(), &DataType::Utf8View);
        let mut batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer).build().unwrap();
        assert!(batches.next().unwrap().unwrap().get_array_memory_size() < 4 << 20);
    }

    #[test]
    fn parquet_is_read_in_every_compression() {
        use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a text ".repeat(100); 50]));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        let of = |compression| {
            let properties = parquet::file::properties::WriterProperties::builder();
            let properties = properties.set_compression(compression).build();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            let rows = rows(&Columns::default(), &writer.into_inner().unwrap()).unwrap();
            rows.into_iter().map(|row| format!("{row:?}")).collect::<Vec<_>>()
        };
        let plain = of(Compression::UNCOMPRESSED);
        assert_eq!(plain.len(), 50);
        for compression in [
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            assert_eq!(of(compression), plain, "{compression}");
        }
    }

    #[test]
    fn two_columns_of_one_name_are_refused_if_they_are_read() {
        let of = |name| (name, vec![Some("B")]);
        let all = Columns { metadata: ["*"].into(), ..Columns::default() };
        let two = |name: &str| Err(Unreadable::TwoColumns(name.to_owned()));
        let found = |columns: &Columns, names: [&'static str; 3]| {
            rows(columns, &file(&names.map(of))).map(|rows| rows.len())
        };
        assert_eq!(found(&all, ["text", "x", "x"]), two("x"));
        assert_eq!(found(&Columns::default(), ["text", "text", "x"]), two("text"));
        assert_eq!(found(&Columns::default(), ["text", "x", "x"]), Ok(1));
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
            let columns = Columns { text: Some("data.body".into()), metadata: ["*"].into(), ..Columns::default() };
            let _ = rows(&columns, &bytes);
        }
    }
}
