//! Quality rules: which texts are dropped, and which of their lines are cut. Each rule is a row of one table, with
//! its source, its threshold, and the languages that it has a threshold for.
//!
//! # Sources
//!
//! - `gopher_…`: Rae et al. 2021, *Scaling Language Models* (appendix A.1.1, table A1).
//! - `c4_…`: Raffel et al. 2020, *Exploring the Limits of Transfer Learning* (section 2.2), and the authors' code
//!   (`c4_utils.py` of TensorFlow Datasets).
//! - `fineweb_…`: Penedo et al. 2024, *The FineWeb Datasets*, and the authors' code (`examples/fineweb.py` of datatrove, with
//!   its `FineWebQualityFilter` and `C4QualityFilter`).
//! - `code_…`: CodeParrot and The Stack (Kocetkov et al. 2022).
//!
//! # Deliberate differences
//!
//! `docs/data.md` lists them rule by rule. Those that hold for all: rules see prose, without fenced code, backticks and the
//! signs of headings; a rule without a threshold for a text's language is skipped and counted, never applied with another
//! language's; a value equal to the threshold is good.

mod measures;
mod values;

use super::fences::{Line, lines, prose};
use crate::segment::Segmenter;
use measures::Measures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use values::{by_script, of_words, stop_words, word_length_max, words_min};

/// A set of rules with thresholds for one sort of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Crawled pages: Gopher's and C4's rules with their published thresholds, without C4's terminal punctuation.
    Web,
    /// Gopher's rules for quality and repetition.
    Gopher,
    /// C4's rules, including terminal punctuation.
    C4,
    /// FineWeb's rules: Gopher's, C4's without terminal punctuation, and its own. C4's have the thresholds of FineWeb's
    /// code: 3 words per line and 5 sentences.
    Fineweb,
    /// Documentation: short pages, lists, much code, names that are repeated on purpose.
    Docs,
    /// Source code, kept as it is: line lengths, share of letters and digits, marks of generated files.
    Code,
    /// No rules except those in `thresholds`.
    None,
}

/// The publication that a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Own,
    Gopher,
    C4,
    FineWeb,
    Code,
}

/// Which side of the threshold is acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AtLeast,
    AtMost,
}

/// The unit of a rule's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    /// From 0 to 1.
    Share,
}

/// What a rule does with values beyond the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Drops the text.
    Drop,
    /// Cuts the line.
    Cut,
}

/// A row of the table.
struct Spec {
    rule: Rule,
    name: &'static str,
    source: Source,
    side: Side,
    unit: Unit,
    act: Act,
    /// The published threshold, if there is one for the language.
    published: fn(&str) -> Option<f64>,
    /// The threshold for documentation.
    docs: Option<f64>,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident $name:literal $source:ident $act:ident $side:ident $unit:ident $published:expr, $docs:expr;)*) => {
        /// A rule. Each compares one value of a text, or of a line, with one threshold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Rule {
            $($(#[$doc])* #[serde(rename = $name)] $rule,)*
        }

        /// All rules, in the order of evaluation.
        static TABLE: &[Spec] = &[$(Spec {
            rule: Rule::$rule,
            name: $name,
            source: Source::$source,
            side: Side::$side,
            unit: Unit::$unit,
            act: Act::$act,
            published: $published,
            docs: $docs,
        },)*];
    };
}

rules! {
    /// Cuts lines that contain a word of more characters than this.
    C4LineWordCharacters "c4_line_word_characters" C4 Cut AtMost Count |language| spaced(language, 1000.0), Some(4000.0);
    /// Cuts lines that do not end in `.`, `!`, `?` or a quotation mark, or that end in an ellipsis. Threshold 1.
    C4LinePunctuation "c4_line_punctuation" C4 Cut AtLeast Count |language| punctuated(language, 1.0), None;
    /// Cuts lines with fewer words than this.
    C4LineWords "c4_line_words" C4 Cut AtLeast Count |language| of_words(language, 5.0), None;
    /// Cuts lines that mention JavaScript more often than this.
    C4LineJavascript "c4_line_javascript" C4 Cut AtMost Count |_| Some(0.0), None;
    /// Cuts lines that mention terms of use, privacy policies and cookies more often than this, in English.
    C4LinePolicy "c4_line_policy" C4 Cut AtMost Count |language| (language == "en").then_some(0.0), None;
    /// Minimum characters of the whole text, including code.
    CharactersMin "characters_min" Own Drop AtLeast Count |language| Some(by_script(language, 200.0)), Some(100.0);
    /// Minimum words (characters in languages without spaces).
    GopherWordsMin "gopher_words_min" Gopher Drop AtLeast Count words_min, None;
    /// Maximum words.
    GopherWordsMax "gopher_words_max" Gopher Drop AtMost Count |language| of_words(language, 100_000.0).or(of_characters(language, 200_000.0)), None;
    /// Minimum mean characters per word.
    GopherWordLengthMin "gopher_word_length_min" Gopher Drop AtLeast Count |language| of_words(language, 3.0), None;
    /// Maximum mean characters per word.
    GopherWordLengthMax "gopher_word_length_max" Gopher Drop AtMost Count word_length_max, None;
    /// Maximum hash signs per word.
    GopherHashRatio "gopher_hash_ratio" Gopher Drop AtMost Count |_| Some(0.1), None;
    /// Maximum ellipses per word.
    GopherEllipsisRatio "gopher_ellipsis_ratio" Gopher Drop AtMost Count |_| Some(0.1), None;
    /// Maximum share of lines that start with a bullet.
    GopherBulletLines "gopher_bullet_lines" Gopher Drop AtMost Share |_| Some(0.9), None;
    /// Maximum share of lines that end in an ellipsis.
    GopherEllipsisLines "gopher_ellipsis_lines" Gopher Drop AtMost Share |_| Some(0.3), Some(0.3);
    /// Minimum share of words with a letter. Words are separated by white space.
    GopherAlphabeticWords "gopher_alphabetic_words" Gopher Drop AtLeast Share |language| of_words(language, 0.8), None;
    /// Minimum number of different stop words of the language.
    GopherStopWords "gopher_stop_words" Gopher Drop AtLeast Count |language| stop_words(language).map(|_| 2.0), None;
    /// Maximum share of lines that repeat an earlier one.
    GopherDuplicateLines "gopher_duplicate_lines" Gopher Drop AtMost Share |_| Some(0.3), Some(0.7);
    /// Maximum share of paragraphs that repeat an earlier one.
    GopherDuplicateParagraphs "gopher_duplicate_paragraphs" Gopher Drop AtMost Share |_| Some(0.3), Some(0.7);
    /// Maximum share of characters in repeated lines.
    GopherDuplicateLineCharacters "gopher_duplicate_line_characters" Gopher Drop AtMost Share |_| Some(0.2), None;
    /// Maximum share of characters in repeated paragraphs.
    GopherDuplicateParagraphCharacters "gopher_duplicate_paragraph_characters" Gopher Drop AtMost Share |_| Some(0.2), None;
    /// Maximum share of characters in the most frequent pair of words.
    GopherTop2Gram "gopher_top_2_gram" Gopher Drop AtMost Share |language| of_words(language, 0.20), None;
    /// The same for three words.
    GopherTop3Gram "gopher_top_3_gram" Gopher Drop AtMost Share |language| of_words(language, 0.18), None;
    /// The same for four words.
    GopherTop4Gram "gopher_top_4_gram" Gopher Drop AtMost Share |language| of_words(language, 0.16), None;
    /// Maximum share of characters in repeated sequences of five words.
    GopherDuplicate5Grams "gopher_duplicate_5_grams" Gopher Drop AtMost Share |language| of_words(language, 0.15), None;
    /// The same for six words.
    GopherDuplicate6Grams "gopher_duplicate_6_grams" Gopher Drop AtMost Share |language| of_words(language, 0.14), None;
    /// The same for seven words.
    GopherDuplicate7Grams "gopher_duplicate_7_grams" Gopher Drop AtMost Share |language| of_words(language, 0.13), None;
    /// The same for eight words.
    GopherDuplicate8Grams "gopher_duplicate_8_grams" Gopher Drop AtMost Share |language| of_words(language, 0.12), None;
    /// The same for nine words.
    GopherDuplicate9Grams "gopher_duplicate_9_grams" Gopher Drop AtMost Share |language| of_words(language, 0.11), None;
    /// The same for ten words.
    GopherDuplicate10Grams "gopher_duplicate_10_grams" Gopher Drop AtMost Share |language| of_words(language, 0.10), None;
    /// Minimum sentences; each line is at least one.
    C4Sentences "c4_sentences" C4 Drop AtLeast Count |language| of_words(language, 3.0).or(of_characters(language, 3.0)), None;
    /// Maximum occurrences of "lorem ipsum".
    C4LoremIpsum "c4_lorem_ipsum" C4 Drop AtMost Count |_| Some(0.0), Some(0.0);
    /// Maximum curly brackets in prose; inline code is not counted.
    C4Braces "c4_braces" C4 Drop AtMost Count |_| Some(0.0), None;
    /// Maximum occurrences of the words in `bad_words`.
    C4BadWords "c4_bad_words" C4 Drop AtMost Count |_| Some(0.0), Some(0.0);
    /// Minimum share of lines that end in terminal punctuation.
    FinewebLinePunctuation "fineweb_line_punctuation" FineWeb Drop AtLeast Share |language| punctuated(language, 0.12), None;
    /// Maximum share of lines of 30 characters or fewer.
    FinewebShortLines "fineweb_short_lines" FineWeb Drop AtMost Share |language| of_words(language, 0.67), None;
    /// Maximum share of characters in repeated lines.
    FinewebDuplicateLineCharacters "fineweb_duplicate_line_characters" FineWeb Drop AtMost Share |_| Some(0.01), None;
    /// Maximum lines per word.
    FinewebLineRatio "fineweb_line_ratio" FineWeb Drop AtMost Count |language| of_words(language, 0.3), None;
    /// Maximum mean characters per line of code.
    CodeLineLengthMean "code_line_length_mean" Code Drop AtMost Count |_| Some(100.0), None;
    /// Maximum characters of the longest line of code.
    CodeLineLengthMax "code_line_length_max" Code Drop AtMost Count |_| Some(1000.0), None;
    /// Minimum share of letters and digits among the characters of code.
    CodeAlphanumeric "code_alphanumeric" Code Drop AtLeast Share |_| Some(0.25), None;
    /// Maximum lines among the first five that say that the file is generated.
    CodeGenerated "code_generated" Code Drop AtMost Count |_| Some(0.0), None;
}

/// A value for languages that separate words by spaces.
fn spaced(language: &str, value: f64) -> Option<f64> {
    (Segmenter::of(language) == Segmenter::Words).then_some(value)
}

/// A value for languages whose sentences end in a mark; Thai and Lao separate them by spaces.
fn punctuated(language: &str, value: f64) -> Option<f64> {
    (!matches!(language, "th" | "lo")).then_some(value)
}

/// A value for languages in the script for which it was chosen.
fn of_characters(language: &str, value: f64) -> Option<f64> {
    matches!(language, "zh" | "ja").then_some(value)
}

/// FineWeb's threshold of a rule of others, if it differs: the defaults of datatrove's `C4QualityFilter`, which
/// `examples/fineweb.py` does not change.
const fn in_fineweb(rule: Rule) -> Option<f64> {
    match rule {
        Rule::C4LineWords => Some(3.0),
        Rule::C4Sentences => Some(5.0),
        _ => None,
    }
}

impl Rule {
    /// All rules, in the order of evaluation.
    pub fn all() -> impl Iterator<Item = Rule> {
        TABLE.iter().map(|spec| spec.rule)
    }

    fn spec(self) -> &'static Spec {
        &TABLE[self as usize]
    }

    /// The rule's name in manifests, metrics and reports.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Whether the rule cuts lines; others drop whole texts.
    pub fn cuts_lines(self) -> bool {
        self.spec().act == Act::Cut
    }

    /// Whether the value is a share, 0 to 1.
    pub fn is_share(self) -> bool {
        self.spec().unit == Unit::Share
    }
}

impl Spec {
    fn is_good(&self, value: f64, threshold: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= threshold,
            Side::AtMost => value <= threshold,
        }
    }

    /// The action of a rule in a profile, for texts in one language.
    fn setting(&self, profile: Profile, language: &str) -> Setting {
        let punctuation = self.rule == Rule::C4LinePunctuation;
        let is_in = match profile {
            Profile::Web => matches!(self.source, Source::Own | Source::Gopher | Source::C4) && !punctuation,
            Profile::Gopher => self.source == Source::Gopher,
            Profile::C4 => self.source == Source::C4,
            Profile::Fineweb => {
                matches!(self.source, Source::Gopher | Source::C4 | Source::FineWeb) && !punctuation
            }
            Profile::Docs => self.docs.is_some(),
            Profile::Code => self.source == Source::Code,
            Profile::None => false,
        };
        let published = || match (profile, self.rule) {
            (Profile::Fineweb, rule) => {
                (self.published)(language).map(|value| in_fineweb(rule).unwrap_or(value))
            }
            _ => (self.published)(language),
        };
        match (is_in, profile, self.docs) {
            (false, ..) => Setting::Off,
            (true, Profile::Docs, Some(docs)) if self.rule == Rule::CharactersMin => {
                Setting::On(by_script(language, docs))
            }
            (true, Profile::Docs, Some(docs)) => published().map_or(Setting::Unknown, |_| Setting::On(docs)),
            (true, ..) => published().map_or(Setting::Unknown, Setting::On),
        }
    }
}

/// Why a text is dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The first rule that it violates.
    pub rule: Rule,
    /// The text's value.
    pub value: f64,
    /// The threshold that was crossed.
    pub threshold: f64,
}

/// The verdict of the rules on a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Why it is dropped; `None` if it is kept.
    pub dropped: Option<Verdict>,
    /// Rules without a threshold for its language.
    pub skipped: Vec<Rule>,
}

/// A text whose lines were cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The remaining text.
    pub text: String,
    /// Lines that were cut, by rule.
    pub lines: BTreeMap<Rule, u64>,
}

/// The rules of a profile, with the user's changes.
#[derive(Debug, Clone)]
pub struct Rules {
    profile: Profile,
    disabled: BTreeSet<Rule>,
    thresholds: BTreeMap<Rule, f64>,
    /// In lower case.
    bad_words: Vec<String>,
}

/// The effect of a rule on texts in one language.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    Off,
    /// Enabled, but without a threshold for the language.
    Unknown,
    On(f64),
}

impl Rules {
    /// The rules of a profile without the disabled ones. `thresholds` applies to every language and also enables
    /// rules that the profile does not include.
    pub fn new(profile: Profile, disabled: &[Rule], thresholds: &BTreeMap<Rule, f64>) -> Self {
        let disabled = disabled.iter().copied().collect();
        Self { profile, disabled, thresholds: thresholds.clone(), bad_words: Vec::new() }
    }

    /// The same, with words for [`Rule::C4BadWords`].
    pub fn with_bad_words(self, words: &[String]) -> Self {
        Self { bad_words: words.iter().map(|word| word.trim().to_lowercase()).collect(), ..self }
    }

    /// The same for source code: any profile other than `none` is replaced by `code`.
    pub fn for_code(&self) -> Self {
        let profile = if self.profile == Profile::None { Profile::None } else { Profile::Code };
        Self { profile, ..self.clone() }
    }

    /// The rules that are on for at least one language.
    pub fn active(&self) -> impl Iterator<Item = Rule> {
        TABLE.iter().filter(|spec| self.setting(spec, "") != Setting::Off).map(|spec| spec.rule)
    }

    fn setting(&self, spec: &Spec, language: &str) -> Setting {
        if self.disabled.contains(&spec.rule) {
            return Setting::Off;
        }
        match self.thresholds.get(&spec.rule) {
            Some(&threshold) => Setting::On(threshold),
            None => spec.setting(self.profile, language),
        }
    }

    /// The enabled rules of one action for a language, with their thresholds; rules without a threshold are added to
    /// `skipped`.
    fn on(&self, act: Act, language: &str, skipped: &mut Vec<Rule>) -> Vec<(&'static Spec, f64)> {
        let mut on = Vec::new();
        for spec in TABLE.iter().filter(|spec| spec.act == act) {
            match self.setting(spec, language) {
                Setting::Off => {}
                Setting::Unknown => skipped.push(spec.rule),
                Setting::On(threshold) => on.push((spec, threshold)),
            }
        }
        on
    }

    /// Applies the rules in order, up to the first that the text violates.
    pub fn judge(&self, text: &str, language: &str) -> Judgement {
        let mut skipped = Vec::new();
        self.on(Act::Cut, language, &mut skipped);
        let on = self.on(Act::Drop, language, &mut skipped);
        let mut prose = prose(text);
        if prose.trim().is_empty() {
            // All of it is code: no fence hides a text from the rules.
            prose = lines(text).filter(|(kind, _)| *kind == Line::Code).map(|(_, line)| line).collect();
        }
        let mut measures = Measures::new(text, &prose, language, &self.bad_words);
        let dropped = on.into_iter().find_map(|(spec, threshold)| {
            let value = measures.of(spec.rule)?;
            (!spec.is_good(value, threshold)).then_some(Verdict { rule: spec.rule, value, threshold })
        });
        Judgement { dropped, skipped }
    }

    /// Cuts lines of prose; `None` if there is nothing to cut.
    pub fn cut_lines(&self, text: &str, language: &str) -> Option<Cut> {
        let on = self.on(Act::Cut, language, &mut Vec::new());
        let segmenter = Segmenter::of(language);
        let mut cut = Cut { text: String::with_capacity(text.len()), lines: BTreeMap::new() };
        if on.is_empty() {
            return None;
        }
        let mut blank = true;
        for (kind, line) in lines(text) {
            let is_blank = line.trim().is_empty();
            if kind == Line::Prose && !is_blank {
                let broken = on.iter().find(|(spec, threshold)| {
                    !spec.is_good(measures::of_line(spec.rule, line, segmenter), *threshold)
                });
                if let Some((spec, _)) = broken {
                    *cut.lines.entry(spec.rule).or_default() += 1;
                    continue;
                }
            }
            // Blank lines on both sides of a cut line are merged into one.
            if !(is_blank && blank && kind == Line::Prose && !cut.lines.is_empty()) {
                cut.text.push_str(line);
            }
            blank = is_blank;
        }
        if cut.lines.is_empty() {
            return None;
        }
        cut.text.truncate(cut.text.trim_end().len());
        if !cut.text.is_empty() {
            cut.text.push('\n');
        }
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Rules {
        Rules::new(Profile::Web, &[], &BTreeMap::new())
    }

    fn only(rule: Rule, limit: f64) -> Rules {
        Rules::new(Profile::None, &[], &BTreeMap::from([(rule, limit)]))
    }

    fn figure(rule: Rule, text: &str, language: &str) -> f64 {
        let impossible = if rule.spec().side == Side::AtLeast { f64::MAX } else { -1.0 };
        only(rule, impossible).judge(text, language).dropped.unwrap().value
    }

    const ENGLISH: &str = "Some languages have garbage collection that regularly looks for memory which is no \
        longer used while the program runs. In other languages, the programmer must allocate and free the memory \
        by hand. A third approach is to manage memory through a system of ownership with a set of rules. The \
        compiler checks them. If any of the rules are violated, the program does not compile. None of these \
        features slow it down.\n";

    #[test]
    fn names_are_those_of_manifests() {
        for (position, rule) in Rule::all().enumerate() {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
            assert_eq!(rule as usize, position);
        }
    }

    #[test]
    fn good_prose_passes_the_web_rules() {
        assert_eq!(web().judge(ENGLISH, "en"), Judgement::default());
    }

    #[test]
    fn a_verdict_says_rule_value_and_threshold() {
        let verdict = only(Rule::CharactersMin, 10.0).judge("short", "en").dropped;
        assert_eq!(verdict, Some(Verdict { rule: Rule::CharactersMin, value: 5.0, threshold: 10.0 }));
    }

    #[test]
    fn letters_are_counted_in_words_and_not_in_punctuation() {
        // If split into tokens, the quotes, commas and brackets would be words without a letter.
        assert_eq!(
            figure(Rule::GopherAlphabeticWords, "\"So,\" he (or she) said, \"it's done!\"", "en"),
            1.0
        );
        assert_eq!(figure(Rule::GopherAlphabeticWords, "one 2 - four", "en"), 0.5);
    }

    #[test]
    fn code_in_fences_is_not_judged() {
        let text = format!("{ENGLISH}```rust\nfn main() {{ let x = [1, 2, 3]; {{}} }}\n```\n");
        assert_eq!(web().judge(&text, "en").dropped, None);
        assert_eq!(
            web().judge(&format!("{ENGLISH}Write `${{HOME}}` for your folder.\n"), "en").dropped,
            None
        );
        let bare = format!("{ENGLISH}fn main() {{ }}\n");
        assert_eq!(web().judge(&bare, "en").dropped.map(|verdict| verdict.rule), Some(Rule::C4Braces));
    }

    #[test]
    fn english_values_are_not_applied_to_chinese() {
        let chinese = "内存由所有权系统管理。编译器会检查一组规则。程序运行时不会变慢。一些语言有垃圾回收机制。\
            在另一些语言中，程序员必须自己分配和释放内存。如果违反了任何规则，程序就不能编译。这是第三种方法。\
            我们在这一章里用几个例子来说明所有权的概念，它们都和字符串有关。\n";
        let judgement = web().judge(chinese, "zh");
        assert_eq!(judgement.dropped, None);
        assert!(judgement.skipped.contains(&Rule::GopherWordLengthMin));
        assert!(judgement.skipped.contains(&Rule::GopherDuplicate10Grams));
    }

    #[test]
    fn a_language_without_values_skips_and_says_so() {
        let judgement = web().judge(ENGLISH, "xx");
        assert_eq!(judgement.dropped, None);
        assert!(judgement.skipped.contains(&Rule::GopherStopWords));
        assert!(!judgement.skipped.contains(&Rule::GopherDuplicateLines));
    }

    #[test]
    fn every_rule_can_be_switched_off() {
        for rule in Rule::all() {
            let rules = Rules::new(Profile::Web, &[rule], &BTreeMap::new());
            assert_eq!(rules.setting(rule.spec(), "en"), Setting::Off);
        }
    }

    #[test]
    fn counts_repeated_lines_and_paragraphs() {
        let text = "aaaa\nb\naaaa\n\ncc\n\ncc\n";
        assert_eq!(figure(Rule::GopherDuplicateLines, text, "en"), 2.0 / 5.0);
        assert_eq!(figure(Rule::GopherDuplicateParagraphs, text, "en"), 1.0 / 3.0);
        assert_eq!(figure(Rule::GopherDuplicateLineCharacters, text, "en"), 6.0 / 13.0);
    }

    #[test]
    fn counts_repeated_runs_of_words() {
        let text = "a b c d e x a b c d e y";
        assert_eq!(figure(Rule::GopherDuplicate5Grams, text, "en"), 5.0 / 12.0);
        assert_eq!(figure(Rule::GopherTop2Gram, "to be or not to be", "en"), 8.0 / 13.0);
    }

    #[test]
    fn counts_bullets_ellipses_and_symbols() {
        let text = "- one\n* two\n3 three...\nfour…\n#### five # six\n";
        assert_eq!(figure(Rule::GopherBulletLines, text, "en"), 2.0 / 5.0);
        assert_eq!(figure(Rule::GopherEllipsisLines, text, "en"), 2.0 / 5.0);
        assert_eq!(figure(Rule::GopherHashRatio, text, "en"), 1.0 / 10.0);
        assert_eq!(figure(Rule::GopherEllipsisRatio, text, "en"), 2.0 / 10.0);
    }

    #[test]
    fn hash_signs_and_ellipses_have_a_ratio_each() {
        let words = "word ".repeat(93);
        let verdict = |text: String| {
            let rules =
                Rules::new(Profile::Gopher, &[Rule::GopherStopWords, Rule::GopherTop2Gram], &BTreeMap::new());
            rules.judge(&format!("{text} end."), "und").dropped.map(|verdict| verdict.rule)
        };
        assert_eq!(verdict(format!("{words}{}{}", "#a ".repeat(7), "b… ".repeat(7))), None);
        assert_eq!(verdict(format!("{words}{}", "#a ".repeat(14))), Some(Rule::GopherHashRatio));
        assert_eq!(verdict(format!("{words}{}", "b... ".repeat(14))), Some(Rule::GopherEllipsisRatio));
    }

    #[test]
    fn cuts_lines_about_the_site_and_keeps_code() {
        let text = "Please enable JavaScript to read this page now.\n\nA line of good text.\n\nHome\n\n```\nx\n```\n";
        let cut = web().cut_lines(text, "en").unwrap();
        assert_eq!(cut.text, "A line of good text.\n\n```\nx\n```\n");
        assert_eq!(cut.lines, BTreeMap::from([(Rule::C4LineJavascript, 1), (Rule::C4LineWords, 1)]));
        assert_eq!(web().cut_lines("只有两字\n", "zh"), None);
        assert_eq!(web().cut_lines("A line of good text.\n\n\n\nAnd another line of text.\n", "en"), None);
    }

    #[test]
    fn sentences_end_in_the_marks_of_their_script() {
        let c4 = Rules::new(Profile::C4, &[], &BTreeMap::new());
        let lines = [
            ("am", "ሰላም ለዓለም ሁሉ ይሁን ዛሬ።"),
            ("hy", "Սա մի երկար նախադասություն է այստեղ։"),
            ("km", "នេះគឺជាប្រយោគ៕"),
            ("bo", "བོད་ཡིག་གི་ཚིག་གྲུབ།"),
            ("th", "นี่คือประโยคภาษาไทย"),
            ("lo", "ນີ້ແມ່ນປະໂຫຍກ"),
        ];
        for (language, line) in lines {
            assert_eq!(c4.cut_lines(line, language), None, "{language}");
        }
        assert!(c4.judge("นี่คือประโยค", "th").skipped.contains(&Rule::C4LinePunctuation));
        let fineweb = Rules::new(Profile::Fineweb, &[], &BTreeMap::new());
        let skipped = fineweb.judge("นี่คือประโยค", "th").skipped;
        assert!(skipped.contains(&Rule::FinewebLinePunctuation));
    }

    #[test]
    fn lines_are_cut_as_by_c4() {
        let c4 = Rules::new(Profile::C4, &[], &BTreeMap::new());
        let kept = ["This line ends in a mark.", "\"Does this line end well?\"", "What a line this is!"];
        let cut = [
            "This line ends in no mark".to_owned(),
            "This line ends in an ellipsis...".to_owned(),
            "Only four words here.".to_owned(),
            format!("This line holds a very long {}.", "word".repeat(300)),
            "By reading on you accept our Cookie Policy today.".to_owned(),
        ];
        let text =
            kept.iter().map(|line| format!("{line}\n")).chain(cut.iter().map(|line| format!("{line}\n")));
        let found = c4.cut_lines(&text.collect::<String>(), "en").unwrap();
        assert_eq!(found.text.lines().collect::<Vec<_>>(), kept);
        assert_eq!(found.lines.values().sum::<u64>(), 5);
        assert_eq!(found.lines[&Rule::C4LinePunctuation], 2);
        // The word of 1,200 characters removes its line, not the text.
        assert_eq!(found.lines[&Rule::C4LineWordCharacters], 1);
        assert_eq!(
            c4.judge(&kept[..2].join("\n"), "en").dropped.map(|verdict| verdict.rule),
            Some(Rule::C4Sentences)
        );
        assert_eq!(c4.judge(&kept.join("\n"), "en").dropped, None);
    }

    #[test]
    fn words_of_the_users_list_drop_a_text() {
        let rules = Rules::new(Profile::Docs, &[], &BTreeMap::new()).with_bad_words(&[
            "Darn".into(),
            "bad phrase".into(),
            "脏话".into(),
        ]);
        let text = |word: &str| format!("{ENGLISH}Here is a {word}.\n");
        for (word, count) in [
            ("darn", 1.0),
            ("DARN!", 1.0),
            ("bad  phrase", 0.0),
            ("bad phrase", 1.0),
            ("darned", 0.0),
            ("脏话", 1.0),
        ] {
            let dropped = rules.judge(&text(word), "en").dropped;
            assert_eq!(dropped.map_or(0.0, |verdict| verdict.value), count, "{word}");
        }
        assert_eq!(
            rules.judge("这里有脏话。", "zh").dropped.map(|verdict| verdict.rule),
            Some(Rule::CharactersMin)
        );
    }

    #[test]
    fn fineweb_looks_at_lines() {
        assert_eq!(figure(Rule::FinewebLinePunctuation, "One.\nTwo\n\nThree!\nfour\n", "en"), 0.5);
        assert_eq!(figure(Rule::FinewebShortLines, &format!("short\n{}\n", "long ".repeat(9)), "en"), 0.5);
        assert_eq!(figure(Rule::FinewebDuplicateLineCharacters, "aaaa\nb\naaaa\n", "en"), 4.0 / 9.0);
        assert_eq!(figure(Rule::FinewebLineRatio, "one two\nthree\n", "en"), 2.0 / 3.0);
        let fineweb = Rules::new(Profile::Fineweb, &[], &BTreeMap::new());
        assert_eq!(fineweb.setting(Rule::C4LinePunctuation.spec(), "en"), Setting::Off);
        assert_eq!(fineweb.setting(Rule::GopherTop2Gram.spec(), "en"), Setting::On(0.2));
    }

    #[test]
    fn thresholds_of_c4_are_those_of_each_source() {
        let setting = |profile, rule: Rule, language| {
            Rules::new(profile, &[], &BTreeMap::new()).setting(rule.spec(), language)
        };
        for profile in [Profile::Web, Profile::C4] {
            assert_eq!(setting(profile, Rule::C4LineWords, "en"), Setting::On(5.0));
            assert_eq!(setting(profile, Rule::C4Sentences, "en"), Setting::On(3.0));
        }
        assert_eq!(setting(Profile::Fineweb, Rule::C4LineWords, "en"), Setting::On(3.0));
        assert_eq!(setting(Profile::Fineweb, Rule::C4Sentences, "en"), Setting::On(5.0));
        assert_eq!(setting(Profile::Fineweb, Rule::C4Sentences, "xx"), Setting::Unknown);
    }

    #[test]
    fn inline_code_with_backticks_has_no_braces() {
        let text = "Write `` `{x}` `` or `{y}` here.\n";
        assert_eq!(only(Rule::C4Braces, 0.0).judge(text, "en").dropped, None);
        assert_eq!(figure(Rule::C4Braces, "Write `` `{x} or {y} here.\n", "en"), 2.0);
    }

    #[test]
    fn code_is_judged_by_its_lines() {
        let rules = web().for_code();
        let verdict = |text: &str| rules.judge(text, "").dropped.map(|verdict| verdict.rule);
        assert_eq!(verdict("fn main() {\n    println!(\"{}\", 1);\n}\n"), None);
        assert_eq!(verdict("// This file is Auto-Generated.\nfn f() {}\n"), Some(Rule::CodeGenerated));
        assert_eq!(verdict(&format!("var a = [{}];\n", "1,".repeat(600))), Some(Rule::CodeLineLengthMean));
        assert_eq!(verdict(&"{}()[];;==\n".repeat(10)), Some(Rule::CodeAlphanumeric));
        assert!(
            Rules::new(Profile::None, &[], &BTreeMap::new()).for_code().judge("{}", "").dropped.is_none()
        );
    }

    #[test]
    fn a_fence_around_everything_hides_nothing() {
        let spam = "Buy cheap pills online now from our store.\n".repeat(60);
        for text in
            [spam.clone(), format!("```\n{spam}"), format!("```\n{spam}```\n"), format!("~~~\n{spam}~~~\n")]
        {
            let verdict = web().judge(&text, "").dropped.map(|verdict| verdict.rule);
            assert_eq!(verdict, Some(Rule::GopherDuplicateLines), "{}", &text[..10]);
        }
    }
}
