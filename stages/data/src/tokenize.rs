//! Owns: how documents become shards of token ids. Nothing here depends on threads, caches or the manifest.

use std::sync::Arc;

use pipe_stage::{
    Artifact, Code, Context, Error, In, Inputs, KnownInputs, LocalEntry, Merge, Metric, Misfit, Out, Port,
    Result, Share, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::documents::{Column, DOCUMENTS, DocumentReader, lacks_text};
use crate::memo::Memo;
use crate::tokenizer::encode::Tokenizer;
use crate::tokenizer::json::{TOKENIZER, TOKENIZER_JSON};
use crate::tokens::{TOKENS, TokensWriter, metrics_of_set};

/// Encodes documents as token ids, one shard of tokens for each shard of documents.
///
/// Special-token strings in documents are encoded as plain text, and no special tokens are added. Every document is
/// decoded again and compared with its text; a difference is an error, unless the tokenizer's normalizer causes it, or its
/// model, as WordPiece does, which loses white space: such documents are counted as `documents_normalized`, and tokens for
/// what has none as `tokens_unknown`. The inputs are the sets of `split`; validation and test are
/// optional.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokenize {}

const TRAIN_IN: In = In::new("train", &DOCUMENTS, "Documents for training.");
const VALIDATION_IN: In = In::new("validation", &DOCUMENTS, "Documents for validation.").optional();
const TEST_IN: In = In::new("test", &DOCUMENTS, "Documents for the final evaluation.").optional();
const TOKENIZER_IN: In = In::new("tokenizer", &TOKENIZER, "The tokenizer.");
const TRAIN: Out = Out::main("train", &TOKENS, "Tokens for training.");
const VALIDATION: Out = Out::new("validation", &TOKENS, "Tokens for validation.");
const TEST: Out = Out::new("test", &TOKENS, "Tokens for the final evaluation.");

/// Beside the figures of each set.
const METRICS: [&str; 2] = ["tokens", "bytes"];
const NORMALIZED: &str = "documents_normalized";
const UNKNOWN: &str = "tokens_unknown";
const RATIO: &str = "bytes_per_token";

impl Stage for Tokenize {
    const NAME: &'static str = "tokenize";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[
        TRAIN_IN.port(),
        VALIDATION_IN.port(),
        TEST_IN.port(),
        TOKENIZER_IN.port(),
        TRAIN.port(),
        VALIDATION.port(),
        TEST.port(),
    ];

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let sets = [TRAIN_IN, VALIDATION_IN, TEST_IN];
        sets.into_iter().find_map(|set| lacks_text(inputs, set)).into_iter().collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let sets = [TRAIN, VALIDATION, TEST].into_iter().flat_map(|set| metrics_of_set(set.name()));
        Some(METRICS.into_iter().chain([NORMALIZED, UNKNOWN, RATIO]).map(str::to_owned).chain(sets).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        // The config file next to it does not affect ids, so it is not part of the key.
        let files = &ctx.input(TOKENIZER_IN).entries;
        let tokenizer = files.iter().find(|entry| entry.name == TOKENIZER_JSON).cloned();
        for (input, output) in [(TRAIN_IN, TRAIN), (VALIDATION_IN, VALIDATION), (TEST_IN, TEST)] {
            let shards = ctx.optional(input).map(Artifact::shards).unwrap_or_default();
            let items = shards.into_iter().map(|shard| shard.with(tokenizer.clone())).collect();
            let tokens = ctx.each(output.name(), &Set { name: output.name() }, items, tokenize)?;
            ctx.output(output, tokens.entries("tokens"))?;
        }
        Ok(())
    }
}

/// The set of a share, for its metrics.
#[derive(Debug, Serialize, JsonSchema)]
struct Set {
    name: &'static str,
}

/// Encodes the documents of a shard.
fn tokenize(set: &Set, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [documents, tokenizer] = inputs.item().entries() else {
        return Err(Error::input(format!("the tokenizer has no file `{TOKENIZER_JSON}`")));
    };
    let tokenizer = tokenizer_of(tokenizer)?;
    let reader = DocumentReader::of_entry(documents)?.columns(&[Column::Id, Column::Text]);
    let mut encoder = tokenizer.encoder();
    let mut writer =
        TokensWriter::new(share.file("tokens")?, tokenizer.vocabulary_size(), tokenizer.digest())?;
    let (mut ids, mut documents, mut tokens, mut bytes) = (Vec::new(), 0_u64, 0_u64, 0_u64);
    let (mut normalized, mut unknown, unknown_id) = (0_u64, 0_u64, tokenizer.unknown());
    for row in share.track("documents", reader.rows()?) {
        let document = row??.document;
        ids.clear();
        encoder.encode_ordinary(&document.text, &mut ids);
        if !tokenizer.decodes_to(&ids, document.text.as_bytes()) {
            let expected = tokenizer.normalized(&document.text);
            if tokenizer.is_exact() && !tokenizer.decodes_to(&ids, expected.as_bytes()) {
                return Err(Error::input(format!(
                    "the tokens of document `{}` do not decode to its text; the tokenizer loses some of it",
                    document.id
                )));
            }
            normalized += 1;
        }
        writer.push(&document.id, &ids)?;
        documents += 1;
        unknown += ids.iter().filter(|id| Some(**id) == unknown_id).count() as u64;
        tokens += ids.len() as u64;
        bytes += document.text.len() as u64;
    }
    share.keep(writer.finish()?)?;
    let [of_tokens, of_bytes] = METRICS;
    let of_set = metrics_of_set(set.name);
    share.count(of_tokens, tokens);
    share.counts(of_set.each_ref().map(String::as_str), [tokens, documents]);
    share.count(of_bytes, bytes);
    if normalized > 0 {
        share.count(NORMALIZED, normalized);
    }
    if unknown_id.is_some() {
        share.count(UNKNOWN, unknown);
    }
    if tokens > 0 {
        let ratio = Metric::new(RATIO, bytes as f64 / tokens as f64, "bytes");
        share.metric(ratio.higher_is_better().merged_by(Merge::Mean(tokens as f64)));
    }
    Ok(())
}

/// The tokenizer of a file.
fn tokenizer_of(entry: &LocalEntry) -> Result<Arc<Tokenizer>> {
    static LAST: Memo<Tokenizer> = Memo::new();
    LAST.get(entry, |bytes| Ok(Tokenizer::from_json(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{put_documents, words};
    use crate::tokenizer::TokenizerStage;
    use crate::tokens::TokensReader;
    use pipe_stage::testing::Bench;
    use std::collections::BTreeMap;

    fn texts() -> BTreeMap<String, String> {
        let text =
            |n: usize| words(n, 80) + ["", "<|endoftext|>", "数据和模型。", "\u{0}\r\n\t", "🚀 é"][n % 5];
        (0..20).map(|n| (format!("d{n:02}"), text(n))).chain([("empty".to_owned(), String::new())]).collect()
    }

    fn run(bench: &Bench) -> (pipe_stage::Outcome, Artifact) {
        let all: Vec<(String, String)> = texts().into_iter().collect();
        let documents = put_documents(bench, &all.chunks(8).map(<[_]>::to_vec).collect::<Vec<_>>());
        let stage = TokenizerStage { vocabulary_size: Some(400), ..TokenizerStage::default() };
        let tokenizer = bench.run(&stage, &[("documents", &documents)]).unwrap();
        let tokenizer = bench.output(&tokenizer, "tokenizer").unwrap();
        let validation = put_documents(bench, &[vec![("v".to_owned(), words(99, 10))]]);
        let inputs = [("train", &documents), ("validation", &validation), ("tokenizer", &tokenizer)];
        (bench.run(&Tokenize::default(), &inputs).unwrap(), tokenizer)
    }

    #[test]
    fn shards_decode_to_the_documents() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let (outcome, tokenizer) = run(&bench);
        let json = bench
            .open(&tokenizer)
            .iter()
            .find(|file| file.name() == TOKENIZER_JSON)
            .unwrap()
            .bytes()
            .unwrap();
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        let mut found = BTreeMap::new();
        for entry in bench.open(&bench.output(&outcome, "train").unwrap()) {
            let shard = TokensReader::of_entry(&entry).unwrap();
            assert_eq!(shard.metadata().tokenizer_digest, blake3::hash(&json).to_hex().to_string());
            for document in shard {
                let (id, ids) = document.unwrap();
                assert!(!ids.contains(&tokenizer.eos().unwrap()), "{id}");
                found.insert(id, tokenizer.decode(&ids));
            }
        }
        assert_eq!(found, texts());
        let value = |name: &str| outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value;
        assert_eq!(value("tokens"), value("tokens_train") + value("tokens_validation"));
        assert_eq!(value("documents_train"), 21.0);
        assert!(value("bytes_per_token") > 1.5);
        assert_eq!(bench.output(&outcome, "test").unwrap().entries, []);
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digest = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            run(&bench).0.outputs["train"].to_string()
        };
        assert_eq!(&digest(1)[..16], "c4b9118d069a0b3b");
        assert_eq!(digest(3), digest(1));
    }
}
