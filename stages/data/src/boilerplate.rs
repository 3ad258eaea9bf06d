//! Owns: which lines are repeated over the pages of a site, and what is left of the pages. Nothing here depends on threads,
//! caches or the manifest.

use crate::address::host;
use crate::clean::fences::{Line, lines};
use crate::cuts::{self, METRICS, cut, start_metrics};
use crate::dedup::minhash::{hash_of_units, hashed_units};
use crate::documents::{Column, DOCUMENTS, DocumentReader, lacks_text};
use crate::hashed::{ByShard, for_each_group, number_at, parts, read_records, write};
use pipe_stage::{
    Code, Context, Error, Facts, In, Inputs, KnownInputs, Metric, Misfit, Port, Result, Share, Stage,
    WorkInputs,
};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Cuts lines that are repeated over the pages of a site: menus, notices, "read more".
///
/// The lines of all pages of a host are counted, a line of a page once. A line is boilerplate if it is on at least
/// `pages_min` pages of its host, and on at least the share `share_min` of them. It is then cut from all pages: by default only
/// where they begin and end, so that a line within the text stays. Lines are compared as the stage `dedup` compares words: in
/// lower case and without punctuation. Lines without words between those that are cut are cut too; code in fenced blocks is
/// neither counted nor cut.
///
/// The host is that of the document's `url`, without `www.`. Documents without a host stay as they are; the metric
/// `documents_without_host` counts them. The output `cut` lists documents that changed. Those that have fewer than
/// `document_words_min` words left are dropped, and listed in `dropped`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Boilerplate {
    /// Minimum number of pages of a host with the line, at least 2. The default is 10.
    pub pages_min: u32,
    /// Minimum share of the pages of a host with the line, 0 to 1. The default is 0.2: a menu of a part of a site counts too.
    pub share_min: f64,
    /// Where lines are cut: `ends` (the default), which leaves the text between the first and the last other line alone, or
    /// `anywhere`.
    pub cut: Where,
    /// Minimum number of words of a document after something was cut from it. The default is 50, as for FineWeb's sentences.
    pub document_words_min: u32,
}

/// Where boilerplate is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// At the beginning and the end of a text.
    Ends,
    /// Everywhere in a text.
    Anywhere,
}

impl Default for Boilerplate {
    fn default() -> Self {
        Self { pages_min: 10, share_min: 0.2, cut: Where::Ends, document_words_min: 50 }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text and `url`.");
/// Documents whose `url` names no host.
const WITHOUT_HOST: &str = "documents_without_host";

impl Stage for Boilerplate {
    const NAME: &'static str = "boilerplate";
    /// History: 1: initial version. 2: hosts in any script and spelling are compared in ASCII.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &cuts::ports(INPUT);

    fn check(&self) -> Vec<Misfit> {
        let share = (0.0..=1.0).contains(&self.share_min);
        let faults = [
            Misfit::unless(self.pages_min >= 2, "pages_min", "must be at least 2"),
            Misfit::unless(share, "share_min", "must be from 0 to 1"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        cuts::facts(output, inputs, INPUT)
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, INPUT).into_iter().collect()
    }

    /// A shard and its lines, until shards and parts have their full size.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        const MIB: f64 = (1 << 20) as f64;
        Some(64.0 * MIB + 2.0 * (inputs.bytes()? as f64).min(128.0 * MIB))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.into_iter().chain([WITHOUT_HOST]).map(str::to_owned).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        start_metrics(ctx);
        let shards = ctx.input(INPUT).shards();
        let found = ctx.each("lines", &(), shards.clone(), find_lines)?;
        let counts = found.values::<Counts>()?;
        let sum = |count: fn(&Counts) -> u64| counts.iter().map(count).sum::<u64>();
        let (documents, without) = (sum(|counts| counts.documents), sum(|counts| counts.without_host));
        if documents > 0 && documents == without {
            return Err(Error::input("no document has an address in `url`, whose host names its site").help(
                "map `columns.url` of `ingest` to the column with the addresses, or leave out this stage",
            ));
        }
        ctx.metric(Metric::count(WITHOUT_HOST, without).lower_is_better());
        let lines = parts(&found, "lines", sum(|counts| counts.lines));
        let lines = ctx.each_of("repeated", &self.pages_min, lines, find_repeated)?;
        let hosts = parts(&found, "hosts", sum(|counts| counts.hosts));
        let hosts = ctx.each_of("hosts", &self.pages_min, hosts, count_pages)?;
        let (lines, hosts) = (lines.by_item("records", shards.len()), hosts.by_item("records", shards.len()));
        let shards = shards.into_iter().zip(&lines).zip(&hosts);
        let shards = shards.map(|((shard, lines), hosts)| shard.and(lines).and(hosts)).collect();
        let cut = ctx.each("cut", self, shards, cut_lines)?;
        cuts::give(ctx, &cut)
    }
}

/// What is in a shard.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    documents: u64,
    without_host: u64,
    /// Different lines, of all documents.
    lines: u64,
    hosts: u64,
}

/// The hash of a host.
fn hash_of_host(url: &str) -> Option<u64> {
    let host = Some(host(url)).filter(|host| !host.is_empty())?;
    let digest = blake3::hash(host.as_bytes());
    Some(u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at])))
}

/// A line of a page.
struct PageLine {
    /// Where it is, in bytes, without its end.
    range: Range<usize>,
    /// Of the host and the words; none for a line without words.
    hash: Option<u64>,
    is_code: bool,
}

fn lines_of(text: &str, host: u64) -> Vec<PageLine> {
    let mut at = 0;
    let page_line = |(kind, line): (Line, &str)| {
        let range = at..at + line.trim_end().len();
        at += line.len();
        let is_code = kind != Line::Prose;
        let units: Vec<u64> = match is_code {
            true => Vec::new(),
            false => std::iter::once(host).chain(hashed_units(line).map(|(hash, _)| hash)).collect(),
        };
        PageLine { range, hash: (units.len() > 1).then(|| hash_of_units(&units)), is_code }
    };
    lines(text).map(page_line).collect()
}

/// Leaves the lines of a shard as hashes, each with its row, and the hosts, each with its number of pages.
fn find_lines(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns = [Column::Id, Column::Text, Column::Url];
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let (mut counts, mut entries) = (Counts::default(), Vec::new());
    let mut hosts: BTreeMap<u64, u32> = BTreeMap::new();
    for row in share.track("documents", rows) {
        let row = row??;
        counts.documents += 1;
        let Some(host) = hash_of_host(&row.document.url) else {
            counts.without_host += 1;
            continue;
        };
        *hosts.entry(host).or_default() += 1;
        // A page counts once.
        let hashes = lines_of(&row.document.text, host).into_iter().filter_map(|line| line.hash);
        let hashes: BTreeSet<u64> = hashes.collect();
        entries.extend(hashes.into_iter().map(|hash| (hash, row.index.to_le_bytes())));
    }
    (counts.lines, counts.hosts) = (entries.len() as u64, hosts.len() as u64);
    share.value(&counts);
    write(share, "lines", entries)?;
    write(share, "hosts", hosts.into_iter().map(|(host, pages)| (host, pages.to_le_bytes())).collect())
}

/// What a record is about: the hash of a line, or that of a host. A record has the hash, 8 bytes, the number of pages, 4 bytes,
/// and this, 4 bytes.
const LINE: u32 = 0;
const HOST: u32 = 1;

fn record(hash: u64, pages: u32, about: u32) -> [u8; 16] {
    let number = u128::from(hash) | u128::from(pages) << 64 | u128::from(about) << 96;
    number.to_le_bytes()
}

/// Leaves each shard its lines that are on enough pages.
fn find_repeated(pages_min: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut by_shard = ByShard::default();
    for_each_group::<4>(share, inputs.items(), |group| {
        let pages = u32::try_from(group.len()).unwrap_or(u32::MAX);
        if pages >= *pages_min {
            for shard in group.chunk_by(|a, b| a.shard == b.shard) {
                by_shard.of(shard[0].shard).extend(record(shard[0].hash, pages, LINE));
            }
        }
        Ok(())
    })?;
    by_shard.write(share, "records")
}

/// Leaves each shard the pages of its hosts that have enough.
fn count_pages(pages_min: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut by_shard = ByShard::default();
    for_each_group::<4>(share, inputs.items(), |group| {
        let pages = group.iter().map(|found| number_at(&found.rest, 0)).fold(0, u32::saturating_add);
        if pages >= *pages_min {
            for found in group {
                by_shard.of(found.shard).extend(record(found.hash, pages, HOST));
            }
        }
        Ok(())
    })?;
    by_shard.write(share, "records")
}

/// Cuts boilerplate from the texts of a shard.
fn cut_lines(stage: &Boilerplate, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [shard, records @ ..] = inputs.item().entries() else { return Ok(()) };
    let (mut lines, mut hosts) = (FxHashMap::default(), FxHashMap::default());
    for record in read_records::<16>(records)? {
        let hash = u64::from_le_bytes(std::array::from_fn(|at| record[at]));
        let of = if number_at(&record, 12) == LINE { &mut lines } else { &mut hosts };
        of.insert(hash, number_at(&record, 8));
    }
    cut(share, shard, stage.document_words_min, &[Column::Url], |row| {
        let Some((host, pages)) =
            hash_of_host(&row.document.url).and_then(|host| Some((host, *hosts.get(&host)?)))
        else {
            return Vec::new();
        };
        let is_boilerplate = |line: &PageLine| {
            let on = line.hash.and_then(|hash| lines.get(&hash));
            on.is_some_and(|on| f64::from(*on) >= stage.share_min * f64::from(pages))
        };
        boilerplate_of(&lines_of(&row.document.text, host), stage.cut, is_boilerplate)
    })
}

/// The ranges to cut of a text with these lines.
fn boilerplate_of(
    lines: &[PageLine],
    cut: Where,
    is_boilerplate: impl Fn(&PageLine) -> bool,
) -> Vec<Range<usize>> {
    if cut == Where::Anywhere {
        return lines.iter().filter(|line| is_boilerplate(line)).map(|line| line.range.clone()).collect();
    }
    // Other lines with words, and code, are the text that stays.
    let is_own = |line: &PageLine| line.is_code || (line.hash.is_some() && !is_boilerplate(line));
    let first = lines.iter().position(is_own).unwrap_or(lines.len());
    let last = lines.iter().rposition(is_own).map_or(lines.len(), |last| last + 1);
    let range = |lines: &[PageLine]| {
        let start = lines.iter().position(&is_boilerplate)?;
        let end = lines.iter().rposition(&is_boilerplate)?;
        Some(lines[start].range.start..lines[end].range.end)
    };
    [&lines[..first], &lines[last..]].into_iter().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Document;
    use crate::passages::tests::{lines_of_output, metric, texts};
    use crate::testing::{put_full_documents, words};
    use pipe_stage::Artifact;
    use pipe_stage::testing::Bench;

    /// Two sites with pages of a menu, a text and a notice, and a page without an address.
    fn pages(bench: &Bench) -> Artifact {
        let page = |n: usize, site: &str, text: String| Document {
            id: format!("{site}/{n:02}"),
            url: if site.is_empty() { String::new() } else { format!("https://{site}/{n}") },
            text,
            ..Document::default()
        };
        let mut pages: Vec<Document> = (0..12)
            .map(|n| {
                let site = if n % 2 == 0 { "www.example.org" } else { "example.org" };
                let more = if n == 3 { "" } else { "Read more\n" };
                let text = words(n, 60);
                page(
                    n,
                    site,
                    format!(
                        "Home | About\n---\n{more}\n{text}\n{more}{text} x\n\n© {site} 2024\nHOME, about!\n"
                    ),
                )
            })
            .collect();
        pages.extend((0..4).map(|n| page(n, "other.org", format!("Home | About\n{}\n", words(40 + n, 60)))));
        pages.push(page(0, "", format!("Home | About\n{}\n", words(50, 60))));
        put_full_documents(bench, &pages.chunks(5).map(<[_]>::to_vec).collect::<Vec<_>>())
    }

    #[test]
    fn lines_of_a_site_are_cut_where_its_pages_begin_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let outcome = bench.run(&Boilerplate::default(), &[("documents", &pages(&bench))]).unwrap();
        let found = texts(&bench, &outcome);
        let own = words(0, 60);
        assert_eq!(found[0].1, format!("{own}\nRead more\n{own} x\n\n© www.example.org 2024\n"));
        assert_eq!(found[3].1.lines().count(), 6, "{}", found[3].1);
        assert!(found[12..].iter().all(|(_, text)| text.starts_with("Home | About\n")));
        let figures = [METRICS[0], METRICS[2], METRICS[3], WITHOUT_HOST].map(|name| metric(&outcome, name));
        assert_eq!(figures, [17.0, 12.0, 24.0, 1.0]);

        // Each half of the pages has its own line at the end.
        let all =
            Boilerplate { cut: Where::Anywhere, pages_min: 6, share_min: 0.5, ..Boilerplate::default() };
        let outcome = bench.run(&all, &[("documents", &pages(&bench))]).unwrap();
        let found = texts(&bench, &outcome);
        assert_eq!(found[0].1, format!("---\n\n{own}\n{own} x\n"));
        let few = Boilerplate { share_min: 0.95, ..all };
        let outcome = bench.run(&few, &[("documents", &pages(&bench))]).unwrap();
        assert!(texts(&bench, &outcome)[0].1.contains("Read more"), "it is on 11 of 12 pages");
    }

    #[test]
    fn pages_without_other_text_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let page = |n: usize| Document {
            id: format!("p{n}"),
            url: "http://example.org/".into(),
            text: if n == 1 { "Not found\n\nHome\n".into() } else { format!("Not found\n{}", words(n, 60)) },
            ..Document::default()
        };
        let documents = put_full_documents(&bench, &[(0..10).map(page).collect()]);
        let outcome = bench.run(&Boilerplate::default(), &[("documents", &documents)]).unwrap();
        let dropped = lines_of_output(&bench, &outcome, "dropped");
        assert_eq!(
            dropped,
            "{\"id\":\"p1\",\"passages\":1,\"characters\":9,\"words\":1,\"text\":\"Not found\"}\n"
        );
    }

    #[test]
    fn code_is_not_boilerplate() {
        let lines = lines_of("a b\n\n```\na b\n```\n---\na b\n", 1);
        let is_boilerplate = |line: &PageLine| line.hash.is_some();
        assert_eq!(boilerplate_of(&lines, Where::Ends, is_boilerplate), [0..3, 21..24]);
        assert_eq!(boilerplate_of(&lines[..2], Where::Ends, is_boilerplate), vec![0..3]);
    }

    #[test]
    fn documents_without_addresses_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let documents = crate::testing::put_documents(&bench, &[vec![("d".into(), words(1, 60))]]);
        let error = bench.run(&Boilerplate::default(), &[("documents", &documents)]).map(drop).unwrap_err();
        assert!(error.to_string().contains("no document has an address in `url`"), "{error}");
        let stage = Boilerplate { pages_min: 1, share_min: f64::NAN, ..Boilerplate::default() };
        let paths: Vec<String> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["pages_min", "share_min"]);
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digests = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            let outcome = bench.run(&Boilerplate::default(), &[("documents", &pages(&bench))]).unwrap();
            ["documents", "cut"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
        };
        assert_eq!(digests(1), ["78301a6055a9467e", "080d71e518ca8adb"]);
        assert_eq!(digests(4), digests(1));
    }
}
