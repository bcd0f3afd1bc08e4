"""Cross-validation: which rows each fold holds out, and examples of every fold in equal shapes, so
that all folds train as one population.

Shapes: N examples, F features.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlplab.data.table import Ints, Table
from mlplab.errors import DataError
from mlplab.validation import KFold


def held_out(
    table: Any, groups: np.ndarray | None, kfold: KFold, rng: np.random.Generator
) -> list[Ints]:
    """The rows that each fold of each repeat tests on, by scikit-learn's splitters. `table`: a
    Table or RawTable. Raises DataError.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold
    from sklearn.model_selection import KFold as Plain

    _check(table, groups, kfold.folds)
    rows, labels = np.arange(len(table.y)), table.y if table.task.classifies else None
    kind: Any
    kind = (
        (StratifiedGroupKFold if labels is not None else GroupKFold)
        if groups is not None
        else StratifiedKFold
        if labels is not None
        else Plain
    )
    found = []
    for _ in range(kfold.repeats):
        splitter = kind(n_splits=kfold.folds, shuffle=True, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            # a class with fewer rows than folds is in some of them
            warnings.simplefilter("ignore", UserWarning)
            found += [
                np.asarray(test, np.int64) for _, test in splitter.split(rows, labels, groups)
            ]
    return found


def _check(table: Any, groups: np.ndarray | None, folds: int) -> None:
    source = getattr(table, "source", "This data set")
    if table.given_split is not None:
        raise DataError(
            f"{source} brings a split of its own, and validation=kfold splits all rows by itself."
            " Leave the files or the column of the parts out; `mlplab evaluate` measures the"
            " finished networks on any file."
        )
    number, noun = (
        (len(table.y), "row(s)") if groups is None else (len(np.unique(groups)), "group(s)")
    )
    if number < folds:
        raise DataError(f"{source} has {number} {noun}, too few for validation.folds={folds}.")
    if table.task.classifies and groups is None:
        counts = np.bincount(table.y, minlength=table.task.num_classes)
        if counts.min() < 2:
            label = table.class_names[int(counts.argmin())]
            raise DataError(
                f"Class '{label}' has {counts.min()} row(s), and cross-validation needs two: the"
                " fold that tests on it has none to train on."
            )


def pool(num_rows: int, test: Ints) -> Ints:
    """The rows that a fold does not hold out."""
    kept = np.ones(num_rows, dtype=bool)
    kept[test] = False
    return np.flatnonzero(kept)


def of_fold(table: Table, test: Ints) -> Table:
    """The table with a split given: the fold is its test part."""
    return dataclasses.replace(table, given_split={"train": pool(len(table.y), test), "test": test})


def pad_to_same_width(parts: Sequence[Any]) -> list[Any]:
    """Examples of the same part of each fold, filled up to the longest with rows of their own that
    count nothing; None stays None.
    """
    longest = max((len(part.y) for part in parts if part is not None), default=0)
    return [
        (
            _filled(part, longest)
            if part is not None and any(len(p.y) < longest for p in parts)
            else part
        )
        for part in parts
    ]


def _filled(part: Any, size: int) -> Any:
    number = len(part.y)
    rows = np.concatenate([np.arange(number), np.arange(size - number) % number])
    weights = part.weights[rows] if part.weights is not None else None
    return dataclasses.replace(
        part, x=part.x[rows], y=part.y[rows], weights=weights, mask=np.arange(size) < number
    )
