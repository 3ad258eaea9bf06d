//! Files that are one document each through the whole stage, and the checks of settings.

use super::*;
use crate::documents::{Document, DocumentReader};
use pipe_stage::testing::Bench;
use pipe_stage::{Mode, Outcome};
use std::path::{Path, PathBuf};

const PAGE: &str = "<title>T</title><p>Some text.";

fn site(folder: &Path, files: &[(&str, &[u8])]) -> Vec<SourceFile> {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    Bench::sources("site", folder).unwrap()
}

fn stage(errors_max: u64) -> Ingest {
    let source = Source { glob: "site/**/*.html".into(), url: "https://e.org/".into(), ..Source::default() };
    Ingest { sources: vec![source], shard_documents: Some(4), errors_max, ..Ingest::default() }
}

fn run(bench: &Bench, stage: &Ingest, files: Vec<SourceFile>) -> Result<Outcome> {
    bench.enter(stage, &[], files, Mode::Here)
}

fn pages(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|n| (format!("a/{n}.html"), format!("{PAGE} {n}").into_bytes())).collect()
}

fn borrowed(pages: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    pages.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
}

fn metric(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).map_or(0.0, |metric| metric.value)
}

#[test]
fn makes_documents_of_pages() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let outcome = run(&bench, &stage(0), site(folder.path(), &[("a/b.html", PAGE.as_bytes())])).unwrap();
    let artifact = bench.output(&outcome, "documents").unwrap();
    let entries = bench.open(&artifact);
    assert_eq!(entries[0].name(), "site/0000000000000000.parquet");
    let rows = DocumentReader::of_entry(&entries[0]).unwrap().rows().unwrap();
    let documents: Vec<Document> = rows.map(|row| row.unwrap().document).collect();
    let expected = Document {
        id: "site/a/b.html".into(),
        html: Some(PAGE.into()),
        url: "https://e.org/a/b.html".into(),
        source: "site".into(),
        ..Document::default()
    };
    assert_eq!(documents, [expected]);
}

#[test]
fn output_bytes_are_pinned_and_threads_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let files = site(folder.path(), &borrowed(&pages(40)));
    let digests: Vec<String> = [1, 4]
        .into_iter()
        .map(|threads| {
            let store = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(store.path()).unwrap();
            bench.threads = threads;
            run(&bench, &stage(0), files.clone()).unwrap().outputs["documents"].to_string()
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(&digests[0][..16], "7f54f63c13a28b5d");
}

#[test]
fn a_changed_page_changes_one_shard() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let mut pages = pages(40);
    let before = run(&bench, &stage(0), site(folder.path(), &borrowed(&pages))).unwrap();
    pages[7].1 = b"<p>Another text.".to_vec();
    let after = run(&bench, &stage(0), site(folder.path(), &borrowed(&pages))).unwrap();
    let entries = |outcome| bench.output(outcome, "documents").unwrap().entries;
    let (before, after) = (entries(&before), entries(&after));
    assert!(before.len() > 8);
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
}

#[test]
fn work_and_size_are_those_of_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let files = site(folder.path(), &borrowed(&pages(40)));
    let sources = std::sync::Arc::new(files.clone());
    let inputs = WorkInputs { sources, complete: true, ..WorkInputs::default() };
    let of = |source: Source| {
        let stage = Ingest { sources: vec![source], ..Ingest::default() };
        (Stage::work(&stage, &inputs).unwrap(), stage.output_amount(&inputs))
    };
    let pages = Source { glob: "site/**/*.html".into(), ..Source::default() };
    let all = files.iter().map(|file| file.size as f64).sum();
    assert_eq!(of(pages.clone()), (all, Some(all)));
    let (work, output) = of(Source { limit: Some(4), ..pages.clone() });
    assert!(work < all / 5.0 && output == Some(work), "{work} of {all}");
    let (work, output) = of(Source { fraction: Some(0.5), ..pages });
    assert!(work > all * 0.2 && work < all * 0.8 && output == Some(work), "{work} of {all}");
}

#[test]
fn broken_files_are_rejected_with_their_reason() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let redirect = b"<meta http-equiv=refresh content='0;url=x.html'>";
    let files: &[(&str, &[u8])] = &[
        ("good.html", PAGE.as_bytes()),
        ("empty.html", b""),
        ("picture.html", b"\x89PNG\r\n\x1a\n\0\0"),
        ("broken.html", &[0xC3; 300]),
        ("moved.html", redirect),
    ];
    let files = site(folder.path(), files);
    let error = run(&bench, &stage(2), files.clone()).unwrap_err().to_string();
    assert!(error.starts_with("3 of 5 files could not be read, but `errors_max` is 2"), "{error}");
    assert!(error.contains("`site/empty.html`: it is empty"), "{error}");
    let outcome = run(&bench, &stage(3), files).unwrap();
    let figures = ["documents", "rejected", "redirects"].map(|name| metric(&outcome, name));
    assert_eq!(figures, [1.0, 3.0, 1.0]);
    let rejected = bench.open(&bench.output(&outcome, "rejected").unwrap());
    let lines = String::from_utf8(rejected.iter().flat_map(|file| file.bytes().unwrap()).collect()).unwrap();
    assert!(lines.contains(r#"{"id":"site/picture.html","reason":"binary""#), "{lines}");
    assert!(lines.contains(r#""reason":"undecodable""#), "{lines}");
    assert!(lines.contains(r#"{"id":"site/moved.html","reason":"redirect""#), "{lines}");
    let limited = Ingest { redirects_max: Some(0), ..stage(3) };
    let error = run(&bench, &limited, site(folder.path(), &[])).unwrap_err().to_string();
    assert!(error.starts_with("1 redirect page was left out, but `redirects_max` is 0"), "{error}");
}

#[test]
fn no_page_is_lost_for_what_it_looks_like() {
    // Detection by content (libmagic) takes such pages for tables and drops them silently.
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let table = "a,b,c\n1,2,3\n".repeat(50);
    let files = site(folder.path(), &[("a.html", table.as_bytes()), ("b.html", b"plain text")]);
    assert_eq!(metric(&run(&bench, &stage(0), files).unwrap(), "documents"), 2.0);
}

#[test]
fn a_file_above_the_limit_is_rejected_unread() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let stage = Ingest { page_mib_max: 1, ..stage(1) };
    let files = site(folder.path(), &[("large.html", &vec![b' '; (1 << 20) + 1])]);
    assert_eq!(metric(&run(&bench, &stage, files).unwrap(), "rejected"), 1.0);
}

#[test]
fn bad_settings_are_named_by_their_path() {
    let both = Source { glob: "x/*.html".into(), rust_docs: vec!["book".into()], ..Source::default() };
    let twice = Source { glob: "x/*.html".into(), ..Source::default() };
    let stage = Ingest { sources: vec![both, twice], shard_documents: Some(0), ..Ingest::default() };
    let paths: Vec<String> = stage.check().into_iter().map(|misfit| misfit.path).collect();
    assert_eq!(paths, ["shard_documents", "sources[0]", "sources[1]"]);
    let unconnected = KnownInputs::default();
    assert_eq!(Ingest::default().check_known(&unconnected)[0].path, "sources");
    let files = |source| Ingest { files: Some(Box::new(source)), ..Ingest::default() };
    assert_eq!(files(Source::default()).check_known(&unconnected)[0].path, "files");
    assert_eq!(files(Source { glob: "*.warc".into(), ..Source::default() }).check()[0].path, "files");
    let delimiter = Source { delimiter: ";".into(), ..Source::default() };
    assert_eq!(files(delimiter).check()[0].path, "files.delimiter");
}

#[test]
fn globs_start_below_their_plain_folders() {
    assert_eq!(split_glob("a/b/**/*.html"), ("a/b".into(), "**/*.html".into()));
    assert_eq!(split_glob("/data/x.html"), ("/data/x.html".into(), String::new()));
    assert_eq!(split_glob("*.html"), (PathBuf::new(), "*.html".into()));
}

#[test]
fn missing_documentation_says_how_to_install_it() {
    let nowhere = tempfile::tempdir().unwrap();
    let path = nowhere.path().display().to_string();
    let variable = |name: &str| (name == "HOME").then(|| path.clone());
    let places = Places { project: nowhere.path().to_owned(), variable: &variable };
    let source = Source { rust_docs: vec!["book".into()], ..Source::default() };
    let misfits = Ingest { sources: vec![source], ..Ingest::default() }.sources(&places).unwrap_err();
    assert_eq!(misfits[0].path, "sources[0].rust-docs");
    assert!(misfits[0].help.as_ref().unwrap().contains("rustup component add rust-docs"));
}
