//! The tokens that a training begins with: frequent substrings. Nothing here depends on probabilities.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Candidate, Word, math};
use crate::tokenizer::counts::hash;

/// Characters of the longest token.
const LENGTH_MAX: usize = 16;
/// Seeds for each token that is wanted, and of all.
const PER_TOKEN: usize = 40;
const SEEDS_MAX: usize = 1 << 20;
/// Counters that tell substrings that occur once from others before they are stored.
const COUNTERS: usize = 1 << 22;

/// The most frequent characters, which remain tokens, and those of ASCII, of which the names of reserved tokens consist: a
/// text that looks like such a name can always be made of its characters.
pub(super) fn alphabet(words: &[Word<'_>], count_max: usize) -> FxHashSet<Box<str>> {
    let mut counts = FxHashMap::<char, f64>::default();
    for (word, count) in words {
        word.chars().for_each(|character| *counts.entry(character).or_default() += count);
    }
    let mut frequent: Vec<(char, f64)> = counts.into_iter().collect();
    frequent.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let ascii = (b'!'..=b'~').map(char::from);
    let frequent = frequent.into_iter().map(|(character, _)| character).take(count_max);
    frequent.chain(ascii).map(|character| character.to_string().into()).collect()
}

/// The substrings that cover most of the text, with scores by their counts.
pub(super) fn seeds(
    words: &[Word<'_>],
    frequency_min: u64,
    wanted: usize,
    reserved: &[String],
) -> Vec<Candidate> {
    let least = frequency_min.max(2) as f64;
    let mut seeds: Vec<(f64, &str)> = Vec::new();
    let mut shorter: Option<FxHashSet<&str>> = None;
    for length in 1..=LENGTH_MAX {
        let counts = substrings(words, length, shorter.as_ref(), least);
        if counts.is_empty() {
            break;
        }
        seeds.extend(counts.iter().map(|(text, count)| (count * length as f64, *text)));
        shorter = Some(counts.into_keys().collect());
    }
    let reserved: FxHashSet<&str> = reserved.iter().map(String::as_str).collect();
    seeds.retain(|(_, text)| !reserved.contains(text));
    seeds.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    seeds.truncate(SEEDS_MAX.min(wanted.saturating_mul(PER_TOKEN)));
    let all: f64 = seeds.iter().map(|(cover, _)| cover).sum();
    let ln_all = math::ln(all.max(1.0));
    seeds
        .into_iter()
        .map(|(cover, text)| Candidate { text: text.into(), score: math::ln(cover) - ln_all })
        .collect()
}

/// Counts the substrings of `length` characters that occur at least `least` times, if what they begin and end with is in
/// `shorter`.
fn substrings<'w>(
    words: &[Word<'w>],
    length: usize,
    shorter: Option<&FxHashSet<&str>>,
    least: f64,
) -> FxHashMap<&'w str, f64> {
    let each = |take: &mut dyn FnMut(&'w str, f64)| {
        let mut starts: Vec<usize> = Vec::new();
        for (word, count) in words {
            starts.clear();
            starts.extend(word.char_indices().map(|(at, _)| at));
            starts.push(word.len());
            for window in starts.windows(length + 1) {
                let (start, end) = (window[0], window[length]);
                let is_frequent = shorter.is_none_or(|shorter| {
                    shorter.contains(&word[start..window[length - 1]])
                        && shorter.contains(&word[window[1]..end])
                });
                if is_frequent {
                    take(&word[start..end], *count);
                }
            }
        }
    };
    let counter = |text: &str| hash(text.as_bytes()) as usize % COUNTERS;
    let mut sketch = vec![0.0_f32; COUNTERS];
    each(&mut |text, count| sketch[counter(text)] += count as f32);
    let mut counts = FxHashMap::<&'w str, f64>::default();
    each(&mut |text, count| {
        if f64::from(sketch[counter(text)]) >= least {
            *counts.entry(text).or_default() += count;
        }
    });
    counts.retain(|_, count| *count >= least);
    counts
}
