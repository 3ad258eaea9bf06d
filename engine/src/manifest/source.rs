//! Owns: the texts that values come from, and positions in them.
//!
//! All texts share one space of offsets, as in rustc's source map: a span needs no file, and a command-line argument
//! is a source like any other. It does not depend on YAML.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::{ops::Range, sync::Arc};

/// A range of bytes in a source, as offsets into all sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// Narrows to the bytes `range`, relative to the start of this span.
    pub(crate) fn part(self, range: Range<usize>) -> Span {
        Span { start: self.start + range.start as u32, end: self.start + range.end as u32 }
    }
}

impl From<Span> for SourceSpan {
    fn from(span: Span) -> Self {
        (span.start as usize, (span.end - span.start) as usize).into()
    }
}

#[derive(Debug, Clone)]
struct Source {
    name: Arc<str>,
    text: Arc<str>,
    base: u32,
}

/// All texts, in the order of reading.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

/// The beginning of a span: line and column, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// File name, or `--set`.
    pub source: Arc<str>,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

/// Bytes of a long line to show on each side of a label.
const LINE_DRAWN: usize = 160;

impl Sources {
    /// Adds a text and returns it with its span; `None` if the total exceeds 4 GiB.
    ///
    /// Control characters become `?`, so that none reaches a terminal; a text that contains any is refused by its
    /// reader.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> Option<(Arc<str>, Span)> {
        // One byte apart, so that the end of a source is not the start of the next.
        let base = self.0.last().map_or(Some(0), |last| last.end().checked_add(1))?;
        let end = base.checked_add(u32::try_from(text.len()).ok()?)?;
        let text: Arc<str> = if text.contains(is_control) { printable(text).into() } else { text.into() };
        self.0.push(Source { name: name.into(), text: text.clone(), base });
        Some((text, Span { start: base, end }))
    }

    /// Returns the text under a span.
    pub(crate) fn slice(&self, span: Span) -> &str {
        let local = |source: &Source| (span.start - source.base) as usize..(span.end - source.base) as usize;
        self.holding(span.start).and_then(|source| source.text.get(local(source))).unwrap_or_default()
    }

    /// Cuts a span at the end of its first line: labels mark where something begins.
    pub(crate) fn first_line(&self, span: Span) -> Span {
        let written = self.slice(span);
        let line = written.split(['\n', '\r']).next().unwrap_or_default();
        let cut = line.char_indices().nth(LINE_DRAWN).map_or(line.len(), |(cut, _)| cut);
        span.part(0..line[..cut].trim_end().len())
    }

    /// Returns the position of the beginning of a span.
    pub fn position(&self, span: Span) -> Option<Position> {
        let source = self.holding(span.start)?;
        let before = source.text.get(..(span.start - source.base) as usize)?;
        let line = before.rsplit('\n').next().unwrap_or_default();
        Some(Position {
            source: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        })
    }

    /// Lists names and texts.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|source| (&*source.name, &*source.text))
    }

    fn holding(&self, offset: u32) -> Option<&Source> {
        self.0[..self.0.partition_point(|source| source.base <= offset)].last()
    }
}

impl Source {
    fn end(&self) -> u32 {
        self.base + self.text.len() as u32
    }
}

/// Finds the first control character, which manifests must not contain.
pub(crate) fn control(text: &str) -> Option<(usize, char)> {
    text.char_indices().find(|(_, letter)| is_control(*letter))
}

fn is_control(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\r' | '\t')
}

/// Replaces control characters with others of the same length in bytes, so that spans remain valid.
fn printable(text: &str) -> String {
    let instead = |letter: char| match letter {
        letter if !is_control(letter) => letter,
        letter if letter.len_utf8() == 1 => '?',
        _ => '¿',
    };
    text.chars().map(instead).collect()
}

/// Lets miette show labels of one error in several sources, each under its own name. A very long line is shown in
/// part.
impl SourceCode for Sources {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let offset = u32::try_from(span.offset()).map_err(|_| MietteError::OutOfBounds)?;
        let source = self.holding(offset).ok_or(MietteError::OutOfBounds)?;
        let (text, base) = (&*source.text, source.base as usize);
        let (start, end) = (span.offset() - base, span.offset() - base + span.len());
        // A span across two sources is out of bounds here, so miette shows two snippets.
        let inside = text.is_char_boundary(start) && text.is_char_boundary(end);
        if !inside {
            return Err(MietteError::OutOfBounds);
        }
        let from = if lines_before == 0 { start } else { window_start(text, start, lines_before) };
        let to = if lines_after == 0 { end } else { window_end(text, end, lines_after) };
        let line_start = text[..from].rfind('\n').map_or(0, |newline| newline + 1);
        Ok(Box::new(MietteSpanContents::new_named(
            source.name.to_string(),
            &text.as_bytes()[from..to],
            (from + base, to - from).into(),
            text.as_bytes()[..from].iter().filter(|byte| **byte == b'\n').count(),
            text[line_start..from].chars().count(),
            text[from..to].matches('\n').count() + 1,
        )))
    }
}

/// Moves back to the start of this line and `lines` lines before it, if they are short.
fn window_start(text: &str, start: usize, lines: usize) -> usize {
    let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let mut from = line_start(start);
    if start - from > LINE_DRAWN {
        return boundary_before(text, start - LINE_DRAWN);
    }
    for _ in 0..lines {
        let above = line_start(from.saturating_sub(1));
        if from - above > LINE_DRAWN {
            break;
        }
        from = above;
    }
    from
}

/// Moves forward to the end of this line and `lines` lines after it, if they are short.
fn window_end(text: &str, end: usize, lines: usize) -> usize {
    let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let mut to = line_end(end);
    if to - end > LINE_DRAWN {
        return boundary_before(text, end + LINE_DRAWN);
    }
    for _ in 0..lines {
        let below = line_end((to + 1).min(text.len()));
        if below - to > LINE_DRAWN {
            break;
        }
        to = below;
    }
    to
}

fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
