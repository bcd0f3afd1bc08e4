"""The loss of each row, from which importances and slices are computed.

Shapes: N rows, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mlplab.config.suggestions import did_you_mean
from mlplab.data.table import Floats
from mlplab.errors import ConfigError
from mlplab.task import Task

SMALLEST_PROBABILITY = 1e-15  # as in scikit-learn's log_loss of float64, up to rounding


def _log_loss(scores_NC: Floats, y_N: np.ndarray) -> Floats:
    likely_N = np.take_along_axis(scores_NC, y_N[:, None], 1)[:, 0]
    return np.asarray(-np.log(np.maximum(likely_N, SMALLEST_PROBABILITY)))


def _brier(scores_NC: Floats, y_N: np.ndarray) -> Floats:
    return np.asarray(np.square(scores_NC - np.eye(scores_NC.shape[1])[y_N]).sum(1))


def _miss(scores_NC: Floats, y_N: np.ndarray) -> Floats:
    return np.asarray(scores_NC.argmax(1) != y_N, np.float64)


def _squared(scores_NT: Floats, y_NT: np.ndarray) -> Floats:
    return np.asarray(np.square(scores_NT - y_NT).mean(1))


def _absolute(scores_NT: Floats, y_NT: np.ndarray) -> Floats:
    return np.asarray(np.abs(scores_NT - y_NT).mean(1))


ROW_LOSSES: Mapping[str, Mapping[str, Callable[[Floats, np.ndarray], Floats]]] = {
    "classification": {"log_loss": _log_loss, "accuracy": _miss, "brier": _brier},
    "regression": {"rmse": _squared, "mae": _absolute},
}
"""For each task, the metrics that are the mean of a loss of each row, or its root (rmse); of
accuracy, the loss is 1 for a wrong class. The first is the default.
"""


def metric_of(task: Task, name: str | None) -> str:
    """Return the name of a metric, or the default of the task. Raises ConfigError."""
    metrics = ROW_LOSSES[task.kind]
    if name is None:
        return next(iter(metrics))
    if name not in metrics:
        raise ConfigError(
            f"--metric {name}: {did_you_mean(name, metrics)}Metrics of {task.kind} that a row adds"
            f" to: {', '.join(metrics)}."
        )
    return name


def row_losses(metric: str, task: Task, scores: Floats, y: np.ndarray) -> Floats:
    """Return the loss of each row, float64 [N]."""
    return ROW_LOSSES[task.kind][metric](scores, y)


def from_mean(metric: str, mean: Floats) -> Floats:
    """Return the metric, lower for better, from means of the losses of rows."""
    return np.sqrt(mean) if metric == "rmse" else mean
