//! Checks whether a text can be in a language, by its letters and most frequent words.

/// Known properties of a language besides its script.
struct Known {
    code: &'static str,
    /// Lower-case letters outside of ASCII (for Cyrillic: besides those common to all languages), including those of
    /// loan words.
    letters: &'static str,
    /// Its most frequent words.
    words: &'static [&'static str],
    /// Minimum share of these words in a text; far below the share in ordinary texts.
    share_min: f64,
}

/// For languages that express grammar by short words.
const ANALYTIC: f64 = 0.05;
/// For languages that express grammar by endings.
const SYNTHETIC: f64 = 0.02;

/// Cyrillic letters that nearly all languages in that script have.
const CYRILLIC: &str = "абвгдежзийклмнопрстуфхцчшщъыьэюяё";

#[rustfmt::skip]
const LANGUAGES: &[Known] = &[
    Known { code: "af", letters: "êëéèôöïîûáóúíý", words: &["die", "en", "van", "in", "is", "het", "nie", "dat", "wat", "te", "om", "vir", "met", "was", "hy", "op", "aan"], share_min: ANALYTIC },
    Known { code: "ak", letters: "ɛɔàáèéìíòóùú", words: &["no", "na", "a", "wɔ", "ne", "sɛ", "mu", "ho", "so", "de", "yɛ", "ma", "ɛno", "nti"], share_min: ANALYTIC },
    Known { code: "az", letters: "əğıöşüç", words: &["və", "bir", "bu", "ilə", "da", "də", "üçün", "olan", "o", "ki", "edilir", "sonra", "kimi", "çox"], share_min: SYNTHETIC },
    Known { code: "ca", letters: "àèéíïòóúüç", words: &["de", "la", "que", "i", "el", "en", "a", "els", "les", "per", "un", "una", "del", "amb", "és", "no", "es"], share_min: ANALYTIC },
    Known { code: "cs", letters: "áčďéěíňóřšťúůýžöüä", words: &["a", "se", "v", "na", "je", "že", "s", "z", "to", "o", "do", "pro", "i", "jako", "ve", "k", "které"], share_min: ANALYTIC },
    Known { code: "cy", letters: "âêîôûŵŷïöäë", words: &["y", "yn", "a", "i", "o", "ar", "yr", "ei", "mae", "am", "wedi", "gan", "ac", "oedd", "ond", "fel", "eu"], share_min: ANALYTIC },
    Known { code: "da", letters: "æøåéöäü", words: &["og", "i", "at", "det", "en", "er", "til", "af", "den", "på", "for", "de", "som", "med", "der", "ikke", "et"], share_min: ANALYTIC },
    Known { code: "de", letters: "äöüßéèàáêç", words: &["der", "die", "und", "in", "das", "den", "von", "zu", "ist", "mit", "nicht", "ein", "eine", "für", "auf", "dem", "des", "sich", "im", "es"], share_min: ANALYTIC },
    Known { code: "en", letters: "éèêëïöüçñáàâôíóæœäß", words: &["the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "with", "be", "on", "by", "this", "are", "or", "not", "from", "you", "i", "was", "at"], share_min: SYNTHETIC },
    Known { code: "eo", letters: "ĉĝĥĵŝŭ", words: &["la", "de", "kaj", "en", "estas", "al", "ne", "por", "kiu", "li", "mi", "ĝi", "oni", "ke", "kun"], share_min: ANALYTIC },
    Known { code: "es", letters: "áéíóúüñçàè", words: &["de", "la", "que", "el", "en", "y", "a", "los", "se", "del", "las", "un", "por", "con", "no", "una", "es", "para", "su"], share_min: ANALYTIC },
    Known { code: "et", letters: "äöõüšž", words: &["ja", "on", "ei", "et", "see", "kui", "oli", "mis", "ka", "oma", "või", "ta", "ning", "selle"], share_min: SYNTHETIC },
    Known { code: "fi", letters: "äöåšžéü", words: &["ja", "on", "ei", "että", "se", "oli", "hän", "joka", "mutta", "myös", "kun", "ovat", "tai", "sen"], share_min: SYNTHETIC },
    Known { code: "fr", letters: "àâæçéèêëîïôœùûüÿáíóöäñ", words: &["de", "la", "le", "et", "les", "des", "en", "un", "du", "une", "que", "est", "pour", "qui", "dans", "par", "au", "sur", "ne", "pas", "il", "ce"], share_min: ANALYTIC },
    Known { code: "hr", letters: "čćđšžǆéü", words: &["i", "u", "je", "na", "se", "da", "su", "za", "od", "s", "a", "koji", "koja", "ne", "o", "kao", "što"], share_min: ANALYTIC },
    Known { code: "hu", letters: "áéíóöőúüűä", words: &["a", "az", "és", "hogy", "nem", "is", "egy", "volt", "meg", "ez", "de", "ha", "vagy", "már", "csak", "mint"], share_min: SYNTHETIC },
    Known { code: "id", letters: "éè", words: &["yang", "dan", "di", "untuk", "dengan", "ini", "dari", "pada", "itu", "tidak", "dalam", "adalah", "akan", "ke", "oleh", "atau", "sebagai"], share_min: ANALYTIC },
    Known { code: "it", letters: "àèéìíîòóùúç", words: &["di", "e", "che", "la", "il", "un", "in", "a", "per", "una", "è", "non", "del", "si", "con", "da", "le", "della", "i", "sono"], share_min: ANALYTIC },
    Known { code: "jv", letters: "éèêåâ", words: &["ing", "lan", "kang", "sing", "iku", "ana", "iki", "karo", "ora", "saka", "dadi", "uga", "utawa", "wis", "menyang", "ning"], share_min: ANALYTIC },
    Known { code: "la", letters: "āēīōūăĕĭŏŭæœëáéíóúâêîôûàèù", words: &["et", "in", "est", "ad", "non", "ut", "cum", "quae", "qui", "ex", "a", "ab", "sed", "quod", "si", "de", "per"], share_min: SYNTHETIC },
    Known { code: "lt", letters: "ąčęėįšųūž", words: &["ir", "yra", "kad", "į", "tai", "su", "iš", "buvo", "bet", "kaip", "ar", "jis", "nuo", "taip", "o"], share_min: SYNTHETIC },
    Known { code: "lv", letters: "āčēģīķļņšūžōŗ", words: &["un", "ir", "ar", "no", "uz", "par", "tas", "ka", "bet", "kas", "lai", "kā", "pēc", "arī", "nav"], share_min: SYNTHETIC },
    Known { code: "nb", letters: "æøåéöäüóòô", words: &["og", "i", "det", "en", "er", "som", "på", "til", "av", "for", "med", "at", "de", "den", "ikke", "et", "har"], share_min: ANALYTIC },
    Known { code: "nl", letters: "éëïóèêöüáçíú", words: &["de", "van", "het", "een", "en", "in", "is", "dat", "op", "te", "met", "voor", "niet", "zijn", "aan", "er", "om", "die"], share_min: ANALYTIC },
    Known { code: "pl", letters: "ąćęłńóśźżéü", words: &["i", "w", "na", "z", "się", "nie", "do", "to", "jest", "że", "o", "jak", "a", "po", "od", "za", "co", "przez"], share_min: ANALYTIC },
    Known { code: "pt", letters: "àáâãçéêíóôõúüèï", words: &["de", "a", "o", "que", "e", "do", "da", "em", "um", "para", "com", "não", "uma", "os", "no", "se", "na", "por", "as"], share_min: ANALYTIC },
    Known { code: "ro", letters: "ăâîșțşţé", words: &["de", "și", "şi", "în", "a", "la", "cu", "pe", "este", "un", "o", "care", "din", "nu", "că", "se", "mai", "sau"], share_min: ANALYTIC },
    Known { code: "sk", letters: "áäčďéíĺľňóôŕšťúýžö", words: &["a", "sa", "v", "na", "je", "že", "s", "z", "to", "o", "do", "pre", "ako", "aj", "vo", "by", "ktoré"], share_min: ANALYTIC },
    Known { code: "sl", letters: "čšžćđéöü", words: &["in", "je", "v", "na", "se", "da", "so", "za", "ki", "z", "s", "pri", "ni", "ter", "tudi", "od", "kot", "po"], share_min: ANALYTIC },
    Known { code: "sn", letters: "", words: &["uye", "kuti", "ne", "asi", "kana", "zvino", "saka", "pa", "iye", "ndiye", "izvi", "vakati", "akati", "iyi"], share_min: SYNTHETIC },
    Known { code: "sv", letters: "åäöéüáàè", words: &["och", "i", "att", "det", "som", "en", "på", "är", "av", "för", "med", "den", "till", "ett", "de", "inte", "har", "om"], share_min: ANALYTIC },
    Known { code: "tk", letters: "äçňöşüýž", words: &["we", "bu", "bir", "bilen", "üçin", "ol", "hem", "da", "de", "şol", "soň", "diýip", "boldy"], share_min: SYNTHETIC },
    Known { code: "tl", letters: "ñáàâéèêíìîóòôúùû", words: &["ang", "ng", "sa", "na", "at", "ay", "mga", "ito", "si", "hindi", "ni", "may", "para", "kung", "siya"], share_min: ANALYTIC },
    Known { code: "tr", letters: "çğıöşüâîû", words: &["ve", "bir", "bu", "da", "de", "için", "ile", "olarak", "daha", "çok", "gibi", "olan", "o", "ne", "kadar", "her"], share_min: SYNTHETIC },
    Known { code: "uz", letters: "ʻʼ", words: &["va", "bu", "bilan", "uchun", "bir", "ham", "bo", "u", "deb", "edi", "esa", "emas", "yoki", "o", "kerak", "har"], share_min: SYNTHETIC },
    Known { code: "vi", letters: "àáảãạăằắẳẵặâầấẩẫậèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵđ", words: &["và", "của", "là", "có", "các", "được", "cho", "trong", "một", "không", "những", "với", "người", "này", "để", "đã"], share_min: ANALYTIC },
    Known { code: "zu", letters: "", words: &["ukuthi", "futhi", "kodwa", "noma", "uma", "kanye", "le", "lo", "wathi", "yini", "khona", "ngoba", "njengoba", "lapho"], share_min: SYNTHETIC },
    Known { code: "be", letters: "іўё", words: &["і", "у", "на", "не", "што", "з", "да", "як", "ў", "а", "па", "гэта", "для", "ён", "яго"], share_min: ANALYTIC },
    Known { code: "bg", letters: "", words: &["на", "и", "в", "да", "се", "за", "от", "е", "с", "не", "по", "са", "като", "че", "това"], share_min: ANALYTIC },
    Known { code: "mk", letters: "јљњџѓќѕѐѝ", words: &["на", "и", "во", "да", "се", "од", "за", "е", "со", "не", "што", "по", "како", "ќе", "го"], share_min: ANALYTIC },
    Known { code: "ru", letters: "", words: &["и", "в", "не", "на", "что", "с", "по", "это", "как", "для", "из", "к", "он", "а", "его", "но", "от", "у", "о"], share_min: ANALYTIC },
    Known { code: "sr", letters: "ђјљњћџčćđšž", words: &["и", "у", "је", "на", "се", "да", "су", "за", "од", "са", "који", "не", "о", "као", "i", "u", "je", "na", "su", "od", "sa", "koji"], share_min: ANALYTIC },
    Known { code: "ar", letters: "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئةىٱٰـ\u{64b}\u{64c}\u{64d}\u{64e}\u{64f}\u{650}\u{651}\u{652}", words: &["في", "من", "على", "إلى", "أن", "التي", "عن", "هذا", "ما", "لا", "مع", "هذه", "الذي", "كان", "و"], share_min: SYNTHETIC },
    Known { code: "fa", letters: "ابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهیءآأؤئةيكۀـ\u{64b}\u{64c}\u{64d}\u{64e}\u{64f}\u{650}\u{651}\u{652}\u{654}", words: &["و", "در", "به", "از", "که", "این", "را", "با", "است", "برای", "آن", "یک", "می", "خود"], share_min: SYNTHETIC },
    Known { code: "ur", letters: "ابپتٹثجچحخدڈذرڑزژسشصضطظعغفقکگلمنںوہھءیےآأؤئةيكهۓۂۀـ\u{64b}\u{64e}\u{64f}\u{650}\u{651}\u{652}\u{654}\u{670}", words: &["کے", "میں", "کی", "ہے", "اور", "سے", "کا", "کو", "نے", "ہیں", "پر", "یہ", "کہ", "بھی"], share_min: SYNTHETIC },
    Known { code: "uk", letters: "іїєґ", words: &["і", "в", "не", "на", "що", "з", "та", "у", "до", "як", "за", "від", "це", "для", "й", "а", "про"], share_min: ANALYTIC },
];

/// Maximum share of letters from other alphabets.
const FOREIGN_LETTERS_MAX: f64 = 0.02;
/// Minimum number of words with such letters; fewer may be names.
const FOREIGN_WORDS_MIN: usize = 2;
/// Minimum number of words for a test of frequencies.
const WORDS_MIN: usize = 20;

/// Whether a letter belongs to one of the alphabets listed here: Latin, Cyrillic, Arabic.
fn is_of_alphabet(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{52f}' | '\u{600}'..='\u{77f}' | '\u{1e00}'..='\u{1eff}')
        && !matches!(c, '\u{300}'..='\u{3ff}')
}

/// Whether a text can be in a language; true for languages that are not listed here.
pub(super) fn supports(code: &str, text: &str) -> bool {
    let Some(known) = LANGUAGES.iter().find(|known| known.code == code) else { return true };
    let text = text.to_lowercase();
    let (mut letters, mut foreign, mut words_foreign) = (0usize, 0usize, 0usize);
    let (mut words, mut frequent) = (0usize, 0usize);
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        words += 1;
        frequent += usize::from(known.words.contains(&word));
        // ASCII letters occur in Latin text of every language, and in names within other text.
        let own = |c: char| c.is_ascii() || known.letters.contains(c) || CYRILLIC.contains(c);
        let of_word = word.chars().filter(|&c| is_of_alphabet(c) && !own(c)).count();
        letters += word.chars().filter(|&c| is_of_alphabet(c)).count();
        foreign += of_word;
        words_foreign += usize::from(of_word > 0);
    }
    if words_foreign >= FOREIGN_WORDS_MIN && foreign as f64 > FOREIGN_LETTERS_MAX * letters as f64 {
        return false;
    }
    words < WORDS_MIN || frequent as f64 >= known.share_min * words as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_tell_alphabets_apart() {
        assert!(supports("ru", "Смотритель маяка каждую неделю писал письмо, и лодка забирала его."));
        assert!(!supports("ru", "Дэлэлт цамхагийн харуул долоо хоног бүр захиа бичдэг байсан бөгөөд."));
        assert!(supports(
            "de",
            "Der Wärter schrieb jede Woche, und das Boot aus Łódź brachte es ans Ufer, wo niemand war."
        ));
        assert!(supports("am", "ይህ በማንኛውም ቋንቋ ሊሆን ይችላል"));
    }

    #[test]
    fn frequent_words_tell_languages_apart() {
        let swahili = "Kila wiki mlinzi wa mnara aliandika barua, na mashua iliyoleta mkate ilichukua barua hiyo hadi \
            ufukoni ambako hakuna mtu aliyekuwa akingoja kwa sababu kijiji kilikuwa kimeachwa zamani";
        for language in ["id", "jv", "sn", "zu", "tl", "fi"] {
            assert!(!supports(language, swahili), "{language}");
        }
        assert!(supports("jv", "terlalu sedikit kata"));
    }
}
