"""Slices of the rows in which a network errs most, by one or two conditions on columns.

Half of the rows propose slices and the other half measures and tests them, so that the numbers do
not suffer from the search. Source of the problem: Chung et al., Automated Data Slicing for Model
Validation, 2019; of the correction for many tests: Benjamini and Hochberg 1995. Shapes: N rows, S
conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_ind

from mlplab.data.preparation.raw_rows import RawRows
from mlplab.data.table import Floats
from mlplab.data.tabular.cells import category_text

MIN_ROWS = 80
"""Rows from which slices are searched at all."""

MIN_SLICE = 15
"""Rows that a slice must have in each half; at least 2 % of them."""

MAX_PROPOSED = 10
MAX_OVERLAP = 0.5
MAX_CATEGORIES = 20
MAX_CONDITIONS = 2000
FALSE_DISCOVERY_RATE = 0.05
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Condition:
    """A condition on one column, such as age < 30, and the rows that meet it, bool [N]."""

    column: str
    text: str
    rows_N: np.ndarray


@dataclass(frozen=True)
class Slice:
    """Rows in which the network is worse than elsewhere, measured on rows that did not propose it.

    Attributes:
        conditions: one or two conditions, such as ("town=Seoul", "age<30").
        error: the mean error of its rows.
        num_rows: the number of these rows.
        p: the corrected p-value of a one-sided test of Welch against all other rows.
    """

    conditions: tuple[str, ...]
    error: float
    num_rows: int
    p: float

    @property
    def name(self) -> str:
        return " and ".join(self.conditions)


def worst_slices(rows: RawRows, error_N: Floats, rng: np.random.Generator) -> list[Slice]:
    """Return the slices whose error is significantly higher than that of the other rows, the worst
    first; none if there are too few rows.
    """
    if len(rows) < MIN_ROWS or not np.ptp(error_N):
        return []
    conditions = _conditions(rows)
    if not conditions:
        return []
    proposing_N = np.zeros(len(rows), bool)
    proposing_N[rng.permutation(len(rows))[: len(rows) // 2]] = True
    smallest = max(MIN_SLICE, round(0.02 * len(rows) / 2))
    candidates = _proposed(conditions, error_N, proposing_N, smallest)
    measured = []
    for chosen in candidates:
        inside_N = np.logical_and.reduce([condition.rows_N for condition in chosen])
        inside, outside = (error_N[~proposing_N & side] for side in (inside_N, ~inside_N))
        if len(inside) < MIN_SLICE or len(outside) < 2:
            continue
        with np.errstate(all="ignore"):
            p = float(ttest_ind(inside, outside, equal_var=False, alternative="greater").pvalue)
        if np.isfinite(p):
            texts = tuple(condition.text for condition in chosen)
            measured.append(Slice(texts, float(inside.mean()), len(inside), p))
    return sorted(_significant(measured), key=lambda one: -one.error)


def _significant(slices: Sequence[Slice]) -> list[Slice]:
    """Keep the slices that Benjamini and Hochberg's step-up procedure keeps, with adjusted p."""
    kept: list[Slice] = []
    lowest, number = 1.0, len(slices)
    for rank, one in sorted(enumerate(sorted(slices, key=lambda one: one.p), 1), reverse=True):
        lowest = min(lowest, one.p * number / rank)
        if lowest <= FALSE_DISCOVERY_RATE:
            kept.append(Slice(one.conditions, one.error, one.num_rows, lowest))
    return kept


def _proposed(
    conditions: Sequence[Condition], error_N: Floats, proposing_N: np.ndarray, smallest: int
) -> list[tuple[Condition, ...]]:
    """Return the slices of the proposing half with the largest excess of error over its standard
    error, without near duplicates. A pair must be worse than both of its conditions.
    """
    meets_SN = np.array([condition.rows_N[proposing_N] for condition in conditions], np.float32)
    error = np.asarray(error_N[proposing_N], np.float32)
    count_SS = meets_SN @ meets_SN.T
    sum_SS = (meets_SN * error) @ meets_SN.T
    square_SS = (meets_SN * np.square(error)) @ meets_SN.T
    with np.errstate(all="ignore"):
        mean_SS = sum_SS / count_SS
        variance_SS = np.maximum(square_SS / count_SS - np.square(mean_SS), 1e-12)
        t_SS = (mean_SS - error.mean()) / np.sqrt(variance_SS / count_SS + error.var() / len(error))
    enough_SS = (count_SS >= smallest) & (count_SS <= len(error) - smallest)
    t_SS[~enough_SS] = -np.inf
    single_S = np.diag(mean_SS)
    worse_SS = mean_SS > np.maximum(single_S[:, None], single_S[None, :])
    columns = np.array([condition.column for condition in conditions])
    other_SS = columns[:, None] != columns[None, :]
    t_SS[~((worse_SS & other_SS) | np.eye(len(conditions), dtype=bool))] = -np.inf
    t_SS[np.tril_indices(len(conditions), -1)] = -np.inf
    chosen: list[tuple[Condition, ...]] = []
    taken: list[np.ndarray] = []
    for index in np.argsort(-t_SS, axis=None)[: 50 * MAX_PROPOSED]:
        i, j = np.unravel_index(index, t_SS.shape)
        if t_SS[i, j] <= 1 or len(chosen) == MAX_PROPOSED:
            break
        rows = (meets_SN[i] * meets_SN[j]) > 0
        if all(_overlap(rows, other) <= MAX_OVERLAP for other in taken):
            taken.append(rows)
            pair = (conditions[i],) if i == j else (conditions[i], conditions[j])
            chosen.append(pair)
    return chosen


def _overlap(first_N: np.ndarray, second_N: np.ndarray) -> float:
    return float((first_N & second_N).sum() / max(1, (first_N | second_N).sum()))


def _conditions(rows: RawRows) -> list[Condition]:
    """Return the conditions on all columns, those on few rows left out."""
    conditions = [
        condition
        for name, cells in rows.columns.items()
        for condition in _column_conditions(name, cells)
        if MIN_SLICE <= condition.rows_N.sum() <= len(rows) - MIN_SLICE
    ]
    return conditions[:MAX_CONDITIONS]


def _column_conditions(name: str, cells: object) -> list[Condition]:
    if isinstance(cells, np.ndarray):
        return _number_conditions(name, np.asarray(cells, np.float64))
    import pandas as pd

    series = pd.Series(cells)
    missing_N = series.isna().to_numpy()
    empty = [Condition(name, f"{name} is empty", missing_N)] if missing_N.any() else []
    if pd.api.types.is_bool_dtype(series) or not pd.api.types.is_numeric_dtype(series):
        texts = series.map(category_text, na_action="ignore")
        if texts.nunique() > MAX_CATEGORIES * 5 and pd.api.types.is_datetime64_any_dtype(series):
            return empty
        frequent = texts.value_counts().index[:MAX_CATEGORIES]
        return empty + [
            Condition(name, f"{name}={text}", (texts == text).to_numpy(bool, na_value=False))
            for text in frequent
        ]
    return empty + _number_conditions(name, series.to_numpy(np.float64, na_value=np.nan))


def _number_conditions(name: str, values_N: np.ndarray) -> list[Condition]:
    finite_N = values_N[np.isfinite(values_N)]
    distinct = np.unique(finite_N)
    if len(distinct) <= 5:
        return [Condition(name, f"{name}={value:g}", values_N == value) for value in distinct]
    edges = np.unique(np.quantile(finite_N, LEVELS, method="nearest"))
    conditions = []
    for edge in edges.tolist():
        conditions.append(Condition(name, f"{name}<{edge:.4g}", values_N < edge))
        conditions.append(Condition(name, f"{name}>={edge:.4g}", values_N >= edge))
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        inside_N = (values_N >= low) & (values_N < high)
        conditions.append(Condition(name, f"{low:.4g}<={name}<{high:.4g}", inside_N))
    return conditions
