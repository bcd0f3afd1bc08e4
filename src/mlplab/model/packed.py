"""A packed ensemble: members of different structure with weights, used as one model.

Shapes: N rows, F features, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlplab.losses import Loss
from mlplab.model.clamp import Clamp
from mlplab.model.input_module import input_module
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class PackedModel(Model):
    """The weighted mean of the predictions of `members`.

    They share their preprocessing up to the scaled features; each makes the inputs of its network
    of these. The inherited weights are those of the member with the largest weight.
    """

    members: tuple[Model, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def of_members(cls, members: Sequence[Model], weights: Sequence[float]) -> PackedModel:
        """Return the model of these members, each a model of one network; weights sum to 1."""
        first = members[int(np.argmax(weights))]
        return cls(
            replace(first.preprocessing, groups=None),
            first.network,
            first.loss,
            first.theta_KP,
            first.buffers,
            (),
            tuple(members),
            tuple(weights),
        )

    def weighted_members(self) -> list[tuple[Model, float]]:
        return list(zip(self.members, self.weights, strict=True))

    @property
    def needs_double(self) -> bool:
        groups = [member.preprocessing.groups for member in self.members]
        has_bins = any(one is not None and one.has_bins for one in groups)
        return has_bins or any(member.needs_double for member in self.members)

    @property
    def module_loss(self) -> None:
        return None

    def module(self, member: int = 0) -> nn.Sequential:
        """Return the ensemble as plain PyTorch: scaled features in, the weighted mean of the class
        probabilities or of the scaled values out, each value within the bounds of the target if
        there are any.
        """
        return nn.Sequential(WeightedMean(self.members, self.weights)).eval()

    def scores(
        self, scaled_NF: np.ndarray, source: str = "x", first: int = 0, allow_nan: bool = False
    ) -> np.ndarray:
        """Predict as `Model.scores` does, with the mean as the only member: [1, N, C or T]."""
        members = [
            model.scores(inputs_NG, source, first, allow_nan)
            for model, inputs_NG in self._with_inputs(scaled_NF)
        ]
        weighted = zip(self.weights, members, strict=True)
        return np.asarray(sum(weight * scores_1NC for weight, scores_1NC in weighted))

    def _with_inputs(self, scaled_NF: np.ndarray) -> Iterator[tuple[Model, np.ndarray]]:
        """The members, each with the inputs of its network for scaled features."""
        for model in self.members:
            yield model, model.preprocessing.inputs(scaled_NF)

    def deviations(self, scaled_NF: np.ndarray) -> np.ndarray | None:
        """Return the standard deviation of the mixture of the members, [1, N, T]; None if a member
        predicts none.
        """
        members = list(self._with_inputs(scaled_NF))
        deviations = [model.deviations(x_NG) for model, x_NG in members]
        if any(one is None for one in deviations):
            return None
        scores = [model.scores(x_NG, allow_nan=True) for model, x_NG in members]
        return mixture_deviation(self.weights, scores, deviations)


def mixture_deviation(
    weights: Sequence[float], means: Sequence[np.ndarray], deviations: Sequence[Any]
) -> np.ndarray:
    """Return the standard deviation of a mixture of distributions with these weights."""
    mixed = list(zip(weights, means, deviations, strict=True))
    mean = sum(weight * value for weight, value, _ in mixed)
    variance = sum(w * (np.square(d) + np.square(value - mean)) for w, value, d in mixed)
    return np.asarray(np.sqrt(variance))


class WeightedMean(nn.Module):
    """The weighted mean of the predictions of several networks for the same scaled features."""

    def __init__(self, members: Sequence[Model], weights: Sequence[float]) -> None:
        super().__init__()
        self.inputs = nn.ModuleList([input_module(one.preprocessing.groups) for one in members])
        self.networks = nn.ModuleList([model.module() for model in members]).eval()
        self.losses: list[Loss] = [model.loss for model in members]
        self.clamp = _clamp_of(members[0].preprocessing)
        # a buffer, since the ONNX exporter rounds Python numbers to single precision
        self.weights_K = nn.Buffer(torch.tensor(weights, dtype=torch.float64), persistent=False)

    def forward(self, x_NF: Tensor) -> Tensor:
        dtype = next(self.networks.parameters()).dtype
        predictions = [
            weight
            * self.clamp(loss.predict(network(inputs(x_NF).to(dtype)).unsqueeze(0))[0].double())
            for weight, loss, inputs, network in zip(
                self.weights_K.double(), self.losses, self.inputs, self.networks, strict=True
            )
        ]
        return torch.stack(predictions).sum(0)


def _clamp_of(preprocessing: Preprocessing) -> nn.Module:
    """What keeps scaled values, [N, T], within the bounds of the target."""
    bounds_2T, scaler = preprocessing.target_bounds, preprocessing.target_scaler
    if preprocessing.task.classifies or bounds_2T is None:
        return nn.Identity()
    return Clamp(bounds_2T if scaler is None else scaler.apply(bounds_2T))
