//! Owns: output for people. Events in; a terminal, plain lines or JSON lines out. It decides nothing.

mod text;

mod gauge;

mod faults;

mod bars;

mod lines;

mod table;

mod tensorboard;

mod observers;

mod stream;

mod report;

pub mod units;

use crate::{
    figures::{Comparison, Figures},
    run::{RunEvent, Summary},
    warning::Warning,
};
use bars::Bars;
pub use faults::{Colour, faults};
pub use report::{Inflow, Look, Report, ReportStage, escape};
use std::{
    io::{IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};
pub use stream::{Stream, now};
pub use table::{Cell, Narrow};
pub use text::{counted, plain};

/// How a command prints its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether results and events are printed as JSON.
    pub json: bool,
    /// Whether stderr is a terminal with colours and progress lines.
    pub terminal: bool,
    /// Whether stdout is printed in colour.
    pub colour: bool,
}

impl Style {
    /// Examines the terminal, `NO_COLOR` and `TERM`.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !plain;
        Self { json, terminal, colour: std::io::stdout().is_terminal() && !plain }
    }
}

/// Displays a run while it is active.
pub enum Progress {
    /// Progress lines that move, on stderr.
    Bars(Bars),
    /// A line for each important event, on stderr.
    Lines(lines::Lines),
    /// Every event as one line of JSON, on stdout.
    Json,
}

impl Progress {
    /// Chooses by the style.
    pub fn new(style: Style) -> Self {
        match style {
            Style { json: true, .. } => Self::Json,
            Style { terminal: true, .. } => Self::Bars(Bars::default()),
            _ => Self::Lines(lines::Lines::default()),
        }
    }

    /// Displays an event.
    pub fn tell(&mut self, event: &RunEvent) {
        match self {
            Self::Bars(bars) => bars.tell(event),
            Self::Lines(lines) => lines.tell(event),
            Self::Json => emit(&stream::line(now(), &json(event))),
        }
    }

    /// Displays the end.
    pub fn end(self, summary: &Summary, figures: &Figures) {
        match self {
            Self::Json => emit(&json(&closing(summary, figures))),
            Self::Bars(bars) => {
                bars.clear();
                say(&tables(summary, figures));
            }
            Self::Lines(_) => say(&tables(summary, figures)),
        }
    }
}

/// The last line of a run's events.
fn closing(summary: &Summary, figures: &Figures) -> serde_json::Value {
    serde_json::json!({
        "version": stream::RUN_VERSION,
        "summary": summary.rows,
        "comparisons": figures.comparisons,
        "expectations": figures.findings,
    })
}

/// The tables at the end of a run, which go to stderr.
fn tables(summary: &Summary, figures: &Figures) -> String {
    let room = std::io::stderr().is_terminal().then(columns);
    format!("{}{}", table::summary(summary, room), table::figures(figures, room))
}

/// Formats a table for stdout: if that is a terminal, it is fitted to its width.
pub fn table(heading: &[&str], rows: Vec<Vec<Cell>>, narrow: Narrow<'_>) -> String {
    table::table(heading, rows, narrow, room())
}

/// Formats a comparison of the stages of a matrix for stdout.
pub fn comparison(compared: &Comparison) -> String {
    table::comparison(compared, None, room())
}

/// Width of the terminal on stderr; 80 columns if unknown.
pub fn columns() -> usize {
    columns_of(std::io::stderr())
}

/// Width of the terminal on stdout; `None` if stdout is none, so that nothing needs to be shortened.
pub fn room() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| columns_of(std::io::stdout()))
}

/// Width of a terminal, or that in the variable `COLUMNS` if it is smaller.
fn columns_of(terminal: impl std::os::fd::AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    let own = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = asked.filter(|columns| *columns > 0);
    own.into_iter().chain(asked).min().unwrap_or(80)
}

/// Writes a message to stderr. If that fails, nobody is reading it.
pub fn say(text: &str) {
    let ended = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = std::io::stderr().lock().write_all(format!("{}{ended}", plain(text)).as_bytes());
}

/// Writes a warning to stderr.
pub fn warn(warning: &Warning) {
    say(&lines::warned(warning));
}

/// Writes text to stdout, without control characters; if the reader is gone, the program ends quietly.
pub fn print(text: &str) {
    print_exactly(&plain(text));
}

/// Writes a value to stdout, as JSON on one line.
pub fn print_json(value: &impl serde::Serialize) {
    print_exactly(&json(value));
}

/// Writes output for other programs to stdout, unchanged.
pub fn print_exactly(text: &str) {
    let ended = if text.ends_with('\n') { "" } else { "\n" };
    print_bytes(format!("{text}{ended}").as_bytes());
}

/// Writes bytes to stdout. A reader that went away ends the program quietly; any other failure, such as a full disk,
/// is an error that ends it.
pub fn print_bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(141);
        }
        say(&format!("error: cannot write to stdout: {error}"));
        std::process::exit(1);
    }
}

/// Writes an event of a run to stdout; if the reader is gone, the run continues without it.
fn emit(line: &str) {
    static IS_BROKEN: AtomicBool = AtomicBool::new(false);
    if IS_BROKEN.load(Ordering::Relaxed) {
        return;
    }
    let written = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
    IS_BROKEN.store(written.is_err(), Ordering::Relaxed);
}

/// JSON on several lines.
pub fn pretty(value: &impl serde::Serialize) -> String {
    text::plain_json(serde_json::to_string_pretty(value).expect("invariant: what is shown is plain data"))
}

/// One line of JSON.
pub fn json(value: &impl serde::Serialize) -> String {
    text::plain_json(serde_json::to_string(value).expect("invariant: what is shown is plain data"))
}
