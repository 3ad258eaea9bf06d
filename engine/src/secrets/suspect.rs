//! Owns: which names of variables suggest that their values are secrets.

/// Whether a variable contains a secret, judging by its name.
pub(crate) fn looks_secret(name: &str) -> bool {
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
}
