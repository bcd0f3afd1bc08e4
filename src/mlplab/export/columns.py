"""The columns that an exported model takes, and rows of a data frame as these columns. Shapes: N
rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.tabular.columns import CATEGORY, DATE
from mlplab.data.tabular.encoder import ColumnEncoder, category_text, parse_numbers
from mlplab.export.pipeline import codes, vocabulary
from mlplab.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

PLAIN = "x"


@dataclass(frozen=True)
class Input:
    """One input: its name, its kind (number, boolean, category, date; `features` for the one of a
    network without a file), its width, its words.
    """

    name: str
    kind: str
    width: int = 1
    column: ColumnEncoder | None = None
    words: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """What a caller has to know, as plain values."""
        empty = (
            "allowed"
            if self.column is not None and (self.column.fill is not None or "" in codes(self.words))
            else "not allowed"
        )
        return {"name": self.name, "kind": self.kind, "width": self.width, "empty cells": empty}


def inputs(runs: Sequence[Run]) -> list[Input]:
    """The inputs of one run, or of the mean of several, in their order."""
    own = runs[0].preprocessing
    if own.encoder is None:
        return [Input(PLAIN, "features", len(own.feature_names))]
    words = vocabulary(runs)
    return [
        Input(column.name, column.kind, 1, column, words.get(column.name, ()))
        for column in own.encoder.columns
    ]


def texts(values: pd.Series) -> np.ndarray:
    """Categories as texts, "" where empty: object [N, 1]."""
    return np.array(
        [
            ["" if missing else category_text(value)]
            for value, missing in zip(values, values.isna(), strict=True)
        ],
        dtype=object,
    )


def seconds(values: pd.Series) -> np.ndarray:
    """Dates as seconds since 1970-01-01 00:00 of their own clock, NaN where empty: float64 [N,
    1].
    """
    import pandas as pd

    moments = pd.to_datetime(values, errors="coerce")
    if getattr(moments.dt, "tz", None) is not None:
        moments = moments.dt.tz_localize(None)
    return np.asarray(((moments - pd.Timestamp(0)) / pd.Timedelta(seconds=1)).to_numpy(np.float64))[
        :, None
    ]


def raw(wanted: Sequence[Input], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """A frame's columns as an exported ONNX model takes them: float64 [N, 1], or texts as object
    [N, 1].
    """
    if wanted[0].column is None:
        return {PLAIN: frame.to_numpy(np.float64)}
    found = {}
    for one in wanted:
        values = frame[one.name]
        found[one.name] = (
            texts(values)
            if one.kind == CATEGORY
            else seconds(values)
            if one.kind == DATE
            else parse_numbers(values, "")[:, None]
        )
    return found


def coded(wanted: Sequence[Input], columns: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The same with codes in the place of texts, as the torch module takes them."""
    found = []
    for one in wanted:
        values = columns[one.name]
        if one.column is not None and one.kind == CATEGORY:
            known, other = codes(one.words), len(one.words)
            values = np.array(
                [[known.get(word, other)] for (word,) in values], dtype=np.int64
            ).reshape(-1, 1)
        found.append(np.array(values))  # a copy that torch may hold
    return found
