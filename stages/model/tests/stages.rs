//! The four stages on small data: what they make, that interruptions leave no trace, that faults are named.

use pipe_data::documents::{Document, DocumentWriter};
use pipe_data::tokenizer::bpe::{self, Training};
use pipe_data::tokenizer::json::{TrainedTokenizer, tokenizer_config};
use pipe_data::tokens::TokensWriter;
use pipe_data::{Examples, Tokenizer, tokenizer::pattern::Pattern};
use pipe_model::{
    AdamW, ArchitectureOverrides, EmbeddingScale, Eval, Export, Finetune, Generator, LrSchedule, Options,
    Placement, Preset, Pretrain, Validation,
};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Error, Stage};
use serde_json::Value;

const END: &str = "<|endoftext|>";

/// A store with a tokenizer, tokens and documents of two kinds of sentences.
struct World {
    _folder: tempfile::TempDir,
    bench: Bench,
    tokenizer: Artifact,
    train: Artifact,
    validation: Artifact,
    documents: Artifact,
}

fn texts(first: usize, n: usize) -> Vec<(String, String)> {
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

fn world() -> World {
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
        _folder: folder,
        bench,
    }
}

fn tiny() -> Pretrain {
    Pretrain {
        preset: Preset::GptTiny,
        steps: 12,
        batch_rows: 4,
        warmup_steps: 2,
        dropout: 0.1,
        seed: 5,
        accumulation: 2,
        optimizer: AdamW { lr: 3e-3, ..AdamW::default() },
        validation: Validation { every_steps: 5, batches: 2, patience: 0 },
        samples: pipe_model::Samples { prompts: vec!["The ".into()], tokens: 8, temperature: 0.5 },
        checkpoint_steps: 3,
        ..Pretrain::default()
    }
}

impl World {
    fn pretrain(&self, config: &Pretrain) -> pipe_stage::Result<pipe_stage::Outcome> {
        let inputs =
            [("train", &self.train), ("validation", &self.validation), ("tokenizer", &self.tokenizer)];
        self.bench.run(config, &inputs)
    }

    fn file(&self, artifact: &Artifact, name: &str) -> Vec<u8> {
        let entries = self.bench.open(artifact);
        let entry = entries.iter().find(|entry| entry.name() == name).expect("the file is there");
        entry.bytes().expect("read")
    }
}

/// A classifier by the first part of addresses.
fn tuning() -> Finetune {
    Finetune {
        label: "^/([^/]+)/".into(),
        steps: 60,
        batch_rows: 8,
        warmup_steps: 2,
        tokens_max: 32,
        optimizer: AdamW { lr: 3e-3, ..AdamW::default() },
        ..Finetune::default()
    }
}

#[test]
fn defaults_pass_their_own_check() {
    assert_eq!(Pretrain::default().check(), []);
    assert_eq!(Finetune { label: "^/([^/]+)/".into(), ..Finetune::default() }.check(), []);
    assert_eq!(Eval::default().check(), []);
    assert_eq!(Export::default().check(), []);
}

#[test]
fn pretrain_finetune_eval_export_and_generate() {
    let world = world();
    let trained = world.pretrain(&tiny()).expect("trained");
    let model = world.bench.output(&trained, "model").expect("a model");
    let names: Vec<&str> = model.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let config: Value = serde_json::from_slice(&world.file(&model, "config.json")).expect("JSON");
    assert_eq!((&config["model_type"], &config["rope_theta"]), (&"llama".into(), &10_000.0.into()));
    let tokenizer: Value =
        serde_json::from_slice(&world.file(&model, "tokenizer_config.json")).expect("JSON");
    assert_eq!(tokenizer["model_max_length"], 64);
    let history = world.bench.output(&trained, "history").expect("a history");
    let lines = String::from_utf8(world.file(&history, "history.jsonl")).expect("text");
    assert_eq!(lines.lines().count(), 12);
    assert_eq!(lines.lines().filter(|line| line.contains("loss_validation")).count(), 3);

    let finetune = tuning();
    let tuned = world.bench.run(&finetune, &[("model", &model), ("train", &world.documents)]).expect("tuned");
    let classifier = world.bench.output(&tuned, "model").expect("a model");
    let config: Value = serde_json::from_slice(&world.file(&classifier, "config.json")).expect("JSON");
    assert_eq!(config["id2label"]["1"], "metal");
    assert_eq!(config["max_position_embeddings"], 32);
    assert_eq!(config["architectures"][0], "LlamaForSequenceClassification");

    let eval = Eval { label: finetune.label.clone(), prompts: vec!["The apple".into()], ..Eval::default() };
    let inputs = [("model", &model), ("model", &classifier), ("documents", &world.documents)];
    let scored = world.bench.run(&eval, &inputs).expect("scored");
    let scores = world.bench.output(&scored, "scores").expect("scores");
    let scores_json: Value = serde_json::from_slice(&world.file(&scores, "scores.json")).expect("JSON");
    let value = |model: &str, name: &str| {
        let mut all = scores_json["scores"].as_array().expect("a list").iter();
        let score = all.find(|score| score["model"] == model && score["name"] == name).expect("a score");
        score["value"].as_f64().expect("a number")
    };
    assert!(value("model 1", "bits_per_byte") > 0.0 && value("model 1", "bits_per_byte") < 8.0);
    assert!(value("model 2", "accuracy") > 0.9, "{}", value("model 2", "accuracy"));
    assert!((value("model 2", "accuracy_majority") - 2.0 / 3.0).abs() < 0.01);
    let text = world.bench.output(&scored, "text").expect("a text");
    assert!(!world.file(&text, "text.txt").is_empty());

    let inputs = [("model", &model), ("scores", &scores), ("documents", &world.documents)];
    let exported = world.bench.run(&Export::default(), &inputs).expect("exported");
    let exported = world.bench.output(&exported, "model").expect("a folder");
    let card = String::from_utf8(world.file(&exported, "README.md")).expect("text");
    for part in ["pipeline_tag: text-generation", "bits_per_byte", "example (78)", "documents | `"] {
        assert!(card.contains(part), "`{part}` is not in the card:\n{card}");
    }

    let folder = tempfile::tempdir().expect("a folder");
    for entry in world.bench.open(&exported) {
        entry.copy_to(&folder.path().join(entry.name())).expect("copied");
    }
    let generator = Generator::load(folder.path()).expect("loaded");
    let write = |seed| {
        let options = Options { tokens_max: 12, seed, ..Options::default() };
        generator.generate("The apple", &options, || true).expect("written")
    };
    assert_eq!(write(3), write(3));
    assert!((0..8).any(|seed| !write(seed).is_empty()));
}

impl World {
    /// Trains with `model`, and gives the model.
    fn model(&self, model: ArchitectureOverrides) -> Artifact {
        let trained =
            self.pretrain(&Pretrain { preset: Preset::Gpt2Tiny, model, ..tiny() }).expect("trained");
        self.bench.output(&trained, "model").expect("a model")
    }

    /// Exports `model`, and loads it to write.
    fn generator(&self, model: &Artifact) -> Generator {
        let exported = self.bench.run(&Export::default(), &[("model", model)]).expect("exported");
        let folder = tempfile::tempdir().expect("a folder");
        for entry in self.bench.open(&self.bench.output(&exported, "model").expect("a folder")) {
            entry.copy_to(&folder.path().join(entry.name())).expect("copied");
        }
        Generator::load(folder.path()).expect("loaded")
    }

    fn score(&self, eval: &Eval, inputs: &[(&str, &Artifact)], name: &str) -> Option<f64> {
        let scored = self.bench.run(eval, inputs).expect("scored");
        scored.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }
}

#[test]
fn gpt2_form_is_trained_tuned_scored_exported_and_read() {
    let world = world();
    let model = world.model(ArchitectureOverrides::default());
    let config: Value = serde_json::from_slice(&world.file(&model, "config.json")).expect("JSON");
    assert_eq!(config["architectures"][0], "GPT2LMHeadModel");
    assert_eq!((&config["n_ctx"], &config["tie_word_embeddings"]), (&64.into(), &true.into()));

    let finetune = tuning();
    let tuned = world.bench.run(&finetune, &[("model", &model), ("train", &world.documents)]).expect("tuned");
    let classifier = world.bench.output(&tuned, "model").expect("a model");
    let config: Value = serde_json::from_slice(&world.file(&classifier, "config.json")).expect("JSON");
    assert_eq!(config["architectures"][0], "GPT2ForSequenceClassification");
    assert_eq!(config["n_positions"], 32);

    let eval = Eval { label: finetune.label.clone(), ..Eval::default() };
    let inputs = [("model", &model), ("documents", &world.documents)];
    let bits = world.score(&eval, &inputs, "bits_per_byte").expect("a score");
    assert!(bits > 0.0 && bits < 8.0);
    let inputs = [("model", &classifier), ("documents", &world.documents)];
    assert!(world.score(&eval, &inputs, "accuracy").expect("a score") > 0.9);
    let options = Options { tokens_max: 12, ..Options::default() };
    world.generator(&model).generate("The apple", &options, || true).expect("written");
}

#[test]
fn post_norm_and_scaled_embeddings_are_exported_as_a_stock_class() {
    let world = world();
    let classic = ArchitectureOverrides {
        norm: Some(Placement::Post),
        embedding_scale: Some(EmbeddingScale::RootWidth),
        ..ArchitectureOverrides::default()
    };
    let model = world.model(classic);
    let config: Value = serde_json::from_slice(&world.file(&model, "config.json")).expect("JSON");
    assert_eq!(config["architectures"][0], "OpenAIGPTLMHeadModel");
    assert_eq!(config["tie_word_embeddings"], false, "the scaled embedding is no head any more");
    let inputs = [("model", &model), ("documents", &world.documents)];
    assert!(world.score(&Eval::default(), &inputs, "bits_per_byte").expect("a score") < 8.0);
    let options = Options { tokens_max: 12, ..Options::default() };
    world.generator(&model).generate("The apple", &options, || true).expect("written");
}

#[test]
fn what_no_stock_class_has_is_trained_and_scored_but_not_exported() {
    let world = world();
    let narrow = ArchitectureOverrides {
        norm: Some(Placement::Post),
        feed_forward: Some(128),
        ..ArchitectureOverrides::default()
    };
    let model = world.model(narrow);
    let inputs = [("model", &model), ("documents", &world.documents)];
    assert!(world.score(&Eval::default(), &inputs, "bits_per_byte").expect("a score") < 8.0);
    let error = world.bench.run(&Export::default(), &[("model", &model)]).expect_err("refused").to_string();
    assert!(error.contains("`norm: post`") && error.contains("256 and not 128"), "{error}");
}

#[test]
fn eval_sets_a_3_gram_model_of_the_training_tokens_beside() {
    let world = world();
    let model = world.model(ArchitectureOverrides::default());
    let inputs = [("model", &model), ("documents", &world.documents), ("tokens", &world.train)];
    let scored = world.bench.run(&Eval::default(), &inputs).expect("scored");
    let value =
        |name: &str| scored.metrics.iter().find(|metric| metric.name == name).expect("a metric").value;
    assert!(value("perplexity_kneser_ney") > 1.0 && value("perplexity_kneser_ney") < 30.0);
    assert!(value("tokens_kneser_ney") > 1000.0);
    let scores = world.bench.output(&scored, "scores").expect("scores");
    let table = String::from_utf8(world.file(&scores, "scores.md")).expect("text");
    let figures: Vec<&str> = table.lines().filter_map(|line| line.split(" | ").nth(1)).collect();
    let at = figures.iter().position(|name| *name == "perplexity").expect("the model's");
    assert_eq!(figures[at + 3], "perplexity_kneser_ney", "{table}");

    let few = Eval { ngram_tokens_max: 500, ..Eval::default() };
    assert_eq!(world.score(&few, &inputs, "tokens_kneser_ney"), Some(500.0));
    let without = [("model", &model), ("documents", &world.documents)];
    assert_eq!(world.score(&Eval::default(), &without, "perplexity_kneser_ney"), None);
}

#[test]
fn baseline_tokens_of_no_models_tokenizer_are_refused() {
    let world = world();
    let model = world.model(ArchitectureOverrides::default());
    let mut writer = TokensWriter::new(Vec::new(), 300, "00").expect("a writer");
    writer.push("a", &[1; 500]).expect("pushed");
    let bytes = writer.finish().expect("finished");
    let other = world.bench.artifact("tokens", &[("x.parquet", &bytes)]).expect("stored");
    let inputs = [("model", &model), ("documents", &world.documents), ("tokens", &other)];
    let error = world.bench.run(&Eval::default(), &inputs).expect_err("refused").to_string();
    assert!(error.contains("no language model has the tokenizer"), "{error}");
}

#[test]
fn examples_train_the_classifier_that_addresses_train() {
    let world = world();
    let model = world.pretrain(&Pretrain { steps: 2, ..tiny() }).expect("trained");
    let model = world.bench.output(&model, "model").expect("a model");
    let templates = Examples { label: "{{ (url | split('/'))[3] }}".into(), ..Examples::default() };
    let examples = world.bench.run(&templates, &[("documents", &world.documents)]).expect("made");
    let examples = world.bench.output(&examples, "examples").expect("examples");
    let by_address = Finetune {
        label: "^/([^/]+)/".into(),
        steps: 4,
        warmup_steps: 1,
        tokens_max: 32,
        ..Finetune::default()
    };
    let given = Finetune { label: String::new(), ..by_address.clone() };
    let tune = |config: &Finetune, documents: &Artifact| {
        world.bench.run(config, &[("model", &model), ("train", documents)])
    };
    let tuned = tune(&given, &examples).expect("tuned");
    assert_eq!(tuned.outputs, tune(&by_address, &world.documents).expect("tuned").outputs);

    let classifier = world.bench.output(&tuned, "model").expect("a model");
    let score = |label: &str, documents: &Artifact| {
        let eval = Eval { label: label.into(), ..Eval::default() };
        let inputs = [("model", &classifier), ("documents", documents), ("train", documents)];
        world.bench.run(&eval, &inputs).map(|outcome| outcome.outputs["scores"])
    };
    let scored = score("", &examples).expect("scored");
    assert_eq!(scored, score(&by_address.label, &world.documents).expect("scored"));
    let error = tune(&given, &world.documents).expect_err("no labels").to_string();
    assert!(error.contains("a document without label is"), "{error}");
    let error = score("", &world.documents).expect_err("no labels").to_string();
    assert!(error.contains("no held-out document has one"), "{error}");
}

#[test]
fn interrupted_runs_end_in_the_same_bytes() {
    let config = tiny();
    let undisturbed = world().pretrain(&config).expect("trained");
    let world = world();
    world.bench.stop.ask();
    for _ in 0..4 {
        // Asked to stop, each run takes one step, stores it, and ends.
        assert!(matches!(world.pretrain(&config), Err(Error::Interrupted)));
    }
    let resumed = World { bench: Bench { stop: Default::default(), ..world.bench }, ..world };
    let resumed = resumed.pretrain(&config).expect("trained");
    assert_eq!(resumed.outputs, undisturbed.outputs);
}

#[test]
fn longer_runs_go_on_from_the_trunk_with_the_same_bytes() {
    let short = Pretrain { schedule: LrSchedule::WarmupStableDecay, decay: 0.25, ..tiny() };
    let long = Pretrain { steps: 16, ..short.clone() };
    let from_scratch = world().pretrain(&long).expect("trained");
    let world = world();
    world.pretrain(&short).expect("trained");
    world.bench.events.lock().expect("no panic").clear();
    let extended = world.pretrain(&long).expect("trained");
    assert_eq!(extended.outputs, from_scratch.outputs);
    let steps_taken = world
        .bench
        .events
        .lock()
        .expect("no panic")
        .iter()
        .filter(|event| matches!(event, pipe_stage::Event::Metric { name, .. } if name == "loss"))
        .count();
    assert_eq!(steps_taken, 7, "the short run's trunk had 9 steps of 16");
}

#[test]
fn early_stopping_gives_the_best_weights() {
    let world = world();
    let config = Pretrain {
        steps: 60,
        optimizer: AdamW { lr: 0.2, ..AdamW::default() },
        validation: Validation { every_steps: 2, batches: 1, patience: 2 },
        ..tiny()
    };
    let trained = world.pretrain(&config).expect("trained");
    let history = world.bench.output(&trained, "history").expect("a history");
    let lines = String::from_utf8(world.file(&history, "history.jsonl")).expect("text");
    assert!(lines.lines().count() < 60);
    let loss = |line: &str| {
        serde_json::from_str::<Value>(line).expect("JSON")["validation"]["loss_validation"].as_f64()
    };
    let best = lines.lines().filter_map(loss).fold(f64::INFINITY, f64::min);
    let reported = trained.metrics.iter().find(|metric| metric.name == "loss_validation").expect("a metric");
    assert!((reported.value - best).abs() < 1e-6);
}

#[test]
fn a_loss_that_is_no_number_names_its_step() {
    let world = world();
    let optimizer = AdamW { lr: 1.0, clip: 0.0, epsilon: 0.9, weight_decay: 10.0, ..AdamW::default() };
    // Decay of ten times the learning rate flips and blows up every weight within a few steps.
    let config = Pretrain { optimizer, steps: 200, warmup_steps: 0, dropout: 0.0, ..tiny() };
    let error = world.pretrain(&config).expect_err("it cannot go well").to_string();
    assert!(error.contains(" at step "), "{error}");
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let world = world();
    let mut writer = TokensWriter::new(Vec::new(), 300, "00").expect("a writer");
    writer.push("a", &[1; 500]).expect("pushed");
    let bytes = writer.finish().expect("finished");
    let other = world.bench.artifact("tokens", &[("x.parquet", &bytes)]).expect("stored");
    let inputs = [("train", &other), ("validation", &world.validation), ("tokenizer", &world.tokenizer)];
    let error = world.bench.run(&tiny(), &inputs).expect_err("refused").to_string();
    assert!(error.contains("another tokenizer"), "{error}");
}

#[test]
fn labels_that_match_nothing_are_explained() {
    let world = world();
    let model = world.pretrain(&Pretrain { steps: 2, ..tiny() }).expect("trained");
    let model = world.bench.output(&model, "model").expect("a model");
    let finetune = Finetune { label: "^/(nothing)/".into(), ..Finetune::default() };
    let error = world.bench.run(&finetune, &[("model", &model), ("train", &world.documents)]);
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("https://example.org/fruit/0.html"), "{error}");
}
