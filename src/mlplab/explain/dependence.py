"""Partial dependence: the mean prediction as a function of one column.

Source: Friedman, Greedy Function Approximation, 2001; Goldstein et al., Peeking Inside the Black
Box, 2015 (individual conditional expectation). Shapes: N rows, G values, C classes or targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.data.table import Ints
from mlplab.data.tabular.cells import category_text
from mlplab.data.tabular.columns import DATE, NUMBER
from mlplab.explain.columns_scorer import ColumnsScorer

MAX_VALUES = 20
MAX_CATEGORIES = 12
NUM_LINES = 25
BAND = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class Dependence:
    """The predictions of rows if a column had the same value in all of them.

    Attributes:
        column: the name of the column.
        kind: number, boolean, category or date.
        values: the values of the column, as they are in the data [G].
        outputs: the names of the classes or targets [C].
        mean: the mean prediction over the rows [G, C].
        low, high: the 10 % and 90 % quantiles of the rows' predictions [G, C].
        lines: the predictions of some rows [G, rows, C].
    """

    column: str
    kind: str
    values: tuple[object, ...]
    outputs: tuple[str, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lines: np.ndarray

    def to_json(self) -> dict[str, object]:
        """Return plain values; without the lines of single rows."""
        return {
            "column": self.column,
            "kind": self.kind,
            "values": [
                value if isinstance(value, (int, float, bool)) else str(value)
                for value in self.values
            ],
            "outputs": list(self.outputs),
            "mean": self.mean.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
        }


def dependence(scorer: ColumnsScorer, column: str, row_numbers: Ints) -> Dependence | None:
    """Return the partial dependence on a column over some rows; None if the column is constant."""
    kind = scorer.kinds[column]
    values = _grid(scorer.rows.columns[column], kind)
    if len(values) < 2:
        return None
    scores_GNC = scorer.replaced(column, values, row_numbers)
    low_GC, high_GC = np.quantile(scores_GNC, BAND, axis=1)
    preprocessing = scorer.preprocessing
    return Dependence(
        column,
        kind,
        tuple(values),
        preprocessing.class_names or preprocessing.target_names,
        scores_GNC.mean(1),
        low_GC,
        high_GC,
        scores_GNC[:, :NUM_LINES],
    )


def _grid(cells: object, kind: str) -> list[object]:
    """The values of a column to predict with: quantiles, or the most frequent categories."""
    if isinstance(cells, np.ndarray):
        return _quantiles(np.asarray(cells, np.float64))
    import pandas as pd

    present = pd.Series(cells).dropna()
    if kind == NUMBER:
        return _quantiles(pd.to_numeric(present.astype(object), errors="coerce").to_numpy(float))
    if kind == DATE:
        # texts of equal format sort as dates do only if the year comes first
        ordered = present.iloc[pd.to_datetime(present, errors="coerce").argsort().to_numpy()]
        ranks = np.linspace(0, len(ordered) - 1, min(MAX_VALUES, len(ordered))).round().astype(int)
        return list(dict.fromkeys(ordered.iloc[ranks].tolist()))
    texts = present.map(category_text)
    frequent = texts.value_counts().index[:MAX_CATEGORIES]
    first = {text: present.iloc[i] for i, text in reversed(list(enumerate(texts)))}
    return [first[text] for text in frequent]


def _quantiles(values_N: np.ndarray) -> list[object]:
    """The distinct values if they are few, or else quantiles that occur in the data."""
    values = np.unique(values_N[np.isfinite(values_N)])
    if len(values) > MAX_VALUES:
        finite_N = values_N[np.isfinite(values_N)]
        # from 2 to 98 %: at the ends there are too few rows to say anything
        ranks = np.linspace(0.02, 0.98, MAX_VALUES)
        values = np.unique(np.quantile(finite_N, ranks, method="nearest"))
    return list(values.tolist())
