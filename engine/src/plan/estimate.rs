//! Owns: what a stage will take, from its earlier runs. Knows only what the journal says.

use crate::record::Visit;
use serde::Serialize;

/// What a stage will take.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Median of seconds, scaled by the shares that are missing.
    pub seconds: f64,
    /// The quickest of the runs it is made from, scaled alike.
    pub seconds_min: f64,
    /// The slowest.
    pub seconds_max: f64,
    /// Bytes of memory at the highest peak.
    pub memory_peak: u64,
    /// Bytes of what it made last.
    pub output_bytes: u64,
    /// Bytes of it that no input had, for the shares that are missing.
    pub written_bytes: u64,
    /// Runs that it is made from.
    pub runs: usize,
}

impl Estimate {
    /// Estimates from the last runs; `None` without any. `part` of the stage is to do; `written` tells what a run wrote,
    /// in bytes.
    pub(super) fn of(visits: &[Visit], part: f64, written: impl Fn(&Visit) -> u64) -> Option<Self> {
        const RUNS_MAX: usize = 9;
        let last = visits.last()?;
        let recent = &visits[visits.len().saturating_sub(RUNS_MAX)..];
        // A run counts by what it would have taken for all shares.
        let whole = |visit: &Visit| match visit.shares {
            (done, of) if done > 0 && of > 0 => visit.seconds * of as f64 / done as f64,
            _ => visit.seconds,
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
        })
    }
}
