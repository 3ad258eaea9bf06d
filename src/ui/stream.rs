//! Owns: distribution of a run's events: to the run's `events.jsonl`, to TensorBoard files, and to observers. Nothing
//! here can stop a run.
//!
//! A run without anything to do has no folder, and so no events file; events before the folder exists are kept until
//! then.

use super::{
    observers::{self, Observer},
    tensorboard::Board,
};
use crate::{
    figures::Figures,
    run::{RunEvent, Summary},
    secrets::Secrets,
    warning::Warning,
};
use pipe_stage::Event;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Passes events on.
pub struct Stream {
    commands: Vec<String>,
    /// Working folder of observers.
    root: PathBuf,
    /// What is taken out of the logs of observers.
    secrets: Arc<Secrets>,
    open: Option<Open>,
    early: Vec<(f64, String)>,
}

struct Open {
    path: PathBuf,
    events: Option<File>,
    /// Whether an event could not be written, which is told once.
    is_lossy: bool,
    board: Board,
    observers: Vec<Observer>,
}

impl Stream {
    /// Prepares to pass events on to these shell lines, which run in the project's root; their logs are without secrets.
    pub fn new(observers: Vec<String>, root: &Path, secrets: Secrets) -> Self {
        Self {
            commands: observers,
            root: root.to_owned(),
            secrets: Arc::new(secrets),
            open: None,
            early: Vec::new(),
        }
    }

    /// Passes an event on.
    pub fn tell(&mut self, event: &RunEvent) {
        let at = now();
        if let RunEvent::Began { folder } = event {
            self.open = Some(Open::new(folder, &self.commands, &self.root, &self.secrets));
            for (at, event) in std::mem::take(&mut self.early) {
                self.pass(at, &event);
            }
        }
        let text = super::json(event);
        if self.open.is_none() {
            self.early.push((at, text));
            return;
        }
        self.pass(at, &text);
        if let (Some(open), RunEvent::Told { stage, told: Event::Metric { name, step, value } }) =
            (&mut self.open, event)
        {
            open.board.point(stage, name, *step, *value, at);
        }
    }

    fn pass(&mut self, at: f64, event: &str) {
        let Some(open) = &mut self.open else { return };
        if let Some(events) = &mut open.events {
            // `{"event":…}` becomes `{"at":…,"event":…}`. One write per line, so that readers see complete lines.
            let line = format!("{{\"at\":{at:.3},{}\n", event.get(1..).unwrap_or("}"));
            // The stream is for those who watch: the run goes on without it.
            if let Err(error) = events.write_all(line.as_bytes())
                && !std::mem::replace(&mut open.is_lossy, true)
            {
                lost(&open.path, &error);
            }
        }
        if !open.observers.is_empty() {
            open.tell(line(at, event));
        }
    }

    /// Passes on the end; returns messages about observers.
    pub fn end(self, summary: &Summary, figures: &Figures) -> Vec<String> {
        let Some(open) = self.open else { return Vec::new() };
        let mut closing = super::closing(summary, figures);
        closing["at"] = now().into();
        open.tell(super::json(&closing));
        observers::end(open.observers)
    }
}

impl Open {
    fn new(folder: &Path, commands: &[String], root: &Path, secrets: &Arc<Secrets>) -> Self {
        let path = folder.join("events.jsonl");
        let events = OpenOptions::new().create(true).append(true).open(&path);
        let events = events.inspect_err(|error| lost(&path, error)).ok();
        let environment = [("PIPE_RUN", folder)];
        let start = |(number, command): (usize, &String)| {
            let log = folder.join(format!("observer-{}.log", number + 1));
            Observer::start(command, root, &environment, &log, secrets)
        };
        let observers = commands.iter().enumerate().map(start).collect();
        Self { path, events, is_lossy: false, board: Board::new(folder.join("tensorboard")), observers }
    }

    fn tell(&self, mut line: String) {
        line.push('\n');
        let line = Arc::from(line);
        self.observers.iter().for_each(|observer| observer.tell(&line));
    }
}

/// Tells that those who watch will not see all of a run.
fn lost(path: &Path, error: &std::io::Error) {
    super::warn(&Warning {
        message: format!("cannot write the events `{}`: {error}", path.display()),
        help: "the run goes on, and `pipe status`, `pipe logs` and `pipe report` will not show all of it"
            .to_owned(),
    });
}

/// Revision of the lines that `pipe run --json` prints, and that observers get.
///
/// - 1: the first.
/// - 2: the events `step` and `task` count `tasks`, which were called shares; rows of comparisons have `metrics`, which
///   were called figures; the events `checkpoints` and `warning`.
pub(super) const RUN_VERSION: u32 = 2;

/// An event as `pipe run --json` prints it; `event` is its JSON.
pub(super) fn line(at: f64, event: &str) -> String {
    format!("{{\"version\":{RUN_VERSION},\"at\":{at:.3},\"run\":{event}}}")
}

/// Seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
