//! From a row's columns to a document's fields, whatever file format the row came from.
//!
//! The readers of JSON Lines, CSV and Parquet fill a [`Row`]; everything that decides a document's bytes stands
//! here, so that the same rows give the same documents in each format.

use crate::documents::Document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which column of a record goes into which field of its document.
///
/// A nested column is named by its path: `data.body`. What is not named is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Names the record within its source. Ids and the borders of shards follow it, not file and row, so the
    /// same records in other files or another format make the same shards. Without it, file and row are the id.
    pub id: String,
    /// Plain text; the column `text` where neither this nor `html` is set.
    pub text: String,
    /// A page, for `clean` to take its text out.
    pub html: String,
    /// Address of the record.
    pub url: String,
    /// Licence, as an SPDX expression; that of the source where it is empty.
    pub license: String,
    /// ISO 8601 date.
    pub date: String,
    /// ISO 639-1 code.
    pub language: String,
    /// Columns that go into the document's metadata under their own names; `["*"]` takes all that no other field
    /// takes. Numbers are written in decimal, lists and objects as JSON; no more than 64 KiB a document.
    pub metadata: Vec<String>,
}

/// Bytes of a document's metadata from columns.
const METADATA_BYTES_MAX: usize = 64 << 10;
/// Bytes of an id.
const ID_BYTES_MAX: usize = 1024;
/// What takes all columns.
pub(super) const ALL: &str = "*";

/// A field of a document that a column goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Text,
    Html,
    Url,
    License,
    Date,
    Language,
    Metadata,
}

/// The value of a column; null is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bytes(Vec<u8>),
    /// A list or an object, as JSON with sorted keys.
    Nested(String),
}

/// A record as its reader gives it.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// By the slots of [`Wanted`].
    pub(super) slots: Vec<Option<Value>>,
    /// Other columns by name, where all are wanted.
    pub(super) rest: Vec<(String, Value)>,
}

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is not a JSON object: {0}")]
    Json(String),
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it has {found} fields under {expected} columns")]
    Ragged { found: usize, expected: usize },
    #[error("it has no `{0}`, which the id is taken from")]
    NoId(String),
    #[error("its id is longer than {ID_BYTES_MAX} bytes or has control characters")]
    BadId,
    #[error("it has no `{0}`")]
    NoText(String),
    #[error("its `{0}` is no text")]
    NotText(String),
    #[error("it has {0} bytes of text")]
    TooLarge(usize),
    #[error("its metadata has {0} bytes, and {METADATA_BYTES_MAX} are allowed")]
    Metadata(usize),
    #[error("another record has this id and comes first")]
    Duplicate,
}

impl Fault {
    /// Stable name for reports.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::TooLong(_) => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::Ragged { .. } => "ragged",
            Self::NoId(_) => "no_id",
            Self::BadId => "bad_id",
            Self::NoText(_) => "no_text",
            Self::NotText(_) => "not_text",
            Self::TooLarge(_) => "too_large",
            Self::Metadata(_) => "metadata_too_large",
            Self::Duplicate => "duplicate_id",
        }
    }
}

/// The columns to read, each in a slot of its own.
#[derive(Debug)]
pub(super) struct Wanted {
    slots: Vec<(Field, String)>,
    all: bool,
}

impl Columns {
    /// Where `text` is looked for, unless a page is.
    fn text_column(&self) -> &str {
        if self.text.is_empty() && self.html.is_empty() { "text" } else { &self.text }
    }

    pub(super) fn wanted(&self) -> Wanted {
        let fields = [
            (Field::Id, self.id.as_str()),
            (Field::Text, self.text_column()),
            (Field::Html, &self.html),
            (Field::Url, &self.url),
            (Field::License, &self.license),
            (Field::Date, &self.date),
            (Field::Language, &self.language),
        ];
        let metadata = self.metadata.iter().map(|name| (Field::Metadata, name.as_str()));
        let named = fields.into_iter().chain(metadata).filter(|(_, name)| !name.is_empty() && *name != ALL);
        Wanted {
            slots: named.map(|(field, name)| (field, name.to_owned())).collect(),
            all: self.metadata.iter().any(|name| name == ALL),
        }
    }
}

impl Wanted {
    /// Columns by slot.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|(_, name)| name.as_str())
    }

    /// Whether the columns that no slot is for are wanted too.
    pub(super) const fn all(&self) -> bool {
        self.all
    }

    /// A row with nothing in it.
    pub(super) fn row(&self) -> Row {
        Row { slots: vec![None; self.slots.len()], rest: Vec::new() }
    }

    /// Makes a document of a row. Its id is that of the column, or `place` where none is mapped.
    pub(super) fn document(
        &self,
        row: Row,
        place: impl FnOnce() -> String,
        bytes_max: usize,
    ) -> Result<Document, Fault> {
        let mut document = Document::default();
        let mut metadata = BTreeMap::new();
        let (mut has_id, mut has_content) = (false, false);
        for ((field, name), value) in self.slots.iter().zip(row.slots) {
            let Some(value) = value else {
                if *field == Field::Id {
                    return Err(Fault::NoId(name.clone()));
                }
                continue;
            };
            match (field, value) {
                (Field::Metadata, value) => drop(metadata.insert(name.clone(), shown(value, name)?)),
                (Field::Html, Value::Bytes(bytes)) => {
                    document.html = Some(bytes);
                    has_content = true;
                }
                (Field::Html, Value::Text(text)) => {
                    document.html = Some(text.into_bytes());
                    has_content = true;
                }
                (_, value) => {
                    let text = plain(value, name)?;
                    match field {
                        Field::Id => {
                            check_id(&text, name)?;
                            document.id = text;
                            has_id = true;
                        }
                        Field::Text => {
                            document.text = text;
                            has_content = true;
                        }
                        Field::Url => document.url = text,
                        Field::License => document.license = text,
                        Field::Date => document.date = text,
                        Field::Language => document.language = text,
                        Field::Html | Field::Metadata => {}
                    }
                }
            }
        }
        if !has_content {
            let content = self.slots.iter().find(|(field, _)| matches!(field, Field::Text | Field::Html));
            return Err(Fault::NoText(content.map(|(_, name)| name.clone()).unwrap_or_default()));
        }
        for (name, value) in row.rest {
            let text = shown(value, &name)?;
            metadata.entry(name).or_insert(text);
        }
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(Fault::Metadata(bytes));
        }
        document.metadata = metadata;
        let bytes = document.bytes();
        if bytes > bytes_max {
            return Err(Fault::TooLarge(bytes));
        }
        if !has_id {
            document.id = place();
        }
        Ok(document)
    }
}

/// Takes a value for a field that is one text.
fn plain(value: Value, name: &str) -> Result<String, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| Fault::NotUtf8),
        Value::Nested(_) => Err(Fault::NotText(name.to_owned())),
    }
}

fn shown(value: Value, name: &str) -> Result<String, Fault> {
    match value {
        Value::Nested(json) => Ok(json),
        value => plain(value, name),
    }
}

fn check_id(id: &str, column: &str) -> Result<(), Fault> {
    if id.is_empty() {
        return Err(Fault::NoId(column.to_owned()));
    }
    if id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(Fault::BadId);
    }
    Ok(())
}

/// A number as text, the same from every format: the shortest that gives it back.
pub(super) fn float(value: f64) -> String {
    format!("{value:?}")
}

/// Writes JSON with sorted keys. Its depth is that of the parser's limit.
pub(super) fn write_json(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value as Json;
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(value)) => out.push_str(&float(value)),
            _ => out.push_str(&number.to_string()),
        },
        Json::String(text) => write_json_text(text, out),
        Json::Array(values) => {
            out.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_json(value, out);
            }
            out.push(']');
        }
        Json::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            out.push('{');
            for (position, (name, value)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_json_text(name, out);
                out.push(':');
                write_json(value, out);
            }
            out.push('}');
        }
    }
}

fn write_json_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("invariant: a text is JSON"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Value> {
        Some(Value::Text(text.to_owned()))
    }

    fn columns() -> Columns {
        Columns { id: "key".into(), url: "link".into(), metadata: vec!["stars".into()], ..Columns::default() }
    }

    fn document(columns: &Columns, slots: Vec<Option<Value>>) -> Result<Document, Fault> {
        columns.wanted().document(Row { slots, rest: Vec::new() }, || "place".into(), 100)
    }

    #[test]
    fn rows_become_documents() {
        assert_eq!(columns().wanted().names().collect::<Vec<_>>(), ["key", "text", "link", "stars"]);
        let found = document(&columns(), vec![text("7"), text("T"), text("U"), text("4.5")]).unwrap();
        let expected = Document {
            id: "7".into(),
            text: "T".into(),
            url: "U".into(),
            metadata: BTreeMap::from([("stars".into(), "4.5".into())]),
            ..Document::default()
        };
        assert_eq!(found, expected);
        assert_eq!(document(&Columns::default(), vec![text("")]).unwrap().id, "place");
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told() {
        let fault = |slots| document(&columns(), slots).unwrap_err();
        assert_eq!(fault(vec![None, text("T"), None, None]), Fault::NoId("key".into()));
        assert_eq!(fault(vec![text(""), text("T"), None, None]), Fault::NoId("key".into()));
        assert_eq!(fault(vec![text("a\nb"), text("T"), None, None]), Fault::BadId);
        assert_eq!(fault(vec![text("a"), None, None, None]), Fault::NoText("text".into()));
        let list = Some(Value::Nested("[]".into()));
        assert_eq!(fault(vec![text("a"), list, None, None]), Fault::NotText("text".into()));
        assert_eq!(fault(vec![text("a"), text(&"x".repeat(100)), None, None]), Fault::TooLarge(101));
    }

    #[test]
    fn pages_stand_in_for_text() {
        let columns = Columns { html: "page".into(), ..Columns::default() };
        let found = document(&columns, vec![Some(Value::Bytes(vec![b'<']))]).unwrap();
        assert_eq!((found.text.as_str(), found.html), ("", Some(vec![b'<'])));
        assert_eq!(document(&columns, vec![None]), Err(Fault::NoText("page".into())));
    }

    #[test]
    fn json_is_written_one_way() {
        let value = serde_json::from_str(r#"{"b": [1, 2.50, null], "a": {"é": "\u0001"}}"#).unwrap();
        let mut out = String::new();
        write_json(&value, &mut out);
        assert_eq!(out, r#"{"a":{"é":"\u0001"},"b":[1,2.5,null]}"#);
    }
}
