//! How straight-line code of a stage becomes durable. [`Context::each`] and [`Context::once`] run what is not
//! recorded yet, in one of several modes, and return the same [`Step`] whatever was recorded before.
//!
//! A share's key is made of stage type, revision, step, params and the digests of its inputs, and of no name, path or
//! position. A finished step has one record for all its items, so entering a stage again takes one read per step.

use crate::{
    Artifact, Entry, Error, Event, Events, Halt, Identity, Inputs, Item, Location, Metric, Out, Remotes,
    Result, Share, ShareRecord, SourceFile, Step,
    canonical::{Encoder, essence},
    port::In,
    remote::Access,
};
use pipe_cache::{AcquireDurable, Blob, Commit, Digest, Durable, LeaseToken, Published, Store};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The work of a share. It is a function pointer and not a closure, so that everything that affects the result comes
/// from `params` or the inputs and is therefore part of the key.
pub type Work<P> = fn(&P, &Inputs, &mut Share) -> Result<()>;

/// Why a process enters a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Run missing shares on this process's threads.
    Here,
    /// Run all shares again on this process's threads. Records of shares are retired first, which requires the
    /// stage's lease, and checkpoints are removed.
    Afresh,
    /// Run nothing and take the content of this folder as the result. Only stages that check [`Share::adopted`]
    /// support it.
    Adopt(PathBuf),
    /// Run the shares with these keys, all of one step, on this process's threads, and leave.
    ///
    /// The keys come from [`Halt::Missing`]. Shares that have been recorded in the meantime are skipped.
    Shares(Vec<Digest>),
    /// Run and write nothing; leave at the first step that has missing shares.
    Count,
    /// As [`Mode::Count`], but finished steps are recorded as a whole, so that later entries read one record per
    /// step. For the process that hands out shares and holds the stage's lease.
    Gather,
}

impl Mode {
    /// Whether existing records are ignored.
    fn is_afresh(&self) -> bool {
        matches!(self, Self::Afresh | Self::Adopt(_))
    }

    /// Whether this mode runs no shares.
    fn is_counting(&self) -> bool {
        matches!(self, Self::Count | Self::Gather)
    }
}

/// Whether a stage should go on.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Asks to finish running shares, save long work, and leave.
    pub fn ask(&self) {
        self.0.fetch_max(1, Ordering::Relaxed);
    }

    /// Asks to stop immediately.
    pub fn now(&self) {
        self.0.fetch_max(2, Ordering::Relaxed);
    }

    /// Whether a stop was requested, of either kind.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Whether to stop immediately.
    pub fn is_now(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

/// An artifact at an input port, with its label if the input is a map of stages.
#[derive(Debug, Clone)]
pub struct InputArtifact {
    /// Its key in the map under `needs`; otherwise empty.
    pub label: String,
    /// Its digest.
    pub digest: Digest,
    /// The artifact.
    pub artifact: Artifact,
}

/// Everything a context is made from.
pub struct Setup {
    /// The cache.
    pub store: Store,
    /// Stage type.
    pub identity: Identity,
    /// What to run.
    pub mode: Mode,
    /// Artifacts by input port.
    pub inputs: BTreeMap<String, Vec<InputArtifact>>,
    /// Source files, sorted by source and name.
    pub sources: Vec<SourceFile>,
    /// Access to those that are on servers.
    pub remotes: Option<&'static dyn Remotes>,
    /// Number of threads to use.
    pub threads: usize,
    /// Receives the events.
    pub events: Events,
    /// Whether a stop was requested.
    pub stop: Stop,
    /// Proof that the stage's lease is held. Without it no record is retired: a replacement for a record whose
    /// objects are missing is only used by this context.
    pub lease: Option<LeaseToken>,
}

/// The interface between a stage's code and its inputs, outputs and steps.
pub struct Context {
    running: Running,
    mode: Mode,
    inputs: BTreeMap<String, Vec<InputArtifact>>,
    sources: Vec<SourceFile>,
    pool: Option<rayon::ThreadPool>,
    outcome: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    outputs: BTreeMap<String, Artifact>,
    metrics: Vec<Metric>,
    instruction_sets: BTreeSet<String>,
    last_step: &'static str,
}

/// The result of a stage.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Artifacts by output port. They are stored.
    pub outputs: BTreeMap<String, Digest>,
    /// Merged over all steps.
    pub metrics: Vec<Metric>,
    /// Instruction sets of all shares.
    pub instruction_sets: Vec<String>,
}

/// The part of the context that shares use, from any thread.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) remotes: Option<&'static dyn Remotes>,
    pub(crate) events: Events,
    pub(crate) stop: Stop,
    pub(crate) threads: usize,
    identity: Identity,
    lease: Option<LeaseToken>,
    /// Durable folders that have been emptied; `None` unless everything is run again.
    emptied: Option<Mutex<BTreeSet<Digest>>>,
    /// The folder to take as the result.
    pub(crate) adopted: Option<PathBuf>,
    done: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl Running {
    pub(crate) fn encode_stage(&self, out: &mut Encoder) {
        out.text(&self.identity.name);
        out.integer(self.identity.revision);
        self.identity.program.iter().for_each(|program| out.digest(program));
    }

    pub(crate) fn advance(&self, unit: &'static str, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        self.progress(unit, done, None);
    }

    /// Reports progress, at most a few times per second.
    pub(crate) fn progress(&self, unit: &str, done: u64, total: Option<u64>) {
        const SAID_EVERY: Duration = Duration::from_millis(200);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|last| last.elapsed() >= SAID_EVERY) || total == Some(done) {
            *said = Some(Instant::now());
            self.events.emit(Event::Progress { unit: unit.to_owned(), done, total });
        }
    }

    /// Whether a durable folder must be emptied before use: on its first use in a stage that is run again.
    fn is_first_use(&self, key: &Digest) -> bool {
        let emptied = self.emptied.as_ref();
        emptied.is_some_and(|emptied| emptied.lock().unwrap_or_else(PoisonError::into_inner).insert(*key))
    }

    /// Opens a durable folder. If another process works in it, the stage ends early: its cores and memory are released until
    /// the folder is free, and it runs again.
    pub(crate) fn durable(&self, key: &Digest) -> Result<Durable> {
        self.events.emit(Event::Checkpoints { folder: *key });
        loop {
            match self.store.durable(key)? {
                // Do not continue from what an earlier run left.
                AcquireDurable::Held(durable) if self.is_first_use(key) => durable.remove()?,
                AcquireDurable::Held(durable) => return Ok(durable),
                AcquireDurable::Busy(holder) => {
                    return Err(Error::FolderBusy { folder: *key, holder: holder.to_string() });
                }
            }
        }
    }
}

/// Revision of [`StepRecord`]; raised together with that of its share records.
const STEP_VERSION: u32 = ShareRecord::VERSION;

/// Parses a record of this version. An older record, or anything that is not a record, counts as absent.
///
/// # Errors
/// If a newer version of the program wrote the record: retiring it and running the share again would not help.
fn parse<T: DeserializeOwned>(body: &[u8], version: u32) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    match serde_json::from_slice::<Head>(body) {
        Ok(head) if head.version > version => Err(Error::Cache {
            message: format!(
                "a record in the cache has version {}, but this program supports versions up to {version}; \
                 use a newer pipe, or another cache",
                head.version
            ),
        }),
        Ok(head) if head.version == version => Ok(serde_json::from_slice(body).ok()),
        _ => Ok(None),
    }
}

/// The record of a finished step: the records of all its shares, in the order of its items.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepRecord {
    version: u32,
    shares: Vec<ShareRecord>,
}

impl Context {
    /// Creates a context. It uses no thread and no file until a step has work to do.
    pub fn new(setup: Setup) -> Self {
        let Setup { store, identity, mode, inputs, sources, remotes, threads, events, stop, lease } = setup;
        let (done, said) = (AtomicU64::new(0), Mutex::new(None));
        let emptied = mode.is_afresh().then(Mutex::default);
        let adopted = if let Mode::Adopt(folder) = &mode { Some(folder.clone()) } else { None };
        let running = Running {
            store,
            remotes,
            events,
            stop,
            threads: threads.max(1),
            identity,
            lease,
            emptied,
            adopted,
            done,
            said,
        };
        let outcome = Mutex::new(Gathered::default());
        Self { running, mode, inputs, sources, pool: None, outcome }
    }

    /// Enters a stage and returns its result. In all modes but [`Mode::Here`] it returns [`Error::Halt`] unless
    /// nothing was missing.
    pub fn enter(mut self, stage: &dyn crate::DynStage) -> Result<Outcome> {
        if !self.mode.is_counting() {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(self.running.threads).build();
            let failed = |error: rayon::ThreadPoolBuildError| Error::Machine {
                action: "start threads".into(),
                message: error.to_string(),
            };
            self.pool = Some(pool.map_err(failed)?);
        }
        stage.run(&self)?;
        if let Mode::Shares(_) = self.mode {
            return Err(Error::Outdated { step: self.gathered().last_step.to_owned() });
        }
        let Gathered { outputs, metrics, instruction_sets, .. } =
            self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        let digests = outputs.iter().map(|(port, artifact)| (port.clone(), artifact.digest())).collect();
        if !self.mode.is_counting() {
            let artifacts = outputs.values().map(Artifact::to_bytes).collect();
            self.running.store.commit(Commit { artifacts, ..Commit::default() })?;
        }
        Ok(Outcome {
            outputs: digests,
            metrics: crate::merge(metrics),
            instruction_sets: instruction_sets.into_iter().collect(),
        })
    }

    /// The artifact at a required input port.
    pub fn input(&self, port: In) -> &Artifact {
        self.optional(port).expect("invariant: the plan has an artifact at each port that is not optional")
    }

    /// The artifact at an optional input port.
    pub fn optional(&self, port: In) -> Option<&Artifact> {
        self.many(port).first().map(|input| &input.artifact)
    }

    /// All artifacts at an input port that takes many.
    pub fn many(&self, port: In) -> &[InputArtifact] {
        self.inputs.get(port.name()).map_or(&[], Vec::as_slice)
    }

    /// All artifacts by port name, for stage types whose ports depend on their config.
    pub fn inputs(&self) -> &BTreeMap<String, Vec<InputArtifact>> {
        &self.inputs
    }

    /// The files of an artifact as if they were source files with this label: their names are part of the key.
    pub fn as_sources(&self, label: &str, artifact: &Artifact) -> Vec<SourceFile> {
        let file = |entry: &Entry| {
            let Blob { digest, size } = entry.content.blob;
            let at = Location::Path(self.running.store.object_path(&digest));
            SourceFile { source: label.to_owned(), name: entry.name.clone(), digest, size, at }
        };
        artifact.entries.iter().map(file).collect()
    }

    /// The source files, sorted by source and name.
    pub fn sources(&self) -> &[SourceFile] {
        &self.sources
    }

    /// Runs `work` once per item and returns what each left.
    pub fn each<P>(&self, step: &'static str, params: &P, items: Vec<Item>, work: Work<P>) -> Result<Step>
    where
        P: Serialize + JsonSchema + Sync,
    {
        self.each_of(step, params, items.into_iter().map(|item| vec![item]).collect(), work)
    }

    /// Runs `work` once for all items. It may leave one file per item ([`Share::file_for`]); a later `each` then
    /// reads only the slice for its shard, and its key depends only on that slice.
    pub fn once<P>(&self, step: &'static str, params: &P, items: Vec<Item>, work: Work<P>) -> Result<Step>
    where
        P: Serialize + JsonSchema + Sync,
    {
        self.each_of(step, params, vec![items], work)
    }

    /// Runs `work` once for each of these lists of items.
    pub fn each_of<P>(
        &self,
        step: &'static str,
        params: &P,
        shares: Vec<Vec<Item>>,
        work: Work<P>,
    ) -> Result<Step>
    where
        P: Serialize + JsonSchema + Sync,
    {
        self.gathered().last_step = step;
        let keys = Keys::of(&self.running, step, params, &shares);
        if self.mode.is_afresh() {
            self.forget(&keys)?;
        }
        let records = match self.whole(&keys)? {
            Some(records) => records,
            None => self.shares(step, params, &shares, &keys, work)?,
        };
        let mut gathered = self.gathered();
        for record in &records {
            gathered.metrics.extend(record.metrics.iter().cloned());
            gathered.instruction_sets.extend(record.instruction_sets.iter().cloned());
        }
        Ok(Step { shares: shares.into_iter().zip(records).collect() })
    }

    /// Reads the record of the whole step, if it exists and its objects do.
    fn whole(&self, keys: &Keys) -> Result<Option<Vec<ShareRecord>>> {
        if keys.shares.len() == 1 {
            return Ok(None); // the record of the share suffices
        }
        let Some(bytes) = self.running.store.record(&keys.step)? else { return Ok(None) };
        let record: Option<StepRecord> = parse(&bytes, STEP_VERSION)?;
        // The process that handed out shares of a later step has checked the objects; the workers need not repeat it.
        let is_trusted = matches!(self.mode, Mode::Shares(_));
        let fits = |record: &StepRecord| {
            record.shares.len() == keys.shares.len()
                && (is_trusted || record.shares.iter().all(|share| self.is_usable(share)))
        };
        Ok(record.filter(fits).map(|record| record.shares))
    }

    fn shares<P>(
        &self,
        step: &'static str,
        params: &P,
        shares: &[Vec<Item>],
        keys: &Keys,
        work: Work<P>,
    ) -> Result<Vec<ShareRecord>>
    where
        P: Serialize + JsonSchema + Sync,
    {
        if let Mode::Shares(wanted) = &self.mode {
            let wanted: BTreeSet<&Digest> = wanted.iter().collect();
            let mut own: Vec<usize> = (0..shares.len()).collect();
            own.retain(|&position| wanted.contains(&keys.shares[position]));
            own.sort_by_key(|&position| (keys.shares[position], position));
            own.dedup_by_key(|&mut position| keys.shares[position]);
            own.sort_unstable();
            if !own.is_empty() {
                if own.len() < wanted.len() {
                    return Err(Error::Outdated { step: step.to_owned() });
                }
                let mut missing = Vec::new();
                for position in own {
                    if self.recorded(&keys.shares[position])?.is_none() {
                        missing.push(position);
                    }
                }
                self.all(step, params, shares, keys, &missing, work)?;
                return Err(Error::Halt(Halt::SharesDone));
            }
        }
        // Equal items run once.
        let mut known: HashMap<Digest, ShareRecord> = HashMap::new();
        let mut missing: Vec<usize> = Vec::new();
        let mut seen = BTreeSet::new();
        for (position, key) in keys.shares.iter().enumerate() {
            if seen.insert(*key) {
                match self.recorded(key)? {
                    Some(record) => drop(known.insert(*key, record)),
                    None => missing.push(position),
                }
            }
        }
        match &self.mode {
            Mode::Count | Mode::Gather if !missing.is_empty() => {
                let of = keys.shares.len() as u64;
                let shares = missing.into_iter().map(|position| keys.shares[position]).collect();
                return Err(Error::Halt(Halt::Missing { step: step.to_owned(), shares, of }));
            }
            Mode::Count => {}
            Mode::Gather => self.record_whole(keys, &known)?,
            // Another process has not finished its share of this step, so the requested shares cannot belong to a
            // later one.
            Mode::Shares(_) if !missing.is_empty() => {
                return Err(Error::Outdated { step: step.to_owned() });
            }
            Mode::Shares(_) => {}
            Mode::Here | Mode::Afresh | Mode::Adopt(_) => {
                let made = self.all(step, params, shares, keys, &missing, work)?;
                known.extend(missing.iter().map(|&position| keys.shares[position]).zip(made));
                self.record_whole(keys, &known)?;
            }
        }
        Ok(keys.shares.iter().map(|key| known[key].clone()).collect())
    }

    /// Runs the missing shares on all threads. After the first error no further share is started.
    fn all<P>(
        &self,
        step: &'static str,
        params: &P,
        shares: &[Vec<Item>],
        keys: &Keys,
        missing: &[usize],
        work: Work<P>,
    ) -> Result<Vec<ShareRecord>>
    where
        P: Serialize + JsonSchema + Sync,
    {
        let Running { events, .. } = &self.running;
        let of = keys.shares.len() as u64;
        let left = missing.len() as u64;
        events.emit(Event::Step { step: step.to_owned(), tasks: of, missing: left });
        self.running.done.store(0, Ordering::Relaxed);
        let done = AtomicU64::new(of - left);
        let failed = Stop::default();
        let one = |&position: &usize| {
            if self.running.stop.is_asked() || failed.is_asked() {
                return Err(Error::Interrupted);
            }
            let record = self.share(params, &shares[position], &keys.shares[position], work);
            match &record {
                Ok(_) => {
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    events.emit(Event::Task { step: step.to_owned(), done, of });
                }
                Err(_) => failed.ask(),
            }
            record
        };
        let run = || missing.par_iter().with_max_len(1).map(one).collect::<Vec<Result<ShareRecord>>>();
        let results = self.pool.as_ref().expect("invariant: a pool unless counting").install(run);
        // Report the error that stopped the others, not that they were stopped.
        let mut records = Vec::with_capacity(results.len());
        let mut first: Option<Error> = None;
        for result in results {
            match (result, &first) {
                (Ok(record), _) => records.push(record),
                (Err(error), None | Some(Error::Interrupted)) => first = Some(error),
                (Err(_), Some(_)) => {}
            }
        }
        first.map_or(Ok(records), Err)
    }

    fn share<P>(&self, params: &P, items: &[Item], key: &Digest, work: Work<P>) -> Result<ShareRecord> {
        let Running { store, remotes, stop, .. } = &self.running;
        let access = remotes.map(|remotes| Access { remotes, stop: stop.clone() });
        let inputs = Inputs::new(store, access.as_ref(), items);
        let mut share = Share::new(&self.running, items);
        work(params, &inputs, &mut share)?;
        let (record, objects, outlived) = share.finish();
        let body = serde_json::to_vec(&record).expect("invariant: a record is plain data");
        let commit = Commit { objects, records: vec![(*key, body)], ..Commit::default() };
        let published = self.running.store.commit(commit)?;
        for durable in outlived {
            durable.remove()?;
        }
        match published.into_iter().next() {
            // The first record wins: continue with it.
            Some(Published::Lost(body)) => {
                let theirs = parse(&body, ShareRecord::VERSION)?;
                Ok(theirs.filter(|theirs| self.is_usable(theirs)).unwrap_or(record))
            }
            _ => Ok(record),
        }
    }

    fn record_whole(&self, keys: &Keys, known: &HashMap<Digest, ShareRecord>) -> Result<()> {
        if keys.shares.len() == 1 {
            return Ok(());
        }
        let shares = keys.shares.iter().map(|key| known[key].clone()).collect();
        let record = StepRecord { version: STEP_VERSION, shares };
        let body = serde_json::to_vec(&record).expect("invariant: a record is plain data");
        // This record was found unusable because its objects are missing.
        if let Some(before) = self.running.store.record(&keys.step)?
            && before != body
        {
            self.retire(&keys.step, &before)?;
        }
        self.running.store.commit(Commit { records: vec![(keys.step, body)], ..Commit::default() })?;
        Ok(())
    }

    /// Reads the record of a share. A record whose objects are missing is retired, so that the share runs again.
    fn recorded(&self, key: &Digest) -> Result<Option<ShareRecord>> {
        let Some(bytes) = self.running.store.record(key)? else { return Ok(None) };
        let record: Option<ShareRecord> = parse(&bytes, ShareRecord::VERSION)?;
        let record = record.filter(|record| self.is_usable(record));
        if record.is_none() && !self.mode.is_counting() {
            self.retire(key, &bytes)?;
        }
        Ok(record)
    }

    /// Retires the records of a step, so that all its shares run again.
    fn forget(&self, keys: &Keys) -> Result<()> {
        for key in keys.shares.iter().chain([&keys.step]) {
            if let Some(bytes) = self.running.store.record(key)? {
                self.retire(key, &bytes)?;
            }
        }
        Ok(())
    }

    fn retire(&self, key: &Digest, body: &[u8]) -> Result<()> {
        if let Some(lease) = &self.running.lease {
            self.running.store.retire(key, body, lease)?;
        }
        Ok(())
    }

    fn is_usable(&self, record: &ShareRecord) -> bool {
        let blobs = record.made.iter().flat_map(|made| made.content.blobs());
        blobs.into_iter().all(|blob| self.running.store.holds(blob))
    }

    /// Sets the entries of an output port.
    pub fn output(&self, port: Out, entries: impl IntoIterator<Item = Entry>) -> Result<()> {
        self.output_named(port.name(), port.port().kind.name, entries)
    }

    /// As [`Self::output`], for stage types whose ports depend on their config.
    pub fn output_named(
        &self,
        port: &str,
        kind: &str,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<()> {
        let artifact = Artifact::new(kind, entries.into_iter().collect())
            .map_err(|message| Error::input(format!("the output `{port}` cannot be recorded: {message}")))?;
        self.gathered().outputs.insert(port.to_owned(), artifact);
        Ok(())
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a metric of the stage as a whole.
    pub fn metric(&self, metric: Metric) {
        self.gathered().metrics.push(metric);
    }

    /// The value of a metric over all steps so far; 0 if none reported it.
    pub fn value(&self, name: &str) -> f64 {
        self.metrics().into_iter().find(|metric| metric.name == name).map_or(0.0, |metric| metric.value)
    }

    /// Metrics of all steps so far, merged.
    pub fn metrics(&self) -> Vec<Metric> {
        crate::merge(self.gathered().metrics.clone())
    }

    /// Writes a message for people, unless tasks are only counted.
    pub fn note(&self, message: impl Into<String>) {
        if !self.mode.is_counting() {
            self.running.events.emit(Event::Note { message: message.into() });
        }
    }
}

/// The keys of a step.
struct Keys {
    shares: Vec<Digest>,
    step: Digest,
}

impl Keys {
    fn of<P>(running: &Running, step: &str, params: &P, shares: &[Vec<Item>]) -> Self
    where
        P: Serialize + JsonSchema,
    {
        let params = essence(params);
        let begin = || {
            let mut out = Encoder::default();
            running.encode_stage(&mut out);
            out.text(step);
            out.value(&params);
            out
        };
        // Inputs that many shares read are hashed once.
        let mut known: HashMap<*const Vec<crate::artifact::Input>, Digest> = HashMap::new();
        let of_share = |items: &Vec<Item>| {
            let mut out = begin();
            out.list(items.len());
            for item in items {
                out.digest(known.entry(Arc::as_ptr(&item.inputs)).or_insert_with(|| item.digest()));
            }
            out.derive("pipe share v1")
        };
        let shares: Vec<Digest> = shares.iter().map(of_share).collect();
        let mut whole = begin();
        whole.list(shares.len());
        shares.iter().for_each(|share| whole.digest(share));
        Self { step: whole.derive("pipe step v1"), shares }
    }
}
