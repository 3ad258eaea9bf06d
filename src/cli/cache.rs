//! `pipe cache ls | du | verify | gc | pin | unpin | pins`.

use super::{Failure, Outcome, runs::pick};
use crate::{
    garbage::{self, Collect, Collected, GarbageError, Limits, Roots},
    lock::Lock,
    manifest::{Memory, Time},
    project::Project,
    run::{
        folder::{Pinned, RunFolder, RunState},
        seen::Seen,
        spec::Spec,
    },
    ui::{
        self, Cell,
        units::{bytes, seconds},
    },
};
use pipe_cache::{Fate, Kind, Repair};
use pipe_stage::Store;
use serde_json::json;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Commands on the cache.
#[derive(clap::Subcommand)]
pub(super) enum Cache {
    /// List records: what each key led to.
    Ls(Place),
    /// Tell how much there is of what.
    Du(Place),
    /// Read everything and compare it with its digests; exits with 1 when something is damaged.
    Verify {
        #[command(flatten)]
        place: Place,
        /// Take what is damaged out of the way, so that the next run makes it again.
        #[arg(long)]
        repair: bool,
    },
    /// Delete what is not needed, cheapest to make again first, until the cache is small enough.
    ///
    /// Kept whatever the size: what pinned runs, lock files, runs that go on, and recent runs and records lead
    /// to. Nothing that is deleted is lost: a run that needs it makes it again.
    #[command(after_help = "Example: pipe cache gc --max-size 10GiB --dry-run")]
    Gc(Gc),
    /// Keep what a run made and used, whatever the size of the cache.
    #[command(after_help = "Example: pipe cache pin 2026-11-24T19-24-44Z-20292")]
    Pin(Pin),
    /// Take the pin of a run away.
    #[command(after_help = "Example: pipe cache unpin last~1")]
    Unpin(Pin),
    /// List pinned runs.
    Pins(Place),
}

/// Arguments of `pipe cache gc`.
#[derive(clap::Args)]
pub(super) struct Gc {
    #[command(flatten)]
    place: Place,
    /// Bytes of objects, artifacts and records that may stay: `10GiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: u64,
    /// Keep what runs and records lead to that are not older than this.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = time)]
    recent: Duration,
    /// Leave alone what was written or used so lately that somebody may be about to record it.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    young: Duration,
    /// Tell what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `pipe cache pin` and `unpin`.
#[derive(clap::Args)]
pub(super) struct Pin {
    /// The run: its id or the beginning of it, `last`, `last~1`.
    run: String,
    #[command(flatten)]
    place: Place,
}

fn size(text: &str) -> Result<u64, String> {
    Memory::parse(text)
        .map(|memory| memory.0)
        .ok_or_else(|| "write a size, such as 10GiB or 500 MB".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    Time::parse(text).map(Time::duration).ok_or_else(|| "write a time, such as 1d, 12h or 90s".to_owned())
}

/// Which cache.
#[derive(clap::Args)]
pub(super) struct Place {
    /// The cache's folder [default: .pipe in the project's root].
    #[arg(long, env = "PIPE_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Place {
    fn project(&self) -> Result<Project, Failure> {
        let project = Project::of(Path::new("./x"), self.cache.as_deref());
        project.map_err(|error| Failure::Failed(format!("cannot find the project: {error}"), None))
    }

    fn open(&self) -> Result<Store, Failure> {
        let project = self.project()?;
        if !project.cache.is_dir() {
            return Err(Failure::Call(
                format!("there is no cache at `{}`", project.cache.display()),
                Some("call it from within a project, or name the cache with `--cache`".to_owned()),
            ));
        }
        Ok(Store::open(&project.cache)?)
    }
}

impl Cache {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Ls(place) => list(&place),
            Self::Du(place) => usage(&place),
            Self::Verify { place, repair } => verify(&place, repair),
            Self::Gc(gc) => gc.run(),
            Self::Pin(pin) => pin.run(Pinned::Yes),
            Self::Unpin(pin) => pin.run(Pinned::No),
            Self::Pins(place) => pins(&place),
        }
    }
}

fn list(place: &Place) -> Outcome {
    let store = place.open()?;
    let mut rows = Vec::new();
    for entry in store.entries(Kind::Record) {
        let key = entry?.digest;
        // Records of shares and steps are many, and no stage's.
        if let Some(record) = crate::record::Record::read(&store, &key)? {
            rows.push((record, key));
        }
    }
    rows.sort_by(|a, b| (&a.0.finished, a.1).cmp(&(&b.0.finished, b.1)));
    if place.json {
        let all: Vec<_> = rows.iter().map(|(record, key)| json!({ "key": key, "record": record })).collect();
        ui::print(&super::pretty(&json!({ "version": 1, "records": all })));
        return Ok(());
    }
    let row = |(record, key): &(crate::record::Record, pipe_stage::Digest)| {
        vec![
            Cell::Text(record.finished.clone()),
            Cell::Text(record.uses.clone()),
            Cell::Text(key.short().to_string()),
            Cell::Figure(bytes(record.output_bytes)),
            Cell::Text(record.config.to_string().chars().take(60).collect()),
        ]
    };
    ui::print(&ui::table(&["made", "type", "key", "output", "config"], rows.iter().map(row).collect()));
    Ok(())
}

fn usage(place: &Place) -> Outcome {
    let usage = place.open()?.usage()?;
    let parts = [("objects", usage.objects), ("artifacts", usage.artifacts), ("records", usage.records)];
    if place.json {
        let part = |(name, amount): &(&str, pipe_cache::Amount)| json!({ "what": name, "files": amount.files, "bytes": amount.bytes });
        let all: Vec<_> = parts.iter().map(part).collect();
        ui::print(&super::pretty(&json!({ "version": 1, "usage": all })));
        return Ok(());
    }
    let row = |(name, amount): &(&str, pipe_cache::Amount)| {
        vec![
            Cell::Text((*name).to_owned()),
            Cell::Figure(amount.files.to_string()),
            Cell::Figure(bytes(amount.bytes)),
        ]
    };
    ui::print(&ui::table(&["what", "files", "size"], parts.iter().map(row).collect()));
    Ok(())
}

impl Gc {
    fn run(self) -> Outcome {
        let (project, store) = (self.place.project()?, self.place.open()?);
        let mode = if self.dry_run { Collect::Rehearse } else { Collect::Now };
        let limits = Limits { bytes_max: self.max_size, recent: self.recent, young: self.young, mode };
        let roots = || needed(&store, &project, self.recent);
        let collected = garbage::collect(&store, limits, &roots).map_err(|error| match error {
            GarbageError::Cache(error) => error.into(),
            error => Failure::Failed(error.to_string(), None),
        })?;
        let Collected { bytes_before, bytes_after, bytes_needed, gone } = &collected;
        if self.place.json {
            let mut told = json!(collected);
            told["version"] = json!(1);
            told["dry_run"] = json!(self.dry_run);
            ui::print(&super::pretty(&told));
        } else if !gone.is_empty() {
            let row = |gone: &garbage::Gone| {
                vec![
                    Cell::Text(gone.made_by.clone()),
                    Cell::Figure(gone.objects.to_string()),
                    Cell::Figure(bytes(gone.bytes)),
                    Cell::Figure(seconds(gone.seconds)),
                ]
            };
            let rows = gone.iter().map(row).collect();
            ui::print(&ui::table(&["made by", "files", "size", "time to make again"], rows));
        }
        let would = if self.dry_run { "would be" } else { "is" };
        eprintln!("the cache had {}, and {would} {} now", bytes(*bytes_before), bytes(*bytes_after));
        if *bytes_after > self.max_size {
            eprintln!(
                "more than {}: {} of it are pinned, locked, in use or recent; see `--recent` and `pipe cache pins`",
                bytes(self.max_size),
                bytes(*bytes_needed)
            );
        }
        let work = store.usage()?.work.bytes;
        if work > 0 {
            eprintln!("besides, there are {} of checkpoints and work that goes on", bytes(work));
        }
        Ok(())
    }
}

/// What pinned, live and recent runs, and lock files, lead to.
fn needed(store: &Store, project: &Project, recent: Duration) -> io::Result<Roots> {
    let mut roots = Roots::default();
    let mut locks = BTreeSet::new();
    locks_below(&project.root, 4, &mut locks);
    let now = SystemTime::now();
    for run in RunFolder::all(store.root())? {
        locks.insert(run.head.lock.clone());
        let closed = run.closed();
        let age = |name: &str| {
            let touched = std::fs::metadata(run.path.join(name)).and_then(|metadata| metadata.modified());
            touched.ok().map(|touched| now.duration_since(touched).unwrap_or_default())
        };
        let is_younger = |name: &str, limit: Duration| age(name).is_some_and(|age| age < limit);
        // One that cannot be seen from here goes on unless it has long been silent.
        let is_live = closed.is_none()
            && (run.state(store) == RunState::Running
                || (run.fate() == Fate::Unknown && is_younger("events.jsonl", SILENT)));
        let is_recent = is_younger("run.json", recent) || is_younger("stages.json", recent);
        if !(is_live || is_recent || run.is_pinned()) {
            continue;
        }
        match closed {
            Some(closed) => {
                let made = closed.stages.values().filter_map(|stage| stage.made.as_ref());
                roots.keys.extend(made.map(|made| made.key));
            }
            None => {
                let seen = Seen::read(&run.events())?;
                roots.keys.extend(seen.stages.values().filter_map(|stage| stage.key));
            }
        }
        if is_live {
            let began = now.checked_sub(age("run.json").unwrap_or_default() + Duration::from_secs(60));
            let began = began.unwrap_or(SystemTime::UNIX_EPOCH);
            roots.since = Some(roots.since.map_or(began, |since| since.min(began)));
            for stage in &run.head.stages {
                if let Ok(spec) = Spec::read(&run.path.join(format!("{}.spec.json", stage.name))) {
                    roots.artifacts.extend(spec.inputs.values().flatten().map(|input| input.digest));
                }
            }
        }
    }
    for lock in locks.iter().filter_map(|path| Lock::read(path)) {
        roots.keys.extend(lock.stages.values().map(|stage| stage.key));
    }
    Ok(roots)
}

/// A run elsewhere that told nothing for so long is over.
const SILENT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Finds lock files, in folders that projects keep them in.
fn locks_below(folder: &Path, depth: u32, locks: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_plain = !name.to_string_lossy().starts_with('.');
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_plain && depth > 0 => locks_below(&path, depth - 1, locks),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "lock") => {
                locks.insert(path);
            }
            _ => {}
        }
    }
}

impl Pin {
    fn run(self, pinned: Pinned) -> Outcome {
        let store = self.place.open()?;
        let runs = all_runs(&store)?;
        let run = pick(&runs, &self.run).map_err(|message| {
            let help = "`pipe history MANIFEST` lists runs".to_owned();
            Failure::Call(format!("no run `{}`: {message}", self.run), Some(help))
        })?;
        let changed = run.pin(pinned).map_err(|error| {
            Failure::Failed(format!("cannot change the pin of `{}`: {error}", run.path.display()), None)
        })?;
        let state = match pinned {
            Pinned::Yes => "pinned",
            Pinned::No => "not pinned",
        };
        if self.place.json {
            ui::print(&super::pretty(&json!({ "version": 1, "run": run.id, "pinned": run.is_pinned() })));
        }
        eprintln!("{} is {state}{}", run.id, if changed { "" } else { ", as it was" });
        Ok(())
    }
}

fn all_runs(store: &Store) -> Result<Vec<RunFolder>, Failure> {
    RunFolder::all(store.root())
        .map_err(|error| Failure::Failed(format!("cannot list the runs: {error}"), None))
}

fn pins(place: &Place) -> Outcome {
    let store = place.open()?;
    let mut runs = all_runs(&store)?;
    runs.retain(RunFolder::is_pinned);
    if place.json {
        let run = |run: &RunFolder| json!({ "run": run.id, "pipeline": run.head.pipeline, "began": run.head.began });
        ui::print(&super::pretty(&json!({ "version": 1, "pins": runs.iter().map(run).collect::<Vec<_>>() })));
        return Ok(());
    }
    if runs.is_empty() {
        eprintln!("no run is pinned");
        return Ok(());
    }
    let row = |run: &RunFolder| {
        [&run.id, &run.head.pipeline, &run.head.began].map(|text| Cell::Text(text.clone())).into()
    };
    ui::print(&ui::table(&["run", "pipeline", "began"], runs.iter().map(row).collect()));
    Ok(())
}

fn told(damage: &pipe_cache::Damage) -> String {
    let kind = match damage.kind {
        Kind::Object => "object",
        Kind::Artifact => "artifact",
        Kind::Record => "record",
    };
    format!("{kind} {}: {}", damage.digest, damage.fault)
}

fn verify(place: &Place, repair: bool) -> Outcome {
    let store = place.open()?;
    let damages = store.verify(if repair { Repair::Discard } else { Repair::Report }, |_| {})?;
    if place.json {
        let all: Vec<_> =
            damages.iter().map(|damage| json!({ "digest": damage.digest, "what": told(damage) })).collect();
        ui::print(&super::pretty(&json!({ "version": 1, "damages": all })));
    } else {
        damages.iter().for_each(|damage| ui::print(&told(damage)));
    }
    match (damages.len(), repair) {
        (0, _) => {
            eprintln!("all is as it was stored");
            Ok(())
        }
        (count, true) => Err(Failure::Failed(
            format!("{count} damaged, and taken out of the way"),
            Some("`pipe run` makes them again".to_owned()),
        )),
        (count, false) => Err(Failure::Failed(
            format!("{count} damaged"),
            Some("`--repair` takes them out of the way, so that `pipe run` makes them again".to_owned()),
        )),
    }
}
