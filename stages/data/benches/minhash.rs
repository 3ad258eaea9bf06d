//! Measures the search for near-duplicates on one core: `cargo bench -p pipe-data --bench minhash -- texts.jsonl`, with a
//! `text` on each line. Prints CPU time, and the pairs that are found and missed compared with all pairs. `scripts/bench-minhash.py`
//! prints the same of other programs.

use pipe_data::dedup::minhash::{Bands, Orders, common, jaccard, may_reach, shingles};
use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};

const THRESHOLD: f64 = 0.8;
const WIDTH: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        println!("no texts: pass a file of JSON Lines with `text`");
        return Ok(());
    };
    let mut texts = Vec::new();
    for line in BufReader::new(File::open(&path)?).lines() {
        let document: serde_json::Value = serde_json::from_str(&line?)?;
        texts.push(document["text"].as_str().ok_or("a line has no `text`")?.to_owned());
    }
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let orders = Orders::new(Bands { bands: 14, rows: 8 });

    let start = cpu_seconds()?;
    let documents: Vec<Vec<u64>> = texts.iter().map(|text| shingles(text, WIDTH)).collect();
    let mut entries: Vec<(u64, u32)> = Vec::new();
    for (number, document) in (0..).zip(&documents) {
        entries.extend(orders.band_hashes(document).into_iter().map(|hash| (hash, number)));
    }
    let signed = cpu_seconds()?;
    entries.sort_unstable();
    let mut candidates: Vec<(u32, u32)> = Vec::new();
    for group in entries.chunk_by(|a, b| a.0 == b.0) {
        for (at, (_, a)) in group.iter().enumerate() {
            candidates.extend(group[at + 1..].iter().map(|(_, b)| (*a, *b)));
        }
    }
    candidates.sort_unstable();
    candidates.dedup();
    let similarity = |&(a, b): &(u32, u32)| {
        let (a, b) = (&documents[a as usize], &documents[b as usize]);
        if may_reach(THRESHOLD, a.len(), b.len()) { jaccard(a, b) } else { 0.0 }
    };
    let found: BTreeSet<(u32, u32)> =
        candidates.iter().copied().filter(|pair| similarity(pair) >= THRESHOLD).collect();
    let verified = cpu_seconds()?;

    let truth = all_pairs(&documents);
    let recall = |threshold: f64| {
        let all: Vec<_> = truth.iter().filter(|(_, similarity)| *similarity >= threshold).collect();
        let missed = all.iter().filter(|(pair, _)| !found.contains(pair)).count();
        1.0 - missed as f64 / all.len().max(1) as f64
    };
    let below = found.iter().filter(|pair| similarity(pair) < 0.7).count();
    println!(
        "{} documents, {megabytes:.1} MB, {} candidates, {} pairs",
        texts.len(),
        candidates.len(),
        found.len()
    );
    println!(
        "CPU: signatures {:.2} s ({:.1} MB/s), pairs {:.2} s; together {:.1} MB/s",
        signed - start,
        megabytes / (signed - start),
        verified - signed,
        megabytes / (verified - start)
    );
    println!("recall at 0.8: {:.4}, at 0.9: {:.4}; pairs below 0.7: {below}", recall(0.8), recall(0.9));
    Ok(())
}

/// All pairs with at least the threshold's similarity, by the documents of each shingle.
fn all_pairs(documents: &[Vec<u64>]) -> Vec<((u32, u32), f64)> {
    let mut earlier: HashMap<u64, Vec<u32>> = HashMap::new();
    let mut pairs = Vec::new();
    for (number, document) in (0_u32..).zip(documents) {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for shingle in document {
            let others = earlier.entry(*shingle).or_default();
            others.iter().for_each(|other| *counts.entry(*other).or_default() += 1);
            others.push(number);
        }
        for (other, count) in counts {
            let all = documents[other as usize].len() + document.len() - count;
            let similarity = count as f64 / all as f64;
            if similarity >= THRESHOLD {
                debug_assert_eq!(count, common(&documents[other as usize], document));
                pairs.push(((other, number), similarity));
            }
        }
    }
    pairs
}

/// CPU time of this thread.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = schedule.split_whitespace().next().ok_or("no CPU time")?.parse()?;
    Ok(nanoseconds / 1e9)
}
