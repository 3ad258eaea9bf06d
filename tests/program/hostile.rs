//! Manifests that are wrong or mean harm: exit code 2, soon, in bounded memory.

use crate::project::Project;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(20);
/// KiB of address space: far below what each of these manifests would take if it were expanded.
const SPACE_KIB: u64 = 3 << 20;

/// Checks a manifest with bounded memory; returns what it was told.
fn refused(bytes: &[u8]) -> String {
    let project = Project::new("");
    fs::write(project.path("pipeline.yaml"), bytes).unwrap();
    let started = Instant::now();
    let ended = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {SPACE_KIB}; exec {} run pipeline.yaml", env!("CARGO_BIN_EXE_pipe")))
        .current_dir(project.root())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    let start: String = told.chars().take(2000).collect();
    assert_eq!(ended.status.code(), Some(2), "{start}");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(told.contains("pipe::manifest::") && told.len() < 1 << 20, "{} bytes: {start}", told.len());
    assert!(!project.path(".pipe").exists(), "a wrong manifest leaves nothing behind");
    told
}

#[test]
fn bombs_are_refused() {
    let levels = |first: &str, line: &dyn Fn(usize) -> String| {
        format!("pipeline: p\nstages: {{}}\nvars:\n  v0: {first}\n{}", (1..60).map(line).collect::<String>())
    };
    refused(levels("&v0 [x]", &|n| format!("  v{n}: &v{n} [*v{0}, *v{0}]\n", n - 1)).as_bytes());
    refused(levels("xxxxxxxx", &|n| format!("  v{n}: ${{vars.v{0}}}${{vars.v{0}}}\n", n - 1)).as_bytes());
}

#[test]
fn large_and_deep_texts_are_refused() {
    let mut large = b"pipeline: p\nstages: {}\nvars: { v: '".to_vec();
    large.resize(100 << 20, b'x');
    refused(&large);
    refused(format!("pipeline: p\nstages: {}", "[".repeat(1 << 20)).as_bytes());
    refused((0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>().as_bytes());
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    refused(b"pipeline: a\0b\nstages: {}\n");
    refused(b"pipeline: \xff\xfe\nstages: {}\n");
    refused(b"");
}

#[test]
fn a_folder_or_a_device_is_no_manifest() {
    let project = Project::new("");
    for manifest in [".", "/dev/zero", "/proc/self/mem"] {
        let started = Instant::now();
        project.pipe(&["run", manifest]).expect(2);
        assert!(started.elapsed() < SOON, "{manifest}");
    }
}

#[test]
fn all_faults_are_told_at_once_each_at_its_place() {
    let told = refused(
        b"pipeline: p\nstages:\n  a:\n    uses: comand\n  b:\n    uses: command\n    need: a\n    with: { rn: x, outputs: { t: files } }\n  \
          c: { uses: command, needs: { x: bb }, with: { run: '${vars.none}', outputs: { t: files } } }\n  \
          d: { uses: command, needs: { x: e }, with: { run: x, outputs: { t: files } } }\n  \
          e: { uses: command, needs: { x: d }, with: { run: x, outputs: { t: files } } }\n",
    );
    for (text, line) in [("comand", 4), ("need", 7), ("rn", 8), ("bb", 9), ("vars.none", 9), ("d -> e", 10)] {
        assert!(told.contains(text) && told.contains(&format!("pipeline.yaml:{line}")), "{text} in:\n{told}");
    }
    assert!(told.contains("did you mean `command`?"), "{told}");
}
