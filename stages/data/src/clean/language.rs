//! Detects the language of a text: whatlang on its prose, and a check of its answer. Code blocks and inline code are
//! ignored, since program names belong to no language. The score is kept beside the code, so that a filter can be
//! changed later.
//!
//! A language model (a classifier whose labels are languages) takes the place of whatlang if there is one; its answer is
//! not checked.
//!
//! whatlang always answers with one of its 69 languages, often with high confidence. The check refuses an answer if
//! the alphabet lacks letters of the text, or if the text lacks the most frequent words of the language: Mongolian is
//! not Russian, and Maltese not Javanese.

mod codes;
mod evidence;

use super::fences::{Line, lines};
use crate::segment::is_cjk;
use pipe_linear::{Model, Scratch};
use std::sync::Arc;
use whatlang::Lang;

pub use codes::canonical;

/// A language and the detector's confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected<'d> {
    /// ISO 639-1 code; ISO 639-3 where there is none.
    pub code: &'d str,
    /// Confidence, 0 to 1.
    pub score: f64,
}

/// Characters of prose to examine; more do not change the answer.
const SAMPLE_CHARACTERS: usize = 4096;
/// Minimum number of letters for a detection.
const LETTERS_MIN: usize = 20;

/// Detects the language of a text; `None` if it has too little prose, or if its language is unknown to the detector.
pub fn detect(text: &str) -> Option<Detected<'static>> {
    let sample = sample(text);
    if sample.chars().filter(|c| c.is_alphabetic()).count() < letters_min(&sample) {
        return None;
    }
    let sample = of_main_script(sample);
    let found = whatlang::detect(&sample)?;
    let code = code(found.lang());
    evidence::supports(code, &sample).then_some(Detected { code, score: found.confidence() })
}

/// The language of a text, from the detector's answer and the language that the text or its source declares (in the
/// form of [`canonical`]).
///
/// A declared language wins if the detector does not know it, or if the detector's confidence is below `score_min`.
pub fn decide(detected: Option<Detected>, declared: &str, score_min: f64) -> String {
    if !declared.is_empty() && !is_known(declared) {
        return declared.to_owned();
    }
    more_certain(detected, declared, score_min)
}

/// The detected language if it is certain, else the declared one, else the detected one.
fn more_certain(detected: Option<Detected>, declared: &str, score_min: f64) -> String {
    let sure = detected.filter(|found| found.score >= score_min);
    match (sure, detected) {
        (Some(found), _) => found.code.to_owned(),
        (None, _) if !declared.is_empty() => declared.to_owned(),
        (None, Some(found)) => found.code.to_owned(),
        (None, None) => String::new(),
    }
}

/// What tells the language of texts.
pub enum Detector {
    /// whatlang, with a check of its answers.
    Whatlang,
    /// A classifier, and the language codes of its labels.
    Model(Arc<Model>, Vec<String>),
}

impl Detector {
    /// Uses a classifier whose labels are languages, in any form that [`canonical`] knows.
    pub fn of_model(model: Arc<Model>) -> Self {
        let code = |label: &String| {
            let code = canonical(label);
            if code.is_empty() { label.clone() } else { code }
        };
        let codes = model.labels().iter().map(code).collect();
        Self::Model(model, codes)
    }

    /// Detects the language of a text; `None` if it has too little prose for the detector.
    pub fn detect(&self, text: &str, scratch: &mut Scratch) -> Option<Detected<'_>> {
        let Self::Model(model, codes) = self else { return detect(text) };
        let sample = sample(text);
        if !sample.chars().any(char::is_alphabetic) {
            return None;
        }
        let shares = model.probabilities(&sample, scratch)?;
        let (place, share) = shares.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        Some(Detected { code: &codes[place], score: f64::from(*share) })
    }

    /// The language of a text, as [`decide`] does it.
    pub fn decide(&self, detected: Option<Detected>, declared: &str, score_min: f64) -> String {
        match self {
            Self::Whatlang => decide(detected, declared, score_min),
            Self::Model(_, codes) if !declared.is_empty() && !codes.iter().any(|code| code == declared) => {
                declared.to_owned()
            }
            Self::Model(..) => more_certain(detected, declared, score_min),
        }
    }
}

/// A Chinese or Japanese text that mentions many programs has more Latin letters than others, and the detector uses
/// the most frequent script. A character counts as several letters, so the letters are removed.
fn of_main_script(sample: String) -> String {
    const LETTERS_PER_CHARACTER: usize = 3;
    let unspaced = sample.chars().filter(|c| is_cjk(*c) && c.is_alphabetic()).count();
    let latin = sample.chars().filter(char::is_ascii_alphabetic).count();
    if unspaced * LETTERS_PER_CHARACTER > latin {
        sample.replace(|c: char| c.is_ascii_alphabetic(), "")
    } else {
        sample
    }
}

/// A Han character carries as much meaning as a word.
fn letters_min(sample: &str) -> usize {
    if sample.chars().any(is_cjk) { LETTERS_MIN / 4 } else { LETTERS_MIN }
}

fn sample(text: &str) -> String {
    let mut sample = String::new();
    let mut characters = 0;
    let prose = lines(text).filter(|(kind, _)| *kind == Line::Prose);
    for (_, line) in prose {
        for (position, piece) in line.split('`').enumerate() {
            if position % 2 == 0 {
                sample.extend(piece.chars().take(SAMPLE_CHARACTERS - characters));
                characters += piece.chars().count();
                if characters >= SAMPLE_CHARACTERS {
                    return sample;
                }
            }
        }
    }
    sample
}

fn code(language: Lang) -> &'static str {
    match language {
        Lang::Afr => "af",
        Lang::Aka => "ak",
        Lang::Amh => "am",
        Lang::Ara => "ar",
        Lang::Aze => "az",
        Lang::Bel => "be",
        Lang::Ben => "bn",
        Lang::Bul => "bg",
        Lang::Cat => "ca",
        Lang::Ces => "cs",
        Lang::Cmn => "zh",
        Lang::Cym => "cy",
        Lang::Dan => "da",
        Lang::Deu => "de",
        Lang::Ell => "el",
        Lang::Eng => "en",
        Lang::Epo => "eo",
        Lang::Est => "et",
        Lang::Fin => "fi",
        Lang::Fra => "fr",
        Lang::Guj => "gu",
        Lang::Heb => "he",
        Lang::Hin => "hi",
        Lang::Hrv => "hr",
        Lang::Hun => "hu",
        Lang::Hye => "hy",
        Lang::Ind => "id",
        Lang::Ita => "it",
        Lang::Jav => "jv",
        Lang::Jpn => "ja",
        Lang::Kan => "kn",
        Lang::Kat => "ka",
        Lang::Khm => "km",
        Lang::Kor => "ko",
        Lang::Lat => "la",
        Lang::Lav => "lv",
        Lang::Lit => "lt",
        Lang::Mal => "ml",
        Lang::Mar => "mr",
        Lang::Mkd => "mk",
        Lang::Mya => "my",
        Lang::Nep => "ne",
        Lang::Nld => "nl",
        Lang::Nob => "nb",
        Lang::Ori => "or",
        Lang::Pan => "pa",
        Lang::Pes => "fa",
        Lang::Pol => "pl",
        Lang::Por => "pt",
        Lang::Ron => "ro",
        Lang::Rus => "ru",
        Lang::Sin => "si",
        Lang::Slk => "sk",
        Lang::Slv => "sl",
        Lang::Sna => "sn",
        Lang::Spa => "es",
        Lang::Srp => "sr",
        Lang::Swe => "sv",
        Lang::Tam => "ta",
        Lang::Tel => "te",
        Lang::Tgl => "tl",
        Lang::Tha => "th",
        Lang::Tuk => "tk",
        Lang::Tur => "tr",
        Lang::Ukr => "uk",
        Lang::Urd => "ur",
        Lang::Uzb => "uz",
        Lang::Vie => "vi",
        Lang::Yid => "yi",
        Lang::Zul => "zu",
    }
}

/// The language that whatlang finds in a text, without the checks of [`detect`]; for comparisons.
pub fn whatlang_code(text: &str) -> Option<&'static str> {
    whatlang::detect(text).map(|found| code(found.lang()))
}

/// Whether [`detect`] can return a code.
pub fn is_known(wanted: &str) -> bool {
    Lang::all().iter().any(|language| code(*language) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_languages_by_their_prose() {
        let texts = [
            (
                "en",
                "Memory is managed through a system of ownership with a set of rules that the compiler checks.",
            ),
            ("de", "Der Speicher wird durch ein System von Regeln verwaltet, die der Übersetzer prüft."),
            ("zh", "内存由所有权系统管理，编译器会检查一组规则。"),
            ("ja", "メモリは所有権システムによって管理され、コンパイラが規則を検査します。"),
        ];
        for (code, text) in texts {
            assert_eq!(detect(text).map(|found| found.code), Some(code), "{text}");
        }
    }

    #[test]
    fn code_has_no_language() {
        let text = "这是一个关于所有权的例子，请看下面的代码。\n```rust\nfn the_quick_brown_fox_jumps_over() { return and_the_lazy_dog_sleeps(); }\n```\n`let us say something in English here`\n";
        assert_eq!(detect(text).map(|found| found.code), Some("zh"));
        assert_eq!(detect("```\nfn main() { println!(\"nothing but code in here\") }\n```\n"), None);
    }

    #[test]
    fn latin_names_do_not_make_chinese_english() {
        let text =
            "窗口系统可以为：Wayland (原生)、X Window System (兼容)、GNOME Display Manager (登录管理器)。";
        assert_eq!(detect(text).map(|found| found.code), Some("zh"));
        let text = "The Chinese word for ownership is 所有权, and this sentence is an English one.";
        assert_eq!(detect(text).map(|found| found.code), Some("en"));
    }

    #[test]
    fn languages_that_the_detector_lacks_are_unknown() {
        let texts = [
            (
                "mn",
                "Дэлэлт цамхагийн харуул долоо хоног бүр захиа бичдэг байсан бөгөөд талх авчирдаг завь түүнийг эрэг рүү авч явдаг, гэвч тэнд хэн ч хүлээдэггүй байв.",
            ),
            (
                "kk",
                "Маяк күзетшісі апта сайын хат жазатын, ал оған нан әкелетін қайық хатты жағаға апаратын, бірақ ол жерде оны ешкім күтпейтін.",
            ),
            (
                "mt",
                "Kull ġimgħa l-gwardjan tal-fanal kien jikteb ittra, u d-dgħajsa li kienet iġġib il-ħobż kienet teħodha lejn ix-xatt, fejn ħadd ma kien jistenna.",
            ),
            (
                "ga",
                "Gach seachtain scríobhadh coimeádaí an tí solais litir, agus thugadh an bád a bhí ag tabhairt aráin an litir i dtír, áit nach raibh aon duine ag fanacht léi.",
            ),
        ];
        for (declared, text) in texts {
            assert_eq!(detect(text), None, "{declared}");
            assert_eq!(decide(detect(text), declared, 0.5), declared);
        }
    }

    #[test]
    fn a_declared_language_counts_where_the_detector_knows_nothing_better() {
        let english = Some(Detected { code: "en", score: 0.9 });
        assert_eq!(decide(english, "de", 0.5), "en");
        assert_eq!(decide(english, "de", 0.95), "de");
        assert_eq!(decide(english, "eu", 0.5), "eu");
        assert_eq!(decide(english, "", 0.95), "en");
        assert_eq!(decide(None, "", 0.5), "");
    }

    #[test]
    fn codes_of_manifests_are_of_two_letters() {
        assert!(is_known("en") && is_known("zh") && !is_known("eng") && !is_known("klingon"));
    }
}
