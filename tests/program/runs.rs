//! Runs side by side: `history --metrics`, `history --source`, `runs rm`; and what a run gets from its system.

use crate::project::Project;
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, process::Command};

/// A project whose one stage reports the metric `lines` and reads `in/x.txt`, run once for each value.
fn measured(values: &[u32]) -> Project {
    let line = r#"{"event":"metric","name":"lines","value":VALUE}"#;
    let project =
        Project::one(&format!("cp in/x.txt $PIPE_OUTPUT_text/a\necho '{line}' >> $PIPE_EVENTS"), "");
    project.write("in/x.txt", "x\n");
    project.write("in/y.txt", "y\n");
    let manifest = project.read("pipeline.yaml");
    for value in values {
        project.write("pipeline.yaml", &manifest.replace("VALUE", &value.to_string()));
        project.run(&[]).expect(0);
    }
    project
}

#[test]
fn history_compares_chosen_metrics_of_many_runs() {
    let project = measured(&[3, 5, 4]);
    let table = |more: &[&str]| project.pipe(&[&["history", "pipeline.yaml"], more].concat());
    for metric in ["lines", "only.lines"] {
        let told = table(&["--metrics", metric]).expect(0);
        let rows: Vec<Vec<&str>> =
            told.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        let last = |row: &Vec<&str>| (*row.last().unwrap()).to_owned();
        assert_eq!(
            rows.iter().map(last).collect::<Vec<_>>(),
            ["only.lines", "4", "5", "3"],
            "{}",
            told.stdout
        );
    }
    let told = table(&["--metrics", "lines", "--limit", "2"]).expect(0);
    assert_eq!(told.stdout.lines().count(), 3, "{}", told.stdout);
    table(&["--metrics", "only.line"]).expect(2).says(&["no", "metric `only.line`", "`lines`"]);
}

#[test]
fn history_lists_the_runs_that_used_a_source() {
    let project = measured(&[3]);
    project.edit("in/x.txt", "in/y.txt");
    project.run(&[]).expect(0);
    let rows = |path: &str| {
        let told = project.pipe(&["history", "pipeline.yaml", "--source", path]).expect(0);
        told.stdout.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let (x, y): (Vec<String>, Vec<String>) = (rows("in/x.txt"), rows("in/y.txt"));
    assert!(x.len() == 1 && y.len() == 1 && x != y, "{x:?} {y:?}");
    let told = project.pipe(&["history", "pipeline.yaml", "--source", "in/z.txt"]).expect(0);
    told.says(&["no recorded run used `in/z.txt`"]);
}

#[test]
fn a_removed_run_is_gone_and_what_it_made_stays() {
    let project = measured(&[3, 5]);
    let runs = || fs::read_dir(project.path(".pipe/runs")).unwrap().count();
    assert_eq!(runs(), 2);
    project.pipe(&["runs", "rm", "pipeline.yaml", "nope"]).expect(2).says(&["no run `nope`", "pipe history"]);
    assert_eq!(runs(), 2);
    project.pipe(&["runs", "rm", "pipeline.yaml", "last"]).expect(0);
    assert_eq!(runs(), 1);
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["nothing to do"]);
    let told = project.pipe(&["history", "pipeline.yaml", "--metrics", "lines"]).expect(0);
    assert!(told.stdout.lines().last().unwrap().ends_with(" 3"), "{}", told.stdout);
}

#[test]
fn one_output_is_shown_by_its_port() {
    let project = Project::one("echo first > $PIPE_OUTPUT_text/a\necho second > $PIPE_OUTPUT_more/b", "");
    project.edit("{ text: files }", "{ text: files, more: files }");
    project.run(&[]).expect(0);
    let shown = project.pipe(&["show", "pipeline.yaml", "only.more"]).expect(0);
    let shown = shown.prints(&["more: files in 1 entry", "second"]);
    assert!(!shown.stdout.contains("first"), "{}", shown.stdout);
    project.pipe(&["show", "pipeline.yaml", "only.mor"]).expect(2).says(&["no output `mor`", "more"]);
}

#[test]
fn a_command_may_open_as_many_files_as_the_system_lets_it() {
    let project =
        Project::one("ulimit -Sn > $PIPE_OUTPUT_text/soft\nulimit -Hn > $PIPE_OUTPUT_text/hard", "");
    // Both limits are lowered first, so that the bound on what is asked for plays no part.
    let mut low = Command::new("sh");
    low.args(["-c", "ulimit -Sn 100 && ulimit -Hn 512 && exec \"$0\" run pipeline.yaml"]);
    low.arg(env!("CARGO_BIN_EXE_pipe")).current_dir(project.root()).env_remove("PIPE_CACHE");
    Project::ended_of(low.output().unwrap()).expect(0);
    project.pipe(&["get", "pipeline.yaml", "only", "got"]).expect(0);
    assert_eq!((&*project.read("got/soft"), &*project.read("got/hard")), ("512\n", "512\n"));
}

#[test]
fn a_root_whose_path_is_not_unicode_is_refused_by_name() {
    let project = Project::letters("");
    let root = project.root().join(OsStr::from_bytes(b"root\xff"));
    // Only some systems have such names.
    if fs::create_dir(&root).is_err() {
        return;
    }
    fs::create_dir(root.join(".pipe")).unwrap();
    fs::copy(project.path("pipeline.yaml"), root.join("pipeline.yaml")).unwrap();
    for words in [["plan", "pipeline.yaml"], ["run", "pipeline.yaml"], ["history", "pipeline.yaml"]] {
        let ended = Project::ended_of(project.command(&words).current_dir(&root).output().unwrap());
        ended.expect(1).says(&["root", "is not UTF-8; rename the folder"]);
    }
    assert_eq!(fs::read_dir(root.join(".pipe")).unwrap().count(), 0);
}

#[test]
fn a_pipeline_without_a_name_is_an_error_at_its_place() {
    let project = Project::new("pipeline: null\nstages: {}\n");
    project
        .pipe(&["check", "pipeline.yaml"])
        .expect(2)
        .says(&["the pipeline has no name", "pipeline.yaml:1"]);
    let told = project.pipe(&["check", "pipeline.yaml", "--json"]).expect(2).json();
    assert_eq!(told["errors"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn history_shows_the_main_metrics_of_all_stages() {
    let metric = |name: &str, value: &str, better: &str| {
        format!(
            "echo '{{\"event\": \"metric\", \"name\": \"{name}\", \"value\": {value}, \"better\": \"{better}\"}}' >> $PIPE_EVENTS\n"
        )
    };
    let stage = |name: &str, metrics: &str| {
        let run = format!("{metrics}echo > $PIPE_OUTPUT_text/a").replace('\n', "\n        ");
        format!(
            "  {name}:\n    uses: command\n    with:\n      run: |\n        {run}\n      outputs: {{ text: files }}\n"
        )
    };
    let base = metric("steps", "30", "neutral")
        + &metric("val_loss", "VALUE", "lower")
        + &metric("train_loss", "1", "lower");
    let scores = metric("base.perplexity", "20", "lower")
        + &metric("base.bytes", "9", "lower")
        + &metric("small.accuracy", "0.5", "higher");
    let manifest = format!("pipeline: main\nstages:\n{}{}", stage("base", &base), stage("scores", &scores));
    let project = Project::new(&manifest.replace("VALUE", "3"));
    project.run(&[]).expect(0);
    project.write("pipeline.yaml", &manifest.replace("VALUE", "4"));
    project.run(&[]).expect(0);
    let rows = |more: &[&str]| -> Vec<Vec<String>> {
        let told = project.pipe(&[&["history", "pipeline.yaml"], more].concat()).expect(0);
        told.stdout.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let told = rows(&[]);
    assert_eq!(
        told[0][2..],
        ["time", "ran", "base.val_loss", "scores.base.perplexity", "scores.small.accuracy"]
    );
    // A stage that was cached has its metrics too.
    assert_eq!(told[1][told[1].len() - 3..], ["4", "20", "0.5000"]);
    assert_eq!(told[2][told[2].len() - 3..], ["3", "20", "0.5000"]);
    let chosen = rows(&["--metric", "perplexity", "--metric", "base.train_loss,accuracy"]);
    assert_eq!(chosen[0][2..], ["scores.base.perplexity", "base.train_loss", "scores.small.accuracy"]);
    assert_eq!(rows(&["-n", "1"]).len(), 2);
}
