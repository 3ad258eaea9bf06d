//! Restores the intended text: line ends, mojibake, control characters and Unicode form. Layout is kept: indentation,
//! tabs, runs of spaces and blank lines, as well as quotes, dashes and full-width characters. Code blocks and inline
//! code are not changed.

use super::fences::{Line, Piece, lines, pieces};
use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};
use plsfix::{TextFixerConfig, fix_text};
use std::borrow::Cow;

/// The fixes of plsfix that are used. Its defaults (those of ftfy) change 46 % of clean pages: they straighten quotes
/// and convert full-width punctuation to ASCII.
const FIXES: TextFixerConfig = TextFixerConfig {
    // Version 0.1.8 ignores it, see `fixed`.
    unescape_html: Some(false),
    remove_terminal_escapes: false,
    fix_encoding: true,
    restore_byte_a0: true,
    replace_lossy_sequences: true,
    decode_inconsistent_utf8: true,
    fix_c1_controls: true,
    fix_latin_ligatures: false,
    fix_character_width: false,
    uncurl_quotes: false,
    fix_line_breaks: false,
    remove_control_chars: false,
    normalization: None,
    max_decode_length: 1_000_000,
};

/// Maximum length of a line that is searched for mojibake, since the search can take quadratic time.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Repairs a document's text. Repairing a repaired text does not change it, except for mojibake of mojibake.
///
/// Carriage returns become line breaks. In prose, so do vertical tabs, form feeds and Unicode's line and paragraph
/// separators; encoding errors are fixed, control characters are removed without joining the words around them, unusual
/// spaces are replaced one by one with ordinary ones, and characters are composed (NFC, never NFKC). Blank lines at
/// the beginning and end of the text are removed.
pub fn repair(text: &str) -> String {
    let (text, replaced) = with_line_feeds(text);
    let mut replaced = replaced.into_iter().peekable();
    let mut out = String::with_capacity(text.len() + 1);
    let mut started = false;
    let mut end = 0;
    let mut lines = lines(&text).peekable();
    while let Some((kind, line)) = lines.next() {
        end += line.len();
        while replaced.next_if(|(at, _)| *at + 1 < end).is_some() {}
        if kind == Line::Prose {
            line_of_prose(line, &mut out);
        } else {
            out.push_str(line);
        }
        // Code keeps what only prose breaks lines at, except before a fence, which needs a line of its own.
        if kind == Line::Code
            && lines.peek().is_some_and(|(next, _)| *next == Line::Code)
            && let Some((_, original)) = replaced.next_if(|(at, _)| *at + 1 == end)
        {
            out.pop();
            out.push(original);
        }
        if !started && out.trim().is_empty() {
            out.clear();
        } else {
            started = true;
        }
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Replaces everything that ends a line with a line feed. Returns the positions of those that replace something other
/// than a carriage return, and what they replace.
fn with_line_feeds(text: &str) -> (Cow<'_, str>, Vec<(usize, char)>) {
    let mut replaced = Vec::new();
    if !text.contains(ends_line) {
        return (Cow::Borrowed(text), replaced);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ends_line) {
        let end = rest[at..].chars().next().unwrap_or('\n');
        out.push_str(&rest[..at]);
        rest = &rest[at + end.len_utf8()..];
        match end {
            '\r' if rest.starts_with('\n') => {}
            '\u{85}' if is_byte_of_mojibake(&out, rest) => out.push(end),
            '\r' => out.push('\n'),
            _ => {
                replaced.push((out.len(), end));
                out.push('\n');
            }
        }
    }
    out.push_str(rest);
    (Cow::Owned(out), replaced)
}

/// Whether a character other than the line feed ends a line, as in Python's `str.splitlines`.
fn ends_line(c: char) -> bool {
    matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether U+0085 between two texts is byte 0x85 of a UTF-8 sequence that was read as Latin-1, as in `Ã\u{85}` for
/// `Å`.
fn is_byte_of_mojibake(before: &str, behind: &str) -> bool {
    const CONTINUATION: std::ops::RangeInclusive<char> = '\u{80}'..='\u{bf}';
    let continuations = before.chars().rev().take(3).take_while(|c| CONTINUATION.contains(c)).count();
    let length = match before.chars().rev().nth(continuations) {
        Some('\u{c2}'..='\u{df}') => 2,
        Some('\u{e0}'..='\u{ef}') => 3,
        Some('\u{f0}'..='\u{f4}') => 4,
        _ => return false,
    };
    // The lead byte, those that follow it, and this one.
    let read = continuations + 2;
    let wanted = length - read.min(length);
    read <= length && behind.chars().take(wanted).filter(|c| CONTINUATION.contains(c)).count() == wanted
}

fn line_of_prose(line: &str, out: &mut String) {
    if is_plain(line) {
        out.push_str(line);
        return;
    }
    for piece in pieces(line) {
        match piece {
            Piece::Prose(text) => out.push_str(&repaired(text)),
            Piece::Code(code) => out.push_str(code),
        }
    }
}

/// ASCII without control characters, which covers most lines.
fn is_plain(line: &str) -> bool {
    line.bytes().all(|byte| matches!(byte, 0x20..0x7F | b'\t' | b'\n'))
}

fn repaired(text: &str) -> Cow<'_, str> {
    const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfc();
    let text = match text.contains(['\u{8}', ESCAPE]) {
        true => Cow::Owned(struck_over(&without_escapes(text))),
        false => Cow::Borrowed(text),
    };
    let fixed = match text.len() <= LINE_BYTES_MAX && needs_fixing(&text) {
        // The library may panic on unusual input; the text is then kept as it is.
        true => std::panic::catch_unwind(|| fixed(&text)).map_or(text, Cow::Owned),
        false => text,
    };
    let fixed = match fixed.contains(|c| is_stray(c) || is_unusual_space(c)) {
        true => Cow::Owned(without_strays(&fixed)),
        false => fixed,
    };
    match NFC.normalize(&fixed) {
        Cow::Borrowed(_) => fixed,
        Cow::Owned(normal) => Cow::Owned(normal),
    }
}

/// The text with its encoding fixed. The library also resolves character references, which are part of the text here: a
/// control character keeps them apart meanwhile. Every encoding has it, and it would be removed from a text in any case.
fn fixed(text: &str) -> String {
    const APART: &str = "&\u{1}";
    match text.contains('&') {
        true => fix_text(&text.replace('&', APART), Some(&FIXES)).replace(APART, "&"),
        false => fix_text(text, Some(&FIXES)),
    }
}

/// Maximum length in bytes of a sequence that sets a title.
const TITLE_BYTES_MAX: usize = 256;
const ESCAPE: char = '\u{1b}';

/// Text without the terminal sequences for colours, positions and titles. Those for positions leave a control character,
/// since what follows them is another word.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(ESCAPE) {
        out.push_str(before);
        let end = match behind.as_bytes().first() {
            // Parameters, and a final byte that selects the function.
            Some(b'[') => behind[1..].find(|c| !matches!(c, ' '..='?')).map(|at| at + 2),
            Some(b']') => behind.bytes().take(TITLE_BYTES_MAX).position(|byte| byte == 7).map(|at| at + 1),
            _ => None,
        };
        let (sequence, after) = end.and_then(|end| behind.split_at_checked(end)).unwrap_or(("", behind));
        if !(sequence.starts_with('[') && sequence.ends_with('m')) {
            out.push(ESCAPE);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a printer shows of characters struck over each other, as in manual pages: the last one.
fn struck_over(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\u{8}' {
            out.push(c);
        } else if !out.ends_with(['\n', '\t']) {
            out.pop();
        }
    }
    out
}

/// Mojibake consists of Latin-1 and neighbouring letters and signs; typographic quotes alone are not mojibake.
fn needs_fixing(text: &str) -> bool {
    text.chars()
        .any(|c| !matches!(c, ' '..='~' | '‘' | '’' | '“' | '”' | '–' | '—' | '…' | '\u{2E80}'..='\u{FFEF}'))
}

/// Characters that do not belong in text: control characters, a byte order mark within a text, and characters that
/// Unicode advises against in marked-up text.
fn is_stray(c: char) -> bool {
    matches!(c, '\u{FEFF}' | '\u{206A}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFC}')
        || (c.is_control() && !matches!(c, '\t' | '\n'))
}

/// Spaces that differ from the ordinary one in width or in not breaking; the ideographic space is kept.
fn is_unusual_space(c: char) -> bool {
    matches!(c, '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}')
}

/// Stray characters that separate words: all that are not invisible in the middle of one.
fn is_separator(c: char) -> bool {
    c.is_control() || matches!(c, '\u{FFF9}'..='\u{FFFC}')
}

/// Removes stray characters. One that separates two words becomes a space.
fn without_strays(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_unusual_space(c) {
            out.push(' ');
        } else if !is_stray(c) {
            out.push(c);
        } else if is_separator(c) {
            while chars.next_if(|&next| is_stray(next)).is_some() {}
            let before = out.chars().next_back().is_some_and(char::is_alphanumeric);
            if before && chars.peek().is_some_and(|next| next.is_alphanumeric()) {
                out.push(' ');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn undoes_mojibake_in_prose_and_never_in_code() {
        assert_eq!(repair("Ã© `` ` Ã© `` Ã© ` Ã©"), "é `` ` Ã© `` é ` é\n");
        let broken = "La cathÃ©drale et lâ€™Ã©glise: `Ã©`\n```\nlet s = \"Ã©\";  \n\n\n\tx\n```\n";
        let repaired = "La cathédrale et l’église: `Ã©`\n```\nlet s = \"Ã©\";  \n\n\n\tx\n```\n";
        assert_eq!(repair(broken), repaired);
    }

    #[test]
    fn leaves_quotes_and_full_width_punctuation() {
        let text =
            "“Quoted” – ‘text’… ﬁ\n全角，标点：（好）！ＡＢＣ　と\nnaïve café: 10³ µm, señor, Straße\n";
        assert_eq!(repair(text), text);
    }

    #[test]
    fn composes_and_does_not_fold() {
        assert_eq!(repair("e\u{301} ²"), "é ²\n");
    }

    #[test]
    fn references_are_text() {
        for text in
            ["ä &lt; &amp;lt; &auml; &#228;", "como &amp;, la etiqueta &lt;p&gt; y é&", "“x” & &EACUTE;"]
        {
            assert_eq!(repair(text), format!("{text}\n"));
        }
        assert_eq!(repair("cafÃ© &amp; thÃ© &\u{1}lt;"), "café &amp; thé &lt;\n");
    }

    #[test]
    fn layout_stays() {
        let text = "\tdef f():\n\t\treturn  1\n\n\n\nname\tvalue\nhard break  \n  - x\n";
        assert_eq!(repair(text), text);
        assert_eq!(repair("all: build\n\nbuild:\n\tcargo build\n"), "all: build\n\nbuild:\n\tcargo build\n");
        assert_eq!(repair("\n \n\tx\n \n\n"), "\tx\n");
        assert_eq!(repair(" \n\t\n"), "");
    }

    #[test]
    fn whatever_ends_a_line_becomes_a_line_feed() {
        for end in ["\r", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\u{1c}"] {
            assert_eq!(repair(&format!("one{end}two")), "one\ntwo\n", "{end:?}");
            assert_eq!(repair(&format!("été{end}ç")), "été\nç\n", "{end:?}");
        }
        assert_eq!(repair("a\r```\r\ta\u{a0}b\r```\r"), "a\n```\n\ta\u{a0}b\n```\n");
        // Mojibake of Å, whose second byte is that of NEL.
        assert_eq!(repair("Ã\u{85}ngstrÃ¶m, smÃ¶rgÃ¥s"), "Ångström, smörgås\n");
    }

    #[test]
    fn removes_controls_and_joins_no_words() {
        assert_eq!(repair("a b\u{a0}c\u{0}\u{7}.\u{feff}"), "a b c.\n");
        assert_eq!(repair("one\u{1}two\u{1f}\u{7f}three\u{7} four"), "one two three four\n");
        assert_eq!(repair("N\u{8}NA\u{8}AM\u{8}ME\u{8}E _\u{8}x"), "NAME x\n");
        assert_eq!(repair("\u{1b}[1mbo\u{1b}[22mld\u{1b}[0m"), "bold\n");
        assert_eq!(repair("one\u{1b}[5Ctwo\u{1b}Mthree\u{1b}]0;title\u{7}four"), "one two Mthree four\n");
        assert_eq!(repair("one\u{81}two, \u{9d}three\u{8d}"), "one two, three\n");
        assert_eq!(repair("one\0two\u{fffc}three, co\u{feff}op"), "one two three, coop\n");
    }

    #[test]
    fn code_in_any_fence_is_verbatim() {
        let text =
            "~~~python\nif  x:\n\treturn  \"Ã©\u{a0}\"\n~~~\n\n1. Do:\n\n   ```\n   \te\u{301}\n   ```\n";
        assert_eq!(repair(text), text);
        // Only prose breaks lines at other characters than line feeds.
        let pages = "```\na\u{c}b\u{2028}c\u{85}d\ne\n```\n";
        assert_eq!(repair(pages), pages);
        assert_eq!(repair("```\na\u{c}```\r\nb\u{c}c"), "```\na\n```\nb\nc\n");
        // An unclosed fence counts as prose and is repaired.
        assert_eq!(repair("```\ncafÃ©\n"), "```\ncafé\n");
    }

    proptest! {
        #[test]
        fn repaired_text_stays(text in "([a-zé`中& \n\r\u{b}\u{c}\u{85}]|x\t|x\u{a0}|```\n|~~~\n|“|&lt;|&amp;|\u{301}){0,60}") {
            let once = repair(&text);
            prop_assert_eq!(repair(&once), once);
        }

        #[test]
        fn no_letter_is_lost_and_no_word_joined(text in "[a-z \t\n\r\u{0}\u{1}\u{7}\u{b}\u{c}\u{a0}\u{2028}\u{fffc}]{0,60}") {
            let words = |text: &str| {
                text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(words(&repair(&text)), words(&text));
        }
    }
}
