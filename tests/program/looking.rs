//! Commands that look: `plan`, `why`, `check`, `graph`, `get`, `show`, `stages`, `schema`, `verify`, `cache`.

use crate::project::{Project, STAGES, below};
use serde_json::json;
use std::fs;

#[test]
fn a_plan_tells_fields_with_both_values() {
    let project = Project::letters("");
    let first = project.pipe(&["plan", "pipeline.yaml"]).expect(0);
    first.prints(&["it has no result yet", "depends on first, shorter", "unknown: no earlier run"]);
    assert!(!project.path("out").exists() && !project.path("pipeline.lock").exists());
    project.run(&[]).expect(0);
    project
        .pipe(&["plan", "pipeline.yaml"])
        .expect(0)
        .prints(&["nothing to do: all 6 stages are up to date"]);

    project.edit("head -c 4", "head -c 3");
    let told = project.pipe(&["plan", "pipeline.yaml"]).expect(0);
    let told = told.prints(&["with.run head -c 4", "-> head -c 3", "4 to run, 2 cached", "of work"]);
    let line = |stage: &str| told.stdout.lines().find(|line| line.starts_with(stage)).unwrap().to_owned();
    assert!(
        line("joined").contains("depends on shorter") && line("first").contains("cached"),
        "{}",
        told.stdout
    );
    let plan = project.plan(&[]);
    let verdicts: Vec<&str> = STAGES.iter().map(|stage| plan[*stage]["plan"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["cached", "cached", "run", "depends", "depends", "depends"]);
    assert_eq!(plan["shorter"]["why"][0]["reason"], "config");
    assert_eq!(plan["shorter"]["why"][0]["field"], "run");
    assert_eq!(plan["joined"]["upstream"], json!(["shorter"]));
    assert!(plan["shorter"]["estimate"]["seconds"].is_f64());
    project.edit("head -c 3", "head -c 4");
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["nothing to do"]);
}

#[test]
fn a_plan_tells_sources_inputs_and_types() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    project.write("in/first.txt", "changed\n");
    let told = project.pipe(&["plan", "pipeline.yaml"]).expect(0);
    told.prints(&["sources: 1 changed of 1 files", "in/first.txt"]);
    project.run(&["first"]).expect(0);
    let told = project.pipe(&["plan", "pipeline.yaml"]).expect(0);
    told.prints(&["input `a` (first) changed: 1 of 1 shards"]);
    project.run(&[]).expect(0);

    let project = Project::one("echo a > $PIPE_OUTPUT_text/a", "");
    project.run(&[]).expect(0);
    project.edit("{ text: files }", "{ text: files, more: files }");
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["with.outputs.more absent -> files"]);
}

#[test]
fn exit_code_3_says_that_something_would_run() {
    let project = Project::letters("");
    let plan = ["plan", "pipeline.yaml", "--detailed-exitcode"];
    project.pipe(&plan).expect(3);
    project.run(&["second"]).expect(0);
    project.pipe(&[&plan[..], &["second"]].concat()).expect(0);
    project.pipe(&plan).expect(3);
    project.run(&[]).expect(0);
    project.pipe(&plan).expect(0);
    project.pipe(&[&plan[..], &["--set", "stages.first.with.env=[X]"]].concat()).expect(3);
}

#[test]
fn why_explains_one_stage() {
    let project = Project::letters("");
    let why = |stage: &str| project.pipe(&["why", "pipeline.yaml", stage]).expect(0);
    why("joined").prints(&["`joined` may run", "depends on first, shorter", "recipe "]);
    project.run(&[]).expect(0);
    why("joined").prints(&["`joined` is up to date", "key "]);
    project.edit("head -c 4", "head -c 3");
    why("shorter").prints(&["`shorter` would run", "with.run head -c 4", "key "]);
    let told = project.pipe(&["why", "pipeline.yaml", "shorter", "--json"]).expect(0).json();
    assert_eq!((&told["plan"], &told["why"][0]["field"]), (&json!("run"), &json!("run")));
    project.pipe(&["why", "pipeline.yaml", "shorten"]).expect(2).says(&["shorten", "shorter"]);
}

#[test]
fn check_finds_faults_and_missing_sources() {
    let project = Project::letters("");
    project.pipe(&["check", "pipeline.yaml"]).expect(0).prints(&["`letters` is valid: 6 stages"]);
    let told = project.pipe(&["check", "pipeline.yaml", "--json"]).expect(0).json();
    assert_eq!((&told["errors"], &told["stages"]), (&json!([]), &json!(6)));
    project.edit("outputs: { text: files }", "files: ['no/such/*.txt'], outputs: { text: files }");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&["no/such/*.txt", "pipeline.yaml:5"]);
}

#[test]
fn a_graph_is_drawn_in_three_forms() {
    let project = Project::letters("");
    let drawn = |more: &[&str]| project.pipe(&[&["graph", "pipeline.yaml"], more].concat()).expect(0).stdout;
    let text = drawn(&[]);
    assert_eq!(text.lines().count(), 7, "{text}");
    assert!(text.starts_with("stage    type     inputs\n"), "{text}");
    assert!(text.contains("joined   command  a <- first, b <- shorter"), "{text}");
    let mermaid = drawn(&["--as", "mermaid"]);
    assert!(mermaid.starts_with("flowchart TD\n") && mermaid.contains("-->|text| "), "{mermaid}");
    let dot = drawn(&["--as", "dot"]);
    assert!(dot.starts_with("digraph pipeline {") && dot.contains("\"shorter\" -> \"joined\""), "{dot}");
    assert_eq!(drawn(&["shorter"]).lines().count(), 3);
}

#[test]
fn get_writes_a_folder_and_where_it_comes_from() {
    let project = Project::letters("");
    let get = |what: &str, folder: &str| project.pipe(&["get", "pipeline.yaml", what, folder]);
    get("report", "made").expect(1).says(&["`report` is out of date", "pipe run pipeline.yaml report"]);
    project.run(&[]).expect(0);
    get("report", "made").expect(0).says(&["wrote 1 file of `report.report` to made"]);
    assert_eq!(project.read("made/all.txt"), "abc\nwxyzABC\nWXYZ");
    let names: Vec<_> =
        below(&project.path("made")).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["all.txt", "provenance.json"]);
    let provenance: serde_json::Value = serde_json::from_str(&project.read("made/provenance.json")).unwrap();
    assert_eq!((&provenance["pipeline"], &provenance["stage"]), (&json!("letters"), &json!("report")));
    for stage in STAGES {
        let told = &provenance["stages"][stage];
        assert_eq!(told["key"], project.lock()["stages"][stage]["key"], "{provenance}");
        assert!(told["config"]["run"].is_string() && told["code"].is_string(), "{told}");
    }
    get("report", "made").expect(2).says(&["`made` is not empty"]);
    fs::create_dir(project.path("empty")).unwrap();
    get("joined.text", "empty").expect(0);
    assert_eq!(project.read("empty/c.txt"), "abc\nwxyz");
    get("joined.texts", "other").expect(2).says(&["no output `texts`", "text"]);
    assert!(!project.path("other").exists());
    // What was got out is a copy: changing it harms nothing.
    fs::write(project.path("made/all.txt"), "mine").unwrap();
    project.pipe(&["cache", "verify"]).expect(0);
}

#[test]
fn show_tells_the_record_the_log_and_the_outputs() {
    let project = Project::letters("echo some words; echo and more >&2;");
    project.pipe(&["show", "pipeline.yaml", "joined"]).expect(1).says(&["out of date"]);
    project.run(&[]).expect(0);
    let shown = project.pipe(&["show", "pipeline.yaml", "joined"]).expect(0);
    shown.prints(&["joined (command revision", "key ", "took ", "text: files in 1 entry, 8 B"]);
    let log = project.pipe(&["show", "pipeline.yaml", "joined", "--log"]).expect(0);
    assert_eq!(log.stdout, "some words\nand more\n");
    let told = project.pipe(&["show", "pipeline.yaml", "joined", "--json"]).expect(0).json();
    assert_eq!(told["record"]["uses"], "command");
    assert_eq!(told["record"]["inputs"].as_object().unwrap().len(), 2);
    project.pipe(&["show", "pipeline.yaml", "joint"]).expect(2).says(&["joint", "joined"]);
}

#[test]
fn stages_and_schema_explain_what_may_be_written() {
    let project = Project::letters("");
    project.pipe(&["stages"]).expect(0).prints(&["command ", "Runs a shell command"]);
    let fields = ["command (revision", "run: string", "outputs: map to (string)", "env: list of (string)"];
    project.pipe(&["stages", "command"]).expect(0).prints(&fields);
    let told = project.pipe(&["stages", "command", "--json"]).expect(0).json();
    assert_eq!(told["name"], "command");
    project.pipe(&["stages", "comand"]).expect(2).says(&["no stage type `comand`", "command"]);
    let schema = project.pipe(&["schema"]).expect(0).json();
    assert!(schema["properties"]["stages"].is_object(), "{schema}");
}

#[test]
fn verify_runs_again_and_compares() {
    let project = Project::letters("");
    project.pipe(&["verify", "pipeline.yaml"]).expect(1).says(&["out of date"]);
    project.run(&[]).expect(0);
    let before = project.listing(".pipe/objects");
    let told = project.pipe(&["verify", "pipeline.yaml"]).expect(0);
    assert_eq!(told.stdout.lines().count(), 6, "{}", told.stdout);
    assert!(told.stdout.lines().all(|line| line.ends_with(": identical")), "{}", told.stdout);
    assert_eq!(project.listing(".pipe/objects"), before);
    let told = project.pipe(&["verify", "pipeline.yaml", "upper"]).expect(0);
    assert_eq!(told.stdout, "upper: identical\n");
    project.assert_clean();

    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let project = Project::one(&format!("echo x >> {0}; cp {0} $PIPE_OUTPUT_text/a", count.display()), "");
    project.run(&[]).expect(0);
    let told = project.pipe(&["verify", "pipeline.yaml"]).expect(1);
    told.prints(&["output `text` differs: a"]).says(&["1 stage produced different output"]);
    project.assert_clean();
}

#[test]
fn the_cache_is_listed_measured_and_verified() {
    let project = Project::letters("");
    project.pipe(&["cache", "ls"]).expect(2).says(&["there is no cache"]);
    project.run(&[]).expect(0);
    let told = project.pipe(&["cache", "ls", "--json"]).expect(0).json();
    assert_eq!(told["records"].as_array().unwrap().len(), 6);
    let told = project.pipe(&["cache", "ls"]).expect(0);
    assert_eq!(told.stdout.lines().count(), 7, "{}", told.stdout);
    let told = project.pipe(&["cache", "du", "--json"]).expect(0).json();
    let objects = &told["usage"][0];
    assert_eq!((&objects["what"], &objects["files"]), (&json!("objects"), &json!(project.objects().len())));
    project.pipe(&["cache", "du"]).expect(0).prints(&["objects", "artifacts", "records"]);
    project.pipe(&["cache", "verify"]).expect(0).says(&["no damage found"]);
    let elsewhere = project.path("elsewhere");
    let more = ["--cache", elsewhere.to_str().unwrap()];
    assert_eq!(project.ran(&more), STAGES);
    project.pipe(&[&["cache", "verify"], &more[..]].concat()).expect(0);
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_went_away_is_none() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    for words in [&["plan", "pipeline.yaml"][..], &["logs", "pipeline.yaml", "first"], &["schema"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = project.command(words).stdout(full).output().unwrap();
        if words[0] != "logs" {
            Project::ended_of(output)
                .expect(1)
                .says(&["error: cannot write to stdout: No space left on device"]);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = project.command(words).stdout(writer).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("error"), "{words:?}: {output:?}");
    }
}

#[test]
fn an_empty_variable_names_no_cache() {
    let project = Project::letters("");
    for words in [&["run", "pipeline.yaml"][..], &["plan", "pipeline.yaml"], &["cache", "du"]] {
        let output = project.command(words).env("PIPE_CACHE", "").output().unwrap();
        Project::ended_of(output).expect(0);
    }
    assert!(project.path(".pipe/version").exists());
}

#[test]
fn all_commands_agree_that_a_run_was_out_of_bounds() {
    let project = Project::one(
        "echo '{\"event\":\"metric\",\"name\":\"loss\",\"value\":4}' >> $PIPE_EVENTS\necho x > $PIPE_OUTPUT_text/a",
        "expect: { loss: { max: 5 } }",
    );
    project.run(&[]).expect(0);
    project.edit("max: 5", "max: 3");
    // Nothing has to run, and the call fails all the same.
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).says(&["`loss` of `only` is 4, expected at most 3"]);
    project.run(&[]).expect(1).says(&["1 metric out of bounds"]);
    project.pipe(&["status", "pipeline.yaml"]).expect(0).says(&["(out of bounds)"]);
    let history = project.pipe(&["history", "pipeline.yaml", "--json"]).expect(0).json();
    let states: Vec<_> = history["runs"].as_array().unwrap().iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states, ["out_of_bounds", "done"]);
    project.pipe(&["report", "pipeline.yaml", "-o", "r.html"]).expect(0);
    let page = project.read("r.html");
    assert!(page.contains("out of bounds") && page.contains("expected at most 3"), "{page}");
}

#[test]
fn events_that_are_no_file_are_an_error() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let events =
        below(&project.path(".pipe/runs")).into_iter().find(|path| path.ends_with("events.jsonl")).unwrap();
    fs::remove_file(&events).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&events).status().unwrap().success());
    project.pipe(&["report", "pipeline.yaml"]).expect(2).says(&["events.jsonl", "not a regular file"]);
}

#[test]
fn an_observer_that_ends_early_is_not_called_slow() {
    let project = Project::letters("");
    let ended = project.run(&["--observe", "exec true"]).expect(0).says(&["ended before the run"]);
    assert!(!ended.stderr.contains("keep up"), "{}", ended.stderr);
}
