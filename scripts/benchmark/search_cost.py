#!/usr/bin/env python
"""Compare a conditional search with pruning with random search of as many full trials.

On two_layer_radial; reports the best validation accuracy and the number of updates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.search import run_search

SPACE = {
    "$w1": "choice(4,8,16)",
    "$w2": {"values": "choice(4,8,16)", "when": {"model.hidden": "{w1}-{w2}"}},
    "model.hidden": ["{w1}", "{w1}-{w2}"],
    "optimizer": ["sgd", "momentum", "adam"],
    "optimizer.lr": "tag(log,interval(1e-4,1))",
    "optimizer.momentum": {"values": "interval(0.5,0.99)", "when": {"optimizer": "momentum"}},
}


def study(overrides: list[str], trials: int, seed: int) -> tuple[float, int, float]:
    """Best validation accuracy, updates of all trials, seconds."""
    space = json.dumps(SPACE).replace('"', "'").replace(" ", "")
    experiment = Path(tempfile.mkdtemp())
    (experiment / "experiment").mkdir()
    (experiment / "experiment" / "searched.yaml").write_text(
        "# @package _global_\n"
        "# A search.\n"
        "defaults:\n"
        "  - override /dataset: two_layer_radial\n"
        "sweep:\n"
        "  space: " + space.replace("'", '"') + "\n"
    )
    all_overrides = [
        "experiment=searched",
        f"seed={seed}",
        "dataset.seed=0",
        "tracking=off",
        "device=cpu",
        f"sweep.trials={trials}",
        *overrides,
    ]
    start = time.perf_counter()
    search = Search(all_overrides, [experiment], (), quiet=True)
    sweep = run_search(search, experiment / "sweep")
    jobs = sweep.results.jobs
    best = max(job.metrics["val/accuracy"] for job in jobs if job.status == "done")
    return (
        best,
        sum(int(job.facts["steps"]) for job in jobs),
        time.perf_counter() - start,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    variants = {
        "random, full trials": ["sweep.sampler=random", "sweep.parallel=256"],
        "tpe, halving": ["sweep.pruning=halving"],
        "tpe, hyperband": ["sweep.pruning=hyperband"],
    }
    studies: dict[str, list[tuple[float, int, float]]] = {variant: [] for variant in variants}
    for seed in range(args.studies):
        for variant, overrides in variants.items():
            studies[variant].append(
                study([*overrides, f"training.epochs={args.epochs}"], args.trials, seed)
            )
            best, steps, seconds = studies[variant][-1]
            print(
                f"study {seed}: {variant:20s} best val/accuracy {best:.4f}, {steps:10,} updates,"
                f" {seconds:6.1f} s",
                flush=True,
            )
    for variant, values in studies.items():
        best, steps, seconds = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"median:  {variant:20s} best val/accuracy {best:.4f}, {steps:10,.0f} updates,"
            f" {seconds:6.1f} s"
        )


if __name__ == "__main__":
    main()
