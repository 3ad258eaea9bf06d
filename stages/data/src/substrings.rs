//! Owns: which long sequences of words occur more than once, and what is left of the texts. Nothing here depends on threads,
//! caches or the manifest.

mod winnow;

use crate::clean::fences::{Line, lines};
use crate::cuts::{self, METRICS, cut, start_metrics, subtract};
use crate::dedup::minhash::hashed_units;
use crate::documents::{Column, DOCUMENTS, DocumentReader, lacks_text};
use crate::hashed::{ByShard, Found, for_each_group, number_at, parts, read_records, write};
use pipe_stage::{
    Code, Context, Facts, In, Inputs, KnownInputs, LocalEntry, Misfit, Port, Result, Share, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use winnow::Winnow;

/// Cuts sequences of words that occur more than once from all places but the first.
///
/// A sequence of `words` or more words is cut wherever it is repeated, in the same document or in another one, but for its first
/// place in the order of the input; that one stays whole. This is the aim of ExactSubstr (Lee et al. 2022), with words in place
/// of tokens, and without a suffix array of the corpus: winnowed fingerprints (Schleimer et al. 2003) find all candidates in
/// parts, in bounded memory, and what they find is compared word by word. Words are compared as the stage `dedup` does: in lower
/// case and without punctuation. Code in fenced blocks is neither compared nor cut, and no sequence extends over it.
///
/// Documents from which nothing is cut stay as they are, in the same shards. One that is cut and then has fewer than
/// `document_words_min` words is dropped; the output `dropped` lists these, and `cut` the other documents that changed, each
/// with the number of passages and characters.
///
/// Use it after `dedup`: copies of whole documents are removed there at less cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupSubstrings {
    /// Minimum number of words of a sequence, 10 to 1000; characters in scripts without spaces. The default is 50, as the tokens
    /// of Lee et al.
    pub words: u32,
    /// Minimum number of words of a document after something was cut from it. The default is 50.
    pub document_words_min: u32,
}

impl Default for DedupSubstrings {
    fn default() -> Self {
        Self { words: 50, document_words_min: 50 }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text, best after dedup.");

impl Stage for DedupSubstrings {
    const NAME: &'static str = "dedup-substrings";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &cuts::ports(INPUT);

    fn check(&self) -> Vec<Misfit> {
        Misfit::unless((10..=1000).contains(&self.words), "words", "must be from 10 to 1000")
            .into_iter()
            .collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        cuts::facts(output, inputs, INPUT)
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, INPUT).into_iter().collect()
    }

    /// A shard and its sequences, until shards and parts have their full size.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        const MIB: f64 = (1 << 20) as f64;
        Some(64.0 * MIB + 4.0 * (inputs.bytes()? as f64).min(128.0 * MIB))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.map(str::to_owned).to_vec())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        start_metrics(ctx);
        let shards = ctx.input(INPUT).shards();
        let with = |more: &[pipe_stage::Item]| -> Vec<pipe_stage::Item> {
            shards.iter().cloned().zip(more).map(|(shard, more)| shard.and(more)).collect()
        };
        let entries =
            |step: &pipe_stage::Step| -> Result<u64> { Ok(step.values::<u64>()?.into_iter().sum()) };
        let found = ctx.each("fingerprints", &self.words, shards.clone(), find_fingerprints)?;
        let candidates = parts(&found, "fingerprints", entries(&found)?);
        let candidates = ctx.each_of("candidates", &(), candidates, find_candidates)?;
        let candidates = with(&candidates.by_item("candidates", shards.len()));
        let found = ctx.each("sequences", &self.words, candidates, find_sequences)?;
        let repeated = parts(&found, "sequences", entries(&found)?);
        let repeated = ctx.each_of("repeated", &(), repeated, find_repeated)?;
        let repeated = with(&repeated.by_item("repeated", shards.len()));
        let cut = ctx.each("cut", self, repeated, cut_sequences)?;
        cuts::give(ctx, &cut)
    }
}

/// The words of a text outside of its fenced blocks.
struct Words<'t> {
    text: &'t str,
    hashes: Vec<u64>,
    places: Vec<Range<usize>>,
    /// The words between two blocks, as ranges of words: no sequence extends over a block.
    proses: Vec<Range<usize>>,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Self {
        let mut words = Self { text, hashes: Vec::new(), places: Vec::new(), proses: Vec::new() };
        let (mut at, mut from) = (0, None);
        for (kind, line) in lines(text) {
            match kind {
                Line::Prose => drop(from.get_or_insert(at)),
                _ => words.add(from.take(), at),
            }
            at += line.len();
        }
        words.add(from, at);
        words
    }

    /// Adds the words of a part of the text.
    fn add(&mut self, from: Option<usize>, to: usize) {
        let Some(from) = from else { return };
        let first = self.hashes.len();
        for (hash, place) in hashed_units(&self.text[from..to]) {
            self.hashes.push(hash);
            self.places.push(from + place.start..from + place.end);
        }
        if self.hashes.len() > first {
            self.proses.push(first..self.hashes.len());
        }
    }

    /// The words of a text as they are compared, and the end of each.
    fn compared(&self) -> (String, Vec<usize>) {
        let (mut all, mut ends) = (String::with_capacity(self.text.len()), Vec::new());
        for place in &self.places {
            all.extend(self.text[place.clone()].chars().flat_map(char::to_lowercase));
            all.push(' ');
            ends.push(all.len());
        }
        (all, ends)
    }

    /// The part of the text with these words, and the punctuation that belongs to them.
    fn range(&self, words: &Range<usize>) -> Range<usize> {
        let (first, last) = (&self.places[words.start], &self.places[words.end - 1]);
        let before = words.start.checked_sub(1).map_or(0, |before| self.places[before].end);
        let after = self.places.get(words.end).map_or(self.text.len(), |after| after.start);
        let opening = self.text[before..first.start].trim_end_matches(opens).len();
        let closing = &self.text[last.end..after];
        let closing = closing.find(|c: char| c.is_whitespace() || opens(c)).unwrap_or(closing.len());
        before + opening..last.end + closing
    }
}

fn opens(c: char) -> bool {
    matches!(c, '(' | '[' | '{' | '“' | '‘' | '«' | '「' | '『' | '（' | '【' | '《' | '¿' | '¡' | '<')
}

/// Leaves the fingerprints of a shard, each with its row and the number of its first word.
fn find_fingerprints(words_min: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let winnow = Winnow::new(*words_min as usize);
    let columns = [Column::Id, Column::Text];
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let mut entries = Vec::new();
    for row in share.track("documents", rows) {
        let row = row??;
        let words = Words::of(&row.document.text);
        for prose in &words.proses {
            for (hash, at) in winnow.fingerprints(&words.hashes[prose.clone()]) {
                entries.push((hash, place(row.index, prose.start + at)));
            }
        }
    }
    share.value(&(entries.len() as u64));
    write(share, "fingerprints", entries)
}

/// A row and the number of a word, such that the order of bytes is that of places.
fn place(row: u32, word: usize) -> [u8; 8] {
    (u64::from(row) << 32 | word as u64 & 0xffff_ffff).to_be_bytes()
}

fn row_and_word(place: &[u8]) -> (u32, usize) {
    let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| place[at + byte]));
    (number(0), number(4) as usize)
}

/// Leaves each shard the places of its fingerprints that occur more than once.
fn find_candidates(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut by_shard = ByShard::default();
    for_each_group::<8>(share, inputs.items(), |group| {
        for found in group.iter().filter(|_| group.len() > 1) {
            by_shard.of(found.shard).extend(found.rest);
        }
        Ok(())
    })?;
    by_shard.write(share, "candidates")
}

/// Words with their records, by row.
type ByRow<const N: usize> = BTreeMap<u32, Vec<(usize, [u8; N])>>;

/// Records of places, by row.
fn by_row<const N: usize>(files: &[LocalEntry]) -> Result<ByRow<N>> {
    let mut rows = ByRow::<N>::new();
    for record in read_records::<N>(files)? {
        let (row, word) = row_and_word(&record);
        rows.entry(row).or_default().push((word, record));
    }
    rows.values_mut().for_each(|places| places.sort_unstable());
    Ok(rows)
}

/// Leaves the sequences of a shard that contain a fingerprint that occurs more than once: 16 bytes of the hash of their words,
/// then the place.
fn find_sequences(words_min: &u32, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let winnow = Winnow::new(*words_min as usize);
    let [shard, candidates @ ..] = inputs.item().entries() else { return Ok(()) };
    let candidates = by_row::<8>(candidates)?;
    let mut entries = Vec::new();
    if !candidates.is_empty() {
        let rows = DocumentReader::of_entry(shard)?.columns(&[Column::Id, Column::Text]).rows()?;
        for row in share.track("documents", rows) {
            let row = row??;
            let Some(candidates) = candidates.get(&row.index) else { continue };
            let words = Words::of(&row.document.text);
            let (compared, ends) = words.compared();
            for prose in &words.proses {
                let before = |end: usize| candidates.partition_point(|(word, _)| *word < end);
                let own = candidates[before(prose.start)..before(prose.end)].iter().map(|(word, _)| *word);
                let starts = winnow.starts(own.map(|word| word - prose.start), prose.len());
                for start in starts.into_iter().flatten().map(|start| prose.start + start) {
                    let from = start.checked_sub(1).map_or(0, |before| ends[before]);
                    let digest =
                        blake3::hash(&compared.as_bytes()[from..ends[start + *words_min as usize - 1]]);
                    let mut rest = [0; 16];
                    rest[..8].copy_from_slice(&digest.as_bytes()[8..16]);
                    rest[8..].copy_from_slice(&place(row.index, start));
                    entries.push((u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at])), rest));
                }
            }
        }
    }
    share.value(&(entries.len() as u64));
    write(share, "sequences", entries)
}

/// Leaves each shard the places of its sequences that occur more than once: the place, 8 bytes, and whether it is the first one,
/// 4 bytes.
fn find_repeated(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut by_shard = ByShard::default();
    for_each_group::<16>(share, inputs.items(), |group| {
        if group.len() == 1 {
            return Ok(());
        }
        let check = |found: &Found<16>| -> [u8; 8] { std::array::from_fn(|at| found.rest[at]) };
        let mut group = group.to_vec();
        group.sort_unstable_by_key(|found| (check(found), found.shard, found.rest));
        for same in group.chunk_by(|a, b| check(a) == check(b)).filter(|same| same.len() > 1) {
            for (number, found) in same.iter().enumerate() {
                let bytes = by_shard.of(found.shard);
                bytes.extend(&found.rest[8..]);
                bytes.extend(u32::from(number == 0).to_le_bytes());
            }
        }
        Ok(())
    })?;
    by_shard.write(share, "repeated")
}

/// Cuts what is repeated from the texts of a shard.
fn cut_sequences(stage: &DedupSubstrings, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [shard, repeated @ ..] = inputs.item().entries() else { return Ok(()) };
    let repeated = by_row::<12>(repeated)?;
    cut(share, shard, stage.document_words_min, &[], |row| {
        let Some(places) = repeated.get(&row.index) else { return Vec::new() };
        let sequence = |(word, _): &(usize, [u8; 12])| *word..*word + stage.words as usize;
        let (kept, cut): (Vec<_>, Vec<_>) = places.iter().partition(|(_, record)| number_at(record, 8) == 1);
        let cut = subtract(cut.iter().map(sequence).collect(), kept.iter().map(sequence).collect());
        if cut.is_empty() {
            return Vec::new();
        }
        let words = Words::of(&row.document.text);
        cut.iter().map(|sequence| words.range(sequence)).collect()
    })
}

#[cfg(test)]
mod tests;
