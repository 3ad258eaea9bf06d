//! Tests of the whole program: a manifest and a call in; files, output and an exit code out.
//!
//! Nearly all stages here are commands, so that it holds without the stages of language models too.

mod project;

mod again;
mod archives;

mod looking;

mod outputs;

mod runs;

mod terminal;

mod telling;

mod watching;

mod garbage;

mod ending;

mod scheduling;

mod killed;

mod sharing;

#[cfg(feature = "remote")]
mod remote;

mod damaged;

mod unreadable;

mod surroundings;

mod hostile;

mod commands;

mod inputs;

mod kept;

mod secrets;

mod stopping;

mod matrix;

#[cfg(feature = "data")]
mod account;

#[cfg(feature = "data")]
mod formats;

#[cfg(feature = "data")]
mod checking;

#[cfg(all(feature = "data", feature = "model"))]
mod tiny;

#[cfg(all(feature = "data", feature = "model"))]
mod takedown;

#[cfg(all(feature = "data", feature = "model"))]
mod devices;

#[cfg(all(feature = "data", feature = "model"))]
mod starting;

#[cfg(feature = "serve")]
mod serving;
