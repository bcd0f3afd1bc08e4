"""Columns with a special role: targets, split, weights, groups, time, identifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from mlplab.data.table import SPLITS, DataFrame, Floats, Ints, Series
from mlplab.data.tabular.cell_errors import check_numbers, first_row, refuse_cells
from mlplab.data.tabular.columns import require_column
from mlplab.data.tabular.number_formats import NumberFormat, parse_formatted
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Cell of a split column, in lower case -> split."""


def targets(dataset: TabularDataset, available: Sequence[str], source: str) -> list[str]:
    """Return the target columns: the configured ones, else `y`, else the last column."""
    named = dataset.targets
    if named is None:
        return ["y"] if "y" in available else [available[-1]]
    for name in named:
        require_column(name, available, source, "target")
    return list(named)


def reserved_columns(
    dataset: TabularDataset, targets: Sequence[str], available: Sequence[str], source: str
) -> list[str]:
    """Return the columns that are not features because they have another role."""
    keys = ("split_column", "group_column", "weight_column", "id_column", "time_column")
    named = {key: getattr(dataset, key) for key in keys if getattr(dataset, key) is not None}
    for key, name in named.items():
        require_column(name, available, source, key.replace("_", " "))
    # the time column orders the rows and is a feature only on request
    if named.get("time_column") in (dataset.features or ()):
        named.pop("time_column")
    return [*targets, *named.values()]


def regression_targets(
    frame: DataFrame,
    names: Sequence[str],
    source: str,
    formats: Mapping[str, NumberFormat] = MappingProxyType({}),
) -> Floats:
    """Return the targets as float64 [N, T]. Raises DataError for cells that are not numbers.

    `formats` are those of targets whose numbers are not written plainly.
    """
    columns = []
    for name in names:
        values = frame[name]
        if name in formats and values.dtype.kind not in "biuf":
            numbers, _ = parse_formatted(values, formats[name])
        else:
            numbers = _numbers(values)
        refuse_cells(
            np.isnan(numbers),
            frame[name],
            f"{source}, target '{name}'",
            "a number",
            " If these are classes, set dataset.task=classification.",
        )
        check_numbers(numbers, name, source, first_row(frame))
        columns.append(numbers)
    return np.stack(columns, 1)


def weights(frame: DataFrame, name: str | None, source: str) -> Floats | None:
    """Return the weight of each row, float64 [N], or None without a weight column.

    Raises DataError if a weight is not finite or is negative, or all are zero.
    """
    if name is None:
        return None
    numbers = _numbers(frame[name])
    check_weights(numbers, frame[name], f"{source}, weight column '{name}'")
    return numbers


def check_weights(weights_N: Floats, cells_N: ArrayLike, where: str) -> None:
    """Raise DataError, which shows the cell, if a weight is not finite or is negative, or all are
    zero.
    """
    wrong_N = ~np.isfinite(weights_N) | (weights_N < 0) | (not weights_N.any())
    advice = " Weights are numbers >= 0 that are not all 0."
    refuse_cells(wrong_N, cells_N, where, "a valid weight", advice)


def _numbers(values: Series) -> Floats:
    """Return cells as float64 [N], NaN if empty or not a number."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.asarray(numbers)


def split_from_column(values: Series, source: str) -> dict[str, Ints]:
    """Return the row numbers of each split that a column names.

    Raises DataError if a cell names no split, or no row is for training.
    """
    splits = values.astype(str).str.strip().str.lower().map(_SPLIT_NAMES)
    where = f"{source}, split column '{values.name}'"
    refuse_cells(splits.isna().to_numpy(), values, where, "train, val or test")
    rows_of_split = {name: np.flatnonzero((splits == name).to_numpy()) for name in SPLITS}
    if not len(rows_of_split["train"]):
        raise DataError(f"{where}: no cell is train.")
    return {name: rows for name, rows in rows_of_split.items() if len(rows)}
