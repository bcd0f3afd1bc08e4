"""The mean loss of a batch at any weights, without penalties and clipping, and its derivatives.

Shapes: B examples of the batch, C outputs, P parameters.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.network.mlp import MLP
from mlplab.one_step.recording import RecordingNetwork
from mlplab.training.batches import Batch
from mlplab.training.objective import Objective
from mlplab.training.population import Population
from mlplab.training_options import Training

Array = NDArray[np.float64]

QUOTIENT_STEP = 1e-5
"""Distance of the two points of the difference quotient, relative to the weight if that is > 1."""


@dataclass(frozen=True)
class Check:
    """A derivative of the mean loss beside its difference quotient, both in float64."""

    layer: int  # from 1
    unit: int
    input: int
    derivative: float
    quotient: float


class MeanLoss:
    """The mean loss on the batch, without penalties and clipping, at any weights."""

    def __init__(
        self,
        population: Population,
        batch: Batch,
        step: int,
        buffers: dict[str, Tensor],
    ) -> None:
        self.population, self.batch, self.step, self.buffers = population, batch, step, buffers
        self.training = dataclasses.replace(
            population.training, l1=0.0, l2=0.0, clip_norm=None, clip_value=None
        )

    def _evaluate(
        self,
        theta_P: Tensor,
        training: Training,
        dtype: torch.dtype,
        network: MLP | None = None,
    ) -> tuple[float, Tensor]:
        population = self.population
        theta_KP = theta_P.to(dtype).clone().unsqueeze(0)
        buffers = {name: value.to(dtype, copy=True) for name, value in self.buffers.items()}
        objective = Objective(
            network or population.network,
            population.scoring.loss,
            training,
            theta_KP,
            buffers,
            population.dropout,
        )
        value_K, gradient_KP = objective(theta_KP, _as(self.batch, dtype), self.step)
        return float(value_K[0]), gradient_KP[0]

    def gradient(self, theta_P: Tensor) -> Tensor:
        """The gradient of the mean loss, [P]."""
        return self._evaluate(theta_P, self.training, theta_P.dtype)[1]

    def value(self, theta_P: Tensor) -> float:
        """The mean loss."""
        return self._evaluate(theta_P, self.training, theta_P.dtype)[0]

    def predictions(self, theta_P: Tensor) -> Array:
        """The predictions [B, C], of the forward pass of the training."""
        network = RecordingNetwork(self.population.network)
        self._evaluate(theta_P, self.training, theta_P.dtype, network)
        outputs_KBC = network.passes[0][-1].z.detach()
        return to_array(self.population.scoring.loss.predict(outputs_KBC)[0])

    def penalty(self, theta_P: Tensor) -> float:
        """The penalty on the weights."""
        training = self.population.training
        mask_P = self.population.network.layout.mask("weight", theta_P.device, torch.float64)
        weights_P = theta_P.double() * mask_P
        penalty_P = training.l1 * weights_P.abs() + training.l2 / 2 * weights_P.square()
        return float(penalty_P.sum())

    def unclipped_norm(self, theta_P: Tensor) -> float:
        """The norm of the gradient with penalties, before clipping."""
        unclipped = dataclasses.replace(self.population.training, clip_norm=None, clip_value=None)
        return float(self._evaluate(theta_P, unclipped, theta_P.dtype)[1].norm())

    def check(self, theta_P: Tensor, gradient_P: Tensor) -> Check | None:
        """The largest derivative of the first layer by a difference quotient, or of the network if
        those of the first layer are all 0; None if one is not finite. Layers of blocks do not
        count.
        """
        layout = self.population.network.layout
        if not bool(gradient_P.isfinite().all()):
            return None
        views = layout.split(gradient_P.view(1, -1))
        weights = [i for i, e in enumerate(layout.entries) if e.name == "weight" and not e.blocks]
        chosen = next((i for i in weights if bool(views[i].any())), weights[-1])
        entry, offset = layout.entries[chosen], sum(layout.sizes[:chosen])
        local = int(views[chosen].abs().argmax())
        index = offset + local
        theta = theta_P.double()
        distance = QUOTIENT_STEP * max(1.0, abs(float(theta[index])))
        values = []
        for sign in (1, -1):
            moved = theta.clone()
            moved[index] += sign * distance
            values.append(self._evaluate(moved, self.training, torch.float64)[0])
        derivative = float(self._evaluate(theta, self.training, torch.float64)[1][index])
        source, unit = divmod(local, entry.shape[1])
        return Check(
            entry.layer + 1, unit, source, derivative, (values[0] - values[1]) / (2 * distance)
        )


def _as(batch: Batch, dtype: torch.dtype) -> Batch:
    x, y, w = batch
    return (
        x.to(dtype),
        y.to(dtype) if y.is_floating_point() else y,
        None if w is None else w.to(dtype),
    )


def to_array(value: Tensor) -> Array:
    return np.asarray(value.detach().double().cpu().numpy())
