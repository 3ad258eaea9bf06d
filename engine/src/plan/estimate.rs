//! Owns: estimates for a stage, from its earlier runs in the journal.

use crate::record::{Amounts, Visit};
use serde::Serialize;

/// An estimate for a stage.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Median time in seconds, scaled by the amount of work and by the tasks that are missing.
    pub seconds: f64,
    /// Time of the fastest run, scaled in the same way.
    pub seconds_min: f64,
    /// Time of the slowest run.
    pub seconds_max: f64,
    /// Bytes of memory at the highest peak of those runs, each scaled where the stage has a measure of its memory.
    pub memory_peak: u64,
    /// Bytes of all its outputs, scaled from the last run.
    pub output_bytes: u64,
    /// Bytes of them that no input has, for the shares that are missing.
    pub written_bytes: u64,
    /// Number of runs it is based on.
    pub runs: usize,
    /// How the stage compares with the last of them.
    pub scale: Scale,
    /// Whether inputs of it are yet to be made, so that the scale rests on the estimates of other stages.
    pub inputs_expected: bool,
}

/// How much larger a stage is than in its last run, for all shares; `None` where there is no measure, and the figure of
/// that run is taken as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scale {
    /// Factor of its time.
    pub time: Option<f64>,
    /// Factor of its outputs' size.
    pub output: Option<f64>,
    /// Factor of its memory.
    pub memory: Option<f64>,
}

/// The work of a stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// The part of the stage that is missing, up to 1.
    pub(super) part: f64,
    /// Its amounts, for all of it.
    pub(super) amounts: Amounts,
    /// Whether they rest on estimates of other stages.
    pub(super) inputs_expected: bool,
}

impl Estimate {
    /// Estimates from the last runs; `None` without any. `written` gives the bytes that a run wrote.
    pub(super) fn of(visits: &[Visit], ahead: Ahead, written: impl Fn(&Visit) -> u64) -> Option<Self> {
        const RUNS_MAX: usize = 9;
        let scale = |visit: &Visit| Scale::between(&visit.amounts, &ahead.amounts);
        let visits: Vec<&Visit> = visits.iter().filter(|visit| !visit.adopted).collect();
        // Runs of an unknown amount of work say little beside those of a known one.
        let measured: Vec<&Visit> =
            visits.iter().copied().filter(|visit| scale(visit).time.is_some()).collect();
        let all: Vec<&Visit> = if measured.is_empty() { visits } else { measured };
        let last = *all.last()?;
        let recent = &all[all.len().saturating_sub(RUNS_MAX)..];
        // A run counts with the time it would have taken for all tasks.
        let whole = |visit: &&Visit| {
            let seconds = match visit.tasks {
                (done, of) if done > 0 && of > 0 => visit.seconds * of as f64 / done as f64,
                _ => visit.seconds,
            };
            seconds * scale(visit).time.unwrap_or(1.0)
        };
        let mut seconds: Vec<f64> = recent.iter().map(whole).collect();
        seconds.sort_by(f64::total_cmp);
        let memory = |visit: &&Visit| scaled(visit.memory_peak, scale(visit).memory);
        let output = scale(last).output;
        Some(Self {
            seconds: seconds[seconds.len() / 2] * ahead.part,
            seconds_min: seconds[0] * ahead.part,
            seconds_max: seconds[seconds.len() - 1] * ahead.part,
            memory_peak: recent.iter().map(memory).max().unwrap_or(0),
            output_bytes: scaled(last.output_bytes, output),
            written_bytes: (scaled(written(last), output) as f64 * ahead.part) as u64,
            runs: recent.len(),
            scale: scale(last),
            inputs_expected: ahead.inputs_expected,
        })
    }
}

impl Scale {
    fn between(before: &Amounts, now: &Amounts) -> Self {
        let ratio =
            |before: Option<f64>, now: Option<f64>| Some(now? / before.filter(|before| *before > 0.0)?);
        Self {
            time: ratio(before.work, now.work),
            output: ratio(before.output, now.output),
            memory: ratio(before.memory, now.memory),
        }
    }
}

fn scaled(bytes: u64, scale: Option<f64>) -> u64 {
    // A whole number stays exact where nothing scales it.
    scale.map_or(bytes, |scale| (bytes as f64 * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::Digest;

    fn visit(seconds: f64, work: Option<f64>) -> Visit {
        let key = Digest::of(b"key");
        let amounts = Amounts { work, output: work, memory: None };
        let (memory_peak, output_bytes, tasks) = (10, 20, (4, 4));
        let (version, adopted) = (Visit::VERSION, false);
        Visit { version, key, seconds, memory_peak, output_bytes, tasks, adopted, amounts }
    }

    fn ahead(part: f64, amounts: Amounts) -> Ahead {
        Ahead { part, amounts, inputs_expected: false }
    }

    fn of_work(work: f64) -> Amounts {
        Amounts { work: Some(work), output: Some(work), memory: None }
    }

    #[test]
    fn times_and_sizes_follow_their_amounts() {
        let of =
            |visits: &[Visit], amounts| Estimate::of(visits, ahead(0.5, amounts), |_| 8).expect("it has run");
        let visits = [visit(100.0, Some(1000.0)), visit(10.0, Some(100.0)), visit(500.0, None)];
        let estimate = of(&visits, of_work(5000.0));
        assert_eq!((estimate.seconds, estimate.runs, estimate.scale.time), (250.0, 2, Some(50.0)));
        assert_eq!((estimate.output_bytes, estimate.written_bytes, estimate.memory_peak), (1000, 200, 10));
        // Outputs of a size of their own grow with that alone.
        let constant = Amounts { output: Some(100.0), ..of_work(5000.0) };
        assert_eq!(of(&visits, constant).output_bytes, 20);
        // Without a measure, now or then, figures are as they were.
        let unknown = of(&visits, Amounts::default());
        assert_eq!((unknown.scale, unknown.output_bytes), (Scale::default(), 20));
        let unmeasured = of(&[visit(8.0, None)], of_work(5.0));
        assert_eq!((unmeasured.seconds, unmeasured.scale.time), (4.0, None));
    }

    #[test]
    fn an_adopted_result_says_nothing_about_time() {
        let of = |visits: &[Visit]| Estimate::of(visits, ahead(1.0, Amounts::default()), |_| 0);
        let adopted = Visit { adopted: true, ..visit(0.1, None) };
        assert!(of(std::slice::from_ref(&adopted)).is_none());
        assert_eq!(of(&[visit(8.0, None), adopted]).map(|estimate| estimate.seconds), Some(8.0));
    }

    #[test]
    fn memory_is_scaled_run_by_run_where_a_stage_measures_it() {
        let run = |peak, memory| Visit {
            memory_peak: peak,
            amounts: Amounts { memory, ..of_work(1.0) },
            ..visit(1.0, None)
        };
        let peak = |runs: &[Visit], memory| {
            let amounts = Amounts { memory, ..of_work(1.0) };
            Estimate::of(runs, ahead(0.1, amounts), |_| 0).expect("it has run").memory_peak
        };
        let runs = [run(1000, Some(50.0)), run(300, Some(10.0))];
        // Per unit the second took more. A part of the shares takes as much as all.
        assert_eq!(peak(&runs, Some(20.0)), 600);
        assert_eq!(peak(&runs, None), 1000);
    }
}
