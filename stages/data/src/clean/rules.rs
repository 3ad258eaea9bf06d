//! Quality rules: which texts are dropped, and which of their lines are cut. Each rule is a row of one table, with
//! its source, its threshold, and the languages that it has a threshold for.
//!
//! # Sources
//!
//! - `gopher_…`: Rae et al. 2021, *Scaling Language Models* (appendix A.1.1, table A1).
//! - `c4_…`: Raffel et al. 2020, *Exploring the Limits of Transfer Learning* (section 2.2), and the authors' code
//!   (`c4_utils.py` of TensorFlow Datasets).
//! - `fineweb_…`: Penedo et al. 2024, *The FineWeb Datasets*, and the authors' code (`examples/fineweb.py` of datatrove, with
//!   its `FineWebQualityFilter` and `C4QualityFilter`).
//!   FineWeb-2's thresholds by language: Penedo et al. 2025, and `configs/*.yml` of its repository.
//! - `dclm_…`: Li et al. 2024, *DataComp-LM*, and its code (`dclm_baseline_refinedweb.yaml`), after Penedo et al. 2023, *The
//!   RefinedWeb Dataset* (appendix G.2).
//! - `code_…`: CodeParrot, The Stack (Kocetkov et al. 2022), and for `code_data` StarCoder 2 (Lozhkov et al. 2024, section
//!   2.1).
//!
//! # Deliberate differences
//!
//! `docs/data.md` lists them rule by rule. Those that hold for all: rules see prose, without fenced code, backticks and the
//! signs of headings; marks of items, definitions and tables are no words; a rule without a threshold for a text's language is skipped and counted, never applied with another
//! language's; a value equal to the threshold is good.

mod code;
mod measures;
mod structure;
mod table;
mod values;

pub use table::Rule;

use super::fences::{Line, is_delimiter_row, lines, prose};
use crate::segment::Segmenter;
use measures::Measures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use structure::Structure;
use table::{Act, Setting, Spec, TABLE};

/// The sort of text that rules are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Crawled pages: Gopher's and C4's rules with their published thresholds, without C4's terminal punctuation.
    Web,
    /// Documentation: short pages, lists, much code, names that are repeated on purpose.
    Docs,
    /// Source code, kept as it is: line lengths, share of letters and digits, generated files, encoded data, code of
    /// others, secrets.
    Code,
    /// No rules except those in `thresholds`.
    None,
}

/// A published recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Gopher's rules for quality and repetition, which made MassiveWeb, the web part of MassiveText.
    Gopher,
    /// C4's rules, including terminal punctuation.
    C4,
    /// FineWeb's rules: Gopher's, C4's without terminal punctuation, and its own. C4's have the thresholds of FineWeb's
    /// code: 3 words per line and 5 sentences.
    Fineweb,
    /// FineWeb-2's rules, with its thresholds for each language; those of `fineweb` for English, which it does not include.
    Fineweb2,
    /// The rules of DCLM-Baseline, which are those of RefinedWeb: Gopher's, and lines of pages that are no text.
    Dclm,
}

/// The rules of a profile or a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the profile or preset of this name")]
pub enum RuleSet {
    Web,
    Docs,
    Code,
    None,
    Gopher,
    C4,
    Fineweb,
    Fineweb2,
    Dclm,
}

impl From<Profile> for RuleSet {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Web => Self::Web,
            Profile::Docs => Self::Docs,
            Profile::Code => Self::Code,
            Profile::None => Self::None,
        }
    }
}

impl From<Preset> for RuleSet {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Gopher => Self::Gopher,
            Preset::C4 => Self::C4,
            Preset::Fineweb => Self::Fineweb,
            Preset::Fineweb2 => Self::Fineweb2,
            Preset::Dclm => Self::Dclm,
        }
    }
}

/// Why a text is dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The first rule that it violates.
    pub rule: Rule,
    /// The text's value.
    pub value: f64,
    /// The threshold that was crossed.
    pub threshold: f64,
}

/// The verdict of the rules on a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Why it is dropped; `None` if it is kept.
    pub dropped: Option<Verdict>,
    /// Rules without a threshold for its language.
    pub skipped: Vec<Rule>,
}

/// A text whose lines were cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The remaining text.
    pub text: String,
    /// Lines that were cut, by rule.
    pub lines: BTreeMap<Rule, u64>,
    /// Share of the words that were in these lines.
    pub words_removed: f64,
}

/// What rules measure of a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured<'t> {
    /// Path of the file, or another name; may be empty.
    pub path: &'t str,
    /// The text.
    pub text: &'t str,
    /// ISO 639-1 code of its language; empty if it is not known.
    pub language: &'t str,
    /// Words for [`Rule::C4BadWords`], in lower case.
    pub bad_words: &'t [String],
    /// Share of its words that rules about lines cut.
    pub words_removed: f64,
}

impl Measured<'_> {
    /// The values of rules about whole texts; NaN where a text has nothing to measure. They have 32 bits: they are kept as
    /// columns, and equal thresholds are rounded in the same way.
    pub fn values(self, rules: impl Iterator<Item = Rule>) -> Vec<f32> {
        let mut prose = prose(self.text);
        if prose.trim().is_empty() {
            // All of it is code: no fence hides a text from the rules.
            prose = lines(self.text).filter(|(kind, _)| *kind == Line::Code).map(|(_, line)| line).collect();
        }
        let mut measures = Measures::new(self, &prose);
        rules.map(|rule| measures.of(rule).map_or(f32::NAN, |value| value as f32)).collect()
    }
}

/// A set of rules, with the user's changes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Rules {
    set: RuleSet,
    disabled: BTreeSet<Rule>,
    thresholds: BTreeMap<Rule, f64>,
}

impl Rules {
    /// The rules of a set without the disabled ones. `thresholds` applies to every language and also enables rules that
    /// the set does not include.
    pub fn new(set: RuleSet, disabled: &[Rule], thresholds: &BTreeMap<Rule, f64>) -> Self {
        Self { set, disabled: disabled.iter().copied().collect(), thresholds: thresholds.clone() }
    }

    /// The same for source code: any set other than `none` is replaced by `code`.
    pub fn for_code(&self) -> Self {
        let set = if self.set == RuleSet::None { RuleSet::None } else { RuleSet::Code };
        Self { set, ..self.clone() }
    }

    /// Only the rules that cut lines: equal for sets that cut the same lines.
    pub fn for_lines(&self) -> Self {
        let cuts = |rule: &Rule| rule.cuts_lines();
        let thresholds: BTreeMap<Rule, f64> =
            self.thresholds.clone().into_iter().filter(|(rule, _)| cuts(rule)).collect();
        let own = |set: RuleSet| Rules::new(set, &[], &BTreeMap::new());
        let is_in_set = |rule: &Rule| own(self.set).active().any(|active| active == *rule);
        let disabled: BTreeSet<Rule> = self.disabled.iter().copied().filter(cuts).collect();
        let disabled: BTreeSet<Rule> = disabled.into_iter().filter(is_in_set).collect();
        let lines = Self { set: self.set, disabled, thresholds };
        let cuts_any = lines.active().any(Rule::cuts_lines);
        if cuts_any { lines } else { own(RuleSet::None) }
    }

    /// The rules that are on for at least one language.
    pub fn active(&self) -> impl Iterator<Item = Rule> {
        TABLE.iter().filter(|spec| self.setting(spec, "") != Setting::Off).map(|spec| spec.rule)
    }

    fn setting(&self, spec: &Spec, language: &str) -> Setting {
        if self.disabled.contains(&spec.rule) {
            return Setting::Off;
        }
        match self.thresholds.get(&spec.rule) {
            Some(&threshold) => Setting::On(threshold),
            None => spec.setting(self.set, language),
        }
    }

    /// The enabled rules of one action for a language, with their thresholds; rules without a threshold are added to
    /// `skipped`.
    fn on(&self, act: Act, language: &str, skipped: &mut Vec<Rule>) -> Vec<(&'static Spec, f64)> {
        let mut on = Vec::new();
        for spec in TABLE.iter().filter(|spec| spec.act == act) {
            match self.setting(spec, language) {
                Setting::Off => {}
                Setting::Unknown => skipped.push(spec.rule),
                Setting::On(threshold) => on.push((spec, threshold)),
            }
        }
        on
    }

    /// Applies the rules in order, up to the first that the values of a text violate. A rule without a value, `None` or
    /// NaN, is satisfied.
    pub fn judge(&self, language: &str, value: impl Fn(Rule) -> Option<f32>) -> Judgement {
        let mut skipped = Vec::new();
        self.on(Act::Cut, language, &mut skipped);
        let on = self.on(Act::Drop, language, &mut skipped);
        let dropped = on.into_iter().find_map(|(spec, threshold)| {
            let value = value(spec.rule).filter(|value| !value.is_nan())?;
            let is_good = spec.is_good(f64::from(value), f64::from(threshold as f32));
            (!is_good).then_some(Verdict { rule: spec.rule, value: f64::from(value), threshold })
        });
        Judgement { dropped, skipped }
    }

    /// Cuts lines of prose; `None` if there is nothing to cut.
    pub fn cut_lines(&self, text: &str, language: &str) -> Option<Cut> {
        let on = self.on(Act::Cut, language, &mut Vec::new());
        let segmenter = Segmenter::of(language);
        let mut cut =
            Cut { text: String::with_capacity(text.len()), lines: BTreeMap::new(), words_removed: 0.0 };
        if on.is_empty() {
            return None;
        }
        let mut structure = Structure::default();
        let mut removed = 0;
        let mut blank = true;
        let mut end = 0;
        // The rule that cut the line above.
        let mut above = None;
        for (kind, line) in lines(text) {
            let is_blank = line.trim().is_empty();
            let at = end;
            end += line.len();
            let mut is_good = |spec: &Spec, threshold| {
                measures::is_good_line(spec, threshold, line, segmenter)
                    || (spec.rule.spares_structure() && structure.has(text, at, line))
            };
            let broken = match kind == Line::Prose && !is_blank {
                false => None,
                true if is_delimiter_row(line) => above,
                true => {
                    on.iter().find(|(spec, threshold)| !is_good(spec, *threshold)).map(|(spec, _)| spec.rule)
                }
            };
            above = broken;
            if let Some(rule) = broken {
                *cut.lines.entry(rule).or_default() += 1;
                removed += measures::words_of(line, segmenter).count();
                continue;
            }
            // Blank lines on both sides of a cut line are merged into one.
            if !(is_blank && blank && kind == Line::Prose && !cut.lines.is_empty()) {
                cut.text.push_str(line);
            }
            blank = is_blank;
        }
        if cut.lines.is_empty() {
            return None;
        }
        let left: usize = lines(&cut.text).map(|(_, line)| measures::words_of(line, segmenter).count()).sum();
        cut.words_removed = removed as f64 / (left + removed).max(1) as f64;
        cut.text.truncate(cut.text.trim_end().len());
        if !cut.text.is_empty() {
            cut.text.push('\n');
        }
        Some(cut)
    }
}

#[cfg(test)]
mod tests;
