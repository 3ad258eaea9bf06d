//! Owns: all errors of a value, not only serde's first. A part with an error is marked as broken and skipped, and the
//! rest is read again until it succeeds: each round finds one error.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    node::{Node, NodeKind},
    source::Span,
};
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// What could be read from a subtree.
pub(crate) struct Reading<'a, T> {
    /// With defaults in place of broken parts.
    pub(crate) value: Option<T>,
    /// The tree that it was read from, with broken parts marked.
    pub(crate) tree: Cow<'a, Node>,
    /// Whether nothing was broken.
    pub(crate) whole: bool,
}

/// Maximum number of rounds for a value.
const ROUNDS_MAX: usize = 100;

/// Reads a `T` from a subtree; errors about missing fields point at `key`.
pub(crate) fn read<'a, T: DeserializeOwned>(
    node: &'a Node,
    key: Span,
    faults: &mut Faults,
) -> Reading<'a, T> {
    read_with(node, key, faults, &|fault| fault)
}

/// The same; `improve` may extend each error.
pub(crate) fn read_with<'a, T: DeserializeOwned>(
    node: &'a Node,
    key: Span,
    faults: &mut Faults,
    improve: &dyn Fn(Fault) -> Fault,
) -> Reading<'a, T> {
    let mut reading = Reading { value: None, tree: Cow::Borrowed(node), whole: !node.holds_broken() };
    for round in 1.. {
        let misread = match T::deserialize(&*reading.tree) {
            Ok(value) => return Reading { value: Some(value), ..reading },
            Err(misread) => misread,
        };
        reading.whole = false;
        let (fault, way) = misread.into_parts();
        let is_done = way.is_empty() || faults.is_full() || round == ROUNDS_MAX;
        let broken = find(reading.tree.to_mut(), &way);
        // The missing field may be one that is broken.
        let follows =
            matches!(fault.code, Code::MissingField | Code::InvalidValue) && has_broken_child(broken);
        if !follows {
            faults.push(improve(fault.at(key)));
        }
        broken.kind = NodeKind::Broken;
        if is_done {
            break;
        }
    }
    reading
}

fn find<'n>(node: &'n mut Node, way: &[usize]) -> &'n mut Node {
    let Some((first, rest)) = way.split_first() else { return node };
    let child = match &mut node.kind {
        NodeKind::Sequence(items) => items.get_mut(*first),
        NodeKind::Mapping(mapping) => mapping.get_index_mut(*first).map(|(_, entry)| &mut entry.value),
        NodeKind::Scalar(_) | NodeKind::Broken => None,
    };
    find(child.expect("invariant: serde walked this way"), rest)
}

fn has_broken_child(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Sequence(items) => items.iter().any(Node::is_broken),
        NodeKind::Mapping(mapping) => mapping.values().any(|entry| entry.value.is_broken()),
        NodeKind::Scalar(_) | NodeKind::Broken => false,
    }
}
