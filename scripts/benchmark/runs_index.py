"""Measure how long a list of many runs takes, with and without its index.

The runs are copies of one, with other seeds, learning rates, widths and results, and without its
weights and logs; a quarter of them are jobs of sweeps. Processor time without the start of Python
and imports; the first list writes the index. With --packed, the runs are the jobs of one packed
sweep, which is trained for it, and no index is needed.
Run: python scripts/benchmark/runs_index.py [--runs 20000] [--rounds 3] [--packed] [--smoke]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

import mlplab
from mlplab.cli import main
from mlplab.runs.run_index import INDEX

JOBS = 100
"""Jobs of a sweep."""
LONG_AGO = 1_000_000_000


def write_runs(root: Path, count: int) -> None:
    """Write `count` run folders below `root`: three quarters as runs, the others as jobs."""
    model = mlplab.run(["experiment=xor_mlp", "training.epochs=1", "tracking=off"], root / "model")
    config = yaml.safe_load((model.folder / "config.yaml").read_text())
    summary = json.loads((model.folder / "summary.json").read_text())
    shutil.rmtree(model.folder)
    config |= {"seed": 111111}
    config["optimizer"]["lr"], config["model"]["hidden"] = 222222, [333333]
    text = yaml.dump(config)
    for number in range(count):
        if number % 4:
            folder = root / "runs" / f"r{number % 50}" / str(number)
        else:
            sweep = root / "sweeps" / "s" / str(number // 4 // JOBS)
            folder = sweep / "jobs" / str(number // 4 % JOBS)
        folder.mkdir(parents=True)
        values = str(number), f"{0.001 * 1.5 ** (number % 17):.6f}", str(2 + number % 7)
        written = text
        for name, value in zip(("111111", "222222", "333333"), values, strict=True):
            written = written.replace(name, value)
        (folder / "config.yaml").write_text(written)
        overrides = ["experiment=xor_mlp", f"seed={number}", f"optimizer.lr={values[1]}"]
        (folder / "overrides.yaml").write_text("".join(f"- {line}\n" for line in overrides))
        metrics = dict.fromkeys(summary["metrics"], number / count)
        (folder / "summary.json").write_text(
            json.dumps(summary | {"seed": number, "metrics": metrics}, indent=2)
        )
    for sweep in (root / "sweeps" / "s").iterdir():
        (sweep / "plan.yaml").write_text("jobs: []\n")
        counts = {"planned": JOBS, "missing": 0}
        (sweep / "summary.json").write_text(json.dumps({"status": "done", "name": "s", **counts}))
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.utime(path, (LONG_AGO, LONG_AGO))  # so that the index stores them at once


def train_packed(root: Path, count: int) -> None:
    """Train a packed sweep of `count` jobs, a multiple of 20, below `root`."""
    overrides = [
        *("experiment=xor_mlp", "dataset.num_samples=40", "training.epochs=2", "device=cpu"),
        *("tracking.jobs=packed", f"seed=range({count // 20})", "model.hidden=[3],[4]"),
        f"optimizer.lr={','.join(f'{0.001 * 1.5**number:.6f}' for number in range(10))}",
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        mlplab.sweep(overrides, root / "sweeps" / "s")


def processor_time(call: Callable[[], object]) -> float:
    """Return the seconds of processor time of a call, whose output is dropped."""
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        call()
    return time.process_time() - start


def measure(root: Path, rounds: int) -> dict[str, float]:
    """Return seconds by what was listed; the best of the rounds where the index exists."""

    def command(*arguments: str) -> Callable[[], object]:
        return lambda: main(["runs", str(root), *arguments])

    by_config = ("--jobs", "--where", "optimizer.lr<0.002", "--where", "model.hidden=[4]")
    seconds = {
        "list, without an index": processor_time(command("--jobs")),
        "by configuration, without an index": processor_time(command(*by_config)),
    }
    again: dict[str, Callable[[], object]] = {
        "list": command("--jobs"),
        "by metric": command("--jobs", "--where", "val/accuracy>0.5"),
        "by configuration": command(*by_config),
        "mlplab.list_runs": lambda: mlplab.list_runs(root),
        "mlplab.list_runs by configuration": lambda: mlplab.list_runs(root, "optimizer.lr<0.002"),
        "--json": command("--jobs", "--json"),
        "--csv": command("--jobs", "--csv"),
    }
    for _ in range(rounds):
        for name, call in again.items():
            seconds[name] = min(seconds.get(name, float("inf")), processor_time(call))
    return seconds


def measure_and_print() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packed", action="store_true", help="the jobs of one packed sweep")
    parser.add_argument("--smoke", action="store_true", help="a few runs, once")
    args = parser.parse_args()
    count, rounds = (400, 1) if args.smoke else (args.runs, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "outputs")
        root.mkdir()
        (train_packed if args.packed else write_runs)(root, count)
        (root / "none").mkdir()
        mlplab.list_runs(root / "none")  # imports pandas
        seconds = measure(root, rounds)
        size = sum(path.stat().st_size for path in (root / INDEX).glob("*"))
    print(f"{count:,} runs, processor time in seconds")
    for name, value in seconds.items():
        print(f"{name:40} {value:8.2f}")
    print(f"index: {size / 2**20:.1f} MiB; Python {platform.python_version()}")


if __name__ == "__main__":
    measure_and_print()
