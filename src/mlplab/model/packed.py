"""A packed ensemble: members of different structure with weights, used as one model.

Shapes: N rows, F features, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mlplab.losses import Loss
from mlplab.model.input_module import input_module
from mlplab.model.model import Model


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
        probabilities or of the scaled values out.
        """
        return nn.Sequential(WeightedMean(self.members, self.weights)).eval()

    def scores(
        self, scaled_NF: np.ndarray, source: str = "x", first: int = 0, allow_nan: bool = False
    ) -> np.ndarray:
        """Predict as `Model.scores` does, with the mean as the only member: [1, N, C or T]."""
        total_1NC = 0.0
        for model, weight in self.weighted_members():
            inputs_NG = model.preprocessing.inputs(scaled_NF)
            total_1NC = total_1NC + weight * model.scores(inputs_NG, source, first, allow_nan)
        return np.asarray(total_1NC)


class WeightedMean(nn.Module):
    """The weighted mean of the predictions of several networks for the same scaled features."""

    def __init__(self, members: Sequence[Model], weights: Sequence[float]) -> None:
        super().__init__()
        self.inputs = nn.ModuleList([input_module(one.preprocessing.groups) for one in members])
        self.networks = nn.ModuleList([model.module() for model in members]).eval()
        self.losses: list[Loss] = [model.loss for model in members]
        self.weights = list(weights)

    def forward(self, x_NF: Tensor) -> Tensor:
        dtype = next(self.networks.parameters()).dtype
        predictions = [
            weight * loss.predict(network(inputs(x_NF).to(dtype)).unsqueeze(0))[0].double()
            for weight, loss, inputs, network in zip(
                self.weights, self.losses, self.inputs, self.networks, strict=True
            )
        ]
        return torch.stack(predictions).sum(0)
