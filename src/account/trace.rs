//! `pipe data trace`: the way of one document through all stages of a pipeline.

use super::find::{Found, Work as Reads, each_line, search};
use super::training::{Part, Training};
use super::way::{Facts, Outcome, Stop, Way, follow_through};
use clap::Args;
use pipe::{
    cli::{FolderCommand, Results, Work, arguments},
    ui::{self, counted, units},
};
use pipe_stage::{Error, Result};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fmt::Write as _, time::Instant};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "data trace",
    kind: "documents",
    arguments: |command| {
        let command = command.about(
            "Follow one document through all stages: what changed or dropped it, in which shards it is, which models saw it",
        );
        Trace::augment_args(command).after_help(
            "Examples: pipe data trace pipelines/gpt-small.yaml book/ch01-00-getting-started.html\n          \
             pipe data trace pipelines/gpt-small.yaml https://doc.rust-lang.org/book/ch01-00-getting-started.html",
        )
    },
    port: |_| None,
    run: Work::Results(|results, matches| arguments::<Trace>(matches).run(results, matches.get_flag("json"))),
};

#[derive(Args)]
struct Trace {
    /// Id or address of the document, or the beginning of one if no other begins with it.
    #[arg(index = 2, value_name = "ID|URL")]
    document: String,
    /// Number of training steps to list per model.
    #[arg(long, default_value_t = 20, value_name = "STEPS")]
    steps: usize,
}

impl Trace {
    fn run(self, results: &Results, json: bool) -> Result<()> {
        let began = Instant::now();
        let mut reads = Reads::default();
        let found = self.find(results, &mut reads)?;
        let mut ways = Vec::new();
        for found in &found {
            ways.push(follow_through(results, found, &mut reads)?);
        }
        let seconds = began.elapsed().as_secs_f64();
        if json {
            ui::print_json(&json!({
                "version": 1,
                "documents": ways,
                "shards_read": reads.shards_read,
                "shards_missing": reads.shards_missing,
                "seconds": seconds,
            }));
            return Ok(());
        }
        for way in &ways {
            ui::print(&as_text(way, self.steps));
        }
        let missing = match reads.shards_missing {
            0 => String::new(),
            missing => format!("; {} missing from the cache", counted(missing as usize, "shard")),
        };
        let read = counted(reads.shards_read as usize, "shard");
        ui::say(&format!("looked for names in {read}{missing}, in {}", units::seconds(seconds)));
        Ok(())
    }

    /// Finds the document, or says what it could be.
    fn find(&self, results: &Results, reads: &mut Reads) -> Result<Vec<Found>> {
        let search = search(results, &self.document, reads)?;
        let several = |found: &[Found], count: u64| {
            let ids: BTreeSet<&str> = found.iter().map(|found| found.id.as_str()).collect();
            let names: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
            let more = if count > names.len() as u64 { ", ..." } else { "" };
            let message = format!("`{}` is the beginning of several documents", self.document);
            Error::input(message).help(format!("name one of them: {}{more}", names.join(", ")))
        };
        if !search.exact.is_empty() {
            return Ok(search.exact);
        }
        let ids: BTreeSet<&str> = search.prefixed.iter().map(|found| found.id.as_str()).collect();
        match ids.len() {
            0 => Err(self.unknown(results, &search.near, reads)?),
            1 if search.prefixed_count as usize == search.prefixed.len() => Ok(search.prefixed),
            _ => Err(several(&search.prefixed, search.prefixed_count)),
        }
    }

    /// The error for a document that is nowhere: where it was rejected, or what has a similar name.
    fn unknown(&self, results: &Results, near: &[String], reads: &Reads) -> Result<Error> {
        let rejections = self.rejections(results)?;
        let what = if self.document.contains("://") { "address" } else { "id" };
        let mut message = format!("no document has the {what} `{}`", self.document);
        for (stage, line) in &rejections {
            let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
            let row = line.get("row").map(|row| format!(", row {row}")).unwrap_or_default();
            let (id, reason) = (text("id"), text("reason"));
            let _ = write!(message, "\n  `{stage}` rejected `{id}`{row}: {reason}: {}", text("explanation"));
        }
        if reads.shards_missing > 0 {
            let missing = counted(reads.shards_missing as usize, "shard");
            let _ = write!(message, "\n  {missing} could not be searched: missing from the cache");
        }
        let stale: Vec<&str> = results
            .stages
            .iter()
            .filter(|stage| !stage.is_up_to_date && stage.inputs.is_empty())
            .map(|stage| stage.name.as_str())
            .collect();
        if !stale.is_empty() {
            let _ = write!(message, "\n  not searched, because out of date: {}", stale.join(", "));
        }
        let near: Vec<String> = near.iter().map(|id| format!("`{id}`")).collect();
        let help = match (near.is_empty(), rejections.is_empty()) {
            (false, _) => format!("similar: {}", near.join(", ")),
            (true, false) => "fix the rows or files, or raise the limits of the stage".to_owned(),
            (true, true) => {
                "`pipe data sample MANIFEST STAGE` shows ids; what was left out when files were read is in the output `rejected`"
                    .to_owned()
            }
        };
        Ok(Error::input(message).help(help))
    }

    /// Lines of outputs `rejected` that are about the document, or about the row or file that it is named after.
    fn rejections(&self, results: &Results) -> Result<Vec<(String, Map<String, Value>)>> {
        const SHOWN_MAX: usize = 5;
        let mut found = Vec::new();
        for stage in &results.stages {
            let rejected = stage.outputs.iter().find(|output| output.port == "rejected");
            let Some(artifact) = rejected.and_then(|output| output.artifact.as_ref()) else { continue };
            for entry in &artifact.entries {
                each_line(&results.open(entry), |line| {
                    if found.len() < SHOWN_MAX
                        && let Ok(Value::Object(line)) = serde_json::from_slice(line)
                        && is_rejection_of(&line, &self.document)
                    {
                        found.push((stage.name.clone(), line));
                    }
                })?;
            }
        }
        Ok(found)
    }
}

/// Whether a line of `rejected` is about a document: by its id, or by the file and row that it is named after. A file
/// that could not be read to its end has no row, or that of the last record.
fn is_rejection_of(line: &Map<String, Value>, document: &str) -> bool {
    let Some(id) = line.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) else { return false };
    let Some(rest) = document.strip_prefix(id) else { return false };
    let row = line.get("row").and_then(Value::as_u64);
    match (rest.strip_prefix(':').and_then(|row| row.parse::<u64>().ok()), row) {
        _ if rest.is_empty() => true,
        (Some(wanted), Some(row)) => wanted == row || (is_rest(line) && wanted > row),
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Whether all behind the row is lost.
fn is_rest(line: &Map<String, Value>) -> bool {
    matches!(
        line.get("reason").and_then(Value::as_str),
        Some("truncated" | "damaged" | "bomb" | "unclosed_quote")
    )
}

fn as_text(way: &Way, steps: usize) -> String {
    let mut text = way.id.clone();
    if !way.url.is_empty() {
        let _ = write!(text, "  {}", way.url);
    }
    text.push('\n');
    if let Some(origin) = &way.origin {
        let row = origin.row.map(|row| format!(", row {row}")).unwrap_or_default();
        let _ = writeln!(text, "  from {}{row}", origin.path);
    }
    let width =
        |of: fn(&Stop) -> &str| way.stages.iter().map(|stop| of(stop).chars().count()).max().unwrap_or(0);
    let (names, types) = (width(|stop| &stop.stage), width(|stop| &stop.uses));
    for stop in &way.stages {
        let (stage, uses, outcome) = (&stop.stage, &stop.uses, outcome(stop));
        let _ = writeln!(text, "\n  {stage:names$}  {uses:types$}  {outcome}");
        for line in details(stop, steps) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn outcome(stop: &Stop) -> String {
    let inputs = || stop.inputs.iter().map(|port| format!("`{port}`")).collect::<Vec<_>>().join(", ");
    match stop.outcome {
        Outcome::Read => "read",
        Outcome::Kept => "kept",
        Outcome::Changed => "changed",
        Outcome::Dropped => "dropped",
        Outcome::Used if stop.training.is_some() => "trained on it",
        Outcome::Used => return format!("made of it, as part of {}", inputs()),
        Outcome::NotTrainedOn => "not trained on it",
        Outcome::Derived => "made of what was made of it",
        Outcome::OutOfDate => "out of date, so not looked at",
    }
    .to_owned()
}

fn details(stop: &Stop, steps: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for reason in &stop.reasons {
        lines.push(reason_line(reason));
    }
    if stop.outcome == Outcome::Dropped && stop.reasons.is_empty() && stop.places.is_empty() {
        lines.push(left_out(&stop.uses).to_owned());
    }
    for place in &stop.places {
        let mut line = format!("{}: {}, row {}", place.output, place.shard, place.row);
        if let Some(tokens) = place.tokens {
            let last = tokens.first + tokens.count;
            let _ = write!(
                line,
                ", {} of the shard: {} to {last}",
                counted(tokens.count as usize, "token"),
                tokens.first
            );
        }
        let _ = write!(line, "  ({})", place.object.get(..12).unwrap_or(&place.object));
        lines.push(line);
    }
    if let Some(document) = &stop.document {
        lines.push(document_line(document));
        if let Some(change) = &stop.change {
            let mut line = format!("was {}", counted(change.characters_before as usize, "character"));
            if let Some(language) = &change.language_before {
                let _ = write!(line, ", language {}", if language.is_empty() { "unknown" } else { language });
            }
            if change.lines_removed > 0 {
                let _ = write!(line, "; {} removed", counted(change.lines_removed as usize, "line"));
            }
            for (kind, count) in &change.masked {
                let _ = write!(line, "; {count} masked as {kind}");
            }
            lines.push(line);
        }
        // Those that the stage added; of the first stage, all.
        let added = |name: &&String| match &stop.change {
            Some(change) => change.facts.contains(*name),
            None => stop.outcome == Outcome::Read,
        };
        let is_cluster = |name: &&String| name.starts_with("cluster");
        let is_shown =
            |name: &&String| *name != "url" && !["rule", "value", "threshold"].contains(&name.as_str());
        let names =
            document.facts.keys().filter(|name| added(name) || (is_cluster(name) && stop.uses == "dedup"));
        // `clean` measures some forty figures.
        const FACTS_MAX: usize = 12;
        let names: Vec<&String> = names.filter(is_shown).collect();
        let shown = names.iter().take(FACTS_MAX);
        let mut facts: Vec<String> =
            shown.map(|name| format!("{name}: {}", short(&document.facts[*name]))).collect();
        if names.len() > FACTS_MAX {
            facts.push(format!("{} more with --json", names.len() - FACTS_MAX));
        }
        if !facts.is_empty() {
            lines.push(facts.join(", "));
        }
    }
    if let Some(training) = &stop.training {
        lines.extend(training_lines(training, steps));
    }
    lines
}

fn document_line(document: &Facts) -> String {
    let unit = if document.html { " of HTML" } else { "" };
    let mut line = format!("{}{unit}", counted(document.characters as usize, "character"));
    for (name, fact) in [("language", &document.language), ("licence", &document.license)] {
        if !fact.is_empty() {
            let _ = write!(line, ", {name} {fact}");
        }
    }
    line
}

/// A reason as people read it: `by RULE: VALUE (threshold THRESHOLD)`, else all fields of the line.
pub(super) fn reason_line(reason: &Map<String, Value>) -> String {
    let text = |name: &str| {
        let value = reason.get(name).filter(|value| !value.is_null())?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)).filter(|text| !text.is_empty())
    };
    if let Some(kept) = text("kept") {
        let more =
            ["similarity", "cluster"].iter().filter_map(|name| Some(format!(", {name} {}", text(name)?)));
        return format!("duplicate of `{kept}`{}", more.collect::<String>());
    }
    if let Some(rule) = text("rule").or_else(|| text("fact")) {
        let value = text("value").map(|value| format!(": {}", short(&value))).unwrap_or_default();
        let threshold =
            text("threshold").map(|threshold| format!(" (threshold {threshold})")).unwrap_or_default();
        return format!("by {rule}{value}{threshold}");
    }
    if let Some((by, entry)) = text("by").zip(text("entry")) {
        return format!("by the {by} `{entry}` on a list");
    }
    if let (Some(reason), 1) = (text("reason"), reason.len()) {
        return reason;
    }
    let known = ["reason", "explanation", "set", "training", "containment", "matches", "text"];
    let others = reason
        .keys()
        .map(String::as_str)
        .filter(|name| !known.contains(name) && !["id", "output"].contains(name));
    let fields =
        known.into_iter().chain(others).filter_map(|name| Some(format!("{name}: {}", short(&text(name)?))));
    fields.collect::<Vec<_>>().join(", ")
}

/// Why a stage may leave a document out of all its outputs.
fn left_out(uses: &str) -> &'static str {
    match uses {
        "mix" => "not among the documents that its set's share of `tokens` takes",
        "examples" => "it has no label, prompt or answer",
        _ => "in none of its outputs",
    }
}

/// A value on one line.
fn short(value: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    let line: String =
        value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARACTERS_MAX).collect();
    if line.len() < value.len() { line + "…" } else { line }
}

fn training_lines(training: &Training, shown: usize) -> Vec<String> {
    let Training { part, steps, steps_count, steps_of_training } = training;
    let at = match part {
        Part::Stream { first, tokens } => {
            format!("{} from {first} of the stream", counted(*tokens as usize, "token"))
        }
        Part::Text { text, texts, label } => format!("text {text} of {texts}, label {}", short(label)),
    };
    let all = counted(*steps_of_training as usize, "step");
    let list: Vec<String> = steps.iter().take(shown).map(u64::to_string).collect();
    let more = if *steps_count > list.len() as u64 { ", ..." } else { "" };
    let seen = match steps_count {
        0 => format!("read by none of {all}"),
        count => format!("read by {count} of {all}: {}{more}", list.join(", ")),
    };
    vec![at, seen]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn rejections_are_of_rows_and_of_the_rest_of_a_file() {
        let row = line(r#"{"id":"s/a.jsonl","row":3,"reason":"json"}"#);
        let is = |document: &str| is_rejection_of(&row, document);
        assert!(
            is("s/a.jsonl:3") && is("s/a.jsonl") && !is("s/a.jsonl:4") && !is("s/a.jsonl2") && !is("s/a")
        );
        let rest = line(r#"{"id":"s/a.jsonl","row":3,"reason":"truncated"}"#);
        assert!(is_rejection_of(&rest, "s/a.jsonl:4") && !is_rejection_of(&rest, "s/a.jsonl:2"));
        let file = line(r#"{"id":"s/a.jsonl","reason":"bomb"}"#);
        assert!(is_rejection_of(&file, "s/a.jsonl:9"));
        assert!(!is_rejection_of(&line(r#"{"id":"","reason":"x"}"#), "s"));
    }

    #[test]
    fn reasons_read_as_sentences() {
        let cases = [
            (
                r#"{"id":"a","kept":"b","similarity":0.9,"cluster":"ff"}"#,
                "duplicate of `b`, similarity 0.9, cluster ff",
            ),
            (r#"{"rule":"r","value":"0.3","threshold":"0.2"}"#, "by r: 0.3 (threshold 0.2)"),
            (r#"{"id":"a","fact":"quality","value":null}"#, "by quality"),
            (
                r#"{"id":"a","set":"gsm","text":"one\ntwo","matches":2}"#,
                "set: gsm, matches: 2, text: one two",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(reason_line(&line(text)), expected);
        }
    }
}
