#!/usr/bin/env python3
"""Reads the TensorBoard files of runs with TensorBoard's own reader, and compares them with the runs' events.

    check_tensorboard.py CACHE

Fails unless each run in CACHE/runs holds exactly the points that its events.jsonl tells, and at least one run
holds some. Needs the package `tensorboard`.
"""
import json
import math
import os
import sys
from collections import defaultdict

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def told(events):
    """The points of a run, by stage and name, as its events tell them."""
    points = defaultdict(list)
    with open(events, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            point = event.get("told", {})
            if event["event"] == "told" and point["event"] == "metric":
                # JSON has no NaN.
                value = math.nan if point["value"] is None else point["value"]
                points[event["stage"], point["name"]].append((point["step"], value, event["at"]))
    return points


def read(board):
    """The points of a run, by stage and name, as TensorBoard reads them."""
    points = {}
    for stage in sorted(os.listdir(board)) if os.path.isdir(board) else []:
        series = EventAccumulator(os.path.join(board, stage), size_guidance={"scalars": 0})
        series.Reload()
        for name in series.Tags()["scalars"]:
            points[stage, name] = [(point.step, point.value, point.wall_time) for point in series.Scalars(name)]
    return points


def main(cache):
    total = 0
    runs = os.path.join(cache, "runs")
    for run in sorted(os.listdir(runs)):
        folder = os.path.join(runs, run)
        expected, found = told(os.path.join(folder, "events.jsonl")), read(os.path.join(folder, "tensorboard"))
        assert set(expected) == set(found), (run, sorted(set(expected) ^ set(found)))
        for name, points in expected.items():
            assert len(points) == len(found[name]), (run, name, len(points), len(found[name]))
            for (step, value, at), (step_found, value_found, at_found) in zip(points, found[name]):
                assert step == step_found, (run, name, step, step_found)
                same = math.isclose(value, value_found, rel_tol=1e-6, abs_tol=1e-30) or value != value
                assert same and abs(at - at_found) < 0.01, (run, name, step, value, value_found)
            total += len(points)
        names = ", ".join("/".join(name) for name in sorted(expected))
        print(f"{run}: {sum(map(len, expected.values()))} points of {names or 'no series'}")
    assert total > 0, f"no run in {runs} has a series"
    print(f"TensorBoard reads all {total} points as they were told")


if __name__ == "__main__":
    main(sys.argv[1])
