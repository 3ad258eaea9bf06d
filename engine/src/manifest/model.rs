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

/// A pipeline that is valid, as far as can be checked without looking at files.
#[derive(Debug)]
pub struct Manifest {
    /// Its name.
    pub pipeline: String,
    /// In the order of the text; the stages of a matrix follow each other.
    pub stages: IndexMap<StageName, ManifestStage>,
    /// Shell commands that receive the events of runs.
    pub observers: Vec<String>,
    /// Entries with a matrix and their stages, in the order of the text.
    pub families: Vec<StageFamily>,
    /// Prices of resources.
    pub prices: Option<Prices>,
    /// Number of places in each pool that stages share.
    pub pools: BTreeMap<String, NonZeroU32>,
    /// What it uses from the environment.
    pub used: Used,
    pub(super) sources: Sources,
}

/// The stages of a matrix.
#[derive(Debug)]
pub struct StageFamily {
    /// Name of the entry: `base`.
    pub name: String,
    /// Its axes; the last varies fastest along the stages.
    pub axes: Vec<Arc<Axis>>,
    /// Positions of its stages in the manifest.
    pub stages: Range<usize>,
    pub(super) family: Family,
}

impl StageFamily {
    /// A stage's values by axis, as written in names.
    pub fn values(&self, stage: usize) -> impl Iterator<Item = (&str, &str)> {
        self.family.values(stage - self.stages.start)
    }
}

/// A stage of a manifest.
#[derive(Debug)]
pub struct ManifestStage {
    /// Position in the table of stage types.
    pub uses: usize,
    /// Its settings.
    pub config: Config,
    /// The dependencies of each input; exactly one unless the input is `many`.
    pub needs: BTreeMap<String, Vec<Need>>,
    /// The resources it needs.
    pub resources: Resources,
    /// How often and when it is retried after a failure.
    pub retry: Retry,
    /// Its maximum running time.
    pub timeout: Option<Time>,
    /// The time it has to save its work when it is asked to stop.
    pub grace: Option<Time>,
    /// Where it runs.
    pub executor: Executor,
    /// Whether it keeps the result in the lock file.
    pub freeze: bool,
    /// Expected ranges of its metrics.
    pub expect: Vec<Expectation>,
    /// The place of its name.
    pub name_place: Span,
    /// The places of the pools it uses.
    pub(super) pool_places: BTreeMap<String, Span>,
    pub(super) with: Node,
}

/// The expected range of a metric.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Name of the metric.
    pub metric: String,
    /// Its bounds.
    pub bounds: Bounds,
    /// Its place in the text.
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
    /// Finds the place of a config's field, for errors that only planning can find; the place of the stage's name if
    /// the field is not in the text.
    pub fn place(&self, stage: usize, path: &str) -> Span {
        let stage = &self.stages[stage];
        stage.with.find(path).span().unwrap_or(stage.name_place)
    }

    /// Turns a misfit of a stage's config into an error at its place.
    pub fn misfit(&self, stage: usize, misfit: &Misfit) -> Fault {
        let stage = &self.stages[stage];
        config::fault(misfit, stage.with.find(&misfit.path), stage.name_place)
    }

    /// Makes a report of errors that were found later.
    pub fn report(&self, faults: Faults) -> Box<Report> {
        Box::new(Report::new(faults, self.sources.clone()))
    }

    /// The texts of the manifest with their names: files, and each `--set`.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.texts()
    }

    /// Finds stages by name: `base` selects all stages of its matrix, `base[seed=1]` those with this value.
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

    /// The matrix that a stage belongs to.
    pub fn family(&self, stage: usize) -> Option<&StageFamily> {
        let after = self.families.partition_point(|family| family.stages.start <= stage);
        self.families[..after].last().filter(|family| family.stages.contains(&stage))
    }
}
