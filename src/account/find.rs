//! Where documents are: in which shards and rows of an artifact. Only columns with names are read, and no shard that
//! cannot have the document. Knows nothing of output.

use pipe::cli::{Results, StageResult};
use pipe_data::documents::{Column, Document, DocumentReader, Row};
use pipe_data::tokens;
use pipe_stage::{Artifact, Entry, Error, LocalEntry, Result, RoaringBitmap};
use std::collections::BTreeMap;

/// A row of an entry of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position of the entry in the artifact.
    pub(crate) entry: usize,
    /// Row of the shard, selected or not.
    pub(crate) row: u32,
}

/// A document that was found, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Position of the stage, and of its output.
    pub(crate) output: (usize, usize),
    pub(crate) place: Place,
    pub(crate) id: String,
    pub(crate) url: String,
}

/// What was read to find documents.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Shards of which names were read.
    pub(crate) shards_read: u64,
    /// Shards that are missing from the cache.
    pub(crate) shards_missing: u64,
}

/// Whether artifacts of this kind consist of documents.
pub(crate) fn has_documents(kind: &str) -> bool {
    kind == "documents" || kind == "tokens"
}

/// Calls `visit` with row, id and address of each document of an entry; tokens have no address.
pub(crate) fn each_name(
    entry: &LocalEntry,
    kind: &str,
    work: &mut Work,
    mut visit: impl FnMut(u32, &str, &str),
) -> Result<()> {
    if !entry.unverified_path().is_file() {
        work.shards_missing += 1;
        return Ok(());
    }
    work.shards_read += 1;
    if kind == "tokens" {
        let selection = entry.selection()?;
        tokens::each_id(&entry.unverified_path(), selection.as_ref(), |row, id| visit(row, id, ""))?;
        return Ok(());
    }
    let reader = DocumentReader::open(entry.unverified_path())?.select(entry.selection()?)?;
    for row in reader.columns(&[Column::Id, Column::Url]).rows()? {
        let Row { index, document, .. } = row?;
        visit(index, &document.id, &document.url);
    }
    Ok(())
}

/// Reads one document with its added columns; `None` if the shard is missing from the cache.
pub(crate) fn read(entry: &LocalEntry, row: u32) -> Result<Option<Row>> {
    if !entry.unverified_path().is_file() {
        return Ok(None);
    }
    let one = RoaringBitmap::from([row]);
    let reader = DocumentReader::open(entry.unverified_path())?.select(Some(one))?;
    let reader = reader.with_added(entry.columns()?.as_deref())?;
    reader.rows()?.next().transpose().map_err(Error::from)
}

/// What the search for a document found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Documents with this id or address.
    pub(crate) exact: Vec<Found>,
    /// Documents whose id or address begins with it, at most [`PREFIXED_MAX`].
    pub(crate) prefixed: Vec<Found>,
    /// Number of all of these.
    pub(crate) prefixed_count: u64,
    /// The most similar ids, most similar first.
    pub(crate) near: Vec<String>,
    near_scores: Vec<u64>,
}

const PREFIXED_MAX: usize = 10;
const NEAR_MAX: usize = 3;

impl Search {
    fn visit(&mut self, query: &str, output: (usize, usize), place: Place, id: &str, url: &str) {
        let found = || Found { output, place: place.clone(), id: id.to_owned(), url: url.to_owned() };
        if id == query || is_same_address(url, query) {
            self.exact.push(found());
        } else if id.starts_with(query) || (!url.is_empty() && url.starts_with(query)) {
            self.prefixed_count += 1;
            if self.prefixed.len() < PREFIXED_MAX {
                self.prefixed.push(found());
            }
        } else {
            let names = [id, url].map(|name| similarity(query, name));
            let score = names[0].max(names[1]);
            let at = self.near_scores.partition_point(|other| *other >= score);
            let name = if names[0] >= names[1] { id } else { url };
            // Later stages have the same documents again.
            if at < NEAR_MAX && score > SIMILAR_MIN && !self.near.iter().any(|near| near == name) {
                self.near_scores.insert(at, score);
                self.near.insert(at, name.to_owned());
                self.near_scores.truncate(NEAR_MAX);
                self.near.truncate(NEAR_MAX);
            }
        }
    }
}

/// Least similarity of a suggestion, in thousandths.
const SIMILAR_MIN: u64 = 500;

/// The part of the longer name that both begin and end with, in thousandths: cheap enough for every document.
fn similarity(query: &str, name: &str) -> u64 {
    let (a, b) = (query.as_bytes(), name.as_bytes());
    let begin = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let room = a.len().min(b.len()) - begin;
    let end = a.iter().rev().zip(b.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    1000 * (begin + end) as u64 / (a.len().max(b.len()).max(1)) as u64
}

/// Whether two addresses differ at most in what does not matter: scheme, case of the host, fragment, slash at the end.
fn is_same_address(url: &str, query: &str) -> bool {
    !url.is_empty()
        && query.contains("://")
        && pipe_data::address::plain(url) == pipe_data::address::plain(query)
}

/// Searches the documents that come from outside: those of stages that read no documents. If `query` is an address that
/// none of them has, also those of the other stages: `clean` finds addresses in pages.
pub(crate) fn search(results: &Results, query: &str, work: &mut Work) -> Result<Search> {
    let mut search = Search::default();
    let roots = |stage: &StageResult| {
        !stage
            .inputs
            .iter()
            .any(|input| has_documents(&results.stages[input.stage].outputs[input.output].kind))
    };
    for (at, stage) in results.stages.iter().enumerate().filter(|(_, stage)| roots(stage)) {
        search_stage(results, at, stage, query, work, &mut search)?;
    }
    if search.exact.is_empty() && query.contains("://") {
        for (at, stage) in results.stages.iter().enumerate().filter(|(_, stage)| !roots(stage)) {
            search_stage(results, at, stage, query, work, &mut search)?;
            if !search.exact.is_empty() {
                break;
            }
        }
    }
    Ok(search)
}

fn search_stage(
    results: &Results,
    at: usize,
    stage: &StageResult,
    query: &str,
    work: &mut Work,
    search: &mut Search,
) -> Result<()> {
    for (number, output) in stage.outputs.iter().enumerate().filter(|(_, output)| has_documents(&output.kind))
    {
        let Some(artifact) = &output.artifact else { continue };
        let before = search.exact.len();
        let visit_entry = |entry: usize, search: &mut Search, work: &mut Work| {
            let opened = results.open(&artifact.entries[entry]);
            each_name(&opened, &output.kind, work, |row, id, url| {
                search.visit(query, (at, number), Place { entry, row }, id, url);
            })
        };
        let likely = likely_entries(artifact, query);
        for entry in &likely {
            visit_entry(*entry, search, work)?;
        }
        if search.exact.len() > before {
            continue;
        }
        for entry in (0..artifact.entries.len()).filter(|entry| !likely.contains(entry)) {
            visit_entry(entry, search, work)?;
        }
    }
    Ok(())
}

/// The entries in which a document of `ingest` is if it is named after its file.
fn likely_entries(artifact: &Artifact, id: &str) -> Vec<usize> {
    let names: Vec<&str> = artifact.entries.iter().map(|entry| entry.name.as_str()).collect();
    pipe_data::ingest::likely_shards(&names, id)
}

/// Where a document is in an artifact, given the entries that it comes from. Stages keep the names of shards, so only
/// the entries of the same name are looked into; if there are none, all are.
pub(crate) fn follow(
    results: &Results,
    artifact: &Artifact,
    kind: &str,
    id: &str,
    from: &[(Entry, u32)],
    work: &mut Work,
) -> Result<Vec<Place>> {
    let mut by_name: BTreeMap<usize, Option<u32>> = BTreeMap::new();
    for (entry, other) in artifact.entries.iter().enumerate() {
        for (before, row) in from {
            let is_named = other.name == before.name || is_below(&other.name, &before.name);
            if is_named {
                // In a view of the same file, the row is the same.
                let is_same = other.content.blob == before.content.blob;
                by_name.insert(entry, is_same.then_some(*row));
            }
        }
    }
    if by_name.is_empty() {
        by_name = (0..artifact.entries.len()).map(|entry| (entry, None)).collect();
    }
    let mut places = Vec::new();
    for (entry, row) in by_name {
        let opened = results.open(&artifact.entries[entry]);
        if let Some(row) = row {
            if opened.selection()?.is_none_or(|selection| selection.contains(row)) {
                places.push(Place { entry, row });
            }
            continue;
        }
        each_name(&opened, kind, work, |row, own, _| {
            if own == id {
                places.push(Place { entry, row });
            }
        })?;
    }
    Ok(places)
}

/// The document that tokens or a side output were made of, by the name of the shard: looked for upstream of a stage, since
/// stages keep the names of shards.
pub(crate) fn document_behind(
    results: &Results,
    stage: usize,
    shard: &Entry,
    id: &str,
    work: &mut Work,
) -> Result<Option<Row>> {
    for input in &results.stages[stage].inputs {
        let output = &results.stages[input.stage].outputs[input.output];
        let Some(artifact) = output.artifact.as_ref().filter(|_| has_documents(&output.kind)) else {
            continue;
        };
        let is_named = |entry: &&Entry| {
            shard.name == entry.name
                || is_below(&shard.name, &entry.name)
                || stem(&shard.name) == stem(&entry.name)
                || stem(&shard.name) == entry.name
        };
        for before in artifact.entries.iter().filter(is_named) {
            if output.kind == "tokens" {
                if let Some(row) = document_behind(results, input.stage, before, id, work)? {
                    return Ok(Some(row));
                }
                continue;
            }
            let from = [(Entry { name: before.name.clone(), content: shard.content.clone() }, 0)];
            let places = follow(results, artifact, &output.kind, id, &from, work)?;
            if let Some(place) = places.first() {
                return read(&results.open(&artifact.entries[place.entry]), place.row);
            }
        }
    }
    Ok(None)
}

/// Whether `mix` and others gave a shard this name: below a folder of the set.
fn is_below(name: &str, shard: &str) -> bool {
    name.strip_suffix(shard).is_some_and(|folders| folders.ends_with('/'))
}

/// The lines of JSON in a side output that are about a document. Files are named after the shards; if none is, all are
/// read. A line that is too long or no JSON is passed over.
pub(crate) fn lines_about(
    results: &Results,
    artifact: &Artifact,
    from: &[(Entry, u32)],
    is_about: impl Fn(&serde_json::Map<String, serde_json::Value>) -> bool,
) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    const LINES_MAX: usize = 20;
    let is_named = |entry: &&Entry| {
        let label = stem(&entry.name);
        from.iter().any(|(shard, _)| label == stem(&shard.name) || label == shard.name)
    };
    let named: Vec<&Entry> = artifact.entries.iter().filter(is_named).collect();
    let entries = if named.is_empty() && !artifact.entries.is_empty() && from.is_empty() {
        artifact.entries.iter().collect()
    } else {
        named
    };
    let mut lines = Vec::new();
    for entry in entries {
        let opened = results.open(entry);
        each_line(&opened, |line| {
            if lines.len() < LINES_MAX
                && let Ok(serde_json::Value::Object(line)) = serde_json::from_slice(line)
                && is_about(&line)
            {
                lines.push(line);
            }
        })?;
    }
    Ok(lines)
}

/// Calls `visit` with each line of a file, without its line break; lines above 4 MiB are passed over.
pub(crate) fn each_line(entry: &LocalEntry, mut visit: impl FnMut(&[u8])) -> Result<()> {
    use std::io::{BufRead, BufReader, Read};
    const LINE_BYTES_MAX: u64 = 4 << 20;
    let path = entry.unverified_path();
    let Ok(file) = std::fs::File::open(&path) else { return Ok(()) };
    let mut file = BufReader::new(file);
    let unreadable = |error: std::io::Error| Error::io("read", &path, &error);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read as u64 == LINE_BYTES_MAX {
            file.skip_until(b'\n').map_err(unreadable)?;
            continue;
        }
        visit(&line);
    }
}

/// Refuses a shard that is missing from the cache.
pub(crate) fn check_there(entry: &LocalEntry) -> Result<()> {
    if entry.unverified_path().is_file() {
        return Ok(());
    }
    let message = format!("the shard `{}` is missing from the cache", entry.name());
    Err(Error::input(message).help("run the stage that makes it: `pipe run MANIFEST STAGE`"))
}

/// A name without the extension of its last component.
fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].rfind('.').map_or(name, |dot| &name[..file + dot])
}

/// The text of a document as people read it: that of a page before `clean`, else its text.
pub(crate) fn body(document: &Document) -> std::borrow::Cow<'_, str> {
    match &document.html {
        Some(html) if document.text.is_empty() => String::from_utf8_lossy(html),
        _ => document.text.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_begin_and_end_alike() {
        let mut search = Search::default();
        let place = Place { entry: 0, row: 0 };
        for (id, url) in [("book/ch01.html", ""), ("book/ch02.html", ""), ("other", "https://e.org/ch01")] {
            search.visit("book/ch0x.html", (0, 0), place.clone(), id, url);
        }
        assert_eq!(search.near, ["book/ch01.html", "book/ch02.html"]);
        search.visit("book/ch0x.html", (1, 0), place.clone(), "book/ch01.html", "");
        assert_eq!(search.near.len(), 2, "each name once");
        search.visit("https://E.org/ch01/#top", (0, 0), place.clone(), "other", "http://e.org/ch01");
        assert_eq!(search.exact.len(), 1);
        search.visit("boo", (0, 0), place, "book/ch01.html", "");
        assert_eq!(search.prefixed_count, 1);
    }

    #[test]
    fn similarity_counts_no_byte_twice() {
        assert_eq!(similarity("aaa", "aaaa"), 750);
        assert_eq!((similarity("", ""), similarity("a", "b"), similarity("a", "a")), (0, 0, 1000));
    }

    #[test]
    fn shards_are_known_below_sets() {
        assert!(is_below("web/001/a/b.parquet", "a/b.parquet"));
        assert!(!is_below("web/001/xa/b.parquet", "a/b.parquet"));
        assert_eq!(stem("a.b/c.d.jsonl"), "a.b/c.d");
    }
}
