//! Which files of a data set belong to which split, where its card does not say: by their names, as the library
//! `datasets` finds them (`data_files.py`).

use crate::address::glob;
use pipe_stage::Result;
use std::collections::BTreeMap;

/// Words in names, by split.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Files that are no data.
const OTHERS: [&str; 6] = [
    "README.md",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
];

/// Extensions of formats that can be read, several for one.
const ENDINGS: [(&str, &str); 9] = [
    ("parquet", "parquet"),
    ("pq", "parquet"),
    ("jsonl", "jsonl"),
    ("ndjson", "jsonl"),
    ("json", "json"),
    ("csv", "csv"),
    ("tsv", "csv"),
    ("arrow", "arrow"),
    ("feather", "arrow"),
];

const COMPRESSIONS: [&str; 5] = [".gz", ".zst", ".zstd", ".bz2", ".xz"];

/// Finds the split of a path.
type Way<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Paths by split.
pub(crate) type Splits = BTreeMap<String, Vec<String>>;

/// The format of a file of data; `None` if it is none.
pub(crate) fn format(path: &str) -> Option<&'static str> {
    let is_hidden = path.split('/').any(|part| part.starts_with('.') || part.starts_with("__"));
    let name = path.rsplit('/').next().unwrap_or_default();
    if is_hidden || OTHERS.contains(&name) {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let plain = COMPRESSIONS.iter().find_map(|ending| lower.strip_suffix(ending)).unwrap_or(&lower);
    let (_, ending) = plain.rsplit_once('.')?;
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format)
}

/// The files that patterns match, relative to a folder.
pub(crate) fn matching(paths: &[String], folder: &str, patterns: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let pattern = pattern.trim_start_matches("./");
        let whole = if folder.is_empty() { pattern.to_owned() } else { format!("{folder}/{pattern}") };
        // A folder stands for what is in it.
        let whole = whole.strip_suffix('/').map_or(whole.clone(), |folder| format!("{folder}/**"));
        let glob = glob(&whole)?;
        found.extend(paths.iter().filter(|path| **path == whole || glob.is_match(path)).cloned());
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The files below a folder by split: shards named `data/SPLIT-00000-of-00001.*`, else those with a keyword in the names of
/// their folders, else in their own names, else all for training.
pub(crate) fn by_names(paths: &[String], folder: &str) -> Splits {
    let below = |path: &str| -> Option<String> {
        let rest = if folder.is_empty() { path } else { path.strip_prefix(folder)?.strip_prefix('/')? };
        Some(rest.to_owned())
    };
    let inner: Vec<(&String, String)> = paths.iter().filter_map(|path| Some((path, below(path)?))).collect();
    let ways: [Way; 4] = [
        &sharded,
        &|rest| rest.rsplit('/').skip(1).find_map(keyword),
        &|rest| keyword(rest.rsplit('/').next().unwrap_or_default()),
        &|_| Some("train".to_owned()),
    ];
    for way in ways {
        let mut splits = Splits::new();
        for (path, rest) in &inner {
            if let Some(split) = way(rest) {
                splits.entry(split).or_default().push((*path).clone());
            }
        }
        if !splits.is_empty() {
            return splits;
        }
    }
    Splits::new()
}

/// The files of the branch with the hub's own Parquet files, `CONFIG/SPLIT/0000.parquet`, by configuration and split. Of
/// large data sets it has only the beginning, in `partial-SPLIT`.
pub(crate) fn of_parquet_branch(paths: &[String]) -> BTreeMap<String, Splits> {
    let mut configs: BTreeMap<String, Splits> = BTreeMap::new();
    for path in paths {
        if let [config, split, _] = path.split('/').collect::<Vec<_>>()[..] {
            let files = configs.entry(config.to_owned()).or_default().entry(split.to_owned()).or_default();
            files.push(path.clone());
        }
    }
    configs
}

/// The split of `data/SPLIT-00000-of-00001.parquet` or `data/SPLIT-00000-of-00001-HASH.parquet`.
fn sharded(path: &str) -> Option<String> {
    let name = path.strip_prefix("data/").filter(|name| !name.contains('/'))?;
    let (split, rest) = name.split_once('-')?;
    let (number, rest) = rest.split_once("-of-")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    // Behind the total there may be more, such as the hash that `push_to_hub` wrote for years.
    let (total, rest) = rest.split_at_checked(5)?;
    let fits = number.len() == 5 && is_number(number) && is_number(total) && rest.contains('.');
    (fits && is_word(split)).then(|| split.to_owned())
}

/// The split whose keyword a name has, between characters that are no letters.
fn keyword(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(|c: char| "-._ ".contains(c) || c.is_ascii_digit()).collect();
    let known = KEYWORDS.iter().find(|(_, keywords)| keywords.iter().any(|keyword| words.contains(keyword)));
    known.map(|(split, _)| (*split).to_owned())
}

/// Of files in several formats, those of the most frequent one.
pub(crate) fn of_one_format(paths: Vec<String>) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    paths.iter().filter_map(|path| format(path)).for_each(|format| *counts.entry(format).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(format, _)| format);
    paths.into_iter().filter(|path| format(path).is_some() && format(path) == most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(paths: &[&str], folder: &str) -> Vec<(String, Vec<String>)> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        by_names(&paths, folder).into_iter().collect()
    }

    fn split(name: &str, paths: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn splits_are_in_names() {
        let shards =
            ["data/train-00000-of-00002.parquet", "data/val.x-00000-of-00001.parquet", "extra/test.csv"];
        assert_eq!(splits(&shards, ""), [split("train", &shards[..1]), split("val.x", &shards[1..2])]);
        let shards = [
            "data/train_sft-00000-of-00001-a3ecf92756993583.parquet",
            "data/test_sft-00000-of-00001-f7dfac4afe5b93f4.parquet",
            "data/de-00000-of-100000.jsonl.gz",
        ];
        assert_eq!(
            splits(&shards, ""),
            [split("de", &shards[2..]), split("test_sft", &shards[1..2]), split("train_sft", &shards[..1])]
        );
        // Too few digits, or no extension behind them.
        for path in ["data/x-00000-of-0001.csv", "data/x-0000-of-00001.csv", "data/x-00000-of-00001"] {
            assert_eq!(splits(&[path], ""), [split("train", &[path])], "{path}");
        }
        let names = ["retrain.csv", "a-train.csv", "dev.csv", "x/test1.csv"];
        assert_eq!(
            splits(&names, ""),
            [
                split("test", &["x/test1.csv"]),
                split("train", &["a-train.csv"]),
                split("validation", &["dev.csv"])
            ]
        );
        let folders = ["train/a.jsonl", "eval/b.jsonl"];
        assert_eq!(splits(&folders, ""), [split("test", &folders[1..]), split("train", &folders[..1])]);
        // Folders come before names of files, and what they leave is in no split.
        let both = ["my-train.jsonl", "dev/more.jsonl"];
        assert_eq!(splits(&both, ""), [split("validation", &both[1..])]);
        assert_eq!(splits(&["a.jsonl", "b.jsonl"], ""), [split("train", &["a.jsonl", "b.jsonl"])]);
        assert_eq!(splits(&["en/a.jsonl", "de/a.jsonl"], "en"), [split("train", &["en/a.jsonl"])]);
        assert_eq!(splits(&[], ""), []);
    }

    #[test]
    fn only_data_counts() {
        assert_eq!(format("en/c4-train.00000-of-01024.json.gz"), Some("json"));
        assert_eq!(format("a.PARQUET"), Some("parquet"));
        for path in ["README.md", ".cache/a.json", "__x/a.csv", "dataset_infos.json", "a.txt", "a.zip", "a"] {
            assert_eq!(format(path), None, "{path}");
        }
        let mixed = ["a.parquet", "b.parquet", "c.csv", "d.md"].map(str::to_owned).to_vec();
        assert_eq!(of_one_format(mixed), ["a.parquet", "b.parquet"]);
    }

    #[test]
    fn patterns_are_relative_to_their_folder() {
        let paths = ["d/a/1.json", "d/2.json", "3.json"].map(str::to_owned).to_vec();
        let found = |folder: &str, pattern: &str| matching(&paths, folder, &[pattern.to_owned()]).unwrap();
        assert_eq!(found("d", "*.json"), ["d/2.json"]);
        assert_eq!(found("", "./**/*.json"), ["3.json", "d/2.json", "d/a/1.json"]);
        assert_eq!(found("", "d/"), ["d/2.json", "d/a/1.json"]);
        assert_eq!(found("", "3.json"), ["3.json"]);
        assert!(matching(&paths, "", &["[".to_owned()]).is_err());
    }
}
