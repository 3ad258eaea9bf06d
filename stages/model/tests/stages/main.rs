//! The four stages on small data: what they make, that interruptions leave no trace, that faults are named.

mod golden;
mod known;
mod world;

use pipe_data::Examples;
use pipe_data::tokens::TokensWriter;
use pipe_model::{
    AdamW, ArchitectureOverrides, EmbeddingScale, Eval, Export, Finetune, Generator, Interval, LrSchedule,
    Options, Placement, Pretrain, Validation,
};
use pipe_stage::{Artifact, Error, Stage};
use serde_json::Value;
use world::{World, tiny, tuning, world};

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
    assert_eq!(lines.lines().filter(|line| line.contains("val_loss")).count(), 3);

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
        intermediate_size: Some(128),
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
        max_length: 32,
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
    for step in [1, 2, 7, 11] {
        world.stop_at(&config, step);
        assert!(checkpoints(&world).contains(&format!("step-{step:012}")));
    }
    let resumed = world.pretrain(&config).expect("trained");
    assert_eq!(resumed.outputs, undisturbed.outputs);
    assert_eq!(steps_taken(&world), 1, "it went on from step 11 of 12");
}

/// Checkpoints of the store's durable folders, by name.
fn checkpoints(world: &World) -> Vec<String> {
    let folder = world.folder.path().join("work/durable");
    let list = |path: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let fences = list(&folder).iter().flat_map(|key| list(key)).collect::<Vec<_>>();
    let names = fences.iter().flat_map(|fence| list(fence));
    let mut names: Vec<String> =
        names.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("step-"));
    names.sort();
    names
}

#[test]
fn finished_runs_leave_the_trunk_alone() {
    let stable = Pretrain { schedule: LrSchedule::WarmupStableDecay, decay_fraction: 0.25, ..tiny() };
    for (config, left) in [(tiny(), &[][..]), (stable, &["step-000000000009"][..])] {
        let world = world();
        let trained = world.pretrain(&config).expect("trained");
        assert_eq!(checkpoints(&world), left);
        let model = world.bench.output(&trained, "model").expect("a model");
        let inputs = [("model", &model), ("train", &world.documents)];
        world.bench.run(&Finetune { steps: 4, ..tuning() }, &inputs).expect("tuned");
        assert_eq!(checkpoints(&world), left);
    }
}

#[test]
fn a_shorter_run_leaves_the_checkpoints_of_a_longer_one() {
    let long = Pretrain {
        schedule: LrSchedule::WarmupStableDecay,
        decay_fraction: 0.25,
        steps: 16,
        checkpoint_steps: 100,
        ..tiny()
    };
    let world = world();
    world.stop_at(&long, 11);
    assert_eq!(checkpoints(&world), ["step-000000000011"]);
    world.pretrain(&Pretrain { steps: 8, checkpoint_steps: 2, ..long.clone() }).expect("trained");
    assert_eq!(checkpoints(&world), ["step-000000000006", "step-000000000011"]);
    world.bench.events.lock().expect("no panic").clear();
    world.pretrain(&long).expect("trained");
    assert_eq!(steps_taken(&world), 5, "the longer run goes on from step 11 of 16");
}

#[test]
fn a_checkpoint_that_cannot_be_read_gives_way_to_the_one_before() {
    let config = tiny();
    let undisturbed = world().pretrain(&config).expect("trained");
    let world = world();
    world.stop_at(&config, 5);
    // What a program of another version would leave: whole, and not to be used.
    let world = {
        let keys = std::fs::read_dir(world.folder.path().join("work/durable")).expect("a folder");
        let key = keys.flatten().next().expect("a durable folder").file_name();
        let key = key.to_string_lossy().parse().expect("a digest");
        let pipe_cache::AcquireDurable::Held(durable) = world.bench.store.durable(&key).expect("asked")
        else {
            panic!("nobody works in it");
        };
        let meta = serde_json::json!({ "step": 7, "instruction_set": pipe_model::instruction_set() });
        let files = ["state.safetensors", "history.jsonl", "samples.jsonl"];
        let files = files.map(|name| (name, pipe_cache::Content::Bytes(b"not that")));
        durable.checkpoint("step-000000000007", &files, &meta).expect("stored");
        world
    };
    world.bench.events.lock().expect("no panic").clear();
    let resumed = world.pretrain(&config).expect("trained");
    assert_eq!(resumed.outputs, undisturbed.outputs);
    assert_eq!(steps_taken(&world), 7, "it went on from step 5 of 12");
    let events = world.bench.events.lock().expect("no panic");
    let is_noted = |event: &pipe_stage::Event| matches!(event, pipe_stage::Event::Note { message } if message.contains("step-000000000007 is ignored"));
    assert!(events.iter().any(is_noted), "{events:?}");
}

#[test]
fn instruction_sets_of_all_steps_are_recorded() {
    let config = tiny();
    let world = world();
    world.stop_at(&config, 3);
    // As if the first steps had been taken on another machine.
    let path = {
        let durable = world.folder.path().join("work/durable");
        let mut paths: Vec<_> = vec![durable];
        loop {
            let path = paths.pop().expect("a checkpoint is there");
            if path.ends_with("step-000000000003") {
                break path;
            }
            paths.extend(std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    };
    let bytes = std::fs::read(path.join("state.safetensors")).expect("read");
    let own = pipe_model::instruction_set();
    let other = "x".repeat(own.len());
    let (old, new) = (format!("[\\\"{own}\\\"]"), format!("[\\\"{other}\\\"]"));
    let at = bytes.windows(old.len()).position(|part| part == old.as_bytes()).expect("it is noted");
    let changed = [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat();
    let key = path.ancestors().nth(2).and_then(|key| key.file_name()).expect("a key");
    let key = key.to_string_lossy().parse().expect("a digest");
    {
        let pipe_cache::AcquireDurable::Held(durable) = world.bench.store.durable(&key).expect("asked")
        else {
            panic!("nobody works in it");
        };
        let checkpoint = durable.checkpoints().expect("listed").pop().expect("a checkpoint");
        let read = |name| std::fs::read(checkpoint.path(name).expect("a file")).expect("read");
        let (history, samples) = (read("history.jsonl"), read("samples.jsonl"));
        let files =
            [("state.safetensors", &changed), ("history.jsonl", &history), ("samples.jsonl", &samples)];
        let files = files.map(|(name, bytes)| (name, pipe_cache::Content::Bytes(bytes)));
        durable.checkpoint(&checkpoint.name, &files, &checkpoint.meta).expect("stored");
    }
    let trained = world.pretrain(&config).expect("trained");
    let mut expected = vec![own.to_owned(), other];
    expected.sort();
    assert_eq!(trained.instruction_sets, expected);
}

#[test]
fn checkpoints_are_stored_by_time_as_well() {
    // An interval of no time at all: after every step.
    let config = Pretrain {
        checkpoint_interval: Interval(std::time::Duration::ZERO),
        checkpoint_steps: 1000,
        ..tiny()
    };
    let world = world();
    let optimizer =
        AdamW { lr: 1.0, max_grad_norm: 0.0, epsilon: 0.9, weight_decay: 10.0, ..AdamW::default() };
    let failing = Pretrain { optimizer, steps: 200, warmup_steps: 0, dropout: 0.0, ..config };
    world.pretrain(&failing).expect_err("it cannot go well");
    assert_eq!(checkpoints(&world).len(), 1, "that before the step that failed");
}

fn steps_taken(world: &World) -> usize {
    let events = world.bench.events.lock().expect("no panic");
    let is_step = |event: &&pipe_stage::Event| matches!(event, pipe_stage::Event::Metric { name, .. } if name == "loss");
    events.iter().filter(is_step).count()
}

#[test]
fn longer_runs_go_on_from_the_trunk_with_the_same_bytes() {
    let short = Pretrain { schedule: LrSchedule::WarmupStableDecay, decay_fraction: 0.25, ..tiny() };
    let long = Pretrain { steps: 16, ..short.clone() };
    let from_scratch = world().pretrain(&long).expect("trained");
    let world = world();
    world.pretrain(&short).expect("trained");
    world.bench.events.lock().expect("no panic").clear();
    let extended = world.pretrain(&long).expect("trained");
    assert_eq!(extended.outputs, from_scratch.outputs);
    assert_eq!(steps_taken(&world), 7, "the short run's trunk had 9 steps of 16");
}

#[test]
fn early_stopping_gives_the_best_weights() {
    let world = world();
    let config = Pretrain {
        steps: 60,
        optimizer: AdamW { lr: 0.2, ..AdamW::default() },
        validation: Validation { eval_interval: 2, eval_batches: 1, patience: 2 },
        ..tiny()
    };
    let trained = world.pretrain(&config).expect("trained");
    let history = world.bench.output(&trained, "history").expect("a history");
    let lines = String::from_utf8(world.file(&history, "history.jsonl")).expect("text");
    assert!(lines.lines().count() < 60);
    let loss =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["validation"]["val_loss"].as_f64();
    let best = lines.lines().filter_map(loss).fold(f64::INFINITY, f64::min);
    let reported = trained.metrics.iter().find(|metric| metric.name == "val_loss").expect("a metric");
    assert!((reported.value - best).abs() < 1e-6);
}

#[test]
fn early_stopping_reports_the_figures_of_the_weights_it_gives() {
    let world = world();
    let model = world.pretrain(&Pretrain { steps: 2, ..tiny() }).expect("trained");
    let model = world.bench.output(&model, "model").expect("a model");
    let config = Finetune {
        optimizer: AdamW { lr: 0.3, ..AdamW::default() },
        validation: Validation { eval_interval: 1, eval_batches: 1, patience: 3 },
        ..tuning()
    };
    let tuned = world.bench.run(&config, &[("model", &model), ("train", &world.documents)]).expect("tuned");
    let history = world.bench.output(&tuned, "history").expect("a history");
    let lines = String::from_utf8(world.file(&history, "history.jsonl")).expect("text");
    let validations: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["validation"].take())
        .filter(|validation| !validation.is_null())
        .collect();
    let loss = |validation: &Value| validation["val_loss"].as_f64().expect("a number");
    let best = validations.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).expect("a validation");
    let last = validations.last().expect("a validation");
    assert!(loss(last) > loss(best), "the run has to get worse at its end");
    for name in ["val_loss", "accuracy", "macro_f1"] {
        let reported = tuned.metrics.iter().find(|metric| metric.name == name).expect("a metric").value;
        assert_eq!(reported, best[name].as_f64().expect("a number") as f32 as f64, "{name}");
    }
}

#[test]
fn a_loss_that_is_no_number_names_its_step() {
    let world = world();
    let optimizer =
        AdamW { lr: 1.0, max_grad_norm: 0.0, epsilon: 0.9, weight_decay: 10.0, ..AdamW::default() };
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

#[test]
fn sets_without_documents_are_named_with_what_makes_them() {
    let world = world();
    let nothing = world.bench.artifact("tokens", &[]).expect("stored");
    let inputs = [("train", &world.train), ("validation", &nothing), ("tokenizer", &world.tokenizer)];
    let error = world.bench.run(&tiny(), &inputs).expect_err("refused");
    assert!(error.to_string().starts_with("`needs.validation` has no tokens"), "{error}");
    let help = |error: Error| match error {
        Error::Input { help, .. } => help.expect("a help"),
        other => panic!("{other}"),
    };
    assert!(help(error).contains("`split`"));

    let model = world.pretrain(&Pretrain { steps: 2, ..tiny() }).expect("trained");
    let model = world.bench.output(&model, "model").expect("a model");
    let none_held_out = Finetune { validation_share: 1e-9, ..tuning() };
    let error = world.bench.run(&none_held_out, &[("model", &model), ("train", &world.documents)]);
    assert!(help(error.expect_err("refused")).contains("`validation_share`, now 0.000000001"));
    let nothing = world.bench.artifact("documents", &[]).expect("stored");
    let error = world.bench.run(&tuning(), &[("model", &model), ("train", &nothing)]);
    let error = error.expect_err("refused").to_string();
    assert!(error.starts_with("`needs.train` has no documents"), "{error}");
}
