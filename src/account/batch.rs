//! `pipe data batch`: the documents of a training batch.

use super::find::{Work as Reads, document_behind, read};
use super::stream::{InStream, TokenStream};
use super::training::{TrainingOrder, Tuning, Use, stream_of, tokenizer_of};
use clap::Args;
use pipe::{
    cli::{FolderCommand, ResultInput, Results, StageResult, Work, arguments},
    ui::{self, counted},
};
use pipe_data::Tokenizer;
use pipe_stage::{Error, Result};
use serde::Serialize;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write as _};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "data batch",
    kind: "tokens",
    arguments: |command| {
        let command = command.about("Print the documents of the batch that a training step reads");
        Batch::augment_args(command)
            .after_help("Example: pipe data batch pipelines/gpt-small.yaml base --step 100")
    },
    port: |_| None,
    run: Work::Results(|results, matches| arguments::<Batch>(matches).run(results, matches.get_flag("json"))),
};

#[derive(Args)]
struct Batch {
    /// A stage that trains a model (`pretrain`, `finetune`); its result need not be finished.
    #[arg(index = 2, value_name = "STAGE")]
    stage: String,
    /// The training step, from 1.
    #[arg(long, value_name = "STEP")]
    step: u64,
    /// Maximum characters to print of each document.
    #[arg(long, default_value_t = 160)]
    characters: usize,
}

/// Types of stages that train on documents step by step.
const TRAINING: [&str; 2] = ["pretrain", "finetune"];

/// A row of a batch: a window of the training stream, or the beginning of a text.
#[derive(Debug, Serialize)]
struct BatchRow {
    /// Number of the micro-batch in the step, and of the row in it; from 0.
    micro_batch: u64,
    row: usize,
    /// First token of the window in the training stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    /// Number of the text among those of the training, and its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Number of its input tokens. In a window, the last target is the next one.
    tokens: usize,
    documents: Vec<InBatch>,
}

/// A document in a window.
#[derive(Debug, Serialize)]
struct InBatch {
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    shard: String,
    /// Its tokens that the window has, counted from its first one, and the number of all its tokens.
    from: u64,
    to: u64,
    of: u64,
    text: String,
}

/// The rows of a step.
struct Step {
    rows: Vec<BatchRow>,
    micro_batches: u64,
    /// Steps of the training.
    steps: u64,
    /// What the training reads: its size by unit.
    of: (&'static str, u64),
}

impl Batch {
    fn run(self, results: &Results, json: bool) -> Result<()> {
        let stage = self.stage(results)?;
        let step = match Tuning::of(results, stage)? {
            Some(tuning) => self.of_texts(results, stage, &tuning)?,
            None => self.of_stream(results, stage)?,
        };
        let Step { rows, micro_batches, steps, of: (unit, size) } = step;
        if json {
            ui::print_json(&json!({
                "version": 1,
                "stage": stage.name,
                "step": self.step,
                "steps": steps,
                unit: size,
                "rows": rows,
            }));
            return Ok(());
        }
        ui::print(&as_text(&rows, micro_batches));
        let state = if stage.is_up_to_date { "" } else { ", which is not finished" };
        let documents = rows.iter().map(|row| row.documents.len()).sum();
        ui::say(&format!(
            "step {} of {steps} of `{}`{state}: {} with parts of {}",
            self.step,
            stage.name,
            counted(rows.len(), "row"),
            counted(documents, "document")
        ));
        Ok(())
    }

    /// Windows of a stream of tokens.
    fn of_stream(&self, results: &Results, stage: &StageResult) -> Result<Step> {
        let (input, stream, order) = self.stream(results, stage)?;
        let windows = order.windows;
        let mut known = Names { results, from: input, names: BTreeMap::new(), reads: Reads::default() };
        let tokenizer = stage.inputs.iter().find(|input| input.port == "tokenizer");
        let tokenizer = tokenizer.map(|input| tokenizer_of(results, input)).transpose()?.flatten();
        let tokenizer = tokenizer.map(|(tokenizer, _)| tokenizer);
        let mut rows = Vec::new();
        for micro_batch in 0..order.micro_batches {
            let batch = (self.step - 1) * order.micro_batches + micro_batch;
            for row in 0..windows.rows {
                let first = windows.start(batch, row);
                let window = first..first + windows.context as u64;
                let mut documents = Vec::new();
                for document in stream.documents(window.clone())? {
                    documents.push(self.document(&document, &window, tokenizer.as_ref(), &mut known)?);
                }
                let (first, text, label) = (Some(first), None, None);
                rows.push(BatchRow {
                    micro_batch,
                    row,
                    first,
                    text,
                    label,
                    tokens: windows.context,
                    documents,
                });
            }
        }
        let of = ("stream_tokens", stream.tokens());
        Ok(Step { rows, micro_batches: order.micro_batches, steps: order.steps, of })
    }

    /// Whole texts.
    fn of_texts(&self, results: &Results, stage: &StageResult, tuning: &Tuning) -> Result<Step> {
        self.check_step(stage, tuning.steps)?;
        let order = tuning.order();
        let numbers: Vec<u64> = (0..order.rows).map(|row| order.text(self.step - 1, row)).collect();
        let mut found = BTreeMap::new();
        tuning.each(|text| {
            if let Use::Trained { text: number, label } = text.used
                && numbers.contains(&number)
            {
                found.insert(number, (text.entry, text.row, label));
            }
        })?;
        let artifact = results.artifact(&stage.inputs[tuning.input]);
        let mut rows = Vec::new();
        for (row, number) in numbers.iter().enumerate() {
            let changed = || Error::input(format!("`{}` trained on other documents", stage.name));
            let (entry, at, label) = found.get(number).ok_or_else(changed)?;
            let document = read(&tuning.entries[*entry], *at)?.ok_or_else(changed)?.document;
            let ids = tuning.tokenizer.as_ref().map(|tokenizer| tokenizer.encode_ordinary(&document.text));
            let ids = ids.unwrap_or_default();
            let to = ids.len().min(tuning.length);
            let text = match &tuning.tokenizer {
                Some(tokenizer) => tokenizer.decode(&ids[..to]),
                None => document.text,
            };
            let shard = artifact.map(|artifact| artifact.entries[*entry].name.clone()).unwrap_or_default();
            let documents = vec![InBatch {
                id: document.id,
                url: document.url,
                source: document.source,
                shard,
                from: 0,
                to: to as u64,
                of: ids.len() as u64,
                text: self.shortened(&text),
            }];
            let (text, label) = (Some(*number), Some(label.clone()));
            rows.push(BatchRow { micro_batch: 0, row, first: None, text, label, tokens: to, documents });
        }
        Ok(Step { rows, micro_batches: 1, steps: tuning.steps, of: ("texts", tuning.texts) })
    }

    /// The stage that is meant.
    fn stage<'r>(&self, results: &'r Results) -> Result<&'r StageResult> {
        let trains = |stage: &&StageResult| TRAINING.contains(&stage.uses);
        let Some(at) = results.stage(&self.stage) else {
            let stages: Vec<&str> =
                results.stages.iter().filter(trains).map(|stage| stage.name.as_str()).collect();
            let help = match stages[..] {
                [] => "no stage of the pipeline trains on documents step by step".to_owned(),
                _ => format!("stages that do: {}", stages.join(", ")),
            };
            return Err(Error::input(format!("there is no stage `{}`", self.stage)).help(help));
        };
        let stage = &results.stages[at];
        if !trains(&stage) {
            let message = format!(
                "`{}` is of type `{}`, which does not train on documents step by step",
                stage.name, stage.uses
            );
            return Err(Error::input(message).help("name a stage of type `pretrain` or `finetune`"));
        }
        let is_there = |input: &ResultInput| input.port != "train" || results.artifact(input).is_some();
        if !stage.inputs.iter().all(is_there) {
            let message = format!("what `{}` trains on is out of date or missing", stage.name);
            return Err(Error::input(message).help(format!(
                "run the stages before it: pipe run {} {}",
                results.manifest.display(),
                stage.name
            )));
        }
        Ok(stage)
    }

    /// The order of a stage, and its stream.
    fn stream<'r>(
        &self,
        results: &'r Results,
        stage: &'r StageResult,
    ) -> Result<(&'r ResultInput, TokenStream, TrainingOrder)> {
        let few = || Error::input(format!("what `{}` trains on is less than one row", stage.name));
        let (input, stream) = stream_of(results, stage)?.ok_or_else(few)?;
        let order = TrainingOrder::of(stage, stream.tokens()).ok_or_else(few)?;
        self.check_step(stage, order.steps)?;
        Ok((&stage.inputs[input], stream, order))
    }

    fn check_step(&self, stage: &StageResult, steps: u64) -> Result<()> {
        if (1..=steps).contains(&self.step) {
            return Ok(());
        }
        let message = format!(
            "`{}` has no step {}: it takes {}",
            stage.name,
            self.step,
            counted(steps as usize, "step")
        );
        Err(Error::input(message).help("steps are counted from 1"))
    }

    fn shortened(&self, text: &str) -> String {
        let mut shown: String = text.chars().take(self.characters).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }

    fn document(
        &self,
        document: &InStream,
        window: &std::ops::Range<u64>,
        tokenizer: Option<&Tokenizer>,
        known: &mut Names<'_>,
    ) -> Result<InBatch> {
        let InStream { id, entry, tokens, ids, .. } = document;
        let (from, to) = (window.start.max(tokens.start), window.end.min(tokens.end));
        let (from, to) = (from.min(to) - tokens.start, to - tokens.start);
        let text =
            tokenizer.map(|tokenizer| tokenizer.decode(&ids[from as usize..to as usize])).unwrap_or_default();
        let text = self.shortened(&text);
        let (shard, url, source) = known.of(*entry, id)?;
        Ok(InBatch { id: id.clone(), url, source, shard, from, to, of: ids.len() as u64, text })
    }
}

/// Addresses and sources of documents, which tokens lack: read from the documents that the tokens were made of.
struct Names<'r> {
    results: &'r Results,
    /// The tokens.
    from: &'r ResultInput,
    names: BTreeMap<(usize, String), (String, String)>,
    reads: Reads,
}

impl Names<'_> {
    /// Shard, address and source of a document.
    fn of(&mut self, entry: usize, id: &str) -> Result<(String, String, String)> {
        let artifact = self.results.artifact(self.from).filter(|artifact| entry < artifact.entries.len());
        let Some(artifact) = artifact else { return Ok(Default::default()) };
        let shard = artifact.entries[entry].clone();
        let place = (entry, id.to_owned());
        if !self.names.contains_key(&place) {
            let row = document_behind(self.results, self.from.stage, &shard, id, &mut self.reads)?;
            let names = row.map(|row| (row.document.url, row.document.source)).unwrap_or_default();
            self.names.insert(place.clone(), names);
        }
        let (url, source) = self.names[&place].clone();
        Ok((shard.name, url, source))
    }
}

fn as_text(rows: &[BatchRow], micro_batches: u64) -> String {
    let mut text = String::new();
    for BatchRow { micro_batch, row, first, text: number, label, tokens, documents } in rows {
        let of = if micro_batches > 1 { format!("micro-batch {micro_batch}, ") } else { String::new() };
        let what = match (first, number, label) {
            (Some(first), ..) => format!("tokens {first} to {} of the stream", first + *tokens as u64),
            (_, Some(number), Some(label)) => format!("text {number}, label {label}"),
            _ => counted(*tokens, "token"),
        };
        let _ = writeln!(text, "{of}row {row}: {what}");
        for InBatch { id, url, source, shard, from, to, of, text: own } in documents {
            let _ = write!(text, "  {id}");
            for fact in
                [url, source].into_iter().filter(|fact| !fact.is_empty() && !id.ends_with(fact.as_str()))
            {
                let _ = write!(text, "  {fact}");
            }
            let _ = writeln!(text, "\n    tokens {from} to {to} of {of}, shard {shard}");
            for line in own.lines().filter(|line| !line.trim().is_empty()) {
                let _ = writeln!(text, "    | {line}");
            }
        }
    }
    text
}
