"""Runs the benchmarks of scripts/bench-data.sh.

usage: bench_data.py PIPE FOLDER [--turns N] [--times N]
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet

SCRIPTS = Path(__file__).resolve().parent.parent
PEERS = SCRIPTS.parent / "target/peers"
CHAIN = """\
pipeline: chain
stages:
  pages: {{ uses: ingest, with: {{ sources: [{{ glob: "{pages}", name: s }}] }} }}
  text: {{ uses: clean, needs: pages, with: {{ preset: fineweb, languages: [en], pii: [email, ip] }} }}
  unique: {{ uses: dedup, needs: text }}
  vocabulary: {{ uses: tokenizer, with: {{ from: {tokenizer} }} }}
  tokens: {{ uses: tokenize, needs: {{ train: unique, tokenizer: vocabulary }} }}
"""
VOCABULARY = """\
pipeline: vocabulary
stages:
  pages: {{ uses: ingest, with: {{ sources: [{{ glob: "{pages}", name: s }}] }} }}
  text: {{ uses: clean, needs: pages, with: {{ profile: docs, languages: [en] }} }}
  vocabulary: {{ uses: tokenizer, needs: text, with: {{ vocabulary_size: 32768 }} }}
"""


class Pipe:
    """The program, in a folder with a cache."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def call(self, *arguments):
        command = [self.program, *arguments, "--cache", "cache"]
        done = subprocess.run(command, cwd=self.folder, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


def cpu_of(call):
    """CPU seconds, wall seconds and result of a call that runs processes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    result = call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.time() - start, result


def chain(pipe, pages, tokenizer):
    """Runs the chain in an empty cache. Returns CPU seconds, wall seconds and the peak MiB of its largest stage."""
    subprocess.run(["rm", "-rf", pipe.folder / "cache"], check=True)
    (pipe.folder / "chain.yaml").write_text(CHAIN.format(pages=pages, tokenizer=tokenizer))
    cpu, wall, shown = cpu_of(lambda: pipe.call("run", "chain.yaml", "tokens"))
    print(shown[shown.rindex("stage "):], end="")
    peak = max(float(size) * (1024 if unit == "GiB" else 1) for size, unit in re.findall(r" ([\d.]+) (MiB|GiB)  ", shown))
    return cpu, wall, peak


def results(*command):
    """Figures of the line `RESULT name=value …` that a benchmark ends with."""
    print("$", *command, flush=True)
    shown = subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE).stdout
    print(shown, end="", flush=True)
    line = next(line for line in shown.splitlines() if line.startswith("RESULT "))
    return dict(part.split("=") for part in line.split()[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipe", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--only", choices=["chain", "tokenizers", "minhash"])
    options = parser.parse_args()
    folder = options.folder.resolve()
    wants = lambda part: options.only in (None, part)
    pipe = Pipe(options.pipe.resolve(), folder)
    print("load average", *os.getloadavg(), "on", os.cpu_count(), "cores")

    subprocess.run([sys.executable, SCRIPTS / "peers/make_pages.py", folder / "pages", "--times", str(options.times)], check=True)
    pages = folder / "pages/00000.warc.gz"
    texts, tokenizer = folder / "texts.jsonl", folder / "tokenizer/tokenizer.json"
    if not texts.exists():
        (folder / "vocabulary.yaml").write_text(VOCABULARY.format(pages=pages))
        pipe.call("run", "vocabulary.yaml")
        pipe.call("get", "vocabulary.yaml", "vocabulary", "tokenizer")
        pipe.call("get", "vocabulary.yaml", "text", "texts")
        with open(texts, "w") as file:
            for path in sorted((folder / "texts").rglob("*.parquet")):
                for text in pyarrow.parquet.read_table(path, columns=["text"])["text"].to_pylist():
                    file.write(json.dumps({"text": text}) + "\n")

    found = {}
    if wants("chain"):
        ours, theirs, peaks = [], [], []
        lid = next((PEERS / "lid").rglob("lid.176.ftz"))
        for turn in range(options.turns):
            for _ in range(2):
                cpu, wall, peak = chain(pipe, pages, tokenizer)
                ours.append(cpu)
                peaks.append(peak)
                print(f"chain: {cpu:.2f} CPU s, {wall:.2f} s, peak {peak:.0f} MiB, load {os.getloadavg()[0]:.1f}", flush=True)
            peer = folder / "datatrove"
            subprocess.run(["rm", "-rf", peer], check=True)
            command = [sys.executable, SCRIPTS / "peers/datatrove_chain.py", pages, peer, tokenizer, lid]
            with open(folder / "datatrove.log", "w") as log:
                cpu, wall, done = cpu_of(lambda: subprocess.run(command, stdout=log, stderr=log))
            shown = [line for line in open(folder / "datatrove.log") if line.startswith(("part=", "texts=", "total "))]
            print(*shown, sep="", end="")
            done.check_returncode()
            theirs.append(cpu)
            print(f"datatrove: {cpu:.2f} CPU s, {wall:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        found["chain_ratio"] = f"{min(theirs) / min(ours):.1f}"
        if options.times > 1:
            cpu, wall, peak = chain(pipe, folder / "pages/*.warc.gz", tokenizer)
            peaks.append(peak)
            print(f"{options.times} times: {cpu:.2f} CPU s ({cpu / options.times:.2f} per S), {wall:.2f} s, peak {peak:.0f} MiB")
        found["peak_mib"] = f"{max(peaks):.0f}"
    if wants("tokenizers"):
        found |= results(sys.executable, SCRIPTS / "bench_tokenizers.py", pipe.program, texts, "--turns", options.turns)
    if wants("minhash"):
        found |= results(sys.executable, SCRIPTS / "bench-minhash.py", texts)
    names = ["chain_ratio", "encode_ratio", "train_ratio", "minhash_mbs", "peak_mib"]
    print("RESULT", *(f"{name}={found[name]}" for name in names if name in found))


main()
