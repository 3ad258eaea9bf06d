//! Pages → texts: main content, repair, language, rules. It works shard by shard; dropped documents are kept
//! separately, with the reason.
//!
//! Owns: the order of these steps, and what is reported. The steps themselves are in `html`, `repair`, `language`,
//! `rules` and `pii`.

pub mod fences;
pub mod html;
pub mod language;
pub mod pii;
pub mod repair;
pub mod rules;

use crate::classifier::{CLASSIFIER, is_model, model_entry, open};
use crate::documents::{
    DOCUMENTS, Document, DocumentReader, DocumentWriter, facts_passed_on, lacks_anything,
};
use crate::none_left;
use html::{Limits, Refusal, extract};
use language::{Detector, canonical};
use pii::Pii;
use pipe_linear::Scratch;
use pipe_stage::{
    Code, Context, Facts, In, Inputs, KnownInputs, Metric, Misfit, Out, Port, Result, Share, ShareFile, Stage,
};
use repair::repair;
use rules::{Profile, Rule, Rules};
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
/// Dropped documents are in the output `dropped`, with shortened text, and `rule`, `value` and `threshold` in their
/// metadata. Metrics count them by rule (`dropped.<rule>`), as well as lines that were cut (`lines_cut.<rule>`) and
/// documents for which a rule was skipped because it has no threshold for their language (`skipped.<rule>`). A document
/// that has no text after cleaning is dropped by any profile (`dropped.no_text`).
///
/// The language of a text is detected by whatlang, or by the classifier in `needs.language_model`, which also tells languages
/// of short texts.
///
/// With `pii`, personal data and credentials are masked last, in all documents, kept or dropped: `<EMAIL_ADDRESS>`. They are
/// found by their form and check digits, also in code; metrics count them by kind (`pii.<kind>`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clean {
    /// Which rules apply, and how strict they are: `web`, `gopher`, `c4`, `fineweb`, `docs`, `code` or `none`. The
    /// default `web` suits crawled pages.
    pub profile: Profile,
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
            languages: Vec::new(),
            language_score_min: 0.5,
            disable: Vec::new(),
            thresholds: BTreeMap::new(),
            bad_words: Vec::new(),
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
/// What the metadata says about dropped documents.
const REASON: [&str; 3] = ["rule", "value", "threshold"];

impl Stage for Clean {
    const NAME: &'static str = "clean";
    /// History: 1: initial version. 2: layout, line ends and fences are kept; HTML is read as the standard says;
    /// formulas and tables keep their meaning; rules as published; languages that the detector does not know.
    /// 3: documents without text are dropped; sentences end in the marks of more scripts. 4: inline code keeps its backticks
    /// and spaces; cells stand in their columns, and items have the numbers of reversed lists; FineWeb's thresholds.
    /// 5: code in items stays within them; headings keep their level; formulas keep their groups; bytes without a
    /// meaning in single-byte encodings are control characters. 6: code: encoded data, code of others, secrets, and more marks
    /// of generated files.
    const REVISION: u32 = 6;
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
        let thresholds = self.thresholds.iter().filter_map(|(rule, &threshold)| {
            let path = format!("thresholds.{}", rule.name());
            match rule.is_share() {
                true => Misfit::unless((0.0..=1.0).contains(&threshold), &path, "must be from 0 to 1"),
                false => {
                    Misfit::unless(threshold >= 0.0 && threshold.is_finite(), &path, "must be 0 or more")
                }
            }
        });
        score.into_iter().chain(elements).chain(languages).chain(code).chain(thresholds).collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        let dropped: &[&str] = if output == DROPPED.name() { &REASON } else { &[] };
        facts_passed_on(inputs, PAGES, &[&NOTES[..], dropped].concat())
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_anything(inputs, PAGES).into_iter().collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let cleaner = Cleaner::new(self);
        let of_prose = if self.profile == Profile::Code { None } else { Some(cleaner.rules.active()) };
        let rules: BTreeSet<Rule> = cleaner.code.active().chain(of_prose.into_iter().flatten()).collect();
        let by_rule = rules.into_iter().flat_map(|rule| {
            let acts = if rule.cuts_lines() { lines_cut(rule) } else { dropped_by(rule.name()) };
            [acts, skipped(rule)]
        });
        let languages = (!self.languages.is_empty()).then(|| dropped_by(LANGUAGE));
        let languages = languages.into_iter().chain([dropped_by(NO_TEXT)]);
        let pages = Refusal::CODES.into_iter().map(|code| dropped_by(&page(code)));
        let fixed = METRICS.map(str::to_owned).into_iter().chain([of_language("*")]);
        let masked = self.pii.iter().map(|kind| masked(*kind));
        Some(fixed.chain(pages).chain(languages).chain(by_rule).chain(masked).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let model = ctx.optional(LANGUAGE_MODEL).map(|model| &model.entries);
        let model = model.and_then(|entries| entries.iter().find(|entry| is_model(&entry.name)));
        let shards = ctx.input(PAGES).shards().into_iter().map(|shard| shard.with(model.cloned()));
        let texts = ctx.each("texts", self, shards.collect(), clean_shard)?;
        if ctx.value(TEXTS.name()) == 0.0 {
            let reason = |metric: Metric| {
                let rule = metric.name.strip_prefix(DROPPED_BY)?;
                let reason = format!("dropped by `{rule}`, see the output `{}`", DROPPED.name());
                Some((metric.value as u64, reason))
            };
            none_left::warn(ctx, "no documents are left", ctx.metrics().into_iter().filter_map(reason));
        }
        ctx.output(TEXTS, texts.entries(TEXTS.name()))?;
        ctx.output(DROPPED, texts.entries(DROPPED.name()))
    }
}

fn clean_shard(clean: &Clean, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut cleaner = Cleaner::new(clean);
    let model = &inputs.item().entries()[1..];
    if !model.is_empty() {
        cleaner.detector = Detector::of_model(open(model_entry(model)?)?);
    }
    let mut scratch = Scratch::default();
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.rows()?;
    let mut texts = DocumentWriter::new(share.file(TEXTS.name())?)?;
    let mut dropped = DocumentWriter::new(share.file(DROPPED.name())?)?;
    let mut figures = Figures::default();
    for row in share.track("documents", rows) {
        let Cleaned { mut document, dropped: why, skipped, lines_cut } =
            cleaner.clean(row??.document, &mut scratch);
        cleaner.mask(&mut document, |kind| *figures.masked.entry(kind).or_default() += 1);
        lines_cut.into_iter().for_each(|(rule, lines)| *figures.lines_cut.entry(rule).or_default() += lines);
        skipped.into_iter().for_each(|rule| *figures.skipped.entry(rule).or_default() += 1);
        match why {
            None => {
                figures.characters += document.text.chars().count() as u64;
                *figures.languages.entry(document.language.clone()).or_default() += 1;
                texts.push(&document)?;
            }
            Some(why) => {
                *figures.dropped.entry(why.rule.clone()).or_default() += 1;
                dropped.push(&why.marked(document))?;
            }
        }
    }
    figures.report(share, texts.rows(), dropped.rows());
    keep(share, texts)?;
    keep(share, dropped)
}

/// A file without documents becomes no entry.
fn keep(share: &mut Share, writer: DocumentWriter<ShareFile>) -> Result<()> {
    if writer.rows() > 0 {
        share.keep(writer.finish()?)?;
    }
    Ok(())
}

#[derive(Default)]
struct Figures {
    characters: u64,
    languages: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    skipped: BTreeMap<Rule, u64>,
    lines_cut: BTreeMap<Rule, u64>,
    masked: BTreeMap<Pii, u64>,
}

impl Figures {
    fn report(self, share: &mut Share, kept: u64, dropped: u64) {
        share.counts(METRICS, [kept, self.characters, dropped]);
        self.dropped.into_iter().for_each(|(rule, count)| share.count(dropped_by(&rule), count));
        self.skipped.into_iter().for_each(|(rule, count)| share.count(skipped(rule), count));
        self.lines_cut.into_iter().for_each(|(rule, lines)| share.count(lines_cut(rule), lines));
        self.masked.into_iter().for_each(|(kind, count)| share.count(masked(kind), count));
        for (language, count) in self.languages {
            share.count(of_language(if language.is_empty() { "unknown" } else { &language }), count);
        }
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

/// Why a document is dropped, for its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    rule: String,
    value: String,
    threshold: String,
}

impl Reason {
    /// Marks a dropped document and shortens its text, which is only kept for inspection.
    fn marked(self, mut document: Document) -> Document {
        const TEXT_CHARACTERS: usize = 2000;
        if let Some((end, _)) = document.text.char_indices().nth(TEXT_CHARACTERS) {
            document.text.truncate(end);
        }
        let facts = [self.rule, self.value, self.threshold];
        document.metadata.extend(REASON.map(str::to_owned).into_iter().zip(facts));
        document
    }
}

/// A document after cleaning.
struct Cleaned {
    document: Document,
    dropped: Option<Reason>,
    skipped: Vec<Rule>,
    lines_cut: BTreeMap<Rule, u64>,
}

impl Cleaned {
    fn dropped(document: Document, rule: &str, value: String, threshold: String) -> Self {
        let dropped = Some(Reason { rule: rule.to_owned(), value, threshold });
        Self { document, dropped, skipped: Vec::new(), lines_cut: BTreeMap::new() }
    }
}

/// Cleans documents one at a time; the rules are prepared once.
struct Cleaner<'c> {
    clean: &'c Clean,
    rules: Rules,
    /// Rules for source code.
    code: Rules,
    limits: Limits,
    detector: Detector,
}

impl<'c> Cleaner<'c> {
    fn new(clean: &'c Clean) -> Self {
        let rules =
            Rules::new(clean.profile, &clean.disable, &clean.thresholds).with_bad_words(&clean.bad_words);
        let limits = Limits { nodes_max: clean.elements_max as usize, ..Limits::default() };
        // `ingest` has already checked that the file can be represented.
        let limits = Limits { bytes_max: crate::documents::DOCUMENT_BYTES_MAX, ..limits };
        Self { clean, code: rules.for_code(), rules, limits, detector: Detector::Whatlang }
    }

    fn clean(&self, mut document: Document, scratch: &mut Scratch) -> Cleaned {
        let mut declared = document.language.clone();
        let media_type = std::mem::take(&mut document.media_type);
        if let Some(html) = document.html.take() {
            let media_type = Some(media_type.as_str()).filter(|media_type| !media_type.is_empty());
            match extract(&html, media_type, self.limits) {
                Ok(page) => {
                    document.text = page.text;
                    if !page.language.is_empty() {
                        declared = page.language;
                    }
                    note(&mut document, NOTES[0], page.title);
                    if document.url.is_empty() {
                        document.url = page.canonical;
                    }
                }
                Err(refusal) => {
                    let rule = page(refusal.code());
                    let setting = match refusal {
                        Refusal::TooManyNodes(_) => ", the limit `elements_max`",
                        _ => "",
                    };
                    return Cleaned::dropped(document, &rule, format!("{refusal}{setting}"), String::new());
                }
            }
        }
        if is_code(&document) || self.clean.profile == Profile::Code {
            return self.code(document);
        }
        document.text = repair(&document.text);
        let detected = self.detector.detect(&document.text, scratch);
        let declared = canonical(&declared);
        document.language = self.detector.decide(detected, &declared, self.clean.language_score_min);
        note(&mut document, NOTES[1], declared);
        note(&mut document, NOTES[2], detected.map(|found| shown(found.score)).unwrap_or_default());
        let mut lines_cut = BTreeMap::new();
        if let Some(cut) = self.rules.cut_lines(&document.text, &document.language) {
            document.text = cut.text;
            lines_cut = cut.lines;
        }
        if !self.clean.languages.is_empty() && !self.clean.languages.contains(&document.language) {
            let known = Some(document.language.clone()).filter(|language| !language.is_empty());
            let value = known.unwrap_or_else(|| "unknown".to_owned());
            return Cleaned::dropped(document, LANGUAGE, value, self.clean.languages.join(","));
        }
        self.judged(&self.rules, document, lines_cut)
    }

    /// Masks personal data in what people read.
    fn mask(&self, document: &mut Document, mut count: impl FnMut(Pii)) {
        if self.clean.pii.is_empty() {
            return;
        }
        let title = document.metadata.get_mut(NOTES[0]);
        for text in std::iter::once(&mut document.text).chain(title) {
            if let std::borrow::Cow::Owned(masked) = pii::mask(text, &self.clean.pii, &mut count) {
                *text = masked;
            }
        }
    }

    /// Source code is kept as it is; only a byte order mark is removed.
    fn code(&self, mut document: Document) -> Cleaned {
        if let Some(text) = document.text.strip_prefix('\u{FEFF}') {
            document.text = text.to_owned();
        }
        self.judged(&self.code, document, BTreeMap::new())
    }

    fn judged(&self, rules: &Rules, document: Document, lines_cut: BTreeMap<Rule, u64>) -> Cleaned {
        let judgement = rules.judge_file(&document.id, &document.text, &document.language);
        let dropped = judgement.dropped.map(|verdict| Reason {
            rule: verdict.rule.name().to_owned(),
            value: shown(verdict.value),
            threshold: shown(verdict.threshold),
        });
        let is_blank = document.text.trim().is_empty();
        let no_text = || {
            let (value, threshold) = ("0".to_owned(), "1".to_owned());
            is_blank.then(|| Reason { rule: NO_TEXT.to_owned(), value, threshold })
        };
        let dropped = dropped.or_else(no_text);
        Cleaned { document, dropped, skipped: judgement.skipped, lines_cut }
    }
}

/// Whether `ingest` read a document as source code.
fn is_code(document: &Document) -> bool {
    document.metadata.get("format").is_some_and(|format| format == "code")
}

fn note(document: &mut Document, name: &str, fact: String) {
    if !fact.is_empty() {
        document.metadata.insert(name.to_owned(), fact);
    }
}

/// A number with at most four decimals.
fn shown(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
