//! Owns: help for the commonest failures of a command line, by the messages of shells and Python.

use super::variables::{self, PATH};
use crate::secrets::looks_secret;
use pipe_stage::Error;

/// A command that failed.
struct Failed<'a> {
    /// `exit status: 127`.
    status: &'a str,
    /// The end of its log.
    lines: Vec<&'a str>,
}

/// Recognises a cause and says what to do.
type Cause = fn(&Failed<'_>) -> Option<String>;

/// The causes; the first that is recognised is the one that is told.
const CAUSES: [Cause; 6] =
    [missing_module, bash_only, unset_variable, not_executable, missing_program, missing_file];

/// Help for a command that failed, by the end of its log.
pub fn help(error: &Error, log: &str) -> Option<String> {
    let Error::Command { status } = error else { return None };
    let failed = Failed { status, lines: log.lines().map(str::trim_end).collect() };
    CAUSES.iter().find_map(|cause| cause(&failed))
}

impl<'a> Failed<'a> {
    /// What the lines that end so are about: the part before, as in `sh: 1: NAME: not found`.
    fn subjects(&self, ending: &str) -> impl Iterator<Item = &'a str> {
        let before = self.lines.iter().filter_map(move |line| line.strip_suffix(ending));
        before.filter_map(|before| before.rsplit(": ").next())
    }

    /// The name that was not found, as far as shells tell.
    fn not_found(&self) -> Option<&'a str> {
        let ended = self.status.contains("127").then(|| self.subjects(": not found"));
        self.subjects(": command not found").chain(ended.into_iter().flatten()).next()
    }
}

/// A command gets another `PATH` than the user has.
const OWN_PATH: &str = "pass your own with `env: [PATH]`, which makes its value part of the key";

fn missing_module(failed: &Failed<'_>) -> Option<String> {
    let is_missing = failed.lines.iter().any(|line| line.contains("ModuleNotFoundError: No module named"));
    is_missing.then(|| {
        format!(
            "commands run with PATH={PATH}, so `python3` is the system's: name the interpreter that has the module, such \
             as `.venv/bin/python`, or {OWN_PATH}"
        )
    })
}

/// Features of bash that a plain `sh` does not know.
fn bash_only(failed: &Failed<'_>) -> Option<String> {
    const BUILTINS: [&str; 10] =
        ["source", "[[", "declare", "let", "mapfile", "popd", "pushd", "readarray", "shopt", "typeset"];
    const MESSAGES: [&str; 4] =
        ["Bad substitution", "bad substitution", "Syntax error: \"(\" unexpected", "redirection unexpected"];
    let instead = match failed.subjects(": not found").find(|name| BUILTINS.contains(name)) {
        Some("source") => "the line runs in `sh`, which has no `source`: write `. ./FILE`".to_owned(),
        Some("[[") => "the line runs in `sh`, which has no `[[`: write `[ … ]` or `case`".to_owned(),
        Some(name) => format!("the line runs in `sh`, which has no `{name}`"),
        None if failed.lines.iter().any(|line| MESSAGES.iter().any(|message| line.ends_with(message))) => {
            "the line runs in `sh`, which lacks arrays, `<(…)`, `${NAME//…}` and other features of bash"
                .to_owned()
        }
        None => return None,
    };
    Some(format!("{instead}; or let bash run it: `bash -euo pipefail -c '…'`"))
}

fn unset_variable(failed: &Failed<'_>) -> Option<String> {
    let name = failed.subjects(": parameter not set").chain(failed.subjects(": unbound variable")).next()?;
    let ports = [(variables::INPUT, "needs"), (variables::OUTPUT, "outputs")];
    if let Some((port, field)) =
        ports.into_iter().find_map(|(prefix, field)| Some((name.strip_prefix(prefix)?, field)))
    {
        return Some(format!("declare `{port}` under `{field}`"));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("a line has no arguments: write values in it, such as `${vars.NAME}`".to_owned());
    }
    Some(if looks_secret(name) {
        format!("the environment of commands is fixed: write `${{secret.{name}}}` to pass the secret")
    } else {
        format!(
            "the environment of commands is fixed: pass your `{name}` with `env: [{name}]`, which makes its value part of \
             the key, or write `$${{{name}:-}}` if it may be unset"
        )
    })
}

fn not_executable(failed: &Failed<'_>) -> Option<String> {
    let program = failed.status.contains("126").then(|| failed.subjects(": Permission denied").next())??;
    Some(format!("make it executable (`chmod +x {program}`), or name its interpreter: `sh {program}`"))
}

fn missing_program(failed: &Failed<'_>) -> Option<String> {
    let name = failed.not_found()?;
    Some(if name.contains('/') {
        format!(
            "`{name}`, or the interpreter in its first line (`#!`), does not exist; commands run in the project root, and \
             names are relative to it"
        )
    } else {
        format!("commands run with PATH={PATH}: name the program by its path, or {OWN_PATH}")
    })
}

/// A file that does not exist; told by the last lines, since a command may go on after such a message.
fn missing_file(failed: &Failed<'_>) -> Option<String> {
    const LAST: usize = 4;
    let last = failed.lines.iter().rev().filter(|line| !line.is_empty()).take(LAST);
    let is_missing =
        last.into_iter().any(|line| line.contains("No such file") || line.ends_with("Directory nonexistent"));
    is_missing.then(|| {
        "commands run in the project root, and names are relative to it; the files of an input `x` are in \
         `$PIPE_INPUT_x`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_shells_are_understood() {
        for (code, log, told) in [
            (127, "/bin/sh: 1: source: not found", "write `. ./FILE`"),
            (127, "sh: [[: not found", "write `[ … ]`"),
            (127, "sh: 1: pushd: not found", "has no `pushd`"),
            (2, "/bin/sh: 1: Syntax error: \"(\" unexpected", "bash -euo pipefail -c"),
            (2, "/bin/sh: 1: Bad substitution", "`${NAME//…}`"),
            (2, "/bin/sh: 3: CORPUS: parameter not set", "`env: [CORPUS]`"),
            (1, "/bin/sh: line 1: CORPUS: unbound variable", "`$${CORPUS:-}`"),
            (2, "sh: 1: HF_TOKEN: parameter not set", "write `${secret.HF_TOKEN}`"),
            (2, "sh: 1: 1: parameter not set", "no arguments"),
            (2, "sh: 1: PIPE_INPUT_a: parameter not set", "declare `a` under `needs`"),
            (126, "/bin/sh: 1: ./tool.sh: Permission denied", "`chmod +x ./tool.sh`"),
            (127, "/bin/sh: 1: tool: not found", "name the program by its path"),
            (127, "/bin/sh: line 1: tool: command not found", "name the program by its path"),
            (127, "/bin/sh: 1: ./tool.sh: not found", "`./tool.sh`, or the interpreter in its first line"),
            (2, "python3: can't open file '/p/a.py': [Errno 2] No such file or directory", "project root"),
            (2, "sh: 0: cannot open a.sh: No such file", "project root"),
            (
                1,
                "cat: a.txt: No such file or directory\nerror: the command ended with exit status: 1",
                "root",
            ),
            (1, "page not found", ""),
            (1, "cat: a: No such file or directory\n1\n2\n3\n4\n", ""),
            (1, "cp: /srv/x: Permission denied", ""),
            (3, "", ""),
        ] {
            let error = Error::Command { status: format!("exit status: {code}") };
            let help = help(&error, log).unwrap_or_default();
            assert!(help.contains(told) && help.is_empty() == told.is_empty(), "{log}: {help}");
        }
    }
}
