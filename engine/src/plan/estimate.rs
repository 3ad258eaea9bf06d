//! Owns: what a stage will take, from its earlier runs. Knows only what the journal says.

use crate::record::Visit;
use serde::Serialize;

/// What a stage will take.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Median of seconds, scaled by the amount of work and by the shares that are missing.
    pub seconds: f64,
    /// The quickest of the runs it is made from, scaled alike.
    pub seconds_min: f64,
    /// The slowest.
    pub seconds_max: f64,
    /// Bytes of memory at the highest peak of those runs.
    pub memory_peak: u64,
    /// Bytes of what it made last.
    pub output_bytes: u64,
    /// Bytes of it that no input had, for the shares that are missing.
    pub written_bytes: u64,
    /// Runs that it is made from.
    pub runs: usize,
    /// How much more work there is than in the last of them, for all shares; `None` where the stage has no measure of
    /// it, and times are taken as they were.
    pub scale: Option<f64>,
}

impl Estimate {
    /// Estimates from the last runs; `None` without any. `part` of the stage is to do; `amount` is its work, all of it,
    /// in its own measure; `written` tells what a run wrote, in bytes.
    pub(super) fn of(
        visits: &[Visit],
        part: f64,
        amount: Option<f64>,
        written: impl Fn(&Visit) -> u64,
    ) -> Option<Self> {
        const RUNS_MAX: usize = 9;
        let scale = |visit: &Visit| Some(amount? / visit.work.filter(|work| *work > 0.0)?);
        // Runs of an unknown amount of work say little beside those of a known one.
        let measured: Vec<&Visit> = visits.iter().filter(|visit| scale(visit).is_some()).collect();
        let all: Vec<&Visit> = if measured.is_empty() { visits.iter().collect() } else { measured };
        let last = *all.last()?;
        let recent = &all[all.len().saturating_sub(RUNS_MAX)..];
        // A run counts by what it would have taken for all shares.
        let whole = |visit: &&Visit| {
            let seconds = match visit.shares {
                (done, of) if done > 0 && of > 0 => visit.seconds * of as f64 / done as f64,
                _ => visit.seconds,
            };
            seconds * scale(visit).unwrap_or(1.0)
        };
        let mut seconds: Vec<f64> = recent.iter().map(whole).collect();
        seconds.sort_by(f64::total_cmp);
        Some(Self {
            seconds: seconds[seconds.len() / 2] * part,
            seconds_min: seconds[0] * part,
            seconds_max: seconds[seconds.len() - 1] * part,
            memory_peak: recent.iter().map(|visit| visit.memory_peak).max().unwrap_or(0),
            output_bytes: last.output_bytes,
            written_bytes: (written(last) as f64 * part) as u64,
            runs: recent.len(),
            scale: scale(last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::Digest;

    fn visit(seconds: f64, work: Option<f64>) -> Visit {
        let key = Digest::of(b"key");
        Visit { key, seconds, memory_peak: 10, output_bytes: 20, shares: (4, 4), work }
    }

    #[test]
    fn times_follow_the_amount_of_work() {
        let of = |visits: &[Visit], amount| Estimate::of(visits, 0.5, amount, |_| 20).expect("it has run");
        let visits = [visit(100.0, Some(1000.0)), visit(10.0, Some(100.0)), visit(500.0, None)];
        let estimate = of(&visits, Some(5000.0));
        assert_eq!((estimate.seconds, estimate.runs, estimate.scale), (250.0, 2, Some(50.0)));
        // Without a measure, now or then, times are as they were.
        assert_eq!(of(&visits, None).scale, None);
        let unmeasured = of(&[visit(8.0, None)], Some(5.0));
        assert_eq!((unmeasured.seconds, unmeasured.scale), (4.0, None));
    }
}
