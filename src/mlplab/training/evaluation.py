"""The loss and the metrics of K members on one split, without dropout, with running statistics.

Shapes: K members, N examples, C outputs, T targets.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlplab import metrics
from mlplab.losses import Loss
from mlplab.network.layout import LayerViews
from mlplab.network.mlp import MLP, Buffers
from mlplab.stacking import select
from mlplab.task import Task
from mlplab.training.batches import DeviceDataset
from mlplab.training.objective import reduce_losses

TARGET_UNITS = ("target_shift", "target_scale", "target_low", "target_high")


@dataclass(frozen=True)
class Scoring:
    """How outputs are scored: the loss, and the targets' shift and scale [K or 1, 1, T].

    The scaling of the targets is undone before the metrics are computed, and predictions are
    clamped to `target_low` and `target_high` [K or 1, 1, T], if there are any; the loss is that of
    the outputs as they are. `monitor` is the setting `training.monitor`.
    """

    task: Task
    loss: Loss
    target_shift: Tensor | None = None
    target_scale: Tensor | None = None
    target_low: Tensor | None = None
    target_high: Tensor | None = None
    monitor: str = "auto"

    @property
    def names(self) -> tuple[str, ...]:
        """What every evaluation measures: the loss, the cheap metrics, and the monitored one."""
        monitored_metric = "loss" if self.monitor == "auto" else self.monitor
        return tuple(dict.fromkeys(("loss", *metrics.CHEAP[self.task.kind], monitored_metric)))

    def metrics_of(self, outputs_KNC: Tensor, data: DeviceDataset, full: bool) -> dict[str, Tensor]:
        """Return the metrics of all members, each [K].

        `full` adds the metrics that are too slow for every evaluation, of which otherwise only the
        monitored one is returned.
        """
        if full:
            return self._all_metrics(outputs_KNC, data)
        if self.task.classifies:
            targets_KN = data.y.expand(outputs_KNC.shape[0], -1)
            classes_KN = self.loss.decide(outputs_KNC)
            cheap = metrics.classification_metrics(outputs_KNC, targets_KN, classes_KN, data.mask)
        else:
            values = self._scores_and_targets(outputs_KNC, data)
            cheap = metrics.regression_metrics(*values, mask_KN=data.mask)
        if self.names[-1] in ("loss", *cheap):
            return cheap
        return cheap | {self.monitor: self.monitored_metric(outputs_KNC, data)}

    def monitored_metric(self, outputs_KNC: Tensor, data: DeviceDataset) -> Tensor:
        """Return the monitored metric, if it is not the loss, of all members: [K]."""

        def measure(scores_KNC: Tensor, targets: Tensor) -> dict[str, Tensor]:
            value_K = metrics.final_metric(self.monitor, self.task.kind, scores_KNC, targets)
            return {self.monitor: value_K}

        scores, targets = self._scores_and_targets(outputs_KNC, data)
        return _member_by_member(measure, scores, targets, data.mask)[self.monitor]

    def _all_metrics(self, outputs_KNC: Tensor, data: DeviceDataset) -> dict[str, Tensor]:
        measure = functools.partial(metrics.final_metrics, self.task.kind)
        return _member_by_member(measure, *self._scores_and_targets(outputs_KNC, data), data.mask)

    def _scores_and_targets(
        self, outputs_KNC: Tensor, data: DeviceDataset
    ) -> tuple[Tensor, Tensor]:
        """Probabilities and labels, or values and targets in the units of the target."""
        scores = self.loss.predict(outputs_KNC)
        if self.task.classifies:
            return scores, data.y.expand(len(scores), -1)
        values_KNT = self._unscale(scores)
        if self.target_low is not None and self.target_high is not None:
            values_KNT = values_KNT.clamp(self.target_low, self.target_high)
        return values_KNT, self._unscale(data.y.expand(len(scores), -1, -1))

    def _unscale(self, values_KNT: Tensor) -> Tensor:
        if self.target_scale is None or self.target_shift is None:
            return values_KNT
        return values_KNT.double() * self.target_scale + self.target_shift

    def select(self, rows: Tensor) -> Scoring:
        """The scoring of the members at `rows` (int64 indices)."""
        units: dict[str, Any] = {
            name: value if value is None or len(value) == 1 else value[rows]
            for name, value in self.target_units.items()
        }
        return dataclasses.replace(self, loss=select(self.loss, rows), **units)

    @property
    def target_units(self) -> dict[str, Tensor | None]:
        """The tensors that say how predictions become values in the units of the target."""
        return {name: getattr(self, name) for name in TARGET_UNITS}


def metric_names(splits: Container[str], scoring: Scoring, num_layers: int) -> tuple[str, ...]:
    """The names of what is measured at an evaluation, in the order of a history's columns."""
    layers, measured = range(1, num_layers + 1), scoring.names
    return (
        *(f"{split}/{name}" for split in ("train", "val") if split in splits for name in measured),
        "lr",
        "gradient_norm",
        *(f"gradient_norm/layer_{i}" for i in layers),
        *(f"update_ratio/layer_{i}" for i in layers),
    )


def monitored(monitor: str, measured: Mapping[str, Tensor]) -> Tensor:
    """The value [K] that selects the best weights; lower is better.

    `monitor` is the setting `training.monitor`, and `measured` has "<split>/<metric>" -> [K]. The
    split is val if there is one.
    """
    metric = "loss" if monitor == "auto" else monitor
    value_K = measured[f"{'val' if 'val/loss' in measured else 'train'}/{metric}"]
    return -value_K if metrics.direction(metric) == "max" else value_K


def _member_by_member(
    measure: Callable[..., dict[str, Tensor]],
    scores_KNC: Tensor,
    targets_KN: Tensor,
    mask_KN: Tensor | None,
) -> dict[str, Tensor]:
    """Measure all members at once, or one by one if some rows of a member are padding."""
    if mask_KN is None:
        return measure(scores_KNC, targets_KN)
    masks = mask_KN.expand(len(scores_KNC), -1)
    by_member = [
        measure(scores_KNC[k : k + 1, mask], targets_KN[k : k + 1, mask])
        for k, mask in enumerate(masks)
    ]
    return {name: torch.cat([values[name] for values in by_member]) for name in by_member[0]}


def outputs(
    network: MLP,
    views: Sequence[LayerViews],
    buffers: Buffers,
    data: DeviceDataset,
    num_members: int,
) -> Tensor:
    """The outputs for all examples, [K, N, C], computed in chunks to bound the memory."""
    width = max(network.num_features, *(layer.units for layer in network.layers))
    chunks = [network.forward(views, x, buffers) for x, _, _ in data.chunks(num_members, width)]
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)


def score(
    outputs_KNC: Tensor, scoring: Scoring, data: DeviceDataset, full: bool
) -> dict[str, Tensor]:
    """Return the "loss" and the metrics of these outputs, each float64 [K].

    The loss is the mean or the sum over the examples, whichever the loss reduces by. `full` adds
    the metrics that are slow to compute.
    """
    num_members = len(outputs_KNC)
    y = data.y.expand(num_members, *data.y.shape[1:])
    weights = data.weights.expand(num_members, -1) if data.weights is not None else None
    loss_K = reduce_losses(scoring.loss(outputs_KNC, y), weights, scoring.loss.reduction)
    return {
        "loss": loss_K.double(),
        **{
            name: value.double()
            for name, value in scoring.metrics_of(outputs_KNC, data, full).items()
        },
    }
