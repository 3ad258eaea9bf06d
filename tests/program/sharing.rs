//! Several runs at once on one cache.

use crate::project::{Project, STAGES, wait_for};
use rustix::process::Signal;
use std::{fs, path::Path};

/// A command that is noted in a file when it begins, and then takes a while.
fn noted(count: &Path) -> String {
    format!("echo x >> {}; sleep 0.4;", count.display())
}

#[test]
fn two_runs_do_the_work_once() {
    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let project = Project::letters(&noted(&count));
    let one = project.start(&[]);
    wait_for(&count);
    let other = project.start(&[]);
    let (one, other) = (one.end().expect(0), other.end().expect(0));
    assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), STAGES.len());
    let waited = |told: &str| told.contains("waiting: process") && told.contains("computed by another run");
    assert!(waited(&other.stderr) || waited(&one.stderr), "{}\n{}", one.stderr, other.stderr);
    assert_eq!(project.ran(&[]), [""; 0]);
    project.assert_clean();
}

#[test]
fn two_projects_share_a_cache() {
    let outside = tempfile::tempdir().unwrap();
    let (count, cache) = (outside.path().join("count"), outside.path().join("cache"));
    let (one, other) = (Project::letters(&noted(&count)), Project::letters(&noted(&count)));
    let more = ["--cache", cache.to_str().unwrap()];
    let (first, second) = (one.start(&more), other.start(&more));
    first.end().expect(0);
    second.end().expect(0);
    assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), STAGES.len());
    assert_eq!(one.outputs(), other.outputs());
    assert_eq!(other.read("out/report/report/all.txt"), "abc\nwxyzABC\nWXYZ");
    one.pipe(&["cache", "verify", "--cache", more[1]]).expect(0);
}

#[test]
fn who_waits_for_a_killed_run_takes_over() {
    let outside = tempfile::tempdir().unwrap();
    let count = outside.path().join("count");
    let project = Project::letters(&noted(&count));
    let one = project.start(&[]);
    wait_for(&count);
    let other = project.start(&[]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    one.signal_group(Signal::KILL);
    assert_eq!(one.end().code, None);
    other.end().expect(0);
    let begun = fs::read_to_string(&count).unwrap().lines().count();
    assert!((STAGES.len()..=STAGES.len() + 2).contains(&begun), "{begun} commands began");
    project.assert_clean();
}
