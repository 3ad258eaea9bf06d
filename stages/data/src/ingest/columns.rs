//! Maps the columns of a row to the fields of a document, for all file formats.
//!
//! The readers of JSON Lines, CSV, Parquet and other formats fill a [`Row`]; everything that determines the bytes of
//! a document is here, so that the same rows give the same documents in every format.

use super::faults::{Fault, ID_BYTES_MAX, METADATA_BYTES_MAX, Unreadable};
use super::metadata::MetadataColumns;
use crate::documents::Document;
use crate::json::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which column of a record goes to which field of its document.
///
/// A nested column is given by its path: `data.body`. Columns that are not named are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Column that identifies the record within its source. Ids and shard borders follow from it instead of file and
    /// row, so the same records in other files or formats make the same shards. Without it, the id is made of file
    /// and row.
    pub id: String,
    /// Column with plain text. If neither this nor `html` is set, the column `text` is used. `null` reads records
    /// without text, such as chats, whose content is in `metadata`; `examples` makes texts of them.
    pub text: Option<String>,
    /// Column with an HTML page, from which `clean` extracts the text.
    pub html: String,
    /// Column with the address of the record.
    pub url: String,
    /// Column with the licence, as an SPDX expression. Where it is empty, the licence of the source applies.
    pub license: String,
    /// Column with the date in ISO 8601.
    pub date: String,
    /// Column with the language, as an ISO 639-1 code.
    pub language: String,
    /// Column with the media type of the page and its charset, as a server sent it: `text/html; charset=gbk`.
    pub media_type: String,
    /// Columns to copy to the document's metadata: a list, such as `[stars, data.tags]`, or a mapping that renames
    /// them, such as `{ stars: data.stats.stars }`. `["*"]` copies all columns that no other field uses. Numbers are
    /// written in decimal, lists and objects as JSON; at most 1 MiB per document.
    pub metadata: MetadataColumns,
}

impl Default for Columns {
    fn default() -> Self {
        let unset = String::new;
        Self {
            id: unset(),
            text: Some(unset()),
            html: unset(),
            url: unset(),
            license: unset(),
            date: unset(),
            language: unset(),
            media_type: unset(),
            metadata: MetadataColumns::default(),
        }
    }
}

/// Selects all columns.
pub(super) const ALL: &str = "*";

/// A field of a document that a column is mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Text,
    Html,
    Url,
    License,
    Date,
    Language,
    MediaType,
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

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Nested(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A record, as its reader provides it.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Values by the slots of [`Wanted`].
    pub(super) slots: Vec<Option<Value>>,
    /// Other columns by name, if all are wanted.
    pub(super) rest: BTreeMap<String, Value>,
    /// Size of these in bytes.
    rest_bytes: usize,
}

impl Row {
    /// Adds a column without a slot, whose name is new. Rows with too much metadata are refused before the rest of the
    /// row is read.
    pub(super) fn add(&mut self, name: String, value: Option<Value>) -> Result<(), Fault> {
        let length = name.len();
        let bytes = |value: &Value| length + value.bytes();
        self.rest_bytes += value.as_ref().map_or(0, bytes);
        if let Some(value) = value {
            self.rest.insert(name, value);
        }
        if self.rest_bytes <= METADATA_BYTES_MAX {
            return Ok(());
        }
        Err(too_much(self.rest.iter().map(|(name, value)| (name.as_str(), value.bytes()))))
    }
}

/// The error for a row with too much metadata; it names the largest column.
fn too_much<'c>(columns: impl Iterator<Item = (&'c str, usize)>) -> Fault {
    let (largest, bytes) = columns.max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
    Fault::Metadata { largest: largest.to_owned(), bytes }
}

/// The columns to read, each with its own slot.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    slots: Vec<Slot>,
    all: bool,
}

#[derive(Debug, Clone)]
struct Slot {
    field: Field,
    column: String,
    /// Name in the metadata.
    name: String,
}

impl Columns {
    /// The column of the text; empty if there is none, or if a page is mapped instead.
    fn text_column(&self) -> &str {
        match &self.text {
            Some(text) if text.is_empty() && self.html.is_empty() => "text",
            text => text.as_deref().unwrap_or_default(),
        }
    }

    /// Whether this column is that of the text or the page.
    pub(super) fn is_text_column(&self, column: &str) -> bool {
        [self.text_column(), &self.html].contains(&column)
    }

    /// Whether the records have neither text nor a page, only metadata.
    pub(super) const fn are_without_text(&self) -> bool {
        self.text.is_none() && self.html.is_empty()
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
            (Field::MediaType, &self.media_type),
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

    /// The columns that are not present, by slot.
    pub(super) fn missing(&self, present: &[bool]) -> Vec<String> {
        let names = self.names().zip(present);
        names.filter(|(_, is_present)| !**is_present).map(|(name, _)| name.to_owned()).collect()
    }

    /// These columns and another one, which gets the last slot.
    pub(super) fn with_metadata(&self, column: &str) -> Self {
        let mut more = self.clone();
        more.slots.push(Slot { field: Field::Metadata, column: column.to_owned(), name: column.to_owned() });
        more
    }

    /// Whether columns without a slot are wanted too.
    pub(super) const fn all(&self) -> bool {
        self.all
    }

    /// Checks that a file has the columns that documents require: the id, if mapped, and the text or page. `found`
    /// says for each slot whether the file has its column.
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

    /// An empty row.
    pub(super) fn row(&self) -> Row {
        Row { slots: vec![None; self.slots.len()], ..Row::default() }
    }

    /// Makes a document from a row. Its id is the value of the id column, or `place` if none is mapped.
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
                (Field::Html, Value::Bytes(bytes)) => document.html = page(bytes),
                (Field::Html, Value::Text(text)) => document.html = page(text.into_bytes()),
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
                        Field::MediaType => document.media_type = text,
                        Field::Html | Field::Metadata => {}
                    }
                }
            }
        }
        let content = self.slots.iter().find(|slot| matches!(slot.field, Field::Text | Field::Html));
        if let Some(content) = content.filter(|_| !has_content && document.html.is_none()) {
            return Err(Fault::NoText(content.column.clone()));
        }
        for (name, value) in row.rest {
            let text = shown(value, &name)?;
            metadata.entry(name).or_insert(text);
        }
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(too_much(metadata.iter().map(|(name, value)| (name.as_str(), value.len()))));
        }
        if content.is_none() && metadata.is_empty() {
            return Err(Fault::NoMetadata);
        }
        document.metadata = metadata;
        let bytes = document.bytes();
        if bytes > bytes_max {
            return Err(Fault::TooLarge { bytes, max: bytes_max });
        }
        if !has_id {
            document.id = place();
        }
        Ok(document)
    }
}

/// A page, unless it is blank.
fn page(html: Vec<u8>) -> Option<Vec<u8>> {
    (!html.trim_ascii().is_empty()).then_some(html)
}

/// Converts the value of a field that holds a single text.
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
        assert_eq!(
            fault(vec![text("a"), text(&"x".repeat(100)), None, None]),
            Fault::TooLarge { bytes: 101, max: 100 }
        );
    }

    #[test]
    fn pages_stand_in_for_text() {
        let columns = Columns { html: "page".into(), ..Columns::default() };
        let found = document(&columns, vec![Some(Value::Bytes(vec![b'<']))]).unwrap();
        assert_eq!((found.text.as_str(), found.html), ("", Some(vec![b'<'])));
        assert_eq!(document(&columns, vec![None]), Err(Fault::NoText("page".into())));
        assert_eq!(document(&columns, vec![text(" \n")]), Err(Fault::NoText("page".into())));
    }

    #[test]
    fn metadata_is_enough_for_records_without_text() {
        let columns = Columns { text: None, metadata: ["messages"].into(), ..Columns::default() };
        assert_eq!(columns.wanted().names().collect::<Vec<_>>(), ["messages"]);
        let messages = r#"[{"role":"user"}]"#;
        let found = document(&columns, vec![Some(Value::Nested(messages.into()))]).unwrap();
        assert_eq!((found.text.as_str(), found.metadata["messages"].as_str()), ("", messages));
        assert_eq!(document(&columns, vec![None]), Err(Fault::NoMetadata));
    }
}
