//! The first step for files of records: each file is read once and leaves its documents by branch of the trie. Shards
//! are cut later, when all files have been read.

use super::borders::{Place, Weight};
use super::columns::{Columns, Row};
use super::encoding::{self, decode};
use super::faults::{Fault, Unreadable};
use super::format::{Compression, Format};
use super::inflate::{Broken, inflate};
use super::mediawiki::Selection;
use super::rejected::{Rejections, Tally};
use super::slices::SliceWriter;
use super::source::name_of;
use super::{array, csv, enterprise, jsonl, mediawiki, table, warc};
use crate::documents::Document;
use pipe_stage::{
    Entry, Error, Inputs, Item, LocalEntry, Metric, Result, Share, ShareFile, SourceFile, Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// Slot of the documents of a file: one entry per branch.
pub(super) const SLICES: &str = "slices";
/// Slot of the sample hashes of a file.
const HASHES: &str = "hashes";

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
    /// Depth of the branches.
    pub(super) depth: u32,
    /// The largest sample hash to take.
    pub(super) sample_max: Option<u64>,
    /// Which pages of wikis are taken.
    #[serde(skip_serializing_if = "Selection::is_default")]
    pub(super) pages: Selection,
}

/// What reading a file found: its errors, and the weight of each branch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) tally: Tally,
    /// Wanted columns that the file lacks, if it has a list of columns.
    pub(super) missing: Option<Vec<String>>,
    /// Number of documents and bytes.
    branches: Vec<(u64, u64)>,
}

/// Depth of the branches, chosen so that one branch is small enough to be cut at once.
///
/// At most 32 branches: each is an open file in every share.
pub(super) fn depth_for(files: &[SourceFile], format: Format) -> u32 {
    const BRANCH_BYTES: u64 = 64 << 20;
    const DEPTH_MAX: u32 = 5;
    let bytes = |file: &SourceFile| match (format, Compression::of_name(&file.name)) {
        (Format::Parquet | Format::Arrow, _) => file.size.saturating_mul(3),
        (_, Compression::Plain) => file.size,
        _ => file.size.saturating_mul(4),
    };
    let bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(bytes(file)));
    (0..DEPTH_MAX).find(|depth| bytes >> depth <= BRANCH_BYTES).unwrap_or(DEPTH_MAX)
}

/// One item per file; its rejections are named after it.
pub(super) fn items(source: &str, files: &[SourceFile]) -> Vec<Item> {
    let item = |file: &SourceFile| {
        Item::of_sources(&format!("{source}/{}.rejected.rows", file.name), [file.clone()])
    };
    files.iter().map(item).collect()
}

/// Weight of each branch, over all files.
pub(super) fn weights(given: &[Given], depth: u32) -> Vec<Weight> {
    let mut weights = vec![Weight::default(); 1 << depth];
    for (weight, (documents, bytes)) in given.iter().flat_map(weights_of) {
        weights[weight].documents += documents;
        weights[weight].bytes += bytes;
    }
    weights
}

fn weights_of(given: &Given) -> impl Iterator<Item = (usize, (u64, u64))> {
    given.branches.iter().copied().enumerate()
}

/// The slices of the step by branch, in the order of the files.
pub(super) fn by_branch(step: &Step, depth: u32) -> Vec<Vec<Entry>> {
    let mut branches = vec![Vec::new(); 1 << depth];
    for entry in step.entries(SLICES) {
        let branch = entry.name.split('.').next().and_then(|name| usize::from_str_radix(name, 16).ok());
        if let Some(branch) = branch.and_then(|branch| branches.get_mut(branch)) {
            branch.push(entry);
        }
    }
    branches
}

/// Reads a file and leaves its documents by branch.
pub(super) fn read_rows(reading: &RecordReading, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let file = &inputs.item().entries()[0];
    let written = |error: io::Error| Error::io("write", Path::new("a slice of records"), &error);
    let branches = 1 << reading.depth;
    let mut slices: Vec<Option<SliceWriter<io::BufWriter<ShareFile>>>> =
        (0..branches).map(|_| None).collect();
    let mut given = Given { branches: vec![(0, 0); branches], ..Given::default() };
    let mut rejections = Rejections::new(id(file));
    let mut buffer = Vec::new();
    let mut opened = Vec::new();
    for branch in 0..branches {
        opened.push(Some(share.named(SLICES, &format!("{branch:02x}.rows"))?));
    }
    let mut taken = 0;
    given.missing = documents(reading, file, share, &mut rejections, |document| {
        let Place { position, sample } = Place::of(&document.id);
        if reading.sample_max.is_some_and(|max| sample > max) {
            return Ok(());
        }
        let branch = position.checked_shr(u64::BITS - reading.depth).unwrap_or(0) as usize;
        let slice = match &mut slices[branch] {
            Some(slice) => slice,
            slice => {
                let file = opened[branch].take().expect("invariant: a branch is opened once");
                slice.insert(SliceWriter::new(io::BufWriter::new(file)).map_err(written)?)
            }
        };
        slice.push(&document, &mut buffer).map_err(written)?;
        let (documents, bytes) = &mut given.branches[branch];
        (*documents, *bytes) = (*documents + 1, *bytes + buffer.len() as u64);
        taken += 1;
        Ok(())
    })?;
    for slice in slices.into_iter().flatten() {
        let file = slice.finish().and_then(|file| file.into_inner().map_err(io::Error::from));
        share.keep(file.map_err(written)?)?;
    }
    given.tally = rejections.keep(share)?;
    share.count("rows", given.tally.rows);
    share.metric(Metric::count("rejected", given.tally.rejected()).lower_is_better());
    if reading.format.has_other_records() {
        share.count("no_page", given.tally.no_page.count);
    }
    if reading.sample_max.is_some() {
        share.count("rows_sampled", taken);
    }
    share.value(&given);
    Ok(())
}

/// Number of documents in a sample.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Sampling {
    pub(super) take: u64,
    pub(super) reading: RecordReading,
}

/// Leaves the smallest sample hashes of a file, as many as the sample has documents.
pub(super) fn hash_ids(sampling: &Sampling, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let file = &inputs.item().entries()[0];
    let mut rejections = Rejections::new(id(file));
    let mut smallest = Smallest::new(sampling.take);
    documents(&sampling.reading, file, share, &mut rejections, |document| {
        let Place { sample, .. } = Place::of(&document.id);
        if sampling.reading.sample_max.is_none_or(|max| sample <= max) {
            smallest.add(sample);
        }
        Ok(())
    })?;
    let bytes: Vec<u8> = smallest.0.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let mut out = share.named(HASHES, "hashes")?;
    out.write_all(&bytes).map_err(|error| Error::io("write", Path::new("sample hashes"), &error))?;
    share.keep(out)?;
    Ok(())
}

/// The sample hashes of all files as one item.
pub(super) fn hashes(step: &Step) -> Item {
    Item::new("hashes", step.entries(HASHES))
}

/// Finds the largest sample hash that belongs to the sample, and stores it as the value of the share.
pub(super) fn last_of_sample(take: &u64, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut smallest = Smallest::new(*take);
    for file in share.track("files", inputs.item().entries()) {
        let bytes = file?.bytes()?;
        bytes.as_chunks::<8>().0.iter().for_each(|hash| smallest.add(u64::from_le_bytes(*hash)));
    }
    share.value(&smallest.0.last().copied().unwrap_or(0));
    Ok(())
}

/// The smallest hashes seen so far. Documents with the same id have the same hash and count once.
struct Smallest(BTreeSet<u64>, u64);

impl Smallest {
    fn new(take: u64) -> Self {
        Self(BTreeSet::new(), take)
    }

    fn add(&mut self, hash: u64) {
        if (self.0.len() as u64) < self.1 {
            self.0.insert(hash);
        } else if self.0.last().is_some_and(|last| hash < *last) && self.0.insert(hash) {
            self.0.pop_last();
        }
    }
}

/// Why reading ends before the end of the file.
enum Stop {
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
fn documents(
    reading: &RecordReading,
    file: &LocalEntry,
    share: &Share,
    rejections: &mut Rejections,
    mut take: impl FnMut(Document) -> Result<()>,
) -> Result<Option<Vec<String>>> {
    const TOLD_EVERY: u64 = 1024;
    let bytes_max = (reading.page_mib_max as usize) << 20;
    // Allows for other columns and for escapes.
    let row_bytes_max = (bytes_max as u64) * 4;
    let wanted = reading.columns.wanted();
    let mut stream = file.stream()?;
    let mut last = 0;
    rejections.tally.files += 1;
    let each = |number: u64, row: Result<Row, Fault>| {
        last = number;
        rejections.tally.rows += 1;
        if rejections.tally.rows.is_multiple_of(TOLD_EVERY) {
            share.check_stop().map_err(Stop::Stage)?;
            share.advance("rows", TOLD_EVERY);
        }
        let place = || format!("{}:{number}", file.name());
        match row.and_then(|row| wanted.document(row, place, bytes_max)) {
            Ok(document) => take(document).map_err(Stop::Stage),
            Err(fault) => {
                rejections.row(number, &fault);
                Ok(())
            }
        }
    };
    let mut present = None;
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
                _ => enterprise::read(input, &wanted, row_bytes_max, each),
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
        Err(Stop::Bytes(error)) => {
            let broken = Broken::of(&error, Compression::of_name(file.name()));
            Some(Unreadable::Inflating { row: last, broken })
        }
        Ok(ended) => ended.err(),
    };
    stream.finish()?;
    match unreadable {
        Some(unreadable) => rejections.unreadable(&unreadable),
        None if rejections.tally.rows == 0 => rejections.without_records(),
        None => {}
    }
    Ok(present.map(|present: Vec<bool>| {
        let names = wanted.names().zip(present);
        names.filter(|(_, is_present)| !is_present).map(|(name, _)| name.to_owned()).collect()
    }))
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

fn id(file: &LocalEntry) -> String {
    format!("{}/{}", name_of(file.source().unwrap_or_default()), file.name())
}
