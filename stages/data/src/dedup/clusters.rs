//! From pairs to clusters, and which document of a cluster is kept.

use super::corpus::{Corpus, Place};
use super::minhash::Components;
use super::pairs::{TESTS_MAX, places, similarity};
use super::{stand_in, unreadable};
use crate::lines::write_json_line;
use pipe_stage::{Error, Inputs, Metric, Result, Share, Step};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) const DOCUMENTS_IN: &str = "documents_in";
pub(super) const METRICS: [&str; 5] =
    ["documents", DOCUMENTS_IN, "removed_exact", "removed_near", "clusters"];
/// Documents that were not compared with all candidates; reported if there are any.
pub(super) const LIMITED: &str = "comparisons_limited";

/// Members of clusters that are judged in one share.
const MEMBERS_MAX: usize = 1 << 16;

/// Two or more documents that are linked.
#[derive(Debug, Serialize, Deserialize)]
struct Cluster {
    /// The smallest stand-in of its members.
    id: u64,
    /// Position of the member that is kept.
    kept: u32,
    /// Shard and document of each member, ascending.
    members: Vec<(u32, u32)>,
}

/// Joins the pairs of all parts into clusters, and decides which member of each is kept. The items are the pairs, the
/// documents that were not compared with all candidates, and the signatures of all shards.
///
/// Memory: four bytes per document, and 16 for each member of a cluster.
pub(super) fn find_clusters(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [pairs, limited, signatures @ ..] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut corpus = Corpus::new(signatures);
    let numbers = Numbers::of(&mut corpus)?;
    let mut components = Components::new(numbers.total());
    for file in share.track("parts", pairs.entries()) {
        let bytes = file?.bytes()?;
        let places: Vec<Place> = places(&bytes).map_err(unreadable)?.collect();
        for pair in places.chunks_exact(2) {
            components.join(numbers.number(pair[0]), numbers.number(pair[1]));
        }
    }
    note_limited(&limited.entries().iter().map(|file| file.bytes()).collect::<Result<Vec<_>>>()?, share)?;

    let (mut removed_exact, mut removed_near, mut clusters) = (0, 0, 0);
    let mut parts = share.parts("clusters")?;
    let (mut part, mut members) = (0, 0);
    for places in components.clusters() {
        share.check_stop()?;
        let places: Vec<Place> = places.into_iter().map(|number| numbers.place(number)).collect();
        let cluster = keep_best(&places, &mut corpus)?;
        let kept = corpus.text(places[cluster.kept as usize])?;
        let mut equal = 0;
        for place in &places {
            equal += u64::from(corpus.text(*place)? == kept);
        }
        removed_exact += equal - 1;
        removed_near += places.len() as u64 - equal;
        clusters += 1;
        members += places.len();
        write_json_line(&cluster, |line| parts.part(part, line))?;
        if members >= MEMBERS_MAX {
            (part, members) = (part + 1, 0);
        }
    }
    share.keep_parts(parts)?;
    share.value(&(part + u32::from(members > 0)));
    let all = u64::from(numbers.total());
    share.counts(METRICS, [all - removed_exact - removed_near, all, removed_exact, removed_near, clusters]);
    Ok(())
}

/// The parts into which [`find_clusters`] divided the clusters.
pub(super) fn ranges(step: &Step) -> Result<Vec<Range<u32>>> {
    let parts = step.values::<u32>()?.into_iter().sum();
    Ok((0..parts).map(|part| part..part + 1).collect())
}

/// Reports documents that were not compared with all candidates.
fn note_limited(files: &[Vec<u8>], share: &mut Share) -> Result<()> {
    let mut limited: Vec<Place> = Vec::new();
    for file in files {
        limited.extend(places(file).map_err(unreadable)?);
    }
    limited.sort_unstable();
    limited.dedup();
    let limited = limited.len();
    if limited > 0 {
        share.metric(Metric::count(LIMITED, limited as u64).lower_is_better());
        let (documents, were) = if limited == 1 { ("document", "was") } else { ("documents", "were") };
        share.note(format!(
            "{limited} {documents} {were} not compared with all candidates, only with {TESTS_MAX} per band; \
             near-duplicates may remain. More `rows` make for fewer candidates"
        ));
    }
    Ok(())
}

/// Consecutive numbers of the documents of all shards.
struct Numbers {
    /// Number of the first document of each shard, and the total.
    starts: Vec<u32>,
}

impl Numbers {
    fn of(corpus: &mut Corpus) -> Result<Self> {
        let mut starts = vec![0_u32];
        for shard in 0..corpus.len() as u32 {
            let documents = corpus.shard(shard)?.len();
            let end = u32::try_from(documents).ok().and_then(|more| starts[shard as usize].checked_add(more));
            let too_many = || Error::input("over four billion documents; deduplicate parts of them first");
            starts.push(end.ok_or_else(too_many)?);
        }
        Ok(Self { starts })
    }

    fn total(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    fn number(&self, place: Place) -> u32 {
        self.starts[place.shard as usize] + place.document
    }

    fn place(&self, number: u32) -> Place {
        let shard = self.starts.partition_point(|start| *start <= number) - 1;
        Place { shard: shard as u32, document: number - self.starts[shard] }
    }
}

/// Decides which member of a cluster is kept: the one with the highest rank, then with the smallest id.
fn keep_best(places: &[Place], corpus: &mut Corpus) -> Result<Cluster> {
    let mut best: Option<(u64, String, u32)> = None;
    let mut id = u64::MAX;
    for (position, place) in (0..).zip(places) {
        let (rank, own) = (corpus.rank(*place)?, corpus.id(*place)?);
        id = id.min(stand_in(&own));
        let is_better =
            best.as_ref().is_none_or(|(best, of, _)| rank.cmp(best).then_with(|| of.cmp(&own)).is_gt());
        if is_better {
            best = Some((rank, own, position));
        }
    }
    let kept = best.map_or(0, |(_, _, position)| position);
    Ok(Cluster { id, kept, members: places.iter().map(|place| (place.shard, place.document)).collect() })
}

/// The result for a document in a cluster of two or more; documents without duplicates are not listed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fate {
    pub(super) row: u32,
    pub(super) cluster: u64,
    pub(super) size: u32,
    /// The document that is kept instead; none for the kept one.
    pub(super) kept: Option<Kept>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) similarity: f64,
    /// Whether the texts are equal.
    exact: bool,
}

/// Compares the members of some clusters with those that are kept, and leaves each shard the results for its documents.
/// The items are the clusters, and the signatures of all shards.
pub(super) fn judge(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [clusters, signatures @ ..] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut corpus = Corpus::new(signatures);
    let mut fates: BTreeMap<u32, Vec<Fate>> = BTreeMap::new();
    for file in clusters.entries() {
        for cluster in share.track("clusters", crate::lines::read_lines::<Cluster>(file)?) {
            for (place, fate) in fates_of(&cluster?, &mut corpus)? {
                fates.entry(place.shard).or_default().push(fate);
            }
        }
    }
    let mut parts = share.parts("fates")?;
    for (shard, mut fates) in fates {
        fates.sort_by_key(|fate| fate.row);
        for fate in fates {
            write_json_line(&fate, |line| parts.part(shard, line))?;
        }
    }
    share.keep_parts(parts)
}

fn fates_of(cluster: &Cluster, corpus: &mut Corpus) -> Result<Vec<(Place, Fate)>> {
    let places: Vec<Place> =
        cluster.members.iter().map(|&(shard, document)| Place { shard, document }).collect();
    let keeper = places.get(cluster.kept as usize).copied();
    let keeper = keeper.ok_or_else(|| Error::Panic { message: "a cluster keeps no member".into() })?;
    let (keeper_id, text) = (corpus.id(keeper)?, corpus.text(keeper)?);
    let size = places.len() as u32;
    let mut fates = Vec::with_capacity(places.len());
    for place in places {
        let kept = if place == keeper {
            None
        } else {
            let exact = corpus.text(place)? == text;
            let similarity = if exact { 1.0 } else { similarity(corpus, place, keeper)? };
            Some(Kept { id: keeper_id.clone(), similarity, exact })
        };
        fates.push((place, Fate { row: corpus.row(place)?, cluster: cluster.id, size, kept }));
    }
    Ok(fates)
}
