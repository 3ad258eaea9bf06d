//! Owns: which documents go to training, validation and test, and which would leak between them. Nothing here depends
//! on threads, caches or the manifest.

mod containment;

mod sizes;

use std::collections::BTreeMap;

use pipe_stage::{
    Code, Context, Error, FILES, Facts, In, Inputs, Item, KnownInputs, Misfit, Out, Port, Result, Share,
    Stage, WorkInputs,
};
use roaring::RoaringBitmap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dedup::minhash::shingles;
use crate::dedup::pool::FilePool;
use crate::dedup::signatures::{self, Signature};
use crate::dedup::{open_signatures, unreadable};
use crate::documents::text_digest;
use crate::documents::{Column, DOCUMENTS, DocumentReader, Row, facts_passed_on, lacks_text};
use crate::lines::{read_lines, write_buffered, write_json_line, write_lines};
use crate::memo::Memo;
use crate::none_left;
use containment::{Contained, HeldOut, Place};
use sizes::{Sizes, find_fractions, fraction_of, is_number, position_of};

/// Divides documents into training, validation and test sets.
///
/// The set of a document follows from the hash of its near-duplicate cluster (of its text if `dedup` has not run), so
/// copies of a text land in the same set. Adding documents moves others only if it merges their clusters.
///
/// MinHash does not detect that a page contains a whole book of other pages. So a document of the validation or test
/// set is left out of all sets if one training document contains at least `containment` of its shingles, or if it
/// contains that share of a training document with 50 or more shingles. The output `leaked` lists these, each with
/// the first such training document.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Split {
    /// Fraction of clusters for validation, 0 to 0.5, or a number of documents, such as 5000. The default, 1 %, is enough to
    /// measure a loss and costs little training data; of a large corpus, a number is better. A set with a number may have a
    /// few documents more, since clusters are not divided, and fewer, since those that leak are left out.
    pub validation: f64,
    /// Fraction of clusters for test, 0 to 0.5, or a number of documents. The default is 1 %, as for validation. Both
    /// together must be below 1, so that documents remain for training.
    pub test: f64,
    /// Random seed; another seed gives another split of the same sizes.
    pub seed: u64,
    /// Minimum fraction of shingles for a document to count as contained in another, above 0 and up to 1.
    pub containment: f64,
    /// Words per shingle, 1 to 50; characters in scripts without spaces. The default is 5, as for FineWeb.
    pub shingle: u32,
}

impl Default for Split {
    fn default() -> Self {
        Self { validation: 0.01, test: 0.01, seed: 0, containment: 0.8, shingle: 5 }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text, best after dedup.");
const TRAIN: Out = Out::main("train", &DOCUMENTS, "Documents for training.");
const VALIDATION: Out = Out::new("validation", &DOCUMENTS, "Documents for decisions during training.");
const TEST: Out = Out::new("test", &DOCUMENTS, "Documents for the final evaluation.");
const LEAKED: Out = Out::new(
    "leaked",
    &FILES,
    "Documents left out because a training document contains them, as JSON Lines.",
);
/// Numbers of documents, by output.
const METRICS: [&str; 4] = [TRAIN.name(), VALIDATION.name(), TEST.name(), LEAKED.name()];

impl Stage for Split {
    const NAME: &'static str = "split";
    /// History: 1: initial version. 2: shingles depend on the characters of a text and no longer on its language, and
    /// `leaked` names the first training document instead of the most similar one.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] =
        &[INPUT.port(), TRAIN.port(), VALIDATION.port(), TEST.port(), LEAKED.port()];

    fn check(&self) -> Vec<Misfit> {
        let containment = self.containment > 0.0 && self.containment <= 1.0;
        let faults = [
            Misfit::unless(is_size(self.validation), "validation", SIZE),
            Misfit::unless(is_size(self.test), "test", SIZE),
            Misfit::unless(
                self.validation + self.test < 1.0 || self.validation > 0.5 || self.test > 0.5,
                "test",
                "adds up to 1 with `validation`, which leaves no documents for training",
            ),
            Misfit::unless(containment, "containment", "must be above 0 and at most 1"),
            Misfit::unless((1..=50).contains(&self.shingle), "shingle", "must be from 1 to 50"),
        ];
        faults.into_iter().flatten().collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == LEAKED.name() { Facts::default() } else { facts_passed_on(inputs, INPUT, &[]) }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, INPUT).into_iter().collect()
    }

    /// A constant, what is held of each document, and the index of the held-out shingles, measured with random text: 12
    /// bytes per byte (compressed).
    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        const INDEX_PER_BYTE: f64 = 12.0;
        const MEMORY_BYTES_MIN: f64 = (24_u64 << 20) as f64;
        const MEMORY_PER_BYTE: f64 = 0.15;
        // How large a number of documents is, only the run tells.
        let held_out: f64 = [self.validation, self.test].into_iter().filter(|size| !is_number(*size)).sum();
        let per_byte = INDEX_PER_BYTE * held_out + MEMORY_PER_BYTE;
        Some(MEMORY_BYTES_MIN + per_byte * inputs.bytes()? as f64)
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.map(str::to_owned).to_vec())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let documents = ctx.input(INPUT);
        let shingling = Shingling { shingle: self.shingle };
        let shingles = ctx.each("signed", &shingling, documents.shards(), sign)?;
        let items =
            shingles.entries("shingles").into_iter().map(|file| Item::new(&file.name.clone(), [file]));
        let items: Vec<Item> = items.collect();
        let division = self.division(ctx, &items)?;
        let holding = Holding { division, containment: self.containment };
        let held_out = ctx.once("held_out", &holding, items.clone(), hold_out)?;
        let index = held_out.entries("index").into_iter().next();
        let holders = held_out.values::<Vec<u32>>()?.concat();
        // Without held-out documents, nothing can leak.
        let items = if holders.is_empty() { Vec::new() } else { items };
        let items = items.into_iter().map(|item| item.with(index.clone()));
        let leaks = ctx.each("leaks", &division, items.collect(), find_leaks)?;
        let mut shards = documents.shards();
        for (shard, leaks) in holders.iter().zip(leaks.by_item("leaks", holders.len())) {
            let with_leaks = shards[*shard as usize].clone().and(&leaks);
            shards[*shard as usize] = with_leaks;
        }
        let sets = ctx.each("sets", &division, shards, divide)?;
        self.warn_of_empty_sets(ctx);
        for port in [TRAIN, VALIDATION, TEST, LEAKED] {
            ctx.output(port, sets.entries(port.name()))?;
        }
        Ok(())
    }
}

/// The settings that determine shingles.
#[derive(Debug, Serialize, JsonSchema)]
struct Shingling {
    shingle: u32,
}

/// The settings that determine sets.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
struct Division {
    validation: f64,
    test: f64,
    seed: u64,
}

/// The settings that determine the index of held-out documents, besides shingles.
#[derive(Debug, Serialize, JsonSchema)]
struct Holding {
    division: Division,
    containment: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Set {
    Train,
    Validation,
    Test,
}

impl Split {
    /// Warns about sets that should have documents and have none.
    fn warn_of_empty_sets(&self, ctx: &Context) {
        let counts = METRICS.map(|set| (ctx.value(set) as u64, format!("they are in `{set}`")));
        let held_out = [self.validation, self.test];
        let rest = 1.0 - held_out.into_iter().filter(|size| !is_number(*size)).sum::<f64>();
        let shares = [rest, self.validation, self.test];
        for ((set, (count, _)), share) in METRICS.iter().zip(&counts).zip(shares) {
            if *count == 0 && share > 0.0 {
                none_left::warn(ctx, &format!("the set `{set}` has no documents"), counts.clone());
            }
        }
    }

    /// The parts of the unit interval that are held out.
    fn division(&self, ctx: &Context, signed: &[Item]) -> Result<Division> {
        let Self { validation, test, seed, .. } = *self;
        if !is_number(validation) && !is_number(test) {
            return Ok(Division { validation, test, seed });
        }
        let sizes = ctx.once("sizes", &Sizes { validation, test, seed }, signed.to_vec(), find_fractions)?;
        let [validation, test] = sizes.values::<[f64; 2]>()?.first().copied().unwrap_or_default();
        Ok(Division { validation, test, seed })
    }
}

const SIZE: &str = "must be from 0 to 0.5, or a whole number of documents";

fn is_size(size: f64) -> bool {
    /// Whole numbers up to this are exact.
    const DOCUMENTS_MAX: f64 = 4_294_967_296.0;
    (0.0..=0.5).contains(&size) || (is_number(size) && size <= DOCUMENTS_MAX && size == size.trunc())
}

impl Division {
    /// Divides the unit interval at `validation` and `validation + test`; the hash of a cluster is a point in it.
    fn set_of(self, cluster: u64) -> Set {
        let position = fraction_of(position_of(cluster, self.seed));
        if position < self.validation {
            Set::Validation
        } else if position < self.validation + self.test {
            Set::Test
        } else {
            Set::Train
        }
    }
}

/// The cluster of a document; without `dedup`, copies of a text form one.
fn cluster_of(row: &Row) -> u64 {
    let by_text = || u64::from_le_bytes(std::array::from_fn(|at| text_digest(&row.document.text)[at]));
    row.cluster.map_or_else(by_text, |cluster| cluster.id)
}

/// Computes the shingles of a shard's documents.
fn sign(shingling: &Shingling, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns = [Column::Id, Column::Text];
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let mut signed = Vec::new();
    for row in share.track("documents", rows) {
        let row = row??;
        signed.push(Signature {
            row: row.index,
            cluster: cluster_of(&row),
            shingles: shingles(&row.document.text, shingling.shingle as usize),
            id: row.document.id,
            ..Signature::default()
        });
    }
    let mut file = share.file("shingles")?;
    write_buffered(&mut file, |file| signatures::write(file, &signed))?;
    share.keep(file)?;
    Ok(())
}

/// A held-out document that leaks through a training document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Leak {
    row: u32,
    /// The training document's id.
    training: String,
    /// Fraction of the shorter document's shingles that the other contains.
    containment: f64,
}

/// Collects the held-out documents of all shards in one file, and leaves as its value which shards have some. These shards are
/// numbered in their order, so that a shard without held-out documents changes nothing in the file.
///
/// Memory: eight bytes for each document of a shard.
fn hold_out(holding: &Holding, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let pool = FilePool::default();
    let mut index = share.named("index", "index")?;
    let mut holders = Vec::new();
    write_buffered(&mut index, |file| containment::write_header(file, holding.containment))?;
    for (shard, item) in (0_u32..).zip(inputs.items()) {
        share.check_stop()?;
        let signatures = open_signatures(&pool, &item.entries()[0])?;
        let clusters = signatures.clusters().map_err(unreadable)?;
        let is_held_out = |(_, cluster): &(usize, u64)| holding.division.set_of(*cluster) != Set::Train;
        let own: Vec<usize> =
            clusters.into_iter().enumerate().filter(is_held_out).map(|(document, _)| document).collect();
        if own.is_empty() {
            continue;
        }
        for document in own {
            let (row, shingles) = (
                signatures.row(document).map_err(unreadable)?,
                signatures.shingles(document).map_err(unreadable)?,
            );
            let place = Place { holder: holders.len() as u32, row };
            write_buffered(&mut index, |file| containment::write(file, place, &shingles))?;
        }
        holders.push(shard);
    }
    share.keep(index)?;
    share.value(&holders);
    Ok(())
}

/// The index that all shares of a process compare their documents with.
static HELD_OUT: Memo<(HeldOut, Vec<Place>)> = Memo::new();

/// Compares the training documents of a shard with all held-out documents, and leaves the leaks by the number of the held-out
/// document's shard. A leak names the first such training document.
fn find_leaks(division: &Division, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [signatures, index] = inputs.item().entries() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let index = HELD_OUT.get(index, |bytes| {
        let (index, places) = containment::read(bytes).map_err(unreadable)?;
        let held_out = index.seal().map_err(|error| {
            Error::input(format!("the validation and test sets have {error}"))
                .help("make `validation` and `test` smaller")
        })?;
        Ok((held_out, places))
    })?;
    let (mut held_out, places) = (index.0.clone(), &index.1);
    let signatures = open_signatures(&FilePool::default(), signatures)?;
    let clusters = signatures.clusters().map_err(unreadable)?;
    let mut leaks: BTreeMap<Place, Leak> = BTreeMap::new();
    for (document, cluster) in share.track("documents", clusters).enumerate() {
        if division.set_of(cluster?) != Set::Train {
            continue;
        }
        let shingles = signatures.shingles(document).map_err(unreadable)?;
        for Contained { document: found, containment } in held_out.contained(&shingles) {
            let training = signatures.id(document).map_err(unreadable)?;
            let place = places[found];
            leaks.insert(place, Leak { row: place.row, training, containment });
        }
    }
    let mut parts = share.parts("leaks")?;
    for (place, leak) in leaks {
        write_json_line(&leak, |line| parts.part(place.holder, line))?;
    }
    share.keep_parts(parts)
}

/// A line of the output `leaked`.
#[derive(Debug, Serialize)]
struct Leaked {
    id: String,
    set: Set,
    training: String,
    containment: f64,
}

/// Selects the rows of each set; the shard's text is not copied.
fn divide(division: &Division, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let mut leaks: BTreeMap<u32, Leak> = BTreeMap::new();
    for file in &entries[1..] {
        for leak in read_lines::<Leak>(file)? {
            // Files are in the order of the training shards.
            leaks.entry(leak.row).or_insert(leak);
        }
    }
    let reader = DocumentReader::of_entry(&entries[0])?;
    let is_clustered = reader.added().is_some_and(|added| added.cluster(0).is_some());
    let columns: &[Column] = if is_clustered { &[Column::Id] } else { &[Column::Id, Column::Text] };
    let reader = reader.columns(columns);
    let rows = reader.rows_total() as u32;
    let (mut train, mut validation, mut test) =
        (RoaringBitmap::new(), RoaringBitmap::new(), RoaringBitmap::new());
    let mut leaked = Vec::new();
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        let set = division.set_of(cluster_of(&row));
        if let Some(Leak { training, containment, .. }) = leaks.remove(&row.index) {
            leaked.push(Leaked { id: row.document.id, set, training, containment });
            continue;
        }
        match set {
            Set::Train => train.insert(row.index),
            Set::Validation => validation.insert(row.index),
            Set::Test => test.insert(row.index),
        };
    }
    share.counts(METRICS, [train.len(), validation.len(), test.len(), leaked.len() as u64]);
    for (port, rows_of_set) in [(TRAIN, train), (VALIDATION, validation), (TEST, test)] {
        share.view(port.name(), &entries[0], rows, rows_of_set, None)?;
    }
    if !leaked.is_empty() {
        let mut file = share.file_with(LEAKED.name(), "jsonl")?;
        write_lines(&mut file, &leaked)?;
        share.keep(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::Dedup;
    use crate::testing::{ids, put_documents, words};
    use pipe_stage::testing::Bench;
    use proptest::prelude::*;

    const HALVES: Split = Split { validation: 0.25, test: 0.25, seed: 7, containment: 0.8, shingle: 5 };

    proptest! {
        #[test]
        fn a_larger_validation_share_takes_from_the_others_only(cluster: u64, seed: u64) {
            let small = Division { validation: 0.1, test: 0.0, seed };
            let large = Division { validation: 0.2, test: 0.0, seed };
            if small.set_of(cluster) == Set::Validation {
                prop_assert_eq!(large.set_of(cluster), Set::Validation);
            }
        }
    }

    #[test]
    fn shares_that_leave_nothing_for_training_are_refused() {
        let paths = |validation, test| -> Vec<String> {
            Split { validation, test, ..Split::default() }
                .check()
                .into_iter()
                .map(|misfit| misfit.path)
                .collect()
        };
        assert_eq!(paths(0.5, 0.5), ["test"]);
        assert_eq!(paths(0.5, 0.499), [""; 0]);
        assert_eq!(paths(0.6, 0.4), ["validation"]);
        assert_eq!(paths(5000.0, 0.4), [""; 0]);
        assert_eq!(paths(1.5, f64::INFINITY), ["validation", "test"]);
    }

    #[test]
    fn numbers_of_documents_are_held_out() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let documents = corpus(&bench);
        let sizes = |validation, test| {
            // No text leaks, so the sizes are those asked for; each text occurs twice.
            let split = Split { validation, test, seed: 3, ..Split::default() };
            let outcome = bench.run(&split, &[("documents", &documents)])?;
            Ok(["train", "validation", "test"].map(|set| ids(&bench, &bench.output(&outcome, set).unwrap())))
        };
        let count =
            |sets: Result<[std::collections::BTreeSet<String>; 3]>| sets.unwrap().map(|set| set.len());
        assert_eq!(count(sizes(20.0, 40.0)), [340, 20, 40]);
        assert_eq!(count(sizes(21.0, 0.0)), [378, 22, 0], "clusters are not divided");
        let [train, validation, test] = count(sizes(0.1, 30.0));
        assert_eq!((train + validation, test), (370, 30));
        // A larger number takes more of the same documents.
        let (few, more) = (sizes(20.0, 0.0).unwrap(), sizes(60.0, 0.0).unwrap());
        assert!(few[1].is_subset(&more[1]));
        let error = sizes(200.0, 200.0).map(drop).unwrap_err().to_string();
        let expected = "`validation` and `test` hold out 400 documents, but there are only 400, which leaves none for training";
        assert_eq!(error, expected);
    }

    #[test]
    fn sets_have_the_sizes_asked_for() {
        let division = Division { validation: 0.1, test: 0.3, seed: 1 };
        let count = |set| (0..10_000).filter(|cluster| division.set_of(*cluster) == set).count();
        assert!(count(Set::Validation).abs_diff(1000) < 100, "{}", count(Set::Validation));
        assert!(count(Set::Test).abs_diff(3000) < 150, "{}", count(Set::Test));
    }

    /// 200 documents of 100 words each in 4 shards; each text occurs again under another id.
    fn corpus(bench: &Bench) -> pipe_stage::Artifact {
        let document = |n: usize| (format!("doc-{n:03}"), words(n % 200, 100));
        let shards: Vec<Vec<(String, String)>> =
            (0..4).map(|shard| (0..400).filter(|n| n % 4 == shard).map(document).collect()).collect();
        put_documents(bench, &shards)
    }

    #[test]
    fn copies_of_one_text_share_a_set_with_and_without_dedup() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let documents = corpus(&bench);
        let sets = bench.run(&HALVES, &[("documents", &documents)]).unwrap();
        let mut seen = 0;
        for set in ["train", "validation", "test"] {
            let found = ids(&bench, &bench.output(&sets, set).unwrap());
            seen += found.len();
            for id in &found {
                let n: usize = id[4..].parse().unwrap();
                assert!(found.contains(&format!("doc-{:03}", (n + 200) % 400)), "{id}");
            }
        }
        assert_eq!(seen, 400);

        let unique = bench.run(&Dedup::default(), &[("documents", &documents)]).unwrap();
        let unique = bench.output(&unique, "documents").unwrap();
        let sets = bench.run(&HALVES, &[("documents", &unique)]).unwrap();
        let sizes =
            ["train", "validation", "test"].map(|set| ids(&bench, &bench.output(&sets, set).unwrap()).len());
        assert_eq!(sizes.iter().sum::<usize>(), 200);
        assert!(sizes.iter().all(|size| *size > 20), "{sizes:?}");
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digests = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            let outcome = bench.run(&HALVES, &[("documents", &corpus(&bench))]).unwrap();
            ["train", "validation", "test"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
        };
        assert_eq!(digests(1), ["ed41adc2317fbf6f", "7abbd1cf9a1be326", "056ce7a5f48093c2"]);
        assert_eq!(digests(3), digests(1));
    }

    /// A book of ten chapters, its print.html that contains them all, and other documents.
    fn book(bench: &Bench) -> pipe_stage::Artifact {
        let chapters: Vec<(String, String)> =
            (0..10).map(|n| (format!("chapter-{n}"), words(n, 100))).collect();
        let print = chapters.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ");
        let others = (10..40).map(|n| (format!("other-{n}"), words(n, 100)));
        let all: Vec<_> =
            chapters.iter().cloned().chain([("print".to_owned(), print)]).chain(others).collect();
        put_documents(bench, &[all])
    }

    #[test]
    fn a_page_that_holds_a_book_leaks_neither_way() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let documents = book(&bench);
        let (mut print_in_training, mut print_leaked) = (0, 0);
        for seed in 0..20 {
            let split = Split { seed, ..HALVES };
            let outcome = bench.run(&split, &[("documents", &documents)]).unwrap();
            let set = |port| ids(&bench, &bench.output(&outcome, port).unwrap());
            let (train, validation, test) = (set("train"), set("validation"), set("test"));
            let held_out = || validation.iter().chain(&test);
            let is_chapter = |id: &&String| id.starts_with("chapter");
            if train.contains("print") {
                print_in_training += 1;
                assert_eq!(held_out().filter(is_chapter).count(), 0, "seed {seed}");
            } else if train.iter().any(|id| id.starts_with("chapter")) {
                print_leaked += 1;
                assert!(!held_out().any(|id| id == "print"), "seed {seed}");
            }
            assert_eq!(
                train.iter().chain(held_out()).filter(|id| id.starts_with("other")).count(),
                30,
                "documents that hold nothing of others stay"
            );
        }
        assert!(print_in_training > 2 && print_leaked > 2, "{print_in_training} {print_leaked}");
    }

    #[test]
    fn leaks_are_told_with_the_training_document() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let documents = book(&bench);
        let lines = (0..20).flat_map(|seed| {
            let outcome = bench.run(&Split { seed, ..HALVES }, &[("documents", &documents)]).unwrap();
            let files = bench.open(&bench.output(&outcome, "leaked").unwrap());
            files.iter().map(|file| String::from_utf8(file.bytes().unwrap()).unwrap()).collect::<Vec<_>>()
        });
        let all: String = lines.collect();
        assert!(all.contains(r#""training":"print","containment":1.0}"#), "{all}");
        assert!(all.contains(r#"{"id":"print","set":"validation","training":"chapter-"#), "{all}");
    }
}
