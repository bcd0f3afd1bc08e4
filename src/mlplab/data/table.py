"""A validated table of examples, and the dataset: the configured component that produces one.

Shapes: N examples, F features, T targets. This module and the datasets import NumPy only, so that
listing them stays cheap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlplab.data.input_features import EXAMPLES
from mlplab.errors import DataError, FieldError
from mlplab.schema import Component, anything, choice, flag, integer, number
from mlplab.task import Task

if TYPE_CHECKING:
    import pandas as pd

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
DataFrame: TypeAlias = "pd.DataFrame"
Series: TypeAlias = "pd.Series"
Cells: TypeAlias = "pd.Series | list[Any]"
"""The cells of a column: of a data frame, or of rows that are mappings."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Table:
    """Examples before splitting and scaling. Building a table validates it: raises DataError.

    Attributes:
        x: float64 [N, F].
        y: int64 [N] with labels 0 .. C-1 (classification) or float64 [N, T] (regression).
        given_split: row numbers under the keys train, val, test if the data comes with a
            predefined split; train is required in it.
        weights: the weight of each row in training [N].
    """

    x: Floats
    y: Floats | Ints
    task: Task
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    given_split: Mapping[str, Ints] | None = None
    weights: Floats | None = None

    def __post_init__(self) -> None:
        _check_features(self)
        if self.task.classifies:
            _check_labels(self)
        else:
            _check_targets(self)
        if self.given_split is not None:
            _check_split(self.given_split, len(self.x))

    def content_hash(self) -> str:
        """SHA-256 of the cells, shapes and names in hexadecimal.

        It is the same on every machine and changes with any cell.
        """
        shapes = (self.task.kind, self.x.shape, self.y.shape)
        names = (self.feature_names, self.target_names, self.class_names)
        digest = hashlib.sha256(json.dumps((*shapes, *names)).encode())
        for cells, dtype in ((self.x, "<f8"), (self.y, "<i8" if self.task.classifies else "<f8")):
            # + 0 turns -0.0 into 0.0, so that both hash alike
            digest.update(np.ascontiguousarray(cells + 0, dtype=dtype).data)
        return digest.hexdigest()


def class_table(
    x: ArrayLike,
    y: ArrayLike,
    class_names: Sequence[str],
    feature_names: Sequence[str] | None = None,
) -> Table:
    """Return a classification table from array-likes x [N, F] and y [N].

    Features without names are called x1, x2, ... Raises DataError if the table is invalid.
    """
    x_NF = np.asarray(x, dtype=np.float64)
    return Table(
        x_NF,
        np.asarray(y, dtype=np.int64),
        Task("classification", len(class_names)),
        _names(feature_names, x_NF),
        ("class",),
        tuple(class_names),
    )


def value_table(
    x: ArrayLike,
    y: ArrayLike,
    target_names: Sequence[str] = ("y",),
    feature_names: Sequence[str] | None = None,
) -> Table:
    """Return a regression table from array-likes x [N, F] and y [N] or [N, T].

    Features without names are called x1, x2, ... Raises DataError if the table is invalid.
    """
    x_NF, targets = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return Table(
        x_NF,
        targets[:, None] if targets.ndim == 1 else targets,
        Task("regression", num_targets=len(target_names)),
        _names(feature_names, x_NF),
        tuple(target_names),
    )


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """Where examples come from, and how they are split and scaled: the fields of every dataset."""

    task_kind: ClassVar[str]  # "classification" or "regression", before any data is loaded

    val: float = number(
        0.2,
        "fraction of the examples for validation; 0 for no validation split",
        varies=False,
        at_least=0,
        below=1,
    )
    test: float = number(
        0.2,
        "fraction of the examples for testing; 0 for no test split",
        varies=False,
        at_least=0,
        below=1,
    )
    features: Sequence[str] | None = anything(
        None,
        "list of the inputs: columns, and what is computed from columns of numbers before scaling:"
        f" {EXAMPLES}; null takes all columns",
    )
    scaling: str = choice(
        "standard",
        ("standard", "minmax", "robust_clip", "none"),
        "features to mean 0 and deviation 1 (standard), to [0, 1] (minmax), or by median and"
        " quartiles with outliers drawn in to +-3 (robust_clip); measured on the train split",
    )
    target_scaling: str = choice(
        "auto",
        ("auto", "standard", "none"),
        "for regression targets; auto is standard unless the loss needs the original units",
    )
    target_clamp: bool = flag(
        False,
        "for regression targets: predictions beyond the range of the train split become its bounds",
    )
    seed: int | None = integer(
        None,
        "fixes data and split independently of the seed of the run; null uses the run's seed",
        at_least=0,
        optional=True,
        varies=True,
    )

    def make(self, rng: np.random.Generator) -> Table:
        """Return the complete table; all randomness comes from `rng`."""
        raise NotImplementedError

    def stored_in(self, folder: Path) -> Self:
        """Return the dataset of a run that is read back from its folder."""
        return self

    def save(self, folder: Path) -> None:
        """Store data that only Python passed in the folder of a run."""

    def check(self) -> None:
        if self.val + self.test >= 1:
            raise FieldError(
                "val",
                self.val,
                f"and test = {self.test!r} leave nothing to train on: their sum must be below 1",
            )
        if self.task_kind == "classification" and self.target_scaling == "standard":
            raise FieldError(
                "target_scaling",
                "standard",
                "is for regression; the targets of this dataset are classes",
            )
        check_names("features", self.features)
        if len(set(self.features or ())) < len(self.features or ()):
            raise FieldError("features", self.features, "names a feature more than once")


def check_names(key: str, value: object) -> None:
    """Raise FieldError unless the value of a key is null or a list of names of columns."""
    if value is not None and not (
        isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)
    ):
        raise FieldError(key, value, "is not a list of column names")


def _names(names: Sequence[str] | None, x_NF: Floats) -> tuple[str, ...]:
    return tuple(names if names is not None else (f"x{i + 1}" for i in range(x_NF.shape[-1])))


def _check_features(table: Table) -> None:
    x_NF = table.x
    if x_NF.dtype != np.float64 or x_NF.ndim != 2 or 0 in x_NF.shape:
        raise DataError(
            "Features must be a float64 array [examples, features] with at least one of each, not"
            f" {x_NF.dtype} {x_NF.shape}."
        )
    if len(table.feature_names) != x_NF.shape[1]:
        raise DataError(
            f"There are {x_NF.shape[1]} features but {len(table.feature_names)} feature names."
        )
    if len(table.y) != len(x_NF):
        raise DataError(f"There are {len(x_NF)} rows of features but {len(table.y)} of targets.")
    _check_finite(x_NF, "feature", table.feature_names)


def _check_labels(table: Table) -> None:
    y_N, num_classes = table.y, table.task.num_classes
    if y_N.dtype != np.int64 or y_N.ndim != 1:
        raise DataError(
            f"Class labels must be an int64 array [examples], not {y_N.dtype} {y_N.shape}."
        )
    if num_classes < 2 or len(table.class_names) != num_classes or len(table.target_names) != 1:
        raise DataError(
            "A classification needs two classes or more, a name for each, and one target, but got"
            f" {num_classes} classes, the names {table.class_names} and the targets"
            f" {table.target_names}."
        )
    if len(y_N) and (y_N.min() < 0 or y_N.max() >= num_classes):
        outside = np.flatnonzero((y_N < 0) | (y_N >= num_classes))
        raise DataError(
            f"Row {outside[0]} has class label {y_N[outside[0]]}; labels go from 0 to"
            f" {num_classes - 1}."
        )


def _check_targets(table: Table) -> None:
    y_NT, num_targets = table.y, table.task.num_targets
    if (
        y_NT.dtype != np.float64
        or y_NT.ndim != 2
        or num_targets < 1
        or y_NT.shape[1] != num_targets
    ):
        raise DataError(
            f"Regression targets must be a float64 array [examples, {num_targets}], not"
            f" {y_NT.dtype} {y_NT.shape}."
        )
    if len(table.target_names) != num_targets or table.class_names:
        raise DataError(
            f"A regression of {num_targets} targets needs as many target names and no class names,"
            f" but got {table.target_names}."
        )
    _check_finite(y_NT.astype(np.float64, copy=False), "target", table.target_names)


def _check_finite(values: Floats, noun: str, names: tuple[str, ...]) -> None:
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))
        row, column = bad[0]
        raise DataError(
            f"Row {row} of {noun} '{names[column]}' is {values[row, column]}; {len(bad)} cell(s)"
            " are not finite numbers. Fill them in or leave these rows out."
        )


def _check_split(split: Mapping[str, Ints], num_rows: int) -> None:
    if not {"train"} <= set(split) <= set(SPLITS) or len(split["train"]) == 0:
        raise DataError(
            "A predefined split needs a non-empty train split and may have val and test, but got"
            f" {', '.join(split) or 'nothing'}."
        )
    for name, rows in split.items():
        if (
            not np.issubdtype(rows.dtype, np.integer)
            or rows.ndim != 1
            or (len(rows) and not 0 <= rows.min() <= rows.max() < num_rows)
        ):
            raise DataError(
                f"The predefined {name} split must list row numbers from 0 to {num_rows - 1}."
            )
    rows = np.concatenate(list(split.values()))
    values, counts = np.unique(rows, return_counts=True)
    if len(values) != len(rows):
        raise DataError(
            f"Row {values[counts > 1][0]} is listed more than once in the predefined split; train,"
            " val and test must not share rows."
        )
