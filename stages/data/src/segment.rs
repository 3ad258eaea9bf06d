//! Where words and sentences begin and end, for each language. Rules, shingles and word counts all use this.
//!
//! Chinese, Japanese, Thai and others write no spaces between words: there the unit is the character, and
//! runs of Latin letters and digits are one unit each. Elsewhere words are what white space separates,
//! punctuation included, as in dolma and NeMo Curator (splitting punctuation off halves the share of "words
//! with a letter").

/// How a language is cut into units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segmenter {
    /// White space separates words.
    Words,
    /// Each character of the script is a unit.
    Characters,
}

impl Segmenter {
    /// The segmenter of a language, by its ISO 639-1 code; an unknown one is written in words.
    pub fn of(language: &str) -> Self {
        match language {
            "zh" | "ja" | "yue" | "th" | "lo" | "km" | "my" | "bo" | "dz" => Self::Characters,
            _ => Self::Words,
        }
    }

    /// Units in order. Of [`Segmenter::Characters`], punctuation is none.
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
                let start = self.rest.find(|c: char| !c.is_whitespace())?;
                let word = &self.rest[start..];
                (start, start + word.find(char::is_whitespace).unwrap_or(word.len()))
            }
            Segmenter::Characters => {
                let start = self.rest.find(char::is_alphanumeric)?;
                let unit = &self.rest[start..];
                let first = unit.chars().next()?;
                let length = if is_unspaced(first) {
                    // Vowel signs and tone marks belong to the letter before them.
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

/// Counts sentences: `. ! ?` at the end of a word, `。！？` anywhere, and the end marks of Arabic and Hindi.
pub fn sentences(text: &str) -> usize {
    let mut count = 0;
    let mut chars = text.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        let ends = match c {
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
    count
}

/// Whether a line ends like a sentence, quotes and brackets behind the mark allowed.
pub fn ends_sentence(line: &str) -> bool {
    let line = line.trim_end().trim_end_matches(closes);
    line.ends_with(['.', '!', '?', '…', ':', ';', '：', '；'])
        || line.chars().next_back().is_some_and(is_full_stop)
}

/// Whether a character belongs to Chinese or Japanese writing: Han, Kana, their punctuation and full-width forms.
/// Korean puts spaces between words.
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

/// A full stop that ends a sentence wherever it stands.
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
fn is_unspaced(c: char) -> bool {
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

/// Text without its code: fenced blocks are left out, backticks and the signs of headings taken off.
///
/// What is scored (language, quality rules) is what people wrote, not what compilers read.
pub fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (kind, line) in lines(text) {
        if kind == Line::Prose {
            let line = line.trim_start_matches('#');
            out.extend(line.chars().filter(|&c| c != '`'));
        }
    }
    out
}

/// What a line of a document's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Written for people.
    Prose,
    /// Within a fenced block.
    Code,
    /// The mark at either end of a fenced block.
    Fence,
}

/// Lines with their ends, each with what it is. A fence ends at one of at least its length.
pub fn lines(text: &str) -> impl Iterator<Item = (Line, &str)> {
    let mut open: Option<usize> = None;
    text.split_inclusive('\n').map(move |line| {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match open {
            Some(length) if ticks >= length && line[ticks..].trim().is_empty() => {
                open = None;
                (Line::Fence, line)
            }
            Some(_) => (Line::Code, line),
            None if ticks >= 3 && !line[ticks..].contains('`') => {
                open = Some(ticks);
                (Line::Fence, line)
            }
            None => (Line::Prose, line),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(ends_sentence("他说：“好。”") && !ends_sentence("no end"));
    }

    #[test]
    fn prose_leaves_code_out() {
        assert_eq!(prose("# Use `x`\n```rust\nlet x;\n````\nend\n"), " Use x\nend\n");
        assert_eq!(prose("````\n```\nx\n````\ny"), "y");
    }
}
