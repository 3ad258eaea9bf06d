//! Transformers: their shapes, the modules that compute, initial weights, and parameters by name.
//!
//! ```text
//! architecture ◄── preset
//!      ▲
//!    model ◄── init        parameters reads and changes any module
//! ```

mod architecture;
mod init;
mod model;
mod parameters;
mod preset;

pub use architecture::{Architecture, EmbeddingScale, Form, Placement};
pub use model::{CausalLm, Classifier};
pub use preset::{ArchitectureOverrides, Preset};

pub(crate) use init::{Start, fresh};
pub(crate) use model::{Ids, Noise};
pub(crate) use parameters::{
    Moments, Named, Weights, global_norm, sum, take_fitting, take_gradients, tensors, update, weights,
};

#[cfg(test)]
pub(crate) use architecture::tests::{tiny, variants};
