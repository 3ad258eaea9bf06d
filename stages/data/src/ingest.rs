//! Files from outside -> document shards. The only stage that cuts borders.
//!
//! Owns: which files are read, how they are spread over shards, and which of them are no pages. Takes nothing
//! out of a page: that is for `clean`.

mod borders;
mod rust_docs;

use crate::documents::{DOCUMENTS, Document, DocumentWriter};
use crate::html::{Limits, Refusal, inspect};
use borders::{Caps, shards};
use pipe_stage::{
    Code, Context, Error, FILES, Inputs, Item, LocalEntry, Metric, Misfit, Out, Pin, Places, Port, Result,
    Share, SourceFile, SourceRequest, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

/// Reads HTML files into document shards.
///
/// Each source is cut into shards by the hash of its files' names, so a changed page changes one shard and a
/// new one at most one more. Documents are named `<source>/<path>`. Pages that only lead elsewhere are left
/// out. Files that are no pages (empty, binary, undecodable, too large) stand in `rejected` with their
/// reason.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Where pages come from, each with its own shards.
    pub sources: Vec<Source>,
    /// Most documents in a shard, from 1: less makes changes cheaper, more makes fewer files.
    pub shard_documents: u32,
    /// Most MiB of pages in a shard, from 1; a single larger page has one to itself.
    pub shard_mib: u32,
    /// Largest page in MiB, 1 to 128.
    pub page_mib_max: u32,
    /// Most elements of a page; more are a trap or a dump.
    pub elements_max: u32,
    /// Rejected files up to which the stage goes on.
    pub errors_max: u64,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            shard_documents: 256,
            shard_mib: 32,
            page_mib_max: 16,
            elements_max: 400_000,
            errors_max: 0,
        }
    }
}

/// One source: `rust-docs`, or `glob` with what is known of its files.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// Books of the pinned Rust toolchain's documentation: `book`, `reference`, `rust-by-example`, `std`,
    /// `cargo`, `nomicon`, `error_codes` and others. Each is a source by its own name.
    #[serde(rename = "rust-docs")]
    pub rust_docs: Vec<String>,
    /// Files by a pattern relative to the project, such as `pages/**/*.html`.
    pub glob: String,
    /// Name of the source, the first part of its documents' ids; that of the glob's folder if left out.
    pub name: String,
    /// Address that the files' paths are appended to, such as `https://example.org`.
    pub url: String,
    /// Licence of the files, as an SPDX expression.
    pub license: String,
}

const PAGES: Out = Out::main("documents", &DOCUMENTS, "The pages, not yet cleaned, in shards.");
const REJECTED: Out =
    Out::new("rejected", &FILES, "Files that are no pages, as JSON Lines with id, reason and explanation.");

impl Stage for Ingest {
    const NAME: &'static str = "ingest";
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[PAGES.port(), REJECTED.port()];

    fn check(&self) -> Vec<Misfit> {
        let mut misfits: Vec<Misfit> = [
            Misfit::unless(!self.sources.is_empty(), "sources", "names no source")
                .map(|misfit| misfit.help("add one, such as `- glob: pages/**/*.html`")),
            Misfit::unless(self.shard_documents > 0, "shard_documents", "must be at least 1"),
            Misfit::unless(self.shard_mib > 0, "shard_mib", "must be at least 1"),
            Misfit::unless((1..=128).contains(&self.page_mib_max), "page_mib_max", "must lie from 1 to 128"),
            Misfit::unless(self.elements_max > 0, "elements_max", "must be at least 1"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut names = BTreeSet::new();
        for (position, source) in self.sources.iter().enumerate() {
            let path = format!("sources[{position}]");
            misfits.extend(source.check(&path));
            for name in source.names() {
                if !names.insert(name.clone()) {
                    let message = format!("is a second source by the name `{name}`");
                    misfits.push(Misfit::new(&path, message).help("give it a `name` of its own"));
                }
            }
        }
        misfits
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

    fn run(&self, ctx: &Context) -> Result<()> {
        let mut by_source: BTreeMap<&str, Vec<SourceFile>> = BTreeMap::new();
        for file in ctx.sources() {
            by_source.entry(&file.source).or_default().push(file.clone());
        }
        let (mut pages, mut rejected, mut tally) = (Vec::new(), Vec::new(), Tally::default());
        for (name, files) in by_source {
            // A step for each source: what is said of one stands in no other's keys.
            let step = ctx.each("pages", &self.reading(name), self.items(name, &files), read_pages)?;
            pages.extend(step.entries(PAGES.name()));
            rejected.extend(step.entries(REJECTED.name()));
            step.values::<Tally>()?.into_iter().for_each(|more| tally.add(more));
        }
        ctx.metric(Metric::count("shards", pages.len() as u64));
        tally.check(self.errors_max)?;
        ctx.output(PAGES, pages)?;
        ctx.output(REJECTED, rejected)
    }
}

impl Ingest {
    /// The shards of a source as items, called `<source>/<border>.parquet`.
    fn items(&self, source: &str, files: &[SourceFile]) -> Vec<Item> {
        let caps = Caps { documents: self.shard_documents as usize, bytes: u64::from(self.shard_mib) << 20 };
        let name = |border: u64| format!("{source}/{border:016x}.parquet");
        let item = |shard: borders::Shard| Item::of_sources(&name(shard.border), shard.files);
        shards(files, caps).into_iter().map(item).collect()
    }

    /// What decides how the pages of a source are read.
    fn reading(&self, name: &str) -> Reading {
        let source = self.sources.iter().find(|source| source.names().any(|own| own == name));
        let (url, license) = source.map(|source| source.facts(name)).unwrap_or_default();
        Reading { url, license, page_mib_max: self.page_mib_max, elements_max: self.elements_max }
    }
}

impl Source {
    fn check(&self, path: &str) -> Vec<Misfit> {
        let is_docs = !self.rust_docs.is_empty();
        let mut misfits = Vec::new();
        if is_docs != self.glob.is_empty() {
            misfits.push(Misfit::new(path, "needs either `rust-docs` or `glob`"));
        }
        if is_docs && !(self.name.is_empty() && self.url.is_empty() && self.license.is_empty()) {
            let message = "has `name`, `url` or `license` beside `rust-docs`, whose books have their own";
            misfits.push(Misfit::new(path, message));
        }
        for (position, name) in self.rust_docs.iter().enumerate() {
            if !is_name(name) {
                misfits
                    .push(Misfit::new(format!("{path}.rust-docs[{position}]"), "is not the name of a book"));
            }
        }
        if !self.name.is_empty() && !is_name(&self.name) {
            misfits.push(Misfit::new(format!("{path}.name"), "must be of letters, digits, `.`, `_` and `-`"));
        }
        misfits
    }

    /// Names of the sources that this stands for.
    fn names(&self) -> impl Iterator<Item = String> {
        let of_glob = (!self.glob.is_empty()).then(|| self.glob_name());
        self.rust_docs.iter().cloned().chain(of_glob)
    }

    /// The name given, or the last folder of the glob that is no pattern.
    fn glob_name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let (root, _) = split_glob(&self.glob);
        let last = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_name(&last) { last } else { "files".to_owned() }
    }

    /// Address and licence.
    fn facts(&self, name: &str) -> (String, String) {
        if self.rust_docs.is_empty() {
            return (self.url.trim_end_matches('/').to_owned(), self.license.clone());
        }
        (format!("https://doc.rust-lang.org/{name}"), "MIT OR Apache-2.0".to_owned())
    }

    fn requests(&self, path: &str, places: &Places) -> Result<Vec<SourceRequest>, Vec<Misfit>> {
        if self.rust_docs.is_empty() {
            return Ok(vec![self.glob_request(path, places)]);
        }
        let docs = rust_docs::find(places).ok_or_else(|| {
            let message = "needs the documentation of the Rust toolchain, which is not installed";
            vec![Misfit::new(format!("{path}.rust-docs"), message).help(rust_docs::HELP)]
        })?;
        let request = |(position, book): (usize, &String)| {
            let field = format!("{path}.rust-docs[{position}]");
            let root = docs.folder.join(book);
            if !root.is_dir() {
                let message =
                    format!("the documentation in `{}` has no book `{book}`", docs.folder.display());
                return Err(Misfit::new(field, message).help(rust_docs::HELP));
            }
            Ok(SourceRequest {
                source: book.clone(),
                root,
                include: vec!["**/*.html".to_owned()],
                exclude: rust_docs::EXCLUDED.iter().map(|glob| (*glob).to_owned()).collect(),
                field,
                help: Some(rust_docs::HELP.to_owned()),
                pin: docs.toolchain.clone().map(|revision| Pin { name: "rust-docs".to_owned(), revision }),
            })
        };
        let (found, missing): (Vec<_>, Vec<_>) =
            self.rust_docs.iter().enumerate().map(request).partition(Result::is_ok);
        let missing: Vec<Misfit> = missing.into_iter().filter_map(Result::err).collect();
        if missing.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(missing) }
    }

    fn glob_request(&self, path: &str, places: &Places) -> SourceRequest {
        let (root, pattern) = split_glob(&self.glob);
        SourceRequest {
            source: self.glob_name(),
            root: places.project.join(root),
            include: if pattern.is_empty() { Vec::new() } else { vec![pattern] },
            exclude: Vec::new(),
            field: format!("{path}.glob"),
            help: Some("the pattern is relative to the project, `**` stands for any folders".to_owned()),
            pin: None,
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Splits a glob into the folders before its first pattern, and the pattern.
fn split_glob(glob: &str) -> (PathBuf, String) {
    let is_pattern = |part: &str| part.contains(['*', '?', '[', '{']);
    let parts: Vec<&str> = glob.split('/').collect();
    let at = parts.iter().position(|part| is_pattern(part)).unwrap_or(parts.len());
    let root = parts[..at].join("/");
    let root = if root.is_empty() && glob.starts_with('/') { "/".to_owned() } else { root };
    (PathBuf::from(root), parts[at..].join("/"))
}

/// What a share of the step `pages` goes by.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Reading {
    url: String,
    license: String,
    page_mib_max: u32,
    elements_max: u32,
}

/// What came of a shard's files; the first few rejected ones are told to people.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    files: u64,
    rejected: u64,
    examples: Vec<(String, String)>,
}

impl Tally {
    const EXAMPLES_MAX: usize = 5;

    fn add(&mut self, more: Tally) {
        self.files += more.files;
        self.rejected += more.rejected;
        let room = Self::EXAMPLES_MAX - self.examples.len().min(Self::EXAMPLES_MAX);
        self.examples.extend(more.examples.into_iter().take(room));
    }

    fn check(&self, errors_max: u64) -> Result<()> {
        if self.rejected <= errors_max {
            return Ok(());
        }
        let (rejected, files) = (self.rejected, self.files);
        let mut message =
            format!("{rejected} of {files} files are no pages, and `errors_max` allows {errors_max}:");
        self.examples.iter().for_each(|(id, why)| message += &format!("\n  `{id}`: {why}"));
        if rejected > self.examples.len() as u64 {
            message += "\n  ...";
        }
        Err(Error::input(message).help("mend or leave out these files, or raise `errors_max`"))
    }
}

/// One line of `rejected`.
#[derive(Serialize)]
struct Rejection {
    id: String,
    reason: &'static str,
    explanation: String,
    bytes: u64,
}

fn read_pages(reading: &Reading, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let limits =
        Limits { bytes_max: (reading.page_mib_max as usize) << 20, nodes_max: reading.elements_max as usize };
    let item = inputs.item();
    let place = PathBuf::from(item.name());
    let mut writer = DocumentWriter::new(share.file(PAGES.name())?)?;
    let mut rejections = Vec::new();
    let (mut tally, mut redirects, mut bytes) = (Tally::default(), 0, 0);
    for file in share.track("pages", item.entries()) {
        let file = file?;
        tally.files += 1;
        match page(file, limits)? {
            Ok(html) => {
                bytes += html.len() as u64;
                writer.push(&document(reading, file, html))?;
            }
            Err(Refusal::Redirect(_)) => redirects += 1,
            Err(refusal) => {
                let rejection = Rejection {
                    id: id(file),
                    reason: refusal.code(),
                    explanation: refusal.to_string(),
                    bytes: file.size(),
                };
                serde_json::to_writer(&mut rejections, &rejection).expect("invariant: plain data");
                rejections.push(b'\n');
                tally.rejected += 1;
                if tally.examples.len() < Tally::EXAMPLES_MAX {
                    tally.examples.push((rejection.id, rejection.explanation));
                }
            }
        }
    }
    let documents = writer.rows();
    if documents > 0 {
        share.keep(writer.finish()?)?;
    }
    if !rejections.is_empty() {
        let mut file = share.file_with(REJECTED.name(), "jsonl")?;
        file.write_all(&rejections).map_err(|error| Error::io("write", &place, &error))?;
        share.keep(file)?;
    }
    share.count("documents", documents);
    share.metric(Metric::new("bytes", bytes as f64, "bytes"));
    share.count("redirects", redirects);
    share.metric(Metric::count("rejected", tally.rejected).lower_is_better());
    share.value(&tally);
    Ok(())
}

/// The bytes of a page, or why it is none. What is too large is not read.
fn page(file: &LocalEntry, limits: Limits) -> Result<Result<Vec<u8>, Refusal>> {
    if file.size() > limits.bytes_max as u64 {
        return Ok(Err(Refusal::TooLarge(file.size() as usize)));
    }
    let html = file.bytes()?;
    Ok(inspect(&html, limits).map(|()| html))
}

fn id(file: &LocalEntry) -> String {
    format!("{}/{}", file.source().unwrap_or_default(), file.name())
}

fn document(reading: &Reading, file: &LocalEntry, html: Vec<u8>) -> Document {
    Document {
        id: id(file),
        html: Some(html),
        url: if reading.url.is_empty() { String::new() } else { format!("{}/{}", reading.url, file.name()) },
        source: file.source().unwrap_or_default().to_owned(),
        license: reading.license.clone(),
        ..Document::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::DocumentReader;
    use pipe_stage::testing::Bench;
    use pipe_stage::{Mode, Outcome};
    use std::path::Path;

    const PAGE: &str = "<title>T</title><p>Some text.";

    fn site(folder: &Path, files: &[(&str, &[u8])]) -> Vec<SourceFile> {
        for (name, bytes) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Bench::sources("site", folder).unwrap()
    }

    fn stage(errors_max: u64) -> Ingest {
        let source =
            Source { glob: "site/**/*.html".into(), url: "https://e.org/".into(), ..Source::default() };
        Ingest { sources: vec![source], shard_documents: 4, errors_max, ..Ingest::default() }
    }

    fn run(bench: &Bench, stage: &Ingest, files: Vec<SourceFile>) -> Result<Outcome> {
        bench.enter(stage, &[], files, Mode::Here)
    }

    fn pages(count: usize) -> Vec<(String, Vec<u8>)> {
        (0..count).map(|n| (format!("a/{n}.html"), format!("{PAGE} {n}").into_bytes())).collect()
    }

    fn borrowed(pages: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
        pages.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
    }

    fn metric(outcome: &Outcome, name: &str) -> f64 {
        outcome.metrics.iter().find(|metric| metric.name == name).map_or(0.0, |metric| metric.value)
    }

    #[test]
    fn makes_documents_of_pages() {
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bench = Bench::new(store.path()).unwrap();
        let outcome = run(&bench, &stage(0), site(folder.path(), &[("a/b.html", PAGE.as_bytes())])).unwrap();
        let artifact = bench.output(&outcome, "documents").unwrap();
        let entries = bench.open(&artifact);
        assert_eq!(entries[0].name(), "site/0000000000000000.parquet");
        let rows = DocumentReader::of_entry(&entries[0]).unwrap().rows().unwrap();
        let documents: Vec<Document> = rows.map(|row| row.unwrap().document).collect();
        let expected = Document {
            id: "site/a/b.html".into(),
            html: Some(PAGE.into()),
            url: "https://e.org/a/b.html".into(),
            source: "site".into(),
            ..Document::default()
        };
        assert_eq!(documents, [expected]);
    }

    #[test]
    fn output_bytes_are_pinned_and_threads_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let files = site(folder.path(), &borrowed(&pages(40)));
        let digests: Vec<String> = [1, 4]
            .into_iter()
            .map(|threads| {
                let store = tempfile::tempdir().unwrap();
                let mut bench = Bench::new(store.path()).unwrap();
                bench.threads = threads;
                run(&bench, &stage(0), files.clone()).unwrap().outputs["documents"].to_string()
            })
            .collect();
        assert_eq!(digests[0], digests[1]);
        assert_eq!(&digests[0][..16], "7f54f63c13a28b5d");
    }

    #[test]
    fn a_changed_page_changes_one_shard() {
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bench = Bench::new(store.path()).unwrap();
        let mut pages = pages(40);
        let before = run(&bench, &stage(0), site(folder.path(), &borrowed(&pages))).unwrap();
        pages[7].1 = b"<p>Another text.".to_vec();
        let after = run(&bench, &stage(0), site(folder.path(), &borrowed(&pages))).unwrap();
        let entries = |outcome| bench.output(outcome, "documents").unwrap().entries;
        let (before, after) = (entries(&before), entries(&after));
        assert!(before.len() > 8);
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    }

    #[test]
    fn broken_files_are_rejected_with_their_reason() {
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bench = Bench::new(store.path()).unwrap();
        let redirect = b"<meta http-equiv=refresh content='0;url=x.html'>";
        let files: &[(&str, &[u8])] = &[
            ("good.html", PAGE.as_bytes()),
            ("empty.html", b""),
            ("picture.html", b"\x89PNG\r\n\x1a\n\0\0"),
            ("broken.html", &[0xC3; 300]),
            ("moved.html", redirect),
        ];
        let files = site(folder.path(), files);
        let error = run(&bench, &stage(2), files.clone()).unwrap_err().to_string();
        assert!(error.starts_with("3 of 5 files are no pages"), "{error}");
        assert!(error.contains("`site/empty.html`: it is empty"), "{error}");
        let outcome = run(&bench, &stage(3), files).unwrap();
        let figures = ["documents", "rejected", "redirects"].map(|name| metric(&outcome, name));
        assert_eq!(figures, [1.0, 3.0, 1.0]);
        let rejected = bench.open(&bench.output(&outcome, "rejected").unwrap());
        let lines =
            String::from_utf8(rejected.iter().flat_map(|file| file.bytes().unwrap()).collect()).unwrap();
        assert!(lines.contains(r#"{"id":"site/picture.html","reason":"binary""#), "{lines}");
        assert!(lines.contains(r#""reason":"undecodable""#), "{lines}");
    }

    #[test]
    fn no_page_is_lost_for_what_it_looks_like() {
        // Guessing by content (libmagic) takes such pages for tables and drops them without a word.
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bench = Bench::new(store.path()).unwrap();
        let table = "a,b,c\n1,2,3\n".repeat(50);
        let files = site(folder.path(), &[("a.html", table.as_bytes()), ("b.html", b"plain text")]);
        assert_eq!(metric(&run(&bench, &stage(0), files).unwrap(), "documents"), 2.0);
    }

    #[test]
    fn a_file_above_the_limit_is_rejected_unread() {
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bench = Bench::new(store.path()).unwrap();
        let stage = Ingest { page_mib_max: 1, ..stage(1) };
        let files = site(folder.path(), &[("large.html", &vec![b' '; (1 << 20) + 1])]);
        assert_eq!(metric(&run(&bench, &stage, files).unwrap(), "rejected"), 1.0);
    }

    #[test]
    fn bad_settings_are_named_by_their_path() {
        let both = Source { glob: "x/*".into(), rust_docs: vec!["book".into()], ..Source::default() };
        let twice = Source { glob: "x/*.html".into(), ..Source::default() };
        let stage = Ingest { sources: vec![both, twice], shard_documents: 0, ..Ingest::default() };
        let paths: Vec<String> = stage.check().into_iter().map(|misfit| misfit.path).collect();
        assert_eq!(paths, ["shard_documents", "sources[0]", "sources[1]"]);
        assert_eq!(Ingest::default().check()[0].path, "sources");
    }

    #[test]
    fn globs_start_below_their_plain_folders() {
        assert_eq!(split_glob("a/b/**/*.html"), ("a/b".into(), "**/*.html".into()));
        assert_eq!(split_glob("/data/x.html"), ("/data/x.html".into(), String::new()));
        assert_eq!(split_glob("*.html"), (PathBuf::new(), "*.html".into()));
    }

    #[test]
    fn missing_documentation_says_how_to_install_it() {
        let nowhere = tempfile::tempdir().unwrap();
        let path = nowhere.path().display().to_string();
        let variable = |name: &str| (name == "HOME").then(|| path.clone());
        let places = Places { project: nowhere.path().to_owned(), variable: &variable };
        let source = Source { rust_docs: vec!["book".into()], ..Source::default() };
        let misfits = Ingest { sources: vec![source], ..Ingest::default() }.sources(&places).unwrap_err();
        assert_eq!(misfits[0].path, "sources[0].rust-docs");
        assert!(misfits[0].help.as_ref().unwrap().contains("rustup component add rust-docs"));
    }
}
