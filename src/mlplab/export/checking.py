"""Rows on which an exported model must agree with its run.

They are random and include edge cases and values that training never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.tabular.column_encoder import MISSING_CATEGORY, ColumnEncoder
from mlplab.data.tabular.columns import BOOLEAN, CATEGORY, DATE
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = {"float32": 1e-5, "float64": 1e-8}
"""Largest difference allowed: of probabilities, or of values in standard deviations of the target.

Runtimes approximate tanh and exp, in double precision too.
"""

EMPTY_FRACTION = 0.1  # of the cells, where empty cells are allowed
UNKNOWN_FRACTION = 0.1  # of the categories


def random_rows(run: Run, number: int, seed: int = 0) -> pd.DataFrame:
    """Return `number` random rows with the columns that the run takes.

    Numbers lie within and beyond the ranges of training; there are empty cells where they are
    allowed, and unknown categories.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    preprocessing = run.preprocessing
    spread = _spread(preprocessing)
    if preprocessing.encoder is None:
        names = preprocessing.column_names
        numbers = [_random_numbers(spread[i], number, rng) for i in range(len(names))]
        return pd.DataFrame(dict(zip(names, numbers, strict=True)))
    columns, start = {}, 0
    for column in preprocessing.encoder.columns:
        columns[column.name] = _random_column(column, spread[start], number, rng)
        start += len(column.features)
    return pd.DataFrame(columns)


def _spread(preprocessing: Preprocessing) -> np.ndarray:
    """Return the mean, deviation, minimum and maximum of the numbers of each (encoded) column,
    [R, 4]. Those from which features are computed stay near the range of training, and within it
    if a function is not defined for all numbers.
    """
    scaler, features = preprocessing.feature_scaler, preprocessing.input_features
    if features is None:
        infinite = np.full(len(scaler.shift), np.inf)
        return np.stack([scaler.shift, 3 * scaler.scale, -infinite, infinite], 1)
    low, high = np.array(features.ranges).T
    margin = np.where(features.restricted(), 0.0, high - low)
    return np.stack([(low + high) / 2, (high - low) / 2, low - margin, high + margin], 1)


def _random_numbers(spread_4: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    mean, deviation, low, high = spread_4
    return np.asarray(np.clip(mean + deviation * rng.normal(size=number), low, high))


def _random_column(
    column: ColumnEncoder, spread_4: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray | pd.Series:
    import pandas as pd

    if column.kind == CATEGORY:
        categories = [name for name in column.categories if name != MISSING_CATEGORY]
        values = (
            np.array(categories, dtype=object)[rng.integers(0, len(categories), number)]
            if categories
            else np.full(number, "?", dtype=object)
        )
        values[rng.random(number) < UNKNOWN_FRACTION] = "never met"
        allowed = MISSING_CATEGORY in column.categories or column.fill is not None
        values[(rng.random(number) < EMPTY_FRACTION) & allowed] = None
        return values
    if column.kind == DATE:
        moments = pd.Timestamp("1890-01-01") + pd.to_timedelta(
            rng.integers(0, 250 * 365 * 86400, number), unit="s"
        )
        dates = pd.Series(moments)
        return dates.mask((rng.random(number) < EMPTY_FRACTION) & (column.fill is not None))
    if column.kind == BOOLEAN:
        numbers = rng.integers(0, 2, number).astype(float)
    elif column.quantiles:
        low, high = column.quantiles[0], column.quantiles[-1]
        numbers = rng.uniform(low - (high - low) / 4, high + (high - low) / 4, number)
        numbers[: number // 4] = np.array(column.quantiles)[
            rng.integers(0, len(column.quantiles), number // 4)
        ]
    else:
        numbers = _random_numbers(spread_4, number, rng)
    numbers[(rng.random(number) < EMPTY_FRACTION) & (column.fill is not None)] = np.nan
    return numbers


def difference(runs: Sequence[Run], expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the largest difference in the units of TOLERANCE; infinite if one is not finite."""
    scaler = runs[0].preprocessing.target_scaler
    scale = 1.0 if runs[0].preprocessing.task.classifies or scaler is None else scaler.scale
    differences = np.abs(np.asarray(expected, np.float64) - np.asarray(actual, np.float64)) / scale
    return float(differences.max()) if np.isfinite(differences).all() else float("inf")
