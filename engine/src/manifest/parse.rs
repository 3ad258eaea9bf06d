//! Owns: YAML text to tree, within a budget. It does not depend on the meaning of keys.
//!
//! The parser is granit-parser: YAML 1.2, byte offsets for each event, its own limits on nesting.

use crate::manifest::{
    fault::{Code, Fault, Faults},
    mask::Mask,
    node::{Entry, Mapping, Node, NodeKind, Scalar, Style},
    source::Span,
};
use granit_parser::{Event, Options, Parser, ScalarStyle, StrInput, options};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// Maximum nesting depth, which also limits the recursion of all functions on trees.
pub(crate) const DEPTH_MAX: usize = 64;

/// The remaining budget of a manifest, for all its layers, aliases and variables.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
    /// Its end was reported; everything after that is a consequence.
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
            let message = "the manifest is too large with its aliases and variables expanded";
            return Err(Fault::new(code, message, "the limit is reached here"));
        };
        (self.nodes, self.bytes) = left;
        Ok(())
    }
}

/// Parses the document in `span`, if there is one; duplicate keys are added to `faults` and do not stop it.
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
                return Err(Fault::new(
                    Code::Syntax,
                    "a manifest must be a single YAML document",
                    "a second one begins here",
                )
                .at(span));
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
                let (fault, offset) = explained(&self.mask.text, message.into_owned(), offset);
                Err(fault.at(place(offset, offset)))
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Node, Fault> {
        self.budget.take(1, 0).map_err(|fault| fault.at(span))?;
        if depth > DEPTH_MAX {
            return Err(too_deep().at(span));
        }
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema_tag("str")) {
            let message = format!("YAML tags are not supported: `{}`", tag.original());
            let fault = Fault::new(Code::Syntax, message, "a tag on this value");
            return Err(fault.help("quote text that begins with `!`").at(span));
        }
        let anchor = event.anchor_id();
        let node = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let style = if plain { Style::Plain } else { Style::Quoted };
                let text = self.mask.unmask(text).into();
                Node { span, kind: NodeKind::Scalar(Scalar { text, style, origin: None, is_open: false }) }
            }
            Event::SequenceStart(..) => self.sequence(span, depth)?,
            Event::MappingStart(..) => self.mapping(span, depth)?,
            _ => return Err(unexpected(span)),
        };
        if let Some(id) = anchor {
            // Nested anchors are stored separately, so each is counted.
            self.budget.take(node.size().0, 0).map_err(|fault| fault.at(span))?;
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    /// Copies the value of an anchor and counts it as if it were written out, so alias bombs exceed the budget.
    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<Node, Fault> {
        let within = || Fault::new(Code::Syntax, "an alias refers to the value that contains it", "endless");
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
                    return Ok(Node { span, kind: NodeKind::Sequence(items) });
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
                (_, key) => {
                    return Err(Fault::new(Code::Syntax, "a key must be a string", "not a string")
                        .help("quote text that begins with `{` or `[`")
                        .at(key));
                }
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
        Ok(Node { span: Span { end, ..span }, kind: NodeKind::Mapping(mapping) })
    }
}

/// Returns the end of a closing bracket; a block has none and ends with its last item.
fn bracket(close: Span) -> u32 {
    if close.end > close.start { close.end } else { 0 }
}

/// Adds the keys under `<<`: existing keys win, then earlier mappings of a list over later ones.
fn merge_key(mapping: &mut Mapping, key: Span, value: Node) -> Result<(), Fault> {
    match value.kind {
        NodeKind::Mapping(entries) => {
            for (name, entry) in entries {
                mapping.entry(name).or_insert(entry);
            }
            Ok(())
        }
        NodeKind::Sequence(items) => items.into_iter().try_for_each(|item| match item.kind {
            NodeKind::Mapping(_) => merge_key(mapping, key, item),
            _ => Err(not_a_mapping(item.span)),
        }),
        _ => Err(not_a_mapping(key)),
    }
}

/// Adds help to an error of the YAML parser, and corrects the place of a misplaced tab.
fn explained(text: &str, message: String, offset: usize) -> (Fault, usize) {
    let line = text[..offset].rfind('\n').map_or(0, |end| end + 1);
    // The parser reports the value before the line that begins with a tab.
    let lines = text[line..].split_inclusive('\n').scan(line, |at, line| {
        *at += line.len();
        Some((*at - line.len(), line))
    });
    let tab = |(at, line): (usize, &str)| {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[..indent].find('\t').map(|tab| at + tab)
    };
    if message.contains("tab")
        && let Some(tab) = lines.take(8).find_map(tab)
    {
        let fault = Fault::new(Code::Syntax, "a tab cannot be used for indentation", "a tab");
        return (fault.help("indent with spaces"), tab);
    }
    let fault = Fault::new(Code::Syntax, &message, "here");
    let fault = match &message {
        text if text.contains("anchor") => {
            fault.help("quote text that begins with `*` or `&`: \"**/*.html\"; an alias `*NAME` needs an anchor `&NAME` before it")
        }
        text if text.contains("mapping values") || text.contains("':'") => {
            fault.help("quote text that contains `: `, and check the indentation")
        }
        text if text.contains("character that cannot start") || text.contains("cannot start any token") => {
            fault.help("quote text that begins with one of @ ` % ! & * | > { [")
        }
        text if text.contains("block mapping") || text.contains("block collection") => {
            fault.help("check the indentation: fields of the same level begin in the same column")
        }
        _ => fault,
    };
    (fault, offset)
}

fn not_a_mapping(span: Span) -> Fault {
    Fault::new(Code::WrongType, "`<<` takes a mapping or a list of mappings", "not a mapping").at(span)
}

fn unexpected(span: Span) -> Fault {
    Fault::new(Code::Syntax, "a value is not allowed here", "here").at(span)
}

pub(crate) fn too_deep() -> Fault {
    Fault::new(Code::TooLarge, format!("nested more than {DEPTH_MAX} levels deep"), "too deep")
}
