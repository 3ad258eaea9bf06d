//! Owns: text tables.

use super::{
    text::{cut, plain},
    units::{bytes, figure, seconds},
};
use crate::{
    figures::{Column, Comparison, ComparisonRow, Figures, Finding, Spread},
    run::{Row, Summary},
};
use unicode_width::UnicodeWidthStr;

/// A cell of a table.
pub enum Cell {
    /// Text, aligned left; continues on further lines if the table has to be narrow.
    Text(String),
    /// A number, aligned right.
    Figure(String),
    /// Text whose beginning is enough: it is cut if the table has to be narrow.
    Detail(String),
}

/// How a table becomes narrow enough for a terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Narrow<'a> {
    /// Headings of columns that may be left out, the least important first.
    pub spare: &'a [&'a str],
    /// If the columns still do not fit: how many of the first are repeated while the others continue below. Of these,
    /// all but the first are left out too, the last first, if nothing fits beside them.
    pub repeated: Option<usize>,
}

impl<'a> Narrow<'a> {
    /// Leaves out these columns, the first of them first.
    pub fn without(spare: &'a [&'a str]) -> Self {
        Self { spare, repeated: None }
    }
}

/// Formats rows below a heading, without rules. `room` is the width of the terminal; without one, nothing is shortened.
pub(super) fn table(
    heading: &[&str],
    rows: Vec<Vec<Cell>>,
    narrow: Narrow<'_>,
    room: Option<usize>,
) -> String {
    let mut columns: Vec<TableColumn> = heading.iter().map(|name| TableColumn::new(name)).collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let Some(room) = room.filter(|room| *room < width(&columns, TableColumn::natural)) else {
        return draw(&columns, &columns.iter().map(TableColumn::natural).collect::<Vec<_>>());
    };
    let mut repeated = narrow.repeated.unwrap_or(usize::MAX).min(columns.len());
    for spare in narrow.spare {
        let place = columns.iter().position(|column| column.heading == *spare);
        if let Some(place) = place.filter(|_| width(&columns, TableColumn::least) > room) {
            columns.remove(place);
            repeated -= usize::from(place < repeated);
        }
    }
    let widest = columns[repeated..].iter().map(TableColumn::least).max();
    let beside =
        |first: &[TableColumn]| width(first, TableColumn::least) + widest.map_or(0, |widest| GAP + widest);
    while repeated > 1 && widest.is_some() && beside(&columns[..repeated]) > room {
        repeated -= 1;
        columns.remove(repeated);
    }
    let (first, others) = columns.split_at(repeated);
    let mut text = String::new();
    let mut rest = others;
    loop {
        let fits = |count: &usize| {
            let block = first.iter().chain(&rest[..*count]);
            width(block, TableColumn::least) <= room
        };
        // One at least, since it would fit nowhere else.
        let count = (1..=rest.len()).rev().find(fits).unwrap_or(rest.len().min(1));
        let block: Vec<&TableColumn> = first.iter().chain(&rest[..count]).collect();
        if !text.is_empty() {
            text.push('\n');
        }
        text += &draw(block.iter().copied(), &widths(&block, room));
        rest = &rest[count..];
        if rest.is_empty() {
            return text;
        }
    }
}

/// Spaces between columns.
const GAP: usize = 2;
/// Text may be narrower than its longest word, but not than this.
const WORD_MAX: usize = 24;

/// A column of a table.
struct TableColumn {
    heading: String,
    cells: Vec<Cell>,
}

impl TableColumn {
    fn new(heading: &str) -> Self {
        Self { heading: heading.to_owned(), cells: Vec::new() }
    }

    fn push(&mut self, cell: Cell) {
        self.cells.push(match cell {
            Cell::Text(text) => Cell::Text(plain(&text).into_owned()),
            Cell::Figure(text) => Cell::Figure(plain(&text).into_owned()),
            Cell::Detail(text) => Cell::Detail(plain(&text).into_owned()),
        });
    }

    /// The width at which nothing is broken or cut.
    fn natural(&self) -> usize {
        let cells = self.cells.iter().map(|cell| match cell {
            Cell::Text(text) | Cell::Figure(text) | Cell::Detail(text) => text.as_str(),
        });
        let lines = cells.chain([self.heading.as_str()]).flat_map(str::lines);
        lines.map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    /// The smallest width at which it is still easy to read: no word is broken, and numbers stay on one line.
    fn least(&self) -> usize {
        let cells = self.cells.iter().map(|cell| match cell {
            Cell::Figure(text) => text.width(),
            Cell::Detail(text) => text.width().min(WORD_MAX),
            // A short text is kept on one line; a long one is kept from becoming a tower.
            Cell::Text(text) => longest_word(text).min(WORD_MAX * 2).max(text.width().min(WORD_MAX)),
        });
        cells.chain([longest_word(&self.heading)]).max().unwrap_or(0)
    }

    /// The smallest width at which no word of a cell is broken: those of the heading may be, and numbers continue
    /// below.
    fn tight(&self) -> usize {
        let cells = self.cells.iter().map(|cell| match cell {
            Cell::Figure(text) | Cell::Text(text) => longest_word(text).min(WORD_MAX * 2),
            Cell::Detail(_) => 0,
        });
        cells.max().unwrap_or(0)
    }
}

/// The longest piece of a text that is not broken.
fn longest_word(text: &str) -> usize {
    text.split_whitespace().map(UnicodeWidthStr::width).max().unwrap_or(0)
}

fn width<'a>(
    columns: impl IntoIterator<Item = &'a TableColumn>,
    of: impl Fn(&TableColumn) -> usize,
) -> usize {
    let widths = columns.into_iter().map(of);
    widths.reduce(|sum, next| sum + GAP + next).unwrap_or(0)
}

/// Divides the room among columns: the rest goes to those that need the least more.
fn widths(columns: &[&TableColumn], room: usize) -> Vec<usize> {
    const LEAST: usize = 6;
    let mut widths: Vec<usize> = columns.iter().map(|column| column.least()).collect();
    let gaps = GAP * columns.len().saturating_sub(1);
    // On a very narrow terminal, words are broken, in the widest column first; in the first column last.
    let floors =
        [columns.iter().map(|column| column.tight().max(LEAST)).collect(), vec![LEAST; widths.len()]];
    for floor in floors {
        while widths.iter().sum::<usize>() + gaps > room {
            let wide = (0..widths.len()).filter(|at| widths[*at] > floor[*at]);
            let Some(widest) = wide.max_by_key(|at| (*at > 0, widths[*at])) else { break };
            widths[widest] -= 1;
        }
    }
    let mut left = room.saturating_sub(widths.iter().sum::<usize>() + gaps);
    let mut order: Vec<usize> = (0..columns.len()).collect();
    let missing = |at: usize, widths: &[usize]| columns[at].natural().saturating_sub(widths[at]);
    order.sort_by_key(|at| missing(*at, &widths));
    for at in order {
        let more = missing(at, &widths).min(left);
        widths[at] += more;
        left -= more;
    }
    widths
}

fn draw<'a>(columns: impl IntoIterator<Item = &'a TableColumn>, widths: &[usize]) -> String {
    let columns: Vec<&TableColumn> = columns.into_iter().collect();
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    let mut text = String::new();
    let heading: Vec<Vec<String>> =
        columns.iter().zip(widths).map(|(column, width)| broken(&column.heading, *width)).collect();
    line(&mut text, &heading, widths, |_| false);
    for row in 0..rows {
        let cells: Vec<Vec<String>> = columns
            .iter()
            .zip(widths)
            .map(|(column, width)| match column.cells.get(row) {
                None => Vec::new(),
                Some(Cell::Figure(text) | Cell::Text(text)) => broken(text, *width),
                Some(Cell::Detail(text)) => vec![cut(&text.replace('\n', " "), *width)],
            })
            .collect();
        let is_figure = |at: usize| matches!(columns[at].cells.get(row), Some(Cell::Figure(_)));
        line(&mut text, &cells, widths, is_figure);
    }
    text
}

/// Draws a row, whose cells may have several lines.
fn line(out: &mut String, cells: &[Vec<String>], widths: &[usize], is_right: impl Fn(usize) -> bool) {
    for part in 0..cells.iter().map(Vec::len).max().unwrap_or(0).max(1) {
        let mut text = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let own = cell.get(part).map_or("", String::as_str);
            let pad = " ".repeat(width.saturating_sub(own.width()));
            if at > 0 {
                text += &" ".repeat(GAP);
            }
            text += &if is_right(at) { pad + own } else { own.to_owned() + &pad };
        }
        *out += &format!("{}\n", text.trim_end());
    }
}

/// Breaks a text between words; a word that is wider than a line, if possible behind a mark of punctuation.
fn broken(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for own in text.lines() {
        if own.width() <= columns {
            lines.push(own.to_owned());
            continue;
        }
        let mut line = String::new();
        for word in own.split_whitespace() {
            if !line.is_empty() && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
            while line.width() > columns {
                let rest = line.split_off(break_at(&line, columns));
                lines.push(std::mem::replace(&mut line, rest));
            }
        }
        lines.push(line);
    }
    lines
}

/// Where to break a word that is too wide.
fn break_at(word: &str, columns: usize) -> usize {
    let mut end = word.chars().next().map_or(0, char::len_utf8);
    let mut behind_mark = None;
    for (at, letter) in word.char_indices() {
        let next = at + letter.len_utf8();
        if word[..next].width() > columns {
            break;
        }
        end = end.max(next);
        if matches!(letter, ',' | '.' | '/' | '_' | '-' | ':' | '=' | '[') {
            behind_mark = Some(next);
        }
    }
    behind_mark.unwrap_or(end)
}

/// The final table of a run.
pub(super) fn summary(summary: &Summary, room: Option<usize>) -> String {
    let line = |row: &Row| {
        let made = row.outcome.is_done();
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
        Narrow::without(&["peak memory", "output", "time"]),
        room,
    )
}

/// Comparisons and checks of a run's metrics; empty without matrices and expectations.
pub(super) fn figures(figures: &Figures, room: Option<usize>) -> String {
    let mut text = String::new();
    for compared in &figures.comparisons {
        text += &format!("\n{}", comparison(compared, Some(COLUMNS_MAX), room));
    }
    let unmet: Vec<_> = figures.unmet().map(finding).collect();
    if !unmet.is_empty() {
        let unmet = table(&["stage", "metric", "value", "expected"], unmet, Narrow::default(), room);
        text += &format!("\nout of bounds\n{unmet}");
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
pub(super) fn comparison(compared: &Comparison, columns_max: Option<usize>, room: Option<usize>) -> String {
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
    let rows = compared.rows.iter().map(line).collect();
    let narrow = Narrow { repeated: Some(compared.axes.len()), ..Narrow::default() };
    format!("{title}\n{}", table(&headings, rows, narrow, room))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(room: Option<usize>) -> String {
        let row = |stage: &str, what: &str, time: &str, why: &str| {
            let text = |text: &str| Cell::Text(text.to_owned());
            let figure = |text: &str| Cell::Figure(text.to_owned());
            vec![text(stage), text(what), figure(time), figure("44 MiB"), text(why)]
        };
        let rows = vec![
            row("pages", "cached", "", ""),
            row("base[lr=1e-3]", "run", "0.9 s", "with.seed 1337 -> 4; train: 1 of 1 tasks to do"),
        ];
        table(&["stage", "plan", "time", "memory", "why"], rows, Narrow::without(&["memory", "time"]), room)
    }

    #[test]
    fn tables_fit_their_room() {
        assert_eq!(
            plan(None),
            "stage          plan    time   memory  why\n\
             pages          cached         44 MiB\n\
             base[lr=1e-3]  run     0.9 s  44 MiB  with.seed 1337 -> 4; train: 1 of 1 tasks to do\n"
        );
        assert_eq!(
            plan(Some(60)),
            "stage          plan    time   why\n\
             pages          cached\n\
             base[lr=1e-3]  run     0.9 s  with.seed 1337 -> 4; train: 1\n\
             \u{20}                             of 1 tasks to do\n"
        );
        assert_eq!(
            plan(Some(40)),
            "stage          plan    why\n\
             pages          cached\n\
             base[lr=1e-3]  run     with.seed 1337 ->\n\
             \u{20}                      4; train: 1 of 1\n\
             \u{20}                      tasks to do\n"
        );
    }

    #[test]
    fn columns_continue_below() {
        let row = |seed: &str| {
            vec![
                Cell::Text(seed.to_owned()),
                Cell::Figure("1.5".to_owned()),
                Cell::Figure("20,000".to_owned()),
            ]
        };
        let narrow = Narrow { repeated: Some(1), ..Narrow::default() };
        assert_eq!(
            table(&["seed", "val_loss (nat/token)", "tokens"], vec![row("1"), row("2")], narrow, Some(20)),
            "seed  val_loss\n      (nat/token)\n1                1.5\n2                1.5\n\n\
             seed  tokens\n1     20,000\n2     20,000\n"
        );
    }

    #[test]
    fn words_of_two_columns_a_letter_are_aligned() {
        let rows = [["語彙", "1"], ["x", "2"]].map(|row| row.map(|cell| Cell::Text(cell.to_owned())).into());
        assert_eq!(table(&["a", "b"], rows.into(), Narrow::default(), None), "a     b\n語彙  1\nx     2\n");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal_and_no_letter_is_lost(
            cells in proptest::collection::vec("[a-z語,/ ]{0,40}", 12),
            room in 24..100usize,
        ) {
            let rows = cells.chunks(3).map(|row| row.iter().cloned().map(Cell::Text).collect()).collect();
            let drawn = table(&["k", "l", "m"], rows, Narrow::default(), Some(room));
            for line in drawn.lines() {
                prop_assert!(line.width() <= room, "{line}");
            }
            let letters = |text: &str| {
                let mut letters: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
                letters.sort_unstable();
                letters
            };
            prop_assert_eq!(letters(&drawn), letters(&format!("klm{}", cells.concat())));
        }
    }
}
