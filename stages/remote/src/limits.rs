//! Bounds of what is asked of servers: connections at once, bytes per second, times, attempts.

use pipe_stage::{Error, Result};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Bounds of what is asked of servers. They affect no result.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Downloads and other requests at once, in this process.
    pub concurrency: usize,
    /// Bytes per second of all downloads of this process.
    pub bandwidth: Option<u64>,
    /// Longest time without a byte, and for a connection.
    pub stall: Duration,
    /// Attempts at a request, and at a download without progress.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles with each.
    pub pause: Duration,
    /// Longest pause, also one that a server asks for.
    pub pause_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 32,
            bandwidth: None,
            stall: Duration::from_secs(60),
            attempts: 8,
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(120),
        }
    }
}

impl Limits {
    /// Reads `PIPE_REMOTE_CONCURRENCY`, `PIPE_REMOTE_BANDWIDTH` (bytes per second, with `KiB`, `MiB` or `GiB`),
    /// `PIPE_REMOTE_TIMEOUT` (seconds) and `PIPE_REMOTE_ATTEMPTS`.
    ///
    /// # Errors
    /// If one has another form.
    pub fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut limits = Self::default();
        let mut read = |name: &str, form: &str, set: &mut dyn FnMut(&mut Self, &str) -> Option<()>| {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(()) };
            set(&mut limits, text.trim())
                .ok_or_else(|| Error::input(format!("the variable `{name}` is `{text}`")).help(form))
        };
        read("PIPE_REMOTE_CONCURRENCY", "set it to a number from 1 to 1024", &mut |limits, text| {
            limits.concurrency = text.parse().ok().filter(|number| (1..=1024).contains(number))?;
            Some(())
        })?;
        read("PIPE_REMOTE_BANDWIDTH", "set it to bytes per second, such as `20MiB`", &mut |limits, text| {
            limits.bandwidth = Some(bytes(text).filter(|bytes| *bytes >= 1024)?);
            Some(())
        })?;
        read("PIPE_REMOTE_TIMEOUT", "set it to seconds, such as `60`", &mut |limits, text| {
            let seconds: f64 = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0)?;
            limits.stall = Duration::try_from_secs_f64(seconds).ok()?;
            Some(())
        })?;
        read("PIPE_REMOTE_ATTEMPTS", "set it to a number from 1 to 100", &mut |limits, text| {
            limits.attempts = text.parse().ok().filter(|number| (1..=100).contains(number))?;
            Some(())
        })?;
        Ok(limits)
    }

    /// The pause after a number of failed attempts, at least the one that the server asks for.
    pub(crate) fn pause_after(&self, failed: u32, asked: Option<Duration>) -> Duration {
        let own = self.pause.saturating_mul(1 << failed.saturating_sub(1).min(16));
        own.max(asked.unwrap_or_default()).min(self.pause_max)
    }
}

fn bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Spreads bytes over time.
pub(crate) struct Pacer {
    bandwidth: Option<u64>,
    /// When what was read so far may have arrived.
    due: Mutex<Instant>,
}

impl Pacer {
    pub(crate) fn new(bandwidth: Option<u64>) -> Self {
        Self { bandwidth, due: Mutex::new(Instant::now()) }
    }

    /// Waits until these bytes may have arrived.
    pub(crate) fn pass(&self, bytes: usize) {
        let Some(bandwidth) = self.bandwidth else { return };
        let wait = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *due = (*due).max(now) + Duration::from_secs_f64(bytes as f64 / bandwidth as f64);
            due.saturating_duration_since(now)
        };
        std::thread::sleep(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_from_variables() {
        let of = |name: &'static str, value: &'static str| {
            Limits::of_variables(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(of("PIPE_REMOTE_CONCURRENCY", "3").unwrap().concurrency, 3);
        assert_eq!(of("PIPE_REMOTE_BANDWIDTH", "2MiB").unwrap().bandwidth, Some(2 << 20));
        assert_eq!(of("PIPE_REMOTE_TIMEOUT", "1.5").unwrap().stall, Duration::from_millis(1500));
        for (name, value) in [
            ("PIPE_REMOTE_CONCURRENCY", "0"),
            ("PIPE_REMOTE_BANDWIDTH", "fast"),
            ("PIPE_REMOTE_TIMEOUT", "-1"),
            ("PIPE_REMOTE_ATTEMPTS", "0"),
        ] {
            let error = of(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_servers_may_ask_for_more() {
        let limits = Limits::default();
        let pause = |failed| limits.pause_after(failed, None).as_millis();
        assert_eq!([1, 2, 3, 30].map(pause), [500, 1000, 2000, 120_000]);
        assert_eq!(limits.pause_after(1, Some(Duration::from_secs(7))).as_secs(), 7);
        assert_eq!(limits.pause_after(1, Some(Duration::from_secs(9999))).as_secs(), 120);
    }

    #[test]
    fn bytes_are_spread_over_time() {
        let pacer = Pacer::new(Some(100_000));
        let began = Instant::now();
        (0..4).for_each(|_| pacer.pass(5000));
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }
}
