//! From pairs to clusters, and which document of a cluster is kept.

use super::corpus::{Corpus, Place};
use super::minhash::Components;
use super::pairs::{TESTS_MAX, places, similarity};
use super::{first_own, stand_in, unreadable};
use crate::lines::write_json_line;
use pipe_stage::{Error, Inputs, Metric, Result, Share, Step};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) const METRICS: [&str; 4] = ["documents", "removed_exact", "removed_near", "clusters"];
/// Documents that were not compared with all candidates; reported if there are any.
pub(super) const LIMITED: &str = "comparisons_limited";

/// Members of clusters that are judged in one share.
const MEMBERS_MAX: usize = 1 << 16;

/// Two or more documents that are linked.
#[derive(Debug, Serialize, Deserialize)]
struct Cluster {
    /// The stand-in of the kept member.
    id: u64,
    /// Position of the member that is kept.
    kept: u32,
    /// Shard and document of each member, ascending.
    members: Vec<(u32, u32)>,
}

/// Joins the pairs of all parts into clusters, and decides which member of each is kept. The items are the pairs, the
/// documents that were not compared with all candidates, and the signatures of all shards, of which the first `earlier` are
/// of earlier releases: their documents are kept before others, and clusters of them alone do not count.
///
/// Memory: four bytes per document, and 16 for each member of a cluster.
pub(super) fn find_clusters(earlier: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
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
        let own = first_own(&places, *earlier, |place| place.shard);
        if own == places.len() {
            continue;
        }
        let cluster = keep_best(&places, own, &mut corpus)?;
        let kept = places[cluster.kept as usize];
        let text = corpus.text(kept)?;
        for place in places[own..].iter().filter(|place| **place != kept) {
            let is_equal = corpus.text(*place)? == text;
            removed_exact += u64::from(is_equal);
            removed_near += u64::from(!is_equal);
        }
        clusters += 1;
        members += places.len();
        write_json_line(&cluster, |line| parts.part(part, line))?;
        if members >= MEMBERS_MAX {
            (part, members) = (part + 1, 0);
        }
    }
    share.keep_parts(parts)?;
    share.value(&(part + u32::from(members > 0)));
    let all = u64::from(numbers.total() - numbers.starts[*earlier as usize]);
    share.counts(METRICS, [all - removed_exact - removed_near, removed_exact, removed_near, clusters]);
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

/// Decides which member of a cluster is kept: the one with the highest rank, then with the smallest id. The first `own` are
/// of earlier releases; if there are any, it is one of them.
fn keep_best(places: &[Place], own: usize, corpus: &mut Corpus) -> Result<Cluster> {
    let mut best: Option<(u64, String, u32)> = None;
    for (position, place) in (0..).zip(places) {
        let (rank, id_of) = (corpus.rank(*place)?, corpus.id(*place)?);
        let is_better =
            best.as_ref().is_none_or(|(best, of, _)| rank.cmp(best).then_with(|| of.cmp(&id_of)).is_gt());
        if is_better && (own == 0 || (position as usize) < own) {
            best = Some((rank, id_of, position));
        }
    }
    let (id, kept) = best.map_or((0, 0), |(_, id, position)| (stand_in(&id), position));
    Ok(Cluster { id, kept, members: places.iter().map(|place| (place.shard, place.document)).collect() })
}

/// The result for a document in a cluster of two or more; documents without duplicates are not listed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fate {
    pub(super) row: u32,
    pub(super) cluster: u64,
    /// Number of documents of the cluster; 0 for those that are removed, so that their shards need no new task if it grows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) size: u32,
    /// The document that is kept instead; none for the kept one.
    pub(super) kept: Option<Instead>,
}

fn is_zero(size: &u32) -> bool {
    *size == 0
}

/// What a document is removed for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Instead {
    pub(super) id: String,
    /// Of the texts; none if only the addresses are equal.
    pub(super) similarity: Option<f64>,
    pub(super) reason: Reason,
    /// Whether it is of an earlier release.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_earlier: bool,
}

/// Why two documents are copies of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// Their texts are equal.
    Exact,
    /// Their texts are similar, or they are linked by others that are.
    Near,
    /// Their addresses are equal.
    Url,
}

/// Compares the members of some clusters with those that are kept, and leaves each shard the results for its documents.
/// The items are the clusters, and the signatures of all shards.
pub(super) fn judge(earlier: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [clusters, signatures @ ..] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let mut corpus = Corpus::new(signatures);
    let mut fates: BTreeMap<u32, Vec<Fate>> = BTreeMap::new();
    for file in clusters.entries() {
        for cluster in share.track("clusters", crate::lines::read_lines::<Cluster>(file)?) {
            for (place, fate) in fates_of(&cluster?, *earlier, &mut corpus)? {
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

fn fates_of(cluster: &Cluster, earlier: u32, corpus: &mut Corpus) -> Result<Vec<(Place, Fate)>> {
    let places: Vec<Place> =
        cluster.members.iter().map(|&(shard, document)| Place { shard, document }).collect();
    let keeper = places.get(cluster.kept as usize).copied();
    let keeper = keeper.ok_or_else(|| Error::Panic { message: "a cluster keeps no member".into() })?;
    let (keeper_id, text) = (corpus.id(keeper)?, corpus.text(keeper)?);
    let size = places.len() as u32;
    let mut fates = Vec::with_capacity(places.len());
    for place in places.into_iter().filter(|place| place.shard >= earlier) {
        let kept = if place == keeper {
            None
        } else {
            let is_equal = corpus.text(place)? == text;
            let similarity = if is_equal { 1.0 } else { similarity(corpus, place, keeper)? };
            Some(Instead {
                id: keeper_id.clone(),
                similarity: Some(similarity),
                reason: if is_equal { Reason::Exact } else { Reason::Near },
                is_earlier: keeper.shard < earlier,
            })
        };
        let size = if kept.is_none() { size } else { 0 };
        fates.push((place, Fate { row: corpus.row(place)?, cluster: cluster.id, size, kept }));
    }
    Ok(fates)
}
