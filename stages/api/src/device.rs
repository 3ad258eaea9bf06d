//! Owns: what a probe finds of the parts of a machine that compute, for stages that choose among them.
//!
//! Keys are made before anything runs, and hold the backend that a stage will run on. So whatever leaves it
//! open (`backend: auto`) is settled first, by what a probe found where the stage will run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Looks for devices. The engine calls it in a process of its own, since drivers may crash.
#[derive(Debug)]
pub struct Probe {
    /// Stage types with one probe share what it found.
    pub name: &'static str,
    /// Looks. Slow (a driver may take seconds to start), so the engine remembers the answer by driver.
    pub look: fn() -> Devices,
}

/// What a probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Devices that work, best first.
    pub found: Vec<Device>,
    /// Why there is none of a backend, and what now, by backend.
    pub missing: BTreeMap<String, Missing>,
}

/// A part of the machine that computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `cpu`, `wgpu`, `cuda`.
    pub backend: String,
    /// What its driver calls it.
    pub name: String,
    /// Whether it is the CPU in disguise, such as Mesa's llvmpipe: right, but slow.
    pub software: bool,
}

/// Why there is no device of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `no adapter found`.
    pub reason: String,
    /// What now.
    pub help: String,
}

impl Devices {
    /// The best device of a backend.
    pub fn of(&self, backend: &str) -> Option<&Device> {
        self.found.iter().find(|device| device.backend == backend)
    }
}
