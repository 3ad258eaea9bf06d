//! What fuzzers call of the readers of files: any input is read to its end or refused, rows are numbered and bounded, and
//! what was written comes back.

use super::columns::{Columns, Row, Value, Wanted};
use super::csv::{self, Dialect};
use super::faults::Fault;
use super::format::Compression;
use super::http::{Response, body_of};
use super::{array, jsonl, table, warc};
use crate::clean::html;
use std::fs::File;
use std::io::{self, Write};

/// Largest row that is read.
const ROW_BYTES_MAX: u64 = 1 << 20;
/// Rows after which the fuzzer does not read on: a few bytes of Parquet may stand for any number of them.
const ROWS_MAX: u64 = 10_000;

/// The columns `text` and `url`, and all others as metadata.
fn everything() -> Columns {
    let columns = serde_json::json!({ "text": "text", "url": "a.url", "metadata": ["*"] });
    serde_json::from_value(columns).expect("invariant: these are columns")
}

/// Counts rows, and makes documents of them.
struct Rows<'w> {
    wanted: &'w Wanted,
    number: u64,
    bytes: usize,
}

impl<'w> Rows<'w> {
    fn new(wanted: &'w Wanted) -> Self {
        Self { wanted, number: 0, bytes: 0 }
    }

    /// Takes the next row. Fails after the last one that is read.
    fn take(&mut self, number: u64, row: Result<Row, Fault>) -> io::Result<()> {
        assert!(number > self.number, "row {number} follows row {}", self.number);
        self.number = number;
        match row {
            Ok(row) => {
                let values = row.slots.iter().flatten().chain(row.rest.values());
                self.bytes += values.map(Value::bytes).sum::<usize>();
                let document = self.wanted.document(row, || "place".to_owned(), ROW_BYTES_MAX as usize);
                document.map_or_else(|fault| drop(fault.to_string()), drop);
            }
            Err(fault) => drop(fault.to_string()),
        }
        if number < ROWS_MAX { Ok(()) } else { Err(io::Error::other("enough rows")) }
    }
}

/// CSV: the first byte chooses the dialect.
pub fn csv(data: &[u8]) {
    let [choice, text @ ..] = data else { return };
    let delimiter = b",;\t|"[usize::from(choice % 4)];
    let quote = (choice & 4 == 0).then_some(b'"');
    let escape = (choice & 8 != 0).then_some(b'\\');
    let wanted = everything().wanted();
    let mut rows = Rows::new(&wanted);
    let dialect = Dialect { delimiter, quote, escape };
    let _ = csv::read(text, &wanted, dialect, ROW_BYTES_MAX, &mut None, |number, row| rows.take(number, row));
    assert!(rows.number <= text.len() as u64 && rows.bytes <= text.len());
    fields_come_back(text);
}

/// Fields in quotes are read as they were written.
fn fields_come_back(data: &[u8]) {
    let fields: Vec<&str> =
        data.split(|byte| *byte == 0).filter_map(|field| str::from_utf8(field).ok()).collect();
    let (records, _) = fields.as_chunks::<2>();
    let quoted = |field: &str| format!("\"{}\"", field.replace('"', "\"\""));
    let line = |[text, other]: &[&str; 2]| format!("{},{}\n", quoted(text), quoted(other));
    let file: String = std::iter::once("text,other\n".to_owned()).chain(records.iter().map(line)).collect();
    let wanted = everything().wanted();
    let dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: None };
    let mut expected = records.iter();
    let ended = csv::read(file.as_bytes(), &wanted, dialect, ROW_BYTES_MAX, &mut None, |_, row| {
        let row = row.expect("a quoted field can be read");
        let [text, other] = expected.next().expect("a row for each record");
        assert_eq!(row.slots[0], Some(Value::Text((*text).to_owned())));
        assert_eq!(row.rest.get("other"), Some(&Value::Text((*other).to_owned())));
        Ok::<_, io::Error>(())
    });
    assert!(ended.is_ok_and(|ended| ended.is_ok()) && expected.next().is_none());
}

/// JSON Lines, and the same bytes as a file of JSON.
pub fn jsonl(data: &[u8]) {
    let wanted = everything().wanted();
    let mut rows = Rows::new(&wanted);
    let ended = jsonl::read(data, &wanted, ROW_BYTES_MAX, |number, row| rows.take(number, row));
    let lines = data.split(|byte| *byte == b'\n').count() as u64;
    assert!(rows.number <= lines && (ended.is_ok() || rows.number >= ROWS_MAX));
    // A value is written again with escapes of at most six bytes for one.
    assert!(rows.bytes <= 6 * data.len());
    let mut rows = Rows::new(&wanted);
    let _ = array::read(data, &wanted, ROW_BYTES_MAX, |number, row| rows.take(number, row));
    assert!(2 * rows.number <= data.len() as u64 && rows.bytes <= 6 * data.len());
}

/// A file of these bytes.
fn file(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a folder for temporary files");
    file.write_all(data).expect("space for temporary files");
    io::Seek::rewind(&mut file).expect("a file can be read from its beginning");
    file
}

/// Parquet.
pub fn parquet(data: &[u8]) {
    let wanted = everything().wanted();
    let mut rows = Rows::new(&wanted);
    let _ = table::read_parquet(file(data), &wanted, &mut None, |number, row| rows.take(number, row));
}

/// Arrow files and streams.
pub fn arrow(data: &[u8]) {
    let wanted = everything().wanted();
    let mut rows = Rows::new(&wanted);
    let _ = table::read_arrow(file(data), &wanted, &mut None, |number, row| rows.take(number, row));
}

/// HTTP responses as archives have them: the first line is the media type that a crawler identified.
pub fn http(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let identified = str::from_utf8(&data[..line]).ok();
    let Some(response) = Response::of(data[line..].trim_ascii_start()) else { return };
    let headers: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    // What is no UTF-8 is read as Latin-1, with two bytes for one.
    assert!(headers <= 2 * data.len());
    match response.content(ROW_BYTES_MAX as usize) {
        Ok(content) => {
            assert!(content.len() as u64 <= ROW_BYTES_MAX);
            let media_type = response.headers.get("content-type");
            let _ = body_of(media_type, identified, &content);
            // Three bytes of UTF-8 for one of any other encoding.
            let text = html::decode(&content, media_type);
            assert!(text.is_none_or(|text| text.len() <= 3 * content.len() + 3));
        }
        Err(fault) => drop(fault.to_string()),
    }
}

/// Web archives: the first byte chooses how the others are read. As a whole archive, or as one record between two others,
/// which must both be given; if the record is damaged, it must be reported.
pub fn warc(data: &[u8]) {
    let [choice, data @ ..] = data else { return };
    let compression = [Compression::Plain, Compression::Gzip, Compression::Zstd][usize::from(choice % 3)];
    let columns = serde_json::json!({ "html": warc::HTML, "url": warc::URL, "metadata": ["*"] });
    let wanted = serde_json::from_value::<Columns>(columns).expect("invariant: these are columns").wanted();
    match choice / 3 % 3 {
        0 => whole(data, compression, &wanted),
        1 => drop(between(&compressed(&record("middle", data), compression), compression, &wanted)),
        _ => {
            // Nothing but zeros and line ends may be passed over; a member of its own may be a record without a page.
            let may_be_silent = data.iter().all(|byte| b"\r\n\0".contains(byte))
                || data.windows(2).any(|pair| pair == b"\x1F\x8B");
            let rows = between(data, Compression::Gzip, &wanted);
            assert!(may_be_silent || !rows.is_empty(), "what is damaged is reported");
        }
    }
}

fn whole(data: &[u8], compression: Compression, wanted: &Wanted) {
    let mut rows = Rows::new(wanted);
    let ended =
        warc::read(file(data), data.len() as u64, compression, wanted, ROW_BYTES_MAX, |number, row| {
            if let Ok(row) = &row {
                let content = row.slots[0].as_ref().map_or(0, Value::bytes);
                assert!(content as u64 <= ROW_BYTES_MAX);
            }
            rows.take(number, row)
        });
    if let Ok(Err(unreadable)) = ended {
        drop(unreadable.to_string());
    }
}

/// A response with a page.
fn record(name: &str, page: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
    let length = head.len() + page.len();
    let fields = format!(
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://e.org/{name}\r\nContent-Length: {length}\r\n\r\n"
    );
    [fields.as_bytes(), head.as_bytes(), page, b"\r\n\r\n"].concat()
}

fn compressed(record: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(record).and_then(|()| encoder.finish()).expect("memory takes everything")
        }
        Compression::Zstd => zstd::encode_all(record, 1).expect("memory takes everything"),
        _ => record.to_vec(),
    }
}

/// Reads a member of an archive between two pages, which must both be given, and gives the rows between them.
fn between(middle: &[u8], compression: Compression, wanted: &Wanted) -> Vec<Result<Option<Value>, Fault>> {
    let pages: [&[u8]; 2] = [b"<p>the first page", b"<p>the last page"];
    let [first, last] = pages.map(|page| compressed(&record("page", page), compression));
    let bytes = [&first, middle, &last].concat();
    let mut rows = Vec::new();
    let ended = warc::read(file(&bytes), bytes.len() as u64, compression, wanted, ROW_BYTES_MAX, |_, row| {
        rows.push(row.map(|mut row| row.slots[0].take()));
        Ok::<_, io::Error>(())
    });
    assert!(ended.is_ok_and(|ended| ended.is_ok()), "the archive is read to its end");
    let page = |at: usize| Ok(Some(Value::Bytes(pages[at].to_vec())));
    assert!(rows.len() >= 2 && rows[0] == page(0) && rows[rows.len() - 1] == page(1), "{rows:?}");
    rows.drain(1..rows.len() - 1).collect()
}
