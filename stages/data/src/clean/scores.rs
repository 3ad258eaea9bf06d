//! Step `scores`: texts → texts without the lines that rules cut, with the values of all rules as added columns.
//!
//! A text is written again only if a line of its shard is cut or masked; otherwise the shard is a view of the texts.
//!
//! Owns: the order of cutting, measuring and masking, and the columns. Values are those of `rules`.

use super::block_lists::{BlockLists, is_block_lists};
use super::pii::{Pii, mask};
use super::rules::{Measured, Rule, Rules};
use super::texts::{REFUSED, is_code};
use super::{NOTES, lines_cut, masked};
use crate::documents::{AddedColumn, AddedColumns, Document, DocumentReader, DocumentWriter};
use pipe_stage::{Inputs, LocalEntry, Result, RoaringBitmap, Share, ShareFile};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The slot of the texts with their values.
pub(super) const SCORED: &str = "scored";

/// The column with the number of characters of a text; 0 if it is white space only.
pub(super) const CHARACTERS: &str = "characters";

/// What the values depend on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Scores {
    /// Whether all documents are source code.
    pub(super) is_code: bool,
    /// The rules that cut lines.
    pub(super) lines: Rules,
    /// In lower case.
    pub(super) bad_words: Vec<String>,
    /// Rules for source code that also measure other texts.
    pub(super) of_code: Vec<Rule>,
    /// Documents in other languages are not measured; empty measures all.
    pub(super) languages: Vec<String>,
    pub(super) pii: Vec<Pii>,
}

/// The names of the columns that [`score`] may add.
pub(super) fn columns() -> impl Iterator<Item = &'static str> {
    measuring().map(Rule::name).chain([CHARACTERS])
}

fn measuring() -> impl Iterator<Item = Rule> {
    Rule::all().filter(|rule| !rule.cuts_lines())
}

/// Cuts, measures and masks the texts of a shard. A second entry has block lists with further bad words.
pub(super) fn score(scores: &Scores, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let lists = entries[1..].iter().find(|entry| is_block_lists(entry)).map(BlockLists::open).transpose()?;
    let listed = lists.iter().flat_map(|lists| lists.words());
    let bad_words: Vec<String> = scores.bad_words.iter().cloned().chain(listed.map(str::to_owned)).collect();
    let reader = DocumentReader::of_entry(&entries[0])?;
    let rows = reader.rows_total() as u32;
    let mut values: BTreeMap<Rule, Vec<f32>> = BTreeMap::new();
    let mut characters = Vec::with_capacity(rows as usize);
    let mut figures = Figures::default();
    let mut changed: Option<DocumentWriter<ShareFile>> = None;
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let (mut document, at) = (row.document, row.index as usize);
        let is_code = scores.is_code || is_code(&document);
        let (is_cut, of_rules) = scores.score(&mut document, is_code, &bad_words, &mut figures);
        for (rule, value) in of_rules {
            values.entry(rule).or_insert_with(|| vec![f32::NAN; rows as usize])[at] = value;
        }
        let is_masked = scores.mask(&mut document, &mut figures);
        let count = if document.text.trim().is_empty() { 0 } else { document.text.chars().count() };
        characters.push(u32::try_from(count).unwrap_or(u32::MAX));
        if (is_cut || is_masked) && changed.is_none() {
            changed = Some(beginning(&entries[0], row.index, share.file(SCORED)?)?);
        }
        if let Some(changed) = &mut changed {
            changed.push(&document)?;
        }
    }
    let mut added = AddedColumns::default();
    values.retain(|_, values| values.iter().any(|value| !value.is_nan()));
    for (rule, values) in values {
        added.insert(rule.name(), AddedColumn::F32(values))?;
    }
    added.insert(CHARACTERS, AddedColumn::U32(characters))?;
    let columns = added.write(share.file("columns")?)?;
    figures.report(share);
    match changed {
        Some(changed) => share.keep_with(changed.finish()?, Some(columns)).map(drop),
        None => share.view(SCORED, &entries[0], rows, RoaringBitmap::from_iter(0..rows), Some(columns)),
    }
}

/// A file with the rows of a shard before one of them.
fn beginning(entry: &LocalEntry, end: u32, file: ShareFile) -> Result<DocumentWriter<ShareFile>> {
    let mut file = DocumentWriter::new(file)?;
    let before = RoaringBitmap::from_iter(0..end);
    for row in DocumentReader::open(entry.path()?)?.select(Some(before))?.rows()? {
        file.push(&row?.document)?;
    }
    Ok(file)
}

impl Scores {
    /// Cuts lines, and measures the rest. Returns whether a line was cut.
    fn score(
        &self,
        document: &mut Document,
        is_code: bool,
        bad_words: &[String],
        figures: &mut Figures,
    ) -> (bool, Vec<(Rule, f32)>) {
        let is_wanted = is_code || self.languages.is_empty() || self.languages.contains(&document.language);
        if !is_wanted || document.metadata.contains_key(REFUSED) {
            return (false, Vec::new());
        }
        let cut = if is_code { None } else { self.lines.cut_lines(&document.text, &document.language) };
        let (is_cut, mut words_removed) = (cut.is_some(), 0.0);
        if let Some(cut) = cut {
            cut.lines
                .into_iter()
                .for_each(|(rule, lines)| *figures.lines_cut.entry(rule).or_default() += lines);
            (document.text, words_removed) = (cut.text, cut.words_removed);
        }
        let rules = measuring().filter(|rule| is_code || !rule.is_of_code() || self.of_code.contains(rule));
        let rules: Vec<Rule> = rules.collect();
        let measured = Measured {
            path: &document.id,
            text: &document.text,
            language: &document.language,
            bad_words,
            words_removed,
        };
        let values = measured.values(rules.iter().copied());
        (is_cut, rules.into_iter().zip(values).collect())
    }

    /// Masks personal data in what people read. Returns whether there is any.
    fn mask(&self, document: &mut Document, figures: &mut Figures) -> bool {
        if self.pii.is_empty() {
            return false;
        }
        let mut is_masked = false;
        let title = document.metadata.get_mut(NOTES[0]);
        for text in std::iter::once(&mut document.text).chain(title) {
            let count = |kind| *figures.masked.entry(kind).or_default() += 1;
            if let Cow::Owned(masked) = mask(text, &self.pii, count) {
                *text = masked;
                is_masked = true;
            }
        }
        is_masked
    }
}

#[derive(Default)]
struct Figures {
    lines_cut: BTreeMap<Rule, u64>,
    masked: BTreeMap<Pii, u64>,
}

impl Figures {
    fn report(self, share: &mut Share) {
        self.lines_cut.into_iter().for_each(|(rule, lines)| share.count(lines_cut(rule), lines));
        self.masked.into_iter().for_each(|(kind, count)| share.count(masked(kind), count));
    }
}
