#!/usr/bin/env python3
"""Measures MinHash of other programs on JSON Lines with `text`, as stages/data/benches/minhash.rs does ours: 5 words a
shingle, 14 bands of 8 values, all pairs as the truth. Needs `pip install datasketch rensa numpy scipy`.

usage: bench-minhash.py texts.jsonl
"""
import collections
import json
import re
import sys
import time

import datasketch
import numpy
import rensa
import scipy.sparse

BANDS, ROWS, WIDTH = 14, 8, 5


def shingles_of(text):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[at:at + WIDTH]) for at in range(max(1, len(words) - WIDTH + 1))}


def all_pairs(documents, threshold):
    """Pairs with at least this Jaccard similarity, and all similarities from 0.7 on."""
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
    signature = datasketch.MinHash(num_perm=BANDS * ROWS)
    signature.update_batch([shingle.encode() for shingle in document])
    return tuple(signature.hashvalues)


def rensa_signature(document):
    signature = rensa.RMinHash(num_perm=BANDS * ROWS, seed=42)
    signature.update(list(document))
    return tuple(signature.digest())


def main():
    texts = [json.loads(line)["text"] for line in open(sys.argv[1])]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    start = time.process_time()
    documents = [shingles_of(text) for text in texts]
    shingling = time.process_time() - start
    truth, above = all_pairs(documents, 0.8), all_pairs(documents, 0.7)
    print(f"{len(texts)} documents, {megabytes:.1f} MB, {len(truth)} pairs from 0.8 on")
    for name, sign in (("datasketch", datasketch_signature), ("rensa", rensa_signature)):
        start = time.process_time()
        pairs = candidates([sign(document) for document in documents])
        seconds = time.process_time() - start + shingling
        print(f"{name}: CPU {seconds:.2f} s, {megabytes / seconds:.1f} MB/s, recall at 0.8 "
              f"{len(pairs & truth) / max(1, len(truth)):.4f}, pairs below 0.7: {len(pairs - above)}")


if __name__ == "__main__":
    main()
