"""Mean, spread and confidence interval of a metric over seeds or folds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Statistics:
    """Statistics of n numbers.

    Values that need more numbers are None: all for n = 0; `std` and `half_width` for n = 1.

    `half_width` is half the width of the 95 % confidence interval of the mean,
    mean +- t * std / sqrt(n), with t the 97.5 % quantile of Student's distribution with n - 1
    degrees of freedom. It assumes roughly normal numbers. `std` divides by n - 1.

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

    @classmethod
    def of(cls, values: Sequence[float], overlap: float = 0.0) -> Statistics:
        """Return the statistics of the finite values; others are not counted in n."""
        finite = [value for value in values if math.isfinite(value)]
        n = len(finite)
        if n == 0:
            return cls(0)
        std = statistics.stdev(finite) if n > 1 else None
        return cls(
            n,
            statistics.fmean(finite),
            std,
            None if std is None else student(n - 1) * std * math.sqrt(1 / n + overlap),
            statistics.median(finite),
            min(finite),
            max(finite),
        )

    @property
    def interval(self) -> str:
        """The mean and its confidence interval, such as "0.95 ± 0.02"; "-" for n = 0."""
        half = "" if self.half_width is None else f" ± {self.half_width:.2g}"
        return "-" if self.mean is None else f"{self.mean:.4g}{half}"


@cache
def student(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit  # what scipy.stats.t calls, at half the import time

    return float(stdtrit(degrees, 0.975))
