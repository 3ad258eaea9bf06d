//! Owns: what starts when. A stage is examined again whenever one of its dependencies is done: its key is made from
//! the actual outputs, so if a dependency produces the same bytes again, the stages after it are not affected.

use super::{
    event::{Row, RowOutcome, RunEvent},
    executor::{Ended, Executor, Job, JobId, Report},
    folder::{self, Closed, ClosedStage, RunWriter, StageResult},
    grants::{Demand, Free, Grant, Grants},
    links::link,
    options::{OnFailure, Options, RunError, Summary},
    record::{Before, Made, record},
    spec::{Leash, Spec, SpecInput},
    states::{BlockedOn, Cause, Running, StageState, States, Stopping},
    workers::Local,
};
use crate::{
    figures::Figures,
    manifest::Time,
    plan::{FROZEN_HELP, Kept, Resolved, Session, cost::Disk},
    record::Record,
    warning::Warning,
};
use crossbeam_channel::{Receiver, unbounded};
use pipe_cache::{Acquire, Lease};
use pipe_stage::{Class, Digest, Error, Event, Mode};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

/// Interval between checks of leases, timeouts and signals.
const TICK: Duration = Duration::from_millis(200);
/// Default time that a stopped stage has to save its work.
const GRACE: Duration = Duration::from_secs(60);
/// How often a stage may find its inputs changed or damaged before it fails.
const REPLANS_MAX: u32 = 16;

/// Maximum threads of a stage per core of the machine, whatever number of cores a run may use.
const THREADS_PER_CORE_MAX: usize = 4;

/// Runs stages, which are given in running order with all their dependencies, and passes events to `tell`.
///
/// `interrupts` receives one message per request to stop.
///
/// # Errors
/// Only if nothing was started. Later errors are in [`Summary::broken`]: however a run ends, running stages are
/// asked to stop, have their grace, and are recorded if they finish, and the run's folder is closed.
pub fn run(
    session: &mut Session,
    stages: &[usize],
    targets: &[usize],
    options: &Options,
    interrupts: &Receiver<()>,
    tell: &mut dyn FnMut(&RunEvent),
) -> Result<Summary, RunError> {
    let (sender, reports) = unbounded();
    let executor = Local::new(sender).map_err(RunError::Machine)?;
    let room = executor.room();
    let cores = room.cpus;
    let free = Free {
        cpus: options.cpus.unwrap_or(room.cpus),
        memory: room.memory,
        gpus: room.gpus.into_iter().enumerate().collect(),
        jobs: options.jobs.unwrap_or(usize::MAX),
        pools: session.manifest.pools.iter().map(|(name, places)| (name.clone(), places.get())).collect(),
    };
    check_sizes(session, stages, &free)?;
    let afresh = session.forced.clone();
    let mut scheduler = Scheduler {
        session,
        stages,
        targets,
        grants: Grants::new(free),
        cores,
        states: States::new(stages),
        jobs: BTreeMap::new(),
        tries: BTreeMap::new(),
        replans: BTreeMap::new(),
        afresh,
        executor: Box::new(executor),
        run: None,
        on_failure: options.on_failure,
        stop_requests: 0,
        broken: None,
        ignore_disk: options.ignore_disk,
        warned: BTreeSet::new(),
        tell,
    };
    scheduler.sweep();
    loop {
        let went_on = scheduler.go_on();
        scheduler.survive(went_on);
        if scheduler.is_over() {
            return Ok(scheduler.close(options));
        }
        crossbeam_channel::select! {
            recv(reports) -> report => {
                if let Ok((job, report)) = report {
                    scheduler.hear(job, report);
                }
            }
            recv(interrupts) -> asked => {
                if asked.is_ok() {
                    scheduler.interrupt();
                }
            }
            default(TICK) => {}
        }
        scheduler.watch_clocks();
    }
}

/// Refuses stages that request more than there is.
fn check_sizes(session: &Session, stages: &[usize], free: &Free) -> Result<(), RunError> {
    for &stage in stages {
        let asks = &session.manifest.stages[stage].resources;
        let too_small = |asked: String, has: String| RunError::TooSmall {
            stage: session.name(stage).to_owned(),
            asked,
            has,
        };
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        if let Some(cpus) = asks.cpus.filter(|cpus| cpus.get() as usize > free.cpus) {
            return Err(too_small(format!("cpus: {cpus}"), free.cpus.to_string()));
        }
        if let Some(memory) = asks.memory.filter(|memory| memory.0 > free.memory) {
            return Err(too_small(format!("memory: {}", mib(memory.0)), mib(free.memory)));
        }
        let gpus = free.gpus.len();
        if asks.gpus as usize > gpus {
            return Err(too_small(format!("gpus: {}", asks.gpus), gpus.to_string()));
        }
    }
    Ok(())
}

struct Scheduler<'a> {
    session: &'a mut Session,
    stages: &'a [usize],
    targets: &'a [usize],
    grants: Grants,
    /// Number of cores of the machine.
    cores: usize,
    states: States,
    /// The stage of each running job.
    jobs: BTreeMap<JobId, usize>,
    tries: BTreeMap<usize, u32>,
    replans: BTreeMap<usize, u32>,
    /// Stages that are to run again from the beginning and have not yet.
    afresh: BTreeSet<usize>,
    executor: Box<dyn Executor>,
    run: Option<RunWriter>,
    on_failure: OnFailure,
    /// Number of requests to stop.
    stop_requests: u32,
    /// The error that ended the run.
    broken: Option<RunError>,
    ignore_disk: bool,
    /// What was warned of already.
    warned: BTreeSet<String>,
    tell: &'a mut dyn FnMut(&RunEvent),
}

impl Scheduler<'_> {
    /// Deletes what dead processes left. What cannot be deleted, such as another user's leftovers, is no reason not to
    /// run.
    fn sweep(&mut self) {
        let failed = match self.session.store.sweep() {
            Ok(swept) => swept.failed,
            Err(error) => vec![error],
        };
        Warning::of_leftovers(&failed).into_iter().for_each(|warning| self.warn(warning));
    }

    /// Warns of something, once.
    fn warn(&mut self, warning: Warning) {
        if self.warned.insert(warning.message.clone()) {
            (self.tell)(&RunEvent::Warning(warning));
        }
    }

    /// Examines stages and starts those that can start.
    fn go_on(&mut self) -> Result<(), RunError> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.look()?;
        self.start()
    }

    /// Handles an error of the engine itself: the first one ends the run in the same way as a request to stop.
    fn survive(&mut self, result: Result<(), RunError>) {
        if let Err(error) = result
            && self.broken.is_none()
        {
            self.broken = Some(error);
            (self.tell)(&RunEvent::Stopping);
            self.ask_all(Cause::Interrupt);
        }
    }

    /// Refuses to start if estimates from earlier runs do not fit on the disk.
    fn check_disk(&self) -> Result<(), RunError> {
        if self.ignore_disk || self.session.journal.is_empty() {
            return Ok(());
        }
        match Disk::of(self.session, &self.session.plan(self.stages, self.targets)?) {
            disk @ Disk { needed, free: Some(free), .. } if disk.is_too_small() => {
                Err(RunError::NoSpace { needed, free })
            }
            _ => Ok(()),
        }
    }

    /// Decides about every stage whose inputs are known: cached, to run, or skipped.
    fn look(&mut self) -> Result<(), RunError> {
        while let Some((stage, forced)) = self.states.next_unsettled() {
            if self.look_at_frozen(stage, forced)? {
                continue;
            }
            let upstream = self.session.graph.upstream(stage);
            let is = |wanted: fn(&StageState) -> bool| {
                upstream.iter().any(|stage| wanted(self.states.get(*stage)))
            };
            if is(|state| matches!(state, StageState::Failed { .. } | StageState::Skipped)) {
                self.settle(stage, StageState::Skipped);
                continue;
            }
            if is(|state| !matches!(state, StageState::Done { .. })) {
                continue;
            }
            let made = |stage: usize| match self.states.get(stage) {
                StageState::Done { record, .. } => Some(&record.outputs),
                _ => None,
            };
            let resolved = self.session.resolve(stage, made).expect("invariant: all that it needs is done");
            let is_forced = forced || self.afresh.contains(&stage);
            let record = Record::read(&self.session.store, &resolved.key)?.filter(|_| !is_forced);
            let record =
                record.filter(|record| !self.is_target(stage) || record.is_held(&self.session.store));
            match record {
                Some(record) => self.cached(stage, resolved.key, record, false),
                None => self.states.set(stage, StageState::Ready { resolved, forced }),
            }
        }
        Ok(())
    }

    /// Decides about a frozen stage that keeps its result; returns whether it did.
    fn look_at_frozen(&mut self, stage: usize, forced: bool) -> Result<bool, RunError> {
        let key = match self.session.kept(stage)? {
            Kept::Nothing => return Ok(false),
            Kept::Here(key, record)
                if !forced && (!self.is_target(stage) || record.is_held(&self.session.store)) =>
            {
                self.cached(stage, key, *record, false);
                return Ok(true);
            }
            Kept::Here(key, _) | Kept::Gone(key) => key,
        };
        // It may be computed again as long as the result would be the same.
        let made = |stage: usize| match self.states.find(stage) {
            Some(StageState::Done { record, .. }) => Some(&record.outputs),
            _ => None,
        };
        let upstream = self.session.graph.upstream(stage);
        let is_open = |stage: &usize| {
            matches!(
                self.states.find(*stage),
                Some(
                    StageState::Waiting { .. }
                        | StageState::Ready { .. }
                        | StageState::Blocked { .. }
                        | StageState::Running(_)
                )
            )
        };
        let resolved = self.session.resolve(stage, made);
        let is_whole = upstream.iter().all(|stage| self.states.find(*stage).is_some());
        let may_make_it =
            || upstream.iter().any(is_open) || resolved.is_some_and(|resolved| resolved.key == key);
        if is_whole && may_make_it() {
            return Ok(false);
        }
        let message = "it is frozen, but its result is not in this cache";
        self.failed(stage, &Error::input(message).help(FROZEN_HELP));
        Ok(true)
    }

    /// Whether the outputs of a stage are wanted even if no other stage reads them.
    fn is_target(&self, stage: usize) -> bool {
        match self.targets {
            [] => self.session.graph.downstream(stage).is_empty(),
            targets => targets.contains(&stage),
        }
    }

    fn is_frozen(&self, stage: usize) -> bool {
        self.session.frozen_at(stage).is_some()
    }

    fn cached(&mut self, stage: usize, key: Digest, record: Record, waited: bool) {
        let (name, frozen) = (self.session.name(stage).to_owned(), self.is_frozen(stage));
        (self.tell)(&RunEvent::Cached { stage: name, key, waited, frozen });
        self.settle(stage, StageState::Done { key, record: Box::new(record), ran: false });
    }

    /// Sets the final state of a stage, so that its dependents are examined again.
    fn settle(&mut self, stage: usize, state: StageState) {
        self.states.set(stage, state);
        self.session.graph.downstream(stage).into_iter().for_each(|below| self.states.look_again(below));
    }

    /// Starts what can be started.
    fn start(&mut self) -> Result<(), RunError> {
        let mut from = 0;
        while !self.grants.is_empty()
            && !self.is_ending()
            && let Some((stage, behind)) = self.states.next_startable(from)
        {
            from = behind;
            let Some(grant) = self.grants.take(&self.demand(stage)) else { continue };
            let (resolved, forced, mut watch, told) = match self.states.take(stage) {
                StageState::Ready { resolved, forced } => {
                    let watch = Box::new(self.session.store.watch(&resolved.key));
                    (resolved, forced, watch, false)
                }
                StageState::Blocked { resolved, forced, watch, on: BlockedOn::Stage } => {
                    (resolved, forced, watch, true)
                }
                StageState::Blocked { resolved, forced, mut watch, on: BlockedOn::Folder } => {
                    match watch.poll()? {
                        Acquire::Busy(_) => {
                            let on = BlockedOn::Folder;
                            self.states.set(stage, StageState::Blocked { resolved, forced, watch, on });
                            continue;
                        }
                        // Its worker takes the folder; if another one is quicker, it waits once more.
                        Acquire::Held(lease) => drop(lease),
                    }
                    let watch = Box::new(self.session.store.watch(&resolved.key));
                    (resolved, forced, watch, false)
                }
                _ => unreachable!("invariant: it could start"),
            };
            // Its inputs must exist; otherwise the stages that produce them run again.
            let gone = self.session.not_held(stage, &resolved);
            if !gone.is_empty() {
                self.states.set(stage, StageState::Waiting { forced });
                for producer in gone {
                    // If another dependent has already requested it, it will run.
                    if let StageState::Done { .. } = self.states.get(producer) {
                        self.states.set(producer, StageState::Waiting { forced: true });
                    }
                }
                drop(grant);
                return self.go_on();
            }
            match watch.poll()? {
                Acquire::Busy(holder) => {
                    if !told {
                        let (stage, holder) = (self.session.name(stage).to_owned(), holder.to_string());
                        (self.tell)(&RunEvent::Waiting { stage, holder });
                    }
                    let on = BlockedOn::Stage;
                    self.states.set(stage, StageState::Blocked { resolved, forced, watch, on });
                }
                Acquire::Held(lease) => {
                    // Another process may have finished it between the check and the lease.
                    let record = Record::read(&self.session.store, &resolved.key)?;
                    let record = record.filter(|record| {
                        !self.afresh.contains(&stage) && record.is_held(&self.session.store)
                    });
                    match record {
                        Some(record) => {
                            drop(lease);
                            self.cached(stage, resolved.key, record, told);
                            self.look()?;
                        }
                        None => self.launch(stage, resolved, forced, lease, grant)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// The resources that a stage requests. By default a command has one core, or with `each` as many commands as
    /// there are cores; other stages use all free cores.
    fn demand(&self, stage: usize) -> Demand<'_> {
        let stage = &self.session.manifest.stages[stage];
        let asks = &stage.resources;
        Demand {
            cpus: asks.cpus.map(|cpus| cpus.get() as usize).or(stage.config.cpus_default),
            memory: asks.memory.map_or(0, |memory| memory.0),
            gpus: asks.gpus as usize,
            pools: &asks.pools,
        }
    }

    /// The folder that is taken for a stage's result.
    fn adopted(&self, stage: usize) -> Option<&Path> {
        let (adopted, folder) = self.session.adopted.as_ref()?;
        (*adopted == stage).then_some(folder)
    }

    /// What the log says between an attempt of a stage and the one before.
    fn heading(&self, stage: usize) -> String {
        match self.tries.get(&stage) {
            Some(tries @ 1..) => {
                format!("attempt {} of {}", tries + 1, self.session.manifest.stages[stage].retry.times + 1)
            }
            _ => "started again".to_owned(),
        }
    }

    fn launch(
        &mut self,
        stage: usize,
        resolved: Resolved,
        forced: bool,
        lease: Lease,
        grant: Grant,
    ) -> Result<(), RunError> {
        if self.run.is_none() {
            self.check_disk()?;
            let run = RunWriter::new(self.session, self.stages).map_err(RunError::Machine)?;
            (self.tell)(&RunEvent::Began { folder: run.folder.clone() });
            self.run = Some(run);
        }
        let reasons = self.session.reasons(stage, &resolved)?;
        let mut mode = Mode::Here;
        if self.afresh.contains(&stage) {
            mode = self.adopted(stage).map_or(Mode::Afresh, |folder| Mode::Adopt(folder.to_owned()));
        }
        let heading = self.heading(stage);
        let run = self.run.as_mut().expect("invariant: made above");
        let name = self.session.name(stage).to_owned();
        let cpus = grant.cpus;
        let input = |(label, digest): &(String, Digest)| SpecInput { label: label.clone(), digest: *digest };
        let inputs = resolved.inputs.iter();
        let spec = Spec {
            version: 1,
            key: resolved.key,
            lease: Some(lease.token()),
            uses: self.session.kind(stage).name.to_owned(),
            program: self.session.identity(stage).program,
            config: self.session.manifest.stages[stage].config.json.clone(),
            mode,
            inputs: inputs.map(|(port, all)| (port.clone(), all.iter().map(input).collect())).collect(),
            sources: resolved.sources.to_vec(),
            cache: self.session.store.root().to_owned(),
            project: self.session.project.root.clone(),
            log: run.log(&name),
            threads: cpus.min(self.cores.saturating_mul(THREADS_PER_CORE_MAX)).max(1),
            leash: Leash::Stdin,
        };
        let runs_commands = self.session.kind(stage).has_own_ports;
        let gpus = grant.gpus.clone();
        let started = run
            .spec(&name, &spec, &heading)
            .and_then(|(spec, log)| self.executor.start(Job { spec, log, gpus, runs_commands }));
        let job = match started {
            Ok(job) => job,
            Err(error) => {
                drop(lease);
                self.failed(stage, &error);
                return Ok(());
            }
        };
        let key = resolved.key;
        let (last_event, tasks, stopping) = (None, (0, 0), None);
        let running = Running { resolved, job, lease, grant, forced, last_event, tasks, stopping };
        self.states.set(stage, StageState::Running(Box::new(running)));
        self.jobs.insert(job, stage);
        (self.tell)(&RunEvent::Started { stage: name, key, reasons, cpus });
        Ok(())
    }

    fn hear(&mut self, job: JobId, report: Report) {
        let Some(&stage) = self.jobs.get(&job) else { return };
        let Some(running) = self.states.running_mut(stage) else { return };
        match report {
            Report::Event(event @ (Event::Done { .. } | Event::Failed { .. })) => {
                running.last_event = Some(event);
            }
            Report::Event(told) => {
                if let Event::Step { tasks, missing, .. } = &told {
                    running.tasks = (running.tasks.0 + missing, running.tasks.1 + tasks);
                }
                let stage = self.session.name(stage).to_owned();
                (self.tell)(&RunEvent::Told { stage, told });
            }
            Report::Ended(ended) => {
                self.jobs.remove(&job);
                self.ended(stage, ended);
            }
        }
    }

    /// Handles the result of a stage, or its failure.
    fn ended(&mut self, stage: usize, ended: Ended) {
        let StageState::Running(running) = self.states.take(stage) else { return };
        let Running { resolved, lease, grant, forced, last_event, tasks, stopping, .. } = *running;
        let run = self.run.as_ref().expect("invariant: a stage ran");
        let log = run.log(self.session.name(stage));
        let is_killed = stopping.as_ref().is_some_and(|stopping| stopping.is_killed);
        let result = match (last_event, stopping.map(|stopping| stopping.cause)) {
            (_, Some(Cause::LostLease)) => {
                Err(Error::Died { message: "its lease was taken over by another run".to_owned() })
            }
            (Some(Event::Done { key, .. }), _) if key != Some(resolved.key) => {
                Err(Error::Died { message: "it ran another stage than requested".to_owned() })
            }
            // A finished result is kept, even if the stage was asked to stop.
            (Some(Event::Done { outputs, metrics, instruction_sets, .. }), _)
                if ended.code == Some(0) && !is_killed =>
            {
                let adopted = self.adopted(stage).map(|folder| folder.display().to_string());
                let granted = grant.granted();
                let made = Made { outputs, metrics, instruction_sets, tasks, granted, adopted };
                let before = if self.afresh.contains(&stage) { Before::Replaced } else { Before::Wins };
                let warn = &mut |warning| (self.tell)(&RunEvent::Warning(warning));
                record(self.session, stage, &resolved, made, &ended, &log, &lease, before, warn)
            }
            (_, Some(Cause::Timeout(limit))) => Err(Error::TimedOut { limit: limit.to_string() }),
            (Some(Event::Failed { error }), Some(Cause::Interrupt)) if !is_killed => Err(error),
            (_, Some(Cause::Interrupt)) => Err(Error::Interrupted),
            (Some(Event::Failed { error: Error::Interrupted }), None) => {
                let message = "it was asked to stop by a signal that did not come from this run".to_owned();
                Err(Error::Died { message })
            }
            (Some(Event::Failed { error }), None) => Err(error),
            (_, None) => Err(ended.error(|| run.logs.tail(&log))),
        };
        drop((lease, grant));
        match result {
            Ok(record) => {
                let row = row(self.session.name(stage), RowOutcome::Ran, Some(&record));
                (self.tell)(&RunEvent::Finished { stage: self.session.name(stage).to_owned(), row });
                let key = resolved.key;
                self.afresh.remove(&stage);
                self.settle(stage, StageState::Done { key, record: Box::new(record), ran: true });
            }
            Err(Error::FolderBusy { .. }) if self.is_stopping() => self.failed(stage, &Error::Interrupted),
            Err(Error::FolderBusy { folder, holder }) => {
                (self.tell)(&RunEvent::Waiting { stage: self.session.name(stage).to_owned(), holder });
                let watch = Box::new(self.session.store.watch_durable(&folder));
                let on = BlockedOn::Folder;
                self.states.set(stage, StageState::Blocked { resolved, forced, watch, on });
            }
            Err(error) => self.retry_or_fail(stage, error, forced),
        }
    }

    /// Whether the run was asked to stop, or cannot go on.
    fn is_stopping(&self) -> bool {
        self.stop_requests > 0 || self.broken.is_some()
    }

    /// Decides what follows from an error: a retry, another examination, or the end of the stage.
    fn retry_or_fail(&mut self, stage: usize, error: Error, forced: bool) {
        let retry = self.session.manifest.stages[stage].retry;
        let is_open = !self.is_stopping();
        let replans = self.replans.entry(stage).or_default();
        let tries = self.tries.entry(stage).or_default();
        let mut pause = Duration::ZERO;
        let again = match error.class() {
            Class::Replan if *replans < REPLANS_MAX && is_open => {
                *replans += 1;
                let is_discarded = match &error {
                    Error::Damaged { digest } => self.session.store.discard(digest).is_ok(),
                    _ => true,
                };
                let is_outdated = matches!(error, Error::SourceChanged { .. } | Error::Outdated { .. });
                is_discarded && (!is_outdated || self.session.relist(stage).is_ok())
            }
            Class::Transient if *tries < retry.times && is_open => {
                pause = retry.pause(*tries);
                *tries += 1;
                true
            }
            _ => false,
        };
        if !again {
            return self.failed(stage, &error);
        }
        let (name, message) = (self.session.name(stage).to_owned(), error.to_string());
        (self.tell)(&RunEvent::Again { stage: name, message, pause: pause.as_secs_f64() });
        match Instant::now().checked_add(pause).filter(|_| !pause.is_zero()) {
            Some(until) => self.states.set(stage, StageState::Pausing { forced, until }),
            None => self.states.set(stage, StageState::Waiting { forced }),
        }
    }

    fn failed(&mut self, stage: usize, error: &Error) {
        let interrupted = matches!(error, Error::Interrupted);
        self.settle(stage, StageState::Failed { interrupted });
        if !interrupted {
            let name = self.session.name(stage).to_owned();
            let log = self.run.as_ref().map(|run| run.log(&name));
            let tail = self.run.as_ref().map(|run| run.logs.tail(&run.log(&name))).unwrap_or_default();
            (self.tell)(&RunEvent::Failed { stage: name, error: error.clone(), log, tail });
        }
    }

    /// Whether no further stage starts.
    fn is_ending(&self) -> bool {
        let is_failed = self.on_failure == OnFailure::Stop && self.states.has_failed();
        self.is_stopping() || is_failed
    }

    /// The first time, stages are asked to save their work; the second time, they are killed.
    fn interrupt(&mut self) {
        self.stop_requests += 1;
        if self.stop_requests == 1 {
            (self.tell)(&RunEvent::Stopping);
            self.ask_all(Cause::Interrupt);
        } else {
            for (_, running) in self.states.all_running() {
                let stop_requested_at = Instant::now();
                let stopping = running.stopping.get_or_insert(Stopping {
                    cause: Cause::Interrupt,
                    stop_requested_at,
                    is_killed: false,
                });
                stopping.is_killed = true;
                self.executor.kill(running.job);
            }
        }
    }

    /// Asks all running stages to stop, unless they have been asked.
    fn ask_all(&mut self, cause: Cause) {
        for (_, running) in self.states.all_running() {
            ask(&*self.executor, running, cause);
        }
    }

    /// Asks stages to stop whose time is over, and kills those whose grace is over too.
    fn watch_clocks(&mut self) {
        self.states.end_pauses(Instant::now());
        for (stage, running) in self.states.all_running() {
            let stage = &self.session.manifest.stages[stage];
            let grace = stage.grace.map_or(GRACE, Time::duration);
            if running.lease.is_lost() {
                // Another run has taken over; the output of this stage would interfere from here on.
                let is_new = !matches!(running.stopping, Some(Stopping { cause: Cause::LostLease, .. }));
                if is_new {
                    let (cause, stop_requested_at) = (Cause::LostLease, Instant::now());
                    running.stopping = Some(Stopping { cause, stop_requested_at, is_killed: true });
                    self.executor.kill(running.job);
                }
                continue;
            }
            match &mut running.stopping {
                None => {
                    if let Some(limit) = stage.timeout
                        && self.executor.elapsed(running.job) > limit.duration()
                    {
                        ask(&*self.executor, running, Cause::Timeout(limit));
                    }
                }
                Some(stopping) => {
                    if !stopping.is_killed && stopping.stop_requested_at.elapsed() > grace {
                        stopping.is_killed = true;
                        self.executor.kill(running.job);
                    }
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        if self.is_ending() { self.states.is_idle() } else { self.states.is_done() }
    }

    /// Closes the run: writes how it ended to its folder, and updates the links.
    fn close(mut self, options: &Options) -> Summary {
        let mut rows = Vec::new();
        for &stage in self.stages {
            let name = self.session.name(stage);
            rows.push(match self.states.get(stage) {
                StageState::Done { record, ran: true, .. } => row(name, RowOutcome::Ran, Some(record)),
                StageState::Done { record, .. } if self.is_frozen(stage) => {
                    row(name, RowOutcome::Frozen, Some(record))
                }
                StageState::Done { record, .. } => row(name, RowOutcome::Cached, Some(record)),
                StageState::Failed { interrupted: true } => row(name, RowOutcome::Interrupted, None),
                StageState::Failed { .. } => row(name, RowOutcome::Failed, None),
                StageState::Pausing { .. } if self.stop_requests > 0 => {
                    row(name, RowOutcome::Interrupted, None)
                }
                StageState::Pausing { .. } => row(name, RowOutcome::Failed, None),
                _ => row(name, RowOutcome::Skipped, None),
            });
        }
        let mut closed = self.closed(&rows);
        let done = std::mem::replace(&mut self.states, States::new(&[])).into_done();
        closed.unmet = Figures::of(&self.session.manifest, &done).complaints();
        if self.run.is_none() && !closed.unmet.is_empty() && !closed.interrupted {
            // No stage ran, but the command fails: a run folder records why.
            self.run = RunWriter::new(self.session, self.stages).ok();
            if let Some(run) = &self.run {
                (self.tell)(&RunEvent::Began { folder: run.folder.clone() });
            }
        }
        if let Some(run) = &self.run {
            run.close(&rows, &closed);
            // Removes what killed workers left. The next run would do so too, but the disk space may be needed
            // before.
            self.sweep();
        }
        let broken = self.broken.take();
        let interrupted = self.stop_requests > 0;
        let is_whole = !interrupted && broken.is_none() && rows.iter().all(|row| row.outcome.is_done());
        let differs = |(stage, (key, record)): (&usize, &(Digest, Record))| {
            let name = self.session.name(*stage);
            let locked = self.session.lock.stages.get(name).filter(|_| options.is_locked)?;
            locked.is_broken_by(key, record).then(|| name.to_owned())
        };
        let differing: Vec<String> = done.iter().filter_map(differs).collect();
        let notes = match options.is_full && is_whole && closed.unmet.is_empty() && differing.is_empty() {
            true => link(self.session, done.iter().map(|(&stage, (_, record))| (stage, record))),
            false => Vec::new(),
        };
        Summary { rows, done, interrupted, broken, differing, notes }
    }
}

impl Scheduler<'_> {
    /// The outcome of each stage, for later commands.
    fn closed(&self, rows: &[Row]) -> Closed {
        let stages = self.stages.iter().zip(rows).map(|(stage, row)| {
            let made = match self.states.get(*stage) {
                StageState::Done { key, record, .. } => Some(StageResult::new(*key, record)),
                _ => None,
            };
            (row.stage.clone(), ClosedStage { outcome: row.outcome, made })
        });
        let (ended, interrupted) = (folder::now(), self.is_stopping());
        Closed { version: 1, ended, interrupted, stages: stages.collect(), unmet: Vec::new() }
    }
}

/// Asks a stage to stop, unless it has been asked.
fn ask(executor: &dyn Executor, running: &mut Running, cause: Cause) {
    if running.stopping.is_none() {
        running.stopping = Some(Stopping { cause, stop_requested_at: Instant::now(), is_killed: false });
        executor.ask(running.job);
    }
}

fn row(stage: &str, outcome: RowOutcome, record: Option<&Record>) -> Row {
    Row {
        stage: stage.to_owned(),
        outcome,
        seconds: record.map_or(0.0, |record| record.seconds),
        memory_peak: record.map_or(0, |record| record.memory_peak),
        output_bytes: record.map_or(0, |record| record.output_bytes),
        metric: record.and_then(|record| record.main_metric().cloned()),
    }
}
