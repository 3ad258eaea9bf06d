//! The engine of `pipe`: from a manifest's text to a plan, and from a plan to artifacts and records.
//!
//! A module uses only modules above it in this list; the same holds within `manifest`, `plan` and `run`. The engine
//! knows no documents, no tokens and no models: it gets a table of stage types from the program that embeds it. It
//! knows no terminal either: it returns values and emits events, and the package `pipe` draws them.

#![expect(
    clippy::result_large_err,
    reason = "a fault holds all that a diagnostic shows, and ends what it is told by"
)]

pub mod warning;

pub mod record;

pub mod machine;

pub mod usage;

pub(crate) mod tree;

pub(crate) mod secrets;

pub mod project;

pub mod lock;

pub mod sources;

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
