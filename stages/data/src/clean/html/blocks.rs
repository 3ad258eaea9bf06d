//! Markup to text, block by block: what a reader sees, as light Markdown.
//!
//! Code blocks are fenced and verbatim, their indentation included; headings get `#`, list items `-` or their
//! number, table rows `|`. The input is what a parser serialised, so it is well formed; anything else gives
//! worse text, never an error. Linear in its length, without recursion.

use crate::segment::is_cjk;

/// Writes the text of serialised markup.
pub(super) fn text_of(html: &str) -> String {
    let mut writer = Writer::default();
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        writer.text(&rest[..at]);
        rest = &rest[at..];
        let Some(length) = end_of_tag(rest) else {
            rest = "";
            break;
        };
        let tag = &rest[1..length - 1];
        rest = &rest[length..];
        match tag.strip_prefix('/') {
            Some(name) => writer.end(name.trim()),
            None if tag.starts_with(['!', '?']) => {}
            None => {
                let name_end = tag.find(|c: char| c.is_ascii_whitespace() || c == '/').unwrap_or(tag.len());
                writer.start(&tag[..name_end], &tag[name_end..]);
            }
        }
    }
    writer.text(rest);
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
    let (mut sizes, mut depth) = (TextSizes::default(), 0usize);
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        let text = rest[..at].trim().len();
        if depth > 0 {
            sizes.linked += text
        } else {
            sizes.plain += text
        }
        let Some(length) = end_of_tag(&rest[at..]) else { break };
        match &rest[at + 1..at + length - 1] {
            "/a" => depth = depth.saturating_sub(1),
            tag if tag == "a" || tag.starts_with("a ") => depth += 1,
            _ => {}
        }
        rest = &rest[at + length..];
    }
    sizes
}

/// Bytes up to and with the `>` that ends a tag; one within a quoted value does not.
fn end_of_tag(tag: &str) -> Option<usize> {
    let mut quoted = false;
    let ends = |&byte: &u8| {
        quoted ^= byte == b'"';
        byte == b'>' && !quoted
    };
    tag.as_bytes().iter().position(ends).map(|at| at + 1)
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
    lists: Vec<List>,
    code: Option<Code>,
    /// Elements `<code>` that are open outside of code blocks, where backticks stand around.
    inline_code: usize,
    row: Option<Row>,
    /// Tables that are open; only one that stands in no other is written in rows.
    tables: usize,
    /// Rows of the table that are written.
    rows: usize,
}

struct List {
    /// Number of the next item.
    number: Option<u32>,
    /// Whether its first item is yet to come.
    fresh: bool,
}

struct Code {
    language: String,
    text: String,
}

#[derive(Default)]
struct Row {
    cells: Vec<String>,
    heads: usize,
}

const INDENT: &str = "  ";
const LISTS_MAX: usize = 16;

impl Writer {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = unescape(text);
        match &mut self.code {
            Some(code) => code.text.push_str(&text),
            None => collapse(&text, &mut self.line),
        }
    }

    fn start(&mut self, name: &str, attributes: &str) {
        if let Some(code) = &mut self.code {
            match name {
                "br" => code.text.push('\n'),
                "code" if code.language.is_empty() => code.language = language_of(attributes),
                "pre" => {}
                _ => {}
            }
            return;
        }
        match name {
            "pre" => {
                self.leave_row();
                self.paragraph();
                self.code = Some(Code { language: language_of(attributes), text: String::new() });
            }
            "code" | "samp" | "kbd" | "tt" => {
                self.inline_code += 1;
                if self.inline_code == 1 {
                    self.line.push('`');
                }
            }
            "br" if self.row.is_none() => {
                let prefix = self.prefix.clone();
                self.paragraph();
                // Later lines of a heading or an item stand under it.
                self.prefix = " ".repeat(prefix.len().min(INDENT.len() * LISTS_MAX));
                self.tight = true;
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.paragraph();
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.prefix = format!("{} ", &"######"[..level]);
            }
            "ul" | "ol" => {
                self.paragraph();
                let number = (name == "ol").then(|| value_of(attributes, "start").parse().unwrap_or(1));
                self.lists.push(List { number, fresh: true });
            }
            "li" => self.item(),
            "dd" => {
                self.paragraph();
                self.prefix = ": ".to_owned();
                self.tight = true;
            }
            "table" => {
                self.leave_row();
                self.paragraph();
                self.tables += 1;
                self.rows = 0;
            }
            "tr" => {
                self.paragraph();
                self.row = (self.tables == 1).then(Row::default);
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
        if self.code.is_some() {
            if name == "pre" {
                self.leave_code();
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
            "ul" | "ol" => {
                self.paragraph();
                self.lists.pop();
                self.tight = !self.lists.is_empty();
            }
            "td" | "th" => match &mut self.row {
                Some(row) => row.cells.push(std::mem::take(&mut self.line).trim().replace('|', "\\|")),
                None => self.paragraph(),
            },
            "tr" => self.end_row(),
            "table" => {
                self.leave_row();
                self.paragraph();
                self.tables = self.tables.saturating_sub(1);
            }
            "li" | "dt" => {
                self.paragraph();
                self.tight = true;
            }
            _ if is_block(name) => self.paragraph(),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.paragraph();
        let depth = self.lists.len().clamp(1, LISTS_MAX) - 1;
        let mut prefix = INDENT.repeat(depth);
        match self.lists.last_mut() {
            Some(list) => {
                // An item follows the one before it at once, and so does a list within an item.
                self.tight = !std::mem::take(&mut list.fresh) || depth > 0;
                match &mut list.number {
                    Some(number) => {
                        prefix += &format!("{number}. ");
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
        if self.row.is_some() {
            if !self.line.is_empty() && !self.line.ends_with(' ') {
                self.line.push(' ');
            }
            return;
        }
        self.balance_inline_code();
        let line = std::mem::take(&mut self.line);
        let line = line.trim();
        // Dots and bars between links that are gone.
        if line.chars().all(|c| matches!(c, ' ' | '·' | '•' | '|' | '§' | '¶' | '/' | '‹' | '›' | '«' | '»'))
        {
            return;
        }
        let prefix = std::mem::take(&mut self.prefix);
        self.open_block();
        if prefix.is_empty() && !self.lists.is_empty() {
            self.out.push_str(&INDENT.repeat(self.lists.len().min(LISTS_MAX)));
        }
        self.out.push_str(&prefix);
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn open_block(&mut self) {
        if !std::mem::take(&mut self.tight) && !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// Backticks must not reach over the end of a paragraph.
    fn balance_inline_code(&mut self) {
        if self.inline_code > 0 {
            self.inline_code = 0;
            close_inline_code(&mut self.line);
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
        self.balance_inline_code();
        let Some(mut row) = self.row.take() else { return self.paragraph() };
        let last = std::mem::take(&mut self.line);
        if !last.trim().is_empty() {
            row.cells.push(last.trim().to_owned());
        }
        if row.cells.iter().all(String::is_empty) {
            return;
        }
        self.tight = self.rows > 0;
        self.open_block();
        self.rows += 1;
        for cell in &row.cells {
            self.out.push_str(if cell.is_empty() { "|" } else { "| " });
            self.out.push_str(cell);
            self.out.push(' ');
        }
        self.out.push_str("|\n");
        if self.rows == 1 && row.heads == row.cells.len() {
            self.out.push_str(&format!("|{}\n", " --- |".repeat(row.cells.len())));
        }
    }

    /// A code block or a table within a cell breaks its row into paragraphs.
    fn leave_row(&mut self) {
        if let Some(row) = self.row.take() {
            let rest = std::mem::take(&mut self.line);
            for cell in row.cells {
                self.line = cell;
                self.paragraph();
            }
            self.line = rest;
            self.paragraph();
        }
    }

    fn finish(mut self) -> String {
        self.leave_code();
        self.leave_row();
        self.paragraph();
        self.out
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

/// Appends text with each run of white space as one space. A line break between two Han characters is none:
/// in Chinese and Japanese sources lines are broken anywhere.
fn collapse(text: &str, line: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_space(c) {
            line.push(c);
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
    matches!(c, ' ' | '\n' | '\t' | '\r' | '\u{c}' | '\u{a0}')
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}

/// The language in a class such as `language-rust`, `lang-sh`, `highlight-python` or rustdoc's `rust`.
fn language_of(attributes: &str) -> String {
    let class = value_of(attributes, "class");
    let named = |class: &str| {
        let prefixes = ["language-", "lang-", "highlight-source-", "brush:"];
        let name = prefixes.iter().find_map(|prefix| class.strip_prefix(prefix));
        let name = name.or((class == "rust").then_some(class))?;
        let plain: String =
            name.chars().take_while(|c| c.is_ascii_alphanumeric() || "+#_-".contains(*c)).collect();
        (!plain.is_empty()).then_some(plain)
    };
    class.split([' ', ',']).find_map(named).unwrap_or_default()
}

/// The value of an attribute as serialised: ` name="value"`.
fn value_of<'t>(attributes: &'t str, name: &str) -> &'t str {
    let value = |at: usize| {
        let rest = attributes[at..].strip_prefix(' ')?.strip_prefix(name)?.strip_prefix("=\"")?;
        rest.split('"').next()
    };
    attributes.match_indices(' ').find_map(|(at, _)| value(at)).unwrap_or_default()
}

/// Resolves character references: the five that serialising makes, and numbers.
pub(super) fn unescape(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, c) = reference(rest).unwrap_or((1, '&'));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out.into()
}

fn reference(text: &str) -> Option<(usize, char)> {
    const LENGTH_MAX: usize = 10;
    let end = text.bytes().take(LENGTH_MAX).position(|byte| byte == b';')?;
    let c = match &text[1..end] {
        "lt" => '<',
        "gt" => '>',
        "nbsp" => '\u{a0}',
        "quot" => '"',
        "amp" => '&',
        number => {
            let number = number.strip_prefix('#')?;
            let hexadecimal = number.strip_prefix(['x', 'X']).map(|digits| u32::from_str_radix(digits, 16));
            char::from_u32(hexadecimal.unwrap_or_else(|| number.parse()).ok()?)?
        }
    };
    Some((end + 1, c))
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

    proptest! {
        #[test]
        fn never_panics(html in "(<(/)?(pre|code|table|tr|td|ul|li|p|br|h2)( class=\"language-x\")?>|[a &;\n`中]|&lt;){0,40}") {
            text_of(&html);
        }
    }
}
