//! Markup whose tree is plain from its tags: every element has both tags, well nested, and no rule of the HTML standard moves,
//! closes or adds elements. It is serialised without building the tree, which takes most of the time of a page.
//!
//! Anything else gives `None`, and a parser reads it. What counts as plain follows the standard's "in body" and "in table"
//! insertion modes (<https://html.spec.whatwg.org/multipage/parsing.html>); the tests compare with a parser.

use super::events::end_of_tag;
use super::scan::ORIGINAL_NAME;

/// Elements that end an open `<p>`.
const BLOCKS: [&str; 29] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "details",
    "dialog",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "listing",
    "main",
    "ol",
    "p",
    "pre",
    "search",
    "section",
    "summary",
    "ul",
];
/// Elements that may be anywhere in a paragraph. `<a>` is one that does not contain another.
const INLINE: [&str; 32] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
    "i", "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var",
];
const VOID: [&str; 4] = ["br", "hr", "img", "wbr"];
/// Attributes that matter to texts.
const ATTRIBUTES: [&str; 10] =
    ["class", "colspan", "href", "lang", "reversed", "role", "rowspan", "start", "type", "value"];

/// The markup as a parser would serialise it, without attributes that do not matter; `None` if a parser has to read it.
pub(super) fn serialised(html: &str) -> Option<String> {
    let mut nested = Nested { out: String::with_capacity(html.len()), ..Nested::default() };
    // White space before all else belongs to the head.
    let mut rest = html.trim_start_matches(is_space);
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        nested.text(&rest[..at])?;
        let length = end_of_tag(&rest[at..])?;
        let tag = &rest[at + 1..at + length - 1];
        rest = &rest[at + length..];
        match tag.strip_prefix('/') {
            Some(name) => nested.end(name)?,
            None => nested.start(tag)?,
        }
    }
    nested.text(rest)?;
    nested.open.is_empty().then_some(nested.out)
}

/// As in the standard.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{c}' | '\r')
}

#[derive(Default)]
struct Nested<'h> {
    out: String,
    open: Vec<Open<'h>>,
    paragraphs: usize,
    links: usize,
    /// Whether a `<pre>` has just begun: it does not contain a first line break.
    begins_verbatim: bool,
}

struct Open<'h> {
    name: &'h str,
    /// Whether it is a `<tbody>` that is not in the markup.
    is_implied: bool,
}

impl<'h> Nested<'h> {
    fn top(&self) -> &'h str {
        self.open.last().map_or("", |open| open.name)
    }

    fn start(&mut self, tag: &'h str) -> Option<()> {
        self.begins_verbatim = false;
        let end = tag.find(' ').unwrap_or(tag.len());
        let (name, attributes) = tag.split_at(end);
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return None;
        }
        let is_group = matches!(name, "thead" | "tbody" | "tfoot");
        if is_group && self.open.last().is_some_and(|open| open.is_implied) {
            self.pop();
        }
        if name == "tr" && self.top() == "table" {
            self.push("tbody", "", true)?;
        }
        let top = self.top();
        let in_table = matches!(top, "table" | "thead" | "tbody" | "tfoot" | "tr");
        let fits = match name {
            "thead" | "tbody" | "tfoot" => top == "table",
            "tr" => matches!(top, "thead" | "tbody" | "tfoot"),
            "td" | "th" => top == "tr",
            _ if in_table => false,
            "li" => matches!(top, "ul" | "ol"),
            "dt" | "dd" => top == "dl",
            "a" => self.links == 0,
            "table" | "hr" => self.paragraphs == 0,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.paragraphs == 0 && !is_heading(top),
            _ if BLOCKS.contains(&name) => self.paragraphs == 0,
            // A name with a hyphen is that of a custom element.
            _ => INLINE.contains(&name) || VOID.contains(&name) || name.contains('-') && is_custom(name),
        };
        if !fits {
            return None;
        }
        self.push(name, attributes, false)
    }

    fn push(&mut self, name: &'h str, attributes: &'h str, is_implied: bool) -> Option<()> {
        self.out.push('<');
        self.out.push_str(name);
        self.attributes(attributes)?;
        self.out.push('>');
        if !VOID.contains(&name) {
            self.paragraphs += usize::from(name == "p");
            self.links += usize::from(name == "a");
            self.begins_verbatim = matches!(name, "pre" | "listing");
            self.open.push(Open { name, is_implied });
        }
        Some(())
    }

    fn attributes(&mut self, mut rest: &str) -> Option<()> {
        while let Some(attribute) = rest.strip_prefix(' ') {
            let (name, behind) = attribute.split_once("=\"")?;
            let (value, behind) = behind.split_once('"')?;
            rest = behind;
            let name =
                ATTRIBUTES.into_iter().chain([ORIGINAL_NAME]).find(|known| known.eq_ignore_ascii_case(name));
            let Some(name) = name else { continue };
            if value.contains(['&', '\r', '\0', '\u{a0}']) {
                // Where links lead does not matter.
                if name == "href" {
                    continue;
                }
                return None;
            }
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            self.out.push_str(value);
            self.out.push('"');
        }
        rest.is_empty().then_some(())
    }

    fn end(&mut self, name: &str) -> Option<()> {
        self.begins_verbatim = false;
        if name == "table" && self.open.last().is_some_and(|open| open.is_implied) {
            self.pop();
        }
        let top = self.open.last().filter(|open| open.name == name && !open.is_implied)?;
        if VOID.contains(&top.name) {
            return None;
        }
        self.pop();
        Some(())
    }

    fn pop(&mut self) {
        if let Some(Open { name, .. }) = self.open.pop() {
            self.paragraphs -= usize::from(name == "p");
            self.links -= usize::from(name == "a");
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
    }

    fn text(&mut self, mut text: &str) -> Option<()> {
        if std::mem::take(&mut self.begins_verbatim) && !text.is_empty() {
            text = text.strip_prefix('\n').unwrap_or(text);
        }
        let in_table = matches!(self.top(), "table" | "thead" | "tbody" | "tfoot" | "tr");
        if in_table && !text.chars().all(is_space) {
            return None;
        }
        loop {
            let special = text.bytes().position(|byte| matches!(byte, b'&' | b'>' | b'\r' | b'\0' | 0xc2));
            let Some(at) = special else {
                self.out.push_str(text);
                return Some(());
            };
            self.out.push_str(&text[..at]);
            text = &text[at..];
            let (length, c) = match text.as_bytes()[0] {
                b'&' => reference(text)?,
                b'\r' | b'\0' => return None,
                _ => text.chars().next().map(|c| (c.len_utf8(), c))?,
            };
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '\u{a0}' => self.out.push_str("&nbsp;"),
                c => self.out.push(c),
            }
            text = &text[length..];
        }
    }
}

fn is_heading(name: &str) -> bool {
    matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6")
}

/// Whether a name with a hyphen is none of SVG or MathML.
fn is_custom(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "annotation-xml"
}

/// Common named references.
pub(super) const NAMED: [(&str, char); 30] = [
    ("amp;", '&'),
    ("lt;", '<'),
    ("gt;", '>'),
    ("quot;", '"'),
    ("nbsp;", '\u{a0}'),
    ("apos;", '\''),
    ("bull;", '•'),
    ("copy;", '©'),
    ("deg;", '°'),
    ("eacute;", 'é'),
    ("euro;", '€'),
    ("hellip;", '…'),
    ("laquo;", '«'),
    ("larr;", '←'),
    ("ldquo;", '“'),
    ("lsquo;", '‘'),
    ("mdash;", '—'),
    ("middot;", '·'),
    ("minus;", '−'),
    ("ndash;", '–'),
    ("para;", '¶'),
    ("raquo;", '»'),
    ("rarr;", '→'),
    ("rdquo;", '”'),
    ("reg;", '®'),
    ("rsquo;", '’'),
    ("sect;", '§'),
    ("shy;", '\u{ad}'),
    ("times;", '×'),
    ("trade;", '™'),
];

/// A character reference, or an ampersand that is none: its length and character. `None` for those that are not common.
fn reference(text: &str) -> Option<(usize, char)> {
    const DIGITS_MAX: usize = 7;
    let name = &text[1..];
    match name.bytes().next() {
        Some(byte) if byte.is_ascii_alphanumeric() => {
            let (name, c) = NAMED.iter().find(|(named, _)| name.starts_with(named))?;
            Some((1 + name.len(), *c))
        }
        Some(b'#') => {
            let digits = &name[1..];
            let end = digits.bytes().take(DIGITS_MAX + 1).position(|byte| byte == b';')?;
            let number = &digits[..end];
            let code = match number.strip_prefix(['x', 'X']) {
                Some(number) if number.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                    u32::from_str_radix(number, 16)
                }
                None if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse(),
                _ => return None,
            };
            // The standard maps other numbers to other characters.
            let c = char::from_u32(code.ok()?)
                .filter(|c| matches!(c, '\n' | '\t' | ' '..='~' | '\u{a0}'..='\u{fdcf}'))?;
            Some((2 + end + 1, c))
        }
        _ => Some((1, '&')),
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks;
    use super::*;
    use dom_query::Document;
    use proptest::prelude::*;

    /// The same by way of a tree.
    fn parsed(html: &str) -> String {
        let document = Document::from(format!("{}{html}", super::super::NO_TITLE).as_str());
        document.select("body").inner_html().to_string()
    }

    #[test]
    fn plain_markup_is_what_a_parser_makes_of_it() {
        for html in [
            "",
            "  <p>a &amp; b &lt; c > d &nbsp;\u{a0}&#160;&#x41;&mdash;&hellip; & e</p>\n",
            "<div class=\"x\"><h1>a</h1><p>b <a href=\"#\">c <b><i>d</i></b></a></p><pre>\n\nx\n</pre></div>",
            "<ul>\n<li>a<ul><li>b</li></ul></li>\n</ul><ol start=\"3\" reversed=\"\"><li value=\"2\">c</li></ol>",
            "<table><tr><td>a</td></tr>\n<tr><th>b</th></tr></table>",
            "<table>\n<thead>\n<tr><th>a</th></tr>\n</thead><tbody><tr><td><p>b</p></td></tr></tbody></table>",
            "<table><tr><td>a</td></tr><tfoot><tr><td>b</td></tr></tfoot><tr><td>c</td></tr></table>",
            "<dl><dt>a</dt><dd>b<dl><dt>c</dt></dl></dd></dl><my-part>x<br>y</my-part><hr>",
            "<b><p>a</p></b><b><b><b><b>x</b></b></b></b>",
        ] {
            assert_eq!(serialised(html).as_deref(), Some(parsed(html).as_str()), "{html}");
        }
    }

    #[test]
    fn what_a_parser_would_change_is_left_to_it() {
        for html in [
            "<p>a<p>b",
            "<p><div></div></p>",
            "<b><i></b></i>",
            "<a><a></a></a>",
            "<li>a</li>",
            "<table>x</table>",
            "<table><td>a</td></table>",
            "<table><tr><td><table>a</table></td></tr></table>",
            "<h1><h2>a</h2></h1>",
            "<p><table></table></p>",
            "<tr><td>a</td></tr>",
            "<br></br>",
            "</p>",
            "<svg><p>a</p></svg>",
            "<form><form></form></form>",
            "<title>a</title>",
            "<DIV></DIV>",
            "a&copy b",
            "R&D",
            "a&#128;b",
            "a&#0;b",
            "a\rb",
            "a\0b",
            "<p class=\"a&ampb\">",
            "<p",
            "<div>",
        ] {
            assert_eq!(serialised(html), None, "{html}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_those_of_a_parser(
            html in "(<(p|div|b|a|ul|ol|li|dl|dt|dd|table|tbody|thead|tr|td|th|h1|h2|pre|code|br|hr|my-x|sup)( class=\"a\"| colspan=\"2\")?>|</(p|div|b|a|ul|li|dl|dd|table|tbody|tr|td|h1|pre|code|my-x)>|[a \n&;>]|&lt;|&#65;|\u{a0}){0,24}"
        ) {
            if let Some(found) = serialised(&html) {
                prop_assert_eq!(&found, &parsed(&html));
                prop_assert_eq!(blocks::text_of(&found), blocks::text_of(&parsed(&html)));
            }
        }

        #[test]
        fn well_nested_texts_are_those_of_a_parser(html in tree()) {
            if let Some(found) = serialised(&html) {
                prop_assert_eq!(&found, &parsed(&html));
            }
        }
    }

    /// Well-nested elements of any names.
    fn tree() -> impl Strategy<Value = String> {
        let names = prop::sample::select(vec![
            "p",
            "div",
            "b",
            "a",
            "ul",
            "ol",
            "li",
            "dl",
            "dt",
            "dd",
            "table",
            "tbody",
            "thead",
            "tr",
            "td",
            "th",
            "h1",
            "pre",
            "code",
            "my-x",
            "span",
            "section",
            "blockquote",
            "font",
            "label",
            "summary",
            "details",
            "dialog",
            "figure",
            "listing",
            "center",
            "mark",
            "data",
            "search",
            "hgroup",
        ]);
        let leaf =
            prop::sample::select(vec!["x", " ", "\n", "<br>", "<hr>", "<img>", "&amp;", "> &", "\n\n"]);
        leaf.prop_map(str::to_owned).prop_recursive(6, 40, 5, move |inner| {
            (names.clone(), prop::collection::vec(inner, 0..5))
                .prop_map(|(name, content)| format!("<{name}>{}</{name}>", content.concat()))
        })
    }
}
