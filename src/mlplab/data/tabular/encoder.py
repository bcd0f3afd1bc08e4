"""Encode the columns of a table as numbers.

Shapes: N rows, F encoded features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np

from mlplab.data.table import DataFrame, Floats, Series
from mlplab.data.tabular.cells import number_markers, without_markers
from mlplab.data.tabular.column_encoder import ColumnEncoder
from mlplab.data.tabular.columns import NUMBER
from mlplab.data.tabular.csv import release_unused_memory
from mlplab.data.tabular.number_columns import (
    NumberBatch,
    PlainNumber,
    batches,
    encode_numbers,
    plain_number_columns,
)
from mlplab.data.tabular.number_formats import NumberFormat
from mlplab.data.tabular.records import Records
from mlplab.errors import DataError

_MAX_REMOVED = 500
"""Of a frame with more columns none is removed, since each removal takes time for all others."""


@dataclass(frozen=True)
class Encoder:
    """The encoders of all columns of a table, in order.

    Attributes:
        columns: the encoder of each column.
        markers: the strings that count as an empty cell.
        target_formats: how the numbers of targets are written that are not plain.
        column_markers: further strings that count as an empty cell in a column, which may be a
            target, by its name.
    """

    columns: tuple[ColumnEncoder, ...]
    markers: tuple[str, ...] = ()
    target_formats: Mapping[str, NumberFormat] = field(default_factory=dict)
    column_markers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def has_number_formats(self) -> bool:
        """Whether a column or a target has numbers that are not written plainly."""
        return bool(self.target_formats) or any(column.number_format for column in self.columns)

    def markers_of(self, name: str) -> tuple[str, ...]:
        """Return the strings that count as an empty cell in a column."""
        return (*self.markers, *self.column_markers.get(name, ()))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.features)

    @cached_property
    def _starts(self) -> list[int]:
        """The first feature of each column, and the number of all features."""
        starts: list[int] = np.cumsum([0, *(one.num_features for one in self.columns)]).tolist()
        return starts

    def apply(
        self, frame: DataFrame | Records, source: str = "the data", consume: bool = False
    ) -> Floats:
        """Return the unscaled features of a frame, float64 [N, F].

        Args:
            frame: the rows, with at least the columns of the encoder; mappings are not consumed.
            source: the name of the file, for messages.
            consume: whether to remove each column from the frame once it is encoded, so that a
                large table is not held in memory twice.

        Raises:
            DataError: if a column is missing, or a cell that training would have refused occurs.
        """
        names = frame.columns
        absent = [column.name for column in self.columns if column.name not in names]
        if absent:
            raise DataError(
                f"{source} lacks the column(s) {', '.join(absent)}; it has"
                f" {', '.join(map(str, frame.columns[:30]))}."
            )
        encoded_NF = np.empty((len(frame), self._starts[-1]))
        is_frame = not isinstance(frame, Records)
        starts = np.array(self._starts)
        encoded = encode_numbers(self._numbers_of(frame), self._plain_numbers, starts, encoded_NF)
        consume = consume and is_frame and len(frame.columns) <= _MAX_REMOVED
        for column, start in zip(self.columns, self._starts, strict=False):
            if column.name in encoded:
                continue
            cells = cast(Any, frame).pop(column.name) if consume else frame[column.name]
            values = column.apply(without_markers(cells, self.markers_of(column.name)), source)
            encoded_NF[:, start : start + values.shape[1]] = values
            if consume:
                release_unused_memory()
        return encoded_NF

    def _numbers_of(self, frame: DataFrame | Records) -> Iterable[NumberBatch]:
        """The columns of plain numbers, unless the few of a frame are as fast one by one."""
        names = list(self._plain_numbers)
        if isinstance(frame, Records):
            return [frame.plain_numbers(names)] if names else []
        is_wide = len(self.columns) > _MAX_REMOVED
        return batches(frame, plain_number_columns(frame, names)) if is_wide and names else []

    @cached_property
    def _plain_numbers(self) -> dict[str, PlainNumber]:
        """The columns of numbers that are written plainly and stay as they are, and of which no
        number is a marker.
        """
        if number_markers(self.markers):
            return {}
        return {
            one.name: PlainNumber(i, np.nan if one.fill is None else one.fill, one.indicator)
            for i, one in enumerate(self.columns)
            if one.kind == NUMBER
            and not one.quantiles
            and one.number_format is None
            and one.name not in self.column_markers
        }

    def unfamiliar(self, frame: DataFrame) -> dict[tuple[str, str], Series]:
        """Return the cells of each column that training has not seen the like of, by the name of
        the column and their description; see `ColumnEncoder.unfamiliar`.
        """
        return {
            (column.name, description): cells
            for column in self.columns
            for description, cells in column.unfamiliar(
                without_markers(frame[column.name], self.markers_of(column.name))
            ).items()
        }

    def numeric(self) -> np.ndarray:
        """Return which features are quantities to be scaled, bool [F]; zeros and ones stay."""
        return np.array([scaled for column in self.columns for scaled in column.scaled], bool)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file, without loss of precision."""
        return {
            "columns": [column.to_dict() for column in self.columns],
            "na_values": list(self.markers),
            **(
                {"targets": {name: f.to_dict() for name, f in self.target_formats.items()}}
                if self.target_formats
                else {}
            ),
            **(
                {"column_na_values": {name: list(m) for name, m in self.column_markers.items()}}
                if self.column_markers
                else {}
            ),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Encoder:
        """Return the encoder that `to_dict` described."""
        columns = tuple(ColumnEncoder.from_dict(column) for column in stored["columns"])
        targets = {
            name: NumberFormat.from_dict(form) for name, form in stored.get("targets", {}).items()
        }
        column_markers = {
            name: tuple(markers) for name, markers in stored.get("column_na_values", {}).items()
        }
        return cls(columns, tuple(stored["na_values"]), targets, column_markers)
