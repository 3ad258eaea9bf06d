//! Step `kept`: which documents are kept, from their columns; no text is read. Kept and dropped documents are views of the
//! same shard.
//!
//! Owns: the order of the reasons to drop a document, and how they are told.

use super::block_lists::{BlockLists, is_block_lists};
use super::licenses::Licenses;
use super::rules::{Rule, Rules};
use super::scores::CHARACTERS;
use super::texts::{REFUSED, is_code};
use super::{
    DROPPED, LANGUAGE, METRICS, NO_TEXT, REASON, TEXTS, dropped_by, of_language, page, shown, skipped,
};
use crate::documents::{AddedColumn, AddedColumns, Column, Document, DocumentReader};
use pipe_stage::{Inputs, Result, RoaringBitmap, Share};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// What drops documents without an allowed licence, in place of a rule.
pub(super) const LICENSE: &str = "license";

/// What the selection depends on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Kept {
    /// Whether all documents are source code.
    pub(super) is_code: bool,
    pub(super) rules: Rules,
    pub(super) languages: Vec<String>,
    pub(super) licenses: Vec<String>,
}

/// Why a document is dropped, for its added columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) rule: String,
    pub(super) value: String,
    pub(super) threshold: String,
}

impl Reason {
    pub(super) fn new(rule: &str, value: impl Into<String>, threshold: impl Into<String>) -> Self {
        Self { rule: rule.to_owned(), value: value.into(), threshold: threshold.into() }
    }
}

/// Selects the rows of a shard. A second entry has block lists.
pub(super) fn select(kept: &Kept, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let lists = entries[1..].iter().find(|entry| is_block_lists(entry)).map(BlockLists::open).transpose()?;
    let judge = Judge {
        kept,
        code: kept.rules.for_code(),
        licenses: Licenses::new(&kept.licenses),
        lists: lists.as_deref(),
    };
    let columns = [Column::Id, Column::Url, Column::Language, Column::License, Column::Metadata];
    let reader = DocumentReader::of_entry(&entries[0])?.columns(&columns);
    let rows = reader.rows_total() as u32;
    let mut added = reader.added().cloned().unwrap_or_default();
    let mut figures = Figures::default();
    let (mut selected, mut dropped) = (RoaringBitmap::new(), RoaringBitmap::new());
    let mut reasons = [const { Vec::new() }; REASON.len()];
    let values = Values::of(&added);
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let at = row.index as usize;
        let (reason, rules_skipped) =
            judge.judge(&row.document, |rule| values.value(rule, at), values.characters(at));
        rules_skipped.into_iter().for_each(|rule| *figures.skipped.entry(rule).or_default() += 1);
        for column in &mut reasons {
            column.resize(at + 1, String::new());
        }
        match reason {
            None => {
                figures.characters += u64::from(values.characters(at));
                *figures.languages.entry(row.document.language).or_default() += 1;
                selected.insert(row.index);
            }
            Some(Reason { rule, value, threshold }) => {
                *figures.dropped.entry(rule.clone()).or_default() += 1;
                dropped.insert(row.index);
                for (column, told) in reasons.iter_mut().zip([rule, value, threshold]) {
                    column[at] = told;
                }
            }
        }
    }
    figures.report(share, selected.len(), dropped.len());
    share.view(TEXTS.name(), &entries[0], rows, selected, None)?;
    if !dropped.is_empty() {
        for (name, mut column) in REASON.into_iter().zip(reasons) {
            column.resize(rows as usize, String::new());
            added.insert(name, AddedColumn::Utf8(column))?;
        }
        let columns = added.write(share.file("columns")?)?;
        share.view(DROPPED.name(), &entries[0], rows, dropped, Some(columns))?;
    }
    Ok(())
}

/// The columns of rules, by rule.
struct Values<'a> {
    of_rules: BTreeMap<Rule, &'a [f32]>,
    characters: &'a [u32],
}

impl<'a> Values<'a> {
    fn of(added: &'a AddedColumns) -> Self {
        let column = |rule: Rule| match added.get(rule.name()) {
            Some(AddedColumn::F32(values)) => Some((rule, values.as_slice())),
            _ => None,
        };
        let characters = match added.get(CHARACTERS) {
            Some(AddedColumn::U32(characters)) => characters.as_slice(),
            _ => &[],
        };
        Self { of_rules: Rule::all().filter_map(column).collect(), characters }
    }

    fn value(&self, rule: Rule, row: usize) -> Option<f32> {
        self.of_rules.get(&rule)?.get(row).copied()
    }

    fn characters(&self, row: usize) -> u32 {
        self.characters.get(row).copied().unwrap_or_default()
    }
}

/// Judges documents one at a time; rules and lists are prepared once.
struct Judge<'k> {
    kept: &'k Kept,
    /// Rules for source code.
    code: Rules,
    licenses: Licenses,
    lists: Option<&'k BlockLists>,
}

impl Judge<'_> {
    /// Why a document is dropped, if it is, and the rules without a threshold for its language.
    fn judge(
        &self,
        document: &Document,
        value: impl Fn(Rule) -> Option<f32>,
        characters: u32,
    ) -> (Option<Reason>, Vec<Rule>) {
        if let Some(reason) = self.before_rules(document) {
            return (Some(reason), Vec::new());
        }
        let is_code = self.kept.is_code || is_code(document);
        let rules = if is_code { &self.code } else { &self.kept.rules };
        let judgement = rules.judge(&document.language, value);
        let dropped = judgement
            .dropped
            .map(|verdict| Reason::new(verdict.rule.name(), shown(verdict.value), shown(verdict.threshold)));
        let no_text = || (characters == 0).then(|| Reason::new(NO_TEXT, "0", "1"));
        (dropped.or_else(no_text), judgement.skipped)
    }

    /// The reasons that take precedence over rules.
    fn before_rules(&self, document: &Document) -> Option<Reason> {
        if let Some((code, reason)) =
            document.metadata.get(REFUSED).and_then(|refused| refused.split_once(": "))
        {
            return Some(Reason::new(&page(code), reason, ""));
        }
        if let Some((rule, entry)) = self.lists.and_then(|lists| lists.find(&document.url)) {
            return Some(Reason::new(rule, entry, ""));
        }
        let languages = &self.kept.languages;
        let is_text = !(self.kept.is_code || is_code(document));
        if is_text && !languages.is_empty() && !languages.contains(&document.language) {
            let known = Some(document.language.as_str()).filter(|language| !language.is_empty());
            return Some(Reason::new(LANGUAGE, known.unwrap_or("unknown"), languages.join(",")));
        }
        if !self.licenses.allow(&document.license) {
            let known = Some(document.license.as_str()).filter(|license| !license.is_empty());
            return Some(Reason::new(LICENSE, known.unwrap_or("unknown"), self.kept.licenses.join(",")));
        }
        None
    }
}

#[derive(Default)]
struct Figures {
    characters: u64,
    languages: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    skipped: BTreeMap<Rule, u64>,
}

impl Figures {
    fn report(self, share: &mut Share, kept: u64, dropped: u64) {
        share.counts(METRICS, [kept, self.characters, dropped]);
        self.dropped.into_iter().for_each(|(rule, count)| share.count(dropped_by(&rule), count));
        self.skipped.into_iter().for_each(|(rule, count)| share.count(skipped(rule), count));
        for (language, count) in self.languages {
            share.count(of_language(if language.is_empty() { "unknown" } else { &language }), count);
        }
    }
}
