//! Runs a stage without the engine, in its own store; for tests of stages, in this repository and elsewhere.

use crate::{
    Artifact, Content, Context, DynStage, Entry, Event, Identity, InputArtifact, KnownInput, KnownInputs,
    LocalEntry, Location, Mode, Outcome, Remotes, Result, Setup, SourceFile, Stage, Stop, covers,
};
use pipe_cache::{Acquire, Commit, Digest, Lease, Store};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

/// A store and the events of the stages that ran in it.
pub struct Bench {
    /// The store.
    pub store: Store,
    /// Threads that stages get.
    pub threads: usize,
    /// Events so far.
    pub events: Arc<Mutex<Vec<Event>>>,
    /// Access to remote files.
    pub remotes: Option<&'static dyn Remotes>,
    /// Requests a stop of the running stage.
    pub stop: Stop,
}

impl Bench {
    /// Opens a store in a folder that the caller owns and removes.
    pub fn new(folder: &Path) -> Result<Self> {
        let store = Store::open(folder)?;
        Ok(Self { store, threads: 2, events: Arc::default(), remotes: None, stop: Stop::default() })
    }

    /// Stores files as an artifact.
    pub fn artifact(&self, kind: &str, files: &[(&str, &[u8])]) -> Result<Artifact> {
        let entry = |(name, bytes): &(&str, &[u8])| {
            let content = Content::from(self.store.put(bytes)?);
            Ok(Entry { name: (*name).to_owned(), content })
        };
        let entries = files.iter().map(entry).collect::<Result<Vec<_>>>()?;
        let artifact = Artifact::new(kind, entries).expect("invariant: a test's names are distinct");
        self.store.commit(Commit { artifacts: vec![artifact.to_bytes()], ..Commit::default() })?;
        Ok(artifact)
    }

    /// Runs a stage on artifacts by port; `port:label` is an entry of the map that an input takes.
    pub fn run<S: Stage>(&self, stage: &S, inputs: &[(&str, &Artifact)]) -> Result<Outcome> {
        self.enter(stage, inputs, Vec::new(), Mode::Here)
    }

    /// Runs a stage in any mode.
    pub fn enter<S: Stage>(
        &self,
        stage: &S,
        inputs: &[(&str, &Artifact)],
        sources: Vec<SourceFile>,
        mode: Mode,
    ) -> Result<Outcome> {
        let mut by_port: BTreeMap<String, Vec<InputArtifact>> = BTreeMap::new();
        let mut known = KnownInputs::default();
        for (port, artifact) in inputs {
            let (port, label) = port.split_once(':').unwrap_or((port, ""));
            let (digest, artifact) = (artifact.digest(), (*artifact).clone());
            let input = InputArtifact { label: label.to_owned(), digest, artifact };
            by_port.entry(port.to_owned()).or_default().push(input);
            known.connect(port, KnownInput { label: label.to_owned(), ..KnownInput::default() });
        }
        let events = self.events.clone();
        let lease = match self.store.acquire(&Digest::of(S::NAME.as_bytes()))? {
            Acquire::Held(lease) => Some(lease),
            Acquire::Busy(_) => None,
        };
        let setup = Setup {
            store: self.store.clone(),
            identity: Identity { name: S::NAME.to_owned(), revision: S::REVISION, program: None },
            mode,
            inputs: by_port,
            sources,
            remotes: self.remotes,
            threads: self.threads,
            events: Arc::new(move |event| {
                events.lock().expect("invariant: no test panics in here").push(event)
            }),
            stop: self.stop.clone(),
            lease: lease.as_ref().map(Lease::token),
        };
        let outcome = Context::new(setup).enter(stage as &dyn DynStage)?;
        if let Some(declared) = Stage::metrics(stage, &known) {
            for metric in &outcome.metrics {
                let name = &metric.name;
                let is_declared = declared.iter().any(|declared| covers(declared, name));
                assert!(is_declared, "`{name}` is not among the metrics that the stage declares");
            }
        }
        Ok(outcome)
    }

    /// Reads an artifact that a stage made.
    pub fn output(&self, outcome: &Outcome, port: &str) -> Result<Artifact> {
        let bytes = self.store.artifact(&outcome.outputs[port])?;
        Ok(Artifact::from_bytes(&bytes).expect("invariant: a stage's artifact is well formed"))
    }

    /// Opens the entries of an artifact.
    pub fn open(&self, artifact: &Artifact) -> Vec<LocalEntry> {
        artifact.entries.iter().map(|entry| LocalEntry::new(&self.store, entry)).collect()
    }

    /// Lists a folder as a source, in name order.
    pub fn sources(source: &str, root: &Path) -> std::io::Result<Vec<SourceFile>> {
        let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path)?;
                let name = path.strip_prefix(root).expect("invariant: below the root").to_string_lossy();
                let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
                files.push(SourceFile {
                    source: source.to_owned(),
                    name: name.into_owned(),
                    digest,
                    size,
                    at: Location::Path(path),
                });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}
