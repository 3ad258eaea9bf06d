//! Pages → texts: main content, repair, language, rules. It works shard by shard, in three steps, so that a changed
//! threshold reads columns and not pages:
//!
//! ```text
//! pages ─ texts ─▶ every page's text and language ─ scores ─▶ the values of all rules ─ kept ─▶ a view of what is kept,
//!                                                   (lines cut, personal data masked)          and one of what is dropped
//! ```
//!
//! Owns: the settings, what each step depends on, and the names of metrics. The work is in `html`, `repair`, `language`,
//! `rules` and `pii`.

mod block_lists;
pub mod fences;
pub mod html;
mod kept;
pub mod language;
mod licenses;
pub mod pii;
pub mod repair;
pub mod rules;
mod scores;
mod texts;

use crate::classifier::{CLASSIFIER, is_model};
use crate::documents::{DOCUMENTS, facts_passed_on, lacks_anything};
use crate::none_left;
use block_lists::{BLOCK_LISTS, BLOCKED, kind_of};
use html::Refusal;
use kept::{Kept, LICENSE};
use language::canonical;
use pii::Pii;
use pipe_stage::{
    Code, Context, Entry, Facts, In, Item, KnownInputs, Metric, Misfit, Out, Places, Port, Result,
    SourceRequest, Stage,
};
use rules::{Rule, Rules};
use scores::Scores;
use texts::Texts;

pub use block_lists::BlockListFiles;
pub use rules::{Preset, Profile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Extracts the text of pages, repairs it, and drops documents that are not worth training on.
///
/// The text of a page is light Markdown: code blocks are fenced and kept verbatim; headings, lists, tables and
/// formulas (as TeX) are kept, navigation is removed. In prose, encoding errors are fixed, control characters are
/// removed without joining the words around them, Unicode is composed (NFC), unusual spaces such as the no-break space
/// become ordinary ones, and form feeds and other separators of lines become line breaks; other white space is kept. Code,
/// in blocks and in lines, keeps all its characters. Source code (`format: code` in `ingest`, or the profile `code`) is not
/// changed at all.
///
/// Dropped documents are in the output `dropped`, with `rule`, `value` and `threshold` as facts. Metrics count them by rule (`dropped.<rule>`), as well as lines that were cut (`lines_cut.<rule>`) and
/// documents for which a rule was skipped because it has no threshold for their language (`skipped.<rule>`). A document
/// that has no text after cleaning is dropped by any profile (`dropped.no_text`).
///
/// The values of all rules, and the number of characters, are facts of the documents under the names of the rules, which
/// `filter`, `dedup` (`score`), `mix` and `pipe data stats` read. A changed threshold, language or licence selects anew
/// and reads no text.
///
/// The language of a text is detected by whatlang, or by the classifier in `needs.language_model`, which also tells languages
/// of short texts.
///
/// With `pii`, personal data and credentials are masked last, in all documents, kept or dropped: `<EMAIL_ADDRESS>`. They are
/// found by their form and check digits, also in code; metrics count them by kind (`pii.<kind>`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clean {
    /// Which rules apply, and how strict they are: `web`, `docs`, `code` or `none`. The default `web` suits crawled pages.
    pub profile: Profile,
    /// A published recipe whose rules and thresholds take the place of those of the profile: `gopher`, `c4`, `fineweb`,
    /// `fineweb2` or `dclm`. Source code is judged by the rules of the profile `code`.
    pub preset: Option<Preset>,
    /// Languages to keep, as ISO 639-1 codes such as `en` and `zh`. Empty keeps all languages.
    pub languages: Vec<String>,
    /// Minimum score of the detected language, 0 to 1. Below it, the language that the document declares is used
    /// instead. Short pages and lists of names score low.
    pub language_score_min: f64,
    /// Rules of the profile to disable.
    pub disable: Vec<Rule>,
    /// Thresholds that replace those of the profile, for every language. They also enable rules that the profile does
    /// not include.
    pub thresholds: BTreeMap<Rule, f64>,
    /// Words and phrases that the rule `c4_bad_words` counts, ignoring case.
    pub bad_words: Vec<String>,
    /// Licences to keep, as SPDX expressions such as `CC-BY-4.0`; `unknown` means documents without a licence. A document
    /// is kept if its licence can be satisfied by these: one in an `OR`, all in an `AND`. Empty keeps all documents.
    pub licenses: Vec<String>,
    /// Files with domains, addresses and words that drop documents.
    pub block_lists: BlockListFiles,
    /// Maximum number of HTML elements per page. Pages with more are usually generated without end or dumps of data.
    pub elements_max: u32,
    /// Kinds of personal data and credentials to mask in texts and titles: `email`, `ip`, `phone`, `iban`, `card`,
    /// `us_ssn`, `cn_id`, `api_key`. By default nothing is masked.
    pub pii: Vec<Pii>,
}

impl Default for Clean {
    fn default() -> Self {
        Self {
            profile: Profile::Web,
            preset: None,
            languages: Vec::new(),
            language_score_min: 0.5,
            disable: Vec::new(),
            thresholds: BTreeMap::new(),
            bad_words: Vec::new(),
            licenses: Vec::new(),
            block_lists: BlockListFiles::default(),
            elements_max: 400_000,
            pii: Vec::new(),
        }
    }
}

const PAGES: In = In::new("documents", &DOCUMENTS, "Pages from `ingest`, or documents with text.");
const LANGUAGE_MODEL: In = In::new(
    "language_model",
    &CLASSIFIER,
    "A classifier whose labels are languages, in place of the built-in detector.",
)
.optional();
const TEXTS: Out = Out::main("documents", &DOCUMENTS, "Documents with text and language.");
const DROPPED: Out = Out::new("dropped", &DOCUMENTS, "Dropped documents, with rule, value and threshold.");

const METRICS: [&str; 3] = ["documents", "characters", "dropped"];
/// What the metadata says about cleaned documents.
const NOTES: [&str; 3] = ["title", "language_declared", "language_score"];
/// What the added columns say about dropped documents.
const REASON: [&str; 3] = ["rule", "value", "threshold"];

impl Stage for Clean {
    const NAME: &'static str = "clean";
    /// History: 1: initial version. 2: layout, line ends and fences are kept; HTML is read as the standard says;
    /// formulas and tables keep their meaning; rules as published; languages that the detector does not know.
    /// 3: documents without text are dropped; sentences end in the marks of more scripts. 4: inline code keeps its backticks
    /// and spaces; cells stand in their columns, and items have the numbers of reversed lists; FineWeb's thresholds.
    /// 5: code in items stays within them; headings keep their level; formulas keep their groups; bytes without a
    /// meaning in single-byte encodings are control characters. 6: code: encoded data, code of others, secrets, and more marks
    /// of generated files. 7: three steps; the values of rules are added columns, with 32 bits; dropped documents are a
    /// view, with their whole text. 8: references in text are not resolved again; signs, terms and short lines of a structure
    /// are kept; site furniture of short pages is not; marks of lists and tables are no words; the language of all of a page.
    const REVISION: u32 = 8;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[PAGES.port(), LANGUAGE_MODEL.port(), TEXTS.port(), DROPPED.port()];

    fn check(&self) -> Vec<Misfit> {
        let score = Misfit::unless(
            (0.0..=1.0).contains(&self.language_score_min),
            "language_score_min",
            "must be from 0 to 1",
        );
        let elements = Misfit::unless(self.elements_max > 0, "elements_max", "must be at least 1");
        let languages = self.languages.iter().enumerate().filter_map(|(at, code)| {
            let path = format!("languages[{at}]");
            let help = "languages are ISO 639-1 codes, such as `en`, `de`, `zh`";
            match canonical(code) {
                known if known == *code => None,
                known if known.is_empty() => {
                    Some(Misfit::new(path, format!("`{code}` is not a language code")).help(help))
                }
                known => Some(Misfit::new(path, format!("the code of `{code}` is `{known}`")).help(help)),
            }
        });
        let code = Misfit::unless(
            self.profile != Profile::Code || self.languages.is_empty(),
            "languages",
            "must be empty with the profile `code`, which detects no language",
        );
        let preset = Misfit::unless(
            self.preset.is_none() || self.profile == Profile::Web,
            "preset",
            "takes the place of the profile: give one of them",
        );
        let licenses = self.licenses.iter().enumerate().filter_map(|(at, license)| {
            Misfit::unless(!license.trim().is_empty(), &format!("licenses[{at}]"), "must not be empty")
        });
        let thresholds = self.thresholds.iter().filter_map(|(rule, &threshold)| {
            let path = format!("thresholds.{}", rule.name());
            match rule.is_share() {
                true => Misfit::unless((0.0..=1.0).contains(&threshold), &path, "must be from 0 to 1"),
                false => {
                    Misfit::unless(threshold >= 0.0 && threshold.is_finite(), &path, "must be 0 or more")
                }
            }
        });
        score
            .into_iter()
            .chain(elements)
            .chain(languages)
            .chain(code)
            .chain(preset)
            .chain(licenses)
            .chain(thresholds)
            .collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        let dropped: &[&str] = if output == DROPPED.name() { &REASON } else { &[] };
        let columns: Vec<&str> = scores::columns().collect();
        facts_passed_on(inputs, PAGES, &[&NOTES[..], &columns, dropped].concat())
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_anything(inputs, PAGES).into_iter().collect()
    }

    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        Ok(self.block_lists.requests(places))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let rules = self.rules();
        let code = rules.for_code();
        let of_prose = if self.is_code() { None } else { Some(rules.active()) };
        let rules: BTreeSet<Rule> = code.active().chain(of_prose.into_iter().flatten()).collect();
        let by_rule = rules.into_iter().flat_map(|rule| {
            let acts = if rule.cuts_lines() { lines_cut(rule) } else { dropped_by(rule.name()) };
            [acts, skipped(rule)]
        });
        let BlockListFiles { domains, urls, url_words, .. } = &self.block_lists;
        let lists = BLOCKED.into_iter().zip([domains, urls, url_words]);
        let lists = lists.filter(|(_, list)| !list.is_empty()).map(|(name, _)| dropped_by(name));
        let languages = (!self.languages.is_empty()).then(|| dropped_by(LANGUAGE));
        let licenses = (!self.licenses.is_empty()).then(|| dropped_by(LICENSE));
        let others = lists.chain(languages).chain(licenses).chain([dropped_by(NO_TEXT)]);
        let pages = Refusal::CODES.into_iter().map(|code| dropped_by(&page(code)));
        let fixed = METRICS.map(str::to_owned).into_iter().chain([of_language("*")]);
        let masked = self.pii.iter().map(|kind| masked(*kind));
        Some(fixed.chain(pages).chain(others).chain(by_rule).chain(masked).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let lists = self.block_lists(ctx)?;
        let model = ctx.optional(LANGUAGE_MODEL).map(|model| &model.entries);
        let model = model.and_then(|entries| entries.iter().find(|entry| is_model(&entry.name)));
        let pages = ctx.input(PAGES).shards().into_iter().map(|shard| shard.with(model.cloned())).collect();
        let texts = ctx.each("texts", &self.texts(), pages, texts::make_texts)?;
        let with_lists = |entries: Vec<Entry>, lists: Option<&Entry>| {
            let shard = |entry: Entry| Item::new(&entry.name.clone(), [entry]).with(lists.cloned());
            entries.into_iter().map(shard).collect::<Vec<_>>()
        };
        let of_words = lists.as_ref().filter(|_| !self.block_lists.words.is_empty());
        let shards = with_lists(texts.entries(texts::TEXTS), of_words);
        let scored = ctx.each("scores", &self.scores(), shards, scores::score)?;
        let shards = with_lists(scored.entries(scores::SCORED), lists.as_ref());
        let kept = ctx.each("kept", &self.kept(), shards, kept::select)?;
        if ctx.value(TEXTS.name()) == 0.0 {
            let reason = |metric: Metric| {
                let rule = metric.name.strip_prefix(DROPPED_BY)?;
                let reason = format!("dropped by `{rule}`, see the output `{}`", DROPPED.name());
                Some((metric.value as u64, reason))
            };
            none_left::warn(ctx, "no documents are left", ctx.metrics().into_iter().filter_map(reason));
        }
        ctx.output(TEXTS, kept.entries(TEXTS.name()))?;
        ctx.output(DROPPED, kept.entries(DROPPED.name()))
    }
}

impl Clean {
    fn is_code(&self) -> bool {
        self.profile == Profile::Code
    }

    fn rules(&self) -> Rules {
        let set = self.preset.map_or_else(|| self.profile.into(), Into::into);
        Rules::new(set, &self.disable, &self.thresholds)
    }

    fn texts(&self) -> Texts {
        let Self { language_score_min, elements_max, .. } = *self;
        Texts { is_code: self.is_code(), language_score_min, elements_max }
    }

    fn scores(&self) -> Scores {
        let words = self.bad_words.iter().map(|word| word.trim().to_lowercase());
        Scores {
            is_code: self.is_code(),
            lines: self.rules().for_lines(),
            bad_words: words.collect(),
            of_code: self.thresholds.keys().copied().filter(|rule| rule.is_of_code()).collect(),
            languages: self.languages.clone(),
            pii: self.pii.clone(),
        }
    }

    fn kept(&self) -> Kept {
        Kept {
            is_code: self.is_code(),
            rules: self.rules(),
            languages: self.languages.clone(),
            licenses: self.licenses.clone(),
        }
    }

    /// The file of the block lists, if there are any.
    fn block_lists(&self, ctx: &Context) -> Result<Option<Entry>> {
        let mut by_kind: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for file in ctx.sources() {
            by_kind.entry(kind_of(&file.source)).or_default().push(file.clone());
        }
        if by_kind.is_empty() {
            return Ok(None);
        }
        let items = by_kind.into_iter().map(|(kind, files)| Item::of_sources(kind, files));
        let lists = ctx.once("block_lists", &(), items.collect(), block_lists::collect)?;
        Ok(lists.entries(BLOCK_LISTS).pop())
    }
}

/// Metrics of the rules that drop documents begin with this.
const DROPPED_BY: &str = "dropped.";

/// Names of metrics.
fn dropped_by(rule: &str) -> String {
    format!("{DROPPED_BY}{rule}")
}

fn skipped(rule: Rule) -> String {
    format!("skipped.{}", rule.name())
}

fn lines_cut(rule: Rule) -> String {
    format!("lines_cut.{}", rule.name())
}

fn masked(kind: Pii) -> String {
    format!("pii.{}", kind.name())
}

fn of_language(language: &str) -> String {
    format!("language.{language}")
}

/// What drops documents in a language that is not wanted, in place of a rule.
const LANGUAGE: &str = "language";

/// What drops documents that have no text after cleaning, if no rule does.
const NO_TEXT: &str = "no_text";

/// What drops pages without text in place of a rule.
fn page(code: &str) -> String {
    format!("page_{code}")
}

/// A number with at most four decimals.
fn shown(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
