//! Thresholds by language.
//!
//! The published thresholds are for English. Counts of lines, paragraphs and signs have the same meaning in every
//! language. Rules about words have thresholds for languages with spaces and words of similar length; limits of word
//! lengths are widened for languages with long compounds.
//!
//! FineWeb-2 (Penedo et al. 2025, and the files `configs/*.yml` of its repository) has thresholds for each of its languages,
//! computed on texts in that language. Its words are those of a tokenizer for the language: where they are not those
//! between white space (Chinese, Japanese, Korean), only its thresholds for lines are valid here.

use super::Rule;
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
        "ar" | "hi" => Some(50.0),
        _ => of_words(language, 50.0),
    }
}

pub(super) fn words_max(language: &str) -> Option<f64> {
    match language {
        "zh" | "ja" => Some(200_000.0),
        "ar" | "hi" => Some(100_000.0),
        _ => of_words(language, 100_000.0),
    }
}

/// A number of FineWeb-2's words, which are those of a tokenizer, in the words of a language here: a Korean word between
/// white space has about two of its morphemes, and a word of a language without spaces about four characters. FineWeb-2 has
/// the same number for all languages.
pub(super) fn words_of_fineweb2(language: &str, words: f64) -> f64 {
    const MORPHEMES_PER_WORD: f64 = 2.0;
    const CHARACTERS_PER_WORD: f64 = 4.0;
    match Segmenter::of(language) {
        Segmenter::Words if language == "ko" => words / MORPHEMES_PER_WORD,
        Segmenter::Words => words,
        Segmenter::Characters => words * CHARACTERS_PER_WORD,
    }
}

pub(super) fn word_length_min(language: &str) -> Option<f64> {
    of_words(language, 3.0)
}

pub(super) fn word_length_max(language: &str) -> Option<f64> {
    match language {
        "de" | "nl" | "sv" | "da" | "nb" | "ru" | "pl" | "cs" => Some(12.0),
        _ => of_words(language, 10.0),
    }
}

/// FineWeb-2's thresholds for a language.
struct Fineweb2 {
    /// Share of repeated lines, and of lines that end in terminal punctuation.
    lines: (f64, f64),
    /// Those for words; none if its words are not separated by white space.
    words: Option<Words>,
}

struct Words {
    /// Mean characters per word.
    length: (f64, f64),
    /// Share of words with a letter.
    alphabetic: f64,
    /// Lines per word.
    lines: f64,
    /// Most frequent sequences of 2 to 4 words.
    top: [f64; 3],
    /// Repeated sequences of 5 to 10 words.
    repeated: [f64; 6],
}

fn fineweb2_of(language: &str) -> Option<Fineweb2> {
    let (lines, words) = match language.as_bytes() {
        b"ar" => (
            (0.304, 0.143),
            Words {
                length: (2.0, 9.0),
                alphabetic: 0.787,
                lines: 0.189,
                top: [0.197, 0.172, 0.146],
                repeated: [0.165, 0.153, 0.142, 0.131, 0.12, 0.109],
            },
        ),
        b"de" => (
            (0.263, 0.0),
            Words {
                length: (0.0, 15.0),
                alphabetic: 0.774,
                lines: 0.152,
                top: [0.169, 0.153, 0.137],
                repeated: [0.141, 0.134, 0.126, 0.117, 0.108, 0.098],
            },
        ),
        b"es" => (
            (0.265, 0.3),
            Words {
                length: (4.0, 14.0),
                alphabetic: 0.825,
                lines: 0.171,
                top: [0.077, 0.097, 0.112],
                repeated: [0.152, 0.137, 0.123, 0.114, 0.107, 0.099],
            },
        ),
        b"fr" => (
            (0.264, 0.1),
            Words {
                length: (2.0, 11.0),
                alphabetic: 0.812,
                lines: 0.185,
                top: [0.161, 0.149, 0.134],
                repeated: [0.15, 0.141, 0.131, 0.121, 0.111, 0.1],
            },
        ),
        b"hi" => (
            (0.206, 0.091),
            Words {
                length: (2.0, 21.0),
                alphabetic: 0.837,
                lines: 0.316,
                top: [0.208, 0.198, 0.161],
                repeated: [0.135, 0.125, 0.116, 0.108, 0.099, 0.09],
            },
        ),
        b"ru" => (
            (0.322, 0.231),
            Words {
                length: (3.0, 11.0),
                alphabetic: 0.713,
                lines: 0.139,
                top: [0.184, 0.164, 0.146],
                repeated: [0.168, 0.156, 0.145, 0.133, 0.121, 0.109],
            },
        ),
        b"ja" => return Some(Fineweb2 { lines: (0.375, 0.167), words: None }),
        b"ko" => return Some(Fineweb2 { lines: (0.374, 0.062), words: None }),
        b"zh" => return Some(Fineweb2 { lines: (0.287, 0.106), words: None }),
        _ => return None,
    };
    Some(Fineweb2 { lines, words: Some(words) })
}

/// FineWeb-2's threshold of a rule for a language that it names.
pub(super) fn fineweb2(rule: Rule, language: &str) -> Option<f64> {
    let Fineweb2 { lines, words } = fineweb2_of(language)?;
    match rule {
        Rule::GopherDuplicateLines => return Some(lines.0),
        Rule::FinewebLinePunctuation => return Some(lines.1),
        Rule::GopherStopWords => return stop_words(language).map(|_| 2.0),
        _ => {}
    }
    let words = words?;
    Some(match rule {
        Rule::GopherWordLengthMin => words.length.0,
        Rule::GopherWordLengthMax => words.length.1,
        Rule::GopherAlphabeticWords => words.alphabetic,
        Rule::FinewebLineRatio => words.lines,
        Rule::GopherTop2Gram => words.top[0],
        Rule::GopherTop3Gram => words.top[1],
        Rule::GopherTop4Gram => words.top[2],
        Rule::GopherDuplicate5Grams => words.repeated[0],
        Rule::GopherDuplicate6Grams => words.repeated[1],
        Rule::GopherDuplicate7Grams => words.repeated[2],
        Rule::GopherDuplicate8Grams => words.repeated[3],
        Rule::GopherDuplicate9Grams => words.repeated[4],
        Rule::GopherDuplicate10Grams => words.repeated[5],
        _ => return None,
    })
}

/// Whether FineWeb-2 applies a rule of Gopher or FineWeb: it turns off those for repeated paragraphs, for the characters of
/// repeated lines, and for short lines.
pub(super) fn is_in_fineweb2(rule: Rule) -> bool {
    !matches!(
        rule,
        Rule::GopherDuplicateParagraphs
            | Rule::GopherDuplicateLineCharacters
            | Rule::GopherDuplicateParagraphCharacters
            | Rule::FinewebShortLines
    )
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
        // FineWeb-2's; its Korean ones are parts of words.
        "ar" => {
            &["في", "من", "على", "إلى", "أن", "مع", "أو", "هو", "عن", "التي", "كان", "بين", "ما", "هي", "بعد"]
        }
        "hi" => &["के", "में", "है", "की", "और", "से", "का", "को", "एक", "हैं", "पर"],
        "zh" => &["的", "是", "在", "了", "不", "和", "有", "我", "这", "也", "为", "以"],
        "ja" => &["の", "に", "は", "を", "が", "で", "と", "も", "て", "た"],
        _ => return None,
    })
}
