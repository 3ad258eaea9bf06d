//! Documents that cannot be read: counted against limits, listed up to a maximum, and reported.

use super::REJECTED;
use super::faults::{Fault, Unreadable};
use crate::lines::write_buffered;
use pipe_stage::{Error, Result, Share};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;

/// Maximum losses before the stage fails; none means no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budgets {
    pub(super) errors: u64,
    pub(super) files_lost: u64,
    pub(super) redirects: Option<u64>,
    pub(super) duplicates: Option<u64>,
    pub(super) no_page: Option<u64>,
}

/// Counts for a share's files. The first few losses of each kind are reported as notes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    pub(super) files: u64,
    /// Rows of files that may hold several documents.
    pub(super) rows: u64,
    /// Single-document files and rows that cannot be read.
    pub(super) errors: Loss,
    /// Files of records that cannot be read completely.
    pub(super) files_lost: Loss,
    /// Redirect pages.
    pub(super) redirects: Loss,
    /// Records whose id occurred before.
    pub(super) duplicates: Loss,
    /// Records of web archives without a page.
    pub(super) no_page: Loss,
    /// Number of all these by their reason, and of files without records.
    pub(super) reasons: BTreeMap<String, u64>,
}

/// One kind of loss.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Loss {
    pub(super) count: u64,
    /// Names and explanations.
    examples: Vec<(String, String)>,
}

impl Loss {
    const EXAMPLES_MAX: usize = 5;

    fn add(&mut self, more: Loss) {
        self.count += more.count;
        let room = Self::EXAMPLES_MAX - self.examples.len().min(Self::EXAMPLES_MAX);
        self.examples.extend(more.examples.into_iter().take(room));
    }

    fn one(&mut self, count: u64, name: String, explanation: String) {
        self.count += count;
        if self.examples.len() < Self::EXAMPLES_MAX {
            self.examples.push((name, explanation));
        }
    }

    /// The error for more than `max` losses; it begins with `what`.
    fn message(&self, max: u64, field: &str, what: String) -> Option<String> {
        if self.count <= max {
            return None;
        }
        let mut message = format!("{what}, but `{field}` is {max}:");
        self.examples.iter().for_each(|(name, why)| message += &format!("\n  `{name}`: {why}"));
        if self.count > self.examples.len() as u64 {
            message += "\n  ...";
        }
        Some(message)
    }
}

impl Tally {
    pub(super) fn add(&mut self, more: Tally) {
        self.files += more.files;
        self.rows += more.rows;
        self.errors.add(more.errors);
        self.files_lost.add(more.files_lost);
        self.redirects.add(more.redirects);
        self.duplicates.add(more.duplicates);
        self.no_page.add(more.no_page);
        more.reasons
            .into_iter()
            .for_each(|(reason, count)| *self.reasons.entry(reason).or_default() += count);
    }

    /// Counts a single-document file that cannot be read.
    pub(super) fn error(&mut self, name: String, explanation: String) {
        self.errors.one(1, name, explanation);
    }

    /// Counts a redirect page.
    pub(super) fn redirect(&mut self, name: String, explanation: String) {
        self.redirects.one(1, name, explanation);
    }

    /// Number of all documents that are left out.
    pub(super) const fn rejected(&self) -> u64 {
        self.errors.count + self.files_lost.count
    }

    pub(super) fn check(&self, budgets: Budgets) -> Result<()> {
        let of = |count: u64, all: u64, noun: &str| {
            format!("{count} of {all} {noun}{} could not be read", if all == 1 { "" } else { "s" })
        };
        let lost = of(self.files_lost.count, self.files, "file") + " to the end";
        let errors = match self.rows {
            0 => of(self.errors.count, self.files, "file"),
            rows => of(self.errors.count, rows.max(self.errors.count), "row"),
        };
        let left_out = |loss: &Loss, one: &str, many: &str| {
            format!(
                "{} left out",
                match loss.count {
                    1 => format!("1 {one} was"),
                    count => format!("{count} {many} were"),
                }
            )
        };
        let redirects = left_out(&self.redirects, "redirect page", "redirect pages");
        let duplicates = left_out(&self.duplicates, "record with a repeated id", "records with repeated ids");
        let no_page = left_out(&self.no_page, "record without a page", "records without a page");
        let limit = |max: Option<u64>| max.unwrap_or(u64::MAX);
        let messages: Vec<String> = [
            self.files_lost.message(budgets.files_lost, "files_lost_max", lost),
            self.errors.message(budgets.errors, "errors_max", errors),
            self.redirects.message(limit(budgets.redirects), "redirects_max", redirects),
            self.duplicates.message(limit(budgets.duplicates), "duplicates_max", duplicates),
            self.no_page.message(limit(budgets.no_page), "no_page_max", no_page),
        ]
        .into_iter()
        .flatten()
        .collect();
        if messages.is_empty() {
            return Ok(());
        }
        let help = "fix or exclude these, or raise the limit; the output `rejected` then lists them";
        Err(Error::input(messages.join("\n")).help(help))
    }
}

/// The documents that a share leaves out, as lines of `rejected`.
#[derive(Default)]
pub(super) struct Rejections {
    /// `<source>/<file>` of the file that is read now.
    file: String,
    lines: Vec<u8>,
    listed: u64,
    unlisted: u64,
    pub(super) tally: Tally,
}

/// One line of `rejected`.
#[derive(Serialize)]
struct Rejected<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    reason: &'a str,
    explanation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl Rejections {
    /// Maximum lines per share: a hostile file may have a billion broken rows.
    const LISTED_MAX: u64 = 1000;

    /// Names the file, `<source>/<file>`, that the next lines are about.
    pub(super) fn begin(&mut self, file: String) {
        self.file = file;
    }

    /// A row of the file, by number.
    pub(super) fn row(&mut self, row: u64, fault: &Fault) {
        let explanation = fault.to_string();
        self.line(None, Some(row), fault.code(), &explanation, None);
        let loss = if fault.is_no_page() { &mut self.tally.no_page } else { &mut self.tally.errors };
        loss.one(fault.lost(), format!("{}, row {row}", self.file), explanation);
    }

    /// The file, or the rest of it.
    pub(super) fn unreadable(&mut self, unreadable: &Unreadable) {
        let explanation = unreadable.to_string();
        self.line(None, unreadable.row(), unreadable.code(), &explanation, None);
        self.tally.files_lost.one(1, self.file.clone(), explanation);
    }

    /// The file, which can be read but has no records. It counts as no loss, since nothing of it is left out.
    pub(super) fn without_records(&mut self) {
        self.line(None, None, "empty", "it has no records", None);
    }

    /// A record whose id occurred before.
    pub(super) fn duplicate(&mut self, id: &str) {
        let explanation = Fault::Duplicate.to_string();
        self.line(Some(id), None, Fault::Duplicate.code(), &explanation, None);
        self.tally.duplicates.one(1, id.to_owned(), explanation);
    }

    /// A single-document file, by its id.
    pub(super) fn document(&mut self, id: &str, reason: &str, explanation: &str, bytes: u64) {
        self.line(Some(id), None, reason, explanation, Some(bytes));
    }

    fn line(
        &mut self,
        id: Option<&str>,
        row: Option<u64>,
        reason: &str,
        explanation: &str,
        bytes: Option<u64>,
    ) {
        *self.tally.reasons.entry(reason.to_owned()).or_default() += 1;
        if self.listed == Self::LISTED_MAX {
            self.unlisted += 1;
            return;
        }
        self.listed += 1;
        let line = Rejected { id: id.unwrap_or(&self.file), row, reason, explanation, bytes };
        serde_json::to_writer(&mut self.lines, &line).expect("invariant: plain data");
        self.lines.push(b'\n');
    }

    /// Writes the lines, if any, to a file named after the share's item, and returns the tally.
    pub(super) fn keep(mut self, share: &mut Share, extension: &str) -> Result<Tally> {
        if self.unlisted > 0 {
            let explanation = format!("{} more are not listed", self.unlisted);
            let line = Rejected {
                id: &self.file,
                row: None,
                reason: "more",
                explanation: &explanation,
                bytes: None,
            };
            serde_json::to_writer(&mut self.lines, &line).expect("invariant: plain data");
            self.lines.push(b'\n');
        }
        if !self.lines.is_empty() {
            let mut file = share.file_with(REJECTED.name(), extension)?;
            write_buffered(&mut file, |file| file.write_all(&self.lines))?;
            share.keep(file)?;
        }
        Ok(self.tally)
    }
}
