//! The arguments that every command on a pipeline has, and the session they open.

use super::{Failure, plan};
use crate::{
    graph::Graph,
    lock::Lock,
    manifest::{Manifest, World, load},
    plan::{FROZEN_HELP, Session, Verdict},
    project::Project,
    record::Record,
    stage_type::StageType,
    ui::Style,
};
use clap::Args;
use pipe_stage::{Digest, Store};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Arguments of every command on a pipeline.
#[derive(Args)]
pub(super) struct Pipeline {
    /// The manifest [default: pipeline.yaml in the current folder].
    pub(super) manifest: PathBuf,
    /// Override a value of the manifest: `stages.base.with.optimizer.lr=1e-3`; repeatable.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) sets: Vec<String>,
    /// Cache folder [default: .pipe in the project root].
    #[arg(long, env = "PIPE_CACHE", value_name = "DIR", value_parser = folder_or_none())]
    pub(super) cache: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Which revisions of sources to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pins {
    /// Those in the lock file.
    Locked,
    /// Those installed on this machine.
    Fresh,
}

impl Pipeline {
    pub(super) fn style(&self) -> Style {
        Style::new(self.json)
    }

    pub(super) fn load(&self, types: &[StageType]) -> Result<Manifest, Failure> {
        let path = self
            .manifest
            .to_str()
            .ok_or_else(|| Failure::Usage("the manifest's path is not UTF-8".to_owned(), None))?;
        let sets: Vec<&str> = self.sets.iter().map(String::as_str).collect();
        Ok(load(path, &sets, &World::machine(), types)?)
    }

    pub(super) fn project(&self) -> Result<Project, Failure> {
        Project::of(&self.manifest, named(self.cache.as_deref()))
            .map_err(|error| Failure::Failed(format!("cannot find the project: {error}"), None))
    }

    /// Loads the manifest and lists the sources of the targets and everything they depend on.
    pub(super) fn session(
        &self,
        types: &'static [StageType],
        targets: &[String],
    ) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        self.session_with(types, targets, Pins::Locked)
    }

    pub(super) fn session_with(
        &self,
        types: &'static [StageType],
        targets: &[String],
        pins: Pins,
    ) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        let manifest = self.load(types)?;
        let targets = manifest.targets(targets.iter().map(String::as_str))?;
        let project = self.project()?;
        // Only a run creates the cache; commands that only read never do.
        let store = Store::peek(&project.cache)?;
        let mut lock = Lock::read(&project.lock())?.unwrap_or_default();
        if pins == Pins::Fresh {
            lock.pins.clear();
        }
        let keeps = frozen(&manifest, &lock, &store)?;
        let stages = Graph::new(&manifest).subset_up_to(&targets, |stage| keeps.contains(&stage));
        let variable = |name: &str| std::env::var(name).ok();
        let session = Session::new(manifest, types, project, store, lock, &stages, &variable)?;
        Ok((session, stages, targets))
    }

    /// Finds the record of a stage that is up to date, and whose outputs are in the cache.
    pub(super) fn held(
        &self,
        types: &'static [StageType],
        stage: &str,
    ) -> Result<(Session, usize, Digest, Record), Failure> {
        self.result(types, stage, Wanted::Outputs)
    }

    /// Finds the record of a stage that is up to date.
    pub(super) fn recorded(
        &self,
        types: &'static [StageType],
        stage: &str,
    ) -> Result<(Session, usize, Digest, Record), Failure> {
        self.result(types, stage, Wanted::Record)
    }

    fn result(
        &self,
        types: &'static [StageType],
        stage: &str,
        wanted: Wanted,
    ) -> Result<(Session, usize, Digest, Record), Failure> {
        let (session, stages, targets) = self.session(types, &[stage.to_owned()])?;
        let &[target] = &targets[..] else {
            let last = targets.last().map_or("", |target| session.name(*target));
            return Err(Failure::Usage(
                format!("`{stage}` matches {} stages", targets.len()),
                Some(format!("choose one of them, such as '{last}'")),
            ));
        };
        let targets = if wanted == Wanted::Outputs { targets.as_slice() } else { &[] };
        let planned = session.plan(&stages, targets)?.into_iter().find(|planned| planned.stage == target);
        let mut planned = planned.expect("invariant: every target is planned");
        let reasons = plan::reasons(&session, &planned).join("; ");
        match (planned.resolved.take(), planned.verdict) {
            (Some(resolved), Verdict::Cached(record)) => Ok((session, target, resolved.key, *record)),
            (_, Verdict::Gone) => Err(Failure::Failed(
                format!("stage `{stage}` has no result: {reasons}"),
                Some(FROZEN_HELP.to_owned()),
            )),
            _ => {
                let earlier = session.project.out().join(&session.manifest.pipeline).join(stage);
                let earlier = match earlier.is_dir() {
                    true => format!("; its earlier result is in {}", earlier.display()),
                    false => String::new(),
                };
                Err(Failure::Failed(
                    format!("stage `{stage}` is out of date: {reasons}"),
                    Some(format!("run it: pipe run {} {stage}{earlier}", self.manifest.display())),
                ))
            }
        }
    }
}

/// What a command needs of a stage that is up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Record,
    Outputs,
}

/// Devices that stages need and this machine lacks. They are an error only when these stages run here.
pub(super) fn notes(session: &Session) -> Vec<String> {
    let note = |(stage, misfit): (usize, &pipe_stage::Misfit)| {
        let help = misfit.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        // The path is empty when the probe itself failed.
        let field = if misfit.path.is_empty() { String::new() } else { format!("`{}` ", misfit.path) };
        format!("stage `{}` cannot run here: {field}{}{help}", session.name(stage), misfit.message)
    };
    session.unsettled().map(note).collect()
}

/// Frozen stages that have a record: stages that only these depend on need not be examined.
fn frozen(manifest: &Manifest, lock: &Lock, store: &Store) -> Result<BTreeSet<usize>, Failure> {
    let mut kept = BTreeSet::new();
    for (index, (name, _)) in manifest.stages.iter().enumerate().filter(|(_, (_, stage))| stage.freeze) {
        if let Some(locked) = lock.stages.get(name.as_str())
            && Record::read(store, &locked.key)?.is_some()
        {
            kept.insert(index);
        }
    }
    Ok(kept)
}

/// The parser of a cache folder. CI systems set variables without a value to the empty text, so that is allowed.
pub(super) fn folder_or_none() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    use clap::builder::TypedValueParser;
    clap::builder::OsStringValueParser::new().map(PathBuf::from)
}

/// A folder, unless its name is empty.
pub(super) fn named(folder: Option<&Path>) -> Option<&Path> {
    folder.filter(|folder| !folder.as_os_str().is_empty())
}
