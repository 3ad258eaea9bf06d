//! Owns: YAML text to tree, within a budget. Knows nothing of what the keys mean.
//!
//! The parser is granit-parser: YAML 1.2, byte offsets at each event, its own limits on nesting.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    mask::Mask,
    node::{Entry, Kind, Mapping, Node, Scalar, Style},
    source::Span,
};
use granit_parser::{Event, Options, Parser, ScalarStyle, StrInput, options};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// Levels of nesting; every walk over a tree recurses at most this deep.
pub(crate) const DEPTH_MAX: usize = 64;

/// What a manifest may still cost, with all its layers, aliases and variables.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
    /// Its end has been reported; everything after is a consequence.
    spent: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: 1_000_000, bytes: 64 << 20, spent: false }
    }
}

impl Budget {
    pub(crate) fn take(&mut self, nodes: usize, bytes: usize) -> Result<(), Fault> {
        let left = self.nodes.checked_sub(nodes).zip(self.bytes.checked_sub(bytes));
        let Some(left) = left.filter(|_| !self.spent) else {
            let code =
                if std::mem::replace(&mut self.spent, true) { Code::Consequence } else { Code::TooLarge };
            let message = "the manifest is too large, with all that its aliases and variables stand for";
            return Err(Fault::new(code, message, "the limit is reached here"));
        };
        (self.nodes, self.bytes) = left;
        Ok(())
    }
}

/// Reads the one document that fills `span`, or none; duplicate keys go to `faults` and do not stop it.
pub(crate) fn parse(
    text: &str,
    span: Span,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Result<Option<Node>, Fault> {
    budget.take(0, text.len()).map_err(|fault| fault.at(span))?;
    let nesting = DEPTH_MAX + 1;
    let limits: Options = options! { flow_nesting_limit: nesting, block_nesting_limit: nesting };
    let mask = Mask::new(text);
    let events = Parser::new_from_str_with_options(&mask.text, limits);
    let mut reader = Reader { events, mask: &mask, file: span, anchors: HashMap::new(), budget, faults };
    let mut root = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => break,
            (Event::StreamStart | Event::DocumentEnd, _) => {}
            (Event::DocumentStart(..), span) if root.is_some() => {
                return Err(Fault::new(Code::Syntax, "a manifest is one document", "a second one").at(span));
            }
            (Event::DocumentStart(..), _) => {
                let first = reader.next()?;
                root = Some(reader.node(first, 1)?);
            }
            (_, span) => return Err(unexpected(span)),
        }
    }
    Ok(root)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    mask: &'a Mask<'a>,
    file: Span,
    anchors: HashMap<usize, Node>,
    budget: &'a mut Budget,
    faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        let end = self.mask.text.len();
        let place = |start, end| self.file.part(self.mask.written(start)..self.mask.written(end));
        match self.events.next() {
            None => Ok((Event::StreamEnd, place(end, end))),
            Some(Ok((event, span))) => {
                let range = span.byte_range().unwrap_or(end..end);
                Ok((event, place(range.start, range.end)))
            }
            Some(Err(error)) => {
                let offset = error.marker().byte_offset().unwrap_or(end).min(end);
                let message = self.mask.unmask(Cow::Owned(error.info()));
                Err(Fault::new(Code::Syntax, message, "here").at(place(offset, offset)))
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Node, Fault> {
        self.budget.take(1, 0).map_err(|fault| fault.at(span))?;
        if depth > DEPTH_MAX {
            return Err(too_deep().at(span));
        }
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema_tag("str")) {
            let message = format!("the tag `{}` is not read", tag.original());
            return Err(Fault::new(Code::Syntax, message, "on this value").at(span));
        }
        let anchor = event.anchor_id();
        let node = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let style = if plain { Style::Plain } else { Style::Quoted };
                let text = self.mask.unmask(text).into();
                Node { span, kind: Kind::Scalar(Scalar { text, style, origin: None, is_open: false }) }
            }
            Event::SequenceStart(..) => self.sequence(span, depth)?,
            Event::MappingStart(..) => self.mapping(span, depth)?,
            _ => return Err(unexpected(span)),
        };
        if let Some(id) = anchor {
            // Anchors within anchors are kept once each, so they are paid for once each.
            self.budget.take(node.size().0, 0).map_err(|fault| fault.at(span))?;
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    /// Copies what the anchor holds, at the price of a tree written out: bombs run out of budget.
    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<Node, Fault> {
        let within = || Fault::new(Code::Syntax, "an alias within its own anchor", "it never ends");
        let target = self.anchors.get(&id).ok_or_else(|| within().at(span))?;
        let (nodes, levels) = target.size();
        self.budget.take(nodes, 0).map_err(|fault| fault.at(span))?;
        if depth + levels > DEPTH_MAX + 1 { Err(too_deep().at(span)) } else { Ok(target.clone()) }
    }

    fn sequence(&mut self, span: Span, depth: usize) -> Result<Node, Fault> {
        let (mut items, mut end) = (vec![], span.end);
        loop {
            match self.next()? {
                (Event::SequenceEnd, close) => {
                    let span = Span { end: end.max(bracket(close)), ..span };
                    return Ok(Node { span, kind: Kind::Sequence(items) });
                }
                item => items.push(self.node(item, depth + 1)?),
            }
            end = items.last().map_or(end, |item| end.max(item.span.end));
        }
    }

    fn mapping(&mut self, span: Span, depth: usize) -> Result<Node, Fault> {
        let (mut mapping, mut merged, mut end) = (Mapping::new(), vec![], span.end);
        loop {
            let (name, style, key) = match self.next()? {
                (Event::MappingEnd, close) => {
                    end = end.max(bracket(close));
                    break;
                }
                (Event::Scalar(name, style, ..), key) => (self.mask.unmask(name), style, key),
                (_, key) => return Err(Fault::new(Code::Syntax, "a key is plain text", "not this").at(key)),
            };
            let value = self.next()?;
            let value = self.node(value, depth + 1)?;
            end = end.max(key.end).max(value.span.end);
            if name == "<<" && style == ScalarStyle::Plain {
                merged.push((key, value));
            } else if let Some(first) = mapping.get(&*name) {
                let Entry { key: first, .. } = *first;
                let fault = Fault::new(Code::DuplicateKey, format!("`{name}` is given twice"), "again here");
                self.faults.push(fault.at(key).also(first, "first here"));
            } else {
                mapping.insert(Arc::from(name), Entry { key, value });
            }
        }
        merged.into_iter().try_for_each(|(key, value)| merge_key(&mut mapping, key, value))?;
        Ok(Node { span: Span { end, ..span }, kind: Kind::Mapping(mapping) })
    }
}

/// Returns where a closing bracket ends; a block has none, and its last item ends it.
fn bracket(close: Span) -> u32 {
    if close.end > close.start { close.end } else { 0 }
}

/// Adds what stands under `<<`: keys of its own win, then earlier mappings of a list over later ones.
fn merge_key(mapping: &mut Mapping, key: Span, value: Node) -> Result<(), Fault> {
    match value.kind {
        Kind::Mapping(entries) => {
            for (name, entry) in entries {
                mapping.entry(name).or_insert(entry);
            }
            Ok(())
        }
        Kind::Sequence(items) => items.into_iter().try_for_each(|item| match item.kind {
            Kind::Mapping(_) => merge_key(mapping, key, item),
            _ => Err(not_a_mapping(item.span)),
        }),
        _ => Err(not_a_mapping(key)),
    }
}

fn not_a_mapping(span: Span) -> Fault {
    Fault::new(Code::WrongType, "`<<` takes a mapping, or a list of them", "not one").at(span)
}

fn unexpected(span: Span) -> Fault {
    Fault::new(Code::Syntax, "no value can stand here", "here").at(span)
}

pub(crate) fn too_deep() -> Fault {
    Fault::new(Code::TooLarge, format!("nested deeper than {DEPTH_MAX} levels"), "too deep here")
}
