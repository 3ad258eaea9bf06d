//! JSON Lines → rows. A syntax error affects only its line; memory is bounded even for a line without end.

use super::columns::{Row, Value, Wanted};
use super::faults::Fault;
use crate::json::{Json, Parser, Refused};
use std::collections::{BTreeMap, BTreeSet};
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

/// Reads the wanted columns of an object. A key that is read must not occur twice.
pub(super) fn parse(text: &[u8], wanted: &Wanted, tree: &Node) -> Result<Row, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::NotUtf8)?;
    let mut row = wanted.row();
    let mut json = Parser::new(text);
    let mut read = BTreeSet::new();
    json.object(|json, name| {
        let node = tree.children.get(name.as_ref());
        if node.is_none() && !wanted.all() {
            return Ok(json.skip()?);
        }
        if !read.insert(name.clone()) {
            return Err(Fault::TwoKeys(name.into_owned()));
        }
        match node {
            Some(node) => node.take(json.value()?, name.as_ref(), &mut row),
            None => {
                let value = column(json.value()?);
                row.add(name.into_owned(), value)
            }
        }
    })?;
    json.end()?;
    Ok(row)
}

impl From<Refused> for Fault {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Syntax(what) => Self::Json(what),
            Refused::TwoKeys(key) => Self::TwoKeys(key),
        }
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

    /// Reads the value of a key and the wanted fields below it. The depth is limited by the paths in the config.
    ///
    /// # Errors
    /// If a column is there twice, nested and under a key with a dot.
    fn take(&self, value: Json, key: &str, row: &mut Row) -> Result<(), Fault> {
        for (name, child) in &self.children {
            if let Json::Object(fields) = &value
                && let Some(value) = fields.get(name)
            {
                child.take(value.clone(), name, row)?;
            }
        }
        if let Some(value) = column(value) {
            for slot in &self.slots {
                if row.slots[*slot].replace(value.clone()).is_some() {
                    return Err(Fault::TwoKeys(key.to_owned()));
                }
            }
        }
        Ok(())
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
            text: Some("data.body".into()),
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
    fn a_line_of_many_keys_takes_time_in_proportion() {
        // Each key was compared with all before it, which took minutes at this size.
        let columns = Columns { metadata: ["*"].into(), ..Columns::default() };
        let line = |value: &str| {
            let keys: String = (0..500_000).map(|key| format!(", \"k{key}\": {value}")).collect();
            format!("{{\"text\": \"T\"{keys}}}\n{{\"text\": \"U\"}}\n")
        };
        let next = (2, Ok((some(&["U"]), vec![])));
        let empty = (1, Ok((some(&["T"]), vec![])));
        assert_eq!(rows(&columns, line("null").as_bytes(), 1 << 30), [empty, next.clone()]);
        assert_eq!(rows(&columns, line("1").as_bytes(), 1 << 30), [(1, Err("metadata_too_large")), next]);
    }

    #[test]
    fn a_key_that_is_read_occurs_once() {
        let columns = Columns { metadata: ["data.x"].into(), ..Columns::default() };
        let all = Columns { metadata: ["*"].into(), ..Columns::default() };
        let outcome =
            |columns: &Columns, line: &str| rows(columns, line.as_bytes(), 1000).remove(0).1.map(drop);
        for line in [
            r#"{"text": "a", "text": "b"}"#,
            r#"{"text": null, "text": "b"}"#,
            r#"{"text": "a", "data": {"x": 1, "x": 1}}"#,
            r#"{"text": "a", "data": {"y": [{"z": 1, "z": 2}]}}"#,
            r#"{"text": "a", "data": {"x": 1}, "data.x": 2}"#,
        ] {
            assert_eq!(outcome(&columns, line), Err("duplicate_key"), "{line}");
        }
        let ignored = r#"{"text": "a", "n": 1, "n": 2, "m": {"o": 1, "o": 2}}"#;
        assert_eq!((outcome(&columns, ignored), outcome(&all, ignored)), (Ok(()), Err("duplicate_key")));
        assert_eq!(outcome(&columns, r#"{"text": "a", "data": {"x": null}, "data.x": 2}"#), Ok(()));
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
