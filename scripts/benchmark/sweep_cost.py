"""Compare the cost of a whole sweep: mlplab, and Hydra's basic launcher with plain/train.py.

The workload: two_layer_radial, a 2-6-6-2 tanh network, Adam, batches of 32, 100 epochs, learning
rate x seed; folders, event files and report included. The plain sweep is measured on 32 jobs and
extrapolated; its start is counted once. Run: python scripts/benchmark/sweep_cost.py [--jobs 1024]
[--rounds 3] [--scaling] [--smoke]
"""

from __future__ import annotations

import argparse
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
    args = parser.parse_args()
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
