//! Quality rules: which texts are dropped, and by what. Gopher's (Rae 2021), C4's (Raffel 2020), and a
//! minimum length, each switchable, with thresholds for each language.
//!
//! A rule without a threshold for a text's language is skipped and said to be, never applied with another
//! language's. Rules see prose: fenced code is left out before anything is counted.

mod measures;
mod values;

use super::fences::{Line, lines, prose};
use crate::segment::Segmenter;
use measures::Measures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A set of rules with thresholds that suit one sort of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Crawled pages: all rules with their published thresholds.
    Web,
    /// Documentation: short pages, lists, much code, names repeated on purpose.
    Docs,
    /// No rules but those in `rules`.
    None,
}

/// One rule. Each compares one figure of a text with one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Characters of the whole text, code included, at least.
    CharactersMin,
    /// Gopher: words (characters, where a language writes no spaces), at least.
    GopherWordsMin,
    /// Gopher: words, at most.
    GopherWordsMax,
    /// Gopher: mean characters in a word, at least.
    GopherWordLengthMin,
    /// Gopher: mean characters in a word, at most.
    GopherWordLengthMax,
    /// Gopher: hash signs and ellipses for each word, at most.
    GopherSymbols,
    /// Gopher: share of lines that start with a bullet, at most.
    GopherBullets,
    /// Gopher: share of lines that end in an ellipsis, at most.
    GopherEllipses,
    /// Gopher: share of words with a letter, at least. Words are what white space separates.
    GopherLetters,
    /// Gopher: different stop words of the language, at least.
    GopherStopWords,
    /// Gopher: share of lines that repeat an earlier one, at most.
    RepeatedLines,
    /// Gopher: share of paragraphs that repeat an earlier one, at most.
    RepeatedParagraphs,
    /// Gopher: share of characters in repeated lines, at most.
    RepeatedLineCharacters,
    /// Gopher: share of characters in repeated paragraphs, at most.
    RepeatedParagraphCharacters,
    /// Gopher: share of characters in the most frequent pair of words, at most.
    #[serde(rename = "top_2_gram")]
    Top2Gram,
    /// Gopher: the same of three words.
    #[serde(rename = "top_3_gram")]
    Top3Gram,
    /// Gopher: the same of four words.
    #[serde(rename = "top_4_gram")]
    Top4Gram,
    /// Gopher: share of characters in repeated runs of five words, at most.
    #[serde(rename = "repeated_5_grams")]
    Repeated5Grams,
    /// Gopher: the same of six words.
    #[serde(rename = "repeated_6_grams")]
    Repeated6Grams,
    /// Gopher: the same of seven words.
    #[serde(rename = "repeated_7_grams")]
    Repeated7Grams,
    /// Gopher: the same of eight words.
    #[serde(rename = "repeated_8_grams")]
    Repeated8Grams,
    /// Gopher: the same of nine words.
    #[serde(rename = "repeated_9_grams")]
    Repeated9Grams,
    /// Gopher: the same of ten words.
    #[serde(rename = "repeated_10_grams")]
    Repeated10Grams,
    /// C4: sentences, at least.
    C4Sentences,
    /// C4: characters of the longest word, at most.
    C4WordCharacters,
    /// C4: occurrences of "lorem ipsum", at most.
    C4LoremIpsum,
    /// C4: curly brackets in prose, at most; inline code is not counted.
    C4Braces,
    /// C4: cuts lines that have fewer words than this, or speak of JavaScript or terms of use. Drops nothing.
    C4LineWords,
}

/// Which side of the threshold is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AtLeast,
    AtMost,
}

impl Rule {
    /// All rules, in the order in which they are asked.
    pub const ALL: [Rule; 28] = [
        Rule::CharactersMin,
        Rule::GopherWordsMin,
        Rule::GopherWordsMax,
        Rule::GopherWordLengthMin,
        Rule::GopherWordLengthMax,
        Rule::GopherSymbols,
        Rule::GopherBullets,
        Rule::GopherEllipses,
        Rule::GopherLetters,
        Rule::GopherStopWords,
        Rule::RepeatedLines,
        Rule::RepeatedParagraphs,
        Rule::RepeatedLineCharacters,
        Rule::RepeatedParagraphCharacters,
        Rule::Top2Gram,
        Rule::Top3Gram,
        Rule::Top4Gram,
        Rule::Repeated5Grams,
        Rule::Repeated6Grams,
        Rule::Repeated7Grams,
        Rule::Repeated8Grams,
        Rule::Repeated9Grams,
        Rule::Repeated10Grams,
        Rule::C4Sentences,
        Rule::C4WordCharacters,
        Rule::C4LoremIpsum,
        Rule::C4Braces,
        Rule::C4LineWords,
    ];

    /// The rule's name in manifests, metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::CharactersMin => "characters_min",
            Rule::GopherWordsMin => "gopher_words_min",
            Rule::GopherWordsMax => "gopher_words_max",
            Rule::GopherWordLengthMin => "gopher_word_length_min",
            Rule::GopherWordLengthMax => "gopher_word_length_max",
            Rule::GopherSymbols => "gopher_symbols",
            Rule::GopherBullets => "gopher_bullets",
            Rule::GopherEllipses => "gopher_ellipses",
            Rule::GopherLetters => "gopher_letters",
            Rule::GopherStopWords => "gopher_stop_words",
            Rule::RepeatedLines => "repeated_lines",
            Rule::RepeatedParagraphs => "repeated_paragraphs",
            Rule::RepeatedLineCharacters => "repeated_line_characters",
            Rule::RepeatedParagraphCharacters => "repeated_paragraph_characters",
            Rule::Top2Gram => "top_2_gram",
            Rule::Top3Gram => "top_3_gram",
            Rule::Top4Gram => "top_4_gram",
            Rule::Repeated5Grams => "repeated_5_grams",
            Rule::Repeated6Grams => "repeated_6_grams",
            Rule::Repeated7Grams => "repeated_7_grams",
            Rule::Repeated8Grams => "repeated_8_grams",
            Rule::Repeated9Grams => "repeated_9_grams",
            Rule::Repeated10Grams => "repeated_10_grams",
            Rule::C4Sentences => "c4_sentences",
            Rule::C4WordCharacters => "c4_word_characters",
            Rule::C4LoremIpsum => "c4_lorem_ipsum",
            Rule::C4Braces => "c4_braces",
            Rule::C4LineWords => "c4_line_words",
        }
    }

    const fn side(self) -> Side {
        match self {
            Rule::CharactersMin
            | Rule::GopherWordsMin
            | Rule::GopherWordLengthMin
            | Rule::GopherLetters
            | Rule::GopherStopWords
            | Rule::C4Sentences
            | Rule::C4LineWords => Side::AtLeast,
            _ => Side::AtMost,
        }
    }

    /// Whether the figure is a share, 0 to 1.
    pub const fn is_share(self) -> bool {
        matches!(
            self,
            Rule::GopherBullets
                | Rule::GopherEllipses
                | Rule::GopherLetters
                | Rule::RepeatedLines
                | Rule::RepeatedParagraphs
                | Rule::RepeatedLineCharacters
                | Rule::RepeatedParagraphCharacters
                | Rule::Top2Gram
                | Rule::Top3Gram
                | Rule::Top4Gram
                | Rule::Repeated5Grams
                | Rule::Repeated6Grams
                | Rule::Repeated7Grams
                | Rule::Repeated8Grams
                | Rule::Repeated9Grams
                | Rule::Repeated10Grams
        )
    }
}

/// Why a text is dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The rule that it breaks, the first in order.
    pub rule: Rule,
    /// The text's figure.
    pub value: f64,
    /// The threshold that it is beyond.
    pub threshold: f64,
}

/// What the rules say of one text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Why it is dropped; `None` if it is kept.
    pub dropped: Option<Verdict>,
    /// Rules that have no threshold for its language.
    pub skipped: Vec<Rule>,
}

/// The rules of a profile, with changes.
#[derive(Debug, Clone)]
pub struct Rules {
    profile: Profile,
    without: BTreeSet<Rule>,
    limits: BTreeMap<Rule, f64>,
}

/// What a rule does to texts of one language.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    Off,
    /// On, and without a threshold for the language.
    Unknown,
    On(f64),
}

impl Rules {
    /// Rules of a profile without those in `without`, and with the thresholds in `limits`, which also switch
    /// on rules that the profile has not and count for every language.
    pub fn new(profile: Profile, without: &[Rule], limits: &BTreeMap<Rule, f64>) -> Self {
        Self { profile, without: without.iter().copied().collect(), limits: limits.clone() }
    }

    fn setting(&self, rule: Rule, language: &str) -> Setting {
        if self.without.contains(&rule) {
            return Setting::Off;
        }
        match self.limits.get(&rule) {
            Some(&limit) => Setting::On(limit),
            None => values::setting(rule, self.profile, language),
        }
    }

    /// Judges a text by the rules in order, and stops at the first that it breaks.
    pub fn judge(&self, text: &str, language: &str) -> Judgement {
        let prose = prose(text);
        let mut measures = Measures::new(text, &prose, language);
        let mut skipped = Vec::new();
        for rule in Rule::ALL {
            if rule == Rule::C4LineWords {
                continue;
            }
            let threshold = match self.setting(rule, language) {
                Setting::Off => continue,
                Setting::Unknown => {
                    skipped.push(rule);
                    continue;
                }
                Setting::On(threshold) => threshold,
            };
            // A text that is all code has no prose to judge.
            let Some(value) = measures.of(rule) else { continue };
            let good = match rule.side() {
                Side::AtLeast => value >= threshold,
                Side::AtMost => value <= threshold,
            };
            if !good {
                return Judgement { dropped: Some(Verdict { rule, value, threshold }), skipped };
            }
        }
        Judgement { dropped: None, skipped }
    }

    /// Cuts the lines that [`Rule::C4LineWords`] is about; `None` if it is off for the language or cuts none.
    pub fn cut_lines(&self, text: &str, language: &str) -> Option<String> {
        let Setting::On(words_min) = self.setting(Rule::C4LineWords, language) else { return None };
        let segmenter = Segmenter::of(language);
        let cut = |line: &str| {
            let words = segmenter.units(line).count() as f64;
            (words > 0.0 && words < words_min) || speaks_of_the_site(line, language)
        };
        let mut out = String::with_capacity(text.len());
        lines(text)
            .filter(|(kind, line)| *kind != Line::Prose || !cut(line))
            .for_each(|(_, line)| out.push_str(line));
        (out.len() < text.len()).then_some(out)
    }
}

/// C4's lines about JavaScript that has to be enabled, and about terms and cookies, in English.
fn speaks_of_the_site(line: &str, language: &str) -> bool {
    const POLICIES: [&str; 6] =
        ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];
    let line = line.to_lowercase();
    line.contains("javascript") || (language == "en" && POLICIES.iter().any(|policy| line.contains(policy)))
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
        let impossible = if rule.side() == Side::AtLeast { f64::MAX } else { -1.0 };
        only(rule, impossible).judge(text, language).dropped.unwrap().value
    }

    const ENGLISH: &str = "Some languages have garbage collection that regularly looks for memory which is no \
        longer used while the program runs. In other languages, the programmer must allocate and free the memory \
        by hand. A third approach is to manage memory through a system of ownership with a set of rules. The \
        compiler checks them. If any of the rules are violated, the program does not compile. None of these \
        features slow it down.\n";

    #[test]
    fn names_are_those_of_manifests() {
        for rule in Rule::ALL {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
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
        // Split into tokens, the quotes, commas and brackets would be words without a letter.
        assert_eq!(figure(Rule::GopherLetters, "\"So,\" he (or she) said, \"it's done!\"", "en"), 1.0);
        assert_eq!(figure(Rule::GopherLetters, "one 2 - four", "en"), 0.5);
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
        assert!(judgement.skipped.contains(&Rule::Repeated10Grams));
    }

    #[test]
    fn a_language_without_values_skips_and_says_so() {
        let judgement = web().judge(ENGLISH, "xx");
        assert_eq!(judgement.dropped, None);
        assert!(judgement.skipped.contains(&Rule::GopherStopWords));
        assert!(!judgement.skipped.contains(&Rule::RepeatedLines));
    }

    #[test]
    fn every_rule_can_be_switched_off() {
        for rule in Rule::ALL {
            let rules = Rules::new(Profile::Web, &[rule], &BTreeMap::new());
            assert_eq!(rules.setting(rule, "en"), Setting::Off);
        }
    }

    #[test]
    fn counts_repeated_lines_and_paragraphs() {
        let text = "aaaa\nb\naaaa\n\ncc\n\ncc\n";
        assert_eq!(figure(Rule::RepeatedLines, text, "en"), 2.0 / 5.0);
        assert_eq!(figure(Rule::RepeatedParagraphs, text, "en"), 1.0 / 3.0);
        assert_eq!(figure(Rule::RepeatedLineCharacters, text, "en"), 6.0 / 13.0);
    }

    #[test]
    fn counts_repeated_runs_of_words() {
        let text = "a b c d e x a b c d e y";
        assert_eq!(figure(Rule::Repeated5Grams, text, "en"), 5.0 / 12.0);
        assert_eq!(figure(Rule::Top2Gram, "to be or not to be", "en"), 8.0 / 13.0);
    }

    #[test]
    fn counts_bullets_ellipses_and_symbols() {
        let text = "- one\n* two\n3 three...\nfour…\n#### five # six\n";
        assert_eq!(figure(Rule::GopherBullets, text, "en"), 2.0 / 5.0);
        assert_eq!(figure(Rule::GopherEllipses, text, "en"), 2.0 / 5.0);
        assert_eq!(figure(Rule::GopherSymbols, text, "en"), 3.0 / 10.0);
    }

    #[test]
    fn cuts_lines_about_the_site_and_keeps_code() {
        let text =
            "Please enable JavaScript to read this page now.\nA line of good text.\nHome\n```\nx\n```\n";
        assert_eq!(web().cut_lines(text, "en").unwrap(), "A line of good text.\n```\nx\n```\n");
        assert_eq!(web().cut_lines("只有两字\n", "zh"), None);
    }
}
