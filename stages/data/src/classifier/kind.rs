//! Classifiers as the engine sees them: a fastText model and, if it was trained here, what it is worth.

use pipe_linear::{Loss, Model, ModelError};
use pipe_stage::{Error, Kind, LocalEntry, Result};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::counted::counted;

/// File name of a trained model.
pub const MODEL_BIN: &str = "model.bin";
/// File name of the figures of a trained model.
pub const REPORT_JSON: &str = "report.json";

/// Linear classifiers of text.
pub static CLASSIFIER: Kind = Kind {
    look,
    check: |entries| model_entry(entries).and_then(open).map(drop),
    ..Kind::files(
        "classifier",
        "A linear classifier of text: a fastText model (.bin or .ftz), and report.json.",
    )
};

/// The entry with the model.
///
/// # Errors
/// If there is none, or more than one.
pub(crate) fn model_entry(entries: &[LocalEntry]) -> Result<&LocalEntry> {
    let mut models = entries.iter().filter(|entry| is_model(entry.name()));
    match (models.next(), models.next()) {
        (Some(model), None) => Ok(model),
        (None, _) => Err(Error::input("the classifier has no file that ends in `.bin` or `.ftz`")
            .help("write a supervised fastText model, such as `model.bin`")),
        (Some(_), Some(other)) => {
            Err(Error::input(format!("the classifier has a second model, `{}`", other.name())))
        }
    }
}

pub(crate) fn is_model(name: &str) -> bool {
    name.ends_with(".bin") || name.ends_with(".ftz")
}

/// The error of a model that cannot be read.
pub(crate) fn unreadable(name: &str, error: &ModelError) -> Error {
    let message = match std::error::Error::source(error) {
        Some(source) => format!("cannot use `{name}`: {error}: {source}"),
        None => format!("cannot use `{name}`: {error}"),
    };
    Error::input(message).help("supported are supervised models of fastText, as `.bin` or `.ftz`")
}

/// Reads a model. Tasks that run at the same time share one copy, since models may be larger than the shards.
pub(crate) fn open(entry: &LocalEntry) -> Result<Arc<Model>> {
    static LAST: Mutex<Option<(pipe_stage::Digest, Weak<Model>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = last.as_ref().filter(|(digest, _)| *digest == entry.digest())
        && let Some(model) = model.1.upgrade()
    {
        return Ok(model);
    }
    let mut stream = entry.stream()?;
    let model = Model::read(&mut stream, entry.size());
    stream.finish()?; // a damaged file is reported as such, whatever was read from it
    let model = Arc::new(model.map_err(|error| unreadable(entry.name(), &error))?);
    *last = Some((entry.digest(), Arc::downgrade(&model)));
    Ok(model)
}

/// Describes the model, its labels and its figures.
fn look(entries: &[LocalEntry], lines_max: usize) -> Result<String> {
    let model = open(model_entry(entries)?)?;
    let loss = match model.loss() {
        Loss::Softmax => "softmax",
        Loss::HierarchicalSoftmax => "hierarchical softmax",
        Loss::OneVsAll => "one label at a time",
        Loss::NegativeSampling => "negative sampling",
    };
    let (labels, words) = (model.labels().len() as u64, model.dictionary().words() as u64);
    let dimension = model.dimension();
    let (labels, words) = (counted(labels, "label"), counted(words, "word"));
    let mut text = format!("{labels}, {words}, dimension {dimension}, {loss}\n");
    let report = entries.iter().find(|entry| entry.name() == REPORT_JSON);
    let report = report.map(LocalEntry::bytes).transpose()?;
    let report = report.and_then(|json| serde_json::from_slice::<super::report::Report>(&json).ok());
    let lines = match report {
        Some(report) => report.lines(),
        None => model.labels().iter().map(|label| format!("  {}", printable(label))).collect(),
    };
    for line in lines.iter().take(lines_max.saturating_sub(1)) {
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// A label for a terminal.
pub(crate) fn printable(label: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    label.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect()
}
