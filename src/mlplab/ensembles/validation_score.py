"""The metric that selects an ensemble, of many mixtures of the same predictions.

Shapes: M mixtures, N rows, C classes or targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mlplab import metrics
from mlplab.task import Task


@dataclass(frozen=True)
class ValidationScore:
    """The metric on validation rows with targets y, lower is better.

    It is measured on `view` of predictions, which is linear: the view of a mean of predictions is
    the mean of their views. Of log loss it is the probability of the right class alone, since the
    selection tries thousands of mixtures.
    """

    metric: str
    task: Task
    y: np.ndarray

    @property
    def sign(self) -> int:
        """The factor that makes lower values of the metric better."""
        return -1 if metrics.direction(self.metric) == "max" else 1

    def view(self, scores_MNC: np.ndarray) -> np.ndarray:
        """Return what `of_view` measures of predictions, [M, N, 1 or C]."""
        if self.metric != "log_loss":
            return scores_MNC
        return np.take_along_axis(scores_MNC, self.y[None, :, None], axis=2)

    def of_view(self, view_MNC: np.ndarray) -> np.ndarray:
        """Return the metric of views, times `sign`: [M]."""
        if self.metric == "log_loss":
            eps = np.finfo(view_MNC.dtype).eps  # as `metrics` clips
            return np.asarray(-np.log(np.clip(view_MNC, eps, 1 - eps)).mean((1, 2)))
        if self.metric == "rmse":
            error_MNC = view_MNC - self.y
            return np.asarray(
                np.sqrt(np.einsum("mnc,mnc->mc", error_MNC, error_MNC) / len(self.y)).mean(1)
            )
        targets = torch.tensor(np.broadcast_to(self.y, (len(view_MNC), *self.y.shape)))
        values_M = metrics.final_metric(
            self.metric, self.task.kind, torch.tensor(view_MNC), targets
        )
        return np.asarray(self.sign * values_M.numpy())

    def __call__(self, scores_MNC: np.ndarray) -> np.ndarray:
        """Return the metric of predictions, times `sign`: [M]."""
        return self.of_view(self.view(scores_MNC))
