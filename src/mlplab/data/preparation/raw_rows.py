"""The rows of a split before they are encoded and scaled.

Shapes: N rows, R columns, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from mlplab.data.preparation.examples import made_table
from mlplab.data.splitting import split_rows
from mlplab.data.table import Dataset, Ints, Series, Table
from mlplab.data.tabular.table_builder import split_and_encode
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.randomness import numpy_generator


@dataclass(frozen=True, eq=False)
class RawRows:
    """Rows as they are in the data.

    Attributes:
        columns: the cells of each column that features are made of, by name.
        y: classes, int64 [N], or values in the units of the target, float64 [N, T].
        source: what messages call the rows.
        data_hash: the hash of the whole table, if the rows are a split of one.
    """

    columns: Mapping[str, Series | np.ndarray]
    y: np.ndarray
    source: str
    data_hash: str | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Ints) -> RawRows:
        """Return the rows with these numbers."""
        columns = {
            name: cells[rows]
            if isinstance(cells, np.ndarray)
            else cells.iloc[rows].reset_index(drop=True)
            for name, cells in self.columns.items()
        }
        return replace(self, columns=columns, y=self.y[rows])


def raw_split(
    dataset: Dataset, seed: int, split: str, source: str, test_rows: Ints | None = None
) -> RawRows:
    """Return the rows of a split as `prepare` draws them, before they are encoded and scaled.

    Args:
        dataset: the configured dataset; its seed, if set, takes precedence over `seed`.
        seed: the seed of the run.
        split: train, val or test.
        source: what messages call the rows.
        test_rows: the row numbers of the test split, if it is one of a cross-validation.

    Raises:
        DataError: if the data cannot be read or split.
    """
    seed = seed if dataset.seed is None else dataset.seed
    table: Any = made_table(dataset, seed)
    data_hash = table.content_hash()
    rng = numpy_generator(seed, "split")
    if isinstance(table, Table):
        fractions = {"val": dataset.val, "test": dataset.test}
        rows = split_rows(table, fractions, rng)[split] if test_rows is None else test_rows
        columns = dict(zip(table.feature_names, table.x.T, strict=True))
        return RawRows(columns, table.y, source, data_hash).take(rows)
    frame = table.frame.copy(deep=False)  # encoding removes the columns of the table's own
    if test_rows is None:
        rows = split_and_encode(table, cast(TabularDataset, dataset), rng).rows[split]
    else:
        rows = test_rows
    columns = {column.name: frame[column.name] for column in table.columns}
    return RawRows(columns, table.y, source, data_hash).take(rows)
