//! Owns: what a run would do: for each stage whether it is cached, would run and why, or depends on one
//! that would. Reads the cache, writes nothing but stamps of sources.

pub mod key;

pub mod why;

mod estimate;

mod frozen;

pub mod cost;

use crate::{
    devices,
    graph::Graph,
    lock::Lock,
    manifest::{Code, Fault, Faults, Manifest, Report},
    project::Project,
    record::{Journal, Record, Visit, read_artifact},
    run::worker::guarded,
    sources::{self, SourceError},
    stage_type::StageType,
};
pub use estimate::Estimate;
pub(crate) use frozen::Kept;
pub use frozen::Stale;
use key::{Asked, InputDigests};
use pipe_stage::{
    Context, Devices, Digest, Error, Event, Halt, Identity, InputArtifact, Misfit, Mode, Pin, Places, Setup,
    SourceFile, Stop, Store,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
pub use why::Reason;

/// A manifest with all that plans and runs of it need.
pub struct Session {
    /// What is asked for.
    pub manifest: Manifest,
    /// Its DAG.
    pub graph: Graph,
    /// The table of stage types.
    pub types: &'static [StageType],
    /// Where things are.
    pub project: Project,
    /// The cache.
    pub store: Store,
    /// Earlier runs.
    pub journal: Journal,
    /// What the lock file says; empty if there is none.
    pub lock: Lock,
    listings: Vec<Option<Arc<Vec<SourceFile>>>>,
    pins: BTreeSet<Pin>,
    /// Digest of this program, if a stage has a type of [`pipe_stage::Code::Program`].
    program: Option<Digest>,
    /// What stages ask for that this machine does not have.
    unsettled: BTreeMap<usize, Misfit>,
}

/// All that decides a stage's result, known.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The key.
    pub key: Digest,
    /// Artifacts by port, with labels.
    pub inputs: InputDigests,
    /// Source files.
    pub sources: Arc<Vec<SourceFile>>,
}

/// What a plan says of a stage.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing to do.
    Cached(Box<Record>),
    /// It runs.
    Run(Work),
    /// A stage that it needs runs; whether it does too, nobody knows before.
    DependsOn(Vec<usize>),
}

/// What is to do in a stage.
#[derive(Debug)]
pub struct Work {
    /// Why.
    pub reasons: Vec<Reason>,
    /// The first step with something to do: its name, shares to do, all shares.
    pub missing: Option<(String, u64, u64)>,
}

/// A stage in a plan.
#[derive(Debug)]
pub struct Planned {
    /// Position in the manifest.
    pub stage: usize,
    /// What was asked for.
    pub recipe: Digest,
    /// Known unless the stage depends on one that runs.
    pub resolved: Option<Resolved>,
    /// What to do.
    pub verdict: Verdict,
    /// Of a frozen stage that keeps what it has, though it would run otherwise: why it would.
    pub stale: Option<Stale>,
    /// What it will take, from earlier runs; nothing for a cached stage.
    pub estimate: Option<Estimate>,
}

impl Session {
    /// Lists the sources of all stages; what is missing there is told at its place in the manifest.
    pub fn new(
        manifest: Manifest,
        types: &'static [StageType],
        project: Project,
        store: Store,
        stages: &[usize],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<Report>> {
        let graph = Graph::new(&manifest);
        let journal = Journal::new(&project.cache, &manifest.pipeline);
        let lock = Lock::read(&project.lock()).unwrap_or_default();
        let listings = vec![None; manifest.stages.len()];
        let pins = BTreeSet::new();
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
            program,
            unsettled,
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
        for &stage in stages {
            session.relist_with(stage, variable, &mut faults);
        }
        if faults.is_empty() { Ok(session) } else { Err(session.manifest.report(faults)) }
    }

    /// Settles what stages leave to the machine.
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
                Err(misfit) => drop(self.unsettled.insert(stage, misfit)),
            }
        }
    }

    /// What a stage asks for that this machine does not have: a fault where it has to run, else a note.
    pub fn unsettled(&self) -> impl Iterator<Item = (usize, &Misfit)> {
        self.unsettled.iter().map(|(stage, misfit)| (*stage, misfit))
    }

    /// Refuses a run of stages that ask for what is not here, unless they are up to date.
    pub fn refuse_unsettled(&self, stages: &[usize]) -> Result<(), PlanError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let mut faults = Faults::default();
        for planned in self.plan(stages, &[])? {
            if let Some(misfit) = self.unsettled.get(&planned.stage)
                && !matches!(planned.verdict, Verdict::Cached(_))
            {
                faults.push(self.manifest.misfit(planned.stage, misfit).coded(Code::MissingDevice));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(PlanError::Refused(self.manifest.report(faults))) }
    }

    /// Looks at a stage's sources again.
    pub fn relist(&mut self, stage: usize) -> Result<(), Box<Report>> {
        let mut faults = Faults::default();
        self.relist_with(stage, &|name| std::env::var(name).ok(), &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(self.manifest.report(faults)) }
    }

    fn relist_with(&mut self, stage: usize, variable: &dyn Fn(&str) -> Option<String>, faults: &mut Faults) {
        let places = Places { project: self.project.root.clone(), variable };
        let requests = match self.manifest.stages[stage].config.stage.sources(&places) {
            Ok(requests) => requests,
            Err(misfits) => {
                misfits.iter().for_each(|misfit| faults.push(self.manifest.misfit(stage, misfit)));
                return;
            }
        };
        let stamps = sources::stamps(&self.project.cache);
        let mut files = Vec::new();
        for request in requests {
            match sources::list(&request, Some(&stamps)) {
                Ok(listed) => files.extend(listed),
                Err(error) => {
                    let mut misfit = Misfit::new(request.field.clone(), told(&error));
                    let mut code = Code::MissingSource;
                    misfit.help = request.help.clone();
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
        self.listings[stage] = Some(Arc::new(files));
    }

    fn check_pin(&self, stage: usize, field: &str, pin: &Pin, faults: &mut Faults) {
        let Some(locked) = self.lock.pins.get(&pin.name).filter(|locked| **locked != pin.revision) else {
            return;
        };
        let message = format!("`{}` is {} here, and {locked} in the lock file", pin.name, pin.revision);
        let help = "have that revision here, or accept this one with `--update-pins`";
        let fault = Fault::new(Code::MissingSource, message, "pinned to another revision").help(help);
        faults.push(fault.at(self.manifest.place(stage, field)));
    }

    /// Revisions of sources that can change under one name.
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

    /// Which code a stage runs.
    pub fn identity(&self, stage: usize) -> Identity {
        self.kind(stage).identity(self.program)
    }

    fn essence(&self, stage: usize) -> &serde_json::Value {
        &self.manifest.stages[stage].config.essence
    }

    fn listing(&self, stage: usize) -> Arc<Vec<SourceFile>> {
        self.listings[stage].clone().unwrap_or_default()
    }

    /// Makes the key of a stage whose inputs are all there; `outputs` gives what a stage made, by port.
    pub fn resolve<'a>(
        &self,
        stage: usize,
        outputs: impl Fn(usize) -> Option<&'a BTreeMap<String, Digest>>,
    ) -> Option<Resolved> {
        let mut inputs = InputDigests::new();
        for (port, needs) in &self.manifest.stages[stage].needs {
            let artifact = |need: &crate::manifest::Need| {
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

    /// Makes the recipes of stages, which come in running order.
    pub fn recipes(&self, stages: &[usize]) -> BTreeMap<usize, Digest> {
        let mut recipes = BTreeMap::new();
        for &stage in stages {
            if let Some(pin) = self.pin(stage) {
                recipes.insert(stage, pin.recipe);
                continue;
            }
            let mut inputs = InputDigests::new();
            for (port, needs) in &self.manifest.stages[stage].needs {
                let asked = |need: &crate::manifest::Need| {
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

    /// Whether everything that a stage reads is there, by size and stamp; the stages whose outputs are not.
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

    /// Plans stages, which come in running order with all that they need.
    pub fn plan(&self, stages: &[usize], targets: &[usize]) -> Result<Vec<Planned>, pipe_cache::Error> {
        let recipes = self.recipes(stages);
        let mut planned: BTreeMap<usize, Planned> = BTreeMap::new();
        for &stage in stages {
            let made = |upstream: usize| match &planned.get(&upstream)?.verdict {
                Verdict::Cached(record) => Some(&record.outputs),
                _ => None,
            };
            let resolved = self.resolve(stage, made);
            if let Some(kept) = self.plan_frozen(stage, recipes[&stage], &resolved, &planned)? {
                planned.insert(stage, kept);
                continue;
            }
            let verdict = match &resolved {
                None => {
                    let runs = |upstream: &usize| !matches!(planned[upstream].verdict, Verdict::Cached(_));
                    Verdict::DependsOn(self.graph.upstream(stage).into_iter().filter(runs).collect())
                }
                Some(resolved) => match Record::read(&self.store, &resolved.key)? {
                    Some(record) => Verdict::Cached(Box::new(record)),
                    None => Verdict::Run(self.work(stage, resolved)?),
                },
            };
            let (recipe, stale, estimate) = (recipes[&stage], None, None);
            planned.insert(stage, Planned { stage, recipe, resolved, verdict, stale, estimate });
        }
        self.want_objects(&mut planned, stages, targets);
        let mut of_family = BTreeMap::new();
        for planned in planned.values_mut() {
            if !matches!(planned.verdict, Verdict::Cached(_)) {
                let visits = self.visits(planned.stage, &mut of_family);
                planned.estimate = Estimate::of(&visits, &planned.verdict, |visit| self.written(visit));
            }
        }
        Ok(stages.iter().filter_map(|stage| planned.remove(stage)).collect())
    }

    /// Runs cached stages again whose objects are gone but wanted: by a stage that runs, or as targets.
    fn want_objects(&self, planned: &mut BTreeMap<usize, Planned>, stages: &[usize], targets: &[usize]) {
        for &stage in stages.iter().rev() {
            let runs = |stage: &usize| {
                planned.get(stage).is_some_and(|planned| !matches!(planned.verdict, Verdict::Cached(_)))
            };
            let downstream = self.graph.downstream(stage);
            let is_wanted = downstream.iter().any(runs)
                || targets.contains(&stage)
                || (targets.is_empty() && downstream.is_empty());
            let planned = planned.get_mut(&stage).expect("invariant: every stage of the list is planned");
            if let (true, Verdict::Cached(record)) = (is_wanted, &planned.verdict)
                && !record.is_held(&self.store)
            {
                let reason =
                    if planned.stale.take().is_some() { Reason::FrozenGone } else { Reason::ObjectsGone };
                planned.verdict = Verdict::Run(Work { reasons: vec![reason], missing: None });
            }
        }
    }

    /// Finds out why a stage with this key runs, and how much of it there is to do.
    pub fn work(&self, stage: usize, resolved: &Resolved) -> Result<Work, pipe_cache::Error> {
        let reasons = match self.before(stage)? {
            Some(record) => why::reasons(self, stage, resolved, &record),
            None => vec![Reason::First],
        };
        Ok(Work { reasons, missing: self.count(stage, resolved) })
    }

    /// The record to compare with: of the last full run as the lock file has it, else of the last run.
    fn before(&self, stage: usize) -> Result<Option<Record>, pipe_cache::Error> {
        let name = self.name(stage);
        let locked = self.lock.stages.get(name).map(|locked| locked.key);
        let visited = self.journal.visits(name).last().map(|visit| visit.key);
        for key in [locked, visited].into_iter().flatten() {
            if let Some(record) = Record::read(&self.store, &key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Earlier runs of a stage; of others of its matrix, where it has none itself.
    fn visits(&self, stage: usize, of_family: &mut BTreeMap<usize, Vec<Visit>>) -> Vec<Visit> {
        let own = self.journal.visits(self.name(stage));
        let Some(family) = self.manifest.family(stage).filter(|_| own.is_empty()) else { return own };
        let like = || {
            let mut others = family.stages.clone().map(|other| self.journal.visits(self.name(other)));
            others.find(|visits| !visits.is_empty()).unwrap_or_else(|| self.journal.visits(&family.name))
        };
        of_family.entry(family.stages.start).or_insert_with(like).clone()
    }

    /// Bytes that a run wrote: what it made and had not been given.
    fn written(&self, visit: &Visit) -> u64 {
        let read = || {
            let record = Record::read(&self.store, &visit.key).ok()??;
            let blobs = |digests: &mut dyn Iterator<Item = &Digest>| {
                let artifacts = digests.map(|digest| read_artifact(&self.store, digest));
                let artifacts = artifacts.collect::<Option<Vec<_>>>()?;
                let blobs = artifacts.iter().flat_map(|artifact| artifact.blobs());
                Some(blobs.map(|blob| (blob.digest, blob.size)).collect::<BTreeMap<_, _>>())
            };
            let given = blobs(&mut record.inputs.values().flatten().map(|input| &input.digest))?;
            let mut made = blobs(&mut record.outputs.values())?;
            made.retain(|digest, _| !given.contains_key(digest));
            Some(made.values().sum())
        };
        read().unwrap_or(visit.output_bytes)
    }

    /// Enters the stage in counting mode; what it answers is no promise, and never an error.
    fn count(&self, stage: usize, resolved: &Resolved) -> Option<(String, u64, u64)> {
        let mut inputs = BTreeMap::new();
        for (port, artifacts) in &resolved.inputs {
            let open = |(label, digest): &(String, Digest)| {
                let artifact = read_artifact(&self.store, digest)?;
                Some(InputArtifact { label: label.clone(), digest: *digest, artifact })
            };
            inputs.insert(port.clone(), artifacts.iter().map(open).collect::<Option<Vec<_>>>()?);
        }
        let setup = Setup {
            store: self.store.clone(),
            identity: self.identity(stage),
            mode: Mode::Count,
            inputs,
            sources: resolved.sources.to_vec(),
            threads: 1,
            events: Arc::new(|_: Event| {}),
            stop: Stop::default(),
        };
        let config = &self.manifest.stages[stage].config.stage;
        match guarded(|| Context::new(setup).enter(&**config)) {
            Err(Error::Halt(Halt::Missing { step, shares, of })) => Some((step, shares, of)),
            _ => None,
        }
    }
}

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] pipe_cache::Error),
    /// The manifest asks for what is not here.
    #[error("{0}")]
    Refused(Box<Report>),
}

fn told(error: &SourceError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
