//! From a row's columns to a document's fields, whatever file format the row came from.
//!
//! The readers of JSON Lines, CSV and Parquet fill a [`Row`]; everything that decides a document's bytes stands
//! here, so that the same rows give the same documents in each format.

use super::faults::{Fault, ID_BYTES_MAX, METADATA_BYTES_MAX, Unreadable};
use super::metadata::MetadataColumns;
use crate::documents::Document;
use crate::json::Json;
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
    /// Columns that go into the document's metadata: a list, such as `[stars, data.tags]`, or a mapping that gives
    /// them other names, such as `{ stars: data.stats.stars }`. `["*"]` takes all columns that no other field takes.
    /// Numbers are written in decimal, lists and objects as JSON; no more than 1 MiB a document.
    pub metadata: MetadataColumns,
}

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

impl Value {
    /// A list or an object.
    pub(super) fn nested(value: &Json) -> Self {
        let mut out = String::new();
        value.write(&mut out);
        Self::Nested(out)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Nested(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A record as its reader gives it.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// By the slots of [`Wanted`].
    pub(super) slots: Vec<Option<Value>>,
    /// Other columns by name, where all are wanted.
    pub(super) rest: BTreeMap<String, Value>,
    /// Bytes of these.
    rest_bytes: usize,
}

impl Row {
    /// Adds a column that no slot is for; of two of one name the last counts. What is too much for metadata is
    /// refused before more of the row is read.
    pub(super) fn add(&mut self, name: String, value: Option<Value>) -> Result<(), Fault> {
        let length = name.len();
        let bytes = |value: &Value| length + value.bytes();
        self.rest_bytes += value.as_ref().map_or(0, bytes);
        let before = match value {
            Some(value) => self.rest.insert(name, value),
            None => self.rest.remove(&name),
        };
        self.rest_bytes -= before.as_ref().map_or(0, bytes);
        if self.rest_bytes <= METADATA_BYTES_MAX {
            return Ok(());
        }
        Err(too_much(self.rest.iter().map(|(name, value)| (name.as_str(), value.bytes()))))
    }
}

/// The fault of a row with too much metadata names the largest column.
fn too_much<'c>(columns: impl Iterator<Item = (&'c str, usize)>) -> Fault {
    let (largest, bytes) = columns.max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
    Fault::Metadata { largest: largest.to_owned(), bytes }
}

/// The columns to read, each in a slot of its own.
#[derive(Debug)]
pub(super) struct Wanted {
    slots: Vec<Slot>,
    all: bool,
}

#[derive(Debug)]
struct Slot {
    field: Field,
    column: String,
    /// Name in the metadata.
    name: String,
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
        let fields = fields.into_iter().map(|(field, column)| (field, column, column));
        let metadata = self.metadata.iter().map(|(name, column)| (Field::Metadata, column, name));
        let named = fields.chain(metadata).filter(|(_, column, _)| !column.is_empty() && *column != ALL);
        let slot = |(field, column, name): (Field, &str, &str)| Slot {
            field,
            column: column.to_owned(),
            name: name.to_owned(),
        };
        Wanted {
            slots: named.map(slot).collect(),
            all: self.metadata.iter().any(|(_, column)| column == ALL),
        }
    }
}

impl Wanted {
    /// Columns by slot.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.column.as_str())
    }

    /// Whether the columns that no slot is for are wanted too.
    pub(super) const fn all(&self) -> bool {
        self.all
    }

    /// Sees that a file has the columns that a document cannot do without: its id, if one is mapped, and its text
    /// or page. `found` tells of each slot whether the file has its column.
    pub(super) fn check_columns<'n>(
        &self,
        found: &[bool],
        names: impl Iterator<Item = &'n str>,
    ) -> Result<(), Unreadable> {
        const NAMES_MAX: usize = 20;
        let of = |is_meant: fn(&Field) -> bool| {
            self.slots.iter().zip(found).filter(move |(slot, _)| is_meant(&slot.field))
        };
        let missing = of(|field| *field == Field::Id).find(|(_, is_found)| !**is_found);
        let is_content = |field: &Field| matches!(field, Field::Text | Field::Html);
        let has_content = of(is_content).any(|(_, is_found)| *is_found);
        let missing = missing.or_else(|| of(is_content).next().filter(|_| !has_content));
        match missing {
            None => Ok(()),
            Some((slot, _)) => Err(Unreadable::NoColumn {
                missing: slot.column.clone(),
                found: names.take(NAMES_MAX).map(str::to_owned).collect(),
                delimiter: None,
            }),
        }
    }

    /// A row with nothing in it.
    pub(super) fn row(&self) -> Row {
        Row { slots: vec![None; self.slots.len()], ..Row::default() }
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
        for (Slot { field, column: name, name: fact }, value) in self.slots.iter().zip(row.slots) {
            let Some(value) = value else {
                if *field == Field::Id {
                    return Err(Fault::NoId(name.clone()));
                }
                continue;
            };
            match (field, value) {
                (Field::Metadata, value) => drop(metadata.insert(fact.clone(), shown(value, name)?)),
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
                            has_content |= !text.trim().is_empty();
                            document.text = text;
                        }
                        Field::Url => document.url = text,
                        Field::License => document.license = text,
                        Field::Date => document.date = text,
                        Field::Language => document.language = language(text),
                        Field::Html | Field::Metadata => {}
                    }
                }
            }
        }
        if !has_content {
            let content = self.slots.iter().find(|slot| matches!(slot.field, Field::Text | Field::Html));
            return Err(Fault::NoText(content.map(|slot| slot.column.clone()).unwrap_or_default()));
        }
        for (name, value) in row.rest {
            let text = shown(value, &name)?;
            metadata.entry(name).or_insert(text);
        }
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(too_much(metadata.iter().map(|(name, value)| (name.as_str(), value.len()))));
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
        Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| Fault::Unshown {
            column: name.to_owned(),
            what: "binary data, which is not text".to_owned(),
        }),
        Value::Nested(_) => Err(Fault::NotText(name.to_owned())),
    }
}

fn shown(value: Value, name: &str) -> Result<String, Fault> {
    match value {
        Value::Nested(json) => Ok(json),
        value => plain(value, name),
    }
}

/// The language of a tag, in lower case: `pt` for `pt-BR`, `en` for `EN`.
fn language(tag: String) -> String {
    let language = tag.trim().split(['-', '_']).next().unwrap_or_default();
    language.to_ascii_lowercase()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Value> {
        Some(Value::Text(text.to_owned()))
    }

    fn columns() -> Columns {
        Columns { id: "key".into(), url: "link".into(), metadata: ["stars"].into(), ..Columns::default() }
    }

    fn document(columns: &Columns, slots: Vec<Option<Value>>) -> Result<Document, Fault> {
        columns.wanted().document(Row { slots, ..Row::default() }, || "place".into(), 100)
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
        assert_eq!(document(&Columns::default(), vec![text("T")]).unwrap().id, "place");
    }

    #[test]
    fn columns_of_metadata_can_have_other_names() {
        let columns = Columns { metadata: [("stars", "data.stars")].into(), ..Columns::default() };
        assert_eq!(columns.wanted().names().collect::<Vec<_>>(), ["text", "data.stars"]);
        let found = document(&columns, vec![text("T"), text("4")]).unwrap();
        assert_eq!(found.metadata, BTreeMap::from([("stars".into(), "4".into())]));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told() {
        let fault = |slots| document(&columns(), slots).unwrap_err();
        assert_eq!(fault(vec![None, text("T"), None, None]), Fault::NoId("key".into()));
        assert_eq!(fault(vec![text(""), text("T"), None, None]), Fault::NoId("key".into()));
        assert_eq!(fault(vec![text("a\nb"), text("T"), None, None]), Fault::BadId);
        assert_eq!(fault(vec![text("a"), None, None, None]), Fault::NoText("text".into()));
        assert_eq!(fault(vec![text("a"), text(" \n"), None, None]), Fault::NoText("text".into()));
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
}
