//! A run as seen from other processes, while it goes on and after: `status`, `logs`, `history`, `diff`, `report`,
//! observers, TensorBoard's files.

use crate::project::{Ended, LETTERS, Project, below, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// A stage that tells how far it is, and then waits for the file `go`.
const TELLING: &str = "\
set -e
echo one line
for step in 1 2 3; do
  echo '{\"event\": \"metric\", \"name\": \"loss\", \"value\": 0.'$step', \"step\": '$step', \"better\": \"lower\"}' >> $PIPE_EVENTS
done
echo '{\"event\": \"progress\", \"unit\": \"steps\", \"done\": 3, \"total\": 12}' >> $PIPE_EVENTS
touch there
while ! [ -e go ]; do sleep 0.05; done
echo another line
echo made > $PIPE_OUTPUT_text/a.txt";

fn telling() -> Project {
    Project::one(TELLING, "")
}

/// Starts a call whose output is read when it has ended.
fn start(project: &Project, words: &[&str]) -> Child {
    let mut command = project.command(words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// What `status` says of the stage `only`, once it has told all that it tells.
fn status(project: &Project) -> Value {
    let look = || project.pipe(&["status", "pipeline.yaml", "--json"]).expect(0).json();
    wait_until(&|| "the progress is seen".to_owned(), || {
        look()["runs"][0]["stages"][0]["progress"]["done"] == 3
    });
    look()["runs"][0]["stages"][0].clone()
}

fn history(project: &Project) -> Vec<Value> {
    let told = project.pipe(&["history", "pipeline.yaml", "--json"]).expect(0).json();
    told["runs"].as_array().unwrap().clone()
}

/// The folder of the only run, or of the last.
fn run_folder(project: &Project) -> PathBuf {
    let mut runs: Vec<PathBuf> =
        fs::read_dir(project.path(".pipe/runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs.pop().unwrap()
}

#[test]
fn a_run_is_watched_and_its_log_followed_from_other_processes() {
    let project = telling();
    let engine = project.start(&[]);
    wait_for(&project.path("there"));
    let follower = start(&project, &["logs", "-f", "pipeline.yaml", "only"]);
    let stage = status(&project);
    assert_eq!(stage["state"], "running");
    assert_eq!(stage["progress"]["total"], 12);
    assert_eq!(stage["metrics"][0]["name"], "loss");
    assert_eq!(stage["metrics"][0]["step"], 3);
    project.pipe(&["status", "pipeline.yaml"]).expect(0).prints(&[
        "only",
        "running",
        "3 of 12 steps (25 %)",
        "loss 0.3000 at 3",
    ]);
    project.pipe(&["logs", "pipeline.yaml", "only"]).expect(0).prints(&["one line"]);
    assert_eq!(history(&project)[0]["state"], "running");

    project.write("go", "");
    engine.end();
    let followed = end(follower).expect(0);
    assert_eq!(followed.stdout, "one line\nanother line\n");
    project.pipe(&["status", "pipeline.yaml"]).expect(0).says(&["nothing is running", "done"]);
    let past = history(&project);
    assert_eq!((past.len(), &past[0]["state"]), (1, &Value::from("done")));
    assert_eq!(past[0]["stages"]["only"], "ran");
    assert_eq!(past[0]["metrics"][0]["metric"]["name"], "loss");
}

#[test]
fn a_run_is_killed_and_resumed_under_those_who_watch() {
    let project = telling();
    let engine = project.start(&[]);
    wait_for(&project.path("there"));
    status(&project);
    let follower = start(&project, &["logs", "--follow", "pipeline.yaml", "only"]);
    engine.signal_group(Signal::KILL);
    engine.end();
    end(follower).expect(0).prints(&["one line"]);
    project.pipe(&["status", "pipeline.yaml"]).expect(0).says(&["nothing is running", "killed"]);
    assert_eq!(history(&project)[0]["state"], "broken_off");

    fs::remove_file(project.path("there")).unwrap();
    let engine = project.start(&[]);
    wait_for(&project.path("there"));
    assert_eq!(status(&project)["state"], "running");
    let follower = start(&project, &["logs", "--follow", "pipeline.yaml", "only"]);
    project.write("go", "");
    engine.end();
    end(follower).expect(0).prints(&["one line\nanother line\n"]);
    let states: Vec<Value> = history(&project).iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states, ["done", "broken_off"]);
    project.assert_clean();
}

#[test]
fn the_log_of_the_last_run_is_shown_when_nothing_runs() {
    let project = Project::letters("echo from a command;");
    let nothing = project.pipe(&["logs", "pipeline.yaml", "first"]).expect(1);
    nothing.says(&["no recorded run", "pipe run pipeline.yaml"]);
    project.run(&[]).expect(0);
    project.pipe(&["logs", "-f", "pipeline.yaml", "first"]).expect(0).prints(&["from a command"]);
    project.pipe(&["logs", "pipeline.yaml", "frist"]).expect(2).says(&["did you mean", "first"]);
}

#[test]
fn secrets_are_masked_in_logs_of_runs_that_go_on() {
    let run = "echo before $TOKEN after\ntouch there\nwhile ! [ -e go ]; do sleep 0.05; done\necho > $PIPE_OUTPUT_text/a";
    let manifest = Project::one(run, "").read("pipeline.yaml").replace("$TOKEN", "${secret.TOKEN}");
    let project = Project::new(&manifest);
    let with_secret = |words: &[&str]| {
        let mut command = project.command(words);
        command.env("TOKEN", "hunter2").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let engine = with_secret(&["run", "pipeline.yaml"]);
    wait_for(&project.path("there"));
    // What the command wrote reaches the log a little later.
    let logs = || end(with_secret(&["logs", "pipeline.yaml", "only"])).expect(0).stdout;
    wait_until(&|| "the log has the line".to_owned(), || logs() == "before *** after\n");
    project.write("go", "");
    end(engine).expect(0);
}

#[test]
fn history_names_what_ran_and_what_failed() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    project.edit("tr a-z A-Z", "exit 1; tr a-z A-Z");
    project.run(&[]).expect(1);
    let told = project.pipe(&["history", "pipeline.yaml"]).expect(0);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[1].contains("failed: upper"), "{}", told.stdout);
    assert!(
        lines[2].contains("done") && lines[2].contains("first, second, shorter, joined and 2 more"),
        "{}",
        told.stdout
    );
    // A run in which nothing has to be done is none.
    project.edit("exit 1; ", "");
    project.run(&[]).expect(0);
    assert_eq!(history(&project).len(), 2);
    let shown = project.pipe(&["history", "pipeline.yaml", "-n", "1"]).expect(0);
    assert_eq!(shown.stdout.lines().count(), 2);
    // A manifest that is wrong has a history all the same.
    project.edit("uses: command", "uses: comand");
    assert_eq!(history(&project).len(), 2);
}

#[test]
fn a_diff_shows_settings_and_figures_that_differ() {
    let metric = |value: &str| {
        format!(
            "echo '{{\"event\": \"metric\", \"name\": \"accuracy\", \"value\": {value}, \"better\": \"higher\"}}' \
             >> $PIPE_EVENTS; echo > $PIPE_OUTPUT_text/a"
        )
    };
    let project = Project::one(&metric("0.5"), "");
    project.run(&[]).expect(0);
    project.edit("0.5", "0.75");
    project.run(&["only"]).expect(0);
    let told = project.pipe(&["diff", "pipeline.yaml", "last~1", "last"]).expect(0);
    told.prints(&["with.run", "accuracy", "0.5000", "0.7500", "+0.2500 (+50.0 %), better"]);
    let lines = told_lines(&project, &["diff", "pipeline.yaml", "lock"]);
    assert!(lines.iter().any(|line| line["what"] == "accuracy"), "{lines:?}");
    assert!(lines.iter().all(|line| line["what"] != "time"), "{lines:?}");
    let all = told_lines(&project, &["diff", "pipeline.yaml", "last", "last", "--all"]);
    assert!(all.iter().any(|line| line["what"] == "time"), "{all:?}");
    project
        .pipe(&["diff", "pipeline.yaml", "last", "last"])
        .expect(0)
        .says(&["no differences in settings or metrics"]);
    project
        .pipe(&["diff", "pipeline.yaml", "1999"])
        .expect(2)
        .says(&["no run `1999`", "pipe history pipeline.yaml"]);
    project.pipe(&["diff", "pipeline.yaml", "20"]).expect(2).says(&["2 run ids begin with it"]);
    project.pipe(&["diff", "pipeline.yaml", "last~9"]).expect(2).says(&["there are only 2 recorded runs"]);
}

fn told_lines(project: &Project, words: &[&str]) -> Vec<Value> {
    let told = project.pipe(&[words, &["--json"]].concat()).expect(0).json();
    told["differences"].as_array().unwrap().clone()
}

#[test]
fn with_keep_going_only_what_needs_a_failed_stage_is_skipped() {
    let project =
        Project::new(&LETTERS.replace("BEFORE cp in/first.txt", "false; cp").replace("BEFORE ", ""));
    project.write("in/second.txt", "wxyz\n");
    let outcomes = |more: &[&str]| -> Vec<(String, String)> {
        let ended = project.run(&[more, &["--json"]].concat()).expect(1);
        let last: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rows = last["summary"].as_array().unwrap();
        rows.iter().map(|row| (text(&row["stage"]), text(&row["outcome"]))).collect()
    };
    let of = |rows: &[(String, String)], wanted: &str| -> Vec<String> {
        rows.iter().filter(|(_, outcome)| outcome == wanted).map(|(stage, _)| stage.clone()).collect()
    };
    let rows = outcomes(&["--keep-going", "--jobs", "1"]);
    assert_eq!(of(&rows, "failed"), ["first"]);
    assert_eq!(of(&rows, "ran"), ["second", "shorter"]);
    assert_eq!(of(&rows, "skipped"), ["joined", "upper", "report"]);
    assert!(!project.path("pipeline.lock").exists());
}

#[test]
fn observers_get_the_lines_that_json_prints() {
    let project = Project::letters("");
    let text = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &format!("observers: ['cat > of-manifest.jsonl']\n{text}"));
    let ended =
        project.run(&["--json", "--observe", "cat > of-call.jsonl; echo $PIPE_RUN > folder"]).expect(0);
    let events = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|mut line| {
                line.as_object_mut().unwrap().remove("at");
                line
            })
            .collect()
    };
    assert_eq!(events(&project.read("of-call.jsonl")), events(&ended.stdout));
    assert_eq!(project.read("of-manifest.jsonl"), project.read("of-call.jsonl"));
    assert!(
        project.read("folder").trim().ends_with(run_folder(&project).file_name().unwrap().to_str().unwrap())
    );
    // They stand in no key, and a run that has nothing to do starts none.
    fs::remove_file(project.path("of-call.jsonl")).unwrap();
    project.edit("of-manifest", "of-another");
    let again = project.run(&["--observe", "cat > of-call.jsonl"]).expect(0);
    assert!(again.stderr.contains("cached") && !project.path("of-call.jsonl").exists());
    assert!(!project.path("of-another.jsonl").exists());
}

#[test]
fn observers_that_fail_die_or_never_read_hurt_no_run() {
    // 40,000 lines are more than a pipe holds, and less than what waits for an observer.
    let flood = "for i in $(seq 40000); do echo '{\"event\": \"note\", \"message\": \"'$i'\"}'; done >> $PIPE_EVENTS\n\
                 echo made > $PIPE_OUTPUT_text/a";
    let project = Project::one(flood, "");
    let started = Instant::now();
    let ended = project.run(&[
        "--observe",
        "exec sleep 1000",
        "--observe",
        "exit 3",
        "--observe",
        "head -n 5 > few; exit 0",
        "--observe",
        "/no/such/program",
        "--observe",
        "cat > all",
    ]);
    let ended = ended.expect(0).says(&[
        "observer `exec sleep 1000` was killed",
        "observer `exit 3` failed",
        "lines did not reach it",
    ]);
    assert!(
        ended.stderr.contains("only        ran") || ended.stderr.contains("only   ran"),
        "{}",
        ended.stderr
    );
    assert!(started.elapsed() < Duration::from_secs(50));
    assert!(project.read("all").lines().count() > 40_000);
    assert_eq!(project.read("few").lines().count(), 5);
    project.wait_for_silence();
    project.pipe(&["history", "pipeline.yaml"]).expect(0).prints(&["done"]);
}

#[test]
#[cfg(target_os = "linux")]
fn what_an_observer_starts_ends_with_it() {
    let project = Project::letters("");
    let started = Instant::now();
    project.run(&["--observe", "setsid sleep 1000 & setsid -f sleep 1000; cat > all"]).expect(0);
    project.wait_for_silence();
    assert!(started.elapsed() < Duration::from_secs(50));
    assert!(project.read("all").lines().count() > 3);
}

#[test]
fn an_observer_without_a_command_is_a_fault_at_its_place() {
    let project = Project::letters("");
    let text = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &format!("observers: ['cat', '  ']\n{text}"));
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&["not a valid observer command"]);
}

#[test]
fn series_are_written_for_tensorboard() {
    let project = telling();
    project.write("go", "");
    project.run(&[]).expect(0);
    let files = below(&run_folder(&project).join("tensorboard/only"));
    assert_eq!(files.len(), 1);
    let bytes = fs::read(&files[0]).unwrap();
    // Records of header and three points: lengths chain to the end of the file.
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        at += 16 + u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), 4));
}

#[test]
fn a_report_has_stages_curves_and_failures_and_escapes_them() {
    let project = telling();
    project.write("go", "");
    project.run(&[]).expect(0);
    project.pipe(&["report", "pipeline.yaml"]).expect(0).says(&["one.html"]);
    let html = project.read("one.html");
    for text in ["<h1>one", "class=\"dag\"", "class=\"plot\"", "<polyline", "only", "main metrics"] {
        assert!(html.contains(text), "no `{text}`");
    }
    // A stage that is cached in this run has the curves of the run that made it. Files that a command names are
    // its inputs, so what it left must not be there.
    fs::remove_file(project.path("there")).unwrap();
    let text = project.read("pipeline.yaml");
    let more = "  more:\n    uses: command\n    with: { run: 'echo \"<script>evil</script>\" >&2; false', outputs: { text: files } }\n";
    project.write("pipeline.yaml", &(text + more));
    project.run(&[]).expect(1);
    let told = project.pipe(&["report", "pipeline.yaml", "-o", "-"]).expect(0);
    assert!(!told.stdout.contains("<script>") && told.stdout.contains("&lt;script&gt;evil"));
    assert!(told.stdout.contains("<polyline") && told.stdout.contains("more failed"));
    project
        .pipe(&["report", "pipeline.yaml", "-o", "no/such/x.html"])
        .expect(1)
        .says(&["no/such/x.html", "-o"]);
}

#[test]
fn completions_know_the_commands() {
    let project = Project::letters("");
    for shell in ["bash", "zsh", "fish"] {
        project.pipe(&["completions", shell]).expect(0).prints(&["history", "keep-going"]);
    }
}
