"""Everything that is known of a training, and what is measured of it when a check asks.

Shapes: B rows, F features, P parameters, E evaluations, L layers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.doctor import thresholds
from mlplab.doctor.probing import (
    LayerState,
    StartGradients,
    layer_states,
    start_gradients,
)
from mlplab.doctor.reference import Reference, reference
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.network.mlp import MLP, Buffers
from mlplab.settings import Settings
from mlplab.training.history import History
from mlplab.training.outcome import Outcome
from mlplab.training.population import initial_weights
from mlplab.training.prepare import PreparedMember

TAIL = 10
"""The last evaluations of a training are one in so many."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one network, [1, P], and its running statistics, each [1, H]."""

    theta_1P: Tensor
    buffers: Buffers

    @classmethod
    def of_one(cls, theta_P: Tensor, buffers: Buffers) -> Weights:
        """Return the weights of one network, [P], and its running statistics, each [H]."""
        return cls(theta_P.unsqueeze(0), {name: v.unsqueeze(0) for name, v in buffers.items()})


@dataclass(frozen=True, eq=False)
class Evidence:
    """One training: its settings (with the loss resolved), data, measurements, and last weights.

    `status`, `reason`, `steps`, `best_epoch` and `metrics` (of the best weights) are as in
    summary.json.
    """

    settings: Settings
    prepared: Prepared
    history: History
    last: Weights
    status: str
    reason: str
    steps: int
    best_epoch: int
    metrics: Mapping[str, float | None]

    @classmethod
    def of_outcome(cls, member: PreparedMember, outcome: Outcome) -> Evidence:
        """Return the evidence of a training that ended just now."""
        return cls(
            member.settings,
            member.prepared,
            outcome.history,
            Weights.of_one(outcome.last_theta_P, outcome.last_buffers),
            outcome.status,
            outcome.reason,
            outcome.steps,
            outcome.best_epoch,
            outcome.metrics,
        )

    @property
    def classifies(self) -> bool:
        return self.prepared.task.classifies

    @property
    def diverged(self) -> bool:
        return self.status == "diverged"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as plain dicts and lists."""
        return self.settings.config

    # What was measured during the training.

    def column(self, name: str) -> np.ndarray:
        """A column of the history, [E]; empty if it was not measured."""
        return self.history[name] if name in self.history else np.zeros(0)

    @property
    def score_name(self) -> str:
        """The metric that says how good a fit is: 1 is perfect."""
        return "accuracy" if self.classifies else "r2"

    def last_score(self, split: str) -> float:
        """The score of a split at the end, NaN if unknown. Without a history, that of the best
        weights.
        """
        values = self.column(f"{split}/{self.score_name}")
        return float(values[-1]) if len(values) else self.metric(f"{split}/{self.score_name}")

    def metric(self, name: str) -> float:
        """A metric of the best weights, NaN if unknown."""
        value = self.metrics.get(name)
        return float("nan") if value is None else float(value)

    @functools.cached_property
    def ratios_EL(self) -> np.ndarray:
        """|update| / |weights| of each layer, without evaluation 0, before which nothing moved."""
        layers = range(1, len(self.settings.layers) + 1)
        columns = [self.column(f"update_ratio/layer_{i}") for i in layers]
        if not all(map(len, columns)):
            return np.zeros((0, len(columns)))
        return np.column_stack(columns)[1:]

    def late_ratio(self) -> float:
        """The median of the ratio in the last tenth, of the layer where it is largest."""
        return _largest_median(self.ratios_EL[-max(3, len(self.ratios_EL) // TAIL) :])

    def median_ratio(self) -> float:
        """The median of the ratio in the whole training, of the layer where it is largest."""
        return _largest_median(self.ratios_EL)

    def falls(self) -> float:
        """The relative fall of the train loss over the last tenth of the training; NaN if it has
        too few evaluations. Both ends are means, since batches make the loss rough.
        """
        loss_E = self.column("train/loss")
        count = max(2, len(loss_E) // TAIL)
        if len(loss_E) < thresholds.MIN_EVALUATIONS:
            return float("nan")
        before, after = loss_E[-2 * count : -count].mean(), loss_E[-count:].mean()
        return float((before - after) / max(abs(before), 1e-30))

    # What simple models reach on the same rows.

    @functools.cached_property
    def train(self) -> Examples:
        """The training rows, without padding."""
        return self.prepared.train.real()

    @functools.cached_property
    def reference(self) -> Reference:
        """The scores of simple models."""
        task = self.prepared.task
        count = task.num_classes if task.classifies else 0
        return reference(self.train.x, self.train.y, count, thresholds.MAX_REFERENCE_ROWS)

    @functools.cached_property
    def deficit(self) -> float:
        """How far the run is below the best reference, on the rows of train or of val, whichever is
        worse, less what chance explains; 0 for a good fit.
        """
        train = self.last_score("train")
        val = self.metric(f"val/{self.score_name}")
        scores = [train if train == train else -np.inf]
        if self.prepared.val is not None and val == val:
            scores.append(val + 2 * self._score_error(val))
        worst = float(min(scores))
        if worst >= thresholds.GOOD_SCORE:
            return 0.0
        return max(0.0, self.reference.best - worst)

    @property
    def fits_train(self) -> bool:
        """Whether the training rows themselves are fitted about as well as by simple models."""
        score = self.last_score("train")
        if score >= thresholds.GOOD_SCORE:
            return True
        return score > self.reference.best - thresholds.TRAIN_DEFICIT

    def _score_error(self, score: float) -> float:
        """The standard error of a score of the val split."""
        rows = len(self.prepared.val.real()) if self.prepared.val is not None else 0
        share = min(max(score, 0.0), 1.0)
        # for r2 as for a share, which is about right
        return math.sqrt(max(share * (1 - share), 0.5 / max(rows, 1)) / max(rows, 1))

    # What is measured of the network.

    @functools.cached_property
    def network(self) -> MLP:
        """The structure of the network."""
        return build_structure(self.settings, Preprocessing.of(self.prepared), self.settings.loss)

    @functools.cached_property
    def start(self) -> Weights:
        """The initial weights, which follow from the settings."""
        dtype, device = self.last.theta_1P.dtype, torch.device("cpu")
        return Weights(
            *initial_weights(self.network, [self.settings], [self.prepared], dtype, device)
        )

    @functools.cached_property
    def _probed_rows(self) -> np.ndarray:
        count = min(len(self.train), thresholds.MAX_ROWS)
        return np.unique(np.linspace(0, len(self.train) - 1, count).astype(int))

    @functools.cached_property
    def x_BF(self) -> Tensor:
        """Rows of the train split, spread over it."""
        return torch.from_numpy(self.train.x[self._probed_rows]).to(self.last.theta_1P.dtype)

    @functools.cached_property
    def start_layers(self) -> list[LayerState]:
        """The hidden layers at the start."""
        return self._layers(self.start)

    @functools.cached_property
    def last_layers(self) -> list[LayerState]:
        """The hidden layers at the end."""
        return self._layers(self.last)

    @torch.no_grad()
    def _layers(self, weights: Weights) -> list[LayerState]:
        return layer_states(self.network, weights.theta_1P, weights.buffers, self.x_BF)

    @functools.cached_property
    def gradients(self) -> StartGradients:
        """The loss and the gradients at the start."""
        start = self.start
        return start_gradients(
            *(self.network, self.settings.loss, start.theta_1P, start.buffers),
            *(self.x_BF, self._probed_targets),
        )

    @functools.cached_property
    def zero_loss(self) -> float:
        """The absolute loss of outputs that are all 0, by which losses are compared."""
        count = self.settings.loss.num_outputs(self.prepared.task)
        zeros_1BC = torch.zeros(1, len(self.x_BF), count, dtype=self.x_BF.dtype)
        loss_1B = self.settings.loss(zeros_1BC, self._probed_targets.unsqueeze(0))
        return max(abs(float(loss_1B.mean())), 1e-12)

    @property
    def _probed_targets(self) -> Tensor:
        y = torch.from_numpy(self.train.y[self._probed_rows])
        return y if self.classifies else y.to(self.x_BF.dtype)


def _largest_median(ratios_EL: np.ndarray) -> float:
    finite = np.isfinite(ratios_EL).all(1)
    if not finite.any():
        return float("nan")
    return float(np.median(ratios_EL[finite], axis=0).max())
