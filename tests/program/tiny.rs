//! `pipelines/tiny.yaml`: from the pages of the toolchain's documentation to an exported model.

use crate::project::{Project, below, wait_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// Moments at which a run is killed, for each way to kill; `PIPE_TEST_KILLS` sets another number.
const KILLS: u64 = 4;
/// The stages that read and write documents and tokens.
const DATA: [&str; 6] = ["pages", "text", "unique", "sets", "vocabulary", "tokens"];

/// The pipeline with the files that it needs, over a copy of the documentation if pages are to be changed.
pub(crate) struct Tiny {
    pub(crate) project: Project,
    docs: PathBuf,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let read = |name: &str| fs::read_to_string(pipelines.join(name)).unwrap();
        let project = Project::new(&read("tiny.yaml"));
        project.write("gpt-small.yaml", &read("gpt-small.yaml"));
        Self { project, docs: documentation() }
    }

    /// Puts a copy of the documentation in the place of the toolchain's.
    fn with_own_pages() -> Self {
        let mut tiny = Self::new();
        let own = tiny.project.path("docs");
        for book in ["nomicon", "reference"] {
            for path in below(&tiny.docs.join(book)).into_iter().filter(|path| path.is_file()) {
                let place = own.join(path.strip_prefix(&tiny.docs).unwrap());
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::copy(&path, place).unwrap();
            }
        }
        tiny.docs = own;
        tiny
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.project.command(words);
        command.env("RUST_DOCS", &self.docs);
        command
    }

    pub(crate) fn pipe(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Runs it with events; returns the lines.
    pub(crate) fn run(&self, more: &[&str]) -> Vec<Value> {
        let output = self.pipe(&[&["run", "pipeline.yaml", "--json"], more].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn plan(&self, more: &[&str]) -> BTreeMap<String, Value> {
        let output = self.pipe(&[&["plan", "pipeline.yaml", "--json"], more].concat());
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().map(|stage| (stage["stage"].as_str().unwrap().to_owned(), stage.clone())).collect()
    }
}

/// The pinned toolchain's documentation.
fn documentation() -> PathBuf {
    let told =
        Command::new("rustc").args(["--print", "sysroot"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let sysroot = String::from_utf8(told.expect("rustc is at hand where cargo is").stdout).unwrap();
    let docs = Path::new(sysroot.trim()).join("share/doc/rust/html");
    assert!(docs.join("nomicon").is_dir(), "no documentation: rustup component add rust-docs");
    docs
}

/// The stages with this outcome in a run's closing table.
fn with_outcome(lines: &[Value], outcome: &str) -> Vec<String> {
    let rows = lines.last().unwrap()["summary"].as_array().unwrap();
    let fitting = rows.iter().filter(|row| row["outcome"] == outcome);
    fitting.map(|row| row["stage"].as_str().unwrap().to_owned()).collect()
}

/// Shares done of all, by stage and step.
fn shares(lines: &[Value]) -> BTreeMap<(String, String), (u64, u64)> {
    let mut shares = BTreeMap::new();
    for run in lines.iter().map(|line| &line["run"]) {
        let told = &run["told"];
        if told["event"] == "step" {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (missing, all): &mut (u64, u64) =
                shares.entry((text(&run["stage"]), text(&told["step"]))).or_default();
            *missing += told["missing"].as_u64().unwrap();
            *all += told["tasks"].as_u64().unwrap();
        }
    }
    shares
}

/// What an undisturbed run makes, and how long it takes.
fn undisturbed() -> &'static (BTreeMap<String, Value>, Duration) {
    static MADE: OnceLock<(BTreeMap<String, Value>, Duration)> = OnceLock::new();
    MADE.get_or_init(|| {
        let tiny = Tiny::new();
        let started = Instant::now();
        tiny.run(&[]);
        (tiny.project.outputs(), started.elapsed())
    })
}

#[test]
fn it_runs_from_pages_to_a_model_and_then_no_more() {
    let tiny = Tiny::new();
    let lines = tiny.run(&[]);
    assert_eq!(with_outcome(&lines, "ran").len(), 10, "{:?}", lines.last());
    thread::sleep(Duration::from_millis(2100)); // till stamps of sources are trusted
    tiny.run(&[]);
    let before = (tiny.project.listing(".pipe"), tiny.project.listing("out"));
    let again = tiny.run(&[]);
    assert_eq!(with_outcome(&again, "cached").len(), 10);
    assert_eq!((tiny.project.listing(".pipe"), tiny.project.listing("out")), before);

    tiny.pipe(&["get", "pipeline.yaml", "export", "model"]);
    let files = below(&tiny.project.path("model"));
    let names: BTreeSet<&str> = files.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    for name in [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "provenance.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        assert!(names.contains(name), "no {name} in {names:?}");
    }
    let config: Value = serde_json::from_str(&tiny.project.read("model/config.json")).unwrap();
    assert_eq!((&config["model_type"], &config["vocab_size"]), (&"llama".into(), &512.into()));
    let shown = tiny.pipe(&["show", "pipeline.yaml", "text"]).stdout;
    assert!(String::from_utf8_lossy(&shown).contains("documents: documents in "));
    tiny.project.assert_clean();
}

#[test]
fn a_setting_runs_only_what_depends_on_it() {
    let tiny = Tiny::new();
    tiny.run(&[]);
    let verdicts = |plan: &BTreeMap<String, Value>, verdict: &str| {
        let fitting = plan.iter().filter(|(_, stage)| stage["plan"] == verdict);
        fitting.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let plan = tiny.plan(&["--set", "stages.base.with.optimizer.lr=6e-4"]);
    assert_eq!(verdicts(&plan, "run"), ["base"]);
    assert_eq!(verdicts(&plan, "depends"), ["classifier", "export", "scores"]);
    let why = plan["base"]["reasons"][0].as_str().unwrap();
    assert!(why.starts_with("with.optimizer.lr ") && why.ends_with(" -> 6e-4"), "{why}");

    let lines = tiny.run(&["--set", "stages.base.with.seed=7"]);
    assert_eq!(with_outcome(&lines, "cached"), DATA);
    assert_eq!(with_outcome(&lines, "ran"), ["base", "classifier", "scores", "export"]);
    assert_eq!(with_outcome(&tiny.run(&[]), "cached").len(), 10, "changed back: all cached");
}

#[test]
fn a_changed_page_is_one_share_of_work() {
    let tiny = Tiny::with_own_pages();
    tiny.run(&["tokens"]);
    let page = "docs/reference/tokens.html";
    let text = tiny.project.read(page);
    let time = fs::metadata(tiny.project.path(page)).unwrap().modified().unwrap();
    tiny.project.write(page, &text);
    assert_eq!(with_outcome(&tiny.run(&["tokens"]), "ran"), [""; 0], "touched, not changed");

    let (main, rest) = text.split_at(text.rfind("</main>").unwrap());
    let (before, after) = main.rsplit_once("</p>").unwrap();
    tiny.project.write(page, &format!("{before} One more sentence stands here.</p>{after}{rest}"));
    let lines = tiny.run(&["tokens"]);
    let done = shares(&lines);
    for (stage, step) in [("pages", "pages"), ("text", "texts"), ("unique", "signed")] {
        let (missing, all) = done.get(&(stage.to_owned(), step.to_owned())).copied().unwrap_or_default();
        assert!(missing == 1 && all > 1, "{stage}: {step}: {done:?}");
    }
    tiny.project.write(page, &text);
    fs::File::options().write(true).open(tiny.project.path(page)).unwrap().set_modified(time).unwrap();
    assert_eq!(with_outcome(&tiny.run(&["tokens"]), "ran"), [""; 0], "changed back");
}

#[test]
fn killed_at_any_moment_it_makes_the_same_bytes() {
    let kills = std::env::var("PIPE_TEST_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let (made, length) = undisturbed();
    for (way, signal) in ["engine", "group"].into_iter().enumerate() {
        for kill in 0..kills {
            // Moments spread evenly, and apart between the two ways.
            let part = (kill as f64 + 0.25 + 0.5 * way as f64) / kills as f64;
            let tiny = Tiny::new();
            let mut command = tiny.command(&["run", "pipeline.yaml"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            let mut child = command.spawn().unwrap();
            thread::sleep(length.mul_f64(part));
            let pid = Pid::from_child(&child);
            let _ = match signal {
                "engine" => kill_process(pid, Signal::KILL),
                _ => kill_process_group(pid, Signal::KILL),
            };
            child.wait().unwrap();
            wait_until(&|| "all processes are gone".into(), || tiny.project.processes().is_empty());
            tiny.run(&[]);
            assert_eq!(&tiny.project.outputs(), made, "{signal} killed after {part} of the time");
            tiny.project.assert_clean();
        }
    }
}

#[test]
fn an_interrupted_training_goes_on_where_it_was() {
    let (made, _) = undisturbed();
    let tiny = Tiny::new();
    tiny.run(&["tokens"]);
    let long = ["--set", "stages.base.with.steps=100000"];
    let mut command = tiny.command(&[&["run", "pipeline.yaml", "base"], &long[..]].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let runs = tiny.project.path(".pipe/runs");
    let trains = || {
        let events = below(&runs).into_iter().filter(|path| path.ends_with("events.jsonl"));
        events.map(|path| fs::read_to_string(path).unwrap()).any(|text| text.contains(r#""total":100000"#))
    };
    wait_until(&|| "it trains".to_owned(), trains);
    let started = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(30));
    let resumes = &tiny.plan(&[&["base"], &long[..]].concat())["base"]["resumes"];
    assert!(resumes["step"].as_u64().unwrap() > 0 && resumes["of"] == 100_000, "{resumes}");
    let why = tiny.pipe(&[&["why", "pipeline.yaml", "base"], &long[..]].concat());
    let told = format!("resumes at step {} of 100000", resumes["step"]);
    assert!(String::from_utf8_lossy(&why.stdout).contains(&told), "{told}");
    let forced = &tiny.plan(&[&["base", "--force", "base"], &long[..]].concat())["base"];
    assert_eq!(forced["resumes"], Value::Null, "it would begin again");
    tiny.run(&[]);
    assert_eq!(&tiny.project.outputs(), made);
    tiny.project.assert_clean();
}

#[test]
fn estimates_follow_steps_and_the_size_of_the_model() {
    let tiny = Tiny::new();
    tiny.run(&[]);
    let seconds = |sets: &[&str]| {
        let plan = tiny.plan(sets);
        let of = |stage: &str| plan[stage]["estimate"]["seconds"].as_f64().unwrap();
        ["base", "classifier", "scores"].map(of)
    };
    let [base, classifier, scores] = seconds(&["--set", "stages.base.with.steps=61"]);
    let [long, ..] = seconds(&["--set", "stages.base.with.steps=6100"]);
    assert!((long / base - 100.0).abs() < 5.0, "{long} s for 100 times {base} s");
    // 20 times the parameters, 16 times the context.
    let large = seconds(&["--set", "stages.base.with.preset=gpt2"]);
    for (large, small) in large.into_iter().zip([base, classifier, scores]) {
        assert!(large > 20.0 * small, "{large} s beside {small} s");
    }
}

#[test]
fn check_finds_what_training_would_find_late() {
    let tiny = Tiny::new();
    let check = |manifest: &str, code: i32| {
        let output = tiny.command(&["check", manifest]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let write = |name: &str, stages: &str| {
        let text = format!("pipeline: tiny\nextends: pipeline.yaml\nstages:\n{stages}");
        tiny.project.write(name, &text);
    };
    write(
        "narrow.yaml",
        "  base: { with: { preset: gpt2-tiny, model: { norm: post, intermediate_size: 128 } } }\n",
    );
    let told = check("narrow.yaml", 2);
    for part in ["export", "OpenAIGPTLMHeadModel", "256 and not 128", "`norm: pre`"] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    assert_eq!(tiny.command(&["run", "narrow.yaml"]).output().unwrap().status.code(), Some(2));

    let expected = |name: &str| format!("{{ expect: {{ {name}: {{ max: 9 }} }} }}");
    let known = [("base", "val_loss"), ("scores", "base.bits_per_byte"), ("scores", "classifier.accuracy")];
    for (stage, name) in known {
        write("known.yaml", &format!("  {stage}: {}\n", expected(name)));
        check("known.yaml", 0);
    }
    let unknown = [
        ("base", "val_los", "`val_loss`"),
        ("scores", "base.bits_per_bite", "`base.bits_per_byte`"),
        ("scores", "base.accuracy", "no metric"),
        ("export", "size", "parameters"),
    ];
    for (stage, name, help) in unknown {
        write("unknown.yaml", &format!("  {stage}: {}\n", expected(name)));
        let told = check("unknown.yaml", 2);
        assert!(told.contains(name) && told.contains(help), "{told}");
    }
}
