//! `pipe cache ls | du | verify`.

use super::{Failure, Outcome};
use crate::{
    project::Project,
    ui::{self, Cell, units::bytes},
};
use pipe_cache::{Kind, Repair};
use pipe_stage::Store;
use serde_json::json;
use std::path::{Path, PathBuf};

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
    fn open(&self) -> Result<Store, Failure> {
        let project = Project::of(Path::new("./x"), self.cache.as_deref());
        let project =
            project.map_err(|error| Failure::Failed(format!("cannot find the project: {error}"), None))?;
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
