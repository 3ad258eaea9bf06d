//! Sources on servers in the config: addresses, lists of files, and data sets of Hugging Face's hub.
//!
//! What they stand for is found by whoever gives the stage access to servers; nothing here makes a request.

use super::source::is_name;
use pipe_stage::{Misfit, Places, RemoteRequest, RemoteRoot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files that a list names, such as the `warc.paths.gz` or `wet.paths.gz` of a crawl of Common Crawl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// The list: a path relative to the project, or a URL. It has one path or address a line, and may be compressed with
    /// gzip.
    pub list: String,
    /// Address that the paths of the list are relative to, such as `s3://commoncrawl`.
    pub base: String,
    /// Fraction of the files to take, above 0 and up to 1. The choice depends on the hash of a file's path, so a smaller
    /// sample is part of a larger one, and the order of the list does not matter. The default takes all.
    pub sample: Option<f64>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { list: String::new(), base: "https://data.commoncrawl.org/".to_owned(), sample: None }
    }
}

/// A split of a data set of Hugging Face's hub.
///
/// Its files are those that its card names for the split, or that have the usual names, or else the Parquet files that the
/// hub made. They are Parquet, JSON Lines, JSON, CSV or Arrow, compressed or not. The revision is pinned in the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HuggingFace {
    /// The data set, such as `allenai/c4`.
    pub repo: String,
    /// The configuration (subset), such as `en`. The default is the one that the card marks, or the only one.
    pub config: String,
    /// The split.
    pub split: String,
    /// A branch, a tag or a commit. The default is the main branch.
    pub revision: String,
    /// Number of documents to take from the beginning of the split; only as much is read. The default takes all.
    pub take: Option<u64>,
}

impl Default for HuggingFace {
    fn default() -> Self {
        Self {
            repo: String::new(),
            config: String::new(),
            split: "train".to_owned(),
            revision: String::new(),
            take: None,
        }
    }
}

/// Whether a text is a URL of a server.
pub(super) fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && !scheme.eq_ignore_ascii_case("file")
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// A pattern of files on this machine as it is without `file://`.
pub(super) fn local(glob: &str) -> &str {
    const SCHEME: &str = "file://";
    glob.get(..SCHEME.len())
        .filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
        .map_or(glob, |_| &glob[SCHEME.len()..])
}

/// The part of a pattern or address that names files: of an address of a web server, without its query.
pub(super) fn pattern(glob: &str) -> &str {
    let is_web = ["http://", "https://"]
        .iter()
        .any(|scheme| glob.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    if is_web { glob.split(['?', '#']).next().unwrap_or_default() } else { glob }
}

/// Errors of an address.
pub(super) fn check_url(path: &str, url: &str) -> Vec<Misfit> {
    const SCHEMES: [&str; 9] = ["http", "https", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];
    let Some((scheme, rest)) = url.split_once("://").filter(|_| is_url(url)) else { return Vec::new() };
    let authority = rest.split('/').next().unwrap_or_default();
    let has_user = authority.contains('@') && scheme.starts_with("http");
    [
        Misfit::unless(
            SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)),
            path,
            format!("begins with `{scheme}://`, which is not supported"),
        )
        .map(|misfit| misfit.help("use `https://`, `http://`, `s3://`, `gs://` or `az://`")),
        Misfit::unless(!has_user, path, "has a user or password, which would be stored with the results"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Paths {
    pub(super) fn check(&self, path: &str) -> Vec<Misfit> {
        let field = |name: &str| format!("{path}.{name}");
        let sample = self.sample.unwrap_or(1.0);
        let mut misfits: Vec<Misfit> = [
            Misfit::unless(!self.list.is_empty(), &field("list"), "must name a list of files"),
            Misfit::unless(sample > 0.0 && sample <= 1.0, &field("sample"), "must be above 0 and at most 1"),
            Misfit::unless(
                self.base.is_empty() || is_url(&self.base),
                &field("base"),
                "must be a URL, such as `https://data.commoncrawl.org/`",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        misfits.extend(check_url(&field("list"), &self.list));
        misfits.extend(check_url(&field("base"), &self.base));
        misfits
    }

    /// The name of its source: that of the list without extensions.
    pub(super) fn name(&self) -> String {
        let file = pattern(&self.list).rsplit('/').next().unwrap_or_default();
        file.split('.').next().filter(|name| is_name(name)).unwrap_or("files").to_owned()
    }

    /// Whether its files have the text of pages.
    pub(super) fn is_wet(&self) -> bool {
        pattern(&self.list).rsplit('/').next().is_some_and(|name| name.starts_with("wet."))
    }

    pub(super) fn request(&self, source: String, path: &str, places: &Places) -> RemoteRequest {
        let list = match is_url(&self.list) {
            true => self.list.clone(),
            false => places.project.join(local(&self.list)).to_string_lossy().into_owned(),
        };
        let hash_max = self.sample.and_then(hash_max);
        let root = RemoteRoot::List { list, base: self.base.clone(), hash_max };
        RemoteRequest { source, root, field: format!("{path}.paths.list") }
    }
}

/// The largest hash that a fraction takes; none if it takes all.
pub(super) fn hash_max(fraction: f64) -> Option<u64> {
    const ALL_HASHES: f64 = 18_446_744_073_709_551_616.0;
    // Exact: a multiplication by a power of two. The cast saturates.
    (fraction < 1.0).then(|| ((fraction * ALL_HASHES) as u64).saturating_sub(1))
}

impl HuggingFace {
    pub(super) fn check(&self, path: &str) -> Vec<Misfit> {
        let field = |name: &str| format!("{path}.{name}");
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let parts: Vec<&str> = self.repo.split('/').collect();
        let is_plain = |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control());
        [
            Misfit::unless(
                parts.len() <= 2 && parts.iter().all(|part| is_part(part)),
                &field("repo"),
                "must be the name of a data set, such as `allenai/c4`",
            ),
            Misfit::unless(!self.split.is_empty(), &field("split"), "must name a split, such as `train`"),
            Misfit::unless(
                is_plain(&self.revision),
                &field("revision"),
                "must be a branch, a tag or a commit",
            ),
            Misfit::unless(self.take != Some(0), &field("take"), "must be at least 1"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The name of its source: that of the data set, without its owner.
    pub(super) fn name(&self) -> String {
        let name = self.repo.rsplit('/').next().unwrap_or_default();
        if is_name(name) { name.to_owned() } else { "files".to_owned() }
    }

    pub(super) fn request(&self, source: String, path: &str) -> RemoteRequest {
        let Self { repo, config, split, revision, take: _ } = self.clone();
        let root = RemoteRoot::Dataset { repo, config, split, revision };
        RemoteRequest { source, root, field: format!("{path}.hf") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        assert!(is_url("https://h/a.jsonl") && is_url("s3://b/**/*.parquet"));
        assert!(!is_url("data/*.jsonl") && !is_url("file:///data/a.jsonl") && !is_url("://a"));
        assert_eq!(local("file:///data/a.jsonl"), "/data/a.jsonl");
        assert_eq!(local("data/a.jsonl"), "data/a.jsonl");
        assert_eq!(pattern("https://h/a.jsonl.gz?x=*.csv"), "https://h/a.jsonl.gz");
        assert_eq!(pattern("s3://b/a?.jsonl"), "s3://b/a?.jsonl");
    }

    #[test]
    fn wrong_settings_are_found() {
        let paths = |misfits: Vec<Misfit>| misfits.into_iter().map(|misfit| misfit.path).collect::<Vec<_>>();
        let hf =
            HuggingFace { repo: "a/b/c".into(), split: String::new(), take: Some(0), ..Default::default() };
        assert_eq!(paths(hf.check("hf")), ["hf.repo", "hf.split", "hf.take"]);
        for repo in ["squad", "allenai/c4", "HuggingFaceFW/fineweb-2"] {
            assert_eq!(HuggingFace { repo: repo.into(), ..Default::default() }.check("hf"), []);
        }
        let list = Paths { list: String::new(), base: "x".into(), sample: Some(0.0) };
        assert_eq!(paths(list.check("paths")), ["paths.list", "paths.sample", "paths.base"]);
        assert_eq!(paths(check_url("glob", "ftp://h/a")), ["glob"]);
        assert_eq!(paths(check_url("glob", "https://me:secret@h/a")), ["glob"]);
        assert_eq!(check_url("glob", "abfss://c@account.dfs.core.windows.net/a"), []);
    }

    #[test]
    fn names_are_those_of_lists_and_data_sets() {
        let paths = |list: &str| Paths { list: list.into(), ..Paths::default() };
        assert_eq!(paths("https://h/crawl/warc.paths.gz").name(), "warc");
        assert!(paths("lists/wet.paths.gz").is_wet() && !paths("lists/warc.paths.gz").is_wet());
        assert_eq!(HuggingFace { repo: "allenai/c4".into(), ..Default::default() }.name(), "c4");
    }
}
