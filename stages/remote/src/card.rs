//! The card of a data set: its README with a head in YAML, which names configurations, their files, and the licence.

use crate::yaml;
use pipe_stage::{Error, Result};
use serde_json::Value;

/// What a card says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Card {
    /// SPDX expression as far as the names of the hub are known; empty if there is none.
    pub(crate) license: String,
    pub(crate) configs: Vec<Config>,
}

/// A configuration.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) is_default: bool,
    /// The folder that patterns are relative to, without `/` at its end.
    pub(crate) folder: String,
    /// Patterns by split; empty where the files of the folder are found by their names.
    pub(crate) files: Vec<(String, Vec<String>)>,
}

/// Reads a README.
pub(crate) fn read(repo: &str, text: &str) -> Result<Card> {
    let Some(head) = head(text) else { return Ok(Card::default()) };
    let fault = |message: String| {
        Error::input(format!("the head of the README of `{repo}` cannot be read: {message}"))
            .help("choose another `revision`, or name the files by their addresses with `glob`")
    };
    let head = yaml::read(head).map_err(fault)?;
    let configs = match head.get("configs") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(configs)) => configs
            .iter()
            .map(config)
            .collect::<Option<_>>()
            .ok_or_else(|| fault("`configs` has another form".to_owned()))?,
        Some(_) => return Err(fault("`configs` is no list".to_owned())),
    };
    Ok(Card { license: license(&head), configs })
}

/// What is between the first two lines of `---`.
fn head(text: &str) -> Option<&str> {
    let text = text.trim_start_matches('\u{feff}');
    let rest = text.strip_prefix("---")?.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n')?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(&rest[..at]);
        }
        at += line.len();
    }
    None
}

fn config(value: &Value) -> Option<Config> {
    let name = value.get("config_name")?.as_str()?.to_owned();
    let is_default = value.get("default").and_then(Value::as_bool).unwrap_or(false) || name == "default";
    let folder = value.get("data_dir").and_then(Value::as_str).unwrap_or_default();
    let folder = folder.trim_start_matches("./").trim_end_matches('/').to_owned();
    let files = match value.get("data_files") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) if items.iter().any(Value::is_object) => {
            let of =
                |item: &Value| Some((item.get("split")?.as_str()?.to_owned(), patterns(item.get("path")?)?));
            items.iter().map(of).collect::<Option<_>>()?
        }
        Some(Value::Object(splits)) => splits
            .iter()
            .map(|(split, value)| Some((split.clone(), patterns(value)?)))
            .collect::<Option<_>>()?,
        // Without splits, all is for training.
        Some(value) => vec![("train".to_owned(), patterns(value)?)],
    };
    Some(Config { name, is_default, folder, files })
}

fn patterns(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(pattern) => Some(vec![pattern.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// Names of the hub whose SPDX identifiers differ in more than upper case after their hyphens.
const LICENSES: [(&str, &str); 33] = [
    ("apache-2.0", "Apache-2.0"),
    ("mit", "MIT"),
    ("cc0-1.0", "CC0-1.0"),
    ("cc-by-2.0", "CC-BY-2.0"),
    ("cc-by-2.5", "CC-BY-2.5"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc-by-nc-2.0", "CC-BY-NC-2.0"),
    ("cc-by-nc-3.0", "CC-BY-NC-3.0"),
    ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ("cc-by-nd-4.0", "CC-BY-ND-4.0"),
    ("cc-by-nc-nd-3.0", "CC-BY-NC-ND-3.0"),
    ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
    ("cc-by-nc-sa-2.0", "CC-BY-NC-SA-2.0"),
    ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0"),
    ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
    ("odc-by", "ODC-By-1.0"),
    ("odbl", "ODbL-1.0"),
    ("pddl", "PDDL-1.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-3-clause-clear", "BSD-3-Clause-Clear"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("agpl-3.0", "AGPL-3.0-only"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("mpl-2.0", "MPL-2.0"),
    ("unlicense", "Unlicense"),
    ("cdla-permissive-2.0", "CDLA-Permissive-2.0"),
    ("cdla-sharing-1.0", "CDLA-Sharing-1.0"),
];

/// The licence of a card: an SPDX expression, or the hub's name for one that SPDX does not know. Several hold together; if
/// one of them is not known, nobody can say what the data set allows, and it counts as without a known licence.
fn license(head: &Value) -> String {
    let names = match head.get("license") {
        Some(Value::Array(names)) => &names[..],
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    let named = |name: &Value| -> Option<String> {
        let name = match name.as_str()?.trim() {
            name if name.eq_ignore_ascii_case("other") => head.get("license_name")?.as_str()?.trim(),
            name => name,
        };
        if name.is_empty() || name.eq_ignore_ascii_case("unknown") {
            return None;
        }
        let known = LICENSES.into_iter().find(|(hub, _)| hub.eq_ignore_ascii_case(name));
        Some(known.map_or(name, |(_, spdx)| spdx).to_owned())
    };
    match names.iter().map(named).collect::<Option<Vec<String>>>().unwrap_or_default() {
        names if names.len() < 2 => names.concat(),
        names => names.iter().map(|name| operand(name)).collect::<Vec<_>>().join(" AND "),
    }
}

/// An expression as an operand of another: `OR` binds less than `AND`.
fn operand(license: &str) -> String {
    let has_or = license.split_whitespace().any(|word| word.eq_ignore_ascii_case("or"));
    if has_or { format!("({license})") } else { license.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        files
            .iter()
            .map(|(split, patterns)| {
                ((*split).to_owned(), patterns.iter().map(|p| (*p).to_owned()).collect())
            })
            .collect()
    }

    #[test]
    fn configurations_and_licences_are_found() {
        let text = "---\nlicense: odc-by\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/c4-train.*.json.gz\n  - split: validation\n    path: [a.json, b.json]\n- config_name: rest\n  default: true\n  data_dir: rest/\n  data_files: '*.parquet'\n- config_name: bare\n---\n# C4\nlicense: no\n";
        let card = read("c4", text).unwrap();
        assert_eq!(card.license, "ODC-By-1.0");
        let config = |name: &str, is_default, folder: &str, files| Config {
            name: name.into(),
            is_default,
            folder: folder.into(),
            files,
        };
        let en = files(&[("train", &["en/c4-train.*.json.gz"]), ("validation", &["a.json", "b.json"])]);
        assert_eq!(
            card.configs,
            [
                config("en", false, "", en),
                config("rest", true, "rest", files(&[("train", &["*.parquet"])])),
                config("bare", false, "", vec![]),
            ]
        );
    }

    #[test]
    fn licences_are_those_of_the_card() {
        let of = |head: &str| read("r", &format!("---\n{head}\n---\n")).unwrap().license;
        assert_eq!(of("license: apache-2.0"), "Apache-2.0");
        assert_eq!(of("license: [mit, cc-by-4.0]"), "MIT AND CC-BY-4.0");
        assert_eq!(of("license: other\nlicense_name: acme-1"), "acme-1");
        assert_eq!(of("license: unknown"), "");
        assert_eq!(of("license: other"), "");
        assert_eq!(of("license: []"), "");
        // One that nobody knows may forbid what the others allow.
        for list in
            ["[mit, unknown]", "[mit, other]", "[unknown, mit]", "[mit, '']", "[mit, [x]]", "[mit, null]"]
        {
            assert_eq!(of(&format!("license: {list}")), "", "{list}");
        }
        assert_eq!(of("license: [mit, other]\nlicense_name: acme-1"), "MIT AND acme-1");
        assert_eq!(of("license: [mit, other]\nlicense_name: A OR B"), "MIT AND (A OR B)");
        assert_eq!(of("license: other\nlicense_name: A OR B"), "A OR B");
        assert_eq!(of("license: llama3"), "llama3");
        assert_eq!(of("tags: [a]"), "");
    }

    #[test]
    fn a_readme_may_have_no_head_and_a_bad_one_is_an_error() {
        assert_eq!(read("r", "# Title\n---\n").unwrap(), Card::default());
        assert_eq!(read("r", "---\nunclosed: 1\n").unwrap(), Card::default());
        assert!(read("r", "---\nconfigs: 3\n---\n").unwrap_err().to_string().contains("README of `r`"));
        assert!(read("r", "---\na: [\n---\n").is_err());
    }
}
