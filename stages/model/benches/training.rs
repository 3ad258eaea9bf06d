//! Training speed of the `gpt-small` shape: `cargo bench -p pipe-model`.
//!
//! With `--data FILE` (flat u16 token ids) and `--init FILE` (safetensors), prints each step's loss, to set
//! beside another program's on the same weights, tokens and order. `--preset NAME`, `--vocab`, `--layers`, `--d`,
//! `--heads`, `--ffn` and `--seq` give another shape; `--save-init FILE` writes the weights that it starts from.

use pipe_model::speed::{Trial, initial_weights, run};
use pipe_model::{Architecture, Preset, instruction_set, matrix_peak};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).cloned()
    };
    let number = |name: &str, otherwise: f64| {
        value(name).map_or(otherwise, |text| text.parse().expect("a number after the option"))
    };
    let preset: Preset = value("--preset")
        .map_or(Preset::GptSmall, |name| serde_json::from_value(name.into()).expect("the name of a preset"));
    let shape = preset.shape(number("--vocab", 4096.0) as usize);
    let heads = number("--heads", shape.heads as f64) as usize;
    let features = number("--d", shape.features as f64) as usize;
    let architecture = Architecture {
        features,
        layers: number("--layers", shape.layers as f64) as usize,
        heads,
        kv_heads: number("--kv-heads", heads as f64) as usize,
        head_dim: features / heads,
        feed_forward: number("--ffn", shape.feed_forward as f64) as usize,
        context: number("--seq", shape.context as f64) as usize,
        tied: shape.tied || arguments.iter().any(|argument| argument == "--tie"),
        ..shape
    };
    if let Some(path) = value("--save-init") {
        let bytes = initial_weights(&architecture, 0).expect("a sound shape");
        std::fs::write(path, bytes).expect("the initial weights are written");
    }
    let tokens = match value("--data") {
        Some(path) => {
            let bytes = std::fs::read(path).expect("the data file");
            bytes.as_chunks().0.iter().map(|pair| u32::from(u16::from_le_bytes(*pair))).collect()
        }
        None => (0..100_000_u64)
            .map(|i| ((i * i * 7 % 4093 + i % 3) % architecture.vocabulary as u64) as u32)
            .collect(),
    };
    let trial = Trial {
        architecture,
        tokens,
        steps: number("--steps", 15.0) as u64,
        rows: number("--batch", 8.0) as usize,
        gradient_accumulation_steps: number("--accum", 1.0) as u64,
        lr: number("--lr", 1e-3),
        warmup_steps: number("--warmup", 10.0) as u64,
        initial: value("--init").map(|path| std::fs::read(path).expect("the initial weights")),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!(
        "{} parameters, {}, {} threads, matrix peak {:.0} GFLOP/s",
        architecture.parameters(),
        instruction_set(),
        rayon::current_num_threads(),
        matrix_peak() / 1e9
    );
    let mut rates = Vec::new();
    let weights = run(&trial, folder.path(), |step, taken| {
        println!(
            "step {step} loss {:.6} gradient norm {:.4} {:.0} tokens/s {:.1} % of peak",
            taken.loss,
            taken.gradient_norm,
            taken.tokens_per_second,
            100.0 * taken.utilisation
        );
        rates.push(taken.tokens_per_second);
    });
    weights.expect("the run ends well");
    rates.drain(..rates.len().min(3) - 1);
    rates.sort_by(f64::total_cmp);
    println!("median {:.0} tokens/s, best {:.0}", rates[rates.len() / 2], rates[rates.len() - 1]);
}
