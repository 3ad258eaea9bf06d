//! Owns: a run as its events tell it: where each stage stands, what its series are. Reads `events.jsonl`, of a
//! run that is over or that goes on in another process. Knows no cache.

use super::event::{Row, RunEvent};
use pipe_stage::{Digest, Event};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Longer lines are no events.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// When an event was told: seconds since the epoch.
#[derive(Deserialize)]
struct At {
    #[serde(default)]
    at: f64,
}

/// Follows a file of events while it grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
}

impl Tail {
    /// Starts at the beginning of a file, which may not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0 }
    }

    /// Tells the events that came since the last call; a line that is not whole yet is left for the next.
    pub fn read(&mut self, mut see: impl FnMut(f64, RunEvent)) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
            let whole = line.ends_with(b"\n");
            if length == 0 || (!whole && length < LINE_BYTES_MAX) {
                return Ok(());
            }
            self.offset += length;
            let at = serde_json::from_slice::<At>(&line).map_or(0.0, |at| at.at);
            if let Ok(told) = serde_json::from_slice(&line) {
                see(at, told);
            }
        }
    }
}

/// Where the stages of a run stand.
#[derive(Debug, Default)]
pub struct Seen {
    /// By name; those of which nothing was told yet are absent.
    pub stages: BTreeMap<String, SeenStage>,
    /// Whether somebody asked it to stop.
    pub stopping: bool,
    /// When it told something last: seconds since the epoch.
    pub last: f64,
}

/// Where a stage stands.
#[derive(Debug)]
pub struct SeenStage {
    /// In one word.
    pub state: SeenState,
    /// Its key.
    pub key: Option<Digest>,
    /// When it was started, the last time: seconds since the epoch.
    pub started: Option<f64>,
    /// When it ended.
    pub ended: Option<f64>,
    /// How often it was started.
    pub tries: u32,
    /// Cores that it got.
    pub cpus: usize,
    /// The step that it is at, with its shares: done, of all.
    pub step: Option<(String, u64, u64)>,
    /// What is counted within the step: unit, done, of all.
    pub progress: Option<(String, u64, Option<u64>)>,
    /// The last points of its series: by name, position and value.
    pub figures: BTreeMap<String, (u64, f64)>,
    /// The last thing that it said, or that was said of it.
    pub note: Option<String>,
    /// How it ended, if it did its work.
    pub row: Option<Row>,
    /// Why it failed, with the end of its log.
    pub failed: Option<(String, String)>,
}

/// Where a stage stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenState {
    /// Its result was there.
    Cached,
    /// Another run has it in hand.
    Waiting,
    /// It is at work.
    Running,
    /// It did its work.
    Done,
    /// It failed, and may be tried again.
    Failed,
}

impl SeenState {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl SeenStage {
    fn new() -> Self {
        Self {
            state: SeenState::Waiting,
            key: None,
            started: None,
            ended: None,
            tries: 0,
            cpus: 0,
            step: None,
            progress: None,
            figures: BTreeMap::new(),
            note: None,
            row: None,
            failed: None,
        }
    }

    /// How long it has been at work, or was.
    pub fn seconds(&self, now: f64) -> Option<f64> {
        self.started.map(|started| (self.ended.unwrap_or(now) - started).max(0.0))
    }
}

impl Seen {
    /// Reads all of a run's events.
    pub fn read(events: &Path) -> io::Result<Self> {
        let mut seen = Self::default();
        Tail::new(events).read(|at, told| seen.see(at, told))?;
        Ok(seen)
    }

    /// Takes one event.
    pub fn see(&mut self, at: f64, event: RunEvent) {
        self.last = at;
        match event {
            RunEvent::Cached { stage, key, .. } => {
                let stage = self.stage(stage);
                (stage.state, stage.key, stage.ended) = (SeenState::Cached, Some(key), Some(at));
            }
            RunEvent::Started { stage, key, cpus, .. } => {
                let stage = self.stage(stage);
                let tries = stage.tries + 1;
                *stage = SeenStage::new();
                (stage.state, stage.key, stage.started) = (SeenState::Running, Some(key), Some(at));
                (stage.tries, stage.cpus) = (tries, cpus);
            }
            RunEvent::Told { stage, told } => self.stage(stage).hear(told),
            RunEvent::Waiting { stage, holder } => {
                let stage = self.stage(stage);
                (stage.state, stage.note) =
                    (SeenState::Waiting, Some(format!("{holder} is already running it")));
            }
            RunEvent::Again { stage, message, .. } => {
                let stage = self.stage(stage);
                (stage.state, stage.note) = (SeenState::Waiting, Some(format!("retrying: {message}")));
            }
            RunEvent::Finished { stage, row } => {
                let stage = self.stage(stage);
                (stage.state, stage.row, stage.ended) = (SeenState::Done, Some(row), Some(at));
            }
            RunEvent::Failed { stage, error, tail, .. } => {
                let stage = self.stage(stage);
                (stage.state, stage.ended) = (SeenState::Failed, Some(at));
                stage.failed = Some((error.to_string(), tail));
            }
            RunEvent::Stopping => self.stopping = true,
            RunEvent::Began { .. } => {}
        }
    }

    fn stage(&mut self, name: String) -> &mut SeenStage {
        self.stages.entry(name).or_insert_with(SeenStage::new)
    }
}

impl SeenStage {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Step { step, shares, missing } => {
                self.step = Some((step, shares - missing.min(shares), shares));
                self.progress = None;
            }
            Event::Share { step, done, of } => self.step = Some((step, done, of)),
            Event::Progress { unit, done, total } => self.progress = Some((unit, done, total)),
            Event::Metric { name, step, value } => drop(self.figures.insert(name, (step, value))),
            Event::Note { message } => self.note = Some(message),
            Event::Done { .. } | Event::Failed { .. } | Event::Rests { .. } => {}
        }
    }
}

/// The series that a stage told, by name: value by position.
pub type Series = BTreeMap<String, BTreeMap<u64, f64>>;

/// Adds to a stage's series what one run told of it. A run that went on from a checkpoint tells some positions
/// again; what came last counts.
pub fn add_series(series: &mut Series, events: &Path, stage: &str) -> io::Result<()> {
    let mut fresh = Series::new();
    Tail::new(events).read(|_, told| match told {
        // A new try counts from where it began.
        RunEvent::Started { stage: name, .. } if name == stage => {
            lay_over(series, std::mem::take(&mut fresh))
        }
        RunEvent::Told { stage: name, told: Event::Metric { name: metric, step, value } }
            if name == stage =>
        {
            fresh.entry(metric).or_default().insert(step, value);
        }
        _ => {}
    })?;
    lay_over(series, fresh);
    Ok(())
}

fn lay_over(series: &mut Series, fresh: Series) {
    for (name, points) in fresh {
        let Some(first) = points.keys().next().copied() else { continue };
        let before = series.entry(name).or_default();
        before.retain(|position, _| *position < first);
        before.extend(points);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn point(step: u64, value: f64) -> String {
        format!(
            r#"{{"at":1.5,"event":"told","stage":"base","told":{{"event":"metric","name":"loss","step":{step},"value":{value}}}}}"#
        )
    }

    fn started() -> String {
        format!(
            r#"{{"at":1.0,"event":"started","stage":"base","key":"{}","reasons":[],"cpus":2}}"#,
            "0".repeat(64)
        )
    }

    #[test]
    fn half_a_line_is_read_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut tail = Tail::new(&path);
        let mut seen = Seen::default();
        tail.read(|at, told| seen.see(at, told)).unwrap();
        let mut file = File::create(&path).unwrap();
        let (text, rest) = (format!("{}\n{}", started(), point(1, 2.0)), "\n");
        file.write_all(text.as_bytes()).unwrap();
        tail.read(|at, told| seen.see(at, told)).unwrap();
        assert_eq!(seen.stages["base"].state, SeenState::Running);
        assert!(seen.stages["base"].figures.is_empty());
        file.write_all(rest.as_bytes()).unwrap();
        tail.read(|at, told| seen.see(at, told)).unwrap();
        assert_eq!(seen.stages["base"].figures["loss"], (1, 2.0));
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let lines = ["{}", "no json", r#"{"event":"of_the_future","stage":1}"#, "\u{0}", &started()];
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        assert_eq!(Seen::read(&path).unwrap().stages.len(), 1);
    }

    #[test]
    fn a_run_that_goes_on_from_a_checkpoint_lays_its_points_over_the_lost_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        let text = |points: &[(u64, f64)]| {
            let points: Vec<String> = points.iter().map(|(step, value)| point(*step, *value)).collect();
            format!("{}\n{}\n", started(), points.join("\n"))
        };
        std::fs::write(&first, text(&[(0, 4.0), (1, 3.0), (2, 2.0)])).unwrap();
        std::fs::write(&second, text(&[(1, 3.5), (3, 1.0)])).unwrap();
        let mut series = Series::new();
        add_series(&mut series, &first, "base").unwrap();
        add_series(&mut series, &second, "base").unwrap();
        let points: Vec<(u64, f64)> = series["loss"].clone().into_iter().collect();
        assert_eq!(points, [(0, 4.0), (1, 3.5), (3, 1.0)]);
    }
}
