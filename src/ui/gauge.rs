//! Owns: the progress of a running stage, in one line that fits the terminal.

use super::{
    text::{cut, plain_line},
    units::{figure, seconds},
};
use pipe_stage::Event;
use std::time::Instant;

/// Progress of a stage.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    step: Option<String>,
    count: Option<Count>,
    loss: Option<String>,
}

/// Progress within a step.
#[derive(Debug)]
struct Count {
    unit: String,
    done: u64,
    total: Option<u64>,
    /// Time and value of the first count in this process; earlier work does not count for the rate.
    first: (Instant, u64),
    last: Instant,
}

impl Gauge {
    /// Takes an event of the stage; returns whether the line changed.
    pub(super) fn see(&mut self, event: &Event, now: Instant) -> bool {
        match event {
            // A step of an input without shards.
            Event::Step { tasks: 0, .. } => return false,
            Event::Step { step, tasks, missing } => {
                let of = figure(*tasks as f64);
                self.step =
                    Some(format!("{}: {} of {of} tasks to do", plain_line(step), figure(*missing as f64)));
                (self.count, self.loss) = (None, None);
            }
            Event::Task { step, done, of } => {
                let (done, of) = (figure(*done as f64), figure(*of as f64));
                self.step = Some(format!("{}: {done} of {of} tasks", plain_line(step)));
            }
            Event::Progress { unit, done, total } => {
                let unit = plain_line(unit);
                let before = self
                    .count
                    .take()
                    .filter(|count| count.unit == unit && count.total == *total && count.done <= *done);
                let first = before.map_or((now, *done), |count| count.first);
                self.count = Some(Count { unit, done: *done, total: *total, first, last: now });
            }
            Event::Metric { name, value, .. } if name == "loss" => {
                self.loss = Some(format!("loss {}", figure(*value)));
            }
            _ => return false,
        }
        true
    }

    /// Renders the line, at most `columns` wide: less important parts are dropped first.
    pub(super) fn line(&self, columns: usize) -> String {
        let Some(count) = &self.count else {
            return cut(self.step.as_deref().unwrap_or_default(), columns);
        };
        let total = count.total.map(|total| format!("/{}", figure(total as f64))).unwrap_or_default();
        let counted = format!("{}{total} {}", figure(count.done as f64), count.unit);
        let rate = count.rate();
        let left = rate
            .zip(count.total)
            .map(|(rate, total)| format!("{} left", seconds(total.saturating_sub(count.done) as f64 / rate)));
        let rate = rate.map(|rate| format!("{}/s", figure(rounded(rate))));
        // In the order of the line, each with its rank: the lowest is kept longest.
        let parts = [(0, Some(counted)), (3, rate), (2, left), (1, self.loss.clone())];
        let mut shown = 3;
        let text = loop {
            let fitting = parts.iter().filter(|(rank, _)| *rank <= shown);
            let fitting: Vec<&str> = fitting.filter_map(|(_, part)| part.as_deref()).collect();
            let text = fitting.join(", ");
            if text.chars().count() <= columns || shown == 0 {
                break cut(&text, columns);
            }
            shown -= 1;
        };
        let room = columns.saturating_sub(text.chars().count() + 1);
        match count.bar(room.min(24)) {
            Some(bar) => format!("{bar} {text}"),
            None => text,
        }
    }
}

impl Count {
    /// Units per second in this process.
    fn rate(&self) -> Option<f64> {
        let passed = self.last.duration_since(self.first.0).as_secs_f64();
        let done = self.done.saturating_sub(self.first.1);
        (passed > 0.5 && done > 0).then(|| done as f64 / passed)
    }

    fn bar(&self, columns: usize) -> Option<String> {
        const COLUMNS_MIN: usize = 8;
        let total = self.total.filter(|total| *total > 0 && columns >= COLUMNS_MIN)?;
        let full = (columns - 2) as u64 * self.done.min(total) / total;
        let full = usize::try_from(full).unwrap_or(columns - 2);
        Some(format!("[{}{}]", "#".repeat(full), "-".repeat(columns - 2 - full)))
    }
}

/// Rounds a rate to three digits.
fn rounded(rate: f64) -> f64 {
    let places = 10f64.powf(2.0 - rate.abs().log10().floor().max(-3.0));
    (rate * places).round() / places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gauge(from: u64, to: u64, after: Duration) -> Gauge {
        let (mut gauge, now) = (Gauge::default(), Instant::now());
        let progress = |done| Event::Progress { unit: "steps".to_owned(), done, total: Some(20_000) };
        gauge.see(&progress(from), now);
        gauge.see(&Event::Metric { name: "loss".to_owned(), step: to, value: 3.21456 }, now);
        gauge.see(&progress(to), now + after);
        gauge
    }

    #[test]
    fn lines_fit_narrow_terminals() {
        let gauge = gauge(0, 10_000, Duration::from_secs(100));
        assert_eq!(
            gauge.line(90),
            "[###########-----------] 10,000/20,000 steps, 100/s, 1 min 40 s left, loss 3.2146"
        );
        assert_eq!(gauge.line(60), "10,000/20,000 steps, 100/s, 1 min 40 s left, loss 3.2146");
        assert_eq!(gauge.line(50), "10,000/20,000 steps, 1 min 40 s left, loss 3.2146");
        assert_eq!(gauge.line(40), "10,000/20,000 steps, loss 3.2146");
        assert_eq!(gauge.line(22), "10,000/20,000 steps");
        assert_eq!(gauge.line(10), "10,000/20…");
        for columns in 0..120 {
            assert!(gauge.line(columns).chars().count() <= columns, "{columns}");
        }
    }

    #[test]
    fn the_rate_after_a_resume_counts_what_this_run_did() {
        let gauge = gauge(15_000, 15_100, Duration::from_secs(10));
        assert!(gauge.line(80).contains(" 10/s, 8 min 10 s left"), "{}", gauge.line(80));
    }

    #[test]
    fn a_step_begins_a_count_of_its_own() {
        let mut gauge = gauge(0, 10, Duration::from_secs(1));
        gauge.see(&Event::Step { step: "merge".to_owned(), tasks: 12, missing: 4 }, Instant::now());
        assert_eq!(gauge.line(60), "merge: 4 of 12 tasks to do");
        assert!(!gauge.see(&Event::Step { step: "empty".to_owned(), tasks: 0, missing: 0 }, Instant::now()));
        assert_eq!(gauge.line(60), "merge: 4 of 12 tasks to do");
    }
}
