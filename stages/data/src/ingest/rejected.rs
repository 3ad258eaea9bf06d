//! What cannot be read: counted, listed up to a bound, and told.

use super::REJECTED;
use super::columns::Fault;
use super::records::Unreadable;
use pipe_stage::{Error, Result, Share};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// What came of a share's files; the first few rejected ones are told to people.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) files: u64,
    /// Rows of files that hold many documents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) examples: Vec<(String, String)>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Tally {
    const EXAMPLES_MAX: usize = 5;

    pub(super) fn add(&mut self, more: Tally) {
        self.files += more.files;
        self.rows += more.rows;
        self.rejected += more.rejected;
        let room = Self::EXAMPLES_MAX - self.examples.len().min(Self::EXAMPLES_MAX);
        self.examples.extend(more.examples.into_iter().take(room));
    }

    /// Counts a file or row that is rejected.
    pub(super) fn reject(&mut self, id: String, explanation: String) {
        self.rejected += 1;
        if self.examples.len() < Self::EXAMPLES_MAX {
            self.examples.push((id, explanation));
        }
    }

    pub(super) fn check(&self, errors_max: u64) -> Result<()> {
        if self.rejected <= errors_max {
            return Ok(());
        }
        let Self { rejected, files, rows, .. } = self;
        let what = match rows {
            0 => format!("{rejected} of {files} files are no pages"),
            _ => format!("{rejected} of {files} files and {rows} rows cannot be read"),
        };
        let mut message = format!("{what}, and `errors_max` allows {errors_max}:");
        self.examples.iter().for_each(|(id, why)| message += &format!("\n  `{id}`: {why}"));
        if self.rejected > self.examples.len() as u64 {
            message += "\n  ...";
        }
        let help = match rows {
            0 => "mend or leave out these files, or raise `errors_max`",
            _ => "mend or leave out these rows, or raise `errors_max`; the output `rejected` then lists them",
        };
        Err(Error::input(message).help(help))
    }
}

/// The rejected rows of a share, as lines of `rejected`.
pub(super) struct Rejections {
    /// `<source>/<file>`.
    file: String,
    lines: Vec<u8>,
    listed: u64,
    unlisted: u64,
    pub(super) tally: Tally,
}

/// One line of `rejected`.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    reason: &'a str,
    explanation: &'a str,
}

impl Rejections {
    /// Lines of one share: a hostile file may have a billion broken rows.
    const LISTED_MAX: u64 = 1000;

    pub(super) fn new(file: String) -> Self {
        Self { file, lines: Vec::new(), listed: 0, unlisted: 0, tally: Tally::default() }
    }

    /// A row of the file, by its number.
    pub(super) fn row(&mut self, row: u64, fault: &Fault) {
        let explanation = fault.to_string();
        self.line(None, Some(row), fault.code(), &explanation);
        self.tally.reject(format!("{}, row {row}", self.file), explanation);
    }

    /// The file itself, or what is left of it.
    pub(super) fn unreadable(&mut self, unreadable: &Unreadable) {
        let explanation = unreadable.to_string();
        self.line(None, unreadable.row(), unreadable.code(), &explanation);
        self.tally.reject(self.file.clone(), explanation);
    }

    /// A document that is left out without being an error.
    pub(super) fn left_out(&mut self, id: &str, fault: &Fault) {
        self.line(Some(id), None, fault.code(), &fault.to_string());
    }

    fn line(&mut self, id: Option<&str>, row: Option<u64>, reason: &str, explanation: &str) {
        if self.listed == Self::LISTED_MAX {
            self.unlisted += 1;
            return;
        }
        self.listed += 1;
        let line = Line { id: id.unwrap_or(&self.file), row, reason, explanation };
        serde_json::to_writer(&mut self.lines, &line).expect("invariant: plain data");
        self.lines.push(b'\n');
    }

    /// Writes the lines, if there are any, and gives the tally.
    pub(super) fn keep(mut self, share: &mut Share) -> Result<Tally> {
        if self.unlisted > 0 {
            let explanation = format!("{} more are not listed", self.unlisted);
            let line = Line { id: &self.file, row: None, reason: "more", explanation: &explanation };
            serde_json::to_writer(&mut self.lines, &line).expect("invariant: plain data");
            self.lines.push(b'\n');
        }
        if !self.lines.is_empty() {
            let mut file = share.file_with(REJECTED.name(), "jsonl")?;
            file.write_all(&self.lines).map_err(|error| Error::io("write", Path::new(&self.file), &error))?;
            share.keep(file)?;
        }
        Ok(self.tally)
    }
}
