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
//! - `code_…`: CodeParrot, The Stack (Kocetkov et al. 2022), and for `code_data` StarCoder 2 (Lozhkov et al. 2024, section
//!   2.1).
//!
//! # Deliberate differences
//!
//! `docs/data.md` lists them rule by rule. Those that hold for all: rules see prose, without fenced code, backticks and the
//! signs of headings; a rule without a threshold for a text's language is skipped and counted, never applied with another
//! language's; a value equal to the threshold is good.

mod code;
mod measures;
mod table;
mod values;

pub use table::Rule;

use super::fences::{Line, lines, prose};
use crate::segment::Segmenter;
use measures::Measures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use table::{Act, Setting, Spec, TABLE};

/// A set of rules with thresholds for one sort of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Crawled pages: Gopher's and C4's rules with their published thresholds, without C4's terminal punctuation.
    Web,
    /// Gopher's rules for quality and repetition.
    Gopher,
    /// C4's rules, including terminal punctuation.
    C4,
    /// FineWeb's rules: Gopher's, C4's without terminal punctuation, and its own. C4's have the thresholds of FineWeb's
    /// code: 3 words per line and 5 sentences.
    Fineweb,
    /// Documentation: short pages, lists, much code, names that are repeated on purpose.
    Docs,
    /// Source code, kept as it is: line lengths, share of letters and digits, generated files, encoded data, code of
    /// others, secrets.
    Code,
    /// No rules except those in `thresholds`.
    None,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The remaining text.
    pub text: String,
    /// Lines that were cut, by rule.
    pub lines: BTreeMap<Rule, u64>,
}

/// The rules of a profile, with the user's changes.
#[derive(Debug, Clone)]
pub struct Rules {
    profile: Profile,
    disabled: BTreeSet<Rule>,
    thresholds: BTreeMap<Rule, f64>,
    /// In lower case.
    bad_words: Vec<String>,
}

impl Rules {
    /// The rules of a profile without the disabled ones. `thresholds` applies to every language and also enables
    /// rules that the profile does not include.
    pub fn new(profile: Profile, disabled: &[Rule], thresholds: &BTreeMap<Rule, f64>) -> Self {
        let disabled = disabled.iter().copied().collect();
        Self { profile, disabled, thresholds: thresholds.clone(), bad_words: Vec::new() }
    }

    /// The same, with words for [`Rule::C4BadWords`].
    pub fn with_bad_words(self, words: &[String]) -> Self {
        Self { bad_words: words.iter().map(|word| word.trim().to_lowercase()).collect(), ..self }
    }

    /// The same for source code: any profile other than `none` is replaced by `code`.
    pub fn for_code(&self) -> Self {
        let profile = if self.profile == Profile::None { Profile::None } else { Profile::Code };
        Self { profile, ..self.clone() }
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
            None => spec.setting(self.profile, language),
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

    /// Applies the rules in order, up to the first that the text violates.
    pub fn judge(&self, text: &str, language: &str) -> Judgement {
        self.judge_file("", text, language)
    }

    /// The same for a text from a file with a path.
    pub fn judge_file(&self, path: &str, text: &str, language: &str) -> Judgement {
        let mut skipped = Vec::new();
        self.on(Act::Cut, language, &mut skipped);
        let on = self.on(Act::Drop, language, &mut skipped);
        let mut prose = prose(text);
        if prose.trim().is_empty() {
            // All of it is code: no fence hides a text from the rules.
            prose = lines(text).filter(|(kind, _)| *kind == Line::Code).map(|(_, line)| line).collect();
        }
        let mut measures = Measures::new(text, &prose, language, &self.bad_words).of_file(path);
        let dropped = on.into_iter().find_map(|(spec, threshold)| {
            let value = measures.of(spec.rule)?;
            (!spec.is_good(value, threshold)).then_some(Verdict { rule: spec.rule, value, threshold })
        });
        Judgement { dropped, skipped }
    }

    /// Cuts lines of prose; `None` if there is nothing to cut.
    pub fn cut_lines(&self, text: &str, language: &str) -> Option<Cut> {
        let on = self.on(Act::Cut, language, &mut Vec::new());
        let segmenter = Segmenter::of(language);
        let mut cut = Cut { text: String::with_capacity(text.len()), lines: BTreeMap::new() };
        if on.is_empty() {
            return None;
        }
        let mut blank = true;
        for (kind, line) in lines(text) {
            let is_blank = line.trim().is_empty();
            if kind == Line::Prose && !is_blank {
                let broken = on.iter().find(|(spec, threshold)| {
                    !spec.is_good(measures::of_line(spec.rule, line, segmenter), *threshold)
                });
                if let Some((spec, _)) = broken {
                    *cut.lines.entry(spec.rule).or_default() += 1;
                    continue;
                }
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
        cut.text.truncate(cut.text.trim_end().len());
        if !cut.text.is_empty() {
            cut.text.push('\n');
        }
        Some(cut)
    }
}

#[cfg(test)]
mod tests;
