//! `pipe check`.

use super::{Command, Outcome, Pipeline, Program, notes};
use crate::ui;
use clap::Parser;
use serde_json::json;

/// Check a manifest and its sources.
#[derive(Parser)]
#[command(name = "check", after_help = "Example: pipe check pipelines/gpt-small.yaml")]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
}

impl Command for Check {
    fn run(self, program: &Program<'_>) -> Outcome {
        let (session, stages, _) = self.pipeline.session(program.types, &[])?;
        session.preview(&stages)?;
        let notes =
            [notes(&session), session.files_unseen(&stages), session.expectations_open(&stages)?].concat();
        if self.pipeline.json {
            ui::print(&ui::json(
                &json!({ "version": 1, "errors": [], "stages": stages.len(), "notes": notes }),
            ));
        } else {
            let stages = ui::counted(stages.len(), "stage");
            ui::print(&format!("`{}` is valid: {stages}", session.manifest.pipeline));
            notes.iter().for_each(|note| ui::say(&format!("note: {note}")));
        }
        Ok(())
    }
}
