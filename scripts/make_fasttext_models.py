#!/usr/bin/env python3
"""Trains the fastText models that the tests of stages/linear read, and records what fastText predicts with them.

    pip install fasttext-wheel
    scripts/make_fasttext_models.py stages/linear/tests/models

fastText trains with one thread here, but its results depend on the machine's arithmetic: the files are stored with
the repository, and made anew only to add a case. The models are useless for anything but this comparison.
"""

import json
import os
import random
import sys
import tempfile

import fasttext

WORDS = {
    "en": "the of and to in is that for it as was with be by on not he his but at are this have from or had an they".split(),
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus".split(),
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont été".split(),
    "ru": "и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой".split(),
    "zh": "的 一 是 不 了 在 人 有 我 他 这 个 们 中 来 上 大 为 和 国 地 到 以 说 时".split(),
}
TEXTS = [
    "the house is not as large as this one",
    "das ist nicht der Weg und auch nicht das Ziel",
    "il est dans la maison et ne veut pas sortir",
    "это не я, это они",
    "这 是 我们 的 国家",
    "这是我们的国家",
    "mixed der text mit many words и ещё 一 些",
    "",
    "   \t  ",
    "\u00e9t\u00e9 e\u0301t\u00e9 \U0001f600\U0001f600 na\u00efve",
    "tab\tand\x0bvertical\x0cform\rreturn",
    "__label__en a label in the text is no word __label__unknown",
    "zzzzzzzz qqqqqqqq xxxxxxxxx",
    "a",
    "\u4e00",
    "x" * 300,
    "\u0646\u0635 \u0628\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05d5\u05e2\u05d1\u05e8\u05d9\u05ea",
    "UPPER lower MiXeD 123 4.5 !?",
]


def lines(rng, count):
    # Skewed counts, so that the tree of the hierarchical softmax is not balanced.
    languages = list(WORDS)
    for n in range(count):
        language = languages[min(int(rng.expovariate(0.8)), len(languages) - 1)]
        words = [rng.choice(WORDS[language]) for _ in range(rng.randint(3, 9))]
        yield f"__label__{language} " + " ".join(words)


def many_labels(rng, count):
    for n in range(count):
        label = n % 300
        yield f"__label__{label} w{label % 20} w{label // 20} w{rng.randint(0, 20)}"


def both_labels(rng, count):
    for line in lines(rng, count):
        yield "__label__text " + line


def main(folder):
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as scratch:
        def data(name, made):
            path = os.path.join(scratch, name)
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in made)
            return path

        plain, many, both = (
            data("plain", lines(rng, 600)),
            data("many", many_labels(rng, 3000)),
            data("both", both_labels(rng, 300)),
        )
        train = lambda path, **more: fasttext.train_supervised(
            path, **{**dict(dim=4, epoch=10, lr=0.5, thread=1, seed=1, bucket=150, verbose=0), **more}
        )
        models = {
            "softmax.bin": train(plain, wordNgrams=3, minn=2, maxn=4),
            "words.bin": train(plain, wordNgrams=1),
            "hierarchical.bin": train(plain, loss="hs", minn=1, maxn=3),
            "one_vs_all.bin": train(both, loss="ova", wordNgrams=2),
            "negative_sampling.bin": train(plain, loss="ns", wordNgrams=2),
        }
        quantized = train(plain, bucket=400, wordNgrams=2, minn=2, maxn=3)
        quantized.quantize(dsub=2)
        models["quantized.ftz"] = quantized
        pruned = train(plain, dim=5, bucket=800, wordNgrams=2, minn=2, maxn=3)
        pruned.quantize(input=plain, qnorm=True, cutoff=300, retrain=True, dsub=2, epoch=2, thread=1, verbose=0)
        models["pruned.ftz"] = pruned
        output = train(many, bucket=300, wordNgrams=2, loss="hs")
        output.quantize(dsub=2, qout=True, qnorm=True)
        models["quantized_output.ftz"] = output

        expected = {}
        for name, model in models.items():
            model.save_model(os.path.join(folder, name))
            # Of many labels, only the best: they are enough for a comparison.
            best = 5 if len(model.labels) > 50 else -1
            expected[name] = [
                [[label, round(float(p), 7)] for p, label in model.f.predict(text + "\n", best, 0.0, "strict")]
                for text in TEXTS
            ]
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        json.dump({"texts": TEXTS, "models": expected}, file, separators=(",", ":"))


if __name__ == "__main__":
    main(sys.argv[1])
