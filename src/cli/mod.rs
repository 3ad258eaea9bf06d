//! The command line: a table of commands. Each command has a file of its own with its help, its arguments and its code.
//!
//! Results go to stdout, diagnostics to stderr. Exit codes: 0 success, 1 a stage failed or data is damaged, 2 the
//! manifest or the command line has an error, 3 a stage would run (`plan --detailed-exitcode`), 130 interrupted.

mod failure;

mod default_manifest;

mod pipeline;

mod selection;

mod results;

mod folder;

mod init;

mod run;

mod resumes;

mod plan;

mod why;

mod check;

mod graph;

mod get;

mod show;

mod status;

mod logs;

mod history;

mod runs;

mod diff;

mod report;

mod verify;

mod adopt;

mod cache;

mod stages;

mod completions;

mod schema;

mod worker;

pub use crate::ui::{plain, print, print_json, say};
use crate::{
    stage_type::StageType,
    ui::{self, Style, pretty},
};
use clap::{ArgMatches, Parser};
use failure::{Failure, Outcome};
pub use folder::{FolderCommand, StageConfig, Work, arguments};
pub use init::{Ci, Template};
use pipeline::{Pins, Pipeline, notes};
pub use results::{ResultInput, ResultOutput, Results, StageResult};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// The commands, in the order in which help lists them. [`Program::commands`] adds more.
const COMMANDS: &[Row] = &[
    Row::of::<init::Init>(),
    Row::of::<run::RunCommand>(),
    Row::of::<plan::Plan>(),
    Row::of::<why::Why>(),
    Row::of::<check::Check>(),
    Row::of::<graph::Draw>(),
    Row::of::<get::Get>(),
    Row::of::<show::Show>(),
    Row::of::<status::Status>(),
    Row::of::<logs::Logs>(),
    Row::of::<history::History>(),
    Row::of::<runs::RunsCommand>(),
    Row::of::<diff::Diff>(),
    Row::of::<report::Report>(),
    Row::of::<verify::Verify>(),
    Row::of::<adopt::Adopt>(),
    Row::of::<cache::Cache>(),
    Row::of::<stages::Stages>(),
    Row::of::<completions::Completions>(),
    Row::of::<schema::Schema>(),
    Row::of::<completions::Complete>(),
    Row::of::<worker::Watcher>(),
    Row::of::<worker::Worker>(),
];

/// A command: a struct of its arguments, whose doc comment is its help.
trait Command: Parser {
    fn run(self, program: &Program<'_>) -> Outcome;
}

/// A row of the table of commands.
struct Row {
    usage: fn() -> clap::Command,
    run: fn(&ArgMatches, &Program<'_>) -> Outcome,
}

impl Row {
    const fn of<C: Command>() -> Self {
        Self {
            usage: C::command,
            run: |matches, program| {
                C::from_arg_matches(matches)
                    .expect("invariant: the arguments match their own usage")
                    .run(program)
            },
        }
    }
}

/// The parts of a program that the engine does not provide.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// The stage types.
    pub types: &'static [StageType],
    /// Commands on artifacts, besides the built-in commands.
    pub commands: &'a [FolderCommand],
    /// The project that `pipe init` creates.
    pub template: Option<&'a Template>,
}

/// Runs the program with this table of stage types. A `main` need not do anything else.
pub fn main(types: &'static [StageType]) -> ExitCode {
    main_with(Program { types, commands: &[], template: None })
}

/// Runs the program with more than stage types.
pub fn main_with(program: Program<'_>) -> ExitCode {
    pipe_stage::raise_open_files();
    crate::run::signals::survive_file_size_limit();
    let matches = match default_manifest::parse(&usage(&program), std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => return refused(&error),
    };
    know_kinds(program.types);
    ExitCode::from(match run(&program, &matches) {
        Ok(()) => 0,
        Err(failure) => failure.report(Style::new(wants_json(&matches))),
    })
}

/// Runs the command that was given: one of the program's, or one of the table.
fn run(program: &Program<'_>, matches: &ArgMatches) -> Outcome {
    let (name, own) = matches.subcommand().expect("invariant: clap requires a command");
    let (full, below) = match own.subcommand() {
        Some((below, own)) => (format!("{name} {below}"), own),
        None => (name.to_owned(), own),
    };
    if let Some(command) = program.commands.iter().find(|command| command.name == full) {
        return command.run(below, program.types);
    }
    let row = COMMANDS.iter().find(|row| (row.usage)().get_name() == name);
    (row.expect("invariant: clap accepts only known commands").run)(own, program)
}

/// The usage of the whole program.
fn usage(program: &Program<'_>) -> clap::Command {
    let usage = clap::Command::new("pipe")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "A declarative pipeline engine: from raw pages to a trained, evaluated, exported language model",
        )
        .max_term_width(100)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(COMMANDS.iter().map(|row| (row.usage)()))
        .mut_subcommand("init", |init| init.hide(program.template.is_none()));
    let usage = program.commands.iter().fold(usage, |usage, command| match command.name.split_once(' ') {
        None => usage.subcommand(command.command()),
        Some((group, _)) if usage.find_subcommand(group).is_some() => {
            usage.mut_subcommand(group, |group| group.subcommand(command.command()))
        }
        Some((group, _)) => {
            let about = format!("Commands on {group}");
            let group = clap::Command::new(group).about(about).subcommand_required(true);
            usage.subcommand(group.arg_required_else_help(true).subcommand(command.command()))
        }
    });
    // `--temperature -1` is a value that is out of range, not an unknown option.
    usage.mut_subcommands(|command| command.allow_negative_numbers(true))
}

/// Whether the command, or its subcommand, was given `--json`.
fn wants_json(matches: &clap::ArgMatches) -> bool {
    let own = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false);
    own || matches.subcommand().is_some_and(|(_, below)| wants_json(below))
}

/// Prints a usage error, or the help that was asked for.
fn refused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let output = serde_json::json!({ "version": 1, "error": message, "help": "see `pipe --help`" });
        ui::print(&ui::json(&output));
    }
    let (style, text) = (Style::new(false), error.render());
    let is_coloured = if error.use_stderr() { style.terminal } else { style.colour };
    let text = if is_coloured { text.ansi().to_string() } else { text.to_string() };
    let text = default_manifest::as_optional(&text);
    if error.use_stderr() {
        let _ = io::stderr().write_all(text.as_bytes());
    } else {
        ui::print_exactly(&text);
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Registers the kinds of artifacts that commands can take and make.
fn know_kinds(types: &[StageType]) {
    let mut kinds: Vec<&'static pipe_stage::Kind> = vec![&pipe_stage::FILES];
    for port in types.iter().flat_map(|kind| kind.ports) {
        if !kinds.contains(&port.kind) {
            kinds.push(port.kind);
        }
    }
    crate::command::know_kinds(kinds);
}
