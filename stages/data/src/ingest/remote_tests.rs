//! Files on servers through the whole stage, with a server in memory.

use super::table::tests::file as parquet;
use super::*;
use crate::documents::{Document, DocumentReader};
use pipe_stage::testing::Bench;
use pipe_stage::{Listing, Location, Mode, Outcome, Remote, RemoteRoot, Remotes, Stop};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Mutex;

/// Files by address, and the addresses that were read.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    opened: Mutex<Vec<String>>,
}

impl Remotes for Memory {
    fn pin_name(&self, _: &RemoteRoot) -> Result<String> {
        Err(Error::input("not pinned"))
    }

    fn list(&self, _: &RemoteRoot, _: Option<&str>) -> Result<Listing> {
        Err(Error::input("not listed"))
    }

    fn open(&self, remote: &Remote, _: u64, at: u64, _: &Stop) -> Result<Box<dyn Read + Send>> {
        self.opened.lock().unwrap().push(remote.url.clone());
        let bytes = self.files.get(&remote.url).cloned();
        let bytes = bytes.ok_or_else(|| Error::input("the remote file changed").help("`--update-pins`"))?;
        Ok(Box::new(Cursor::new(bytes[at as usize..].to_vec())))
    }
}

/// A server that lives as long as the tests.
fn server(files: &[(&str, Vec<u8>)]) -> &'static Memory {
    let files = files.iter().map(|(name, bytes)| (format!("x://{name}"), bytes.clone())).collect();
    Box::leak(Box::new(Memory { files, ..Memory::default() }))
}

/// The files of a server as a listing has them, with this size at least.
fn listed(server: &Memory, source: &str, size_min: u64) -> Vec<SourceFile> {
    let file = |(url, bytes): (&String, &Vec<u8>)| {
        let remote = Remote { url: url.clone(), version: "etag:1".into(), license: "CC0-1.0".into() };
        let size = size_min.max(bytes.len() as u64);
        SourceFile {
            source: source.to_owned(),
            name: url.trim_start_matches("x://").to_owned(),
            digest: remote.identity(size),
            size,
            at: Location::Remote(remote),
        }
    };
    server.files.iter().map(file).collect()
}

fn run(
    store: &Path,
    server: &'static Memory,
    stage: &Ingest,
    files: Vec<SourceFile>,
    threads: usize,
) -> Result<(Bench, Outcome)> {
    assert_eq!(stage.check(), []);
    let mut bench = Bench::new(store).unwrap();
    bench.remotes = Some(server);
    bench.threads = threads;
    let outcome = bench.enter(stage, &[], files, Mode::Here)?;
    Ok((bench, outcome))
}

fn documents(bench: &Bench, outcome: &Outcome) -> Vec<Document> {
    let mut documents = Vec::new();
    for entry in bench.open(&bench.output(outcome, "documents").unwrap()) {
        let rows = DocumentReader::of_entry(&entry).unwrap().rows().unwrap();
        documents.extend(rows.map(|row| row.unwrap().document));
    }
    documents
}

fn dataset(take: Option<u64>) -> Ingest {
    let hf = HuggingFace { repo: "o/set".into(), take, ..HuggingFace::default() };
    Ingest { sources: vec![Source { hf: Some(Box::new(hf)), ..Source::default() }], ..Ingest::default() }
}

fn lines(file: usize, rows: usize) -> Vec<u8> {
    (0..rows).map(|row| format!("{{\"text\": \"{file}.{row:03}\"}}\n")).collect::<String>().into_bytes()
}

#[test]
fn remote_files_are_read_as_local_ones_are() {
    let rows: Vec<Option<String>> = (0..50).map(|row| Some(format!("row {row}"))).collect();
    let texts = vec![("text", rows.iter().map(Option::as_deref).collect())];
    let server = server(&[("data/a.parquet", parquet(&texts)), ("data/b.parquet", parquet(&texts))]);
    let store = tempfile::tempdir().unwrap();
    let files = listed(server, "set:any", 0);
    let (bench, outcome) = run(store.path(), server, &dataset(None), files, 2).unwrap();
    let remote = documents(&bench, &outcome);
    assert_eq!(
        (remote.len(), remote[0].license.as_str(), remote[0].source.as_str()),
        (100, "CC0-1.0", "set")
    );
    assert!(remote.iter().any(|document| document.id == "set/data/b.parquet:50"));
    // The same files in a folder, with the licence in the settings.
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("data")).unwrap();
    for (url, bytes) in &server.files {
        std::fs::write(folder.path().join(url.trim_start_matches("x://")), bytes).unwrap();
    }
    let source = Source {
        glob: "**/*.parquet".into(),
        name: "set".into(),
        license: "CC0-1.0".into(),
        ..Source::default()
    };
    let stage = Ingest { sources: vec![source], ..Ingest::default() };
    let local = Bench::sources("set:parquet", folder.path()).unwrap();
    let (_, of_local) = run(other.path(), server, &stage, local, 2).unwrap();
    assert_eq!(of_local.outputs["documents"], outcome.outputs["documents"]);
    // A version that has the results needs no server; another one does.
    server.opened.lock().unwrap().clear();
    let files = listed(server, "set:any", 0);
    run(store.path(), server, &dataset(None), files.clone(), 2).unwrap();
    assert_eq!(*server.opened.lock().unwrap(), [""; 0]);
}

#[test]
fn the_first_documents_are_taken_and_no_more_is_read() {
    let names = ["0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl", "4.jsonl"];
    let sizes = [10, 1, 30, 5, 20];
    let files: Vec<_> = (0..5).map(|file| (names[file], lines(file, sizes[file]))).collect();
    let all: Vec<String> =
        (0..5).flat_map(|file| (0..sizes[file]).map(move |row| format!("{file}.{row:03}"))).collect();
    for (take, opened_max) in
        [(1, 1), (9, 1), (10, 1), (11, 2), (12, 3), (41, 4), (46, 4), (60, 5), (66, 5), (1000, 5)]
    {
        let mut outputs = Vec::new();
        for threads in [1, 3] {
            let server = server(&files);
            let store = tempfile::tempdir().unwrap();
            // Each is large enough for a task of its own.
            let files = listed(server, "set:any", 8 << 20);
            let (bench, outcome) = run(store.path(), server, &dataset(Some(take)), files, threads).unwrap();
            let mut texts: Vec<String> =
                documents(&bench, &outcome).into_iter().map(|document| document.text).collect();
            texts.sort();
            assert_eq!(texts, all[..all.len().min(take as usize)], "{take}");
            let opened: BTreeSet<String> = server.opened.lock().unwrap().iter().cloned().collect();
            // At most as many files at once as those before let expect.
            assert!(opened.len() <= opened_max, "{take}: {opened:?}");
            outputs.push(outcome.outputs["documents"]);
        }
        assert_eq!(outputs[0], outputs[1]);
    }
}

#[test]
fn errors_of_servers_reach_the_user_as_they_are() {
    let server = server(&[("a.jsonl", lines(0, 3))]);
    let mut files = listed(server, "set:any", 0);
    files[0].at =
        Location::Remote(Remote { url: "x://gone".into(), version: "etag:1".into(), license: String::new() });
    let store = tempfile::tempdir().unwrap();
    let error = run(store.path(), server, &dataset(None), files, 1).map(drop).unwrap_err();
    let Error::Input { message, help: Some(help) } = error else { panic!("{error}") };
    assert_eq!((message.as_str(), help.as_str()), ("the remote file changed", "`--update-pins`"));
}

#[test]
fn sources_say_what_they_want_of_servers() {
    let nowhere = |_: &str| None;
    let places = Places { project: "/project".into(), variable: &nowhere };
    let of = |source: Source| {
        let stage = Ingest { sources: vec![source], ..Ingest::default() };
        assert_eq!(stage.check(), []);
        assert_eq!(stage.sources(&places).unwrap(), []);
        stage.remotes(&places).unwrap().remove(0)
    };
    let glob = |glob: &str| Source { glob: glob.into(), ..Source::default() };
    let request = of(glob("s3://b/texts/*.jsonl.gz"));
    assert_eq!((request.source.as_str(), request.field.as_str()), ("texts:jsonl", "sources[0].glob"));
    assert_eq!(of(glob("https://h/d/reviews.csv?download=true")).source, "reviews:csv");
    let paths = Paths { list: "lists/wet.paths.gz".into(), sample: Some(0.5), ..Paths::default() };
    let source = Source { paths: Some(Box::new(paths)), ..Source::default() };
    assert_eq!(source.pages_of_html(), None);
    let request = of(source);
    assert_eq!(request.source, "wet:warc");
    let RemoteRoot::List { list, base, hash_max } = request.root else { panic!() };
    assert_eq!(
        (list.as_str(), base.as_str()),
        ("/project/lists/wet.paths.gz", "https://data.commoncrawl.org/")
    );
    assert_eq!(hash_max, Some(u64::MAX / 2));
    // An address of this machine is a path.
    let stage = Ingest { sources: vec![glob("file:///data/*.jsonl")], ..Ingest::default() };
    assert_eq!(stage.sources(&places).unwrap()[0].root, Path::new("/data"));
    assert_eq!(stage.remotes(&places).unwrap(), []);
}
