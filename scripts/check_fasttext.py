#!/usr/bin/env python3
"""Checks that fastText reads a model trained here, and predicts the same with it.

    pip install fasttext-wheel
    scripts/make_language_texts.py texts
    cargo run --release -p pipe-linear --example train -- texts/train.txt texts/test.txt model.bin 16 3 1 1 4 131072
    scripts/check_fasttext.py model.bin texts/test.txt
"""

import sys

import fasttext

# fastText adds this to each probability.
ADDED = 1e-5


def main(model_path, test):
    model = fasttext.load_model(model_path)
    texts = [line.rstrip("\n").split(" ", 1)[1] for line in open(test, encoding="utf-8")]
    ours = [line.rstrip("\n").split("\t") for line in open(model_path + ".tsv", encoding="utf-8")]
    assert len(texts) == len(ours), "as many predictions as texts"
    worst, other = 0.0, 0
    for text, (label, probability) in zip(texts, ours):
        [(theirs, name)] = model.f.predict(text + "\n", 1, 0.0, "strict")
        difference = abs(theirs - ADDED - float(probability))
        # Labels of the same probability may change places.
        other += name != "__label__" + label and difference > 1e-5
        worst = max(worst, difference)
    print(f"{len(texts)} texts: {other} other labels, largest difference of probabilities {worst:.2e}")
    assert other == 0 and worst < 1e-5


if __name__ == "__main__":
    main(*sys.argv[1:])
