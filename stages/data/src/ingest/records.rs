//! Reads the documents of files of records, whatever their format.

use super::borders::Place;
use super::columns::{Columns, Row};
use super::encoding::{self, decode};
use super::faults::{Fault, Unreadable};
use super::format::{Compression, Format};
use super::inflate::{Broken, inflate};
use super::mediawiki::Selection;
use super::rejected::{Rejections, Tally};
use super::source::name_of;
use super::{array, csv, enterprise, jsonl, mediawiki, table, warc};
use crate::documents::Document;
use pipe_stage::{Error, LocalEntry, Metric, Result, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;

/// The settings that determine how the records of a source are read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct RecordReading {
    pub(super) format: Format,
    pub(super) columns: Columns,
    /// None if the file name determines it.
    pub(super) delimiter: Option<u8>,
    pub(super) quote: Option<String>,
    pub(super) escape: String,
    /// Name of the text encoding; UTF-8 if empty.
    pub(super) encoding: String,
    pub(super) page_mib_max: u32,
    /// The largest sample hash to take.
    pub(super) sample_max: Option<u64>,
    /// Number of documents to take, from the beginning of the first file; the rest is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) take: Option<u64>,
    /// Which pages of wikis are taken.
    #[serde(skip_serializing_if = "Selection::is_default")]
    pub(super) pages: Selection,
}

/// What reading the files of a share found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) tally: Tally,
    /// Wanted columns that all of these files lack, if they have lists of columns.
    pub(super) missing: Option<Vec<String>>,
    /// Number of documents in the sample.
    pub(super) documents: u64,
    /// Bytes of their texts and pages.
    pub(super) bytes: u64,
}

/// Reads the documents of all files of a share that belong to the sample, with ids that lack the source's name.
pub(super) fn sampled(
    reading: &RecordReading,
    files: &[LocalEntry],
    share: &mut Share,
    extension: &str,
    mut take: impl FnMut(Document, &mut Share) -> Result<()>,
) -> Result<Given> {
    let mut given = Given::default();
    let mut rejections = Rejections::default();
    for file in files {
        if reading.take.is_some_and(|take| given.documents >= take) {
            break;
        }
        rejections.begin(id(file));
        let missing = documents(reading, file, share, &mut rejections, |document, share| {
            let sample = Place::of(&document.id).sample;
            if reading.sample_max.is_some_and(|max| sample > max) {
                return Ok(Next::Go);
            }
            given.documents += 1;
            given.bytes += (document.text.len() + document.html.as_ref().map_or(0, Vec::len)) as u64;
            take(document, share)?;
            Ok(if reading.take.is_some_and(|take| given.documents >= take) { Next::End } else { Next::Go })
        })?;
        given.missing = match (given.missing, missing) {
            (Some(mut all), Some(more)) => {
                all.retain(|name| more.contains(name));
                Some(all)
            }
            (all, more) => all.or(more),
        };
    }
    given.tally = rejections.keep(share, extension)?;
    share.count("rows", given.tally.rows);
    share.metric(Metric::count("rejected", given.tally.rejected()).lower_is_better());
    if reading.format.has_other_records() {
        share.count("no_page", given.tally.no_page.count);
    }
    if reading.sample_max.is_some() {
        share.count("rows_sampled", given.documents);
    }
    Ok(given)
}

/// Whether more documents of a file are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    End,
}

/// Why reading ends before the end of the file.
enum Stop {
    /// No more documents are wanted.
    Enough,
    /// The content, or the disk; the stream knows which.
    Bytes(io::Error),
    Stage(Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Bytes(error)
    }
}

/// Reads the documents of a file, with ids that lack the source's name. Returns the wanted columns that the file
/// lacks, if it has a list of columns.
pub(super) fn documents(
    reading: &RecordReading,
    file: &LocalEntry,
    share: &mut Share,
    rejections: &mut Rejections,
    mut take: impl FnMut(Document, &mut Share) -> Result<Next>,
) -> Result<Option<Vec<String>>> {
    const TOLD_EVERY: u64 = 1024;
    let bytes_max = (reading.page_mib_max as usize) << 20;
    // Allows for other columns and for escapes.
    let row_bytes_max = (bytes_max as u64) * 4;
    let wanted = reading.columns.wanted();
    let mut stream = file.stream()?;
    let (mut last, mut rows) = (0, 0);
    rejections.tally.files += 1;
    let each = |number: u64, row: Result<Row, Fault>| {
        last = number;
        rejections.tally.rows += 1;
        rows += 1;
        if rejections.tally.rows.is_multiple_of(TOLD_EVERY) {
            share.check_stop().map_err(Stop::Stage)?;
            share.advance("rows", TOLD_EVERY);
        }
        let place = || format!("{}:{number}", file.name());
        match row.and_then(|row| wanted.document(row, place, bytes_max)) {
            Ok(document) => match take(document, share).map_err(Stop::Stage)? {
                Next::Go => Ok(()),
                Next::End => Err(Stop::Enough),
            },
            Err(fault) => {
                rejections.row(number, &fault);
                Ok(())
            }
        }
    };
    let mut present: Option<Vec<bool>> = None;
    let ended = match reading.format {
        Format::Parquet => table::read_parquet(stream.seekable()?, &wanted, &mut present, each),
        Format::Arrow => table::read_arrow(stream.seekable()?, &wanted, &mut present, each),
        Format::Warc => {
            let compression = Compression::of_name(file.name());
            warc::read(stream.seekable()?, file.size(), compression, &wanted, row_bytes_max, each)
        }
        Format::Mediawiki | Format::WikipediaHtml => {
            let input = inflate(&mut stream, Compression::of_name(file.name()), file.size());
            input.map_err(Stop::Bytes).and_then(|input| match reading.format {
                Format::Mediawiki => mediawiki::read(input, &wanted, &reading.pages, row_bytes_max, each),
                _ => enterprise::read(input, &wanted, &reading.pages, row_bytes_max, each),
            })
        }
        format => {
            let input = inflate(&mut stream, Compression::of_name(file.name()), file.size())
                .and_then(|input| decode(input, encoding::named(&reading.encoding)));
            input.map_err(Stop::Bytes).and_then(|input| match format {
                Format::Csv => {
                    let dialect = reading.dialect(file.name());
                    csv::read(input, &wanted, dialect, row_bytes_max, &mut present, each)
                }
                Format::Json => array::read(input, &wanted, row_bytes_max, each),
                _ => jsonl::read(input, &wanted, row_bytes_max, each).map(Ok),
            })
        }
    };
    // A changed file or a failed disk takes precedence over errors of rows.
    let unreadable = match ended {
        Err(Stop::Stage(error)) => return Err(error),
        // The rest of a remote file need not arrive.
        Err(Stop::Enough) => return Ok(present.map(|present| wanted.missing(&present))),
        Err(Stop::Bytes(error)) => {
            let broken = Broken::of(&error, Compression::of_name(file.name()));
            Some(Unreadable::Inflating { row: last, broken })
        }
        Ok(ended) => ended.err(),
    };
    stream.finish()?;
    match unreadable {
        Some(unreadable) => rejections.unreadable(&unreadable),
        None if rows == 0 => rejections.without_records(),
        None => {}
    }
    Ok(present.map(|present| wanted.missing(&present)))
}

impl RecordReading {
    /// The CSV dialect of a file.
    pub(super) fn dialect(&self, name: &str) -> csv::Dialect {
        let by_name = if is_tsv(name) { b'\t' } else { b',' };
        let byte = |text: &str| text.bytes().next();
        csv::Dialect {
            delimiter: self.delimiter.unwrap_or(by_name),
            quote: self.quote.as_deref().map_or(Some(b'"'), byte),
            escape: byte(&self.escape),
        }
    }
}

/// Whether a file name ends in `.tsv`, optionally compressed.
fn is_tsv(name: &str) -> bool {
    Compression::strip(name).to_ascii_lowercase().ends_with(".tsv")
}

/// `<source>/<file>`.
pub(super) fn id(file: &LocalEntry) -> String {
    format!("{}/{}", name_of(file.source().unwrap_or_default()), file.name())
}
