//! Owns: what the author of a stage writes.

use crate::{
    Artifact, Context, Devices, Error, Facts, KnownInputs, Places, Port, Probe, Result, SourceFile,
    SourceRequest,
};
use pipe_cache::Digest;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// A stage type: a config struct that can run.
///
/// The struct's doc comments are its reference text; `#[serde(deny_unknown_fields, default)]` and a
/// hand-written `Default` are expected. A field marked `#[schemars(extend("x-runtime" = true))]` decides
/// nothing about the result and stays out of every key.
pub trait Stage: Default + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// What `uses:` names.
    const NAME: &'static str;
    /// Raised whenever results may change; keys hold it.
    const REVISION: u32;
    /// What keys take for the code of this type, beside name and revision.
    const CODE: Code = Code::Program;
    /// Finds the devices that stages of this type can run on; `None` where they just use the CPU.
    const PROBE: Option<&'static Probe> = None;
    /// Inputs and outputs, in the order in which they are shown.
    const PORTS: &'static [Port];

    /// Lists what no type can tell: ranges, and faults across fields.
    fn check(&self) -> Vec<Misfit> {
        Vec::new()
    }

    /// Lists faults in which inputs are connected, beyond what ports say: an input that only some settings
    /// need, say. `connected` has the names of the ports that something flows into.
    fn check_inputs(&self, _connected: &[&str]) -> Vec<Misfit> {
        Vec::new()
    }

    /// Lists what is known of an output before the stage runs: the vocabulary size of a tokenizer, the shape of a
    /// model. Downstream stages find it in their [`KnownInputs`]; the names of facts are up to the stage types.
    fn facts(&self, _output: &str, _inputs: &KnownInputs) -> Facts {
        Facts::default()
    }

    /// Finds errors in what is known of the inputs: a model that no class of transformers computes, say, which
    /// would otherwise fail only after it was trained.
    ///
    /// `check`, `plan` and `run` call it before anything runs. What is not known must not be an error.
    fn check_known(&self, _inputs: &KnownInputs) -> Vec<Misfit> {
        Vec::new()
    }

    /// Names the files outside the cache that this stage reads. Looks at paths, never at bytes, and
    /// starts no process.
    fn sources(&self, _places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        Ok(Vec::new())
    }

    /// Finds errors that only a look at the sources reveals: a missing column, an unreadable tokenizer file.
    ///
    /// `pipe check` calls it. It reads the first rows or the header of a few files, and never a whole file of
    /// unbounded size. `sources` are the files that [`sources`](Self::sources) listed.
    fn preview(&self, _places: &Places, _sources: &[SourceFile]) -> Vec<Misfit> {
        Vec::new()
    }

    /// Estimates the amount of work in a unit of the stage's own choice, to which its time is proportional.
    ///
    /// `pipe plan` scales the times of earlier runs by it. By default it is the number of bytes that the stage
    /// reads; `None` means unknown, and times are then taken from earlier runs as they are. A unit that another
    /// revision changes makes estimates wrong until the stage has run once, and does nothing else.
    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        inputs.bytes().map(|bytes| bytes as f64)
    }

    /// Estimates what the size of its outputs is proportional to, in a unit of the stage's own choice.
    ///
    /// `pipe plan` scales the size of what earlier runs wrote by it. By default it is the amount of work;
    /// `Some(1.0)` says that the size does not depend on the inputs, `None` that it is unknown.
    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        self.work(inputs)
    }

    /// Estimates what its peak memory is proportional to, in a unit of the stage's own choice.
    ///
    /// `pipe plan` scales the peaks of earlier runs by it. `None`, the default, takes them as they were: right for
    /// a stage that reads its inputs piece by piece.
    fn memory_amount(&self, _inputs: &WorkInputs) -> Option<f64> {
        None
    }

    /// Lists the names of the metrics that a stage with these settings and inputs may report; a trailing `*` stands
    /// for any ending (`dropped.*`). `None` means that they are not known before it runs.
    ///
    /// The names under `expect` are compared with it.
    fn metrics(&self, _inputs: &KnownInputs) -> Option<Vec<String>> {
        None
    }

    /// Whether these settings ask for a device, or leave the choice to the machine.
    fn asks_for_device(&self) -> bool {
        false
    }

    /// Settles what was left to the machine, before keys are made; refuses what is not there.
    fn settle(&self, _devices: &Devices) -> std::result::Result<Self, Misfit> {
        Ok(self.clone())
    }

    /// The recipe: steps in order, then the outputs. Deterministic, silent, and quick between steps.
    fn run(&self, ctx: &Context) -> Result<()>;
}

/// Whether a declared name, which may end in `*`, covers a metric.
pub fn covers(declared: &str, metric: &str) -> bool {
    declared.strip_suffix('*').map_or(declared == metric, |start| metric.starts_with(start))
}

/// What is known of a stage's inputs before it runs.
#[derive(Debug, Clone, Default)]
pub struct WorkInputs {
    /// Artifacts by port; a port is absent while a stage that it needs has yet to run.
    pub ports: BTreeMap<String, Vec<Artifact>>,
    /// Whether every artifact is there.
    pub complete: bool,
    /// The source files.
    pub sources: Arc<Vec<SourceFile>>,
    /// What is known of the artifacts whether they are there or not.
    pub known: KnownInputs,
}

impl WorkInputs {
    /// Bytes of everything that is read, where a view counts as the whole shard; `None` if an artifact is not there
    /// yet.
    pub fn bytes(&self) -> Option<u64> {
        let sources = self.sources.iter().map(|file| file.size).fold(0, u64::saturating_add);
        self.artifact_bytes().map(|bytes| bytes.saturating_add(sources))
    }

    /// Bytes of all artifacts; `None` if one is not there yet.
    pub fn artifact_bytes(&self) -> Option<u64> {
        let artifacts = self.ports.values().flatten();
        self.complete.then(|| artifacts.map(Artifact::size).fold(0, u64::saturating_add))
    }
}

/// What tells a stage type's code from an earlier state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Its revision alone, which golden digests in the tests of its package hold to what it says: output
    /// bytes that change under one revision fail them.
    Revision,
    /// The digest of the program that holds it too: another build is other code.
    Program,
}

/// Which code a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Stage type.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// Digest of the program, for types of [`Code::Program`].
    pub program: Option<Digest>,
}

/// A fault in the value at a field path, such as `optimizer.lr` or `sources[0].glob`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Where: field names joined by dots, list positions in brackets.
    pub path: String,
    /// What is wrong: `must lie above 0 and up to 1`.
    pub message: String,
    /// What now.
    pub help: Option<String>,
}

impl Misfit {
    /// Makes a fault at a field path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), help: None }
    }

    /// Makes a fault of the error that a run would end with.
    pub fn of_error(path: impl Into<String>, error: &Error) -> Self {
        let help = match error {
            Error::Input { help, .. } => help.clone(),
            _ => None,
        };
        Self { path: path.into(), message: error.to_string(), help }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Gives a fault unless `holds`; meant to be chained in [`Stage::check`].
    pub fn unless(holds: bool, path: &str, message: impl Into<String>) -> Option<Self> {
        (!holds).then(|| Self::new(path, message))
    }
}

/// A stage whose type is no longer known: what the engine holds.
pub trait DynStage: Send + Sync {
    /// See [`Stage::check`].
    fn check(&self) -> Vec<Misfit>;
    /// See [`Stage::check_inputs`].
    fn check_inputs(&self, connected: &[&str]) -> Vec<Misfit>;
    /// See [`Stage::facts`].
    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts;
    /// See [`Stage::check_known`].
    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit>;
    /// See [`Stage::sources`].
    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>>;
    /// See [`Stage::preview`].
    fn preview(&self, places: &Places, sources: &[SourceFile]) -> Vec<Misfit>;
    /// See [`Stage::work`].
    fn work(&self, inputs: &WorkInputs) -> Option<f64>;
    /// See [`Stage::output_amount`].
    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64>;
    /// See [`Stage::memory_amount`].
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64>;
    /// See [`Stage::metrics`].
    fn metrics(&self, inputs: &KnownInputs) -> Option<Vec<String>>;
    /// See [`Stage::asks_for_device`].
    fn asks_for_device(&self) -> bool;
    /// See [`Stage::settle`].
    fn settle(&self, devices: &Devices) -> std::result::Result<Box<dyn DynStage>, Misfit>;
    /// See [`Stage::run`].
    fn run(&self, ctx: &Context) -> Result<()>;
    /// The config as JSON, every field in it.
    fn config(&self) -> serde_json::Value;
}

impl<S: Stage> DynStage for S {
    fn check(&self) -> Vec<Misfit> {
        Stage::check(self)
    }

    fn check_inputs(&self, connected: &[&str]) -> Vec<Misfit> {
        Stage::check_inputs(self, connected)
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        Stage::facts(self, output, inputs)
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        Stage::check_known(self, inputs)
    }

    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        Stage::sources(self, places)
    }

    fn preview(&self, places: &Places, sources: &[SourceFile]) -> Vec<Misfit> {
        Stage::preview(self, places, sources)
    }

    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        Stage::work(self, inputs)
    }

    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        Stage::output_amount(self, inputs)
    }

    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        Stage::memory_amount(self, inputs)
    }

    fn metrics(&self, inputs: &KnownInputs) -> Option<Vec<String>> {
        Stage::metrics(self, inputs)
    }

    fn asks_for_device(&self) -> bool {
        Stage::asks_for_device(self)
    }

    fn settle(&self, devices: &Devices) -> std::result::Result<Box<dyn DynStage>, Misfit> {
        Ok(Box::new(Stage::settle(self, devices)?))
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        Stage::run(self, ctx)
    }

    fn config(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("invariant: a config is plain data")
    }
}
