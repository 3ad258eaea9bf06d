//! The values that rules compare. Each group is computed once, when the first of its rules needs it.

use super::code::{Code, encoded_share, foreign_parts};
use super::table::Spec;
use super::{Measured, Rule, values};
use crate::clean::fences::{Line, Piece, each_line, lines, pieces, without_marks};
use crate::clean::pii::{Pii, mask};
use crate::segment::{Segmenter, sentences};
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

/// Values of a text. They are made of sums and divisions only, so they are the same on every machine.
pub(super) struct Measures<'t> {
    measured: Measured<'t>,
    prose: &'t str,
    words: Option<Words>,
    lines: Option<Lines>,
    code: Option<Code>,
}

impl<'t> Measures<'t> {
    pub(super) fn new(measured: Measured<'t>, prose: &'t str) -> Self {
        Self { measured, prose, words: None, lines: None, code: None }
    }

    /// The value for a rule about whole texts; `None` if the text has nothing to measure.
    pub(super) fn of(&mut self, rule: Rule) -> Option<f64> {
        let count = |count: usize| Some(count as f64);
        match rule {
            Rule::CharactersMin => count(self.measured.text.trim().chars().count()),
            Rule::GopherWordsMin | Rule::GopherWordsMax => count(self.words().count()),
            Rule::GopherWordLengthMin | Rule::GopherWordLengthMax => {
                let words = self.words();
                share(words.characters, words.count())
            }
            Rule::GopherHashRatio => {
                share(memchr::memchr_iter(b'#', self.prose.as_bytes()).count(), self.words().count())
            }
            Rule::GopherEllipsisRatio => {
                let count = |mark: &str| memchr::memmem::find_iter(self.prose.as_bytes(), mark).count();
                let ellipses = count("…") + count("...");
                share(ellipses, self.words().count())
            }
            Rule::GopherBulletLines => share(self.lines().bullets, self.lines().count),
            Rule::GopherEllipsisLines => share(self.lines().ellipses, self.lines().count),
            Rule::GopherAlphabeticWords => share(self.words().with_letter, self.words().count()),
            Rule::GopherStopWords => count(self.stop_words()).filter(|_| self.words().count() > 0),
            Rule::GopherDuplicateLines => share(self.lines().repeated, self.lines().count),
            Rule::GopherDuplicateParagraphs => {
                share(self.lines().paragraphs_repeated, self.lines().paragraphs)
            }
            Rule::GopherDuplicateLineCharacters | Rule::FinewebDuplicateLineCharacters => {
                share(self.lines().repeated_characters, self.lines().characters)
            }
            Rule::GopherDuplicateParagraphCharacters => {
                share(self.lines().paragraphs_repeated_characters, self.lines().characters)
            }
            Rule::GopherTop2Gram => self.words().top(2),
            Rule::GopherTop3Gram => self.words().top(3),
            Rule::GopherTop4Gram => self.words().top(4),
            Rule::GopherDuplicate5Grams => self.words().repeated(5),
            Rule::GopherDuplicate6Grams => self.words().repeated(6),
            Rule::GopherDuplicate7Grams => self.words().repeated(7),
            Rule::GopherDuplicate8Grams => self.words().repeated(8),
            Rule::GopherDuplicate9Grams => self.words().repeated(9),
            Rule::GopherDuplicate10Grams => self.words().repeated(10),
            Rule::C4Sentences => count(sentences(self.prose)).filter(|_| self.words().count() > 0),
            Rule::C4LoremIpsum => count(count_ignoring_case(self.prose, "lorem ipsum")),
            Rule::C4Braces => count(braces(self.measured.text)),
            Rule::C4BadWords => count(self.bad_words()),
            Rule::FinewebLinePunctuation => share(self.lines().punctuated, self.lines().count),
            Rule::FinewebShortLines => share(self.lines().short, self.lines().count),
            Rule::FinewebLineRatio => share(self.lines().count, self.words().count()),
            Rule::DclmWordsRemoved => Some(self.measured.words_removed),
            Rule::CodeLineLengthMean => share(self.code().characters, self.code().lines),
            Rule::CodeLineLengthMax => count(self.code().longest),
            Rule::CodeAlphanumeric => share(self.code().alphanumeric, self.code().characters),
            Rule::CodeGenerated => count(self.code().generated),
            Rule::CodeData => encoded_share(self.measured.text),
            Rule::CodeVendored => count(foreign_parts(self.measured.path)),
            Rule::CodeSecrets => {
                let mut secrets = 0;
                mask(self.measured.text, &[Pii::ApiKey], |_| secrets += 1);
                count(secrets)
            }
            Rule::C4LineWordCharacters
            | Rule::C4LinePunctuation
            | Rule::C4LineWords
            | Rule::C4LineJavascript
            | Rule::C4LinePolicy
            | Rule::DclmLineUppercase
            | Rule::DclmLineDigits
            | Rule::DclmLineCounter
            | Rule::DclmLineWords
            | Rule::DclmLinePhrases => None,
        }
    }

    fn words(&mut self) -> &mut Words {
        let (prose, language) = (self.prose, self.measured.language);
        self.words.get_or_insert_with(|| Words::count_in(prose, Segmenter::of_text(language, prose)))
    }

    fn lines(&mut self) -> &Lines {
        let prose = self.prose;
        self.lines.get_or_insert_with(|| Lines::count_in(prose))
    }

    fn code(&mut self) -> &Code {
        let text = self.measured.text;
        self.code.get_or_insert_with(|| Code::count_in(text))
    }

    /// Number of different stop words of the language.
    fn stop_words(&self) -> usize {
        let wanted = values::stop_words(self.measured.language).unwrap_or_default();
        let mut missing: Vec<&str> = wanted.to_vec();
        for unit in Segmenter::of(self.measured.language).units(self.prose) {
            let word = unit.trim_matches(|c: char| !c.is_alphanumeric());
            let same = |stop_word: &&str| match word.is_ascii() {
                true => stop_word.eq_ignore_ascii_case(word),
                false => stop_word.len() == word.len() && **stop_word == word.to_lowercase(),
            };
            if let Some(at) = missing.iter().position(same) {
                missing.swap_remove(at);
                if missing.is_empty() {
                    break;
                }
            }
        }
        wanted.len() - missing.len()
    }

    /// Occurrences of the user's words: between characters that are not part of words, or anywhere in scripts without
    /// spaces, as in C4's code.
    fn bad_words(&self) -> usize {
        let text = self.prose.to_lowercase();
        let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() || crate::segment::is_cjk(c));
        let occurrences = |word: &String| {
            let found = text.match_indices(word.as_str());
            let is_word = |at: usize| {
                apart(text[..at].chars().next_back()) && apart(text[at + word.len()..].chars().next())
            };
            found.filter(|(at, _)| is_word(*at)).count()
        };
        self.measured.bad_words.iter().filter(|word| !word.is_empty()).map(occurrences).sum()
    }
}

/// The words of a line of prose. Marks of items, definitions, headings and tables, which `clean` writes, are none.
pub(super) fn words_of(line: &str, segmenter: Segmenter) -> impl Iterator<Item = &str> {
    let line = without_marks(line);
    let is_row = line.starts_with('|');
    segmenter.units(line).filter(move |unit| !is_row || *unit != "|")
}

/// Whether a line is good by a rule about lines. Does not measure more of it than the threshold needs.
pub(super) fn is_good_line(spec: &Spec, threshold: f64, line: &str, segmenter: Segmenter) -> bool {
    match spec.rule {
        Rule::C4LineWordCharacters if line.len() as f64 <= threshold => true,
        Rule::C4LineWords if threshold >= 0.0 => {
            words_of_line(line, segmenter).take(threshold.ceil() as usize).count() as f64 >= threshold
        }
        rule => spec.is_good(of_line(rule, line, segmenter), threshold),
    }
}

fn words_of_line(line: &str, segmenter: Segmenter) -> impl Iterator<Item = &str> {
    segmenter.units(line).filter(|unit| unit.contains(char::is_alphanumeric))
}

/// The value for a rule about lines, for one line.
fn of_line(rule: Rule, line: &str, segmenter: Segmenter) -> f64 {
    let share_of = |is_in: fn(char) -> bool| {
        let line = line.trim_end_matches(['\n', '\r']);
        share(line.chars().filter(|c| is_in(*c)).count(), line.chars().count()).unwrap_or(0.0)
    };
    let count = match rule {
        Rule::DclmLineUppercase => return share_of(char::is_uppercase),
        Rule::DclmLineDigits => return share_of(char::is_numeric),
        Rule::DclmLineCounter => usize::from(is_counter(line)),
        Rule::DclmLineWords => line.split_whitespace().count(),
        Rule::DclmLinePhrases => usize::from(is_phrase_of_pages(line)),
        Rule::C4LineWordCharacters => {
            line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0)
        }
        Rule::C4LinePunctuation => {
            let line = line.trim_end();
            let ellipsis = line.ends_with("...") || line.ends_with('…');
            usize::from(!ellipsis && ends_in_punctuation(line))
        }
        Rule::C4LineWords => words_of_line(line, segmenter).count(),
        Rule::C4LineJavascript => count_ignoring_case(line, "javascript"),
        Rule::C4LinePolicy => policies().find_overlapping_iter(line).count(),
        _ => 0,
    };
    count as f64
}

/// A number and what is counted, as `1.2k likes`, between any signs.
fn is_counter(line: &str) -> bool {
    const COUNTED: [&str; 12] = [
        "likes",
        "shares",
        "comments",
        "retweets",
        "reposts",
        "quotes",
        "bookmarks",
        "upvotes",
        "downvotes",
        "downloads",
        "views",
        "followers",
    ];
    let line = line.trim_matches(|c: char| !c.is_alphanumeric() && c != '_').to_lowercase();
    let mut words = line.split_whitespace();
    let (Some(number), Some(counted), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let number = number.strip_suffix(['k', 'm', 'b']).unwrap_or(number);
    number.starts_with(|c: char| c.is_numeric())
        && number.chars().all(|c| c.is_numeric() || c == ',' || c == '.')
        && COUNTED.contains(&counted)
}

/// A short line with words that invite to buy, read on or sign in.
fn is_phrase_of_pages(line: &str) -> bool {
    const WORDS_MAX: usize = 10;
    let line = line.trim();
    if line.split_whitespace().count() > WORDS_MAX {
        return false;
    }
    let line = line.to_lowercase();
    line.contains("items in cart") || line.ends_with("read more...") || line.starts_with("sign-in")
}

/// C4's terminal punctuation and its equivalents in other scripts: `.`, `!`, `?` and quotation marks.
fn ends_in_punctuation(line: &str) -> bool {
    line.ends_with([
        '.', '!', '?', '"', '”', '’', '»', '」', '』', '。', '！', '？', '｡', '．', '؟', '۔', '।', '॥', '၊',
        '။', '។', '៕', '։', '።', '፧', '፨', '།', '༎', '᠃', '᠉', '‼', '⁇', '⁈', '⁉', '‽', '܀', '܁', '܂', '߹',
        '᱾', '᱿', '᙮', '꓿', '꛳', '꛷',
    ])
}

/// C4's words of policies.
fn policies() -> &'static AhoCorasick {
    const POLICIES: [&str; 6] =
        ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];
    static BUILT: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let builder =
            AhoCorasickBuilder::new().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).clone();
        builder.build(POLICIES).expect("six short patterns are within the limits")
    });
    &BUILT
}

/// Occurrences of an ASCII text, ignoring case.
fn count_ignoring_case(text: &str, wanted: &str) -> usize {
    let (bytes, wanted) = (text.as_bytes(), wanted.as_bytes());
    let (lower, upper) = (wanted[0].to_ascii_lowercase(), wanted[0].to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, bytes)
        .filter(|at| bytes[*at..].get(..wanted.len()).is_some_and(|found| found.eq_ignore_ascii_case(wanted)))
        .count()
}

/// Opening braces in prose, without inline code.
fn braces(text: &str) -> usize {
    let braces = |text: &str| memchr::memchr_iter(b'{', text.as_bytes()).count();
    if braces(text) == 0 {
        return 0;
    }
    let prose = lines(text).filter(|(kind, line)| *kind == Line::Prose && line.contains('{'));
    let outside = |piece| if let Piece::Prose(text) = piece { braces(text) } else { 0 };
    prose.flat_map(|(_, line)| pieces(line)).map(outside).sum()
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Words as hashes, since sequences of them are only compared.
#[derive(Default)]
struct Words {
    hashes: Vec<u64>,
    /// Characters of all words before each word, and of all.
    characters_before: Vec<usize>,
    characters: usize,
    with_letter: usize,
    /// Hashes of the sequences of `run` words that begin at each word. Rules need longer and longer sequences, and
    /// each is computed from the previous one.
    run: usize,
    run_hashes: Vec<u64>,
    /// How often a sequence occurs, and its characters; kept to reuse its memory.
    counts: FxHashMap<u64, (usize, usize)>,
    seen: FxHashSet<u64>,
}

impl Words {
    fn count_in(prose: &str, segmenter: Segmenter) -> Self {
        let mut words = Words::default();
        for unit in each_line(prose).flat_map(|(_, line)| words_of(line, segmenter)) {
            words.hashes.push(hash(unit));
            words.characters_before.push(words.characters);
            let (characters, has_letter) = if unit.is_ascii() {
                (unit.len(), unit.bytes().any(|byte| byte.is_ascii_alphabetic()))
            } else {
                (unit.chars().count(), unit.contains(char::is_alphabetic))
            };
            words.characters += characters;
            words.with_letter += usize::from(has_letter);
        }
        words.characters_before.push(words.characters);
        words
    }

    fn count(&self) -> usize {
        self.hashes.len()
    }

    fn hash_runs(&mut self, n: usize) {
        if self.run == 0 || self.run > n {
            self.run = 1;
            self.run_hashes.clone_from(&self.hashes);
        }
        while self.run < n {
            self.run_hashes.truncate(self.hashes.len().saturating_sub(self.run));
            for (hash_of_run, next) in
                self.run_hashes.iter_mut().zip(&self.hashes[self.run.min(self.hashes.len())..])
            {
                *hash_of_run = hash((*hash_of_run, *next));
            }
            self.run += 1;
        }
    }

    fn characters_of_run(&self, at: usize, n: usize) -> usize {
        self.characters_before[at + n] - self.characters_before[at]
    }

    /// Share of characters in the most frequent sequence; among equally frequent ones, in the longest.
    fn top(&mut self, n: usize) -> Option<f64> {
        self.hash_runs(n);
        self.counts.clear();
        for at in 0..self.run_hashes.len() {
            let characters = self.characters_of_run(at, n);
            self.counts.entry(self.run_hashes[at]).or_insert((0, characters)).0 += 1;
        }
        let (count, characters) = self.counts.values().copied().max()?;
        share(if count > 1 { count * characters } else { 0 }, self.characters)
    }

    /// Share of characters in sequences that occurred earlier, counted without overlap.
    fn repeated(&mut self, n: usize) -> Option<f64> {
        self.hash_runs(n);
        self.seen.clear();
        let mut repeated = 0;
        let mut free_from = 0;
        for at in 0..self.run_hashes.len() {
            if at >= free_from && !self.seen.insert(self.run_hashes[at]) {
                repeated += self.characters_of_run(at, n);
                free_from = at + n;
            }
        }
        share(repeated, self.characters)
    }
}

#[derive(Default)]
struct Lines {
    count: usize,
    punctuated: usize,
    short: usize,
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
        const SHORT_CHARACTERS: usize = 30;
        const BULLETS: [char; 7] = ['-', '*', '•', '‣', '●', '▪', '·'];
        let mut found = Lines::default();
        let mut seen: FxHashSet<u64> = FxHashSet::default();
        for line in each_line(prose).map(|(_, line)| line.trim()).filter(|line| !line.is_empty()) {
            let characters = if line.is_ascii() { line.len() } else { line.chars().count() };
            found.count += 1;
            found.characters += characters;
            found.punctuated += usize::from(ends_in_punctuation(line));
            found.short += usize::from(characters <= SHORT_CHARACTERS);
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
