#!/usr/bin/env python
"""Compare two workers with one, in turn, on a sweep of populations.

With --engine, measure what the engine adds to the same sweep, including its start.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(overrides: list[str], threads: int | None, folder: Path) -> float:
    """The seconds of a whole `mlplab train -m` command."""
    env = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "mlplab", "train", "-m", *overrides],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SystemExit(result.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=128)
    parser.add_argument(
        "--engine", help="slurm or ray: measure what it adds to two workers on this machine"
    )
    args = parser.parse_args()
    base = [
        "dataset=two_layer_radial",
        "model.hidden=16-16",
        f"training.epochs={args.epochs}",
        f"seeds={args.jobs}",
    ]
    base += ["optimizer.lr=0.003,0.01", "tracking=summary", "device=cpu"]
    variants: dict[str, tuple[list[str], int | None]] = {
        "one worker": ([], None),
        "one worker, one thread": ([], 1),
        "two workers": (["sweep.workers=2"], None),
    }
    if args.engine:
        variants = {
            "local": (["sweep.workers=2"], None),
            args.engine: (["sweep.workers=2", f"sweep.engine={args.engine}"], None),
        }
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(args.rounds):
        for variant, (overrides, threads) in variants.items():
            with tempfile.TemporaryDirectory() as folder:
                times[variant].append(seconds([*base, *overrides], threads, Path(folder)))
            print(f"{variant}: {times[variant][-1]:.1f} s", flush=True)
    for variant, values in times.items():
        print(f"median {variant}: {statistics.median(values):.1f} s")
    *others, last = times
    for variant in others:
        ratios = [a / b for a, b in zip(times[variant], times[last], strict=True)]
        print(
            f"{variant} / {last}: {statistics.median(ratios):.2f}"
            f" ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
        )
    if args.engine:
        extra = [b - a for a, b in zip(times["local"], times[last], strict=True)]
        print(
            f"{args.engine} adds {statistics.median(extra):.1f} s to each of its two shards"
            f" ({', '.join(f'{value:.1f}' for value in extra)})"
        )


if __name__ == "__main__":
    main()
