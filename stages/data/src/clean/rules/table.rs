//! The table of the rules: for each its name, its source, what it does beyond its threshold, and the thresholds.

use super::RuleSet;
use super::values::{
    by_script, fineweb2, is_in_fineweb2, of_words, stop_words, word_length_max, word_length_min, words_max,
    words_min, words_of_fineweb2,
};
use crate::segment::Segmenter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The publication that a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Own,
    Gopher,
    C4,
    FineWeb,
    Dclm,
    Code,
}

/// Which side of the threshold is acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
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
pub(super) enum Act {
    /// Drops the text.
    Drop,
    /// Cuts the line.
    Cut,
}

/// A row of the table.
pub(super) struct Spec {
    pub(super) rule: Rule,
    name: &'static str,
    source: Source,
    pub(super) side: Side,
    unit: Unit,
    pub(super) act: Act,
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
        pub(super) static TABLE: &[Spec] = &[$(Spec {
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
    /// Cuts lines with fewer words than this, other than headings, rows of tables, terms and definitions.
    C4LineWords "c4_line_words" C4 Cut AtLeast Count |language| of_words(language, 5.0), None;
    /// Cuts lines that mention JavaScript more often than this.
    C4LineJavascript "c4_line_javascript" C4 Cut AtMost Count |_| Some(0.0), None;
    /// Cuts lines that mention terms of use, privacy policies and cookies more often than this, in English.
    C4LinePolicy "c4_line_policy" C4 Cut AtMost Count |language| (language == "en").then_some(0.0), None;
    /// Cuts lines in which a larger share of the characters is in upper case.
    DclmLineUppercase "dclm_line_uppercase" Dclm Cut AtMost Share |_| Some(0.5), None;
    /// Cuts lines in which a larger share of the characters is digits.
    DclmLineDigits "dclm_line_digits" Dclm Cut AtMost Share |_| Some(0.999_999), None;
    /// Cuts lines that are a counter of a page, such as `3 likes`, in English. Threshold 0.
    DclmLineCounter "dclm_line_counter" Dclm Cut AtMost Count |language| (language == "en").then_some(0.0), None;
    /// Cuts lines with fewer words than this, other than headings, rows of tables, terms and definitions. Words are
    /// separated by white space.
    DclmLineWords "dclm_line_words" Dclm Cut AtLeast Count |language| spaced(language, 2.0), None;
    /// Cuts lines of at most ten words with `items in cart`, `Read more...` at the end or `Sign-in` at the beginning, in
    /// English. Threshold 0.
    DclmLinePhrases "dclm_line_phrases" Dclm Cut AtMost Count |language| (language == "en").then_some(0.0), None;
    /// Minimum characters of the whole text, including code.
    CharactersMin "characters_min" Own Drop AtLeast Count |language| Some(by_script(language, 200.0)), Some(100.0);
    /// Minimum words (characters in languages without spaces).
    GopherWordsMin "gopher_words_min" Gopher Drop AtLeast Count words_min, None;
    /// Maximum words.
    GopherWordsMax "gopher_words_max" Gopher Drop AtMost Count words_max, None;
    /// Minimum mean characters per word.
    GopherWordLengthMin "gopher_word_length_min" Gopher Drop AtLeast Count word_length_min, None;
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
    /// Maximum share of the words that rules about lines cut.
    DclmWordsRemoved "dclm_words_removed" Dclm Drop AtMost Share |_| Some(0.05), None;
    /// Maximum mean characters per line of code.
    CodeLineLengthMean "code_line_length_mean" Code Drop AtMost Count |_| Some(100.0), None;
    /// Maximum characters of the longest line of code.
    CodeLineLengthMax "code_line_length_max" Code Drop AtMost Count |_| Some(1000.0), None;
    /// Minimum share of letters and digits among the characters of code.
    CodeAlphanumeric "code_alphanumeric" Code Drop AtLeast Share |_| Some(0.25), None;
    /// Maximum lines among the first five that say that the file is generated.
    CodeGenerated "code_generated" Code Drop AtMost Count |_| Some(0.0), None;
    /// Maximum share of the characters of code, without white space, that are encoded data: base64, bytes in hexadecimal,
    /// lists of numbers.
    CodeData "code_data" Code Drop AtMost Share |_| Some(0.5), None;
    /// Maximum parts of the path of source code that are names of folders with code of others (`node_modules`, `vendor`,
    /// `third_party`), or of minified files.
    CodeVendored "code_vendored" Code Drop AtMost Count |_| Some(0.0), None;
    /// Maximum keys of large providers, tokens and private keys in code, as `pii: [api_key]` finds them.
    CodeSecrets "code_secrets" Code Drop AtMost Count |_| Some(0.0), None;
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

    pub(super) fn spec(self) -> &'static Spec {
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

    /// Whether the rule looks at how short a line is, which says nothing about headings, rows, terms and definitions.
    pub(super) fn spares_structure(self) -> bool {
        matches!(self, Self::C4LineWords | Self::DclmLineWords)
    }

    /// Whether the rule is made for source code.
    pub fn is_of_code(self) -> bool {
        self.spec().source == Source::Code
    }

    /// Whether the value is a share, 0 to 1.
    pub fn is_share(self) -> bool {
        self.spec().unit == Unit::Share
    }
}

impl Spec {
    pub(super) fn is_good(&self, value: f64, threshold: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= threshold,
            Side::AtMost => value <= threshold,
        }
    }

    /// Whether the rule is in a set.
    fn is_in(&self, set: RuleSet) -> bool {
        let punctuation = self.rule == Rule::C4LinePunctuation;
        match set {
            RuleSet::Web => matches!(self.source, Source::Own | Source::Gopher | Source::C4) && !punctuation,
            RuleSet::Gopher => self.source == Source::Gopher,
            RuleSet::C4 => self.source == Source::C4,
            RuleSet::Fineweb => {
                matches!(self.source, Source::Gopher | Source::C4 | Source::FineWeb) && !punctuation
            }
            RuleSet::Fineweb2 => {
                matches!(self.source, Source::Gopher | Source::FineWeb) && is_in_fineweb2(self.rule)
            }
            RuleSet::Dclm => matches!(self.source, Source::Gopher | Source::Dclm),
            RuleSet::Docs => self.docs.is_some(),
            RuleSet::Code => self.source == Source::Code,
            RuleSet::None => false,
        }
    }

    /// The published threshold for a language: where the source has none, that of FineWeb-2.
    fn published(&self, language: &str) -> Option<f64> {
        (self.published)(language).or_else(|| fineweb2(self.rule, language))
    }

    /// The action of a rule in a set, for texts in one language.
    pub(super) fn setting(&self, set: RuleSet, language: &str) -> Setting {
        if !self.is_in(set) {
            return Setting::Off;
        }
        let threshold = match (set, self.docs) {
            (RuleSet::Docs, Some(docs)) if self.rule == Rule::CharactersMin => {
                Some(by_script(language, docs))
            }
            (RuleSet::Docs, Some(docs)) => (self.published)(language).map(|_| docs),
            (RuleSet::Fineweb, _) => {
                self.published(language).map(|value| in_fineweb(self.rule).unwrap_or(value))
            }
            (RuleSet::Fineweb2, _) if language != "en" => {
                fineweb2(self.rule, language).or_else(|| in_fineweb2_everywhere(self.rule, language))
            }
            _ => self.published(language),
        };
        threshold.map_or(Setting::Unknown, Setting::On)
    }
}

/// FineWeb-2's thresholds that are the same for all languages: those of datatrove's filters that its code does not set.
fn in_fineweb2_everywhere(rule: Rule, language: &str) -> Option<f64> {
    match rule {
        Rule::FinewebDuplicateLineCharacters => Some(0.1),
        Rule::GopherWordsMin => Some(words_min(language).unwrap_or(words_of_fineweb2(language, 50.0))),
        Rule::GopherWordsMax => Some(words_max(language).unwrap_or(words_of_fineweb2(language, 100_000.0))),
        Rule::GopherHashRatio
        | Rule::GopherEllipsisRatio
        | Rule::GopherBulletLines
        | Rule::GopherEllipsisLines => rule.spec().published(language),
        _ => None,
    }
}

/// The effect of a rule on texts in one language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Setting {
    Off,
    /// Enabled, but without a threshold for the language.
    Unknown,
    On(f64),
}
