//! `pipe stages`.

use super::{Command, Failure, Outcome, Program, pretty};
use crate::{reference, ui};
use clap::Parser;

/// On narrower terminals, lines are longer than the terminal is wide.
const WIDTH_MIN: usize = 30;

/// List the stage types, or describe one.
#[derive(Parser)]
#[command(name = "stages", after_help = "Example: pipe stages pretrain")]
pub(super) struct Stages {
    /// The stage type to describe [default: list all].
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Command for Stages {
    fn run(self, program: &Program<'_>) -> Outcome {
        let columns = ui::room().map_or(reference::WIDTH, |room| room.clamp(WIDTH_MIN, reference::WIDTH));
        let Some(name) = self.name else {
            let text = if self.json {
                pretty(&program.types.iter().map(reference::json).collect::<Vec<_>>())
            } else {
                reference::overview(program.types, columns)
            };
            ui::print(&text);
            return Ok(());
        };
        let Some(kind) = program.types.iter().find(|kind| kind.name == name) else {
            let known: Vec<&str> = program.types.iter().map(|kind| kind.name).collect();
            return Err(Failure::Usage(
                format!("no stage type `{name}`"),
                Some(format!("known types: {}", known.join(", "))),
            ));
        };
        ui::print(&if self.json { pretty(&reference::json(kind)) } else { reference::text(kind, columns) });
        Ok(())
    }
}
