#!/usr/bin/env python
"""Compare the time of a fit of mlplab's MLPClassifier with that of scikit-learn's, in turn.

Both have 100 hidden relu units, Adam at 0.001, batches of 200, an L2 term (scikit-learn divides
alpha by the rows of a batch, and mlplab does not divide l2), float32, and the same number of
epochs. The accuracies are those of the rows of the training and of as many others.
Run: python scripts/benchmark/estimators.py [--rounds 9] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import platform
import pstats
import statistics
import time
import warnings
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

from mlplab import sklearn as ours

BATCH, ALPHA = 200, 1e-4
CASES = [(200, 4, 200), (5_000, 20, 50), (50_000, 50, 10)]
"""Rows, features and epochs."""


def table(rows: int, features: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of two classes, of which one lies inside a sphere."""
    x = np.random.default_rng(0).normal(size=(rows, features)).astype(np.float32)
    radius = np.linalg.norm(x, axis=1)
    return x, (radius > np.median(radius)).astype(np.int64)


def models(epochs: int, seed: int) -> dict[str, Any]:
    return {
        "mlplab": ours.MLPClassifier(
            (100,),
            lr=1e-3,
            l2=ALPHA / BATCH,
            epochs=epochs,
            batch_size=BATCH,
            random_state=seed,
        ),
        "scikit-learn": neural_network.MLPClassifier(
            (100,),
            learning_rate_init=1e-3,
            alpha=ALPHA,
            max_iter=epochs,
            batch_size=BATCH,
            tol=0,
            n_iter_no_change=epochs + 1,
            random_state=seed,
        ),
    }


def fit(model: Any, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Fit, and return the seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model.fit(x, y)
        return time.perf_counter() - start


def compare(rows: int, features: int, epochs: int, rounds: int) -> None:
    x, y = table(2 * rows, features)
    seconds: dict[str, list[float]] = {"mlplab": [], "scikit-learn": []}
    ratios: list[float] = []
    scores: dict[str, list[float]] = {"mlplab": [], "scikit-learn": []}
    for seed in range(rounds + 1):
        for name, model in models(epochs, seed).items():
            seconds[name].append(fit(model, x[:rows], y[:rows]))
            assert model.n_iter_ == epochs
            scores[name] = [model.score(x[:rows], y[:rows]), model.score(x[rows:], y[rows:])]
        ratios.append(seconds["scikit-learn"][-1] / seconds["mlplab"][-1])
    times = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    accuracies = "  ".join(
        f"{name} {train:.3f} {other:.3f}" for name, (train, other) in scores.items()
    )
    print(
        f"{rows:7,} x {features:<3} {epochs:4} epochs  {times['mlplab'] * 1e3:9.1f} ms"
        f"  {times['scikit-learn'] * 1e3:9.1f} ms  {statistics.median(ratios[1:]):6.1f}"
        f"  ({min(ratios[1:]):.1f} to {max(ratios[1:]):.1f})  {accuracies}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="after one that warms up")
    parser.add_argument("--profile", action="store_true", help="print where mlplab's time goes")
    arguments = parser.parse_args()
    for rows, features, epochs in CASES:
        if arguments.profile:
            x, y = table(rows, features)
            fit(models(epochs, 0)["mlplab"], x, y)
            profile = cProfile.Profile()
            profile.runcall(fit, models(epochs, 1)["mlplab"], x, y)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(40)
        compare(rows, features, epochs, arguments.rounds)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
