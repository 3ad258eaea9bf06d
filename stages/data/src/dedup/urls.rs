//! Documents with the same address: which of them is kept.

use super::clusters::{Fate, Instead, Reason};
use super::corpus::{Corpus, Place};
use super::rank::{Kept, rank_of_copy};
use super::signatures::{self, Signature};
use super::{first_own, stand_in};
use crate::address::canonical;
use crate::documents::{Column, DocumentReader};
use crate::hashed::{ByShard, Found, for_each_group, number_at, write};
use crate::lines::{write_buffered, write_json_line};
use pipe_stage::{Error, Inputs, Result, Share};
use schemars::JsonSchema;
use serde::Serialize;
use std::cmp::Reverse;

/// The settings that determine addresses and ranks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Addressing {
    pub(super) kept: Kept,
    pub(super) parameters: Vec<String>,
    pub(super) score: Option<String>,
}

/// Leaves the address of each document of a shard as a hash: 8 bytes, then 8 more of it and the document's number.
pub(super) fn find_addresses(addressing: &Addressing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns: &[Column] = match addressing.kept {
        Kept::Longest => &[Column::Id, Column::Url, Column::Text],
        _ => &[Column::Id, Column::Url, Column::Date, Column::Metadata],
    };
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(columns).rows()?;
    let (mut documents, mut entries) = (Vec::new(), Vec::new());
    for row in share.track("documents", rows) {
        let row = row??;
        if row.document.url.trim().is_empty() {
            continue;
        }
        let hash = blake3::hash(canonical(&row.document.url, &addressing.parameters).as_bytes());
        let hash = hash.as_bytes();
        let mut rest = [0; 12];
        rest[..8].copy_from_slice(&hash[8..16]);
        rest[8..].copy_from_slice(&(documents.len() as u32).to_le_bytes());
        entries.push((u64::from_le_bytes(std::array::from_fn(|at| hash[at])), rest));
        let rank = rank_of_copy(&row, addressing.kept, addressing.score.as_deref())?;
        documents.push(Signature { row: row.index, rank, id: row.document.id, ..Signature::default() });
    }
    share.value(&(entries.len() as u64));
    let mut file = share.file("ranks")?;
    write_buffered(&mut file, |file| signatures::write(file, &documents))?;
    share.keep(file)?;
    write(share, "addresses", entries)
}

/// The settings that determine which copy is kept, besides the ranks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Choosing {
    pub(super) kept: Kept,
    /// Number of shards of earlier releases; they come first.
    pub(super) earlier: u32,
}

/// Leaves each shard what becomes of its copies. The items are the same parts of all shards, then the ranks of all.
pub(super) fn find_copies(choosing: &Choosing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let (parts, ranks) = inputs.items().split_at(inputs.items().len() / 2);
    let mut corpus = Corpus::new(ranks);
    let mut fates = ByShard::default();
    for_each_group::<12>(share, parts, |group| {
        if group.len() == 1 {
            return Ok(());
        }
        let mut group = group.to_vec();
        group.sort_unstable_by_key(|found| (check(found), found.shard, document(found)));
        for same in group.chunk_by(|a, b| check(a) == check(b)) {
            let own = first_own(same, choosing.earlier, |found| found.shard);
            if own == same.len() || same.len() == 1 {
                continue;
            }
            let place = |found: &Found<12>| Place { shard: found.shard, document: document(found) };
            // One of an earlier release is kept before all others.
            let candidates = if own > 0 { &same[..own] } else { same };
            let mut best: Option<((u64, Reverse<String>), Place)> = None;
            for place in candidates.iter().map(place) {
                // Among the first ones, the order of places decides.
                let id = if choosing.kept == Kept::First { String::new() } else { corpus.id(place)? };
                let key = (corpus.rank(place)?, Reverse(id));
                if best.as_ref().is_none_or(|(best, _)| key > *best) {
                    best = Some((key, place));
                }
            }
            let Some((_, kept)) = best else { continue };
            let kept_id = corpus.id(kept)?;
            for place in same[own..].iter().map(place).filter(|place| *place != kept) {
                let instead = Instead {
                    id: kept_id.clone(),
                    similarity: None,
                    reason: Reason::Url,
                    is_earlier: own > 0,
                };
                let cluster = stand_in(&corpus.id(place)?);
                let fate = Fate { row: corpus.row(place)?, cluster, size: 0, kept: Some(instead) };
                write_json_line(&fate, |line| {
                    fates.of(place.shard).extend_from_slice(line);
                    Ok(())
                })?;
            }
        }
        Ok(())
    })?;
    fates.write(share, "copies")
}

/// The second half of the hash of an address.
fn check(found: &Found<12>) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| found.rest[at]))
}

fn document(found: &Found<12>) -> u32 {
    number_at(&found.rest, 8)
}

/// No document has an address.
pub(super) fn no_addresses() -> Error {
    Error::input("no document has an address in `url`, by which copies are to be found")
        .help("map `columns.url` of `ingest` to the column with the addresses, or leave out `url`")
}
