"""Steps of a training at which a unit's input is at a kink, where the derivative jumps.

Shapes: B examples, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlplab.network.activations import Activation
from mlplab.settings import Settings
from mlplab.training import Callback, Evaluation, Session
from mlplab.training.population import Population

JUMP = 0.01
"""A derivative that changes by more between two inputs that differ by rounding has a jump there."""


class KinkFinder(Callback):
    """Collects, as `rows`, the evaluations whose gradient was taken with an input at a kink.

    The step of each evaluation follows the last one: its gradient is that of the weights there.
    """

    def __init__(self, settings: Settings) -> None:
        self._activations = [layer.activation for layer in settings.layers[:-1]]
        self.rows: list[int] = []
        self._next_row = 1

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        population = evaluation.population
        assert population.batches.per_epoch == population.training.evaluate_every == 1
        if self._is_at_kink(population, self._next_row):
            self.rows.append(self._next_row)
        self._next_row += 1

    def _is_at_kink(self, population: Population, epoch: int) -> bool:
        optimizer, layout = population.optimizer, population.network.layout
        theta_KP = optimizer.lookahead(population.theta_KP, population.optimizer_state)
        digit = torch.finfo(theta_KP.dtype).eps
        layers = layout.layers(layout.split(theta_KP.double()))
        h_BH = next(population.batches.epoch(epoch))[0][0].double()
        for layer, activation in zip(layers, self._activations, strict=False):
            assert layer.bias is not None
            weight, bias = layer.weight[0], layer.bias[0]
            z_BH, size_BH = h_BH @ weight + bias, h_BH.abs() @ weight.abs() + bias.abs()
            rounding_BH = digit * size_BH  # of the largest partial sum
            sides = [_slope(activation, z_BH + sign * rounding_BH) for sign in (-1, 1)]
            if bool(((sides[1] - sides[0]).abs() > JUMP).any()):
                return True
            h_BH = activation(z_BH[None])[0]
        return False


def _slope(activation: Activation, z_BH: Tensor) -> Tensor:
    with torch.enable_grad():
        z_1BH = z_BH[None].detach().requires_grad_()
        (slope_1BH,) = torch.autograd.grad(activation(z_1BH).sum(), z_1BH)
    return slope_1BH[0]
