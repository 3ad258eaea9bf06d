//! Text as it was meant: mojibake, control characters, Unicode form and white space. Code blocks are not
//! touched, nor is inline code, nor quotes, dashes and full-width characters: those are somebody's choice.

use crate::segment::{Line, lines};
use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};
use plsfix::{TextFixerConfig, fix_text};
use std::borrow::Cow;

/// What of plsfix is used. Its defaults (which are ftfy's) rewrite 46 % of clean pages: they straighten
/// quotes and turn full-width punctuation into ASCII.
const FIXES: TextFixerConfig = TextFixerConfig {
    unescape_html: Some(false),
    remove_terminal_escapes: true,
    fix_encoding: true,
    restore_byte_a0: true,
    replace_lossy_sequences: true,
    decode_inconsistent_utf8: true,
    fix_c1_controls: true,
    fix_latin_ligatures: false,
    fix_character_width: false,
    uncurl_quotes: false,
    fix_line_breaks: false,
    remove_control_chars: true,
    normalization: None,
    max_decode_length: 1_000_000,
};

/// Longest line that is searched for mojibake: the search may be quadratic in a line.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Repairs a document's text. What is repaired stays as it is when repaired again, short of mojibake of
/// mojibake.
///
/// Prose lines: encoding mistakes undone, control characters removed, NFC (never NFKC), each run of white
/// space one space (indentation stays), no space at the end. At most one blank line in a row, none at either
/// end.
pub fn repair(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = true; // so that none opens the text
    for (kind, line) in lines(text) {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if kind != Line::Prose {
            out.push_str(line);
            out.push('\n');
            blank = false;
            continue;
        }
        let start = out.len();
        line_of_prose(line.strip_suffix('\r').unwrap_or(line), &mut out);
        out.truncate(start + out[start..].trim_end().len());
        let empty = out.len() == start;
        if !(empty && blank) {
            out.push('\n');
        }
        blank = empty;
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Whether repairing would change the text.
pub fn is_repaired(text: &str) -> bool {
    repair(text) == text
}

fn line_of_prose(line: &str, out: &mut String) {
    let indent = line.len() - line.trim_start_matches(' ').len();
    out.push_str(&line[..indent]);
    let line = &line[indent..];
    if is_plain(line) {
        out.push_str(line);
        return;
    }
    // Odd pieces are inline code; a backtick without a partner opens none.
    let ticks = memchr::memchr_iter(b'`', line.as_bytes()).count();
    for (position, piece) in line.split('`').enumerate() {
        if position > 0 {
            out.push('`');
        }
        let code = position % 2 == 1 && position < ticks;
        if code { out.push_str(piece) } else { spaced(&mended(piece), out) }
    }
}

/// ASCII without controls, tabs and double spaces, which is most lines.
fn is_plain(line: &str) -> bool {
    line.bytes().all(|byte| (0x20..0x7F).contains(&byte)) && !line.contains("  ")
}

fn mended(text: &str) -> Cow<'_, str> {
    const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfc();
    let fixed: Cow<str> = if text.len() <= LINE_BYTES_MAX && needs_fixing(text) {
        // The library may panic on odd input; the text is then kept as it is.
        let fixed = std::panic::catch_unwind(|| fix_text(text, Some(&FIXES)));
        fixed.map_or(Cow::Borrowed(text), Cow::Owned)
    } else {
        Cow::Borrowed(text)
    };
    let fixed = match fixed.contains(is_stray) {
        true => Cow::Owned(fixed.replace(is_stray, "")),
        false => fixed,
    };
    match NFC.normalize(&fixed) {
        Cow::Borrowed(_) => fixed,
        Cow::Owned(normal) => Cow::Owned(normal),
    }
}

/// Mojibake is made of Latin-1 and neighbouring letters and signs; typographic quotes alone are none.
fn needs_fixing(text: &str) -> bool {
    text.chars()
        .any(|c| !matches!(c, ' '..='~' | '‘' | '’' | '“' | '”' | '–' | '—' | '…' | '\u{2E80}'..='\u{FFEF}'))
}

/// Controls that no text has: the byte order mark within a text, NUL and the like. Tabs are white space.
fn is_stray(c: char) -> bool {
    c == '\u{FEFF}' || (c.is_control() && c != '\t')
}

/// Appends with each run of white space as one space; the ideographic space is kept.
fn spaced(text: &str, out: &mut String) {
    let mut after_space = out.ends_with(' ') || out.ends_with('\n') || out.is_empty();
    for c in text.chars() {
        let space = matches!(
            c,
            ' ' | '\t' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}'
        );
        if !space {
            out.push(c);
        } else if !after_space {
            out.push(' ');
        }
        after_space = space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn undoes_mojibake_in_prose_and_never_in_code() {
        let broken = "La cathÃ©drale et lâ€™Ã©glise: `Ã©`\n```\nlet s = \"Ã©\";  \n\n\n\tx\n```\n";
        let mended = "La cathédrale et l’église: `Ã©`\n```\nlet s = \"Ã©\";  \n\n\n\tx\n```\n";
        assert_eq!(repair(broken), mended);
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
    fn removes_controls_and_spare_space() {
        assert_eq!(
            repair("\n\n a \t b\u{a0}c\u{0}\u{7}\u{feff}  \r\n\n\n\n- x\n  - y\n\n"),
            " a b c\n\n- x\n  - y\n"
        );
    }

    proptest! {
        #[test]
        fn repaired_text_stays(text in "([a-zé`中 \n]|x\t|x\u{a0}|```\n|“|\u{301}){0,60}") {
            let once = repair(&text);
            prop_assert_eq!(repair(&once), once);
        }
    }
}
