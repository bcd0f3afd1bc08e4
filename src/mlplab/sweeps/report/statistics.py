"""Mean, spread and confidence interval of a metric over seeds or folds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.metrics import bounds
from mlplab.sweeps.report.intervals import mean_interval, student
from mlplab.terminal.output import rounded


@dataclass(frozen=True)
class Statistics:
    """Statistics of n numbers.

    Values that need more numbers are None: all for n = 0; `std`, `half_width` and the interval for
    n = 1.

    The 95 % confidence interval of the mean, from `interval_low` to `interval_high`, is that of
    `intervals.mean_interval`: it stays within the bounds of the metric, and has a width even if all
    values are equal, but for metrics without two bounds. `half_width` is half the width of
    Student's interval, mean +- t * std / sqrt(n), with t the 97.5 % quantile of Student's
    distribution with n - 1 degrees of freedom. `std` divides by n - 1. `iqm` is the interquartile
    mean, that of the values without the int(n / 4) lowest and highest (Agarwal et al., 2021).

    The folds of a cross-validation share train rows, so their numbers are not independent. For
    them, 1 / n becomes 1 / n + overlap, with overlap = test rows / train rows of a fold. Source:
    Nadeau, Bengio 2003; Bouckaert, Frank 2004.
    """

    n: int
    mean: float | None = None
    std: float | None = None
    half_width: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    iqm: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], metric: str = "loss", overlap: float = 0.0) -> Statistics:
        """Return the statistics of the finite values of a metric; others are not counted in n."""
        finite = sorted(value for value in values if math.isfinite(value))
        n = len(finite)
        if n == 0:
            return cls(0)
        mean = statistics.fmean(finite)
        std = statistics.stdev(finite) if n > 1 else None
        low, high = _interval(finite, mean, std, metric, overlap)
        return cls(
            n,
            mean,
            std,
            None if std is None else student(n - 1) * std * math.sqrt(1 / n + overlap),
            statistics.median(finite),
            finite[0],
            finite[-1],
            low,
            high,
            statistics.fmean(finite[n // 4 : n - n // 4]),
        )

    @property
    def interval(self) -> str:
        """The mean and its confidence interval, such as "0.956 [0.941, 0.971]", each to the second
        digit of half the interval's width; "-" for n = 0. Equal numbers of a metric without two
        bounds have no spread from which an interval could follow: "0.3000 (all equal)".
        """
        if self.mean is None:
            return "-"
        if self.interval_low is None or self.interval_high is None:
            return rounded(self.mean, None) + (" (all equal)" if self.n > 1 else "")
        half = (self.interval_high - self.interval_low) / 2
        return interval_text(self.mean, self.interval_low, self.interval_high, half)

    @property
    def spread(self) -> str:
        """The standard deviation with two significant digits; "-" for n < 2."""
        return "-" if self.std is None else rounded(self.std, self.std)


def interval_text(value: float, low: float, high: float, uncertainty: float) -> str:
    """Return "0.956 [0.941, 0.971]", each to the second digit of the uncertainty."""
    value_text, low_text, high_text = (rounded(x, uncertainty) for x in (value, low, high))
    return f"{value_text} [{low_text}, {high_text}]"


def _interval(
    ordered: Sequence[float], mean: float, std: float | None, metric: str, overlap: float
) -> tuple[float | None, float | None]:
    """The ends of the interval of sorted values; None without spread from which they follow."""
    limits = bounds(metric)
    all_equal = ordered[0] == ordered[-1]
    if std is None or (all_equal and not all(map(math.isfinite, limits))):
        return None, None
    n = len(ordered)
    at_bound = 1.0 if all_equal else sum(value in limits for value in ordered) / n
    low, high = mean_interval(
        np.asarray(mean),
        np.asarray(std**2),
        np.asarray(student(n - 1)),
        np.asarray(1 / n + overlap),
        np.asarray(at_bound),
        limits,
    )
    return float(low), float(high)
