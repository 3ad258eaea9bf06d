//! Classifiers from documents to scores: training, existing models, added columns, filters.

use super::*;
use crate::classify::Classify;
use crate::dedup::Dedup;
use crate::documents::{Document, Row};
use crate::filter::{Condition, Filter};
use crate::testing::{ids, put_full_documents};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Event, Mode, Outcome};

/// Texts in which two of three words tell the topic.
fn document(n: usize) -> Document {
    let topic = ["cooking", "sailing", "music"][n % 3];
    let words = [
        ["pan", "salt", "oven", "dough", "boil"],
        ["mast", "anchor", "harbour", "wind", "tide"],
        ["chord", "violin", "tempo", "choir", "tune"],
    ];
    let any = ["the", "and", "with", "under", "a", "often", "very"];
    let word = |k: usize| match k % 3 {
        0 => any[(n * 5 + k * 3) % any.len()],
        _ => words[n % 3][(n * 7 + k * n + k) % 5],
    };
    let text = (0..12).map(word).collect::<Vec<_>>().join(" ");
    let metadata = [("topic".to_owned(), topic.to_owned())].into();
    Document { id: format!("d{n:03}"), text, metadata, ..Document::default() }
}

fn corpus(bench: &Bench) -> Artifact {
    let shards: Vec<Vec<Document>> = (0..3)
        .map(|shard| {
            (0..300)
                .filter(|n| n % 3 == shard || n % 7 == shard)
                .map(|n| {
                    let document = document(n);
                    Document { id: format!("{}-{shard}", document.id), ..document }
                })
                .collect()
        })
        .collect();
    put_full_documents(bench, &shards)
}

fn stage() -> ClassifierStage {
    ClassifierStage { label: Some("topic".into()), held_out: 0.3, buckets: 500, ..ClassifierStage::default() }
}

fn bench(folder: &tempfile::TempDir) -> Bench {
    Bench::new(folder.path()).unwrap()
}

fn value(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}")).value
}

fn rows(bench: &Bench, documents: &Artifact) -> Vec<Row> {
    let files = bench.open(documents);
    let of = |file| DocumentReader::of_entry(file).unwrap().rows().unwrap().map(Result::unwrap);
    files.iter().flat_map(of).collect()
}

#[test]
fn a_classifier_learns_labels_and_reports_held_out_figures() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let outcome = bench.run(&stage(), &[("documents", &corpus(&bench))]).unwrap();
    assert!(value(&outcome, "accuracy") > 0.95, "{:?}", outcome.metrics);
    assert_eq!(value(&outcome, "labels"), 3.0);
    let (train, held_out) = (value(&outcome, "documents"), value(&outcome, "held_out"));
    assert_eq!(train + held_out, 384.0);
    assert!(value(&outcome, "recall.music") > 0.9);
    let model = bench.open(&bench.output(&outcome, "model").unwrap());
    let text = (CLASSIFIER.look)(&model, 10).unwrap();
    assert!(text.starts_with("3 labels, ") && text.contains("\nsailing "), "{text}");
    (CLASSIFIER.check)(&model).unwrap();
}

#[test]
fn outputs_are_stable_whatever_the_threads() {
    let digests = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = bench(&folder);
        bench.threads = threads;
        let documents = corpus(&bench);
        let trained = bench.run(&stage(), &[("documents", &documents)]).unwrap();
        let model = bench.output(&trained, "model").unwrap();
        let classify = Classify {
            probabilities: [("loud".to_owned(), "music".to_owned())].into(),
            ..Classify::default()
        };
        let scored = bench.run(&classify, &[("documents", &documents), ("model", &model)]).unwrap();
        let condition = Condition { min: Some(0.5), ..Condition::default() };
        let filter = Filter { keep: [("loud".to_owned(), condition)].into() };
        let scores = bench.output(&scored, "documents").unwrap();
        let kept = bench.run(&filter, &[("documents", &scores)]).unwrap();
        let all = [
            &trained.outputs["model"],
            &scored.outputs["documents"],
            &kept.outputs["documents"],
            &kept.outputs["dropped"],
        ];
        all.map(|digest| digest.to_string()[..16].to_owned())
    };
    let found = digests(1);
    assert_eq!(digests(4), found);
    assert_eq!(found, ["4f1cc7c8f7d15e76", "bd6480bde24a112f", "59f5780aef1ad0b0", "8b2649dcb14c9bc2"]);
}

#[test]
fn scores_are_facts_for_filters_rankings_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let documents = corpus(&bench);
    let trained = bench.run(&stage(), &[("documents", &documents)]).unwrap();
    let model = bench.output(&trained, "model").unwrap();
    let classify = Classify {
        column: Some("kind".into()),
        probabilities: [("loud".to_owned(), "music".to_owned())].into(),
        ..Classify::default()
    };
    let scored = bench.run(&classify, &[("documents", &documents), ("model", &model)]).unwrap();
    assert_eq!(value(&scored, "documents"), 384.0);
    assert_eq!(
        ["cooking", "sailing", "music"].map(|l| value(&scored, &format!("label.{l}"))).iter().sum::<f64>(),
        384.0
    );
    let scored = bench.output(&scored, "documents").unwrap();
    for row in rows(&bench, &scored) {
        let (kind, loud) = (row.fact("kind").unwrap(), row.fact("loud").and_then(Fact::number).unwrap());
        let best = row.fact("kind_score").and_then(Fact::number).unwrap();
        assert_eq!(kind == Fact::Text("music"), loud == best, "{row:?}");
    }

    // A filter keeps some of them, and lists the others.
    let condition = |list: &[&str]| Condition {
        r#in: list.iter().map(|text| (*text).to_owned()).collect(),
        ..Condition::default()
    };
    let keep = [
        ("kind".to_owned(), condition(&["music", "sailing"])),
        ("loud".to_owned(), Condition { max: Some(0.5), ..Condition::default() }),
    ];
    let filtered = bench.run(&Filter { keep: keep.into() }, &[("documents", &scored)]).unwrap();
    let kept = bench.output(&filtered, "documents").unwrap();
    assert!(rows(&bench, &kept).iter().all(|row| row.fact("kind") == Some(Fact::Text("sailing"))));
    let dropped = bench.open(&bench.output(&filtered, "dropped").unwrap());
    let lines: usize =
        dropped.iter().map(|file| file.bytes().unwrap().split(|b| *b == b'\n').count() - 1).sum();
    assert_eq!(lines + ids(&bench, &kept).len(), 384);
    assert_eq!(value(&filtered, "dropped.kind") + value(&filtered, "dropped.loud"), lines as f64);

    // Of copies, `dedup` keeps the one with the highest score, and the columns stay.
    let dedup = Dedup { score: Some("loud".into()), ..Dedup::default() };
    let unique = bench.run(&dedup, &[("documents", &scored)]).unwrap();
    let unique = bench.output(&unique, "documents").unwrap();
    assert!(rows(&bench, &unique).iter().all(|row| row.fact("kind").is_some() && row.cluster.is_some()));

    // Files have the columns as metadata.
    let path = folder.path().join("file.parquet");
    (DOCUMENTS.materialize)(&bench.open(&kept)[0], &path).unwrap();
    let first = DocumentReader::open(&path).unwrap().rows().unwrap().next().unwrap().unwrap();
    assert_eq!(first.document.metadata["kind"], "sailing");
    assert_eq!(first.document.metadata["topic"], "sailing");
    assert!(first.document.metadata["loud"].parse::<f64>().unwrap() < 0.5);
}

#[test]
fn dedup_ranks_copies_by_an_added_column() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let text = crate::testing::words(1, 50);
    let copy = |id: &str| Document { id: id.into(), text: text.clone(), ..Document::default() };
    let documents = put_full_documents(&bench, &[vec![copy("a"), copy("b"), copy("c")]]);
    let mut added = crate::documents::AddedColumns::default();
    added.insert("rank", crate::documents::AddedColumn::F32(vec![0.25, 0.75, 0.5])).unwrap();
    let columns = bench.store.put(&added.write(Vec::new()).unwrap()).unwrap();
    let mut ranked = documents;
    ranked.entries[0].content.columns = Some(columns);
    let dedup = Dedup { score: Some("rank".into()), ..Dedup::default() };
    let outcome = bench.run(&dedup, &[("documents", &ranked)]).unwrap();
    let unique = bench.output(&outcome, "documents").unwrap();
    assert_eq!(ids(&bench, &unique).into_iter().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn the_keys_of_a_map_are_labels() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let of = |topic: usize| {
        let documents: Vec<Document> = (0..150).filter(|n| n % 3 == topic).map(document).collect();
        put_full_documents(&bench, &[documents])
    };
    let (good, bad, check) = (of(0), of(1), of(1));
    let stage = ClassifierStage { label: None, ..stage() };
    let inputs = [("documents:good", &good), ("documents:bad", &bad), ("validation:bad", &check)];
    let outcome = bench.run(&stage, &inputs).unwrap();
    assert_eq!((value(&outcome, "documents"), value(&outcome, "held_out")), (100.0, 50.0));
    assert_eq!(value(&outcome, "recall.bad"), 1.0);
    let unnamed = bench.run(&stage, &[("documents", &good)]).unwrap_err().to_string();
    assert!(unnamed.starts_with("0 labels have at least 20 training documents"), "{unnamed}");
}

#[test]
fn documents_may_have_several_labels() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let both = |n: usize| {
        let (a, b) = (document(n), document(n + 1 + n / 3 % 2));
        let labels = format!("{}, {}", a.metadata["topic"], b.metadata["topic"]);
        let text = format!("{} {}", a.text, b.text);
        Document { text, metadata: [("topic".to_owned(), labels)].into(), ..a }
    };
    let documents = put_full_documents(&bench, &[(0..300).map(both).collect()]);
    let stage = ClassifierStage { separator: Some(",".into()), epochs: 20, ..stage() };
    let outcome = bench.run(&stage, &[("documents", &documents)]).unwrap();
    assert!(value(&outcome, "macro_f1") > 0.9, "{:?}", outcome.metrics);
    let model = bench.open(&bench.output(&outcome, "model").unwrap());
    let model = open(model_entry(&model).unwrap()).unwrap();
    let mut scratch = pipe_linear::Scratch::default();
    let shares = model.probabilities("pan salt oven mast anchor harbour", &mut scratch).unwrap();
    assert!(shares.iter().sum::<f32>() > 1.2, "{shares:?}");
}

#[test]
fn labels_with_too_few_documents_are_reported_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let mut all: Vec<Document> = (0..150).map(document).collect();
    for (n, label) in [(0, "rare"), (1, "rare"), (2, "")] {
        all[n].metadata.insert("topic".into(), label.into());
    }
    all[3].text.clear();
    let documents = put_full_documents(&bench, &[all]);
    let outcome = bench.run(&stage(), &[("documents", &documents)]).unwrap();
    assert_eq!((value(&outcome, "labels_left_out"), value(&outcome, "unlabelled")), (1.0, 1.0));
    let report = bench.open(&bench.output(&outcome, "report").unwrap())[0].bytes().unwrap();
    let report: Report = serde_json::from_slice(&report).unwrap();
    assert_eq!((report.left_out[0].label.as_str(), report.empty), ("rare", 1));
    let odd = Document { metadata: [("topic".to_owned(), "two\nlines".to_owned())].into(), ..document(1) };
    let odd = put_full_documents(&bench, &[vec![odd]]);
    let error = bench.run(&stage(), &[("documents", &odd)]).unwrap_err().to_string();
    assert_eq!(error, "the label of document `d001` is not a few words on one line");
    let wanted = ClassifierStage { labels: vec!["music".into(), "rare".into()], ..stage() };
    let error = bench.run(&wanted, &[("documents", &documents)]).unwrap_err().to_string();
    assert!(error.contains("the label `rare` has "), "{error}");
}

/// Runs a stage on an existing model.
fn adopt_model(bench: &Bench, name: &str, bytes: &[u8]) -> Result<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let stage = ClassifierStage { from: Some(name.into()), ..ClassifierStage::default() };
    let sources = Bench::sources("classifier", folder.path()).unwrap();
    let faults = stage.preview(&Places { project: folder.path().to_owned(), variable: &|_| None }, &sources);
    let outcome = bench.enter(&stage, &[], sources, Mode::Here);
    assert_eq!(faults.is_empty(), outcome.is_ok());
    outcome
}

#[test]
fn an_existing_model_of_fasttext_is_used_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let bytes = include_bytes!("../../../linear/tests/models/pruned.ftz");
    let outcome = adopt_model(&bench, "lid.ftz", bytes).unwrap();
    let model = bench.output(&outcome, "model").unwrap();
    assert_eq!(model.entries[0].name, "model.ftz");
    assert_eq!(bench.open(&model)[0].bytes().unwrap(), bytes);
    let text = |id: &str, text: &str| Document { id: id.into(), text: text.into(), ..Document::default() };
    let documents = put_full_documents(
        &bench,
        &[vec![
            text("a", "das ist nicht der Weg und auch nicht das Ziel"),
            text("b", "the house is not as large as this one"),
        ]],
    );
    let scored = bench.run(&Classify::default(), &[("documents", &documents), ("model", &model)]).unwrap();
    let scored = rows(&bench, &bench.output(&scored, "documents").unwrap());
    assert_eq!(
        ["a", "b"]
            .map(|id| scored.iter().find(|row| row.document.id == id).and_then(|row| row.fact("label"))),
        [Some(Fact::Text("de")), Some(Fact::Text("en"))]
    );
    let wrong = Classify { probabilities: [("x".to_owned(), "xx".to_owned())].into(), ..Classify::default() };
    let error = bench.run(&wrong, &[("documents", &documents), ("model", &model)]).unwrap_err();
    assert_eq!(error.to_string(), "`probabilities.x`: the model has no label `xx`");
}

#[test]
fn other_files_are_no_models() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let error = adopt_model(&bench, "lid.bin", b"something else").unwrap_err().to_string();
    assert!(error.starts_with("cannot use `lid.bin`: it is not a fastText model"), "{error}");
    let whole = include_bytes!("../../../linear/tests/models/pruned.ftz");
    let error = adopt_model(&bench, "lid.ftz", &whole[..5000]).unwrap_err().to_string();
    assert!(error.starts_with("cannot use `lid.ftz`: it ends within"), "{error}");
}

#[test]
fn a_filter_that_keeps_nothing_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let documents = put_full_documents(&bench, &[(0..10).map(document).collect()]);
    let filter = |name: &str, condition: Condition| Filter { keep: [(name.to_owned(), condition)].into() };
    let missing = filter("other", Condition { min: Some(1.0), ..Condition::default() });
    let outcome = bench.run(&missing, &[("documents", &documents)]).unwrap();
    assert_eq!((value(&outcome, "documents_in"), value(&outcome, "dropped.other")), (10.0, 10.0));
    let note = |event: &Event| matches!(event, Event::Note { message } if message.contains("dropped by `keep.other`"));
    assert!(bench.events.lock().unwrap().iter().any(note));
    let kept = filter("other", Condition { min: Some(1.0), keep_missing: true, ..Condition::default() });
    assert_eq!(value(&bench.run(&kept, &[("documents", &documents)]).unwrap(), "documents"), 10.0);
    let number = filter("topic", Condition { min: Some(1.0), ..Condition::default() });
    let error = bench.run(&number, &[("documents", &documents)]).unwrap_err().to_string();
    assert_eq!(error, "`topic` of document `d000` is `cooking`, not a number");
}

#[test]
fn bad_settings_are_named_by_their_path() {
    let paths = |faults: Vec<Misfit>| -> Vec<String> { faults.into_iter().map(|fault| fault.path).collect() };
    let training = ClassifierStage {
        labels: vec!["a".into(), "a".into()],
        character_ngrams_min: 3,
        character_ngrams_max: 2,
        held_out: 1.0,
        ..stage()
    };
    assert_eq!(paths(training.check()), ["labels", "character_ngrams_max", "held_out"]);
    let idle = ClassifierStage { from: Some("m.bin".into()), epochs: 6, ..ClassifierStage::default() };
    assert_eq!(paths(idle.check()), ["epochs"]);
    let classify = Classify {
        column: Some("x".into()),
        probabilities: [("x_score".to_owned(), "a".to_owned())].into(),
        ..Classify::default()
    };
    assert_eq!(paths(classify.check()), ["probabilities.x_score"]);
    assert_eq!(paths(Filter::default().check()), ["keep"]);
    let crossed = Condition { min: Some(2.0), max: Some(1.0), ..Condition::default() };
    assert_eq!(paths(Filter { keep: [("a".to_owned(), crossed)].into() }.check()), ["keep.a"]);
    assert_eq!(stage().check(), []);
    assert_eq!(Classify::default().check(), []);
}

#[test]
fn clean_takes_a_language_identifier() {
    use crate::clean::rules::Profile;
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(&folder);
    let bytes = include_bytes!("../../../linear/tests/models/softmax.bin");
    let model = bench.output(&adopt_model(&bench, "lid.bin", bytes).unwrap(), "model").unwrap();
    // Too short for the built-in detector.
    let text = |id: &str, language: &str, text: &str| Document {
        id: id.into(),
        text: text.into(),
        language: language.into(),
        ..Document::default()
    };
    let documents = put_full_documents(
        &bench,
        &[vec![
            text("a", "", "und der die"),
            text("b", "cs", "und der die"),
            text("c", "fr", "und der die"),
            text("d", "", "12 34"),
        ]],
    );
    let languages = |inputs: &[(&str, &Artifact)]| -> Vec<String> {
        let clean = crate::Clean { profile: Profile::None, ..crate::Clean::default() };
        let outcome = bench.run(&clean, inputs).unwrap();
        let texts = bench.output(&outcome, "documents").unwrap();
        rows(&bench, &texts).into_iter().map(|row| row.document.language).collect()
    };
    assert_eq!(languages(&[("documents", &documents)]), ["", "cs", "fr", ""]);
    // A declared language that the model does not know wins, as with the built-in detector.
    let found = languages(&[("documents", &documents), ("language_model", &model)]);
    assert_eq!(found, ["de", "cs", "de", ""]);
}
