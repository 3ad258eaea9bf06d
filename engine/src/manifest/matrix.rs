//! Owns: `matrix:`: which stages an entry of a manifest expands to, their names, and how they are matched if one
//! depends on another. Of inputs it only knows whether they take one stage or many.
//!
//! An entry with `matrix: { lr: [1e-3, 3e-4], seed: [1, 2] }` expands to a family of four stages,
//! `base[lr=1e-3,seed=1]` and so on: one for each combination of values, the last axis varying fastest. A stage that
//! depends on one of them becomes a family with the same axes. An input that takes many stages takes all that agree
//! with the stage on their common axes.

use crate::manifest::{
    family::{Axis, Family},
    fault::{Code, Fault, Faults, nearest},
    need::{Form, Wanted},
    node::{Entry, Node, NodeKind, Scalar, Style, Value},
    source::Span,
};
use indexmap::IndexMap;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write,
    sync::Arc,
};

/// Maximum number of stages from matrices in a manifest.
const STAGES_MAX: usize = 10_000;
/// Maximum length of a suffix in bytes: stage names become parts of file names.
const SUFFIX_BYTES_MAX: usize = 160;
const AXIS_BYTES_MAX: usize = 64;

/// The value of `matrix`.
pub(crate) enum Own {
    /// Empty.
    Absent,
    /// It has an error, which was reported.
    Broken,
    /// Axes with their values.
    Axes(Vec<Arc<Axis>>),
    /// Names of axes of the stages that this one depends on.
    Along(Vec<(Arc<str>, Span)>),
}

impl Own {
    /// Reads the `matrix` of a stage.
    pub(crate) fn read(stage: &Entry, faults: &mut Faults) -> Self {
        let Some(entry) = stage.value.get("matrix") else { return Self::Absent };
        let before = faults.count();
        let own = match &entry.value.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => return Self::Absent,
            NodeKind::Broken => return Self::Broken,
            NodeKind::Mapping(axes) if !axes.is_empty() => {
                let axes = axes.iter().filter_map(|(name, entry)| axis(name, entry, faults));
                Self::Axes(axes.map(Arc::new).collect())
            }
            NodeKind::Sequence(names) if !names.is_empty() => {
                Self::Along(names.iter().filter_map(|name| along(name, faults)).collect())
            }
            _ => {
                let message = "`matrix` must be a mapping of axes to lists of values";
                let fault = Fault::new(Code::WrongType, message, "not such a mapping");
                let help =
                    "write `matrix: { seed: [1, 2, 3] }`, or `matrix: [seed]` for an axis of a dependency";
                faults.push(fault.help(help).at(entry.value.span));
                Self::Broken
            }
        };
        if faults.count() > before || entry.value.holds_broken() { Self::Broken } else { own }
    }
}

fn axis(name: &Arc<str>, entry: &Entry, faults: &mut Faults) -> Option<Axis> {
    if !is_axis(name) {
        let fault =
            Fault::new(Code::InvalidValue, format!("`{name}` is not a valid axis name"), "not a valid name");
        faults.push(
            fault
                .help("names consist of letters, digits and `_`, and do not begin with a digit")
                .at(entry.key),
        );
    }
    let span = entry.value.span;
    let wrong = |code, message: String, label: &str| Fault::new(code, message, label).at(span);
    let items = match &entry.value.kind {
        NodeKind::Broken => return None,
        NodeKind::Sequence(items) if items.is_empty() => {
            faults.push(wrong(Code::InvalidValue, format!("the axis `{name}` has no values"), "empty"));
            return None;
        }
        NodeKind::Sequence(items) if items.len() > STAGES_MAX => {
            let message = format!("the axis `{name}` has more than {STAGES_MAX} values");
            faults.push(wrong(Code::TooLarge, message, "too many"));
            return None;
        }
        NodeKind::Sequence(items) => items,
        NodeKind::Scalar(scalar) if !scalar.is_null() => {
            let fault =
                wrong(Code::WrongType, format!("the axis `{name}` must be a list of values"), "one value");
            faults.push(fault.help(format!("write `{name}: [{}]`", scalar.text)));
            return None;
        }
        _ => {
            faults.push(wrong(
                Code::WrongType,
                format!("the axis `{name}` must be a list of values"),
                "not a list",
            ));
            return None;
        }
    };
    let (mut values, mut nodes) = (vec![], vec![]);
    let mut seen: HashMap<String, Span> = HashMap::new();
    for node in items {
        let NodeKind::Scalar(scalar) = &node.kind else {
            if !node.is_broken() {
                let message = format!("values of the axis `{name}` must be strings, numbers or booleans");
                faults.push(Fault::new(Code::WrongType, message, "not a single value").at(node.span));
            }
            continue;
        };
        if let Some(first) = seen.insert(identity(scalar), node.span) {
            let fault = Fault::new(
                Code::InvalidValue,
                format!("duplicate value `{}` on the axis `{name}`", scalar.text),
                "again",
            );
            faults.push(fault.at(node.span).also(first, "the first one"));
            continue;
        }
        values.push(written(scalar));
        nodes.push(node.clone());
    }
    Some(Axis { name: name.clone(), values, nodes, place: entry.key })
}

fn along(node: &Node, faults: &mut Faults) -> Option<(Arc<str>, Span)> {
    match &node.kind {
        NodeKind::Scalar(scalar) if !scalar.is_null() => Some((scalar.text.clone(), node.span)),
        NodeKind::Broken => None,
        _ => {
            faults.push(
                Fault::new(Code::WrongType, "an axis name must be a string", "not a name").at(node.span),
            );
            None
        }
    }
}

fn is_axis(name: &str) -> bool {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.len() <= AXIS_BYTES_MAX
        && name.chars().all(word)
        && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

/// What makes two values equal: `1e-3` and `0.001` are.
fn identity(scalar: &Scalar) -> String {
    match scalar.value() {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) if value.unsigned_abs() < 1 << 53 => {
            format!("number {}", (value as f64 + 0.0).to_bits())
        }
        Value::Integer(value) => format!("integer {value}"),
        Value::Float(value) => format!("number {}", (value + 0.0).to_bits()),
        Value::Text(text) => format!("text {text}"),
    }
}

/// A value as written in a name: as in the manifest, with characters other than letters, digits, `-`, `_`, `.` and
/// `+` percent-encoded. A text that looks like a number or another type keeps its quotes.
fn written(scalar: &Scalar) -> String {
    let plain = Scalar { style: Style::Plain, ..scalar.clone() };
    let text = match (scalar.value(), plain.value()) {
        (Value::Null, _) => "null".to_owned(),
        (Value::Bool(value), _) => value.to_string(),
        (Value::Text(text), Value::Text(_)) => text.to_owned(),
        (Value::Text(text), _) => format!("\"{text}\""),
        _ => scalar.text.to_string(),
    };
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte) => out.push(byte.into()),
            byte => write!(out, "%{byte:02X}").expect("invariant: a String takes all that is written"),
        }
    }
    out
}

/// What is known about all families when one is created.
pub(crate) struct Families<'a> {
    pub(crate) done: &'a [Family],
    pub(crate) name: &'a dyn Fn(usize) -> String,
}

impl Families<'_> {
    /// Combines a stage's own axes with those of its dependencies. `made` counts the stages of all families; `key` is
    /// the place of the stage's name.
    pub(crate) fn join(
        &self,
        own: Own,
        wanted: &[&Wanted],
        key: Span,
        made: &mut usize,
        faults: &mut Faults,
    ) -> Family {
        let broken = Family { axes: vec![], is_broken: true };
        if matches!(own, Own::Broken) || wanted.iter().any(|wanted| self.done[wanted.need.stage].is_broken) {
            return broken;
        }
        let before = faults.count();
        let mut axes: IndexMap<Arc<str>, Arc<Axis>> = IndexMap::new();
        for wanted in wanted.iter().filter(|wanted| wanted.form == Form::One) {
            for axis in self.free(wanted) {
                axes.entry(axis.name.clone()).or_insert_with(|| axis.clone());
            }
        }
        let mut own_names = HashSet::new();
        let mut place = key;
        match own {
            Own::Absent | Own::Broken => {}
            Own::Axes(own) => {
                for axis in own {
                    place = axis.place;
                    own_names.insert(axis.name.clone());
                    axes.insert(axis.name.clone(), axis);
                }
            }
            Own::Along(names) => {
                for (name, span) in names {
                    if axes.contains_key(&name) {
                        continue;
                    }
                    match wanted.iter().flat_map(|wanted| self.free(wanted)).find(|axis| axis.name == name) {
                        Some(axis) => drop(axes.insert(name, axis.clone())),
                        None => {
                            let message = format!("no dependency of this stage has an axis `{name}`");
                            let fault = Fault::new(Code::UnknownAxis, message, "no such axis");
                            let known =
                                wanted.iter().flat_map(|wanted| self.free(wanted)).map(|axis| &*axis.name);
                            let known: BTreeSet<&str> = known.collect();
                            faults.push(fault.nearest(&name, known).at(span));
                        }
                    }
                }
            }
        }
        for wanted in wanted {
            for theirs in self.free(wanted) {
                let Some(ours) = axes.get(&theirs.name).filter(|ours| !Arc::ptr_eq(ours, theirs)) else {
                    continue;
                };
                let is_own = own_names.contains(&ours.name);
                if !theirs.has_all_of(ours) || !(is_own || ours.has_all_of(theirs)) {
                    faults.push(self.mismatch(wanted, ours, theirs, is_own));
                }
            }
        }
        let axes: Vec<_> = axes.into_values().collect();
        let count = axes.iter().try_fold(1, |count: usize, axis| count.checked_mul(axis.values.len()));
        let family = Family { axes, is_broken: false };
        *made = made.saturating_add(count.filter(|_| !family.axes.is_empty()).unwrap_or(0));
        if count.is_none_or(|count| count > STAGES_MAX) || *made > STAGES_MAX {
            let message = format!("the matrices expand to more than {STAGES_MAX} stages");
            faults.push(Fault::new(Code::TooLarge, message, "the limit is reached here").at(place));
        } else if let Some(longest) = family.longest_suffix().filter(|length| *length > SUFFIX_BYTES_MAX) {
            let message = format!(
                "a stage name would contain {longest} bytes of axis values; the limit is {SUFFIX_BYTES_MAX}"
            );
            let fault = Fault::new(Code::InvalidValue, message, "axis values become part of stage names");
            faults.push(fault.help("use shorter values").at(place));
        }
        if faults.count() > before { broken } else { family }
    }

    fn mismatch(&self, wanted: &Wanted, ours: &Axis, theirs: &Axis, is_own: bool) -> Fault {
        let (name, axis) = ((self.name)(wanted.need.stage), &ours.name);
        let missing = ours.values.iter().find(|value| theirs.position(value).is_none());
        let message = match missing {
            Some(value) => format!("`{name}` has no stage with `{axis}={value}`"),
            None => {
                format!("`{name}` has more values on the axis `{axis}` than the other dependencies")
            }
        };
        let fault = Fault::new(Code::AxisMismatch, message, "needed here");
        let help = match is_own {
            true => format!("it has: {}", theirs.values.join(", ")),
            false => format!("list the values to use: `matrix: {{ {axis}: […] }}`"),
        };
        let fault = fault.help(help).at(wanted.need.place);
        fault.also(ours.place, format!("`{axis}` here")).also(theirs.place, format!("`{axis}` of `{name}`"))
    }

    /// Axes whose values are not used: `named` contains the axes that the stage's settings use, `wanted` its
    /// dependencies.
    pub(crate) fn unused<'a>(
        &'a self,
        family: &'a Family,
        wanted: &'a [&Wanted],
        named: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a Arc<Axis>> {
        let joined =
            |axis: &Axis| wanted.iter().any(|wanted| self.free(wanted).any(|other| other.name == axis.name));
        family.axes.iter().filter(move |axis| !named.contains(&*axis.name) && !joined(axis))
    }

    /// The axes of a dependency that `needs` leaves open.
    fn free<'s>(&'s self, wanted: &'s Wanted) -> impl Iterator<Item = &'s Arc<Axis>> {
        let axes = self.done[wanted.need.stage].axes.iter().enumerate();
        axes.filter(|(position, _)| !wanted.picks.iter().any(|(axis, _)| axis == position))
            .map(|(_, axis)| axis)
    }
}

/// Reports an axis whose values have no effect; `field` is a setting of that name, `named` the names in the settings
/// that are not axes.
pub(crate) fn unused(axis: &Axis, field: Option<&str>, named: &[&str]) -> Fault {
    let name = &axis.name;
    let fault = Fault::new(Code::UnusedAxis, format!("no setting uses the axis `{name}`"), "not used");
    match (nearest(name, named), field) {
        (Some(near), _) => {
            fault.help(format!("did you mean `${{matrix.{name}}}` instead of `${{matrix.{near}}}`?"))
        }
        (None, Some(field)) => fault.help(format!("set `{field}` under `with` to `${{matrix.{name}}}`")),
        (None, None) => fault.help(format!("write `${{matrix.{name}}}` in a setting under `with`")),
    }
    .at(axis.place)
}
