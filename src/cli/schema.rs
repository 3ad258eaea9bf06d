//! `pipe schema`.

use super::{Command, Outcome, Program, pretty};
use crate::{schema, ui};
use clap::Parser;

/// Print the JSON Schema of manifests, for editors.
#[derive(Parser)]
#[command(name = "schema", after_help = "Example: pipe schema > pipe.schema.json")]
pub(super) struct Schema {}

impl Command for Schema {
    fn run(self, program: &Program<'_>) -> Outcome {
        ui::print(&pretty(&schema::manifest(program.types)));
        Ok(())
    }
}
