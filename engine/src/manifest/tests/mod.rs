//! Manifest text in, typed manifest or rendered errors out.

mod faults;

mod good;

mod hostile;

use crate::manifest::{
    Manifest, Report, World, load,
    stage_type::{OwnPorts, StageType},
};
use pipe_stage::{Code, Context, In, Kind, Misfit, Out, Port, Result, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::Path};

static DOCUMENTS: Kind = Kind::files("documents", "Texts.");
static TOKENS: Kind = Kind::files("tokens", "Numbers.");
static TOKENIZER: Kind = Kind::files("tokenizer", "What turns the one into the other.");
static MODEL: Kind = Kind::files("model", "Weights.");

/// Reads pages.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Ingest {
    /// Where from.
    sources: Vec<Source>,
    /// Reported and dropped.
    errors_max: u32,
}

/// Where pages come from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Source {
    /// The toolchain's documentation.
    RustDocs(Vec<String>),
    /// Files.
    Glob {
        /// As in the shell.
        pattern: String,
    },
}

/// Removes near-duplicates.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Dedup {
    /// Jaccard similarity from which two texts are one.
    threshold: f32,
}

/// Divides documents.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Split {
    /// Between other units.
    offsets: Vec<i32>,
}

/// Makes a vocabulary.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Vocabulary {}

/// Turns texts into numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Tokenize {}

/// Trains a model from nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Pretrain {
    /// Which model to start from.
    preset: Preset,
    /// Optimizer steps.
    steps: u32,
    languages: Vec<String>,
    optimizer: Optimizer,
    samples: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Preset {
    GptTiny,
    GptSmall,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Optimizer {
    /// Peak learning rate.
    lr: f64,
    /// Steps until it is reached.
    warmup_steps: u32,
}

/// Compares two lists.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Compare {}

/// Runs a script.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Script {
    run: String,
    outputs: BTreeMap<String, String>,
}

impl Default for Pretrain {
    fn default() -> Self {
        let optimizer = Optimizer::default();
        Self { preset: Preset::GptSmall, steps: 1000, languages: vec![], optimizer, samples: false }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { lr: 3e-4, warmup_steps: 100 }
    }
}

/// Implements [`Stage`] for a type that is never run.
macro_rules! stage {
    ($type:ty, $name:literal, [$($port:expr),*], $check:expr) => {
        impl Stage for $type {
            const NAME: &'static str = $name;
            const REVISION: u32 = 1;
            const CODE: Code = Code::Revision;
            const PORTS: &'static [Port] = &[$($port.port()),*];

            fn check(&self) -> Vec<Misfit> {
                let check: fn(&Self) -> Vec<Misfit> = $check;
                check(self)
            }

            fn run(&self, _: &Context) -> Result<()> {
                Ok(())
            }
        }
    };
}

stage!(Ingest, "ingest", [Out::main("documents", &DOCUMENTS, "Pages.")], |_| vec![]);
stage!(
    Dedup,
    "dedup",
    [
        In::new("documents", &DOCUMENTS, "All."),
        Out::main("unique", &DOCUMENTS, "The best of each."),
        Out::new("pairs", &TOKENS, "Who fell to whom.")
    ],
    |_| vec![]
);
stage!(
    Split,
    "split",
    [
        In::new("documents", &DOCUMENTS, "All.").many(),
        Out::new("train", &DOCUMENTS, "Most."),
        Out::new("validation", &DOCUMENTS, "Some.")
    ],
    |_| vec![]
);
stage!(
    Vocabulary,
    "tokenizer",
    [In::new("documents", &DOCUMENTS, "Texts."), Out::main("tokenizer", &TOKENIZER, "Pieces.")],
    |_| vec![]
);
stage!(
    Tokenize,
    "tokenize",
    [
        In::new("documents", &DOCUMENTS, "Texts."),
        In::new("tokenizer", &TOKENIZER, "Pieces."),
        Out::main("tokens", &TOKENS, "Numbers.")
    ],
    |_| vec![]
);
stage!(
    Pretrain,
    "pretrain",
    [
        In::new("train", &TOKENS, "To learn from."),
        In::new("validation", &TOKENS, "To be judged by.").optional(),
        In::new("tokenizer", &TOKENIZER, "For samples."),
        Out::main("model", &MODEL, "Weights.")
    ],
    |config| {
        let lr = config.optimizer.lr > 0.0 && config.optimizer.lr <= 1.0;
        let warmup = config.optimizer.warmup_steps <= config.steps;
        let longer = format!("longer than the run of {} steps", config.steps);
        let misfits = [
            Misfit::unless(lr, "optimizer.lr", "must be above 0 and at most 1"),
            Misfit::unless(warmup, "optimizer.warmup_steps", longer)
                .map(|fault| fault.help("train for longer")),
        ];
        misfits.into_iter().flatten().collect()
    }
);
stage!(
    Compare,
    "compare",
    [
        In::new("first", &TOKENS, "One."),
        In::new("second", &TOKENS, "The other."),
        Out::main("model", &MODEL, "Weights.")
    ],
    |_| vec![]
);
stage!(Script, "script", [], |_| vec![]);

impl OwnPorts for Script {
    fn outputs(&self) -> Vec<(String, String)> {
        self.outputs.clone().into_iter().collect()
    }
}

fn types() -> Vec<StageType> {
    vec![
        StageType::of::<Ingest>(),
        StageType::of::<Dedup>(),
        StageType::of::<Split>(),
        StageType::of::<Vocabulary>(),
        StageType::of::<Tokenize>(),
        StageType::of::<Pretrain>(),
        StageType::of::<Compare>(),
        StageType::with_own_ports::<Script>(),
    ]
}

/// Loads `main.yaml` from files in memory; the environment contains `RATE=fast`, `EMPTY=` and `TOKEN=secret`.
fn load_files(files: &[(&str, &[u8])], sets: &[&str]) -> std::result::Result<Manifest, Box<Report>> {
    let file = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or(io::Error::from(io::ErrorKind::NotFound))
    };
    let variable = |name: &str| match name {
        "RATE" => Some("fast".to_owned()),
        "EMPTY" => Some(String::new()),
        "TOKEN" => Some("secret".to_owned()),
        _ => None,
    };
    load("main.yaml", sets, &World { file: &file, variable: &variable }, &types())
}

fn load_one(text: &str, sets: &[&str]) -> std::result::Result<Manifest, Box<Report>> {
    load_files(&[("main.yaml", text.as_bytes())], sets)
}

fn right(text: &str, sets: &[&str]) -> Manifest {
    load_one(text, sets).unwrap_or_else(|report| panic!("{report}"))
}

impl Report {
    /// Renders all errors as text, each with its places. How a terminal draws them is not the engine's business.
    fn rendered(&self) -> String {
        let handler = miette::NarratableReportHandler::new().with_context_lines(0);
        let mut text = String::new();
        for fault in self.diagnostics() {
            handler.render_report(&mut text, &fault).expect("a String takes all that is written");
            text.push('\n');
        }
        text + &self.summary() + "\n"
    }
}

/// Renders the errors of a manifest, or says that there are none.
fn told(text: &str, sets: &[&str]) -> String {
    load_one(text, sets).map_or_else(|report| report.rendered(), |_| "no fault".into())
}

fn codes(result: std::result::Result<Manifest, Box<Report>>) -> Vec<String> {
    let name = |code: String| code.trim_start_matches("pipe::manifest::").to_owned();
    let report = result.err();
    let faults = report.iter().flat_map(|report| report.faults());
    faults.map(|fault| name(fault.code.to_string())).collect()
}

const GOOD: &str = "\
pipeline: gpt-small
vars: { rate: 1e-3, all: [en, de], near: 0.8 }
stages:
  pages:
    uses: ingest
    with:
      sources:
        - rust-docs: [book, std]
        - glob: { pattern: 'more/*.html' }
  unique: { uses: dedup, needs: pages, with: &near { threshold: ${vars.near} } }
  again: { uses: dedup, needs: unique, with: { <<: *near } }
  sets: { uses: split, needs: again }
  vocabulary: { uses: tokenizer, needs: sets.train }
  tokens: { uses: tokenize, needs: [sets.train, vocabulary] }
  held: { uses: tokenize, needs: { documents: sets.validation, tokenizer: vocabulary } }
  base:
    uses: pretrain
    needs: { train: tokens, validation: held, tokenizer: vocabulary }
    with: { languages: ${vars.all}, optimizer: { lr: ${vars.rate} } }
    resources: { cpus: 2, memory: 16GiB, time: 1h30m }
    retry: 2
  plot:
    uses: script
    needs: { table: base, others: { a: tokens, b: held } }
    with: { run: python3 plot.py, outputs: { figure: files, words: documents } }
  more: { uses: dedup, needs: plot.words }
";
