//! Owns: which documents are copies of each other, and which of them is kept. The algorithms are in
//! [`crate::dedup::minhash`]. Nothing here depends on threads, caches or the manifest.

pub mod minhash;
pub mod pool;
pub mod signatures;

mod corpus;

use std::collections::BTreeMap;

use pipe_stage::{
    Code, Context, Error, FILES, Facts, In, Inputs, Item, KnownInputs, Metric, Misfit, Out, Port, Result,
    Share, Stage, WorkInputs,
};
use roaring::RoaringBitmap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::documents::{
    AddedColumn, CLUSTER, CLUSTER_SIZE, Column, DOCUMENTS, DocumentReader, METADATA_HELP, Row,
    facts_passed_on, lacks_text, missing_metadata, text_digest,
};
use crate::lines::{read_lines, write_buffered, write_lines};
use crate::none_left;
use corpus::Corpus;
pub(crate) use corpus::{open_signatures, unreadable};
use minhash::{Bands, Components, MinHash, band_hashes, groups, join_group, shingles};
use signatures::Signature;

/// Removes duplicates and near-duplicates.
///
/// Documents with the same text, and documents whose sets of shingles have a Jaccard similarity of at least
/// `threshold`, are linked. Linked documents form a cluster, of which one is kept: the one with the highest `score`
/// if that is set, otherwise the longest in characters, then the one with the smallest id. Candidates come from
/// MinHash bands and are verified by their exact similarity. A text of fewer than `shingle` words is only compared as
/// a whole.
///
/// In each band, a document is compared with at most 1,000 candidates that it is not linked to yet, so that boilerplate
/// that very many documents share does not take quadratic time. The metric `comparisons_limited` and a line in the log
/// report the number of documents for which there were more candidates; near-duplicates among these may remain. More
/// `rows` make for fewer candidates.
///
/// The text is not copied: the output is a view of the input with the columns `cluster` (the smallest hash of its
/// members' ids) and `cluster_size`. The output `removed` lists removed documents, the document that was kept
/// instead, and their similarity.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dedup {
    /// Minimum Jaccard similarity of near-duplicates, above 0 and up to 1; with 1, only texts with equal shingles are
    /// removed. The default 0.8 finds texts that differ in a few sentences.
    pub threshold: f64,
    /// Words per shingle, 1 to 50; characters in scripts without spaces. The default is 5, as for FineWeb.
    pub shingle: u32,
    /// Number of MinHash bands, 1 to 256. More bands find more of the pairs just above the threshold, and take more
    /// time. The default is 14, as for FineWeb.
    pub bands: u32,
    /// MinHash values per band, 1 to 64. With more, fewer candidates have to be verified, and more pairs are missed.
    /// The default is 8, as for FineWeb.
    pub rows: u32,
    /// Metadata field with a number that ranks the documents of a cluster; the highest is kept. Documents without it rank
    /// lowest, but some must have it. By default, the longest text is kept.
    pub score: Option<String>,
}

impl Default for Dedup {
    fn default() -> Self {
        Self { threshold: 0.8, shingle: 5, bands: 14, rows: 8, score: None }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text.");
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The documents that are kept, with their clusters.");
const REMOVED: Out = Out::new(
    "removed",
    &FILES,
    "Removed documents, the document kept instead, and their similarity, as JSON Lines.",
);
const DOCUMENTS_IN: &str = "documents_in";
const METRICS: [&str; 5] = ["documents", DOCUMENTS_IN, "removed_exact", "removed_near", "clusters"];
/// Documents that were not compared with all candidates; reported if there are any.
const LIMITED: &str = "comparisons_limited";

impl Stage for Dedup {
    const NAME: &'static str = "dedup";
    /// History: 1: initial version. 2: shingles depend on the characters of a text and no longer on its language.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[INPUT.port(), OUTPUT.port(), REMOVED.port()];

    fn check(&self) -> Vec<Misfit> {
        let threshold = self.threshold > 0.0 && self.threshold <= 1.0;
        let faults = [
            Misfit::unless(threshold, "threshold", "must be above 0 and at most 1"),
            Misfit::unless((1..=50).contains(&self.shingle), "shingle", "must be from 1 to 50"),
            Misfit::unless((1..=256).contains(&self.bands), "bands", "must be from 1 to 256"),
            Misfit::unless((1..=64).contains(&self.rows), "rows", "must be from 1 to 64"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == OUTPUT.name() { facts_passed_on(inputs, INPUT, &[]) } else { Facts::default() }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let missing = self.score.as_ref().and_then(|score| missing_metadata(inputs, INPUT, score));
        let missing = missing.map(|message| Misfit::new("score", message).help(METADATA_HELP));
        lacks_text(inputs, INPUT).into_iter().chain(missing).collect()
    }

    /// A constant, and about 90 bytes for each document, measured with documents of 600 bytes (compressed).
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        Some(MEMORY_BYTES_MIN + MEMORY_PER_BYTE * inputs.bytes()? as f64)
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.into_iter().chain([LIMITED]).map(str::to_owned).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let Self { threshold, shingle, bands, rows, score } = self.clone();
        let documents = ctx.input(INPUT);
        let signing = Signing { shingle, bands, rows, score: score.clone() };
        let signatures = ctx.each("signatures", &signing, documents.shards(), sign)?;
        let items =
            signatures.entries("signatures").into_iter().map(|file| Item::new(&file.name.clone(), [file]));
        let clusters =
            ctx.once("clusters", &Clustering { threshold, bands, score }, items.collect(), cluster)?;
        let slices = clusters.slices("fates");
        let shards = documents.shards().into_iter().zip(slices).map(|(shard, slice)| shard.with(slice));
        if ctx.value(DOCUMENTS_IN) == 0.0 {
            none_left::warn(ctx, "no documents are left", []);
        }
        let survivors = ctx.each("survivors", &(), shards.collect(), survive)?;
        ctx.output(OUTPUT, survivors.entries("documents"))?;
        ctx.output(REMOVED, survivors.entries("removed"))
    }
}

/// The settings that determine signatures.
#[derive(Debug, Serialize, JsonSchema)]
struct Signing {
    shingle: u32,
    bands: u32,
    rows: u32,
    score: Option<String>,
}

/// The settings that determine clusters, besides signatures.
#[derive(Debug, Serialize, JsonSchema)]
struct Clustering {
    threshold: f64,
    bands: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<String>,
}

/// Memory of a worker and of the shards that it reads, whatever the number of documents.
pub(crate) const MEMORY_BYTES_MIN: f64 = (24_u64 << 20) as f64;
/// Memory for what is held of each document, per byte of the input.
pub(crate) const MEMORY_PER_BYTE: f64 = 0.15;

/// Computes the signatures of a shard's documents.
fn sign(signing: &Signing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let shape = Bands { bands: signing.bands as usize, rows: signing.rows as usize };
    let orders = MinHash::orders(shape);
    let columns = [Column::Id, Column::Text, Column::Metadata];
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let mut signed = Vec::new();
    for row in share.track("documents", rows) {
        let row = row??;
        let rank = rank(&row, signing.score.as_deref())?;
        let document = row.document;
        let shingles = shingles(&document.text, signing.shingle as usize);
        signed.push(Signature {
            row: row.index,
            cluster: stand_in(&document.id),
            rank,
            text: text_digest(&document.text),
            bands: band_hashes(&shingles, &orders),
            id: document.id,
            shingles,
        });
    }
    let mut file = share.file("signatures")?;
    write_buffered(&mut file, |file| signatures::write(file, shape.bands, &signed))?;
    share.keep(file)?;
    Ok(())
}

/// The cluster of a document without duplicates.
pub(crate) fn stand_in(id: &str) -> u64 {
    let digest = blake3::hash(id.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at]))
}

/// Rank within a cluster; the highest is kept. With a score, it is 0 for documents without it, and for no others.
fn rank(row: &Row, score: Option<&str>) -> Result<u64> {
    let Some(field) = score else { return Ok(row.document.text.chars().count() as u64) };
    let Some(fact) = row.fact(field) else { return Ok(0) };
    let score = fact.number().ok_or_else(|| {
        let (id, value) = (&row.document.id, fact.text());
        Error::input(format!("metadata `{field}` of document `{id}` is `{value}`, not a number"))
            .help("name a field with numbers as `score`")
    })?;
    // Maps the order of the numbers to an order of unsigned integers.
    let bits = score.to_bits();
    Ok(if score.is_sign_negative() { !bits } else { bits | 1 << 63 })
}

/// The result for a document in a cluster of two or more; documents without duplicates are not listed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Fate {
    row: u32,
    cluster: u64,
    size: u32,
    /// The document that is kept instead; none for the kept one.
    kept: Option<Kept>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    id: String,
    similarity: f64,
    /// Whether the texts are equal.
    exact: bool,
}

/// Finds the clusters over all shards, and leaves each shard the results for its documents.
fn cluster(clustering: &Clustering, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut corpus = Corpus::open(inputs)?;
    if let Some(score) = &clustering.score
        && corpus.documents() > 0
        && corpus.ranks.iter().all(|rank| *rank == 0)
    {
        let message = format!("no document has `{score}` in its metadata, which `score` names");
        return Err(Error::input(message).help(METADATA_HELP));
    }
    let mut components = Components::new(corpus.documents());
    let distinct = join_exact_copies(&corpus, &mut components);
    let limited = join_near_copies(clustering, &mut corpus, &distinct, &mut components, share)?.len();

    let mut fates: Vec<Vec<Fate>> = corpus.shards.iter().map(|_| Vec::new()).collect();
    let (mut removed_exact, mut removed_near) = (0, 0);
    let clusters = components.clusters();
    for members in &clusters {
        for (member, fate) in judge(members, &mut corpus)? {
            match &fate.kept {
                Some(kept) if kept.exact => removed_exact += 1,
                Some(_) => removed_near += 1,
                None => {}
            }
            fates[corpus.place(member).0].push(fate);
        }
    }
    let all = u64::from(corpus.documents());
    let kept = all - removed_exact - removed_near;
    share.counts(METRICS, [kept, all, removed_exact, removed_near, clusters.len() as u64]);
    if limited > 0 {
        share.metric(Metric::count(LIMITED, limited).lower_is_better());
        let (documents, were) = if limited == 1 { ("document", "was") } else { ("documents", "were") };
        share.note(format!(
            "{limited} {documents} {were} not compared with all candidates, only with {TESTS_MAX} per band; \
             near-duplicates may remain. More `rows` make for fewer candidates"
        ));
    }
    for (shard, mut fates) in fates.into_iter().enumerate().filter(|(_, fates)| !fates.is_empty()) {
        fates.sort_by_key(|fate| fate.row);
        let mut file = share.file_for(shard, "fates")?;
        write_lines(&mut file, &fates)?;
        share.keep(file)?;
    }
    Ok(())
}

/// Joins documents with equal text; returns the first of each text, which represents the others from here on.
fn join_exact_copies(corpus: &Corpus, components: &mut Components) -> Vec<u32> {
    let mut by_text: Vec<u32> = (0..corpus.documents()).collect();
    by_text.sort_unstable_by_key(|&document| (corpus.texts[document as usize], document));
    let same = by_text.chunk_by(|a, b| corpus.texts[*a as usize] == corpus.texts[*b as usize]);
    let mut distinct: Vec<u32> = same
        .map(|copies| {
            copies.iter().for_each(|&copy| components.join(copies[0], copy));
            copies[0]
        })
        .collect();
    distinct.sort_unstable();
    distinct
}

/// Maximum number of members of a group that one is compared with, unless they are already connected. It is documented
/// at [`Dedup`].
const TESTS_MAX: usize = 1000;

/// Joins documents whose similarity reaches the threshold, among those that share a band. Returns the documents that
/// were not compared with all others.
fn join_near_copies(
    clustering: &Clustering,
    corpus: &mut Corpus,
    distinct: &[u32],
    components: &mut Components,
    share: &Share,
) -> Result<RoaringBitmap> {
    let mut limited = RoaringBitmap::new();
    for band in 0..clustering.bands {
        let hashes = corpus.band(band as usize)?;
        let signed = distinct.iter().filter(|&&document| corpus.shingle_count(document) > 0);
        let mut keyed: Vec<(u64, u32)> =
            signed.map(|&document| (hashes[document as usize], document)).collect();
        for group in groups(&mut keyed) {
            share.check_stop()?;
            let mut failed = None;
            let alike = |a, b| {
                corpus.alike(a, b, clustering.threshold).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
            };
            join_group(&group, components, TESTS_MAX, alike, |document| {
                limited.insert(document);
            });
            failed.map_or(Ok(()), Err)?;
        }
        share.progress("bands", u64::from(band) + 1, u64::from(clustering.bands));
    }
    Ok(limited)
}

/// Decides which member of a cluster is kept.
fn judge(members: &[u32], corpus: &mut Corpus) -> Result<Vec<(u32, Fate)>> {
    let named = members.iter().map(|&member| Ok((member, corpus.id(member)?)));
    let named = named.collect::<Result<Vec<(u32, String)>>>()?;
    let best = named.iter().max_by(|(a, a_id), (b, b_id)| {
        let (a, b) = (corpus.ranks[*a as usize], corpus.ranks[*b as usize]);
        a.cmp(&b).then_with(|| b_id.cmp(a_id))
    });
    let (keeper, keeper_id) = best.expect("invariant: a cluster has members").clone();
    let cluster = named.iter().map(|(_, id)| stand_in(id)).min().unwrap_or_default();
    let size = members.len() as u32;
    let fate = |&member: &u32| {
        let kept = match member == keeper {
            true => None,
            false => {
                let exact = corpus.texts[member as usize] == corpus.texts[keeper as usize];
                let similarity = if exact { 1.0 } else { corpus.similarity(member, keeper)? };
                Some(Kept { id: keeper_id.clone(), similarity, exact })
            }
        };
        Ok((member, Fate { row: corpus.row(member), cluster, size, kept }))
    };
    members.iter().map(fate).collect()
}

/// A line of the output `removed`.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    id: &'a str,
    kept: &'a str,
    similarity: f64,
    cluster: String,
}

/// Selects the rows of a shard to keep, and adds their clusters.
fn survive(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let fates = match entries.get(1) {
        Some(slice) => read_lines::<Fate>(slice)?,
        None => Vec::new(),
    };
    let mut fates: BTreeMap<u32, Fate> = fates.into_iter().map(|fate| (fate.row, fate)).collect();
    let reader = DocumentReader::of_entry(&entries[0])?.columns(&[Column::Id]);
    let rows = reader.rows_total() as u32;
    let mut added = reader.added().cloned().unwrap_or_default();
    let (mut clusters, mut sizes) = (vec![0; rows as usize], vec![0; rows as usize]);
    let (mut selected, mut removed) = (RoaringBitmap::new(), Vec::new());
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let id = row.document.id;
        let fate = fates.remove(&row.index);
        let (cluster, size) =
            fate.as_ref().map_or_else(|| (stand_in(&id), 1), |fate| (fate.cluster, fate.size));
        clusters[row.index as usize] = cluster;
        sizes[row.index as usize] = size;
        match fate.and_then(|fate| fate.kept) {
            Some(kept) => removed.push((id, kept, cluster)),
            None => drop(selected.insert(row.index)),
        }
    }
    added.insert(CLUSTER, AddedColumn::U64(clusters))?;
    added.insert(CLUSTER_SIZE, AddedColumn::U32(sizes))?;
    let columns = added.write(share.file("columns")?)?;
    share.view("documents", &entries[0], rows, selected, Some(columns))?;
    if !removed.is_empty() {
        let lines = removed.iter().map(|(id, kept, cluster)| Removed {
            id,
            kept: &kept.id,
            similarity: kept.similarity,
            cluster: format!("{cluster:016x}"),
        });
        let mut file = share.file_with("removed", "jsonl")?;
        write_lines(&mut file, lines)?;
        share.keep(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
