//! The account of documents: `pipe data stats`, `sample`, `trace`, `batch`, `remove`, and `pipe cache purge`.
//!
//! ```text
//! find.rs      where documents are: in which shards and rows, found without reading texts
//! stream.rs    where they are in the stream of tokens that a model is trained on
//! training.rs  which documents each step of a training reads
//! way.rs       the way of one document through the stages
//! ```

mod find;

mod stream;

mod training;

mod way;

pub(crate) mod trace;

pub(crate) mod batch;

pub(crate) mod sample;

pub(crate) mod stats;

pub(crate) mod remove;

pub(crate) mod purge;
