//! The stage `export`: a model's folder with a card that says what it is and what it was made of.

use crate::evaluation::Scores;
use crate::huggingface::{Config, ModelFiles, Purpose, no_stock_class};
use crate::known::KnownModel;
use crate::reported::{Reported, names};
use crate::transformer::{Form, Placement};
use crate::{METRICS, MODEL};
use pipe_data::DOCUMENTS;
use pipe_data::documents::{Column, DocumentReader};
use pipe_data::remove::Removal;
use pipe_stage::{
    Code, Context, Error, FILES, In, InputItem, Inputs, KnownInputs, Misfit, Out, Port, Result, Share, Stage,
    WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Exports a model as a folder that stock Hugging Face libraries load, with a model card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// Title of the model card, one line.
    pub name: String,
    /// A paragraph for the card: what the model is for.
    pub description: String,
    /// Licence of the weights as an SPDX expression, such as `MIT OR Apache-2.0`. By default the card states none.
    pub license: String,
}

impl Default for Export {
    fn default() -> Self {
        Self { name: "model".into(), description: String::new(), license: String::new() }
    }
}

const MODEL_IN: In = In::new("model", &MODEL, "The model to export.");
const SCORES: In = In::new("scores", &METRICS, "Evaluations whose metrics the card lists.").optional().many();
const DATA: In =
    In::new("documents", &DOCUMENTS, "Documents that the card counts, under the labels of the map.")
        .optional()
        .many();
const REMOVALS: In = In::new(
    "removals",
    &FILES,
    "Outputs `report` of stages of type `remove`: the card says how many documents were taken down, by which lists.",
)
.optional()
.many();
const PARAMETERS: Reported = Reported::new("parameters", "");
const MODEL_OUT: Out = Out::main("model", &MODEL, "The model folder, with README.md.");

impl Stage for Export {
    const NAME: &'static str = "export";
    /// History: 1, the first. 2, a choice of licences is a list.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] =
        &[MODEL_IN.port(), SCORES.port(), DATA.port(), REMOVALS.port(), MODEL_OUT.port()];

    fn check(&self) -> Vec<Misfit> {
        let is_line = |text: &str| !text.is_empty() && !text.contains(['\n', '\r']);
        let is_spdx = self.license.chars().all(|c| c.is_ascii_alphanumeric() || " .-+()".contains(c));
        let faults = [
            Misfit::unless(is_line(&self.name), "name", "must be one line"),
            Misfit::unless(is_spdx, "license", "is not an SPDX expression"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let fault = KnownModel::of(inputs, MODEL_IN).and_then(|model| no_stock_class(&model.architecture));
        fault.map(|(message, help)| Misfit::new("", message).help(help)).into_iter().collect()
    }

    /// Bytes of the weights, which are read and written.
    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        Some(KnownModel::of(&inputs.known, MODEL_IN)?.architecture.weight_bytes())
    }

    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        Some(KnownModel::of(&inputs.known, MODEL_IN)?.architecture.inference_bytes(0))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(names([&[PARAMETERS][..]]))
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let mut sources = Vec::new();
        let mut items = vec![ctx.input(MODEL_IN).item("model")];
        let digest = ctx.input(MODEL_IN).digest();
        sources.push(Source {
            port: MODEL_IN.name().into(),
            label: String::new(),
            digest: digest.to_string(),
        });
        for port in [SCORES, DATA, REMOVALS] {
            for (number, input) in ctx.many(port).iter().enumerate() {
                items.push(input.artifact.item(&format!("{}/{number}", port.name())));
                let label = input.label.clone();
                sources.push(Source { port: port.name().into(), label, digest: input.digest.to_string() });
            }
        }
        let made = ctx.once("card", &Params { config: self.clone(), sources }, items, export)?;
        ctx.output(MODEL_OUT, made.entries("model"))
    }
}

/// The config, and where each input came from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Params {
    config: Export,
    sources: Vec<Source>,
}

/// An input: the port, its label where the port takes several, and the digest of the artifact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Source {
    port: String,
    label: String,
    digest: String,
}

fn export(params: &Params, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let model = inputs.named("model").expect("invariant: `run` gives this item");
    // Read whole, so that nothing is exported that would not load.
    let files = ModelFiles::from_entries(model.entries())?;
    files.open_tokenizer()?;
    files.config.stock_class()?;
    for entry in model.entries().iter().filter(|entry| entry.name() != "README.md") {
        share.pass("model", entry)?;
    }
    let of_port = |port: &str| {
        let prefix = format!("{port}/");
        inputs.items().iter().filter(move |item| item.name().starts_with(&prefix))
    };
    let mut card = Card { config: &params.config, text: String::new() };
    card.head(&files.config);
    card.data(&counts(of_port(DATA.name()), &params.sources)?);
    card.removals(&removals(of_port(REMOVALS.name()))?);
    for scores in of_port(SCORES.name()) {
        let entry = scores.entry("scores.json").map(|entry| entry.bytes()).transpose()?;
        let Some(bytes) = entry else { continue };
        let scores: Scores = serde_json::from_slice(&bytes)
            .map_err(|error| Error::input(format!("scores.json cannot be read: {error}")))?;
        card.figures(&scores);
    }
    card.origins(&params.sources);
    share.write("model", "README.md", card.text.as_bytes())?;
    share.metric(PARAMETERS.metric(files.config.architecture.parameters() as f64));
    Ok(())
}

/// What a set of documents holds.
#[derive(Debug, Clone, PartialEq, Default)]
struct Counts {
    label: String,
    documents: u64,
    bytes: u64,
    by_source: BTreeMap<String, u64>,
    by_license: BTreeMap<String, u64>,
}

fn counts<'a>(items: impl Iterator<Item = &'a InputItem>, sources: &[Source]) -> Result<Vec<Counts>> {
    let labels =
        sources.iter().filter(|source| source.port == DATA.name()).map(|source| source.label.clone());
    let count = |(item, label): (&InputItem, String)| {
        let mut counts = Counts { label, ..Counts::default() };
        for entry in item.entries() {
            let columns = [Column::Text, Column::Source, Column::License];
            for row in DocumentReader::of_entry(entry)?.columns(&columns).rows()? {
                let document = row?.document;
                counts.documents += 1;
                counts.bytes += document.text.len() as u64;
                *counts.by_source.entry(document.source).or_default() += 1;
                *counts.by_license.entry(document.license).or_default() += 1;
            }
        }
        Ok(counts)
    };
    items.zip(labels).map(count).collect()
}

/// Reads the reports of stages of type `remove`.
fn removals<'a>(items: impl Iterator<Item = &'a InputItem>) -> Result<Vec<Removal>> {
    let mut all = Vec::new();
    for file in items.flat_map(InputItem::entries) {
        let lines = Removal::read(file).map_err(|error| {
            Error::input(format!("`needs.removals`: `{}` is no report of removals: {error}", file.name()))
                .help("name the output `report` of a stage of type `remove`: `removals: wanted.report`")
        })?;
        all.extend(lines);
    }
    Ok(all)
}

/// The model card, section by section.
struct Card<'a> {
    config: &'a Export,
    text: String,
}

impl Card<'_> {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn head(&mut self, model: &Config) {
        let task = match model.purpose {
            Purpose::Language => "text-generation",
            Purpose::Classification(_) => "text-classification",
        };
        let license = license_field(&self.config.license);
        let front = format!("---\nlibrary_name: transformers\npipeline_tag: {task}\n{license}---\n");
        self.line(front);
        self.line(format!("# {}\n", self.config.name));
        if !self.config.description.is_empty() {
            self.line(format!("{}\n", self.config.description));
        }
        let shape = &model.architecture;
        self.line("## Model\n");
        let form = match shape.form {
            Form::Llama => "of Llama form",
            Form::Gpt2 => "of GPT-2 form",
        };
        let placement = match shape.norm {
            Placement::Pre => "",
            Placement::Post => ", norms after the residual sums",
        };
        self.line(format!(
            "A transformer {form} with {} parameters: {} layers of width {}, {} query and {} key heads of \
             {} features, feed-forward width {}, vocabulary {}, context {}{placement}, {} head, f32.",
            shape.parameters(),
            shape.layers,
            shape.features,
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            shape.feed_forward,
            shape.vocabulary,
            shape.context,
            if shape.tied { "tied" } else { "separate" },
        ));
        if let Purpose::Classification(labels) = &model.purpose {
            self.line(format!("\nIt tells {} labels apart: {}.", labels.len(), labels.join(", ")));
        }
    }

    fn data(&mut self, sets: &[Counts]) {
        if sets.is_empty() {
            return;
        }
        self.line(
            "\n## Data\n\n| set | documents | bytes of text | sources | licences |\n|---|---:|---:|---|---|",
        );
        let list = |counts: &BTreeMap<String, u64>| {
            let named = counts.iter().map(|(name, n)| (if name.is_empty() { "unknown" } else { name }, n));
            named.map(|(name, n)| format!("{} ({n})", cell(name))).collect::<Vec<_>>().join(", ")
        };
        for (number, set) in sets.iter().enumerate() {
            let label = if set.label.is_empty() { (number + 1).to_string() } else { set.label.clone() };
            let (sources, licenses) = (list(&set.by_source), list(&set.by_license));
            let (documents, bytes) = (set.documents, set.bytes);
            self.line(format!("| {} | {documents} | {bytes} | {sources} | {licenses} |", cell(&label)));
        }
    }

    /// What was taken down: lists by digest, since their entries are what nobody is to find.
    fn removals(&mut self, lists: &[Removal]) {
        if lists.is_empty() {
            return;
        }
        self.line(
            "\n## Removed documents\n\nDocuments on these lists were taken out of the data before anything was made of it.\n\n\
             | list | by | entries | documents removed | digest of the list (BLAKE3) |\n|---|---|---:|---:|---|",
        );
        for Removal { by, list, digest, entries, unmatched, documents } in lists {
            let by = by.name();
            let without =
                if *unmatched > 0 { format!(" ({unmatched} without a document)") } else { String::new() };
            self.line(format!("| {} | {by} | {entries}{without} | {documents} | `{digest}` |", cell(list)));
        }
    }

    fn figures(&mut self, scores: &Scores) {
        let table = scores.to_markdown();
        self.line(
            "\n## Figures\n\nOn held-out documents. Perplexity compares models of one vocabulary only.\n",
        );
        self.text.push_str(&table);
    }

    fn origins(&mut self, sources: &[Source]) {
        self.line("\n## Made from\n\n| input | digest of the artifact (BLAKE3) |\n|---|---|");
        for Source { port, label, digest } in sources {
            let mut name = port.clone();
            if !label.is_empty() {
                write!(name, ".{}", cell(label)).expect("invariant: writing to a string");
            }
            self.line(format!("| {name} | `{digest}` |"));
        }
    }
}

/// The card's licence, in the hub's words: identifiers of its own list are the lower case of SPDX's, a choice is a
/// list of them, and any other expression is `other` with a name.
fn license_field(expression: &str) -> String {
    let choices: Vec<&str> = expression.split(" OR ").map(str::trim).collect();
    let is_plain = |choice: &&str| !choice.is_empty() && !choice.contains([' ', '(', ')']);
    match &choices[..] {
        [""] => String::new(),
        [one] if is_plain(one) => format!("license: \"{}\"\n", one.to_ascii_lowercase()),
        _ if choices.iter().all(is_plain) => {
            let items = choices.iter().map(|choice| format!("- \"{}\"\n", choice.to_ascii_lowercase()));
            "license:\n".to_owned() + &items.collect::<String>()
        }
        _ => format!("license: other\nlicense_name: \"{expression}\"\n"),
    }
}

/// Text that cannot break out of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_data::remove::By;
    use pipe_stage::Digest;

    #[test]
    fn cards_name_lists_of_removals_by_digest() {
        let config = Export::default();
        let mut card = Card { config: &config, text: String::new() };
        card.removals(&[]);
        assert_eq!(card.text, "");
        let digest = Digest::of(b"https://example.org/page\n");
        let list =
            Removal { by: By::Url, list: "a|b.txt".into(), digest, entries: 3, unmatched: 1, documents: 2 };
        card.removals(&[Removal { unmatched: 0, by: By::Host, ..list.clone() }, list]);
        let row = format!("| a\\|b.txt | url | 3 (1 without a document) | 2 | `{digest}` |\n");
        assert!(card.text.ends_with(&row), "{}", card.text);
        assert!(card.text.contains("| host | 3 | 2 |"), "{}", card.text);
    }

    #[test]
    fn licences_are_in_the_words_of_the_hub() {
        assert_eq!(license_field(""), "");
        assert_eq!(license_field("CC-BY-4.0"), "license: \"cc-by-4.0\"\n");
        assert_eq!(license_field("MIT OR Apache-2.0"), "license:\n- \"mit\"\n- \"apache-2.0\"\n");
        let both = "MIT AND (CC0-1.0 OR ISC)";
        assert_eq!(license_field(both), format!("license: other\nlicense_name: \"{both}\"\n"));
    }
}
