"""Confidence intervals of means, and the correction of several tests.

Shapes: M tests.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Limits = tuple[float, float]

ALPHA = 0.05
"""The level of every test, and one minus that of every interval."""

BOUND_DISPERSION = 0.04
"""The dispersion that a value at a bound of its metric adds; see `mean_interval`. Chosen as the
smallest of 0.02, 0.03, 0.04 and 0.05 with which every simulation of docs/statistics.md covers 93 %.
"""

MAX_NEWTON_STEPS = 100


@cache
def student(degrees: int, level: float = 1 - ALPHA) -> float:
    """Return the two-sided quantile of Student's t distribution, at 95 % the 97.5 % quantile."""
    from scipy.special import stdtrit  # what scipy.stats.t calls, at half the import time

    return float(stdtrit(degrees, 0.5 + level / 2))


def mean_interval(
    mean: Floats,
    variance: Floats,
    quantile: Floats,
    factor: Floats,
    at_bound: Floats,
    limits: Limits,
) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the 95 % intervals of means; the arrays broadcast.

    The interval holds every mean m that a score test does not reject,

        (mean - m)^2 <= quantile^2 * factor * k * V(m),      k = variance / V(mean),

    with `quantile` that of Student's distribution and `factor` = 1 / n, larger for folds. V says
    how a variance depends on its mean: 1 without bounds, which gives mean +- quantile * std /
    sqrt(n); (m - low)^1.5 with a lower bound only (high - m with an upper one only), between the
    variances of counts and of lengths of time; and (m - low) * (high - m) with both, which is
    Wilson's interval with an estimated dispersion. An interval therefore never leaves the bounds,
    and is longer on the side away from a near bound.

    `at_bound` is the fraction of the values that equal a bound, or 1 if all values are equal. With
    two bounds it adds `BOUND_DISPERSION` * at_bound to k: values at a bound show no spread,
    although the next ones may have one.

    Source: Wilson, "Probable inference", 1927; Dean and Pagano, "Evaluating confidence interval
    methods for binomial proportions in clustered surveys", 2015 (dispersion and Student's t).
    """
    low, high = limits
    bounded_below, bounded_above = math.isfinite(low), math.isfinite(high)
    if bounded_below and bounded_above:
        width = high - low
        p = np.clip((mean - low) / width, 0.0, 1.0)
        product = p * (1 - p)
        positive = product > 0
        dispersion = np.where(positive, variance / width**2 / np.where(positive, product, 1.0), 0.0)
        c = quantile**2 * factor * (dispersion + BOUND_DISPERSION * at_bound)
        root = np.sqrt(c * product + c**2 / 4)
        # exactly at a bound, rounding must not move the end off it
        lower = np.where(p > 0, np.maximum(p + c / 2 - root, 0.0) / (1 + c), 0.0)
        upper = np.where(p < 1, np.minimum((p + c / 2 + root) / (1 + c), 1.0), 1.0)
        return low + width * lower, low + width * upper
    if bounded_below or bounded_above:
        distance = mean - low if bounded_below else high - mean
        positive = distance > 0
        relative = np.sqrt(variance * factor) / np.where(positive, distance, 1.0)
        near, far = _one_bound(np.where(positive, quantile * relative, 0.0))
        near, far = distance * near, distance * far
        return (low + near, low + far) if bounded_below else (high - far, high - near)
    half = quantile * np.sqrt(variance * factor)
    return mean - half, mean + half


def _one_bound(half: Floats) -> tuple[Floats, Floats]:
    """Return the solutions x <= 1 <= y of (1 - x)^2 = half^2 * x^1.5.

    With z = x^(1/4) they are those of z^4 +- half * z^3 = 1, to which Newton's method converges
    from above without passing them.
    """
    ends: list[Floats] = []
    for sign, start in ((1.0, np.ones_like(half)), (-1.0, 1.0 + half)):
        z = start
        for _ in range(MAX_NEWTON_STEPS):
            step = (z**4 + sign * half * z**3 - 1.0) / (4.0 * z**3 + sign * 3.0 * half * z**2)
            z = z - step
            if (np.abs(step) <= 1e-12 * z).all():
                break
        ends.append(z**4)
    return ends[0], ends[1]


def holm(p_M: Floats, num_tests: int | None = None) -> tuple[Floats, Floats]:
    """Return the adjusted p-values of Holm, and the level at which each test was decided.

    A test is rejected at the family-wise level `ALPHA` if its adjusted p-value is at most that. The
    interval at one minus the level of a test excludes zero if and only if the test is rejected.

    `num_tests` is the number of tests of the family if only some of their p-values are passed; the
    correction is then at least as strict as with all of them. A NaN counts as 1.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    p_M = np.nan_to_num(p_M, nan=1.0)
    total = len(p_M) if num_tests is None else num_tests
    order = np.argsort(p_M, kind="stable")
    factors = total - np.arange(len(p_M), dtype=np.float64)
    adjusted = np.minimum(np.maximum.accumulate(p_M[order] * factors), 1.0)
    num_rejected = int((adjusted <= ALPHA).sum())
    levels = ALPHA / np.concatenate(
        [factors[:num_rejected], np.full(len(p_M) - num_rejected, max(total - num_rejected, 1.0))]
    )
    adjusted_M, levels_M = np.empty_like(p_M), np.empty_like(p_M)
    adjusted_M[order], levels_M[order] = adjusted, levels
    return adjusted_M, levels_M
