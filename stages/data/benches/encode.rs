//! Measures encoding alone, on one core: `cargo bench -p pipe-data --bench encode -- tokenizer.json texts.jsonl [passes]`, with a
//! `text` on each line. Prints megabytes, the CPU seconds of the fastest pass and a digest of all ids, as the peer of
//! `scripts/bench_tokenizers.py` does.

use pipe_data::tokenizer::encode::Tokenizer;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let [tokenizer, texts, passes @ ..] = &arguments[..] else {
        println!("no texts: pass a tokenizer.json and a file of JSON Lines with `text`");
        return Ok(());
    };
    let passes: usize = passes.first().map_or(Ok(3), |passes| passes.parse())?;
    let tokenizer = Tokenizer::from_json(&std::fs::read(tokenizer)?)?;
    let mut documents = Vec::new();
    for line in BufReader::new(File::open(texts)?).lines() {
        let document: serde_json::Value = serde_json::from_str(&line?)?;
        documents.push(document["text"].as_str().ok_or("a line has no `text`")?.to_owned());
    }
    let megabytes = documents.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let (mut seconds, mut digest) = (f64::INFINITY, 0);
    for _ in 0..passes.max(1) {
        let start = cpu_seconds()?;
        let (mut encoder, mut ids, mut pass_digest) = (tokenizer.encoder(), Vec::new(), 0);
        for document in &documents {
            ids.clear();
            encoder.encode_ordinary(document, &mut ids);
            pass_digest = digest_of(pass_digest, &ids);
        }
        seconds = seconds.min(cpu_seconds()? - start);
        digest = pass_digest;
    }
    println!("{megabytes:.3} {seconds:.4} {digest:016x}");
    Ok(())
}

/// A digest of ids whose cost is small beside encoding.
fn digest_of(digest: u64, ids: &[u32]) -> u64 {
    let mix = |digest: u64, id: u64| (digest.rotate_left(5) ^ id).wrapping_mul(0x517c_c1b7_2722_0a95);
    ids.iter().fold(mix(digest, ids.len() as u64), |digest, id| mix(digest, u64::from(*id)))
}

/// CPU time of this thread.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = schedule.split_whitespace().next().ok_or("no CPU time")?.parse()?;
    Ok(nanoseconds / 1e9)
}
