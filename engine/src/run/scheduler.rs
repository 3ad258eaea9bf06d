//! Owns: what starts when. A stage is looked at again whenever something that it needs is done: its key is
//! made of what really came out, so a stage that made the same bytes again stops the wave there.

use super::{
    event::{Row, RowOutcome, RunEvent},
    folder::{self, Closed, ClosedStage, Run, StageResult},
    links::link,
    local::{self, Ended, Heard, Process},
    options::{OnFailure, Options, RunError, Summary},
    record::{Made, record},
    spec::{Leash, Spec, SpecInput},
    states::{Killed, Running, State, States},
    watcher::Watcher,
};
use crate::{
    machine,
    manifest::Time,
    plan::{Kept, Resolved, Session, cost::Disk},
    record::Record,
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use pipe_cache::{Acquire, Lease};
use pipe_stage::{Class, Digest, Error, Event, Mode};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Between looks at leases, timeouts and signals.
const TICK: Duration = Duration::from_millis(200);
/// How long a stopped stage may take to save its work, unless it says otherwise.
const GRACE: Duration = Duration::from_secs(60);
/// Times that a stage may find its inputs changed or damaged before it counts as failed.
const REPLANS_MAX: u32 = 16;

/// Runs stages, which come in running order with all that they need, and tells `tell` what happens.
///
/// `interrupts` gives one message for each time that a person asks to stop.
pub fn run(
    session: &mut Session,
    stages: &[usize],
    targets: &[usize],
    options: &Options,
    interrupts: &Receiver<()>,
    tell: &mut dyn FnMut(&RunEvent),
) -> Result<Summary, RunError> {
    // What another user left there is no reason not to run.
    let _swept = session.store.sweep()?;
    let (sender, heard) = unbounded();
    let free = Free {
        cpus: options.cpus.unwrap_or_else(machine::cpus),
        memory: machine::memory(),
        gpus: machine::gpus().into_iter().enumerate().collect(),
        jobs: options.jobs.unwrap_or(usize::MAX),
    };
    let mut scheduler = Scheduler {
        session,
        stages,
        targets,
        free,
        states: States::new(stages),
        tries: BTreeMap::new(),
        replans: BTreeMap::new(),
        sender,
        run: None,
        rested: Vec::new(),
        watcher: None,
        on_failure: options.on_failure,
        stop: 0,
        ignore_disk: options.ignore_disk,
        tell,
    };
    scheduler.check_sizes()?;
    loop {
        scheduler.look()?;
        scheduler.start()?;
        if scheduler.is_over() {
            return Ok(scheduler.summary(options));
        }
        crossbeam_channel::select! {
            recv(heard) -> heard => {
                if let Ok((stage, heard)) = heard {
                    scheduler.hear(stage, heard)?;
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

/// What is left of the machine.
struct Free {
    cpus: usize,
    memory: u64,
    /// In the machine's order.
    gpus: BTreeMap<usize, String>,
    jobs: usize,
}

struct Scheduler<'a> {
    session: &'a mut Session,
    stages: &'a [usize],
    targets: &'a [usize],
    free: Free,
    states: States,
    tries: BTreeMap<usize, u32>,
    replans: BTreeMap<usize, u32>,
    sender: Sender<(usize, Heard)>,
    run: Option<Run>,
    /// Workers of commands that would take another one.
    rested: Vec<Process>,
    watcher: Option<Watcher>,
    on_failure: OnFailure,
    stop: u32,
    ignore_disk: bool,
    tell: &'a mut dyn FnMut(&RunEvent),
}

impl Scheduler<'_> {
    fn check_sizes(&self) -> Result<(), RunError> {
        for &stage in self.stages {
            let asks = &self.session.manifest.stages[stage].resources;
            let too_small = |asked: String, has: String| RunError::TooSmall {
                stage: self.session.name(stage).to_owned(),
                asked,
                has,
            };
            let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
            if let Some(cpus) = asks.cpus.filter(|cpus| cpus.get() as usize > self.free.cpus) {
                return Err(too_small(format!("cpus: {cpus}"), self.free.cpus.to_string()));
            }
            if let Some(memory) = asks.memory.filter(|memory| memory.0 > self.free.memory) {
                return Err(too_small(format!("memory: {}", mib(memory.0)), mib(self.free.memory)));
            }
            let gpus = self.free.gpus.len();
            if asks.gpus as usize > gpus {
                return Err(too_small(format!("gpus: {}", asks.gpus), gpus.to_string()));
            }
        }
        Ok(())
    }

    /// Refuses to start what will not fit on the disk, as far as earlier runs tell.
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

    /// Settles every stage whose inputs are known: cached, to run, or skipped.
    fn look(&mut self) -> Result<(), RunError> {
        while let Some((stage, forced)) = self.states.next_unsettled() {
            if self.look_at_frozen(stage, forced)? {
                continue;
            }
            let upstream = self.session.graph.upstream(stage);
            let is =
                |wanted: fn(&State) -> bool| upstream.iter().any(|stage| wanted(self.states.get(*stage)));
            if is(|state| matches!(state, State::Failed { .. } | State::Skipped)) {
                self.settle(stage, State::Skipped);
                continue;
            }
            if is(|state| !matches!(state, State::Done { .. })) {
                continue;
            }
            let made = |stage: usize| match self.states.get(stage) {
                State::Done { record, .. } => Some(&record.outputs),
                _ => None,
            };
            let resolved = self.session.resolve(stage, made).expect("invariant: all that it needs is done");
            let record = Record::read(&self.session.store, &resolved.key)?.filter(|_| !forced);
            let record =
                record.filter(|record| !self.is_target(stage) || record.is_held(&self.session.store));
            match record {
                Some(record) => self.cached(stage, resolved.key, record, false),
                None => drop(self.states.set(stage, State::Ready { resolved, forced })),
            }
        }
        Ok(())
    }

    /// Settles a frozen stage that keeps what it has; says whether it did.
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
        // It may be made again as long as it would be the same.
        let made = |stage: usize| match self.states.find(stage) {
            Some(State::Done { record, .. }) => Some(&record.outputs),
            _ => None,
        };
        let upstream = self.session.graph.upstream(stage);
        let is_open = |stage: &usize| {
            matches!(
                self.states.find(*stage),
                Some(State::Waiting { .. } | State::Ready { .. } | State::Blocked { .. } | State::Running(_))
            )
        };
        let resolved = self.session.resolve(stage, made);
        let is_whole = upstream.iter().all(|stage| self.states.find(*stage).is_some());
        let may_make_it =
            || upstream.iter().any(is_open) || resolved.is_some_and(|resolved| resolved.key == key);
        if is_whole && may_make_it() {
            return Ok(false);
        }
        let message = "it is frozen, and what it is to keep is not in this cache";
        let help = "bring the cache that has it, or take `freeze` away to make it anew";
        self.failed(stage, &Error::input(message).help(help));
        Ok(true)
    }

    /// Whether somebody wants to see what a stage made, though nothing runs on it.
    fn is_target(&self, stage: usize) -> bool {
        match self.targets {
            [] => self.session.graph.downstream(stage).is_empty(),
            targets => targets.contains(&stage),
        }
    }

    fn cached(&mut self, stage: usize, key: Digest, record: Record, waited: bool) {
        (self.tell)(&RunEvent::Cached { stage: self.session.name(stage).to_owned(), key, waited });
        self.settle(stage, State::Done { key, record: Box::new(record), ran: false });
    }

    /// Puts a stage where it stays, so that those that need it are looked at again.
    fn settle(&mut self, stage: usize, state: State) {
        self.states.set(stage, state);
        self.session.graph.downstream(stage).into_iter().for_each(|below| self.states.look_again(below));
    }

    /// Starts what can be started.
    fn start(&mut self) -> Result<(), RunError> {
        let mut from = 0;
        while self.free.jobs > 0
            && self.free.cpus > 0
            && !self.is_ending()
            && let Some((stage, behind)) = self.states.next_startable(from)
        {
            from = behind;
            if !self.fits(stage) {
                continue;
            }
            let (resolved, forced, mut watch, told) = match self.states.take(stage) {
                State::Ready { resolved, forced } => {
                    let watch = Box::new(self.session.store.watch(&resolved.key));
                    (resolved, forced, watch, false)
                }
                State::Blocked { resolved, forced, watch } => (resolved, forced, watch, true),
                _ => unreachable!("invariant: it could start"),
            };
            // What it reads must be there; whoever made it makes it again.
            let gone = self.session.not_held(stage, &resolved);
            if !gone.is_empty() {
                self.states.set(stage, State::Waiting { forced });
                for producer in gone {
                    self.states.set(producer, State::Waiting { forced: true });
                }
                return self.look();
            }
            match watch.poll()? {
                Acquire::Busy(holder) => {
                    if !told {
                        let (stage, holder) = (self.session.name(stage).to_owned(), holder.to_string());
                        (self.tell)(&RunEvent::Waiting { stage, holder });
                    }
                    self.states.set(stage, State::Blocked { resolved, forced, watch });
                }
                Acquire::Held(lease) => {
                    // Somebody may have finished it between our look and our lease.
                    let record = Record::read(&self.session.store, &resolved.key)?;
                    let record = record.filter(|record| record.is_held(&self.session.store));
                    match record {
                        Some(record) => {
                            drop(lease);
                            self.cached(stage, resolved.key, record, told);
                            self.look()?;
                        }
                        None => self.launch(stage, resolved, forced, lease)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn fits(&self, stage: usize) -> bool {
        let asks = &self.session.manifest.stages[stage].resources;
        let cpus = asks.cpus.map_or(1, |cpus| cpus.get() as usize);
        self.free.jobs > 0
            && cpus <= self.free.cpus
            && asks.memory.is_none_or(|memory| memory.0 <= self.free.memory)
            && asks.gpus as usize <= self.free.gpus.len()
    }

    fn launch(
        &mut self,
        stage: usize,
        resolved: Resolved,
        forced: bool,
        lease: Lease,
    ) -> Result<(), RunError> {
        if self.run.is_none() {
            self.check_disk()?;
            let run = Run::new(self.session, self.stages).map_err(RunError::Machine)?;
            (self.tell)(&RunEvent::Began { folder: run.folder.clone() });
            self.run = Some(run);
        }
        let run = self.run.as_ref().expect("invariant: made above");
        let name = self.session.name(stage).to_owned();
        let asks = &self.session.manifest.stages[stage].resources;
        let cpus = asks.cpus.map_or(self.free.cpus, |cpus| cpus.get() as usize);
        let memory = asks.memory.map_or(0, |memory| memory.0);
        let gpus: Vec<&str> = self.free.gpus.values().take(asks.gpus as usize).map(String::as_str).collect();
        // A stage that asks for none sees all, as a program does that nobody started.
        let visible = (!gpus.is_empty()).then(|| ("CUDA_VISIBLE_DEVICES".to_owned(), gpus.join(",")));
        let input = |(label, digest): &(String, Digest)| SpecInput { label: label.clone(), digest: *digest };
        let inputs = resolved.inputs.iter();
        let spec = Spec {
            version: 1,
            key: resolved.key,
            lease: Some(lease.token()),
            uses: self.session.kind(stage).name.to_owned(),
            program: self.session.identity(stage).program,
            config: self.session.manifest.stages[stage].config.json.clone(),
            mode: Mode::Here,
            inputs: inputs.map(|(port, all)| (port.clone(), all.iter().map(input).collect())).collect(),
            sources: resolved.sources.to_vec(),
            cache: self.session.store.root().to_owned(),
            project: self.session.project.root.clone(),
            log: run.log(&name),
            threads: cpus,
            leash: Leash::Stdin,
        };
        let runs_commands = self.session.kind(stage).has_own_ports;
        let rested = if runs_commands && visible.is_none() { self.rested.pop() } else { None };
        let started = run.spec(&name, &spec).and_then(|(spec, log)| {
            // One that went away meanwhile is no loss.
            if let Some(process) = rested.and_then(|worker| worker.hand(&spec, &log, stage).ok()) {
                return Ok(process);
            }
            let program = std::env::current_exe().map_err(|error| Error::io("find", &spec, &error))?;
            local::start(&program, &spec, &log, visible, self.sender.clone(), stage)
        });
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                drop(lease);
                self.failed(stage, &error);
                return Ok(());
            }
        };
        if runs_commands {
            if self.watcher.is_none() {
                // Without it a killed engine may leave commands behind; no reason not to run them.
                self.watcher = std::env::current_exe().and_then(|program| Watcher::start(&program)).ok();
            }
            if let Some(watcher) = &mut self.watcher {
                watcher.add(process.pid);
            }
        }
        let reasons = self.session.work(stage, &resolved)?.reasons;
        let key = resolved.key;
        (self.tell)(&RunEvent::Started { stage: name, key, reasons, cpus });
        self.free.cpus -= cpus;
        self.free.memory -= memory;
        let gpus = (0..asks.gpus).filter_map(|_| self.free.gpus.pop_first()).collect();
        self.free.jobs -= 1;
        let (word, shares, killed, asked) = (None, (0, 0), None, None);
        let running =
            Running { resolved, process, lease, cpus, memory, gpus, forced, word, shares, killed, asked };
        self.states.set(stage, State::Running(Box::new(running)));
        Ok(())
    }

    fn hear(&mut self, stage: usize, heard: Heard) -> Result<(), RunError> {
        let running = self.states.running_mut(stage);
        match (heard, running) {
            (Heard::Event(event @ (Event::Done { .. } | Event::Failed { .. })), Some(running)) => {
                running.word = Some(event);
            }
            (Heard::Event(Event::Rests { cpu_seconds, memory_peak }), Some(_)) => {
                let process = self.ended(stage, &Ended::resting(cpu_seconds, memory_peak))?;
                self.rested.extend(process);
            }
            (Heard::Event(told), Some(running)) => {
                if let Event::Step { shares, missing, .. } = &told {
                    running.shares = (running.shares.0 + missing, running.shares.1 + shares);
                }
                let stage = self.session.name(stage).to_owned();
                (self.tell)(&RunEvent::Told { stage, told });
            }
            (Heard::Ended(pid, ended), running) => {
                if let Some(watcher) = &mut self.watcher {
                    watcher.remove(pid);
                }
                self.rested.retain(|process| process.pid != pid);
                if running.is_some_and(|running| running.process.pid == pid) {
                    self.ended(stage, &ended)?;
                }
            }
            (Heard::Event(_), None) => {}
        }
        Ok(())
    }

    /// Takes in what a stage made, or why it failed; returns its process.
    fn ended(&mut self, stage: usize, ended: &Ended) -> Result<Option<Process>, RunError> {
        let State::Running(running) = self.states.take(stage) else { return Ok(None) };
        let Running { resolved, process, lease, cpus, memory, gpus, forced, word, shares, killed, .. } =
            *running;
        self.free.cpus += cpus;
        self.free.memory += memory;
        self.free.gpus.extend(gpus);
        self.free.jobs += 1;
        let run = self.run.as_ref().expect("invariant: a stage ran");
        let log = run.log(self.session.name(stage));
        let result = match (word, killed) {
            (_, Some(Killed::Timeout(limit))) => Err(Error::TimedOut { limit: limit.to_string() }),
            (_, Some(Killed::Interrupt)) => Err(Error::Interrupted),
            (_, Some(Killed::LostLease)) => {
                Err(Error::Died { message: "its lease was taken over by another run".to_owned() })
            }
            (Some(Event::Done { key, .. }), _) if key != Some(resolved.key) => {
                Err(Error::Died { message: "it did another stage than it was told to".to_owned() })
            }
            (Some(Event::Done { outputs, metrics, instruction_sets, .. }), _) if ended.code == Some(0) => {
                let seconds = process.elapsed().as_secs_f64();
                let made = Made { outputs, metrics, instruction_sets, seconds, shares };
                record(self.session, stage, &resolved, made, ended, &log, &lease)
            }
            (Some(Event::Failed { error }), _) => Err(error),
            _ => Err(ended.error(&log)),
        };
        drop(lease);
        match result {
            Ok(record) => {
                let row = row(self.session.name(stage), RowOutcome::Ran, Some(&record));
                (self.tell)(&RunEvent::Finished { stage: self.session.name(stage).to_owned(), row });
                let key = resolved.key;
                self.settle(stage, State::Done { key, record: Box::new(record), ran: true });
            }
            Err(error) => self.mend(stage, error, forced)?,
        }
        Ok(Some(process))
    }

    /// Decides what an error asks for: another try, another look, or the end of the stage.
    fn mend(&mut self, stage: usize, error: Error, forced: bool) -> Result<(), RunError> {
        let name = self.session.name(stage).to_owned();
        let replans = self.replans.entry(stage).or_default();
        let tries = self.tries.entry(stage).or_default();
        let again = match error.class() {
            Class::Replan if *replans < REPLANS_MAX && self.stop == 0 => {
                *replans += 1;
                if let Error::Damaged { digest } = &error {
                    self.session.store.discard(digest)?;
                }
                let is_outdated = matches!(error, Error::SourceChanged { .. } | Error::Outdated { .. });
                !is_outdated || self.session.relist(stage).is_ok()
            }
            Class::Transient if *tries < self.session.manifest.stages[stage].retry && self.stop == 0 => {
                *tries += 1;
                true
            }
            _ => false,
        };
        if again {
            (self.tell)(&RunEvent::Again { stage: name, message: error.to_string() });
            self.states.set(stage, State::Waiting { forced });
        } else {
            self.failed(stage, &error);
        }
        Ok(())
    }

    fn failed(&mut self, stage: usize, error: &Error) {
        let interrupted = matches!(error, Error::Interrupted);
        self.settle(stage, State::Failed { interrupted });
        if !interrupted {
            let name = self.session.name(stage).to_owned();
            let log = self.run.as_ref().map(|run| run.log(&name));
            let tail = log.as_deref().map(local::tail).unwrap_or_default();
            (self.tell)(&RunEvent::Failed { stage: name, error: error.clone(), log, tail });
        }
    }

    /// Whether no stage starts any more.
    fn is_ending(&self) -> bool {
        self.stop > 0 || (self.on_failure == OnFailure::Stop && self.states.has_failed())
    }

    /// The first time asks stages to save their work, the second ends them.
    fn interrupt(&mut self) {
        self.stop += 1;
        if self.stop == 1 {
            (self.tell)(&RunEvent::Stopping);
        }
        for (_, running) in self.states.all_running() {
            if self.stop == 1 {
                running.asked = Some(Instant::now());
                running.process.ask();
            } else {
                running.killed = Some(Killed::Interrupt);
                running.process.kill();
            }
        }
    }

    fn watch_clocks(&mut self) {
        for (stage, running) in self.states.all_running() {
            let stage = &self.session.manifest.stages[stage];
            let grace = stage.grace.map_or(GRACE, Time::duration);
            let timeout = stage.timeout.filter(|limit| running.process.elapsed() > limit.duration());
            let killed = if running.lease.is_lost() {
                Killed::LostLease
            } else if running.asked.is_some_and(|asked| asked.elapsed() > grace) {
                Killed::Interrupt
            } else if let Some(limit) = timeout {
                Killed::Timeout(limit)
            } else {
                continue;
            };
            if running.killed.is_none() {
                running.killed = Some(killed);
                running.process.kill();
            }
        }
    }

    fn is_over(&self) -> bool {
        if self.is_ending() { self.states.is_idle() } else { self.states.is_done() }
    }

    fn summary(self, options: &Options) -> Summary {
        let mut rows = Vec::new();
        for &stage in self.stages {
            let name = self.session.name(stage);
            rows.push(match self.states.get(stage) {
                State::Done { record, ran, .. } => {
                    row(name, if *ran { RowOutcome::Ran } else { RowOutcome::Cached }, Some(record))
                }
                State::Failed { interrupted: true } => row(name, RowOutcome::Interrupted, None),
                State::Failed { .. } => row(name, RowOutcome::Failed, None),
                _ => row(name, RowOutcome::Skipped, None),
            });
        }
        if let Some(run) = &self.run {
            run.close(&rows, &self.closed(&rows));
            // What killed workers left; the next run would find it too, but the disk may be wanted before.
            let _ = self.session.store.sweep();
        }
        let done = self.states.into_done();
        if options.is_full {
            for (&stage, (_, record)) in &done {
                link(self.session, stage, &record.outputs);
            }
        }
        Summary { rows, done, interrupted: self.stop > 0 }
    }
}

impl Scheduler<'_> {
    /// What became of each stage, for those who come later.
    fn closed(&self, rows: &[Row]) -> Closed {
        let stages = self.stages.iter().zip(rows).map(|(stage, row)| {
            let made = match self.states.get(*stage) {
                State::Done { key, record, .. } => Some(StageResult::new(*key, record)),
                _ => None,
            };
            (row.stage.clone(), ClosedStage { outcome: row.outcome, made })
        });
        Closed { version: 1, ended: folder::now(), interrupted: self.stop > 0, stages: stages.collect() }
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
