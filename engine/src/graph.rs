//! Owns: the DAG of a manifest's stages: their order, the dependencies of a target, and drawings. It knows no cache
//! and no files.

use crate::manifest::{Manifest, Need, stage_type::StageType};
use petgraph::{Direction, graph::DiGraph, graph::NodeIndex, visit::EdgeRef};
use std::{cmp::Reverse, collections::BinaryHeap, fmt::Write};

/// Stages and the artifacts between them. A node's index is the stage's position in the manifest.
#[derive(Debug)]
pub struct Graph {
    edges: DiGraph<(), Flow>,
    order: Vec<usize>,
}

/// An artifact that passes from one stage to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The output it comes from.
    pub output: String,
    /// The input it goes to.
    pub input: String,
}

impl Graph {
    /// Builds the graph of a manifest.
    pub fn new(manifest: &Manifest) -> Self {
        let mut edges = DiGraph::with_capacity(manifest.stages.len(), 2 * manifest.stages.len());
        for _ in &manifest.stages {
            edges.add_node(());
        }
        for (index, stage) in manifest.stages.values().enumerate() {
            for (input, needs) in &stage.needs {
                for Need { stage: from, output, .. } in needs {
                    let flow = Flow { output: output.clone(), input: input.clone() };
                    edges.add_edge(NodeIndex::new(*from), NodeIndex::new(index), flow);
                }
            }
        }
        let order = order(&edges);
        Self { edges, order }
    }

    /// Lists all stages in topological order; otherwise in the order of the manifest.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Lists the direct dependencies of a stage, in the order of the manifest.
    pub fn upstream(&self, stage: usize) -> Vec<usize> {
        self.neighbours(stage, Direction::Incoming)
    }

    /// Lists the direct dependents of a stage, in the order of the manifest.
    pub fn downstream(&self, stage: usize) -> Vec<usize> {
        self.neighbours(stage, Direction::Outgoing)
    }

    /// Lists the targets and all their dependencies, in running order; without targets, all stages.
    pub fn subset(&self, targets: &[usize]) -> Vec<usize> {
        self.subset_up_to(targets, |_| false)
    }

    /// Lists these stages and all their dependents, in running order.
    pub fn all_downstream(&self, stages: &[usize]) -> Vec<usize> {
        let mut found = vec![false; self.edges.node_count()];
        let mut open = stages.to_vec();
        while let Some(stage) = open.pop() {
            if !std::mem::replace(&mut found[stage], true) {
                open.extend(self.downstream(stage));
            }
        }
        self.order.iter().copied().filter(|stage| found[*stage]).collect()
    }

    /// As [`Self::subset`], without stages that only kept stages depend on.
    pub fn subset_up_to(&self, targets: &[usize], keeps: impl Fn(usize) -> bool) -> Vec<usize> {
        if targets.is_empty() {
            return self.order.clone();
        }
        let mut wanted = vec![false; self.edges.node_count()];
        let mut open = targets.to_vec();
        while let Some(stage) = open.pop() {
            if !std::mem::replace(&mut wanted[stage], true) && !keeps(stage) {
                open.extend(
                    self.edges
                        .neighbors_directed(NodeIndex::new(stage), Direction::Incoming)
                        .map(NodeIndex::index),
                );
            }
        }
        self.order.iter().copied().filter(|stage| wanted[*stage]).collect()
    }

    fn neighbours(&self, stage: usize, direction: Direction) -> Vec<usize> {
        let all = self.edges.neighbors_directed(NodeIndex::new(stage), direction);
        let mut found: Vec<usize> = all.map(NodeIndex::index).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Kahn's algorithm; among the stages that are ready, the first of the manifest comes first.
fn order(edges: &DiGraph<(), Flow>) -> Vec<usize> {
    let mut waits: Vec<usize> =
        edges.node_indices().map(|node| edges.edges_directed(node, Direction::Incoming).count()).collect();
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..waits.len()).filter(|stage| waits[*stage] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(Reverse(stage)) = ready.pop() {
        order.push(stage);
        for edge in edges.edges(NodeIndex::new(stage)) {
            let next = edge.target().index();
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    order
}

/// A format of drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Draws some stages of a manifest, in running order.
pub fn draw(
    drawing: Drawing,
    graph: &Graph,
    manifest: &Manifest,
    types: &[StageType],
    stages: &[usize],
) -> String {
    let picture = Picture { graph, manifest, types, stages };
    match drawing {
        Drawing::Mermaid => picture.mermaid(),
        Drawing::Dot => picture.dot(),
    }
}

/// Lists some stages of a manifest, in this order: name, type and inputs of each.
pub fn rows(graph: &Graph, manifest: &Manifest, types: &[StageType], stages: &[usize]) -> Vec<[String; 3]> {
    let picture = Picture { graph, manifest, types, stages };
    let row = |stage: &usize| {
        [picture.name(*stage).to_owned(), picture.type_name(*stage).to_owned(), picture.inputs(*stage)]
    };
    stages.iter().map(row).collect()
}

struct Picture<'a> {
    graph: &'a Graph,
    manifest: &'a Manifest,
    types: &'a [StageType],
    stages: &'a [usize],
}

impl Picture<'_> {
    /// What a stage is made from: `train <- sets.train, tokenizer <- vocabulary`.
    fn inputs(&self, stage: usize) -> String {
        let input = |(input, needs): (&String, &Vec<Need>)| {
            let from: Vec<_> = needs.iter().map(|need| self.written(need)).collect();
            format!("{input} <- {}", from.join(" + "))
        };
        self.manifest.stages[stage].needs.iter().map(input).collect::<Vec<_>>().join(", ")
    }

    fn mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        for stage in self.stages {
            put(
                &mut out,
                format_args!("  s{stage}[\"{}<br/><i>{}</i>\"]\n", self.name(*stage), self.type_name(*stage)),
            );
        }
        self.each_flow(|from, to, flow| {
            put(&mut out, format_args!("  s{from} -->|{}| s{to}\n", arrow(flow)));
        });
        out
    }

    fn dot(&self) -> String {
        let mut out = String::from("digraph pipeline {\n  node [shape=box];\n");
        for stage in self.stages {
            put(
                &mut out,
                format_args!("  \"{0}\" [label=\"{0}\\n{1}\"];\n", self.name(*stage), self.type_name(*stage)),
            );
        }
        self.each_flow(|from, to, flow| {
            put(
                &mut out,
                format_args!(
                    "  \"{}\" -> \"{}\" [label=\"{}\"];\n",
                    self.name(from),
                    self.name(to),
                    arrow(flow)
                ),
            );
        });
        out + "}\n"
    }

    /// Visits the edges into the stages that are drawn.
    fn each_flow(&self, mut see: impl FnMut(usize, usize, &Flow)) {
        let drawn: std::collections::HashSet<_> = self.stages.iter().copied().collect();
        for stage in self.stages {
            let mut flows: Vec<_> = self
                .graph
                .edges
                .edges_directed(NodeIndex::new(*stage), Direction::Incoming)
                .map(|edge| (edge.id(), edge.source().index(), edge.weight()))
                .filter(|(_, from, _)| drawn.contains(from))
                .collect();
            flows.sort_by_key(|(id, ..)| *id);
            flows.into_iter().for_each(|(_, from, flow)| see(from, *stage, flow));
        }
    }

    /// `stage`, or `stage.output` if it is not the main output.
    fn written(&self, need: &Need) -> String {
        let from = self.name(need.stage);
        let ports = &self.manifest.stages[need.stage].config.ports;
        let is_main = ports.main_output().is_some_and(|main| main.name == need.output);
        let label = need.label.as_ref().map(|label| format!("{label}: ")).unwrap_or_default();
        if is_main { format!("{label}{from}") } else { format!("{label}{from}.{}", need.output) }
    }

    fn name(&self, stage: usize) -> &str {
        self.manifest.stages.get_index(stage).map_or("", |(name, _)| name.as_str())
    }

    fn type_name(&self, stage: usize) -> &str {
        self.types[self.manifest.stages[stage].uses].name
    }
}

/// `train` if both ends have the same name, otherwise `documents to train`.
fn arrow(flow: &Flow) -> String {
    if flow.output == flow.input { flow.input.clone() } else { format!("{} to {}", flow.output, flow.input) }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("invariant: a String takes all that is written");
}
