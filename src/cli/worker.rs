//! The commands that the engine starts itself: `pipe worker` and `pipe watcher`. Help does not list them.

use super::{Command, Failure, Outcome, Program};
use crate::run::{watcher, worker};
use clap::Parser;
use std::path::PathBuf;

/// Run the stage that a spec file describes; the engine starts this.
#[derive(Parser)]
#[command(name = "worker", hide = true)]
pub(super) struct Worker {
    /// Only run the device probe of this name.
    #[arg(long, value_name = "NAME")]
    probe: Option<String>,
    /// The spec file.
    #[arg(required_unless_present = "probe")]
    spec: Option<PathBuf>,
}

/// End commands whose engine was killed; the engine starts this.
#[derive(Parser)]
#[command(name = "watcher", hide = true)]
pub(super) struct Watcher {}

impl Command for Worker {
    fn run(self, program: &Program<'_>) -> Outcome {
        Err(Failure::Worker(match &self.probe {
            Some(name) => worker::probe(name, program.types),
            None => worker::worker(&self.spec.unwrap_or_default(), program.types),
        }))
    }
}

impl Command for Watcher {
    fn run(self, _: &Program<'_>) -> Outcome {
        watcher::watch();
        Ok(())
    }
}
