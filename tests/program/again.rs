//! What runs again, and what does not.

use crate::project::{Project, STAGES};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, SystemTime},
};

/// Stamps of sources are trusted only once they are this old.
const RACY: Duration = Duration::from_millis(2100);

#[test]
fn a_second_run_changes_nothing_at_all() {
    let project = Project::letters("");
    assert_eq!(project.ran(&[]), STAGES);
    thread::sleep(RACY);
    project.run(&[]).expect(0);
    let before = (project.listing(".pipe"), project.listing("out"), project.listing("pipeline.lock"));
    let ended = project.run(&[]).expect(0);
    assert_eq!((project.listing(".pipe"), project.listing("out"), project.listing("pipeline.lock")), before);
    assert!(!ended.stderr.contains("logs in"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(project.path(".pipe/runs")).unwrap().count(), 1);
}

#[test]
fn a_touched_source_runs_nothing() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    for seconds in [1_000_000_000, 2_000_000_000] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(project.path("in/first.txt")).unwrap().set_modified(time).unwrap();
        assert_eq!(project.ran(&[]), [""; 0]);
    }
    project.write("in/second.txt", "wxyz and more\n");
    assert_eq!(project.ran(&[]), [""; 0]);
    assert_eq!(fs::read_dir(project.path(".pipe/runs")).unwrap().count(), 1);
}

#[test]
fn a_project_that_was_copied_without_its_times_runs_nothing() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    // Without the folder that the copy is in.
    let copied = project.path("copy");
    fs::create_dir(&copied).unwrap();
    let copy = "for name in * .pipe; do test $name = copy || cp -r $name copy; done";
    assert!(Command::new("sh").args(["-c", copy]).current_dir(project.root()).status().unwrap().success());
    // `verify` first, since a plan looks at the files as well.
    for words in [&["cache", "verify"][..], &["plan", "pipeline.yaml", "--detailed-exitcode"]] {
        let mut again = project.command(words);
        Project::ended_of(again.current_dir(&copied).output().unwrap()).expect(0);
    }
}

#[test]
fn a_changed_source_runs_what_depends_on_it() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let first = project.outputs();
    project.write("in/first.txt", "changed\n");
    assert_eq!(project.ran(&[]), ["first", "joined", "upper", "report"]);
    assert_eq!(project.read("out/report/report/all.txt"), "changed\nwxyzCHANGED\nWXYZ");
    let second = project.outputs();
    let differing: Vec<&str> = STAGES.into_iter().filter(|stage| first[*stage] != second[*stage]).collect();
    assert_eq!(differing, ["first", "joined", "upper", "report"]);
    project.write("in/first.txt", "abc\n");
    assert_eq!(project.ran(&[]), [""; 0], "what was there before is still cached");
    assert_eq!(project.outputs(), first);
    assert_eq!(project.read("out/report/report/all.txt"), "abc\nwxyzABC\nWXYZ");
}

#[test]
fn a_change_of_the_same_size_and_time_is_seen() {
    let project = Project::letters("");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let backdate = || {
        File::options().write(true).open(project.path("in/first.txt")).unwrap().set_modified(time).unwrap();
    };
    backdate();
    project.run(&[]).expect(0);
    project.write("in/first.txt", "abd\n");
    backdate();
    assert_eq!(project.ran(&[]), ["first", "joined", "upper", "report"]);
    thread::sleep(RACY);
    project.run(&[]).expect(0);
    project.write("in/first.txt", "abe\n");
    backdate();
    assert_eq!(project.ran(&[]), ["first", "joined", "upper", "report"], "trusted stamps are no blind ones");
}

#[test]
fn the_same_bytes_stop_the_wave() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    project.write("in/second.txt", "wxyz and something else\n");
    assert_eq!(project.ran(&[]), ["second", "shorter"], "`shorter` takes four letters, which are the same");
    assert_eq!(project.ran(&[]), [""; 0]);
}

#[test]
fn what_decides_nothing_runs_nothing() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let text = project.read("pipeline.yaml");
    let text = text.replace(
        "  upper:\n",
        "  # a comment\n  upper:\n    resources: { cpus: 1, memory: 64MiB }\n    retry: 3\n",
    );
    project.write("pipeline.yaml", &text.replace("uses: command", "uses: \"command\""));
    assert_eq!(project.ran(&[]), [""; 0]);
    let moved = Project::letters("");
    fs::remove_dir_all(moved.root()).unwrap();
    fs::rename(project.root(), moved.root()).unwrap();
    assert_eq!(moved.ran(&[]), [""; 0], "no path of this machine is in a key");
}

#[test]
fn a_renamed_stage_is_the_same_stage() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let text = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &text.replace("shorter", "cut"));
    let outcomes = project.outcomes(&[]);
    assert!(outcomes.values().all(|outcome| outcome == "cached"), "{outcomes:?}");
}

#[test]
fn a_changed_command_or_variable_runs_again() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    project.edit("head -c 4", "head -c 3");
    assert_eq!(project.ran(&[]), ["shorter", "joined", "upper", "report"]);

    let project = Project::one("echo $LETTER > $PIPE_OUTPUT_text/a", "");
    project.edit("outputs:", "env: [LETTER]\n      outputs:");
    let run = |letter: &str| {
        let ended = project.command(&["run", "pipeline.yaml"]).env("LETTER", letter).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        (project.read("out/only/text/a"), fs::read_dir(project.path(".pipe/runs")).unwrap().count())
    };
    assert_eq!(run("x"), ("x\n".to_owned(), 1));
    assert_eq!(run("x"), ("x\n".to_owned(), 1));
    assert_eq!(run("y"), ("y\n".to_owned(), 2), "the value of a variable that `env` names is in the key");
    assert_eq!(run("x"), ("x\n".to_owned(), 2));
}

#[test]
fn a_script_that_the_command_names_is_an_input() {
    let project = Project::one("sh tools/make.sh > $PIPE_OUTPUT_text/a", "");
    project.write("tools/make.sh", ". ./tools/words.sh; echo $WORD\n");
    project.write("tools/words.sh", "WORD=one\n");
    project.edit("outputs:", "files: ['tools/*.sh']\n      outputs:");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "one\n");
    project.write("tools/words.sh", "WORD=two\n");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "two\n");
    project.write("tools/make.sh", ". ./tools/words.sh; echo $WORD $WORD\n");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "two two\n");
}

#[test]
fn a_target_runs_with_what_it_needs_and_writes_no_lock() {
    let project = Project::letters("");
    assert_eq!(project.ran(&["shorter"]), ["second", "shorter"]);
    assert!(!project.path("pipeline.lock").exists());
    assert_eq!(project.ran(&["first", "upper"]), ["first", "joined", "upper"]);
    assert_eq!(project.ran(&[]), ["report"]);
    assert!(project.path("pipeline.lock").exists());
    project.run(&["shortest"]).expect(2).says(&["shortest", "shorter"]);
}

#[test]
fn a_set_value_runs_and_writes_no_lock() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let before = project.listing("pipeline.lock");
    let set = "stages.shorter.with.run=head -c 2 $PIPE_INPUT_text/b.txt > $PIPE_OUTPUT_text/b.txt";
    assert_eq!(project.ran(&["--set", set]), ["shorter", "joined", "upper", "report"]);
    assert_eq!(project.listing("pipeline.lock"), before);
    assert_eq!(project.read("out/report/report/all.txt"), "abc\nwxyzABC\nWXYZ", "links follow the manifest");
    assert_eq!(project.ran(&["--set", set]), [""; 0]);
    assert_eq!(project.ran(&[]), [""; 0]);
}

#[test]
fn the_lock_tells_what_was_made_and_holds_runs_to_it() {
    let project = Project::letters("");
    project.run(&["--locked"]).expect(1).says(&["there is no lock file", "run it once without `--locked`"]);
    project.run(&[]).expect(0);
    let lock = project.lock();
    assert_eq!(lock["version"], 1);
    let stages: Vec<&String> = lock["stages"].as_object().unwrap().keys().collect();
    let mut expected = STAGES.to_vec();
    expected.sort_unstable();
    assert_eq!(stages, expected);
    for stage in lock["stages"].as_object().unwrap().values() {
        for field in ["recipe", "key"] {
            assert_eq!(stage[field].as_str().map(str::len), Some(64), "{field} in {stage}");
        }
        assert_eq!(stage["outputs"].as_object().unwrap().len(), 1, "{stage}");
    }
    project.run(&["--locked"]).expect(0);
    project.edit("head -c 4", "head -c 3");
    let told = project.run(&["--locked"]).expect(1);
    told.says(&["\n  shorter: with.run head -c 4", "and stages that depend on these: joined, upper, report"]);
    project.write("in/first.txt", "changed\n");
    let told = project.run(&["--locked"]).expect(1);
    told.says(&["\n  first: sources: 1 changed of 1 files (project/in/first.txt)"]);
    project.write("in/first.txt", "abc\n");
    project.edit("head -c 3", "head -c 4");

    // Other bytes under the same key: as from a stage whose results changed without a new revision.
    let other = lock["stages"]["first"]["outputs"]["text"].as_str().unwrap();
    let text = project.read("pipeline.lock").replacen(
        lock["stages"]["upper"]["outputs"]["text"].as_str().unwrap(),
        other,
        1,
    );
    project.write("pipeline.lock", &text);
    project.run(&["--locked"]).expect(1).says(&["results differ from the lock file", "upper"]);
    assert_eq!(project.read("pipeline.lock"), text, "a locked run writes no lock");
}

#[test]
fn a_locked_run_with_other_results_leaves_the_links() {
    let project = Project::new(
        "pipeline: p\nstages:\n  only:\n    uses: command\n    \
         with: { run: 'od -N 16 -t x1 /dev/urandom > $PIPE_OUTPUT_o/r.txt', outputs: { o: files } }\n",
    );
    project.run(&[]).expect(0);
    let before = project.read("out/p/only/o/r.txt");
    project.run(&["--locked", "--force-all"]).expect(1).says(&["results differ from the lock file"]);
    assert_eq!(project.read("out/p/only/o/r.txt"), before);
}

#[test]
fn links_lead_to_what_was_made_and_change_with_it() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let made: BTreeMap<&str, String> = STAGES
        .iter()
        .map(|stage| (*stage, if *stage == "report" { "report" } else { "text" }))
        .map(|(stage, port)| (stage, format!("out/{stage}/{port}")))
        .collect();
    for place in made.values() {
        assert!(project.path(place).is_symlink(), "{place}");
    }
    assert_eq!(project.read("out/upper/text/d.txt"), "ABC\nWXYZ");
    let written = fs::write(project.path("out/upper/text/d.txt"), "x");
    // Root may write through any permission; what it then finds is told as damage.
    if written.is_ok() {
        project.pipe(&["cache", "verify"]).expect(1);
    }
}

#[test]
fn another_build_of_a_program_runs_its_stages_again() {
    let project = Project::new(
        "pipeline: own\nstages:\n  words: { uses: frequent-words, with: { folder: text, files: ['*.md'] } }\n  \
         plain: { uses: command, with: { run: 'echo x > $PIPE_OUTPUT_text/a', outputs: { text: files } } }\n",
    );
    project.write("text/a.md", "one two two\n");
    let built = Path::new(env!("CARGO_BIN_EXE_pipe")).with_file_name("examples/own_stage");
    let program = project.path("program");
    fs::copy(&built, &program).unwrap();
    let call = |words: &[&str]| {
        let output = Command::new(&program).args(words).current_dir(project.root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    call(&["run", "pipeline.yaml"]);
    assert!(call(&["plan", "pipeline.yaml"]).contains("nothing to do"));

    // What follows the last section of a program changes nothing but its digest.
    let other = [fs::read(&built).unwrap(), b"another build".to_vec()].concat();
    fs::remove_file(&program).unwrap();
    fs::write(&program, other).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let plan = call(&["plan", "pipeline.yaml"]);
    assert!(plan.contains("was rebuilt") && plan.contains("1 to run, 1 cached"), "{plan}");
    call(&["run", "pipeline.yaml"]);
    assert!(call(&["plan", "pipeline.yaml"]).contains("nothing to do"));
}

#[test]
fn a_forced_run_that_does_not_end_well_keeps_the_earlier_result() {
    let outside = tempfile::tempdir().unwrap();
    let flag = outside.path().display();
    let project = Project::one(
        &format!(
            "d={flag}; touch $d/begun; test ! -e $d/wait || sleep 60; test ! -e $d/fail\necho x > $PIPE_OUTPUT_text/a"
        ),
        "",
    );
    project.run(&[]).expect(0);
    let assert_kept = || {
        project.pipe(&["why", "pipeline.yaml", "only"]).expect(0).prints(&["`only` is up to date"]);
        project.pipe(&["show", "pipeline.yaml", "only"]).expect(0);
        project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["nothing to do"]);
    };
    fs::write(outside.path().join("fail"), "").unwrap();
    project.run(&["--force", "only"]).expect(1);
    assert_kept();

    fs::write(outside.path().join("wait"), "").unwrap();
    fs::remove_file(outside.path().join("begun")).unwrap();
    let engine = project.start(&["--force", "only"]);
    crate::project::wait_for(&outside.path().join("begun"));
    engine.signal(rustix::process::Signal::INT);
    engine.end().expect(130);
    assert_kept();

    // One that ends well replaces it.
    fs::remove_file(outside.path().join("wait")).unwrap();
    fs::remove_file(outside.path().join("fail")).unwrap();
    let finished =
        || project.pipe(&["show", "pipeline.yaml", "only", "--json"]).json()["record"]["seconds"].clone();
    let before = finished();
    project.run(&["--force", "only"]).expect(0);
    assert_ne!(finished(), before);
    project.assert_clean();
}
