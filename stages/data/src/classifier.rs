//! Owns: which classifier a pipeline uses: a trained one or an existing one, and what it is worth. The method is in
//! `pipe-linear`. Nothing here depends on threads, caches or the manifest.

pub mod kind;

mod report;

use std::collections::{BTreeMap, BTreeSet};

use pipe_linear::{Loss, Model, Ngrams, Settings, Trainer, Vocabulary};
use pipe_stage::{
    Code, Context, Error, FILES, In, InputItem, Inputs, Item, KnownInputs, Links, Metric, Misfit, Name, Out,
    Places, Port, Result, Share, SourceFile, SourceRequest, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::documents::{
    Column, DOCUMENTS, DocumentReader, Fact, METADATA_HELP, Row, columns_of_facts, is_field, lacks_text,
    missing_metadata,
};
use crate::lines::write_buffered;
pub use kind::{CLASSIFIER, MODEL_BIN, REPORT_JSON};
pub(crate) use kind::{is_model, model_entry, open, printable, unreadable};
use report::{LeftOut, Report};

/// Trains a classifier of texts on labelled documents, or uses an existing fastText model.
///
/// The model is linear, on hashed n-grams of words and characters, by the method of fastText. It learns quality,
/// toxicity, topics or languages from some hundred documents of each label; about a million words per second. A document's
/// label is a fact about it (`label`), or the name that its stage has in `needs.documents`.
///
/// Documents that are held out measure the model: precision, recall and F1 of each label, and how true its probabilities
/// are. The scores are scaled so that they are. The model is a file of fastText (`model.bin`) that fastText reads too;
/// `report.json` has the figures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierStage {
    /// Path of an existing supervised fastText model (`.bin` or `.ftz`), relative to the project, which is used
    /// unchanged. The other fields apply only to training and are errors beside a path.
    pub from: Option<String>,
    /// The fact about a document that is its label: a name in its metadata, an added column, or `language` or `source`.
    /// Without it, `needs.documents` is a map, and its keys are the labels.
    pub label: Option<String>,
    /// What separates the labels of a document that may have several, such as `,`. Each label then has a probability of its
    /// own. By default, a document has one label.
    pub separator: Option<String>,
    /// Labels to learn. Documents with other labels only are not used. Empty, the default, learns all.
    pub labels: Vec<String>,
    /// Minimum number of training documents of a label, at least 1. Labels with fewer are left out and reported; those that
    /// `labels` names are an error. The default is 20.
    pub documents_min: u64,
    /// Number of characters of a document that are used, from its beginning. The default is 2,000.
    pub characters: u32,
    /// Length of the vectors of words and labels, 1 to 1,024. The default 16 suits up to some hundred labels.
    pub dimension: u32,
    /// Number of times that each document is used, 1 to 1,000. The default is 5.
    pub epochs: u32,
    /// Learning rate at the beginning, above 0 and up to 10; it falls linearly to 0. The default is 0.5.
    pub learning_rate: f64,
    /// Longest n-gram of words, 1 to 8. The default 2 uses words and pairs of words.
    pub word_ngrams: u32,
    /// Shortest n-gram of characters, 1 to 16.
    pub character_ngrams_min: u32,
    /// Longest n-gram of characters, up to 16; 0, the default, uses none. Languages and misspelt words need them: 1 to 4.
    pub character_ngrams_max: u32,
    /// Number of vectors that n-grams share, 1 to 16,777,216. The default is 262,144; a model has 4 × `dimension` bytes for
    /// each.
    pub buckets: u32,
    /// Minimum number of occurrences of a word to have a vector of its own. The default is 2.
    pub count_min: u64,
    /// Share of the documents that are held out to measure and calibrate the model, above 0 and below 1, by their ids. The
    /// default is 0.1. Not used with `needs.validation`.
    pub held_out: f64,
    /// Determines the weights at the beginning, the order of documents, and which are held out.
    pub seed: u64,
}

impl Default for ClassifierStage {
    fn default() -> Self {
        Self {
            from: None,
            label: None,
            separator: None,
            labels: Vec::new(),
            documents_min: 20,
            characters: 2000,
            dimension: 16,
            epochs: 5,
            learning_rate: 0.5,
            word_ngrams: 2,
            character_ngrams_min: 1,
            character_ngrams_max: 0,
            buckets: 1 << 18,
            count_min: 2,
            held_out: 0.1,
            seed: 0,
        }
    }
}

const INPUT: In = In::new(
    "documents",
    &DOCUMENTS,
    "Labelled documents, or a map of labels to documents; not used with `from`.",
)
.many()
.optional();
const VALIDATION: In = In::new(
    "validation",
    &DOCUMENTS,
    "Documents that measure the model, labelled as `documents` are; by default some of them are held out.",
)
.many()
.optional();
const MODEL: Out = Out::main("model", &CLASSIFIER, "model.bin, in fastText's format, and report.json.");
const REPORT: Out = Out::new("report", &FILES, "report.json: figures of the held-out documents.");

const METRICS: [&str; 5] = ["documents", "held_out", "labels", "labels_left_out", "unlabelled"];
const FIGURES: [&str; 3] = ["accuracy", "macro_f1", "calibration_error"];
/// Of models with more labels, only the report has the figures of each.
const LABELS_REPORTED_MAX: usize = 32;
/// With fewer held-out documents, scores are not scaled: the factor would be accidental.
const CALIBRATION_MIN: u64 = 40;
/// Maximum size of a label.
const LABEL_BYTES_MAX: usize = 256;
/// Labels of one model.
const LABELS_MAX: usize = 10_000;

impl Stage for ClassifierStage {
    const NAME: &'static str = "classifier";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[INPUT.port(), VALIDATION.port(), MODEL.port(), REPORT.port()];

    fn check(&self) -> Vec<Misfit> {
        if self.from.is_some() {
            return self.idle_beside_from();
        }
        let rate = self.learning_rate > 0.0 && self.learning_rate <= 10.0;
        let held_out = self.held_out > 0.0 && self.held_out < 1.0;
        let (min, max) = (self.character_ngrams_min, self.character_ngrams_max);
        let distinct = self.labels.iter().collect::<BTreeSet<_>>().len() == self.labels.len();
        let separator = self.separator.as_ref().is_none_or(|separator| !separator.is_empty());
        let label = self.label.as_ref().is_none_or(|label| !label.is_empty());
        let one = !self.labels.is_empty() && self.labels.len() < 2 && self.separator.is_none();
        let faults = [
            Misfit::unless(label, "label", "must not be empty"),
            Misfit::unless(separator, "separator", "must not be empty"),
            Misfit::unless(distinct, "labels", "contains a label twice"),
            Misfit::unless(!one, "labels", "must have at least two, of which a document has one"),
            Misfit::unless(self.documents_min > 0, "documents_min", "must be at least 1"),
            Misfit::unless(self.characters > 0, "characters", "must be at least 1"),
            Misfit::unless((1..=1024).contains(&self.dimension), "dimension", "must be from 1 to 1024"),
            Misfit::unless((1..=1000).contains(&self.epochs), "epochs", "must be from 1 to 1000"),
            Misfit::unless(rate, "learning_rate", "must be above 0 and at most 10"),
            Misfit::unless((1..=8).contains(&self.word_ngrams), "word_ngrams", "must be from 1 to 8"),
            Misfit::unless((1..=16).contains(&min), "character_ngrams_min", "must be from 1 to 16"),
            Misfit::unless(
                max == 0 || (min..=16).contains(&max),
                "character_ngrams_max",
                format!("must be 0, or from {min} to 16"),
            ),
            Misfit::unless((1..=1 << 24).contains(&self.buckets), "buckets", "must be from 1 to 16777216"),
            Misfit::unless(self.count_min > 0, "count_min", "must be at least 1"),
            Misfit::unless(held_out, "held_out", "must be above 0 and below 1"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn check_inputs(&self, connected: &[&str]) -> Vec<Misfit> {
        let has_documents = connected.contains(&INPUT.name()) || connected.contains(&VALIDATION.name());
        match &self.from {
            None if !connected.contains(&INPUT.name()) => {
                let fault = "neither this nor the input `documents` is given";
                vec![Misfit::new("from", fault).help("add `documents` to `needs`, or set `from`")]
            }
            Some(_) if has_documents => {
                let fault = "an existing model is not trained on `documents`";
                vec![Misfit::new("from", fault).help("remove the documents from `needs`, or remove `from`")]
            }
            _ => Vec::new(),
        }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let name = self.label.as_deref().filter(|name| !is_field(name));
        let missing = |port| name.and_then(|name| missing_metadata(inputs, port, name));
        let missing = [INPUT, VALIDATION].into_iter().find_map(missing);
        let missing = missing.map(|message| Misfit::new("label", message).help(METADATA_HELP));
        let unnamed = self.from.is_none()
            && self.label.is_none()
            && [INPUT, VALIDATION]
                .into_iter()
                .any(|port| inputs.of(port).iter().any(|input| input.label.is_empty()));
        let unnamed = unnamed.then(|| {
            Misfit::new("label", "is not given, and neither does `needs` name the labels").help(
                "name a fact of the documents, or write `needs` as a map: `documents: {good: a, bad: b}`",
            )
        });
        let texts = [INPUT, VALIDATION].into_iter().filter_map(|port| lacks_text(inputs, port));
        texts.chain(missing).chain(unnamed).collect()
    }

    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        let Some(from) = &self.from else { return Ok(Vec::new()) };
        let path = places.project.join(from);
        if path.exists() && !path.is_file() {
            return Err(vec![Misfit::new("from", format!("`{from}` is not a regular file"))]);
        }
        let (Some(folder), Some(file)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(vec![Misfit::new("from", format!("`{from}` is not the path of a file"))]);
        };
        Ok(vec![SourceRequest {
            source: "classifier".into(),
            root: folder.to_owned(),
            include: vec![file.to_owned()],
            exclude: Vec::new(),
            links: Links::EveryName,
            field: "from".into(),
            help: Some("give the path of a fastText model, relative to the project".into()),
            pin: None,
        }])
    }

    /// Reads models that take little time; others are read by the run.
    fn preview(&self, _: &Places, sources: &[SourceFile]) -> Vec<Misfit> {
        const PREVIEW_BYTES_MAX: u64 = 16 << 20;
        let Some(source) = sources.first().filter(|source| source.size <= PREVIEW_BYTES_MAX) else {
            return Vec::new();
        };
        // A file that cannot be opened is reported by the run.
        let Some(Ok(file)) = source.path().map(std::fs::File::open) else { return Vec::new() };
        match Model::read(file, source.size) {
            Ok(_) => Vec::new(),
            Err(error) => vec![Misfit::of_error("from", &unreadable(&source.name, &error))],
        }
    }

    /// Texts in memory, and the vectors of words and n-grams.
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        Some(f64::from(self.buckets) * f64::from(self.dimension) * 4.0 + 2.0 * inputs.bytes()? as f64)
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        if self.from.is_some() {
            return Some(vec!["labels".into()]);
        }
        let of_labels = ["precision.*", "recall.*", "f1.*"];
        let fixed = METRICS.iter().chain(&FIGURES).chain(&of_labels);
        Some(fixed.map(|name| (*name).to_owned()).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let made = if self.from.is_some() {
            let sources = Item::of_sources("model", ctx.sources().to_vec());
            ctx.once("adopt", &(), vec![sources], adopt)?
        } else {
            let sets = [INPUT, VALIDATION].map(|port| ctx.many(port));
            let items = sets.iter().flat_map(|set| set.iter()).map(|input| input.artifact.item(&input.label));
            let labels = sets[0].iter().chain(sets[1]).map(|input| input.label.clone()).collect();
            let training = Training { settings: self.clone(), labels, train: sets[0].len() };
            ctx.once("train", &training, items.collect(), train)?
        };
        ctx.output(MODEL, made.entries(MODEL.name()))?;
        ctx.output(REPORT, made.entries(REPORT.name()))
    }
}

impl ClassifierStage {
    /// Settings that apply only to training, set when nothing is trained.
    fn idle_beside_from(&self) -> Vec<Misfit> {
        let own = serde_json::to_value(self).unwrap_or_default();
        let default = serde_json::to_value(Self::default()).unwrap_or_default();
        let fields = own.as_object().into_iter().flatten();
        fields
            .filter(|(field, value)| *field != "from" && default.get(field) != Some(value))
            .map(|(field, _)| {
                Misfit::new(field, "has no effect beside `from`")
                    .help(format!("remove `{field}`, or remove `from` to train a classifier"))
            })
            .collect()
    }

    /// The labels of a document; none if it is not labelled.
    fn labels_of(&self, row: &Row, of_input: &str) -> Result<Vec<String>> {
        let fact = self.label.as_deref().map(|name| row.fact(name));
        let value = match fact {
            Some(fact) => fact.map(Fact::text).unwrap_or_default(),
            None => of_input.into(),
        };
        let parts: Vec<&str> = match self.separator.as_deref().filter(|_| self.label.is_some()) {
            Some(separator) => value.split(separator).collect(),
            None => vec![&value],
        };
        let labels: BTreeSet<&str> =
            parts.into_iter().map(str::trim).filter(|label| !label.is_empty()).collect();
        if labels.iter().any(|label| label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control)) {
            let message =
                format!("the label of document `{}` is not a few words on one line", row.document.id);
            return Err(Error::input(message).help("see `label` and `separator`"));
        }
        Ok(labels.into_iter().map(str::to_owned).collect())
    }

    /// Whether a document is held out, by its id.
    fn is_held_out(&self, id: &str) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(id.as_bytes());
        let bytes = hasher.finalize();
        let number = u64::from_le_bytes(std::array::from_fn(|at| bytes.as_bytes()[at]));
        // 53 bits are exact as a number from 0 to 1.
        ((number >> 11) as f64) < self.held_out * (1_u64 << 53) as f64
    }
}

/// The settings that determine a model, with the labels of the inputs.
#[derive(Debug, Serialize, JsonSchema)]
struct Training {
    settings: ClassifierStage,
    /// By item.
    labels: Vec<String>,
    /// Number of items to train on; the rest are for validation.
    train: usize,
}

/// A labelled text.
struct Example {
    text: String,
    labels: Vec<String>,
}

/// The beginning of a text.
pub(crate) fn beginning(text: &str, characters: u32) -> &str {
    text.char_indices().nth(characters as usize).map_or(text, |(end, _)| &text[..end])
}

/// A label and its number of documents.
type Counted = (String, u64);

/// What the documents of all inputs are.
#[derive(Default)]
struct Corpus {
    train: Vec<Example>,
    held_out: Vec<Example>,
    unlabelled: u64,
    empty: u64,
}

impl Corpus {
    fn read(training: &Training, inputs: &Inputs, share: &Share) -> Result<Self> {
        let mut corpus = Self::default();
        for (number, (item, label)) in inputs.items().iter().zip(&training.labels).enumerate() {
            corpus.read_item(training, item, label, number >= training.train, share)?;
        }
        Ok(corpus)
    }

    fn read_item(
        &mut self,
        Training { settings, labels, train }: &Training,
        item: &InputItem,
        label: &str,
        is_validation: bool,
        share: &Share,
    ) -> Result<()> {
        let has_validation = *train < labels.len();
        let mut columns = columns_of_facts(settings.label.as_deref());
        columns.push(Column::Text);
        for entry in item.entries() {
            let rows = DocumentReader::of_entry(entry)?.columns(&columns).rows()?;
            for row in share.track("documents", rows) {
                let row = row??;
                let labels = settings.labels_of(&row, label)?;
                let text = beginning(&row.document.text, settings.characters);
                if labels.is_empty() {
                    self.unlabelled += 1;
                } else if text.trim().is_empty() {
                    self.empty += 1;
                } else {
                    let example = Example { text: text.to_owned(), labels };
                    let held_out =
                        is_validation || (!has_validation && settings.is_held_out(&row.document.id));
                    if held_out { self.held_out.push(example) } else { self.train.push(example) }
                }
            }
        }
        Ok(())
    }

    /// The labels to learn with their numbers of documents, and those with too few.
    fn labels(&self, settings: &ClassifierStage) -> Result<(Vec<Counted>, Vec<LeftOut>)> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        counts.extend(settings.labels.iter().map(|label| (label.as_str(), 0)));
        for label in self.train.iter().flat_map(|example| &example.labels) {
            match counts.get_mut(label.as_str()) {
                Some(count) => *count += 1,
                None if settings.labels.is_empty() => drop(counts.insert(label, 1)),
                None => {}
            }
        }
        let min = settings.documents_min;
        let (kept, few): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(_, count)| *count >= min);
        let kept: Vec<Counted> = kept.into_iter().map(|(label, count)| (label.to_owned(), count)).collect();
        if let Some((label, count)) = few.first().filter(|_| !settings.labels.is_empty()) {
            let message = format!("the label `{label}` has {count} training documents, fewer than {min}");
            return Err(Error::input(message)
                .help("add documents, remove it from `labels`, or lower `documents_min`"));
        }
        let needed = if settings.separator.is_some() { 1 } else { 2 };
        if kept.len() < needed {
            let (found, left) = (kept.len(), few.len());
            let message = format!(
                "{found} labels have at least {min} training documents, {left} have fewer; {needed} are needed"
            );
            return Err(Error::input(message).help("add documents, lower `documents_min`, or see `label`"));
        }
        if kept.len() > LABELS_MAX {
            let message = format!("the documents have {} labels, more than {LABELS_MAX}", kept.len());
            return Err(Error::input(message).help("see `label`, or raise `documents_min`"));
        }
        let left_out = |(label, documents): (&str, u64)| LeftOut { label: label.to_owned(), documents };
        Ok((kept, few.into_iter().map(left_out).collect()))
    }
}

/// Trains, calibrates and measures a model.
fn train(training: &Training, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let settings = &training.settings;
    let corpus = Corpus::read(training, inputs, share)?;
    let (labels, left_out) = corpus.labels(settings)?;
    let Corpus { train, mut held_out, unlabelled, empty } = corpus;
    let is_known = |label: &String| labels.binary_search_by(|(known, _)| known.cmp(label)).is_ok();

    let mut vocabulary = Vocabulary::default();
    let used: Vec<&Example> = train.iter().filter(|example| example.labels.iter().any(is_known)).collect();
    for example in &used {
        vocabulary.add(&example.text);
    }
    let ngrams = Ngrams {
        words: settings.word_ngrams,
        characters_min: settings.character_ngrams_min,
        characters_max: settings.character_ngrams_max,
        buckets: settings.buckets,
    };
    let dictionary = vocabulary.dictionary(ngrams, settings.count_min, &labels);
    let places: BTreeMap<String, u32> = dictionary.label_names().iter().cloned().zip(0..).collect();
    let places_of = |example: &Example| -> Vec<u32> {
        example.labels.iter().filter_map(|label| places.get(label).copied()).collect()
    };
    let loss = if settings.separator.is_some() { Loss::OneVsAll } else { Loss::Softmax };
    let method = Settings {
        dimension: settings.dimension as usize,
        epochs: settings.epochs,
        learning_rate: settings.learning_rate as f32,
        loss,
        seed: settings.seed,
    };
    let mut trainer = Trainer::new(method, dictionary);
    used.iter().for_each(|example| trainer.add(&example.text, &places_of(example)));
    let documents = trainer.texts() as u64;
    drop(train);
    let total = documents * u64::from(settings.epochs);
    let model = trainer.train(|done| {
        share.progress("texts", done, total);
        share.check_stop().is_ok()
    });
    drop(trainer);
    let mut model = model.ok_or(Error::Interrupted)?;

    held_out.retain(|example| example.labels.iter().any(is_known));
    let places: Vec<Vec<u32>> = held_out.iter().map(places_of).collect();
    let measured = held_out.len() as u64;
    // One half of the held-out documents calibrates, the other says how good that was.
    let texts = |half: Option<usize>| {
        let pairs = held_out.iter().zip(&places).enumerate();
        let own = pairs.filter(move |(number, _)| half.is_none_or(|half| number % 2 == half));
        own.map(|(_, (example, places))| (example.text.as_str(), &places[..]))
    };
    let sharpness = (measured >= CALIBRATION_MIN).then(|| model.calibrate(texts(Some(0))));
    let mut figures = model.evaluate(texts(None));
    if sharpness.is_some() {
        let other = model.evaluate(texts(Some(1)));
        (figures.calibration_error, figures.bins) = (other.calibration_error, other.bins);
    } else {
        share.note(format!(
            "warning: {measured} documents are held out, fewer than {CALIBRATION_MIN}: probabilities are not \
             calibrated, and the figures are rough"
        ));
    }
    let counts = [documents, measured, labels.len() as u64, left_out.len() as u64, unlabelled];
    share.counts(METRICS, counts);
    report_figures(&figures, share);
    let report = Report {
        version: 1,
        train: documents,
        held_out: measured,
        unlabelled,
        empty,
        left_out,
        sharpness,
        figures,
    };
    let mut file = share.named(MODEL.name(), MODEL_BIN)?;
    write_buffered(&mut file, |file| model.write(file).map(drop))?;
    share.keep(file)?;
    let mut json = serde_json::to_vec_pretty(&report).expect("invariant: a report is plain data");
    json.push(b'\n');
    share.write(MODEL.name(), REPORT_JSON, &json)?;
    share.write(REPORT.name(), REPORT_JSON, &json)?;
    Ok(())
}

fn report_figures(figures: &pipe_linear::Report, share: &mut Share) {
    let [accuracy, macro_f1, calibration_error] = FIGURES;
    share.metric(Metric::new(accuracy, figures.accuracy, "").higher_is_better());
    share.metric(Metric::new(macro_f1, figures.macro_f1, "").higher_is_better());
    share.metric(Metric::new(calibration_error, figures.calibration_error, "").lower_is_better());
    if figures.labels.len() <= LABELS_REPORTED_MAX {
        for label in &figures.labels {
            let values = [("precision", label.precision), ("recall", label.recall), ("f1", label.f1)];
            for (name, value) in values {
                share.metric(Metric::new(format!("{name}.{}", label.label), value, "").higher_is_better());
            }
        }
    }
}

/// Checks an existing model and takes it over.
fn adopt(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entry =
        inputs.item().entries().first().ok_or_else(|| Error::input("the model of `from` is missing"))?;
    let model = open(entry)?;
    let extension = if entry.name().ends_with(".ftz") { "ftz" } else { "bin" };
    let labels = model.labels().len() as u64;
    drop(model);
    share.import(MODEL.name(), Name::Own(format!("model.{extension}")), &entry.path()?)?;
    share.count("labels", labels);
    Ok(())
}

#[cfg(test)]
mod tests;
