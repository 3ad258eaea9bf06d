//! The command line of `pipe`, for the program of that name and for others with stage types of their own.
//!
//! The engine is the package `pipe-engine`, whose modules are here too: a program with stages of its own needs this
//! package and `pipe-stage` only.

pub use pipe_engine::{
    command, devices, expiry, figures, garbage, graph, lock, machine, manifest, plan, project, record,
    reference, roots, run, schema, sources, stage_type, warning,
};

pub mod ui;

pub mod cli;
