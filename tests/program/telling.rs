//! What commands print: errors as JSON, estimates, and that looking leaves no trace.

use crate::project::Project;
use serde_json::Value;
use std::fs;

#[test]
fn check_and_plan_write_nothing() {
    let project = Project::new("");
    let text = project.read("pipeline.yaml");
    assert!(text.is_empty());
    project.write(
        "pipelines/m.yaml",
        "pipeline: t\nstages:\n  a: { uses: command, with: { run: 'echo x > $PIPE_OUTPUT_o/x', outputs: { o: files } } }\n",
    );
    let names = || -> Vec<_> {
        let below = fs::read_dir(project.path("pipelines")).unwrap();
        below.chain(fs::read_dir(project.root()).unwrap()).map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = names();
    for command in ["check", "plan", "graph"] {
        project.pipe(&[command, "pipelines/m.yaml"]).expect(0);
    }
    project.pipe(&["why", "pipelines/m.yaml", "a"]).expect(0);
    assert_eq!(names(), before);
    project.pipe(&["run", "pipelines/m.yaml"]).expect(0);
    assert!(project.path("pipelines/.pipe").is_dir());
}

#[test]
fn every_command_reports_errors_as_json() {
    let project = Project::letters("");
    let calls: [&[&str]; 9] = [
        &["run", "pipeline.yaml", "nobody", "--json"],
        &["plan", "pipeline.yaml", "nobody", "--json"],
        &["check", "missing.yaml", "--json"],
        &["graph", "pipeline.yaml", "nobody", "--json"],
        &["show", "pipeline.yaml", "first", "--json"],
        &["stages", "nothing", "--json"],
        &["cache", "du", "--json"],
        &["history", "pipeline.yaml", "--json"],
        &["run", "pipeline.yaml", "--cpus", "-1", "--json"],
    ];
    for call in calls {
        let ended = project.pipe(call);
        assert_ne!(ended.code, Some(0), "{call:?}");
        let told: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{call:?}: {error}: {}", ended.stdout));
        assert!(told["error"].is_string() || told["errors"].is_array(), "{call:?}: {told}");
    }
}

#[test]
fn a_graph_is_told_as_json() {
    let project = Project::letters("");
    let ended = project.pipe(&["graph", "pipeline.yaml", "upper", "--json"]);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(told["pipeline"], "letters");
    assert_eq!(told["stages"].as_array().unwrap().len(), 5);
    let edge = &told["edges"].as_array().unwrap()[0];
    assert_eq!(
        (&edge["from"], &edge["to"], &edge["input"]),
        (&"second".into(), &"shorter".into(), &"text".into())
    );
}

#[test]
fn completions_offer_stages_types_and_runs() {
    let project = Project::letters("");
    project.pipe(&["run", "pipeline.yaml"]).expect(0);
    let offered = |words: &[&str]| {
        let call = [&["__complete", "--"], words].concat();
        project.pipe(&call).expect(0).stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["run", "pipeline.yaml", "s"]), ["second", "shorter"]);
    assert_eq!(offered(&["show", "--lines", "3", "pipeline.yaml", "up"]), ["upper"]);
    assert_eq!(offered(&["stages", "com"]), ["command"]);
    let runs = offered(&["report", "pipeline.yaml", "--run", ""]);
    assert_eq!((&runs[..2], runs.len()), (&["last".to_owned(), "last~1".to_owned()][..], 3));
    // Without a manifest, the stages are those of the default one.
    assert_eq!(offered(&["run", "s"]), ["second", "shorter"]);
    assert_eq!(offered(&["run", "first", "s"]), ["second", "shorter"]);
    assert_eq!(offered(&["run", "--force", "f"]), ["first"]);
    assert_eq!(offered(&["why", "p"]), ["pipeline.yaml"]);
    assert_eq!(offered(&["diff", "las"]), ["last", "last~1"]);
    assert!(offered(&["check", ""]).is_empty(), "files are the shell's");
    std::fs::rename(project.path("pipeline.yaml"), project.path("other.yaml")).unwrap();
    assert!(offered(&["run", ""]).is_empty(), "files are the shell's");
    assert_eq!(offered(&["run", "other.yaml", "s"]), ["second", "shorter"]);
    assert!(offered(&["run", "missing.yaml", ""]).is_empty());
    let script = project.pipe(&["completions", "bash"]).expect(0).stdout.clone();
    assert!(script.contains("__complete"));
}

#[test]
fn a_missing_source_names_the_root_and_a_negative_value_is_a_value() {
    let project = Project::one("cat nothing.txt", "");
    project.edit("outputs:", "files: ['src/*.txt']\n      outputs:");
    let root = project.root().display().to_string();
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&[
        "src/*.txt",
        "project root",
        root.rsplit('/').next().unwrap(),
    ]);
    project.pipe(&["history", "pipeline.yaml", "--limit", "-1"]).expect(2).says(&["invalid value '-1'"]);
}

#[test]
fn the_manifest_of_the_folder_is_the_default() {
    let project = Project::letters("");
    let call = |words: &[&str]| project.pipe(words);
    call(&["run", "--jobs", "1", "upper"]).expect(0);
    assert!(!project.path("out/letters/report").exists(), "only what `upper` needs was run");
    call(&["run"]).expect(0);
    call(&["plan"]).expect(0).prints(&["nothing to do: all 6 stages are up to date"]);
    call(&["why", "upper"]).expect(0);
    call(&["show", "upper.text"]).expect(0).prints(&["ABC"]);
    call(&["runs", "ls"]).expect(0);
    call(&["diff", "last~1", "last"]).expect(0);
    // A folder with the name of a stage is no manifest.
    project.write("upper/a", "");
    call(&["get", "upper", "taken"]).expect(0);
    assert_eq!(project.read("taken/d.txt"), "ABC\nWXYZ");
    call(&["plan", "uper"]).expect(2).says(&["did you mean `upper`?"]);
    call(&["plan", "pipline.yaml"]).expect(2).says(&["pipline.yaml"]);
    call(&["why", "pipeline.yaml"]).expect(2).says(&["<STAGE>"]);
    call(&["plan", "--no-such-option"]).expect(2).says(&["--no-such-option"]);
    let help = call(&["run", "--help"]).expect(0);
    let help = help
        .prints(&["[default: pipeline.yaml in the current folder]", "Usage: pipe run [OPTIONS] [MANIFEST]"]);
    assert!(!help.stdout.contains("<MANIFEST>"), "{}", help.stdout);
    call(&["why"]).expect(2).says(&["  <STAGE>\n", "Usage: pipe why [MANIFEST] <STAGE>"]);
    std::fs::rename(project.path("pipeline.yaml"), project.path("other.yaml")).unwrap();
    call(&["plan"]).expect(2).says(&["no MANIFEST is named, and there is no `pipeline.yaml` in this folder"]);
    call(&["plan", "other.yaml"]).expect(0);
}

#[test]
fn documents_with_odd_letters_are_valid_json() {
    let project = Project::new(
        "pipeline: p\nstages:\n  a: { uses: ingest, with: { sources: [{ glob: 'in/*.txt', name: s }] } }\n",
    );
    let text = "a\u{202e}b\u{2028}c\u{85}d\u{9b}e";
    project.write("in/a.txt", text);
    project.run(&[]).expect(0);
    let sample = project.pipe(&["data", "sample", "pipeline.yaml", "a", "--json"]).expect(0);
    assert_eq!(sample.json()["text"], text, "{}", sample.stdout);
    assert!(!sample.stdout.contains('\u{202e}'), "{}", sample.stdout);
}

#[test]
fn a_report_replaces_nothing_but_a_report() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let before = project.read("pipeline.yaml");
    project.pipe(&["report", "pipeline.yaml", "-o", "pipeline.yaml"]).expect(2).says(&["is no report", "-o"]);
    assert_eq!(project.read("pipeline.yaml"), before);
    project.pipe(&["report", "pipeline.yaml", "-o", "r.html"]).expect(0);
    project.pipe(&["report", "pipeline.yaml", "-o", "r.html"]).expect(0);
}
