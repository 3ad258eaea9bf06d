//! CSV (RFC 4180, with configurable delimiter, quote and escape) → rows.
//!
//! A row with the wrong number of fields affects only itself. So does a row with text after a closing quote; the
//! error says how many lines it covers, since a stray quote takes in lines up to the next quote. An unclosed quote
//! makes the rest of the file unreadable. Memory is bounded in all cases.

use super::columns::{Row, Value, Wanted};
use super::faults::{Fault, Unreadable};
use std::io::{self, BufRead, BufReader, Read};

/// Maximum number of columns of a file.
const COLUMNS_MAX: usize = 1 << 16;

/// The special bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// None if no field is quoted.
    pub(super) quote: Option<u8>,
    /// Makes the following byte literal. A doubled quote always stands for one quote.
    pub(super) escape: Option<u8>,
}

impl Dialect {
    /// Fields separated by `delimiter`, with quotes as in RFC 4180.
    #[cfg(test)]
    pub(super) const fn of(delimiter: u8) -> Self {
        Self { delimiter, quote: Some(b'"'), escape: None }
    }
}

/// Reads the rows below the header, numbered from 1. Records larger than `row_bytes_max` are skipped. `present`
/// receives which columns the file has.
///
/// # Errors
/// If `input` or `each` fails.
pub(super) fn read<E: From<io::Error>>(
    input: impl Read,
    wanted: &Wanted,
    dialect: Dialect,
    row_bytes_max: u64,
    present: &mut Option<Vec<bool>>,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let mut records = Records::new(input, dialect, row_bytes_max as usize);
    let names = match records.next()? {
        Next::End => return Ok(Err(Unreadable::NoHeader)),
        Next::Record => match records.texts() {
            Ok(names) => names,
            Err(_) => return Ok(Err(Unreadable::BadHeader)),
        },
        Next::Unclosed { line } => return Ok(Err(Unreadable::Unclosed { row: 0, line })),
        Next::TooLong | Next::AfterQuote { .. } => return Ok(Err(Unreadable::BadHeader)),
    };
    let places = match Places::of(wanted, &names, dialect.delimiter, present) {
        Ok(places) => places,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    for number in 1.. {
        let row = match records.next()? {
            Next::End => break,
            Next::TooLong => Err(Fault::TooLong(row_bytes_max)),
            Next::Record => places.row(&records, &names, wanted),
            Next::AfterQuote { from, to } => Err(Fault::AfterQuote { from, to }),
            Next::Unclosed { line } => return Ok(Err(Unreadable::Unclosed { row: number - 1, line })),
        };
        each(number, row)?;
    }
    Ok(Ok(()))
}

/// Positions of the wanted columns; none if the file lacks an optional one.
struct Places {
    columns: usize,
    slots: Vec<Option<usize>>,
    rest: Vec<usize>,
}

impl Places {
    fn of(
        wanted: &Wanted,
        names: &[String],
        delimiter: u8,
        present: &mut Option<Vec<bool>>,
    ) -> Result<Self, Unreadable> {
        let find = |name: &str| names.iter().position(|own| own == name);
        let slots: Vec<Option<usize>> = wanted.names().map(find).collect();
        let found: Vec<bool> = slots.iter().map(Option::is_some).collect();
        let checked = wanted.check_columns(&found, names.iter().map(String::as_str));
        checked.map_err(|unreadable| match (unreadable, names) {
            (Unreadable::NoColumn { missing, found, .. }, [only]) => {
                let other = [';', '\t', '|', ',']
                    .into_iter()
                    .find(|other| only.contains(*other) && u32::from(delimiter) != u32::from(*other));
                Unreadable::NoColumn { missing, found, delimiter: other }
            }
            (unreadable, _) => unreadable,
        })?;
        let is_read = |name: &String| wanted.all() || wanted.names().any(|own| own == name.as_str());
        let again = names.iter().enumerate().find(|(at, name)| is_read(name) && names[..*at].contains(name));
        if let Some((_, name)) = again {
            return Err(Unreadable::TwoColumns(name.clone()));
        }
        *present = Some(found);
        let others = (0..names.len()).filter(|column| wanted.all() && !slots.contains(&Some(*column)));
        Ok(Self { columns: names.len(), rest: others.collect(), slots })
    }

    fn row<R: Read>(&self, records: &Records<R>, names: &[String], wanted: &Wanted) -> Result<Row, Fault> {
        let found = records.ends.len();
        if found != self.columns {
            return Err(Fault::Ragged { found, expected: self.columns });
        }
        let mut row = wanted.row();
        for (slot, column) in row.slots.iter_mut().zip(&self.slots) {
            *slot = column.map(|column| records.text(column).map(Value::Text)).transpose()?;
        }
        for column in &self.rest {
            row.add(names[*column].clone(), Some(Value::Text(records.text(*column)?)))?;
        }
        Ok(row)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Record,
    TooLong,
    /// Text follows a closing quote in a record that spans these lines.
    AfterQuote {
        from: u64,
        to: u64,
    },
    /// The file ends within a quoted field that begins on this line.
    Unclosed {
        line: u64,
    },
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte of a field.
    Start,
    Plain,
    Quoted,
    /// After a quote within a quoted field: either its end, or the first of two quotes.
    Closing,
    /// After an escape, inside or outside of quotes.
    Escaped {
        is_quoted: bool,
    },
}

/// Reads records one at a time, in a buffer that grows up to a limit.
struct Records<R> {
    input: BufReader<R>,
    dialect: Dialect,
    output: Vec<u8>,
    ends: Vec<usize>,
    bytes_max: usize,
    /// Line of the next byte, counted from 1.
    line: u64,
    at_start: bool,
    /// The last record ended with a carriage return; a line feed that follows belongs to it.
    after_return: bool,
}

impl<R: Read> Records<R> {
    fn new(input: R, dialect: Dialect, bytes_max: usize) -> Self {
        Self {
            input: BufReader::with_capacity(256 << 10, input),
            dialect,
            output: Vec::new(),
            ends: Vec::new(),
            bytes_max,
            line: 1,
            at_start: true,
            after_return: false,
        }
    }

    /// Reads the next record that is not an empty line.
    fn next(&mut self) -> io::Result<Next> {
        if std::mem::take(&mut self.at_start) && self.input.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
            self.input.consume(3);
        }
        self.output.clear();
        self.ends.clear();
        let Dialect { delimiter, quote, escape } = self.dialect;
        let (mut state, mut is_too_long, mut after_quote) = (State::Start, false, false);
        let (mut first_line, mut quote_line) = (self.line, self.line);
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                let is_empty = state == State::Start && self.ends.is_empty() && self.output.is_empty();
                return Ok(match state {
                    State::Quoted | State::Escaped { is_quoted: true } => Next::Unclosed { line: quote_line },
                    _ if is_empty => Next::End,
                    _ => {
                        self.ends.push(self.output.len());
                        Self::ended(is_too_long, after_quote, first_line, self.line)
                    }
                });
            }
            if std::mem::take(&mut self.after_return) && input[0] == b'\n' {
                self.input.consume(1);
                continue;
            }
            let mut at = 0;
            let mut is_ended = false;
            while at < input.len() && !is_ended {
                // Bytes up to the next special byte are copied.
                let rest = &input[at..];
                let plain = match state {
                    State::Plain => plain(rest, |byte| {
                        byte == delimiter || byte == b'\n' || byte == b'\r' || Some(byte) == escape
                    }),
                    State::Quoted => match (quote, escape) {
                        (Some(quote), Some(escape)) => memchr::memchr2(quote, escape, rest),
                        (Some(quote), None) => memchr::memchr(quote, rest),
                        _ => None,
                    }
                    .unwrap_or(rest.len()),
                    State::Escaped { .. } => 1,
                    State::Start | State::Closing => 0,
                };
                let taken = &rest[..plain];
                if state == State::Quoted || matches!(state, State::Escaped { .. }) {
                    self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
                }
                if self.output.len() + taken.len() <= self.bytes_max {
                    self.output.extend_from_slice(taken);
                } else {
                    is_too_long = true;
                }
                at += plain;
                if let State::Escaped { is_quoted } = state {
                    state = if is_quoted { State::Quoted } else { State::Plain };
                    continue;
                }
                let Some(byte) = input.get(at).copied() else { break };
                at += 1;
                match state {
                    State::Quoted if Some(byte) == quote => state = State::Closing,
                    State::Quoted => state = State::Escaped { is_quoted: true },
                    State::Closing if Some(byte) == quote => {
                        self.output.push(byte);
                        state = State::Quoted;
                    }
                    State::Start if Some(byte) == quote => {
                        (state, quote_line) = (State::Quoted, self.line);
                    }
                    _ if byte == delimiter => {
                        if self.ends.len() < COLUMNS_MAX {
                            self.ends.push(self.output.len());
                        } else {
                            is_too_long = true;
                        }
                        state = State::Start;
                    }
                    _ if byte == b'\n' || byte == b'\r' => {
                        self.line += 1;
                        self.after_return = byte == b'\r';
                        let is_empty =
                            state == State::Start && self.ends.is_empty() && self.output.is_empty();
                        if is_empty {
                            (first_line, quote_line) = (self.line, self.line);
                            // Whether a line feed follows is known when more bytes are read.
                            if self.after_return {
                                break;
                            }
                        } else {
                            is_ended = true;
                        }
                    }
                    State::Start | State::Plain if Some(byte) == escape => {
                        state = State::Escaped { is_quoted: false };
                    }
                    _ => {
                        after_quote |= state == State::Closing;
                        self.output.push(byte);
                        state = State::Plain;
                    }
                }
            }
            self.input.consume(at);
            if is_ended {
                self.ends.push(self.output.len());
                return Ok(Self::ended(is_too_long, after_quote, first_line, self.line - 1));
            }
        }
    }

    const fn ended(is_too_long: bool, after_quote: bool, from: u64, to: u64) -> Next {
        match (is_too_long, after_quote) {
            (true, _) => Next::TooLong,
            (_, true) => Next::AfterQuote { from, to },
            _ => Next::Record,
        }
    }

    fn text(&self, field: usize) -> Result<String, Fault> {
        let start = if field == 0 { 0 } else { self.ends[field - 1] };
        let bytes = self.output.get(start..self.ends[field]).unwrap_or_default();
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Fault::NotUtf8)
    }

    fn texts(&self) -> Result<Vec<String>, Fault> {
        (0..self.ends.len()).map(|field| self.text(field)).collect()
    }
}

/// Number of bytes before the first special one.
fn plain(bytes: &[u8], means: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| means(*byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::columns::Columns;
    use proptest::prelude::*;

    type Rows = Vec<(u64, Result<Vec<String>, &'static str>)>;

    fn rows(columns: &Columns, text: &[u8], max: u64) -> Result<Rows, Unreadable> {
        rows_of(Dialect::of(b','), columns, text, max)
    }

    fn rows_of(dialect: Dialect, columns: &Columns, text: &[u8], max: u64) -> Result<Rows, Unreadable> {
        let mut rows = Vec::new();
        let shown = |value: Option<Value>| match value {
            Some(Value::Text(text)) => text,
            other => format!("{other:?}"),
        };
        read(text, &columns.wanted(), dialect, max, &mut None, |number, row| {
            let rest = |row: Row| {
                let rest = row.rest.into_iter().map(|(name, value)| format!("{name}={}", shown(Some(value))));
                row.slots.into_iter().map(shown).chain(rest).collect()
            };
            rows.push((number, row.map(rest).map_err(|fault| fault.code())));
            Ok::<_, io::Error>(())
        })
        .unwrap()
        .map(|()| rows)
    }

    fn columns(metadata: &[&str]) -> Columns {
        let metadata = if metadata.is_empty() { Default::default() } else { ["*"].into() };
        Columns { id: "id".into(), metadata, ..Columns::default() }
    }

    #[test]
    fn takes_columns_by_name() {
        let text = b"\xEF\xBB\xBFmore,text,id\r\nm,\"a \"\"quoted\"\"\r\ntext\",1\r\n,,2\r\n";
        let found = rows(&columns(&["*"]), text, 1000).unwrap();
        let row = |texts: [&str; 3]| Ok(texts.map(str::to_owned).to_vec());
        assert_eq!(found, [(1, row(["1", "a \"quoted\"\r\ntext", "more=m"])), (2, row(["2", "", "more="]))]);
    }

    #[test]
    fn two_columns_of_one_name_are_refused_if_they_are_read() {
        let found = |metadata: &[&str], header: &str| {
            rows(&columns(metadata), format!("{header}\n1,2,3,4\n").as_bytes(), 1000).map(|rows| rows.len())
        };
        let two = |name: &str| Err(Unreadable::TwoColumns(name.to_owned()));
        assert_eq!(found(&["*"], "id,text,x,x"), two("x"));
        assert_eq!(found(&["*"], "id,text,,"), two(""));
        assert_eq!(found(&[], "id,text,text,x"), two("text"));
        assert_eq!(found(&[], "id,text,x,x"), Ok(1));
    }

    #[test]
    fn ragged_rows_and_bad_bytes_cost_themselves() {
        let found = rows(&columns(&[]), b"id,text\n1\n2,b,c\n3,\xFF\n4,d", 1000).unwrap();
        let ok = Ok(vec!["4".to_owned(), "d".to_owned()]);
        assert_eq!(found, [(1, Err("ragged")), (2, Err("ragged")), (3, Err("not_utf8")), (4, ok)]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_bounded() {
        let text = [b"id,text\n1,a\n2,\"".as_slice(), &vec![b'x'; 1 << 20]].concat();
        let error = rows(&columns(&[]), &text, 100_000).unwrap_err();
        assert_eq!(error, Unreadable::Unclosed { row: 1, line: 3 });
        let many = [b"id,text\n1,a\n".as_slice(), &vec![b','; 1 << 18], b"\n3,c\n"].concat();
        let found = rows(&columns(&[]), &many, 100_000).unwrap();
        assert_eq!((found[1].1.as_ref().unwrap_err(), found.len()), (&"too_long", 3));
    }

    fn row(texts: [&str; 2]) -> Result<Vec<String>, &'static str> {
        Ok(texts.map(str::to_owned).to_vec())
    }

    #[test]
    fn a_quote_without_end_costs_the_rest_and_says_where_it_was_opened() {
        let error = rows(&columns(&[]), b"id,text\n1,one\r\n2,\"two\n3,three\n4,four\n", 1000).unwrap_err();
        assert_eq!(error, Unreadable::Unclosed { row: 1, line: 3 });
        assert_eq!(rows(&columns(&[]), b"id,\"text\n", 1000), Err(Unreadable::Unclosed { row: 0, line: 1 }));
    }

    #[test]
    fn text_after_a_closing_quote_is_a_fault_with_its_lines() {
        let text = b"id,text\n1,\"one\n2,two\n3,\"three\"\n4,four\n5,\"a\" b\n6,x\"y";
        let found = rows(&columns(&[]), text, 1000).unwrap();
        let expected =
            [(1, Err("quote")), (2, row(["4", "four"])), (3, Err("quote")), (4, row(["6", "x\"y"]))];
        assert_eq!(found, expected);
        let fault = Fault::AfterQuote { from: 2, to: 4 };
        assert_eq!(fault.lost(), 3);
    }

    #[test]
    fn dialects_have_their_own_quotes_and_escapes() {
        let spark = Dialect { escape: Some(b'\\'), ..Dialect::of(b';') };
        let text = b"id;text\n1;\"a \\\" quote; \\\\ \"\"\"\n2;b\\;c\n";
        let found = rows_of(spark, &columns(&[]), text, 1000).unwrap();
        assert_eq!(found, [(1, row(["1", "a \" quote; \\ \""])), (2, row(["2", "b;c"]))]);
        let unquoted = Dialect { quote: None, ..Dialect::of(b'\t') };
        let found = rows_of(unquoted, &columns(&[]), b"id\ttext\n1\t\"a\n2\tb\"\n", 1000).unwrap();
        assert_eq!(found, [(1, row(["1", "\"a"])), (2, row(["2", "b\""]))]);
        let single = Dialect { quote: Some(b'\''), ..Dialect::of(b',') };
        let found = rows_of(single, &columns(&[]), b"id,text\n1,'it''s, so'\n", 1000).unwrap();
        assert_eq!(found, [(1, row(["1", "it's, so"]))]);
    }

    #[test]
    fn empty_lines_are_no_rows_and_line_ends_may_differ() {
        let found = rows(&columns(&[]), b"\n\r\nid,text\r1,a\r\r\n\n2,b\n\"3\",\r\n", 1000).unwrap();
        assert_eq!(found, [(1, row(["1", "a"])), (2, row(["2", "b"])), (3, row(["3", ""]))]);
    }

    #[test]
    fn another_delimiter_is_suggested() {
        let error = rows(&columns(&[]), b"id;lang;text\n1;en;a\n", 1000).unwrap_err().to_string();
        assert!(error.contains("delimiter: \";\""), "{error}");
    }

    #[test]
    fn columns_that_need_not_be_there_may_be_missing() {
        let columns = Columns { language: "lang".into(), ..columns(&[]) };
        let mut present = None;
        let read = read(
            b"id,text\n1,a\n".as_slice(),
            &columns.wanted(),
            Dialect::of(b','),
            100,
            &mut present,
            |_, row| {
                assert_eq!(row.unwrap().slots[2], None);
                Ok::<_, io::Error>(())
            },
        );
        assert_eq!((read.unwrap(), present), (Ok(()), Some(vec![true, true, false])));
    }

    #[test]
    fn a_missing_column_is_told_with_those_there_are() {
        let error = rows(&columns(&[]), b"key,text\n", 1000).unwrap_err();
        assert_eq!(error.to_string(), "it has no column `id`; it has key, text");
        assert_eq!(rows(&columns(&[]), b"", 1000), Err(Unreadable::NoHeader));
    }

    proptest! {
        #[test]
        fn any_bytes_give_rows_or_faults(bytes in prop::collection::vec(
            prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..400)
        ) {
            let text = [b"id,text\n".as_slice(), &bytes].concat();
            let _ = rows(&columns(&["*"]), &text, 64);
        }
    }
}
