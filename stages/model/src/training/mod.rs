//! Training: the loop over steps, what it trains on, and what it leaves behind.
//!
//! Knows nothing of stages: configs and ports are those of `pretrain` and `finetune`.

mod batches;
mod checkpoints;
mod classification;
mod labels;
mod language;
mod reduce;
mod run;
mod schedule;
mod settings;
mod state;
mod stream;

pub use batches::Order;
pub use schedule::LrSchedule;
pub use settings::{AdamW, Interval, Validation};

pub(crate) use batches::{Batch, Windows};
pub(crate) use checkpoints::{Ending, Folder, RATES, Rates};
pub(crate) use classification::{Classification, Examples, ExamplesWriter};
pub(crate) use labels::{LabelRule, noted_cluster};
pub(crate) use language::{LanguageModelling, Sampler};
pub(crate) use run::{Loss, Objective, Recipe, Speed, Watcher, train};
pub(crate) use schedule::LearningRate;
pub(crate) use settings::Loop;
pub(crate) use state::{Build, HISTORY_BYTES_PER_STEP, LOSS, Point, Sample, State};
pub(crate) use stream::{TokenFile, TokenWriter, flat_stream};
