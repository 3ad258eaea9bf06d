//! Owns: the process in which a stage runs. It reads a spec, enters the stage, reports events, and ends.
//!
//! When stdin closes, its engine is gone, and it ends together with everything that it started.
//!
//! Secrets are removed from its log and its events here, before they reach a file or another process.

use super::{
    narrate,
    spec::{Leash, Spec},
};
use crate::{
    command::{self, written},
    manifest::stage_type::StageType,
    secrets::{MaskedWriter, Secrets},
    sources, tree, usage,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use pipe_stage::{
    Artifact, Context, Error, Event, Events, InputArtifact, Outcome, Setup, Stop, Store, guarded,
};
use rustix::process::{Signal, getpid, kill_process_group};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, Read, Write},
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Runs the stage of a spec, and those that follow. Returns the exit code: 0 success, 1 failure, 2 a usage error.
pub fn worker(spec: &Path, types: &[StageType]) -> u8 {
    pipe_stage::raise_open_files();
    let (mut path, events, stop) = (spec.to_owned(), events(), Stop::default());
    keep_descriptors();
    // Processes that commands leave behind become children of this process, so that it can find them.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
    let failed = |error: &io::Error| {
        let (action, message) = ("start threads".into(), error.to_string());
        events.emit(Event::Failed { error: Error::Machine { action, message } });
        1
    };
    if let Err(error) = listen(&stop) {
        return failed(&error);
    }
    let mut further = None;
    loop {
        let spec = match Spec::read(&path) {
            Ok(spec) => spec,
            Err(message) => {
                eprintln!("error: {message}");
                return 2;
            }
        };
        if spec.leash == Leash::Stdin && further.is_none() {
            match hold_leash() {
                Ok(specs) => further = Some(specs),
                Err(error) => return failed(&error),
            }
        }
        let before = usage::total();
        let result = stage(&spec, types, &events, &stop);
        if IS_CUT.load(Ordering::Relaxed) {
            // The engine is gone; everything that this process started is being ended, including itself.
            loop {
                thread::park();
            }
        }
        if result.is_err() {
            return 1;
        }
        // Other stages keep memory, threads and devices, so each has a process of its own.
        let runs_commands = types.iter().any(|kind| kind.name == spec.uses && kind.has_own_ports);
        let next = further.as_ref().filter(|_| runs_commands && !command::left_something());
        let Some(next) = next else { return 0 };
        let usage::Usage { cpu_seconds, memory_peak } = usage::since(before);
        events.emit(Event::Rests { cpu_seconds, memory_peak });
        let Ok(following) = next.recv() else { return 0 };
        path = following;
    }
}

/// Runs a stage and reports how it ended; its log is complete by then.
fn stage(spec: &Spec, types: &[StageType], events: &Events, stop: &Stop) -> Result<(), ()> {
    let secrets = Arc::new(Secrets::named_in(&spec.config));
    let events = masked(events.clone(), secrets.clone());
    let log = Log::open(&spec.log, secrets).map_err(|error| Error::io("write to", &spec.log, &error));
    // A command writes its own log.
    let is_command = types.iter().any(|kind| kind.name == spec.uses && kind.has_own_ports);
    let told = if is_command { events.clone() } else { narrate::narrated(events.clone()) };
    let (result, log) = match log {
        Ok(log) => (run(spec, types, told, stop.clone()), Some(log)),
        Err(error) => (Err(error), None),
    };
    if let (Ok(outcome), false) = (&result, is_command) {
        narrate::close(&outcome.metrics);
    }
    if let Err(error) = &result {
        let mut text = format!("error: {error}\n");
        if let Error::Input { help: Some(help), .. } = &error {
            text += &format!("help: {help}\n");
        }
        // The log's disk may be full: that is no reason to panic.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    if let Some(log) = log {
        log.end();
    }
    match result {
        Ok(Outcome { outputs, metrics, instruction_sets }) => {
            events.emit(Event::Done { key: Some(spec.key), outputs, metrics, instruction_sets });
            Ok(())
        }
        Err(error) => {
            events.emit(Event::Failed { error });
            Err(())
        }
    }
}

/// Does a stage's work in this process, which has its own stdout and stderr back afterwards. What the stage writes goes
/// to the file `log`; neither that nor the error has the secrets that the settings name.
///
/// # Errors
/// Those of the work, and where the log cannot be written.
pub fn logged<T>(
    log: &Path,
    config: &serde_json::Value,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = |error: &io::Error| Error::io("write to", log, error);
    let secrets = Arc::new(Secrets::named_in(config));
    let own = |stream: BorrowedFd<'static>| stream.try_clone_to_owned().map_err(|error| failed(&error));
    let (stdout, stderr) = (own(rustix::stdio::stdout())?, own(rustix::stdio::stderr())?);
    let open = Log::open(log, Arc::clone(&secrets)).map_err(|error| failed(&error))?;
    let result = work();
    open.end();
    let back = rustix::stdio::dup2_stdout(&stdout).and_then(|()| rustix::stdio::dup2_stderr(&stderr));
    back.map_err(|error| failed(&error.into()))?;
    result.map_err(|error| without_secrets(&error, &secrets))
}

/// Where stdout and stderr of this process and its children go.
enum Log {
    /// To the file.
    Plain,
    /// Through a pipe to a thread that takes secrets out.
    Masked { file: File, is_whole: Receiver<()>, read_bytes: Arc<AtomicU64> },
}

impl Log {
    fn open(path: &Path, secrets: Arc<Secrets>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        if secrets.is_empty() {
            rustix::stdio::dup2_stdout(&file)?;
            rustix::stdio::dup2_stderr(&file)?;
            return Ok(Self::Plain);
        }
        let (mut reader, writer) = io::pipe()?;
        let (whole, is_whole) = bounded(1);
        let mut log = MaskedWriter::new(secrets, file.try_clone()?);
        let read_bytes = Arc::new(AtomicU64::new(0));
        let progress = read_bytes.clone();
        thread::Builder::new().spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match reader.read(&mut buffer) {
                    // Who writes must not wait for a disk that is full.
                    Ok(read @ 1..) => {
                        drop(log.write_all(&buffer[..read]));
                        progress.fetch_add(read as u64, Ordering::Relaxed);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => break,
                }
            }
            let _ = log.end();
            let _ = whole.send(());
        })?;
        rustix::stdio::dup2_stdout(&writer)?;
        rustix::stdio::dup2_stderr(&writer)?;
        Ok(Self::Masked { file, is_whole, read_bytes })
    }

    /// Waits until all is written. A process in another session that holds the pipe open and writes nothing is not
    /// waited for.
    fn end(self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        if let Self::Masked { file, is_whole, read_bytes } = self {
            let _ = rustix::stdio::dup2_stdout(&file);
            let _ = rustix::stdio::dup2_stderr(&file);
            let mut before = None;
            while is_whole.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = Some(read_bytes.load(Ordering::Relaxed));
                if now == before {
                    eprintln!(
                        "pipe: another process still holds this log open; what it writes from here on is not kept"
                    );
                    return;
                }
                before = now;
            }
        }
    }
}

/// Removes secrets from events.
fn masked(events: Events, secrets: Arc<Secrets>) -> Events {
    if secrets.is_empty() {
        return events;
    }
    Arc::new(move |mut event: Event| {
        let clean = |text: &mut String| *text = secrets.mask(text).into_owned();
        match &mut event {
            Event::Note { message } => clean(message),
            Event::Progress { unit, .. } => clean(unit),
            Event::Metric { name, .. } => clean(name),
            Event::Done { metrics, .. } => {
                for metric in metrics {
                    clean(&mut metric.name);
                    clean(&mut metric.unit);
                }
            }
            Event::Failed { error } => *error = without_secrets(error, &secrets),
            Event::Step { .. } | Event::Task { .. } | Event::Checkpoints { .. } | Event::Rests { .. } => {}
        }
        events.emit(event);
    })
}

fn without_secrets(error: &Error, secrets: &Secrets) -> Error {
    fn clean(value: &mut serde_json::Value, secrets: &Secrets) {
        match value {
            serde_json::Value::String(text) => *text = secrets.mask(text).into_owned(),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| clean(field, secrets)),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| clean(item, secrets)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(error).expect("invariant: an error is plain data");
    clean(&mut value, secrets);
    // If a secret is part of a variant's name, the error cannot be parsed.
    let hidden = || Error::Died { message: "its error contains a secret; see the log".to_owned() };
    serde_json::from_value(value).unwrap_or_else(|_| hidden())
}

/// Prevents child processes from inheriting descriptors other than stdin, stdout and stderr: neither the channel of
/// events nor any that was open when the engine was started.
#[expect(unsafe_code, reason = "descriptors that came with the process have no owner yet")]
fn keep_descriptors() {
    let open = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: the call touches no memory, and on a descriptor that is not open it does nothing.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Looks for devices and prints them to stdout. Returns the exit code.
pub fn probe(name: &str, types: &[StageType]) -> u8 {
    let Some(probe) = types.iter().filter_map(|kind| kind.probe).find(|probe| probe.name == name) else {
        eprintln!("error: this program has no probe `{name}`");
        return 2;
    };
    let devices = serde_json::to_string(&(probe.look)()).expect("invariant: devices are plain data");
    println!("{devices}");
    0
}

fn run(spec: &Spec, types: &[StageType], events: Events, stop: Stop) -> Result<Outcome, Error> {
    let kind = types.iter().find(|kind| kind.name == spec.uses);
    let kind = kind.ok_or_else(|| Error::input(format!("this program has no stage type `{}`", spec.uses)))?;
    if spec.program.is_some() {
        // If another build has replaced the program since the plan, it is different code under the same key.
        let now = sources::program(&spec.cache).map_err(|error| Error::input(error.to_string()))?;
        if spec.program != Some(now) {
            return Err(Error::SourceChanged { name: "the program itself".to_owned() });
        }
    }
    let stage = kind.configure(&spec.config).map_err(Error::input)?;
    let store = Store::open(&spec.cache)?;
    let mut inputs = BTreeMap::new();
    for (port, artifacts) in &spec.inputs {
        let open = |input: &super::spec::SpecInput| -> Result<InputArtifact, Error> {
            let bytes = store.artifact(&input.digest)?;
            let artifact = Artifact::from_bytes(&bytes).ok_or(Error::Damaged { digest: input.digest })?;
            Ok(InputArtifact { label: input.label.clone(), digest: input.digest, artifact })
        };
        inputs.insert(port.clone(), artifacts.iter().map(open).collect::<Result<Vec<_>, _>>()?);
    }
    let setup = Setup {
        store,
        identity: kind.identity(spec.program),
        mode: spec.mode.clone(),
        inputs,
        sources: spec.sources.clone(),
        remotes: kind.remotes,
        threads: spec.threads,
        events,
        stop,
        lease: spec.lease.clone(),
    };
    std::env::set_current_dir(&spec.project).map_err(|error| Error::io("enter", &spec.project, &error))?;
    if kind.name == <command::Command as pipe_stage::Stage>::NAME {
        written::begin(&spec.cache, &spec.project, &spec.config);
    }
    guarded(|| Context::new(setup).enter(&*stage))
}

/// Writes events to the channel in `PIPE_EVENTS`, one JSON object per line.
fn events() -> Events {
    let channel = std::env::var_os("PIPE_EVENTS");
    let file = channel.and_then(|path| OpenOptions::new().append(true).open(path).ok());
    let file: Mutex<Option<File>> = Mutex::new(file);
    Arc::new(move |event: Event| {
        let mut line = serde_json::to_vec(&event).expect("invariant: an event is plain data");
        line.push(b'\n');
        if let Some(file) = &mut *file.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            // If the engine does not read any more, it is ending, and so is this process.
            let _ = file.write_all(&line);
        }
    })
}

/// SIGTERM and SIGINT request a stop; the second one, an immediate stop.
fn listen(stop: &Stop) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let stop = stop.clone();
    thread::Builder::new().spawn(move || {
        for (count, _) in signals.forever().enumerate() {
            if count == 0 { stop.ask() } else { stop.now() }
        }
    })?;
    Ok(())
}

/// Whether stdin was closed.
static IS_CUT: AtomicBool = AtomicBool::new(false);

/// Ends the process group, including commands, when stdin closes; before that, stdin contains the specs that follow.
fn hold_leash() -> io::Result<Receiver<PathBuf>> {
    let (sender, further) = unbounded();
    thread::Builder::new().spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(path) = serde_json::from_str(&line) {
                let _ = sender.send(path);
            }
        }
        IS_CUT.store(true, Ordering::Relaxed);
        written::look();
        tree::end_below(getpid());
        // The engine makes every worker the leader of its own session, and so of its own group. A process that leads
        // none has no group of its number.
        let _ = kill_process_group(getpid(), Signal::KILL);
        std::process::exit(1);
    })?;
    Ok(further)
}
