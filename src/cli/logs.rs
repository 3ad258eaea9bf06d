//! `pipe logs`: the log of a stage, from the current run or the last one in which it ran.

use super::{Command, Failure, Outcome, Pipeline, Program, runs::Runs};
use crate::{
    run::{
        RunEvent,
        folder::{RunFolder, RunState},
        seen::Tail,
    },
    ui,
};
use clap::Parser;
use pipe_stage::Store;
use std::{
    borrow::Cow,
    fs::File,
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::Path,
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
        let mut out = Out { secrets: Vec::new(), held: Vec::new() };
        if let Some(manifest) = &runs.manifest {
            manifest.targets([self.stage.as_str()])?;
            let values = manifest.used.secrets.iter().filter_map(|name| std::env::var(name).ok());
            out.secrets = values.filter(|value| !value.is_empty()).collect();
        }
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

/// Copies the log while the run is active. A retry of the stage begins a new log.
fn follow(run: &RunFolder, stage: &str, store: &Store, mut out: Out) -> Outcome {
    let log = run.log(stage);
    let mut events = Tail::new(&run.events());
    let (mut offset, mut tries) = (0, 0);
    loop {
        // Checked before the log is read, so that everything written until then is read.
        let over = run.state(store)? != RunState::Running;
        let before = tries;
        events.read(|_, event| {
            tries += u32::from(matches!(event, RunEvent::Started { stage: name, .. } if name == stage));
        })?;
        if tries != before {
            out.end().map_err(failure)?;
            offset = 0;
        }
        offset = out.file(&log, offset).map_err(failure)?;
        if over {
            return out.end().map_err(failure);
        }
        thread::sleep(TICK);
    }
}

/// Stdout, with secrets removed.
struct Out {
    secrets: Vec<String>,
    /// An incomplete line, held back while there are secrets to search for.
    held: Vec<u8>,
}

impl Out {
    /// Copies a file from an offset to its end; returns the new offset.
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
            self.write(&piece[..read])?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        const LINE_BYTES_MAX: usize = 1 << 20;
        if self.secrets.is_empty() {
            return print(bytes);
        }
        self.held.extend_from_slice(bytes);
        let whole = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole = if self.held.len() - whole > LINE_BYTES_MAX { self.held.len() } else { whole };
        let lines: Vec<u8> = self.held.drain(..whole).collect();
        self.masked(&lines)
    }

    fn masked(&self, lines: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(lines).into_owned();
        let text = self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"));
        print(text.as_bytes())
    }

    /// Writes what was held back.
    fn end(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.masked(&held)
    }
}

/// Writes to stdout; if the reader is gone, the program ends quietly.
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // A file gets the log unchanged; for a terminal, control characters other than carriage returns are escaped.
    let shown = |text: &str| text.split('\r').map(ui::plain).collect::<Vec<_>>().join("\r");
    let bytes = match out.is_terminal() {
        true => Cow::Owned(shown(&String::from_utf8_lossy(bytes)).into_bytes()),
        false => Cow::Borrowed(bytes),
    };
    if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(141);
    }
    Ok(())
}
