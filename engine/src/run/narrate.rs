//! Owns: a stage's events as lines of its log, so that the log of every built-in stage can be followed. This covers
//! all stage types; commands write their logs themselves.

use pipe_stage::{Event, Events, Metric};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Minimum time between lines about the progress of a step.
const EVERY: Duration = Duration::from_secs(5);

/// Passes on events, and writes those of interest to people to stderr, which is the log.
pub(super) fn narrated(events: Events) -> Events {
    let narrator = Mutex::new(Narrator::default());
    Arc::new(move |event: Event| {
        let text = narrator.lock().unwrap_or_else(PoisonError::into_inner).hear(&event, Instant::now());
        if let Some(text) = text {
            write(&text);
        }
        events.emit(event);
    })
}

/// Writes the totals of a stage that succeeded.
pub(super) fn close(metrics: &[Metric]) {
    write(&closing(metrics));
}

fn write(text: &str) {
    let clock = clock(SystemTime::now());
    // If the log cannot be written, for example because the disk is full, the stage continues.
    let _ = std::io::stderr().lock().write_all(format!("{clock} {text}\n").as_bytes());
}

#[derive(Default)]
struct Narrator {
    told: Option<Instant>,
    /// Points of series that have not been written yet.
    points: BTreeMap<String, (u64, f64)>,
    /// The last progress: unit, done, total.
    counted: Option<(String, u64, Option<u64>)>,
}

impl Narrator {
    /// Takes an event; returns a line if it is time for one.
    fn hear(&mut self, event: &Event, now: Instant) -> Option<String> {
        match event {
            Event::Step { step, tasks, missing: 0 } => Some(format!("{step}: all {tasks} tasks cached")),
            Event::Step { step, tasks, missing } => {
                self.told = Some(now);
                Some(format!("{step}: {missing} of {tasks} tasks to do"))
            }
            Event::Task { step, done, of } => {
                let is_due = done == of || self.is_due(now);
                is_due.then(|| format!("{step}: {done} of {of} tasks done"))
            }
            Event::Progress { unit, done, total } => {
                let is_first = self.counted.is_none();
                self.counted = Some((unit.clone(), *done, *total));
                (is_first || *total == Some(*done) || self.is_due(now)).then(|| self.progress())
            }
            Event::Metric { name, step, value } => {
                self.points.insert(name.clone(), (*step, *value));
                None
            }
            Event::Note { message } => Some(message.clone()),
            // The worker writes how it ended, before it reports it.
            Event::Checkpoints { .. } | Event::Done { .. } | Event::Failed { .. } | Event::Rests { .. } => {
                None
            }
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= EVERY);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// `steps 120 of 2000 (6 %); loss 3.2141, lr 0.0003`.
    fn progress(&mut self) -> String {
        let mut text = match &self.counted {
            Some((unit, done, Some(total))) if *total > 0 => {
                format!("{unit} {done} of {total} ({:.0} %)", 100.0 * *done as f64 / *total as f64)
            }
            Some((unit, done, _)) => format!("{unit} {done}"),
            None => String::new(),
        };
        for (place, (name, (_, value))) in std::mem::take(&mut self.points).into_iter().enumerate() {
            let between = if place == 0 { ';' } else { ',' };
            let _ = write!(text, "{between} {name} {}", number(value));
        }
        text
    }
}

fn closing(metrics: &[Metric]) -> String {
    let metric = |metric: &Metric| {
        format!("{} {} {}", metric.name, number(metric.value), metric.unit).trim_end().to_owned()
    };
    let told: Vec<String> = metrics.iter().map(metric).collect();
    if told.is_empty() { "done".to_owned() } else { format!("done: {}", told.join(", ")) }
}

/// Integers as they are, other numbers with four digits.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        size if (1e-3..1e6).contains(&size) => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

/// The time of day, in UTC.
fn clock(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_steps_progress_and_totals_and_not_every_event() {
        let (mut narrator, began) = (Narrator::default(), Instant::now());
        let mut lines = Vec::new();
        let mut hear =
            |event, seconds| lines.extend(narrator.hear(&event, began + Duration::from_secs(seconds)));
        hear(Event::Step { step: "train".to_owned(), tasks: 1, missing: 1 }, 0);
        for step in 1..=12 {
            let value = 4.0 - step as f64 / 100.0;
            hear(Event::Metric { name: "loss".to_owned(), step, value }, step);
            hear(Event::Progress { unit: "steps".to_owned(), done: step, total: Some(12) }, step);
        }
        hear(Event::Task { step: "train".to_owned(), done: 1, of: 1 }, 13);
        let metrics = vec![Metric::new("val_loss", 3.5, "nat/token"), Metric::count("shards", 2)];
        lines.push(closing(&metrics));
        assert_eq!(
            lines,
            [
                "train: 1 of 1 tasks to do",
                "steps 1 of 12 (8 %); loss 3.9900",
                "steps 5 of 12 (42 %); loss 3.9500",
                "steps 10 of 12 (83 %); loss 3.9000",
                "steps 12 of 12 (100 %); loss 3.8800",
                "train: 1 of 1 tasks done",
                "done: val_loss 3.5000 nat/token, shards 2",
            ]
        );
        assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(86_400 + 3_723)), "01:02:03");
    }
}
