"""Collect the data that a user passes from Python: arrays, tensors, lists or data frames.

Shapes: N rows, F features, T targets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlplab.data.tabular.in_memory import WEIGHT, InMemoryData, numbered
from mlplab.data.tabular.stored_columns import StoredColumn, numbers, store_array, store_series
from mlplab.errors import DataError
from mlplab.extras import require


def collect(X: Any, y: Any = None, sample_weight: Any = None) -> InMemoryData:
    """Return the data that a user passes.

    Args:
        X: features [N, F] or [N], as an array, a tensor, nested lists or a data frame; or, without
            `y`, a tuple of two or three pairs (X, y) or triples (X, y, sample_weight): train, val
            and test.
        y: targets [N] or [N, T] in any of these forms, or the name of a column of X. Without y,
            the options of the dataset name the target columns of a data frame.
        sample_weight: the weight of each row [N].

    Raises:
        DataError: if numbers of rows differ, X is empty, columns have the same name, or cells are
            of a type that cannot be learned from.
    """
    splits = [_checked(*split) for split in _splits(X, y, sample_weight)]
    features, target, weights = (
        _stacked([split[i] for split in splits], name) for i, name in enumerate(("X", "y", WEIGHT))
    )
    passed = {} if target is None or isinstance(target, str) else _named_targets(target)
    if hasattr(features, "columns"):
        columns = {name: _stored(features[name], f"X, column '{name}',") for name in features}
        x_NF, names = None, tuple(columns)
    elif passed:
        x_NF, columns = _numeric(features), {}
        names = numbered("x", x_NF.shape[1])
    else:
        raise DataError(
            "X is an array, whose columns have no names, so y must be the targets themselves: one"
            " value or several for each row."
        )
    targets = (target,) if isinstance(target, str) else tuple(passed)
    for name in [*passed, *([WEIGHT] if weights is not None else [])]:
        if name in names:
            raise DataError(
                f"X has a column '{name}', which is also the name of the target or the weights."
                " Rename one of them, or leave the column out of X, or pass its name only"
                " (y='...', dataset.weight_column=...)."
            )
        names = (*names, name)
    if weights is not None:
        passed[WEIGHT] = _stored(_only_column(weights, WEIGHT), WEIGHT)
    sizes = (*(len(split[0]) for split in splits), 0)[:3] if len(splits) > 1 else ()
    return InMemoryData(x_NF, {**columns, **passed}, targets, sizes, weights is not None)


def _splits(X: Any, y: Any, sample_weight: Any) -> list[tuple[Any, Any, Any]]:
    """The triples (X, y, sample_weight) of all splits; one triple if they are not separate."""
    if y is not None or not isinstance(X, tuple):
        return [(X, y, sample_weight)]
    if (
        len(X) not in (2, 3)
        or sample_weight is not None
        or any(not isinstance(split, tuple) or len(split) not in (2, 3) for split in X)
    ):
        raise DataError(
            "Without y, X must be a data frame, or a tuple of two or three pairs (X, y) or triples"
            " (X, y, sample_weight): train, val and test."
        )
    return [(split[0], split[1], split[2] if len(split) == 3 else None) for split in X]


def plain(values: Any, name: str = "X") -> Any:
    """Return a NumPy array, or, for the data frames and series of any library, those of pandas.

    Columns are named by strings. Raises DataError for nested lists of unequal lengths.
    """
    if hasattr(values, "collect") and hasattr(values, "lazy"):  # a lazy frame of polars
        values = values.collect()
    if not hasattr(values, "iloc") and hasattr(values, "to_pandas"):
        require("A data frame that is not from pandas", "files", "pandas", "pyarrow")
        values = values.to_pandas()
    if hasattr(values, "iloc"):
        return values.set_axis(map(str, values.columns), axis=1) if values.ndim == 2 else values
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        # NumPy has no bfloat16
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    if hasattr(values, "toarray"):
        return values.toarray()
    try:
        array = np.asarray(values)
        # a list of numbers and strings would become strings
        return np.asarray(values, object) if array.dtype.kind == "U" else array
    except ValueError as error:
        raise DataError(
            f"{name} is not an array: its rows have different lengths, or are no rows at all"
            f" ({error})."
        ) from error


def _checked(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """One split in plain form, with equal numbers of rows."""
    features = plain(X)
    if features.ndim not in (1, 2) or 0 in features.shape:
        raise DataError(
            f"X has the shape {list(features.shape)}, but needs rows and columns:"
            " [examples, features]. Images and sequences can be flattened: X.reshape(len(X), -1)."
        )
    target: Any = y if y is None or isinstance(y, str) else plain(y, "y")
    weights = None if sample_weight is None else plain(sample_weight, WEIGHT)
    for name, values in (("y", target), (WEIGHT, weights)):
        if values is None or isinstance(values, str):
            continue
        if values.ndim not in (1, 2) or len(values) != len(features):
            raise DataError(
                f"X has {len(features)} row(s), but {name} has the shape {list(values.shape)}: it"
                f" needs one value{' or several' if name == 'y' else ''} for each row."
            )
    for name, frame in (("X", features), ("y", target)):
        if hasattr(frame, "columns") and not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise DataError(
                f"{name} has several columns named '{twice}': rename or leave out all but one."
            )
    if hasattr(features, "iloc") and features.ndim == 1:
        features = features.to_frame("x1" if features.name is None else str(features.name))
    return features, target, weights


def _stacked(values: Sequence[Any], name: str) -> Any:
    """The rows of all splits in one array or frame; None or a column name if all are that."""
    first = values[0]
    if len(values) == 1 or (
        (first is None or isinstance(first, str))
        and all(type(value) is type(first) and value == first for value in values)
    ):
        return first
    if not all(
        type(value) is type(first)
        and not isinstance(first, str)
        and value.shape[1:] == first.shape[1:]
        and list(getattr(value, "columns", [])) == list(getattr(first, "columns", []))
        for value in values
    ):
        raise DataError(
            f"The splits differ in {name}: all of them need it, of the same type and with the same"
            " columns."
        )
    if isinstance(first, np.ndarray):
        return np.concatenate(values)
    import pandas as pd

    return pd.concat(values, ignore_index=True)


def _named_targets(target: Any) -> dict[str, StoredColumn]:
    """The target columns by name: those of a frame or series, or y, or y1, y2, ..."""
    if hasattr(target, "iloc") and target.ndim == 1:
        target = target.to_frame(target.name if isinstance(target.name, str) else "y")
    if hasattr(target, "columns"):
        return {name: _stored(target[name], f"target '{name}'") for name in target.columns}
    columns = target[:, None] if target.ndim == 1 else target
    names = ("y",) if columns.shape[1] == 1 else numbered("y", columns.shape[1])
    return {n: _stored(columns[:, i], f"target '{n}'") for i, n in enumerate(names)}


def _only_column(values: Any, name: str) -> Any:
    if values.ndim == 2 and values.shape[1] != 1:
        raise DataError(f"{name} has {values.shape[1]} columns, but one value per row is needed.")
    return values if values.ndim == 1 else values.squeeze(axis=1)


def _stored(values: Any, where: str) -> StoredColumn:
    return store_series(values, where) if hasattr(values, "iloc") else store_array(values, where)


def _numeric(features: np.ndarray) -> np.ndarray:
    """The features [N, F] as numbers. An array of objects may hold numbers, and None."""
    x_NF = features[:, None] if features.ndim == 1 else features
    if x_NF.dtype == object and not any(isinstance(cell, (str, bytes)) for cell in x_NF.flat):
        with contextlib.suppress(TypeError, ValueError):
            return x_NF.astype(np.float64)
    elif x_NF.dtype.kind in "biuf":
        return numbers(x_NF)
    raise DataError(
        f"X is an array of type {features.dtype} with cells that are not numbers. Pass numbers, or"
        " a pandas data frame, whose columns may also be text, categories and dates."
    )
