"""Differences between configurations, paired over the seeds that they share, with intervals and
p-values corrected for the number of comparisons.

Shapes: S replicates (combinations of seeds), G groups (configurations), P pairs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlplab.metrics import bounds
from mlplab.sweeps.report.intervals import ALPHA, holm
from mlplab.sweeps.report.results import Group, Replicate
from mlplab.sweeps.report.statistics import interval_text

Floats = NDArray[np.float64]

MAX_ALL_PAIRS = 300
"""Configurations up to which all pairs are tested. Of more, each is tested against the best one
only, and corrected for all pairs.
"""

MAX_CELLS = 20_000_000
"""Replicates times configurations up to which shared seeds are looked for."""


@dataclass(frozen=True)
class Difference:
    """The mean of one configuration minus that of another, with its corrected interval.

    `p` is the p-value of the pair alone and `adjusted` that of the family. `low` and `high` are the
    ends of the interval at the level at which Holm's method decided the pair, so that the interval
    excludes zero if and only if `adjusted` is at most 0.05; `single_low` and `single_high` those
    of the pair's 95 % interval alone. `n` is the number of shared seeds; `paired` is False if too
    few are shared, and n then the smaller number of seeds.
    """

    mean: float
    low: float
    high: float
    single_low: float
    single_high: float
    p: float
    adjusted: float
    n: int
    paired: bool

    @property
    def is_distinguishable(self) -> bool:
        return self.adjusted <= ALPHA

    @property
    def text(self) -> str:
        """Such as "-0.021 [-0.037, -0.005]"."""
        half = (self.high - self.low) / 2
        text = interval_text(self.mean, self.low, self.high, half)
        return f"+{text}" if self.mean > 0 else text


@dataclass(frozen=True)
class _Tests:
    """Student's tests of P pairs: difference, standard error, degrees of freedom, seeds, paired."""

    mean_P: Floats
    error_P: Floats
    degrees_P: Floats
    n_P: Floats
    paired_P: NDArray[np.bool_]

    @classmethod
    def joined(cls, all_tests: Sequence[_Tests]) -> _Tests:
        names = [column.name for column in fields(cls)]
        return cls(
            *(np.concatenate([getattr(tests, name) for tests in all_tests]) for name in names)
        )

    @cached_property
    def p_P(self) -> Floats:
        """Two-sided p-values; NaN where there is no spread or there are too few seeds."""
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            t_P = np.where(self.error_P > 0, np.abs(self.mean_P) / self.error_P, np.nan)
            p_P: Floats = 2 * stdtr(self.degrees_P, -t_P)
        return p_P

    def differences(self, num_tests: int, limit: float) -> list[Difference | None]:
        """Return the corrected differences; None where nothing can be said. Their intervals end at
        +-`limit`.
        """
        from scipy.special import stdtrit

        adjusted_P, levels_P = holm(self.p_P, num_tests)
        ends = []
        for level_P in (levels_P, np.full_like(levels_P, ALPHA)):
            half_P = stdtrit(self.degrees_P, 1 - level_P / 2) * self.error_P
            ends += [
                np.clip(self.mean_P - half_P, -limit, limit),
                np.clip(self.mean_P + half_P, -limit, limit),
            ]
        columns = (self.mean_P, *ends, self.p_P, adjusted_P)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [
            Difference(mean, low, high, single_low, single_high, p, adjusted, int(n), bool(paired))
            if math.isfinite(p)
            else None
            for (mean, low, high, single_low, single_high, p, adjusted), n, paired in zip(
                rows, self.n_P, self.paired_P, strict=True
            )
        ]


class Comparisons:
    """The differences of a metric between groups, which are ordered best first.

    A pair is compared by Student's t test on the differences of the seeds that both have, if those
    are at least two and at least half of the seeds of the smaller group, and else by Welch's test.
    All pairs are one family, corrected by Holm's method: the best group was selected from the same
    numbers, and a correction for only the comparisons with it would be too lenient.

    For folds of a cross-validation, 1 / n becomes 1 / n + test rows / train rows in the variance of
    a difference, as in `Statistics`. Differences that are all equal have no spread; for a metric
    with two bounds, whose values are multiples of 1 / rows, their variance is at least
    |mean| * (the smallest distance of two values), which is what McNemar's test assumes.

    Source: Welch 1947; Holm 1979; Nadeau, Bengio 2003.
    """

    def __init__(self, groups: Sequence[Group], metric: str) -> None:
        self.groups, self.metric = groups, metric
        scores = [group.by_replicate(metric) for group in groups]
        self._scores_SG = _table(scores)
        values = [np.array(list(by_replicate.values())) for by_replicate in scores]
        self._n_G = np.array([len(x) for x in values], dtype=np.float64)
        self._mean_G = np.array([x.mean() if len(x) else np.nan for x in values])
        self._var_G = np.array([x.var(ddof=1) if len(x) > 1 else np.nan for x in values])
        low, high = bounds(metric)
        self._limit = high - low
        self._resolution = _resolution(values) if math.isfinite(self._limit) else 0.0
        self._overlap = groups[0].overlap(metric) if groups else 0.0

    @cached_property
    def best(self) -> int:
        """The index of the best group with several seeds, with which the others are compared."""
        return next((i for i, n in enumerate(self._n_G) if n >= 2), 0)

    @cached_property
    def to_best(self) -> list[Difference | None]:
        """Each group minus the best one; None for the best, and where nothing can be said."""
        before: list[Difference | None] = [None] * (self.best + 1)
        later = range(self.best + 1, len(self.groups))
        if not later:
            return before[: len(self.groups)]
        if self._has_all_pairs:
            return [*before, *(self.all_pairs.get((self.best, j)) for j in later)]
        tests = self._tests(self.best, slice(self.best + 1, None))
        return [*before, *tests.differences(self._num_pairs, self._limit)]

    @cached_property
    def all_pairs(self) -> dict[tuple[int, int], Difference]:
        """Group j minus group i for i < j, by (i, j); empty for too many groups."""
        if not self._has_all_pairs or len(self.groups) < 2:
            return {}
        count = len(self.groups)
        tests = _Tests.joined([self._tests(i, slice(i + 1, None)) for i in range(count - 1)])
        pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
        differences = tests.differences(self._num_pairs, self._limit)
        return {
            pair: difference
            for pair, difference in zip(pairs, differences, strict=True)
            if difference is not None
        }

    @property
    def num_like_best(self) -> int:
        """The number of groups, the best included, that are not distinguishable from the best."""
        measured = sum(1 for n in self._n_G if n)
        return measured - sum(d.is_distinguishable for d in self.to_best if d is not None)

    @property
    def has_tests(self) -> bool:
        """Whether any group can be compared with the best one."""
        return any(difference is not None for difference in self.to_best)

    @property
    def method(self) -> str:
        """How the groups were compared with the best one, as text."""
        paired = {d.paired for d in self.to_best if d is not None}
        sizes = sorted({d.n for d in self.to_best if d is not None})
        numbers = (
            f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else ""
        )
        if paired == {True}:
            return f"paired over {numbers} shared seeds"
        if paired == {False}:
            return "not paired (Welch), since they share no seeds"
        return "paired over shared seeds, or not (Welch) where too few are shared"

    @property
    def _has_all_pairs(self) -> bool:
        return len(self.groups) <= MAX_ALL_PAIRS

    @property
    def _num_pairs(self) -> int:
        return len(self.groups) * (len(self.groups) - 1) // 2

    def _tests(self, first: int, others: slice) -> _Tests:
        """Tests of the groups `others` minus the group `first`."""
        n_P, n_first = self._n_G[others], self._n_G[first]
        mean_P, error_P, degrees_P = self._welch(first, others)
        num_P, paired_P = np.minimum(n_P, n_first), np.zeros(len(n_P), bool)
        if self._scores_SG is not None:
            difference_SP = self._scores_SG[:, others] - self._scores_SG[:, [first]]
            shared_P = np.isfinite(difference_SP).sum(0).astype(np.float64)
            paired_P = (shared_P >= 2) & (2 * shared_P >= num_P)
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
                mean_SP, var_P = np.nanmean(difference_SP, 0), np.nanvar(difference_SP, 0, ddof=1)
            var_P = self._with_floor(var_P, mean_SP)
            safe_P = np.where(paired_P, shared_P, 2.0)
            error_P = np.where(paired_P, np.sqrt(var_P * (1 / safe_P + self._overlap)), error_P)
            mean_P = np.where(paired_P, mean_SP, mean_P)
            degrees_P = np.where(paired_P, safe_P - 1, degrees_P)
            num_P = np.where(paired_P, shared_P, num_P)
        return _Tests(mean_P, error_P, degrees_P, num_P, paired_P)

    def _with_floor(self, var_P: Floats, mean_P: Floats) -> Floats:
        """The variances, at least what rounding and the resolution of the metric imply."""
        scale = np.nanmax(np.abs(self._mean_G), initial=0.0)
        rounding = (1e-12 * scale) ** 2  # of differences that are equal up to rounding
        return np.maximum(np.where(var_P > rounding, var_P, 0.0), np.abs(mean_P) * self._resolution)

    def _welch(self, first: int, others: slice) -> tuple[Floats, Floats, Floats]:
        """Difference, standard error and degrees of freedom by Welch and Satterthwaite."""
        mean_P = self._mean_G[others] - self._mean_G[first]
        with np.errstate(divide="ignore", invalid="ignore"):
            n_P, n = self._n_G[others], self._n_G[first]
            a_P = self._with_floor(self._var_G[others], mean_P / 2) * (1 / n_P + self._overlap)
            b_P = self._with_floor(self._var_G[[first]], mean_P / 2) * (1 / n + self._overlap)
            degrees_P = (a_P + b_P) ** 2 / (a_P**2 / (n_P - 1) + b_P**2 / (n - 1))
        return mean_P, np.sqrt(a_P + b_P), np.nan_to_num(degrees_P, nan=1.0, posinf=1.0)


def _table(scores: Sequence[dict[Replicate, float]]) -> Floats | None:
    """The scores [S, G], NaN where a group lacks a replicate; None if they would be too many."""
    replicates = {key: i for i, key in enumerate(dict.fromkeys(key for x in scores for key in x))}
    if len(replicates) * len(scores) > MAX_CELLS:
        return None
    table_SG = np.full((len(replicates), len(scores)), np.nan)
    for column, by_replicate in enumerate(scores):
        rows = [replicates[key] for key in by_replicate]
        table_SG[rows, column] = list(by_replicate.values())
    return table_SG


def _resolution(values: Sequence[Floats]) -> float:
    """The smallest distance between two values that is not rounding; 0 for fewer values."""
    steps = np.diff(np.unique(np.concatenate([*values, np.empty(0)])))
    return float(min(steps[steps > 1e-9], default=0.0))
