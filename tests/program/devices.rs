//! What a stage asks of the machine, and what is told where it is not there.

use crate::tiny::Tiny;
use std::fs;

/// The way of `tiny.yaml`, up to `base` on this backend.
fn on(backend: &str) -> Vec<String> {
    vec!["--set".to_owned(), format!("stages.base.with.backend={backend}")]
}

#[test]
fn auto_is_settled_before_keys_are_made() {
    let tiny = Tiny::new();
    let plan = |more: &[String]| {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let output = tiny.pipe(&[&["plan", "pipeline.yaml", "base", "--json"], &more[..]].concat());
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["stages"].as_array().unwrap().last().unwrap().clone()
    };
    tiny.run(&["tokens"]);
    let (written, auto) = (plan(&on("cpu")), plan(&on("auto")));
    assert_ne!(written["recipe"], auto["recipe"], "the recipe has what was asked for");
    let has_gpu =
        std::path::Path::new("/dev/nvidiactl").exists() || std::path::Path::new("/dev/dri").exists();
    if !has_gpu {
        assert_eq!(written["key"], auto["key"], "the key has what it came to");
    }
    let remembered = fs::read_dir(tiny.project.path(".pipe/stamps")).unwrap();
    let names: Vec<_> = remembered.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name == "devices-burn"), "{names:?}");
}

/// The probe is a process of the program that was started, also where its file is gone by then.
#[test]
#[cfg(target_os = "linux")]
fn devices_are_found_by_a_program_that_was_deleted() {
    let tiny = Tiny::new();
    let outside = tempfile::tempdir().unwrap();
    let program = outside.path().join("pipe");
    fs::copy(env!("CARGO_BIN_EXE_pipe"), &program).unwrap();
    let plan = "plan pipeline.yaml base --json --set stages.base.with.backend=auto";
    let line = format!("exec 9< {0}; rm {0}; exec /proc/self/fd/9 {plan}", program.display());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line]).current_dir(tiny.project.root()).env_remove("PIPE_CACHE");
    let ended = crate::project::Project::ended_of(shell.output().unwrap()).expect(0);
    assert!(!ended.stdout.contains("cannot start the probe"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("probe"), "{}", ended.stderr);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_there_is_a_note_in_plans_and_an_error_in_runs() {
    let tiny = Tiny::new();
    let call = |command: &str, more: &[&str]| {
        let cuda = on("cuda");
        let words = [&[command, "pipeline.yaml"], more, &[cuda[0].as_str(), cuda[1].as_str()]].concat();
        crate::project::Project::ended_of(tiny.command(&words).output().unwrap())
    };
    call("check", &[]).expect(0).says(&["stage `base` cannot run here", "feature `cuda`"]);
    call("plan", &[]).expect(0).says(&["stage `base` cannot run here", "--features cuda"]);
    let refused = call("run", &[]).expect(2);
    let refused =
        refused.says(&["pipe::manifest::missing_device", "is not in this build", "--features cuda"]);
    assert!(!refused.stderr.contains("pages: running"), "nothing has started");
    call("run", &["tokens"]).expect(0);
}

/// Needs a Vulkan driver; Mesa's software one will do (Debian: mesa-vulkan-drivers).
#[cfg(feature = "wgpu")]
#[test]
fn wgpu_follows_the_losses_of_the_cpu() {
    let tiny = Tiny::new();
    tiny.run(&["tokens"]);
    let losses = |backend: &str| -> Vec<f64> {
        let mut sets = on(backend);
        let fields = ["steps=20", "warmup_steps=5", "validation.eval_interval=0", "samples.prompts=[]"];
        sets.extend(
            fields.iter().flat_map(|field| ["--set".to_owned(), format!("stages.base.with.{field}")]),
        );
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        tiny.run(&[&["base"], &sets[..]].concat());
        tiny.pipe(&[&["get", "pipeline.yaml", "base.history", backend], &sets[..]].concat());
        let history = tiny.project.read(&format!("{backend}/history.jsonl"));
        let point =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
        history.lines().map(point).collect()
    };
    let (cpu, wgpu) = (losses("cpu"), losses("wgpu"));
    assert_eq!(cpu.len(), 20);
    let off = cpu.iter().zip(&wgpu).map(|(cpu, wgpu)| (cpu - wgpu).abs()).fold(0.0, f64::max);
    assert!(off < 1e-4 && cpu[19] < cpu[0], "off by {off}:\n{cpu:?}\n{wgpu:?}");
    println!("off by at most {off:.1e} over 20 steps");
}
