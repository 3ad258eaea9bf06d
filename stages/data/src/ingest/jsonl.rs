//! JSON Lines → rows. A syntax error affects only its line; memory is bounded even for a line without end.

use super::columns::{Row, Value, Wanted};
use super::faults::Fault;
use crate::json::{Json, Parser};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

/// Reads lines and passes on each that is not blank, numbered from 1. Lines longer than `line_bytes_max` are skipped.
///
/// # Errors
/// If `input` or `each` fails.
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

/// Reads the wanted columns of an object.
pub(super) fn parse(text: &[u8], wanted: &Wanted, tree: &Node) -> Result<Row, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::NotUtf8)?;
    let mut row = wanted.row();
    let mut json = Parser::new(text);
    json.object(|json, name| match tree.children.get(name.as_ref()) {
        Some(node) => {
            node.take(json.value()?, &mut row);
            Ok(())
        }
        None if wanted.all() => {
            let value = column(json.value()?);
            row.add(name.into_owned(), value)
        }
        None => json.skip().map_err(Fault::Json),
    })?;
    json.end()?;
    Ok(row)
}

impl From<String> for Fault {
    fn from(error: String) -> Self {
        Self::Json(error)
    }
}

/// A value as a column's.
fn column(value: Json) -> Option<Value> {
    match value {
        Json::Null => None,
        Json::Text(text) | Json::Number(text) => Some(Value::Text(text)),
        Json::Bool(value) => Some(Value::Text(value.to_string())),
        nested => Some(Value::nested(&nested)),
    }
}

/// The wanted columns as a tree of field names.
#[derive(Debug, Default)]
pub(super) struct Node {
    slots: Vec<usize>,
    children: BTreeMap<String, Node>,
}

impl Node {
    pub(super) fn of(wanted: &Wanted) -> Self {
        let mut root = Self::default();
        for (slot, path) in wanted.names().enumerate() {
            let mut node = &mut root;
            for part in path.split('.') {
                node = node.children.entry(part.to_owned()).or_default();
            }
            node.slots.push(slot);
            // A field whose name contains a dot.
            if path.contains('.') {
                root.children.entry(path.to_owned()).or_default().slots.push(slot);
            }
        }
        root
    }

    /// Reads a value and the wanted fields below it. The depth is limited by the paths in the config.
    fn take(&self, value: Json, row: &mut Row) {
        for (name, child) in &self.children {
            if let Json::Object(fields) = &value
                && let Some(value) = fields.get(name)
            {
                child.take(value.clone(), row);
            }
        }
        if let Some((last, others)) = self.slots.split_last() {
            let value = column(value);
            others.iter().for_each(|slot| row.slots[*slot].clone_from(&value));
            row.slots[*last] = value;
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
            let row = row
                .map_err(|fault| fault.code())
                .map(|row| (row.slots.iter().map(texts).collect(), row.rest.into_keys().collect()));
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
            metadata: ["data", "n"].into(),
            ..Columns::default()
        };
        let line = br#"{"skip": [{"data": 1}], "data": {"x": true, "body": "B"}, "n": 1.50, "id": 12}"#;
        let found = rows(&columns, line, 1000);
        assert_eq!(found, [(1, Ok((some(&["12", "B", r#"{"body":"B","x":true}"#, "1.50"]), vec![])))]);
        let flat = rows(&columns, br#"{"id": "a", "data.body": "B"}"#, 1000);
        assert_eq!(flat[0].1.as_ref().unwrap().0[..2], some(&["a", "B"]));
    }

    #[test]
    fn takes_all_columns_where_asked() {
        let columns = Columns { metadata: ["*"].into(), ..Columns::default() };
        let found = rows(&columns, br#"{"text": "T", "b": 1, "a": [], "none": null}"#, 1000);
        assert_eq!(found, [(1, Ok((some(&["T"]), vec!["a".into(), "b".into()])))]);
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
