//! What is within lines: external links, tags, items and character references.

use super::marks::{DROPPED, ITEM, ITEM_END, Items, TAG, TAG_END, push_text};
use super::quotes::without_quotes;
use super::tidy::tidy;

/// Maximum depth of elements within lines; deeper ones lose their tags.
const DEPTH_MAX: usize = 32;

/// The markup of lines of wikitext that belong together.
pub(super) fn markup<'l>(lines: impl Iterator<Item = &'l str>, items: &Items) -> String {
    let mut text = String::new();
    for (position, line) in lines.enumerate() {
        if position > 0 {
            text.push('\n');
        }
        text.push_str(&without_quotes(&tidy(line)));
    }
    let mut writer =
        Writer { text: &text, items, out: String::new(), open: Vec::new(), links: 0, no_end_before: 0 };
    writer.run();
    writer.out
}

/// Whether markup shows anything.
pub(super) fn is_blank(html: &str) -> bool {
    let mut in_tag = false;
    !html.chars().any(|c| {
        let is_text = !in_tag && c != '<' && !c.is_whitespace();
        in_tag = (in_tag || c == '<') && c != '>';
        is_text
    })
}

/// Whether a line from which something was dropped has only signs left.
pub(super) fn is_remnant(line: &str) -> bool {
    line.contains(DROPPED) && !line.contains(ITEM) && !line.chars().any(char::is_alphanumeric)
}

struct Writer<'t> {
    text: &'t str,
    items: &'t Items,
    out: String,
    open: Vec<&'t str>,
    /// External links whose end is to come.
    links: usize,
    /// On the current line, no `]` follows before this position.
    no_end_before: usize,
}

impl<'t> Writer<'t> {
    fn run(&mut self) {
        const SIGNS: [char; 5] = ['[', ']', ITEM, TAG, '\n'];
        let mut at = 0;
        while at < self.text.len() {
            let rest = &self.text[at..];
            let next = rest.find(SIGNS).unwrap_or(rest.len());
            push_text(&rest[..next], &mut self.out);
            at += next;
            let Some(sign) = rest[next..].chars().next() else { break };
            let rest = &rest[next..];
            at += match sign {
                '[' => self.link(rest, at),
                ']' if self.links > 0 => {
                    self.links -= 1;
                    1
                }
                '\n' => {
                    self.links = 0;
                    self.out.push('\n');
                    1
                }
                ITEM => match rest[1..].split_once(ITEM_END) {
                    Some((number, _)) => {
                        self.out.push_str(self.items.html(number));
                        number.len() + 2
                    }
                    None => 1,
                },
                TAG => match rest[1..].split_once(TAG_END) {
                    Some((name, _)) => {
                        self.tag(name);
                        name.len() + 2
                    }
                    None => 1,
                },
                sign => {
                    self.out.push(sign);
                    1
                }
            };
        }
        while let Some(name) = self.open.pop() {
            self.out.push_str(&format!("</{name}>"));
        }
    }

    /// Reads `[address text]`, of which the text is shown; returns how many bytes are done.
    fn link(&mut self, rest: &str, at: usize) -> usize {
        const SCHEMES: [&str; 10] = [
            "http://", "https://", "//", "ftp://", "ftps://", "mailto:", "news:", "irc://", "git://", "tel:",
        ];
        let inner = &rest[1..];
        let is_link = SCHEMES
            .iter()
            .any(|scheme| inner.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        if is_link && at >= self.no_end_before {
            match inner.find([']', '\n']) {
                Some(end) if inner[end..].starts_with(']') => {
                    let address = inner[..end].find(|c: char| c.is_whitespace() || matches!(c, '<' | TAG));
                    let Some(address) = address else { return end + 2 };
                    self.links += 1;
                    let text = &inner[address..];
                    return 1 + address + text.len() - text.trim_start_matches([' ', '\t', '\u{a0}']).len();
                }
                end => self.no_end_before = at + end.unwrap_or(inner.len()),
            }
        }
        self.out.push('[');
        1
    }

    fn tag(&mut self, tag: &'t str) {
        match tag.strip_prefix('/') {
            None if tag == "br" => self.out.push_str("<br>"),
            None if self.open.len() < DEPTH_MAX => {
                self.open.push(tag);
                self.out.push_str(&format!("<{tag}>"));
            }
            None => {}
            Some(name) => {
                if let Some(at) = self.open.iter().rposition(|open| *open == name) {
                    for name in self.open.drain(at..).rev() {
                        self.out.push_str(&format!("</{name}>"));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        markup(text.lines(), &Items::default())
    }

    #[test]
    fn external_links_show_their_text() {
        assert_eq!(shown("a [http://e.org/x the ''text''] b"), "a the text b");
        assert_eq!(shown("a [https://e.org/] b http://e.org"), "a  b http://e.org");
        assert_eq!(shown("a [1] [http://e.org\nb]"), "a [1] [http://e.org\nb]");
        assert_eq!(shown("[//e.org a [b] c]"), "a [b c]");
    }

    #[test]
    fn references_are_resolved_and_signs_escaped() {
        assert_eq!(
            shown("&nbsp;&eacute; &lt;b&gt; 1 < 2 &unknown;"),
            "\u{a0}é &lt;b&gt; 1 &lt; 2 &amp;unknown;"
        );
    }

    #[test]
    fn tags_are_closed() {
        assert_eq!(shown("x\u{5}sup\u{6}2 \u{5}/q\u{6}"), "x<sup>2 </sup>");
        assert_eq!(shown("\u{5}q\u{6}\u{5}sup\u{6}2\u{5}/q\u{6}b"), "<q><sup>2</sup></q>b");
    }
}
