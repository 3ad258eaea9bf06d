//! Owns: the small process that outlives a killed engine long enough to end its commands.
//!
//! Workers end when their stdin closes. But a worker that was killed together with its engine leaves its commands
//! behind. The watcher, in a separate session, reads process groups from stdin (`+ID` and `-ID`, one per line), and
//! ends the remaining ones when stdin closes.

use crate::{machine, tree};
use rustix::process::{Pid, Signal, kill_process_group, setsid};
use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
};

/// The variable that tells the watcher the mark of its engine's workers.
const MARK: &str = "PIPE_WATCHED";

/// The engine's end: tells the watcher which groups to end.
pub(super) struct Watcher(ChildStdin);

impl Watcher {
    /// Starts `pipe watcher`.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg0(machine::program_name())
            .arg("watcher")
            .env(MARK, tree::mark())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = crate::tree::start(&mut command)?;
        let stdin = child.stdin.take().expect("invariant: stdin is piped");
        // It ends with this process and need not be waited for.
        drop(child);
        Ok(Self(stdin))
    }

    /// Adds a group to end when this process is gone.
    pub(super) fn add(&mut self, group: Pid) {
        let _ = writeln!(self.0, "+{}", group.as_raw_nonzero());
    }

    /// Removes a group that ended.
    pub(super) fn remove(&mut self, group: Pid) {
        let _ = writeln!(self.0, "-{}", group.as_raw_nonzero());
    }
}

/// The main loop of the watcher.
pub fn watch() {
    // Leaves the engine's group, so that signals to the group do not reach it.
    let _ = setsid();
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match (line.get(..1), line.get(1..).and_then(|id| id.parse::<i32>().ok())) {
            (Some("+"), Some(id)) => drop(groups.insert(id)),
            (Some("-"), Some(id)) => drop(groups.remove(&id)),
            _ => {}
        }
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    // What commands left in other sessions.
    if let Some(mark) = std::env::var(MARK).ok().filter(|mark| !mark.is_empty()) {
        tree::end_marked(&mark);
    }
}
