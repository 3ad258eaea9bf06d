//! Which records belong to a sample of a given size: those with the smallest hashes.

use super::borders::Place;
use super::records::{Next, RecordReading, documents, id};
use super::rejected::Rejections;
use pipe_stage::{Error, Inputs, Item, Result, Share, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// Slot of the sample hashes of a file.
const HASHES: &str = "hashes";

/// Number of documents in a sample.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Sampling {
    pub(super) take: u64,
    pub(super) reading: RecordReading,
}

/// Leaves the smallest sample hashes of a share's files, as many as the sample has documents.
pub(super) fn hash_ids(sampling: &Sampling, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut rejections = Rejections::default();
    let mut smallest = Smallest::new(sampling.take);
    for file in inputs.item().entries() {
        rejections.begin(id(file));
        documents(&sampling.reading, file, share, &mut rejections, |document, _| {
            let Place { sample, .. } = Place::of(&document.id);
            if sampling.reading.sample_max.is_none_or(|max| sample <= max) {
                smallest.add(sample);
            }
            Ok(Next::Go)
        })?;
    }
    let bytes: Vec<u8> = smallest.0.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let mut out = share.named(HASHES, "hashes")?;
    out.write_all(&bytes).map_err(|error| Error::io("write", Path::new("sample hashes"), &error))?;
    share.keep(out)?;
    Ok(())
}

/// The sample hashes of all files as one item.
pub(super) fn hashes(step: &Step) -> Item {
    Item::new("hashes", step.entries(HASHES))
}

/// Finds the largest sample hash that belongs to the sample, and stores it as the value of the share.
pub(super) fn last_of_sample(take: &u64, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut smallest = Smallest::new(*take);
    for file in share.track("files", inputs.item().entries()) {
        let bytes = file?.bytes()?;
        bytes.as_chunks::<8>().0.iter().for_each(|hash| smallest.add(u64::from_le_bytes(*hash)));
    }
    share.value(&smallest.0.last().copied().unwrap_or(0));
    Ok(())
}

/// The smallest hashes seen so far. Documents with the same id have the same hash and count once.
struct Smallest(BTreeSet<u64>, u64);

impl Smallest {
    fn new(take: u64) -> Self {
        Self(BTreeSet::new(), take)
    }

    fn add(&mut self, hash: u64) {
        if (self.0.len() as u64) < self.1 {
            self.0.insert(hash);
        } else if self.0.last().is_some_and(|last| hash < *last) && self.0.insert(hash) {
            self.0.pop_last();
        }
    }
}
