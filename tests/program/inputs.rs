//! What counts as an input of a command: files that its line names, and those under `files`.

use crate::project::Project;
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, os::unix::fs::symlink, process::Command, time::Duration};

/// The stage's output after a run, and after a change of a file another run.
#[track_caller]
fn is_an_input(project: &Project, file: &std::path::Path) {
    fs::write(file, "1\n").unwrap();
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "1\n");
    fs::write(file, "22\n").unwrap();
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "22\n", "{}", project.read("pipeline.yaml"));
}

#[test]
fn files_that_wildcards_match_are_told_until_they_are_listed() {
    let project = Project::one("cat data/*.txt > $PIPE_OUTPUT_text/a", "");
    for name in ["data/a.txt", "data/b.txt", "data/c.md"] {
        project.write(name, "x\n");
    }
    for command in ["check", "plan"] {
        let told = project.pipe(&[command, "pipeline.yaml"]).expect(0);
        told.says(&[
            "note: the line of `only` has `data/*.txt`",
            "(`data/a.txt` and 1 more)",
            "under `files`",
        ]);
    }
    project.edit("outputs:", "files: ['data/*.txt']\n      outputs:");
    let told = project.pipe(&["check", "pipeline.yaml"]).expect(0);
    assert!(!told.stderr.contains("note"), "{}", told.stderr);
    project.edit("*.txt >", "*.txt data/[c].md >");
    project.pipe(&["check", "pipeline.yaml"]).expect(0).says(&["`data/[c].md`"]);
    project.edit("data/[c].md", "nothing*");
    let told = project.pipe(&["check", "pipeline.yaml"]).expect(0);
    assert!(!told.stderr.contains("note"), "{}", told.stderr);
}

#[test]
fn a_file_in_the_home_of_the_user_is_an_input() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.txt"), "one\n").unwrap();
    let project = Project::one("cat ~/a.txt > $PIPE_OUTPUT_text/a", "");
    let run = || {
        let output = project.command(&["run", "pipeline.yaml"]).env("HOME", home.path()).output().unwrap();
        Project::ended_of(output).expect(0)
    };
    run().says(&["only   ran"]);
    run().says(&["only   cached"]);
    std::fs::write(home.path().join("a.txt"), "two\n").unwrap();
    run().says(&["only   ran"]);
    assert_eq!(project.read("out/only/text/a"), "two\n");
}

#[test]
fn files_that_a_line_names_are_inputs_however_they_are_written() {
    for (line, file) in [
        ("cat \"my data.txt\"", "my data.txt"),
        ("cat my\\ data.txt", "my data.txt"),
        ("cat v1..v2.txt", "v1..v2.txt"),
        ("cat sub/../d.txt", "d.txt"),
        ("echo `cat d.txt`", "d.txt"),
        ("sh -c 'cat \"./d.txt\"'", "d.txt"),
        ("cat HERE/d.txt", "d.txt"),
        ("cat '[1]*.txt'", "[1]*.txt"),
        ("cd sub; cat d.txt", "sub/d.txt"),
        ("cat $PWD/sub/d.txt", "sub/d.txt"),
        ("awk -fshow.awk HERE/pipeline.yaml", "show.awk"),
        ("cat .git/HEAD", ".git/HEAD"),
        ("cat out/mine.txt", "out/mine.txt"),
        ("exec 3<>d.txt; cat <&3", "d.txt"),
        ("cat ./-dash", "-dash"),
        ("cat -- -n", "-n"),
        ("cat '$v'", "$v"),
        ("cat \\$v.txt", "$v.txt"),
        ("cat '~t'", "~t"),
        ("cat \\~t", "~t"),
        ("cat '~/d.txt'", "~/d.txt"),
    ] {
        let project = Project::one(&format!("{line} > $PIPE_OUTPUT_text/a"), "");
        let text = project.read("pipeline.yaml").replace("HERE", project.root().to_str().unwrap());
        project.write("pipeline.yaml", &text);
        for folder in ["sub", ".git", "out", "~"] {
            fs::create_dir(project.path(folder)).unwrap();
        }
        if file == "show.awk" {
            // Programs and not texts: `1` prints all lines, and `22` too.
            fs::write(project.path(file), "BEGIN { print 1; exit }").unwrap();
            project.run(&[]).expect(0);
            fs::write(project.path(file), "BEGIN { print 22; exit }").unwrap();
            project.run(&[]).expect(0);
            assert_eq!(project.read("out/one/only/text/a"), "22\n");
            continue;
        }
        is_an_input(&project, &project.path(file));
    }
}

#[test]
fn a_name_that_cannot_be_listed_is_refused_and_not_passed_over() {
    let project = Project::one("cat 'two\tcolumns' > $PIPE_OUTPUT_text/a", "");
    project.write("two\tcolumns", "1\n");
    project.run(&[]).expect(2).says(&["contains a line break or a tab", "rename"]);
}

#[test]
fn files_outside_the_project_are_inputs_too() {
    let outside = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    let project = Project::one(&format!("cat ../{name}/d.txt > $PIPE_OUTPUT_text/a"), "");
    is_an_input(&project, &outside.path().join("d.txt"));
}

#[test]
fn folders_and_links_to_folders_under_files_are_inputs() {
    for files in ["data/**", "data", "./data/", "data/more/*.txt"] {
        let project = Project::one("cat $(ls data/*/d.txt) > $PIPE_OUTPUT_text/a", "");
        project.edit("outputs:", &format!("files: ['{files}']\n      outputs:"));
        fs::create_dir_all(project.path("data")).unwrap();
        fs::create_dir_all(project.path("other/place")).unwrap();
        symlink("../other/place", project.path("data/more")).unwrap();
        symlink("..", project.path("other/place/loop")).unwrap();
        is_an_input(&project, &project.path("other/place/d.txt"));
    }
}

#[test]
fn each_pattern_under_files_has_to_match() {
    let project = Project::one("true", "");
    project.edit("outputs:", "files: ['in/*.txt', 'inn/*.txt']\n      outputs:");
    project.write("in/a.txt", "");
    let ended = project.run(&[]).expect(2).says(&["no file matches `inn/*.txt`"]);
    assert!(!ended.stderr.contains("in/*.txt` in"), "{}", ended.stderr);
}

#[test]
fn names_that_are_not_unicode_matter_only_where_they_match() {
    let project = Project::one("cat in/* > $PIPE_OUTPUT_text/a", "");
    project.write("in/a.txt", "a\n");
    project.write("other/b.txt", "");
    fs::write(project.path("other").join(OsStr::from_bytes(b"\xff.txt")), "").unwrap();
    fs::create_dir(project.path("other").join(OsStr::from_bytes(b"\xfe"))).unwrap();
    project.edit("outputs:", "files: ['in/*.txt']\n      outputs:");
    project.run(&[]).expect(0);
    project.edit("in/*.txt", "*/*.txt");
    project.run(&[]).expect(2).says(&["is not UTF-8"]);
}

#[test]
fn a_file_that_the_command_creates_is_no_input() {
    for line in
        ["date > made.txt; cat made.txt", "date | tee made.txt", "sh -c 'date > \"made.txt\"; cat made.txt'"]
    {
        let project = Project::one(&format!("{line} > $PIPE_OUTPUT_text/a\necho ran >> HERE/trace"), "");
        project.edit("HERE", project.root().to_str().unwrap());
        project.run(&[]).expect(0);
        project.run(&[]).expect(0);
        assert_eq!(project.read("trace"), "ran\n", "{line}");
        // Where it changes, one more run shows whose file it is.
        for _ in 0..3 {
            fs::write(project.path("made.txt"), "other\n").unwrap();
            project.run(&[]).expect(0);
        }
        assert!(project.read("trace").lines().count() <= 2, "{line}");
    }
}

#[test]
fn a_file_that_was_there_and_that_the_command_writes_is_one_error() {
    let project = Project::one("echo x | tee -a train.log > $PIPE_OUTPUT_text/a", "");
    project.write("train.log", "before\n");
    let ended = project.run(&[]).expect(1);
    ended.says(&["`train.log` changed while the command ran", "$TMPDIR"]);
    // Twice, since somebody might have edited it the first time.
    assert_eq!(project.read("train.log").lines().count(), 3);
    project.run(&[]).expect(1);
    assert_eq!(project.read("train.log").lines().count(), 4);
}

#[test]
fn permissions_that_a_command_sets_are_no_change() {
    let project = Project::one("chmod +x tool.sh; ./tool.sh > $PIPE_OUTPUT_text/a", "");
    project.write("tool.sh", "#!/bin/sh\necho tool\n");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "tool\n");
    assert!(project.run(&[]).expect(0).stderr.contains("cached"));
}

#[test]
fn a_source_that_is_changed_and_put_back_meanwhile_is_noticed() {
    let outside = tempfile::tempdir().unwrap();
    let flag = |name: &str| outside.path().join(name);
    let run = format!(
        "f={}; touch $f/begun; while ! test -e $f/go; do sleep 0.01; done; cat d.txt > $PIPE_OUTPUT_text/a\n\
         touch $f/copied; while ! test -e $f/end; do sleep 0.01; done",
        outside.path().display()
    );
    let project = Project::one(&run, "");
    project.write("d.txt", "v1\n");
    std::thread::sleep(Duration::from_millis(20));
    let engine = project.start(&[]);
    crate::project::wait_for(&flag("begun"));
    let time = fs::metadata(project.path("d.txt")).unwrap().modified().unwrap();
    project.write("d.txt", "v2\n");
    // It reads the other content.
    fs::write(flag("go"), "").unwrap();
    crate::project::wait_for(&flag("copied"));
    project.write("d.txt", "v1\n");
    fs::File::options().write(true).open(project.path("d.txt")).unwrap().set_modified(time).unwrap();
    fs::write(flag("end"), "").unwrap();
    engine.end().expect(0);
    assert_eq!(project.read("out/only/text/a"), "v1\n");
}

#[test]
fn other_files_of_the_project_cost_a_line_nothing() {
    // Folders that cannot be listed would fail whoever walks the project; root may list all of them.
    let project = Project::one("cat in/a.txt > $PIPE_OUTPUT_text/a", "");
    project.write("in/a.txt", "a\n");
    for number in 0..300 {
        project.write(&format!("other/{number}/b.txt"), "");
    }
    project.run(&[]).expect(0);
    let traced = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if traced {
        let trace = project.path("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=openat", "-o"]).arg(&trace);
        command.arg(env!("CARGO_BIN_EXE_pipe")).args(["plan", "pipeline.yaml"]).current_dir(project.root());
        assert!(command.env_remove("PIPE_CACHE").output().unwrap().status.success());
        assert!(!fs::read_to_string(&trace).unwrap().contains("/other/"));
    }
}

#[test]
fn the_environment_is_fixed_unless_a_command_asks_for_the_users() {
    let print = "printf '%s\\n' \"$PATH\" \"$HOME\" > $PIPE_OUTPUT_text/a";
    let project =
        Project::one("env > $PIPE_OUTPUT_text/a; ls -A $TMPDIR/../home > $PIPE_OUTPUT_text/home", "");
    let run = |path: &str, home: &str| {
        let mut command = project.command(&["run", "pipeline.yaml"]);
        command.env("PATH", path).env("HOME", home).env("USER", "nobody");
        Project::ended_of(command.output().unwrap()).expect(0)
    };
    run("/usr/bin:/bin:/one", "/home/one");
    let seen = project.read("out/only/text/a");
    assert!(seen.contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"), "{seen}");
    assert!(!seen.contains("/home/one") && !seen.contains("USER="), "{seen}");
    assert_eq!(project.read("out/only/text/home"), "");
    assert!(run("/usr/bin:/bin:/two", "/home/two").stderr.contains("cached"));

    project.edit("env > $PIPE_OUTPUT_text/a; ls -A $TMPDIR/../home > $PIPE_OUTPUT_text/home", print);
    run("/usr/bin:/bin:/one", "/home/one");
    assert_eq!(project.read("out/only/text/a"), "/usr/bin:/bin:/one\n/home/one\n");
    assert!(run("/usr/bin:/bin:/one", "/home/one").stderr.contains("cached"));
    run("/usr/bin:/bin:/two", "/home/one");
    assert_eq!(project.read("out/only/text/a"), "/usr/bin:/bin:/two\n/home/one\n");
}

#[test]
fn values_that_are_not_unicode_reach_a_command_and_its_key() {
    let project = Project::one("printf %s \"$RAW\" > $PIPE_OUTPUT_text/a", "");
    project.edit("outputs:", "env: [RAW]\n      outputs:");
    for value in [&b"\xff1"[..], b"\xfe1", b"\xff1"] {
        let mut command = project.command(&["run", "pipeline.yaml"]);
        Project::ended_of(command.env("RAW", OsStr::from_bytes(value)).output().unwrap()).expect(0);
        assert_eq!(fs::read(project.path("out/only/text/a")).unwrap(), value);
    }
}

#[test]
fn a_file_that_somebody_else_made_while_the_command_ran_is_an_input_once_it_changes() {
    let outside = tempfile::tempdir().unwrap();
    let go = outside.path().join("go");
    let line = format!(
        "touch {0}.begun; while ! test -e {0}; do sleep 0.05; done; cat extra.txt > $PIPE_OUTPUT_text/a || echo none > $PIPE_OUTPUT_text/a",
        go.display()
    );
    let project = Project::one(&line, "");
    let engine = project.start(&[]);
    crate::project::wait_for(&go.with_extension("begun"));
    project.write("extra.txt", "user\n");
    fs::write(&go, "").unwrap();
    engine.end().expect(0);
    assert_eq!(project.read("out/one/only/text/a"), "user\n");
    project.run(&[]).expect(0);
    project.write("extra.txt", "changed by the user\n");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/one/only/text/a"), "changed by the user\n");
}

#[test]
fn what_a_command_builds_in_a_folder_is_no_input_and_no_error() {
    let line = "mkdir -p build; cd build; cat ../src.txt > app; echo NUMBER >> app; cp app $PIPE_OUTPUT_text/a; echo ran >> ../trace";
    let project = Project::one(line, "");
    project.write("src.txt", "one\n");
    project.write("build/app", "of another build\n");
    for number in ["1", "2"] {
        project.edit("NUMBER", number);
        project.run(&[]).expect(0);
        project.run(&[]).expect(0);
        let before = project.read("trace").lines().count();
        project.run(&[]).expect(0);
        assert_eq!(project.read("trace").lines().count(), before, "nothing to do");
        assert_eq!(project.read("out/only/text/a"), format!("one\n{number}\n"));
        project.edit(&format!("echo {number}"), "echo NUMBER");
    }
    assert!(project.read("trace").lines().count() <= 3, "{}", project.read("trace"));
}

#[test]
fn patterns_at_the_root_of_a_project_leave_out_what_pipe_writes() {
    let project = Project::new(
        "pipeline: p\nstages:\n  made:\n    uses: command\n    with: { run: 'echo made > $PIPE_OUTPUT_o/made.txt', outputs: { o: files } }\n  \
         all: { uses: ingest, with: { sources: [{ glob: '**/*.txt', name: s }] } }\n  \
         same:\n    uses: command\n    with: { run: 'date > $PIPE_OUTPUT_o/made.txt', files: ['**/*.txt'], outputs: { o: files } }\n",
    );
    project.write("data/a.txt", "one\n");
    project.run(&["--cache", "kept/here"]).expect(0);
    project.run(&["--cache", "kept/here"]).expect(0);
    let again = project.run(&["--cache", "kept/here"]).expect(0);
    let shown = ["show", "pipeline.yaml", "all", "--json", "--cache", "kept/here"];
    let shown = project.pipe(&shown).expect(0).json();
    assert_eq!(shown["record"]["metrics"][0]["value"], 1.0, "{shown}");
    assert!(again.stderr.contains("cached"), "{}", again.stderr);
    project.pipe(&["plan", "pipeline.yaml", "--detailed-exitcode", "--cache", "kept/here"]).expect(0);
}

#[test]
fn what_is_read_in_spite_of_words_that_look_like_redirections_is_an_input() {
    for line in [
        "echo \"sorting -> d.txt\"; cat d.txt > $PIPE_OUTPUT_text/a",
        "cat > /dev/null <<E\nraw > d.txt\nE\ncat d.txt > $PIPE_OUTPUT_text/a",
        "test 1 -gt 2 && echo new > d.txt || true; cat d.txt > $PIPE_OUTPUT_text/a",
    ] {
        let project = Project::one(line, "");
        is_an_input(&project, &project.path("d.txt"));
    }
}

#[test]
fn what_python_writes_beside_modules_is_no_input() {
    let project = Project::one("cat lib/a.py > $PIPE_OUTPUT_text/a", "");
    project.edit("outputs:", "files: [lib, 'more/**']\n      outputs:");
    project.write("lib/a.py", "a = 1\n");
    project.write("more/deep/b.py", "b = 1\n");
    project.run(&[]).expect(0);
    project.write("lib/__pycache__/a.cpython-313.pyc", "code");
    project.write("more/deep/__pycache__/b.cpython-313.pyc", "code");
    assert_eq!(project.outcomes(&[])["only"], "cached");
    project.write("more/deep/b.py", "b = 2\n");
    assert_eq!(project.outcomes(&[])["only"], "ran");
}

#[test]
fn names_in_folders_within_folders_are_inputs() {
    for line in ["cd one; cd two; cat a.txt", "cat .//one/two/./a.txt", "cat one//two/a.txt"] {
        let project = Project::one(&format!("{line} > $PIPE_OUTPUT_text/a"), "");
        project.write("one/two/a.txt", "first\n");
        project.run(&[]).expect(0);
        assert_eq!(project.outcomes(&[])["only"], "cached", "{line}");
        project.write("one/two/a.txt", "second\n");
        assert_eq!(project.outcomes(&[])["only"], "ran", "{line}");
    }
}
