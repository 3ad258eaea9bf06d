//! `pipe cache ls | du | verify | gc | pin | unpin | pins`.

use super::{Command, Failure, Outcome, Program, pretty, runs::pick};
use crate::{
    expiry::{self, Ages, ExpiryError},
    garbage::{self, Collect, Collected, GarbageError, Limits},
    manifest::{Memory, Time},
    project::Project,
    roots::{self, RootsError},
    run::folder::{Pinned, RunFolder},
    ui::{
        self, Cell, Narrow,
        units::{bytes, seconds},
    },
};
use clap::Parser;
use pipe_cache::{EntryKind, Repair};
use pipe_stage::Store;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Inspect and clean up the cache.
#[derive(Parser)]
#[command(name = "cache", after_help = "Example: pipe cache verify")]
pub(super) enum Cache {
    /// List cached results.
    Ls(Place),
    /// Show disk usage by kind.
    Du(Place),
    /// Check all contents against their digests; exit with code 1 if something is damaged.
    Verify {
        #[command(flatten)]
        place: Place,
        /// Remove damaged entries, so that the next run recomputes them.
        #[arg(long)]
        repair: bool,
    },
    /// Delete unneeded results, cheapest to recompute first, until the cache is small enough.
    ///
    /// Results of pinned runs, lock files, running and recent runs, and recent records are kept whatever the size. A
    /// run that needs a deleted result recomputes it.
    #[command(after_help = "Example: pipe cache gc --max-size 10GiB --dry-run")]
    Gc(Gc),
    /// Keep the results and inputs of a run, whatever the size of the cache.
    #[command(after_help = "Example: pipe cache pin 2026-11-24T19-24-44Z-5f0c92ab")]
    Pin(Pin),
    /// Unpin a run.
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
    /// Maximum size of objects, artifacts and records: `10GiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: u64,
    /// Keep runs and records younger than this.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = time)]
    recent: Duration,
    /// Grace period: never delete anything written or used more recently than this.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    young: Duration,
    /// Delete the folders and logs of runs that ended longer ago than this, except pinned runs and the last run of
    /// each pipeline.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = time)]
    runs: Duration,
    /// Delete training checkpoints that were not used for longer than this.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time)]
    checkpoints: Duration,
    /// Show what would be deleted without deleting it.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `pipe cache pin` and `unpin`.
#[derive(clap::Args)]
pub(super) struct Pin {
    /// Run: its id or a prefix of it, `last`, `last~1`.
    run: String,
    #[command(flatten)]
    place: Place,
}

/// What to do about outputs that were removed.
const RECOMPUTES: &str =
    "`pipe run` recomputes what it needs of them, `pipe run MANIFEST STAGE` the outputs of a stage";

/// Nothing needs no unit.
const NOTHING: &str = "0";

fn size(text: &str) -> Result<u64, String> {
    let size = if text == NOTHING { Some(0) } else { Memory::parse(text).map(|memory| memory.0) };
    size.ok_or_else(|| "write a size, such as 10GiB or 500 MB".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let time = if text == NOTHING { Some(Duration::ZERO) } else { Time::parse(text).map(Time::duration) };
    time.ok_or_else(|| "write a time, such as 1d, 12h or 90s".to_owned())
}

/// The cache to use.
#[derive(clap::Args)]
pub(super) struct Place {
    /// Cache folder [default: .pipe in the project root].
    #[arg(long, env = "PIPE_CACHE", value_name = "DIR", value_parser = super::pipeline::folder_or_none())]
    pub(super) cache: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Place {
    fn project(&self) -> Result<Project, Failure> {
        let project = Project::around(Path::new("."), super::pipeline::named(self.cache.as_deref()));
        project.map_err(|error| Failure::Failed(format!("cannot find the project: {error}"), None))
    }

    pub(super) fn open(&self) -> Result<Store, Failure> {
        let project = self.project()?;
        if !project.cache.is_dir() {
            return Err(Failure::Usage(
                format!("there is no cache at `{}`", project.cache.display()),
                Some("run this in a project, or pass the cache with `--cache`".to_owned()),
            ));
        }
        Ok(Store::open(&project.cache)?)
    }
}

impl Command for Cache {
    fn run(self, _: &Program<'_>) -> Outcome {
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
    for entry in store.entries(EntryKind::Record) {
        let key = entry?.digest;
        // Most records belong to shares and steps, not to stages.
        if let Some(record) = crate::record::Record::read(&store, &key)? {
            rows.push((record, key));
        }
    }
    rows.sort_by(|a, b| (&a.0.finished, a.1).cmp(&(&b.0.finished, b.1)));
    if place.json {
        let all: Vec<_> = rows.iter().map(|(record, key)| json!({ "key": key, "record": record })).collect();
        ui::print(&pretty(&json!({ "version": 1, "records": all })));
        return Ok(());
    }
    let row = |(record, key): &(crate::record::Record, pipe_stage::Digest)| {
        vec![
            Cell::Text(record.finished.clone()),
            Cell::Text(record.uses.clone()),
            Cell::Text(key.short().to_string()),
            Cell::Figure(bytes(record.output_bytes)),
            Cell::Detail(record.config.to_string()),
        ]
    };
    let heading = ["computed", "type", "key", "output", "config"];
    let narrow = Narrow::without(&["config", "output", "computed"]);
    ui::print(&ui::table(&heading, rows.iter().map(row).collect(), narrow));
    Ok(())
}

fn usage(place: &Place) -> Outcome {
    let usage = place.open()?.usage()?;
    let parts = [
        ("objects", usage.objects),
        ("artifacts", usage.artifacts),
        ("records", usage.records),
        ("runs", usage.runs),
        ("checkpoints", usage.checkpoints),
        ("work", usage.work),
        ("other", usage.other),
    ];
    if place.json {
        let part = |(name, amount): &(&str, pipe_cache::Amount)| json!({ "what": name, "files": amount.files, "bytes": amount.bytes });
        let all: Vec<_> = parts.iter().map(part).collect();
        ui::print(&pretty(&json!({ "version": 1, "usage": all })));
        return Ok(());
    }
    let row = |(name, amount): &(&str, pipe_cache::Amount)| {
        vec![
            Cell::Text((*name).to_owned()),
            Cell::Figure(amount.files.to_string()),
            Cell::Figure(bytes(amount.bytes)),
        ]
    };
    ui::print(&ui::table(&["what", "files", "size"], parts.iter().map(row).collect(), Narrow::default()));
    Ok(())
}

impl Gc {
    fn run(self) -> Outcome {
        let (project, store) = (self.place.project()?, self.place.open()?);
        let mode = if self.dry_run { Collect::Rehearse } else { Collect::Now };
        let limits = Limits { bytes_max: self.max_size, recent: self.recent, young: self.young, mode };
        let roots = || roots::find(&store, &project.root, self.recent).map_err(Into::into);
        let collected = garbage::collect(&store, limits, &roots).map_err(|error| match error {
            GarbageError::Cache(error) => error.into(),
            GarbageError::Roots(error) => match error.downcast::<RootsError>() {
                Ok(error) => (*error).into(),
                Err(error) => Failure::Failed(format!("cannot determine what is needed: {error}"), None),
            },
            error => Failure::Failed(error.to_string(), None),
        })?;
        let ages = Ages { runs: self.runs, checkpoints: self.checkpoints };
        let needed = roots::find(&store, &project.root, self.recent)?.folders;
        let expired = expiry::expire(&store, ages, &needed, mode).map_err(|error| match error {
            ExpiryError::Run(error) => error.into(),
            ExpiryError::Cache(error) => Failure::from(error),
            ExpiryError::Io { .. } => Failure::Usage(
                error.to_string(),
                Some("make it readable and writable for this user".to_owned()),
            ),
        })?;
        collected.warnings.iter().for_each(ui::warn);
        let Collected { bytes_before, bytes_after, bytes_needed, gone, .. } = &collected;
        if self.place.json {
            let mut output = json!(collected);
            output["version"] = json!(1);
            output["dry_run"] = json!(self.dry_run);
            output["expired"] = json!(expired);
            ui::print(&pretty(&output));
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
            let heading = ["produced by", "files", "size", "time to recompute"];
            ui::print(&ui::table(&heading, rows, Narrow::without(&["files"])));
        }
        let after = if self.dry_run { "would be" } else { "is now" };
        let (before, left) = (bytes(*bytes_before), bytes(*bytes_after));
        ui::say(&format!("the size of the cache was {before} and {after} {left}"));
        if *bytes_after > self.max_size {
            ui::say(&format!(
                "this is more than {}, but {} of it is pinned, locked, in use or recent; see `--recent` and `pipe cache pins`",
                bytes(self.max_size),
                bytes(*bytes_needed)
            ));
        }
        if expired.bytes > 0 {
            let deleted = if self.dry_run { "would delete" } else { "deleted" };
            ui::say(&format!(
                "{deleted} old folders of runs ({}) and checkpoints ({}), and old journals: {}",
                expired.runs,
                expired.checkpoints,
                bytes(expired.bytes)
            ));
        }
        let left = store.usage()?;
        let beside = left.checkpoints.bytes + left.runs.bytes;
        if beside > 0 {
            ui::say(&format!("checkpoints and runs use another {}; see `pipe cache du`", bytes(beside)));
        }
        Ok(())
    }
}

impl From<RootsError> for Failure {
    fn from(error: RootsError) -> Self {
        match error {
            RootsError::Run(error) => error.into(),
            RootsError::Lock(error) => error.into(),
            RootsError::Events(error) => error.into(),
        }
    }
}

impl Pin {
    fn run(self, pinned: Pinned) -> Outcome {
        let store = self.place.open()?;
        let runs = all_runs(&store)?;
        let run = pick(&runs, &self.run).map_err(|message| {
            let help = "`pipe history MANIFEST` lists runs".to_owned();
            Failure::Usage(format!("no run `{}`: {message}", self.run), Some(help))
        })?;
        let changed = run.pin(pinned).map_err(|error| {
            Failure::Failed(format!("cannot change the pin of `{}`: {error}", run.path.display()), None)
        })?;
        let state = match pinned {
            Pinned::Yes => "pinned",
            Pinned::No => "unpinned",
        };
        if self.place.json {
            ui::print(&pretty(&json!({ "version": 1, "run": run.id, "pinned": run.is_pinned() })));
        }
        ui::say(&format!("{state} {}{}", run.id, if changed { "" } else { " (already done)" }));
        Ok(())
    }
}

fn all_runs(store: &Store) -> Result<Vec<RunFolder>, Failure> {
    Ok(RunFolder::all(store.root())?)
}

fn pins(place: &Place) -> Outcome {
    let store = place.open()?;
    let mut runs = all_runs(&store)?;
    runs.retain(RunFolder::is_pinned);
    if place.json {
        let run = |run: &RunFolder| json!({ "run": run.id, "pipeline": run.head.pipeline, "began": run.head.began });
        ui::print(&pretty(&json!({ "version": 1, "pins": runs.iter().map(run).collect::<Vec<_>>() })));
        return Ok(());
    }
    if runs.is_empty() {
        ui::say("no run is pinned");
        return Ok(());
    }
    let row = |run: &RunFolder| {
        [&run.id, &run.head.pipeline, &run.head.began].map(|text| Cell::Text(text.clone())).into()
    };
    ui::print(&ui::table(
        &["run", "pipeline", "began"],
        runs.iter().map(row).collect(),
        Narrow::without(&["began"]),
    ));
    Ok(())
}

fn description(damage: &pipe_cache::Damage) -> String {
    let kind = match damage.kind {
        EntryKind::Object => "object",
        EntryKind::Artifact => "artifact",
        EntryKind::Record => "record",
    };
    format!("{kind} {}: {}", damage.digest, damage.cause)
}

fn verify(place: &Place, repair: bool) -> Outcome {
    let store = place.open()?;
    let damages = store.verify(if repair { Repair::Discard } else { Repair::Report }, |_| {})?;
    if place.json {
        let all: Vec<_> = damages
            .iter()
            .map(|damage| json!({ "digest": damage.digest, "what": description(damage) }))
            .collect();
        ui::print(&pretty(&json!({ "version": 1, "damages": all })));
    } else {
        damages.iter().for_each(|damage| ui::print(&description(damage)));
    }
    match (damages.len(), repair) {
        (0, _) => {
            ui::say("no damage found");
            Ok(())
        }
        (count, true) => Err(Failure::Failed(
            format!("{} removed", ui::counted(count, "damaged entry")),
            Some(RECOMPUTES.to_owned()),
        )),
        (count, false) => Err(Failure::Failed(
            format!("{} found", ui::counted(count, "damaged entry")),
            Some(format!("`pipe cache verify --repair` removes damaged entries; {RECOMPUTES}")),
        )),
    }
}
