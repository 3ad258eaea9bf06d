//! `pipe logs`: the log of a stage, from the current run or the last one in which it ran.

use super::{Command, Failure, Outcome, Pipeline, Program, runs::Runs};
use crate::{
    manifest::Manifest,
    run::{
        RunEvent,
        folder::{RunFolder, RunState},
        seen::Tail,
    },
    secrets::{MaskedWriter, Secrets},
    ui,
};
use clap::Parser;
use pipe_stage::Store;
use std::{
    fs::File,
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

/// Interval between checks of a log that grows.
const TICK: Duration = Duration::from_millis(100);

/// Print a stage's log, from the current run or the last one.
#[derive(Parser)]
#[command(name = "logs", after_help = "Example: pipe logs -f pipelines/gpt-small.yaml base")]
pub(super) struct Logs {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// The stage.
    stage: String,
    /// Follow the log until the run ends.
    #[arg(short, long)]
    follow: bool,
}

impl Command for Logs {
    fn run(self, program: &Program<'_>) -> Outcome {
        let runs = self.pipeline.runs(program.types)?;
        if let Some(manifest) = &runs.manifest
            && let [_, .., last] = manifest.targets([self.stage.as_str()])?[..]
            && let Some((last, _)) = manifest.stages.get_index(last)
        {
            let message = format!("`{}` matches several stages", self.stage);
            return Err(Failure::Usage(message, Some(format!("choose one of them, such as '{last}'"))));
        }
        let mut out = Out::new(runs.manifest.as_ref().map(secrets).unwrap_or_default());
        let has_stage = |run: &&RunFolder| run.head.stages.iter().any(|stage| stage.name == self.stage);
        let mut live = None;
        for run in runs.all.iter().rev().filter(has_stage) {
            if run.state(&runs.store)? == RunState::Running {
                live = Some(run);
                break;
            }
        }
        if let Some(run) = live {
            let has_log = run.log(&self.stage).exists();
            if has_log || (self.follow && !is_cached(run, &self.stage)?) {
                return if self.follow {
                    follow(run, &self.stage, &runs.store, out)
                } else {
                    out.file(&run.log(&self.stage), 0).map(drop).and_then(|()| out.end()).map_err(failure)
                };
            }
        }
        let last = runs.all.iter().rev().find(|run| run.log(&self.stage).exists());
        let last = last.ok_or_else(|| self.no_log(&runs))?;
        ui::say(&format!("log of run {} ({})", last.id, last.state(&runs.store)?.as_str()));
        out.file(&last.log(&self.stage), 0).map(drop).and_then(|()| out.end()).map_err(failure)
    }
}

impl Logs {
    fn no_log(&self, runs: &Runs) -> Failure {
        let (manifest, stage) = (self.pipeline.manifest.display(), &self.stage);
        Failure::Failed(
            format!("no log: `{stage}` did not run in any of the {} recorded runs", runs.all.len()),
            Some(format!("the log of a cached stage is in its record: pipe show {manifest} {stage} --log")),
        )
    }
}

/// Prints a log that is whole.
pub(super) fn print(log: &Path, manifest: &Manifest) -> Outcome {
    let mut out = Out::new(secrets(manifest));
    out.file(log, 0).and_then(|_| out.end()).map_err(failure)
}

fn secrets(manifest: &Manifest) -> Secrets {
    Secrets::of_variables(manifest.used.secrets.iter().map(String::as_str))
}

fn failure(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot read the log {error}"), Some("make it readable for this user".to_owned()))
}

/// Whether a run found the stage in the cache, so that it will not run.
fn is_cached(run: &RunFolder, stage: &str) -> Result<bool, Failure> {
    let mut cached = false;
    Tail::new(&run.events()).read(|_, event| {
        cached |= matches!(event, RunEvent::Cached { stage: name, .. } if name == stage);
    })?;
    Ok(cached)
}

/// Copies the log while the run is active. A further attempt of the stage continues it.
fn follow(run: &RunFolder, stage: &str, store: &Store, mut out: Out) -> Outcome {
    let log = run.log(stage);
    let mut offset = 0;
    loop {
        // Checked before the log is read, so that everything written until then is read.
        let over = run.state(store)? != RunState::Running;
        offset = out.file(&log, offset).map_err(failure)?;
        if over {
            return out.end().map_err(failure);
        }
        thread::sleep(TICK);
    }
}

/// Stdout, with secrets removed.
struct Out(MaskedWriter<Stdout>);

impl Out {
    fn new(secrets: Secrets) -> Self {
        Self(MaskedWriter::new(Arc::new(secrets), Stdout))
    }

    /// Copies a file from an offset on, as far as it goes; returns how far that was.
    fn file(&mut self, path: &Path, offset: u64) -> io::Result<u64> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(offset),
            file => file.map_err(named)?,
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut offset = offset;
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut piece).map_err(named)?;
            if read == 0 {
                return Ok(offset);
            }
            offset += read as u64;
            self.0.write_all(&piece[..read])?;
        }
    }

    /// Writes what is held back.
    fn end(self) -> io::Result<()> {
        self.0.end()
    }
}

/// The program's own, as a log is shown there.
struct Stdout;

impl Write for Stdout {
    /// A file gets the log as it was written; a terminal no control characters but carriage returns.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = |text: &str| text.split('\r').map(ui::plain).collect::<Vec<_>>().join("\r");
        if io::stdout().is_terminal() {
            ui::print_bytes(shown(&String::from_utf8_lossy(bytes)).as_bytes());
        } else {
            ui::print_bytes(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
