//! `pipe plan`.

use super::{
    Command, Failure, Outcome, Pins, Pipeline, Program, notes, pretty, resumes::Resumes, selection::Selection,
};
use crate::{
    figures::Figures,
    plan::{Estimate, FROZEN_HELP, Planned, Session, Stale, Verdict, cost::Disk},
    ui::{
        self, Cell, Narrow,
        units::{bytes, figure, money, seconds},
    },
};
use clap::Parser;
use serde_json::{Value, json};

/// Show which stages would run, why, and at what cost.
#[derive(Parser)]
#[command(name = "plan", after_help = "Example: pipe plan pipelines/gpt-small.yaml")]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    selection: Selection,
    /// Show what a run with `--update-pins` would do.
    #[arg(long)]
    update_pins: bool,
    /// Exit with code 3 if a stage would run.
    #[arg(long)]
    detailed_exitcode: bool,
}

impl Command for Plan {
    fn run(self, program: &Program<'_>) -> Outcome {
        let pins = if self.update_pins { Pins::Fresh } else { Pins::Locked };
        let (session, stages, targets) = self.selection.session(&self.pipeline, program.types, pins)?;
        let planned = session.plan(&stages, &targets)?;
        let resumes = Resumes::of(&session, &planned)?;
        let notes = [notes(&session), session.files_unseen(&stages), unmet(&session, &planned)].concat();
        let runs = planned.iter().any(|planned| !matches!(planned.verdict, Verdict::Cached(_)));
        if self.pipeline.json {
            let all: Vec<Value> =
                planned.iter().map(|planned| as_json(&session, planned, &resumes)).collect();
            let pipeline = &session.manifest.pipeline;
            let mut output = json!({ "version": 1, "pipeline": pipeline, "stages": all, "notes": notes });
            output["disk"] = json!(Disk::of(&session, &planned));
            if let Some(prices) = &session.manifest.prices {
                let (total, unknown) = total(&session, &planned);
                output["cost"] = json!({ "total": total, "currency": prices.currency, "unknown": unknown });
            }
            ui::print(&pretty(&output));
        } else {
            ui::print(&as_text(&session, &planned, &resumes));
            notes.iter().for_each(|note| ui::say(&format!("note: {note}")));
        }
        if runs && self.detailed_exitcode { Err(Failure::WouldRun) } else { Ok(()) }
    }
}

/// Bounds that stages which are up to date do not meet: a run would fail because of them.
fn unmet(session: &Session, planned: &[Planned]) -> Vec<String> {
    let done = planned.iter().filter_map(|planned| match (&planned.resolved, &planned.verdict) {
        (Some(resolved), Verdict::Cached(record)) => {
            Some((planned.stage, (resolved.key, (**record).clone())))
        }
        _ => None,
    });
    let figures = Figures::of(&session.manifest, &done.collect());
    figures.complaints().into_iter().map(|complaint| format!("{complaint}; a run would fail")).collect()
}

fn as_text(session: &Session, planned: &[Planned], resumes: &Resumes) -> String {
    let prices = session.manifest.prices.as_ref();
    let line = |planned: &Planned| {
        let what = match &planned.verdict {
            Verdict::Cached(_) if is_frozen(session, planned) => "frozen",
            Verdict::Cached(_) => "cached",
            Verdict::Run(_) => "run",
            Verdict::DependsOn(_) => "depends",
            Verdict::Gone => "fails",
        };
        let estimate = planned.estimate.as_ref();
        let may_run = planned.verdict.may_run();
        let unknown = || if may_run { "unknown".to_owned() } else { String::new() };
        let time = estimate.map_or_else(unknown, |estimate| {
            let (min, max) = (seconds(estimate.seconds_min), seconds(estimate.seconds_max));
            let spread = if min == max { String::new() } else { format!(" ({min} to {max})") };
            seconds(estimate.seconds) + &spread
        });
        let cost = prices.map(|prices| match session.price(planned) {
            _ if !may_run => String::new(),
            Some(price) => money(price, &prices.currency),
            None => "unknown".to_owned(),
        });
        let mut cells = vec![
            Cell::Text(session.name(planned.stage).to_owned()),
            Cell::Text(what.to_owned()),
            Cell::Figure(time),
            Cell::Figure(estimate.map_or_else(unknown, |estimate| bytes(estimate.memory_peak))),
            Cell::Figure(estimate.map_or_else(unknown, |estimate| bytes(estimate.written_bytes))),
        ];
        cells.extend(cost.map(Cell::Figure));
        let mut why = reasons(session, planned);
        why.extend(resumes.find(planned.stage).map(ToString::to_string));
        cells.push(Cell::Text(why.join("; ")));
        cells
    };
    let mut heading = vec!["stage", "plan", "time", "memory", "disk"];
    heading.extend(prices.map(|_| "cost"));
    heading.push("why");
    let narrow = Narrow::without(&["disk", "memory", "time"]);
    let mut text = ui::table(&heading, planned.iter().map(line).collect(), narrow);
    let open: Vec<&Planned> = planned.iter().filter(|planned| planned.verdict.may_run()).collect();
    let gone = planned.iter().filter(|planned| matches!(planned.verdict, Verdict::Gone)).count();
    let cached = planned.len() - open.len() - gone;
    if gone > 0 {
        let results = ui::counted(gone, "frozen result");
        text += &format!("\n{results} missing from the cache, so a run would fail: {FROZEN_HELP}");
    }
    if open.is_empty() && gone > 0 {
        return text + "\n";
    }
    if open.is_empty() {
        let all = match cached {
            1 => "the stage is".to_owned(),
            _ => format!("all {cached} stages are"),
        };
        let or = if planned.iter().any(|planned| planned.stale.is_some()) { " or frozen" } else { "" };
        return text + &format!("\nnothing to do: {all} up to date{or}\n");
    }
    let known: Vec<_> = open.iter().filter_map(|planned| planned.estimate.as_ref()).collect();
    let disk = Disk::of(session, planned);
    text += &format!("\n{} to run, {cached} cached; ", open.len());
    text += &match known.len() {
        0 => "time and size unknown: no earlier run to estimate from".to_owned(),
        count => {
            let time: f64 = known.iter().map(|estimate| estimate.seconds).sum();
            let unknown = open.len() - count;
            let more = if unknown > 0 { format!(" and {unknown} unknown") } else { String::new() };
            let free = disk.free.map(|free| format!(" of {} free", bytes(free))).unwrap_or_default();
            format!("about {} of work, {} of disk{free}{more}", seconds(time), bytes(disk.needed))
        }
    };
    if let Some(prices) = prices {
        let (total, unknown) = total(session, planned);
        let more = if unknown > 0 { format!(" and {unknown} unknown") } else { String::new() };
        text += &format!("; about {}{more}", money(total, &prices.currency));
    }
    if let Some(basis) = basis(session, &open) {
        text += &format!("\n{basis}");
    }
    if disk.is_too_small() {
        text += "\nnote: free disk space is below what these stages are expected to write; `pipe run` would not start";
    }
    text + "\n"
}

/// Describes where the estimates come from, and by which factors they were scaled.
fn basis(session: &Session, open: &[&Planned]) -> Option<String> {
    let known: Vec<_> =
        open.iter().filter_map(|planned| Some((planned.stage, planned.estimate.as_ref()?))).collect();
    if known.is_empty() {
        return None;
    }
    let names = |holds: &dyn Fn(&Estimate) -> bool| {
        let those = known.iter().filter(|(_, estimate)| holds(estimate));
        those.map(|(stage, _)| session.name(*stage)).collect::<Vec<_>>().join(", ")
    };
    let mut text = "estimates come from earlier runs in this cache".to_owned();
    let factors = known.iter().filter_map(|(stage, estimate)| {
        Some(format!("\n  {}: {}", session.name(*stage), factors(estimate)?))
    });
    let factors: String = factors.collect();
    if !factors.is_empty() {
        text += ", scaled by the size of this run; memory without a factor is the highest measured:";
        text += &factors;
    }
    let unmeasured = names(&|estimate| estimate.scale.time.is_none());
    if !unmeasured.is_empty() {
        text += &format!("\nnot scaled, since the amount of work is unknown: {unmeasured}");
    }
    Some(text)
}

/// The factors by which an estimate was scaled: `time 3x, disk 3x`; `None` if there are none.
fn factors(estimate: &Estimate) -> Option<String> {
    let scale = &estimate.scale;
    let all = [("time", scale.time), ("disk", scale.output), ("memory", scale.memory)];
    let factors: Vec<String> = all
        .into_iter()
        .filter_map(|(what, factor)| Some((what, factor.filter(|factor| !(0.99..=1.01).contains(factor))?)))
        .map(|(what, factor)| format!("{what} {}x", figure(factor)))
        .collect();
    let expected = if estimate.inputs_expected { ", by the expected size of its inputs" } else { "" };
    (!factors.is_empty()).then(|| factors.join(", ") + expected)
}

/// The known cost of everything that would run, and the number of stages without a known cost.
fn total(session: &Session, planned: &[Planned]) -> (f64, usize) {
    let prices = planned.iter().map(|planned| session.price(planned));
    prices.fold((0.0, 0), |(total, unknown), price| match price {
        Some(price) => (total + price, unknown),
        None => (total, unknown + 1),
    })
}

fn is_frozen(session: &Session, planned: &Planned) -> bool {
    session.frozen_at(planned.stage).is_some()
}

/// Dependencies that will run: `depends on a, b and 4 more`.
fn needs(session: &Session, upstream: &[usize]) -> String {
    const NAMED_MAX: usize = 6;
    let names: Vec<&str> = upstream.iter().take(NAMED_MAX).map(|stage| session.name(*stage)).collect();
    match upstream.len() - names.len() {
        0 => format!("depends on {}", names.join(", ")),
        more => format!("depends on {} and {more} more", names.join(", ")),
    }
}

/// Why a frozen stage would run if it were not frozen.
fn stale(session: &Session, stale: &Stale) -> Vec<String> {
    let reasons = stale.reasons.iter().map(|reason| format!("would run: {reason}"));
    let upstream =
        (!stale.upstream.is_empty()).then(|| format!("may be stale: {}", needs(session, &stale.upstream)));
    reasons.chain(upstream).collect()
}

/// Why a stage runs, and how much of it.
pub(super) fn reasons(session: &Session, planned: &Planned) -> Vec<String> {
    match &planned.verdict {
        Verdict::Cached(_) => planned.stale.as_ref().map_or_else(Vec::new, |reasons| stale(session, reasons)),
        Verdict::DependsOn(upstream) => vec![needs(session, upstream)],
        Verdict::Gone => vec!["it is frozen, and its result is not in this cache".to_owned()],
        Verdict::Run(work) => {
            let mut reasons: Vec<String> = work.reasons.iter().map(ToString::to_string).collect();
            if let Some((step, shares, of)) = &work.missing {
                reasons.push(format!("{step}: {shares} of {of} tasks to do"));
            }
            reasons
        }
    }
}

pub(super) fn as_json(session: &Session, planned: &Planned, resumes: &Resumes) -> Value {
    let mut value = json!({
        "stage": session.name(planned.stage),
        "uses": session.kind(planned.stage).name,
        "recipe": planned.recipe,
        "key": planned.resolved.as_ref().map(|resolved| resolved.key),
        "estimate": planned.estimate,
    });
    if session.manifest.prices.is_some() {
        value["cost"] = json!(session.price(planned));
    }
    if let Some(resume) = resumes.find(planned.stage) {
        value["resumes"] = json!(resume);
    }
    match &planned.verdict {
        Verdict::Cached(record) => {
            value["plan"] = if is_frozen(session, planned) { "frozen" } else { "cached" }.into();
            if let Some(stale) = &planned.stale {
                value["stale"] = json!(stale.reasons);
                value["reasons"] = json!(reasons(session, planned));
            }
            value["outputs"] = json!(record.outputs);
        }
        Verdict::Run(work) => {
            value["plan"] = "run".into();
            value["why"] = json!(work.reasons);
            value["reasons"] = json!(reasons(session, planned));
            value["missing"] = json!(
                work.missing
                    .as_ref()
                    .map(|(step, shares, of)| { json!({ "step": step, "tasks": shares, "of": of }) })
            );
        }
        Verdict::DependsOn(upstream) => {
            value["plan"] = "depends".into();
            value["upstream"] = upstream.iter().map(|stage| session.name(*stage)).collect();
        }
        Verdict::Gone => {
            value["plan"] = "fails".into();
            value["reasons"] = json!(reasons(session, planned));
        }
    }
    value
}
