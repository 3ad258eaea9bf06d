//! Owns: a run as progress lines on a terminal, one for each running stage.

use super::{gauge::Gauge, lines, text::cut};
use crate::run::RunEvent;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pipe_stage::Event;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// One line for each running stage.
#[derive(Default)]
pub struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, Bar>,
}

struct Bar {
    line: ProgressBar,
    gauge: Gauge,
}

impl Bars {
    pub(super) fn tell(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Told { stage, told } => self.told(stage, told),
            RunEvent::Started { stage, .. } => {
                let line = self.all.add(ProgressBar::new_spinner());
                // The message is cut to the rest of the line.
                let style = ProgressStyle::with_template("{prefix} {spinner} {elapsed} {wide_msg}");
                line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                line.set_prefix(name(stage, super::columns()));
                line.enable_steady_tick(Duration::from_millis(120));
                self.bars.insert(stage.clone(), Bar { line, gauge: Gauge::default() });
                self.say(event);
            }
            RunEvent::Finished { stage, .. } | RunEvent::Failed { stage, .. } => {
                if let Some(bar) = self.bars.remove(stage) {
                    bar.line.finish_and_clear();
                }
                self.say(event);
            }
            other => self.say(other),
        }
    }

    fn told(&mut self, stage: &str, event: &Event) {
        if let Event::Note { message } = event {
            return self.line(&lines::note(stage, message));
        }
        let Some(bar) = self.bars.get_mut(stage) else { return };
        if bar.gauge.see(event, Instant::now()) {
            // Columns besides the name: a spinner, the time (`3s`, `12m`, `3h`) and spaces.
            const BESIDE: usize = 8;
            let columns = super::columns();
            let prefix = name(stage, columns);
            bar.line.set_message(bar.gauge.line(columns.saturating_sub(prefix.chars().count() + BESIDE)));
            bar.line.set_prefix(prefix);
        }
    }

    fn say(&self, event: &RunEvent) {
        if let Some(line) = lines::line(event) {
            self.line(&line);
        }
    }

    fn line(&self, line: &str) {
        // If the terminal is gone, the run continues.
        let _ = self.all.println(line);
    }

    pub(super) fn clear(&self) {
        let _ = self.all.clear();
    }
}

/// A stage's name, shortened for narrow terminals.
fn name(stage: &str, columns: usize) -> String {
    let name = cut(stage, (columns / 3).max(6));
    if columns < 80 { name } else { format!("{name:16}") }
}
