//! Owns: tree to typed value, by serde. Each error includes the node that is wrong and the path to it. It does not
//! depend on manifests: any struct can be read from any subtree.

use crate::manifest::{
    fault::{Code, Fault},
    node::{Entry, Node, NodeKind, Scalar, Value},
    source::Span,
};
use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor, value::BorrowedStrDeserializer,
    },
    forward_to_deserialize_any,
};
use std::{fmt::Display, sync::Arc};

/// Why a value could not be read, and where in the tree.
#[derive(Debug)]
pub(crate) struct Misread(Box<(Fault, Vec<usize>)>);

impl Misread {
    /// Returns the error, and the positions of children from the root to the node that is wrong.
    pub(crate) fn into_parts(self) -> (Fault, Vec<usize>) {
        let (fault, mut way) = *self.0;
        way.reverse();
        (fault, way)
    }

    fn new(fault: Fault) -> Self {
        Self(Box::new((fault, vec![])))
    }

    fn map(mut self, change: impl FnOnce(Fault) -> Fault) -> Self {
        let fault = std::mem::replace(&mut self.0.0, Fault::consequence());
        self.0.0 = change(fault);
        self
    }

    fn at(self, span: Span) -> Self {
        self.map(|fault| fault.at(span))
    }

    /// Adds the position of the child in which this happened.
    fn within(mut self, position: usize) -> Self {
        self.0.1.push(position);
        self
    }
}

impl Display for Misread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.0.fmt(f)
    }
}

impl std::error::Error for Misread {}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Misread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.kind {
            NodeKind::Scalar(scalar) => self.scalar(scalar, |scalar| match scalar.value() {
                Value::Null => visitor.visit_unit(),
                Value::Bool(value) => visitor.visit_bool(value),
                Value::Integer(value) => visit_integer(value, visitor),
                Value::Float(value) => visit_float(value, visitor),
                Value::Text(text) => visitor.visit_borrowed_str(text),
            }),
            NodeKind::Sequence(items) => visitor.visit_seq(Items { rest: items.iter().enumerate() }),
            NodeKind::Mapping(_) => visitor.visit_map(self.entries()),
            NodeKind::Broken => Err(Misread::new(Fault::consequence())),
        }
        .map_err(|misread| misread.at(self.span))
    }

    /// Accepts any scalar except null as text: `version: 1.10` is the text `1.10`.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.kind {
            NodeKind::Scalar(scalar) if !scalar.is_null() => {
                self.scalar(scalar, |scalar| visitor.visit_borrowed_str(&scalar.text))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.deserialize_str(visitor)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.integer(visitor)
    }

    /// Refuses a value that fits an `f64` but is infinite as an `f32`.
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.kind {
            NodeKind::Scalar(scalar) => match scalar.value() {
                Value::Float(value) if value.is_finite() && !(value as f32).is_finite() => self
                    .scalar(scalar, |_| {
                        Err(Misread::invalid_value(Unexpected::Float(value), &"a number up to 3.4e38"))
                    }),
                _ => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_newtype_struct(self)
    }

    /// Accepts `choice` or `choice: data`.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        let read = match &self.kind {
            NodeKind::Scalar(scalar) if !scalar.is_null() => self.scalar(scalar, |scalar| {
                visitor.visit_enum(Choice { name: &scalar.text, key: self.span, data: None })
            }),
            NodeKind::Mapping(mapping) => match mapping.first() {
                Some((name, Entry { key, value })) if mapping.len() == 1 => {
                    visitor.visit_enum(Choice { name, key: *key, data: Some(value) })
                }
                _ => {
                    let fault =
                        Fault::new(Code::WrongType, "expected exactly one of the choices", "one too many");
                    let second = mapping.values().nth(1).map_or(self.span, |entry| entry.key);
                    Err(Misread::new(fault.at(second)))
                }
            },
            _ => self.deserialize_any(visitor),
        };
        read.map_err(|misread| misread.at(self.span))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_unit()
    }

    /// Reads a struct only from a mapping: serde would also accept a list of its fields.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        match &self.kind {
            NodeKind::Sequence(_) => Err(Misread::invalid_type(Unexpected::Seq, &visitor).at(self.span)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i128 u128 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier
    }
}

impl Node {
    /// Reports an error at this scalar, and shows where its value was defined.
    fn scalar<'de, T>(
        &self,
        scalar: &'de Scalar,
        read: impl FnOnce(&'de Scalar) -> Result<T, Misread>,
    ) -> Result<T, Misread> {
        read(scalar).map_err(|misread| match scalar.origin {
            Some(origin) if origin != self.span => {
                misread.at(self.span).map(|fault| fault.also(origin, "the value comes from here"))
            }
            _ => misread.at(self.span),
        })
    }

    /// Accepts `1e6` as an integer if it is one.
    fn integer<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Misread> {
        match &self.kind {
            NodeKind::Scalar(scalar) => match scalar.value() {
                Value::Float(value) if value.fract() == 0.0 && value.abs() < 2f64.powi(53) => {
                    self.scalar(scalar, |_| visit_integer(value as i128, visitor))
                }
                _ => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn entries(&self) -> Entries<'_> {
        let mapping = self.mapping().expect("invariant: asked of mappings only");
        Entries { rest: mapping.iter().enumerate(), value: None }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, Misread> {
    match (u64::try_from(value), i64::try_from(value)) {
        (Ok(value), _) => visitor.visit_u64(value),
        (_, Ok(value)) => visitor.visit_i64(value),
        _ => visitor.visit_i128(value),
    }
}

/// Configs are passed on as JSON, which has only finite numbers.
fn visit_float<'de, V: Visitor<'de>>(value: f64, visitor: V) -> Result<V::Value, Misread> {
    match value.is_finite() {
        true => visitor.visit_f64(value),
        false => Err(Misread::invalid_value(Unexpected::Float(value), &"a finite number")),
    }
}

struct Items<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Misread;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misread> {
        let Some((position, node)) = self.rest.find(|(_, node)| !node.is_broken()) else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|misread| misread.at(node.span).within(position))
    }
}

struct Entries<'de> {
    rest: std::iter::Enumerate<indexmap::map::Iter<'de, Arc<str>, Entry>>,
    value: Option<(usize, &'de Entry)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Misread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misread> {
        let next = self.rest.find(|(_, (_, entry))| !entry.value.is_broken());
        let Some((position, (name, entry))) = next else { return Ok(None) };
        self.value = Some((position, entry));
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
            .map_err(|misread: Misread| misread.at(entry.key).within(position))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misread> {
        let (position, entry) = self.value.take().expect("invariant: serde asks for a value after its key");
        seed.deserialize(&entry.value).map_err(|misread| misread.at(entry.key).within(position))
    }
}

/// A variant of an enum, with its data if it has any.
struct Choice<'de> {
    name: &'de str,
    key: Span,
    data: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Misread;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Misread> {
        let name = seed.deserialize(self.name.into_deserializer());
        Ok((name.map_err(|misread: Misread| misread.at(self.key))?, self))
    }
}

impl<'de> Choice<'de> {
    /// Reads the data; an error in it belongs to the mapping's only entry.
    fn data<T>(self, read: impl FnOnce(&'de Node) -> Result<T, Misread>) -> Result<T, Misread> {
        let Some(node) = self.data.filter(|node| !node.is_broken()) else {
            return Err(match self.data {
                Some(_) => Misread::new(Fault::consequence()),
                None => Misread::new(
                    Fault::new(
                        Code::WrongType,
                        format!("`{}` needs a value", self.name),
                        "its value is missing",
                    )
                    .help(format!("write `{}: …`", self.name)),
                ),
            });
        };
        read(node).map_err(|misread| misread.at(self.key).within(0))
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Misread;

    fn unit_variant(self) -> Result<(), Misread> {
        match self.data {
            None => Ok(()),
            Some(node) => {
                let message = format!("`{}` takes no value", self.name);
                Err(Misread::new(Fault::new(Code::WrongType, message, "remove this").at(node.span)))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misread> {
        self.data(|node| seed.deserialize(node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misread> {
        self.data(|node| node.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        self.data(|node| node.deserialize_any(visitor))
    }
}

impl Error for Misread {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Fault::new(Code::InvalidValue, message.to_string(), "here"))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found_words, expected) = (found_words(&found), expected_words(expected));
        let fault = Fault::new(
            Code::WrongType,
            format!("expected {expected}, found {found_words}"),
            format!("expected {expected}"),
        );
        Self::new(match found {
            Unexpected::Str("yes" | "no" | "on" | "off" | "Yes" | "No" | "On" | "Off")
                if expected.contains("`true`") =>
            {
                fault.help("in YAML 1.2, booleans are `true` and `false`")
            }
            _ => fault,
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, expected) = (found_words(&found), expected_words(expected));
        let message = format!("{found} is not {expected}");
        Self::new(Fault::new(Code::InvalidValue, message, format!("expected {expected}")))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let message = format!("expected {expected}, found {length}");
        Self::new(Fault::new(Code::InvalidValue, message, format!("expected {expected}")))
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let fault =
            Fault::new(Code::UnknownVariant, format!("unknown value `{found}`"), "not one of the choices");
        Self::new(fault.nearest(found, known.iter().copied()))
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::unknown_field(found, known))
    }

    fn missing_field(field: &'static str) -> Self {
        let label = format!("`{field}` is missing here");
        Self::new(Fault::new(Code::MissingField, format!("missing field `{field}`"), label))
    }
}

/// Describes what was found, in YAML terms.
fn found_words(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => match text.char_indices().nth(60) {
            Some((cut, _)) => format!("the string `{}…`", &text[..cut]),
            None => format!("the string `{text}`"),
        },
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) if value.abs() < 1e15 => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value:e}`"),
        Unexpected::Unit | Unexpected::Option => "an empty value".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

/// Describes what was expected, without Rust terms.
fn expected_words(expected: &dyn Expected) -> String {
    let words = expected.to_string();
    let range = |from: i128, to: i128| format!("a whole number from {from} to {to}");
    match &*words {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number from 0".into(),
        "i8" => range(i8::MIN.into(), i8::MAX.into()),
        "i16" => range(i16::MIN.into(), i16::MAX.into()),
        "i32" => range(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => "a whole number".into(),
        "a nonzero u32" => range(1, u32::MAX.into()),
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "`true` or `false`".into(),
        "a string" | "string" => "a string".into(),
        "a sequence" | "sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        words if words.starts_with("struct ") => "a mapping".into(),
        words if words.starts_with("enum ") => "one of the choices".into(),
        words => words.into(),
    }
}
