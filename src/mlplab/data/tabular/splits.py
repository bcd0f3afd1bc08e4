"""Split the rows of a file into train, val and test.

The split is predefined, by group, by time, or random.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlplab.data.splitting import split_rows
from mlplab.data.table import SPLITS, Ints, Series
from mlplab.data.tabular.cells import parse_instants
from mlplab.data.tabular.columns import DATE, NUMBER, kind_of
from mlplab.data.tabular.raw_table import RawTable
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError


def split_table(
    table: RawTable, dataset: TabularDataset, rng: np.random.Generator
) -> dict[str, Ints]:
    """Return the row numbers of train, val and test.

    Raises DataError if there are too few rows or groups, or a group or time cell is empty.
    """
    fractions = {"val": dataset.val, "test": dataset.test}
    if dataset.group_column is not None:
        return _by_group(table, dataset.group_column, fractions, rng)
    if dataset.time_column is not None:
        return _by_time(table, dataset.time_column, fractions, dataset.date_format)
    return split_rows(table, fractions, rng)


def _sizes(num_rows: int, fractions: Mapping[str, float]) -> dict[str, int]:
    return {
        split: max(1, round(fraction * num_rows)) if fraction > 0 else 0
        for split, fraction in fractions.items()
    }


def _by_group(
    table: RawTable, name: str, fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Ints]:
    """Assign whole groups in random order until each split has its fraction of the rows.

    A predefined split keeps its rows.
    """
    predefined = dict(table.given_split or {})
    pool = predefined.pop("train", np.arange(len(table.y)))
    groups, codes = np.unique(group_codes(table, name)[pool], return_inverse=True)
    sizes = {**_sizes(len(codes), fractions), **dict.fromkeys(predefined, 0)}
    splits_needed = 1 + sum(size > 0 for size in sizes.values())
    if len(groups) < splits_needed:
        raise DataError(
            f"{table.source}, group column '{name}' has {len(groups)} group(s), but {splits_needed}"
            " splits need at least one each."
        )
    counts, split_of_group = np.bincount(codes), np.full(len(groups), SPLITS.index("train"))
    order = list(rng.permutation(len(groups)))
    # reserved: the number of splits after this one that still need a group
    for split, reserved in (("test", 1 + (sizes["val"] > 0)), ("val", 1)):
        num_rows = 0
        while num_rows < sizes[split] and len(order) > reserved:
            group = order.pop()
            split_of_group[group] = SPLITS.index(split)
            num_rows += counts[group]
    return {
        split: predefined[split] if split in predefined else pool[split_of_group[codes] == i]
        for i, split in enumerate(SPLITS)
    }


def group_codes(table: RawTable, name: str) -> Ints:
    """Return the group number of each row, int64 [N]. Raises DataError for an empty cell."""
    return np.asarray(_complete(table, name, "group").factorize()[0], np.int64)


def _complete(table: RawTable, name: str, role: str) -> Series:
    """Return a column that must not have empty cells."""
    values = table.frame[name]
    missing_N = values.isna().to_numpy()
    if missing_N.any():
        raise DataError(
            f"{table.source}, {role} column '{name}', row {int(missing_N.argmax()) + 1}: the cell"
            " is empty."
        )
    return values


def _by_time(
    table: RawTable, name: str, fractions: Mapping[str, float], date_format: str | None
) -> dict[str, Ints]:
    """Take the latest rows for test and those before them for val.

    Rows with equal times keep the order of the file.
    """
    order = np.argsort(times(table, name, date_format).to_numpy(), kind="stable")
    sizes = _sizes(len(order), fractions)
    train_size = len(order) - sizes["val"] - sizes["test"]
    if train_size < 1:
        raise DataError(
            f"{table.source} has {len(order)} rows, too few for {sizes['val']} val and"
            f" {sizes['test']} test rows."
        )
    return dict(zip(SPLITS, np.split(order, [train_size, train_size + sizes["val"]]), strict=True))


def times(table: RawTable, name: str, date_format: str | None) -> Series:
    """Return the times of the rows [N] as numbers, or as dates in UTC if they name their time zone.

    Raises DataError for an empty cell, and for a column that is neither.
    """
    values = _complete(table, name, "time")
    where = f"{table.source}, time column '{name}'"
    kind = kind_of(values, date_format)
    if kind == NUMBER:
        return values
    if kind != DATE:
        raise DataError(
            f"{where}: cells such as {str(values.iloc[0])[:40]!r} are neither numbers nor dates, so"
            " their order in time is unknown. Write dates as 2020-05-13, or name their format, such"
            " as dataset.date_format=%d/%m/%Y."
        )
    return parse_instants(values, where, date_format)


def time_ranges(
    table: RawTable, dataset: TabularDataset, rows: Mapping[str, Ints]
) -> dict[str, tuple[str, str]]:
    """Return the first and the last time of each split that has rows."""
    if dataset.time_column is None:
        return {}
    moments = times(table, dataset.time_column, dataset.date_format)
    return {
        split: (str(moments.iloc[rows[split]].min()), str(moments.iloc[rows[split]].max()))
        for split in SPLITS
        if len(rows[split])
    }
