//! Words and punctuation marks as BERT's and other tokenizers with unknown tokens split text. Nothing here depends on tokens.
//!
//! The classes of characters are those of Hugging Face's library, which takes them from three sources.

use unicode_categories::UnicodeCategories;

/// Bytes of the white space at the beginning of a text.
pub(super) fn white_space(text: &str) -> usize {
    text.len() - text.trim_start_matches(char::is_whitespace).len()
}

/// Bytes of the first piece of BERT's pre-tokenizer; `text` does not begin with white space.
pub(super) fn bert(text: &str) -> usize {
    let is_mark = |c: char| c.is_ascii_punctuation() || c.is_punctuation();
    let first = text.chars().next().map_or(0, char::len_utf8);
    if text.starts_with(is_mark) {
        return first;
    }
    text.find(|c: char| c.is_whitespace() || is_mark(c)).unwrap_or(text.len())
}

/// Bytes of the first piece of `\w+|[^\w\s]+`; `text` does not begin with white space.
pub(super) fn word(text: &str) -> usize {
    let is_word = text.starts_with(is_word_character);
    text.find(|c: char| c.is_whitespace() || is_word_character(c) != is_word).unwrap_or(text.len())
}

/// `\w` of the crate `regex`.
fn is_word_character(character: char) -> bool {
    match u8::try_from(character) {
        Ok(byte @ ..0x80) => byte.is_ascii_alphanumeric() || byte == b'_',
        _ => regex_syntax::is_word_character(character),
    }
}
