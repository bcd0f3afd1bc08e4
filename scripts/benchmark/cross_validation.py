#!/usr/bin/env python
"""Compare the cost of 5 folds x 3 repeats with one fit of the same configuration, at 2,000 rows.

The result is the median ratio over pairs of measurements.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from mlplab.config import settings_from_overrides
from mlplab.settings import Settings
from mlplab.training import train_population

BASE = [
    "dataset=moons",
    "dataset.num_samples=2000",
    "training.epochs=20",
    "tracking=off",
    "device=cpu",
]


def seconds(settings: Sequence[Settings]) -> float:
    start = time.perf_counter()
    train_population(settings)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    for hidden in ("16", "32-32", "100"):
        one = [settings_from_overrides([*BASE, f"model.hidden={hidden}"])]
        folds = [
            settings_from_overrides(
                [
                    *BASE,
                    f"model.hidden={hidden}",
                    "validation=kfold",
                    "validation.repeats=3",
                    f"validation.fold={i}",
                ]
            )
            for i in range(15)
        ]
        seconds(one), seconds(folds)  # warm-up
        ratios = [seconds(folds) / seconds(one) for _ in range(pairs)]
        print(
            f"hidden {hidden:>6}: 15 folds cost {statistics.median(ratios):.2f} fits (pairs:"
            f" {', '.join(f'{r:.2f}' for r in ratios)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
