//! Owns: making text safe for terminals. All text from stages, manifests and files passes through [`plain`], since
//! control characters could move the cursor, set the title or hide text.

use std::borrow::Cow;

/// Escapes control characters, such as `\u{1b}`, which starts terminal commands. Line feeds and tabs are kept; a
/// carriage return before a line feed is dropped.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_clean = |letter: char| !is_control(letter) || letter == '\n' || letter == '\t';
    if text.chars().all(is_clean) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => {}
            letter if is_clean(letter) => out.push(letter),
            letter => out.extend(letter.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// Escapes control characters in JSON text the way JSON does, so that [`plain`] has nothing to change. Between its
/// strings, JSON holds none but line feeds.
pub(crate) fn plain_json(text: String) -> String {
    if text.chars().all(|letter| !is_control(letter) || letter == '\n') {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if is_control(letter) && letter != '\n' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out
}

/// The same, on one line.
pub(crate) fn plain_line(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}

/// Control characters, and those that change the direction of text.
fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Cuts a text to a number of columns, with an ellipsis at the end.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns > 0 {
        out.push('…');
    }
    out
}

/// `1 stage`, `2 stages`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        _ if count == 1 => noun.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    };
    format!("{} {plural}", super::units::figure(count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\tb\nä"), "a\tb\nä");
        assert_eq!(plain("x\u{1b}]2;TAKEN\u{7}"), "x\\u{1b}]2;TAKEN\\u{7}");
        assert_eq!(plain("a\r\nb\rc"), "a\nb\\u{d}c");
        assert_eq!(plain("\u{9b}31m \u{202e}txt"), "\\u{9b}31m \\u{202e}txt");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "a\u{85}": "x\u{2028}y\u{9b}\u{202e}\u{1b}\n" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = plain_json(text);
            assert_eq!(plain(&escaped), escaped);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        let told = [counted(0, "stage"), counted(1, "stage"), counted(2, "entry"), counted(1200, "file")];
        assert_eq!(told, ["0 stages", "1 stage", "2 entries", "1,200 files"]);
        assert_eq!((cut("abcdef", 4), cut("abc", 4)), ("abc…".to_owned(), "abc".to_owned()));
    }
}
