//! `pipe adopt`.

use super::{
    Command, Failure, Outcome, Pipeline, Program,
    run::{failure, interrupts},
};
use crate::{
    figures::Figures,
    plan::Verdict,
    run::{self, Options, RunEvent},
    secrets::Secrets,
    ui::{Progress, Stream},
};
use clap::Parser;
use std::path::PathBuf;

/// Record an existing folder as the result of a command.
#[derive(Parser)]
#[command(name = "adopt", after_help = "Example: pipe adopt pipeline.yaml train runs/2026-11-24")]
pub(super) struct Adopt {
    #[command(flatten)]
    pipeline: Pipeline,
    /// The stage, of type `command`.
    stage: String,
    /// The folder with its output. If the stage has several outputs, it contains one folder for each.
    folder: PathBuf,
}

impl Command for Adopt {
    fn run(self, program: &Program<'_>) -> Outcome {
        let name = &self.stage;
        let (mut session, stages, targets) =
            self.pipeline.session(program.types, std::slice::from_ref(name))?;
        let &[stage] = &targets[..] else {
            let help = "name one stage of the matrix";
            return Err(Failure::Usage(
                format!("`{name}` matches {} stages", targets.len()),
                Some(help.to_owned()),
            ));
        };
        if !session.kind(stage).has_own_ports {
            let help = "only results of commands can be adopted; other stages have to run";
            return Err(Failure::Usage(
                format!("stage `{name}` is of type `{}`", session.kind(stage).name),
                Some(help.to_owned()),
            ));
        }
        if session.frozen_at(stage).is_some() {
            let help = "remove `freeze` from the stage first";
            return Err(Failure::Usage(format!("stage `{name}` is frozen"), Some(help.to_owned())));
        }
        if !self.folder.is_dir() {
            return Err(Failure::Usage(format!("there is no folder `{}`", self.folder.display()), None));
        }
        let planned = session.plan(&stages, &[])?;
        let open = planned
            .iter()
            .find(|planned| planned.stage != stage && !matches!(planned.verdict, Verdict::Cached(_)));
        if let Some(open) = open {
            let open = session.name(open.stage);
            return Err(Failure::Failed(
                format!("stage `{name}` depends on `{open}`, which is not up to date"),
                Some(format!("run it first: pipe run {} {open}", self.pipeline.manifest.display())),
            ));
        }
        let folder = std::path::absolute(&self.folder).unwrap_or(self.folder);
        session.forced.insert(stage);
        session.adopted = Some((stage, folder));
        let mut progress = Progress::new(self.pipeline.style());
        let mut stream = Stream::new(Vec::new(), &session.project.root, Secrets::default());
        let mut tell = |event: &RunEvent| {
            stream.tell(event);
            progress.tell(event);
        };
        let ended = run::run(&mut session, &stages, &targets, &Options::default(), &interrupts(), &mut tell);
        let summary = ended.map_err(failure)?;
        let figures = Figures::of(&session.manifest, &summary.done);
        progress.end(&summary, &figures);
        let (failed, interrupted) = (summary.has_failed(), summary.interrupted);
        match summary.broken {
            Some(error) => Err(failure(error)),
            None if failed => Err(Failure::Reported),
            None if interrupted => Err(Failure::Interrupted),
            None => Ok(()),
        }
    }
}
