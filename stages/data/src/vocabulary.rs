//! Owns: how well a vocabulary fits documents. Nothing here depends on threads, caches or the manifest.
//!
//! ```text
//! report.json
//! ├── version                 1
//! ├── vocabulary_size         ids of the tokenizer
//! ├── all                     figures: documents, bytes, characters, words, tokens, unknown, and their ratios
//! ├── languages, sources      the same by language and by source
//! ├── rare                    below: occurrences; tokens: how many occur less often, but do
//! └── never_used              tokens: how many do not occur; first[]: names of the first of them
//! report.md                   the same as tables
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use pipe_stage::{
    Code, Context, Error, FILES, In, Inputs, Item, KnownInputs, LocalEntry, Metric, Misfit, Out, Port,
    Result, Share, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::documents::{Column, DOCUMENTS, DocumentReader, lacks_text};
use crate::lines::write_buffered;
use crate::memo::Memo;
use crate::tokenizer::encode::Tokenizer;
use crate::tokenizer::json::{TOKENIZER, TOKENIZER_JSON};

/// Reports how well the vocabulary of a tokenizer fits documents.
///
/// Compression (bytes per token, tokens per word and per character) by language and by source, and how many tokens are rare
/// or never used. Documents are encoded as by `tokenize`. The output has the report as JSON and as Markdown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyReport {
    /// Tokens that occur fewer times are counted as rare, at least 1. The default is 10.
    pub rare_below: u64,
}

impl Default for VocabularyReport {
    fn default() -> Self {
        Self { rare_below: 10 }
    }
}

const DOCUMENTS_IN: In = In::new("documents", &DOCUMENTS, "Documents with text, such as a held-out set.");
const TOKENIZER_IN: In = In::new("tokenizer", &TOKENIZER, "The tokenizer.");
const OUTPUT: Out = Out::main("report", &FILES, "report.json and report.md.");

const METRICS: [&str; 6] = [
    "bytes_per_token",
    "tokens_per_word",
    "tokens_per_character",
    "tokens",
    "tokens_rare",
    "tokens_never_used",
];
const VERSION: u32 = 1;
/// Names of tokens that never occur in a report.
const NEVER_USED_SHOWN: usize = 100;

impl Stage for VocabularyReport {
    const NAME: &'static str = "vocabulary";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[DOCUMENTS_IN.port(), TOKENIZER_IN.port(), OUTPUT.port()];

    fn check(&self) -> Vec<Misfit> {
        Misfit::unless(self.rare_below > 0, "rare_below", "must be at least 1").into_iter().collect()
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, DOCUMENTS_IN).into_iter().collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.map(str::to_owned).into())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let files = &ctx.input(TOKENIZER_IN).entries;
        let tokenizer = files.iter().find(|entry| entry.name == TOKENIZER_JSON).cloned();
        let shards = ctx.input(DOCUMENTS_IN).shards().into_iter();
        let shards = shards.map(|shard| shard.with(tokenizer.clone())).collect();
        let counted = ctx.each("counted", &(), shards, count)?;
        let mut groups = Groups::default();
        counted.values::<Groups>()?.iter().for_each(|shard| groups.add_all(shard));
        let counts = counted.entries("counts").into_iter().map(|file| Item::new(&file.name.clone(), [file]));
        let items = std::iter::once(Item::new("tokenizer", tokenizer)).chain(counts).collect();
        let made = ctx.once("report", &(self.rare_below, groups), items, report)?;
        ctx.output(OUTPUT, made.entries("report"))
    }
}

/// What is counted of some documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Figures {
    documents: u64,
    bytes: u64,
    characters: u64,
    /// Between white space.
    words: u64,
    tokens: u64,
    unknown: u64,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.characters += other.characters;
        self.words += other.words;
        self.tokens += other.tokens;
        self.unknown += other.unknown;
    }

    /// Bytes per token, tokens per word, tokens per character.
    fn ratios(&self) -> [f64; 3] {
        let ratio = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
        let Self { bytes, characters, words, tokens, .. } = *self;
        [ratio(bytes, tokens), ratio(tokens, words), ratio(tokens, characters)]
    }
}

/// Figures by language and by source.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Groups {
    languages: BTreeMap<String, Figures>,
    sources: BTreeMap<String, Figures>,
}

impl Groups {
    fn add_all(&mut self, other: &Self) {
        for (own, more) in [(&mut self.languages, &other.languages), (&mut self.sources, &other.sources)] {
            more.iter().for_each(|(name, figures)| own.entry(name.clone()).or_default().add(figures));
        }
    }
}

/// Encodes the documents of a shard, and counts each token.
fn count(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [documents, tokenizer] = inputs.item().entries() else {
        return Err(Error::input(format!("the tokenizer has no file `{TOKENIZER_JSON}`")));
    };
    let tokenizer = tokenizer_of(tokenizer)?;
    let columns = [Column::Text, Column::Language, Column::Source];
    let reader = DocumentReader::of_entry(documents)?.columns(&columns);
    let (mut encoder, mut ids) = (tokenizer.encoder(), Vec::new());
    let mut counts = vec![0_u64; tokenizer.vocabulary_size() as usize];
    let mut groups = Groups::default();
    for row in share.track("documents", reader.rows()?) {
        let document = row??.document;
        ids.clear();
        encoder.encode_ordinary(&document.text, &mut ids);
        ids.iter().for_each(|id| counts[*id as usize] += 1);
        let unknown = tokenizer.unknown();
        let figures = Figures {
            documents: 1,
            bytes: document.text.len() as u64,
            characters: document.text.chars().count() as u64,
            words: document.text.split_whitespace().count() as u64,
            tokens: ids.len() as u64,
            unknown: ids.iter().filter(|id| Some(**id) == unknown).count() as u64,
        };
        groups.languages.entry(document.language).or_default().add(&figures);
        groups.sources.entry(document.source).or_default().add(&figures);
    }
    let mut file = share.file("counts")?;
    write_buffered(&mut file, |file| {
        use std::io::Write;
        counts.iter().try_for_each(|count| file.write_all(&count.to_le_bytes()))
    })?;
    share.keep(file)?;
    share.value(&groups);
    Ok(())
}

/// Figures with their ratios, as they are written.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    #[serde(flatten)]
    figures: &'a Figures,
    bytes_per_token: f64,
    tokens_per_word: f64,
    tokens_per_character: f64,
}

impl<'a> Row<'a> {
    fn new(name: &'a str, figures: &'a Figures) -> Self {
        let [bytes_per_token, tokens_per_word, tokens_per_character] = figures.ratios();
        Self { name, figures, bytes_per_token, tokens_per_word, tokens_per_character }
    }

    fn of(groups: &'a BTreeMap<String, Figures>) -> Vec<Self> {
        groups.iter().map(|(name, figures)| Self::new(name, figures)).collect()
    }
}

/// Writes the report. The items are the tokenizer and the counts of all shards.
fn report((rare_below, groups): &(u64, Groups), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [tokenizer, shards @ ..] = inputs.items() else {
        return Err(Error::Panic { message: "the tokenizer is missing".into() });
    };
    let tokenizer = Tokenizer::of_item(tokenizer)?;
    let mut counts = vec![0_u64; tokenizer.vocabulary_size() as usize];
    for entry in shards.iter().flat_map(|item| item.entries()) {
        let bytes = entry.bytes()?;
        let more = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        share.check_stop()?;
    }
    let mut all = Figures::default();
    groups.languages.values().for_each(|figures| all.add(figures));
    // Ids without a token are gaps, not unused.
    let ids = || (0_u32..).zip(&counts).filter(|(id, _)| !tokenizer.token_bytes(*id).is_empty());
    let rare = ids().filter(|(_, count)| (1..*rare_below).contains(*count)).count() as u64;
    let never: Vec<u32> = ids().filter(|(_, count)| **count == 0).map(|(id, _)| id).collect();
    let first: Vec<String> = never.iter().take(NEVER_USED_SHOWN).map(|id| tokenizer.decode(&[*id])).collect();
    let json = serde_json::json!({
        "version": VERSION,
        "vocabulary_size": tokenizer.vocabulary_size(),
        "all": Row::new("all", &all),
        "languages": Row::of(&groups.languages),
        "sources": Row::of(&groups.sources),
        "rare": { "below": rare_below, "tokens": rare },
        "never_used": { "tokens": never.len(), "first": first },
    });
    let mut bytes = serde_json::to_vec_pretty(&json).expect("invariant: plain data");
    bytes.push(b'\n');
    share.write("report", "report.json", &bytes)?;
    let tables = [("Language", Row::of(&groups.languages)), ("Source", Row::of(&groups.sources))];
    let mut text = format!(
        "{} tokens in the vocabulary: {rare} occur fewer than {rare_below} times, {} never.\n",
        tokenizer.vocabulary_size(),
        never.len()
    );
    for (title, mut rows) in tables {
        text += &format!(
            "\n| {title} | documents | bytes | tokens | bytes per token | tokens per word | unknown |\n"
        );
        text += "|---|---:|---:|---:|---:|---:|---:|\n";
        rows.push(Row::new("all", &all));
        for Row { name, figures, bytes_per_token, tokens_per_word, .. } in rows {
            let name = if name.is_empty() { "none" } else { name }.replace(['|', '\n', '\r'], " ");
            let Figures { documents, bytes, tokens, unknown, .. } = figures;
            text += &format!(
                "| {name} | {documents} | {bytes} | {tokens} | {bytes_per_token:.2} | {tokens_per_word:.2} | {unknown} |\n"
            );
        }
    }
    share.write("report", "report.md", text.as_bytes())?;
    let [bytes_per_token, tokens_per_word, tokens_per_character] = all.ratios();
    share.metric(Metric::new(METRICS[0], bytes_per_token, "bytes").higher_is_better());
    share.metric(Metric::new(METRICS[1], tokens_per_word, "").lower_is_better());
    share.metric(Metric::new(METRICS[2], tokens_per_character, "").lower_is_better());
    let [.., of_tokens, of_rare, of_never] = METRICS;
    share.counts([of_tokens, of_rare, of_never], [all.tokens, rare, never.len() as u64]);
    Ok(())
}

/// The tokenizer of a file.
fn tokenizer_of(entry: &LocalEntry) -> Result<Arc<Tokenizer>> {
    static LAST: Memo<Tokenizer> = Memo::new();
    LAST.get(entry, |bytes| Ok(Tokenizer::from_json(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Document;
    use crate::testing::{put_full_documents, words};
    use crate::tokenizer::TokenizerStage;
    use pipe_stage::Outcome;
    use pipe_stage::testing::Bench;

    fn run(bench: &Bench) -> Outcome {
        let document = |n: usize| Document {
            id: format!("d{n}"),
            text: if n.is_multiple_of(3) { "数据和模型。".repeat(9) } else { words(n, 60) },
            language: if n.is_multiple_of(3) { "zh".into() } else { "en".into() },
            source: format!("s{}", n % 2),
            ..Document::default()
        };
        let all: Vec<Document> = (0..12).map(document).collect();
        let documents = put_full_documents(bench, &all.chunks(5).map(<[_]>::to_vec).collect::<Vec<_>>());
        let stage = TokenizerStage { vocabulary_size: Some(500), ..TokenizerStage::default() };
        let tokenizer = bench.run(&stage, &[("documents", &documents)]).unwrap();
        let tokenizer = bench.output(&tokenizer, "tokenizer").unwrap();
        let inputs = [("documents", &documents), ("tokenizer", &tokenizer)];
        bench.run(&VocabularyReport::default(), &inputs).unwrap()
    }

    #[test]
    fn languages_and_sources_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let outcome = run(&bench);
        let files = bench.open(&bench.output(&outcome, "report").unwrap());
        let bytes = files.iter().find(|file| file.name() == "report.json").unwrap().bytes().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let languages = report["languages"].as_array().unwrap();
        assert_eq!((&languages[0]["name"], &languages[1]["name"]), (&"en".into(), &"zh".into()));
        assert_eq!((&languages[1]["documents"], &languages[1]["characters"]), (&4.into(), &216.into()));
        assert_eq!(report["sources"][1]["documents"], 6);
        assert!(report["all"]["bytes_per_token"].as_f64().unwrap() > 1.5);
        let value = |name: &str| outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value;
        // Special tokens and bytes that no text has.
        assert!(value("tokens_never_used") > 200.0 && value("tokens_never_used") < 500.0);
        assert_eq!(report["never_used"]["first"][0], "<|endoftext|>");
        assert_eq!(value("tokens"), report["all"]["tokens"].as_f64().unwrap());
    }

    #[test]
    fn reports_are_stable_whatever_the_threads() {
        let digest = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            run(&bench).outputs["report"].to_string()[..16].to_owned()
        };
        assert_eq!(digest(1), "86e1424cc41e6160");
        assert_eq!(digest(3), digest(1));
    }
}
