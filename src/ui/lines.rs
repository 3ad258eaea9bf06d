//! Owns: a run as plain lines, for logs and pipes.

use super::{
    say,
    text::plain,
    units::{figure, seconds},
};
use crate::{run::RunEvent, warning::Warning};
use pipe_stage::Event;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Interval between progress lines.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Prints a line for each important event.
#[derive(Debug, Default)]
pub struct Lines {
    said: BTreeMap<String, Instant>,
    loss: BTreeMap<String, String>,
}

impl Lines {
    pub(super) fn tell(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Told { stage, told } => self.told(stage, told),
            other => {
                if let Some(line) = line(other) {
                    say(&line);
                }
            }
        }
    }

    fn told(&mut self, stage: &str, event: &Event) {
        match event {
            // A step of an input without shards.
            Event::Step { tasks: 0, .. } => {}
            Event::Step { step, tasks, missing } => {
                let (missing, of) = (figure(*missing as f64), figure(*tasks as f64));
                say(&format!("{stage}: {step}, {missing} of {of} tasks to do"));
            }
            Event::Note { message } => say(&note(stage, message)),
            Event::Metric { name, step, value } if name == "loss" => {
                self.loss.insert(stage.to_owned(), format!("; {name} {} at {step}", figure(*value)));
            }
            Event::Progress { unit, done, total } => {
                let said = self.said.entry(stage.to_owned()).or_insert_with(Instant::now);
                if said.elapsed() >= TOLD_EVERY {
                    *said = Instant::now();
                    let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
                    let loss = self.loss.get(stage).map_or("", String::as_str);
                    say(&format!("{stage}: {done}{total} {unit}{loss}"));
                }
            }
            Event::Metric { .. }
            | Event::Task { .. }
            | Event::Checkpoints { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::Rests { .. } => {}
        }
    }
}

/// The line for a note of a stage.
pub(super) fn note(stage: &str, message: &str) -> String {
    format!("{stage}: {}", plain(message))
}

/// A warning as people read it.
pub(super) fn warned(warning: &Warning) -> String {
    format!("warning: {}\n  help: {}", warning.message, warning.help)
}

/// The line for an event of the run, without control characters.
pub(super) fn line(event: &RunEvent) -> Option<String> {
    Some(plain(&text(event)?).into_owned())
}

fn text(event: &RunEvent) -> Option<String> {
    Some(match event {
        RunEvent::Began { folder } => format!("logs in {}", folder.display()),
        RunEvent::Cached { waited: false, .. } | RunEvent::Told { .. } => return None,
        RunEvent::Cached { stage, .. } => format!("{stage}: cached, computed by another run"),
        RunEvent::Started { stage, reasons, .. } => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            format!("{stage}: running: {}", reasons.join("; "))
        }
        RunEvent::Waiting { stage, holder } => format!("{stage}: waiting: {holder} is already running this stage"),
        RunEvent::Again { stage, message, pause } if *pause > 0.0 => {
            format!("{stage}: retrying in {}: {message}", seconds(*pause))
        }
        RunEvent::Again { stage, message, .. } => format!("{stage}: retrying: {message}"),
        RunEvent::Finished { stage, row } => format!("{stage}: done in {}", seconds(row.seconds)),
        RunEvent::Failed { stage, error, log, tail } => {
            let mut text = format!("error: stage `{stage}` failed: {error}");
            if let pipe_stage::Error::Input { help: Some(help), .. } = error {
                text += &format!("\n  help: {help}");
            }
            if let Some(help) = crate::command::help(error, tail) {
                text += &format!("\n  help: {help}");
            }
            if let pipe_stage::Error::DiskFull { .. } = error {
                text += "\n  help: free some disk space and run again; finished work is kept";
            }
            let last: Vec<&str> = tail.lines().rev().take(12).collect();
            last.iter().rev().for_each(|line| text += &format!("\n  | {line}"));
            if let Some(log) = log {
                text += &format!("\n  log: {}", log.display());
            }
            text
        }
        RunEvent::Warning(warning) => warned(warning),
        RunEvent::Stopping => {
            "stopping: waiting for running tasks to finish or save a checkpoint; press Ctrl-C again to stop now"
                .to_owned()
        }
    })
}
