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

/// Whether a variable contains a secret, judging by its name.
pub(super) fn looks_secret(name: &str) -> bool {
    const SECRET: [&str; 9] = [
        "TOKEN",
        "SECRET",
        "SECRETS",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "CREDENTIAL",
        "CREDENTIALS",
        "APIKEY",
    ];
    const PUBLIC_KEYS: [&str; 9] =
        ["PUBLIC", "PRIMARY", "FOREIGN", "SORT", "PARTITION", "GROUP", "INDEX", "CACHE", "COLUMN"];
    /// Words for tokens of a vocabulary.
    const TOKENS: [&str; 11] =
        ["EOS", "BOS", "PAD", "UNK", "MASK", "SEP", "CLS", "START", "END", "STOP", "SPECIAL"];
    /// Words for counts and settings: `TOKEN_LIMIT`.
    const COUNTS: [&str; 7] = ["COUNT", "LIMIT", "ID", "IDS", "SIZE", "TYPE", "BUDGET"];
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let is_secret = |(position, word): (usize, &&str)| {
        let before = position.checked_sub(1).map(|before| words[before]);
        let behind = words.get(position + 1);
        match *word {
            "KEY" => {
                position > 0 && behind.is_none() && before.is_none_or(|before| !PUBLIC_KEYS.contains(&before))
            }
            "TOKEN" => {
                before.is_none_or(|before| !TOKENS.contains(&before))
                    && behind.is_none_or(|behind| !COUNTS.contains(behind))
            }
            "PWD" => position > 0,
            // `PGPASSWORD`, `GITHUBTOKEN`
            word => SECRET.iter().any(|secret| word.ends_with(secret)),
        }
    };
    words.iter().enumerate().any(is_secret)
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
    fn secrets_are_known_by_their_names() {
        for name in [
            "HF_TOKEN",
            "TOKEN",
            "GITHUB_TOKEN",
            "GITHUBTOKEN",
            "PGPASSWORD",
            "DB_PASSWORD_2",
            "MYSQL_PWD",
            "OPENAI_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "SSH_PRIVATE_KEY",
            "APIKEY",
            "client_secret",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "RATE",
            "EOS_TOKEN",
            "MAX_TOKENS",
            "TOKEN_LIMIT",
            "TOKENIZERS_PARALLELISM",
            "TOKENIZER",
            "KEY",
            "SORT_KEY",
            "KEYBOARD",
            "PWD",
            "MONKEY",
            "PYTHONPATH",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

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
