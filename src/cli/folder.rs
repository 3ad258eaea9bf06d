//! Commands on artifacts and on whole pipelines, which the packages for data and models add: `pipe serve`, `pipe generate`,
//! `pipe data trace`.
//!
//! The engine finds the artifacts, in the cache or in a folder, and does not know what the command does with them.

use super::{Failure, Outcome, Pipeline, Results, get};
use crate::{
    command::{kind, lay_out},
    record::read_artifact,
    stage_type::StageType,
};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use pipe_stage::{Digest, Error, LocalEntry, Store};
use std::path::{Path, PathBuf};

/// A row of the table of commands on artifacts. `main.rs` defines the table.
pub struct FolderCommand {
    /// The command's name; in a group, `GROUP NAME`.
    pub name: &'static str,
    /// The kind of artifact that it takes.
    pub kind: &'static str,
    /// Adds its help and arguments. A command on [`Work::Results`] or [`Work::Change`] may have positional ones from index 2,
    /// behind the manifest.
    pub arguments: fn(Command) -> Command,
    /// The output to use if the command line names only a stage; `None` means the main output.
    pub port: fn(&ArgMatches) -> Option<&'static str>,
    /// Runs it.
    pub run: Work,
}

/// Input of a command.
pub enum Work {
    /// A folder of ordinary files: a given folder, or one that is filled from the cache.
    Folder(fn(&Path, &ArgMatches) -> pipe_stage::Result<()>),
    /// Entries of an artifact in the cache.
    Entries(fn(&[LocalEntry], &ArgMatches) -> pipe_stage::Result<()>),
    /// A stage whose result is up to date, with those before it: its position in the results, and the output if one is
    /// named. [`FolderCommand::port`] is not used.
    Stage(fn(&Results, usize, Option<&str>, &ArgMatches) -> pipe_stage::Result<()>),
    /// A cache; the command takes no manifest.
    Cache(fn(&Store, &ArgMatches) -> pipe_stage::Result<()>),
    /// A change of files that a manifest names, then the results of all stages of the pipeline. The change gets the root
    /// of the project and the stages, whose sources need not exist yet.
    Change {
        /// Changes the files.
        change: fn(&Path, &[StageConfig], &ArgMatches) -> pipe_stage::Result<()>,
        /// Tells what follows.
        tell: fn(&Results, &ArgMatches) -> pipe_stage::Result<()>,
    },
    /// The results of all stages of a pipeline. The command's own arguments follow the manifest.
    Results(fn(&Results, &ArgMatches) -> pipe_stage::Result<()>),
}

/// A stage as its manifest has it.
pub struct StageConfig {
    /// Name of the stage.
    pub name: String,
    /// Its type.
    pub uses: &'static str,
    /// All fields of its config.
    pub config: serde_json::Value,
}

impl FolderCommand {
    pub(super) fn command(&self) -> Command {
        let from = Arg::new("from")
            .value_name(match &self.run {
                Work::Folder(_) => "MANIFEST|FOLDER",
                _ => "MANIFEST",
            })
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help(match &self.run {
                Work::Folder(_) => format!(
                    "A manifest with the stage STAGE [default: pipeline.yaml in the current folder], or a folder \
                     that contains a {}",
                    self.kind
                ),
                _ => {
                    "The manifest [default: pipeline.yaml in the current folder]".to_owned()
                }
            });
        let stage = Arg::new("stage")
            .value_name("STAGE[.PORT]")
            .help(format!("The stage that produced the {}", self.kind));
        let sets = Arg::new("set")
            .long("set")
            .value_name("PATH=VALUE")
            .action(ArgAction::Append)
            .help("Override a value of the manifest: `stages.base.with.seed=2`; repeatable");
        let cache = Arg::new("cache")
            .long("cache")
            .env("PIPE_CACHE")
            .value_name("DIR")
            .value_parser(super::pipeline::folder_or_none())
            .help("Cache folder [default: .pipe in the project root]");
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON");
        let name = self.name.rsplit(' ').next().unwrap_or(self.name);
        if let Work::Cache(_) = &self.run {
            return (self.arguments)(Command::new(name)).args([cache, json]);
        }
        let command = Command::new(name).arg(from.index(1));
        let command = match &self.run {
            Work::Results(_) | Work::Change { .. } => command,
            _ => command.arg(stage.index(2)),
        };
        (self.arguments)(command).args([sets, cache, json])
    }

    pub(super) fn run(&self, matches: &ArgMatches, types: &'static [StageType]) -> Outcome {
        if let Work::Cache(run) = &self.run {
            let cache = matches.get_one::<PathBuf>("cache").cloned();
            let store = super::cache::Place { cache, json: matches.get_flag("json") }.open()?;
            return Ok(run(&store, matches)?);
        }
        let from: &PathBuf = matches.get_one("from").expect("invariant: a required argument");
        let stage: Option<&String> = match &self.run {
            Work::Results(_) | Work::Change { .. } => None,
            _ => matches.get_one("stage"),
        };
        if let (true, Work::Folder(run)) = (from.is_dir(), &self.run) {
            if let Some(stage) = stage {
                let help =
                    format!("give the manifest instead: pipe {} pipelines/NAME.yaml {stage}", self.name);
                let message = format!("`{}` is a folder, so it has no stage `{stage}`", from.display());
                return Err(Failure::Usage(message, Some(help)));
            }
            return Ok(run(from, matches)?);
        }
        let pipeline = Pipeline {
            manifest: from.clone(),
            sets: matches.get_many("set").into_iter().flatten().cloned().collect(),
            cache: matches.get_one("cache").cloned(),
            json: matches.get_flag("json"),
        };
        if let Work::Change { change, tell } = &self.run {
            let manifest = pipeline.load(types)?;
            let stage =
                |(name, stage): (&crate::manifest::StageName, &crate::manifest::ManifestStage)| StageConfig {
                    name: name.as_str().to_owned(),
                    uses: types[stage.uses].name,
                    config: stage.config.json.clone(),
                };
            let stages: Vec<StageConfig> = manifest.stages.iter().map(stage).collect();
            change(&pipeline.project()?.root, &stages, matches)?;
            return Ok(tell(&Results::of(&pipeline, types, &[])?, matches)?);
        }
        if let Work::Results(run) = &self.run {
            return Ok(run(&Results::of(&pipeline, types, &[])?, matches)?);
        }
        let Some(stage) = stage else { return Err(self.no_stage(&pipeline, types)) };
        let (name, port) = get::split(stage);
        if let Work::Stage(run) = &self.run {
            let (session, target, ..) = pipeline.recorded(types, name)?;
            let results = Results::of(&pipeline, types, &[name.to_owned()])?;
            let stage =
                results.stage(session.name(target)).expect("invariant: a target is among its results");
            return Ok(run(&results, stage, port, matches)?);
        }
        let (session, target, _, record) = pipeline.held(types, name)?;
        let port = port.or_else(|| (self.port)(matches));
        let port = port.map_or_else(|| get::main_port(&session, target), |port| Ok(port.to_owned()))?;
        let digest: Digest = get::output(&record, name, &port)?;
        let artifact = read_artifact(&session.store, &digest).ok_or(Error::Missing { digest })?;
        if artifact.kind != self.kind {
            let message = format!("`{name}.{port}` is of kind {}, not {}", artifact.kind, self.kind);
            return Err(Failure::Usage(message, None));
        }
        let entries: Vec<LocalEntry> =
            artifact.entries.iter().map(|entry| LocalEntry::new(&session.store, entry)).collect();
        match &self.run {
            Work::Entries(run) => Ok(run(&entries, matches)?),
            // Answered above.
            Work::Cache(_) | Work::Stage(_) | Work::Change { .. } | Work::Results(_) => Ok(()),
            Work::Folder(run) => {
                let scratch = session.store.scratch()?;
                lay_out(&entries, kind(&artifact.kind), scratch.path())?;
                Ok(run(scratch.path(), matches)?)
            }
        }
    }

    /// Lists the stages that could be meant.
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
        Failure::Usage(message, Some(help))
    }
}

/// Returns the arguments that [`FolderCommand::arguments`] declared with `A::augment_args`.
///
/// `matches` contains these arguments, so this cannot fail.
pub fn arguments<A: Args + FromArgMatches>(matches: &ArgMatches) -> A {
    A::from_arg_matches(matches).expect("invariant: these arguments were declared")
}
