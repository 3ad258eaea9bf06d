//! Data sets of a small hub on loopback, as its public interface is documented and as `huggingface_hub` uses it.

mod world;

use pipe_remote::{Limits, Servers};
use pipe_stage::{Error, Listing, RemoteRoot, Remotes, Stop};
use std::{io::Read, time::Duration};
use world::{Page, Site};

const MAIN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const PARQUET: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const TOKEN: &str = "hf_secret";

/// SHA-256 of `hello\n`, and its name as a blob of Git.
const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

struct Hub {
    site: Site,
    /// Where large files are.
    store: Site,
}

impl Hub {
    fn new() -> Self {
        Self { site: Site::new(), store: Site::new() }
    }

    fn servers(&self, token: Option<&str>) -> Servers {
        let limits = Limits { pause: Duration::from_millis(2), attempts: 3, ..Limits::default() };
        Servers::new(limits, &self.site.address, token.map(str::to_owned)).unwrap()
    }

    /// Adds a revision with files, each `hello\n`; the tree has two pages.
    fn commit(&self, repo: &str, revision: &str, commit: &str, files: &[&str], readme: &str) {
        let json = |body: String| Page { body: body.into_bytes(), ..Page::default() };
        let sha = format!("{{\"sha\": \"{commit}\", \"id\": \"{repo}\"}}");
        self.site.page(&format!("/api/datasets/{repo}/revision/{revision}"), json(sha));
        let mut nodes = vec!["{\"type\": \"directory\", \"path\": \"d\", \"oid\": \"x\"}".to_owned()];
        for path in files {
            let large = if path.ends_with(".parquet") || path.ends_with(".gz") {
                format!(", \"lfs\": {{\"oid\": \"{SHA256}\", \"size\": 6, \"pointerSize\": 130}}")
            } else {
                String::new()
            };
            nodes.push(format!(
                "{{\"type\": \"file\", \"path\": \"{path}\", \"size\": 6, \"oid\": \"{GIT}\"{large}}}"
            ));
            let resolve = format!("/{repo}/resolve/{commit}/{}", path.replace(' ', "%20"));
            let to = self.store.page(&resolve, Page { body: b"hello\n".to_vec(), ..Page::default() });
            self.site.page(
                &format!("/datasets{resolve}"),
                Page { moved_to: Some(to), token: Some(TOKEN.into()), ..Page::default() },
            );
        }
        if !readme.is_empty() {
            nodes.push(
                "{\"type\": \"file\", \"path\": \"README.md\", \"size\": 1, \"oid\": \"y\"}".to_owned(),
            );
            self.site.page(&format!("/datasets/{repo}/resolve/{commit}/README.md"), json(readme.to_owned()));
        }
        let (first, second) = nodes.split_at(nodes.len() / 2);
        let tree = format!("/api/datasets/{repo}/tree/{commit}?recursive=true");
        let next = format!("{tree}&cursor=2");
        let link = ("Link".to_owned(), format!("<{}>; rel=\"next\"", self.site.url(&next)));
        let page = json(format!("[{}]", first.join(",")));
        self.site.page(&tree, Page { headers: vec![link], ..page });
        self.site.page(&next, json(format!("[{}]", second.join(","))));
    }
}

fn root(repo: &str, config: &str, split: &str, revision: &str) -> RemoteRoot {
    let [repo, config, split, revision] = [repo, config, split, revision].map(str::to_owned);
    RemoteRoot::Dataset { repo, config, split, revision }
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.files.iter().map(|file| file.name.as_str()).collect()
}

fn told(error: &Error) -> String {
    match error {
        Error::Input { message, help } => format!("{message} (help: {})", help.clone().unwrap_or_default()),
        error => error.to_string(),
    }
}

const CARD: &str = "---\nlicense: odc-by\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/train.*.json.gz\n  - split: validation\n    path: en/validation.json.gz\n- config_name: de\n  data_dir: de\n---\n# Text\n";

#[test]
fn a_split_is_found_by_the_card_at_a_commit() {
    let hub = Hub::new();
    let files = [
        "en/train.1.json.gz",
        "en/train.0.json.gz",
        "en/validation.json.gz",
        "de/train a.jsonl",
        "x.py",
        ".gitattributes",
    ];
    hub.commit("o/set", "main", MAIN, &files, CARD);
    let servers = hub.servers(Some(TOKEN));
    let listing = servers.list(&root("o/set", "en", "train", ""), None).unwrap();
    assert_eq!(names(&listing), ["en/train.0.json.gz", "en/train.1.json.gz"]);
    assert_eq!(listing.revision, MAIN);
    let file = &listing.files[0];
    assert_eq!((file.size, file.remote.license.as_str()), (6, "ODC-By-1.0"));
    assert_eq!(file.remote.version, format!("sha256:{SHA256}"));
    // The bytes are those of the digest, and the token is not sent to where they are.
    let mut bytes = String::new();
    servers.open(&file.remote, file.size, 0, &Stop::default()).unwrap().read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "hello\n");
    assert!(hub.store.seen().iter().all(|seen| seen.header("authorization").is_none()));
    let expected = format!("Bearer {TOKEN}");
    assert!(hub.site.seen().iter().all(|seen| seen.header("authorization") == Some(&expected)));
    // A pinned commit is not asked for again, though the branch has moved.
    let before = hub.site.seen().len();
    let again = servers.list(&root("o/set", "en", "train", ""), Some(MAIN)).unwrap();
    assert_eq!(again, listing);
    assert!(hub.site.seen()[before..].iter().all(|seen| !seen.path.contains("/revision/")));
    // A configuration without files in the card: by their names.
    let listing = servers.list(&root("o/set", "de", "train", ""), None).unwrap();
    assert_eq!(
        (names(&listing), listing.files[0].remote.version.as_str()),
        (vec!["de/train a.jsonl"], &*format!("git:{GIT}"))
    );
    let mut bytes = Vec::new();
    servers.open(&listing.files[0].remote, 6, 0, &Stop::default()).unwrap().read_to_end(&mut bytes).unwrap();
}

#[test]
fn other_bytes_than_the_digest_are_noticed() {
    let hub = Hub::new();
    hub.commit("set", "main", MAIN, &["data/train-00000-of-00001.parquet"], "");
    let servers = hub.servers(Some(TOKEN));
    let listing = servers.list(&root("set", "", "train", ""), None).unwrap();
    let resolve = format!("/set/resolve/{MAIN}/data/train-00000-of-00001.parquet");
    hub.store.change(&resolve, |page| page.body = b"hallo\n".to_vec());
    let file = &listing.files[0];
    let mut reader = servers.open(&file.remote, file.size, 0, &Stop::default()).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("other bytes than sha256:"), "{error}");
}

#[test]
fn wrong_names_are_answered_with_those_that_are_there() {
    let hub = Hub::new();
    hub.commit("o/set", "main", MAIN, &["en/train.0.json.gz", "de/a.jsonl"], CARD);
    let servers = hub.servers(Some(TOKEN));
    let error = |config, split| told(&servers.list(&root("o/set", config, split, ""), None).unwrap_err());
    assert!(error("", "train").contains("choose one with `config`: `en`, `de`"), "{}", error("", "train"));
    assert!(error("fr", "train").contains("has no configuration `fr` (help: it has `en`, `de`)"));
    assert!(error("en", "test").contains("has no split `test` (help: it has `train`, `validation`)"));
    let missing = told(&servers.list(&root("o/none", "", "train", ""), None).unwrap_err());
    assert!(missing.contains("no data set `o/none`") && missing.contains("HF_TOKEN"), "{missing}");
    let missing = told(&servers.list(&root("o/set", "en", "train", "v9"), None).unwrap_err());
    assert!(missing.contains("revision `v9`"), "{missing}");
}

#[test]
fn the_parquet_branch_stands_in_for_other_formats_and_a_script_names_it() {
    let hub = Hub::new();
    let branch = "refs%2Fconvert%2Fparquet";
    let files = ["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"];
    hub.commit("o/audio", "main", MAIN, &["a.wav"], "---\nlicense: mit\n---\n");
    hub.commit("o/audio", branch, PARQUET, &files, "");
    let servers = hub.servers(Some(TOKEN));
    let listing = servers.list(&root("o/audio", "", "train", ""), None).unwrap();
    assert_eq!(names(&listing), files[..2]);
    assert_eq!(listing.revision, format!("{MAIN}+{PARQUET}"));
    assert_eq!(listing.files[0].remote.license, "MIT");
    assert!(listing.files[0].remote.url.contains(PARQUET));
    assert_eq!(servers.list(&root("o/audio", "", "train", ""), Some(&listing.revision)).unwrap(), listing);

    hub.commit("o/script", "main", MAIN, &["script.py"], "");
    hub.commit("o/script", branch, PARQUET, &files, "");
    let error = told(&servers.list(&root("o/script", "", "train", ""), None).unwrap_err());
    assert!(error.contains("consists of a script (`script.py`)"), "{error}");
    assert!(error.contains("`revision: refs/convert/parquet`"), "{error}");
    let listing = servers.list(&root("o/script", "", "test", "refs/convert/parquet"), None).unwrap();
    assert_eq!((names(&listing), listing.revision.as_str()), (vec!["default/test/0000.parquet"], PARQUET));

    hub.commit("o/nothing", "main", MAIN, &["a.wav"], "");
    let error = told(&servers.list(&root("o/nothing", "", "train", ""), None).unwrap_err());
    assert!(error.contains("has no files of a known format"), "{error}");
}

#[test]
fn files_that_need_a_token_say_so() {
    let hub = Hub::new();
    hub.commit("set", "main", MAIN, &["train.csv"], "");
    let servers = hub.servers(None);
    let listing = servers.list(&root("set", "", "train", ""), None).unwrap();
    let file = &listing.files[0];
    let error = servers
        .open(&file.remote, file.size, 0, &Stop::default())
        .unwrap()
        .read_to_end(&mut Vec::new())
        .unwrap_err();
    assert!(told(&error.downcast::<Error>().unwrap()).contains("HF_TOKEN"));
}

#[test]
fn lists_without_an_end_are_left() {
    let hub = Hub::new();
    hub.commit("o/set", "main", MAIN, &["train.csv"], "");
    let tree = format!("/api/datasets/o/set/tree/{MAIN}?recursive=true");
    // From the last page back to the first, and to itself.
    for target in [tree.clone(), format!("{tree}&cursor=2")] {
        let link = ("Link".to_owned(), format!("<{}>; rel=\"next\"", hub.site.url(&target)));
        hub.site.change(&format!("{tree}&cursor=2"), |page| page.headers = vec![link]);
        let error = hub.servers(Some(TOKEN)).list(&root("o/set", "", "train", ""), None).unwrap_err();
        assert!(error.to_string().contains("without an end"), "{error}");
    }
}

#[test]
fn cards_that_name_no_file_say_so() {
    let hub = Hub::new();
    let card = "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: none/*.parquet\n- config_name: de\n  data_dir: de\n---\n";
    hub.commit("o/set", "main", MAIN, &["data/train.csv"], card);
    let error = |repo: &str, config: &str| {
        told(&hub.servers(Some(TOKEN)).list(&root(repo, config, "train", ""), None).unwrap_err())
    };
    assert_eq!(
        error("o/set", "en"),
        "the data set `o/set` has no files of the split `train`, though its card names some (help: nothing of a known format \
         matches `none/*.parquet`; choose another `revision`, or name the files by their addresses)"
    );
    assert!(error("o/set", "de").contains("no files of a known format in the folder `de`"));
    // A Parquet branch without the folders of configurations.
    hub.commit("o/dots", "main", MAIN, &["a.wav"], "");
    hub.commit("o/dots", "refs%2Fconvert%2Fparquet", PARQUET, &["0000.parquet"], "");
    assert!(error("o/dots", "").contains("the hub has no Parquet files of it"), "{}", error("o/dots", ""));
}
