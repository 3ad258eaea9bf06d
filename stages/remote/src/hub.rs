//! Data sets of Hugging Face's hub: the commit of a revision, the files of a split at that commit, and the licence.
//!
//! ```text
//! /api/datasets/REPO/revision/REVISION             {"sha": COMMIT, …}
//! /api/datasets/REPO/tree/COMMIT?recursive=true    [{"type": "file", "path", "size", "oid", "lfs": {"oid", "size"}}, …], in pages
//! /datasets/REPO/resolve/COMMIT/PATH               the bytes, often by a redirect
//! ```

use crate::address::segment;
use crate::card::{self, Card, Config};
use crate::failure::Failure;
use crate::http::{Http, Page, repeated};
use crate::limits::Limits;
use crate::splits::{self, Splits};
use crate::version;
use pipe_stage::{Error, Listing, Remote, RemoteFile, Result};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// The branch with Parquet files that the hub makes of most data sets.
const PARQUET: &str = "refs/convert/parquet";

const PAGE_BYTES_MAX: usize = 64 << 20;
const CARD_BYTES_MAX: usize = 16 << 20;
const FILES_MAX: usize = 1_000_000;
/// The hub has up to 1,000 files on a page.
const PAGES_MAX: usize = 20_000;

/// The hub.
pub(crate) struct Hub<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) http: &'a Http,
    pub(crate) limits: &'a Limits,
}

/// Which files of which data set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) repo: &'a str,
    pub(crate) config: &'a str,
    pub(crate) split: &'a str,
    pub(crate) revision: &'a str,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub<'_> {
    /// Lists the files of a split. A pinned revision is a commit, or that of the card and that of the Parquet branch with
    /// a `+` between them.
    pub(crate) async fn list(&self, wanted: Wanted<'_>, pinned: Option<&str>) -> Result<Listing> {
        let (commit, pinned_parquet) =
            match pinned.map(|pinned| pinned.split_once('+').map_or((pinned, None), |(c, p)| (c, Some(p)))) {
                Some((commit, parquet)) => (commit.to_owned(), parquet.map(str::to_owned)),
                None => (self.commit(wanted.repo, wanted.revision).await?, None),
            };
        let files = self.tree(wanted.repo, &commit).await?;
        let paths: Vec<String> = files.keys().cloned().collect();
        let card = if files.contains_key("README.md") {
            self.card(wanted.repo, &commit).await?
        } else {
            Card::default()
        };
        if wanted.revision.starts_with(PARQUET) {
            let found = of_parquet(wanted, &paths)?;
            return Ok(self.listing(wanted.repo, &commit, commit.clone(), &files, found, &card.license));
        }
        if let Some(found) = of_commit(wanted, &card, &paths)? {
            return Ok(self.listing(wanted.repo, &commit, commit.clone(), &files, found, &card.license));
        }
        if let Some(script) = script(wanted.repo, &paths) {
            let message =
                format!("the data set `{}` consists of a script (`{script}`), which is not run", wanted.repo);
            let help =
                format!("read the Parquet files that the hub has made of it, with `revision: {PARQUET}`");
            return Err(Error::input(message).help(help));
        }
        let parquet = match pinned_parquet {
            Some(commit) => commit,
            None => self.commit(wanted.repo, PARQUET).await.map_err(|error| match error {
                Error::Input { .. } => without_files(wanted.repo),
                error => error,
            })?,
        };
        let files = self.tree(wanted.repo, &parquet).await?;
        let found = of_parquet(wanted, &files.keys().cloned().collect::<Vec<_>>())?;
        let revision = format!("{commit}+{parquet}");
        Ok(self.listing(wanted.repo, &parquet, revision, &files, found, &card.license))
    }

    /// The commit of a revision.
    async fn commit(&self, repo: &str, revision: &str) -> Result<String> {
        let revision = if revision.is_empty() { "main" } else { revision };
        let url = format!("{}/api/datasets/{}/revision/{}", self.endpoint, path(repo), segment(revision));
        let page = self.page(&url, PAGE_BYTES_MAX, || {
            Error::input(format!("there is no data set `{repo}` with the revision `{revision}`"))
                .help("correct `repo` or `revision`; for one that is private or gated, set `HF_TOKEN`")
        });
        let Revision { sha } = parsed(&url, &page.await?.bytes)?;
        let is_commit = sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit { Ok(sha) } else { Err(Error::input(format!("`{url}` names no commit"))) }
    }

    /// Files by path, at a commit.
    async fn tree(&self, repo: &str, commit: &str) -> Result<BTreeMap<String, Node>> {
        let (mut files, mut seen) = (BTreeMap::new(), BTreeSet::new());
        let first =
            format!("{}/api/datasets/{}/tree/{}?recursive=true", self.endpoint, path(repo), segment(commit));
        let mut url = Some(first);
        while let Some(page) = url.take() {
            let missing = || {
                Error::input(format!("the data set `{repo}` has no commit {commit} any more"))
                    .help("accept what is there now with `pipe run --update-pins`")
            };
            let Page { bytes, next } = self.page(&page, PAGE_BYTES_MAX, missing).await?;
            let nodes: Vec<Node> = parsed(&page, &bytes)?;
            files.extend(
                nodes.into_iter().filter(|node| node.kind == "file").map(|node| (node.path.clone(), node)),
            );
            if files.len() > FILES_MAX {
                return Err(Error::input(format!("the data set `{repo}` has more than {FILES_MAX} files")));
            }
            seen.insert(page);
            url = next;
            // A list that never ends is no list.
            if url.as_ref().is_some_and(|next| seen.contains(next)) || seen.len() > PAGES_MAX {
                let message = format!("the hub lists the files of the data set `{repo}` without an end");
                return Err(Error::input(message).help("see `HF_ENDPOINT`"));
            }
        }
        Ok(files)
    }

    async fn card(&self, repo: &str, commit: &str) -> Result<Card> {
        let url = self.file_url(repo, commit, "README.md");
        let page =
            self.page(&url, CARD_BYTES_MAX, || Error::input(format!("the data set `{repo}` has no README")));
        card::read(repo, &String::from_utf8_lossy(&page.await?.bytes))
    }

    fn file_url(&self, repo: &str, commit: &str, file: &str) -> String {
        format!("{}/datasets/{}/resolve/{commit}/{}", self.endpoint, path(repo), path(file))
    }

    /// Reads an answer; `missing` is the error if there is none.
    async fn page(&self, url: &str, bytes_max: usize, missing: impl Fn() -> Error) -> Result<Page> {
        let shown = pipe_stage::shown(url);
        let page = repeated(self.limits, &shown, async || self.http.page(url, bytes_max).await).await;
        page.map_err(|error| match error {
            Error::Input { message, .. }
                if message.starts_with("there is no file") || message.contains("refuses access") =>
            {
                missing()
            }
            error => error,
        })
    }

    fn listing(
        &self,
        repo: &str,
        commit: &str,
        revision: String,
        files: &BTreeMap<String, Node>,
        found: Vec<String>,
        license: &str,
    ) -> Listing {
        let file = |name: String| {
            let node = &files[&name];
            let (size, version) = match &node.lfs {
                Some(lfs) => (lfs.size, version::of_sha256(lfs.oid.trim_start_matches("sha256:"))),
                None => (node.size, version::of_git(&node.oid)),
            };
            let remote =
                Remote { url: self.file_url(repo, commit, &name), version, license: license.to_owned() };
            RemoteFile { name, size, remote }
        };
        Listing { revision, files: found.into_iter().map(file).collect() }
    }
}

/// The files of a split at a commit, as the card or their names say; `None` if there are no files of data.
fn of_commit(wanted: Wanted<'_>, card: &Card, paths: &[String]) -> Result<Option<Vec<String>>> {
    let data: Vec<String> = paths.iter().filter(|path| splits::format(path).is_some()).cloned().collect();
    if data.is_empty() {
        return Ok(None);
    }
    let names = card.configs.iter().map(|config| config.name.as_str());
    let config = match (&card.configs[..], wanted.config) {
        ([], "" | "default") => Config::default(),
        // Without a card, configurations are folders.
        ([], name) if data.iter().any(|path| path.starts_with(&format!("{name}/"))) => {
            Config { folder: name.to_owned(), ..Config::default() }
        }
        ([], name) => return Err(unknown(wanted.repo, "configuration", name, ["default"].into_iter())),
        ([only], "") => only.clone(),
        (configs, "") => match configs.iter().find(|config| config.is_default) {
            Some(config) => config.clone(),
            None => {
                return Err(Error::input(format!(
                    "the data set `{}` has several configurations",
                    wanted.repo
                ))
                .help(format!("choose one with `config`: {}", listed(names))));
            }
        },
        (configs, name) => match configs.iter().find(|config| config.name == name) {
            Some(config) => config.clone(),
            None => return Err(unknown(wanted.repo, "configuration", name, names)),
        },
    };
    let found: Splits = match &config.files[..] {
        [] => splits::by_names(&data, &config.folder),
        files => {
            let mut found = Splits::new();
            for (split, patterns) in files {
                found.insert(split.clone(), splits::matching(&data, &config.folder, patterns)?);
            }
            found
        }
    };
    let fault = |what: String, help: String| {
        Err(Error::input(format!("the data set `{}` {what}", wanted.repo)).help(help))
    };
    let files = splits::of_one_format(found.get(wanted.split).cloned().unwrap_or_default());
    let named = config.files.iter().find(|(split, _)| split == wanted.split);
    match (files, named) {
        (files, Some((split, patterns))) if files.is_empty() => fault(
            format!("has no files of the split `{split}`, though its card names some"),
            format!(
                "nothing of a known format matches {}; choose another `revision`, or name the files by their addresses",
                listed(patterns.iter().map(String::as_str))
            ),
        ),
        (_, None) if found.is_empty() => fault(
            format!("has no files of a known format in the folder `{}`", config.folder),
            "choose another `config`".to_owned(),
        ),
        (files, _) if files.is_empty() => {
            Err(unknown(wanted.repo, "split", wanted.split, found.keys().map(String::as_str)))
        }
        (files, _) => Ok(Some(files)),
    }
}

/// The files of a split on the Parquet branch.
fn of_parquet(wanted: Wanted<'_>, paths: &[String]) -> Result<Vec<String>> {
    let configs = splits::of_parquet_branch(paths);
    if configs.is_empty() {
        return Err(without_files(wanted.repo));
    }
    let names = || configs.keys().map(String::as_str);
    let config = match (configs.len(), wanted.config) {
        (1, "") => configs.values().next(),
        (_, "") => Some(configs.get("default").ok_or_else(|| {
            Error::input(format!("the data set `{}` has several configurations", wanted.repo))
                .help(format!("choose one with `config`: {}", listed(names())))
        })?),
        (_, name) => {
            Some(configs.get(name).ok_or_else(|| unknown(wanted.repo, "configuration", name, names()))?)
        }
    };
    let splits = config.cloned().unwrap_or_default();
    if let Some(files) = splits.get(wanted.split) {
        return Ok(files.clone());
    }
    Err(unknown(wanted.repo, "split", wanted.split, splits.keys().map(String::as_str)))
}

fn without_files(repo: &str) -> Error {
    Error::input(format!(
        "the data set `{repo}` has no files of a known format, and the hub has no Parquet files of it"
    ))
    .help("Parquet, JSON Lines, JSON, CSV and Arrow are read, also compressed with gzip, zstd, bzip2 or xz")
}

fn unknown<'a>(repo: &str, what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    Error::input(format!("the data set `{repo}` has no {what} `{name}`"))
        .help(format!("it has {}", listed(known)))
}

/// A few names.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 20;
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none".to_owned(),
        number if number > SHOWN_MAX => {
            format!("{} and {} more", names[..SHOWN_MAX].join(", "), number - SHOWN_MAX)
        }
        _ => names.join(", "),
    }
}

/// The script that a data set consists of.
fn script(repo: &str, paths: &[String]) -> Option<String> {
    let script = format!("{}.py", repo.rsplit('/').next().unwrap_or_default());
    paths.contains(&script).then_some(script)
}

fn parsed<T: DeserializeOwned>(url: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("`{}` is no answer of a hub: {error}", pipe_stage::shown(url));
        Failure::lasting(message, "see `HF_ENDPOINT`").into_error(url)
    })
}

/// A path with what addresses cannot hold written as `%XX`.
fn path(text: &str) -> String {
    text.split('/').map(segment).collect::<Vec<_>>().join("/")
}
