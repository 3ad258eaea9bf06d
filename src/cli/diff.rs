//! `pipe diff`: compares two runs, or a run and the lock file: settings, metrics, and other differences.

use super::{Command, Failure, Outcome, Pipeline, Program, history::Past, pretty, runs::Runs};
use crate::{
    lock::Lock,
    record::Record,
    run::folder::StageResult,
    stage_type::StageType,
    ui::{
        self, Cell, Narrow,
        units::{bytes, figure, seconds},
    },
};
use clap::Parser;
use pipe_stage::{Better, Digest, Metric};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Compare the settings and metrics of two runs.
#[derive(Parser)]
#[command(
    name = "diff",
    after_help = "Examples:\n  pipe diff pipelines/gpt-small.yaml last~1 last\n  pipe diff pipelines/gpt-small.yaml lock"
)]
pub(super) struct Diff {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// First run: its id or a prefix of it, `last`, `last~1`, `lock`, or the path of a lock file.
    #[arg(value_name = "RUN")]
    before: String,
    /// Second run [default: the last].
    #[arg(value_name = "RUN", default_value = "last", hide_default_value = true)]
    after: String,
    /// Also show what is equal, and times, memory and sizes.
    #[arg(long)]
    all: bool,
}

/// One of the two runs.
struct Side {
    label: String,
    stages: BTreeMap<String, SideStage>,
}

/// A stage on one side.
#[derive(Default)]
struct SideStage {
    outcome: Option<&'static str>,
    result: Option<StageResult>,
    /// Metrics from a lock file, if the record is gone.
    figures: BTreeMap<String, f64>,
}

/// A line of the table: a property of a stage on both sides.
#[derive(Serialize)]
struct DifferenceLine {
    stage: String,
    what: String,
    before: Option<String>,
    after: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    change: String,
    /// Whether it is shown without `--all`.
    #[serde(skip)]
    differs: bool,
}

impl Command for Diff {
    fn run(self, program: &Program<'_>) -> Outcome {
        let runs = self.pipeline.runs(program.types)?;
        let before = self.side(&runs, &self.before)?;
        let after = self.side(&runs, &self.after)?;
        let mut lines = compare(&before, &after, program.types);
        lines.retain(|line| self.all || line.differs);
        if self.pipeline.json {
            ui::print(&pretty(&json!({
                "version": 1, "before": before.label, "after": after.label, "differences": lines,
            })));
            return Ok(());
        }
        if lines.is_empty() {
            ui::say("no differences in settings or metrics; `--all` shows everything");
            return Ok(());
        }
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let mut last = String::new();
        let row = |line: &DifferenceLine| {
            let stage = if line.stage == last { String::new() } else { line.stage.clone() };
            last.clone_from(&line.stage);
            vec![
                Cell::Text(stage),
                Cell::Text(line.what.clone()),
                Cell::Figure(shown(&line.before)),
                Cell::Figure(shown(&line.after)),
                Cell::Text(line.change.clone()),
            ]
        };
        let rows = lines.iter().map(row).collect();
        ui::print(&ui::table(
            &["stage", "what", &before.label, &after.label, "change"],
            rows,
            Narrow::without(&["change"]),
        ));
        Ok(())
    }
}

impl Diff {
    fn side(&self, runs: &Runs, said: &str) -> Result<Side, Failure> {
        let is_file = Path::new(said).extension().is_some_and(|extension| extension == "lock");
        if said == "lock" || is_file {
            let path = if is_file { said.into() } else { self.pipeline.project()?.lock() };
            let lock = Lock::read(&path)?.ok_or_else(|| {
                Failure::Usage(
                    format!("no lock file at `{}`", path.display()),
                    Some(format!("a complete run writes it: pipe run {}", self.pipeline.manifest.display())),
                )
            })?;
            let stage = |(name, locked): (String, crate::lock::LockedStage)| {
                let record = Record::read(&runs.store, &locked.key)?;
                let result = record.map(|record| StageResult::new(locked.key, &record));
                Ok::<_, pipe_cache::Error>((
                    name,
                    SideStage { outcome: None, result, figures: locked.metrics },
                ))
            };
            let stages = lock.stages.into_iter().map(stage).collect::<Result<_, _>>()?;
            return Ok(Side { label: "lock".to_owned(), stages });
        }
        let run = runs.find(said)?;
        let stage = |(name, stage): (String, crate::run::folder::ClosedStage)| {
            let outcome = Some(stage.outcome.as_str());
            (name, SideStage { outcome, result: stage.made, figures: BTreeMap::new() })
        };
        let stages = Past::of(run, &runs.store)?.stages.into_iter().map(stage).collect();
        Ok(Side { label: run.id.clone(), stages })
    }
}

fn compare(before: &Side, after: &Side, types: &[StageType]) -> Vec<DifferenceLine> {
    let names: BTreeSet<&String> = before.stages.keys().chain(after.stages.keys()).collect();
    let absent = SideStage::default();
    let mut lines = Vec::new();
    for name in names {
        let of = |side: &'_ Side| side.stages.contains_key(name);
        let (a, b) = (before.stages.get(name).unwrap_or(&absent), after.stages.get(name).unwrap_or(&absent));
        let mut add = |what: &str, a: Option<String>, b: Option<String>, matters: Matters| {
            let differs = matters == Matters::Yes && a != b;
            let (stage, what) = (name.clone(), what.to_owned());
            lines.push(DifferenceLine { stage, what, before: a, after: b, change: String::new(), differs });
        };
        if of(before) != of(after) {
            let there = |is: bool| Some(if is { "present" } else { "absent" }.to_owned());
            add("stage", there(of(before)), there(of(after)), Matters::Yes);
            continue;
        }
        add("outcome", a.outcome.map(str::to_owned), b.outcome.map(str::to_owned), outcome_matters(a, b));
        let (Some(made_a), Some(made_b)) = (&a.result, &b.result) else {
            lines.extend(metrics(name, a, b));
            continue;
        };
        add("uses", Some(made_a.uses.clone()), Some(made_b.uses.clone()), Matters::Yes);
        let defaults = types.iter().find(|kind| kind.name == made_b.uses).map(StageType::default_json);
        for (field, a, b) in settings(&made_a.config, &made_b.config, &defaults.unwrap_or_default()) {
            add(&format!("with.{field}"), a, b, Matters::Yes);
        }
        let short = |digest: &Option<Digest>| digest.map(|digest| digest.short());
        if made_a.sources.is_some() || made_b.sources.is_some() {
            add("sources", short(&made_a.sources), short(&made_b.sources), Matters::Yes);
        }
        let ports: BTreeSet<&String> = made_a.outputs.keys().chain(made_b.outputs.keys()).collect();
        for port in ports {
            let of = |made: &StageResult| made.outputs.get(port).map(Digest::short);
            add(&format!("output {port}"), of(made_a), of(made_b), Matters::No);
        }
        let sets =
            |made: &StageResult| Some(made.instruction_sets.join(", ")).filter(|sets| !sets.is_empty());
        add("instruction set", sets(made_a), sets(made_b), Matters::Yes);
        for (what, of) in [
            ("time", (|made| seconds(made.seconds)) as fn(&StageResult) -> String),
            ("peak memory", |made| bytes(made.memory_peak)),
            ("output size", |made| bytes(made.output_bytes)),
        ] {
            add(what, Some(of(made_a)), Some(of(made_b)), Matters::No);
        }
        lines.extend(metrics(name, a, b));
    }
    lines
}

/// Whether a difference is shown without `--all`.
#[derive(Clone, Copy, PartialEq)]
enum Matters {
    Yes,
    No,
}

/// If one run computed what the other found in the cache, that is not a difference.
fn outcome_matters(a: &SideStage, b: &SideStage) -> Matters {
    if a.result.is_some() && b.result.is_some() { Matters::No } else { Matters::Yes }
}

/// The metrics of a stage; those that depend on a clock are shown only with `--all`.
fn metrics(stage: &str, a: &SideStage, b: &SideStage) -> Vec<DifferenceLine> {
    let of = |side: &SideStage| -> BTreeMap<String, (f64, Option<Metric>)> {
        match &side.result {
            Some(made) => made
                .metrics
                .iter()
                .map(|metric| (metric.name.clone(), (metric.value, Some(metric.clone()))))
                .collect(),
            None => side.figures.iter().map(|(name, value)| (name.clone(), (*value, None))).collect(),
        }
    };
    let (a, b) = (of(a), of(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let line = |name: &String| {
        let (a, b) = (a.get(name), b.get(name));
        let known = [a, b].into_iter().flatten().find_map(|(_, metric)| metric.clone());
        let is_clock = known.as_ref().is_some_and(|metric| metric.clock);
        let unit = known.as_ref().map_or("", |metric| metric.unit.as_str());
        let change = match (a, b) {
            (Some((a, _)), Some((b, _))) if a != b => {
                change(*a, *b, known.as_ref().map(|metric| metric.better))
            }
            _ => String::new(),
        };
        let shown = |side: Option<&(f64, Option<Metric>)>| {
            side.map(|(value, _)| format!("{} {unit}", figure(*value)).trim_end().to_owned())
        };
        let differs = !is_clock && a.map(|(value, _)| value.to_bits()) != b.map(|(value, _)| value.to_bits());
        DifferenceLine {
            stage: stage.to_owned(),
            what: name.clone(),
            before: shown(a),
            after: shown(b),
            change,
            differs,
        }
    };
    names.into_iter().map(line).collect()
}

/// `-0.1402 (-2.6 %), better`
fn change(before: f64, after: f64, better: Option<Better>) -> String {
    let by = after - before;
    let sign = if by > 0.0 { "+" } else { "" };
    let part =
        if before == 0.0 { String::new() } else { format!(" ({sign}{:.1} %)", 100.0 * by / before.abs()) };
    let judged = match better {
        Some(Better::Higher) if by > 0.0 => ", better",
        Some(Better::Lower) if by < 0.0 => ", better",
        Some(Better::Higher | Better::Lower) => ", worse",
        _ => "",
    };
    format!("{sign}{}{part}{judged}", figure(by))
}

/// The fields of both configs with their values; a field that one config omits has its default.
fn settings(a: &Value, b: &Value, defaults: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let (mut flat_a, mut flat_b) = (BTreeMap::new(), BTreeMap::new());
    flatten("", a, &mut flat_a);
    flatten("", b, &mut flat_b);
    let mut flat_defaults = BTreeMap::new();
    flatten("", defaults, &mut flat_defaults);
    let fields: BTreeSet<&String> = flat_a.keys().chain(flat_b.keys()).collect();
    let value = |flat: &BTreeMap<String, String>, field: &String| {
        let default = || flat_defaults.get(field).map(|value| format!("{value} (default)"));
        flat.get(field).cloned().or_else(default)
    };
    fields.into_iter().map(|field| (field.clone(), value(&flat_a, field), value(&flat_b, field))).collect()
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, into);
            }
        }
        Value::String(text) => drop(into.insert(path.to_owned(), text.clone())),
        value => drop(into.insert(path.to_owned(), value.to_string())),
    }
}
