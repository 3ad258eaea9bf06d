//! Compares a language identifier with whatlang, and with the detector of `clean`, on texts whose languages are known:
//! lines of fastText's format, as `scripts/make_language_texts.py` writes them.
//!
//! ```text
//! cargo run --release -p pipe-data --example languages -- MODEL TEST
//! ```
//!
//! Only languages that whatlang knows too are compared.

use pipe_data::clean::language::{detect, is_known, whatlang_code};
use pipe_linear::{Model, Scratch};
use std::fs::File;

/// Numbers of texts and of right answers, by the greatest number of characters.
const LENGTHS: [usize; 4] = [25, 50, 75, 100];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, test] = &arguments[..] else { return Err("give a model and a file of texts".into()) };
    let model = Model::read(File::open(model)?, std::fs::metadata(model)?.len())?;
    let mut scratch = Scratch::default();
    let mut counts = [[0_u32; 4]; LENGTHS.len()];
    for line in std::fs::read_to_string(test)?.lines() {
        let (label, text) = line.split_once(' ').ok_or("a line without a text")?;
        let label = label.trim_start_matches(pipe_linear::LABEL_PREFIX);
        if !is_known(label) || !model.labels().iter().any(|known| known == label) {
            continue;
        }
        let shares = model.probabilities(text, &mut scratch).unwrap_or_default();
        let best = shares.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a });
        let own = best.map(|(place, _)| model.labels()[place].as_str());
        let answers = [own, whatlang_code(text), detect(text).map(|found| found.code)];
        let length = text.chars().count();
        let bin = LENGTHS.iter().position(|limit| length <= *limit).unwrap_or(LENGTHS.len() - 1);
        counts[bin][0] += 1;
        for (count, answer) in counts[bin][1..].iter_mut().zip(answers) {
            *count += u32::from(answer == Some(label));
        }
    }
    println!("{:>12} {:>8} {:>10} {:>10} {:>10}", "characters", "texts", "classifier", "whatlang", "clean");
    let mut all = [0; 4];
    let print = |name: &str, [texts, right @ ..]: [u32; 4]| {
        let shares = right.map(|right| format!("{:>10.4}", f64::from(right) / f64::from(texts.max(1))));
        println!("{name:>12} {texts:>8} {}", shares.join(" "));
    };
    for (limit, counts) in LENGTHS.iter().zip(counts) {
        all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        print(&format!("to {limit}"), counts);
    }
    print("all", all);
    Ok(())
}
