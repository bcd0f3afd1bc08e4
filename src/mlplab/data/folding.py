"""Cross-validation: the rows that each fold holds out, and padding to equal shapes.

With equal shapes all folds train as one population. Shapes: N examples.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlplab.data.splitting import Splittable
from mlplab.data.table import Ints
from mlplab.errors import DataError
from mlplab.task import Task
from mlplab.validation import KFold


def held_out_rows(
    table: Splittable, groups: np.ndarray | None, kfold: KFold, rng: np.random.Generator
) -> list[Ints]:
    """Return the test rows of each fold of each repeat, drawn by scikit-learn's splitters.

    Args:
        table: a Table or RawTable, or some of its rows.
        groups: the group of each row [N], if groups must not be divided.
        kfold: the numbers of folds and repeats.
        rng: the source of the shuffling.

    Raises:
        DataError: if the table has a predefined split or too few rows, groups or rows of a class.
    """
    from sklearn import model_selection

    _check(table, groups, kfold.folds)
    rows, labels = np.arange(len(table.y)), table.y if table.task.classifies else None
    kind: Any = (
        (model_selection.StratifiedGroupKFold if labels is not None else model_selection.GroupKFold)
        if groups is not None
        else model_selection.StratifiedKFold
        if labels is not None
        else model_selection.KFold
    )
    folds = []
    for _ in range(kfold.repeats):
        splitter = kind(n_splits=kfold.folds, shuffle=True, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            # a class with fewer rows than folds is missing from some test splits
            warnings.simplefilter("ignore", UserWarning)
            folds += [
                np.asarray(test, np.int64) for _, test in splitter.split(rows, labels, groups)
            ]
    return folds


def _check(table: Splittable, groups: np.ndarray | None, folds: int) -> None:
    source = getattr(table, "source", "This data set")
    if table.given_split is not None:
        raise DataError(
            f"{source} comes with a predefined split, but validation=kfold splits all rows itself."
            " Leave out the files or the column that define the split; `mlplab evaluate` measures"
            " the finished networks on any file."
        )
    number, noun = (
        (len(table.y), "row(s)") if groups is None else (len(np.unique(groups)), "group(s)")
    )
    if number < folds:
        raise DataError(f"{source} has {number} {noun}, too few for validation.folds={folds}.")
    if table.task.classifies and groups is None:
        counts = np.bincount(table.y, minlength=table.task.num_classes)
        if counts.min() < 2:
            raise DataError(
                f"Class '{table.class_names[counts.argmin()]}' has {counts.min()} row(s), but"
                " cross-validation needs two: the fold that tests on its only row has none to train"
                " on."
            )


@dataclass(frozen=True)
class TrainRows:
    """What folding needs of some rows of a table, as of a table."""

    y: Any
    task: Task
    class_names: tuple[str, ...]
    source: str
    given_split: None = None

    @classmethod
    def of(cls, table: Any, rows: Ints) -> TrainRows:
        """Return these rows of a Table or RawTable, whose predefined split no longer counts."""
        source = getattr(table, "source", "This data set")
        return cls(table.y[rows], table.task, table.class_names, source)


def with_test_rows(table: Any, test: Ints) -> Any:
    """Return the Table or RawTable with a predefined split whose test split is the fold."""
    given_split = {"train": np.setdiff1d(np.arange(len(table.y)), test), "test": test}
    return dataclasses.replace(table, given_split=given_split)


def pad_to_same_length(folds: Sequence[Any]) -> list[Any]:
    """Pad the Examples of each fold to the longest with repeated rows that a mask excludes.

    `folds` holds the same split (train, val or test) of each fold; None stays None.
    """
    longest = max((len(examples.y) for examples in folds if examples is not None), default=0)
    return [
        (
            _padded(examples, longest)
            if examples is not None and any(len(other.y) < longest for other in folds)
            else examples
        )
        for examples in folds
    ]


def _padded(examples: Any, size: int) -> Any:
    number = len(examples.y)
    rows = np.concatenate([np.arange(number), np.arange(size - number) % number])
    return dataclasses.replace(
        examples,
        x=examples.x[rows],
        y=examples.y[rows],
        weights=examples.weights[rows] if examples.weights is not None else None,
        mask=np.arange(size) < number,
        columns=examples.columns[rows] if examples.columns is not None else None,
    )
