//! A custom stage: the most frequent words of some text files.
//!
//! ```sh
//! cargo run --release --no-default-features --example own_stage -- run examples/own_stage.yaml
//! cargo run --release --no-default-features --example own_stage -- stages frequent-words
//! ```
//!
//! Change a file below `docs/` and run it again: `count` runs one task, for the changed file, then `merge` runs. If
//! the table is the same as before, the stage `longest`, which reads it, does not run.

use pipe::{command::Command, stage_type::StageType};
use pipe_stage::{
    Context, Error, Inputs, Item, Kind, Links, Misfit, Out, Places, Port, Result, Share, SourceRequest, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Write, process::ExitCode};

/// The table of stage types. Besides it, a program only needs `main`.
static STAGES: [StageType; 2] = [StageType::of::<FrequentWords>(), StageType::with_own_ports::<Command>()];

fn main() -> ExitCode {
    pipe::cli::main(&STAGES)
}

/// Lists the most frequent words of text files.
///
/// Words are runs of letters, in lower case.
// `pipe stages frequent-words` prints this comment and those of the fields.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct FrequentWords {
    /// Folder with the files, relative to the project root.
    folder: String,
    /// Globs of files in it.
    files: Vec<String>,
    /// Maximum number of words to list.
    words_max: usize,
    /// Minimum number of letters of a word.
    letters_min: usize,
}

impl Default for FrequentWords {
    fn default() -> Self {
        Self { folder: ".".to_owned(), files: vec!["**/*.txt".to_owned()], words_max: 20, letters_min: 4 }
    }
}

/// How often each word occurs.
type Counts = BTreeMap<String, u64>;

static WORDS: Kind = Kind::files("words", "Words and their counts: words.tsv.");

const TABLE: Out = Out::main("table", &WORDS, "The most frequent words, most frequent first.");

impl Stage for FrequentWords {
    const NAME: &'static str = "frequent-words";
    /// History: 1: initial version. Raised whenever the table may differ.
    const REVISION: u32 = 1;
    const PORTS: &'static [Port] = &[TABLE.port()];

    fn check(&self) -> Vec<Misfit> {
        let faults = [
            Misfit::unless(!self.files.is_empty(), "files", "must name at least one glob"),
            Misfit::unless(self.words_max > 0, "words_max", "must be above 0"),
        ];
        faults.into_iter().flatten().collect()
    }

    /// Names the files; the engine lists, watches and hashes them, so that changes are detected.
    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        Ok(vec![SourceRequest {
            source: "text".to_owned(),
            root: places.project.join(&self.folder),
            include: self.files.clone(),
            exclude: Vec::new(),
            links: Links::EveryName,
            field: "files".to_owned(),
            help: Some("globs are relative to `folder`".to_owned()),
            pin: None,
        }])
    }

    /// The recipe. Each file is one task, which can run on any core and is kept when the run is killed.
    fn run(&self, ctx: &Context) -> Result<()> {
        let files = ctx.sources().iter().map(|file| Item::of_sources(&file.name, [file.clone()])).collect();
        let counted = ctx.each("count", &self.letters_min, files, count)?;
        let counts =
            counted.entries("counts").into_iter().map(|entry| Item::new(&entry.name.clone(), [entry]));
        let merged = ctx.once("merge", &self.words_max, counts.collect(), merge)?;
        ctx.output(TABLE, merged.entries("table"))
    }
}

/// Counts the words of one file. It is a function, not a closure, so that everything that affects the result is an
/// argument and therefore part of the task's key.
fn count(letters_min: &usize, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let file = &inputs.item().entries()[0];
    let text = String::from_utf8(file.bytes()?).map_err(|_| {
        Error::input(format!("`{}` is not UTF-8", file.name())).help("convert it, or leave it out")
    })?;
    let counts = words(&text, *letters_min);
    share.count("words", counts.values().sum());
    share.count("files", 1);
    let json = serde_json::to_vec(&counts).expect("invariant: a map of texts is plain data");
    let mut out = share.file_with("counts", "json")?;
    out.write_all(&json).map_err(|error| Error::io("write", file.name().as_ref(), &error))?;
    share.keep(out)?;
    Ok(())
}

/// Adds up all counts.
fn merge(words_max: &usize, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut all = Counts::new();
    for item in inputs.items() {
        let counts = &item.entries()[0];
        let counts: Counts =
            serde_json::from_slice(&counts.bytes()?).map_err(|error| Error::input(error.to_string()))?;
        for (word, count) in counts {
            *all.entry(word).or_default() += count;
        }
    }
    share.count("words_distinct", all.len() as u64);
    share.write("table", "words.tsv", table(all, *words_max).as_bytes())?;
    Ok(())
}

fn words(text: &str, letters_min: usize) -> Counts {
    let mut counts = Counts::new();
    let words = text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
    for word in words.filter(|word| word.chars().count() >= letters_min) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

/// Most frequent first, then alphabetically: it depends on no hash order and no clock, so the bytes are always the same.
fn table(counts: Counts, words_max: usize) -> String {
    let mut rows: Vec<(String, u64)> = counts.into_iter().collect();
    rows.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    rows.iter().take(words_max).map(|(word, count)| format!("{count}\t{word}\n")).collect()
}
