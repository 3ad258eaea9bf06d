//! `pipe show`.

use super::{Outcome, Pipeline, pretty};
use crate::{
    command::kind,
    record::read_artifact,
    stage_type::StageType,
    ui::{
        self, Cell,
        units::{bytes, figure, seconds},
    },
};
use pipe_stage::{Better, LocalEntry};
use serde_json::json;

/// Arguments of `pipe show`.
#[derive(clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// The stage.
    stage: String,
    /// Lines to look into each output.
    #[arg(long, default_value_t = 12, value_name = "LINES")]
    lines: usize,
    /// Print the stage's log instead.
    #[arg(long)]
    log: bool,
}

impl Show {
    pub(super) fn run(self, types: &'static [StageType]) -> Outcome {
        let (session, _, key, record) = self.pipeline.recorded(types, &self.stage)?;
        if self.log {
            let log = record.log.as_ref().map(|log| session.store.read(log)).transpose()?;
            ui::print(&String::from_utf8_lossy(&log.unwrap_or_default()));
            return Ok(());
        }
        if self.pipeline.json {
            ui::print(&pretty(&json!({ "version": 1, "stage": self.stage, "key": key, "record": record })));
            return Ok(());
        }
        let mut text = format!(
            "{} ({} revision {})\n  key       {key}\n  made      {} on {} ({}, {} cpus) by pipe {}\n  \
             took      {}, {} of processor time, {} at the peak\n  kernels   {}\n",
            self.stage,
            record.uses,
            record.revision,
            record.finished,
            record.machine.host,
            record.machine.system,
            record.machine.cpus,
            record.code,
            seconds(record.seconds),
            seconds(record.cpu_seconds),
            bytes(record.memory_peak),
            record.instruction_sets.join(", "),
        );
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
        text += &ui::table(&["metric", "value", "unit", ""], rows.collect());
        for (port, digest) in &record.outputs {
            let Some(artifact) = read_artifact(&session.store, digest) else { continue };
            let (count, size) = (artifact.entries.len(), bytes(artifact.size()));
            text += &format!("\n{port}: {} in {count} entries, {size}, {}\n", artifact.kind, digest.short());
            let entries: Vec<LocalEntry> =
                artifact.entries.iter().map(|entry| LocalEntry::new(&session.store, entry)).collect();
            if let Some(kind) = kind(&artifact.kind) {
                for line in (kind.look)(&entries, self.lines)?.lines() {
                    text += &format!("  {line}\n");
                }
            }
        }
        ui::print(&text);
        Ok(())
    }
}
