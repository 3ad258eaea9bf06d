//! Owns: which documents are removed because they are on a list, and what is left of their shards. Nothing here depends on
//! threads, caches or the manifest.
//!
//! ```text
//! part            of the names of a shard's documents: those whose hash begins with the part's number
//! └── names       hash u64, row u32; little-endian, ascending
//! ```
//!
//! A list is compared with names by parts, so a new entry costs one comparison of names, without texts, and one task for
//! each shard with a document that it names.

mod list;

mod report;

pub use list::{By, Targets, read_list};
pub use report::Removal;

use crate::documents::{Column, DOCUMENTS, DocumentReader, DocumentWriter, facts_passed_on};
use crate::lines::{read_lines, write_json_line, write_lines};
use crate::none_left;
use crate::parts::{part_of, ranges};
use list::{hash_of, hash_of_entry, names_of};
use pipe_stage::{
    Code, Context, Error, FILES, Facts, In, Inputs, Item, KnownInputs, Links, LocalEntry, Metric, Misfit,
    Out, Places, Port, Result, RoaringBitmap, Share, SourceRequest, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Removes documents that are on a list, such as those whose authors asked for it.
///
/// Lists are files with one entry a line, relative to the project; blank lines and lines that begin with `#` are no entries.
/// Addresses are compared without scheme, `www.`, fragment and slashes at the end, with hosts in ASCII and percent escapes in one
/// spelling. A host stands for all hosts that belong to it.
///
/// Shards with such documents are written again without them; the others are passed on as they are, so a new entry of a
/// list makes only few tasks of this stage and of those after it run again. Best right after `ingest`: what comes before it
/// still has the documents. The output `removed` lists them, with the entry that names them; the output `unmatched` lists
/// entries that name no document; the output `report` counts documents by list and names each list by its digest, for
/// `export`, whose model card has it. `pipe data remove` adds entries, `pipe cache purge` deletes what was made of the
/// documents.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Remove {
    /// File with ids of documents.
    pub ids: String,
    /// File with addresses of documents.
    pub urls: String,
    /// File with hosts: `example.org` stands for `docs.example.org` too.
    pub hosts: String,
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents, with or without text.");
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The documents that are on no list.");
const REMOVED: Out =
    Out::new("removed", &FILES, "Removed documents, with the entry that names them, as JSON Lines.");
const UNMATCHED: Out =
    Out::new("unmatched", &FILES, "Entries of lists that name no document, as JSON Lines.");

const REPORT: Out = Out::new(
    "report",
    &FILES,
    "Lists by digest, with the number of documents that each removed, as JSON Lines.",
);

const METRICS: [&str; 3] = ["documents", "documents_in", "removed"];
const ENTRIES: [&str; 2] = ["entries", "entries_unmatched"];
/// Maximum names that are compared in one share, if there are enough parts.
const NAMES_MAX: u64 = 4 << 20;
const NAME_BYTES: usize = 12;

impl Stage for Remove {
    const NAME: &'static str = "remove";
    /// History: 1: initial version. 2: the output `report`; hosts in any script and spelling are compared in ASCII.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] =
        &[INPUT.port(), OUTPUT.port(), REMOVED.port(), UNMATCHED.port(), REPORT.port()];

    fn check(&self) -> Vec<Misfit> {
        let none = self.lists().next().is_none();
        let none = none.then(|| {
            Misfit::new("", "names no list")
                .help("set `urls`, `ids` or `hosts` to a file, such as `urls: takedown.txt`")
        });
        none.into_iter().collect()
    }

    fn sources(&self, places: &Places) -> Result<Vec<SourceRequest>, Vec<Misfit>> {
        let request = |(by, file): (By, &str)| SourceRequest {
            source: by.field().to_owned(),
            root: places.project.join(file),
            include: Vec::new(),
            exclude: Vec::new(),
            links: Links::Once,
            field: by.field().to_owned(),
            help: Some(
                "create the file, even if it has no entries yet; it is relative to the project".to_owned(),
            ),
            pin: None,
        };
        Ok(self.lists().map(request).collect())
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == OUTPUT.name() { facts_passed_on(inputs, INPUT, &[]) } else { Facts::default() }
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.into_iter().chain(ENTRIES).map(str::to_owned).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        // The main metric comes first.
        ctx.metric(Metric::count(METRICS[0], 0));
        let documents = ctx.input(INPUT);
        let list = Item::of_sources("lists", ctx.sources().iter().cloned());
        let kinds: Vec<By> = self.lists().map(|(by, _)| by).collect();
        let lists = ctx.once("lists", &(), vec![list], read_lists)?;
        let names = ctx.each("names", &Naming { kinds }, documents.shards(), find_names)?;
        let total = names.values::<u64>()?.into_iter().sum();
        let ranges = ranges(total, NAMES_MAX);
        let wanted = lists.parts("wanted", &ranges);
        let compared = wanted.into_iter().zip(names.parts("names", &ranges));
        let compared = compared.map(|(wanted, names)| [wanted, names].concat());
        let matched = ctx.each_of("matched", &(), compared.collect(), compare)?;
        let by_shard = matched.by_item("matched", documents.entries.len());
        let shards = documents.shards().into_iter().zip(&by_shard).map(|(shard, matched)| shard.and(matched));
        let left = ctx.each("left", &(), shards.collect(), leave)?;
        let found = Item::new("found", left.entries("found"));
        let entries = Item::new("entries", lists.entries("entries"));
        let mut reported: Vec<Removal> = lists.values::<Vec<Removal>>()?.concat();
        for counts in left.values::<BTreeMap<By, u64>>()? {
            for list in &mut reported {
                list.documents += counts.get(&list.by).copied().unwrap_or(0);
            }
        }
        let unmatched =
            ctx.once("unmatched", &Reported { lists: reported }, vec![entries, found], find_unmatched)?;
        if ctx.value(METRICS[0]) == 0.0 {
            let removed = (ctx.value(METRICS[2]) as u64, "they are on a list".to_owned());
            none_left::warn(ctx, "no documents are left", [removed]);
        }
        ctx.output(OUTPUT, left.entries(OUTPUT.name()))?;
        ctx.output(REMOVED, left.entries(REMOVED.name()))?;
        ctx.output(UNMATCHED, unmatched.entries(UNMATCHED.name()))?;
        ctx.output(REPORT, unmatched.entries(REPORT.name()))
    }
}

impl Remove {
    /// The lists that are set, with their files.
    pub fn lists(&self) -> impl Iterator<Item = (By, &str)> {
        let file = |by| match by {
            By::Id => self.ids.as_str(),
            By::Url => self.urls.as_str(),
            By::Host => self.hosts.as_str(),
        };
        By::ALL.into_iter().map(move |by| (by, file(by))).filter(|(_, file)| !file.is_empty())
    }
}

/// By what documents are looked for.
#[derive(Debug, Serialize, JsonSchema)]
struct Naming {
    #[schemars(with = "Vec<String>")]
    kinds: Vec<By>,
}

/// The lists, with the documents that they removed.
#[derive(Debug, Serialize, JsonSchema)]
struct Reported {
    lists: Vec<Removal>,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Listed {
    by: By,
    entry: String,
}

/// Reads all lists, and divides their entries into parts by hash.
fn read_lists(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    const LIST_BYTES_MAX: u64 = 1 << 30;
    let (mut entries, mut lists): (BTreeSet<Listed>, Vec<Removal>) = (BTreeSet::new(), Vec::new());
    for file in inputs.item().entries() {
        let by = By::ALL.into_iter().find(|by| Some(by.field()) == file.source()).unwrap_or(By::Url);
        let help = || format!("correct the file that `{}` names", by.field());
        if file.size() > LIST_BYTES_MAX {
            let message = format!("the list `{}` has more than {LIST_BYTES_MAX} bytes", file.name());
            return Err(Error::input(message).help(help()));
        }
        let listed = read_list(by, &file.bytes()?)
            .map_err(|fault| Error::input(format!("the list `{}`: {fault}", file.name())).help(help()))?;
        let listed: BTreeSet<Listed> = listed.into_iter().map(|entry| Listed { by, entry }).collect();
        lists.push(Removal {
            by,
            list: file.name().to_owned(),
            digest: file.digest(),
            entries: listed.len() as u64,
            unmatched: 0,
            documents: 0,
        });
        entries.extend(listed);
    }
    lists.sort_by(|a, b| (a.by, &a.list).cmp(&(b.by, &b.list)));
    share.value(&lists);
    let mut hashed: Vec<(u64, &Listed)> =
        entries.iter().map(|listed| (hash_of_entry(listed.by, &listed.entry), listed)).collect();
    hashed.sort_unstable();
    let mut parts = share.parts("wanted")?;
    for (hash, listed) in hashed {
        write_json_line(listed, |line| parts.part(part_of(hash), line))?;
    }
    share.keep_parts(parts)?;
    let mut file = share.named("entries", "entries.jsonl")?;
    write_lines(&mut file, &entries)?;
    share.keep(file)?;
    share.count(ENTRIES[0], entries.len() as u64);
    Ok(())
}

/// Leaves the names of a shard's documents by part of their hash.
fn find_names(naming: &Naming, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entry = &inputs.item().entries()[0];
    let reader = DocumentReader::of_entry(entry)?.columns(&[Column::Id, Column::Url]);
    let mut names: Vec<(u64, u32)> = Vec::new();
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let (id, url) = (&row.document.id, &row.document.url);
        names_of(id, url, &naming.kinds, |by, name| names.push((hash_of(by, name), row.index)));
    }
    names.sort_unstable();
    names.dedup();
    let mut parts = share.parts("names")?;
    for part in names.chunk_by(|a, b| part_of(a.0) == part_of(b.0)) {
        let bytes: Vec<u8> = part
            .iter()
            .flat_map(|(hash, row)| hash.to_le_bytes().into_iter().chain(row.to_le_bytes()))
            .collect();
        parts
            .part(part_of(part[0].0), &bytes)
            .map_err(|error| Error::io("write", Path::new("names"), &error))?;
    }
    share.keep_parts(parts)?;
    share.value(&(names.len() as u64));
    Ok(())
}

/// A document that is likely on a list.
#[derive(Debug, Serialize, Deserialize)]
struct Match {
    row: u32,
    by: By,
    entry: String,
}

/// Compares the entries in a part with the names in it, and leaves each shard its matches. The items are the entries and
/// the names of all shards.
fn compare(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [wanted, names @ ..] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut entries: BTreeMap<u64, Vec<Listed>> = BTreeMap::new();
    for file in wanted.entries() {
        for listed in read_lines::<Listed>(file)? {
            entries.entry(hash_of_entry(listed.by, &listed.entry)).or_default().push(listed);
        }
    }
    let mut parts = share.parts("matched")?;
    // Without entries, no names are read.
    let names = if entries.is_empty() { &[][..] } else { names };
    for (shard, item) in (0..).zip(share.track("shards", names)) {
        let mut matches: Vec<Match> = Vec::new();
        for part in item?.entries() {
            let bytes = part.bytes()?;
            for name in bytes.as_chunks::<NAME_BYTES>().0 {
                let hash = u64::from_le_bytes(std::array::from_fn(|at| name[at]));
                let row = u32::from_le_bytes(std::array::from_fn(|at| name[8 + at]));
                for Listed { by, entry } in entries.get(&hash).into_iter().flatten() {
                    matches.push(Match { row, by: *by, entry: entry.clone() });
                }
            }
        }
        matches.sort_by(|a, b| (a.row, a.by, &a.entry).cmp(&(b.row, b.by, &b.entry)));
        for found in matches {
            write_json_line(&found, |line| parts.part(shard, line))?;
        }
    }
    share.keep_parts(parts)
}

/// A line of the output `removed`.
#[derive(Debug, Serialize)]
struct Removed {
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    by: By,
    entry: String,
}

/// Writes a shard without the documents that are on a list. A shard without any is passed on.
fn leave(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [shard, matched @ ..] = inputs.item().entries() else {
        return Err(Error::Panic { message: "an entry is missing".into() });
    };
    let mut targets: BTreeMap<u32, Targets> = BTreeMap::new();
    let mut listed: BTreeMap<u32, BTreeSet<Listed>> = BTreeMap::new();
    for part in matched {
        for Match { row, by, entry } in read_lines::<Match>(part)? {
            targets.entry(row).or_default().insert(by, &entry);
            listed.entry(row).or_default().insert(Listed { by, entry });
        }
    }
    let all = DocumentReader::of_entry(shard)?.rows_selected();
    let (mut left_out, mut removed, mut found) = (RoaringBitmap::new(), Vec::new(), BTreeSet::new());
    let mut counts: BTreeMap<By, u64> = BTreeMap::new();
    if !targets.is_empty() {
        let reader = DocumentReader::of_entry(shard)?.columns(&[Column::Id, Column::Url]);
        for row in reader.rows()? {
            let row = row?;
            let (id, url) = (row.document.id, row.document.url);
            // Names of the same hash may differ.
            let Some((by, entry)) = targets.get(&row.index).and_then(|targets| targets.find(&id, &url))
            else {
                continue;
            };
            left_out.insert(row.index);
            *counts.entry(by).or_default() += 1;
            found.extend(listed.remove(&row.index).into_iter().flatten());
            removed.push(Removed { by, entry: entry.to_owned(), id, url });
        }
    }
    let count = removed.len() as u64;
    match count {
        0 if all > 0 => share.pass(OUTPUT.name(), shard)?,
        _ if all > count => write_without(shard, &left_out, share)?,
        _ => {}
    }
    share.counts(METRICS, [all - count, all, count]);
    share.value(&counts);
    if count > 0 {
        let mut file = share.file_with(REMOVED.name(), "jsonl")?;
        write_lines(&mut file, &removed)?;
        share.keep(file)?;
        let mut file = share.file("found")?;
        write_lines(&mut file, &found)?;
        share.keep(file)?;
    }
    Ok(())
}

/// Writes the documents of a shard that are not left out, with their added columns: not a view, since its file would still
/// have the others.
fn write_without(shard: &LocalEntry, left_out: &RoaringBitmap, share: &mut Share) -> Result<()> {
    let reader = DocumentReader::of_entry(shard)?;
    let added = reader.added().cloned();
    let file = share.file(OUTPUT.name())?;
    let mut writer = match reader.has_media_types() {
        true => DocumentWriter::with_media_types(file)?,
        false => DocumentWriter::new(file)?,
    };
    let mut left = RoaringBitmap::new();
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        if !left_out.contains(row.index) {
            writer.push(&row.document)?;
            left.insert(row.index);
        }
    }
    let file = writer.finish()?;
    let columns = match added {
        Some(added) => Some(added.of_rows(&left).write(share.file("columns")?)?),
        None => None,
    };
    share.keep_with(file, columns).map(drop)
}

/// Lists the entries that name no document, and writes the report. The items are all entries and those that were found, by
/// shard.
fn find_unmatched(reported: &Reported, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [entries, found] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut left: BTreeSet<Listed> = BTreeSet::new();
    for file in entries.entries() {
        left.extend(read_lines::<Listed>(file)?);
    }
    for file in found.entries() {
        for listed in read_lines::<Listed>(file)? {
            left.remove(&listed);
        }
    }
    share.count(ENTRIES[1], left.len() as u64);
    let mut unmatched: BTreeMap<By, u64> = BTreeMap::new();
    left.iter().for_each(|listed| *unmatched.entry(listed.by).or_default() += 1);
    report::write(&reported.lists, &unmatched, REPORT.name(), share)?;
    if !left.is_empty() {
        const SHOWN: usize = 3;
        let shown: Vec<String> =
            left.iter().take(SHOWN).map(|listed| format!("`{}`", listed.entry)).collect();
        let more = if left.len() > SHOWN { ", ..." } else { "" };
        let entries = if left.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", left.len()) };
        share.note(format!(
            "{entries} of the lists without a document: {}{more}; see the output `{}`",
            shown.join(", "),
            UNMATCHED.name()
        ));
        let mut file = share.named(UNMATCHED.name(), "unmatched.jsonl")?;
        write_lines(&mut file, &left)?;
        share.keep(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
