//! Splits text into pieces; byte pairs are merged only within a piece. Nothing here depends on tokens, counts or
//! files.
//!
//! Each pattern is a regular expression in tokenizer.json. A hand-written scanner produces the same pieces ten times
//! faster (the expression takes four fifths of the time of an encoder that uses it).

mod bits;
mod cased;
mod ends;
mod unicode;
mod words;

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ends::Grammar;

/// How text is split into pieces; tokens never cross their boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// GPT-2: contractions, words, numbers and symbols, each with its leading space; runs of white space.
    Gpt2,
    /// Llama 3: numbers in groups of three digits, words with a leading symbol, line ends separate from indentation.
    #[default]
    Llama3,
    /// Qwen 2: as Llama 3, with each digit on its own. Its models also compose characters (`normalizer: nfc`).
    Qwen2,
    /// GPT-3.5 and GPT-4 (`cl100k_base`): the same expression as Llama 3.
    Cl100k,
    /// GPT-4o (`o200k_base`): as GPT-4, and words end before a capital letter in their middle; marks belong to words.
    O200k,
    /// Words and runs of other characters, without white space. For WordPiece.
    Whitespace,
    /// BERT: words and single punctuation marks, without white space. For WordPiece.
    Bert,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Pattern {
    /// The patterns whose pieces cover the text without gaps.
    pub const ALL: [Pattern; 5] =
        [Pattern::Gpt2, Pattern::Llama3, Pattern::Qwen2, Pattern::Cl100k, Pattern::O200k];

    /// The regular expression in Oniguruma's syntax, as in tokenizer.json; none if the pieces leave out white space.
    pub fn regex(self) -> Option<&'static str> {
        match self {
            Pattern::Gpt2 => Some(GPT2),
            Pattern::Llama3 | Pattern::Cl100k => Some(LLAMA3),
            Pattern::Qwen2 => Some(QWEN2),
            Pattern::O200k => Some(O200K),
            Pattern::Whitespace | Pattern::Bert => None,
        }
    }

    /// The pattern with this regular expression, if it is known.
    pub fn from_regex(regex: &str) -> Option<Pattern> {
        Pattern::ALL.into_iter().find(|pattern| pattern.regex() == Some(regex))
    }

    /// The first up to `digits` characters of Unicode's category N in a text, as a range of bytes.
    pub(crate) fn number_in(text: &str, digits: usize) -> Option<(usize, usize)> {
        let scan = Scan { text, classes: &CLASSES };
        let mut at = 0;
        while let Some((class, next)) = scan.class(at) {
            if class == Number {
                return Some((at, scan.number(next, digits.saturating_sub(1))));
            }
            at = next;
        }
        None
    }

    /// Splits `text`. The pieces cover it without gaps, except for white space that some patterns leave out, and none is
    /// empty.
    pub fn pieces(self, text: &str) -> Pieces<'_> {
        Pieces { pattern: self, scan: Scan { text, classes: &CLASSES }, position: 0, window: 0, ends: 0 }
    }
}

/// The pieces of a text, in order.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    pattern: Pattern,
    scan: Scan<'a>,
    position: usize,
    /// Where the last window began.
    window: usize,
    /// The ends in it that are to come, as distances from its beginning.
    ends: u64,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let (start, end) = self.next_range()?;
        Some(&self.scan.text[start..end])
    }
}

impl Pieces<'_> {
    /// The next piece as a range of bytes.
    #[inline(always)]
    pub(crate) fn next_range(&mut self) -> Option<(usize, usize)> {
        if self.ends == 0 {
            return self.next_window();
        }
        let start = self.position;
        self.position = self.window + self.ends.trailing_zeros() as usize;
        self.ends &= self.ends - 1;
        Some((start, self.position))
    }

    /// Finds the ends in the next window. Returns the first piece.
    fn next_window(&mut self) -> Option<(usize, usize)> {
        let mut start = self.position;
        if start >= self.scan.text.len() {
            return None;
        }
        self.window = start;
        self.ends = match self.pattern {
            Pattern::Gpt2 => self.scan.ends(start, Grammar::Gpt2),
            Pattern::Llama3 | Pattern::Cl100k => self.scan.ends(start, Grammar::Llama3(3)),
            Pattern::Qwen2 => self.scan.ends(start, Grammar::Llama3(1)),
            Pattern::O200k | Pattern::Whitespace | Pattern::Bert => 0,
        };
        if self.ends != 0 {
            return self.next_range();
        }
        // A longer piece, or a character that windows do not know.
        self.position = match self.pattern {
            Pattern::Gpt2 => self.scan.gpt2(start),
            Pattern::Llama3 | Pattern::Cl100k => self.scan.llama3(start, 3),
            Pattern::Qwen2 => self.scan.llama3(start, 1),
            Pattern::O200k => self.scan.o200k(start),
            Pattern::Whitespace | Pattern::Bert => {
                start += words::white_space(&self.scan.text[start..]);
                let rest = &self.scan.text[start..];
                if rest.is_empty() {
                    self.position = start;
                    return None;
                }
                start + if self.pattern == Pattern::Bert { words::bert(rest) } else { words::word(rest) }
            }
        };
        Some((start, self.position))
    }
}

/// The character classes of the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Letter,
    Number,
    /// White space other than carriage return and line feed.
    Space,
    /// Carriage return and line feed.
    LineEnd,
    /// Everything else: punctuation, symbols, marks, control characters, unassigned.
    Symbol,
}

use Class::{Letter, LineEnd, Number, Space, Symbol};

/// A text and the classes of its characters. Positions are bytes at character boundaries.
#[derive(Debug, Clone)]
struct Scan<'a> {
    text: &'a str,
    classes: &'static Classes,
}

impl Scan<'_> {
    /// The class of the character at `at`, and the start of the next one; none at the end.
    #[inline(always)]
    fn class(&self, at: usize) -> Option<(Class, usize)> {
        let bytes = self.text.as_bytes();
        let first = *bytes.get(at)?;
        if first < 0x80 {
            return Some((self.classes.ascii[first as usize], at + 1));
        }
        // The text is UTF-8 and `at` a character boundary, so the bytes exist and need no checks.
        let next = |bits: u32, distance: usize| {
            bits << 6 | u32::from(bytes.get(at + distance).copied().unwrap_or(0) & 0x3f)
        };
        let first = u32::from(first);
        let (code, length) = match first {
            ..0xe0 => (next(first & 0x1f, 1), 2),
            0xe0..0xf0 => (next(next(first & 0xf, 1), 2), 3),
            _ => (next(next(next(first & 7, 1), 2), 3), 4),
        };
        Some((self.classes.of(code), at + length))
    }

    /// End of the run of characters for which `belongs` holds.
    #[inline(always)]
    fn run(&self, mut at: usize, belongs: impl Fn(Class) -> bool) -> usize {
        while let Some((class, next)) = self.class(at) {
            if !belongs(class) {
                break;
            }
            at = next;
        }
        at
    }

    /// End of the piece of [`LLAMA3`] that starts at `start`; numbers have up to `digits` digits.
    #[inline(always)]
    fn llama3(&self, start: usize, digits: usize) -> usize {
        let Some((first, next)) = self.class(start) else { return start };
        if first == Letter {
            return self.run(next, |class| class == Letter);
        }
        if first == Symbol
            && let Some(end) = self.contraction(start, Case::Insensitive)
        {
            return end;
        }
        let second = self.class(next);
        if matches!(first, Space | Symbol)
            && let Some((Letter, after)) = second
        {
            return self.run(after, |class| class == Letter);
        }
        let symbols = match (first, second) {
            (Number, _) => return self.number(next, digits - 1),
            (Symbol, _) => Some(next),
            (Space, Some((Symbol, after))) if self.text.as_bytes()[start] == b' ' => Some(after),
            _ => None,
        };
        match symbols {
            Some(next) => self.run(self.run(next, |class| class == Symbol), |class| class == LineEnd),
            None => self.white_space(start, LineEnds::Apart),
        }
    }

    /// End of the piece of [`GPT2`] that starts at `start`.
    #[inline(always)]
    fn gpt2(&self, start: usize) -> usize {
        if let Some(end) = self.contraction(start, Case::Sensitive) {
            return end;
        }
        let blank = usize::from(self.text.as_bytes()[start] == b' ');
        match self.class(start + blank) {
            Some((word @ (Letter | Number | Symbol), next)) => self.run(next, |class| class == word),
            _ => self.white_space(start, LineEnds::Within),
        }
    }

    /// Up to `digits` more characters of a number.
    #[inline(always)]
    fn number(&self, mut at: usize, digits: usize) -> usize {
        for _ in 0..digits {
            match self.class(at) {
                Some((Number, next)) => at = next,
                _ => break,
            }
        }
        at
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`: a run of white space up to its last line end; otherwise all but its last
    /// character, which belongs to the next word; otherwise that character.
    fn white_space(&self, start: usize, line_ends: LineEnds) -> usize {
        let (mut at, mut last, mut line_end) = (start, start, None);
        while let Some((class @ (Space | LineEnd), next)) = self.class(at) {
            (last, at) = (at, next);
            if class == LineEnd {
                line_end = Some(next);
            }
        }
        match line_end {
            Some(end) if line_ends == LineEnds::Apart => end,
            _ if at == self.text.len() || last == start => at,
            _ => last,
        }
    }

    /// End of an English contraction such as `'ve`. If case is ignored, `ſ` (U+017F) is an `s`.
    #[inline(always)]
    fn contraction(&self, start: usize, case: Case) -> Option<usize> {
        let tail = &self.text.as_bytes()[start..];
        if tail.first() != Some(&b'\'') {
            return None;
        }
        let letter = |at: usize| {
            tail.get(at).map(|byte| match case {
                Case::Sensitive => *byte,
                Case::Insensitive => byte.to_ascii_lowercase(),
            })
        };
        let length = match (letter(1)?, letter(2)) {
            (b's' | b't' | b'm' | b'd', _) => 2,
            (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => 3,
            _ if case == Case::Insensitive && tail[1..].starts_with("ſ".as_bytes()) => 3,
            _ => return None,
        };
        Some(start + length)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Sensitive,
    Insensitive,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    /// A run of white space ends after its last line end.
    Apart,
    /// Line ends are like other white space.
    Within,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::build);

/// The class of each code point: a table for ASCII, and blocks of 256 code points, stored once if equal.
#[derive(Debug)]
struct Classes {
    ascii: [Class; 128],
    block_of: Vec<u8>,
    blocks: Vec<[Class; 256]>,
}

impl Classes {
    fn build() -> Self {
        let mut all = vec![Symbol; 0x11_0000];
        let tables = [(unicode::LETTERS, Letter), (unicode::NUMBERS, Number), (unicode::WHITE_SPACE, Space)];
        for (ranges, class) in tables {
            for &(first, last) in ranges {
                all[first as usize..=last as usize].fill(class);
            }
        }
        all[b'\r' as usize] = LineEnd;
        all[b'\n' as usize] = LineEnd;

        let mut blocks: Vec<[Class; 256]> = Vec::new();
        let mut block_of = Vec::new();
        for chunk in all.as_chunks::<256>().0 {
            let known = blocks.iter().position(|block| block == chunk).unwrap_or_else(|| {
                blocks.push(*chunk);
                blocks.len() - 1
            });
            block_of.push(u8::try_from(known).expect("invariant: Unicode has under 256 distinct blocks"));
        }
        let ascii = std::array::from_fn(|code| all[code]);
        Self { ascii, block_of, blocks }
    }

    #[inline(always)]
    fn of(&self, code: u32) -> Class {
        self.blocks[self.block_of[code as usize >> 8] as usize][code as usize & 255]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::pre_tokenizers::whitespace::Whitespace;
    use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    fn split_by_regex(pattern: Pattern, text: &str) -> Vec<String> {
        let regex = pattern.regex().unwrap();
        pre_tokenized(&Split::new(SplitPattern::Regex(regex.into()), Isolated, false).unwrap(), text)
    }

    fn pre_tokenized(pre_tokenizer: &impl PreTokenizer, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces).unwrap();
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(piece, ..)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect()
    }

    fn assert_words_alike(text: &str) {
        let ours = |pattern: Pattern| pattern.pieces(text).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(ours(Pattern::Whitespace), pre_tokenized(&Whitespace, text), "{text:?}");
        assert_eq!(ours(Pattern::Bert), pre_tokenized(&BertPreTokenizer, text), "{text:?}");
    }

    fn assert_splits_alike(text: &str) {
        assert_words_alike(text);
        for pattern in Pattern::ALL {
            let ours: Vec<String> = pattern.pieces(text).map(str::to_owned).collect();
            assert_eq!(ours, split_by_regex(pattern, text), "{pattern:?} on {text:?}");
        }
    }

    /// Characters at the boundaries between the alternatives of the patterns.
    const BORDERS: &[&str] = &[
        "a",
        "é",
        "ſ",
        "İ",
        "世",
        "界",
        "ا",
        "ﬆ",
        "'",
        "’",
        "s",
        "S",
        "t",
        "re",
        "VE",
        "ll",
        "lL",
        "m",
        "1",
        "२",
        "Ⅷ",
        "½",
        " ",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{85}",
        "\t",
        "\u{b}",
        "\r",
        "\n",
        "\r\n",
        "!",
        "{",
        "_",
        "🚀",
        "\u{200d}",
        "\u{301}",
        "/",
        "A",
        "ǅ",
        "ʰ",
        "\u{903}",
        "\u{0}",
        "\u{7f}",
        "\u{e000}",
        "\u{10ffff}",
        "\u{200b}",
        "\u{feff}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn splits_as_the_regex_does(parts in prop::collection::vec(prop::sample::select(BORDERS), 0..12)) {
            assert_splits_alike(&parts.concat());
        }

        #[test]
        fn splits_any_text_as_the_regex_does(text: String) {
            assert_splits_alike(&text);
        }
    }

    #[test]
    fn every_code_point_is_classed_as_by_the_regex() {
        // Each code point between letters, digits and spaces, 500 per text.
        for codes in (0..0x11_0000_u32).collect::<Vec<_>>().chunks(500) {
            let text: String = codes
                .iter()
                .filter_map(|&code| char::from_u32(code))
                .flat_map(|c| ['a', c, '1', c, ' ', c])
                .collect();
            for pattern in [Pattern::Llama3, Pattern::O200k] {
                assert_eq!(pattern.pieces(&text).collect::<Vec<_>>(), split_by_regex(pattern, &text));
            }
            assert_words_alike(&text);
        }
    }

    #[test]
    fn contractions_ignore_case_but_in_gpt2() {
        let pieces = |pattern: Pattern, text| pattern.pieces(text).collect::<Vec<_>>().join("|");
        assert_eq!(pieces(Pattern::Llama3, "WE'VE it'ſ"), "WE|'VE| it|'ſ");
        assert_eq!(pieces(Pattern::Gpt2, "WE'VE it's"), "WE|'|VE| it|'s");
        assert_eq!(pieces(Pattern::Llama3, "12345 x"), "123|45| x");
        assert_eq!(pieces(Pattern::Qwen2, "123"), "1|2|3");
    }

    #[test]
    fn long_runs_take_linear_time() {
        for run in [" ", "\n", "a", "A", "1", "!", "世", " \n", "'", "\u{301}", "aA", "\u{301}A"] {
            let text = run.repeat(1 << 20);
            for pattern in [Pattern::Llama3, Pattern::O200k] {
                assert_eq!(pattern.pieces(&text).map(str::len).sum::<usize>(), text.len());
            }
        }
    }
}
