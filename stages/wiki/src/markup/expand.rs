//! The first pass: comments, elements without wikitext, templates, links and language variants.
//!
//! What is open is on a stack of limited depth. What never ends is text, as in MediaWiki.

use super::links::{Link, link};
use super::marks::{DROPPED, Items, TAG, TAG_END, is_mark, push_escaped, push_text};
use super::tags::{Element, Tag, element};
use super::templates::{Part, template};
use crate::site::{FILE, Site};
use std::collections::BTreeMap;

/// Maximum depth of templates and links; deeper ones are text. MediaWiki allows 40 templates.
const DEPTH_MAX: usize = 100;

/// Expands a page. Blocks of code and formulas become items.
pub(super) fn expand(text: &str, title: &str, site: &Site, items: &mut Items) -> String {
    let text = text.replace("\r\n", "\n");
    let text: std::borrow::Cow<str> =
        if text.contains(is_mark) { text.replace(is_mark, "").into() } else { text.into() };
    let mut expander = Expander {
        text: &text,
        at: 0,
        root: String::with_capacity(text.len()),
        frames: Vec::new(),
        ends: BTreeMap::new(),
        lists: Vec::new(),
        poems: 0,
        has_variants: has_variants(&site.language),
        title,
        site,
        items,
    };
    expander.run();
    expander.root
}

/// Whether texts in a language are converted between its scripts.
fn has_variants(language: &str) -> bool {
    const LANGUAGES: [&str; 12] =
        ["zh", "sr", "sh", "kk", "ku", "iu", "tg", "uz", "shi", "gan", "crh", "wuu"];
    LANGUAGES.contains(&language.split('-').next().unwrap_or_default())
}

struct Expander<'t> {
    text: &'t str,
    at: usize,
    root: String,
    frames: Vec<Frame>,
    /// Where the next end tag of an element is, if it was looked for.
    ends: BTreeMap<String, Option<usize>>,
    /// Open lists of HTML, by the sign of their items.
    lists: Vec<char>,
    poems: usize,
    has_variants: bool,
    title: &'t str,
    site: &'t Site,
    items: &'t mut Items,
}

struct Frame {
    kind: Kind,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As many `{`.
    Braces(usize),
    /// `[[`
    Link,
    /// `-{`
    Variant,
}

impl<'t> Expander<'t> {
    fn run(&mut self) {
        const SIGNS: [char; 10] = ['{', '}', '[', ']', '|', '=', '<', '-', '_', '\n'];
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let next = rest.find(SIGNS).unwrap_or(rest.len());
            if next > 0 {
                self.push(&rest[..next]);
                self.at += next;
                continue;
            }
            match rest.as_bytes()[0] {
                b'{' => self.open_braces(rest),
                b'}' => self.close_braces(rest),
                b'[' => self.open_link(rest),
                b']' => self.close_link(rest),
                b'|' => self.next_part(),
                b'=' => self.equals(),
                b'<' => self.tag(rest),
                b'-' => self.open_variant(rest),
                b'_' => self.switch(rest),
                _ => self.line_end(rest),
            }
        }
        while !self.frames.is_empty() {
            self.flatten();
        }
    }

    fn out(&mut self) -> &mut String {
        match self.frames.last_mut().and_then(|frame| frame.parts.last_mut()) {
            Some(part) => &mut part.text,
            None => &mut self.root,
        }
    }

    fn push(&mut self, text: &str) {
        self.out().push_str(text);
    }

    /// Takes bytes of the text as they are.
    fn literal(&mut self, length: usize) {
        let text = &self.text[self.at..self.at + length];
        self.at += length;
        self.push(text);
    }

    fn open(&mut self, kind: Kind) {
        self.frames.push(Frame { kind, parts: vec![Part::default()] });
    }

    /// Makes the last open thing text.
    fn flatten(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let out = self.out();
        match frame.kind {
            Kind::Braces(count) => out.extend(std::iter::repeat_n('{', count)),
            Kind::Link => out.push_str("[["),
            Kind::Variant => out.push_str("-{"),
        }
        for (position, part) in frame.parts.iter().enumerate() {
            if position > 0 {
                out.push('|');
            }
            out.push_str(&part.text);
        }
    }

    /// Notes that something was dropped. Spaces behind it at the start of a line would make code of the line.
    fn dropped(&mut self) {
        let out = self.out();
        if !out.ends_with(DROPPED) {
            out.push(DROPPED);
        }
        if is_at_line_start(out, &[' ', '\t', DROPPED]) {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        }
    }

    fn open_braces(&mut self, rest: &str) {
        let count = run_of(rest, b'{');
        if count < 2 || self.frames.len() >= DEPTH_MAX {
            return self.literal(count);
        }
        self.at += count;
        self.open(Kind::Braces(count));
    }

    fn close_braces(&mut self, rest: &str) {
        let top = self.frames.last().map(|frame| frame.kind);
        if top == Some(Kind::Variant) && rest.starts_with("}-") {
            self.at += 2;
            return self.close_variant();
        }
        let mut count = run_of(rest, b'}');
        self.at += count;
        while count >= 2 {
            let Some(at) = self.frames.iter().rposition(|frame| matches!(frame.kind, Kind::Braces(_))) else {
                break;
            };
            while self.frames.len() > at + 1 {
                self.flatten();
            }
            let Some(Frame { kind: Kind::Braces(open), parts }) = self.frames.pop() else { break };
            let closed = if open >= 3 && count >= 3 { 3 } else { 2 };
            count -= closed;
            let text = match closed {
                // A parameter, with its default.
                3 => parts.into_iter().nth(1).map(|part| part.text),
                _ => template(&parts, self.title, &self.site.language),
            };
            match open - closed {
                0 => {}
                1 => self.push("{"),
                left => self.open(Kind::Braces(left)),
            }
            match text {
                Some(text) => self.push(&text),
                None => self.dropped(),
            }
        }
        self.out().extend(std::iter::repeat_n('}', count));
    }

    fn open_link(&mut self, rest: &str) {
        let count = run_of(rest, b'[');
        if count < 2 || self.frames.len() >= DEPTH_MAX {
            return self.literal(count);
        }
        self.literal(count - 2);
        self.at += 2;
        self.open(Kind::Link);
    }

    fn close_link(&mut self, rest: &str) {
        let is_link = self.frames.last().is_some_and(|frame| frame.kind == Kind::Link);
        if !rest.starts_with("]]") || !is_link {
            return self.literal(1);
        }
        self.at += 2;
        let parts: Vec<&str> = match self.frames.last() {
            Some(frame) => frame.parts.iter().map(|part| part.text.as_str()).collect(),
            None => Vec::new(),
        };
        match link(&parts, self.site) {
            Link::Text(text) => {
                self.frames.pop();
                self.push(&text);
            }
            Link::Dropped => {
                self.frames.pop();
                self.dropped();
            }
            Link::None => {
                self.flatten();
                self.push("]]");
            }
        }
    }

    fn next_part(&mut self) {
        match self.frames.last_mut() {
            Some(frame) if frame.kind != Kind::Variant => {
                self.at += 1;
                frame.parts.push(Part::default());
            }
            _ => self.literal(1),
        }
    }

    fn equals(&mut self) {
        if let Some(Frame { kind: Kind::Braces(_), parts }) = self.frames.last_mut()
            && parts.len() > 1
            && let Some(part) = parts.last_mut()
        {
            part.equals = part.equals.or(Some(part.text.len()));
        }
        self.literal(1);
    }

    fn open_variant(&mut self, rest: &str) {
        let is_open = rest.starts_with("-{") && !rest.starts_with("-{{") && !rest.starts_with("-{|");
        if !self.has_variants || !is_open || self.frames.len() >= DEPTH_MAX {
            return self.literal(1);
        }
        self.at += 2;
        self.open(Kind::Variant);
    }

    fn close_variant(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let text: String = frame.parts.into_iter().map(|part| part.text).collect();
        match variant(&text) {
            Some(text) => {
                let text = text.to_owned();
                self.push(&text);
            }
            None => self.dropped(),
        }
    }

    /// Leaves out behaviour switches such as `__NOTOC__`.
    fn switch(&mut self, rest: &str) {
        const CHARACTERS_MAX: usize = 40;
        let count = run_of(rest, b'_');
        if count == 2 {
            let word: String =
                rest[2..].chars().take(CHARACTERS_MAX).take_while(|c| c.is_alphabetic()).collect();
            let is_switch = word.chars().count() > 2 && !word.chars().any(char::is_lowercase);
            if is_switch && rest[2 + word.len()..].starts_with("__") {
                self.at += word.len() + 4;
                return;
            }
        }
        self.literal(count);
    }

    fn line_end(&mut self, rest: &str) {
        if rest.starts_with("\n\n") {
            // A link cannot span paragraphs, but the caption of a file can.
            let is_link = |frame: &Frame| {
                let is_file = || self.site.namespace_of(frame.parts[0].text.trim()) == Some(FILE);
                frame.kind == Kind::Link && !(frame.parts.len() > 1 && is_file())
            };
            while self.frames.last().is_some_and(is_link) {
                let Some(frame) = self.frames.pop() else { break };
                let out = match self.frames.last_mut().and_then(|frame| frame.parts.last_mut()) {
                    Some(part) => &mut part.text,
                    None => &mut self.root,
                };
                let texts: Vec<&str> = frame.parts.iter().map(|part| part.text.as_str()).collect();
                out.push_str(&format!("[[{}", texts.join("|")));
            }
        }
        if self.poems > 0 {
            self.push_tag("br");
        }
        self.literal(1);
    }

    fn push_tag(&mut self, name: &str) {
        let out = self.out();
        out.push(TAG);
        out.push_str(name);
        out.push(TAG_END);
    }

    fn tag(&mut self, rest: &str) {
        if rest.starts_with("<!--") {
            let length = rest.find("-->").map_or(rest.len(), |end| end + 3);
            self.at += length;
            // A comment on a line of its own leaves no line.
            let out = self.out();
            let is_alone = is_at_line_start(out, &[' ', '\t']);
            let behind = self.text[self.at..].trim_start_matches([' ', '\t']);
            if is_alone && behind.starts_with('\n') {
                self.at = self.text.len() - behind.len() + 1;
            }
            return;
        }
        let found = Tag::at(rest).and_then(|tag| element(&tag.name).map(|element| (tag, element)));
        let Some((tag, element)) = found else { return self.literal(1) };
        self.at += tag.length;
        match element {
            Element::Dropped
            | Element::Nowiki
            | Element::Pre
            | Element::Code
            | Element::Math
            | Element::Chemistry => self.opaque(&tag, element),
            Element::Plain => {}
            Element::Kept(name) if tag.is_end => self.push_tag(&format!("/{name}")),
            Element::Kept(name) => self.push_tag(name),
            Element::Break => self.push_tag("br"),
            Element::Block => self.block_border(tag.is_end),
            Element::Rule => self.push("\n----\n"),
            Element::Heading(level) => {
                let signs = "======";
                let signs = &signs[..level];
                match tag.is_end {
                    true => self.push(&format!("{signs}\n")),
                    false => self.push(&format!("\n{signs}")),
                }
            }
            Element::List(sign) if !tag.is_end => {
                if self.lists.len() < DEPTH_MAX {
                    self.lists.push(sign);
                }
            }
            Element::List(_) => {
                self.lists.pop();
                self.push("\n");
            }
            Element::Item if !tag.is_end => {
                let signs: String = self.lists.iter().take(16).collect();
                let signs = if signs.is_empty() { "*" } else { &signs };
                self.push(&format!("\n{signs} "));
            }
            Element::Definition(sign) if !tag.is_end => self.push(&format!("\n{sign} ")),
            Element::Item | Element::Definition(_) => {}
            Element::Poem if tag.is_end => {
                self.poems = self.poems.saturating_sub(1);
                self.block_border(true);
            }
            Element::Poem => {
                self.poems += usize::from(!tag.is_empty);
                self.block_border(false);
                self.at += usize::from(self.text[self.at..].starts_with('\n'));
            }
            Element::Table if tag.is_end => self.push("\n|}\n"),
            Element::Table => self.push("\n{|\n"),
            Element::Row if !tag.is_end => self.push("\n|-\n"),
            Element::Cell(sign) if !tag.is_end => self.push(&format!("\n{sign}{}", spans(&tag))),
            Element::Caption if !tag.is_end => self.push("\n|+"),
            Element::Row | Element::Cell(_) | Element::Caption => {}
        }
    }

    /// An element whose content is no wikitext.
    fn opaque(&mut self, tag: &Tag, element: Element) {
        if tag.is_end {
            return;
        }
        let content = if tag.is_empty { Some(("", 0)) } else { self.content(&tag.name) };
        // Without an end, only the tag is left out.
        let Some((content, length)) = content else { return };
        self.at += length;
        let mut html = String::new();
        let escaped = |text: &str| {
            let mut out = String::new();
            push_escaped(text.chars(), &mut out);
            out
        };
        match element {
            Element::Nowiki => push_text(content, &mut html),
            Element::Pre => {
                let content = content.replace("<nowiki>", "").replace("</nowiki>", "");
                push_text(&content, &mut html);
                html = format!("<pre>{html}</pre>");
            }
            Element::Code if tag.has("inline") => html = format!("<code>{}</code>", escaped(content)),
            Element::Code => {
                let is_name = |c: &char| c.is_ascii_alphanumeric() || "+#_-".contains(*c);
                let language: String = tag.value("lang").chars().take_while(is_name).take(32).collect();
                html = format!("<pre><code class=\"language-{language}\">{}</code></pre>", escaped(content));
            }
            Element::Math | Element::Chemistry if !content.trim().is_empty() => {
                let tex = content.split_whitespace().collect::<Vec<_>>().join(" ");
                let tex = if element == Element::Chemistry { format!("\\ce{{{tex}}}") } else { tex };
                let sign = if tag.value("display") == "block" { "$$" } else { "$" };
                html = escaped(&format!("{sign}{tex}{sign}"));
            }
            _ => return self.dropped(),
        }
        let is_block = html.starts_with("<pre>");
        let mut mark = String::new();
        self.items.keep(html, &mut mark);
        if is_block {
            self.block_border(false);
        }
        self.push(&mark);
        if is_block {
            self.block_border(true);
        }
    }

    /// What an element contains, and the length of this with its end tag. Where the next end tag is, is remembered, so
    /// that each is looked for once.
    fn content(&mut self, name: &str) -> Option<(&'t str, usize)> {
        let known = self.ends.get(name).copied();
        let end = match known {
            Some(None) => None,
            Some(Some(end)) if end >= self.at => Some(end),
            _ => {
                let end = end_tag(&self.text[self.at..], name).map(|end| self.at + end);
                self.ends.insert(name.to_owned(), end);
                end
            }
        }?;
        let rest = &self.text[end..];
        let tag = rest.find('>').map_or(rest.len(), |close| close + 1);
        Some((&self.text[self.at..end], end + tag - self.at))
    }

    /// Begins a line, unless one has just begun; blocks in the items of lists begin there. Behind a block, spaces would
    /// make code of the line.
    fn block_border(&mut self, is_end: bool) {
        let out = self.out();
        if out.ends_with('\n') {
            out.push('\n');
        } else if is_end || !is_at_line_start(out, &[' ', '*', '#', ':', ';', '|', '!', DROPPED]) {
            out.push_str("\n\n");
        }
        if is_end {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        }
    }
}

/// Whether a line has just begun, with nothing but these characters. It looks at a few of them only, since it is asked
/// again and again on the same line.
fn is_at_line_start(out: &str, blank: &[char]) -> bool {
    const CHARACTERS_MAX: usize = 64;
    let mut last = out.chars().rev().take(CHARACTERS_MAX);
    let found = last.find(|c| !blank.contains(c));
    found.map_or_else(|| out.len() < CHARACTERS_MAX, |c| c == '\n')
}

/// The attributes of a cell that say what it spans, before its content.
fn spans(tag: &Tag) -> String {
    let span = |name: &str| {
        let value: String = tag.value(name).chars().take_while(char::is_ascii_digit).take(5).collect();
        if value.is_empty() { value } else { format!(" {name}=\"{value}\"") }
    };
    let spans = span("colspan") + &span("rowspan");
    if spans.is_empty() { " ".to_owned() } else { format!("{spans} | ") }
}

/// The text of `-{…}-` in the simplified script, or the first that is given; `None` if it is not shown.
fn variant(text: &str) -> Option<&str> {
    let text = match text.split_once('|') {
        Some((flags, text)) => {
            let is = |flag: char| flags.split(';').any(|one| one.trim().chars().eq([flag]));
            if is('H') || is('T') || is('D') || is('-') {
                return None;
            }
            if is('R') {
                return Some(text);
            }
            text
        }
        None => text,
    };
    const WANTED: [&str; 6] = ["zh-hans", "zh-cn", "zh-sg", "sr-ec", "sr-cyrl", "zh"];
    let forms: Vec<(&str, &str)> = text.split(';').filter_map(|form| form.split_once(':')).collect();
    let form = |name: &str| forms.iter().find(|(code, _)| code.trim() == name).map(|(_, text)| text.trim());
    let is_code = |(code, _): &(&str, &str)| {
        let code = code.trim();
        (2..=12).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    match forms.first() {
        Some(first) if is_code(first) => WANTED.into_iter().find_map(form).or(Some(first.1.trim())),
        _ => Some(text),
    }
}

/// The position of the next end tag of an element.
fn end_tag(text: &str, name: &str) -> Option<usize> {
    memchr::memmem::find_iter(text.as_bytes(), b"</").find(|at| {
        let rest = &text.as_bytes()[at + 2..];
        let is_name = rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
        is_name && rest.get(name.len()).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'>')
    })
}

fn run_of(text: &str, byte: u8) -> usize {
    text.bytes().take_while(|found| *found == byte).count()
}
