//! Owns: the typed manifest. Everything in it has been checked.

use crate::manifest::{
    config,
    family::{Axis, Family},
    fault::{Code, Fault, Faults, Report},
    interpolate::Used,
    name::{Name, StageName},
    need::Need,
    node::Node,
    settings::{Bounds, Prices, Resources, Retry, Time},
    source::{Sources, Span},
    stage_type::Config,
};
use indexmap::IndexMap;
use pipe_stage::Misfit;
use std::{collections::BTreeMap, num::NonZeroU32, ops::Range, sync::Arc};

/// A pipeline that is right, as far as one can tell without looking at files.
#[derive(Debug)]
pub struct Manifest {
    /// Its name.
    pub pipeline: String,
    /// In the order of the text; those of a matrix one after the other.
    pub stages: IndexMap<StageName, ManifestStage>,
    /// Shell lines that get the events of runs.
    pub observers: Vec<String>,
    /// Stages that one entry with a matrix stands for, in the order of the text.
    pub families: Vec<StageFamily>,
    /// What hours cost.
    pub prices: Option<Prices>,
    /// Places in each pool that stages share.
    pub pools: BTreeMap<String, NonZeroU32>,
    /// What it takes from the environment.
    pub used: Used,
    pub(super) sources: Sources,
}

/// The stages of a matrix.
#[derive(Debug)]
pub struct StageFamily {
    /// Name of the entry: `base`.
    pub name: String,
    /// Its axes, the last of which changes quickest along the stages.
    pub axes: Vec<Arc<Axis>>,
    /// Positions of its stages in the manifest.
    pub stages: Range<usize>,
    pub(super) family: Family,
}

impl StageFamily {
    /// A stage's values by axis, as they are written in names.
    pub fn values(&self, stage: usize) -> impl Iterator<Item = (&str, &str)> {
        self.family.values(stage - self.stages.start)
    }
}

/// One stage of a manifest.
#[derive(Debug)]
pub struct ManifestStage {
    /// Position in the table of stage types.
    pub uses: usize,
    /// Its settings.
    pub config: Config,
    /// What flows into each input; a single stage, except where the input is `many`.
    pub needs: BTreeMap<String, Vec<Need>>,
    /// What it takes of the machine.
    pub resources: Resources,
    /// How often it is tried again, and how long after a failure.
    pub retry: Retry,
    /// How long it may run.
    pub timeout: Option<Time>,
    /// How long it may take to checkpoint when it is asked to stop.
    pub grace: Option<Time>,
    /// Where it runs.
    pub executor: Executor,
    /// Whether it keeps what the lock file says that it made.
    pub freeze: bool,
    /// Bounds of its figures.
    pub expect: Vec<Expectation>,
    /// Where its name is written.
    pub name_place: Span,
    /// Where the pools are written that it takes places in.
    pub(super) pool_places: BTreeMap<String, Span>,
    pub(super) with: Node,
}

/// What a figure of a stage has to be.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The figure's name.
    pub metric: String,
    /// Between what it has to lie.
    pub bounds: Bounds,
    /// Where it is written.
    pub place: Span,
}

/// Where a stage runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executor {
    /// On this machine.
    #[default]
    Local,
}

impl Manifest {
    /// Finds the place of a config's field, for faults that only planning can find; the stage's name
    /// where the field is not written down.
    pub fn place(&self, stage: usize, path: &str) -> Span {
        let stage = &self.stages[stage];
        stage.with.find(path).span().unwrap_or(stage.name_place)
    }

    /// Tells a misfit of a stage's config at its place.
    pub fn misfit(&self, stage: usize, misfit: &Misfit) -> Fault {
        let stage = &self.stages[stage];
        config::fault(misfit, stage.with.find(&misfit.path), stage.name_place)
    }

    /// Makes a report of faults that were found later.
    pub fn report(&self, faults: Faults) -> Box<Report> {
        Box::new(Report::new(faults, self.sources.clone()))
    }

    /// The texts that it was read from, with their names: files, and each `--set`.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.texts()
    }

    /// Finds stages by name, for commands that work on some of them: `base` means all of its matrix, `base[seed=1]`
    /// those with this value.
    pub fn targets<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<usize>, Box<Report>> {
        let (mut sources, mut faults, mut found) = (self.sources.clone(), Faults::default(), vec![]);
        for name in names {
            match self.target(name) {
                Ok(stages) => found.extend(stages),
                Err(fault) => {
                    let place = sources.add("command line", name).map(|(_, span)| span);
                    faults.push(place.map_or(fault.clone(), |span| fault.at(span)));
                }
            }
        }
        if faults.is_empty() { Ok(found) } else { Err(Box::new(Report::new(faults, sources))) }
    }

    fn target(&self, name: &str) -> Result<Vec<usize>, Fault> {
        if let Some(index) = self.stages.get_index_of(name) {
            return Ok(vec![index]);
        }
        if let Some(parsed) = Name::parse(name).filter(|parsed| parsed.output.is_none())
            && let Some(StageFamily { family, stages, .. }) =
                self.families.iter().find(|family| family.name == parsed.base)
        {
            let picks = family.picks(parsed.base, &parsed.picks)?;
            return Ok(family.picked(&picks).into_iter().map(|stage| stages.start + stage).collect());
        }
        let fault = Fault::new(Code::UnknownStage, format!("no stage `{name}`"), "not in the manifest");
        let bases = self.families.iter().map(|family| family.name.as_str());
        Err(fault.nearest(name, bases.chain(self.stages.keys().map(StageName::as_str))))
    }

    /// The stages of the matrix that a stage is one of.
    pub fn family(&self, stage: usize) -> Option<&StageFamily> {
        let after = self.families.partition_point(|family| family.stages.start <= stage);
        self.families[..after].last().filter(|family| family.stages.contains(&stage))
    }
}
