//! The way of one document through the stages of a pipeline: from which file it comes, and what each stage made of it.
//! Knows nothing of output.

use super::find::{Found, Place, Work, body, follow, has_documents, lines_about, read};
use super::training::{Seen, Training, seen};
use pipe::cli::{Results, StageResult};
use pipe_data::documents::{Document, Row};
use pipe_stage::{Entry, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The way of a document.
#[derive(Debug, Serialize)]
pub(crate) struct Way {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    pub(crate) stages: Vec<Stop>,
}

/// The file that a document comes from.
#[derive(Debug, Serialize)]
pub(crate) struct Origin {
    pub(crate) path: String,
    /// Row of a file of records, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row: Option<u64>,
}

/// What a stage made of the document.
#[derive(Debug, Serialize)]
pub(crate) struct Stop {
    pub(crate) stage: String,
    pub(crate) uses: String,
    pub(crate) outcome: Outcome,
    /// The inputs that have it, if the stage makes something else of it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) inputs: BTreeSet<String>,
    /// Where it is now; several places if it is repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) places: Vec<InOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) change: Option<Change>,
    /// Why it was dropped: each line of the side output, or rule, value and threshold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reasons: Vec<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) training: Option<Training>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was read from a file.
    Read,
    /// It is in an output as it was.
    Kept,
    /// It is in an output with another text or other facts.
    Changed,
    /// It is not in an output that later stages read.
    Dropped,
    /// The stage makes something else of it.
    Used,
    /// The stage trains on documents, and not on this one.
    NotTrainedOn,
    /// The stage reads what others made of it.
    Derived,
    /// The result of the stage is out of date.
    OutOfDate,
}

/// A row of an output.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InOutput {
    pub(crate) output: String,
    pub(crate) shard: String,
    /// Digest of the file.
    pub(crate) object: String,
    pub(crate) row: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<InShard>,
}

/// Tokens of a shard.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct InShard {
    /// Number of the document's tokens.
    pub(crate) count: u64,
    /// Tokens of the shard before them.
    pub(crate) first: u64,
}

/// Properties of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Facts {
    pub(crate) characters: u64,
    /// Whether the characters are those of HTML.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) html: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) language: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) license: String,
    /// Metadata and added columns.
    pub(crate) facts: BTreeMap<String, String>,
}

/// How a stage changed the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Change {
    pub(crate) characters_before: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) lines_removed: u64,
    /// Masks by kind that were not there before.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) masked: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) language_before: Option<String>,
    /// Facts that are new or have another value.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) facts: BTreeSet<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where a document is after each stage.
#[derive(Default)]
struct State {
    /// Places by stage and output.
    places: BTreeMap<(usize, usize), Vec<Place>>,
    /// Outputs that were made of it or of what was made of it.
    derived: BTreeSet<(usize, usize)>,
}

/// The path of a file, or its address on a server.
fn place(file: &pipe_stage::SourceFile) -> String {
    match (file.path(), file.remote()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(remote)) => remote.shown(),
        (None, None) => file.name.clone(),
    }
}

/// Follows a document from where it was found.
pub(crate) fn follow_through(results: &Results, found: &Found, work: &mut Work) -> Result<Way> {
    let mut state = State::default();
    let mut way = Way { id: found.id.clone(), url: found.url.clone(), origin: None, stages: Vec::new() };
    let first = &results.stages[found.output.0];
    way.origin = pipe_data::ingest::origin(&first.sources, &found.id)
        .map(|(file, row)| Origin { path: place(file), row });
    for at in found.output.0..results.stages.len() {
        let stop = if at == found.output.0 {
            state.places.insert(found.output, vec![found.place.clone()]);
            Some(begin(results, found)?)
        } else {
            pass(results, at, &found.id, &mut state, work)?
        };
        if let Some(stop) = stop {
            if way.url.is_empty()
                && let Some(url) = stop.document.as_ref().and_then(|document| document.facts.get("url"))
            {
                way.url.clone_from(url);
            }
            way.stages.push(stop);
        }
    }
    Ok(way)
}

fn stop(stage: &StageResult, outcome: Outcome) -> Stop {
    Stop {
        stage: stage.name.clone(),
        uses: stage.uses.to_owned(),
        outcome,
        inputs: BTreeSet::new(),
        places: Vec::new(),
        document: None,
        change: None,
        reasons: Vec::new(),
        training: None,
    }
}

/// The stage that reads the document from a file.
fn begin(results: &Results, found: &Found) -> Result<Stop> {
    let stage = &results.stages[found.output.0];
    let output = &stage.outputs[found.output.1];
    let mut stop = stop(stage, Outcome::Read);
    if let Some(entry) = output.artifact.as_ref().and_then(|artifact| artifact.entries.get(found.place.entry))
    {
        stop.places.push(in_output(results, &output.port, &output.kind, entry, &found.place)?);
        if output.kind == "documents" {
            stop.document = read(&results.open(entry), found.place.row)?.as_ref().map(facts);
        }
    }
    Ok(stop)
}

fn in_output(results: &Results, port: &str, kind: &str, entry: &Entry, place: &Place) -> Result<InOutput> {
    let tokens = match kind {
        "tokens" => tokens_in_shard(results, entry, place.row)?,
        _ => None,
    };
    Ok(InOutput {
        output: port.to_owned(),
        shard: entry.name.clone(),
        object: entry.content.blob.digest.to_string(),
        row: place.row,
        tokens,
    })
}

fn tokens_in_shard(results: &Results, entry: &Entry, row: u32) -> Result<Option<InShard>> {
    let path = results.open(entry).unverified_path();
    if !path.is_file() {
        return Ok(None);
    }
    let mut first = 0;
    for (at, document) in (0..).zip(pipe_data::tokens::TokensReader::open(&path, None)?) {
        let count = document?.1.len() as u64;
        if at == row {
            return Ok(Some(InShard { count, first }));
        }
        first += count;
    }
    Ok(None)
}

/// A stage behind the first; `None` if it has nothing to do with the document.
fn pass(results: &Results, at: usize, id: &str, state: &mut State, work: &mut Work) -> Result<Option<Stop>> {
    let stage = &results.stages[at];
    let mut from: Vec<(Entry, u32)> = Vec::new();
    let (mut came, mut is_derived) = (Vec::new(), false);
    for input in &stage.inputs {
        let output = (input.stage, input.output);
        is_derived |= state.derived.contains(&output);
        let (Some(places), Some(artifact)) = (state.places.get(&output), results.artifact(input)) else {
            continue;
        };
        came.push(input);
        from.extend(places.iter().map(|place| (artifact.entries[place.entry].clone(), place.row)));
    }
    if came.is_empty() && !is_derived {
        return Ok(None);
    }
    let outcome = if came.is_empty() { Outcome::Derived } else { Outcome::Used };
    let mut stop = stop(stage, outcome);
    if !stage.outputs.iter().any(|output| has_documents(&output.kind)) {
        stop.inputs = came.iter().map(|input| input.port.clone()).collect();
    }
    if !stage.is_up_to_date {
        note_training(results, stage, id, state, &mut stop)?;
        stop.outcome = Outcome::OutOfDate;
        state.derived.extend((0..stage.outputs.len()).map(|output| (at, output)));
        return Ok(Some(stop));
    }
    let mut passes_on = false;
    for (number, output) in stage.outputs.iter().enumerate() {
        let Some(artifact) = &output.artifact else { continue };
        if !has_documents(&output.kind) {
            state.derived.insert((at, number));
            if output.kind == "files" && !output.is_main && !from.is_empty() {
                let is_about = |line: &Map<String, Value>| line.get("id").and_then(Value::as_str) == Some(id);
                for mut line in lines_about(results, artifact, &from, is_about)? {
                    line.insert("output".to_owned(), output.port.as_str().into());
                    stop.reasons.push(line);
                }
            }
            continue;
        }
        passes_on = true;
        if from.is_empty() {
            continue;
        }
        let places = follow(results, artifact, &output.kind, id, &from, work)?;
        for place in &places {
            let entry = &artifact.entries[place.entry];
            stop.places.push(in_output(results, &output.port, &output.kind, entry, place)?);
        }
        let Some(place) = places.first() else { continue };
        if output.kind == "documents" {
            describe(results, artifact.entries[place.entry].clone(), place.row, &from, &mut stop)?;
        }
        state.places.insert((at, number), places);
    }
    note_training(results, stage, id, state, &mut stop)?;
    if passes_on && !from.is_empty() {
        stop.outcome = judge(results, at, state, &stop);
    }
    Ok(Some(stop))
}

/// Notes when a stage that trains on documents saw the document, or why it did not.
fn note_training(
    results: &Results,
    stage: &StageResult,
    id: &str,
    state: &State,
    stop: &mut Stop,
) -> Result<()> {
    let train = stage.inputs.iter().find(|input| input.port == "train");
    let Some(places) = train.and_then(|train| state.places.get(&(train.stage, train.output))) else {
        return Ok(());
    };
    let shards = places.iter().map(|place| place.entry).collect();
    match seen(results, stage, id, &shards)? {
        Some(Seen::At(training)) => stop.training = Some(training),
        Some(Seen::Not(reason)) => {
            stop.outcome = Outcome::NotTrainedOn;
            stop.reasons.push(Map::from_iter([("reason".to_owned(), reason.into())]));
        }
        None => {}
    }
    Ok(())
}

/// Whether a stage kept a document: whether it is in an output that holds what is kept.
fn judge(results: &Results, at: usize, state: &State, stop: &Stop) -> Outcome {
    let stage = &results.stages[at];
    let is_left =
        |name: &str| name == "dropped" || name == "removed" || name == "rejected" || name == "leaked";
    let is_kept = stage
        .outputs
        .iter()
        .enumerate()
        .any(|(number, output)| !is_left(&output.port) && state.places.contains_key(&(at, number)));
    match (is_kept, &stop.change) {
        (false, _) => Outcome::Dropped,
        (true, Some(_)) => Outcome::Changed,
        (true, None) => Outcome::Kept,
    }
}

/// Notes what the document is now, and how it differs from what it was.
fn describe(results: &Results, entry: Entry, row: u32, from: &[(Entry, u32)], stop: &mut Stop) -> Result<()> {
    let Some(now) = read(&results.open(&entry), row)? else { return Ok(()) };
    let (before, before_row) = &from[0];
    let is_same_file = before.content == entry.content;
    let before = if is_same_file || before.content.blob == entry.content.blob && *before_row == row {
        None
    } else {
        read(&results.open(before), *before_row)?
    };
    let before = match before {
        Some(before) if before.document.id == now.document.id => Some(before),
        _ => None,
    };
    stop.change = before.and_then(|before| change(&before, &now));
    for rule in ["rule", "value", "threshold"] {
        if let Some(fact) = now.fact(rule) {
            if stop.reasons.is_empty() {
                stop.reasons.push(Map::new());
            }
            stop.reasons[0].insert(rule.to_owned(), fact.text().into());
        }
    }
    stop.document = Some(facts(&now));
    Ok(())
}

/// The properties of a row.
fn facts(row: &Row) -> Facts {
    let document = &row.document;
    let mut facts: BTreeMap<String, String> = document.metadata.clone();
    for (name, _) in row.added.iter().flat_map(|added| added.iter()) {
        facts.extend(row.fact(name).map(|fact| (name.to_owned(), fact.text().into_owned())));
    }
    if !document.url.is_empty() {
        facts.insert("url".to_owned(), document.url.clone());
    }
    Facts {
        characters: body(document).chars().count() as u64,
        html: document.text.is_empty() && document.html.is_some(),
        language: document.language.clone(),
        license: document.license.clone(),
        facts,
    }
}

/// How a document differs from what it was; `None` if it does not.
fn change(before: &Row, now: &Row) -> Option<Change> {
    let (old, new) = (&before.document, &now.document);
    let (was, is) = (facts(before), facts(now));
    let of = |facts: &Facts, name: &str| facts.facts.get(name).cloned();
    let changed = is.facts.keys().filter(|name| of(&was, name) != of(&is, name)).cloned().collect();
    let change = Change {
        characters_before: was.characters,
        // Lines of HTML are no lines of its text.
        lines_removed: if was.html { 0 } else { lines_removed(&old.text, &new.text) },
        masked: masked(old, new),
        language_before: (old.language != new.language).then(|| old.language.clone()),
        facts: changed,
    };
    let is_same = change.lines_removed == 0
        && change.masked.is_empty()
        && change.language_before.is_none()
        && change.facts.is_empty()
        && body(old) == body(new);
    (!is_same).then_some(change)
}

/// Lines with text that are no longer there, whatever their order.
fn lines_removed(before: &str, now: &str) -> u64 {
    let lines = |text: &str| {
        let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            *counts.entry(hash(line)).or_default() += 1;
        }
        counts
    };
    let (before, now) = (lines(before), lines(now));
    let gone = before.iter().map(|(line, count)| (count - now.get(line).copied().unwrap_or(0)).max(0) as u64);
    // A line that was repaired or masked is another one: only as many are gone as there are fewer.
    let fewer = (before.values().sum::<i64>() - now.values().sum::<i64>()).max(0) as u64;
    gone.sum::<u64>().min(fewer)
}

fn hash(line: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

/// The masks that `clean` writes in place of personal data.
fn masked(before: &Document, now: &Document) -> BTreeMap<String, u64> {
    const MASKS: [&str; 8] = [
        "<EMAIL_ADDRESS>",
        "<IP_ADDRESS>",
        "<PHONE_NUMBER>",
        "<IBAN_CODE>",
        "<CREDIT_CARD>",
        "<US_SSN>",
        "<CN_ID>",
        "<API_KEY>",
    ];
    let count = |text: &str, mask: &str| text.matches(mask).count() as u64;
    let more = |mask: &&str| {
        let more = count(&now.text, mask).saturating_sub(count(&body(before), mask));
        (more > 0).then(|| (mask.trim_matches(['<', '>']).to_lowercase(), more))
    };
    MASKS.iter().filter_map(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_only_changed_are_not_removed() {
        assert_eq!(lines_removed("a\nb\nc", "a\nB\nc"), 0);
        assert_eq!(lines_removed("a\na\nb\n\n", "a\nb"), 1);
        assert_eq!(lines_removed("", "a"), 0);
    }
}
