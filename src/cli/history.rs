//! `pipe history`: the runs of a pipeline, newest first; optionally with selected metrics, or only those that used a
//! source.

use super::{
    Command, Failure, Outcome, Pipeline, Program, pretty,
    runs::{Runs, seen},
};
use crate::{
    manifest::{nearest, selects, split_names, split_output},
    record::Record,
    run::{
        RowOutcome,
        folder::{ClosedStage, RunFolder, RunState, StageResult, seconds_between},
        seen::SeenState,
    },
    ui::{
        self, Cell, Narrow,
        units::{figure, seconds},
    },
};
use clap::Parser;
use indexmap::{IndexMap, IndexSet};
use pipe_stage::{Better, Digest, Metric, Store};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// List the runs of a pipeline, newest first.
#[derive(Parser)]
#[command(
    name = "history",
    after_help = "Example: pipe history pipelines/gpt-small.yaml --limit 5 --metric val_loss,accuracy"
)]
pub(super) struct History {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// Number of runs to list, newest first.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "RUNS")]
    limit: usize,
    /// Metrics to compare, such as `val_loss`, `base.val_loss` or `base[lr=1e-3,seed=2].val_loss`; repeatable, or
    /// separated by commas [default: the main metrics].
    #[arg(long = "metric", visible_alias = "metrics", value_name = "NAME")]
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
        let wanted: Vec<&str> = self.metrics.iter().flat_map(|names| split_names(names)).collect();
        let chosen = chosen(&fitting, &wanted)?;
        let has_chosen = !wanted.is_empty();
        if self.pipeline.json {
            let run = |(past, used): &(Past<'_>, Option<Used>)| {
                let mut output = past.json();
                if has_chosen {
                    let value =
                        |(stage, name): &(String, String)| past.metric(stage, name).map(|found| found.value);
                    let values = chosen
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
        if has_chosen {
            ui::print(&table(&fitting, &chosen, Overview::Metrics));
        } else {
            let (main, left_out) = main_metrics(&fitting);
            ui::print(&table(&fitting, &main, Overview::Stages));
            if left_out > 0 {
                let more = ui::counted(left_out, "more main metric");
                ui::say(&format!("{more} not shown; `--metric NAME` chooses metrics"));
            }
        }
        if has_more {
            ui::say("there are older runs; `--limit` shows more");
        }
        Ok(())
    }
}

/// What a table of runs shows besides metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overview {
    /// How long a run took, and which stages ran.
    Stages,
    /// Nothing.
    Metrics,
}

/// A metric of a stage: names of both.
type StageMetric = (String, String);

/// The runs with a column for each of these metrics.
fn table(runs: &[(Past<'_>, Option<Used>)], metrics: &[StageMetric], overview: Overview) -> String {
    let names: Vec<String> = metrics.iter().map(|(stage, name)| format!("{stage}.{name}")).collect();
    let has_source = runs.iter().any(|(_, used)| used.is_some());
    let mut heading = vec!["run", "outcome"];
    if overview == Overview::Stages {
        heading.extend(["time", "ran"]);
    }
    heading.extend(has_source.then_some("source"));
    let keys = heading.len();
    heading.extend(names.iter().map(String::as_str));
    let row = |(past, used): &(Past<'_>, Option<Used>)| {
        let pinned = if past.run.is_pinned() { " (pinned)" } else { "" };
        let mut row =
            vec![Cell::Text(format!("{}{pinned}", past.run.id)), Cell::Text(past.state.as_str().to_owned())];
        if overview == Overview::Stages {
            row.extend([Cell::Figure(seconds(past.seconds)), Cell::Text(past.ran())]);
        }
        if has_source {
            row.push(Cell::Text(used.as_ref().map(ToString::to_string).unwrap_or_default()));
        }
        row.extend(metrics.iter().map(|(stage, name)| {
            Cell::Figure(past.metric(stage, name).map_or("-".to_owned(), |metric| figure(metric.value)))
        }));
        row
    };
    let narrow = Narrow { spare: &["ran", "time", "source"], repeated: Some(keys) };
    ui::table(&heading, runs.iter().map(row).collect(), narrow)
}

/// The metrics to show if none were chosen, and the number of those that are left out: of each stage, the first for
/// which higher or lower is better; of one that scores several models (`base.perplexity`), the first of each model.
/// If no stage has such a metric, the first of the last stage.
fn main_metrics(runs: &[(Past<'_>, Option<Used>)]) -> (Vec<StageMetric>, usize) {
    const SHOWN_MAX: usize = 4;
    let mut stages: IndexMap<&str, Vec<&Metric>> = IndexMap::new();
    for (past, _) in runs {
        for head in &past.run.head.stages {
            let made = past.stages.get(&head.name).and_then(|stage| stage.made.as_ref());
            let known = stages.entry(&head.name).or_default();
            for metric in made.map_or(Vec::new(), StageResult::main_metrics) {
                if known.iter().all(|known| known.name != metric.name) {
                    known.push(metric);
                }
            }
        }
    }
    let mut main: Vec<StageMetric> = Vec::new();
    for (stage, metrics) in &stages {
        let mut models = BTreeSet::new();
        for metric in metrics.iter().filter(|metric| metric.better != Better::Neutral) {
            if models.insert(metric.name.rsplit_once('.').map(|(model, _)| model)) {
                main.push(((*stage).to_owned(), metric.name.clone()));
            }
        }
    }
    if main.is_empty() {
        let last = stages.iter().rev().find_map(|(stage, metrics)| Some((stage, metrics.first()?)));
        main.extend(last.map(|(stage, metric)| ((*stage).to_owned(), metric.name.clone())));
    }
    // Those of the last stages are the most important.
    let left_out = main.len().saturating_sub(SHOWN_MAX);
    (main.split_off(left_out), left_out)
}

/// Finds metrics by name, as stage and name: `perplexity` selects those of all stages and models, `base.val_loss` those
/// of all stages of a matrix `base`.
fn chosen(runs: &[(Past<'_>, Option<Used>)], wanted: &[&str]) -> Result<Vec<StageMetric>, Failure> {
    let mut known: IndexSet<StageMetric> = IndexSet::new();
    for (past, _) in runs {
        for head in &past.run.head.stages {
            let made = past.stages.get(&head.name).and_then(|stage| stage.made.as_ref());
            let metrics = made.map_or(&[][..], |made| &made.metrics[..]);
            known.extend(metrics.iter().map(|metric| (head.name.clone(), metric.name.clone())));
        }
    }
    let mut columns = Vec::new();
    for wanted in wanted {
        let before = columns.len();
        let (selector, metric) = split_output(wanted);
        let fits = |(stage, name): &&(String, String)| {
            name == wanted
                || name.strip_suffix(wanted).is_some_and(|model| model.ends_with('.'))
                || (metric == Some(name) && selects(selector, stage))
        };
        columns.extend(known.iter().filter(fits).cloned());
        if columns.len() == before && !runs.is_empty() {
            let names: BTreeSet<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let stages: Vec<&str> = known
                .iter()
                .filter(|(_, name)| metric == Some(name))
                .map(|(stage, _)| stage.as_str())
                .collect();
            let help = match nearest(wanted.rsplit('.').next().unwrap_or(wanted), &names) {
                _ if !stages.is_empty() => format!("stages that report it: {}", stages.join(", ")),
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
                SeenState::Frozen => RowOutcome::Frozen,
                SeenState::Done => RowOutcome::Ran,
                SeenState::Failed => RowOutcome::Failed,
                SeenState::Running => RowOutcome::Interrupted,
                SeenState::Waiting => continue,
            };
            let key = stage.key.filter(|_| outcome.is_done());
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

    /// The stages that ran, and those that failed or were running.
    fn ran(&self) -> String {
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
        ran
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
