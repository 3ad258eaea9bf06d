//! Boundaries of words, sentences and code blocks, for each language. Rules, shingles and word counts all use this.
//!
//! Chinese, Japanese, Thai and others write no spaces between words: there each character is a unit, and each run of
//! Latin letters and digits is one unit. Elsewhere words are separated by white space and include punctuation, as in
//! dolma and NeMo Curator (splitting off punctuation halves the share of "words with a letter").

/// How a language is divided into units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segmenter {
    /// Words are separated by white space.
    Words,
    /// Each character of the script is a unit.
    Characters,
}

impl Segmenter {
    /// The segmenter of a language tag: `zh`, `zh-CN`, `zho` and `ja_JP` use characters. Unknown languages count as
    /// written in words; see [`Segmenter::of_text`].
    pub fn of(language: &str) -> Self {
        Self::of_known(language).unwrap_or(Self::Words)
    }

    /// The segmenter of a text: that of its language, or, if that is not given, the one that suits its characters.
    pub fn of_text(language: &str, text: &str) -> Self {
        Self::of_known(language).unwrap_or_else(|| Self::of_script(text))
    }

    /// `None` if the tag names no language.
    fn of_known(language: &str) -> Option<Self> {
        const UNSPACED: [&str; 28] = [
            "zh", "zho", "chi", "cmn", "yue", "wuu", "nan", "hak", "gan", "hsn", "cdo", "lzh", "ja", "jpn",
            "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bur", "bo", "bod", "tib", "dz", "dzo",
        ];
        let mut subtags = language.trim().split(['-', '_']);
        let primary = subtags.next().unwrap_or_default().to_ascii_lowercase();
        match primary.as_str() {
            "" | "und" | "mul" | "mis" | "zxx" | "unknown" => None,
            // Pinyin and Romaji have spaces.
            _ if subtags.any(|subtag| subtag.eq_ignore_ascii_case("latn")) => Some(Self::Words),
            primary if UNSPACED.contains(&primary) => Some(Self::Characters),
            _ => Some(Self::Words),
        }
    }

    /// A character of a script without spaces counts as much as a few letters of another.
    fn of_script(text: &str) -> Self {
        const SAMPLE_LETTERS: usize = 4096;
        const LETTERS_PER_CHARACTER: usize = 3;
        let (mut unspaced, mut others) = (0, 0);
        for c in text.chars().filter(|c| c.is_alphabetic()).take(SAMPLE_LETTERS) {
            if is_unspaced(c) { unspaced += 1 } else { others += 1 }
        }
        if unspaced * LETTERS_PER_CHARACTER > others { Self::Characters } else { Self::Words }
    }

    /// Units in order. Punctuation is part of words, and not a unit of [`Segmenter::Characters`].
    pub fn units(self, text: &str) -> Units<'_> {
        Units { segmenter: self, rest: text }
    }
}

/// Iterates over units; see [`Segmenter::units`].
#[derive(Debug, Clone)]
pub struct Units<'t> {
    segmenter: Segmenter,
    rest: &'t str,
}

impl<'t> Iterator for Units<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let (start, end) = match self.segmenter {
            Segmenter::Words => {
                let start = skip(self.rest, 0, true);
                if start == self.rest.len() {
                    return None;
                }
                (start, skip(self.rest, start, false))
            }
            Segmenter::Characters => {
                let start = self.rest.find(char::is_alphanumeric)?;
                let unit = &self.rest[start..];
                let first = unit.chars().next()?;
                let length = if is_unspaced(first) {
                    // Vowel signs and tone marks belong to the preceding letter.
                    let marks = |c: char| !is_mark(c);
                    unit[first.len_utf8()..]
                        .find(marks)
                        .map_or(unit.len(), |length| first.len_utf8() + length)
                } else {
                    unit.find(|c: char| !c.is_alphanumeric() || is_unspaced(c)).unwrap_or(unit.len())
                };
                (start, start + length)
            }
        };
        let unit = &self.rest[start..end];
        self.rest = &self.rest[end..];
        Some(unit)
    }
}

/// The place after the characters from `at` on that are white space, or are not.
fn skip(text: &str, mut at: usize, white_space: bool) -> usize {
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let (is_space, length) = if byte.is_ascii() {
            (matches!(byte, b' ' | b'\t'..=b'\r'), 1)
        } else {
            text[at..].chars().next().map_or((true, 1), |c| (c.is_whitespace(), c.len_utf8()))
        };
        if is_space != white_space {
            break;
        }
        at += length;
    }
    at
}

/// Counts sentences: `. ! ?` at the end of a word, `。！？` anywhere, and the terminal marks of Arabic and Hindi. Each line
/// is divided on its own, as in the code of C4, so a line with a word is at least one sentence.
pub fn sentences(text: &str) -> usize {
    let mut count = 0;
    let mut chars = text.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        let ends = match c {
            '\n' => true,
            '.' | '!' | '?' | '…' => chars.peek().is_none_or(|next| next.is_whitespace() || closes(*next)),
            _ => is_full_stop(c),
        };
        if ends && inside {
            count += 1;
            inside = false;
        } else if c.is_alphanumeric() {
            inside = true;
        }
    }
    count + usize::from(inside)
}

/// The sentences that [`sentences`] counts, as ranges of bytes. Closing quotation marks and brackets belong to the sentence
/// before them; white space, and lines without a letter or digit, to none.
pub fn sentence_ranges(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut chars = text.char_indices().peekable();
    let (mut start, mut inside) = (None, false);
    while let Some((at, c)) = chars.next() {
        if !c.is_whitespace() {
            start.get_or_insert(at);
        }
        let ends = match c {
            '\n' => true,
            '.' | '!' | '?' | '…' => {
                chars.peek().is_none_or(|(_, next)| next.is_whitespace() || closes(*next))
            }
            _ => is_full_stop(c),
        };
        if ends && inside {
            while c != '\n' && chars.next_if(|(_, next)| closes(*next)).is_some() {}
            let next = chars.peek().map_or(text.len(), |(next, _)| *next);
            ranges.push(start.unwrap_or(at)..if c == '\n' { at } else { next });
            (start, inside) = (None, false);
        } else if c == '\n' {
            start = None;
        } else if c.is_alphanumeric() {
            inside = true;
        }
    }
    if let Some(start) = start.filter(|_| inside) {
        ranges.push(start..text.len());
    }
    for range in &mut ranges {
        range.end = range.start + text[range.clone()].trim_end().len();
    }
    ranges
}

/// Whether a character belongs to Chinese or Japanese writing: Han, Kana, their punctuation and full-width forms.
/// Korean uses spaces between words.
pub fn is_cjk(c: char) -> bool {
    const RANGES: [(char, char); 12] = [
        ('\u{2E80}', '\u{2FDF}'),
        ('\u{3000}', '\u{30FF}'),
        ('\u{3100}', '\u{312F}'),
        ('\u{31A0}', '\u{31FF}'),
        ('\u{3400}', '\u{4DBF}'),
        ('\u{4E00}', '\u{9FFF}'),
        ('\u{F900}', '\u{FAFF}'),
        ('\u{FE30}', '\u{FE4F}'),
        ('\u{FF01}', '\u{FF60}'),
        ('\u{FF66}', '\u{FF9F}'),
        ('\u{20000}', '\u{2FFFF}'),
        ('\u{30000}', '\u{3FFFF}'),
    ];
    c >= RANGES[0].0 && is_in(c, &RANGES)
}

fn is_in(c: char, ranges: &[(char, char)]) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// A full stop that ends a sentence in any position.
fn is_full_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡' | '．' | '؟' | '۔' | '।' | '॥' | '။' | '។')
}

fn closes(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '》' | '*' | '_' | '`'
    )
}

/// Scripts without spaces between words: CJK, Thai, Lao, Tibetan, Burmese, Khmer.
pub fn is_unspaced(c: char) -> bool {
    is_cjk(c) || matches!(c, '\u{0E00}'..='\u{0FFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}')
}

/// Vowel signs and tone marks of Thai, Lao, Burmese and Khmer, and the voicing marks of Kana.
fn is_mark(c: char) -> bool {
    const RANGES: [(char, char); 9] = [
        ('\u{0E31}', '\u{0E31}'),
        ('\u{0E34}', '\u{0E3A}'),
        ('\u{0E47}', '\u{0E4E}'),
        ('\u{0EB1}', '\u{0EB1}'),
        ('\u{0EB4}', '\u{0EBC}'),
        ('\u{0EC8}', '\u{0ECE}'),
        ('\u{102B}', '\u{103E}'),
        ('\u{17B4}', '\u{17D3}'),
        ('\u{3099}', '\u{309A}'),
    ];
    is_in(c, &RANGES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units(language: &str, text: &'static str) -> Vec<&'static str> {
        Segmenter::of(language).units(text).collect()
    }

    #[test]
    fn white_space_separates_words_and_punctuation_stays() {
        assert_eq!(units("en", " It's  here,\nsee (x). "), ["It's", "here,", "see", "(x)."]);
    }

    #[test]
    fn chinese_is_cut_into_characters_and_latin_words() {
        assert_eq!(units("zh", "用 Rust 1.95 写程序。"), ["用", "Rust", "1", "95", "写", "程", "序"]);
    }

    #[test]
    fn thai_marks_stay_with_their_letters() {
        assert_eq!(units("th", "ที่นี่"), ["ที่", "นี่"]);
    }

    #[test]
    fn sentences_end_in_every_script() {
        assert_eq!(sentences("One. Two (really!) See std::fmt, v1.95. \"Three?\""), 4);
        assert_eq!(sentences("第一句。第二句！第三句？"), 3);
        assert_eq!(sentences("... 。。"), 0);
        assert_eq!(sentences("A heading\n\nOne. Two\n- three\n---\n"), 4);
    }

    #[test]
    fn sentences_are_where_they_are_counted() {
        let found = |text: &'static str| -> Vec<&str> {
            sentence_ranges(text).into_iter().map(|range| &text[range]).collect()
        };
        assert_eq!(
            found("One. Two (really!) See v1.95.  \"Three?\" \n---\n- four \n五。「六！」七"),
            ["One.", "Two (really!)", "See v1.95.", "\"Three?\"", "- four", "五。", "「六！」", "七"]
        );
        assert_eq!(found("... 。。"), [""; 0]);
    }

    proptest! {
        #[test]
        fn as_many_sentences_are_found_as_counted(text in "[a.!?…。)\" \n]{0,30}") {
            let ranges = sentence_ranges(&text);
            prop_assert_eq!(ranges.len(), sentences(&text));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert!(ranges.iter().all(|range| text[range.clone()].trim() == &text[range.clone()]));
        }
    }

    #[test]
    fn language_tags_count_by_their_primary_subtag() {
        for tag in ["zh", "zh-CN", "ZH_tw", "zho", "cmn-Hans-CN", "jpn", "th-TH", "my"] {
            assert_eq!(Segmenter::of(tag), Segmenter::Characters, "{tag}");
        }
        for tag in ["en", "ko-KR", "zh-Latn-pinyin", "deu", "", "und", "zhx"] {
            assert_eq!(Segmenter::of(tag), Segmenter::Words, "{tag}");
        }
    }

    #[test]
    fn a_text_without_a_language_is_cut_by_its_script() {
        for language in ["", "und", "unknown"] {
            assert_eq!(
                Segmenter::of_text(language, "灯塔看守人每周写一封信 about Rust。"),
                Segmenter::Characters
            );
            assert_eq!(Segmenter::of_text(language, "The word 所有权 is Chinese."), Segmenter::Words);
        }
        assert_eq!(Segmenter::of_text("en", "灯塔"), Segmenter::Words);
        assert_eq!(Segmenter::of_text("", ""), Segmenter::Words);
    }
}
