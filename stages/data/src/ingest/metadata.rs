//! Which columns go to a document's metadata, and under which names.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Columns with their names in the metadata: a list if they keep their names, otherwise a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataColumns(Vec<(String, String)>);

impl MetadataColumns {
    /// Names and columns.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, column)| (name.as_str(), column.as_str()))
    }
}

impl MetadataColumns {
    /// Sets the columns if there are none.
    pub(super) fn default_to<const N: usize>(&mut self, columns: [(&str, &str); N]) {
        if self.0.is_empty() {
            *self = columns.into();
        }
    }
}

impl<const N: usize> From<[&str; N]> for MetadataColumns {
    fn from(columns: [&str; N]) -> Self {
        Self(columns.into_iter().map(|column| (column.to_owned(), column.to_owned())).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for MetadataColumns {
    fn from(columns: [(&str, &str); N]) -> Self {
        Self(columns.into_iter().map(|(name, column)| (name.to_owned(), column.to_owned())).collect())
    }
}

impl Serialize for MetadataColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.iter().all(|(name, column)| name == column) {
            serializer.collect_seq(self.0.iter().map(|(_, column)| column))
        } else {
            serializer.collect_map(self.0.iter().map(|(name, column)| (name, column)))
        }
    }
}

impl<'de> Deserialize<'de> for MetadataColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Columns)
    }
}

struct Columns;

impl<'de> Visitor<'de> for Columns {
    type Value = MetadataColumns;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of columns, or a mapping of names to columns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut columns = Vec::new();
        while let Some(column) = list.next_element::<String>()? {
            columns.push((column.clone(), column));
        }
        Ok(MetadataColumns(columns))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut columns = Vec::new();
        while let Some(entry) = map.next_entry::<String, String>()? {
            columns.push(entry);
        }
        Ok(MetadataColumns(columns))
    }
}

impl JsonSchema for MetadataColumns {
    fn schema_name() -> Cow<'static, str> {
        "MetadataColumns".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                { "type": "object", "additionalProperties": { "type": "string" } }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_mappings_are_read_and_written() {
        let read = |text: &str| serde_json::from_str::<MetadataColumns>(text).unwrap();
        assert_eq!(read(r#"["a", "*"]"#), MetadataColumns::from(["a", "*"]));
        assert_eq!(read(r#"{"stars": "data.stars"}"#), MetadataColumns::from([("stars", "data.stars")]));
        for text in [r#"["a","b"]"#, r#"{"a":"b","*":"*"}"#, "[]"] {
            assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        }
        assert!(serde_json::from_str::<MetadataColumns>("1").is_err());
    }
}
