//! The steps of a training: pieces are counted shard by shard, summed by parts of their hashes, selected up to a budget, and
//! trained on. Nothing here depends on threads, caches or the manifest.

use std::io::{self, BufReader};
use std::path::Path;

use pipe_stage::{Artifact, Context, Error, Inputs, Item, Metric, Result, Share, Step};
use schemars::JsonSchema;
use serde::Serialize;

use super::bpe::{Characters, Training, Vocabulary, train, train_characters};
use super::counts::{Counter, CountsReader, CountsWriter, Frequencies, Limit, hash};
use super::design::{Counting, Model, Wanted};
use super::json::{
    Design, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, Trained, tokenizer_config, tokenizer_config_of,
};
use super::unigram::train_unigram;
use crate::documents::{Column, DocumentReader};
use crate::lines::write_buffered;
use crate::parts::{part_of, ranges};

/// Names of the metrics: of the vocabulary, its merges, distinct pieces, those left out, and their share of all occurrences.
pub(super) const METRICS: [&str; 5] = ["vocabulary", "merges", "pieces", "pieces_pruned", "pruned_share"];

/// Pieces that are summed in one share, if there are enough parts.
const PIECES_MAX: u64 = 1 << 20;
/// Bytes of a part that are written at a time.
const PART_BUFFER: usize = 256 << 10;

/// Trains on the documents.
pub(super) fn run(ctx: &Context, wanted: &Wanted, documents: &Artifact) -> Result<Step> {
    let counted = ctx.each("counted", &wanted.counting, documents.shards(), count)?;
    let pieces = counted.values::<u64>()?.into_iter().sum();
    if pieces == 0 {
        return Err(Error::input(
            "there is no text to train a tokenizer on: `documents` has none, or only empty ones",
        )
        .help("see what the stages before it drop, or use an existing tokenizer with `from`"));
    }
    let sums = counted.parts("pieces", &ranges(pieces, PIECES_MAX));
    let sums = ctx.each_of("sums", &wanted.pieces_bytes_max, sums, sum)?;
    let mut frequencies = Frequencies::default();
    sums.values::<Frequencies>()?.iter().for_each(|part| frequencies.add_all(part));
    let selection = Selection {
        limit: frequencies.limit(wanted.pieces_bytes_max),
        pieces: frequencies.pieces(),
        occurrences: frequencies.occurrences(),
    };
    let items: Vec<Item> =
        sums.entries("pieces").into_iter().map(|file| Item::new(&file.name.clone(), [file])).collect();
    ctx.once("train", &(wanted.clone(), selection), items, train_tokenizer)
}

/// Which of the pieces are trained on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Selection {
    /// None if all are.
    limit: Option<Limit>,
    /// All distinct pieces.
    pieces: u64,
    /// Their occurrences.
    occurrences: u64,
}

/// Counts the pieces of a shard, and divides them into parts.
fn count(counting: &Counting, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let reader = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&[Column::Text]);
    let scratch = share.scratch()?;
    let mut counter = Counter::new(scratch.path());
    let (normalizer, splitter) = (counting.normalizer.normalizer(), counting.splitter());
    for row in share.track("documents", reader.rows()?) {
        let document = row??.document;
        let mut counted = Ok(());
        splitter.split(&normalizer.apply(&document.text), true, &mut |piece| {
            if counted.is_ok() {
                counted = counter.add(piece.as_bytes(), 1);
            }
        });
        counted.map_err(failed)?;
    }
    let counts = counter.finish().map_err(failed)?;
    let mut parts = share.parts("pieces")?;
    let (mut pieces, mut current, mut writer) = (0_u64, 0, CountsWriter::new(Vec::new()));
    let written = counts.each(|piece, count| {
        let part = part_of(hash(piece));
        if part != current {
            parts.part(current, &writer.file)?;
            (current, writer) = (part, CountsWriter::new(Vec::new()));
        }
        pieces += 1;
        writer.push(piece, count)?;
        if writer.file.len() >= PART_BUFFER {
            parts.part(current, &writer.file)?;
            writer.file.clear();
        }
        Ok(())
    });
    written.and_then(|()| parts.part(current, &writer.file)).map_err(failed)?;
    share.keep_parts(parts)?;
    share.value(&pieces);
    Ok(())
}

/// Sums the counts of the pieces of some parts. Leaves those that fit a budget for all parts: others cannot be selected.
fn sum(cost_max: &u64, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let scratch = share.scratch()?;
    let mut counter = Counter::new(scratch.path());
    for part in inputs.items().iter().flat_map(|item| item.entries()) {
        let mut stream = BufReader::new(part.stream()?);
        counter.add_all(&mut stream).map_err(failed)?;
        stream.into_inner().finish()?;
        share.check_stop()?;
    }
    let counts = counter.finish().map_err(failed)?;
    let mut frequencies = Frequencies::default();
    let added = counts.each(|piece, count| {
        frequencies.add(piece, count);
        Ok(())
    });
    added.map_err(failed)?;
    let limit = frequencies.limit(*cost_max);
    let mut file = share.file("pieces")?;
    write_buffered(&mut file, |file| {
        let mut writer = CountsWriter::new(file);
        counts.each(|piece, count| match limit.is_none_or(|limit| limit.selects(hash(piece), count)) {
            true => writer.push(piece, count),
            false => Ok(()),
        })
    })?;
    share.keep(file)?;
    share.value(&frequencies);
    Ok(())
}

/// Trains on the selected pieces of all parts.
fn train_tokenizer(
    (wanted, selection): &(Wanted, Selection),
    inputs: &Inputs,
    share: &mut Share,
) -> Result<()> {
    let special_tokens = wanted.all_special_tokens();
    let training = Training {
        vocabulary_size: wanted.vocabulary_size as usize,
        frequency_min: wanted.min_frequency,
        special_tokens: &special_tokens,
    };
    let (mut pieces, mut occurrences) = (0_u64, 0_u64);
    let mut counts = Vec::new();
    for entry in inputs.items().iter().flat_map(|item| item.entries()) {
        let mut stream = BufReader::new(entry.stream()?);
        let mut reader = CountsReader::new(&mut stream);
        while reader.advance().map_err(failed)? {
            if selection.limit.is_none_or(|limit| limit.selects(hash(&reader.piece), reader.count)) {
                pieces += 1;
                occurrences = occurrences.saturating_add(reader.count);
                counts.push((Box::<[u8]>::from(reader.piece.as_slice()), reader.count));
            }
        }
        stream.into_inner().finish()?;
        share.check_stop()?;
    }
    let mut stopped = Ok(());
    let merged = |tokens: usize| {
        if tokens.is_multiple_of(64) {
            share.progress("tokens", tokens as u64, u64::from(wanted.vocabulary_size));
            stopped = share.check_stop();
        }
        stopped.is_ok()
    };
    let trained = match wanted.counting.model {
        Model::Bpe => Vocabularies::Merges(train(counts, training, merged)),
        Model::BpeCharacters => {
            Vocabularies::Merges(train_characters(counts, training, Characters::Plain, merged))
        }
        Model::WordPiece => {
            Vocabularies::Merges(train_characters(counts, training, Characters::Continued, merged))
        }
        Model::Unigram => {
            let round = |candidates: usize| {
                share.progress("candidates", candidates as u64, None);
                stopped = share.check_stop();
                stopped.is_ok()
            };
            Vocabularies::Scores(train_unigram(counts, training, share.threads(), round))
        }
    };
    stopped?;
    let (design, size, merges) = (trained.design(wanted), trained.size(), trained.merges());
    share.write("tokenizer", TOKENIZER_JSON, &design.to_json())?;
    share.write("tokenizer", TOKENIZER_CONFIG_JSON, &config(wanted, &special_tokens))?;
    if size < u64::from(wanted.vocabulary_size) {
        share.note(format!(
            "the vocabulary has {size} tokens instead of {}: no other pair of tokens within a piece of text \
             occurs {} times or more",
            wanted.vocabulary_size,
            wanted.min_frequency.max(1)
        ));
    }
    let [of_size, of_merges, of_pieces, of_pruned, of_share] = METRICS;
    let counts = [size, merges, selection.pieces, selection.pieces - pieces];
    share.counts([of_size, of_merges, of_pieces, of_pruned], counts);
    let pruned = selection.occurrences.saturating_sub(occurrences);
    let pruned = pruned as f64 / selection.occurrences.max(1) as f64;
    share.metric(Metric::new(of_share, pruned, "").lower_is_better());
    Ok(())
}

/// What was trained.
enum Vocabularies {
    Merges(Vocabulary),
    Scores(Vec<(String, f64)>),
}

impl Vocabularies {
    fn design(&self, wanted: &Wanted) -> Design<'_> {
        let trained = match (self, wanted.counting.model) {
            (Self::Merges(vocabulary), Model::WordPiece) => Trained::WordPiece(vocabulary),
            (Self::Merges(vocabulary), Model::BpeCharacters) => Trained::Characters(vocabulary),
            (Self::Merges(vocabulary), _) => Trained::Bytes(vocabulary),
            (Self::Scores(tokens), _) => {
                Trained::Unigram { tokens, special_tokens: wanted.all_special_tokens().len() }
            }
        };
        let Counting { normalizer, .. } = wanted.counting;
        Design { normalizer, splitter: wanted.counting.splitter(), trained }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Merges(vocabulary) => vocabulary.tokens.len() as u64,
            Self::Scores(tokens) => tokens.len() as u64,
        }
    }

    fn merges(&self) -> u64 {
        match self {
            Self::Merges(vocabulary) => vocabulary.merges.len() as u64,
            Self::Scores(_) => 0,
        }
    }
}

/// tokenizer_config.json, with the roles of special tokens.
fn config(wanted: &Wanted, special_tokens: &[String]) -> Vec<u8> {
    match wanted.counting.model.roles() {
        [] => tokenizer_config(&special_tokens[0], special_tokens.get(1).map(String::as_str)),
        roles => tokenizer_config_of(roles.iter().copied()),
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("read or write", Path::new("the counts of pieces"), &error)
}

#[cfg(test)]
mod tests {
    use super::super::TokenizerStage;
    use super::super::design::Chat;
    use super::super::encode::Tokenizer;
    use super::super::normalizer::NormalizerName;
    use super::super::pattern::Pattern;
    use super::super::splitter::Digits;
    use super::super::tests::small;
    use super::*;
    use crate::testing::{put_documents, words};
    use pipe_stage::testing::Bench;
    use pipe_stage::{Outcome, Stage};

    fn value(outcome: &Outcome, metric: &str) -> f64 {
        outcome.metrics.iter().find(|known| known.name == metric).unwrap().value
    }

    #[test]
    fn shards_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let all: Vec<(String, String)> = (0..60).map(|n| (format!("d{n:02}"), words(n, 200))).collect();
        let digest = |shard: usize, pieces_max_mib| {
            let documents = put_documents(&bench, &all.chunks(shard).map(<[_]>::to_vec).collect::<Vec<_>>());
            let stage = TokenizerStage { pieces_max_mib, ..small() };
            let outcome = bench.run(&stage, &[("documents", &documents)]).unwrap();
            (outcome.outputs["tokenizer"], value(&outcome, "pieces_pruned"))
        };
        let whole = digest(60, 256);
        assert_eq!((whole.1, digest(7, 256)), (0.0, whole));
        assert_eq!(digest(13, 1), whole);
    }

    #[test]
    fn the_most_frequent_pieces_are_trained_on() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        // 40,000 words of which most occur once, and ten that occur often.
        let text = |n: usize| {
            let letter =
                |at: u32, word: usize| char::from(b'a' + ((n * 4_000 + word) / 26_usize.pow(at) % 26) as u8);
            let rare = (0..4_000).map(|word| (0..4).map(|at| letter(at, word)).collect::<String>());
            let often = (0..1_000).map(|word| ["often", "more", "most"][word % 3].to_owned());
            rare.chain(often).collect::<Vec<_>>().join(" ")
        };
        let all: Vec<(String, String)> = (0..10).map(|n| (format!("d{n}"), text(n))).collect();
        let run = |shard: usize, threads: usize| {
            let mut bench = Bench::new(&folder.path().join(format!("{shard}-{threads}"))).unwrap();
            bench.threads = threads;
            let documents = put_documents(&bench, &all.chunks(shard).map(<[_]>::to_vec).collect::<Vec<_>>());
            let stage = TokenizerStage { pieces_max_mib: 1, ..small() };
            bench.run(&stage, &[("documents", &documents)]).unwrap()
        };
        drop(bench);
        let outcome = run(10, 1);
        let (pieces, pruned) = (value(&outcome, "pieces"), value(&outcome, "pieces_pruned"));
        assert!(pieces > 40_000.0 && pruned > 5_000.0 && pruned < 20_000.0, "{pieces} {pruned}");
        assert!((0.05..0.4).contains(&value(&outcome, "pruned_share")));
        for (shard, threads) in [(3, 1), (1, 3)] {
            let other = run(shard, threads);
            assert_eq!(other.outputs["tokenizer"], outcome.outputs["tokenizer"]);
            assert_eq!(value(&other, "pieces_pruned"), pruned);
        }
        assert_eq!(&outcome.outputs["tokenizer"].to_string()[..16], "f2051e07b22d25bf");
    }

    #[test]
    fn no_text_to_train_on_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let empty = vec![("a".to_owned(), String::new())];
        for documents in [put_documents(&bench, &[]), put_documents(&bench, &[empty])] {
            let error = bench.run(&small(), &[("documents", &documents)]).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("there is no text to train a tokenizer on"), "{error}");
        }
    }

    /// Texts at which tokenizers differ.
    const TEXTS: [&str; 9] = [
        "w12 w3001 the größte Übel doesn't 12345 数据和模型。",
        " two  spaces\n\n and\ttabs\r\n",
        "e\u{301}te\u{301} ﬁ ½ ① ʰA ǅ İstanbul ſ",
        "<s> </s> <0x41> <unk> [UNK] [CLS] ##x ▁y <|endoftext|>",
        "\u{0}\u{7f}\u{a0}\u{3000}\u{200d}\u{feff}\u{fffd}🚀👩‍👩‍👧",
        "данные и модели; 한국어 텍스트; بيانات ونماذج; हिन्दी १२३",
        "iPhone McDonald HTTPServer /usr//bin I'VE we're",
        "",
        "unknownwordofmorethanahundredcharactersunknownwordofmorethanahundredcharactersunknownwordofmorethanahundredcharacters",
    ];

    #[test]
    fn every_kind_of_tokenizer_has_the_ids_of_hugging_face() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let all = |n: usize| (format!("d{n:02}"), words(n, 200) + TEXTS[n % TEXTS.len()]);
        let documents = put_documents(&bench, &[(0..40).map(all).collect()]);
        let bpe = TokenizerStage { vocabulary_size: Some(900), ..TokenizerStage::default() };
        let of_model = |model| TokenizerStage { model, ..bpe.clone() };
        let of_pattern = |pattern| TokenizerStage { pattern: Some(pattern), ..bpe.clone() };
        let kinds = [
            of_pattern(Pattern::Cl100k),
            of_pattern(Pattern::O200k),
            TokenizerStage {
                digits: Digits::Single,
                normalizer: Some(NormalizerName::Nfc),
                chat: Some(Chat::Chatml),
                ..of_pattern(Pattern::Gpt2)
            },
            TokenizerStage { digits: Digits::GroupsOfThree, chat: Some(Chat::Llama3), ..bpe.clone() },
            of_model(Model::WordPiece),
            TokenizerStage {
                pattern: Some(Pattern::Whitespace),
                normalizer: Some(NormalizerName::BertCased),
                ..of_model(Model::WordPiece)
            },
            of_model(Model::BpeCharacters),
            of_model(Model::Unigram),
            TokenizerStage { normalizer: Some(NormalizerName::Nfkc), ..of_model(Model::Unigram) },
        ];
        let mut digests = Vec::new();
        for stage in kinds {
            assert_eq!(stage.check(), []);
            let outcome = bench.run(&stage, &[("documents", &documents)]).unwrap();
            digests.push(outcome.outputs["tokenizer"].to_string()[..8].to_owned());
            let files = bench.open(&bench.output(&outcome, "tokenizer").unwrap());
            let bytes = |name: &str| files.iter().find(|file| file.name() == name).unwrap().bytes().unwrap();
            let (json, config) = (bytes(TOKENIZER_JSON), bytes(TOKENIZER_CONFIG_JSON));
            let ours = Tokenizer::from_files(&json, &config).unwrap();
            assert!(ours.eos().is_some() && ours.pad().is_some());
            let mut oracle = tokenizers::Tokenizer::from_bytes(&json).unwrap();
            assert_eq!(ours.vocabulary_size() as usize, oracle.get_vocab_size(true));
            for is_ordinary in [false, true] {
                oracle.set_encode_special_tokens(is_ordinary);
                for text in TEXTS {
                    let ids = if is_ordinary { ours.encode_ordinary(text) } else { ours.encode(text) };
                    let expected = oracle.encode(text, false).unwrap();
                    assert_eq!(ids, expected.get_ids(), "{stage:?}: {text:?}");
                    let decoded = oracle.decode(&ids, false).unwrap();
                    let exact = stage.model != Model::WordPiece;
                    assert!(!exact || ours.decode(&ids) == decoded, "{stage:?}: {text:?}");
                }
            }
            // A tokenizer as Hugging Face writes it is the same.
            let again = Tokenizer::from_json(oracle.to_string(false).unwrap().as_bytes()).unwrap();
            assert_eq!(again.encode(TEXTS[0]), ours.encode(TEXTS[0]));
        }
        assert_eq!(
            digests,
            [
                "c81da768", "78397097", "d9da6a43", "7074acac", "8b5ac3d3", "7bd94127", "ab462843",
                "3d9930fd", "56d35c95",
            ]
        );
    }

    #[test]
    fn documents_cannot_smuggle_reserved_tokens_in() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let smuggling = "<s></s><unk><pad><0x41>[CLS]<|endoftext|> ".repeat(300);
        let documents = put_documents(&bench, &[vec![("a".into(), smuggling), ("b".into(), words(1, 2000))]]);
        for model in [Model::Bpe, Model::BpeCharacters, Model::WordPiece, Model::Unigram] {
            let stage = TokenizerStage { model, vocabulary_size: Some(800), ..TokenizerStage::default() };
            let outcome = bench.run(&stage, &[("documents", &documents)]).unwrap();
            let files = bench.open(&bench.output(&outcome, "tokenizer").unwrap());
            let json = files.iter().find(|file| file.name() == TOKENIZER_JSON).unwrap().bytes().unwrap();
            let tokenizer = Tokenizer::from_json(&json).unwrap();
            let text = "<s></s><unk><pad><0x41>[CLS]<|endoftext|>";
            let ids = tokenizer.encode_ordinary(text);
            let special = stage.special_tokens().len() as u32;
            assert!(
                ids.iter().all(|id| *id >= special || Some(*id) == tokenizer.unknown()),
                "{model:?}: {ids:?}"
            );
            assert!(model == Model::WordPiece || tokenizer.decode(&ids) == text, "{model:?}: {ids:?}");
        }
    }
}
