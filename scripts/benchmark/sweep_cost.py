"""Compare the cost of a whole sweep: mlplab, and Hydra's basic launcher with plain/train.py.

The workload: two_layer_radial, a 2-6-6-2 tanh network, Adam, batches of 32, 100 epochs, learning
rate x seed; folders, event files and report included. The plain sweep is measured on 32 jobs and
extrapolated; its start is counted once. --stages says where the time of one sweep goes, in the
process of the script. Run: python scripts/benchmark/sweep_cost.py [--jobs 1024] [--rounds 3]
[--scaling] [--stages OVERRIDE ...] [--smoke]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

PLAIN = Path(__file__).parent / "plain" / "train.py"
POINTS = 1000


def rates(count: int) -> str:
    return ",".join(f"{0.001 * 1.35**i:.6f}" for i in range(count))


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command, and return its seconds and its peak memory (GiB)."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "HYDRA_FULL_ERROR": "1"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        assert process.stderr is not None
        raise SystemExit(process.stderr.read().decode())
    return seconds, usage.ru_maxrss / 2**20


def mlplab_sweep(jobs: int, epochs: int, folder: Path) -> tuple[float, float]:
    seeds = min(64, jobs)
    overrides = [
        "dataset=two_layer_radial",
        f"dataset.num_samples={POINTS}",
        "dataset.val=0.2",
        "dataset.test=0.2",
        "model.hidden=6-6",
        f"training.epochs={epochs}",
        f"optimizer.lr={rates(jobs // seeds)}",
        f"seed=range({seeds})",
        "hydra.sweep.dir=sweep",
    ]
    seconds, memory = timed([sys.executable, "-m", "mlplab", "train", "-m", *overrides], folder)
    num_done = sum(1 for _ in (folder / "sweep" / "jobs").glob("*/summary.json"))
    assert num_done == jobs, f"{num_done} of {jobs} jobs"
    assert (folder / "sweep" / "report.html").is_file()
    return seconds, memory


def plain_sweep(jobs: int, epochs: int, folder: Path) -> float:
    """Seconds of one job, without the start of the program."""
    overrides = [f"epochs={epochs}", f"num_samples={POINTS}", f"hydra.sweep.dir={folder / 'sweep'}"]
    start = timed(
        [sys.executable, str(PLAIN), *overrides, "epochs=0", f"hydra.run.dir={folder / 'start'}"],
        folder,
    )[0]
    whole = timed(
        [
            sys.executable,
            str(PLAIN),
            "-m",
            *overrides,
            f"lr={rates(2)}",
            f"seed=range({jobs // 2})",
        ],
        folder,
    )[0]
    return (whole - start) / jobs


class Stages:
    """Processor seconds of functions, without those of other measured functions that they call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def measure(self, owner: Any, name: str, stage: str) -> None:
        """Replace a function by one that is measured."""
        real = getattr(owner, name)

        def measured(*arguments: Any, **keywords: Any) -> Any:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return real(*arguments, **keywords)
            finally:
                whole = time.process_time() - start
                self.seconds[stage] = self.seconds.get(stage, 0) + whole - self._inner.pop()
                self._inner[-1] += whole

        setattr(owner, name, measured)


def print_stages(overrides: list[str]) -> None:
    """Run a sweep in this process, and print the processor seconds of its stages."""
    from mlplab.cli import main as command
    from mlplab.runs.packs import Packs
    from mlplab.sweeps import run_sweep
    from mlplab.sweeps.execution.runner import Runner
    from mlplab.training import Session, native_stepper

    stages = Stages()
    stages.seconds["start: imports"] = time.process_time()
    for owner, name, stage in (
        (run_sweep.SweepRequest, "__init__", "composing the jobs"),
        (run_sweep, "write_sweep_plan", "checking and writing the plan"),
        (Runner, "member", "preparing the data"),
        (Session, "add", "training: building the networks"),
        (native_stepper, "run", "training: the kernel"),
        (Session, "run", "training: stretches"),
        (Session, "remove_ended", "training: histories and final metrics"),
        (Runner, "store", "storing the jobs"),
        (Packs, "merge", "merging packs"),
        (run_sweep, "conclude", "reading the jobs, report"),
    ):
        stages.measure(owner, name, stage)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        command(["train", "-m", *overrides, "hydra.sweep.dir=sweep"])
    whole = time.process_time()
    for stage, seconds in [
        *stages.seconds.items(),
        ("other", whole - sum(stages.seconds.values())),
    ]:
        print(f"{stage:40s} {seconds:7.2f} s {100 * seconds / whole:5.1f} %")
    print(f"{'all':40s} {whole:7.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-jobs", type=int, default=32)
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="cost per job from 64 to 4,096 jobs, without the plain sweep",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="128 jobs of 5 epochs, as a check; prints no ratio"
    )
    parser.add_argument("--stages", nargs="+", metavar="OVERRIDE", help="of this sweep, by stage")
    args = parser.parse_args()
    if args.stages:
        return print_stages(args.stages)
    if args.smoke:
        args.jobs, args.epochs, args.rounds, args.plain_jobs = 128, 5, 1, 4
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, python {platform.python_version()}, torch"
        f" {torch.__version__}, {torch.get_num_threads()} threads"
    )
    sizes = [64, 256, 1024, 4096] if args.scaling else [args.jobs]
    results = []
    for _ in range(args.rounds):
        for jobs in sizes:
            folder = Path(tempfile.mkdtemp())
            seconds, memory = mlplab_sweep(jobs, args.epochs, folder)
            row = {
                "jobs": jobs,
                "seconds": round(seconds, 2),
                "ms a job": round(1000 * seconds / jobs, 2),
                "peak GiB": round(memory, 2),
            }
            if not args.scaling:
                plain = (
                    plain_sweep(args.plain_jobs, args.epochs, folder / "plain")
                    if (folder / "plain").mkdir() is None
                    else 0.0
                )
                if not args.smoke:  # the ratio of four short jobs is noise
                    row |= {
                        "plain ms a job": round(1000 * plain, 1),
                        "ratio": round(plain * jobs / seconds, 1),
                    }
            shutil.rmtree(folder)
            print(json.dumps(row), flush=True)
            results.append(row)
    for jobs in sizes:
        rows = [row for row in results if row["jobs"] == jobs]
        print(jobs, {key: statistics.median(row[key] for row in rows) for key in rows[0]})


if __name__ == "__main__":
    main()
