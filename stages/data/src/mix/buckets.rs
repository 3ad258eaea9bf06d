//! Buckets of a set: documents by their length, or by a fact such as a score. Tokens have no facts; they are those of the
//! documents with the same ids. Nothing here depends on weights.

use crate::documents::{DocumentReader, Fact, columns_of_facts};
use crate::hashed::{ByShard, Found, for_each_group, number_at, parts, read_records, write};
use crate::tokens::TokensReader;
use pipe_stage::{Artifact, Context, Error, Inputs, Item, LocalEntry, Result, Share};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a document's length, which is no fact.
pub(super) const TOKENS_OF_DOCUMENT: &str = "tokens";

/// How sets are divided into buckets, and how often each is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    /// The fact: `tokens`, the number of tokens of a document; or a score or another number in the
    /// metadata of the documents in `needs.documents`.
    pub by: String,
    /// The limits between buckets, ascending: `[0.3, 0.7]` makes three buckets. A document at a limit is in the upper one.
    /// Documents without the fact are in the lowest one.
    pub at: Vec<f64>,
    /// How often a document of each bucket is used, relative to the others, from the lowest on: with `[0, 1, 3]`, those of the
    /// highest are used three times as often as those in the middle. One number more than limits.
    pub weights: Vec<f64>,
}

/// The settings that determine the bucket of a document.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Bucketing {
    pub(super) by: String,
    pub(super) at: Vec<f64>,
}

impl Bucketing {
    pub(super) fn count(&self) -> usize {
        self.at.len() + 1
    }

    fn bucket(&self, value: f64) -> usize {
        self.at.partition_point(|limit| *limit <= value)
    }

    /// A score has 32 bits: it reaches 0.7 if it is the float nearest to 0.7.
    fn bucket_of_score(&self, score: f32) -> usize {
        self.at.partition_point(|limit| *limit as f32 <= score)
    }

    pub(super) fn needs_facts(&self) -> bool {
        self.by != TOKENS_OF_DOCUMENT
    }
}

/// The buckets of the documents of a shard.
pub(super) struct Membership<'b> {
    bucketing: Option<&'b Bucketing>,
    /// By row; others are in the lowest bucket.
    rows: FxHashMap<u32, usize>,
}

impl<'b> Membership<'b> {
    /// Reads what [`find_rows`] left for a shard.
    pub(super) fn read(bucketing: Option<&'b Bucketing>, files: &[LocalEntry]) -> Result<Self> {
        let mut rows = FxHashMap::default();
        for record in read_records::<8>(files)? {
            let highest = bucketing.map_or(0, |bucketing| bucketing.at.len());
            rows.insert(number_at(&record, 0), (number_at(&record, 4) as usize).min(highest));
        }
        Ok(Self { bucketing, rows })
    }

    pub(super) fn bucket(&self, row: u32, tokens: u64) -> usize {
        match self.bucketing {
            None => 0,
            Some(bucketing) if bucketing.needs_facts() => self.rows.get(&row).copied().unwrap_or(0),
            Some(bucketing) => bucketing.bucket(tokens as f64),
        }
    }
}

/// Finds the buckets of a set's documents by the facts of `documents`: one item for each shard of tokens.
pub(super) fn join(
    ctx: &Context,
    set: &str,
    bucketing: &Bucketing,
    documents: &Artifact,
    tokens: &Artifact,
) -> Result<Vec<Item>> {
    let facts = ctx.each("facts", bucketing, documents.shards(), find_facts)?;
    let places = ctx.each("places", &(), tokens.shards(), find_places)?;
    let sum = |step: &pipe_stage::Step| -> Result<u64> { Ok(step.values::<u64>()?.into_iter().sum()) };
    let (with_fact, all) = (sum(&facts)?, sum(&places)?);
    if with_fact == 0 && all > 0 {
        let message =
            format!("no document of `{set}` has `{}`, by which `buckets` divides them", bucketing.by);
        return Err(Error::input(message).help("name an added column, a field of the metadata, or `tokens`"));
    }
    let (facts, places) = (parts(&facts, "facts", all), parts(&places, "places", all));
    let joined = facts.into_iter().zip(places).map(|(facts, places)| [facts, places].concat()).collect();
    let joined = ctx.each_of("joined", &(documents.entries.len() as u32), joined, find_rows)?;
    Ok(joined.by_item("rows", tokens.entries.len()))
}

/// The entry of a document: the first half of the hash of its id; then 8 bytes of the other half, and a number.
fn entry(id: &str, number: u32) -> (u64, [u8; 12]) {
    let digest = blake3::hash(id.as_bytes());
    let bytes = digest.as_bytes();
    let mut rest = [0; 12];
    rest[..8].copy_from_slice(&bytes[8..16]);
    rest[8..].copy_from_slice(&number.to_le_bytes());
    (u64::from_le_bytes(std::array::from_fn(|at| bytes[at])), rest)
}

/// Leaves the buckets of a shard of documents.
fn find_facts(bucketing: &Bucketing, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns = columns_of_facts([bucketing.by.as_str()]);
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let mut entries = Vec::new();
    for row in share.track("documents", rows) {
        let row = row??;
        let Some(fact) = row.fact(&bucketing.by) else { continue };
        let bucket = match (fact, fact.number()) {
            (Fact::Score(score), _) => bucketing.bucket_of_score(score),
            (_, Some(number)) => bucketing.bucket(number),
            (_, None) => {
                let (id, value) = (&row.document.id, fact.text());
                let message = format!("`{}` of document `{id}` is `{value}`, not a number", bucketing.by);
                return Err(Error::input(message).help("name a fact with numbers in `buckets.by`"));
            }
        };
        entries.push(entry(&row.document.id, bucket as u32));
    }
    share.value(&(entries.len() as u64));
    write(share, "facts", entries)
}

/// Leaves the rows of a shard of tokens.
fn find_places(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let shard = &inputs.item().entries()[0];
    let reader = TokensReader::of_entry(shard)?;
    let rows = u32::try_from(reader.metadata().documents)
        .map_err(|_| Error::input("a shard of over four billion documents"))?;
    let selection = shard.selection()?.unwrap_or_else(|| (0..rows).collect());
    let mut entries = Vec::new();
    for (document, row) in share.track("documents", reader).zip(&selection) {
        let (id, _) = document??;
        entries.push(entry(&id, row));
    }
    share.value(&(entries.len() as u64));
    write(share, "places", entries)
}

/// Leaves each shard of tokens the buckets of its rows: row and bucket, 4 bytes each. The items are parts of `documents` shards of
/// documents, then those of the shards of tokens.
fn find_rows(documents: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut by_shard = ByShard::default();
    for_each_group::<12>(share, inputs.items(), |group| {
        let (facts, places) = group.split_at(group.partition_point(|found| found.shard < *documents));
        let same = |a: &Found<12>, b: &Found<12>| a.rest[..8] == b.rest[..8];
        for place in places {
            if let Some(fact) = facts.iter().find(|fact| same(fact, place)) {
                let bytes = by_shard.of(place.shard - documents);
                bytes.extend(&place.rest[8..]);
                bytes.extend(&fact.rest[8..]);
            }
        }
        Ok(())
    })?;
    by_shard.write(share, "rows")
}
