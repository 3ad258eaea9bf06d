//! The engine as a library: loads a manifest, plans it, runs it, and handles its events.
//!
//! ```sh
//! cargo run --release --no-default-features --example embed -- examples/embed.yaml
//! ```

use pipe::{
    command::Command,
    graph::Graph,
    lock::Lock,
    manifest::{World, load},
    plan::{Session, Verdict},
    project::Project,
    run::{self, Options, RunEvent},
    stage_type::StageType,
};
use pipe_stage::Store;
use std::{error::Error, path::Path, process::ExitCode};

/// The stage types that manifests can use; a program with `pipe-data` also lists `StageType::of::<Clean>()`.
static STAGES: [StageType; 1] = [StageType::with_own_ports::<Command>()];

fn main() -> ExitCode {
    // Stages run in separate processes of this program.
    if matches!(std::env::args().nth(1).as_deref(), Some("worker" | "watcher")) {
        return pipe::cli::main(&STAGES);
    }
    let manifest = std::env::args().nth(1).unwrap_or_else(|| "examples/embed.yaml".to_owned());
    match embed(&manifest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a whole manifest; returns whether every stage is up to date at the end.
fn embed(path: &str) -> Result<bool, Box<dyn Error>> {
    // A manifest that loads is valid; an error shows all errors with their locations.
    let manifest = load(path, &[], &World::machine(), &STAGES)?;
    let stages = Graph::new(&manifest).subset(&[]);
    let project = Project::of(Path::new(path), None)?;
    let store = Store::open(&project.cache)?;
    let lock = Lock::read(&project.lock())?.unwrap_or_default();
    let mut session =
        Session::new(manifest, &STAGES, project, store, lock, &stages, &|name| std::env::var(name).ok())?;

    for planned in session.plan(&stages, &[])? {
        let told = match &planned.verdict {
            Verdict::Cached(record) => format!("cached since {}", record.finished),
            Verdict::Run(work) => {
                let reasons: Vec<String> = work.reasons.iter().map(ToString::to_string).collect();
                format!("would run: {}", reasons.join("; "))
            }
            Verdict::DependsOn(upstream) => {
                let names: Vec<&str> = upstream.iter().map(|stage| session.name(*stage)).collect();
                format!("depends on {}", names.join(", "))
            }
            Verdict::Gone => "would fail: it is frozen, and its result is not in the cache".to_owned(),
        };
        println!("{}: {told}", session.name(planned.stage));
    }

    // Nobody interrupts this run; a program with a Stop button gives a channel of its own.
    let interrupts = crossbeam_channel::never();
    let options = Options { is_full: true, ..Options::default() };
    let mut tell = |event: &RunEvent| match serde_json::to_string(event) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("{error}"),
    };
    let summary = run::run(&mut session, &stages, &[], &options, &interrupts, &mut tell)?;
    for (stage, (_, record)) in &summary.done {
        for (port, digest) in &record.outputs {
            println!("{}.{port} is {digest}", session.name(*stage));
        }
    }
    Ok(!summary.has_failed() && !summary.interrupted)
}
