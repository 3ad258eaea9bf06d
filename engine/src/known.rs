//! Owns: what is known of the artifacts between stages before they exist, from the settings of the stages that make
//! them. Knows no fact by its name.

use crate::{graph::Graph, manifest::Manifest};
use pipe_stage::{Facts, KnownInput, KnownInputs};

/// What is known of the inputs of each stage before anything runs.
pub(crate) fn known_inputs(manifest: &Manifest, graph: &Graph) -> Vec<KnownInputs> {
    let mut known = vec![KnownInputs::default(); manifest.stages.len()];
    for &stage in graph.order() {
        let mut inputs = KnownInputs::default();
        for (port, needs) in &manifest.stages[stage].needs {
            for need in needs {
                let from = &manifest.stages[need.stage];
                // A frozen stage may have been made with other settings than it has now.
                let facts = match from.freeze {
                    false => from.config.stage.facts(&need.output, &known[need.stage]),
                    true => Facts::default(),
                };
                inputs.connect(port, KnownInput { label: need.label.clone().unwrap_or_default(), facts });
            }
        }
        known[stage] = inputs;
    }
    known
}
