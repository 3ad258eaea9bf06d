//! Which documents agree in a band, and which of them are similar: the work on one part of all band hashes.
//!
//! ```text
//! part            all numbers little-endian, for each band of each document
//! └── entries     hash of the band u64, second half of the text's digest u64, shingles u32, document u32
//!
//! pairs           what is left of a part
//! └── pairs       two places, u64 each: the first document of a component, another one
//! ```
//!
//! A place is a shard and a document (see [`Place`]). A document without shingles has a single entry, whose hash is the
//! first half of its text's digest.

use super::corpus::{Corpus, Place, unreadable};
use super::first_own;
use super::minhash::{Components, Orders, jaccard, join_group, may_reach};
use crate::parts::part_of;
use pipe_stage::{Inputs, PartsFile, Result, Share};
use schemars::JsonSchema;
use serde::Serialize;
use std::io;

/// Maximum entries that are compared in one share (32 MiB in memory), if there are enough parts.
pub(super) const ENTRIES_MAX: u64 = 1 << 20;

/// A band of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) hash: u64,
    /// Second half of the text's digest: equal texts need no comparison.
    pub(super) text: u64,
    pub(super) place: Place,
    /// Number of the document's shingles.
    pub(super) shingles: u32,
}

const ENTRY_BYTES: usize = 24;

impl Entry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.hash.to_le_bytes());
        out.extend(self.text.to_le_bytes());
        out.extend(self.shingles.to_le_bytes());
        out.extend(self.place.document.to_le_bytes());
    }

    fn read(bytes: &[u8; ENTRY_BYTES], shard: u32) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let last = word(16);
        let place = Place { shard, document: (last >> 32) as u32 };
        Self { hash: word(0), text: word(8), place, shingles: last as u32 }
    }
}

/// The entries of a document; its shard does not matter yet.
pub(super) fn entries<'a>(
    document: u32,
    text: &[u8; 16],
    shingles: &'a [u64],
    orders: &'a Orders,
) -> impl Iterator<Item = Entry> + use<'a> {
    let half = |half: usize| u64::from_le_bytes(std::array::from_fn(|at| text[8 * half + at]));
    let place = Place { shard: 0, document };
    let (first, text) = (half(0), half(1));
    let by_text = shingles.is_empty().then_some(first);
    let hashes = orders.band_hashes(shingles).into_iter().chain(by_text);
    let shingles = u32::try_from(shingles.len()).unwrap_or(u32::MAX);
    hashes.map(move |hash| Entry { hash, text, place, shingles })
}

/// Writes the entries of a shard by part.
pub(super) fn write(entries: &mut [Entry], file: &mut PartsFile) -> Result<()> {
    entries.sort_unstable();
    let mut bytes = Vec::new();
    for part in entries.chunk_by(|a, b| part_of(a.hash) == part_of(b.hash)) {
        bytes.clear();
        part.iter().for_each(|entry| entry.write(&mut bytes));
        file.part(part_of(part[0].hash), &bytes).map_err(unreadable)?;
    }
    Ok(())
}

/// Maximum number of members of a group that one is compared with, unless they are already connected. It is documented
/// at [`super::Dedup`].
pub(super) const TESTS_MAX: usize = 1000;

/// The settings that determine pairs, besides the bands.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pairing {
    pub(super) threshold: f64,
    /// Number of shards of earlier releases, which come first. Their documents are not compared with each other.
    pub(super) earlier: u32,
}

/// Finds the pairs of similar documents of a part. The items are the parts of all shards, then their signatures.
///
/// Leaves pairs that connect each component to its first document, and the documents that were not compared with all
/// candidates.
pub(super) fn find_pairs(pairing: &Pairing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let Pairing { threshold, earlier } = *pairing;
    let (parts, signatures) = inputs.items().split_at(inputs.items().len() / 2);
    let mut entries = Vec::new();
    for (shard, part) in (0..).zip(parts) {
        for part in part.entries() {
            entries.extend(part.bytes()?.as_chunks().0.iter().map(|bytes| Entry::read(bytes, shard)));
        }
    }
    entries.sort_unstable();
    let mut corpus = Corpus::new(signatures);
    let is_own = |entry: &Entry| entry.place.shard >= earlier;
    let groups = || {
        let groups = entries.chunk_by(|a, b| a.hash == b.hash);
        groups.filter(|group| group.len() > 1 && group.iter().any(is_own))
    };
    let mut members: Vec<Place> = groups().flatten().map(|entry| entry.place).collect();
    members.sort_unstable();
    members.dedup();
    let number = |place: Place| members.binary_search(&place).unwrap_or_default() as u32;

    let mut components = Components::new(members.len() as u32);
    let mut limited = Vec::new();
    let (mut group, mut shingles) = (Vec::new(), Vec::new());
    for entries in groups() {
        share.check_stop()?;
        group.clear();
        shingles.clear();
        for equal in entries.chunk_by(|a, b| a.text == b.text) {
            let first = number(equal[0].place);
            equal[1..].iter().for_each(|copy| components.join(first, number(copy.place)));
            if equal[0].shingles > 0 {
                group.push(first);
                shingles.push((first, equal[0].shingles as usize));
            }
        }
        group.sort_unstable();
        shingles.sort_unstable();
        let count = |member: u32| {
            shingles.binary_search_by_key(&member, |(member, _)| *member).map_or(0, |at| shingles[at].1)
        };
        let mut failed = None;
        let alike = |a: u32, b: u32| {
            may_reach(threshold, count(a), count(b))
                && similarity(&mut corpus, members[a as usize], members[b as usize])
                    .map(|similarity| similarity >= threshold)
                    .unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
        };
        // Members are numbered in the order of shards.
        let known = first_own(&group, earlier, |member| members[*member as usize].shard);
        join_group(&group, known, &mut components, TESTS_MAX, alike, |member| {
            limited.push(members[member as usize])
        });
        failed.map_or(Ok(()), Err)?;
    }
    limited.sort_unstable();
    limited.dedup();
    let mut pairs = Vec::new();
    for (member, place) in (0..).zip(&members) {
        let first = components.find(member);
        if first != member {
            pairs.extend(members[first as usize].to_le_bytes());
            pairs.extend(place.to_le_bytes());
        }
    }
    let limited: Vec<u8> = limited.into_iter().flat_map(Place::to_le_bytes).collect();
    share.write("pairs", "pairs", &pairs)?;
    share.write("limited", "limited", &limited)?;
    Ok(())
}

/// The Jaccard similarity of two documents.
pub(super) fn similarity(corpus: &mut Corpus, a: Place, b: Place) -> Result<f64> {
    let (a, b) = (corpus.shingles(a)?, corpus.shingles(b)?);
    Ok(jaccard(&a, &b))
}

/// The places in a file that [`find_pairs`] left.
pub(super) fn places(bytes: &[u8]) -> io::Result<impl Iterator<Item = Place> + '_> {
    let (places, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is not a list of places"));
    }
    Ok(places.iter().map(|bytes| Place::from_le_bytes(*bytes)))
}
