//! The traits that a stage author implements.

use crate::{
    Artifact, Context, Devices, Error, Facts, KnownInputs, Places, Port, Probe, RemoteRequest, Result,
    SourceFile, SourceRequest,
};
use pipe_cache::Digest;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// A stage type: a config struct that can run.
///
/// The doc comments of the struct are its reference text. It should have `#[serde(deny_unknown_fields, default)]` and
/// a hand-written `Default`. A field marked `#[schemars(extend("x-runtime" = true))]` does not affect the result and
/// is left out of all keys.
pub trait Stage: Default + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in `uses:`.
    const NAME: &'static str;
    /// Part of keys; raised whenever results may change.
    const REVISION: u32;
    /// How keys identify the code of this type, besides name and revision.
    const CODE: Code = Code::Program;
    /// Finds the devices that stages of this type can run on; `None` if they only use the CPU.
    const PROBE: Option<&'static Probe> = None;
    /// Inputs and outputs, in display order.
    const PORTS: &'static [Port];

    /// Reports errors that types cannot express: ranges, and conflicts between fields.
    fn check(&self) -> Vec<Misfit> {
        Vec::new()
    }

    /// Reports errors in which inputs are connected, beyond the rules of the ports; for example, an input that only
    /// some settings require. `connected` contains the names of the connected ports.
    fn check_inputs(&self, _connected: &[&str]) -> Vec<Misfit> {
        Vec::new()
    }

    /// Lists what is known about an output before the stage runs: the vocabulary size of a tokenizer, the shape of a
    /// model. Downstream stages find it in their [`KnownInputs`]; stage types define the names of facts.
    fn facts(&self, _output: &str, _inputs: &KnownInputs) -> Facts {
        Facts::default()
    }

    /// Finds errors in what is known about the inputs, such as a model that no class of transformers supports, which
    /// would otherwise fail only after training.
    ///
    /// Called by `check`, `plan` and `run` before anything runs. Unknown facts must not be errors.
    fn check_known(&self, _inputs: &KnownInputs) -> Vec<Misfit> {
        Vec::new()
    }

    /// Lists the files outside the cache that this stage reads. It looks at paths, never at contents, and starts no
    /// process.
    fn sources(&self, _places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        Ok(Vec::new())
    }

    /// Lists the files on servers that this stage reads. It makes no request.
    fn remotes(&self, _places: &Places) -> std::result::Result<Vec<RemoteRequest>, Vec<Misfit>> {
        Ok(Vec::new())
    }

    /// Finds errors that only the sources reveal: a missing column, an unreadable tokenizer file.
    ///
    /// Called by `pipe check`. It reads the first rows or the header of a few files, never a whole file of unbounded
    /// size. `sources` are the files listed by [`sources`](Self::sources).
    fn preview(&self, _places: &Places, _sources: &[SourceFile]) -> Vec<Misfit> {
        Vec::new()
    }

    /// Estimates the amount of work, in any unit that the running time is proportional to.
    ///
    /// `pipe plan` scales the times of earlier runs by it. The default is the number of bytes that the stage reads;
    /// `None` means unknown, and earlier times are then used unscaled. If a new revision changes the unit, estimates
    /// are wrong until the stage has run once.
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

    /// Lists the names of the metrics that a stage with these settings and inputs may report; a trailing `*` matches
    /// any ending (`dropped.*`). `None` means that they are not known before the stage runs.
    ///
    /// The names under `expect` are compared with this list.
    fn metrics(&self, _inputs: &KnownInputs) -> Option<Vec<String>> {
        None
    }

    /// Whether these settings request a device or leave the choice to the machine.
    fn asks_for_device(&self) -> bool {
        false
    }

    /// Resolves what was left to the machine, before keys are made, and refuses devices that are missing.
    fn settle(&self, _devices: &Devices) -> std::result::Result<Self, Misfit> {
        Ok(self.clone())
    }

    /// The recipe: steps in order, then the outputs. It must be deterministic and quick between steps, and must not
    /// print.
    fn run(&self, ctx: &Context) -> Result<()>;
}

/// Whether a declared name, which may end in `*`, matches a metric.
pub fn covers(declared: &str, metric: &str) -> bool {
    declared.strip_suffix('*').map_or(declared == metric, |start| metric.starts_with(start))
}

/// What is known about a stage's inputs before it runs.
#[derive(Debug, Clone, Default)]
pub struct WorkInputs {
    /// Artifacts by port. A port is missing while a stage that it depends on has not run.
    pub ports: BTreeMap<String, Vec<Artifact>>,
    /// Whether all artifacts are known.
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

/// How keys detect that the code of a stage type changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// By its revision only. Golden digests in the tests of its package enforce this: they fail if output bytes
    /// change without a new revision.
    Revision,
    /// By its revision and the digest of the program: another build counts as other code.
    Program,
}

/// The code that a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Stage type.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// Digest of the program, for types with [`Code::Program`].
    pub program: Option<Digest>,
}

/// An error in the value at a field path, such as `optimizer.lr` or `sources[0].glob`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Field path: names joined by dots, list positions in brackets.
    pub path: String,
    /// What is wrong: `must be above 0 and at most 1`.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Misfit {
    /// Creates an error at a field path.
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

    /// Adds a help text.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns an error unless `holds`; for chains in [`Stage::check`].
    pub fn unless(holds: bool, path: &str, message: impl Into<String>) -> Option<Self> {
        (!holds).then(|| Self::new(path, message))
    }
}

/// A stage without its static type, as the engine holds it.
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
    /// See [`Stage::remotes`].
    fn remotes(&self, places: &Places) -> std::result::Result<Vec<RemoteRequest>, Vec<Misfit>>;
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
    /// The config as JSON, with all fields.
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

    fn remotes(&self, places: &Places) -> std::result::Result<Vec<RemoteRequest>, Vec<Misfit>> {
        Stage::remotes(self, places)
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
