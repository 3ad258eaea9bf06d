//! Rows of a table, with each cell in its column, also under and beside cells that span several rows or columns.

use super::numerals::integer;
use crate::clean::html::events::Element;
use crate::clean::html::tables::Shape;

/// Maximum number of columns under which cells can extend; the HTML standard limits `colspan` to the same number.
const COLUMNS_MAX: usize = 1000;
/// Maximum number of rows that a cell covers, as in the HTML standard.
const ROWS_MAX: i32 = 65_534;

/// Number of empty cells that may still be written in place of covered ones: a page may claim any number of them.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(1 << 20)
    }
}

impl Room {
    fn take(&mut self, cells: usize) -> usize {
        let taken = cells.min(self.0);
        self.0 -= taken;
        taken
    }
}

/// An open table.
pub(super) struct Table {
    pub(super) shape: Shape,
    /// Rows written so far.
    rows: usize,
    /// For each column, the number of further rows that a cell covers.
    covered: Vec<u32>,
}

impl Table {
    pub(super) const fn new(shape: Shape) -> Self {
        Self { shape, rows: 0, covered: Vec::new() }
    }

    /// Begins a group of rows, into which no cell of another group extends.
    pub(super) fn start_group(&mut self) {
        self.covered.clear();
    }

    pub(super) fn start_row(&mut self) -> Row {
        Row { covered: std::mem::take(&mut self.covered), ..Row::default() }
    }

    /// Ends a row and returns it as a line with its position in the table, unless it has no text.
    pub(super) fn end_row(&mut self, mut row: Row, room: &mut Room) -> Option<(usize, String)> {
        let written = row.cells.iter().any(|cell| !cell.is_empty());
        if written {
            row.skip_covered(room);
        }
        row.covered.iter_mut().for_each(|rows| *rows = rows.saturating_sub(1));
        self.covered = row.covered;
        if !written {
            return None;
        }
        let mut line = String::new();
        for cell in &row.cells {
            line.push_str(if cell.is_empty() { "|" } else { "| " });
            line.push_str(cell);
            line.push(' ');
        }
        line.push_str("|\n");
        if self.rows == 0 && row.heads == row.cells.len() {
            line.push_str(&format!("|{}\n", " --- |".repeat(row.cells.len())));
        }
        self.rows += 1;
        Some((self.rows - 1, line))
    }
}

/// An open row.
#[derive(Default)]
pub(super) struct Row {
    cells: Vec<String>,
    /// How many of the cells are headers.
    heads: usize,
    /// For each column, the number of rows that a cell covers, from this row on.
    covered: Vec<u32>,
    /// Columns and rows of the open cell.
    open: Option<(usize, u32)>,
}

impl Row {
    pub(super) fn start_cell(&mut self, element: &Element, room: &mut Room) {
        self.skip_covered(room);
        let columns = integer(element.value("colspan")).and_then(|columns| usize::try_from(columns).ok());
        let rows = match integer(element.value("rowspan")) {
            // To the end of the group.
            Some(0) => u32::MAX,
            Some(rows) => u32::try_from(rows.min(ROWS_MAX)).unwrap_or(1),
            None => 1,
        };
        self.open = Some((columns.unwrap_or(1).clamp(1, COLUMNS_MAX), rows));
    }

    pub(super) fn end_cell(&mut self, text: &str, is_head: bool, room: &mut Room) {
        let (columns, rows) = self.open.take().unwrap_or((1, 1));
        let (start, end) = (self.cells.len(), self.cells.len() + 1 + room.take(columns - 1));
        self.cells.push(text.trim().replace('|', "\\|"));
        self.cells.resize(end, String::new());
        self.heads += if is_head { end - start } else { 0 };
        if rows > 1 && end <= COLUMNS_MAX {
            self.covered.resize(self.covered.len().max(end), 0);
            self.covered[start..end].fill(rows);
        }
    }

    /// Leaves out the columns that cells of earlier rows cover.
    fn skip_covered(&mut self, room: &mut Room) {
        while self.covered.get(self.cells.len()).is_some_and(|&rows| rows > 0) && room.take(1) == 1 {
            self.cells.push(String::new());
        }
    }
}
