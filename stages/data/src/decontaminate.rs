//! Owns: which documents contain text of evaluation sets. Nothing here depends on threads, caches or the manifest.

mod grams;

use crate::documents::{Column, DOCUMENTS, DocumentReader, facts_passed_on, lacks_text};
use crate::lines::{read_lines, write_buffered, write_lines};
use crate::memo::Memo;
use crate::none_left;
use grams::{Index, grams_of};
use pipe_stage::{
    Code, Context, Error, FILES, Facts, In, Inputs, Item, KnownInputs, Merge, Metric, Misfit, Out, Port,
    Result, RoaringBitmap, Share, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Removes training documents that contain text of evaluation sets.
///
/// A document is removed if it contains at least `matches_min` different sequences of `ngram` words of the evaluation
/// sets, as for GPT-3 (Brown et al. 2020, appendix C), PaLM and Llama 2. Words are compared in lower case and without
/// the punctuation around them; in scripts without spaces, each character is a word. An example with fewer words is
/// looked for as a whole, if it has at least `words_min`.
///
/// The evaluation sets are documents, as `ingest` makes them of rows with a column for the question: name them under
/// `needs`, as in `needs: { documents: unique, benchmarks: { gsm8k: gsm8k-rows, mmlu: mmlu-rows } }`. The output `removed`
/// lists removed documents with the first match of each set; the metric `examples_unchecked.<set>` counts examples that are too
/// short to be looked for, or consist of templates; `examples` lists the examples that occur in training documents,
/// so that an evaluation can leave them out. Metrics count both by set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decontaminate {
    /// Words per sequence, 2 to 50. The default is 13, as for GPT-3.
    pub ngram: u32,
    /// Minimum number of words of a shorter example that is looked for as a whole, 2 to 50. The default is 8, as for GPT-3.
    pub words_min: u32,
    /// Minimum number of different sequences in a document, at least 1.
    pub matches_min: u32,
    /// Maximum number of different examples of a set with the same sequence. Sequences of more examples are templates, such as "which of
    /// the following is the correct answer", and are not looked for. The default is 10.
    pub examples_max: u32,
}

impl Default for Decontaminate {
    fn default() -> Self {
        Self { ngram: 13, words_min: 8, matches_min: 1, examples_max: 10 }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents for training.");
const BENCHMARKS: In = In::new("benchmarks", &DOCUMENTS, "Evaluation sets, by name.").many();
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The documents without text of evaluation sets.");
const REMOVED: Out = Out::new(
    "removed",
    &FILES,
    "Removed documents with the text and the examples that matched, as JSON Lines.",
);
const EXAMPLES: Out = Out::new(
    "examples",
    &FILES,
    "Examples of the evaluation sets that occur in training documents, with their texts, as JSON Lines.",
);

const METRICS: [&str; 3] = ["documents", "documents_in", "removed"];
/// Number of sequences that too many examples have.
const TEMPLATES: &str = "templates";
/// Metrics by set begin with these.
const REMOVED_FOR: &str = "removed.";
const CONTAMINATED: &str = "examples_contaminated.";
const SHARE_CONTAMINATED: &str = "examples_contaminated_share.";
/// Examples that are not looked for.
const UNCHECKED: &str = "examples_unchecked.";

impl Stage for Decontaminate {
    const NAME: &'static str = "decontaminate";
    /// History: 1: initial version. 2: `removed` names examples, and `examples` has their texts.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] =
        &[INPUT.port(), BENCHMARKS.port(), OUTPUT.port(), REMOVED.port(), EXAMPLES.port()];

    fn check(&self) -> Vec<Misfit> {
        let words = (2..=50).contains(&self.words_min);
        let faults = [
            Misfit::unless((2..=50).contains(&self.ngram), "ngram", "must be from 2 to 50"),
            Misfit::unless(words, "words_min", "must be from 2 to 50"),
            Misfit::unless(self.matches_min > 0, "matches_min", "must be at least 1"),
            Misfit::unless(self.examples_max > 0, "examples_max", "must be at least 1"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == OUTPUT.name() { facts_passed_on(inputs, INPUT, &[]) } else { Facts::default() }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        [INPUT, BENCHMARKS].into_iter().find_map(|port| lacks_text(inputs, port)).into_iter().collect()
    }

    /// The index of the evaluation sets, measured with English text: about 12 bytes per byte (compressed), and twice that
    /// while it is sorted.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        const MEMORY_BYTES_MIN: f64 = (32_u64 << 20) as f64;
        const MEMORY_PER_BYTE: f64 = 24.0;
        let benchmarks = inputs.complete.then(|| inputs.ports.get(BENCHMARKS.name()))?;
        let bytes: u64 = benchmarks.into_iter().flatten().map(pipe_stage::Artifact::size).sum();
        Some(MEMORY_BYTES_MIN + MEMORY_PER_BYTE * bytes as f64)
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let by_set =
            [REMOVED_FOR, CONTAMINATED, SHARE_CONTAMINATED, UNCHECKED].map(|metric| format!("{metric}*"));
        Some(METRICS.into_iter().chain([TEMPLATES]).map(str::to_owned).chain(by_set).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        // The main metric comes first.
        ctx.metric(Metric::count(METRICS[0], 0));
        let mut sets = Vec::new();
        let mut items = Vec::new();
        for (number, set) in (1..).zip(ctx.many(BENCHMARKS)) {
            let name = if set.label.is_empty() { format!("set-{number}") } else { set.label.clone() };
            sets.push(Set { name, shards: set.artifact.entries.len() });
            items.extend(set.artifact.shards());
        }
        let grams = ctx.each("grams", &self.widths(), items, find_grams)?;
        let files = grams.entries("grams").into_iter().map(|file| Item::new(&file.name.clone(), [file]));
        let index = ctx.once(
            "index",
            &Indexing { sets: sets.clone(), examples_max: self.examples_max },
            files.collect(),
            make_index,
        )?;
        let index = index.entries("index").into_iter().next();
        let ids = ctx.once("ids", &(), vec![Item::new("examples", grams.entries("examples"))], list_ids)?;
        let ids = ids.entries("ids").into_iter().next();
        let shards = ctx.input(INPUT).shards().into_iter();
        let shards = shards.map(|shard| shard.with(index.clone()).with(ids.clone()));
        let matched = ctx.each("matched", &self.matching(&sets), shards.collect(), find_matches)?;
        let examples =
            grams.entries("examples").into_iter().map(|file| Item::new(&file.name.clone(), [file]));
        let hits = Item::new("hits", matched.entries("hits"));
        let examples = std::iter::once(hits).chain(examples).collect();
        let examples = ctx.once("examples", &sets, examples, list_examples)?;
        if ctx.value(METRICS[0]) == 0.0 {
            let removed =
                (ctx.value(METRICS[2]) as u64, "they contain text of the evaluation sets".to_owned());
            none_left::warn(ctx, "no documents are left", [removed]);
        }
        ctx.output(OUTPUT, matched.entries(OUTPUT.name()))?;
        ctx.output(REMOVED, matched.entries(REMOVED.name()))?;
        ctx.output(EXAMPLES, examples.entries(EXAMPLES.name()))
    }
}

/// The settings that determine which sequences are looked for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
struct Widths {
    ngram: u32,
    words_min: u32,
}

/// An evaluation set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Set {
    name: String,
    shards: usize,
}

/// The settings that determine the index, besides the sequences.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Indexing {
    sets: Vec<Set>,
    examples_max: u32,
}

/// The settings that determine what matches, besides the sequences.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Matching {
    matches_min: u32,
    sets: Vec<String>,
}

impl Decontaminate {
    const fn widths(&self) -> Widths {
        Widths { ngram: self.ngram, words_min: self.words_min }
    }

    fn matching(&self, sets: &[Set]) -> Matching {
        Matching { matches_min: self.matches_min, sets: sets.iter().map(|set| set.name.clone()).collect() }
    }
}

/// An example, with the beginning of its text for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Example {
    id: String,
    text: String,
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    const TEXT_CHARACTERS_MAX: usize = 2000;
    let end = text.char_indices().nth(TEXT_CHARACTERS_MAX).map_or(text.len(), |(end, _)| end);
    text[..end].to_owned()
}

/// Joins the ids of the examples of all shards: the example with number `n` is in line `n`.
fn list_ids(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut ids = Vec::new();
    for file in inputs.item().entries() {
        ids.extend(read_lines::<Example>(file)?.into_iter().map(|example| example.id));
    }
    let mut file = share.named("ids", "ids.jsonl")?;
    write_lines(&mut file, &ids)?;
    share.keep(file)?;
    Ok(())
}

/// Leaves the sequences of a shard of examples, and the examples.
fn find_grams(widths: &Widths, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns = [Column::Id, Column::Text];
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let (mut grams, mut texts, mut examples) = (Vec::new(), Vec::new(), Vec::new());
    for row in share.track("examples", rows) {
        let document = row??.document;
        let example = examples.len() as u32;
        let (more, text) =
            grams_of(&document.text, widths.ngram as usize, widths.words_min as usize, example);
        grams.extend(more);
        texts.push(text);
        examples.push(Example { text: shortened(&document.text), id: document.id });
    }
    let mut file = share.file("grams")?;
    write_buffered(&mut file, |file| grams::write(file, &texts, &grams))?;
    share.keep(file)?;
    let mut file = share.file("examples")?;
    write_lines(&mut file, &examples)?;
    share.keep(file)?;
    Ok(())
}

/// Joins the sequences of all shards; examples are numbered over all sets.
fn make_index(indexing: &Indexing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut index = Index::default();
    let mut files = inputs.items().iter();
    let mut counts = Vec::new();
    for (number, set) in (0..).zip(&indexing.sets) {
        let mut count = 0_u32;
        for file in files.by_ref().take(set.shards) {
            let (examples, grams) = grams::read(&file.entries()[0].bytes()?)?;
            index.extend(number, &examples, &grams)?;
            count += examples.len() as u32;
        }
        counts.push((set, count));
    }
    let templates = index.seal(indexing.examples_max);
    share.count(TEMPLATES, templates);
    let looked_for = index.looked_for();
    let mut first = 0;
    for (set, count) in counts {
        let unchecked = u64::from(count) - looked_for.range_cardinality(first..first + count);
        first += count;
        share.metric(Metric::count(format!("{UNCHECKED}{}", set.name), unchecked).lower_is_better());
        if unchecked > 0 {
            share.note(format!(
                "warning: {unchecked} of {count} examples of `{}` are not looked for: they have fewer than `words_min` words, \
                 or share all their sequences with more than `examples_max` others",
                set.name
            ));
        }
    }
    let mut file = share.named("index", "index")?;
    write_buffered(&mut file, |file| index.write(file))?;
    share.keep(file)?;
    Ok(())
}

/// A line of the output `removed`: a document, and its first match with a set.
#[derive(Debug, Serialize)]
struct Removed {
    id: String,
    set: String,
    /// The text of the document that matched.
    text: String,
    /// Number of different sequences of the set in the document.
    matches: u32,
    /// Ids of the examples that have them, at most [`EXAMPLES_LISTED`].
    examples: Vec<String>,
    /// Number of all these examples, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    examples_count: Option<u64>,
}

/// Examples that a line of `removed` names.
const EXAMPLES_LISTED: usize = 10;

/// Selects the documents without text of the sets.
fn find_matches(matching: &Matching, inputs: &Inputs, share: &mut Share) -> Result<()> {
    static LAST: Memo<Index> = Memo::new();
    static LAST_IDS: Memo<Vec<String>> = Memo::new();
    let [documents, index, ids] = inputs.item().entries() else {
        return Err(Error::Panic { message: "an entry is missing".into() });
    };
    let index = LAST.get(index, Index::read)?;
    let ids = LAST_IDS.get(ids, |_| read_lines(ids))?;
    let reader = DocumentReader::of_entry(documents)?.columns(&[Column::Id, Column::Text]);
    let rows = reader.rows_total() as u32;
    let (mut selected, mut hits) = (RoaringBitmap::new(), RoaringBitmap::new());
    let (mut removed, mut all) = (Vec::new(), 0_u64);
    let mut by_set: BTreeMap<u32, u64> = BTreeMap::new();
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        all += 1;
        let found = index.matches(&row.document.text);
        let matches: usize = found.values().map(|found| found.grams.len()).sum();
        if matches < matching.matches_min as usize {
            selected.insert(row.index);
            continue;
        }
        for (set, found) in found {
            *by_set.entry(set).or_default() += 1;
            hits |= &found.examples;
            let count = found.examples.len();
            let examples = found.examples.iter().filter_map(|example| ids.get(example as usize)).cloned();
            removed.push(Removed {
                examples: examples.take(EXAMPLES_LISTED).collect(),
                examples_count: (count > EXAMPLES_LISTED as u64).then_some(count),
                id: row.document.id.clone(),
                set: matching.sets.get(set as usize).cloned().unwrap_or_default(),
                text: row.document.text.get(found.place).unwrap_or_default().to_owned(),
                matches: found.grams.len() as u32,
            });
        }
    }
    let kept = selected.len();
    share.view(OUTPUT.name(), documents, rows, selected, None)?;
    if !removed.is_empty() {
        let mut file = share.file_with(REMOVED.name(), "jsonl")?;
        write_lines(&mut file, &removed)?;
        share.keep(file)?;
    }
    let mut file = share.file("hits")?;
    write_buffered(&mut file, |file| hits.serialize_into(file))?;
    share.keep(file)?;
    share.counts(METRICS, [kept, all, all - kept]);
    for (set, count) in by_set {
        let name = matching.sets.get(set as usize).map_or("", String::as_str);
        share.metric(Metric::count(format!("{REMOVED_FOR}{name}"), count).lower_is_better());
    }
    Ok(())
}

/// A line of the output `examples`.
#[derive(Debug, Serialize)]
struct Contaminated<'a> {
    set: &'a str,
    id: String,
    /// The beginning of its text.
    text: String,
}

/// Lists the examples that occur in training documents. The items are what was found in all shards, and the examples.
fn list_examples(sets: &Vec<Set>, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [hits, examples @ ..] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut found = RoaringBitmap::new();
    for file in hits.entries() {
        let damaged = |error: std::io::Error| Error::io("read", std::path::Path::new("hits"), &error);
        found |= RoaringBitmap::deserialize_from(&file.bytes()?[..]).map_err(damaged)?;
    }
    let mut examples = examples.iter();
    let (mut first, mut lines) = (0_u32, Vec::new());
    for set in sets {
        let (mut all, mut contaminated) = (0_u64, BTreeMap::new());
        for file in examples.by_ref().take(set.shards) {
            for Example { id, text } in read_lines::<Example>(&file.entries()[0])? {
                all += 1;
                if found.contains(first) {
                    contaminated.insert(id, text);
                }
                first += 1;
            }
        }
        let count = contaminated.len() as u64;
        share.metric(Metric::count(format!("{CONTAMINATED}{}", set.name), count).lower_is_better());
        if all > 0 {
            let share_of_set =
                Metric::new(format!("{SHARE_CONTAMINATED}{}", set.name), count as f64 / all as f64, "");
            share.metric(share_of_set.lower_is_better().merged_by(Merge::Mean(1.0)));
        }
        lines.extend(contaminated.into_iter().map(|(id, text)| Contaminated { set: &set.name, id, text }));
    }
    let mut file = share.named(EXAMPLES.name(), "examples.jsonl")?;
    write_lines(&mut file, &lines)?;
    share.keep(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ids, put_documents, words};
    use pipe_stage::testing::Bench;
    use pipe_stage::{Artifact, Outcome};

    fn lines(bench: &Bench, outcome: &Outcome, port: &str) -> String {
        let files = bench.open(&bench.output(outcome, port).unwrap());
        files.iter().map(|file| String::from_utf8(file.bytes().unwrap()).unwrap()).collect()
    }

    fn inputs(bench: &Bench) -> (Artifact, Artifact) {
        // Every tenth document quotes a text; the first three of these are examples.
        let text = |n: usize| match n % 10 {
            3 => format!("{} Question: {}? {}", words(n, 50), words(1000 + n, 15), words(n + 500, 50)),
            _ => words(n, 100),
        };
        let shard = |shard: usize| (0..20).map(|n| (format!("d{shard}-{n}"), text(shard * 20 + n))).collect();
        let documents = put_documents(bench, &(0..3).map(shard).collect::<Vec<_>>());
        let examples = (0..30).map(|n| (format!("e{n}"), words(1000 + n, 15))).collect();
        (documents, put_documents(bench, &[examples]))
    }

    #[test]
    fn documents_that_quote_examples_are_removed_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let (documents, benchmark) = inputs(&bench);
        let stage = Decontaminate::default();
        let outcome = bench.run(&stage, &[("documents", &documents), ("benchmarks", &benchmark)]).unwrap();
        let kept = ids(&bench, &bench.output(&outcome, "documents").unwrap());
        assert_eq!(kept.len(), 57);
        assert!(!kept.contains("d0-3") && !kept.contains("d1-3") && kept.contains("d1-13"));
        let removed = lines(&bench, &outcome, "removed");
        assert_eq!(removed.lines().count(), 3);
        assert!(removed.contains("\"id\":\"d0-3\",\"set\":\"set-1\""), "{removed}");
        assert!(removed.contains("\"matches\":3"), "15 words have three sequences of 13: {removed}");
        let examples = lines(&bench, &outcome, "examples");
        assert_eq!(examples.lines().count(), 3, "{examples}");
        assert!(removed.contains("\"examples\":[\"e3\"]"), "{removed}");
        assert!(examples.contains(&format!("\"id\":\"e3\",\"text\":\"{}\"", words(1003, 15))), "{examples}");
        let value = |name: &str| outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value;
        assert_eq!(
            (value("documents"), value("removed"), value("examples_contaminated.set-1")),
            (57.0, 3.0, 3.0)
        );
        assert_eq!(value("examples_contaminated_share.set-1"), 0.1);
        assert_eq!(outcome.metrics[0].name, "documents");

        assert_eq!(value("examples_unchecked.set-1"), 0.0);
        let short = put_documents(&bench, &[(0..4).map(|n| (format!("s{n}"), words(n, 7))).collect()]);
        let outcome = bench.run(&stage, &[("documents", &documents), ("benchmarks", &short)]).unwrap();
        let unchecked =
            outcome.metrics.iter().find(|metric| metric.name == "examples_unchecked.set-1").unwrap();
        assert_eq!(unchecked.value, 4.0);

        let strict = Decontaminate { matches_min: 4, ..stage };
        let outcome = bench.run(&strict, &[("documents", &documents), ("benchmarks", &benchmark)]).unwrap();
        assert_eq!(ids(&bench, &bench.output(&outcome, "documents").unwrap()).len(), 60);
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digests = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            let (documents, benchmark) = inputs(&bench);
            let inputs = [("documents", &documents), ("benchmarks", &benchmark)];
            let outcome = bench.run(&Decontaminate::default(), &inputs).unwrap();
            ["documents", "removed", "examples"]
                .map(|port| outcome.outputs[port].to_string()[..16].to_owned())
        };
        assert_eq!(digests(1), ["8dd2ee25d68deabd", "8390f5ff2faf6c95", "27bd5627ef6851f1"]);
        assert_eq!(digests(4), digests(1));
    }
}
