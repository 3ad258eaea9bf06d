//! Which tables contain data, to be written in rows, and which are only used for layout.

use super::events::{Event, events};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One line per row.
    Rows,
    /// Its cells one after the other, as if there were no table.
    Layout,
}

/// The shapes of all tables, in the order of their start tags.
pub(super) fn shapes(html: &str) -> Vec<Shape> {
    let mut tables: Vec<Table> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for event in events(html) {
        if let Event::Start(element) = event
            && element.name == "table"
        {
            if let Some(&outer) = open.last() {
                tables[outer].nests = true;
            }
            let presentation = matches!(element.value("role"), "presentation" | "none");
            open.push(tables.len());
            tables.push(Table { presentation, ..Table::default() });
            continue;
        }
        let Some(table) = open.last().map(|&at| &mut tables[at]) else { continue };
        match event {
            Event::Text(text) => table.cell_bytes += text.trim_ascii().len(),
            Event::Start(element) => table.start(element.name),
            Event::End("table") => {
                table.end_cell();
                open.pop();
            }
            Event::End("td" | "th") => table.end_cell(),
            Event::End("tr") => table.end_row(),
            Event::End(_) => {}
        }
    }
    tables.iter().map(Table::shape).collect()
}

/// The properties that determine the shape of a table.
#[derive(Default)]
struct Table {
    presentation: bool,
    nests: bool,
    /// Whether it has column or row headers, or a caption.
    heads: bool,
    code: bool,
    headings: bool,
    rows: usize,
    columns_max: usize,
    cell_bytes_max: usize,
    cell_paragraphs_max: usize,
    /// Of the open row and cell.
    columns: usize,
    cell_bytes: usize,
    cell_paragraphs: usize,
}

impl Table {
    fn start(&mut self, name: &str) {
        match name {
            "td" => self.columns += 1,
            "th" => {
                self.columns += 1;
                self.heads = true;
            }
            "thead" | "caption" => self.heads = true,
            "pre" | "listing" => self.code = true,
            "p" => self.cell_paragraphs += 1,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.headings = true,
            _ => {}
        }
    }

    fn end_cell(&mut self) {
        self.cell_bytes_max = self.cell_bytes_max.max(std::mem::take(&mut self.cell_bytes));
        self.cell_paragraphs_max = self.cell_paragraphs_max.max(std::mem::take(&mut self.cell_paragraphs));
    }

    fn end_row(&mut self) {
        self.rows += 1;
        self.columns_max = self.columns_max.max(std::mem::take(&mut self.columns));
    }

    /// A table with headers contains data. Of the others, those with a single column, or with cells larger than a
    /// table entry, are layout.
    fn shape(&self) -> Shape {
        const CELL_BYTES_MAX: usize = 1000;
        const ONLY_ROW_BYTES_MAX: usize = 200;
        let bytes_max = if self.rows <= 1 { ONLY_ROW_BYTES_MAX } else { CELL_BYTES_MAX };
        let layout = self.presentation || self.nests || self.code;
        let loose = self.columns_max <= 1
            || self.headings
            || self.cell_paragraphs_max > 1
            || self.cell_bytes_max > bytes_max;
        if layout || (!self.heads && loose) { Shape::Layout } else { Shape::Rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_data_have_heads_or_small_cells() {
        let rows = "<tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr>";
        let long = "x".repeat(2000);
        for table in [
            format!("<table>{rows}</table>"),
            format!("<table><tr><th>A</th></tr><tr><td>{long}<p>x</p><p>y</p></td></tr></table>"),
            format!("<table><caption>C</caption><tr><td>{long}</td></tr></table>"),
        ] {
            assert_eq!(shapes(&table), [Shape::Rows], "{table}");
        }
        for table in [
            format!("<table role=\"presentation\">{rows}</table>"),
            "<table><tr><td>a</td></tr></table>".to_owned(),
            "<table><tr><td>a</td><td><p>b</p><p>c</p></td></tr></table>".to_owned(),
            format!("<table><tr><td>menu</td><td>{long}</td></tr></table>"),
            "<table><tr><td><h2>a</h2></td><td>b</td></tr></table>".to_owned(),
            "<table><tr><th>a</th><td><pre>b</pre></td></tr></table>".to_owned(),
        ] {
            assert_eq!(shapes(&table), [Shape::Layout], "{table}");
        }
    }

    #[test]
    fn a_table_around_another_is_layout() {
        let inner = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>";
        let outer = format!("<table><tr><td>{inner}</td><td>x</td></tr></table>{inner}");
        assert_eq!(shapes(&outer), [Shape::Layout, Shape::Rows, Shape::Rows]);
    }
}
