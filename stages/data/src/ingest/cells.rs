//! Values of Arrow arrays as text or JSON: exact, or refused with their type. Nothing here reads files.

use super::columns::Value;
use crate::json::{DEPTH_MAX, Json};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::temporal_conversions::{
    timestamp_ms_to_datetime, timestamp_ns_to_datetime, timestamp_s_to_datetime, timestamp_us_to_datetime,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::BTreeMap;

/// Properties of a column that its Arrow type does not include.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    /// Sixteen bytes that represent a UUID.
    Uuid,
    /// A struct with its fields, or a list or map with its elements.
    Nested(Vec<Shape>),
}

impl Shape {
    /// The shape of a field; `is_uuid` is asked about each of its leaves in order.
    pub(super) fn of(field: &Field, is_uuid: &mut impl FnMut(&Field) -> bool) -> Self {
        match field.data_type() {
            DataType::Struct(fields) => {
                Self::Nested(fields.iter().map(|field| Self::of(field, is_uuid)).collect())
            }
            DataType::List(inner)
            | DataType::LargeList(inner)
            | DataType::FixedSizeList(inner, _)
            | DataType::ListView(inner)
            | DataType::LargeListView(inner)
            | DataType::Map(inner, _) => Self::Nested(vec![Self::of(inner, is_uuid)]),
            _ => {
                if is_uuid(field) {
                    Self::Uuid
                } else {
                    Self::Plain
                }
            }
        }
    }

    /// The shape of a field of a struct, or of the elements of a list.
    pub(super) fn child(&self, at: usize) -> &Self {
        match self {
            Self::Nested(children) => children.get(at).unwrap_or(&Self::Plain),
            _ => &Self::Plain,
        }
    }
}

/// The type of a value that cannot be written as text.
pub(super) type Unshown = String;

/// A value as that of a column; null becomes none.
pub(super) fn value(array: &ArrayRef, at: usize, shape: &Shape) -> Result<Option<Value>, Unshown> {
    if let Some(bytes) = bytes(array, at, shape) {
        return Ok(Some(Value::Bytes(bytes.to_vec())));
    }
    Ok(match json(array, at, shape, 0)? {
        Json::Null => None,
        Json::Text(text) | Json::Number(text) => Some(Value::Text(text)),
        Json::Bool(value) => Some(Value::Text(value.to_string())),
        nested => Some(Value::nested(&nested)),
    })
}

/// The value of a binary column, if it is valid text.
fn bytes<'a>(array: &'a ArrayRef, at: usize, shape: &Shape) -> Option<&'a [u8]> {
    if array.is_null(at) || *shape == Shape::Uuid {
        return None;
    }
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(at)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(at)),
        DataType::BinaryView => Some(array.as_binary_view().value(at)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(at)),
        _ => None,
    }
}

fn json(array: &ArrayRef, at: usize, shape: &Shape, depth: u32) -> Result<Json, Unshown> {
    // Arrays of the type null have no validity bits.
    if array.is_null(at) || array.data_type() == &DataType::Null {
        return Ok(Json::Null);
    }
    if depth == DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} levels deep"));
    }
    if let Some(bytes) = bytes(array, at, shape) {
        let text = std::str::from_utf8(bytes).map_err(|_| "binary data, which is not text".to_owned())?;
        return Ok(Json::Text(text.to_owned()));
    }
    let list = |values: ArrayRef| -> Result<Json, Unshown> {
        let values = (0..values.len()).map(|at| json(&values, at, shape.child(0), depth + 1));
        values.collect::<Result<_, _>>().map(Json::List)
    };
    let number = |text: String| Ok(Json::Number(text));
    macro_rules! integer {
        ($type:ty) => {
            number(array.as_primitive::<$type>().value(at).to_string())
        };
    }
    match array.data_type() {
        DataType::Boolean => Ok(Json::Bool(array.as_boolean().value(at))),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float64 => Ok(float(array.as_primitive::<Float64Type>().value(at))),
        // The shortest text that identifies the value: 0.1 as a 32-bit float is not 0.10000000149.
        DataType::Float32 => Ok(float(array.as_primitive::<Float32Type>().value(at))),
        DataType::Float16 => Ok(float(array.as_primitive::<Float16Type>().value(at).to_f32())),
        DataType::Utf8 => Ok(Json::Text(array.as_string::<i32>().value(at).to_owned())),
        DataType::LargeUtf8 => Ok(Json::Text(array.as_string::<i64>().value(at).to_owned())),
        DataType::Utf8View => Ok(Json::Text(array.as_string_view().value(at).to_owned())),
        DataType::FixedSizeBinary(16) => Ok(Json::Text(uuid(array.as_fixed_size_binary().value(at)))),
        DataType::Timestamp(unit, zone) => timestamp(array, at, *unit, zone.is_some()),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns()).enumerate();
            let field = |(place, (field, column)): (usize, (&arrow::datatypes::FieldRef, &ArrayRef))| {
                Ok((field.name().clone(), json(column, at, shape.child(place), depth + 1)?))
            };
            columns.map(field).collect::<Result<_, _>>().map(Json::Object)
        }
        DataType::List(_) => list(array.as_list::<i32>().value(at)),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(at)),
        DataType::ListView(_) => list(array.as_list_view::<i32>().value(at)),
        DataType::LargeListView(_) => list(array.as_list_view::<i64>().value(at)),
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(at)),
        DataType::Map(..) => {
            let entries: ArrayRef = std::sync::Arc::new(array.as_map().value(at));
            list(entries).map(as_object)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = key(dictionary.keys(), at).ok_or("a dictionary with keys of another type")?;
            json(dictionary.values(), key, shape, depth + 1)
        }
        other => shown(array, at).ok_or_else(|| format!("of the type {other}, and its value has no text")),
    }
}

/// A map as an object if its keys are distinct texts, otherwise as a list of its entries.
fn as_object(entries: Json) -> Json {
    let Json::List(list) = &entries else { return entries };
    let mut fields = BTreeMap::new();
    for entry in list {
        let Json::Object(entry) = entry else { return entries };
        // The first field of an entry is its key, whatever its name.
        let (Some(Json::Text(key)), Some(value), 2) = (entry.get("key"), entry.get("value"), entry.len())
        else {
            return entries;
        };
        if fields.insert(key.clone(), value.clone()).is_some() {
            return entries;
        }
    }
    Json::Object(fields)
}

/// JSON has no representation for NaN and infinity.
fn float<F: Copy + std::fmt::Debug + Into<f64>>(value: F) -> Json {
    let text = format!("{value:?}");
    if value.into().is_finite() { Json::Number(text) } else { Json::Text(text) }
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// ISO 8601; timestamps with a zone are written in UTC.
fn timestamp(array: &ArrayRef, at: usize, unit: TimeUnit, is_instant: bool) -> Result<Json, Unshown> {
    let time = match unit {
        TimeUnit::Second => timestamp_s_to_datetime(array.as_primitive::<TimestampSecondType>().value(at)),
        TimeUnit::Millisecond => {
            timestamp_ms_to_datetime(array.as_primitive::<TimestampMillisecondType>().value(at))
        }
        TimeUnit::Microsecond => {
            timestamp_us_to_datetime(array.as_primitive::<TimestampMicrosecondType>().value(at))
        }
        TimeUnit::Nanosecond => {
            timestamp_ns_to_datetime(array.as_primitive::<TimestampNanosecondType>().value(at))
        }
    };
    let time = time.ok_or("a time beyond all years")?;
    Ok(Json::Text(format!("{time:?}{}", if is_instant { "Z" } else { "" })))
}

fn key(keys: &dyn Array, at: usize) -> Option<usize> {
    macro_rules! key {
        ($type:ty) => {
            usize::try_from(keys.as_primitive::<$type>().value(at)).ok()
        };
    }
    match keys.data_type() {
        DataType::Int8 => key!(Int8Type),
        DataType::Int16 => key!(Int16Type),
        DataType::Int32 => key!(Int32Type),
        DataType::Int64 => key!(Int64Type),
        DataType::UInt8 => key!(UInt8Type),
        DataType::UInt16 => key!(UInt16Type),
        DataType::UInt32 => key!(UInt32Type),
        DataType::UInt64 => key!(UInt64Type),
        _ => None,
    }
}

/// Dates, times of day, decimals and other types as Arrow displays them: ISO 8601 where applicable.
fn shown(array: &ArrayRef, at: usize) -> Option<Json> {
    let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()).ok()?;
    formatter.value(at).try_to_string().ok().map(Json::Text)
}
