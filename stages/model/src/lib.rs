//! The transformer on burn: pretrain, finetune, eval, export.
//!
//! Invariant: knows nothing of manifests, schedulers or terminals; it sees devices, artifacts and configs.

mod batches;
mod kernels;
mod language;
mod parameters;
mod random;
mod safetensors;
mod schedule;
mod train;
mod transformer;

pub mod speed;

pub use batches::Order;
pub use kernels::{instruction_set, matrix_peak};
pub use schedule::Shape;
pub use transformer::{Architecture, CausalLm, Classifier};
