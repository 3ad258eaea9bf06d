//! The passages of a text that are compared. Nothing here depends on documents or stages.

use crate::clean::fences::{Line, lines};
use crate::dedup::minhash::{hash_of_units, hashed_units};
use crate::segment::sentence_ranges;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a passage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Some consecutive sentences.
    Sentences,
    /// Lines up to a blank one.
    Paragraphs,
    /// A line.
    Lines,
}

/// A passage of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Where it is, in bytes.
    pub(crate) range: Range<usize>,
    /// Of its words in lower case without punctuation.
    pub(crate) hash: u64,
}

/// The passages of a text with at least `words_min` words, outside of fenced code. Those of `sentences` consecutive sentences
/// overlap; they do not extend over code.
pub(crate) fn passages(text: &str, unit: Unit, sentences: usize, words_min: usize) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut add = |ranges: &[Range<usize>], units: &[&[u64]]| {
        let units = units.concat();
        if let (true, Some(first), Some(last)) = (units.len() >= words_min, ranges.first(), ranges.last()) {
            passages.push(Passage { range: first.start..last.end, hash: hash_of_units(&units) });
        }
    };
    for prose in prose_of(text) {
        let ranges = match unit {
            Unit::Lines => lines_of(text, &prose),
            Unit::Paragraphs => paragraphs_of(text, &prose),
            Unit::Sentences => {
                let range = |range: Range<usize>| prose.start + range.start..prose.start + range.end;
                sentence_ranges(&text[prose.clone()]).into_iter().map(range).collect()
            }
        };
        let width = if unit == Unit::Sentences { sentences } else { 1 };
        let units: Vec<Vec<u64>> = ranges
            .iter()
            .map(|range| hashed_units(&text[range.clone()]).map(|(hash, _)| hash).collect())
            .collect();
        for (ranges, units) in ranges.windows(width).zip(units.windows(width)) {
            add(ranges, &units.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
    passages
}

/// The ranges of a text between its fenced blocks.
fn prose_of(text: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for (kind, line) in lines(text) {
        let range = at..at + line.len();
        at = range.end;
        match ranges.last_mut() {
            _ if kind != Line::Prose => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

/// The lines of a part of a text without their ends, as ranges in the text.
pub(crate) fn lines_of(text: &str, part: &Range<usize>) -> Vec<Range<usize>> {
    let mut at = part.start;
    let range = |line: &str| {
        let start = at;
        at += line.len();
        start..start + line.trim_end().len()
    };
    text[part.clone()].split_inclusive('\n').map(range).collect()
}

/// Consecutive lines that are not blank, joined.
fn paragraphs_of(text: &str, part: &Range<usize>) -> Vec<Range<usize>> {
    let mut paragraphs: Vec<Range<usize>> = Vec::new();
    let mut is_open = false;
    for line in lines_of(text, part) {
        match paragraphs.last_mut() {
            _ if line.is_empty() => is_open = false,
            Some(last) if is_open => last.end = line.end,
            _ => {
                is_open = true;
                paragraphs.push(line);
            }
        }
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A title of five words\n\nFirst of all. Then a second one!\n- third\n\n```\nlet code = 1;\n```\nLast line  \n";

    fn found(unit: Unit, sentences: usize, words_min: usize) -> Vec<&'static str> {
        passages(TEXT, unit, sentences, words_min).into_iter().map(|passage| &TEXT[passage.range]).collect()
    }

    #[test]
    fn passages_are_outside_of_code() {
        let lines = ["# A title of five words", "First of all. Then a second one!", "- third", "Last line"];
        assert_eq!(found(Unit::Lines, 1, 1), lines);
        assert_eq!(found(Unit::Lines, 1, 2), [lines[0], lines[1], lines[3]]);
        let paragraphs =
            ["# A title of five words", "First of all. Then a second one!\n- third", "Last line"];
        assert_eq!(found(Unit::Paragraphs, 1, 1), paragraphs);
        let spans = [
            "# A title of five words\n\nFirst of all. Then a second one!",
            "First of all. Then a second one!\n- third",
        ];
        assert_eq!(found(Unit::Sentences, 3, 1), spans);
        assert_eq!(found(Unit::Sentences, 5, 1), [""; 0]);
    }

    #[test]
    fn passages_are_compared_by_their_words() {
        let hash = |text: &str| {
            passages(text, Unit::Lines, 1, 1).into_iter().map(|passage| passage.hash).collect::<Vec<_>>()
        };
        assert_eq!(hash("Read  MORE, here."), hash("“read more” here"));
        assert_ne!(hash("read more here"), hash("here more read"));
        assert_eq!(hash("---\n***\n"), [0; 0], "a line without words is no passage");
    }
}
