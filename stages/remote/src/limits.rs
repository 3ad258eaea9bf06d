//! Bounds of what is asked of servers: connections at once, bytes per second, times, attempts.

use pipe_stage::{Error, Result};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

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
    /// Bytes per second that a server has to send at least, on average over [`Limits::speed_time`]; 0 for any.
    pub speed_min: u64,
    /// How long a server may send less than [`Limits::speed_min`] before it is asked again.
    pub speed_time: Duration,
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
            speed_min: 1024,
            speed_time: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Reads `PIPE_REMOTE_CONCURRENCY`, `PIPE_REMOTE_BANDWIDTH` and `PIPE_REMOTE_SPEED_MIN` (bytes per second, with `KiB`,
    /// `MiB` or `GiB`), `PIPE_REMOTE_TIMEOUT` (seconds) and `PIPE_REMOTE_ATTEMPTS`.
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
        read("PIPE_REMOTE_SPEED_MIN", "set it to bytes per second, such as `1KiB`", &mut |limits, text| {
            limits.speed_min = bytes(text)?;
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

    /// Why a server is no longer waited for that sends next to nothing.
    pub(crate) fn too_slow(&self) -> String {
        let Self { speed_min, speed_time, .. } = self;
        format!(
            "the server sent less than {speed_min} bytes a second for {} seconds",
            speed_time.as_secs_f64()
        )
    }
}

/// Finds a server that sends next to nothing, but never stalls. Only the time counts in which bytes are waited for.
pub(crate) struct Speed {
    bytes_min: f64,
    time: Duration,
    waited: Duration,
    bytes: u64,
}

impl Speed {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (time, (waited, bytes)) = (limits.speed_time, Default::default());
        Self { bytes_min: limits.speed_min as f64 * time.as_secs_f64(), time, waited, bytes }
    }

    /// Counts bytes that were waited for, and returns whether they and those before were enough.
    pub(crate) fn suffices(&mut self, waited: Duration, bytes: u64) -> bool {
        (self.waited, self.bytes) = (self.waited + waited, self.bytes + bytes);
        if self.waited < self.time {
            return true;
        }
        // Other times may be longer than the one that counts.
        let is_enough =
            self.bytes as f64 * self.time.as_secs_f64() >= self.bytes_min * self.waited.as_secs_f64();
        (self.waited, self.bytes) = Default::default();
        is_enough
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
    pub(crate) async fn pass(&self, bytes: usize) {
        let Some(bandwidth) = self.bandwidth else { return };
        let wait = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *due = (*due).max(now) + Duration::from_secs_f64(bytes as f64 / bandwidth as f64);
            due.saturating_duration_since(now)
        };
        sleep(wait).await;
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
        assert_eq!(of("PIPE_REMOTE_SPEED_MIN", "2KiB").unwrap().speed_min, 2048);
        assert_eq!(of("PIPE_REMOTE_SPEED_MIN", "0").unwrap().speed_min, 0);
        assert_eq!(of("PIPE_REMOTE_TIMEOUT", "1.5").unwrap().stall, Duration::from_millis(1500));
        for (name, value) in [
            ("PIPE_REMOTE_CONCURRENCY", "0"),
            ("PIPE_REMOTE_BANDWIDTH", "fast"),
            ("PIPE_REMOTE_SPEED_MIN", "slow"),
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
    fn a_drip_does_not_suffice() {
        let second = Duration::from_secs(1);
        let mut speed = Speed::new(&Limits { speed_min: 10, speed_time: 4 * second, ..Limits::default() });
        // Enough, in one piece and in several.
        assert!(speed.suffices(4 * second, 40));
        assert!([1, 0, 39].iter().all(|bytes| speed.suffices(second, *bytes)) && speed.suffices(second, 0));
        assert!((0..3).all(|_| speed.suffices(second, 1)) && !speed.suffices(second, 1));
        // It has another chance.
        assert!((0..4).all(|_| speed.suffices(second, 10)));
        assert!(!speed.suffices(8 * second, 79));
        assert!(Speed::new(&Limits { speed_min: 0, ..Limits::default() }).suffices(99 * second, 0));
    }

    #[test]
    fn bytes_are_spread_over_time() {
        let pacer = Pacer::new(Some(100_000));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let began = Instant::now();
        (0..4).for_each(|_| runtime.block_on(pacer.pass(5000)));
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }
}
