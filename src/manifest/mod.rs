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

mod cycle;

#[cfg(test)]
mod tests;

pub(crate) use config::read_config;
pub use fault::{Code, Colour, Fault, Faults, Report};
pub use interpolate::Used;
pub use layers::{FILE_BYTES_MAX, World};
pub use needs::Need;
pub(crate) use node::Node;
pub(crate) use settings::{Envelope, StageEntry};
pub use settings::{Memory, Resources, Time};
pub use source::{Position, Sources, Span};

use crate::stage_type::{Config, Ports, StageType};
use indexmap::IndexMap;
use layers::layers;
use needs::Stages;
use node::{Entry, Mapping};
use pipe_stage::Misfit;
use read::read;
use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc};

/// Name of a stage: letters, digits, `_` and `-`.
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
    /// In the order of the text.
    pub stages: IndexMap<StageName, ManifestStage>,
    /// Shell lines that get the events of runs.
    pub observers: Vec<String>,
    /// What it takes from the environment.
    pub used: Used,
    sources: Sources,
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
    /// Where its name is written.
    pub name_place: Span,
    with: Node,
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

    /// Finds stages by name, for commands that work on some of them.
    pub fn targets<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<usize>, Box<Report>> {
        let (mut sources, mut faults, mut found) = (self.sources.clone(), Faults::default(), vec![]);
        for name in names {
            match self.stages.get_index_of(name) {
                Some(index) => found.push(index),
                None => {
                    let fault =
                        Fault::new(Code::UnknownStage, format!("no stage `{name}`"), "not in the manifest");
                    let fault = fault.nearest(name, self.stages.keys().map(StageName::as_str));
                    let place = sources.add("command line", name).map(|(_, span)| span);
                    faults.push(place.map_or(fault.clone(), |span| fault.at(span)));
                }
            }
        }
        if faults.is_empty() { Ok(found) } else { Err(Box::new(Report::new(faults, sources))) }
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
    let read = read.and_then(|(root, used)| Some((typed(&root, types, &mut faults)?, used)));
    match read {
        Some(((pipeline, observers, stages), used)) if faults.is_empty() => {
            Ok(Manifest { pipeline, stages, observers, used, sources })
        }
        _ => Err(Box::new(Report::new(faults, sources))),
    }
}

type Typed = (String, Vec<String>, IndexMap<StageName, ManifestStage>);

fn typed(root: &Node, types: &[StageType], faults: &mut Faults) -> Option<Typed> {
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
    let drafts: Vec<_> = names.iter().map(|(name, entry)| draft(name, entry, types, faults)).collect();
    check_own_kinds(names, &drafts, types, faults);
    let needs = resolve_needs(names, &drafts, faults);
    check_named_inputs(names, &drafts, &needs, faults);
    let whole = names.keys().zip(drafts).zip(needs).map(|((name, draft), needs)| {
        let stage = ManifestStage { needs, ..draft.stage? };
        Some((StageName(name.clone()), stage))
    });
    let Envelope { pipeline, observers, .. } = envelope?;
    Some((pipeline?, observers, whole.collect::<Option<_>>()?))
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

/// A stage without its needs.
#[derive(Default)]
struct Draft {
    /// Known where its type is, whatever else is wrong with it.
    ports: Option<Ports>,
    stage: Option<ManifestStage>,
}

/// Reads all of a stage but its needs.
fn draft(name: &str, entry: &Entry, types: &[StageType], faults: &mut Faults) -> Draft {
    if !is_name(name, "_-") {
        let fault =
            Fault::new(Code::InvalidValue, format!("`{name}` cannot be the name of a stage"), "not a name");
        faults.push(fault.help("names are letters, digits, `_` and `-`").at(entry.key));
    }
    let reading = read::<StageEntry>(&entry.value, entry.key, faults);
    let written = entry.value.get("uses").and_then(|uses| match &uses.value.kind {
        node::Kind::Scalar(scalar) if !scalar.is_null() => Some((&*scalar.text, uses.value.span)),
        _ => None,
    });
    // A stage with a wrong field still has a type, and so a config that may be wrong too.
    let Some((uses, place)) = written else { return Draft::default() };
    let settings = reading.value;
    let executor = settings.as_ref().and_then(|settings| check_settings(settings, &entry.value, faults));
    let Some(index) = types.iter().position(|kind| kind.name == uses) else {
        let fault = Fault::new(Code::UnknownStageType, format!("no stage type `{uses}`"), "unknown");
        faults.push(fault.nearest(uses, types.iter().map(|kind| kind.name)).at(place));
        return Draft::default();
    };
    let kind = &types[index];
    let with = match entry.value.get("with") {
        Some(Entry { key, value: Node { kind: node::Kind::Scalar(scalar), .. } }) if scalar.is_null() => {
            Entry { key: *key, value: Node::empty(*key) }
        }
        Some(with) => with.clone(),
        None => Entry { key: entry.key, value: Node::empty(entry.key) },
    };
    let Some(config) = kind.read(&with.value, with.key, faults) else {
        return Draft { ports: kind.fixed_ports(), stage: None };
    };
    let ports = Some(config.ports.clone());
    let Some(StageEntry { resources, retry, timeout, grace, .. }) = settings else {
        return Draft { ports, stage: None };
    };
    let stage = ManifestStage {
        uses: index,
        config,
        needs: BTreeMap::new(),
        resources,
        retry,
        timeout,
        grace,
        executor: executor.unwrap_or_default(),
        name_place: entry.key,
        with: with.value,
    };
    Draft { ports, stage: Some(stage) }
}

/// Refuses what is planned for later, and says so.
fn check_settings(settings: &StageEntry, node: &Node, faults: &mut Faults) -> Option<Executor> {
    let mut unsupported = |field: &str, message: &str| {
        let fault = Fault::new(Code::Unsupported, message, "not supported yet");
        faults.push(fault.at(node.get(field).map_or(node.span, |entry| entry.key)));
    };
    if settings.matrix.is_some() {
        unsupported("matrix", "`matrix` is not supported yet");
    }
    if settings.freeze.is_some() {
        unsupported("freeze", "`freeze` is not supported yet");
    }
    match settings.executor.as_deref() {
        None | Some("local") => Some(Executor::Local),
        Some("slurm") => {
            unsupported("executor", "the executor `slurm` is not supported yet");
            None
        }
        Some(other) => {
            let fault =
                Fault::new(Code::UnknownVariant, format!("no executor `{other}`"), "not one of the choices");
            faults.push(fault.nearest(other, ["local"]).at(node.find("executor").node.span));
            None
        }
    }
}

/// Checks kinds that configs name against those that stage types have.
fn check_own_kinds(names: &Mapping, drafts: &[Draft], types: &[StageType], faults: &mut Faults) {
    let known = || types.iter().flat_map(|kind| kind.ports).map(|port| port.kind.name).chain(["files"]);
    for (entry, draft) in names.values().zip(drafts) {
        let Some(stage) = draft.stage.as_ref().filter(|stage| types[stage.uses].has_own_ports) else {
            continue;
        };
        for output in &stage.config.ports.outputs {
            if !known().any(|kind| kind == output.kind) {
                let fault = Fault::new(Code::UnknownVariant, format!("no kind `{}`", output.kind), "unknown");
                let known: std::collections::BTreeSet<_> = known().collect();
                let place = stage.with.find(&format!("outputs.{}", output.name)).span();
                faults.push(fault.nearest(&output.kind, known).at(place.unwrap_or(entry.key)));
            }
        }
    }
}

/// Checks inputs that configs name against those that `needs` gives.
fn check_named_inputs(
    names: &Mapping,
    drafts: &[Draft],
    needs: &[BTreeMap<String, Vec<Need>>],
    faults: &mut Faults,
) {
    for ((entry, draft), needs) in names.values().zip(drafts).zip(needs) {
        let Some(stage) = &draft.stage else { continue };
        for (field, name) in stage.config.ports.named.iter().filter(|(_, name)| !needs.contains_key(name)) {
            let fault = Fault::new(Code::UnknownInput, format!("no input `{name}`"), "not in `needs`");
            let place = stage.with.find(field).span();
            faults.push(fault.nearest(name, needs.keys().map(String::as_str)).at(place.unwrap_or(entry.key)));
        }
    }
}

fn resolve_needs(names: &Mapping, drafts: &[Draft], faults: &mut Faults) -> Vec<BTreeMap<String, Vec<Need>>> {
    let ports: Vec<Option<&Ports>> = drafts.iter().map(|draft| draft.ports.as_ref()).collect();
    let view = Stages { names, ports: &ports };
    let resolved: Vec<_> = (0..names.len()).map(|index| needs::resolve(&view, index, faults)).collect();
    let edges: Vec<_> = resolved.iter().map(|resolved| &resolved.edges[..]).collect();
    let name = |stage: usize| names.get_index(stage).map_or_else(String::new, |(name, _)| name.to_string());
    cycle::report_cycles(&edges, name, faults);
    resolved.into_iter().map(|resolved| resolved.needs).collect()
}
