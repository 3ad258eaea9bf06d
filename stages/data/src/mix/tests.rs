//! Sets of tokens through the whole stage: weights, buckets and phases in; shards and views out.

use super::*;
use crate::tokens::{TokensReader, TokensWriter};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, KnownInput, Outcome};

/// Shards of ten documents of ten tokens.
fn tokens(bench: &Bench, name: &str, shards: usize, tokenizer: &str) -> Artifact {
    let shard = |shard: usize| {
        let mut writer = TokensWriter::new(Vec::new(), 1000, tokenizer).unwrap();
        for n in 0..10 {
            writer.push(&format!("{name}-{shard}-{n}"), &[shard as u32; 10]).unwrap();
        }
        writer.finish().unwrap()
    };
    let files: Vec<(String, Vec<u8>)> = (0..shards).map(|n| (format!("{n:02}.parquet"), shard(n))).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    bench.artifact("tokens", &files).unwrap()
}

/// Runs the stage with the sets `set-1` and `set-2`.
fn run(bench: &Bench, mix: &Mix, sets: [usize; 2]) -> Result<Outcome> {
    assert_eq!(mix.check(), []);
    let [a, b] = [tokens(bench, "a", sets[0], "t"), tokens(bench, "b", sets[1], "t")];
    bench.run(mix, &[("sets", &a), ("sets", &b)])
}

fn figures(outcome: &Outcome, metric: &str) -> [f64; 2] {
    let value = |set: &str| {
        let name = format!("{metric}.set-{set}");
        outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
    };
    [value("1"), value("2")]
}

fn weights(a: f64, b: f64) -> BTreeMap<String, f64> {
    [("set-1".to_owned(), a), ("set-2".to_owned(), b)].into()
}

#[test]
fn sets_are_used_by_weight_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mix = Mix { weights: weights(1.0, 1.0), repeats_max: 3.0, ..Mix::default() };
    let outcome = run(&bench, &mix, [30, 10]).unwrap();
    assert_eq!((figures(&outcome, "epochs"), figures(&outcome, "tokens")), ([1.0, 3.0], [3000.0, 3000.0]));
    let made = bench.output(&outcome, "tokens").unwrap();
    assert_eq!(made.entries.len(), 60);
    assert_eq!(made.entries[59].name, "set-2/003/09.parquet");

    // Without a budget, as much as the smaller set allows.
    let mix = Mix { weights: weights(1.0, 1.0), ..Mix::default() };
    let outcome = run(&bench, &mix, [30, 10]).unwrap();
    let [a, b] = figures(&outcome, "tokens");
    assert_eq!([a, b], [1000.0, 1000.0]);
    let documents: usize = bench
        .open(&bench.output(&outcome, "tokens").unwrap())
        .iter()
        .map(|entry| TokensReader::of_entry(entry).unwrap().count())
        .sum();
    assert_eq!(documents as f64 * 10.0, a + b);
}

#[test]
fn a_smaller_share_is_part_of_a_larger_one() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let ids = |tokens| {
        let mix = Mix { weights: weights(1.0, 0.0), tokens: Some(tokens), ..Mix::default() };
        let outcome = run(&bench, &mix, [30, 1]).unwrap();
        let entries = bench.open(&bench.output(&outcome, "tokens").unwrap());
        let ids = entries.iter().flat_map(|entry| TokensReader::of_entry(entry).unwrap());
        ids.map(|document| document.unwrap().0).collect::<std::collections::BTreeSet<_>>()
    };
    let (few, many) = (ids(500), ids(1500));
    assert!(few.is_subset(&many) && !few.is_empty() && few.len() < many.len());
}

#[test]
fn temperature_raises_small_sets() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let natural = run(&bench, &Mix::default(), [16, 4]).unwrap();
    assert_eq!(figures(&natural, "share"), [0.8, 0.2]);
    let mix = Mix { temperature: 2.0, repeats_max: 10.0, tokens: Some(6000), ..Mix::default() };
    // Square roots of 16 and 4.
    assert_eq!(figures(&run(&bench, &mix, [16, 4]).unwrap(), "tokens"), [4000.0, 2000.0]);
    assert!((root(1000.0, 3.0) - 10.0).abs() < 1e-6);
    assert_eq!((root(81.0, 2.0), root(81.0, 4.0), root(0.0, 2.0)), (9.0, 3.0, 0.0));
}

#[test]
fn no_set_is_used_more_often_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    // Documents of ten tokens fill budgets up to the last whole one.
    for (repeats_max, tokens, expected) in
        [(1.5, None, [1500.0, 1500.0]), (1.25, None, [1250.0, 1250.0]), (2.5, Some(1999), [990.0, 990.0])]
    {
        let mix = Mix { weights: weights(1.0, 1.0), repeats_max, tokens, ..Mix::default() };
        let outcome = run(&bench, &mix, [30, 10]).unwrap();
        assert_eq!(figures(&outcome, "tokens"), expected);
        assert!(figures(&outcome, "epochs")[1] <= repeats_max);
    }
    bench.events.lock().unwrap().clear();
    let mix = Mix { weights: weights(1.0, 1.0), tokens: Some(8), ..Mix::default() };
    assert_eq!(figures(&run(&bench, &mix, [30, 10]).unwrap(), "tokens"), [0.0, 0.0]);
    let events = bench.events.lock().unwrap();
    let is_warning = |event: &pipe_stage::Event| match event {
        pipe_stage::Event::Note { message } => message.starts_with("warning: no documents are left"),
        _ => false,
    };
    assert!(events.iter().any(is_warning), "{events:?}");
}

#[test]
fn what_cannot_be_mixed_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mix = Mix { weights: weights(1.0, 1.0), tokens: Some(5000), ..Mix::default() };
    let error = run(&bench, &mix, [30, 10]).map(drop).unwrap_err();
    let expected = "there are not enough tokens for a mixture of 5000: `set-2` would be used 2.50 times, but \
        `repeats_max` is 1";
    assert_eq!(error.to_string(), expected);
    let paths: Vec<String> = Mix { weights: weights(1e308, 1e308), ..Mix::default() }
        .check()
        .into_iter()
        .map(|misfit| misfit.path)
        .collect();
    assert_eq!(paths, ["weights"]);
    let [a, b] = [tokens(&bench, "a", 1, "t"), tokens(&bench, "b", 1, "other")];
    let error = bench.run(&Mix::default(), &[("sets", &a), ("sets", &b)]).map(drop).unwrap_err();
    assert!(error.to_string().contains("are of different tokenizers"), "{error}");

    let mut known = KnownInputs::default();
    for label in ["web", "code"] {
        known.connect("sets", KnownInput { label: label.into(), ..KnownInput::default() });
    }
    let mix = Mix { weights: [("web".to_owned(), 1.0), ("cod".to_owned(), 1.0)].into(), ..Mix::default() };
    let paths: Vec<String> = mix.check_known(&known).into_iter().map(|misfit| misfit.path).collect();
    assert_eq!(paths, ["weights.cod", "weights"]);
}

#[test]
fn outputs_are_stable_whatever_the_threads() {
    let digest = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let mix = Mix { weights: weights(2.0, 1.0), repeats_max: 2.0, tokens: Some(2500), ..Mix::default() };
        run(&bench, &mix, [30, 10]).unwrap().outputs["tokens"].to_string()[..16].to_owned()
    };
    assert_eq!(digest(1), "a6683138c369df5c");
    assert_eq!(digest(4), digest(1));
}

/// Documents of 1 to 40 tokens, 40 in each of two shards, and their scores: hundredths of the number of tokens.
fn scored(bench: &Bench) -> [Artifact; 2] {
    use crate::documents::{AddedColumn, AddedColumns, Document};
    let name = |shard: usize, n: usize| format!("s{shard}-{n}");
    let tokens = |shard: usize| {
        let mut writer = TokensWriter::new(Vec::new(), 1000, "t").unwrap();
        (1..=40).for_each(|n| writer.push(&name(shard, n), &vec![n as u32; n]).unwrap());
        writer.finish().unwrap()
    };
    let tokens = [tokens(0), tokens(1)];
    let tokens = bench.artifact("tokens", &[("a.parquet", &tokens[0]), ("b.parquet", &tokens[1])]).unwrap();
    // The documents are in other shards, in another order, with more that have no tokens.
    let all: Vec<(usize, usize)> = (0..2).flat_map(|shard| (1..=41).rev().map(move |n| (shard, n))).collect();
    let shards: Vec<Vec<(usize, usize)>> = all.chunks(30).map(<[_]>::to_vec).collect();
    let document = |(shard, n): &(usize, usize)| Document { id: name(*shard, *n), ..Document::default() };
    let documents: Vec<Vec<Document>> =
        shards.iter().map(|shard| shard.iter().map(document).collect()).collect();
    let mut documents = crate::testing::put_full_documents(bench, &documents);
    for (entry, shard) in documents.entries.iter_mut().zip(&shards) {
        let mut added = AddedColumns::default();
        let scores = shard.iter().map(|(_, n)| *n as f32 / 100.0).collect();
        added.insert("quality", AddedColumn::F32(scores)).unwrap();
        entry.content.columns = Some(bench.store.put(&added.write(Vec::new()).unwrap()).unwrap());
    }
    [tokens, documents]
}

/// How often each number of tokens occurs among the documents.
fn lengths(bench: &Bench, outcome: &Outcome) -> BTreeMap<usize, usize> {
    let mut lengths = BTreeMap::new();
    for entry in bench.open(&bench.output(outcome, "tokens").unwrap()) {
        for document in TokensReader::of_entry(&entry).unwrap() {
            *lengths.entry(document.unwrap().1.len()).or_default() += 1;
        }
    }
    lengths
}

fn value(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
}

#[test]
fn buckets_are_used_by_length_or_by_a_fact() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let [tokens, documents] = scored(&bench);
    let by = |by: &str, at: [f64; 2]| Mix {
        buckets: Some(Buckets { by: by.into(), at: at.to_vec(), weights: vec![0.0, 1.0, 3.0] }),
        repeats_max: 3.0,
        ..Mix::default()
    };
    let by_length = bench.run(&by("tokens", [20.0, 30.0]), &[("sets", &tokens)]).unwrap();
    let found = lengths(&bench, &by_length);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (20..=40).collect::<Vec<_>>());
    assert!(found.iter().all(|(length, count)| *count == if *length < 30 { 2 } else { 6 }), "{found:?}");
    let names = ["epochs.set-1.bucket-1", "epochs.set-1.bucket-2", "epochs.set-1.bucket-3"];
    assert_eq!(names.map(|name| value(&by_length, name)), [0.0, 1.0, 3.0]);

    // Scores are of 32 bits: a document at a limit is above it.
    let mix = by("quality", [0.2, 0.3]);
    assert_eq!((mix.check(), mix.check_inputs(&["sets", "documents"])), (vec![], vec![]));
    let by_score = bench.run(&mix, &[("sets", &tokens), ("documents", &documents)]).unwrap();
    assert_eq!(lengths(&bench, &by_score), found);
    let error = bench
        .run(&by("stars", [0.2, 0.3]), &[("sets", &tokens), ("documents", &documents)])
        .map(drop)
        .unwrap_err();
    assert_eq!(error.to_string(), "no document of `set-1` has `stars`, by which `buckets` divides them");
}

#[test]
fn what_buckets_need_is_told() {
    let paths = |buckets: Buckets| -> Vec<String> {
        let mix = Mix { buckets: Some(buckets), ..Mix::default() };
        mix.check().into_iter().chain(mix.check_inputs(&["sets"])).map(|misfit| misfit.path).collect()
    };
    let buckets = |by: &str, at: &[f64], weights: &[f64]| Buckets {
        by: by.into(),
        at: at.to_vec(),
        weights: weights.to_vec(),
    };
    assert_eq!(paths(buckets("tokens", &[1.0, 2.0], &[0.0, 1.0, 1.0])), [""; 0]);
    assert_eq!(
        paths(buckets("quality", &[2.0, 2.0], &[0.0])),
        ["buckets.at", "buckets.weights", "buckets.weights", "buckets.by"]
    );
    let mut known = KnownInputs::default();
    for (port, label) in [("sets", "web"), ("sets", "code"), ("documents", "web")] {
        known.connect(port, KnownInput { label: label.into(), ..KnownInput::default() });
    }
    let messages: Vec<String> =
        Mix::default().check_known(&known).into_iter().map(|misfit| misfit.message).collect();
    assert_eq!(messages, ["the set `code` has no documents in `needs.documents`"]);
}

fn phase(tokens: u64, a: f64, b: f64) -> Phase {
    Phase { tokens, weights: weights(a, b) }
}

#[test]
fn phases_follow_each_other_and_go_on_with_unused_documents() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mix = Mix { phases: vec![phase(2000, 1.0, 0.0), phase(1000, 1.0, 1.0)], ..Mix::default() };
    let outcome = run(&bench, &mix, [30, 10]).unwrap();
    assert_eq!(figures(&outcome, "epochs").map(|epochs| (epochs * 100.0).round()), [83.0, 50.0]);
    let in_phases = ["set-1.phase-1", "set-2.phase-1", "set-1.phase-2", "set-2.phase-2"];
    let shares = in_phases.map(|name| value(&outcome, &format!("share.{name}")));
    assert!(shares[..2] == [1.0, 0.0] && (shares[2] - 0.5).abs() < 0.03, "{shares:?}");

    let entries = bench.open(&bench.output(&outcome, "tokens").unwrap());
    let mut order = Vec::new();
    for entry in &entries {
        let ids = TokensReader::of_entry(entry).unwrap().map(|document| document.unwrap().0);
        order.extend(ids.map(|id| (entry.name()[..8].to_owned(), id)));
    }
    let distinct: std::collections::BTreeSet<&String> = order.iter().map(|(_, id)| id).collect();
    assert_eq!(distinct.len(), order.len(), "no document is used twice");
    assert!(order.is_sorted_by_key(|(phase, _)| phase));
    // The sets alternate: each quarter of the second phase has some of both.
    let second: Vec<&String> =
        order.iter().filter(|(phase, _)| phase == "phase-02").map(|(_, id)| id).collect();
    for quarter in second.chunks(second.len().div_ceil(4)) {
        let of_b = quarter.iter().filter(|id| id.starts_with("b-")).count();
        assert!(of_b > 0 && of_b < quarter.len(), "{quarter:?}");
    }

    let more = Mix { phases: vec![phase(2000, 0.0, 1.0), phase(1000, 0.0, 1.0)], ..Mix::default() };
    let error = run(&bench, &more, [30, 10]).map(drop).unwrap_err().to_string();
    let expected = "there are not enough tokens for these phases: `set-2` would be used 3.00 times, but `repeats_max` is 1";
    assert_eq!(error, expected);
    let repeated = run(&bench, &Mix { repeats_max: 3.0, ..more }, [30, 10]).unwrap();
    assert_eq!(figures(&repeated, "tokens"), [0.0, 3000.0]);
}

#[test]
fn settings_beside_phases_are_told() {
    let mix = Mix {
        phases: vec![phase(0, 0.0, 0.0), Phase { tokens: 1, weights: BTreeMap::new() }],
        weights: weights(1.0, 1.0),
        tokens: Some(1),
        temperature: 2.0,
        ..Mix::default()
    };
    let paths: Vec<String> = mix.check().into_iter().map(|misfit| misfit.path).collect();
    assert_eq!(
        paths,
        ["temperature", "weights", "tokens", "phases[0].tokens", "phases[0].weights", "phases[1].weights"]
    );
}

#[test]
fn phases_and_buckets_are_stable_whatever_the_threads() {
    let digest = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let [tokens, documents] = scored(&bench);
        let buckets = Buckets { by: "quality".into(), at: vec![0.25], weights: vec![1.0, 2.0] };
        let only = |tokens| Phase { tokens, weights: [("set-1".to_owned(), 1.0)].into() };
        let mix = Mix { buckets: Some(buckets), phases: vec![only(300), only(700)], ..Mix::default() };
        let outcome = bench.run(&mix, &[("sets", &tokens), ("documents", &documents)]).unwrap();
        outcome.outputs["tokens"].to_string()[..16].to_owned()
    };
    assert_eq!(digest(1), "749d0708ce48ee4c");
    assert_eq!(digest(4), digest(1));
}
