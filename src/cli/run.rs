//! `pipe run`.

use super::{Command, Failure, Outcome, Pins, Pipeline, Program, selection::Selection};
use crate::{
    figures::Figures,
    lock::{Lock, LockedStage},
    plan::{Session, Verdict},
    run::{self, OnFailure, Options, RunError, RunEvent, Summary},
    secrets::Secrets,
    stage_type::StageType,
    ui::{self, Progress, Stream},
};
use clap::Parser;
use crossbeam_channel::{Receiver, unbounded};
use pipe_stage::{Error, Store};

/// Run the stages that are out of date.
#[derive(Parser)]
#[command(
    name = "run",
    after_help = "Example: pipe run pipelines/gpt-small.yaml base --set stages.base.with.seed=2"
)]
pub(super) struct RunCommand {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    selection: Selection,
    /// Maximum number of stages that run at once [default: as many as fit].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// CPU cores to use [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// Fail if the manifest or a result differs from the lock file.
    #[arg(long)]
    locked: bool,
    /// Accept the installed revisions of sources and what servers have now, and write them to the lock file.
    #[arg(long, conflicts_with = "locked")]
    update_pins: bool,
    /// When a stage fails, continue with stages that do not depend on it.
    #[arg(long)]
    keep_going: bool,
    /// Shell command that receives the events of the run on stdin, one JSON object per line; repeatable.
    #[arg(long, value_name = "CMD")]
    observe: Vec<String>,
    /// Start even if free disk space is below what these stages used last time.
    #[arg(long)]
    ignore_disk: bool,
}

impl Command for RunCommand {
    fn run(self, program: &Program<'_>) -> Outcome {
        let (mut session, stages, targets) = self.session(program.types)?;
        // Created only now that the manifest and its sources are valid.
        Store::open(&session.project.cache)?;
        session.keep_listings();
        let locked = session.lock.clone();
        let recipes = session.recipes(&stages);
        if self.locked && locked.stages.is_empty() {
            let message = format!("there is no lock file `{}`", session.project.lock().display());
            let help = "run it once without `--locked`, and commit the lock file";
            return Err(Failure::Failed(message, Some(help.to_owned())));
        }
        if self.locked {
            check_recipes(&session, &locked, &stages, &recipes)?;
        }
        session.refuse_unsettled(&stages)?;
        let is_full = self.selection.is_full() && self.pipeline.sets.is_empty();
        let locked =
            if is_full && !self.locked && !self.update_pins { pinned(&session, locked)? } else { locked };
        let options = Options {
            jobs: self.jobs.map(|jobs| jobs as usize),
            cpus: self.cpus.map(|cpus| cpus as usize),
            is_full,
            is_locked: self.locked,
            on_failure: if self.keep_going { OnFailure::KeepGoing } else { OnFailure::Stop },
            ignore_disk: self.ignore_disk,
        };
        let mut progress = Progress::new(self.pipeline.style());
        let observers = [&session.manifest.observers[..], &self.observe].concat();
        let secrets = Secrets::of_variables(session.manifest.used.secrets.iter().map(String::as_str));
        let mut stream = Stream::new(observers, &session.project.root, secrets);
        let mut tell = |event: &RunEvent| {
            stream.tell(event);
            progress.tell(event);
        };
        let ended = run::run(&mut session, &stages, &targets, &options, &interrupts(), &mut tell);
        let summary = ended.map_err(failure)?;
        let kept = if self.locked {
            check_bytes(&summary)
        } else if is_full && !summary.has_failed() && !summary.interrupted {
            write_lock(&session, locked, &summary, &recipes)
        } else {
            Ok(())
        };
        let figures = Figures::of(&session.manifest, &summary.done);
        let unmet = figures.unmet().count();
        progress.end(&summary, &figures);
        summary.notes.iter().for_each(|note| ui::say(note));
        // Last, since observers may be slow.
        stream.end(&summary, &figures).iter().for_each(|message| ui::say(message));
        if let Some(error) = summary.broken {
            return Err(failure(error));
        }
        kept?;
        match (summary.has_failed(), summary.interrupted) {
            (true, _) => Err(Failure::Reported),
            (false, true) => Err(Failure::Interrupted),
            (false, false) if !figures.faults.is_empty() => {
                Err(Failure::Manifest(session.manifest.report(figures.faults)))
            }
            (false, false) if unmet > 0 => {
                let help = "all stages have run and their results are kept; change the stages, or the bounds under `expect`";
                Err(Failure::Failed(
                    format!("{} out of bounds", ui::counted(unmet, "metric")),
                    Some(help.to_owned()),
                ))
            }
            (false, false) => Ok(()),
        }
    }
}

impl RunCommand {
    fn session(&self, types: &'static [StageType]) -> Result<(Session, Vec<usize>, Vec<usize>), Failure> {
        // The lock file keeps its pins until the run has succeeded.
        let pins = if self.update_pins { Pins::Fresh } else { Pins::Locked };
        self.selection.session(&self.pipeline, types, pins)
    }
}

/// Receives one message per request to stop: SIGINT, SIGTERM or SIGHUP.
pub(super) fn interrupts() -> Receiver<()> {
    pipe_engine::tree::adopt_orphans();
    pipe_engine::run::pause::follow_terminal();
    let (sender, receiver) = unbounded();
    let ask = move || {
        let _ = sender.send(());
    };
    match run::signals::on_stop(ask) {
        Ok(()) => receiver,
        // Without handlers, the signals end the program immediately.
        Err(_) => crossbeam_channel::never(),
    }
}

pub(super) fn failure(error: RunError) -> Failure {
    match error {
        RunError::Cache(error) => Error::from(error).into(),
        RunError::Journal(error) => error.into(),
        RunError::Machine(error) => error.into(),
        RunError::NoSpace { .. } => Failure::Failed(
            error.to_string(),
            Some("free some disk space, or start anyway with `--ignore-disk`".to_owned()),
        ),
        RunError::TooSmall { .. } => Failure::Usage(
            error.to_string(),
            Some("lower `resources`, or run it on a larger machine".to_owned()),
        ),
    }
}

/// Compares what was requested with the lock file.
fn check_recipes(
    session: &Session,
    locked: &Lock,
    stages: &[usize],
    recipes: &std::collections::BTreeMap<usize, pipe_stage::Digest>,
) -> Outcome {
    let is_changed = |stage: &usize| {
        locked.stages.get(session.name(*stage)).is_none_or(|locked| locked.recipe != recipes[stage])
    };
    let changed: Vec<usize> = stages.iter().copied().filter(is_changed).collect();
    if changed.is_empty() {
        return Ok(());
    }
    // The recipe of a stage contains those of the stages that it depends on.
    let (dependent, own): (Vec<usize>, Vec<usize>) = changed
        .iter()
        .partition(|stage| session.graph.upstream(**stage).iter().any(|upstream| changed.contains(upstream)));
    let planned = session.plan(stages, &[])?;
    let mut message = "the manifest or its sources differ from the lock file".to_owned();
    for stage in own {
        let name = session.name(stage);
        let verdict = planned.iter().find(|planned| planned.stage == stage).map(|planned| &planned.verdict);
        let why = match (locked.stages.get(name), verdict) {
            (None, _) => "not in the lock file".to_owned(),
            (_, Some(Verdict::Run(work))) => {
                work.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            _ => "differs from the lock file, and its result is in the cache".to_owned(),
        };
        message += &format!("\n  {name}: {why}");
    }
    if !dependent.is_empty() {
        let names: Vec<&str> = dependent.iter().map(|stage| session.name(*stage)).collect();
        message += &format!("\n  and stages that depend on these: {}", names.join(", "));
    }
    Err(Failure::Failed(message, Some("a run without `--locked` updates the lock file".to_owned())))
}

fn check_bytes(summary: &Summary) -> Outcome {
    if summary.differing.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(
        format!(
            "results differ from the lock file, with equal keys and instruction sets: {}",
            summary.differing.join(", ")
        ),
        Some(
            "a command makes other bytes each time, a stage type changed its results without a new revision, or the machine made an error"
                .to_owned(),
        ),
    ))
}

/// Pins files on servers that are read for the first time, so that a run that fails and is started again reads the same.
fn pinned(session: &Session, locked: Lock) -> Result<Lock, Failure> {
    let mut pinned = locked.clone();
    let pins = session.new_pins().map(|pin| (pin.name.clone(), pin.revision.clone()));
    pinned.pins.extend(pins);
    if pinned == locked {
        return Ok(locked);
    }
    pinned.version = 1;
    let path = session.project.lock();
    let failed = |error| Failure::from(Error::io("write", &path, &error));
    pinned.write(&path).map_err(failed)?;
    Ok(pinned)
}

/// Writes the lock file. Entries with the same recipe that were made with other instruction sets are kept.
fn write_lock(
    session: &Session,
    before: Lock,
    summary: &Summary,
    recipes: &std::collections::BTreeMap<usize, pipe_stage::Digest>,
) -> Outcome {
    let mut lock = Lock { version: 1, pins: before.pins, ..Lock::default() };
    for pin in session.pins() {
        lock.pins.insert(pin.name.clone(), pin.revision.clone());
    }
    for (stage, (key, record)) in &summary.done {
        let mut fresh = LockedStage::new(
            recipes[stage],
            *key,
            &record.outputs,
            &record.metrics,
            &record.instruction_sets,
        );
        fresh.adopted = record.adopted.is_some();
        fresh.frozen = session.manifest.stages[*stage].freeze;
        let name = session.name(*stage).to_owned();
        let kept = before
            .stages
            .get(&name)
            .filter(|kept| kept.recipe == fresh.recipe && kept.instruction_sets != fresh.instruction_sets);
        let frozen = fresh.frozen;
        lock.stages.insert(name, LockedStage { frozen, ..kept.cloned().unwrap_or(fresh) });
    }
    let path = session.project.lock();
    lock.write(&path).map_err(|error| Error::io("write", &path, &error).into())
}
