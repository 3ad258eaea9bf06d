//! Commands on an artifact, which the packages of the field add: `pipe serve`, `pipe generate`.
//!
//! The engine finds the artifact, in the cache or in a folder, and knows nothing of what is done with it.

use super::{Failure, Outcome, Pipeline, get};
use crate::{
    command::{kind, lay_out},
    record::read_artifact,
    stage_type::StageType,
};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use pipe_stage::{Digest, Error, LocalEntry};
use std::path::{Path, PathBuf};

/// A row of the table of commands on artifacts. `main.rs` makes the table.
pub struct FolderCommand {
    /// What is typed; of a command in a group, `GROUP NAME`.
    pub name: &'static str,
    /// The kind of artifact it takes.
    pub kind: &'static str,
    /// Adds help and arguments of its own.
    pub arguments: fn(Command) -> Command,
    /// The output to use where the command line names only a stage; `None` means its main output.
    pub port: fn(&ArgMatches) -> Option<&'static str>,
    /// Does it.
    pub run: Work,
}

/// What a command works on.
pub enum Work {
    /// A folder of ordinary files: that of a user, or one that is filled from the cache.
    Folder(fn(&Path, &ArgMatches) -> pipe_stage::Result<()>),
    /// Entries of an artifact in the cache.
    Entries(fn(&[LocalEntry], &ArgMatches) -> pipe_stage::Result<()>),
}

impl FolderCommand {
    pub(super) fn command(&self) -> Command {
        let from = Arg::new("from")
            .value_name(match &self.run {
                Work::Folder(_) => "MANIFEST|FOLDER",
                Work::Entries(_) => "MANIFEST",
            })
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help(match &self.run {
                Work::Folder(_) => {
                    format!(
                        "A manifest whose stage STAGE made the {0}, or a folder that contains a {0}",
                        self.kind
                    )
                }
                Work::Entries(_) => "The manifest".to_owned(),
            });
        let stage = Arg::new("stage")
            .value_name("STAGE[.PORT]")
            .help(format!("The stage that made the {}", self.kind));
        let sets = Arg::new("set")
            .long("set")
            .value_name("PATH=VALUE")
            .action(ArgAction::Append)
            .help("Override a value of the manifest: `stages.base.with.seed=2`; repeatable");
        let cache = Arg::new("cache")
            .long("cache")
            .env("PIPE_CACHE")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Cache folder [default: .pipe in the project root]");
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON");
        let name = self.name.rsplit(' ').next().unwrap_or(self.name);
        (self.arguments)(Command::new(name)).arg(from.index(1)).arg(stage.index(2)).args([sets, cache, json])
    }

    pub(super) fn run(&self, matches: &ArgMatches, types: &'static [StageType]) -> Outcome {
        let from: &PathBuf = matches.get_one("from").expect("invariant: a required argument");
        let stage: Option<&String> = matches.get_one("stage");
        if let (true, Work::Folder(run)) = (from.is_dir(), &self.run) {
            if let Some(stage) = stage {
                let help =
                    format!("give the manifest instead: pipe {} pipelines/NAME.yaml {stage}", self.name);
                let message = format!("`{}` is a folder, so it has no stage `{stage}`", from.display());
                return Err(Failure::Call(message, Some(help)));
            }
            return Ok(run(from, matches)?);
        }
        let pipeline = Pipeline {
            manifest: from.clone(),
            sets: matches.get_many("set").into_iter().flatten().cloned().collect(),
            cache: matches.get_one("cache").cloned(),
            json: matches.get_flag("json"),
        };
        let Some(stage) = stage else { return Err(self.no_stage(&pipeline, types)) };
        let (name, port) = get::split(stage);
        let (session, target, _, record) = pipeline.recorded(types, name)?;
        let port = port.or_else(|| (self.port)(matches));
        let port = port.map_or_else(|| get::main_port(&session, target), |port| Ok(port.to_owned()))?;
        let digest: Digest = get::output(&record, name, &port)?;
        let artifact = read_artifact(&session.store, &digest).ok_or(Error::Missing { digest })?;
        if artifact.kind != self.kind {
            let message = format!("`{name}.{port}` is of kind {}, not {}", artifact.kind, self.kind);
            return Err(Failure::Call(message, None));
        }
        let entries: Vec<LocalEntry> =
            artifact.entries.iter().map(|entry| LocalEntry::new(&session.store, entry)).collect();
        match &self.run {
            Work::Entries(run) => Ok(run(&entries, matches)?),
            Work::Folder(run) => {
                let scratch = session.store.scratch()?;
                lay_out(&entries, kind(&artifact.kind), scratch.path())?;
                Ok(run(scratch.path(), matches)?)
            }
        }
    }

    /// Says which stages could be meant.
    fn no_stage(&self, pipeline: &Pipeline, types: &'static [StageType]) -> Failure {
        let manifest = match pipeline.load(types) {
            Ok(manifest) => manifest,
            Err(failure) => return failure,
        };
        let makes = |stage: &crate::manifest::ManifestStage| {
            stage.config.ports.main_output().is_some_and(|output| output.kind == self.kind)
        };
        let fitting = manifest.stages.iter().filter(|(_, stage)| makes(stage));
        let names: Vec<&str> = fitting.map(|(name, _)| name.as_str()).collect();
        let message = format!("name the stage whose {} to use", self.kind);
        let help = match &names[..] {
            [] => format!("no stage of `{}` produces a {}", pipeline.manifest.display(), self.kind),
            [.., last] => format!(
                "stages that produce one: {}; for example: pipe {} {} {last}",
                names.join(", "),
                self.name,
                pipeline.manifest.display()
            ),
        };
        Failure::Call(message, Some(help))
    }
}

/// Reads arguments that [`FolderCommand::arguments`] declared with `A::augment_args`.
///
/// The match is one of these arguments, so this cannot fail but by a bug.
pub fn arguments<A: Args + FromArgMatches>(matches: &ArgMatches) -> A {
    A::from_arg_matches(matches).expect("invariant: these arguments were declared")
}
