//! Owns: variables of a command: which of the user's it gets, and which folders of inputs and outputs its line uses.

use super::quotes::Parts;
use std::collections::BTreeSet;

/// Fixed for commands, unless they request the user's own.
const FIXED: [&str; 2] = ["PATH", "HOME"];

/// The `PATH` of commands, unless `env` or the command line names `PATH`. The user's `PATH` differs between machines
/// and terminals, and would affect results without being part of a key.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names of the variables that a command gets: those under `env`, and `PATH` and `HOME` if its line names them.
pub(super) fn passed<'a>(env: &'a [String], line: &str) -> BTreeSet<&'a str> {
    let named = FIXED.into_iter().filter(|name| names(line, name) || (*name == "HOME" && has_tilde(line)));
    env.iter().map(String::as_str).chain(named).collect()
}

/// Whether a line contains `$NAME` or `${NAME`.
fn names(line: &str, name: &str) -> bool {
    line.split('$').skip(1).any(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        split_name(rest).0 == name
    })
}

/// Whether a word of a line is `~` or begins with `~/`.
fn has_tilde(line: &str) -> bool {
    let words = line.split(|letter: char| letter.is_whitespace() || "=:;|&<>()`".contains(letter));
    words.into_iter().any(|word| word == "~" || word.starts_with("~/"))
}

/// Prefix of the variables that hold the folders of inputs.
pub(super) const INPUT: &str = "PIPE_INPUT_";
/// Prefix of the variables that hold the folders of outputs.
pub(super) const OUTPUT: &str = "PIPE_OUTPUT_";

/// Names of the ports whose folders a line uses: `$PIPE_OUTPUT_x` and `${PIPE_OUTPUT_x}` where a shell expands them, but
/// not `${PIPE_OUTPUT_x:-…}` and the like, which allow the variable to be unset, nor a variable that the line itself may
/// set, since its name is also there without a `$`.
pub(super) fn ports(line: &str, prefix: &str) -> BTreeSet<String> {
    let parts = Parts::of(line);
    let mut names = BTreeSet::new();
    for text in [&parts.expanded, &parts.code] {
        for (at, _) in text.match_indices(prefix) {
            let (name, after) = split_name(&text[at + prefix.len()..]);
            let before = &text[..at];
            let is_used = if before.ends_with("${") {
                after.starts_with(['}', '%', '#'])
            } else {
                before.ends_with('$') && !before.ends_with("\\$")
            };
            if is_used && !name.is_empty() && !is_set(line, &format!("{prefix}{name}")) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Whether a line has a name without a `$`, as in `NAME=…`, `read NAME` and `for NAME in …`.
fn is_set(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let is_whole = split_name(&line[at..]).0 == name;
        is_whole && !line[..at].ends_with(is_of_name) && !line[..at].ends_with(['$', '{', '#', '!'])
    })
}

/// Splits the name of a variable from what follows it.
fn split_name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter| !is_of_name(letter)).unwrap_or(text.len()))
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
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

    #[test]
    fn ports_are_seen_where_a_shell_expands_them() {
        let used = |line: &str| ports(line, INPUT).into_iter().collect::<Vec<_>>().join(" ");
        for (line, seen) in [
            ("cat $PIPE_INPUT_a/x \"${PIPE_INPUT_b}\" ${PIPE_INPUT_c##*/}", "a b c"),
            ("bash -c 'cat $PIPE_INPUT_a'", "a"),
            ("awk '{ print $PIPE_INPUT_a }'; echo \\$PIPE_INPUT_b # $PIPE_INPUT_c", ""),
            ("cat ${PIPE_INPUT_a:-x} ${PIPE_INPUT_b+y} $PIPE_OUTPUT_c", ""),
            ("PIPE_INPUT_a=x; cat $PIPE_INPUT_a $PIPE_INPUT_ab", "ab"),
            ("for PIPE_INPUT_a in 1; do read -r PIPE_INPUT_b; echo $PIPE_INPUT_a $PIPE_INPUT_b; done", ""),
        ] {
            assert_eq!(used(line), seen, "{line}");
        }
    }
}
