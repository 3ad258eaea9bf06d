//! Tests of the stage: which documents are left, what runs again, and which bytes stay.

use super::*;
use crate::dedup::Dedup;
use crate::documents::Document;
use crate::testing::{ids, put_full_documents, words};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Event, Mode, Outcome, SourceFile};
use std::fs;

/// Four shards of five documents of `https://hN.example.org/N`, two on each host.
fn corpus(bench: &Bench) -> Artifact {
    let document = |n: usize| Document {
        id: format!("s/{n:02}"),
        text: words(n, 60),
        url: format!("https://h{}.example.org/{n}", n / 2),
        language: "en".into(),
        ..Document::default()
    };
    let shards: Vec<Vec<Document>> =
        (0..4).map(|shard| (0..5).map(|n| document(shard * 5 + n)).collect()).collect();
    put_full_documents(bench, &shards)
}

/// Lists as sources of the stage.
fn lists(folder: &std::path::Path, lists: &[(By, &str)]) -> (Remove, Vec<SourceFile>) {
    let (mut stage, mut files) = (Remove::default(), Vec::new());
    for (by, text) in lists {
        let root = folder.join(by.field());
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("list.txt"), text).unwrap();
        files.extend(Bench::sources(by.field(), &root).unwrap());
        let field = match by {
            By::Id => &mut stage.ids,
            By::Url => &mut stage.urls,
            By::Host => &mut stage.hosts,
        };
        *field = "list.txt".to_owned();
    }
    (stage, files)
}

fn run(bench: &Bench, documents: &Artifact, (stage, files): (Remove, Vec<SourceFile>)) -> Outcome {
    bench.enter(&stage, &[("documents", documents)], files, Mode::Here).unwrap()
}

fn value(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
}

fn text(bench: &Bench, outcome: &Outcome, port: &str) -> String {
    let files = bench.open(&bench.output(outcome, port).unwrap());
    files.iter().map(|file| String::from_utf8(file.bytes().unwrap()).unwrap()).collect()
}

#[test]
fn documents_on_lists_are_removed_and_entries_without_one_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents = corpus(&bench);
    let wanted = [
        (By::Id, "s/00\ns/99\n"),
        (By::Url, "# asked for on Monday\nhttp://www.h3.example.org/6/#top\nhttps://h3.example.org/77\n"),
        (By::Host, "h7.example.org\nother.example\n"),
    ];
    let outcome = run(&bench, &documents, lists(folder.path(), &wanted));
    let left = ids(&bench, &bench.output(&outcome, "documents").unwrap());
    let gone: Vec<String> = ids(&bench, &documents).difference(&left).cloned().collect();
    assert_eq!(gone, ["s/00", "s/06", "s/14", "s/15"]);
    assert_eq!(
        ["documents", "documents_in", "removed", "entries", "entries_unmatched"]
            .map(|name| value(&outcome, name)),
        [16.0, 20.0, 4.0, 6.0, 3.0]
    );
    let removed = text(&bench, &outcome, "removed");
    assert!(
        removed.contains(r#""id":"s/06","url":"https://h3.example.org/6","by":"url","entry":"http://www.h3"#),
        "{removed}"
    );
    let unmatched = text(&bench, &outcome, "unmatched");
    let expected = "{\"by\":\"id\",\"entry\":\"s/99\"}\n{\"by\":\"url\",\"entry\":\"https://h3.example.org/77\"}\n{\"by\":\"host\",\"entry\":\"other.example\"}\n";
    assert_eq!(unmatched, expected);
    let report = text(&bench, &outcome, "report");
    let digest = |field: &str| {
        let list = fs::read(folder.path().join(field).join("list.txt")).unwrap();
        pipe_stage::Digest::of(&list).to_string()
    };
    let line = |by: &str, entries: u64, unmatched: u64, documents: u64| {
        let digest = digest(&format!("{by}s"));
        format!(
            r#"{{"by":"{by}","list":"list.txt","digest":"{digest}","entries":{entries},"unmatched":{unmatched},"documents":{documents}}}"#
        ) + "\n"
    };
    assert_eq!(report, line("id", 2, 1, 1) + &line("url", 2, 1, 1) + &line("host", 2, 1, 2));
}

#[test]
fn a_new_entry_writes_only_the_shards_that_it_touches() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents = corpus(&bench);
    let before = run(&bench, &documents, lists(folder.path(), &[(By::Url, "")]));
    let before = bench.output(&before, "documents").unwrap();
    assert_eq!(before.entries, documents.entries, "without entries, all shards are passed on");
    bench.events.lock().unwrap().clear();
    let after = run(&bench, &documents, lists(folder.path(), &[(By::Url, "https://h3.example.org/6")]));
    let missing = |step: &str| {
        let events = bench.events.lock().unwrap();
        events.iter().find_map(|event| match event {
            Event::Step { step: own, missing, .. } if own == step => Some(*missing),
            _ => None,
        })
    };
    // A step without missing tasks is not announced.
    assert_eq!((missing("names"), missing("left")), (None, Some(1)));
    let after = bench.output(&after, "documents").unwrap();
    let differ: Vec<usize> = (0..4).filter(|n| after.entries[*n] != documents.entries[*n]).collect();
    assert_eq!(differ, [1]);
    assert!(after.entries[1].content.selection.is_none(), "a view would keep the bytes");
    let shard = &bench.open(&after)[1];
    let rows: Vec<String> = DocumentReader::open(shard.path().unwrap())
        .unwrap()
        .rows()
        .unwrap()
        .map(|row| row.unwrap().document.id)
        .collect();
    assert_eq!(rows, ["s/05", "s/07", "s/08", "s/09"]);
}

#[test]
fn added_columns_stay_with_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let unique = bench.run(&Dedup::default(), &[("documents", &corpus(&bench))]).unwrap();
    let unique = bench.output(&unique, "documents").unwrap();
    let clusters = |documents: &Artifact| -> BTreeMap<String, Option<u64>> {
        let rows = bench
            .open(documents)
            .into_iter()
            .flat_map(|entry| DocumentReader::of_entry(&entry).unwrap().rows().unwrap().collect::<Vec<_>>());
        rows.map(|row| row.unwrap())
            .map(|row| (row.document.id.clone(), row.cluster.map(|cluster| cluster.id)))
            .collect()
    };
    let outcome =
        run(&bench, &unique, lists(folder.path(), &[(By::Id, "s/01\ns/10\ns/11\ns/12\ns/13\ns/14")]));
    let left = bench.output(&outcome, "documents").unwrap();
    assert_eq!(left.entries.len(), 3, "a shard without documents is no entry");
    let (before, after) = (clusters(&unique), clusters(&left));
    assert_eq!(after.len(), 14);
    assert!(after.iter().all(|(id, cluster)| cluster.is_some() && before[id] == *cluster));
}

#[test]
fn lists_that_cannot_be_read_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents = corpus(&bench);
    let (stage, files) = lists(folder.path(), &[(By::Host, "a.example\n/b\n")]);
    let error = bench
        .enter(&stage, &[("documents", &documents)], files, Mode::Here)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the list `list.txt`: line 2: `/b` is not a domain; addresses of pages belong in `urls`"
    );
    assert_eq!(Remove::default().check()[0].message, "names no list");
}

#[test]
fn outputs_are_stable_whatever_the_threads() {
    let digest = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let outcome = run(
            &bench,
            &corpus(&bench),
            lists(folder.path(), &[(By::Id, "s/03"), (By::Host, "h4.example.org")]),
        );
        ["documents", "removed"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
    };
    assert_eq!(digest(1), ["20a368c7861994be", "ddeb952b9d98d348"]);
    assert_eq!(digest(3), digest(1));
}
