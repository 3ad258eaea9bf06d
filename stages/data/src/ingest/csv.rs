//! CSV (RFC 4180, any delimiter) -> rows. A ragged row costs itself; a quote that is never closed costs what
//! follows it, in a buffer of bounded size.

use super::columns::{Fault, Row, Value, Wanted};
use super::records::Unreadable;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use std::io::{self, BufRead, BufReader, Read};

/// Columns that a file may have.
const COLUMNS_MAX: usize = 1 << 16;

/// Reads rows below the row of names, with their number from 1. Records beyond `row_bytes_max` are passed over.
///
/// # Errors
/// Where `input` fails, or `each` does.
pub(super) fn read<E: From<io::Error>>(
    input: impl Read,
    wanted: &Wanted,
    delimiter: u8,
    row_bytes_max: u64,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let mut records = Records::new(input, delimiter, row_bytes_max as usize);
    let names = match records.next()? {
        Next::End => return Ok(Err(Unreadable::NoHeader)),
        Next::TooLong => return Ok(Err(Unreadable::BadHeader)),
        Next::Record => match records.texts() {
            Ok(names) => names,
            Err(_) => return Ok(Err(Unreadable::BadHeader)),
        },
    };
    let places = match Places::of(wanted, &names) {
        Ok(places) => places,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    for number in 1.. {
        let row = match records.next()? {
            Next::End => break,
            Next::TooLong => Err(Fault::TooLong(row_bytes_max)),
            Next::Record => places.row(&records, &names, wanted),
        };
        each(number, row)?;
    }
    Ok(Ok(()))
}

/// Where the wanted columns are.
struct Places {
    columns: usize,
    slots: Vec<usize>,
    rest: Vec<usize>,
}

impl Places {
    fn of(wanted: &Wanted, names: &[String]) -> Result<Self, Unreadable> {
        let find = |name: &str| {
            let missing = || {
                let found = names.iter().take(20).cloned().collect();
                Unreadable::NoColumn { missing: name.to_owned(), found }
            };
            names.iter().position(|own| own == name).ok_or_else(missing)
        };
        let slots = wanted.names().map(find).collect::<Result<Vec<_>, _>>()?;
        let others = (0..names.len()).filter(|column| wanted.all() && !slots.contains(column));
        Ok(Self { columns: names.len(), rest: others.collect(), slots })
    }

    fn row<R: Read>(&self, records: &Records<R>, names: &[String], wanted: &Wanted) -> Result<Row, Fault> {
        let found = records.fields();
        if found != self.columns {
            return Err(Fault::Ragged { found, expected: self.columns });
        }
        let mut row = wanted.row();
        for (slot, column) in row.slots.iter_mut().zip(&self.slots) {
            *slot = Some(Value::Text(records.text(*column)?));
        }
        for column in &self.rest {
            row.rest.push((names[*column].clone(), Value::Text(records.text(*column)?)));
        }
        Ok(row)
    }
}

enum Next {
    Record,
    TooLong,
    End,
}

/// Records one by one, in a buffer that grows to a limit.
struct Records<R> {
    input: BufReader<R>,
    parser: Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    bytes_max: usize,
    at_start: bool,
}

impl<R: Read> Records<R> {
    fn new(input: R, delimiter: u8, bytes_max: usize) -> Self {
        Self {
            input: BufReader::with_capacity(256 << 10, input),
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            output: vec![0; 64 << 10],
            ends: vec![0; 64],
            fields: 0,
            bytes_max,
            at_start: true,
        }
    }

    fn next(&mut self) -> io::Result<Next> {
        if std::mem::take(&mut self.at_start) && self.input.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
            self.input.consume(3);
        }
        let (mut written, mut fields, mut is_too_long) = (0, 0, false);
        loop {
            let input = self.input.fill_buf()?;
            let (output, ends) = (&mut self.output[written..], &mut self.ends[fields..]);
            let (result, read, out, ended) = self.parser.read_record(input, output, ends);
            self.input.consume(read);
            written += out;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.output.len() < self.bytes_max => {
                    let length = (self.output.len() * 2).min(self.bytes_max);
                    self.output.resize(length, 0);
                }
                ReadRecordResult::OutputEndsFull if self.ends.len() < COLUMNS_MAX => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                // The record is parsed to its end, and each part of it written over the one before.
                ReadRecordResult::OutputFull => (written, is_too_long) = (0, true),
                ReadRecordResult::OutputEndsFull => (fields, is_too_long) = (0, true),
                ReadRecordResult::Record => {
                    self.fields = fields;
                    return Ok(if is_too_long { Next::TooLong } else { Next::Record });
                }
                ReadRecordResult::End => return Ok(if is_too_long { Next::TooLong } else { Next::End }),
            }
        }
    }

    fn fields(&self) -> usize {
        self.fields
    }

    fn text(&self, field: usize) -> Result<String, Fault> {
        let start = if field == 0 { 0 } else { self.ends[field - 1] };
        let bytes = self.output.get(start..self.ends[field]).unwrap_or_default();
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Fault::NotUtf8)
    }

    fn texts(&self) -> Result<Vec<String>, Fault> {
        (0..self.fields).map(|field| self.text(field)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::columns::Columns;
    use proptest::prelude::*;

    type Rows = Vec<(u64, Result<Vec<String>, &'static str>)>;

    fn rows(columns: &Columns, text: &[u8], max: u64) -> Result<Rows, Unreadable> {
        let mut rows = Vec::new();
        let shown = |value: Option<Value>| match value {
            Some(Value::Text(text)) => text,
            other => format!("{other:?}"),
        };
        read(text, &columns.wanted(), b',', max, |number, row| {
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
        let metadata = metadata.iter().map(|name| (*name).to_owned()).collect();
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
    fn ragged_rows_and_bad_bytes_cost_themselves() {
        let found = rows(&columns(&[]), b"id,text\n1\n2,b,c\n3,\xFF\n4,d", 1000).unwrap();
        let ok = Ok(vec!["4".to_owned(), "d".to_owned()]);
        assert_eq!(found, [(1, Err("ragged")), (2, Err("ragged")), (3, Err("not_utf8")), (4, ok)]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_bounded() {
        let text = [b"id,text\n1,a\n2,\"".as_slice(), &vec![b'x'; 1 << 20]].concat();
        let found = rows(&columns(&[]), &text, 100_000).unwrap();
        assert_eq!(found[1..], [(2, Err("too_long"))]);
        let many = [b"id,text\n1,a\n".as_slice(), &vec![b','; 1 << 18], b"\n3,c\n"].concat();
        let found = rows(&columns(&[]), &many, 100_000).unwrap();
        assert_eq!((found[1].1.as_ref().unwrap_err(), found.len()), (&"too_long", 3));
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
