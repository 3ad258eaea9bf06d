//! `pipe cache gc` and pins: what is needed stays, the rest goes, and a run makes it again.

use crate::project::{Project, STAGES, wait_for};
use serde_json::Value;
use std::fs;

/// Everything may go, however young.
const ALL: [&str; 9] = ["cache", "gc", "--max-size", "0B", "--recent", "0s", "--young", "0s", "--json"];

fn collect(project: &Project) -> Value {
    project.pipe(&ALL).expect(0).json()
}

#[test]
fn what_the_lock_file_leads_to_stays() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    project.edit("head -c 4", "head -c 3");
    project.run(&["report"]).expect(0);
    let before = project.objects().len();
    let told = collect(&project);
    assert!(project.objects().len() < before && told["gone"][0]["made_by"] == "command", "{told}");
    project.edit("head -c 3", "head -c 4");
    assert_eq!(project.ran(&[]), [""; 0]);
    project.pipe(&["get", "pipeline.yaml", "report", "report"]).expect(0);
    assert_eq!(project.read("report/all.txt"), "abc\nwxyzABC\nWXYZ");
    project.assert_clean();
}

#[test]
fn what_nothing_leads_to_goes_and_is_made_again() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let outputs = project.outputs();
    fs::remove_file(project.path("pipeline.lock")).unwrap();
    let rehearsed = project.pipe(&[&ALL[..], &["--dry-run"]].concat()).expect(0).json();
    assert!(!project.objects().is_empty());
    let told = collect(&project);
    assert_eq!(told["gone"], rehearsed["gone"]);
    assert!(project.objects().is_empty(), "{told}");
    project.pipe(&["cache", "verify"]).expect(0);
    assert_eq!(project.ran(&[]), STAGES);
    assert_eq!(project.outputs(), outputs);
    project.assert_clean();
}

#[test]
fn what_is_recent_or_young_stays() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    fs::remove_file(project.path("pipeline.lock")).unwrap();
    let before = project.objects();
    let kept = project.pipe(&["cache", "gc", "--max-size", "0B", "--recent", "0s"]).expect(0);
    kept.says(&["pinned, locked, in use or recent"]);
    project.pipe(&["cache", "gc", "--max-size", "0", "--young", "0s"]).expect(0);
    project.pipe(&["cache", "gc", "--max-size", "1GiB", "--recent", "0", "--young", "0"]).expect(0);
    assert_eq!(project.objects(), before);
}

#[test]
fn a_pinned_run_stays() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    fs::remove_file(project.path("pipeline.lock")).unwrap();
    project.pipe(&["cache", "pins"]).expect(0).says(&["no run is pinned"]);
    project.pipe(&["cache", "pin", "last"]).expect(0).says(&["pinned 2"]);
    project.pipe(&["cache", "pins"]).expect(0).prints(&["letters"]);
    let before = project.objects();
    collect(&project);
    assert_eq!(project.objects(), before);
    project.pipe(&["history", "pipeline.yaml"]).expect(0).prints(&["(pinned)"]);
    project.pipe(&["cache", "unpin", "last"]).expect(0);
    collect(&project);
    assert!(project.objects().is_empty());
    project.pipe(&["cache", "pin", "nothing"]).expect(2).says(&["no run `nothing`"]);
}

#[test]
fn no_more_goes_than_has_to_and_the_cheapest_first() {
    let slow = "\
pipeline: costs
stages:
  quick:
    uses: command
    with: { run: 'head -c 100000 /dev/zero > $PIPE_OUTPUT_text/a', outputs: { text: files } }
  slow:
    uses: command
    with: { run: 'sleep 2; head -c 100001 /dev/zero > $PIPE_OUTPUT_text/a', outputs: { text: files } }
";
    let project = Project::new(slow);
    project.run(&[]).expect(0);
    fs::remove_file(project.path("pipeline.lock")).unwrap();
    let gc = ["cache", "gc", "--max-size", "150kB", "--recent", "0s", "--young", "0s"];
    project.pipe(&gc).expect(0);
    let left: Vec<u64> = project.objects().iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert!(left.contains(&100_001) && !left.contains(&100_000), "{left:?}");
}

#[test]
fn garbage_is_collected_beside_a_run() {
    let project = Project::letters("");
    project.write(
        "pipeline.yaml",
        &project
            .read("pipeline.yaml")
            .replace("'tr a-z", "'touch there; while ! [ -e go ]; do sleep 0.05; done; tr a-z"),
    );
    let engine = project.start(&[]);
    wait_for(&project.path("there"));
    for _ in 0..3 {
        collect(&project);
    }
    project.write("go", "");
    engine.end().expect(0);
    assert_eq!(project.read("out/report/report/all.txt"), "abc\nwxyzABC\nWXYZ");
    project.assert_clean();
}

#[test]
fn checkpoints_of_a_pinned_or_recent_run_stay() {
    let project = Project::one("echo half > $PIPE_DURABLE/state; exit 3", "");
    project.run(&[]).expect(1);
    let checkpoints = || fs::read_dir(project.path(".pipe/work/durable")).unwrap().count();
    let gc = |recent: &str| {
        let words = ["cache", "gc", "--max-size", "1GiB", "--recent", recent, "--checkpoints", "0s"];
        project.pipe(&words).expect(0);
    };
    project.pipe(&["cache", "pin", "last"]).expect(0);
    gc("0s");
    assert_eq!(checkpoints(), 1, "a pinned run needs them");
    project.pipe(&["cache", "unpin", "last"]).expect(0);
    gc("1d");
    assert_eq!(checkpoints(), 1, "a recent run needs them");
    gc("0s");
    assert_eq!(checkpoints(), 0);
}

#[test]
fn the_cache_is_found_whatever_manifests_are_called() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    fs::copy(project.path("pipeline.yaml"), project.path("x.yaml")).unwrap();
    project.pipe(&["cache", "du"]).expect(0);
    project.pipe(&["cache", "verify"]).expect(0);
}
