//! Trains a Unigram vocabulary from counted pieces. Nothing here depends on text, patterns or files.
//!
//! Kudo 2018, as in SentencePiece: from frequent substrings as seeds, expectation maximization estimates how often each token is
//! used, and the tokens whose removal costs the least likelihood are removed, until few enough are left. Results are the same
//! on every machine and for any number of threads: sums are added in a fixed order, and logarithms are made of quotients.

mod math;
mod seeds;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashSet;

use crate::tokenizer::bpe::{Training, byte_token};
use crate::tokenizer::encode::Trie;
use math::{digamma, exp, ln};

/// A token that is used less often than this is removed.
const EXPECTED_MIN: f64 = 0.5;
/// How many tokens a round leaves.
const SHRINKING: f64 = 0.75;
/// Rounds end with this many times the tokens that are wanted.
const SURPLUS: f64 = 1.1;
/// Estimates in each round.
const ESTIMATES: usize = 2;
/// Longer pieces are cut, so that products of probabilities do not underflow.
const CHARACTERS_MAX: usize = 32;
/// Sums of this many groups of pieces are added up: not the number of threads.
const GROUPS: usize = 8;
/// The score of what ordinary text never becomes: special tokens and bytes.
const SCORE_RESERVED: f64 = -1000.0;

/// A piece, or a part of a long one, and its count.
type Word<'a> = (&'a str, f64);

/// A token and the logarithm of its probability.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    text: Box<str>,
    score: f64,
}

/// Trains on pieces and their counts; the result does not depend on their order. Returns tokens and scores by id: special
/// tokens, the 256 bytes, then the others, the most probable first.
///
/// `round` receives the number of tokens before each round, and stops the training by returning false.
pub(crate) fn train_unigram<P: AsRef<[u8]>>(
    mut pieces: Vec<(P, u64)>,
    training: Training<'_>,
    threads: usize,
    mut round: impl FnMut(usize) -> bool,
) -> Vec<(String, f64)> {
    pieces.sort_unstable_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
    let words = words(&pieces);
    let reserved: Vec<String> =
        training.special_tokens.iter().cloned().chain((0..=255).map(byte_token)).collect();
    let wanted = training.vocabulary_size.saturating_sub(reserved.len());
    let required = seeds::alphabet(&words, wanted / 2);
    let mut candidates = seeds::seeds(&words, training.frequency_min, wanted, &reserved);
    add_required(&mut candidates, &required);
    while candidates.len() as f64 > wanted as f64 * SURPLUS {
        for _ in 0..ESTIMATES {
            candidates = estimate(candidates, &words, &required, threads);
        }
        if candidates.len() as f64 <= wanted as f64 * SURPLUS || !round(candidates.len()) {
            break;
        }
        let before = candidates.len();
        candidates = prune(candidates, &words, &required, wanted, threads);
        if candidates.len() >= before {
            break;
        }
    }
    let mut candidates = estimate(candidates, &words, &required, threads);
    let is_required = |candidate: &Candidate| required.contains(&*candidate.text);
    candidates.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score).then_with(|| a.text.cmp(&b.text));
        is_required(b).cmp(&is_required(a)).then(by_score)
    });
    candidates.truncate(wanted);
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.text.cmp(&b.text)));
    // Six decimals: every reader of JSON reads the same number.
    let rounded = |score: f64| (score * 1e6).round() / 1e6;
    let trained = candidates.into_iter().map(|Candidate { text, score }| (text.into(), rounded(score)));
    reserved.into_iter().map(|token| (token, SCORE_RESERVED)).chain(trained).collect()
}

/// The pieces as words of bounded length.
fn words<P: AsRef<[u8]>>(pieces: &[(P, u64)]) -> Vec<Word<'_>> {
    let mut words = Vec::with_capacity(pieces.len());
    for (piece, count) in pieces {
        let mut rest = std::str::from_utf8(piece.as_ref()).unwrap_or_default();
        while !rest.is_empty() {
            let end = rest.char_indices().nth(CHARACTERS_MAX).map_or(rest.len(), |(at, _)| at);
            words.push((&rest[..end], *count as f64));
            rest = &rest[end..];
        }
    }
    words
}

/// Adds characters that are missing, as rare tokens.
fn add_required(candidates: &mut Vec<Candidate>, required: &FxHashSet<Box<str>>) {
    let known: FxHashSet<&str> = candidates.iter().map(|candidate| &*candidate.text).collect();
    let mut missing: Vec<Box<str>> =
        required.iter().filter(|character| !known.contains(&***character)).cloned().collect();
    missing.sort_unstable();
    let least = candidates.iter().map(|candidate| candidate.score).fold(0.0, f64::min);
    candidates.extend(missing.into_iter().map(|text| Candidate { text, score: least }));
}

/// A vocabulary for the words of an estimate.
struct Lattice {
    trie: Trie,
    /// Probabilities, each times `scale` for each byte: so the products along a word stay near 1.
    weights: Vec<f64>,
    scores: Vec<f64>,
}

impl Lattice {
    fn new(candidates: &[Candidate], nats_per_byte: f64) -> Self {
        let mut trie = Trie::default();
        let (mut weights, mut scores) = (Vec::new(), Vec::new());
        for (id, candidate) in (0..).zip(candidates) {
            trie.insert(candidate.text.as_bytes(), id);
            weights.push(exp(candidate.score + nats_per_byte * candidate.text.len() as f64));
            scores.push(candidate.score);
        }
        Self { trie, weights, scores }
    }

    /// Adds how often each token is expected in a word, over all ways to divide it.
    fn expect(&self, (word, count): Word<'_>, scratch: &mut Scratch, expected: &mut [f64]) {
        let bytes = word.as_bytes();
        let Scratch { forward, backward, edges, .. } = scratch;
        forward.clear();
        forward.resize(bytes.len() + 1, 0.0);
        forward[0] = 1.0;
        edges.clear();
        for start in 0..bytes.len() {
            let here = forward[start];
            if here > 0.0 {
                self.trie.prefixes(&bytes[start..], |length, id| {
                    forward[start + length] += here * self.weights[id as usize];
                    edges.push((start as u32, (start + length) as u32, id));
                });
            }
        }
        let all = forward[bytes.len()];
        if all <= 0.0 || !all.is_finite() {
            return;
        }
        backward.clear();
        backward.resize(bytes.len() + 1, 0.0);
        backward[bytes.len()] = 1.0;
        for &(start, end, id) in edges.iter().rev() {
            let behind = backward[end as usize] * self.weights[id as usize];
            backward[start as usize] += behind;
            expected[id as usize] += count * (forward[start as usize] * behind / all);
        }
    }

    /// The most probable way to divide a text, other than into `without`; none if there is no way.
    fn best(&self, text: &str, without: Option<u32>, scratch: &mut Scratch) -> Option<Vec<u32>> {
        let bytes = text.as_bytes();
        let best = &mut scratch.best;
        best.clear();
        best.resize(bytes.len() + 1, None);
        best[0] = Some((0.0, 0, 0));
        for start in 0..bytes.len() {
            let Some((score, ..)) = best[start] else { continue };
            self.trie.prefixes(&bytes[start..], |length, id| {
                if Some(id) == without {
                    return;
                }
                let score = score + self.scores[id as usize];
                let known = &mut best[start + length];
                if known.is_none_or(|(known, ..)| score > known) {
                    *known = Some((score, start, id));
                }
            });
        }
        let (mut ids, mut end) = (Vec::new(), bytes.len());
        while end > 0 {
            let (_, start, id) = best[end]?;
            ids.push(id);
            end = start;
        }
        Some(ids)
    }
}

#[derive(Default)]
struct Scratch {
    forward: Vec<f64>,
    backward: Vec<f64>,
    edges: Vec<(u32, u32, u32)>,
    /// Score, start and token of the best way to each position.
    best: Vec<Option<(f64, usize, u32)>>,
}

/// Sums over all words, in a fixed order: `add` adds what a word contributes to each token.
fn sums(
    words: &[Word<'_>],
    tokens: usize,
    threads: usize,
    add: impl Fn(Word<'_>, &mut Scratch, &mut [f64]) + Sync,
) -> Vec<f64> {
    let group = words.len().div_ceil(GROUPS).max(1);
    let groups: Vec<&[Word<'_>]> = words.chunks(group).collect();
    let of_groups: Vec<Mutex<Vec<f64>>> = groups.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, GROUPS) {
            scope.spawn(|| {
                let mut scratch = Scratch::default();
                while let Some(at) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < groups.len())
                {
                    let mut sums = vec![0.0; tokens];
                    groups[at].iter().for_each(|word| add(*word, &mut scratch, &mut sums));
                    *of_groups[at].lock().expect("invariant: no other thread has it") = sums;
                }
            });
        }
    });
    let mut all = vec![0.0; tokens];
    for sums in of_groups {
        let sums = sums.into_inner().expect("invariant: no thread panicked");
        all.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
    }
    all
}

/// Estimates the probabilities of tokens anew, and removes those that are hardly used.
fn estimate(
    candidates: Vec<Candidate>,
    words: &[Word<'_>],
    required: &FxHashSet<Box<str>>,
    threads: usize,
) -> Vec<Candidate> {
    let lattice = Lattice::new(&candidates, nats_per_byte(&candidates));
    let expected = sums(words, candidates.len(), threads, |word, scratch, expected| {
        lattice.expect(word, scratch, expected);
    });
    let kept: Vec<(Candidate, f64)> = candidates
        .into_iter()
        .zip(expected)
        .filter(|(candidate, expected)| *expected >= EXPECTED_MIN || required.contains(&candidate.text))
        .map(|(candidate, expected)| (candidate, expected.max(EXPECTED_MIN)))
        .collect();
    let all: f64 = kept.iter().map(|(_, expected)| expected).sum();
    let of_all = digamma(all);
    let scored = |(candidate, expected): (Candidate, f64)| Candidate {
        score: digamma(expected) - of_all,
        ..candidate
    };
    kept.into_iter().map(scored).collect()
}

/// How much of a text's logarithmic probability a byte costs, about: that of the mean token.
fn nats_per_byte(candidates: &[Candidate]) -> f64 {
    let (mut nats, mut bytes) = (0.0, 0.0);
    for Candidate { text, score } in candidates {
        let probability = exp(*score);
        nats -= probability * score;
        bytes += probability * text.len() as f64;
    }
    if bytes > 0.0 { nats / bytes } else { 0.0 }
}

/// Removes the tokens without which the text would be least improbable.
fn prune(
    candidates: Vec<Candidate>,
    words: &[Word<'_>],
    required: &FxHashSet<Box<str>>,
    wanted: usize,
    threads: usize,
) -> Vec<Candidate> {
    let lattice = Lattice::new(&candidates, 0.0);
    // How often each token is used in the best ways to divide the words.
    let used = sums(words, candidates.len(), threads, |(word, count), scratch, used| {
        for id in lattice.best(word, None, scratch).unwrap_or_default() {
            used[id as usize] += count;
        }
    });
    let all: f64 = used.iter().sum();
    let ln_all = ln(all.max(1.0));
    let mut scratch = Scratch::default();
    let mut losses: Vec<(f64, usize)> = Vec::new();
    let mut kept: Vec<usize> = Vec::new();
    for (id, candidate) in candidates.iter().enumerate() {
        if required.contains(&candidate.text) {
            kept.push(id);
            continue;
        }
        let Some(instead) = lattice.best(&candidate.text, Some(id as u32), &mut scratch) else {
            kept.push(id);
            continue;
        };
        if used[id] == 0.0 {
            continue;
        }
        // Its occurrences become those of the tokens in its place.
        let all_without = ln(all + used[id] * (instead.len() as f64 - 1.0));
        let score = ln(used[id]) - ln_all;
        let score_without: f64 =
            instead.iter().map(|other| ln(used[*other as usize] + used[id]) - all_without).sum();
        losses.push((used[id] / all * (score - score_without), id));
    }
    let room = wanted.max((candidates.len() as f64 * SHRINKING) as usize).saturating_sub(kept.len());
    losses.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| candidates[a.1].text.cmp(&candidates[b.1].text)));
    kept.extend(losses.into_iter().take(room).map(|(_, id)| id));
    kept.sort_unstable();
    let kept: FxHashSet<usize> = kept.into_iter().collect();
    let numbered = candidates.into_iter().enumerate();
    numbered.filter(|(id, _)| kept.contains(id)).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::words as numbered;
    use std::collections::BTreeMap;

    fn special() -> Vec<String> {
        ["<unk>", "<s>", "</s>"].map(str::to_owned).into()
    }

    fn trained(pieces: &BTreeMap<String, u64>, vocabulary_size: usize, threads: usize) -> Vec<(String, f64)> {
        let special_tokens = special();
        let training = Training { vocabulary_size, frequency_min: 2, special_tokens: &special_tokens };
        let pieces = pieces.iter().map(|(piece, count)| (piece, *count)).collect();
        train_unigram(pieces, training, threads, |_| true)
    }

    fn corpus() -> BTreeMap<String, u64> {
        let mut pieces = BTreeMap::new();
        for text in 0..20 {
            for word in numbered(text, 300).split(' ') {
                *pieces.entry(format!("▁{word}")).or_default() += 1;
            }
        }
        for (word, count) in [("▁international", 40), ("▁nation", 90), ("▁national", 70), ("数据和模型", 30)]
        {
            pieces.insert(word.to_owned(), count);
        }
        pieces
    }

    #[test]
    fn frequent_words_become_tokens() {
        let tokens = trained(&corpus(), 259 + 400, 1);
        let names: Vec<&str> = tokens.iter().map(|(token, _)| token.as_str()).collect();
        assert_eq!((names[0], names[3], names[258]), ("<unk>", "<0x00>", "<0xFF>"));
        assert!(names.contains(&"▁nation") && names.contains(&"数据和模型") && names.contains(&"数"));
        assert!(tokens.len() <= 659 && tokens.len() > 500, "{}", tokens.len());
        assert!(tokens[259..].windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }

    #[test]
    fn vocabularies_are_the_same_for_any_number_of_threads() {
        let digest = |threads| {
            let tokens = trained(&corpus(), 259 + 200, threads);
            let lines: String = tokens.iter().map(|(token, score)| format!("{token} {score}\n")).collect();
            blake3::hash(lines.as_bytes()).to_hex()[..16].to_owned()
        };
        assert_eq!(digest(1), "e6b26ca85b46016e");
        assert_eq!(digest(3), digest(1));
    }

    #[test]
    fn reserved_tokens_are_never_made_of_text() {
        let pieces = BTreeMap::from([("<s><s><0x41>".to_owned(), 500), ("abc".to_owned(), 3)]);
        let tokens = trained(&pieces, 259 + 200, 1);
        let count = |name: &str| tokens.iter().filter(|(token, _)| token == name).count();
        assert_eq!((count("<s>"), count("<0x41>"), count("<")), (1, 1, 1));
    }

    #[test]
    fn long_pieces_are_cut() {
        let tokens = trained(&BTreeMap::from([("ab数".repeat(5_000), 1)]), 259 + 120, 1);
        assert!(tokens.iter().any(|(token, _)| token.starts_with("ab数ab")));
        assert!(trained(&BTreeMap::new(), 300, 1).len() >= 259);
    }
}
