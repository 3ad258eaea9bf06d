//! Owns: worker processes on this machine: starting them, receiving their events, ending them. It knows no plan.

use super::pause;
use crate::{
    machine::{self, OomCount},
    tree,
    usage::{self, Until, Usage},
};
use command_fds::{CommandFdExt, FdMapping};
use crossbeam_channel::{Sender, bounded};
use pipe_stage::{Error, Event};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long to wait for further events on a channel that a process in another session keeps open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A message about a worker's process; its end comes last.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event of the stage.
    Event(Event),
    /// The process with this id ended.
    Ended(Pid, Ended),
}

/// How a process ended, and the resources it used.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// Exit code; `None` if it was ended by a signal.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// The resources it used.
    pub(super) usage: Usage,
    /// Whether the system killed a process for lack of memory meanwhile.
    pub(super) out_of_memory: bool,
}

/// A running worker. Dropping it closes its stdin, which ends the process.
pub(super) struct Process {
    /// Its id, which is also that of its session and process group.
    pub(super) pid: Pid,
    leash: ChildStdin,
    /// When it got its stage, and how long this process had been suspended by then.
    started: (Instant, Duration),
    /// The stage that its events belong to.
    stage: Arc<AtomicUsize>,
}

/// Number of workers that this process started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Starts `pipe worker SPEC`. `hear` is called from separate threads.
pub(super) fn start(
    program: &Path,
    spec: &Path,
    log: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    heard: Sender<(usize, Heard)>,
    stage: usize,
) -> Result<Process, Error> {
    let failed = |action: &str, error: &io::Error| Error::io(action, program, error);
    // The log may have text of earlier attempts.
    let log_file = File::options().append(true).create(true).open(log);
    let log_file = log_file.map_err(|error| Error::io("create", log, &error))?;
    let log_too = log_file.try_clone().map_err(|error| Error::io("create", log, &error))?;
    let (reader, writer) = io::pipe().map_err(|error| failed("make a pipe for", &error))?;
    let mut command = Command::new(program);
    command
        .arg0(machine::program_name())
        .arg("worker")
        .arg(spec)
        .stdin(Stdio::piped())
        .stdout(log_file)
        .stderr(log_too);
    let mark = format!("{}{}-", tree::mark(), STARTED.fetch_add(1, Ordering::Relaxed));
    command.env("PIPE_EVENTS", "/dev/fd/3").env(tree::MARK, &mark).envs(environment);
    in_session_of_its_own(&mut command);
    // Training allocates and frees the same large buffers at each step: keep them.
    if std::env::var_os("GLIBC_TUNABLES").is_none() {
        let tunables = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296:\
                        glibc.malloc.top_pad=67108864";
        command.env("GLIBC_TUNABLES", tunables);
    }
    let mapping = FdMapping { parent_fd: writer.into(), child_fd: 3 };
    let mapped = command.fd_mappings(vec![mapping]);
    mapped.map_err(|error| failed("pass a pipe to", &io::Error::other(error)))?;
    let killed_before = OomCount::now();
    let started = (Instant::now(), pause::total());
    let mut child = tree::start(&mut command).map_err(|error| failed("start", &error))?;
    drop(command); // and with it our end of the pipe that the child writes to
    let leash = child.stdin.take().expect("invariant: stdin is piped");
    let pid = Pid::from_raw(child.id() as i32).expect("invariant: a child has an id");
    pause::add(pid);
    let (whole, is_whole) = bounded(1);
    let stage = Arc::new(AtomicUsize::new(stage));
    let (told, about) = (heard.clone(), stage.clone());
    in_a_thread(pid, move || {
        listen(reader, &told, &about);
        let _ = whole.send(());
    })
    .map_err(|error| failed("start a thread for", &error))?;
    let about = stage.clone();
    in_a_thread(pid, move || {
        // Processes that a stage leaves in the background are ended with it, or its channel would stay open. Its id
        // cannot be reused until the process is reaped.
        let end = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = kill_process_group(pid, Signal::KILL);
        if end.is_ok_and(|end| end.is_none_or(|end| !end.exited())) {
            // It could not end what its commands left in other sessions.
            tree::end_marked(&mark);
            tree::end_orphans();
        }
        pause::remove(pid);
        // Waiting reaps the process; its id has no meaning afterwards.
        let ended = Ended::of(pid, &killed_before);
        let _ = is_whole.recv_timeout(LAST_WORDS);
        let _ = heard.send((about.load(Ordering::Relaxed), Heard::Ended(pid, ended)));
    })
    .map_err(|error| failed("start a thread for", &error))?;
    Ok(Process { pid, leash, started, stage })
}

/// Makes a process the leader of a new session. Without a terminal, a program that wants to ask something fails
/// instead of being stopped, and keys such as Ctrl-C reach only the engine, which decides about its stages.
#[expect(unsafe_code, reason = "a session can only be begun between fork and exec")]
fn in_session_of_its_own(command: &mut Command) {
    // SAFETY: setsid is safe to call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        })
    };
}

/// Starts a thread that a new process needs; if no thread can be created, the process is ended.
fn in_a_thread(pid: Pid, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop).inspect_err(|_| {
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = usage::wait(pid, Until::Ended);
    })
}

/// Passes on events until the channel ends; invalid lines are skipped.
fn listen(channel: impl Read, heard: &Sender<(usize, Heard)>, stage: &AtomicUsize) {
    const LINE_MAX: u64 = 16 << 20;
    let mut reader = BufReader::new(channel);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Ok(event) = serde_json::from_slice(&line)
            && heard.send((stage.load(Ordering::Relaxed), Heard::Event(event))).is_err()
        {
            return;
        }
    }
}

impl Process {
    /// Gives an idle worker its next stage.
    pub(super) fn hand(mut self, spec: &Path, stage: usize) -> io::Result<Self> {
        self.stage.store(stage, Ordering::Relaxed);
        self.started = (Instant::now(), pause::total());
        let line = serde_json::to_string(spec)?;
        writeln!(self.leash, "{line}")?;
        Ok(self)
    }

    /// Asks it to stop: finish running tasks, save a checkpoint.
    pub(super) fn ask(&self) {
        let _ = kill_process(self.pid, Signal::TERM);
    }

    /// Kills the process and its commands, whatever sessions they are in.
    pub(super) fn kill(&self) {
        // Stopped first, so that it starts nothing more; after its end, the processes that it started cannot be
        // found.
        let _ = kill_process(self.pid, Signal::STOP);
        tree::end_below(self.pid);
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// How long it has run, without the time that this process was suspended.
    pub(super) fn elapsed(&self) -> Duration {
        let (started, paused_before) = self.started;
        started.elapsed().saturating_sub(pause::total().saturating_sub(paused_before))
    }
}

impl Ended {
    /// The end of a stage whose worker is idle.
    pub(super) fn resting(cpu_seconds: f64, memory_peak: u64) -> Self {
        let usage = Usage { cpu_seconds, memory_peak };
        Self { code: Some(0), signal: None, usage, out_of_memory: false }
    }

    /// Waits for a process.
    fn of(pid: Pid, killed_before: &OomCount) -> Self {
        let ended = usage::wait(pid, Until::Ended).ok().flatten();
        let (code, signal) = ended.map_or((None, None), |(status, _)| (status.code(), status.signal()));
        let usage = ended.map_or(Usage { cpu_seconds: 0.0, memory_peak: 0 }, |(_, usage)| usage);
        Self { code, signal, usage, out_of_memory: OomCount::now() > *killed_before }
    }
}
