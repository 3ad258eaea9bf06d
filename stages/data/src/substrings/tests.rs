//! Documents through the whole stage: texts with common sequences in; texts without their repetitions out.

use super::*;
use crate::passages::tests::{lines_of_output, metric, texts};
use crate::testing::{put_documents, words};
use pipe_stage::testing::Bench;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn run(
    bench: &Bench,
    stage: &DedupSubstrings,
    documents: &[(String, String)],
    shard: usize,
) -> pipe_stage::Outcome {
    let shards: Vec<_> = documents.chunks(shard).map(<[_]>::to_vec).collect();
    bench.run(stage, &[("documents", &put_documents(bench, &shards))]).unwrap()
}

fn numbered(texts: &[String]) -> Vec<(String, String)> {
    texts.iter().enumerate().map(|(n, text)| (format!("d{n}"), text.clone())).collect()
}

#[test]
fn a_repeated_sequence_stays_in_its_first_place() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let (quoted, short) = (words(1, 60), words(2, 49));
    let documents = numbered(&[
        format!("{}\n\n{quoted}. {short}\n", words(10, 80)),
        format!("{} (“{}”), said\n{}\n", words(11, 80), quoted.to_uppercase(), words(12, 80)),
        format!("{short}\n{}\n", words(13, 80)),
        format!("{quoted}\n\n{quoted}\n\nonly\n"),
    ]);
    let outcome = run(&bench, &DedupSubstrings::default(), &documents, 2);
    let found = texts(&bench, &outcome);
    assert_eq!(found[0], documents[0]);
    assert_eq!(found[1].1, format!("{} said\n{}\n", words(11, 80), words(12, 80)));
    assert_eq!(found[2], documents[2], "49 words are not enough");
    assert_eq!(found.len(), 3);
    let dropped = lines_of_output(&bench, &outcome, "dropped");
    assert!(
        dropped.starts_with(r#"{"id":"d3","passages":"#) && dropped.contains(r#""words":1,"#),
        "{dropped}"
    );
    assert_eq!(["documents", "documents_cut", "dropped"].map(|name| metric(&outcome, name)), [3.0, 1.0, 1.0]);
}

#[test]
fn sequences_do_not_extend_over_code_and_code_stays() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let text = format!("{}\n```\n{}\n```\n{}\n", words(1, 30), words(2, 100), words(3, 30));
    let documents = numbered(&[text.clone(), text + "more\n"]);
    let outcome = run(&bench, &DedupSubstrings::default(), &documents, 1);
    assert_eq!(texts(&bench, &outcome), documents);
}

#[test]
fn a_text_that_repeats_itself_keeps_one_round() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let documents = numbered(&[words(1, 20) + &format!(" {}", words(1, 20)).repeat(500)]);
    let stage = DedupSubstrings { words: 50, document_words_min: 1 };
    let outcome = run(&bench, &stage, &documents, 1);
    // The first sequence of 50 words, and those that begin in its first 20 words: each is kept once.
    assert_eq!(texts(&bench, &outcome)[0].1.split(' ').count(), 69);
}

#[test]
fn characters_count_in_scripts_without_spaces() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let han = |n: u32, count: u32| -> String {
        (0..count).filter_map(|at| char::from_u32(0x4e00 + (n * 7919 + at * at * 31 + at) % 5000)).collect()
    };
    let documents = numbered(&[
        format!("{}。\n", han(1, 60)),
        format!("{}。{}。{}。\n", han(2, 60), han(1, 60), han(3, 60)),
    ]);
    let outcome = run(&bench, &DedupSubstrings::default(), &documents, 1);
    assert_eq!(texts(&bench, &outcome)[1].1, format!("{}。{}。\n", han(2, 60), han(3, 60)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn each_sequence_stays_once_and_shards_do_not_matter(
        texts_of in prop::collection::vec(prop::collection::vec(0_u8..3, 0..60), 1..6),
    ) {
        const WORDS: usize = 10;
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let text = |numbers: &Vec<u8>| numbers.iter().map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
        let documents = numbered(&texts_of.iter().map(text).collect::<Vec<_>>());
        let stage = DedupSubstrings { words: WORDS as u32, document_words_min: 1 };
        let made = [1, 3, 9].map(|shard| texts(&bench, &run(&bench, &stage, &documents, shard)));
        prop_assert!(made.windows(2).all(|pair| pair[0] == pair[1]));

        // The reference: all sequences of all texts, of which the first place stays.
        let mut first: BTreeMap<&[u8], (usize, usize)> = BTreeMap::new();
        let mut kept: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut cut: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (text, numbers) in texts_of.iter().enumerate() {
            for (at, own) in numbers.windows(WORDS).enumerate() {
                match first.get(own) {
                    None => drop(first.insert(own, (text, at))),
                    Some(&(of, from)) => {
                        kept.extend((from..from + WORDS).map(|at| (of, at)));
                        cut.extend((at..at + WORDS).map(|at| (text, at)));
                    }
                }
            }
        }
        let left = |(text, numbers): (usize, &Vec<u8>)| {
            let stays = |at: &usize| !cut.contains(&(text, *at)) || kept.contains(&(text, *at));
            let all: Vec<String> = (0..numbers.len()).filter(stays).map(|at| format!("w{}", numbers[at])).collect();
            (format!("d{text}"), all.join(" "), numbers.is_empty())
        };
        let expected: Vec<(String, String)> = texts_of
            .iter()
            .enumerate()
            .map(left)
            .filter(|(_, text, was_empty)| !text.is_empty() || *was_empty)
            .map(|(id, text, _)| (id, text))
            .collect();
        prop_assert_eq!(&made[0], &expected);
    }
}

#[test]
fn outputs_are_stable_whatever_the_threads() {
    let digests = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path()).unwrap();
        bench.threads = threads;
        let text = |n: usize| format!("{}\n{}\n{}", words(n, 60), words(n % 3 + 50, 60), words(n + 20, 30));
        let documents = numbered(&(0..12).map(text).collect::<Vec<_>>());
        let outcome = run(&bench, &DedupSubstrings::default(), &documents, 3);
        ["documents", "cut", "dropped"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
    };
    assert_eq!(digests(1), ["826458e4e5c0a91b", "00ef271c16a6a3ed", "c2374c4ffdabb85c"]);
    assert_eq!(digests(4), digests(1));
}

#[test]
fn settings_out_of_range_are_told() {
    let paths = |words| DedupSubstrings { words, ..DedupSubstrings::default() }.check().len();
    assert_eq!([9, 10, 1000, 1001].map(paths), [1, 0, 0, 1]);
}
