//! Finds which of many documents are mostly contained in another document, or contain most of it. Documents are
//! ascending lists of shingle hashes; nothing here depends on files, sets or stages.
//!
//! All pairs with enough overlap are found without comparing every pair with something in common. Two documents that
//! share at least `a` of the `n` shingles of one also share one of any `n - a + 1` of these. So only that many of the
//! rarest shingles are looked up (prefix filtering, Bayardo et al. 2007), and text that nearly all documents contain,
//! such as a licence or a menu, gives no candidates. Candidates are compared exactly.
//!
//! ```text
//! index           all numbers little-endian
//! ├── threshold   f64
//! └── documents   holder u32, row u32, shingles u32, then each shingle: u64, ascending
//! ```

use crate::dedup::minhash::common;
use std::io::{self, Write};
use std::sync::Arc;

/// Minimum shingles of a document for a search in the documents passed to [`HeldOut::contained`].
pub(super) const CONTAINED_SHINGLES_MIN: usize = 50;

/// Where a document is: the number of its shard among those with held-out documents, and its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) holder: u32,
    pub(super) row: u32,
}

/// Writes the beginning of an index file.
pub(super) fn write_header(mut file: impl Write, threshold: f64) -> io::Result<()> {
    file.write_all(&threshold.to_le_bytes())
}

/// Writes a document of an index file.
pub(super) fn write(mut file: impl Write, place: Place, shingles: &[u64]) -> io::Result<()> {
    let count =
        u32::try_from(shingles.len()).map_err(|_| io::Error::other("a document has too many shingles"))?;
    for number in [place.holder, place.row, count] {
        file.write_all(&number.to_le_bytes())?;
    }
    shingles.iter().try_for_each(|shingle| file.write_all(&shingle.to_le_bytes()))
}

/// Reads an index file: its documents, and their places.
pub(super) fn read(bytes: &[u8]) -> io::Result<(Index, Vec<Place>)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "is not an index of held-out documents");
    let (threshold, mut rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let mut index = Index::new(f64::from_le_bytes(*threshold));
    let mut places = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<12>().ok_or_else(damaged)?;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[4 * at + byte]));
        let size = (number(2) as usize).checked_mul(8).ok_or_else(damaged)?;
        let (shingles, after) = after.split_at_checked(size).ok_or_else(damaged)?;
        index.shingles.extend(shingles.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        index.ends.push(index.shingles.len());
        places.push(Place { holder: number(0), row: number(1) });
        rest = after;
    }
    Ok((index, places))
}

/// Collects documents for a [`HeldOut`], numbered from 0 in the order of insertion.
#[derive(Debug)]
pub(super) struct Index {
    threshold: f64,
    /// The shingles of all documents, concatenated, and the end of each document.
    shingles: Vec<u64>,
    ends: Vec<usize>,
}

impl Index {
    /// An empty index; `threshold` is above 0 and up to 1.
    fn new(threshold: f64) -> Self {
        Self { threshold, shingles: Vec::new(), ends: Vec::new() }
    }

    /// Finishes the collection.
    pub(super) fn seal(self) -> Result<HeldOut, TooMany> {
        let Self { threshold, shingles, ends } = self;
        if u32::try_from(shingles.len()).is_err() {
            return Err(TooMany);
        }
        let mut keys = shingles.clone();
        keys.sort_unstable();
        keys.dedup();
        keys.shrink_to_fit();
        let buckets = buckets(&keys);
        let mut documents = Documents { threshold, shingles, ends, keys, buckets, starts: Vec::new() };
        let postings = documents.post();
        let (is_found, asked) = (vec![false; documents.ends.len()], vec![0; documents.ends.len()]);
        Ok(HeldOut { documents: Arc::new(documents), postings, is_found, asked, question: 0, work: 0 })
    }
}

/// An index of documents to compare others with. A clone has found nothing yet if its original has not; it shares the
/// documents.
#[derive(Debug, Clone)]
pub(super) struct HeldOut {
    documents: Arc<Documents>,
    postings: Postings,
    is_found: Vec<bool>,
    /// The last query in which a document was a candidate.
    asked: Vec<u64>,
    question: u64,
    /// Number of postings and shingles examined so far.
    work: u64,
}

/// The documents of an index.
#[derive(Debug)]
struct Documents {
    threshold: f64,
    /// As in [`Index`].
    shingles: Vec<u64>,
    ends: Vec<usize>,
    /// The distinct shingles, ascending, and the start of each group with the same first bits.
    keys: Vec<u64>,
    buckets: Vec<u32>,
    /// Where the postings of each shingle begin, and the end of all.
    starts: Vec<u32>,
}

/// The documents that contain a shingle, from `starts[key]` to `starts[key + 1]`: first those for which it is one of the
/// rarest, up to `rare_ends[key]`; then, from `rest_starts[key]`, the others. Documents that have been found are removed from in
/// between.
#[derive(Debug, Clone)]
struct Postings {
    documents: Vec<u32>,
    rare_ends: Vec<u32>,
    rest_starts: Vec<u32>,
}

/// A document that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Contained {
    /// Its number.
    pub(super) document: usize,
    /// Fraction of the shorter document's shingles that the other contains.
    pub(super) containment: f64,
}

/// There are more shingles than can be numbered.
#[derive(Debug, thiserror::Error)]
#[error("over four billion shingles")]
pub(super) struct TooMany;

impl Documents {
    /// Makes the postings.
    fn post(&mut self) -> Postings {
        let mut starts = vec![0; self.keys.len() + 1];
        for shingle in &self.shingles {
            let key = self.key(*shingle).expect("invariant: the keys are these shingles");
            starts[key + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let frequency = |key: u32| starts[key as usize + 1] - starts[key as usize];
        let mut rare_ends = starts[..self.keys.len()].to_vec();
        let mut rest_starts = starts[1..].to_vec();
        let mut postings = vec![0; self.shingles.len()];
        let mut keys: Vec<u32> = Vec::new();
        for document in 0..self.ends.len() {
            let shingles = &self.shingles[self.range(document)];
            keys.clear();
            keys.extend(shingles.iter().filter_map(|shingle| self.key(*shingle)).map(|key| key as u32));
            keys.sort_unstable_by_key(|key| (frequency(*key), *key));
            let rare = prefix(self.threshold, keys.len());
            for (order, key) in keys.iter().enumerate() {
                let key = *key as usize;
                let place = if order < rare {
                    rare_ends[key] += 1;
                    rare_ends[key] - 1
                } else {
                    rest_starts[key] -= 1;
                    rest_starts[key]
                };
                postings[place as usize] = document as u32;
            }
        }
        self.starts = starts;
        Postings { documents: postings, rare_ends, rest_starts }
    }

    fn range(&self, document: usize) -> std::ops::Range<usize> {
        document.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[document]
    }

    /// The index of a shingle among the keys.
    fn key(&self, shingle: u64) -> Option<usize> {
        let bucket = bucket(shingle, self.buckets.len());
        let (start, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        self.keys[start..end].binary_search(&shingle).ok().map(|at| start + at)
    }
}

impl HeldOut {
    /// The documents, not found before, of which at least the threshold is contained in a document with these
    /// shingles, or that contain at least that fraction of it if it has [`CONTAINED_SHINGLES_MIN`] or more.
    pub(super) fn contained(&mut self, shingles: &[u64]) -> Vec<Contained> {
        self.question += 1;
        let mut candidates = Vec::new();
        let mut keys: Vec<usize> =
            shingles.iter().filter_map(|shingle| self.documents.key(*shingle)).collect();
        for &key in &keys {
            self.walk_rare(key, &mut candidates);
        }
        if shingles.len() >= CONTAINED_SHINGLES_MIN {
            // Shingles that no document contains are the rarest.
            let absent = shingles.len() - keys.len();
            let rare = prefix(self.documents.threshold, shingles.len()).saturating_sub(absent);
            let starts = &self.documents.starts;
            keys.sort_unstable_by_key(|&key| (starts[key + 1] - starts[key], key));
            for &key in keys.iter().take(rare) {
                self.walk_rare(key, &mut candidates);
                self.walk_rest(key, &mut candidates);
            }
        }
        candidates.sort_unstable();
        candidates.into_iter().filter_map(|document| self.compare(document as usize, shingles)).collect()
    }

    fn compare(&mut self, document: usize, shingles: &[u64]) -> Option<Contained> {
        let own = &self.documents.shingles[self.documents.range(document)];
        let (small, large) = if own.len() < shingles.len() { (own, shingles) } else { (shingles, own) };
        self.work += small.len() as u64;
        let common = common(small, large) as f64;
        let mut containment = common / own.len() as f64;
        if shingles.len() >= CONTAINED_SHINGLES_MIN {
            containment = containment.max(common / shingles.len() as f64);
        }
        if containment < self.documents.threshold {
            return None;
        }
        self.is_found[document] = true;
        Some(Contained { document, containment })
    }

    fn walk_rare(&mut self, key: usize, candidates: &mut Vec<u32>) {
        let mut at = self.documents.starts[key] as usize;
        while at < self.postings.rare_ends[key] as usize {
            if self.take(at, candidates) {
                at += 1;
            } else {
                self.postings.rare_ends[key] -= 1;
                self.postings.documents.swap(at, self.postings.rare_ends[key] as usize);
            }
        }
    }

    fn walk_rest(&mut self, key: usize, candidates: &mut Vec<u32>) {
        for at in self.postings.rest_starts[key] as usize..self.documents.starts[key + 1] as usize {
            if !self.take(at, candidates) {
                self.postings.documents.swap(at, self.postings.rest_starts[key] as usize);
                self.postings.rest_starts[key] += 1;
            }
        }
    }

    /// Makes the document of a posting a candidate; returns false if it was found before.
    fn take(&mut self, at: usize, candidates: &mut Vec<u32>) -> bool {
        self.work += 1;
        let document = self.postings.documents[at];
        if self.is_found[document as usize] {
            return false;
        }
        if self.asked[document as usize] != self.question {
            self.asked[document as usize] = self.question;
            candidates.push(document);
        }
        true
    }
}

/// Number of a document's shingles that have to be looked up: a document that shares the threshold's fraction
/// contains one of any that many.
fn prefix(threshold: f64, shingles: usize) -> usize {
    let reaches = |common: usize| common as f64 / shingles as f64 >= threshold;
    let mut least = ((threshold * shingles as f64) as usize).min(shingles);
    while least < shingles && !reaches(least) {
        least += 1;
    }
    while least > 1 && reaches(least - 1) {
        least -= 1;
    }
    (shingles + 1 - least.max(1)).min(shingles)
}

/// Start of the keys of each bucket, about one key per bucket; hashes are evenly distributed.
fn buckets(keys: &[u64]) -> Vec<u32> {
    let mut starts = vec![0; keys.len().next_power_of_two() + 1];
    let count = starts.len();
    for key in keys {
        starts[bucket(*key, count) + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    starts
}

/// The bucket of a shingle: its first bits.
fn bucket(shingle: u64, starts: usize) -> usize {
    let bits = (starts - 1).trailing_zeros();
    shingle.checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn document(values: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let spread = |value: u64| (value + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        values.into_iter().map(spread).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The expected answer, from comparing all pairs.
    fn compared(threshold: f64, held_out: &[Vec<u64>], training: &[Vec<u64>]) -> Vec<Vec<Contained>> {
        let mut found = BTreeSet::new();
        let of = |shingles: &Vec<u64>| {
            let mut contained = Vec::new();
            for (document, own) in held_out.iter().enumerate() {
                let common = own.iter().filter(|shingle| shingles.contains(shingle)).count() as f64;
                let mut containment = if own.is_empty() { 0.0 } else { common / own.len() as f64 };
                if shingles.len() >= CONTAINED_SHINGLES_MIN {
                    containment = containment.max(common / shingles.len() as f64);
                }
                if containment >= threshold && found.insert(document) {
                    contained.push(Contained { document, containment });
                }
            }
            contained
        };
        training.iter().map(of).collect()
    }

    fn sealed(threshold: f64, documents: &[Vec<u64>]) -> HeldOut {
        let mut bytes = Vec::new();
        write_header(&mut bytes, threshold).unwrap();
        documents
            .iter()
            .for_each(|document| write(&mut bytes, Place { holder: 0, row: 0 }, document).unwrap());
        let (index, places) = read(&bytes).unwrap();
        assert_eq!(places.len(), documents.len());
        index.seal().unwrap()
    }

    /// Documents of consecutive numbers, so that they overlap.
    fn corpus() -> impl Strategy<Value = Vec<Vec<u64>>> {
        let runs = prop::collection::vec((0_u64..150, 0_u64..80), 0..3);
        let one =
            runs.prop_map(|runs| document(runs.into_iter().flat_map(|(from, count)| from..from + count)));
        prop::collection::vec(one, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn finds_what_comparing_all_pairs_finds(
            held_out in corpus(),
            training in corpus(),
            threshold in prop::sample::select(&[0.05, 0.3, 0.5, 0.8, 0.9, 1.0]),
        ) {
            let mut index = sealed(threshold, &held_out);
            let found: Vec<_> = training.iter().map(|shingles| index.contained(shingles)).collect();
            prop_assert_eq!(found, compared(threshold, &held_out, &training));
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes).map(|(index, _)| index.seal());
        }

        #[test]
        fn a_prefix_cannot_be_missed(threshold in 0.001_f64..=1.0, shingles in 1_usize..3000) {
            let rare = prefix(threshold, shingles);
            let least = shingles + 1 - rare;
            prop_assert!(rare >= 1 && least as f64 / shingles as f64 >= threshold);
            prop_assert!(least == 1 || ((least - 1) as f64 / shingles as f64) < threshold);
        }
    }

    /// The work of comparing `size` documents with as many others; `shared` of 100 shingles occur in all.
    fn work(size: u64, shared: u64) -> (u64, usize) {
        let numbered = |n: u64| document((0..shared).chain((shared..100).map(|at| n * 1000 + 1000 + at)));
        let held_out: Vec<Vec<u64>> = (0..size).map(numbered).collect();
        let mut index = sealed(0.8, &held_out);
        let found = (size..2 * size).map(|n| index.contained(&numbered(n)).len()).sum();
        (index.work, found)
    }

    #[test]
    fn what_all_documents_have_costs_no_comparison_of_all_pairs() {
        for shared in [0, 10, 56, 79] {
            let ((once, found), (twice, _)) = (work(1000, shared), work(2000, shared));
            assert_eq!(found, 0, "{shared}");
            assert!(twice <= 2 * once + 4000, "{shared}: {once}, {twice}");
        }
        // Enough in common that all are found, each once.
        for shared in [80, 95, 100] {
            let ((once, found), (twice, _)) = (work(1000, shared), work(2000, shared));
            assert_eq!(found, 1000);
            assert!(twice < 3 * once, "{shared}: {once}, {twice}");
        }
    }
}
