//! Owns: the reasons why a stage runs, field by field, from a comparison with an earlier record.

use crate::{
    plan::session::{Resolved, Session},
    record::{Record, read_artifact},
};
use pipe_stage::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A reason why a stage runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It never ran here.
    First,
    /// A setting changed.
    Config {
        /// Its path below `with`.
        field: String,
        /// The previous value.
        before: String,
        /// The new value.
        after: String,
    },
    /// The stage has another type.
    Type {
        /// The previous value.
        before: String,
        /// The new value.
        after: String,
    },
    /// The results of the stage type changed with its code.
    Revision {
        /// The previous value.
        before: u32,
        /// The new value.
        after: u32,
    },
    /// The program that contains the stage type is another build.
    Program,
    /// An input changed.
    Input {
        /// The port.
        port: String,
        /// The stages that it comes from.
        from: Vec<String>,
        /// Number of changed entries, if both lists are known.
        changed: Option<u64>,
        /// Number of entries.
        of: u64,
    },
    /// Source files changed.
    Sources {
        /// Number of changed files.
        changed: u64,
        /// Number of new files.
        added: u64,
        /// Number of removed files.
        removed: u64,
        /// Number of files.
        of: u64,
        /// Names of a few of them.
        examples: Vec<String>,
    },
    /// Source files may have changed: what they were is gone from the cache, or damaged.
    SourcesUnknown,
    /// It was forced.
    Forced,
    /// Its result is taken from a folder; nothing runs.
    Adopted {
        /// Which folder.
        folder: String,
    },
    /// Nothing changed, but outputs are missing or damaged.
    ObjectsGone,
    /// Nothing changed, but the record is missing.
    RecordGone,
    /// Its record is damaged, or the earlier one, so that it is not known what changed.
    RecordDamaged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("it has no result yet"),
            Self::Config { field, before, after } => write!(f, "with.{field} {before} -> {after}"),
            Self::Type { before, after } => write!(f, "uses {before} -> {after}"),
            Self::Revision { before, after } => write!(f, "stage type revision {before} -> {after}"),
            Self::Program => f.write_str("the program that contains this stage type was rebuilt"),
            Self::Input { port, from, changed, of } => {
                write!(f, "input `{port}` ({}) changed", from.join(", "))?;
                match changed {
                    Some(changed) => write!(f, ": {changed} of {of} shards"),
                    None => Ok(()),
                }
            }
            Self::Sources { changed, added, removed, of, examples } => {
                let parts = [(changed, "changed"), (added, "new"), (removed, "gone")];
                let parts: Vec<String> = parts
                    .iter()
                    .filter(|(count, _)| **count > 0)
                    .map(|(count, what)| format!("{count} {what}"))
                    .collect();
                write!(f, "sources: {} of {of} files ({})", parts.join(", "), examples.join(", "))
            }
            Self::SourcesUnknown => f.write_str(
                "sources may have changed: the list of the files that it read is missing from the cache or damaged",
            ),
            Self::Forced => f.write_str("it is forced to run again"),
            Self::Adopted { folder } => write!(f, "its result is adopted from {folder}"),
            Self::ObjectsGone => f.write_str("its outputs are missing from the cache or damaged"),
            Self::RecordGone => f.write_str("its record is missing from the cache"),
            Self::RecordDamaged => f.write_str("its record in the cache is damaged"),
        }
    }
}

/// Compares; there is always at least one reason.
pub(super) fn reasons(session: &Session, stage: usize, resolved: &Resolved, before: &Record) -> Vec<Reason> {
    let kind = session.kind(stage);
    if before.uses != kind.name {
        return vec![Reason::Type { before: before.uses.clone(), after: kind.name.to_owned() }];
    }
    let mut reasons = Vec::new();
    if before.revision != kind.revision {
        reasons.push(Reason::Revision { before: before.revision, after: kind.revision });
    }
    if before.program != session.identity(stage).program {
        reasons.push(Reason::Program);
    }
    let after = &session.manifest.stages[stage].config.essence;
    let defaults = kind.default_json();
    let mut see = |field: String, before: String, after: String| {
        reasons.push(Reason::Config { field, before, after });
    };
    differences("", &before.config, after, Some(&defaults), &mut see);
    reasons.extend(inputs(session, stage, resolved, before));
    reasons.extend(sources(session, resolved, before));
    if reasons.is_empty() {
        reasons.push(match session.store.record(&resolved.key) {
            Ok(Some(_)) => Reason::ObjectsGone,
            _ if session.store.has_damaged_record(&resolved.key) => Reason::RecordDamaged,
            _ => Reason::RecordGone,
        });
    }
    reasons
}

/// Compares two configs without defaults; an absent field has its default.
fn differences(
    path: &str,
    before: &Value,
    after: &Value,
    default: Option<&Value>,
    see: &mut impl FnMut(String, String, String),
) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let fields: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for field in fields {
                let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                let default = default.and_then(|default| default.get(field));
                match (a.get(field), b.get(field)) {
                    (Some(a), Some(b)) => differences(&path, a, b, default, see),
                    // One side has only defaults: compare field by field with an empty struct.
                    (Some(only @ Value::Object(_)), None) if default.is_some_and(Value::is_object) => {
                        differences(&path, only, &Value::Object(Default::default()), default, see);
                    }
                    (None, Some(only @ Value::Object(_))) if default.is_some_and(Value::is_object) => {
                        differences(&path, &Value::Object(Default::default()), only, default, see);
                    }
                    (a, b) => {
                        let shown = |side: Option<&Value>| match (side, default) {
                            (Some(value), _) => short(value),
                            (None, Some(default)) => format!("{} (default)", short(default)),
                            (None, None) => "absent".to_owned(),
                        };
                        see(path, shown(a), shown(b));
                    }
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (position, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{position}]"), a, b, None, see);
            }
        }
        (a, b) => see(path.to_owned(), short(a), short(b)),
    }
}

fn short(value: &Value) -> String {
    const LENGTH_MAX: usize = 60;
    let text = match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            let plain = float == 0.0 || (1e-2..1e6).contains(&float.abs());
            if plain { float.to_string() } else { format!("{float:e}") }
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LENGTH_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn inputs(session: &Session, stage: usize, resolved: &Resolved, before: &Record) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (port, after) in &resolved.inputs {
        let empty = Vec::new();
        let before = before.inputs.get(port).unwrap_or(&empty);
        let same = before.len() == after.len()
            && before.iter().zip(after).all(|(a, (label, digest))| a.label == *label && a.digest == *digest);
        if same {
            continue;
        }
        let needs = &session.manifest.stages[stage].needs[port];
        let from = needs.iter().map(|need| session.name(need.stage).to_owned()).collect();
        let entries = |digests: &mut dyn Iterator<Item = Digest>| {
            digests
                .map(|digest| read_artifact(&session.store, &digest).map(|artifact| artifact.entries))
                .collect::<Option<Vec<_>>>()
                .map(|entries| entries.concat())
        };
        let then = entries(&mut before.iter().map(|input| input.digest));
        let now = entries(&mut after.iter().map(|(_, digest)| *digest));
        let known: Option<BTreeSet<_>> =
            then.map(|then| then.into_iter().map(|entry| entry.content).collect());
        let of = now.as_ref().map_or(0, |now| now.len() as u64);
        let changed = known
            .zip(now)
            .map(|(known, now)| now.iter().filter(|entry| !known.contains(&entry.content)).count() as u64);
        reasons.push(Reason::Input { port: port.clone(), from, changed, of });
    }
    reasons
}

fn sources(session: &Session, resolved: &Resolved, before: &Record) -> Option<Reason> {
    const EXAMPLES_MAX: usize = 3;
    let listing = match before.sources.as_ref().map(|blob| session.store.read(blob)) {
        None if resolved.sources.is_empty() => return None,
        None => String::new(),
        Some(listing) => match listing.ok().and_then(|listing| String::from_utf8(listing).ok()) {
            Some(listing) => listing,
            None => return Some(Reason::SourcesUnknown),
        },
    };
    let mut then: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in listing.lines() {
        let mut fields = line.splitn(3, '\t');
        if let (Some(digest), Some(source), Some(name)) = (fields.next(), fields.next(), fields.next()) {
            then.insert((source, name), digest);
        }
    }
    let (mut changed, mut added, mut examples) = (0, 0, Vec::new());
    for file in resolved.sources.iter() {
        let count = match then.remove(&(file.source.as_str(), file.name.as_str())) {
            Some(digest) if digest == file.digest.to_string() => continue,
            Some(_) => &mut changed,
            None => &mut added,
        };
        *count += 1;
        examples.push(place(&file.source, &file.name));
    }
    let removed = then.len() as u64;
    examples.extend(then.keys().map(|(source, name)| place(source, name)));
    if examples.is_empty() {
        return None;
    }
    let more = examples.len() > EXAMPLES_MAX;
    examples.truncate(EXAMPLES_MAX);
    if more {
        examples.push("…".to_owned());
    }
    Some(Reason::Sources { changed, added, removed, of: resolved.sources.len() as u64, examples })
}

/// A source file as people read it. Files that the line of a command names have absolute names outside of the project.
fn place(source: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{source}/{name}") }
}
