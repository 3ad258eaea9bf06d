//! What becomes of what a command makes: kept as it is, or refused by name.

use crate::project::Project;
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn any_part_of_a_line_that_fails_fails_the_command() {
    for line in ["cat /nonexistent > $PIPE_OUTPUT_text/a\necho done", "echo x > $NOT_SET/a || true"] {
        let project = Project::one(line, "");
        project.run(&[]).expect(1).says(&["stage `only` failed"]);
        project.pipe(&["plan", "pipeline.yaml", "--detailed-exitcode"]).expect(3);
    }
}

/// Not every shell can tell: `docs/commands.md` names those that do.
#[test]
fn a_part_of_a_pipeline_that_fails_fails_the_command_where_the_shell_knows_pipefail() {
    let mut knows = std::process::Command::new("/bin/sh");
    let knows = knows.args(["-o", "pipefail", "-c", ":"]).output().unwrap().status.success();
    let project = Project::one("cat /nonexistent | sort > $PIPE_OUTPUT_text/a", "");
    project.run(&[]).expect(i32::from(knows));
    // By itself, and as the last part, in every shell.
    for line in ["cat /nonexistent > $PIPE_OUTPUT_text/a", "echo x | grep y > $PIPE_OUTPUT_text/a"] {
        Project::one(line, "").run(&[]).expect(1).says(&["stage `only` failed"]);
    }
}

#[test]
fn an_output_that_stays_empty_is_an_error_unless_it_may() {
    let project = Project::one("true", "");
    project.run(&[]).expect(1).says(&["nothing to its output `text`", "PIPE_OUTPUT_text", "may_be_empty"]);
    project.edit("outputs:", "may_be_empty: [text]\n      outputs:");
    project.run(&[]).expect(0);
    project.edit("[text]", "[texts]");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&["is not an output"]);
}

#[test]
fn files_keep_their_executable_bit() {
    let project = Project::new(
        "\
pipeline: p
stages:
  tool: { uses: command, with: { run: 'printf \"#!/bin/sh\\necho ran\\n\" > $PIPE_OUTPUT_o/tool; cp $PIPE_OUTPUT_o/tool $PIPE_OUTPUT_o/text; chmod +x $PIPE_OUTPUT_o/tool', outputs: { o: files } } }
  use: { uses: command, needs: { i: tool }, with: { run: '$PIPE_INPUT_i/tool > $PIPE_OUTPUT_o/a; ! test -x $PIPE_INPUT_i/text', outputs: { o: files } } }
",
    );
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/use/o/a"), "ran\n");
    project.pipe(&["get", "pipeline.yaml", "tool", "got"]).expect(0);
    let mode = |name: &str| fs::metadata(project.path(name)).unwrap().permissions().mode() & 0o111;
    assert!(mode("got/tool") != 0 && mode("got/text") == 0);
    assert!(mode("out/tool/o/tool") != 0, "the copy for people runs too");
    // The bit is part of what the stage made.
    project.edit("; chmod +x $PIPE_OUTPUT_o/tool", "");
    project.run(&[]).expect(1).says(&["stage `use` failed"]);
}

#[test]
fn odd_names_are_kept_or_refused_by_name() {
    for (make, name) in [
        ("echo x > \"$o/a\\\\b\"", "a\\b"),
        ("mkdir $o/empty; echo x > $o/a", "empty"),
        ("mkdir -p $o/deep/er; echo x > $o/deep/a", "deep/er"),
        ("ln -s . $o/folder", "folder"),
        ("ln -s nowhere $o/broken", "broken"),
        ("mkfifo $o/pipe", "pipe"),
        ("printf x > \"$o/$(printf '\\377')\"", "not UTF-8"),
    ] {
        let project = Project::one(&format!("o=$PIPE_OUTPUT_text; {make}"), "");
        project.run(&[]).expect(1).says(&["of the output `text`", name]);
    }
    let long = "l".repeat(255);
    let project = Project::one(
        &format!(
            "o=$PIPE_OUTPUT_text; echo x > $o/{long}; echo y > \"$o/ a 'b' \\\"c\\\" *?[x] \u{e4}\"; ln -s {long} $o/link"
        ),
        "",
    );
    project.run(&[]).expect(0);
    project.pipe(&["get", "pipeline.yaml", "only", "got"]).expect(0);
    assert_eq!(project.read(&format!("got/{long}")), "x\n");
    assert_eq!(project.read("got/link"), "x\n");
    assert_eq!(project.read("got/ a 'b' \"c\" *?[x] \u{e4}"), "y\n");
}

#[test]
fn figures_that_are_no_numbers_are_values() {
    let tell = |value: &str| {
        format!("echo '{{\"event\":\"metric\",\"name\":\"loss\",\"value\":{value}}}' >> $PIPE_EVENTS")
    };
    for (value, bound, code) in
        [("NaN", "max: 3", 1), ("Infinity", "max: 3", 1), ("-Infinity", "max: 3", 0), ("2", "max: 3", 0)]
    {
        let run = format!("{}\n{}\necho x > $PIPE_OUTPUT_text/a", tell("2.5"), tell(value));
        let project = Project::one(&run, &format!("expect: {{ loss: {{ {bound} }} }}"));
        project.run(&[]).expect(code);
        project.pipe(&["show", "pipeline.yaml", "only"]).expect(0);
    }
}

#[test]
fn what_is_no_event_is_told() {
    let project =
        Project::one("echo '{\"event\":\"metrics\"}' >> $PIPE_EVENTS\necho x > $PIPE_OUTPUT_text/a", "");
    project
        .run(&[])
        .expect(0)
        .says(&["ignored 1 line of `$PIPE_EVENTS`", "{\"event\":\"metrics\"} (unknown variant `metrics`"]);
}
