#!/usr/bin/env python3
"""Finds the bits per byte of a model by torch, on the text that `eval` scored it on, and compares.

Both count by the same rule: windows that do not overlap over the encoded text, every token after the first of a
window once. Fails where the figures are further apart than rounding.
"""
import json
import math
import os
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-5


def folder(variable):
    return pathlib.Path(os.environ[variable])


model = AutoModelForCausalLM.from_pretrained(folder("PIPE_INPUT_model"), dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder("PIPE_INPUT_model"))
(text,) = folder("PIPE_INPUT_text").rglob("*.txt")
ids = tokenizer.encode(text.read_text(), add_special_tokens=False)
context = model.config.max_position_embeddings
nats, predicted = 0.0, []
with torch.no_grad():
    for start in range(0, len(ids) - 1, context):
        window = torch.tensor([ids[start : start + context + 1]])
        logits = model(window[:, :-1]).logits[0].double()
        nats += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
        predicted += window[0, 1:].tolist()
size = len(tokenizer.decode(predicted, clean_up_tokenization_spaces=False).encode())
own = nats / math.log(2) / size

(scores,) = folder("PIPE_INPUT_scores").rglob("scores.json")
scores = {score["name"]: score["value"] for score in json.loads(scores.read_text())["scores"]}
theirs = scores["bits_per_byte_disjoint"]
figures = {"bits_per_byte_torch": own, "bits_per_byte_pipe": theirs}
(folder("PIPE_OUTPUT_scores") / "scores.json").write_text(json.dumps(figures) + "\n")
with open(os.environ["PIPE_EVENTS"], "a") as events:
    for name, value in figures.items():
        figure = {"event": "metric", "name": name, "value": value, "unit": "bit/byte", "better": "lower"}
        events.write(json.dumps(figure) + "\n")
print(f"bits per byte: {own:.7f} by torch, {theirs:.7f} by pipe")
if abs(own - theirs) > TOLERANCE * theirs:
    raise SystemExit("the figures differ by more than rounding")
