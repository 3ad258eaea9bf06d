//! Owns: which manifest a command takes if its command line names none: `pipeline.yaml` in the current folder.
//!
//! The manifest comes first, and stages or runs after it. The first word is a manifest if it is a file or is written as
//! a path (`x.yaml`, `a/b`); otherwise it is already a stage or a run, whose names can be neither.

use clap::{ArgMatches, error::ErrorKind};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The manifest of a command that is given none.
pub(super) const DEFAULT: &str = "pipeline.yaml";

/// Parses a command line, whose first word is the program.
pub(super) fn parse(
    usage: &clap::Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parse = |arguments: &[OsString]| usage.clone().try_get_matches_from(arguments);
    let given = parse(&arguments);
    let is_open =
        given.as_ref().map_or_else(|error| error.kind() == ErrorKind::MissingRequiredArgument, |_| true);
    let Some(command) = Some(usage).filter(|_| is_open).and_then(|usage| named(usage, &arguments)) else {
        return given;
    };
    if command.names_manifest(&arguments) {
        return given;
    }
    if Path::new(DEFAULT).is_file() {
        let mut completed = arguments.clone();
        completed.insert(command.words, DEFAULT.into());
        return parse(&completed);
    }
    given.map_err(|error| match command.first(&arguments) {
        Some(_) => error,
        None => {
            let message = format!("no MANIFEST is named, and there is no `{DEFAULT}` in this folder\n\nName one, or create a project with `pipe init DIR`.\n");
            clap::Error::raw(ErrorKind::MissingRequiredArgument, message).with_cmd(&command.usage)
        }
    })
}

/// Brackets the manifest in help and usage errors as optional: to clap it is required, since the default is added
/// before.
pub(super) fn as_optional(text: &str) -> String {
    ["MANIFEST", "MANIFEST|FOLDER"]
        .iter()
        .fold(text.to_owned(), |text, name| text.replace(&format!("<{name}>"), &format!("[{name}]")))
}

/// A command on a pipeline.
struct PipelineCommand {
    usage: clap::Command,
    /// Words of the command line before its arguments: the program, the command, its subcommand.
    words: usize,
    /// Its first argument.
    first: &'static str,
}

/// Whether the first word of a command is a manifest.
pub(super) fn is_manifest(first: &Path) -> bool {
    let has_folders = first.components().count() > 1;
    let is_yaml = first.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    has_folders || is_yaml || first.is_file()
}

/// Finds the command that a command line names, if its first argument is a manifest.
fn named(usage: &clap::Command, arguments: &[OsString]) -> Option<PipelineCommand> {
    let mut command = usage;
    let mut words = 1;
    while command.has_subcommands() {
        command = command.find_subcommand(arguments.get(words)?)?;
        words += 1;
    }
    let has = |name: &&str| command.get_arguments().any(|argument| argument.get_id() == *name);
    // The second is for commands that take a folder as well.
    let first = ["manifest", "from"].into_iter().find(has)?;
    // Its own usage has the name of the whole command.
    let names: Vec<_> = arguments[1..words].iter().map(|word| word.to_string_lossy()).collect();
    let usage = command.clone().bin_name(format!("pipe {}", names.join(" ")));
    Some(PipelineCommand { usage, words, first })
}

impl PipelineCommand {
    /// The first argument as given, whatever else is wrong.
    fn first(&self, arguments: &[OsString]) -> Option<PathBuf> {
        let lenient = self.usage.clone().no_binary_name(true).ignore_errors(true);
        let matches = lenient.try_get_matches_from(&arguments[self.words..]).ok()?;
        matches.get_one(self.first).cloned()
    }

    /// Whether the first argument is a manifest, or a folder for a command that takes one.
    fn names_manifest(&self, arguments: &[OsString]) -> bool {
        self.first(arguments)
            .is_some_and(|first| is_manifest(&first) || (self.first == "from" && first.is_dir()))
    }
}
