//! Parts: what shares leave for the shares of a later step, across all items, and back.

use pipe_stage::{
    Artifact, Context, Error, Event, FILES, In, Inputs, Out, Outcome, Port, Result, Share, Stage,
    testing::Bench,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Read};

const IN: In = In::new("in", &FILES, "Words, one per line.");
const OUT: Out = Out::new("out", &FILES, "For each file, how often its words occur in all files.");

/// Number of parts: words by their first letter.
const LETTERS: u32 = 26;

/// Counts words over all files, by parts of the alphabet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Frequencies {
    parts: u32,
}

impl Default for Frequencies {
    fn default() -> Self {
        Self { parts: 2 }
    }
}

impl Stage for Frequencies {
    const NAME: &'static str = "frequencies";
    const REVISION: u32 = 1;
    const PORTS: &'static [Port] = &[IN.port(), OUT.port()];

    fn run(&self, ctx: &Context) -> Result<()> {
        let files = ctx.input(IN).shards();
        let sorted = ctx.each("sorted", &(), files.clone(), sort)?;
        let width = LETTERS.div_ceil(self.parts);
        let ranges: Vec<_> = (0..self.parts).map(|part| part * width..(part + 1) * width).collect();
        let counted = ctx.each_of("counted", &(), sorted.parts("words", &ranges), count)?;
        let back = counted.by_item("counts", files.len());
        let items = files.iter().zip(&back).map(|(file, counts)| file.clone().and(counts));
        let written = ctx.each("written", &(), items.collect(), write)?;
        ctx.output(OUT, written.entries("out"))
    }
}

fn sort(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let text = String::from_utf8(inputs.item().entries()[0].bytes()?).unwrap();
    let mut words: Vec<&str> = text.lines().collect();
    words.sort_unstable();
    let mut parts = share.parts("words")?;
    for word in words {
        let letter = u32::from(word.as_bytes()[0] - b'a');
        parts.part(letter, format!("{word}\n").as_bytes()).unwrap();
    }
    share.keep_parts(parts)
}

fn count(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut counts: BTreeMap<String, (u32, Vec<u32>)> = BTreeMap::new();
    for (place, item) in (0..).zip(inputs.items()) {
        for part in item.entries() {
            let mut text = String::new();
            let mut stream = part.stream()?;
            stream.read_to_string(&mut text).unwrap();
            stream.finish()?;
            assert_eq!(text.as_bytes(), part.bytes()?);
            for word in text.lines() {
                let (count, places) = counts.entry(word.to_owned()).or_default();
                *count += 1;
                places.push(place);
            }
        }
    }
    let mut by_file: BTreeMap<u32, String> = BTreeMap::new();
    for (word, (count, places)) in counts {
        for place in places {
            *by_file.entry(place).or_default() += &format!("{word} {count}\n");
        }
    }
    let mut parts = share.parts("counts")?;
    for (place, text) in by_file {
        parts.part(place, text.as_bytes()).unwrap();
    }
    share.keep_parts(parts)
}

fn write(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [_, counts @ ..] = inputs.item().entries() else { panic!("no file") };
    let texts = counts.iter().map(|part| part.bytes()).collect::<Result<Vec<_>>>()?;
    let name = inputs.item().name().to_owned();
    share.write("out", &name, &texts.concat())?;
    Ok(())
}

fn bench() -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(&folder.path().join("cache")).unwrap();
    (folder, bench)
}

fn texts(bench: &Bench, outcome: &Outcome) -> Vec<String> {
    let files = bench.open(&bench.output(outcome, "out").unwrap());
    files.iter().map(|file| String::from_utf8(file.bytes().unwrap()).unwrap()).collect()
}

/// Missing shares by step, since the last time.
fn missing(bench: &Bench) -> Vec<(String, u64)> {
    let events = std::mem::take(&mut *bench.events.lock().unwrap());
    let step = |event| match event {
        Event::Step { step, missing, .. } => Some((step, missing)),
        _ => None,
    };
    events.into_iter().filter_map(step).collect()
}

fn files(bench: &Bench, last: &str) -> Artifact {
    let files: [(&str, &[u8]); 3] = [("0", b"ant\nbee\nzebra\n"), ("1", b"ant\n"), ("2", last.as_bytes())];
    bench.artifact("files", &files).unwrap()
}

#[test]
fn parts_reach_the_shares_of_their_number_and_return_to_their_items() {
    let (_folder, bench) = bench();
    let input = files(&bench, "zebra\nant\n");
    let expected = ["ant 3\nbee 1\nzebra 2\n", "ant 3\n", "ant 3\nzebra 2\n"];
    for parts in [2, 1, 26] {
        let outcome = bench.run(&Frequencies { parts }, &[("in", &input)]).unwrap();
        assert_eq!(texts(&bench, &outcome), expected, "{parts}");
    }
}

#[test]
fn only_shares_of_changed_parts_run_again() {
    let (_folder, bench) = bench();
    bench.run(&Frequencies::default(), &[("in", &files(&bench, "zebra\nant\n"))]).unwrap();
    missing(&bench);
    bench.run(&Frequencies::default(), &[("in", &files(&bench, "yak\nant\n"))]).unwrap();
    // Words from a to m are the same; of the files, the first has a word that is now rarer.
    let expected = [("sorted", 1), ("counted", 1), ("written", 2)];
    assert_eq!(missing(&bench), expected.map(|(step, missing)| (step.to_owned(), missing)));
}

#[test]
fn a_damaged_part_is_an_error_that_names_its_file() {
    let (_folder, bench) = bench();
    let (input, other) = (files(&bench, "zebra\nant\n"), files(&bench, "ant\n"));
    bench.run(&Frequencies::default(), &[("in", &input)]).unwrap();
    let whole = pipe_stage::Digest::of(b"ant\nbee\nzebra\n");
    let path = bench.store.object_path(&whole);
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, b"ant\nbee\nzebrA\n").unwrap();
    let error = bench.run(&Frequencies { parts: 26 }, &[("in", &other)]).map(drop).unwrap_err();
    assert!(matches!(error, Error::Damaged { digest } if digest == whole), "{error}");
    let error = bench.run(&Frequencies { parts: 1 }, &[("in", &input)]).map(drop).unwrap_err();
    assert!(matches!(error, Error::Damaged { digest } if digest == whole), "{error}");
}
