//! Stages as durable functions: what is recorded, what runs again, and which shares can be handed out.

use pipe_stage::{
    Artifact, Context, Digest, Error, Event, FILES, Halt, In, Inputs, Item, Mode, Out, Outcome, Port, Result,
    RoaringBitmap, Setup, Share, Stage, Step, testing::Bench,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::{Duration, Instant};

const IN: In = In::new("in", &FILES, "Files.");
const OUT: Out = Out::new("out", &FILES, "Files.");
const LISTS: Out = Out::new("lists", &FILES, "Names.");

/// Reads each file, then all of them, then makes a view of each by its slice of the result.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Views {
    /// Lists the contents of a folder item.
    list: bool,
}

impl Stage for Views {
    const NAME: &'static str = "views";
    const REVISION: u32 = 1;
    const PORTS: &'static [Port] = &[IN.port(), OUT.port(), LISTS.port()];

    fn run(&self, ctx: &Context) -> Result<()> {
        let input = ctx.input(IN);
        let looked = ctx.each("look", &(), input.shards(), look)?;
        let slices = ctx.once("all", &(), input.shards(), all)?.slices("slice");
        let items = input.shards().into_iter().zip(slices).map(|(item, slice)| item.with(slice));
        let views = ctx.each("view", &(), items.collect(), view)?;
        drop(looked);
        ctx.output(OUT, views.entries("out"))?;
        let listed = if self.list {
            ctx.once("list", &(), vec![input.folder("in")], list)?.entries("lists")
        } else {
            Vec::new()
        };
        ctx.output(LISTS, listed)
    }
}

fn look(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    share.count("looked", 1);
    share.made_on(["avx2"]);
    share.value(&inputs.item().entries()[0].size());
    Ok(())
}

fn all(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    for (place, item) in inputs.items().iter().enumerate() {
        let mut slice = share.file_for(place, "slice")?;
        let text = item.entries()[0].digest().to_string();
        slice.write_all(text.as_bytes()).map_err(|error| Error::input(error.to_string()))?;
        share.keep(slice)?;
    }
    Ok(())
}

fn view(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    share.count("viewed", 1);
    share.view("out", &inputs.item().entries()[0], 2, RoaringBitmap::from_iter([1]), None)
}

fn list(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let names: Vec<_> = inputs.item().entries().iter().map(|entry| entry.name()).collect();
    share.write("lists", "names", names.join(" ").as_bytes())?;
    Ok(())
}

fn bench() -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(&folder.path().join("cache")).unwrap();
    (folder, bench)
}

fn names(artifact: &Artifact) -> Vec<&str> {
    artifact.entries.iter().map(|entry| entry.name.as_str()).collect()
}

fn done(bench: &Bench) -> usize {
    let mut events = bench.events.lock().unwrap();
    let done = events.iter().filter(|event| matches!(event, Event::Task { .. })).count();
    events.clear();
    done
}

fn missing(outcome: Result<Outcome>) -> (String, Vec<Digest>, u64) {
    match outcome {
        Err(Error::Halt(Halt::Missing { step, shares, of })) => (step, shares, of),
        other => panic!("{other:?}"),
    }
}

#[test]
fn shards_that_change_their_names_keep_their_new_ones() {
    let (_folder, bench) = bench();
    let [a, b, c]: [&[u8]; 3] = [b"aa", b"bb", b"cc"];
    let before = bench.artifact("files", &[("part-0", a), ("part-1", b)]).unwrap();
    bench.run(&Views::default(), &[("in", &before)]).unwrap();
    assert_eq!(done(&bench), 5);
    // The former part-1 is now part-0: its shares are recorded, and no record contains its old name.
    let after = bench.artifact("files", &[("part-0", b), ("part-1", c)]).unwrap();
    let outcome = bench.run(&Views::default(), &[("in", &after)]).unwrap();
    assert_eq!(done(&bench), 3, "one new shard, and the step over all of them");
    let out = bench.output(&outcome, "out").unwrap();
    assert_eq!(names(&out), ["part-0", "part-1"]);
    assert_eq!(out.entries[0].content.blob, after.entries[0].content.blob);
}

#[test]
fn a_folder_whose_files_change_their_names_is_another_folder() {
    let (_folder, bench) = bench();
    let list = |names: [&str; 2]| {
        let files: [(&str, &[u8]); 2] = [(names[0], b"aa"), (names[1], b"bb")];
        let input = bench.artifact("files", &files).unwrap();
        let outcome = bench.run(&Views { list: true }, &[("in", &input)]).unwrap();
        let lists = bench.output(&outcome, "lists").unwrap();
        String::from_utf8(bench.open(&lists)[0].bytes().unwrap()).unwrap()
    };
    assert_eq!(list(["x", "y"]), "x y");
    assert_eq!(list(["a", "b"]), "a b");
}

#[test]
fn a_record_names_all_instruction_sets_of_its_work() {
    let (_folder, bench) = bench();
    let input = bench.artifact("files", &[("x", b"aa")]).unwrap();
    let outcome = bench.run(&Views::default(), &[("in", &input)]).unwrap();
    assert!(outcome.instruction_sets.contains(&"avx2".to_owned()));
    assert!(outcome.instruction_sets.contains(&pipe_stage::instruction_set().to_owned()));
}

#[test]
fn counting_tells_which_shares_are_missing_and_workers_do_just_those() {
    let (_folder, bench) = bench();
    let input = bench.artifact("files", &[("x", b"aa"), ("y", b"bb"), ("z", b"cc")]).unwrap();
    let enter = |mode: Mode| bench.enter(&Views::default(), &[("in", &input)], Vec::new(), mode);
    let (step, keys, of) = missing(enter(Mode::Count));
    assert_eq!((step.as_str(), keys.len(), of), ("look", 3, 3));

    let halted = enter(Mode::Shares(keys[1..].to_vec()));
    assert!(matches!(halted, Err(Error::Halt(Halt::SharesDone))), "{halted:?}");
    assert_eq!(done(&bench), 2);
    assert_eq!(missing(enter(Mode::Gather)).1, keys[..1]);
    // Work that was done in the meantime is not repeated.
    let halted = enter(Mode::Shares(keys.clone()));
    assert!(matches!(halted, Err(Error::Halt(Halt::SharesDone))), "{halted:?}");
    assert_eq!(done(&bench), 1);

    for wanted in [1, 3] {
        let (_, keys, of) = missing(enter(Mode::Gather));
        assert_eq!((keys.len(), of), (wanted, wanted as u64));
        let halted = enter(Mode::Shares(keys));
        assert!(matches!(halted, Err(Error::Halt(Halt::SharesDone))), "{halted:?}");
    }
    let gathered = enter(Mode::Gather).unwrap();
    let here = enter(Mode::Here).unwrap();
    assert_eq!(gathered.outputs, here.outputs);
    assert_eq!(gathered.metrics, here.metrics);

    let unknown = enter(Mode::Shares(vec![Digest::of(b"none")]));
    assert!(matches!(unknown, Err(Error::Outdated { .. })), "{unknown:?}");
}

/// A worker with one share reads neither the records of the other shares nor any object of earlier steps.
#[test]
fn a_worker_with_one_share_reads_no_other_record() {
    let (_folder, bench) = bench();
    let files: Vec<(String, Vec<u8>)> =
        (0..50).map(|number| (format!("{number}"), format!("text {number}").into_bytes())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), &text[..])).collect();
    let input = bench.artifact("files", &files).unwrap();
    let enter = |mode: Mode| bench.enter(&Views::default(), &[("in", &input)], Vec::new(), mode);
    let (_, keys, _) = missing(enter(Mode::Gather));
    assert!(matches!(enter(Mode::Shares(keys.clone())), Err(Error::Halt(Halt::SharesDone))));
    let (step, all, _) = missing(enter(Mode::Gather));
    assert_eq!(step, "all");
    // The previous step is recorded as a whole, so the records of its shares are not needed any more.
    for key in &keys {
        std::fs::remove_file(bench.store.record_path(key)).unwrap();
    }
    assert!(matches!(enter(Mode::Shares(all)), Err(Error::Halt(Halt::SharesDone))));
    let (step, views, of) = missing(enter(Mode::Gather));
    assert_eq!((step.as_str(), views.len(), of), ("view", 50, 50));
    // Unreadable records of other shares do not matter.
    for key in &views[1..] {
        let path = bench.store.record_path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "damaged").unwrap();
    }
    assert!(matches!(enter(Mode::Shares(views[..1].to_vec())), Err(Error::Halt(Halt::SharesDone))));
    let damaged = |key: &Digest| std::fs::read(bench.store.record_path(key)).unwrap() == b"damaged";
    assert!(views[1..].iter().all(damaged));
}

#[test]
fn a_record_of_a_newer_version_is_an_error_and_stays() {
    let (_folder, bench) = bench();
    let input = bench.artifact("files", &[("x", b"aa"), ("y", b"bb")]).unwrap();
    let enter = |mode: Mode| bench.enter(&Views::default(), &[("in", &input)], Vec::new(), mode);
    let (_, keys, _) = missing(enter(Mode::Count));
    let records = vec![(keys[0], br#"{"version":99,"made":"otherwise"}"#.to_vec())];
    bench.store.commit(pipe_cache::Commit { records, ..Default::default() }).unwrap();
    let error = enter(Mode::Here).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
    assert!(bench.store.record(&keys[0]).unwrap().is_some());
}

#[test]
fn without_a_lease_nothing_is_retired() {
    let (_folder, bench) = bench();
    let input = bench.artifact("files", &[("x", b"aa")]).unwrap();
    let enter = |mode: Mode| bench.enter(&Views::default(), &[("in", &input)], Vec::new(), mode);
    let (_, keys, _) = missing(enter(Mode::Count));
    let records = vec![(keys[0], br#"{"version":1,"made":"long ago"}"#.to_vec())];
    bench.store.commit(pipe_cache::Commit { records, ..Default::default() }).unwrap();
    let setup = Setup {
        store: bench.store.clone(),
        identity: pipe_stage::Identity { name: "views".into(), revision: 1, program: None },
        mode: Mode::Here,
        inputs: [(
            "in".to_owned(),
            vec![pipe_stage::InputArtifact {
                label: String::new(),
                digest: input.digest(),
                artifact: input.clone(),
            }],
        )]
        .into(),
        sources: Vec::new(),
        remotes: None,
        threads: 1,
        events: std::sync::Arc::new(|_: Event| {}),
        stop: Default::default(),
        lease: None,
    };
    Context::new(setup).enter(&Views::default()).unwrap();
    let body = bench.store.record(&keys[0]).unwrap().unwrap();
    assert!(body.ends_with(b"\"long ago\"}"));
    enter(Mode::Here).unwrap();
    assert_ne!(bench.store.record(&keys[0]).unwrap().unwrap(), body, "its holder may");
}

/// Looking up the slices of a step takes linear time.
#[test]
fn slices_take_linear_time() {
    #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
    struct Sliced {
        items: usize,
    }
    static TOOK: std::sync::Mutex<Vec<Duration>> = std::sync::Mutex::new(Vec::new());
    impl Stage for Sliced {
        const NAME: &'static str = "sliced";
        const REVISION: u32 = 1;
        const PORTS: &'static [Port] = &[IN.port(), OUT.port()];

        fn run(&self, ctx: &Context) -> Result<()> {
            let shard = &ctx.input(IN).entries[0];
            let item = |number: usize| Item::new(&number.to_string(), [shard.clone()]);
            let step: Step = ctx.once("pass", &(), (0..self.items).map(item).collect(), pass)?;
            let began = Instant::now();
            let slices = step.slices("slice");
            TOOK.lock().unwrap().push(began.elapsed());
            assert!(slices.iter().all(Option::is_some) && slices.len() == self.items);
            ctx.output(OUT, [])
        }
    }
    fn pass(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
        let source = tempfile::NamedTempFile::new().unwrap();
        // One small file per item; its content does not matter here.
        for place in 0..inputs.items().len() {
            share.import("slice", pipe_stage::Name::Item(place as u32), source.path())?;
        }
        Ok(())
    }
    let (_folder, bench) = bench();
    let input = bench.artifact("files", &[("x", b"aa")]).unwrap();
    let fastest = |items: usize| {
        TOOK.lock().unwrap().clear();
        (0..3).for_each(|_| drop(bench.run(&Sliced { items }, &[("in", &input)]).unwrap()));
        *TOOK.lock().unwrap().iter().min().unwrap()
    };
    let (small, large) = (fastest(1_000), fastest(4_000));
    assert!(large < small * 10 + Duration::from_millis(2), "{small:?} for 1,000 items, {large:?} for 4,000");
}
