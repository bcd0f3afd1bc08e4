"""What a score tells when it ranks examples: the points of the ROC curve and of precision against
recall.

Shapes: N examples, D distinct scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlplab.pictures.colors import Floats


@dataclass(frozen=True)
class Ranking:
    """Counts when all examples from the highest score down to each distinct score are called
    positive: each [D + 1], the first with none.
    """

    true_positives: Floats
    false_positives: Floats

    @property
    def true_positive_rate(self) -> Floats:
        return np.asarray(self.true_positives / self.true_positives[-1])

    @property
    def false_positive_rate(self) -> Floats:
        return np.asarray(self.false_positives / self.false_positives[-1])

    @property
    def precision(self) -> Floats:
        """1 where nothing is called positive."""
        predicted_positive = self.true_positives + self.false_positives
        return np.where(
            predicted_positive > 0, self.true_positives / np.maximum(predicted_positive, 1), 1.0
        )

    @property
    def area(self) -> float:
        """Under the ROC curve."""
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))

    @property
    def mean_precision(self) -> float:
        """Average precision: sum of (recall step) x precision."""
        return float((np.diff(self.true_positive_rate) * self.precision[1:]).sum())


def rank_scores(positive_N: NDArray[np.bool_], score_N: Floats) -> Ranking:
    """Both kinds must be there."""
    order = np.argsort(-score_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score_N[order])), len(order) - 1)
    true = np.cumsum(positive_N[order])[ends].astype(np.float64)
    return Ranking(np.append(0.0, true), np.append(0.0, ends + 1 - true))
