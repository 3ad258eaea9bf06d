"""Measures training and encoding against Hugging Face's tokenizers, in CPU seconds, in turns on the same texts.

usage: bench_tokenizers.py PIPE TEXTS.jsonl [--vocabulary 32768] [--turns 3] [--encoder PYTHON]

TEXTS has one JSON object with `text` per line. `--encoder` names the Python of another virtual environment whose version of
`tokenizers` encodes; by default it is the same that trains. Prints the ratios of the smallest CPU seconds of all turns.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

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
ENCODE = """
import json, sys
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[2])
texts = [json.loads(line)["text"] for line in open(sys.argv[1])]
if sys.argv[3] == "encode":
    for at in range(0, len(texts), 1000):
        getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)(texts[at:at + 1000], add_special_tokens=False)
"""
READ = "import json, sys\nfor line in open(sys.argv[1]): json.loads(line)['text']\n"


def cpu_seconds(command, **options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipe", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--encoder", default=sys.executable)
    options = parser.parse_args()
    pipe, texts = options.pipe.resolve(), options.texts.resolve()
    figures = {"train": [], "train_peer": [], "encode": [], "encode_peer": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "pipeline.yaml").write_text(
            "pipeline: bench\nstages:\n"
            f"  texts: {{ uses: ingest, with: {{ sources: [{{ glob: {texts} }}] }} }}\n"
            f"  tok: {{ uses: tokenizer, needs: texts, with: {{ vocabulary_size: {options.vocabulary} }} }}\n"
            "  ids: { uses: tokenize, needs: { train: texts, tokenizer: tok } }\n"
        )

        def ours(stage, cache):
            return cpu_seconds([pipe, "run", "pipeline.yaml", stage, "--cache", folder / cache], cwd=folder)

        for turn in range(options.turns):
            cache = f"cache{turn}"
            ours("texts", cache)
            figures["train"].append(ours("tok", cache))
            subprocess.run([pipe, "get", "pipeline.yaml", "tok", f"tok{turn}", "--cache", folder / cache], cwd=folder, check=True,
                           stdout=subprocess.DEVNULL)
            tokenizer = folder / f"tok{turn}" / "tokenizer.json"
            regex = json.loads(tokenizer.read_text())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
            read = cpu_seconds([sys.executable, "-c", READ, texts])
            peer = cpu_seconds([sys.executable, "-c", TRAIN, texts, str(options.vocabulary), regex])
            figures["train_peer"].append(peer - read)
            figures["encode"].append(ours("ids", cache))
            encode = [options.encoder, "-c", ENCODE, texts, tokenizer]
            figures["encode_peer"].append(cpu_seconds([*encode, "encode"]) - cpu_seconds([*encode, "read"]))
    least = {name: min(values) for name, values in figures.items()}
    for name, seconds in least.items():
        print(f"{name}: {seconds:.2f} CPU s")
    print(f"RESULT train_ratio={least['train_peer'] / least['train']:.2f} encode_ratio={least['encode_peer'] / least['encode']:.2f}")


main()
