//! The transformer on burn: pretrain, finetune, eval, export.
//!
//! Invariant: knows nothing of manifests, schedulers or terminals; it sees devices, artifacts and configs.

mod kernels;

pub use kernels::{instruction_set, matrix_peak};
