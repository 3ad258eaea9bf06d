//! Owns: the effect of Ctrl-Z on a run. Workers have no terminal, so the stop signal reaches only the engine. The
//! engine passes it on, stops, and resumes its workers when it is resumed itself. Suspended time does not count
//! towards time limits.

use crate::tree;
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

struct Pause {
    /// Leaders of sessions.
    workers: Vec<Pid>,
    since: Option<Instant>,
    /// Total time of pauses that are over.
    total: Duration,
}

static PAUSE: Mutex<Pause> = Mutex::new(Pause { workers: Vec::new(), since: None, total: Duration::ZERO });

fn pause() -> MutexGuard<'static, Pause> {
    PAUSE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a worker to suspend and resume with this process.
pub(super) fn add(worker: Pid) {
    pause().workers.push(worker);
}

/// Removes a worker that ended.
pub(super) fn remove(worker: Pid) {
    pause().workers.retain(|other| *other != worker);
}

/// How long this process has been suspended in total.
pub(super) fn total() -> Duration {
    let pause = pause();
    pause.total + pause.since.map_or(Duration::ZERO, |since| since.elapsed())
}

/// From now on, passes the terminal's stop and continue signals on to workers.
pub fn follow_terminal() {
    use signal_hook::consts::{SIGCONT, SIGTSTP};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGTSTP, SIGCONT]) else { return };
    // Without threads, only the engine itself is suspended.
    let _ = thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            let mut pause = pause();
            if signal == SIGTSTP {
                pause.pass_on(Signal::STOP);
                pause.since.get_or_insert_with(Instant::now);
                drop(pause);
                let _ = kill_process(getpid(), Signal::STOP);
            } else {
                pause.pass_on(Signal::CONT);
                let paused = pause.since.take().map_or(Duration::ZERO, |since| since.elapsed());
                pause.total += paused;
            }
        }
    });
}

impl Pause {
    fn pass_on(&self, signal: Signal) {
        for worker in &self.workers {
            let _ = kill_process_group(*worker, signal);
            tree::signal(*worker, signal);
        }
    }
}
