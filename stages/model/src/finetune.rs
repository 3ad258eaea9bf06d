//! The stage `finetune`: a classifier of documents on the body of a language model.

use crate::backend::{Backend, PROBE};
use crate::huggingface::{Config, ModelFiles, Purpose, TokenizerFiles};
use crate::jsonl;
use crate::known::KnownModel;
use crate::random::{hash, mix};
use crate::reported::{Reported, names, report};
use crate::training::{
    AdamW, Build, Classification, Ending, Examples, ExamplesWriter, Folder, HISTORY_BYTES_PER_STEP, Interval,
    LOSS, LabelRule, Loop, LrSchedule, RATES, Rates, State, Validation, noted_cluster,
};
use crate::transformer::{Architecture, Classifier};
use crate::{METRICS, MODEL};
use pipe_data::documents::{Column, DocumentReader, Row, lacks_text, never_has};
use pipe_data::{DOCUMENTS, TOKENIZER, Tokenizer, examples::LABEL, windows::Texts};
use pipe_stage::{
    Code, Context, Devices, Error, Facts, In, InputItem, Inputs, KnownInputs, LocalEntry, Misfit, Out, Port,
    Probe, Result, Share, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Trains a classifier of documents, starting from a language model.
///
/// The label of a document is the one that `examples` gave it or, if `label` is set, the part of its URL that the first
/// group of `label` captures. Documents without a label, and documents of labels with fewer than
/// `min_documents_per_label` documents, are left out and counted. The head reads the hidden state at the last token of
/// a text, like the classes for sequence classification of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Finetune {
    /// Regular expression for the path of a document's URL; its first group captures the label. Leave it out for
    /// documents that `examples` has labelled.
    pub label: String,
    /// Minimum number of training documents per label, from 1; rarer labels are left out.
    pub min_documents_per_label: u64,
    /// Number of tokens that are read from the beginning of each document, from 1; at most the context length of the
    /// model. It becomes the context length of the classifier, which is not trained on longer texts.
    pub max_length: usize,
    /// Number of optimizer steps, from 1. The model sees `steps * batch_size` texts.
    pub steps: u64,
    /// Texts per batch, from 1 to 65,536.
    pub batch_size: usize,
    /// AdamW: learning rate, momentum, weight decay and gradient clipping.
    pub optimizer: AdamW,
    /// How the learning rate decreases after the warmup.
    pub schedule: LrSchedule,
    /// Steps over which the learning rate rises linearly to `optimizer.lr`.
    pub warmup_steps: u64,
    /// Fraction of the steps, from 0 to 1, in which `warmup-stable-decay` lowers the learning rate; other schedules
    /// ignore it.
    pub decay_fraction: f64,
    /// Probability of dropout, from 0 to below 1.
    pub dropout: f64,
    /// Fraction of the training documents that is held out for validation if there is no input `validation`, above 0
    /// and at most 0.5. Near duplicates stay on the same side.
    pub validation_share: f64,
    /// Validation during training, and early stopping. A validation reads all held-out texts; `eval_batches` is
    /// ignored.
    pub validation: Validation,
    /// Seed for the head's initial weights, order and dropout.
    pub seed: u64,
    /// Device to train on.
    pub backend: Backend,
    /// Steps between checkpoints, from 1. It changes no result.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_steps: u64,
    /// Longest time between checkpoints, such as `90s`, `10m` or `1h30m`; a checkpoint is saved after this time even if
    /// fewer than `checkpoint_steps` steps were taken. It changes no result.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_interval: Interval,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            label: String::new(),
            min_documents_per_label: 8,
            max_length: 128,
            steps: 200,
            batch_size: 16,
            optimizer: AdamW { lr: 5e-4, weight_decay: 0.01, ..AdamW::default() },
            schedule: LrSchedule::Cosine,
            warmup_steps: 20,
            decay_fraction: 0.2,
            dropout: 0.0,
            validation_share: 0.1,
            validation: Validation { eval_interval: 50, ..Validation::default() },
            seed: 0,
            backend: Backend::Cpu,
            checkpoint_steps: 100,
            checkpoint_interval: Interval(Duration::from_secs(600)),
        }
    }
}

const MODEL_IN: In = In::new("model", &MODEL, "The language model to start from.");
const TRAIN: In = In::new(
    "train",
    &DOCUMENTS,
    "Documents to train on: labelled by `examples`, or with labels in their URLs.",
);
const VALIDATION: In =
    In::new("validation", &DOCUMENTS, "Held-out documents; without them a part of `train` is held out.")
        .optional();
const TOKENIZER_IN: In = In::new(
    "tokenizer",
    &TOKENIZER,
    "The tokenizer of the model; any other is an error. It can be left out.",
)
.optional();
const MODEL_OUT: Out = Out::main("model", &MODEL, "The classifier with its tokenizer.");
const HISTORY: Out = Out::new(
    "history",
    &METRICS,
    "history.jsonl: loss, learning rate and gradient norm of each step, and validations.",
);

/// Of the weights that the stage gives; with validation only.
const VALIDATED: [Reported; 3] = [
    Reported::new("accuracy", "").higher_is_better(),
    Reported::new("macro_f1", "").higher_is_better(),
    Reported::new(LOSS, "").lower_is_better(),
];
const COUNTS: [Reported; 7] = [
    Reported::new("accuracy_majority", ""),
    Reported::new("labels", ""),
    Reported::new("documents_unlabelled", ""),
    Reported::new("documents_of_rare_labels", ""),
    Reported::new("texts_train", ""),
    Reported::new("texts_validation", ""),
    Reported::new("steps", ""),
];

impl Stage for Finetune {
    const NAME: &'static str = "finetune";
    /// History: 1, the first. 2, the changes of `pretrain`'s revision 3; figures are those of the weights that are kept.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PROBE: Option<&'static Probe> = Some(&PROBE);
    const PORTS: &'static [Port] = &[
        MODEL_IN.port(),
        TRAIN.port(),
        VALIDATION.port(),
        TOKENIZER_IN.port(),
        MODEL_OUT.port(),
        HISTORY.port(),
    ];

    fn check(&self) -> Vec<Misfit> {
        let own = [
            LabelRule::misfit(&self.label),
            Misfit::unless(self.min_documents_per_label > 0, "min_documents_per_label", "must be above 0"),
            Misfit::unless(self.max_length > 0, "max_length", "must be above 0"),
            Misfit::unless(
                self.validation_share > 0.0 && self.validation_share <= 0.5,
                "validation_share",
                "must be above 0 and at most 0.5",
            ),
        ];
        own.into_iter().flatten().chain(self.training().check()).collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        match KnownModel::of(inputs, MODEL_IN) {
            Some(base) if output == MODEL_OUT.name() => self.classifier_on(base).facts(),
            _ => Facts::default(),
        }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let is_classifier = KnownModel::of(inputs, MODEL_IN).is_some_and(|model| model.is_classifier);
        let fault = Misfit::unless(!is_classifier, "", "`needs.model` is a classifier, not a language model");
        let fault = fault.map(|fault| fault.help("name the stage that makes the language model"));
        let has_labels = !self.label.is_empty() || !never_has(inputs, TRAIN, LABEL);
        let message = "the documents in `needs.train` have no labels, and a classifier is trained on them";
        let unlabelled = Misfit::unless(has_labels, "label", message).map(|fault| {
            fault.help("set `label` of their stage `examples`, or set `label` here, to read labels from URLs")
        });
        fault.into_iter().chain(lacks_text(inputs, TRAIN)).chain(unlabelled).collect()
    }

    /// Floating-point operations of training on texts of `max_length` tokens.
    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        let base = KnownModel::of(&inputs.known, MODEL_IN).unwrap_or_else(KnownModel::typical);
        let architecture = self.classifier_on(base).architecture;
        let tokens = self.steps as f64 * self.batch_size as f64 * architecture.context as f64;
        Some(tokens * architecture.flops_per_token_of_blocks())
    }

    /// Bytes of the classifier and of the history.
    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        let history = HISTORY_BYTES_PER_STEP * self.steps as f64;
        let base = KnownModel::of(&inputs.known, MODEL_IN).unwrap_or_else(KnownModel::typical);
        Some(base.architecture.weight_bytes() + history)
    }

    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        let base = KnownModel::of(&inputs.known, MODEL_IN).unwrap_or_else(KnownModel::typical);
        let architecture = self.classifier_on(base).architecture;
        Some(architecture.training_bytes(self.batch_size * architecture.context))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let validated: &[Reported] = if self.validation.eval_interval > 0 { &VALIDATED } else { &[] };
        Some(names([validated, &COUNTS, &RATES]))
    }

    fn asks_for_device(&self) -> bool {
        self.backend.asks_for_device()
    }

    fn settle(&self, devices: &Devices) -> std::result::Result<Self, Misfit> {
        Ok(Self { backend: self.backend.settle(devices)?, ..self.clone() })
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let mut items = vec![ctx.input(MODEL_IN).item("model"), ctx.input(TRAIN).item("train")];
        items.extend(ctx.optional(VALIDATION).map(|documents| documents.item("validation")));
        items.extend(ctx.optional(TOKENIZER_IN).map(|tokenizer| tokenizer.item("tokenizer")));
        let params =
            Params { config: self.clone(), inputs: items.iter().map(|item| item.name.clone()).collect() };
        let trained = ctx.once("train", &params, items, finetune)?;
        ctx.output(MODEL_OUT, trained.entries("model"))?;
        ctx.output(HISTORY, trained.entries("history"))
    }
}

/// The config, and which inputs there are: names of items are not part of a key by themselves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Params {
    config: Finetune,
    inputs: Vec<String>,
}

fn finetune(params: &Params, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let config = &params.config;
    let item = |name: &str| inputs.named(name).expect("invariant: `run` gives this item");
    let base = ModelFiles::from_entries(item("model").entries())?;
    let tokenizer = base.open_tokenizer()?;
    if let Some(given) = inputs.named("tokenizer")
        && TokenizerFiles::from_entries(given.entries())?.open()?.digest() != tokenizer.digest()
    {
        return Err(Error::input("`needs.tokenizer` is not the tokenizer of the model"));
    }
    let rule = LabelRule::checked(&config.label)?;
    let (labels, without) = config.labels(&rule, item("train").entries())?;
    let scratch = share.scratch()?;
    let folder = scratch.path();
    let choice = |side| Choice { config, rule: &rule, labels: &labels, side };
    let max_length = config.max_length.min(base.config.architecture.context);
    let architecture = Architecture { context: max_length, ..base.config.architecture };
    let held_out = inputs.named("validation");
    let sets = Sets { tokenizer: &tokenizer, folder, max_length };
    let train =
        sets.examples(share, item("train"), "train", &choice(Side::of_training(held_out.is_some())))?;
    let validation = match held_out {
        Some(held_out) => sets.examples(share, held_out, "validation", &choice(Side::Whole))?,
        None => sets.examples(share, item("train"), "validation", &choice(Side::HeldOut))?,
    };
    let (counts, texts) = (validation.counts(labels.len()), (train.len(), validation.len()));
    let majority = crate::scores::majority(&train.counts(labels.len()));
    let majority = counts[majority] as f64 / validation.len().max(1) as f64;
    let pad = base
        .config
        .pad
        .or(base.config.eos.first().copied())
        .or(tokenizer.pad())
        .or(tokenizer.eos())
        .unwrap_or(0);
    let task = Classification {
        architecture,
        classes: labels.len(),
        train,
        validation,
        rows: config.batch_size,
        is_on_cpu: config.backend == Backend::Cpu,
        pad,
        seed: config.seed,
    };
    let device = config.backend.device().autodiff();
    let start = |name: &str, shape: &[usize], start| base.classifier_value(config.seed, name, shape, start);
    let build: &Build<'_, Classifier> =
        &|source| architecture.build_classifier(labels.len(), &device, source);
    let items: Vec<&InputItem> = inputs.items().iter().collect();
    let folder = Folder {
        share,
        durable: share.durable("train", params, &items)?,
        every: config.checkpoint_steps,
        interval: config.checkpoint_interval.0,
        total: config.steps,
    };
    let mut rates = Rates::default();
    let state = match folder.latest(config.steps, build, &device)? {
        Some(state) => state,
        None => State::new(build(&mut { start })?),
    };
    let recipe = config.training().recipe();
    let state = folder.train(&task, &recipe, state, config.steps, Ending::Stored, &mut rates)?;
    let finished = folder.durable;
    // Once the result is recorded, nothing can go on from these checkpoints.
    share.remove_when_recorded(finished);
    share.made_on(&state.progress.instruction_sets);

    let model = ModelFiles {
        config: Config {
            architecture,
            purpose: Purpose::Classification(labels.clone()),
            bos: base.config.bos,
            eos: base.config.eos,
            pad: Some(pad),
        },
        weights: state.result(),
        tokenizer: base.tokenizer,
    };
    for (name, bytes) in model.files()? {
        share.write("model", name, &bytes)?;
    }
    share.write("history", "history.jsonl", &jsonl::to_bytes(&state.progress.history))?;
    if let Some(validation) = state.progress.final_validation(config.validation.patience > 0) {
        report(share, &VALIDATED, VALIDATED.map(|metric| f64::from(validation[metric.name])));
    }
    let counts = [
        majority,
        labels.len() as f64,
        without.label as f64,
        without.common_label as f64,
        texts.0 as f64,
        texts.1 as f64,
        state.progress.step as f64,
    ];
    report(share, &COUNTS, counts);
    rates.report(share);
    Ok(())
}

/// Which part of some documents a set consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Whole,
    /// What is left if a part is held out.
    Training,
    HeldOut,
}

impl Side {
    /// That of the documents to train on.
    const fn of_training(has_validation: bool) -> Self {
        if has_validation { Self::Whole } else { Self::Training }
    }
}

/// Which documents become examples, and of which label.
struct Choice<'a> {
    config: &'a Finetune,
    rule: &'a LabelRule,
    labels: &'a [String],
    side: Side,
}

impl Choice<'_> {
    fn columns(&self) -> [Column; 3] {
        [Column::Id, Column::Text, self.rule.column()]
    }

    /// What becomes of a document, apart from whether it has tokens.
    fn judge(&self, row: &Row) -> Judged {
        let Some(label) = self.rule.label(&row.document) else { return Judged::Unlabelled };
        let Ok(label) = self.labels.binary_search_by(|own| own.as_str().cmp(label)) else {
            return Judged::OfRareLabel;
        };
        let cluster = row.cluster.map(|cluster| cluster.id).or_else(|| noted_cluster(&row.document));
        let cluster = cluster.unwrap_or_else(|| hash(&row.document.id));
        match self.side {
            Side::Whole => Judged::Example(label),
            Side::Training if !self.config.is_held_out(cluster) => Judged::Example(label),
            Side::HeldOut if self.config.is_held_out(cluster) => Judged::Example(label),
            Side::Training | Side::HeldOut => Judged::OfOtherSide,
        }
    }
}

/// What becomes of a document.
enum Judged {
    /// An example of the label of this number.
    Example(usize),
    Unlabelled,
    OfRareLabel,
    OfOtherSide,
}

/// What turns documents into examples.
struct Sets<'a> {
    tokenizer: &'a Tokenizer,
    folder: &'a Path,
    max_length: usize,
}

impl Sets<'_> {
    /// The chosen documents of `item`, cut to `max_length` tokens.
    fn examples(&self, share: &Share, item: &InputItem, set: &str, choice: &Choice<'_>) -> Result<Examples> {
        let path = self.folder.join(set);
        let written = |error: std::io::Error| Error::io("write", &path, &error);
        let mut writer =
            ExamplesWriter::create(&path, self.tokenizer.vocabulary_size() as usize).map_err(written)?;
        for entry in item.entries() {
            let reader = DocumentReader::of_entry(entry)?.columns(&choice.columns());
            for row in share.track("documents", reader.rows()?) {
                let row = row??;
                let Judged::Example(label) = choice.judge(&row) else { continue };
                let text = &row.document.text;
                writer.push_text(self.tokenizer, text, self.max_length, label).map_err(written)?;
            }
        }
        let examples = writer.finish().map_err(written)?;
        if examples.len() == 0 {
            let message = format!("no labelled document is left for the {set} set");
            return Err(Error::input(message).help(match (choice.side, choice.rule) {
                (Side::Training | Side::HeldOut, _) => format!(
                    "add documents, change `validation_share`, now {}, or give `needs.validation`",
                    choice.config.validation_share
                ),
                (Side::Whole, LabelRule::Given) => {
                    "need the output of an `examples` stage, or set `label`".to_owned()
                }
                (Side::Whole, LabelRule::Address(_)) => format!("see `label`, now `{}`", choice.config.label),
            }));
        }
        Ok(examples)
    }
}

/// What a fine-tuning does with a document of its input `train`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextUse {
    /// It trains on it: the number of the text, from 0, and its label.
    Trained {
        /// Number of the text among those of the training.
        text: u64,
        /// Its label.
        label: String,
    },
    /// It is held out for validation.
    HeldOut,
    /// It has no label.
    Unlabelled,
    /// Too few documents have its label.
    RareLabel,
    /// It has no tokens.
    Empty,
}

/// Documents left out of every class.
struct Without {
    /// Those whose URL the pattern does not match.
    label: u64,
    /// Those whose label has too few documents.
    common_label: u64,
}

impl Finetune {
    /// The order in which the training reads so many texts, at least one. A step reads a batch.
    pub fn order(&self, texts: u64) -> Texts {
        Texts { seed: self.seed, texts, rows: self.batch_size }
    }

    /// Calls `visit` with each document of the input `train`, the position of its shard, and what the training does with it.
    /// The documents are read twice, for the labels and for the texts. Without the tokenizer, texts without tokens are those
    /// that are empty.
    ///
    /// # Errors
    /// If documents cannot be read, or fewer than two labels have enough of them.
    pub fn each_text(
        &self,
        train: &[LocalEntry],
        has_validation: bool,
        tokenizer: Option<&Tokenizer>,
        mut visit: impl FnMut(usize, &Row, TextUse),
    ) -> Result<()> {
        let rule = LabelRule::checked(&self.label)?;
        let (labels, _) = self.labels(&rule, train)?;
        let choice =
            Choice { config: self, rule: &rule, labels: &labels, side: Side::of_training(has_validation) };
        let is_empty = |text: &str| match tokenizer {
            Some(tokenizer) => tokenizer.encode_ordinary(text).is_empty(),
            None => text.is_empty(),
        };
        let mut texts = 0;
        for (position, entry) in train.iter().enumerate() {
            for row in DocumentReader::of_entry(entry)?.columns(&choice.columns()).rows()? {
                let row = row?;
                let used = match choice.judge(&row) {
                    Judged::Unlabelled => TextUse::Unlabelled,
                    Judged::OfRareLabel => TextUse::RareLabel,
                    Judged::OfOtherSide => TextUse::HeldOut,
                    Judged::Example(_) if is_empty(&row.document.text) => TextUse::Empty,
                    Judged::Example(label) => {
                        texts += 1;
                        TextUse::Trained { text: texts - 1, label: labels[label].clone() }
                    }
                };
                visit(position, &row, used);
            }
        }
        Ok(())
    }

    /// Labels of enough training documents, in their own order.
    fn labels(&self, rule: &LabelRule, train: &[LocalEntry]) -> Result<(Vec<String>, Without)> {
        const LABELS_MAX: usize = 10_000;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let (mut unlabelled, mut example) = (0, None);
        for entry in train {
            let reader = DocumentReader::of_entry(entry)?.columns(&[Column::Id, rule.column()]);
            for row in reader.rows()? {
                let document = row?.document;
                match rule.label(&document) {
                    Some(label) => *counts.entry(label.to_owned()).or_default() += 1,
                    None => {
                        unlabelled += 1;
                        example.get_or_insert(document);
                    }
                }
                if counts.len() > LABELS_MAX {
                    let message = format!("`label` gives more than {LABELS_MAX} labels");
                    return Err(Error::input(message).help("let it give a coarser part"));
                }
            }
        }
        if counts.is_empty() && unlabelled == 0 {
            let message = "`needs.train` has no documents: the stages before it left none";
            return Err(Error::input(message).help("see how many documents they report, and what they drop"));
        }
        let rare: u64 = counts.values().filter(|&&n| n < self.min_documents_per_label).sum();
        counts.retain(|_, n| *n >= self.min_documents_per_label);
        if counts.len() < 2 {
            let found = counts.len();
            let seen = example.map(|document| match rule {
                LabelRule::Given => format!("; a document without label is `{}`", document.id),
                LabelRule::Address(_) => format!("; a URL without label is `{}`", document.url),
            });
            let seen = seen.unwrap_or_default();
            let message =
                format!("{found} labels have {} documents or more{seen}", self.min_documents_per_label);
            return Err(Error::input(message).help(match rule {
                LabelRule::Given => {
                    "need the output of an `examples` stage, or set `label`; see `min_documents_per_label` too"
                }
                LabelRule::Address(_) => {
                    "see `label` and `min_documents_per_label`; two labels are the least"
                }
            }));
        }
        Ok((counts.into_keys().collect(), Without { label: unlabelled, common_label: rare }))
    }

    /// The classifier that becomes of a language model: `max_length` is its context.
    fn classifier_on(&self, base: KnownModel) -> KnownModel {
        let context = self.max_length.min(base.architecture.context);
        KnownModel { architecture: Architecture { context, ..base.architecture }, is_classifier: true }
    }

    fn is_held_out(&self, cluster: u64) -> bool {
        // 53 random bits against the share.
        let position = (mix(mix(cluster) ^ mix(self.seed)) >> 11) as f64 / (1_u64 << 53) as f64;
        position < self.validation_share
    }

    fn training(&self) -> Loop<'_> {
        Loop {
            steps: self.steps,
            batch_size: self.batch_size,
            gradient_accumulation_steps: 1,
            optimizer: &self.optimizer,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            decay_fraction: self.decay_fraction,
            dropout: self.dropout,
            validation: &self.validation,
            seed: self.seed,
            checkpoint_steps: self.checkpoint_steps,
        }
    }
}
