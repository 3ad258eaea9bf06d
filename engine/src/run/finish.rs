//! Owns: what a run leaves behind: its folder, each stage's record and log, links to what stages made.
//!
//! ```text
//! runs/ID/                 ID is the time of its beginning and the engine's process id
//!   run.json, stages.json  what it is a run of, and how it ended: see `folder`
//!   manifest/NAME          the texts as they were run
//!   STAGE.spec.json        what its worker was told
//!   STAGE.log              what it wrote
//!   summary.json           the closing table
//! trees/DIGEST/            links into objects/, one folder per artifact; out/STAGE/PORT links here
//! ```

use super::{
    Row,
    folder::{self, Closed, Head, HeadNeed, HeadStage},
    local::Ended,
    machine,
    spec::Spec,
};
use crate::{
    plan::{Resolved, Session},
    record::{Record, RecordedInput, Visit, read_artifact},
};
use pipe_cache::{Commit, Owner, Published};
use pipe_stage::{Artifact, Digest, Error, Metric};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// The folder of a run.
pub(super) struct Run {
    /// Where it is.
    pub(super) folder: PathBuf,
}

/// What a stage made, as its worker told.
pub(super) struct Made {
    pub(super) outputs: BTreeMap<String, Digest>,
    pub(super) metrics: Vec<Metric>,
    pub(super) instruction_sets: Vec<String>,
    pub(super) seconds: f64,
    pub(super) shares: (u64, u64),
}

impl Run {
    /// Makes the folder and puts the manifest there, and what it is a run of.
    pub(super) fn new(session: &Session, stages: &[usize]) -> Result<Self, Error> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let folder = session.store.root().join("runs").join(format!("{now}-{}", std::process::id()));
        let texts = folder.join("manifest");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&texts)?;
            for (position, (name, text)) in session.manifest.texts().enumerate() {
                let name = Path::new(name).file_name().map_or("text".into(), |name| name.to_string_lossy());
                fs::write(texts.join(format!("{position}-{name}")), text)?;
            }
            // Last, and whole: with it the folder is a run for those who look on.
            write_whole(&folder.join("run.json"), &head(session, stages))
        };
        write().map_err(|error| Error::io("write", &folder, &error))?;
        Ok(Self { folder })
    }

    /// Writes a stage's spec; returns where it is, and where its log goes.
    pub(super) fn spec(&self, stage: &str, spec: &Spec) -> Result<(PathBuf, PathBuf), Error> {
        let path = self.folder.join(format!("{stage}.spec.json"));
        let text = serde_json::to_vec(spec).expect("invariant: a spec is plain data");
        fs::write(&path, text).map_err(|error| Error::io("write", &path, &error))?;
        Ok((path, self.log(stage)))
    }

    /// Where a stage's log goes.
    pub(super) fn log(&self, stage: &str) -> PathBuf {
        self.folder.join(format!("{stage}.log"))
    }

    /// Writes the closing table, and what became of each stage; a full disk must not turn a good run into a
    /// bad one.
    pub(super) fn close(&self, rows: &[Row], closed: &Closed) {
        let text = serde_json::to_vec_pretty(rows).expect("invariant: a table is plain data");
        let _ = fs::write(self.folder.join("summary.json"), text);
        let _ = write_whole(&self.folder.join("stages.json"), closed);
    }
}

/// What a run of these stages, which come in running order, is a run of.
fn head(session: &Session, stages: &[usize]) -> Head {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let stage = |&stage: &usize| {
        let needs = session.manifest.stages[stage].needs.iter().flat_map(|(input, needs)| {
            needs.iter().map(|need| HeadNeed {
                stage: session.name(need.stage).to_owned(),
                output: need.output.clone(),
                input: input.clone(),
            })
        });
        HeadStage {
            name: session.name(stage).to_owned(),
            uses: session.kind(stage).name.to_owned(),
            needs: needs.collect(),
        }
    };
    Head {
        version: 1,
        pipeline: session.manifest.pipeline.clone(),
        manifest: absolute(&session.project.manifest),
        lock: absolute(&session.project.lock()),
        root: session.project.root.clone(),
        owner: Owner::current().to_string(),
        host: machine::describe().host,
        pid: std::process::id(),
        code: env!("CARGO_PKG_VERSION").to_owned(),
        began: folder::now(),
        stages: stages.iter().map(stage).collect(),
    }
}

/// Writes a file that others may read at any moment: they see all of it, or none.
fn write_whole(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value).expect("invariant: what is written is plain data");
    let half = path.with_extension("half");
    fs::write(&half, text)?;
    fs::rename(&half, path)
}

/// Records what a stage made. The first record wins: what it says is what counts.
pub(super) fn record(
    session: &Session,
    stage: usize,
    resolved: &Resolved,
    made: Made,
    ended: &Ended,
    log: &Path,
) -> Result<Record, Error> {
    let store = &session.store;
    let kind = session.kind(stage);
    mask(session, log);
    let mut objects = vec![store.import(log)?];
    let log = objects[0].blob();
    let mut sources = None;
    if !resolved.sources.is_empty() {
        let line =
            |file: &pipe_stage::SourceFile| format!("{}\t{}\t{}\n", file.digest, file.source, file.name);
        let listing: String = resolved.sources.iter().map(line).collect();
        let mut writer = store.writer()?;
        io::Write::write_all(&mut writer, listing.as_bytes())
            .map_err(|error| Error::io("write", store.root(), &error))?;
        let staged = writer.finish()?;
        sources = Some(staged.blob());
        objects.push(staged);
    }
    let size = |digest: &Digest| read_artifact(store, digest).map_or(0, |artifact| artifact.size());
    let input = |(label, digest): &(String, Digest)| RecordedInput { label: label.clone(), digest: *digest };
    let record = Record {
        version: 1,
        uses: kind.name.to_owned(),
        revision: kind.revision,
        program: session.identity(stage).program,
        config: session.manifest.stages[stage].config.essence.clone(),
        inputs: resolved
            .inputs
            .iter()
            .map(|(port, all)| (port.clone(), all.iter().map(input).collect()))
            .collect(),
        sources,
        output_bytes: made.outputs.values().map(size).sum(),
        outputs: made.outputs,
        metrics: made.metrics,
        seconds: made.seconds,
        cpu_seconds: ended.usage.cpu_seconds,
        memory_peak: ended.usage.memory_peak,
        log: Some(log),
        machine: machine::describe(),
        instruction_sets: made.instruction_sets,
        code: env!("CARGO_PKG_VERSION").to_owned(),
        finished: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    };
    // A record that is there though the stage ran stands on objects that were gone.
    if let Some(before) = Record::read(store, &resolved.key)?
        && (before.outputs != record.outputs || !before.is_held(store))
    {
        store.retire(&resolved.key)?;
    }
    let commit = Commit { objects, records: vec![(resolved.key, record.to_bytes())], ..Commit::default() };
    let published = store.commit(commit)?;
    let visit = Visit {
        key: resolved.key,
        seconds: record.seconds,
        memory_peak: record.memory_peak,
        output_bytes: record.output_bytes,
        shares: made.shares,
    };
    // Costs later estimates only.
    let _ = session.journal.add(session.name(stage), &visit);
    match published.into_iter().next() {
        Some(Published::Lost(body)) => Ok(serde_json::from_slice(&body).unwrap_or(record)),
        _ => Ok(record),
    }
}

/// Takes the values of secrets out of a log.
fn mask(session: &Session, log: &Path) {
    let values: Vec<String> =
        session.manifest.used.secrets.iter().filter_map(|name| std::env::var(name).ok()).collect();
    let Ok(text) = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) else { return };
    let masked = values
        .iter()
        .filter(|value| !value.is_empty())
        .fold(text.clone(), |text, value| text.replace(value.as_str(), "***"));
    if masked != text {
        let _ = fs::write(log, masked);
    }
}

/// Points `out/STAGE/PORT` to a folder of links into the cache, unless it points there already.
///
/// Links are a convenience: one that cannot be made is no failure of the run.
pub(super) fn link(session: &Session, stage: usize, outputs: &BTreeMap<String, Digest>) {
    let folder = session.project.out().join(session.name(stage));
    for (port, digest) in outputs {
        let tree = session.store.root().join("trees").join(digest.to_string());
        let place = folder.join(port);
        if fs::read_link(&place).is_ok_and(|target| target == tree) && tree.is_dir() {
            continue;
        }
        let Some(artifact) = read_artifact(&session.store, digest) else { continue };
        let _ = grow(session, &artifact, &tree).and_then(|()| {
            fs::create_dir_all(&folder)?;
            if place.is_symlink() {
                fs::remove_file(&place)?;
            }
            symlink(&tree, &place)
        });
    }
}

fn grow(session: &Session, artifact: &Artifact, tree: &Path) -> io::Result<()> {
    if tree.is_dir() {
        return Ok(());
    }
    let half = tree.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&half)?;
    let mut views = 0;
    for entry in &artifact.entries {
        let place = half.join(&entry.name);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        if entry.content.selection.is_some() || entry.content.columns.is_some() {
            views += 1;
        } else {
            symlink(session.store.object_path(&entry.content.blob.digest), &place)?;
        }
    }
    if views > 0 {
        let text = format!("{views} entries select rows of other files; `pipe get` writes them out.\n");
        fs::write(half.join("VIEWS.txt"), text)?;
    }
    match fs::rename(&half, tree) {
        Err(_) if tree.is_dir() => fs::remove_dir_all(&half),
        result => result,
    }
}
