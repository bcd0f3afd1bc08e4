"""Compare what `mlplab plan` estimates with how long the sweeps take.

Twenty small sweeps with both engines; plan and train are processes of their own, start included.
Goal: the estimate is within a factor of two, on a busy machine too. With one thread, the estimate
without other programs is one of the processor's time. Run: OMP_NUM_THREADS=1 python
scripts/benchmark/plan_estimates.py [NUMBER ...] [--smoke]
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time

import torch

SWEEPS = (
    "experiment=xor_mlp seed=range(256)",
    "experiment=xor_mlp seed=range(1024) tracking=summary",
    "experiment=xor_mlp seed=range(10) training.epochs=300",
    "experiment=xor_mlp seed=range(16) engine=eager tracking=scalars",
    "experiment=xor_mlp optimizer=sgd,momentum,adam,rprop activation=tanh,relu seed=range(16)",
    "experiment=hidden_units tracking=scalars training.epochs=100",
    "experiment=radial_6_6 model.hidden=2,4-4,8-8,16-16-16 seed=range(8) training.epochs=200"
    " tracking=scalars",
    "experiment=sine_100 seed=range(32) tracking=off",
    "experiment=iris validation=kfold validation.folds=5 validation.repeats=4 tracking=scalars",
    "experiment=digits seed=range(4) training.epochs=20 tracking=scalars",
    "experiment=digits model.hidden=256-256 seed=range(4) training.epochs=10 tracking=summary",
    "dataset=two_layer_radial model.hidden=64-64 optimizer.lr=0.01,0.001 seed=range(8)"
    " training.epochs=60 tracking=scalars",
    "dataset=two_layer_radial model.hidden=64-64 seed=range(4) training=batch training.epochs=400"
    " engine=eager tracking=scalars",
    "dataset=moons optimizer=torch optimizer.class_name=LBFGS training=batch training.epochs=40"
    " seed=range(4) tracking=scalars",
    "dataset=spiral model.hidden=32-32 model.dropout=0.2 seed=range(16) tracking=scalars",
    "dataset=spiral model.hidden=32-32 model.normalization=batch seed=range(4) training.epochs=20"
    " tracking=scalars",
    "dataset=sine dtype=float64 optimizer=nag,adamw schedule=cosine seed=range(16)"
    " tracking=summary",
    "dataset=circles training=sgd training.epochs=20 seed=range(8) tracking=scalars",
    "dataset=wine training.batch_size=4,16,64 seed=range(16) training.epochs=100 tracking=scalars",
    "dataset=friedman1 model.hidden=100 dataset.num_samples=5000 training.batch_size=200"
    " seed=range(4) training.epochs=50 engine=native,eager tracking=scalars",
)
UNITS = {"s": 1, "min": 60, "h": 3600}


def run(folder: str, *arguments: str) -> tuple[str, float, float]:
    """Run mlplab; return its output, its seconds, and its processor seconds."""
    command = [sys.executable, "-P", "-m", "mlplab", *arguments]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode not in (0, 1):  # 1: a job failed or diverged
        raise SystemExit(f"{' '.join(command)}\n{process.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return process.stdout, seconds, used


def estimates(output: str) -> tuple[float, float]:
    """The seconds in the last line of `mlplab plan`: here, and without other programs."""
    duration = r"((?:[\d.]+ (?:s|min|h) ?)+)"
    match = re.search(f"about {duration}here(?:, {duration}without)?", output)
    if match is None:
        raise SystemExit(output)
    here, alone = (
        sum(float(n) * UNITS[unit] for n, unit in re.findall(r"([\d.]+) (s|min|h)", text or ""))
        for text in match.groups()
    )
    return here, alone or here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", type=int, nargs="*", help="of the sweeps, from 1; default: all")
    parser.add_argument("--smoke", action="store_true", help="two of them, as a check")
    args = parser.parse_args()
    numbers = args.numbers or ([1, 4] if args.smoke else range(1, len(SWEEPS) + 1))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f}, python"
        f" {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()}"
        " threads\n"
    )
    print("| | sweep | estimated, s | real, s | ratio | processor: estimated, s | real, s |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for number in numbers:
        overrides = SWEEPS[number - 1].split()
        with tempfile.TemporaryDirectory() as folder:
            estimated, alone = estimates(run(folder, "plan", *overrides)[0])
            _, real, used = run(folder, "train", "-m", *overrides, "hydra.sweep.dir=sweep")
        ratios.append(estimated / real)
        print(
            f"| {number} | `{' '.join(overrides)}` | {estimated:.1f} | {real:.1f} |"
            f" {ratios[-1]:.2f} | {alone:.1f} | {used:.1f} |",
            flush=True,
        )
    within = sum(0.5 <= ratio <= 2 for ratio in ratios)
    print(f"\n{within} of {len(ratios)} within a factor of 2; {min(ratios):.2f}..{max(ratios):.2f}")


if __name__ == "__main__":
    main()
