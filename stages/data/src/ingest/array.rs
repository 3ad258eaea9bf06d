//! A JSON file → rows: a list of objects, or a sequence of objects. Objects are found by their braces, so a syntax
//! error affects only its own object, and a list of any length is read in bounded memory.

use super::columns::{Row, Wanted};
use super::faults::{Fault, Unreadable};
use super::jsonl::{Node, parse};
use std::io::{self, BufRead, BufReader, Read};

/// Reads objects, numbered from 1. Objects larger than `object_bytes_max` are skipped.
///
/// # Errors
/// If `input` or `each` fails.
pub(super) fn read<E: From<io::Error>>(
    input: impl Read,
    wanted: &Wanted,
    object_bytes_max: u64,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let tree = Node::of(wanted);
    let mut bytes = Bytes { input: BufReader::with_capacity(256 << 10, input) };
    let mut number = 0;
    let not_json = |row: u64, reason: &str| Ok(Err(Unreadable::NotJson { row, reason: reason.to_owned() }));
    if bytes.input.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
        bytes.input.consume(3);
    }
    let in_list = bytes.peek()? == Some(b'[');
    if in_list {
        bytes.input.consume(1);
    }
    let mut object = Vec::new();
    loop {
        match bytes.peek()? {
            Some(b'{') => {}
            Some(b']') if in_list && number == 0 => break,
            None if !in_list => return Ok(Ok(())),
            None => return not_json(number, "the file ends within the list"),
            Some(_) => return not_json(number, "an element is not an object"),
        }
        let length = match bytes.object(&mut object, object_bytes_max)? {
            Some(length) => length,
            None => return not_json(number, "the file ends within an object"),
        };
        number += 1;
        if length > object_bytes_max {
            each(number, Err(Fault::TooLong(object_bytes_max)))?;
        } else {
            each(number, parse(&object, wanted, &tree))?;
        }
        if in_list {
            match bytes.peek()? {
                Some(b',') => bytes.input.consume(1),
                Some(b']') => break,
                _ => return not_json(number, "elements are not separated by commas"),
            }
        }
    }
    bytes.input.consume(1);
    match bytes.peek()? {
        None => Ok(Ok(())),
        Some(_) => not_json(number, "text follows the list"),
    }
}

struct Bytes<R> {
    input: BufReader<R>,
}

impl<R: Read> Bytes<R> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                return Ok(None);
            }
            let space = input.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
            if let Some(byte) = input.get(space).copied() {
                self.input.consume(space);
                return Ok(Some(byte));
            }
            self.input.consume(space);
        }
    }

    /// Reads an object up to its closing brace and returns its length; only the first `bytes_max` bytes are kept.
    /// None if the file ends first.
    fn object(&mut self, object: &mut Vec<u8>, bytes_max: u64) -> io::Result<Option<u64>> {
        object.clear();
        object.shrink_to(1 << 20);
        let (mut depth, mut length) = (0_u64, 0_u64);
        let (mut in_string, mut is_escaped) = (false, false);
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                return Ok(None);
            }
            let mut end = None;
            let mut at = 0;
            while at < input.len() {
                if std::mem::take(&mut is_escaped) {
                    at += 1;
                    continue;
                }
                let rest = &input[at..];
                let found = match in_string {
                    true => memchr::memchr2(b'"', b'\\', rest),
                    false => rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}')),
                };
                let Some(found) = found else { break };
                at += found + 1;
                match input[at - 1] {
                    b'"' => in_string = !in_string,
                    b'\\' => is_escaped = true,
                    b'{' => depth += 1,
                    _ => depth = depth.saturating_sub(1),
                }
                if depth == 0 {
                    end = Some(at);
                    break;
                }
            }
            let taken = end.unwrap_or(input.len());
            length += taken as u64;
            if length <= bytes_max {
                object.extend_from_slice(&input[..taken]);
            }
            self.input.consume(taken);
            if end.is_some() {
                return Ok(Some(length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::columns::{Columns, Value};
    use proptest::prelude::*;

    type Rows = Vec<Result<Option<String>, &'static str>>;

    fn rows(text: &str, max: u64) -> (Rows, Result<(), Unreadable>) {
        let mut rows = Vec::new();
        // Small reads, so that every state is interrupted by the end of a buffer.
        let input = io::BufReader::with_capacity(3, text.as_bytes());
        let ended = read(input, &Columns::default().wanted(), max, |_, row| {
            rows.push(row.map_err(|fault| fault.code()).map(|row| match &row.slots[0] {
                Some(Value::Text(text)) => Some(text.clone()),
                _ => None,
            }));
            Ok::<_, io::Error>(())
        });
        (rows, ended.unwrap())
    }

    fn texts(texts: &[&str]) -> Rows {
        texts.iter().map(|text| Ok(Some((*text).to_owned()))).collect()
    }

    #[test]
    fn lists_and_objects_one_after_the_other_are_read() {
        let list = "\u{feff} [ {\"text\": \"a}\\\"\"} ,\n{\"x\": [{}], \"text\": \"b\"}]\n";
        assert_eq!(rows(list, 1000), (texts(&["a}\"", "b"]), Ok(())));
        let lines = "{\"text\": \"a\"}\n{\"text\":\n \"b\"}{\"text\": \"c\"}";
        assert_eq!(rows(lines, 1000), (texts(&["a", "b", "c"]), Ok(())));
        assert_eq!(rows("[]", 1000), (vec![], Ok(())));
        assert_eq!(rows("", 1000), (vec![], Ok(())));
    }

    #[test]
    fn what_is_broken_is_told() {
        let (found, ended) = rows("[{\"text\": \"a\"}, {\"text\" 1}, {\"text\": \"b\"}]", 1000);
        assert_eq!((found[1].clone(), found.len(), ended), (Err("json"), 3, Ok(())));
        let (found, ended) = rows("[{\"text\": \"aaaaaaaaaaaaaaaaaaaaa\"}, {\"text\": \"b\"}]", 20);
        assert_eq!((found[0].clone(), found[1..] == texts(&["b"]), ended), (Err("too_long"), true, Ok(())));
        for text in ["[{}", "[{\"text\": \"a", "[1]", "[{} {}]", "[{}] x", "text", "[{},]"] {
            assert!(matches!(rows(text, 1000).1, Err(Unreadable::NotJson { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_rows_or_a_reason(text in r#"[\[\]{},:"\\ a0]{0,40}"#) {
            let _ = rows(&text, 16);
        }
    }
}
