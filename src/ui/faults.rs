//! Owns: how the errors of a manifest are rendered.

use crate::manifest::Report;
use miette::{GraphicalReportHandler, GraphicalTheme};

/// Whether a report is rendered with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// ANSI escapes, for terminals.
    Ansi,
    /// No colours.
    Plain,
}

/// Renders all errors, `width` columns wide.
pub fn faults(report: &Report, colour: Colour, width: usize) -> String {
    let theme = match colour {
        Colour::Ansi => GraphicalTheme::unicode(),
        Colour::Plain => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width.max(40)).with_links(false);
    let mut text = String::new();
    for fault in report.diagnostics() {
        handler.render_report(&mut text, &fault).expect("invariant: a String takes all that is written");
        text.push('\n');
    }
    text + &report.summary() + "\n"
}
