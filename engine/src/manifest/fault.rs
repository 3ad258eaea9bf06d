//! Owns: what is wrong with a manifest, told so that it can be mended. Knows not how it was found.

use crate::manifest::{
    source::{Position, Sources, Span},
    synonyms,
};
use miette::{Diagnostic, LabeledSpan};
use serde_json::json;
use std::fmt::{self, Display};

/// Stable names of faults; tests and users refer to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The text is not YAML, or uses what manifests do not: tags, several documents, keys that are no text.
    Syntax,
    /// Not UTF-8.
    InvalidEncoding,
    /// More bytes, values or levels than a manifest may have.
    TooLarge,
    /// A key stands twice in one mapping.
    DuplicateKey,
    /// The manifest, or one that it extends, cannot be read.
    UnreadableFile,
    /// Manifests extend each other in a loop.
    ExtendsLoop,
    /// A `--set` that is not `path.to.field=value`, or whose path leads nowhere.
    BadSet,
    /// A `${…}` that means nothing.
    BadInterpolation,
    /// `${vars.x}`, or a `--set` of it, without an `x` under `vars`.
    UnknownVariable,
    /// Variables refer to each other in a loop.
    VariableLoop,
    /// `${env.NAME}` without a value or a default.
    UndefinedEnvironment,
    /// `${secret.NAME}` without a value or a default.
    UndefinedSecret,
    /// No such field here.
    UnknownField,
    /// Not one of the choices.
    UnknownVariant,
    /// A field that has no default is not there.
    MissingField,
    /// A list where a number belongs, and the like.
    WrongType,
    /// Right in type but not in value: out of range, or at odds with another field.
    InvalidValue,
    /// `version:` names a form of manifest that this program does not read.
    UnsupportedVersion,
    /// Known, but not yet to this version of the program.
    Unsupported,
    /// `uses:` names no stage type.
    UnknownStageType,
    /// `needs`, a `--set` or a target names no stage.
    UnknownStage,
    /// A stage has no such output.
    UnknownOutput,
    /// A stage has no such input.
    UnknownInput,
    /// An output of one kind stands where another is needed.
    WrongPortKind,
    /// A stage stands in `needs` without its port, and several would do.
    AmbiguousNeed,
    /// One input, several stages.
    TooManyInputs,
    /// An input that a stage cannot do without is not given.
    MissingInput,
    /// `${matrix.x}`, a list of axes, or a name in brackets, without such an axis.
    UnknownAxis,
    /// No setting has the values of an axis, so that all stages along it would be one.
    UnusedAxis,
    /// Stages that meet have different values on an axis of one name.
    AxisMismatch,
    /// `expect` names a figure that the stage did not report; told at the end of a run.
    UnknownMetric,
    /// Stages need each other in a circle.
    Cycle,
    /// A source (files outside the cache) that is not there; reported by the planner.
    MissingSource,
    /// A device that is not in this build or not in this machine; reported by the planner.
    MissingDevice,
    /// A value already reported; never shown.
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

/// One fault: what, where, and what now.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its stable name.
    pub code: Code,
    message: String,
    label: String,
    place: Option<Span>,
    also: Vec<(Span, String)>,
    help: Option<String>,
    /// The field that nobody knows, unless the help names the one that is meant.
    unknown: Option<String>,
}

impl Fault {
    /// Makes a fault from its message and the label at its place.
    pub fn new(code: Code, message: impl AsRef<str>, label: impl AsRef<str>) -> Self {
        let (message, label) = (printable(message.as_ref()), printable(label.as_ref()));
        Self { code, message, label, place: None, also: vec![], help: None, unknown: None }
    }

    /// Gives it another code, where the finder knows more than the maker.
    pub fn coded(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Makes the fault of a value that has been reported already.
    pub(crate) fn consequence() -> Self {
        Self::new(Code::Consequence, "", "")
    }

    /// Sets the place, unless someone nearer to the fault has.
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

    /// Says what to do, unless someone who knew more has.
    pub fn help(mut self, help: impl AsRef<str>) -> Self {
        self.help.get_or_insert_with(|| printable(help.as_ref()));
        self
    }

    /// Suggests the known word nearest to the one written, or lists what is known.
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

    /// Makes the fault of an unknown field; suggests the one that a name from other tools stands for, else the
    /// nearest of those that are known.
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

    /// Suggests a field of another section for an unknown one; `known` are paths such as `optimizer.lr`.
    pub(crate) fn look_elsewhere(mut self, known: impl FnOnce() -> Vec<String>) -> Self {
        let Some(word) = self.unknown.take() else { return self };
        if let Some(path) = synonyms::elsewhere(&word, &known()) {
            self.help = Some(format!("did you mean `{path}`?"));
        }
        self
    }
}

/// Finds the word that was probably meant: within a third of its length in typing errors.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect();
    let far_max = match word.chars().count() {
        1 => 0, // one letter is as near to any other
        letters => letters.div_ceil(3),
    };
    let distance = |known: &&'a str| (strsim::damerau_levenshtein(known, &word), *known);
    known.iter().map(distance).min().filter(|(far, _)| *far <= far_max).map(|(_, known)| known)
}

/// Shortens a text, and escapes what a terminal would obey.
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

/// The faults of one manifest: the first `SHOWN_MAX` in full, the rest as a number.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    shown: Vec<Fault>,
    more: usize,
    /// All that were added, those that had been told before too.
    added: usize,
}

const SHOWN_MAX: usize = 50;

impl Faults {
    /// Adds a fault, unless it has been told: the stages of a matrix share their faults.
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

    /// Counts all that were added: a later count that is higher says that something was wrong in between.
    pub(crate) fn count(&self) -> usize {
        self.added
    }

    /// Takes a value, or adds the fault that stands for it.
    pub(crate) fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.push(fault)).ok()
    }

    /// Adds a suggestion to a fault, if it will be shown: to find one costs far more than to count a fault.
    pub(crate) fn nearest<'a>(
        &self,
        fault: Fault,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Fault {
        if self.is_full() { fault } else { fault.nearest(word, known) }
    }

    /// Says whether further faults are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.shown.len() >= SHOWN_MAX
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

/// All faults with the texts they point into.
#[derive(Debug, Clone)]
pub struct Report {
    faults: Faults,
    sources: Sources,
}

impl Report {
    /// Puts faults in the order of their places.
    pub fn new(mut faults: Faults, sources: Sources) -> Self {
        for fault in &mut faults.shown {
            fault.place = fault.place.map(|span| sources.first_line(span));
            fault.also.iter_mut().for_each(|(span, _)| *span = sources.first_line(*span));
        }
        faults.shown.sort_by_key(|fault| fault.place.or(fault.also.first().map(|(span, _)| *span)));
        Self { faults, sources }
    }

    /// The faults that are told in full.
    pub fn faults(&self) -> &[Fault] {
        &self.faults.shown
    }

    /// The faults with their texts, as miette's handlers draw them.
    pub fn diagnostics(&self) -> impl Iterator<Item = impl Diagnostic + '_> {
        self.faults.shown.iter().map(|fault| Located { fault, sources: &self.sources })
    }

    /// Lists all faults for programs.
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

    /// Says how many faults there are.
    pub fn summary(&self) -> String {
        match (self.faults.shown.len() + self.faults.more, self.faults.more) {
            (1, _) => "1 error".into(),
            (all, 0) => format!("{all} errors"),
            (all, more) => format!("{all} errors, {more} of them not shown"),
        }
    }
}

/// Plain text, a few lines a fault: `error: MESSAGE`, `  FILE:LINE:COLUMN: LABEL`, `  help: HELP`.
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

/// A fault with the texts that its spans point into.
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
