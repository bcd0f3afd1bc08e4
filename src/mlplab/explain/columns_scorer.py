"""Predictions for rows in which some columns are permuted or replaced.

A column is encoded once: since a cell is encoded by itself, permuting the encoded features of a
column is the same as permuting the column.

Shapes: N rows, R encoded columns, G replacements, C classes or targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlplab.data.preparation.raw_rows import RawRows
from mlplab.data.table import Floats, Ints
from mlplab.data.tabular.columns import NUMBER
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing

MAX_ROWS_AT_ONCE = 1 << 16
"""Rows with replaced cells that are predicted at once, which bounds the memory."""


@dataclass(frozen=True)
class _Encoded:
    """Models of equal preprocessing, the rows that they predict, and where each column is."""

    models: tuple[Model, ...]
    preprocessing: Preprocessing
    columns_NR: Floats
    spans: Mapping[str, slice]

    def scores(self, columns_NR: Floats, source: str) -> list[Floats]:
        x_NF = self.preprocessing.scaled(columns_NR)
        return [
            scores_NC for model in self.models for scores_NC in model.scores(x_NF, source, first=1)
        ]


class ColumnsScorer:
    """Predicts the same rows again and again, with some of their columns changed.

    Several models predict their mean, as `mlplab predict` does.
    """

    def __init__(self, models: Sequence[Model], rows: RawRows) -> None:
        """Raises DataError if a cell is one that training would have refused."""
        self.rows, self.preprocessing = rows, models[0].preprocessing
        groups: dict[str, list[Model]] = {}
        for model in models:
            groups.setdefault(model.preprocessing.to_json(), []).append(model)
        self._encoded = [_encode(tuple(equal), rows) for equal in groups.values()]
        self.names = tuple(self._encoded[0].spans)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each column: number, boolean, category or date."""
        encoder = self.preprocessing.encoder
        if encoder is None:
            return dict.fromkeys(self.names, NUMBER)
        return {column.name: column.kind for column in encoder.columns}

    def encoded(self, name: str) -> Floats:
        """The encoded features of a column, [N, F]."""
        first = self._encoded[0]
        return first.columns_NR[:, first.spans[name]]

    @cached_property
    def scores(self) -> Floats:
        """The predictions, float64 [N, C]: probabilities, or values in their units."""
        return self._mean(lambda group: group.columns_NR)

    def permuted(self, names: Sequence[str], order_N: Ints) -> Floats:
        """Return the predictions with the cells of some columns taken from the rows `order_N`."""

        def changed(group: _Encoded) -> Floats:
            columns_NR = group.columns_NR.copy()
            for name in names:
                columns_NR[:, group.spans[name]] = group.columns_NR[order_N, group.spans[name]]
            return columns_NR

        return self._mean(changed)

    def replaced(self, name: str, cells: Sequence[object], row_numbers: Ints) -> Floats:
        """Return the predictions of some rows with each of G values in a column, [G, N, C]."""
        tables = [_encoded_cells(group.preprocessing, name, cells) for group in self._encoded]
        chunks, size = [], max(1, MAX_ROWS_AT_ONCE // max(1, len(row_numbers)))
        for start in range(0, len(cells), size):
            by_group = dict(zip(map(id, self._encoded), tables, strict=True))

            def changed(
                group: _Encoded, start: int = start, tables: Mapping[int, Floats] = by_group
            ) -> Floats:
                values_GF = tables[id(group)][start : start + size]
                columns_NR = np.tile(group.columns_NR[row_numbers], (len(values_GF), 1))
                columns_NR[:, group.spans[name]] = np.repeat(values_GF, len(row_numbers), axis=0)
                return columns_NR

            scores_MC = self._mean(changed)
            chunks.append(scores_MC.reshape(-1, len(row_numbers), scores_MC.shape[1]))
        return np.concatenate(chunks)

    def walked(self, row: int, background_M: Ints, order_MR: Ints) -> Floats:
        """Return the predictions along M walks, [M, R + 1, C]: of the row `background_M[m]`, then
        with the cells of `row` in the first, the first two, ... columns of the order `order_MR[m]`.
        """
        position_MR = np.argsort(order_MR, axis=1)
        num_steps = len(self.names) + 1
        size = max(1, MAX_ROWS_AT_ONCE // num_steps)
        chunks = []
        for start in range(0, len(background_M), size):
            background_B = background_M[start : start + size]
            position_BR = position_MR[start : start + size]

            def changed(
                group: _Encoded, background_B: Ints = background_B, position_BR: Ints = position_BR
            ) -> Floats:
                columns_BSR = np.repeat(group.columns_NR[background_B][:, None], num_steps, axis=1)
                for r, name in enumerate(self.names):
                    is_replaced_BS = position_BR[:, r, None] < np.arange(num_steps)
                    span = group.spans[name]
                    columns_BSR[..., span] = np.where(
                        is_replaced_BS[..., None],
                        group.columns_NR[row, span],
                        columns_BSR[..., span],
                    )
                return columns_BSR.reshape(-1, columns_BSR.shape[2])

            scores_SC = self._mean(changed)
            chunks.append(scores_SC.reshape(len(background_B), num_steps, -1))
        return np.concatenate(chunks)

    def _mean(self, changed: Callable[[_Encoded], Floats]) -> Floats:
        scores = [
            scores_NC
            for group in self._encoded
            for scores_NC in group.scores(changed(group), self.rows.source)
        ]
        return np.asarray(sum(scores) / len(scores), np.float64)


def _encode(models: tuple[Model, ...], rows: RawRows) -> _Encoded:
    preprocessing = models[0].preprocessing
    encoder = preprocessing.encoder
    if encoder is None:
        names = preprocessing.column_names
        columns_NR = np.stack([np.asarray(rows.columns[name], np.float64) for name in names], 1)
        return _Encoded(
            models,
            preprocessing,
            columns_NR,
            {name: slice(i, i + 1) for i, name in enumerate(names)},
        )
    import pandas as pd

    columns_NR = encoder.apply(pd.DataFrame(dict(rows.columns)), rows.source)
    spans, start = {}, 0
    for column in encoder.columns:
        spans[column.name] = slice(start, start + len(column.features))
        start += len(column.features)
    return _Encoded(models, preprocessing, columns_NR, spans)


def _encoded_cells(preprocessing: Preprocessing, name: str, cells: Sequence[object]) -> Floats:
    """Return the encoded features of G cells of a column, [G, F]."""
    encoder = preprocessing.encoder
    if encoder is None:
        return np.asarray(cells, np.float64)[:, None]
    import pandas as pd

    column = next(column for column in encoder.columns if column.name == name)
    return column.apply(pd.Series(list(cells)), f"column '{name}'")
