//! The engine of `pipe`: turns a manifest into a plan, and a plan into artifacts and records.
//!
//! A module uses only modules above it in this list; the same applies within `manifest`, `plan` and `run`. The engine
//! knows no documents, tokens or models: it gets a table of stage types from the program that embeds it. It knows no
//! terminal either: it returns values and emits events, and the package `pipe` displays them.

#![expect(
    clippy::result_large_err,
    reason = "an error contains everything that its diagnostic shows, and is returned only once"
)]

pub mod warning;

pub mod record;

pub mod machine;

pub mod usage;

pub mod tree;

pub mod secrets;

pub mod project;

pub mod lock;

pub mod sources;

pub(crate) mod remotes;

pub mod devices;

pub mod manifest;

pub use manifest::stage_type;

pub mod graph;

pub(crate) mod known;

pub mod schema;

pub mod reference;

pub mod command;

pub mod figures;

pub mod garbage;

pub mod plan;

pub mod run;

pub mod expiry;

pub mod roots;

pub mod purge;
