//! The stages that `pipe run` and `pipe plan` select, and those that they force to run.

use super::{Failure, Pins, Pipeline};
use crate::{manifest::split_names, plan::Session, stage_type::StageType};
use clap::{ArgMatches, FromArgMatches};

/// Arguments that select stages.
#[derive(clap::Args)]
pub(super) struct Selection {
    // First, since reading the others takes their values.
    #[command(flatten)]
    doubtful: Doubtful,
    #[command(flatten)]
    named: Named,
}

/// Stages, as named.
#[derive(clap::Args)]
struct Named {
    /// Stages to select, with everything they depend on [default: all].
    targets: Vec<String>,
    /// Select this stage and everything that depends on it; repeatable, or separated by commas.
    #[arg(long, value_name = "STAGE")]
    downstream: Vec<String>,
    /// Run this stage even if it is up to date; repeatable, or separated by commas.
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Run all selected stages even if they are up to date.
    #[arg(long, conflicts_with = "force")]
    force_all: bool,
}

/// The first of the named stages that is right behind an option that takes one: `--force a b` may mean both.
#[derive(Default)]
struct Doubtful(Option<Pair>);

/// An option, its value, and the stage behind it.
struct Pair {
    option: &'static str,
    value: String,
    stage: String,
}

impl clap::Args for Doubtful {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command
    }
}

impl FromArgMatches for Doubtful {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |id: &str| -> Vec<(usize, String)> {
            let places = matches.indices_of(id).into_iter().flatten();
            places.zip(matches.get_many::<String>(id).into_iter().flatten().cloned()).collect()
        };
        let targets = values("targets");
        let behind = |option: &'static str| {
            values(option).into_iter().find_map(|(place, value)| {
                let (_, stage) = targets.iter().find(|(target, _)| *target == place + 1)?;
                Some(Pair { option, value, stage: stage.clone() })
            })
        };
        Ok(Self(behind("force").or_else(|| behind("downstream"))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Selection {
    /// Whether the whole manifest is selected.
    pub(super) fn is_full(&self) -> bool {
        self.named.targets.is_empty() && self.named.downstream.is_empty()
    }

    /// Opens a session on the selected stages; returns it with the stages in running order, and the targets.
    pub(super) fn session(
        &self,
        pipeline: &Pipeline,
        types: &'static [StageType],
        pins: Pins,
    ) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        if let Some(Pair { option, value, stage }) = &self.doubtful.0 {
            return Err(Failure::Usage(
                format!("`--{option}` takes one value, so `{stage}` after `--{option} {value}` is ambiguous"),
                Some(format!(
                    "write `--{option} {value},{stage}` for both, or `{stage} --{option} {value}` to select `{stage}`"
                )),
            ));
        }
        let Named { targets, downstream, force, force_all } = &self.named;
        for (option, values) in [("force", force), ("downstream", downstream)] {
            if !values.is_empty() && all(values).next().is_none() {
                let help = "name one, or leave the option out; a variable of the shell may be empty";
                return Err(Failure::Usage(format!("`--{option}` names no stage"), Some(help.to_owned())));
            }
        }
        let mut targets = targets.clone();
        if !downstream.is_empty() {
            let manifest = pipeline.load(types)?;
            let stages = manifest.targets(all(downstream))?;
            let all = crate::graph::Graph::new(&manifest).all_downstream(&stages);
            let name = |stage: &usize| manifest.stages.get_index(*stage).map(|(name, _)| name.to_string());
            targets.extend(all.iter().filter_map(name));
        }
        let (mut session, stages, targets) = pipeline.session_with(types, &targets, pins)?;
        let forced = match force_all {
            true => stages.iter().copied().filter(|stage| session.frozen_at(*stage).is_none()).collect(),
            false => session.manifest.targets(all(force))?,
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

/// The names in values that may be lists.
fn all(values: &[String]) -> impl Iterator<Item = &str> {
    values.iter().flat_map(|list| split_names(list))
}
