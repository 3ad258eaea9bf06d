//! Owns: the layers of a manifest: those that it `extends`, and each `--set`. It works on trees only; every value
//! keeps the place where it was written. It does not know stages.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    interpolate::Interpolator,
    node::{Entry, Node, NodeKind, Scalar, Style},
    parse::{Budget, DEPTH_MAX, parse, too_deep},
    source::{Sources, Span, control},
    world::{FILE_BYTES_MAX, World},
};
use std::{
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// Reads a manifest with all its layers: the manifests that it extends, then itself, then each `--set`, then `${…}`.
pub(crate) fn layers<'a>(
    path: &str,
    sets: &[&str],
    world: &'a World<'a>,
    sources: &mut Sources,
    faults: &mut Faults,
) -> Option<(Node, Interpolator<'a>)> {
    let mut layers = Layers { world, sources, faults, budget: Budget::default() };
    let mut root = layers.file(path, None, &mut vec![])?;
    for set in sets {
        let done = layers.set(&mut root, set);
        layers.faults.take(done);
    }
    let Layers { sources, faults, budget, .. } = layers;
    let mut interpolator = Interpolator::new(world, budget);
    interpolator.root(&mut root, sources, faults);
    Some((root, interpolator))
}

/// The file that `extends` names, and where it is named.
type Base = (Arc<str>, Span);

struct Layers<'a> {
    world: &'a World<'a>,
    sources: &'a mut Sources,
    faults: &'a mut Faults,
    budget: Budget,
}

impl Layers<'_> {
    /// Reads a file and merges it over those that it extends; `open` contains the files that led to this one.
    fn file(&mut self, path: &str, from: Option<Span>, open: &mut Vec<String>) -> Option<Node> {
        let result = self.one_file(path, from, open);
        let (root, base) = self.faults.take(result)?;
        let Some(base) = base else { return Some(root) };
        let beside = plain(&Path::new(path).with_file_name(&*base.0));
        open.push(path.to_owned());
        let below = self.file(&beside.to_string_lossy(), Some(base.1), open);
        open.pop();
        let mut below = below?;
        merge_manifest(&mut below, root, &base.0, self.faults);
        Some(below)
    }

    fn one_file(
        &mut self,
        path: &str,
        from: Option<Span>,
        open: &[String],
    ) -> Result<(Node, Option<Base>), Fault> {
        let place = |fault: Fault| if let Some(span) = from { fault.at(span) } else { fault };
        if open.iter().any(|before| before == path) {
            let way = format!("{} -> {path}", open.join(" -> "));
            return Err(place(Fault::new(Code::ExtendsLoop, "manifests extend each other in a loop", way)));
        }
        if open.len() >= DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} manifests extend one another");
            let fault = Fault::new(Code::TooLarge, message, "one too many");
            return Err(place(fault.help("merge some of them into one file")));
        }
        let bytes = (self.world.file)(Path::new(path)).map_err(|error| place(unreadable(path, &error)))?;
        let (text, span) = self.decode(path, bytes)?;
        let root = parse(&text, span, &mut self.budget, self.faults)?;
        let mut root = root.unwrap_or(Node::empty(span));
        let NodeKind::Mapping(mapping) = &mut root.kind else {
            let found = if matches!(root.kind, NodeKind::Sequence(_)) { "a list" } else { "a single value" };
            let fault =
                Fault::new(Code::WrongType, "the manifest must be a mapping", format!("found {found}"));
            let help = "a manifest has the sections `pipeline: NAME` and `stages:`";
            return Err(fault.help(help).at(root.span));
        };
        let base = match mapping.shift_remove("extends").map(|entry| entry.value) {
            None => None,
            Some(Node { span, kind: NodeKind::Scalar(scalar) }) if !scalar.is_null() => {
                if scalar.text.contains("${") {
                    let fault = Fault::new(Code::BadInterpolation, "`extends` cannot contain variables", "");
                    return Err(fault.help("write the file name itself").at(span));
                }
                Some((scalar.text, span))
            }
            Some(other) => {
                return Err(Fault::new(Code::WrongType, "`extends` takes one file name", "not a file name")
                    .at(other.span));
            }
        };
        Ok((root, base))
    }

    /// Adds a text to the sources if YAML allows all its characters.
    fn decode(&mut self, name: &str, bytes: Vec<u8>) -> Result<(Arc<str>, Span), Fault> {
        let (text, valid) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(valid))
            }
        };
        let marked = text.starts_with('\u{feff}');
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (added, span) = self.sources.add(name, text).ok_or_else(too_deep)?;
        if let Some(valid) = valid {
            let offset = valid - if marked { '\u{feff}'.len_utf8() } else { 0 };
            let fault =
                Fault::new(Code::InvalidEncoding, format!("`{name}` is not UTF-8 text"), "from here on");
            return Err(fault.at(span.part(offset..offset)));
        }
        if let Some((offset, letter)) = control(text) {
            let fault = Fault::new(
                Code::Syntax,
                format!("the control character U+{:04X} is not allowed in YAML", u32::from(letter)),
                "here",
            );
            return Err(fault.at(span.part(offset..offset + letter.len_utf8())));
        }
        Ok((added, span))
    }

    /// Applies `stages.base.with.languages[0]=de` to a manifest.
    fn set(&mut self, root: &mut Node, argument: &str) -> Result<(), Fault> {
        let (text, whole) = self.decode("--set", argument.as_bytes().to_vec())?;
        let form = || {
            Fault::new(Code::BadSet, "`--set` takes `path.to.field=value`", "not in this form")
                .help("for an item of a list, give its position: `stages.base.with.languages[0]=de`")
                .at(whole)
        };
        let (path, value) = text.split_once('=').ok_or_else(form)?;
        let steps = steps(path, whole).filter(|steps| steps.len() < DEPTH_MAX).ok_or_else(form)?;
        let place = whole.part(path.len() + 1..text.len());
        let value = parse(value, place, &mut self.budget, self.faults)?.unwrap_or(null(place));
        if steps.len() + value.size().1 > DEPTH_MAX {
            return Err(too_deep().at(whole));
        }
        set(root, &steps, value)
    }
}

fn unreadable(path: &str, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Fault::new(
            Code::TooLarge,
            format!("the manifest `{path}` is larger than {} MiB", FILE_BYTES_MAX >> 20),
            "named here",
        ),
        _ => Fault::new(
            Code::UnreadableFile,
            format!("cannot read the manifest `{path}`: {error}"),
            "named here",
        ),
    }
}

/// Removes `.` and `a/..` from a path, so that a file has one name.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn null(span: Span) -> Node {
    let scalar = Scalar { text: "".into(), style: Style::Plain, origin: None, is_open: false };
    Node { span, kind: NodeKind::Scalar(scalar) }
}

/// A step of a `--set` path.
#[derive(Debug)]
struct Step<'a> {
    name: &'a str,
    place: Span,
    /// In brackets: only a position.
    bracketed: bool,
}

/// Splits `a.b[0].c`; `None` if it is not a path.
fn steps(path: &str, whole: Span) -> Option<Vec<Step<'_>>> {
    let (mut steps, mut at) = (vec![], 0);
    for part in path.split('.') {
        let (name, brackets) = part.split_at(part.find('[').unwrap_or(part.len()));
        let mut push = |name, from: usize, bracketed| {
            let place = whole.part(from..from + str::len(name));
            (!name.is_empty()).then(|| steps.push(Step { name, place, bracketed }))
        };
        push(name, at, false)?;
        let mut from = at + name.len();
        for bracket in brackets.split_inclusive(']') {
            push(bracket.strip_prefix('[')?.strip_suffix(']')?, from + 1, true)?;
            from += bracket.len();
        }
        at += part.len() + 1;
    }
    Some(steps)
}

/// Follows a path, creating what is missing, and sets the value at its end.
fn set(root: &mut Node, steps: &[Step<'_>], value: Node) -> Result<(), Fault> {
    check_names(root, steps)?;
    if let ([section, stage], NodeKind::Scalar(scalar)) = (steps, &value.kind)
        && (section.name, scalar.is_null()) == ("stages", true)
        && let Some(Entry { value: Node { kind: NodeKind::Mapping(stages), .. }, .. }) =
            root.get_mut("stages")
    {
        stages.shift_remove(stage.name);
        return Ok(());
    }
    let mut node = root;
    for (index, step) in steps.iter().enumerate() {
        if let NodeKind::Scalar(scalar) = &node.kind
            && !step.bracketed
            && !scalar.text.contains("${")
        {
            *node = Node::empty(step.place); // reported at this place, if its type is not a mapping
        }
        let is_last = index + 1 == steps.len();
        match &mut node.kind {
            NodeKind::Mapping(mapping) if !step.bracketed => {
                let entry = mapping
                    .entry(step.name.into())
                    .or_insert_with(|| Entry { key: step.place, value: null(step.place) });
                if is_last {
                    entry.key = step.place;
                }
                node = &mut entry.value;
            }
            NodeKind::Sequence(items) => {
                let count = items.len();
                let item = step.name.parse().ok().and_then(|index: usize| items.get_mut(index));
                node = item.ok_or_else(|| no_item(step, count))?;
            }
            NodeKind::Scalar(scalar) if scalar.text.contains("${") => {
                let message = format!("`{}` is part of the value of `{}`", step.name, scalar.text);
                let fault = Fault::new(Code::BadSet, message, "not a field of its own");
                return Err(fault.help("set the variable itself: `--set vars.name=…`").at(step.place));
            }
            _ => {
                let message = format!("`[{}]` is a position in a list, and there is no list here", step.name);
                return Err(Fault::new(Code::BadSet, message, "not a list").at(step.place));
            }
        }
    }
    merge(node, value);
    Ok(())
}

/// A new stage or variable on the command line is a typing error; it would have no effect.
fn check_names(root: &Node, steps: &[Step<'_>]) -> Result<(), Fault> {
    let [section, rest @ ..] = steps else { return Ok(()) };
    if section.name == "extends" {
        let fault = Fault::new(Code::BadSet, "`--set` cannot change `extends`", "read before `--set`");
        return Err(fault.at(section.place));
    }
    let kind = match section.name {
        "stages" => (Code::UnknownStage, "stage"),
        "vars" => (Code::UnknownVariable, "variable"),
        _ => return Ok(()),
    };
    let known = root.get(section.name).and_then(|entry| entry.value.mapping());
    let (Some(step), Some(known)) = (rest.first(), known) else { return Ok(()) };
    if known.contains_key(step.name) {
        return Ok(());
    }
    let fault =
        Fault::new(kind.0, format!("no {} `{}`", kind.1, step.name), "`--set` only changes what exists");
    Err(fault.nearest(step.name, known.keys().map(|name| &**name)).at(step.place))
}

fn no_item(step: &Step<'_>, count: usize) -> Fault {
    let items = match count {
        0 => "the list is empty".into(),
        1 => "the list has one item, `[0]`".into(),
        _ => format!("the list has the items `[0]` to `[{}]`", count - 1),
    };
    Fault::new(Code::BadSet, format!("no item `{}`", step.name), items).at(step.place)
}

/// Merges a manifest over the one that it extends, as [`merge`] does, except that an empty stage removes the one
/// below, and a stage without a type must exist already.
fn merge_manifest(base: &mut Node, mut over: Node, name: &str, faults: &mut Faults) {
    if let (Some(below), Some(above)) = (base.get_mut("stages"), over.get_mut("stages"))
        && let (NodeKind::Mapping(below), NodeKind::Mapping(above)) =
            (&mut below.value.kind, &mut above.value.kind)
    {
        above.retain(|stage, Entry { key, value }| {
            let is_empty = matches!(&value.kind, NodeKind::Scalar(scalar) if scalar.is_null());
            if below.contains_key(stage) {
                if is_empty {
                    below.shift_remove(stage);
                }
                return !is_empty;
            }
            if is_empty || (value.mapping().is_some() && value.get("uses").is_none()) {
                let fault =
                    Fault::new(Code::UnknownStage, format!("`{name}` has no stage `{stage}`"), "not there");
                let known = below.keys().map(|stage| &**stage);
                let fault = fault.nearest(stage, known).help("a new stage needs `uses`");
                faults.push(fault.at(*key));
                value.kind = NodeKind::Broken;
            }
            true
        });
    }
    merge(base, over);
}

/// Merges `over` into `base`: mappings are merged key by key, other values are replaced.
fn merge(base: &mut Node, over: Node) {
    match (&mut base.kind, over.kind) {
        (NodeKind::Mapping(below), NodeKind::Mapping(above)) => {
            for (name, entry) in above {
                match below.get_mut(&name) {
                    Some(there) => {
                        there.key = entry.key;
                        merge(&mut there.value, entry.value);
                    }
                    None => drop(below.insert(name, entry)),
                }
            }
        }
        (_, kind) => *base = Node { span: over.span, kind },
    }
}
