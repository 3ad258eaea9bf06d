//! What is known of documents before they exist: the names of their metadata, and whether they have text.

use crate::clean::rules::Rule;
use pipe_stage::{Facts, In, KnownInputs, Misfit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A fact about documents: the names that may occur in their metadata, in byte order.
pub const METADATA_NAMES: &str = "metadata_names";

/// The facts of documents whose metadata has no other names than these.
pub(crate) fn facts_of_metadata(names: BTreeSet<String>) -> Facts {
    Facts::default().with(METADATA_NAMES, names)
}

/// The names that may occur in the metadata of an input; `None` if they are not known.
fn metadata_names(inputs: &KnownInputs, port: In) -> Option<BTreeSet<String>> {
    let inputs = inputs.of(port);
    let names = inputs.iter().map(|input| input.facts.get::<BTreeSet<String>>(METADATA_NAMES));
    let names = names.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())?;
    Some(names.into_iter().flatten().collect())
}

/// The error that no document of an input has a name in its metadata; `None` if one may have it.
pub(crate) fn missing_metadata(inputs: &KnownInputs, port: In, name: &str) -> Option<String> {
    let names = metadata_names(inputs, port).filter(|names| !names.contains(name))?;
    // The rules are many, and all are there or none.
    let (rules, others): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| Rule::all().any(|rule| rule.name() == name.as_str()));
    let rules = (!rules.is_empty()).then(|| "the values of the rules of `clean`".to_owned());
    let names: Vec<String> = others.into_iter().map(|name| format!("`{name}`")).chain(rules).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Some(format!("no document has `{name}` in its metadata, which contains {names}"))
}

/// Whether it is known that no document of an input has a name in its metadata.
pub fn never_has(inputs: &KnownInputs, port: In, name: &str) -> bool {
    metadata_names(inputs, port).is_some_and(|names| !names.contains(name))
}

/// What to do about metadata that no document has.
pub(crate) const METADATA_HELP: &str =
    "`columns.metadata` of `ingest` copies columns into the metadata of documents";

/// The facts of an output whose documents are those of an input, with the metadata in `added` besides.
pub(crate) fn facts_passed_on(inputs: &KnownInputs, port: In, added: &[&str]) -> Facts {
    let facts = metadata_names(inputs, port).map_or_else(Facts::default, |mut names| {
        names.extend(added.iter().map(|name| (*name).to_owned()));
        facts_of_metadata(names)
    });
    match without_text(inputs, port) {
        Some(which) => facts.with(WITHOUT_TEXT, which),
        None => facts,
    }
}

/// A fact about documents: which of them have no text, only metadata. Absent if all may have text.
pub(crate) const WITHOUT_TEXT: &str = "without_text";

/// A fact about documents: which of them are pages whose text `clean` has yet to extract. Absent if it is not known of
/// any.
pub(crate) const PAGES_OF_HTML: &str = "pages_of_html";

/// Which documents have no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WithoutText {
    All,
    Some,
}

impl WithoutText {
    fn documents(self) -> &'static str {
        match self {
            Self::All => "the documents",
            Self::Some => "some of the documents",
        }
    }

    /// Which of the documents of several sources or inputs have no text, by which of each have none.
    pub(crate) fn of(parts: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        parts.into_iter().reduce(|a, b| if a == b { a } else { Some(Self::Some) }).flatten()
    }
}

fn without_text(inputs: &KnownInputs, port: In) -> Option<WithoutText> {
    WithoutText::of(inputs.of(port).iter().map(|input| input.facts.get(WITHOUT_TEXT)))
}

/// Whether no document of an input has text.
pub(crate) fn has_no_text(inputs: &KnownInputs, port: In) -> bool {
    without_text(inputs, port) == Some(WithoutText::All)
}

/// The error of a stage that reads text, if documents of an input have none.
pub fn lacks_text(inputs: &KnownInputs, port: In) -> Option<Misfit> {
    let pages = WithoutText::of(inputs.of(port).iter().map(|input| input.facts.get(PAGES_OF_HTML)));
    let Some(which) = pages else { return lacks_anything(inputs, port) };
    let message =
        format!("{} in `needs` are HTML pages, whose text has not been extracted", which.documents());
    Some(Misfit::new("", message).help("put a stage `clean` between"))
}

/// The error of a stage that reads text or pages, if documents of an input have neither.
pub(crate) fn lacks_anything(inputs: &KnownInputs, port: In) -> Option<Misfit> {
    let which = without_text(inputs, port)?.documents();
    let message = format!("{which} in `needs` have no text, since `columns.text` of their `ingest` is null");
    Some(Misfit::new("", message).help("make texts of their metadata first, with a stage `examples`"))
}
