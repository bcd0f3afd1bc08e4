"""Rows on which an exported model must say what the run says: random ones, the edges of what may
come, and what training never met.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.tabular.columns import CATEGORY, DATE, FLAG
from mlplab.data.tabular.encoder import MISSING_CATEGORY, ColumnEncoder
from mlplab.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

# runtimes approximate tanh and exp also in double precision
TOLERANCE = {"float32": 1e-5, "float64": 1e-8}
"""Largest difference: of probabilities, or of values in standard deviations of the target."""

EMPTY = 0.1  # of the cells, where they may be
UNKNOWN = 0.1


def random_rows(run: Run, number: int, seed: int = 0) -> pd.DataFrame:
    """Rows with the columns that the run takes: within and beyond the ranges of training, empty
    cells where allowed, unknown words.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    own = run.preprocessing
    shift, scale = own.feature_scaler.shift, own.feature_scaler.scale
    if own.encoder is None:
        return pd.DataFrame(
            shift + scale * 3 * rng.normal(size=(number, len(shift))),
            columns=list(own.feature_names),
        )
    found, at = {}, 0
    for column in own.encoder.columns:
        found[column.name] = _column(column, shift[at], scale[at], number, rng)
        at += len(column.features)
    return pd.DataFrame(found)


def _column(
    column: ColumnEncoder, shift: float, scale: float, number: int, rng: np.random.Generator
) -> Any:
    import pandas as pd

    if column.kind == CATEGORY:
        words = [word for word in column.words if word != MISSING_CATEGORY]
        values = (
            np.array(words, dtype=object)[rng.integers(0, len(words), number)]
            if words
            else np.full(number, "?", dtype=object)
        )
        values[rng.random(number) < UNKNOWN] = "never met"
        allowed = MISSING_CATEGORY in column.words or column.fill is not None
        values[(rng.random(number) < EMPTY) & allowed] = None
        return values
    if column.kind == DATE:
        moments = pd.Timestamp("1890-01-01") + pd.to_timedelta(
            rng.integers(0, 250 * 365 * 86400, number), unit="s"
        )
        dates = pd.Series(moments)
        return dates.mask((rng.random(number) < EMPTY) & (column.fill is not None))
    if column.kind == FLAG:
        numbers = rng.integers(0, 2, number).astype(float)
    elif column.quantiles:
        low, high = column.quantiles[0], column.quantiles[-1]
        numbers = rng.uniform(low - (high - low) / 4, high + (high - low) / 4, number)
        numbers[: number // 4] = np.array(column.quantiles)[
            rng.integers(0, len(column.quantiles), number // 4)
        ]
    else:
        numbers = shift + scale * 3 * rng.normal(size=number)
    numbers[(rng.random(number) < EMPTY) & (column.fill is not None)] = np.nan
    return numbers


def difference(runs: Sequence[Run], expected: np.ndarray, found: np.ndarray) -> float:
    """The largest, in the unit of TOLERANCE."""
    scaler = runs[0].preprocessing.target_scaler
    scale = 1.0 if runs[0].preprocessing.task.classifies or scaler is None else scaler.scale
    gap = np.abs(np.asarray(expected, np.float64) - np.asarray(found, np.float64)) / scale
    return float(gap.max()) if np.isfinite(gap).all() else float("inf")
