//! What a terminal shows: lines that fit it, and no control characters from stages.

use crate::project::Project;
use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

/// Runs the program on a terminal of this width; returns what was written to it.
fn on_terminal(project: &Project, columns: u16, arguments: &[&str]) -> Vec<u8> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave: OwnedFd = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, 0.into()).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let own = || Stdio::from(slave.try_clone().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_pipe"))
        .args(arguments)
        .current_dir(project.root())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("PIPE_CACHE")
        .stdin(Stdio::null())
        .stdout(own())
        .stderr(own())
        .spawn()
        .unwrap();
    drop(slave);
    let mut written = Vec::new();
    // At the end of the last writer a terminal gives an error instead of nothing.
    let _ = File::from(master).read_to_end(&mut written);
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&written));
    written
}

/// The lines that stand on a terminal of this width after all of this was written, those scrolled off included.
fn screen(written: &[u8], columns: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(written).into_owned();
    let (mut rows, mut row, mut column) = (vec![Vec::<char>::new()], 0, 0);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' if letters.peek() == Some(&'[') => {
                let sequence: String =
                    std::iter::from_fn(|| letters.next_if(|letter| !letter.is_ascii_alphabetic())).collect();
                let count = sequence.trim_start_matches('[').parse::<usize>();
                match letters.next() {
                    Some('A') => row = usize::saturating_sub(row, count.unwrap_or(1)),
                    Some('B') => row += count.unwrap_or(1),
                    Some('G') => column = count.unwrap_or(1) - 1,
                    Some('K') if count == Ok(2) => rows[row].clear(),
                    Some('K') => rows[row].truncate(column),
                    Some('J') => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    _ => {}
                }
            }
            letter => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                rows.resize(rows.len().max(row + 1), Vec::new());
                let width = rows[row].len().max(column + 1);
                rows[row].resize(width, ' ');
                rows[row][column] = letter;
                column += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn progress_leaves_nothing_behind_on_narrow_terminals() {
    let progress = "for i in $(seq 40); do \
        echo '{\"event\":\"metric\",\"name\":\"loss\",\"step\":'$i',\"value\":3.14159}' >> $PIPE_EVENTS; \
        echo '{\"event\":\"progress\",\"unit\":\"optimizer steps\",\"done\":'$i'000,\"total\":40000}' >> $PIPE_EVENTS; \
        sleep 0.05; done; echo x > $PIPE_OUTPUT_text/a";
    for columns in [40, 60, 100] {
        let project = Project::one(progress, "");
        let written = on_terminal(&project, columns, &["run", "pipeline.yaml"]);
        let shown = screen(&written, columns.into());
        let text = String::from_utf8_lossy(&written).into_owned();
        assert!(text.contains("loss 3.1416"), "{columns}: it is drawn at all: {text:?}");
        let left = shown.iter().find(|line| line.contains("optimizer"));
        assert_eq!(left, None, "{columns}: {shown:#?}");
        assert!(shown.iter().any(|line| line.contains("only: done in")), "{columns}: {shown:#?}");
    }
}

#[test]
fn control_characters_of_a_stage_do_not_reach_the_terminal() {
    let note = "printf '{\"event\":\"note\",\"message\":\"x\\\\u001b]2;TAKEN\\\\u0007y\"}\\n' >> $PIPE_EVENTS; \
        printf 'log \\033]2;TAKEN\\007\\n'; sleep 0.3; printf 'a\\033]2;TAKEN\\007' > $PIPE_OUTPUT_text/a";
    let project = Project::one(note, "");
    let calls = [
        &["run", "pipeline.yaml"][..],
        &["show", "pipeline.yaml", "only"],
        &["show", "pipeline.yaml", "only", "--log"],
        &["logs", "pipeline.yaml", "only"],
        &["history", "pipeline.yaml"],
    ];
    for call in calls {
        let written = on_terminal(&project, 80, call);
        let text = String::from_utf8_lossy(&written).into_owned();
        assert!(!text.contains("\u{1b}]"), "{call:?}: {text:?}");
        if call[0] == "run" {
            assert!(text.contains("x\\u{1b}]2;TAKEN\\u{7}y"), "{text:?}");
        }
    }
}

/// A matrix, a comparison of metrics, and a stage with a long name.
const WIDE: &str = "\
pipeline: wide
stages:
  train:
    uses: command
    matrix: { rate: [0.001, 0.0003] }
    with:
      run: |
        echo \"{\\\"event\\\":\\\"metric\\\",\\\"name\\\":\\\"val_loss\\\",\\\"value\\\":${matrix.rate},\\\"better\\\":\\\"lower\\\",\\\"unit\\\":\\\"nat/token\\\"}\" >> $PIPE_EVENTS
        echo '{\"event\":\"metric\",\"name\":\"accuracy_of_all_classes\",\"value\":0.5,\"better\":\"higher\"}' >> $PIPE_EVENTS
        echo ${matrix.rate} > $PIPE_OUTPUT_text/a
      outputs: { text: files }
  scores_of_all_of_them:
    uses: command
    needs: { all: { a: 'train[rate=0.001]', b: 'train[rate=0.0003]' } }
    with: { run: 'cat $PIPE_INPUT_all/*/a > $PIPE_OUTPUT_text/a', outputs: { text: files } }
";

#[test]
fn tables_fit_the_terminal_and_break_no_name() {
    let project = Project::new(WIDE);
    project.run(&[]).expect(0);
    project.edit("[0.001, 0.0003]", "[0.001, 0.0003, 0.0001]");
    project.edit("value\":0.5", "value\":0.25");
    let calls = [
        &["plan", "pipeline.yaml"][..],
        &["run", "pipeline.yaml"],
        &["history", "pipeline.yaml"],
        &["history", "pipeline.yaml", "--metric", "val_loss"],
        &["runs", "ls", "pipeline.yaml"],
        &["show", "pipeline.yaml", "train"],
        &["graph", "pipeline.yaml"],
        &["stages"],
        &["stages", "command"],
        &["cache", "ls"],
        &["cache", "du"],
        &["diff", "pipeline.yaml", "last~1", "last"],
    ];
    for call in calls {
        for columns in [60, 80] {
            let written = String::from_utf8(on_terminal(&project, columns, call)).unwrap();
            // What a line shows once the progress before it is erased.
            let last = |line: &str| {
                let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
                line.rsplit("\u{1b}[2K").next().unwrap_or_default().to_owned()
            };
            let written: String = written.lines().map(|line| last(line) + "\n").collect();
            let heading = written.lines().position(|line| {
                ["stage", "run ", "rate", "computed", "what", "Inputs", "ingest", "command"]
                    .iter()
                    .any(|word| line.trim_start_matches('\r').starts_with(word))
            });
            let heading = heading.unwrap_or_else(|| panic!("{call:?}: no table in {written}"));
            let table: Vec<&str> =
                written.lines().skip(heading).take_while(|line| !line.contains("to run,")).collect();
            for line in &table {
                assert!(
                    line.trim_end().chars().count() <= columns.into(),
                    "{call:?} at {columns}: {line}\n{written}"
                );
            }
            if ["plan", "run", "graph"].contains(&call[0]) {
                for name in ["train[rate=0.001]", "scores_of_all_of_them"] {
                    assert!(
                        written.lines().any(|line| line.starts_with(name)),
                        "{call:?} at {columns}: {written}"
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_is_cut_that_goes_to_no_terminal() {
    let project = Project::new(WIDE);
    project.run(&[]).expect(0);
    for call in [&["cache", "ls"][..], &["plan", "pipeline.yaml"], &["history", "pipeline.yaml"]] {
        let own = project.pipe(call).expect(0).stdout;
        let mut command = project.command(call);
        let narrow = Project::ended_of(command.env("COLUMNS", "40").output().unwrap()).expect(0).stdout;
        assert_eq!(own, narrow);
        assert!(!own.contains('…'), "{own}");
    }
    project.pipe(&["cache", "ls"]).expect(0).prints(&["cat $PIPE_INPUT_all/*/a > $PIPE_OUTPUT_text/a"]);
}
