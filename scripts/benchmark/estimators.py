#!/usr/bin/env python
"""Compare the processor time of a fit of mlplab's MLPClassifier with scikit-learn's, in turn.

With --peers, also with a plain torch loop, skorch and JAX, without what they compile. All have 100
hidden relu units, Adam at 0.001, batches of 200, an L2 term (scikit-learn divides alpha by the rows
of a batch, and mlplab does not divide l2), float32, and the same number of epochs. The accuracies
are those of the rows of the training and of as many others.
Run: OMP_NUM_THREADS=1 python scripts/benchmark/estimators.py [--rounds 9] [--profile]
     [--peers PYTHON [--libraries torch skorch jax]]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import platform
import pstats
import statistics
import tempfile
import time
import warnings
from typing import Any

import numpy as np
import peers
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
    """Fit, and return the processor seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.process_time()
        model.fit(x, y)
        return time.process_time() - start


def compare(
    rows: int, features: int, epochs: int, rounds: int, others: dict[str, peers.Peer]
) -> None:
    x, y = table(2 * rows, features)
    seconds: dict[str, list[float]] = {}
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        task = {
            **peers.stored(folder, x=x, y=y),
            **{"rows": rows, "hidden": [100], "activation": "relu", "epochs": epochs},
            **{"batch": BATCH, "lr": 1e-3, "l2": ALPHA / BATCH},
        }
        for seed in range(rounds + 1):
            for name, model in models(epochs, seed).items():
                seconds.setdefault(name, []).append(fit(model, x[:rows], y[:rows]))
                assert model.n_iter_ == epochs
                scores[name] = [model.score(x[:rows], y[:rows]), model.score(x[rows:], y[rows:])]
            for name, peer in others.items():
                result = peer.fit({**task, "seed": seed})
                seconds.setdefault(name, []).append(result["seconds"])
                scores[name] = result["scores"]
    print(f"{rows:,} x {features}, {epochs} epochs: ms, ratio (lowest to highest), accuracies")
    for name, values in seconds.items():
        pairs = zip(values[1:], seconds["mlplab"][1:], strict=True)  # the first fit warms up
        ratios = [value / ours for value, ours in pairs]
        print(
            f"  {name:13s} {statistics.median(values[1:]) * 1e3:9.1f}"
            f"  {statistics.median(ratios):6.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            f"  {scores[name][0]:.3f} {scores[name][1]:.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="after one that warms up")
    parser.add_argument("--profile", action="store_true", help="print where mlplab's time goes")
    peers.add_options(parser)
    arguments = parser.parse_args()
    others = peers.chosen(arguments)
    for rows, features, epochs in CASES:
        if arguments.profile:
            x, y = table(rows, features)
            fit(models(epochs, 0)["mlplab"], x, y)
            profile = cProfile.Profile()
            profile.runcall(fit, models(epochs, 1)["mlplab"], x, y)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(40)
        compare(rows, features, epochs, arguments.rounds, others)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
