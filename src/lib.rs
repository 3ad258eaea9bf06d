//! The command line of `pipe`, for the program `pipe` and for programs with their own stage types.
//!
//! The engine is the package `pipe-engine`, whose modules are re-exported here, so a program with its own stage types
//! needs only this package and `pipe-stage`.

pub use pipe_engine::{
    command, devices, expiry, figures, garbage, graph, lock, machine, manifest, plan, project, purge, record,
    reference, roots, run, schema, secrets, sources, stage_type, warning,
};

pub mod ui;

pub mod cli;
