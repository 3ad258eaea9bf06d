//! The report of the stage, for model cards: how many documents went because of which list. It names lists by digest, and no
//! document, so it may be published.
//!
//! ```text
//! report.jsonl    {"by": "url", "list": "urls.txt", "digest": "ab12…", "entries": 3, "unmatched": 1, "documents": 2}
//! ```

use super::By;
use crate::lines::{read_lines, write_lines};
use pipe_stage::{Digest, LocalEntry, Result, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line of the report: what a list removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// What its entries name.
    #[schemars(with = "String")]
    pub by: By,
    /// Name of the file.
    pub list: String,
    /// Digest of the file: BLAKE3, as `b3sum` prints it.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// Number of its entries.
    pub entries: u64,
    /// Those that name no document.
    pub unmatched: u64,
    /// Documents that it removed. One that is on several lists counts for the first of id, address and host.
    pub documents: u64,
}

/// The name of the file.
pub(super) const REPORT_FILE: &str = "report.jsonl";

impl Removal {
    /// Reads a report.
    ///
    /// # Errors
    /// If the file has other lines.
    pub fn read(file: &LocalEntry) -> Result<Vec<Self>> {
        read_lines(file)
    }
}

/// Writes the report, given how many entries found nothing.
pub(super) fn write(
    lists: &[Removal],
    unmatched: &BTreeMap<By, u64>,
    slot: &str,
    share: &mut Share,
) -> Result<()> {
    let line =
        |list: &Removal| Removal { unmatched: unmatched.get(&list.by).copied().unwrap_or(0), ..list.clone() };
    let lines: Vec<Removal> = lists.iter().map(line).collect();
    let mut file = share.named(slot, REPORT_FILE)?;
    write_lines(&mut file, &lines)?;
    share.keep(file).map(drop)
}
