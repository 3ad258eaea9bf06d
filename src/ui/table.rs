//! Owns: text tables.

use super::units::{bytes, figure, seconds};
use crate::{
    figures::{Column, Comparison, ComparisonRow, Figures, Finding, Spread},
    run::{Row, RowOutcome, Summary},
};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A cell of a table.
pub enum Cell {
    /// Text, aligned left.
    Text(String),
    /// A number, aligned right.
    Figure(String),
}

/// Formats rows below a heading, without rules.
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

/// The final table of a run.
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

/// Comparisons and checks of a run's metrics; empty without matrices and expectations.
pub(super) fn figures(figures: &Figures) -> String {
    let mut text = String::new();
    for compared in &figures.comparisons {
        text += &format!("\n{}", comparison(compared, Some(COLUMNS_MAX)));
    }
    let unmet: Vec<_> = figures.unmet().map(finding).collect();
    if !unmet.is_empty() {
        text += &format!("\nout of bounds\n{}", table(&["stage", "metric", "value", "expected"], unmet));
    }
    text
}

fn finding(finding: &Finding) -> Vec<Cell> {
    vec![
        Cell::Text(finding.stage.clone()),
        Cell::Text(finding.metric.clone()),
        Cell::Figure(figure(finding.value)),
        Cell::Text(finding.bounds.to_string()),
    ]
}

/// Maximum number of metrics of a matrix at the end of a run.
const COLUMNS_MAX: usize = 5;

/// Compares the stages of a matrix, below a title; optionally with only the first metrics.
pub fn comparison(compared: &Comparison, columns_max: Option<usize>) -> String {
    let columns = &compared.columns[..columns_max.unwrap_or(usize::MAX).min(compared.columns.len())];
    let mut title = title(compared);
    let left_out = compared.columns.len() - columns.len();
    if left_out > 0 {
        title += &format!("; `pipe show` lists {left_out} more metrics");
    }
    let headings: Vec<String> = compared.axes.iter().cloned().chain(columns.iter().map(heading)).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let line = |row: &ComparisonRow| {
        let values = row.values.iter().map(|value| Cell::Text(value.clone()));
        let metrics = row.metrics[..columns.len()].iter();
        values.chain(metrics.map(|metric| Cell::Figure(spread(*metric, row, compared)))).collect()
    };
    format!("{title}\n{}", table(&headings, compared.rows.iter().map(line).collect()))
}

/// Title of a matrix table.
pub(super) fn title(compared: &Comparison) -> String {
    match compared.stages_max() {
        0 | 1 => compared.stage.clone(),
        most => format!("{}: mean ± standard deviation over {most} seeds", compared.stage),
    }
}

/// Heading of a metric: its name, with its unit.
pub(super) fn heading(column: &Column) -> String {
    match column.unit.as_str() {
        "" => column.name.clone(),
        unit => format!("{} ({unit})", column.name),
    }
}

/// A metric in a row.
pub(super) fn spread(spread: Option<Spread>, row: &ComparisonRow, compared: &Comparison) -> String {
    // Fewer stages than in other rows: some failed, or have not run.
    let part =
        if row.stages < compared.stages_max() { format!(" (of {})", row.stages) } else { String::new() };
    let text = spread.map(|Spread { mean, deviation }| {
        let deviation = deviation.map(|deviation| format!(" ± {}", figure(deviation)));
        format!("{}{}{part}", figure(mean), deviation.unwrap_or_default())
    });
    text.unwrap_or_default()
}
