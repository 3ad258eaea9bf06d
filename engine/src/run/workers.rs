//! Owns: the executor `local`: jobs as worker processes on this machine. An idle worker takes the next job that runs
//! commands; a watcher ends the commands of an engine that was killed.

use super::{
    executor::{Ended, Executor, Job, JobId, Report, Room},
    local::{self, Heard, Process},
    watcher::Watcher,
};
use crate::machine;
use crossbeam_channel::{Receiver, Sender, unbounded};
use pipe_stage::{Error, Event};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The executor `local`.
pub(super) struct Local {
    heard: Sender<(usize, Heard)>,
    workers: Arc<Mutex<Workers>>,
    /// Number of jobs started so far.
    jobs: usize,
}

#[derive(Default)]
struct Workers {
    busy: BTreeMap<JobId, Worker>,
    rested: Vec<Worker>,
    watcher: Option<Watcher>,
}

struct Worker {
    process: Process,
    /// Whether another job may use it: its environment is the same for any job.
    is_plain: bool,
}

impl Local {
    /// Reports go to this channel.
    pub(super) fn new(reports: Sender<(JobId, Report)>) -> Result<Self, Error> {
        let (heard, hearing) = unbounded();
        let workers = Arc::new(Mutex::new(Workers::default()));
        let shared = Arc::clone(&workers);
        thread::Builder::new()
            .name("workers".to_owned())
            .spawn(move || pass_on(&hearing, &reports, &shared))
            .map_err(|error| Error::io("start a thread of", Path::new("the engine"), &error))?;
        Ok(Self { heard, workers, jobs: 0 })
    }

    fn next(&mut self) -> JobId {
        self.jobs += 1;
        JobId(self.jobs)
    }
}

impl Executor for Local {
    fn room(&self) -> Room {
        Room::of_this_machine()
    }

    fn start(&mut self, job: Job) -> Result<JobId, Error> {
        let is_plain = job.gpus.is_empty();
        let shared = Arc::clone(&self.workers);
        // Held until the worker is registered: its first reports wait.
        let mut workers = lock(&shared);
        while job.runs_commands
            && is_plain
            && let Some(worker) = workers.rested.pop()
        {
            let id = self.next();
            // If it ended meanwhile, another one is started.
            if let Ok(process) = worker.process.hand(&job.spec, id.0) {
                workers.busy.insert(id, Worker { process, is_plain });
                return Ok(id);
            }
        }
        let program =
            machine::program().map_err(|error| Error::io("find", Path::new("this program"), &error))?;
        let id = self.next();
        let gpus: Vec<&str> = job.gpus.values().map(String::as_str).collect();
        let visible = (!is_plain).then(|| ("CUDA_VISIBLE_DEVICES".to_owned(), gpus.join(",")));
        let process = local::start(&program, &job.spec, &job.log, visible, self.heard.clone(), id.0)?;
        if job.runs_commands {
            if workers.watcher.is_none() {
                // Without it, a killed engine may leave commands behind; they run nevertheless.
                workers.watcher = Watcher::start(&program).ok();
            }
            if let Some(watcher) = &mut workers.watcher {
                watcher.add(process.pid);
            }
        }
        workers.busy.insert(id, Worker { process, is_plain });
        Ok(id)
    }

    fn ask(&self, job: JobId) {
        if let Some(worker) = lock(&self.workers).busy.get(&job) {
            worker.process.ask();
        }
    }

    fn kill(&self, job: JobId) {
        if let Some(worker) = lock(&self.workers).busy.get(&job) {
            worker.process.kill();
        }
    }

    fn elapsed(&self, job: JobId) -> Duration {
        lock(&self.workers).busy.get(&job).map_or(Duration::ZERO, |worker| worker.process.elapsed())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Workers end when they are dropped; nothing else may keep them.
        *lock(&self.workers) = Workers::default();
    }
}

fn lock(workers: &Mutex<Workers>) -> MutexGuard<'_, Workers> {
    workers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts messages of processes to reports of jobs.
fn pass_on(hearing: &Receiver<(usize, Heard)>, reports: &Sender<(JobId, Report)>, workers: &Mutex<Workers>) {
    for (job, heard) in hearing {
        let job = JobId(job);
        let report = match heard {
            Heard::Event(Event::Rests { cpu_seconds, memory_peak }) => {
                let mut workers = lock(workers);
                let Some(worker) = workers.busy.remove(&job) else { continue };
                let elapsed = worker.process.elapsed();
                if worker.is_plain {
                    workers.rested.push(worker);
                }
                let ended = local::Ended::resting(cpu_seconds, memory_peak);
                Report::Ended(report(ended, elapsed))
            }
            Heard::Event(event) => Report::Event(event),
            Heard::Ended(pid, ended) => {
                let mut workers = lock(workers);
                if let Some(watcher) = &mut workers.watcher {
                    watcher.remove(pid);
                }
                workers.rested.retain(|worker| worker.process.pid != pid);
                let is_its = workers.busy.get(&job).is_some_and(|worker| worker.process.pid == pid);
                let Some(worker) = is_its.then(|| workers.busy.remove(&job)).flatten() else { continue };
                Report::Ended(report(ended, worker.process.elapsed()))
            }
        };
        // If the scheduler does not read any more, it has ended, and the workers end with it.
        let _ = reports.send((job, report));
    }
}

fn report(ended: local::Ended, elapsed: Duration) -> Ended {
    let local::Ended { code, signal, usage, out_of_memory } = ended;
    Ended { code, signal, usage, out_of_memory, elapsed, machine: machine::describe() }
}
