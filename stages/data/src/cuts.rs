//! Texts without some of their parts: how a text is joined again, and how the shards with such texts are written. Nothing
//! here depends on why a part is cut.

use crate::dedup::minhash::hashed_units;
use crate::documents::{Column, DOCUMENTS, DocumentReader, DocumentWriter, Row, facts_passed_on};
use crate::lines::write_lines;
use pipe_stage::{
    Context, FILES, Facts, In, KnownInputs, LocalEntry, Metric, Out, Port, Result, RoaringBitmap, Share, Step,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// The outputs of a stage that cuts texts.
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The documents, some with shorter texts.");
const CUT: Out = Out::new("cut", &FILES, "Documents whose text was cut, with what was cut, as JSON Lines.");
const DROPPED: Out =
    Out::new("dropped", &FILES, "Documents with too little text after cutting, as JSON Lines.");

/// The ports of a stage that cuts the texts of an input.
pub(crate) const fn ports(input: In) -> [Port; 4] {
    [input.port(), OUTPUT.port(), CUT.port(), DROPPED.port()]
}

/// What is known of an output of such a stage before it runs.
pub(crate) fn facts(output: &str, inputs: &KnownInputs, input: In) -> Facts {
    if output == OUTPUT.name() { facts_passed_on(inputs, input, &[]) } else { Facts::default() }
}

/// Makes the outputs of such a stage from its last step, whose tasks call [`cut`].
pub(crate) fn give(ctx: &Context, step: &Step) -> Result<()> {
    warn_if_none_left(ctx);
    for output in [OUTPUT, CUT, DROPPED] {
        ctx.output(output, step.entries(output.name()))?;
    }
    Ok(())
}

/// Metrics of a stage that cuts texts.
pub(crate) const METRICS: [&str; 6] =
    ["documents", "documents_in", "documents_cut", "passages_cut", "characters_cut", "dropped"];

/// A line of the output `cut` or `dropped`.
#[derive(Debug, Serialize)]
struct CutLine {
    id: String,
    /// Number of passages; adjacent ones count as one.
    passages: u64,
    characters: u64,
    /// Words that are left.
    words: u64,
    /// The beginning of the first passage.
    text: String,
}

/// Writes a shard without the passages that `find` returns for each row: ascending, disjoint ranges of bytes of its text. A row
/// that is cut and then has fewer than `words_min` words is dropped. A shard in which nothing is cut is passed on as it is.
///
/// `columns` are those that `find` reads besides the id and the text.
pub(crate) fn cut(
    share: &mut Share,
    entry: &LocalEntry,
    words_min: u32,
    columns: &[Column],
    mut find: impl FnMut(&Row) -> Vec<Range<usize>>,
) -> Result<()> {
    let columns = [&[Column::Id, Column::Text], columns].concat();
    let (mut cuts, mut kept, mut documents) = (BTreeMap::new(), RoaringBitmap::new(), 0_u64);
    let (mut changed, mut dropped) = (Vec::new(), Vec::new());
    for row in share.track("documents", DocumentReader::of_entry(entry)?.columns(&columns).rows()?) {
        let row = row??;
        documents += 1;
        let ranges = find(&row);
        if ranges.is_empty() {
            kept.insert(row.index);
            continue;
        }
        let left = without(&row.document.text, &ranges);
        let words = hashed_units(&left).count() as u64;
        let is_kept = words >= u64::from(words_min.max(1));
        let line = cut_line(row.document.id, &row.document.text, &ranges, words);
        if is_kept {
            kept.insert(row.index);
            cuts.insert(row.index, ranges);
            changed.push(line);
        } else {
            dropped.push(line);
        }
    }
    let all = || changed.iter().chain(&dropped);
    share.counts(
        METRICS,
        [
            kept.len(),
            documents,
            changed.len() as u64,
            all().map(|line| line.passages).sum(),
            all().map(|line| line.characters).sum(),
            dropped.len() as u64,
        ],
    );
    for (output, lines) in [(CUT, &changed), (DROPPED, &dropped)] {
        if !lines.is_empty() {
            let mut file = share.file_with(output.name(), "jsonl")?;
            write_lines(&mut file, lines)?;
            share.keep(file)?;
        }
    }
    let slot = OUTPUT.name();
    if cuts.is_empty() && dropped.is_empty() {
        return share.pass(slot, entry);
    }
    if cuts.is_empty() {
        let rows = DocumentReader::of_entry(entry)?.rows_total() as u32;
        return share.view(slot, entry, rows, kept, None);
    }
    rewrite(share, slot, entry, &kept, &cuts)
}

/// Writes the kept rows of a shard as a new one, with its added columns.
fn rewrite(
    share: &mut Share,
    slot: &str,
    entry: &LocalEntry,
    kept: &RoaringBitmap,
    cuts: &BTreeMap<u32, Vec<Range<usize>>>,
) -> Result<()> {
    let reader = DocumentReader::of_entry(entry)?;
    let added = reader.added().map(|added| added.of_rows(kept));
    let file = share.file(slot)?;
    let mut writer = match reader.has_media_types() {
        true => DocumentWriter::with_media_types(file)?,
        false => DocumentWriter::new(file)?,
    };
    for row in share.track("documents", reader.rows()?) {
        let mut row = row??;
        if kept.contains(row.index) {
            if let Some(ranges) = cuts.get(&row.index) {
                row.document.text = without(&row.document.text, ranges);
            }
            writer.push(&row.document)?;
        }
    }
    let columns = added
        .map(|added| added.write(share.file("columns")?).map_err(pipe_stage::Error::from))
        .transpose()?;
    share.keep_with(writer.finish()?, columns)?;
    Ok(())
}

fn cut_line(id: String, text: &str, ranges: &[Range<usize>], words: u64) -> CutLine {
    const CHARACTERS_MAX: usize = 200;
    let characters = ranges.iter().map(|range| text[range.clone()].chars().count() as u64).sum();
    let first = ranges.first().map_or("", |range| &text[range.clone()]);
    let passages = ranges.len() as u64;
    CutLine { id, passages, characters, words, text: first.trim().chars().take(CHARACTERS_MAX).collect() }
}

/// The parts of `cut` that are not in `kept`, joined where they touch. Both may overlap themselves, in any order.
pub(crate) fn subtract(mut cut: Vec<Range<usize>>, mut kept: Vec<Range<usize>>) -> Vec<Range<usize>> {
    cut.sort_unstable_by_key(|range| (range.start, range.end));
    kept.sort_unstable_by_key(|range| (range.start, range.end));
    let mut left: Vec<Range<usize>> = Vec::new();
    let mut add = |range: Range<usize>| {
        if range.is_empty() {
            return;
        }
        match left.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => left.push(range),
        }
    };
    let mut first = 0;
    let mut done = 0;
    for range in cut {
        let mut at = range.start.max(done);
        while first < kept.len() && kept[first].end <= at {
            first += 1;
        }
        for kept in kept[first..].iter().take_while(|kept| kept.start < range.end) {
            add(at..kept.start.max(at));
            at = at.max(kept.end);
        }
        add(at.min(range.end)..range.end);
        done = done.max(range.end);
    }
    left
}

/// A text without these ranges, which ascend and are disjoint. Where one is cut, the larger separation of those before and
/// after it stays: a blank line, a line break, or a space; and the indentation of what follows.
pub(crate) fn without(text: &str, cuts: &[Range<usize>]) -> String {
    if cuts.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for cut in cuts {
        join(&mut out, &text[from..cut.start]);
        from = cut.end;
    }
    join(&mut out, &text[from..]);
    // What was cut at the end leaves no separation, but the line break that texts end with.
    let ends_with_break = text.ends_with('\n');
    out.truncate(out.trim_end().len());
    if ends_with_break && !out.is_empty() {
        out.push('\n');
    }
    out
}

fn join(out: &mut String, next: &str) {
    let rest = next.trim_start();
    if out.is_empty() {
        // The indentation of the first line stays.
        let space = &next[..next.len() - rest.len()];
        out.push_str(&space[space.rfind('\n').map_or(0, |at| at + 1)..]);
        out.push_str(rest);
        return;
    }
    if rest.is_empty() {
        // Nothing but a separation between two cuts: it may be larger than the one before.
        let kept = out.trim_end().len();
        let (before, after) = (breaks(&out[kept..]), breaks(next));
        if after > before {
            out.truncate(kept);
            out.push_str(next);
        }
        return;
    }
    let kept = out.trim_end().len();
    let (before, after) = (&out[kept..], &next[..next.len() - rest.len()]);
    let separation = match (breaks(before).max(breaks(after)), after.rfind('\n')) {
        (0, _) if before.is_empty() && after.is_empty() => String::new(),
        (0, _) => " ".to_owned(),
        (count, Some(last)) => "\n".repeat(count) + &after[last + 1..],
        (count, None) => "\n".repeat(count) + &before[before.rfind('\n').map_or(0, |at| at + 1)..],
    };
    out.truncate(kept);
    out.push_str(&separation);
    out.push_str(rest);
}

/// Line breaks of a separation, at most two: a blank line.
fn breaks(space: &str) -> usize {
    space.bytes().filter(|byte| *byte == b'\n').count().min(2)
}

/// The warning of a stage whose output has no documents.
fn warn_if_none_left(ctx: &Context) {
    if ctx.value(METRICS[0]) == 0.0 {
        let dropped = (
            ctx.value(METRICS[5]) as u64,
            "too little text after cutting, see the output `dropped`".to_owned(),
        );
        crate::none_left::warn(ctx, "no documents are left", [dropped]);
    }
}

/// A metric that is listed even if no shard reports it.
pub(crate) fn start_metrics(ctx: &Context) {
    METRICS.iter().for_each(|metric| ctx.metric(Metric::count(*metric, 0)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut_out(text: &str, parts: &[&str]) -> String {
        let range = |part: &&str| {
            let at = text.find(part).unwrap();
            at..at + part.len()
        };
        without(text, &parts.iter().map(range).collect::<Vec<_>>())
    }

    #[test]
    fn texts_are_joined_with_the_larger_separation() {
        assert_eq!(cut_out("One. Two. Three.", &["Two."]), "One. Three.");
        assert_eq!(cut_out("One. Two.\n\nThree.\n", &["Two."]), "One.\n\nThree.\n");
        assert_eq!(cut_out("One.\n\nTwo. Three.", &["Two."]), "One.\n\nThree.");
        assert_eq!(cut_out("One\nTwo\n    three\n", &["Two"]), "One\n    three\n");
        assert_eq!(cut_out("一。二。三。", &["二。"]), "一。三。");
        assert_eq!(cut_out("One.\n\nTwo.\n\nThree.\n", &["One."]), "Two.\n\nThree.\n");
        assert_eq!(cut_out("One.\n\nTwo.\n\nThree.\n", &["Three."]), "One.\n\nTwo.\n");
        assert_eq!(cut_out("One.\n\nTwo.\n\nThree.\n", &["One.", "Two.", "Three."]), "");
        assert_eq!(cut_out("a b\nc d\n\ne f", &["b", "c d"]), "a\n\ne f");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_never_cut(
            cut in prop::collection::vec((0_usize..40, 0_usize..12), 0..6),
            kept in prop::collection::vec((0_usize..40, 0_usize..12), 0..6),
        ) {
            let ranges = |list: &[(usize, usize)]| list.iter().map(|(at, length)| *at..at + length).collect::<Vec<_>>();
            let (cut, kept) = (ranges(&cut), ranges(&kept));
            let left = subtract(cut.clone(), kept.clone());
            let is_in = |ranges: &[Range<usize>], at: usize| ranges.iter().any(|range| range.contains(&at));
            for at in 0..60 {
                prop_assert_eq!(is_in(&left, at), is_in(&cut, at) && !is_in(&kept, at), "{}", at);
            }
            prop_assert!(left.windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        #[test]
        fn words_outside_of_cuts_stay(words in prop::collection::vec(("[a-c]{1,3}", "[ \n]{1,3}", any::<bool>()), 0..12)) {
            let (mut text, mut cuts, mut expected) = (String::new(), Vec::new(), Vec::new());
            for (word, space, is_cut) in &words {
                if *is_cut {
                    cuts.push(text.len()..text.len() + word.len());
                } else {
                    expected.push(word.as_str());
                }
                text += word;
                text += space;
            }
            let left = without(&text, &cuts);
            prop_assert_eq!(left.split_whitespace().collect::<Vec<_>>(), expected);
            prop_assert!(left.len() <= text.len());
        }
    }
}
