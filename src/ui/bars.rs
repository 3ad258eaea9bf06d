//! Owns: a run as moving bars on a terminal.

use super::{lines, units::figure};
use crate::run::RunEvent;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pipe_stage::Event;
use std::{collections::BTreeMap, time::Duration};

/// One bar for each stage that runs.
#[derive(Default)]
pub struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
}

impl Bars {
    pub(super) fn tell(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Told { stage, told } => self.told(stage, told),
            RunEvent::Started { stage, .. } => {
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.set_style(style("{prefix:16} {spinner} {elapsed} {msg}"));
                bar.set_prefix(stage.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                self.bars.insert(stage.clone(), bar);
                self.say(event);
            }
            RunEvent::Finished { stage, .. } | RunEvent::Failed { stage, .. } => {
                if let Some(bar) = self.bars.remove(stage) {
                    bar.finish_and_clear();
                }
                self.say(event);
            }
            other => self.say(other),
        }
    }

    fn told(&mut self, stage: &str, event: &Event) {
        let Some(bar) = self.bars.get(stage) else { return };
        match event {
            Event::Step { step, shares, missing } => {
                bar.set_message(format!("{step}: {missing} of {shares} shares"))
            }
            Event::Share { step, done, of } => bar.set_message(format!("{step}: {done} of {of} shares")),
            Event::Progress { unit, done, total: Some(total) } => {
                bar.set_style(style(&format!(
                    "{{prefix:16}} {{bar:24}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left {{msg}}"
                )));
                bar.set_length(*total);
                bar.set_position(*done);
            }
            Event::Progress { unit, done, total: None } => {
                bar.set_style(style(&format!(
                    "{{prefix:16}} {{spinner}} {{human_pos}} {unit}, {{per_sec}} {{msg}}"
                )));
                bar.set_position(*done);
            }
            Event::Metric { name, value, .. } if name == "loss" => {
                bar.set_message(format!("{name} {}", figure(*value)))
            }
            Event::Note { message } => self.line(&format!("{stage}: {message}")),
            Event::Metric { .. } | Event::Done { .. } | Event::Failed { .. } | Event::Rests { .. } => {}
        }
    }

    fn say(&self, event: &RunEvent) {
        if let Some(line) = lines::line(event) {
            self.line(&line);
        }
    }

    fn line(&self, line: &str) {
        // A terminal that is gone is no reason to stop.
        let _ = self.all.println(line);
    }

    pub(super) fn clear(&self) {
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
