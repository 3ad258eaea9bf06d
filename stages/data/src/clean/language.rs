//! Detects the language of a text: whatlang on its prose, and a check of its answer. Code blocks and inline code are
//! ignored, since program names belong to no language. The score is kept beside the code, so that a filter can be
//! changed later.
//!
//! A language model (a classifier whose labels are languages) takes the place of whatlang if there is one; its answer is
//! not checked.
//!
//! The sample is taken from all parts of a text: a page may begin in one language and go on in another. The score is that
//! of whatlang, which compares languages of one script, times the share of the letters in that script.
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
/// Parts of a text that the characters are taken from.
const SAMPLE_PARTS: usize = 8;
/// Letters that mean as much as a Chinese or Japanese character.
const LETTERS_PER_CHARACTER: usize = 3;
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
    let score = found.confidence() * share_of_script(&sample);
    evidence::supports(code, &sample).then_some(Detected { code, score })
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
    let unspaced = sample.chars().filter(|c| is_cjk(*c) && c.is_alphabetic()).count();
    let latin = sample.chars().filter(char::is_ascii_alphabetic).count();
    if unspaced * LETTERS_PER_CHARACTER > latin {
        sample.replace(|c: char| c.is_ascii_alphabetic(), "")
    } else {
        sample
    }
}

/// The share of the letters that are in the most frequent script.
fn share_of_script(sample: &str) -> f64 {
    let mut counts = [0_usize; 6];
    for c in sample.chars().filter(|c| c.is_alphabetic()) {
        let (script, weight) = match c {
            'a'..='z' | 'A'..='Z' | '\u{aa}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => (0, 1),
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => (1, 1),
            '\u{400}'..='\u{52f}' => (2, 1),
            '\u{ac00}'..='\u{d7a3}' | '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' => (3, 1),
            c if is_cjk(c) => (4, LETTERS_PER_CHARACTER),
            // Texts hardly ever mix the others with each other.
            _ => (5, 1),
        };
        counts[script] += weight;
    }
    let letters: usize = counts.iter().sum();
    counts.into_iter().max().unwrap_or_default() as f64 / letters.max(1) as f64
}

/// A Han character carries as much meaning as a word.
fn letters_min(sample: &str) -> usize {
    if sample.chars().any(is_cjk) { LETTERS_MIN / 4 } else { LETTERS_MIN }
}

/// Prose from all parts of a text. What one part lacks is taken from those after it.
fn sample(text: &str) -> String {
    let part_bytes = text.len().div_ceil(SAMPLE_PARTS).max(1);
    let mut sample = String::new();
    let (mut characters, mut end) = (0, 0);
    for (kind, line) in lines(text) {
        let mut at = end;
        end += line.len();
        if kind != Line::Prose {
            continue;
        }
        for (position, piece) in line.split('`').enumerate() {
            let (mut rest, mut place) = (piece, at);
            at += piece.len() + 1;
            while position % 2 == 0 && !rest.is_empty() {
                let part = place / part_bytes;
                let bytes = (part + 1) * part_bytes - place;
                let bytes = (bytes..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
                let (here, behind) = rest.split_at(bytes);
                let room = SAMPLE_CHARACTERS * (part + 1) / SAMPLE_PARTS - characters;
                let cut = here.char_indices().nth(room).map(|(cut, _)| cut);
                let taken = &here[..cut.unwrap_or(here.len())];
                sample.push_str(taken);
                characters += if cut.is_some() { room } else { taken.chars().count() };
                if cut.is_some() && !sample.ends_with(char::is_whitespace) {
                    sample.push('\n');
                }
                (rest, place) = (behind, place + bytes);
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
    fn a_page_in_two_languages_is_in_that_of_most_of_it() {
        let english =
            "The keeper of the light wrote a letter each week, and the boat took it to the shore.\n";
        let russian = "Смотритель маяка каждую неделю писал письмо, и лодка, которая привозила хлеб, забирала его на \
            берег, где его никто не ждал, потому что деревня давно была покинута, но это был ещё живой маяк.\n";
        let polish =
            "Latarnik pisał list każdego tygodnia, a łódź zabierała go na brzeg, gdzie nikt nie czekał.\n";
        let page = |first: &str, second: &str| format!("{}{}", first.repeat(60), second.repeat(150));
        for (text, code) in [(page(english, russian), "ru"), (page(english, polish), "pl")] {
            assert_eq!(detect(&text).map(|found| found.code), Some(code));
        }
    }

    #[test]
    fn a_script_has_a_share_of_the_letters() {
        for (text, share) in [
            ("a b, c", 1.0),
            ("abc где", 0.5),
            ("日本語 abc", 0.75),
            ("где 12 abc abcdef", 0.75),
            ("12", 0.0),
        ] {
            assert_eq!(share_of_script(text), share, "{text}");
        }
    }

    #[test]
    fn samples_are_from_all_parts_of_a_text() {
        let code = format!("```\n{}```\n", "let a = 1;\n".repeat(3000));
        let prose = |c: &str| format!("{}\n", c.repeat(99)).repeat(100);
        let found = sample(&format!("{}{code}{}", prose("a"), prose("b")));
        let count = |wanted: char| found.chars().filter(|c| *c == wanted).count();
        assert!(count('a') >= 512 && count('b') >= 512, "{} {}", count('a'), count('b'));
        assert!(!found.contains("let") && count('a') + count('b') <= SAMPLE_CHARACTERS);
        assert_eq!(sample("a `b` c\n").as_str(), "a  c\n");
        let long = sample(&"所有权".repeat(5000));
        assert_eq!(long.chars().filter(|c| *c != '\n').count(), SAMPLE_CHARACTERS);
    }

    #[test]
    fn codes_of_manifests_are_of_two_letters() {
        assert!(is_known("en") && is_known("zh") && !is_known("eng") && !is_known("klingon"));
    }
}
