"""Mean, spread and confidence interval of a metric over seeds or folds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mlplab.metrics import bounds
from mlplab.terminal.output import rounded


@dataclass(frozen=True)
class Statistics:
    """Statistics of n numbers.

    Values that need more numbers are None: all for n = 0; `std`, `half_width` and the interval for
    n = 1.

    `half_width` is half the width of the 95 % confidence interval of the mean,
    mean +- t * std / sqrt(n), with t the 97.5 % quantile of Student's distribution with n - 1
    degrees of freedom. It assumes roughly normal numbers. `std` divides by n - 1. The interval from
    `interval_low` to `interval_high` ends at the bounds of the metric.

    The folds of a cross-validation share train rows, so their numbers are not independent. For
    them the half width is t * std * sqrt(1 / n + overlap), with overlap = test rows / train rows
    of a fold. Source: Nadeau, Bengio 2003; Bouckaert, Frank 2004.
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

    @classmethod
    def of(cls, values: Sequence[float], metric: str = "loss", overlap: float = 0.0) -> Statistics:
        """Return the statistics of the finite values of a metric; others are not counted in n."""
        finite = [value for value in values if math.isfinite(value)]
        n = len(finite)
        if n == 0:
            return cls(0)
        mean = statistics.fmean(finite)
        std = statistics.stdev(finite) if n > 1 else None
        half = None if std is None else student(n - 1) * std * math.sqrt(1 / n + overlap)
        low, high = bounds(metric)
        return cls(
            n,
            mean,
            std,
            half,
            statistics.median(finite),
            min(finite),
            max(finite),
            None if half is None else max(low, mean - half),
            None if half is None else min(high, mean + half),
        )

    @property
    def interval(self) -> str:
        """The mean and its confidence interval, such as "0.956 [0.941, 0.971]", each to the second
        digit of the half width; "-" for n = 0. Equal numbers have no spread from which an interval
        could follow: "1.000 (all equal)".
        """
        if self.mean is None:
            return "-"
        mean = rounded(self.mean, self.half_width)
        if self.interval_low is None or self.interval_high is None:
            return mean
        if self.low == self.high:
            return f"{mean} (all equal)"
        low, high = (
            rounded(end, self.half_width) for end in (self.interval_low, self.interval_high)
        )
        return f"{mean} [{low}, {high}]"

    @property
    def spread(self) -> str:
        """The standard deviation with two significant digits; "-" for n < 2."""
        return "-" if self.std is None else rounded(self.std, self.std)


@cache
def student(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit  # what scipy.stats.t calls, at half the import time

    return float(stdtrit(degrees, 0.975))
