//! Owns: which documents are kept by their facts: scores, labels, metadata. Facts are in [`crate::documents`]. Nothing here
//! depends on threads, caches or the manifest.

use std::collections::BTreeMap;

use pipe_stage::{
    Code, Context, Error, FILES, Facts, In, Inputs, KnownInputs, Metric, Misfit, Out, Port, Result,
    RoaringBitmap, Share, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::documents::{
    DOCUMENTS, DocumentReader, Fact, METADATA_HELP, Row, columns_of_facts, facts_passed_on, is_field,
    missing_metadata,
};
use crate::lines::write_lines;
use crate::none_left;

/// Keeps the documents whose facts satisfy all conditions.
///
/// A fact is an added column, such as a score of `classify`, an entry of the metadata, or `source`, `language`, `license`,
/// `date`, `url` or `id`:
///
/// ```yaml
/// keep:
///   quality: {min: 0.5}
///   topic: {in: [science, history]}
/// ```
///
/// The text is not copied: the output is a view of the input. The output `dropped` lists the other documents, with the
/// first condition that failed, in the order of the names, and the value. Metrics count them (`dropped.<fact>`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Conditions by the name of the fact.
    pub keep: BTreeMap<String, Condition>,
}

/// What a fact must be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// The least number. With `min` or `max`, the fact must be a number in all documents that have it.
    pub min: Option<f64>,
    /// The largest number.
    pub max: Option<f64>,
    /// The texts that are kept; empty keeps all.
    pub r#in: Vec<String>,
    /// The texts that are dropped.
    pub not_in: Vec<String>,
    /// Whether documents without the fact are kept. By default they are dropped.
    pub keep_missing: bool,
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents, with or without text.");
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The documents that are kept.");
const DROPPED: Out =
    Out::new("dropped", &FILES, "Dropped documents, with the fact and its value, as JSON Lines.");
const METRICS: [&str; 3] = ["documents", "documents_in", "dropped"];
/// Metrics of the facts that drop documents begin with this.
const DROPPED_BY: &str = "dropped.";

impl Stage for Filter {
    const NAME: &'static str = "filter";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[INPUT.port(), OUTPUT.port(), DROPPED.port()];

    fn check(&self) -> Vec<Misfit> {
        let none = Misfit::unless(!self.keep.is_empty(), "keep", "must have at least one condition");
        let conditions = self.keep.iter().filter_map(|(name, condition)| {
            let path = format!("keep.{name}");
            let Condition { min, max, r#in, not_in, keep_missing } = condition;
            let numbers = [min, max].into_iter().flatten();
            if numbers.clone().any(|number| number.is_nan()) {
                return Some(Misfit::new(path, "has a limit that is not a number"));
            }
            if min.zip(*max).is_some_and(|(min, max)| min > max) {
                return Some(Misfit::new(path, "has a `min` above its `max`, which no number satisfies"));
            }
            let is_empty = numbers.count() == 0 && r#in.is_empty() && not_in.is_empty();
            (is_empty && *keep_missing)
                .then(|| Misfit::new(path, "keeps all documents").help("give `min`, `max`, `in` or `not_in`"))
        });
        none.into_iter().chain(conditions).collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == OUTPUT.name() { facts_passed_on(inputs, INPUT, &[]) } else { Facts::default() }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let names = self.keep.keys().filter(|name| !is_field(name));
        let missing = names.filter_map(|name| Some((name, missing_metadata(inputs, INPUT, name)?)));
        missing
            .map(|(name, message)| Misfit::new(format!("keep.{name}"), message).help(METADATA_HELP))
            .collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let by_fact = self.keep.keys().map(|name| format!("{DROPPED_BY}{name}"));
        Some(METRICS.into_iter().map(str::to_owned).chain(by_fact).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let filtered = ctx.each("filter", self, ctx.input(INPUT).shards(), filter)?;
        if ctx.value(OUTPUT.name()) == 0.0 {
            let reason = |metric: Metric| {
                let fact = metric.name.strip_prefix(DROPPED_BY)?;
                let reason = format!("dropped by `keep.{fact}`, see the output `{}`", DROPPED.name());
                Some((metric.value as u64, reason))
            };
            none_left::warn(ctx, "no documents are left", ctx.metrics().into_iter().filter_map(reason));
        }
        ctx.output(OUTPUT, filtered.entries(OUTPUT.name()))?;
        ctx.output(DROPPED, filtered.entries(DROPPED.name()))
    }
}

impl Condition {
    /// Whether a fact satisfies it; `None` if it has to be a number and is none.
    fn holds(&self, fact: Option<Fact>) -> Option<bool> {
        let Some(fact) = fact else { return Some(self.keep_missing) };
        if self.min.is_some() || self.max.is_some() {
            let number = fact.number()?;
            // A score has 32 bits: it reaches 0.7 if it is the float nearest to 0.7.
            let limit = |limit: f64| match fact {
                Fact::Score(_) => f64::from(limit as f32),
                _ => limit,
            };
            let is_within = self.min.is_none_or(|min| number >= limit(min))
                && self.max.is_none_or(|max| number <= limit(max));
            if !is_within {
                return Some(false);
            }
        }
        let text = fact.text();
        let is_in = |list: &[String]| list.iter().any(|own| *own == text);
        Some((self.r#in.is_empty() || is_in(&self.r#in)) && !is_in(&self.not_in))
    }
}

/// A line of the output `dropped`.
#[derive(Debug, Serialize)]
struct Dropped {
    id: String,
    fact: String,
    /// Null if the document lacks the fact.
    value: Option<String>,
}

/// The name of the first condition that a row does not satisfy.
fn failed<'f>(filter: &'f Filter, row: &Row) -> Result<Option<&'f str>> {
    for (name, condition) in &filter.keep {
        let fact = row.fact(name);
        match condition.holds(fact) {
            Some(true) => {}
            Some(false) => return Ok(Some(name)),
            None => {
                let (id, value) = (&row.document.id, fact.map(Fact::text).unwrap_or_default());
                let message = format!("`{name}` of document `{id}` is `{value}`, not a number");
                let help = format!("use `in` or `not_in` in `keep.{name}`, or correct the document");
                return Err(Error::input(message).help(help));
            }
        }
    }
    Ok(None)
}

/// Selects the rows of a shard.
fn filter(filter: &Filter, inputs: &Inputs, share: &mut Share) -> Result<()> {
    const VALUE_CHARACTERS_MAX: usize = 200;
    let entry = &inputs.item().entries()[0];
    let columns = columns_of_facts(filter.keep.keys().map(String::as_str));
    let reader = DocumentReader::of_entry(entry)?.columns(&columns);
    let rows = reader.rows_total() as u32;
    let (mut selected, mut dropped) = (RoaringBitmap::new(), Vec::new());
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let Some(name) = failed(filter, &row)? else {
            selected.insert(row.index);
            continue;
        };
        let value = row.fact(name).map(|fact| fact.text().chars().take(VALUE_CHARACTERS_MAX).collect());
        dropped.push(Dropped { id: row.document.id, fact: name.to_owned(), value });
    }
    share.counts(METRICS, [selected.len(), selected.len() + dropped.len() as u64, dropped.len() as u64]);
    let mut by_fact: BTreeMap<&str, u64> = BTreeMap::new();
    dropped.iter().for_each(|line| *by_fact.entry(&line.fact).or_default() += 1);
    by_fact.into_iter().for_each(|(fact, count)| share.count(format!("{DROPPED_BY}{fact}"), count));
    share.view(OUTPUT.name(), entry, rows, selected, None)?;
    if !dropped.is_empty() {
        let mut file = share.file_with(DROPPED.name(), "jsonl")?;
        write_lines(&mut file, dropped)?;
        share.keep(file)?;
    }
    Ok(())
}
