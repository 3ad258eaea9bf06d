//! What starts when: cores, pools, outputs that were collected, a program that is replaced while it runs.

use crate::project::{Project, STAGES, below, wait_for};
use serde_json::Value;
use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

/// A manifest of two stages whose commands each wait until the other has begun, for at most `seconds`.
fn meeting(outside: &std::path::Path, seconds: u32, resources: &str) -> String {
    let stage = |name: &str, other: &str| {
        let (own, theirs) = (outside.join(name), outside.join(other));
        format!(
            "  {name}:\n    uses: command\n    resources: {{ {resources} }}\n    with:\n      outputs: {{ o: files }}\n      \
             run: 'touch {}; for i in $(seq {}); do test -e {} && echo met > $PIPE_OUTPUT_o/x && exit 0; sleep 0.1; done; exit 7'\n",
            own.display(),
            seconds * 10,
            theirs.display()
        )
    };
    format!("pipeline: p\nstages:\n{}{}", stage("a", "b"), stage("b", "a"))
}

#[test]
fn commands_run_side_by_side_on_one_core_each() {
    let outside = tempfile::tempdir().unwrap();
    let project = Project::new(&meeting(outside.path(), 30, ""));
    project.run(&["--cpus", "2"]).expect(0);
    project.assert_clean();
}

#[test]
fn stages_share_the_places_of_a_pool() {
    let outside = tempfile::tempdir().unwrap();
    let project = Project::new(&meeting(outside.path(), 1, "pools: { licences: 1 }"));
    project.run(&[]).expect(2).says(&["no pool `licences`", "pools: { licences: 1 }"]);
    project.edit("pipeline: p\n", "pipeline: p\npools: { licences: 1 }\n");
    project.run(&["--cpus", "2", "--keep-going"]).expect(1).says(&["exit status: 7"]);
    project.edit("pools: { licences: 1 }\nstages", "pools: { licences: 2 }\nstages");
    fs::remove_file(outside.path().join("a")).unwrap();
    fs::remove_file(outside.path().join("b")).unwrap();
    project.run(&["--cpus", "2", "--force-all"]).expect(0);
    project.edit("pools: { licences: 1 } }", "pools: { licences: 3 } }");
    project.run(&[]).expect(2).says(&["the pool `licences` has 2", "takes 3"]);
}

#[test]
fn a_producer_whose_output_was_collected_runs_once_for_all_its_consumers() {
    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let consumer = |name: &str| {
        format!(
            "  {name}:\n    uses: command\n    needs: {{ i: producer }}\n    with: {{ run: 'cat $PIPE_INPUT_i/x > $PIPE_OUTPUT_o/y; : {name} old', \
             outputs: {{ o: files }} }}\n"
        )
    };
    let consumers: String = ["a", "b", "c"].map(consumer).concat();
    let project = Project::new(&format!(
        "pipeline: p\nstages:\n  producer:\n    uses: command\n    resources: {{ cpus: 2 }}\n    with: {{ run: 'echo x >> {}; sleep 0.5; echo text > \
         $PIPE_OUTPUT_o/x', outputs: {{ o: files }} }}\n{consumers}",
        count.display()
    ));
    project.run(&["--cpus", "3"]).expect(0);
    for object in below(&project.path(".pipe/objects")).into_iter().filter(|path| path.is_file()) {
        fs::remove_file(object).unwrap();
    }
    project.edit(" old'", " new'");
    fs::write(&count, "").unwrap();
    project.run(&["--cpus", "3"]).expect(0);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
    project.assert_clean();
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_that_is_replaced_while_it_runs_goes_on() {
    let outside = tempfile::tempdir().unwrap();
    let (program, begun) = (outside.path().join("pipe"), outside.path().join("begun"));
    fs::copy(env!("CARGO_BIN_EXE_pipe"), &program).unwrap();
    let project = Project::letters("");
    project.edit("cp in/first.txt", &format!("touch {}; sleep 1; cp in/first.txt", begun.display()));
    // Commands that take GPUs of their own, or a second core at the same time, need a new worker.
    let mut engine = Command::new(&program);
    engine.args(["run", "pipeline.yaml", "--cpus", "2"]).current_dir(project.root()).env_remove("PIPE_CACHE");
    engine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    project.edit("  report:\n", "  other:\n    uses: command\n    needs: { a: first }\n    with: { run: 'sleep 1; cp $PIPE_INPUT_a/a.txt $PIPE_OUTPUT_text/a', outputs: { text: files } }\n  report:\n");
    let mut engine = engine.spawn().unwrap();
    wait_for(&begun);
    fs::remove_file(&program).unwrap();
    assert!(engine.wait().unwrap().success());
    assert_eq!(project.ran(&[]), [""; 0]);
}

#[test]
fn a_forced_stage_runs_whatever_is_recorded() {
    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let project = Project::letters("");
    project.edit("cp in/second.txt", &format!("echo x >> {}; cp in/second.txt", count.display()));
    project.run(&[]).expect(0);
    let plan = project.plan(&["--force", "second"]);
    assert_eq!((&plan["second"]["plan"], &plan["first"]["plan"]), (&"run".into(), &"cached".into()));
    // It makes the same bytes, so nothing else runs.
    assert_eq!(project.ran(&["--force", "second"]), ["second"]);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\n");
    assert_eq!(project.ran(&[]), [""; 0]);
    assert_eq!(project.ran(&["--force-all"]), STAGES);
    assert_eq!(project.ran(&["shorter", "--force-all"]), ["second", "shorter"]);
    project.run(&["first", "--force", "second"]).expect(2).says(&["is forced, but not selected"]);
    project.edit("  second:\n    uses: command\n", "  second:\n    uses: command\n    freeze: true\n");
    project.run(&["--force", "second"]).expect(2).says(&["is frozen"]);
    project.assert_clean();
}

#[test]
fn options_that_take_a_stage_leave_the_manifest_alone() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let ran = |words: &[&str]| {
        let ended = project.pipe(&[&["run", "--json"], words].concat()).expect(0);
        let events = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let started = events.filter(|event| event["run"]["event"] == "started");
        let mut ran: Vec<String> =
            started.map(|event| event["run"]["stage"].as_str().unwrap().to_owned()).collect();
        ran.sort();
        ran.join(" ")
    };
    assert_eq!(ran(&["--force", "first", "pipeline.yaml"]), "first");
    assert_eq!(ran(&["--force", "first", "--force", "second", "pipeline.yaml"]), "first second");
    assert_eq!(ran(&["--force", "first,second", "pipeline.yaml"]), "first second");
    assert_eq!(ran(&["pipeline.yaml", "upper", "--force", "first"]), "first");
    assert_eq!(ran(&["--force", "first", "pipeline.yaml", "upper"]), "first");
    assert_eq!(ran(&["--downstream", "upper,first", "--force", "upper", "pipeline.yaml"]), "upper");
    assert_eq!(ran(&["--force", "first"]), "first");
    for words in [&["pipeline.yaml", "--force", "first", "second"][..], &["--force", "first", "second"]] {
        project
            .pipe(&[&["run"], words].concat())
            .expect(2)
            .says(&["`second` after `--force first` is ambiguous", "`--force first,second` for both"]);
    }
    project
        .pipe(&["plan", "pipeline.yaml", "--downstream", "upper", "first"])
        .expect(2)
        .says(&["is ambiguous"]);
}

#[test]
fn all_that_depends_on_a_stage_is_selected() {
    let project = Project::letters("");
    let planned: Vec<String> = project.plan(&["--downstream", "joined"]).into_keys().collect();
    assert_eq!(planned.len(), STAGES.len(), "{planned:?}");
    let planned: Vec<String> =
        project.plan(&["--downstream", "second", "--force", "shorter"]).into_keys().collect();
    assert!(planned.contains(&"report".to_owned()));
    project.write("more.yaml", &project.read("pipeline.yaml").replace("pipeline: letters", "pipeline: more"));
    project.pipe(&["run", "more.yaml", "--downstream", "upper"]).expect(0).says(&["report   ran"]);
    assert!(!project.path("more.lock").exists(), "only a full run writes the lock file");
}

#[test]
fn a_folder_is_adopted_as_the_result_of_a_command() {
    let project = Project::letters("");
    project.edit("cp in/second.txt", "exit 7; cp in/second.txt");
    project.write("made/b.txt", "wxyz and less\n");
    project.pipe(&["adopt", "pipeline.yaml", "shorter", "made"]).expect(1).says(&["depends on `second`"]);
    project.pipe(&["adopt", "pipeline.yaml", "second", "nowhere"]).expect(2).says(&["no folder `nowhere`"]);
    let told = project.pipe(&["adopt", "pipeline.yaml", "second", "made"]).expect(0);
    told.says(&["second  ran", "its result is adopted from "]);
    // Wherever a result is looked at, it says that nothing ran.
    let folder = project.path("made").canonicalize().unwrap();
    let folder = folder.to_str().unwrap();
    project.pipe(&["why", "pipeline.yaml", "second"]).expect(0).prints(&["adopted", folder]);
    project.pipe(&["show", "pipeline.yaml", "second"]).expect(0).prints(&["adopted", folder, "nothing ran"]);
    project.pipe(&["get", "pipeline.yaml", "second", "got"]).expect(0);
    assert!(project.read("got/provenance.json").contains(folder));
    // What is adopted anew is another result, and one that cannot be adopted changes nothing.
    project.write("made/b.txt", "wxyz and little\n");
    project.pipe(&["adopt", "pipeline.yaml", "second", "made"]).expect(0);
    std::fs::create_dir(project.path("empty")).unwrap();
    project.pipe(&["adopt", "pipeline.yaml", "second", "empty"]).expect(1).says(&["wrote nothing"]);
    project.pipe(&["show", "pipeline.yaml", "second"]).expect(0).prints(&["and little"]);
    assert_eq!(project.ran(&[]), ["first", "shorter", "joined", "upper", "report"]);
    assert_eq!(project.read("out/report/report/all.txt"), "abc\nwxyzABC\nWXYZ");
    let adopted = |stage: &str| project.lock()["stages"][stage]["adopted"] == true;
    assert!(adopted("second") && !adopted("first"));
    project.assert_clean();
}

/// Two stages with one line, and so with one folder of checkpoints, but with keys of their own.
#[test]
fn a_stage_that_waits_for_a_folder_of_checkpoints_holds_no_core() {
    // A folder that the line does not name as it is: files that it names there would be inputs.
    let outside = tempfile::tempdir().unwrap();
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    let place =
        format!("{}/$(printf %s {}){}", outside.path().parent().unwrap().display(), &name[..4], &name[4..]);
    let line = format!(
        "cd {place}; touch begun; while ! [ -e go ]; do sleep 0.05; done; echo made > $PIPE_OUTPUT_text/a"
    );
    let project = Project::new(&format!(
        "pipeline: p\nstages:\n  \
         one: {{ uses: command, with: {{ run: '{line}', outputs: {{ text: files }} }} }}\n  \
         two: {{ uses: command, with: {{ run: '{line}', outputs: {{ text: files }}, may_be_empty: [text] }} }}\n  \
         three: {{ uses: command, with: {{ run: 'cd {place}; touch ran; echo x > $PIPE_OUTPUT_text/a', outputs: {{ text: files }} }} }}\n"
    ));
    let first = project.start(&["one"]);
    wait_for(&outside.path().join("begun"));
    let second = project.start(&["two", "three", "--cpus", "1"]);
    wait_for(&outside.path().join("ran"));
    let plan = project.plan(&[]);
    assert_eq!(plan["two"]["plan"], "run", "it waits: {}", plan["two"]);
    fs::write(outside.path().join("go"), "").unwrap();
    first.end().expect(0);
    second.end().expect(0).says(&["two: waiting: process"]);
    let plan = project.plan(&[]);
    assert!(["one", "two", "three"].iter().all(|stage| plan[*stage]["plan"] == "cached"), "{plan:?}");
    project.assert_clean();
}

/// Every process of a run is the program that was started, also where its file is gone by then.
#[test]
#[cfg(target_os = "linux")]
fn a_program_that_is_deleted_before_it_starts_anything_runs() {
    let outside = tempfile::tempdir().unwrap();
    let program = outside.path().join("pipe");
    fs::copy(env!("CARGO_BIN_EXE_pipe"), &program).unwrap();
    let project = Project::letters("");
    let line = format!("exec 9< {0}; rm {0}; exec /proc/self/fd/9 run pipeline.yaml", program.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).current_dir(project.root()).env_remove("PIPE_CACHE").stdin(Stdio::null());
    Project::ended_of(shell.output().unwrap()).expect(0);
    assert_eq!(project.ran(&[]), [""; 0]);
}
