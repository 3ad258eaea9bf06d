//! What is known before anything runs: names of metrics, models that do not fit, amounts of work.

use crate::world::{tiny, tuning, world};
use pipe_data::TokenizerStage;
use pipe_model::{ArchitectureOverrides, Eval, Export, Finetune, Placement, Preset, Pretrain, Validation};
use pipe_stage::{Facts, KnownInput, KnownInputs, Outcome, Stage, WorkInputs};
use std::collections::BTreeSet;

fn inputs(connected: &[(&str, &str, Facts)]) -> KnownInputs {
    let mut inputs = KnownInputs::default();
    for (port, label, facts) in connected {
        inputs.connect(port, KnownInput { label: (*label).to_owned(), facts: facts.clone() });
    }
    inputs
}

/// A tokenizer that is asked to have so many tokens.
fn tokenizer(vocabulary_size: u32) -> Facts {
    let stage = TokenizerStage { vocabulary_size: Some(vocabulary_size), ..TokenizerStage::default() };
    stage.facts("tokenizer", &KnownInputs::default())
}

fn model_of(config: &Pretrain) -> Facts {
    config.facts("model", &inputs(&[("tokenizer", "", tokenizer(300))]))
}

fn classifier() -> Facts {
    tuning().facts("model", &inputs(&[("model", "", model_of(&tiny()))]))
}

fn work(stage: &impl Stage, known: KnownInputs) -> f64 {
    stage.work(&WorkInputs { known, ..WorkInputs::default() }).expect("an amount")
}

fn declared(stage: &impl Stage, inputs: &KnownInputs) -> BTreeSet<String> {
    stage.metrics(inputs).expect("names").into_iter().collect()
}

fn reported(outcome: &Outcome) -> BTreeSet<String> {
    outcome.metrics.iter().map(|metric| metric.name.clone()).collect()
}

#[test]
fn metrics_are_declared_exactly_as_they_are_reported() {
    let world = world();
    let none = KnownInputs::default();
    let silent = Validation { eval_interval: 0, ..Validation::default() };

    for validation in [tiny().validation, silent] {
        let config = Pretrain { steps: 2, validation, ..tiny() };
        assert_eq!(reported(&world.pretrain(&config).expect("trained")), declared(&config, &none));
    }
    let trained = world.pretrain(&Pretrain { steps: 2, ..tiny() }).expect("trained");
    let model = world.bench.output(&trained, "model").expect("a model");

    for validation in [tuning().validation, silent] {
        let config = Finetune { steps: 2, validation, ..tuning() };
        let tuned = world.bench.run(&config, &[("model", &model), ("train", &world.documents)]);
        assert_eq!(reported(&tuned.expect("tuned")), declared(&config, &none));
    }
    let tuned = world
        .bench
        .run(&Finetune { steps: 2, ..tuning() }, &[("model", &model), ("train", &world.documents)]);
    let tuned = world.bench.output(&tuned.expect("tuned"), "model").expect("a classifier");

    let eval = Eval { label: tuning().label, ..Eval::default() };
    let (language, classes) = (model_of(&tiny()), classifier());
    let documents = ("documents", &world.documents);
    let tokens = ("tokens", &world.train);
    for (given, known) in [
        (vec![("model", &model), documents], vec![("model", "", language.clone())]),
        (
            vec![("model", &model), documents, tokens],
            vec![("model", "", language.clone()), ("tokens", "", Facts::default())],
        ),
        (vec![("model", &tuned), documents], vec![("model", "", classes.clone())]),
        (
            vec![("model", &model), ("model", &tuned), documents, tokens],
            vec![("model", "", language), ("model", "", classes), ("tokens", "", Facts::default())],
        ),
    ] {
        let scored = world.bench.run(&eval, &given).expect("scored");
        assert_eq!(reported(&scored), declared(&eval, &inputs(&known)));
    }

    let exported = world.bench.run(&Export::default(), &[("model", &model)]).expect("exported");
    assert_eq!(reported(&exported), declared(&Export::default(), &none));
}

#[test]
fn metrics_of_several_models_have_their_labels() {
    let known = inputs(&[("model", "base", model_of(&tiny())), ("model", "book", classifier())]);
    let names = declared(&Eval::default(), &known);
    assert!(names.contains("base.bits_per_byte") && names.contains("book.accuracy"), "{names:?}");
    assert!(!names.contains("bits_per_byte") && !names.contains("base.accuracy"), "{names:?}");
}

#[test]
fn models_that_do_not_fit_are_found_before_they_are_trained() {
    let message = |misfits: Vec<pipe_stage::Misfit>| {
        let [misfit] = &misfits[..] else { panic!("one error is expected: {misfits:?}") };
        misfit.message.clone()
    };
    let narrow = ArchitectureOverrides {
        norm: Some(Placement::Post),
        intermediate_size: Some(128),
        ..ArchitectureOverrides::default()
    };
    let narrow = model_of(&Pretrain { preset: Preset::Gpt2Tiny, model: narrow, ..tiny() });
    let found = message(Export::default().check_known(&inputs(&[("model", "", narrow)])));
    assert!(found.contains("`norm: post`") && found.contains("256 and not 128"), "{found}");
    let found = message(tuning().check_known(&inputs(&[("model", "", classifier())])));
    assert!(found.contains("is a classifier"), "{found}");
    let tokens = ("tokens", "", Facts::default());
    let found = message(Eval::default().check_known(&inputs(&[("model", "", classifier()), tokens.clone()])));
    assert!(found.contains("`needs.tokens`"), "{found}");
    let wide = ArchitectureOverrides {
        hidden_size: Some(1 << 16),
        num_heads: Some(1 << 10),
        num_layers: Some(3),
        ..ArchitectureOverrides::default()
    };
    let large = Pretrain { model: wide, ..Pretrain::default() };
    assert_eq!(large.check(), []);
    let found = message(large.check_known(&inputs(&[("tokenizer", "", tokenizer(1 << 20))])));
    assert!(found.contains("parameters"), "{found}");

    let fits = inputs(&[("model", "", model_of(&tiny())), tokens]);
    for misfits in [
        Export::default().check_known(&fits),
        tuning().check_known(&fits),
        Eval::default().check_known(&fits),
    ] {
        assert_eq!(misfits, []);
    }
    // What is not known is no error.
    let unknown = inputs(&[("model", "", Facts::default()), ("tokens", "", Facts::default())]);
    for misfits in [
        Export::default().check_known(&unknown),
        tuning().check_known(&unknown),
        Eval::default().check_known(&unknown),
    ] {
        assert_eq!(misfits, []);
    }
}

#[test]
fn work_follows_steps_model_and_vocabulary() {
    let of = |config: &Pretrain, size| work(config, inputs(&[("tokenizer", "", tokenizer(size))]));
    let small = Pretrain {
        validation: Validation { eval_interval: 0, ..Validation::default() },
        ..Pretrain::default()
    };
    let long = Pretrain { steps: small.steps * 100, ..small.clone() };
    assert_eq!(of(&long, 4096) / of(&small, 4096), 100.0);
    // Per token: 6 per parameter of a matrix, and attention.
    let tokens = 8.0 * 256.0 * small.steps as f64;
    let matrices = 6.0 * (4.0 * 256.0 * 256.0 + 3.0 * 256.0 * 704.0) + 4096.0 * 256.0;
    let attention = 12.0 * 6.0 * 256.0 * 256.0;
    assert_eq!(of(&small, 4096), tokens * (6.0 * matrices + attention));
    assert!(of(&small, 50_304) > 2.0 * of(&small, 4096));
    let large = Pretrain { preset: Preset::Gpt2, ..small.clone() };
    assert!(of(&large, 50_304) > 50.0 * of(&small, 4096));
    let validated = Pretrain { validation: Validation::default(), ..small.clone() };
    assert!(of(&validated, 4096) > of(&small, 4096) && of(&validated, 4096) < 1.2 * of(&small, 4096));

    let amounts = |config: &Pretrain| {
        let known = inputs(&[("tokenizer", "", tokenizer(4096))]);
        let inputs = WorkInputs { known, ..WorkInputs::default() };
        [config.memory_amount(&inputs), config.output_amount(&inputs)].map(|amount| amount.expect("known"))
    };
    let ([memory, output], [memory_long, output_long]) = (amounts(&small), amounts(&long));
    assert!(memory == memory_long && output_long < 1.5 * output, "a longer training takes no more of either");
    // 375 MiB were measured.
    assert!(memory > 300.0 * f64::from(1 << 20) && memory < 400.0 * f64::from(1 << 20), "{memory}");
    let [batched, _] = amounts(&Pretrain { batch_size: 80, ..small.clone() });
    assert!(batched > 5.0 * memory, "{batched}");
    let [memory_large, output_large] = amounts(&large);
    assert!(memory_large > 10.0 * memory && output_large > 10.0 * output, "{memory_large}, {output_large}");

    let (small, large) = (model_of(&small), model_of(&large));
    let on = |model: &Facts| inputs(&[("model", "", model.clone())]);
    for ratio in [
        work(&Finetune::default(), on(&large)) / work(&Finetune::default(), on(&small)),
        work(&Eval::default(), on(&large)) / work(&Eval::default(), on(&small)),
        work(&Export::default(), on(&large)) / work(&Export::default(), on(&small)),
    ] {
        assert!(ratio > 10.0, "{ratio}");
    }
    let short = Finetune { steps: 10, ..Finetune::default() };
    let long = Finetune { steps: 50, ..Finetune::default() };
    assert_eq!(work(&long, on(&small)) / work(&short, on(&small)), 5.0);
}
