//! The kinds of artifact that this package owns.

use crate::huggingface::{Config, Purpose};
use pipe_data::TOKENIZER;
use pipe_stage::{Error, Kind, LocalEntry, Result};
use safetensors::tensor::Metadata;
use serde_json::Value;
use std::{
    fs::File,
    io::{self, Read},
};

/// A model with its tokenizer, as a Hugging Face folder.
pub static MODEL: Kind = Kind {
    name: "model",
    about: "A model in the Hugging Face layout: config.json, model.safetensors, tokenizer.json and more.",
    materialize: LocalEntry::copy_to,
    look: look_at_model,
    check: check_model,
};

/// Metrics: history.jsonl of a training run, scores.json and scores.md of an evaluation.
pub static METRICS: Kind =
    Kind { check: check_metrics, ..Kind::files("metrics", "Metrics as JSON, JSON Lines or Markdown.") };

fn find<'a>(entries: &'a [LocalEntry], name: &str) -> Option<&'a LocalEntry> {
    entries.iter().find(|entry| entry.name() == name)
}

fn look_at_model(entries: &[LocalEntry], lines_max: usize) -> Result<String> {
    let mut lines = Vec::new();
    if let Some(config) = find(entries, "config.json") {
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

/// Reads all but the weights, and the tokenizer if there is one: a model may be trained without.
fn check_model(entries: &[LocalEntry]) -> Result<()> {
    let required = |name: &str| {
        find(entries, name).ok_or_else(|| {
            Error::input(format!("it has no file `{name}`"))
                .help("write the model as transformers does, such as with `save_pretrained`, with its weights in one file")
        })
    };
    Config::from_json(&required("config.json")?.bytes()?)?;
    let weights = required("model.safetensors")?;
    let path = weights.path()?;
    let mut file = File::open(&path).map_err(|error| Error::io("open", &path, &error))?;
    check_header(&mut file, weights.size())
        .map_err(|error| Error::input(format!("model.safetensors is damaged: {error}")))?;
    if find(entries, "tokenizer.json").is_some() { (TOKENIZER.check)(entries) } else { Ok(()) }
}

/// Reads the header of a safetensors file, and compares the length that it tells with that of the file. The header is
/// JSON behind its length in 8 bytes.
fn check_header(file: &mut impl Read, size: u64) -> io::Result<()> {
    const HEADER_BYTES_MAX: u64 = 100 << 20;
    let damaged = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > size.min(HEADER_BYTES_MAX) {
        return Err(damaged(format!("its header claims {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    let header: Metadata = serde_json::from_slice(&header)?;
    let expected = 8 + length + header.data_len() as u64;
    match size == expected {
        true => Ok(()),
        false => Err(damaged(format!("it has {size} bytes, and its header tells of {expected}"))),
    }
}

/// Reads every JSON file; there must be one with a number.
fn check_metrics(entries: &[LocalEntry]) -> Result<()> {
    let mut has_number = false;
    for entry in entries {
        let is_lines = entry.name().ends_with(".jsonl");
        if !is_lines && !entry.name().ends_with(".json") {
            continue;
        }
        let values: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_slice(&entry.bytes()?).into_iter().collect();
        let values = values.map_err(|error| {
            let format = if is_lines { "JSON Lines" } else { "JSON" };
            Error::input(format!("`{}` is not {format}: {error}", entry.name()))
                .help("JSON has no NaN or Infinity: write null instead")
        })?;
        has_number |= values.iter().any(holds_number);
    }
    match has_number {
        true => Ok(()),
        false => Err(Error::input("no file `*.json` or `*.jsonl` holds a number")
            .help("write metrics as JSON, such as `{\"loss\": 2.5}` to `scores.json`")),
    }
}

fn holds_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(holds_number),
        Value::Object(fields) => fields.values().any(holds_number),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_must_fit_its_file() {
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 8]);
        let check = |file: &[u8]| check_header(&mut &*file, file.len() as u64);
        check(&file).unwrap();
        assert!(check(&file[..file.len() - 1]).unwrap_err().to_string().contains("its header tells of 70"));
        assert!(check(b"").is_err() && check(&u64::MAX.to_le_bytes()).is_err());
        assert!(check(b"\x02\0\0\0\0\0\0\0{]").is_err());
    }
}
