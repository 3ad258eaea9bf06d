#!/usr/bin/env python3
"""Trains a language model with torch and transformers, as a stage of a pipeline.

What `uses: command` gives it: token shards in $PIPE_INPUT_train and $PIPE_INPUT_validation (Parquet: id, ids), a
tokenizer in $PIPE_INPUT_tokenizer, $PIPE_OUTPUT_model for the model, $PIPE_EVENTS for progress and figures, and
$PIPE_DURABLE for checkpoints: killed and run again, it goes on where the last one was made, to the same weights.
"""
import argparse
import json
import math
import os
import pathlib
import shutil

import pyarrow.parquet as parquet
import torch
from transformers import LlamaConfig, LlamaForCausalLM

BATCH, CONTEXT, CHECKPOINT_EVERY = 8, 64, 20


def tell(**event):
    with open(os.environ["PIPE_EVENTS"], "a") as events:
        events.write(json.dumps(event) + "\n")


def folder(variable):
    return pathlib.Path(os.environ[variable])


def stream(split, end):
    """All tokens of a split, with the token that ends a document after each; [tokens]."""
    tokens = []
    for shard in sorted(folder(f"PIPE_INPUT_{split}").rglob("*.parquet")):
        for ids in parquet.read_table(shard, columns=["ids"])["ids"].to_pylist():
            tokens += ids + [end]
    return torch.tensor(tokens)


def batch(tokens, seed, step):
    """Windows drawn afresh from (seed, step), so that a checkpoint needs no generator; [batch, context + 1]."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    starts = torch.randint(len(tokens) - CONTEXT, (BATCH,), generator=generator)
    return torch.stack([tokens[start : start + CONTEXT + 1] for start in starts])


def loss_of(model, windows):
    logits = model(windows[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=3e-3)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)

    tokenizer = json.loads((folder("PIPE_INPUT_tokenizer") / "tokenizer.json").read_text())
    names = json.loads((folder("PIPE_INPUT_tokenizer") / "tokenizer_config.json").read_text())
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    vocabulary = len(set(tokenizer["model"]["vocab"]) | set(special))
    end = special[names["eos_token"]]
    train, validation = stream("train", end), stream("validation", end)

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr)
    first, checkpoint = 0, folder("PIPE_DURABLE") / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        first = saved["step"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        tell(event="note", message=f"goes on at step {first}")

    history = (folder("PIPE_OUTPUT_history") / "history.jsonl").open("w")
    for step in range(first, options.steps):
        loss = loss_of(model, batch(train, options.seed, step).to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.write(json.dumps({"step": step + 1, "loss": loss.item()}) + "\n")
        tell(event="metric", name="loss", value=loss.item(), step=step + 1)
        tell(event="progress", unit="steps", done=step + 1, total=options.steps)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            state = {"step": step + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)  # whole, or not there

    with torch.no_grad():
        windows = validation[: len(validation) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
        losses = [loss_of(model, part.to(device)) * len(part) for part in windows.split(64)]
        mean = sum(losses).item() / len(windows)
    tell(event="metric", name="val_loss", value=mean, unit="nat/token", better="lower")
    tell(event="metric", name="val_perplexity", value=math.exp(mean), better="lower")

    model.save_pretrained(folder("PIPE_OUTPUT_model"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder("PIPE_INPUT_tokenizer") / name, folder("PIPE_OUTPUT_model") / name)


main()
