//! `pipe check`, `pipe graph`, `pipe stages`: commands that run nothing.

use super::{As, Failure, Outcome, Pipeline, draw, pretty};
use crate::{graph::Graph, manifest::Manifest, reference, stage_type::StageType, ui};
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
    /// Stages to draw, with everything they depend on [default: all].
    targets: Vec<String>,
    /// Format of the drawing.
    #[arg(long = "as", value_enum, default_value = "text", value_name = "FORMAT")]
    form: As,
}

/// Arguments of `pipe stages`.
#[derive(clap::Args)]
pub(super) struct Stages {
    /// The stage type to describe [default: list all].
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let (session, stages, _) = self.pipeline.session(types, &[])?;
        session.preview(&stages)?;
        if self.pipeline.json {
            let notes = super::notes(&session);
            ui::print(&ui::json(
                &json!({ "version": 1, "errors": [], "stages": stages.len(), "notes": notes }),
            ));
        } else {
            let stages = ui::counted(stages.len(), "stage");
            ui::print(&format!("`{}` is valid: {stages}", session.manifest.pipeline));
            super::notes(&session).iter().for_each(|note| ui::say(&format!("note: {note}")));
        }
        Ok(())
    }
}

impl Draw {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let manifest = self.pipeline.load(types)?;
        let targets = manifest.targets(self.targets.iter().map(String::as_str))?;
        let stages = Graph::new(&manifest).subset(&targets);
        if self.pipeline.json {
            ui::print(&pretty(&as_json(&manifest, types, &stages)));
        } else {
            ui::print(&draw(&manifest, types, &stages, self.form.into()));
        }
        Ok(())
    }
}

/// The stages and the edges between them.
fn as_json(manifest: &Manifest, types: &[StageType], stages: &[usize]) -> serde_json::Value {
    let name = |stage: usize| manifest.stages.get_index(stage).map_or("", |(name, _)| name.as_str());
    let node = |stage: &usize| {
        let own = &manifest.stages[*stage];
        let output = |output: &crate::manifest::Output| json!({ "name": output.name, "kind": output.kind });
        let outputs: Vec<_> = own.config.ports.outputs.iter().map(output).collect();
        json!({ "stage": name(*stage), "uses": types[own.uses].name, "outputs": outputs })
    };
    let edges = stages.iter().flat_map(|stage| {
        manifest.stages[*stage].needs.iter().flat_map(move |(input, needs)| {
            needs.iter().map(move |need| {
                json!({
                    "from": name(need.stage), "output": need.output,
                    "to": name(*stage), "input": input, "label": need.label,
                })
            })
        })
    });
    json!({
        "version": 1,
        "pipeline": manifest.pipeline,
        "stages": stages.iter().map(node).collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
    })
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
                Some(format!("known types: {}", known.join(", "))),
            ));
        };
        ui::print(&if self.json { pretty(&reference::json(kind)) } else { reference::text(kind) });
        Ok(())
    }
}
