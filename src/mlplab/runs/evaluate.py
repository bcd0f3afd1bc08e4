"""The quality of a run on rows that it did not learn from: metrics with intervals, and baselines.

Shapes: N rows, C classes, T targets, R resamples, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlplab import metrics
from mlplab.data.preparation.examples import Prepared
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.thresholds import decide
from mlplab.task import Task

MAX_RESAMPLES = 1000
MIN_RESAMPLES = 100
MAX_RESAMPLED_SCORES = 200_000_000
CONFIDENCE_LEVEL = 0.95
OF_DECISIONS = ("accuracy", "balanced_accuracy", "f1", "mcc")
"""The metrics of predicted classes; the others measure probabilities."""


def metric_labels(class_names: Sequence[str]) -> dict[str, str]:
    """Return how the metrics of single classes are shown: f1_class_0 -> f1 of <class>."""
    return {f"f1_class_{c}": f"f1 of {name}" for c, name in enumerate(class_names)}


@dataclass(frozen=True)
class Score:
    """A metric, and the interval that contains 95 of 100 resamples of the rows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rows:
    """The rows to evaluate: x is scaled features [N, F]; y is classes, int64 [N], or values in the
    units of the target, float64 [N, T].
    """

    x_NF: np.ndarray
    y: np.ndarray
    task: Task
    source: str = "the rows"  # named in messages
    tau: float | None = None  # of a network that predicts this quantile
    threshold: float | None = None  # of the probability of the second of two classes

    @classmethod
    def of_split(cls, prepared: Prepared, split: str, folder: Path) -> Rows:
        """Return the rows of a split of the data of the run in `folder`."""
        examples = getattr(prepared, split).real()
        y = Preprocessing.of(prepared).in_target_units(examples.y)
        return cls(examples.x, y, prepared.task, f"the {split} split of {folder}")


def compute_metrics(
    scores: np.ndarray,
    y: np.ndarray,
    task: Task,
    tau: float | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """Return all metrics of predictions, registered ones included: probabilities [N, C] or values
    [N, T].

    Classification includes the F1 score of each class. Predicted quantiles `tau` have a pinball
    loss and a coverage instead: their distance from the target is no error. With a `threshold`,
    the metrics of predicted classes are those of `decide`.
    """
    measured = _batched_metrics(scores[None], y[None], task, tau, threshold)
    return {name: float(value[0]) for name, value in measured.items()}


def quantile_metrics(scores: np.ndarray, y: np.ndarray, tau: float) -> dict[str, np.ndarray]:
    """Return metrics of predicted quantiles [R, N, T], each [R].

    pinball: mean of max(tau e, (tau - 1) e) of e = y - f, scikit-learn's mean_pinball_loss.
    coverage: the fraction of the targets that are not above the prediction; tau is ideal.
    """
    error = y - scores
    return {
        "pinball": np.maximum(tau * error, (tau - 1) * error).mean((1, 2)),
        "coverage": (error <= 0).mean((1, 2)),
    }


def _batched_metrics(
    scores_RNC: np.ndarray,
    y_RN: np.ndarray,
    task: Task,
    tau: float | None = None,
    threshold: float | None = None,
) -> dict[str, np.ndarray]:
    if tau is not None:
        return quantile_metrics(scores_RNC, y_RN, tau)
    measured = metrics.final_metrics(task.kind, torch.tensor(scores_RNC), torch.tensor(y_RN))
    if threshold is not None:
        decided_RNC = np.eye(task.num_classes)[decide(scores_RNC, threshold)]
        of_decisions = metrics.final_metrics(
            task.kind, torch.tensor(decided_RNC), torch.tensor(y_RN)
        )
        measured |= {name: of_decisions[name] for name in OF_DECISIONS}
    results = {name: value.numpy() for name, value in measured.items()}
    if task.classifies:
        predicted_RN = decide(scores_RNC, threshold)
        for c in range(task.num_classes):
            hits = ((predicted_RN == c) & (y_RN == c)).sum(1)
            total = (predicted_RN == c).sum(1) + (y_RN == c).sum(1)
            with np.errstate(invalid="ignore"):
                results[f"f1_class_{c}"] = np.where(
                    total > 0, 2 * hits / np.maximum(total, 1), np.nan
                )
    return results


def bootstrap_intervals(
    scores: np.ndarray,
    y: np.ndarray,
    task: Task,
    seed: int = 0,
    tau: float | None = None,
    threshold: float | None = None,
) -> dict[str, Score]:
    """Return each metric with its 95 % percentile bootstrap interval over the rows.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    point_values = compute_metrics(scores, y, task, tau, threshold)
    size = scores.size
    resamples = max(MIN_RESAMPLES, min(MAX_RESAMPLES, MAX_RESAMPLED_SCORES // max(size, 1)))
    rng, resampled = np.random.default_rng(seed), []
    chunk_size = max(1, (1 << 22) // max(size, 1))
    for start in range(0, resamples, chunk_size):
        index_RN = rng.integers(0, len(y), (min(chunk_size, resamples - start), len(y)))
        resampled.append(_batched_metrics(scores[index_RN], y[index_RN], task, tau, threshold))
    results = {}
    for name, value in point_values.items():
        values = np.concatenate([chunk[name] for chunk in resampled])
        values = values[np.isfinite(values)]
        low, high = (
            np.quantile(values, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
            if len(values)
            else (np.nan, np.nan)
        )
        results[name] = Score(value, float(low), float(high))
    return results


def baselines(prepared: Prepared, rows: Rows) -> dict[str, dict[str, float]]:
    """Return the metrics of simple models on the same rows, trained on the same train split: the
    majority class or the mean, and a linear model. Of a quantile: that of the train split.
    """
    if rows.tau is not None:
        targets_NT = Preprocessing.of(prepared).in_target_units(prepared.train.real().y)
        scores = np.tile(np.quantile(targets_NT, rows.tau, axis=0), (len(rows.y), 1))
        return {"train quantile": compute_metrics(scores, rows.y, rows.task, rows.tau)}
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression

    train = prepared.train.real()
    results: dict[str, dict[str, float]] = {}
    models: Mapping[str, Any]
    if rows.task.classifies:
        models = {
            "majority class": DummyClassifier(strategy="prior"),
            "logistic regression": LogisticRegression(max_iter=1000),
        }
    else:
        models = {"mean": DummyRegressor(), "linear regression": LinearRegression()}
    for name, model in models.items():
        if rows.task.classifies:
            model.fit(train.x, train.y, sample_weight=train.weights)
            scores = np.zeros((len(rows.y), rows.task.num_classes))
            scores[:, model.classes_] = model.predict_proba(rows.x_NF)
        else:
            model.fit(
                train.x,
                prepared.target_scaler.invert(np.asarray(train.y, np.float64)),
                sample_weight=train.weights,
            )
            scores = np.asarray(model.predict(rows.x_NF), np.float64).reshape(len(rows.y), -1)
        results[name] = compute_metrics(scores, rows.y, rows.task)
    return results
