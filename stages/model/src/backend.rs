//! Where tensors live.

use burn::prelude::*;
use pipe_stage::{Devices, Misfit, Missing, Probe};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Device to compute on. Results differ between backends in their last bits, so the backend is part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The CPU.
    #[default]
    Cpu,
    /// A GPU through wgpu (Vulkan or Metal). Needs a build with the feature `wgpu`.
    Wgpu,
    /// An NVIDIA GPU through CUDA. Needs a build with the feature `cuda`.
    Cuda,
    /// The best backend of this build and this machine: `cuda`, else `wgpu` on a real GPU, else `cpu`.
    Auto,
}

/// Finds burn's devices.
pub(crate) static PROBE: Probe = Probe { name: "burn", look };

impl Backend {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
            Self::Auto => "auto",
        }
    }

    /// Whether a probe has to be asked.
    pub(crate) fn asks_for_device(self) -> bool {
        self != Self::Cpu
    }

    /// Takes the best for `auto`; refuses what is not there, at the field `backend`.
    pub(crate) fn settle(self, devices: &Devices) -> Result<Self, Misfit> {
        if self == Self::Auto {
            let is_real = |backend: &Self| devices.of(backend.name()).is_some_and(|device| !device.software);
            return Ok([Self::Cuda, Self::Wgpu].into_iter().find(is_real).unwrap_or(Self::Cpu));
        }
        if self == Self::Cpu || devices.of(self.name()).is_some() {
            return Ok(self);
        }
        let missing = devices.missing.get(self.name());
        let reason = missing.map_or("was not found", |missing| missing.reason.as_str());
        let misfit = Misfit::new("backend", reason);
        Err(match missing {
            Some(missing) => misfit.help(missing.help.clone()),
            None => misfit,
        })
    }

    /// The device, without autodiff. A run with `auto` is settled before; what is not in this build was refused.
    pub(crate) fn device(self) -> Device {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::wgpu(Default::default()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::cuda(0),
            _ => Device::flex(),
        }
    }
}

/// Enumerates what this build has and computes a little on each, since a driver that lists a device may still
/// fail to use it.
fn look() -> Devices {
    let mut devices = Devices::default();
    for backend in [Backend::Cuda, Backend::Wgpu, Backend::Cpu] {
        match find(backend) {
            Ok(found) => devices.found.push(found),
            Err(missing) => drop(devices.missing.insert(backend.name().to_owned(), missing)),
        }
    }
    devices
}

fn find(backend: Backend) -> Result<pipe_stage::Device, Missing> {
    let missing = |reason: &str, help: &str| Missing { reason: reason.to_owned(), help: help.to_owned() };
    let (name, software) = match backend {
        #[cfg(feature = "cuda")]
        Backend::Cuda => known(burn::tensor::DeviceType::Cuda).ok_or_else(|| {
            missing(
                "finds no NVIDIA GPU",
                "install the driver, look at CUDA_VISIBLE_DEVICES, or use `backend: cpu`",
            )
        })?,
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => known(burn::tensor::DeviceType::Wgpu).ok_or_else(|| {
            missing(
                "finds no adapter",
                "install a Vulkan driver (Debian: mesa-vulkan-drivers), or use `backend: cpu`",
            )
        })?,
        Backend::Cpu => (pipe_stage::instruction_set().to_owned(), false),
        _ => {
            let name = backend.name();
            let reason = format!("is not in this build, which lacks the feature `{name}`");
            let help = format!("build with `cargo build --release --features {name}`, or use `backend: cpu`");
            return Err(Missing { reason, help });
        }
    };
    let works = || {
        let tensor = Tensor::<1>::from_floats([1.0, 2.0], &backend.device());
        let sum = (tensor.clone() * tensor).sum().try_into_data().ok()?;
        (sum.iter::<f32>().next() == Some(5.0)).then_some(())
    };
    match std::panic::catch_unwind(works) {
        Ok(Some(())) => Ok(pipe_stage::Device { backend: backend.name().to_owned(), name, software }),
        _ => Err(missing("lists a device that cannot compute", "look at its driver, or use `backend: cpu`")),
    }
}

/// Name of the first device of a type, and whether it is software.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn known(kind: burn::tensor::DeviceType) -> Option<(String, bool)> {
    let device = Device::enumerate(kind).into_iter().next()?;
    let name = device.identity().map_or_else(|| format!("{device:?}"), |identity| identity.name);
    let software = ["llvmpipe", "SwiftShader", "lavapipe"].iter().any(|known| name.contains(known));
    Some((name, software))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(found: &[(&str, bool)]) -> Devices {
        let device = |(backend, software): &(&str, bool)| pipe_stage::Device {
            backend: (*backend).to_owned(),
            name: "a device".to_owned(),
            software: *software,
        };
        Devices { found: found.iter().map(device).collect(), ..Devices::default() }
    }

    #[test]
    fn auto_takes_the_best_that_is_no_software() {
        let settled = |found: &[(&str, bool)]| Backend::Auto.settle(&devices(found));
        assert_eq!(settled(&[("cpu", false), ("wgpu", false), ("cuda", false)]), Ok(Backend::Cuda));
        assert_eq!(settled(&[("wgpu", false), ("cpu", false)]), Ok(Backend::Wgpu));
        assert_eq!(settled(&[("wgpu", true), ("cpu", false)]), Ok(Backend::Cpu));
        assert_eq!(settled(&[]), Ok(Backend::Cpu));
    }

    #[test]
    fn what_is_asked_for_by_name_has_to_be_there() {
        assert_eq!(Backend::Wgpu.settle(&devices(&[("wgpu", true)])), Ok(Backend::Wgpu));
        let found = look();
        assert!(found.of("cpu").is_some());
        if cfg!(not(feature = "cuda")) {
            let misfit = Backend::Cuda.settle(&found).unwrap_err();
            assert_eq!(misfit.path, "backend");
            assert!(misfit.message.contains("feature `cuda`") && misfit.help.is_some(), "{misfit:?}");
        }
    }
}
