//! The stage `eval`: metrics of language models and classifiers on held-out documents.

mod ngram;
mod windows;

use crate::backend::{Backend, PROBE};
use crate::generate::{self, continuation};
use crate::huggingface::{ModelFiles, Purpose};
use crate::jsonl;
use crate::kernels::loss::IGNORE;
use crate::known::KnownModel;
use crate::random;
use crate::reported::Reported;
use crate::scores::{Confusion, Surprise, majority};
use crate::training::{ExamplesWriter, LabelRule, flat_stream};
use crate::transformer::{CausalLm, Ids};
use crate::{METRICS, MODEL};
use ngram::{Counting, TABLE_TRIGRAMS, predictions};
use pipe_data::documents::{Column, Document, DocumentReader, lacks_text};
use pipe_data::tokens::TokensReader;
use pipe_data::{DOCUMENTS, TOKENS, Tokenizer};
use pipe_stage::{
    Code, Context, Devices, Error, FILES, In, InputItem, Inputs, KnownInputs, Metric, Misfit, Out, Port,
    Probe, Result, Share, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use windows::{Window, disjoint_windows, sliding_windows};

/// Scores models on held-out documents.
///
/// For a language model it reports perplexity, bits per byte and bits per character. Each is reported twice: by sliding
/// windows, in which each token has at least `context_length - stride` tokens before it, and by windows that do not
/// overlap, as many scripts compute it. Perplexity depends on the vocabulary: compare models with different tokenizers
/// in bits per byte. If `tokens` is connected, a 3-gram model of these tokens (interpolated, with modified Kneser-Ney
/// smoothing) is the baseline of every model with the same tokenizer; it is scored on the same text. For a classifier
/// the stage reports accuracy and macro F1, and the accuracy of always answering the most common label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Eval {
    /// Bytes of text that language models are scored on, from 1 to 200,000. If the documents have more, an evenly spread
    /// sample of them is taken; the output `text` has the text.
    pub text_bytes_max: usize,
    /// Maximum number of tokens that the 3-gram model counts, from 1, starting with the first of `tokens`. Counting
    /// takes 256 to 512 MiB of memory and reads these tokens once per 16.8 million of them.
    pub ngram_tokens_max: u64,
    /// Tokens by which the sliding window moves, from 1; half the context length by default. A smaller stride gives each
    /// token more context and takes more time.
    pub stride: Option<usize>,
    /// For classifiers: regular expression for the path of a document's URL; its first group captures the label, as in
    /// `finetune`. Leave it out for documents that `examples` has labelled.
    pub label: String,
    /// Beginnings of texts; every language model continues each of them.
    pub prompts: Vec<String>,
    /// Maximum number of tokens written after each prompt.
    pub max_new_tokens: usize,
    /// Sampling temperature, from 0; 0 always takes the most likely token.
    pub temperature: f64,
    /// Seed for sampling.
    pub seed: u64,
    /// Sequences per batch, from 1 to 65,536. It affects speed and memory, and metrics only by rounding.
    pub batch_size: usize,
    /// Device to evaluate on.
    pub backend: Backend,
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            text_bytes_max: TEXT_BYTES_MAX,
            ngram_tokens_max: 1 << 28,
            stride: None,
            label: String::new(),
            prompts: Vec::new(),
            max_new_tokens: 64,
            temperature: 0.8,
            seed: 0,
            batch_size: 8,
            backend: Backend::Cpu,
        }
    }
}

const TEXT_BYTES_MAX: usize = 200_000;

const MODELS: In = In::new("model", &MODEL, "The language models and classifiers to score.").many();
const HELD_OUT: In = In::new("documents", &DOCUMENTS, "Held-out documents, which no model was trained on.");
const TRAIN: In =
    In::new("train", &DOCUMENTS, "Training documents: the most common label is taken from them.").optional();
const TRAIN_TOKENS: In = In::new(
    "tokens",
    &TOKENS,
    "Training tokens: a 3-gram model of them is the baseline of models with the same tokenizer.",
)
.optional();
const SCORES: Out = Out::main("scores", &METRICS, "scores.json and scores.md: all metrics of all models.");
const TEXT: Out = Out::new("text", &FILES, "text.txt: the text that language models were scored on.");
const SAMPLES: Out = Out::new("samples", &FILES, "samples.jsonl: texts that language models wrote.");

/// Of language models: by sliding windows.
const SLIDING: [Reported; 3] = [
    Reported::new("bits_per_byte", "bit/byte").lower_is_better(),
    Reported::new("bits_per_character", "bit/character").lower_is_better(),
    Reported::new("perplexity", "vocabulary of the model").lower_is_better(),
];
/// Of the 3-gram model that is the baseline of a language model.
const BASELINE: [Reported; 4] = [
    Reported::new("bits_per_byte_kneser_ney", "bit/byte"),
    Reported::new("bits_per_character_kneser_ney", "bit/character"),
    Reported::new("perplexity_kneser_ney", "vocabulary of the model"),
    Reported::new("tokens_kneser_ney", "token"),
];
/// Of language models: by windows that do not overlap, and the size of the text.
const DISJOINT: [Reported; 5] = [
    Reported::new("bits_per_byte_disjoint", "bit/byte").lower_is_better(),
    Reported::new("bits_per_character_disjoint", "bit/character").lower_is_better(),
    Reported::new("perplexity_disjoint", "vocabulary of the model").lower_is_better(),
    Reported::new("tokens", "token"),
    Reported::new("bytes", "byte"),
];
/// Of classifiers.
const CLASSIFIER: [Reported; 6] = [
    Reported::new("accuracy", "").higher_is_better(),
    Reported::new("accuracy_majority", ""),
    Reported::new("accuracy_gain", ""),
    Reported::new("macro_f1", "").higher_is_better(),
    Reported::new("loss", "nat/text"),
    Reported::new("texts", "text"),
];

impl Stage for Eval {
    const NAME: &'static str = "eval";
    /// History: 1, the first. 2, the text is of documents that lie evenly among all, no longer the head. 3, queries,
    /// keys and values are one product, gate and up another; sum and norm are one pass.
    const REVISION: u32 = 3;
    const CODE: Code = Code::Revision;
    const PROBE: Option<&'static Probe> = Some(&PROBE);
    const PORTS: &'static [Port] = &[
        MODELS.port(),
        HELD_OUT.port(),
        TRAIN.port(),
        TRAIN_TOKENS.port(),
        SCORES.port(),
        TEXT.port(),
        SAMPLES.port(),
    ];

    fn check(&self) -> Vec<Misfit> {
        let bytes = 1..=TEXT_BYTES_MAX;
        let own = [
            Misfit::unless(
                bytes.contains(&self.text_bytes_max),
                "text_bytes_max",
                "must be from 1 to 200000",
            ),
            Misfit::unless(self.ngram_tokens_max > 0, "ngram_tokens_max", "must be above 0"),
            Misfit::unless(self.stride != Some(0), "stride", "must be above 0"),
            LabelRule::misfit(&self.label),
            Misfit::unless(self.temperature >= 0.0, "temperature", "must be 0 or above"),
            Misfit::unless((1..=65_536).contains(&self.batch_size), "batch_size", "must be from 1 to 65536"),
        ];
        own.into_iter().flatten().collect()
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let models = KnownModel::all(inputs, MODELS);
        let are_classifiers =
            !models.is_empty() && models.iter().all(|model| model.is_some_and(|model| model.is_classifier));
        let has_use = !inputs.is_connected(TRAIN_TOKENS) || !are_classifiers;
        let fault = "`needs.tokens` is the baseline of language models, and every model here is a classifier";
        let fault = Misfit::unless(has_use, "", fault);
        let fault = fault.map(|fault| fault.help("remove `tokens`, or add a language model"));
        fault.into_iter().chain(lacks_text(inputs, HELD_OUT)).collect()
    }

    /// Floating-point operations: a prediction takes a third of the training on its token. Of documents for
    /// classifiers, as much as of the text for language models is taken.
    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        const BYTES_PER_TOKEN: f64 = 4.0;
        let text = self.text_bytes_max as f64 / BYTES_PER_TOKEN;
        let samples = (self.prompts.len() * self.max_new_tokens) as f64;
        let of_model = |known: Option<KnownModel>| {
            let KnownModel { architecture, is_classifier } = known.unwrap_or_else(KnownModel::typical);
            if is_classifier {
                return text * architecture.flops_per_token_of_blocks() / 3.0;
            }
            // Sliding windows meet a token several times, windows that do not overlap once.
            let passes = architecture.context as f64 / self.stride(architecture.context) as f64 + 1.0;
            (text * passes + samples) * architecture.flops_per_token() / 3.0
        };
        Some(KnownModel::all(&inputs.known, MODELS).into_iter().map(of_model).sum())
    }

    /// Scores, text and samples have about the same size for all models.
    fn output_amount(&self, _: &WorkInputs) -> Option<f64> {
        Some(1.0)
    }

    /// Bytes for the largest of the models: they are read one after the other.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        let of_model = |known: Option<KnownModel>| {
            let architecture = known.unwrap_or_else(KnownModel::typical).architecture;
            architecture.inference_bytes(self.batch_size * architecture.context)
        };
        KnownModel::all(&inputs.known, MODELS).into_iter().map(of_model).reduce(f64::max)
    }

    fn metrics(&self, inputs: &KnownInputs) -> Option<Vec<String>> {
        let models = model_names(inputs.of(MODELS).iter().map(|input| input.label.as_str()));
        let has_baseline = inputs.is_connected(TRAIN_TOKENS);
        let mut names = Vec::new();
        for (model, known) in models.iter().zip(KnownModel::all(inputs, MODELS)) {
            let mut groups: Vec<&[Reported]> = Vec::new();
            if known.is_none_or(|known| !known.is_classifier) {
                groups.extend([&SLIDING[..], &DISJOINT]);
                groups.extend(has_baseline.then_some(&BASELINE[..]));
            }
            if known.is_none_or(|known| known.is_classifier) {
                groups.push(&CLASSIFIER);
            }
            let all = groups.into_iter().flatten();
            names.extend(all.map(|reported| metric_name(&models, model, reported)));
        }
        Some(names)
    }

    fn asks_for_device(&self) -> bool {
        self.backend.asks_for_device()
    }

    fn settle(&self, devices: &Devices) -> std::result::Result<Self, Misfit> {
        Ok(Self { backend: self.backend.settle(devices)?, ..self.clone() })
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let models = ctx.many(MODELS);
        let names = model_names(models.iter().map(|model| model.label.as_str()));
        let mut items = vec![ctx.input(HELD_OUT).item("documents")];
        items.extend(ctx.optional(TRAIN).map(|documents| documents.item("train")));
        items.extend(ctx.optional(TRAIN_TOKENS).map(|tokens| tokens.item("tokens")));
        items.extend(
            models.iter().zip(&names).map(|(model, name)| model.artifact.item(&format!("model/{name}"))),
        );
        let has_train = ctx.optional(TRAIN).is_some();
        let has_tokens = ctx.optional(TRAIN_TOKENS).is_some();
        let params = Params { config: self.clone(), models: names, has_train, has_tokens };
        let scored = ctx.once("score", &params, items, score)?;
        ctx.output(SCORES, scored.entries("scores"))?;
        ctx.output(TEXT, scored.entries("text"))?;
        ctx.output(SAMPLES, scored.entries("samples"))
    }
}

/// What models are called: by their labels, else by their number where there are several.
fn model_names<'a>(labels: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
    let models = labels.len();
    let name = |(i, label): (usize, &str)| match label {
        "" if models == 1 => "model".to_owned(),
        "" => format!("model {}", i + 1),
        label => label.to_owned(),
    };
    labels.enumerate().map(name).collect()
}

/// The name of a metric of one of these models.
fn metric_name(models: &[String], model: &str, reported: &Reported) -> String {
    match models {
        [_] => reported.name.to_owned(),
        _ => format!("{model}.{}", reported.name),
    }
}

/// The config, and what the inputs are called: names of items are not part of a key by themselves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Params {
    config: Eval,
    models: Vec<String>,
    has_train: bool,
    #[serde(default)]
    has_tokens: bool,
}

/// One figure of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub(crate) model: String,
    pub(crate) name: String,
    pub(crate) value: f64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) unit: String,
}

/// A text that a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Written {
    model: String,
    prompt: String,
    text: String,
}

/// What scores.json holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    pub(crate) version: u32,
    pub(crate) scores: Vec<Score>,
}

impl Scores {
    /// A Markdown table, a row a figure.
    pub(crate) fn to_markdown(&self) -> String {
        let mut table = "| model | figure | value | unit |\n|---|---|---:|---|\n".to_owned();
        for Score { model, name, value, unit } in &self.scores {
            let value = if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.4}") };
            table += &format!("| {} | {name} | {value} | {unit} |\n", model.replace('|', "\\|"));
        }
        table
    }
}

fn score(params: &Params, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let config = &params.config;
    let documents = inputs.named("documents").expect("invariant: `run` gives this item");
    let text = sample_of_text(documents, config.text_bytes_max)?;
    let (mut scores, mut metrics, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_text_used = false;
    let mut baseline = inputs.named("tokens").map(|tokens| Baseline { config, tokens, figures: None });
    for name in &params.models {
        let item = inputs.named(&format!("model/{name}")).expect("invariant: `run` gives this item");
        let model = ModelFiles::from_entries(item.entries())?;
        let figures = match &model.config.purpose {
            Purpose::Language => {
                is_text_used = true;
                let (sliding, disjoint) =
                    config.language_figures(name, &model, &text, share, &mut samples)?;
                let baseline = match &mut baseline {
                    Some(baseline) => baseline.figures_for(&model, &text, share)?,
                    None => Vec::new(),
                };
                [sliding, baseline, disjoint].concat()
            }
            Purpose::Classification(labels) => {
                config.classifier_figures(&model, labels, documents, inputs.named("train"), share)?
            }
        };
        for (reported, value) in figures {
            let metric = reported.metric(value);
            scores.push(Score {
                model: name.clone(),
                name: metric.name.clone(),
                value,
                unit: metric.unit.clone(),
            });
            metrics.push(Metric { name: metric_name(&params.models, name, &reported), ..metric });
        }
    }
    if let Some(Baseline { figures: None, .. }) = baseline {
        let message = "no language model has the tokenizer that made `needs.tokens`";
        return Err(Error::input(message).help("give the tokens that one of them was trained on"));
    }
    metrics.into_iter().for_each(|metric| share.metric(metric));
    let scores = Scores { version: 1, scores };
    let mut json = serde_json::to_vec_pretty(&scores).expect("invariant: scores are plain data");
    json.push(b'\n');
    share.write("scores", "scores.json", &json)?;
    share.write("scores", "scores.md", scores.to_markdown().as_bytes())?;
    share.write("text", "text.txt", if is_text_used { text.as_bytes() } else { b"" })?;
    share.write("samples", "samples.jsonl", &jsonl::to_bytes(&samples))?;
    Ok(())
}

/// The documents' text, blank lines between them, up to `bytes_max`, cut between characters: all of it where
/// that suffices, else of documents that lie evenly among all. (The head alone would be a few long documents of
/// one source.)
///
/// Carriage returns become line feeds, as any reader in text mode would make them.
fn sample_of_text(documents: &InputItem, bytes_max: usize) -> Result<String> {
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for entry in documents.entries() {
        for row in DocumentReader::of_entry(entry)?.columns(&[Column::Text]).rows()? {
            (count, bytes) = (count + 1, bytes + row?.document.text.len() as u64 + 2);
        }
    }
    let wanted = if bytes > bytes_max as u64 { (count * bytes_max as u64).div_ceil(bytes) } else { count };
    let (mut text, mut position) = (String::new(), 0);
    'documents: for entry in documents.entries() {
        for row in DocumentReader::of_entry(entry)?.columns(&[Column::Text]).rows()? {
            position += 1;
            if position * wanted / count == (position - 1) * wanted / count {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text += &row?.document.text.replace("\r\n", "\n").replace('\r', "\n");
            if text.len() >= bytes_max {
                text.truncate(text.floor_char_boundary(bytes_max));
                break 'documents;
            }
        }
    }
    Ok(text)
}

/// Metrics of a model with their values.
type Figures = Vec<(Reported, f64)>;

fn figures<const N: usize>(group: [Reported; N], values: [f64; N]) -> Figures {
    group.into_iter().zip(values).collect()
}

/// A 3-gram model of the training tokens; counted when the first model with their tokenizer is met.
struct Baseline<'a> {
    config: &'a Eval,
    tokens: &'a InputItem,
    figures: Option<Figures>,
}

impl Baseline<'_> {
    /// Its figures on `text`, if `model` has the tokenizer of the tokens; else none.
    fn figures_for(&mut self, model: &ModelFiles, text: &str, share: &Share) -> Result<Figures> {
        let tokenizer = model.open_tokenizer()?;
        if !self.is_made_by(&tokenizer)? {
            return Ok(Vec::new());
        }
        if let Some(figures) = &self.figures {
            return Ok(figures.clone());
        }
        let scratch = share.scratch()?;
        let stream = flat_stream(share, self.tokens, &tokenizer, &scratch.path().join("tokens"), 3)?;
        let counting = Counting {
            tokens: stream.len().min(self.config.ngram_tokens_max),
            stream: &stream,
            vocabulary: tokenizer.vocabulary_size() as usize,
            table: TABLE_TRIGRAMS,
        };
        let ids = tokenizer.encode(text);
        let probabilities = counting.probabilities(&predictions(&ids), || share.check_stop())?;
        let nats = -probabilities.iter().map(|p| p.ln()).sum::<f64>();
        let surprise = surprise(nats, &ids, &tokenizer, text);
        let [byte, character, perplexity] = surprise.rates();
        let figures = figures(BASELINE, [byte, character, perplexity, counting.tokens as f64]);
        Ok(self.figures.insert(figures).clone())
    }

    /// By the first shard; that the others have the same tokenizer is checked as they are read.
    fn is_made_by(&self, tokenizer: &Tokenizer) -> Result<bool> {
        let Some(entry) = self.tokens.entries().first() else { return Ok(true) };
        let reader = TokensReader::open(&entry.path()?, entry.selection()?.as_ref())?;
        Ok(reader.metadata().tokenizer_digest == tokenizer.digest())
    }
}

/// Nats over all of `ids` but the first, which only stands before the others.
fn surprise(nats: f64, ids: &[u32], tokenizer: &Tokenizer, text: &str) -> Surprise {
    let first = tokenizer.decode(&ids[..1]);
    let bytes = text.len() - first.len().min(text.len());
    let characters = text.chars().count().saturating_sub(first.chars().count());
    Surprise { nats, tokens: ids.len() as u64 - 1, bytes: bytes as u64, characters: characters as u64 }
}

impl Eval {
    /// Tokens by which the sliding window of a model moves.
    fn stride(&self, context: usize) -> usize {
        self.stride.unwrap_or(context / 2).clamp(1, context)
    }

    /// Figures by sliding windows, and those by windows that do not overlap.
    fn language_figures(
        &self,
        name: &str,
        model: &ModelFiles,
        text: &str,
        share: &Share,
        samples: &mut Vec<Written>,
    ) -> Result<(Figures, Figures)> {
        let context = model.config.architecture.context;
        let (lm, tokenizer) = (model.language_model(&self.backend.device())?, model.open_tokenizer()?);
        let ids = tokenizer.encode(text);
        if ids.len() < 2 {
            return Err(
                Error::input("the held-out text has fewer than two tokens").help("hold more documents out")
            );
        }
        let stride = self.stride(context);
        let scorer = Scorer { model: &lm, ids: &ids, rows: self.batch_size, share };
        let surprise = |nats| surprise(nats, &ids, &tokenizer, text);
        let sliding = surprise(scorer.nats(&sliding_windows(ids.len(), context, stride))?);
        let disjoint = surprise(scorer.nats(&disjoint_windows(ids.len(), context))?);
        samples.extend(self.write_samples(name, &lm, &tokenizer, model)?);
        let [byte, character, perplexity] = disjoint.rates();
        let disjoint = [byte, character, perplexity, disjoint.tokens as f64, disjoint.bytes as f64];
        Ok((figures(SLIDING, sliding.rates()), figures(DISJOINT, disjoint)))
    }

    fn write_samples(
        &self,
        name: &str,
        lm: &CausalLm,
        tokenizer: &Tokenizer,
        model: &ModelFiles,
    ) -> Result<Vec<Written>> {
        let (context, eos) = (model.config.architecture.context, model.ends(tokenizer));
        let write = |(number, prompt): (usize, &String)| {
            let options = generate::Options {
                tokens_max: self.max_new_tokens,
                temperature: self.temperature,
                seed: random::seed(self.seed, random::Purpose::Sampling, number as u64),
                ..generate::Options::default()
            };
            let ids = continuation(lm, &tokenizer.encode(prompt), &eos, context, &options, || true)?;
            Ok(Written { model: name.to_owned(), prompt: prompt.clone(), text: tokenizer.decode(&ids) })
        };
        self.prompts.iter().enumerate().map(write).collect()
    }

    fn classifier_figures(
        &self,
        model: &ModelFiles,
        labels: &[String],
        documents: &InputItem,
        train: Option<&InputItem>,
        share: &Share,
    ) -> Result<Figures> {
        let rule = LabelRule::checked(&self.label)?;
        let class_of = |document: &Document| {
            let own = rule.label(document)?;
            labels.iter().position(|label| label == own)
        };
        let tokenizer = model.open_tokenizer()?;
        let classifier = model.classifier(&self.backend.device())?;
        let scratch = share.scratch()?;
        let path = scratch.path().join("held-out");
        let written = |error: std::io::Error| Error::io("write", &path, &error);
        let mut writer =
            ExamplesWriter::create(&path, tokenizer.vocabulary_size() as usize).map_err(written)?;
        let tokens_max = model.config.architecture.context;
        for entry in documents.entries() {
            let reader = DocumentReader::of_entry(entry)?.columns(&[Column::Text, rule.column()]);
            for row in share.track("documents", reader.rows()?) {
                let document = row??.document;
                let Some(class) = class_of(&document) else { continue };
                writer.push_text(&tokenizer, &document.text, tokens_max, class).map_err(written)?;
            }
        }
        let held_out = writer.finish().map_err(written)?;
        if held_out.len() == 0 {
            let labels = labels.join(", ");
            return Err(Error::input("no held-out document has one of the classifier's labels").help(
                match rule {
                    LabelRule::Given => {
                        format!(
                            "set `label`, or need the output of an `examples` stage; its labels are {labels}"
                        )
                    }
                    LabelRule::Address(_) => format!("its labels are {labels}"),
                },
            ));
        }
        let commonest = match train {
            Some(train) => majority(&count_labels(train, rule.column(), labels.len(), class_of)?),
            None => majority(&held_out.counts(labels.len())),
        };
        let pad = model.config.pad.unwrap_or(0);
        let (loss, confusion) = held_out.score(&classifier, labels.len(), self.batch_size, pad)?;
        Ok(classifier_table(loss, &confusion, commonest))
    }
}

fn classifier_table(loss: f64, confusion: &Confusion, commonest: usize) -> Figures {
    let baseline = confusion.accuracy_of_always(commonest);
    let accuracy = confusion.accuracy();
    let gain = accuracy - baseline;
    figures(CLASSIFIER, [accuracy, baseline, gain, confusion.macro_f1(), loss, confusion.total() as f64])
}

fn count_labels(
    documents: &InputItem,
    column: Column,
    classes: usize,
    class_of: impl Fn(&Document) -> Option<usize>,
) -> Result<Vec<u64>> {
    let mut counts = vec![0; classes];
    for entry in documents.entries() {
        for row in DocumentReader::of_entry(entry)?.columns(&[column]).rows()? {
            if let Some(class) = class_of(&row?.document) {
                counts[class] += 1;
            }
        }
    }
    Ok(counts)
}

/// Runs windows of one text through a model.
struct Scorer<'a, 'b> {
    model: &'a CausalLm,
    ids: &'a [u32],
    rows: usize,
    share: &'a Share<'b>,
}

impl Scorer<'_, '_> {
    /// Sum of the cross entropy of all counted predictions, in nats.
    fn nats(&self, windows: &[Window]) -> Result<f64> {
        let mut nats = 0.0;
        // Windows of one length go together; only the last ones are shorter.
        let same_length = windows.chunk_by(|a, b| a.end - a.start == b.end - b.start);
        for batch in same_length.flat_map(|windows| windows.chunks(self.rows)) {
            self.share.check_stop()?;
            let (mut ids, mut targets) = (Vec::new(), Vec::new());
            for window in batch {
                ids.extend_from_slice(&self.ids[window.start..window.end]);
                let target = |at: usize| if at < window.counted_from { IGNORE } else { self.ids[at + 1] };
                targets.extend((window.start..window.end).map(target));
            }
            let losses = self.model.losses(&Ids::new(ids, batch.len()), &targets);
            nats += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            self.share.advance("windows", batch.len() as u64);
        }
        if nats.is_finite() {
            return Ok(nats);
        }
        Err(Error::input("the model's loss is not a number: its weights are broken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_escapes_what_would_break_it() {
        let score = Score { model: "a|b".into(), name: "accuracy".into(), value: 0.5, unit: String::new() };
        let table = Scores { version: 1, scores: vec![score] }.to_markdown();
        assert!(table.ends_with("| a\\|b | accuracy | 0.5000 |  |\n"));
    }
}
