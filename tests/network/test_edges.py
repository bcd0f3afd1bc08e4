"""Every activation in float32, from the smallest to the largest number, against float64.

A float64 value of the same formula is exact at these points: no intermediate result overflows.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mlplab.network.activations import ACTIVATIONS

MAGNITUDES = [0.0, 1e-38, 1e-30, 1e-10, 1e-4, 3e-4, 1e-3, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0]
POINTS = [
    sign * size for size in [*MAGNITUDES, 1e4, 1e10, 1e20, 1e38, 2e38] for sign in (1.0, -1.0)
]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "binary_step": [{"straight_through": True}],
    "isru": [{"alpha": 3.0}, {"alpha": 1e-6}, {"alpha": 1e6}],
    "isrlu": [{"alpha": 3.0}, {"alpha": 1e-6}, {"alpha": 1e6}],
    "elu": [{"alpha": 0.7}],
    "celu": [{"alpha": 0.7}],
    "gelu": [{"approximate": "tanh"}],
    "softplus": [{"beta": 1.5}],
}
CASES = [(name, options) for name in ACTIVATIONS for options in ({}, *OPTIONS.get(name, []))]
UNDEFINED_AT_INFINITY = {"sine", "snake"}
TORCH_GIVES_NAN = {"softsign", "gelu", "silu", "mish", "hardswish"}
"""At minus infinity torch's functions are NaN, softsign also at infinity, as infinity times 0."""


def value_and_slope(name: str, options: dict[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = ACTIVATIONS[name](**options)(x.view(1, -1, 1))
    return y.detach().flatten(), torch.autograd.grad(y.sum(), x)[0]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_float32_agrees_with_float64(name: str, options: dict[str, Any]) -> None:
    x = torch.tensor(POINTS)
    y, slope = value_and_slope(name, options, x)
    exact, exact_slope = value_and_slope(name, options, x.double())
    # A value may be wrong by the rounding of itself, of an input up to 1, and of a denormal number.
    rounding = 2e-6 * exact.abs() + 4e-7 * x.double().abs().clamp(max=1) + 1e-42
    assert bool(((y.double() - exact).abs() <= rounding).all())
    assert bool(((slope.double() - exact_slope).abs() <= 4e-6 * (1 + exact_slope.abs())).all())


@pytest.mark.parametrize("name", ["isru", "isrlu", "bent_identity"])
def test_digits_near_and_far_from_zero(name: str) -> None:
    """These three are written here, not by torch, and exact to the last digits."""
    x = torch.tensor(POINTS)
    y, _ = value_and_slope(name, {}, x)
    for point, value in zip(x.tolist(), y.tolist(), strict=True):
        root = math.hypot(1, point)
        exact = {
            "isru": point / root,
            "isrlu": point if point > 0 else point / root,
            "bent_identity": point * (1 + point / (root + 1) / 2),
        }[name]
        assert math.isclose(value, exact, rel_tol=4e-7, abs_tol=1e-44)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_infinity_gives_the_limit_and_nan_stays(name: str, options: dict[str, Any]) -> None:
    y, _ = value_and_slope(name, options, torch.tensor([math.inf, -math.inf, math.nan]))
    assert y[2].isnan()
    far = value_and_slope(name, options, torch.tensor([1e100, -1e100]).double())[0]
    for value, limit in zip(y.tolist(), far.tolist(), strict=False):
        if math.isnan(value):
            assert name in UNDEFINED_AT_INFINITY | TORCH_GIVES_NAN
        elif abs(limit) > 1e30:
            assert value == math.copysign(math.inf, limit)
        else:
            assert math.isclose(value, limit, rel_tol=1e-6, abs_tol=1e-30) or abs(limit) > 100
