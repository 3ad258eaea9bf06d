//! `pipe why`.

use super::{Command, Outcome, Pipeline, Program, plan, pretty, resumes::Resumes};
use crate::{
    plan::{Planned, Session, Verdict},
    ui::{
        self,
        units::{figure, seconds},
    },
};
use clap::Parser;
use serde_json::Value;

/// Explain why a stage would run, or where its result comes from.
#[derive(Parser)]
#[command(name = "why", after_help = "Example: pipe why pipelines/gpt-small.yaml base")]
pub(super) struct Why {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// The stage; of a matrix, all of its stages.
    stage: String,
}

impl Command for Why {
    fn run(self, program: &Program<'_>) -> Outcome {
        let (session, stages, targets) = self.pipeline.session(program.types, &[self.stage])?;
        let planned = session.plan(&stages, &targets)?;
        let own: Vec<&Planned> = planned.iter().filter(|planned| targets.contains(&planned.stage)).collect();
        let resumes = Resumes::of(&session, &planned)?;
        if self.pipeline.json {
            let all: Vec<Value> =
                own.iter().map(|planned| plan::as_json(&session, planned, &resumes)).collect();
            // A single stage is printed as an object, several of a matrix as a list.
            ui::print(&pretty(&if let [one] = &all[..] { one.clone() } else { Value::Array(all) }));
            return Ok(());
        }
        let texts: Vec<String> =
            own.into_iter().map(|planned| explained(&session, planned, &resumes)).collect();
        ui::print(&texts.join("\n"));
        Ok(())
    }
}

/// Everything that is known about the plan for a stage.
fn explained(session: &Session, own: &Planned, resumes: &Resumes) -> String {
    let name = session.name(own.stage);
    let mut text = match &own.verdict {
        Verdict::Cached(record) => {
            let metric =
                record.main_metric().map(|metric| format!(", {} {}", metric.name, figure(metric.value)));
            let (when, host) = (&record.finished, &record.machine.host);
            let made = match &record.adopted {
                Some(folder) => format!("adopted {when} from {folder} on {host}"),
                None => format!("computed {when} on {host} in {}", seconds(record.seconds)),
            };
            let is = if session.frozen_at(own.stage).is_some() { "frozen" } else { "up to date" };
            format!("`{name}` is {is}: {made}{}\n", metric.unwrap_or_default())
        }
        Verdict::Run(_) => format!("`{name}` would run:\n"),
        Verdict::DependsOn(_) => format!("`{name}` may run: it depends on stages that would run\n"),
        Verdict::Gone => format!("`{name}` would fail:\n"),
    };
    for reason in plan::reasons(session, own) {
        text += &format!("  {reason}\n");
    }
    if let Some(resume) = resumes.find(own.stage) {
        text += &format!("  {resume}\n");
    }
    if let Some(resolved) = &own.resolved {
        text += &format!("  key {}\n", resolved.key);
    }
    text + &format!("  recipe {}\n", own.recipe)
}
