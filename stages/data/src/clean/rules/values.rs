//! Thresholds by language.
//!
//! The published thresholds are for English. Counts of lines, paragraphs and signs have the same meaning in every
//! language. Rules about words have thresholds for languages with spaces and words of similar length; limits of word
//! lengths are widened for languages with long compounds.

use crate::segment::Segmenter;

/// Languages in which Gopher's shares of repeated words are valid: spaces, little agglutination.
const WORDED: [&str; 15] =
    ["en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "ca", "ro", "pl", "cs", "ru"];

/// A value for languages with words similar to English ones.
pub(super) fn of_words(language: &str, value: f64) -> Option<f64> {
    WORDED.contains(&language).then_some(value)
}

/// A Chinese or Japanese text needs about a third of the characters.
pub(super) fn by_script(language: &str, characters: f64) -> f64 {
    match Segmenter::of(language) {
        Segmenter::Words => characters,
        Segmenter::Characters => (characters / 3.0).ceil(),
    }
}

/// Gopher's 50 words correspond to about 75 Chinese and 110 Japanese characters.
pub(super) fn words_min(language: &str) -> Option<f64> {
    match language {
        "zh" => Some(75.0),
        "ja" => Some(110.0),
        _ => of_words(language, 50.0),
    }
}

pub(super) fn word_length_max(language: &str) -> Option<f64> {
    match language {
        "de" | "nl" | "sv" | "da" | "nb" | "ru" | "pl" | "cs" => Some(12.0),
        _ => of_words(language, 10.0),
    }
}

/// Frequent words that occur in nearly every text of the language. The English ones are Gopher's.
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
