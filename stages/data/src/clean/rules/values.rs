//! Thresholds by profile and language.
//!
//! Those of profile `web` are Gopher's and C4's for English. Counts of lines, paragraphs and signs mean the
//! same in every language. Rules over words have values for languages with spaces and words of like length;
//! word lengths are widened where compounds are written as one word.

use super::{Profile, Rule, Setting};
use crate::segment::Segmenter;

/// Languages in which Gopher's shares of repeated words hold: spaces, little agglutination.
const WORDED: [&str; 15] =
    ["en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "ca", "ro", "pl", "cs", "ru"];

/// What a rule does in a profile to texts of one language.
pub(super) fn setting(rule: Rule, profile: Profile, language: &str) -> Setting {
    match profile {
        Profile::None => Setting::Off,
        Profile::Web => web(rule, language).map_or(Setting::Unknown, Setting::On),
        Profile::Docs => docs(rule, language),
    }
}

fn web(rule: Rule, language: &str) -> Option<f64> {
    let worded = WORDED.contains(&language);
    let of_words = |value: f64| worded.then_some(value);
    match rule {
        Rule::CharactersMin => Some(by_script(language, 200.0)),
        Rule::GopherWordsMin => words_min(language),
        Rule::GopherWordsMax => of_words(100_000.0).or(unspaced(language, 200_000.0)),
        Rule::GopherWordLengthMin => of_words(3.0),
        Rule::GopherWordLengthMax => word_length_max(language),
        Rule::GopherSymbols => Some(0.1),
        Rule::GopherBullets => Some(0.9),
        Rule::GopherEllipses => Some(0.3),
        Rule::GopherLetters => of_words(0.8),
        Rule::GopherStopWords => stop_words(language).map(|_| 2.0),
        Rule::RepeatedLines | Rule::RepeatedParagraphs => Some(0.3),
        Rule::RepeatedLineCharacters | Rule::RepeatedParagraphCharacters => Some(0.2),
        Rule::Top2Gram => of_words(0.20),
        Rule::Top3Gram => of_words(0.18),
        Rule::Top4Gram => of_words(0.16),
        Rule::Repeated5Grams => of_words(0.15),
        Rule::Repeated6Grams => of_words(0.14),
        Rule::Repeated7Grams => of_words(0.13),
        Rule::Repeated8Grams => of_words(0.12),
        Rule::Repeated9Grams => of_words(0.11),
        Rule::Repeated10Grams => of_words(0.10),
        Rule::C4Sentences => of_words(5.0).or(unspaced(language, 5.0)),
        Rule::C4WordCharacters => (Segmenter::of(language) == Segmenter::Words).then_some(1000.0),
        Rule::C4LoremIpsum | Rule::C4Braces => Some(0.0),
        Rule::C4LineWords => of_words(3.0),
    }
}

/// Reference pages are lists of short entries whose wording repeats, and name much that is no word; what
/// still tells a bad page is that it holds next to nothing, or the same line over and over.
fn docs(rule: Rule, language: &str) -> Setting {
    match rule {
        Rule::CharactersMin => Setting::On(by_script(language, 100.0)),
        Rule::GopherEllipses => Setting::On(0.3),
        Rule::RepeatedLines | Rule::RepeatedParagraphs => Setting::On(0.7),
        Rule::C4LoremIpsum => Setting::On(0.0),
        Rule::C4WordCharacters => web(rule, language).map_or(Setting::Unknown, |_| Setting::On(4000.0)),
        _ => Setting::Off,
    }
}

/// A Chinese or Japanese text says the same in about a third of the characters.
fn by_script(language: &str, characters: f64) -> f64 {
    match Segmenter::of(language) {
        Segmenter::Words => characters,
        Segmenter::Characters => (characters / 3.0).ceil(),
    }
}

fn unspaced(language: &str, value: f64) -> Option<f64> {
    matches!(language, "zh" | "ja").then_some(value)
}

/// Gopher's 50 words are about 75 Chinese and 110 Japanese characters.
fn words_min(language: &str) -> Option<f64> {
    match language {
        "zh" => Some(75.0),
        "ja" => Some(110.0),
        _ => WORDED.contains(&language).then_some(50.0),
    }
}

fn word_length_max(language: &str) -> Option<f64> {
    match language {
        "de" | "nl" | "sv" | "da" | "nb" | "ru" | "pl" | "cs" => Some(12.0),
        _ => WORDED.contains(&language).then_some(10.0),
    }
}

/// Frequent words that a text of the language can hardly do without. English ones are Gopher's.
pub(super) fn stop_words(language: &str) -> Option<&'static [&'static str]> {
    Some(match language {
        "en" => &["the", "be", "to", "of", "and", "that", "have", "with"],
        "de" => &["der", "die", "das", "und", "in", "zu", "den", "mit", "von", "ist", "nicht", "ein", "eine"],
        "fr" => &["le", "la", "les", "de", "des", "et", "un", "une", "est", "que", "dans", "pour", "en"],
        "es" => &["el", "la", "los", "de", "que", "y", "en", "un", "una", "con", "para", "por", "es"],
        "it" => &["il", "la", "di", "che", "e", "un", "una", "per", "con", "non", "del", "è", "in"],
        "pt" => &["o", "a", "os", "de", "que", "e", "do", "da", "em", "um", "uma", "para", "com", "não"],
        "nl" => &["de", "het", "een", "en", "van", "in", "is", "dat", "op", "te", "met", "voor"],
        "sv" => &["och", "att", "det", "som", "en", "på", "är", "av", "för", "med", "den", "till"],
        "da" | "nb" => &["og", "at", "det", "som", "en", "på", "er", "av", "af", "for", "med", "til", "den"],
        "ca" => &["el", "la", "de", "que", "i", "en", "un", "una", "amb", "per", "els", "és"],
        "ro" => &["și", "de", "la", "în", "a", "cu", "pe", "este", "un", "o", "care", "din"],
        "pl" => &["i", "w", "na", "z", "się", "nie", "do", "to", "jest", "że", "o", "jak"],
        "cs" => &["a", "se", "v", "na", "je", "že", "s", "z", "to", "o", "do", "pro"],
        "ru" => &["и", "в", "не", "на", "что", "с", "по", "это", "как", "для", "из", "к"],
        "zh" => &["的", "是", "在", "了", "不", "和", "有", "我", "这", "也", "为", "以"],
        "ja" => &["の", "に", "は", "を", "が", "で", "と", "も", "て", "た"],
        _ => return None,
    })
}
