//! Owns: the tree of a manifest, each value with its place. It depends neither on YAML syntax nor on types.

use crate::manifest::source::Span;
use indexmap::IndexMap;
use std::sync::Arc;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: NodeKind,
}

#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Mapping),
    /// A value whose error was reported; readers of the tree skip it.
    Broken,
}

pub(crate) type Mapping = IndexMap<Arc<str>, Entry>;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The place of the key.
    pub(crate) key: Span,
    pub(crate) value: Node,
}

/// Text that has not been interpreted as a number, a word or null.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    /// Shared, so that a thousand aliases of one long text are stored once.
    pub(crate) text: Arc<str>,
    pub(crate) style: Style,
    /// Where the value was defined, if it came from `${vars.…}`.
    pub(crate) origin: Option<Span>,
    /// Whether it contains a `${matrix.…}` that has no value yet.
    pub(crate) is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// May be a number, a boolean or null.
    Plain,
    /// Always text.
    Quoted,
}

/// The value of a scalar in YAML's core schema.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

impl Scalar {
    pub(crate) fn value(&self) -> Value<'_> {
        match &*self.text {
            text if self.style == Style::Quoted => Value::Text(text),
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" => Value::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
            text => number(text).unwrap_or(Value::Text(text)),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value(), Value::Null)
    }
}

/// Parses `12`, `0x1f`, `0o17`, `1e-3`; unlike in YAML 1.1, `1e-3` needs no decimal point.
fn number(text: &str) -> Option<Value<'_>> {
    let radix = |prefix, radix| {
        let digits: &str = text.strip_prefix(prefix)?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| i128::from_str_radix(digits, radix))
    };
    if let Some(integer) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return integer.ok().map(Value::Integer);
    }
    // Rust's parser would also accept `inf`, `nan` and `infinity`.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let integer = || text.parse().ok().map(Value::Integer);
    numeric.then(|| integer().or_else(|| text.parse().ok().map(Value::Float)))?
}

impl Node {
    /// An empty mapping in place of an absent section.
    pub(crate) fn empty(span: Span) -> Node {
        Node { span, kind: NodeKind::Mapping(Mapping::new()) }
    }

    pub(crate) fn mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            NodeKind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.mapping()?.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        match &mut self.kind {
            NodeKind::Mapping(mapping) => mapping.get_mut(key),
            _ => None,
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, NodeKind::Broken)
    }

    /// Whether an error was reported anywhere in this tree.
    pub(crate) fn holds_broken(&self) -> bool {
        match &self.kind {
            NodeKind::Broken => true,
            NodeKind::Scalar(_) => false,
            NodeKind::Sequence(items) => items.iter().any(Node::holds_broken),
            NodeKind::Mapping(mapping) => mapping.values().any(|entry| entry.value.holds_broken()),
        }
    }

    /// Whether anything in this tree needs a value of a matrix.
    pub(crate) fn holds_open(&self) -> bool {
        match &self.kind {
            NodeKind::Scalar(scalar) => scalar.is_open,
            NodeKind::Broken => false,
            NodeKind::Sequence(items) => items.iter().any(Node::holds_open),
            NodeKind::Mapping(mapping) => mapping.values().any(|entry| entry.value.holds_open()),
        }
    }

    /// Finds the value at a field path such as `optimizer.lr` or `sources[0].glob`, or else the deepest field on the
    /// path that is in the text.
    pub(crate) fn find(&self, path: &str) -> Found<'_> {
        let mut found = Found { node: self, key: None, whole: true };
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let below = match &found.node.kind {
                NodeKind::Mapping(mapping) => mapping.get(part).map(|entry| (&entry.value, Some(entry.key))),
                NodeKind::Sequence(items) => {
                    part.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item, None))
                }
                _ => None,
            };
            let Some((node, key)) = below else { return Found { whole: false, ..found } };
            found = Found { node, key: key.or(found.key), whole: true };
        }
        found
    }

    /// Counts the nodes and levels of this tree.
    pub(crate) fn size(&self) -> (usize, usize) {
        let add = |(nodes, levels): (usize, usize), child: &Node| {
            let (more, depth) = child.size();
            (nodes + more, levels.max(depth + 1))
        };
        match &self.kind {
            NodeKind::Sequence(items) => items.iter().fold((1, 1), add),
            NodeKind::Mapping(mapping) => mapping.values().map(|entry| &entry.value).fold((1, 1), add),
            NodeKind::Scalar(_) | NodeKind::Broken => (1, 1),
        }
    }
}

/// The result of [`Node::find`].
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) node: &'a Node,
    /// The nearest key above it.
    pub(crate) key: Option<Span>,
    /// Whether the whole path is in the text.
    pub(crate) whole: bool,
}

impl Found<'_> {
    /// Where the value was defined, if that is elsewhere.
    pub(crate) fn origin(self) -> Option<Span> {
        match &self.node.kind {
            NodeKind::Scalar(scalar) if self.whole => {
                scalar.origin.filter(|origin| *origin != self.node.span)
            }
            _ => None,
        }
    }

    /// The place for an error: the value, or the key of the deepest field above what is missing.
    pub(crate) fn span(self) -> Option<Span> {
        if self.whole { Some(self.node.span) } else { self.key }
    }
}
