//! Owns: recording the results of stages. The first record of a key wins, unless the stage was forced to run.

use super::executor::Ended;
use crate::{
    plan::{Resolved, Session},
    record::{Granted, Record, RecordedInput, Visit, read_artifact},
    warning::Warning,
};
use pipe_cache::{Commit, Lease, Published};
use pipe_stage::{Digest, Error, Metric};
use std::{collections::BTreeMap, io, path::Path};

/// The result of a stage, as reported by its worker.
pub(super) struct Made {
    pub(super) outputs: BTreeMap<String, Digest>,
    pub(super) metrics: Vec<Metric>,
    pub(super) instruction_sets: Vec<String>,
    pub(super) tasks: (u64, u64),
    pub(super) granted: Granted,
    /// The folder that it was taken from.
    pub(super) adopted: Option<String>,
}

/// What becomes of a result that is recorded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// The first record wins: what it says is what counts.
    Wins,
    /// The stage was to be done afresh. The earlier result stays until the new one is whole: a stage that fails or is
    /// interrupted takes nothing away.
    Replaced,
}

/// Records what a stage made.
#[expect(clippy::too_many_arguments, reason = "what a record says comes from everywhere")]
pub(super) fn record(
    session: &Session,
    stage: usize,
    resolved: &Resolved,
    made: Made,
    ended: &Ended,
    log: &Path,
    lease: &Lease,
    before: Before,
    warn: &mut dyn FnMut(Warning),
) -> Result<Record, Error> {
    let store = &session.store;
    let kind = session.kind(stage);
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
        seconds: ended.elapsed.as_secs_f64(),
        cpu_seconds: ended.usage.cpu_seconds,
        memory_peak: ended.usage.memory_peak,
        log: Some(log),
        machine: ended.machine.clone(),
        granted: Some(made.granted),
        instruction_sets: made.instruction_sets,
        code: env!("CARGO_PKG_VERSION").to_owned(),
        adopted: made.adopted,
        finished: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    };
    if let Some(body) = store.record(&resolved.key)? {
        // One that is there though nobody asked for a new one stands on objects that were gone.
        let is_outdated = serde_json::from_slice::<Record>(&body)
            .map_or(true, |before| before.outputs != record.outputs || !before.is_held(store));
        if before == Before::Replaced || is_outdated {
            store.retire(&resolved.key, &body, &lease.token())?;
        }
    }
    let commit = Commit { objects, records: vec![(resolved.key, record.to_bytes())], ..Commit::default() };
    let published = store.commit(commit)?;
    let visit = Visit {
        version: Visit::VERSION,
        key: resolved.key,
        seconds: record.seconds,
        memory_peak: record.memory_peak,
        output_bytes: record.output_bytes,
        tasks: made.tasks,
        adopted: record.adopted.is_some(),
        amounts: session.amounts(stage, Some(resolved)),
    };
    if let Err(error) = session.journal.add(session.name(stage), &visit) {
        let help = "later plans estimate without this run; make the file writable for this user".to_owned();
        warn(Warning { message: error.to_string(), help });
    }
    match published.into_iter().next() {
        Some(Published::Lost(body)) => Ok(serde_json::from_slice(&body).unwrap_or(record)),
        _ => Ok(record),
    }
}
