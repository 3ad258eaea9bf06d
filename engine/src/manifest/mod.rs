//! Owns: manifest text to [`Manifest`]. A `Manifest` is valid; all errors are reported here, together. It knows stage
//! types only through the table that it is given.
//!
//! The modules are in the order in which a manifest passes through them.

mod source;

mod synonyms;

mod fault;

mod node;

mod mask;

mod parse;

mod world;

mod interpolate;

mod layers;

mod de;

mod read;

mod settings;

mod config;

mod ports;

pub mod stage_type;

mod name;

mod need;

mod family;

mod needs;

mod matrix;

mod cycle;

mod model;

mod stages;

#[cfg(test)]
mod tests;

pub use family::Axis;
pub use fault::{Code, Fault, Faults, Report, nearest};
pub use interpolate::Used;
pub use model::{Executor, Expectation, Manifest, ManifestStage, StageFamily};
pub use name::{StageName, picked_by, selects, split_names, split_output};
pub use need::Need;
pub use ports::{Input, Inputs, Output, Ports};
pub use settings::{Bounds, Memory, Prices, Resources, Retry, Time};
pub(crate) use settings::{Envelope, StageEntry};
pub use source::{Position, Sources, Span};
pub use world::{FILE_BYTES_MAX, World};

use indexmap::IndexMap;
use interpolate::Interpolator;
use layers::layers;
use name::{is_name, name_help};
use node::Node;
use read::read;
use stage_type::StageType;
use std::{collections::BTreeMap, num::NonZeroU32};

/// Reads a manifest with its layers, or reports all its errors.
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
        Some((Typed { pipeline, observers, prices, pools, stages, families }, used)) if faults.is_empty() => {
            Ok(Manifest { pipeline, stages, families, observers, prices, pools, used, sources })
        }
        _ => Err(Box::new(Report::new(faults, sources))),
    }
}

/// A manifest without its texts.
struct Typed {
    pipeline: String,
    observers: Vec<String>,
    prices: Option<Prices>,
    pools: BTreeMap<String, NonZeroU32>,
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
            let fault =
                Fault::new(Code::WrongType, "`stages` must be a mapping of names to stages", "not a mapping");
            faults.push(fault.at(entry.value.span));
        }
        return None;
    };
    if names.is_empty() {
        if faults.is_empty() {
            let fault = Fault::new(Code::MissingField, "the pipeline has no stages", "empty");
            faults.push(fault.help("add one: `stages: { pages: { uses: ingest } }`").at(entry.key));
        }
        return None;
    }
    let (stages, families) = stages::stages(names, types, interpolator, sources, faults);
    let Envelope { pipeline, observers, prices, pools, .. } = envelope?;
    if let Some(stages) = &stages {
        check_pools(stages, &pools, faults);
    }
    Some(Typed { pipeline: pipeline?, observers, prices, pools, stages: stages?, families })
}

/// Compares the pools that stages use with those that the manifest declares.
fn check_pools(
    stages: &IndexMap<StageName, ManifestStage>,
    pools: &BTreeMap<String, NonZeroU32>,
    faults: &mut Faults,
) {
    for stage in stages.values() {
        for (pool, places) in &stage.resources.pools {
            let place = stage.pool_places.get(pool).copied().unwrap_or(stage.name_place);
            match pools.get(pool) {
                None => {
                    let fault =
                        Fault::new(Code::UnknownVariant, format!("no pool `{pool}`"), "not under `pools`");
                    let fault =
                        fault.help(format!("add it to the manifest: `pools: {{ {pool}: {places} }}`"));
                    faults.push(fault.nearest(pool, pools.keys().map(String::as_str)).at(place));
                }
                Some(all) if places > all => {
                    let message = format!("the pool `{pool}` has {all}, and this stage takes {places}");
                    faults.push(Fault::new(Code::InvalidValue, message, "more than there are").at(place));
                }
                Some(_) => {}
            }
        }
    }
}

fn check_envelope(root: &Node, envelope: Option<&Envelope>, faults: &mut Faults) {
    if let Some(vars) = root.get("vars")
        && !matches!(&vars.value.kind, node::NodeKind::Mapping(_) | node::NodeKind::Broken)
    {
        let fault =
            Fault::new(Code::WrongType, "`vars` must be a mapping of names to values", "not a mapping");
        faults.push(fault.at(vars.value.span));
    }
    let Some(envelope) = envelope else { return };
    report_missing(root, faults);
    let place = |field: &str| root.find(field).span().unwrap_or(root.span);
    if let Some(version) = envelope.version.as_ref().filter(|version| *version != "1") {
        let message = format!("manifest version `{version}` is not supported");
        let fault = Fault::new(Code::UnsupportedVersion, message, "only version 1 is supported");
        faults.push(fault.help("remove `version`, or upgrade `pipe`").at(place("version")));
    }
    for (position, observer) in envelope.observers.iter().enumerate() {
        if observer.trim().is_empty() || observer.contains("${secret.") {
            let fault = Fault::new(Code::InvalidValue, "not a valid observer command", "not a command");
            let help = "write a shell command; it inherits the environment, so use `$NAME` for a secret";
            faults.push(fault.help(help).at(place(&format!("observers.{position}"))));
        }
    }
    for (field, price) in envelope.prices.iter().flat_map(|prices| {
        [("prices.cpu", prices.cpu), ("prices.gpu", prices.gpu), ("prices.memory_gib", prices.memory_gib)]
    }) {
        if price < 0.0 {
            let fault = Fault::new(
                Code::InvalidValue,
                format!("`{field}`: a price must not be negative"),
                "negative",
            );
            faults.push(fault.at(place(field)));
        }
    }
    if let Some(name) = envelope.pipeline.as_ref().filter(|name| !is_name(name, "_-.")) {
        let fault = Fault::new(Code::InvalidValue, "not a valid pipeline name", "not a valid name");
        faults.push(fault.help(name_help(name, "`_`, `-` and `.`")).at(place("pipeline")));
    }
}

/// Reports required sections that are missing, unless there is one with a misspelt name.
fn report_missing(root: &Node, faults: &mut Faults) {
    let Some(sections) = root.mapping() else { return };
    for name in ["pipeline", "stages"] {
        let names: Vec<&str> = sections.keys().map(|name| &**name).collect();
        let misspelt =
            || fault::nearest(name, &names).is_some_and(|near| !["vars", "version"].contains(&near));
        let is_empty = |entry: &node::Entry| matches!(&entry.value.kind, node::NodeKind::Scalar(scalar) if scalar.is_null());
        let found = sections.get(name);
        if let Some(entry) = found.filter(|entry| name == "pipeline" && is_empty(entry)) {
            let fault = Fault::new(Code::MissingField, "the pipeline has no name", "empty");
            faults.push(fault.help("write `pipeline: NAME`").at(entry.key));
        } else if found.is_none() && !misspelt() {
            let label = format!("`{name}` is missing here");
            let fault = Fault::new(Code::MissingField, format!("missing field `{name}`"), label);
            faults.push(fault.at(root.span.part(0..0)));
        }
    }
}
