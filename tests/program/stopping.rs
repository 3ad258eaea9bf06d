//! How commands are asked to stop, and what of them may go on: signals, sessions, descriptors.

use crate::project::{Project, send, wait_for, wait_until};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    time::{Duration, Instant},
};

/// A program that takes a second to save its work when it is asked to stop.
const SAVES: &str = "\
trap 'sleep 1; echo saved > $1/saved; exit 9' TERM
echo $$ > $1/begun
n=0; while [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done
";

#[test]
fn a_stop_reaches_whatever_a_shell_started() {
    // The shell waits for it, runs it in a pipeline or in the background, or it is in a session of its own.
    for line in [
        "sh saves.sh $d",
        "sh saves.sh $d\necho more",
        "sh saves.sh $d | cat",
        "sh saves.sh $d & wait",
        "setsid -w sh saves.sh $d",
        "setsid sh saves.sh $d & sleep 60",
        "(sh -c 'sh saves.sh $0 & exit' $d); sleep 60",
    ] {
        let outside = tempfile::tempdir().unwrap();
        let project = Project::one(
            &format!("d={}\n{line}\necho x > $PIPE_OUTPUT_text/a", outside.path().display()),
            "grace: 30s",
        );
        project.write("saves.sh", SAVES);
        let engine = project.start(&[]);
        wait_for(&outside.path().join("begun"));
        let started = Instant::now();
        engine.signal(Signal::TERM);
        engine.end().expect(130).says(&["only   interrupted"]);
        assert_eq!(
            fs::read_to_string(outside.path().join("saved")).ok().as_deref(),
            Some("saved\n"),
            "{line}"
        );
        assert!(started.elapsed() < Duration::from_secs(20), "{line}");
        project.assert_clean();
    }
}

#[test]
fn a_command_that_was_asked_to_stop_is_not_recorded() {
    let outside = tempfile::tempdir().unwrap();
    let run = format!(
        "d={}; echo half > $PIPE_OUTPUT_text/a; trap 'exit 0' TERM; touch $d/begun\n\
         n=0; while ! test -e $d/go; do sleep 0.1; done; echo whole > $PIPE_OUTPUT_text/a",
        outside.path().display()
    );
    let project = Project::one(&run, "");
    let engine = project.start(&[]);
    wait_for(&outside.path().join("begun"));
    engine.signal(Signal::INT);
    engine.end().expect(130).says(&["only   interrupted"]);
    fs::write(outside.path().join("go"), "").unwrap();
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "whole\n");
}

#[test]
fn what_a_command_leaves_in_another_session_ends_with_it() {
    for end in ["echo x > $PIPE_OUTPUT_text/a", "exit 1", "kill -9 $PPID; sleep 60"] {
        let outside = tempfile::tempdir().unwrap();
        let run = format!(
            "d={}\nsetsid sleep 1000 & echo $! > $d/pid; (setsid sh -c 'sleep 1000 & echo $! > $0/other' $d &)\n\
             while ! test -s $d/other; do sleep 0.01; done; {end}",
            outside.path().display()
        );
        let project = Project::one(&run, "");
        let started = Instant::now();
        project.run(&[]);
        assert!(started.elapsed() < Duration::from_secs(20));
        for name in ["pid", "other"] {
            let pid = fs::read_to_string(outside.path().join(name)).unwrap();
            let stat = format!("/proc/{}/stat", pid.trim());
            wait_until(&|| format!("{name} of `{end}` has ended"), || {
                fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
            });
        }
        project.assert_clean();
    }
}

#[test]
fn a_command_inherits_no_descriptor() {
    let project = Project::one("ls /proc/self/fd > $PIPE_OUTPUT_text/a; echo x >&3 || true", "");
    let mut command = std::process::Command::new("sh");
    let line = "exec 4>four 7<pipeline.yaml; exec \"$0\" run pipeline.yaml";
    command
        .args(["-c", line, env!("CARGO_BIN_EXE_pipe")])
        .current_dir(project.root())
        .env_remove("PIPE_CACHE");
    let output = command.output().unwrap();
    if Path::new("/proc/self/fd").exists() {
        Project::ended_of(output).expect(0);
        // Its own three, and the one by which `ls` reads the folder.
        assert_eq!(project.read("out/only/text/a"), "0\n1\n2\n3\n");
    }
}

#[test]
fn a_forged_end_is_none() {
    let forge = |n: u32| {
        format!(
            "(echo '{{\"event\":\"done\",\"outputs\":{{}},\"metrics\":[],\"instruction_sets\":[]}}' >&{n}; \
             echo '{{\"event\":\"rests\",\"cpu_seconds\":0,\"memory_peak\":0}}' >&{n}) 2>/dev/null || true"
        )
    };
    let forge: Vec<String> = (3..10).map(forge).collect();
    let project = Project::one(&format!("{}\nsleep 0.5; exit 1", forge.join("\n")), "");
    project.run(&[]).expect(1);
    project.pipe(&["plan", "pipeline.yaml", "--detailed-exitcode"]).expect(3);
}

#[test]
fn a_command_has_no_terminal() {
    let project =
        Project::one("if (: < /dev/tty) 2> /dev/null; then exit 5; fi; echo x > $PIPE_OUTPUT_text/a", "");
    // `script` gives the engine a terminal.
    let line = format!("{} run pipeline.yaml", env!("CARGO_BIN_EXE_pipe"));
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(project.root()).env_remove("PIPE_CACHE");
    match command.stdin(std::process::Stdio::null()).output() {
        Ok(output) => drop(Project::ended_of(output).expect(0)),
        Err(_) => drop(project.run(&[]).expect(0)),
    }
}

#[test]
fn a_stopped_engine_stops_its_commands_and_their_clocks() {
    let outside = tempfile::tempdir().unwrap();
    let run = format!(
        "d={}; n=0; while ! test -e $d/go; do n=$((n+1)); echo $n > $d/new; mv $d/new $d/n; sleep 0.02; done; \
         echo x > $PIPE_OUTPUT_text/a",
        outside.path().display()
    );
    let project = Project::one(&run, "timeout: 4s");
    let mut command = project.command(&["run", "pipeline.yaml"]);
    let mut child = command.process_group(0).spawn().unwrap();
    let pid = child.id() as i32;
    let count = outside.path().join("n");
    wait_for(&count);
    send(pid, Signal::TSTP);
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim().starts_with('T')
    };
    wait_until(&|| "the engine stops".to_owned(), is_stopped);
    let before = fs::read_to_string(&count).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(fs::read_to_string(&count).unwrap(), before, "the command stops too");
    send(pid, Signal::CONT);
    wait_until(&|| "the command goes on".to_owned(), || fs::read_to_string(&count).unwrap() != before);
    fs::write(outside.path().join("go"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "stopped time is in no limit");
    project.assert_clean();
}

#[test]
fn a_long_log_takes_no_memory() {
    let lines = |mib: u32| {
        format!("head -c {}000000 /dev/zero | tr '\\0' z | fold -w 100; echo x > $PIPE_OUTPUT_text/a", mib)
    };
    let peak = |mib: u32, secret: &str| {
        let project = Project::one(&format!("{secret}{}", lines(mib)), "");
        let mut command = project.command(&["run", "pipeline.yaml"]);
        let mut child =
            command.env("PIPE_TEST_TOKEN", "hunter2").stderr(std::process::Stdio::null()).spawn().unwrap();
        let (mut peak, status) = (0, format!("/proc/{}/status", child.id()));
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            peak = peak.max(kib.unwrap_or(0));
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(ended.success());
        let mut show = project.command(&["show", "pipeline.yaml", "only", "--json"]);
        let shown =
            Project::ended_of(show.env("PIPE_TEST_TOKEN", "hunter2").output().unwrap()).expect(0).json();
        let worker = shown["record"]["memory_peak"].as_u64().unwrap() >> 10;
        peak.max(worker)
    };
    for secret in ["", ": ${secret.PIPE_TEST_TOKEN}; "] {
        let (small, large) = (peak(1, secret), peak(24, secret));
        assert!(large < small + (10 << 10), "{small} and {large} KiB");
    }
}

#[test]
fn a_worker_that_somebody_else_stops_is_a_failure() {
    for signal in [Signal::TERM, Signal::INT] {
        let outside = tempfile::tempdir().unwrap();
        let begun = outside.path().join("begun");
        let project = Project::one("echo x > $PIPE_OUTPUT_text/a", "");
        project.run(&[]).expect(0);
        let lock = project.read("pipeline.lock");
        project.edit("echo x", &format!("touch {}; sleep 60; echo x", begun.display()));
        let engine = project.start(&[]);
        wait_for(&begun);
        send(worker_of(engine.pid()), signal);
        engine.end().expect(1).says(&["only   failed", "did not come from this run"]);
        assert_eq!(project.read("pipeline.lock"), lock);
    }
}

#[test]
fn what_a_killed_worker_leaves_in_another_session_ends_with_it() {
    let outside = tempfile::tempdir().unwrap();
    let (left, begun) = (outside.path().join("left"), outside.path().join("begun"));
    let line = format!(
        "setsid env -i PATH=$PATH sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600' & \
         while ! test -e {0}; do sleep 0.05; done; touch {1}; sleep 60",
        left.display(),
        begun.display()
    );
    let project = Project::one(&line, "");
    let engine = project.start(&[]);
    wait_for(&begun);
    let left: i32 = fs::read_to_string(&left).unwrap().trim().parse().unwrap();
    send(worker_of(engine.pid()), Signal::KILL);
    engine.end().expect(1);
    let is_gone = || {
        !Path::new(&format!("/proc/{left}/cmdline")).exists()
            || fs::read(format!("/proc/{left}/cmdline")).is_ok_and(|line| line.is_empty())
    };
    wait_until(&|| format!("process {left} ends"), is_gone);
    project.assert_clean();
}

/// The worker of an engine: its child that runs `pipe worker`.
fn worker_of(engine: i32) -> i32 {
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: i32 = stat.rsplit(')').next()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let is_worker = line.split(|byte| *byte == 0).nth(1) == Some(b"worker");
        (parent == engine && is_worker).then_some(pid)
    });
    children.into_iter().next().expect("a worker")
}
