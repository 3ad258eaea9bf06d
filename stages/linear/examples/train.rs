//! Trains a classifier on a file of fastText, tests it on another, and writes it as fastText's `.bin`, with its
//! predictions for the tests in MODEL.tsv.
//!
//! ```text
//! cargo run --release -p pipe-linear --example train -- TRAIN TEST MODEL [dimension epochs words min max buckets rate count_min]
//! ```

use pipe_linear::{LABEL_PREFIX, Loss, Model, Ngrams, Scratch, Settings, Trainer, Vocabulary};
use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

/// A text and its labels.
fn parse(line: &str) -> (Vec<&str>, &str) {
    let mut rest = line;
    let mut labels = Vec::new();
    while let Some(label) = rest.strip_prefix(LABEL_PREFIX) {
        let (label, text) = label.split_once(' ').unwrap_or((label, ""));
        labels.push(label);
        rest = text;
    }
    (labels, rest)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [train, test, model_path, numbers @ ..] = &arguments[..] else {
        return Err("give the files to train on, to test with, and to write".into());
    };
    let number = |at: usize, default: u32| numbers.get(at).map_or(Ok(default), |number| number.parse());
    let rate: f32 = numbers.get(6).map_or(Ok(0.5), |number| number.parse())?;
    let ngrams = Ngrams {
        words: number(2, 2)?,
        characters_min: number(3, 0)?,
        characters_max: number(4, 0)?,
        buckets: number(5, 1 << 18)?,
    };
    let (train, test) = (std::fs::read_to_string(train)?, std::fs::read_to_string(test)?);
    let began = Instant::now();
    let (mut vocabulary, mut counts, mut words) = (Vocabulary::default(), BTreeMap::new(), 0);
    for (labels, text) in train.lines().map(parse) {
        words += vocabulary.add(text);
        labels.into_iter().for_each(|label| *counts.entry(label.to_owned()).or_insert(0) += 1);
    }
    let counts: Vec<(String, u64)> = counts.into_iter().collect();
    let dictionary = vocabulary.dictionary(ngrams, u64::from(number(7, 1)?), &counts);
    let names = dictionary.label_names().to_vec();
    println!("{words} words, {} of them different; {} labels", dictionary.words(), names.len());
    let place = |label: &&str| names.iter().position(|name| name == label).map(|at| at as u32);
    let epochs = number(1, 5)?;
    let settings = Settings {
        dimension: number(0, 16)? as usize,
        epochs,
        learning_rate: rate,
        loss: Loss::Softmax,
        seed: 1,
    };
    let mut trainer = Trainer::new(settings, dictionary);
    for (labels, text) in train.lines().map(parse) {
        trainer.add(text, &labels.iter().filter_map(place).collect::<Vec<u32>>());
    }
    println!("read in {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut model = trainer.train(|_| true).ok_or("stopped")?;
    let seconds = began.elapsed().as_secs_f64();
    let speed = words as f64 * f64::from(epochs) / seconds / 1e6;
    println!("trained in {seconds:.2} s: {speed:.2} million words per second");
    let held_out: Vec<(Vec<u32>, &str)> = test
        .lines()
        .map(parse)
        .map(|(labels, text)| (labels.iter().filter_map(place).collect(), text))
        .collect();
    let texts = |parity: usize| {
        let own = held_out.iter().enumerate().filter(move |(number, _)| number % 2 == parity);
        own.map(|(_, (labels, text))| (*text, &labels[..]))
    };
    let before = model.evaluate(texts(1));
    let factor = model.calibrate(texts(0));
    let after = model.evaluate(texts(1));
    println!(
        "accuracy {:.4}, macro F1 {:.4}; calibration error {:.4}, before {:.4} (factor {factor:.3})",
        after.accuracy, after.macro_f1, after.calibration_error, before.calibration_error
    );
    let began = Instant::now();
    let (mut scratch, mut sum) = (Scratch::default(), 0.0);
    for (_, text) in train.lines().map(parse) {
        sum += model.probabilities(text, &mut scratch).map_or(0.0, |shares| shares[0]);
    }
    let speed = words as f64 / began.elapsed().as_secs_f64() / 1e6;
    println!("predicts {speed:.2} million words per second ({sum:.1})");
    model.write(File::create(model_path)?)?;
    let read = Model::read(File::open(model_path)?, std::fs::metadata(model_path)?.len())?;
    assert_eq!(read, model, "a written model is the same model");
    let mut predictions = String::new();
    for (_, text) in &held_out {
        let shares = model.probabilities(text, &mut scratch).ok_or("a text without features")?;
        let best = (0..shares.len()).reduce(|a, b| if shares[b] > shares[a] { b } else { a });
        let best = best.ok_or("a model without labels")?;
        predictions += &format!("{}\t{}\n", names[best], shares[best]);
    }
    std::fs::write(format!("{model_path}.tsv"), predictions)?;
    Ok(())
}
