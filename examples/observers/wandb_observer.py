#!/usr/bin/env python3
"""Feeds a run's events to Weights & Biases. The run does not need it, and does not wait for it.

    pip install wandb
    pipe run pipelines/gpt-small.yaml --observe 'python3 examples/observers/wandb_observer.py'

or, in the manifest:

    observers: ["python3 examples/observers/wandb_observer.py"]

Writes to the folder `wandb/` and sends nothing, until WANDB_MODE=online and WANDB_API_KEY say otherwise; what was
written can be sent later with `wandb sync`. WANDB_PROJECT names the project (default: pipe). What this program says
is in observer-N.log in the run's folder.
"""
import json
import os
import sys


def start():
    """Opens a run there; None, with a word why, where that cannot be."""
    try:
        import wandb
    except ImportError:
        print("wandb is not installed, so nothing is passed on: pip install wandb", file=sys.stderr)
        return None
    folder = os.environ.get("PIPE_RUN", "run")
    os.environ.setdefault("WANDB_MODE", "offline")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "pipe"),
        name=os.path.basename(folder),
        config={"run": folder},
        # Its own view of this process says nothing about the stages.
        settings=wandb.Settings(x_disable_stats=True, console="off"),
    )
    print(f"passing events on to {run.dir}", file=sys.stderr)
    return run


def figures(row):
    """The figures of a line of the closing table."""
    stage = row["stage"]
    told = {f"{stage}/seconds": row["seconds"], f"{stage}/memory_peak_bytes": row["memory_peak"]}
    if row.get("metric"):
        told[f"{stage}/{row['metric']['name']}"] = row["metric"]["value"]
    return told


def pass_on(run, lines):
    """Passes events on: points of series under STAGE/NAME over STAGE/step, the closing table as summary."""
    known = set()
    for line in lines:
        event = json.loads(line)
        if "dropped" in event:
            print(f"{event['dropped']} events did not reach this program", file=sys.stderr)
        for row in event.get("summary", []):
            run.summary.update({f"{row['stage']}/outcome": row["outcome"], **figures(row)})
        told = event.get("run", {})
        point = told.get("told", {})
        if point.get("event") == "metric":
            stage = told["stage"]
            name = f"{stage}/{point['name']}"
            if name not in known:
                run.define_metric(name, step_metric=f"{stage}/step")
                known.add(name)
            run.log({name: point["value"], f"{stage}/step": point["step"]})
        if told.get("event") == "failed":
            run.summary[f"{told['stage']}/error"] = json.dumps(told["error"])


def main():
    run = start()
    if run is None:
        # Read on: a run need not be told that nobody listens.
        for _ in sys.stdin:
            pass
        return 1
    pass_on(run, sys.stdin)
    run.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
