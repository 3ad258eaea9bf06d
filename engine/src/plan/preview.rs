//! Owns: what can be found out about stages without running them: errors that the settings of other stages and the
//! beginning of sources reveal, names of metrics, the amount of work. It writes nothing.

use crate::{
    manifest::{Code, Fault, Faults, Need, Report, Span, nearest},
    plan::{
        planning::PlanError,
        session::{Resolved, Session},
    },
    record::{Amounts, Record, Visit, read_artifact},
    sources,
};
use pipe_stage::{Digest, Misfit, Places, SourceFile, WorkInputs, covers, guarded};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

impl Session {
    /// Checks the sources of stages: columns, headers, and files that they name.
    pub fn preview(&self, stages: &[usize]) -> Result<(), Box<Report>> {
        let variable = |name: &str| std::env::var(name).ok();
        let places = Places { project: self.project.root.clone(), variable: &variable };
        let mut faults = Faults::default();
        for &stage in stages {
            let config = &self.manifest.stages[stage].config.stage;
            let found = guarded(|| Ok(config.preview(&places, &self.listing(stage))));
            let found = found.unwrap_or_else(|error| vec![Misfit::new("", error.to_string())]);
            found.iter().for_each(|misfit| faults.push(self.manifest.misfit(stage, misfit)));
        }
        if faults.is_empty() { Ok(()) } else { Err(self.manifest.report(faults)) }
    }

    /// What a stage's time, size and memory are proportional to; what depends on inputs that are yet to be made is
    /// unknown.
    pub(crate) fn amounts(&self, stage: usize, resolved: Option<&Resolved>) -> Amounts {
        let Some(resolved) = resolved else {
            return self.amounts_of(stage, self.no_inputs(stage));
        };
        let ports = resolved.inputs.iter();
        self.amounts_of(
            stage,
            self.work_inputs(
                stage,
                ports.map(|(port, inputs)| {
                    (port.as_str(), inputs.iter().map(|(_, digest)| *digest).collect())
                }),
            ),
        )
    }

    /// The same for a stage with inputs that are yet to be made: as if it read what it read in an earlier run, times
    /// what the stages that make its inputs are expected to make, beside then. `growth` says how much larger what a
    /// need gives will be than an artifact of so many bytes. `None` if nothing depends on inputs, or too little is known.
    pub(super) fn amounts_expected(
        &self,
        stage: usize,
        earlier: &Visit,
        growth: impl Fn(&Need, u64) -> Option<f64>,
    ) -> Option<Amounts> {
        let record = Record::read(&self.store, &earlier.key).ok()??;
        let ports = record.inputs.iter();
        let inputs = self.work_inputs(
            stage,
            ports.map(|(port, inputs)| (port.as_str(), inputs.iter().map(|input| input.digest).collect())),
        );
        let (mut before, mut now) = (0.0, 0.0);
        for (port, needs) in &self.manifest.stages[stage].needs {
            let artifacts = inputs.ports.get(port)?;
            if artifacts.len() != needs.len() {
                return None;
            }
            for (need, artifact) in needs.iter().zip(artifacts) {
                let bytes = artifact.size();
                before += bytes as f64;
                now += bytes as f64 * growth(need, bytes)?;
            }
        }
        let growth = Some(now / before).filter(|growth| growth.is_finite())?;
        let fixed = self.amounts(stage, None);
        let of_inputs = self.amounts_of(stage, inputs);
        let grown =
            |fixed: Option<f64>, of_inputs: Option<f64>| fixed.or(of_inputs.map(|amount| amount * growth));
        let expected = Amounts {
            work: grown(fixed.work, of_inputs.work),
            output: grown(fixed.output, of_inputs.output),
            memory: grown(fixed.memory, of_inputs.memory),
        };
        (expected != fixed).then_some(expected)
    }

    /// What is known without the artifacts.
    fn no_inputs(&self, stage: usize) -> WorkInputs {
        WorkInputs { sources: self.listing(stage), known: self.known[stage].clone(), ..WorkInputs::default() }
    }

    fn work_inputs<'p>(
        &self,
        stage: usize,
        ports: impl Iterator<Item = (&'p str, Vec<Digest>)>,
    ) -> WorkInputs {
        let mut inputs = WorkInputs { complete: true, ..self.no_inputs(stage) };
        for (port, digests) in ports {
            let artifacts: Vec<_> = digests.iter().map(|digest| read_artifact(&self.store, digest)).collect();
            inputs.complete &= artifacts.iter().all(Option::is_some);
            inputs.ports.insert(port.to_owned(), artifacts.into_iter().flatten().collect());
        }
        inputs
    }

    fn amounts_of(&self, stage: usize, inputs: WorkInputs) -> Amounts {
        let stage = &self.manifest.stages[stage].config.stage;
        let usable = |amount: Option<f64>| amount.filter(|amount| amount.is_finite() && *amount > 0.0);
        Amounts {
            work: usable(stage.work(&inputs)),
            output: usable(stage.output_amount(&inputs)),
            memory: usable(stage.memory_amount(&inputs)),
        }
    }

    /// Checks a stage's settings against what is known of its inputs.
    pub(super) fn check_known(&self, stage: usize, faults: &mut Faults) {
        let found = self.manifest.stages[stage].config.stage.check_known(&self.known[stage]);
        found.iter().for_each(|misfit| faults.push(self.manifest.misfit(stage, misfit)));
    }

    /// Refuses variables under `env` that the manifest itself calls secret: their values would be recorded.
    pub(super) fn check_secrets(&self, faults: &mut Faults) {
        let stages = &self.manifest.stages;
        let mut secret = BTreeMap::new();
        for (name, stage) in stages {
            for variable in crate::secrets::names_in(&stage.config.json) {
                secret.entry(variable).or_insert(name);
            }
        }
        for (position, stage) in stages.values().enumerate().filter(|_| !secret.is_empty()) {
            let env = stage.config.json.get("env").and_then(serde_json::Value::as_array);
            for (place, variable) in env.into_iter().flatten().enumerate() {
                let Some((variable, user)) = variable.as_str().and_then(|name| secret.get_key_value(name))
                else {
                    continue;
                };
                let message = format!(
                    "values under `env` are recorded, and `{variable}` is a secret: stage `{user}` has `${{secret.{variable}}}`"
                );
                let help = format!(
                    "write `${{secret.{variable}}}` in the line here, too; it is passed as `${variable}`"
                );
                let misfit = Misfit { help: Some(help), ..Misfit::new(format!("env[{place}]"), message) };
                faults.push(self.manifest.misfit(position, &misfit));
            }
        }
    }

    /// Files that commands may read and that are no inputs, as sentences: those that wildcards in their lines match.
    pub fn files_unseen(&self, stages: &[usize]) -> Vec<String> {
        let (mut notes, mut told) = (Vec::new(), BTreeSet::new());
        for &stage in stages {
            let sources = self.listing(stage);
            let seen: BTreeSet<&Path> = sources.iter().filter_map(SourceFile::path).collect();
            for pattern in &self.manifest.stages[stage].config.patterns {
                // The stages of a matrix have the same line.
                let of = self.manifest.family(stage).map_or(self.name(stage), |family| &family.name);
                if !told.insert((of, pattern)) {
                    continue;
                }
                let root = &self.project.root;
                let mut names = sources::matching(root, pattern, &self.project.own_folders());
                names.retain(|name| !seen.contains(root.join(name).as_path()));
                if let Some(first) = names.first() {
                    let more = names.len() - 1;
                    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                    notes.push(format!(
                        "the line of `{of}` has `{pattern}`, and files that wildcards match are no inputs (`{first}`{more}): \
                         if it reads them, list `{pattern}` under `files`"
                    ));
                }
            }
        }
        notes
    }

    /// Names under `expect` that can only be compared when the stage has run, as sentences: it does not declare its
    /// metrics, as a command does not. They are compared with those of its last run. Of the stages of a matrix, the
    /// first is named.
    pub fn expectations_open(&self, stages: &[usize]) -> Result<Vec<String>, PlanError> {
        let mut notes = Vec::new();
        let mut told = BTreeSet::new();
        for &stage in stages {
            let own = &self.manifest.stages[stage];
            if own.expect.is_empty() || own.config.stage.metrics(&self.known[stage]).is_some() {
                continue;
            }
            let name = self.name(stage);
            let last = self.journal.visits(name)?.last().map(|visit| visit.key);
            let last = last.map(|key| Record::read(&self.store, &key)).transpose()?.flatten();
            let Some(last) = last else {
                let names = own.expect.iter().filter(|own| told.insert(own.place));
                let names: Vec<_> = names.map(|own| format!("`{}`", own.metric)).collect();
                if names.is_empty() {
                    continue;
                }
                notes.push(format!(
                    "which metrics `{name}` reports is known when it has run; a run then checks {} under `expect`",
                    names.join(", ")
                ));
                continue;
            };
            let reported: Vec<&str> = last.metrics.iter().map(|metric| metric.name.as_str()).collect();
            for expectation in &own.expect {
                let metric = &expectation.metric;
                if reported.contains(&metric.as_str()) || !told.insert(expectation.place) {
                    continue;
                }
                let known = match nearest(metric, &reported) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if reported.is_empty() => "it reported none".to_owned(),
                    None => format!("it reported: {}", reported.join(", ")),
                };
                notes.push(format!(
                    "`expect` of `{name}` names `{metric}`, which its last run did not report; {known}"
                ));
            }
        }
        Ok(notes)
    }

    /// Compares the names under `expect` with the metrics that the stage declares. `told` has the places of names that
    /// were reported for another stage of the same matrix.
    pub(super) fn check_expectations(&self, stage: usize, told: &mut BTreeSet<Span>, faults: &mut Faults) {
        let own = &self.manifest.stages[stage];
        if own.expect.is_empty() {
            return;
        }
        let Some(declared) = own.config.stage.metrics(&self.known[stage]) else { return };
        for expectation in &own.expect {
            let metric = &expectation.metric;
            let is_declared = declared.iter().any(|declared| covers(declared, metric));
            if !is_declared && told.insert(expectation.place) {
                let message = format!("`{}` reports no metric `{metric}`", self.name(stage));
                let fault = Fault::new(Code::UnknownMetric, message, "expected here");
                let known = declared.iter().map(String::as_str);
                faults.push(fault.nearest(metric, known).at(expectation.place));
            }
        }
    }
}
