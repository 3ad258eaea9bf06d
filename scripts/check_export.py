#!/usr/bin/env python3
"""Checks an export in stock transformers, and that it finds the bits per byte that `eval` found.

  check_export.py MODEL TEXT SCORES CHECK_HF

MODEL, TEXT and SCORES are folders written by `pipe get` of the outputs `export`, `scores.text` and `scores`;
CHECK_HF is the script that loads the model. Both count by the same rule (windows that do not overlap over the
encoded text), so the figures have to agree to 0.1 %.
"""
import json
import pathlib
import subprocess
import sys

model, text, scores, check = sys.argv[1:]
figures = json.loads((pathlib.Path(scores) / "scores.json").read_text())["scores"]
found = [f["value"] for f in figures if f["model"] == "base" and f["name"] == "bits_per_byte_disjoint"]
if len(found) != 1:
    sys.exit(f"scores.json has {len(found)} figures `bits_per_byte_disjoint` of `base`, expected 1")
(text,) = pathlib.Path(text).glob("*.txt")
call = [sys.executable, check, model, "--text", str(text)]
call += ["--expect-bpb", str(found[0]), "--bpb-tol", str(found[0] / 1000)]
sys.exit(subprocess.call(call))
