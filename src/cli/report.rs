//! `pipe report`: a run as one HTML page.

use super::{Command, Failure, Outcome, Pipeline, Program, history::Past, pretty, runs::seen};
use crate::{
    command::kind,
    record::{Record, read_artifact},
    run::{
        folder::{RunFolder, StageResult},
        seen::{Series, add_series},
    },
    ui::{self, Inflow, Look, Report as Page, ReportStage},
};
use clap::Parser;
use pipe_stage::{Digest, Error, LocalEntry, Store};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Maximum lines of a preview, and of samples.
const LINES: (usize, usize) = (24, 120);
/// Maximum characters of a preview, since lines may be long.
const LETTERS_MAX: usize = 20_000;

/// Write an HTML report of a run: stages, times, curves, dropped documents, samples.
#[derive(Parser)]
#[command(name = "report", after_help = "Example: pipe report pipelines/gpt-small.yaml -o report.html")]
pub(super) struct Report {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// Run: its id or a prefix of it, `last`, `last~1`.
    #[arg(long, value_name = "RUN", default_value = "last")]
    run: String,
    /// File to write; `-` for stdout [default: NAME.html, after the name of the pipeline].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Whether a file holds something that no report begins with.
fn is_something_else(path: &Path) -> bool {
    const BEGINNING: &[u8] = b"<!doctype html>";
    let mut start = Vec::new();
    let regular = fs::metadata(path).is_ok_and(|data| data.is_file());
    let read = if regular { fs::File::open(path) } else { return false };
    read.and_then(|file| file.take(BEGINNING.len() as u64).read_to_end(&mut start)).is_ok()
        && !start.is_empty()
        && start != BEGINNING
}

impl Command for Report {
    fn run(self, program: &Program<'_>) -> Outcome {
        let runs = self.pipeline.runs(program.types)?;
        let run = runs.find(&self.run)?;
        let past = Past::of(run, &runs.store)?;
        let html = page(&past, run, &runs.all, &runs.store)?.html();
        let path = self.output.unwrap_or_else(|| format!("{}.html", run.head.pipeline).into());
        if path == Path::new("-") {
            ui::print_exactly(&html);
            return Ok(());
        }
        if is_something_else(&path) {
            let message = format!("`{}` is there and is no report, so it is not replaced", path.display());
            return Err(Failure::Usage(message, Some("choose another file with `-o`".to_owned())));
        }
        fs::write(&path, &html).map_err(|error| {
            Failure::Failed(
                format!("cannot write `{}`: {error}", path.display()),
                Some("choose another file with `-o`".to_owned()),
            )
        })?;
        if self.pipeline.json {
            ui::print(&pretty(&json!({ "version": 1, "run": run.id, "file": path, "bytes": html.len() })));
        } else {
            ui::say(&format!("wrote the report of {} to {}", run.id, path.display()));
        }
        Ok(())
    }
}

fn page(past: &Past<'_>, run: &RunFolder, all: &[RunFolder], store: &Store) -> Result<Page, Failure> {
    let seen = seen(run)?;
    let places: BTreeMap<&str, usize> =
        run.head.stages.iter().enumerate().map(|(place, stage)| (stage.name.as_str(), place)).collect();
    let made = |name: &str| past.stages.get(name).and_then(|stage| stage.made.as_ref());
    let key = |name: &str| made(name).map(|made| made.key).or_else(|| seen.stages.get(name)?.key);
    let names = run.head.stages.iter().map(|stage| stage.name.as_str());
    let keys = names.filter_map(|name| Some((name.to_owned(), key(name)?))).collect();
    let mut all_series = series(run, all, &keys)?;
    let stage = |(place, head): (usize, &crate::run::folder::HeadStage)| -> Result<ReportStage, Failure> {
        let closed = past.stages.get(&head.name);
        let made = made(&head.name);
        let needs = head.needs.iter().filter_map(|need| {
            // A stage depends only on earlier ones; ignore entries of a damaged head.
            let from = *places.get(need.stage.as_str()).filter(|from| **from < place)?;
            Some(Inflow { from, output: need.output.clone(), input: need.input.clone() })
        });
        Ok(ReportStage {
            name: head.name.clone(),
            uses: head.uses.clone(),
            needs: needs.collect(),
            outcome: closed.map(|stage| stage.outcome),
            took: made.map(|made| (made.seconds, made.memory_peak, made.output_bytes)),
            metrics: made.map_or(Vec::new(), |made| made.metrics.clone()),
            config: made.map_or(serde_json::Value::Null, |made| made.config.clone()),
            series: all_series.remove(&head.name).unwrap_or_default(),
            looks: made.map_or(Ok(Vec::new()), |made| looks(store, made))?,
            failed: seen.stages.get(&head.name).and_then(|stage| stage.failed.clone()),
        })
    };
    let stages = run.head.stages.iter().enumerate().map(stage).collect::<Result<_, _>>()?;
    Ok(Page {
        pipeline: run.head.pipeline.clone(),
        run: run.id.clone(),
        state: past.state,
        unmet: past.unmet.clone(),
        began: run.head.began.clone(),
        seconds: past.seconds,
        host: run.head.host.clone(),
        code: run.head.code.clone(),
        stages,
    })
}

/// The series of stages, by name, from all runs up to this one that worked on their keys: a stage that is cached here
/// was made in another, and one that was broken off went on in the next. Each run's events are read once.
fn series(
    run: &RunFolder,
    all: &[RunFolder],
    keys: &BTreeMap<String, Digest>,
) -> Result<BTreeMap<String, Series>, Failure> {
    const RUNS_MAX: usize = 100;
    let upto = all.iter().position(|other| other.id == run.id).map_or(0, |place| place + 1);
    let mut series = BTreeMap::new();
    for other in &all[upto.saturating_sub(RUNS_MAX)..upto] {
        // The specs say cheaply whether one of them was started there at all.
        let mut is_one_started = false;
        for stage in keys.keys() {
            is_one_started = is_one_started || other.has_started(stage)?;
        }
        if is_one_started {
            add_series(&mut series, &other.events(), keys)?;
        }
    }
    Ok(series)
}

/// A preview of each output, as in `pipe show`; outputs whose objects are missing are omitted.
fn looks(store: &Store, made: &StageResult) -> Result<Vec<Look>, Failure> {
    let record = Record::read(store, &made.key)?;
    let outputs = record.map_or_else(|| made.outputs.clone(), |record| record.outputs);
    let look = |(port, digest): (&String, &Digest)| {
        let artifact = read_artifact(store, digest)?;
        let kind = kind(&artifact.kind)?;
        let entries: Vec<LocalEntry> =
            artifact.entries.iter().map(|entry| LocalEntry::new(store, entry)).collect();
        let lines = if port == "samples" { LINES.1 } else { LINES.0 };
        let text = match (kind.look)(&entries, lines) {
            Err(Error::Missing { .. }) => return None,
            text => text.unwrap_or_else(|error| format!("cannot be shown: {error}")),
        };
        Some(Look {
            port: port.clone(),
            kind: artifact.kind.clone(),
            text: text.chars().take(LETTERS_MAX).collect(),
        })
    };
    Ok(outputs.iter().filter_map(look).collect())
}
