//! Owns: `${vars.x}`, `${env.NAME:-default}` and `${secret.NAME}` in the values of a tree. Knows no stages.
//!
//! `$${` is a plain `${`. A secret stays as it is written, so that no tree ever holds one; what has to be
//! resolved when a process starts is listed in [`Used`].

use crate::manifest::{
    fault::{Code, Fault, Faults},
    layers::World,
    node::{Kind, Mapping, Node, Scalar, Style},
    parse::{Budget, DEPTH_MAX, too_deep},
    source::{Sources, Span},
};
use std::collections::{BTreeSet, HashMap};

/// What a manifest takes from the environment, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Variables of the environment whose values stand in the manifest.
    pub environment: BTreeSet<String>,
    /// Secrets; their placeholders still stand in configs.
    pub secrets: BTreeSet<String>,
}

/// Replaces each `${…}`, those under `vars` first.
pub(crate) fn interpolate(
    root: &mut Node,
    world: &World<'_>,
    sources: &Sources,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Used {
    let vars = root.get("vars").and_then(|vars| vars.value.mapping()).cloned().unwrap_or_default();
    let (done, open, used) = (HashMap::new(), vec![], Used::default());
    let mut interpolation = Interpolation { world, sources, budget, faults, vars, done, open, used };
    let Kind::Mapping(sections) = &mut root.kind else { return interpolation.used };
    for (name, section) in sections {
        match &mut section.value.kind {
            // Each variable is expanded, and its faults told, once.
            Kind::Mapping(vars) if &**name == "vars" => interpolation.variables(vars),
            _ => interpolation.expand(&mut section.value, 2),
        }
    }
    interpolation.used
}

struct Interpolation<'a> {
    world: &'a World<'a>,
    sources: &'a Sources,
    budget: &'a mut Budget,
    faults: &'a mut Faults,
    vars: Mapping,
    /// Variables already expanded: each once, however often it is used.
    done: HashMap<String, Node>,
    open: Vec<String>,
    used: Used,
}

impl Interpolation<'_> {
    fn variables(&mut self, vars: &mut Mapping) {
        for (name, entry) in vars {
            let value = self.variable(name);
            entry.value = self.faults.take(value).unwrap_or(Node { kind: Kind::Broken, ..entry.value });
        }
    }

    fn expand(&mut self, node: &mut Node, depth: usize) {
        match &mut node.kind {
            Kind::Sequence(items) => items.iter_mut().for_each(|item| self.expand(item, depth + 1)),
            Kind::Mapping(mapping) => {
                for (name, entry) in mapping {
                    if name.contains("${") {
                        self.faults.push(bad("no `${…}` is read in a key").at(entry.key));
                    }
                    self.expand(&mut entry.value, depth + 1);
                }
            }
            Kind::Scalar(scalar) if scalar.text.contains("${") => {
                let value = self.scalar(scalar, node.span, depth);
                *node = self.faults.take(value).unwrap_or(Node { span: node.span, kind: Kind::Broken });
            }
            Kind::Scalar(_) | Kind::Broken => {}
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
            let value = self.value(expression, place).map_err(|fault| fault.at(place));
            let value = self.faults.take(value).unwrap_or(Node { span: place, kind: Kind::Broken });
            match value.kind {
                Kind::Broken => broken = true,
                // Alone, a variable keeps its type, in quotes too.
                Kind::Scalar(_) if expression.len() == scalar.text.len() => {
                    return Ok(Node { span, ..value });
                }
                _ if expression.len() == scalar.text.len() => {
                    let (nodes, levels) = value.size();
                    let fits = if depth + levels > DEPTH_MAX { Err(too_deep()) } else { Ok(()) };
                    let paid = fits.and_then(|()| self.budget.take(nodes, 0));
                    return paid.map(|()| value).map_err(|fault| fault.at(place));
                }
                Kind::Scalar(value) => {
                    self.budget.take(0, value.text.len()).map_err(|fault| fault.at(place))?;
                    text.extend([before, &value.text]);
                    origin = origin.or(value.origin);
                }
                _ => return Err(bad("a list or mapping within text").at(place)),
            }
            from = start + expression.len();
        }
        text += &scalar.text[from..];
        let whole = Scalar { text: text.into(), style: scalar.style, origin };
        Ok(Node { span, kind: if broken { Kind::Broken } else { Kind::Scalar(whole) } })
    }

    /// Returns what a `${…}` stands for.
    fn value(&mut self, expression: &str, place: Span) -> Result<Node, Fault> {
        let inner = expression[2..].strip_suffix('}').ok_or_else(|| bad("`${` without `}`"))?;
        if inner.contains("${") {
            return Err(bad("a `${…}` within another").help("give the inner one a name under `vars`"));
        }
        let scalar = |text: &str, style| Node {
            span: place,
            kind: Kind::Scalar(Scalar { text: text.into(), style, origin: None }),
        };
        match inner.split_once('.').unwrap_or((inner, "")) {
            ("vars", name) => self.variable(name),
            ("env", inner) => {
                let value = self.environment(inner, Code::UndefinedEnvironment, "environment variable")?;
                self.used.environment.insert(name_of(inner).to_owned());
                let style = if value.is_empty() { Style::Quoted } else { Style::Plain };
                Ok(scalar(&value, style))
            }
            ("secret", inner) => {
                self.environment(inner, Code::UndefinedSecret, "secret")?;
                self.used.secrets.insert(name_of(inner).to_owned());
                Ok(scalar(expression, Style::Quoted))
            }
            (other, _) => Err(bad("unknown kind of `${…}`").nearest(other, ["vars", "env", "secret"])),
        }
    }

    /// Reads `NAME:-default`; as in the shell, an empty value gives way to a default.
    fn environment(&self, inner: &str, code: Code, kind: &str) -> Result<String, Fault> {
        let name = name_of(inner);
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) {
            return Err(bad("not a name of the environment").help("names are letters, digits and `_`"));
        }
        let default = inner.split_once(":-").map(|(_, default)| default.to_owned());
        let value = (self.world.variable)(name).filter(|value| !value.is_empty() || default.is_none());
        let section = if code == Code::UndefinedSecret { "secret" } else { "env" };
        let undefined = || {
            Fault::new(code, format!("the {kind} `{name}` is not set"), "needed here").help(format!(
                "set `{name}` in the environment, or give a default: `${{{section}.{name}:-…}}`"
            ))
        };
        value.or(default).ok_or_else(undefined)
    }

    fn variable(&mut self, name: &str) -> Result<Node, Fault> {
        if !self.done.contains_key(name) {
            if self.open.len() >= DEPTH_MAX || self.open.iter().any(|open| open == name) {
                let way = format!("{} -> {name}", self.open.join(" -> "));
                return Err(Fault::new(Code::VariableLoop, "variables refer to each other in a loop", way));
            }
            let unknown =
                || Fault::new(Code::UnknownVariable, format!("no variable `{name}`"), "not under `vars`");
            let known = || self.vars.keys().map(|known| &**known);
            let mut value = self
                .vars
                .get(name)
                .ok_or_else(|| self.faults.nearest(unknown(), name, known()))?
                .value
                .clone();
            self.open.push(name.to_owned());
            self.expand(&mut value, 1);
            self.open.pop();
            if let Kind::Scalar(scalar) = &mut value.kind {
                scalar.origin = Some(value.span);
            }
            self.done.insert(name.to_owned(), value);
        }
        match &self.done[name] {
            Node { kind: Kind::Broken, .. } => Err(Fault::consequence()),
            done => Ok(done.clone()),
        }
    }

    /// Narrows a scalar's place to a `${…}` in it, which starts at `start` in the text as written, quotes
    /// and escapes included.
    fn part(&self, span: Span, start: Option<usize>, expression: &str) -> Span {
        let written = self.sources.slice(span);
        let found = start.filter(|start| written[*start..].starts_with(expression));
        found.map_or(span, |start| span.part(start..start + expression.len()))
    }
}

/// The name in `NAME:-default`.
fn name_of(inner: &str) -> &str {
    inner.split_once(":-").map_or(inner, |(name, _)| name)
}

fn bad(message: &str) -> Fault {
    Fault::new(Code::BadInterpolation, message, "here")
}
