//! JSON Lines -> rows. A line that is broken costs itself; an endless one costs a buffer of bounded size.

use super::columns::{Fault, Row, Value, Wanted, float, write_json};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// Reads lines and gives each that is not blank, with its number from 1. Lines beyond `line_bytes_max` are
/// passed over.
///
/// # Errors
/// Where `input` fails, or `each` does.
pub(super) fn read<E: From<io::Error>>(
    input: impl Read,
    wanted: &Wanted,
    line_bytes_max: u64,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<(), E> {
    let tree = Node::of(wanted);
    let mut input = BufReader::with_capacity(256 << 10, input);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = input.by_ref().take(line_bytes_max + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if read as u64 > line_bytes_max && line.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
            line.truncate(1 << 10);
            line.shrink_to_fit();
            each(number, Err(Fault::TooLong(line_bytes_max)))?;
            continue;
        }
        let mut text = line.trim_ascii();
        if number == 1 {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        if !text.is_empty() {
            each(number, parse(text, wanted, &tree))?;
        }
    }
}

fn parse(line: &[u8], wanted: &Wanted, tree: &Node) -> Result<Row, Fault> {
    let mut row = wanted.row();
    let parsed = std::str::from_utf8(line).map_err(|_| Fault::NotUtf8).and_then(|line| {
        let mut json = serde_json::Deserializer::from_str(line);
        let picked = Pick { node: tree, row: &mut row, all: wanted.all() }.deserialize(&mut json);
        picked.and_then(|()| json.end()).map_err(|error| Fault::Json(told(&error)))
    });
    parsed.map(|()| row)
}

/// The error without its line, which is 1 always.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) => format!("{text} at column {}", error.column()),
        None => text,
    }
}

/// The wanted columns as a tree of names.
#[derive(Debug, Default)]
struct Node {
    slots: Vec<usize>,
    children: Vec<(String, Node)>,
}

impl Node {
    fn of(wanted: &Wanted) -> Self {
        let mut root = Self::default();
        for (slot, path) in wanted.names().enumerate() {
            let mut node = &mut root;
            for part in path.split('.') {
                node = node.child(part);
            }
            node.slots.push(slot);
            // A name that holds a dot itself.
            if path.contains('.') {
                root.child(path).slots.push(slot);
            }
        }
        root
    }

    fn child(&mut self, name: &str) -> &mut Self {
        let found = self.children.iter().position(|(own, _)| own == name);
        let at = found.unwrap_or_else(|| {
            self.children.push((name.to_owned(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(own, _)| own == name).map(|(_, node)| node)
    }
}

/// Takes the wanted fields of an object and passes over all others.
struct Pick<'a> {
    node: &'a Node,
    row: &'a mut Row,
    all: bool,
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key { node: self.node, all: self.all })? {
            match key {
                Found::Node(node) if node.children.is_empty() => {
                    let value = map.next_value_seed(Capture)?;
                    // The last of two fields of one name counts, as in most readers.
                    node.slots.iter().for_each(|slot| self.row.slots[*slot].clone_from(&value));
                }
                Found::Node(node) => {
                    let value: serde_json::Value = map.next_value()?;
                    pick(&value, node, self.row);
                }
                Found::Other(name) => {
                    if let Some(value) = map.next_value_seed(Capture)? {
                        self.row.rest.retain(|(own, _)| *own != name);
                        self.row.rest.push((name, value));
                    }
                }
                Found::Nothing => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Takes the wanted fields below a nested value; its depth is that of the config's paths.
fn pick(value: &serde_json::Value, node: &Node, row: &mut Row) {
    node.slots.iter().for_each(|slot| row.slots[*slot] = captured(value));
    for (name, child) in &node.children {
        if let Some(value) = value.get(name) {
            pick(value, child, row);
        }
    }
}

enum Found<'a> {
    Node(&'a Node),
    Other(String),
    Nothing,
}

struct Key<'a> {
    node: &'a Node,
    all: bool,
}

impl<'de, 'a> DeserializeSeed<'de> for Key<'a> {
    type Value = Found<'a>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Found<'a>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Key<'a> {
    type Value = Found<'a>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Found<'a>, E> {
        Ok(match self.node.find(name) {
            Some(node) => Found::Node(node),
            None if self.all => Found::Other(name.to_owned()),
            None => Found::Nothing,
        })
    }
}

/// Any value as a column's.
struct Capture;

impl<'de> DeserializeSeed<'de> for Capture {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Value>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Capture {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(Value::Text(text)))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.visit_string(value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.visit_string(value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.visit_string(value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        self.visit_string(float(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element::<serde_json::Value>()? {
            values.push(value);
        }
        Ok(captured(&serde_json::Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
            fields.insert(name, value);
        }
        Ok(captured(&serde_json::Value::Object(fields)))
    }
}

fn captured(value: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    match value {
        Json::Null => None,
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Array(_) | Json::Object(_) => {
            let mut out = String::new();
            write_json(value, &mut out);
            Some(Value::Nested(out))
        }
        scalar => {
            let mut out = String::new();
            write_json(scalar, &mut out);
            Some(Value::Text(out))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::columns::Columns;

    type Rows = Vec<(u64, Result<(Vec<Option<String>>, Vec<String>), &'static str>)>;

    fn texts(value: &Option<Value>) -> Option<String> {
        value.as_ref().map(|value| match value {
            Value::Text(text) | Value::Nested(text) => text.clone(),
            Value::Bytes(bytes) => format!("{bytes:?}"),
        })
    }

    fn rows(columns: &Columns, text: &[u8], max: u64) -> Rows {
        let mut rows = Vec::new();
        read(text, &columns.wanted(), max, |number, row| {
            let row = row.map_err(|fault| fault.code()).map(|row| {
                (row.slots.iter().map(texts).collect(), row.rest.into_iter().map(|(name, _)| name).collect())
            });
            rows.push((number, row));
            Ok::<_, io::Error>(())
        })
        .unwrap();
        rows
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn takes_columns_and_nested_columns() {
        let columns = Columns {
            id: "id".into(),
            text: "data.body".into(),
            metadata: vec!["data".into(), "n".into()],
            ..Columns::default()
        };
        let line = br#"{"skip": [{"data": 1}], "data": {"x": true, "body": "B"}, "n": 1.50, "id": 12}"#;
        let found = rows(&columns, line, 1000);
        assert_eq!(found, [(1, Ok((some(&["12", "B", r#"{"body":"B","x":true}"#, "1.5"]), vec![])))]);
        let flat = rows(&columns, br#"{"id": "a", "data.body": "B"}"#, 1000);
        assert_eq!(flat[0].1.as_ref().unwrap().0[..2], some(&["a", "B"]));
    }

    #[test]
    fn takes_all_columns_where_asked() {
        let columns = Columns { metadata: vec!["*".into()], ..Columns::default() };
        let found = rows(&columns, br#"{"text": "T", "b": 1, "a": [], "none": null}"#, 1000);
        assert_eq!(found, [(1, Ok((some(&["T"]), vec!["b".into(), "a".into()])))]);
    }

    #[test]
    fn broken_lines_cost_themselves() {
        let deep = format!("{{\"text\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
        let unseen = format!("{{\"text\": \"T\", \"x\": {}1{}}}", "[".repeat(90), "]".repeat(90));
        let text = [
            b"\xEF\xBB\xBF{\"text\": \"A\"}\r\n".as_slice(),
            b"\n",
            b"{\"text\": \n",
            b"[1]\n",
            b"{\"text\": \"\xFF\"}\n",
            b"{\"text\": \"B\"} more\n",
            deep.as_bytes(),
            b"\n",
            unseen.as_bytes(),
            b"\n",
            b"{\"text\": \"last, without a line feed\"}",
        ]
        .concat();
        let found: Vec<(u64, Result<(), &str>)> =
            rows(&Columns::default(), &text, 20_000).into_iter().map(|(n, row)| (n, row.map(drop))).collect();
        let (json, utf8) = (Err("json"), Err("not_utf8"));
        assert_eq!(
            found,
            [(1, Ok(())), (3, json), (4, json), (5, utf8), (6, json), (7, json), (8, Ok(())), (9, Ok(()))]
        );
    }

    #[test]
    fn an_endless_line_is_passed_over() {
        let text = [b"{\"text\": \"".as_slice(), &[b'x'; 1000], b"\"}\n{\"text\": \"B\"}\n"].concat();
        let found = rows(&Columns::default(), &text, 100);
        assert_eq!(found, [(1, Err("too_long")), (2, Ok((some(&["B"]), vec![])))]);
    }
}
