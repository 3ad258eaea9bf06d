//! The second step for files of records: cuts the documents of one branch, from all files, into shards.

use super::PAGES;
use super::borders::{Caps, Place, leaves};
use super::rejected::Rejections;
use super::shards::Naming;
use super::slices::{SliceReader, Spool, damaged, read, read_id};
use pipe_stage::{Error, Inputs, Metric, Result, Share};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The settings that determine how shards are cut.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Cutting {
    pub(super) naming: Naming,
    pub(super) caps: Caps,
    /// Depth of the branches.
    pub(super) depth: u32,
}

/// Bytes of a branch's documents to keep in memory; the rest is written to a temporary file.
const MEMORY_MAX: usize = 256 << 20;

/// Where a document of the branch is stored.
#[derive(Clone, Copy)]
struct Held {
    position: u64,
    /// Further bits of the hash of its id.
    check: u64,
    at: u64,
    length: u32,
    is_duplicate: bool,
}

/// Cuts a branch into shards. Documents are sorted by the hash of their ids; if several share an id, the first in the
/// order of files and rows is kept.
pub(super) fn cut_shards(cutting: &Cutting, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let failed = |error: io::Error| Error::io("read or write", Path::new("a slice of records"), &error);
    let scratch = share.scratch()?;
    let mut spool = Spool::new(MEMORY_MAX);
    let (mut held, mut buffer) = (Vec::new(), Vec::new());
    for slice in share.track("files", inputs.item().entries()) {
        let mut reader = SliceReader::new(slice?.stream()?).map_err(failed)?;
        while reader.next(&mut buffer).map_err(failed)? {
            let id = read_id(&buffer).ok_or_else(damaged).map_err(failed)?;
            let Place { position, sample: check } = Place::of(id);
            let at = spool.push(&buffer, &scratch.path().join("documents")).map_err(failed)?;
            held.push(Held { position, check, at, length: buffer.len() as u32, is_duplicate: false });
        }
    }
    order(&mut held);

    let mut rejections = Rejections::default();
    rejections.begin(cutting.naming.source.clone());
    let measure = |held: &Held| (held.position, u64::from(held.length));
    let (mut documents, mut duplicates, mut bytes) = (0, 0, 0);
    for leaf in leaves(&held, measure, cutting.depth, cutting.caps) {
        let name = format!("{}/{:016x}.parquet", cutting.naming.source, leaf.border);
        let file = share.named(PAGES.name(), &name)?;
        let mut writer = cutting.naming.writer(file)?;
        for held in share.track("documents", &held[leaf.range]) {
            let held = held?;
            spool.read(held.at, held.length as usize, &mut buffer).map_err(failed)?;
            let mut document = read(&buffer).ok_or_else(damaged).map_err(failed)?;
            cutting.naming.complete(&mut document);
            if held.is_duplicate {
                duplicates += 1;
                rejections.duplicate(&document.id);
                continue;
            }
            bytes += (document.text.len() + document.html.as_ref().map_or(0, Vec::len)) as u64;
            writer.push(&document)?;
        }
        documents += writer.rows();
        share.keep(writer.finish()?)?;
    }
    let tally = rejections.keep(share, "duplicates.jsonl")?;
    share.value(&tally);
    share.count("documents", documents);
    share.metric(Metric::new("bytes", bytes as f64, "bytes"));
    share.metric(Metric::count("duplicates", duplicates));
    Ok(())
}

/// Sorts documents by the hash of their ids, and marks all but the first of each id.
///
/// Ids are compared by 128 bits of their BLAKE3, so an id column with a single value costs no more than others.
fn order(held: &mut [Held]) {
    held.sort_by_key(|held| (held.position, held.check));
    for equal in held.chunk_by_mut(|a, b| (a.position, a.check) == (b.position, b.check)) {
        equal[1..].iter_mut().for_each(|held| held.is_duplicate = true);
    }
}
