//! The kinds of artifact that this package owns.

use crate::huggingface::{Config, Purpose};
use pipe_stage::{Kind, LocalEntry, Result};

/// A model with its tokenizer, as a Hugging Face folder.
pub static MODEL: Kind = Kind {
    name: "model",
    about: "A model in the Hugging Face layout: config.json, model.safetensors, tokenizer.json and more.",
    materialize: LocalEntry::copy_to,
    look: look_at_model,
};

/// Metrics: history.jsonl of a training run, scores.json and scores.md of an evaluation.
pub static METRICS: Kind = Kind::files("metrics", "Metrics as JSON, JSON Lines or Markdown.");

fn look_at_model(entries: &[LocalEntry], lines_max: usize) -> Result<String> {
    let mut lines = Vec::new();
    if let Some(config) = entries.iter().find(|entry| entry.name() == "config.json") {
        let Config { architecture, purpose, .. } = Config::from_json(&config.bytes()?)?;
        let purpose = match purpose {
            Purpose::Language => "language model".to_owned(),
            Purpose::Classification(labels) => format!("classifier of {}", labels.join(", ")),
        };
        lines.push(purpose);
        lines.push(format!(
            "{} parameters, {} layers of width {}, {} heads ({} for keys), vocabulary {}, context {}",
            architecture.parameters(),
            architecture.layers,
            architecture.features,
            architecture.heads,
            architecture.kv_heads,
            architecture.vocabulary,
            architecture.context
        ));
    }
    lines.extend(entries.iter().map(|entry| format!("{}  {} bytes", entry.name(), entry.size())));
    lines.truncate(lines_max);
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}
