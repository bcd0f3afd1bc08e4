"""Measure and check many columns of plain numbers at once, since a table may have thousands.

Shapes: N rows, F columns, V valid values of a column, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlplab.data.table import DataFrame, Floats, Ints
from mlplab.data.tabular.cell_errors import MAX_NUMBER

BATCH_CELLS = 1 << 20
_NUM_BINS = 20

NumberBatch: TypeAlias = tuple[Sequence[str], Floats]
"""The names of columns, and their numbers [N, F], NaN if empty."""


@dataclass(frozen=True)
class NumberStatistics:
    """What the values of a column of numbers are.

    Attributes:
        missing: the number of empty cells.
        distinct: the number of different values.
        low, high, median: of the values; NaN if there is none.
        all_integers: whether all values are integers.
    """

    missing: int
    distinct: int
    low: float
    high: float
    median: float
    all_integers: bool


def plain_number_columns(frame: DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns whose cells are numbers of NumPy, booleans not among them."""
    kind_of_column = {
        name: dtype.kind if isinstance(dtype, np.dtype) else "O"
        for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
    }
    return [name for name in names if kind_of_column.get(name) in ("i", "u", "f")]


def batches(frame: DataFrame, names: Sequence[str]) -> Iterator[NumberBatch]:
    """Yield columns of numbers in order, as many at once as fit: their names, and float64 [N, F],
    NaN if empty.
    """
    size = max(1, BATCH_CELLS // max(1, len(frame)))
    for start in range(0, len(names), size):
        batch = list(names[start : start + size])
        yield batch, np.asfortranarray(frame[batch].to_numpy(np.float64))


def statistics(x_NF: Floats, sorted_NF: Floats | None = None) -> list[NumberStatistics]:
    """Return the statistics of columns of numbers, NaN if empty; `sorted_NF` are their sorted
    values, if these are known.
    """
    if sorted_NF is None:
        sorted_NF = np.sort(x_NF, axis=0)  # NaN last
    valid_F = len(x_NF) - np.isnan(x_NF).sum(0)
    rises_NF = sorted_NF[1:] > sorted_NF[:-1]  # False beside NaN
    distinct_F = rises_NF.sum(0) + (valid_F > 0)
    last_F = np.maximum(valid_F - 1, 0)
    low_F, high_F = sorted_NF[0], _row_of_each(sorted_NF, last_F)
    middle_F = (_row_of_each(sorted_NF, last_F // 2), _row_of_each(sorted_NF, (last_F + 1) // 2))
    with np.errstate(invalid="ignore", over="ignore"):
        median_F = (middle_F[0] + middle_F[1]) / 2
        integers_F = ((sorted_NF % 1 == 0) | np.isnan(sorted_NF)).all(0)
    missing_F = len(x_NF) - valid_F
    arrays = (missing_F, distinct_F, low_F, high_F, median_F, integers_F)
    return [NumberStatistics(*row) for row in zip(*(a.tolist() for a in arrays), strict=True)]


def _row_of_each(values_NF: Floats, row_F: Ints) -> Floats:
    return np.asarray(np.take_along_axis(values_NF, row_F[None], 0)[0])


def accuracy_by_value(x_NF: Floats, sorted_NF: Floats, y_N: Ints, num_classes: int) -> Floats:
    """Return how often the majority class of a column's value is that of the row, float64 [F].

    Values of a column with more than one for each ten rows are put into twenty bins of equally many
    rows. Empty cells are a value of their own. It is 0 for a column of which more than one value,
    and at least two, occur for each ten rows. `sorted_NF` are the sorted values of each column.
    """
    num_rows, num_columns = x_NF.shape
    valid_F = num_rows - np.isnan(x_NF).sum(0)
    distinct_F = (sorted_NF[1:] > sorted_NF[:-1]).sum(0) + (valid_F > 0)
    is_binned_F = distinct_F > num_rows // 10
    codes_NF = np.empty(x_NF.shape, np.int64)
    codes_NF[:, is_binned_F] = _bins(
        x_NF[:, is_binned_F], sorted_NF[:, is_binned_F], valid_F[is_binned_F]
    )
    codes_NF[:, ~is_binned_F] = _ranks(x_NF[:, ~is_binned_F])
    codes_NF[np.isnan(x_NF)] = 0
    num_codes = int(codes_NF.max(initial=0)) + 1
    cell_NF = (np.arange(num_columns) * num_codes + codes_NF) * num_classes + y_N[:, None]
    counts = np.bincount(cell_NF.ravel(), minlength=num_columns * num_codes * num_classes)
    counts = counts.reshape(num_columns, num_codes, num_classes)
    num_groups_F = (counts.sum(2) > 0).sum(1)
    accuracy_F = counts.max(2).sum(1) / num_rows
    return np.where(num_groups_F > max(2, num_rows // 10), 0.0, accuracy_F)


def _ranks(x_NF: Floats) -> Ints:
    """Return the rank of each value among the different ones of its column, from 1."""
    order_NF = np.argsort(x_NF, axis=0, kind="stable")
    sorted_NF = np.take_along_axis(x_NF, order_NF, 0)
    rises_NF = np.vstack([np.ones((1, x_NF.shape[1]), bool), sorted_NF[1:] > sorted_NF[:-1]])
    ranks_NF = np.empty(x_NF.shape, np.int64)
    np.put_along_axis(ranks_NF, order_NF, rises_NF.cumsum(0), 0)
    return ranks_NF


def _bins(x_NF: Floats, sorted_NF: Floats, valid_F: Ints) -> Ints:
    """Return the bin of each value, of at most twenty with equally many rows, from 1."""
    bins_NF = np.zeros(x_NF.shape, np.int64)
    first_F = np.zeros(x_NF.shape[1], np.int64)
    for quantile in np.linspace(0, 1, _NUM_BINS + 1):
        position_F = quantile * np.maximum(valid_F - 1, 0)
        below_F = np.floor(position_F).astype(np.int64)
        low_F = _row_of_each(sorted_NF, below_F)
        high_F = _row_of_each(sorted_NF, np.minimum(below_F + 1, np.maximum(valid_F - 1, 0)))
        edge_F = low_F + (position_F - below_F) * (high_F - low_F)
        bins_NF += x_NF > edge_F
        first_F += edge_F == sorted_NF[0]
    return np.where(bins_NF == 0, first_F, bins_NF)  # the least value is in the first bin


def correlations(x_NF: Floats, y_N: Floats) -> Floats:
    """Return the absolute correlation of each column with the targets, float64 [F]; 0 for columns
    with empty cells and for those that are constant.
    """
    varies_F = x_NF.max(0) > x_NF.min(0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        x_NF = x_NF - x_NF.mean(0)
        y_N = y_N - y_N.mean()
        covariance_F = y_N @ x_NF
        norm_F = np.sqrt((x_NF**2).sum(0) * (y_N @ y_N))
        correlation_F = np.abs(covariance_F / norm_F)
    return np.where(varies_F & np.isfinite(correlation_F), correlation_F, 0.0)


@dataclass(frozen=True)
class PlainNumber:
    """How a column of numbers is encoded: its index, the replacement for empty cells, NaN if there
    is none, and whether its second feature is 1 where the cell was empty.
    """

    index: int
    fill: float
    indicator: bool


def encode_numbers(
    numbers: Iterable[NumberBatch],
    columns: Mapping[str, PlainNumber],
    starts: Ints,
    encoded_NF: Floats,
) -> set[str]:
    """Write the features of columns of plain numbers, and return the names of these columns. One
    that is to be refused is left out: an infinite number, or an empty cell without replacement.

    Args:
        numbers: the columns.
        columns: how to encode the columns, by name.
        starts: the index of the first feature of each column, and the number of features.
        encoded_NF: the features, which are written.
    """
    encoded: set[str] = set()
    for names, x_NF in numbers:
        batch = [columns[name] for name in names]
        missing_NF = np.isnan(x_NF)
        filled_NF = np.where(missing_NF, [column.fill for column in batch], x_NF)
        encoded_NF[:, [starts[column.index] for column in batch]] = filled_NF
        for f, column in enumerate(batch):
            first, end = starts[column.index] + 1, starts[column.index + 1]
            if end > first:
                encoded_NF[:, first:end] = 0.0
                encoded_NF[:, first] = missing_NF[:, f] & column.indicator
        is_sound_F = np.all(np.abs(filled_NF) <= MAX_NUMBER, axis=0).tolist()
        encoded.update(name for name, is_sound in zip(names, is_sound_F, strict=True) if is_sound)
    return encoded


def row_hashes(frame: DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return a hash of each row of columns of plain numbers, int64 [N], which is equal for equal
    rows of this process.
    """
    hashes_N = np.zeros(len(frame), np.int64)
    for _, x_NF in batches(frame, names):
        rows_NF = np.ascontiguousarray(x_NF) + 0.0  # of -0 and 0, the latter
        rows_NF[np.isnan(rows_NF)] = np.nan
        rows = zip(hashes_N.tolist(), rows_NF, strict=True)
        hashes_N = np.array([hash((before, row.tobytes())) for before, row in rows])
    return hashes_N
