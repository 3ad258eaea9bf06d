//! Owns: selecting the runs of a pipeline, by `last~1`, an id, or a prefix of one.

use super::{Command, Failure, Outcome, Pipeline, Program, pretty};
use crate::{
    expiry,
    manifest::Manifest,
    run::{
        folder::{RunFolder, RunState},
        seen::Seen,
    },
    stage_type::StageType,
    ui::{self, Cell, Narrow},
    warning::Warning,
};
use clap::Parser;
use pipe_stage::Store;
use serde_json::json;
use std::collections::BTreeMap;

/// List runs, or remove their folders and logs.
#[derive(Parser)]
#[command(name = "runs", after_help = "Example: pipe runs rm pipelines/gpt-small.yaml last~3")]
pub(super) enum RunsCommand {
    /// List the runs of a pipeline, newest first; `pipe history` also shows their metrics.
    Ls(List),
    /// Remove the folders of runs, including their logs. Results stay in the cache.
    Rm(Remove),
}

/// Arguments of `pipe runs ls`.
#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
}

/// Arguments of `pipe runs rm`.
#[derive(clap::Args)]
pub(super) struct Remove {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// The runs: their ids or prefixes of them, `last`, `last~1`.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
}

impl Command for RunsCommand {
    fn run(self, program: &Program<'_>) -> Outcome {
        match self {
            Self::Ls(list) => list.run(program.types),
            Self::Rm(remove) => remove.run(program.types),
        }
    }
}

impl List {
    fn run(self, types: &[StageType]) -> Outcome {
        let runs = self.pipeline.runs(types)?;
        let mut rows = Vec::new();
        for run in runs.all.iter().rev() {
            rows.push((run, run.state(&runs.store)?));
        }
        if self.pipeline.json {
            let row = |(run, state): &(&RunFolder, RunState)| json!({ "run": run.id, "began": run.head.began, "state": state, "pinned": run.is_pinned() });
            ui::print(&pretty(&json!({ "version": 1, "runs": rows.iter().map(row).collect::<Vec<_>>() })));
            return Ok(());
        }
        let row = |(run, state): &(&RunFolder, RunState)| {
            let pinned = if run.is_pinned() { "pinned" } else { "" };
            [run.id.as_str(), &run.head.began, state.as_str(), pinned]
                .map(|text| Cell::Text(text.to_owned()))
                .into()
        };
        ui::print(&ui::table(
            &["run", "began", "state", ""],
            rows.iter().map(row).collect(),
            Narrow::without(&["began"]),
        ));
        Ok(())
    }
}

impl Remove {
    fn run(self, types: &[StageType]) -> Outcome {
        let runs = self.pipeline.runs(types)?;
        // All are found before the first is removed, so that `last~1` keeps its meaning.
        let mut chosen: BTreeMap<&str, &RunFolder> = BTreeMap::new();
        for said in &self.runs {
            let run = runs.find(said)?;
            chosen.insert(&run.id, run);
        }
        for run in chosen.values() {
            if run.state(&runs.store)? == RunState::Running {
                let help = "stop it first; `pipe status` shows where it runs".to_owned();
                return Err(Failure::Usage(format!("run {} is still active", run.id), Some(help)));
            }
            if run.is_pinned() {
                let help = format!("unpin it first: pipe cache unpin {}", run.id);
                return Err(Failure::Usage(format!("run {} is pinned", run.id), Some(help)));
            }
        }
        for run in chosen.values() {
            expiry::remove_run(&runs.store, run)?;
        }
        if self.pipeline.json {
            let ids: Vec<&&str> = chosen.keys().collect();
            ui::print(&pretty(&json!({ "version": 1, "removed": ids })));
        } else {
            chosen.keys().for_each(|id| ui::print(&format!("removed {id}\n")));
        }
        Ok(())
    }
}

/// The runs of a pipeline.
pub(super) struct Runs {
    /// The cache.
    pub(super) store: Store,
    /// Oldest first.
    pub(super) all: Vec<RunFolder>,
    /// The manifest; none if it has errors, which must not prevent a look at earlier runs.
    pub(super) manifest: Option<Manifest>,
    /// The manifest as given, for messages.
    named: String,
}

impl Pipeline {
    /// Finds the runs of this pipeline. Only the name of the pipeline is needed from the manifest.
    pub(super) fn runs(&self, types: &[StageType]) -> Result<Runs, Failure> {
        let project = self.project()?;
        let loaded = self.load(types);
        let named = self.manifest.display().to_string();
        if !project.cache.is_dir() {
            loaded?;
            return Err(no_runs(&named));
        }
        let path = std::path::absolute(&self.manifest).unwrap_or_default();
        let name = loaded.as_ref().ok().map(|manifest| manifest.pipeline.as_str());
        let mut all = RunFolder::all(&project.cache)?;
        all.retain(|run| Some(run.head.pipeline.as_str()) == name || run.head.manifest == path);
        if all.is_empty() {
            loaded?;
            return Err(no_runs(&named));
        }
        Ok(Runs { store: Store::open(&project.cache)?, all, manifest: loaded.ok(), named })
    }
}

fn no_runs(named: &str) -> Failure {
    let help = format!("run it: pipe run {named}; runs in which every stage is cached are not recorded");
    Failure::Failed(format!("no recorded run of `{named}` in the cache"), Some(help))
}

impl Runs {
    /// Finds a run by its id, a prefix of it, `last` or `last~1`.
    pub(super) fn find(&self, said: &str) -> Result<&RunFolder, Failure> {
        pick(&self.all, said).map_err(|message| self.unknown(said, message))
    }

    fn unknown(&self, said: &str, message: String) -> Failure {
        Failure::Usage(
            format!("no run `{said}`: {message}"),
            Some(format!(
                "`pipe history {}` lists the runs; `last~1` is the one before the last",
                self.named
            )),
        )
    }
}

/// Reads what a run told. Warns of lines that cannot be read.
pub(super) fn seen(run: &RunFolder) -> Result<Seen, Failure> {
    let seen = Seen::read(&run.events())?;
    if seen.damaged > 0 {
        ui::warn(&Warning {
            message: format!(
                "{} of `{}` cannot be read and are not shown",
                ui::counted(usize::try_from(seen.damaged).unwrap_or(usize::MAX), "line"),
                run.events().display()
            ),
            help: "the disk may have been full; results are not affected".to_owned(),
        });
    }
    Ok(seen)
}

/// Finds a run by its id, a prefix of it, `last` or `last~1`, in a list with the oldest first.
pub(super) fn pick<'a>(runs: &'a [RunFolder], said: &str) -> Result<&'a RunFolder, String> {
    if let Some(back) = said.strip_prefix("last") {
        let back =
            if back.is_empty() { Some(0) } else { back.strip_prefix('~').and_then(|n| n.parse().ok()) };
        if let Some(back) = back {
            let run = runs.iter().rev().nth(back);
            return run.ok_or_else(|| format!("there are only {}", ui::counted(runs.len(), "recorded run")));
        }
    }
    if let Some(run) = runs.iter().find(|run| run.id == said) {
        return Ok(run);
    }
    let fits = |run: &&RunFolder| !said.is_empty() && run.id.starts_with(said);
    let fitting: Vec<&RunFolder> = runs.iter().filter(fits).collect();
    match fitting[..] {
        [] => Err("no run id begins with it".to_owned()),
        [run] => Ok(run),
        [first, .., last] => {
            Err(format!("{} run ids begin with it, from {} to {}", fitting.len(), first.id, last.id))
        }
    }
}
