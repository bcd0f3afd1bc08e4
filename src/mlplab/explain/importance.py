"""Permutation importance of columns, with intervals.

Source: Breiman, Random Forests, 2001; Fisher, Rudin and Dominici, All Models are Wrong, but Many
are Useful, 2019 (model reliance). Shapes: N rows, K repeats, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from mlplab.data.table import Floats, Ints
from mlplab.data.tabular.columns import CATEGORY
from mlplab.explain.columns_scorer import ColumnsScorer
from mlplab.explain.row_losses import from_mean, row_losses

RESAMPLES = 400
CONFIDENCE_LEVEL = 0.95
CORRELATED = 0.9
"""Rank correlation from which two columns can stand in for each other."""


@dataclass(frozen=True)
class Importance:
    """How much worse the metric becomes if the cells of columns are permuted among the rows.

    Attributes:
        columns: the columns that are permuted together.
        value: the mean increase of the metric, or decrease of an accuracy.
        low, high: the ends of its 95 % interval.
    """

    columns: tuple[str, ...]
    value: float
    low: float
    high: float

    @property
    def name(self) -> str:
        return " + ".join(self.columns)


def importances(
    scorer: ColumnsScorer,
    groups: Sequence[tuple[str, ...]],
    metric: str,
    repeats: int,
    rng: np.random.Generator,
    on_permuted: Callable[[], None] = lambda: None,
) -> list[Importance]:
    """Return the importance of groups of columns, the largest first.

    The interval resamples the rows and the repeats (a percentile bootstrap), since both are drawn.
    `on_permuted` is called after each repeat of each group.
    """
    task, y = scorer.preprocessing.task, scorer.rows.y
    base_N = row_losses(metric, task, scorer.scores, y)
    counts_BN = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), RESAMPLES).astype(np.float32)
    weights_BN = counts_BN / np.float32(len(y))
    results = []
    for columns in groups:
        loss_NK = np.empty((len(y), repeats))
        for k in range(repeats):
            order_N = rng.permutation(len(y))
            loss_NK[:, k] = row_losses(metric, task, scorer.permuted(columns, order_N), y)
            on_permuted()
        value = float(
            (from_mean(metric, loss_NK.mean(0)) - from_mean(metric, base_N.mean())).mean()
        )
        drawn_BK = (
            from_mean(metric, weights_BN @ loss_NK)
            - from_mean(metric, weights_BN @ base_N)[:, None]
        )
        chosen_BK = rng.integers(0, repeats, (RESAMPLES, repeats))
        means_B = np.take_along_axis(drawn_BK, chosen_BK, 1).mean(1)
        edges = [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2]
        low, high = np.quantile(means_B, edges).tolist()
        results.append(Importance(columns, value, min(low, value), max(high, value)))
    return sorted(results, key=lambda importance: -importance.value)


def correlated_groups(scorer: ColumnsScorer) -> list[tuple[str, ...]]:
    """Return the groups of columns that can stand in for each other, so that permuting one of them
    shows too little: those whose features have a rank correlation of at least 0.9, or, for
    categories, such as a town and its region, an association (Cramer's V) of at least 0.9.
    """
    ranks = {name: _standard_ranks(scorer.encoded(name)) for name in scorer.names}
    categories = {
        name: np.unique(scorer.encoded(name), axis=0, return_inverse=True)[1].ravel()
        for name in scorer.names
        if scorer.kinds[name] == CATEGORY
    }
    group_of = {name: {name} for name in scorer.names}
    for i, first in enumerate(scorer.names):
        for second in scorer.names[i + 1 :]:
            correlation = np.abs(ranks[first].T @ ranks[second]).max(initial=0.0)
            if correlation < CORRELATED and first in categories and second in categories:
                correlation = cramers_v(categories[first], categories[second])
            if correlation >= CORRELATED and group_of[first] is not group_of[second]:
                group_of[first] |= group_of[second]
                for name in group_of[second]:
                    group_of[name] = group_of[first]
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return [tuple(name for name in scorer.names if name in group) for group in groups.values()]


def cramers_v(first_N: Ints, second_N: Ints) -> float:
    """Return the association of two columns of categories, given as codes from 0: 0 if they are
    independent, 1 if the one with fewer categories follows from the other; corrected for chance.

    Source: Bergsma, "A bias-correction for Cramer's V and Tschuprow's T", 2013.
    """
    table = np.zeros((first_N.max() + 1, second_N.max() + 1))
    np.add.at(table, (first_N, second_N), 1.0)
    rows, columns = table.shape
    num, least = len(first_N), min(table.shape)
    if least < 2 or num < 2:
        return 0.0
    expected = np.outer(table.sum(1), table.sum(0)) / num
    phi2 = float((np.square(table - expected) / expected).sum()) / num
    by_chance = (rows - 1) * (columns - 1) / (num - 1)
    limit = min(size - (size - 1) ** 2 / (num - 1) for size in (rows, columns)) - 1
    return float(np.sqrt(max(0.0, phi2 - by_chance) / limit)) if limit > 0 else 0.0


def _standard_ranks(values_NF: Floats) -> Floats:
    """Return ranks with mean 0 and norm 1, so that products are correlations; constants give 0."""
    ranks_NF = rankdata(values_NF, axis=0)
    ranks_NF -= ranks_NF.mean(0)
    norm_F = np.sqrt(np.square(ranks_NF).sum(0))
    return np.asarray(ranks_NF / np.where(norm_F > 0, norm_F, 1.0))
