//! `pipe completions`: shell scripts, and the values that only the program knows: stages, types and runs.

use super::{
    Command, Outcome, Pipeline, Program,
    default_manifest::{DEFAULT, is_manifest},
    usage,
};
use crate::{run::folder::RunFolder, stage_type::StageType, ui};
use clap::Parser;
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// Print a shell completion script.
#[derive(Parser)]
#[command(
    name = "completions",
    after_help = "Example: pipe completions bash > ~/.local/share/bash-completion/completions/pipe"
)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// List possible values for the last word; completion scripts call this.
#[derive(Parser)]
#[command(name = "__complete", hide = true)]
pub(super) struct Complete {
    /// The words after `pipe`; the last one is to be completed.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Asks the program first; otherwise completes subcommands, options and files.
const BASH: &str = r#"
_pipe_values() {
    local current="${COMP_WORDS[COMP_CWORD]}" values=""
    if [[ "$current" != -* ]]; then
        values=$(pipe __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    fi
    if [[ -n "$values" ]]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
    else
        _pipe "$@"
    fi
}
complete -F _pipe_values -o nosort -o bashdefault -o default pipe 2>/dev/null ||
    complete -F _pipe_values -o bashdefault -o default pipe
"#;

const ZSH: &str = r#"
_pipe_values() {
    local -a values
    values=(${(f)"$(pipe __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#values )); then compadd -a values; else _pipe "$@"; fi
}
compdef _pipe_values pipe
"#;

const FISH: &str = r#"
complete -c pipe -a '(pipe __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"#;

impl Command for Completions {
    fn run(self, program: &Program<'_>) -> Outcome {
        let (mut usage, mut script) = (usage(program), Vec::new());
        clap_complete::generate(self.shell, &mut usage, "pipe", &mut script);
        let values = match self.shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
            _ => "",
        };
        ui::print_exactly(&(String::from_utf8_lossy(&script).into_owned() + values));
        Ok(())
    }
}

impl Command for Complete {
    fn run(self, program: &Program<'_>) -> Outcome {
        let current = self.words.last().map_or("", String::as_str);
        let mut values = values(&usage(program), &self.words, program.types);
        values.retain(|value| value.starts_with(current));
        if !values.is_empty() {
            ui::print(&values.join("\n"));
        }
        Ok(())
    }
}

/// The possible values of the last word; empty if the shell completes it itself.
fn values(usage: &clap::Command, words: &[String], types: &'static [StageType]) -> Vec<String> {
    let Some(Asked { argument, may_be_manifest, manifest, cache }) = asked(usage, words) else {
        return Vec::new();
    };
    let pipeline = || Pipeline { manifest, sets: Vec::new(), cache: cache.map(PathBuf::from), json: false };
    let mut values = match &*argument {
        "name" => types.iter().map(|kind| kind.name.to_owned()).collect(),
        "targets" | "stages" | "stage" | "what" | "force" | "downstream" | "metrics_of" => {
            stages(&pipeline(), types)
        }
        "run" | "before" | "after" => runs(&pipeline(), types),
        _ => Vec::new(),
    };
    if may_be_manifest && !values.is_empty() {
        values.extend(manifests());
    }
    values
}

/// The argument that the last word belongs to, and relevant values before it.
struct Asked {
    argument: String,
    /// Whether it may be a manifest as well, in the place of the argument.
    may_be_manifest: bool,
    manifest: PathBuf,
    cache: Option<String>,
}

fn asked(usage: &clap::Command, words: &[String]) -> Option<Asked> {
    let (mut command, mut place, mut pending) = (usage, 0, None);
    let (mut manifest, mut cache) = (None, None);
    let (_, before) = words.split_last()?;
    for word in before {
        if let Some(option) = pending.take() {
            if option == "cache" {
                cache = Some(word.clone());
            }
        } else if let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) {
            let is_named = |argument: &&clap::Arg| match flag.strip_prefix('-') {
                Some(long) => argument.get_long() == Some(long),
                None => argument.get_short().is_some_and(|short| flag == short.to_string()),
            };
            let argument = command.get_arguments().find(is_named);
            pending = argument.filter(|argument| argument.get_action().takes_values()).map(id);
        } else if let Some(below) = command.find_subcommand(word).filter(|_| place == 0 && manifest.is_none())
        {
            command = below;
        } else {
            if place == 0 && (is_manifest(Path::new(word)) || !has_default(command)) {
                manifest = Some(PathBuf::from(word));
            } else if place == 0 {
                place += 1; // the default is the manifest
            }
            place += 1;
        }
    }
    let may_be_manifest = pending.is_none() && place == 0 && has_default(command);
    let argument = pending.or_else(|| positional(command, place + usize::from(may_be_manifest)))?;
    Some(Asked { argument, may_be_manifest, manifest: manifest.unwrap_or_else(|| DEFAULT.into()), cache })
}

/// Whether a command may be called without its manifest here.
fn has_default(command: &clap::Command) -> bool {
    let first = positional(command, 0);
    matches!(first.as_deref(), Some("manifest" | "from")) && Path::new(DEFAULT).is_file()
}

/// Manifests in the current folder.
fn manifests() -> Vec<String> {
    let entries = std::fs::read_dir(".").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".yaml") || name.ends_with(".yml")).collect();
    names.sort();
    names
}

/// The name of an argument by its position; the last one may take several words.
fn positional(command: &clap::Command, place: usize) -> Option<String> {
    let all: Vec<&clap::Arg> = command.get_positionals().collect();
    let last = all.last().filter(|last| matches!(last.get_action(), clap::ArgAction::Append));
    all.get(place).or(last).map(|argument| id(argument))
}

fn id(argument: &clap::Arg) -> String {
    argument.get_id().to_string()
}

/// Names of stages; a matrix by its name only, since brackets need quotes.
fn stages(pipeline: &Pipeline, types: &'static [StageType]) -> Vec<String> {
    let Ok(manifest) = pipeline.load(types) else { return Vec::new() };
    let families = manifest.families.iter().map(|family| family.name.clone());
    let single =
        manifest.stages.keys().map(|name| name.as_str().to_owned()).filter(|name| !name.contains('['));
    single.chain(families).collect()
}

/// Ids of runs, newest first, after the words for the last ones.
fn runs(pipeline: &Pipeline, types: &'static [StageType]) -> Vec<String> {
    const RUNS_MAX: usize = 50;
    let Ok(runs) = pipeline.runs(types) else { return Vec::new() };
    let ids = runs.all.iter().rev().take(RUNS_MAX).map(|run: &RunFolder| run.id.clone());
    ["last".to_owned(), "last~1".to_owned()].into_iter().chain(ids).collect()
}
