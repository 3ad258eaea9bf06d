//! `pipe plan` and `pipe why`.

use super::{Failure, Outcome, Pipeline};
use crate::{
    plan::{Planned, Session, Verdict},
    run::machine,
    stage_type::StageType,
    ui::{
        self, Cell,
        units::{bytes, figure, seconds},
    },
};
use serde_json::{Value, json};

/// Arguments of `pipe plan`.
#[derive(clap::Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// Stages to plan, with all that they need [default: all].
    targets: Vec<String>,
    /// Exit with 3 if something would run.
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Arguments of `pipe why`.
#[derive(clap::Args)]
pub(super) struct Why {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// The stage.
    stage: String,
}

impl Plan {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let (session, stages, targets) = self.pipeline.session(types, &self.targets)?;
        let planned = session.plan(&stages, &targets)?;
        let runs = planned.iter().any(|planned| !matches!(planned.verdict, Verdict::Cached(_)));
        if self.pipeline.json {
            let all: Vec<Value> = planned.iter().map(|planned| as_json(&session, planned)).collect();
            let (pipeline, notes) = (&session.manifest.pipeline, super::notes(&session));
            ui::print(&super::pretty(
                &json!({ "version": 1, "pipeline": pipeline, "stages": all, "notes": notes }),
            ));
        } else {
            ui::print(&as_text(&session, &planned));
            super::notes(&session).iter().for_each(|note| eprintln!("note: {note}"));
        }
        if runs && self.detailed_exitcode { Err(Failure::WouldRun) } else { Ok(()) }
    }
}

impl Why {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let (session, stages, targets) = self.pipeline.session(types, &[self.stage])?;
        let planned = session.plan(&stages, &targets)?;
        let own = planned.iter().find(|planned| planned.stage == targets[0]);
        let own = own.expect("invariant: a target is planned");
        if self.pipeline.json {
            ui::print(&super::pretty(&as_json(&session, own)));
            return Ok(());
        }
        let name = session.name(own.stage);
        let mut text = match &own.verdict {
            Verdict::Cached(record) => {
                let metric =
                    record.main_metric().map(|metric| format!(", {} {}", metric.name, figure(metric.value)));
                format!(
                    "`{name}` is up to date: made {} on {} in {}{}\n",
                    record.finished,
                    record.machine.host,
                    seconds(record.seconds),
                    metric.unwrap_or_default()
                )
            }
            Verdict::Run(_) => format!("`{name}` would run:\n"),
            Verdict::DependsOn(_) => format!("`{name}` may run: stages that it needs do\n"),
        };
        for reason in reasons(&session, own) {
            text += &format!("  {reason}\n");
        }
        if let Some(resolved) = &own.resolved {
            text += &format!("  key {}\n", resolved.key);
        }
        text += &format!("  recipe {}\n", own.recipe);
        ui::print(&text);
        Ok(())
    }
}

fn as_text(session: &Session, planned: &[Planned]) -> String {
    let line = |planned: &Planned| {
        let what = match &planned.verdict {
            Verdict::Cached(_) => "cached",
            Verdict::Run(_) => "run",
            Verdict::DependsOn(_) => "depends",
        };
        let estimate = planned.estimate.as_ref();
        let is_cached = matches!(planned.verdict, Verdict::Cached(_));
        let unknown = || if is_cached { String::new() } else { "unknown".to_owned() };
        let time = estimate.map_or_else(unknown, |estimate| {
            let spread = if estimate.runs > 1 {
                format!(" ({} to {})", seconds(estimate.seconds_min), seconds(estimate.seconds_max))
            } else {
                String::new()
            };
            seconds(estimate.seconds) + &spread
        });
        vec![
            Cell::Text(session.name(planned.stage).to_owned()),
            Cell::Text(what.to_owned()),
            Cell::Figure(time),
            Cell::Figure(estimate.map_or_else(unknown, |estimate| bytes(estimate.memory_peak))),
            Cell::Figure(estimate.map_or_else(unknown, |estimate| bytes(estimate.output_bytes))),
            Cell::Text(reasons(session, planned).join("; ")),
        ]
    };
    let heading = ["stage", "plan", "time", "memory", "disk", "why"];
    let mut text = ui::table(&heading, planned.iter().map(line).collect());
    let open: Vec<&Planned> =
        planned.iter().filter(|planned| !matches!(planned.verdict, Verdict::Cached(_))).collect();
    let cached = planned.len() - open.len();
    if open.is_empty() {
        return text + &format!("\nnothing to do: all {cached} stages are up to date\n");
    }
    let known: Vec<_> = open.iter().filter_map(|planned| planned.estimate.as_ref()).collect();
    text += &format!("\n{} to run, {cached} cached; ", open.len());
    text += &match known.len() {
        0 => "cost unknown: none of them has run here".to_owned(),
        count => {
            let time: f64 = known.iter().map(|estimate| estimate.seconds).sum();
            let disk: u64 = known.iter().map(|estimate| estimate.output_bytes).sum();
            let unknown = open.len() - count;
            let more = if unknown > 0 { format!(" and {unknown} unknown") } else { String::new() };
            let free = machine::disk_free(session.store.root());
            let free = free.map(|free| format!(" of {} free", bytes(free))).unwrap_or_default();
            format!("about {} of work, {} of disk{free}{more}", seconds(time), bytes(disk))
        }
    };
    text + "\n"
}

/// Why a stage runs, and how much of it.
fn reasons(session: &Session, planned: &Planned) -> Vec<String> {
    match &planned.verdict {
        Verdict::Cached(_) => Vec::new(),
        Verdict::DependsOn(upstream) => {
            let names: Vec<&str> = upstream.iter().map(|stage| session.name(*stage)).collect();
            vec![format!("needs {}", names.join(", "))]
        }
        Verdict::Run(work) => {
            let mut reasons: Vec<String> = work.reasons.iter().map(ToString::to_string).collect();
            if let Some((step, shares, of)) = &work.missing {
                reasons.push(format!("{step}: {shares} of {of} shares to do"));
            }
            reasons
        }
    }
}

fn as_json(session: &Session, planned: &Planned) -> Value {
    let mut value = json!({
        "stage": session.name(planned.stage),
        "uses": session.kind(planned.stage).name,
        "recipe": planned.recipe,
        "key": planned.resolved.as_ref().map(|resolved| resolved.key),
        "estimate": planned.estimate,
    });
    match &planned.verdict {
        Verdict::Cached(record) => {
            value["plan"] = "cached".into();
            value["outputs"] = json!(record.outputs);
        }
        Verdict::Run(work) => {
            value["plan"] = "run".into();
            value["why"] = json!(work.reasons);
            value["told"] = json!(reasons(session, planned));
            value["missing"] = json!(
                work.missing
                    .as_ref()
                    .map(|(step, shares, of)| { json!({ "step": step, "shares": shares, "of": of }) })
            );
        }
        Verdict::DependsOn(upstream) => {
            value["plan"] = "depends".into();
            value["upstream"] = upstream.iter().map(|stage| session.name(*stage)).collect();
        }
    }
    value
}
