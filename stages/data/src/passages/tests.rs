//! Documents through the whole stage: texts with common passages in; shorter texts, and what was cut, out.

use super::*;
use crate::documents::{AddedColumn, AddedColumns, Document};
use crate::testing::{put_documents, put_full_documents, words};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Content, Outcome};

pub(crate) fn lines_of_output(bench: &Bench, outcome: &Outcome, port: &str) -> String {
    let files = bench.open(&bench.output(outcome, port).unwrap());
    files.iter().map(|file| String::from_utf8(file.bytes().unwrap()).unwrap()).collect()
}

/// Ids and texts of the output.
pub(crate) fn texts(bench: &Bench, outcome: &Outcome) -> Vec<(String, String)> {
    let entries = bench.open(&bench.output(outcome, "documents").unwrap());
    let rows = entries.iter().flat_map(|entry| DocumentReader::of_entry(entry).unwrap().rows().unwrap());
    rows.map(|row| row.map(|row| (row.document.id, row.document.text)).unwrap()).collect()
}

pub(crate) fn metric(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
}

const NOTICE: &str = "All rights are reserved by the owner.";

/// Three shards of two documents; a notice is in three documents, of which the first is in the first shard.
fn corpus(bench: &Bench) -> Artifact {
    let own = |n: usize| words(n, 60);
    let texts = [
        own(0),
        format!("{}\n\n{NOTICE}\n\n{NOTICE}\n", own(1)),
        format!("{NOTICE}\n\n{}\n", own(2)),
        own(3),
        "all rights are reserved by the owner\n\nToo short\n".to_owned(),
        own(5),
    ];
    let documents: Vec<(String, String)> =
        texts.into_iter().enumerate().map(|(n, text)| (format!("d{n}"), text)).collect();
    put_documents(bench, &documents.chunks(2).map(<[_]>::to_vec).collect::<Vec<_>>())
}

const PARAGRAPHS: DedupPassages = DedupPassages {
    unit: Unit::Paragraphs,
    sentences: 3,
    words_min: 5,
    documents_max: 1,
    document_words_min: 50,
};

#[test]
fn passages_stay_only_in_the_first_document() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents = corpus(&bench);
    let outcome = bench.run(&PARAGRAPHS, &[("documents", &documents)]).unwrap();
    let found = texts(&bench, &outcome);
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["d0", "d1", "d2", "d3", "d5"]);
    assert!(found[1].1.ends_with(&format!("\n\n{NOTICE}\n\n{NOTICE}\n")));
    assert_eq!(found[2].1, words(2, 60) + "\n");
    let expected = [5.0, 6.0, 1.0, 2.0, 37.0 + 36.0, 1.0];
    assert_eq!(METRICS.map(|name| metric(&outcome, name)), expected);
    assert_eq!(
        lines_of_output(&bench, &outcome, "cut"),
        format!("{{\"id\":\"d2\",\"passages\":1,\"characters\":37,\"words\":60,\"text\":\"{NOTICE}\"}}\n")
    );
    let dropped = lines_of_output(&bench, &outcome, "dropped");
    assert!(dropped.starts_with(r#"{"id":"d4","passages":1,"characters":36,"words":2,"#), "{dropped}");

    // A shard without a repeated passage is the same file; one with a dropped document is a view of it.
    let made = bench.output(&outcome, "documents").unwrap();
    assert_eq!(made.entries[0], documents.entries[0]);
    assert_ne!(made.entries[1].content.blob, documents.entries[1].content.blob);
    assert_eq!(made.entries[2].content.blob, documents.entries[2].content.blob);
    assert!(made.entries[2].content.selection.is_some());

    let more = DedupPassages { documents_max: 3, ..PARAGRAPHS };
    let outcome = bench.run(&more, &[("documents", &documents)]).unwrap();
    assert_eq!(bench.output(&outcome, "documents").unwrap().entries, documents.entries);
}

#[test]
fn a_kept_span_of_sentences_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let sentence = |n: usize| format!("This is sentence {n} of all. ");
    let text = |numbers: &[usize]| numbers.iter().map(|n| sentence(*n)).collect::<String>() + "\n";
    // Sentences 3 to 5 are kept by the second document, although 1 to 3 are those of the first.
    let shards: Vec<Vec<(String, String)>> =
        [vec![1, 2, 3, 10, 11], vec![1, 2, 3, 4, 5], vec![20, 3, 4, 5, 21]]
            .iter()
            .enumerate()
            .map(|(n, numbers)| vec![(format!("d{n}"), text(numbers))])
            .collect();
    let stage = DedupPassages { document_words_min: 1, ..DedupPassages::default() };
    let outcome = bench.run(&stage, &[("documents", &put_documents(&bench, &shards))]).unwrap();
    let found: Vec<String> = texts(&bench, &outcome).into_iter().map(|(_, text)| text).collect();
    let expected =
        [&[1, 2, 3, 10, 11][..], &[3, 4, 5], &[20, 21]].map(|numbers| text(numbers).trim_end().to_owned());
    assert_eq!(found.iter().map(|text| text.trim_end()).collect::<Vec<_>>(), expected);
}

#[test]
fn views_and_added_columns_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mut documents = corpus(&bench);
    let mut added = AddedColumns::default();
    added.insert("quality", AddedColumn::F32(vec![0.25, 0.75])).unwrap();
    let columns = bench.store.put(&added.write(Vec::new()).unwrap()).unwrap();
    for entry in &mut documents.entries {
        entry.content = Content { columns: Some(columns), ..entry.content.clone() };
    }
    // The first document with the notice is not selected.
    let mut selection = Vec::new();
    pipe_stage::RoaringBitmap::from_iter([0]).serialize_into(&mut selection).unwrap();
    documents.entries[0].content.selection = Some(bench.store.put(&selection).unwrap());
    let outcome = bench.run(&PARAGRAPHS, &[("documents", &documents)]).unwrap();
    let made = bench.output(&outcome, "documents").unwrap();
    assert_eq!(made.entries[..2], documents.entries[..2]);
    assert_eq!(metric(&outcome, "documents_in"), 5.0);

    let all = DedupPassages { document_words_min: 1, ..PARAGRAPHS };
    let outcome = bench.run(&all, &[("documents", &documents)]).unwrap();
    let made = bench.output(&outcome, "documents").unwrap();
    let last = &bench.open(&made)[2];
    let rows: Vec<_> = DocumentReader::of_entry(last).unwrap().rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].document.text, "Too short\n");
    assert_eq!(rows[1].fact("quality").and_then(crate::documents::Fact::number), Some(0.75));
}

#[test]
fn where_shards_begin_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents: Vec<(String, String)> = (0..40)
        .map(|n| {
            (format!("d{n:02}"), format!("{}\n{}\n{}\n", words(n % 7, 12), words(n, 80), words(n % 5, 9)))
        })
        .collect();
    let of = |size: usize| {
        let shards: Vec<_> = documents.chunks(size).map(<[_]>::to_vec).collect();
        let stage = DedupPassages { unit: Unit::Lines, ..PARAGRAPHS };
        let outcome = bench.run(&stage, &[("documents", &put_documents(&bench, &shards))]).unwrap();
        (texts(&bench, &outcome), METRICS.map(|name| metric(&outcome, name)))
    };
    let found = of(40);
    assert!(found.1[2] == 35.0 && found.1[3] > 35.0, "{found:?}");
    assert_eq!((of(7), of(1)), (found.clone(), found));
}

#[test]
fn one_new_shard_reruns_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mut shards: Vec<Vec<(String, String)>> =
        (0..5).map(|n| vec![(format!("d{n}"), words(n, 80))]).collect();
    bench.run(&PARAGRAPHS, &[("documents", &put_documents(&bench, &shards))]).unwrap();
    bench.events.lock().unwrap().clear();
    shards.push(vec![("new".to_owned(), words(90, 80))]);
    bench.run(&PARAGRAPHS, &[("documents", &put_documents(&bench, &shards))]).unwrap();
    let events = bench.events.lock().unwrap();
    let missing = |wanted: &str| {
        events.iter().find_map(|event| match event {
            pipe_stage::Event::Step { step, missing, .. } if step == wanted => Some(*missing),
            _ => None,
        })
    };
    assert_eq!([missing("passages"), missing("cut")], [Some(1), Some(1)]);
}

#[test]
fn outputs_are_stable_whatever_the_threads() {
    let digests = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let outcome = bench.run(&PARAGRAPHS, &[("documents", &corpus(&bench))]).unwrap();
        ["documents", "cut", "dropped"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
    };
    assert_eq!(digests(1), ["df20405c78c0163c", "4ebdb801f3be700b", "826244b0c7feff4d"]);
    assert_eq!(digests(4), digests(1));
}

#[test]
fn settings_out_of_range_are_told() {
    let stage =
        DedupPassages { unit: Unit::Lines, sentences: 21, words_min: 0, documents_max: 0, ..PARAGRAPHS };
    let paths: Vec<String> = stage.check().into_iter().map(|fault| fault.path).collect();
    assert_eq!(paths, ["sentences", "sentences", "words_min", "documents_max"]);
    assert!(DedupPassages::default().check().is_empty() && PARAGRAPHS.check().is_empty());
}

#[test]
fn an_input_without_text_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let page = Document { id: "p".into(), html: Some(b"<p>x".to_vec()), ..Document::default() };
    let error = bench.run(&PARAGRAPHS, &[("documents", &put_full_documents(&bench, &[vec![page]]))]);
    assert!(error.map(drop).unwrap_err().to_string().contains("whose text has not been extracted"));
    let outcome = bench.run(&PARAGRAPHS, &[("documents", &put_documents(&bench, &[]))]).unwrap();
    assert_eq!(metric(&outcome, "documents"), 0.0);
}
