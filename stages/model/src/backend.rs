//! Where tensors live.

use burn::prelude::*;
use pipe_stage::Misfit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine's part that computes. Another backend gives other low bits, so it stands in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The CPU, with fused kernels.
    #[default]
    Cpu,
    /// A GPU through wgpu; needs a build with the feature `wgpu`.
    Wgpu,
    /// An NVIDIA GPU; needs a build with the feature `cuda`.
    Cuda,
}

impl Backend {
    /// A fault at `backend` where this build does not have it.
    pub(crate) fn misfit(self) -> Option<Misfit> {
        let feature = match self {
            Self::Wgpu if !cfg!(feature = "wgpu") => "wgpu",
            Self::Cuda if !cfg!(feature = "cuda") => "cuda",
            _ => return None,
        };
        let help = format!("build with `--features {feature}`, or use `cpu`");
        Some(
            Misfit::new("backend", format!("is not in this build: it lacks the feature `{feature}`"))
                .help(help),
        )
    }

    /// The device, without autodiff. A backend that is not in this build falls to the CPU; `misfit` has
    /// refused it before.
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
