//! Owns: a manifest with everything that plans and runs of it need: graph, sources, cache, lock file, and keys of
//! stages.

use crate::{
    command::written::Written,
    devices,
    graph::Graph,
    known::known_inputs,
    lock::{Lock, LockedStage},
    manifest::{Code, Fault, Faults, Manifest, Need, Report, stage_type::StageType},
    plan::key::{self, Asked, InputDigests},
    project::Project,
    record::{Journal, read_artifact},
    remotes::{self, Listed},
    secrets,
    sources::{self, SourceError},
};
use pipe_stage::{
    Devices, Digest, Error, Identity, KnownInputs, Misfit, Pin, Places, RemoteRequest, SourceFile,
    SourceRequest, Store,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

/// A manifest with everything that plans and runs of it need.
pub struct Session {
    /// The manifest.
    pub manifest: Manifest,
    /// Its DAG.
    pub graph: Graph,
    /// The table of stage types.
    pub types: &'static [StageType],
    /// Its paths.
    pub project: Project,
    /// The cache.
    pub store: Store,
    /// Earlier runs.
    pub journal: Journal,
    /// The lock file; empty if there is none.
    pub lock: Lock,
    listings: Vec<Option<Arc<Vec<SourceFile>>>>,
    pins: BTreeSet<Pin>,
    /// Files on servers, by the names of their pins.
    remote: BTreeMap<String, Listed>,
    /// Digest of this program, if a stage has a type with [`pipe_stage::Code::Program`].
    program: Option<Digest>,
    /// A stage whose result is taken from a folder, in place of a run.
    pub adopted: Option<(usize, PathBuf)>,
    /// Stages that run even if they are recorded.
    pub forced: BTreeSet<usize>,
    /// What stages ask for that this machine does not have.
    pub(super) unsettled: BTreeMap<usize, (Code, Misfit)>,
    /// What is known of each stage's inputs before anything runs.
    pub(super) known: Vec<KnownInputs>,
}

/// Whether stored stamps of sources are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A file with an unchanged stamp is unchanged.
    Stamps,
    /// Every file is hashed.
    Nothing,
}

/// Everything that determines a stage's result, resolved.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The key.
    pub key: Digest,
    /// Artifacts by port, with labels.
    pub inputs: InputDigests,
    /// Source files.
    pub sources: Arc<Vec<SourceFile>>,
}

impl Session {
    /// Lists the sources of all stages; errors about missing files are reported at their place in the manifest.
    pub fn new(
        manifest: Manifest,
        types: &'static [StageType],
        project: Project,
        store: Store,
        lock: Lock,
        stages: &[usize],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<Report>> {
        let graph = Graph::new(&manifest);
        let journal = Journal::new(&project.cache, &manifest.pipeline);
        let listings = vec![None; manifest.stages.len()];
        let known = known_inputs(&manifest, &graph);
        let (pins, remote) = (BTreeSet::new(), BTreeMap::new());
        let (program, unsettled) = (None, BTreeMap::new());
        let mut session = Self {
            manifest,
            graph,
            types,
            project,
            store,
            journal,
            lock,
            listings,
            pins,
            remote,
            program,
            adopted: None,
            forced: BTreeSet::new(),
            unsettled,
            known,
        };
        session.settle(stages);
        let mut faults = Faults::default();
        if let Some(&stage) =
            stages.iter().find(|&&stage| session.kind(stage).code == pipe_stage::Code::Program)
        {
            match sources::program(&session.project.cache) {
                Ok(program) => session.program = Some(program),
                Err(error) => faults.push(session.manifest.misfit(stage, &Misfit::new("", told(&error)))),
            }
        }
        session.check_secrets(&mut faults);
        let mut told = BTreeSet::new();
        for &stage in stages {
            session.check_known(stage, &mut faults);
            session.check_expectations(stage, &mut told, &mut faults);
            session.relist_with(stage, variable, Trust::Stamps, &mut faults);
        }
        if faults.is_empty() { Ok(session) } else { Err(session.manifest.report(faults)) }
    }

    /// Resolves what stages leave to the machine and the environment.
    fn settle(&mut self, stages: &[usize]) {
        let mut answers: BTreeMap<&str, Result<Devices, String>> = BTreeMap::new();
        for &stage in stages {
            let kind = self.kind(stage);
            let config = &mut self.manifest.stages[stage].config;
            let Some(probe) = kind.probe.filter(|_| config.stage.asks_for_device()) else { continue };
            let found =
                answers.entry(probe.name).or_insert_with(|| devices::find(probe, &self.project.cache));
            let settled = match found {
                Ok(devices) => config.stage.settle(devices),
                Err(message) => Err(Misfit::new("", message.clone())),
            };
            match settled {
                Ok(settled) => kind.settle(config, settled),
                Err(misfit) => drop(self.unsettled.insert(stage, (Code::MissingDevice, misfit))),
            }
        }
        for &stage in stages {
            let missing = secrets::missing_in(&self.manifest.stages[stage].config.json);
            if let Some(name) = missing.first() {
                let misfit =
                    Misfit::new("run", format!("needs the secret `{name}`, which is not set or empty"));
                let misfit = misfit.help(format!("set `{name}` in the environment"));
                self.unsettled.insert(stage, (Code::UndefinedSecret, misfit));
            }
        }
    }

    /// Devices and secrets that stages need and that are missing here: an error if the stage has to run, otherwise a note.
    pub fn unsettled(&self) -> impl Iterator<Item = (usize, &Misfit)> {
        self.unsettled.iter().map(|(stage, (_, misfit))| (*stage, misfit))
    }

    /// Lists a stage's sources again, ignoring stored stamps.
    pub fn relist(&mut self, stage: usize) -> Result<(), Box<Report>> {
        let mut faults = Faults::default();
        self.relist_with(stage, &|name| std::env::var(name).ok(), Trust::Nothing, &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(self.manifest.report(faults)) }
    }

    fn relist_with(
        &mut self,
        stage: usize,
        variable: &dyn Fn(&str) -> Option<String>,
        trust: Trust,
        faults: &mut Faults,
    ) {
        let places = Places { project: self.project.root.clone(), variable };
        let requests = match self.manifest.stages[stage].config.stage.sources(&places) {
            Ok(requests) => requests,
            Err(misfits) => {
                misfits.iter().for_each(|misfit| faults.push(self.manifest.misfit(stage, misfit)));
                return;
            }
        };
        let stamps = sources::stamps(&self.project.cache);
        let written =
            Written::read(&self.project.cache, &self.project.root, &self.manifest.stages[stage].config.json);
        let mut files = Vec::new();
        for request in requests.into_iter().filter_map(|request| written.without(request)) {
            let request = sources::without(request, &self.project.own_folders());
            if trust == Trust::Nothing {
                sources::forget(&request, &stamps);
            }
            match sources::list(&request, Some(&stamps)) {
                Ok(listed) => files.extend(listed),
                Err(error) => {
                    let root = self.project.root.display();
                    let message = format!("{} (project root: {root})", told(&error));
                    let mut misfit = Misfit::new(request.field.clone(), message);
                    let mut code = Code::MissingSource;
                    misfit.help = request.help.clone();
                    if matches!(error, SourceError::NothingFound { .. }) && is_from_home(&request) {
                        misfit.help = Some("`~` is not expanded; write the whole path".to_owned());
                    }
                    let help = match error {
                        SourceError::BrokenLink { .. } => {
                            Some("mount or fetch its target, remove the link, or narrow the pattern")
                        }
                        SourceError::TooDeep { .. } => Some("narrow the pattern"),
                        SourceError::BadName { .. } => Some("rename the file, or narrow the pattern"),
                        _ => None,
                    };
                    misfit.help = help.map(str::to_owned).or(misfit.help);
                    if let SourceError::BadGlob { field, .. } = &error {
                        misfit.path.clone_from(field);
                        code = Code::InvalidValue;
                    }
                    faults.push(self.manifest.misfit(stage, &misfit).coded(code));
                }
            }
            if let Some(pin) = request.pin {
                self.check_pin(stage, &request.field, &pin, faults);
                self.pins.insert(pin);
            }
        }
        files.extend(self.remote_files(stage, &places, faults));
        self.listings[stage] = Some(Arc::new(files));
    }

    /// The files on servers that a stage reads.
    fn remote_files(&mut self, stage: usize, places: &Places, faults: &mut Faults) -> Vec<SourceFile> {
        let requests = match self.manifest.stages[stage].config.stage.remotes(places) {
            Ok(requests) => requests,
            Err(misfits) => {
                misfits.iter().for_each(|misfit| faults.push(self.manifest.misfit(stage, misfit)));
                return Vec::new();
            }
        };
        let mut files = Vec::new();
        for request in requests {
            match self.listed(stage, &request) {
                Ok(listed) => {
                    files.extend(listed.files(&request.source));
                    self.pins.insert(listed.pin.clone());
                    self.remote.insert(listed.pin.name.clone(), listed);
                }
                Err(error) => {
                    let misfit = Misfit::of_error(request.field.clone(), &error);
                    faults.push(self.manifest.misfit(stage, &misfit).coded(Code::MissingSource));
                }
            }
        }
        files
    }

    /// Finds the files of a request: those of the lock file, those that this session has found before, or those that are
    /// there now.
    fn listed(&self, stage: usize, request: &RemoteRequest) -> Result<Listed, Error> {
        let Some(remotes) = self.kind(stage).remotes else {
            let message = format!("`{}` is on a server", remotes::named(&request.root));
            return Err(Error::input(message).help("use a program that is built with the feature `remote`"));
        };
        let name = remotes.pin_name(&request.root)?;
        if let Some(listed) = self.remote.get(&name) {
            return Ok(listed.clone());
        }
        let locked = |name: &str| self.lock.pins.get(name).cloned();
        remotes::list(remotes, request, locked, &sources::stamps(&self.project.cache))
    }

    /// Keeps listings of files on servers in the cache, which may not have existed when they were made.
    pub fn keep_listings(&self) {
        let stamps = sources::stamps(&self.project.cache);
        self.remote.values().for_each(|listed| listed.keep(&stamps));
    }

    /// Pins of files on servers that the lock file does not have yet.
    pub fn new_pins(&self) -> impl Iterator<Item = &Pin> {
        let pins = self.remote.values().map(|listed| &listed.pin);
        pins.filter(|pin| !self.lock.pins.contains_key(&pin.name))
    }

    fn check_pin(&self, stage: usize, field: &str, pin: &Pin, faults: &mut Faults) {
        let Some(locked) = self.lock.pins.get(&pin.name).filter(|locked| **locked != pin.revision) else {
            return;
        };
        let message = format!("`{}` is {} here, but {locked} in the lock file", pin.name, pin.revision);
        let help = "install that revision, or accept this one with `pipe run --update-pins`";
        let fault = Fault::new(Code::MissingSource, message, "pinned to another revision").help(help);
        faults.push(fault.at(self.manifest.place(stage, field)));
    }

    /// Revisions of sources whose content can change under the same name.
    pub fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.pins.iter()
    }

    /// Name of a stage.
    pub fn name(&self, stage: usize) -> &str {
        self.manifest.stages.get_index(stage).map_or("", |(name, _)| name.as_str())
    }

    /// Type of a stage.
    pub fn kind(&self, stage: usize) -> &'static StageType {
        &self.types[self.manifest.stages[stage].uses]
    }

    /// The code that a stage runs.
    pub fn identity(&self, stage: usize) -> Identity {
        self.kind(stage).identity(self.program)
    }

    fn essence(&self, stage: usize) -> &serde_json::Value {
        &self.manifest.stages[stage].config.essence
    }

    /// The source files of a stage.
    pub fn listing(&self, stage: usize) -> Arc<Vec<SourceFile>> {
        self.listings[stage].clone().unwrap_or_default()
    }

    /// The result that the lock file pins a frozen stage to.
    pub fn frozen_at(&self, stage: usize) -> Option<&LockedStage> {
        let is_frozen = self.manifest.stages[stage].freeze;
        self.lock.stages.get(self.name(stage)).filter(|_| is_frozen)
    }

    /// Makes the key of a stage whose inputs are all known; `outputs` returns the outputs of a stage by port.
    pub fn resolve<'a>(
        &self,
        stage: usize,
        outputs: impl Fn(usize) -> Option<&'a BTreeMap<String, Digest>>,
    ) -> Option<Resolved> {
        let mut inputs = InputDigests::new();
        for (port, needs) in &self.manifest.stages[stage].needs {
            let artifact = |need: &Need| {
                let digest = *outputs(need.stage)?.get(&need.output)?;
                Some((need.label.clone().unwrap_or_default(), digest))
            };
            inputs.insert(port.clone(), needs.iter().map(artifact).collect::<Option<_>>()?);
        }
        let sources = self.listing(stage);
        let identity = self.identity(stage);
        let asked = Asked { identity: &identity, essence: self.essence(stage) };
        Some(Resolved { key: key::key(asked, &inputs, &sources), inputs, sources })
    }

    /// Makes the recipes of stages, which are given in running order.
    pub fn recipes(&self, stages: &[usize]) -> BTreeMap<usize, Digest> {
        let mut recipes = BTreeMap::new();
        for &stage in stages {
            if let Some(pin) = self.frozen_at(stage) {
                recipes.insert(stage, pin.recipe);
                continue;
            }
            let mut inputs = InputDigests::new();
            for (port, needs) in &self.manifest.stages[stage].needs {
                let asked = |need: &Need| {
                    let label = format!("{}\n{}", need.label.as_deref().unwrap_or_default(), need.output);
                    (label, recipes[&need.stage])
                };
                inputs.insert(port.clone(), needs.iter().map(asked).collect());
            }
            let identity = self.identity(stage);
            let asked = Asked { identity: &identity, essence: &self.manifest.stages[stage].config.asked };
            recipes.insert(stage, key::recipe(asked, &inputs, &self.listing(stage)));
        }
        recipes
    }

    /// The stages whose outputs this stage reads but that are missing from the cache, by size and time stamp.
    pub fn not_held(&self, stage: usize, resolved: &Resolved) -> BTreeSet<usize> {
        let mut gone = BTreeSet::new();
        for (port, needs) in &self.manifest.stages[stage].needs {
            for (need, (_, digest)) in needs.iter().zip(&resolved.inputs[port]) {
                let artifact = read_artifact(&self.store, digest);
                if !artifact.is_some_and(|artifact| artifact.blobs().all(|blob| self.store.holds(blob))) {
                    gone.insert(need.stage);
                }
            }
        }
        gone
    }
}

/// Whether a request begins with `~`, as in a shell.
fn is_from_home(request: &SourceRequest) -> bool {
    let begins = |text: &str| text == "~" || text.starts_with("~/");
    request.include.iter().any(|glob| begins(glob)) || request.root.iter().any(|part| part == "~")
}

fn told(error: &SourceError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
