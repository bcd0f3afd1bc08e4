"""The threshold of the probability above which two classes are told apart, and its best value.

The positive class is the second one. Its probability is compared as in scikit-learn's
FixedThresholdClassifier: a row is positive from the threshold up.

Shapes: N rows, C classes, U distinct probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.errors import ConfigError
from mlplab.task import Task

TUNED_METRICS = ("f1", "balanced_accuracy")
"""The metrics that a threshold can maximize: the F1 score of the positive class, and the mean
accuracy of both.
"""
DEFAULT = 0.5


@dataclass(frozen=True)
class TunedThreshold:
    """The threshold that maximizes a metric on some rows.

    Attributes:
        threshold: of the probability of the positive class.
        metric: its name, of TUNED_METRICS.
        score: the metric at the threshold.
        default_score: the metric at 0.5.
        positive: the name of the positive class.
        num_rows: how many rows they are.
    """

    threshold: float
    metric: str
    score: float
    default_score: float
    positive: str
    num_rows: int

    def __str__(self) -> str:
        return (
            f"'{self.positive}' from a probability of {self.threshold:.4g}, which maximizes"
            f" {self.metric} on the {self.num_rows} rows of the val split"
            f" ({self.score:.3f}; {self.default_score:.3f} at {DEFAULT})"
        )


def check_threshold(threshold: float | str, task: Task, class_names: Sequence[str]) -> None:
    """Raise ConfigError unless there are two classes, and this is a number from 0 to 1 or one of
    TUNED_METRICS.
    """
    if not task.classifies or len(class_names) != 2:
        what = f"{len(class_names)} classes" if task.classifies else "values"
        raise ConfigError(f"A threshold tells two classes apart, and this run predicts {what}.")
    is_valid = threshold in TUNED_METRICS if isinstance(threshold, str) else 0 <= threshold <= 1
    if not is_valid:
        raise ConfigError(
            f"A threshold is a number from 0 to 1, or {' or '.join(TUNED_METRICS)}, for which the"
            f" best one is chosen on the val split; not {threshold}."
        )


def tune_threshold(
    scores_NC: np.ndarray, y_N: np.ndarray, metric: str, class_names: Sequence[str]
) -> TunedThreshold:
    """Return the threshold that maximizes a metric, given probabilities of two classes [N, 2] and
    the classes, int64 [N]. Of several, the one closest to 0.5.

    Candidates are 0.5 and the middles between neighboring probabilities.
    """
    probability_N = scores_NC[:, 1]
    distinct_U = np.unique(probability_N)
    middles = (distinct_U[1:] + distinct_U[:-1]) / 2
    candidates = np.concatenate([[DEFAULT], middles])
    scores = _scores(probability_N, y_N == 1, metric, candidates)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    chosen = best[np.abs(candidates[best] - DEFAULT).argmin()]
    return TunedThreshold(
        float(candidates[chosen]),
        metric,
        float(scores[chosen]),
        float(scores[0]),
        class_names[1],
        len(y_N),
    )


def _scores(
    probability_N: np.ndarray, is_positive_N: np.ndarray, metric: str, thresholds: np.ndarray
) -> np.ndarray:
    """The metric at each threshold; 0 where no row is positive, or predicted so."""
    positives = np.sort(probability_N[is_positive_N])
    negatives = np.sort(probability_N[~is_positive_N])
    hits = len(positives) - np.searchsorted(positives, thresholds)
    rejected = np.searchsorted(negatives, thresholds)
    if metric == "f1":
        predicted = hits + len(negatives) - rejected
        return np.asarray(2 * hits / np.maximum(predicted + len(positives), 1))
    recall = hits / max(len(positives), 1)
    return np.asarray((recall + rejected / max(len(negatives), 1)) / 2)


def decide(scores: np.ndarray, threshold: float | None) -> np.ndarray:
    """Return the predicted class, int64 [..., N], for probabilities [..., N, C]: the most probable
    one, or with a threshold the second one of two if its probability reaches it.
    """
    if threshold is None:
        return np.asarray(scores.argmax(-1))
    return np.asarray(scores[..., 1] >= threshold, np.int64)
