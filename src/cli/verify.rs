//! `pipe verify`: runs stages again on their recorded inputs, in a separate store, and compares the results.

use super::{Command, Failure, Outcome, Pipeline, Program};
use crate::{
    plan::{Session, Verdict},
    record::{Record, read_artifact},
    run::worker,
    ui,
};
use clap::Parser;
use pipe_cache::Commit;
use pipe_stage::{
    Artifact, Context, Digest, Error, Event, InputArtifact, Metric, Mode, Setup, Stop, Store, guarded,
    instruction_set,
};
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

/// Run stages again on their recorded inputs and compare the results.
#[derive(Parser)]
#[command(name = "verify", after_help = "Example: pipe verify pipelines/gpt-small.yaml text")]
pub(super) struct Verify {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// Stages to run again [default: all]; their dependencies are not run.
    stages: Vec<String>,
}

impl Command for Verify {
    fn run(self, program: &Program<'_>) -> Outcome {
        let (session, stages, targets) = self.pipeline.session(program.types, &self.stages)?;
        let mut differing = 0;
        for planned in session.plan(&stages, &[])? {
            if !targets.is_empty() && !targets.contains(&planned.stage) {
                continue;
            }
            let name = session.name(planned.stage).to_owned();
            if session.frozen_at(planned.stage).is_some() {
                self.print(&name, "frozen, not run again");
                continue;
            }
            let (Some(resolved), Verdict::Cached(record)) = (&planned.resolved, &planned.verdict) else {
                return Err(Failure::Failed(
                    format!("stage `{name}` is out of date, so there is no result to compare with"),
                    Some(format!("run it: pipe run {}", self.pipeline.manifest.display())),
                ));
            };
            let again = again(&session, planned.stage, resolved)?;
            let verdict = compare(&session, record, &again);
            differing += usize::from(verdict.is_err());
            let text = verdict.unwrap_or_else(|difference| difference);
            self.print(&name, &text);
        }
        match differing {
            0 => Ok(()),
            count => Err(Failure::Failed(
                format!("{} produced different output", ui::counted(count, "stage")),
                None,
            )),
        }
    }
}

impl Verify {
    fn print(&self, stage: &str, verdict: &str) {
        if self.pipeline.json {
            ui::print(&ui::json(&json!({ "version": 1, "stage": stage, "verdict": verdict })));
        } else {
            ui::print(&format!("{stage}: {verdict}"));
        }
    }
}

/// Runs a stage in a scratch store with its inputs; returns artifacts by port.
fn again(session: &Session, stage: usize, resolved: &crate::plan::Resolved) -> Result<Again, Failure> {
    let scratch = session.store.scratch()?;
    let store = Store::open(scratch.path().join("store"))?;
    let mut inputs = BTreeMap::new();
    for (port, all) in &resolved.inputs {
        let open = |(label, digest): &(String, Digest)| -> Result<InputArtifact, Failure> {
            let artifact = read_artifact(&session.store, digest).ok_or(Error::Missing { digest: *digest })?;
            let mut objects = Vec::new();
            for blob in artifact.blobs() {
                objects.push(store.import(&session.store.verified(blob)?)?);
            }
            store.commit(Commit { objects, artifacts: vec![artifact.to_bytes()], ..Commit::default() })?;
            Ok(InputArtifact { label: label.clone(), digest: *digest, artifact })
        };
        inputs.insert(port.clone(), all.iter().map(open).collect::<Result<Vec<_>, _>>()?);
    }
    let setup = Setup {
        store: store.clone(),
        identity: session.identity(stage),
        mode: Mode::Here,
        inputs,
        sources: resolved.sources.to_vec(),
        remotes: session.kind(stage).remotes,
        threads: crate::machine::cpus(),
        events: Arc::new(|_: Event| {}),
        stop: Stop::default(),
        lease: None,
    };
    std::env::set_current_dir(&session.project.root)
        .map_err(|error| Error::io("enter", &session.project.root, &error))?;
    let config = &session.manifest.stages[stage].config;
    let log = scratch.path().join("log");
    let work = || guarded(|| Context::new(setup).enter(&*config.stage));
    let outcome =
        worker::logged(&log, &config.json, work).inspect_err(|_| tell_log(session.name(stage), &log))?;
    let read = |(port, digest): (String, Digest)| Some((port, read_artifact(&store, &digest)?));
    let outputs = outcome.outputs.into_iter().filter_map(read).collect();
    Ok(Again { outputs, metrics: outcome.metrics })
}

/// Says how the log of a stage that failed ends.
fn tell_log(stage: &str, log: &Path) {
    const LINES: usize = 12;
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(LINES))
        .for_each(|line| ui::say(&format!("{stage}: {line}")));
}

/// The new result of a stage.
struct Again {
    outputs: BTreeMap<String, Artifact>,
    metrics: Vec<Metric>,
}

/// Relative tolerance for metrics of a training on another instruction set. Rounding alone makes two runs diverge
/// within a few dozen steps; after that they differ as much as runs with different seeds.
const FIGURES_TOLERANCE: f64 = 0.05;

/// The first metric that does not depend on a clock and exceeds the tolerance.
fn far_off(before: &[Metric], again: &[Metric]) -> Option<String> {
    let figures = before.iter().filter(|metric| !metric.clock);
    let far = |metric: &&Metric| {
        let now = again.iter().find(|now| now.name == metric.name);
        now.is_none_or(|now| {
            let off = (now.value - metric.value).abs();
            off.is_nan() || off > FIGURES_TOLERANCE * metric.value.abs().max(now.value.abs())
        })
    };
    let metric = figures.into_iter().find(far)?;
    let now = again.iter().find(|now| now.name == metric.name).map(|now| now.value.to_string());
    Some(format!("`{}` was {} and is {}", metric.name, metric.value, now.unwrap_or("missing".to_owned())))
}

/// Compares the results: byte by byte if the machines are alike.
fn compare(session: &Session, record: &Record, again: &Again) -> Result<String, String> {
    let mut different = Vec::new();
    for (port, digest) in &record.outputs {
        let Some(now) = again.outputs.get(port) else {
            different.push(format!("output `{port}` is missing"));
            continue;
        };
        if now.digest() == *digest {
            continue;
        }
        let before = read_artifact(&session.store, digest);
        let known = before.map(|before| before.entries).unwrap_or_default();
        let names: Vec<&str> = now
            .entries
            .iter()
            .filter(|entry| !known.contains(entry))
            .map(|entry| entry.name.as_str())
            .take(3)
            .collect();
        different.push(format!("output `{port}` differs: {}", names.join(", ")));
    }
    let like = record.instruction_sets.iter().all(|set| set == instruction_set());
    match (different.is_empty(), like) {
        (true, _) => Ok("identical".to_owned()),
        (false, true) => Err(different.join("; ")),
        // Another order of summation gives other bytes; this is accepted as long as the metrics agree.
        (false, false) => {
            let (made, here) = (record.instruction_sets.join(", "), instruction_set());
            let different = different.join("; ");
            match far_off(&record.metrics, &again.metrics) {
                None => {
                    Ok(format!("computed on {made}, verified on {here}: {different}; all metrics within 5 %"))
                }
                Some(figure) => Err(format!("computed on {made}, verified on {here}: {different}; {figure}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_another_instruction_set_may_be_a_little_off() {
        let loss = |value| vec![Metric::new("loss", value, "nat/token")];
        assert_eq!(far_off(&loss(4.0), &loss(4.1)), None);
        assert_eq!(far_off(&loss(0.0), &loss(0.0)), None);
        assert!(far_off(&loss(4.0), &loss(4.3)).is_some_and(|text| text == "`loss` was 4 and is 4.3"));
        assert!(far_off(&loss(4.0), &loss(f64::NAN)).is_some());
        assert!(far_off(&loss(4.0), &[]).is_some_and(|text| text.ends_with("is missing")));
        let rate = |value| vec![Metric::new("tokens_per_second", value, "token/s").by_clock()];
        assert_eq!(far_off(&rate(100.0), &rate(900.0)), None, "clocks differ");
    }
}
