//! Owns: tables in text.

use super::units::{bytes, figure, seconds};
use crate::run::{Row, RowOutcome, Summary};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A cell of a table.
pub enum Cell {
    /// Words, to the left.
    Text(String),
    /// A figure, to the right.
    Figure(String),
}

/// Lays out rows under a heading, without lines around them.
pub fn table(heading: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    for row in rows {
        table.add_row(row.into_iter().map(|cell| match cell {
            Cell::Text(text) => comfy_table::Cell::new(text),
            Cell::Figure(text) => comfy_table::Cell::new(text).set_alignment(CellAlignment::Right),
        }));
    }
    // Cells are padded by a space on both sides; the first needs none before it.
    let lines = table.lines().map(|line| format!("{}\n", line.get(1..).unwrap_or_default().trim_end()));
    lines.collect()
}

/// The closing table of a run.
pub(super) fn summary(summary: &Summary) -> String {
    let line = |row: &Row| {
        let made = matches!(row.outcome, RowOutcome::Cached | RowOutcome::Ran);
        let shown = |text: String| Cell::Figure(if made { text } else { String::new() });
        let metric = row.metric.as_ref().map(|metric| {
            format!("{} {} {}", metric.name, figure(metric.value), metric.unit).trim_end().to_owned()
        });
        vec![
            Cell::Text(row.stage.clone()),
            Cell::Text(row.outcome.as_str().to_owned()),
            shown(seconds(row.seconds)),
            shown(bytes(row.memory_peak)),
            shown(bytes(row.output_bytes)),
            Cell::Text(metric.unwrap_or_default()),
        ]
    };
    table(
        &["stage", "outcome", "time", "peak memory", "output", "main metric"],
        summary.rows.iter().map(line).collect(),
    )
}
