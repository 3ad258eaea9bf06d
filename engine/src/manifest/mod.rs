//! Owns: manifest text to [`Manifest`]. A `Manifest` cannot be wrong; whatever can be is reported here, all
//! of it at once. Knows no stage type but through the table that it is given.
//!
//! The modules stand in the order in which a manifest passes through them.

mod source;

mod fault;

mod node;

mod mask;

mod parse;

mod layers;

mod interpolate;

mod de;

mod read;

mod settings;

mod config;

mod needs;

mod matrix;

mod cycle;

mod stages;

#[cfg(test)]
mod tests;

pub(crate) use config::read_config;
pub use fault::{Code, Fault, Faults, Report};
pub use interpolate::Used;
pub use layers::{FILE_BYTES_MAX, World};
pub use matrix::{Axis, picked_by, split_output};
pub use needs::Need;
pub(crate) use node::Node;
pub use settings::{Bounds, Memory, Prices, Resources, Time};
pub(crate) use settings::{Envelope, StageEntry};
pub use source::{Position, Sources, Span};

use crate::stage_type::{Config, StageType};
use indexmap::IndexMap;
use interpolate::Interpolator;
use layers::layers;
use pipe_stage::Misfit;
use read::read;
use std::{borrow::Borrow, collections::BTreeMap, fmt, ops::Range, sync::Arc};

/// Name of a stage: letters, digits, `_` and `-`; of one of a matrix with its values, `base[lr=1e-3,seed=1]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageName(Arc<str>);

impl StageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StageName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
    /// What it takes from the environment.
    pub used: Used,
    sources: Sources,
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
    family: matrix::Family,
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
    /// How often it is tried again.
    pub retry: u32,
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
    with: Node,
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
        if let Some(parsed) = matrix::Name::parse(name).filter(|parsed| parsed.output.is_none())
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

/// Reads a manifest with its layers, or tells everything that is wrong with it.
///
/// Each of `sets` is the argument of a `--set`: `stages.base.with.optimizer.lr=1e-3`.
pub fn load(
    path: &str,
    sets: &[&str],
    world: &World<'_>,
    types: &[StageType],
) -> Result<Manifest, Box<Report>> {
    let (mut sources, mut faults) = (Sources::default(), Faults::default());
    let read = layers(path, sets, world, &mut sources, &mut faults);
    let typed = read.and_then(|(root, mut interpolator)| {
        let typed = typed(&root, types, &mut interpolator, &sources, &mut faults)?;
        Some((typed, interpolator.used))
    });
    match typed {
        Some((Typed { pipeline, observers, prices, stages, families }, used)) if faults.is_empty() => {
            Ok(Manifest { pipeline, stages, families, observers, prices, used, sources })
        }
        _ => Err(Box::new(Report::new(faults, sources))),
    }
}

/// A manifest without its texts.
struct Typed {
    pipeline: String,
    observers: Vec<String>,
    prices: Option<Prices>,
    stages: IndexMap<StageName, ManifestStage>,
    families: Vec<StageFamily>,
}

fn typed(
    root: &Node,
    types: &[StageType],
    interpolator: &mut Interpolator<'_>,
    sources: &Sources,
    faults: &mut Faults,
) -> Option<Typed> {
    let envelope = read::<Envelope>(root, root.span.part(0..0), faults).value;
    check_envelope(root, envelope.as_ref(), faults);
    let entry = root.get("stages")?;
    let Some(names) = entry.value.mapping() else {
        if !entry.value.is_broken() {
            let fault = Fault::new(Code::WrongType, "`stages` maps names to stages", "not a mapping");
            faults.push(fault.at(entry.value.span));
        }
        return None;
    };
    let (stages, families) = stages::stages(names, types, interpolator, sources, faults);
    let Envelope { pipeline, observers, prices, .. } = envelope?;
    Some(Typed { pipeline: pipeline?, observers, prices, stages: stages?, families })
}

fn check_envelope(root: &Node, envelope: Option<&Envelope>, faults: &mut Faults) {
    if let Some(vars) = root.get("vars")
        && !matches!(&vars.value.kind, node::Kind::Mapping(_) | node::Kind::Broken)
    {
        let fault = Fault::new(Code::WrongType, "`vars` maps names to values", "not a mapping");
        faults.push(fault.at(vars.value.span));
    }
    let Some(envelope) = envelope else { return };
    report_missing(root, faults);
    let place = |field: &str| root.find(field).span().unwrap_or(root.span);
    if let Some(version) = envelope.version.as_ref().filter(|version| *version != "1") {
        let message = format!("this program does not read manifests of version `{version}`");
        let fault = Fault::new(Code::UnsupportedVersion, message, "only `1` is read");
        faults.push(fault.help("leave `version` out, or upgrade `pipe`").at(place("version")));
    }
    for (position, observer) in envelope.observers.iter().enumerate() {
        if observer.trim().is_empty() || observer.contains("${secret.") {
            let fault =
                Fault::new(Code::InvalidValue, "this cannot be the command of an observer", "not a command");
            let help = "write a shell line; the environment, and so every secret in it, is there as `$NAME`";
            faults.push(fault.help(help).at(place(&format!("observers.{position}"))));
        }
    }
    for (field, price) in envelope.prices.iter().flat_map(|prices| {
        [("prices.cpu", prices.cpu), ("prices.gpu", prices.gpu), ("prices.memory_gib", prices.memory_gib)]
    }) {
        if price < 0.0 {
            let fault =
                Fault::new(Code::InvalidValue, format!("`{field}`: a price is 0 or more"), "less than 0");
            faults.push(fault.at(place(field)));
        }
    }
    if envelope.pipeline.as_ref().is_some_and(|name| !is_name(name, "_-.")) {
        let fault = Fault::new(Code::InvalidValue, "this cannot be the name of a pipeline", "not a name");
        faults.push(fault.help("names are letters, digits, `_`, `-` and `.`").at(place("pipeline")));
    }
}

/// Reports sections that a manifest cannot do without, unless one is there under a misspelt name.
fn report_missing(root: &Node, faults: &mut Faults) {
    let Some(sections) = root.mapping() else { return };
    for name in ["pipeline", "stages"] {
        let names: Vec<&str> = sections.keys().map(|name| &**name).collect();
        let misspelt =
            || fault::nearest(name, &names).is_some_and(|near| !["vars", "version"].contains(&near));
        if !sections.contains_key(name) && !misspelt() {
            let label = format!("`{name}` is missing here");
            let fault = Fault::new(Code::MissingField, format!("missing field `{name}`"), label);
            faults.push(fault.at(root.span.part(0..0)));
        }
    }
}

fn is_name(name: &str, marks: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
    !name.is_empty() && name.len() <= 128 && name.chars().all(fits)
}
