//! The results of a pipeline, for commands that follow documents through its stages.

use super::{Failure, Pipeline};
use crate::{
    plan::{Session, Verdict},
    record::read_artifact,
    stage_type::StageType,
};
use pipe_stage::{Artifact, Digest, Entry, LocalEntry, Metric, SourceFile, Store};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// The stages of a pipeline in running order, with the results that are up to date.
pub struct Results {
    /// The manifest.
    pub manifest: PathBuf,
    /// Its stages, each after those that it depends on.
    pub stages: Vec<StageResult>,
    store: Store,
}

/// A stage with its result.
pub struct StageResult {
    /// Name of the stage.
    pub name: String,
    /// Its type.
    pub uses: &'static str,
    /// All fields of its config.
    pub config: serde_json::Value,
    /// Whether its result is up to date.
    pub is_up_to_date: bool,
    /// What it reads, by port.
    pub inputs: Vec<ResultInput>,
    /// What it makes; without artifacts if the result is out of date.
    pub outputs: Vec<ResultOutput>,
    /// The metrics of its result.
    pub metrics: Vec<Metric>,
    /// The files outside the cache that it reads.
    pub sources: Arc<Vec<SourceFile>>,
    /// Tasks of the first step that has missing ones, and all its tasks; if it would run.
    pub missing: Option<(u64, u64)>,
}

/// An input of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultInput {
    /// Name of the port.
    pub port: String,
    /// Its key in the map under `needs`; otherwise empty.
    pub label: String,
    /// Position of the stage that makes it.
    pub stage: usize,
    /// Position of the output of that stage.
    pub output: usize,
}

/// An output of a stage.
pub struct ResultOutput {
    /// Name of the port.
    pub port: String,
    /// Kind of artifact.
    pub kind: String,
    /// Whether it is the main output.
    pub is_main: bool,
    /// The artifact, if the result is up to date and the cache has its list of entries.
    pub artifact: Option<Artifact>,
}

impl StageResult {
    /// The position of an output.
    pub fn output(&self, port: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.port == port)
    }
}

impl Results {
    /// Opens an entry of one of the artifacts.
    pub fn open(&self, entry: &Entry) -> LocalEntry {
        LocalEntry::new(&self.store, entry)
    }

    /// The position of a stage.
    pub fn stage(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name == name)
    }

    /// The artifact that an input reads.
    pub fn artifact(&self, input: &ResultInput) -> Option<&Artifact> {
        self.stages[input.stage].outputs[input.output].artifact.as_ref()
    }

    /// Loads the targets of a pipeline and the stages that they depend on; without targets, all stages.
    pub(super) fn of(
        pipeline: &Pipeline,
        types: &'static [StageType],
        targets: &[String],
    ) -> Result<Self, Failure> {
        let (session, stages, _) = pipeline.session(types, targets)?;
        let planned = session.plan(&stages, &[])?;
        let place: BTreeMap<usize, usize> =
            planned.iter().enumerate().map(|(at, planned)| (planned.stage, at)).collect();
        let mut results = Vec::with_capacity(planned.len());
        for planned in planned {
            let missing = match &planned.verdict {
                Verdict::Run(work) => work.missing.as_ref().map(|(_, missing, of)| (*missing, *of)),
                _ => None,
            };
            let record = match planned.verdict {
                Verdict::Cached(record) => Some(record),
                _ => None,
            };
            let outputs = record.as_ref().map(|record| &record.outputs);
            let mut result = stage_result(&session, planned.stage, outputs, &results, &place);
            result.missing = missing;
            result.metrics = record.map(|record| record.metrics).unwrap_or_default();
            results.push(result);
        }
        Ok(Self { manifest: pipeline.manifest.clone(), stages: results, store: session.store.clone() })
    }
}

fn stage_result(
    session: &Session,
    stage: usize,
    outputs: Option<&BTreeMap<String, Digest>>,
    before: &[StageResult],
    place: &BTreeMap<usize, usize>,
) -> StageResult {
    let config = &session.manifest.stages[stage].config;
    let main = config.ports.main_output().map(|output| output.name.to_string());
    let output = |output: &crate::manifest::Output| ResultOutput {
        port: output.name.to_string(),
        kind: output.kind.to_string(),
        is_main: main.as_deref() == Some(&*output.name),
        artifact: outputs
            .and_then(|outputs| outputs.get(&*output.name))
            .and_then(|digest| read_artifact(&session.store, digest)),
    };
    let mut inputs = Vec::new();
    for (port, needs) in &session.manifest.stages[stage].needs {
        for need in needs {
            let from = place.get(&need.stage).copied().filter(|from| *from < before.len());
            let output = from.and_then(|from| before[from].output(&need.output));
            if let Some((stage, output)) = from.zip(output) {
                let label = need.label.clone().unwrap_or_default();
                inputs.push(ResultInput { port: port.clone(), label, stage, output });
            }
        }
    }
    StageResult {
        name: session.name(stage).to_owned(),
        uses: session.kind(stage).name,
        config: config.json.clone(),
        is_up_to_date: outputs.is_some(),
        inputs,
        outputs: config.ports.outputs.iter().map(output).collect(),
        metrics: Vec::new(),
        sources: session.listing(stage),
        missing: None,
    }
}
