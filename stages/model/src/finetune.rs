//! The stage `finetune`: a classifier of documents on the body of a language model.

use crate::backend::{Backend, PROBE};
use crate::huggingface::{Config, ModelFiles, Purpose, TokenizerFiles};
use crate::jsonl;
use crate::random::{hash, mix};
use crate::training::{
    AdamW, Build, Classification, Ending, Examples, ExamplesWriter, Folder, Interval, LOSS, LabelRule, Loop,
    LrSchedule, Rates, State, Validation, noted_cluster,
};
use crate::transformer::{Architecture, Classifier};
use crate::{METRICS, MODEL};
use pipe_data::documents::{Column, DocumentReader};
use pipe_data::{DOCUMENTS, TOKENIZER, Tokenizer};
use pipe_stage::{
    Code, Context, Devices, Error, In, InputItem, Inputs, Metric, Misfit, Out, Port, Probe, Result, Share,
    Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Trains a classifier of documents, starting from a language model.
///
/// A label is what `examples` gave a document, or, where `label` is set, what its first group captures in the path
/// of the document's URL. Documents without one, and those of labels with fewer than `min_documents_per_label` documents, are
/// left out and counted. The head reads the hidden state at a text's last token, as transformers' classes for
/// sequence classification do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Finetune {
    /// Regular expression on the path of a document's URL, whose first group captures the label; left out for
    /// labelled documents out of `examples`.
    pub label: String,
    /// Documents that a label must have in the training set.
    pub min_documents_per_label: u64,
    /// Tokens read from the head of each document; no more than the model's context. It becomes the
    /// classifier's context, so that nobody gives it longer texts than it has learned from.
    pub max_length: usize,
    /// Optimizer steps. Texts seen are `steps * batch_size`.
    pub steps: u64,
    /// Texts of a batch.
    pub batch_size: usize,
    /// AdamW, its rate and clipping.
    pub optimizer: AdamW,
    /// How the learning rate falls after warmup.
    pub schedule: LrSchedule,
    /// Steps over which the learning rate rises to `optimizer.lr`.
    pub warmup_steps: u64,
    /// Fraction of the steps over which the learning rate of `warmup-stable-decay` falls.
    pub decay_fraction: f64,
    /// Probability of dropping an activation, from 0 to below 1.
    pub dropout: f64,
    /// Share of the near-duplicate clusters held out, where no `validation` input is given.
    pub validation_share: f64,
    /// Figures on the held-out set during training, and early stopping; `eval_batches` plays no part.
    pub validation: Validation,
    /// Decides the head's initial weights, order and dropout.
    pub seed: u64,
    /// Device to train on.
    pub backend: Backend,
    /// Steps from one checkpoint to the next.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_steps: u64,
    /// Time after which a checkpoint is stored even between these steps, such as `90s`, `10m` or `1h30m`.
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
    "Documents to learn from: examples with labels, or documents with labels in their URLs.",
);
const VALIDATION: In =
    In::new("validation", &DOCUMENTS, "Held-out documents; without them a share of `train` is held out.")
        .optional();
const TOKENIZER_IN: In = In::new("tokenizer", &TOKENIZER, "Must be the model's own, if given.").optional();
const MODEL_OUT: Out = Out::main("model", &MODEL, "The classifier with its tokenizer.");
const HISTORY: Out = Out::new("history", &METRICS, "Loss, learning rate and held-out figures by step.");

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
                "must lie above 0 and up to 0.5",
            ),
        ];
        own.into_iter().flatten().chain(self.training().check()).collect()
    }

    /// Tokens at most; the model's size is not known before it is trained.
    fn work(&self, _inputs: &WorkInputs) -> Option<f64> {
        Some(self.steps as f64 * self.batch_size as f64 * self.max_length as f64)
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

/// The config, and which inputs there are: names of items do not stand in a key by themselves.
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
    let (labels, without) = config.labels(&rule, item("train"))?;
    let scratch = share.scratch()?;
    let sets = Sets { config, rule: &rule, tokenizer: &tokenizer, labels: &labels, folder: scratch.path() };
    let max_length = config.max_length.min(base.config.architecture.context);
    let architecture = Architecture { context: max_length, ..base.config.architecture };
    let (train, validation) = match inputs.named("validation") {
        Some(held_out) => {
            let keep_all = |_: u64| true;
            (
                sets.examples(share, item("train"), "train", max_length, keep_all)?,
                sets.examples(share, held_out, "validation", max_length, keep_all)?,
            )
        }
        None => {
            let is_held_out = |cluster| config.is_held_out(cluster);
            (
                sets.examples(share, item("train"), "train", max_length, |cluster| !is_held_out(cluster))?,
                sets.examples(share, item("train"), "validation", max_length, is_held_out)?,
            )
        }
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
        for (name, better) in [("accuracy", true), ("macro_f1", true), (LOSS, false)] {
            let metric = Metric::new(name, f64::from(validation[name]), "");
            share.metric(if better { metric.higher_is_better() } else { metric.lower_is_better() });
        }
    }
    share.metric(Metric::new("accuracy_majority", majority, ""));
    share.count("labels", labels.len() as u64);
    share.count("documents_unlabelled", without.label);
    share.count("documents_of_rare_labels", without.common_label);
    share.count("texts_train", texts.0 as u64);
    share.count("texts_validation", texts.1 as u64);
    share.count("steps", state.progress.step);
    rates.report(share);
    Ok(())
}

/// What turns documents into examples.
struct Sets<'a> {
    config: &'a Finetune,
    rule: &'a LabelRule,
    tokenizer: &'a Tokenizer,
    labels: &'a [String],
    folder: &'a Path,
}

impl Sets<'_> {
    /// The labelled documents of `item` whose cluster is wanted, cut to `max_length` tokens.
    fn examples(
        &self,
        share: &Share,
        item: &InputItem,
        set: &str,
        max_length: usize,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Result<Examples> {
        let path = self.folder.join(set);
        let written = |error: std::io::Error| Error::io("write", &path, &error);
        let mut writer =
            ExamplesWriter::create(&path, self.tokenizer.vocabulary_size() as usize).map_err(written)?;
        for entry in item.entries() {
            let columns = [Column::Id, Column::Text, self.rule.column()];
            let reader = DocumentReader::of_entry(entry)?.columns(&columns);
            for row in share.track("documents", reader.rows()?) {
                let row = row??;
                let cluster = row.cluster.map(|cluster| cluster.id).or_else(|| noted_cluster(&row.document));
                let cluster = cluster.unwrap_or_else(|| hash(&row.document.id));
                let label = self.rule.label(&row.document);
                let label =
                    label.and_then(|label| self.labels.binary_search_by(|l| l.as_str().cmp(label)).ok());
                let Some(label) = label.filter(|_| is_wanted(cluster)) else { continue };
                writer.push_text(self.tokenizer, &row.document.text, max_length, label).map_err(written)?;
            }
        }
        let examples = writer.finish().map_err(written)?;
        if examples.len() == 0 {
            let message = format!("no labelled document is left for the {set} set");
            return Err(Error::input(message).help(match self.rule {
                LabelRule::Given => "give documents out of `examples`, or set `label`".to_owned(),
                LabelRule::Address(_) => format!("see `label`, now `{}`", self.config.label),
            }));
        }
        Ok(examples)
    }
}

/// Documents left out of every class.
struct Without {
    /// Those whose URL the pattern does not match.
    label: u64,
    /// Those whose label has too few documents.
    common_label: u64,
}

impl Finetune {
    /// Labels of enough training documents, in their own order.
    fn labels(&self, rule: &LabelRule, train: &InputItem) -> Result<(Vec<String>, Without)> {
        const LABELS_MAX: usize = 10_000;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let (mut unlabelled, mut example) = (0, None);
        for entry in train.entries() {
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
                    "give documents out of `examples`, or set `label`; see `min_documents_per_label` too"
                }
                LabelRule::Address(_) => {
                    "see `label` and `min_documents_per_label`; two labels are the least"
                }
            }));
        }
        Ok((counts.into_keys().collect(), Without { label: unlabelled, common_label: rare }))
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
