//! Owns: a run as its events describe it: the state of each stage, and its series. It reads `events.jsonl`, of a
//! finished run or of one that is running in another process. It knows no cache.

use super::event::{Row, RunEvent};
use pipe_stage::{Digest, Event, files};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Longer lines are not events.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// What every event has.
#[derive(Deserialize)]
struct Head {
    /// When it was told: seconds since the epoch.
    #[serde(default)]
    at: f64,
    /// Which event it is; of another version of the program, one that is not known here.
    #[serde(rename = "event")]
    _event: String,
}

/// Why the events of a run cannot be read. They are never taken for none.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the events `{}`: {source}", path.display())]
pub struct EventsError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl EventsError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        "make it readable for this user"
    }
}

/// Follows a file of events while it grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    /// Lines that were no events, such as one that a full disk cut.
    pub damaged: u64,
}

impl Tail {
    /// Starts at the beginning of a file, which may not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, damaged: 0 }
    }

    /// Passes on the events since the last call; an incomplete line is left for the next call.
    pub fn read(&mut self, see: impl FnMut(f64, RunEvent)) -> Result<(), EventsError> {
        self.read_on(see).map_err(|source| EventsError { path: self.path.clone(), source })
    }

    fn read_on(&mut self, mut see: impl FnMut(f64, RunEvent)) -> io::Result<()> {
        let mut file = match files::open(&self.path) {
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
            match (serde_json::from_slice::<Head>(&line), serde_json::from_slice(&line)) {
                (Ok(head), Ok(told)) => see(head.at, told),
                // An event that this program does not know.
                (Ok(_), Err(_)) => {}
                (Err(_), _) => self.damaged += 1,
            }
        }
    }
}

/// The states of a run's stages.
#[derive(Debug, Default)]
pub struct Seen {
    /// By name; stages without events are absent.
    pub stages: BTreeMap<String, SeenStage>,
    /// Whether a stop was requested.
    pub stopping: bool,
    /// Time of the last event, in seconds since the epoch.
    pub last: f64,
    /// Lines of its events that cannot be read.
    pub damaged: u64,
}

/// The state of a stage.
#[derive(Debug)]
pub struct SeenStage {
    /// Its state.
    pub state: SeenState,
    /// Its key.
    pub key: Option<Digest>,
    /// When it was last started, in seconds since the epoch.
    pub started: Option<f64>,
    /// When it ended.
    pub ended: Option<f64>,
    /// How often it was started.
    pub tries: u32,
    /// Cores it was granted.
    pub cpus: usize,
    /// The step that it is at, with its tasks: done, of all.
    pub step: Option<(String, u64, u64)>,
    /// Progress within the step: unit, done, total.
    pub progress: Option<(String, u64, Option<u64>)>,
    /// The last points of its series: by name, position and value.
    pub metrics: BTreeMap<String, (u64, f64)>,
    /// Folders in which it keeps checkpoints.
    pub folders: BTreeSet<Digest>,
    /// Its last note, or the last note about it.
    pub note: Option<String>,
    /// Its row, if it succeeded.
    pub row: Option<Row>,
    /// Why it failed, with the end of its log.
    pub failed: Option<(String, String)>,
}

/// The state of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenState {
    /// Its result was in the cache.
    Cached,
    /// It is frozen, and kept its result.
    Frozen,
    /// Another run is working on it.
    Waiting,
    /// It is running.
    Running,
    /// It succeeded.
    Done,
    /// It failed, and may be retried.
    Failed,
}

impl SeenState {
    /// Whether there was nothing to do.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Cached | Self::Frozen)
    }

    /// Text for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Frozen => "frozen",
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
            metrics: BTreeMap::new(),
            folders: BTreeSet::new(),
            note: None,
            row: None,
            failed: None,
        }
    }

    /// How long it has been running, or ran.
    pub fn seconds(&self, now: f64) -> Option<f64> {
        self.started.map(|started| (self.ended.unwrap_or(now) - started).max(0.0))
    }
}

impl Seen {
    /// Reads all events of a run.
    pub fn read(events: &Path) -> Result<Self, EventsError> {
        let (mut seen, mut tail) = (Self::default(), Tail::new(events));
        tail.read(|at, told| seen.see(at, told))?;
        seen.damaged = tail.damaged;
        Ok(seen)
    }

    /// Applies an event.
    pub fn see(&mut self, at: f64, event: RunEvent) {
        self.last = at;
        match event {
            RunEvent::Cached { stage, key, frozen, .. } => {
                let stage = self.stage(stage);
                let state = if frozen { SeenState::Frozen } else { SeenState::Cached };
                (stage.state, stage.key, stage.ended) = (state, Some(key), Some(at));
            }
            RunEvent::Started { stage, key, cpus, .. } => {
                let stage = self.stage(stage);
                let (tries, folders) = (stage.tries + 1, std::mem::take(&mut stage.folders));
                *stage = SeenStage { folders, ..SeenStage::new() };
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
            RunEvent::Began { .. } | RunEvent::Warning(_) => {}
        }
    }

    fn stage(&mut self, name: String) -> &mut SeenStage {
        self.stages.entry(name).or_insert_with(SeenStage::new)
    }
}

impl SeenStage {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Step { step, tasks, missing } => {
                self.step = Some((step, tasks - missing.min(tasks), tasks));
                self.progress = None;
            }
            Event::Task { step, done, of } => self.step = Some((step, done, of)),
            Event::Progress { unit, done, total } => self.progress = Some((unit, done, total)),
            Event::Metric { name, step, value } => drop(self.metrics.insert(name, (step, value))),
            Event::Note { message } => self.note = Some(message),
            Event::Checkpoints { folder } => drop(self.folders.insert(folder)),
            Event::Done { .. } | Event::Failed { .. } | Event::Rests { .. } => {}
        }
    }
}

/// The series of a stage by name: value by position.
pub type Series = BTreeMap<String, BTreeMap<u64, f64>>;

/// Adds to the series of stages, by name, what one run told of those that it started with these keys. A run that went
/// on from a checkpoint tells some positions again; what came last counts.
pub fn add_series(
    series: &mut BTreeMap<String, Series>,
    events: &Path,
    keys: &BTreeMap<String, Digest>,
) -> Result<(), EventsError> {
    let mut fresh: BTreeMap<String, Series> = BTreeMap::new();
    let mut lay = |name: String, fresh: Series| lay_over(series.entry(name).or_default(), fresh);
    Tail::new(events).read(|_, told| match told {
        // A retry overwrites the positions from where it began.
        RunEvent::Started { stage, key, .. } => {
            if let Some(before) = fresh.remove(&stage) {
                lay(stage.clone(), before);
            }
            if keys.get(&stage) == Some(&key) {
                fresh.insert(stage, Series::new());
            }
        }
        RunEvent::Told { stage, told: Event::Metric { name, step, value } } => {
            if let Some(fresh) = fresh.get_mut(&stage) {
                fresh.entry(name).or_default().insert(step, value);
            }
        }
        _ => {}
    })?;
    fresh.into_iter().for_each(|(name, fresh)| lay(name, fresh));
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
        let mut file = std::fs::File::create(&path).unwrap();
        let (text, rest) = (format!("{}\n{}", started(), point(1, 2.0)), "\n");
        file.write_all(text.as_bytes()).unwrap();
        tail.read(|at, told| seen.see(at, told)).unwrap();
        assert_eq!(seen.stages["base"].state, SeenState::Running);
        assert!(seen.stages["base"].metrics.is_empty());
        file.write_all(rest.as_bytes()).unwrap();
        tail.read(|at, told| seen.see(at, told)).unwrap();
        assert_eq!(seen.stages["base"].metrics["loss"], (1, 2.0));
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let lines = ["{}", "no json", r#"{"event":"of_the_future","stage":1}"#, "\u{0}", &started()];
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let seen = Seen::read(&path).unwrap();
        assert_eq!((seen.stages.len(), seen.damaged), (1, 3));
    }

    #[test]
    fn events_that_cannot_be_read_are_an_error_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Seen::read(&folder.path().join("none.jsonl")).unwrap().stages.is_empty());
        let path = folder.path().join("events.jsonl");
        std::fs::create_dir(&path).unwrap();
        let error = Seen::read(&path).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn a_stage_that_is_started_again_keeps_its_folders_of_checkpoints() {
        let mut seen = Seen::default();
        let folder = Digest::of(b"folder");
        let told = Event::Checkpoints { folder };
        seen.see(1.0, RunEvent::Told { stage: "base".to_owned(), told });
        seen.see(2.0, serde_json::from_str(&started()).unwrap());
        assert_eq!(Vec::from_iter(&seen.stages["base"].folders), [&folder]);
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
        let mut series = BTreeMap::new();
        let of = |key: &str| BTreeMap::from([("base".to_owned(), key.repeat(64).parse().unwrap())]);
        add_series(&mut series, &first, &of("0")).unwrap();
        add_series(&mut series, &second, &of("0")).unwrap();
        let points: Vec<(u64, f64)> = series["base"]["loss"].clone().into_iter().collect();
        assert_eq!(points, [(0, 4.0), (1, 3.5), (3, 1.0)]);
        let mut others = BTreeMap::new();
        add_series(&mut others, &first, &of("1")).unwrap();
        assert!(others.is_empty(), "it had another key then");
    }
}
