#!/usr/bin/env python3
"""Measures the search for near-duplicates, ours and that of other programs, on JSON Lines with `text`: 5 words a shingle, 14
bands of 8 values, all pairs as the truth. In CPU seconds on one core, in turns; peers are set up in target/peers.

usage: bench-minhash.py TEXTS.jsonl [--turns 3] [--core N] [--bench PROGRAM] [--only ours]
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "target" / "peers"
PACKAGES = ["datasketch==2.0.0", "rensa==0.5.0", "numpy", "scipy"]
BANDS, ROWS, WIDTH = 14, 8, 5


def shingles_of(text):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[at:at + WIDTH]) for at in range(max(1, len(words) - WIDTH + 1))}


def all_pairs(documents, threshold):
    """Pairs with at least this Jaccard similarity."""
    import numpy
    import scipy.sparse

    numbers, rows, columns = {}, [], []
    for row, document in enumerate(documents):
        for shingle in document:
            rows.append(row)
            columns.append(numbers.setdefault(shingle, len(numbers)))
    matrix = scipy.sparse.csr_matrix((numpy.ones(len(rows), numpy.int32), (rows, columns)))
    sizes = numpy.array([len(document) for document in documents])
    pairs = set()
    for start in range(0, len(documents), 200):
        common = (matrix[start:start + 200] @ matrix.T).tocoo()
        similarity = common.data / (sizes[common.row + start] + sizes[common.col] - common.data)
        chosen = similarity >= threshold
        pairs |= {(int(a), int(b)) for a, b in zip(common.row[chosen] + start, common.col[chosen]) if a < b}
    return pairs


def candidates(signatures):
    pairs = set()
    for band in range(BANDS):
        groups = collections.defaultdict(list)
        for number, signature in enumerate(signatures):
            groups[tuple(signature[band * ROWS:(band + 1) * ROWS])].append(number)
        for group in groups.values():
            pairs |= {(a, b) for at, a in enumerate(group) for b in group[at + 1:]}
    return pairs


def datasketch_signature(document):
    import datasketch

    signature = datasketch.MinHash(num_perm=BANDS * ROWS)
    signature.update_batch([shingle.encode() for shingle in document])
    return tuple(signature.hashvalues)


def rensa_signature(document):
    import rensa

    signature = rensa.RMinHash(num_perm=BANDS * ROWS, seed=42)
    signature.update(list(document))
    return tuple(signature.digest())


def enter_peers():
    """Goes on in a Python with the packages that are compared, in target/peers."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    if Path(sys.prefix).resolve() != PEERS.resolve():
        os.execv(python, [python, *sys.argv])


def built_bench():
    """The executable of the bench `minhash`."""
    command = ["cargo", "bench", "--quiet", "-p", "pipe-data", "--bench", "minhash", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    return next(message["executable"] for message in messages
                if message.get("executable") and message["target"]["name"] == "minhash")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--core", type=int, default=0, help="the core that everything runs on")
    parser.add_argument("--bench", help="the bench `minhash`, if it is built already")
    parser.add_argument("--only", choices=["ours"], help="measure this only")
    options = parser.parse_args()
    if not options.only:
        enter_peers()
    bench = options.bench or built_bench()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    peers = [] if options.only else [("datasketch", datasketch_signature), ("rensa", rensa_signature)]
    if peers:
        texts = [json.loads(line)["text"] for line in open(options.texts)]
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        start = time.process_time()
        documents = [shingles_of(text) for text in texts]
        shingling = time.process_time() - start
        truth, above = all_pairs(documents, 0.8), all_pairs(documents, 0.7)
        print(f"{len(texts)} documents, {megabytes:.1f} MB, {len(truth)} pairs from 0.8 on")
    fastest, shown = {}, {}
    for _ in range(options.turns):
        shown["ours"] = subprocess.run([bench, options.texts], check=True, capture_output=True, text=True).stdout
        speed = float(re.search(r"together ([\d.]+) MB/s", shown["ours"])[1])
        fastest["ours"] = max(fastest.get("ours", 0), speed)
        for name, sign in peers:
            start = time.process_time()
            pairs = candidates([sign(document) for document in documents])
            seconds = time.process_time() - start + shingling
            fastest[name] = max(fastest.get(name, 0), megabytes / seconds)
            shown[name] = (f"recall at 0.8: {len(pairs & truth) / max(1, len(truth)):.4f}; "
                           f"pairs below 0.7: {len(pairs - above)}")
    for name, speed in fastest.items():
        print(f"{name}: {speed:.1f} MB/s", *shown[name].splitlines()[-1:])
    recall = re.search(r"recall at 0.8: ([\d.]+)", shown["ours"])[1]
    print(f"RESULT minhash_mbs={fastest['ours']:.1f} recall={recall}")


if __name__ == "__main__":
    main()
