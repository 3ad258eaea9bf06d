//! Owns: the scheduler's view of a place where stages run. It knows no processes; those of this machine are in
//! `workers`.

use crate::{machine, record::Machine, usage::Usage};
use pipe_stage::{Error, Event};
use rustix::process::Signal;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// A place where stages run. Its jobs report through one channel, as [`Report`]s.
pub(super) trait Executor {
    /// The resources that it offers.
    fn room(&self) -> Room;

    /// Starts a job.
    fn start(&mut self, job: Job) -> Result<JobId, Error>;

    /// Asks a job to stop: to finish running tasks and to save a checkpoint.
    fn ask(&self, job: JobId);

    /// Kills a job immediately.
    fn kill(&self, job: JobId);

    /// How long a job has been running.
    fn elapsed(&self, job: JobId) -> Duration;
}

/// The resources that an executor offers.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) cpus: usize,
    pub(super) memory: u64,
    /// By the names used in `CUDA_VISIBLE_DEVICES`.
    pub(super) gpus: Vec<String>,
}

/// One start of a stage.
#[derive(Debug)]
pub(super) struct Job {
    /// Its spec file.
    pub(super) spec: PathBuf,
    /// Its log file.
    pub(super) log: PathBuf,
    /// GPUs that it may use; a job that requests none sees all of them, like a program started by hand.
    pub(super) gpus: BTreeMap<usize, String>,
    /// Whether it runs commands; its worker may take another job afterwards.
    pub(super) runs_commands: bool,
}

/// Identifies one start of a stage; never reused, so a late report cannot affect another job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobId(pub(super) usize);

/// A report of a job. Its end comes last.
#[derive(Debug)]
pub(super) enum Report {
    /// An event of the stage.
    Event(Event),
    /// The job ended.
    Ended(Ended),
}

/// How a job ended, where it ran, and the resources it used.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code; `None` if it was ended by a signal.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// CPU time and memory.
    pub(super) usage: Usage,
    /// Whether the system killed a process for lack of memory meanwhile.
    pub(super) out_of_memory: bool,
    /// Time since it started.
    pub(super) elapsed: Duration,
    /// The machine that it ran on.
    pub(super) machine: Machine,
}

impl Ended {
    /// Explains an end without a result; `tail` is the end of the log.
    pub(super) fn error(&self, tail: impl FnOnce() -> String) -> Error {
        let mib = |bytes: u64| bytes >> 20;
        let (peak_mib, machine_mib) = (mib(self.usage.memory_peak), mib(self.machine.memory));
        match (self.signal, self.code) {
            (Some(libc::SIGKILL), _) if self.out_of_memory => Error::OutOfMemory { peak_mib, machine_mib },
            (Some(libc::SIGABRT), _) if tail().contains("memory allocation of") => {
                Error::OutOfMemory { peak_mib, machine_mib }
            }
            (Some(signal), _) => {
                let name = Signal::from_named_raw(signal).map(|signal| format!("{signal:?}"));
                // `Signal::KILL`
                let name = name.as_deref().map(|name| name.trim_matches('"').replace("Signal::", "SIG"));
                let name = name.unwrap_or_else(|| signal.to_string());
                let message = format!(
                    "killed by signal {name}; it had used {peak_mib} MiB of the machine's {machine_mib} MiB"
                );
                Error::Died { message }
            }
            (None, code) => Error::Died { message: format!("exit code {}", code.unwrap_or_default()) },
        }
    }
}

impl Room {
    /// The resources of this machine.
    pub(super) fn of_this_machine() -> Self {
        Self { cpus: machine::cpus(), memory: machine::memory(), gpus: machine::gpus() }
    }
}
