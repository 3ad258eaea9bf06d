//! `pipe history`: the runs of a pipeline, newest first; optionally with selected metrics, or only those that used a
//! source.

use super::{
    Command, Failure, Outcome, Pipeline, Program, pretty,
    runs::{Runs, seen},
};
use crate::{
    manifest::nearest,
    record::Record,
    run::{
        RowOutcome,
        folder::{ClosedStage, RunFolder, RunState, StageResult, seconds_between},
        seen::SeenState,
    },
    ui::{
        self, Cell,
        units::{figure, seconds},
    },
};
use clap::Parser;
use indexmap::IndexSet;
use pipe_stage::{Better, Digest, Metric, Store};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// List the runs of a pipeline, newest first.
#[derive(Parser)]
#[command(name = "history", after_help = "Example: pipe history pipelines/gpt-small.yaml --limit 5")]
pub(super) struct History {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// Number of runs to list, newest first.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "RUNS")]
    limit: usize,
    /// Metrics to compare, separated by commas: `val_loss` or `base.val_loss`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Only list runs that used this source: a name under `sources`, or the path of a file.
    #[arg(long, value_name = "NAME|PATH")]
    source: Option<String>,
}

impl Command for History {
    fn run(self, program: &Program<'_>) -> Outcome {
        let Runs { store, all, .. } = self.pipeline.runs(program.types)?;
        let mut fitting = Vec::new();
        for run in all.iter().rev() {
            let past = Past::of(run, &store)?;
            let used = match &self.source {
                Some(source) => match past.used(&store, source)? {
                    None => continue,
                    used => used,
                },
                None => None,
            };
            fitting.push((past, used));
            // One more than shown, to know whether there are older ones.
            if fitting.len() > self.limit {
                break;
            }
        }
        let has_more = fitting.len() > self.limit;
        fitting.truncate(self.limit);
        if let (Some(source), true) = (&self.source, fitting.is_empty()) {
            ui::say(&format!("no recorded run used `{source}`"));
        }
        let columns = columns(&fitting, &self.metrics)?;
        if self.pipeline.json {
            let run = |(past, used): &(Past<'_>, Option<Used>)| {
                let mut output = past.json();
                if !columns.is_empty() {
                    let value =
                        |(stage, name): &(String, String)| past.metric(stage, name).map(|found| found.value);
                    let values = columns
                        .iter()
                        .map(|column| (format!("{}.{}", column.0, column.1), json!(value(column))));
                    output["values"] = values.collect::<serde_json::Map<_, _>>().into();
                }
                if let Some(Used { files, is_changed }) = used {
                    output["source"] = json!({ "files": files, "changed": is_changed });
                }
                output
            };
            let shown: Vec<_> = fitting.iter().map(run).collect();
            ui::print(&pretty(&json!({ "version": 1, "runs": shown, "more": has_more })));
            return Ok(());
        }
        ui::print(&if columns.is_empty() { overview(&fitting) } else { side_by_side(&fitting, &columns) });
        if has_more {
            ui::say("there are older runs; `--limit` shows more");
        }
        Ok(())
    }
}

/// The runs, each with the stages that ran and their main metrics.
fn overview(runs: &[(Past<'_>, Option<Used>)]) -> String {
    let mut heading = vec!["run", "outcome", "time", "ran", "main metrics"];
    let has_source = runs.iter().any(|(_, used)| used.is_some());
    if has_source {
        heading.push("source");
    }
    let row = |(past, used): &(Past<'_>, Option<Used>)| {
        let mut row = past.row();
        row.extend(used.as_ref().map(|used| Cell::Text(used.to_string())));
        row
    };
    ui::table(&heading, runs.iter().map(row).collect())
}

/// The runs with one column per selected metric.
fn side_by_side(runs: &[(Past<'_>, Option<Used>)], columns: &[(String, String)]) -> String {
    let names: Vec<String> = columns.iter().map(|(stage, name)| format!("{stage}.{name}")).collect();
    let heading: Vec<&str> = ["run", "outcome"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let row = |(past, _): &(Past<'_>, Option<Used>)| {
        let value = |(stage, name): &(String, String)| {
            Cell::Figure(past.metric(stage, name).map_or("-".to_owned(), |metric| figure(metric.value)))
        };
        let begin = [past.run.id.clone(), past.state.as_str().to_owned()].map(Cell::Text);
        begin.into_iter().chain(columns.iter().map(value)).collect()
    };
    ui::table(&heading, runs.iter().map(row).collect())
}

/// Finds metrics by name, as stage and name: `val_loss` selects those of all stages.
fn columns(runs: &[(Past<'_>, Option<Used>)], wanted: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut known: IndexSet<(String, String)> = IndexSet::new();
    for (past, _) in runs {
        for head in &past.run.head.stages {
            let made = past.stages.get(&head.name).and_then(|stage| stage.made.as_ref());
            let metrics = made.map_or(&[][..], |made| &made.metrics[..]);
            known.extend(metrics.iter().map(|metric| (head.name.clone(), metric.name.clone())));
        }
    }
    let mut columns = Vec::new();
    for wanted in wanted.iter().filter(|wanted| !wanted.is_empty()) {
        let before = columns.len();
        let fits = |(stage, name): &&(String, String)| {
            name == wanted
                || wanted.strip_prefix(stage.as_str()).and_then(|rest| rest.strip_prefix('.')) == Some(name)
        };
        columns.extend(known.iter().filter(fits).cloned());
        if columns.len() == before && !runs.is_empty() {
            let names: BTreeSet<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let help = match nearest(wanted.rsplit('.').next().unwrap_or(wanted), &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known metrics: {}", names.join(", ")),
            };
            return Err(Failure::Usage(format!("none of these runs has a metric `{wanted}`"), Some(help)));
        }
    }
    Ok(columns)
}

/// What a run used of a source.
pub(super) struct Used {
    /// Number of matching files.
    files: usize,
    /// For a single file that still exists: whether its content has changed.
    is_changed: Option<bool>,
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_changed {
            Some(true) => f.write_str("changed since"),
            Some(false) => f.write_str("unchanged"),
            None => f.write_str(&ui::counted(self.files, "file")),
        }
    }
}

/// A run and the outcomes of its stages.
pub(super) struct Past<'a> {
    pub(super) run: &'a RunFolder,
    pub(super) state: RunState,
    /// Its duration so far.
    pub(super) seconds: f64,
    pub(super) stages: BTreeMap<String, ClosedStage>,
    /// What the manifest expected of metrics and did not hold.
    pub(super) unmet: Vec<String>,
}

impl<'a> Past<'a> {
    /// Reads a run: as it ended, or as far as its events and records go.
    pub(super) fn of(run: &'a RunFolder, store: &Store) -> Result<Self, Failure> {
        let state = run.state(store)?;
        if let Some(closed) = run.closed()? {
            let seconds = seconds_between(&run.head.began, &closed.ended);
            return Ok(Self { run, state, seconds, stages: closed.stages, unmet: closed.unmet });
        }
        let seen = seen(run)?;
        let mut stages = BTreeMap::new();
        for (name, stage) in &seen.stages {
            let outcome = match stage.state {
                SeenState::Cached => RowOutcome::Cached,
                SeenState::Done => RowOutcome::Ran,
                SeenState::Failed => RowOutcome::Failed,
                SeenState::Running => RowOutcome::Interrupted,
                SeenState::Waiting => continue,
            };
            let is_made = matches!(outcome, RowOutcome::Cached | RowOutcome::Ran);
            let key = stage.key.filter(|_| is_made);
            let record = key.map(|key| Record::read(store, &key)).transpose()?.flatten();
            let made = key.zip(record).map(|(key, record)| StageResult::new(key, &record));
            stages.insert(name.clone(), ClosedStage { outcome, made });
        }
        let began = seconds_between("1970-01-01T00:00:00Z", &run.head.began);
        let until = if state == RunState::Running { ui::now() } else { seen.last };
        let seconds = (until - began).max(0.0);
        Ok(Self { run, state, seconds, stages, unmet: Vec::new() })
    }

    /// A metric of a stage.
    fn metric(&self, stage: &str, name: &str) -> Option<&Metric> {
        let made = self.stages.get(stage)?.made.as_ref()?;
        made.metrics.iter().find(|metric| metric.name == name)
    }

    /// What this run used of a source, given by name or by the path of a file; none if it did not use it.
    fn used(&self, store: &Store, wanted: &str) -> Result<Option<Used>, Failure> {
        let path = Path::new(wanted);
        let plain = path.strip_prefix("./").unwrap_or(path);
        let mut digests = BTreeSet::new();
        let mut files = 0;
        for made in self.stages.values().filter_map(|stage| stage.made.as_ref()) {
            let listing = Record::read(store, &made.key)?.and_then(|record| record.sources);
            let bytes = match listing.map(|listing| store.read(&listing)) {
                // Deleted since, to save space.
                None | Some(Err(pipe_cache::Error::Missing { .. })) => continue,
                Some(bytes) => bytes?,
            };
            for line in String::from_utf8_lossy(&bytes).lines() {
                let mut fields = line.splitn(3, '\t');
                let (Some(digest), Some(source), Some(name)) = (fields.next(), fields.next(), fields.next())
                else {
                    continue;
                };
                // In the name of a source, its format follows after a colon.
                let is_named = source.split(':').next() == Some(wanted);
                let is_file = !name.is_empty() && (plain.ends_with(name) || Path::new(name).ends_with(plain));
                if is_named || is_file {
                    files += 1;
                }
                if is_file && !is_named {
                    digests.insert(digest.to_owned());
                }
            }
        }
        let now = || std::fs::read(path).ok().map(|bytes| Digest::of(&bytes).to_string());
        let is_changed = (digests.len() == 1).then(now).flatten().map(|now| !digests.contains(&now));
        Ok((files > 0).then_some(Used { files, is_changed }))
    }

    /// Names of the stages with this outcome, in running order.
    fn with(&self, outcome: RowOutcome) -> Vec<&str> {
        let names = self.run.head.stages.iter().map(|stage| stage.name.as_str());
        names.filter(|name| self.stages.get(*name).is_some_and(|stage| stage.outcome == outcome)).collect()
    }

    /// The metrics of the stages that ran for which higher or lower is better; if there are none, the last metric.
    fn metrics(&self) -> Vec<(&str, &Metric)> {
        let of = |name: &&str| self.stages[*name].made.as_ref().map_or(Vec::new(), StageResult::main_metrics);
        let ran = self.with(RowOutcome::Ran);
        let all: Vec<(&str, &Metric)> =
            ran.iter().flat_map(|name| of(name).into_iter().map(move |metric| (*name, metric))).collect();
        let judging: Vec<_> =
            all.iter().filter(|(_, metric)| metric.better != Better::Neutral).copied().collect();
        if judging.is_empty() { all.into_iter().rev().take(1).collect() } else { judging }
    }

    fn row(&self) -> Vec<Cell> {
        const NAMES_MAX: usize = 4;
        let list = |names: Vec<&str>| {
            let more = names.len().saturating_sub(NAMES_MAX);
            let shown = names[..names.len() - more].join(", ");
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        let mut ran = list(self.with(RowOutcome::Ran));
        for (outcome, word) in [(RowOutcome::Failed, "failed"), (RowOutcome::Interrupted, "was running")] {
            let names = self.with(outcome);
            if !names.is_empty() {
                let apart = if ran.is_empty() { "" } else { "; " };
                ran += &format!("{apart}{word}: {}", list(names));
            }
        }
        const METRICS_MAX: usize = 3;
        let metrics = self.metrics();
        // Those of the last stages are the most important.
        let shown: Vec<String> = metrics[metrics.len().saturating_sub(METRICS_MAX)..]
            .iter()
            .map(|(stage, metric)| format!("{stage} {} {}", metric.name, figure(metric.value)))
            .collect();
        let pinned = if self.run.is_pinned() { " (pinned)" } else { "" };
        vec![
            Cell::Text(format!("{}{pinned}", self.run.id)),
            Cell::Text(self.state.as_str().to_owned()),
            Cell::Figure(seconds(self.seconds)),
            Cell::Text(ran),
            Cell::Text(shown.join(", ")),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let stages: BTreeMap<_, _> =
            self.stages.iter().map(|(name, stage)| (name, stage.outcome.as_str())).collect();
        let metrics: Vec<_> = self
            .metrics()
            .into_iter()
            .map(|(stage, metric)| json!({ "stage": stage, "metric": metric }))
            .collect();
        json!({
            "run": self.run.id,
            "state": self.state,
            "unmet": self.unmet,
            "pinned": self.run.is_pinned(),
            "began": self.run.head.began,
            "seconds": self.seconds,
            "stages": stages,
            "metrics": metrics,
        })
    }
}
