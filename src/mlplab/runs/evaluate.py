"""How good a run is on rows that it did not learn from: metrics with intervals, beside what plain
models reach.

Shapes: N rows, C classes, T targets, R resamples, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlplab import metrics
from mlplab.data.preparation.examples import Prepared
from mlplab.task import Task

RESAMPLES = 1000
MIN_RESAMPLES = 100
MAX_NUMBERS = 200_000_000
SHARE = 0.95


@dataclass(frozen=True)
class Score:
    """A metric, and the interval in which 95 of 100 resamples of the rows lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rows:
    """What a metric needs of rows: y int64 [N] or, in the target's own units, float64 [N, T]; x
    scaled features [N, F].
    """

    x_NF: np.ndarray
    y: np.ndarray
    task: Task
    source: str = "the rows"  # where they come from, for messages


def measured(scores: np.ndarray, y: np.ndarray, task: Task) -> dict[str, float]:
    """All metrics of predictions: probabilities [N, C] or values [N, T]; of classes also f1 of
    each.
    """
    return {name: float(value[0]) for name, value in _metrics(scores[None], y[None], task).items()}


def _metrics(scores_RNC: np.ndarray, y_RN: np.ndarray, task: Task) -> dict[str, np.ndarray]:
    compute: Callable[..., dict[str, torch.Tensor]] = (
        metrics.final_classification_metrics
        if task.classifies
        else metrics.final_regression_metrics
    )
    found = {
        name: value.numpy()
        for name, value in compute(torch.tensor(scores_RNC), torch.tensor(y_RN)).items()
    }
    if task.classifies:
        predicted_RN = scores_RNC.argmax(-1)
        for c in range(task.num_classes):
            hits = ((predicted_RN == c) & (y_RN == c)).sum(1)
            total = (predicted_RN == c).sum(1) + (y_RN == c).sum(1)
            with np.errstate(invalid="ignore"):
                found[f"f1_class_{c}"] = np.where(
                    total > 0, 2 * hits / np.maximum(total, 1), np.nan
                )
    return found


def with_intervals(
    scores: np.ndarray, y: np.ndarray, task: Task, seed: int = 0
) -> dict[str, Score]:
    """Each metric with its percentile bootstrap interval over the rows. Source: Efron and
    Tibshirani 1993.
    """
    own = measured(scores, y, task)
    size = scores.size
    resamples = max(MIN_RESAMPLES, min(RESAMPLES, MAX_NUMBERS // max(size, 1)))
    rng, drawn = np.random.default_rng(seed), []
    portion = max(1, (1 << 22) // max(size, 1))
    for start in range(0, resamples, portion):
        index_RN = rng.integers(0, len(y), (min(portion, resamples - start), len(y)))
        drawn.append(_metrics(scores[index_RN], y[index_RN], task))
    found = {}
    for name, value in own.items():
        values = np.concatenate([piece[name] for piece in drawn])
        values = values[np.isfinite(values)]
        low, high = (
            np.quantile(values, [(1 - SHARE) / 2, (1 + SHARE) / 2])
            if len(values)
            else (np.nan, np.nan)
        )
        found[name] = Score(value, float(low), float(high))
    return found


def baselines(prepared: Prepared, rows: Rows) -> dict[str, dict[str, float]]:
    """What plain models reach on the same rows, learnt from the same train part: the majority or
    the mean, and a linear model.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression

    train = prepared.train.real()
    found: dict[str, dict[str, float]] = {}
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
        found[name] = measured(scores, rows.y, rows.task)
    return found
