//! The result of a device probe, for stages that choose a backend.
//!
//! Keys contain the backend that a stage will run on and are made before anything runs. So `backend: auto` is
//! resolved first, with the devices that a probe found on the machine where the stage will run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Looks for devices. The engine calls it in a separate process, since drivers may crash.
#[derive(Debug)]
pub struct Probe {
    /// Stage types with probes of the same name share one result.
    pub name: &'static str,
    /// Looks for devices. This is slow (a driver may take seconds to start), so the engine caches the result per
    /// driver.
    pub look: fn() -> Devices,
}

/// The result of a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Working devices, best first.
    pub found: Vec<Device>,
    /// For each backend without a device: why, and what to do.
    pub missing: BTreeMap<String, Missing>,
}

/// A device that stages can compute on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `cpu`, `wgpu`, `cuda`.
    pub backend: String,
    /// Its name, as reported by its driver.
    pub name: String,
    /// Whether it is emulated on the CPU, such as Mesa's llvmpipe: correct but slow.
    pub software: bool,
}

/// Why there is no device of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `no adapter found`.
    pub reason: String,
    /// What to run.
    pub help: String,
}

impl Devices {
    /// The best device of a backend.
    pub fn of(&self, backend: &str) -> Option<&Device> {
        self.found.iter().find(|device| device.backend == backend)
    }
}
