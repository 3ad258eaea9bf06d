//! How stages train on documents: which documents each of their steps reads. Follows from the configs and the documents;
//! nothing about a training is stored. Knows nothing of output.

use super::find::check_there;
use super::stream::{Known, TokenStream};
use pipe::cli::{ResultInput, Results, StageResult};
use pipe_data::Tokenizer;
use pipe_data::windows::{Texts, Windows};
use pipe_stage::{LocalEntry, Result};
use serde::Serialize;
use std::collections::BTreeSet;

/// When a model saw a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Training {
    /// What was read of it.
    #[serde(flatten)]
    pub(crate) part: Part,
    /// The first steps, from 1, at which some of it was read; at most [`STEPS_MAX`].
    pub(crate) steps: Vec<u64>,
    /// Number of all these steps.
    pub(crate) steps_count: u64,
    /// Steps that the training took, or is to take.
    pub(crate) steps_of_training: u64,
}

/// What a training read of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Part {
    /// Tokens of a stream: the position of its first one, and their number.
    Stream { first: u64, tokens: u64 },
    /// A whole text: its number, from 0, the number of all texts, and its label.
    Text { text: u64, texts: u64, label: String },
}

/// Steps of a training that are listed.
const STEPS_MAX: usize = 1000;

impl Training {
    fn new(part: Part, steps: &BTreeSet<u64>, steps_of_training: u64) -> Self {
        Self {
            part,
            steps_count: steps.len() as u64,
            steps: steps.iter().copied().take(STEPS_MAX).collect(),
            steps_of_training,
        }
    }
}

/// What a stage that trains does with a document that it reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    At(Training),
    /// It does not train on it, for this reason.
    Not(&'static str),
}

/// When a stage saw the document with this id, which is in shards of these numbers of its input `train`. `None` if it trains
/// on no documents.
pub(crate) fn seen(
    results: &Results,
    stage: &StageResult,
    id: &str,
    shards: &BTreeSet<usize>,
) -> Result<Option<Seen>> {
    if let Some(tuning) = Tuning::of(results, stage)? {
        let Some(found) = tuning.find(|text| text.id == id)? else { return Ok(None) };
        return Ok(Some(match found.used {
            Use::Not(reason) => Seen::Not(reason),
            Use::Trained { text, label } => {
                let visits = tuning.order().visits(text, tuning.steps);
                let steps = visits.map(|(batch, _)| batch + 1).collect();
                let part = Part::Text { text, texts: tuning.texts, label };
                Seen::At(Training::new(part, &steps, tuning.steps))
            }
        }));
    }
    if TrainingOrder::of(stage, u64::MAX / 2).is_none() {
        return Ok(None);
    }
    let Some((_, stream)) = stream_of(results, stage)? else { return Ok(None) };
    let Some(order) = TrainingOrder::of(stage, stream.tokens()) else { return Ok(None) };
    let (mut steps, mut first, mut tokens) = (BTreeSet::new(), None, 0);
    for shard in shards {
        for document in stream.of_document(*shard, id)? {
            first.get_or_insert(document.tokens.start);
            tokens += document.tokens.end - document.tokens.start;
            steps.extend(order.steps_of(document.tokens));
        }
    }
    let part = Part::Stream { first: first.unwrap_or_default(), tokens };
    Ok(Some(Seen::At(Training::new(part, &steps, order.steps))))
}

/// Steps that a training took, or is to take: early stopping ends one before its last step.
#[cfg(feature = "model")]
fn steps_of(stage: &StageResult, planned: u64) -> u64 {
    let taken = stage.metrics.iter().find(|metric| metric.name == "steps");
    taken.map_or(planned, |metric| metric.value as u64)
}

/// The order of a training on a stream of tokens: which windows of the stream its steps read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrainingOrder {
    pub(crate) windows: Windows,
    pub(crate) micro_batches: u64,
    pub(crate) steps: u64,
}

impl TrainingOrder {
    /// That of a stage that trains on a stream of so many tokens; `None` for other stages.
    #[cfg(feature = "model")]
    pub(crate) fn of(stage: &StageResult, tokens: u64) -> Option<Self> {
        use pipe_stage::Stage;
        if stage.uses != pipe_model::Pretrain::NAME {
            return None;
        }
        let config: pipe_model::Pretrain = serde_json::from_value(stage.config.clone()).ok()?;
        let windows = config.windows(tokens);
        (tokens > windows.context as u64).then_some(Self {
            windows,
            micro_batches: config.gradient_accumulation_steps,
            steps: steps_of(stage, config.steps),
        })
    }

    /// A program without models has no stages that train on tokens.
    #[cfg(not(feature = "model"))]
    pub(crate) fn of(_: &StageResult, _: u64) -> Option<Self> {
        None
    }

    /// Steps, from 1, that read any of these tokens, ascending.
    fn steps_of(&self, tokens: std::ops::Range<u64>) -> BTreeSet<u64> {
        let visits = self.windows.visits(tokens, self.steps.saturating_mul(self.micro_batches));
        visits.map(|visit| visit.batch / self.micro_batches + 1).collect()
    }
}

fn input_of(stage: &StageResult, port: &str) -> Option<usize> {
    stage.inputs.iter().position(|input| input.port == port)
}

/// The stream that a stage trains on: the input `train`, tokens.
pub(crate) fn stream_of(results: &Results, stage: &StageResult) -> Result<Option<(usize, TokenStream)>> {
    let Some(train) = input_of(stage, "train") else { return Ok(None) };
    let Some(artifact) = results.artifact(&stage.inputs[train]) else { return Ok(None) };
    if artifact.kind != "tokens" {
        return Ok(None);
    }
    let tokenizer = input_of(stage, "tokenizer");
    let tokenizer = tokenizer.map(|tokenizer| tokenizer_of(results, &stage.inputs[tokenizer])).transpose()?;
    let eos = tokenizer.flatten().and_then(|(tokenizer, _)| tokenizer.eos());
    let reported = stage.metrics.iter().find(|metric| metric.name == "tokens_train");
    let known = match reported {
        Some(metric) => Known::Tokens(metric.value as u64),
        None if makes_no_eos(results, &stage.inputs[train]) => Known::NoEos,
        None => Known::Nothing,
    };
    let entries = artifact.entries.iter().map(|entry| results.open(entry)).collect();
    Ok(Some((train, TokenStream::of(entries, eos, known)?)))
}

/// Whether `tokenize` made the tokens, which adds no special tokens.
fn makes_no_eos(results: &Results, input: &ResultInput) -> bool {
    let stage = &results.stages[input.stage];
    stage.uses == "tokenize"
        || (stage.uses == "mix" && stage.inputs.iter().all(|input| makes_no_eos(results, input)))
}

/// The tokenizer of an input, a tokenizer or a model, and the length of texts that it is for, if it says so; `None` if it is
/// missing from the cache.
pub(crate) fn tokenizer_of(
    results: &Results,
    input: &ResultInput,
) -> Result<Option<(Tokenizer, Option<usize>)>> {
    let Some(artifact) = results.artifact(input) else { return Ok(None) };
    let file = |name: &str| {
        let entry = artifact.entries.iter().find(|entry| entry.name == name);
        entry.map(|entry| results.open(entry)).filter(|entry| entry.unverified_path().is_file())
    };
    let Some(json) = file("tokenizer.json") else { return Ok(None) };
    let config = file("tokenizer_config.json").map(|entry| entry.bytes()).transpose()?;
    let config = config.unwrap_or_else(|| b"{}".to_vec());
    let length = serde_json::from_slice::<serde_json::Value>(&config).ok();
    let length = length.and_then(|config| config["model_max_length"].as_u64());
    let tokenizer = Tokenizer::from_files(&json.bytes()?, &config)?;
    Ok(Some((tokenizer, length.and_then(|length| usize::try_from(length).ok()))))
}

/// A training on whole texts, those of the documents at the input `train`.
pub(crate) struct Tuning {
    #[cfg(feature = "model")]
    config: pipe_model::Finetune,
    /// Position of the input.
    pub(crate) input: usize,
    pub(crate) entries: Vec<LocalEntry>,
    has_validation: bool,
    /// That of the model which it starts from, if that is in the cache.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// Tokens that it reads of a text.
    pub(crate) length: usize,
    /// Number of texts.
    pub(crate) texts: u64,
    pub(crate) steps: u64,
}

/// What a training does with a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Use {
    Trained { text: u64, label: String },
    Not(&'static str),
}

/// A document that a training on texts reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InTuning {
    pub(crate) id: String,
    /// Position of its shard, and its row there.
    pub(crate) entry: usize,
    pub(crate) row: u32,
    pub(crate) used: Use,
}

impl Tuning {
    /// That of a stage; `None` for other stages, and if its documents are out of date.
    #[cfg(feature = "model")]
    pub(crate) fn of(results: &Results, stage: &StageResult) -> Result<Option<Self>> {
        use pipe_stage::Stage;
        let input = input_of(stage, "train").filter(|_| stage.uses == pipe_model::Finetune::NAME);
        let Some(input) = input else { return Ok(None) };
        let Some(artifact) = results.artifact(&stage.inputs[input]) else { return Ok(None) };
        let Ok(config) = serde_json::from_value::<pipe_model::Finetune>(stage.config.clone()) else {
            return Ok(None);
        };
        let entries: Vec<LocalEntry> = artifact.entries.iter().map(|entry| results.open(entry)).collect();
        entries.iter().try_for_each(check_there)?;
        let model = input_of(stage, "model");
        let model = model.map(|model| tokenizer_of(results, &stage.inputs[model])).transpose()?.flatten();
        let (tokenizer, length) = model.map_or((None, None), |(tokenizer, length)| (Some(tokenizer), length));
        let mut tuning = Self {
            input,
            entries,
            has_validation: input_of(stage, "validation").is_some(),
            tokenizer,
            length: config.max_length.min(length.unwrap_or(usize::MAX)),
            texts: 0,
            steps: steps_of(stage, config.steps),
            config,
        };
        let reported = stage.metrics.iter().find(|metric| metric.name == "texts_train");
        match reported {
            Some(metric) => tuning.texts = metric.value as u64,
            None => {
                let mut texts = 0;
                tuning.each(|text| texts += u64::from(matches!(text.used, Use::Trained { .. })))?;
                tuning.texts = texts;
            }
        }
        Ok((tuning.texts > 0).then_some(tuning))
    }

    /// A program without models has no stages that train on texts.
    #[cfg(not(feature = "model"))]
    pub(crate) fn of(_: &Results, _: &StageResult) -> Result<Option<Self>> {
        Ok(None)
    }

    /// The order of its texts. A step reads a batch.
    pub(crate) fn order(&self) -> Texts {
        #[cfg(feature = "model")]
        return self.config.order(self.texts);
        #[cfg(not(feature = "model"))]
        return Texts { seed: 0, texts: self.texts, rows: 1 };
    }

    /// Calls `visit` with each document of the input.
    pub(crate) fn each(&self, mut visit: impl FnMut(InTuning)) -> Result<()> {
        #[cfg(feature = "model")]
        self.config.each_text(
            &self.entries,
            self.has_validation,
            self.tokenizer.as_ref(),
            |entry, row, used| {
                use pipe_model::TextUse;
                let used = match used {
                    TextUse::Trained { text, label } => Use::Trained { text, label },
                    TextUse::HeldOut => Use::Not("held out for validation"),
                    TextUse::Unlabelled => Use::Not("it has no label"),
                    TextUse::RareLabel => {
                        Use::Not("too few documents have its label: see `min_documents_per_label`")
                    }
                    TextUse::Empty => Use::Not("it has no tokens"),
                };
                visit(InTuning { id: row.document.id.clone(), entry, row: row.index, used });
            },
        )?;
        #[cfg(not(feature = "model"))]
        let _ = (&mut visit, self.has_validation);
        Ok(())
    }

    /// The first document of which this is true.
    fn find(&self, is_meant: impl Fn(&InTuning) -> bool) -> Result<Option<InTuning>> {
        let mut found = None;
        self.each(|text| {
            if found.is_none() && is_meant(&text) {
                found = Some(text);
            }
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_data::windows::Order;

    #[test]
    fn steps_of_a_document_are_those_whose_windows_have_its_tokens() {
        let windows = Windows { order: Order::Sequential, seed: 0, tokens: 101, rows: 2, context: 10 };
        let order = TrainingOrder { windows, micro_batches: 2, steps: 5 };
        // Windows of ten tokens, four of them per step; ten windows in a pass.
        assert_eq!(order.steps_of(0..1).into_iter().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(order.steps_of(45..46).into_iter().collect::<Vec<_>>(), [2, 4]);
        assert!(order.steps_of(45..45).is_empty());
    }
}
