//! `pipe data sample`: a sample of a stage's documents, or of those that it left out, and why.

use super::find::{Work as Reads, body, document_behind, each_line, each_name, has_documents, read};
use clap::Args;
use pipe::cli::{FolderCommand, ResultOutput, Results, StageResult, Work, arguments};
use pipe_data::documents::{Column, Document, DocumentReader, Row};
use pipe_stage::{Entry, Error, Result, RoaringBitmap};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "data sample",
    kind: "documents",
    arguments: |command| {
        let command = command.about(
            "Print a random sample of documents, or of those that were left out, with the rule that dropped them",
        );
        Sample::augment_args(command).after_help(
            "Examples: pipe data sample pipelines/gpt-small.yaml text --dropped-by gopher_duplicate_lines -n 20\n          \
             pipe data sample pipelines/gpt-small.yaml unique --dropped-by any",
        )
    },
    port: |_| None,
    run: Work::Stage(|results, stage, port, matches| {
        arguments::<Sample>(matches).run(results, stage, port, matches.get_flag("json"))
    }),
};

#[derive(Args)]
struct Sample {
    /// Only documents that were left out for this reason: a rule of `clean`, a fact in `keep` of `filter`, a set of
    /// `decontaminate`, a reason of `ingest`, `duplicate` (dedup), `leaked` (split), `mix`; `any` means every reason.
    #[arg(long, value_name = "RULE|any")]
    dropped_by: Option<String>,
    /// Number of documents.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "DOCUMENTS")]
    limit: usize,
    /// Maximum characters to print of each text.
    #[arg(long, default_value_t = 400)]
    characters: usize,
    /// Random seed; the same seed picks the same documents.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The outputs of documents that were left out, or of lines about them.
const SIDE_OUTPUTS: [&str; 4] = ["dropped", "removed", "rejected", "leaked"];

/// A document that was picked: where it is, or the line about it.
enum Picked {
    Row { entry: Entry, kind: String, row: u32, id: String },
    Line { entry: Entry, line: Map<String, Value> },
}

/// What was seen while picking.
#[derive(Default)]
struct Picking {
    picked: Vec<(u64, Picked)>,
    seen: u64,
    state: u64,
    /// Number of documents that were left out for other reasons.
    others: BTreeMap<String, u64>,
}

impl Sample {
    fn run(self, results: &Results, stage: usize, port: Option<&str>, json: bool) -> Result<()> {
        let of = &results.stages[stage];
        let mut picking = Picking { state: self.seed, ..Picking::default() };
        let mut reads = Reads::default();
        match (port, &self.dropped_by) {
            (None, Some(_)) => {
                let outputs = of.outputs.iter().filter(|output| SIDE_OUTPUTS.contains(&output.port.as_str()));
                for output in outputs.clone() {
                    self.pick(results, output, &mut picking, &mut reads)?;
                }
                if outputs.count() == 0 {
                    self.pick_left_out(results, of, &mut picking, &mut reads)?;
                }
            }
            _ => self.pick(results, named(of, port)?, &mut picking, &mut reads)?,
        }
        let Picking { mut picked, seen, others, .. } = picking;
        picked.sort_by_key(|(place, _)| *place);
        for (_, picked) in &picked {
            let shown = resolve(results, stage, picked, &mut reads)?;
            match json {
                true => pipe::cli::print_json(&as_json(&shown)),
                false => pipe::cli::print(&self.as_text(&shown)),
            }
        }
        let why = match self.dropped_by.as_deref() {
            None => String::new(),
            Some("any") => " left out for any reason".to_owned(),
            Some(rule) => format!(" left out by `{rule}`"),
        };
        let documents = pipe::ui::counted(usize::try_from(seen).unwrap_or(usize::MAX), "document");
        pipe::cli::say(&format!("{} of {documents}{why}", picked.len()));
        if reads.shards_missing > 0 {
            let missing = pipe::ui::counted(reads.shards_missing as usize, "shard");
            pipe::cli::say(&format!("{missing} missing from the cache"));
        }
        if let (0, Some(_), false) = (seen, &self.dropped_by, others.is_empty()) {
            let rules: Vec<String> = others.iter().map(|(rule, count)| format!("{rule} ({count})")).collect();
            pipe::cli::say(&format!("help: reasons for which documents were left out: {}", rules.join(", ")));
        }
        Ok(())
    }

    /// Offers the documents of an output, or the lines of one that lists documents.
    fn pick(
        &self,
        results: &Results,
        output: &ResultOutput,
        picking: &mut Picking,
        reads: &mut Reads,
    ) -> Result<()> {
        let Some(artifact) = &output.artifact else { return Ok(()) };
        for entry in &artifact.entries {
            let opened = results.open(entry);
            if !has_documents(&output.kind) {
                each_line(&opened, |line| {
                    if let Ok(Value::Object(line)) = serde_json::from_slice::<Value>(line) {
                        let reasons = reasons(|name| line.get(name).and_then(text));
                        picking.offer(self, &reasons, || Picked::Line { entry: entry.clone(), line });
                    }
                })?;
            } else if self.dropped_by.is_none() || output.kind == "tokens" {
                each_name(&opened, &output.kind, reads, |row, id, _| {
                    let kind = output.kind.clone();
                    let picked = || Picked::Row { entry: entry.clone(), kind, row, id: id.to_owned() };
                    picking.offer(self, &[], picked);
                })?;
            } else if opened.unverified_path().is_file() {
                let reader = DocumentReader::of_unverified(&opened)?.columns(&[Column::Id, Column::Metadata]);
                for row in reader.rows()? {
                    let row = row?;
                    let reasons = reasons(|name| row.fact(name).map(|fact| fact.text().into_owned()));
                    picking.offer(self, &reasons, || Picked::Row {
                        entry: entry.clone(),
                        kind: output.kind.clone(),
                        row: row.index,
                        id: row.document.id.clone(),
                    });
                }
            } else {
                reads.shards_missing += 1;
            }
        }
        Ok(())
    }

    /// Offers the documents of the inputs that no output has, of a stage that lists none, such as `mix`: rows that no view
    /// of the same file selects.
    fn pick_left_out(
        &self,
        results: &Results,
        stage: &StageResult,
        picking: &mut Picking,
        reads: &mut Reads,
    ) -> Result<()> {
        let outputs = || stage.outputs.iter().filter(|output| has_documents(&output.kind));
        if outputs().count() == 0 {
            let message =
                format!("`{}` leaves no documents out: it makes something else of them", stage.name);
            return Err(Error::input(message).help("leave `--dropped-by` out"));
        }
        for input in &stage.inputs {
            let Some(artifact) = results.artifact(input).filter(|artifact| has_documents(&artifact.kind))
            else {
                continue;
            };
            for entry in &artifact.entries {
                // The rows that are left; none if some output has all of them.
                let (mut kept, mut is_whole) = (RoaringBitmap::new(), false);
                let of_file =
                    outputs().filter_map(|output| output.artifact.as_ref()).flat_map(|made| &made.entries);
                for made in of_file.filter(|made| made.content.blob == entry.content.blob) {
                    match results.open(made).selection()? {
                        Some(selection) => kept |= selection,
                        None => is_whole = true,
                    }
                }
                if is_whole {
                    continue;
                }
                each_name(&results.open(entry), &artifact.kind, reads, |row, id, _| {
                    if !kept.contains(row) {
                        let (kind, id) = (artifact.kind.clone(), id.to_owned());
                        picking.offer(self, &[stage.uses.to_owned()], || Picked::Row {
                            entry: entry.clone(),
                            kind,
                            row,
                            id,
                        });
                    }
                })?;
            }
        }
        Ok(())
    }

    fn as_text(&self, shown: &Shown) -> String {
        let Shown { id, document, reasons } = shown;
        let mut heading = id.clone();
        let body = document.as_ref().map(body).unwrap_or_default();
        if let Some(document) = document {
            let unit = if document.text.is_empty() && document.html.is_some() { " of HTML" } else { "" };
            heading += &format!("  {}{unit}", pipe::ui::counted(body.chars().count(), "character"));
            for known in [&document.language, &document.url] {
                if !known.is_empty() && !heading.ends_with(known.as_str()) {
                    heading += &format!("  {known}");
                }
            }
        }
        if !reasons.is_empty() {
            heading += &format!("\n  {}", super::trace::reason_line(reasons));
        }
        // Records without text have metadata.
        let metadata = |document: &Document| {
            document.metadata.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()
        };
        let whole = match document {
            Some(document) if body.is_empty() => metadata(document),
            _ => body.into_owned(),
        };
        let mut text: String = whole.chars().take(self.characters).collect();
        if text.len() < whole.len() {
            text.push('…');
        }
        let lines: String = text.lines().map(|line| format!("  | {line}\n")).collect();
        format!("{heading}\n{lines}")
    }
}

impl Picking {
    fn offer(&mut self, sample: &Sample, reasons: &[String], make: impl FnOnce() -> Picked) {
        const DOCUMENTS_MAX: usize = 10_000;
        let is_wanted = |wanted: &str| wanted == "any" || reasons.iter().any(|reason| reason == wanted);
        if !sample.dropped_by.as_deref().is_none_or(is_wanted) {
            *self.others.entry(reasons.first().cloned().unwrap_or_default()).or_default() += 1;
            return;
        }
        self.seen += 1;
        reservoir(&mut self.picked, sample.limit.min(DOCUMENTS_MAX), self.seen, &mut self.state, make);
    }
}

/// The output that was named, or the main one.
fn named<'r>(stage: &'r StageResult, port: Option<&str>) -> Result<&'r ResultOutput> {
    let found = match port {
        Some(port) => stage.outputs.iter().find(|output| output.port == port),
        None => stage.outputs.iter().find(|output| output.is_main),
    };
    let lists =
        |output: &&ResultOutput| has_documents(&output.kind) || SIDE_OUTPUTS.contains(&output.port.as_str());
    let ports: Vec<&str> = stage.outputs.iter().filter(lists).map(|output| output.port.as_str()).collect();
    found.filter(lists).ok_or_else(|| {
        let what = port.map_or_else(|| "main output".to_owned(), |port| format!("output `{port}`"));
        let message = format!("stage `{}` has no {what} with documents", stage.name);
        let help = match ports[..] {
            [] => "name a stage that makes documents or tokens".to_owned(),
            _ => format!("outputs with documents: {}", ports.join(", ")),
        };
        Error::input(message).help(help)
    })
}

/// Why a document was left out, in one word: the rule, condition, set or reason that its row or line names; then what it has
/// in common with others, if there is such a word.
fn reasons(field: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = ["rule", "reason", "fact", "by"].into_iter().find_map(&field);
    let common = match field("kept") {
        Some(_) => Some("duplicate".to_owned()),
        None if field("training").is_some() => Some("leaked".to_owned()),
        None if named.is_none() => Some(field("set").unwrap_or_default()),
        None => None,
    };
    named.into_iter().chain(common).collect()
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(text).filter(|text| !value.is_null() && !text.is_empty())
}

/// A document as it is shown.
struct Shown {
    id: String,
    /// None if a line names a document that is nowhere, such as a row that could not be read.
    document: Option<Document>,
    /// Why it was left out.
    reasons: Map<String, Value>,
}

/// Reads what was picked.
fn resolve(results: &Results, stage: usize, picked: &Picked, reads: &mut Reads) -> Result<Shown> {
    let (id, row, mut reasons) = match picked {
        Picked::Row { entry, kind, row, id } => {
            let row = match kind.as_str() {
                "tokens" => document_behind(results, stage, entry, id, reads)?,
                _ => read(&results.open(entry), *row)?,
            };
            (id.clone(), row, Map::new())
        }
        Picked::Line { entry, line } => {
            let id = line.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let row = document_behind(results, stage, entry, &id, reads)?;
            let id = match line.get("row") {
                Some(row) => format!("{id}, row {row}"),
                None => id,
            };
            (id, row, line.clone())
        }
    };
    if let (Some(row), true) = (&row, reasons.is_empty()) {
        for name in ["rule", "value", "threshold"] {
            reasons.extend(row.fact(name).map(|fact| (name.to_owned(), Value::from(fact.text()))));
        }
    }
    let document = row.map(|row: Row| row.document);
    Ok(Shown { id, document, reasons })
}

/// Keeps each of the documents seen so far with the same probability (Vitter 1985, algorithm R).
fn reservoir<T>(
    picked: &mut Vec<(u64, T)>,
    limit: usize,
    seen: u64,
    state: &mut u64,
    make: impl FnOnce() -> T,
) {
    if picked.len() < limit {
        picked.push((seen, make()));
        return;
    }
    let place = random(state) % seen;
    if let Some(old) = usize::try_from(place).ok().and_then(|place| picked.get_mut(place)) {
        *old = (seen, make());
    }
}

/// SplitMix64 (Steele et al. 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn as_json(shown: &Shown) -> Value {
    let empty = Document::default();
    let document = shown.document.as_ref().unwrap_or(&empty);
    serde_json::json!({
        "version": 1,
        "id": shown.id,
        "text": document.text,
        "characters": body(document).chars().count(),
        "url": document.url,
        "source": document.source,
        "language": document.language,
        "license": document.license,
        "date": document.date,
        "metadata": document.metadata,
        "reason": shown.reasons,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_one_name_each() {
        let of = |line: &str| {
            let line: Map<String, Value> = serde_json::from_str(line).unwrap();
            reasons(|name| line.get(name).and_then(text)).join(" ")
        };
        assert_eq!(of(r#"{"id":"a","rule":"gopher_x","value":"1"}"#), "gopher_x");
        assert_eq!(of(r#"{"id":"a","fact":"quality","value":null}"#), "quality");
        assert_eq!(of(r#"{"id":"a","kept":"b","similarity":1.0}"#), "duplicate");
        assert_eq!(of(r#"{"id":"a","kept":"b","reason":"near"}"#), "near duplicate");
        assert_eq!(of(r#"{"id":"a","set":"validation","training":"b"}"#), "leaked");
        assert_eq!(of(r#"{"id":"a","set":"gsm","matches":1}"#), "gsm");
        assert_eq!(of(r#"{"id":"a","row":1,"reason":"json"}"#), "json");
    }
}
