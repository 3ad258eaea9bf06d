//! Markup to text, block by block: what a reader sees, as light Markdown.
//!
//! Code blocks are fenced and verbatim, including indentation; headings get `#`, list items `-` or their number,
//! table rows `|`. Meaning that is only in the markup is written with signs: powers and indices, fractions,
//! quotations, deleted text, ruby annotations. Linear in the length of the markup, without recursion.

mod definitions;
mod line;
mod numerals;
mod rows;

use super::events::{Element, Event, events, unescape};
use super::scripts::{lowered, numerator, raised};
use super::tables::{Shape, shapes};
use definitions::bullets;
use line::{close_inline_code, collapse, end_pair, end_word, extend_code, longest_run};
use numerals::{Numerals, integer, is_list, item_counts};
use rows::{Room, Row, Table};

/// Writes the text of serialised markup.
pub(super) fn text_of(html: &str) -> String {
    let (shapes, item_counts) = (shapes(html).into_iter(), item_counts(html).into_iter());
    let bullets = bullets(html).into_iter();
    let mut writer = Writer { shapes, item_counts, bullets, ..Writer::default() };
    for event in events(html) {
        match event {
            Event::Text(text) => writer.text(text),
            Event::Start(element) => writer.start(&element),
            Event::End(name) => writer.end(name),
        }
    }
    writer.finish()
}

/// Bytes of text outside of links and within them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TextSizes {
    pub(super) plain: usize,
    pub(super) linked: usize,
}

/// Measures serialised markup.
pub(super) fn text_sizes(html: &str) -> TextSizes {
    let (mut sizes, mut links) = (TextSizes::default(), 0usize);
    for event in events(html) {
        match event {
            Event::Text(text) => {
                let length = unescape(text).trim().len();
                if links > 0 { sizes.linked += length } else { sizes.plain += length }
            }
            Event::Start(element) => links += usize::from(element.name == "a"),
            Event::End(name) => links = links.saturating_sub(usize::from(name == "a")),
        }
    }
    sizes
}

#[derive(Default)]
struct Writer {
    out: String,
    /// The paragraph being written, with collapsed white space.
    line: String,
    /// The prefix of the paragraph: `- `, `## `.
    prefix: String,
    /// Whether the next paragraph follows the last one without a blank line.
    tight: bool,
    /// Indentation of the next line, if it continues the paragraph after a line break.
    continued: Option<usize>,
    /// Whether a heading is open; it is kept on one line.
    heading: bool,
    lists: Vec<List>,
    /// Whether a term is open, and whether it is the bullet of a list of points.
    term: Option<Term>,
    /// Whether the last term was a bullet, whose text follows.
    bullet: bool,
    /// Whether the last block was such a text.
    after_point: bool,
    /// For each open definition, whether it is a point of a list.
    definitions: Vec<bool>,
    /// Whether each of the terms that follow is a bullet.
    bullets: std::vec::IntoIter<bool>,
    /// Numbers of items of the numbered lists that follow.
    item_counts: std::vec::IntoIter<i32>,
    code: Option<Code>,
    /// Open `<code>` elements outside of code blocks, which are enclosed in backticks.
    inline_code: usize,
    /// The position of their mark in the line.
    inline_code_at: usize,
    /// The open link.
    link: Option<Link>,
    /// End of the link in the line, if the line is nothing else.
    link_only: usize,
    /// Whether the line had links or pictures that are not in the text.
    links_removed: bool,
    /// Whether something other than text, such as an image, separates the line from the text that follows.
    apart: bool,
    /// Open superscripts and subscripts.
    scripts: Vec<Script>,
    /// A finished superscript, which is a numerator if a slash follows.
    raised: Option<Raised>,
    row: Option<Row>,
    /// Tables that are open.
    tables: Vec<Table>,
    /// Shapes of the tables that follow.
    shapes: std::vec::IntoIter<Shape>,
    /// Empty cells that tables may still have.
    room: Room,
}

struct List {
    /// Columns before the text of the current item.
    indent: usize,
    /// Number of the next item, and its difference from the one after it.
    number: Option<(i32, i32)>,
    numerals: Numerals,
    /// Whether its first item is still to come.
    fresh: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Term {
    Text,
    Bullet,
}

struct Link {
    /// Its start in the line.
    at: usize,
    in_page: bool,
}

struct Script {
    raised: bool,
    linked: bool,
    /// Its start in the line.
    at: usize,
}

struct Raised {
    content: String,
    linked: bool,
}

#[derive(Default)]
struct Code {
    language: String,
    text: String,
    /// Starts of the blocks that are open in it.
    blocks: Vec<usize>,
    /// Whether the line break that ends the last block was inserted, so that one in the text is not a second one.
    ended: bool,
}

/// What the scan writes in place of links that it removes: white space, which is found nowhere else outside of code.
pub(super) const LINKS_REMOVED: char = '\u{c}';
const INDENT: &str = "  ";
const LISTS_MAX: usize = 16;
/// Maximum depth of nested superscripts.
const SCRIPTS_MAX: usize = 8;

impl Writer {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut text = unescape(text);
        if self.code.is_none() && text.contains(LINKS_REMOVED) {
            self.links_removed = true;
            text = text.replace(LINKS_REMOVED, " ").into();
        }
        match &mut self.code {
            Some(code) => code.push(&text),
            None => {
                self.end_raised(text.trim_start().starts_with(['/', '⁄']));
                if std::mem::take(&mut self.apart)
                    && self.line.ends_with(char::is_alphanumeric)
                    && text.starts_with(char::is_alphanumeric)
                {
                    self.line.push(' ');
                }
                match self.inline_code {
                    0 => collapse(&text, &mut self.line),
                    _ => extend_code(&text, &mut self.line),
                }
            }
        }
    }

    fn start(&mut self, element: &Element) {
        let name = element.name;
        if let Some(code) = &mut self.code {
            match name {
                "br" => code.push("\n"),
                "code" if code.language.is_empty() => code.language = language_of(element),
                "sup" if code.text.ends_with(char::is_alphanumeric) => code.push("^"),
                "td" | "th" if !code.text.is_empty() && !code.text.ends_with('\n') => code.push("\t"),
                _ if is_line(name) => code.start_block(),
                _ => {}
            }
            // Lists and tables in code are lines of it.
            match name {
                "ol" => drop(self.item_counts.next()),
                "table" => drop(self.shapes.next()),
                _ => {}
            }
            return;
        }
        match name {
            "pre" | "listing" => {
                self.paragraph();
                self.code = Some(Code { language: language_of(element), ..Code::default() });
            }
            "code" | "samp" | "kbd" | "tt" => {
                self.end_raised(false);
                self.inline_code += 1;
                if self.inline_code == 1 {
                    self.open_inline_code();
                }
            }
            "img" | "input" | "embed" => {
                self.apart = true;
                self.links_removed = true;
            }
            "sup" | "sub" => {
                self.end_raised(false);
                if self.scripts.len() < SCRIPTS_MAX {
                    self.scripts.push(Script { raised: name == "sup", linked: false, at: self.line.len() });
                }
            }
            "a" => {
                self.scripts.iter_mut().for_each(|script| script.linked = true);
                let in_page = element.value("href").starts_with('#');
                self.link = Some(Link { at: self.line.len(), in_page });
            }
            "q" => self.line.push('"'),
            "del" | "s" | "strike" => self.line.push_str("~~"),
            "rt" => self.line.push('('),
            "br" => self.line_break(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.paragraph();
                self.heading = true;
                if self.row.is_none() {
                    let level = usize::from(name.as_bytes()[1] - b'0');
                    self.prefix.push_str(&format!("{} ", &"######"[..level]));
                }
            }
            _ if is_list(name) => {
                self.paragraph();
                let number = (name == "ol").then(|| self.numbers(element));
                let indent = INDENT.len() * (self.lists.len() + 1).min(LISTS_MAX);
                let numerals = Numerals::of(element.value("type"));
                self.lists.push(List { indent, number, numerals, fresh: true });
            }
            "li" => self.item(element),
            "dt" => self.term(),
            "dd" => self.definition(),
            "table" => {
                self.end_row();
                self.paragraph();
                self.tables.push(Table::new(self.shapes.next().unwrap_or(Shape::Layout)));
            }
            "thead" | "tbody" | "tfoot" => {
                self.paragraph();
                self.tables.last_mut().into_iter().for_each(Table::start_group);
            }
            "tr" => {
                self.end_row();
                self.paragraph();
                let table = self.tables.last_mut().filter(|table| table.shape == Shape::Rows);
                self.row = table.map(Table::start_row);
            }
            "td" | "th" => match &mut self.row {
                Some(row) => row.start_cell(element, &mut self.room),
                None => self.paragraph(),
            },
            _ if is_block(name) => self.paragraph(),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        if let Some(code) = &mut self.code {
            match name {
                "pre" | "listing" => self.leave_code(),
                _ if is_line(name) => code.end_block(),
                _ => {}
            }
            return;
        }
        match name {
            "code" | "samp" | "kbd" | "tt" if self.inline_code > 0 => {
                self.inline_code -= 1;
                if self.inline_code == 0 {
                    self.end_raised(false);
                    close_inline_code(&mut self.line, self.inline_code_at);
                }
            }
            "sup" | "sub" => self.end_script(),
            "a" => self.end_link(),
            "q" => self.line.push('"'),
            "del" | "s" | "strike" => end_pair(&mut self.line, "~~", "~~"),
            "rt" => end_pair(&mut self.line, "(", ")"),
            _ if is_list(name) => {
                self.paragraph();
                self.lists.pop();
                self.prefix.clear();
                self.tight = !self.lists.is_empty();
            }
            "td" | "th" => {
                self.end_inline();
                match &mut self.row {
                    Some(row) => {
                        row.end_cell(&std::mem::take(&mut self.line), name == "th", &mut self.room);
                    }
                    None => self.paragraph(),
                }
            }
            "tr" => self.end_row(),
            "table" => {
                self.end_row();
                self.paragraph();
                self.tables.pop();
            }
            "li" => {
                self.paragraph();
                self.prefix.clear();
                self.tight = !self.lists.is_empty();
            }
            "dt" => {
                self.paragraph();
                match self.term.take() {
                    Some(Term::Bullet) => self.bullet = true,
                    _ => self.tight = true,
                }
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.end_part(),
            "dd" => {
                self.end_part();
                self.after_point = self.definitions.pop().unwrap_or_default();
                if self.after_point {
                    self.lists.pop();
                }
            }
            "dl" => {
                self.paragraph();
                self.tight = false;
                self.after_point = false;
            }
            _ if is_block(name) => self.paragraph(),
            _ => {}
        }
    }

    /// The number of a list's first item, and the difference between two items.
    fn numbers(&mut self, element: &Element) -> (i32, i32) {
        let items = self.item_counts.next().unwrap_or_default();
        let (start, step) = if element.has("reversed") { (items, -1) } else { (1, 1) };
        (integer(element.value("start")).unwrap_or(start), step)
    }

    fn item(&mut self, element: &Element) {
        self.paragraph();
        if self.row.is_some() {
            return;
        }
        let depth = self.lists.len().clamp(1, LISTS_MAX) - 1;
        let mut prefix = INDENT.repeat(depth);
        match self.lists.last_mut() {
            Some(list) => {
                // An item follows the previous one without a blank line, and so does a nested list.
                self.tight = !std::mem::take(&mut list.fresh) || depth > 0;
                match &mut list.number {
                    Some((number, step)) => {
                        *number = integer(element.value("value")).unwrap_or(*number);
                        prefix += &format!("{}. ", list.numerals.written(*number));
                        *number = number.saturating_add(*step);
                    }
                    None => prefix += "- ",
                }
                list.indent = prefix.chars().count();
            }
            None => prefix += "- ",
        }
        self.prefix = prefix;
    }

    fn term(&mut self) {
        self.paragraph();
        let bullet = self.bullets.next().unwrap_or_default() && self.row.is_none();
        self.term = Some(if bullet { Term::Bullet } else { Term::Text });
        self.bullet = false;
        if !bullet && std::mem::take(&mut self.after_point) {
            self.tight = false;
        }
    }

    fn definition(&mut self) {
        self.paragraph();
        let point = std::mem::take(&mut self.bullet) && self.row.is_none();
        self.definitions.push(point);
        if point {
            let depth = self.lists.len().min(LISTS_MAX - 1);
            self.tight = std::mem::take(&mut self.after_point) || depth > 0;
            self.prefix = format!("{}- ", INDENT.repeat(depth));
            let indent = INDENT.len() * (depth + 1);
            self.lists.push(List { indent, number: None, numerals: Numerals::Arabic, fresh: false });
        } else if self.row.is_none() {
            self.prefix = ": ".to_owned();
            self.tight = true;
        }
    }

    /// Ends a heading or a definition.
    fn end_part(&mut self) {
        self.paragraph();
        self.heading = false;
        self.prefix.clear();
        self.tight = false;
    }

    fn end_link(&mut self) {
        let Some(Link { at, in_page }) = self.link.take() else { return };
        let text = self.line.get(at..).unwrap_or_default().trim();
        if text.chars().all(|c| matches!(c, '§' | '¶' | '‹' | '›' | '«' | '»')) {
            self.links_removed = true;
        } else if in_page && at == 0 {
            self.link_only = self.line.trim_end().len();
        }
    }

    /// Ends the paragraph. Within a table row, blocks are separated by a space only.
    fn paragraph(&mut self) {
        self.end_line();
        self.continued = None;
    }

    /// Breaks the line within the paragraph; the next line is aligned with the text that it continues. Two breaks in
    /// a row end the paragraph.
    fn line_break(&mut self) {
        if self.row.is_some() || self.heading {
            self.space();
            return;
        }
        let indent = self.continued.unwrap_or(self.prefix.len()).min(INDENT.len() * LISTS_MAX);
        let written = self.end_line();
        self.continued = written.then_some(indent);
    }

    fn space(&mut self) {
        self.end_raised(false);
        end_word(&mut self.line);
    }

    /// Writes the line, unless it is empty. Inline code that is open continues on the next line.
    fn end_line(&mut self) -> bool {
        if self.row.is_some() {
            self.space();
            return false;
        }
        let open = self.inline_code;
        let written = self.write_line();
        if open > 0 {
            self.inline_code = open;
            self.open_inline_code();
        }
        written
    }

    fn open_inline_code(&mut self) {
        self.inline_code_at = self.line.len();
        self.line.push('`');
    }

    fn write_line(&mut self) -> bool {
        self.apart = false;
        self.end_inline();
        let line = std::mem::take(&mut self.line);
        let line = line.trim();
        let separators = std::mem::take(&mut self.links_removed)
            && line
                .chars()
                .all(|c| matches!(c, ' ' | '·' | '•' | '|' | '§' | '¶' | '/' | '‹' | '›' | '«' | '»'));
        // Such as "Skip to content", the first thing on many pages.
        let skip_link = std::mem::take(&mut self.link_only) == line.len()
            && self.out.is_empty()
            && self.prefix.is_empty()
            && self.term.is_none();
        if line.is_empty() || separators || skip_link || self.term == Some(Term::Bullet) {
            return false;
        }
        self.after_point = false;
        let prefix = std::mem::take(&mut self.prefix);
        match self.continued.take() {
            Some(indent) => self.out.push_str(&" ".repeat(indent)),
            None => {
                self.open_block();
                if prefix.is_empty() && !self.lists.is_empty() {
                    self.out.push_str(&INDENT.repeat(self.lists.len().min(LISTS_MAX)));
                }
            }
        }
        self.out.push_str(&prefix);
        self.out.push_str(line);
        self.out.push('\n');
        true
    }

    fn open_block(&mut self) {
        if !std::mem::take(&mut self.tight) && !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// Ends what must not span lines: backticks, superscripts.
    fn end_inline(&mut self) {
        while !self.scripts.is_empty() {
            self.end_script();
        }
        self.end_raised(false);
        if self.inline_code > 0 {
            self.inline_code = 0;
            close_inline_code(&mut self.line, self.inline_code_at);
        }
    }

    fn end_script(&mut self) {
        self.end_raised(false);
        let Some(script) = self.scripts.pop() else { return };
        let content = self.line.split_off(script.at.min(self.line.len()));
        if script.raised {
            self.raised = Some(Raised { content, linked: script.linked });
        } else {
            let lowered = lowered(&self.line, &content);
            self.line.push_str(&lowered);
        }
    }

    /// Writes the finished superscript.
    fn end_raised(&mut self, as_numerator: bool) {
        if let Some(Raised { content, linked }) = self.raised.take() {
            let digits = content.trim().chars().all(|c| c.is_ascii_digit());
            let written = match as_numerator && digits {
                true => numerator(&self.line, &content),
                false => raised(&self.line, &content, linked),
            };
            self.line.push_str(&written);
        }
    }

    fn leave_code(&mut self) {
        let Some(code) = self.code.take() else { return };
        // The first line break of `<pre>` is markup, and blank lines at either end have no meaning.
        let text = code.text.replace("\r\n", "\n").replace('\r', "\n");
        let text = text.trim_end();
        let blank = |line: &str| line.trim().is_empty();
        let lead: usize = text.split_inclusive('\n').take_while(|line| blank(line)).map(str::len).sum();
        let text = &text[lead..];
        if text.is_empty() {
            return;
        }
        let fence = "`".repeat(longest_run(text, '`').max(2) + 1);
        let prefix = std::mem::take(&mut self.prefix);
        let indent = " ".repeat(self.lists.last().map_or(0, |list| list.indent));
        // An item may begin with its code.
        let is_item = !self.lists.is_empty() && !self.heading && !prefix.is_empty();
        self.tight &= is_item;
        self.open_block();
        self.out.push_str(if is_item { &prefix } else { &indent });
        self.out.push_str(&format!("{fence}{}\n", code.language));
        for line in text.split('\n') {
            if !line.is_empty() {
                self.out.extend([&*indent, line]);
            }
            self.out.push('\n');
        }
        self.out.push_str(&format!("{indent}{fence}\n"));
        self.tight = false;
    }

    fn end_row(&mut self) {
        self.end_inline();
        let Some(mut row) = self.row.take() else { return self.paragraph() };
        (self.links_removed, self.link_only) = (false, 0);
        let last = std::mem::take(&mut self.line);
        if !last.trim().is_empty() {
            row.end_cell(&last, false, &mut self.room);
        }
        let Some(table) = self.tables.last_mut() else { return };
        if let Some((position, line)) = table.end_row(row, &mut self.room) {
            self.prefix.clear();
            self.tight = position > 0;
            self.open_block();
            self.out.push_str(&line);
        }
    }

    fn finish(mut self) -> String {
        self.leave_code();
        self.end_row();
        self.paragraph();
        self.out
    }
}

impl Code {
    fn push(&mut self, text: &str) {
        let text = match std::mem::take(&mut self.ended) {
            true => text.strip_prefix('\n').unwrap_or(text),
            false => text,
        };
        self.text.push_str(text);
    }

    /// A block element within code takes lines of its own.
    fn start_block(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.ended = false;
        self.blocks.push(self.text.len());
    }

    fn end_block(&mut self) {
        let empty = self.blocks.pop() == Some(self.text.len());
        if empty || !self.text.ends_with('\n') {
            self.text.push('\n');
            self.ended = true;
        }
    }
}

fn is_block(name: &str) -> bool {
    const BLOCKS: &[&str] = &[
        "p",
        "div",
        "section",
        "article",
        "main",
        "header",
        "footer",
        "aside",
        "blockquote",
        "figure",
        "figcaption",
        "details",
        "summary",
        "dl",
        "dt",
        "dd",
        "hr",
        "address",
        "fieldset",
        "legend",
        "form",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "dialog",
        "hgroup",
        "search",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "body",
        "html",
        "center",
    ];
    BLOCKS.contains(&name)
}

/// Elements that are lines within code.
fn is_line(name: &str) -> bool {
    is_block(name) || is_list(name) || matches!(name, "li" | "tr" | "table")
}

/// The language in a class such as `language-rust`, `lang-sh`, `highlight-python` or rustdoc's `rust`.
fn language_of(element: &Element) -> String {
    let named = |class: &str| {
        let prefixes = ["language-", "lang-", "highlight-source-", "brush:"];
        let name = prefixes.iter().find_map(|prefix| class.strip_prefix(prefix));
        let name = name.or((class == "rust").then_some(class))?;
        let plain: String =
            name.chars().take_while(|c| c.is_ascii_alphanumeric() || "+#_-".contains(*c)).collect();
        (!plain.is_empty()).then_some(plain)
    };
    element.value("class").split([' ', ',']).find_map(named).unwrap_or_default()
}

#[cfg(test)]
mod tests;
