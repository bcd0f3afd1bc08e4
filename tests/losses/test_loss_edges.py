"""Every loss in float32, from the smallest to the largest output, against float64."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from loss_edges import cases
from torch import Tensor

from mlplab.losses import LOSSES, Loss
from mlplab.schema import rules

NAMES = [name for name in LOSSES if name != "auto"]
SUMS = set(LOSSES) - {
    *("mse", "half_mse", "mae", "mape", "smape", "msle", "huber", "log_cosh", "quantile")
}
"""Losses that add terms about as large as 1 or the output; the others are exact to their digits."""


def variants(name: str) -> list[Loss]:
    """The loss with its defaults, and with each of its options."""
    loss = LOSSES[name]()
    options = [{key: option} for key, rule in rules(loss).items() for option in rule.options]
    return [dataclasses.replace(loss, **change) for change in ({}, *options)]


def value_and_slope(loss: Loss, outputs_KBC: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    outputs_KBC = outputs_KBC.clone().requires_grad_()
    loss_KB = loss(outputs_KBC, targets)
    (slope_KBC,) = torch.autograd.grad(loss_KB.sum(), outputs_KBC)
    return loss_KB.detach().double(), slope_KBC.double()


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name: str) -> None:
    for loss in variants(name):
        for outputs_KBC, targets in cases(loss):
            exact_targets = targets.double() if targets.is_floating_point() else targets
            exact, exact_slope = value_and_slope(loss, outputs_KBC.double(), exact_targets)
            value, slope = value_and_slope(loss, outputs_KBC, targets)
            # Where float32 cannot hold the loss, the run diverges; it may not go on with a number.
            overflow = exact.abs() > 1e38
            assert not value[exact.abs() > 3.5e38].isfinite().any()
            size = outputs_KBC.double().abs().amax(-1).clamp(max=100)
            absolute = 4e-7 * (1 + size) if name in SUMS else 1e-37
            near = (value - exact).abs() <= 4e-6 * exact.abs() + absolute
            assert bool((near | overflow).all())
            steep = (slope - exact_slope).abs() <= 4e-6 * exact_slope.abs() + 1e-6
            assert bool((steep | overflow.unsqueeze(-1)).all())


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_output_is_not_hidden(name: str) -> None:
    """The loss is the limit, infinity or NaN: no finite number that the formula does not have."""
    for loss in variants(name):
        for outputs_KBC, targets in cases(loss):
            targets = targets.double() if targets.is_floating_point() else targets
            size = outputs_KBC.double().abs()
            far = torch.where(size > 1e30, outputs_KBC.double() * math.inf, outputs_KBC.double())
            at_infinity, _ = value_and_slope(loss, far, targets)
            beside, _ = value_and_slope(loss, outputs_KBC.double(), targets)
            finite = at_infinity.isfinite()
            assert bool(((at_infinity - beside).abs() <= 1e-9 + 1e-9 * beside.abs())[finite].all())
