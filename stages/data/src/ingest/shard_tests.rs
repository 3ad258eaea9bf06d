//! Which shards files of records make, and what a new file changes.

use super::record_tests::{Case, jsonl, mapped, rows};
use super::*;
use crate::documents::DocumentReader;
use pipe_stage::testing::Bench;
use pipe_stage::{Event, Mode};

#[test]
fn files_of_another_stage_are_read_like_those_of_a_source() {
    let store = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    let text = jsonl(&rows(5));
    let files = bench.artifact("files", &[("a/1.jsonl", text.as_bytes()), ("log", b"{}\n")]).unwrap();
    let source = |columns| Source {
        format: Some(Format::Jsonl),
        name: "crawled".into(),
        columns,
        ..Source::default()
    };
    let stage =
        |columns| Ingest { files: Some(Box::new(source(columns))), errors_max: 1, ..Ingest::default() };
    let ids = |stage: &Ingest, files: &pipe_stage::Artifact| -> Result<Vec<String>> {
        let outcome = bench.run(stage, &[("files", files)])?;
        let entries = bench.open(&bench.output(&outcome, "documents").unwrap());
        let rows = entries.iter().flat_map(|entry| DocumentReader::of_entry(entry).unwrap().rows().unwrap());
        Ok(rows.map(|row| row.unwrap().document.id).collect())
    };
    let by_row = stage(Columns { id: String::new(), ..mapped() });
    let expected: Vec<String> = (1..=5).map(|row| format!("crawled/a/1.jsonl:{row}")).collect();
    assert_eq!(ids(&by_row, &files).unwrap(), expected);
    // Names of files are part of the ids, so files with other names are read again.
    let renamed = bench.artifact("files", &[("b.jsonl", text.as_bytes())]).unwrap();
    assert_eq!(ids(&by_row, &renamed).unwrap()[0], "crawled/b.jsonl:1");

    let digest = files.entries[0].content.blob.digest;
    let path = bench.store.object_path(&digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, text.replace('1', "2")).unwrap();
    let error = ids(&stage(mapped()), &files).unwrap_err();
    assert!(matches!(error, Error::Damaged { digest: damaged } if damaged == digest), "{error}");
}

#[test]
fn a_new_file_costs_one_task_and_changes_no_other_shard() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let Case { stage, .. } = Case::new("*.jsonl", mapped());
    // Large enough to be read on their own.
    let text = |n: usize| {
        let row = |row: usize| [format!("{n}-{row}"), "words ".repeat(100_000), String::new()];
        jsonl(&(0..9).map(row).collect::<Vec<_>>())
    };
    let run = |n: usize| {
        std::fs::write(folder.path().join(format!("{}.jsonl", n * 7 % 5)), text(n)).unwrap();
        let sources = Bench::sources("data:jsonl", folder.path()).unwrap();
        let outcome = bench.enter(&stage, &[], sources, Mode::Here).unwrap();
        let events = std::mem::take(&mut *bench.events.lock().unwrap());
        let missing = |wanted: &str| {
            events.iter().find_map(|event| match event {
                Event::Step { step, missing, .. } if step == wanted => Some(*missing),
                _ => None,
            })
        };
        let entries = bench.output(&outcome, "documents").unwrap().entries;
        (missing("shards_by_file"), entries.into_iter().map(|entry| entry.name).collect::<BTreeSet<_>>())
    };
    let (_, mut before) = run(0);
    assert_eq!(before.len(), 3, "2 MiB, 2 MiB, the rest: {before:?}");
    for n in 1..5 {
        let (missing, after) = run(n);
        assert_eq!(missing, Some(1));
        assert!(before.is_subset(&after) && after.len() == before.len() + 3, "{before:?} {after:?}");
        before = after;
    }
}

#[test]
fn ids_are_unique_over_files_and_the_rest_of_the_shards_stays() {
    let row = |n: usize| [format!("k{n}"), format!("Body {n}"), String::new()];
    let rows = |range: std::ops::Range<usize>| range.map(row).collect::<Vec<_>>();
    let whole = Case::new("*.jsonl", mapped()).file("b.jsonl", jsonl(&rows(0..100))).run();
    let made = Case::new("*.jsonl", mapped())
        .file("a.jsonl", jsonl(&rows(90..95)))
        .file("b.jsonl", jsonl(&[rows(0..100), rows(3..5)].concat()))
        .file("c.jsonl", jsonl(&rows(50..51)))
        .run();
    assert_eq!(made.ids(), whole.ids());
    assert_eq!(made.documents.len(), 100);
    let figures = ["documents", "duplicates", "bytes"].map(|name| made.metric(name));
    assert_eq!(figures, [100.0, 8.0, whole.metric("bytes")]);
    let expected: Vec<_> = [90, 91, 92, 93, 94, 3, 4, 50]
        .map(|n| (format!("data/k{n}"), None, "duplicate_id".to_owned()))
        .into();
    assert_eq!(made.reasons().into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect());
}
