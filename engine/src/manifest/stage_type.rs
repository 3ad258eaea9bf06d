//! Owns: rows of the table of stage types: everything that the engine knows about a type. `main.rs` defines the
//! table.

use crate::manifest::{config::read_config, fault::Faults, node::Node, ports::Ports, source::Span};
use pipe_stage::{Code, Digest, DynStage, Identity, Port, Probe, Remotes, Stage, canonical};
use serde_json::{Map, Value};
use std::{os::unix::ffi::OsStringExt, sync::OnceLock};

/// The name in `uses:`.
pub struct StageType {
    /// `clean`, `pretrain`.
    pub name: &'static str,
    /// Its revision, which is part of every key.
    pub revision: u32,
    /// How else its code is identified.
    pub code: Code,
    /// Finds the devices that its stages can run on.
    pub probe: Option<&'static Probe>,
    /// Access to files on servers, if the program gives its stages any.
    pub remotes: Option<&'static dyn Remotes>,
    /// The ports, if they are the same for every stage of this type.
    pub ports: &'static [Port],
    /// Whether outputs come from each stage's config, and inputs may have any name.
    pub has_own_ports: bool,
    read: fn(&StageType, &Node, Span, &mut Faults) -> Option<Config>,
    configure: fn(&Value) -> Result<Box<dyn DynStage>, String>,
    make_schema: fn() -> Value,
    schema: OnceLock<Value>,
}

/// A stage type whose config defines its outputs, and whose inputs may have any name.
pub trait OwnPorts: Stage {
    /// Lists outputs as name and kind; an error about an unknown kind points at the field `outputs.NAME`.
    fn outputs(&self) -> Vec<(String, String)>;

    /// Lists inputs that the config refers to, each with its field.
    fn inputs_named(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Cores that a stage gets by default; `None` for all that are free.
    fn cpus_default(&self) -> Option<usize> {
        None
    }

    /// Names environment variables that determine results: their values are under `env` in the essence, and so part
    /// of the key and of the reasons.
    fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    /// Lists globs of files, relative to the project root, that stages may read without asking for them as sources.
    fn patterns(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The value of an environment variable in keys: text, or bytes if it is not UTF-8.
pub(crate) fn variable(name: &str) -> Value {
    match std::env::var_os(name).map(OsStringExt::into_vec).map(String::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => Value::String(text),
        Some(Err(error)) => error.into_bytes().into(),
    }
}

/// Valid settings of a stage.
pub struct Config {
    /// Ready to run.
    pub stage: Box<dyn DynStage>,
    /// All fields, for specs.
    pub json: Value,
    /// The part that determines results: without defaults and run-time fields. Keys and reasons are made from it.
    pub essence: Value,
    /// The same as written, before `auto` values were resolved on the machine: recipes are made from it.
    pub asked: Value,
    /// The ports of a stage with these settings.
    pub ports: Ports,
    /// Cores that it gets by default; `None` for all that are free.
    pub cpus_default: Option<usize>,
    /// Globs of files that it may read without asking for them as sources.
    pub patterns: Vec<String>,
}

impl StageType {
    /// Makes the row of a type with fixed ports.
    pub const fn of<S: Stage>() -> Self {
        Self {
            name: S::NAME,
            revision: S::REVISION,
            code: S::CODE,
            probe: S::PROBE,
            remotes: None,
            ports: S::PORTS,
            has_own_ports: false,
            read: |kind, with, key, faults| {
                let stage = read_config::<S>(with, key, faults)?;
                Some(kind.config(stage, Ports::fixed(S::PORTS)))
            },
            configure: |config| {
                let stage: S = serde_json::from_value(config.clone()).map_err(|error| error.to_string())?;
                Ok(Box::new(stage))
            },
            make_schema: canonical::schema::<S>,
            schema: OnceLock::new(),
        }
    }

    /// Gives its stages access to files on servers.
    #[must_use]
    pub const fn reading(mut self, remotes: &'static dyn Remotes) -> Self {
        self.remotes = Some(remotes);
        self
    }

    /// Makes the row of a type whose ports depend on its config.
    pub const fn with_own_ports<S: OwnPorts>() -> Self {
        let mut row = Self::of::<S>();
        row.has_own_ports = true;
        row.read = |kind, with, key, faults| {
            let stage = read_config::<S>(with, key, faults)?;
            let ports = Ports { named: stage.inputs_named(), ..Ports::own(stage.outputs()) };
            let values: Map<_, _> =
                stage.variables().into_iter().map(|name| (name.clone(), variable(&name))).collect();
            let (cpus_default, patterns) = (stage.cpus_default(), stage.patterns());
            let mut config = Config { cpus_default, patterns, ..kind.config(stage, ports) };
            if !values.is_empty() {
                config.essence["env"] = Value::Object(values);
                config.asked.clone_from(&config.essence);
            }
            Some(config)
        };
        row
    }

    /// The code of this type in this program.
    pub fn identity(&self, program: Option<Digest>) -> Identity {
        let program = program.filter(|_| self.code == Code::Program);
        Identity { name: self.name.to_owned(), revision: self.revision, program }
    }

    /// The config's JSON Schema, with defaults.
    pub fn schema(&self) -> &Value {
        self.schema.get_or_init(self.make_schema)
    }

    /// Makes a stage from its full config, as in a spec.
    pub fn configure(&self, config: &Value) -> Result<Box<dyn DynStage>, String> {
        (self.configure)(config)
    }

    /// The config for an empty `with`.
    pub fn default_json(&self) -> Value {
        let empty = Value::Object(Default::default());
        self.configure(&empty).map_or(Value::Null, |stage| stage.config())
    }

    /// First paragraph of the type's documentation.
    pub fn about(&self) -> String {
        let text = self.schema()["description"].as_str().unwrap_or_default();
        text.split("\n\n").next().unwrap_or_default().replace('\n', " ")
    }

    /// The ports of every stage of this type, if they do not depend on its config.
    pub(crate) fn fixed_ports(&self) -> Option<Ports> {
        (!self.has_own_ports).then(|| Ports::fixed(self.ports))
    }

    /// Reads a config from a manifest's `with`; adds all errors to `faults`.
    pub(crate) fn read(&self, with: &Node, key: Span, faults: &mut Faults) -> Option<Config> {
        (self.read)(self, with, key, faults)
    }

    /// Replaces the settings that were resolved on this machine.
    pub(crate) fn settle(&self, config: &mut Config, settled: Box<dyn DynStage>) {
        config.json = settled.config();
        config.essence = canonical::essence_of(&config.json, self.schema());
        config.stage = settled;
    }

    fn config(&self, stage: impl Stage, ports: Ports) -> Config {
        let json = DynStage::config(&stage);
        let essence = canonical::essence_of(&json, self.schema());
        Config {
            stage: Box::new(stage),
            json,
            asked: essence.clone(),
            essence,
            ports,
            cpus_default: None,
            patterns: Vec::new(),
        }
    }
}

impl std::fmt::Debug for StageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (revision {})", self.name, self.revision)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("essence", &self.essence).field("ports", &self.ports).finish()
    }
}
