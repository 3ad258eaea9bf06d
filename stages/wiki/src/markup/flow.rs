//! The second pass: blocks, line by line.

use super::inline::{is_blank, is_remnant, markup};
use super::marks::{DROPPED, Items};
use super::sections::{Sections, is_without_prose};
use super::tables::{Line, begins, line as table_line};

/// Maximum depth of tables; deeper ones are text.
const TABLES_MAX: usize = 16;
/// Maximum depth of lists.
const LISTS_MAX: usize = 16;

/// The markup of an expanded page.
pub(super) fn blocks(text: &str, items: &Items, sections: Sections) -> String {
    let mut flow = Flow { items, sections, ..Flow::new(items) };
    text.split('\n').for_each(|line| flow.line(line));
    flow.finish()
}

struct Flow<'t> {
    items: &'t Items,
    sections: Sections,
    out: String,
    /// The table that is open, with those in it.
    table: String,
    tables: Vec<Table>,
    /// Tables that are too deep.
    tables_over: usize,
    /// Lines of the open paragraph.
    paragraph: Vec<&'t str>,
    /// Lines that begin with a space.
    indented: Vec<&'t str>,
    /// Signs of the open lists.
    lists: Vec<char>,
    /// Headings without content so far.
    headings: Vec<(usize, String)>,
    /// Level of the heading whose section is left out.
    left_out: Option<usize>,
}

/// A table that is open.
#[derive(Default)]
struct Table {
    in_row: bool,
    /// The element that is open in it.
    cell: Option<&'static str>,
    has_text: bool,
}

impl<'t> Flow<'t> {
    const fn new(items: &'t Items) -> Self {
        Self {
            items,
            sections: Sections::All,
            out: String::new(),
            table: String::new(),
            tables: Vec::new(),
            tables_over: 0,
            paragraph: Vec::new(),
            indented: Vec::new(),
            lists: Vec::new(),
            headings: Vec::new(),
            left_out: None,
        }
    }

    fn line(&mut self, line: &'t str) {
        if begins(line) {
            return self.open_table();
        }
        if !self.tables.is_empty() {
            match table_line(line) {
                Line::Text => {}
                Line::End(rest) if self.tables_over > 0 => {
                    self.tables_over -= 1;
                    return self.text(rest);
                }
                Line::End(rest) => {
                    self.close_table();
                    return self.line(rest);
                }
                _ if self.tables_over > 0 => return self.text(line),
                Line::Row => return self.end_row(),
                Line::Caption(text) => {
                    self.end_row();
                    self.open_cell("caption", "");
                    return self.text(text.trim());
                }
                Line::Cells(cells) => {
                    for cell in cells {
                        self.open_cell(if cell.is_head { "th" } else { "td" }, &cell.spans);
                        self.text(cell.text.trim());
                    }
                    return;
                }
            }
        }
        self.text(line);
    }

    /// A line outside of tables, or within a cell.
    fn text(&mut self, line: &'t str) {
        let bare = line.trim_matches([' ', '\t', DROPPED]);
        if bare.is_empty() || is_remnant(line) {
            return self.end_blocks();
        }
        if let Some((level, title)) = heading(bare) {
            return self.heading(level, title);
        }
        if bare.starts_with("----") {
            self.end_blocks();
            return self.text(bare.trim_start_matches('-'));
        }
        let start = line.trim_start_matches(DROPPED);
        if start.starts_with(['*', '#', ':', ';']) {
            return self.item(start);
        }
        self.end_lists(0);
        if line.starts_with(' ') && self.tables.is_empty() {
            self.end_paragraph();
            return self.indented.push(&line[1..]);
        }
        self.end_indented();
        self.paragraph.push(line);
    }

    fn end_blocks(&mut self) {
        self.end_indented();
        self.end_paragraph();
        self.end_lists(0);
    }

    fn end_paragraph(&mut self) {
        let lines = std::mem::take(&mut self.paragraph);
        if !lines.is_empty() {
            let html = markup(lines.into_iter(), self.items);
            self.block("<p>", &html, "</p>\n");
        }
    }

    fn end_indented(&mut self) {
        let lines = std::mem::take(&mut self.indented);
        if !lines.is_empty() {
            let html = markup(lines.into_iter(), self.items);
            self.block("<pre>", &html, "</pre>\n");
        }
    }

    fn block(&mut self, before: &str, html: &str, after: &str) {
        if !is_blank(html) && self.shows() {
            let out = self.sink();
            out.push_str(before);
            out.push_str(html);
            out.push_str(after);
        }
    }

    /// Whether what follows is shown. Headings before it are written.
    fn shows(&mut self) -> bool {
        if self.left_out.is_some() {
            return false;
        }
        match self.tables.last_mut() {
            Some(table) => table.has_text = true,
            None => self.write_headings(),
        }
        true
    }

    fn write_headings(&mut self) {
        for (level, html) in self.headings.drain(..) {
            self.out.push_str(&format!("<h{level}>{html}</h{level}>\n"));
        }
    }

    fn sink(&mut self) -> &mut String {
        if self.tables.is_empty() { &mut self.out } else { &mut self.table }
    }

    fn heading(&mut self, level: usize, title: &'t str) {
        self.end_blocks();
        let html = markup(std::iter::once(title.trim()), self.items);
        if !self.tables.is_empty() {
            return self.block(&format!("<h{level}>"), &html, &format!("</h{level}>\n"));
        }
        // A section without content is left out.
        self.headings.truncate(self.headings.iter().take_while(|(outer, _)| *outer < level).count());
        if self.left_out.is_some_and(|left_out| level > left_out) {
            return;
        }
        let is_left_out = self.sections == Sections::Prose && is_without_prose(&html);
        self.left_out = is_left_out.then_some(level);
        if !is_left_out && !is_blank(&html) {
            self.headings.push((level, html));
        }
    }

    /// An item of a list: its signs say in which lists it is.
    fn item(&mut self, line: &'t str) {
        self.end_indented();
        self.end_paragraph();
        let signs: Vec<char> = line.chars().take_while(|c| matches!(c, '*' | '#' | ':' | ';')).collect();
        let text = line[signs.len()..].trim();
        let signs = &signs[..signs.len().min(LISTS_MAX)];
        // `; term : definition`
        let split = || text.split_once(" : ").or_else(|| text.split_once(": "));
        let term = (signs.last() == Some(&';')).then(split).flatten();
        let (text, definition) = term.map_or((text, None), |(term, definition)| (term, Some(definition)));
        let html = markup(std::iter::once(text), self.items);
        if is_blank(&html) || is_remnant(text) || !self.shows() {
            return;
        }
        self.entry(signs, &html);
        if let Some(definition) = definition {
            let html = markup(std::iter::once(definition), self.items);
            let mut signs = signs.to_vec();
            if let Some(sign) = signs.last_mut() {
                *sign = ':';
            }
            self.entry(&signs, &html);
        }
    }

    fn entry(&mut self, signs: &[char], html: &str) {
        let alike = |(a, b): &(&char, &char)| kind(**a) == kind(**b);
        let shared = self.lists.iter().zip(signs).take_while(alike).count();
        self.end_lists(shared);
        if shared == signs.len() {
            // The next item of the innermost list.
            let last = self.lists.pop().unwrap_or(':');
            let end = close_item(last);
            let sign = signs.last().copied().unwrap_or(last);
            self.sink().push_str(&format!("{end}{}", open_item(sign)));
            self.lists.push(sign);
        }
        for sign in &signs[shared..] {
            self.sink().push_str(&format!("<{}>{}", kind(*sign), open_item(*sign)));
            self.lists.push(*sign);
        }
        self.sink().push_str(html);
    }

    /// Ends all lists but the outermost `kept`.
    fn end_lists(&mut self, kept: usize) {
        while self.lists.len() > kept {
            let Some(sign) = self.lists.pop() else { return };
            self.sink().push_str(&format!("{}</{}>\n", close_item(sign), kind(sign)));
        }
    }

    fn open_table(&mut self) {
        if self.tables.len() >= TABLES_MAX {
            self.tables_over += 1;
            return;
        }
        self.end_blocks();
        if let Some(table) = self.tables.last()
            && table.cell.is_none()
        {
            self.open_cell("td", "");
        }
        self.table.push_str("<table>\n");
        self.tables.push(Table::default());
    }

    fn close_table(&mut self) {
        self.end_row();
        let Some(table) = self.tables.pop() else { return };
        self.table.push_str("</table>\n");
        match self.tables.last_mut() {
            Some(outer) => outer.has_text |= table.has_text,
            None => {
                let html = std::mem::take(&mut self.table);
                if table.has_text {
                    self.write_headings();
                    self.out.push_str(&html);
                }
            }
        }
    }

    fn end_cell(&mut self) {
        self.end_blocks();
        if let Some(cell) = self.tables.last_mut().and_then(|table| table.cell.take()) {
            self.table.push_str(&format!("</{cell}>"));
        }
    }

    fn end_row(&mut self) {
        self.end_cell();
        if self.tables.last_mut().is_some_and(|table| std::mem::take(&mut table.in_row)) {
            self.table.push_str("</tr>\n");
        }
    }

    fn open_cell(&mut self, name: &'static str, spans: &str) {
        self.end_cell();
        let Some(table) = self.tables.last_mut() else { return };
        if name != "caption" && !table.in_row {
            table.in_row = true;
            self.table.push_str("<tr>");
        }
        table.cell = Some(name);
        self.table.push_str(&format!("<{name}{spans}>"));
    }

    fn finish(mut self) -> String {
        self.end_blocks();
        while !self.tables.is_empty() {
            self.close_table();
        }
        self.out
    }
}

/// The level and the text of a heading.
fn heading(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_end();
    let before = line.bytes().take_while(|byte| *byte == b'=').count();
    let after = line.bytes().rev().take_while(|byte| *byte == b'=').count();
    let level = before.min(after).min(6);
    let text = line.get(level..line.len().checked_sub(level)?)?;
    (level > 0 && !text.trim().is_empty()).then_some((level, text))
}

/// The element of a list with items of this sign.
const fn kind(sign: char) -> &'static str {
    match sign {
        '*' => "ul",
        '#' => "ol",
        _ => "dl",
    }
}

const fn open_item(sign: char) -> &'static str {
    match sign {
        ';' => "<dt>",
        ':' => "<dd>",
        _ => "<li>",
    }
}

const fn close_item(sign: char) -> &'static str {
    match sign {
        ';' => "</dt>",
        ':' => "</dd>",
        _ => "</li>",
    }
}
