//! Owns: the process in which a stage runs. Reads a spec, enters the stage, tells events, ends.
//!
//! It is on a leash: when stdin ends, its engine is gone, and it takes its process group with it.

use super::spec::{Leash, Spec};
use crate::{manifest::stage_type::StageType, sources, usage};
use crossbeam_channel::{Receiver, unbounded};
use pipe_stage::{
    Artifact, Context, Error, Event, Events, InputArtifact, Outcome, Setup, Stop, Store, guarded,
};
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

/// Does what a spec says, and those that follow. Returns the process's exit code: 0 done, 1 failed, 2 the call is
/// wrong.
pub fn worker(spec: &Path, types: &[StageType]) -> u8 {
    pipe_stage::raise_open_files();
    let (mut path, events, stop) = (spec.to_owned(), events(), Stop::default());
    listen(&stop);
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
            further = Some(hold_leash());
        }
        let before = usage::total();
        if let Err(error) = stage(&spec, types, &events, &stop) {
            let mut text = format!("error: {error}\n");
            if let Error::Input { help: Some(help), .. } = &error {
                text += &format!("help: {help}\n");
            }
            events.emit(Event::Failed { error });
            // The log's disk may be full: that is no reason to panic.
            let _ = std::io::stderr().write_all(text.as_bytes());
            return 1;
        }
        // Others keep memory, threads and devices: their process is their own.
        let runs_commands = types.iter().any(|kind| kind.name == spec.uses && kind.has_own_ports);
        let next = further.as_ref().filter(|_| runs_commands && nothing_is_left());
        let Some(next) = next else { return 0 };
        let usage::Usage { cpu_seconds, memory_peak } = usage::since(before);
        events.emit(Event::Rests { cpu_seconds, memory_peak });
        let Ok(following) = next.recv() else { return 0 };
        path = following;
    }
}

fn stage(spec: &Spec, types: &[StageType], events: &Events, stop: &Stop) -> Result<(), Error> {
    let log = || -> std::io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
        rustix::stdio::dup2_stdout(&log)?;
        rustix::stdio::dup2_stderr(&log)?;
        Ok(())
    };
    log().map_err(|error| Error::io("write to", &spec.log, &error))?;
    let Outcome { outputs, metrics, instruction_sets } = run(spec, types, events.clone(), stop.clone())?;
    events.emit(Event::Done { key: Some(spec.key), outputs, metrics, instruction_sets });
    Ok(())
}

/// Whether a command left no process behind; one that did is ended with its worker.
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

/// Nobody tells here.
#[cfg(not(target_os = "linux"))]
fn nothing_is_left() -> bool {
    false
}

/// Looks for devices and tells them on stdout. Returns the process's exit code.
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
        // Another build in its place since the plan was made is other code under the same key.
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
        threads: spec.threads,
        events,
        stop,
        lease: spec.lease.clone(),
    };
    std::env::set_current_dir(&spec.project).map_err(|error| Error::io("enter", &spec.project, &error))?;
    guarded(|| Context::new(setup).enter(&*stage))
}

/// Writes events to the channel that `PIPE_EVENTS` names, one JSON object a line.
fn events() -> Events {
    let channel = std::env::var_os("PIPE_EVENTS");
    let file = channel.and_then(|path| OpenOptions::new().append(true).open(path).ok());
    let file: Mutex<Option<File>> = Mutex::new(file);
    Arc::new(move |event: Event| {
        let mut line = serde_json::to_vec(&event).expect("invariant: an event is plain data");
        line.push(b'\n');
        if let Some(file) = &mut *file.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            // An engine that no longer listens is on its way out, and so are we.
            let _ = file.write_all(&line);
        }
    })
}

/// SIGTERM and SIGINT ask to stop; the second one means at once.
fn listen(stop: &Stop) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    let stop = stop.clone();
    thread::spawn(move || {
        for (count, _) in signals.forever().enumerate() {
            if count == 0 { stop.ask() } else { stop.now() }
        }
    });
}

/// Ends the process group, commands included, when stdin ends; what comes before are the specs that follow.
fn hold_leash() -> Receiver<PathBuf> {
    let (sender, further) = unbounded();
    // What commands leave behind becomes our child, so that we know of it.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(path) = serde_json::from_str(&line) {
                let _ = sender.send(path);
            }
        }
        // The engine makes every worker the leader of a group of its own.
        let own = Pid::from_raw(std::process::id() as i32);
        if own == Some(getpgrp()) {
            let _ = kill_process_group(getpgrp(), Signal::KILL);
        }
        std::process::exit(1);
    });
    further
}
