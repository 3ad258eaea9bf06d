//! `pipe data stats`: what a stage's documents are, by source, language, licence and year, or why they were dropped.

use super::find::body;
use clap::Args;
use pipe::{
    cli::{FolderCommand, Work, arguments},
    ui::{self, Cell, Narrow, counted, escape, units},
};
use pipe_data::documents::{Document, DocumentReader, Fact, Row};
use pipe_stage::{Error, LocalEntry, Result};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BinaryHeap},
    fmt::Write as _,
    path::PathBuf,
};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "data stats",
    kind: "documents",
    arguments: |command| {
        let command = command.about(
            "Count documents, characters and bytes by source, language, licence and year, or dropped ones by rule",
        );
        Stats::augment_args(command).after_help(
            "Examples: pipe data stats pipelines/gpt-small.yaml unique\n          \
             pipe data stats pipelines/gpt-small.yaml text --dropped --html dropped.html",
        )
    },
    port: |matches| arguments::<Stats>(matches).dropped.then_some("dropped"),
    run: Work::Entries(|entries, matches| arguments::<Stats>(matches).run(entries, matches.get_flag("json"))),
};

#[derive(Args)]
struct Stats {
    /// The documents that were dropped, from the output `dropped`, by rule.
    #[arg(long)]
    dropped: bool,
    /// Also by the host of their address.
    #[arg(long)]
    hosts: bool,
    /// Number of rows per table; the others are summed up in one.
    #[arg(long, default_value_t = 10, value_name = "ROWS")]
    top: usize,
    /// Also writes a page with the tables and with histograms.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Counts of some documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Count {
    documents: u64,
    characters: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, more: Count) {
        self.documents += more.documents;
        self.characters += more.characters;
        self.bytes += more.bytes;
    }
}

/// The counts by the values of one property.
#[derive(Debug, Default, Serialize)]
struct Group {
    by: &'static str,
    rows: Vec<GroupRow>,
}

#[derive(Debug, Serialize)]
struct GroupRow {
    value: String,
    #[serde(flatten)]
    count: Count,
}

/// The values of a rule's documents.
#[derive(Debug, Default, Serialize)]
struct RuleRow {
    rule: String,
    documents: u64,
    /// Least, middle and greatest value, and the threshold; none if they are no numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<[f64; 3]>,
    #[serde(skip_serializing_if = "String::is_empty")]
    threshold: String,
    /// Documents in ten intervals of the same width between the least and the greatest value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    histogram: Vec<u64>,
}

/// A cluster of near-duplicates.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Cluster {
    size: u32,
    id: String,
}

/// All that is reported.
#[derive(Debug, Default, Serialize)]
struct Report {
    version: u32,
    total: Count,
    groups: Vec<Group>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleRow>,
    /// The largest clusters of which a document is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clusters: Vec<Cluster>,
}

/// Values of a property beyond this number are counted together, which bounds the memory.
const VALUES_MAX: usize = 100_000;
/// Values of a rule that are kept for its histogram.
const NUMBERS_MAX: usize = 100_000;
const OTHERS: &str = "(others)";

/// Counts by the values of one property, while documents are read.
struct Counting {
    by: &'static str,
    of: fn(&Document) -> String,
    counts: BTreeMap<String, Count>,
}

impl Counting {
    fn new(by: &'static str, of: fn(&Document) -> String) -> Self {
        Self { by, of, counts: BTreeMap::new() }
    }

    fn add(&mut self, document: &Document, count: Count) {
        let mut value = (self.of)(document);
        if self.counts.len() >= VALUES_MAX && !self.counts.contains_key(&value) {
            OTHERS.clone_into(&mut value);
        }
        self.counts.entry(value).or_default().add(count);
    }

    /// The most frequent values, by documents; the rest is summed up.
    fn group(self, top: usize) -> Group {
        let mut rows: Vec<GroupRow> =
            self.counts.into_iter().map(|(value, count)| GroupRow { value, count }).collect();
        rows.sort_by(|a, b| b.count.documents.cmp(&a.count.documents).then_with(|| a.value.cmp(&b.value)));
        let rest = rows.split_off(rows.len().min(top.max(1)));
        if !rest.is_empty() {
            let mut others = Count::default();
            rest.iter().for_each(|row| others.add(row.count));
            rows.push(GroupRow { value: format!("({} more)", rest.len()), count: others });
        }
        Group { by: self.by, rows }
    }
}

#[derive(Default)]
struct Dropped {
    documents: u64,
    numbers: Vec<f64>,
    threshold: String,
}

impl Stats {
    fn run(self, entries: &[LocalEntry], json: bool) -> Result<()> {
        let report = self.report(entries)?;
        if let Some(path) = &self.html {
            std::fs::write(path, page(&report)).map_err(|error| Error::io("write", path, &error))?;
            ui::say(&format!("wrote {}", path.display()));
        }
        match json {
            true => ui::print_json(&report),
            false => ui::print(as_text(&report).trim_end()),
        }
        Ok(())
    }

    fn report(&self, entries: &[LocalEntry]) -> Result<Report> {
        let mut countings = vec![
            Counting::new("source", |document| document.source.clone()),
            Counting::new("language", |document| document.language.clone()),
            Counting::new("licence", |document| document.license.clone()),
            Counting::new("year", |document| year(&document.date)),
            Counting::new("characters", |document| length(body(document).chars().count())),
        ];
        if self.hosts {
            countings.push(Counting::new("host", |document| host(&document.url)));
        }
        let mut rules: BTreeMap<String, Dropped> = BTreeMap::new();
        let mut clusters: BinaryHeap<std::cmp::Reverse<Cluster>> = BinaryHeap::new();
        let mut total = Count::default();
        for entry in entries {
            for row in DocumentReader::of_entry(entry)?.rows()? {
                let row = row?;
                let document = &row.document;
                let bytes = document.text.len() + document.html.as_ref().map_or(0, Vec::len);
                let characters = body(document).chars().count() as u64;
                let count = Count { documents: 1, characters, bytes: bytes as u64 };
                total.add(count);
                countings.iter_mut().for_each(|counting| counting.add(document, count));
                if let Some(rule) = row.fact("rule") {
                    rules.entry(rule.text().into_owned()).or_default().add(&row);
                }
                if let Some(cluster) = row.cluster.filter(|cluster| cluster.size > 1) {
                    clusters.push(std::cmp::Reverse(Cluster { size: cluster.size, id: document.id.clone() }));
                    if clusters.len() > self.top {
                        clusters.pop();
                    }
                }
            }
        }
        let mut clusters: Vec<Cluster> =
            clusters.into_iter().map(|std::cmp::Reverse(cluster)| cluster).collect();
        clusters.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
        let mut rules: Vec<RuleRow> = rules.into_iter().map(|(rule, dropped)| dropped.row(rule)).collect();
        rules.sort_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.rule.cmp(&b.rule)));
        let groups = countings.into_iter().map(|counting| match counting.by {
            // In their own order.
            "characters" | "year" => ordered(counting),
            _ => counting.group(self.top),
        });
        Ok(Report { version: 1, total, groups: groups.collect(), rules, clusters })
    }
}

fn ordered(counting: Counting) -> Group {
    let rows = counting.counts.into_iter().map(|(value, count)| GroupRow { value, count });
    Group { by: counting.by, rows: rows.collect() }
}

impl Dropped {
    fn add(&mut self, row: &Row) {
        self.documents += 1;
        if let Some(value) = row.fact("value").and_then(Fact::number)
            && value.is_finite()
            && self.numbers.len() < NUMBERS_MAX
        {
            self.numbers.push(value);
        }
        if self.threshold.is_empty() {
            self.threshold = row.fact("threshold").map(|fact| fact.text().into_owned()).unwrap_or_default();
        }
    }

    fn row(mut self, rule: String) -> RuleRow {
        const INTERVALS: usize = 10;
        self.numbers.sort_by(f64::total_cmp);
        let mut row =
            RuleRow { rule, documents: self.documents, threshold: self.threshold, ..RuleRow::default() };
        if let (Some(least), Some(greatest)) = (self.numbers.first(), self.numbers.last()) {
            row.values = Some([*least, self.numbers[self.numbers.len() / 2], *greatest]);
            row.histogram = vec![0; INTERVALS];
            let width = (greatest - least) / INTERVALS as f64;
            for number in &self.numbers {
                let at = if width > 0.0 { ((number - least) / width) as usize } else { 0 };
                row.histogram[at.min(INTERVALS - 1)] += 1;
            }
        }
        row
    }
}

/// The year of a date in ISO 8601.
fn year(date: &str) -> String {
    match date.get(..4) {
        Some(year) if year.bytes().all(|byte| byte.is_ascii_digit()) => year.to_owned(),
        _ => String::new(),
    }
}

/// The interval of a length: from each power of four to the next. Sorts by length.
fn length(characters: usize) -> String {
    const LEAST: usize = 64;
    let mut end = LEAST;
    while characters >= end && end < 1 << 28 {
        end *= 4;
    }
    if end == LEAST { format!("{:>9} to {}", 0, LEAST - 1) } else { format!("{:>9} to {}", end / 4, end - 1) }
}

/// The host of an address.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

fn shown(value: &str) -> String {
    let value = value.trim();
    if value.is_empty() { "(unknown)".to_owned() } else { value.to_owned() }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

fn as_text(report: &Report) -> String {
    let figure = |value: u64| Cell::Figure(units::figure(value as f64));
    let mut text = format!(
        "{}, {} characters, {}\n",
        counted(report.total.documents as usize, "document"),
        units::figure(report.total.characters as f64),
        units::bytes(report.total.bytes)
    );
    for group in report.groups.iter().filter(|group| !group.rows.is_empty()) {
        let rows = group.rows.iter().map(|row| {
            vec![
                Cell::Text(shown(&row.value)),
                figure(row.count.documents),
                Cell::Figure(share(row.count.documents, report.total.documents)),
                figure(row.count.characters),
                Cell::Figure(units::bytes(row.count.bytes)),
            ]
        });
        let heading = [group.by, "documents", "", "characters", "size"];
        let _ = write!(text, "\n{}", ui::table(&heading, rows.collect(), Narrow::default()));
    }
    if !report.rules.is_empty() {
        let rows = report.rules.iter().map(|row| {
            let value = |at: usize| row.values.map_or_else(String::new, |values| units::figure(values[at]));
            vec![
                Cell::Text(row.rule.clone()),
                figure(row.documents),
                Cell::Figure(share(row.documents, report.total.documents)),
                Cell::Figure(row.threshold.clone()),
                Cell::Figure(value(0)),
                Cell::Figure(value(1)),
                Cell::Figure(value(2)),
            ]
        });
        let heading = ["rule", "documents", "", "threshold", "min", "median", "max"];
        let _ = write!(text, "\n{}", ui::table(&heading, rows.collect(), Narrow::default()));
    }
    if !report.clusters.is_empty() {
        let rows = report
            .clusters
            .iter()
            .map(|cluster| vec![figure(u64::from(cluster.size)), Cell::Text(cluster.id.clone())]);
        let heading = ["cluster of", "kept"];
        let _ = write!(text, "\n{}", ui::table(&heading, rows.collect(), Narrow::default()));
    }
    text
}

/// A page without scripts or references.
fn page(report: &Report) -> String {
    let bar = |part: u64, whole: u64| {
        let width = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
        format!("<td class=\"bar\"><i style=\"width:{width:.1}%\"></i></td>")
    };
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Documents</title><style>\
         body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}\
         table{border-collapse:collapse;width:100%;margin:.4rem 0 1.6rem}th,td{padding:.2rem .6rem;text-align:right}\
         th{border-bottom:1px solid #bbb;font-weight:600}th:first-child,td:first-child{text-align:left}\
         td.bar{width:30%;text-align:left}td.bar i{display:block;height:.8em;background:#4a7fb5;min-width:1px}\
         svg{vertical-align:middle}h2{font-size:1.05rem;margin:0}</style>",
    );
    let _ = write!(
        html,
        "<h1>{}</h1><p>{} characters, {}</p>",
        counted(report.total.documents as usize, "document"),
        units::figure(report.total.characters as f64),
        units::bytes(report.total.bytes)
    );
    for group in report.groups.iter().filter(|group| !group.rows.is_empty()) {
        let _ = write!(
            html,
            "<h2>By {}</h2><table><tr><th>{}</th><th>documents</th><th></th><th>characters</th><th>size</th></tr>",
            group.by, group.by
        );
        let most = group.rows.iter().map(|row| row.count.documents).max().unwrap_or(0);
        for row in &group.rows {
            let _ = write!(
                html,
                "<tr><td>{}</td><td>{}</td>{}<td>{}</td><td>{}</td></tr>",
                escape(&shown(&row.value)),
                units::figure(row.count.documents as f64),
                bar(row.count.documents, most),
                units::figure(row.count.characters as f64),
                units::bytes(row.count.bytes)
            );
        }
        html.push_str("</table>");
    }
    if !report.rules.is_empty() {
        html.push_str(
            "<h2>By rule</h2><table><tr><th>rule</th><th>documents</th><th>threshold</th><th>values from least to \
             greatest</th><th>median</th></tr>",
        );
        for row in &report.rules {
            let [least, median, greatest] = match row.values {
                Some(values) => values.map(units::figure),
                None => Default::default(),
            };
            let _ = write!(
                html,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{least} {} {greatest}</td><td>{median}</td></tr>",
                escape(&row.rule),
                units::figure(row.documents as f64),
                escape(&row.threshold),
                histogram(&row.histogram)
            );
        }
        html.push_str("</table>");
    }
    if !report.clusters.is_empty() {
        html.push_str(
            "<h2>Largest clusters of near-duplicates</h2><table><tr><th>kept</th><th>documents</th></tr>",
        );
        for cluster in &report.clusters {
            let _ = write!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(&cluster.id), cluster.size);
        }
        html.push_str("</table>");
    }
    html
}

/// Columns of a histogram.
fn histogram(counts: &[u64]) -> String {
    const HEIGHT: f64 = 24.0;
    const WIDTH: usize = 12;
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let columns = counts.iter().enumerate().map(|(at, count)| {
        let height = HEIGHT * *count as f64 / most as f64;
        format!(
            "<rect x=\"{}\" y=\"{:.1}\" width=\"{}\" height=\"{height:.1}\" fill=\"#4a7fb5\"/>",
            at * WIDTH,
            HEIGHT - height,
            WIDTH - 1
        )
    });
    let width = counts.len() * WIDTH;
    format!("<svg width=\"{width}\" height=\"{HEIGHT}\">{}</svg>", columns.collect::<String>())
}
