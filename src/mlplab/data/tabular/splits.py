"""Which rows of a file train, validate and test: as the file says, by group, by time, or at
random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlplab.data.splitting import split_rows
from mlplab.data.table import SPLITS, Ints
from mlplab.errors import DataError

if TYPE_CHECKING:
    from mlplab.data.tabular.raw_table import RawTable
    from mlplab.data.tabular.table_options import TabularDataset


def split_table(
    table: RawTable, dataset: TabularDataset, rng: np.random.Generator
) -> dict[str, Ints]:
    """Row numbers of train, val and test."""
    fractions = {"val": dataset.val, "test": dataset.test}
    if dataset.group_column is not None:
        return _by_group(table, dataset.group_column, fractions, rng)
    if dataset.time_column is not None:
        return _by_time(table, dataset.time_column, fractions)
    return split_rows(cast(Any, table), fractions, rng)


def _sizes(num_rows: int, fractions: Mapping[str, float]) -> dict[str, int]:
    return {
        part: max(1, round(fraction * num_rows)) if fraction > 0 else 0
        for part, fraction in fractions.items()
    }


def _by_group(
    table: RawTable, name: str, fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Ints]:
    """Whole groups, in random order, until a part has its share of the rows. A part that is given
    stays as it is.
    """
    given = dict(table.parts or {})
    pool = given.pop("train", np.arange(len(table.y)))
    known, codes = np.unique(group_codes(table, name)[pool], return_inverse=True)
    wanted = {**_sizes(len(codes), fractions), **dict.fromkeys(given, 0)}
    splits_needed = 1 + sum(size > 0 for size in wanted.values())
    if len(known) < splits_needed:
        raise DataError(
            f"{table.source}, group column '{name}' has {len(known)} group(s), and {splits_needed}"
            " parts need one each."
        )
    counts, part_of = np.bincount(codes), np.full(len(known), SPLITS.index("train"))
    order = list(rng.permutation(len(known)))
    # later: the parts that need a group after this one
    for part, later in (("test", 1 + (wanted["val"] > 0)), ("val", 1)):
        reached = 0
        while reached < wanted[part] and len(order) > later:
            group = order.pop()
            part_of[group] = SPLITS.index(part)
            reached += counts[group]
    return {
        part: given[part] if part in given else pool[part_of[codes] == i]
        for i, part in enumerate(SPLITS)
    }


def group_codes(table: RawTable, name: str) -> Ints:
    """The number of each row's group. Raises DataError for an empty cell."""
    values = table.frame[name]
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax())
        raise DataError(f"{table.source}, group column '{name}', row {row + 1}: the cell is empty.")
    codes: Ints = values.factorize()[0].astype(np.int64)
    return codes


def _by_time(table: RawTable, name: str, fractions: Mapping[str, float]) -> dict[str, Ints]:
    """The latest rows are the test part, those before it validate. Rows of one moment stay in the
    order of the file.
    """
    values = table.frame[name]
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax())
        raise DataError(f"{table.source}, time column '{name}', row {row + 1}: the cell is empty.")
    order = np.argsort(values.to_numpy(), kind="stable")
    wanted = _sizes(len(order), fractions)
    cut = len(order) - wanted["test"]
    if cut - wanted["val"] < 1:
        raise DataError(
            f"{table.source} has {len(order)} rows, too few for parts of {wanted['val']} and"
            f" {wanted['test']}."
        )
    return {
        "train": order[: cut - wanted["val"]],
        "val": order[cut - wanted["val"] : cut],
        "test": order[cut:],
    }
