//! What surrounds a run and is none of its business: names of folders, output that nobody reads, numbers beyond all
//! measure, a lock file that a merge left broken.

use crate::project::{Project, STAGES};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
};

/// A shell line in the project's folder, where `$PIPE` is the program.
fn shell(project: &Project, line: &str) -> std::process::Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(project.root()).stdin(Stdio::null());
    shell.env("PIPE", env!("CARGO_BIN_EXE_pipe")).env_remove("PIPE_CACHE").output().unwrap()
}

#[test]
fn a_project_in_a_folder_whose_name_is_not_unicode_runs_or_says_why_not() {
    let project = Project::letters("");
    let inner = project.root().join(OsStr::from_bytes(b"x\xffy"));
    fs::create_dir(&inner).unwrap();
    fs::create_dir(inner.join(".git")).unwrap();
    fs::copy(project.path("pipeline.yaml"), inner.join("pipeline.yaml")).unwrap();
    fs::create_dir(inner.join("in")).unwrap();
    for name in ["in/first.txt", "in/second.txt"] {
        fs::copy(project.path(name), inner.join(name)).unwrap();
    }
    let output = project.command(&["run", "pipeline.yaml"]).current_dir(&inner).output().unwrap();
    let ended = Project::ended_of(output);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    match ended.code {
        Some(0) => assert!(inner.join("pipeline.lock").exists()),
        Some(1 | 2) => assert!(ended.stderr.contains("UTF-8"), "{}", ended.stderr),
        code => panic!("{code:?}: {}", ended.stderr),
    }
}

#[test]
fn messages_that_nobody_can_read_end_no_run() {
    for redirected in [
        "2>&-",
        "2> /dev/full",
        "2>&1 | head -n 1 > /dev/null; while ! [ -e pipeline.lock ]; do sleep 0.05; done",
    ] {
        let project = Project::letters("");
        shell(&project, &format!("\"$PIPE\" run pipeline.yaml {redirected}"));
        assert!(project.path("pipeline.lock").exists(), "{redirected}: the run was not finished");
        assert_eq!(project.ran(&[]), [""; 0]);
    }
}

#[test]
fn a_number_of_cores_beyond_all_measure_starts_no_such_number_of_threads() {
    let project = Project::letters("");
    assert_eq!(project.ran(&["--cpus", "4096"]), STAGES);
    project.run(&["--cpus", "100000"]).expect(2).says(&["4096"]);
}

#[test]
fn metrics_beyond_all_integers_are_shown_as_they_are() {
    let tell = "echo '{\"event\":\"metric\",\"name\":\"m\",\"value\":1e26}' >> $PIPE_EVENTS; echo x > $PIPE_OUTPUT_text/a";
    let project = Project::one(tell, "");
    let ended = project.run(&[]).expect(0);
    assert!(!ended.stderr.contains("9,223,372"), "{}", ended.stderr);
    let shown = project.pipe(&["show", "pipeline.yaml", "only", "--json"]).expect(0).json();
    assert_eq!(shown["record"]["metrics"][0]["value"], 1e26);
}

#[test]
fn a_lock_file_that_a_merge_left_broken_thaws_nothing() {
    let project = Project::letters("");
    project.edit("  first:\n    uses: command\n", "  first:\n    uses: command\n    freeze: true\n");
    project.run(&[]).expect(0);
    let lock = project.read("pipeline.lock");
    project.write("in/first.txt", "other\n");
    let broken = lock.replacen('\n', "\n<<<<<<< HEAD\n=======\n>>>>>>> other\n", 1);
    for (text, told) in [(broken, "merge"), (lock.replacen("\"version\": 1", "\"version\": 99", 1), "99")] {
        project.write("pipeline.lock", &text);
        for call in [
            &["run", "pipeline.yaml"][..],
            &["plan", "pipeline.yaml"],
            &["run", "pipeline.yaml", "--update-pins"],
        ] {
            project.pipe(call).expect(2).says(&["pipeline.lock", told, "help:"]);
        }
        assert_eq!(project.read("pipeline.lock"), text, "it stays for who mends it");
    }
    project.write("pipeline.lock", &lock);
    assert_eq!(project.ran(&[]), [""; 0], "it is frozen again");
    assert_eq!(project.read("out/first/text/a.txt"), "abc\n");
}

#[test]
fn what_commands_print_is_not_in_the_json_of_verify() {
    let project = Project::one("echo printed; echo x > $PIPE_OUTPUT_text/a", "");
    project.run(&[]).expect(0);
    let told = project.pipe(&["verify", "pipeline.yaml", "--json"]).expect(0);
    assert!(told.json().is_object(), "{}", told.stdout);
    assert!(!told.stdout.contains("printed"), "{}", told.stdout);
}

#[test]
fn a_pipeline_and_its_stages_have_names_that_fit_into_files() {
    let project = Project::letters("");
    project.edit("pipeline: letters", "pipeline: ..");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&["pipeline"]);
    project.edit("pipeline: ..", "pipeline: letters");
    let name = "n".repeat(200);
    project.edit("  upper:\n", &format!("  {name}:\n"));
    project.edit("upper: upper", &format!("upper: {name}"));
    // Either `check` refuses the name, or the stage runs.
    let checked = project.pipe(&["check", "pipeline.yaml"]);
    assert_eq!(project.run(&[]).code, checked.code, "{}", checked.stderr);
}

#[test]
fn hundreds_of_shards_need_few_open_files() {
    let manifest = |name: &str, documents: usize| {
        format!(
            "pipeline: {name}\nstages:\n  pages:\n    uses: ingest\n    \
             with: {{ shard_documents: {documents}, sources: [{{ glob: in/rows.jsonl, name: s }}] }}\n  \
             unique: {{ uses: dedup, needs: pages }}\n  \
             sets: {{ uses: split, needs: unique, with: {{ validation: 0.1, test: 0.1 }} }}\n"
        )
    };
    let project = Project::new(&manifest("many", 2));
    project.write("few.yaml", &manifest("few", 5000));
    let words = |row: usize| (0..60).map(move |word| format!("w{}", (row * 7919 + word * 104_729) % 20_011));
    // Each tenth is a copy of the one before it.
    let row = |row: usize| {
        let text: Vec<String> = words(row - usize::from(row % 10 == 9)).collect();
        format!("{{\"id\": \"{row}\", \"text\": \"{}\"}}\n", text.join(" "))
    };
    project.write("in/rows.jsonl", &(0..400).map(row).collect::<String>());
    let output = shell(&project, "ulimit -n 128 && \"$PIPE\" run pipeline.yaml && \"$PIPE\" run few.yaml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metrics = |manifest: &str, stage: &str| {
        let shown = project.pipe(&["show", manifest, stage, "--json"]).expect(0).json();
        let metrics = shown["record"]["metrics"].as_array().unwrap().clone();
        move |name: &str| {
            metrics.iter().find(|metric| metric["name"] == name).unwrap()["value"].as_f64().unwrap()
        }
    };
    assert_eq!(metrics("pipeline.yaml", "pages")("shards"), 200.0);
    for (stage, names) in [("unique", &["documents"][..]), ("sets", &["train", "validation", "test"])] {
        let (many, few) = (metrics("pipeline.yaml", stage), metrics("few.yaml", stage));
        names.iter().for_each(|name| assert_eq!(many(name), few(name), "{name} of {stage}"));
    }
    assert_eq!(metrics("pipeline.yaml", "unique")("documents"), 360.0);
}
