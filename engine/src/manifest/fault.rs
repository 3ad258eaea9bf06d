//! Owns: the errors of a manifest and their texts. It does not depend on how they are found.

use crate::manifest::{
    source::{Position, Sources, Span},
    synonyms,
};
use miette::{Diagnostic, LabeledSpan};
use serde_json::json;
use std::fmt::{self, Display};

/// Stable names of errors; tests and users refer to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The text is not YAML, or uses features that manifests do not support: tags, several documents, keys that are
    /// not text.
    Syntax,
    /// Not UTF-8.
    InvalidEncoding,
    /// The manifest has too many bytes, values or levels.
    TooLarge,
    /// A key occurs twice in a mapping.
    DuplicateKey,
    /// The manifest, or one that it extends, cannot be read.
    UnreadableFile,
    /// Manifests extend each other in a cycle.
    ExtendsLoop,
    /// A `--set` is not `path.to.field=value`, or its path does not exist.
    BadSet,
    /// A `${…}` is not valid.
    BadInterpolation,
    /// `${vars.x}`, or a `--set` of it, without an `x` under `vars`.
    UnknownVariable,
    /// Variables refer to each other in a cycle.
    VariableLoop,
    /// `${env.NAME}` without a value or a default.
    UndefinedEnvironment,
    /// `${secret.NAME}` without a value.
    UndefinedSecret,
    /// The field does not exist here.
    UnknownField,
    /// The value is not one of the choices.
    UnknownVariant,
    /// A required field is missing.
    MissingField,
    /// The value has the wrong type, such as a list instead of a number.
    WrongType,
    /// The type is correct, but not the value: out of range, or in conflict with another field.
    InvalidValue,
    /// `version:` is a manifest version that this program does not support.
    UnsupportedVersion,
    /// A known feature that this version of the program does not support yet.
    Unsupported,
    /// `uses:` is not a known stage type.
    UnknownStageType,
    /// `needs`, a `--set` or a target names a stage that does not exist.
    UnknownStage,
    /// A stage has no such output.
    UnknownOutput,
    /// A stage has no such input.
    UnknownInput,
    /// An output has another kind than the input.
    WrongPortKind,
    /// `needs` names a stage without a port, and several ports are possible.
    AmbiguousNeed,
    /// An input that takes one stage is given several.
    TooManyInputs,
    /// A required input is missing.
    MissingInput,
    /// `${matrix.x}`, a list of axes, or a name in brackets refers to an axis that does not exist.
    UnknownAxis,
    /// No setting uses the values of an axis, so all stages along it would be the same.
    UnusedAxis,
    /// Stages to be matched have different values on an axis of the same name.
    AxisMismatch,
    /// `expect` names a metric that the stage did not report; found at the end of a run.
    UnknownMetric,
    /// Stages depend on each other in a cycle.
    Cycle,
    /// A source (files outside the cache) does not exist; reported by the planner.
    MissingSource,
    /// A device is not supported by this build or not present in this machine; reported by the planner.
    MissingDevice,
    /// Follows from an error that was already reported; never shown.
    Consequence,
}

impl Display for Code {
    /// Writes `UnknownField` as `pipe::manifest::unknown_field`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pipe::manifest::")?;
        for (index, letter) in format!("{self:?}").char_indices() {
            let word = if index > 0 && letter.is_uppercase() { "_" } else { "" };
            write!(f, "{word}{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// An error: message, place, and help.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its stable name.
    pub code: Code,
    message: String,
    label: String,
    place: Option<Span>,
    also: Vec<(Span, String)>,
    help: Option<String>,
    /// The unknown field, unless the help names the one that is meant.
    unknown: Option<String>,
}

impl Fault {
    /// Creates an error from its message and the label at its place.
    pub fn new(code: Code, message: impl AsRef<str>, label: impl AsRef<str>) -> Self {
        let (message, label) = (printable(message.as_ref()), printable(label.as_ref()));
        Self { code, message, label, place: None, also: vec![], help: None, unknown: None }
    }

    /// Replaces its code.
    pub fn coded(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Creates the error of a value for which an error was already reported.
    pub(crate) fn consequence() -> Self {
        Self::new(Code::Consequence, "", "")
    }

    /// Sets the place, unless it is set.
    pub fn at(mut self, span: Span) -> Self {
        self.place.get_or_insert(span);
        self
    }

    /// Adds a second place.
    pub fn also(mut self, span: Span, label: impl AsRef<str>) -> Self {
        self.also.push((span, printable(label.as_ref())));
        self
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.place, self.code, &self.message, &self.also)
            == (other.place, other.code, &other.message, &other.also)
    }

    /// Sets the help, unless it is set.
    pub fn help(mut self, help: impl AsRef<str>) -> Self {
        self.help.get_or_insert_with(|| printable(help.as_ref()));
        self
    }

    /// Suggests the known word nearest to the given one, or lists the known words.
    pub fn nearest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        const LISTED_MAX: usize = 24;
        let known: Vec<&str> = known.into_iter().filter(|known| known.len() <= 64).take(1000).collect();
        let listed = known[..known.len().min(LISTED_MAX)].join(", ");
        match nearest(word, &known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            None if known.len() > LISTED_MAX => {
                self.help(format!("known here: {listed} and {} more", known.len() - LISTED_MAX))
            }
            None => self.help(format!("known here: {listed}")),
        }
    }

    /// Creates the error for an unknown field; suggests the field that a name from other tools corresponds to,
    /// otherwise the nearest known field.
    pub(crate) fn unknown_field(word: &str, known: &[&str]) -> Self {
        let fault = Self::new(Code::UnknownField, format!("unknown field `{word}`"), "no such field");
        match synonyms::field(word, known) {
            Some(field) => fault.help(format!("did you mean `{field}`?")),
            None if word.starts_with("x-") => {
                fault.help("anchors that several stages share can be defined under `vars`")
            }
            None => Self { unknown: Some(word.to_owned()), ..fault.nearest(word, known.iter().copied()) },
        }
    }

    /// Suggests a field of another section for an unknown field; `known` contains paths such as `optimizer.lr`.
    pub(crate) fn look_elsewhere(mut self, known: impl FnOnce() -> Vec<String>) -> Self {
        let Some(word) = self.unknown.take() else { return self };
        if let Some(path) = synonyms::elsewhere(&word, &known()) {
            self.help = Some(format!("did you mean `{path}`?"));
        }
        self
    }
}

/// Finds the word that was probably meant: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect();
    let far_max = match word.chars().count() {
        1 => 0, // one letter is as near to any other
        letters => letters.div_ceil(3),
    };
    let distance = |known: &&'a str| (strsim::damerau_levenshtein(known, &word), *known);
    known.iter().map(distance).min().filter(|(far, _)| *far <= far_max).map(|(_, known)| known)
}

/// Shortens a text, and escapes control characters.
fn printable(text: &str) -> String {
    const LETTERS_MAX: usize = 1000;
    let mut out = String::with_capacity(text.len().min(4 * LETTERS_MAX));
    for letter in text.chars().take(LETTERS_MAX) {
        match letter {
            '\n' => out.push('\n'),
            letter if letter.is_control() => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    if text.chars().nth(LETTERS_MAX).is_some() {
        out.push('…');
    }
    out
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn code(&self) -> Option<Box<dyn Display + '_>> {
        Some(Box::new(self.code))
    }

    fn help(&self) -> Option<Box<dyn Display + '_>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |label: &str| Some(label.to_owned()).filter(|label| !label.is_empty());
        let place = self.place.map(|span| LabeledSpan::new_primary_with_span(label(&self.label), span));
        let also = self.also.iter().map(move |(span, text)| LabeledSpan::new_with_span(label(text), *span));
        Some(Box::new(place.into_iter().chain(also)))
    }
}

/// The errors of a manifest: the first `SHOWN_MAX` in full, the others as a number.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    shown: Vec<Fault>,
    more: usize,
    /// All that were added, including repeated ones.
    added: usize,
}

const SHOWN_MAX: usize = 50;

impl Faults {
    /// Adds an error, unless it was already added: the stages of a matrix share their errors.
    pub fn push(&mut self, fault: Fault) {
        if fault.code == Code::Consequence {
            return;
        }
        self.added += 1;
        match () {
            () if self.shown.iter().any(|told| told.is_same(&fault)) => {}
            () if self.is_full() => self.more += 1,
            () => self.shown.push(fault),
        }
    }

    /// What each of those that are shown says.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.shown.iter().map(|fault| fault.message.as_str())
    }

    /// Counts all that were added: a higher count later means that something was wrong in between.
    pub(crate) fn count(&self) -> usize {
        self.added
    }

    /// Returns a value, or adds its error.
    pub(crate) fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.push(fault)).ok()
    }

    /// Adds a suggestion to an error, if it will be shown: finding one takes much longer than counting an error.
    pub(crate) fn nearest<'a>(
        &self,
        fault: Fault,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Fault {
        if self.is_full() { fault } else { fault.nearest(word, known) }
    }

    /// Whether further errors are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.shown.len() >= SHOWN_MAX
    }

    /// Whether there are no errors.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

/// All errors, with the texts that they point into.
#[derive(Debug, Clone)]
pub struct Report {
    faults: Faults,
    sources: Sources,
}

impl Report {
    /// Sorts errors by their places.
    pub fn new(mut faults: Faults, sources: Sources) -> Self {
        for fault in &mut faults.shown {
            fault.place = fault.place.map(|span| sources.first_line(span));
            fault.also.iter_mut().for_each(|(span, _)| *span = sources.first_line(*span));
        }
        faults.shown.sort_by_key(|fault| fault.place.or(fault.also.first().map(|(span, _)| *span)));
        Self { faults, sources }
    }

    /// The errors that are shown in full.
    pub fn faults(&self) -> &[Fault] {
        &self.faults.shown
    }

    /// The errors with their texts, for miette's handlers.
    pub fn diagnostics(&self) -> impl Iterator<Item = impl Diagnostic + '_> {
        self.faults.shown.iter().map(|fault| Located { fault, sources: &self.sources })
    }

    /// All errors as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let position = |span: Span| {
            let Position { source, line, column } = self.sources.position(span)?;
            Some(json!({ "file": &*source, "line": line, "column": column }))
        };
        let place =
            |span: Option<Span>, label: &str| json!({ "at": span.and_then(position), "label": label });
        let fault = |fault: &Fault| {
            let also = fault.also.iter().map(|(span, label)| place(Some(*span), label));
            json!({
                "code": fault.code.to_string(),
                "message": fault.message,
                "place": place(fault.place, &fault.label),
                "also": also.collect::<Vec<_>>(),
                "help": fault.help,
            })
        };
        let faults: Vec<_> = self.faults.shown.iter().map(fault).collect();
        json!({ "version": 1, "errors": faults, "more": self.faults.more })
    }

    /// The number of errors as text.
    pub fn summary(&self) -> String {
        match (self.faults.shown.len() + self.faults.more, self.faults.more) {
            (1, _) => "1 error".into(),
            (all, 0) => format!("{all} errors"),
            (all, more) => format!("{all} errors, {more} of them not shown"),
        }
    }
}

/// Plain text, a few lines per error: `error: MESSAGE`, `  FILE:LINE:COLUMN: LABEL`, `  help: HELP`.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults.shown {
            writeln!(f, "error: {fault}")?;
            let place = fault.place.map(|span| (span, &fault.label));
            for (span, label) in
                place.into_iter().chain(fault.also.iter().map(|(span, label)| (*span, label)))
            {
                if let Some(Position { source, line, column }) = self.sources.position(span) {
                    writeln!(f, "  {source}:{line}:{column}: {label}")?;
                }
            }
            if let Some(help) = &fault.help {
                writeln!(f, "  help: {help}")?;
            }
        }
        f.write_str(&self.summary())
    }
}

impl std::error::Error for Report {}

/// An error with the texts that its spans point into.
#[derive(Debug)]
struct Located<'a> {
    fault: &'a Fault,
    sources: &'a Sources,
}

impl Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for Located<'_> {}

impl Diagnostic for Located<'_> {
    fn code(&self) -> Option<Box<dyn Display + '_>> {
        self.fault.code()
    }

    fn help(&self) -> Option<Box<dyn Display + '_>> {
        Diagnostic::help(self.fault)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.fault.labels()
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self.sources)
    }
}
