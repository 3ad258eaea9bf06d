//! `pipe status`: what is running, whichever terminal started it. It reads the events of runs and does not contact
//! the engine.

use super::{Command, Outcome, Pipeline, Program, pretty, runs::seen};
use crate::{
    run::{
        folder::{RunFolder, RunState, seconds_between},
        seen::{Seen, SeenStage, SeenState},
    },
    ui::{
        self, Cell, Narrow,
        units::{figure, seconds},
    },
};
use clap::Parser;
use serde_json::{Value, json};

/// Show what is running, whichever terminal started it.
#[derive(Parser)]
#[command(name = "status", after_help = "Example: pipe status pipelines/gpt-small.yaml")]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
}

impl Command for Status {
    fn run(self, program: &Program<'_>) -> Outcome {
        let runs = self.pipeline.runs(program.types)?;
        let mut live: Vec<(&RunFolder, Seen)> = Vec::new();
        for run in &runs.all {
            if run.state(&runs.store)? == RunState::Running {
                live.push((run, seen(run)?));
            }
        }
        let now = ui::now();
        if self.pipeline.json {
            let live: Vec<Value> = live.iter().map(|(run, seen)| as_json(run, seen, now)).collect();
            ui::print(&pretty(&json!({ "version": 1, "runs": live })));
            return Ok(());
        }
        for (run, seen) in &live {
            ui::print(&as_text(run, seen, now));
        }
        if let ([], Some(last)) = (&live[..], runs.all.last()) {
            let state = last.state(&runs.store)?.as_str();
            ui::say(&format!("nothing is running; the last run was {} ({state})", last.id));
        }
        Ok(())
    }
}

fn age(run: &RunFolder, now: f64) -> f64 {
    (now - seconds_between("1970-01-01T00:00:00Z", &run.head.began)).max(0.0)
}

/// The stages of a run in running order, with their state.
fn stages<'a>(run: &'a RunFolder, seen: &'a Seen) -> impl Iterator<Item = (&'a str, Option<&'a SeenStage>)> {
    run.head.stages.iter().map(|stage| (stage.name.as_str(), seen.stages.get(&stage.name)))
}

fn as_text(run: &RunFolder, seen: &Seen, now: f64) -> String {
    let count = |wanted: fn(Option<SeenState>) -> bool| {
        stages(run, seen).filter(|(_, stage)| wanted(stage.map(|stage| stage.state))).count()
    };
    let cached = count(|state| state.is_some_and(SeenState::is_kept));
    let to_come = count(|state| state.is_none());
    let stopping = if seen.stopping { ", stopping" } else { "" };
    let mut text = format!(
        "run {} for {}, process {} on {}{stopping}: {cached} cached, {to_come} waiting to start\n",
        run.id,
        seconds(age(run, now)),
        run.head.pid,
        run.head.host
    );
    let rows: Vec<Vec<Cell>> = stages(run, seen)
        .filter_map(|(name, stage)| Some((name, stage?)))
        .filter(|(_, stage)| !stage.state.is_kept())
        .map(|(name, stage)| row(name, stage, now))
        .collect();
    if !rows.is_empty() {
        let heading = ["stage", "state", "time", "step", "progress", "metric"];
        text += &ui::table(&heading, rows, Narrow::without(&["step", "time"]));
    }
    text
}

fn row(name: &str, stage: &SeenStage, now: f64) -> Vec<Cell> {
    let time = stage.seconds(now).map(seconds).unwrap_or_default();
    let mut cells =
        vec![Cell::Text(name.to_owned()), Cell::Text(stage.state.as_str().to_owned()), Cell::Figure(time)];
    let (step, progress, last) = match stage.state {
        SeenState::Running => (
            stage.step.as_ref().map(|(step, done, of)| format!("{step}, {done} of {of} tasks")),
            stage.progress.as_ref().map(|(unit, done, total)| match total {
                Some(total) if *total > 0 => {
                    format!("{done} of {total} {unit} ({:.0} %)", 100.0 * *done as f64 / *total as f64)
                }
                _ => format!("{done} {unit}"),
            }),
            loss(stage),
        ),
        SeenState::Done => {
            let metric = stage.row.as_ref().and_then(|row| row.metric.as_ref());
            (None, None, metric.map(|metric| format!("{} {}", metric.name, figure(metric.value))))
        }
        SeenState::Failed => (None, None, stage.failed.as_ref().map(|(error, _)| error.clone())),
        SeenState::Waiting => (None, None, stage.note.clone()),
        SeenState::Cached | SeenState::Frozen => (None, None, None),
    };
    cells.extend([step, progress, last].map(|text| Cell::Text(text.unwrap_or_default())));
    cells
}

/// The point to show: that of the loss, if there is one.
fn loss(stage: &SeenStage) -> Option<String> {
    let (name, (step, value)) =
        stage.metrics.get_key_value("loss").or_else(|| stage.metrics.iter().next())?;
    Some(format!("{name} {} at {step}", figure(*value)))
}

fn as_json(run: &RunFolder, seen: &Seen, now: f64) -> Value {
    let stage = |(name, stage): (&str, Option<&SeenStage>)| match stage {
        None => json!({ "stage": name, "state": "to_come" }),
        Some(stage) => json!({
            "stage": name,
            "state": stage.state,
            "seconds": stage.seconds(now),
            "cpus": stage.cpus,
            "tries": stage.tries,
            "step": stage.step.as_ref().map(|(step, done, of)| json!({ "step": step, "done": done, "of": of })),
            "progress": stage.progress.as_ref().map(|(unit, done, total)| {
                json!({ "unit": unit, "done": done, "total": total })
            }),
            "metrics": stage.metrics.iter().map(|(name, (step, value))| {
                json!({ "name": name, "step": step, "value": value })
            }).collect::<Vec<_>>(),
            "note": stage.note,
            "error": stage.failed.as_ref().map(|(error, _)| error),
        }),
    };
    json!({
        "run": run.id,
        "began": run.head.began,
        "seconds": age(run, now),
        "host": run.head.host,
        "pid": run.head.pid,
        "stopping": seen.stopping,
        "stages": stages(run, seen).map(stage).collect::<Vec<_>>(),
    })
}
