//! Owns: the command line: its commands, their arguments, and the exit code of each outcome. One file per command.
//!
//! Data goes to stdout, diagnostics to stderr. Exit codes: 0 success, 1 a stage failed or something is damaged,
//! 2 the manifest or the command line is wrong, 3 something would run (`plan --detailed-exitcode`), 130 interrupted.

mod adopt;

mod cache;

mod completions;

mod diff;

mod folder;

mod get;

mod history;

mod init;

mod logs;

mod look;

mod plan;

mod report;

mod selection;

mod run;

mod runs;

mod show;

mod status;

mod verify;

pub use crate::ui::{plain, print, say};
use crate::{
    graph::{self, Drawing, Graph},
    lock::Lock,
    manifest::{Manifest, Report, World, load},
    plan::Session,
    project::Project,
    record::Record,
    stage_type::StageType,
    ui::{self, Style},
};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
pub use folder::{FolderCommand, Work, arguments};
pub use init::{Ci, Template};
use pipe_stage::{Digest, Store};
use std::{collections::BTreeSet, io::Write, path::PathBuf, process::ExitCode};

/// A declarative pipeline engine: from raw pages to a trained, evaluated, exported language model.
#[derive(Parser)]
#[command(name = "pipe", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a new project with a working example pipeline.
    #[command(after_help = "Example: pipe init fables --ci github && cd fables && pipe run pipeline.yaml")]
    Init(init::Init),
    /// Run the stages that are out of date.
    #[command(after_help = "Example: pipe run pipelines/gpt-small.yaml base --set stages.base.with.seed=2")]
    Run(run::RunCommand),
    /// Show which stages would run, why, and at what cost.
    #[command(after_help = "Example: pipe plan pipelines/gpt-small.yaml")]
    Plan(plan::Plan),
    /// Explain why a stage would run, or where its result comes from.
    #[command(after_help = "Example: pipe why pipelines/gpt-small.yaml base")]
    Why(plan::Why),
    /// Check a manifest and its sources.
    #[command(after_help = "Example: pipe check pipelines/gpt-small.yaml")]
    Check(look::Check),
    /// Draw the stages and the artifacts that flow between them.
    #[command(after_help = "Example: pipe graph pipelines/gpt-small.yaml --as mermaid")]
    Graph(look::Draw),
    /// Copy an output of a stage into a folder of ordinary files.
    #[command(after_help = "Example: pipe get pipelines/gpt-small.yaml export model/")]
    Get(get::Get),
    /// Show a stage's record, its metrics, and a preview of its outputs.
    #[command(after_help = "Example: pipe show pipelines/gpt-small.yaml text")]
    Show(show::Show),
    /// Show what is running, whichever terminal started it.
    #[command(after_help = "Example: pipe status pipelines/gpt-small.yaml")]
    Status(status::Status),
    /// Print a stage's log, from the current run or the last one.
    #[command(after_help = "Example: pipe logs -f pipelines/gpt-small.yaml base")]
    Logs(logs::Logs),
    /// List the runs of a pipeline, newest first.
    #[command(after_help = "Example: pipe history pipelines/gpt-small.yaml --limit 5")]
    History(history::History),
    /// List runs, or remove their folders and logs.
    #[command(subcommand, after_help = "Example: pipe runs rm pipelines/gpt-small.yaml last~3")]
    Runs(runs::RunsCommand),
    /// Compare the settings and metrics of two runs.
    #[command(after_help = "Examples:\n  pipe diff pipelines/gpt-small.yaml last~1 last\n  \
                            pipe diff pipelines/gpt-small.yaml lock")]
    Diff(diff::Diff),
    /// Write an HTML report of a run: stages, times, curves, dropped documents, samples.
    #[command(after_help = "Example: pipe report pipelines/gpt-small.yaml -o report.html")]
    Report(report::Report),
    /// Run stages again on their recorded inputs and compare the results.
    #[command(after_help = "Example: pipe verify pipelines/gpt-small.yaml text")]
    Verify(verify::Verify),
    /// Record an existing folder as the result of a command.
    #[command(after_help = "Example: pipe adopt pipeline.yaml train runs/2026-11-24")]
    Adopt(adopt::Adopt),
    /// Inspect and clean up the cache.
    #[command(subcommand, after_help = "Example: pipe cache verify")]
    Cache(cache::Cache),
    /// List the stage types, or describe one.
    #[command(after_help = "Example: pipe stages pretrain")]
    Stages(look::Stages),
    /// Print a shell completion script.
    #[command(
        after_help = "Example: pipe completions bash > ~/.local/share/bash-completion/completions/pipe"
    )]
    Completions(completions::Completions),
    /// Print the JSON Schema of manifests, for editors.
    #[command(after_help = "Example: pipe schema > pipe.schema.json")]
    Schema,
    /// List what may follow on the command line; completion scripts call this.
    #[command(hide = true, name = "__complete")]
    Complete(completions::Complete),
    /// End commands whose engine was killed; the engine starts this.
    #[command(hide = true)]
    Watcher,
    /// Do what a spec says; the engine starts this.
    #[command(hide = true)]
    Worker {
        /// Look for devices with the probe of this name, and nothing else.
        #[arg(long, value_name = "NAME")]
        probe: Option<String>,
        /// The spec's file.
        #[arg(required_unless_present = "probe")]
        spec: Option<PathBuf>,
    },
}

/// Arguments of every command on a pipeline.
#[derive(Args)]
struct Pipeline {
    /// The manifest.
    manifest: PathBuf,
    /// Override a value of the manifest: `stages.base.with.optimizer.lr=1e-3`; repeatable.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Cache folder [default: .pipe in the project root].
    #[arg(long, env = "PIPE_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why a command failed.
enum Failure {
    /// The manifest is wrong.
    Manifest(Box<Report>),
    /// The command line is wrong, with help.
    Call(String, Option<String>),
    /// A stage failed, which has been reported.
    Told,
    /// Something failed.
    Failed(String, Option<String>),
    /// Something would run.
    WouldRun,
    /// It was interrupted.
    Interrupted,
}

type Outcome = Result<(), Failure>;

impl From<crate::plan::PlanError> for Failure {
    fn from(error: crate::plan::PlanError) -> Self {
        match error {
            crate::plan::PlanError::Cache(error) => error.into(),
            crate::plan::PlanError::Journal(error) => error.into(),
        }
    }
}

impl From<crate::plan::UnsettledError> for Failure {
    fn from(error: crate::plan::UnsettledError) -> Self {
        match error {
            crate::plan::UnsettledError::Plan(error) => error.into(),
            crate::plan::UnsettledError::Refused(report) => Self::Manifest(report),
        }
    }
}

impl From<crate::record::JournalError> for Failure {
    fn from(error: crate::record::JournalError) -> Self {
        Self::Call(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<Box<Report>> for Failure {
    fn from(report: Box<Report>) -> Self {
        Self::Manifest(report)
    }
}

impl From<pipe_cache::Error> for Failure {
    fn from(error: pipe_cache::Error) -> Self {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Failed(format!("{error}{}", source.unwrap_or_default()), None)
    }
}

impl From<crate::run::seen::EventsError> for Failure {
    fn from(error: crate::run::seen::EventsError) -> Self {
        Self::Call(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<crate::run::folder::RunFolderError> for Failure {
    fn from(error: crate::run::folder::RunFolderError) -> Self {
        Self::Call(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<crate::lock::LockError> for Failure {
    fn from(error: crate::lock::LockError) -> Self {
        Self::Call(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<pipe_stage::Error> for Failure {
    fn from(error: pipe_stage::Error) -> Self {
        let help = match &error {
            pipe_stage::Error::Input { help, .. } => help.clone(),
            pipe_stage::Error::DiskFull { .. } => {
                Some("free some disk space and run again; finished work is kept".to_owned())
            }
            pipe_stage::Error::Damaged { .. } | pipe_stage::Error::Missing { .. } => Some(
                "`pipe cache verify --repair` removes damaged entries; `pipe run` recomputes them".to_owned(),
            ),
            _ => None,
        };
        Self::Failed(error.to_string(), help)
    }
}

/// What a program is made of, besides the engine.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// The stage types.
    pub types: &'static [StageType],
    /// More commands than the engine's own.
    pub commands: &'a [FolderCommand],
    /// The project that `pipe init` creates.
    pub template: Option<&'a Template>,
}

/// Runs the program with this table of stage types: the whole of a `main`.
pub fn main(types: &'static [StageType]) -> ExitCode {
    main_with(Program { types, commands: &[], template: None })
}

/// The same, with more than stage types.
pub fn main_with(program: Program<'_>) -> ExitCode {
    pipe_stage::raise_open_files();
    let Program { types, commands: more, template } = program;
    // Rust ignores SIGPIPE; a closed stdout is met where we print.
    let parsed = complete_usage(program).try_get_matches().and_then(|matches| {
        let (name, own) = matches.subcommand().expect("invariant: clap asks for a command");
        // Of a group, what stands below it.
        let (name, own) = match own.subcommand() {
            Some((below, own)) => (format!("{name} {below}"), own),
            None => (name.to_owned(), own),
        };
        match more.iter().find(|command| command.name == name) {
            Some(command) => Ok(Said::More(command, own.clone())),
            None => Cli::from_arg_matches(&matches).map(|cli| Said::Own(cli, wants_json(&matches))),
        }
    });
    let (cli, json) = match parsed {
        Ok(Said::Own(cli, json)) => (cli, json),
        Ok(Said::More(command, arguments)) => {
            know_kinds(types);
            let style = Style::new(wants_json(&arguments));
            return exit(command.run(&arguments, types), style);
        }
        Err(error) => return refused(&error),
    };
    know_kinds(types);
    let outcome = match cli.command {
        Command::Worker { probe: Some(name), .. } => {
            return ExitCode::from(crate::run::worker::probe(&name, types));
        }
        Command::Worker { spec, .. } => {
            return ExitCode::from(crate::run::worker::worker(&spec.unwrap_or_default(), types));
        }
        Command::Watcher => {
            crate::run::watcher::watch();
            Ok(())
        }
        Command::Init(command) => command.run(template),
        Command::Run(command) => command.run(types),
        Command::Plan(command) => command.run(types),
        Command::Why(command) => command.run(types),
        Command::Check(command) => command.run(types),
        Command::Graph(command) => command.run(types),
        Command::Get(command) => command.run(types),
        Command::Show(command) => command.run(types),
        Command::Status(command) => command.run(types),
        Command::Logs(command) => command.run(types),
        Command::History(command) => command.run(types),
        Command::Runs(command) => command.run(types),
        Command::Diff(command) => command.run(types),
        Command::Report(command) => command.run(types),
        Command::Verify(command) => command.run(types),
        Command::Adopt(command) => command.run(types),
        Command::Cache(command) => command.run(),
        Command::Completions(command) => command.run(complete_usage(program)),
        Command::Complete(command) => command.run(&complete_usage(program), types),
        Command::Stages(command) => command.run(types),
        Command::Schema => {
            ui::print(&pretty(&crate::schema::manifest(types)));
            Ok(())
        }
    };
    exit(outcome, Style::new(json))
}

/// All that can be said on the command line.
fn complete_usage(program: Program<'_>) -> clap::Command {
    let usage = Cli::command().mut_subcommand("init", |init| init.hide(program.template.is_none()));
    let usage = program.commands.iter().fold(usage, |usage, command| match command.name.split_once(' ') {
        None => usage.subcommand(command.command()),
        Some((group, _)) if usage.find_subcommand(group).is_some() => {
            usage.mut_subcommand(group, |group| group.subcommand(command.command()))
        }
        Some((group, _)) => {
            let about = format!("Commands on {}", group);
            let group = clap::Command::new(group).about(about).subcommand_required(true);
            usage.subcommand(group.arg_required_else_help(true).subcommand(command.command()))
        }
    });
    // `--temperature -1` is a value that is out of range, not an option.
    usage.mut_subcommands(|command| command.allow_negative_numbers(true))
}

/// What was said on the command line.
enum Said<'a> {
    Own(Cli, bool),
    More(&'a FolderCommand, clap::ArgMatches),
}

fn exit(outcome: Outcome, style: Style) -> ExitCode {
    ExitCode::from(match outcome {
        Ok(()) => 0,
        Err(failure) => tell(failure, style),
    })
}

/// Tells a failure on stderr, and says which exit code it has: the one place that decides.
fn tell(failure: Failure, style: Style) -> u8 {
    let say = |message: &str, help: Option<&str>| {
        if style.json {
            ui::print(&ui::json(&serde_json::json!({ "version": 1, "error": message, "help": help })));
        }
        ui::say(&format!("error: {message}"));
        if let Some(help) = help {
            ui::say(&format!("help: {help}"));
        }
    };
    match failure {
        Failure::Manifest(report) => {
            if style.json {
                ui::print(&ui::json(&report.to_json()));
            }
            let colour = if style.terminal { ui::Colour::Ansi } else { ui::Colour::Plain };
            // Texts of the manifest are escaped where errors are made; the colours are ours.
            let text = ui::faults(&report, colour, ui::columns().min(100));
            let _ = std::io::stderr().write_all(text.as_bytes());
            2
        }
        Failure::Call(message, help) => {
            say(&message, help.as_deref());
            2
        }
        Failure::Failed(message, help) => {
            say(&message, help.as_deref());
            1
        }
        Failure::Told => 1,
        Failure::WouldRun => 3,
        Failure::Interrupted => 130,
    }
}

/// Whether JSON is asked for, by the command or one below it.
fn wants_json(matches: &clap::ArgMatches) -> bool {
    let own = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false);
    own || matches.subcommand().is_some_and(|(_, below)| wants_json(below))
}

/// Reports a command line that cannot be read, or the help that was asked for.
fn refused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let told = serde_json::json!({ "version": 1, "error": message, "help": "see `pipe --help`" });
        ui::print(&ui::json(&told));
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn know_kinds(types: &[StageType]) {
    let mut kinds: Vec<&'static pipe_stage::Kind> = vec![&pipe_stage::FILES];
    for port in types.iter().flat_map(|kind| kind.ports) {
        if !kinds.contains(&port.kind) {
            kinds.push(port.kind);
        }
    }
    crate::command::know_kinds(kinds);
}

/// Which revisions of sources hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pins {
    /// Those of the lock file.
    Locked,
    /// Those that are here.
    Fresh,
}

impl Pipeline {
    fn style(&self) -> Style {
        Style::new(self.json)
    }

    fn load(&self, types: &[StageType]) -> Result<Manifest, Failure> {
        let path = self
            .manifest
            .to_str()
            .ok_or_else(|| Failure::Call("the manifest's path is not UTF-8".to_owned(), None))?;
        let sets: Vec<&str> = self.sets.iter().map(String::as_str).collect();
        Ok(load(path, &sets, &World::machine(), types)?)
    }

    fn project(&self) -> Result<Project, Failure> {
        Project::of(&self.manifest, self.cache.as_deref())
            .map_err(|error| Failure::Failed(format!("cannot find the project: {error}"), None))
    }

    /// Loads the manifest and lists the sources of the targets and everything they depend on.
    fn session(
        &self,
        types: &'static [StageType],
        targets: &[String],
    ) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        self.session_with(types, targets, Pins::Locked)
    }

    fn session_with(
        &self,
        types: &'static [StageType],
        targets: &[String],
        pins: Pins,
    ) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        let manifest = self.load(types)?;
        let targets = manifest.targets(targets.iter().map(String::as_str))?;
        let project = self.project()?;
        // A cache is made by the first run, and by nothing that only looks.
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

    /// Finds a stage's record: of what the manifest says now, so it must be up to date.
    fn recorded(
        &self,
        types: &'static [StageType],
        stage: &str,
    ) -> Result<(Session, usize, Digest, Record), Failure> {
        let (session, stages, targets) = self.session(types, &[stage.to_owned()])?;
        let &[target] = &targets[..] else {
            let last = targets.last().map_or("", |target| session.name(*target));
            return Err(Failure::Call(
                format!("`{stage}` matches {} stages", targets.len()),
                Some(format!("choose one of them, such as '{last}'")),
            ));
        };
        let planned = session.plan(&stages, &[])?.into_iter().find(|planned| planned.stage == target);
        let planned = planned.expect("invariant: a target is planned");
        match (planned.resolved, planned.verdict) {
            (Some(resolved), crate::plan::Verdict::Cached(record)) => {
                Ok((session, target, resolved.key, *record))
            }
            _ => Err(Failure::Failed(
                format!("stage `{stage}` is out of date, so it has no current result"),
                Some(format!("run it: pipe run {} {stage}", self.manifest.display())),
            )),
        }
    }
}

/// What stages ask for that this machine lacks; no error until they run here.
fn notes(session: &Session) -> Vec<String> {
    let note = |(stage, misfit): (usize, &pipe_stage::Misfit)| {
        let help = misfit.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        // Without a field where no probe could say.
        let field = if misfit.path.is_empty() { String::new() } else { format!("`{}` ", misfit.path) };
        format!("stage `{}` cannot run here: {field}{}{help}", session.name(stage), misfit.message)
    };
    session.unsettled().map(note).collect()
}

/// Frozen stages whose record is there: what only they need is not looked at for a target.
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

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("invariant: what is shown is plain data")
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum As {
    Text,
    Mermaid,
    Dot,
}

impl From<As> for Drawing {
    fn from(from: As) -> Self {
        match from {
            As::Text => Self::Text,
            As::Mermaid => Self::Mermaid,
            As::Dot => Self::Dot,
        }
    }
}

fn draw(session: &Manifest, types: &[StageType], stages: &[usize], drawing: Drawing) -> String {
    graph::draw(drawing, &Graph::new(session), session, types, stages)
}
