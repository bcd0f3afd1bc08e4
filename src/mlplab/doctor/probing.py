"""Measurements of one network at one moment, on some training rows.

Shapes: B rows, F features, H units of a layer, P parameters, L hidden layers.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlplab.losses import Loss
from mlplab.network.activations import Activation
from mlplab.network.mlp import MLP, Buffers

FLAT = 0.1
"""A slope is flat below this fraction of the largest one."""
ZERO = 0.005
"""A slope is zero below this fraction of the largest one; leaky_relu has 0.01."""


@dataclass(frozen=True)
class LayerState:
    """A hidden layer on B rows: its outputs [B, H], and shares of flat slopes and of dead units."""

    h_BH: Tensor
    flat: float
    natural_flat: float  # of standard normal pre-activations
    dead: float

    @property
    def saturated(self) -> float:
        """The share of flat slopes beyond the natural one, from 0 to 1."""
        if self.natural_flat > 0.95:  # as of a step: flat by definition
            return 0.0
        return max(0.0, (self.flat - self.natural_flat) / (1 - self.natural_flat))


@dataclass(frozen=True)
class StartGradients:
    """The loss of the initial network, and gradient norms."""

    loss: float
    norms_L: tuple[float, ...]  # of each layer, the output layer included


def layer_states(
    network: MLP, theta_1P: Tensor, buffers: Buffers, x_BF: Tensor
) -> list[LayerState]:
    """Return the state of each hidden layer, first to last."""
    views = network.layout.layers(network.layout.split(theta_1P))
    h_1BH, states = x_BF.unsqueeze(0), []
    for i, (layer, view) in enumerate(zip(network.layers, views, strict=True)):
        if layer.activation is None:
            break
        z_1BH = network.signal(i, view, h_1BH, buffers).detach()
        h_1BH, slope_1BH = _values_and_slopes(functools.partial(network.activated, i, view), z_1BH)
        largest, natural = _slope_facts(layer.activation)
        slope_BH = slope_1BH[0].abs()
        states.append(
            LayerState(
                h_1BH[0],
                float((slope_BH < FLAT * largest).double().mean()),
                natural,
                float((slope_BH < ZERO * largest).all(0).double().mean()),
            )
        )
    return states


def start_gradients(
    network: MLP, loss: Loss, theta_1P: Tensor, buffers: Buffers, x_BF: Tensor, y: Tensor
) -> StartGradients:
    """Return the loss and its gradients on these rows, [B, F] and their targets."""
    with torch.enable_grad():
        theta_1P = theta_1P.detach().clone().requires_grad_()
        parameters = network.layout.split(theta_1P)
        outputs_1BC = network.forward(network.layout.layers(parameters), x_BF.unsqueeze(0), buffers)
        value = loss(outputs_1BC, y.unsqueeze(0)).mean()
        (gradient_1P,) = torch.autograd.grad(value, theta_1P)
    squares = [0.0] * network.layout.num_layers
    for entry, values in zip(
        network.layout.entries, network.layout.split(gradient_1P), strict=True
    ):
        squares[entry.layer] += float(values.square().sum())
    return StartGradients(float(value.detach()), tuple(square**0.5 for square in squares))


def equal_units(network: MLP, theta_1P: Tensor) -> bool:
    """Whether the units of a hidden layer of two or more all have the same weights, in and out.

    Block layers do not count: their units read different inputs.
    """
    views = network.layout.layers(network.layout.split(theta_1P))
    return any(
        layer.blocks is None
        and view.weight.shape[2] > 1
        and _all_equal(view.weight[0].T)
        and (view.bias is None or _all_equal(view.bias[0].T))
        and _all_equal(after.weight[0])
        for layer, (view, after) in zip(network.layers, itertools.pairwise(views), strict=False)
    )


def unused_units(h_BH: Tensor, share: float) -> int:
    """How many units of a layer the others make superfluous: those left out one after another of
    which less than `share` of the variance is not a linear function of the remaining ones.
    """
    centered_BH = (h_BH - h_BH.mean(0)).double()
    variance_H = centered_BH.square().mean(0)
    used_BH = centered_BH[:, variance_H > 1e-8 * variance_H.max().clamp(min=1e-12)]
    unused = h_BH.shape[1] - used_BH.shape[1]
    if used_BH.shape[1] == 0:
        return unused
    used_BH = used_BH / used_BH.square().mean(0).sqrt()
    _, r_HH = torch.linalg.qr(used_BH, mode="r")
    rest_H = r_HH.diagonal().square() / len(used_BH)
    return unused + int((rest_H < share).sum()) + max(0, used_BH.shape[1] - len(rest_H))


def _all_equal(rows: Tensor) -> bool:
    return bool((rows - rows[:1]).abs().max() <= 1e-7 * rows.abs().max().clamp(min=1e-30))


def _values_and_slopes(activation: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        h = activation(z)
        if not h.requires_grad:  # a step function
            return h, torch.zeros_like(z)
        (slope,) = torch.autograd.grad(h.sum(), z, allow_unused=True)
    return h.detach(), torch.zeros_like(z) if slope is None else slope


@functools.lru_cache(maxsize=256)
def _slope_facts(activation: Activation) -> tuple[float, float]:
    """The largest slope within 4 deviations, and the share of flat ones for z ~ N(0, 1)."""
    if activation.num_parameters():
        return 1.0, 0.0
    share = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    z = (torch.special.ndtri(share)).view(1, -1, 1)
    _, slope = _values_and_slopes(activation, z)
    largest = max(float(slope.abs().max()), 1e-12)
    return largest, float((slope.abs() < FLAT * largest).double().mean())


def rectifies(activations: Sequence[Activation]) -> bool:
    """Whether activations are flat on about half of the line, as relu."""
    return any(0.3 < _slope_facts(activation)[1] <= 0.7 for activation in activations)
