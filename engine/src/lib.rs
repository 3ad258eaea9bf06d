//! The engine of `pipe`: from a manifest's text to a plan, and from a plan to artifacts and records.
//!
//! The modules stand in the order in which a manifest passes through them. The engine knows no documents, no tokens
//! and no models: it gets a table of stage types from the program that embeds it. It knows no terminal either: it
//! returns values and emits events, and the package `pipe` draws them.

pub mod manifest;

pub mod stage_type;

pub mod graph;

pub mod schema;

pub mod reference;

pub mod project;

pub mod record;

pub mod sources;

pub mod devices;

pub mod plan;

pub mod run;

pub mod lock;

pub mod garbage;

pub mod figures;

pub mod command;
