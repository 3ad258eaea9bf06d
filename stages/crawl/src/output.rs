//! The log of a crawl, and its metrics. It does not know how a crawl runs.

use crate::{
    frontier::{Entry, Frontier, Kind},
    journal::archive_name,
    outcome::{Done, Outcome},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    url: &'a str,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(flatten)]
    page: Option<PageFields<'a>>,
}

#[derive(Serialize)]
struct PageFields<'a> {
    bytes: u64,
    date: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    archive: String,
    offset: u64,
    length: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    revisit: bool,
}

/// The last line, if not all addresses are listed.
#[derive(Serialize)]
struct Unlisted {
    outcome: &'static str,
    count: u64,
}

impl<'a> Line<'a> {
    fn new(url: &'a str, done: &'a Done, entry: Option<&'a Entry>) -> Self {
        let page = done.kept.as_ref().map(|kept| PageFields {
            bytes: kept.bytes,
            date: &kept.date,
            media_type: kept.media_type.as_deref(),
            archive: archive_name(kept.place.archive),
            offset: kept.place.offset,
            length: kept.place.length,
            revisit: kept.revisit,
        });
        Self {
            url,
            outcome: done.outcome,
            status: done.status,
            depth: entry.filter(|entry| entry.kind == Kind::Page).map(|entry| entry.depth),
            from: entry.and_then(|entry| entry.from.as_deref()),
            to: done.to.as_deref(),
            note: done.note.as_deref(),
            page,
        }
    }
}

/// What a crawl came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Addresses by outcome.
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    /// Pages whose body is that of another page.
    pub(crate) revisits: u64,
}

impl Totals {
    pub(crate) fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }
}

/// Writes one line per address, sorted by address. Addresses that still wait were beyond a limit.
pub(crate) fn write_log(
    frontier: &Frontier,
    robots: &BTreeMap<String, Done>,
    out: &mut impl Write,
) -> io::Result<Totals> {
    let limit = Done::new(Outcome::Limit);
    let entries = frontier.entries().iter().map(|entry| {
        let done = entry.done.as_deref().unwrap_or(&limit);
        Line::new(&entry.url, done, Some(entry))
    });
    // An address that is linked to like a page has its line already.
    let robots = robots.iter().filter(|(url, _)| frontier.find(url).is_none());
    let mut lines: Vec<Line<'_>> =
        entries.chain(robots.map(|(url, done)| Line::new(url, done, None))).collect();
    lines.sort_by(|a, b| a.url.cmp(b.url));
    let mut totals = Totals::default();
    for line in &lines {
        *totals.outcomes.entry(line.outcome).or_default() += 1;
        totals.revisits += u64::from(line.page.as_ref().is_some_and(|page| page.revisit));
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")?;
    }
    if frontier.unlisted > 0 {
        serde_json::to_writer(&mut *out, &Unlisted { outcome: "unlisted", count: frontier.unlisted })?;
        out.write_all(b"\n")?;
    }
    Ok(totals)
}
