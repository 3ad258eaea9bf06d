//! `pipe show`.

use super::{Command, Failure, Outcome, Pipeline, Program, get, logs, pretty};
use crate::{
    command::kind,
    figures::{Member, compare},
    plan::{Session, Verdict},
    record::read_artifact,
    stage_type::StageType,
    ui::{
        self, Cell, Narrow,
        units::{bytes, figure, seconds},
    },
};
use clap::Parser;
use pipe_stage::{Better, Digest, LocalEntry};
use serde_json::json;

/// Show a stage's record, its metrics, and a preview of its outputs.
#[derive(Parser)]
#[command(name = "show", after_help = "Example: pipe show pipelines/gpt-small.yaml text")]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// `STAGE`, `STAGE.PORT` for one of its outputs, or a matrix to compare its stages.
    stage: String,
    /// Lines to preview of each output.
    #[arg(long, default_value_t = 12, value_name = "LINES")]
    lines: usize,
    /// Print the stage's log instead.
    #[arg(long)]
    log: bool,
}

/// Describes an output and shows its beginning; none if it is missing from the cache.
fn preview(session: &Session, port: &str, digest: &Digest, lines: usize) -> Result<Option<String>, Failure> {
    let Some(artifact) = read_artifact(&session.store, digest) else { return Ok(None) };
    let (count, size) = (ui::counted(artifact.entries.len(), "entry"), bytes(artifact.size()));
    let mut text = format!("{port}: {} in {count}, {size}, {}\n", artifact.kind, digest.short());
    let entries: Vec<LocalEntry> =
        artifact.entries.iter().map(|entry| LocalEntry::new(&session.store, entry)).collect();
    if let Some(kind) = kind(&artifact.kind) {
        for line in (kind.look)(&entries, lines)?.lines() {
            text += &format!("  {line}\n");
        }
    }
    Ok(Some(text))
}

impl Command for Show {
    fn run(self, program: &Program<'_>) -> Outcome {
        if self.is_family(program.types)? {
            return self.show_family(program.types);
        }
        let (stage, port) = get::split(&self.stage);
        let (session, target, key, record) = self.pipeline.recorded(program.types, stage)?;
        if let Some(port) = port {
            let digest = get::output(&record, stage, port)?;
            return self.show_output(&session, port, &digest);
        }
        if self.log {
            let Some(log) = &record.log else { return Ok(()) };
            return logs::print(&session.store.verified(log)?, &session.manifest);
        }
        if self.pipeline.json {
            ui::print(&pretty(&json!({ "version": 1, "stage": self.stage, "key": key, "record": record })));
            return Ok(());
        }
        let mut text =
            format!("{} ({} revision {})\n  key       {key}\n", self.stage, record.uses, record.revision);
        let (system, cpus) = (&record.machine.system, record.machine.cpus);
        let made = format!(
            "{} on {} ({system}, {cpus} cpus) by pipe {}\n",
            record.finished, record.machine.host, record.code
        );
        text += &match &record.adopted {
            Some(folder) => format!("  adopted   {made}  from      {folder}; nothing ran\n"),
            None => format!(
                "  computed  {made}  took      {}, {} of CPU time, {} peak memory\n  instruction set  {}\n",
                seconds(record.seconds),
                seconds(record.cpu_seconds),
                bytes(record.memory_peak),
                record.instruction_sets.join(", "),
            ),
        };
        if session.frozen_at(target).is_some() {
            text += "  frozen    it keeps this result\n";
        }
        text += &format!("  config    {}\n\n", record.config);
        let rows = record.metrics.iter().map(|metric| {
            let better = match metric.better {
                Better::Neutral => "",
                Better::Higher => "higher is better",
                Better::Lower => "lower is better",
            };
            vec![
                Cell::Text(metric.name.clone()),
                Cell::Figure(figure(metric.value)),
                Cell::Text(metric.unit.clone()),
                Cell::Text(better.to_owned()),
            ]
        });
        text += &ui::table(&["metric", "value", "unit", ""], rows.collect(), Narrow::without(&[""]));
        for (port, digest) in &record.outputs {
            let missing = || format!("{port}: missing from the cache or damaged\n");
            let output = preview(&session, port, digest, self.lines)?.unwrap_or_else(missing);
            text += &format!("\n{output}");
        }
        ui::print(&text);
        Ok(())
    }
}

impl Show {
    fn show_output(&self, session: &Session, port: &str, digest: &Digest) -> Outcome {
        let Some(text) = preview(session, port, digest, self.lines)? else {
            return Err(pipe_stage::Error::Missing { digest: *digest }.into());
        };
        if self.pipeline.json {
            ui::print(&pretty(&json!({ "version": 1, "output": port, "digest": digest, "preview": text })));
        } else {
            ui::print(&text);
        }
        Ok(())
    }

    fn is_family(&self, types: &'static [StageType]) -> Result<bool, Failure> {
        let manifest = self.pipeline.load(types)?;
        Ok(manifest.families.iter().any(|family| family.name == self.stage))
    }

    /// Shows the metrics of the stages of a matrix that are up to date.
    fn show_family(&self, types: &'static [StageType]) -> Outcome {
        let (session, stages, targets) = self.pipeline.session(types, std::slice::from_ref(&self.stage))?;
        let family = session.manifest.families.iter().find(|family| family.name == self.stage);
        let family = family.expect("invariant: it was found before");
        let mut members = vec![];
        for planned in
            session.plan(&stages, &[])?.into_iter().filter(|planned| targets.contains(&planned.stage))
        {
            if let Verdict::Cached(record) = planned.verdict {
                let values = family.values(planned.stage).collect();
                members.push((planned.stage, Member { values, metrics: record.metrics }));
            }
        }
        members.sort_by_key(|(stage, _)| *stage);
        let missing = targets.len() - members.len();
        let members: Vec<Member<'_>> = members.into_iter().map(|(_, member)| member).collect();
        let compared = compare(&self.stage, &members);
        if self.pipeline.json {
            let stages: Vec<&str> = targets.iter().map(|stage| session.name(*stage)).collect();
            let output =
                json!({ "version": 1, "stages": stages, "missing": missing, "comparison": compared });
            ui::print(&pretty(&output));
            return Ok(());
        }
        match compared {
            Some(compared) => ui::print(&ui::comparison(&compared)),
            None if missing == targets.len() => {
                return Err(Failure::Failed(
                    format!("no stage of `{}` is up to date, so there is no result to show", self.stage),
                    Some(format!("run them: pipe run {} {}", self.pipeline.manifest.display(), self.stage)),
                ));
            }
            None => ui::say(&format!("the stages of `{}` report no metrics", self.stage)),
        }
        if missing > 0 {
            ui::say(&format!("{missing} of {} stages are out of date and not shown", targets.len()));
        }
        Ok(())
    }
}
