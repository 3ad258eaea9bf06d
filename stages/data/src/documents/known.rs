//! What is known of documents before they exist: the names of their metadata.

use pipe_stage::{Facts, In, KnownInputs};
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
    let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { "nothing".to_owned() } else { names };
    Some(format!("no document has `{name}` in its metadata, which contains {names}"))
}

/// What to do about metadata that no document has.
pub(crate) const METADATA_HELP: &str =
    "`columns.metadata` of `ingest` copies columns into the metadata of documents";

/// The facts of an output whose documents are those of an input, with the metadata in `added` besides.
pub(crate) fn facts_passed_on(inputs: &KnownInputs, port: In, added: &[&str]) -> Facts {
    match metadata_names(inputs, port) {
        Some(mut names) => {
            names.extend(added.iter().map(|name| (*name).to_owned()));
            facts_of_metadata(names)
        }
        None => Facts::default(),
    }
}
