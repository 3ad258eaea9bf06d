//! What another trainer needs to repeat a `pretrain` run: the flat token streams as u16 files, and the initial
//! weights.
//!
//! ```text
//! cargo run --release -p pipe-model --example baseline_inputs -- TOKENIZER TRAIN VALIDATION OUT [SEED]
//! ```
//!
//! TOKENIZER, TRAIN and VALIDATION are folders that `pipe get` wrote; OUT gets `train.bin`, `validation.bin`
//! and `initial.safetensors` (the preset `gpt-small` at the tokenizer's vocabulary).

use pipe_data::Tokenizer;
use pipe_data::tokens::TokensReader;
use pipe_model::{Preset, speed};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, train, validation, out, rest @ ..] = &arguments[..] else {
        return Err("usage: baseline_inputs TOKENIZER TRAIN VALIDATION OUT [SEED]".into());
    };
    let seed = rest.first().map_or(Ok(0), |seed| seed.parse())?;
    let file = |name: &str| fs::read(Path::new(tokenizer).join(name));
    let tokenizer = Tokenizer::from_files(&file("tokenizer.json")?, &file("tokenizer_config.json")?)?;
    let out = Path::new(out);
    fs::create_dir_all(out)?;
    for (folder, name) in [(train, "train.bin"), (validation, "validation.bin")] {
        let tokens = flatten(Path::new(folder), &tokenizer, &out.join(name))?;
        println!("{name}: {tokens} tokens");
    }
    let architecture = Preset::GptSmall.shape(tokenizer.vocabulary_size() as usize);
    fs::write(out.join("initial.safetensors"), speed::initial_weights(&architecture, seed)?)?;
    println!("initial.safetensors: {} parameters of seed {seed}", architecture.parameters());
    Ok(())
}

/// Documents in the order of their shards' names, each ended by the end-of-document token, as `pretrain` has
/// them.
fn flatten(folder: &Path, tokenizer: &Tokenizer, out: &Path) -> Result<u64, Box<dyn Error>> {
    let mut shards = Vec::new();
    list(folder, "", &mut shards)?;
    shards.sort();
    let (mut out, mut tokens) = (BufWriter::new(File::create(out)?), 0);
    for shard in shards {
        for document in TokensReader::open(&folder.join(shard), None)? {
            let (_, mut ids) = document?;
            ids.extend(tokenizer.eos().filter(|eos| ids.last() != Some(eos)));
            for id in &ids {
                out.write_all(&u16::try_from(*id)?.to_le_bytes())?;
            }
            tokens += ids.len() as u64;
        }
    }
    out.flush()?;
    Ok(tokens)
}

/// Names of all shards below `folder`, with `/` between their parts.
fn list(folder: &Path, prefix: &str, shards: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), shards)?;
        } else if name.ends_with(".parquet") {
            shards.push(name);
        }
    }
    Ok(())
}
