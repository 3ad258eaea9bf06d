//! How runs end: exit codes, signals, time limits, further tries, failures.

use crate::project::{Project, send, wait_for};
use rustix::process::Signal;
use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

/// What must end soon ends within this, even on a busy machine; what is told to stop would take a minute.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_failed_stage_ends_with_1_and_shows_its_log() {
    let project = Project::letters("");
    project.edit("head -c 4", "echo about to fail; echo badly >&2; exit 7; head -c 4");
    let ended = project.run(&[]).expect(1);
    let ended =
        ended.says(&["stage `shorter` failed", "exit status: 7", "| about to fail", "| badly", "log: "]);
    ended.says(&["joined   skipped", "second   ran"]);
    assert!(!project.path("pipeline.lock").exists());
    project.edit("exit 7;", "");
    assert!(!project.ran(&[]).contains(&"second".to_owned()), "what was finished is kept");
    project.assert_clean();
}

#[test]
fn a_wrong_call_ends_with_2() {
    let project = Project::letters("");
    project.pipe(&["rnu", "pipeline.yaml"]).expect(2).says(&["rnu"]);
    project.pipe(&["why"]).expect(2).says(&["<STAGE>"]);
    project.pipe(&["run", "nothing.yaml"]).expect(2).says(&["nothing.yaml"]);
    project.pipe(&["run", "pipeline.yaml", "--set", "stages.nobody.with.run=x"]).expect(2).says(&["nobody"]);
    project.pipe(&["run", "pipeline.yaml", "--jobs", "0"]).expect(2);
    project.pipe(&["--help"]).expect(0).prints(&["run", "plan", "verify"]);
    project.pipe(&["--version"]).expect(0).prints(&["pipe "]);
    assert!(
        !project.path(".pipe/runs").exists()
            || fs::read_dir(project.path(".pipe/runs")).unwrap().count() == 0
    );
}

#[test]
fn a_stage_that_asks_for_too_much_ends_with_2() {
    for (asks, told) in [
        ("memory: 900TiB", "memory: 943718400 MiB"),
        ("cpus: 100000", "cpus: 100000"),
        ("gpus: 99", "gpus: 99"),
    ] {
        let project = Project::one("true", &format!("resources: {{ {asks} }}"));
        project.run(&[]).expect(2).says(&["stage `only` requests", told, "lower `resources`"]);
        assert!(!project.path("out").exists());
    }
}

#[test]
fn one_interrupt_lets_a_command_save_its_work() {
    for signal in [Signal::INT, Signal::TERM] {
        let outside = tempfile::tempdir().unwrap();
        let (begun, saved) = (outside.path().join("begun"), outside.path().join("saved"));
        let project = Project::letters("");
        let work = format!(
            "if test -e {saved}; then cat $PIPE_INPUT_text/c.txt > $PIPE_OUTPUT_text/d.txt; exit 0; fi; \
             trap \"echo 41 > {saved}; exit 9\" TERM; touch {begun}; sleep 60 & wait; true",
            saved = saved.display(),
            begun = begun.display()
        );
        project.edit("tr a-z A-Z < $PIPE_INPUT_text/c.txt > $PIPE_OUTPUT_text/d.txt", &work);
        let engine = project.start(&[]);
        wait_for(&begun);
        let started = Instant::now();
        engine.signal(signal);
        let ended = engine.end().expect(130).says(&["stopping", "upper    interrupted", "report   skipped"]);
        assert!(started.elapsed() < SOON, "{}", ended.stderr);
        assert_eq!(fs::read_to_string(&saved).unwrap(), "41\n");
        assert!(!project.path("pipeline.lock").exists());
        project.wait_for_silence();
        assert_eq!(project.ran(&[]), ["upper", "report"]);
        project.assert_clean();
    }
}

#[test]
fn two_interrupts_stop_now() {
    let outside = tempfile::tempdir().unwrap();
    let begun = outside.path().join("begun");
    let project = Project::one(
        &format!("trap '' TERM\nsleep 60 &\ntouch {}\nwait; sleep 60", begun.display()),
        "grace: 1h",
    );
    let engine = project.start(&[]);
    wait_for(&begun);
    let started = Instant::now();
    engine.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(600));
    assert!(!project.processes().is_empty(), "the first one is a question");
    engine.signal(Signal::INT);
    engine.end().expect(130).says(&["only   interrupted"]);
    assert!(started.elapsed() < SOON);
    project.assert_clean();
}

#[test]
fn a_stage_that_does_not_stop_is_ended_after_its_grace() {
    let outside = tempfile::tempdir().unwrap();
    let begun = outside.path().join("begun");
    let run = format!("trap '' TERM\ntouch {}\nsleep 60", begun.display());
    let project = Project::one(&run, "grace: 300ms");
    let engine = project.start(&[]);
    wait_for(&begun);
    let started = Instant::now();
    engine.signal(Signal::TERM);
    engine.end().expect(130);
    assert!(started.elapsed() < SOON);
    project.assert_clean();
}

#[test]
fn a_stage_is_ended_after_its_timeout() {
    let project = Project::one("echo begun\nsleep 60", "timeout: 1s");
    let started = Instant::now();
    project.run(&[]).expect(1).says(&["stage `only` failed", "`timeout`", "1s", "| begun"]);
    assert!(started.elapsed() < SOON);
    project.assert_clean();
}

#[test]
fn a_stage_is_tried_again_as_often_as_it_may_be() {
    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let run = format!(
        "echo x >> {0}\ntest $(wc -l < {0}) -ge 3 || exit 5\necho done > $PIPE_OUTPUT_text/a",
        count.display()
    );
    let project = Project::one(&run, "retry: 1");
    project.run(&[]).expect(1).says(&["retrying:", "exit status: 5"]);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\n");
    project.run(&[]).expect(0);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\nx\n");
    assert_eq!(project.read("out/only/text/a"), "done\n");
}

#[test]
fn the_log_keeps_all_attempts_and_the_error_shows_the_last() {
    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let run = format!(
        "echo x >> {0}\nprintf 'try %d, token %s' $(wc -l < {0}) \"${{secret.TOKEN}}\"; exit 5",
        count.display()
    );
    let project = Project::one(&run, "retry: { times: 2, delay: 2s, backoff: 1 }");
    let mut engine = project.command(&["run", "pipeline.yaml"]);
    let engine = engine.env("TOKEN", "hunter2hunter2").stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&count);
    let followed = project.pipe(&["logs", "-f", "pipeline.yaml", "only"]).expect(0);
    let ended = Project::ended_of(engine.wait_with_output().unwrap()).expect(1);
    let ended = ended.says(&["| try 3, token ***"]);
    assert!(!ended.stderr.contains("| try 2"), "{}", ended.stderr);
    let expected: Vec<String> = (1..=3)
        .map(|attempt| format!("try {attempt}, token ***error: the command ended with exit status: 5\n"))
        .collect();
    let expected = expected.join("--- attempt 2 of 3 ---\n");
    let expected = expected.replacen("2 of 3 ---\ntry 3", "3 of 3 ---\ntry 3", 1);
    assert_eq!(followed.stdout, expected);
    assert_eq!(project.pipe(&["logs", "pipeline.yaml", "only"]).expect(0).stdout, expected);
}

#[test]
fn a_killed_worker_is_a_failed_stage_with_its_log() {
    let outside = tempfile::tempdir().unwrap();
    let begun = outside.path().join("begun");
    let project = Project::one(&format!("echo some words\ntouch {}\nsleep 60", begun.display()), "");
    let engine = project.start(&[]);
    wait_for(&begun);
    let is_worker = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"worker")
    };
    let workers: Vec<i32> = project.processes().into_iter().filter(is_worker).collect();
    assert_eq!(workers.len(), 1);
    send(workers[0], Signal::KILL);
    engine.end().expect(1).says(&["stage `only` failed", "killed by signal", "| some words", "log: "]);
    project.assert_clean();
}

#[test]
fn what_a_command_leaves_in_the_background_ends_with_its_stage() {
    let project = Project::one("sleep 60 &\nsleep 60 > /dev/null 2>&1 &\necho a > $PIPE_OUTPUT_text/a", "");
    let started = Instant::now();
    project.run(&[]).expect(0);
    assert!(started.elapsed() < SOON);
    project.assert_clean();
}

#[test]
fn a_command_cannot_harm_what_it_reads() {
    let project = Project::letters("");
    project.edit(
        "tr a-z A-Z < $PIPE_INPUT_text/c.txt",
        "chmod u+w $PIPE_INPUT_text/c.txt; echo harm > $PIPE_INPUT_text/c.txt; cat $PIPE_INPUT_text/c.txt",
    );
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/joined/text/c.txt"), "abc\nwxyz");
    assert_eq!(project.read("out/upper/text/d.txt"), "harm\n");
    project.assert_clean();
}

#[test]
fn secrets_reach_commands_and_nothing_else() {
    let project = Project::one(
        "echo token ${secret.PIPE_TEST_TOKEN}; printf %s ${secret.PIPE_TEST_TOKEN} | wc -c > $PIPE_OUTPUT_text/a",
        "",
    );
    project.run(&[]).expect(2).says(&["PIPE_TEST_TOKEN"]);
    let run = |value: &str| {
        let ended =
            project.command(&["run", "pipeline.yaml"]).env("PIPE_TEST_TOKEN", value).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    };
    run("hidden-word");
    assert_eq!(project.read("out/only/text/a").trim(), "11");
    for path in crate::project::below(project.root()).into_iter().filter(|path| path.is_file()) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(11).any(|part| part == b"hidden-word"), "in {}", path.display());
    }
    run("another");
    assert_eq!(project.read("out/only/text/a").trim(), "11", "its value is in no key");
}

#[test]
fn stages_that_need_not_wait_run_at_once_and_within_the_cores() {
    let outside = tempfile::tempdir().unwrap();
    let stage = |name: &str, other: &str| {
        format!(
            "  {name}:\n    uses: command\n    resources: {{ cpus: 1 }}\n    with: {{ run: 'touch {0}/{name}; \
             for i in $(seq 200); do test -e {0}/{other} && echo met > $PIPE_OUTPUT_text/a && exit; sleep 0.05; done', \
             outputs: {{ text: files }} }}\n",
            outside.path().display()
        )
    };
    let project =
        Project::new(&format!("pipeline: both\nstages:\n{}{}", stage("one", "two"), stage("two", "one")));
    project.run(&["--cpus", "2"]).expect(0);
    assert_eq!(project.read("out/one/text/a"), "met\n");
    assert_eq!(project.read("out/two/text/a"), "met\n");

    let alone = outside.path().join("alone");
    let run = format!("mkdir {0} || exit 3; sleep 0.2; rmdir {0}", alone.display());
    let stage = |name: &str| {
        format!(
            "  {name}:\n    uses: command\n    resources: {{ cpus: 1 }}\n    with: {{ run: '{run}; echo x > $PIPE_OUTPUT_{name}/x', \
             outputs: {{ {name}: files }} }}\n"
        )
    };
    let text = format!("pipeline: three\nstages:\n{}{}{}", stage("one"), stage("two"), stage("three"));
    for more in [["--cpus", "1"], ["--jobs", "1"]] {
        Project::new(&text).run(&more).expect(0);
    }
}

#[test]
fn a_stage_is_asked_to_stop_after_its_timeout_and_has_its_grace() {
    let outside = tempfile::tempdir().unwrap();
    let saved = outside.path().join("saved");
    let run = format!("trap \"echo yes > {}; exit 9\" TERM; sleep 60 & wait", saved.display());
    let project = Project::one(&run, "timeout: 1s\ngrace: 20s");
    let started = Instant::now();
    project.run(&[]).expect(1).says(&["stage `only` failed", "1s"]);
    assert_eq!(fs::read_to_string(&saved).unwrap(), "yes\n");
    assert!(started.elapsed() < SOON);
    project.assert_clean();
}

#[test]
fn a_terminal_that_goes_away_lets_a_command_save_its_work() {
    let outside = tempfile::tempdir().unwrap();
    let (begun, saved) = (outside.path().join("begun"), outside.path().join("saved"));
    let run = format!(
        "trap \"sleep 0.5; echo yes > {}; exit 9\" TERM; touch {}; sleep 60 & wait; true",
        saved.display(),
        begun.display()
    );
    let project = Project::one(&run, "grace: 20s");
    let engine = project.start(&[]);
    wait_for(&begun);
    // A terminal sends more than one: the second does not mean `at once`.
    engine.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(100));
    engine.signal(Signal::HUP);
    engine.end().expect(130).says(&["only   interrupted"]);
    assert_eq!(fs::read_to_string(&saved).unwrap(), "yes\n");
    project.assert_clean();
}

#[test]
fn a_reader_of_events_that_goes_away_does_not_end_the_run() {
    let project = Project::letters("sleep 0.1;");
    let mut engine = project.command(&["run", "pipeline.yaml", "--json"]);
    let mut engine =
        engine.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    drop(engine.stdout.take());
    assert!(engine.wait().unwrap().success());
    assert_eq!(project.ran(&[]), [""; 0], "all of it has run");
    project.assert_clean();
}

#[test]
fn a_file_of_the_engine_that_cannot_be_written_lets_running_stages_finish() {
    let outside = tempfile::tempdir().unwrap();
    let (begun, saved) = (outside.path().join("begun"), outside.path().join("saved"));
    let slow = format!("touch {}; sleep 3; echo yes > {}", begun.display(), saved.display());
    let project = Project::new(&format!(
        "pipeline: p\nstages:\n  slow:\n    uses: command\n    grace: 20s\n    with: {{ run: '{slow}', outputs: {{ o: files }} }}\n  \
         short:\n    uses: command\n    with: {{ run: 'while ! test -e {begun}; do sleep 0.1; done; sleep 1; echo x > $PIPE_OUTPUT_o/x', \
         outputs: {{ o: files }} }}\n  after:\n    uses: command\n    needs: {{ i: short }}\n    with: {{ run: 'echo y > $PIPE_OUTPUT_o/y', outputs: {{ o: files }} }}\n",
        begun = begun.display()
    ));
    let engine = project.start(&["--cpus", "2"]);
    wait_for(&begun);
    // A folder of records that is a file fails every look at a record.
    fs::rename(project.path(".pipe/records"), project.path(".pipe/moved")).unwrap();
    fs::write(project.path(".pipe/records"), "").unwrap();
    let ended = engine.end();
    let named = format!(
        "`{}` is a file, but the cache needs a folder there",
        project.path(".pipe/records").display()
    );
    let ended = ended.expect(1).says(&[&named]);
    assert_eq!(fs::read_to_string(&saved).unwrap(), "yes\n", "{}", ended.stderr);
    let run = fs::read_dir(project.path(".pipe/runs")).unwrap().next().unwrap().unwrap().path();
    assert!(run.join("stages.json").exists(), "the run's folder is closed");
    project.wait_for_silence();
}

#[test]
fn a_try_that_failed_is_followed_by_a_pause_that_grows() {
    let outside = tempfile::tempdir().unwrap();
    let tries = outside.path().join("tries");
    let run = format!("date +%s%N >> {}; kill -9 $$", tries.display());
    let project = Project::one(&run, "retry: { times: 2, delay: 400ms, backoff: 2 }");
    let told = project.run(&[]).expect(1);
    let times: Vec<u64> =
        fs::read_to_string(&tries).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(times.len(), 3, "{}", told.stderr);
    let pauses = [times[1] - times[0], times[2] - times[1]].map(|nanoseconds| nanoseconds / 1_000_000);
    assert!(pauses[0] >= 400 && pauses[1] >= 800, "{pauses:?}");
    for (wrong, told) in [("{ times: 2, backoff: 0.5 }", "from 1 to 1000"), ("{ time: 2 }", "times")] {
        let project = Project::one("true", &format!("retry: {wrong}"));
        project.run(&[]).expect(2).says(&[told]);
    }
}
