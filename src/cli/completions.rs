//! `pipe completions`: scripts for shells.

use super::Outcome;
use crate::ui;
use clap_complete::Shell;

/// Arguments of `pipe completions`.
#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut usage: clap::Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut usage, "pipe", &mut script);
        ui::print(&String::from_utf8_lossy(&script));
        Ok(())
    }
}
