//! Owns: which documents are copies of each other, and which of them is kept. The algorithms are in
//! [`crate::dedup::minhash`]. Nothing here depends on threads, caches or the manifest.

pub mod minhash;
pub mod pool;
pub mod signatures;

mod rank;

mod corpus;

mod urls;

mod pairs;

mod clusters;

use std::collections::{BTreeMap, BTreeSet};

use pipe_stage::{
    Code, Context, Error, FILES, Facts, In, Inputs, Item, KnownInputs, LocalEntry, Misfit, Out, Port, Result,
    Share, Stage, WorkInputs,
};
use roaring::RoaringBitmap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::TRACKING;
use crate::documents::{
    AddedColumn, CLUSTER, CLUSTER_SIZE, Column, DOCUMENTS, DocumentReader, METADATA_HELP, facts_passed_on,
    lacks_text, missing_metadata, text_digest,
};
use crate::lines::{read_lines, write_buffered, write_lines};
use crate::none_left;
use crate::parts::ranges;
use clusters::{Fate, Instead, Reason, find_clusters, judge};
pub(crate) use corpus::{open_signatures, unreadable};
use minhash::{Bands, Orders, shingles};
use pairs::{Pairing, find_pairs};
pub use rank::Kept;
use rank::rank;
use signatures::Signature;
use urls::{Addressing, Choosing, find_addresses, find_copies, no_addresses};

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
/// With `url`, documents with the same address are copies too, whatever their texts: one is kept, and only that one is
/// compared with others. Addresses are compared in canonical form: without the case of the host, credentials, default port,
/// fragment, slashes at the end, and `tracking_parameters`, and with `http` as `https`.
///
/// Under `earlier`, `needs` may name documents of earlier releases. They are compared with the documents, but not with each
/// other, are kept before all others, and are not part of the output: of each cluster or address with one of them, all
/// documents are removed.
///
/// The text is not copied: the output is a view of the input with the columns `cluster` (the hash of the
/// id of the kept document) and `cluster_size`. The output `removed` lists removed documents, the document that was kept
/// instead, the reason (`exact`, `near` or `url`), and the similarity of texts.
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
    /// Which of the documents with the same address is kept: `newest`, `longest`, `best` (by `score`) or `first`; among equals,
    /// the one with the smallest id. By default, addresses are not compared. Documents without an address have no copies.
    pub url: Option<Kept>,
    /// Query parameters that do not distinguish addresses; `*` at the end of a name matches anything. The default lists
    /// those of common advertising and mail services, such as `utm_*`, `gclid` and `fbclid`.
    pub tracking_parameters: Vec<String>,
}

impl Default for Dedup {
    fn default() -> Self {
        Self {
            threshold: 0.8,
            shingle: 5,
            bands: 14,
            rows: 8,
            score: None,
            url: None,
            tracking_parameters: TRACKING.map(str::to_owned).to_vec(),
        }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text.");
const EARLIER: In =
    In::new("earlier", &DOCUMENTS, "Documents of earlier releases, whose copies are removed.")
        .optional()
        .many();
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The documents that are kept, with their clusters.");
const REMOVED: Out = Out::new(
    "removed",
    &FILES,
    "Removed documents, the document kept instead, the reason, and their similarity, as JSON Lines.",
);
use clusters::{LIMITED, METRICS};
/// Documents that were removed for others with the same address.
const DOCUMENTS_IN: &str = "documents_in";
const REMOVED_URL: &str = "removed_url";
/// Removed documents whose copy is of an earlier release; the other metrics count them too.
const REMOVED_EARLIER: &str = "removed_earlier";

impl Stage for Dedup {
    const NAME: &'static str = "dedup";
    /// History: 1: initial version. 2: shingles depend on the characters of a text and no longer on its language. 3: bands
    /// are compared by parts, so other candidates may be left out where there are too many. 4: `removed` has reasons. 5: a
    /// cluster is named after the document that is kept, and its size is that document's alone.
    const REVISION: u32 = 5;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[INPUT.port(), EARLIER.port(), OUTPUT.port(), REMOVED.port()];

    fn check(&self) -> Vec<Misfit> {
        let threshold = self.threshold > 0.0 && self.threshold <= 1.0;
        let faults = [
            Misfit::unless(threshold, "threshold", "must be above 0 and at most 1"),
            Misfit::unless((1..=50).contains(&self.shingle), "shingle", "must be from 1 to 50"),
            Misfit::unless((1..=256).contains(&self.bands), "bands", "must be from 1 to 256"),
            Misfit::unless((1..=64).contains(&self.rows), "rows", "must be from 1 to 64"),
            Misfit::unless(
                self.url != Some(Kept::Best) || self.score.is_some(),
                "url",
                "needs `score` to find the `best`",
            )
            .map(|misfit| misfit.help("name the metadata field with the score as `score`")),
        ];
        faults.into_iter().flatten().collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == OUTPUT.name() { facts_passed_on(inputs, INPUT, &[]) } else { Facts::default() }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let missing = self.score.as_ref().and_then(|score| missing_metadata(inputs, INPUT, score));
        let missing = missing.map(|message| Misfit::new("score", message).help(METADATA_HELP));
        [INPUT, EARLIER]
            .into_iter()
            .find_map(|port| lacks_text(inputs, port))
            .into_iter()
            .chain(missing)
            .collect()
    }

    /// Grows with the input until shards and parts have their full size: measured with documents of 600 bytes (245
    /// compressed) on two cores, 73 MiB for 12 MiB of documents and 195 MiB for 98.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        const MIB: f64 = (1 << 20) as f64;
        const BYTES_MIN: f64 = 40.0 * MIB;
        const PER_BYTE: f64 = 1.6;
        const BYTES_OF_FULL_SIZE: f64 = 128.0 * MIB;
        const PER_BYTE_ABOVE: f64 = 0.05;
        let bytes = inputs.bytes()? as f64;
        Some(BYTES_MIN + PER_BYTE * bytes.min(BYTES_OF_FULL_SIZE) + PER_BYTE_ABOVE * bytes)
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(
            METRICS
                .into_iter()
                .chain([DOCUMENTS_IN, REMOVED_URL, REMOVED_EARLIER, LIMITED])
                .map(str::to_owned)
                .collect(),
        )
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let Self { threshold, shingle, bands, rows, score, .. } = self.clone();
        // Those of earlier releases come first.
        let mut shards: Vec<Item> =
            ctx.many(EARLIER).iter().flat_map(|input| input.artifact.shards()).collect();
        let earlier = shards.len() as u32;
        shards.extend(ctx.input(INPUT).shards());
        let copies = self.find_copies(ctx, &shards, earlier)?;
        let signing = Signing { shingle, bands, rows, score };
        let items = shards.iter().zip(&copies).map(|(shard, copies)| shard.clone().and(copies));
        let signed = ctx.each("signed", &signing, items.collect(), sign)?;
        let counts = signed.values::<Counts>()?;
        self.check_scores(&counts[earlier as usize..])?;
        let signatures: Vec<Item> = signed
            .entries("signatures")
            .into_iter()
            .map(|file| Item::new(&file.name.clone(), [file]))
            .collect();
        let entries = counts.iter().map(|counts| counts.entries).sum();
        let parts = signed.parts("bands", &ranges(entries, pairs::ENTRIES_MAX));
        let parts = parts.into_iter().map(|part| [part, signatures.clone()].concat());
        let pairs = ctx.each_of("pairs", &Pairing { threshold, earlier }, parts.collect(), find_pairs)?;
        let linked = ["pairs", "limited"].map(|slot| Item::new(slot, pairs.entries(slot)));
        let clusters = ctx.once("clusters", &earlier, [&linked[..], &signatures].concat(), find_clusters)?;
        let judged = clusters.parts("clusters", &clusters::ranges(&clusters)?);
        let judged = judged.into_iter().map(|clusters| [clusters, signatures.clone()].concat());
        let fates = ctx.each_of("fates", &earlier, judged.collect(), judge)?;
        let fates = fates.by_item("fates", shards.len());
        let items = shards.into_iter().zip(&fates).zip(&copies).skip(earlier as usize);
        let items = items.map(|((shard, fates), copies)| shard.and(fates).and(copies));
        let survivors = ctx.each("survivors", &(), items.collect(), survive)?;
        if ctx.value(DOCUMENTS_IN) == 0.0 {
            none_left::warn(ctx, "no documents are left", []);
        }
        ctx.output(OUTPUT, survivors.entries("documents"))?;
        ctx.output(REMOVED, survivors.entries("removed"))
    }
}

impl Dedup {
    /// What becomes of copies by address, for each shard.
    fn find_copies(&self, ctx: &Context, shards: &[Item], earlier: u32) -> Result<Vec<Item>> {
        let Some(kept) = self.url else { return Ok(vec![Item::new("", []); shards.len()]) };
        let parameters = self.tracking_parameters.clone();
        let addressing = Addressing { kept, parameters, score: self.score.clone() };
        let addresses = ctx.each("addresses", &addressing, shards.to_vec(), find_addresses)?;
        let entries: u64 = addresses.values::<u64>()?.into_iter().sum();
        let ranks: Vec<Item> = addresses
            .entries("ranks")
            .into_iter()
            .map(|file| Item::new(&file.name.clone(), [file]))
            .collect();
        if entries == 0 && !shards.is_empty() {
            return Err(no_addresses());
        }
        let parts = crate::hashed::parts(&addresses, "addresses", entries).into_iter();
        let parts = parts.map(|part| [part, ranks.clone()].concat()).collect();
        let copies = ctx.each_of("copies", &Choosing { kept, earlier }, parts, find_copies)?;
        Ok(copies.by_item("copies", shards.len()))
    }

    fn check_scores(&self, counts: &[Counts]) -> Result<()> {
        let documents: u64 = counts.iter().map(|counts| counts.documents).sum();
        let ranked: u64 = counts.iter().map(|counts| counts.ranked).sum();
        match &self.score {
            Some(score) if documents > 0 && ranked == 0 => {
                let message = format!("no document has `{score}` in its metadata, which `score` names");
                Err(Error::input(message).help(METADATA_HELP))
            }
            _ => Ok(()),
        }
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

/// What is counted in a shard.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    documents: u64,
    /// Documents whose rank is above 0.
    ranked: u64,
    /// Bands of all documents.
    entries: u64,
}

/// Computes the signatures of a shard's documents, and divides their bands into parts.
fn sign(signing: &Signing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let orders = Orders::new(Bands { bands: signing.bands as usize, rows: signing.rows as usize });
    let columns = [Column::Id, Column::Text, Column::Metadata];
    let [shard, copies @ ..] = inputs.item().entries() else { return Ok(()) };
    let copies: BTreeSet<u32> = read_fates(copies)?.into_keys().collect();
    let rows = DocumentReader::of_entry(shard)?.columns(&columns).rows()?;
    let (mut signed, mut entries, mut counts) = (Vec::new(), Vec::new(), Counts::default());
    for row in share.track("documents", rows) {
        let row = row??;
        if copies.contains(&row.index) {
            continue;
        }
        let rank = rank(&row, signing.score.as_deref())?;
        let document = row.document;
        let shingles = shingles(&document.text, signing.shingle as usize);
        let text = text_digest(&document.text);
        entries.extend(pairs::entries(signed.len() as u32, &text, &shingles, &orders));
        counts.ranked += u64::from(rank > 0);
        signed.push(Signature {
            row: row.index,
            cluster: stand_in(&document.id),
            rank,
            text,
            id: document.id,
            shingles,
        });
    }
    counts.documents = signed.len() as u64;
    counts.entries = entries.len() as u64;
    let mut file = share.file("signatures")?;
    write_buffered(&mut file, |file| signatures::write(file, &signed))?;
    share.keep(file)?;
    let mut parts = share.parts("bands")?;
    pairs::write(&mut entries, &mut parts)?;
    share.keep_parts(parts)?;
    share.value(&counts);
    Ok(())
}

/// The cluster of a document without duplicates.
pub(crate) fn stand_in(id: &str) -> u64 {
    let digest = blake3::hash(id.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at]))
}

/// The fates that earlier steps left for a shard, by row.
fn read_fates(files: &[LocalEntry]) -> Result<BTreeMap<u32, Fate>> {
    let mut fates = BTreeMap::new();
    for file in files {
        fates.extend(read_lines::<Fate>(file)?.into_iter().map(|fate| (fate.row, fate)));
    }
    Ok(fates)
}

/// Number of things, at the beginning of a list in the order of shards, that are of earlier releases.
fn first_own<T>(things: &[T], earlier: u32, shard: impl Fn(&T) -> u32) -> usize {
    things.partition_point(|thing| shard(thing) < earlier)
}

/// A line of the output `removed`.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    id: &'a str,
    kept: &'a str,
    reason: Reason,
    /// Whether the kept document is of an earlier release.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    earlier: bool,
    /// Of the texts, unless only the addresses are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
}

/// Selects the rows of a shard to keep, and adds their clusters.
fn survive(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let mut fates = read_fates(&entries[1..])?;
    let reader = DocumentReader::of_entry(&entries[0])?.columns(&[Column::Id]);
    let rows = reader.rows_total() as u32;
    let mut added = reader.added().cloned().unwrap_or_default();
    let (mut clusters, mut sizes) = (vec![0; rows as usize], vec![0; rows as usize]);
    let (mut selected, mut removed) = (RoaringBitmap::new(), Vec::new());
    let mut documents = 0;
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let id = row.document.id;
        documents += 1;
        let fate = fates.remove(&row.index);
        let cluster = fate.as_ref().map_or_else(|| stand_in(&id), |fate| fate.cluster);
        let size = fate.as_ref().map_or(1, |fate| fate.size);
        match fate.and_then(|fate| fate.kept) {
            Some(kept) => removed.push((id, kept, cluster)),
            None => {
                // Only of these, so that a cluster that grows elsewhere leaves this view as it is.
                clusters[row.index as usize] = cluster;
                sizes[row.index as usize] = size;
                selected.insert(row.index);
            }
        }
    }
    share.count(DOCUMENTS_IN, documents);
    added.insert(CLUSTER, AddedColumn::U64(clusters))?;
    added.insert(CLUSTER_SIZE, AddedColumn::U32(sizes))?;
    let columns = added.write(share.file("columns")?)?;
    share.view("documents", &entries[0], rows, selected, Some(columns))?;
    if !removed.is_empty() {
        let count =
            |is: &dyn Fn(&Instead) -> bool| removed.iter().filter(|(_, kept, _)| is(kept)).count() as u64;
        let by_url = count(&|kept| kept.reason == Reason::Url);
        share.counts([REMOVED_URL, REMOVED_EARLIER], [by_url, count(&|kept| kept.is_earlier)]);
        let lines = removed.iter().map(|(id, kept, cluster)| Removed {
            id,
            kept: &kept.id,
            reason: kept.reason,
            earlier: kept.is_earlier,
            similarity: kept.similarity,
            cluster: (kept.reason != Reason::Url).then(|| format!("{cluster:016x}")),
        });
        let mut file = share.file_with("removed", "jsonl")?;
        write_lines(&mut file, lines)?;
        share.keep(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
