"""The inputs of an exported model, and the conversion of data frames to these inputs.

Shapes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.tabular.cells import (
    category_codes,
    category_text,
    parse_dates,
    without_markers,
)
from mlplab.data.tabular.column_encoder import MISSING_CATEGORY, ColumnEncoder
from mlplab.data.tabular.columns import CATEGORY, DATE, parse_quantities
from mlplab.export.pipeline import all_categories
from mlplab.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

FEATURES_INPUT = "x"
"""The name of the one input of a network that was not trained on a file."""


@dataclass(frozen=True)
class Input:
    """One input of an exported model.

    Attributes:
        name: the name of the column.
        kind: number, boolean, category or date; `features` for a network that was not trained on a
            file.
        width: the number of values per row.
        column: the encoder of the first run, if the network was trained on a file.
        categories: the categories that have a code, if it is a category.
        markers: the strings that count as an empty cell.
    """

    name: str
    kind: str
    width: int = 1
    column: ColumnEncoder | None = None
    categories: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()

    @property
    def codes(self) -> dict[str, int]:
        """String -> code of a category; the code of any other string is len(categories).

        The empty string and the markers stand for an empty cell if training allowed one.
        """
        codes = category_codes(self.categories)
        if MISSING_CATEGORY in codes:
            codes |= dict.fromkeys(("", *self.markers), codes[MISSING_CATEGORY])
        return codes

    def metadata(self) -> dict[str, object]:
        """Return the description of the input for the metadata of the file."""
        empty_allowed = self.column is not None and (
            self.column.fill is not None or "" in self.codes
        )
        empty = "allowed" if empty_allowed else "not allowed"
        return {"name": self.name, "kind": self.kind, "width": self.width, "empty cells": empty}


def inputs(runs: Sequence[Run]) -> list[Input]:
    """Return the inputs of one run, or of the mean of several, in order."""
    preprocessing = runs[0].preprocessing
    if preprocessing.encoder is None:
        return [Input(FEATURES_INPUT, "features", len(preprocessing.column_names))]
    categories = all_categories(runs)
    return [
        Input(
            column.name,
            column.kind,
            1,
            column,
            categories.get(column.name, ()),
            preprocessing.encoder.markers_of(column.name),
        )
        for column in preprocessing.encoder.columns
    ]


def category_strings(values: pd.Series) -> np.ndarray:
    """Return categories as strings, "" for empty cells: object [N, 1]."""
    return np.array(
        [
            ["" if missing else category_text(value)]
            for value, missing in zip(values, values.isna(), strict=True)
        ],
        dtype=object,
    )


def date_seconds(values: pd.Series, date_format: str | None = None) -> np.ndarray:
    """Return dates as seconds since 1970-01-01 00:00 in their own time zone: float64 [N, 1].

    Empty cells become NaN.
    """
    import pandas as pd

    moments = parse_dates(values, f"column '{values.name}'", date_format)
    seconds_N = ((moments - pd.Timestamp(0)) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    return np.asarray(seconds_N)[:, None]


def _numbers(values: pd.Series, one: Input) -> np.ndarray:
    form = one.column.number_format if one.column else None
    return parse_quantities(values, one.kind, f"column '{one.name}'", form)


def raw_inputs(columns: Sequence[Input], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the columns of a frame as an exported ONNX model takes them.

    Each is float64 [N, 1], or strings as object [N, 1]; a network that was not trained on a file
    takes x, float64 [N, F].
    """
    if columns[0].column is None:
        return {FEATURES_INPUT: frame.to_numpy(np.float64)}
    arrays = {}
    for one in columns:
        values = without_markers(frame[one.name], one.markers)
        if one.kind == CATEGORY:
            arrays[one.name] = category_strings(values)
        elif one.kind == DATE:
            arrays[one.name] = date_seconds(values, one.column.date_format if one.column else None)
        else:
            arrays[one.name] = _numbers(values, one)[:, None]
    return arrays


def coded_inputs(columns: Sequence[Input], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return raw inputs with codes instead of strings, as the torch module takes them."""
    coded = []
    for one in columns:
        values = arrays[one.name]
        if one.column is not None and one.kind == CATEGORY:
            codes, unknown = one.codes, len(one.categories)
            values = np.array(
                [[codes.get(category, unknown)] for (category,) in values], dtype=np.int64
            ).reshape(-1, 1)
        coded.append(np.array(values))  # a writable copy, as torch needs one
    return coded
