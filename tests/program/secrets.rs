//! Secrets: in no file, event, report or observer, however a command prints them and however it ends.

use crate::project::{Project, below, wait_for};
use rustix::process::Signal;
use std::fs;

const TOKEN: &str = "s3cr3t/V4lue 9x7q";

/// A project whose one command prints the secret in many ways and then does `rest`.
fn project(rest: &str) -> Project {
    let run = format!(
        "t=\"${{secret.PIPE_TEST_TOKEN}}\"\necho \"using $t\"; echo \"error $t\" >&2\n\
         printf %s \"$t\" | base64; printf %s \"user:$t\" | base64; echo s3cr3t%2FV4''lue%209x''7q\n\
         printf %s s3cr; sleep 0.05; echo 3t/V4''lue 9x''7q\n\
         echo '{{\"event\":\"note\",\"message\":\"with '\"$t\"'\"}}' >> $PIPE_EVENTS\n\
         echo '{{\"event\":\"metric\",\"name\":\"m '\"$t\"'\",\"step\":1,\"value\":1,\"unit\":\"'\"$t\"'\"}}' >> $PIPE_EVENTS\n\
         echo '{{\"event\":\"progress\",\"unit\":\"'\"$t\"'\",\"done\":1,\"total\":2}}' >> $PIPE_EVENTS\n\
         echo last words\n{rest}"
    );
    let project = Project::one(&run, "");
    project.edit("pipeline: one", "pipeline: one\nobservers: ['cat > observed.txt']");
    project
}

#[track_caller]
fn assert_hidden(project: &Project, printed: &[&str]) {
    let forms =
        ["s3cr3t/V4lue", "V4lue 9x7q", "czNjcjN0L1Y0bHVlIDl4N3", "N0L1Y0bHVlIDl4N3", "s3cr3t%2FV4lue"];
    for path in below(project.root()).into_iter().filter(|path| path.is_file()) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let found: Vec<_> = forms.iter().filter(|form| text.contains(**form)).collect();
        assert!(found.is_empty(), "{found:?} in {}", path.display());
    }
    for text in printed {
        assert!(forms.iter().all(|form| !text.contains(form)), "{text}");
    }
}

#[test]
fn a_secret_is_nowhere_however_its_command_ends() {
    for (rest, code) in [("echo x > $PIPE_OUTPUT_text/a", 0), ("exit 3", 1)] {
        for json in [&[][..], &["--json"]] {
            let project = project(rest);
            let mut command = project.command(&[&["run", "pipeline.yaml"], json].concat());
            let ended =
                Project::ended_of(command.env("PIPE_TEST_TOKEN", TOKEN).output().unwrap()).expect(code);
            project.pipe(&["report", "pipeline.yaml", "-o", "r.html"]);
            // Without the variable: what is stored has to be clean by itself.
            let log = project.pipe(&["logs", "pipeline.yaml", "only"]);
            assert!(log.stdout.contains("using ***") && log.stdout.contains("last words"), "{log:?}");
            assert_hidden(&project, &[&ended.stdout, &ended.stderr, &log.stdout]);
        }
    }
}

#[test]
fn a_secret_is_nowhere_after_an_interrupt() {
    let outside = tempfile::tempdir().unwrap();
    let begun = outside.path().join("begun");
    let project = project(&format!("b={}; touch $b; sleep 60", begun.display()));
    let mut command = project.command(&["run", "pipeline.yaml"]);
    command
        .env("PIPE_TEST_TOKEN", TOKEN)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for(&begun);
    crate::project::send(child.id() as i32, Signal::INT);
    let ended = Project::ended_of(child.wait_with_output().unwrap()).expect(130);
    assert_hidden(&project, &[&ended.stdout, &ended.stderr]);
}

#[test]
fn lines_of_a_secret_are_hidden_one_by_one() {
    let project = Project::one(
        "echo \"${secret.PIPE_TEST_TOKEN}\" | sed 's/^/> /'; echo \"[$(echo \"${secret.PIPE_TEST_TOKEN}\")]\"; echo x > $PIPE_OUTPUT_text/a",
        "",
    );
    let mut command = project.command(&["run", "pipeline.yaml"]);
    command.env("PIPE_TEST_TOKEN", "first-line-aaa\nsecond-line-bbb\n");
    Project::ended_of(command.output().unwrap()).expect(0);
    let log = project.pipe(&["logs", "pipeline.yaml", "only"]).expect(0).stdout;
    assert!(!log.contains("line-"), "{log}");
}

#[test]
fn a_secret_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::one("printf '%s' \"${secret.PIPE_TEST_TOKEN}\" | wc -c > $PIPE_OUTPUT_text/a", "");
    let run = || {
        let mut command = project.command(&["run", "pipeline.yaml"]);
        command.env("PIPE_TEST_TOKEN", std::ffi::OsStr::from_bytes(b"\xff\xfehunter2"));
        Project::ended_of(command.output().unwrap())
    };
    run().expect(0);
    assert_eq!(project.read("out/only/text/a").trim(), "9");
    project.edit("${secret.PIPE_TEST_TOKEN}", "${env.PIPE_TEST_TEXT}");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    command.env("PIPE_TEST_TEXT", std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    Project::ended_of(command.output().unwrap()).expect(2).says(&["`PIPE_TEST_TEXT` is not UTF-8"]);
}

#[test]
fn a_variable_whose_name_looks_secret_is_refused_under_env() {
    let project = Project::one("echo x > $PIPE_OUTPUT_text/a", "");
    project.edit("outputs:", "env: [RATE, HF_TOKEN]\n      outputs:");
    let ended = project.command(&["check", "pipeline.yaml"]).env("HF_TOKEN", TOKEN).output().unwrap();
    Project::ended_of(ended).expect(2).says(&["`HF_TOKEN` looks like a secret", "${secret.HF_TOKEN}"]);
}

#[test]
fn a_file_name_that_holds_a_secret_is_refused() {
    let project = Project::one("echo x > $PIPE_OUTPUT_text/${secret.PIPE_TEST_TOKEN}", "");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    let ended =
        Project::ended_of(command.env("PIPE_TEST_TOKEN", "hunter2-secret").output().unwrap()).expect(1);
    ended.says(&["contains a secret"]);
}

#[test]
fn what_verify_runs_again_prints_no_secret() {
    let project = Project::one(
        "echo \"token ${secret.PIPE_TEST_TOKEN}\"; echo \"or $PIPE_TEST_TOKEN\" >&2\n\
         echo '{\"event\":\"note\",\"message\":\"'\"$PIPE_TEST_TOKEN\"'\"}' >> $PIPE_EVENTS\n\
         test ! -e fa$(echo il)\necho x > $PIPE_OUTPUT_text/a",
        "",
    );
    let call = |words: &[&str]| {
        Project::ended_of(project.command(words).env("PIPE_TEST_TOKEN", TOKEN).output().unwrap())
    };
    call(&["run", "pipeline.yaml"]).expect(0);
    for json in [&[][..], &["--json"]] {
        let ended = call(&[&["verify", "pipeline.yaml"], json].concat()).expect(0).prints(&["identical"]);
        assert_hidden(&project, &[&ended.stdout, &ended.stderr]);
        assert!(!ended.stdout.contains("token"), "only verdicts: {}", ended.stdout);
    }
    project.write("fail", "");
    let ended = call(&["verify", "pipeline.yaml"]).expect(1).says(&["only: token ***", "exit status: 1"]);
    assert_hidden(&project, &[&ended.stdout, &ended.stderr]);
}

#[test]
fn an_observer_prints_no_secret() {
    let project = Project::one(": ${secret.PIPE_TEST_TOKEN}; echo x > $PIPE_OUTPUT_text/a", "");
    project.edit(
        "pipeline: one",
        "pipeline: one\nobservers: ['env | grep ^PIPE_TEST; cat > /dev/null; echo end']",
    );
    let mut command = project.command(&["run", "pipeline.yaml"]);
    let ended = Project::ended_of(command.env("PIPE_TEST_TOKEN", TOKEN).output().unwrap()).expect(0);
    assert_hidden(&project, &[&ended.stdout, &ended.stderr]);
    let logs = below(&project.path(".pipe/runs"));
    let log = logs.iter().find(|path| path.ends_with("observer-1.log")).expect("it has a log");
    assert_eq!(fs::read_to_string(log).unwrap(), "PIPE_TEST_TOKEN=***\nend\n");
}

#[test]
fn an_empty_secret_is_none() {
    let project = Project::one(": ${secret.PIPE_TEST_TOKEN}; echo x > $PIPE_OUTPUT_text/a", "");
    for (verb, code) in [("check", 0), ("run", 2)] {
        let mut command = project.command(&[verb, "pipeline.yaml"]);
        let ended = Project::ended_of(command.env("PIPE_TEST_TOKEN", "").output().unwrap()).expect(code);
        ended.says(&["the secret `PIPE_TEST_TOKEN`, which is not set or empty", "set `PIPE_TEST_TOKEN`"]);
    }
}

#[test]
fn letters_beyond_ascii_hide_no_secret() {
    let secret = "p\u{e4}-hun'ter2\u{1f600}";
    let line = ": ${secret.PIPE_TEST_TOKEN}; printf 'p\\\\u00e4-hun'\\''ter2\\\\ud83d\\\\ude00 p\\\\xe4-hun'\\''ter2\\\\U0001f600\\n'; echo x > $PIPE_OUTPUT_text/a";
    let project = Project::one(line, "");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    Project::ended_of(command.env("PIPE_TEST_TOKEN", secret).output().unwrap()).expect(0);
    let log = project.pipe(&["logs", "pipeline.yaml", "only"]);
    assert_eq!(log.stdout, "*** ***\n");
}

#[test]
fn a_secret_of_many_lines_costs_no_line_of_the_log() {
    let secret: String = (0..52).map(|line| format!("{line:02}{}\n", "Abc/9+xYz".repeat(7))).collect();
    let line = ": ${secret.PIPE_TEST_TOKEN}; seq 26000; echo REASON >&2; exit 3";
    let project = Project::one(line, "");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    Project::ended_of(command.env("PIPE_TEST_TOKEN", secret).output().unwrap()).expect(1);
    let log = project.pipe(&["logs", "pipeline.yaml", "only"]);
    assert!(log.stdout.contains("\n26000\n") && log.stdout.contains("REASON"), "{}", log.stdout.len());
}

#[test]
fn a_variable_that_is_a_secret_elsewhere_is_refused_under_env() {
    let project = Project::one("echo x > $PIPE_OUTPUT_text/a; : ${secret.PIPE_TEST_TOKEN}", "");
    project.edit("outputs:", "env: [PIPE_TEST_TOKEN]\n      outputs:");
    let mut command = project.command(&["check", "pipeline.yaml"]);
    let ended = Project::ended_of(command.env("PIPE_TEST_TOKEN", TOKEN).output().unwrap()).expect(2);
    ended.says(&["PIPE_TEST_TOKEN", "are recorded"]);
}

#[test]
fn a_secret_within_single_quotes_is_an_error_that_says_so() {
    let project = Project::one("echo 'Bearer ${secret.PIPE_TEST_TOKEN}' > $PIPE_OUTPUT_text/a", "");
    let mut command = project.command(&["check", "pipeline.yaml"]);
    let ended = Project::ended_of(command.env("PIPE_TEST_TOKEN", TOKEN).output().unwrap()).expect(2);
    ended.says(&["single quotes", "double quotes"]);
}

#[test]
fn an_output_that_holds_a_secret_is_refused() {
    let project = Project::one("echo \"token: ${secret.PIPE_TEST_TOKEN}\" > $PIPE_OUTPUT_text/a", "");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    let ended = Project::ended_of(command.env("PIPE_TEST_TOKEN", TOKEN).output().unwrap()).expect(1);
    ended.says(&["the file `a` of the output `text` holds a secret"]);
    assert_hidden(&project, &[]);
}

#[test]
fn a_secret_has_no_default() {
    let project =
        Project::one("printf '%s' \"${secret.PIPE_TEST_TOKEN:-hunter2}\" > $PIPE_OUTPUT_text/a", "");
    let ended = project.pipe(&["check", "pipeline.yaml"]).expect(2);
    ended.says(&["a secret cannot have a default", "`${secret.PIPE_TEST_TOKEN:-}` if it may be"]);
    // It may be left out.
    project.edit(":-hunter2}", ":-}");
    project.edit("printf '%s' ", "printf '[%s]' ");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "[]");
}

#[test]
fn values_of_variables_that_look_secret_are_not_put_into_the_manifest() {
    for value in ["", ":-hunter2"] {
        let project = Project::one(&format!("echo ${{env.API_TOKEN{value}}} > $PIPE_OUTPUT_text/a"), "");
        let mut command = project.command(&["check", "pipeline.yaml"]);
        let ended = Project::ended_of(command.env("API_TOKEN", "hunter2").output().unwrap()).expect(2);
        ended.says(&["`API_TOKEN` looks like a secret", "`${secret.API_TOKEN}`"]);
    }
    let project = Project::one("echo ${env.STAGE_NAME:base} ${env.NO_SUCH_NAME} > $PIPE_OUTPUT_text/a", "");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&[
        "`${env.STAGE_NAME:-base}`",
        "give a default:",
        "`${env.NO_SUCH_NAME:-…}`",
    ]);
}

#[test]
fn a_missing_secret_stops_only_the_stages_that_would_use_it() {
    let project = Project::new(
        "pipeline: p\nstages:\n  plain:\n    uses: command\n    with: { run: 'echo x > $PIPE_OUTPUT_o/x', outputs: { o: files } }\n  \
         guarded:\n    uses: command\n    needs: { o: plain }\n    \
         with: { run: 'echo ${secret.PIPE_TEST_TOKEN} > /dev/null; echo y > $PIPE_OUTPUT_o/y', outputs: { o: files } }\n",
    );
    let missing =
        "`guarded` cannot run here: `run` needs the secret `PIPE_TEST_TOKEN`, which is not set or empty";
    for command in ["check", "plan"] {
        project.pipe(&[command, "pipeline.yaml"]).expect(0).says(&[missing]);
    }
    project.run(&["plain"]).expect(0);
    project.pipe(&["show", "pipeline.yaml", "plain"]).expect(0);
    let told = project.run(&[]).expect(2);
    told.says(&[
        "needs the secret `PIPE_TEST_TOKEN`, which is not set or empty",
        "set `PIPE_TEST_TOKEN` in the environment",
    ]);
    let run = |value: &str| {
        let mut command = project.command(&["run", "pipeline.yaml"]);
        Project::ended_of(command.env("PIPE_TEST_TOKEN", value).output().unwrap())
    };
    run("").expect(2);
    run(TOKEN).expect(0);
    // What is done needs nothing any more.
    project.run(&[]).expect(0);
}
