#!/usr/bin/env python
"""Throughput of two workers against one, in turn, on a sweep of populations; and what an engine
adds to the same sweep, its start included.
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


def seconds(words: list[str], threads: int | None, place: Path) -> float:
    """Of the whole command."""
    env = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mlplab", "train", "-m", *words],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=128)
    parser.add_argument(
        "--engine", help="slurm or ray: what it adds to two workers of this machine"
    )
    given = parser.parse_args()
    base = [
        "dataset=two_layer_radial",
        "model.hidden=16-16",
        f"training.epochs={given.epochs}",
        f"seeds={given.jobs}",
    ]
    base += ["optimizer.lr=0.003,0.01", "tracking=summary", "device=cpu"]
    ways: dict[str, tuple[list[str], int | None]] = {
        "one worker": ([], None),
        "one worker, one thread": ([], 1),
        "two workers": (["sweep.workers=2"], None),
    }
    if given.engine:
        ways = {
            "local": (["sweep.workers=2"], None),
            given.engine: (["sweep.workers=2", f"sweep.engine={given.engine}"], None),
        }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way, (words, threads) in ways.items():
            with tempfile.TemporaryDirectory() as place:
                found[way].append(seconds([*base, *words], threads, Path(place)))
            print(f"{way}: {found[way][-1]:.1f} s", flush=True)
    for way, own in found.items():
        print(f"median {way}: {statistics.median(own):.1f} s")
    *others, last = found
    for way in others:
        ratios = [a / b for a, b in zip(found[way], found[last], strict=True)]
        print(
            f"{way} / {last}: {statistics.median(ratios):.2f}"
            f" ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
        )
    if given.engine:
        more = [b - a for a, b in zip(found["local"], found[last], strict=True)]
        print(
            f"{given.engine} adds {statistics.median(more):.1f} s to each of its two shards"
            f" ({', '.join(f'{one:.1f}' for one in more)})"
        )


if __name__ == "__main__":
    main()
