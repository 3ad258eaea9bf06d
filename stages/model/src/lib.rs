//! The transformer on burn: pretrain, finetune, eval, export, and writing text with what they made.
//!
//! Invariant: knows nothing of manifests, schedulers or terminals; it sees devices, artifacts and configs.

mod eval;
mod export;
mod finetune;
mod pretrain;

mod backend;
mod checkpoints;
mod kinds;
mod settings;

mod generate;
mod huggingface;
mod safetensors;

mod batches;
mod classification;
mod labels;
mod language;
mod ngram;
mod schedule;
mod scores;
mod train;

mod architecture;
mod kernels;
mod parameters;
mod random;
mod transformer;

pub mod speed;

pub use architecture::{Architecture, EmbeddingScale, Form, Placement};
pub use backend::Backend;
pub use batches::Order;
pub use eval::Eval;
pub use export::Export;
pub use finetune::Finetune;
pub use generate::{Generator, Options};
pub use kernels::{instruction_set, matrix_peak};
pub use kinds::{METRICS, MODEL};
pub use pretrain::{Pretrain, Samples};
pub use schedule::Shape;
pub use settings::{Adam, Architectural, Preset, Validation};
pub use transformer::{CausalLm, Classifier};
