//! Documents through the whole stage: copies in; survivors, clusters and what was removed out.

use super::*;
use crate::documents::Document;
use crate::testing::{ids, put_documents, put_full_documents, words};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Event, Outcome};

fn removed(bench: &Bench, outcome: &Outcome) -> String {
    let files = bench.open(&bench.output(outcome, "removed").unwrap());
    files.iter().map(|file| String::from_utf8(file.bytes().unwrap()).unwrap()).collect()
}

fn survivors(bench: &Bench, outcome: &Outcome) -> Vec<String> {
    ids(bench, &bench.output(outcome, "documents").unwrap()).into_iter().collect()
}

fn metric(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
}

/// A text of distinct words, with one word in `every` replaced.
fn variant(of: usize, every: usize) -> String {
    let text = words(of, 300);
    let changed =
        |(n, word): (usize, &str)| if n % every == 1 { format!("{word}x") } else { word.to_owned() };
    text.split(' ').enumerate().map(changed).collect::<Vec<_>>().join(" ")
}

fn shards(texts: &[(&str, String)]) -> Vec<Vec<(String, String)>> {
    let documents: Vec<(String, String)> =
        texts.iter().map(|(id, text)| ((*id).to_owned(), text.clone())).collect();
    documents.chunks(2).map(<[_]>::to_vec).collect()
}

#[test]
fn copies_fall_to_the_longest_and_short_texts_only_to_equals() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let texts = [
        ("same-b", words(1, 200)),
        ("near-short", variant(2, 100)),
        ("same-a", words(1, 200)),
        ("near-long", variant(2, 100) + " and some more"),
        ("unlike", variant(2, 7)),
        ("tiny-a", "not found".to_owned()),
        ("tiny-b", "not found".to_owned()),
        ("tiny-c", "Not found".to_owned()),
        ("empty-a", String::new()),
        ("empty-b", String::new()),
    ];
    let documents = put_documents(&bench, &shards(&texts));
    let outcome = bench.run(&Dedup::default(), &[("documents", &documents)]).unwrap();
    let left = ["empty-a", "near-long", "same-a", "tiny-a", "tiny-c", "unlike"];
    assert_eq!(survivors(&bench, &outcome), left);
    let lines = removed(&bench, &outcome);
    assert!(
        lines.contains(r#"{"id":"same-b","kept":"same-a","reason":"exact","similarity":1.0,"#),
        "{lines}"
    );
    assert!(
        lines.contains(r#"{"id":"near-short","kept":"near-long","reason":"near","similarity":0.9"#),
        "{lines}"
    );
    let figures = ["documents", "documents_in", "removed_exact", "removed_near", "clusters"];
    assert_eq!(figures.map(|name| metric(&outcome, name)), [6.0, 10.0, 3.0, 1.0, 4.0]);
    assert_eq!(outcome.metrics[0].name, "documents");
}

#[test]
fn survivors_are_views_with_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let texts = [("a", words(1, 100)), ("b", words(1, 100)), ("c", words(2, 100))];
    let documents = put_documents(&bench, &shards(&texts));
    let outcome = bench.run(&Dedup::default(), &[("documents", &documents)]).unwrap();
    let unique = bench.output(&outcome, "documents").unwrap();
    assert_eq!(unique.entries[0].content.blob, documents.entries[0].content.blob);
    let mut found = Vec::new();
    for entry in bench.open(&unique) {
        for row in DocumentReader::of_entry(&entry).unwrap().rows().unwrap() {
            let row = row.unwrap();
            found.push((row.document.id, row.cluster.unwrap()));
        }
    }
    let least = stand_in("a").min(stand_in("b"));
    assert_eq!((found[0].0.as_str(), found[0].1.id, found[0].1.size), ("a", least, 2));
    assert_eq!((found[1].0.as_str(), found[1].1.id, found[1].1.size), ("c", stand_in("c"), 1));
}

#[test]
fn the_best_score_stays() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let scored = |id: &str, score: &str, text: String| Document {
        id: id.into(),
        text,
        metadata: [("quality".to_owned(), score.to_owned())].into(),
        ..Document::default()
    };
    let documents = put_full_documents(
        &bench,
        &[vec![
            scored("a", "-3.5", words(1, 300)),
            scored("b", "2.25", variant(1, 150)),
            scored("c", "0.5", words(1, 300)),
        ]],
    );
    let dedup = Dedup { score: Some("quality".into()), ..Dedup::default() };
    let outcome = bench.run(&dedup, &[("documents", &documents)]).unwrap();
    assert_eq!(survivors(&bench, &outcome), ["b"]);
}

#[test]
fn a_score_that_no_document_has_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let dedup = Dedup { score: Some("quality".into()), ..Dedup::default() };
    let error = bench.run(&dedup, &[("documents", &corpus(&bench))]).map(drop).unwrap_err().to_string();
    assert!(error.contains("no document has `quality` in its metadata"), "{error}");
    let empty = put_documents(&bench, &[]);
    assert!(bench.run(&dedup, &[("documents", &empty)]).is_ok());
}

#[test]
fn a_score_is_compared_with_the_columns_that_ingest_copies() {
    use crate::{Clean, Ingest};
    let known = |facts: Facts| {
        let mut inputs = KnownInputs::default();
        inputs.connect("documents", pipe_stage::KnownInput { facts, ..Default::default() });
        inputs
    };
    let check = |columns: &str, score: &str| -> Vec<String> {
        let source = format!(r#"{{"glob": "a.jsonl", "columns": {{"metadata": {columns}}}}}"#);
        let ingest: Ingest = serde_json::from_str(&format!(r#"{{"sources": [{source}]}}"#)).unwrap();
        let cleaned =
            Clean::default().facts("documents", &known(ingest.facts("documents", &KnownInputs::default())));
        let dedup = Dedup { score: Some(score.into()), ..Dedup::default() };
        dedup.check_known(&known(cleaned)).into_iter().map(|misfit| misfit.message).collect()
    };
    for (columns, score) in [
        (r#"["stars"]"#, "stars"),
        (r#"{"stars": "data.stars"}"#, "stars"),
        (r#"["*"]"#, "stars"),
        ("[]", "language_score"),
    ] {
        assert_eq!(check(columns, score), [""; 0], "{columns} {score}");
    }
    let message = "no document has `star` in its metadata, which contains `characters`, `language_declared`, \
        `language_score`, `stars`, `title`, the values of the rules of `clean`";
    assert_eq!(check(r#"["stars"]"#, "star"), [message]);
    let dedup = Dedup { score: Some("x".into()), ..Dedup::default() };
    assert_eq!(dedup.check_known(&known(Facts::default())), []);
}

#[test]
fn documents_with_more_candidates_than_are_compared_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    // All share one word of two, which is the first in the order of some band.
    let documents: Vec<_> = (0..3000).map(|n| (format!("d{n}"), format!("common w{n}"))).collect();
    let dedup = Dedup { threshold: 0.9, shingle: 1, bands: 16, rows: 1, ..Dedup::default() };
    let limited = |documents: &[(String, String)]| {
        let outcome =
            bench.run(&dedup, &[("documents", &put_documents(&bench, &[documents.to_vec()]))]).unwrap();
        assert_eq!(metric(&outcome, "documents"), documents.len() as f64);
        outcome.metrics.iter().find(|metric| metric.name == LIMITED).map(|metric| metric.value)
    };
    let found = limited(&documents).unwrap();
    assert!((1.0..=2000.0).contains(&found), "{found}");
    assert_eq!(limited(&documents[..1000]), None);
    let notes = bench.events.lock().unwrap();
    let note = notes.iter().find_map(|event| match event {
        Event::Note { message } => Some(message.clone()),
        _ => None,
    });
    assert!(note.is_some_and(|note| note.contains("were not compared with all candidates")));
}

#[test]
fn memory_is_expected_to_grow_with_the_documents() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let inputs = |documents| WorkInputs {
        ports: BTreeMap::from([("documents".to_owned(), vec![documents])]),
        complete: true,
        ..WorkInputs::default()
    };
    let (few, many) = (inputs(put_documents(&bench, &corpus_shards()[..1])), inputs(corpus(&bench)));
    let amount = |inputs: &WorkInputs| Dedup::default().memory_amount(inputs).unwrap();
    assert!(amount(&many) > amount(&few));
    assert_eq!(Dedup::default().memory_amount(&WorkInputs::default()), None);
    let split =
        |validation| crate::Split { validation, ..crate::Split::default() }.memory_amount(&many).unwrap();
    assert!(split(0.2) > split(0.1));
}

/// 60 documents in 6 shards; every tenth is a near-duplicate of the previous one.
fn corpus(bench: &Bench) -> Artifact {
    put_documents(bench, &corpus_shards())
}

fn corpus_shards() -> Vec<Vec<(String, String)>> {
    let text = |n: usize| if n % 10 == 9 { variant(n - 1, 120) } else { words(n, 300) };
    (0..6).map(|shard| (0..10).map(|n| (format!("d{shard}{n}"), text(shard * 10 + n))).collect()).collect()
}

#[test]
fn outputs_are_stable_whatever_the_threads() {
    let digests = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let outcome = bench.run(&Dedup::default(), &[("documents", &corpus(&bench))]).unwrap();
        ["documents", "removed"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
    };
    assert_eq!(digests(1), ["c1977f5f6d8c818a", "3192f3e478abde23"]);
    assert_eq!(digests(4), digests(1));
}

#[test]
fn the_order_of_shards_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mut turned = corpus_shards();
    turned.reverse();
    let [one, other] = [corpus(&bench), put_documents(&bench, &turned)]
        .map(|documents| bench.run(&Dedup::default(), &[("documents", &documents)]).unwrap());
    assert_eq!(survivors(&bench, &one), survivors(&bench, &other));
}

#[test]
fn a_cluster_that_grows_changes_only_the_shard_of_the_document_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let shard = |id: &str, n| vec![(id.to_owned(), words(1, 300)), (format!("{id}-own"), words(n, 300))];
    let mut shards = vec![shard("a", 2), shard("b", 3), shard("c", 4)];
    let documents = |shards: &[Vec<(String, String)>]| {
        let documents = put_documents(&bench, shards);
        let outcome = bench.run(&Dedup::default(), &[("documents", &documents)]).unwrap();
        let entries = bench.output(&outcome, "documents").unwrap().entries;
        entries.into_iter().map(|entry| serde_json::to_string(&entry).unwrap()).collect::<Vec<_>>()
    };
    let before = documents(&shards);
    shards.push(shard("d", 5));
    let after = documents(&shards);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..3]);
}

#[test]
fn one_new_shard_with_one_copy_reruns_two_shares_of_survivors() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mut shards = corpus_shards();
    bench.run(&Dedup::default(), &[("documents", &put_documents(&bench, &shards))]).unwrap();
    bench.events.lock().unwrap().clear();
    // A longer near-duplicate of a document of the third shard, which is now removed.
    shards.push(vec![("new".to_owned(), words(25, 300) + " and more words")]);
    bench.run(&Dedup::default(), &[("documents", &put_documents(&bench, &shards))]).unwrap();
    let events = bench.events.lock().unwrap();
    let missing = |wanted: &str| {
        events.iter().find_map(|event| match event {
            Event::Step { step, missing, .. } if step == wanted => Some(*missing),
            _ => None,
        })
    };
    assert_eq!([missing("signed"), missing("clusters"), missing("survivors")], [Some(1), Some(1), Some(2)]);
}

/// Two documents per shard, with ids, addresses, dates and texts.
fn pages(bench: &Bench, pages: &[[&str; 3]]) -> Artifact {
    let page = |(number, [id, url, date]): (usize, &[&str; 3])| Document {
        id: (*id).into(),
        url: (*url).into(),
        date: (*date).into(),
        text: words(number, 50 + number),
        ..Document::default()
    };
    let pages: Vec<Document> = pages.iter().enumerate().map(page).collect();
    put_full_documents(bench, &pages.chunks(2).map(<[_]>::to_vec).collect::<Vec<_>>())
}

const PAGES: [[&str; 3]; 6] = [
    ["b-old", "http://example.org/b/", "2023-05-01"],
    ["a", "https://example.org/a", ""],
    ["b-new", "https://EXAMPLE.org:443/b?utm_source=mail#top", "2024-01-01T00:00:00Z"],
    ["b-undated", "https://example.org/b", ""],
    ["b-of-query", "https://example.org/b?page=2", "2024-01-01"],
    ["without", "", "2024-01-01"],
];

#[test]
fn one_of_each_address_is_kept_by_rule() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents = pages(&bench, &PAGES);
    for (kept, id) in [(Kept::Newest, "b-new"), (Kept::Longest, "b-undated"), (Kept::First, "b-old")] {
        let dedup = Dedup { url: Some(kept), ..Dedup::default() };
        let outcome = bench.run(&dedup, &[("documents", &documents)]).unwrap();
        let mut left = ["a", id, "b-of-query", "without"];
        left.sort_unstable();
        assert_eq!(survivors(&bench, &outcome), left, "{kept:?}");
        let lines = removed(&bench, &outcome);
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(lines.contains(&format!(r#","kept":"{id}","reason":"url"}}"#)), "{lines}");
        assert_eq!((metric(&outcome, "removed_url"), metric(&outcome, "documents_in")), (2.0, 6.0));
    }
    // With other parameters, an address is another one.
    let dedup =
        Dedup { url: Some(Kept::Newest), tracking_parameters: vec!["page".into()], ..Dedup::default() };
    let outcome = bench.run(&dedup, &[("documents", &documents)]).unwrap();
    assert_eq!(survivors(&bench, &outcome), ["a", "b-new", "b-of-query", "without"]);
}

#[test]
fn what_addresses_need_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let best = Dedup { url: Some(Kept::Best), ..Dedup::default() };
    assert_eq!(best.check()[0].path, "url");
    let newest = Dedup { url: Some(Kept::Newest), ..Dedup::default() };
    let error = bench.run(&newest, &[("documents", &corpus(&bench))]).map(drop).unwrap_err().to_string();
    assert!(error.contains("no document has an address in `url`"), "{error}");
}

#[test]
fn copies_of_an_earlier_release_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let release = [("old-1", words(1, 200)), ("old-2", words(2, 200)), ("old-3", words(3, 200))];
    let release = put_documents(&bench, &shards(&release));
    let longer = words(2, 200) + " and some more";
    let new = [("exact", words(1, 200)), ("near", longer), ("new", words(4, 200)), ("again", words(4, 200))];
    let documents = put_documents(&bench, &shards(&new));
    let inputs = [("documents", &documents), ("earlier", &release)];
    let outcome = bench.run(&Dedup::default(), &inputs).unwrap();
    assert_eq!(survivors(&bench, &outcome), ["again"]);
    let lines = removed(&bench, &outcome);
    for expected in [
        r#"{"id":"exact","kept":"old-1","reason":"exact","earlier":true,"similarity":1.0,"#,
        r#"{"id":"near","kept":"old-2","reason":"near","earlier":true,"similarity":0.9"#,
        r#"{"id":"new","kept":"again","reason":"exact","similarity":1.0,"#,
    ] {
        assert!(lines.contains(expected), "{lines}");
    }
    let figures =
        ["documents", "documents_in", "removed_exact", "removed_near", "removed_earlier", "clusters"];
    assert_eq!(figures.map(|name| metric(&outcome, name)), [1.0, 4.0, 2.0, 1.0, 2.0, 3.0]);

    let (by_url, earlier) = (pages(&bench, &PAGES), pages(&bench, &[["gone", "http://example.org/b", ""]]));
    let dedup = Dedup { url: Some(Kept::Newest), ..Dedup::default() };
    let outcome = bench.run(&dedup, &[("documents", &by_url), ("earlier:r1", &earlier)]).unwrap();
    assert_eq!(survivors(&bench, &outcome), ["a", "b-of-query", "without"]);
    assert!(removed(&bench, &outcome).contains(r#""kept":"gone","reason":"url","earlier":true}"#));
}

#[test]
fn a_new_shard_beside_an_earlier_release_is_signed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let (release, mut new) = (corpus(&bench), vec![vec![("x".to_owned(), words(90, 100))]]);
    let mut missing = Vec::new();
    for more in 0..2 {
        new.extend((0..more).map(|n| vec![(format!("y{n}"), words(91 + n, 100))]));
        bench.events.lock().unwrap().clear();
        let documents = put_documents(&bench, &new);
        bench.run(&Dedup::default(), &[("documents", &documents), ("earlier", &release)]).unwrap();
        let signed = |event: &Event| match event {
            Event::Step { step, missing, .. } if step == "signed" => Some(*missing),
            _ => None,
        };
        missing.extend(bench.events.lock().unwrap().iter().find_map(signed));
    }
    assert_eq!(missing, [7, 1]);
}

#[test]
fn outputs_with_addresses_and_releases_are_stable_whatever_the_threads() {
    let digests = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let (documents, earlier) = (pages(&bench, &PAGES), pages(&bench, &PAGES[4..5]));
        let dedup = Dedup { url: Some(Kept::Newest), ..Dedup::default() };
        let outcome = bench.run(&dedup, &[("documents", &documents), ("earlier", &earlier)]).unwrap();
        ["documents", "removed"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
    };
    assert_eq!(digests(1), ["0f5b198f50b37b94", "4debd88cde18ee76"]);
    assert_eq!(digests(4), digests(1));
}

#[test]
fn settings_out_of_range_are_told() {
    let dedup = Dedup { threshold: 0.0, shingle: 0, bands: 257, rows: 65, ..Dedup::default() };
    let paths: Vec<String> = dedup.check().into_iter().map(|fault| fault.path).collect();
    assert_eq!(paths, ["threshold", "shingle", "bands", "rows"]);
    assert!(Dedup::default().check().is_empty());
}
