//! Which documents of a set are taken: those of a bucket whose hashes are in a range, so that a smaller share is part of a larger
//! one. Nothing here depends on weights.

use super::buckets::{Bucketing, Membership};
use crate::parts::{PARTS, part_of};
use crate::tokens::TokensReader;
use pipe_stage::{Context, Error, Inputs, Result, RoaringBitmap, Share, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a shard has in each bucket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) tokenizer: String,
    pub(super) buckets: Vec<InBucket>,
}

/// Documents of a bucket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct InBucket {
    pub(super) tokens: u64,
    pub(super) documents: u64,
    /// Tokens by part of the documents' hashes.
    pub(super) parts: Vec<u64>,
}

/// The settings that determine the order of documents and their buckets.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Counting {
    pub(super) seed: u64,
    pub(super) bucketing: Option<Bucketing>,
}

impl Counting {
    fn buckets(&self) -> usize {
        self.bucketing.as_ref().map_or(1, Bucketing::count)
    }
}

/// Which documents are taken.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Choice {
    pub(super) counting: Counting,
    pub(super) bucket: u32,
    /// The hashes of the documents: from this one on, to the one before `below`.
    pub(super) from: u64,
    pub(super) below: u64,
}

/// The place of a document in the order in which documents are taken.
fn hash_of(seed: u64, id: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("pipe mix v1");
    hasher.update(&seed.to_le_bytes()).update(id.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| hasher.finalize().as_bytes()[at]))
}

/// The slot with the sizes of the documents of a bucket.
pub(super) fn slot(bucket: usize) -> String {
    format!("sizes-{bucket}")
}

/// Counts the documents and tokens of a shard, or of the rows that a view selects, and leaves the tokens of each document by
/// part of its hash. The item has the shard, then what is known of its facts.
pub(super) fn count(counting: &Counting, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut counted = Counted::default();
    counted.buckets.resize_with(counting.buckets(), || InBucket {
        parts: vec![0; PARTS as usize],
        ..InBucket::default()
    });
    let mut sizes: Vec<Vec<(u64, u64)>> = vec![Vec::new(); counted.buckets.len()];
    let tokenizer = each_document(counting, inputs, share, |_, hash, tokens, bucket| {
        let own = &mut counted.buckets[bucket];
        own.documents += 1;
        own.tokens += tokens;
        own.parts[part_of(hash) as usize] += tokens;
        sizes[bucket].push((hash, tokens));
    })?;
    counted.tokenizer = tokenizer;
    for (bucket, mut sizes) in sizes.into_iter().enumerate() {
        sizes.sort_unstable();
        let mut parts = share.parts(&slot(bucket))?;
        for (hash, tokens) in sizes {
            let bytes = [hash.to_le_bytes(), tokens.to_le_bytes()].concat();
            parts
                .part(part_of(hash), &bytes)
                .map_err(|error| Error::io("write", Path::new("sizes"), &error))?;
        }
        share.keep_parts(parts)?;
    }
    share.value(&counted);
    Ok(())
}

/// Calls `take` with the row, hash, tokens and bucket of each document of a shard, and returns the digest of its tokenizer.
fn each_document(
    counting: &Counting,
    inputs: &Inputs,
    share: &Share,
    mut take: impl FnMut(u32, u64, u64, usize),
) -> Result<String> {
    let [entry, facts @ ..] = inputs.item().entries() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let membership = Membership::read(counting.bucketing.as_ref(), facts)?;
    let reader = TokensReader::of_entry(entry)?;
    let tokenizer = reader.metadata().tokenizer_digest.clone();
    let rows = u32::try_from(reader.metadata().documents)
        .map_err(|_| Error::input("a shard of over four billion documents"))?;
    let selection = entry.selection()?.unwrap_or_else(|| (0..rows).collect());
    let mut rows = selection.iter();
    for document in share.track("documents", reader) {
        let (id, ids) = document??;
        let row = rows.next().ok_or_else(|| Error::input("a shard has more documents than its selection"))?;
        let tokens = ids.len() as u64;
        take(row, hash_of(counting.seed, &id), tokens, membership.bucket(row, tokens));
    }
    Ok(tokenizer)
}

/// The hash below which the documents of a bucket have at most `wanted` tokens together, and with the next one more.
pub(super) fn limit(
    ctx: &Context,
    step: &Step,
    counted: &[Counted],
    bucket: usize,
    wanted: u64,
) -> Result<u64> {
    let mut left = wanted;
    for part in 0..PARTS {
        let of_part = |counted: &Counted| counted.buckets[bucket].parts.get(part as usize).copied();
        let tokens: u64 = counted.iter().filter_map(of_part).sum();
        if tokens > left {
            let items = step.parts(&slot(bucket), std::slice::from_ref(&(part..part + 1)));
            let limit = ctx.each_of("limit", &left, items, find_limit)?.values::<u64>()?;
            return Ok(limit.first().copied().unwrap_or(0));
        }
        left -= tokens;
    }
    Ok(u64::MAX)
}

/// Finds the hash of the first document with which there would be more tokens than wanted. The items are one part of all
/// shards.
fn find_limit(wanted: &u64, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut sizes: Vec<(u64, u64)> = Vec::new();
    for part in inputs.items().iter().flat_map(|item| item.entries()) {
        let bytes = part.bytes()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        sizes.extend((0..numbers.len() / 2).map(|at| (number(2 * at), number(2 * at + 1))));
    }
    sizes.sort_unstable();
    let mut tokens = 0_u64;
    let above = sizes.iter().find(|(_, more)| {
        tokens += more;
        tokens > *wanted
    });
    share.value(&above.map_or(u64::MAX, |(hash, _)| *hash));
    Ok(())
}

/// Selects documents of a shard.
pub(super) fn choose(choice: &Choice, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entry = &inputs.item().entries()[0];
    let mut taken = InBucket::default();
    let mut selected = RoaringBitmap::new();
    each_document(&choice.counting, inputs, share, |row, hash, tokens, bucket| {
        let is_in = hash >= choice.from && (hash < choice.below || choice.below == u64::MAX);
        if is_in && bucket == choice.bucket as usize {
            selected.insert(row);
            taken.documents += 1;
            taken.tokens += tokens;
        }
    })?;
    let rows = TokensReader::of_entry(entry)?.metadata().documents;
    let rows = u32::try_from(rows).map_err(|_| Error::input("a shard of over four billion documents"))?;
    share.view("tokens", entry, rows, selected, None)?;
    share.value(&taken);
    Ok(())
}
