//! Markup to text, block by block: what a reader sees, as light Markdown.
//!
//! Code blocks are fenced and verbatim, their indentation included; headings get `#`, list items `-` or their
//! number, table rows `|`. Meaning that only markup carries is kept in signs: powers and indices, fractions,
//! quotations, what is struck out, readings of characters. Linear in the length of the markup, without recursion.

use super::events::{Element, Event, events, unescape};
use super::scripts::{lowered, numerator, raised};
use super::tables::{Shape, shapes};
use crate::segment::is_cjk;

/// Writes the text of serialised markup.
pub(super) fn text_of(html: &str) -> String {
    let mut writer = Writer { shapes: shapes(html).into_iter(), ..Writer::default() };
    for event in events(html) {
        match event {
            Event::Text(text) => writer.text(text),
            Event::Start(element) => writer.start(&element),
            Event::End(name) => writer.end(name),
        }
    }
    writer.finish()
}

/// Bytes of text outside of links and in them.
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
    /// The paragraph being written, its white space collapsed.
    line: String,
    /// What stands before the paragraph: `- `, `## `.
    prefix: String,
    /// Whether the next paragraph follows the last one without a blank line.
    tight: bool,
    /// Indentation of the next line, if it goes on with the paragraph before a line break.
    continued: Option<usize>,
    /// Whether a heading is open: it is one line.
    heading: bool,
    lists: Vec<List>,
    code: Option<Code>,
    /// Elements `<code>` that are open outside of code blocks, where backticks stand around.
    inline_code: usize,
    /// Superscripts and subscripts that are open.
    scripts: Vec<Script>,
    /// A superscript that has ended and is a numerator if a stroke follows.
    raised: Option<Raised>,
    row: Option<Row>,
    /// Tables that are open.
    tables: Vec<Table>,
    /// The shapes of those that are yet to come.
    shapes: std::vec::IntoIter<Shape>,
}

struct List {
    /// Number of the next item.
    number: Option<u32>,
    numerals: Numerals,
    /// Whether its first item is yet to come.
    fresh: bool,
}

/// How a list counts; laws and contracts refer to letters.
#[derive(Clone, Copy)]
enum Numerals {
    Arabic,
    Letters { upper: bool },
    Roman { upper: bool },
}

struct Script {
    raised: bool,
    linked: bool,
    /// Where it begins in the line.
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
    /// Where the blocks that are open in it began.
    blocks: Vec<usize>,
    /// Whether the line break that ends the last block was put there, so that one in the text is the same.
    ended: bool,
}

#[derive(Default)]
struct Row {
    cells: Vec<String>,
    heads: usize,
}

struct Table {
    shape: Shape,
    /// Rows that are written.
    rows: usize,
}

const INDENT: &str = "  ";
const LISTS_MAX: usize = 16;
/// Superscripts within superscripts that are told apart.
const SCRIPTS_MAX: usize = 8;

impl Writer {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = unescape(text);
        match &mut self.code {
            Some(code) => code.push(&text),
            None => {
                self.end_raised(text.trim_start().starts_with(['/', '⁄']));
                collapse(&text, &mut self.line);
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
                _ if is_line(name) => code.start_block(),
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
                    self.line.push('`');
                }
            }
            "sup" | "sub" => {
                self.end_raised(false);
                if self.scripts.len() < SCRIPTS_MAX {
                    self.scripts.push(Script { raised: name == "sup", linked: false, at: self.line.len() });
                }
            }
            "a" => self.scripts.iter_mut().for_each(|script| script.linked = true),
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
            "ul" | "ol" => {
                self.paragraph();
                let number = (name == "ol").then(|| element.value("start").parse().unwrap_or(1));
                self.lists.push(List { number, numerals: Numerals::of(element.value("type")), fresh: true });
            }
            "li" => self.item(element),
            "dd" => {
                self.paragraph();
                if self.row.is_none() {
                    self.prefix = ": ".to_owned();
                    self.tight = true;
                }
            }
            "table" => {
                self.end_row();
                self.paragraph();
                self.tables.push(Table { shape: self.shapes.next().unwrap_or(Shape::Layout), rows: 0 });
            }
            "tr" => {
                self.end_row();
                self.paragraph();
                let in_rows = self.tables.last().is_some_and(|table| table.shape == Shape::Rows);
                self.row = in_rows.then(Row::default);
            }
            "td" | "th" => match &mut self.row {
                Some(row) => row.heads += usize::from(name == "th"),
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
                    close_inline_code(&mut self.line);
                }
            }
            "sup" | "sub" => self.end_script(),
            "q" => self.line.push('"'),
            "del" | "s" | "strike" => end_pair(&mut self.line, "~~", "~~"),
            "rt" => end_pair(&mut self.line, "(", ")"),
            "ul" | "ol" => {
                self.paragraph();
                self.lists.pop();
                self.prefix.clear();
                self.tight = !self.lists.is_empty();
            }
            "td" | "th" => {
                self.end_inline();
                match &mut self.row {
                    Some(row) => row.cells.push(std::mem::take(&mut self.line).trim().replace('|', "\\|")),
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
                self.tight = true;
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "dd" => {
                self.paragraph();
                self.heading = false;
                self.prefix.clear();
                self.tight = false;
            }
            "dl" => {
                self.paragraph();
                self.tight = false;
            }
            _ if is_block(name) => self.paragraph(),
            _ => {}
        }
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
                // An item follows the one before it at once, and so does a list within an item.
                self.tight = !std::mem::take(&mut list.fresh) || depth > 0;
                match &mut list.number {
                    Some(number) => {
                        *number = element.value("value").parse().unwrap_or(*number);
                        prefix += &format!("{}. ", list.numerals.written(*number));
                        *number = number.saturating_add(1);
                    }
                    None => prefix += "- ",
                }
            }
            None => prefix += "- ",
        }
        self.prefix = prefix;
    }

    /// Ends the paragraph. Within a table's row blocks are only a space apart.
    fn paragraph(&mut self) {
        self.end_line();
        self.continued = None;
    }

    /// Breaks the line within the paragraph: what follows stands under what it goes on with. Two breaks in a row
    /// end the paragraph.
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
        if !self.line.is_empty() && !self.line.ends_with(' ') {
            self.line.push(' ');
        }
    }

    /// Writes the line, if it holds anything.
    fn end_line(&mut self) -> bool {
        if self.row.is_some() {
            self.space();
            return false;
        }
        self.end_inline();
        let line = std::mem::take(&mut self.line);
        let line = line.trim();
        // Dots and bars between links that are gone.
        if line.chars().all(|c| matches!(c, ' ' | '·' | '•' | '|' | '§' | '¶' | '/' | '‹' | '›' | '«' | '»'))
        {
            return false;
        }
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

    /// Ends what must not reach over the end of a line: backticks, superscripts.
    fn end_inline(&mut self) {
        while !self.scripts.is_empty() {
            self.end_script();
        }
        self.end_raised(false);
        if self.inline_code > 0 {
            self.inline_code = 0;
            close_inline_code(&mut self.line);
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

    /// Writes the superscript that has ended.
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
        // The first line break of `<pre>` is markup, blank lines at the ends carry nothing.
        let text = code.text.replace("\r\n", "\n").replace('\r', "\n");
        let text = text.trim_end();
        let blank = |line: &str| line.trim().is_empty();
        let lead: usize = text.split_inclusive('\n').take_while(|line| blank(line)).map(str::len).sum();
        let text = &text[lead..];
        if text.is_empty() {
            return;
        }
        let fence = "`".repeat(longest_run(text, '`').max(2) + 1);
        self.tight = false;
        self.prefix.clear();
        self.open_block();
        self.out.push_str(&format!("{fence}{}\n{text}\n{fence}\n", code.language));
    }

    fn end_row(&mut self) {
        self.end_inline();
        let Some(mut row) = self.row.take() else { return self.paragraph() };
        let last = std::mem::take(&mut self.line);
        if !last.trim().is_empty() {
            row.cells.push(last.trim().replace('|', "\\|"));
        }
        if row.cells.iter().all(String::is_empty) {
            return;
        }
        let rows = self.tables.last().map_or(0, |table| table.rows);
        if let Some(table) = self.tables.last_mut() {
            table.rows += 1;
        }
        self.prefix.clear();
        self.tight = rows > 0;
        self.open_block();
        for cell in &row.cells {
            self.out.push_str(if cell.is_empty() { "|" } else { "| " });
            self.out.push_str(cell);
            self.out.push(' ');
        }
        self.out.push_str("|\n");
        if rows == 0 && row.heads == row.cells.len() {
            self.out.push_str(&format!("|{}\n", " --- |".repeat(row.cells.len())));
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

    /// A block in code is a line or several of its own.
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

impl Numerals {
    fn of(kind: &str) -> Self {
        match kind {
            "a" | "A" => Self::Letters { upper: kind == "A" },
            "i" | "I" => Self::Roman { upper: kind == "I" },
            _ => Self::Arabic,
        }
    }

    /// A number as browsers show it.
    fn written(self, number: u32) -> String {
        const LETTERS: u32 = 26;
        const ROMAN_MAX: u32 = 3999;
        let (text, upper) = match self {
            Self::Letters { upper } if number > 0 => {
                let (mut text, mut rest) = (Vec::new(), number);
                while rest > 0 {
                    text.push(b'a' + ((rest - 1) % LETTERS) as u8);
                    rest = (rest - 1) / LETTERS;
                }
                (text.iter().rev().map(|&byte| char::from(byte)).collect(), upper)
            }
            Self::Roman { upper } if (1..=ROMAN_MAX).contains(&number) => (roman(number), upper),
            _ => (number.to_string(), false),
        };
        if upper { text.to_ascii_uppercase() } else { text }
    }
}

fn roman(mut number: u32) -> String {
    const NUMERALS: [(u32, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    let mut text = String::new();
    for (value, numeral) in NUMERALS {
        while number >= value {
            text.push_str(numeral);
            number -= value;
        }
    }
    text
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

/// Elements that are lines where they stand in code.
fn is_line(name: &str) -> bool {
    is_block(name) || matches!(name, "li" | "ul" | "ol" | "tr" | "table")
}

/// Ends inline code, or takes its start back if nothing followed.
fn close_inline_code(line: &mut String) {
    if line.ends_with('`') {
        line.pop();
        return;
    }
    let kept = line.trim_end().len();
    let space = kept < line.len();
    line.truncate(kept);
    line.push('`');
    if space {
        line.push(' ');
    }
}

/// Ends what began with a sign, or takes the sign back if nothing followed.
fn end_pair(line: &mut String, start: &str, end: &str) {
    if line.ends_with(start) {
        line.truncate(line.len() - start.len());
    } else {
        line.push_str(end);
    }
}

/// Appends text with each run of white space as one space. A line break between two Han characters is none:
/// in Chinese and Japanese sources lines are broken anywhere. Soft hyphens are no characters of a word.
fn collapse(text: &str, line: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_space(c) {
            if c != '\u{ad}' {
                line.push(c);
            }
            continue;
        }
        let mut broken = c == '\n';
        while let Some(next) = chars.next_if(|&next| is_space(next)) {
            broken |= next == '\n';
        }
        let joined = broken
            && line.chars().next_back().is_some_and(is_cjk)
            && chars.peek().copied().is_some_and(is_cjk);
        if !joined && !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\t' | '\r' | '\u{b}' | '\u{c}' | '\u{a0}' | '\u{2028}' | '\u{2029}')
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_code_verbatim() {
        let html = "<p>Run:</p><pre><code class=\"language-rust\">\nfn main() {\n    if a &lt; b {\n\tx();\n    }\n}\n</code></pre>";
        let text = "Run:\n\n```rust\nfn main() {\n    if a < b {\n\tx();\n    }\n}\n```\n";
        assert_eq!(text_of(html), text);
    }

    #[test]
    fn fences_are_longer_than_what_they_hold() {
        assert_eq!(text_of("<pre>```\nx\n```</pre>"), "````\n```\nx\n```\n````\n");
    }

    #[test]
    fn writes_lists_and_lists_in_items() {
        let html = "<ul><li>a<ul><li>b</li><li><p>c</p></li></ul></li><li>d</li></ul><ol start=\"3\"><li>e</li></ol><p>f</p>";
        assert_eq!(text_of(html), "- a\n  - b\n  - c\n- d\n\n3. e\n\nf\n");
    }

    #[test]
    fn writes_tables_in_rows_with_lists_in_cells() {
        let html = "<table><tr><th>A</th><th>B</th></tr><tr><td><ul><li>x</li><li>y</li></ul></td><td>1|2</td></tr></table>";
        assert_eq!(text_of(html), "| A | B |\n| --- | --- |\n| x y | 1\\|2 |\n");
    }

    #[test]
    fn code_in_a_cell_stays_code() {
        let html = "<table><tr><td>1</td><td><pre>  a\n  b</pre></td></tr></table>";
        assert_eq!(text_of(html), "1\n\n```\n  a\n  b\n```\n");
    }

    #[test]
    fn marks_inline_code_and_headings() {
        let html = "<h2>The <code>Option&lt;T&gt;</code> type</h2><p>a\n  b<br>c <code></code>d</p>";
        assert_eq!(text_of(html), "## The `Option<T>` type\n\na b\nc d\n");
    }

    #[test]
    fn joins_broken_lines_of_chinese_without_a_space() {
        assert_eq!(text_of("<p>中文\n换行\nEnglish\nwords</p>"), "中文换行 English words\n");
    }

    #[test]
    fn writes_definitions_under_their_terms() {
        assert_eq!(text_of("<dl><dt>a</dt><dd>b</dd><dt>c</dt><dd>d</dd></dl>"), "a\n: b\n\nc\n: d\n");
    }

    #[test]
    fn measures_links() {
        let sizes = text_sizes("<p>abc</p><a href=\"x\"><b>d</b></a>");
        assert_eq!(sizes, TextSizes { plain: 3, linked: 1 });
    }

    #[test]
    fn marks_of_what_is_empty_go_nowhere_else() {
        for empty in [
            "<h1><img></h1>",
            "<ul><li></li></ul>",
            "<ol><li><a href=\"#top\"></a></li></ol>",
            "<dl><dt></dt><dd></dd></dl>",
            "<table><tr><td><h2></h2></td><td><ul><li></li></ul></td></tr></table>",
        ] {
            assert_eq!(text_of(&format!("{empty}<p>text</p>")), "text\n", "{empty}");
        }
        let list =
            "<table><tr><td>Set</td><td><ul><li>One</li><li>Two</li></ul></td></tr></table><p>text</p>";
        assert_eq!(text_of(list), "| Set | One Two |\n\ntext\n");
        assert_eq!(text_of("<ul><li>a</li><li></li></ul><p>b</p>"), "- a\n\nb\n");
        assert_eq!(text_of("<ul><li><h3>a</h3><p>b</p></li></ul>"), "- ### a\n\n  b\n");
    }

    #[test]
    fn line_breaks_join_no_words() {
        let table = "<table><tr><th>Day</th></tr><tr><td>Monday<br>Tuesday</td></tr></table>";
        assert_eq!(text_of(table), "| Day |\n| --- |\n| Monday Tuesday |\n");
        assert_eq!(text_of("<h1>One<br>Two</h1><p>a<br></p><p>b</p>"), "# One Two\n\na\n\nb\n");
        assert_eq!(text_of("<p>a<br><br>b</p>"), "a\n\nb\n");
        assert_eq!(text_of("<ul><li><br>a<br>b</li></ul>"), "- a\n  b\n");
    }

    #[test]
    fn tables_of_layout_are_paragraphs() {
        let table = "<table><tr><td><ul><li>menu</li></ul></td><td><p>a</p><p>b</p></td></tr></table>";
        assert_eq!(text_of(table), "- menu\n\na\n\nb\n");
    }

    #[test]
    fn lines_of_code_that_are_blocks_stay_lines() {
        let items = "<pre><ol><li>def f():</li><li></li><li>    return 1</li></ol></pre>";
        assert_eq!(text_of(items), "```\ndef f():\n\n    return 1\n```\n");
        let blocks = "<pre><code><div>a = 1</div>\n<div>b = 2\n</div><div>c</div></code></pre>";
        assert_eq!(text_of(blocks), "```\na = 1\nb = 2\nc\n```\n");
        assert_eq!(text_of("<pre>a\u{a0}<span>  b</span>\n\tc</pre>"), "```\na\u{a0}  b\n\tc\n```\n");
    }

    #[test]
    fn powers_indices_and_fractions_are_not_glued() {
        let html = "<p>10<sup>6</sup> cells of H<sub>2</sub>O, x<sub>i</sub><sup>2</sup>, 3<sup>1</sup>⁄<sub>2</sub>, \
            2<sup>nd</sup>, so<sup><a href=\"#n1\">1</a></sup>, x<sup>y<sub>i</sub></sup></p>";
        assert_eq!(text_of(html), "10^6 cells of H₂O, x_i^2, 3 1⁄2, 2nd, so[1], x^(y_i)\n");
    }

    #[test]
    fn meaning_of_markup_is_kept_in_signs() {
        let html =
            "<p><q>Yes</q>, was <del>10</del> 9<del></del>, <ruby>漢<rt>kan</rt></ruby>, hy\u{ad}phen</p>";
        assert_eq!(text_of(html), "\"Yes\", was ~~10~~ 9, 漢(kan), hyphen\n");
        let list =
            "<ol type=\"a\"><li>x</li><li value=\"28\">y</li></ol><ol type=\"I\" start=\"9\"><li>z</li></ol>";
        assert_eq!(text_of(list), "a. x\nab. y\n\nIX. z\n");
    }

    #[test]
    fn tables_that_lost_their_tag_are_tables() {
        let row = "<tr><td>a</td><td>b</td></tr>";
        let html = format!("<div data-pipe-part=\"tbody\">{row}{row}</div>");
        assert_eq!(text_of(&html), "| a | b |\n| a | b |\n");
    }

    proptest! {
        #[test]
        fn never_panics(html in "(<(/)?(pre|code|table|tr|td|ul|li|p|br|h2|sup|sub|q|rt|div)( class=\"language-x\")?>|[a &;\n`中]|&lt;){0,40}") {
            text_of(&html);
        }
    }
}
