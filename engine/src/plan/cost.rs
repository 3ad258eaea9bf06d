//! Owns: the cost of a plan: money for hours of cores, GPUs and memory, and disk space compared with what is free.

use crate::{
    machine,
    plan::{planned::Planned, session::Session},
};
use serde::Serialize;

const SECONDS_PER_HOUR: f64 = 3600.0;
const GIB: f64 = (1u64 << 30) as f64;

/// Disk that stages will take, as far as they ran before: what they wrote then, scaled as their estimates are.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Disk {
    /// Bytes that will be written.
    pub needed: u64,
    /// Free bytes; unknown if the system does not report them.
    pub free: Option<u64>,
    /// Number of stages without an estimate.
    pub unknown: usize,
}

impl Disk {
    /// Adds up what the stages of a plan will write.
    pub fn of(session: &Session, planned: &[Planned]) -> Self {
        let open = || planned.iter().filter(|planned| planned.verdict.may_run());
        let known = open().filter_map(|planned| planned.estimate.as_ref());
        Self {
            needed: known.map(|estimate| estimate.written_bytes).fold(0, u64::saturating_add),
            free: machine::disk_free(session.store.root()),
            unknown: open().filter(|planned| planned.estimate.is_none()).count(),
        }
    }

    /// Whether the known estimates exceed the free space.
    pub fn is_too_small(&self) -> bool {
        self.free.is_some_and(|free| self.needed > free)
    }
}

impl Session {
    /// The price of a stage, for the time of earlier runs or in `resources.time`; `None` without prices, or if
    /// neither time is known.
    ///
    /// Cores and memory are those in `resources`. By default, a command has one core and other stages all cores of
    /// this machine, with the memory of earlier runs.
    pub fn price(&self, planned: &Planned) -> Option<f64> {
        let prices = self.manifest.prices.as_ref()?;
        if !planned.verdict.may_run() {
            return Some(0.0);
        }
        let asks = &self.manifest.stages[planned.stage].resources;
        let estimate = planned.estimate.as_ref();
        let declared = asks.time.map(|time| time.duration().as_secs_f64());
        let hours = estimate.map(|estimate| estimate.seconds).or(declared)? / SECONDS_PER_HOUR;
        let config = &self.manifest.stages[planned.stage].config;
        let cpus = asks.cpus.map(|cpus| cpus.get() as usize).or(config.cpus_default);
        let cpus = cpus.unwrap_or_else(machine::cpus) as f64;
        let memory = asks.memory.map(|memory| memory.0).or(estimate.map(|estimate| estimate.memory_peak));
        let memory_gib = memory.unwrap_or(0) as f64 / GIB;
        Some(hours * (cpus * prices.cpu + f64::from(asks.gpus) * prices.gpu + memory_gib * prices.memory_gib))
    }
}
