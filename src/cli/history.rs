//! `pipe history`: the runs of a pipeline, newest first.

use super::{
    Failure, Outcome, Pipeline, pretty,
    runs::{Runs, seen},
};
use crate::{
    record::Record,
    run::{
        RowOutcome,
        folder::{ClosedStage, RunFolder, RunState, StageResult, seconds_between},
        seen::SeenState,
    },
    stage_type::StageType,
    ui::{
        self, Cell,
        units::{figure, seconds},
    },
};
use pipe_stage::{Better, Metric, Store};
use serde_json::json;
use std::collections::BTreeMap;

/// Arguments of `pipe history`.
#[derive(clap::Args)]
pub(super) struct History {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// Runs to list, the newest ones.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "RUNS")]
    limit: usize,
}

impl History {
    pub(super) fn run(self, types: &[StageType]) -> Outcome {
        let Runs { store, all, .. } = self.pipeline.runs(types)?;
        let shown = all.iter().rev().take(self.limit).map(|run| Past::of(run, &store));
        let shown = shown.collect::<Result<Vec<_>, _>>()?.into_iter();
        if self.pipeline.json {
            let shown: Vec<_> = shown.map(|past| past.json()).collect();
            ui::print(&pretty(&json!({ "version": 1, "runs": shown })));
            return Ok(());
        }
        let rows = shown.map(|past| past.row()).collect();
        ui::print(&ui::table(&["run", "outcome", "time", "ran", "main metrics"], rows));
        if all.len() > self.limit {
            ui::say(&format!("and {} older ones; `--limit` shows more", all.len() - self.limit));
        }
        Ok(())
    }
}

/// A run and what became of its stages.
pub(super) struct Past<'a> {
    pub(super) run: &'a RunFolder,
    pub(super) state: RunState,
    /// How long it took, or has taken.
    pub(super) seconds: f64,
    pub(super) stages: BTreeMap<String, ClosedStage>,
}

impl<'a> Past<'a> {
    /// Looks at a run: as it ended, or as far as its events and the records go.
    pub(super) fn of(run: &'a RunFolder, store: &Store) -> Result<Self, Failure> {
        let state = run.state(store)?;
        if let Some(closed) = run.closed()? {
            let seconds = seconds_between(&run.head.began, &closed.ended);
            return Ok(Self { run, state, seconds, stages: closed.stages });
        }
        let seen = seen(run)?;
        let stages = seen.stages.iter().filter_map(|(name, stage)| {
            let outcome = match stage.state {
                SeenState::Cached => RowOutcome::Cached,
                SeenState::Done => RowOutcome::Ran,
                SeenState::Failed => RowOutcome::Failed,
                SeenState::Running => RowOutcome::Interrupted,
                SeenState::Waiting => return None,
            };
            let is_made = matches!(outcome, RowOutcome::Cached | RowOutcome::Ran);
            let key = stage.key.filter(|_| is_made);
            let record = key.and_then(|key| Some((key, Record::read(store, &key).ok()??)));
            let made = record.map(|(key, record)| StageResult::new(key, &record));
            Some((name.clone(), ClosedStage { outcome, made }))
        });
        let began = seconds_between("1970-01-01T00:00:00Z", &run.head.began);
        let until = if state == RunState::Running { ui::now() } else { seen.last };
        Ok(Self { run, state, seconds: (until - began).max(0.0), stages: stages.collect() })
    }

    /// Names of the stages with this outcome, in running order.
    fn with(&self, outcome: RowOutcome) -> Vec<&str> {
        let names = self.run.head.stages.iter().map(|stage| stage.name.as_str());
        names.filter(|name| self.stages.get(*name).is_some_and(|stage| stage.outcome == outcome)).collect()
    }

    /// The figures that judge the stages that ran; of the last of them whatever it has, where none judges.
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
        for (outcome, word) in [(RowOutcome::Failed, "failed"), (RowOutcome::Interrupted, "at work")] {
            let names = self.with(outcome);
            if !names.is_empty() {
                let apart = if ran.is_empty() { "" } else { "; " };
                ran += &format!("{apart}{word}: {}", list(names));
            }
        }
        const METRICS_MAX: usize = 3;
        let metrics = self.metrics();
        // Of the last stages: for their sake the others ran.
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
            "pinned": self.run.is_pinned(),
            "began": self.run.head.began,
            "seconds": self.seconds,
            "stages": stages,
            "metrics": metrics,
        })
    }
}
