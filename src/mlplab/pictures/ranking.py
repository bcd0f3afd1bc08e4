"""The ROC curve and the precision-recall curve of a score.

Shapes: N examples, D distinct scores.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlplab.pictures.colors import Floats


@dataclass(frozen=True)
class Ranking:
    """Counts of true and false positives at each threshold, each [D + 1].

    At the first threshold no example is predicted positive; then all examples with at least the
    highest, second highest, ... distinct score.
    """

    true_positives: Floats
    false_positives: Floats

    @property
    def true_positive_rate(self) -> Floats:
        """Recall at each threshold, [D + 1]."""
        return np.asarray(self.true_positives / self.true_positives[-1])

    @property
    def false_positive_rate(self) -> Floats:
        """False positive rate at each threshold, [D + 1]."""
        return np.asarray(self.false_positives / self.false_positives[-1])

    @property
    def precision(self) -> Floats:
        """Precision at each threshold, [D + 1]; 1 if no example is predicted positive."""
        predicted_positive = self.true_positives + self.false_positives
        return np.where(
            predicted_positive > 0, self.true_positives / np.maximum(predicted_positive, 1), 1.0
        )

    @property
    def area(self) -> float:
        """Area under the ROC curve."""
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))

    @property
    def mean_precision(self) -> float:
        """Average precision: the sum of (increase of recall) * precision."""
        return float((np.diff(self.true_positive_rate) * self.precision[1:]).sum())


def rank_scores(positive_N: NDArray[np.bool_], score_N: Floats) -> Ranking:
    """Return the ranking of N examples; both positives and negatives must occur."""
    order = np.argsort(-score_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score_N[order])), len(order) - 1)
    true = np.cumsum(positive_N[order])[ends].astype(np.float64)
    return Ranking(np.append(0.0, true), np.append(0.0, ends + 1 - true))
