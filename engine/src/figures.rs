//! Owns: summaries of a run's metrics: comparisons of the stages of a matrix, with mean and deviation over seeds, and
//! checks against `expect`. It decides no exit code and prints nothing.

use crate::{
    graph::Graph,
    known::known_inputs,
    manifest::{Bounds, Code, Fault, Faults, Manifest},
    record::Record,
};
use indexmap::{IndexMap, IndexSet};
use pipe_stage::{Better, Digest, Metric, covers};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The axis that metrics are averaged over: its stages differ only in random numbers.
pub const SEED: &str = "seed";

/// What is reported at the end of a run, besides its table.
#[derive(Debug, Default)]
pub struct Figures {
    /// One for each matrix whose stages have metrics.
    pub comparisons: Vec<Comparison>,
    /// All checks of `expect`, in the order of the stages.
    pub findings: Vec<Finding>,
    /// Errors: expected metrics that a stage did not report.
    pub faults: Faults,
}

/// The stages of a matrix compared.
#[derive(Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the entry in the manifest.
    pub stage: String,
    /// Axes of the rows: all except the seed.
    pub axes: Vec<String>,
    /// Metrics, in the order in which stages report them.
    pub columns: Vec<Column>,
    /// In the order of the stages.
    pub rows: Vec<ComparisonRow>,
}

impl Comparison {
    /// The largest number of stages in a row.
    pub fn stages_max(&self) -> usize {
        self.rows.iter().map(|row| row.stages).max().unwrap_or(0)
    }
}

/// A metric that is compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its unit; empty if it has none.
    pub unit: String,
    /// Whether higher or lower values are better.
    pub better: Better,
}

/// One combination of values.
#[derive(Debug, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// By axis, as written in stage names.
    pub values: Vec<String>,
    /// Number of finished stages in this row.
    pub stages: usize,
    /// By column; `None` where no stage reported the metric.
    pub metrics: Vec<Option<Spread>>,
}

/// A metric over several stages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1), for two or more stages.
    pub deviation: Option<f64>,
}

/// A stage of a matrix with its metrics.
#[derive(Debug)]
pub struct Member<'a> {
    /// Values by axis.
    pub values: Vec<(&'a str, &'a str)>,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// A metric and its expected range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the stage.
    pub stage: String,
    /// Name of the metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// The expected range.
    pub bounds: Bounds,
    /// Whether the value is within the range.
    pub met: bool,
}

impl Figures {
    /// Summarises the stages that are up to date, by their position in the manifest.
    pub fn of(manifest: &Manifest, done: &BTreeMap<usize, (Digest, Record)>) -> Self {
        let mut figures = Self::default();
        let metrics = |stage: usize| done.get(&stage).map(|(_, record)| &record.metrics);
        for family in &manifest.families {
            let mut members = vec![];
            for stage in family.stages.clone() {
                if let Some(metrics) = metrics(stage) {
                    members.push(Member { values: family.values(stage).collect(), metrics: metrics.clone() });
                }
            }
            figures.comparisons.extend(compare(&family.name, &members));
        }
        let known = known_inputs(manifest, &Graph::new(manifest));
        let mut told = BTreeSet::new();
        for (index, (name, stage)) in manifest.stages.iter().enumerate() {
            if stage.expect.is_empty() {
                continue;
            }
            let Some(metrics) = metrics(index) else { continue };
            for expectation in &stage.expect {
                let name = name.as_str();
                let reported = metrics.iter().find(|metric| metric.name == expectation.metric);
                // Stages leave out counts of nothing, such as those of documents that a rule dropped.
                let is_declared = || {
                    stage.config.stage.metrics(&known[index]).is_some_and(|declared| {
                        declared.iter().any(|declared| covers(declared, &expectation.metric))
                    })
                };
                match reported.map(|metric| metric.value).or_else(|| is_declared().then_some(0.0)) {
                    Some(value) => figures.findings.push(Finding {
                        stage: name.to_owned(),
                        metric: expectation.metric.clone(),
                        value,
                        bounds: expectation.bounds,
                        met: expectation.bounds.hold(value),
                    }),
                    // The stages of a matrix have their `expect` in one place.
                    None if !told.insert(expectation.place) => {}
                    None => {
                        let message = format!("`{name}` reports no metric `{}`", expectation.metric);
                        let fault = Fault::new(Code::UnknownMetric, message, "expected here");
                        let known = metrics.iter().map(|metric| metric.name.as_str());
                        figures.faults.push(fault.nearest(&expectation.metric, known).at(expectation.place));
                    }
                }
            }
        }
        figures
    }

    /// What is expected and does not hold, a sentence each.
    pub fn complaints(&self) -> Vec<String> {
        let unmet = self.unmet().map(|finding| {
            let Finding { stage, metric, value, bounds, .. } = finding;
            format!("`{metric}` of `{stage}` is {value}, expected {bounds}")
        });
        unmet.chain(self.faults.messages().map(str::to_owned)).collect()
    }

    /// The metrics that are out of range.
    pub fn unmet(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.met)
    }
}

/// Compares the stages of a matrix; `None` if they have no metrics.
///
/// Compares metrics that do not depend on a clock and for which higher or lower is better; if there is none, the
/// first metric of each stage.
pub fn compare(stage: &str, members: &[Member<'_>]) -> Option<Comparison> {
    let lasting = |member: &'_ Member<'_>| -> Vec<Metric> {
        let lasting = member.metrics.iter().filter(|metric| !metric.clock);
        let directed: Vec<Metric> =
            lasting.clone().filter(|metric| metric.better != Better::Neutral).cloned().collect();
        if directed.is_empty() { lasting.take(1).cloned().collect() } else { directed }
    };
    let mut columns: IndexMap<String, Column> = IndexMap::new();
    for Metric { name, unit, better, .. } in members.iter().flat_map(lasting) {
        columns.entry(name.clone()).or_insert(Column { name, unit, better });
    }
    if columns.is_empty() {
        return None;
    }
    let is_row = |axis: &&str| *axis != SEED;
    let axes: IndexSet<&str> =
        members.iter().flat_map(|member| member.values.iter().map(|(axis, _)| *axis)).collect();
    let axes: Vec<&str> = axes.into_iter().filter(is_row).collect();
    let mut rows: IndexMap<Vec<&str>, Vec<&Member<'_>>> = IndexMap::new();
    for member in members {
        let values = member.values.iter().filter(|(axis, _)| is_row(axis)).map(|(_, value)| *value);
        rows.entry(values.collect()).or_default().push(member);
    }
    let line = |(values, members): (Vec<&str>, Vec<&Member<'_>>)| ComparisonRow {
        values: values.into_iter().map(str::to_owned).collect(),
        stages: members.len(),
        metrics: columns.keys().map(|name| spread(&of(&members, name))).collect(),
    };
    let rows = rows.into_iter().map(line).collect();
    let axes = axes.into_iter().map(str::to_owned).collect();
    Some(Comparison { stage: stage.to_owned(), axes, rows, columns: columns.into_values().collect() })
}

fn of(members: &[&Member<'_>], name: &str) -> Vec<f64> {
    let value = |member: &&Member<'_>| {
        member.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    };
    members.iter().filter_map(value).collect()
}

fn spread(values: &[f64]) -> Option<Spread> {
    let count = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Some(Spread { mean, deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(values: &[(&'static str, &'static str)], figures: &[(&str, f64)]) -> Member<'static> {
        let metric = |(name, value): &(&str, f64)| Metric::new(*name, *value, "").lower_is_better();
        Member { values: values.to_vec(), metrics: figures.iter().map(metric).collect() }
    }

    #[test]
    fn seeds_are_gathered_and_other_axes_are_rows() {
        let members = [
            member(&[("lr", "1e-3"), ("seed", "1")], &[("loss", 2.0)]),
            member(&[("lr", "1e-3"), ("seed", "2")], &[("loss", 4.0), ("more", 1.0)]),
            member(&[("lr", "3e-4"), ("seed", "1")], &[("loss", 5.0)]),
        ];
        let compared = compare("base", &members).expect("there are figures");
        assert_eq!(compared.axes, ["lr"]);
        let names: Vec<&str> = compared.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["loss", "more"]);
        let spread = |mean, deviation| Some(Spread { mean, deviation });
        let line =
            |value: &str, stages, metrics| ComparisonRow { values: vec![value.into()], stages, metrics };
        assert_eq!(
            compared.rows,
            [
                line("1e-3", 2, vec![spread(3.0, Some(2f64.sqrt())), spread(1.0, None)]),
                line("3e-4", 1, vec![spread(5.0, None), None])
            ]
        );
    }

    #[test]
    fn figures_without_a_good_direction_stand_in_only_for_missing_ones() {
        let plain = |name: &str| Metric::count(name, 3);
        let neutral = Member { values: vec![("n", "1")], metrics: vec![plain("rows"), plain("columns")] };
        let compared = compare("a", &[neutral]).expect("there is a figure");
        assert_eq!(compared.columns.len(), 1);
        let clock = Member { values: vec![], metrics: vec![plain("seconds").by_clock()] };
        assert_eq!(compare("a", &[clock]), None);
    }
}
