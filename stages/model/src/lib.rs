//! The transformer on burn: pretrain, finetune, eval, export, and writing text with what they made.
//!
//! ```text
//! pretrain.rs, finetune.rs, evaluation/, export.rs   the stages
//! generate.rs                                        writing text with a model
//! known.rs, reported.rs                              what is known before a stage runs: models, names of metrics
//! training/                                          the loop, batches, schedules, checkpoints
//! huggingface/                                       models as folders that stock libraries load
//! transformer/                                       shapes, modules, initial weights, parameters by name
//! kernels/                                           fused operations on the CPU
//! ```
//!
//! Invariant: knows nothing of manifests, schedulers or terminals; it sees devices, artifacts and configs.

mod evaluation;
mod export;
mod finetune;
mod pretrain;

mod backend;
mod jsonl;
mod kinds;
mod known;
mod reported;

mod generate;
mod huggingface;
mod training;
mod transformer;

mod kernels;
mod random;
mod safetensors;
mod scores;

pub mod speed;

pub use backend::Backend;
pub use evaluation::Eval;
pub use export::Export;
pub use finetune::{Finetune, TextUse};
pub use generate::{Generator, Options};
pub use kernels::matrix_peak;
pub use kinds::{METRICS, MODEL};
pub use pipe_stage::instruction_set;
pub use pretrain::{Pretrain, Samples};
pub use training::{AdamW, Interval, LrSchedule, Order, Validation};
pub use transformer::{
    Architecture, ArchitectureOverrides, CausalLm, Classifier, EmbeddingScale, Form, Placement, Preset,
};
