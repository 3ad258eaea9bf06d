//! Fused operations of the transformer. Each is one function over burn tensors that runs a hand-written CPU
//! kernel where the tensors live on flex, and burn's own operations on every other backend.
//!
//! Owns: all `unsafe` code of this package, SIMD dispatch, the bridge into burn's autodiff.
//! Knows nothing of models, optimizers' schedules or data.
//!
//! Every kernel keeps three promises, each with a test: its gradients agree with the plain form, a NaN in an
//! input reaches the output, and the bits do not depend on the number of threads (work is cut by shape alone).

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod dropout;
pub(crate) mod embedding;
pub(crate) mod gelu;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod norm;
pub(crate) mod rope;
pub(crate) mod swiglu;

mod array;
mod blocks;
mod fused;
mod matmul;
mod simd;

pub use matmul::matrix_peak;

#[cfg(test)]
mod check;
