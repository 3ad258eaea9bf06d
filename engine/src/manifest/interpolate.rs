//! Owns: `${vars.x}`, `${env.NAME:-default}`, `${secret.NAME}` and `${matrix.x}` in the values of a tree. It does not
//! know stages, only which of their fields may contain `${matrix.…}`.
//!
//! `$${` is a literal `${`. A secret is kept as written, so no tree ever contains its value; the secrets to resolve
//! when a process starts are listed in [`Used`]. A text with `${matrix.…}` stays open, as written, until
//! [`Interpolator::bind`] knows the values of one stage of a matrix.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    node::{Entry, Mapping, Node, NodeKind, Scalar, Style},
    parse::{Budget, DEPTH_MAX, too_deep},
    source::{Sources, Span},
    world::World,
};
use crate::secrets::looks_secret;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What a manifest uses from the environment, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Environment variables whose values are part of the manifest.
    pub environment: BTreeSet<String>,
    /// Secrets; configs contain only their placeholders.
    pub secrets: BTreeSet<String>,
}

/// What a `${…}` may begin with.
const REFERENCES: [&str; 4] = ["vars", "env", "secret", "matrix"];

/// Fields that determine the type and dependencies of a stage, the same for all stages of a matrix.
const CLOSED: [&str; 3] = ["uses", "needs", "matrix"];

/// What is known about a manifest's variables, kept until every stage has its values.
pub(crate) struct Interpolator<'a> {
    world: &'a World<'a>,
    budget: Budget,
    vars: Mapping,
    /// Variables that are already expanded: each once, however often it is used.
    done: HashMap<String, Node>,
    /// What was used from the environment so far.
    pub(crate) used: Used,
}

/// The values of a stage of a matrix, by axis.
pub(crate) struct Binding<'a> {
    pub(crate) values: Vec<(Arc<str>, &'a Node)>,
    /// Whether the axes are known; otherwise consequences are not reported again.
    pub(crate) is_whole: bool,
    /// Axes that were named, whether or not they exist.
    pub(crate) named: BTreeSet<String>,
}

impl<'a> Interpolator<'a> {
    pub(crate) fn new(world: &'a World<'a>, budget: Budget) -> Self {
        Self { world, budget, vars: Mapping::new(), done: HashMap::new(), used: Used::default() }
    }

    /// Replaces each `${…}` except `${matrix.…}`, beginning with those under `vars`.
    pub(crate) fn root(&mut self, root: &mut Node, sources: &Sources, faults: &mut Faults) {
        self.vars = root.get("vars").and_then(|vars| vars.value.mapping()).cloned().unwrap_or_default();
        let mut interpolation =
            Interpolation { own: self, sources, faults, open: vec![], scope: Scope::Elsewhere };
        let NodeKind::Mapping(sections) = &mut root.kind else { return };
        for (name, section) in sections {
            match &mut section.value.kind {
                // Each variable is expanded once, and its errors are reported once.
                NodeKind::Mapping(vars) if &**name == "vars" => interpolation.variables(vars),
                NodeKind::Mapping(stages) if &**name == "stages" => interpolation.stages(stages),
                _ => interpolation.expand(&mut section.value, 2),
            }
        }
    }

    /// Counts the values that a matrix creates against the limit of a manifest.
    pub(crate) fn pay(&mut self, nodes: usize) -> Result<(), Fault> {
        self.budget.take(nodes, 0)
    }

    /// Copies a stage with these values in place of each `${matrix.…}`; omits what all stages of a matrix share.
    pub(crate) fn bind(
        &mut self,
        stage: &Entry,
        binding: &mut Binding<'_>,
        sources: &Sources,
        faults: &mut Faults,
    ) -> Entry {
        let NodeKind::Mapping(fields) = &stage.value.kind else { return stage.clone() };
        let own = fields.iter().filter(|(name, _)| !matches!(&***name, "needs" | "matrix"));
        let fields: Mapping = own.map(|(name, field)| (name.clone(), field.clone())).collect();
        let mut value = Node { span: stage.value.span, kind: NodeKind::Mapping(fields) };
        if let Err(fault) = self.budget.take(value.size().0, 0) {
            faults.push(fault.at(stage.key));
            return Entry { key: stage.key, value: Node { kind: NodeKind::Broken, ..value } };
        }
        let mut interpolation =
            Interpolation { own: self, sources, faults, open: vec![], scope: Scope::Bound(binding) };
        interpolation.close(&mut value, 3);
        Entry { key: stage.key, value }
    }
}

/// Where a value is, which determines the meaning of `${matrix.…}` in it.
enum Scope<'a, 'b> {
    /// Empty.
    Elsewhere,
    /// In a stage's settings: the stage has no values yet.
    Stage,
    /// In the settings of a stage with these values.
    Bound(&'a mut Binding<'b>),
}

struct Interpolation<'a, 'b, 'w> {
    own: &'a mut Interpolator<'w>,
    sources: &'a Sources,
    faults: &'a mut Faults,
    open: Vec<String>,
    scope: Scope<'a, 'b>,
}

impl Interpolation<'_, '_, '_> {
    fn variables(&mut self, vars: &mut Mapping) {
        for (name, entry) in vars {
            let value = self.variable(name);
            entry.value = self.faults.take(value).unwrap_or(Node { kind: NodeKind::Broken, ..entry.value });
        }
    }

    fn stages(&mut self, stages: &mut Mapping) {
        for (name, stage) in stages {
            self.key(name, stage.key);
            let NodeKind::Mapping(fields) = &mut stage.value.kind else {
                self.expand(&mut stage.value, 3);
                continue;
            };
            for (name, field) in fields {
                self.key(name, field.key);
                self.scope = if CLOSED.contains(&&**name) { Scope::Elsewhere } else { Scope::Stage };
                self.expand(&mut field.value, 4);
            }
            self.scope = Scope::Elsewhere;
        }
    }

    /// Expands what is still open.
    fn close(&mut self, node: &mut Node, depth: usize) {
        match &mut node.kind {
            NodeKind::Sequence(items) => items.iter_mut().for_each(|item| self.close(item, depth + 1)),
            NodeKind::Mapping(mapping) => {
                mapping.values_mut().for_each(|entry| self.close(&mut entry.value, depth + 1));
            }
            NodeKind::Scalar(scalar) if scalar.is_open => self.expand(node, depth),
            NodeKind::Scalar(_) | NodeKind::Broken => {}
        }
    }

    fn key(&mut self, name: &str, place: Span) {
        if name.contains("${") {
            self.faults.push(bad("`${…}` is not allowed in a key").at(place));
        }
    }

    fn expand(&mut self, node: &mut Node, depth: usize) {
        match &mut node.kind {
            NodeKind::Sequence(items) => items.iter_mut().for_each(|item| self.expand(item, depth + 1)),
            NodeKind::Mapping(mapping) => {
                for (name, entry) in mapping {
                    self.key(name, entry.key);
                    self.expand(&mut entry.value, depth + 1);
                }
            }
            NodeKind::Scalar(scalar) if scalar.text.contains("${") => {
                let value = self.scalar(scalar, node.span, depth);
                *node = self.faults.take(value).unwrap_or(Node { span: node.span, kind: NodeKind::Broken });
            }
            NodeKind::Scalar(_) | NodeKind::Broken => {}
        }
    }

    fn scalar(&mut self, scalar: &Scalar, span: Span, depth: usize) -> Result<Node, Fault> {
        let (mut text, mut origin, mut from, mut broken) = (String::new(), None, 0, false);
        let mut written = self.sources.slice(span).match_indices("${");
        for (start, _) in scalar.text.match_indices("${") {
            let in_source = written.next();
            let Some(before) = scalar.text.get(from..start) else { continue }; // within a reported one
            let rest = &scalar.text[start..];
            if let Some(before) = before.strip_suffix('$').filter(|_| !rest.starts_with("${secret.")) {
                text.extend([before, "${"]);
                from = start + 2;
                continue;
            }
            let expression = &rest[..rest.find('}').map_or(rest.len(), |end| end + 1)];
            let place = self.part(span, in_source.map(|(start, _)| start), expression);
            if before.ends_with('$') {
                return Err(bad("a `${secret.…}` cannot be escaped").at(place));
            }
            if expression.starts_with("${matrix.") && matches!(self.scope, Scope::Stage) {
                return Ok(Node { span, kind: NodeKind::Scalar(Scalar { is_open: true, ..scalar.clone() }) });
            }
            let value = self.value(expression, place).map_err(|fault| fault.at(place));
            let value = self.faults.take(value).unwrap_or(Node { span: place, kind: NodeKind::Broken });
            match value.kind {
                NodeKind::Broken => broken = true,
                // A variable that is the whole value keeps its type, also in quotes.
                NodeKind::Scalar(_) if expression.len() == scalar.text.len() => {
                    return Ok(Node { span, ..value });
                }
                _ if expression.len() == scalar.text.len() => {
                    let (nodes, levels) = value.size();
                    let fits = if depth + levels > DEPTH_MAX { Err(too_deep()) } else { Ok(()) };
                    let paid = fits.and_then(|()| self.own.budget.take(nodes, 0));
                    return paid.map(|()| value).map_err(|fault| fault.at(place));
                }
                NodeKind::Scalar(value) => {
                    self.own.budget.take(0, value.text.len()).map_err(|fault| fault.at(place))?;
                    text.extend([before, &value.text]);
                    origin = origin.or(value.origin);
                }
                _ => return Err(bad("a list or mapping within text").at(place)),
            }
            from = start + expression.len();
        }
        text += &scalar.text[from..];
        let whole = Scalar { text: text.into(), style: scalar.style, origin, is_open: false };
        Ok(Node { span, kind: if broken { NodeKind::Broken } else { NodeKind::Scalar(whole) } })
    }

    /// Returns the value of a `${…}`.
    fn value(&mut self, expression: &str, place: Span) -> Result<Node, Fault> {
        let inner = expression[2..].strip_suffix('}').ok_or_else(|| bad("`${` without a closing `}`"))?;
        if inner.contains("${") {
            return Err(bad("`${…}` cannot be nested").help("define the inner value under `vars`"));
        }
        let scalar = |text: &str, style| Node {
            span: place,
            kind: NodeKind::Scalar(Scalar { text: text.into(), style, origin: None, is_open: false }),
        };
        match inner.split_once('.').unwrap_or((inner, "")) {
            ("vars", name) => self.variable(name),
            ("env", inner) => {
                let value = self.environment(inner, Use::Plain)?;
                self.own.used.environment.insert(name_of(inner).to_owned());
                let style = if value.is_empty() { Style::Quoted } else { Style::Plain };
                Ok(scalar(&value, style))
            }
            ("secret", inner) => {
                self.environment(inner, Use::Secret)?;
                self.own.used.secrets.insert(name_of(inner).to_owned());
                Ok(scalar(expression, Style::Quoted))
            }
            ("matrix", name) => self.axis(name),
            (other, _) => {
                let unknown = bad("unknown reference in `${…}`");
                let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
                match inner.contains('.') && is_word(other) {
                    true => Err(unknown.nearest(other, REFERENCES)),
                    false => Err(unknown.help(shell_help(inner))),
                }
            }
        }
    }

    /// Reads `NAME:-default`; as in the shell, the default replaces an empty value too.
    fn environment(&self, inner: &str, wanted: Use) -> Result<String, Fault> {
        let (name, code) = (name_of(inner), Code::UndefinedEnvironment);
        let is_secret = wanted == Use::Secret;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) {
            let fault = bad("not a valid variable name");
            return Err(match name.split_once(':') {
                Some((name, default)) => {
                    fault.help(format!("a default follows `:-`: `${{env.{name}:-{default}}}`"))
                }
                None => fault.help("names consist of letters, digits and `_`"),
            });
        }
        let default = inner.split_once(":-").map(|(_, default)| default.to_owned());
        match wanted {
            Use::Secret if default.as_ref().is_some_and(|default| !default.is_empty()) => {
                let help = format!(
                    "a default is stored and printed as it is written: set `{name}` in the environment, or write \
                     `${{secret.{name}:-}}` if it may be missing; for a value that is no secret, use `${{env.…}}`"
                );
                return Err(bad("a secret cannot have a default").help(help));
            }
            Use::Plain if looks_secret(name) => {
                let message = format!(
                    "`{name}` looks like a secret, and values of `${{env.…}}` are stored and printed"
                );
                let help = format!(
                    "write `${{secret.{name}}}` in the line of a command, which passes it as `${name}`; rename the \
                     variable if it is no secret"
                );
                return Err(bad(&message).help(help));
            }
            _ => {}
        }
        let found = (self.own.world.variable)(name);
        if is_secret {
            // Only stages that run need it.
            return Ok(found.unwrap_or_default());
        }
        let value = found.filter(|value| !value.is_empty() || default.is_none());
        let undefined = || {
            let message = format!("the environment variable `{name}` is not set");
            let help = format!("set `{name}` in the environment, or give a default: `${{env.{name}:-…}}`");
            Fault::new(code, message, "needed here").help(help)
        };
        let value = value.or(default).ok_or_else(undefined)?;
        if value.contains(char::REPLACEMENT_CHARACTER) {
            let message = format!("the value of the environment variable `{name}` is not UTF-8");
            return Err(
                Fault::new(code, message, "needed here").help("manifests must be UTF-8; set another value")
            );
        }
        Ok(value)
    }

    /// Returns the value of this stage on an axis.
    fn axis(&mut self, name: &str) -> Result<Node, Fault> {
        let Scope::Bound(binding) = &mut self.scope else {
            let help = "use it in `with` and other settings of a stage, not in `uses`, `needs` or `matrix`";
            return Err(bad("`${matrix.…}` is not available here").help(help));
        };
        binding.named.insert(name.to_owned());
        match binding.values.iter().find(|(axis, _)| &**axis == name) {
            Some((_, value)) => {
                let mut value = (*value).clone();
                if let NodeKind::Scalar(scalar) = &mut value.kind {
                    scalar.origin = Some(value.span);
                }
                Ok(value)
            }
            None if !binding.is_whole => Err(Fault::consequence()),
            None if binding.values.is_empty() => {
                let fault = Fault::new(Code::UnknownAxis, format!("no axis `{name}`"), "no matrix here");
                Err(fault.help("give the stage a `matrix`, or a dependency that has one"))
            }
            None => {
                let fault = Fault::new(Code::UnknownAxis, format!("no axis `{name}`"), "not in the matrix");
                Err(fault.nearest(name, binding.values.iter().map(|(axis, _)| &**axis)))
            }
        }
    }

    fn variable(&mut self, name: &str) -> Result<Node, Fault> {
        if !self.own.done.contains_key(name) {
            if self.open.len() >= DEPTH_MAX || self.open.iter().any(|open| open == name) {
                let way = format!("{} -> {name}", self.open.join(" -> "));
                return Err(Fault::new(Code::VariableLoop, "variables refer to each other in a loop", way));
            }
            let unknown =
                || Fault::new(Code::UnknownVariable, format!("no variable `{name}`"), "not under `vars`");
            let known = || self.own.vars.keys().map(|known| &**known);
            let mut value = self
                .own
                .vars
                .get(name)
                .ok_or_else(|| self.faults.nearest(unknown(), name, known()))?
                .value
                .clone();
            self.open.push(name.to_owned());
            let scope = std::mem::replace(&mut self.scope, Scope::Elsewhere);
            self.expand(&mut value, 1);
            self.scope = scope;
            self.open.pop();
            if let NodeKind::Scalar(scalar) = &mut value.kind {
                scalar.origin = Some(value.span);
            }
            self.own.done.insert(name.to_owned(), value);
        }
        match &self.own.done[name] {
            Node { kind: NodeKind::Broken, .. } => Err(Fault::consequence()),
            done => Ok(done.clone()),
        }
    }

    /// Narrows a scalar's place to a `${…}` in it, which begins at `start` in the text as written, including quotes
    /// and escapes.
    fn part(&self, span: Span, start: Option<usize>, expression: &str) -> Span {
        let written = self.sources.slice(span);
        let found = start.filter(|start| written[*start..].starts_with(expression));
        found.map_or(span, |start| span.part(start..start + expression.len()))
    }
}

/// What an environment variable is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Its value becomes part of the manifest.
    Plain,
    /// Its name stays in the manifest, and its value is read by the process that needs it.
    Secret,
}

/// The name in `NAME:-default`.
fn name_of(inner: &str) -> &str {
    inner.split_once(":-").map_or(inner, |(name, _)| name)
}

/// Help for `${F}` and `${F%.txt}`, which were probably written for the shell.
fn shell_help(inner: &str) -> String {
    let is_name = inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let plain = if is_name && !inner.is_empty() { format!("`${inner}` or ") } else { String::new() };
    format!(
        "a variable of the shell is written {plain}`$${{{inner}}}`; `${{…}}` of the manifest begins with `vars.`, \
         `env.`, `secret.` or `matrix.`"
    )
}

fn bad(message: &str) -> Fault {
    Fault::new(Code::BadInterpolation, message, "here")
}
