//! Checks the first rows of a source before a run: whether its files have the columns that the config names.
//!
//! The check is bounded: a few files, and of each the footer or the first rows.

use super::columns::Row;
use super::encoding::{self, decode};
use super::faults::{Fault, Unreadable};
use super::format::{Compression, Format};
use super::inflate::inflate;
use super::records::RecordReading;
use super::{array, csv, enterprise, jsonl, mediawiki, table, warc};
use pipe_stage::{Misfit, SourceFile, files};
use std::fs::File;
use std::io::{self, Read};

const FILES_MAX: usize = 4;
const ROWS_MAX: u64 = 100;
/// Bytes of text to read.
const BYTES_MAX: u64 = 8 << 20;

/// Why the check ends before the file does.
enum Ended {
    Enough,
    Unread,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Unread
    }
}

/// Findings from the first rows of a file.
struct Seen {
    rows: u64,
    /// Rows that are rejected; the first of them with its error.
    faults: u64,
    first: Option<(u64, Fault)>,
    /// For each wanted column, whether the file has it; if the file has no list of columns, whether any row has it.
    present: Vec<bool>,
    unreadable: Option<Unreadable>,
}

/// Compares the first rows of a source's files with its config at `path`, and returns errors.
pub(super) fn look(reading: &RecordReading, files: &[SourceFile], path: &str) -> Vec<Misfit> {
    let field = |name: &str| format!("{path}.{name}");
    let mut present: Option<Vec<bool>> = None;
    for file in files.iter().take(FILES_MAX) {
        // A file that cannot be opened is reported by the run.
        let Some(Ok(opened)) = file.path().map(files::open) else { return Vec::new() };
        let seen = first_rows(reading, opened, file);
        match seen.unreadable {
            Some(
                unreadable @ (Unreadable::NoColumn { .. } | Unreadable::NoHeader | Unreadable::BadHeader),
            ) => {
                let message = format!("do not fit `{}`: {unreadable}", file.name);
                let is_text = |missing: &String| reading.columns.is_text_column(missing);
                let lacks_text =
                    matches!(&unreadable, Unreadable::NoColumn { missing, .. } if is_text(missing));
                return vec![with_help(Misfit::new(field("columns"), message), lacks_text)];
            }
            Some(
                unreadable @ (Unreadable::NotWarc(_)
                | Unreadable::NotMediawiki
                | Unreadable::NotTar(_)
                | Unreadable::NotParquet(_)
                | Unreadable::NotArrow(_)
                | Unreadable::NotJson { row: 0, .. }
                | Unreadable::Unclosed { row: 0, .. }),
            ) => {
                let message = format!("matches `{}`, which cannot be read: {unreadable}", file.name);
                return vec![Misfit::new(field("glob"), message).help("see `format` too")];
            }
            _ => {}
        }
        if seen.rows > 0
            && seen.faults == seen.rows
            && let Some((row, fault)) = seen.first
        {
            let (rows, name) = (seen.rows, &file.name);
            let what =
                if rows == 1 { "the only row".to_owned() } else { format!("any of the first {rows} rows") };
            let message = format!("do not fit {what} of `{name}`; row {row}: {fault}");
            let lacks_text = matches!(fault, Fault::NoText(_));
            return vec![with_help(Misfit::new(field("columns"), message), lacks_text)];
        }
        match &mut present {
            None => present = Some(seen.present),
            Some(present) => present.iter_mut().zip(seen.present).for_each(|(all, one)| *all |= one),
        }
    }
    // A column that these files lack may be in others, and one that these lines lack may be in later ones.
    let has_list = matches!(reading.format, Format::Csv | Format::Parquet | Format::Arrow);
    if !has_list || files.len() > FILES_MAX {
        return Vec::new();
    }
    let wanted = reading.columns.wanted();
    let missing = wanted.names().zip(present.unwrap_or_default()).filter(|(_, is_present)| !is_present);
    missing
        .map(|(name, _)| {
            let what = if files.len() == 1 { "the file does not have" } else { "no file has" };
            Misfit::new(field("columns"), format!("names the column `{name}`, which {what}"))
        })
        .collect()
}

/// Adds what to do about records without a text.
fn with_help(misfit: Misfit, lacks_text: bool) -> Misfit {
    const HELP: &str = "name the column with the text as `text`; for records without text, such as chats, set `text: \
        null` and name the columns to read, as in `columns: { text: null, metadata: [messages] }`";
    if lacks_text { misfit.help(HELP) } else { misfit }
}

fn first_rows(reading: &RecordReading, opened: File, file: &SourceFile) -> Seen {
    let wanted = reading.columns.wanted();
    let (mut rows, mut faults, mut first, mut is_cut) = (0, 0, None, false);
    let mut in_rows = vec![false; wanted.names().count()];
    let each = |number: u64, row: Result<Row, Fault>| {
        rows += 1;
        let document = row.and_then(|row| {
            in_rows.iter_mut().zip(&row.slots).for_each(|(seen, slot)| *seen |= slot.is_some());
            wanted.document(row, String::new, usize::MAX)
        });
        // Which records of an archive are pages says nothing about the columns.
        if let Err(fault) = document
            && !fault.is_no_page()
            && (reading.format == Format::WikipediaHtml || !reading.format.has_other_records())
        {
            faults += 1;
            first.get_or_insert((number, fault));
        }
        if rows < ROWS_MAX { Ok(()) } else { Err(Ended::Enough) }
    };
    let mut present = None;
    let ended = match reading.format {
        Format::Parquet => table::read_parquet(opened, &wanted, &mut present, each),
        Format::Arrow => table::read_arrow(opened, &wanted, &mut present, each),
        Format::Warc => {
            warc::read(opened, file.size, Compression::of_name(&file.name), &wanted, BYTES_MAX, each)
        }
        format => {
            let opened = inflate(opened, Compression::of_name(&file.name), file.size);
            let mut opened = opened.map(|input| input.take(BYTES_MAX)).map_err(Ended::from);
            let ended = opened.as_mut().map_err(|_| Ended::Unread).and_then(|input| {
                if format == Format::Mediawiki {
                    return mediawiki::read(input, &wanted, &reading.pages, BYTES_MAX, each);
                }
                if format == Format::WikipediaHtml {
                    return enterprise::read(input, &wanted, &reading.pages, BYTES_MAX, each);
                }
                let input = decode(input, encoding::named(&reading.encoding))?;
                match format {
                    Format::Csv => {
                        csv::read(input, &wanted, reading.dialect(&file.name), BYTES_MAX, &mut present, each)
                    }
                    Format::Json => array::read(input, &wanted, BYTES_MAX, each),
                    _ => jsonl::read(input, &wanted, BYTES_MAX, each).map(Ok),
                }
            });
            is_cut = opened.is_ok_and(|input| input.limit() == 0);
            ended
        }
    };
    if is_cut && rows < ROWS_MAX {
        // The last row ends where reading ended, not where it ends in the file.
        return Seen {
            rows: 0,
            faults: 0,
            first: None,
            present: present.unwrap_or(in_rows),
            unreadable: None,
        };
    }
    let unreadable = match ended {
        Ok(Err(unreadable)) => Some(unreadable),
        _ => None,
    };
    Seen { rows, faults, first, present: present.unwrap_or(in_rows), unreadable }
}

#[cfg(test)]
mod tests {
    use crate::ingest::table::tests::file as parquet;
    use crate::ingest::{Columns, Ingest, Source};
    use pipe_stage::testing::Bench;
    use pipe_stage::{Places, Stage};

    fn preview(glob: &str, columns: Columns, files: &[(&str, &[u8])]) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let source = Source { glob: glob.into(), name: "data".into(), columns, ..Source::default() };
        let stage = Ingest { sources: vec![source], ..Ingest::default() };
        let nowhere = |_: &str| None;
        let places = Places { project: folder.path().to_owned(), variable: &nowhere };
        let label = stage.sources(&places).unwrap()[0].source.clone();
        let sources = Bench::sources(&label, folder.path()).unwrap();
        stage.preview(&places, &sources).into_iter().map(|misfit| (misfit.path, misfit.message)).collect()
    }

    #[test]
    fn columns_that_are_not_there_are_found() {
        let columns = || Columns { text: Some("body".into()), ..Columns::default() };
        let one = |path: &str, message: &str| vec![(format!("sources[0].{path}"), message.to_owned())];
        let expected = one("columns", "do not fit `a.csv`: it has no column `body`; it has text, lang");
        assert_eq!(preview("*.csv", columns(), &[("a.csv", b"text,lang\na,en\n")]), expected);
        let expected = one("columns", "do not fit `a.parquet`: it has no column `body`; it has text");
        assert_eq!(
            preview("*.parquet", columns(), &[("a.parquet", &parquet(&[("text", vec![Some("a")])]))]),
            expected
        );
        let lines = b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
        let expected = one(
            "columns",
            "do not fit any of the first 2 rows of `a.jsonl`; row 1: it has no text in the column `body`",
        );
        assert_eq!(preview("*.jsonl", columns(), &[("a.jsonl", lines)]), expected);
        assert_eq!(preview("*.jsonl", Columns::default(), &[("a.jsonl", lines)]), []);
        let chats = Columns { text: None, metadata: ["messages"].into(), ..Columns::default() };
        assert_eq!(preview("*.jsonl", chats, &[("a.jsonl", b"{\"messages\": []}\n")]), []);
    }

    #[test]
    fn an_optional_column_has_to_be_in_some_file() {
        let columns = || Columns { language: "lang".into(), ..Columns::default() };
        let (with, without) =
            (("a.csv", b"text,lang\na,en\n".as_slice()), ("b.csv", b"text\nb\n".as_slice()));
        assert_eq!(preview("*.csv", columns(), &[with, without]), []);
        let expected = "names the column `lang`, which the file does not have";
        assert_eq!(preview("*.csv", columns(), &[without])[0].1, expected);
    }

    #[test]
    fn an_archive_may_begin_with_records_that_are_no_pages() {
        let missing =
            "WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 22\r\n\r\nHTTP/1.1 404 No\r\n\r\n<p>\r\n\r\n";
        assert_eq!(preview("*.warc", Columns::default(), &[("a.warc", missing.as_bytes())]), []);
        let found = preview("*.warc", Columns::default(), &[("a.warc", b"text")]);
        assert_eq!(found[0].0, "sources[0].glob");
    }

    #[test]
    fn a_first_row_above_what_is_read_is_left_to_the_run() {
        let object = format!("{{\"text\": \"{}\"}}", "x".repeat(9 << 20));
        assert_eq!(preview("*.jsonl", Columns::default(), &[("a.jsonl", object.as_bytes())]), []);
        let list = format!("[{object}]");
        assert_eq!(preview("*.json", Columns::default(), &[("a.json", list.as_bytes())]), []);
        let row = format!("text\n\"{}\"\n", "x\n".repeat(5 << 20));
        assert_eq!(preview("*.csv", Columns::default(), &[("a.csv", row.as_bytes())]), []);
    }

    #[test]
    fn files_of_another_format_are_found_and_damage_is_left_to_the_run() {
        let found = preview("*.parquet", Columns::default(), &[("a.parquet", b"no Parquet")]);
        assert_eq!(found[0].0, "sources[0].glob");
        let found = preview("*.json", Columns::default(), &[("a.json", b"text")]);
        assert_eq!(found[0].0, "sources[0].glob");
        assert_eq!(preview("*.csv", Columns::default(), &[("a.csv", b"text\na\n\"b\n")]), []);
        let truncated = crate::ingest::inflate::tests::gzip(&b"{\"text\": \"a\"}\n".repeat(1000));
        assert_eq!(preview("*.jsonl.gz", Columns::default(), &[("a.jsonl.gz", &truncated[..40])]), []);
    }
}
