//! `pipe graph`.

use super::{Command, Outcome, Pipeline, Program, pretty};
use crate::{
    graph::{Drawing, Graph, draw, rows},
    manifest::{Manifest, Output},
    stage_type::StageType,
    ui::{self, Cell, Narrow},
};
use clap::{Parser, ValueEnum};
use serde_json::json;

/// Draw the stages and the artifacts that flow between them.
#[derive(Parser)]
#[command(name = "graph", after_help = "Example: pipe graph pipelines/gpt-small.yaml --as mermaid")]
pub(super) struct Draw {
    #[command(flatten)]
    pipeline: Pipeline,
    /// Stages to draw, with everything they depend on [default: all].
    targets: Vec<String>,
    /// Format of the drawing.
    #[arg(long = "as", value_enum, default_value = "text", value_name = "FORMAT")]
    form: As,
}

/// Formats of a drawing.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum As {
    Text,
    Mermaid,
    Dot,
}

impl Command for Draw {
    fn run(self, program: &Program<'_>) -> Outcome {
        let manifest = self.pipeline.load(program.types)?;
        let targets = manifest.targets(self.targets.iter().map(String::as_str))?;
        let stages = Graph::new(&manifest).subset(&targets);
        if self.pipeline.json {
            ui::print(&pretty(&as_json(&manifest, program.types, &stages)));
        } else {
            let graph = Graph::new(&manifest);
            let drawn = |drawing| draw(drawing, &graph, &manifest, program.types, &stages);
            ui::print(&match self.form {
                As::Mermaid => drawn(Drawing::Mermaid),
                As::Dot => drawn(Drawing::Dot),
                As::Text => {
                    let rows = rows(&graph, &manifest, program.types, &stages);
                    let rows = rows.into_iter().map(|row| row.map(Cell::Text).into()).collect();
                    ui::table(&["stage", "type", "inputs"], rows, Narrow::without(&["type"]))
                }
            });
        }
        Ok(())
    }
}

/// The stages and the edges between them.
fn as_json(manifest: &Manifest, types: &[StageType], stages: &[usize]) -> serde_json::Value {
    let name = |stage: usize| manifest.stages.get_index(stage).map_or("", |(name, _)| name.as_str());
    let node = |stage: &usize| {
        let own = &manifest.stages[*stage];
        let output = |output: &Output| json!({ "name": output.name, "kind": output.kind });
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
