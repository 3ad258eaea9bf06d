#!/usr/bin/env python3
"""Draws loss over steps as an SVG: a `uses: command` stage that needs nothing but Python itself.

Reads history.jsonl, the `history` output of `pretrain` or `finetune`, from $PIPE_INPUT_history;
writes loss.svg to $PIPE_OUTPUT_figure.
"""

import json
import os
import sys
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 360, 48
COLOURS = {"training": "#7a9cc6", "validation": "#c0392b"}


def series(history):
    """Returns (step, loss) pairs by name; a line of the history may hold either loss, or both."""
    curves = {"training": [], "validation": []}
    for line in history.read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        if point.get("loss") is not None:
            curves["training"].append((point["step"], point["loss"]))
        if "val_loss" in point.get("validation", {}):
            curves["validation"].append((point["step"], point["validation"]["val_loss"]))
    return {name: points for name, points in curves.items() if points}


def draw(curves):
    """Returns the SVG's text; equal curves give equal bytes."""
    points = [point for curve in curves.values() for point in curve]
    steps, losses = [step for step, _ in points], [loss for _, loss in points]
    step_max = max(max(steps), 1)
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0

    def place(step, loss):
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / step_max
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (loss - low) / span
        return f"{x:.1f},{y:.1f}"

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="{MARGIN - 8}">{high:.2f}</text>',
        f'<text x="{MARGIN}" y="{HEIGHT - MARGIN + 16}">{low:.2f} nats per token, steps 0 to {step_max}</text>',
    ]
    for row, (name, curve) in enumerate(curves.items()):
        way = " ".join(place(step, loss) for step, loss in curve)
        lines.append(f'<polyline points="{way}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        lines.append(f'<text x="{WIDTH - 2 * MARGIN}" y="{MARGIN + 16 * row}" fill="{COLOURS[name]}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main():
    history = Path(os.environ["PIPE_INPUT_history"]) / "history.jsonl"
    curves = series(history)
    if not curves:
        sys.exit(f"{history} holds no losses")
    figure = Path(os.environ["PIPE_OUTPUT_figure"]) / "loss.svg"
    figure.write_text(draw(curves), encoding="utf-8")
    print(f"drew {sum(map(len, curves.values()))} points")


if __name__ == "__main__":
    main()
