"""Whether the seeds of a configuration form two groups, such as solved and not solved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_VALUES = 8
"""Fewer values are never called two groups."""

MIN_GAP = 2.0
"""The gap between two groups, in standard deviations within them."""

CRITICAL = {
    **{8: 0.936, 9: 0.921, 10: 0.909, 12: 0.886, 15: 0.860, 20: 0.831, 25: 0.810, 30: 0.794},
    **{40: 0.772, 60: 0.747, 100: 0.721, 200: 0.696, 500: 0.673, 1000: 0.662},
}
"""99 % quantiles of the explained variance over normal samples, by the number of values; from
20,000 to 100,000 samples each. The level is strict because a sweep has many configurations.
"""


@dataclass(frozen=True)
class Split:
    """Two groups of values: sizes, means, and the fraction of the variance between the groups."""

    num_low: int
    num_high: int
    low_mean: float
    high_mean: float
    explained: float
    gap: float  # between the groups, in standard deviations within them


def split(values: Sequence[float]) -> Split:
    """Return the split of at least two values that explains most of their variance.

    Each group has at least two values and a tenth of them.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    explained = explained_variance(x[None])[0]
    size = smallest_group(len(x))
    num_low = size + int(np.argmax(explained))
    low, high = x[:num_low], x[num_low:]
    within = math.sqrt(
        (((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum()) / len(x)
    )
    distance = float(high[0] - low[-1])
    return Split(
        num_low,
        len(x) - num_low,
        float(low.mean()),
        float(high.mean()),
        float(explained.max()),
        distance / within if within else math.inf if distance else 0.0,
    )


def smallest_group(n: int) -> int:
    """Return the smallest size of a group of n values."""
    return max(2, math.ceil(n / 10))


def explained_variance(sorted_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of the variance of each row that lies between its first k values and the
    others, for each k from `smallest_group` on; 0 without variance.
    """
    n = sorted_RN.shape[1]
    size = smallest_group(n)
    centered_RN = sorted_RN - sorted_RN.mean(1, keepdims=True)
    total_R1 = (centered_RN**2).sum(1, keepdims=True)
    k = np.arange(size, n - size + 1)
    sums = centered_RN.cumsum(1)[:, k - 1]
    between = sums**2 * (1 / k + 1 / (n - k))  # the two sums are opposite
    return np.where(total_R1 > 0, between / np.where(total_R1 > 0, total_R1, 1.0), 0.0)


def critical(n: int) -> float:
    """Return the 99 % quantile of the largest explained variance over normal samples."""
    sizes = sorted(CRITICAL)
    return float(np.interp(math.log(n), np.log(sizes), [CRITICAL[size] for size in sizes]))


def two_groups(values: Sequence[float]) -> Split | None:
    """Return the two groups that values form; None if one normal distribution explains them.

    They are two groups if a split explains more of the variance than in 99 % of normal samples,
    and if the gap between them is at least `MIN_GAP` standard deviations within them.

    Source: Engelman and Hartigan, "Percentage points of a test for clusters", 1969; the gap
    excludes long tails and uniform samples, of which a split explains much too.
    """
    if len(values) < MIN_VALUES:
        return None
    best = split(values)
    return best if best.explained > critical(len(values)) and best.gap >= MIN_GAP else None
