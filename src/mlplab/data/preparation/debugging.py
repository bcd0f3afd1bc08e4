"""The few examples that a run with `debug` trains on."""

from __future__ import annotations

import dataclasses

import numpy as np

from mlplab.data.preparation.examples import Examples, Prepared

OVERFIT_ROWS = 10


def few_examples(mode: str, prepared: Prepared, batch_size: int) -> Prepared:
    """Return data with the rows that a mode of `debug` uses.

    overfit: ten rows of the train split, of as many classes as there are, and no other split.
    fast: one batch of each split.
    """
    if mode == "overfit":
        train = prepared.train.real()
        rows = _varied(train.y, OVERFIT_ROWS) if prepared.task.classifies else slice(OVERFIT_ROWS)
        return dataclasses.replace(prepared, train=_chosen(train, rows), val=None, test=None)
    batch = slice(batch_size)
    return dataclasses.replace(
        prepared,
        train=_chosen(prepared.train.real(), batch),
        val=prepared.val and _chosen(prepared.val.real(), batch),
        test=prepared.test and _chosen(prepared.test.real(), batch),
    )


def _varied(labels: np.ndarray, count: int) -> np.ndarray:
    """The rows of the first of each class, then the second of each, up to `count`."""
    seen: dict[int, int] = {}
    ranks = []
    for label in labels.tolist():
        ranks.append(seen.get(label, 0))
        seen[label] = ranks[-1] + 1
    return np.sort(np.argsort(ranks, kind="stable")[:count])


def _chosen(examples: Examples, rows: np.ndarray | slice) -> Examples:
    weights = examples.weights
    return Examples(
        examples.x[rows], examples.y[rows], weights[rows] if weights is not None else None
    )
