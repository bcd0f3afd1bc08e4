#!/usr/bin/env python
"""Compare an ensemble of 32 with a single fit, on 1,000 rows and 20 features.

Reports the cost of the ensemble in fits, and its log loss on 1,000 other rows next to the median of
single members.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss

from mlplab.sklearn import MLPClassifier

NETWORKS: dict[str, dict[str, Any]] = {
    "16, batches of 32": {"hidden": (16,), "batch_size": 32},
    "32-32, batches of 32": {"hidden": (32, 32), "batch_size": 32},
    "100, batches of 32": {"batch_size": 32},
    "32-32, batches of 200": {"hidden": (32, 32)},
    "100, batches of 200": {},
}


def fitted(
    X: Any, y: Any, members: int, seed: int, fields: dict[str, Any]
) -> tuple[MLPClassifier, float]:
    """Fit a model, and return it and the seconds it took."""
    start = time.perf_counter()
    model = MLPClassifier(n_members=members, random_state=seed, **fields).fit(X, y)
    return model, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument(
        "--dtype",
        default="auto",
        help=(
            "float32, float64, or auto (the default of the estimators): float64 for one network,"
            " float32 for ensembles"
        ),
    )
    args = parser.parse_args()
    X, y = make_classification(2000, 20, n_informative=10, flip_y=0.05, random_state=0)
    (X, X_test), (y, y_test) = (X[:1000], X[1000:]), (y[:1000], y[1000:])
    print(
        f"{args.members} members, {args.epochs} epochs, {args.dtype}, {torch.get_num_threads()}"
        f" threads, torch {torch.__version__}"
    )
    for name, fields in NETWORKS.items():
        fields = {"epochs": args.epochs, "dtype": args.dtype, **fields}
        fitted(X, y, 1, 0, {**fields, "epochs": 2})
        ratios = []
        for seed in range(args.rounds):
            _, single_seconds = fitted(X, y, 1, seed, fields)
            ensemble, ensemble_seconds = fitted(X, y, args.members, seed, fields)
            ratios.append(ensemble_seconds / single_seconds)
        last = args.rounds - 1
        single_losses = [
            log_loss(y_test, fitted(X, y, 1, last + k, fields)[0].predict_proba(X_test))
            for k in range(5)
        ]
        loss = log_loss(y_test, ensemble.predict_proba(X_test))
        median = statistics.median(single_losses)
        print(
            f"{name}: {statistics.median(ratios):.2f} fits ({min(ratios):.2f} to"
            f" {max(ratios):.2f}); log loss {loss:.3f}, median of five members {median:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
