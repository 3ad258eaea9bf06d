//! Owns: which passages of texts occur in several documents, and what is left of these. Nothing here depends on threads,
//! caches or the manifest.

pub(crate) mod units;

use crate::cuts::{self, METRICS, cut, start_metrics, subtract};
use crate::documents::{Column, DOCUMENTS, DocumentReader, lacks_text};
use crate::hashed::{ByShard, for_each_group, number_at, parts, read_records, write};
use pipe_stage::{
    Code, Context, Facts, In, Inputs, KnownInputs, Misfit, Port, Result, Share, Stage, WorkInputs,
};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use units::Unit;
use units::{Passage, passages};

/// Cuts lines, paragraphs or sentences that occur in more than one document from all but the first.
///
/// A passage is a line, a paragraph, or a span of `sentences` consecutive sentences, with at least `words_min` words. It is
/// cut from all documents but the first, in the order of the input, if it occurs in more than `documents_max`. The first one
/// stays whole: no part of it is cut for the sake of another passage. Passages are compared as the stage `dedup` compares
/// words: in lower case and without punctuation. Code in fenced blocks is neither compared nor cut.
///
/// Documents from which nothing is cut stay as they are, in the same shards. One that is cut and then has fewer than
/// `document_words_min` words is dropped; the output `dropped` lists these, and `cut` the other documents that changed, each
/// with the number of passages and characters.
///
/// Spans of three sentences are the method of C4 (Raffel et al. 2020), paragraphs that of CCNet (Wenzek et al. 2020).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupPassages {
    /// What is compared: `sentences` (the default), `paragraphs` or `lines`.
    pub unit: Unit,
    /// Sentences per span, 1 to 20. The default is 3, as for C4. Not for other units.
    pub sentences: u32,
    /// Minimum number of words of a passage, 1 to 1000; characters in scripts without spaces. The default 5 leaves ordinary
    /// phrases such as "Thank you very much." alone.
    pub words_min: u32,
    /// Maximum number of documents in which a passage may occur, at least 1 (the default). Passages in more are cut.
    pub documents_max: u32,
    /// Minimum number of words of a document after something was cut from it. The default is 50, as for FineWeb.
    pub document_words_min: u32,
}

impl Default for DedupPassages {
    fn default() -> Self {
        Self { unit: Unit::Sentences, sentences: 3, words_min: 5, documents_max: 1, document_words_min: 50 }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text.");

impl Stage for DedupPassages {
    const NAME: &'static str = "dedup-passages";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &cuts::ports(INPUT);

    fn check(&self) -> Vec<Misfit> {
        let has_sentences = self.unit == Unit::Sentences || self.sentences == Self::default().sentences;
        let faults = [
            Misfit::unless((1..=20).contains(&self.sentences), "sentences", "must be from 1 to 20"),
            Misfit::unless(has_sentences, "sentences", "has no effect unless `unit` is `sentences`"),
            Misfit::unless((1..=1000).contains(&self.words_min), "words_min", "must be from 1 to 1000"),
            Misfit::unless(self.documents_max > 0, "documents_max", "must be at least 1"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        cuts::facts(output, inputs, INPUT)
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, INPUT).into_iter().collect()
    }

    /// A shard and its passages, until shards and parts have their full size.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        const MIB: f64 = (1 << 20) as f64;
        Some(64.0 * MIB + 2.0 * (inputs.bytes()? as f64).min(128.0 * MIB))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.map(str::to_owned).to_vec())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        start_metrics(ctx);
        let Self { unit, sentences, words_min, documents_max, document_words_min } = *self;
        let shards = ctx.input(INPUT).shards();
        let finding = Finding { unit, sentences, words_min };
        let found = ctx.each("passages", &finding, shards.clone(), find_passages)?;
        let entries = found.values::<u64>()?.into_iter().sum();
        let repeated =
            ctx.each_of("repeated", &documents_max, parts(&found, "passages", entries), find_repeated)?;
        let repeated = repeated.by_item("repeated", shards.len());
        let shards = shards.into_iter().zip(&repeated).map(|(shard, repeated)| shard.and(repeated)).collect();
        let cut = ctx.each("cut", &Cutting { finding, document_words_min }, shards, cut_passages)?;
        cuts::give(ctx, &cut)
    }
}

/// The settings that determine passages.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
struct Finding {
    unit: Unit,
    sentences: u32,
    words_min: u32,
}

impl Finding {
    fn passages(self, text: &str) -> Vec<Passage> {
        passages(text, self.unit, self.sentences as usize, self.words_min as usize)
    }
}

/// The settings that determine texts, besides what is repeated.
#[derive(Debug, Serialize, JsonSchema)]
struct Cutting {
    finding: Finding,
    document_words_min: u32,
}

/// Leaves the passages of a shard as hashes, each with its row.
fn find_passages(finding: &Finding, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns = [Column::Id, Column::Text];
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let mut entries = Vec::new();
    for row in share.track("documents", rows) {
        let row = row??;
        let passages = finding.passages(&row.document.text);
        entries.extend(passages.into_iter().map(|passage| (passage.hash, row.index.to_le_bytes())));
    }
    share.value(&(entries.len() as u64));
    write(share, "passages", entries)
}

/// The row that keeps a passage if it is in another shard.
const ELSEWHERE: u32 = u32::MAX;

/// Leaves each shard its passages that occur in too many documents: the hash, 8 bytes, and the row that keeps it, 4 bytes.
fn find_repeated(documents_max: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut by_shard = ByShard::default();
    for_each_group::<4>(share, inputs.items(), |group| {
        let first = &group[0];
        // Shards left each row once.
        if group.len() > *documents_max as usize {
            let row = group
                .iter()
                .filter(|found| found.shard == first.shard)
                .map(|found| number_at(&found.rest, 0));
            let keeper = row.min().unwrap_or(ELSEWHERE);
            for shard in group.chunk_by(|a, b| a.shard == b.shard).map(|group| group[0].shard) {
                let bytes = by_shard.of(shard);
                bytes.extend(first.hash.to_le_bytes());
                bytes.extend(if shard == first.shard { keeper } else { ELSEWHERE }.to_le_bytes());
            }
        }
        Ok(())
    })?;
    by_shard.write(share, "repeated")
}

/// Cuts what is repeated from the texts of a shard.
fn cut_passages(cutting: &Cutting, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [shard, repeated @ ..] = inputs.item().entries() else { return Ok(()) };
    let record = |record: [u8; 12]| {
        let hash = u64::from_le_bytes(std::array::from_fn(|at| record[at]));
        (hash, number_at(&record, 8))
    };
    let repeated: FxHashMap<u64, u32> = read_records::<12>(repeated)?.into_iter().map(record).collect();
    cut(share, shard, cutting.document_words_min, &[], |row| {
        if repeated.is_empty() {
            return Vec::new();
        }
        let (mut cut, mut kept) = (Vec::new(), Vec::new());
        for passage in cutting.finding.passages(&row.document.text) {
            match repeated.get(&passage.hash) {
                Some(keeper) if *keeper == row.index => kept.push(passage.range),
                Some(_) => cut.push(passage.range),
                None => {}
            }
        }
        subtract(cut, kept)
    })
}

#[cfg(test)]
pub(crate) mod tests;
