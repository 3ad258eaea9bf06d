//! `pipe generate`: generates text with a model, on the command line.

use clap::Args;
use pipe::cli::{FolderCommand, Work, arguments};
use pipe_model::{Generator, Options};
use pipe_stage::{Error, Result};
use std::{
    io::{self, Read},
    path::Path,
};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "generate",
    kind: "model",
    arguments: |command| {
        let command = command.about("Continue a text with a trained language model");
        Generate::augment_args(command)
            .after_help("Example: pipe generate pipelines/gpt-small.yaml export --text 'A trait is'")
    },
    port: |_| None,
    run: Work::Folder(|folder, matches| arguments::<Generate>(matches).run(folder, matches.get_flag("json"))),
};

#[derive(Args)]
struct Generate {
    /// The text to continue [default: stdin].
    #[arg(long)]
    text: Option<String>,
    /// Maximum number of new tokens.
    #[arg(long, default_value_t = 50, value_name = "TOKENS")]
    max_tokens: usize,
    /// Sampling temperature; 0 means greedy decoding.
    #[arg(long, default_value_t = Options::default().temperature)]
    temperature: f64,
    /// Sample from this many of the most likely tokens; 0 means all.
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    top_k: usize,
    /// Sample from the most likely tokens whose probabilities add up to this.
    #[arg(long, default_value_t = Options::default().top_p)]
    top_p: f64,
    /// Random seed; the same seed gives the same text.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Generate {
    fn run(self, folder: &Path, json: bool) -> Result<()> {
        let text = self.text.map_or_else(stdin, Ok)?;
        let options = Options {
            tokens_max: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
        };
        let new = Generator::load(folder)?.generate(&text, &options, || true)?;
        match json {
            true => {
                pipe::cli::print_json(&serde_json::json!({ "version": 1, "prompt": text, "text": new }));
            }
            false => pipe::cli::print(&format!("{text}{new}")),
        }
        Ok(())
    }
}

/// Longer prompts do not fit any context.
const PROMPT_BYTES_MAX: u64 = 1 << 20;

fn stdin() -> Result<String> {
    let mut text = String::new();
    let read = io::stdin().lock().take(PROMPT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Error::io("read", Path::new("stdin"), &error))?;
    Ok(text.trim_end_matches('\n').to_owned())
}
