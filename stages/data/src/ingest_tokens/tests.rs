//! Token files through the whole stage.

use super::megatron::tests::index;
use super::*;
use crate::testing::{put_documents, words};
use crate::tokenizer::TokenizerStage;
use crate::tokens::TokensReader;
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Mode, Outcome};
use proptest::prelude::*;

struct Made {
    documents: Vec<(String, Vec<u32>)>,
    shards: Vec<String>,
    outcome: Outcome,
}

fn tokenizer(bench: &Bench) -> (Artifact, Tokenizer) {
    let documents = put_documents(bench, &[(0..8).map(|n| (format!("d{n}"), words(n, 80))).collect()]);
    let stage = TokenizerStage { vocabulary_size: Some(400), ..TokenizerStage::default() };
    let outcome = bench.run(&stage, &[("documents", &documents)]).unwrap();
    let artifact = bench.output(&outcome, "tokenizer").unwrap();
    let files = bench.open(&artifact);
    let json = files.iter().find(|file| file.name() == TOKENIZER_JSON).unwrap().bytes().unwrap();
    (artifact, Tokenizer::from_json(&json).unwrap())
}

fn run(stage: &IngestTokens, files: &[(&str, Vec<u8>)]) -> Result<Made> {
    assert_eq!(stage.check(), []);
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let (artifact, tokenizer) = tokenizer(&bench);
    let sources = Bench::sources("train", folder.path()).unwrap();
    let outcome = bench.enter(stage, &[("tokenizer", &artifact)], sources, Mode::Here)?;
    let train = bench.output(&outcome, "train").unwrap();
    let mut documents = Vec::new();
    for entry in bench.open(&train) {
        let shard = TokensReader::of_entry(&entry).unwrap();
        assert_eq!(shard.metadata().tokenizer_digest, tokenizer.digest());
        documents.extend(shard.map(|document| document.unwrap()));
    }
    Ok(Made { documents, shards: train.entries.into_iter().map(|entry| entry.name).collect(), outcome })
}

fn stage() -> IngestTokens {
    IngestTokens { train: "data/*.bin".into(), ..IngestTokens::default() }
}

fn eos() -> u16 {
    let store = tempfile::tempdir().unwrap();
    let (_, tokenizer) = tokenizer(&Bench::new(store.path()).unwrap());
    tokenizer.eos().unwrap() as u16
}

fn flat(ids: &[u16]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn named(documents: &[&[u32]]) -> Vec<(String, Vec<u32>)> {
    let name = |(n, ids): (usize, &&[u32])| (format!("train/a.bin:{n}"), ids.to_vec());
    documents.iter().enumerate().map(name).collect()
}

#[test]
fn a_flat_file_is_split_at_ends_of_documents() {
    let eos = eos();
    let made = run(&stage(), &[("a.bin", flat(&[1, 2, eos, eos, 3, eos, 4]))]).unwrap();
    assert_eq!(made.documents, named(&[&[1, 2], &[3], &[4]]));
    let tokens = made.outcome.metrics.iter().find(|metric| metric.name == "tokens").unwrap().value;
    assert_eq!((tokens, made.shards.as_slice()), (4.0, ["a/000000.parquet".to_owned()].as_slice()));
}

#[test]
fn megatron_files_have_their_documents_in_the_index() {
    let eos = eos();
    let ids = flat(&[1, 2, eos, 3, eos, 4, 5]);
    let made = run(&stage(), &[("a.bin", ids), ("a.idx", index(8, &[3, 1, 1, 2], &[0, 2, 2, 4]))]).unwrap();
    assert_eq!(made.documents, named(&[&[1, 2, u32::from(eos), 3], &[eos.into(), 4, 5]]));
    let wide: Vec<u8> = [7_i32, 8].iter().flat_map(|id| id.to_le_bytes()).collect();
    let made = run(&stage(), &[("a.bin", wide), ("a.idx", index(4, &[1, 1], &[0, 1, 2]))]).unwrap();
    assert_eq!(made.documents, named(&[&[7], &[8]]));
}

#[test]
fn output_bytes_are_pinned() {
    let eos = eos();
    let ids: Vec<u16> = (0..5000).map(|n| if n % 70 == 69 { eos } else { n * 7 % 256 }).collect();
    let small = IngestTokens { shard_tokens: 1000, ..stage() };
    let made = run(&small, &[("a.bin", flat(&ids)), ("b.bin", flat(&ids[..100]))]).unwrap();
    assert_eq!(&made.outcome.outputs["train"].to_string()[..16], "8b9ca62bca41073a");
    let names =
        ["a/000000.parquet", "a/000001.parquet", "a/000002.parquet", "a/000003.parquet", "a/000004.parquet"];
    assert_eq!(made.shards[..5], names.map(str::to_owned));
    assert_eq!(made.shards[5..], ["b/000000.parquet".to_owned()]);
}

#[test]
fn a_document_without_end_becomes_several() {
    let short = IngestTokens { document_tokens_max: 3, header_bytes: 4, element: Element::U32, ..stage() };
    let bytes: Vec<u8> = (0..8_u32).flat_map(|id| id.to_le_bytes()).collect();
    let made = run(&short, &[("a.bin", bytes)]).unwrap();
    assert_eq!(made.documents, named(&[&[1, 2, 3], &[4, 5, 6], &[7]]));
}

#[test]
fn ids_beyond_the_vocabulary_are_refused_with_their_place() {
    let error = |files: &[(&str, Vec<u8>)]| run(&stage(), files).map(drop).unwrap_err().to_string();
    let expected = "`a.bin` contains id 60000 at token 2 (byte 4), but the tokenizer has 400 tokens";
    assert_eq!(error(&[("a.bin", flat(&[1, 2, 60000]))]), expected);
    let negative = (-1_i32).to_le_bytes().to_vec();
    let message = error(&[("a.bin", negative), ("a.idx", index(4, &[1], &[0, 1]))]);
    assert!(message.contains("at token 0 (byte 0)"), "{message}");
}

#[test]
fn files_that_do_not_fit_are_told() {
    let error = |files: &[(&str, Vec<u8>)]| run(&stage(), files).map(drop).unwrap_err().to_string();
    assert!(error(&[("a.bin", vec![1, 0, 2])]).contains("ends in the middle of an id"));
    assert_eq!(error(&[("a.bin", vec![])]), "`a.bin` contains no tokens");
    assert_eq!(error(&[("a.idx", vec![])]), "`a.idx` has no `a.bin` next to it");
    let index = index(8, &[2], &[0, 1]);
    assert_eq!(
        error(&[("a.bin", vec![1, 0]), ("a.idx", index)]),
        "`a.bin` has 2 bytes, but its index describes 4"
    );
    assert!(
        error(&[("a.bin", vec![1, 0]), ("a.idx", vec![1])]).starts_with("`a.idx` is not a Megatron index")
    );
}

#[test]
fn files_of_another_element_are_told() {
    let wide: Vec<u8> = [259_u32, 256, 289, 283].iter().flat_map(|id| id.to_le_bytes()).collect();
    let error = run(&stage(), &[("a.bin", wide.clone())]).map(drop).unwrap_err();
    assert!(error.to_string().contains("`a.bin` contains 32-bit ids"), "{error}");
    let read = run(&IngestTokens { element: Element::U32, ..stage() }, &[("a.bin", wide)]).unwrap();
    assert_eq!(read.documents.iter().map(|(_, ids)| ids.len()).sum::<usize>(), 4);
    assert!(run(&stage(), &[("a.bin", flat(&[5, 0, 7, 1]))]).is_ok());
    let llm_c = [20_240_520_u32.to_le_bytes().to_vec(), vec![0; 1020], flat(&[1, 2])].concat();
    let error = run(&stage(), &[("a.bin", llm_c.clone())]).map(drop).unwrap_err();
    assert!(error.to_string().contains("the header of llm.c"), "{error}");
    assert!(run(&IngestTokens { header_bytes: 1024, ..stage() }, &[("a.bin", llm_c)]).is_ok());
}

#[test]
fn a_look_finds_what_a_run_would_find_at_its_begin() {
    let look = |files: &[(&str, Vec<u8>)]| {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        let places = Places { project: folder.path().to_owned(), variable: &|_| None };
        let sources = Bench::sources("train", folder.path()).unwrap();
        let misfits = stage().preview(&places, &sources).into_iter();
        misfits.map(|misfit| format!("{}: {}", misfit.path, misfit.message)).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(look(&[("a.bin", flat(&[1, 2]))]), "");
    assert!(look(&[("a.bin", vec![1, 0, 2])]).starts_with("train: `a.bin` ends in the middle of an id"));
    let llm_c = [20_240_520_u32.to_le_bytes().to_vec(), vec![0; 1020]].concat();
    assert!(look(&[("a.bin", llm_c)]).contains("the header of llm.c"));
    assert_eq!(look(&[("a.idx", vec![])]), "train: `a.idx` has no `a.bin` next to it");
    let index = index(8, &[2], &[0, 1]);
    let short = "train: `a.bin` has 2 bytes, but its index describes 4";
    assert_eq!(look(&[("a.bin", vec![1, 0]), ("a.idx", index)]), short);
}

#[test]
fn indexes_are_asked_for_beside_their_files() {
    let nowhere = |_: &str| None;
    let places = Places { project: "/project".into(), variable: &nowhere };
    let stage = IngestTokens { train: "data/*.bin".into(), validation: "val.bin".into(), ..stage() };
    let requests = stage.sources(&places).unwrap();
    let asked: Vec<(String, Vec<String>)> =
        requests.into_iter().map(|r| (r.root.display().to_string(), r.include)).collect();
    let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
    let expected = [
        ("/project/data".to_owned(), texts(["*.bin", "*.idx"])),
        ("/project/".to_owned(), texts(["val.bin", "val.idx"])),
    ];
    assert_eq!(asked, expected);
}

#[test]
fn bad_settings_are_named_by_their_path() {
    let paths = |stage: IngestTokens| stage.check().into_iter().map(|misfit| misfit.path).collect::<Vec<_>>();
    assert_eq!(paths(IngestTokens::default()), ["train"]);
    assert_eq!(
        paths(IngestTokens { test: "x.npy".into(), document_tokens_max: 0, ..stage() }),
        ["document_tokens_max", "test"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_id_comes_back_in_order(ids in prop::collection::vec(0_u16..256, 1..300), most in 1_u32..50) {
        let eos = eos();
        let ids: Vec<u16> = ids.into_iter().map(|id| if id % 19 == 0 { eos } else { id }).collect();
        let stage = IngestTokens { document_tokens_max: most, shard_tokens: 64, ..stage() };
        let expected: Vec<u32> = ids.iter().filter(|id| **id != eos).map(|id| u32::from(*id)).collect();
        match run(&stage, &[("a.bin", flat(&ids))]) {
            Ok(made) => prop_assert_eq!(made.documents.into_iter().flat_map(|(_, ids)| ids).collect::<Vec<_>>(), expected),
            Err(_) => prop_assert!(expected.is_empty()),
        }
    }
}
