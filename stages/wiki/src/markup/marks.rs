//! Marks in expanded wikitext: control characters, which no export contains, stand for what later steps must not read
//! as wikitext.

/// Before and after the number of an item.
pub(super) const ITEM: char = '\u{1}';
pub(super) const ITEM_END: char = '\u{2}';
/// Something was dropped here.
pub(super) const DROPPED: char = '\u{4}';
/// Before and after the name of a tag, which may begin with `/`.
pub(super) const TAG: char = '\u{5}';
pub(super) const TAG_END: char = '\u{6}';

/// Whether a character of a page would be taken for a mark.
pub(super) const fn is_mark(c: char) -> bool {
    matches!(c, '\u{1}'..='\u{6}')
}

/// Finished markup that is represented by its number.
#[derive(Debug, Default)]
pub(super) struct Items(Vec<String>);

impl Items {
    /// Keeps markup and appends its mark to a text.
    pub(super) fn keep(&mut self, html: String, out: &mut String) {
        out.push_str(&format!("{ITEM}{}{ITEM_END}", self.0.len()));
        self.0.push(html);
    }

    /// The markup with a number.
    pub(super) fn html(&self, number: &str) -> &str {
        number.parse().ok().and_then(|number: usize| self.0.get(number)).map_or("", String::as_str)
    }
}

/// Appends text with its character references resolved, escaped for markup.
pub(super) fn push_text(text: &str, out: &mut String) {
    let text = html_escape::decode_html_entities(text);
    push_escaped(text.chars().filter(|c| !is_mark(*c)), out);
}

/// Appends characters as they are, escaped for markup.
pub(super) fn push_escaped(text: impl Iterator<Item = char>, out: &mut String) {
    for c in text {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}
