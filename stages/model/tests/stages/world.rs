//! A store with a tokenizer, tokens and documents, and small configs of the stages.

use pipe_data::Tokenizer;
use pipe_data::documents::{Document, DocumentWriter};
use pipe_data::tokenizer::bpe::{self, Training};
use pipe_data::tokenizer::json::{TrainedTokenizer, tokenizer_config};
use pipe_data::tokenizer::pattern::Pattern;
use pipe_data::tokens::TokensWriter;
use pipe_model::{
    AdamW, ArchitectureOverrides, Eval, Export, Finetune, Generator, Preset, Pretrain, Validation,
};
use pipe_stage::testing::Bench;
use pipe_stage::{
    Artifact, Context, DynStage, Error, Event, Identity, InputArtifact, Mode, Setup, Stage, Stop,
};
use std::sync::Arc;

const END: &str = "<|endoftext|>";

/// A store with a tokenizer, tokens and documents of two kinds of sentences.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bench: Bench,
    pub(crate) tokenizer: Artifact,
    pub(crate) train: Artifact,
    pub(crate) validation: Artifact,
    pub(crate) documents: Artifact,
}

pub(crate) fn texts(first: usize, n: usize) -> Vec<(String, String)> {
    let text = |i: usize| {
        let (book, words) = match i % 3 {
            0 => ("fruit", ["apple", "pear", "plum", "cherry"]),
            _ => ("metal", ["iron", "copper", "zinc", "silver"]),
        };
        let sentence = |j: usize| format!("The {} is {}. ", words[(i + j) % 4], words[(i * 7 + j * 3) % 4]);
        (format!("https://example.org/{book}/{i}.html"), (0..6).map(sentence).collect())
    };
    (first..first + n).map(text).collect()
}

pub(crate) fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(folder.path()).expect("a store");
    let (train, held_out) = (texts(0, 60), texts(60, 18));
    let words: Vec<&str> = train.iter().flat_map(|(_, text)| text.split_inclusive(' ')).collect();
    let special_tokens = [END.to_owned()];
    let training = Training { vocabulary_size: 300, frequency_min: 2, special_tokens: &special_tokens };
    let mut counts = std::collections::BTreeMap::<&[u8], u64>::new();
    words.iter().for_each(|word| *counts.entry(word.as_bytes()).or_default() += 1);
    let vocabulary = bpe::train(counts, training, |_| true);
    let json = TrainedTokenizer { pattern: Pattern::Gpt2, vocabulary: &vocabulary }.to_json();
    let config = tokenizer_config(END, None);
    let tokenizer = Tokenizer::from_files(&json, &config).expect("a tokenizer");
    let tokens = |texts: &[(String, String)]| {
        let mut writer =
            TokensWriter::new(Vec::new(), tokenizer.vocabulary_size(), tokenizer.digest()).expect("a writer");
        for (url, text) in texts {
            writer.push(url, &tokenizer.encode_ordinary(text)).expect("pushed");
        }
        let bytes = writer.finish().expect("finished");
        bench.artifact("tokens", &[("a.parquet", &bytes)]).expect("stored")
    };
    let documents = |texts: &[(String, String)]| {
        let mut writer = DocumentWriter::new(Vec::new()).expect("a writer");
        for (url, text) in texts {
            let (id, url, text) = (url.clone(), url.clone(), text.clone());
            writer
                .push(&Document { id, url, text, source: "example".into(), ..Document::default() })
                .expect("pushed");
        }
        let bytes = writer.finish().expect("finished");
        bench.artifact("documents", &[("a.parquet", &bytes)]).expect("stored")
    };
    World {
        tokenizer: bench
            .artifact("tokenizer", &[("tokenizer.json", &json), ("tokenizer_config.json", &config)])
            .expect("stored"),
        train: tokens(&train),
        validation: tokens(&held_out),
        documents: documents(&[train, held_out].concat()),
        folder,
        bench,
    }
}

pub(crate) fn tiny() -> Pretrain {
    Pretrain {
        preset: Preset::GptTiny,
        steps: 12,
        batch_size: 4,
        warmup_steps: 2,
        dropout: 0.1,
        seed: 5,
        gradient_accumulation_steps: 2,
        optimizer: AdamW { lr: 3e-3, ..AdamW::default() },
        validation: Validation { eval_interval: 5, eval_batches: 2, patience: 0 },
        samples: pipe_model::Samples { prompts: vec!["The ".into()], max_new_tokens: 8, temperature: 0.5 },
        checkpoint_steps: 3,
        ..Pretrain::default()
    }
}

impl World {
    pub(crate) fn pretrain(&self, config: &Pretrain) -> pipe_stage::Result<pipe_stage::Outcome> {
        let inputs =
            [("train", &self.train), ("validation", &self.validation), ("tokenizer", &self.tokenizer)];
        self.bench.run(config, &inputs)
    }

    /// Trains until this step is taken, is asked to stop then, and ends.
    pub(crate) fn stop_at(&self, config: &Pretrain, step: u64) {
        let inputs =
            [("train", &self.train), ("validation", &self.validation), ("tokenizer", &self.tokenizer)];
        let input = |artifact: &Artifact| InputArtifact {
            label: String::new(),
            digest: artifact.digest(),
            artifact: artifact.clone(),
        };
        let stop = Stop::default();
        let asked = stop.clone();
        let setup = Setup {
            store: self.bench.store.clone(),
            identity: Identity {
                name: Pretrain::NAME.to_owned(),
                revision: Pretrain::REVISION,
                program: None,
            },
            mode: Mode::Here,
            inputs: inputs.map(|(port, artifact)| (port.to_owned(), vec![input(artifact)])).into(),
            sources: Vec::new(),
            remotes: None,
            threads: self.bench.threads,
            events: Arc::new(move |event| {
                if matches!(&event, Event::Metric { name, step: at, .. } if name == "loss" && *at == step) {
                    asked.ask();
                }
            }),
            stop,
            lease: None,
        };
        let outcome = Context::new(setup).enter(config as &dyn DynStage);
        assert!(matches!(outcome, Err(Error::Interrupted)));
    }

    pub(crate) fn file(&self, artifact: &Artifact, name: &str) -> Vec<u8> {
        let entries = self.bench.open(artifact);
        let entry = entries.iter().find(|entry| entry.name() == name).expect("the file is there");
        entry.bytes().expect("read")
    }
}

/// A classifier by the first part of addresses.
pub(crate) fn tuning() -> Finetune {
    Finetune {
        label: "^/([^/]+)/".into(),
        steps: 60,
        batch_size: 8,
        warmup_steps: 2,
        max_length: 32,
        optimizer: AdamW { lr: 3e-3, ..AdamW::default() },
        ..Finetune::default()
    }
}

impl World {
    /// Trains with `model`, and gives the model.
    pub(crate) fn model(&self, model: ArchitectureOverrides) -> Artifact {
        let trained =
            self.pretrain(&Pretrain { preset: Preset::Gpt2Tiny, model, ..tiny() }).expect("trained");
        self.bench.output(&trained, "model").expect("a model")
    }

    /// Exports `model`, and loads it to write.
    pub(crate) fn generator(&self, model: &Artifact) -> Generator {
        let exported = self.bench.run(&Export::default(), &[("model", model)]).expect("exported");
        let folder = tempfile::tempdir().expect("a folder");
        for entry in self.bench.open(&self.bench.output(&exported, "model").expect("a folder")) {
            entry.copy_to(&folder.path().join(entry.name())).expect("copied");
        }
        Generator::load(folder.path()).expect("loaded")
    }

    pub(crate) fn score(&self, eval: &Eval, inputs: &[(&str, &Artifact)], name: &str) -> Option<f64> {
        let scored = self.bench.run(eval, inputs).expect("scored");
        scored.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }
}
