//! Owns: observers: programs that receive the events of a run on stdin, one JSON object per line.
//!
//! The invariant: **an observer cannot disturb a run.** Events that it has not read yet are queued up to a limit, and
//! dropped and counted beyond it; an observer that ends early is ignored; one that does not end is killed. It has the
//! whole environment, so secrets are masked in its output.

use crate::secrets::{MaskedWriter, Secrets};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use pipe_engine::tree::{Mark, start_marked};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Maximum size of the queue of one observer.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// How long an observer may take to end after the last event.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// A program that receives events.
#[derive(Debug)]
pub(super) struct Observer {
    command: String,
    state: ObserverState,
}

#[derive(Debug)]
enum ObserverState {
    /// It could not be started.
    Failed(String),
    Started(Started),
}

#[derive(Debug)]
struct Started {
    child: Child,
    mark: Mark,
    /// Absent once it is closed.
    lines: Option<Sender<Arc<str>>>,
    /// Closes when the writer has passed on, or given up on, all lines.
    is_through: Receiver<()>,
    /// Ends when all that it wrote is in its log.
    is_logged: Receiver<()>,
    shared: Arc<Shared>,
}

/// Counters that both threads use.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Lines that were not delivered.
    lost: AtomicU64,
    /// Whether lines were dropped because too many were waiting.
    is_behind: AtomicBool,
    /// Lines lost since the last message about losses.
    untold: AtomicU64,
}

impl Observer {
    /// Starts a shell line in a folder, with what it writes, but for secrets, in `log`.
    pub(super) fn start(
        command: &str,
        folder: &Path,
        environment: &[(&str, &Path)],
        log: &Path,
        secrets: &Arc<Secrets>,
    ) -> Self {
        let state = match spawn(command, folder, environment, log, secrets) {
            Ok(started) => ObserverState::Started(started),
            Err(error) => ObserverState::Failed(error.to_string()),
        };
        Self { command: command.to_owned(), state }
    }

    /// Sends a line, which ends with a line feed; never blocks.
    pub(super) fn tell(&self, line: &Arc<str>) {
        let ObserverState::Started(Started { lines, shared, .. }) = &self.state else { return };
        let waiting = shared.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let is_full = waiting + line.len() > WAITING_BYTES_MAX;
        shared.is_behind.fetch_or(is_full, Ordering::Relaxed);
        if is_full || lines.as_ref().is_none_or(|lines| lines.send(Arc::clone(line)).is_err()) {
            shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            shared.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Closes the observer's stdin as soon as it has read everything.
    fn close(&mut self) {
        if let ObserverState::Started(started) = &mut self.state {
            started.lines = None;
        }
    }

    /// Waits for the end of an observer that has read everything, or for the end of its time.
    ///
    /// Returns messages about problems.
    fn end(mut self, until: Instant) -> Option<String> {
        self.close();
        let command = &self.command;
        let started = match self.state {
            ObserverState::Failed(error) => {
                return Some(format!("observer `{command}` could not be started: {error}"));
            }
            ObserverState::Started(started) => started,
        };
        let Started { mut child, mark, is_through, is_logged, shared, .. } = started;
        // The writer sends nothing: the channel closes when it ends, or the wait times out.
        let slow = is_through.recv_deadline(until) == Err(RecvTimeoutError::Timeout);
        let mut status = child.try_wait().ok().flatten();
        while status.is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
            status = child.try_wait().ok().flatten();
        }
        let killed = status.is_none();
        // Processes that it left in the background are ended too.
        if let Some(group) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        mark.end_all();
        let status = status.or_else(|| child.wait().ok());
        // What is beyond our reach may hold the pipe open.
        let _ = is_logged.recv_timeout(Duration::from_secs(1));
        if slow {
            // Now that the pipe has no reader, the writer gives up on the rest and counts it.
            let _ = is_through.recv_timeout(Duration::from_secs(1));
        }
        let lost = shared.lost.load(Ordering::Relaxed);
        let missed = if lost > 0 { format!("; {lost} lines did not reach it") } else { String::new() };
        let seconds = LAST_WORDS.as_secs();
        match status {
            _ if killed => {
                Some(format!("observer `{command}` was killed {seconds} s after the end of the run{missed}"))
            }
            Some(status) if !status.success() => {
                Some(format!("observer `{command}` failed: {status}{missed}"))
            }
            _ if lost > 0 && !shared.is_behind.load(Ordering::Relaxed) => {
                Some(format!("observer `{command}` ended before the run{missed}"))
            }
            _ if lost > 0 => Some(format!("observer `{command}` could not keep up{missed}")),
            _ => None,
        }
    }
}

/// Ends all observers at the same time; returns messages about problems.
pub(super) fn end(mut observers: Vec<Observer>) -> Vec<String> {
    let until = Instant::now() + LAST_WORDS;
    observers.iter_mut().for_each(Observer::close);
    // Sequential waits suffice: all observers see the end of their input.
    observers.into_iter().filter_map(|observer| observer.end(until)).collect()
}

fn spawn(
    line: &str,
    folder: &Path,
    environment: &[(&str, &Path)],
    log: &Path,
    secrets: &Arc<Secrets>,
) -> io::Result<Started> {
    let log = File::create(log)?;
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).current_dir(folder).envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    // In a group of its own: Ctrl-C stops the run, and observers see it to its end.
    command.process_group(0);
    let (mut child, mark) = start_marked(&mut command)?;
    // And with it our end of the pipe that it writes to.
    drop(command);
    let stdin = child.stdin.take().expect("invariant: stdin is piped");
    let (lines, waiting) = unbounded();
    let (through, is_through) = bounded(0);
    let shared = Arc::new(Shared::default());
    let counts = Arc::clone(&shared);
    let passing = thread::Builder::new().spawn(move || {
        pass_on(&waiting, stdin, &counts);
        drop(through);
    });
    let (logged, is_logged) = bounded(0);
    let log = MaskedWriter::new(Arc::clone(secrets), log);
    let keeping = thread::Builder::new().spawn(move || {
        keep(reader, log);
        drop(logged);
    });
    if let Err(error) = passing.and(keeping) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(Started { child, mark, lines: Some(lines), is_through, is_logged, shared })
}

/// Writes what an observer says to its log.
fn keep(mut from: impl Read, mut log: MaskedWriter<File>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            // An observer must not wait for a disk that is full.
            Ok(read @ 1..) => drop(log.write_all(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
        }
    }
    let _ = log.end();
}

/// Writes lines to the observer until they end; an observer that does not read any more gets no further lines.
fn pass_on(lines: &Receiver<Arc<str>>, mut stdin: ChildStdin, shared: &Shared) {
    let mut reads = true;
    for line in lines {
        if reads {
            let untold = shared.untold.swap(0, Ordering::Relaxed);
            if untold > 0 {
                let told = format!("{{\"version\":1,\"dropped\":{untold}}}\n");
                reads = stdin.write_all(told.as_bytes()).is_ok();
            }
            reads = reads && stdin.write_all(line.as_bytes()).is_ok();
        }
        if !reads {
            shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
    }
}
