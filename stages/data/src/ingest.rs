//! Files from outside → document shards. No other stage decides where shards begin and end.
//!
//! Owns: which files are read, how their documents are distributed over shards, and which files are not documents. It
//! does not extract text from pages; `clean` does.
//!
//! A file that holds one document is read by the share of its shard. A file of records is read once and leaves its
//! documents by branches of a trie over ids; each branch is then cut into shards on its own, so the work is
//! proportional to the bytes, whatever the number of shards.

mod source;

mod remote;

mod format;

mod borders;

mod faults;

mod pages;

mod records;

mod columns;

mod cells;

mod jsonl;

mod metadata;

mod preview;

mod array;

mod csv;

mod encoding;

mod table;

mod inflate;

mod http;

mod warc;

mod mediawiki;

mod enterprise;

mod gutenberg;

mod license;

mod epub;

mod groups;

mod slices;

mod sample;

mod ids;

mod shards;

mod branches;

mod cut;

mod rejected;

mod rust_docs;

mod origin;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod record_tests;

#[cfg(test)]
mod remote_tests;

#[cfg(test)]
mod shard_tests;

#[cfg(test)]
mod wiki_tests;

pub use columns::Columns;
pub use format::Format;
pub use mediawiki::Sections;
pub use metadata::MetadataColumns;
pub use origin::{likely_shards, origin};
pub use remote::{HuggingFace, Paths};
pub use source::Source;
pub(crate) use source::split_glob;

use crate::documents::{DOCUMENTS, PAGES_OF_HTML, WITHOUT_TEXT, WithoutText, facts_of_metadata};
use crate::none_left;
use crate::parts::ranges;
use borders::{Caps, Place};
use branches::{Branched, Slicing, read_slices};
use cut::{Cutting, cut_shards};
use ids::{Repeated, find_duplicates, leave_out};
use pages::{Reading, read_pages};
use pipe_stage::{
    Code, Context, Entry, Error, FILES, Facts, In, Item, KnownInputs, Metric, Misfit, Out, Places, Port,
    RemoteRequest, Result, SourceFile, SourceRequest, Stage, Step, WorkInputs,
};
use records::{Given, RecordReading};
use rejected::{Budgets, Tally};
use sample::{Sampling, hash_ids, last_of_sample};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shards::{Naming, Sharding, read_shards};
use source::{format_of, label_of, name_of};
use std::collections::{BTreeMap, BTreeSet};

/// Reads pages, text, Markdown, source code, books (EPUB, Project Gutenberg), JSON, CSV, Parquet and Arrow files, web
/// archives and dumps of Wikipedia into document shards.
///
/// Each page, text, source or Markdown file and each book is a document; so is each record of the other formats, each page
/// of a web archive (WARC, WET, ARC), and each article of a wiki. Documents of a file each are named `<source>/<path>` and
/// assigned to shards by the hash of their names, so a changed document changes one shard and a new one changes at most
/// two. Records are named `<source>/<id>` if they have an id or `columns.id` is set, otherwise `<source>/<path>:<row>`, where rows
/// are lines of JSON Lines or records of the other formats, counted from 1. Each file of records has its own shards
/// (`shard_by`). If several records share an id, the first is kept. Redirect pages are skipped. Files and records that cannot be read
/// (empty, binary, undecodable, damaged, too large, without text) are listed in the output `rejected` with the
/// reason, as are redirects, records with a duplicate id, records of web archives without a page, and files without
/// any records.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Where documents come from. Each source has its own shards.
    pub sources: Vec<Source>,
    /// How the files of the input `files` are read, with the settings of a source other than `glob` and `rust-docs`. By
    /// default their `format` is `warc`, the archives of a `crawl`, and their `name` is `files`.
    pub files: Option<Box<Source>>,
    /// How records are distributed over shards. Files that are one document each, such as pages, are always distributed by
    /// their names.
    pub shard_by: ShardBy,
    /// Maximum documents per shard (at least 1). By default, only their size counts.
    pub shard_documents: Option<u32>,
    /// Maximum MiB of documents per shard (at least 1), which bounds the memory and time of a task. A larger document
    /// gets a shard of its own. The first shards of a file or of a small set of pages are smaller, from 2 MiB, so that
    /// all cores have work.
    pub shard_mib: u32,
    /// Maximum size of a page, text or record in MiB, 1 to 128; larger ones are rejected. The limit keeps one file
    /// from using up the memory. Lines of JSON Lines may be four times as long.
    pub page_mib_max: u32,
    /// Maximum number of HTML elements per page. Pages with more are usually generated without end or dumps of data.
    pub elements_max: u32,
    /// Maximum number of documents and records that cannot be read. If there are more, the stage fails; the default 0
    /// accepts no loss.
    pub errors_max: u64,
    /// Maximum number of files of records that cannot be read completely. If there are more, the stage fails; the
    /// default 0 accepts no loss.
    pub files_lost_max: u64,
    /// Maximum number of redirect pages that are skipped. If there are more, the stage fails. By default there is no
    /// limit, since redirects have no content.
    pub redirects_max: Option<u64>,
    /// Maximum number of records that are skipped because an earlier record has the same id. If there are more, the
    /// stage fails. By default there is no limit.
    pub duplicates_max: Option<u64>,
    /// Maximum number of records of web archives that hold no page: with another HTTP status than 200, of another media
    /// type than HTML and text, without content, or saying that nothing has changed; and of pages of MediaWiki exports that
    /// are no documents: redirects, those in other namespaces, and those without text. If there are more, the stage
    /// fails. By default there is no limit.
    pub no_page_max: Option<u64>,
}

/// How records are distributed over shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShardBy {
    /// Each file has its own shards, except that small files share some. A new or changed file changes no shard of other
    /// files.
    #[default]
    File,
    /// By the hash of the document's id. With `columns.id`, the same records make the same shards, whatever files and
    /// formats they come in; a new file changes all shards that get one of its records.
    Id,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            files: None,
            shard_by: ShardBy::File,
            shard_documents: None,
            shard_mib: 32,
            page_mib_max: 16,
            elements_max: 400_000,
            errors_max: 0,
            files_lost_max: 0,
            redirects_max: None,
            duplicates_max: None,
            no_page_max: None,
        }
    }
}

const FILES_IN: In =
    In::new("files", &FILES, "Files to read as another source, such as the archives of a crawl.").optional();
const PAGES: Out = Out::main("documents", &DOCUMENTS, "The documents, not yet cleaned, in shards.");
const REJECTED: Out = Out::new(
    "rejected",
    &FILES,
    "Files and records that cannot be read, as JSON Lines with id, row, reason and explanation.",
);

impl Stage for Ingest {
    const NAME: &'static str = "ingest";
    /// History: 1: initial version. 2: numbers and times are kept as written; documents that were lost silently are
    /// rejected. 3: objects with the same key twice are rejected; files without records are listed; damaged compressed text
    /// is reported as such. 4: shards are cut by size, files of records have shards of their own, and source files have the
    /// licence that they name.
    const REVISION: u32 = 4;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[FILES_IN.port(), PAGES.port(), REJECTED.port()];

    fn check(&self) -> Vec<Misfit> {
        let mut misfits: Vec<Misfit> = [
            Misfit::unless(self.shard_documents != Some(0), "shard_documents", "must be at least 1"),
            Misfit::unless(self.shard_mib > 0, "shard_mib", "must be at least 1"),
            Misfit::unless((1..=128).contains(&self.page_mib_max), "page_mib_max", "must be from 1 to 128"),
            Misfit::unless(self.elements_max > 0, "elements_max", "must be at least 1"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut names = BTreeSet::new();
        if self.files.as_ref().is_some_and(|files| !files.is_of_input()) {
            let message = "says where its files are, but they are those of the input `files`";
            misfits.push(Misfit::new("files", message).help("list files of the project as `sources`"));
        }
        for (path, source) in self.all_sources() {
            misfits.extend(source.check(&path));
            let may_take = source.take().is_none() || self.shard_by == ShardBy::File;
            let message = "needs the whole data set with `shard_by: id`";
            misfits.extend(Misfit::unless(may_take, &format!("{path}.hf.take"), message));
            for name in source.names() {
                if !names.insert(name.clone()) {
                    let message = format!("is a second source with the name `{name}`");
                    misfits.push(Misfit::new(&path, message).help("give it another `name`"));
                }
            }
        }
        misfits
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output != PAGES.name() {
            return Facts::default();
        }
        let sources = || self.read_sources(inputs.is_connected(FILES_IN));
        let names: Option<Vec<_>> = sources().iter().map(Source::metadata_names).collect();
        let facts = names
            .map_or_else(Facts::default, |names| facts_of_metadata(names.concat().into_iter().collect()));
        let facts = match WithoutText::of(sources().iter().map(Source::pages_of_html)) {
            Some(which) => facts.with(PAGES_OF_HTML, which),
            None => facts,
        };
        match WithoutText::of(sources().iter().map(Source::without_text)) {
            Some(which) => facts.with(WITHOUT_TEXT, which),
            None => facts,
        }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        match (inputs.is_connected(FILES_IN), self.sources.is_empty(), &self.files) {
            (false, true, None) => {
                let message =
                    "must contain at least one source, unless another stage provides the input `files`";
                vec![Misfit::new("sources", message).help("add one, such as `- glob: pages/**/*.html`")]
            }
            (false, _, Some(_)) => {
                let message = "says how the input `files` is read, but no stage in `needs` provides it";
                vec![Misfit::new("files", message).help("name the stage, as in `needs: { files: crawl }`")]
            }
            _ => Vec::new(),
        }
    }

    fn sources(&self, places: &Places) -> Result<Vec<SourceRequest>, Vec<Misfit>> {
        let mut requests = Vec::new();
        let mut misfits = Vec::new();
        for (position, source) in self.sources.iter().enumerate() {
            match source.requests(&format!("sources[{position}]"), places) {
                Ok(more) => requests.extend(more),
                Err(more) => misfits.extend(more),
            }
        }
        if misfits.is_empty() { Ok(requests) } else { Err(misfits) }
    }

    fn remotes(&self, places: &Places) -> Result<Vec<RemoteRequest>, Vec<Misfit>> {
        let request = |(position, source): (usize, &Source)| {
            source.remote_request(&format!("sources[{position}]"), places)
        };
        Ok(self.sources.iter().enumerate().filter_map(request).collect())
    }

    fn preview(&self, _: &Places, files: &[SourceFile]) -> Vec<Misfit> {
        let by_label = by_label(files);
        let misfits = by_label.iter().filter(|(label, _)| format_of(label).has_records());
        misfits
            .flat_map(|(label, files)| {
                let name = name_of(label);
                let at = self.sources.iter().position(|source| source.names().any(|own| own == name));
                preview::look(&self.record_reading(label), files, &format!("sources[{}]", at.unwrap_or(0)))
            })
            .collect()
    }

    /// Bytes that are read: of files that are a document each, those of the sample.
    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        let of_sources = by_label(&inputs.sources).into_iter().map(|(label, files)| {
            let is_whole = format_of(&label).has_records();
            total(if is_whole { files } else { self.sampled(&label, files) })
        });
        let sources: f64 = of_sources.sum();
        Some(sources + inputs.artifact_bytes()? as f64)
    }

    /// Bytes that are read and taken; how many records a `limit` takes of a file, only reading it tells.
    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        let bytes = by_label(&inputs.sources).into_iter().map(|(label, files)| {
            if !format_of(&label).has_records() {
                return Some(total(self.sampled(&label, files)));
            }
            let source =
                self.source(&label).filter(|source| source.limit.is_none() && source.take().is_none())?;
            Some(total(files) * source.fraction.unwrap_or(1.0))
        });
        let sources: f64 = bytes.sum::<Option<f64>>()?;
        let files = inputs.artifact_bytes()? as f64;
        let is_known = files == 0.0 || self.files.as_ref().is_none_or(|source| source.limit.is_none());
        is_known.then_some(sources + files)
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let names = [
            "documents",
            "shards",
            "bytes",
            "rejected",
            "redirects",
            "duplicates",
            "no_page",
            "unframed",
            "framed_partly",
            "framed_several",
            "license_unclear",
            "rows",
            "rows_sampled",
        ];
        Some(names.map(str::to_owned).to_vec())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        // The main metric comes first, also for files of records, which report other metrics before it is known.
        ctx.metric(Metric::count("documents", 0));
        let mut made = Made::default();
        let mut unfinished = Vec::new();
        let given = ctx.optional(FILES_IN).map(|files| ctx.as_sources(&self.files_source().label(), files));
        let files: Vec<SourceFile> =
            ctx.sources().iter().cloned().chain(given.into_iter().flatten()).collect();
        // One set of steps per source, so that the keys of a source do not depend on other sources.
        for (label, files) in by_label(&files) {
            match (format_of(&label).has_records(), self.shard_by) {
                (false, _) => self.pages(ctx, &label, files, &mut made)?,
                (true, ShardBy::File) => self.files(ctx, &label, &files, &mut made)?,
                (true, ShardBy::Id) => {
                    let rows = self.rows(ctx, &label, &files, &mut made)?;
                    unfinished.push((label, rows));
                }
            }
        }
        made.tally.check(self.budgets())?;
        for (label, rows) in unfinished {
            self.cut(ctx, &label, rows, &mut made)?;
        }
        made.tally.check(self.budgets())?;
        if made.documents.is_empty() {
            warn_of_none(ctx, files.len(), &made.tally);
        }
        ctx.metric(Metric::count("shards", made.documents.len() as u64));
        ctx.output(PAGES, made.documents)?;
        ctx.output(REJECTED, made.rejected)
    }
}

/// Files by the label of their source.
fn by_label(files: &[SourceFile]) -> BTreeMap<String, Vec<SourceFile>> {
    let mut by_label: BTreeMap<String, Vec<SourceFile>> = BTreeMap::new();
    files.iter().for_each(|file| by_label.entry(label_of(file)).or_default().push(file.clone()));
    by_label
}

fn total(files: Vec<SourceFile>) -> f64 {
    files.iter().map(|file| file.size as f64).sum()
}

/// The results of the sources so far.
#[derive(Default)]
struct Made {
    documents: Vec<Entry>,
    rejected: Vec<Entry>,
    tally: Tally,
}

/// Input of the cut into shards: the slices of all files by branch, and the weight of each branch.
struct Rows {
    slices: Vec<Vec<Entry>>,
    weights: Vec<borders::Weight>,
    naming: Naming,
}

impl Ingest {
    const fn budgets(&self) -> Budgets {
        Budgets {
            errors: self.errors_max,
            files_lost: self.files_lost_max,
            redirects: self.redirects_max,
            duplicates: self.duplicates_max,
            no_page: self.no_page_max,
        }
    }

    /// Files that hold one document each.
    fn pages(&self, ctx: &Context, label: &str, files: Vec<SourceFile>, made: &mut Made) -> Result<()> {
        let files = self.sampled(label, files);
        let step = ctx.each("pages", &self.reading(label), self.items(label, &files), read_pages)?;
        made.documents.extend(step.entries(PAGES.name()));
        made.rejected.extend(step.entries(REJECTED.name()));
        step.values::<Tally>()?.into_iter().for_each(|more| made.tally.add(more));
        Ok(())
    }

    /// The files of a source that belong to its sample.
    fn sampled(&self, label: &str, files: Vec<SourceFile>) -> Vec<SourceFile> {
        let source = self.source(label);
        let max = source.as_ref().and_then(Source::fraction_max);
        let sample = |file: &SourceFile| Place::of(&file.name).sample;
        let mut files: Vec<SourceFile> =
            files.into_iter().filter(|file| max.is_none_or(|max| sample(file) <= max)).collect();
        if let Some(take) = source.and_then(|source| source.limit) {
            files.sort_by_cached_key(|file| (sample(file), file.name.clone()));
            files.truncate(usize::try_from(take).unwrap_or(usize::MAX));
        }
        files
    }

    /// The shards of a source as items, named `<source>/<border>.parquet`.
    fn items(&self, label: &str, files: &[SourceFile]) -> Vec<Item> {
        let name = |border: u64| format!("{}/{border:016x}.parquet", name_of(label));
        let item = |shard: borders::Shard| Item::of_sources(&name(shard.border), shard.files);
        borders::shards(files, self.caps()).into_iter().map(item).collect()
    }

    fn caps(&self) -> Caps {
        Caps {
            documents: self.shard_documents.map_or(u64::MAX, u64::from),
            bytes: u64::from(self.shard_mib) << 20,
        }
    }

    /// The settings that determine how the pages of a source are read.
    fn reading(&self, label: &str) -> Reading {
        let facts = self.source(label).map(|source| source.facts(name_of(label)));
        let (url, license) = facts.unwrap_or_default();
        let encoding = self.source(label).map(|source| source.encoding.clone()).unwrap_or_default();
        Reading { url, license, page_mib_max: self.page_mib_max, elements_max: self.elements_max, encoding }
    }

    /// The settings that determine how the records of a source are read.
    fn record_reading(&self, label: &str) -> RecordReading {
        let source = self.source(label);
        RecordReading {
            format: format_of(label),
            columns: source.as_ref().map(Source::columns_of_format).unwrap_or_default(),
            delimiter: source.as_ref().and_then(Source::delimiter_byte),
            quote: source.as_ref().and_then(|source| source.quote.clone()),
            escape: source.as_ref().map(|source| source.escape.clone()).unwrap_or_default(),
            encoding: source.as_ref().map(|source| source.encoding.clone()).unwrap_or_default(),
            page_mib_max: self.page_mib_max,
            sample_max: source.as_ref().and_then(Source::fraction_max),
            take: None,
            pages: source.as_ref().map(Source::selection).unwrap_or_default(),
        }
    }

    /// The settings that determine how the records of a source are read, with the bounds of its sample.
    fn sampling(&self, ctx: &Context, label: &str, items: &[Item]) -> Result<RecordReading> {
        let mut reading = self.record_reading(label);
        if let Some(take) = self.source(label).and_then(|source| source.limit) {
            let sampling = Sampling { take, reading: reading.clone() };
            let hashes = ctx.each("sampled", &sampling, items.to_vec(), hash_ids)?;
            let last = ctx.once("sample", &take, vec![sample::hashes(&hashes)], last_of_sample)?;
            reading.sample_max = last.values::<u64>()?.first().copied();
        }
        Ok(reading)
    }

    /// What the documents of a source of records get from it.
    fn naming(&self, label: &str, files: &[SourceFile]) -> Naming {
        let license = self.source(label).map(|source| source.license.clone());
        let stated =
            || files.iter().filter_map(SourceFile::remote).next().map(|remote| remote.license.clone());
        let license = license.filter(|license| !license.is_empty()).or_else(stated).unwrap_or_default();
        let columns = self.source(label).as_ref().map(Source::columns_of_format).unwrap_or_default();
        Naming { source: name_of(label).to_owned(), license, media_types: !columns.media_type.is_empty() }
    }

    /// Files of records, each with shards of its own.
    fn files(&self, ctx: &Context, label: &str, files: &[SourceFile], made: &mut Made) -> Result<()> {
        let items = groups::items(name_of(label), files, format_of(label));
        let reading = self.sampling(ctx, label, &items)?;
        let has_ids = !reading.columns.id.is_empty();
        let sharding = Sharding { reading, naming: self.naming(label, files), caps: self.caps(), has_ids };
        let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
        let step = match self.source(label).and_then(|source| source.take()) {
            Some(take) => first_documents(ctx, sharding, items, take)?,
            None => ctx.each("shards_by_file", &sharding, items, read_shards)?,
        };
        let mut shards = step.entries_by_share(PAGES.name());
        made.rejected.extend(step.entries(REJECTED.name()));
        let given = step.values::<Given>()?;
        check_missing(name_of(label), &given)?;
        let (mut documents, mut bytes) = given
            .iter()
            .fold((0, 0), |(documents, bytes), given| (documents + given.documents, bytes + given.bytes));
        given.into_iter().for_each(|given| made.tally.add(given.tally));

        if has_ids {
            let parts = step.parts("ids", &ranges(documents, ids::IDS_MAX));
            let found = ctx.each_of("duplicates", &(), parts, find_duplicates)?;
            let mut repeated = 0;
            for Repeated { documents: more, bytes: less } in found.values()? {
                (repeated, documents, bytes) = (repeated + more, documents - more, bytes - less);
            }
            ctx.metric(Metric::count("duplicates", repeated));
            let duplicates = found.by_item("duplicates", shards.len());
            let touched: Vec<usize> =
                (0..shards.len()).filter(|&at| !duplicates[at].inputs.is_empty()).collect();
            let items = touched.iter().map(|&at| {
                vec![Item::new(&names[at], std::mem::take(&mut shards[at])), duplicates[at].clone()]
            });
            let unique = ctx.each_of("unique", &(), items.collect(), leave_out)?;
            made.documents.extend(unique.entries(PAGES.name()));
            made.rejected.extend(unique.entries(REJECTED.name()));
            unique.values::<Tally>()?.into_iter().for_each(|more| made.tally.add(more));
        }
        made.documents.extend(shards.into_iter().flatten());
        ctx.metric(Metric::count("documents", documents));
        ctx.metric(Metric::new("bytes", bytes as f64, "bytes"));
        Ok(())
    }

    /// Reads each file of records once, for shards by id.
    fn rows(&self, ctx: &Context, label: &str, files: &[SourceFile], made: &mut Made) -> Result<Rows> {
        let items = groups::items(name_of(label), files, format_of(label));
        let reading = self.sampling(ctx, label, &items)?;
        let slicing = Slicing { reading, depth: branches::depth_for(files, format_of(label)) };
        let step = ctx.each("rows", &slicing, items, read_slices)?;
        made.rejected.extend(step.entries(REJECTED.name()));
        let branched = step.values::<Branched>()?;
        let rows = Rows {
            slices: branches::by_branch(&step, slicing.depth),
            weights: branches::weights(&branched, slicing.depth),
            naming: self.naming(label, files),
        };
        let given: Vec<Given> = branched.into_iter().map(|branched| branched.given).collect();
        check_missing(name_of(label), &given)?;
        given.into_iter().for_each(|given| made.tally.add(given.tally));
        Ok(rows)
    }

    /// Cuts the documents of a source's files into shards by id.
    fn cut(&self, ctx: &Context, label: &str, rows: Rows, made: &mut Made) -> Result<()> {
        let (source, caps) = (name_of(label), self.caps());
        let mut by_depth: BTreeMap<u32, Vec<Item>> = BTreeMap::new();
        for branch in borders::branches(&rows.weights, caps) {
            let name = format!("{source}/{:02x}.rows", branch.parts.start);
            let item = Item::new(&name, rows.slices[branch.parts.clone()].concat());
            by_depth.entry(branch.depth).or_default().push(item);
        }
        for (depth, items) in by_depth {
            let cutting = Cutting { naming: rows.naming.clone(), caps, depth };
            let step = ctx.each("shards", &cutting, items, cut_shards)?;
            made.documents.extend(step.entries(PAGES.name()));
            made.rejected.extend(step.entries(REJECTED.name()));
            step.values::<Tally>()?.into_iter().for_each(|more| made.tally.add(more));
        }
        Ok(())
    }

    fn source(&self, label: &str) -> Option<Source> {
        let name = name_of(label);
        self.read_sources(true).into_iter().find(|source| source.names().any(|own| own == name))
    }

    /// The settings for the files of the input.
    fn files_source(&self) -> Source {
        let mut source = self.files.as_deref().cloned().unwrap_or_default();
        if source.name.is_empty() {
            "files".clone_into(&mut source.name);
        }
        // Whatever their names are.
        "**".clone_into(&mut source.glob);
        source.format = Some(source.format.unwrap_or(Format::Warc));
        source
    }

    /// All sources, with that of the input if there is one.
    fn read_sources(&self, has_files: bool) -> Vec<Source> {
        let files = has_files.then(|| self.files_source());
        self.sources.iter().cloned().chain(files).collect()
    }

    /// All sources by their path in the config.
    fn all_sources(&self) -> Vec<(String, Source)> {
        let listed = (0..)
            .zip(&self.sources)
            .map(|(at, source): (usize, _)| (format!("sources[{at}]"), source.clone()));
        let files = self.files.iter().map(|_| ("files".to_owned(), self.files_source()));
        listed.chain(files).collect()
    }
}

/// Reads files in their order until there are `take` documents, and no more than that takes: first one, then as many at
/// once as it takes if they are like those before. Where the last ones turn out to have too many, the one with the last
/// document is read again up to there, and those behind it do not count.
fn first_documents(ctx: &Context, mut sharding: Sharding, items: Vec<Item>, take: u64) -> Result<Step> {
    const AT_ONCE_MAX: u64 = 256;
    let (mut read, mut left, mut at_once) = (Step::default(), take, 1);
    let mut rest = items.as_slice();
    while left > 0 && !rest.is_empty() {
        let (batch, behind) = rest.split_at(at_once.min(rest.len()));
        sharding.reading.take = Some(left);
        let step = ctx.each("shards_by_file", &sharding, batch.to_vec(), read_shards)?;
        let documents = step.values::<Given>()?.into_iter().map(|given| given.documents);
        let (mut sum, mut whole) = (0, 0);
        for documents in documents {
            if documents > left - sum {
                break;
            }
            (sum, whole) = (sum + documents, whole + 1);
        }
        read = read.and(step.first(whole));
        left -= sum;
        (rest, at_once) = match batch.get(whole) {
            Some(last) => {
                sharding.reading.take = Some(left);
                if left > 0 {
                    read =
                        read.and(ctx.each("shards_by_file", &sharding, vec![last.clone()], read_shards)?);
                }
                return Ok(read);
            }
            None => (
                behind,
                usize::try_from((left * whole as u64 / sum.max(1)).clamp(1, AT_ONCE_MAX)).unwrap_or(1),
            ),
        };
    }
    Ok(read)
}

/// Warns that there are no documents, only what is rejected or outside the sample.
fn warn_of_none(ctx: &Context, files: usize, tally: &Tally) {
    let files = (files as u64).saturating_sub(tally.files);
    let rows = tally.rows.saturating_sub(tally.errors.count);
    let reason = |(reason, count): (&String, &u64)| {
        (*count, format!("rejected as `{reason}`, see the output `{}`", REJECTED.name()))
    };
    let outside = (files + rows, "outside the sample that `fraction` takes".to_owned());
    none_left::warn(ctx, "no documents are left", tally.reasons.iter().map(reason).chain([outside]));
}

/// Reports a column that no file of a source has. If only some files lack it, it is empty there; if all lack it, its
/// name is misspelt.
fn check_missing(source: &str, given: &[Given]) -> Result<()> {
    let mut lists = given.iter().filter_map(|given| given.missing.as_ref());
    let Some(first) = lists.next() else { return Ok(()) };
    let mut missing = first.clone();
    lists.for_each(|list| missing.retain(|name| list.contains(name)));
    match missing.first() {
        None => Ok(()),
        Some(name) => Err(Error::input(format!("no file of source `{source}` has a column `{name}`"))
            .help("see `columns`; a column may be missing from some files, but not from all")),
    }
}

#[cfg(test)]
mod tests;
