//! Owns: turning `with` into the config of a stage type, and the places of its fields.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    node::{Found, Node},
    read::read_with,
    source::Span,
};
use pipe_stage::{Misfit, Stage};

/// Reads a config and checks it; adds all errors to `faults`.
///
/// If parts cannot be read, the others are checked nevertheless; errors are reported only for fields that are present
/// and valid in themselves.
pub(crate) fn read_config<S: Stage>(with: &Node, key: Span, faults: &mut Faults) -> Option<S> {
    let known = || serde_json::to_value(S::default()).map(|config| fields(&config, "")).unwrap_or_default();
    let reading = read_with::<S>(with, key, faults, &|fault| fault.look_elsewhere(known));
    let stage = reading.value?;
    let misfits = stage.check();
    for misfit in &misfits {
        let found = reading.tree.find(&misfit.path);
        if reading.whole || (found.whole && !found.node.is_broken()) {
            faults.push(fault(misfit, found, key));
        }
    }
    (reading.whole && misfits.is_empty()).then_some(stage)
}

/// Lists the fields of a config; those of sections as `optimizer.lr`.
pub(crate) fn fields(config: &serde_json::Value, prefix: &str) -> Vec<String> {
    let below = |(name, value): (&String, &serde_json::Value)| {
        let path = format!("{prefix}{name}");
        let below = fields(value, &format!("{path}."));
        std::iter::once(path).chain(below).collect::<Vec<_>>()
    };
    config.as_object().into_iter().flatten().flat_map(below).collect()
}

/// Turns a misfit into an error at its field, or at the stage's name if it has no path.
pub(crate) fn fault(misfit: &Misfit, found: Found<'_>, key: Span) -> Fault {
    let Misfit { path, message, help } = misfit;
    let title = if path.is_empty() { message.clone() } else { format!("`{path}`: {message}") };
    let fault = Fault::new(Code::InvalidValue, title, message);
    let place = if path.is_empty() { None } else { found.span() };
    let fault = fault.at(place.unwrap_or(key));
    let fault = match found.origin() {
        Some(origin) => fault.also(origin, "the value comes from here"),
        None => fault,
    };
    match help {
        Some(help) => fault.help(help),
        None => fault,
    }
}
