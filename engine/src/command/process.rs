//! Owns: the processes of a command, from the start of the shell until everything it started has ended.

use super::{channel::Channel, written};
use crate::{
    machine::disk_free,
    tree,
    usage::{self, Until},
};
use pipe_stage::{Error, Result, Share};
use rustix::process::{Pid, getpid};
use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command as Process, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Its path on POSIX systems.
pub(super) const SHELL: &str = "/bin/sh";

/// A shell that ends at the first part of its line that fails.
pub(super) fn shell(line: &str) -> Process {
    // By path: a lookup in a PATH that we set would require a fork, which copies our page tables.
    let mut process = Process::new(SHELL);
    process.arg("-eu");
    if line.contains('|') && has_pipefail() {
        process.args(["-o", "pipefail"]);
    }
    process.arg("-c").arg(line);
    process
}

/// Whether pipelines can fail if any of their parts does, which older shells do not support.
fn has_pipefail() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        // Nobody else may reap it.
        let _shells = shells();
        let mut process = Process::new(SHELL);
        process.args(["-o", "pipefail", "-c", ":"]);
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        process.status().is_ok_and(|status| status.success())
    })
}

/// The running shells of all shares. Any other child of this process has outlived the command that started it.
static SHELLS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Whether a command left a process behind.
static LEFT: AtomicBool = AtomicBool::new(false);

fn shells() -> MutexGuard<'static, Vec<Pid>> {
    SHELLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a command of this process left another one behind.
pub(crate) fn left_something() -> bool {
    LEFT.load(Ordering::Relaxed)
}

/// Runs the process to its end. When the stage is asked to stop, it asks everything that the process started.
///
/// A command that ends after that counts as interrupted, whatever its exit code: programs that save their work on
/// request often end with 0, and their output is incomplete.
pub(super) fn run(mut process: Process, channel: &mut Channel, share: &Share, scratch: &Path) -> Result<()> {
    // Short at first, so that short commands are not delayed.
    const LOOKED_FIRST: Duration = Duration::from_micros(250);
    const LOOKED_EVERY: Duration = Duration::from_millis(20);
    let shell = Shell::start(&mut process)?;
    let (mut asked, mut pause, mut watch) = (false, LOOKED_FIRST, Watch::default());
    let status = loop {
        let ended = usage::wait(shell.0, Until::Now).map_err(|error| not_started(&error))?;
        channel.look(share);
        watch.look(share);
        if let Some((status, _)) = ended {
            break status;
        }
        if share.is_stopping() && !asked {
            asked = true;
            ask();
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOKED_EVERY);
    };
    drop(shell);
    if share.is_stopping() {
        // The shell ends immediately, while the programs it started may still save their work. The engine waits for
        // `grace`.
        if !asked {
            ask();
        }
        while !orphans().is_empty() {
            channel.look(share);
            std::thread::sleep(LOOKED_EVERY);
        }
        written::ended();
        return Err(Error::Interrupted);
    }
    end_orphans();
    channel.look(share);
    written::look().iter().for_each(|name| tell_written(share, name));
    written::ended();
    if status.success() { Ok(()) } else { Err(failure(status, scratch)) }
}

/// A running shell.
struct Shell(Pid);

impl Shell {
    fn start(process: &mut Process) -> Result<Self> {
        // Under the lock, so that the new process is not taken for one that was left behind.
        let mut shells = shells();
        let child = process.spawn().map_err(|error| not_started(&error))?;
        let pid = Pid::from_raw(child.id() as i32).expect("invariant: a child has an id");
        shells.push(pid);
        Ok(Self(pid))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        shells().retain(|pid| *pid != self.0);
    }
}

/// Asks everything that runs here to stop: shells, what they started, and what outlived its parents. Each process is
/// asked once, even if several shares do so. A shell is asked before its programs, so that it does not continue with
/// its next line.
fn ask() {
    static ASKED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
    tree::ask(getpid(), &mut ASKED.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Processes that outlived their parents and so became our children.
fn orphans() -> Vec<Pid> {
    let shells = shells();
    let orphans: Vec<Pid> =
        tree::children(getpid()).into_iter().filter(|pid| !shells.contains(pid)).collect();
    // A zombie remains a child until it is waited for.
    orphans.into_iter().filter(|pid| matches!(usage::wait(*pid, Until::Now), Ok(None))).collect()
}

/// Kills what a command left behind. While commands of other shares run, the owner of such a process is unknown; the
/// last one does it then.
fn end_orphans() {
    let shells = shells();
    if !shells.is_empty() || nothing_is_left() {
        return;
    }
    LEFT.store(true, Ordering::Relaxed);
    tree::end_below(getpid());
    while reap() {}
}

/// Whether this process has no children.
#[cfg(target_os = "linux")]
fn nothing_is_left() -> bool {
    use rustix::process::{WaitOptions, wait};
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(error) => return error == rustix::io::Errno::CHILD,
        }
    }
}

/// Unknown on this system; the engine kills the worker's process group.
#[cfg(not(target_os = "linux"))]
fn nothing_is_left() -> bool {
    LEFT.store(true, Ordering::Relaxed);
    true
}

/// Reaps a child; returns false if none has ended.
fn reap() -> bool {
    use rustix::process::{WaitOptions, wait};
    matches!(wait(WaitOptions::NOHANG), Ok(Some(_)))
}

/// Checks for files that the command creates, at increasing intervals.
struct Watch {
    next: Instant,
    pause: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        let pause = Duration::from_millis(100);
        Self { next: Instant::now() + pause, pause }
    }
}

impl Watch {
    fn look(&mut self, share: &Share) {
        const LOOKED_EVERY: Duration = Duration::from_secs(2);
        if Instant::now() >= self.next {
            written::look().iter().for_each(|name| tell_written(share, name));
            self.pause = (self.pause * 2).min(LOOKED_EVERY);
            self.next = Instant::now() + self.pause;
        }
    }
}

fn tell_written(share: &Share, name: &str) {
    share.note(format!(
        "`{name}`, which the command line names, was created while the command ran; it is not an input unless it is \
         listed under `files`"
    ));
}

/// Explains why a command failed. Programs report a full disk in different ways, so this checks whether it is full.
fn failure(status: ExitStatus, scratch: &Path) -> Error {
    const ROOM_MIN: u64 = 64 << 10;
    match disk_free(scratch) {
        Some(free) if free < ROOM_MIN => Error::DiskFull { path: scratch.display().to_string() },
        _ => Error::Command { status: status.to_string() },
    }
}

/// The system's error for a command that could not be started.
fn not_started(error: &std::io::Error) -> Error {
    Error::io("run", Path::new(SHELL), error)
}
