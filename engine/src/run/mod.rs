//! Owns: plan to events. The scheduler decides what starts when; workers do the work; callers display the events.
//! Nothing here writes to a terminal.

pub mod event;

pub mod options;

pub mod spec;

pub mod pause;

mod log;

pub mod folder;

pub mod seen;

pub mod watcher;

mod executor;

mod grants;

mod local;

mod workers;

pub mod signals;

mod narrate;

pub mod worker;

mod record;

mod links;

mod states;

mod scheduler;

pub use event::{Row, RowOutcome, RunEvent};
pub use options::{OnFailure, Options, RunError, Summary};
pub use scheduler::run;
