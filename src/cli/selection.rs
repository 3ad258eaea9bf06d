//! The stages that `pipe run` and `pipe plan` select, and those that they force to run.

use super::{Failure, Pins, Pipeline};
use crate::{plan::Session, stage_type::StageType};

/// Arguments that select stages.
#[derive(clap::Args)]
pub(super) struct Selection {
    /// Stages to select, with everything they depend on [default: all].
    targets: Vec<String>,
    /// Select this stage and everything that depends on it; repeatable.
    #[arg(long, value_name = "STAGE")]
    downstream: Vec<String>,
    /// Run these stages even if they are up to date.
    #[arg(long, value_name = "STAGE", num_args = 1..)]
    force: Vec<String>,
    /// Run all selected stages even if they are up to date.
    #[arg(long, conflicts_with = "force")]
    force_all: bool,
}

impl Selection {
    /// Whether the whole manifest is selected.
    pub(super) fn is_full(&self) -> bool {
        self.targets.is_empty() && self.downstream.is_empty()
    }

    /// Opens a session on the selected stages; returns it with the stages in running order, and the targets.
    pub(super) fn session(
        &self,
        pipeline: &Pipeline,
        types: &'static [StageType],
        pins: Pins,
    ) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        let mut targets = self.targets.clone();
        if !self.downstream.is_empty() {
            let manifest = pipeline.load(types)?;
            let stages = manifest.targets(self.downstream.iter().map(String::as_str))?;
            let all = crate::graph::Graph::new(&manifest).all_downstream(&stages);
            let name = |stage: &usize| manifest.stages.get_index(*stage).map(|(name, _)| name.to_string());
            targets.extend(all.iter().filter_map(name));
        }
        let (mut session, stages, targets) = pipeline.session_with(types, &targets, pins)?;
        let forced = match self.force_all {
            true => stages.iter().copied().filter(|stage| session.frozen_at(*stage).is_none()).collect(),
            false => session.manifest.targets(self.force.iter().map(String::as_str))?,
        };
        for stage in &forced {
            let name = session.name(*stage);
            if session.frozen_at(*stage).is_some() {
                return Err(Failure::Usage(
                    format!("stage `{name}` is frozen, so it cannot be forced to run"),
                    Some("remove `freeze` from the stage first".to_owned()),
                ));
            }
            if !stages.contains(stage) {
                return Err(Failure::Usage(
                    format!("stage `{name}` is forced, but not selected"),
                    Some(format!("select it as well: add `{name}` to the stages")),
                ));
            }
        }
        session.forced = forced.into_iter().collect();
        Ok((session, stages, targets))
    }
}
