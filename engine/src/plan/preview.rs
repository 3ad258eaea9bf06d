//! Owns: what is known of stages without running anything: errors that the first bytes of sources reveal, names of
//! metrics, the amount of work. Writes nothing.

use crate::{
    manifest::{Code, Fault, Faults, Report},
    plan::session::{Resolved, Session},
    record::read_artifact,
};
use pipe_stage::{Misfit, Places, WorkInputs, covers, guarded};

impl Session {
    /// Looks into the sources of stages: at columns, headers and files that they name.
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

    /// Amount of work of a stage, in its own measure; without inputs where they are not known yet.
    pub(crate) fn amount(&self, stage: usize, resolved: Option<&Resolved>) -> Option<f64> {
        let source_bytes = self.listing(stage).iter().map(|file| file.size).fold(0, u64::saturating_add);
        let mut inputs = WorkInputs { source_bytes, ..WorkInputs::default() };
        if let Some(resolved) = resolved {
            inputs.complete = true;
            for (port, artifacts) in &resolved.inputs {
                let artifacts: Vec<_> =
                    artifacts.iter().map(|(_, digest)| read_artifact(&self.store, digest)).collect();
                inputs.complete &= artifacts.iter().all(Option::is_some);
                inputs.ports.insert(port.clone(), artifacts.into_iter().flatten().collect());
            }
        }
        let amount = self.manifest.stages[stage].config.stage.work(&inputs)?;
        Some(amount).filter(|amount| amount.is_finite() && *amount > 0.0)
    }

    /// Compares the names under `expect` with the metrics that the stage declares.
    pub(super) fn check_expectations(&self, stage: usize, faults: &mut Faults) {
        let own = &self.manifest.stages[stage];
        if own.expect.is_empty() {
            return;
        }
        let Some(declared) = own.config.stage.metrics() else { return };
        for expectation in &own.expect {
            let metric = &expectation.metric;
            if !declared.iter().any(|declared| covers(declared, metric)) {
                let message = format!("`{}` reports no metric `{metric}`", self.name(stage));
                let fault = Fault::new(Code::UnknownMetric, message, "expected here");
                let known = declared.iter().map(String::as_str);
                faults.push(fault.nearest(metric, known).at(expectation.place));
            }
        }
    }
}
