//! `pipe check`, `pipe graph`, `pipe stages`: commands that look at texts and types only.

use super::{As, Failure, Outcome, Pipeline, draw, pretty};
use crate::{graph::Graph, reference, stage_type::StageType, ui};
use serde_json::json;

/// Arguments of `pipe check`.
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
}

/// Arguments of `pipe graph`.
#[derive(clap::Args)]
pub(super) struct Draw {
    #[command(flatten)]
    pipeline: Pipeline,
    /// Stages to draw, with all that they need [default: all].
    targets: Vec<String>,
    /// How to draw.
    #[arg(long = "as", value_enum, default_value = "text", value_name = "FORM")]
    form: As,
}

/// Arguments of `pipe stages`.
#[derive(clap::Args)]
pub(super) struct Stages {
    /// The stage type to explain [default: list all].
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let (session, stages, _) = self.pipeline.session(types, &[])?;
        if self.pipeline.json {
            let notes = super::notes(&session);
            ui::print(&ui::json(
                &json!({ "version": 1, "faults": [], "stages": stages.len(), "notes": notes }),
            ));
        } else {
            ui::print(&format!("`{}` is right: {} stages", session.manifest.pipeline, stages.len()));
            super::notes(&session).iter().for_each(|note| eprintln!("note: {note}"));
        }
        Ok(())
    }
}

impl Draw {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let manifest = self.pipeline.load(types)?;
        let targets = manifest.targets(self.targets.iter().map(String::as_str))?;
        let stages = Graph::new(&manifest).subset(&targets);
        ui::print(&draw(&manifest, types, &stages, self.form.into()));
        Ok(())
    }
}

impl Stages {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let Some(name) = self.name else {
            let text = if self.json {
                pretty(&types.iter().map(reference::json).collect::<Vec<_>>())
            } else {
                reference::overview(types)
            };
            ui::print(&text);
            return Ok(());
        };
        let Some(kind) = types.iter().find(|kind| kind.name == name) else {
            let known: Vec<&str> = types.iter().map(|kind| kind.name).collect();
            return Err(Failure::Call(
                format!("no stage type `{name}`"),
                Some(format!("there are: {}", known.join(", "))),
            ));
        };
        ui::print(&if self.json { pretty(&reference::json(kind)) } else { reference::text(kind) });
        Ok(())
    }
}
