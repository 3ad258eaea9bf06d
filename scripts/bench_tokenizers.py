"""Measures training and encoding against other tokenizers, in CPU seconds on one core, in turns on the same texts.

usage: bench_tokenizers.py PIPE TEXTS.jsonl [MORE.jsonl ...] [--vocabulary 32768] [--turns 5] [--core N] [--only encode]

Each file has one JSON object with `text` per line. A tokenizer is trained on the first file, by the stage `tokenizer`, by
Hugging Face's tokenizers 0.23 and by rustbpe. Then each file is encoded with it: encoding alone, after the texts are read, by
the bench `encode` and by the 1.0 line of Hugging Face's tokenizers, whose ids have to be the same. Peers are set up
in target/peers. Prints the smallest seconds of all turns, and the ratios of the peers' to ours, from 1.0 on the faster ones.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "target" / "peers"
TOKENIZERS_RS = "1.0.0-rc.3"
PACKAGES = ["tokenizers==0.23.3", "rustbpe==0.1.0"]

TRAIN = """
import json, sys
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(sys.argv[3]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
trainer = trainers.BpeTrainer(vocab_size=int(sys.argv[2]), min_frequency=2, show_progress=False,
    special_tokens=["<|endoftext|>", "<|pad|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train_from_iterator((json.loads(line)["text"] for line in open(sys.argv[1])), trainer)
"""
TRAIN_RUSTBPE = """
import json, sys
import rustbpe
texts = (json.loads(line)["text"] for line in open(sys.argv[1]))
rustbpe.Tokenizer().train_from_iterator(texts, int(sys.argv[2]) - 2, pattern=sys.argv[3])
"""
READ = "import json, sys\nfor line in open(sys.argv[1]): json.loads(line)['text']\n"
ENCODER_MANIFEST = f"""[package]
name = "encode"
edition = "2024"
[dependencies]
serde_json = "1"
tokenizers = "={TOKENIZERS_RS}"
[profile.release]
codegen-units = 1
[workspace]
"""
# The same as stages/data/benches/encode.rs, with the other library.
ENCODER = """
use std::io::BufRead;
use tokenizers::pipeline::EncodeOptions;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let passes: usize = arguments.get(2).map_or(Ok(3), |passes| passes.parse())?;
    let tokenizer = tokenizers::from_json(&tokenizers::canonicalize_file(&arguments[0])?)?;
    let mut documents = Vec::new();
    for line in std::io::BufReader::new(std::fs::File::open(&arguments[1])?).lines() {
        let document: serde_json::Value = serde_json::from_str(&line?)?;
        documents.push(document["text"].as_str().ok_or("a line has no `text`")?.to_owned());
    }
    let megabytes = documents.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let options = EncodeOptions { encode_special_tokens: true, ..EncodeOptions::no_specials() };
    let (mut seconds, mut digest) = (f64::INFINITY, 0);
    for _ in 0..passes.max(1) {
        let start = cpu_seconds();
        let (mut ids, mut pass_digest) = (Vec::new(), 0);
        for document in &documents {
            ids.clear();
            tokenizer.encode_into(document, &options, &mut ids)?;
            let mix = |digest: u64, id: u64| (digest.rotate_left(5) ^ id).wrapping_mul(0x517c_c1b7_2722_0a95);
            let ids = ids.iter().map(|id| u64::from(id.id()));
            pass_digest = ids.clone().fold(mix(pass_digest, ids.len() as u64), mix);
        }
        seconds = seconds.min(cpu_seconds() - start);
        digest = pass_digest;
    }
    println!("{megabytes:.3} {seconds:.4} {digest:016x}");
    Ok(())
}

fn cpu_seconds() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedule.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}
"""


def cpu_seconds(command, **options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def python_of_peers():
    """A Python with the packages that are compared, in target/peers."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    return python


def encoder_of_peers():
    folder = PEERS / "encode"
    (folder / "src").mkdir(parents=True, exist_ok=True)
    for name, text in (("Cargo.toml", ENCODER_MANIFEST), ("src/main.rs", ENCODER)):
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=folder, check=True)
    return folder / "target" / "release" / "encode"


def bench(name):
    """The executable of a bench of pipe-data."""
    command = ["cargo", "bench", "--quiet", "-p", "pipe-data", "--bench", name, "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    return next(message["executable"] for message in messages
                if message.get("executable") and message["target"]["name"] == name)


def train(options, python, folder, core):
    """Seconds of ours, of Hugging Face's and of rustbpe; and our tokenizer."""
    texts = options.texts[0].resolve()
    (folder / "pipeline.yaml").write_text(
        "pipeline: bench\nstages:\n"
        f"  texts: {{ uses: ingest, with: {{ sources: [{{ glob: {texts} }}] }} }}\n"
        f"  tok: {{ uses: tokenizer, needs: texts, with: {{ vocabulary_size: {options.vocabulary} }} }}\n"
    )
    pipe = options.pipe.resolve()
    least = {"train": [], "train_tokenizers": [], "train_rustbpe": []}
    for turn in range(1 if options.only == "encode" else options.turns):
        cache = folder / f"cache{turn}"

        def ours(stage):
            return cpu_seconds([*core, pipe, "run", "pipeline.yaml", stage, "--cache", cache], cwd=folder)

        ours("texts")
        least["train"].append(ours("tok"))
        subprocess.run([pipe, "get", "pipeline.yaml", "tok", f"tok{turn}", "--cache", cache], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        tokenizer = folder / f"tok{turn}" / "tokenizer.json"
        if options.only == "encode":
            break
        regex = json.loads(tokenizer.read_text())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        read = cpu_seconds([*core, python, "-c", READ, texts])
        for peer, code in (("train_tokenizers", TRAIN), ("train_rustbpe", TRAIN_RUSTBPE)):
            least[peer].append(cpu_seconds([*core, python, "-c", code, texts, str(options.vocabulary), regex]) - read)
    return {name: min(values) for name, values in least.items() if values}, tokenizer


def encode(options, texts, tokenizer, ours, peer, core):
    """Megabytes, and seconds of ours and of Hugging Face's, whose ids are the same."""
    seconds, outcomes = {ours: [], peer: []}, set()
    for _ in range(options.turns):
        for program in (ours, peer):
            run = subprocess.run([*core, program, tokenizer, texts], check=True, capture_output=True, text=True)
            megabytes, fastest, digest = run.stdout.split()
            seconds[program].append(float(fastest))
            outcomes.add((megabytes, digest))
    if len(outcomes) != 1:
        sys.exit(f"{texts}: the ids differ")
    return float(megabytes), min(seconds[ours]), min(seconds[peer])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipe", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--core", type=int, default=0, help="the core that everything runs on")
    parser.add_argument("--only", choices=["encode"], help="measure this only")
    parser.add_argument("--encoder", help="the bench `encode`, if it is built already")
    options = parser.parse_args()
    core = ["taskset", "-c", str(options.core)] if os.name == "posix" else []
    python, peer, ours = python_of_peers(), encoder_of_peers(), options.encoder or bench("encode")
    with tempfile.TemporaryDirectory() as folder:
        least, tokenizer = train(options, python, Path(folder), core)
        result = {}
        for name, seconds in least.items():
            print(f"{name}: {seconds:.2f} CPU s")
        if options.only != "encode":
            result["train_ratio"] = least["train_tokenizers"] / least["train"]
            result["rustbpe_ratio"] = least["train_rustbpe"] / least["train"]
        for number, texts in enumerate(options.texts):
            megabytes, seconds, seconds_peer = encode(options, texts, tokenizer, ours, peer, core)
            print(f"encode {texts.name}: {megabytes / seconds:.1f} MB/s, tokenizers {TOKENIZERS_RS} "
                  f"{megabytes / seconds_peer:.1f} MB/s, the same ids")
            result["encode_ratio" + (f"_{number + 1}" if number else "")] = seconds_peer / seconds
    print("RESULT", *(f"{name}={value:.2f}" for name, value in result.items()))


main()
