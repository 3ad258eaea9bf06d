//! `pipe get`.

use super::{Command, Failure, Outcome, Pipeline, Program, pretty};
use crate::{
    command::{kind, lay_out},
    manifest::split_output,
    plan::Session,
    record::{Record, read_artifact},
    ui,
};
use clap::Parser;
use pipe_stage::{Artifact, Digest, Error, LocalEntry};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Copy an output of a stage into a folder of ordinary files.
#[derive(Parser)]
#[command(name = "get", after_help = "Example: pipe get pipelines/gpt-small.yaml export model/")]
pub(super) struct Get {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// `STAGE` for its main output, or `STAGE.PORT`.
    what: String,
    /// Folder to write to; it must be new or empty.
    folder: PathBuf,
}

impl Command for Get {
    fn run(self, program: &Program<'_>) -> Outcome {
        let (stage, port) = split(&self.what);
        let (session, target, key, record) = self.pipeline.held(program.types, stage)?;
        let port = match port {
            Some(port) => port.to_owned(),
            None => main_port(&session, target)?,
        };
        let digest = output(&record, stage, &port)?;
        let artifact = read_artifact(&session.store, &digest).ok_or(Error::Missing { digest })?;
        write(&session, &artifact, &self.folder)?;
        let provenance = provenance(&session, target, &port, key, &record)?;
        // What the stage itself called so stays, such as an output of an earlier `pipe get` that it took in.
        let is_taken = artifact.entries.iter().any(|entry| entry.name == "provenance.json");
        let name = if is_taken { "provenance.pipe.json" } else { "provenance.json" };
        let path = self.folder.join(name);
        fs::write(&path, pretty(&provenance) + "\n").map_err(|error| Error::io("write", &path, &error))?;
        let count = artifact.entries.len();
        if self.pipeline.json {
            ui::print(&ui::json(&json!({ "version": 1, "files": count, "folder": self.folder })));
        } else {
            ui::say(&format!(
                "wrote {} of `{stage}.{port}` to {}",
                ui::counted(count, "file"),
                self.folder.display()
            ));
        }
        Ok(())
    }
}

/// Splits `STAGE` or `STAGE.PORT`.
pub(super) fn split(what: &str) -> (&str, Option<&str>) {
    split_output(what)
}

pub(super) fn output(record: &Record, stage: &str, port: &str) -> Result<Digest, Failure> {
    record.outputs.get(port).copied().ok_or_else(|| {
        let known: Vec<&str> = record.outputs.keys().map(String::as_str).collect();
        Failure::Usage(
            format!("stage `{stage}` has no output `{port}`"),
            Some(format!("outputs: {}", known.join(", "))),
        )
    })
}

pub(super) fn main_port(session: &Session, stage: usize) -> Result<String, Failure> {
    let ports = &session.manifest.stages[stage].config.ports;
    let main = ports.main_output().map(|output| output.name.to_string());
    main.ok_or_else(|| {
        let known: Vec<&str> = ports.outputs.iter().map(|output| &*output.name).collect();
        Failure::Usage(
            format!("stage `{}` has no main output", session.name(stage)),
            Some(format!("choose one of: {}", known.join(", "))),
        )
    })
}

fn write(session: &Session, artifact: &Artifact, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    let mut there = fs::read_dir(folder).map_err(|error| Error::io("list", folder, &error))?;
    if there.next().is_some() {
        return Err(Failure::Usage(
            format!("`{}` is not empty", folder.display()),
            Some("choose a new folder; existing files are never overwritten".to_owned()),
        ));
    }
    let entries: Vec<LocalEntry> =
        artifact.entries.iter().map(|entry| LocalEntry::new(&session.store, entry)).collect();
    Ok(lay_out(&entries, kind(&artifact.kind), folder)?)
}

/// Where an artifact comes from: all stages that led to it, with keys, configs, inputs, code and metrics.
fn provenance(
    session: &Session,
    stage: usize,
    port: &str,
    key: Digest,
    record: &Record,
) -> Result<Value, Failure> {
    let stages = session.graph.subset(&[stage]);
    let mut all = BTreeMap::new();
    for planned in session.plan(&stages, &[])? {
        let crate::plan::Verdict::Cached(record) = &planned.verdict else { continue };
        let name = session.name(planned.stage).to_owned();
        let mut entry = serde_json::to_value(record).expect("invariant: a record is plain data");
        entry["key"] = json!(planned.resolved.as_ref().map(|resolved| resolved.key));
        entry["recipe"] = json!(planned.recipe);
        all.insert(name, entry);
    }
    Ok(json!({
        "version": 1,
        "pipeline": session.manifest.pipeline,
        "stage": session.name(stage),
        "port": port,
        "key": key,
        "artifact": record.outputs.get(port),
        "pins": session.pins().collect::<Vec<_>>(),
        "stages": all,
    }))
}
