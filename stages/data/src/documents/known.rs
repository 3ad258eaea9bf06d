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
pub(crate) fn metadata_names(inputs: &KnownInputs, port: In) -> Option<BTreeSet<String>> {
    let inputs = inputs.of(port);
    let names = inputs.iter().map(|input| input.facts.get::<BTreeSet<String>>(METADATA_NAMES));
    let names = names.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())?;
    Some(names.into_iter().flatten().collect())
}

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
