//! The figures that rules compare. Each group is counted once, when the first of its rules asks.

use super::{Rule, values};
use crate::clean::fences::{Line, lines};
use crate::segment::{Segmenter, sentences};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

/// Figures of one text; they come from sums and divisions only, so they are the same on every machine.
pub(super) struct Measures<'t> {
    text: &'t str,
    prose: &'t str,
    language: &'t str,
    words: Option<Words>,
    lines: Option<Lines>,
}

impl<'t> Measures<'t> {
    pub(super) fn new(text: &'t str, prose: &'t str, language: &'t str) -> Self {
        Self { text, prose, language, words: None, lines: None }
    }

    /// The figure of a rule; `None` where the text has nothing to measure.
    pub(super) fn of(&mut self, rule: Rule) -> Option<f64> {
        let count = |count: usize| Some(count as f64);
        match rule {
            Rule::CharactersMin => count(self.text.trim().chars().count()),
            Rule::GopherWordsMin | Rule::GopherWordsMax => count(self.words().count()),
            Rule::GopherWordLengthMin | Rule::GopherWordLengthMax => {
                let words = self.words();
                share(words.characters, words.count())
            }
            Rule::GopherSymbols => {
                let symbols = self.prose.matches(['#', '…']).count() + self.prose.matches("...").count();
                share(symbols, self.words().count())
            }
            Rule::GopherBullets => share(self.lines().bullets, self.lines().count),
            Rule::GopherEllipses => share(self.lines().ellipses, self.lines().count),
            Rule::GopherLetters => share(self.words().with_letter, self.words().count()),
            Rule::GopherStopWords => count(self.stop_words()).filter(|_| self.words().count() > 0),
            Rule::RepeatedLines => share(self.lines().repeated, self.lines().count),
            Rule::RepeatedParagraphs => share(self.lines().paragraphs_repeated, self.lines().paragraphs),
            Rule::RepeatedLineCharacters => share(self.lines().repeated_characters, self.lines().characters),
            Rule::RepeatedParagraphCharacters => {
                share(self.lines().paragraphs_repeated_characters, self.lines().characters)
            }
            Rule::Top2Gram => self.words().top(2),
            Rule::Top3Gram => self.words().top(3),
            Rule::Top4Gram => self.words().top(4),
            Rule::Repeated5Grams => self.words().repeated(5),
            Rule::Repeated6Grams => self.words().repeated(6),
            Rule::Repeated7Grams => self.words().repeated(7),
            Rule::Repeated8Grams => self.words().repeated(8),
            Rule::Repeated9Grams => self.words().repeated(9),
            Rule::Repeated10Grams => self.words().repeated(10),
            Rule::C4Sentences => count(sentences(self.prose)).filter(|_| self.words().count() > 0),
            Rule::C4WordCharacters => count(self.words().longest),
            Rule::C4LoremIpsum => count(self.prose.to_lowercase().matches("lorem ipsum").count()),
            Rule::C4Braces => count(without_inline_code(self.text).matches('{').count()),
            Rule::C4LineWords => None,
        }
    }

    fn words(&mut self) -> &Words {
        let (prose, language) = (self.prose, self.language);
        self.words.get_or_insert_with(|| Words::count_in(prose, Segmenter::of(language)))
    }

    fn lines(&mut self) -> &Lines {
        let prose = self.prose;
        self.lines.get_or_insert_with(|| Lines::count_in(prose))
    }

    /// Different stop words of the language.
    fn stop_words(&self) -> usize {
        let wanted = values::stop_words(self.language).unwrap_or_default();
        let mut found = BTreeSet::new();
        for unit in Segmenter::of(self.language).units(self.prose) {
            let word = unit.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            if let Some(stop_word) = wanted.iter().find(|stop_word| **stop_word == word) {
                found.insert(stop_word);
                if found.len() == wanted.len() {
                    break;
                }
            }
        }
        found.len()
    }
}

/// Prose without what stands between backticks.
fn without_inline_code(text: &str) -> String {
    let prose = lines(text).filter(|(kind, _)| *kind == Line::Prose);
    prose.flat_map(|(_, line)| line.split('`').step_by(2)).collect()
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Words as hashes: runs of them are compared, never shown.
struct Words {
    hashes: Vec<u64>,
    /// Characters of each word.
    lengths: Vec<u32>,
    characters: usize,
    longest: usize,
    with_letter: usize,
}

impl Words {
    fn count_in(prose: &str, segmenter: Segmenter) -> Self {
        let mut words =
            Words { hashes: Vec::new(), lengths: Vec::new(), characters: 0, longest: 0, with_letter: 0 };
        for unit in segmenter.units(prose) {
            let length = unit.chars().count();
            words.hashes.push(hash(unit));
            words.lengths.push(length as u32);
            words.characters += length;
            words.longest = words.longest.max(length);
            words.with_letter += usize::from(unit.contains(char::is_alphabetic));
        }
        words
    }

    fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Runs of `n` words: their hash and their characters.
    fn runs(&self, n: usize) -> impl Iterator<Item = (u64, usize)> {
        self.hashes
            .windows(n)
            .zip(self.lengths.windows(n))
            .map(|(hashes, lengths)| (hash(hashes), lengths.iter().map(|&length| length as usize).sum()))
    }

    /// Share of characters in the most frequent run; of equally frequent ones, in the longest.
    fn top(&self, n: usize) -> Option<f64> {
        let mut counts: FxHashMap<u64, (usize, usize)> = FxHashMap::default();
        for (run, characters) in self.runs(n) {
            let entry = counts.entry(run).or_insert((0, characters));
            entry.0 += 1;
        }
        let (count, characters) = counts.into_values().max()?;
        share(if count > 1 { count * characters } else { 0 }, self.characters)
    }

    /// Share of characters in runs that stood before; runs that are counted do not overlap.
    fn repeated(&self, n: usize) -> Option<f64> {
        let mut seen: FxHashSet<u64> = FxHashSet::default();
        let mut repeated = 0;
        let mut free_from = 0;
        for (position, (run, characters)) in self.runs(n).enumerate() {
            if position >= free_from && !seen.insert(run) {
                repeated += characters;
                free_from = position + n;
            }
        }
        share(repeated, self.characters)
    }
}

#[derive(Default)]
struct Lines {
    count: usize,
    bullets: usize,
    ellipses: usize,
    characters: usize,
    repeated: usize,
    repeated_characters: usize,
    paragraphs: usize,
    paragraphs_repeated: usize,
    paragraphs_repeated_characters: usize,
}

impl Lines {
    fn count_in(prose: &str) -> Self {
        const BULLETS: [char; 7] = ['-', '*', '•', '‣', '●', '▪', '·'];
        let mut found = Lines::default();
        let mut seen: FxHashSet<u64> = FxHashSet::default();
        for line in prose.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let characters = line.chars().count();
            found.count += 1;
            found.characters += characters;
            found.bullets += usize::from(line.starts_with(BULLETS));
            found.ellipses += usize::from(line.ends_with("...") || line.ends_with('…'));
            if !seen.insert(hash(line)) {
                found.repeated += 1;
                found.repeated_characters += characters;
            }
        }
        seen.clear();
        for paragraph in prose.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
            found.paragraphs += 1;
            if !seen.insert(hash(paragraph)) {
                found.paragraphs_repeated += 1;
                found.paragraphs_repeated_characters += paragraph.chars().filter(|c| *c != '\n').count();
            }
        }
        found
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
