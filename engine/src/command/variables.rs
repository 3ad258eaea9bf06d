//! Owns: which of the user's environment variables a command gets, and which must not be recorded.

use std::collections::BTreeSet;

/// Fixed for commands, unless they request the user's own.
const FIXED: [&str; 2] = ["PATH", "HOME"];

/// Names of the variables that a command gets: those under `env`, and `PATH` and `HOME` if its line names them.
pub(super) fn passed<'a>(env: &'a [String], line: &str) -> BTreeSet<&'a str> {
    let named = FIXED.into_iter().filter(|name| names(line, name) || (*name == "HOME" && has_tilde(line)));
    env.iter().map(String::as_str).chain(named).collect()
}

/// Whether a line contains `$NAME` or `${NAME`.
fn names(line: &str, name: &str) -> bool {
    line.split('$').skip(1).any(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix(name).is_some_and(|rest| {
            !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
        })
    })
}

/// Whether a word of a line is `~` or begins with `~/`.
fn has_tilde(line: &str) -> bool {
    let words = line.split(|letter: char| letter.is_whitespace() || "=:;|&<>()`".contains(letter));
    words.into_iter().any(|word| word == "~" || word.starts_with("~/"))
}

/// The outputs whose folders a line uses: `$PIPE_OUTPUT_x` and `${PIPE_OUTPUT_x}`, but not `${PIPE_OUTPUT_x:-…}` and the
/// like, which allow the variable to be unset.
pub(super) fn outputs(line: &str) -> BTreeSet<&str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut names = BTreeSet::new();
    for opening in ["$PIPE_OUTPUT_", "${PIPE_OUTPUT_"] {
        for (at, _) in line.match_indices(opening) {
            let is_escaped = line[..at].ends_with('\\');
            let rest = &line[at + opening.len()..];
            let (name, after) = rest.split_at(rest.find(|letter| !is_name(letter)).unwrap_or(rest.len()));
            let is_whole = opening.ends_with("$PIPE_OUTPUT_") || after.starts_with(['}', '%', '#']);
            if is_whole && !is_escaped && !name.is_empty() {
                names.insert(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_names_them_gets_the_users_own() {
        let passed = |line: &str| passed(&[], line).into_iter().collect::<Vec<_>>().join(" ");
        for (line, seen) in [
            ("echo $HOME", "HOME"),
            ("echo \"${HOME}/n\"", "HOME"),
            ("cat ~/.netrc", "HOME"),
            ("PATH=$PWD/bin:$PATH tool", "PATH"),
            ("echo $HOMER a~ ~user $PATHS", ""),
        ] {
            assert_eq!(passed(line), seen, "{line}");
        }
    }
}
