//! The first step for shards by id: files leave their documents by branch of the trie over ids. The branches are cut into
//! shards when all files have been read.

use super::borders::{Place, Weight};
use super::format::Format;
use super::groups::estimated_bytes;
use super::records::{Given, RecordReading, sampled};
use super::slices::SliceWriter;
use pipe_stage::{Entry, Error, Inputs, Result, Share, ShareFile, SourceFile, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Slot of the documents of a share: one entry per branch.
const SLICES: &str = "slices";

/// Depth of the branches, chosen so that one branch is small enough to be cut at once.
///
/// At most 32 branches: each is an open file in every share.
pub(super) fn depth_for(files: &[SourceFile], format: Format) -> u32 {
    const BRANCH_BYTES: u64 = 64 << 20;
    const DEPTH_MAX: u32 = 5;
    let bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(estimated_bytes(file, format)));
    (0..DEPTH_MAX).find(|depth| bytes >> depth <= BRANCH_BYTES).unwrap_or(DEPTH_MAX)
}

/// Weight of each branch, over all files.
pub(super) fn weights(given: &[Branched], depth: u32) -> Vec<Weight> {
    let mut weights = vec![Weight::default(); 1 << depth];
    for (weight, (documents, bytes)) in given.iter().flat_map(weights_of) {
        weights[weight].documents += documents;
        weights[weight].bytes += bytes;
    }
    weights
}

fn weights_of(given: &Branched) -> impl Iterator<Item = (usize, (u64, u64))> {
    given.branches.iter().copied().enumerate()
}

/// The slices of the step by branch, in the order of the files.
pub(super) fn by_branch(step: &Step, depth: u32) -> Vec<Vec<Entry>> {
    let mut branches = vec![Vec::new(); 1 << depth];
    for entry in step.entries(SLICES) {
        let branch = entry.name.split('.').next().and_then(|name| usize::from_str_radix(name, 16).ok());
        if let Some(branch) = branch.and_then(|branch| branches.get_mut(branch)) {
            branch.push(entry);
        }
    }
    branches
}

/// What reading the files of a share found, and the weight of each branch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Branched {
    pub(super) given: Given,
    /// Number of documents and bytes.
    branches: Vec<(u64, u64)>,
}

/// The settings that determine slices.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Slicing {
    pub(super) reading: RecordReading,
    /// Depth of the branches.
    pub(super) depth: u32,
}

/// Reads files and leaves their documents by branch.
pub(super) fn read_slices(slicing: &Slicing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let written = |error: io::Error| Error::io("write", Path::new("a slice of records"), &error);
    let count = 1 << slicing.depth;
    let mut slices: Vec<Option<SliceWriter<io::BufWriter<ShareFile>>>> = (0..count).map(|_| None).collect();
    let mut branches = vec![(0, 0); count];
    let mut buffer = Vec::new();
    let files = inputs.item().entries();
    let given = sampled(&slicing.reading, files, share, "rejected.jsonl", |document, share| {
        let Place { position, .. } = Place::of(&document.id);
        let branch = position.checked_shr(u64::BITS - slicing.depth).unwrap_or(0) as usize;
        let slice = match &mut slices[branch] {
            Some(slice) => slice,
            slice => {
                let file = share.named(SLICES, &format!("{branch:02x}.rows"))?;
                slice.insert(SliceWriter::new(io::BufWriter::new(file)).map_err(written)?)
            }
        };
        slice.push(&document, &mut buffer).map_err(written)?;
        let (documents, bytes) = &mut branches[branch];
        (*documents, *bytes) = (*documents + 1, *bytes + buffer.len() as u64);
        Ok(())
    })?;
    for slice in slices.into_iter().flatten() {
        let file = slice.finish().and_then(|file| file.into_inner().map_err(io::Error::from));
        share.keep(file.map_err(written)?)?;
    }
    share.value(&Branched { given, branches });
    Ok(())
}
