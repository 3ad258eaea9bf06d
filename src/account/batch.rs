//! `pipe data batch`: the documents of a training batch.

use super::find::{Work as Reads, document_behind};
use super::stream::{InStream, TokenStream};
use super::way::{TrainingOrder, stream_of, tokenizer_of};
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
    /// A stage that pretrains a model; its result need not be finished.
    #[arg(index = 2, value_name = "STAGE")]
    stage: String,
    /// The training step, from 1.
    #[arg(long, value_name = "STEP")]
    step: u64,
    /// Maximum characters to print of each document.
    #[arg(long, default_value_t = 160)]
    characters: usize,
}

/// A row of a batch: a window of the training stream.
#[derive(Debug, Serialize)]
struct BatchRow {
    /// Number of the micro-batch in the step, and of the row in it; from 0.
    micro_batch: u64,
    row: usize,
    /// First token of the window in the training stream, and number of its input tokens; the last target is the next one.
    first: u64,
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

impl Batch {
    fn run(self, results: &Results, json: bool) -> Result<()> {
        let (stage, input, stream, order) = self.stage(results)?;
        let windows = order.windows;
        let mut known = Names { results, from: input, names: BTreeMap::new(), reads: Reads::default() };
        let tokenizer = stage.inputs.iter().find(|input| input.port == "tokenizer");
        let tokenizer = tokenizer.map(|input| tokenizer_of(results, input)).transpose()?.flatten();
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
                rows.push(BatchRow { micro_batch, row, first, tokens: windows.context, documents });
            }
        }
        if json {
            ui::print_json(&json!({
                "version": 1,
                "stage": stage.name,
                "step": self.step,
                "steps": order.steps,
                "stream_tokens": stream.tokens(),
                "rows": rows,
            }));
            return Ok(());
        }
        ui::print(&as_text(&rows, order.micro_batches));
        let state = if stage.is_up_to_date { "" } else { ", which is not finished" };
        let documents = rows.iter().map(|row| row.documents.len()).sum();
        ui::say(&format!(
            "step {} of {} of `{}`{state}: {} with parts of {}",
            self.step,
            order.steps,
            stage.name,
            counted(rows.len(), "row"),
            counted(documents, "document")
        ));
        Ok(())
    }

    /// The stage, with its order and its stream.
    fn stage<'r>(
        &self,
        results: &'r Results,
    ) -> Result<(&'r StageResult, &'r ResultInput, TokenStream, TrainingOrder)> {
        let trains = |stage: &&StageResult| TrainingOrder::of(stage, u64::MAX / 2).is_some();
        let Some(at) = results.stage(&self.stage) else {
            let stages: Vec<&str> =
                results.stages.iter().filter(trains).map(|stage| stage.name.as_str()).collect();
            let help = match stages[..] {
                [] => "no stage of the pipeline trains on tokens".to_owned(),
                _ => format!("stages that train on tokens: {}", stages.join(", ")),
            };
            return Err(Error::input(format!("there is no stage `{}`", self.stage)).help(help));
        };
        let stage = &results.stages[at];
        if !trains(&stage) {
            let message = format!(
                "`{}` is of type `{}`, which does not train on a stream of tokens",
                stage.name, stage.uses
            );
            return Err(Error::input(message).help("name a stage of type `pretrain`"));
        }
        let Some((input, stream)) = stream_of(results, stage)? else {
            let message = format!("the tokens that `{}` trains on are out of date or missing", stage.name);
            return Err(Error::input(message).help(format!(
                "run the stages before it: pipe run {} {}",
                results.manifest.display(),
                stage.name
            )));
        };
        let Some(order) = TrainingOrder::of(stage, stream.tokens()) else {
            return Err(Error::input(format!(
                "the tokens that `{}` trains on are fewer than one window",
                stage.name
            )));
        };
        if !(1..=order.steps).contains(&self.step) {
            let message = format!(
                "`{}` has no step {}: it takes {}",
                stage.name,
                self.step,
                counted(order.steps as usize, "step")
            );
            return Err(Error::input(message).help("steps are counted from 1"));
        }
        Ok((stage, &stage.inputs[input], stream, order))
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
        let mut shown: String = text.chars().take(self.characters).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let (shard, url, source) = known.of(*entry, id)?;
        Ok(InBatch { id: id.clone(), url, source, shard, from, to, of: ids.len() as u64, text: shown })
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
    for BatchRow { micro_batch, row, first, tokens, documents } in rows {
        let of = if micro_batches > 1 { format!("micro-batch {micro_batch}, ") } else { String::new() };
        let last = first + *tokens as u64;
        let _ = writeln!(text, "{of}row {row}: tokens {first} to {last} of the stream");
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
